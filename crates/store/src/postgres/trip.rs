//! A batch of holds in one statement: see [`crate::batch::OneTrip`].

use super::columns::{Places, columns};
use super::rows::{uuid, uuids};
use super::write::{BOOKING, HELD, INVENTORY, LOG, Sql, count_sql, insert_bookings, made};
use crate::batch::{BEHIND_MAX_MS, Found, Interrupt, KeptRow, OneTrip};
use crate::rows::{Columns as _, instant, ms};
use engine::EventId;
use engine::log::rows_of;
use sqlx::postgres::PgConnection;
use std::collections::BTreeSet;

columns!(
    /// What a section has to be, for a decision about it to hold.
    KEPT of KeptRow {
        section_id uuid => |row| uuid(row.section.section_id),
        capacity bigint => |row| row.inventory.capacity,
        held bigint => |row| row.inventory.held,
        sold bigint => |row| row.inventory.sold,
        blocked bigint => |row| row.inventory.blocked,
        version bigint => |row| row.inventory.version,
        next_expiry bigint => |row| ms(row.inventory.next_expiry),
        section_writer bigint => |row| row.writers.section,
        event_writer bigint => |row| row.writers.event,
    }
);

/// Commits what was decided, if the rows are those that were kept.
pub(super) async fn commit(
    session: &mut PgConnection,
    decided: &OneTrip,
) -> Result<Found, Interrupt> {
    static SQL: Sql = Sql::new(|| {
        let p = &mut Places::default();
        let (kept, rows, from, to) = (KEPT.rows(p), p.one(), p.one(), p.one());
        let (counted, counts) = (count_sql(p), p.one());
        // Each behind the counters: see above.
        let behind = |insert: String| format!("{insert} WHERE (SELECT is_written FROM written)");
        let created = behind(insert_bookings(p));
        let (held, logged) =
            (behind(HELD.insert("holds", &[], p)), behind(LOG.insert("booking_log", &[], p)));
        // `compared` reads the clock and the terms once a row is locked. That fewer rows are counted than
        // were locked and compared is impossible, and would be half a batch: 22012 division_by_zero.
        made(format!(
            "WITH kept AS MATERIALIZED (SELECT * FROM {kept}),
            locked AS MATERIALIZED (SELECT * FROM inventory
                WHERE section_id = ANY(ARRAY(SELECT section_id FROM kept))
                ORDER BY section_id FOR NO KEY UPDATE),
            compared AS MATERIALIZED (SELECT now_ms() AS now,
                (i.capacity, i.held, i.sold, i.blocked, i.version, i.next_expiry)
                    IS NOT DISTINCT FROM
                (k.capacity, k.held, k.sold, k.blocked, k.version, k.next_expiry) AS counters,
                terms_are_of(k.section_id, k.section_writer, k.event_writer) AS terms
                FROM locked i JOIN kept k USING (section_id)),
            found AS MATERIALIZED (SELECT COALESCE(MAX(now), now_ms()) AS now,
                count(*) FILTER (WHERE counters AND terms) = {rows} AS is_same FROM compared),
            counted AS ({counted} AND
                (SELECT is_same AND now >= {from} AND now <= {to} FROM found) RETURNING 1),
            written AS MATERIALIZED (SELECT CASE count(*) WHEN {counts} THEN true
                WHEN 0 THEN false ELSE 1 / (0 * count(*)) = 1 END AS is_written FROM counted),
            created AS ({created}),
            held AS ({held}),
            logged AS ({logged})
            SELECT now, is_same, is_written FROM found CROSS JOIN written"
        ))
    });
    let OneTrip { rows, now, changes, counted, .. } = decided;
    let number = |count: usize| i64::try_from(count).expect("a bounded number");
    let counting: BTreeSet<EventId> =
        rows.iter().filter(|row| row.counts_buyers).map(|row| row.section.event_id).collect();
    let query = (KEPT.bind)(sqlx::query(*SQL), rows).bind(number(rows.len()));
    let query = query.bind(now.unix_ms()).bind(now.plus_ms(BEHIND_MAX_MS).unix_ms());
    let query = (INVENTORY.bind)(query, counted).bind(number(counted.len()));
    let query = (BOOKING.bind)(query, &changes.created).bind(uuids(&counting));
    let query = (HELD.bind)(query, &changes.held);
    let query = (LOG.bind)(query, &rows_of(&changes.log));
    // Its end is the server's word that the transaction is over.
    let row = query.fetch_one(session).await?;
    Ok(Found {
        now: instant(&row, "now")?,
        is_same: row.flag("is_same")?,
        is_written: row.flag("is_written")?,
    })
}
