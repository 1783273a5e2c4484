//! In debug builds the plan of each statement is looked at once: none may read a table as a whole.

use parking_lot::Mutex;
use rusqlite::Connection;
use std::collections::HashSet;
use std::sync::LazyLock;

static SEEN: LazyLock<Mutex<HashSet<&'static str>>> = LazyLock::new(Mutex::default);

pub(super) fn assert_by_index(connection: &Connection, sql: &'static str) -> rusqlite::Result<()> {
    if SEEN.lock().contains(sql) {
        return Ok(());
    }
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
    let mut steps = statement.raw_query();
    while let Some(row) = steps.next()? {
        let step: String = row.get("detail")?;
        assert!(!step.starts_with("SCAN ") && !step.contains("AUTOMATIC"), "{step}, for {sql}");
    }
    SEEN.lock().insert(sql);
    Ok(())
}
