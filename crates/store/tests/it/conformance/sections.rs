//! Sections: adding them, and changing what they are called, cost and hold.

use super::{World, answered, booking, creation_key, refusal};
use engine::{Command, Currency, EventStatus, Money, Refusal, Section, SectionChange, SectionId};
use suite::world::usd;

fn named(name: &str) -> SectionChange {
    SectionChange { name: Some(name.into()), ..SectionChange::default() }
}

fn sized(capacity: i64) -> SectionChange {
    SectionChange { capacity: Some(capacity), ..SectionChange::default() }
}

pub async fn a_section_is_added_at_the_end_of_its_event(world: World) {
    let sale = world.sale(&[("A", 3)]).await;
    let section = world.mint.section_of(sale.event_id, "B");
    let added = world.store.add_section(&section, 5.into(), sale.organizer_id.into(), None).await;
    assert!(!added.expect("a free name").replayed);
    let event = answered(world.store.event(sale.event_id).await).expect("it was recorded");
    assert_eq!(event.event.version, 2);
    let names: Vec<_> = event.sections.iter().map(|section| &*section.name).collect();
    assert_eq!(names, ["A", "B"]);
    let hold = world.hold(&sale, &[(0, 1)]);
    let requests = vec![engine::SeatRequest::Count { section_id: section.section_id, seats: 5 }];
    booking(world.commit_one(Command::Hold(engine::Hold { requests, ..hold })).await);
    world.assert_sound().await;
}

pub async fn a_section_with_the_name_or_the_currency_of_no_neighbour_is_refused(world: World) {
    let sale = world.sale(&[("Balkon Äußen", 3)]).await;
    let (event_id, organizer) = (sale.event_id, sale.organizer_id);
    let add = async |section: &Section, by| {
        refusal(world.store.add_section(section, 1.into(), by, None).await)
    };
    let section = world.mint.section_of(event_id, "BALKON ÄUẞEN");
    assert_eq!(add(&section, organizer.into()).await, Refusal::DuplicateSection);
    let eur = Currency::parse("EUR").expect("a currency");
    let section = world.mint.section_of(event_id, "B");
    let foreign = Section { price: Money { minor: 1, currency: eur }, ..section.clone() };
    let mismatch = Refusal::CurrencyMismatch { currency: usd(0).currency };
    assert_eq!(add(&foreign, organizer.into()).await, mismatch);
    assert_eq!(add(&section, world.mint.user().into()).await, Refusal::NotOrganizer);
    let nowhere = world.mint.section_of(world.mint.event(), "B");
    assert_eq!(add(&nowhere, organizer.into()).await, Refusal::NotFound { what: "event" });
    world.store.cancel_event(event_id, organizer.into()).await.expect("called off");
    assert_eq!(add(&section, organizer.into()).await, Refusal::EventCancelled);
    let event = answered(world.store.event(event_id).await).expect("it was recorded");
    assert_eq!((event.sections.len(), event.event.version), (1, 2));
    world.assert_sound().await;
}

pub async fn a_section_added_with_the_same_key_is_added_once(world: World) {
    let sale = world.sale(&[]).await;
    let organizer = sale.organizer_id;
    let add = async |name: &str, fingerprint| {
        let section = world.mint.section_of(sale.event_id, name);
        let key = creation_key(organizer, "k1", fingerprint);
        world.store.add_section(&section, 5.into(), organizer.into(), Some(&key)).await
    };
    let first = add("A", 1).await.expect("the first request");
    let again = add("A", 1).await.expect("its retry");
    assert_eq!((again.replayed, again.id), (true, first.id));
    assert_eq!(refusal(add("B", 2).await), Refusal::IdempotencyKeyReused);
    // The keys of events are others, and a refusal keeps no key.
    let key = creation_key(organizer, "k1", 3);
    let event = world.mint.event_on_sale(organizer);
    let event =
        world.store.create_event(&event, suite::world::owner(&event), &[], Some(&key)).await;
    assert!(!event.expect("another operation").replayed);
    let key = creation_key(organizer, "k2", 1);
    let twin = world.mint.section_of(sale.event_id, "a");
    let refused = world.store.add_section(&twin, 5.into(), organizer.into(), Some(&key)).await;
    assert_eq!(refusal(refused), Refusal::DuplicateSection);
    let other = world.mint.section_of(sale.event_id, "B");
    let added = world.store.add_section(&other, 5.into(), organizer.into(), Some(&key)).await;
    assert!(!added.expect("nothing was kept").replayed);
}

pub async fn a_section_is_changed_by_the_organizer_of_its_event_only(world: World) {
    let sale = world.sale(&[("A", 3), ("B", 3)]).await;
    let other = world.sale_with(&[("A", 3)], |_| ()).await;
    let draft =
        world.sale_with(&[("A", 3)], |new| new.event.terms.status = EventStatus::Draft).await;
    let revise = async |event_id, section_id: SectionId, by, expected, change| {
        world.store.revise_section(event_id, section_id, by, expected, change).await
    };
    let (event_id, a, organizer) = (sale.event_id, sale.sections[0], sale.organizer_id);
    let stranger = other.organizer_id;
    let refused = revise(event_id, a, stranger.into(), None, named("X")).await;
    assert_eq!(refusal(refused), Refusal::NotOrganizer);
    let refused =
        revise(draft.event_id, draft.sections[0], stranger.into(), None, named("X")).await;
    assert_eq!(refusal(refused), Refusal::NotFound { what: "event" });
    // A section of another event does not exist here, not even for its own organizer.
    let refused = revise(event_id, other.sections[0], organizer.into(), None, named("X")).await;
    assert_eq!(refusal(refused), Refusal::NotFound { what: "section" });
    let refused = revise(event_id, a, organizer.into(), None, named("b")).await;
    assert_eq!(refusal(refused), Refusal::DuplicateSection);
    let refused = revise(event_id, a, organizer.into(), Some(7), named("X")).await;
    assert_eq!(refusal(refused), Refusal::VersionMismatch { version: 1 });
    revise(event_id, a, organizer.into(), Some(1), named("a"))
        .await
        .expect("its own name, otherwise");
    let event = answered(world.store.event(event_id).await).expect("it was recorded");
    assert_eq!((&*event.sections[0].name, event.event.version), ("a", 2));
    world.store.cancel_event(event_id, organizer.into()).await.expect("called off");
    let refused = revise(event_id, a, organizer.into(), None, named("X")).await;
    assert_eq!(refusal(refused), Refusal::EventCancelled);
}

pub async fn a_capacity_below_the_seats_in_use_is_refused_with_the_smallest_one(world: World) {
    let sale = world.sale(&[("A", 9)]).await;
    let a = sale.sections[0];
    world.sold(&sale, &[(0, 2)]).await;
    world.clock.advance_ms(300_000);
    let held = world.held(&sale, &[(0, 3)]).await;
    let blocked = Command::Block {
        section_id: a,
        by: sale.organizer_id.into(),
        blocked: engine::Blocked::Count(1),
        reason: None,
    };
    world.commit_one(blocked).await.expect("there are enough");
    let resize = |capacity| {
        let change = sized(capacity);
        world.store.revise_section(sale.event_id, a, sale.organizer_id.into(), None, change)
    };
    assert_eq!(refusal(resize(5).await), Refusal::CapacityInUse { minimum: 6 });
    let inventory = resize(6).await.expect("just enough");
    assert_eq!((inventory.capacity, inventory.available()), (6, 0));
    assert_eq!(inventory.next_expiry, Some(held.expires_at));
    // The time of a dead hold counts here too: its seats are not in use.
    world.clock.advance_ms(600_000);
    let inventory = resize(3).await.expect("the hold is over");
    assert_eq!((inventory.capacity, inventory.held, inventory.sold), (3, 0, 2));
    assert_eq!(inventory.next_expiry, None);
    assert_eq!(inventory, world.inventory(&sale, 0).await.inventory);
    world.assert_sound().await;
}

pub async fn a_change_of_a_section_is_made_whole_or_not_at_all(world: World) {
    let sale = world.sale(&[("A", 9)]).await;
    world.sold(&sale, &[(0, 4)]).await;
    let before = answered(world.store.event(sale.event_id).await);
    let change = SectionChange {
        name: Some("X".into()),
        price: Some(usd(1)),
        capacity: Some(3),
        layout: None,
    };
    let (a, organizer) = (sale.sections[0], sale.organizer_id);
    let refused =
        world.store.revise_section(sale.event_id, a, organizer.into(), None, change).await;
    assert_eq!(refusal(refused), Refusal::CapacityInUse { minimum: 4 });
    assert_eq!(answered(world.store.event(sale.event_id).await), before);
    assert_eq!(world.inventory(&sale, 0).await.inventory.capacity, 9);
    world.assert_sound().await;
}

pub async fn a_new_price_leaves_bookings_as_they_are(world: World) {
    let sale = world.sale(&[("A", 9)]).await;
    let held = world.held(&sale, &[(0, 2)]).await;
    assert_eq!(held.total_price(), usd(2_500));
    let change = SectionChange {
        name: Some("Rang".into()),
        price: Some(usd(0)),
        ..SectionChange::default()
    };
    let (a, organizer) = (sale.sections[0], sale.organizer_id);
    let changed =
        world.store.revise_section(sale.event_id, a, organizer.into(), None, change).await;
    changed.expect("nothing to refuse");
    let sold = booking(world.commit_one(super::confirm(&held)).await);
    assert_eq!((sold.total_price(), &*sold.items[0].section_name), (usd(2_500), "A"));
    let cheap = world.held(&sale, &[(0, 2)]).await;
    assert_eq!((cheap.total_price(), &*cheap.items[0].section_name), (usd(0), "Rang"));
    assert_eq!(world.stored(sold.booking_id).await, Some(sold));
}
