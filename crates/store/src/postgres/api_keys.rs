//! Keys of organizations.

use super::accounts::fault;
use super::events::{claim, no_id};
use super::organizations::change_in;
use super::rows::{uuid, uuids};
use super::{Postgres, on};
use crate::rows::api_key;
use crate::{ApiKeys, ChangeNote, Created, CreationKey, LAST_USE_EVERY_MS, StoredKey};
use async_trait::async_trait;
use engine::access::{ApiKey, KEYS_MAX, KeyCommand, OrgCommand};
use engine::{Error, Fault, KeyId, OrgId, UserId};

#[async_trait]
impl ApiKeys for Postgres {
    async fn create_api_key(
        &self,
        key: &ApiKey,
        by: UserId,
        change: &ChangeNote,
        creation: Option<&CreationKey>,
    ) -> Result<Created<KeyId>, Error> {
        const OPERATION: &str = "create_api_key";
        let (org_id, key_id) = (key.org_id, key.key_id);
        let command = &OrgCommand::Key(KeyCommand::Create(Box::new(key.clone())));
        let create = on!(session => async {
            if let Some(id) = claim(&mut session, OPERATION, creation, key_id.as_bytes()).await? {
                let found = KeyId::from_slice(&id).ok_or_else(no_id)?;
                return Ok(Created { id: found, replayed: found != key_id });
            }
            change_in(&mut session, org_id, by, command, change).await?;
            Ok(Created { id: key_id, replayed: false })
        });
        self.write(&self.sessions, "making a key", create).await
    }

    async fn api_keys(&self, org_id: OrgId) -> Result<Vec<StoredKey>, Fault> {
        const SQL: &str = "SELECT * FROM api_keys WHERE org_id = $1 AND revoked_at IS NULL
            AND (expires_at IS NULL OR expires_at > now_ms()) ORDER BY key_id LIMIT $2";
        let limit = i64::try_from(KEYS_MAX).expect("a small number");
        let read = on!(session => async {
            let query = sqlx::query(SQL).bind(uuid(org_id)).bind(limit);
            let found = query.fetch_all(&mut *session).await?;
            Ok(found.iter().map(api_key).collect::<Result<_, _>>()?)
        });
        self.read("listing keys", read).await
    }

    async fn api_key(&self, key_id: KeyId) -> Result<Option<StoredKey>, Fault> {
        const SQL: &str = "SELECT * FROM api_keys WHERE key_id = $1";
        let read = on!(session => async {
            let row = sqlx::query(SQL).bind(uuid(key_id)).fetch_optional(&mut *session).await?;
            Ok(row.as_ref().map(api_key).transpose()?)
        });
        self.read("reading a key", read).await
    }

    async fn api_key_by_hash(&self, hash: &[u8; 32]) -> Result<Option<ApiKey>, Fault> {
        const SQL: &str = "SELECT * FROM api_keys WHERE hash = $1
            UNION ALL SELECT * FROM api_keys WHERE previous_hash = $1 LIMIT 1";
        let find = on!(session => async {
            let query = sqlx::query(SQL).bind(hash.to_vec());
            let row = query.fetch_optional(&mut *session).await?;
            Ok(row.as_ref().map(api_key).transpose()?.map(|stored| stored.key))
        });
        self.read("finding a key", find).await
    }

    async fn note_use(&self, keys: &[KeyId]) -> Result<(), Fault> {
        // Instances write of the same keys at the same time: in one order, and what another one is
        // writing just now is noted by that one.
        const SQL: &str = "UPDATE api_keys SET last_used_at = now_ms() WHERE key_id IN
            (SELECT key_id FROM api_keys WHERE key_id = ANY($1)
                AND (last_used_at IS NULL OR last_used_at <= now_ms() - $2)
             ORDER BY key_id FOR NO KEY UPDATE SKIP LOCKED)";
        let note = on!(session => async {
            let query = sqlx::query(SQL).bind(uuids(keys)).bind(LAST_USE_EVERY_MS);
            query.execute(&mut *session).await?;
            Ok(())
        });
        self.write(&self.sessions, "noting the use of keys", note).await.map_err(fault)
    }
}
