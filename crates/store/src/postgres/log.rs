//! Reading the log: the reckoning, and the audit.

use super::interrupt::Interrupt;
use crate::rows::{self, Columns, log_entry};
use crate::{LogCursor, Reckoning};
use engine::audit::{Audit, Report};
use engine::{EventId, Fault, Inventory, SectionId};
use futures_util::TryStreamExt as _;
use sqlx::Executor as _;
use sqlx::postgres::{PgConnection, PgRow};
use std::collections::HashMap;

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

/// Checks everything that is stored; inside a [`SNAPSHOT`].
pub(super) async fn audit(session: &mut PgConnection) -> Result<Report, Interrupt> {
    // The vacuum may not clean up behind a snapshot, so it is held no longer than the reading takes;
    // no row is locked and no sale waits.
    session.execute("SET LOCAL statement_timeout = 0").await?;
    let inventories = all_inventories(session).await?;
    let events: HashMap<_, _> = inventories.iter().map(|of| (of.section_id, of.event_id)).collect();
    let mut audit = Audit::default();
    {
        // Within a section, numbers are given under its lock: they are in the order of its versions.
        let mut log = sqlx::query("SELECT * FROM booking_log ORDER BY seq").fetch(&mut *session);
        while let Some(row) = log.try_next().await? {
            let entry = log_entry(&row)?;
            audit.log_entry(&entry, events.get(&entry.section_id).copied());
        }
    }
    for inventory in &inventories {
        audit.inventory(inventory);
    }
    let mut bookings = sqlx::query("SELECT * FROM bookings").fetch(&mut *session);
    while let Some(row) = bookings.try_next().await? {
        audit.booking(&rows::booking(&row)?);
    }
    Ok(audit.finish())
}
