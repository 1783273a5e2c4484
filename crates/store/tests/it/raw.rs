//! A database, read and changed behind the back of its store.

use crate::world::Fresh;
use engine::{BookingId, EventId, SectionId};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _, SqliteConnection};
use suite::halls::Taken;
use uuid::Uuid;

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

    /// Runs a statement; returns how many rows it changed.
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
        let uuid = Uuid::from_slice(id.as_ref()).expect("16 bytes");
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
            let mut part = || parts.next().expect("three parts");
            let section_id = SectionId::from_slice(&bytes(part())).expect("16 bytes");
            let seat = part().into();
            let booking_id = Some(part()).filter(|by| !by.is_empty());
            let booking_id = booking_id.and_then(|by| BookingId::from_slice(&bytes(by)));
            ((section_id, seat), booking_id)
        });
        taken.collect()
    }
}

fn bytes(hex: &str) -> [u8; 16] {
    Uuid::parse_str(hex).expect("32 digits").into_bytes()
}
