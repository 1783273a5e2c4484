//! Users who leave.
//!
//! The locks come in this order: the organizations that the user is in, which is one at a time; these
//! organizations, by their ids; the row of the user, which all logins lock. An attempt whose answer was lost
//! is found by the row: it is gone.

use super::accounts::cut;
use super::events::clock;
use super::interrupt::Interrupt;
use super::organizations::{load_whole, lock_joining, lock_there, write};
use super::rows::uuid;
use super::{Postgres, on};
use crate::rows::{self, user};
use crate::{ChangeNote, Leaving, Left};
use async_trait::async_trait;
use engine::access::leave;
use engine::account::{KEPT_BY_TOLD_MAX, may_leave};
use engine::text::folded;
use engine::{Error, Fault, OrgId, Refusal, UserId};
use sqlx::postgres::{PgConnection, PgRow};
use std::sync::atomic::{AtomicBool, Ordering};

const MISSING: Refusal = Refusal::NotFound { what: "user" };

#[async_trait]
impl Leaving for Postgres {
    async fn leave(
        &self,
        user_id: UserId,
        password_hash: Option<&str>,
        change: &ChangeNote,
    ) -> Result<Left, Error> {
        // Whether an earlier attempt found the row: when it is gone then, that one was committed.
        let was_there = &AtomicBool::new(false);
        let work = on!(session => end(&mut session, user_id, password_hash, change, was_there));
        self.write(&self.sessions, "ending an account", work).await
    }
}

async fn end(
    session: &mut PgConnection,
    user_id: UserId,
    password_hash: Option<&str>,
    change: &ChangeNote,
    was_there: &AtomicBool,
) -> Result<Left, Interrupt> {
    const TEAMS: &str = "SELECT org_id FROM members WHERE user_id = $1 ORDER BY org_id";
    const LOCK: &str = "SELECT * FROM users WHERE user_id = $1 FOR UPDATE";
    const OPEN: &str = "SELECT event_id FROM events WHERE organizer_id = $1
        AND status IN ('on_sale', 'closed') AND over_at > $2 ORDER BY event_id LIMIT $3";
    const ERASE: [&str; 2] =
        ["DELETE FROM operators WHERE user_id = $1", "DELETE FROM users WHERE user_id = $1"];
    const INVITATIONS: &str = "DELETE FROM invitations WHERE email_folded = $1";
    lock_joining(&mut *session, user_id).await?;
    let found = sqlx::query(TEAMS).bind(uuid(user_id)).fetch_all(&mut *session).await?;
    let org_id = |row: &PgRow| rows::org_id(row, "org_id");
    let mut organizations = found.iter().map(org_id).collect::<Result<Vec<OrgId>, Fault>>()?;
    organizations.extend(Some(OrgId::from(user_id)).filter(|own| own.owner().is_some()));
    organizations.sort_unstable();
    let mut locked = Vec::new();
    for org_id in &organizations {
        locked.extend(lock_there(&mut *session, *org_id).await?);
    }
    let row = sqlx::query(LOCK).bind(uuid(user_id)).fetch_optional(&mut *session).await?;
    let Some(row) = row else {
        if was_there.load(Ordering::Relaxed) {
            let not_before = cut(session, user_id).await?;
            return Ok(Left { not_before, organizations });
        }
        return Err(MISSING.into());
    };
    let user = user(&row)?;
    if password_hash.is_some_and(|hash| user.password_hash != hash) {
        return Err(MISSING.into());
    }
    was_there.store(true, Ordering::Relaxed);

    let now = clock(&mut *session).await?;
    let (mut owned, mut all_changes) = (Vec::new(), Vec::new());
    for organization in locked {
        let org_id = organization.org_id;
        let roster = load_whole(&mut *session, organization).await?;
        match leave(&roster, user_id, now) {
            Ok(changes) => all_changes.push(changes),
            Err(Refusal::LastOwner) => owned.push(org_id),
            Err(refusal) => return Err(refusal.into()),
        }
    }
    let limit = i64::try_from(KEPT_BY_TOLD_MAX).expect("a small number");
    let query = sqlx::query(OPEN).bind(uuid(user_id)).bind(now.unix_ms()).bind(limit);
    let found = query.fetch_all(&mut *session).await?;
    let events = found.iter().map(|row| rows::event_id(row, "event_id"));
    may_leave(owned, events.collect::<Result<_, Fault>>()?)?;

    for (place, changes) in all_changes.iter().enumerate() {
        write(&mut *session, changes, &change.of_organization(place)).await?;
    }
    sqlx::query(INVITATIONS).bind(folded(&user.email)).execute(&mut *session).await?;
    let not_before = cut(&mut *session, user_id).await?;
    for sql in ERASE {
        sqlx::query(sql).bind(uuid(user_id)).execute(&mut *session).await?;
    }
    Ok(Left { not_before, organizations })
}
