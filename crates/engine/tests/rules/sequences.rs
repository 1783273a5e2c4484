//! Random sequences of commands, on the pure rules.

use std::collections::BTreeSet;
use suite::PureRules;
use suite::property::{self, Bug};

/// Sequences on the pure rules.
const CASES: u64 = 10_000;
/// Sequences within which a planted bug must be found.
const FINDING_CASES: u64 = 500;

#[test]
fn ten_thousand_sequences_on_the_pure_rules_go_as_the_model_says() {
    property::all_go_as_the_model_says(&PureRules, CASES, 20_000);
}

#[test]
fn every_planted_bug_is_found() {
    for bug in Bug::ALL {
        let found = (0..FINDING_CASES).find_map(|seed| property::run(&bug, seed, 0).err());
        let found = found.unwrap_or_else(|| panic!("{bug:?} is not found"));
        println!("{bug:?} is found by {found}");
    }
}

#[test]
fn the_sequences_meet_every_answer_a_command_can_get() {
    let seen = (0..500).flat_map(|seed| property::run(&PureRules, seed, 0).expect("sound"));
    let seen: BTreeSet<_> = seen.collect();
    for answer in [
        "Booking",
        "Section",
        "Nothing",
        "replayed",
        "NotFound",
        "NotOrganizer",
        "EventCancelled",
        "SaleNotOpen",
        "SaleClosed",
        "EventOver",
        "TooManySeats",
        "BuyerLimit",
        "SoldOut",
        "BookingCancelled",
        "HoldExpired",
        "ExtensionLimit",
        "NotCancellable",
        "CapacityInUse",
        "IdempotencyKeyReused",
    ] {
        assert!(seen.contains(answer), "no sequence is answered {answer}: {seen:?}");
    }
}
