//! The schema, and what the server it lives on must promise.

use super::Postgres;
use super::interrupt::{Interrupt, failed};
use super::rows::uuid;
use super::seats::read_layout;
use super::unpack::unpack;
use crate::rows;
use crate::{Migration, unavailable};
use engine::Fault;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Executor as _, Row as _};
use std::collections::HashSet;
use std::time::Duration;
use tokio::time::timeout;

static MIGRATOR: Migrator = sqlx::migrate!("../../migrations/postgres");

/// The oldest server with transaction ids that do not wrap, which the log needs.
const VERSION_MIN: i32 = 130_000;
/// The only encoding of a database that can keep every text a client may send.
const ENCODING: &str = "UTF8";
/// How long one of several instances waits for the others to migrate.
const TURN_TIMEOUT: Duration = Duration::from_mins(1);
/// The advisory lock of those who migrate: "reservix" in ASCII.
const TURN: &str = "SELECT pg_advisory_lock(8243126002410416504)";

/// Looks whether the server can keep what it commits (I11); says so loudly, or refuses when `strict`.
pub(super) async fn check(session: &mut PgConnection, strict: bool) -> Result<(), Interrupt> {
    const SQL: &str = "SELECT current_setting('server_version_num')::int AS version,
        current_setting('fsync') AS fsync,
        current_setting('full_page_writes') AS full_page_writes,
        current_setting('synchronous_commit') AS synchronous_commit, pg_is_in_recovery() AS standby,
        current_setting('server_encoding') AS encoding, current_database() AS database";
    let row = sqlx::query(SQL).fetch_one(session).await?;
    let refuse = |what: String| Err(Fault::Unsuitable { what }.into());
    let version: i32 = row.try_get("version")?;
    if version < VERSION_MIN {
        return refuse(format!(
            "PostgreSQL {} is too old: 13 or newer is required",
            version / 10_000
        ));
    }
    if row.try_get("standby")? {
        // It may be promoted while we wait.
        let why = "the server is a standby, which is read-only";
        return Err(unavailable("looking at the database's settings")(why).into());
    }
    let (encoding, database): (&str, &str) = (row.try_get("encoding")?, row.try_get("database")?);
    if encoding != ENCODING {
        // Whatever it cannot keep would fail in the middle of a request.
        return refuse(format!(
            "the database {database} has the encoding {encoding}, which cannot store all text; \
             create it with ENCODING 'UTF8' (TEMPLATE template0)"
        ));
    }
    let mut unsafe_settings = Vec::new();
    for setting in ["fsync", "full_page_writes", "synchronous_commit"] {
        if row.try_get::<&str, _>(setting)? == "off" {
            unsafe_settings.push(format!("{setting} = off"));
        }
    }
    if unsafe_settings.is_empty() {
        return Ok(());
    }
    let settings = unsafe_settings.join(", ");
    if strict {
        return refuse(format!(
            "with {settings} a crash of the server loses bookings that were acknowledged"
        ));
    }
    tracing::warn!(
        settings,
        "the database can lose acknowledged bookings in a crash; in production such a database is \
         refused"
    );
    Ok(())
}

/// The migrations this binary knows, in order.
fn known() -> impl Iterator<Item = Migration> {
    crate::migrations_of(&MIGRATOR)
}

async fn applied(session: &mut PgConnection) -> Result<HashSet<i64>, sqlx::Error> {
    const THERE: &str = "SELECT to_regclass('_sqlx_migrations') IS NOT NULL";
    let there: bool = sqlx::query(THERE).fetch_one(&mut *session).await?.try_get(0)?;
    if !there {
        return Ok(HashSet::new());
    }
    let rows = sqlx::query("SELECT version FROM _sqlx_migrations WHERE success");
    rows.fetch_all(session).await?.iter().map(|row| row.try_get(0)).collect()
}

impl Postgres {
    /// A session of its own, without time-outs: it is closed when it is dropped.
    pub(super) async fn patient_session(&self, doing: &'static str) -> Result<PgConnection, Fault> {
        const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
        let opening = timeout(CONNECT_TIMEOUT, self.patient.open()).await;
        let late = |_| self.patient.away(doing)("the database does not respond");
        opening.map_err(late)?.map_err(self.patient.away(doing))
    }

    pub(super) async fn migrate_to(&self, version: Option<i64>) -> Result<Vec<Migration>, Fault> {
        const DOING: &str = "migrating the schema";
        let mut session = self.patient_session(DOING).await?;
        // One instance at a time; the lock ends with the session, however that ends.
        let turn = timeout(TURN_TIMEOUT, session.execute(TURN)).await;
        turn.map_err(unavailable(DOING))?.map_err(failed(DOING))?;
        let before = applied(&mut session).await.map_err(failed(DOING))?;
        let newest = MIGRATOR.iter().map(|step| step.version).max().unwrap_or(0);
        let target = version.unwrap_or(newest);
        if version.is_some() && before.iter().any(|applied| *applied > target) {
            // An instance would answer 500 from then on.
            self.be_alone(&mut session, DOING).await?;
            if crate::takes_runs_away(&before, target) {
                unpack(&mut session).await.map_err(|interrupt| interrupt.into_fault(DOING))?;
            }
            let down = MIGRATOR.iter().cloned().collect::<Vec<_>>();
            let mut migrator = Migrator::with_migrations(down);
            migrator.set_locking(false);
            let pool = self.patient.pool_of_one();
            migrator.undo(&pool, target).await.map_err(unavailable(DOING))?;
            pool.close().await;
        } else {
            let due = MIGRATOR.iter().filter(|step| step.version <= target);
            let due = due.filter(|step| step.migration_type.is_up_migration()).cloned().collect();
            let mut migrator = Migrator::with_migrations(due);
            migrator.set_locking(false);
            // A newer binary may have been here before; its schema also serves this one.
            migrator.set_ignore_missing(true);
            if before.is_empty() {
                // A new database waits for its disk once, and not twice for each migration.
                let mut whole = session.begin().await.map_err(failed(DOING))?;
                migrator.run_direct(None, &mut *whole, false).await.map_err(unavailable(DOING))?;
                whole.commit().await.map_err(failed(DOING))?;
            } else {
                let run = migrator.run_direct(None, &mut session, false);
                run.await.map_err(unavailable(DOING))?;
            }
        }
        let after = applied(&mut session).await.map_err(failed(DOING))?;
        if after.contains(&newest) {
            fill_highest_prices(&mut session).await.map_err(|error| error.into_fault(DOING))?;
        }
        self.history.look(&mut session).await.map_err(|interrupt| interrupt.into_fault(DOING))?;
        // A clean disconnect releases the lock sooner than the server notices the closed socket.
        session.close().await.map_err(failed(DOING))?;
        // After the turn, so that another instance need not wait for it: it may take a while.
        if after.contains(&newest) {
            self.fill_in_keys().await?;
        }
        let changed =
            |step: &Migration| before.contains(&step.version) != after.contains(&step.version);
        Ok(known().filter(changed).collect())
    }

    pub(super) async fn known_migrations(&self) -> Result<Vec<(Migration, bool)>, Fault> {
        const DOING: &str = "reading the schema's version";
        let mut session = self.patient_session(DOING).await?;
        let applied = applied(&mut session).await.map_err(failed(DOING))?;
        let state = |step: Migration| {
            let on = applied.contains(&step.version);
            (step, on)
        };
        Ok(known().map(state).collect())
    }
}

/// Notes the highest price of sections whose layout was written before it was noted.
async fn fill_highest_prices(session: &mut PgConnection) -> Result<(), Interrupt> {
    const MISSING: &str = "SELECT section_id FROM sections
        WHERE layout_version IS NOT NULL AND price_max_minor IS NULL";
    const NOTE: &str = "UPDATE sections SET price_max_minor = $2 WHERE section_id = $1";
    for row in &sqlx::query(MISSING).fetch_all(&mut *session).await? {
        let section_id = rows::section_id(row, "section_id")?;
        let Some((_, layout)) = read_layout(session, section_id).await? else { continue };
        let note = sqlx::query(NOTE).bind(uuid(section_id)).bind(layout.highest_price().minor);
        note.execute(&mut *session).await?;
    }
    Ok(())
}
