//! Poolers that lend the sessions of PostgreSQL out by transaction or by statement.
//!
//! Behind one, a session is another one with every transaction: time-outs that were set, locks of those who
//! migrate and prepared statements stay with the old one. It is recognised by two connections of ours that
//! meet in one session of the server, or of which one moves to another session; with a session for each
//! connection neither can happen. It costs five round trips at the start.

use super::connect::Door;
use engine::Fault;
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Error, Executor as _, Row as _};
use std::time::Duration;
use tokio::time::timeout;

/// How often the check is repeated behind a pooler, which others may use as well.
const ROUNDS: u32 = 3;
/// How long the answer to the question for a name may take.
const NAME_TIMEOUT: Duration = Duration::from_secs(1);

/// How a pooler lends sessions out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Session,
    Transaction,
    Statement,
}

/// Refuses a pooler by transaction or by statement. `suspect` is true if there may be a pooler.
pub(super) async fn refuse(
    door: &Door,
    first: &mut PgConnection,
    second: &mut PgConnection,
    suspect: bool,
) -> Result<(), Fault> {
    let rounds = if suspect { ROUNDS } else { 1 };
    for _ in 0..rounds {
        let found = lends_by(first, second).await;
        let by = match found.map_err(door.away("looking for a pooler"))? {
            By::Session => continue,
            By::Transaction => "transaction",
            By::Statement => "statement",
        };
        let (name, place) = (name(door).await, door.place());
        return Err(Fault::Unsuitable {
            what: format!(
                "{name} at {place} pools by {by} (pool_mode = {by}), so timeouts, locks and \
                 prepared statements are lost between transactions: set pool_mode = session for \
                 this database, or connect DATABASE_URL directly to PostgreSQL"
            ),
        });
    }
    Ok(())
}

async fn lends_by(first: &mut PgConnection, second: &mut PgConnection) -> Result<By, Error> {
    let own = server_session(first).await?;
    if let Err(error) = second.execute("BEGIN").await {
        let is_refused = error.as_database_error().is_some_and(|it| it.message().contains("pool"));
        return if is_refused { Ok(By::Statement) } else { Err(error) };
    }
    let other = server_session(second).await?;
    // While the second is inside of a transaction, nobody else gets its session; of a pool of one, not even
    // the first would get an answer.
    let is_shared = own == other || own != server_session(first).await?;
    second.execute("ROLLBACK").await?;
    Ok(if is_shared { By::Transaction } else { By::Session })
}

/// The process of the server that serves this connection at this moment.
async fn server_session(session: &mut PgConnection) -> Result<i32, Error> {
    sqlx::raw_sql("SELECT pg_backend_pid()").fetch_one(session).await?.try_get(0)
}

/// What it is: PgBouncer alone has a database of this name for those who run it.
async fn name(door: &Door) -> &'static str {
    let admin = door.bare().clone().database("pgbouncer");
    let asked = timeout(NAME_TIMEOUT, PgConnection::connect_with(&admin)).await;
    let is_bouncer = match asked {
        Ok(Ok(mut session)) => session.execute("SHOW VERSION").await.is_ok(),
        // Those who may not run it are turned away; PostgreSQL would know no such database.
        Ok(Err(Error::Database(error))) => error.code().as_deref() != Some("3D000"),
        _ => false,
    };
    if is_bouncer { "PgBouncer" } else { "a pooler" }
}
