//! The one connection that writes.
//!
//! It is used without a hop to another thread: a batch has some hundred short statements, and handing
//! each of them over would take longer than SQLite does. So a batch blocks the thread that commits it
//! (the lanes have one of their own), and everything else that writes does it where blocking is allowed.

mod lent;
#[cfg(debug_assertions)]
mod plan;
mod row;

use super::kept::Kept;
use super::lists::{Listed, Lists};
use super::live::{LiveHolds, Pending};
use crate::simulated::{CommitOf, blocking, committing, is_planted, keep_wal, note_durability};
use crate::{Clock, unavailable};
use engine::{Booking, Fault, Timestamp};
pub(super) use lent::Lent;
use rusqlite::{
    CachedStatement, Connection, ErrorCode, OpenFlags, Params, Row, Statement, Transaction,
    TransactionBehavior,
};
use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// How long a write waits for earlier ones before it fails with a retryable fault.
const TURN_TIMEOUT: Duration = Duration::from_secs(1);
/// How far in the future the newest row must be to be worth a line in the log.
const LATER_ROWS_TOLD_MS: i64 = 1_000;
/// Statements that stay prepared: more than there are.
const STATEMENTS_MAX: usize = 128;

/// Serializes all writes of this process.
#[derive(Clone)]
pub(super) struct Writer {
    /// `None` once it is closed.
    open: Arc<Mutex<Option<Open>>>,
    beside: Beside,
}

/// What a write needs beside its turn.
#[derive(Clone)]
pub(super) struct Beside {
    clock: Clock,
    lists: Arc<Lists>,
    live: Arc<LiveHolds>,
}

struct Open {
    connection: Connection,
    /// The rows that are known as of the last commit.
    kept: Kept,
}

/// The connection, for as long as it is one's turn.
pub(super) struct WriterGuard(OwnedMutexGuard<Option<Open>>);

impl WriterGuard {
    /// The connection, unless it is closed. What is kept of rows is dropped, for anything may be done
    /// with it.
    #[cfg(any(test, feature = "fill"))]
    pub(super) fn connection(&mut self) -> Option<&mut Connection> {
        let open = self.0.as_mut()?;
        open.kept = Kept::default();
        Some(&mut open.connection)
    }

    /// The connection, for what writes to the lists of bookings and to nothing else: what is
    /// kept of rows stays, and commits need not wait for the disk.
    pub(super) fn connection_of_index(&mut self) -> Option<Lent<'_>> {
        Lent::of(&mut self.0)
    }
}

/// A write under way. What does not end in [`Self::commit`] is rolled back.
pub(super) struct Writing<'a> {
    transaction: Transaction<'a>,
    pub(super) now: Timestamp,
    beside: &'a Beside,
    /// The bookings that it creates.
    created: RefCell<Vec<Listed>>,
    /// What it changes of live holds.
    pub(super) pending: RefCell<Pending>,
    /// Rows as this write has read and written them.
    pub(super) kept: RefCell<Kept>,
    /// Where they are kept once it is committed.
    place: &'a mut Kept,
}

impl Beside {
    /// The lists of bookings.
    #[cfg(feature = "fill")]
    pub(super) fn lists(&self) -> &Arc<Lists> {
        &self.lists
    }

    /// What the clock shows.
    #[cfg(feature = "fill")]
    pub(super) fn now(&self) -> Timestamp {
        (self.clock)()
    }
}

impl Writer {
    /// Opens the file. `settings` are pragmas and their values.
    pub(super) fn open(
        path: &Path,
        read_only: bool,
        busy_timeout: Duration,
        settings: &[(&str, &str)],
        clock: Clock,
    ) -> Result<Self, Fault> {
        const DOING: &str = "opening the database file";
        let access = if read_only {
            OpenFlags::SQLITE_OPEN_READ_ONLY
        } else {
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE
        };
        let open = || {
            let connection =
                Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
            connection.busy_timeout(busy_timeout)?;
            connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
            keep_wal(&connection)?;
            for (name, value) in settings {
                // Who only reads takes the file as it is.
                if !read_only {
                    connection.pragma_update(None, name, value)?;
                }
            }
            // Other content of the file is noticed at the first read.
            connection.query_row("SELECT count(*) FROM sqlite_schema", (), |_| Ok(()))?;
            Ok(connection)
        };
        let named =
            |error: rusqlite::Error| unavailable(DOING)(format!("{}: {error}", path.display()));
        let connection = open().map_err(named)?;
        if !read_only {
            warn_of_later_rows(&connection, clock());
        }
        let open = Arc::new(Mutex::new(Some(Open { connection, kept: Kept::default() })));
        let beside = Beside { clock, lists: Arc::default(), live: Arc::default() };
        Ok(Self { open, beside })
    }

    /// Waits until it is one's turn to write.
    pub(super) async fn turn(&self, doing: &'static str) -> Result<WriterGuard, Fault> {
        let turn = tokio::time::timeout(TURN_TIMEOUT, self.open.clone().lock_owned()).await;
        let turn = turn.map_err(unavailable(doing))?;
        if turn.is_none() {
            return Err(unavailable(doing)("the store is closed"));
        }
        Ok(WriterGuard(turn))
    }

    /// Waits until it is one's turn, for as long as it takes; `None` once it is closed.
    pub(super) async fn next_turn(&self) -> Option<WriterGuard> {
        let turn = self.open.clone().lock_owned().await;
        turn.is_some().then_some(WriterGuard(turn))
    }

    /// Writes what `work` says in one transaction, if it ends well, on a thread that may be blocked. A
    /// caller that goes away stops nothing.
    pub(super) async fn write<T, E>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Writing<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Fault> + Send + 'static,
    {
        let mut turn = self.turn(doing).await?;
        let beside = self.beside.clone();
        let written = blocking(move || {
            let writing = Writing::begin(&mut turn, &beside, doing)?;
            let made = work(&writing)?;
            writing.commit(doing)?;
            Ok(made)
        });
        match written.await {
            Ok(made) => made,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => Err(unavailable(doing)(error).into()),
            },
        }
    }

    /// Whether the file is closed. While it is somebody's turn, it is open.
    pub(super) fn is_closed(&self) -> bool {
        self.open.try_lock().is_ok_and(|open| open.is_none())
    }

    /// Closes the file.
    pub(super) async fn close(&self) {
        drop(self.open.lock().await.take());
    }

    pub(super) fn beside(&self) -> &Beside {
        &self.beside
    }

    pub(super) fn lists(&self) -> &Arc<Lists> {
        &self.beside.lists
    }

    pub(super) fn live(&self) -> &LiveHolds {
        &self.beside.live
    }

    /// For tests: before anything is written.
    #[cfg(any(test, feature = "simulation"))]
    pub(super) fn set_lists(&mut self, lists: Lists) {
        self.beside.lists = Arc::new(lists);
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.beside.clock
    }
}

/// Over a restart time is what the machine shows, so holds of a process whose clock was ahead end as
/// much later. Nothing else comes of it.
fn warn_of_later_rows(connection: &Connection, now: Timestamp) {
    const SQL: &str = "SELECT at FROM booking_log ORDER BY seq DESC LIMIT 1";
    // A new file has no table yet.
    let Ok(newest) = connection.query_row(SQL, (), |row| row.get(0)) else { return };
    let ahead_ms = Timestamp::from_unix_ms(newest).since_ms(now);
    if ahead_ms > LATER_ROWS_TOLD_MS {
        tracing::warn!(
            ahead_ms,
            "the store was last written at a time that is in the future by this machine's clock: \
             holds of that time end later by the difference"
        );
    }
}

impl<'a> Writing<'a> {
    /// Takes the lock of every row. Nobody else writes until it ends.
    pub(super) fn begin(
        turn: &'a mut WriterGuard,
        beside: &'a Beside,
        doing: &'static str,
    ) -> Result<Self, Fault> {
        let open = turn.0.as_mut().ok_or_else(|| unavailable(doing)("the store is closed"))?;
        let Open { connection, kept: place } = open;
        // At once: a transaction that begins as a reader can fail to become a writer.
        let begun = connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = begun.map_err(failed(doing))?;
        // Taken out: a write that is not committed keeps nothing.
        let (kept, is_another) = place.take_found_by(&transaction)?;
        if is_another && !is_planted("live holds not forgotten after another writer") {
            beside.live.forget();
        }
        // Read under the lock: a clock read before the wait would let an expired hold be confirmed.
        let now = (beside.clock)();
        Ok(Self {
            transaction,
            now,
            beside,
            created: RefCell::default(),
            pending: RefCell::default(),
            kept: RefCell::new(kept),
            place,
        })
    }

    /// Says which bookings it creates, for the lists that they are in.
    pub(super) fn creates(&self, bookings: &[Booking]) {
        self.created.borrow_mut().extend(bookings.iter().map(Listed::from));
    }

    pub(super) fn lists(&self) -> &'a Lists {
        &self.beside.lists
    }

    pub(super) fn live(&self) -> &'a LiveHolds {
        &self.beside.live
    }

    pub(super) fn transaction(&self) -> &Transaction<'a> {
        &self.transaction
    }

    /// Makes it durable.
    pub(super) fn commit(self, doing: &'static str) -> Result<(), Fault> {
        let Self { transaction, kept, place, beside, created, pending, .. } = self;
        note_durability(&transaction);
        if let Err(error) = committing(CommitOf::Write, || transaction.commit()) {
            // Nothing of it should be stored; but nothing is taken for known.
            let keeps = is_planted("kept rows kept by a failed write");
            *place = if keeps { kept.into_inner() } else { Kept::default() };
            if is_planted("bookings of a failed write listed") {
                beside.lists.note(&created.borrow());
            }
            beside.live.forget();
            return Err(failed(doing)(error));
        }
        *place = kept.into_inner();
        beside.lists.note(&created.borrow());
        beside.live.apply(pending.into_inner());
        Ok(())
    }

    /// Takes note of a statement that may write what is kept in memory.
    fn heed(&self, sql: &str) {
        self.kept.borrow_mut().heed(sql);
        self.pending.borrow_mut().heed(sql);
    }

    /// A statement that is prepared once.
    fn prepared(&self, sql: &'static str) -> rusqlite::Result<CachedStatement<'_>> {
        self.heed(sql);
        self.prepared_unheeded(sql)
    }

    /// The same, for a statement that keeps what it writes.
    fn prepared_unheeded(&self, sql: &'static str) -> rusqlite::Result<CachedStatement<'_>> {
        #[cfg(debug_assertions)]
        plan::assert_by_index(&self.transaction, sql)?;
        self.transaction.prepare_cached(sql)
    }

    /// A statement that may read a table as a whole.
    fn prepared_whole(&self, sql: &'static str) -> rusqlite::Result<Statement<'_>> {
        self.heed(sql);
        self.transaction.prepare(sql)
    }

    /// Runs a statement; returns the number of changed rows.
    pub(super) fn run(
        &self,
        doing: &'static str,
        sql: &'static str,
        params: impl Params,
    ) -> Result<usize, Fault> {
        let done = self.prepared(sql).and_then(|mut statement| statement.execute(params));
        done.map_err(failed(doing))
    }

    /// Runs a statement for each of `items`; returns the number of changed rows.
    pub(super) fn run_all<'i, T, P: Params>(
        &self,
        doing: &'static str,
        sql: &'static str,
        items: &'i [T],
        params: impl Fn(&'i T) -> P,
    ) -> Result<usize, Fault> {
        if items.is_empty() {
            return Ok(0);
        }
        execute_all(self.prepared(sql), items, params).map_err(failed(doing))
    }

    /// The same for a statement that writes kept rows, which the caller keeps as they are then.
    pub(super) fn run_all_unheeded<'i, T, P: Params>(
        &self,
        doing: &'static str,
        sql: &'static str,
        items: &'i [T],
        params: impl Fn(&'i T) -> P,
    ) -> Result<usize, Fault> {
        execute_all(self.prepared_unheeded(sql), items, params).map_err(failed(doing))
    }

    /// What `read` makes of the row that a statement finds, if it finds one.
    pub(super) fn one<T>(
        &self,
        doing: &'static str,
        sql: &'static str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        let mut statement = self.prepared(sql).map_err(failed(doing))?;
        let mut rows = statement.query(params).map_err(failed(doing))?;
        rows.next().map_err(failed(doing))?.map(read).transpose()
    }

    /// What `read` makes of the one row that a statement finds, which may read a table as a whole: for
    /// what a person asks for, never for a request.
    pub(super) fn whole<T>(
        &self,
        doing: &'static str,
        sql: &'static str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let mut statement = self.prepared_whole(sql).map_err(failed(doing))?;
        let mut rows = statement.query(params).map_err(failed(doing))?;
        let row = rows.next().map_err(failed(doing))?;
        read(row.ok_or_else(|| unavailable(doing)("a sum has a row"))?)
    }

    /// Reads each row that a statement finds, which may read a table as a whole, as [`Self::whole`].
    pub(super) fn each_whole(
        &self,
        doing: &'static str,
        sql: &'static str,
        params: impl Params,
        mut read: impl FnMut(&Row<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut statement = self.prepared_whole(sql).map_err(failed(doing))?;
        let mut rows = statement.query(params).map_err(failed(doing))?;
        while let Some(row) = rows.next().map_err(failed(doing))? {
            read(row)?;
        }
        Ok(())
    }

    /// Runs a statement that may read a table as a whole, as [`Self::whole`].
    pub(super) fn run_whole(
        &self,
        doing: &'static str,
        sql: &'static str,
        params: impl Params,
    ) -> Result<(), Fault> {
        let run = || self.prepared_whole(sql)?.execute(params);
        run().map(drop).map_err(failed(doing))
    }

    /// What `read` makes of each row that a statement finds.
    pub(super) fn all<T>(
        &self,
        doing: &'static str,
        sql: &'static str,
        params: impl Params,
        read: impl Fn(&Row<'_>) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        let mut statement = self.prepared(sql).map_err(failed(doing))?;
        let mut rows = statement.query(params).map_err(failed(doing))?;
        let mut found = Vec::new();
        while let Some(row) = rows.next().map_err(failed(doing))? {
            found.push(read(row)?);
        }
        Ok(found)
    }
}

fn execute_all<'i, T, P: Params>(
    prepared: rusqlite::Result<CachedStatement<'_>>,
    items: &'i [T],
    params: impl Fn(&'i T) -> P,
) -> rusqlite::Result<usize> {
    let mut statement = prepared?;
    items.iter().try_fold(0, |changed, item| Ok(changed + statement.execute(params(item))?))
}

/// Turns a failure of the driver into a fault: what a constraint refuses is a mistake of ours, all
/// else is a store that cannot answer now.
pub(super) fn failed(doing: &'static str) -> impl Fn(rusqlite::Error) -> Fault {
    move |error| match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => {
            Fault::Corrupt { what: format!("{doing}: {error}") }
        }
        _ => unavailable(doing)(error),
    }
}

#[cfg(test)]
mod tests;
