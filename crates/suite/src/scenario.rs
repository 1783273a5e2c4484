//! Stories in plain text, run on the pure rules and on every store alike.
//!
//! A file under `tests/scenarios` holds any number of them; `tests/scenarios/README.md` explains
//! the language. A story with another result is reported with its file, its line, what was
//! expected and what happened.

mod commands;
mod run;
mod seen;
mod settings;
mod text;

use crate::backend::Kind;
use std::collections::BTreeSet;
use std::path::Path;

pub use text::{Scenario, read};

/// All scenarios, in the order of their files and lines.
#[must_use]
pub fn all() -> Vec<Scenario> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/scenarios");
    let entries = std::fs::read_dir(&folder).expect("the folder of scenarios is there");
    let files = entries.map(|entry| entry.expect("an entry of the folder").path());
    let files: BTreeSet<_> =
        files.filter(|path| path.extension().is_some_and(|ext| ext == "txt")).collect();
    let scenarios = |path: &Path| {
        let name = path.file_name().expect("a file has a name").to_string_lossy();
        let text = std::fs::read_to_string(path).expect("a scenario can be read");
        read(&format!("tests/scenarios/{name}"), &text)
    };
    files.iter().flat_map(|path| scenarios(path)).collect()
}

/// Runs `scenarios` on a backend of `kind`, and returns the failures.
pub async fn tell(scenarios: &[Scenario], kind: &dyn Kind) -> Vec<String> {
    let mut failures = Vec::new();
    for scenario in scenarios {
        if let Err(failure) = run::run(scenario, kind).await {
            failures.push(format!("{failure}\n    in {:?} on {kind:?}", scenario.name));
        }
    }
    failures
}

/// Runs all scenarios on a backend of `kind`.
///
/// # Panics
/// If one of them fails.
pub fn all_go_as_told(kind: &impl Kind) {
    let scenarios = all();
    assert!(scenarios.len() >= 25, "only {} scenarios were found", scenarios.len());
    let failures = kind.block_on(tell(&scenarios, kind));
    assert!(failures.is_empty(), "{} went otherwise:\n{}", failures.len(), failures.join("\n"));
}
