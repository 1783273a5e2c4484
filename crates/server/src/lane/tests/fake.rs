//! A store that only commits: it writes down what it is given, and can be made slow, odd or absent.

use async_trait::async_trait;
use engine::seats::{Layout, Marks};
use engine::{
    Booking, BookingId, Command, Committed, Currency, EventId, Fault, Hold, IdempotencyKey,
    Inventory, Item, KeyUse, Money, Outcome, SectionId, Shard, Timestamp, UserId,
};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use store::{Batches, KeyedHolds, Seats, Timed, VersionedLayout};
use tokio::sync::Semaphore;

/// The time at this store.
pub fn now() -> Timestamp {
    Timestamp::from_unix_ms(1_800_000_000_000)
}

/// What a command does to the batch it is in, by the number in its booking's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oddity {
    /// It breaks a constraint.
    Corrupt,
    /// It breaks an assert.
    Panic,
}

/// The store.
#[derive(Default)]
pub struct Fake {
    /// Commands with these numbers are odd.
    pub odd: HashMap<u64, Oddity>,
    /// Commands with this number keep their batch waiting until [`Self::thaw`].
    pub frozen: Option<u64>,
    /// Keys that are committed.
    pub committed_keys: Vec<&'static str>,
    /// What a commit leaves behind, for the gate.
    pub inventories: Vec<Inventory>,
    /// What the first commit leaves behind of a section with numbered seats.
    pub marks: Mutex<Option<(SectionId, Marks)>>,
    /// The seats of every section that is asked about, and their marks.
    pub marked_layout: Option<(Arc<Layout>, Marks)>,
    /// Nothing can be reached.
    pub is_away: AtomicBool,
    begun: Mutex<Vec<Vec<Command>>>,
    done: AtomicUsize,
    keys_read: AtomicUsize,
    marks_read: AtomicUsize,
    has_read_layout: AtomicBool,
    under_way: AtomicUsize,
    under_way_max: AtomicUsize,
    ice: Option<Semaphore>,
}

/// Counts a commit as under way, also when it panics.
struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Fake {
    /// A store that waits when it meets the command with this number.
    pub fn freezing_at(number: u64) -> Self {
        let ice = Some(Semaphore::new(0));
        Self { frozen: Some(number), ice, ..Self::default() }
    }

    /// Lets the batch that waits go on.
    pub fn thaw(&self) {
        self.ice.as_ref().expect("a store that freezes").close();
    }

    /// The batches it was given, in order, as the numbers of their commands.
    pub fn begun(&self) -> Vec<Vec<u64>> {
        let begun = self.begun.lock();
        begun.iter().map(|batch| batch.iter().map(number).collect()).collect()
    }

    /// Commands that were committed.
    pub fn done(&self) -> usize {
        self.done.load(Ordering::SeqCst)
    }

    /// How many times it was asked for keys.
    pub fn keys_read(&self) -> usize {
        self.keys_read.load(Ordering::SeqCst)
    }

    /// How many times it was asked for marks.
    pub fn marks_read(&self) -> usize {
        self.marks_read.load(Ordering::SeqCst)
    }

    /// The maximum number of concurrent commits it has seen.
    pub fn under_way_max(&self) -> usize {
        self.under_way_max.load(Ordering::SeqCst)
    }

    fn reach(&self) -> Result<(), Fault> {
        if self.is_away.load(Ordering::SeqCst) {
            let source = Arc::new(std::io::Error::other("cut off"));
            return Err(Fault::Unavailable { doing: "testing", source });
        }
        Ok(())
    }
}

/// The id that carries a number.
pub fn booking_id(shard: u64, number: u64) -> BookingId {
    BookingId::new(now(), Shard::pick(shard), number)
}

/// The number that an id carries.
pub fn number_of(booking_id: BookingId) -> u64 {
    u64::try_from(booking_id.uuid().as_u128() & u128::from(u32::MAX)).expect("32 bits")
}

/// The number of a command.
pub fn number(command: &Command) -> u64 {
    number_of(booking_of(command))
}

fn booking_of(command: &Command) -> BookingId {
    match command {
        Command::Hold(Hold { booking_id, .. }) | Command::Confirm { booking_id, .. } => *booking_id,
        other => unreachable!("no test submits {other:?}"),
    }
}

fn booking(booking_id: BookingId) -> Booking {
    let currency = Currency::parse("USD").expect("valid");
    let item = Item {
        section_id: SectionId::new(now(), Shard::pick(0), 0),
        section_name: "A".into(),
        seats: 1,
        seat_names: Vec::new(),
        unit_price: Money { minor: 1, currency },
    };
    let user_id = UserId::new(now(), Shard::pick(0), 0);
    let event_id = EventId::new(now(), Shard::pick(0), 0);
    Booking::held(booking_id, (user_id, event_id), [item], now(), (1_000, 1_000))
}

#[async_trait]
impl Batches for Fake {
    async fn commit(&self, commands: &[Command]) -> Result<Committed, Fault> {
        self.begun.lock().push(commands.to_vec());
        let now_under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        let _under_way = UnderWay(&self.under_way);
        self.under_way_max.fetch_max(now_under_way, Ordering::SeqCst);
        // Whoever else would commit beside this one gets its chance.
        tokio::task::yield_now().await;
        if commands.iter().any(|command| Some(number(command)) == self.frozen) {
            // A closed semaphore: the ice has gone.
            let _thawed = self.ice.as_ref().expect("a store that freezes").acquire().await;
        }
        self.reach()?;
        for command in commands {
            match self.odd.get(&number(command)) {
                Some(Oddity::Corrupt) => {
                    return Err(Fault::Corrupt { what: "a constraint".to_owned() });
                }
                Some(Oddity::Panic) => panic!("an assert of command {}", number(command)),
                None => {}
            }
        }
        self.done.fetch_add(commands.len(), Ordering::SeqCst);
        let made = |command| Outcome::Booking {
            booking: booking(booking_of(command)),
            replayed: false,
            next_to_each_other: None,
        };
        Ok(Committed {
            now: now(),
            answers: commands.iter().map(|command| Ok(made(command))).collect(),
            inventories: self.inventories.clone(),
            bookings: Vec::new(),
            marks: self.marks.lock().take().into_iter().collect(),
            expired: 0,
            rebuilt: Vec::new(),
        })
    }

    async fn keyed_holds(&self, keys: &[(UserId, IdempotencyKey)]) -> Result<KeyedHolds, Fault> {
        self.keys_read.fetch_add(1, Ordering::SeqCst);
        self.reach()?;
        let committed = keys.iter().filter(|(_, key)| self.committed_keys.contains(&key.as_str()));
        let named = booking(booking_id(0, 0));
        let used = KeyUse { booking_id: named.booking_id, fingerprint: 0 };
        Ok(committed.map(|key| (key.clone(), (used.clone(), named.clone()))).collect())
    }
}

#[async_trait]
impl Seats for Fake {
    async fn layout(&self, _: SectionId) -> Result<Option<VersionedLayout>, Fault> {
        self.reach()?;
        self.has_read_layout.store(true, Ordering::SeqCst);
        Ok(self
            .marked_layout
            .as_ref()
            .map(|(layout, marks)| (marks.layout_version, layout.clone())))
    }

    fn cached_layout(&self, _: SectionId, version: i64) -> Option<Arc<Layout>> {
        if !self.has_read_layout.load(Ordering::SeqCst) {
            return None;
        }
        let (layout, marks) = self.marked_layout.as_ref()?;
        (marks.layout_version == version).then(|| layout.clone())
    }

    async fn marks(&self, _: SectionId) -> Result<Option<Marks>, Fault> {
        self.marks_read.fetch_add(1, Ordering::SeqCst);
        self.reach()?;
        Ok(self.marked_layout.as_ref().map(|(_, marks)| marks.clone()))
    }
}

impl Timed for Fake {
    fn now(&self) -> Timestamp {
        now()
    }
}
