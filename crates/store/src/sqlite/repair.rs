//! Repairing a section, inside the one write transaction.

use super::seats::{layout_row, put_marks};
use super::writer::Writing;
use crate::maps;
use crate::maps::contradiction;
use crate::rows::{self, Columns as _, Sums, seat_taken};
use engine::decide::ExpiryEntry;
use engine::repair::{Records, Repair, SeatRecords};
use engine::{BookingId, Error, Fault, Inventory, Refusal, SectionId};

const DOING: &str = "repairing a section";

/// Repairs a section; returns what was wrong.
pub(super) fn repair(
    writing: &Writing<'_>,
    section_id: SectionId,
    dry_run: bool,
) -> Result<Vec<String>, Error> {
    let records = load(writing, section_id)?;
    let repair = records.repair();
    let repair = repair.map_err(|found| contradiction(section_id, &found.join("; ")))?;
    if !dry_run && !repair.told.is_empty() {
        write(writing, section_id, &repair)?;
    }
    Ok(repair.told)
}

fn load(writing: &Writing<'_>, section_id: SectionId) -> Result<Records, Error> {
    const INVENTORY: &str = "SELECT * FROM inventory WHERE section_id = ?";
    const FOLDED: &str = "SELECT COUNT(*) AS entries, COUNT(entries) AS runs,
            COALESCE(SUM(capacity), 0) AS capacity, COALESCE(SUM(held), 0) AS held,
            COALESCE(SUM(sold), 0) AS sold, COALESCE(SUM(blocked), 0) AS blocked,
            ?1 AS section_id
        FROM booking_log WHERE section_id = ?1";
    const RUNS: &str = "SELECT * FROM booking_log WHERE section_id = ? AND entries IS NOT NULL";
    const BOOKINGS: &str =
        "SELECT * FROM bookings WHERE event_id = ? AND status IN ('HOLD', 'CONFIRMED')";
    const HOLDS: &str = "SELECT * FROM holds WHERE section_id = ?";
    const TAKEN: &str = "SELECT * FROM seats_taken WHERE section_id = ?";
    const MARKS: &str = "SELECT marks FROM seat_marks WHERE section_id = ?";
    let id = [section_id.as_bytes()];
    let inventory = writing.one(DOING, INVENTORY, id, |row| rows::inventory(row))?;
    let inventory = inventory.ok_or(Refusal::NotFound { what: "section" })?;
    let mut sums = Sums::of(std::slice::from_ref(&inventory));
    writing.whole(DOING, FOLDED, id, |row| sums.add(row, true))?;
    if sums.has_runs() {
        writing.each_whole(DOING, RUNS, id, |row| sums.add_run(row, true))?;
    }
    let folded = sums.of_one();
    // From the table itself: what is repaired may be wrong elsewhere, too.
    let event = [inventory.event_id.as_bytes()];
    let mut bookings = Vec::new();
    writing.each_whole(DOING, BOOKINGS, event, |row| {
        let booking = rows::booking(row)?;
        if booking.sections().any(|(here, _)| here == section_id) {
            bookings.push(booking);
        }
        Ok(())
    })?;
    let mut holds: Vec<ExpiryEntry> = Vec::new();
    writing.each_whole(DOING, HOLDS, id, |row| {
        holds.push(rows::held(row)?);
        Ok(())
    })?;
    let seats = match layout_row(writing, section_id)? {
        None => None,
        Some(layout) => Some(SeatRecords {
            layout,
            // Unreadable marks are none.
            marks: writing
                .one(DOING, MARKS, id, |row| maps::readable_marks(row.bytes("marks")?))?
                .flatten(),
            taken: writing
                .all(DOING, TAKEN, id, |row| seat_taken(row).map(|(_, seat, by)| (seat, by)))?,
        }),
    };
    Ok(Records { inventory, folded, bookings, holds, seats })
}

fn write(writing: &Writing<'_>, section_id: SectionId, repair: &Repair) -> Result<(), Fault> {
    const COUNTED: &str = "UPDATE inventory SET capacity = ?2, held = ?3, sold = ?4, blocked = ?5,
        version = ?6, next_expiry = ?7 WHERE section_id = ?1";
    const UNHELD: &str = "DELETE FROM holds WHERE section_id = ?";
    const HELD: &str =
        "INSERT INTO holds (section_id, expires_at, booking_id, seats) VALUES (?, ?, ?, ?)";
    const FREED: &str = "DELETE FROM seats_taken WHERE section_id = ?";
    const TAKEN: &str = "INSERT INTO seats_taken (section_id, seat, booking_id) VALUES (?, ?, ?)";
    const LAID: &str = "UPDATE sections SET layout_version = ?2 WHERE section_id = ?1";
    let Inventory { capacity, held, sold, blocked, version, next_expiry, .. } = repair.inventory;
    let id = section_id.as_bytes();
    let counted = (id, capacity, held, sold, blocked, version, rows::ms(next_expiry));
    writing.run(DOING, COUNTED, counted)?;
    writing.run_whole(DOING, UNHELD, [id])?;
    writing.run_all(DOING, HELD, &repair.holds, |held| {
        (id, held.expires_at.unix_ms(), held.booking_id.as_bytes(), held.seats)
    })?;
    if let Some((map, taken)) = &repair.seats {
        writing.run(DOING, FREED, [id])?;
        let taken: Vec<_> = taken.iter().collect();
        writing.run_all(DOING, TAKEN, &taken, |(seat, by)| {
            (id, &***seat, by.as_ref().map(BookingId::as_bytes))
        })?;
        put_marks(writing, section_id, &map.marks())?;
        writing.run(DOING, LAID, (id, map.layout_version()))?;
    }
    Ok(())
}
