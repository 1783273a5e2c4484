//! The bugs that are planted, to prove that each would be found.

/// The names of all of them; each is a switch where the right code is.
pub const ALL: &[&str] = &[
    "clock before lock",
    "no inventory lock",
    "keys unsorted",
    "claims of refused holds kept",
    "decide instead of decide_again",
    "lost commit reported as failed",
    "answer before commit",
    "zombie commit ignored by a retry",
    "lost trip not noted",
    "trip without condition",
    "settle without version",
    "news counts as of its arrival",
    "old news settled",
    "retry refused at the door",
    "retry refused by the gate",
    "deadline looked at after the decision",
    "halving drops one",
    "due holds read before the lock",
    "due cart without its other section",
    "survey not looked at again",
    "cap without buyer lock",
    "panic kills the lane",
    "marks beside a foreign snapshot",
    "read counts as of its end",
    "confirm waits behind holds",
    "shedding never ends",
    "reconcile repairs",
    "terms changed beside the sale",
    "rights of before a transfer",
    "trip without the terms",
    "trip reads the terms as of its beginning",
    "sold seats read as free",
    "capacity read too high",
    "kept rows not dropped after another writer",
    "live holds not forgotten after another writer",
    "mark of the fed index moved before its run is committed",
    "kept rows kept by a failed write",
    "bookings of a failed write listed",
    "commits not durable after a portion of lists",
];

/// The bug with this name.
pub fn find(name: &str) -> Result<&'static str, String> {
    let found = ALL.iter().find(|planted| **planted == name);
    found.copied().ok_or_else(|| format!("there is no such bug; there are: {}", ALL.join(", ")))
}
