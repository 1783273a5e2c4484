//! Changes of organizations whose COMMIT is lost.

use super::super::organizations::{accept, entries, invitation, note, rename, roster};
use super::{ENDS, Fragile};
use engine::access::{AccessAction, Invitation, OrgCommand, Role};
use engine::{Error, OrgId, Refusal, UserId};
use std::cell::RefCell;
use store::CreationKey;
use testbed::steps::Action;

#[tokio::test(flavor = "multi_thread")]
async fn i12_a_team_whose_commit_is_lost_is_founded_once() {
    let it = Fragile::new().await;
    let (store, stand) = (&it.store, &it.stand);
    for end in ENDS {
        for has_key in [true, false] {
            let founder = stand.mint.user();
            let found = async |turn: u8| {
                let org_id = stand.team_id();
                let key = super::key(&format!("team-{turn}"));
                let key = has_key.then_some(CreationKey { user_id: founder, key, fingerprint: 1 });
                let name = format!("T{turn}");
                let created =
                    store.found_team(org_id, &name, founder, &note(stand), key.as_ref()).await;
                (org_id, created.expect("below the limit"))
            };
            let (org_id, created) = it.lose_commit(end, found).await;
            assert_eq!((created.id, created.replayed), (org_id, false));
            let roster = roster(&**store, org_id).await;
            assert_eq!((roster.organization.version, roster.members.len()), (1, 1));
            assert_eq!(entries(&**store, org_id).await, [AccessAction::OrgCreated]);
            let own = store.organizations_of(founder).await.expect("the store answers");
            assert_eq!(own.len(), 3, "one each time");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i12_a_change_of_an_organization_whose_commit_is_lost_is_made_once() {
    let it = Fragile::new().await;
    let (store, stand) = (&it.store, &it.stand);
    let change = async |org_id: OrgId, by: UserId, command: OrgCommand| {
        let changed = store.change_organization(org_id, by, command, &note(stand)).await;
        changed.expect("as if nothing had been lost")
    };
    for end in ENDS {
        // Its first change writes the row of a personal organization.
        let personal = async |_| {
            let ada = stand.mint.user();
            change(ada.into(), ada, rename(Some(1), "Ada's")).await
        };
        let first = it.lose_commit(end, personal).await;
        assert_eq!(first.organization.version, 2);
        let org_id = first.organization.org_id;
        assert_eq!(entries(&**store, org_id).await, [AccessAction::OrgRenamed]);
        let ada = org_id.owner().expect("a personal one");
        let again = async |turn: u8| {
            let expected = Some(2 + i64::from(turn));
            change(org_id, ada, rename(expected, &format!("T{turn}"))).await
        };
        let renamed = it.lose_commit(end, again).await.organization;
        assert_eq!((renamed.version, renamed.name.as_deref()), (5, Some("T2")));

        let sent = RefCell::new(Vec::<Invitation>::new());
        let invite = async |turn: u8| {
            let invitation =
                invitation(stand, org_id, ada, &format!("{turn}@example.org"), Role::Analyst);
            sent.borrow_mut().push(invitation.clone());
            let invitation = Box::new(invitation);
            change(org_id, ada, OrgCommand::Invite { invitation, user_id: None }).await
        };
        let invited = it.lose_commit(end, invite).await;
        let sent = sent.into_inner();
        assert_eq!(invited.invitations, sent);
        let users = [stand.mint.user(), stand.mint.user(), stand.mint.user()];
        let join = async |turn: u8| {
            let turn = usize::from(turn);
            change(org_id, users[turn], accept(&sent[turn], users[turn])).await
        };
        let joined = it.lose_commit(end, join).await;
        assert_eq!((joined.members.len(), joined.invitations.len()), (3, 0));
        let leave = async |turn: u8| {
            let user_id = users[usize::from(turn)];
            change(org_id, user_id, OrgCommand::Remove { user_id, confirmed: false, keys: None })
                .await
        };
        assert_eq!(it.lose_commit(end, leave).await.members, []);
        let entries = entries(&**store, org_id).await;
        let count = |action| entries.iter().filter(|told| **told == action).count();
        let counts = [
            AccessAction::OrgRenamed,
            AccessAction::InvitationCreated,
            AccessAction::MemberAdded,
            AccessAction::MemberRemoved,
        ];
        assert_eq!(counts.map(count), [4, 3, 3, 3], "an entry for each change");
    }
}

/// A store that finds none of its own changes: their names rise, and it looks for a higher one.
#[tokio::test(flavor = "multi_thread")]
async fn control_without_the_look_for_a_change_it_is_reported_as_refused() {
    const LOOK: (&str, &str) = ("WHERE change_id = $1", "WHERE change_id > $1");
    let it = Fragile::new().await;
    it.proxy.rewrite(LOOK.0, LOOK.1);
    let ada = it.stand.mint.user();
    let org_id = OrgId::from(ada);
    let change = async |turn: u8| {
        let command = rename(Some(1 + i64::from(turn)), &format!("T{turn}"));
        it.store.change_organization(org_id, ada, command, &note(&it.stand)).await
    };
    let refused = it.lose_commit(|| Action::CutAfter, change).await;
    let expected = Refusal::VersionMismatch { version: 4 };
    assert!(
        matches!(&refused, Err(Error::Refused(refusal)) if *refusal == expected),
        "{refused:?}"
    );
    assert!(it.proxy.rewritten() > 0, "the look was taken away");
    assert_eq!(roster(&*it.store, org_id).await.organization.version, 4, "it was made");
}
