//! Plain rows in place of runs, for a schema that has none.

use super::columns::{self, Places, columns};
use super::interrupt::Interrupt;
use super::rows::uuid;
use super::write::{Sql, made};
use crate::rows::{self, Columns as _, actor_kind, detail_text, ms};
use engine::{Actor, LogEntry};
use sqlx::Executor as _;
use sqlx::postgres::PgConnection;

/// Runs that are read at once.
const RUNS_AT_ONCE: i64 = 500;

/// An entry of a run as a row of its own.
pub(super) struct Unpacked {
    seq: i64,
    /// The transaction of the run.
    transaction: i64,
    entry: LogEntry,
}

columns!(
    /// A row of the log with the number that it gets.
    UNPACKED of Unpacked {
        seq bigint => |row| row.seq,
        transaction bigint => |row| row.transaction,
        at bigint => |row| row.entry.at.unix_ms(),
        kind text => |row| row.entry.kind.as_str(),
        section_id uuid => |row| row.entry.subject.section_id().map(uuid),
        booking_id uuid => |row| row.entry.booking_id.map(uuid),
        booking_version bigint => |row| row.entry.booking_version,
        capacity bigint => |row| row.entry.deltas.capacity,
        held bigint => |row| row.entry.deltas.held,
        sold bigint => |row| row.entry.deltas.sold,
        blocked bigint => |row| row.entry.deltas.blocked,
        version bigint => |row| row.entry.version,
        expires_at bigint => |row| ms(row.entry.expires_at),
        detail text => |row| row.entry.detail.as_deref().map(detail_text),
        actor_kind bigint => |row| actor_kind(row.entry.actor),
        actor uuid => |row| row.entry.actor.and_then(Actor::uuid),
    }
);

/// Replaces each run of the log by a row for each of its entries, in a transaction of its own. Rows
/// behind the first run get later numbers, in the same order.
pub(super) async fn unpack(session: &mut PgConnection) -> Result<(), Interrupt> {
    const FIRST: &str =
        "SELECT COALESCE(MIN(seq), 0) AS first FROM booking_log WHERE entries IS NOT NULL";
    const RUNS: &str = "SELECT * FROM booking_log WHERE entries IS NOT NULL AND seq > $1
        ORDER BY seq LIMIT $2";
    const EMPTY: &str = "DELETE FROM booking_log WHERE seq >= $1";
    const FILL: &str = "INSERT INTO booking_log OVERRIDING SYSTEM VALUE
        SELECT * FROM unpacked_log ORDER BY seq";
    const NUMBER: &str = "SELECT setval('booking_log_seq_seq', MAX(seq)) FROM booking_log";
    static INSERT: Sql =
        Sql::new(|| made(UNPACKED.insert("unpacked_log", &[], &mut Places::default())));
    session.execute("BEGIN").await?;
    let first = sqlx::query(FIRST).fetch_one(&mut *session).await?.int("first")?;
    if first == 0 {
        session.execute("COMMIT").await?;
        return Ok(());
    }
    session.execute("CREATE TABLE unpacked_log (LIKE booking_log)").await?;
    // By how much numbers rise, and up to which row all is copied.
    let (mut shift, mut copied) = (0, first - 1);
    loop {
        let query = sqlx::query(RUNS).bind(copied).bind(RUNS_AT_ONCE);
        let runs = query.fetch_all(&mut *session).await?;
        for row in &runs {
            let (seq, transaction) = (row.int("seq")?, row.int("transaction")?);
            copy(session, shift, copied, seq).await?;
            let entries = (seq + shift..).zip(rows::log_entries(row)?);
            let unpacked: Vec<_> =
                entries.map(|(seq, entry)| Unpacked { seq, transaction, entry }).collect();
            columns::run(session, *INSERT, &UNPACKED, &unpacked).await?;
            shift += i64::try_from(unpacked.len()).expect("a bounded number") - 1;
            copied = seq;
        }
        if runs.is_empty() {
            break;
        }
    }
    copy(session, shift, copied, i64::MAX).await?;
    sqlx::query(EMPTY).bind(first).execute(&mut *session).await?;
    session.execute(FILL).await?;
    session.execute("DROP TABLE unpacked_log").await?;
    session.execute(NUMBER).await?;
    session.execute("COMMIT").await?;
    Ok(())
}

/// Copies the rows between two that are none of them.
async fn copy(
    session: &mut PgConnection,
    shift: i64,
    after: i64,
    before: i64,
) -> Result<(), Interrupt> {
    const SQL: &str = "INSERT INTO unpacked_log (seq, transaction, at, kind, section_id, event_id,
            booking_id, booking_version, capacity, held, sold, blocked, version, expires_at, reason,
            detail, actor_kind, actor)
        SELECT seq + $1, transaction, at, kind, section_id, event_id,
            booking_id, booking_version, capacity, held, sold, blocked, version, expires_at, reason,
            detail, actor_kind, actor
        FROM booking_log WHERE seq > $2 AND seq < $3";
    if after + 1 < before {
        sqlx::query(SQL).bind(shift).bind(after).bind(before).execute(session).await?;
    }
    Ok(())
}
