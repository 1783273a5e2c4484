//! Users who leave.

use super::Sqlite;
use super::accounts::end_logins;
use super::organizations::{load_whole, write};
use super::writer::Writing;
use crate::rows::{self, user};
use crate::{ChangeNote, Leaving, Left};
use async_trait::async_trait;
use engine::access::leave;
use engine::account::{KEPT_BY_TOLD_MAX, may_leave};
use engine::text::folded;
use engine::{Error, OrgId, Refusal, UserId};

const DOING: &str = "ending an account";

#[async_trait]
impl Leaving for Sqlite {
    async fn leave(
        &self,
        user_id: UserId,
        password_hash: Option<&str>,
        change: &ChangeNote,
    ) -> Result<Left, Error> {
        let (hash, change) = (password_hash.map(str::to_owned), change.clone());
        let end = move |writing: &Writing<'_>| end(writing, user_id, hash.as_deref(), &change);
        self.writer.write(DOING, end).await
    }
}

fn end(
    writing: &Writing<'_>,
    user_id: UserId,
    password_hash: Option<&str>,
    change: &ChangeNote,
) -> Result<Left, Error> {
    const USER: &str = "SELECT * FROM users WHERE user_id = ?";
    const TEAMS: &str = "SELECT org_id FROM members WHERE user_id = ? ORDER BY org_id";
    const OPEN: &str = "SELECT event_id FROM events WHERE organizer_id = ?
        AND status IN ('on_sale', 'closed') AND over_at > ? ORDER BY event_id LIMIT ?";
    const ERASE: [&str; 2] =
        ["DELETE FROM operators WHERE user_id = ?", "DELETE FROM users WHERE user_id = ?"];
    const INVITATIONS: &str = "DELETE FROM invitations WHERE email_folded = ?";
    let id = user_id.as_bytes();
    let found = writing.one(DOING, USER, [id], |row| user(row))?;
    let found = found.filter(|user| password_hash.is_none_or(|hash| user.password_hash == hash));
    let user = found.ok_or(Refusal::NotFound { what: "user" })?;
    let mut organizations: Vec<OrgId> =
        writing.all(DOING, TEAMS, [id], |row| rows::org_id(row, "org_id"))?;
    organizations.extend(Some(OrgId::from(user_id)).filter(|own| own.owner().is_some()));

    let (mut owned, mut all_changes) = (Vec::new(), Vec::new());
    for org_id in &organizations {
        let Some(roster) = load_whole(writing, *org_id)? else { continue };
        match leave(&roster, user_id, writing.now) {
            Ok(changes) => all_changes.push(changes),
            Err(Refusal::LastOwner) => owned.push(*org_id),
            Err(refusal) => return Err(refusal.into()),
        }
    }
    let limit = i64::try_from(KEPT_BY_TOLD_MAX).expect("a small number");
    let wanted = (id, writing.now.unix_ms(), limit);
    let events = writing.all(DOING, OPEN, wanted, |row| rows::event_id(row, "event_id"))?;
    may_leave(owned, events)?;

    for (place, changes) in all_changes.iter().enumerate() {
        write(writing, changes, &change.of_organization(place))?;
    }
    writing.run(DOING, INVITATIONS, [folded(&user.email)])?;
    let not_before = end_logins(writing, user_id)?;
    for sql in ERASE {
        writing.run(DOING, sql, [id])?;
    }
    Ok(Left { not_before, organizations })
}
