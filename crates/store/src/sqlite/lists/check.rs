//! Whether the lists have as many bookings as there are, each under its buyer and under its event.

use super::{DOING, IS_THERE};
use crate::rows::{Columns as _, log_entries};
use crate::sqlite::failed;
use engine::audit::Report;
use engine::{Fault, LogKind};
use futures_util::TryStreamExt as _;
use sqlx::SqliteConnection;

/// What a finding is reported under: it is no invariant, but what lists are read from.
const INDEX: &str = "index";

/// Compares the index with the bookings, in a transaction that sees one moment. Nothing, where the schema
/// has no index yet.
pub(in crate::sqlite) async fn check(
    snapshot: &mut SqliteConnection,
    report: &mut Report,
) -> Result<(), Fault> {
    const SEGMENTS: &str = "SELECT COALESCE(SUM(bookings), 0) AS bookings,
        COALESCE(MAX(through), 0) AS through FROM list_segments";
    const ENTRIES: &str = "SELECT COUNT(*) AS entries,
            COALESCE(SUM(b.user_id = x.list_id), 0) AS by_buyer,
            COALESCE(SUM(b.event_id = x.list_id), 0) AS by_event,
            COALESCE(SUM(x.booking_id > s.newest), 0) AS overlooked
        FROM list_segments s CROSS JOIN booking_lists x USING (segment)
            LEFT JOIN bookings b ON b.booking_id = x.booking_id";
    const LATER: &str = "SELECT * FROM booking_log WHERE seq > ? AND kind IN ('held', 'run')";
    const BOOKINGS: &str = "SELECT COUNT(*) AS found FROM bookings";
    let one = async |snapshot: &mut SqliteConnection, sql: &'static str| {
        sqlx::query(sql).fetch_one(snapshot).await.map_err(failed(DOING))
    };
    if one(snapshot, IS_THERE).await?.int("found")? == 0 {
        return Ok(());
    }
    let segments = one(snapshot, SEGMENTS).await?;
    let (listed, through) = (segments.int("bookings")?, segments.int("through")?);
    let entries = one(snapshot, ENTRIES).await?;
    let (by_buyer, by_event) = (entries.int("by_buyer")?, entries.int("by_event")?);
    let unsound = entries.int("entries")? - by_buyer - by_event;
    let overlooked = entries.int("overlooked")?;
    let stored = one(snapshot, BOOKINGS).await?.int("found")?;
    let mut later = 0;
    let mut rows = sqlx::query(LATER).bind(through).fetch(&mut *snapshot);
    while let Some(row) = rows.try_next().await.map_err(failed(DOING))? {
        let is_first = |entry: &engine::LogEntry| {
            entry.kind == LogKind::Held && entry.booking_version.is_some()
        };
        later += log_entries(&row)?.filter(is_first).map(|_| 1).sum::<i64>();
    }
    if unsound != 0 {
        report.tell(INDEX, format!("{unsound} entries of lists name no booking of that list"));
    }
    if overlooked != 0 {
        let what = "entries of lists are newer than what their segment says is its newest";
        report.tell(INDEX, format!("{overlooked} {what}"));
    }
    if [by_buyer, by_event] != [listed; 2] || listed + later != stored {
        report.tell(
            INDEX,
            format!(
                "of {stored} bookings, {by_buyer} are listed by buyer and {by_event} by event in \
                 segments of {listed}, and {later} were made later"
            ),
        );
    }
    Ok(())
}
