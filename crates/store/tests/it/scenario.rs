//! Stories in plain text, told to the pure rules and to every store alike.
//!
//! A file under `tests/scenarios` holds any number of them; `tests/scenarios/README.md` explains
//! the language. A story that does not go as told is reported with its file, its line, what was
//! expected and what happened.

mod commands;
mod run;
mod seen;
mod settings;
mod text;

use crate::backend::Kind;
use std::collections::BTreeSet;
use std::path::Path;
use text::Scenario;

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

/// All scenarios, in the order of their files and lines.
fn all() -> Vec<Scenario> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/scenarios");
    let entries = std::fs::read_dir(&folder).expect("the folder of scenarios is there");
    let files = entries.map(|entry| entry.expect("an entry of the folder").path());
    let files: BTreeSet<_> =
        files.filter(|path| path.extension().is_some_and(|ext| ext == "txt")).collect();
    let read = |path: &Path| {
        let name = path.file_name().expect("a file has a name").to_string_lossy();
        let text = std::fs::read_to_string(path).expect("a scenario can be read");
        text::read(&format!("tests/scenarios/{name}"), &text)
    };
    files.iter().flat_map(|path| read(path)).collect()
}

/// Tells `scenarios` to a backend of `kind`, and gives what did not go as told.
async fn tell(scenarios: &[Scenario], kind: Kind) -> Vec<String> {
    let mut failures = Vec::new();
    for scenario in scenarios {
        if let Err(failure) = run::run(scenario, kind).await {
            failures.push(format!("{failure}\n    in {:?} on {kind:?}", scenario.name));
        }
    }
    failures
}

#[tokio::test]
async fn every_scenario_goes_as_told_on_the_pure_rules_and_on_every_store() {
    let scenarios = all();
    assert!(scenarios.len() >= 25, "only {} scenarios were found", scenarios.len());
    let mut failures = Vec::new();
    for kind in Kind::ALL {
        failures.extend(tell(&scenarios, kind).await);
    }
    assert!(failures.is_empty(), "{} went otherwise:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn every_refusal_of_a_command_has_a_scenario() {
    let told: BTreeSet<_> = all().iter().flat_map(Scenario::refusals).collect();
    let missing: Vec<_> = REFUSALS.iter().filter(|code| !told.contains(**code)).collect();
    assert!(missing.is_empty(), "no scenario is refused with {missing:?}");
}

#[tokio::test]
async fn a_story_that_goes_otherwise_is_reported_with_its_line_what_was_expected_and_what_happened()
{
    let text = "scenario a wrong story\nsection A capacity=1\nhold h1 A 2 -> held\n\n\
                scenario a typing mistake\nsection A capacity=1\nhold h1 A 1 sheats=2\n\n\
                scenario a wrong number\nsection A capacity=1\nexpect A available=2\n";
    let failures = tell(&text::read("wrong.txt", text), Kind::Pure).await.join("\n");
    for part in [
        "wrong.txt:3: expected held, got refused sold_out available=1 expired=0 requested=2",
        "wrong.txt:7: expected a line of the language, got nobody understands sheats=2",
        "wrong.txt:11: expected available=2, got ",
    ] {
        assert!(failures.contains(part), "{part:?} is not in:\n{failures}");
    }
}
