//! The places in the code of which a run says that it has come there.

use std::collections::BTreeMap;

/// All of them, as `probe` names them.
pub const ALL: &[&str] = &[
    "a batch in one trip",
    "a batch is decided again",
    "a batch is halved",
    "a command waited for too long",
    "a segment of lists is written",
    "a tail of lists is given up",
    "a task panicked",
    "a transaction met another one",
    "a trip at a time that is over",
    "a trip on old rows",
    "keys are claimed by somebody who is slow",
    "marks are read for the gate",
    "segments of lists are merged",
    "shedding ends",
    "the answer to a COMMIT was lost",
    "the answer to a trip was lost",
    "what is no segment of lists is removed",
];

/// Those that must not be met: nobody but us writes counters, the log and the gate.
pub const NEVER: &[&str] = &["counters differ from their log", "the gate differed from the store"];

/// Whether a run has met all of them; and how many, and which it has not, in one line.
pub fn met(seen: &BTreeMap<String, u64>) -> (bool, String) {
    let is_met = |probe: &&&str| seen.contains_key(&format!("probe: {probe}"));
    let missed: Vec<_> = ALL.iter().filter(|probe| !is_met(probe)).copied().collect();
    let count = ALL.len() - missed.len();
    let told = if missed.is_empty() { "none".to_owned() } else { missed.join(", ") };
    (missed.is_empty(), format!("probes: {count} of {} met; not met: {told}", ALL.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// The probes that the sources name.
    fn named(folder: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).expect("a folder of ours") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                named(&path, found);
            } else if path.extension().is_some_and(|it| it == "rs") {
                let text = std::fs::read_to_string(&path).expect("text");
                let calls = text.split("probe(\"").skip(1);
                found.extend(calls.filter_map(|call| Some(call.split_once('"')?.0.to_owned())));
            }
        }
    }

    #[test]
    fn each_probe_of_the_sources_is_in_the_list_and_none_else() {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut found = Vec::new();
        for of in ["engine/src", "store/src", "server/src"] {
            named(&crates.join(of), &mut found);
        }
        found.sort();
        found.dedup();
        let mut listed = [ALL, NEVER].concat();
        listed.sort_unstable();
        assert_eq!(found, listed);
    }
}
