//! Many changes at once, and readers beside them.

use super::{World, answered, refusal, remove, roles};
use engine::Refusal;
use engine::access::{ORGANIZATIONS_MAX, Role};
use futures_util::future::join_all;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub async fn i14_of_two_owners_who_leave_at_once_one_stays(world: World) {
    for _ in 0..10 {
        let (org_id, ada) = world.team().await;
        let bob = world.join(org_id, ada, Role::Manager).await;
        world.promote(org_id, ada, bob, Role::Owner).await;
        let leave = |user_id| world.change_org(org_id, user_id, remove(user_id));
        let left = join_all([leave(ada), leave(bob)]).await;
        assert_eq!(left.iter().filter(|left| left.is_ok()).count(), 1, "{left:?}");
        let refused = left.into_iter().find(Result::is_err).expect("one of them");
        assert_eq!(refusal(refused), Refusal::LastOwner);
        let roster = world.roster(org_id).await;
        assert!(matches!(roles(&roster)[..], [(_, Role::Owner)]), "{roster:?}");
    }
}

pub async fn an_invitation_accepted_many_times_at_once_makes_one_member(world: World) {
    let (org_id, ada) = world.team().await;
    for round in 1..=5 {
        let bob = world.mint.user();
        let invitation = world.invite(org_id, ada, "bob@example.org", Role::Analyst).await;
        let accepted = join_all((0..4).map(|_| world.accept(&invitation, bob))).await;
        assert!(accepted.iter().all(Result::is_ok), "{accepted:?}");
        assert_eq!(world.roster(org_id).await.members.len(), 1 + round);
        // Founded, then invited and accepted in each round.
        assert_eq!(world.rows_of("access_log").await, (1 + 2 * round).to_string());
    }
}

pub async fn nobody_joins_too_many_organizations_at_once(world: World) {
    let ada = world.mint.user();
    for _ in 2..ORGANIZATIONS_MAX {
        world.found_team(ada).await.expect("below the limit");
    }
    let (org_id, bob) = world.team().await;
    let invitation = world.invite(org_id, bob, "ada@example.org", Role::Analyst).await;
    let joins = async |founds: bool| {
        if founds {
            return world.found_team(ada).await;
        }
        world.accept(&invitation, ada).await.map(|_| org_id)
    };
    let mut joined = join_all([true, true, false, true].map(joins)).await;
    joined.retain(Result::is_err);
    let [first, second] = joined.try_into().expect("two of four");
    let full = Refusal::LimitReached { what: "organizations", limit: ORGANIZATIONS_MAX };
    assert_eq!([refusal(first), refusal(second)], [full.clone(), full]);
    assert_eq!(answered(world.store.organizations_of(ada).await).len(), ORGANIZATIONS_MAX);
}

pub async fn a_roster_beside_a_change_is_of_one_moment(world: World) {
    let (org_id, ada) = world.team().await;
    let mut invitations = Vec::new();
    for number in 0..30 {
        let email = format!("{number}@example.org");
        invitations.push(world.invite(org_id, ada, &email, Role::CheckIn).await);
    }
    let done = Arc::new(AtomicBool::new(false));
    let readers = (0..2).map(|_| {
        let (store, done) = (world.store.clone(), done.clone());
        tokio::spawn(async move {
            while !done.load(Ordering::Relaxed) {
                let roster = answered(store.roster(org_id).await).expect("it is there");
                let people = roster.members.len() + roster.invitations.len();
                assert_eq!(people, 31, "who is no longer invited is a member");
            }
        })
    });
    let readers: Vec<_> = readers.collect();
    for invitation in &invitations {
        world.accept(invitation, world.mint.user()).await.expect("it is open");
    }
    done.store(true, Ordering::Relaxed);
    for reader in join_all(readers).await {
        reader.expect("every read was of one moment");
    }
}
