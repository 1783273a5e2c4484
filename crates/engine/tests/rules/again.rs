//! A batch that is decided again: each attempt before it may have been committed (I12).

use engine::{
    Booking, BookingStatus, By, Command, Inventory, Ledger, LoadedRows, Outcome, Refusal, Timestamp,
};
use suite::world::{ManualClock, Mint, POLICY, usd};

/// The rows of one booking of two seats.
fn rows(booking: &Booking, mint: &Mint) -> LoadedRows {
    let mut rows = LoadedRows::default();
    let mut new = mint.event_on_sale(mint.user());
    new.event.terms.event_id = booking.event_id;
    rows.terms.insert(booking.event_id, new.event.terms);
    let item = &booking.items[0];
    let mut section = mint.section_of(booking.event_id, "A");
    section.section_id = item.section_id;
    let mut inventory = Inventory::empty(item.section_id, booking.event_id);
    (inventory.capacity, inventory.sold) = (9, 2);
    rows.sections.insert(item.section_id, (section, inventory));
    rows.bookings.insert(booking.booking_id, booking.clone());
    rows
}

#[test]
fn i12_an_extension_that_any_attempt_may_have_made_is_had_although_its_hold_was_confirmed_since() {
    let clock = ManualClock::new();
    let (mint, now) = (Mint::new(&clock), clock.now());
    let event_id = mint.event();
    let (booking_id, user_id) = (mint.booking(event_id), mint.user());
    let item = engine::Item {
        section_id: mint.section(event_id),
        section_name: "A".into(),
        seats: 2,
        seat_names: Vec::new(),
        unit_price: usd(1_250),
    };
    let life = (POLICY.hold_ttl_ms, POLICY.hold_max_life_ms);
    let held = Booking::held(booking_id, (user_id, event_id), [item], now, life);
    let extended =
        |ms| Booking { expires_at: held.expires_at.plus_ms(ms), version: 2, ..held.clone() };
    // The first attempt was committed, the second was not, and somebody has confirmed since.
    let (first, second) = (extended(1_000), extended(2_000));
    let confirmed = Booking {
        status: BookingStatus::Confirmed,
        confirmed_at: Some(now),
        version: 3,
        ..first.clone()
    };
    let decide = |earlier: &[&Booking]| {
        let answer = |booking: &&Booking| {
            let booking = (*booking).clone();
            Ok(Outcome::Booking { booking, replayed: false, next_to_each_other: None })
        };
        let answers: Vec<Result<Outcome, Refusal>> = earlier.iter().map(answer).collect();
        let later: Timestamp = now.plus_ms(5_000);
        let ledger = Ledger::open(rows(&confirmed, &mint), later, POLICY);
        let command = Command::Extend { booking_id, by: By::User(user_id) };
        ledger.expect("the rows agree").decide_again(&command, &answers.iter().collect::<Vec<_>>())
    };
    let Ok(Outcome::Booking { booking, .. }) = decide(&[&first, &second]) else {
        panic!("it was had: {:?}", decide(&[&first, &second]));
    };
    assert_eq!(booking, confirmed);
    // Of an attempt alone that cannot have been committed, it is refused as at the first time.
    assert_eq!(decide(&[&second]), Err(Refusal::ExtensionLimit));
    assert_eq!(decide(&[]), Err(Refusal::ExtensionLimit));
}
