//! What workers and the person on call need: due sections, the reckoning, the audit, migrations.

use super::repair::repair;
use super::seats::{read_layout, read_marks};
use super::unpack::unpack;
use super::writer::Writing;
use super::{MIGRATOR, Sqlite, failed};
use crate::audit::{Part, Reads, audit, inventories};
use crate::rows::{self, Columns, Sums, instant};
use crate::slices::Slice;
use crate::{
    Books, Epoch, Histories, Instance, Migration, Reckoning, Schema, Sweep, Timed, unavailable,
};
use async_trait::async_trait;
use engine::access::{INVITATION_KEPT_MS, KEY_KEPT_MS};
use engine::account::CUTOFF_KEPT_MS;
use engine::audit::Report;
use engine::log::Position;
use engine::seats::{Layout, Marks};
use engine::{BookingId, Error, Fault, SectionId, Timestamp};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use sqlx::sqlite::{SqlitePoolOptions, SqliteRow};
use sqlx::{ConnectOptions as _, Connection, Row, SqliteConnection, SqlitePool};
use std::collections::HashSet;
use std::sync::Arc;
use tokio::sync::watch;

/// What a read of counters, log and bookings is called when it fails.
const READING: &str = "reading the books";

/// Notes the highest price of sections whose layout was written before it was noted.
async fn fill_highest_prices(session: &mut SqliteConnection) -> Result<(), Fault> {
    const DOING: &str = "noting the highest price of sections";
    const MISSING: &str = "SELECT section_id FROM sections
        WHERE layout_version IS NOT NULL AND price_max_minor IS NULL";
    const NOTE: &str = "UPDATE sections SET price_max_minor = ? WHERE section_id = ?";
    let found = sqlx::query(MISSING).fetch_all(&mut *session).await.map_err(failed(DOING))?;
    for row in &found {
        let section_id = rows::section_id(row, "section_id")?;
        let Some((_, layout)) = read_layout(session, section_id).await? else { continue };
        let note = sqlx::query(NOTE).bind(layout.highest_price().minor);
        let note = note.bind(section_id.as_bytes().to_vec()).execute(&mut *session).await;
        note.map_err(failed(DOING))?;
    }
    Ok(())
}

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
        let answer = sqlx::query("SELECT 1").fetch_one(self.prompt_readers()).await;
        answer.map(drop).map_err(failed("checking that the database responds"))
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

#[async_trait]
impl Schema for Sqlite {
    async fn migrate(&self, version: Option<i64>) -> Result<Vec<Migration>, Fault> {
        const DOING: &str = "migrating the schema";
        let before: HashSet<i64> = self.applied().await?;
        let newest = MIGRATOR.iter().map(|step| step.version).max().unwrap_or(0);
        let target = version.unwrap_or(newest);
        {
            // Nobody else writes meanwhile.
            let mut turn = self.writer.turn(DOING).await?;
            if crate::takes_runs_away(&before, target) {
                let writing = Writing::begin(&mut turn, self.writer.beside(), DOING)?;
                unpack(&writing)?;
                writing.commit(DOING)?;
            }
            let pool = SqlitePoolOptions::new().max_connections(1);
            // A large store takes its time, and each migration is one statement of many lines.
            let options = self.options.clone().disable_statement_logging();
            let pool = pool.connect_with(options).await.map_err(failed(DOING))?;
            if before.iter().any(|applied| *applied > target) {
                MIGRATOR.undo(&pool, target).await.map_err(unavailable(DOING))?;
            } else {
                let due = MIGRATOR.iter().filter(|step| step.version <= target);
                let due = due.filter(|step| step.migration_type.is_up_migration()).cloned();
                let migrator = sqlx::migrate::Migrator::with_migrations(due.collect());
                let mut session = pool.acquire().await.map_err(failed(DOING))?;
                if before.is_empty() {
                    // A new store waits for the disk once, and not twice for each migration.
                    let mut whole = session.begin().await.map_err(failed(DOING))?;
                    migrator
                        .run_direct(None, &mut *whole, false)
                        .await
                        .map_err(unavailable(DOING))?;
                    whole.commit().await.map_err(failed(DOING))?;
                } else {
                    migrator
                        .run_direct(None, &mut *session, false)
                        .await
                        .map_err(unavailable(DOING))?;
                }
            }
            if target >= newest {
                let mut session = pool.acquire().await.map_err(failed(DOING))?;
                fill_highest_prices(&mut session).await?;
            }
            pool.close().await;
        }
        // A reader that knows the schema of before prepares its statements by it, and the driver panics
        // over a column that it did not expect.
        while let Some(reader) = self.readers.try_acquire() {
            reader.close().await.map_err(failed(DOING))?;
        }
        let after = self.applied().await?;
        if after != before {
            self.lists().forget();
        }
        self.begin_lists().await;
        if after.contains(&newest) {
            if !before.contains(&newest) {
                self.open_timeline().await?;
            }
            self.fill_in_keys().await?;
        }
        let changed =
            |step: &Migration| before.contains(&step.version) != after.contains(&step.version);
        Ok(known().filter(changed).collect())
    }

    async fn migrations(&self) -> Result<Vec<(Migration, bool)>, Fault> {
        let applied = self.applied().await?;
        Ok(known()
            .map(|step| {
                let on = applied.contains(&step.version);
                (step, on)
            })
            .collect())
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

/// The migrations this binary knows, in order.
fn known() -> impl Iterator<Item = Migration> {
    crate::migrations_of(&MIGRATOR)
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

    async fn applied(&self) -> Result<HashSet<i64>, Fault> {
        const DOING: &str = "reading the schema's version";
        let mut connection = self.readers.acquire().await.map_err(failed(DOING))?;
        let there = sqlx::query("SELECT 1 FROM sqlite_master WHERE name = '_sqlx_migrations'");
        let there = there.fetch_optional(&mut *connection).await.map_err(failed(DOING))?;
        if there.is_none() {
            return Ok(HashSet::new());
        }
        let rows = sqlx::query("SELECT version FROM _sqlx_migrations WHERE success = 1");
        let rows = rows.fetch_all(&mut *connection).await.map_err(failed(DOING))?;
        rows.iter().map(|row| row.try_get(0).map_err(failed(DOING))).collect()
    }
}

#[cfg(test)]
impl Sqlite {
    /// Changes the file behind the back of the store.
    pub(crate) async fn run(&self, sql: &'static str) {
        let mut connection = self.options.connect().await.expect("it opens");
        sqlx::query(sql).execute(&mut connection).await.expect("runs");
    }
}
