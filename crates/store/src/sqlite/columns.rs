//! Columns of rows that are written together: one list says their names and their values.

/// Adds rows to a table: `insert!(writing, doing, "holds", rows, |held| { seats: held.seats, … })`.
///
/// The driver takes up to sixteen values; a table with more needs a statement of its own.
macro_rules! insert {
    ($writing:expr, $doing:expr, $table:literal, $rows:expr,
        |$row:ident| { $first:ident: $value:expr, $($column:ident: $other:expr,)* }) => {
        $writing.run_all(
            $doing,
            concat!(
                "INSERT INTO ", $table, " (", stringify!($first)
                $(, ", ", stringify!($column))*, ") VALUES (?"
                $(, $crate::sqlite::columns::insert!(@mark $column))*, ")"
            ),
            $rows,
            |$row| ($value, $($other),*),
        )
    };
    (@mark $column:ident) => { ", ?" };
}
pub(super) use insert;
