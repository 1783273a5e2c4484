//! Transfers of events from one organization to another.

use super::{World, answered, refusal};
use crate::conformance::{Sale, booking, confirm};
use engine::access::{AccessAction, AccessEntry, Actor, Grant, Noted, Permission, Role};
use engine::event::{EventChange, Transfer};
use engine::feed::Body;
use engine::{
    Blocked, By, Command, Event, EventId, LogKind, OrgId, Outcome, Refusal, Terms, UserId,
};
use futures_util::future::{join, join_all};
use store::{EntryFilter, EventFilter, PageRequest, Place};

const OUTSIDER: Refusal = Refusal::NotOrganizer;

fn acting(user_id: UserId, role: Role, org_id: OrgId) -> By {
    By::Acting(Grant { actor: Actor::User(user_id), org_id, can: role.permissions(), only: None })
}

fn block(sale: &Sale, by: By, number: i64) -> Command {
    let section_id = sale.sections[0];
    Command::Block { section_id, by, blocked: Blocked::Count(number), reason: None }
}

impl World {
    async fn event_now(&self, event_id: EventId) -> Event {
        answered(self.store.event(event_id).await).expect("it is there").event
    }

    /// What the access log of an organization says of transfers.
    async fn transfers(&self, org_id: OrgId) -> Vec<AccessEntry> {
        let action = Some(AccessAction::EventTransferred);
        let filter = EntryFilter { action, ..EntryFilter::default() };
        let page = answered(self.store.access_log(org_id, filter, 100).await);
        page.items.into_iter().map(|item| item.entry).collect()
    }

    /// The events that a list shows of an organization.
    async fn listed_of(&self, org_id: OrgId) -> Vec<EventId> {
        let places = Some(vec![Place { org_id, events: None }]);
        let page = PageRequest { after: None, limit: 10 };
        let filter = EventFilter { places, ..EventFilter::default() };
        let found = answered(self.store.events(&filter, page).await);
        found.items.iter().map(|card| card.event.terms.event_id).collect()
    }
}

pub async fn an_event_goes_to_another_organization_and_leaves_its_series(world: World) {
    let (store, ada) = (&world.store, world.mint.user());
    let own = OrgId::from(ada);
    let series = world.mint.series(ada, 77);
    store.create_series(&series, ada.into(), None).await.expect("hers");
    let mut new = world.mint.event_in(&series);
    let event_id = new.event.terms.event_id;
    new.sections = vec![world.mint.section_of(event_id, "A")];
    let opened = suite::world::opened(&[9]);
    store.create_event(&new, ada.into(), &opened, None).await.expect("hers");
    let sections = vec![new.sections[0].section_id];
    let sale = Sale { event_id, organizer_id: ada, sections };
    let held = world.held(&sale, &[(0, 2)]).await;
    let sold = booking(world.commit_one(confirm(&held)).await);
    let team = world.found_team(ada).await.expect("the first one");
    world.clock.advance_ms(5);

    let into = acting(ada, Role::Owner, team);
    let (transfer, note) = (Transfer { to: team, into, expected: Some(1) }, world.note("transfer"));
    for _ in 0..2 {
        let made = store.transfer_event(event_id, ada.into(), transfer, &note).await;
        made.expect("the same change is made once");
    }
    // Asked for again, by another request.
    for by in [ada.into(), into] {
        let again = store.transfer_event(event_id, by, transfer, &world.note("again")).await;
        again.expect("it is so");
    }
    let after = Event {
        terms: Terms { organizer_id: team, ..new.event.terms.clone() },
        series_id: None,
        version: 2,
        updated_at: world.clock.now(),
        ..new.event.clone()
    };
    assert_eq!(world.event_now(event_id).await, after);
    assert_eq!(answered(store.booking(sold.booking_id).await), Some(sold));
    assert_eq!(world.counters(&sale, 0).await, (0, 2, 7));
    assert_eq!((world.listed_of(own).await, world.listed_of(team).await), (vec![], vec![event_id]));
    let of_series = EventFilter { series: Some(series.series_id), ..EventFilter::default() };
    let page = PageRequest { after: None, limit: 10 };
    assert_eq!(answered(store.events(&of_series, page).await).items, vec![]);

    for org_id in [own, team] {
        let entry = AccessEntry {
            at: world.clock.now(),
            org_id,
            actor: Actor::User(ada),
            action: AccessAction::EventTransferred,
            target: Some(event_id.uuid()),
            before: Some(Noted::Organization(own)),
            after: Some(Noted::Organization(team)),
        };
        assert_eq!(world.transfers(org_id).await, [entry]);
    }
    // Its first entry writes the row of a personal organization.
    let personal = world.roster(own).await.organization;
    assert_eq!((personal.version, personal.created_at), (1, Some(world.clock.now())));
    let messages = world.messages(event_id, 1_000).await;
    let changes: Vec<_> =
        messages.iter().filter(|message| message.kind == LogKind::EventChanged).collect();
    let [change] = changes[..] else { panic!("one: {changes:?}") };
    assert_eq!(change.actor, Some(Actor::User(ada)));
    assert_eq!(change.body, Body::Event(Box::new(after)));
    world.assert_sound().await;
}

pub async fn i13_after_a_transfer_the_organization_of_before_changes_nothing(world: World) {
    let (store, sale) = (&world.store, world.sale(&[("A", 9)]).await);
    let ada = sale.organizer_id;
    let held = world.held(&sale, &[(0, 1)]).await;
    let sold = booking(world.commit_one(confirm(&held)).await);
    world.commit_one(block(&sale, ada.into(), 1)).await.expect("hers");
    let (team, bob) = world.team().await;
    let into = acting(ada, Role::Manager, team);
    let transfer = Transfer { to: team, into, expected: None };
    let made = store.transfer_event(sale.event_id, ada.into(), transfer, &world.note("it")).await;
    made.expect("hers, and a manager there");

    let cancel = |by| Command::Cancel { booking_id: sold.booking_id, by };
    let change = || EventChange { title: Some("Mine".to_owned()), ..EventChange::default() };
    for by in [ada.into(), acting(bob, Role::Owner, ada.into())] {
        let refused = world.commit_one(block(&sale, by, 2)).await;
        assert_eq!(refused.expect_err("not theirs"), OUTSIDER);
        let refused = world.commit_one(cancel(by)).await;
        assert_eq!(refused.expect_err("not theirs"), Refusal::NotFound { what: "booking" });
        let refused = store.revise_event(sale.event_id, by, None, change()).await;
        assert_eq!(refusal(refused), OUTSIDER);
        let user_id = by.user_id().expect("a person");
        let back = Transfer { to: user_id.into(), into: By::User(user_id), expected: None };
        let refused = store.transfer_event(sale.event_id, by, back, &world.note("it")).await;
        assert_eq!(refusal(refused), OUTSIDER);
    }
    let box_office = acting(bob, Role::BoxOffice, team);
    world.commit_one(block(&sale, box_office, 2)).await.expect("theirs");
    let cancelled = world.commit_one(cancel(box_office)).await;
    assert!(matches!(cancelled, Ok(Outcome::Booking { .. })), "{cancelled:?}");
    store.revise_event(sale.event_id, into, None, change()).await.expect("theirs");
    world.assert_sound().await;
}

pub async fn a_transfer_is_made_once_whatever_comes_after_it(world: World) {
    let (store, sale) = (&world.store, world.sale(&[]).await);
    let (ada, event_id) = (sale.organizer_id, sale.event_id);
    let team = world.found_team(ada).await.expect("the first one");
    let there = acting(ada, Role::Owner, team);
    let first = world.note("first");
    let to_team = Transfer { to: team, into: there, expected: None };
    let back = Transfer { to: ada.into(), into: ada.into(), expected: Some(2) };
    store.transfer_event(event_id, ada.into(), to_team, &first).await.expect("hers");
    store.transfer_event(event_id, there, back, &world.note("second")).await.expect("an owner");
    // Another attempt at the first, by somebody who does not know that it was made.
    store.transfer_event(event_id, ada.into(), to_team, &first).await.expect("it was made");
    let event = world.event_now(event_id).await;
    assert_eq!((event.terms.organizer_id, event.version), (ada.into(), 3));
    for org_id in [ada.into(), team] {
        assert_eq!(world.transfers(org_id).await.len(), 2);
    }
    world.assert_sound().await;
}

pub async fn a_transfer_that_is_refused_changes_nothing(world: World) {
    let (store, sale) = (&world.store, world.sale(&[("A", 3)]).await);
    let (ada, event_id) = (sale.organizer_id, sale.event_id);
    let team = world.found_team(ada).await.expect("the first one");
    let before = world.event_now(event_id).await;
    let missing = |permission| Refusal::PermissionMissing { permission };
    let nowhere = Refusal::NotFound { what: "organization" };
    let manager = acting(ada, Role::Manager, ada.into());
    let (owner, analyst) = (acting(ada, Role::Owner, team), acting(ada, Role::Analyst, team));
    let own = By::User(ada);
    for (by, into, expected, refused) in [
        (own, owner, Some(2), Refusal::VersionMismatch { version: 1 }),
        (manager, owner, None, missing(Permission::OrgWrite)),
        (owner, owner, None, OUTSIDER),
        (own, analyst, None, missing(Permission::EventWrite)),
        (own, own, None, nowhere),
    ] {
        let transfer = Transfer { to: team, into, expected };
        let made = store.transfer_event(event_id, by, transfer, &world.note("no")).await;
        assert_eq!(refusal(made), refused);
    }
    let transfer = Transfer { to: world.team_id(), into: own, expected: None };
    let made = store.transfer_event(event_id, own, transfer, &world.note("no")).await;
    assert_eq!(refusal(made), Refusal::NotFound { what: "organization" });
    let transfer = Transfer { to: team, into: owner, expected: None };
    let unknown = world.mint.event();
    let made = store.transfer_event(unknown, own, transfer, &world.note("no")).await;
    assert_eq!(refusal(made), Refusal::NotFound { what: "event" });

    assert_eq!(world.event_now(event_id).await, before);
    for org_id in [ada.into(), team] {
        assert_eq!(world.transfers(org_id).await, vec![]);
    }
    assert_eq!(world.roster(ada.into()).await.organization.created_at, None);
    world.assert_sound().await;
}

pub async fn i13_what_the_organization_of_before_does_comes_before_the_transfer(world: World) {
    for _ in 0..10 {
        let sale = world.sale(&[("A", 50)]).await;
        let (ada, event_id) = (sale.organizer_id, sale.event_id);
        let (team, _) = world.team().await;
        let into = acting(ada, Role::Manager, team);
        let blocks = (1..=12).map(|number| {
            let block = block(&sale, ada.into(), number);
            let world = &world;
            async move { world.commit_one(block).await }
        });
        let transfer = Transfer { to: team, into, expected: None };
        let note = world.note("transfer");
        let transfer = world.store.transfer_event(event_id, ada.into(), transfer, &note);
        let (blocked, transferred) = join(join_all(blocks), transfer).await;
        transferred.expect("hers, and a manager there");
        let made = blocked.iter().filter(|blocked| blocked.is_ok()).count();
        for refused in blocked.into_iter().filter_map(Result::err) {
            assert_eq!(refused, OUTSIDER, "judged by the organization that has it");
        }
        let messages = world.messages(event_id, 1_000).await;
        let is_transfer = |kind| kind == LogKind::EventChanged;
        let at = messages.iter().position(|message| is_transfer(message.kind));
        let at = at.expect("it was transferred");
        let is_block = |kind| kind == LogKind::Blocked;
        let before = messages[..at].iter().filter(|message| is_block(message.kind)).count();
        assert_eq!(before, made, "each that was made, and made before");
        assert_eq!(messages.len(), at + 1, "nothing after it");
    }
    world.assert_sound().await;
}
