//! Fresh stores, whose time is a clock set by hand.

use engine::{Booking, Policy, Timestamp};
use std::any::Any;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use store::{BookingFilter, Fill, PageRequest, Store, StoreOptions, fill_store, open_store};
use suite::world::{ManualClock, POLICY};
use tempfile::TempDir;
use tokio::sync::OnceCell;

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
    server.sql(&url, &clock_by_hand(clock));
    url
}

/// Sets the clock of a database to `clock`.
pub fn clock_by_hand(clock: &ManualClock) -> String {
    let path = clock_file(clock);
    let path = path.display();
    format!(
        "CREATE OR REPLACE FUNCTION now_ms() RETURNS bigint LANGUAGE sql VOLATILE
            AS $$ SELECT pg_read_file('{path}')::bigint $$"
    )
}

/// A file that always holds the milliseconds of `clock`, readable by everybody on this machine. It
/// goes with the clock.
fn clock_file(clock: &ManualClock) -> PathBuf {
    let folder = folder();
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).expect("our own folder");
    let path = folder.path().join("clock");
    let shown = path.clone();
    clock.watch(move |now: Timestamp| {
        // In one step: a reader sees the old time or the new one.
        let next = folder.path().join("next");
        std::fs::write(&next, now.unix_ms().to_string()).expect("our own file");
        std::fs::rename(&next, &shown).expect("our own file");
    });
    path
}

pub fn sqlite_url(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

pub fn options(policy: Policy, clock: &ManualClock) -> StoreOptions {
    let (clock, passing) = (clock.clone(), clock.clone());
    let clock = Arc::new(move || clock.now());
    let monotonic = Arc::new(move || Duration::from_millis(passing.now().unix_ms().unsigned_abs()));
    StoreOptions { policy, clock, monotonic, pool_size: 4, read_only: false, strict: false }
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
        let page = PageRequest { after, limit: 10_000 };
        let found = store.bookings(filter, page).await.expect("the store answers");
        all.extend(found.items);
        if !found.has_more {
            return all;
        }
        after = all.last().map(|last: &Booking| last.booking_id);
    }
}
