//! The embedded store: one SQLite file in WAL mode, one writer, readers beside it.
//!
//! What it guarantees: a commit is on the disk when it returns (`synchronous=FULL`, I11); only one
//! process writes ([`LOCK_FILE`]); readers see the last commit and never wait for the writer.
//! `BEGIN IMMEDIATE` is the lock of every row, so the clock is read right after it.

mod accounts;
mod bookings;
mod commit;
mod events;
mod fill;
mod rows;
mod seats;
mod upkeep;

use crate::maps::Maps;
use crate::{Clock, StoreOptions, unavailable};
use engine::{Fault, Policy, Timestamp};
use parking_lot::Mutex;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Connection as _, Sqlite as Driver, Transaction};
use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The file beside the database whose lock says that a process serves it.
pub const LOCK_FILE: &str = "reservix.lock";

/// How long a request waits for a connection before it is told to come again.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a migration or an audit on the same file may keep us waiting.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// Pages of WAL after which they are moved into the database (4 KiB each).
const CHECKPOINT_PAGES: &str = "4000";

/// Takes the lock at once: a transaction that begins as a reader can fail to become a writer.
const BEGIN: &str = "BEGIN IMMEDIATE";

static MIGRATOR: Migrator = sqlx::migrate!("../../migrations/sqlite");

/// A SQLite database file.
pub struct Sqlite {
    path: PathBuf,
    writer: SqlitePool,
    readers: SqlitePool,
    clock: Clock,
    policy: Policy,
    maps: Maps,
    /// Held until the store is closed, and let go by the system when the process dies.
    lock: Mutex<Option<File>>,
}

impl Sqlite {
    /// Opens the file, creating it when it is missing, and refuses when another process serves it.
    pub async fn open(path: &Path, options: StoreOptions) -> Result<Self, Fault> {
        let lock = if options.read_only { None } else { Some(lock(path)?) };
        if options.read_only && !path.exists() {
            let missing = format!("there is no database at {}", path.display());
            return Err(unavailable("opening the database file")(missing));
        }
        let connect = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(!options.read_only)
            .read_only(options.read_only)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
            // For a list of some hundred values an index made on the spot looks cheap, and lures the
            // planner into reading all that is stored once for each batch.
            .pragma("automatic_index", "off");
        let connect =
            if options.read_only { connect } else { connect.journal_mode(SqliteJournalMode::Wal) };
        let pool = || {
            SqlitePoolOptions::new()
                .acquire_timeout(ACQUIRE_TIMEOUT)
                .test_before_acquire(false)
                .idle_timeout(None)
                .max_lifetime(None)
        };
        // The writer creates the file and its journal before any reader looks.
        let writer = pool().max_connections(1).connect_with(connect.clone()).await;
        let writer = writer.map_err(failed("opening the database file"))?;
        let readers = pool()
            .max_connections(options.pool_size.max(1))
            .connect_lazy_with(connect.read_only(true));
        Ok(Self {
            path: path.to_owned(),
            writer,
            readers,
            clock: options.clock,
            policy: options.policy,
            maps: Maps::default(),
            lock: Mutex::new(lock),
        })
    }

    /// Begins a write. Nobody else writes until it ends.
    async fn begin(
        &self,
        doing: &'static str,
    ) -> Result<(Transaction<'static, Driver>, Timestamp), Fault> {
        let begun = match self.writer.begin_with(BEGIN).await {
            // A full disk ends a transaction behind the back of the driver, which goes on counting
            // it: such a connection never begins again, so it makes room for a new one.
            Err(sqlx::Error::InvalidSavePointStatement) => {
                let stuck = self.writer.acquire().await.map_err(failed(doing))?;
                stuck.detach().close_hard().await.map_err(failed(doing))?;
                self.writer.begin_with(BEGIN).await
            }
            begun => begun,
        };
        let begun = begun.map_err(failed(doing))?;
        // Read under the lock: a clock read before the wait would let an expired hold be confirmed.
        Ok((begun, (self.clock)()))
    }
}

/// Turns a failure of the driver into a fault: what a constraint refuses is a mistake of ours, all
/// else is a store that cannot answer now.
fn failed(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Fault {
    move |error| match &error {
        sqlx::Error::Database(refused) if refused.kind() != sqlx::error::ErrorKind::Other => {
            Fault::Corrupt { what: format!("{doing}: {refused}") }
        }
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
        made.map_err(unavailable(DOING))?;
    }
    let path = folder.unwrap_or(Path::new(".")).join(LOCK_FILE);
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(unavailable(DOING))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(unavailable(DOING)(format!(
            "another process serves this database (it holds the lock on {}); \
             stop it first, or give this one another DATA_DIR",
            path.display()
        ))),
        Err(TryLockError::Error(error)) => Err(unavailable(DOING)(error)),
    }
}
