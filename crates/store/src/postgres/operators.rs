//! Operators of the installation.
//!
//! Every write may be done twice (see [`super::Postgres::write`]): of one whose answer was lost, the second
//! attempt says that it was so already.

use super::accounts::fault;
use super::interrupt::Interrupt;
use super::organizations::{Part, read_log};
use super::rows::uuid;
use super::{Postgres, on};
use crate::rows::{Columns as _, operator};
use crate::{AccessPage, EntryFilter, Operator, Operators};
use async_trait::async_trait;
use engine::access::OPERATORS_MAX;
use engine::{Error, Fault, Refusal, UserId};
use sqlx::Executor as _;
use sqlx::postgres::PgConnection;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a reader of the whole access log waits for changes that are under way, and how often it
/// looks.
const SETTLED_WITHIN: Duration = Duration::from_secs(1);
const SETTLING_PAUSE: Duration = Duration::from_millis(20);

#[async_trait]
impl Operators for Postgres {
    async fn operators(&self) -> Result<Vec<Operator>, Fault> {
        const SQL: &str = "SELECT * FROM operators ORDER BY user_id LIMIT $1";
        let limit = i64::try_from(OPERATORS_MAX).expect("a small number");
        let read = on!(session => async {
            let found = sqlx::query(SQL).bind(limit).fetch_all(&mut *session).await?;
            Ok(found.iter().map(operator).collect::<Result<_, _>>()?)
        });
        self.read("reading operators", read).await
    }

    async fn add_operator(&self, user_id: UserId) -> Result<bool, Error> {
        let add = on!(session => add(&mut session, user_id));
        self.write(&self.sessions, "adding an operator", add).await
    }

    async fn remove_operator(&self, user_id: UserId) -> Result<bool, Fault> {
        const SQL: &str = "DELETE FROM operators WHERE user_id = $1";
        let remove = on!(session => async {
            let done = sqlx::query(SQL).bind(uuid(user_id)).execute(&mut *session).await?;
            Ok(done.rows_affected() == 1)
        });
        self.write(&self.sessions, "removing an operator", remove).await.map_err(fault)
    }

    async fn whole_access_log(&self, filter: EntryFilter, limit: u32) -> Result<AccessPage, Fault> {
        let read = on!(session => async {
            let settled = settled(&mut session).await?;
            read_log(&mut session, Part::Settled(settled), filter, limit).await
        });
        self.read("reading the access log", read).await
    }
}

async fn add(session: &mut PgConnection, user_id: UserId) -> Result<bool, Interrupt> {
    // Who leaves while this is under way is none afterwards.
    const USER: &str = "SELECT 1 FROM users WHERE user_id = $1 FOR SHARE";
    // One is added at a time, so none beyond the limit.
    const LOCK: &str = "LOCK TABLE operators IN SHARE ROW EXCLUSIVE MODE";
    const ALL: &str = "SELECT user_id FROM operators";
    const ADD: &str = "INSERT INTO operators (user_id, added_at) VALUES ($1, now_ms())
        ON CONFLICT (user_id) DO NOTHING";
    const ONE: &str = "SELECT 1 FROM operators WHERE user_id = $1";
    if sqlx::query(USER).bind(uuid(user_id)).fetch_optional(&mut *session).await?.is_none() {
        return Err(Refusal::NotFound { what: "user" }.into());
    }
    session.execute(LOCK).await?;
    if sqlx::query(ONE).bind(uuid(user_id)).fetch_optional(&mut *session).await?.is_some() {
        return Ok(false);
    }
    if sqlx::query(ALL).fetch_all(&mut *session).await?.len() >= OPERATORS_MAX {
        return Err(Refusal::LimitReached { what: "operators", limit: OPERATORS_MAX }.into());
    }
    sqlx::query(ADD).bind(uuid(user_id)).execute(session).await?;
    Ok(true)
}

/// The number up to which no entry of the access log is missing any more, outside of a transaction; 0 when
/// changes are under way for too long.
///
/// Organizations are changed concurrently, so a higher number may be committed before a lower one.
/// Who drew a number up to the last one had a transaction id before that; when the oldest transaction that
/// is still running is not older than an id that was given after it, they have all ended.
async fn settled(session: &mut PgConnection) -> Result<i64, Interrupt> {
    const LAST: &str = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END AS last
        FROM access_log_seq_seq";
    const XID: &str = "SELECT pg_current_xact_id()::text::bigint AS xid";
    const OLDEST: &str = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest";
    let last = sqlx::query(LAST).fetch_one(&mut *session).await?.int("last")?;
    // After the number.
    let xid = sqlx::query(XID).fetch_one(&mut *session).await?.int("xid")?;
    let start = Instant::now();
    loop {
        if sqlx::query(OLDEST).fetch_one(&mut *session).await?.int("oldest")? >= xid {
            return Ok(last);
        }
        if start.elapsed() >= SETTLED_WITHIN {
            return Ok(0);
        }
        sleep(SETTLING_PAUSE).await;
    }
}
