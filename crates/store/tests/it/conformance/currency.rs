//! The currency of an event: all its prices change together, or none.

use super::{World, refusal};
use engine::event::EventChange;
use engine::{
    Booking, By, Command, Currency, Hold, Money, Opening, Outcome, Overrides, Refusal, SeatRequest,
    SectionChange, SectionId,
};
use std::fmt::Debug;
use suite::halls::{laid, names};
use suite::world::usd;

/// What the store answers, which neither refuses nor fails.
fn done<T, E: Debug>(result: Result<T, E>) -> T {
    result.expect("it is done")
}

fn euro() -> Currency {
    Currency::parse("EUR").expect("a currency")
}

fn in_euro() -> EventChange {
    EventChange { currency: Some(euro()), ..EventChange::default() }
}

/// An event with a counted section and a numbered one.
struct Both {
    sale: super::Sale,
    counted: SectionId,
    numbered: SectionId,
}

impl World {
    async fn both(&self) -> Both {
        let organizer_id = self.mint.user();
        let mut new = self.mint.event_on_sale(organizer_id);
        let event_id = new.event.terms.event_id;
        new.sections = ["Floor", "Hall"].map(|name| self.mint.section_of(event_id, name)).into();
        // Numbered seats have their lowest price, and the version at which they were laid.
        new.sections[1].price = usd(1250);
        let openings = [Opening::Capacity(9), laid("A-B", 6)];
        done(self.store.create_event(&new, suite::world::owner(&new), &openings, None).await);
        let [counted, numbered] = [0, 1].map(|at| new.sections[at].section_id);
        let sale = super::Sale { event_id, organizer_id, sections: vec![counted, numbered] };
        Both { sale, counted, numbered }
    }

    async fn cart(&self, both: &Both, seat: &str) -> Booking {
        let count = SeatRequest::Count { section_id: both.counted, seats: 2 };
        let named = SeatRequest::Seats { section_id: both.numbered, seats: names(&[seat]) };
        let hold = Hold {
            booking_id: self.mint.booking(both.sale.event_id),
            user_id: self.mint.user(),
            seller: None,
            overrides: Overrides::NONE,
            event_id: both.sale.event_id,
            requests: vec![count, named],
            key: None,
        };
        match self.step(Command::Hold(hold)).await {
            Outcome::Booking { booking, .. } => booking,
            other => panic!("no booking: {other:?}"),
        }
    }

    async fn step(&self, command: Command) -> Outcome {
        let mut answers = done(self.store.commit(&[command]).await).answers;
        answers.pop().expect("one").expect("nothing is in its way")
    }

    async fn change_currency(&self, both: &Both) -> Result<usize, Refusal> {
        let (event_id, by) = (both.sale.event_id, both.sale.organizer_id);
        let revised = self.store.revise_event(event_id, by.into(), None, in_euro()).await;
        revised.map(|changed| changed.len()).map_err(|error| refusal::<()>(Err(error)))
    }

    async fn prices(&self, both: &Both) -> Vec<Money> {
        let of = done(self.store.event(both.sale.event_id).await).expect("it was recorded");
        let (_, layout) = done(self.store.layout(both.numbered).await).expect("it is laid");
        let sections = of.sections.iter().map(|section| section.price);
        sections.chain([layout.lowest_price()]).collect()
    }
}

pub async fn all_prices_of_an_event_get_another_currency_together(world: World) {
    let both = world.both().await;
    let before = world.prices(&both).await;
    let earlier = world.cart(&both, "A-1").await;
    let by = By::User(earlier.user_id);
    world.step(Command::Cancel { booking_id: earlier.booking_id, by }).await;
    let block = Command::Block {
        section_id: both.numbered,
        by: both.sale.organizer_id.into(),
        blocked: engine::Blocked::Seats(names(&["B-6"])),
        reason: None,
    };
    world.step(block).await;
    assert_eq!(world.change_currency(&both).await, Ok(2));
    let after: Vec<_> = before.iter().map(|price| Money { currency: euro(), ..*price }).collect();
    assert_eq!(world.prices(&both).await, after);
    // A booking keeps the currency it was made in, and a new one has the new one.
    let stored = done(world.store.booking(earlier.booking_id).await).expect("it is kept");
    assert!(stored.items.iter().all(|item| item.unit_price.currency == usd(0).currency));
    let later = world.cart(&both, "A-1").await;
    assert!(later.items.iter().all(|item| item.unit_price.currency == euro()), "{later:?}");
    // What a section that is added must have, and that the same again is no change.
    let section = world.mint.section_of(both.sale.event_id, "Third");
    let (organizer, store) = (both.sale.organizer_id, &world.store);
    let foreign = store.add_section(&section, 1.into(), organizer.into(), None).await;
    assert_eq!(refusal(foreign), Refusal::CurrencyMismatch { currency: euro() });
    assert_eq!(world.change_currency(&both).await, Ok(0), "although a seat is held");
    world.assert_sound().await;
}

pub async fn a_currency_stays_while_anything_is_held_or_sold(world: World) {
    let both = world.both().await;
    let before = world.prices(&both).await;
    let held = world.cart(&both, "A-1").await;
    let in_use = Err(Refusal::CurrencyInUse { seats: 3 });
    assert_eq!(world.change_currency(&both).await, in_use);
    let (booking_id, user_id) = (held.booking_id, held.user_id);
    world.step(Command::Confirm { booking_id, by: By::User(user_id) }).await;
    assert_eq!(world.change_currency(&both).await, in_use);
    assert_eq!(world.prices(&both).await, before, "all or none");
    let of = done(world.store.event(both.sale.event_id).await).expect("it was recorded");
    assert_eq!(of.event.version, 1);
    world.step(Command::Cancel { booking_id, by: By::System }).await;
    // A hold whose time is over is none, whether or not anybody has swept.
    world.cart(&both, "B-1").await;
    assert_eq!(world.change_currency(&both).await, in_use);
    world.clock.advance_ms(600_000);
    assert_eq!(world.change_currency(&both).await, Ok(2));
    world.assert_sound().await;
}

pub async fn the_only_section_of_an_event_obeys_the_same_rule(world: World) {
    let sale = world.sale(&[("A", 9)]).await;
    let (event_id, by, section_id) = (sale.event_id, sale.organizer_id, sale.sections[0]);
    let price = Money { minor: 700, currency: euro() };
    let change = SectionChange { price: Some(price), ..SectionChange::default() };
    let revise =
        || world.store.revise_section(event_id, section_id, by.into(), None, change.clone());
    let held = world.hold(&sale, &[(0, 2)]);
    let (booking_id, held_by) = (held.booking_id, By::User(held.user_id));
    world.step(Command::Hold(held)).await;
    assert_eq!(refusal(revise().await), Refusal::CurrencyInUse { seats: 2 });
    world.step(Command::Cancel { booking_id, by: held_by }).await;
    done(revise().await);
    let of = done(world.store.event(event_id).await).expect("it was recorded");
    assert_eq!(of.sections[0].price, price);
    world.assert_sound().await;
}
