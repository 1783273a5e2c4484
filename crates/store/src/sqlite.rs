//! The embedded store: one SQLite file in WAL mode, one writer, readers beside it.
//!
//! What it guarantees: a commit is on the disk when it returns (`synchronous=FULL`, I11); only one
//! process writes ([`LOCK_FILE`]); readers see the last commit and never wait for the writer.
//! `BEGIN IMMEDIATE` is the lock of every row, so the clock is read right after it.
//!
//! The writer is a blocking connection without a thread of its own ([`writer`]); readers are a pool.

mod accounts;
mod api_keys;
mod bookings;
mod columns;
mod commit;
mod currency;
mod events;
mod files;
#[cfg(feature = "fill")]
mod fill;
mod kept;
mod keys;
mod leaving;
mod lists;
mod live;
mod log;
mod operators;
mod organizations;
mod repair;
mod rows;
mod schema;
mod seats;
mod series;
#[cfg(feature = "simulation")]
pub(crate) mod simulated;
mod unpack;
mod upkeep;
mod writer;

use crate::called_off::Passes;
use crate::maps::Maps;
use crate::{Epoch, SESSIONS_BUSY, StoreOptions, unavailable};
use engine::{Fault, Policy};
use parking_lot::Mutex;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};
use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use writer::Writer;

/// The file beside the database whose lock says that a process serves it.
pub const LOCK_FILE: &str = "reservix.lock";

/// How long a reader waits for a connection before it is refused as too many.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a migration or an audit on the same file may keep us waiting.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// What every connection is set to. A checkpoint runs after this number of pages of WAL (4 KiB
/// each).
const SETTINGS: [(&str, &str); 6] = [
    ("journal_mode", "WAL"),
    ("synchronous", "FULL"),
    ("foreign_keys", "ON"),
    ("wal_autocheckpoint", "4000"),
    // In KiB, for each connection, of which there are DB_POOL_SIZE and two.
    ("cache_size", "-2000"),
    // For a list of some hundred values an index made on the spot looks cheap, and lures the planner
    // into reading all that is stored.
    ("automatic_index", "OFF"),
];

static MIGRATOR: Migrator = sqlx::migrate!("../../migrations/sqlite");

/// A SQLite database file.
pub struct Sqlite {
    path: PathBuf,
    options: SqliteConnectOptions,
    writer: Writer,
    readers: SqlitePool,
    /// For what must not wait while all readers are busy: a ping, so that they do not make the store look
    /// away, and the cutoffs of tokens. Else it has no connection, whose thread would cost 5 MB.
    pulse: SqlitePool,
    policy: Policy,
    maps: Arc<Maps>,
    passes: Passes,
    /// Drawn at each start: the file may have been replaced meanwhile.
    epoch: watch::Sender<Epoch>,
    /// Held until the store is closed, and let go by the system when the process dies.
    lock: Mutex<Option<File>>,
}

impl Sqlite {
    /// Opens the file, creating it when it is missing, and refuses when another process serves it.
    pub fn open(path: &Path, options: StoreOptions) -> Result<Self, Fault> {
        let lock = if options.read_only {
            files::check_readable(path)?;
            None
        } else {
            let lock = lock(path)?;
            files::make_private(path)?;
            Some(lock)
        };
        // The writer creates the file and its journal before any reader looks.
        let writer = Writer::open(path, options.read_only, BUSY_TIMEOUT, &SETTINGS, options.clock)?;
        let connect = SqliteConnectOptions::new().filename(path).busy_timeout(BUSY_TIMEOUT);
        // Its journal is that of the file, and readers cannot set it.
        let settings = SETTINGS.into_iter().filter(|(name, _)| *name != "journal_mode");
        let connect = settings.fold(connect, |connect, (name, value)| connect.pragma(name, value));
        let pool = |connections| {
            SqlitePoolOptions::new()
                .acquire_timeout(crate::simulated::patience(ACQUIRE_TIMEOUT))
                .test_before_acquire(false)
                .idle_timeout(None)
                .max_lifetime(None)
                .max_connections(connections)
                .connect_lazy_with(connect.clone().read_only(true))
        };
        let (readers, pulse) = (pool(options.pool_size.max(1)), pool(1));
        Ok(Self {
            path: path.to_owned(),
            options: connect,
            writer,
            readers,
            pulse,
            policy: options.policy,
            maps: Arc::default(),
            passes: Passes::default(),
            epoch: watch::channel(Epoch::draw()).0,
            lock: Mutex::new(lock),
        })
    }
}

/// Turns a failure of the driver into a fault: what a constraint refuses is a mistake of ours, a reader
/// that found no connection in time is one too many, all else is a store that cannot answer now.
fn failed(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Fault {
    move |error| match &error {
        sqlx::Error::Database(refused) if refused.kind() != sqlx::error::ErrorKind::Other => {
            Fault::Corrupt { what: format!("{doing}: {refused}") }
        }
        sqlx::Error::PoolTimedOut => Fault::Overloaded { what: SESSIONS_BUSY },
        _ => unavailable(doing)(error),
    }
}

/// Takes the lock of the database at `path`, or says who is in the way.
fn lock(path: &Path) -> Result<File, Fault> {
    const DOING: &str = "locking the database";
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        // Addresses and password hashes are nobody else's business.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(files::failed(DOING, "creating the folder", folder))?;
    }
    let path = folder.unwrap_or(Path::new(".")).join(LOCK_FILE);
    let file = files::open_private(&path).map_err(files::failed(DOING, "opening", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(unavailable(DOING)(format!(
            "another process serves this database (it holds the lock on {}); \
             stop it first, or give this one another DATA_DIR",
            path.display()
        ))),
        Err(TryLockError::Error(error)) => Err(files::failed(DOING, "locking", &path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Accounts as _, Instance as _};

    #[tokio::test]
    async fn too_many_readers_are_refused_and_the_store_still_answers() {
        let folder = tempfile::tempdir().expect("a folder");
        let options = crate::slices::tests::options();
        let count = options.pool_size;
        let store = Sqlite::open(&folder.path().join("reservix.db"), options).expect("opens");
        let mut busy = Vec::new();
        for _ in 0..count {
            busy.push(store.readers.acquire().await.expect("a connection"));
        }
        let refused = store.user_by_email("ada@example.com").await.err();
        assert!(matches!(refused, Some(Fault::Overloaded { .. })), "{refused:?}");
        store.ping().await.expect("the store answers");
    }
}
