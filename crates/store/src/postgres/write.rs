//! Writing what a batch changes, in few statements, each with arrays for its rows.

use super::columns::{self, Places, columns};
use super::interrupt::{Interrupt, is_seat_taken};
use super::rows::{uuid, uuids};
use super::seats::write_seats;
use crate::batch::{Counted, Key, NextExpiries, counted, settled_keys};
use crate::rows::{self, Columns as _, actor_kind, detail_text, items_text, ms};
use engine::decide::{ExpiryEntry, SeatTaken};
use engine::log::{LogRow, rows_of};
use engine::seats::Marks;
use engine::{
    Actor, Booking, Changes, EventId, Fault, IdempotencyKey, KeyUse, LogEntry, SectionId, UserId,
};
use sqlx::postgres::{PgConnection, PgRow};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// Writes what a batch changes; `counting` are the events whose live bookings are listed by buyer,
/// `claims` the keys that it has claimed, and `stamp` is that of the marks.
/// Returns the next expiry of every section it touched.
pub(super) async fn write(
    session: &mut PgConnection,
    changes: &Changes,
    counting: &BTreeSet<EventId>,
    claims: BTreeMap<Key, KeyUse>,
    stamp: i64,
) -> Result<NextExpiries, Interrupt> {
    let (known, recounted) = counted(changes);
    write_seats(session, changes, stamp).await?;
    write_rows(session, changes, counting, &known, stamp).await?;
    write_keys(session, changes, claims).await?;
    let mut next_expiries = recount(session, &recounted).await?;
    let known = known.iter().map(|Counted { inventory, .. }| inventory);
    next_expiries.extend(known.map(|of| (of.section_id, of.next_expiry)));
    Ok(next_expiries)
}

columns!(
    /// A booking.
    BOOKING of Booking {
        booking_id uuid => |booking| uuid(booking.booking_id),
        user_id uuid => |booking| uuid(booking.user_id),
        event_id uuid => |booking| uuid(booking.event_id),
        items text => |booking| items_text(&booking.items),
        sections text => sections_text,
        seats bigint => |booking| i64::from(booking.seats()),
        status text => |booking| booking.status.as_str(),
        expires_at bigint => |booking| booking.expires_at.unix_ms(),
        max_expires_at bigint => |booking| booking.max_expires_at.unix_ms(),
        confirmed_at bigint => |booking| ms(booking.confirmed_at),
        cancelled_at bigint => |booking| ms(booking.cancelled_at),
        created_at bigint => |booking| booking.created_at.unix_ms(),
        updated_at bigint => |booking| booking.updated_at.unix_ms(),
        version bigint => |booking| booking.version,
    }
);
columns!(
    /// What a step changes of a booking.
    STEP of Booking {
        booking_id uuid => |booking| uuid(booking.booking_id),
        status text => |booking| booking.status.as_str(),
        expires_at bigint => |booking| booking.expires_at.unix_ms(),
        confirmed_at bigint => |booking| ms(booking.confirmed_at),
        cancelled_at bigint => |booking| ms(booking.cancelled_at),
        updated_at bigint => |booking| booking.updated_at.unix_ms(),
        version bigint => |booking| booking.version,
    }
);
columns!(
    /// Which entry of the index of expiry it is.
    ENTRY of ExpiryEntry {
        section_id uuid => |held| uuid(held.section_id),
        expires_at bigint => |held| held.expires_at.unix_ms(),
        booking_id uuid => |held| uuid(held.booking_id),
    }
);
columns!(
    /// An entry of the index of expiry.
    HELD of ExpiryEntry {
        section_id uuid => |held| uuid(held.section_id),
        expires_at bigint => |held| held.expires_at.unix_ms(),
        booking_id uuid => |held| uuid(held.booking_id),
        seats bigint => |held| i64::from(held.seats),
    }
);
columns!(
    /// A row of the log; its number is given by the database.
    LOG of LogRow {
        at bigint => |row| row.at().unix_ms(),
        kind text => LogRow::kind,
        section_id uuid => |row| row.section_id().map(uuid),
        event_id uuid => |row| row.one().and_then(|of| of.subject.event_id()).map(uuid),
        booking_id uuid => |row| row.one().and_then(|of| of.booking_id).map(uuid),
        booking_version bigint => |row| row.one().and_then(|of| of.booking_version),
        capacity bigint => |row| row.deltas().capacity,
        held bigint => |row| row.deltas().held,
        sold bigint => |row| row.deltas().sold,
        blocked bigint => |row| row.deltas().blocked,
        version bigint => LogRow::version,
        expires_at bigint => |row| row.one().and_then(|of| ms(of.expires_at)),
        reason text => |row| row.one().and_then(|of| of.reason.as_deref()).map(str::to_owned),
        detail text => |row| row.one().and_then(|of| of.detail.as_deref()).map(detail_text),
        actor_kind bigint => |row| row.one().and_then(|of| actor_kind(of.actor)),
        actor uuid => |row| row.one().and_then(|of| of.actor).and_then(Actor::uuid),
        entries bytea => |row| row.entries().map(<[u8]>::to_vec),
    }
);
columns!(
    /// The counters of a section, behind the version that they were loaded with, and its next expiry. One
    /// list: a join of two would compare each row with each.
    INVENTORY of Counted {
        section_id uuid => |counted| uuid(counted.inventory.section_id),
        loaded bigint => |counted| counted.loaded,
        next_expiry bigint => |counted| ms(counted.inventory.next_expiry),
        capacity bigint => |counted| counted.inventory.capacity,
        held bigint => |counted| counted.inventory.held,
        sold bigint => |counted| counted.inventory.sold,
        blocked bigint => |counted| counted.inventory.blocked,
        version bigint => |counted| counted.inventory.version,
    }
);
columns!(
    /// A numbered seat that somebody has.
    TAKEN of SeatTaken {
        section_id uuid => |taken| uuid(taken.section_id),
        seat text => |taken| taken.seat.to_string(),
        booking_id uuid => |taken| taken.booking_id.map(uuid),
    }
);
columns!(
    /// The marks of a section; their stamp is that of the batch.
    MARKS of (SectionId, Marks) {
        section_id uuid => |(section_id, _)| uuid(section_id),
        version bigint => |(_, marks)| marks.version(),
        marks bytea => |(_, marks)| marks.to_bytes(),
    }
);
columns!(
    /// A use of an idempotency key.
    KEY of (UserId, IdempotencyKey, KeyUse) {
        user_id uuid => |(user_id, _, _)| uuid(user_id),
        key text => |(_, key, _)| key.as_str().to_owned(),
        booking_id uuid => |(_, _, used)| uuid(used.booking_id),
        fingerprint bigint => |(_, _, used)| used.fingerprint,
    }
);

/// Columns of bookings that are bound as the text of an array.
pub(super) const CAST: &[(&str, &str)] = &[("sections", "uuid[]")];

/// Adds bookings. Behind their columns it takes the events whose live bookings are listed by buyer.
pub(super) fn insert_bookings(places: &mut Places) -> String {
    BOOKING.insert_and("bookings", CAST, "counted", places, |places| {
        format!("n.event_id = ANY({}::uuid[])", places.one())
    })
}

/// A statement that is made once.
pub(super) type Sql = LazyLock<&'static str>;

pub(super) fn made(sql: String) -> &'static str {
    sql.leak()
}

pub(super) static INSERT_LOG: Sql =
    Sql::new(|| made(LOG.insert("booking_log", &[], &mut Places::default())));
pub(super) static INSERT_KEYS: Sql =
    Sql::new(|| made(KEY.insert("hold_keys", &[], &mut Places::default())));

/// The counters of sections and their next expiry. The predicate on `version` proves that the row is the
/// one that was decided on.
pub(super) fn count_sql(places: &mut Places) -> String {
    let (counters, sets) = (INVENTORY.rows(places), INVENTORY.sets(2));
    format!(
        "UPDATE inventory i SET {sets} FROM {counters}
            WHERE i.section_id = n.section_id AND i.version = n.loaded"
    )
}

async fn write_rows(
    session: &mut PgConnection,
    changes: &Changes,
    counting: &BTreeSet<EventId>,
    inventories: &[Counted],
    stamp: i64,
) -> Result<(), Interrupt> {
    // One statement and one round trip for all of it; parts without rows cost nothing. The primary key of
    // seats_taken judges I3 again: a seat that somebody has cannot be written.
    static SQL: Sql = Sql::new(|| {
        let p = &mut Places::default();
        let (created, updated) = (insert_bookings(p), STEP.rows(p));
        let (unheld, held) = (ENTRY.rows(p), HELD.insert("holds", &[], p));
        let (logged, counted) = (LOG.insert("booking_log", &[], p), count_sql(p));
        let (taken, marked) = (TAKEN.insert("seats_taken", &[], p), MARKS.rows(p));
        let (step, marks, stamp) = (STEP.sets(1), MARKS.sets(1), p.one());
        made(format!(
            "WITH created AS ({created}),
            updated AS (UPDATE bookings b SET {step} FROM {updated}
                WHERE b.booking_id = n.booking_id RETURNING 1),
            unheld AS (DELETE FROM holds h USING {unheld} WHERE h.section_id = n.section_id
                AND h.expires_at = n.expires_at AND h.booking_id = n.booking_id),
            held AS ({held}),
            logged AS ({logged}),
            counted AS ({counted} RETURNING 1),
            taken AS ({taken}),
            marked AS (UPDATE seat_marks m SET {marks}, stamp = {stamp} FROM {marked}
                WHERE m.section_id = n.section_id)
            SELECT (SELECT count(*) FROM updated) AS updated,
                (SELECT count(*) FROM counted) AS counted"
        ))
    });
    let query = (BOOKING.bind)(sqlx::query(*SQL), &changes.created).bind(uuids(counting));
    let query = (STEP.bind)(query, &changes.updated);
    let query = (ENTRY.bind)(query, &changes.unheld);
    let query = (HELD.bind)(query, &changes.held);
    let query = (LOG.bind)(query, &rows_of(&changes.log));
    let query = (INVENTORY.bind)(query, inventories);
    let query = (TAKEN.bind)(query, &changes.taken);
    let query = (MARKS.bind)(query, &changes.marks);
    let row = query.bind(stamp).fetch_one(session).await.map_err(|error| {
        if is_seat_taken(&error) { Interrupt::SeatsDisagree } else { error.into() }
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

/// The sections of a booking as the text of an array: an array of arrays cannot be bound.
pub(super) fn sections_text(booking: &Booking) -> String {
    let sections: Vec<_> =
        booking.sections().map(|(section_id, _)| section_id.to_string()).collect();
    format!("{{{}}}", sections.join(","))
}

/// Appends to the log.
pub(super) async fn append_log(
    session: &mut PgConnection,
    entries: &[LogEntry],
) -> Result<(), Interrupt> {
    columns::run(session, *INSERT_LOG, &LOG, &rows_of(entries)).await.map(drop)
}

/// Settles the claims.
async fn write_keys(
    session: &mut PgConnection,
    changes: &Changes,
    claims: BTreeMap<Key, KeyUse>,
) -> Result<(), Interrupt> {
    const DELETE: &str = "DELETE FROM hold_keys k USING UNNEST($1::uuid[], $2::text[])
        AS n (user_id, key) WHERE k.user_id = n.user_id AND k.key = n.key";
    let (removed, added) = settled_keys(changes, claims);
    if !removed.is_empty() {
        let query = sqlx::query(DELETE)
            .bind(uuids(removed.iter().map(|(user_id, _)| user_id)))
            .bind(removed.iter().map(|(_, key)| key.as_str().to_owned()).collect::<Vec<_>>());
        query.execute(&mut *session).await?;
    }
    columns::run(session, *INSERT_KEYS, &KEY, &added).await.map(drop)
}

/// Writes inventories whose next expiry is read from the index, after it was written.
async fn recount(
    session: &mut PgConnection,
    inventories: &[Counted],
) -> Result<NextExpiries, Interrupt> {
    static SQL: Sql = Sql::new(|| {
        let p = &mut Places::default();
        let (counters, sets) = (INVENTORY.rows(p), INVENTORY.sets(3));
        made(format!(
            "UPDATE inventory i SET {sets}, next_expiry =
                (SELECT MIN(h.expires_at) FROM holds h WHERE h.section_id = n.section_id)
            FROM {counters} WHERE i.section_id = n.section_id AND i.version = n.loaded
            RETURNING i.section_id, i.next_expiry"
        ))
    });
    if inventories.is_empty() {
        return Ok(NextExpiries::new());
    }
    let query = (INVENTORY.bind)(sqlx::query(*SQL), inventories);
    let written = query.fetch_all(session).await?;
    if written.len() != inventories.len() {
        return Err(changed_under_its_lock().into());
    }
    let entry = |row: &PgRow| -> Result<_, Fault> {
        Ok((rows::section_id(row, "section_id")?, rows::maybe_instant(row, "next_expiry")?))
    };
    Ok(written.iter().map(entry).collect::<Result<_, _>>()?)
}
