//! Writing what a batch changes, in few statements, each with arrays for its rows.

use super::batch::Key;
use super::interrupt::Interrupt;
use super::rows::{uuid, uuids};
use super::seats::write_seats;
use crate::rows::{self, Columns, items_text, ms};
use engine::decide::Held;
use engine::{Booking, Changes, Fault, Inventory, KeyUse, LogEntry, SectionId, Timestamp};
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::query::Query;
use std::collections::{BTreeMap, HashMap};

/// A statement of which some values are bound.
pub(super) type Binding = Query<'static, sqlx::Postgres, PgArguments>;

/// The next expiry of sections whose inventory was written.
pub(super) type NextExpiries = HashMap<SectionId, Option<Timestamp>>;

/// Writes what a batch changes; `claims` are the keys it has claimed, and `stamp` is that of the marks.
/// Gives the next expiry of every section it touched.
pub(super) async fn write(
    session: &mut PgConnection,
    changes: &Changes,
    claims: BTreeMap<Key, KeyUse>,
    stamp: i64,
) -> Result<NextExpiries, Interrupt> {
    let inventories: Vec<_> = changes
        .inventories
        .iter()
        .map(|(inventory, loaded)| Counted {
            inventory,
            loaded: *loaded,
            next_expiry: next_expiry(inventory, changes),
        })
        .collect();
    write_seats(session, changes, stamp).await?;
    let (known, recounted): (Vec<_>, Vec<_>) =
        inventories.into_iter().partition(|counted| counted.next_expiry.is_some());
    write_rows(session, changes, &known, stamp).await?;
    write_keys(session, changes, claims).await?;
    let mut next_expiries = recount(session, &recounted).await?;
    let known = known.iter().map(|counted| (counted.inventory.section_id, counted.next_expiry));
    next_expiries.extend(known.filter_map(|(section_id, expiry)| Some((section_id, expiry?))));
    Ok(next_expiries)
}

/// An inventory to write.
struct Counted<'a> {
    inventory: &'a Inventory,
    /// The version it was loaded with.
    loaded: i64,
    /// When the next live hold ends; `None` when the index of expiry has to be asked.
    next_expiry: Option<Option<Timestamp>>,
}

/// Columns of rows, each as one array to bind.
macro_rules! bind_columns {
    ($query:expr, $rows:expr, $($column:expr),+ $(,)?) => {
        $query $(.bind($rows.iter().map($column).collect::<Vec<_>>()))+
    };
}

async fn write_rows(
    session: &mut PgConnection,
    changes: &Changes,
    inventories: &[Counted<'_>],
    stamp: i64,
) -> Result<(), Interrupt> {
    // One statement and one round trip for all of it; parts without rows cost nothing. The predicate on
    // the inventory's `version` proves that the row is the one that was decided on; the primary key of
    // seats_taken judges I3 again: a seat that somebody has cannot be written.
    const SQL: &str = "WITH created AS (
            INSERT INTO bookings (booking_id, user_id, event_id, items, sections, seats, status,
                expires_at, max_expires_at, confirmed_at, cancelled_at, created_at, updated_at, version)
            SELECT n.booking_id, n.user_id, n.event_id, n.items, n.sections::uuid[], n.seats,
                n.status, n.expires_at, n.max_expires_at, n.confirmed_at, n.cancelled_at,
                n.created_at, n.updated_at, n.version
            FROM UNNEST($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::bigint[],
                $7::text[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[],
                $13::bigint[], $14::bigint[])
            AS n (booking_id, user_id, event_id, items, sections, seats, status, expires_at,
                max_expires_at, confirmed_at, cancelled_at, created_at, updated_at, version)
        ), updated AS (
            UPDATE bookings b SET status = n.status, expires_at = n.expires_at,
                confirmed_at = n.confirmed_at, cancelled_at = n.cancelled_at,
                updated_at = n.updated_at, version = n.version
            FROM UNNEST($15::uuid[], $16::text[], $17::bigint[], $18::bigint[], $19::bigint[],
                $20::bigint[], $21::bigint[])
            AS n (booking_id, status, expires_at, confirmed_at, cancelled_at, updated_at, version)
            WHERE b.booking_id = n.booking_id RETURNING 1
        ), unheld AS (
            DELETE FROM holds h USING UNNEST($22::uuid[], $23::bigint[], $24::uuid[])
            AS n (section_id, expires_at, booking_id)
            WHERE h.section_id = n.section_id AND h.expires_at = n.expires_at
                AND h.booking_id = n.booking_id
        ), held AS (
            INSERT INTO holds (section_id, expires_at, booking_id, seats)
            SELECT * FROM UNNEST($25::uuid[], $26::bigint[], $27::uuid[], $28::bigint[])
        ), logged AS (
            INSERT INTO booking_log (at, kind, section_id, booking_id, capacity, held, sold, blocked,
                version, expires_at, reason)
            SELECT * FROM UNNEST($29::bigint[], $30::text[], $31::uuid[], $32::uuid[],
                $33::bigint[], $34::bigint[], $35::bigint[], $36::bigint[], $37::bigint[], $38::bigint[],
                $39::text[])
        ), counted AS (
            UPDATE inventory i SET capacity = n.capacity, held = n.held, sold = n.sold,
                blocked = n.blocked, version = n.version, next_expiry = n.next_expiry
            FROM UNNEST($40::uuid[], $41::bigint[], $42::bigint[], $43::bigint[], $44::bigint[],
                $45::bigint[], $46::bigint[], $47::bigint[])
            AS n (section_id, capacity, held, sold, blocked, version, loaded, next_expiry)
            WHERE i.section_id = n.section_id AND i.version = n.loaded RETURNING 1
        ), taken AS (
            INSERT INTO seats_taken (section_id, seat, booking_id)
            SELECT * FROM UNNEST($48::uuid[], $49::text[], $50::uuid[])
        ), marked AS (
            UPDATE seat_marks m SET version = n.version, marks = n.marks, stamp = $54
            FROM UNNEST($51::uuid[], $52::bigint[], $53::bytea[]) AS n (section_id, version, marks)
            WHERE m.section_id = n.section_id
        )
        SELECT (SELECT count(*) FROM updated) AS updated, (SELECT count(*) FROM counted) AS counted";
    let query = bind_created(sqlx::query(SQL), &changes.created);
    let query = bind_columns!(
        query,
        changes.updated,
        |booking| uuid(booking.booking_id),
        |booking| booking.status.as_str(),
        |booking| booking.expires_at.unix_ms(),
        |booking| ms(booking.confirmed_at),
        |booking| ms(booking.cancelled_at),
        |booking| booking.updated_at.unix_ms(),
        |booking| booking.version,
    );
    let query = bind_held(query, &changes.unheld);
    let query = bind_held(query, &changes.held);
    let query = bind_columns!(query, changes.held, |held| i64::from(held.seats));
    let query = bind_log(query, &changes.log);
    let query = bind_inventories(query, inventories);
    let query = bind_columns!(query, inventories, |counted| counted.next_expiry.and_then(ms));
    let query = bind_columns!(
        query,
        changes.taken,
        |taken| uuid(taken.section_id),
        |taken| taken.seat.to_string(),
        |taken| taken.booking_id.map(uuid),
    );
    let query = bind_columns!(
        query,
        changes.marks,
        |(section_id, _)| uuid(section_id),
        |(_, marks)| marks.version(),
        |(_, marks)| marks.to_bytes(),
    );
    let row = query.bind(stamp).fetch_one(session).await.map_err(|error| {
        let interrupt = Interrupt::from(error);
        if interrupt.is_seat_taken() { Interrupt::SeatsDisagree } else { interrupt }
    })?;
    let updated = usize::try_from(row.int("updated")?);
    assert_eq!(updated, Ok(changes.updated.len()), "a loaded booking is there to be updated");
    if usize::try_from(row.int("counted")?) == Ok(inventories.len()) {
        Ok(())
    } else {
        Err(changed_under_its_lock().into())
    }
}

fn changed_under_its_lock() -> Fault {
    Fault::Corrupt { what: "an inventory changed under its lock".to_owned() }
}

fn bind_inventories(query: Binding, inventories: &[Counted<'_>]) -> Binding {
    bind_columns!(
        query,
        inventories,
        |counted| uuid(counted.inventory.section_id),
        |counted| counted.inventory.capacity,
        |counted| counted.inventory.held,
        |counted| counted.inventory.sold,
        |counted| counted.inventory.blocked,
        |counted| counted.inventory.version,
        |counted| counted.loaded,
    )
}

fn bind_created(query: Binding, created: &[Booking]) -> Binding {
    bind_columns!(
        query,
        created,
        |booking| uuid(booking.booking_id),
        |booking| uuid(booking.user_id),
        |booking| uuid(booking.event_id),
        |booking| items_text(&booking.items),
        sections_text,
        |booking| i64::from(booking.seats()),
        |booking| booking.status.as_str(),
        |booking| booking.expires_at.unix_ms(),
        |booking| booking.max_expires_at.unix_ms(),
        |booking| ms(booking.confirmed_at),
        |booking| ms(booking.cancelled_at),
        |booking| booking.created_at.unix_ms(),
        |booking| booking.updated_at.unix_ms(),
        |booking| booking.version,
    )
}

/// The sections of a booking as the text of an array: an array of arrays cannot be bound.
pub(super) fn sections_text(booking: &Booking) -> String {
    let sections: Vec<_> =
        booking.sections().map(|(section_id, _)| section_id.to_string()).collect();
    format!("{{{}}}", sections.join(","))
}

fn bind_held(query: Binding, held: &[Held]) -> Binding {
    bind_columns!(
        query,
        held,
        |held| uuid(held.section_id),
        |held| held.expires_at.unix_ms(),
        |held| uuid(held.booking_id),
    )
}

fn bind_log(query: Binding, entries: &[LogEntry]) -> Binding {
    bind_columns!(
        query,
        entries,
        |entry| entry.at.unix_ms(),
        |entry| entry.kind.as_str(),
        |entry| uuid(entry.section_id),
        |entry| entry.booking_id.map(uuid),
        |entry| entry.deltas.capacity,
        |entry| entry.deltas.held,
        |entry| entry.deltas.sold,
        |entry| entry.deltas.blocked,
        |entry| entry.version,
        |entry| ms(entry.expires_at),
        |entry| entry.reason.as_deref().map(str::to_owned),
    )
}

/// Appends to the log.
pub(super) async fn append_log(
    session: &mut PgConnection,
    entries: &[LogEntry],
) -> Result<(), Interrupt> {
    const SQL: &str = "INSERT INTO booking_log (at, kind, section_id, booking_id, capacity, held,
            sold, blocked, version, expires_at, reason)
        SELECT * FROM UNNEST($1::bigint[], $2::text[], $3::uuid[], $4::uuid[], $5::bigint[],
            $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::text[])";
    bind_log(sqlx::query(SQL), entries).execute(session).await?;
    Ok(())
}

/// Settles the claims: those of refused holds go, and a key whose first hold was refused and whose
/// second was not names the second.
async fn write_keys(
    session: &mut PgConnection,
    changes: &Changes,
    mut claims: BTreeMap<Key, KeyUse>,
) -> Result<(), Interrupt> {
    const DELETE: &str = "DELETE FROM hold_keys k USING UNNEST($1::uuid[], $2::text[])
        AS n (user_id, key) WHERE k.user_id = n.user_id AND k.key = n.key";
    const INSERT: &str = "INSERT INTO hold_keys (user_id, key, booking_id, fingerprint)
        SELECT * FROM UNNEST($1::uuid[], $2::text[], $3::uuid[], $4::bigint[])";
    let mut renamed = Vec::new();
    for (user_id, key, used) in &changes.keys {
        let name = (*user_id, key.clone());
        if claims.get(&name) == Some(used) {
            claims.remove(&name);
        } else {
            renamed.push((name, used));
        }
    }
    if !claims.is_empty() {
        let query = sqlx::query(DELETE)
            .bind(uuids(claims.keys().map(|(user_id, _)| user_id)))
            .bind(claims.keys().map(|(_, key)| key.as_str().to_owned()).collect::<Vec<_>>());
        query.execute(&mut *session).await?;
    }
    if !renamed.is_empty() {
        let query = bind_columns!(
            sqlx::query(INSERT),
            renamed,
            |((user_id, _), _)| uuid(user_id),
            |((_, key), _)| key.as_str().to_owned(),
            |(_, used)| uuid(used.booking_id),
            |(_, used)| used.fingerprint,
        );
        query.execute(session).await?;
    }
    Ok(())
}

/// Writes inventories whose next expiry the index has to tell, after it was written.
async fn recount(
    session: &mut PgConnection,
    inventories: &[Counted<'_>],
) -> Result<NextExpiries, Interrupt> {
    const SQL: &str = "UPDATE inventory i SET capacity = n.capacity, held = n.held, sold = n.sold,
            blocked = n.blocked, version = n.version, next_expiry =
                (SELECT MIN(h.expires_at) FROM holds h WHERE h.section_id = n.section_id)
        FROM UNNEST($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[],
            $6::bigint[], $7::bigint[])
        AS n (section_id, capacity, held, sold, blocked, version, loaded)
        WHERE i.section_id = n.section_id AND i.version = n.loaded
        RETURNING i.section_id, i.next_expiry";
    if inventories.is_empty() {
        return Ok(NextExpiries::new());
    }
    let written = bind_inventories(sqlx::query(SQL), inventories).fetch_all(session).await?;
    if written.len() != inventories.len() {
        return Err(changed_under_its_lock().into());
    }
    let entry = |row: &PgRow| -> Result<_, Fault> {
        Ok((rows::section_id(row, "section_id")?, rows::maybe_instant(row, "next_expiry")?))
    };
    Ok(written.iter().map(entry).collect::<Result<_, _>>()?)
}

/// When the next live hold of a section ends after `changes`; `None` when the one that ended next was
/// removed, and the index of expiry has to be asked.
fn next_expiry(inventory: &Inventory, changes: &Changes) -> Option<Option<Timestamp>> {
    let here = |held: &&Held| held.section_id == inventory.section_id;
    let is_next = |held: &Held| inventory.next_expiry.is_none_or(|next| held.expires_at <= next);
    if changes.unheld.iter().filter(here).any(is_next) {
        return None;
    }
    let added = changes.held.iter().filter(here).map(|held| held.expires_at).min();
    Some(inventory.next_expiry.into_iter().chain(added).min())
}
