//! Pages of a list: segments and tail together, newest first.

use super::{ListId, Lists};
use crate::rows::{BookingPage, Columns as _, booking_id};
use crate::sqlite::bookings::push_status;
use crate::sqlite::writer::Writing;
use crate::sqlite::{Sqlite, failed};
use crate::{BookingFilter, PageRequest, Paged, Timed as _};
use engine::{Booking, BookingId, EventId, Fault};
use futures_util::TryStreamExt as _;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Sqlite as Driver, SqliteConnection, Transaction};
use std::collections::HashMap;

const DOING: &str = "listing bookings";

/// Ids that are looked up at once, at most: a filter may pass over many.
const IDS_MAX: usize = 512;
/// As many times that are looked up in one read transaction, where all bookings of an event are.
const PARTS_OF_SNAPSHOT: usize = 20;

/// Ids of bookings, newest first: those of a list, or some of them.
struct Ids {
    list: ListId,
    /// Those that are in memory, oldest first: what comes next is at the end.
    tail: Vec<BookingId>,
    segments: Vec<Segment>,
    /// The last one that was given out, or where it begins.
    before: Option<BookingId>,
}

/// A segment, as far as it has been read.
struct Segment {
    number: i64,
    /// The newest booking that may be in it, of all lists, before anything was read.
    newest: Option<BookingId>,
    /// What was read and not given out yet, oldest first.
    ids: Vec<BookingId>,
    /// Whether all was read.
    is_over: bool,
}

impl Segment {
    /// Whether it has to be read before it is known that nothing is newer than `front`.
    fn is_due(&self, front: Option<BookingId>) -> bool {
        let may_be_newer = match (self.newest, front) {
            (Some(newest), Some(front)) => newest >= front,
            (None, _) | (_, None) => true,
        };
        self.ids.is_empty() && !self.is_over && may_be_newer
    }
}

impl Sqlite {
    /// A page of a list.
    pub(in crate::sqlite) async fn bookings_of(
        &self,
        list: ListId,
        filter: &BookingFilter,
        page: PageRequest<BookingId>,
    ) -> Result<Paged<Booking>, Fault> {
        let (ids, snapshot) = self.ids_of(list, page.after).await?;
        self.page_of(ids, snapshot, filter, page).await
    }

    /// A page of the live holds of an event.
    pub(in crate::sqlite) async fn holds_of(
        &self,
        event_id: EventId,
        filter: &BookingFilter,
        page: PageRequest<BookingId>,
    ) -> Result<Paged<Booking>, Fault> {
        let Some(held) = self.held_bookings(event_id).await? else {
            return self.bookings_of(event_id.into(), filter, page).await;
        };
        let tail =
            held.into_iter().filter(|id| page.after.is_none_or(|after| *id < after)).collect();
        let list = event_id.into();
        let ids = Ids { list, tail, segments: Vec::new(), before: page.after };
        let snapshot = self.readers.begin().await.map_err(failed(DOING))?;
        self.page_of(ids, snapshot, filter, page).await
    }

    /// A page of those of these bookings that the filter lets pass.
    async fn page_of(
        &self,
        mut ids: Ids,
        mut snapshot: Transaction<'_, Driver>,
        filter: &BookingFilter,
        page: PageRequest<BookingId>,
    ) -> Result<Paged<Booking>, Fault> {
        let mut bookings = BookingPage::new(page.limit);
        let mut count = (page.limit as usize).clamp(1, IDS_MAX);
        'page: loop {
            let next = ids.next(&mut snapshot, count).await?;
            if next.is_empty() {
                break;
            }
            let mut query = self.those(&next, filter);
            let mut found = query.build().fetch(&mut *snapshot);
            while let Some(row) = found.try_next().await.map_err(failed(DOING))? {
                if !bookings.add(&row)? {
                    break 'page;
                }
            }
            count = (count * 2).min(IDS_MAX);
        }
        snapshot.rollback().await.map_err(failed(DOING))?;
        Ok(bookings.end())
    }

    /// The ids of a list, older than `before`, with the read transaction that sees them.
    async fn ids_of(
        &self,
        list: ListId,
        before: Option<BookingId>,
    ) -> Result<(Ids, Transaction<'static, Driver>), Fault> {
        const SEGMENTS: &str = "SELECT segment, newest FROM list_segments";
        self.load_lists().await?;
        // In this order: what leaves the tail meanwhile is in a segment by then.
        let tail = self.lists().in_tail(list, before, DOING)?;
        let mut snapshot = self.readers.begin().await.map_err(failed(DOING))?;
        let segments = sqlx::query(SEGMENTS).fetch_all(&mut *snapshot).await;
        let segments = segments.map_err(failed(DOING))?;
        let unread = |row: &SqliteRow| {
            let newest = row.maybe_id("newest")?.and_then(|id| BookingId::from_slice(&id));
            let number = row.int("segment")?;
            Ok(Segment { number, newest, ids: Vec::new(), is_over: false })
        };
        let segments = segments.iter().map(unread).collect::<Result<_, Fault>>()?;
        Ok((Ids { list, tail, segments, before }, snapshot))
    }

    /// Looks at an event's bookings, newest first, from behind `after` on: hands parts of them to `look`,
    /// with whether each is `live`, and at the end an empty part. `look` says whether it wants another.
    pub(in crate::sqlite) async fn look_through(
        &self,
        event_id: EventId,
        mut after: Option<BookingId>,
        mut look: impl FnMut(&[SqliteRow]) -> Result<bool, Fault> + Send,
    ) -> Result<(), Fault> {
        loop {
            // A new one after some thousands: as long as a reader stays, the log of the file grows.
            let (mut ids, mut snapshot) = self.ids_of(event_id.into(), after).await?;
            for _ in 0..PARTS_OF_SNAPSHOT {
                let next = ids.next(&mut snapshot, IDS_MAX).await?;
                let mut query = QueryBuilder::new(
                    "SELECT booking_id, status IN ('HOLD', 'CONFIRMED') AS live FROM bookings
                        WHERE booking_id IN (",
                );
                push_ids(&mut query, &next);
                query.push(") ORDER BY booking_id DESC");
                let part = query.build().fetch_all(&mut *snapshot).await.map_err(failed(DOING))?;
                let is_end = next.is_empty();
                if part.is_empty() && !is_end {
                    // Of bookings that are listed and not there, which the audit tells.
                    continue;
                }
                if !look(&part)? || is_end {
                    return snapshot.rollback().await.map_err(failed(DOING));
                }
            }
            after = ids.before;
            snapshot.rollback().await.map_err(failed(DOING))?;
        }
    }

    /// Of these bookings those that the filter lets pass, newest first.
    fn those(&self, ids: &[BookingId], filter: &BookingFilter) -> QueryBuilder<Driver> {
        let mut query = QueryBuilder::new("SELECT * FROM bookings WHERE booking_id IN (");
        push_ids(&mut query, ids);
        query.push(")");
        if let Some(event_id) = filter.event {
            query.push(" AND event_id = ").push_bind(event_id.as_bytes().to_vec());
        }
        if let Some(status) = filter.status {
            push_status(&mut query, status, self.now().unix_ms());
        }
        query.push(" ORDER BY booking_id DESC");
        query
    }

    /// Reads what is kept in memory before anybody asks for it. Where the tail cannot be read, sales go on.
    pub(in crate::sqlite) async fn begin_lists(&self) {
        if let Err(fault) = self.load_lists().await {
            tracing::error!(%fault, "bookings cannot be listed");
        }
        let know = |writing: &Writing<'_>| writing.know_holds();
        if let Err(fault) = self.writer.write("reading live holds", know).await {
            tracing::warn!(%fault, "live holds are read when they are asked for");
        }
    }

    /// Reads the tail from the log, unless it is known.
    pub(in crate::sqlite) async fn load_lists(&self) -> Result<(), Fault> {
        if self.lists().is_known()? {
            return Ok(());
        }
        let mut turn = self.writer.turn(super::DOING).await?;
        let lists = self.writer.lists().clone();
        let load = move || match turn.connection_of_index() {
            Some(mut connection) => lists.load(&mut connection),
            None => Ok(()),
        };
        let loaded = crate::simulated::blocking(load).await;
        loaded.map_err(|panic| self.lists().fail(crate::unavailable(super::DOING)(panic)))?
    }

    pub(in crate::sqlite) fn lists(&self) -> &Lists {
        self.writer.lists()
    }
}

fn push_ids(query: &mut QueryBuilder<Driver>, ids: &[BookingId]) {
    let mut listed = query.separated(", ");
    for id in ids {
        listed.push_bind(id.as_bytes().to_vec());
    }
}

impl Ids {
    /// The next ids, `count` at most; none after the last.
    async fn next(
        &mut self,
        snapshot: &mut SqliteConnection,
        count: usize,
    ) -> Result<Vec<BookingId>, Fault> {
        let mut next = Vec::with_capacity(count);
        while next.len() < count {
            let fronts = self.segments.iter().filter_map(|segment| segment.ids.last());
            let newest = fronts.chain(self.tail.last()).max().copied();
            if self.segments.iter().any(|segment| segment.is_due(newest)) {
                self.read_on(snapshot, newest, count).await?;
                continue;
            }
            let Some(newest) = newest else { break };
            // What has just left the tail is in both.
            for ids in self.segments.iter_mut().map(|of| &mut of.ids).chain([&mut self.tail]) {
                ids.pop_if(|id| *id == newest);
            }
            self.before = Some(newest);
            next.push(newest);
        }
        Ok(next)
    }

    /// Reads the next ids of each segment that may have some newer than `front`.
    async fn read_on(
        &mut self,
        snapshot: &mut SqliteConnection,
        front: Option<BookingId>,
        count: usize,
    ) -> Result<(), Fault> {
        const LAST: [u8; 16] = [0xff; 16];
        /// SQLite takes no more terms than 500.
        const TERMS_MAX: usize = 400;
        let limit = i64::try_from(count).unwrap_or(i64::MAX);
        // All that a segment had before this has been given out, or it would have some left.
        let before = self.before.map_or(LAST, |before| *before.as_bytes());
        let mut due: Vec<_> =
            self.segments.iter_mut().filter(|segment| segment.is_due(front)).collect();
        for segments in due.chunks_mut(TERMS_MAX) {
            let mut query = QueryBuilder::<Driver>::new("");
            for (place, segment) in segments.iter().enumerate() {
                query.push(if place == 0 { "" } else { " UNION ALL " });
                query.push("SELECT * FROM (SELECT segment, booking_id FROM booking_lists");
                query.push(" WHERE segment = ").push_bind(segment.number).push(" AND list_id = ");
                query.push_bind(self.list.as_bytes().to_vec()).push(" AND booking_id < ");
                query.push_bind(before.to_vec()).push(" ORDER BY booking_id DESC LIMIT ");
                query.push_bind(limit).push(")");
            }
            let found = query.build().fetch_all(&mut *snapshot).await.map_err(failed(DOING))?;
            let mut by_segment: HashMap<i64, Vec<BookingId>> = HashMap::new();
            for row in &found {
                let number = row.int("segment")?;
                by_segment.entry(number).or_default().push(booking_id(row, "booking_id")?);
            }
            for segment in segments {
                segment.ids = by_segment.remove(&segment.number).unwrap_or_default();
                segment.ids.sort_unstable();
                segment.is_over = segment.ids.len() < count;
                // What is left of it is older than what was read.
                segment.newest = segment.ids.first().copied();
            }
        }
        Ok(())
    }
}
