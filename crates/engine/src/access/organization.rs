//! Organizations and their members: how they come to be and are changed.
//!
//! A personal organization is its user and needs no row: one is written with its first name or
//! invitation. A team begins with its founder as its owner, and always has an owner (I14). All
//! changes of one organization happen under its lock, each with one entry of the access log, which
//! names who did it.
//!
//! Pure: a store locks and loads a [`Roster`], asks [`decide`] and writes [`OrgChanges`], in one transaction.

use super::{
    Actor, ApiKey, By, Grant, KeyCommand, KeyScope, KeysOfMember, Permission, Permissions, Role,
};
use crate::error::Refusal;
use crate::ids::{EventId, InvitationId, KeyId, OrgId, UserId};
use crate::time::Timestamp;
use std::sync::Arc;
use uuid::Uuid;

/// Members of an organization, at most.
pub const MEMBERS_MAX: usize = 200;
/// Invitations of an organization that can be accepted at the same time, at most.
pub const INVITATIONS_MAX: usize = 200;
/// Organizations of which one user is a member, at most; the personal one does not count.
pub const ORGANIZATIONS_MAX: usize = 100;
/// Events to which a member may be confined, at most.
pub const EVENTS_MAX: usize = 100;
/// How long an invitation can be accepted.
pub const INVITATION_TTL_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// How long an invitation is kept after it could have been accepted last.
pub const INVITATION_KEPT_MS: i64 = 90 * 24 * 60 * 60 * 1000;

/// A personal organization, or a team.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organization {
    /// The organization; its id says which of both it is.
    pub org_id: OrgId,
    /// Its name. A team has one.
    pub name: Option<String>,
    /// Rises with every change of its name.
    pub version: i64,
    /// When it was recorded; `None`: a personal one that has no row.
    pub created_at: Option<Timestamp>,
}

impl Organization {
    /// A personal organization of which nothing is stored.
    #[must_use]
    pub fn unwritten(org_id: OrgId) -> Self {
        Self { org_id, name: None, version: 1, created_at: None }
    }
}

/// The events to which somebody is confined, in the order of their ids; `None`: to none.
pub type Confined = Option<Arc<[EventId]>>;

/// What a member may do, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// What for.
    pub role: Role,
    /// The only events at which; an owner is never confined.
    pub events: Confined,
}

impl Access {
    const OWNER: Self = Self { role: Role::Owner, events: None };

    /// Whether everything that `other` allows is allowed by this, too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let everywhere = match (&self.events, &other.events) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(others)) => others.iter().all(|event| own.contains(event)),
        };
        everywhere && self.role.permissions().covers(other.role.permissions())
    }

    /// What may be done at the organization itself: nothing by somebody who is confined.
    fn at_home(&self) -> Permissions {
        if self.events.is_none() { self.role.permissions() } else { Permissions::NONE }
    }

    pub(super) fn may(&self, permission: Permission) -> Result<(), Refusal> {
        if self.at_home().has(permission) {
            Ok(())
        } else {
            Err(Refusal::PermissionMissing { permission })
        }
    }
}

/// A member of an organization. The owner of a personal one is none, and needs no row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The organization.
    pub org_id: OrgId,
    /// The user.
    pub user_id: UserId,
    /// What they may do there.
    pub access: Access,
    /// Who invited them, or founded the team.
    pub added_by: UserId,
    /// Since when.
    pub created_at: Timestamp,
}

impl Member {
    /// This member, acting for the organization: at an event, or at the organization itself.
    #[must_use]
    pub fn acting(&self, at: Option<EventId>) -> By {
        let only = only_of(&self.access.events, at);
        By::Acting(Grant {
            actor: Actor::User(self.user_id),
            org_id: self.org_id,
            can: self.access.role.permissions(),
            only,
        })
    }
}

/// The one event, of those to which somebody is confined, that counts at an event or at the
/// organization itself; `None`: they are confined to none.
pub(super) fn only_of(events: &Confined, at: Option<EventId>) -> Option<EventId> {
    events.as_deref().map(|events| {
        let covered = at.filter(|event| events.contains(event));
        covered.or(events.first().copied()).expect("nobody is confined to no event")
    })
}

/// How an invitation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvitationEnd {
    /// Somebody is a member by it.
    Accepted,
    /// It was taken back.
    Revoked,
    /// Another one for the same address came after it.
    Replaced,
}

impl InvitationEnd {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Accepted, Self::Revoked, Self::Replaced];

    /// The word in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Revoked => "revoked",
            Self::Replaced => "replaced",
        }
    }

    /// The end with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|end| end.as_str() == word)
    }
}

/// An invitation to become a member, known by the hash of its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// The invitation.
    pub invitation_id: InvitationId,
    /// To where.
    pub org_id: OrgId,
    /// The address as it was given.
    pub email: String,
    /// The address by which it is compared.
    pub email_folded: String,
    /// What it offers; never ownership.
    pub access: Access,
    /// SHA-256 of its token.
    pub token_hash: [u8; 32],
    /// Who invites.
    pub invited_by: UserId,
    /// When it was made.
    pub created_at: Timestamp,
    /// From here on it is worth nothing.
    pub expires_at: Timestamp,
    /// When it ended before that, and how.
    pub ended: Option<(Timestamp, InvitationEnd)>,
}

impl Invitation {
    /// Whether it can be accepted at `now`.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.ended.is_none() && now < self.expires_at
    }
}

/// An organization as its changes are decided: all of it that is locked and loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roster {
    /// The organization.
    pub organization: Organization,
    /// Its members, at most [`MEMBERS_MAX`], in the order of their ids.
    pub members: Vec<Member>,
    /// Its invitations that can be accepted, and those that the command names by their id or their address,
    /// in the order of their ids.
    pub invitations: Vec<Invitation>,
    /// Its keys that have not ended, and the one that the command names, in the order of their ids; none
    /// for commands that concern no key.
    pub keys: Vec<ApiKey>,
    /// In how many organizations the user of an [`OrgCommand::Accept`] is; 0 for other commands.
    pub joined: usize,
}

impl Roster {
    /// A personal organization of which nothing is stored; `None` for a team, which always has a row.
    #[must_use]
    pub fn unwritten(org_id: OrgId) -> Option<Self> {
        let organization = org_id.owner().map(|_| Organization::unwritten(org_id))?;
        let (members, invitations, keys) = (Vec::new(), Vec::new(), Vec::new());
        Some(Self { organization, members, invitations, keys, joined: 0 })
    }

    /// What this user may do; `None`: they are nothing to this organization.
    #[must_use]
    pub fn access(&self, user_id: UserId) -> Option<Access> {
        if self.organization.org_id.owner() == Some(user_id) {
            return Some(Access::OWNER);
        }
        self.member(user_id).map(|member| member.access.clone())
    }

    fn member(&self, user_id: UserId) -> Option<&Member> {
        self.members.iter().find(|member| member.user_id == user_id)
    }

    /// Whether somebody else than this user owns it.
    fn has_another_owner(&self, user_id: UserId) -> bool {
        let is_owner = |member: &&Member| member.access.role == Role::Owner;
        self.organization.org_id.owner().is_some_and(|owner| owner != user_id)
            || self.members.iter().filter(is_owner).any(|owner| owner.user_id != user_id)
    }
}

/// Somebody with an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user.
    pub user_id: UserId,
    /// The address by which it is compared.
    pub email_folded: String,
}

/// A change of an organization that is there.
#[derive(Clone, Debug)]
pub enum OrgCommand {
    /// Gives it another name.
    Rename {
        /// The version that its editor believes it to have.
        expected: Option<i64>,
        /// Its name.
        name: String,
    },
    /// Gives a member another role, or confines it to other events.
    ChangeMember {
        /// The member.
        user_id: UserId,
        /// The role; `None` leaves it as it is.
        role: Option<Role>,
        /// The events; the outer `None` leaves them as they are.
        events: Option<Confined>,
        /// Whether the password came with it, which is needed where ownership changes.
        confirmed: bool,
    },
    /// Removes a member, or oneself.
    Remove {
        /// The member.
        user_id: UserId,
        /// Whether the password came with it, which is needed to remove another owner.
        confirmed: bool,
        /// What becomes of the keys that the member made.
        keys: Option<KeysOfMember>,
    },
    /// Makes a member an owner, in the place of the caller, who becomes a manager. The password came with it.
    HandOver {
        /// The member.
        user_id: UserId,
    },
    /// Invites somebody, in the place of an earlier invitation for the same address.
    Invite {
        /// The invitation.
        invitation: Box<Invitation>,
        /// The user with that address, if there is one.
        user_id: Option<UserId>,
    },
    /// Takes an invitation back.
    Revoke {
        /// The invitation.
        invitation_id: InvitationId,
    },
    /// Makes the caller a member.
    Accept {
        /// The invitation whose token was shown.
        invitation_id: InvitationId,
        /// The caller.
        account: Account,
    },
    /// Makes or changes a key.
    Key(KeyCommand),
}

impl OrgCommand {
    /// The invitation that has to be loaded, even if it has ended.
    #[must_use]
    pub fn invitation_id(&self) -> Option<InvitationId> {
        match self {
            Self::Revoke { invitation_id } | Self::Accept { invitation_id, .. } => {
                Some(*invitation_id)
            }
            _ => None,
        }
    }

    /// What it needs at the organization; `None`: to accept an invitation needs nothing.
    #[must_use]
    pub fn needs(&self) -> Option<Permission> {
        match self {
            Self::Rename { .. } | Self::HandOver { .. } => Some(Permission::OrgWrite),
            Self::ChangeMember { .. }
            | Self::Remove { .. }
            | Self::Invite { .. }
            | Self::Revoke { .. } => Some(Permission::MemberWrite),
            Self::Key(_) => Some(Permission::IntegrationWrite),
            Self::Accept { .. } => None,
        }
    }

    /// Whether it changes what the organization is called.
    #[must_use]
    pub fn renames(&self) -> bool {
        matches!(self, Self::Rename { .. })
    }

    /// The users who may do something else after it, when this one carries it out.
    #[must_use]
    pub fn concerns(&self, by: UserId) -> Vec<UserId> {
        match self {
            Self::ChangeMember { user_id, .. } | Self::Remove { user_id, .. } => vec![*user_id],
            Self::HandOver { user_id } => vec![*user_id, by],
            Self::Accept { account, .. } => vec![account.user_id],
            Self::Rename { .. } | Self::Invite { .. } | Self::Revoke { .. } | Self::Key(_) => {
                Vec::new()
            }
        }
    }

    /// Whether keys of the organization have to be loaded.
    #[must_use]
    pub fn concerns_keys(&self) -> bool {
        matches!(self, Self::Key(_) | Self::Remove { .. })
    }

    /// The key that has to be loaded, even if it has ended.
    #[must_use]
    pub fn key_id(&self) -> Option<KeyId> {
        match self {
            Self::Key(command) => Some(command.key_id()),
            _ => None,
        }
    }

    /// The address that somebody is invited by: an invitation for it is replaced, also one that has
    /// expired.
    #[must_use]
    pub fn address(&self) -> Option<&str> {
        match self {
            Self::Invite { invitation, .. } => Some(&invitation.email_folded),
            _ => None,
        }
    }

    /// The user whose organizations have to be counted.
    #[must_use]
    pub fn joins(&self) -> Option<UserId> {
        match self {
            Self::Accept { account, .. } => Some(account.user_id),
            _ => None,
        }
    }
}

/// What an entry of the access log says happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccessAction {
    /// A team was founded.
    OrgCreated,
    /// It got another name.
    OrgRenamed,
    /// An owner put a member in the own place.
    OrgHandedOver,
    /// Somebody accepted an invitation.
    MemberAdded,
    /// A member got another role, or other events.
    MemberChanged,
    /// A member was removed, or left.
    MemberRemoved,
    /// Somebody was invited.
    InvitationCreated,
    /// An invitation was taken back.
    InvitationRevoked,
    /// A key was made.
    KeyCreated,
    /// A key may do less, or has another name or rate.
    KeyChanged,
    /// A key got another secret.
    KeyRotated,
    /// A key was ended.
    KeyRevoked,
    /// An event went from one organization to another: both have an entry.
    EventTransferred,
}

impl AccessAction {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::OrgCreated,
        Self::OrgRenamed,
        Self::OrgHandedOver,
        Self::MemberAdded,
        Self::MemberChanged,
        Self::MemberRemoved,
        Self::InvitationCreated,
        Self::InvitationRevoked,
        Self::KeyCreated,
        Self::KeyChanged,
        Self::KeyRotated,
        Self::KeyRevoked,
        Self::EventTransferred,
    ];

    /// The word in the API and in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OrgCreated => "org_created",
            Self::OrgRenamed => "org_renamed",
            Self::OrgHandedOver => "org_handed_over",
            Self::MemberAdded => "member_added",
            Self::MemberChanged => "member_changed",
            Self::MemberRemoved => "member_removed",
            Self::InvitationCreated => "invitation_created",
            Self::InvitationRevoked => "invitation_revoked",
            Self::KeyCreated => "key_created",
            Self::KeyChanged => "key_changed",
            Self::KeyRotated => "key_rotated",
            Self::KeyRevoked => "key_revoked",
            Self::EventTransferred => "event_transferred",
        }
    }

    /// The action with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == word)
    }
}

/// What something was before an entry of the access log, or after it. It names no person but by an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Noted {
    /// The name of an organization.
    Name(String),
    /// What a member may do, or an invitation offers.
    Access(Access),
    /// What a key may do.
    Key(Box<KeyNote>),
    /// The organization of an event.
    Organization(OrgId),
}

/// What an entry of the access log says of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyNote {
    /// Its name.
    pub name: String,
    /// What it may do, and where.
    pub scope: KeyScope,
    /// Until when its former secret is good, where it has one.
    pub previous_until: Option<Timestamp>,
}

/// One entry of the access log of an organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessEntry {
    /// When it happened.
    pub at: Timestamp,
    /// At which organization.
    pub org_id: OrgId,
    /// Who did it.
    pub actor: Actor,
    /// What happened.
    pub action: AccessAction,
    /// To which user, invitation, key or event; none where it was the organization.
    pub target: Option<Uuid>,
    /// What was so before.
    pub before: Option<Noted>,
    /// What is so after.
    pub after: Option<Noted>,
}

/// What a store has to write for a change of an organization. Without entries, there is nothing to write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrgChanges {
    /// The organization as it is from now on, new or changed.
    pub organization: Option<Organization>,
    /// Members as they are from now on, new or changed.
    pub members: Vec<Member>,
    /// Members no longer.
    pub removed: Vec<UserId>,
    /// Invitations as they are from now on, new or changed.
    pub invitations: Vec<Invitation>,
    /// Keys as they are from now on, new or changed.
    pub keys: Vec<ApiKey>,
    /// The entries of the access log: what was asked for first.
    pub entries: Vec<AccessEntry>,
}

mod rules;

pub(super) use rules::Acting;
pub use rules::{decide, found, leave};

#[cfg(test)]
mod tests;
