//! Reading bookings and inventory; writing them is [`super::commit`].

use super::rows::{BOOKING_BY_ID, Binding, bind_id, read_rows};
use super::{Sqlite, failed};
use crate::rows::{self, BookingPage, Columns};
use crate::{Batches, BookingFilter, Bookings, KeyedHolds, PageRequest, Paged, Timed};
use async_trait::async_trait;
use engine::{
    Booking, BookingId, BookingStatus, Command, Committed, EventId, Fault, IdempotencyKey,
    Inventory, KeyUse, LiveInventory, UserId,
};
use futures_util::TryStreamExt as _;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Sqlite as Driver, SqliteConnection};

#[async_trait]
impl Batches for Sqlite {
    async fn commit(&self, commands: &[Command]) -> Result<Committed, Fault> {
        self.commit_batch(commands).await
    }

    async fn keyed_holds(&self, keys: &[(UserId, IdempotencyKey)]) -> Result<KeyedHolds, Fault> {
        const DOING: &str = "reading keys";
        const SQL: &str = "WITH wanted (user_id, key) AS ({})
            SELECT k.user_id AS caller, k.key, k.fingerprint, b.*
            FROM wanted CROSS JOIN hold_keys k USING (user_id, key) CROSS JOIN bookings b USING (booking_id)";
        let mut connection = self.readers.acquire().await.map_err(failed(DOING))?;
        let bind = |query: Binding, (user_id, key): &(UserId, IdempotencyKey)| {
            bind_id(query, user_id).bind(key.as_str().to_owned())
        };
        let found = read_rows(&mut connection, SQL, 2, keys, bind).await.map_err(failed(DOING))?;
        let hold = |row: &SqliteRow| {
            let booking = rows::booking(row)?;
            let used =
                KeyUse { booking_id: booking.booking_id, fingerprint: row.int("fingerprint")? };
            let key = IdempotencyKey::new(row.text("key")?);
            let no_key = || Fault::Corrupt { what: "a stored key is no key".to_owned() };
            // Of a sale it is the seller's.
            let caller = rows::user_id(row, "caller")?;
            Ok(((caller, key.ok_or_else(no_key)?), (used, booking)))
        };
        found.iter().map(hold).collect()
    }
}

#[async_trait]
impl Bookings for Sqlite {
    async fn booking(&self, booking_id: BookingId) -> Result<Option<Booking>, Fault> {
        let query = sqlx::query(BOOKING_BY_ID);
        let row = query.bind(booking_id.as_bytes().to_vec()).fetch_optional(&self.readers).await;
        row.map_err(failed("reading a booking"))?.as_ref().map(rows::booking).transpose()
    }

    async fn bookings(
        &self,
        filter: &BookingFilter,
        page: PageRequest<BookingId>,
    ) -> Result<Paged<Booking>, Fault> {
        const DOING: &str = "listing bookings";
        if let Some(user_id) = filter.user {
            return self.bookings_of(user_id.into(), filter, page).await;
        }
        if let Some(event_id) = filter.event {
            // A great event may have a million bookings, and among them hardly a hold.
            return match filter.status {
                Some(BookingStatus::Hold) => self.holds_of(event_id, filter, page).await,
                _ => self.bookings_of(event_id.into(), filter, page).await,
            };
        }
        let mut query = QueryBuilder::<Driver>::new("SELECT * FROM bookings WHERE 1 = 1");
        if let Some(after) = page.after {
            query.push(" AND booking_id < ").push_bind(after.as_bytes().to_vec());
        }
        if let Some(status) = filter.status {
            push_status(&mut query, status, self.now().unix_ms());
        }
        query.push(" ORDER BY booking_id DESC LIMIT ").push_bind(page.limit);
        let mut connection = self.readers.acquire().await.map_err(failed(DOING))?;
        // Row by row, so that what the page does not take is not in memory.
        let mut found = query.build().fetch(&mut *connection);
        let mut bookings = BookingPage::new(page.limit);
        while let Some(row) = found.try_next().await.map_err(failed(DOING))? {
            if !bookings.add(&row)? {
                break;
            }
        }
        Ok(bookings.end())
    }

    async fn inventories(&self, events: &[EventId]) -> Result<Vec<LiveInventory>, Fault> {
        const DOING: &str = "reading inventory";
        let now = self.now();
        let mut connection = self.readers.acquire().await.map_err(failed(DOING))?;
        self.live_inventories(&mut connection, events, now).await
    }
}

/// The counters of all sections of these events.
pub(super) async fn read_inventories(
    connection: &mut SqliteConnection,
    events: &[EventId],
) -> Result<Vec<Inventory>, Fault> {
    const SQL: &str = "WITH wanted (event_id) AS ({})
        SELECT i.* FROM wanted CROSS JOIN inventory i USING (event_id)";
    let found = read_rows(connection, SQL, 1, events, bind_id).await;
    found.map_err(failed("reading inventory"))?.iter().map(rows::inventory).collect()
}

/// Narrows a query to bookings whose status reads `status` at `now_ms`: a due hold reads `EXPIRED`.
pub(super) fn push_status(query: &mut QueryBuilder<Driver>, status: BookingStatus, now_ms: i64) {
    match status {
        BookingStatus::Hold => {
            query.push(" AND status = 'HOLD' AND expires_at > ").push_bind(now_ms)
        }
        BookingStatus::Expired => query
            .push(" AND (status = 'EXPIRED' OR status = 'HOLD' AND expires_at <= ")
            .push_bind(now_ms)
            .push(")"),
        BookingStatus::Confirmed | BookingStatus::Cancelled => {
            query.push(" AND status = ").push_bind(status.as_str())
        }
    };
}
