//! Users and refresh tokens.
//!
//! Every write may be done twice (see [`super::Postgres::write`]) and is content with what it finds. What
//! issues tokens to a user and what ends them locks the row of the user first, in a statement of its own,
//! and reads the clock after it.

use super::interrupt::Interrupt;
use super::rows::{uuid, uuids};
use super::{Postgres, READ_PATIENCE, on};
use crate::Accounts;
use crate::keys::keys_of;
use crate::rows::{self, Columns as _, ms};
use async_trait::async_trait;
use engine::access::{INVITATION_KEPT_MS, KEY_KEPT_MS};
use engine::account::{
    CUTOFF_KEPT_MS, Cutoff, Refresh, RefreshToken, User, UserChange, UserUpdate, cutoff_at,
    issued_at,
};
use engine::{Error, Fault, Refusal, Timestamp, UserId};
use sqlx::postgres::{PgConnection, PgRow};

#[async_trait]
impl Accounts for Postgres {
    async fn create_user(&self, user: &User) -> Result<(), Error> {
        let create = on!(session => create_user(&mut session, user));
        self.write(&self.sessions, "creating a user", create).await
    }

    async fn user_by_email(&self, email: &str) -> Result<Option<User>, Fault> {
        // Always both, so that an unknown address takes as long as a known one.
        const SQL: &str = "SELECT * FROM users WHERE email_folded = $1
            UNION SELECT * FROM users WHERE coalesce(email_key, email_folded) = $2";
        // PostgreSQL has no text with a NUL in it, so nobody has this address.
        if email.contains('\0') {
            return Ok(None);
        }
        let find = on!(session => async {
            let (lowered, key) = keys_of(email);
            let query = sqlx::query(SQL).bind(&lowered).bind(key.as_ref().unwrap_or(&lowered));
            let found = query.fetch_all(&mut *session).await?;
            let mut own = None;
            for row in &found {
                if row.text("email_folded")? == lowered {
                    own = Some(row);
                }
            }
            user(own.or(found.first()))
        });
        self.read("finding a user", find).await
    }

    async fn user(&self, user_id: UserId) -> Result<Option<User>, Fault> {
        const SQL: &str = "SELECT * FROM users WHERE user_id = $1";
        let find = on!(session => async {
            user(sqlx::query(SQL).bind(uuid(user_id)).fetch_optional(&mut *session).await?.as_ref())
        });
        self.read("reading a user", find).await
    }

    async fn users(&self, ids: &[UserId]) -> Result<Vec<User>, Fault> {
        const SQL: &str = "SELECT * FROM users WHERE user_id = ANY($1)";
        let find = on!(session => async {
            let found = sqlx::query(SQL).bind(uuids(ids)).fetch_all(&mut *session).await?;
            Ok(found.iter().map(rows::user).collect::<Result<_, _>>()?)
        });
        self.read("reading users", find).await
    }

    async fn update_user(&self, user_id: UserId, change: UserChange) -> Result<User, Error> {
        let change = &change;
        let update = on!(session => update_user(&mut session, user_id, change));
        self.write(&self.sessions, "changing a user", update).await
    }

    async fn set_password(
        &self,
        user_id: UserId,
        old: &str,
        new: &str,
    ) -> Result<Option<Timestamp>, Fault> {
        const DOING: &str = "changing a password";
        let set = on!(session => set_password(&mut session, user_id, old, new));
        self.write(&self.sessions, DOING, set).await.map_err(fault)
    }

    async fn renew_password_hash(
        &self,
        user_id: UserId,
        old: &str,
        new: &str,
    ) -> Result<(), Fault> {
        // The predicate on the old hash lets a change of the password win.
        const SQL: &str =
            "UPDATE users SET password_hash = $2 WHERE user_id = $1 AND password_hash = $3";
        let renew = on!(session => async {
            let query = sqlx::query(SQL).bind(uuid(user_id)).bind(new.to_owned());
            query.bind(old.to_owned()).execute(&mut *session).await?;
            Ok(())
        });
        self.write(&self.sessions, "renewing a password's hash", renew).await.map_err(fault)
    }

    async fn open_family(
        &self,
        token: &RefreshToken,
        password_hash: &str,
    ) -> Result<Option<Timestamp>, Fault> {
        let open = on!(session => open_family(&mut session, token, password_hash));
        self.write(&self.sessions, "opening a login", open).await.map_err(fault)
    }

    async fn rotate(
        &self,
        spent: &[u8; 32],
        next: ([u8; 32], Timestamp),
    ) -> Result<(RefreshToken, Timestamp), Error> {
        let rotate = on!(session => rotate(&mut session, spent, next));
        let rotated = self.write(&self.sessions, "exchanging a refresh token", rotate).await?;
        rotated.ok_or_else(|| Refusal::InvalidRefreshToken.into())
    }

    async fn end_family(&self, token_hash: &[u8; 32]) -> Result<(), Fault> {
        const SQL: &str = "DELETE FROM refresh_tokens WHERE family_id =
            (SELECT family_id FROM refresh_tokens WHERE token_hash = $1)";
        let end = on!(session => async {
            sqlx::query(SQL).bind(token_hash.to_vec()).execute(&mut *session).await?;
            Ok(())
        });
        self.write(&self.sessions, "ending a login", end).await.map_err(fault)
    }

    async fn end_logins(&self, user_id: UserId) -> Result<Timestamp, Fault> {
        let end = on!(session => end_logins(&mut session, user_id));
        self.write(&self.sessions, "ending the logins of a user", end).await.map_err(fault)
    }

    async fn cutoffs(&self, limit: u32) -> Result<Vec<Cutoff>, Fault> {
        const DOING: &str = "reading which logins were ended";
        const SQL: &str =
            "SELECT user_id, not_before FROM token_cutoffs ORDER BY not_before DESC LIMIT $1";
        let read = on!(session => async {
            let query = sqlx::query(SQL).bind(i64::from(limit));
            let found = query.fetch_all(&mut *session).await?;
            Ok(found.iter().map(rows::cutoff).collect::<Result<_, _>>()?)
        });
        // Without it no token is believed: many readers must not keep it waiting.
        self.read_within(READ_PATIENCE, &self.pulse, DOING, read).await
    }
}

/// The fault of a write that refuses nothing.
pub(super) fn fault(error: Error) -> Fault {
    match error {
        Error::Failed(fault) => fault,
        Error::Refused(refusal) => Fault::Corrupt { what: format!("refused: {refusal:?}") },
    }
}

fn user(row: Option<&PgRow>) -> Result<Option<User>, Interrupt> {
    Ok(row.map(rows::user).transpose()?)
}

async fn create_user(session: &mut PgConnection, user: &User) -> Result<(), Interrupt> {
    // The unique constraints decide who was first.
    const INSERT: &str =
        "INSERT INTO users (user_id, email, email_folded, email_key, name, password_hash, \
         created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";
    const SELECT: &str = "SELECT 1 FROM users WHERE user_id = $1";
    let (lowered, key) = keys_of(&user.email);
    let query = sqlx::query(INSERT)
        .bind(uuid(user.user_id))
        .bind(user.email.clone())
        .bind(lowered)
        .bind(key)
        .bind(user.name.clone())
        .bind(user.password_hash.clone())
        .bind(user.created_at.unix_ms());
    if query.execute(&mut *session).await?.rows_affected() == 1 {
        return Ok(());
    }
    let earlier = sqlx::query(SELECT).bind(uuid(user.user_id)).fetch_optional(session).await?;
    if earlier.is_some() { Ok(()) } else { Err(Refusal::EmailTaken.into()) }
}

async fn update_user(
    session: &mut PgConnection,
    user_id: UserId,
    change: &UserChange,
) -> Result<User, Interrupt> {
    const LOCK: &str = "SELECT * FROM users WHERE user_id = $1 FOR UPDATE";
    const TAKEN: &str = "SELECT 1 FROM users WHERE email_folded = $1 AND user_id <> $3
        UNION SELECT 1 FROM users WHERE coalesce(email_key, email_folded) = $2 AND user_id <> $3";
    const NAME: &str = "UPDATE users SET name = $2 WHERE user_id = $1";
    const EMAIL: &str =
        "UPDATE users SET email = $2, email_folded = $3, email_key = $4 WHERE user_id = $1";
    let row = sqlx::query(LOCK).bind(uuid(user_id)).fetch_optional(&mut *session).await?;
    let UserUpdate { user, is_renamed, has_moved } = change.clone().apply(user(row.as_ref())?)?;
    if is_renamed {
        let query = sqlx::query(NAME).bind(uuid(user_id)).bind(user.name.clone());
        query.execute(&mut *session).await?;
    }
    if !has_moved {
        return Ok(user);
    }
    let (lowered, key) = keys_of(&user.email);
    let query = sqlx::query(TAKEN).bind(&lowered).bind(key.as_ref().unwrap_or(&lowered));
    if query.bind(uuid(user_id)).fetch_optional(&mut *session).await?.is_some() {
        return Err(Refusal::EmailTaken.into());
    }
    let query = sqlx::query(EMAIL).bind(uuid(user_id)).bind(&user.email).bind(&lowered).bind(&key);
    match query.execute(session).await {
        Ok(_) => Ok(user),
        // Somebody took the address between the look and the change.
        Err(error) if constraint(&error).is_some_and(|name| ADDRESSES.contains(&name)) => {
            Err(Refusal::EmailTaken.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// What keeps two accounts from having one address.
const ADDRESSES: [&str; 2] = ["users_email_unique", "users_email_key_unique"];

fn constraint(error: &sqlx::Error) -> Option<&str> {
    error.as_database_error()?.constraint()
}

async fn set_password(
    session: &mut PgConnection,
    user_id: UserId,
    old: &str,
    new: &str,
) -> Result<Option<Timestamp>, Interrupt> {
    // The predicate on the old hash lets one of two changes at once win; a hash is made with a salt
    // of its own, so finding the new one means that this very change was committed before.
    const SQL: &str = "UPDATE users SET password_hash = $2
        WHERE user_id = $1 AND password_hash IN ($3, $2)";
    let query = sqlx::query(SQL).bind(uuid(user_id)).bind(new.to_owned()).bind(old.to_owned());
    if query.execute(&mut *session).await?.rows_affected() == 0 {
        return Ok(None);
    }
    cut(session, user_id).await.map(Some)
}

async fn end_logins(session: &mut PgConnection, user_id: UserId) -> Result<Timestamp, Interrupt> {
    const LOCK: &str = "SELECT 1 FROM users WHERE user_id = $1 FOR NO KEY UPDATE";
    sqlx::query(LOCK).bind(uuid(user_id)).execute(&mut *session).await?;
    cut(session, user_id).await
}

/// Ends all logins of a user whose row is locked, and returns the cutoff.
pub(super) async fn cut(
    session: &mut PgConnection,
    user_id: UserId,
) -> Result<Timestamp, Interrupt> {
    // The greater one counts where there is no row of the user that could be locked.
    const CUT: &str = "INSERT INTO token_cutoffs (user_id, not_before) VALUES ($1, $2)
        ON CONFLICT (user_id) DO UPDATE
            SET not_before = GREATEST(token_cutoffs.not_before, excluded.not_before)
        RETURNING not_before";
    let families = sqlx::query("DELETE FROM refresh_tokens WHERE user_id = $1");
    families.bind(uuid(user_id)).execute(&mut *session).await?;
    let (now, not_before) = moment(&mut *session, user_id).await?;
    let query = sqlx::query(CUT).bind(uuid(user_id)).bind(cutoff_at(now, not_before).unix_ms());
    Ok(rows::instant(&query.fetch_one(session).await?, "not_before")?)
}

/// What the clock shows, and the last cutoff of a user whose row is locked.
async fn moment(
    session: &mut PgConnection,
    user_id: UserId,
) -> Result<(Timestamp, Option<Timestamp>), Interrupt> {
    const SQL: &str = "SELECT now_ms() AS now,
        (SELECT not_before FROM token_cutoffs WHERE user_id = $1) AS not_before";
    let row = sqlx::query(SQL).bind(uuid(user_id)).fetch_one(session).await?;
    Ok((rows::instant(&row, "now")?, rows::maybe_instant(&row, "not_before")?))
}

/// When the access token counts as issued; `None` when the hash of the password is another one.
async fn open_family(
    session: &mut PgConnection,
    token: &RefreshToken,
    password_hash: &str,
) -> Result<Option<Timestamp>, Interrupt> {
    // After a wait the hash is compared with that of the row as it is then.
    const LOCK: &str = "SELECT 1 FROM users WHERE user_id = $1 AND password_hash = $2 FOR SHARE";
    let query = sqlx::query(LOCK).bind(uuid(token.user_id)).bind(password_hash.to_owned());
    if query.fetch_optional(&mut *session).await?.is_none() {
        return Ok(None);
    }
    insert(&mut *session, token).await?;
    let (now, not_before) = moment(session, token.user_id).await?;
    Ok(Some(issued_at(now, not_before)))
}

async fn insert(session: &mut PgConnection, token: &RefreshToken) -> Result<(), Interrupt> {
    const SQL: &str =
        "INSERT INTO refresh_tokens (token_hash, family_id, user_id, expires_at, spent_at)
        VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
    let query = sqlx::query(SQL)
        .bind(token.token_hash.to_vec())
        .bind(token.family_id)
        .bind(uuid(token.user_id))
        .bind(token.expires_at.unix_ms())
        .bind(ms(token.spent_at));
    query.execute(session).await?;
    Ok(())
}

/// The next token, and when the access token beside it counts as issued; `None` when the spent one is
/// worth nothing, and its family has ended for it.
async fn rotate(
    session: &mut PgConnection,
    spent: &[u8; 32],
    next: ([u8; 32], Timestamp),
) -> Result<Option<(RefreshToken, Timestamp)>, Interrupt> {
    const USER: &str = "SELECT 1 FROM users WHERE user_id =
        (SELECT user_id FROM refresh_tokens WHERE token_hash = $1) FOR SHARE";
    const SPEND: &str = "UPDATE refresh_tokens SET spent_at = $2 WHERE token_hash = $1";
    // The clock is read by a statement of its own, after the lock was waited for.
    const LOCK: &str = "SELECT 1 FROM refresh_tokens WHERE token_hash = $1 FOR UPDATE";
    const LOAD: &str = "SELECT t.*, now_ms() AS now, c.not_before
        FROM refresh_tokens t LEFT JOIN token_cutoffs c ON c.user_id = t.user_id
        WHERE t.token_hash = $1";
    // The user before the token, as what ends all logins of the user does.
    sqlx::query(USER).bind(spent.to_vec()).execute(&mut *session).await?;
    sqlx::query(LOCK).bind(spent.to_vec()).execute(&mut *session).await?;
    let row = sqlx::query(LOAD).bind(spent.to_vec()).fetch_optional(&mut *session).await?;
    let Some(row) = row else { return Ok(None) };
    let (old, now) = (rows::refresh_token(&row)?, rows::instant(&row, "now")?);
    let at = issued_at(now, rows::maybe_instant(&row, "not_before")?);
    match old.exchange(next, now) {
        Refresh::Refuse => Ok(None),
        Refresh::EndFamily => {
            let query = sqlx::query("DELETE FROM refresh_tokens WHERE family_id = $1");
            query.bind(old.family_id).execute(session).await?;
            Ok(None)
        }
        Refresh::Rotate { spent_at, next } => {
            let query = sqlx::query(SPEND).bind(spent.to_vec()).bind(spent_at.unix_ms());
            query.execute(&mut *session).await?;
            insert(session, &next).await?;
            Ok(Some((next, at)))
        }
    }
}

/// Removes at most `limit` keys, tokens, invitations and cutoffs each that are old; returns how many.
pub(super) async fn purge(session: &mut PgConnection, limit: i64) -> Result<u64, Interrupt> {
    const OLD: [&str; 2] = [
        "DELETE FROM creation_keys WHERE (user_id, operation, key) IN
            (SELECT user_id, operation, key FROM creation_keys WHERE expires_at <= now_ms() LIMIT $1)",
        "DELETE FROM refresh_tokens WHERE token_hash IN
            (SELECT token_hash FROM refresh_tokens WHERE expires_at <= now_ms() LIMIT $1)",
    ];
    // The clock is read once, so that the indexes by time find them.
    const INVITATIONS: &str = "DELETE FROM invitations WHERE invitation_id IN
        (SELECT invitation_id FROM invitations
         WHERE expires_at <= (SELECT now_ms() - $2) ORDER BY expires_at LIMIT $1)";
    // The time is judged twice: a row that was found and then written anew stays.
    const CUTOFFS: &str = "DELETE FROM token_cutoffs WHERE user_id IN
        (SELECT user_id FROM token_cutoffs
         WHERE not_before <= (SELECT now_ms() - $2) ORDER BY not_before LIMIT $1)
        AND not_before <= (SELECT now_ms() - $2)";
    const REVOKED: &str = "DELETE FROM api_keys WHERE key_id IN
        (SELECT key_id FROM api_keys
         WHERE revoked_at <= (SELECT now_ms() - $2) ORDER BY revoked_at LIMIT $1)";
    const EXPIRED: &str = "DELETE FROM api_keys WHERE key_id IN
        (SELECT key_id FROM api_keys
         WHERE expires_at <= (SELECT now_ms() - $2) ORDER BY expires_at LIMIT $1)";
    let mut removed = 0;
    for sql in OLD {
        removed += sqlx::query(sql).bind(limit).execute(&mut *session).await?.rows_affected();
    }
    let old = [
        (INVITATIONS, INVITATION_KEPT_MS),
        (CUTOFFS, CUTOFF_KEPT_MS),
        (REVOKED, KEY_KEPT_MS),
        (EXPIRED, KEY_KEPT_MS),
    ];
    for (sql, kept_ms) in old {
        let query = sqlx::query(sql).bind(limit).bind(kept_ms);
        removed += query.execute(&mut *session).await?.rows_affected();
    }
    Ok(removed)
}
