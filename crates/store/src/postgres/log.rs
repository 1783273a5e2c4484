//! Reading the log: the reckoning, and the audit.

use super::interrupt::Interrupt;
use super::seats::{read_layout, read_marks};
use crate::rows::{self, Columns, log_entry, seat_taken};
use crate::slices::Slice;
use crate::{LogCursor, Reckoning};
use engine::audit::{Audit, Report};
use engine::{EventId, Fault, Inventory, SectionId};
use futures_util::TryStreamExt as _;
use sqlx::Executor as _;
use sqlx::postgres::{PgConnection, PgRow};
use std::collections::{HashMap, HashSet};

/// Everything that is read after this is of one moment, and nobody waits for it.
pub(super) const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

async fn all_inventories(session: &mut PgConnection) -> Result<Vec<Inventory>, Interrupt> {
    let found = sqlx::query("SELECT * FROM inventory").fetch_all(session).await?;
    Ok(found.iter().map(rows::inventory).collect::<Result<_, _>>()?)
}

/// Counters beside the log since `cursor`; inside a [`SNAPSHOT`].
pub(super) async fn reckon(
    session: &mut PgConnection,
    cursor: LogCursor,
) -> Result<Reckoning, Interrupt> {
    // Rows of transactions at or past the horizon may still get older neighbours.
    const SQL: &str = "WITH horizon AS
            (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xmin)
        SELECT l.section_id, l.transaction < horizon.xmin AS settled,
            MAX(l.transaction) AS transaction, COUNT(*) AS entries,
            SUM(l.capacity)::bigint AS capacity, SUM(l.held)::bigint AS held,
            SUM(l.sold)::bigint AS sold, SUM(l.blocked)::bigint AS blocked
        FROM booking_log l CROSS JOIN horizon WHERE (l.transaction, l.seq) > ($1, $2)
        GROUP BY l.section_id, l.transaction < horizon.xmin";
    const NEWEST: &str = "SELECT transaction, seq FROM booking_log
        WHERE transaction < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
        ORDER BY transaction DESC, seq DESC LIMIT 1";
    let inventories = all_inventories(session).await?;
    let query = sqlx::query(SQL).bind(cursor.transaction).bind(cursor.number);
    let found = query.fetch_all(&mut *session).await?;
    let newest = sqlx::query(NEWEST).fetch_optional(session).await?;
    let newest = newest.as_ref().map(|row| -> Result<_, Fault> {
        Ok(LogCursor { transaction: row.int("transaction")?, number: row.int("seq")? })
    });
    let cursor = newest.transpose()?.map_or(cursor, |newest| newest.max(cursor));
    let (mut folded, mut unsettled) = (Vec::new(), Vec::new());
    let events: HashMap<_, _> = inventories.iter().map(|of| (of.section_id, of.event_id)).collect();
    for row in &found {
        let settled: bool = sqlx::Row::try_get(row, "settled")?;
        let part = part(row, &events)?;
        if settled { folded.push(part) } else { unsettled.push(part) }
    }
    Ok(Reckoning { inventories, folded, unsettled, cursor })
}

fn part(row: &PgRow, events: &HashMap<SectionId, EventId>) -> Result<Inventory, Fault> {
    let section_id = rows::section_id(row, "section_id")?;
    let missing =
        || Fault::Corrupt { what: format!("section {section_id} has a log and no inventory") };
    let event_id = *events.get(&section_id).ok_or_else(missing)?;
    Ok(Inventory {
        capacity: row.int("capacity")?,
        held: row.int("held")?,
        sold: row.int("sold")?,
        blocked: row.int("blocked")?,
        version: row.int("entries")?,
        ..Inventory::empty(section_id, event_id)
    })
}

/// Checks everything that is stored, in the slices that `cut` makes for so many bookings; inside a
/// [`SNAPSHOT`].
pub(super) async fn audit(
    session: &mut PgConnection,
    cut: impl Fn(u64) -> Vec<Slice>,
) -> Result<Report, Interrupt> {
    // The vacuum may not clean up behind a snapshot, so it is held no longer than the reading takes;
    // no row is locked and no sale waits. The memory is for sorting a slice of the log.
    session.execute("SET LOCAL statement_timeout = 0; SET LOCAL work_mem = '64MB'").await?;
    let count = sqlx::query("SELECT count(*) AS bookings FROM bookings");
    let count = count.fetch_one(&mut *session).await?.int("bookings")?.unsigned_abs();
    let inventories = all_inventories(session).await?;
    let numbered = sqlx::query("SELECT section_id FROM sections WHERE layout_version IS NOT NULL");
    let numbered = numbered.fetch_all(&mut *session).await?;
    let numbered = numbered.iter().map(|row| rows::section_id(row, "section_id"));
    let numbered = numbered.collect::<Result<HashSet<_>, _>>()?;
    let mut report = Report::default();
    for slice in cut(count) {
        report.add(audit_slice(session, &slice, &inventories, &numbered).await?);
    }
    Ok(report)
}

/// Checks what is stored in `slice`.
async fn audit_slice(
    session: &mut PgConnection,
    slice: &Slice,
    inventories: &[Inventory],
    numbered: &HashSet<SectionId>,
) -> Result<Report, Interrupt> {
    // Within a section, numbers are given under its lock: they are in the order of its versions.
    const LOG: &str = "SELECT * FROM booking_log
        WHERE substring(uuid_send(section_id) FROM 7 FOR 2) >= $1
            AND substring(uuid_send(section_id) FROM 7 FOR 2) < $2 ORDER BY seq";
    const BOOKINGS: &str = "SELECT * FROM bookings
        WHERE substring(uuid_send(booking_id) FROM 7 FOR 2) >= $1
            AND substring(uuid_send(booking_id) FROM 7 FOR 2) < $2";
    const TAKEN: &str = "SELECT * FROM seats_taken
        WHERE substring(uuid_send(section_id) FROM 7 FOR 2) >= $1
            AND substring(uuid_send(section_id) FROM 7 FOR 2) < $2";
    let events: HashMap<_, _> = inventories.iter().map(|of| (of.section_id, of.event_id)).collect();
    let mut audit = Audit::default();
    {
        let query = sqlx::query(LOG).bind(slice.from.clone()).bind(slice.to.clone());
        let mut log = query.fetch(&mut *session);
        while let Some(row) = log.try_next().await? {
            let entry = log_entry(&row)?;
            audit.log_entry(&entry, events.get(&entry.section_id).copied());
        }
    }
    for inventory in inventories.iter().filter(|of| slice.contains(of.section_id)) {
        audit.inventory(inventory);
    }
    let query = sqlx::query(BOOKINGS).bind(slice.from.clone()).bind(slice.to.clone());
    {
        let mut bookings = query.fetch(&mut *session);
        while let Some(row) = bookings.try_next().await? {
            audit.booking(&rows::booking(&row)?);
        }
    }
    for inventory in inventories.iter().filter(|of| slice.contains(of.section_id)) {
        let section_id = inventory.section_id;
        if !numbered.contains(&section_id) {
            continue;
        }
        match (read_layout(session, section_id).await?, read_marks(session, section_id).await?) {
            (Some((_, layout)), Some(marks)) => audit.marks(inventory, &layout, &marks),
            _ => audit.no_marks(section_id),
        }
    }
    let query = sqlx::query(TAKEN).bind(slice.from.clone()).bind(slice.to.clone());
    let mut taken = query.fetch(session);
    while let Some(row) = taken.try_next().await? {
        let (section_id, seat, booking_id) = seat_taken(&row)?;
        audit.seat_taken(section_id, &seat, booking_id);
    }
    Ok(audit.finish())
}
