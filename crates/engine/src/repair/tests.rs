use super::*;
use crate::booking::Item;
use crate::ids::{EventId, SectionId, Shard, UserId};
use crate::money::{Currency, Money};
use crate::seats::{Category, Shape, Short};
use crate::time::Timestamp;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(ms)
}

fn section_id() -> SectionId {
    SectionId::new(at(0), Shard::pick(1), 7)
}

fn layout() -> Arc<Layout> {
    let price = Money { minor: 100, currency: Currency::parse("USD").expect("valid") };
    let short = Short {
        rows: "A".to_owned(),
        seats_per_row: 6,
        aisles_after: Vec::new(),
        category: Category { name: "Stalls".to_owned(), price },
        shape: Shape::Block,
    };
    Arc::new(Layout::new(&short.draft().expect("a draft")).expect("a layout"))
}

fn booking(number: u64, status: BookingStatus, seats: &[&str]) -> Booking {
    let item = Item {
        section_id: section_id(),
        section_name: "Hall".into(),
        seats: u32::try_from(seats.len()).expect("few"),
        seat_names: seats.iter().map(|seat| SeatName::from(*seat)).collect(),
        unit_price: layout().lowest_price(),
    };
    Booking {
        status,
        ..Booking::held(
            BookingId::new(at(0), Shard::pick(1), number),
            (UserId::new(at(0), Shard::pick(1), number), EventId::new(at(0), Shard::pick(1), 1)),
            [item],
            at(0),
            (1_000, 2_000),
        )
    }
}

/// A-1 is held, A-2 and A-3 are sold, A-6 is blocked, and everything says so.
fn sound() -> Records {
    let held = booking(1, BookingStatus::Hold, &["A-1"]);
    let sold = booking(2, BookingStatus::Confirmed, &["A-2", "A-3"]);
    let empty = Inventory::empty(section_id(), held.event_id);
    let folded = Inventory { capacity: 6, held: 1, sold: 2, blocked: 1, version: 5, ..empty };
    let states = [
        ("A-1", SeatState::Held),
        ("A-2", SeatState::Sold),
        ("A-3", SeatState::Sold),
        ("A-6", SeatState::Blocked),
    ];
    let layout = layout();
    let named = states.map(|(name, state)| (SeatName::from(name), state));
    let map = SeatMap::of(layout.clone(), (layout.id(), 5), named).expect("seats of the layout");
    let by = [Some(held.booking_id), Some(sold.booking_id), Some(sold.booking_id), None];
    let taken = states.iter().zip(by).map(|((name, _), by)| (SeatName::from(*name), by));
    let entry = ExpiryEntry {
        section_id: section_id(),
        expires_at: held.expires_at,
        booking_id: held.booking_id,
        seats: 1,
    };
    Records {
        inventory: Inventory { next_expiry: Some(held.expires_at), ..folded.clone() },
        folded,
        bookings: vec![held, sold],
        holds: vec![entry],
        seats: Some(SeatRecords {
            taken: taken.collect(),
            layout: (layout.id(), layout),
            marks: Some(map.marks()),
        }),
    }
}

fn seats(records: &mut Records) -> &mut SeatRecords {
    records.seats.as_mut().expect("it has some")
}

#[test]
fn what_is_sound_is_left_as_it_is() {
    let records = sound();
    let repair = records.repair().expect("it agrees");
    assert_eq!(repair.told, [""; 0]);
    assert_eq!((&repair.inventory, &repair.holds), (&records.inventory, &records.holds));
}

#[test]
fn counters_marks_rows_and_the_index_of_expiry_are_made_again() {
    let right = sound().repair().expect("it agrees");
    let mut wrong = sound();
    wrong.inventory.held = 4;
    wrong.inventory.next_expiry = None;
    wrong.holds.clear();
    let layout = layout();
    let named = [(SeatName::from("A-5"), SeatState::Held)];
    let stale = SeatMap::of(layout.clone(), (layout.id(), 5), named).expect("a seat of it");
    seats(&mut wrong).marks = Some(stale.marks());
    seats(&mut wrong).taken.retain(|(name, _)| **name != *"A-1");
    let repair = wrong.repair().expect("bookings and log agree");
    let told = repair.told.join("; ");
    for part in [
        "held changes from 4 to 1",
        "seat A-5 changes from held to free",
        "seat A-2 changes from free to sold",
        "the rows of taken seats change from 3 to 4",
        "the expiry index changes from 0 holds",
    ] {
        assert!(told.contains(part), "{part} in: {told}");
    }
    assert_eq!(Repair { told: Vec::new(), ..repair }, right);

    let mut without = sound();
    seats(&mut without).marks = None;
    let repair = without.repair().expect("bookings and log agree");
    assert_eq!(repair.told, ["there were no seat states for this layout"]);
    assert_eq!(repair.seats, right.seats);
}

#[test]
fn blocked_seats_are_those_that_add_up() {
    let right = sound().repair().expect("it agrees");
    let mut unnoted = sound();
    seats(&mut unnoted).taken.retain(|(_, by)| by.is_some());
    assert_eq!(unnoted.repair().expect("the marks add up").seats, right.seats);
    seats(&mut unnoted).marks = None;
    let refused = unnoted.repair().expect_err("nobody says which seat");
    assert!(refused[0].contains("1 blocked seats"), "{refused:?}");
}

#[test]
fn bookings_that_contradict_each_other_or_the_log_are_left_to_a_person() {
    let refused = |change: &dyn Fn(&mut Records)| {
        let mut records = sound();
        change(&mut records);
        records.repair().expect_err("it contradicts itself").join("; ")
    };
    let twice = refused(&|records| {
        records.bookings.push(booking(3, BookingStatus::Hold, &["A-2"]));
        records.folded.held = 2;
    });
    assert!(twice.contains("seat A-2 is in the bookings "), "{twice}");
    let beyond = refused(&|records| {
        records.bookings[0] = booking(1, BookingStatus::Hold, &["Z-9"]);
    });
    assert!(beyond.contains("seat Z-9 of booking "), "{beyond}");
    let unlogged = refused(&|records| records.folded.sold = 1);
    assert!(unlogged.contains("the log has 1 and 1"), "{unlogged}");
    let smaller = refused(&|records| records.folded.capacity = 5);
    assert!(smaller.contains("a capacity of 5"), "{smaller}");
}
