//! The schema: made at once where there is none, else changed migration by migration.

use super::seats::read_layout;
use super::unpack::unpack;
use super::writer::Writing;
use super::{MIGRATOR, Sqlite, failed, writer};
use crate::rows;
use crate::{Migration, Schema, unavailable};
use async_trait::async_trait;
use engine::Fault;
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqlitePoolOptions;
use sqlx::{ConnectOptions as _, Row as _, SqliteConnection};
use std::collections::HashSet;

const DOING: &str = "migrating the schema";

/// The migrations this binary knows, in order.
fn known() -> impl Iterator<Item = Migration> {
    crate::migrations_of(&MIGRATOR)
}

/// Notes the highest price of sections whose layout was written before it was noted.
async fn fill_highest_prices(session: &mut SqliteConnection) -> Result<(), Fault> {
    const DOING: &str = "noting the highest price of sections";
    const MISSING: &str = "SELECT section_id FROM sections
        WHERE layout_version IS NOT NULL AND price_max_minor IS NULL";
    const NOTE: &str = "UPDATE sections SET price_max_minor = ? WHERE section_id = ?";
    let found = sqlx::query(MISSING).fetch_all(&mut *session).await.map_err(failed(DOING))?;
    for row in &found {
        let section_id = rows::section_id(row, "section_id")?;
        let Some((_, layout)) = read_layout(session, section_id).await? else { continue };
        let note = sqlx::query(NOTE).bind(layout.highest_price().minor);
        let note = note.bind(section_id.as_bytes().to_vec()).execute(&mut *session).await;
        note.map_err(failed(DOING))?;
    }
    Ok(())
}

/// The migrations that were applied, also where there is no schema.
fn applied(writing: &Writing<'_>) -> Result<HashSet<i64>, Fault> {
    const THERE: &str = "SELECT COUNT(*) FROM sqlite_master WHERE name = '_sqlx_migrations'";
    const APPLIED: &str = "SELECT version FROM _sqlx_migrations WHERE success = 1";
    let read = || {
        let transaction = writing.transaction();
        let there: i64 = transaction.query_row(THERE, (), |row| row.get(0))?;
        if there == 0 {
            return Ok(HashSet::new());
        }
        let mut applied = transaction.prepare(APPLIED)?;
        let versions = applied.query_map((), |row| row.get(0))?;
        versions.collect::<Result<HashSet<i64>, _>>()
    };
    read().map_err(writer::failed(DOING))
}

/// Makes the schema of a store that has none, as its migrations say, all of it or nothing.
///
/// They are no changes of anything yet: one by one each would wait for the disk twice, and each of their
/// statements for another thread. What is left is what [`Migrator::run`] leaves.
fn create(writing: &Writing<'_>, due: &[sqlx::migrate::Migration]) -> Result<(), Fault> {
    const APPLIED: &str = "
CREATE TABLE IF NOT EXISTS _sqlx_migrations (
    version BIGINT PRIMARY KEY,
    description TEXT NOT NULL,
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    success BOOLEAN NOT NULL,
    checksum BLOB NOT NULL,
    execution_time BIGINT NOT NULL
);";
    const NOTE: &str = "INSERT INTO _sqlx_migrations
        (version, description, success, checksum, execution_time) VALUES (?, ?, TRUE, ?, 0)";
    let make = || {
        let transaction = writing.transaction();
        transaction.execute_batch(APPLIED)?;
        for step in due {
            transaction.execute_batch(step.sql.as_str())?;
            let row = (step.version, &*step.description, &*step.checksum);
            transaction.execute(NOTE, row)?;
        }
        Ok(())
    };
    make().map_err(writer::failed(DOING))
}

#[async_trait]
impl Schema for Sqlite {
    async fn migrate(&self, version: Option<i64>) -> Result<Vec<Migration>, Fault> {
        let newest = MIGRATOR.iter().map(|step| step.version).max().unwrap_or(0);
        let target = version.unwrap_or(newest);
        let due = MIGRATOR.iter().filter(|step| step.version <= target);
        let due = due.filter(|step| step.migration_type.is_up_migration());
        let due: Vec<_> = due.cloned().collect();
        let (before, after) = {
            // Nobody else writes meanwhile.
            let mut turn = self.writer.turn(DOING).await?;
            let before = {
                let writing = Writing::begin(&mut turn, self.writer.beside(), DOING)?;
                let before = applied(&writing)?;
                if before.is_empty() {
                    create(&writing, &due)?;
                    writing.commit(DOING)?;
                } else if crate::takes_runs_away(&before, target) {
                    unpack(&writing)?;
                    writing.commit(DOING)?;
                }
                before
            };
            if !before.is_empty() {
                self.change(&before, target, due).await?;
            }
            let writing = Writing::begin(&mut turn, self.writer.beside(), DOING)?;
            (before, applied(&writing)?)
        };
        // A reader that knows the schema of before prepares its statements by it, and the driver panics
        // over a column that it did not expect.
        while let Some(reader) = self.readers.try_acquire() {
            reader.close().await.map_err(failed(DOING))?;
        }
        if after != before {
            self.lists().forget();
        }
        self.begin_lists().await;
        if after.contains(&newest) {
            if !before.contains(&newest) {
                self.open_timeline().await?;
            }
            self.fill_in_keys().await?;
        }
        let changed =
            |step: &Migration| before.contains(&step.version) != after.contains(&step.version);
        Ok(known().filter(changed).collect())
    }

    async fn migrations(&self) -> Result<Vec<(Migration, bool)>, Fault> {
        let applied = self.applied().await?;
        Ok(known()
            .map(|step| {
                let on = applied.contains(&step.version);
                (step, on)
            })
            .collect())
    }
}

impl Sqlite {
    /// Changes a schema that is there, while nobody else writes: takes it back to `target`, or does what is
    /// due.
    async fn change(
        &self,
        before: &HashSet<i64>,
        target: i64,
        due: Vec<sqlx::migrate::Migration>,
    ) -> Result<(), Fault> {
        let pool = SqlitePoolOptions::new().max_connections(1);
        // A large store takes its time, and each migration is one statement of many lines.
        let options = self.options.clone().disable_statement_logging();
        let pool = pool.connect_with(options).await.map_err(failed(DOING))?;
        if before.iter().any(|applied| *applied > target) {
            MIGRATOR.undo(&pool, target).await.map_err(unavailable(DOING))?;
        } else {
            let migrator = Migrator::with_migrations(due);
            migrator.run(&pool).await.map_err(unavailable(DOING))?;
            let mut session = pool.acquire().await.map_err(failed(DOING))?;
            if target >= MIGRATOR.iter().map(|step| step.version).max().unwrap_or(0) {
                fill_highest_prices(&mut session).await?;
            }
        }
        pool.close().await;
        Ok(())
    }

    async fn applied(&self) -> Result<HashSet<i64>, Fault> {
        const DOING: &str = "reading the schema's version";
        let mut connection = self.readers.acquire().await.map_err(failed(DOING))?;
        let there = sqlx::query("SELECT 1 FROM sqlite_master WHERE name = '_sqlx_migrations'");
        let there = there.fetch_optional(&mut *connection).await.map_err(failed(DOING))?;
        if there.is_none() {
            return Ok(HashSet::new());
        }
        let rows = sqlx::query("SELECT version FROM _sqlx_migrations WHERE success = 1");
        let rows = rows.fetch_all(&mut *connection).await.map_err(failed(DOING))?;
        rows.iter().map(|row| row.try_get(0).map_err(failed(DOING))).collect()
    }
}

#[cfg(test)]
mod tests;
