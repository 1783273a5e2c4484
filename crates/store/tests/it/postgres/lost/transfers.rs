//! Transfers of events whose COMMIT is lost.

use super::super::organizations::{entries, note};
use super::{ENDS, Fragile};
use engine::access::{AccessAction, Grant, Role};
use engine::event::Transfer;
use engine::{Actor, OrgId};

#[tokio::test(flavor = "multi_thread")]
async fn i12_a_transfer_whose_commit_is_lost_is_made_once() {
    let it = Fragile::new().await;
    let (store, stand) = (&it.store, &it.stand);
    for end in ENDS {
        let (ada, team) = (stand.mint.user(), stand.team_id());
        let founded = stand.store.found_team(team, "Team", ada, &note(stand), None).await;
        founded.expect("the first one");
        let mut events = Vec::new();
        for _ in 0..3 {
            let sale = stand.sale_with(&[9], |new| new.event.terms.organizer_id = ada.into());
            events.push(sale.await.event_id);
        }
        let can = Role::Owner.permissions();
        let into =
            engine::By::Acting(Grant { actor: Actor::User(ada), org_id: team, can, only: None });
        let transfer = async |turn: u8| {
            let transfer = Transfer { to: team, into, expected: Some(1) };
            let event_id = events[usize::from(turn)];
            store.transfer_event(event_id, ada.into(), transfer, &note(stand)).await
        };
        let made = it.lose_commit(end, transfer).await;
        made.expect("as if nothing had been lost");
        for event_id in events {
            let event = store.event(event_id).await.expect("the store answers");
            let event = event.expect("it is there").event;
            assert_eq!((event.terms.organizer_id, event.version), (team, 2));
        }
        for org_id in [OrgId::from(ada), team] {
            let entries = entries(&**store, org_id).await;
            let is_transfer = |of: &&AccessAction| **of == AccessAction::EventTransferred;
            assert_eq!(entries.iter().filter(is_transfer).count(), 3, "an entry for each");
        }
    }
    stand.assert_sound().await;
}
