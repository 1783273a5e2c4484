//! Users and refresh tokens.

use super::writer::Writing;
use super::{Sqlite, failed};
use crate::Accounts;
use crate::keys::keys_of;
use crate::rows::{Columns as _, ms, refresh_token, user};
use async_trait::async_trait;
use engine::account::{Refresh, RefreshToken, User, UserChange, UserUpdate};
use engine::{Error, Fault, Refusal, Timestamp, UserId};

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

    async fn set_password(&self, user_id: UserId, old: &str, new: &str) -> Result<bool, Fault> {
        const DOING: &str = "changing a password";
        // The predicate on the old hash lets one of two changes at once win.
        const UPDATE: &str =
            "UPDATE users SET password_hash = ? WHERE user_id = ? AND password_hash = ?";
        const LOGINS: &str = "DELETE FROM refresh_tokens WHERE user_id = ?";
        let (old, new) = (old.to_owned(), new.to_owned());
        let change = move |writing: &Writing<'_>| {
            let changed = writing.run(DOING, UPDATE, (new, user_id.as_bytes(), old))? == 1;
            if changed {
                writing.run(DOING, LOGINS, [user_id.as_bytes()])?;
            }
            Ok(changed)
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

    async fn open_family(&self, token: &RefreshToken) -> Result<(), Fault> {
        let token = token.clone();
        self.writer.write("keeping a refresh token", move |writing| insert(writing, &token)).await
    }

    async fn rotate(
        &self,
        spent: &[u8; 32],
        next: ([u8; 32], Timestamp),
    ) -> Result<RefreshToken, Error> {
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
                    Ok::<_, Fault>(Some(next))
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
}
