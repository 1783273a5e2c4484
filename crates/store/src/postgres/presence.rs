//! Which processes have sessions on a database, so that nobody takes its schema from under them.
//!
//! Every session of a process holds one advisory lock, shared with all others; who takes migrations
//! back holds it alone. The server gives it back with the session, however that ends. Any role sees
//! it, and a pooler by session clears it, which is not so of names in `pg_stat_activity`.

use super::Postgres;
use super::interrupt::{Interrupt, failed};
use engine::Fault;
use sqlx::Row as _;
use sqlx::postgres::PgConnection;
use std::time::Duration;
use tokio::time::Instant;

/// Takes the lock with others. Nobody waits for it: who holds it alone has seen that nobody else is
/// there, and a process that starts meanwhile looks at the schema after this.
const SHOW: &str = "SELECT pg_try_advisory_lock_shared(8243126002410416505)";
/// Takes it alone.
const ALONE: &str = "SELECT pg_try_advisory_lock(8243126002410416505) AS alone";
/// The other sessions that hold it.
const OTHERS: &str = "SELECT count(DISTINCT pid) AS others FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND pid <> pg_backend_pid() AND objsubid = 1
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND (classid::bigint << 32) | objid::bigint = 8243126002410416505";
/// How long sessions that have just said goodbye may take to end.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often it is tried meanwhile.
const GOODBYE_PAUSE: Duration = Duration::from_millis(50);

/// Shows that a process has this session.
pub(super) async fn show(session: &mut PgConnection) -> Result<(), Interrupt> {
    sqlx::query(SHOW).execute(session).await?;
    Ok(())
}

impl Postgres {
    /// Makes sure, for as long as `session` lasts, that no other process has sessions here.
    pub(super) async fn be_alone(
        &self,
        session: &mut PgConnection,
        doing: &'static str,
    ) -> Result<(), Fault> {
        self.sessions.say_goodbye().await;
        self.committer.sessions.say_goodbye().await;
        self.pulse.say_goodbye().await;
        let until = Instant::now() + GOODBYE_TIMEOUT;
        loop {
            let row = sqlx::query(ALONE).fetch_one(&mut *session).await.map_err(failed(doing))?;
            if row.try_get("alone").map_err(failed(doing))? {
                return Ok(());
            }
            if Instant::now() >= until {
                break;
            }
            tokio::time::sleep(GOODBYE_PAUSE).await;
        }
        let row = sqlx::query(OTHERS).fetch_one(session).await.map_err(failed(doing))?;
        let others: i64 = row.try_get("others").map_err(failed(doing))?;
        let place = self.patient.place();
        Err(Fault::Unsuitable {
            what: format!(
                "other processes of Reservix have {others} sessions on {place}: stop all servers, \
                 workers and commands first; nothing was changed"
            ),
        })
    }
}
