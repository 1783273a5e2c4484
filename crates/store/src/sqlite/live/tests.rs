use super::*;
use crate::{
    Batches as _, BookingFilter, Bookings as _, Books as _, EventFilter, Events as _,
    Instance as _, PageRequest, Schema as _,
};
use engine::decide::RETIRED_PER_SECTION_MAX;
use engine::{
    Booking, BookingStatus, By, Command, EventStatus, Hold, Overrides, SeatRequest, UserId,
};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sqlx::ConnectOptions as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use suite::world::{ManualClock, Mint, opened};

/// A store with an event of three sections, one of which a cart shares with another.
struct World {
    folder: tempfile::TempDir,
    store: Sqlite,
    clock: ManualClock,
    mint: Mint,
    event_id: EventId,
    sections: Vec<SectionId>,
    user_id: UserId,
}

/// The version and the holds of sections.
type Shown = HashMap<SectionId, (i64, BTreeMap<Place, u32>)>;

fn shown(live: &LiveHolds) -> Option<Shown> {
    let known = live.sections.lock();
    let of = |(id, of): (&SectionId, &Section)| (*id, (of.version, of.holds.clone()));
    Some(known.as_ref()?.iter().map(of).collect())
}

fn open(folder: &tempfile::TempDir, clock: &ManualClock) -> Sqlite {
    let mut options = crate::slices::tests::options();
    let shown = clock.clone();
    options.clock = Arc::new(move || shown.now());
    Sqlite::open(&folder.path().join("reservix.db"), options).expect("it opens")
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = ManualClock::new();
        let store = open(&folder, &clock);
        store.migrate(None).await.expect("the schema is made");
        let mint = Mint::new(&clock);
        let mut new = mint.event_on_sale(mint.user());
        let event_id = new.event.terms.event_id;
        new.sections = ["A", "B", "C"].map(|name| mint.section_of(event_id, name)).into();
        let sections = new.sections.iter().map(|of| of.section_id).collect();
        store
            .create_event(&new, suite::world::owner(&new), &opened(&[100_000; 3]), None)
            .await
            .expect("it is recorded");
        let user_id = mint.user();
        Self { folder, store, clock, mint, event_id, sections, user_id }
    }

    fn command(&self, sections: &[SectionId]) -> Command {
        let ask = |of: &SectionId| SeatRequest::Count { section_id: *of, seats: 2 };
        Command::Hold(Hold {
            booking_id: self.mint.booking(self.event_id),
            user_id: self.user_id,
            seller: None,
            overrides: Overrides::NONE,
            event_id: self.event_id,
            requests: sections.iter().map(ask).collect(),
            key: None,
        })
    }

    async fn commit(&self, commands: &[Command]) -> Vec<Booking> {
        let committed = self.store.commit(commands).await.expect("the store answers");
        committed.bookings
    }

    /// Holds as many pairs of seats in the first section, in batches.
    async fn hold(&self, count: usize) -> Vec<Booking> {
        let commands: Vec<_> = (0..count).map(|_| self.command(&self.sections[..1])).collect();
        let mut held = Vec::new();
        for part in commands.chunks(200) {
            held.extend(self.commit(part).await);
        }
        held
    }

    /// What is stored, as it would be read.
    async fn stored(&self) -> Shown {
        let fresh = LiveHolds::default();
        let load = move |writing: &Writing<'_>| {
            fresh.load(writing.transaction())?;
            Ok::<_, Fault>(shown(&fresh).expect("they were read"))
        };
        self.store.writer.write(DOING, load).await.expect("it is read")
    }

    fn known(&self) -> Option<Shown> {
        shown(self.store.live())
    }

    /// Held and due seats of the first section, as readers see them.
    async fn seen(&self) -> (i64, i64) {
        let all = self.store.inventories(&[self.event_id]).await.expect("it is read");
        let first = all.iter().find(|of| of.inventory.section_id == self.sections[0]);
        first.map(|of| (of.inventory.held, of.due)).expect("it is there")
    }

    /// Available seats of the event, as the list of events says.
    async fn available(&self) -> i64 {
        let filter = EventFilter { status: Some(EventStatus::OnSale), ..EventFilter::default() };
        let page = PageRequest { after: None, limit: 9 };
        let page = self.store.events(&filter, page).await.expect("it is read");
        page.items[0].available
    }

    async fn listed(&self) -> BTreeSet<BookingId> {
        let status = Some(BookingStatus::Hold);
        let filter = BookingFilter { user: None, event: Some(self.event_id), status };
        let (mut all, mut after) = (BTreeSet::new(), None);
        loop {
            let page = PageRequest { after, limit: 50 };
            let page = self.store.bookings(&filter, page).await.expect("it is listed");
            after = page.items.last().map(|booking| booking.booking_id);
            all.extend(page.items.iter().map(|booking| booking.booking_id));
            if !page.has_more {
                return all;
            }
        }
    }
}

#[tokio::test]
async fn what_is_known_is_what_is_stored_after_any_steps() {
    let mut dice = StdRng::seed_from_u64(7);
    let mut world = World::new().await;
    let mut made: Vec<BookingId> = Vec::new();
    // Until the next batch that has to know.
    let mut is_spoilt = false;
    for step in 0..400 {
        match dice.random_range(0..20) {
            0..10 => {
                let commands: Vec<_> = (0..dice.random_range(1..9))
                    .map(|_| {
                        let first = dice.random_range(0..3);
                        world.command(&world.sections[first..=dice.random_range(first..3)])
                    })
                    .collect();
                made.extend(world.commit(&commands).await.iter().map(|of| of.booking_id));
            }
            10..17 if !made.is_empty() => {
                let mut pick = || made[dice.random_range(0..made.len())];
                let by = By::System;
                let commands = [
                    Command::Confirm { booking_id: pick(), by },
                    Command::Cancel { booking_id: pick(), by },
                    Command::Extend { booking_id: pick(), by },
                ];
                world.commit(&commands).await;
            }
            17 => world.clock.advance_ms(dice.random_range(0..400_000)),
            18 => {
                // By another hand, as a repair writes it.
                let sql = "DELETE FROM holds WHERE section_id = ?";
                let id = world.sections[0];
                let spoil = move |writing: &Writing<'_>| {
                    let spoilt: Vec<ExpiryEntry> = writing.all(
                        DOING,
                        "SELECT * FROM holds WHERE expires_at >= 0 AND section_id = ?",
                        [id.as_bytes()],
                        |row| rows::held(row),
                    )?;
                    writing.run_whole(DOING, sql, [id.as_bytes()])?;
                    writing.run_all(
                        DOING,
                        "INSERT INTO holds (section_id, expires_at, booking_id, seats)
                            VALUES (?, ?, ?, ?)",
                        &spoilt,
                        |of| {
                            let (at, by) = (of.expires_at.unix_ms(), of.booking_id.as_bytes());
                            (of.section_id.as_bytes(), at, by, of.seats)
                        },
                    )
                };
                world.store.writer.write(DOING, spoil).await.expect("it is written");
                assert_eq!(world.known(), None, "it is read again");
                is_spoilt = true;
            }
            19 => {
                world.store.close().await;
                world.store = open(&world.folder, &world.clock);
                world.store.begin_lists().await;
                assert!(world.known().is_some());
            }
            _ => {}
        }
        let stored = world.stored().await;
        match world.known() {
            Some(known) => {
                assert_eq!(known, stored, "step {step}");
                is_spoilt = false;
            }
            None => assert!(is_spoilt, "step {step}"),
        }
        let now = world.clock.now();
        let live = stored.values().flat_map(|(_, holds)| holds.keys());
        let live = live.filter(|(expires_at, _)| *expires_at > now).map(|(_, id)| *id).collect();
        assert_eq!(world.listed().await, live, "step {step}");
        let (_, first) = stored.get(&world.sections[0]).cloned().unwrap_or_default();
        let due = first.iter().filter(|((expires_at, _), _)| *expires_at <= now);
        let due: i64 = due.map(|(_, seats)| i64::from(*seats)).sum();
        assert_eq!(world.seen().await.1, due, "step {step}");
    }
    assert!(world.store.audit().await.expect("it is read").is_clean());
}

#[tokio::test]
async fn a_rolled_back_write_leaves_what_is_known_as_it_is() {
    let world = World::new().await;
    world.hold(3).await;
    let before = world.known().expect("it was read at the start");
    let held = world.stored().await;
    let (section_id, (_, holds)) = held.into_iter().next().expect("a section");
    let ((expires_at, booking_id), seats) = holds.into_iter().next().expect("a hold");
    let fail = move |writing: &Writing<'_>| {
        let of = ExpiryEntry { section_id, expires_at, booking_id, seats };
        writing.index_holds(&[of], &[])?;
        let due = writing.due_holds(section_id, 9)?;
        assert_eq!((due.len(), due.contains(&booking_id)), (2, false), "it is gone for this write");
        Err::<(), _>(Fault::Overloaded { what: "the test" })
    };
    world.clock.advance_ms(600_000);
    world.store.writer.write(DOING, fail).await.expect_err("it says so");
    assert_eq!(world.known(), Some(before.clone()));
    // The next write does not take the file for another's.
    assert_eq!(world.stored().await, before);
    assert_eq!(world.known(), Some(before));
}

#[test]
fn what_is_due_is_added_up_once_and_follows_what_changes() {
    let mut dice = StdRng::seed_from_u64(3);
    let place = |ms, number: u16| {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&number.to_be_bytes());
        (Timestamp::from_unix_ms(ms), BookingId::from_slice(&id).expect("16 bytes"))
    };
    let mut section = Section::default();
    for step in 0..20_000 {
        let place = place(dice.random_range(0..200), dice.random_range(0..20));
        if dice.random_bool(0.5) {
            section.add(place, dice.random_range(1..9));
        } else {
            section.remove(&place);
        }
        let now = Timestamp::from_unix_ms(dice.random_range(0..220));
        let due = section.holds.iter().filter(|((expires_at, _), _)| *expires_at <= now);
        let due = due.map(|(_, seats)| i64::from(*seats)).sum();
        assert_eq!(section.due_at(now), Some(due), "step {step}");
    }
    let mut section = Section::default();
    for number in 0..25_000 {
        section.add(place(i64::from(number), number), 2);
    }
    let all = Timestamp::from_unix_ms(30_000);
    assert_eq!([section.due_at(all), section.due_at(all)], [None; 2], "in parts");
    assert_eq!(section.due_at(all), Some(50_000));
}

#[test]
fn after_the_clock_was_set_back_what_is_due_is_taken_off_once_and_in_parts() {
    let place = |number: u16| {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&number.to_be_bytes());
        let at = Timestamp::from_unix_ms(number.into());
        (at, BookingId::from_slice(&id).expect("16 bytes"))
    };
    let mut section = Section::default();
    for number in 0..30_000 {
        section.add(place(number), 2);
    }
    let (later, earlier) = (Timestamp::from_unix_ms(40_000), Timestamp::from_unix_ms(4_999));
    while section.due_at(later).is_none() {}
    assert_eq!([section.due_at(earlier), section.due_at(earlier)], [None; 2], "in parts");
    // Meanwhile some end, of those that were taken off and of those that were not.
    for number in [3, 4_998, 9_000, 12_000, 25_000] {
        section.remove(&place(number));
    }
    section.add(place(30_001), 7);
    assert_eq!(section.due_at(earlier), Some(9_996));
    assert_eq!(section.due.before, Some(first_at(Timestamp::from_unix_ms(5_000))), "it is kept");
    assert_eq!(section.due_at(earlier), Some(9_996));
    let due = std::iter::repeat_with(|| section.due_at(later)).find_map(|due| due);
    assert_eq!(due, Some(59_997));
}

#[tokio::test]
async fn a_change_by_another_connection_is_read() {
    let world = World::new().await;
    world.hold(3).await;
    world.clock.advance_ms(600_000);
    assert_eq!(world.seen().await, (6, 6));
    let mut other = world.store.options.connect().await.expect("it opens");
    sqlx::query("UPDATE holds SET seats = 1").execute(&mut other).await.expect("it is written");
    world.store.begin_lists().await;
    assert_eq!(world.known(), Some(world.stored().await));
    assert_eq!(world.seen().await, (6, 3));
}

/// Holds end, and are retired by one batch after the other, while readers look: what is held beside the
/// due ones is the same at any moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn readers_see_counters_and_due_holds_of_one_moment() {
    let world = Arc::new(World::new().await);
    world.hold(RETIRED_PER_SECTION_MAX * 12).await;
    world.clock.advance_ms(300_000);
    world.hold(5).await;
    let all = world.available().await;
    world.clock.advance_ms(300_000);
    let gained = i64::try_from(RETIRED_PER_SECTION_MAX * 12 * 2).expect("a small number");
    let is_over = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (world, is_over) = (world.clone(), is_over.clone());
            tokio::spawn(async move {
                let mut seen = BTreeSet::new();
                while !is_over.load(Ordering::Relaxed) {
                    let (held, due) = world.seen().await;
                    assert_eq!(held - due, 10, "{held} held, {due} due");
                    assert_eq!(world.available().await, all + gained);
                    seen.insert(due);
                }
                seen.len()
            })
        })
        .collect();
    for _ in 0..40 {
        // Any batch of the section retires some.
        world.commit(&[Command::Retire { section_id: world.sections[0] }]).await;
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    is_over.store(true, Ordering::Relaxed);
    for reader in readers {
        assert!(reader.await.expect("every look was right") > 3, "it saw them on the way");
    }
    assert_eq!(world.seen().await, (10, 0));
}
