//! What workers and the person on call need: due sections, the reckoning, the audit.

use super::repair::repair;
use super::seats::{read_layout, read_marks};
use super::writer::Writing;
use super::{Sqlite, failed};
use crate::audit::{Part, Reads, audit, inventories};
use crate::rows::{self, Columns, Sums, instant};
use crate::slices::Slice;
use crate::{Books, Epoch, Histories, Instance, Reckoning, Sweep, Timed, unavailable};
use async_trait::async_trait;
use engine::access::{INVITATION_KEPT_MS, KEY_KEPT_MS};
use engine::account::CUTOFF_KEPT_MS;
use engine::audit::Report;
use engine::log::Position;
use engine::seats::{Layout, Marks};
use engine::{BookingId, Error, Fault, SectionId, Timestamp};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use sqlx::sqlite::SqliteRow;
use sqlx::{Connection, SqliteConnection, SqlitePool};
use std::sync::Arc;
use tokio::sync::watch;

/// What a read of counters, log and bookings is called when it fails.
const READING: &str = "reading the books";

impl Timed for Sqlite {
    fn now(&self) -> Timestamp {
        (self.writer.clock())()
    }
}

#[async_trait]
impl Instance for Sqlite {
    fn lanes(&self, _: usize) -> usize {
        // One writer: a second lane would only wait for it.
        1
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn describe(&self) -> String {
        format!("SQLite in {}", self.path.display())
    }

    async fn ping(&self) -> Result<(), Fault> {
        const DOING: &str = "checking that the database responds";
        if self.writer.is_closed() {
            return Err(unavailable(DOING)("the file is closed for writing"));
        }
        let answer = sqlx::query("SELECT 1").fetch_one(self.prompt_readers()).await;
        answer.map(drop).map_err(failed(DOING))
    }

    async fn close(&self) {
        self.readers.close().await;
        self.pulse.close().await;
        self.writer.close().await;
        if let Some(lock) = self.lock.lock().take() {
            // Said, not left to the closing of the file: a child that is about to be started has it
            // open, too.
            let _ = lock.unlock();
        }
    }
}

#[async_trait]
impl Histories for Sqlite {
    fn epoch(&self) -> Epoch {
        *self.epoch.borrow()
    }

    fn epochs(&self) -> watch::Receiver<Epoch> {
        self.epoch.subscribe()
    }

    async fn begin_epoch(&self) -> Result<Epoch, Fault> {
        self.open_timeline().await?;
        let epoch = Epoch::draw();
        self.epoch.send_replace(epoch);
        self.maps.clear();
        Ok(epoch)
    }
}

#[async_trait]
impl Sweep for Sqlite {
    async fn due_sections(&self, limit: u32) -> Result<Vec<(SectionId, Timestamp)>, Fault> {
        const SQL: &str = "SELECT section_id, next_expiry FROM inventory
            WHERE next_expiry IS NOT NULL AND next_expiry <= ? ORDER BY next_expiry LIMIT ?";
        let query = sqlx::query(SQL).bind(self.now().unix_ms()).bind(limit);
        let found = query.fetch_all(&self.readers).await.map_err(failed("finding due holds"))?;
        let due = |row| Ok((rows::section_id(row, "section_id")?, instant(row, "next_expiry")?));
        found.iter().map(due).collect()
    }

    async fn to_cancel(&self, limit: u32) -> Result<Vec<BookingId>, Fault> {
        super::events::to_cancel(self, limit).await
    }

    async fn purge(&self, limit: u32) -> Result<u64, Fault> {
        const DOING: &str = "removing old keys, tokens and invitations";
        const OLD: [(&str, i64); 6] = [
            (
                "DELETE FROM creation_keys WHERE (user_id, operation, key) IN
                    (SELECT user_id, operation, key FROM creation_keys
                     WHERE expires_at <= ? LIMIT ?)",
                0,
            ),
            (
                "DELETE FROM refresh_tokens WHERE token_hash IN
                    (SELECT token_hash FROM refresh_tokens WHERE expires_at <= ? LIMIT ?)",
                0,
            ),
            (
                "DELETE FROM invitations WHERE invitation_id IN
                    (SELECT invitation_id FROM invitations WHERE expires_at <= ? LIMIT ?)",
                INVITATION_KEPT_MS,
            ),
            (
                "DELETE FROM api_keys WHERE key_id IN
                    (SELECT key_id FROM api_keys WHERE revoked_at <= ? LIMIT ?)",
                KEY_KEPT_MS,
            ),
            (
                "DELETE FROM api_keys WHERE key_id IN
                    (SELECT key_id FROM api_keys WHERE expires_at <= ? LIMIT ?)",
                KEY_KEPT_MS,
            ),
            (
                "DELETE FROM token_cutoffs WHERE user_id IN
                    (SELECT user_id FROM token_cutoffs WHERE not_before <= ? LIMIT ?)",
                CUTOFF_KEPT_MS,
            ),
        ];
        let remove = move |writing: &Writing<'_>| {
            OLD.into_iter().try_fold(0, |removed, (sql, kept_ms)| {
                let until = writing.now.plus_ms(-kept_ms).unix_ms();
                let done = writing.run(DOING, sql, (until, limit))?;
                Ok(removed + done as u64)
            })
        };
        self.writer.write(DOING, remove).await
    }
}

#[async_trait]
impl Books for Sqlite {
    async fn reckon(&self, cursor: Position) -> Result<Reckoning, Fault> {
        const DOING: &str = "reading counters and log";
        const SQL: &str = "SELECT section_id, MAX(seq) AS newest, COUNT(*) AS entries,
            COUNT(entries) AS runs, SUM(capacity) AS capacity, SUM(held) AS held,
            SUM(sold) AS sold, SUM(blocked) AS blocked
            FROM booking_log WHERE seq > ? AND section_id IS NOT NULL GROUP BY section_id";
        const RUNS: &str = "SELECT * FROM booking_log WHERE seq > ? AND entries IS NOT NULL";
        let mut connection = self.readers.acquire().await.map_err(failed(DOING))?;
        // One read transaction: counters and log are of the same moment.
        let mut snapshot = connection.begin().await.map_err(failed(DOING))?;
        let inventories = inventories(&mut Snapshot(&mut snapshot)).await?;
        let found = sqlx::query(SQL).bind(cursor.seq).fetch_all(&mut *snapshot).await;
        let mut sums = Sums::of(&inventories);
        // Rows of events may stand behind it: they are looked at again, and say nothing of counters.
        let mut newest = cursor.seq;
        for row in &found.map_err(failed(DOING))? {
            newest = newest.max(row.int("newest")?);
            sums.add(row, true)?;
        }
        if sums.has_runs() {
            let mut runs = sqlx::query(RUNS).bind(cursor.seq).fetch(&mut *snapshot);
            while let Some(row) = runs.try_next().await.map_err(failed(DOING))? {
                sums.add_run(&row, true)?;
            }
        }
        snapshot.rollback().await.map_err(failed(DOING))?;
        // One writer: nothing is under way while this reads.
        let (folded, unsettled) = sums.end();
        let cursor = cursor.max(Position::end_of(newest));
        Ok(Reckoning { inventories, folded, unsettled, cursor })
    }

    async fn audit(&self) -> Result<Report, Fault> {
        self.audit_in(Slice::of).await
    }

    async fn repair(&self, section_id: SectionId, dry_run: bool) -> Result<Vec<String>, Error> {
        let repair = move |writing: &Writing<'_>| repair(writing, section_id, dry_run);
        let told = self.writer.write("repairing a section", repair).await?;
        self.maps.clear();
        Ok(told)
    }
}

/// A connection inside a read transaction.
struct Snapshot<'connection>(&'connection mut SqliteConnection);

#[async_trait]
impl Reads for Snapshot<'_> {
    type Row = SqliteRow;
    type Error = Fault;

    async fn all(&mut self, sql: &'static str) -> Result<Vec<SqliteRow>, Fault> {
        sqlx::query(sql).fetch_all(&mut *self.0).await.map_err(failed(READING))
    }

    fn rows(&mut self, part: Part, slice: &Slice) -> BoxStream<'_, Result<SqliteRow, Fault>> {
        const LOG: &str = "SELECT * FROM booking_log
            WHERE substr(section_id, 7, 2) >= ?1 AND substr(section_id, 7, 2) < ?2 ORDER BY seq";
        const BOOKINGS: &str = "SELECT * FROM bookings
            WHERE substr(booking_id, 7, 2) >= ?1 AND substr(booking_id, 7, 2) < ?2";
        const TAKEN: &str = "SELECT * FROM seats_taken
            WHERE substr(section_id, 7, 2) >= ?1 AND substr(section_id, 7, 2) < ?2";
        let sql = match part {
            Part::Log => LOG,
            Part::Bookings => BOOKINGS,
            Part::SeatsTaken => TAKEN,
        };
        let query = sqlx::query(sql).bind(slice.from.clone()).bind(slice.to.clone());
        query.fetch(&mut *self.0).map_err(|error| failed(READING)(error)).boxed()
    }

    async fn layout(&mut self, section_id: SectionId) -> Result<Option<Arc<Layout>>, Fault> {
        Ok(read_layout(self.0, section_id).await?.map(|(_, layout)| layout))
    }

    async fn marks(&mut self, section_id: SectionId) -> Result<Option<Marks>, Fault> {
        match read_marks(self.0, section_id).await {
            Err(Fault::Corrupt { .. }) => Ok(None),
            marks => marks,
        }
    }
}

impl Sqlite {
    /// The readers, or another one while all of them are busy.
    pub(super) fn prompt_readers(&self) -> &SqlitePool {
        let is_full = self.readers.size() >= self.readers.options().get_max_connections();
        let is_busy = is_full && self.readers.num_idle() == 0;
        if is_busy { &self.pulse } else { &self.readers }
    }

    /// [`Books::audit`], in the slices that `cut` makes for this number of bookings.
    pub(crate) async fn audit_in(
        &self,
        cut: impl Fn(u64) -> Vec<Slice> + Send,
    ) -> Result<Report, Fault> {
        const DOING: &str = "auditing the store";
        let mut connection = self.readers.acquire().await.map_err(failed(DOING))?;
        // One read transaction: everything is of the same moment, and WAL lets others go on writing.
        let mut snapshot = connection.begin().await.map_err(failed(DOING))?;
        let mut report = audit(&mut Snapshot(&mut snapshot), cut).await?;
        super::lists::check(&mut snapshot, &mut report).await?;
        snapshot.rollback().await.map_err(failed(DOING))?;
        Ok(report)
    }
}

#[cfg(test)]
impl Sqlite {
    /// Changes the file behind the back of the store.
    pub(crate) async fn run(&self, sql: &'static str) {
        use sqlx::ConnectOptions as _;
        let mut connection = self.options.connect().await.expect("it opens");
        sqlx::query(sql).execute(&mut connection).await.expect("runs");
    }
}
