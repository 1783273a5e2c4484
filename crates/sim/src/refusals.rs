//! The refusals of each command that its rule names, and whether a run has met them.

use std::collections::BTreeMap;

/// The codes by which a command can be refused, as the rules in `engine::decide` name them. What is refused
/// before there is a command, such as the same seat asked for twice, is not in it.
const ALL: [(&str, &[&str]); 7] = [
    (
        "hold",
        &[
            "buyer_limit",
            "event_cancelled",
            "event_over",
            "idempotency_in_flight",
            "idempotency_key_reused",
            "not_found",
            "not_organizer",
            "not_together",
            "orphan_seat",
            "permission_missing",
            "sale_closed",
            "sale_not_open",
            "seats_unavailable",
            "sold_out",
            "too_many_seats",
        ],
    ),
    (
        "change",
        &[
            "booking_cancelled",
            "buyer_limit",
            "event_cancelled",
            "event_over",
            "hold_expired",
            "not_changeable",
            "not_found",
            "not_together",
            "orphan_seat",
            "permission_missing",
            "sale_closed",
            "sale_not_open",
            "seats_unavailable",
            "sold_out",
            "too_many_seats",
            "version_mismatch",
        ],
    ),
    (
        "confirm",
        &[
            "booking_cancelled",
            "event_cancelled",
            "hold_expired",
            "not_found",
            "permission_missing",
        ],
    ),
    (
        "extend",
        &[
            "booking_cancelled",
            "event_cancelled",
            "extension_limit",
            "hold_expired",
            "not_found",
            "permission_missing",
        ],
    ),
    ("release", &["not_cancellable", "not_found", "permission_missing"]),
    ("cancel", &["not_cancellable", "not_found", "permission_missing"]),
    (
        "block",
        &[
            "not_found",
            "not_organizer",
            "permission_missing",
            "seats_are_numbered",
            "seats_unavailable",
            "sold_out",
        ],
    ),
];

/// Whether a run has met all of them; and how many, and which it has not, in one line.
pub fn met(seen: &BTreeMap<String, u64>) -> (bool, String) {
    let cells = ALL
        .iter()
        .flat_map(|(command, codes)| codes.iter().map(move |code| format!("{command}: {code}")));
    let (met, missed): (Vec<_>, Vec<_>) = cells.partition(|cell| seen.contains_key(cell));
    let (count, all) = (met.len(), met.len() + missed.len());
    let is_all = missed.is_empty();
    let missed = if is_all { "none".to_owned() } else { missed.join(", ") };
    (is_all, format!("refusals of commands: {count} of {all} met; not met: {missed}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_met_is_named() {
        let mut seen: BTreeMap<String, u64> = BTreeMap::new();
        seen.insert("block: sold_out".to_owned(), 3);
        seen.insert("embedded: hold: sold_out".to_owned(), 1);
        let (is_all, told) = met(&seen);
        assert!(!is_all);
        assert!(told.starts_with("refusals of commands: 1 of 54 met; not met: hold: "), "{told}");
        assert!(!told.contains("block: sold_out"), "{told}");
    }
}
