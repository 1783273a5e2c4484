//! Events: recording, listing, revising and calling them off.

use super::{Sale, World, answered, booking, confirm, creation_key, refusal, release};
use engine::OrgId;
use engine::access::{Grant, Permission, Role};
use engine::event::EventChange;
use engine::{
    Actor, BookingStatus, By, Command, EventDate, EventId, EventStatus, EventWithSections, Refusal,
    Timestamp, UserId,
};
use store::{CREATION_KEY_KEPT_MS, EventCard, EventFilter, PageRequest, Place};
use suite::world::usd;

const ALL: PageRequest<EventId> = PageRequest { after: None, limit: 100 };

impl World {
    async fn listed_events(&self, filter: &EventFilter) -> Vec<EventId> {
        let found = answered(self.store.events(filter, ALL).await);
        found.items.iter().map(|it| it.event.terms.event_id).collect()
    }

    async fn event(&self, event_id: EventId) -> EventWithSections {
        answered(self.store.event(event_id).await).expect("it was recorded")
    }

    async fn revise(
        &self,
        event_id: EventId,
        by: UserId,
        change: EventChange,
    ) -> Result<(), Refusal> {
        let revised = self.store.revise_event(event_id, by.into(), None, change).await;
        revised.map(drop).map_err(|error| refusal::<()>(Err(error)))
    }
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).expect("an instant")
}

fn titled(title: &str) -> EventChange {
    EventChange { title: Some(title.to_owned()), ..EventChange::default() }
}

pub async fn an_event_is_given_back_as_it_was_recorded(world: World) {
    let mut new = world.mint.event_on_sale(world.mint.user());
    let event_id = new.event.terms.event_id;
    let zone = "Europe/Berlin".parse().expect("a time zone");
    new.event.timezone = zone;
    new.event.date = EventDate::parse("2031-06-15", zone).expect("a day");
    "Für Elise — “live” 🎹 '; DROP TABLE events; --".clone_into(&mut new.event.title);
    new.event.description = Some("Zwei\u{2028}Zeilen".to_owned());
    new.event.venue = Some(String::new());
    let terms = &mut new.event.terms;
    terms.over_at = new.event.date.over_at();
    terms.status = EventStatus::Closed;
    terms.sales_start = Some(at("2030-02-01T00:00:00Z"));
    terms.sales_end = Some(at("2031-06-14T22:00:00.001Z"));
    terms.cancellable_until = Some(at("2031-01-01T00:00:00Z"));
    terms.max_seats_per_booking = Some(10_000);
    terms.max_seats_per_user = Some(1);
    terms.hold_ttl_ms = Some(1_000);
    // Sections keep the order in which they were given, whatever their names and ids.
    for name in ["Parkett", "Balkon", "Äußerer Ring"] {
        new.sections.push(world.mint.section_of(event_id, name));
    }
    new.sections.reverse();
    new.sections[1].price = usd(100_000_000_000);
    let created = world
        .store
        .create_event(
            &new,
            suite::world::owner(&new),
            &suite::world::opened(&[1, 1_000_000_000, 3]),
            None,
        )
        .await;
    assert!(!created.expect("recorded").replayed);
    assert_eq!(world.event(event_id).await, new);
    let listed = answered(world.store.events(&EventFilter::default(), ALL).await);
    let sums = EventCard {
        event: new.event.clone(),
        prices: Some((new.sections[0].price, usd(100_000_000_000))),
        capacity: 1_000_000_004,
        available: 1_000_000_004,
    };
    assert_eq!((listed.items, listed.has_more), (vec![sums], false));
    let mut capacities = answered(world.store.inventories(&[event_id]).await);
    capacities.sort_by_key(|live| live.inventory.capacity);
    let capacities: Vec<_> = capacities.iter().map(|it| it.inventory.capacity).collect();
    assert_eq!(capacities, [1, 3, 1_000_000_000]);
    assert_eq!(answered(world.store.event(world.mint.event()).await), None);
    world.assert_sound().await;
}

pub async fn a_creation_with_the_same_key_is_made_once(world: World) {
    let (ada, bob) = (world.mint.user(), world.mint.user());
    let create = async |user_id, name: &str, fingerprint| {
        let new = world.mint.event_on_sale(user_id);
        let key = creation_key(user_id, name, fingerprint);
        world.store.create_event(&new, suite::world::owner(&new), &[], Some(&key)).await
    };
    let first = create(ada, "k1", 1).await.expect("the first request");
    let again = create(ada, "k1", 1).await.expect("its retry");
    assert_eq!((first.replayed, again.replayed, again.id), (false, true, first.id));
    assert_eq!(refusal(create(ada, "k1", 2).await), Refusal::IdempotencyKeyReused);
    let other = create(ada, "k2", 1).await.expect("another key");
    let of_bob = create(bob, "k1", 2).await.expect("keys are of one user");
    let mut listed = world.listed_events(&EventFilter::default()).await;
    listed.sort_unstable();
    assert_eq!(listed, [first.id, other.id, of_bob.id], "a retry and a refusal record nothing");
}

pub async fn a_creation_key_is_kept_for_24_hours(world: World) {
    let ada = world.mint.user();
    let key = creation_key(ada, "k1", 1);
    let create = async |key| {
        let new = world.mint.event_on_sale(ada);
        world
            .store
            .create_event(&new, suite::world::owner(&new), &[], Some(key))
            .await
            .expect("nothing to refuse")
    };
    let first = create(&key).await;
    world.clock.advance_ms(CREATION_KEY_KEPT_MS - 1);
    assert_eq!(create(&key).await.id, first.id);
    world.clock.advance_ms(1);
    // From here on the key is as good as new, also for another request.
    let other = creation_key(ada, "k1", 2);
    let second = create(&other).await;
    assert!(!second.replayed);
    assert_ne!(second.id, first.id);
    world.clock.advance_ms(CREATION_KEY_KEPT_MS - 1);
    assert_eq!(create(&other).await.id, second.id);
}

pub async fn a_draft_is_listed_for_its_organizer_only(world: World) {
    let draft = world.sale_with(&[], |new| new.event.terms.status = EventStatus::Draft).await;
    let public = world.sale(&[]).await;
    let seen_by = async |viewer: Option<UserId>| {
        let own = viewer.map(|viewer| Place { org_id: viewer.into(), events: None });
        let filter = EventFilter { drafts_of: own.into_iter().collect(), ..EventFilter::default() };
        world.listed_events(&filter).await
    };
    assert_eq!(seen_by(None).await, [public.event_id]);
    assert_eq!(seen_by(Some(public.organizer_id)).await, [public.event_id]);
    assert_eq!(seen_by(Some(draft.organizer_id)).await, [public.event_id, draft.event_id]);
    let drafts = EventFilter { status: Some(EventStatus::Draft), ..EventFilter::default() };
    assert!(world.listed_events(&drafts).await.is_empty());
}

pub async fn a_list_of_places_has_the_newest_of_all_and_the_drafts_that_are_seen(world: World) {
    let teams = [1, 2].map(|number| OrgId::team(world.clock.now(), (0, number)));
    let member = |org_id| {
        let actor = Actor::User(world.mint.user());
        By::Acting(Grant { actor, org_id, can: Role::Manager.permissions(), only: None })
    };
    let mut made = Vec::new();
    for (number, status) in
        [EventStatus::OnSale, EventStatus::Draft].into_iter().cycle().take(8).enumerate()
    {
        world.clock.advance_ms(1);
        let org_id = teams[number / 2 % 2];
        let mut new = world.mint.event_on_sale(org_id);
        new.event.terms.status = status;
        world.store.create_event(&new, member(org_id), &[], None).await.expect("a member");
        made.push(new.event.terms.event_id);
    }
    // Of the first team are 0, 1, 4 and 5, of the second 2, 3, 6 and 7; the odd ones are drafts.
    let events = |numbers: &[usize]| numbers.iter().map(|at| made[*at]).collect::<Vec<_>>();
    let place = |team: usize, only: Option<&[usize]>| Place {
        org_id: teams[team],
        events: only.map(|numbers| events(numbers).into()),
    };
    let listed = async |places: Option<&[Place]>, drafts_of: &[Place]| {
        let filter = EventFilter {
            places: places.map(<[_]>::to_vec),
            drafts_of: drafts_of.to_vec(),
            ..EventFilter::default()
        };
        let all = world.listed_events(&filter).await;
        let first = PageRequest { after: None, limit: 2 };
        let page = answered(world.store.events(&filter, first).await).items;
        let page: Vec<_> = page.iter().map(|it| it.event.terms.event_id).collect();
        assert_eq!(page, all[..all.len().min(2)], "a page is the head of the list");
        all
    };
    assert_eq!(listed(None, &[]).await, events(&[6, 4, 2, 0]));
    assert_eq!(listed(None, &[place(0, None)]).await, events(&[6, 5, 4, 2, 1, 0]));
    assert_eq!(listed(None, &[place(0, Some(&[5, 7]))]).await, events(&[6, 5, 4, 2, 0]));
    let both = [place(0, None), place(1, None)];
    assert_eq!(listed(Some(&both), &[]).await, events(&[6, 4, 2, 0]));
    assert_eq!(listed(Some(&both), &both).await, events(&[7, 6, 5, 4, 3, 2, 1, 0]));
    assert_eq!(listed(Some(&both), &both[1..]).await, events(&[7, 6, 4, 3, 2, 0]));
    let confined = [place(0, Some(&[0, 1, 2]))];
    assert_eq!(listed(Some(&confined), &confined).await, events(&[1, 0]));
}

pub async fn i13_only_those_who_may_create_and_change_events_of_a_team(world: World) {
    let [team, other] = [1, 2].map(|number| OrgId::team(world.clock.now(), (0, number)));
    let acting = |role: Role, org_id| {
        let actor = Actor::User(world.mint.user());
        By::Acting(Grant { actor, org_id, can: role.permissions(), only: None })
    };
    let new = world.mint.event_on_sale(team);
    let event_id = new.event.terms.event_id;
    let create = async |by| world.store.create_event(&new, by, &[], None).await;
    let nothing = Refusal::NotFound { what: "organization" };
    assert_eq!(refusal(create(By::User(world.mint.user())).await), nothing);
    assert_eq!(refusal(create(acting(Role::Owner, other)).await), nothing);
    let missing = |permission| Refusal::PermissionMissing { permission };
    let refused = create(acting(Role::BoxOffice, team)).await;
    assert_eq!(refusal(refused), missing(Permission::EventWrite));
    create(acting(Role::Manager, team)).await.expect("a manager");

    let change = EventChange { title: Some("Another".to_owned()), ..EventChange::default() };
    let revise = async |by| world.store.revise_event(event_id, by, None, change.clone()).await;
    assert_eq!(refusal(revise(acting(Role::Owner, other)).await), Refusal::NotOrganizer);
    let refused = revise(acting(Role::Analyst, team)).await;
    assert_eq!(refusal(refused), missing(Permission::EventWrite));
    revise(acting(Role::Owner, team)).await.expect("an owner");
    let refused = world.store.cancel_event(event_id, acting(Role::BoxOffice, team)).await;
    assert_eq!(refusal(refused), missing(Permission::EventCancel));
    world.assert_sound().await;
}

pub async fn events_are_listed_newest_first_page_by_page_without_gaps(world: World) {
    let mut made = Vec::new();
    for _ in 0..25 {
        world.clock.advance_ms(1);
        made.push(world.sale(&[("A", 1), ("B", 1)]).await.event_id);
    }
    made.reverse();
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = PageRequest { after, limit: 7 };
        let found = answered(world.store.events(&EventFilter::default(), page).await);
        assert!(
            found.items.iter().all(|it| it.capacity == 2),
            "with the sums of all their sections"
        );
        seen.extend(found.items.iter().map(|it| it.event.terms.event_id));
        after = seen.last().copied();
        assert_eq!(found.has_more, found.items.len() == 7);
        if !found.has_more {
            break;
        }
        // What appears while somebody turns the pages shifts none of them.
        world.clock.advance_ms(1);
        world.sale(&[]).await;
    }
    assert_eq!(seen, made);
}

pub async fn events_are_filtered_by_organizer_status_and_time(world: World) {
    let on = async |date: &str, status| {
        let sale = world.sale_with(&[], |new| {
            new.event.date = EventDate::parse(date, new.event.timezone).expect("a date");
            new.event.terms.over_at = new.event.date.over_at();
            new.event.terms.status = status;
        });
        sale.await
    };
    let june = on("2031-06-15", EventStatus::OnSale).await;
    let july = on("2031-07-01T20:00:00Z", EventStatus::Closed).await;
    let all = EventFilter::default;
    let place = |of: &Sale| Place { org_id: of.organizer_id.into(), events: None };
    let of = |places: &[Place]| EventFilter { places: Some(places.to_vec()), ..all() };
    assert_eq!(world.listed_events(&of(&[place(&june)])).await, [june.event_id]);
    let both = [place(&june), place(&july)];
    assert_eq!(world.listed_events(&of(&both)).await, [july.event_id, june.event_id]);
    assert_eq!(world.listed_events(&of(&[])).await, []);
    let closed = EventFilter { status: Some(EventStatus::Closed), ..all() };
    assert_eq!(world.listed_events(&closed).await, [july.event_id]);
    for (from, to, found) in [
        (None, None, vec![july.event_id, june.event_id]),
        // A day is not over before its end, and has begun at its beginning.
        (Some("2031-06-15T23:59:59.999Z"), None, vec![july.event_id, june.event_id]),
        (Some("2031-06-16T00:00:00Z"), None, vec![july.event_id]),
        (None, Some("2031-06-15T00:00:00Z"), vec![]),
        (None, Some("2031-06-15T00:00:00.001Z"), vec![june.event_id]),
        (Some("2031-07-01T20:00:00Z"), None, vec![]),
        (
            Some("2031-06-01T00:00:00Z"),
            Some("2031-07-02T00:00:00Z"),
            vec![july.event_id, june.event_id],
        ),
    ] {
        let filter = EventFilter { from: from.map(at), to: to.map(at), ..all() };
        assert_eq!(world.listed_events(&filter).await, found, "from {from:?} to {to:?}");
    }
}

pub async fn a_title_is_found_by_any_part_of_it_without_case(world: World) {
    let title = async |title: &str| {
        world.sale_with(&[], |new| title.clone_into(&mut new.event.title)).await.event_id
    };
    let sunrise = title("Ein ÜBERGROẞER Sonnenaufgang").await;
    let percent = title("100%_rock").await;
    for (part, found) in [
        ("sonnen", vec![sunrise]),
        ("SONNENAUFGANG", vec![sunrise]),
        ("übergroß", vec![sunrise]),
        ("%", vec![percent]),
        ("0%_R", vec![percent]),
        ("_", vec![percent]),
        ("1%0", vec![]),
        ("", vec![percent, sunrise]),
    ] {
        let filter = EventFilter { title: Some(part.to_owned()), ..EventFilter::default() };
        assert_eq!(world.listed_events(&filter).await, found, "{part:?}");
    }
}

pub async fn an_event_is_revised_at_the_version_its_organizer_saw(world: World) {
    let sale = world.sale(&[("A", 3)]).await;
    let (event_id, organizer) = (sale.event_id, sale.organizer_id);
    world.clock.advance_ms(5);
    let revise =
        |expected, by, title| world.store.revise_event(event_id, by, expected, titled(title));
    revise(Some(1), organizer.into(), "Second").await.expect("the version is right");
    let mismatch = refusal(revise(Some(1), organizer.into(), "Third").await);
    assert_eq!(mismatch, Refusal::VersionMismatch { version: 2 });
    assert_eq!(
        refusal(revise(None, world.mint.user().into(), "Mine").await),
        Refusal::NotOrganizer
    );
    let revised = world.event(event_id).await.event;
    assert_eq!((&*revised.title, revised.version), ("Second", 2));
    assert_eq!(revised.updated_at, world.clock.now());
    assert_eq!(revised.created_at, world.clock.now().plus_ms(-5));
    let nothing = world.revise(world.mint.event(), organizer, titled("x")).await;
    assert_eq!(nothing, Err(Refusal::NotFound { what: "event" }));
    let draft = EventChange { status: Some(EventStatus::Draft), ..EventChange::default() };
    world.revise(event_id, organizer, draft).await.expect("reverted");
    let hidden = world.revise(event_id, world.mint.user(), titled("x")).await;
    assert_eq!(hidden, Err(Refusal::NotFound { what: "event" }));
}

pub async fn a_revision_is_made_whole_or_not_at_all(world: World) {
    let sale = world.sale(&[("A", 3)]).await;
    let before = world.event(sale.event_id).await;
    let now = world.clock.now();
    let window = EventChange {
        sales_start: Some(Some(now)),
        sales_end: Some(Some(now)),
        max_seats_per_user: Some(Some(1)),
        ..titled("Sold in no time")
    };
    let refused = world.revise(sale.event_id, sale.organizer_id, window.clone()).await;
    assert_eq!(refused, Err(Refusal::EmptySaleWindow));
    assert_eq!(world.event(sale.event_id).await, before);
    let window = EventChange { sales_end: Some(Some(now.plus_ms(1))), ..window };
    world.revise(sale.event_id, sale.organizer_id, window).await.expect("a window of 1 ms");
    // What the next batch decides by is what was revised.
    let limited = world.commit_one(Command::Hold(world.hold(&sale, &[(0, 2)]))).await;
    assert_eq!(limited, Err(Refusal::BuyerLimit { limit: 1, current: 0, remaining: 1 }));
    world.clock.advance_ms(1);
    let closed = world.commit_one(Command::Hold(world.hold(&sale, &[(0, 1)]))).await;
    assert_eq!(closed, Err(Refusal::SaleClosed));
}

pub async fn an_event_called_off_is_done_when_its_last_live_booking_is_cancelled(world: World) {
    let store = &world.store;
    let sale = world.sale(&[("A", 9)]).await;
    let other = world.sale(&[("A", 9)]).await;
    let due = world.held(&sale, &[(0, 1)]).await;
    world.clock.advance_ms(300_000);
    let held = world.held(&sale, &[(0, 1)]).await;
    let sold = world.sold(&sale, &[(0, 1)]).await;
    let given_back = world.held(&sale, &[(0, 1)]).await;
    booking(world.commit_one(release(&given_back)).await);
    world.sold(&other, &[(0, 1)]).await;
    world.clock.advance_ms(300_000);
    assert!(answered(store.to_cancel(100).await).is_empty());

    let stranger = store.cancel_event(sale.event_id, world.mint.user().into()).await;
    assert_eq!(refusal(stranger), Refusal::NotOrganizer);
    for _ in 0..2 {
        store.cancel_event(sale.event_id, sale.organizer_id.into()).await.expect("also again");
    }
    let event = world.event(sale.event_id).await.event;
    assert_eq!((event.terms.status, event.version), (EventStatus::Cancelled, 2));
    let revised = world.revise(sale.event_id, sale.organizer_id, titled("x")).await;
    assert_eq!(revised, Err(Refusal::EventCancelled));
    let refused = world.commit_one(confirm(&held)).await;
    assert_eq!(refused, Err(Refusal::EventCancelled));

    // In bounded portions, until none is left.
    let mut cancelled = Vec::new();
    loop {
        let live = answered(store.to_cancel(1).await);
        assert!(live.len() <= 1);
        let Some(booking_id) = live.first().copied() else { break };
        // A due hold is retired on the way, and its cancellation refused.
        let _ = world.commit_one(Command::Cancel { booking_id, by: By::System }).await;
        cancelled.push(booking_id);
        assert!(cancelled.len() < 10, "it never ends");
    }
    let mut statuses = Vec::new();
    for of in [&due, &held, &sold] {
        statuses.push(world.stored(of.booking_id).await.expect("it is kept").status);
    }
    let gone = BookingStatus::Cancelled;
    assert_eq!(statuses, [BookingStatus::Expired, gone, gone]);
    assert_eq!(world.counters(&sale, 0).await, (0, 0, 9));
    assert_eq!(world.counters(&other, 0).await, (0, 1, 8));
    assert!(answered(store.to_cancel(100).await).is_empty());
    world.assert_sound().await;
}

pub async fn events_that_are_done_do_not_stand_before_those_that_are_not(world: World) {
    let off = async |sale: &Sale| {
        let cancelled = world.store.cancel_event(sale.event_id, sale.organizer_id.into()).await;
        cancelled.expect("called off");
    };
    for _ in 0..250 {
        off(&world.sale(&[]).await).await;
    }
    let late = world.sale(&[("A", 9)]).await;
    let sold = world.sold(&late, &[(0, 1)]).await;
    off(&late).await;
    // Each round looks at a bounded number of events, and is rid of those that have nothing left.
    let mut found = Vec::new();
    for _ in 0..5 {
        found.extend(answered(world.store.to_cancel(10).await));
    }
    assert!(found.contains(&sold.booking_id));
}
