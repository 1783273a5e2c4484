//! Columns of rows that are written together: one list says their names, their types and their
//! values, and all else is made from it.
//!
//! A statement binds each column as one array, so that a batch of any size is one statement:
//! ```text
//! columns!(HELD of Held { section_id uuid => |held| …, expires_at bigint => |held| …, });
//! INSERT INTO holds (section_id, expires_at) SELECT * FROM UNNEST($1::uuid[], $2::bigint[])
//! ```

use super::interrupt::Interrupt;
use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::query::Query;

/// A statement of which some values are bound.
pub(super) type Binding = Query<'static, sqlx::Postgres, PgArguments>;

/// A list of columns.
pub(super) struct Columns<Row: 'static> {
    /// Their names, and the types of their values.
    pub list: &'static [(&'static str, &'static str)],
    /// Binds the values of rows, an array for each column.
    pub bind: fn(Binding, &[Row]) -> Binding,
}

/// Makes a list of columns: the name, the type and the value of each.
macro_rules! columns {
    ($(#[$doc:meta])* $name:ident of $row:ty { $($column:ident $kind:ident => $value:expr,)+ }) => {
        $(#[$doc])*
        pub(super) const $name: $crate::postgres::columns::Columns<$row> =
            $crate::postgres::columns::Columns {
                list: &[$((stringify!($column), stringify!($kind))),+],
                bind: |query, rows| {
                    query$(.bind(rows.iter().map($value).collect::<Vec<_>>()))+
                },
            };
    };
}
pub(super) use columns;

/// Numbers the arguments of a statement in the order in which its lists are written into it.
#[derive(Default)]
pub(super) struct Places(usize);

impl Places {
    /// The place of one more argument: `$7`.
    pub(super) fn one(&mut self) -> String {
        self.0 += 1;
        format!("${}", self.0)
    }
}

impl<Row> Columns<Row> {
    /// The columns, as a list for the parentheses after a table's name.
    pub(super) fn names(&self) -> String {
        let names: Vec<_> = self.list.iter().map(|(name, _)| *name).collect();
        names.join(", ")
    }

    /// Rows of these columns, from arguments: `UNNEST($1::uuid[], …) AS n (section_id, …)`.
    pub(super) fn rows(&self, places: &mut Places) -> String {
        let arrays: Vec<_> =
            self.list.iter().map(|(_, kind)| format!("{}::{kind}[]", places.one())).collect();
        format!("UNNEST({}) AS n ({})", arrays.join(", "), self.names())
    }

    /// `status = n.status, …`: all columns but the first `keys`, which identify the row.
    pub(super) fn sets(&self, keys: usize) -> String {
        let sets = self.list.iter().skip(keys).map(|(name, _)| format!("{name} = n.{name}"));
        sets.collect::<Vec<_>>().join(", ")
    }

    /// Adds the rows of arguments to a table. An array cannot be bound as a value of an array: what is
    /// one is bound as its text, and `cast` says its type.
    pub(super) fn insert(&self, table: &str, cast: &[(&str, &str)], places: &mut Places) -> String {
        let (values, rows) = (self.values(cast), self.rows(places));
        format!("INSERT INTO {table} ({}) SELECT {values} FROM {rows}", self.names())
    }

    /// The same with one more column, whose value is made of the row and of arguments behind its own.
    pub(super) fn insert_and(
        &self,
        table: &str,
        cast: &[(&str, &str)],
        column: &str,
        places: &mut Places,
        value: impl FnOnce(&mut Places) -> String,
    ) -> String {
        let (names, values, rows) = (self.names(), self.values(cast), self.rows(places));
        let value = value(places);
        format!("INSERT INTO {table} ({names}, {column}) SELECT {values}, {value} FROM {rows}")
    }

    /// The columns as they are written: `n.section_id, n.sections::uuid[]`.
    fn values(&self, cast: &[(&str, &str)]) -> String {
        let value = |(name, _): &(&str, &str)| {
            let kind = cast.iter().find(|(column, _)| column == name);
            kind.map_or_else(|| format!("n.{name}"), |(_, kind)| format!("n.{name}::{kind}"))
        };
        self.list.iter().map(value).collect::<Vec<_>>().join(", ")
    }
}

/// Runs a statement whose arguments are the values of these rows.
pub(super) async fn run<Row>(
    session: &mut PgConnection,
    sql: &'static str,
    columns: &Columns<Row>,
    rows: &[Row],
) -> Result<u64, Interrupt> {
    if rows.is_empty() {
        return Ok(0);
    }
    let query = (columns.bind)(sqlx::query(sql), rows);
    Ok(query.execute(session).await?.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;

    columns!(PAIRS of (i64, String) {
        id bigint => |pair| pair.0,
        names text => |pair| pair.1.clone(),
    });

    #[test]
    fn one_list_makes_all_of_a_statement() {
        let mut places = Places::default();
        assert_eq!(
            PAIRS.insert("pairs", &[("names", "text[]")], &mut places),
            "INSERT INTO pairs (id, names) SELECT n.id, n.names::text[] \
             FROM UNNEST($1::bigint[], $2::text[]) AS n (id, names)"
        );
        assert_eq!(PAIRS.rows(&mut places), "UNNEST($3::bigint[], $4::text[]) AS n (id, names)");
        let large = |places: &mut Places| format!("n.id > {}", places.one());
        assert_eq!(
            PAIRS.insert_and("pairs", &[], "large", &mut Places::default(), large),
            "INSERT INTO pairs (id, names, large) SELECT n.id, n.names, n.id > $3 \
             FROM UNNEST($1::bigint[], $2::text[]) AS n (id, names)"
        );
        assert_eq!(PAIRS.sets(1), "names = n.names");
    }
}
