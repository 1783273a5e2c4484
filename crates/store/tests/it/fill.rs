//! Stores that were filled with a made-up past: sound, and to be used like any other.

use crate::world::{self, Fresh, options, sqlite_url};
use engine::feed::Body;
use engine::log::Position;
use engine::{
    Booking, BookingStatus, By, Command, EventId, EventStatus, EventWithSections, Hold, Inventory,
    LiveInventory, LogCursor, LogKind, Outcome, Overrides, SeatRequest, SectionId,
};
use sqlx::{Connection as _, SqliteConnection};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::time::Duration;
use store::{
    BookingFilter, EventCard, EventFilter, Fill, PageRequest, Reckoning, fill_store, open_store,
};
use suite::world::{ManualClock, Mint, POLICY};

const FILL: Fill = Fill { bookings: 20_000, events: 50, seed: 7, beside_others: false };

/// The stores there are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sqlite,
    Postgres,
}

/// A filled store.
struct Filled {
    fresh: Fresh,
    /// Of the embedded store.
    file: Option<PathBuf>,
    clock: ManualClock,
    mint: Mint,
}

impl Filled {
    async fn of(kind: Kind, fill: &Fill) -> Self {
        let clock = ManualClock::new();
        let (fresh, file) = match kind {
            Kind::Sqlite => {
                let (fresh, path) = world::filled_sqlite(fill, &clock).await;
                (fresh, Some(path))
            }
            Kind::Postgres => (world::filled_postgres(fill, &clock).await, None),
        };
        Self { fresh, file, mint: Mint::new(&clock), clock }
    }

    /// Changes what is stored behind the back of the store.
    async fn spoil(&self, sql: &'static str) {
        if let Some(url) = &self.fresh.url {
            testbed::postgres::shared().sql(url, sql);
        } else if let Some(path) = &self.file {
            let connection = SqliteConnection::connect(&sqlite_url(path)).await;
            let mut connection = connection.expect("the file is there");
            sqlx::query(sql).execute(&mut connection).await.expect("runs");
        }
    }

    async fn assert_sound(&self) {
        let report = self.fresh.store.audit().await.expect("the store answers");
        assert!(report.is_clean(), "the audit finds {:?}", report.told);
    }

    /// All events, newest first.
    async fn events(&self) -> Vec<EventWithSections> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = PageRequest { after, limit: 20 };
            let found = self.fresh.store.events(&EventFilter::default(), page).await;
            let found = found.expect("the store answers");
            let Some(last) = found.items.last() else { return all };
            after = Some(last.event.terms.event_id);
            for EventCard { event, capacity, available, .. } in found.items {
                let event_id = event.terms.event_id;
                let of = self.fresh.store.event(event_id).await.expect("the store answers");
                all.push(of.expect("it is listed"));
                let live = self.fresh.store.inventories(&[event_id]).await.expect("it answers");
                let sum = |count: fn(&LiveInventory) -> i64| live.iter().map(count).sum::<i64>();
                assert_eq!(capacity, sum(|live| live.inventory.capacity));
                assert_eq!(available, sum(|live| live.inventory.available() + live.due));
            }
        }
    }

    /// All bookings of an event, newest first.
    async fn bookings(&self, event_id: EventId) -> Vec<Booking> {
        let filter = BookingFilter { user: None, event: Some(event_id), status: None };
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let found = self.fresh.store.bookings(&filter, PageRequest { after, limit: 100 }).await;
            let found = found.expect("the store answers");
            let Some(last) = found.items.last() else { return all };
            after = Some(last.booking_id);
            all.extend(found.items);
        }
    }

    async fn commit(&self, command: Command) -> Booking {
        let committed = self.fresh.store.commit(&[command]).await.expect("the store answers");
        match committed.answers.into_iter().next() {
            Some(Ok(Outcome::Booking { booking, .. })) => booking,
            other => panic!("expected a booking, got {other:?}"),
        }
    }

    /// Retires all due holds; returns how many there were.
    async fn sweep(&self) -> usize {
        let mut expired = 0;
        loop {
            let due = self.fresh.store.due_sections(100).await.expect("the store answers");
            if due.is_empty() {
                return expired;
            }
            let retire = |(section_id, _)| Command::Retire { section_id };
            let batch: Vec<_> = due.into_iter().map(retire).collect();
            expired += self.fresh.store.commit(&batch).await.expect("it answers").expired;
        }
    }

    /// The reckoning once the log has settled: a transaction of another test on the same server keeps
    /// readers of the log waiting.
    async fn reckon(&self) -> Reckoning {
        for _ in 0..1_000 {
            let read = self.fresh.store.reckon(Position::default()).await;
            let read = read.expect("the store answers");
            if read.unsettled.is_empty() {
                return read;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the log never settles")
    }

    /// A section with seats left of an event that sells.
    async fn section_with_room(&self) -> (EventId, SectionId) {
        for of in self.events().await {
            let event_id = of.event.terms.event_id;
            let inventories = self.fresh.store.inventories(&[event_id]).await.expect("it answers");
            let room = inventories.iter().find(|live| live.inventory.available() >= 4);
            if let (EventStatus::OnSale, Some(live)) = (of.event.terms.status, room) {
                return (event_id, live.inventory.section_id);
            }
        }
        panic!("everything is sold out")
    }
}

async fn it_is_sound_and_as_large_as_was_asked_for(kind: Kind) {
    let filled = Filled::of(kind, &FILL).await;
    let report = filled.fresh.store.audit().await.expect("the store answers");
    assert!(report.is_clean(), "the audit finds {:?}", report.told);
    assert_eq!(report.bookings, FILL.bookings);
    assert!(report.log_rows > 2 * FILL.bookings, "{}", report.log_rows);
    let reckoning = filled.reckon().await;
    let counters = |all: Vec<Inventory>| -> BTreeMap<_, _> {
        let counters = |of: Inventory| (of.capacity, of.held, of.sold, of.blocked, of.version);
        all.into_iter().map(|of| (of.section_id, counters(of))).collect()
    };
    assert_eq!(counters(reckoning.folded), counters(reckoning.inventories));
}

async fn its_messages_say_what_those_of_a_sale_say(kind: Kind) {
    let fill = Fill { bookings: 3_000, events: 40, ..FILL };
    let filled = Filled::of(kind, &fill).await;
    let organizers: HashMap<_, _> = filled
        .events()
        .await
        .into_iter()
        .map(|of| (of.event.terms.event_id, suite::world::owner(&of).actor()))
        .collect();
    let (mut cursor, mut kinds) = (LogCursor::default(), BTreeMap::<_, u64>::new());
    let bookings = |kinds: &BTreeMap<_, u64>| kinds.get("held").copied().unwrap_or_default();
    let mut rounds = 0;
    while bookings(&kinds) < fill.bookings || !kinds.contains_key("resized") {
        rounds += 1;
        assert!(rounds < 2_000, "the log never settles: {kinds:?}");
        let page = filled.fresh.store.messages_after(cursor, 1_000).await;
        let page = page.expect("the store answers").expect("a timeline of this log");
        if page.next.position == cursor.position {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        cursor = page.next;
        for message in page.messages {
            *kinds.entry(message.kind.as_str()).or_default() += 1;
            let acts =
                message.kind.booking_status().is_none() || message.kind == LogKind::Cancelled;
            let expected = acts.then(|| organizers[&message.event_id]);
            assert_eq!(message.actor, expected, "who did {:?}", message.kind);
            if let Body::Section { version, state, deltas, .. } = message.body {
                let (_, inventory) = state.expect("what the section was from then on");
                assert_eq!(inventory.version, version);
                let is_whole = deltas.capacity < 0 && inventory.available() == 0;
                assert!(message.kind == LogKind::Opened || is_whole, "{deltas:?} {inventory:?}");
            }
        }
    }
    assert!(kinds.contains_key("cancelled"), "{kinds:?}");
}

async fn its_bookings_are_listed_without_gaps_and_in_every_state(kind: Kind) {
    let filled = Filled::of(kind, &FILL).await;
    let events = filled.events().await;
    assert_eq!(events.len(), FILL.events as usize);
    let (mut ids, mut sizes, mut statuses) = (BTreeSet::new(), Vec::new(), HashMap::new());
    let mut live = 0;
    for of in &events {
        let bookings = filled.bookings(of.event.terms.event_id).await;
        sizes.push(bookings.len());
        for booking in bookings {
            assert_eq!(booking.booking_id.shard(), booking.event_id.shard());
            assert!(booking.created_at <= filled.clock.now());
            *statuses.entry(booking.status).or_insert(0) += 1;
            live += usize::from(booking.status_at(filled.clock.now()) == BookingStatus::Hold);
            ids.insert(booking.booking_id);
        }
    }
    assert_eq!(ids.len() as u64, FILL.bookings);
    assert!(statuses[&BookingStatus::Confirmed] > 14_000, "{statuses:?}");
    assert!(statuses[&BookingStatus::Expired] > 2_000, "{statuses:?}");
    assert!(statuses[&BookingStatus::Cancelled] > 1_500, "{statuses:?}");
    assert_eq!(statuses[&BookingStatus::Hold], 100);
    assert!((60..95).contains(&live), "a part of the holds is due: {live} are not");
    sizes.sort_unstable();
    assert!(sizes[49] > 8 * sizes[25], "a few events are great: {sizes:?}");
}

async fn it_sells_and_gives_back_what_lapses(kind: Kind) {
    let filled = Filled::of(kind, &FILL).await;
    let (event_id, section_id) = filled.section_with_room().await;
    let hold = || Hold {
        booking_id: filled.mint.booking(event_id),
        user_id: filled.mint.user(),
        seller: None,
        overrides: Overrides::NONE,
        event_id,
        requests: vec![SeatRequest::Count { section_id, seats: 2 }],
        key: None,
    };
    let sold = filled.commit(Command::Hold(hold())).await;
    let (booking_id, user_id) = (sold.booking_id, sold.user_id);
    let sold = filled.commit(Command::Confirm { booking_id, by: By::User(user_id) }).await;
    assert_eq!(sold.status, BookingStatus::Confirmed);
    let due = filled.sweep().await;
    assert!((5..40).contains(&due), "{due} holds were due");
    filled.assert_sound().await;
    let lapsing = filled.commit(Command::Hold(hold())).await;
    filled.clock.advance_ms(POLICY.hold_ttl_ms);
    assert_eq!(filled.sweep().await, 101 - due, "the live holds of the fill, and the new one");
    let lapsed = filled.fresh.store.booking(lapsing.booking_id).await.expect("it answers");
    assert_eq!(lapsed.map(|booking| booking.status), Some(BookingStatus::Expired));
    filled.assert_sound().await;
}

async fn a_booking_that_is_lost_is_missed_by_the_audit(kind: Kind) {
    let filled = Filled::of(kind, &FILL).await;
    filled
        .spoil(
            "DELETE FROM bookings WHERE booking_id = (SELECT booking_id FROM bookings
             WHERE status = 'CONFIRMED' ORDER BY booking_id LIMIT 1)",
        )
        .await;
    let report = filled.fresh.store.audit().await.expect("the store answers");
    let found: BTreeSet<_> = report.told.iter().map(|violation| violation.invariant).collect();
    let mut expected = BTreeSet::from(["I4", "I7"]);
    if kind == Kind::Sqlite {
        // Its buyer's list still names it.
        expected.insert("index");
    }
    assert_eq!(found, expected, "{:?}", report.told);
}

async fn small_fills_are_sound_too(kind: Kind) {
    for (bookings, events) in [(1, 1), (3, 100), (201, 1), (450, 2)] {
        let fill = Fill { bookings, events, ..FILL };
        let filled = Filled::of(kind, &fill).await;
        filled.assert_sound().await;
        assert_eq!(filled.events().await.len(), events as usize);
    }
}

/// The tests of this file on both stores.
macro_rules! tests {
    ($($test:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(super::Kind::Sqlite).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(super::Kind::Postgres).await;
            })*
        }
    };
}

tests!(
    it_is_sound_and_as_large_as_was_asked_for,
    its_messages_say_what_those_of_a_sale_say,
    its_bookings_are_listed_without_gaps_and_in_every_state,
    it_sells_and_gives_back_what_lapses,
    a_booking_that_is_lost_is_missed_by_the_audit,
    small_fills_are_sound_too,
);

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_repeats_its_bookings_on_both_stores() {
    let fill = Fill { bookings: 500, events: 10, ..FILL };
    let all = async |kind, fill: &Fill| {
        let filled = Filled::of(kind, fill).await;
        let mut all = Vec::new();
        for of in filled.events().await {
            all.extend(filled.bookings(of.event.terms.event_id).await);
        }
        all
    };
    let first = all(Kind::Sqlite, &fill).await;
    assert_eq!(first.len(), 500);
    assert!(first == all(Kind::Sqlite, &fill).await);
    assert!(first == all(Kind::Postgres, &fill).await);
    assert!(first != all(Kind::Sqlite, &Fill { seed: 8, ..fill }).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_with_events_is_filled_only_when_that_is_asked_for() {
    let fill = Fill { bookings: 500, events: 10, ..FILL };
    let filled = Filled::of(Kind::Postgres, &fill).await;
    let url = filled.fresh.url.clone().expect("it is on a server");
    let again =
        async |fill: &Fill| fill_store(&url, options(POLICY, &filled.clock), fill, |_| ()).await;
    let refused = again(&fill).await.expect_err("it has events");
    assert!(super::postgres::chain(&refused).contains("already has events"), "{refused:?}");
    assert_eq!(filled.events().await.len(), 10, "nothing was written");
    let beside = Fill { seed: 9, beside_others: true, ..fill };
    again(&beside).await.expect("that is asked for");
    filled.assert_sound().await;
    assert_eq!(filled.events().await.len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_being_served_is_not_filled() {
    let filled = Filled::of(Kind::Sqlite, &Fill { bookings: 10, ..FILL }).await;
    let url = sqlite_url(filled.file.as_deref().expect("a file"));
    let fill = Fill { beside_others: true, ..FILL };
    let refused = fill_store(&url, options(POLICY, &filled.clock), &fill, |_| ()).await;
    let told = super::postgres::chain(&refused.expect_err("it is served"));
    assert!(told.contains("another process serves this database"), "{told}");
    filled.fresh.store.close().await;
    open_store(&url, options(POLICY, &filled.clock)).await.expect("it is whole").close().await;
}
