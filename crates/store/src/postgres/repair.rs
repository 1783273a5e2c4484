//! Repairing a section, with its inventory row locked: nothing of it is sold meanwhile.

use super::batch::lock_inventory;
use super::interrupt::Interrupt;
use super::rows::{uuid, uuids};
use super::seats::{read_layout, read_marks};
use crate::maps::{contradiction, draw_stamp};
use crate::rows::{self, Sums, seat_taken};
use engine::decide::ExpiryEntry;
use engine::repair::{Records, Repair, SeatRecords};
use engine::{Booking, Fault, Inventory, Refusal, SectionId};
use futures_util::TryStreamExt as _;
use sqlx::postgres::PgConnection;
use std::collections::BTreeSet;

/// Repairs a section inside a transaction; returns what was wrong.
pub(super) async fn repair(
    session: &mut PgConnection,
    section_id: SectionId,
    dry_run: bool,
) -> Result<Vec<String>, Interrupt> {
    lock_inventory(session, &BTreeSet::from([section_id])).await?;
    let records = load(session, section_id).await?;
    let repair = records.repair();
    let repair = repair.map_err(|found| contradiction(section_id, &found.join("; ")))?;
    if !dry_run && !repair.told.is_empty() {
        write(session, section_id, &repair).await?;
    }
    Ok(repair.told)
}

async fn load(session: &mut PgConnection, section_id: SectionId) -> Result<Records, Interrupt> {
    const INVENTORY: &str = "SELECT * FROM inventory WHERE section_id = $1";
    const FOLDED: &str = "SELECT COUNT(*) AS entries, COUNT(entries) AS runs,
            COALESCE(SUM(capacity), 0)::bigint AS capacity,
            COALESCE(SUM(held), 0)::bigint AS held, COALESCE(SUM(sold), 0)::bigint AS sold,
            COALESCE(SUM(blocked), 0)::bigint AS blocked, $1::uuid AS section_id
        FROM booking_log WHERE section_id = $1";
    const RUNS: &str = "SELECT * FROM booking_log WHERE section_id = $1 AND entries IS NOT NULL";
    const BOOKINGS: &str = "SELECT * FROM bookings WHERE event_id = $1
        AND status IN ('HOLD', 'CONFIRMED') AND $2 = ANY(sections)";
    const HOLDS: &str = "SELECT * FROM holds WHERE section_id = $1";
    const TAKEN: &str = "SELECT * FROM seats_taken WHERE section_id = $1";
    let query = sqlx::query(INVENTORY).bind(uuid(section_id));
    let found = query.fetch_optional(&mut *session).await?;
    let found = found.ok_or(Refusal::NotFound { what: "section" })?;
    let inventory: Inventory = rows::inventory(&found)?;
    let query = sqlx::query(FOLDED).bind(uuid(section_id));
    let mut sums = Sums::of(std::slice::from_ref(&inventory));
    sums.add(&query.fetch_one(&mut *session).await?, true)?;
    if sums.has_runs() {
        let mut runs = sqlx::query(RUNS).bind(uuid(section_id)).fetch(&mut *session);
        while let Some(row) = runs.try_next().await? {
            sums.add_run(&row, true)?;
        }
    }
    let folded = sums.of_one();
    let query = sqlx::query(BOOKINGS).bind(uuid(inventory.event_id)).bind(uuid(section_id));
    let bookings: Vec<Booking> = rows::bookings(&query.fetch_all(&mut *session).await?)?;
    let query = sqlx::query(HOLDS).bind(uuid(section_id));
    let holds = query.fetch_all(&mut *session).await?;
    let holds = holds.iter().map(rows::held).collect::<Result<Vec<ExpiryEntry>, Fault>>()?;
    let seats = match read_layout(session, section_id).await? {
        None => None,
        Some(layout) => {
            let query = sqlx::query(TAKEN).bind(uuid(section_id));
            let taken = query.fetch_all(&mut *session).await?;
            let taken = taken.iter().map(|row| seat_taken(row).map(|(_, seat, by)| (seat, by)));
            let taken = taken.collect::<Result<Vec<_>, Fault>>()?;
            // Unreadable marks are none.
            let marks = match read_marks(session, section_id).await {
                Err(Interrupt::Failed(Fault::Corrupt { .. })) => None,
                marks => marks?,
            };
            Some(SeatRecords { layout, marks, taken })
        }
    };
    Ok(Records { inventory, folded, bookings, holds, seats })
}

async fn write(
    session: &mut PgConnection,
    section_id: SectionId,
    repair: &Repair,
) -> Result<(), Interrupt> {
    const COUNTED: &str = "UPDATE inventory SET capacity = $2, held = $3, sold = $4, blocked = $5,
        version = $6, next_expiry = $7 WHERE section_id = $1";
    const UNHELD: &str = "DELETE FROM holds WHERE section_id = $1";
    const HELD: &str = "INSERT INTO holds (section_id, expires_at, booking_id, seats)
        SELECT $1, * FROM UNNEST($2::bigint[], $3::uuid[], $4::bigint[])";
    const FREED: &str = "DELETE FROM seats_taken WHERE section_id = $1";
    const TAKEN: &str = "INSERT INTO seats_taken (section_id, seat, booking_id)
        SELECT $1, * FROM UNNEST($2::text[], $3::uuid[])";
    const MARKS: &str = "INSERT INTO seat_marks (section_id, version, marks, stamp)
        VALUES ($1, $2, $3, $4) ON CONFLICT (section_id) DO UPDATE SET
            version = excluded.version, marks = excluded.marks, stamp = excluded.stamp";
    const LAID: &str = "UPDATE sections SET layout_version = $2 WHERE section_id = $1";
    let Inventory { capacity, held, sold, blocked, version, next_expiry, .. } = repair.inventory;
    let id = uuid(section_id);
    let query = sqlx::query(COUNTED).bind(id).bind(capacity).bind(held).bind(sold).bind(blocked);
    query.bind(version).bind(rows::ms(next_expiry)).execute(&mut *session).await?;
    sqlx::query(UNHELD).bind(id).execute(&mut *session).await?;
    let query = sqlx::query(HELD)
        .bind(id)
        .bind(repair.holds.iter().map(|held| held.expires_at.unix_ms()).collect::<Vec<_>>())
        .bind(uuids(repair.holds.iter().map(|held| held.booking_id)))
        .bind(repair.holds.iter().map(|held| i64::from(held.seats)).collect::<Vec<_>>());
    query.execute(&mut *session).await?;
    if let Some((map, taken)) = &repair.seats {
        sqlx::query(FREED).bind(id).execute(&mut *session).await?;
        let query = sqlx::query(TAKEN)
            .bind(id)
            .bind(taken.keys().map(ToString::to_string).collect::<Vec<_>>())
            .bind(taken.values().map(|by| by.map(uuid)).collect::<Vec<_>>());
        query.execute(&mut *session).await?;
        let query = sqlx::query(MARKS)
            .bind(id)
            .bind(map.version())
            .bind(map.marks().to_bytes())
            .bind(draw_stamp());
        query.execute(&mut *session).await?;
        sqlx::query(LAID).bind(id).bind(map.layout_version()).execute(session).await?;
    }
    Ok(())
}
