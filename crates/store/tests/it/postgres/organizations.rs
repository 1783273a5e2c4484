//! Organizations that are changed at two instances at once.

use super::order::{ROW_LOCK, crippled};
use super::{Raw, Stand};
use engine::access::{
    Access, AccessAction, Account, INVITATION_TTL_MS, Invitation, ORGANIZATIONS_MAX, OrgCommand,
    Role, Roster,
};
use engine::{Error, InvitationId, OrgId, Refusal, Shard, UserId};
use futures_util::future::{join, join3};
use store::{ChangeNote, EntryFilter, Store};
use uuid::Uuid;

/// Two changes at once, again and again.
const ROUNDS: usize = 40;
/// Stops a change of an organization between its decision and the end.
const STOP: &str = "BEGIN; LOCK TABLE access_log IN SHARE MODE";
/// That all of a read is of one moment, and what stands in its place without it.
const ONE_MOMENT: (&str, &str) = ("REPEATABLE READ READ ONLY", "READ COMMITTED READ ONLY ");
/// The lock of the organizations that somebody is in, and what stands in its place without it.
const USER_LOCK: (&str, &str) = ("pg_advisory_xact_lock", "                     ");

/// A change of its own; the names of later ones are greater.
pub(super) fn note(stand: &Stand) -> ChangeNote {
    let change_id = Uuid::from_bytes(*stand.mint.user().as_bytes());
    ChangeNote { change_id, request_id: None }
}

pub(super) fn rename(expected: Option<i64>, name: &str) -> OrgCommand {
    OrgCommand::Rename { expected, name: name.to_owned() }
}

pub(super) fn invitation(
    stand: &Stand,
    org_id: OrgId,
    invited_by: UserId,
    email: &str,
    role: Role,
) -> Invitation {
    let now = stand.clock.now();
    let invitation_id = InvitationId::new(now, Shard::pick(7), stand.number());
    let mut token_hash = [7; 32];
    token_hash[..16].copy_from_slice(invitation_id.as_bytes());
    Invitation {
        invitation_id,
        org_id,
        email: email.to_owned(),
        email_folded: email.to_owned(),
        access: Access { role, events: None },
        token_hash,
        invited_by,
        created_at: now,
        expires_at: now.plus_ms(INVITATION_TTL_MS),
        ended: None,
    }
}

pub(super) fn accept(invitation: &Invitation, user_id: UserId) -> OrgCommand {
    let account = Account { user_id, email_folded: invitation.email_folded.clone() };
    OrgCommand::Accept { invitation_id: invitation.invitation_id, account }
}

pub(super) async fn roster(store: &dyn Store, org_id: OrgId) -> Roster {
    store.roster(org_id).await.expect("the store answers").expect("it is there")
}

/// What the access log of an organization says was done.
pub(super) async fn entries(store: &dyn Store, org_id: OrgId) -> Vec<AccessAction> {
    let page = store.access_log(org_id, EntryFilter::default(), 1_000).await;
    page.expect("the store answers").items.iter().map(|item| item.entry.action).collect()
}

impl Stand {
    /// A number of its own.
    fn number(&self) -> u64 {
        Uuid::from_bytes(*self.mint.user().as_bytes()).as_u64_pair().1
    }

    pub(super) fn team_id(&self) -> OrgId {
        OrgId::team(self.clock.now(), (7, self.number()))
    }

    async fn team(&self) -> (OrgId, UserId) {
        let (org_id, owner) = (self.team_id(), self.mint.user());
        let founded = self.store.found_team(org_id, "Team", owner, &note(self), None).await;
        founded.expect("the first one");
        (org_id, owner)
    }

    async fn invite(&self, org_id: OrgId, by: UserId) -> Invitation {
        let email = format!("{}@example.org", self.number());
        let invitation = invitation(self, org_id, by, &email, Role::Manager);
        let command =
            OrgCommand::Invite { invitation: Box::new(invitation.clone()), user_id: None };
        let sent = self.store.change_organization(org_id, by, command, &note(self)).await;
        sent.expect("hers");
        invitation
    }

    /// A team with two owners.
    async fn team_of_two(&self) -> (OrgId, [UserId; 2]) {
        let (org_id, ada) = self.team().await;
        let (bob, invitation) = (self.mint.user(), self.invite(org_id, ada).await);
        let promote = OrgCommand::ChangeMember {
            user_id: bob,
            role: Some(Role::Owner),
            events: None,
            confirmed: true,
        };
        for (by, command) in [(bob, accept(&invitation, bob)), (ada, promote)] {
            let changed = self.store.change_organization(org_id, by, command, &note(self)).await;
            changed.expect("within the own permissions");
        }
        (org_id, [ada, bob])
    }

    /// Both owners of a team leave, each at an instance of their own; `stop` holds both up until they wait.
    /// How many are left.
    async fn leave_at_once(&self, stores: [&dyn Store; 2], stop: bool) -> usize {
        let (org_id, owners) = self.team_of_two().await;
        let leave = async |number: usize| {
            let user_id = owners[number];
            let command = OrgCommand::Remove { user_id, confirmed: false, keys: None };
            stores[number].change_organization(org_id, user_id, command, &note(self)).await
        };
        let stopped = if stop { Some(self.stopped(STOP).await) } else { None };
        let (one, other, ()) = join3(leave(0), leave(1), release(stopped)).await;
        let members = roster(&*self.store, org_id).await.members.len();
        for left in [one, other] {
            let is_last = matches!(left, Err(Error::Refused(Refusal::LastOwner)));
            assert!(left.is_ok() || is_last, "{left:?}");
        }
        members
    }

    /// Somebody who is in one organization less than they may be founds two teams, each at an instance of
    /// its own. In how many they are then.
    async fn found_at_once(&self, stores: [&dyn Store; 2]) -> i64 {
        let ada = self.mint.user();
        let others = ORGANIZATIONS_MAX - 1;
        let sql = format!(
            "INSERT INTO members (org_id, user_id, role, added_by, created_at)
             SELECT gen_random_uuid(), '{ada}', 'analyst', '{ada}', 1
             FROM generate_series(1, {others})"
        );
        self.raw().await.run(sql).await;
        let found = async |number: usize| {
            let org_id = self.team_id();
            stores[number].found_team(org_id, "Team", ada, &note(self), None).await
        };
        let stopped = Some(self.stopped(STOP).await);
        let (one, other, ()) = join3(found(0), found(1), release(stopped)).await;
        let full = Refusal::LimitReached { what: "organizations", limit: ORGANIZATIONS_MAX };
        for founded in [one, other] {
            let is_full = matches!(&founded, Err(Error::Refused(refusal)) if *refusal == full);
            assert!(founded.is_ok() || is_full, "{founded:?}");
        }
        let sql = format!("SELECT count(*) FROM members WHERE user_id = '{ada}'");
        self.raw().await.int(sql).await
    }

    /// How many are members of a team or invited, as a store reads it while somebody accepts, between
    /// its look at the invitations and that at the members.
    async fn people_beside_an_acceptance(&self, store: &dyn Store) -> usize {
        let (org_id, ada) = self.team().await;
        let id = self.invite(org_id, ada).await.invitation_id;
        let bob = self.mint.user();
        let (mut session, mut witness) = self.stopped("BEGIN; LOCK TABLE members").await;
        let accepted = async {
            witness.until_waiting(1).await;
            session
                .run(format!(
                    "INSERT INTO members (org_id, user_id, role, added_by, created_at)
                        VALUES ('{org_id}', '{bob}', 'manager', '{ada}', 1);
                     UPDATE invitations SET ended_at = 1, ended = 'accepted'
                        WHERE invitation_id = '{id}';
                     COMMIT"
                ))
                .await;
        };
        let (seen, ()) = join(roster(store, org_id), accepted).await;
        assert_eq!(roster(store, org_id).await.members.len(), 2);
        seen.members.len() + seen.invitations.len()
    }

    /// A session that holds others up by this statement, and one that sees how many wait.
    async fn stopped(&self, sql: &str) -> (Raw, Raw) {
        let mut session = self.raw().await;
        session.run(sql).await;
        (session, self.raw().await)
    }
}

/// Lets go on who was held up, once two wait.
async fn release(stopped: Option<(Raw, Raw)>) {
    if let Some((mut session, mut witness)) = stopped {
        witness.until_waiting(2).await;
        session.run("ROLLBACK").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i14_of_two_owners_who_leave_at_two_instances_one_stays() {
    let stand = Stand::new().await;
    let other = stand.another().await;
    for round in 0..ROUNDS {
        let stop = round % 10 == 0;
        assert_eq!(stand.leave_at_once([&*stand.store, &*other], stop).await, 1);
    }
    assert_eq!(stand.deadlocks(&[&*other]).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn control_without_the_lock_of_an_organization_nobody_owns_it() {
    let stand = Stand::new().await;
    let (proxy, crippled) = crippled(&stand, &[ROW_LOCK]).await;
    let other = stand.behind(&proxy).await;
    assert_eq!(stand.leave_at_once([&*crippled, &*other], true).await, 0);
    assert!(proxy.rewritten() > 0, "the lock was taken away");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_joins_too_many_organizations_at_two_instances() {
    let stand = Stand::new().await;
    let other = stand.another().await;
    assert_eq!(stand.found_at_once([&*stand.store, &*other]).await, 100);
    assert_eq!(stand.deadlocks(&[&*other]).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn control_without_the_lock_of_a_user_the_limit_is_exceeded() {
    let stand = Stand::new().await;
    let (proxy, crippled) = crippled(&stand, &[USER_LOCK]).await;
    let other = stand.behind(&proxy).await;
    assert_eq!(stand.found_at_once([&*crippled, &*other]).await, 101);
    assert!(proxy.rewritten() > 0, "the lock was taken away");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roster_is_of_one_moment() {
    let stand = Stand::new().await;
    assert_eq!(stand.people_beside_an_acceptance(&*stand.store).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn control_without_one_moment_a_roster_shows_somebody_twice() {
    let stand = Stand::new().await;
    let (proxy, crippled) = crippled(&stand, &[ONE_MOMENT]).await;
    assert_eq!(stand.people_beside_an_acceptance(&*crippled).await, 3);
    assert!(proxy.rewritten() > 0, "the snapshot was taken away");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clock_is_read_after_the_wait_for_an_organization() {
    let stand = Stand::new().await;
    let (org_id, ada) = stand.team().await;
    let (bob, invitation) = (stand.mint.user(), stand.invite(org_id, ada).await);
    stand.clock.advance_ms(INVITATION_TTL_MS - 1);
    let lock =
        format!("BEGIN; SELECT 1 FROM organizations WHERE org_id = '{org_id}' FOR NO KEY UPDATE");
    let (mut session, mut witness) = stand.stopped(&lock).await;
    let late = async {
        witness.until_waiting(1).await;
        stand.clock.advance_ms(1);
        session.run("ROLLBACK").await;
    };
    let command = accept(&invitation, bob);
    let (joined, ()) =
        join(stand.store.change_organization(org_id, bob, command, &note(&stand)), late).await;
    let is_over = matches!(joined, Err(Error::Refused(Refusal::InvitationEnded)));
    assert!(is_over, "in time when it came, too late when it was decided: {joined:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_personal_organization_is_written_once_by_two_instances() {
    let stand = Stand::new().await;
    let other = stand.another().await;
    for _ in 0..ROUNDS {
        let ada = stand.mint.user();
        let change = async |store: &dyn Store, name: &str| {
            store.change_organization(ada.into(), ada, rename(None, name), &note(&stand)).await
        };
        let (one, two) = join(change(&*stand.store, "One"), change(&*other, "Two")).await;
        let versions = [one, two].map(|changed| changed.expect("hers").organization.version);
        assert_eq!(versions.iter().sum::<i64>(), 5, "one after the other");
        assert_eq!(entries(&*other, ada.into()).await.len(), 2);
    }
    assert_eq!(stand.deadlocks(&[&*other]).await, 0);
}
