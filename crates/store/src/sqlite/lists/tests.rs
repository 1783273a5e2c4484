use super::feed::{Jobs, Portion};
use super::*;
use crate::rows;
use crate::sqlite::Sqlite;
use crate::{
    Batches as _, BookingFilter, Bookings as _, Books as _, Events as _, Instance as _,
    PageRequest, Schema as _,
};
use engine::event::EventChange;
use engine::{BookingStatus, By, Command, Hold, Overrides, Refusal, SeatRequest, SectionId};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sqlx::Row as _;
use std::time::Duration;
use suite::world::{ManualClock, Mint, opened};

const SMALL: Sizes =
    Sizes { tail: 40, tail_max: 100_000, portion: 7, merged: 3, pause: Duration::from_hours(1) };

/// A store with two events, some buyers, and segments that are written when the test says so.
struct World {
    folder: tempfile::TempDir,
    store: Sqlite,
    clock: ManualClock,
    mint: Mint,
    /// With a section of each.
    events: Vec<(EventId, SectionId)>,
    users: Vec<UserId>,
}

fn open(folder: &tempfile::TempDir, clock: &ManualClock, sizes: Sizes) -> Sqlite {
    let mut options = crate::slices::tests::options();
    let shown = clock.clone();
    options.clock = Arc::new(move || shown.now());
    let mut store = Sqlite::open(&folder.path().join("reservix.db"), options).expect("it opens");
    store.writer.set_lists(Lists::of(sizes));
    store
}

impl World {
    async fn new(sizes: Sizes) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = ManualClock::new();
        let store = open(&folder, &clock, sizes);
        store.migrate(None).await.expect("the schema is made");
        let mint = Mint::new(&clock);
        let mut events = Vec::new();
        for _ in 0..2 {
            let mut new = mint.event_on_sale(mint.user());
            let event_id = new.event.terms.event_id;
            new.sections.push(mint.section_of(event_id, "A"));
            store
                .create_event(&new, suite::world::owner(&new), &opened(&[1_000_000]), None)
                .await
                .expect("it is recorded");
            events.push((event_id, new.sections[0].section_id));
        }
        let users = (0..6).map(|_| mint.user()).collect();
        Self { folder, store, clock, mint, events, users }
    }

    fn command(&self, (event_id, section_id): (EventId, SectionId), user_id: UserId) -> Command {
        Command::Hold(Hold {
            booking_id: self.mint.booking(event_id),
            user_id,
            seller: None,
            overrides: Overrides::NONE,
            event_id,
            requests: vec![SeatRequest::Count { section_id, seats: 1 }],
            key: None,
        })
    }

    /// Holds of these buyers, in one batch, at one event after the other.
    async fn hold(&self, users: &[UserId]) -> Vec<BookingId> {
        let both = users.iter().zip(self.events.iter().cycle());
        let commands: Vec<_> = both.map(|(user_id, of)| self.command(*of, *user_id)).collect();
        let committed = self.store.commit(&commands).await.expect("the store answers");
        assert!(committed.answers.iter().all(Result::is_ok), "{:?}", committed.answers);
        let held = |command: &Command| match command {
            Command::Hold(hold) => hold.booking_id,
            _ => unreachable!("all are holds"),
        };
        commands.iter().map(held).collect()
    }

    /// Does a portion of what is to be done.
    async fn portion(&self, jobs: &mut Jobs) -> Portion {
        let mut turn = self.store.writer.next_turn().await.expect("it is open");
        let mut connection = turn.connection_of_index().expect("it is open");
        let done = jobs.portion(self.store.lists(), &mut connection).expect("it is written");
        jobs.sort();
        done
    }

    /// Closes the store, and opens it again as after a crash: what was under way is lost.
    async fn reopen(&mut self, sizes: Sizes) {
        self.store.close().await;
        self.store = open(&self.folder, &self.clock, sizes);
        assert!(self.store.lists().begin_feeding());
    }

    /// All bookings of a list, newest first, by pages of this size.
    async fn listed(&self, filter: &BookingFilter, limit: u32) -> Vec<BookingId> {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = PageRequest { after, limit };
            let page = self.store.bookings(filter, page).await.expect("it is listed");
            assert!(page.items.len() <= limit as usize);
            after = page.items.last().map(|booking| booking.booking_id);
            found.extend(page.items.iter().map(|booking| booking.booking_id));
            if !page.has_more {
                return found;
            }
        }
    }

    /// The same by reading the table as a whole.
    async fn scanned(&self, filter: &BookingFilter) -> Vec<BookingId> {
        let sql = "SELECT * FROM bookings ORDER BY booking_id DESC";
        let rows = sqlx::query(sql).fetch_all(&self.store.readers).await.expect("it is read");
        let bookings = rows.iter().map(|row| rows::booking(row).expect("a booking"));
        let now = self.clock.now();
        let fits = |booking: &Booking| {
            filter.user.is_none_or(|user_id| user_id == booking.user_id)
                && filter.event.is_none_or(|event_id| event_id == booking.event_id)
                && filter.status.is_none_or(|status| status == booking.status_at(now))
        };
        bookings.filter(fits).map(|booking| booking.booking_id).collect()
    }

    async fn count(&self, sql: &'static str) -> i64 {
        let row = sqlx::query(sql).fetch_one(&self.store.readers).await.expect("it is read");
        row.get(0)
    }
}

/// Steps at random: holds, confirmations, portions of work, crashes. After each, lists are compared with
/// a scan.
async fn run(seed: u64, steps: usize) {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut world = World::new(SMALL).await;
    assert!(world.store.lists().begin_feeding(), "segments are written when the test says so");
    let mut jobs = Jobs::default();
    let mut made = Vec::new();
    for step in 0..steps {
        match dice.random_range(0..20) {
            0..8 => {
                let count = dice.random_range(1..20);
                let users: Vec<_> =
                    (0..count).map(|_| world.users[dice.random_range(0..6)]).collect();
                made.extend(world.hold(&users).await);
            }
            8 if !made.is_empty() => {
                let booking_id = made[dice.random_range(0..made.len())];
                let confirm = Command::Confirm { booking_id, by: By::System };
                let _ = world.store.commit(&[confirm]).await.expect("the store answers").answers;
            }
            9 => world.clock.advance_ms(dice.random_range(0..120_000)),
            10 => {
                world.reopen(SMALL).await;
                jobs = Jobs::default();
            }
            11 => jobs = Jobs::default(),
            _ => {
                world.portion(&mut jobs).await;
            }
        }
        let status = [None, None, Some(BookingStatus::Hold), Some(BookingStatus::Confirmed)];
        let (user, event) =
            (world.users[dice.random_range(0..6)], world.events[dice.random_range(0..2)].0);
        let (user, event) = [(Some(user), None), (Some(user), Some(event)), (None, Some(event))]
            [dice.random_range(0..3)];
        let filter = BookingFilter { user, event, status: status[dice.random_range(0..4)] };
        let limit = [1, 3, 100][dice.random_range(0..3)];
        let listed = world.listed(&filter, limit).await;
        assert_eq!(listed, world.scanned(&filter).await, "seed {seed}, step {step}: {filter:?}");
    }
    while world.portion(&mut jobs).await == Portion::Written {}
    let in_segments = world.count("SELECT COALESCE(SUM(bookings), 0) FROM list_segments").await;
    let in_tail = i64::try_from(world.store.lists().tail.lock().count).expect("a small number");
    assert_eq!(in_segments + in_tail, i64::try_from(made.len()).expect("a small number"));
    assert_eq!(
        world.count("SELECT COUNT(*) FROM booking_lists").await,
        in_segments * 2,
        "all else is gone"
    );
    assert!(in_tail < 40, "{in_tail}");
    let merged = "SELECT COUNT(*) FROM list_segments";
    assert!(world.count(merged).await < 9, "three of a size become one");
    let found = world.store.audit().await.expect("it is read");
    assert!(found.is_clean(), "{:?}", found.told);
    let spoil =
        "UPDATE booking_lists SET list_id = zeroblob(16) WHERE (segment, list_id, booking_id) =
        (SELECT segment, list_id, booking_id FROM booking_lists LIMIT 1)";
    world.store.run(spoil).await;
    let found = world.store.audit().await.expect("it is read");
    let what = "index: 1 entries of lists name no booking of that list";
    assert_eq!(found.told[0].to_string(), what);
    world.store.run("UPDATE list_segments SET newest = zeroblob(16)").await;
    let found = world.store.audit().await.expect("it is read");
    let what = "entries of lists are newer than what their segment says is its newest";
    assert!(found.told[1].to_string().ends_with(what), "{:?}", found.told);
    world.store.close().await;
}

/// Looks into segments cost a page each, and a store that sold much has a dozen.
#[tokio::test]
async fn the_newest_page_is_found_without_a_look_into_older_segments() {
    let world = World::new(Sizes { merged: 100, ..SMALL }).await;
    assert!(world.store.lists().begin_feeding());
    let (user_id, mut jobs) = (world.users[0], Jobs::default());
    let mut own = Vec::new();
    for _ in 0..6 {
        world.clock.advance_ms(1);
        own.extend(world.hold(&[user_id; 40]).await);
        while world.portion(&mut jobs).await == Portion::Written {}
    }
    world.clock.advance_ms(1);
    own.extend(world.hold(&[user_id; 5]).await);
    own.sort_unstable_by(|a, b| b.cmp(a));
    assert_eq!(world.count("SELECT COUNT(*) FROM list_segments").await, 6);
    let filter = BookingFilter { user: Some(user_id), event: None, status: None };
    assert_eq!(world.listed(&filter, 100).await, own);
    let first = async |limit| {
        let page = PageRequest { after: None, limit };
        let page = world.store.bookings(&filter, page).await.expect("it is listed");
        page.items.iter().map(|of| of.booking_id).collect::<Vec<_>>()
    };
    // What is gone from a segment is missed only by those who look into it.
    world.store.run("DELETE FROM booking_lists WHERE segment < 6").await;
    assert_eq!(first(4).await, own[..4], "all are in the tail");
    assert_eq!(first(44).await, own[..44], "and in the newest segment");
    world.store.run("UPDATE list_segments SET newest = NULL").await;
    assert_eq!(first(44).await, own[..44], "where it is not known, all are looked into");
    world.store.run("DELETE FROM booking_lists").await;
    assert_eq!(first(44).await, own[..5]);
}

#[tokio::test]
async fn a_list_equals_a_scan_at_any_moment() {
    for seed in 0..4 {
        run(seed, 250).await;
    }
}

#[tokio::test]
async fn what_was_just_held_is_listed_while_segments_are_written() {
    let world = Arc::new(World::new(SMALL).await);
    let buyers = world.users.clone();
    let tasks = buyers.into_iter().map(|user_id| {
        let world = world.clone();
        tokio::spawn(async move {
            let mut own = Vec::new();
            let filter = BookingFilter { user: Some(user_id), event: None, status: None };
            for _ in 0..60 {
                own.extend(world.hold(&[user_id; 5]).await);
                let mut expected = own.clone();
                expected.sort_unstable_by(|a, b| b.cmp(a));
                assert_eq!(world.listed(&filter, 100).await, expected);
            }
        })
    });
    for done in futures_util::future::join_all(tasks).await {
        done.expect("every list was right");
    }
    let ends = tokio::time::timeout(Duration::from_secs(30), async {
        while world.count("SELECT COUNT(*) FROM list_segments").await == 0
            || world.store.lists().is_due()
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    ends.await.expect("segments were written beside the holds");
}

#[tokio::test]
async fn a_tail_that_cannot_be_written_is_given_up_and_nothing_is_lost() {
    let world = World::new(Sizes { tail_max: 100, ..SMALL }).await;
    assert!(world.store.lists().begin_feeding(), "nobody writes");
    let (user_id, mut jobs) = (world.users[0], Jobs::default());
    let mut own = world.hold(&[user_id; 50]).await;
    world.portion(&mut jobs).await;
    own.extend(world.hold(&[user_id; 110]).await);
    assert!(!world.store.lists().is_loaded(), "it grew too long");
    own.extend(world.hold(&[user_id; 2]).await);
    let filter = BookingFilter { user: Some(user_id), event: None, status: None };
    own.sort_unstable_by(|a, b| b.cmp(a));
    assert_eq!(world.listed(&filter, 100).await, own, "it is read from the log");
    while world.portion(&mut jobs).await == Portion::Written {}
    assert_eq!(world.listed(&filter, 100).await, own);
    assert!(world.store.audit().await.expect("it is read").is_clean(), "what was begun is dropped");
}

#[tokio::test]
async fn a_log_that_cannot_be_read_stops_lists_and_no_sale() {
    let mut world = World::new(SMALL).await;
    let user_id = world.users[0];
    world.hold(&[user_id; 3]).await;
    world.store.run("UPDATE booking_log SET kind = 'run' WHERE kind = 'held'").await;
    world.store.run("UPDATE booking_log SET entries = x'01' WHERE kind = 'run'").await;
    world.reopen(SMALL).await;
    world.store.open_timeline().await.expect("the store begins");
    world.hold(&[user_id]).await;
    let filter = BookingFilter { user: Some(user_id), event: None, status: None };
    let page = PageRequest { after: None, limit: 9 };
    let listed = world.store.bookings(&filter, page).await;
    assert!(matches!(listed, Err(Fault::Corrupt { .. })), "{listed:?}");
}

/// Each attempt reads the log behind the last segment, and keeps the writer meanwhile.
#[tokio::test]
async fn lists_that_could_not_be_read_wait_before_they_keep_the_writer_again() {
    let mut world = World::new(Sizes { tail: 1_000_000, ..SMALL }).await;
    let user_id = world.users[0];
    let mut own = world.hold(&[user_id; 60]).await;
    own.sort_unstable_by(|a, b| b.cmp(a));
    world.reopen(SMALL).await;
    // A segment cannot be written, as on a full disk.
    world.store.run("ALTER TABLE booking_lists RENAME TO away").await;
    let filter = BookingFilter { user: Some(user_id), event: None, status: None };
    let page = PageRequest { after: None, limit: 100 };
    let first = world.store.bookings(&filter, page).await.err();
    assert!(matches!(first, Some(Fault::Unavailable { .. })), "{first:?}");
    world.store.run("ALTER TABLE away RENAME TO booking_lists").await;
    let turn = world.store.writer.next_turn().await.expect("it is open");
    let second = world.store.bookings(&filter, page).await.err();
    assert_eq!(format!("{second:?}"), format!("{first:?}"), "it does not wait for its turn");
    drop(turn);
    let mut turn = world.store.writer.next_turn().await.expect("it is open");
    let mut connection = turn.connection_of_index().expect("it is open");
    // As a request that has waited for its turn meanwhile, or a batch that has to count seats.
    let third = world.store.lists().load(&mut connection).err();
    assert_eq!(format!("{third:?}"), format!("{first:?}"), "nor read the log");
    drop(connection);
    drop(turn);
    let now = Some(Instant::now());
    world.store.lists().tail.lock().failure.as_mut().expect("it is known").again_at = now;
    assert_eq!(world.listed(&filter, 100).await, own);
    assert!(world.store.lists().tail.lock().failure.is_none());
}

#[tokio::test]
async fn a_start_has_no_more_bookings_in_memory_than_a_tail_and_a_row_of_the_log() {
    const BATCH: usize = 60;
    let mut world = World::new(Sizes { tail: 1_000_000, ..SMALL }).await;
    let buyer = world.users[0];
    for _ in 0..6 {
        world.hold(&[buyer; BATCH]).await;
    }
    world.reopen(SMALL).await;
    let filter = BookingFilter { user: Some(buyer), event: None, status: None };
    assert_eq!(world.listed(&filter, 100).await, world.scanned(&filter).await);
    let longest = world.count("SELECT MAX(bookings) FROM list_segments").await;
    let bound = i64::try_from(SMALL.tail + BATCH).expect("a small number");
    assert!((40..bound).contains(&longest), "{longest}");
}

#[tokio::test]
async fn i11_a_store_whose_commits_cannot_be_made_durable_again_responds_no_longer() {
    let world = World::new(SMALL).await;
    world.store.ping().await.expect("it responds");
    let mut turn = world.store.writer.next_turn().await.expect("it is open");
    let connection = turn.connection_of_index().expect("it is open");
    // SQLite does not change it inside a transaction.
    connection.execute_batch("PRAGMA synchronous = NORMAL; BEGIN").expect("it begins");
    drop(connection);
    drop(turn);
    let hold = world.command(world.events[0], world.users[0]);
    let failed = world.store.commit(&[hold]).await.err();
    assert!(matches!(failed, Some(Fault::Unavailable { .. })), "{failed:?}");
    let failed = world.store.ping().await.err();
    assert!(matches!(failed, Some(Fault::Unavailable { .. })), "{failed:?}");
}

#[tokio::test]
async fn a_long_tail_is_written_when_it_is_read() {
    let mut world = World::new(Sizes { tail: 1_000_000, ..SMALL }).await;
    let user_id = world.users[0];
    let mut own = Vec::new();
    for _ in 0..5 {
        own.splice(0..0, world.hold(&[user_id; 30]).await.into_iter().rev());
    }
    world.reopen(SMALL).await;
    let filter = BookingFilter { user: Some(user_id), event: None, status: None };
    assert_eq!(world.listed(&filter, 100).await, own);
    let in_segments = world.count("SELECT SUM(bookings) FROM list_segments").await;
    let in_tail = world.store.lists().tail.lock().count;
    assert!(in_tail < SMALL.tail, "{in_tail}");
    assert_eq!(in_segments, 150 - i64::try_from(in_tail).expect("a small number"));
    // What comes behind it is no part of the tail, and the next start does not read it again.
    let read = "SELECT MAX(seq) - (SELECT MAX(through) FROM list_segments) FROM booking_log";
    let before = world.count(read).await;
    for booking_id in own.iter().take(60) {
        let cancel = Command::Cancel { booking_id: *booking_id, by: By::System };
        world.store.commit(&[cancel]).await.expect("the store answers");
    }
    assert_eq!(world.count(read).await, before + 60);
    world.reopen(SMALL).await;
    assert_eq!(world.listed(&filter, 100).await, own);
    assert_eq!(world.count(read).await, 0);
    // An index that is thrown away is written again.
    world.store.run("UPDATE booking_lists SET list_id = randomblob(16)").await;
    world.store.run("DELETE FROM list_segments").await;
    world.reopen(SMALL).await;
    assert_eq!(world.listed(&filter, 100).await, own);
    let mut jobs = Jobs::default();
    while world.portion(&mut jobs).await == Portion::Written {}
    assert!(world.store.audit().await.expect("it is read").is_clean());
    assert_eq!(world.count("SELECT COUNT(*) FROM booking_lists").await, 300);
}

#[tokio::test]
async fn a_cap_that_came_late_is_kept_while_the_lists_are_not_known() {
    let world = World::new(SMALL).await;
    let (buyer, (event_id, section_id)) = (world.users[0], world.events[0]);
    world.hold(&[buyer]).await;
    let change = EventChange { max_seats_per_user: Some(Some(1)), ..EventChange::default() };
    let by = world.store.event(event_id).await.expect("it is there").expect("it is there");
    let by = suite::world::owner(&by);
    world.store.revise_event(event_id, by, None, change).await.expect("it may be changed");
    world.store.lists().forget();
    let again = [world.command((event_id, section_id), buyer)];
    let committed = world.store.commit(&again).await.expect("the tail is read first");
    let refused = &committed.answers[0];
    assert!(matches!(refused, Err(Refusal::BuyerLimit { current: 1, .. })), "{refused:?}");

    world.store.lists().forget();
    world.store.lists().fail(Fault::Corrupt { what: "a test".to_owned() });
    let both = [again[0].clone(), world.command(world.events[1], buyer)];
    let failed = world.store.commit(&both).await.err();
    assert!(matches!(failed, Some(Fault::Unavailable { .. })), "{failed:?}");
    let other = world.store.commit(&both[1..]).await.expect("nobody is counted");
    assert!(other.answers[0].is_ok());
}

#[tokio::test]
async fn what_is_removed_of_an_unfinished_segment_is_never_of_another_with_its_number() {
    // So that the last of its rows go in a portion that does not know that it is the last.
    const ROWS: usize = 8;
    let sizes = Sizes { tail: ROWS, portion: ROWS, ..SMALL };
    let mut world = World::new(sizes).await;
    assert!(world.store.lists().begin_feeding());
    let buyer = world.users[0];
    world.hold(&[buyer; ROWS]).await;
    let mut jobs = Jobs::default();
    for _ in 0..2 {
        world.portion(&mut jobs).await;
    }
    assert_eq!(world.count("SELECT COUNT(*) FROM booking_lists").await, 8);
    let sizes = Sizes { portion: ROWS - 1, ..sizes };
    world.reopen(sizes).await;
    let mut jobs = Jobs::default();
    world.portion(&mut jobs).await;
    assert_eq!(world.count("SELECT COUNT(*) FROM booking_lists").await, 0);
    let filter = BookingFilter { user: Some(buyer), event: None, status: None };
    assert_eq!(world.listed(&filter, 100).await.len(), ROWS, "read from the log, and written");
    assert_eq!(world.count("SELECT MAX(segment) FROM list_segments").await, 1);
    while world.portion(&mut jobs).await == Portion::Written {}
    assert_eq!(world.listed(&filter, 100).await, world.scanned(&filter).await);
}
