//! Keys of organizations.

use super::events::{keep_key, replay, replayed};
use super::organizations::change_in;
use super::writer::Writing;
use super::{Sqlite, failed};
use crate::rows::api_key;
use crate::{ApiKeys, ChangeNote, Created, CreationKey, LAST_USE_EVERY_MS, StoredKey, Timed as _};
use async_trait::async_trait;
use engine::access::{ApiKey, KEYS_MAX, KeyCommand, OrgCommand};
use engine::{Error, Fault, KeyId, OrgId, UserId};

#[async_trait]
impl ApiKeys for Sqlite {
    async fn create_api_key(
        &self,
        key: &ApiKey,
        by: UserId,
        change: &ChangeNote,
        creation: Option<&CreationKey>,
    ) -> Result<Created<KeyId>, Error> {
        const OPERATION: &str = "create_api_key";
        let (key, change, creation) = (key.clone(), change.clone(), creation.cloned());
        let create = move |writing: &Writing<'_>| {
            if let Some(id) = replay(writing, OPERATION, creation.as_ref())? {
                return replayed(KeyId::from_slice(&id));
            }
            let (org_id, key_id) = (key.org_id, key.key_id);
            let command = OrgCommand::Key(KeyCommand::Create(Box::new(key)));
            change_in(writing, org_id, by, &command, &change)?;
            keep_key(writing, OPERATION, creation.as_ref(), key_id.as_bytes())?;
            Ok(Created { id: key_id, replayed: false })
        };
        self.writer.write("making a key", create).await
    }

    async fn api_keys(&self, org_id: OrgId) -> Result<Vec<StoredKey>, Fault> {
        const DOING: &str = "listing keys";
        const SQL: &str = "SELECT * FROM api_keys WHERE org_id = ? AND revoked_at IS NULL
            AND (expires_at IS NULL OR expires_at > ?) ORDER BY key_id LIMIT ?";
        let query = sqlx::query(SQL).bind(org_id.as_bytes().to_vec()).bind(self.now().unix_ms());
        let query = query.bind(i64::try_from(KEYS_MAX).expect("a small number"));
        let found = query.fetch_all(&self.readers).await.map_err(failed(DOING))?;
        found.iter().map(api_key).collect()
    }

    async fn api_key(&self, key_id: KeyId) -> Result<Option<StoredKey>, Fault> {
        const SQL: &str = "SELECT * FROM api_keys WHERE key_id = ?";
        let query = sqlx::query(SQL).bind(key_id.as_bytes().to_vec());
        let row = query.fetch_optional(&self.readers).await.map_err(failed("reading a key"))?;
        row.as_ref().map(api_key).transpose()
    }

    async fn api_key_by_hash(&self, hash: &[u8; 32]) -> Result<Option<ApiKey>, Fault> {
        const SQL: &str = "SELECT * FROM api_keys WHERE hash = ?1
            UNION ALL SELECT * FROM api_keys WHERE previous_hash = ?1 LIMIT 1";
        let query = sqlx::query(SQL).bind(hash.to_vec());
        let row = query.fetch_optional(&self.readers).await.map_err(failed("finding a key"))?;
        Ok(row.as_ref().map(api_key).transpose()?.map(|stored| stored.key))
    }

    async fn note_use(&self, keys: &[KeyId]) -> Result<(), Fault> {
        const DOING: &str = "noting the use of keys";
        const SQL: &str = "UPDATE api_keys SET last_used_at = ?2
            WHERE key_id = ?1 AND (last_used_at IS NULL OR last_used_at <= ?2 - ?3)";
        let keys = keys.to_vec();
        let note = move |writing: &Writing<'_>| {
            let now = writing.now.unix_ms();
            writing.run_all(DOING, SQL, &keys, |key| (key.as_bytes(), now, LAST_USE_EVERY_MS))
        };
        self.writer.write(DOING, note).await.map(drop)
    }
}
