//! The one connection that writes.
//!
//! It is used without a hop to another thread: a batch has some hundred short statements, and handing
//! each of them over would take longer than SQLite does. So a batch blocks the thread that commits it
//! (the lanes have one of their own), and everything else that writes does it where blocking is allowed.

use crate::rows::{Columns, corrupt, unreadable};
use crate::{Clock, unavailable};
use engine::{Fault, Timestamp};
use rusqlite::types::FromSql;
use rusqlite::{
    CachedStatement, Connection, ErrorCode, OpenFlags, Params, Row, Transaction,
    TransactionBehavior,
};
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
pub(super) struct Writer {
    /// `None` once it is closed.
    connection: Arc<Mutex<Option<Connection>>>,
    clock: Clock,
}

/// The connection, for as long as it is one's turn.
pub(super) type WriterGuard = OwnedMutexGuard<Option<Connection>>;

/// A write under way. What does not end in [`Self::commit`] is rolled back.
pub(super) struct Writing<'a> {
    transaction: Transaction<'a>,
    pub(super) now: Timestamp,
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
        Ok(Self { connection: Arc::new(Mutex::new(Some(connection))), clock })
    }

    /// Waits until it is one's turn to write.
    pub(super) async fn turn(&self, doing: &'static str) -> Result<WriterGuard, Fault> {
        let turn = tokio::time::timeout(TURN_TIMEOUT, self.connection.clone().lock_owned()).await;
        let turn = turn.map_err(unavailable(doing))?;
        if turn.is_some() { Ok(turn) } else { Err(unavailable(doing)("the store is closed")) }
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
        let clock = self.clock.clone();
        let written = tokio::task::spawn_blocking(move || {
            let writing = Writing::begin(&mut turn, &clock, doing)?;
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

    /// Closes the file.
    pub(super) async fn close(&self) {
        drop(self.connection.lock().await.take());
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
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
        clock: &Clock,
        doing: &'static str,
    ) -> Result<Self, Fault> {
        let connection = turn.as_mut().ok_or_else(|| unavailable(doing)("the store is closed"))?;
        // At once: a transaction that begins as a reader can fail to become a writer.
        let begun = connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = begun.map_err(failed(doing))?;
        // Read under the lock: a clock read before the wait would let an expired hold be confirmed.
        Ok(Self { transaction, now: (clock)() })
    }

    /// Makes it durable.
    pub(super) fn commit(self, doing: &'static str) -> Result<(), Fault> {
        self.transaction.commit().map_err(failed(doing))
    }

    /// A statement that is prepared once.
    fn prepared(&self, sql: &'static str) -> rusqlite::Result<CachedStatement<'_>> {
        #[cfg(debug_assertions)]
        plan::assert_by_index(&self.transaction, sql)?;
        self.transaction.prepare_cached(sql)
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
        let run = || {
            let mut statement = self.prepared(sql)?;
            items.iter().try_fold(0, |changed, item| Ok(changed + statement.execute(params(item))?))
        };
        run().map_err(failed(doing))
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
        let mut statement = self.transaction.prepare(sql).map_err(failed(doing))?;
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
        let mut statement = self.transaction.prepare(sql).map_err(failed(doing))?;
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
        self.transaction.execute(sql, params).map(drop).map_err(failed(doing))
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

fn read<T: FromSql>(row: &Row<'_>, column: &'static str) -> Result<T, Fault> {
    row.get(column).map_err(unreadable(column))
}

impl Columns for Row<'_> {
    fn int(&self, column: &'static str) -> Result<i64, Fault> {
        read(self, column)
    }

    fn maybe_int(&self, column: &'static str) -> Result<Option<i64>, Fault> {
        read(self, column)
    }

    fn flag(&self, column: &'static str) -> Result<bool, Fault> {
        read(self, column)
    }

    fn text(&self, column: &'static str) -> Result<&str, Fault> {
        self.maybe_text(column)?.ok_or_else(corrupt(column))
    }

    fn maybe_text(&self, column: &'static str) -> Result<Option<&str>, Fault> {
        let value = self.get_ref(column).map_err(unreadable(column))?;
        value.as_str_or_null().map_err(unreadable(column))
    }

    fn id(&self, column: &'static str) -> Result<[u8; 16], Fault> {
        read(self, column)
    }

    fn maybe_id(&self, column: &'static str) -> Result<Option<[u8; 16]>, Fault> {
        read(self, column)
    }

    fn maybe_bytes(&self, column: &'static str) -> Result<Option<&[u8]>, Fault> {
        let value = self.get_ref(column).map_err(unreadable(column))?;
        value.as_blob_or_null().map_err(unreadable(column))
    }

    fn bytes(&self, column: &'static str) -> Result<&[u8], Fault> {
        self.maybe_bytes(column)?.ok_or_else(corrupt(column))
    }
}

/// In debug builds the plan of each statement is looked at once: none may read a table as a whole.
#[cfg(debug_assertions)]
mod plan {
    use parking_lot::Mutex;
    use rusqlite::Connection;
    use std::collections::HashSet;
    use std::sync::LazyLock;

    static SEEN: LazyLock<Mutex<HashSet<&'static str>>> = LazyLock::new(Mutex::default);

    pub(super) fn assert_by_index(
        connection: &Connection,
        sql: &'static str,
    ) -> rusqlite::Result<()> {
        if SEEN.lock().contains(sql) {
            return Ok(());
        }
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
        let mut steps = statement.raw_query();
        while let Some(row) = steps.next()? {
            let step: String = row.get("detail")?;
            assert!(!step.starts_with("SCAN ") && !step.contains("AUTOMATIC"), "{step}, for {sql}");
        }
        SEEN.lock().insert(sql);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use std::panic::AssertUnwindSafe;

    const DOING: &str = "testing";
    const INSERT: &str = "INSERT INTO bookings (id) VALUES (?)";

    /// A writer of a table with one row, 0.
    async fn writer() -> (tempfile::TempDir, Writer) {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, wait) = (folder.path().join("test.db"), Duration::from_millis(100));
        let writer = Writer::open(&path, false, wait, &[], crate::clock::wall()).expect("it opens");
        let turn = writer.turn(DOING).await.expect("nobody else writes");
        let table = "CREATE TABLE bookings (id INTEGER PRIMARY KEY, n INTEGER) STRICT;
            INSERT INTO bookings (id) VALUES (0)";
        turn.as_ref().expect("it is open").execute_batch(table).expect("it is made");
        drop(turn);
        (folder, writer)
    }

    async fn ids(writer: &Writer) -> Vec<i64> {
        let turn = writer.turn(DOING).await.expect("it is somebody's turn again");
        let connection = turn.as_ref().expect("it is open");
        let mut found =
            connection.prepare("SELECT id FROM bookings ORDER BY id").expect("it is SQL");
        let ids = found.query_map((), |row| row.get(0)).expect("it answers");
        ids.collect::<Result<_, _>>().expect("integers")
    }

    #[tokio::test]
    async fn what_fails_or_panics_is_rolled_back_and_the_next_one_writes() {
        let (_folder, writer) = writer().await;
        let refused = writer.write(DOING, |writing| {
            writing.run(DOING, INSERT, [1])?;
            writing.run(DOING, INSERT, [0]).map(drop)
        });
        assert!(matches!(refused.await, Err(Fault::Corrupt { .. })), "0 is there already");
        let panicking = writer.write(DOING, |writing| -> Result<(), Fault> {
            writing.run(DOING, INSERT, [2])?;
            panic!("a bug");
        });
        AssertUnwindSafe(panicking).catch_unwind().await.expect_err("a panic goes on");
        assert_eq!(ids(&writer).await, [0]);
        let written = writer.write(DOING, |writing| writing.run(DOING, INSERT, [3]));
        assert_eq!(written.await.expect("it answers"), 1);
        assert_eq!(ids(&writer).await, [0, 3]);
    }

    #[tokio::test]
    async fn who_goes_away_has_it_written_all_the_same() {
        let (_folder, writer) = writer().await;
        let write = writer.write(DOING, |writing| writing.run(DOING, INSERT, [1]));
        assert!(write.now_or_never().is_none(), "it is under way on another thread");
        assert_eq!(ids(&writer).await, [0, 1]);
    }

    #[tokio::test]
    #[should_panic(expected = "SCAN bookings")]
    async fn a_statement_that_reads_a_whole_table_is_caught() {
        let (_folder, writer) = writer().await;
        let update = |writing: &Writing<'_>| writing.run(DOING, "UPDATE bookings SET n = 1", ());
        let _ = writer.write(DOING, update).await;
    }
}
