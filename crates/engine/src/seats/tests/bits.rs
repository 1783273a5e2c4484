//! Taken seats: no seat twice, round trips through bytes, and changes of the layout under them.

use super::*;
use crate::seats::change::{Harm, harmed};
use crate::seats::taken::{Conflicts, Difference, HEADER_BYTES};
use proptest::prelude::*;

proptest! {
    #[test]
    fn taken_seats_survive_as_bytes_and_tell_their_difference(
        seats in 1..200_u32,
        first in proptest::collection::btree_set(0..200_u32, 0..80),
        second in proptest::collection::btree_set(0..200_u32, 0..80),
        version in any::<i64>(),
    ) {
        let make = |these: &std::collections::BTreeSet<u32>| {
            let mut taken = Taken::none(seats, version);
            let these: Vec<u32> = these.iter().copied().filter(|seat| *seat < seats).collect();
            taken.take(&these).expect("free");
            assert_eq!(taken.iter().collect::<Vec<_>>(), these);
            taken
        };
        let (before, mut now) = (make(&first), make(&second));
        let read = Taken::from_bytes(&now.to_bytes());
        prop_assert_eq!(read.as_ref(), Some(&now));
        let Difference { taken, released } = now.since(&before).expect("of one layout");
        now.take(&released).expect("free now");
        now.release(&taken).expect("taken now");
        prop_assert_eq!(now, before);
    }
}

#[test]
fn i3_no_seat_is_taken_twice_and_a_refusal_changes_nothing() {
    let mut taken = Taken::none(10, 7);
    taken.take(&[3, 9]).expect("free");
    let before = taken.clone();
    let refused = |seats: &[SeatIndex]| Err(Conflicts { seats: seats.to_vec() });
    assert_eq!(taken.take(&[1, 3, 10, 9]), refused(&[3, 10, 9]));
    assert_eq!(taken.take(&[1, 2, 1]), refused(&[1]));
    assert_eq!(taken.release(&[3, 4]), refused(&[4]));
    assert_eq!(taken.release(&[3, 3]), refused(&[3]));
    assert_eq!(taken, before);
    assert_eq!((taken.count(), taken.version(), taken.seats()), (2, 7, 10));
    taken.release(&[9]).expect("taken");
    taken.stamp(8);
    assert_eq!((taken.iter().collect::<Vec<_>>(), taken.version()), (vec![3], 8));
}

#[test]
fn the_bits_stand_in_the_order_of_redis() {
    let mut taken = Taken::none(11, 258);
    taken.take(&[0, 7, 10]).expect("free");
    let bytes = taken.to_bytes();
    assert_eq!(bytes, [0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 11, 0b1000_0001, 0b0010_0000]);
    assert_eq!(HEADER_BYTES * 8, 96);
    for (why, wrong) in [
        ("a byte too few", &bytes[..13]),
        ("a byte too many", &[&bytes[..], &[0]].concat()),
        ("no bits", &bytes[..12]),
        ("half a header", &bytes[..7]),
        ("a seat beyond the last", &[&bytes[..13], &[0b0001_0000]].concat()),
    ] {
        assert_eq!(Taken::from_bytes(wrong), None, "{why}");
    }
}

#[test]
fn a_change_may_not_move_or_remove_what_is_taken() {
    let old = Layout::new(&arc("A-C", 8)).expect("sound");
    let mut draft = old.draft();
    draft.rows.remove(1);
    draft.rows[0].seats[3].at.x += 1;
    draft.rows[0].seats[0].category = "Gold".into();
    draft.categories.push(category("Gold", 20));
    draft.rows[1].seats.remove(0);
    let new = Layout::new(&draft).expect("sound");
    let find = |name| old.find(name).expect("there");

    let mut taken = Taken::none(old.seats(), 5);
    taken.take(&[find("A-1"), find("C-8")]).expect("free");
    assert_eq!(harmed(&old, &new, &taken), []);
    let mut map = SeatMap::empty(Arc::new(old.clone()), (5, 5));
    map.hold(&[find("A-1"), find("C-8")]).expect("free");
    map.sell(&[find("C-8")]);
    map.block(&[find("A-8")]).expect("free");
    map.stamp(6);
    let new = Arc::new(new);
    let there = map.laid(new.clone(), (9, 9)).expect("nothing is harmed");
    let marks = there.marks();
    let names: Vec<_> =
        marks.iter().map(|(seat, state)| (new.name(seat).to_string(), state)).collect();
    let expected = [
        ("A-1".to_owned(), SeatState::Held),
        ("A-8".to_owned(), SeatState::Blocked),
        ("C-8".to_owned(), SeatState::Sold),
    ];
    assert_eq!((names, there.version(), there.layout_version()), (expected.to_vec(), 9, 9));
    let mut bytes = marks.to_bytes();
    assert_eq!(Marks::from_bytes(&bytes), Some(marks));
    assert!(!Marks::is_of_other_format(&bytes));
    bytes[0] = 1;
    assert_eq!(Marks::from_bytes(&bytes), None, "of a later release");
    assert!(Marks::is_of_other_format(&bytes) && !Marks::is_of_other_format(&[]));

    taken.take(&[find("A-4"), find("B-2"), find("C-1")]).expect("free");
    let expected = vec![
        (find("A-4"), Harm::Moved),
        (find("B-2"), Harm::Removed),
        (find("C-1"), Harm::Removed),
    ];
    assert_eq!(harmed(&old, &new, &taken), expected);
}
