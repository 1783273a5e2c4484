//! Who acts, and what they may.
//!
//! Events and series belong to an organization: the personal one of a user, or a team with members.
//! Every command and every change of an event carries a [`By`], and one function, [`may`], judges it
//! on the terms of the event, or on the series, as read under the lock (I13). What a buyer may do with a
//! booking of their own needs no permission: it is [`By::is`]. Members may do it for a buyer with
//! `booking.sell`: it is [`may_for_buyer`].
//!
//! The owner of a personal organization is known by the id alone. A member acts with a [`Grant`]: it
//! is read from the list of members when a request arrives, is at most a second old, and says for which
//! organization it is. An event that has gone to another one meanwhile is beyond it.
//!
//! An operator of the installation reads every organization, with a grant that allows no change
//! ([`By::or_operator`]).

mod key;
mod organization;
mod overrides;
mod permission;

use crate::error::Refusal;
use crate::event::Terms;
use crate::ids::{EventId, KeyId, OrgId, UserId};
use uuid::Uuid;

pub use key::{
    ApiKey, KEY_KEPT_MS, KEY_NETWORKS_MAX, KEY_OVERLAP_MS_MAX, KEY_RATE_MAX, KEY_TTL_MS, KEYS_MAX,
    KeyChange, KeyCommand, KeyScope, KeySecret, KeysOfMember, grantable,
};
pub use organization::{
    Access, AccessAction, AccessEntry, Account, Confined, EVENTS_MAX, INVITATION_KEPT_MS,
    INVITATION_TTL_MS, INVITATIONS_MAX, Invitation, InvitationEnd, KeyNote, MEMBERS_MAX, Member,
    Noted, ORGANIZATIONS_MAX, OrgChanges, OrgCommand, Organization, Roster, decide, found, leave,
};
pub use overrides::{Override, Overrides};
pub use permission::{Permission, Permissions, Role};

/// Operators of an installation, at most.
pub const OPERATORS_MAX: usize = 100;

/// Who acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum By {
    /// A person with an account, or with a token that says who they are: as a buyer, or as the owner of
    /// a personal organization.
    User(UserId),
    /// A member or a key of an organization, for it.
    Acting(Grant),
    /// We, carrying out what was decided before: the rest of an event that was called off.
    System,
}

/// What a member or a key may do for an organization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Grant {
    /// The member, or the key.
    pub actor: Actor,
    /// The organization.
    pub org_id: OrgId,
    /// What they may do.
    pub can: Permissions,
    /// The one event at which they may; `None`: they are confined to none.
    pub only: Option<EventId>,
}

/// Who did something, as the log says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Actor {
    /// A person.
    User(UserId),
    /// A key of an organization.
    Key(KeyId),
    /// We.
    System,
}

impl Actor {
    /// The person; none when it was a key, or us.
    #[must_use]
    pub fn user_id(self) -> Option<UserId> {
        match self {
            Self::User(user_id) => Some(user_id),
            Self::Key(_) | Self::System => None,
        }
    }

    /// Whose idempotency keys their requests use: those of a key are its own; none when it was us.
    #[must_use]
    pub fn caller_id(self) -> Option<UserId> {
        self.uuid().and_then(|id| UserId::from_slice(id.as_bytes()))
    }

    /// The id of the person or of the key; none when it was us.
    #[must_use]
    pub fn uuid(self) -> Option<Uuid> {
        match self {
            Self::User(user_id) => Some(user_id.uuid()),
            Self::Key(key_id) => Some(key_id.uuid()),
            Self::System => None,
        }
    }
}

impl By {
    /// Whether this is that person, and acts for nobody else.
    #[must_use]
    pub fn is(self, user_id: UserId) -> bool {
        self == Self::User(user_id)
    }

    /// The person; none when it is a key, or us.
    #[must_use]
    pub fn user_id(self) -> Option<UserId> {
        self.actor().user_id()
    }

    /// Who the log names.
    #[must_use]
    pub fn actor(self) -> Actor {
        match self {
            Self::User(user_id) => Actor::User(user_id),
            Self::Acting(grant) => grant.actor,
            Self::System => Actor::System,
        }
    }

    /// How an operator of the installation acts, at an event of an organization or at the organization
    /// itself, who acts there so as a member, or is nothing to it.
    ///
    /// They read all of it, and may besides do what they may as a member.
    #[must_use]
    pub fn or_operator(self, org_id: OrgId, at: Option<EventId>) -> Self {
        match self {
            Self::Acting(grant) if grant.only.is_none() || (at.is_some() && grant.only == at) => {
                Self::Acting(Grant { can: grant.can.union(Permissions::OPERATOR), ..grant })
            }
            _ => Self::Acting(Grant {
                actor: self.actor(),
                org_id,
                can: Permissions::OPERATOR,
                only: None,
            }),
        }
    }

    /// Who the log names: nobody when it was the buyer.
    #[must_use]
    pub fn unless_buyer(self, buyer: UserId) -> Option<Actor> {
        (!self.is(buyer)).then(|| self.actor())
    }
}

impl From<UserId> for By {
    fn from(user_id: UserId) -> Self {
        Self::User(user_id)
    }
}

/// What belongs to an organization, and may not even be there for others.
pub trait Owned {
    /// Whose it is.
    fn org_id(&self) -> OrgId;
    /// The event that it is or belongs to, for members who are confined to some.
    fn event_id(&self) -> Option<EventId>;
    /// Whether everybody may see it.
    fn is_public(&self) -> bool;
    /// What does not exist for those who may not see it, when they want to do `what`.
    fn hidden(&self, what: Permission) -> &'static str;
}

impl Owned for Terms {
    fn org_id(&self) -> OrgId {
        self.organizer_id
    }

    fn event_id(&self) -> Option<EventId> {
        Some(self.event_id)
    }

    fn is_public(&self) -> bool {
        Self::is_public(self)
    }

    fn hidden(&self, what: Permission) -> &'static str {
        match what {
            Permission::InventoryWrite => "section",
            Permission::BookingRead | Permission::BookingCancel => "booking",
            _ => "event",
        }
    }
}

/// An organization itself, for what is done at none of its events. It is never public.
impl Owned for OrgId {
    fn org_id(&self) -> OrgId {
        *self
    }

    fn event_id(&self) -> Option<EventId> {
        None
    }

    fn is_public(&self) -> bool {
        false
    }

    fn hidden(&self, _: Permission) -> &'static str {
        "organization"
    }
}

/// What somebody is to the organization that something belongs to.
enum Standing {
    /// Nothing.
    Stranger,
    /// A member with these permissions there.
    Member(Permissions),
    /// One of its owners, or us.
    Master,
}

fn standing(by: By, of: &impl Owned) -> Standing {
    match by {
        By::System => Standing::Master,
        By::User(user_id) if of.org_id().owner() == Some(user_id) => Standing::Master,
        By::Acting(grant) if grant.org_id == of.org_id() => {
            let is_covered = grant.only.is_none() || grant.only == of.event_id();
            Standing::Member(if is_covered { grant.can } else { Permissions::NONE })
        }
        By::User(_) | By::Acting(_) => Standing::Stranger,
    }
}

/// Whether `by` may do this with what belongs to an organization (I13).
///
/// The first refusal wins: not found (what the caller may not see: a draft, a booking, a series),
/// [`Refusal::PermissionMissing`] for members of the organization, [`Refusal::NotOrganizer`].
pub fn may(by: By, what: Permission, of: &impl Owned) -> Result<(), Refusal> {
    let (is_member, can) = match standing(by, of) {
        Standing::Master => return Ok(()),
        Standing::Member(can) if can.has(what) => return Ok(()),
        Standing::Member(can) => (true, can),
        Standing::Stranger => (false, Permissions::NONE),
    };
    let sees = match what {
        // A booking is no public matter, whatever its event is.
        Permission::BookingRead | Permission::BookingCancel => can.has(Permission::BookingRead),
        // That the organization is there is known to its members.
        _ if of.event_id().is_none() => is_member,
        _ => of.is_public() || can.has(Permission::EventRead),
    };
    Err(match (sees, is_member) {
        (false, _) => Refusal::NotFound { what: of.hidden(what) },
        (true, true) => Refusal::PermissionMissing { permission: what },
        (true, false) => Refusal::NotOrganizer,
    })
}

/// Whether `by` may act with a booking of somebody else as its buyer may (I13).
///
/// The first refusal wins: not found for those who may not see the booking,
/// [`Refusal::PermissionMissing`] for those who may not sell.
pub fn may_for_buyer(by: By, terms: &Terms) -> Result<(), Refusal> {
    let allowed = may(by, Permission::BookingSell, terms);
    if allowed.is_err() {
        // That there is such a booking is known to those who may see it.
        may(by, Permission::BookingRead, terms)?;
    }
    allowed
}

/// Whether it exists for `by`; `None` is somebody without a token.
#[must_use]
pub fn is_visible(by: Option<By>, of: &impl Owned) -> bool {
    of.is_public() || by.is_some_and(|by| may(by, Permission::EventRead, of).is_ok())
}

#[cfg(test)]
mod tests;
