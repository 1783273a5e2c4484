//! Changes to what is so already: nothing is written, and no version rises.

use super::seats::{best, blocking, count, given, seats};
use super::{Sale, World, answered, booking, refusal};
use crate::raw::Raw;
use engine::event::EventChange;
use engine::seats::Party;
use engine::{
    Blocked, Booking, Command, Error, EventStatus, EventWithSections, Inventory, Outcome,
    Overrides, Refusal, SectionChange,
};
use suite::halls::{laid, plain};
use suite::world::usd;

/// All that a change may write.
type All = (EventWithSections, Vec<Inventory>, Vec<Option<Booking>>, Vec<Option<String>>);

impl World {
    async fn all(&self, sale: &Sale, bookings: &[&Booking]) -> All {
        let event = answered(self.store.event(sale.event_id).await).expect("it is there");
        let (mut inventories, mut found) = (Vec::new(), Vec::new());
        for place in 0..sale.sections.len() {
            inventories.push(self.inventory(sale, place).await.inventory);
        }
        for booking in bookings {
            found.push(self.stored(booking.booking_id).await);
        }
        let sql = "SELECT kind || ' ' || seq FROM booking_log ORDER BY seq";
        let log = Raw::of(&self.fresh).await.texts(sql).await;
        (event, inventories, found, log)
    }

    async fn revise_place(
        &self,
        sale: &Sale,
        place: usize,
        expected: Option<i64>,
        change: SectionChange,
    ) -> Result<Inventory, Error> {
        let (section_id, by) = (sale.sections[place], sale.organizer_id);
        self.store.revise_section(sale.event_id, section_id, by.into(), expected, change).await
    }
}

pub async fn an_event_or_a_section_that_stays_as_it_is_keeps_its_version(world: World) {
    let sale = world.hall(vec![9.into(), laid("A-B", 6)]).await;
    let held = world.seated(&sale, 1, &["A-1"]).await;
    let by = sale.organizer_id;
    let before = world.all(&sale, &[&held]).await;
    let of = &before.0;
    world.clock.advance_ms(5);

    let terms = &of.event.terms;
    let same = EventChange {
        title: Some(of.event.title.clone()),
        description: Some(of.event.description.clone()),
        venue: Some(of.event.venue.clone()),
        date: Some((of.event.date.clone(), of.event.timezone)),
        status: Some(terms.status),
        sales_start: Some(terms.sales_start),
        sales_end: Some(terms.sales_end),
        max_seats_per_booking: Some(terms.max_seats_per_booking),
        max_seats_per_user: Some(terms.max_seats_per_user),
        hold_ttl_ms: Some(terms.hold_ttl_ms),
        cancellable_until: Some(terms.cancellable_until),
        prevent_orphans: Some(terms.prevent_orphans),
        // A change of it would be refused, since a seat is held.
        currency: Some(usd(0).currency),
    };
    for change in [EventChange::default(), same] {
        for expected in [None, Some(1)] {
            let revised =
                world.store.revise_event(sale.event_id, by.into(), expected, change.clone());
            revised.await.expect("it is so already");
        }
        let stale = world.store.revise_event(sale.event_id, by.into(), Some(7), change).await;
        assert_eq!(refusal(stale), Refusal::VersionMismatch { version: 1 });
    }
    assert_eq!(world.all(&sale, &[&held]).await, before);

    let name = |place: usize| Some(of.sections[place].name.clone());
    let nothing = SectionChange::default();
    for (place, change) in [
        (0, nothing.clone()),
        (1, nothing.clone()),
        (0, SectionChange { name: name(0), ..nothing.clone() }),
        (0, SectionChange { price: Some(of.sections[0].price), ..nothing.clone() }),
        (0, SectionChange { capacity: Some(9), ..nothing.clone() }),
        (1, SectionChange { layout: Some(plain("A-B", 6)), name: name(1), ..nothing.clone() }),
    ] {
        for expected in [None, Some(1)] {
            let revised = world.revise_place(&sale, place, expected, change.clone()).await;
            assert_eq!(revised.expect("it is so already"), before.1[place], "{change:?}");
        }
        let stale = world.revise_place(&sale, place, Some(7), change).await;
        assert_eq!(refusal(stale), Refusal::VersionMismatch { version: 1 });
    }
    // The capacity of numbered seats is their layout's, also where it is the same.
    let sized = SectionChange { capacity: Some(12), ..nothing.clone() };
    let refused = world.revise_place(&sale, 1, None, sized).await;
    assert_eq!(refusal(refused), Refusal::SeatsAreNumbered);
    assert_eq!(world.all(&sale, &[&held]).await, before);

    // What does change rises as before, beside what does not.
    let larger = SectionChange { capacity: Some(10), name: name(0), ..nothing.clone() };
    let larger = world.revise_place(&sale, 0, Some(1), larger).await.expect("there is room");
    assert_eq!((larger.capacity, larger.version), (10, before.1[0].version + 1));
    let dearer = SectionChange { capacity: Some(10), price: Some(usd(7)), ..nothing.clone() };
    let dearer = world.revise_place(&sale, 0, Some(2), dearer).await.expect("a price");
    assert_eq!(dearer.version, larger.version + 1);
    let longer = SectionChange { layout: Some(plain("A-C", 6)), ..nothing };
    world.revise_place(&sale, 1, Some(3), longer).await.expect("no seat is moved");
    let closed = EventChange { status: Some(EventStatus::Closed), ..EventChange::default() };
    world.store.revise_event(sale.event_id, by.into(), Some(4), closed).await.expect("on sale");
    let after = world.all(&sale, &[&held]).await;
    assert_eq!((after.0.event.version, after.0.event.updated_at), (5, world.clock.now()));
    let kinds = after.3[before.3.len()..].iter().flatten();
    let kinds: Vec<_> = kinds.filter_map(|row| row.split(' ').next()).collect();
    assert_eq!(kinds, ["resized", "section_changed", "laid", "event_changed"]);
    world.assert_sound().await;
}

pub async fn seats_that_stay_as_they_are_leave_nothing_behind(world: World) {
    let sale = world.hall(vec![9.into(), laid("A-B", 6)]).await;
    let cart = vec![seats(&sale, 1, &["A-4", "A-3"]), count(&sale, 0, 3)];
    let held = booking(world.ask(&sale, cart).await);
    world.block(&sale, 1, &["B-5", "B-6"]).await.expect("they are free");
    let block = |number| Command::Block {
        section_id: sale.sections[0],
        by: sale.organizer_id.into(),
        blocked: Blocked::Count(number),
        reason: Some("stage".into()),
    };
    world.commit_one(block(2)).await.expect("they are free");
    let before = world.all(&sale, &[&held]).await;
    world.clock.advance_ms(5);

    for command in [block(2), blocking(&sale, 1, &["b-6", "B-5"])] {
        let answer = world.commit_one(command).await;
        assert!(matches!(answer, Ok(Outcome::Inventory(_))), "{answer:?}");
    }
    let change = |expected, requests| Command::Change {
        booking_id: held.booking_id,
        by: held.user_id.into(),
        user_id: held.user_id,
        event_id: sale.event_id,
        expected,
        requests,
        overrides: Overrides::NONE,
    };
    let same = || vec![count(&sale, 0, 2), seats(&sale, 1, &["a-3", "A-4"]), count(&sale, 0, 1)];
    for expected in [None, Some(1)] {
        let (kept, together) = given(world.commit_one(change(expected, same())).await);
        assert_eq!((kept, together), (held.clone(), None));
    }
    // The best seats that it might have are those it has.
    let best = vec![best(&sale, &[1], Party::of(2)), count(&sale, 0, 3)];
    let (kept, together) = given(world.commit_one(change(Some(1), best)).await);
    assert_eq!((kept, together), (held.clone(), Some(true)));
    let stale = world.commit_one(change(Some(2), same())).await;
    assert_eq!(stale, Err(Refusal::VersionMismatch { version: 1 }));
    assert_eq!(world.all(&sale, &[&held]).await, before);

    // In one batch with changes that are some: each sees what the one before it left.
    let fewer = || vec![seats(&sale, 1, &["A-3"])];
    let batch = [same(), fewer(), fewer(), same()].map(|requests| change(None, requests));
    let answers = world.commit(&batch).await.answers;
    let versions: Vec<_> = answers.into_iter().map(|answer| booking(answer).version).collect();
    assert_eq!(versions, [1, 2, 2, 3]);
    assert_eq!(world.counters(&sale, 0).await, (3, 0, 4));
    world.assert_sound().await;
}
