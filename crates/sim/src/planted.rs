//! The bugs that are planted, to prove that each would be found.

/// The names of all of them, each a switch where the right code is, and how what finds it begins: where
/// something else finds a bug first, the check that is meant for it is not proven.
pub const ALL: &[(&str, &str)] = &[
    ("clock before lock", "the time of a section goes back"),
    ("no inventory lock", "a bug: Corrupt"),
    ("keys unsorted", "two transactions waited for each other"),
    ("claims of refused holds kept", "I6: a key is left behind that names no booking"),
    ("decide instead of decide_again", "an extension is refused that was made"),
    ("lost commit reported as failed", "refused, and committed"),
    ("answer before commit", "I11: acknowledged, and not committed"),
    ("zombie commit ignored by a retry", "refused, and committed"),
    ("lost trip not noted", "a bug: Corrupt"),
    ("trip without condition", "a panic: assertion `left == right` failed"),
    ("settle without version", "I8: the gate keeps an older version"),
    ("news counts as of its arrival", "I8: "),
    ("old news settled", "I8: "),
    ("retry refused at the door", "I6: the key names"),
    ("retry refused by the gate", "I6: the key names"),
    ("deadline looked at after the decision", "refused, and committed"),
    ("halving drops one", "nothing was in the way of"),
    ("an answer stays on its desk", "with no fault there is no answer"),
    ("due holds read before the lock", "a panic: only what is in the index of expiry leaves it"),
    ("due cart without its other section", "a seat that is left cannot be had"),
    ("survey not looked at again", "a panic: a booking is loaded with its sections"),
    ("cap without buyer lock", "I1: a buyer has"),
    ("panic kills the lane", "a seat that is left cannot be had"),
    ("marks beside a foreign snapshot", "I8: seat"),
    ("read counts as of its end", "I8: marks are told as right at a version"),
    ("confirm waits behind holds", "a confirm waits for all holds before it"),
    ("shedding never ends", "a hold is refused for want of capacity"),
    ("reconcile repairs", "I4: "),
    ("terms changed beside the sale", "sold beside its terms, EventCancelled"),
    ("rights of before a transfer", "I13: sold by somebody who may not"),
    ("trip without the terms", "sold beside its terms, SaleClosed"),
    ("trip reads the terms as of its beginning", "sold beside its terms, SaleClosed"),
    ("sold seats read as free", "a bug: Contradiction"),
    ("capacity read too high", "a bug: Contradiction"),
    ("kept rows not dropped after another writer", "the embedded store fails: Corrupt"),
    ("live holds not forgotten after another writer", "the embedded store has other counters"),
    (
        "mark of the fed index moved before its run is committed",
        "the embedded store has other bookings in a list",
    ),
    ("kept rows kept by a failed write", "the embedded store has a bug: Corrupt"),
    ("bookings of a failed write listed", "the audit of the embedded store found"),
    ("commits not durable after a portion of lists", "the embedded store has other sections"),
    ("batches are not halved", "failed with the batch of another one"),
    ("counters added up without a lock", "I1: oversold"),
    ("a sale is not written", "I11: acknowledged"),
    ("expiry takes a sale", "I2: a sale is"),
    ("marks are not written", "I3: "),
    ("a clock that is ahead", "I5: refused as over"),
];

/// The bug with this name.
pub fn find(name: &str) -> Result<&'static str, String> {
    let found = ALL.iter().find(|(planted, _)| *planted == name);
    found.map(|(planted, _)| *planted).ok_or_else(|| {
        let names: Vec<_> = ALL.iter().map(|(planted, _)| *planted).collect();
        format!("there is no such bug; there are: {}", names.join(", "))
    })
}

/// Whether this is what has to find it.
pub fn is_meant_for(name: &str, what: &str) -> bool {
    ALL.iter().any(|(planted, begins)| *planted == name && what.starts_with(begins))
}
