//! Messages: what the log tells those who follow it.

use super::{World, answered, booking, confirm, key};
use engine::event::{EventChange, EventCommand};
use engine::feed::{Body, Message};
use engine::log::{Position, Timeline};
use engine::{
    Actor, Blocked, Booking, By, Command, EventId, Hold, LogCursor, LogKind, Outcome, Overrides,
    SeatRequest, SectionChange, SectionId,
};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

impl World {
    /// All messages of an event after a cursor, in pages of `limit` entries. What was
    /// committed before is among them: a transaction under way anywhere on a server keeps readers of
    /// the log waiting, and a marker at the end shows that none is left.
    pub(super) async fn messages(&self, event_id: EventId, limit: u32) -> Vec<Message> {
        let marker = self.sale(&[]).await.event_id;
        let (mut cursor, mut found) = (LogCursor::default(), Vec::new());
        for _ in 0..5_000 {
            let page = answered(self.store.messages_after(cursor, limit).await);
            let page = page.expect("a timeline of this log");
            if page.next.position == cursor.position {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            cursor = page.next;
            let is_over = page.messages.iter().any(|message| message.event_id == marker);
            found.extend(page.messages.into_iter().filter(|it| it.event_id == event_id));
            if is_over {
                return found;
            }
        }
        panic!("the marker never comes");
    }
}

/// A life in which everything happens that makes a message; the bookings at each of their versions.
async fn all_that_happens(world: &World) -> (super::Sale, Vec<Booking>) {
    let sale = world.sale(&[("A", 20), ("B", 20)]).await;
    let [a, b] = [sale.sections[0], sale.sections[1]];
    let mut told = Vec::new();
    let mut step = async |command: Command| {
        world.clock.advance_ms(7);
        let outcome = world.commit_one(command).await;
        if let Ok(Outcome::Booking { booking, .. }) = &outcome {
            told.push(booking.clone());
        }
        outcome
    };
    let cart = booking(step(Command::Hold(world.hold(&sale, &[(0, 2), (1, 1)]))).await);
    let by = By::User(cart.user_id);
    let (booking_id, user_id) = (cart.booking_id, cart.user_id);
    step(Command::Extend { booking_id, by }).await.expect("there is time to gain");
    let to = |section_id, seats| vec![SeatRequest::Count { section_id, seats }];
    let change = |requests| {
        let event_id = sale.event_id;
        Command::Change {
            booking_id,
            by,
            user_id,
            event_id,
            expected: None,
            requests,
            overrides: Overrides::NONE,
        }
    };
    step(change(to(b, 3))).await.expect("there are seats");
    step(change(to(a, 1))).await.expect("there are seats");
    step(confirm(&cart)).await.expect("it is held");
    step(Command::Cancel { booking_id, by: sale.organizer_id.into() }).await.expect("a sale");
    let hold = booking(step(Command::Hold(world.hold(&sale, &[(0, 1)]))).await);
    step(super::release(&hold)).await.expect("it is held");
    let left = booking(step(Command::Hold(world.hold(&sale, &[(1, 2)]))).await);
    world.clock.advance_ms(left.expires_at.since_ms(world.clock.now()));
    let organizer = By::User(sale.organizer_id);
    let (blocked, reason) = (Blocked::Count(2), Some("pillar".into()));
    step(Command::Block { section_id: b, by: organizer, blocked, reason }).await.expect("free");
    step(Command::Resize { section_id: a, by: organizer, capacity: 30 }).await.expect("more");
    told.push(answered(world.store.booking(left.booking_id).await).expect("it expired"));
    let renamed = SectionChange { name: Some("Balcony".into()), ..SectionChange::default() };
    let command = EventCommand::ReviseSection { section_id: b, expected: None, change: renamed };
    world.store.change_event(sale.event_id, organizer, command).await.expect("a free name");
    let change = EventChange { title: Some("Another".to_owned()), ..EventChange::default() };
    let command = EventCommand::Revise { expected: None, change };
    world.store.change_event(sale.event_id, organizer, command).await.expect("allowed");
    world.store.change_event(sale.event_id, organizer, EventCommand::CallOff).await.expect("too");
    (sale, told)
}

pub async fn a_message_says_what_was_so_at_its_version(world: World) {
    let (sale, told) = all_that_happens(&world).await;
    let messages = world.messages(sale.event_id, 1_000).await;
    let kinds: Vec<_> = messages.iter().map(|message| message.kind.message_type()).collect();
    let expected = [
        "event.created",
        "section.created",
        "section.created",
        "booking.held",
        "booking.extended",
        "booking.changed",
        "booking.changed",
        "booking.confirmed",
        "booking.cancelled",
        "booking.held",
        "booking.released",
        "booking.held",
        "booking.expired",
        "section.blocked",
        "section.resized",
        "section.changed",
        "event.changed",
        "event.called_off",
    ];
    assert_eq!(kinds, expected);
    let bookings = messages.iter().filter_map(|message| match &message.body {
        Body::Booking { booking, .. } => Some(booking.clone()),
        _ => None,
    });
    assert_eq!(bookings.collect::<Vec<_>>(), told, "each as it was answered then");
    let Body::Booking { before: Some(before), .. } = &messages[5].body else {
        panic!("a change says what it replaced")
    };
    assert_eq!(before, &told[1].items);
    let organizer = Some(Actor::User(sale.organizer_id));
    let actors: Vec<_> = messages.iter().map(|message| message.actor).collect();
    let by_organizer = [0, 1, 2, 8, 13, 14, 15, 16, 17];
    for (number, actor) in actors.iter().enumerate() {
        let expected = organizer.filter(|_| by_organizer.contains(&number));
        assert_eq!(*actor, expected, "who did {}", expected_kind(&kinds, number));
    }
    let Body::Section { state: Some((section, inventory)), reason, .. } = &messages[13].body else {
        panic!("a change of a section says what it is")
    };
    assert_eq!((&*section.name, inventory.blocked, reason.as_deref()), ("B", 2, Some("pillar")));
    let Body::Section { state: Some((section, _)), .. } = &messages[15].body else {
        panic!("a change of a section says what it is")
    };
    assert_eq!(&*section.name, "Balcony");
    let now = answered(world.store.event(sale.event_id).await).expect("it is there").event;
    assert_eq!(messages[17].body, Body::Event(Box::new(now)));
    let Body::Event(first) = &messages[0].body else { panic!("an event") };
    assert_ne!(first.title, "Another", "as it was then");
    world.assert_sound().await;
}

fn expected_kind<'a>(kinds: &[&'a str], number: usize) -> &'a str {
    kinds[number]
}

pub async fn the_versions_of_a_section_rise_by_one_from_message_to_message(world: World) {
    let (sale, _) = all_that_happens(&world).await;
    let mut seen: HashMap<SectionId, i64> = HashMap::new();
    let mut ids = HashSet::new();
    for message in world.messages(sale.event_id, 1_000).await {
        assert!(ids.insert(message.id), "{} names two messages", message.id);
        let sections = match message.body {
            Body::Booking { sections, .. } => sections,
            Body::Section { section_id, version, .. } => vec![(section_id, version)],
            Body::Event(_) => Vec::new(),
        };
        for (section_id, version) in sections {
            let before = seen.insert(section_id, version).unwrap_or(0);
            assert_eq!(version, before + 1, "nothing was missed");
        }
    }
    let last = answered(world.store.inventories(&[sale.event_id]).await);
    let last: HashMap<_, _> =
        last.iter().map(|it| (it.inventory.section_id, it.inventory.version)).collect();
    assert_eq!(seen, last);
}

pub async fn pages_of_any_size_have_the_same_messages(world: World) {
    let (sale, _) = all_that_happens(&world).await;
    let whole = world.messages(sale.event_id, 1_000).await;
    assert!(whole.iter().map(|message| message.cursor).is_sorted());
    for limit in [1, 2, 3] {
        assert_eq!(world.messages(sale.event_id, limit).await, whole, "in pages of {limit} rows");
    }
    let mut by_booking: BTreeMap<_, Vec<i64>> = BTreeMap::new();
    for message in &whole {
        if let Body::Booking { booking, .. } = &message.body {
            by_booking.entry(booking.booking_id).or_default().push(booking.version);
        }
    }
    for versions in by_booking.into_values() {
        let all: Vec<_> = (1..=i64::try_from(versions.len()).expect("few")).collect();
        assert_eq!(versions, all, "every version of a booking, in order");
    }
}

pub async fn a_cursor_of_an_unknown_timeline_is_refused(world: World) {
    let foreign = LogCursor { timeline: Timeline(7), position: Position { seq: 1, place: 0 } };
    answered(world.store.messages_after(foreign, 10).await)
        .expect_err("of no timeline of this log");
}

pub async fn another_epoch_opens_a_timeline_and_readers_go_on_in_it(world: World) {
    let sale = world.sale(&[("A", 9)]).await;
    world.held(&sale, &[(0, 1)]).await;
    let before = world.messages(sale.event_id, 1_000).await;
    let read = before.last().expect("a hold").cursor;
    answered(world.store.begin_epoch().await);
    world.held(&sale, &[(0, 1)]).await;
    let all = world.messages(sale.event_id, 1_000).await;
    assert_eq!(all[..before.len()], before, "rows keep their timeline");
    let after = &all[before.len()..];
    assert_eq!(after.iter().map(|it| it.kind).collect::<Vec<_>>(), [LogKind::Held]);
    assert!(after[0].cursor.timeline > read.timeline, "{} and {read}", after[0].cursor);
    assert!(after[0].cursor.to_string() > read.to_string(), "also as text");
    // A reader that was further in the earlier timeline goes on where the new one began.
    let position = Position { seq: read.position.seq + 1_000, place: 0 };
    let lost = LogCursor { position, ..read };
    let mut found = Vec::new();
    for _ in 0..1_000 {
        let page = answered(world.store.messages_after(lost, 1_000).await).expect("known");
        found = page.messages;
        found.retain(|message| message.event_id == sale.event_id);
        if !found.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(found, after);
}

pub async fn i7_what_is_refused_or_replayed_makes_no_message(world: World) {
    let sale = world.sale(&[("A", 2)]).await;
    let hold = Hold { key: Some((key("once"), 1)), ..world.hold(&sale, &[(0, 2)]) };
    for _ in 0..2 {
        world.commit_one(Command::Hold(hold.clone())).await.expect("made, and replayed");
    }
    world.commit_one(Command::Hold(world.hold(&sale, &[(0, 1)]))).await.expect_err("sold out");
    let stranger = By::User(world.mint.user());
    let command = EventCommand::CallOff;
    world.store.change_event(sale.event_id, stranger, command).await.expect_err("not theirs");
    let kinds: Vec<_> =
        world.messages(sale.event_id, 1_000).await.iter().map(|it| it.kind).collect();
    assert_eq!(kinds, [LogKind::EventCreated, LogKind::Opened, LogKind::Held]);
}
