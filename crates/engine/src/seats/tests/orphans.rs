//! Orphans: which seats a choice leaves alone, and whether it could have been helped.

use super::*;
use crate::seats::orphan::{Verdict, judge, orphans};

/// The verdict on the seats with these names, in a drawing.
fn verdict(drawing: &[&str], choice: &str) -> String {
    let seating = drawn(drawing);
    let find = |name| seating.layout().find(name).expect("there");
    let choice: Vec<SeatIndex> = choice.split(' ').map(find).collect();
    match judge(&seating, &choice) {
        Verdict::Fine => "fine".into(),
        Verdict::Leaves(seats) => format!("leaves {}", names(&seating, &seats)),
        Verdict::Unavoidable(seats) => format!("cannot but leave {}", names(&seating, &seats)),
    }
}

#[test]
fn a_seat_that_is_left_alone_is_an_orphan() {
    for (why, drawing, choice, expected) in [
        ("between others", &["x.....x"][..], "A-3 A-4", "leaves A-2"),
        ("beside an aisle", &["... ...."], "A-2 A-3", "leaves A-1"),
        ("at the end of the row", &["......"], "A-4 A-5", "leaves A-6"),
        ("on both sides", &["x.....x"], "A-3 A-4 A-5", "leaves A-2 A-6"),
        ("between two that are chosen", &["......."], "A-3 A-5", "leaves A-4"),
        ("not with a neighbour", &["....."], "A-1 A-2 A-3", "fine"),
        ("not when all are taken", &["x..x"], "A-2 A-3", "fine"),
        ("not when it was alone before", &["x.x..x"], "A-4 A-5", "fine"),
        ("not over an aisle", &[". ..."], "A-2", "fine"),
        ("no other choice of that size", &["x...x"], "A-2 A-3", "cannot but leave A-4"),
        ("another one elsewhere", &["x...x", "..xxx"], "A-2 A-3", "leaves A-4"),
        (
            "accessible ones are no other choice",
            &["x...x", "AAxxx"],
            "A-2 A-3",
            "cannot but leave A-4",
        ),
        ("but for accessible ones they are", &["xAA.x", "AAxxx"], "A-2 A-3", "leaves A-4"),
    ] {
        assert_eq!(verdict(drawing, choice), expected, "{why}: {choice} of {drawing:?}");
    }
}

#[test]
fn large_choices_are_judged_without_another_choice() {
    let row = ".".repeat(60);
    let seating = drawn(&[&row]);
    let choice: Vec<SeatIndex> = (1..60).collect();
    assert_eq!(orphans(seating.layout(), seating.taken(), &choice), [0]);
    assert_eq!(judge(&seating, &choice), Verdict::Unavoidable(vec![0]));
}
