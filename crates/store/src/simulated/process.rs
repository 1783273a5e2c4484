//! A process of the embedded store in a simulation: it runs on one thread, and dies where that is asked for.
//!
//! All of it is chosen by the thread: other tests of the workspace are built with the same feature, and run
//! as a server does.

use rusqlite::Connection;
use std::time::{Duration, Instant};
use tokio::task::JoinError;

/// What a COMMIT is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitOf {
    /// A write of the store, durable when it returns.
    Write,
    /// A portion of the lists of bookings, durable later.
    Lists,
}

#[cfg(feature = "simulation")]
mod kept {
    use super::CommitOf;
    use rusqlite::{Connection, Error, ffi};
    use std::cell::Cell;
    use std::panic::resume_unwind;

    /// What becomes of a COMMIT.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum CommitFault {
        /// The disk is full: nothing is stored, and the process goes on.
        Fails,
        /// The process dies before it: nothing is stored.
        CrashBefore,
        /// The process dies after it: all is stored, and it has told nobody.
        CrashAfter,
    }

    thread_local! {
        static IS_INLINE: Cell<bool> = const { Cell::new(false) };
        static ARMED: Cell<Option<(CommitOf, CommitFault)>> = const { Cell::new(None) };
        static IS_DURABLE: Cell<bool> = const { Cell::new(false) };
        static FIRED: Cell<Option<(CommitOf, CommitFault)>> = const { Cell::new(None) };
    }

    /// As long as it lives, what runs on this thread hands no work to others.
    #[derive(Debug)]
    pub struct Inline(());

    impl Inline {
        /// Begins a run in which nothing has happened.
        #[must_use]
        pub fn begin() -> Self {
            forget();
            IS_INLINE.set(true);
            Self(())
        }
    }

    impl Drop for Inline {
        fn drop(&mut self) {
            forget();
            IS_INLINE.set(false);
        }
    }

    /// Whether the last write that began to be committed on this thread waits for the disk.
    #[must_use]
    pub fn is_durable() -> bool {
        IS_DURABLE.get()
    }

    pub(super) fn note_durability(connection: &Connection) {
        const FULL: i64 = 2;
        let found = connection.prepare_cached("PRAGMA synchronous");
        let found = found.and_then(|mut found| found.query_row((), |row| row.get::<_, i64>(0)));
        IS_DURABLE.set(found.is_ok_and(|level| level >= FULL));
    }

    fn forget() {
        ARMED.set(None);
        FIRED.set(None);
    }

    pub(super) fn is_inline() -> bool {
        IS_INLINE.get()
    }

    /// Arms a fault for the next COMMIT of this kind on this thread.
    pub fn fail_next(of: CommitOf, fault: CommitFault) {
        ARMED.set(Some((of, fault)));
    }

    /// Takes back a fault that has not happened yet.
    pub fn disarm() {
        ARMED.set(None);
    }

    /// The fault that has happened on this thread.
    #[must_use]
    pub fn fired() -> Option<(CommitOf, CommitFault)> {
        FIRED.get()
    }

    /// The same, and forgets it: after a crash, a new process may begin.
    #[must_use]
    pub fn take_fired() -> Option<(CommitOf, CommitFault)> {
        FIRED.take()
    }

    /// Whether the process of this thread is dead.
    #[must_use]
    pub fn has_crashed() -> bool {
        matches!(FIRED.get(), Some((_, CommitFault::CrashBefore | CommitFault::CrashAfter)))
    }

    fn die() -> ! {
        resume_unwind(Box::new("the process of the simulation has crashed"))
    }

    pub(super) fn committing(
        of: CommitOf,
        commit: impl FnOnce() -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        if has_crashed() {
            die();
        }
        let Some((_, fault)) = ARMED.get().filter(|(armed, _)| *armed == of) else {
            return commit();
        };
        ARMED.set(None);
        FIRED.set(Some((of, fault)));
        match fault {
            CommitFault::Fails => {
                Err(Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_FULL), None))
            }
            CommitFault::CrashBefore => die(),
            CommitFault::CrashAfter => {
                commit()?;
                die()
            }
        }
    }
}

#[cfg(feature = "simulation")]
pub use kept::{
    CommitFault, Inline, disarm, fail_next, fired, has_crashed, is_durable, take_fired,
};

/// Commits, unless a simulation has another fate for it.
#[inline]
#[cfg_attr(not(feature = "simulation"), expect(unused_variables, reason = "nobody asks"))]
pub(crate) fn committing(
    of: CommitOf,
    commit: impl FnOnce() -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    #[cfg(feature = "simulation")]
    return kept::committing(of, commit);
    #[cfg(not(feature = "simulation"))]
    commit()
}

/// Takes note of how durable the commit is that a connection is about to make, in a simulation.
#[inline]
#[cfg_attr(not(feature = "simulation"), expect(unused_variables, reason = "nobody asks"))]
pub(crate) fn note_durability(connection: &Connection) {
    #[cfg(feature = "simulation")]
    if kept::is_inline() {
        kept::note_durability(connection);
    }
}

/// Does what blocks on a thread that may be blocked; in a simulation at once, on this one.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    #[cfg(feature = "simulation")]
    if kept::is_inline() {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await
}

/// How long it took; in a simulation a millisecond.
#[inline]
pub(crate) fn time_since(begun: Instant) -> Duration {
    #[cfg(feature = "simulation")]
    if kept::is_inline() {
        return Duration::from_millis(1);
    }
    begun.elapsed()
}

/// How long a reader waits for a connection; in a simulation for as long as it takes, since time does not
/// pass there while it waits.
#[inline]
pub(crate) fn patience(usual: Duration) -> Duration {
    #[cfg(feature = "simulation")]
    if kept::is_inline() {
        return Duration::from_hours(1);
    }
    usual
}

/// Has a connection leave the log of the file as it is when it is closed, in a simulation: a process that is
/// killed moves nothing from there to its place.
#[inline]
#[cfg_attr(not(feature = "simulation"), expect(unused_variables, reason = "nobody asks"))]
#[cfg_attr(
    not(feature = "simulation"),
    expect(clippy::unnecessary_wraps, reason = "a simulation can fail")
)]
pub(crate) fn keep_wal(connection: &Connection) -> rusqlite::Result<()> {
    #[cfg(feature = "simulation")]
    if kept::is_inline() {
        use rusqlite::config::DbConfig;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    }
    Ok(())
}
