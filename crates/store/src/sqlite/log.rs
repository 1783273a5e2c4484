//! Messages, and the timelines of the log.

use super::rows::{Binding, bind_id, read_rows};
use super::writer::Writing;
use super::{Sqlite, failed};
use crate::Log;
use crate::messages::{LogPage, Messages};
use crate::rows::{self, Columns as _};
use async_trait::async_trait;
use engine::log::{Timelines, UnknownTimeline};
use engine::{BookingId, Fault, LogCursor, SectionId};
use futures_util::TryStreamExt as _;
use sqlx::Connection as _;

/// Timelines in which nothing was written and that are kept all the same, for the cursors of those who
/// read on in them after the file was put back to an older state.
const EMPTY_TIMELINES_MAX: i64 = 1_000;

const TIMELINES: &str = "SELECT timeline, after FROM log_timelines";

impl Sqlite {
    /// Opens a timeline: the file may be a copy from before, in which numbers are given a second time.
    /// Nothing, where the schema has no timelines yet.
    pub(crate) async fn open_timeline(&self) -> Result<(), Fault> {
        const DOING: &str = "opening a timeline of the log";
        const IS_THERE: &str =
            "SELECT COUNT(*) AS there FROM sqlite_master WHERE name = 'log_timelines'";
        const END: &str = "SELECT COALESCE(MAX(seq), 0) AS last FROM booking_log";
        const NEWEST: &str =
            "SELECT COALESCE(MAX(timeline), 0) AS timeline, 0 AS after FROM log_timelines";
        const OPEN: &str = "INSERT INTO log_timelines (timeline, after) VALUES (?, ?)";
        const FORGET: &str = "DELETE FROM log_timelines WHERE after = ?1 AND timeline NOT IN
            (SELECT timeline FROM log_timelines ORDER BY timeline DESC LIMIT ?2)";
        let open = |writing: &Writing<'_>| {
            if writing.whole(DOING, IS_THERE, (), |row| row.int("there"))? == 0 {
                return Ok(());
            }
            let last = writing.whole(DOING, END, (), |row| row.int("last"))?;
            let newest = writing.whole(DOING, NEWEST, (), |row| rows::timeline(row))?;
            let next = Timelines::of(vec![newest]).next(writing.now.unix_ms() / 1000);
            writing.run(DOING, OPEN, (next.0, last))?;
            writing.run_whole(DOING, FORGET, (last, EMPTY_TIMELINES_MAX))
        };
        self.writer.write(DOING, open).await?;
        self.begin_lists().await;
        Ok(())
    }
}

#[async_trait]
impl Log for Sqlite {
    async fn messages_after(
        &self,
        cursor: LogCursor,
        limit: u32,
    ) -> Result<Result<Messages, UnknownTimeline>, Fault> {
        const DOING: &str = "reading messages";
        const ROWS: &str = "SELECT * FROM booking_log WHERE seq >= ? ORDER BY seq LIMIT ?";
        const BOOKINGS: &str = "WITH wanted (booking_id) AS ({})
            SELECT b.* FROM wanted CROSS JOIN bookings b USING (booking_id)";
        const REPLACED: &str = "WITH wanted (booking_id) AS ({})
            SELECT l.booking_id, l.booking_version, l.detail
            FROM wanted CROSS JOIN booking_log l USING (booking_id)
            WHERE l.kind = 'changed' AND l.booking_version IS NOT NULL";
        const EVENTS: &str = "WITH wanted (section_id) AS ({})
            SELECT i.section_id, i.event_id FROM wanted CROSS JOIN inventory i USING (section_id)";
        let mut connection = self.readers.acquire().await.map_err(failed(DOING))?;
        // One read transaction: all of it is of one moment. One writer: whatever it sees is settled.
        let mut snapshot = connection.begin().await.map_err(failed(DOING))?;
        let timelines = sqlx::query(TIMELINES).fetch_all(&mut *snapshot).await;
        let timelines = timelines.map_err(failed(DOING))?;
        let timelines = timelines.iter().map(rows::timeline).collect::<Result<_, _>>()?;
        let timelines = Timelines::of(timelines);
        let from = match timelines.resume(cursor) {
            Ok(from) => from,
            Err(unknown) => return Ok(Err(unknown)),
        };
        let mut page = LogPage::new(from, limit, timelines);
        let query = sqlx::query(ROWS).bind(from.seq).bind(page.rows_max());
        {
            // One by one: many of them may be runs, of which a page needs few.
            let mut rows = query.fetch(&mut *snapshot);
            while let Some(row) = rows.try_next().await.map_err(failed(DOING))? {
                if !page.add(&row)? {
                    break;
                }
            }
        }
        let booking = |query: Binding, id: &BookingId| bind_id(query, id);
        let section = |query: Binding, id: &SectionId| bind_id(query, id);
        let bookings: Vec<_> = page.bookings().into_iter().collect();
        let found = read_rows(&mut snapshot, BOOKINGS, 1, &bookings, booking).await;
        for row in &found.map_err(failed(DOING))? {
            let booking = rows::booking(row)?;
            page.sources.bookings.insert(booking.booking_id, booking);
        }
        let found = read_rows(&mut snapshot, REPLACED, 1, &bookings, booking).await;
        for row in &found.map_err(failed(DOING))? {
            page.add_replaced(row)?;
        }
        let sections: Vec<_> = page.sections().into_iter().collect();
        let found = read_rows(&mut snapshot, EVENTS, 1, &sections, section).await;
        for row in &found.map_err(failed(DOING))? {
            page.add_event(row)?;
        }
        snapshot.rollback().await.map_err(failed(DOING))?;
        Ok(Ok(page.end()?))
    }
}
