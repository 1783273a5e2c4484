use super::*;
use crate::ids::Shard;
use std::collections::BTreeSet;

const NOW: Timestamp = Timestamp::from_unix_ms(1_000_000);

fn user(number: u64) -> UserId {
    UserId::new(Timestamp::from_unix_ms(0), Shard::pick(0), number)
}

fn event(number: u64) -> EventId {
    EventId::new(Timestamp::from_unix_ms(0), Shard::pick(0), number)
}

fn team() -> OrgId {
    OrgId::team(Timestamp::from_unix_ms(0), (0, 1))
}

fn access(role: Role) -> Access {
    Access { role, events: None }
}

fn confined(role: Role, events: &[u64]) -> Access {
    Access { role, events: Some(events.iter().map(|number| event(*number)).collect()) }
}

/// An organization with these members.
fn roster(org_id: OrgId, members: &[(u64, Access)]) -> Roster {
    let member = |(number, access): &(u64, Access)| Member {
        org_id,
        user_id: user(*number),
        access: access.clone(),
        added_by: user(1),
        created_at: Timestamp::from_unix_ms(1),
    };
    Roster {
        organization: Organization {
            name: Some("Team".to_owned()),
            created_at: Some(Timestamp::from_unix_ms(1)),
            ..Organization::unwritten(org_id)
        },
        members: members.iter().map(member).collect(),
        invitations: Vec::new(),
        keys: Vec::new(),
        joined: 0,
    }
}

/// User 1 owns it, 2 manages it, 3 sells, 4 is at the door of event 1.
fn staffed() -> Roster {
    roster(
        team(),
        &[
            (1, access(Role::Owner)),
            (2, access(Role::Manager)),
            (3, access(Role::BoxOffice)),
            (4, confined(Role::CheckIn, &[1])),
        ],
    )
}

fn invitation(number: u64, email: &str, access: Access) -> Invitation {
    Invitation {
        invitation_id: InvitationId::new(NOW, Shard::pick(0), number),
        org_id: team(),
        email: email.to_owned(),
        email_folded: email.to_lowercase(),
        access,
        token_hash: [0; 32],
        invited_by: user(2),
        created_at: NOW,
        expires_at: NOW.plus_ms(INVITATION_TTL_MS),
        ended: None,
    }
}

/// The organization after a change.
fn after(roster: &Roster, by: u64, command: &OrgCommand) -> Result<Roster, Refusal> {
    let changes = decide(roster, user(by), command, NOW)?;
    let is_nothing = changes.entries.is_empty();
    assert_eq!(is_nothing, changes == OrgChanges::default(), "an entry for each change");
    let mut next = roster.clone();
    next.organization = changes.organization.unwrap_or(next.organization);
    next.members.retain(|member| !changes.removed.contains(&member.user_id));
    for member in changes.members {
        next.members.retain(|other| other.user_id != member.user_id);
        next.members.push(member);
    }
    for invitation in changes.invitations {
        next.invitations.retain(|other| other.invitation_id != invitation.invitation_id);
        next.invitations.push(invitation);
    }
    next.members.sort_by_key(|member| member.user_id);
    Ok(next)
}

fn change(user_id: u64, role: Role) -> OrgCommand {
    let (role, events, confirmed) = (Some(role), None, true);
    OrgCommand::ChangeMember { user_id: user(user_id), role, events, confirmed }
}

fn remove(user_id: u64) -> OrgCommand {
    OrgCommand::Remove { user_id: user(user_id), confirmed: true, keys: None }
}

fn invite(invitation: Invitation) -> OrgCommand {
    OrgCommand::Invite { invitation: Box::new(invitation), user_id: None }
}

fn accept(number: u64, user_id: u64, email: &str) -> OrgCommand {
    OrgCommand::Accept {
        invitation_id: InvitationId::new(NOW, Shard::pick(0), number),
        account: Account { user_id: user(user_id), email_folded: email.to_owned() },
    }
}

fn missing(permission: Permission) -> Refusal {
    Refusal::PermissionMissing { permission }
}

#[test]
fn a_founder_is_the_owner_and_may_not_found_without_end() {
    let founded = found(team(), "Team".to_owned(), user(1), 99, NOW).expect("the hundredth");
    assert_eq!(founded.members[0].access, access(Role::Owner));
    assert_eq!(founded.entries[0].action, AccessAction::OrgCreated);
    let limit = Refusal::LimitReached { what: "organizations", limit: 100 };
    assert_eq!(found(team(), "Team".to_owned(), user(1), 100, NOW), Err(limit));
}

#[test]
fn an_organization_does_not_exist_for_others() {
    let nobody = Err(Refusal::NotFound { what: "organization" });
    let rename = OrgCommand::Rename { expected: None, name: "Mine".to_owned() };
    let hand_over = OrgCommand::HandOver { user_id: user(9) };
    let mine = invite(invitation(1, "i@x", access(Role::Analyst)));
    for command in [rename, change(1, Role::Analyst), remove(1), remove(9), hand_over, mine] {
        assert_eq!(after(&staffed(), 9, &command), nobody, "{command:?}");
    }
}

#[test]
fn a_name_is_changed_by_owners_at_the_version_they_saw() {
    let rename = |expected, name: &str| OrgCommand::Rename { expected, name: name.to_owned() };
    let renamed = after(&staffed(), 1, &rename(Some(1), "Troupe")).expect("an owner");
    assert_eq!(renamed.organization.name.as_deref(), Some("Troupe"));
    assert_eq!(renamed.organization.version, 2);
    assert_eq!(after(&staffed(), 1, &rename(None, "Team")), Ok(staffed()), "it has that name");
    let stale = Err(Refusal::VersionMismatch { version: 2 });
    assert_eq!(after(&renamed, 1, &rename(Some(1), "Team")), stale);
    let refused = after(&staffed(), 2, &rename(Some(9), "Mine"));
    assert_eq!(refused, Err(missing(Permission::OrgWrite)));
    let personal = Roster {
        organization: Organization::unwritten(user(1).into()),
        ..roster(user(1).into(), &[])
    };
    let named = after(&personal, 1, &rename(Some(1), "Ada")).expect("its user").organization;
    assert_eq!((named.version, named.created_at), (2, Some(NOW)), "it gets a row");
}

#[test]
fn nobody_gives_or_takes_what_they_lack() {
    let org_write = Err(missing(Permission::OrgWrite));
    for (by, command) in
        [(2, change(3, Role::Owner)), (2, change(1, Role::Analyst)), (2, remove(1))]
    {
        assert_eq!(after(&staffed(), by, &command), org_write, "{command:?}");
    }
    let owner = invite(invitation(1, "i@x", access(Role::Owner)));
    for by in [1, 2] {
        assert_eq!(after(&staffed(), by, &owner), org_write, "ownership by invitation");
    }
    let member_write = Err(missing(Permission::MemberWrite));
    let mine = invite(invitation(1, "i@x", access(Role::CheckIn)));
    for (by, command) in [
        (3, change(4, Role::CheckIn)),
        (3, remove(4)),
        (3, mine),
        (4, change(4, Role::Analyst)),
        (4, remove(3)),
    ] {
        assert_eq!(after(&staffed(), by, &command), member_write, "{by} {command:?}");
    }
    let staffed = roster(team(), &[(1, access(Role::Owner)), (2, confined(Role::Manager, &[1]))]);
    let here = invite(invitation(1, "i@x", confined(Role::CheckIn, &[1])));
    assert_eq!(after(&staffed, 2, &here), member_write, "who is confined invites nobody");
}

#[test]
fn members_are_changed_and_removed_by_owners_and_managers_and_leave_themselves() {
    let sells = after(&staffed(), 2, &change(4, Role::BoxOffice)).expect("a manager");
    assert_eq!(sells.access(user(4)), Some(confined(Role::BoxOffice, &[1])));
    let anywhere = OrgCommand::ChangeMember {
        user_id: user(4),
        role: None,
        events: Some(None),
        confirmed: false,
    };
    let freed = after(&staffed(), 2, &anywhere).expect("a manager");
    assert_eq!(freed.access(user(4)), Some(access(Role::CheckIn)));
    assert_eq!(after(&staffed(), 2, &change(3, Role::BoxOffice)), Ok(staffed()), "nothing new");
    assert_eq!(after(&staffed(), 2, &remove(3)).expect("a manager").access(user(3)), None);
    for leaver in [2, 3, 4] {
        let left = after(&staffed(), leaver, &remove(leaver)).expect("oneself");
        assert_eq!(left.access(user(leaver)), None);
    }
    let gone = Err(Refusal::NotFound { what: "member" });
    assert_eq!(after(&staffed(), 1, &remove(9)), gone);
    assert_eq!(after(&staffed(), 1, &change(9, Role::Analyst)), gone);
}

#[test]
fn i14_a_team_always_has_an_owner() {
    let last = Err(Refusal::LastOwner);
    assert_eq!(after(&staffed(), 1, &remove(1)), last);
    assert_eq!(after(&staffed(), 1, &change(1, Role::Manager)), last);
    let two = after(&staffed(), 1, &change(3, Role::Owner)).expect("an owner");
    let one = after(&two, 1, &remove(1)).expect("another is there");
    assert_eq!(after(&one, 3, &remove(3)), last);
    let handed = after(&staffed(), 1, &OrgCommand::HandOver { user_id: user(3) });
    let handed = handed.expect("an owner");
    assert_eq!(handed.access(user(3)), Some(access(Role::Owner)));
    assert_eq!(handed.access(user(1)), Some(access(Role::Manager)));
    let stranger = after(&staffed(), 1, &OrgCommand::HandOver { user_id: user(9) });
    assert_eq!(stranger, Err(Refusal::NotAMember));
    let oneself = after(&staffed(), 1, &OrgCommand::HandOver { user_id: user(1) });
    assert_eq!(oneself, Ok(staffed()));
}

#[test]
fn i14_a_personal_organization_stays_with_its_user() {
    let personal = roster(user(1).into(), &[(2, access(Role::Owner)), (3, access(Role::Manager))]);
    let last = Err(Refusal::LastOwner);
    for by in [1, 2] {
        assert_eq!(after(&personal, by, &remove(1)), last);
        assert_eq!(after(&personal, by, &change(1, Role::Manager)), last);
        assert_eq!(after(&personal, by, &OrgCommand::HandOver { user_id: user(3) }), last);
    }
    let left = after(&personal, 2, &remove(2)).expect("its user is there");
    assert_eq!(left.access(user(1)), Some(access(Role::Owner)));
}

#[test]
fn ownership_changes_with_the_password_only_and_an_owner_is_confined_to_nothing() {
    let unconfirmed = |user_id, role| OrgCommand::ChangeMember {
        user_id: user(user_id),
        role: Some(role),
        events: None,
        confirmed: false,
    };
    let two = after(&staffed(), 1, &change(3, Role::Owner)).expect("an owner");
    let needed = Err(Refusal::PasswordNeeded);
    assert_eq!(after(&staffed(), 1, &unconfirmed(3, Role::Owner)), needed);
    assert_eq!(after(&two, 1, &unconfirmed(3, Role::Manager)), needed);
    let other = OrgCommand::Remove { user_id: user(3), confirmed: false, keys: None };
    assert_eq!(after(&two, 1, &other), needed);
    after(&two, 3, &other).expect("oneself leaves without");
    let at_one = confined(Role::Owner, &[1]);
    let confine = OrgCommand::ChangeMember {
        user_id: user(3),
        role: Some(Role::Owner),
        events: Some(at_one.events),
        confirmed: true,
    };
    assert_eq!(after(&staffed(), 1, &confine), Err(Refusal::OwnerConfined));
}

#[test]
fn an_invitation_makes_a_member_of_the_one_it_is_for() {
    let invited = invite(invitation(1, "Eva@x", access(Role::Analyst)));
    let invited = after(&staffed(), 2, &invited).expect("a manager");
    let mismatch = Err(Refusal::InvitationMismatch);
    assert_eq!(after(&invited, 6, &accept(1, 6, "mallory@x")), mismatch);
    let joined = after(&invited, 5, &accept(1, 5, "eva@x")).expect("hers");
    assert_eq!(joined.access(user(5)), Some(access(Role::Analyst)));
    assert_eq!(after(&joined, 5, &accept(1, 5, "eva@x")), Ok(joined.clone()), "once more");
    let ended = Err(Refusal::InvitationEnded);
    assert_eq!(after(&joined, 6, &accept(1, 6, "eva@x")), ended, "it was hers");
    let left = after(&joined, 5, &remove(5)).expect("oneself");
    assert_eq!(after(&left, 5, &accept(1, 5, "eva@x")), ended, "once only");
    assert_eq!(after(&staffed(), 5, &accept(1, 5, "eva@x")), ended, "it is unknown");
    let found = Some(user(3));
    let again = Box::new(invitation(1, "sells@x", access(Role::Analyst)));
    let again = OrgCommand::Invite { invitation: again, user_id: found };
    assert_eq!(after(&staffed(), 2, &again), Err(Refusal::MemberExists));
}

#[test]
fn an_invitation_ends_by_time_by_hand_by_another_one_and_with_the_rights_of_its_inviter() {
    let invited = invite(invitation(1, "eva@x", access(Role::Analyst)));
    let invited = after(&staffed(), 2, &invited).expect("a manager");
    let ended = Err(Refusal::InvitationEnded);
    let late = NOW.plus_ms(INVITATION_TTL_MS);
    let too_late = decide(&invited, user(5), &accept(1, 5, "eva@x"), late);
    assert_eq!(too_late, Err(Refusal::InvitationEnded));
    decide(&invited, user(5), &accept(1, 5, "eva@x"), late.plus_ms(-1)).expect("just in time");

    let revoke = OrgCommand::Revoke { invitation_id: invited.invitations[0].invitation_id };
    let revoked = after(&invited, 1, &revoke).expect("an owner");
    assert_eq!(after(&revoked, 5, &accept(1, 5, "eva@x")), ended);
    assert_eq!(after(&revoked, 1, &revoke), Ok(revoked.clone()), "once more");

    let replaced = invite(invitation(2, "EVA@x", access(Role::CheckIn)));
    let replaced = after(&invited, 2, &replaced).expect("a manager");
    assert_eq!(after(&replaced, 5, &accept(1, 5, "eva@x")), ended);
    after(&replaced, 5, &accept(2, 5, "eva@x")).expect("the newer one");

    let lowered = after(&invited, 1, &change(2, Role::BoxOffice)).expect("an owner");
    assert_eq!(after(&lowered, 5, &accept(1, 5, "eva@x")), ended, "the inviter may no longer");
    let left = after(&invited, 2, &remove(2)).expect("oneself");
    assert_eq!(after(&left, 5, &accept(1, 5, "eva@x")), ended, "the inviter has left");
}

#[test]
fn accepting_never_lowers_a_role() {
    for (offered, expected) in [
        (access(Role::CheckIn), access(Role::BoxOffice)),
        (confined(Role::Manager, &[1]), access(Role::BoxOffice)),
        (access(Role::Manager), access(Role::Manager)),
    ] {
        let mut invited = staffed();
        invited.invitations.push(invitation(1, "sells@x", offered));
        let joined = after(&invited, 3, &accept(1, 3, "sells@x")).expect("theirs");
        assert_eq!(joined.access(user(3)), Some(expected));
    }
}

#[test]
fn the_numbers_of_members_invitations_and_organizations_are_limited() {
    let limit = |what, limit| Err(Refusal::LimitReached { what, limit });
    let mut full = staffed();
    for number in 1..=200 {
        let email = format!("{number}@x");
        full.invitations.push(invitation(number, &email, access(Role::Analyst)));
    }
    let more = invite(invitation(201, "201@x", access(Role::Analyst)));
    assert_eq!(after(&full, 2, &more), limit("invitations", 200));
    let same = invite(invitation(201, "7@x", access(Role::Analyst)));
    after(&full, 2, &same).expect("it takes the place of another");
    let busy = Roster { joined: 100, ..full.clone() };
    assert_eq!(after(&busy, 5, &accept(1, 5, "1@x")), limit("organizations", 100));
    let many: Vec<_> = (1..=200).map(|number| (number, access(Role::Manager))).collect();
    let crowd = Roster { invitations: full.invitations, ..roster(team(), &many) };
    assert_eq!(after(&crowd, 205, &accept(1, 205, "1@x")), limit("members", 200));
}

#[test]
fn words_are_read_as_they_are_written() {
    for action in AccessAction::ALL {
        assert_eq!(AccessAction::parse(action.as_str()), Some(action));
    }
    for end in InvitationEnd::ALL {
        assert_eq!(InvitationEnd::parse(end.as_str()), Some(end));
    }
    let words: BTreeSet<_> = AccessAction::ALL.map(AccessAction::as_str).into();
    assert_eq!(words.len(), AccessAction::ALL.len());
}

#[test]
fn a_confined_member_acts_at_its_events_and_nowhere_else() {
    let member = |access| Member { access, ..staffed().members[0].clone() };
    let only = |member: Member, at| match member.acting(at) {
        By::Acting(grant) => grant.only,
        other => panic!("{other:?}"),
    };
    let confined = member(confined(Role::Manager, &[1, 3]));
    assert_eq!(only(confined.clone(), Some(event(3))), Some(event(3)));
    assert_ne!(only(confined.clone(), Some(event(2))), Some(event(2)));
    assert_ne!(only(confined, None), None);
    assert_eq!(only(member(access(Role::Manager)), Some(event(2))), None);
}

mod sequences {
    use super::*;
    use proptest::prelude::*;

    const PEOPLE: u64 = 6;

    fn role() -> impl Strategy<Value = Role> {
        proptest::sample::select(Role::ALL.to_vec())
    }

    fn events() -> impl Strategy<Value = Confined> {
        let some = proptest::collection::btree_set(1..4_u64, 1..3)
            .prop_map(|numbers| Some(numbers.into_iter().map(event).collect()));
        prop_oneof![3 => Just(None), 1 => some]
    }

    /// Who does what to whom.
    fn step() -> impl Strategy<Value = (u64, OrgCommand)> {
        let person = || 1..=PEOPLE;
        let of = |number: u64| format!("{number}@x");
        let change =
            (person(), proptest::option::of(role()), proptest::option::of(events()), any::<bool>())
                .prop_map(|(whom, role, events, confirmed)| OrgCommand::ChangeMember {
                    user_id: user(whom),
                    role,
                    events,
                    confirmed,
                });
        let remove = (person(), any::<bool>()).prop_map(|(whom, confirmed)| OrgCommand::Remove {
            user_id: user(whom),
            confirmed,
            keys: None,
        });
        let hand_over = person().prop_map(|whom| OrgCommand::HandOver { user_id: user(whom) });
        let invite = (person(), role(), events()).prop_map(move |(whom, role, events)| {
            invite(invitation(whom, &of(whom), Access { role, events }))
        });
        let revoke = person().prop_map(|number| OrgCommand::Revoke {
            invitation_id: InvitationId::new(NOW, Shard::pick(0), number),
        });
        let accept = person().prop_map(move |whom| accept(whom, whom, &of(whom)));
        let command = prop_oneof![
            4 => change,
            3 => remove,
            1 => hand_over,
            4 => invite,
            1 => revoke,
            4 => accept,
        ];
        (person(), command)
    }

    /// Whether somebody lost or won what the one who did it may not deal with.
    fn is_beyond(before: &Roster, by: u64, command: &OrgCommand, after: &Roster) -> bool {
        let giver = match command {
            OrgCommand::Accept { invitation_id, .. } => {
                named(before, *invitation_id).map(|invitation| invitation.invited_by)
            }
            _ => Some(user(by)),
        };
        let giver = giver.and_then(|giver| before.access(giver));
        let covers = |access: &Option<Access>| match (access, &giver) {
            (None, _) => true,
            (Some(access), Some(giver)) => giver.covers(access),
            (Some(_), None) => false,
        };
        (1..=PEOPLE).any(|number| {
            let (was, is) = (before.access(user(number)), after.access(user(number)));
            let is_oneself = number == by && is.is_none();
            let is_accepted = matches!(command, OrgCommand::Accept { .. }) && number == by;
            was != is && !is_oneself && !(covers(&is) && (is_accepted || covers(&was)))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        /// Whatever the members of a team do, it keeps an owner, and nobody deals with more than they may.
        #[test]
        fn i14_no_sequence_of_changes_takes_the_last_owner_or_goes_beyond_the_own_rights(
            steps in proptest::collection::vec(step(), 1..60),
            is_personal: bool,
        ) {
            let mut team = staffed();
            if is_personal {
                team.organization.org_id = user(1).into();
            }
            for (by, command) in steps {
                let command = match command {
                    OrgCommand::Invite { mut invitation, .. } => {
                        invitation.invited_by = user(by);
                        OrgCommand::Invite { invitation, user_id: None }
                    }
                    OrgCommand::Accept { invitation_id, account } => {
                        let account = Account { user_id: user(by), ..account };
                        OrgCommand::Accept { invitation_id, account }
                    }
                    other => other,
                };
                let Ok(next) = after(&team, by, &command) else { continue };
                let owners = next.members.iter().filter(|it| it.access == Access::OWNER).count();
                prop_assert!(owners > 0 || is_personal, "{command:?}");
                prop_assert!(!is_beyond(&team, by, &command, &next), "{by} {command:?}");
                team = next;
            }
        }
    }

    fn named(roster: &Roster, invitation_id: InvitationId) -> Option<&Invitation> {
        roster.invitations.iter().find(|one| one.invitation_id == invitation_id)
    }
}
