//! Users and refresh tokens.

use super::writer::Writing;
use super::{Sqlite, failed};
use crate::Accounts;
use crate::rows::{ms, refresh_token, user};
use async_trait::async_trait;
use engine::account::{Refresh, RefreshToken, User};
use engine::event::folded;
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
        // The unique constraint decides who was first.
        const SQL: &str =
            "INSERT INTO users (user_id, email, email_folded, name, password_hash, created_at)
            VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (email_folded) DO NOTHING";
        let new = new.clone();
        let insert = move |writing: &Writing<'_>| {
            let row = (
                new.user_id.as_bytes(),
                &new.email,
                folded(&new.email),
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
        let query = sqlx::query("SELECT * FROM users WHERE email_folded = ?").bind(folded(email));
        let row = query.fetch_optional(&self.readers).await.map_err(failed("finding a user"))?;
        row.as_ref().map(user).transpose()
    }

    async fn user(&self, user_id: UserId) -> Result<Option<User>, Fault> {
        let query = sqlx::query("SELECT * FROM users WHERE user_id = ?");
        let query = query.bind(user_id.as_bytes().to_vec());
        let row = query.fetch_optional(&self.readers).await.map_err(failed("reading a user"))?;
        row.as_ref().map(user).transpose()
    }

    async fn update_user(
        &self,
        user_id: UserId,
        name: Option<Option<String>>,
        email: Option<String>,
    ) -> Result<User, Error> {
        const DOING: &str = "changing a user";
        const USER: &str = "SELECT * FROM users WHERE user_id = ?";
        const TAKEN: &str = "SELECT user_id FROM users WHERE email_folded = ? AND user_id <> ?";
        const UPDATE: &str =
            "UPDATE users SET email = ?, email_folded = ?, name = ? WHERE user_id = ?";
        let change = move |writing: &Writing<'_>| {
            let id = user_id.as_bytes();
            let found = writing.one(DOING, USER, [id], |row| user(row))?;
            let mut changed = found.ok_or(Refusal::NotFound { what: "user" })?;
            if let Some(email) = email {
                if writing.one(DOING, TAKEN, (folded(&email), id), |_| Ok(()))?.is_some() {
                    return Err(Error::from(Refusal::EmailTaken));
                }
                changed.email = email;
            }
            if let Some(name) = name {
                changed.name = name;
            }
            let row = (&changed.email, folded(&changed.email), &changed.name, id);
            writing.run(DOING, UPDATE, row)?;
            Ok(changed)
        };
        self.writer.write(DOING, change).await
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
        const SPEND: &str =
            "UPDATE refresh_tokens SET spent_at = COALESCE(spent_at, ?) WHERE token_hash = ?";
        let spent = *spent;
        // Nothing, when the token is refused: that it ends its family is written all the same.
        let exchange = move |writing: &Writing<'_>| {
            let Some(old) = writing.one(DOING, TOKEN, [&spent], |row| refresh_token(row))? else {
                return Ok(None);
            };
            match old.judge(writing.now) {
                Refresh::Refuse => return Ok(None),
                Refresh::EndFamily => {
                    writing.run(DOING, END, [old.family_id.as_bytes()])?;
                    return Ok(None);
                }
                Refresh::Rotate => {}
            }
            writing.run(DOING, SPEND, (writing.now.unix_ms(), &spent))?;
            let (token_hash, expires_at) = next;
            let token = RefreshToken { token_hash, expires_at, spent_at: None, ..old };
            insert(writing, &token)?;
            Ok::<_, Fault>(Some(token))
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
