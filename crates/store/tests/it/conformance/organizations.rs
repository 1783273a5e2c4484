//! Organizations: their members and invitations.

mod at_once;
mod keys;
mod leaving;
mod log;
mod named;
mod operators;
mod transfers;

use super::{World, answered, creation_key, refusal};
use crate::raw::Raw;
use engine::access::{
    Access, Account, INVITATION_KEPT_MS, INVITATION_TTL_MS, Invitation, Member, OrgCommand,
    Organization, Permission, Role, Roster,
};
use engine::{Error, InvitationId, OrgId, Refusal, Shard, UserId};
use store::ChangeNote;
use uuid::Uuid;

pub use at_once::{
    a_roster_beside_a_change_is_of_one_moment,
    an_invitation_accepted_many_times_at_once_makes_one_member,
    i14_of_two_owners_who_leave_at_once_one_stays, nobody_joins_too_many_organizations_at_once,
};
pub use keys::{
    a_key_is_changed_rotated_and_ended_by_its_rules,
    a_key_is_read_as_it_was_made_and_found_by_its_secret,
    a_key_made_with_the_same_key_is_made_once, ended_keys_are_removed_after_a_while,
    the_keys_of_a_member_who_is_removed_stay_or_end_as_was_said,
    the_last_use_of_a_key_is_written_once_a_minute,
};
pub use leaving::{
    i14_the_only_owner_of_a_team_does_not_leave, who_has_events_that_are_open_does_not_leave,
    who_leaves_is_erased_and_the_address_is_free,
};
pub use log::{
    a_filtered_access_log_is_looked_through_in_parts,
    an_access_log_is_read_page_by_page_and_by_actor_and_action,
    the_access_log_says_who_changed_what_by_which_request,
};
pub use named::what_is_stored_of_organizations_is_read_at_once;
pub use operators::{
    an_operator_is_added_once_and_removed,
    the_whole_access_log_is_that_of_all_organizations_in_their_order,
    there_are_only_so_many_operators,
};
pub use transfers::{
    a_transfer_is_made_once_whatever_comes_after_it, a_transfer_that_is_refused_changes_nothing,
    an_event_goes_to_another_organization_and_leaves_its_series,
    i13_after_a_transfer_the_organization_of_before_changes_nothing,
    i13_what_the_organization_of_before_does_comes_before_the_transfer,
};

const MISSING: Refusal = Refusal::NotFound { what: "organization" };

fn everywhere(role: Role) -> Access {
    Access { role, events: None }
}

fn rename(expected: Option<i64>, name: &str) -> OrgCommand {
    OrgCommand::Rename { expected, name: name.to_owned() }
}

fn remove(user_id: UserId) -> OrgCommand {
    OrgCommand::Remove { user_id, confirmed: true, keys: None }
}

/// What users of an organization are there for, in the order of their ids.
fn roles(roster: &Roster) -> Vec<(UserId, Role)> {
    roster.members.iter().map(|member| (member.user_id, member.access.role)).collect()
}

impl World {
    /// A change of its own, by the request of this name.
    fn note(&self, request: &str) -> ChangeNote {
        let change_id = Uuid::from_bytes(*self.mint.user().as_bytes());
        ChangeNote { change_id, request_id: Some(request.to_owned()) }
    }

    fn team_id(&self) -> OrgId {
        let (_, low) = Uuid::from_bytes(*self.mint.user().as_bytes()).as_u64_pair();
        OrgId::team(self.clock.now(), (7, low))
    }

    async fn found_team(&self, founder: UserId) -> Result<OrgId, Error> {
        let note = self.note("founding");
        let created = self.store.found_team(self.team_id(), "Team", founder, &note, None).await;
        created.map(|created| created.id)
    }

    /// A team with its owner.
    async fn team(&self) -> (OrgId, UserId) {
        let owner = self.mint.user();
        (self.found_team(owner).await.expect("the first one"), owner)
    }

    async fn change_org(
        &self,
        org_id: OrgId,
        by: UserId,
        command: OrgCommand,
    ) -> Result<Roster, Error> {
        self.store.change_organization(org_id, by, command, &self.note("change")).await
    }

    fn invitation(&self, org_id: OrgId, by: UserId, email: &str, role: Role) -> Invitation {
        let (_, low) = Uuid::from_bytes(*self.mint.user().as_bytes()).as_u64_pair();
        let now = self.clock.now();
        let invitation_id = InvitationId::new(now, Shard::pick(7), low);
        let mut token_hash = [7; 32];
        token_hash[..16].copy_from_slice(invitation_id.as_bytes());
        Invitation {
            invitation_id,
            org_id,
            email: email.to_owned(),
            email_folded: email.to_lowercase(),
            access: everywhere(role),
            token_hash,
            invited_by: by,
            created_at: now,
            expires_at: now.plus_ms(INVITATION_TTL_MS),
            ended: None,
        }
    }

    async fn send(&self, invitation: &Invitation) -> Result<Roster, Error> {
        let command =
            OrgCommand::Invite { invitation: Box::new(invitation.clone()), user_id: None };
        self.change_org(invitation.org_id, invitation.invited_by, command).await
    }

    async fn invite(&self, org_id: OrgId, by: UserId, email: &str, role: Role) -> Invitation {
        let invitation = self.invitation(org_id, by, email, role);
        self.send(&invitation).await.expect("within the own permissions");
        invitation
    }

    async fn accept(&self, invitation: &Invitation, user_id: UserId) -> Result<Roster, Error> {
        let invitation_id = invitation.invitation_id;
        let account = Account { user_id, email_folded: invitation.email_folded.clone() };
        let command = OrgCommand::Accept { invitation_id, account };
        self.change_org(invitation.org_id, user_id, command).await
    }

    /// A new member.
    async fn join(&self, org_id: OrgId, by: UserId, role: Role) -> UserId {
        let user_id = self.mint.user();
        let invitation = self.invite(org_id, by, &format!("{user_id}@example.org"), role).await;
        self.accept(&invitation, user_id).await.expect("it is for this address");
        user_id
    }

    async fn promote(&self, org_id: OrgId, by: UserId, user_id: UserId, role: Role) -> Roster {
        let (role, confirmed) = (Some(role), true);
        let command = OrgCommand::ChangeMember { user_id, role, events: None, confirmed };
        self.change_org(org_id, by, command).await.expect("within the own permissions")
    }

    async fn roster(&self, org_id: OrgId) -> Roster {
        answered(self.store.roster(org_id).await).expect("it is there")
    }

    /// How many rows a table has.
    async fn rows_of(&self, table: &str) -> String {
        let mut raw = Raw::of(&self.fresh).await;
        let count = raw.texts(&format!("SELECT CAST(count(*) AS text) FROM {table}")).await;
        count[0].clone().expect("a number")
    }
}

pub async fn a_team_founded_with_the_same_key_is_founded_once(world: World) {
    let (store, ada) = (&world.store, world.mint.user());
    let found = async |name: &str, fingerprint| {
        let key = creation_key(ada, "once", fingerprint);
        store.found_team(world.team_id(), name, ada, &world.note("found"), Some(&key)).await
    };
    let first = found("Team", 1).await.expect("the first one");
    assert!(first.id.is_team() && !first.replayed);
    let again = found("Other", 1).await.expect("replayed");
    assert_eq!((again.id, again.replayed), (first.id, true));
    assert_eq!(refusal(found("Team", 2).await), Refusal::IdempotencyKeyReused);
    let created_at = world.clock.now();
    let organization = Organization {
        org_id: first.id,
        name: Some("Team".to_owned()),
        version: 1,
        created_at: Some(created_at),
    };
    let access = everywhere(Role::Owner);
    let owner = Member { org_id: first.id, user_id: ada, access, added_by: ada, created_at };
    let (members, invitations) = (vec![owner.clone()], Vec::new());
    let keys = Vec::new();
    let expected =
        Roster { organization: organization.clone(), members, invitations, keys, joined: 0 };
    assert_eq!(world.roster(first.id).await, expected);
    assert_eq!(answered(store.members(first.id).await), vec![owner.clone()]);
    assert_eq!(answered(store.organizations_of(ada).await), vec![(organization, owner)]);
    assert_eq!(answered(store.roster(world.team_id()).await), None);
    assert_eq!(answered(store.members(world.team_id()).await), vec![]);
}

pub async fn an_organization_is_renamed_at_the_version_its_editor_saw(world: World) {
    let (org_id, ada) = world.team().await;
    world.clock.advance_ms(5);
    let before = world.roster(org_id).await;
    let after = world.change_org(org_id, ada, rename(Some(1), "Oper")).await.expect("hers");
    let organization =
        Organization { name: Some("Oper".to_owned()), version: 2, ..before.organization };
    assert_eq!(after, Roster { organization, ..before });
    assert_eq!(world.roster(org_id).await, after);
    let late = world.change_org(org_id, ada, rename(Some(1), "Ballett")).await;
    assert_eq!(refusal(late), Refusal::VersionMismatch { version: 2 });
    let same = world.change_org(org_id, ada, rename(None, "Oper")).await;
    assert_eq!(same.expect("it is so"), after);
    let manager = world.join(org_id, ada, Role::Manager).await;
    let refused = world.change_org(org_id, manager, rename(None, "Mine")).await;
    assert_eq!(refusal(refused), Refusal::PermissionMissing { permission: Permission::OrgWrite });
    for unknown in [org_id, world.team_id()] {
        let refused = world.change_org(unknown, world.mint.user(), rename(None, "Mine")).await;
        assert_eq!(refusal(refused), MISSING);
    }
}

pub async fn an_invitation_is_accepted_or_taken_back_once(world: World) {
    let store = &world.store;
    let (org_id, ada) = world.team().await;
    let first = world.invite(org_id, ada, "Bob@example.org", Role::Analyst).await;
    assert_eq!(world.roster(org_id).await.invitations, vec![first.clone()]);
    let found = answered(store.invitation_by_hash(&first.token_hash).await);
    assert_eq!(found, Some((org_id, first.invitation_id)));
    assert_eq!(answered(store.invitation_by_hash(&[0; 32]).await), None);
    // One for each address: the second takes the place of the first.
    world.clock.advance_ms(5);
    let second = world.invite(org_id, ada, "bob@example.org", Role::BoxOffice).await;
    assert_eq!(world.roster(org_id).await.invitations, vec![second.clone()]);
    let bob = world.mint.user();
    assert_eq!(refusal(world.accept(&first, bob).await), Refusal::InvitationEnded);
    let found = answered(store.invitation_by_hash(&first.token_hash).await);
    assert_eq!(found, Some((org_id, first.invitation_id)), "known to have ended");
    let other = Invitation { email_folded: "eve@example.org".to_owned(), ..second.clone() };
    assert_eq!(refusal(world.accept(&other, bob).await), Refusal::InvitationMismatch);
    for _ in 0..2 {
        let roster = world.accept(&second, bob).await.expect("it is open");
        assert_eq!(roles(&roster), [(ada, Role::Owner), (bob, Role::BoxOffice)]);
        assert_eq!((roster.invitations, roster.joined), (vec![], 0));
    }
    let member = answered(store.members(org_id).await).pop().expect("two of them");
    assert_eq!((member.added_by, member.created_at), (ada, world.clock.now()));
    assert_eq!(refusal(world.accept(&second, world.mint.user()).await), Refusal::InvitationEnded);

    let third = world.invite(org_id, ada, "eve@example.org", Role::CheckIn).await;
    let revoke = || OrgCommand::Revoke { invitation_id: third.invitation_id };
    for _ in 0..2 {
        let roster = world.change_org(org_id, ada, revoke()).await.expect("hers");
        assert_eq!(roster.invitations, vec![]);
    }
    assert_eq!(refusal(world.accept(&third, world.mint.user()).await), Refusal::InvitationEnded);
    // What is named by its id is that of the organization.
    let (elsewhere, eve) = world.team().await;
    let refused = world.change_org(elsewhere, eve, revoke()).await;
    assert_eq!(refusal(refused), Refusal::NotFound { what: "invitation" });
}

pub async fn members_are_changed_and_removed_and_leave(world: World) {
    let (org_id, ada) = world.team().await;
    let bob = world.join(org_id, ada, Role::Manager).await;
    let eve = world.join(org_id, ada, Role::BoxOffice).await;
    let events = [world.mint.event(), world.mint.event()];
    let command = OrgCommand::ChangeMember {
        user_id: eve,
        role: Some(Role::CheckIn),
        events: Some(Some(events.into())),
        confirmed: false,
    };
    let roster = world.change_org(org_id, bob, command).await.expect("within his permissions");
    let access = Access { role: Role::CheckIn, events: Some(events.into()) };
    assert_eq!(roster.members[2].access, access);
    assert_eq!(roster.members[2].added_by, ada, "since when and by whom stays");
    assert_eq!(world.roster(org_id).await, roster);
    let refused = world.change_org(org_id, bob, remove(ada)).await;
    assert_eq!(refusal(refused), Refusal::PermissionMissing { permission: Permission::OrgWrite });
    let roster = world.change_org(org_id, bob, remove(eve)).await.expect("within his permissions");
    assert_eq!(roles(&roster), [(ada, Role::Owner), (bob, Role::Manager)]);
    assert_eq!(refusal(world.change_org(org_id, eve, remove(eve)).await), MISSING);
    assert_eq!(refusal(world.change_org(org_id, ada, remove(ada)).await), Refusal::LastOwner);
    let roster = world.change_org(org_id, ada, OrgCommand::HandOver { user_id: bob }).await;
    assert_eq!(roles(&roster.expect("hers")), [(ada, Role::Manager), (bob, Role::Owner)]);
    let roster = world.change_org(org_id, ada, remove(ada)).await.expect("not the last owner");
    assert_eq!(roles(&roster), [(bob, Role::Owner)]);
    assert_eq!(answered(world.store.organizations_of(ada).await), vec![]);
}

pub async fn a_personal_organization_gets_its_row_with_its_first_change(world: World) {
    let (ada, eve) = (world.mint.user(), world.mint.user());
    let org_id = OrgId::from(ada);
    let unwritten = Roster {
        organization: Organization::unwritten(org_id),
        members: Vec::new(),
        invitations: Vec::new(),
        keys: Vec::new(),
        joined: 0,
    };
    assert_eq!(world.roster(org_id).await, unwritten);
    // A refused change leaves nothing behind.
    let unknown = world.invitation(org_id, ada, "bob@example.org", Role::Manager);
    assert_eq!(refusal(world.change_org(org_id, eve, rename(None, "Mine")).await), MISSING);
    assert_eq!(refusal(world.accept(&unknown, eve).await), Refusal::InvitationEnded);
    let revoke = OrgCommand::Revoke { invitation_id: unknown.invitation_id };
    let refused = world.change_org(org_id, ada, revoke).await;
    assert_eq!(refusal(refused), Refusal::NotFound { what: "invitation" });
    assert_eq!(refusal(world.change_org(org_id, ada, remove(ada)).await), Refusal::LastOwner);
    assert_eq!(world.roster(org_id).await, unwritten);
    assert_eq!(world.rows_of("organizations").await, "0");
    assert_eq!(world.rows_of("access_log").await, "0");

    world.clock.advance_ms(5);
    let invitation = world.invite(org_id, ada, "bob@example.org", Role::Manager).await;
    let created_at = Some(world.clock.now());
    let organization = Organization { created_at, ..unwritten.organization };
    let roster = world.roster(org_id).await;
    assert_eq!(roster.organization, organization);
    assert_eq!(roster.invitations, vec![invitation.clone()]);
    let bob = world.mint.user();
    world.accept(&invitation, bob).await.expect("it is for him");
    world.clock.advance_ms(5);
    let named = world.change_org(org_id, ada, rename(Some(1), "Ada's")).await.expect("hers");
    let name = Some("Ada's".to_owned());
    assert_eq!(named.organization, Organization { name, version: 2, ..organization });
    assert_eq!(roles(&named), [(bob, Role::Manager)], "its owner is no member");
    // A name alone is a reason, too.
    let named = world.change_org(eve.into(), eve, rename(Some(1), "Eve's")).await.expect("hers");
    let Organization { version, created_at, .. } = named.organization;
    assert_eq!((version, created_at), (2, Some(world.clock.now())));
}

pub async fn somebody_is_told_the_organizations_they_are_in(world: World) {
    let (bob, store) = (world.mint.user(), &world.store);
    let mut own = Vec::new();
    for _ in 0..3 {
        let (org_id, owner) = world.team().await;
        let invitation = world.invite(org_id, owner, "bob@example.org", Role::Analyst).await;
        world.accept(&invitation, bob).await.expect("it is for him");
        world.clock.advance_ms(5);
        own.push(org_id);
    }
    let ada = world.mint.user();
    let invitation = world.invite(ada.into(), ada, "bob@example.org", Role::CheckIn).await;
    world.accept(&invitation, bob).await.expect("it is for him");
    own.push(ada.into());
    own.sort();
    let found = answered(store.organizations_of(bob).await);
    let ids: Vec<_> = found.iter().map(|(organization, _)| organization.org_id).collect();
    assert_eq!(ids, own);
    for (organization, member) in found {
        let roster = world.roster(organization.org_id).await;
        let members: Vec<_> = roster.members.into_iter().filter(|it| it.user_id == bob).collect();
        assert_eq!((roster.organization, members), (organization, vec![member]));
    }
    assert_eq!(answered(store.organizations_of(world.mint.user()).await), vec![]);
}

pub async fn old_invitations_are_removed_and_their_members_stay(world: World) {
    let (store, purge) = (&world.store, async |limit| answered(world.store.purge(limit).await));
    let (org_id, ada) = world.team().await;
    let accepted = world.invite(org_id, ada, "bob@example.org", Role::Analyst).await;
    world.accept(&accepted, world.mint.user()).await.expect("it is for him");
    for email in ["eve@example.org", "Eve@example.org", "joe@example.org"] {
        world.invite(org_id, ada, email, Role::Analyst).await;
    }
    world.clock.advance_ms(INVITATION_TTL_MS);
    assert_eq!(world.roster(org_id).await.invitations, vec![], "nobody can accept them");
    // One that is over makes way for another for its address.
    let again = world.invite(org_id, ada, "joe@example.org", Role::Analyst).await;
    assert_eq!(world.roster(org_id).await.invitations, vec![again]);
    world.clock.advance_ms(INVITATION_KEPT_MS - 1);
    let last = world.invite(org_id, ada, "mia@example.org", Role::Analyst).await;
    assert_eq!(purge(100).await, 0);
    assert_eq!(world.rows_of("invitations").await, "6");
    world.clock.advance_ms(1);
    assert_eq!((purge(3).await, purge(3).await, purge(3).await), (3, 1, 0));
    assert_eq!(world.rows_of("invitations").await, "2");
    let roster = world.roster(org_id).await;
    assert_eq!((roster.invitations, roster.members.len()), (vec![last], 2));
    assert_eq!(answered(store.invitation_by_hash(&accepted.token_hash).await), None);
}

pub async fn users_are_found_by_their_ids(world: World) {
    let mut users = Vec::new();
    for number in 0..5 {
        let user = world.new_user(&format!("{number}@example.org"));
        world.store.create_user(&user).await.expect("the address is free");
        users.push(user);
    }
    let ids: Vec<_> = users.iter().map(|user| user.user_id).collect();
    let asked = [ids[3], world.mint.user(), ids[0], ids[3], ids[4]];
    let mut found = answered(world.store.users(&asked).await);
    found.sort_by_key(|user| user.user_id);
    assert_eq!(found, [&users[0], &users[3], &users[4]].map(Clone::clone));
    assert_eq!(answered(world.store.users(&[]).await), vec![]);
}
