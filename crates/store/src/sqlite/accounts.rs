//! Users and refresh tokens.

use super::rows::{bind_id, read_rows};
use super::writer::Writing;
use super::{Sqlite, failed};
use crate::Accounts;
use crate::keys::keys_of;
use crate::rows::{self, Columns as _, instant, ms, refresh_token, user};
use async_trait::async_trait;
use engine::account::{
    Cutoff, Refresh, RefreshToken, User, UserChange, UserUpdate, cutoff_at, issued_at,
};
use engine::{Error, Fault, Refusal, Timestamp, UserId};
use std::collections::BTreeSet;

fn insert(writing: &Writing<'_>, token: &RefreshToken) -> Result<(), Fault> {
    const SQL: &str =
        "INSERT INTO refresh_tokens (token_hash, family_id, user_id, expires_at, spent_at)
        VALUES (?, ?, ?, ?, ?)";
    let row = (
        &token.token_hash,
        token.family_id.as_bytes(),
        token.user_id.as_bytes(),
        token.expires_at.unix_ms(),
        ms(token.spent_at),
    );
    writing.run("keeping a refresh token", SQL, row).map(drop)
}

/// The last cutoff of a user.
fn not_before(writing: &Writing<'_>, user_id: UserId) -> Result<Option<Timestamp>, Fault> {
    const DOING: &str = "reading the cutoff of a user";
    const SQL: &str = "SELECT not_before FROM token_cutoffs WHERE user_id = ?";
    writing.one(DOING, SQL, [user_id.as_bytes()], |row| instant(row, "not_before"))
}

/// When an access token counts as issued to a user in this write.
fn issued(writing: &Writing<'_>, user_id: UserId) -> Result<Timestamp, Fault> {
    Ok(issued_at(writing.now, not_before(writing, user_id)?))
}

/// Ends all logins of a user, and returns the cutoff.
pub(super) fn end_logins(writing: &Writing<'_>, user_id: UserId) -> Result<Timestamp, Fault> {
    const DOING: &str = "ending the logins of a user";
    const FAMILIES: &str = "DELETE FROM refresh_tokens WHERE user_id = ?";
    const CUT: &str = "INSERT INTO token_cutoffs (user_id, not_before) VALUES (?, ?)
        ON CONFLICT (user_id) DO UPDATE SET not_before = excluded.not_before";
    let cutoff = cutoff_at(writing.now, not_before(writing, user_id)?);
    writing.run(DOING, FAMILIES, [user_id.as_bytes()])?;
    writing.run(DOING, CUT, (user_id.as_bytes(), cutoff.unix_ms()))?;
    Ok(cutoff)
}

#[async_trait]
impl Accounts for Sqlite {
    async fn create_user(&self, new: &User) -> Result<(), Error> {
        const DOING: &str = "creating a user";
        // The unique constraints decide who was first.
        const SQL: &str =
            "INSERT INTO users (user_id, email, email_folded, email_key, name, password_hash, created_at)
            VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
        let new = new.clone();
        let insert = move |writing: &Writing<'_>| {
            let (lowered, key) = keys_of(&new.email);
            let row = (
                new.user_id.as_bytes(),
                &new.email,
                lowered,
                key,
                &new.name,
                &new.password_hash,
                new.created_at.unix_ms(),
            );
            writing.run(DOING, SQL, row)
        };
        let inserted = self.writer.write(DOING, insert).await?;
        if inserted == 1 { Ok(()) } else { Err(Refusal::EmailTaken.into()) }
    }

    async fn user_by_email(&self, email: &str) -> Result<Option<User>, Fault> {
        // Always both, so that an unknown address takes as long as a known one.
        const SQL: &str = "SELECT * FROM users WHERE email_folded = ?1
            UNION SELECT * FROM users WHERE coalesce(email_key, email_folded) = ?2";
        let (lowered, key) = keys_of(email);
        let query = sqlx::query(SQL).bind(lowered.clone()).bind(key.unwrap_or(lowered.clone()));
        let found = query.fetch_all(&self.readers).await.map_err(failed("finding a user"))?;
        let mut own = found.first();
        for row in &found {
            if row.text("email_folded")? == lowered {
                own = Some(row);
            }
        }
        own.map(user).transpose()
    }

    async fn user(&self, user_id: UserId) -> Result<Option<User>, Fault> {
        let query = sqlx::query("SELECT * FROM users WHERE user_id = ?");
        let query = query.bind(user_id.as_bytes().to_vec());
        let row = query.fetch_optional(&self.readers).await.map_err(failed("reading a user"))?;
        row.as_ref().map(user).transpose()
    }

    async fn users(&self, ids: &[UserId]) -> Result<Vec<User>, Fault> {
        const DOING: &str = "reading users";
        const SQL: &str = "WITH wanted (user_id) AS ({})
            SELECT u.* FROM wanted CROSS JOIN users u USING (user_id)";
        // Who is named twice is found once.
        let ids: Vec<_> = ids.iter().collect::<BTreeSet<_>>().into_iter().copied().collect();
        let mut connection = self.readers.acquire().await.map_err(failed(DOING))?;
        let found = read_rows(&mut connection, SQL, 1, &ids, bind_id).await;
        found.map_err(failed(DOING))?.iter().map(user).collect()
    }

    async fn update_user(&self, user_id: UserId, change: UserChange) -> Result<User, Error> {
        const DOING: &str = "changing a user";
        const USER: &str = "SELECT * FROM users WHERE user_id = ?";
        const TAKEN: &str = "SELECT user_id FROM users WHERE email_folded = ?1 AND user_id <> ?3
            UNION SELECT user_id FROM users
                WHERE coalesce(email_key, email_folded) = ?2 AND user_id <> ?3";
        const NAME: &str = "UPDATE users SET name = ? WHERE user_id = ?";
        const EMAIL: &str =
            "UPDATE users SET email = ?, email_folded = ?, email_key = ? WHERE user_id = ?";
        let update = move |writing: &Writing<'_>| {
            let id = user_id.as_bytes();
            let found = writing.one(DOING, USER, [id], |row| user(row))?;
            let UserUpdate { user, is_renamed, has_moved } = change.apply(found)?;
            if is_renamed {
                writing.run(DOING, NAME, (&user.name, id))?;
            }
            if has_moved {
                let (lowered, key) = keys_of(&user.email);
                let folded = key.as_ref().unwrap_or(&lowered);
                if writing.one(DOING, TAKEN, (&lowered, folded, id), |_| Ok(()))?.is_some() {
                    return Err(Error::from(Refusal::EmailTaken));
                }
                writing.run(DOING, EMAIL, (&user.email, &lowered, &key, id))?;
            }
            Ok(user)
        };
        self.writer.write(DOING, update).await
    }

    async fn set_password(
        &self,
        user_id: UserId,
        old: &str,
        new: &str,
    ) -> Result<Option<Timestamp>, Fault> {
        const DOING: &str = "changing a password";
        // The predicate on the old hash lets one of two changes at once win.
        const UPDATE: &str =
            "UPDATE users SET password_hash = ? WHERE user_id = ? AND password_hash = ?";
        let (old, new) = (old.to_owned(), new.to_owned());
        let change = move |writing: &Writing<'_>| {
            let changed = writing.run(DOING, UPDATE, (new, user_id.as_bytes(), old))? == 1;
            changed.then(|| end_logins(writing, user_id)).transpose()
        };
        self.writer.write(DOING, change).await
    }

    async fn renew_password_hash(
        &self,
        user_id: UserId,
        old: &str,
        new: &str,
    ) -> Result<(), Fault> {
        const DOING: &str = "renewing a password's hash";
        // The predicate on the old hash lets a change of the password win.
        const SQL: &str =
            "UPDATE users SET password_hash = ? WHERE user_id = ? AND password_hash = ?";
        let (old, new) = (old.to_owned(), new.to_owned());
        let renew = move |writing: &Writing<'_>| {
            writing.run(DOING, SQL, (new, user_id.as_bytes(), old)).map(drop)
        };
        self.writer.write(DOING, renew).await
    }

    async fn open_family(
        &self,
        token: &RefreshToken,
        password_hash: &str,
    ) -> Result<Option<Timestamp>, Fault> {
        const DOING: &str = "opening a login";
        const SQL: &str = "SELECT password_hash FROM users WHERE user_id = ?";
        let (token, hash) = (token.clone(), password_hash.to_owned());
        let open = move |writing: &Writing<'_>| {
            let id = token.user_id.as_bytes();
            let is_it = writing.one(DOING, SQL, [id], |row| Ok(row.text("password_hash")? == hash));
            if is_it? != Some(true) {
                return Ok(None);
            }
            insert(writing, &token)?;
            issued(writing, token.user_id).map(Some)
        };
        self.writer.write(DOING, open).await
    }

    async fn rotate(
        &self,
        spent: &[u8; 32],
        next: ([u8; 32], Timestamp),
    ) -> Result<(RefreshToken, Timestamp), Error> {
        const DOING: &str = "exchanging a refresh token";
        const TOKEN: &str = "SELECT * FROM refresh_tokens WHERE token_hash = ?";
        const END: &str = "DELETE FROM refresh_tokens WHERE family_id = ?";
        const SPEND: &str = "UPDATE refresh_tokens SET spent_at = ? WHERE token_hash = ?";
        let spent = *spent;
        // Nothing, when the token is refused: that it ends its family is written all the same.
        let exchange = move |writing: &Writing<'_>| {
            let Some(old) = writing.one(DOING, TOKEN, [&spent], |row| refresh_token(row))? else {
                return Ok(None);
            };
            match old.exchange(next, writing.now) {
                Refresh::Refuse => Ok(None),
                Refresh::EndFamily => {
                    writing.run(DOING, END, [old.family_id.as_bytes()])?;
                    Ok(None)
                }
                Refresh::Rotate { spent_at, next } => {
                    writing.run(DOING, SPEND, (spent_at.unix_ms(), &spent))?;
                    insert(writing, &next)?;
                    let at = issued(writing, next.user_id)?;
                    Ok::<_, Fault>(Some((next, at)))
                }
            }
        };
        let exchanged = self.writer.write(DOING, exchange).await?;
        exchanged.ok_or_else(|| Refusal::InvalidRefreshToken.into())
    }

    async fn end_family(&self, token_hash: &[u8; 32]) -> Result<(), Fault> {
        const DOING: &str = "ending a login";
        const SQL: &str = "DELETE FROM refresh_tokens WHERE family_id =
            (SELECT family_id FROM refresh_tokens WHERE token_hash = ?)";
        let token_hash = *token_hash;
        let end = move |writing: &Writing<'_>| writing.run(DOING, SQL, [&token_hash]).map(drop);
        self.writer.write(DOING, end).await
    }

    async fn end_logins(&self, user_id: UserId) -> Result<Timestamp, Fault> {
        const DOING: &str = "ending the logins of a user";
        self.writer.write(DOING, move |writing| end_logins(writing, user_id)).await
    }

    async fn cutoffs(&self, limit: u32) -> Result<Vec<Cutoff>, Fault> {
        const DOING: &str = "reading which logins were ended";
        const SQL: &str =
            "SELECT user_id, not_before FROM token_cutoffs ORDER BY not_before DESC LIMIT ?";
        // Without it no token is believed: many readers must not keep it waiting.
        let query = sqlx::query(SQL).bind(limit).fetch_all(self.prompt_readers());
        query.await.map_err(failed(DOING))?.iter().map(rows::cutoff).collect()
    }
}
