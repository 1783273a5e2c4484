//! What every suite starts from: a clock set by hand, ids, fresh stores, and events ready for sale.

use engine::{
    Ask, BookingId, Currency, Event, EventDate, EventId, EventStatus, Money, Policy, Section,
    SectionId, Shard, Terms, Timestamp, UserId,
};
use std::any::Any;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use store::{Clock, EventWithSections, Store, StoreOptions, open_store};
use tempfile::TempDir;

/// The configuration's defaults.
pub const POLICY: Policy = Policy {
    hold_ttl_ms: 600_000,
    hold_max_life_ms: 1_800_000,
    max_seats_per_booking: 50,
    max_seats_per_user: None,
};

/// A clock that stands still until it is moved. Clones show the same time.
#[derive(Clone)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// A clock that shows the first instant of 2030.
    pub fn new() -> Self {
        Self(Arc::new(AtomicI64::new(1_893_456_000_000)))
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(self.0.load(Ordering::SeqCst))
    }

    pub fn advance_ms(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }

    /// This clock as a store takes it.
    pub fn as_clock(&self) -> Clock {
        let clock = self.clone();
        Arc::new(move || clock.now())
    }
}

/// Makes ids: of one millisecond and shard, a later one is greater.
pub struct Mint {
    clock: ManualClock,
    made: AtomicU64,
}

impl Mint {
    pub fn new(clock: &ManualClock) -> Self {
        Self { clock: clock.clone(), made: AtomicU64::new(1) }
    }

    fn next(&self) -> u64 {
        self.made.fetch_add(1, Ordering::SeqCst)
    }

    pub fn user(&self) -> UserId {
        UserId::new(self.clock.now(), Shard::pick(0), self.next())
    }

    pub fn event(&self) -> EventId {
        EventId::new(self.clock.now(), Shard::pick(7), self.next())
    }

    pub fn section(&self, event_id: EventId) -> SectionId {
        SectionId::new(self.clock.now(), event_id.shard(), self.next())
    }

    pub fn booking(&self, event_id: EventId) -> BookingId {
        BookingId::new(self.clock.now(), event_id.shard(), self.next())
    }

    /// An event on sale that takes place in a year, still without sections.
    pub fn event_on_sale(&self, organizer_id: UserId) -> EventWithSections {
        let now = self.clock.now();
        let date = now.plus_ms(365 * 24 * 3_600_000).to_string();
        let timezone = "UTC".parse().expect("a time zone");
        let date = EventDate::parse(&date, timezone).expect("an instant");
        let terms = Terms {
            event_id: self.event(),
            organizer_id,
            status: EventStatus::OnSale,
            sales_start: None,
            sales_end: None,
            over_at: date.over_at(),
            max_seats_per_booking: None,
            max_seats_per_user: None,
            hold_ttl_ms: None,
            cancellable_until: None,
        };
        let event = Event {
            terms,
            title: "Concert".to_owned(),
            description: None,
            venue: None,
            date,
            timezone,
            version: 1,
            created_at: now,
            updated_at: now,
        };
        EventWithSections { event, sections: Vec::new() }
    }

    /// A section whose seats cost 12.50 USD each.
    pub fn section_of(&self, event_id: EventId, name: &str) -> Section {
        Section {
            section_id: self.section(event_id),
            event_id,
            name: name.into(),
            price: usd(1250),
        }
    }
}

pub fn usd(minor: i64) -> Money {
    Money { minor, currency: Currency::parse("USD").expect("a currency") }
}

/// A digest of what a hold asks for, as a server makes it of the request's body.
pub fn fingerprint(event_id: EventId, asks: &[Ask]) -> i64 {
    let bytes = asks
        .iter()
        .flat_map(|ask| ask.section_id.as_bytes().iter().copied().chain(ask.seats.to_be_bytes()));
    let bytes = event_id.as_bytes().iter().copied().chain(bytes);
    bytes.fold(17, |sum: i64, byte| sum.wrapping_mul(31).wrapping_add(i64::from(byte)))
}

/// A store nobody has used yet, with its schema. What it stands on goes when this is dropped.
pub struct Fresh {
    pub store: Arc<dyn Store>,
    _stands_on: Box<dyn Any + Send + Sync>,
}

/// A fresh embedded store.
pub async fn sqlite(policy: Policy, clock: &ManualClock) -> Fresh {
    let folder = folder();
    let store = open_sqlite(&folder.path().join("reservix.db"), policy, clock).await;
    Fresh { store, _stands_on: Box::new(folder) }
}

/// Opens the embedded store at `path`, with its schema.
pub async fn open_sqlite(path: &Path, policy: Policy, clock: &ManualClock) -> Arc<dyn Store> {
    let store = open_store(&sqlite_url(path), options(policy, clock)).await;
    let store = store.expect("the store opens");
    store.migrate(None).await.expect("the schema is made");
    store
}

pub fn sqlite_url(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

pub fn options(policy: Policy, clock: &ManualClock) -> StoreOptions {
    StoreOptions { policy, clock: clock.as_clock(), pool_size: 4, read_only: false }
}

/// An empty folder, in memory where the system has such a place: no test here pulls a plug.
pub fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
    made.or_else(|_| TempDir::new()).expect("a folder for the test")
}
