//! The rules of organizations.

use super::{
    Access, AccessAction, AccessEntry, Account, Confined, INVITATIONS_MAX, Invitation,
    InvitationEnd, MEMBERS_MAX, Member, Noted, ORGANIZATIONS_MAX, OrgChanges, OrgCommand,
    Organization, Roster,
};
use crate::access::key;
use crate::access::{Actor, KeysOfMember, Permission, Role};
use crate::error::Refusal;
use crate::ids::{InvitationId, OrgId, UserId};
use crate::time::Timestamp;
use uuid::Uuid;

/// A new team, whose founder is its owner. `joined` is in how many organizations the founder is.
///
/// [`Refusal::LimitReached`] beyond [`ORGANIZATIONS_MAX`].
pub fn found(
    org_id: OrgId,
    name: String,
    founder: UserId,
    joined: usize,
    now: Timestamp,
) -> Result<OrgChanges, Refusal> {
    may_join(joined)?;
    let by = Acting { org_id, by: founder, now };
    let after = Some(Noted::Name(name.clone()));
    Ok(OrgChanges {
        members: vec![by.member(founder, Access::OWNER, founder)],
        entries: vec![by.entry(AccessAction::OrgCreated, None, (None, after))],
        organization: Some(Organization {
            org_id,
            name: Some(name),
            version: 1,
            created_at: Some(now),
        }),
        ..OrgChanges::default()
    })
}

/// Decides a change of an organization by a user at `now`, the clock read under its lock.
///
/// The first refusal wins: not found (an organization to which the user is nothing; nobody needs to be
/// something to it to accept an invitation), [`Refusal::PermissionMissing`], then those of each command. What
/// is so already changes nothing, and leaves no entry.
pub fn decide(
    roster: &Roster,
    by: UserId,
    command: &OrgCommand,
    now: Timestamp,
) -> Result<OrgChanges, Refusal> {
    let acting = Acting { org_id: roster.organization.org_id, by, now };
    if let OrgCommand::Accept { invitation_id, account } = command {
        return acting.accept(roster, *invitation_id, account);
    }
    let own = roster.access(by).ok_or(Refusal::NotFound { what: "organization" })?;
    match command {
        OrgCommand::Rename { expected, name } => {
            own.may(Permission::OrgWrite)?;
            acting.rename(&roster.organization, *expected, name)
        }
        OrgCommand::ChangeMember { user_id, role, events, confirmed } => {
            own.may(Permission::MemberWrite)?;
            acting.change(roster, &own, *user_id, (*role, events.as_ref()), *confirmed)
        }
        OrgCommand::Remove { user_id, confirmed, keys } => {
            acting.remove(roster, &own, *user_id, *confirmed, *keys)
        }
        OrgCommand::HandOver { user_id } => {
            own.may(Permission::OrgWrite)?;
            acting.hand_over(roster, *user_id)
        }
        OrgCommand::Invite { invitation, user_id } => {
            own.may(Permission::MemberWrite)?;
            acting.invite(roster, &own, invitation, *user_id)
        }
        OrgCommand::Revoke { invitation_id } => {
            own.may(Permission::MemberWrite)?;
            acting.revoke(roster, *invitation_id)
        }
        OrgCommand::Key(command) => {
            own.may(Permission::IntegrationWrite)?;
            key::decide(&acting, roster, &own, command)
        }
        OrgCommand::Accept { .. } => unreachable!("decided above"),
    }
}

/// What ends with a user who leaves the installation: at a team the membership; at the personal
/// organization its name, its members and its keys. Keys of teams stay: they are the teams'.
///
/// [`Refusal::LastOwner`] at a team of which they are the only owner.
pub fn leave(roster: &Roster, user_id: UserId, now: Timestamp) -> Result<OrgChanges, Refusal> {
    let acting = Acting { org_id: roster.organization.org_id, by: user_id, now };
    if roster.access(user_id).is_none() {
        return Ok(OrgChanges::default());
    }
    if acting.org_id.owner() != Some(user_id) {
        let remove =
            OrgCommand::Remove { user_id, confirmed: true, keys: Some(KeysOfMember::Keep) };
        return decide(roster, user_id, &remove, now);
    }
    let mut changes = OrgChanges::default();
    for member in &roster.members {
        let (who, was) = (member.user_id, Some(Noted::Access(member.access.clone())));
        changes.removed.push(who);
        let entry = acting.entry(AccessAction::MemberRemoved, Some(who.uuid()), (was, None));
        changes.entries.push(entry);
    }
    for invitation in roster.invitations.iter().filter(|one| one.is_open(now)) {
        let was = Some(Noted::Access(invitation.access.clone()));
        changes.invitations.push(acting.ended(invitation, InvitationEnd::Revoked));
        let target = Some(invitation.invitation_id.uuid());
        changes.entries.push(acting.entry(AccessAction::InvitationRevoked, target, (was, None)));
    }
    for key in roster.keys.iter().filter(|key| key.is_live(now)) {
        key::revoke(&acting, key, &mut changes);
    }
    let before = &roster.organization;
    if before.name.is_some() {
        // What it was called may be the name of the person: the entry does not repeat it.
        changes.organization =
            Some(Organization { name: None, version: before.version + 1, ..before.clone() });
        changes.entries.push(acting.entry(AccessAction::OrgRenamed, None, (None, None)));
    }
    Ok(changes)
}

fn may_join(joined: usize) -> Result<(), Refusal> {
    if joined < ORGANIZATIONS_MAX {
        Ok(())
    } else {
        Err(Refusal::LimitReached { what: "organizations", limit: ORGANIZATIONS_MAX })
    }
}

/// Whether somebody may give or take what `other` may do: [`Refusal::PermissionMissing`] names what is
/// beyond.
fn may_deal_with(own: &Access, other: &Access) -> Result<(), Refusal> {
    let (can, others) = (own.role.permissions(), other.role.permissions());
    let beyond = others.iter().find(|what| !can.has(*what));
    match beyond {
        Some(permission) => Err(Refusal::PermissionMissing { permission }),
        None if own.covers(other) => Ok(()),
        None => Err(Refusal::PermissionMissing { permission: Permission::MemberWrite }),
    }
}

/// Who changes which organization, and when.
pub(in crate::access) struct Acting {
    org_id: OrgId,
    pub(in crate::access) by: UserId,
    pub(in crate::access) now: Timestamp,
}

impl Acting {
    pub(in crate::access) fn entry(
        &self,
        action: AccessAction,
        target: Option<Uuid>,
        (before, after): (Option<Noted>, Option<Noted>),
    ) -> AccessEntry {
        let (at, org_id, actor) = (self.now, self.org_id, Actor::User(self.by));
        AccessEntry { at, org_id, actor, action, target, before, after }
    }

    fn member(&self, user_id: UserId, access: Access, added_by: UserId) -> Member {
        Member { org_id: self.org_id, user_id, access, added_by, created_at: self.now }
    }

    /// [`Refusal::VersionMismatch`].
    fn rename(
        &self,
        before: &Organization,
        expected: Option<i64>,
        name: &str,
    ) -> Result<OrgChanges, Refusal> {
        if expected.is_some_and(|expected| expected != before.version) {
            return Err(Refusal::VersionMismatch { version: before.version });
        }
        if before.name.as_deref() == Some(name) {
            return Ok(OrgChanges::default());
        }
        let (was, is) = (before.name.clone().map(Noted::Name), Some(Noted::Name(name.to_owned())));
        Ok(OrgChanges {
            organization: Some(Organization {
                name: Some(name.to_owned()),
                version: before.version + 1,
                created_at: before.created_at.or(Some(self.now)),
                ..before.clone()
            }),
            entries: vec![self.entry(AccessAction::OrgRenamed, None, (was, is))],
            ..OrgChanges::default()
        })
    }

    /// Not found, [`Refusal::PermissionMissing`] for what is beyond the own permissions,
    /// [`Refusal::OwnerConfined`], [`Refusal::PasswordNeeded`], [`Refusal::LastOwner`].
    fn change(
        &self,
        roster: &Roster,
        own: &Access,
        user_id: UserId,
        (role, events): (Option<Role>, Option<&Confined>),
        confirmed: bool,
    ) -> Result<OrgChanges, Refusal> {
        if self.org_id.owner() == Some(user_id) {
            return Err(Refusal::LastOwner);
        }
        let before = roster.member(user_id).ok_or(Refusal::NotFound { what: "member" })?;
        let access = Access {
            role: role.unwrap_or(before.access.role),
            events: events.cloned().unwrap_or_else(|| before.access.events.clone()),
        };
        may_deal_with(own, &before.access)?;
        may_deal_with(own, &access)?;
        let (was_owner, is_owner) = (before.access.role == Role::Owner, access.role == Role::Owner);
        if is_owner && access.events.is_some() {
            return Err(Refusal::OwnerConfined);
        }
        if access == before.access {
            return Ok(OrgChanges::default());
        }
        if was_owner != is_owner && !confirmed {
            return Err(Refusal::PasswordNeeded);
        }
        if was_owner && !is_owner && !roster.has_another_owner(user_id) {
            return Err(Refusal::LastOwner);
        }
        let was_is =
            (Some(Noted::Access(before.access.clone())), Some(Noted::Access(access.clone())));
        Ok(OrgChanges {
            members: vec![Member { access, ..before.clone() }],
            entries: vec![self.entry(AccessAction::MemberChanged, Some(user_id.uuid()), was_is)],
            ..OrgChanges::default()
        })
    }

    /// [`Refusal::LastOwner`]; of others also [`Refusal::PermissionMissing`], not found and
    /// [`Refusal::PasswordNeeded`]. Oneself may always leave. [`Refusal::KeysExist`], unless it is said what
    /// becomes of the keys that the member made.
    fn remove(
        &self,
        roster: &Roster,
        own: &Access,
        user_id: UserId,
        confirmed: bool,
        keys: Option<KeysOfMember>,
    ) -> Result<OrgChanges, Refusal> {
        let is_self = user_id == self.by;
        if !is_self {
            own.may(Permission::MemberWrite)?;
        }
        if self.org_id.owner() == Some(user_id) {
            return Err(Refusal::LastOwner);
        }
        let before = roster.member(user_id).ok_or(Refusal::NotFound { what: "member" })?;
        let is_owner = before.access.role == Role::Owner;
        if !is_self {
            may_deal_with(own, &before.access)?;
            if is_owner && !confirmed {
                return Err(Refusal::PasswordNeeded);
            }
        }
        if is_owner && !roster.has_another_owner(user_id) {
            return Err(Refusal::LastOwner);
        }
        let was = Some(Noted::Access(before.access.clone()));
        let mut changes = OrgChanges {
            removed: vec![user_id],
            entries: vec![self.entry(
                AccessAction::MemberRemoved,
                Some(user_id.uuid()),
                (was, None),
            )],
            ..OrgChanges::default()
        };
        let made: Vec<_> = roster
            .keys
            .iter()
            .filter(|key| key.is_live(self.now))
            .filter(|key| key.created_by == user_id)
            .collect();
        match keys {
            None if !made.is_empty() => Err(Refusal::KeysExist { keys: made.len() }),
            Some(KeysOfMember::Revoke) => {
                for of in made {
                    key::revoke(self, of, &mut changes);
                }
                Ok(changes)
            }
            None | Some(KeysOfMember::Keep) => Ok(changes),
        }
    }

    /// [`Refusal::LastOwner`] for a personal organization, which stays with its user;
    /// [`Refusal::NotAMember`].
    fn hand_over(&self, roster: &Roster, user_id: UserId) -> Result<OrgChanges, Refusal> {
        if self.org_id.owner().is_some() {
            return Err(Refusal::LastOwner);
        }
        let heir = roster.member(user_id).ok_or(Refusal::NotAMember)?;
        if user_id == self.by {
            return Ok(OrgChanges::default());
        }
        let own = roster.member(self.by).expect("an owner of a team is a member");
        let manager = Access { role: Role::Manager, events: None };
        let was = Some(Noted::Access(heir.access.clone()));
        Ok(OrgChanges {
            members: vec![
                Member { access: Access::OWNER, ..heir.clone() },
                Member { access: manager, ..own.clone() },
            ],
            entries: vec![self.entry(
                AccessAction::OrgHandedOver,
                Some(user_id.uuid()),
                (was, Some(Noted::Access(Access::OWNER))),
            )],
            ..OrgChanges::default()
        })
    }

    /// [`Refusal::PermissionMissing`] for what is beyond the own permissions (ownership is beyond those of
    /// everybody here), [`Refusal::MemberExists`], [`Refusal::LimitReached`].
    fn invite(
        &self,
        roster: &Roster,
        own: &Access,
        invitation: &Invitation,
        user_id: Option<UserId>,
    ) -> Result<OrgChanges, Refusal> {
        if invitation.access.role == Role::Owner {
            return Err(Refusal::PermissionMissing { permission: Permission::OrgWrite });
        }
        may_deal_with(own, &invitation.access)?;
        if user_id.is_some_and(|user_id| roster.access(user_id).is_some()) {
            return Err(Refusal::MemberExists);
        }
        let is_other = |one: &&Invitation| one.invitation_id != invitation.invitation_id;
        let unended = roster.invitations.iter().filter(|one| one.ended.is_none()).filter(is_other);
        let (same, others): (Vec<_>, Vec<_>) =
            unended.partition(|one| one.email_folded == invitation.email_folded);
        if others.iter().filter(|one| one.is_open(self.now)).count() >= INVITATIONS_MAX {
            return Err(Refusal::LimitReached { what: "invitations", limit: INVITATIONS_MAX });
        }
        // The new one last: only one for an address may not have ended.
        let mut invitations: Vec<_> =
            same.into_iter().map(|one| self.ended(one, InvitationEnd::Replaced)).collect();
        invitations.push(invitation.clone());
        let is = Some(Noted::Access(invitation.access.clone()));
        Ok(OrgChanges {
            invitations,
            entries: vec![self.entry(
                AccessAction::InvitationCreated,
                Some(invitation.invitation_id.uuid()),
                (None, is),
            )],
            ..OrgChanges::default()
        })
    }

    fn ended(&self, invitation: &Invitation, how: InvitationEnd) -> Invitation {
        Invitation { ended: Some((self.now, how)), ..invitation.clone() }
    }

    /// Not found. One that has ended stays as it is.
    fn revoke(&self, roster: &Roster, invitation_id: InvitationId) -> Result<OrgChanges, Refusal> {
        let found = named(roster, invitation_id);
        let invitation = found.ok_or(Refusal::NotFound { what: "invitation" })?;
        if !invitation.is_open(self.now) {
            return Ok(OrgChanges::default());
        }
        let was = Some(Noted::Access(invitation.access.clone()));
        Ok(OrgChanges {
            invitations: vec![self.ended(invitation, InvitationEnd::Revoked)],
            entries: vec![self.entry(
                AccessAction::InvitationRevoked,
                Some(invitation_id.uuid()),
                (was, None),
            )],
            ..OrgChanges::default()
        })
    }

    /// [`Refusal::InvitationEnded`], also where the one who invited may do so no longer;
    /// [`Refusal::InvitationMismatch`] for another address; [`Refusal::LimitReached`].
    ///
    /// A member whom it would give less, or something else, stays what they are. Accepted again by the
    /// same member, it changes nothing.
    fn accept(
        &self,
        roster: &Roster,
        invitation_id: InvitationId,
        account: &Account,
    ) -> Result<OrgChanges, Refusal> {
        let invitation = named(roster, invitation_id).ok_or(Refusal::InvitationEnded)?;
        let is_addressed = invitation.email_folded == account.email_folded;
        let own = roster.access(account.user_id);
        let was_accepted = matches!(invitation.ended, Some((_, InvitationEnd::Accepted)));
        if was_accepted && is_addressed && own.is_some() {
            return Ok(OrgChanges::default());
        }
        if !invitation.is_open(self.now) {
            return Err(Refusal::InvitationEnded);
        }
        if !is_addressed {
            return Err(Refusal::InvitationMismatch);
        }
        let inviter = roster.access(invitation.invited_by).filter(|inviter| {
            inviter.may(Permission::MemberWrite).is_ok() && inviter.covers(&invitation.access)
        });
        inviter.ok_or(Refusal::InvitationEnded)?;

        let access = invitation.access.clone();
        let mut changes = OrgChanges {
            invitations: vec![self.ended(invitation, InvitationEnd::Accepted)],
            ..OrgChanges::default()
        };
        let after = match (&own, roster.member(account.user_id)) {
            (None, _) => {
                if roster.members.len() >= MEMBERS_MAX {
                    return Err(Refusal::LimitReached { what: "members", limit: MEMBERS_MAX });
                }
                may_join(roster.joined)?;
                let member = self.member(account.user_id, access.clone(), invitation.invited_by);
                changes.members.push(member);
                access
            }
            (Some(own), Some(member)) if access.covers(own) => {
                changes.members.push(Member { access: access.clone(), ..member.clone() });
                access
            }
            (Some(own), _) => own.clone(),
        };
        let action = match own {
            None => AccessAction::MemberAdded,
            Some(_) => AccessAction::MemberChanged,
        };
        let was_is = (own.map(Noted::Access), Some(Noted::Access(after)));
        changes.entries.push(self.entry(action, Some(account.user_id.uuid()), was_is));
        Ok(changes)
    }
}

fn named(roster: &Roster, invitation_id: InvitationId) -> Option<&Invitation> {
    roster.invitations.iter().find(|one| one.invitation_id == invitation_id)
}
