//! How organizations, members, invitations and the access log are shown.

use crate::http::App;
use crate::http::docs::{ActionWord, PermissionWord, RoleWord};
use crate::http::wire::{fingerprint, shown, shown_or_null};
use axum::http::HeaderValue;
use engine::access::{
    Access, Confined, Invitation, KeyNote, Member, Noted, Organization, Permission, Role, Roster,
};
use engine::{Actor, Fault, InvitationId, OrgId, Timestamp, UserId};
use serde::Serialize;
use std::collections::HashMap;
use store::{Epoch, StoredEntry};
use utoipa::ToSchema;
use uuid::Uuid;

pub(super) fn ids(events: &Confined) -> Option<Vec<String>> {
    let events = events.as_deref()?;
    Some(events.iter().map(ToString::to_string).collect())
}

/// An organization, and what the caller may do there.
#[derive(Serialize, ToSchema)]
#[schema(as = Organization)]
pub(super) struct OrganizationView {
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    organization_id: OrgId,
    /// A team has one.
    #[schema(required)]
    name: Option<String>,
    /// Whether it is the personal organization of a user, whose id it has.
    personal: bool,
    /// The role of the caller; null for an operator of the installation who is no member.
    #[schema(value_type = Option<RoleWord>, required)]
    role: Option<&'static str>,
    /// The only events at which the caller has this role; null: all.
    #[schema(value_type = Option<Vec<Uuid>>, required, min_items = 1, max_items = 100)]
    events: Option<Vec<String>>,
    /// Increases with every change of the name.
    version: i64,
    /// Null for a personal organization without a name, members or invitations so far.
    #[serde(serialize_with = "shown_or_null")]
    #[schema(value_type = Option<String>, required, format = "date-time")]
    created_at: Option<Timestamp>,
}

impl OrganizationView {
    /// An organization as somebody sees it who may do this there; `None`: an operator, who only reads.
    pub(super) fn new(of: Organization, own: Option<&Access>) -> Self {
        Self {
            organization_id: of.org_id,
            name: of.name,
            personal: !of.org_id.is_team(),
            role: own.map(|own| own.role.as_str()),
            events: own.and_then(|own| ids(&own.events)),
            version: of.version,
            created_at: of.created_at,
        }
    }

    /// The organization that it shows.
    pub(super) fn id(&self) -> OrgId {
        self.organization_id
    }

    /// Its version, what else the caller is shown, and the history of the store in which it is so.
    pub(super) fn etag(&self, epoch: Epoch) -> HeaderValue {
        let tag = format!("\"{}.{:x}.{epoch}\"", self.version, fingerprint(self));
        HeaderValue::from_str(&tag).expect("digits are valid in a header")
    }
}

/// A page of organizations: the caller's personal one, then the others in the order of their ids.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a page; `lists::page` writes it")]
pub(super) struct OrganizationPage {
    #[schema(max_items = 100)]
    items: Vec<OrganizationView>,
    /// The value of `after` for the next page; null on the last page.
    #[schema(required, format = "uuid")]
    next: Option<String>,
}

/// Somebody who belongs to an organization: a member, or the user whose personal one it is.
pub(super) struct Person {
    /// The user.
    pub(super) user_id: UserId,
    access: Access,
    added_by: Option<UserId>,
    since: Option<Timestamp>,
}

impl From<&Member> for Person {
    fn from(member: &Member) -> Self {
        Self {
            user_id: member.user_id,
            access: member.access.clone(),
            added_by: Some(member.added_by),
            since: Some(member.created_at),
        }
    }
}

/// All who belong to an organization, in the order of their ids.
pub(super) fn people(roster: &Roster) -> Vec<Person> {
    let owner = roster.organization.org_id.owner().map(|user_id| Person {
        user_id,
        access: Access { role: Role::Owner, events: None },
        added_by: None,
        since: None,
    });
    let mut people: Vec<_> = roster.members.iter().map(Person::from).chain(owner).collect();
    people.sort_unstable_by_key(|person| person.user_id);
    people
}

/// A member of an organization.
#[derive(Serialize, ToSchema)]
#[schema(as = Member)]
pub(super) struct MemberView {
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    user_id: UserId,
    /// Null if the user has no account.
    #[schema(required)]
    email: Option<String>,
    #[schema(required)]
    name: Option<String>,
    #[schema(value_type = RoleWord)]
    role: &'static str,
    /// The only events at which the member has this role; null: all.
    #[schema(value_type = Option<Vec<Uuid>>, required, min_items = 1, max_items = 100)]
    events: Option<Vec<String>>,
    /// Who invited the member, or founded the team; null for the user of a personal organization.
    #[serde(serialize_with = "shown_or_null")]
    #[schema(value_type = Option<String>, required, format = "uuid")]
    added_by: Option<UserId>,
    /// Null for the user of a personal organization.
    #[serde(serialize_with = "shown_or_null")]
    #[schema(value_type = Option<String>, required, format = "date-time")]
    created_at: Option<Timestamp>,
}

impl MemberView {
    /// The member that it shows.
    pub(super) fn id(&self) -> UserId {
        self.user_id
    }

    /// These people, with the addresses and names of their accounts.
    pub(super) async fn load(app: &App, people: Vec<Person>) -> Result<Vec<Self>, Fault> {
        let ids_of: Vec<_> = people.iter().map(|person| person.user_id).collect();
        let users = app.core.store.users(&ids_of).await?.into_iter();
        let mut users: HashMap<_, _> = users.map(|user| (user.user_id, user)).collect();
        let view = |person: Person| {
            let user = users.remove(&person.user_id);
            let (email, name) = user.map_or((None, None), |user| (Some(user.email), user.name));
            Self {
                user_id: person.user_id,
                email,
                name,
                role: person.access.role.as_str(),
                events: ids(&person.access.events),
                added_by: person.added_by,
                created_at: person.since,
            }
        };
        Ok(people.into_iter().map(view).collect())
    }
}

/// A page of members, in the order of their ids.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a page; `lists::page` writes it")]
pub(super) struct MemberPage {
    #[schema(max_items = 100)]
    items: Vec<MemberView>,
    /// The value of `after` for the next page; null on the last page.
    #[schema(required, format = "uuid")]
    next: Option<String>,
}

/// An invitation to become a member.
#[derive(Serialize, ToSchema)]
#[schema(as = Invitation)]
pub(super) struct InvitationView {
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    invitation_id: InvitationId,
    /// The address of the account that can accept it.
    email: String,
    #[schema(value_type = RoleWord)]
    role: &'static str,
    /// The only events at which the member will have this role; null: all.
    #[schema(value_type = Option<Vec<Uuid>>, required, min_items = 1, max_items = 100)]
    events: Option<Vec<String>>,
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    invited_by: UserId,
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "date-time")]
    created_at: Timestamp,
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "date-time")]
    expires_at: Timestamp,
    /// The secret by which it is accepted; only in the answer that creates it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    token: Option<String>,
}

impl InvitationView {
    /// The invitation that it shows.
    pub(super) fn id(&self) -> InvitationId {
        self.invitation_id
    }

    /// The invitation, with its token for the one who made it.
    pub(super) fn new(of: Invitation, token: Option<String>) -> Self {
        Self {
            invitation_id: of.invitation_id,
            role: of.access.role.as_str(),
            events: ids(&of.access.events),
            email: of.email,
            invited_by: of.invited_by,
            created_at: of.created_at,
            expires_at: of.expires_at,
            token,
        }
    }
}

/// A page of invitations, newest first.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a page; `lists::page` writes it")]
pub(super) struct InvitationPage {
    #[schema(max_items = 100)]
    items: Vec<InvitationView>,
    /// The value of `after` for the next page; null on the last page.
    #[schema(required, format = "uuid")]
    next: Option<String>,
}

/// Who did something.
#[derive(Serialize, ToSchema)]
#[schema(as = Actor)]
struct ActorView {
    #[schema(pattern = "^(user|key|system)$")]
    kind: &'static str,
    /// Null if it was a key or the system.
    #[serde(serialize_with = "shown_or_null")]
    #[schema(value_type = Option<String>, required, format = "uuid")]
    user_id: Option<UserId>,
    /// The key; missing if it was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, format = "uuid")]
    key_id: Option<String>,
}

impl From<Actor> for ActorView {
    fn from(actor: Actor) -> Self {
        let (kind, key_id) = match actor {
            Actor::User(_) => ("user", None),
            Actor::Key(key_id) => ("key", Some(key_id.to_string())),
            Actor::System => ("system", None),
        };
        Self { kind, user_id: actor.user_id(), key_id }
    }
}

/// What something was before an entry or is after it: the name of the organization, what a member may
/// do or an invitation offers, what a key may do, or the organization of an event.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = AccessNote)]
enum NotedView {
    Name {
        name: String,
    },
    Key {
        /// Its name, called so that one note is never taken for another.
        key_name: String,
        #[schema(value_type = Vec<PermissionWord>)]
        scopes: Vec<&'static str>,
        #[schema(value_type = Option<Vec<Uuid>>, required)]
        events: Option<Vec<String>>,
        #[schema(required)]
        networks: Option<Vec<String>>,
        #[schema(required)]
        rate: Option<u32>,
        #[serde(serialize_with = "shown_or_null")]
        #[schema(value_type = Option<String>, required, format = "date-time")]
        expires_at: Option<Timestamp>,
        #[serde(serialize_with = "shown_or_null")]
        #[schema(value_type = Option<String>, required, format = "date-time")]
        previous_until: Option<Timestamp>,
    },
    Access {
        #[schema(value_type = RoleWord)]
        role: &'static str,
        #[schema(value_type = Option<Vec<Uuid>>, required)]
        events: Option<Vec<String>>,
    },
    Organization {
        #[serde(serialize_with = "shown")]
        #[schema(value_type = String, format = "uuid")]
        organization_id: OrgId,
    },
}

impl From<Noted> for NotedView {
    fn from(noted: Noted) -> Self {
        match noted {
            Noted::Name(name) => Self::Name { name },
            Noted::Key(note) => {
                let KeyNote { name, scope, previous_until } = *note;
                Self::Key {
                    key_name: name,
                    scopes: scope.can.iter().map(Permission::as_str).collect(),
                    events: ids(&scope.events),
                    networks: scope.networks.as_deref().map(<[_]>::to_vec),
                    rate: scope.rate,
                    expires_at: scope.expires_at,
                    previous_until,
                }
            }
            Noted::Access(access) => {
                Self::Access { role: access.role.as_str(), events: ids(&access.events) }
            }
            Noted::Organization(organization_id) => Self::Organization { organization_id },
        }
    }
}

/// An entry of the access log.
#[derive(Serialize, ToSchema)]
#[schema(as = AccessEntry)]
pub(super) struct EntryView {
    /// Increases from entry to entry.
    pub(super) seq: i64,
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "date-time")]
    at: Timestamp,
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    organization_id: OrgId,
    actor: ActorView,
    #[schema(value_type = ActionWord)]
    action: &'static str,
    /// The user, the invitation, the key or the event; null if it was the organization.
    #[serde(serialize_with = "shown_or_null")]
    #[schema(value_type = Option<String>, required, format = "uuid")]
    target: Option<Uuid>,
    #[schema(required)]
    before: Option<NotedView>,
    #[schema(required)]
    after: Option<NotedView>,
    /// The `X-Request-Id` of the request.
    #[schema(required)]
    request_id: Option<String>,
}

impl From<StoredEntry> for EntryView {
    fn from(stored: StoredEntry) -> Self {
        let StoredEntry { seq, entry, request_id } = stored;
        Self {
            seq,
            at: entry.at,
            organization_id: entry.org_id,
            actor: entry.actor.into(),
            action: entry.action.as_str(),
            target: entry.target,
            before: entry.before.map(NotedView::from),
            after: entry.after.map(NotedView::from),
            request_id,
        }
    }
}

/// A page of the access log, oldest first.
#[derive(Serialize, ToSchema)]
#[schema(as = AccessLogPage)]
pub(super) struct EntryPage {
    /// A page of a filtered log may be empty though another one follows.
    #[schema(max_items = 100)]
    pub(super) items: Vec<EntryView>,
    /// The value of `after` for the next page; null on the last page.
    #[schema(required)]
    pub(super) next: Option<String>,
}
