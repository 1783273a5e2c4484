//! How readers ask for lists of things, and the columns of what comes back.

use crate::rows::{Columns, unreadable};
use engine::Fault;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Row, Sqlite as Driver, SqliteConnection};
use std::fmt::Write as _;

pub(super) type Binding = Query<'static, Driver, SqliteArguments>;

/// Finds a booking.
pub(super) const BOOKING_BY_ID: &str = "SELECT * FROM bookings WHERE booking_id = ?";

/// Binds an id.
pub(super) fn bind_id<Id: AsRef<[u8]>>(query: Binding, id: &Id) -> Binding {
    query.bind(id.as_ref().to_vec())
}

/// The maximum number of rows bound into one statement: 13 columns of it stay far below SQLite's
/// 32,766 values.
const ROWS_PER_STATEMENT: usize = 512;

/// Runs `sql`, whose `{}` becomes `VALUES (?,…),(?,…)`, for all `rows`, and returns what it
/// selects.
///
/// Statements come in few sizes (powers of two), so that each is prepared once per connection.
pub(super) async fn read_rows<T>(
    connection: &mut SqliteConnection,
    sql: &'static str,
    columns: usize,
    rows: &[T],
    bind: impl Fn(Binding, &T) -> Binding,
) -> Result<Vec<SqliteRow>, sqlx::Error> {
    let mut found = Vec::new();
    for chunk in powers_of_two(rows) {
        let statement = statement(sql, columns, chunk.len());
        #[cfg(debug_assertions)]
        plan::assert_by_index(connection, &statement).await?;
        let query = chunk.iter().fold(sqlx::query(AssertSqlSafe(statement)), &bind);
        found.extend(query.fetch_all(&mut *connection).await?);
    }
    Ok(found)
}

/// Cuts `rows` into parts whose lengths are powers of two, the longest first.
fn powers_of_two<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let length = rows.len().min(ROWS_PER_STATEMENT).checked_ilog2().map(|power| 1 << power)?;
        let (chunk, rest) = rows.split_at(length);
        rows = rest;
        Some(chunk)
    })
}

fn statement(sql: &str, columns: usize, rows: usize) -> String {
    let (head, tail) = sql.split_once("{}").expect("the statement has a place for its values");
    let mut statement = String::with_capacity(sql.len() + rows * (columns * 2 + 2) + 8);
    let _ = write!(statement, "{head}VALUES ");
    for row in 0..rows {
        statement.push_str(if row == 0 { "(" } else { ",(" });
        for column in 0..columns {
            statement.push_str(if column == 0 { "?" } else { ",?" });
        }
        statement.push(')');
    }
    statement.push_str(tail);
    statement
}

/// In debug builds, each list of values is shown to the planner once: how it joins such a list
/// changes with its length, and no statement of a batch may read a table as a whole.
#[cfg(debug_assertions)]
mod plan {
    use parking_lot::Mutex;
    use sqlx::{AssertSqlSafe, Row as _, SqliteConnection};
    use std::collections::HashSet;
    use std::sync::LazyLock;

    static SEEN: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);

    pub(super) async fn assert_by_index(
        connection: &mut SqliteConnection,
        statement: &str,
    ) -> Result<(), sqlx::Error> {
        if SEEN.lock().contains(statement) {
            return Ok(());
        }
        let explained = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
        for row in sqlx::query(explained).fetch_all(connection).await? {
            let step: String = row.try_get("detail")?;
            // The list itself, by its names or without one.
            let is_list = ["wanted", "new"].contains(&step.trim_start_matches("SCAN "))
                || step.contains("CONSTANT ROW")
                || step.contains("VALUES CLAUSE");
            let reads_all = step.starts_with("SCAN ") && !is_list;
            assert!(!reads_all && !step.contains("AUTOMATIC"), "{step}, for {statement:.300}");
        }
        SEEN.lock().insert(statement.to_owned());
        Ok(())
    }
}

impl Columns for SqliteRow {
    fn int(&self, column: &'static str) -> Result<i64, Fault> {
        self.try_get(column).map_err(unreadable(column))
    }

    fn maybe_int(&self, column: &'static str) -> Result<Option<i64>, Fault> {
        self.try_get(column).map_err(unreadable(column))
    }

    fn flag(&self, column: &'static str) -> Result<bool, Fault> {
        self.try_get(column).map_err(unreadable(column))
    }

    fn text(&self, column: &'static str) -> Result<&str, Fault> {
        self.try_get(column).map_err(unreadable(column))
    }

    fn maybe_text(&self, column: &'static str) -> Result<Option<&str>, Fault> {
        self.try_get(column).map_err(unreadable(column))
    }

    fn id(&self, column: &'static str) -> Result<[u8; 16], Fault> {
        self.bytes(column)?.try_into().map_err(|_| no_id(column))
    }

    fn maybe_id(&self, column: &'static str) -> Result<Option<[u8; 16]>, Fault> {
        let bytes: Option<&[u8]> = self.try_get(column).map_err(unreadable(column))?;
        bytes.map(TryInto::try_into).transpose().map_err(|_| no_id(column))
    }

    fn maybe_bytes(&self, column: &'static str) -> Result<Option<&[u8]>, Fault> {
        self.try_get(column).map_err(unreadable(column))
    }

    fn bytes(&self, column: &'static str) -> Result<&[u8], Fault> {
        self.try_get(column).map_err(unreadable(column))
    }
}

fn no_id(column: &'static str) -> Fault {
    Fault::Corrupt { what: format!("column {column} holds no id") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::Connection as _;

    #[test]
    fn lists_are_bound_in_few_sizes_and_whole() {
        let rows: Vec<u32> = (0..1_300).collect();
        let parts: Vec<_> = powers_of_two(&rows).map(<[u32]>::len).collect();
        assert_eq!(parts, [512, 512, 256, 16, 4]);
        assert_eq!(powers_of_two(&rows).flatten().copied().collect::<Vec<_>>(), rows);
        assert_eq!(powers_of_two::<u32>(&[]).count(), 0);
        assert_eq!(statement("a {} b", 2, 3), "a VALUES (?,?),(?,?),(?,?) b");
    }

    /// The planner that is free to make an index for a long list reads the table as a whole.
    #[tokio::test]
    #[should_panic(expected = "SCAN bookings")]
    async fn a_statement_that_reads_a_whole_table_is_caught() {
        const SQL: &str = "WITH new (id, n) AS ({}) UPDATE bookings SET n = new.n
            FROM new WHERE bookings.id = new.id RETURNING id";
        let mut connection = SqliteConnection::connect(":memory:").await.expect("it opens");
        let table = "CREATE TABLE bookings (id BLOB NOT NULL PRIMARY KEY, n INTEGER) WITHOUT ROWID";
        sqlx::query(table).execute(&mut connection).await.expect("it is made");
        let rows = vec![0_i64; 512];
        let bind = |query: Binding, row: &i64| query.bind(vec![0_u8]).bind(*row);
        let _ = read_rows(&mut connection, SQL, 2, &rows, bind).await;
    }
}
