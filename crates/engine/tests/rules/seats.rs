//! Random sequences over numbered seats, on the pure rules.

use std::panic::catch_unwind;
use suite::PureRules;
use suite::seating::{self, Bug};

/// Sequences on the pure rules.
const CASES: u64 = 4_000;

#[test]
fn random_batches_of_seats_on_the_pure_rules_go_as_the_model_says() {
    seating::all_go_as_the_model_says(&PureRules, CASES);
}

#[test]
fn every_planted_bug_of_seats_is_found() {
    for bug in Bug::ALL {
        let fails = |seed: &u64| catch_unwind(|| seating::run(&bug, *seed)).is_err();
        let seed = (0..20).find(fails).unwrap_or_else(|| panic!("{bug:?} is not found"));
        println!("{bug:?} is found by sequence {seed}");
    }
}

#[test]
fn the_sequences_of_seats_meet_every_answer() {
    let seen: Vec<_> = (0..300).flat_map(|seed| seating::run(&PureRules, seed)).collect();
    let commands = ["Hold(", "Change {", "Block {", "Lay {", "Confirm {", "Cancel {", "Extend {"];
    for command in commands {
        let met = seen.iter().any(|line| line.starts_with(command) && line.contains("-> Ok("));
        assert!(met, "no {command} has its way");
    }
    for answer in [
        "SeatsUnavailable",
        "SoldOut",
        "TooFewFit",
        "NotTogether",
        "SeatsInUse",
        "VersionMismatch",
        "NotChangeable",
        "BookingCancelled",
        "HoldExpired",
        "ExtensionLimit",
        "next_to_each_other: Some(true)",
        "next_to_each_other: Some(false)",
    ] {
        let met = seen.iter().any(|line| line.contains(answer));
        assert!(met, "no sequence is answered {answer}");
    }
    let changes = seen.iter().filter(|line| line.starts_with("Change {"));
    let (had, refused): (Vec<_>, Vec<_>) = changes.partition(|line| line.contains("-> Ok("));
    assert!(had.len() > 200 && refused.len() > 200, "{} and {}", had.len(), refused.len());
}
