//! Reading the log: messages, the reckoning, and the audit.

use super::interrupt::Interrupt;
use super::rows::{bookings_by_id, uuids};
use super::seats::{read_layout, read_marks};
use crate::Reckoning;
use crate::audit::{Part, Reads, inventories};
use crate::messages::{LogPage, Messages};
use crate::rows::{self, Columns as _, Sums};
use crate::slices::Slice;
use async_trait::async_trait;
use engine::audit::Report;
use engine::log::{Position, Timelines, UnknownTimeline};
use engine::seats::{Layout, Marks};
use engine::{Fault, LogCursor, SectionId};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use parking_lot::Mutex;
use sqlx::Executor as _;
use sqlx::postgres::{PgConnection, PgRow};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Everything that is read after this is of one moment, and nobody waits for it.
pub(super) const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Ends of the log that are remembered until they are settled.
const MARKS_MAX: usize = 64;

/// The highest number up to which the log is settled for this statement, of marks in two arrays.
macro_rules! settled {
    ($seqs:literal, $xids:literal) => {
        concat!(
            "(SELECT COALESCE(MAX(m.seq), 0)
                FROM UNNEST(",
            $seqs,
            "::bigint[], ",
            $xids,
            "::bigint[]) AS m (seq, xid)
                WHERE m.xid <= pg_snapshot_xmin(pg_current_snapshot())::text::bigint)"
        )
    };
}

/// The highest number up to which the log is settled.
const NEWEST: &str = concat!("SELECT ", settled!("$1", "$2"), " AS seq");

/// How long the first reader of a log waits for it to be settled, and how often it looks.
const SETTLED_WITHIN: Duration = Duration::from_secs(1);
const SETTLING_PAUSE: Duration = Duration::from_millis(20);

/// Up to where the log can be read so that nothing is missed.
///
/// Numbers are drawn in the order in which the rows of a section come to be, since it is locked
/// then; they are committed in any order. So a reader has to know when no transaction is left that
/// may still commit a lower number than one that it has read. A *mark* is the last number that was
/// drawn, and a transaction id that was given after that:
///
/// - A transaction that drew a number up to the mark's had an id before that, lower than the mark's.
/// - When the oldest transaction that is still running is not older than the mark's id, they have all
///   ended: their rows are to be seen, or never will be.
///
/// It holds because the sequence caches no numbers for its sessions, because a writer of the log
/// has locked a row before, and so has an id, and because the reader reads from the primary.
#[derive(Default)]
pub(super) struct Settled(Mutex<VecDeque<(i64, i64)>>);

impl Settled {
    /// Marks the end of the log; outside of a transaction, so that its id ends at once.
    pub(super) async fn mark(&self, session: &mut PgConnection) -> Result<(), Interrupt> {
        const LAST: &str = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END AS last
            FROM booking_log_seq_seq";
        const XID: &str = "SELECT pg_current_xact_id()::text::bigint AS xid";
        let last = sqlx::query(LAST).fetch_one(&mut *session).await?.int("last")?;
        if self.0.lock().back().is_some_and(|(seq, _)| *seq == last) {
            return Ok(());
        }
        // After the number: see above.
        let xid = sqlx::query(XID).fetch_one(session).await?.int("xid")?;
        let mut marks = self.0.lock();
        if marks.len() >= MARKS_MAX {
            // Somebody writes for very long. The newest mark settles last, and is replaced by a newer one.
            marks.pop_back();
        }
        marks.push_back((last, xid));
        Ok(())
    }

    /// Waits until the log is settled up to some mark, for [`SETTLED_WITHIN`] at most.
    pub(super) async fn wait(&self, session: &mut PgConnection) -> Result<(), Interrupt> {
        let start = Instant::now();
        loop {
            let (seqs, xids) = self.arrays();
            let query = sqlx::query(NEWEST).bind(seqs).bind(xids);
            let settled = query.fetch_one(&mut *session).await?.int("seq")?;
            if settled > 0 || start.elapsed() >= SETTLED_WITHIN {
                return Ok(());
            }
            sleep(SETTLING_PAUSE).await;
        }
    }

    /// Forgets what was marked in another history.
    pub(super) fn clear(&self) {
        self.0.lock().clear();
    }

    /// The marks as two arrays to bind.
    fn arrays(&self) -> (Vec<i64>, Vec<i64>) {
        self.0.lock().iter().copied().unzip()
    }

    /// Forgets the marks that a later one makes needless, since the log is settled up to this number.
    fn passed(&self, settled: i64) {
        let mut marks = self.0.lock();
        while marks.get(1).is_some_and(|(seq, _)| *seq <= settled) {
            marks.pop_front();
        }
    }
}

/// Counters beside the log after `cursor`; inside a [`SNAPSHOT`].
pub(super) async fn reckon(
    session: &mut PgConnection,
    cursor: Position,
    marks: &Settled,
) -> Result<Reckoning, Interrupt> {
    const SQL: &str = concat!(
        "WITH settled AS (SELECT GREATEST($1, ",
        settled!("$2", "$3"),
        ") AS seq)
        SELECT l.section_id, l.seq <= settled.seq AS settled, COUNT(*) AS entries,
            COUNT(l.entries) AS runs,
            SUM(l.capacity)::bigint AS capacity, SUM(l.held)::bigint AS held,
            SUM(l.sold)::bigint AS sold, SUM(l.blocked)::bigint AS blocked
        FROM booking_log l CROSS JOIN settled WHERE l.seq > $1 AND l.section_id IS NOT NULL
        GROUP BY l.section_id, l.seq <= settled.seq"
    );
    const RUNS: &str = "SELECT * FROM booking_log WHERE seq > $1 AND entries IS NOT NULL";
    let inventories = inventories(&mut Snapshot(session)).await?;
    let (seqs, xids) = marks.arrays();
    let query = sqlx::query(SQL).bind(cursor.seq).bind(seqs.clone()).bind(xids.clone());
    let found = query.fetch_all(&mut *session).await?;
    let newest = sqlx::query(NEWEST).bind(seqs).bind(xids).fetch_one(&mut *session).await?;
    let newest = newest.int("seq")?;
    let mut sums = Sums::of(&inventories);
    for row in &found {
        sums.add(row, row.flag("settled")?)?;
    }
    if sums.has_runs() {
        let mut runs = sqlx::query(RUNS).bind(cursor.seq).fetch(session);
        while let Some(row) = runs.try_next().await? {
            sums.add_run(&row, row.int("seq")? <= cursor.seq.max(newest))?;
        }
    }
    marks.passed(newest);
    let (folded, unsettled) = sums.end();
    let cursor = cursor.max(Position::end_of(newest));
    Ok(Reckoning { inventories, folded, unsettled, cursor })
}

/// The messages after a position, made of at most `limit` entries, and where they end. Outside of a
/// transaction.
pub(super) async fn messages_after(
    session: &mut PgConnection,
    cursor: LogCursor,
    limit: u32,
    marks: &Settled,
) -> Result<Result<Messages, UnknownTimeline>, Interrupt> {
    const ROWS: &str = concat!(
        "SELECT * FROM booking_log WHERE seq >= $1 AND seq <= ",
        settled!("$2", "$3"),
        "
        ORDER BY seq LIMIT $4"
    );
    // In this order: see `engine::feed::Sources`.
    const REPLACED: &str = "SELECT booking_id, booking_version, detail FROM booking_log
        WHERE booking_id = ANY($1) AND kind = 'changed' AND booking_version IS NOT NULL";
    const EVENTS: &str = "SELECT section_id, event_id FROM inventory WHERE section_id = ANY($1)";
    marks.mark(session).await?;
    let timelines = timelines(session).await?;
    let from = match timelines.resume(cursor) {
        Ok(from) => from,
        Err(unknown) => return Ok(Err(unknown)),
    };
    let (seqs, xids) = marks.arrays();
    let mut page = LogPage::new(from, limit, timelines);
    let query = sqlx::query(ROWS).bind(from.seq).bind(seqs).bind(xids).bind(page.rows_max());
    {
        // One by one: many of them may be runs, of which a page needs few.
        let mut rows = query.fetch(&mut *session);
        while let Some(row) = rows.try_next().await? {
            if !page.add(&row)? {
                break;
            }
        }
    }
    let ids = uuids(page.bookings());
    for booking in bookings_by_id(session, ids.clone()).await? {
        page.sources.bookings.insert(booking.booking_id, booking);
    }
    for row in &sqlx::query(REPLACED).bind(ids).fetch_all(&mut *session).await? {
        page.add_replaced(row)?;
    }
    let query = sqlx::query(EVENTS).bind(uuids(page.sections()));
    for row in &query.fetch_all(session).await? {
        page.add_event(row)?;
    }
    Ok(Ok(page.end()?))
}

async fn timelines(session: &mut PgConnection) -> Result<Timelines, Interrupt> {
    let found = sqlx::query("SELECT timeline, after FROM log_timelines").fetch_all(session).await?;
    Ok(Timelines::of(found.iter().map(rows::timeline).collect::<Result<_, _>>()?))
}

/// Checks everything that is stored, in the slices that `cut` makes for this number of bookings;
/// inside a [`SNAPSHOT`].
pub(super) async fn audit(
    session: &mut PgConnection,
    cut: impl Fn(u64) -> Vec<Slice> + Send,
) -> Result<Report, Interrupt> {
    // The vacuum may not clean up behind a snapshot, so it is held no longer than the reading takes;
    // no row is locked and no sale waits. The memory is for sorting a slice of the log.
    session.execute("SET LOCAL statement_timeout = 0; SET LOCAL work_mem = '64MB'").await?;
    crate::audit::audit(&mut Snapshot(session), cut).await
}

/// A session inside a [`SNAPSHOT`].
struct Snapshot<'session>(&'session mut PgConnection);

#[async_trait]
impl Reads for Snapshot<'_> {
    type Row = PgRow;
    type Error = Interrupt;

    async fn all(&mut self, sql: &'static str) -> Result<Vec<PgRow>, Interrupt> {
        Ok(sqlx::query(sql).fetch_all(&mut *self.0).await?)
    }

    fn rows(&mut self, part: Part, slice: &Slice) -> BoxStream<'_, Result<PgRow, Interrupt>> {
        const LOG: &str = "SELECT * FROM booking_log
            WHERE substring(uuid_send(section_id) FROM 7 FOR 2) >= $1
                AND substring(uuid_send(section_id) FROM 7 FOR 2) < $2 ORDER BY seq";
        const BOOKINGS: &str = "SELECT * FROM bookings
            WHERE substring(uuid_send(booking_id) FROM 7 FOR 2) >= $1
                AND substring(uuid_send(booking_id) FROM 7 FOR 2) < $2";
        const TAKEN: &str = "SELECT * FROM seats_taken
            WHERE substring(uuid_send(section_id) FROM 7 FOR 2) >= $1
                AND substring(uuid_send(section_id) FROM 7 FOR 2) < $2";
        let sql = match part {
            Part::Log => LOG,
            Part::Bookings => BOOKINGS,
            Part::SeatsTaken => TAKEN,
        };
        let query = sqlx::query(sql).bind(slice.from.clone()).bind(slice.to.clone());
        query.fetch(&mut *self.0).map_err(Interrupt::from).boxed()
    }

    async fn layout(&mut self, section_id: SectionId) -> Result<Option<Arc<Layout>>, Interrupt> {
        Ok(read_layout(self.0, section_id).await?.map(|(_, layout)| layout))
    }

    async fn marks(&mut self, section_id: SectionId) -> Result<Option<Marks>, Interrupt> {
        match read_marks(self.0, section_id).await {
            Err(Interrupt::Failed(Fault::Corrupt { .. })) => Ok(None),
            marks => marks,
        }
    }
}
