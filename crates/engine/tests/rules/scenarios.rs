//! Stories in plain text, on the pure rules.

use std::collections::BTreeSet;
use suite::scenario::{self, Scenario};
use suite::{Kind as _, PureRules};

/// Every refusal that a command can meet.
const REFUSALS: [&str; 15] = [
    "not_found",
    "not_organizer",
    "event_cancelled",
    "sale_not_open",
    "sale_closed",
    "event_over",
    "too_many_seats",
    "buyer_limit",
    "sold_out",
    "booking_cancelled",
    "hold_expired",
    "extension_limit",
    "not_cancellable",
    "capacity_in_use",
    "idempotency_key_reused",
];

#[test]
fn every_scenario_goes_as_told_on_the_pure_rules() {
    scenario::all_go_as_told(&PureRules);
}

#[test]
fn every_refusal_of_a_command_has_a_scenario() {
    let told: BTreeSet<_> = scenario::all().iter().flat_map(Scenario::refusals).collect();
    let missing: Vec<_> = REFUSALS.iter().filter(|code| !told.contains(**code)).collect();
    assert!(missing.is_empty(), "no scenario is refused with {missing:?}");
}

#[test]
fn a_story_that_goes_otherwise_is_reported_with_its_line_what_was_expected_and_what_happened() {
    let text = "scenario a wrong story\nsection A capacity=1\nhold h1 A 2 -> held\n\n\
                scenario a typing mistake\nsection A capacity=1\nhold h1 A 1 sheats=2\n\n\
                scenario a wrong number\nsection A capacity=1\nexpect A available=2\n";
    let scenarios = scenario::read("wrong.txt", text);
    let failures = PureRules.block_on(scenario::tell(&scenarios, &PureRules)).join("\n");
    for part in [
        "wrong.txt:3: expected held, got refused sold_out available=1 expired=0 requested=2",
        "wrong.txt:7: expected a line of the language, got nobody understands sheats=2",
        "wrong.txt:11: expected available=2, got ",
    ] {
        assert!(failures.contains(part), "{part:?} is not in:\n{failures}");
    }
}
