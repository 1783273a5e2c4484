//! Users and refresh tokens.

use super::{Sqlite, failed};
use crate::Accounts;
use crate::rows::{ms, refresh_token, user};
use async_trait::async_trait;
use engine::account::{Refresh, RefreshToken, User};
use engine::event::folded;
use engine::{Error, Fault, Refusal, Timestamp, UserId};
use sqlx::SqliteConnection;

async fn insert(connection: &mut SqliteConnection, token: &RefreshToken) -> Result<(), Fault> {
    const SQL: &str =
        "INSERT INTO refresh_tokens (token_hash, family_id, user_id, expires_at, spent_at)
        VALUES (?, ?, ?, ?, ?)";
    let query = sqlx::query(SQL)
        .bind(token.token_hash.to_vec())
        .bind(token.family_id.as_bytes().to_vec())
        .bind(token.user_id.as_bytes().to_vec())
        .bind(token.expires_at.unix_ms())
        .bind(ms(token.spent_at));
    query.execute(connection).await.map_err(failed("keeping a refresh token"))?;
    Ok(())
}

#[async_trait]
impl Accounts for Sqlite {
    async fn create_user(&self, user: &User) -> Result<(), Error> {
        const DOING: &str = "creating a user";
        // The unique constraint decides who was first.
        const SQL: &str =
            "INSERT INTO users (user_id, email, email_folded, name, password_hash, created_at)
            VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (email_folded) DO NOTHING";
        let (mut transaction, _) = self.begin(DOING).await?;
        let query = sqlx::query(SQL)
            .bind(user.user_id.as_bytes().to_vec())
            .bind(&user.email)
            .bind(folded(&user.email))
            .bind(&user.name)
            .bind(&user.password_hash)
            .bind(user.created_at.unix_ms());
        let inserted = query.execute(&mut *transaction).await.map_err(failed(DOING))?;
        transaction.commit().await.map_err(failed(DOING))?;
        if inserted.rows_affected() == 1 { Ok(()) } else { Err(Refusal::EmailTaken.into()) }
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
        let id = || user_id.as_bytes().to_vec();
        let (mut transaction, _) = self.begin(DOING).await?;
        let query = sqlx::query("SELECT * FROM users WHERE user_id = ?").bind(id());
        let row = query.fetch_optional(&mut *transaction).await.map_err(failed(DOING))?;
        let mut changed = user(&row.ok_or(Refusal::NotFound { what: "user" })?)?;
        if let Some(email) = email {
            let query = sqlx::query("SELECT 1 FROM users WHERE email_folded = ? AND user_id <> ?");
            let query = query.bind(folded(&email)).bind(id());
            let taken = query.fetch_optional(&mut *transaction).await.map_err(failed(DOING))?;
            if taken.is_some() {
                return Err(Refusal::EmailTaken.into());
            }
            changed.email = email;
        }
        if let Some(name) = name {
            changed.name = name;
        }
        let query =
            sqlx::query("UPDATE users SET email = ?, email_folded = ?, name = ? WHERE user_id = ?")
                .bind(&changed.email)
                .bind(folded(&changed.email))
                .bind(&changed.name)
                .bind(id());
        query.execute(&mut *transaction).await.map_err(failed(DOING))?;
        transaction.commit().await.map_err(failed(DOING))?;
        Ok(changed)
    }

    async fn set_password(&self, user_id: UserId, old: &str, new: &str) -> Result<bool, Fault> {
        const DOING: &str = "changing a password";
        let (mut transaction, _) = self.begin(DOING).await?;
        // The predicate on the old hash lets one of two changes at once win.
        let query = sqlx::query(
            "UPDATE users SET password_hash = ? WHERE user_id = ? AND password_hash = ?",
        )
        .bind(new)
        .bind(user_id.as_bytes().to_vec())
        .bind(old);
        let updated = query.execute(&mut *transaction).await.map_err(failed(DOING))?;
        let query = sqlx::query("DELETE FROM refresh_tokens WHERE user_id = ?");
        let query = query.bind(user_id.as_bytes().to_vec());
        if updated.rows_affected() == 1 {
            query.execute(&mut *transaction).await.map_err(failed(DOING))?;
        }
        transaction.commit().await.map_err(failed(DOING))?;
        Ok(updated.rows_affected() == 1)
    }

    async fn open_family(&self, token: &RefreshToken) -> Result<(), Fault> {
        let (mut transaction, _) = self.begin("keeping a refresh token").await?;
        insert(&mut transaction, token).await?;
        transaction.commit().await.map_err(failed("keeping a refresh token"))
    }

    async fn rotate(
        &self,
        spent: &[u8; 32],
        next: ([u8; 32], Timestamp),
    ) -> Result<RefreshToken, Error> {
        const DOING: &str = "exchanging a refresh token";
        let (mut transaction, now) = self.begin(DOING).await?;
        let query = sqlx::query("SELECT * FROM refresh_tokens WHERE token_hash = ?");
        let row = query.bind(spent.to_vec()).fetch_optional(&mut *transaction).await;
        let row = row.map_err(failed(DOING))?.ok_or(Refusal::InvalidRefreshToken)?;
        let old = refresh_token(&row)?;
        match old.judge(now) {
            Refresh::Refuse => return Err(Refusal::InvalidRefreshToken.into()),
            Refresh::EndFamily => {
                let query = sqlx::query("DELETE FROM refresh_tokens WHERE family_id = ?");
                let query = query.bind(old.family_id.as_bytes().to_vec());
                query.execute(&mut *transaction).await.map_err(failed(DOING))?;
                transaction.commit().await.map_err(failed(DOING))?;
                return Err(Refusal::InvalidRefreshToken.into());
            }
            Refresh::Rotate => {}
        }
        let query = sqlx::query(
            "UPDATE refresh_tokens SET spent_at = COALESCE(spent_at, ?) WHERE token_hash = ?",
        );
        let query = query.bind(now.unix_ms()).bind(spent.to_vec());
        query.execute(&mut *transaction).await.map_err(failed(DOING))?;
        let (token_hash, expires_at) = next;
        let token = RefreshToken { token_hash, expires_at, spent_at: None, ..old };
        insert(&mut transaction, &token).await?;
        transaction.commit().await.map_err(failed(DOING))?;
        Ok(token)
    }

    async fn end_family(&self, token_hash: &[u8; 32]) -> Result<(), Fault> {
        const DOING: &str = "ending a login";
        const SQL: &str = "DELETE FROM refresh_tokens WHERE family_id =
            (SELECT family_id FROM refresh_tokens WHERE token_hash = ?)";
        let (mut transaction, _) = self.begin(DOING).await?;
        let query = sqlx::query(SQL).bind(token_hash.to_vec());
        query.execute(&mut *transaction).await.map_err(failed(DOING))?;
        transaction.commit().await.map_err(failed(DOING))
    }
}
