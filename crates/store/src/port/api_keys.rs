//! Keys of organizations, by which a service acts for one.

use super::{ChangeNote, Created, CreationKey};
use async_trait::async_trait;
use engine::access::ApiKey;
use engine::{Error, Fault, KeyId, OrgId, Timestamp, UserId};

/// A key, and when it was used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// The key.
    pub key: ApiKey,
    /// When it was used last, to within [`LAST_USE_EVERY_MS`]; `None`: it was not.
    pub last_used_at: Option<Timestamp>,
}

/// How often the last use of a key is written, at most.
pub const LAST_USE_EVERY_MS: i64 = 60_000;

/// Keys of organizations.
#[async_trait]
pub trait ApiKeys: Send + Sync {
    /// Makes a key by the rules of [`engine::access::decide`], with an entry of the access log. With a
    /// `creation` its retries have one effect.
    async fn create_api_key(
        &self,
        key: &ApiKey,
        by: UserId,
        change: &ChangeNote,
        creation: Option<&CreationKey>,
    ) -> Result<Created<KeyId>, Error>;
    /// The keys of an organization that have not ended, in the order of their ids: at most
    /// [`KEYS_MAX`](engine::access::KEYS_MAX).
    async fn api_keys(&self, org_id: OrgId) -> Result<Vec<StoredKey>, Fault>;
    /// A key, even if it has ended.
    async fn api_key(&self, key_id: KeyId) -> Result<Option<StoredKey>, Fault>;
    /// The key of which this is the hash of the secret or of the former one, even if that has ended.
    async fn api_key_by_hash(&self, hash: &[u8; 32]) -> Result<Option<ApiKey>, Fault>;
    /// Notes that these keys were used just now. Of one whose last use was noted within
    /// [`LAST_USE_EVERY_MS`], nothing is written.
    async fn note_use(&self, keys: &[KeyId]) -> Result<(), Fault>;
}
