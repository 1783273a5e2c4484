//! Operators of the installation.

use super::organizations::read_log;
use super::writer::Writing;
use super::{Sqlite, failed};
use crate::rows::operator;
use crate::{AccessPage, EntryFilter, Operator, Operators};
use async_trait::async_trait;
use engine::access::OPERATORS_MAX;
use engine::{Error, Fault, Refusal, UserId};

#[async_trait]
impl Operators for Sqlite {
    async fn operators(&self) -> Result<Vec<Operator>, Fault> {
        const SQL: &str = "SELECT * FROM operators ORDER BY user_id LIMIT ?";
        let limit = i64::try_from(OPERATORS_MAX).expect("a small number");
        let query = sqlx::query(SQL).bind(limit);
        let found = query.fetch_all(&self.readers).await.map_err(failed("reading operators"))?;
        found.iter().map(operator).collect()
    }

    async fn add_operator(&self, user_id: UserId) -> Result<bool, Error> {
        const DOING: &str = "adding an operator";
        const USER: &str = "SELECT 1 FROM users WHERE user_id = ?";
        const ONE: &str = "SELECT 1 FROM operators WHERE user_id = ?";
        // From the lowest id on: it is read by the primary key.
        const ALL: &str = "SELECT 1 FROM operators WHERE user_id >= x''";
        const ADD: &str = "INSERT INTO operators (user_id, added_at) VALUES (?, ?)";
        let add = move |writing: &Writing<'_>| {
            let id = user_id.as_bytes();
            if writing.one(DOING, USER, [id], |_| Ok(()))?.is_none() {
                return Err(Error::from(Refusal::NotFound { what: "user" }));
            }
            if writing.one(DOING, ONE, [id], |_| Ok(()))?.is_some() {
                return Ok(false);
            }
            if writing.all(DOING, ALL, (), |_| Ok(()))?.len() >= OPERATORS_MAX {
                let limit = OPERATORS_MAX;
                return Err(Refusal::LimitReached { what: "operators", limit }.into());
            }
            writing.run(DOING, ADD, (id, writing.now.unix_ms()))?;
            Ok(true)
        };
        self.writer.write(DOING, add).await
    }

    async fn remove_operator(&self, user_id: UserId) -> Result<bool, Fault> {
        const DOING: &str = "removing an operator";
        const SQL: &str = "DELETE FROM operators WHERE user_id = ?";
        let remove = move |writing: &Writing<'_>| {
            Ok::<_, Fault>(writing.run(DOING, SQL, [user_id.as_bytes()])? == 1)
        };
        self.writer.write(DOING, remove).await
    }

    async fn whole_access_log(&self, filter: EntryFilter, limit: u32) -> Result<AccessPage, Fault> {
        read_log(self, None, filter, limit).await
    }
}
