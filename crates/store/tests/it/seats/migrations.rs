//! Migrations with numbered seats: going back loses which seats they were, and nothing else.

use super::{Hall, booking};
use crate::raw::Raw;
use crate::world::{self};
use engine::{Booking, By, Command, Hold, Overrides, Refusal, SeatRequest, SectionChange};
use suite::halls::{names, plain};
use suite::world::{ManualClock, Mint, POLICY};

/// The last version without numbered seats.
const BEFORE_SEATS: i64 = 1;

async fn down_and_up(fresh: world::Fresh, clock: ManualClock) {
    let hall = Hall::new(fresh, clock).await;
    let store = &hall.fresh.store;
    let held = &hall.held;
    // Something of every kind of row: a hold that was changed and sold, a section laid again.
    let hold = |requests| {
        Command::Hold(Hold {
            booking_id: hall.mint.booking(hall.event_id),
            user_id: hall.mint.user(),
            seller: None,
            overrides: Overrides::NONE,
            event_id: hall.event_id,
            requests,
            key: None,
        })
    };
    let named =
        |seat: &str| vec![SeatRequest::Seats { section_id: hall.numbered, seats: names(&[seat]) }];
    let changed = booking(hall.one(hold(named("A-3"))).await);
    let (booking_id, user_id, event_id) = (changed.booking_id, changed.user_id, hall.event_id);
    let change = Command::Change {
        booking_id,
        by: By::User(user_id),
        user_id,
        event_id,
        expected: None,
        requests: named("A-4"),
        overrides: Overrides::NONE,
    };
    booking(hall.one(change).await);
    let sold = booking(hall.one(Command::Confirm { booking_id, by: By::User(user_id) }).await);
    let (by, layout) = (hall.organizer_id, Some(plain("A-C", 6)));
    let change = SectionChange { layout, ..SectionChange::default() };
    store
        .revise_section(event_id, hall.numbered, by.into(), None, change)
        .await
        .expect("it harms nobody");
    hall.assert_sound().await;
    let before = store.inventories(&[event_id]).await.expect("the store answers");

    let down = store.migrate(Some(BEFORE_SEATS)).await.expect("down");
    assert!(!down.is_empty());
    let up = store.migrate(None).await.expect("up again");
    assert_eq!(up, down);
    assert_eq!(store.inventories(&[event_id]).await.expect("the store answers"), before);
    hall.assert_sound().await;
    assert_eq!(Raw::of(&hall.fresh).await.seats_taken(event_id).await.len(), 0);

    // All of them go on as if the seats had been counted: another instance, without a kept map.
    let options = world::options(POLICY, &hall.clock);
    hall.fresh.store.close().await;
    let store = store::open_store(&hall.fresh.address, options).await.expect("the store opens");
    let confirm = Command::Confirm { booking_id: held.booking_id, by: By::User(held.user_id) };
    let count = hold(vec![SeatRequest::Count { section_id: hall.numbered, seats: 9 }]);
    let cancel = |of: &Booking| Command::Cancel { booking_id: of.booking_id, by: By::System };
    let batch = [confirm, count, cancel(&hall.sold), hold(named("A-1"))];
    let answers = store.commit(&batch).await.expect("the store answers").answers;
    assert!(answers[..3].iter().all(Result::is_ok), "{answers:?}");
    assert!(matches!(answers[3], Err(Refusal::SeatsUnavailable { .. })), "{answers:?}");
    hall.clock.advance_ms(600_000);
    let retire = Command::Retire { section_id: hall.numbered };
    store.commit(&[retire, cancel(held), cancel(&sold)]).await.expect("the store answers");
    let report = store.audit().await.expect("the store answers");
    assert!(report.is_clean(), "the audit finds {:?}", report.told);
    // And numbers can be given again when nobody has a seat.
    let section_id = hall.numbered;
    let unblock = Command::Block {
        section_id,
        by: by.into(),
        blocked: engine::Blocked::Count(0),
        reason: None,
    };
    store.commit(&[unblock]).await.expect("the store answers");
    let layout = Some(plain("A", 6));
    let change = SectionChange { layout, ..SectionChange::default() };
    store
        .revise_section(event_id, section_id, by.into(), None, change)
        .await
        .expect("nobody has a seat");
    let answers = store.commit(&[hold(named("A-1"))]).await.expect("the store answers").answers;
    assert!(answers[0].is_ok(), "{answers:?}");
    let report = store.audit().await.expect("the store answers");
    assert!(report.is_clean(), "the audit finds {:?}", report.told);
    store.close().await;
}

#[tokio::test]
async fn sqlite_goes_down_and_up_with_numbered_seats() {
    let clock = ManualClock::new();
    let fresh = world::sqlite(POLICY, &clock).await;
    down_and_up(fresh, clock).await;
}

#[tokio::test]
async fn postgres_goes_down_and_up_with_numbered_seats() {
    let clock = ManualClock::new();
    let fresh = world::postgres(POLICY, &clock).await;
    down_and_up(fresh, clock).await;
}

#[tokio::test]
async fn sqlite_is_read_right_after_a_migration_also_by_those_who_read_before() {
    let clock = ManualClock::new();
    let fresh = world::sqlite(POLICY, &clock).await;
    let mint = Mint::new(&clock);
    fresh.store.migrate(Some(BEFORE_SEATS)).await.expect("down");
    let found = fresh.store.event(mint.event()).await.expect("the store answers");
    assert_eq!(found, None);
    fresh.store.migrate(None).await.expect("up");
    let new = mint.event_on_sale(mint.user());
    fresh
        .store
        .create_event(&new, suite::world::owner(&new), &[], None)
        .await
        .expect("the event is recorded");
    let event_id = new.event.terms.event_id;
    let found = fresh.store.event(event_id).await.expect("the store answers");
    assert_eq!(found, Some(new));
}
