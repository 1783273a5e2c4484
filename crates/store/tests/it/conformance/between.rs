//! What changes between two batches is seen by the next, whatever a store keeps of the one before.
//!
//! Every change comes right after a batch about the same event, and right before another.

use super::seats::{count, seats};
use super::{Sale, World, booking, confirm};
use crate::raw::Raw;
use engine::event::EventChange;
use engine::{
    Booking, By, Command, Currency, EventStatus, Hold, Money, Opening, Outcome, Refusal,
    SectionChange, Timestamp, UserId,
};
use suite::halls::{laid, plain};
use suite::world::usd;

impl World {
    async fn take(&self, sale: &Sale, requests: &[(usize, u32)]) -> Result<Booking, Refusal> {
        self.take_as(self.mint.user(), sale, requests).await
    }

    async fn take_as(
        &self,
        user_id: UserId,
        sale: &Sale,
        requests: &[(usize, u32)],
    ) -> Result<Booking, Refusal> {
        let hold = Hold { user_id, ..self.hold(sale, requests) };
        match self.commit_one(Command::Hold(hold)).await? {
            Outcome::Booking { booking, .. } => Ok(booking),
            other => panic!("no booking: {other:?}"),
        }
    }

    async fn set_terms(&self, sale: &Sale, change: EventChange) {
        let revised =
            self.store.revise_event(sale.event_id, sale.organizer_id.into(), None, change).await;
        revised.expect("it may be changed");
    }

    async fn set_section(&self, sale: &Sale, place: usize, change: SectionChange) {
        let (section_id, by) = (sale.sections[place], sale.organizer_id);
        let revised =
            self.store.revise_section(sale.event_id, section_id, by.into(), None, change).await;
        revised.expect("it may be changed");
    }
}

pub async fn changed_terms_of_an_event_are_those_of_the_next_batch(world: World) {
    let sale = world.sale(&[("A", 50)]).await;
    let ada = world.mint.user();
    let first = world.take_as(ada, &sale, &[(0, 2)]).await.expect("no limit");
    let none = EventChange::default();

    world
        .set_terms(&sale, EventChange { max_seats_per_booking: Some(Some(1)), ..none.clone() })
        .await;
    let refused = world.take(&sale, &[(0, 2)]).await;
    assert_eq!(refused, Err(Refusal::TooManySeats { limit: 1, current: 0 }));

    let limits = EventChange {
        max_seats_per_booking: Some(None),
        max_seats_per_user: Some(Some(3)),
        ..none.clone()
    };
    world.set_terms(&sale, limits).await;
    let refused = world.take_as(ada, &sale, &[(0, 2)]).await;
    assert_eq!(refused, Err(Refusal::BuyerLimit { limit: 3, current: 2, remaining: 1 }));
    world.set_terms(&sale, EventChange { max_seats_per_user: Some(None), ..none.clone() }).await;
    world.take_as(ada, &sale, &[(0, 2)]).await.expect("no limit again");

    world.set_terms(&sale, EventChange { hold_ttl_ms: Some(Some(61_000)), ..none.clone() }).await;
    let brief = world.take(&sale, &[(0, 1)]).await.expect("there are seats");
    assert_eq!(brief.expires_at, brief.created_at.plus_ms(61_000));

    let sold = booking(world.commit_one(confirm(&first)).await);
    let cancel = Command::Cancel { booking_id: sold.booking_id, by: By::User(ada) };
    assert_eq!(world.commit_one(cancel.clone()).await, Err(Refusal::NotCancellable));
    let until = Some(world.clock.now().plus_ms(3_600_000));
    world.set_terms(&sale, EventChange { cancellable_until: Some(until), ..none.clone() }).await;
    world.commit_one(cancel).await.expect("it may be cancelled now");

    let opens = Some(world.clock.now().plus_ms(60_000));
    world.set_terms(&sale, EventChange { sales_start: Some(opens), ..none.clone() }).await;
    let refused = world.take(&sale, &[(0, 1)]).await;
    assert_eq!(refused, Err(Refusal::SaleNotOpen { sales_start: opens }));
    let always: Option<Option<Timestamp>> = Some(None);
    world.set_terms(&sale, EventChange { sales_start: always, ..none.clone() }).await;
    world.take(&sale, &[(0, 1)]).await.expect("it is open");

    world.set_terms(&sale, EventChange { status: Some(EventStatus::Closed), ..none.clone() }).await;
    assert_eq!(world.take(&sale, &[(0, 1)]).await, Err(Refusal::SaleClosed));
    world.set_terms(&sale, EventChange { status: Some(EventStatus::OnSale), ..none }).await;
    world.take(&sale, &[(0, 1)]).await.expect("it is open");
    world
        .store
        .cancel_event(sale.event_id, sale.organizer_id.into())
        .await
        .expect("it may be cancelled");
    assert_eq!(world.take(&sale, &[(0, 1)]).await, Err(Refusal::EventCancelled));
    world.assert_sound().await;
}

pub async fn changed_sections_are_those_of_the_next_batch(world: World) {
    let mut sale = world.sale(&[("A", 4)]).await;
    let held = world.take(&sale, &[(0, 1)]).await.expect("there are seats");
    assert_eq!((&*held.items[0].section_name, held.items[0].unit_price), ("A", usd(1250)));

    let dearer = SectionChange {
        name: Some("Balcony".into()),
        price: Some(usd(2000)),
        ..SectionChange::default()
    };
    world.set_section(&sale, 0, dearer).await;
    let held = world.take(&sale, &[(0, 1)]).await.expect("there are seats");
    assert_eq!((&*held.items[0].section_name, held.items[0].unit_price), ("Balcony", usd(2000)));

    world.set_section(&sale, 0, SectionChange { capacity: Some(3), ..Default::default() }).await;
    let refused = world.take(&sale, &[(0, 2)]).await;
    assert_eq!(refused, Err(Refusal::SoldOut { available: 1, requested: 2 }));
    world.set_section(&sale, 0, SectionChange { capacity: Some(30), ..Default::default() }).await;
    world.take(&sale, &[(0, 20)]).await.expect("there is room now");

    let section = world.mint.section_of(sale.event_id, "C");
    let added =
        world.store.add_section(&section, Opening::Capacity(2), sale.organizer_id.into(), None);
    sale.sections.push(added.await.expect("a free name").id);
    world.take(&sale, &[(0, 1), (1, 2)]).await.expect("it has seats");
    world.assert_sound().await;
}

pub async fn another_currency_and_a_new_layout_are_those_of_the_next_batch(world: World) {
    let sale = world.hall(vec![9.into(), laid("A", 4)]).await;
    let held = world.take(&sale, &[(0, 1)]).await.expect("there are seats");
    world.commit_one(super::release(&held)).await.expect("it is held");
    let euro = Currency::parse("EUR").expect("a currency");
    world.set_terms(&sale, EventChange { currency: Some(euro), ..Default::default() }).await;
    let held = world.take(&sale, &[(0, 1)]).await.expect("there are seats");
    assert_eq!(held.items[0].unit_price, Money { minor: 1250, currency: euro });
    world.commit_one(super::release(&held)).await.expect("it is held");
    let dollar = usd(1).currency;
    world.set_terms(&sale, EventChange { currency: Some(dollar), ..Default::default() }).await;

    world.seated(&sale, 1, &["A-1"]).await;
    let (section_id, by) = (sale.sections[1], By::User(sale.organizer_id));
    let lay = Command::Lay { section_id, by, layout: plain("A-B", 4) };
    world.commit_one(lay).await.expect("no seat is moved");
    world.seated(&sale, 1, &["B-4"]).await;
    booking(world.ask(&sale, vec![count(&sale, 1, 2)]).await);
    let refused = world.ask(&sale, vec![seats(&sale, 1, &["B-4"])]).await;
    assert!(matches!(refused, Err(Refusal::SeatsUnavailable { .. })), "{refused:?}");
    world.assert_sound().await;
}

pub async fn what_somebody_else_writes_is_seen_by_the_next_batch(world: World) {
    let sale = world.sale(&[("A", 9), ("B", 9)]).await;
    for _ in 0..2 {
        world.take(&sale, &[(0, 1), (1, 1)]).await.expect("there are seats");
    }
    let mut raw = Raw::of(&world.fresh).await;
    let id = raw.id(sale.sections[0].as_bytes());
    raw.run(&format!("UPDATE sections SET price_minor = 77 WHERE section_id = {id}")).await;
    let held = world.take(&sale, &[(0, 1)]).await.expect("there are seats");
    assert_eq!(held.items[0].unit_price, usd(77));
    let event_id = raw.id(sale.event_id.as_bytes());
    raw.run(&format!("UPDATE events SET status = 'closed' WHERE event_id = {event_id}")).await;
    assert_eq!(world.take(&sale, &[(0, 1)]).await, Err(Refusal::SaleClosed));
    raw.run(&format!("UPDATE events SET status = 'on_sale' WHERE event_id = {event_id}")).await;
    // Wrong counters are noticed, and those that were repaired are decided on.
    let held = "UPDATE inventory SET held = held + 1 WHERE section_id = ";
    raw.run(&format!("{held}{id}")).await;
    let told = world.store.repair(sale.sections[0], false).await.expect("the log is sound");
    assert!(!told.is_empty());
    let refused = world.take(&sale, &[(0, 7)]).await;
    assert_eq!(refused, Err(Refusal::SoldOut { available: 6, requested: 7 }));
    world.take(&sale, &[(0, 6)]).await.expect("there are as many");
    world.assert_sound().await;
}

pub async fn the_next_expiry_is_that_of_the_index_after_every_batch(world: World) {
    let sale = world.sale(&[("A", 30), ("B", 30)]).await;
    let mut live: Vec<Booking> = Vec::new();
    for round in 0..30_usize {
        world.clock.advance_ms(7_000);
        let mut batch = vec![Command::Hold(world.hold(&sale, &[(round % 2, 1)]))];
        if round % 5 == 4 {
            batch.push(Command::Hold(world.hold(&sale, &[(0, 1), (1, 1)])));
        }
        // The one that ends next, or one in the middle.
        let at = if round % 3 == 0 { 0 } else { live.len() / 2 };
        if round % 2 == 1 && at < live.len() {
            let gone = live.remove(at);
            let by = By::User(gone.user_id);
            batch.push(match round % 4 {
                1 => confirm(&gone),
                _ => Command::Extend { booking_id: gone.booking_id, by },
            });
        }
        let committed = world.commit(&batch).await;
        live.extend(committed.bookings.into_iter().filter(|it| it.version == 1));
        let sql = "SELECT 'differs' FROM inventory i WHERE coalesce(i.next_expiry, 0) <>
            coalesce((SELECT MIN(h.expires_at) FROM holds h WHERE h.section_id = i.section_id), 0)";
        assert_eq!(Raw::of(&world.fresh).await.texts(sql).await.len(), 0, "in round {round}");
        for told in committed.inventories {
            let stored = world.inventory(&sale, sale.place_of(told.section_id)).await.inventory;
            assert_eq!(told, stored, "what a commit tells is what is stored");
        }
    }
    world.clock.advance_ms(3_600_000);
    world.take(&sale, &[(0, 22), (1, 22)]).await.expect("all have ended");
    world.assert_sound().await;
}

impl Sale {
    fn place_of(&self, section_id: engine::SectionId) -> usize {
        self.sections.iter().position(|of| *of == section_id).expect("one of its sections")
    }
}
