//! What a simulation needs of the embedded store: a start with short lists, and all of its rows.

use super::Sqlite;
use super::lists::{Lists, Sizes};
use super::writer::failed;
use crate::StoreOptions;
use crate::rows::{self, Columns as _};
use engine::decide::ExpiryEntry;
use engine::seats::SeatName;
use engine::{
    Booking, BookingId, Event, Fault, IdempotencyKey, Inventory, KeyUse, LogEntry, Section,
    SectionId, UserId,
};
use rusqlite::types::Value;
use rusqlite::{Connection, Row, Transaction, params_from_iter};
use std::path::Path;
use std::time::Duration;

const DOING: &str = "reading all rows";

/// How large the parts of the lists of bookings are.
#[derive(Clone, Copy, Debug)]
pub struct ListSizes {
    /// Bookings of a tail that becomes a segment.
    pub tail: usize,
    /// Bookings of a tail that is given up.
    pub tail_max: usize,
    /// Rows written at a time.
    pub portion: usize,
    /// Segments that become one.
    pub merged: usize,
}

/// All rows that the rules know of, each kind in the order of its key.
#[derive(Debug)]
pub struct Content {
    /// Events.
    pub events: Vec<Event>,
    /// Sections, with their counters.
    pub sections: Vec<(Section, Inventory)>,
    /// Bookings.
    pub bookings: Vec<Booking>,
    /// The index of expiry.
    pub holds: Vec<ExpiryEntry>,
    /// Idempotency keys that were used.
    pub keys: Vec<((UserId, IdempotencyKey), KeyUse)>,
    /// Who has which numbered seat; nobody: it is blocked.
    pub taken: Vec<((SectionId, SeatName), Option<BookingId>)>,
    /// The marks of sections with numbered seats, as they are stored.
    pub marks: Vec<(SectionId, Vec<u8>)>,
    /// The log, oldest entry first.
    pub log: Vec<LogEntry>,
}

/// Somebody else who writes to the file, in one transaction: a person at a prompt.
pub struct Prompt<'c>(Transaction<'c>);

impl Prompt<'_> {
    /// Opens the file, and commits what `write` does, if it ends well.
    pub fn open(
        path: &Path,
        write: impl FnOnce(&Prompt<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        const DOING: &str = "opening the file beside the server";
        let mut connection = Connection::open(path).map_err(failed(DOING))?;
        let prompt = Prompt(connection.transaction().map_err(failed(DOING))?);
        write(&prompt)?;
        prompt.0.commit().map_err(failed(DOING))
    }

    /// Runs a statement with these values.
    pub fn run<const N: usize>(&self, sql: &str, values: [Value; N]) -> Result<(), Fault> {
        let done = self.0.execute(sql, params_from_iter(values));
        done.map(drop).map_err(failed("writing beside the server"))
    }
}

impl Sqlite {
    /// Opens the file as a server does when it starts.
    pub async fn begin(
        path: &Path,
        options: StoreOptions,
        sizes: ListSizes,
    ) -> Result<Self, Fault> {
        let mut store = Self::open(path, options)?;
        let ListSizes { tail, tail_max, portion, merged } = sizes;
        // A run takes a list that cannot be read for a bug, unless a fault has just happened.
        let pause = Duration::ZERO;
        store.writer.set_lists(Lists::of(Sizes { tail, tail_max, portion, merged, pause }));
        store.open_timeline().await?;
        Ok(store)
    }

    /// All that is stored, read from the file itself.
    pub async fn content(&self) -> Result<Content, Fault> {
        const EVENTS: &str = "SELECT * FROM events ORDER BY event_id";
        const SECTIONS: &str = "SELECT i.*, s.name, s.price_minor, s.currency, s.layout_version
            FROM inventory i CROSS JOIN sections s USING (section_id) ORDER BY i.section_id";
        const BOOKINGS: &str = "SELECT * FROM bookings ORDER BY booking_id";
        const HOLDS: &str = "SELECT * FROM holds ORDER BY section_id, expires_at, booking_id";
        const KEYS: &str = "SELECT * FROM hold_keys ORDER BY user_id, key";
        const TAKEN: &str = "SELECT * FROM seats_taken ORDER BY section_id, seat";
        const MARKS: &str = "SELECT * FROM seat_marks ORDER BY section_id";
        const LOG: &str = "SELECT * FROM booking_log ORDER BY seq";
        let mut turn = self.writer.turn(DOING).await?;
        let closed = || crate::unavailable(DOING)("the store is closed");
        let connection = &*turn.connection_of_index().ok_or_else(closed)?;
        let key = |row: &Row<'_>| {
            let (user_id, booking_id) =
                (rows::user_id(row, "user_id")?, rows::booking_id(row, "booking_id")?);
            let key = IdempotencyKey::new(row.text("key")?).ok_or_else(rows::corrupt("key"))?;
            Ok(((user_id, key), KeyUse { booking_id, fingerprint: row.int("fingerprint")? }))
        };
        let taken = |row: &Row<'_>| {
            let (section_id, seat, by) = rows::seat_taken(row)?;
            Ok(((section_id, seat), by))
        };
        let marks = |row: &Row<'_>| {
            Ok((rows::section_id(row, "section_id")?, row.bytes("marks")?.to_vec()))
        };
        let entries = |row: &Row<'_>| Ok(rows::log_entries(row)?.collect::<Vec<_>>());
        let section = |row: &Row<'_>| Ok((rows::section(row)?, rows::inventory(row)?));
        Ok(Content {
            events: all(connection, EVENTS, |row| rows::event(row))?,
            sections: all(connection, SECTIONS, section)?,
            bookings: all(connection, BOOKINGS, |row| rows::booking(row))?,
            holds: all(connection, HOLDS, |row| rows::held(row))?,
            keys: all(connection, KEYS, key)?,
            taken: all(connection, TAKEN, taken)?,
            marks: all(connection, MARKS, marks)?,
            log: all(connection, LOG, entries)?.concat(),
        })
    }
}

fn all<T>(
    connection: &Connection,
    sql: &str,
    read: impl Fn(&Row<'_>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let mut statement = connection.prepare_cached(sql).map_err(failed(DOING))?;
    let mut rows = statement.query(()).map_err(failed(DOING))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(failed(DOING))? {
        found.push(read(row)?);
    }
    Ok(found)
}
