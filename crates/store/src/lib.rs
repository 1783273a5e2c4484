//! Where Reservix keeps its state: stores, which say yes, and gates, which may only say no.
//!
//! A [`Store`] is the only truth: what it committed happened. A [`Gate`] is in front of it and
//! refuses early and cheaply; lose it, and the system is slower, never wrong. The URL picks the
//! adapter ([`open_store`], [`open_gate`]), and no rule lives here: a store loads rows, calls
//! `engine::decide`, and writes the outcome.

mod audit;
pub mod batch;
mod called_off;
pub mod clock;
mod epoch;
#[cfg(feature = "fill")]
mod fill;
pub mod gate;
mod keys;
mod maps;
mod messages;
mod migrations;
mod port;
mod postgres;
pub mod random;
mod rows;
pub mod simulated;
mod slices;
mod sqlite;

use engine::{Fault, Policy};
use migrations::{migrations_of, takes_runs_away};
use std::path::Path;
use std::sync::Arc;

pub use clock::{Clock, Monotonic};
pub use epoch::Epoch;
#[cfg(feature = "fill")]
pub use fill::{FILL_BOOKINGS_MAX, FILL_EVENTS_MAX, Fill, Filled, fill_store};
pub use gate::{Gate, check_gate_url, open_gate};
pub use maps::VersionedLayout;
pub use messages::Messages;
pub use port::{
    AccessPage, Accounts, ApiKeys, Batches, BookingFilter, Bookings, Books, CREATION_KEY_KEPT_MS,
    ChangeNote, Created, CreationKey, ENTRIES_LOOKED_AT_MAX, EntryFilter, EventCard, EventFilter,
    Events, Histories, Instance, KeyedHolds, LAST_USE_EVERY_MS, Leaving, Left, Log,
    MESSAGE_ROWS_MAX, ManySeries, Migration, Operator, Operators, Organizations, PAGE_BYTES_MAX,
    PageRequest, Paged, Place, Reckoning, Schema, Seats, Store, StoredEntry, StoredKey, Sweep,
    Timed,
};
pub use sqlite::LOCK_FILE;

/// Bookings of a buyer that are looked through to count the live seats at an event whose cap came after
/// it was created. A buyer with more is at the limit.
const COUNTED_MAX: i64 = 100_000;

/// How to open a store.
#[derive(Clone)]
pub struct StoreOptions {
    /// Limits of events that set none of their own.
    pub policy: Policy,
    /// The present time, where the database has no clock of its own.
    pub clock: Clock,
    /// How time passes while the database's clock is not asked.
    pub monotonic: Monotonic,
    /// Readers at once.
    pub pool_size: u32,
    /// Reads only, beside a running server.
    pub read_only: bool,
    /// Refuses a database whose settings would let it lose what it acknowledged (I11); else it is
    /// logged.
    pub strict: bool,
}

/// Opens the store that the scheme of `url` names: `sqlite:PATH`, or `postgres://…`.
pub async fn open_store(url: &str, options: StoreOptions) -> Result<Arc<dyn Store>, Fault> {
    Ok(match StoreKind::open(url)? {
        StoreKind::Sqlite(path) => {
            let is_reader = options.read_only;
            let store = sqlite::Sqlite::open(path, options)?;
            if !is_reader {
                store.open_timeline().await?;
            }
            Arc::new(store)
        }
        StoreKind::Postgres => Arc::new(Box::pin(postgres::Postgres::open(url, options)).await?),
    })
}

/// What the scheme of a URL names.
enum StoreKind<'a> {
    Sqlite(&'a Path),
    Postgres,
}

impl<'a> StoreKind<'a> {
    fn open(url: &'a str) -> Result<Self, Fault> {
        let wrong = |what| Fault::Unsuitable { what: format!("DATABASE_URL is invalid: {what}") };
        Self::of(url).map_err(wrong)
    }

    fn of(url: &'a str) -> Result<Self, String> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() || path.ends_with('/') || path.contains(['?', '#']) {
                return Err("must be sqlite:// and the path of a file, without a query".to_owned());
            }
            if path.starts_with(":memory:") {
                return Err("must name a file: an in-memory store is not supported".to_owned());
            }
            return Ok(Self::Sqlite(path.as_ref()));
        }
        let scheme = url.split(':').next().unwrap_or_default();
        if matches!(scheme, "postgres" | "postgresql") {
            return Ok(Self::Postgres);
        }
        // A driver of another language: `postgresql+asyncpg`.
        let hint = scheme.split('+').next().filter(|base| base.starts_with("postgres"));
        let hint = hint.map_or("", |_| "; omit the driver: postgres://");
        Err(format!(
            "unknown scheme {scheme:?} of a store; the known ones are sqlite and postgres{hint}"
        ))
    }
}

/// Says why a URL of a store can never work. It opens nothing, and repeats no secret.
pub fn check_store_url(url: &str) -> Result<(), String> {
    match StoreKind::of(url)? {
        StoreKind::Sqlite(_) => Ok(()),
        StoreKind::Postgres => postgres::check_url(url),
    }
}

/// Makes the one cryptography this binary has that of the whole process; the TLS of both databases
/// asks for it. Doing it again changes nothing.
fn use_ring() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Why somebody is refused who waited too long for one of the `DB_POOL_SIZE` connections.
pub const SESSIONS_BUSY: &str = "all connections to the store are busy";

/// Turns a failure of the underlying system into a fault that says what was being done.
fn unavailable<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    doing: &'static str,
) -> impl FnOnce(E) -> Fault {
    move |source| Fault::Unavailable { doing, source: Arc::from(source.into()) }
}
