//! How rows are written and read: binding lists of values, and decoding what comes back.

use super::failed;
use engine::{
    Booking, BookingId, BookingStatus, Currency, EventId, Fault, Inventory, Item, LogKind, Money,
    Section, SectionId, Terms, Timestamp, UserId,
};
use serde::{Deserialize, Serialize};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Row, Sqlite as Driver, SqliteConnection};
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

pub(super) type Binding = Query<'static, Driver, SqliteArguments>;

/// The words of statuses and kinds, made once: a bound text is shared, not copied.
pub(super) struct Words<T: 'static>(LazyLock<Vec<(T, Arc<str>)>>);

impl<T: Copy + PartialEq> Words<T> {
    pub(super) fn of(&self, value: T) -> Arc<str> {
        let mut words = self.0.iter();
        let found = words.find(|(of, _)| *of == value).map(|(_, word)| word.clone());
        found.expect("every value has its word")
    }
}

pub(super) static STATUS_WORDS: Words<BookingStatus> = Words(LazyLock::new(|| {
    BookingStatus::ALL.map(|status| (status, Arc::from(status.as_str()))).to_vec()
}));
pub(super) static KIND_WORDS: Words<LogKind> =
    Words(LazyLock::new(|| LogKind::ALL.map(|kind| (kind, Arc::from(kind.as_str()))).to_vec()));

/// Binds an id.
pub(super) fn bind_id<Id: AsRef<[u8]>>(query: Binding, id: &Id) -> Binding {
    query.bind(id.as_ref().to_vec())
}

/// The most rows bound into one statement: 13 columns of it stay far below SQLite's 32,766 values.
const ROWS_PER_STATEMENT: usize = 512;

/// Runs `sql`, whose `{}` becomes `VALUES (?,…),(?,…)`, for all `rows`; tells the rows affected.
///
/// Statements come in few sizes (powers of two), so that each is prepared once per connection.
pub(super) async fn write_rows<T>(
    connection: &mut SqliteConnection,
    sql: &'static str,
    columns: usize,
    rows: &[T],
    bind: impl Fn(Binding, &T) -> Binding,
) -> Result<u64, sqlx::Error> {
    let mut affected = 0;
    for chunk in powers_of_two(rows) {
        let statement = statement(sql, columns, chunk.len());
        let query = chunk.iter().fold(sqlx::query(AssertSqlSafe(statement)), &bind);
        affected += query.execute(&mut *connection).await?.rows_affected();
    }
    Ok(affected)
}

/// Runs `sql`, whose `{}` becomes `VALUES (?,…),(?,…)`, for all `rows`, and gives what it selects.
pub(super) async fn read_rows<T>(
    connection: &mut SqliteConnection,
    sql: &'static str,
    columns: usize,
    rows: &[T],
    bind: impl Fn(Binding, &T) -> Binding,
) -> Result<Vec<SqliteRow>, sqlx::Error> {
    let mut found = Vec::new();
    for chunk in powers_of_two(rows) {
        let statement = statement(sql, columns, chunk.len());
        let query = chunk.iter().fold(sqlx::query(AssertSqlSafe(statement)), &bind);
        found.extend(query.fetch_all(&mut *connection).await?);
    }
    Ok(found)
}

/// Cuts `rows` into parts whose lengths are powers of two, the longest first.
fn powers_of_two<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let length = rows.len().min(ROWS_PER_STATEMENT).checked_ilog2().map(|power| 1 << power)?;
        let (chunk, rest) = rows.split_at(length);
        rows = rest;
        Some(chunk)
    })
}

fn statement(sql: &str, columns: usize, rows: usize) -> String {
    let (head, tail) = sql.split_once("{}").expect("the statement has a place for its values");
    let mut statement = String::with_capacity(sql.len() + rows * (columns * 2 + 2) + 8);
    let _ = write!(statement, "{head}VALUES ");
    for row in 0..rows {
        statement.push_str(if row == 0 { "(" } else { ",(" });
        for column in 0..columns {
            statement.push_str(if column == 0 { "?" } else { ",?" });
        }
        statement.push(')');
    }
    statement.push_str(tail);
    statement
}

/// Reads a column; a value of another kind than the schema says is a fault of ours.
pub(super) fn get<'r, T>(row: &'r SqliteRow, column: &'static str) -> Result<T, Fault>
where
    T: sqlx::Decode<'r, Driver> + sqlx::Type<Driver>,
{
    row.try_get(column)
        .map_err(|error| Fault::Corrupt { what: format!("column {column}: {error}") })
}

fn corrupt(column: &'static str) -> impl FnOnce() -> Fault {
    move || Fault::Corrupt { what: format!("column {column} holds what was never written") }
}

macro_rules! id_column {
    ($name:ident, $id:ident) => {
        pub(super) fn $name(row: &SqliteRow, column: &'static str) -> Result<$id, Fault> {
            $id::from_slice(get(row, column)?).ok_or_else(corrupt(column))
        }
    };
}
id_column!(event_id, EventId);
id_column!(section_id, SectionId);
id_column!(booking_id, BookingId);
id_column!(user_id, UserId);

pub(super) fn instant(row: &SqliteRow, column: &'static str) -> Result<Timestamp, Fault> {
    Ok(Timestamp::from_unix_ms(get(row, column)?))
}

pub(super) fn maybe_instant(
    row: &SqliteRow,
    column: &'static str,
) -> Result<Option<Timestamp>, Fault> {
    Ok(get::<Option<i64>>(row, column)?.map(Timestamp::from_unix_ms))
}

pub(super) fn ms(at: Option<Timestamp>) -> Option<i64> {
    at.map(Timestamp::unix_ms)
}

/// The columns of `events` that [`terms`] reads.
pub(super) fn terms(row: &SqliteRow) -> Result<Terms, Fault> {
    Ok(Terms {
        event_id: event_id(row, "event_id")?,
        organizer_id: user_id(row, "organizer_id")?,
        status: engine::EventStatus::parse(get(row, "status")?).ok_or_else(corrupt("status"))?,
        sales_start: maybe_instant(row, "sales_start")?,
        sales_end: maybe_instant(row, "sales_end")?,
        over_at: instant(row, "over_at")?,
        max_seats_per_booking: get(row, "max_seats_per_booking")?,
        max_seats_per_user: get(row, "max_seats_per_user")?,
        hold_ttl_ms: get(row, "hold_ttl_ms")?,
        cancellable_until: maybe_instant(row, "cancellable_until")?,
    })
}

pub(super) fn section(row: &SqliteRow) -> Result<Section, Fault> {
    Ok(Section {
        section_id: section_id(row, "section_id")?,
        event_id: event_id(row, "event_id")?,
        name: get::<&str>(row, "name")?.into(),
        price: Money {
            minor: get(row, "price_minor")?,
            currency: currency(get(row, "currency")?)?,
        },
    })
}

fn currency(code: &str) -> Result<Currency, Fault> {
    Currency::parse(code).ok_or_else(corrupt("currency"))
}

pub(super) fn inventory(row: &SqliteRow) -> Result<Inventory, Fault> {
    Ok(Inventory {
        section_id: section_id(row, "section_id")?,
        event_id: event_id(row, "event_id")?,
        capacity: get(row, "capacity")?,
        held: get(row, "held")?,
        sold: get(row, "sold")?,
        blocked: get(row, "blocked")?,
        version: get(row, "version")?,
        next_expiry: maybe_instant(row, "next_expiry")?,
    })
}

/// The columns of `bookings` in the order in which [`bind_booking`] binds them.
pub(super) const BOOKING_COLUMNS: usize = 13;

pub(super) fn bind_booking(query: Binding, booking: &Booking) -> Binding {
    query
        .bind(booking.booking_id.as_bytes().to_vec())
        .bind(booking.user_id.as_bytes().to_vec())
        .bind(booking.event_id.as_bytes().to_vec())
        .bind(items_text(&booking.items))
        .bind(i64::from(booking.seats()))
        .bind(STATUS_WORDS.of(booking.status))
        .bind(booking.expires_at.unix_ms())
        .bind(booking.max_expires_at.unix_ms())
        .bind(ms(booking.confirmed_at))
        .bind(ms(booking.cancelled_at))
        .bind(booking.created_at.unix_ms())
        .bind(booking.updated_at.unix_ms())
        .bind(booking.version)
}

pub(super) fn booking(row: &SqliteRow) -> Result<Booking, Fault> {
    Ok(Booking {
        booking_id: booking_id(row, "booking_id")?,
        user_id: user_id(row, "user_id")?,
        event_id: event_id(row, "event_id")?,
        items: items(get(row, "items")?)?,
        status: BookingStatus::parse(get(row, "status")?).ok_or_else(corrupt("status"))?,
        expires_at: instant(row, "expires_at")?,
        max_expires_at: instant(row, "max_expires_at")?,
        confirmed_at: maybe_instant(row, "confirmed_at")?,
        cancelled_at: maybe_instant(row, "cancelled_at")?,
        created_at: instant(row, "created_at")?,
        updated_at: instant(row, "updated_at")?,
        version: get(row, "version")?,
    })
}

pub(super) fn bookings(rows: &[SqliteRow]) -> Result<Vec<Booking>, Fault> {
    rows.iter().map(booking).collect()
}

/// An item as `bookings.items` keeps it.
#[derive(Serialize, Deserialize)]
struct StoredItem<'a> {
    section_id: std::borrow::Cow<'a, str>,
    name: std::borrow::Cow<'a, str>,
    seats: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    numbers: Vec<Arc<str>>,
    price: i64,
    currency: std::borrow::Cow<'a, str>,
}

fn items_text(items: &[Item]) -> String {
    let stored: Vec<_> = items
        .iter()
        .map(|item| StoredItem {
            section_id: item.section_id.to_string().into(),
            name: (&*item.section_name).into(),
            seats: item.seats,
            numbers: item.numbers.clone(),
            price: item.unit_price.minor,
            currency: item.unit_price.currency.as_str().into(),
        })
        .collect();
    serde_json::to_string(&stored).expect("strings and integers are always JSON")
}

fn items(text: &str) -> Result<Vec<Item>, Fault> {
    let stored: Vec<StoredItem<'_>> = serde_json::from_str(text).map_err(|_| corrupt("items")())?;
    let item = |stored: StoredItem<'_>| {
        Ok(Item {
            section_id: stored.section_id.parse().map_err(|_| corrupt("items")())?,
            section_name: stored.name.as_ref().into(),
            seats: stored.seats,
            numbers: stored.numbers,
            unit_price: Money { minor: stored.price, currency: currency(&stored.currency)? },
        })
    };
    stored.into_iter().map(item).collect()
}

/// The bookings with these ids.
pub(super) async fn bookings_by_id(
    connection: &mut SqliteConnection,
    ids: &[BookingId],
) -> Result<Vec<Booking>, Fault> {
    const SQL: &str = "WITH wanted (booking_id) AS ({})
        SELECT b.* FROM wanted CROSS JOIN bookings b USING (booking_id)";
    let found = read_rows(connection, SQL, 1, ids, bind_id).await;
    bookings(&found.map_err(failed("loading bookings"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_bound_in_few_sizes_and_whole() {
        let rows: Vec<u32> = (0..1_300).collect();
        let parts: Vec<_> = powers_of_two(&rows).map(<[u32]>::len).collect();
        assert_eq!(parts, [512, 512, 256, 16, 4]);
        assert_eq!(powers_of_two(&rows).flatten().copied().collect::<Vec<_>>(), rows);
        assert_eq!(powers_of_two::<u32>(&[]).count(), 0);
        assert_eq!(statement("a {} b", 2, 3), "a VALUES (?,?),(?,?),(?,?) b");
    }
}
