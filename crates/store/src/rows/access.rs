//! Organizations, members, invitations and entries of the access log.
//!
//! ```text
//! ["01a2…"]                                                        the events of a member
//! {"before":{"role":"analyst","events":null},"after":{"name":"…"}}   what an entry says
//! {"before":{"organization_id":"01a2…"},"after":{…}}                 of an event
//! ```
//! Fields may be added; those that are there keep their meaning, since entries are never rewritten.

use super::log::actor;
use super::{Columns, corrupt, instant, invitation_id, maybe_instant, org_id, user_id};
use crate::StoredEntry;
use engine::access::{
    Access, AccessAction, AccessEntry, Confined, Invitation, InvitationEnd, Member, Noted,
    Organization, Role,
};
use engine::{EventId, Fault, OrgId};
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
    Name { name: String },
    Access { role: String, events: Option<Vec<Uuid>> },
    Organization { organization_id: Uuid },
}

impl StoredNote {
    fn of(noted: &Noted) -> Self {
        match noted {
            Noted::Name(name) => Self::Name { name: name.clone() },
            Noted::Access(access) => Self::Access {
                role: access.role.as_str().to_owned(),
                events: access.events.as_deref().map(uuids),
            },
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
            Self::Organization { organization_id } => Noted::Organization(
                OrgId::from_slice(organization_id.as_bytes()).expect("a UUID has 16 bytes"),
            ),
        })
    }
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
    let events = row.maybe_text("events")?.map(serde_json::from_str::<Vec<Uuid>>).transpose();
    let events = events.map_err(|_| corrupt("events")())?;
    if events.as_ref().is_some_and(Vec::is_empty) {
        return Err(corrupt("events")());
    }
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
