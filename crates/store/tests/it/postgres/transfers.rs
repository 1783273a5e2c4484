//! Transfers of events at two instances at once, and beside batches.

use super::order::crippled;
use super::organizations::{entries, note};
use super::{Sale, Stand, booking, confirm};
use engine::access::{AccessAction, Grant, Role};
use engine::event::Transfer;
use engine::{Actor, By, Command, Error, EventId, OrgId, Refusal, UserId};
use futures_util::future::join;
use store::Store;

/// Two transfers at once, again and again.
const ROUNDS: usize = 40;
/// The lock of everything in a section, and what stands in its place without it.
const SECTION_LOCK: (&str, &str) = ("section_id FOR NO KEY UPDATE", "section_id                  ");
/// Stops a batch that cancels a booking between its decision and the end, and no transfer.
const STOP: &str = "BEGIN; LOCK TABLE bookings IN SHARE MODE";

/// A transfer by somebody who owns both organizations.
fn to(org_id: OrgId, user_id: UserId) -> Transfer {
    Transfer { to: org_id, into: owning(org_id, user_id), expected: None }
}

fn owning(org_id: OrgId, user_id: UserId) -> By {
    if org_id.owner() == Some(user_id) {
        return By::User(user_id);
    }
    By::Acting(Grant {
        actor: Actor::User(user_id),
        org_id,
        can: Role::Owner.permissions(),
        only: None,
    })
}

impl Stand {
    async fn team_of(&self, owner: UserId) -> OrgId {
        let org_id = self.team_id();
        let founded = self.store.found_team(org_id, "Team", owner, &note(self), None).await;
        founded.expect("below the limit");
        org_id
    }

    async fn event_of(&self, organizer_id: UserId) -> Sale {
        self.sale_with(&[9], |new| new.event.terms.organizer_id = organizer_id.into()).await
    }

    async fn organization_of(&self, event_id: EventId) -> OrgId {
        let event = self.store.event(event_id).await.expect("the store answers");
        event.expect("it is there").event.terms.organizer_id
    }

    /// A member of the organization that has an event cancels a booking at one instance, which is stopped
    /// when it has decided; then the event is transferred at the other one, which `waits` for the first or
    /// not. Whether the cancellation comes after the transfer in the log.
    async fn is_cancelled_after_a_transfer(&self, stores: [&dyn Store; 2], waits: bool) -> bool {
        let ada = self.mint.user();
        let (sale, team) = (self.event_of(ada).await, self.team_of(ada).await);
        let held = self.held(&sale, &[(0, 1)]).await;
        let sold = booking(super::one(&*self.store, confirm(&held)).await);
        let (mut stop, mut witness) = (self.raw().await, self.raw().await);
        stop.run(STOP).await;
        let cancel = [Command::Cancel { booking_id: sold.booking_id, by: ada.into() }];
        let transferred = async {
            witness.until_waiting(1).await;
            let note = note(self);
            let work = stores[1].transfer_event(sale.event_id, ada.into(), to(team, ada), &note);
            if waits {
                let release = async {
                    witness.until_waiting(2).await;
                    stop.run("ROLLBACK").await;
                };
                join(work, release).await.0
            } else {
                let done = work.await;
                stop.run("ROLLBACK").await;
                done
            }
        };
        let (cancelled, transferred) = join(stores[0].commit(&cancel), transferred).await;
        transferred.expect("hers");
        assert!(cancelled.expect("the store answers").answers[0].is_ok(), "hers when it came");
        let sql = format!(
            "SELECT count(*) FROM booking_log cancelled, booking_log changed
             WHERE cancelled.booking_id = '{}' AND cancelled.kind = 'cancelled'
                AND changed.event_id = '{}' AND changed.kind = 'event_changed'
                AND cancelled.seq > changed.seq",
            sold.booking_id, sale.event_id
        );
        self.raw().await.int(sql).await == 1
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i13_a_batch_under_the_organization_of_before_is_waited_for() {
    let stand = Stand::new().await;
    let other = stand.another().await;
    for _ in 0..3 {
        assert!(!stand.is_cancelled_after_a_transfer([&*stand.store, &*other], true).await);
    }
    stand.assert_sound().await;
    assert_eq!(stand.deadlocks(&[&*other]).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn control_without_the_lock_of_the_sections_a_batch_is_under_the_organization_of_before() {
    let stand = Stand::new().await;
    let (proxy, crippled) = crippled(&stand, &[SECTION_LOCK]).await;
    assert!(stand.is_cancelled_after_a_transfer([&*stand.store, &*crippled], false).await);
    assert!(proxy.rewritten() > 0, "the lock was taken away");
}

#[tokio::test(flavor = "multi_thread")]
async fn transfers_in_both_directions_at_two_instances_do_not_deadlock() {
    let stand = Stand::new().await;
    stand.find_deadlocks_soon().await;
    let (one, other) = (stand.another().await, stand.another().await);
    let ada = stand.mint.user();
    let team = stand.team_of(ada).await;
    let mut events = [stand.event_of(ada).await.event_id, stand.event_of(ada).await.event_id];
    let move_to = async |store: &dyn Store, event_id, from: OrgId, org_id| {
        store.transfer_event(event_id, owning(from, ada), to(org_id, ada), &note(&stand)).await
    };
    move_to(&*one, events[1], ada.into(), team).await.expect("hers");
    for _ in 0..ROUNDS {
        let there = move_to(&*one, events[0], ada.into(), team);
        let back = move_to(&*other, events[1], team, ada.into());
        let (there, back) = join(there, back).await;
        there.expect("hers");
        back.expect("hers");
        assert_eq!(stand.organization_of(events[0]).await, team);
        assert_eq!(stand.organization_of(events[1]).await, ada.into());
        events.reverse();
    }
    for org_id in [ada.into(), team] {
        let entries = entries(&*one, org_id).await;
        let transfers = entries.iter().filter(|of| **of == AccessAction::EventTransferred).count();
        assert_eq!(transfers, 1 + 2 * ROUNDS);
    }
    assert_eq!(stand.deadlocks(&[&*one, &*other]).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_transfers_of_an_event_at_two_instances_one_is_made() {
    let stand = Stand::new().await;
    let other = stand.another().await;
    let ada = stand.mint.user();
    let teams = [stand.team_of(ada).await, stand.team_of(ada).await];
    for _ in 0..ROUNDS {
        let event_id = stand.event_of(ada).await.event_id;
        let give = async |store: &dyn Store, org_id| {
            store.transfer_event(event_id, ada.into(), to(org_id, ada), &note(&stand)).await
        };
        let (one, two) = join(give(&*stand.store, teams[0]), give(&*other, teams[1])).await;
        let made = [one.is_ok(), two.is_ok()];
        assert!(made[0] != made[1], "{one:?} {two:?}");
        let refused = one.err().or(two.err()).expect("one of them");
        assert!(matches!(refused, Error::Refused(Refusal::NotOrganizer)), "{refused:?}");
        let expected = if made[0] { teams[0] } else { teams[1] };
        assert_eq!(stand.organization_of(event_id).await, expected);
    }
    assert_eq!(stand.deadlocks(&[&*other]).await, 0);
}
