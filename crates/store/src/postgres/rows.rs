//! The columns of PostgreSQL, and ids as it takes them.

use super::interrupt::Interrupt;
use crate::rows::{Columns, bookings, unreadable};
use engine::{Booking, BookingId, Fault};
use sqlx::Row as _;
use sqlx::postgres::{PgConnection, PgRow};
use uuid::Uuid;

impl Columns for PgRow {
    fn int(&self, column: &'static str) -> Result<i64, Fault> {
        self.try_get(column).map_err(unreadable(column))
    }

    fn maybe_int(&self, column: &'static str) -> Result<Option<i64>, Fault> {
        self.try_get(column).map_err(unreadable(column))
    }

    fn flag(&self, column: &'static str) -> Result<bool, Fault> {
        self.try_get(column).map_err(unreadable(column))
    }

    fn text(&self, column: &'static str) -> Result<&str, Fault> {
        self.try_get(column).map_err(unreadable(column))
    }

    fn maybe_text(&self, column: &'static str) -> Result<Option<&str>, Fault> {
        self.try_get(column).map_err(unreadable(column))
    }

    fn id(&self, column: &'static str) -> Result<[u8; 16], Fault> {
        let id: Uuid = self.try_get(column).map_err(unreadable(column))?;
        Ok(id.into_bytes())
    }

    fn maybe_id(&self, column: &'static str) -> Result<Option<[u8; 16]>, Fault> {
        let id: Option<Uuid> = self.try_get(column).map_err(unreadable(column))?;
        Ok(id.map(Uuid::into_bytes))
    }

    fn maybe_bytes(&self, column: &'static str) -> Result<Option<&[u8]>, Fault> {
        self.try_get(column).map_err(unreadable(column))
    }

    fn bytes(&self, column: &'static str) -> Result<&[u8], Fault> {
        self.try_get(column).map_err(unreadable(column))
    }
}

/// Any of our ids, as a value to bind.
pub(super) fn uuid(id: impl AsRef<[u8]>) -> Uuid {
    Uuid::from_slice(id.as_ref()).expect("our ids are 16 bytes")
}

/// Any of our ids, as an array to bind.
pub(super) fn uuids<Id: AsRef<[u8]>>(ids: impl IntoIterator<Item = Id>) -> Vec<Uuid> {
    ids.into_iter().map(uuid).collect()
}

/// The bookings with these ids.
pub(super) async fn bookings_by_id(
    session: &mut PgConnection,
    ids: Vec<Uuid>,
) -> Result<Vec<Booking>, Interrupt> {
    let query = sqlx::query("SELECT * FROM bookings WHERE booking_id = ANY($1)").bind(ids);
    Ok(bookings(&query.fetch_all(session).await?)?)
}

/// The booking with this id.
pub(super) async fn booking_by_id(
    session: &mut PgConnection,
    id: BookingId,
) -> Result<Option<Booking>, Interrupt> {
    Ok(bookings_by_id(session, uuids([id])).await?.pop())
}
