use super::*;
use crate::booking::Item;
use crate::event::Section;
use crate::ids::{BookingId, EventId, Shard, UserId};
use crate::money::{Currency, Money};
use crate::seats::{Category, Layout, Shape, Short};
use crate::time::Timestamp;
use std::sync::Arc;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(ms)
}

fn section_id() -> SectionId {
    SectionId::new(at(0), Shard::pick(1), 7)
}

/// A hall of three seats of which A-1 is held, with the booking that has it.
fn rows(status: BookingStatus, seat: &str) -> LoadedRows {
    let price = Money { minor: 100, currency: Currency::parse("USD").expect("valid") };
    let category = Category { name: "Stalls".to_owned(), price };
    let (rows, shape, aisles_after) = ("A".to_owned(), Shape::Block, Vec::new());
    let short = Short { rows, seats_per_row: 3, aisles_after, category, shape };
    let layout = Layout::new(&short.draft().expect("a draft")).expect("a layout");
    let layout = Arc::new(layout);
    let taken = [(SeatName::from("A-1"), SeatState::Held)];
    let map = SeatMap::of(layout.clone(), (layout.id(), 2), taken).expect("a seat of it");
    let event_id = EventId::new(at(0), Shard::pick(1), 1);
    let item = Item {
        section_id: section_id(),
        section_name: "Hall".into(),
        seats: 1,
        seat_names: vec![SeatName::from(seat)],
        unit_price: price,
    };
    let booking = Booking {
        status,
        ..Booking::held(
            BookingId::new(at(0), Shard::pick(1), 1),
            (UserId::new(at(0), Shard::pick(1), 1), event_id),
            [item],
            at(0),
            (1_000, 2_000),
        )
    };
    let section = Section {
        section_id: section_id(),
        event_id,
        name: "Hall".into(),
        price,
        layout_version: Some(layout.id()),
    };
    let empty = Inventory::empty(section_id(), event_id);
    let inventory = Inventory { capacity: 3, held: 1, version: 2, ..empty };
    let mut rows = LoadedRows::default();
    rows.sections.insert(section_id(), (section, inventory));
    rows.maps.insert(section_id(), map);
    rows.bookings.insert(booking.booking_id, booking);
    rows
}

#[test]
fn i3_a_map_has_to_agree_with_the_counters_and_the_bookings_of_the_batch() {
    let contradicted = |rows: &LoadedRows| !rows.contradicted().is_empty();
    assert!(!contradicted(&rows(BookingStatus::Hold, "A-1")));
    assert!(contradicted(&rows(BookingStatus::Hold, "A-2")), "its seat is marked as free");
    assert!(contradicted(&rows(BookingStatus::Hold, "Z-1")), "its seat does not exist");
    assert!(contradicted(&rows(BookingStatus::Confirmed, "A-1")), "a sale is marked as held");
    assert!(!contradicted(&rows(BookingStatus::Expired, "A-2")), "what has ended has no seat");
    let mut counted = rows(BookingStatus::Hold, "A-1");
    counted.sections.get_mut(&section_id()).expect("there").1.held = 2;
    assert!(contradicted(&counted), "another number of seats");
    let mut later = rows(BookingStatus::Hold, "A-1");
    later.sections.get_mut(&section_id()).expect("there").1.version = 1;
    assert!(contradicted(&later), "marks of a version that is still to come");
}
