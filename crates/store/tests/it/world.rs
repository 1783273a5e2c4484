//! What every suite starts from: a clock set by hand, ids, fresh stores, and events ready for sale.

use engine::{
    Ask, Booking, BookingId, Currency, Event, EventDate, EventId, EventStatus, EventWithSections,
    Money, Policy, Section, SectionId, Shard, Terms, Timestamp, UserId,
};
use std::any::Any;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use store::{BookingFilter, Clock, Fill, Page, Store, StoreOptions, fill_store, open_store};
use tempfile::TempDir;
use tokio::sync::OnceCell;

/// The configuration's defaults.
pub const POLICY: Policy = Policy {
    hold_ttl_ms: 600_000,
    hold_max_life_ms: 1_800_000,
    max_seats_per_booking: 50,
    max_seats_per_user: None,
};

/// A clock that stands still until it is moved. Clones show the same time.
#[derive(Clone)]
pub struct ManualClock(Arc<Dial>);

struct Dial {
    ms: AtomicI64,
    /// Where a database server reads the time, if there is one.
    file: OnceLock<(TempDir, PathBuf)>,
}

impl ManualClock {
    /// A clock that shows the first instant of 2030.
    pub fn new() -> Self {
        let ms = AtomicI64::new(1_893_456_000_000);
        Self(Arc::new(Dial { ms, file: OnceLock::new() }))
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(self.0.ms.load(Ordering::SeqCst))
    }

    pub fn advance_ms(&self, ms: i64) {
        self.0.ms.fetch_add(ms, Ordering::SeqCst);
        self.show();
    }

    /// A file that always holds this clock's milliseconds, readable by everybody on this machine.
    fn as_file(&self) -> &Path {
        let (_, path) = self.0.file.get_or_init(|| {
            let folder = folder();
            let open = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(folder.path(), open).expect("our own folder");
            let path = folder.path().join("clock");
            (folder, path)
        });
        self.show();
        path
    }

    fn show(&self) {
        if let Some((_, path)) = self.0.file.get() {
            // In one step: a reader sees the old time or the new one.
            let next = path.with_extension("next");
            std::fs::write(&next, self.now().unix_ms().to_string()).expect("our own file");
            std::fs::rename(&next, path).expect("our own file");
        }
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
            prevent_orphans: false,
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
            layout_version: None,
        }
    }
}

/// What sections with these capacities begin with.
pub fn opened(capacities: &[i64]) -> Vec<engine::Opening> {
    capacities.iter().map(|capacity| (*capacity).into()).collect()
}

pub fn usd(minor: i64) -> Money {
    Money { minor, currency: Currency::parse("USD").expect("a currency") }
}

/// A digest of what a hold asks for, as a server makes it of the request's body.
pub fn fingerprint(event_id: EventId, asks: &[Ask]) -> i64 {
    let bytes = asks.iter().flat_map(|ask| {
        ask.sections()[0].as_bytes().iter().copied().chain(ask.seats().to_be_bytes())
    });
    let bytes = event_id.as_bytes().iter().copied().chain(bytes);
    bytes.fold(17, |sum: i64, byte| sum.wrapping_mul(31).wrapping_add(i64::from(byte)))
}

/// A store nobody has used yet, with its schema. What it stands on goes when this is dropped.
pub struct Fresh {
    pub store: Arc<dyn Store>,
    /// Of a database on a server: its URL.
    pub url: Option<String>,
    /// The URL it was opened with.
    pub address: String,
    _stands_on: Box<dyn Any + Send + Sync>,
}

/// A fresh embedded store.
pub async fn sqlite(policy: Policy, clock: &ManualClock) -> Fresh {
    let folder = folder();
    let path = folder.path().join("reservix.db");
    let store = open_sqlite(&path, policy, clock).await;
    Fresh { store, url: None, address: sqlite_url(&path), _stands_on: Box::new(folder) }
}

/// Opens the embedded store at `path`, with its schema.
pub async fn open_sqlite(path: &Path, policy: Policy, clock: &ManualClock) -> Arc<dyn Store> {
    let store = open_store(&sqlite_url(path), options(policy, clock)).await;
    let store = store.expect("the store opens");
    store.migrate(None).await.expect("the schema is made");
    store
}

/// A database whose clock is set by hand. It is dropped with this.
struct OwnDatabase {
    url: String,
    _clock: ManualClock,
}

impl Drop for OwnDatabase {
    fn drop(&mut self) {
        let name = self.url.rsplit('/').next().expect("a name at the end");
        let drop = format!("DROP DATABASE {name} WITH (FORCE)");
        testbed::postgres::shared().sql("postgres", &drop);
    }
}

/// A fresh PostgreSQL store, in a database of its own on a server that all tests share.
pub async fn postgres(policy: Policy, clock: &ManualClock) -> Fresh {
    let url = postgres_database(clock).await;
    let store = open_store(&url, options(policy, clock)).await.expect("the store opens");
    let own = OwnDatabase { url: url.clone(), _clock: clock.clone() };
    Fresh { store, url: Some(url.clone()), address: url, _stands_on: Box::new(own) }
}

/// An embedded store that was filled before it was opened, and its file.
pub async fn filled_sqlite(fill: &Fill, clock: &ManualClock) -> (Fresh, PathBuf) {
    let folder = folder();
    let path = folder.path().join("reservix.db");
    let filled = fill_store(&sqlite_url(&path), options(POLICY, clock), fill, |_| ()).await;
    filled.expect("the store is filled");
    let store = open_sqlite(&path, POLICY, clock).await;
    let address = sqlite_url(&path);
    (Fresh { store, url: None, address, _stands_on: Box::new(folder) }, path)
}

/// A PostgreSQL store that was filled.
pub async fn filled_postgres(fill: &Fill, clock: &ManualClock) -> Fresh {
    let fresh = postgres(POLICY, clock).await;
    let url = fresh.url.as_deref().expect("it is on a server");
    let filled = fill_store(url, options(POLICY, clock), fill, |_| ()).await;
    filled.expect("the store is filled");
    fresh
}

/// A copy of a database with the schema, whose clock is `clock`.
pub async fn postgres_database(clock: &ManualClock) -> String {
    static TEMPLATE: OnceCell<String> = OnceCell::const_new();
    let server = testbed::postgres::shared();
    let make = || async {
        let url = server.create_database();
        let store = open_store(&url, options(POLICY, clock)).await.expect("the store opens");
        store.migrate(None).await.expect("the schema is made");
        store.close().await;
        url
    };
    let template = TEMPLATE.get_or_init(make).await;
    let url = server.create_database_from(template);
    let path = clock.as_file().display();
    let by_hand = format!(
        "CREATE OR REPLACE FUNCTION now_ms() RETURNS bigint LANGUAGE sql VOLATILE
            AS $$ SELECT pg_read_file('{path}')::bigint $$"
    );
    server.sql(&url, &by_hand);
    url
}

pub fn sqlite_url(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

pub fn options(policy: Policy, clock: &ManualClock) -> StoreOptions {
    StoreOptions { policy, clock: clock.as_clock(), pool_size: 4, read_only: false, strict: false }
}

/// An empty folder, in memory where the system has such a place: no test here pulls a plug.
pub fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
    made.or_else(|_| TempDir::new()).expect("a folder for the test")
}

/// All bookings that a list would show, page by page.
pub async fn all_bookings(store: &dyn Store, filter: &BookingFilter) -> Vec<Booking> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = Page { after, limit: 10_000 };
        let found = store.bookings(filter, page).await.expect("the store answers");
        all.extend(found.items);
        if !found.has_more {
            return all;
        }
        after = all.last().map(|last: &Booking| last.booking_id);
    }
}
