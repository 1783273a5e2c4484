//! Keys of organizations: how a shop's server acts for its organization, without a person.
//!
//! A key belongs to its organization and not to the member who made it: it is an account for a service.
//! It may do what its scope says, which is at most what its maker might, and which can be made smaller,
//! never larger: a permission that is invented later joins no key that is there. Of its secret only the
//! hash is kept. A rotation gives it another secret, and leaves it the former one for a while.

use super::organization::{Acting, only_of};
use super::{
    Access, AccessAction, Actor, By, Confined, Grant, KeyNote, Noted, OrgChanges, Permission,
    Permissions, Roster,
};
use crate::error::Refusal;
use crate::ids::{EventId, KeyId, OrgId, UserId};
use crate::time::Timestamp;
use std::sync::Arc;

/// Keys of an organization that have not ended, at most.
pub const KEYS_MAX: usize = 100;
/// Networks from which a key is accepted, at most.
pub const KEY_NETWORKS_MAX: usize = 20;
/// Requests a second that a key may be allowed, at most.
pub const KEY_RATE_MAX: u32 = 100_000;
/// How long a key is good if nobody says otherwise.
pub const KEY_TTL_MS: i64 = 365 * 24 * 60 * 60 * 1000;
/// How long a former secret may be good beside the new one, at most.
pub const KEY_OVERLAP_MS_MAX: i64 = 7 * 24 * 60 * 60 * 1000;
/// How long a key is kept after its end.
pub const KEY_KEPT_MS: i64 = 90 * 24 * 60 * 60 * 1000;

/// Whether a key may have a permission. What concerns members, keys and the organization itself is for
/// people.
#[must_use]
pub fn grantable(what: Permission) -> bool {
    use Permission::{IntegrationWrite, MemberWrite, OrgWrite};
    !matches!(what, IntegrationWrite | MemberWrite | OrgWrite)
}

/// What a key may do, where, from where, how often and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyScope {
    /// What it may do; each is [`grantable`].
    pub can: Permissions,
    /// The only events at which.
    pub events: Confined,
    /// The only networks from which, in the form in which they were given; `None`: from everywhere.
    pub networks: Option<Arc<[String]>>,
    /// Requests a second, at most; `None`: as many as the server allows by default.
    pub rate: Option<u32>,
    /// From here on it is worth nothing; `None`: it has no end.
    pub expires_at: Option<Timestamp>,
}

/// A secret, as far as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySecret {
    /// SHA-256 of the whole key.
    pub hash: [u8; 32],
    /// Its last characters, by which people know it again.
    pub hint: String,
}

/// A key of an organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// The key.
    pub key_id: KeyId,
    /// Whose it is.
    pub org_id: OrgId,
    /// Its name.
    pub name: String,
    /// What it may do.
    pub scope: KeyScope,
    /// Its secret.
    pub secret: KeySecret,
    /// The hash of its former secret, and until when that is good.
    pub previous: Option<([u8; 32], Timestamp)>,
    /// Who made it.
    pub created_by: UserId,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was ended.
    pub revoked_at: Option<Timestamp>,
    /// Rises with every change.
    pub version: i64,
}

impl ApiKey {
    /// Whether it is good at `now`.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.scope.expires_at.is_none_or(|end| now < end)
    }

    /// Whether the secret with this hash opens it at `now`.
    #[must_use]
    pub fn is_opened_by(&self, hash: &[u8; 32], now: Timestamp) -> bool {
        let is_former = |(former, until): &([u8; 32], Timestamp)| former == hash && now < *until;
        self.is_live(now)
            && (self.secret.hash == *hash || self.previous.as_ref().is_some_and(is_former))
    }

    /// This key, acting for its organization: at an event, or at the organization itself.
    #[must_use]
    pub fn acting(&self, at: Option<EventId>) -> By {
        By::Acting(Grant {
            actor: Actor::Key(self.key_id),
            org_id: self.org_id,
            can: self.scope.can,
            only: only_of(&self.scope.events, at),
        })
    }

    fn noted(&self) -> Noted {
        let previous_until = self.previous.map(|(_, until)| until);
        let (name, scope) = (self.name.clone(), self.scope.clone());
        Noted::Key(Box::new(KeyNote { name, scope, previous_until }))
    }
}

/// What of a key is to be another; `None` leaves it as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyChange {
    /// Its name.
    pub name: Option<String>,
    /// What it may do.
    pub can: Option<Permissions>,
    /// Its events.
    pub events: Option<Confined>,
    /// Its networks.
    pub networks: Option<Option<Arc<[String]>>>,
    /// Its rate, which is no right: it may rise.
    pub rate: Option<Option<u32>>,
    /// Its end.
    pub expires_at: Option<Option<Timestamp>>,
}

/// What is done with a key.
#[derive(Clone, Debug)]
pub enum KeyCommand {
    /// Makes it.
    Create(Box<ApiKey>),
    /// Gives it less.
    Change {
        /// The key.
        key_id: KeyId,
        /// The version that its editor believes it to have.
        expected: Option<i64>,
        /// What is to be another.
        change: Box<KeyChange>,
    },
    /// Gives it another secret.
    Rotate {
        /// The key.
        key_id: KeyId,
        /// The new one.
        secret: KeySecret,
        /// How long the present one is good beside it; at most [`KEY_OVERLAP_MS_MAX`].
        overlap_ms: i64,
    },
    /// Ends it.
    Revoke {
        /// The key.
        key_id: KeyId,
    },
}

impl KeyCommand {
    /// The key.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        match self {
            Self::Create(key) => key.key_id,
            Self::Change { key_id, .. } | Self::Rotate { key_id, .. } | Self::Revoke { key_id } => {
                *key_id
            }
        }
    }
}

/// What becomes of the keys of a member who is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeysOfMember {
    /// They stay as they are.
    Keep,
    /// They end.
    Revoke,
}

/// Decides what somebody who may edit keys does with one.
///
/// Not found for a key that has ended, but [`KeyCommand::Revoke`] leaves that as it is.
pub(super) fn decide(
    acting: &Acting,
    roster: &Roster,
    own: &Access,
    command: &KeyCommand,
) -> Result<OrgChanges, Refusal> {
    const MISSING: Refusal = Refusal::NotFound { what: "key" };
    let found = roster.keys.iter().find(|key| key.key_id == command.key_id());
    let live = found.filter(|key| key.is_live(acting.now));
    match command {
        KeyCommand::Create(key) => create(acting, roster, own, key),
        KeyCommand::Change { expected, change, .. } => {
            self::change(acting, live.ok_or(MISSING)?, *expected, change)
        }
        KeyCommand::Rotate { secret, overlap_ms, .. } => {
            Ok(rotate(acting, live.ok_or(MISSING)?, secret, *overlap_ms))
        }
        KeyCommand::Revoke { .. } => {
            let mut changes = OrgChanges::default();
            let found = found.ok_or(MISSING)?;
            if found.is_live(acting.now) {
                revoke(acting, found, &mut changes);
            }
            Ok(changes)
        }
    }
}

/// [`Refusal::PermissionMissing`] for what the maker may not do, or nobody may give a key;
/// [`Refusal::KeyEndsEarly`], [`Refusal::LimitReached`].
fn create(
    acting: &Acting,
    roster: &Roster,
    own: &Access,
    key: &ApiKey,
) -> Result<OrgChanges, Refusal> {
    let may = own.role.permissions();
    if let Some(permission) = key.scope.can.iter().find(|what| !grantable(*what) || !may.has(*what))
    {
        return Err(Refusal::PermissionMissing { permission });
    }
    if key.scope.expires_at.is_none() {
        // What outlives everybody is for those who own the organization.
        own.may(Permission::OrgWrite)?;
    }
    if !key.is_live(acting.now) {
        return Err(Refusal::KeyEndsEarly);
    }
    if roster.keys.iter().filter(|other| other.is_live(acting.now)).count() >= KEYS_MAX {
        return Err(Refusal::LimitReached { what: "keys", limit: KEYS_MAX });
    }
    Ok(changed(acting, AccessAction::KeyCreated, None, key.clone()))
}

/// [`Refusal::VersionMismatch`], [`Refusal::KeyWidened`], [`Refusal::KeyEndsEarly`].
fn change(
    acting: &Acting,
    before: &ApiKey,
    expected: Option<i64>,
    change: &KeyChange,
) -> Result<OrgChanges, Refusal> {
    if expected.is_some_and(|expected| expected != before.version) {
        return Err(Refusal::VersionMismatch { version: before.version });
    }
    let (was, change) = (&before.scope, change.clone());
    let scope = KeyScope {
        can: change.can.unwrap_or(was.can),
        events: change.events.unwrap_or_else(|| was.events.clone()),
        networks: change.networks.unwrap_or_else(|| was.networks.clone()),
        rate: change.rate.unwrap_or(was.rate),
        expires_at: change.expires_at.unwrap_or(was.expires_at),
    };
    let is_later = match (scope.expires_at, was.expires_at) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(end), Some(was)) => end > was,
    };
    let wider = [
        (!was.can.covers(scope.can), "scopes"),
        (!is_within(&scope.events, &was.events), "events"),
        (!is_within(&scope.networks, &was.networks), "networks"),
        (is_later, "expires_at"),
    ];
    if let Some((_, field)) = wider.into_iter().find(|(is_wider, _)| *is_wider) {
        return Err(Refusal::KeyWidened { field });
    }
    let after = ApiKey {
        scope,
        name: change.name.unwrap_or_else(|| before.name.clone()),
        ..before.clone()
    };
    if after == *before {
        return Ok(OrgChanges::default());
    }
    if !after.is_live(acting.now) {
        return Err(Refusal::KeyEndsEarly);
    }
    Ok(changed(acting, AccessAction::KeyChanged, Some(before), after))
}

/// Whether everything in `new` is in `old`, where nothing means all.
fn is_within<T: PartialEq>(new: &Option<Arc<[T]>>, old: &Option<Arc<[T]>>) -> bool {
    match (new.as_deref(), old.as_deref()) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(new), Some(old)) => new.iter().all(|one| old.contains(one)),
    }
}

/// A former secret that is still good ends with it: of a key at most two are.
fn rotate(acting: &Acting, before: &ApiKey, secret: &KeySecret, overlap_ms: i64) -> OrgChanges {
    let until = acting.now.plus_ms(overlap_ms.clamp(0, KEY_OVERLAP_MS_MAX));
    let previous = (until > acting.now).then_some((before.secret.hash, until));
    let after = ApiKey { secret: secret.clone(), previous, ..before.clone() };
    changed(acting, AccessAction::KeyRotated, Some(before), after)
}

/// Ends a key, as part of `changes`.
pub(super) fn revoke(acting: &Acting, before: &ApiKey, changes: &mut OrgChanges) {
    let after = ApiKey { revoked_at: Some(acting.now), ..before.clone() };
    let mut ended = changed(acting, AccessAction::KeyRevoked, Some(before), after);
    for entry in &mut ended.entries {
        entry.after = None;
    }
    changes.keys.append(&mut ended.keys);
    changes.entries.append(&mut ended.entries);
}

fn changed(
    acting: &Acting,
    action: AccessAction,
    before: Option<&ApiKey>,
    after: ApiKey,
) -> OrgChanges {
    let after = ApiKey { version: before.map_or(1, |before| before.version + 1), ..after };
    let was_is = (before.map(ApiKey::noted), Some(after.noted()));
    OrgChanges {
        entries: vec![acting.entry(action, Some(after.key_id.uuid()), was_is)],
        keys: vec![after],
        ..OrgChanges::default()
    }
}

#[cfg(test)]
mod tests;
