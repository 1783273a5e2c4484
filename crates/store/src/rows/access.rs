//! Organizations, members, invitations and entries of the access log.
//!
//! ```text
//! ["01a2…"]                                                        the events of a member
//! ["event.read","booking.sell"]                                    the scopes of a key
//! {"before":{"role":"analyst","events":null},"after":{"name":"…"}}   what an entry says
//! {"before":{"organization_id":"01a2…"},"after":{…}}                 of an event
//! ```
//! Fields may be added; those that are there keep their meaning, since entries are never rewritten.

use super::log::actor;
use super::{Columns, corrupt, instant, invitation_id, key_id, maybe_instant, ms, org_id, user_id};
use crate::{StoredEntry, StoredKey};
use engine::access::{
    Access, AccessAction, AccessEntry, ApiKey, Confined, Invitation, InvitationEnd, KeyNote,
    KeyScope, KeySecret, Member, Noted, Organization, Permission, Permissions, Role,
};
use engine::{EventId, Fault, OrgId, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use uuid::Uuid;

#[derive(Serialize, Deserialize)]
struct StoredDetail {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<StoredNote>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<StoredNote>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum StoredNote {
    Name {
        name: String,
    },
    Key {
        key: String,
        scopes: Vec<String>,
        events: Option<Vec<Uuid>>,
        networks: Option<Vec<String>>,
        rate: Option<u32>,
        expires_at: Option<i64>,
        previous_until: Option<i64>,
    },
    Access {
        role: String,
        events: Option<Vec<Uuid>>,
    },
    Organization {
        organization_id: Uuid,
    },
}

impl StoredNote {
    fn of(noted: &Noted) -> Self {
        match noted {
            Noted::Name(name) => Self::Name { name: name.clone() },
            Noted::Access(access) => Self::Access {
                role: access.role.as_str().to_owned(),
                events: access.events.as_deref().map(uuids),
            },
            Noted::Key(note) => {
                let KeyNote { name, scope, previous_until } = &**note;
                Self::Key {
                    key: name.clone(),
                    scopes: words(scope.can),
                    events: scope.events.as_deref().map(uuids),
                    networks: scope.networks.as_deref().map(<[_]>::to_vec),
                    rate: scope.rate,
                    expires_at: ms(scope.expires_at),
                    previous_until: ms(*previous_until),
                }
            }
            Noted::Organization(org_id) => Self::Organization { organization_id: org_id.uuid() },
        }
    }

    fn read(self) -> Result<Noted, Fault> {
        Ok(match self {
            Self::Name { name } => Noted::Name(name),
            Self::Access { role, events } => Noted::Access(Access {
                role: Role::parse(&role).ok_or_else(corrupt("detail"))?,
                events: events.map(event_ids),
            }),
            Self::Key { key, scopes, events, networks, rate, expires_at, previous_until } => {
                let at = |ms: Option<i64>| ms.map(Timestamp::from_unix_ms);
                let scope = KeyScope {
                    can: permissions(&scopes),
                    events: events.map(event_ids),
                    networks: networks.map(Into::into),
                    rate,
                    expires_at: at(expires_at),
                };
                let previous_until = at(previous_until);
                Noted::Key(Box::new(KeyNote { name: key, scope, previous_until }))
            }
            Self::Organization { organization_id } => Noted::Organization(
                OrgId::from_slice(organization_id.as_bytes()).expect("a UUID has 16 bytes"),
            ),
        })
    }
}

fn words(can: Permissions) -> Vec<String> {
    can.iter().map(|what| what.as_str().to_owned()).collect()
}

/// Those of these words that name a permission: one that a later version knows gives nothing here.
fn permissions(words: &[String]) -> Permissions {
    words.iter().filter_map(|word| Permission::parse(word)).collect()
}

/// What a key may do as `scopes` keeps it.
pub(crate) fn scopes_text(can: Permissions) -> String {
    serde_json::to_string(&words(can)).expect("words can be written as JSON")
}

/// From where a key is accepted as `networks` keeps it.
pub(crate) fn networks_text(scope: &KeyScope) -> Option<String> {
    let networks = scope.networks.as_deref()?;
    Some(serde_json::to_string(networks).expect("texts can be written as JSON"))
}

fn listed<T: DeserializeOwned>(
    row: &impl Columns,
    column: &'static str,
) -> Result<Option<Vec<T>>, Fault> {
    let list = row.maybe_text(column)?.map(serde_json::from_str::<Vec<T>>).transpose();
    let list = list.map_err(|_| corrupt(column)())?;
    if list.as_ref().is_some_and(Vec::is_empty) {
        return Err(corrupt(column)());
    }
    Ok(list)
}

fn hash(row: &impl Columns, column: &'static str) -> Result<Option<[u8; 32]>, Fault> {
    let bytes = row.maybe_bytes(column)?.map(TryInto::try_into).transpose();
    bytes.map_err(|_| corrupt(column)())
}

pub(crate) fn api_key(row: &impl Columns) -> Result<StoredKey, Fault> {
    let scopes: Vec<String> =
        serde_json::from_str(row.text("scopes")?).map_err(|_| corrupt("scopes")())?;
    let rate = row.maybe_int("rate")?.map(u32::try_from).transpose();
    let previous = match (hash(row, "previous_hash")?, maybe_instant(row, "previous_until")?) {
        (None, None) => None,
        (Some(hash), Some(until)) => Some((hash, until)),
        _ => return Err(corrupt("previous_until")()),
    };
    let key = ApiKey {
        key_id: key_id(row, "key_id")?,
        org_id: org_id(row, "org_id")?,
        name: row.text("name")?.to_owned(),
        scope: KeyScope {
            can: permissions(&scopes),
            events: listed(row, "events")?.map(event_ids),
            networks: listed(row, "networks")?.map(Into::into),
            rate: rate.map_err(|_| corrupt("rate")())?,
            expires_at: maybe_instant(row, "expires_at")?,
        },
        secret: KeySecret {
            hash: hash(row, "hash")?.ok_or_else(corrupt("hash"))?,
            hint: row.text("hint")?.to_owned(),
        },
        previous,
        created_by: user_id(row, "created_by")?,
        created_at: instant(row, "created_at")?,
        revoked_at: maybe_instant(row, "revoked_at")?,
        version: row.int("version")?,
    };
    Ok(StoredKey { key, last_used_at: maybe_instant(row, "last_used_at")? })
}

fn uuids(events: &[EventId]) -> Vec<Uuid> {
    events.iter().map(|event| event.uuid()).collect()
}

fn event_ids(ids: Vec<Uuid>) -> Arc<[EventId]> {
    let id = |id: Uuid| EventId::from_slice(id.as_bytes()).expect("a UUID has 16 bytes");
    ids.into_iter().map(id).collect()
}

/// The events of a member as `events` keeps them.
pub(crate) fn confined_text(events: &Confined) -> Option<String> {
    let events = events.as_deref().map(uuids)?;
    Some(serde_json::to_string(&events).expect("ids can be written as JSON"))
}

/// What an entry says of before and after, as `detail` keeps it.
pub(crate) fn noted_text(entry: &AccessEntry) -> Option<String> {
    if entry.before.is_none() && entry.after.is_none() {
        return None;
    }
    let [before, after] = [&entry.before, &entry.after].map(|it| it.as_ref().map(StoredNote::of));
    let detail = StoredDetail { before, after };
    Some(serde_json::to_string(&detail).expect("names and ids can be written as JSON"))
}

fn access(row: &impl Columns) -> Result<Access, Fault> {
    let events = listed(row, "events")?;
    Ok(Access {
        role: Role::parse(row.text("role")?).ok_or_else(corrupt("role"))?,
        events: events.map(event_ids),
    })
}

pub(crate) fn organization(row: &impl Columns) -> Result<Organization, Fault> {
    Ok(Organization {
        org_id: org_id(row, "org_id")?,
        name: row.maybe_text("name")?.map(str::to_owned),
        version: row.int("version")?,
        created_at: Some(instant(row, "created_at")?),
    })
}

pub(crate) fn member(row: &impl Columns) -> Result<Member, Fault> {
    Ok(Member {
        org_id: org_id(row, "org_id")?,
        user_id: user_id(row, "user_id")?,
        access: access(row)?,
        added_by: user_id(row, "added_by")?,
        created_at: instant(row, "created_at")?,
    })
}

/// A member beside the organization, whose creation has the name `written_at`, since both have one.
pub(crate) fn membership(row: &impl Columns) -> Result<(Organization, Member), Fault> {
    let member = member(row)?;
    let organization = Organization {
        org_id: member.org_id,
        name: row.maybe_text("name")?.map(str::to_owned),
        version: row.int("version")?,
        created_at: Some(instant(row, "written_at")?),
    };
    Ok((organization, member))
}

pub(crate) fn invitation(row: &impl Columns) -> Result<Invitation, Fault> {
    let ended_at = maybe_instant(row, "ended_at")?;
    let end = row.maybe_text("ended")?.map(InvitationEnd::parse);
    let token_hash = row.bytes("token_hash")?.try_into();
    Ok(Invitation {
        invitation_id: invitation_id(row, "invitation_id")?,
        org_id: org_id(row, "org_id")?,
        email: row.text("email")?.to_owned(),
        email_folded: row.text("email_folded")?.to_owned(),
        access: access(row)?,
        token_hash: token_hash.map_err(|_| corrupt("token_hash")())?,
        invited_by: user_id(row, "invited_by")?,
        created_at: instant(row, "created_at")?,
        expires_at: instant(row, "expires_at")?,
        ended: match (ended_at, end) {
            (None, None) => None,
            (Some(at), Some(Some(how))) => Some((at, how)),
            _ => return Err(corrupt("ended")()),
        },
    })
}

pub(crate) fn access_entry(row: &impl Columns) -> Result<StoredEntry, Fault> {
    let detail = row.maybe_text("detail")?.map(serde_json::from_str::<StoredDetail>).transpose();
    let detail = detail.map_err(|_| corrupt("detail")())?;
    let (before, after) = detail.map_or((None, None), |detail| (detail.before, detail.after));
    Ok(StoredEntry {
        seq: row.int("seq")?,
        entry: AccessEntry {
            at: instant(row, "at")?,
            org_id: org_id(row, "org_id")?,
            actor: actor(row)?.ok_or_else(corrupt("actor_kind"))?,
            action: AccessAction::parse(row.text("action")?).ok_or_else(corrupt("action"))?,
            target: row.maybe_id("target")?.map(Uuid::from_bytes),
            before: before.map(StoredNote::read).transpose()?,
            after: after.map(StoredNote::read).transpose()?,
        },
        request_id: row.maybe_text("request_id")?.map(str::to_owned),
    })
}
