//! Reading bookings and inventory; writing them is [`super::commit`].

use super::interrupt::Interrupt;
use super::rows::{booking_by_id, uuid, uuids};
use super::{Postgres, batch, on};
use crate::rows::{self, BookingPage, Columns};
use crate::{Batches, BookingFilter, Bookings, KeyedHolds, PageRequest, Paged, Timed};
use async_trait::async_trait;
use engine::{
    Booking, BookingId, BookingStatus, Command, Committed, EventId, Fault, IdempotencyKey,
    LiveInventory, UserId,
};
use futures_util::TryStreamExt as _;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Postgres as Driver, QueryBuilder};
use uuid::Uuid;

#[async_trait]
impl Batches for Postgres {
    async fn commit(&self, commands: &[Command]) -> Result<Committed, Fault> {
        self.committer.commit(commands).await
    }

    async fn keyed_holds(&self, keys: &[(UserId, IdempotencyKey)]) -> Result<KeyedHolds, Fault> {
        self.read("reading keys", on!(session => batch::keyed_holds(&mut session, keys))).await
    }
}

#[async_trait]
impl Bookings for Postgres {
    async fn booking(&self, booking_id: BookingId) -> Result<Option<Booking>, Fault> {
        let read = on!(session => booking_by_id(&mut session, booking_id));
        self.read("reading a booking", read).await
    }

    async fn bookings(
        &self,
        filter: &BookingFilter,
        page: PageRequest<BookingId>,
    ) -> Result<Paged<Booking>, Fault> {
        let now_ms = self.now().unix_ms();
        let list = on!(session => list(&mut session, filter, page, now_ms));
        self.read("listing bookings", list).await
    }

    async fn inventories(&self, events: &[EventId]) -> Result<Vec<LiveInventory>, Fault> {
        self.read("reading inventory", on!(session => live(&mut session, events))).await
    }
}

async fn list(
    session: &mut PgConnection,
    filter: &BookingFilter,
    page: PageRequest<BookingId>,
    now_ms: i64,
) -> Result<Paged<Booking>, Interrupt> {
    let mut order = "booking_id DESC";
    let mut query = match (filter.user, filter.event) {
        (None, Some(event_id)) => {
            // With one event this is the same order, and that of the index that is to be read.
            order = "event_id DESC, booking_id DESC";
            of_event(event_id, filter.status, page.after)
        }
        (user_id, event_id) => {
            let mut query = QueryBuilder::<Driver>::new("SELECT * FROM bookings WHERE true");
            if let Some(user_id) = user_id {
                query.push(" AND user_id = ").push_bind(uuid(user_id));
            }
            if let Some(event_id) = event_id {
                query.push(" AND event_id = ").push_bind(uuid(event_id));
            }
            query
        }
    };
    if let Some(after) = page.after {
        query.push(" AND booking_id < ").push_bind(uuid(after));
    }
    // A due hold reads EXPIRED, swept or not.
    match filter.status {
        None => {}
        Some(BookingStatus::Hold) => {
            query.push(" AND status = 'HOLD' AND expires_at > ").push_bind(now_ms);
        }
        Some(BookingStatus::Expired) => {
            query
                .push(" AND (status = 'EXPIRED' OR status = 'HOLD' AND expires_at <= ")
                .push_bind(now_ms)
                .push(")");
        }
        Some(status) => {
            query.push(" AND status = ").push_bind(status.as_str());
        }
    }
    query.push(format_args!(" ORDER BY {order} LIMIT ")).push_bind(i64::from(page.limit));
    // Row by row, so that what the page does not take is not in memory. It is received nonetheless: the
    // session goes to others afterwards.
    let mut found = query.build().fetch(session);
    let (mut bookings, mut takes_more) = (BookingPage::new(page.limit), true);
    while let Some(row) = found.try_next().await? {
        takes_more = takes_more && bookings.add(&row)?;
    }
    Ok(bookings.end())
}

/// The bookings of an event, written so that the planner has no other way than the one that is short
/// for every event.
fn of_event(
    event_id: EventId,
    status: Option<BookingStatus>,
    after: Option<BookingId>,
) -> QueryBuilder<Driver> {
    let event_id = uuid(event_id);
    if status == Some(BookingStatus::Hold) {
        // A great event may have a million bookings, and among them hardly a hold: the index of expiry
        // has those that live. One by one: the planner cannot know how few they are, and joined with all
        // bookings when it guessed high.
        let mut query = QueryBuilder::new(
            "WITH held (id) AS MATERIALIZED (SELECT DISTINCT h.booking_id
                FROM inventory i JOIN holds h USING (section_id) WHERE i.event_id = ",
        );
        query.push_bind(event_id);
        query.push(
            ") SELECT b.* FROM held CROSS JOIN LATERAL (SELECT * FROM bookings
                WHERE booking_id = held.id OFFSET 0) b WHERE true",
        );
        return query;
    }
    // With `event_id = …` it may read all bookings by their ids, newest first, until it has found enough
    // of this event: the whole table, when a great event is of long ago.
    let after = after.map_or(Uuid::max(), uuid);
    let mut query = QueryBuilder::new("SELECT * FROM bookings WHERE event_id >= ");
    query.push_bind(event_id).push(" AND event_id <= ").push_bind(event_id);
    query.push(" AND (event_id, booking_id) < (").push_bind(event_id);
    query.push(", ").push_bind(after).push(")");
    query
}

async fn live(
    session: &mut PgConnection,
    events: &[EventId],
) -> Result<Vec<LiveInventory>, Interrupt> {
    const SQL: &str = "SELECT i.*, CASE WHEN i.next_expiry <= clock.now THEN
                (SELECT COALESCE(SUM(h.seats), 0)::bigint FROM holds h
                 WHERE h.section_id = i.section_id AND h.expires_at <= clock.now)
            ELSE 0 END AS due
        FROM inventory i CROSS JOIN (SELECT now_ms() AS now OFFSET 0) clock
        WHERE i.event_id = ANY($1)";
    let found = sqlx::query(SQL).bind(uuids(events)).fetch_all(session).await?;
    let live = |row: &PgRow| -> Result<_, Fault> {
        Ok(LiveInventory { inventory: rows::inventory(row)?, due: row.int("due")? })
    };
    Ok(found.iter().map(live).collect::<Result<_, _>>()?)
}
