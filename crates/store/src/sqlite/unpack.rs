//! Plain rows in place of runs, for a schema that has none.

use super::columns::insert;
use super::writer::Writing;
use crate::rows::{self, Columns as _, actor_kind, detail_text, ms};
use engine::{Actor, BookingId, Fault, LogEntry};

const DOING: &str = "unpacking the log";

/// Replaces each run of the log by a row for each of its entries. Rows behind the first run get later
/// numbers, in the same order.
pub(super) fn unpack(writing: &Writing<'_>) -> Result<(), Fault> {
    const FIRST: &str =
        "SELECT COALESCE(MIN(seq), 0) AS first FROM booking_log WHERE entries IS NOT NULL";
    const MAKE: &str = "CREATE TABLE unpacked_log AS SELECT * FROM booking_log WHERE seq < 0";
    const RUNS: &str = "SELECT * FROM booking_log WHERE entries IS NOT NULL ORDER BY seq";
    const EMPTY: &str = "DELETE FROM booking_log WHERE seq >= ?";
    const FILL: &str = "INSERT INTO booking_log SELECT * FROM unpacked_log ORDER BY seq";
    let first = writing.whole(DOING, FIRST, (), |row| row.int("first"))?;
    if first == 0 {
        return Ok(());
    }
    writing.run_whole(DOING, MAKE, ())?;
    // By how much numbers rise, and up to which row all is copied.
    let (mut shift, mut copied) = (0, first - 1);
    writing.each_whole(DOING, RUNS, (), |row| {
        let seq = row.int("seq")?;
        copy(writing, shift, copied, seq)?;
        let entries: Vec<_> = (seq + shift..).zip(rows::log_entries(row)?).collect();
        put(writing, &entries)?;
        shift += i64::try_from(entries.len()).expect("a bounded number") - 1;
        copied = seq;
        Ok(())
    })?;
    copy(writing, shift, copied, i64::MAX)?;
    writing.run(DOING, EMPTY, [first])?;
    writing.run_whole(DOING, FILL, ())?;
    writing.run_whole(DOING, "DROP TABLE unpacked_log", ())
}

/// Copies the rows between two that are none of them.
fn copy(writing: &Writing<'_>, shift: i64, after: i64, before: i64) -> Result<(), Fault> {
    const SQL: &str = "INSERT INTO unpacked_log SELECT seq + ?1, at, kind, section_id, event_id,
            booking_id, booking_version, capacity, held, sold, blocked, version, expires_at, reason,
            detail, actor_kind, actor, entries
        FROM booking_log WHERE seq > ?2 AND seq < ?3";
    if after + 1 < before {
        writing.run(DOING, SQL, (shift, after, before))?;
    }
    Ok(())
}

fn put(writing: &Writing<'_>, entries: &[(i64, LogEntry)]) -> Result<(), Fault> {
    insert!(writing, DOING, "unpacked_log", entries, |row| {
        seq: row.0,
        at: row.1.at.unix_ms(),
        kind: row.1.kind.as_str(),
        section_id: row.1.subject.section_id().map(|id| *id.as_bytes()),
        booking_id: row.1.booking_id.as_ref().map(BookingId::as_bytes),
        booking_version: row.1.booking_version,
        capacity: row.1.deltas.capacity,
        held: row.1.deltas.held,
        sold: row.1.deltas.sold,
        blocked: row.1.deltas.blocked,
        version: row.1.version,
        expires_at: ms(row.1.expires_at),
        detail: row.1.detail.as_deref().map(detail_text),
        actor_kind: actor_kind(row.1.actor),
        actor: row.1.actor.and_then(Actor::uuid).map(uuid::Uuid::into_bytes),
    })
    .map(drop)
}
