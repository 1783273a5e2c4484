//! Columns of rows that the writer reads.

use crate::rows::{Columns, corrupt, unreadable};
use engine::Fault;
use rusqlite::Row;
use rusqlite::types::FromSql;

fn read<T: FromSql>(row: &Row<'_>, column: &'static str) -> Result<T, Fault> {
    row.get(column).map_err(unreadable(column))
}

impl Columns for Row<'_> {
    fn int(&self, column: &'static str) -> Result<i64, Fault> {
        read(self, column)
    }

    fn maybe_int(&self, column: &'static str) -> Result<Option<i64>, Fault> {
        read(self, column)
    }

    fn flag(&self, column: &'static str) -> Result<bool, Fault> {
        read(self, column)
    }

    fn text(&self, column: &'static str) -> Result<&str, Fault> {
        self.maybe_text(column)?.ok_or_else(corrupt(column))
    }

    fn maybe_text(&self, column: &'static str) -> Result<Option<&str>, Fault> {
        let value = self.get_ref(column).map_err(unreadable(column))?;
        value.as_str_or_null().map_err(unreadable(column))
    }

    fn id(&self, column: &'static str) -> Result<[u8; 16], Fault> {
        read(self, column)
    }

    fn maybe_id(&self, column: &'static str) -> Result<Option<[u8; 16]>, Fault> {
        read(self, column)
    }

    fn maybe_bytes(&self, column: &'static str) -> Result<Option<&[u8]>, Fault> {
        let value = self.get_ref(column).map_err(unreadable(column))?;
        value.as_blob_or_null().map_err(unreadable(column))
    }

    fn bytes(&self, column: &'static str) -> Result<&[u8], Fault> {
        self.maybe_bytes(column)?.ok_or_else(corrupt(column))
    }
}
