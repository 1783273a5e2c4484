//! Lists of a buyer's bookings: segments and tail together, newest first.

use super::Buyers;
use crate::rows::{BookingPage, booking_id};
use crate::sqlite::bookings::push_status;
use crate::sqlite::{Sqlite, failed};
use crate::{BookingFilter, PageRequest, Paged, Timed as _};
use engine::{Booking, BookingId, Fault, UserId};
use futures_util::TryStreamExt as _;
use sqlx::{Connection as _, QueryBuilder, Row as _, Sqlite as Driver, SqliteConnection};
use std::collections::BTreeSet;

const DOING: &str = "listing bookings";

/// Ids that are looked up at once, at most: a filter may pass over many.
const IDS_MAX: usize = 512;

/// The ids of a buyer's bookings, newest first.
struct Ids {
    user_id: UserId,
    /// Those that are in the tail, oldest first: what comes next is at the end.
    tail: Vec<BookingId>,
    segments: Vec<i64>,
    before: Option<BookingId>,
}

impl Sqlite {
    /// A page of a buyer's bookings.
    pub(in crate::sqlite) async fn bookings_of(
        &self,
        user_id: UserId,
        filter: &BookingFilter,
        page: PageRequest<BookingId>,
    ) -> Result<Paged<Booking>, Fault> {
        const SEGMENTS: &str = "SELECT segment FROM buyer_segments";
        self.load_buyers().await?;
        // In this order: what leaves the tail meanwhile is in a segment by then.
        let mut tail = self.buyers().in_tail(user_id, page.after);
        tail.reverse();
        let mut connection = self.readers.acquire().await.map_err(failed(DOING))?;
        let mut snapshot = connection.begin().await.map_err(failed(DOING))?;
        let segments = sqlx::query(SEGMENTS).fetch_all(&mut *snapshot).await;
        let segments = segments.map_err(failed(DOING))?;
        let segments = segments.iter().map(|row| row.try_get(0).map_err(failed(DOING)));
        let segments = segments.collect::<Result<_, _>>()?;
        let mut ids = Ids { user_id, tail, segments, before: page.after };
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

    /// Of these bookings those that the filter lets pass, newest first.
    fn those(&self, ids: &[BookingId], filter: &BookingFilter) -> QueryBuilder<Driver> {
        let mut query = QueryBuilder::new("SELECT * FROM bookings WHERE booking_id IN (");
        let mut listed = query.separated(", ");
        for id in ids {
            listed.push_bind(id.as_bytes().to_vec());
        }
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

    /// Reads the tail from the log before anybody asks for a list. Where that fails, sales go on.
    pub(in crate::sqlite) async fn begin_lists(&self) {
        if let Err(fault) = self.load_buyers().await {
            tracing::error!(%fault, "the bookings of buyers cannot be listed");
        }
    }

    /// Reads the tail from the log, unless it is known.
    pub(in crate::sqlite) async fn load_buyers(&self) -> Result<(), Fault> {
        if self.buyers().is_loaded() {
            return Ok(());
        }
        let mut turn = self.writer.turn(super::DOING).await?;
        let buyers = self.writer.buyers().clone();
        let load = move || match turn.connection_of_index() {
            Some(connection) => buyers.load(connection),
            None => Ok(()),
        };
        let loaded = tokio::task::spawn_blocking(load).await;
        loaded.map_err(crate::unavailable(super::DOING))?
    }

    pub(in crate::sqlite) fn buyers(&self) -> &Buyers {
        self.writer.buyers()
    }
}

impl Ids {
    /// The next ids, `count` at most; none after the last.
    async fn next(
        &mut self,
        snapshot: &mut SqliteConnection,
        count: usize,
    ) -> Result<Vec<BookingId>, Fault> {
        let mut newest: BTreeSet<_> =
            self.in_segments(snapshot, count).await?.into_iter().collect();
        // What has just left the tail is in both.
        newest.extend(self.tail.iter().rev().take(count));
        let next: Vec<_> = newest.into_iter().rev().take(count).collect();
        self.before = next.last().copied().or(self.before);
        while self.tail.last().is_some_and(|id| self.before.is_some_and(|before| *id >= before)) {
            self.tail.pop();
        }
        Ok(next)
    }

    /// The newest in each segment.
    async fn in_segments(
        &self,
        snapshot: &mut SqliteConnection,
        count: usize,
    ) -> Result<Vec<BookingId>, Fault> {
        const LAST: [u8; 16] = [0xff; 16];
        /// SQLite takes no more terms than 500.
        const TERMS_MAX: usize = 400;
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let before = self.before.map_or(LAST, |before| *before.as_bytes());
        let mut newest = Vec::new();
        for segments in self.segments.chunks(TERMS_MAX) {
            let mut query = QueryBuilder::<Driver>::new("SELECT booking_id FROM (");
            for (place, segment) in segments.iter().enumerate() {
                query.push(if place == 0 { "" } else { " UNION ALL " });
                query.push("SELECT * FROM (SELECT booking_id FROM buyer_index WHERE segment = ");
                query.push_bind(*segment).push(" AND user_id = ");
                query.push_bind(self.user_id.as_bytes().to_vec()).push(" AND booking_id < ");
                query.push_bind(before.to_vec()).push(" ORDER BY booking_id DESC LIMIT ");
                query.push_bind(count).push(")");
            }
            query.push(") ORDER BY booking_id DESC LIMIT ").push_bind(count);
            let found = query.build().fetch_all(&mut *snapshot).await.map_err(failed(DOING))?;
            for row in &found {
                newest.push(booking_id(row, "booking_id")?);
            }
        }
        Ok(newest)
    }
}
