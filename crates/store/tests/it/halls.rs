//! Sections with numbered seats: their layouts, and what stands in a database about them.

use crate::world::{Fresh, usd};
use engine::seats::{Category, Draft, Layout, SeatName, Shape, Short};
use engine::{EventId, Opening, SectionId};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _, SqliteConnection};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The draft of rows such as `A-C`, each with so many seats at 12.50 USD and an aisle after some.
pub fn draft(rows: &str, seats_per_row: u32, aisles_after: &[u32]) -> Draft {
    let short = Short {
        rows: rows.to_owned(),
        seats_per_row,
        aisles_after: aisles_after.to_vec(),
        category: Category { name: "Stalls".to_owned(), price: usd(1250) },
        shape: Shape::Block,
    };
    short.draft().expect("a draft without flaws")
}

/// The layout of a draft.
pub fn layout(draft: &Draft) -> Arc<Layout> {
    Arc::new(Layout::new(draft).expect("a draft without flaws"))
}

/// A plain layout, as [`draft`] makes it.
pub fn plain(rows: &str, seats_per_row: u32) -> Arc<Layout> {
    layout(&draft(rows, seats_per_row, &[]))
}

/// What a section begins with that has such a layout.
pub fn laid(rows: &str, seats_per_row: u32) -> Opening {
    Opening::Layout(plain(rows, seats_per_row))
}

/// Names of seats.
pub fn names(names: &[&str]) -> Vec<SeatName> {
    names.iter().map(|name| SeatName::from(*name)).collect()
}

/// A session of a test's own on the database of a store.
pub enum Raw {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Raw {
    pub async fn of(fresh: &Fresh) -> Self {
        Self::at(&fresh.address).await
    }

    pub async fn at(url: &str) -> Self {
        if url.starts_with("sqlite:") {
            Self::Sqlite(SqliteConnection::connect(url).await.expect("the file can be opened"))
        } else {
            Self::Postgres(PgConnection::connect(url).await.expect("the server answers"))
        }
    }

    /// Runs a statement; tells how many rows it changed.
    pub async fn run(&mut self, sql: &str) -> u64 {
        let done = match self {
            Self::Sqlite(on) => {
                sqlx::query(AssertSqlSafe(sql)).execute(on).await.map(|done| done.rows_affected())
            }
            Self::Postgres(on) => {
                sqlx::query(AssertSqlSafe(sql)).execute(on).await.map(|done| done.rows_affected())
            }
        };
        done.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The first column of every row, as text.
    pub async fn texts(&mut self, sql: &str) -> Vec<Option<String>> {
        let texts: Result<Vec<Option<String>>, _> = match self {
            Self::Sqlite(on) => {
                let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(on).await;
                rows.map(|rows| rows.iter().map(|row| row.get(0)).collect())
            }
            Self::Postgres(on) => {
                let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(on).await;
                rows.map(|rows| rows.iter().map(|row| row.get(0)).collect())
            }
        };
        texts.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// An id as this database writes it.
    pub fn id(&self, id: impl AsRef<[u8]>) -> String {
        let uuid = uuid::Uuid::from_slice(id.as_ref()).expect("16 bytes");
        match self {
            Self::Sqlite(_) => format!("x'{}'", uuid.simple()),
            Self::Postgres(_) => format!("'{uuid}'::uuid"),
        }
    }

    /// Bytes as this database writes them.
    pub fn bytes(&self, bytes: &[u8]) -> String {
        let hex: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let hex = hex.concat();
        match self {
            Self::Sqlite(_) => format!("x'{hex}'"),
            Self::Postgres(_) => format!(r"'\x{hex}'::bytea"),
        }
    }

    /// Who has which seat of an event, as the rows say; a blocked seat is nobody's.
    pub async fn seats_taken(&mut self, event_id: EventId) -> Taken {
        let hex = |column: &str| match self {
            Self::Sqlite(_) => format!("lower(hex({column}))"),
            Self::Postgres(_) => format!("replace({column}::text, '-', '')"),
        };
        let sql = format!(
            "SELECT {} || ' ' || seat || ' ' || coalesce({}, '') FROM seats_taken
             JOIN sections s USING (section_id) WHERE s.event_id = {}",
            hex("section_id"),
            hex("booking_id"),
            self.id(event_id)
        );
        let rows = self.texts(&sql).await.into_iter();
        let taken = rows.map(|row| {
            let row = row.expect("three parts that are not null");
            let mut parts = row.split(' ');
            let mut part = || parts.next().expect("three parts").to_owned();
            ((part(), part()), part())
        });
        taken.collect()
    }
}

/// Who has which seats: section and name, then the booking, or nothing where it is blocked.
pub type Taken = BTreeMap<(String, String), String>;

/// A section as [`Taken`] writes it.
pub fn hex(id: impl AsRef<[u8]>) -> String {
    uuid::Uuid::from_slice(id.as_ref()).expect("16 bytes").simple().to_string()
}

/// Seats of a section as [`Taken`] writes them.
pub fn taken_by(section_id: SectionId, seats: &[&str], by: impl AsRef<[u8]>) -> Taken {
    let whose = if by.as_ref().is_empty() { String::new() } else { hex(by) };
    let entry = |seat: &&str| ((hex(section_id), (*seat).to_owned()), whose.clone());
    seats.iter().map(entry).collect()
}
