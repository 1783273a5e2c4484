//! The cap of a buyer: what counts when it comes, goes and comes back.

use super::{Sale, World, booking, confirm, release};
use engine::event::EventChange;
use engine::{Command, EventWithSections, Hold, Refusal};

impl World {
    async fn cap(&self, sale: &Sale, cap: Option<u32>) {
        let change = EventChange { max_seats_per_user: Some(cap), ..EventChange::default() };
        let revised =
            self.store.revise_event(sale.event_id, sale.organizer_id.into(), None, change).await;
        revised.expect("a cap may be changed");
    }
}

pub async fn a_cap_that_comes_later_counts_what_was_there(world: World) {
    let sale = world.sale(&[("A", 50)]).await;
    let other = world.sale(&[("A", 50)]).await;
    let buyer = world.mint.user();
    let hold = async |sale: &Sale, seats| {
        let hold = Hold { user_id: buyer, ..world.hold(sale, &[(0, seats)]) };
        world.commit_one(Command::Hold(hold)).await
    };
    let over = booking(hold(&sale, 7).await);
    world.clock.advance_ms(600_000);
    let given_back = booking(hold(&sale, 9).await);
    booking(world.commit_one(release(&given_back)).await);
    let sold = booking(hold(&sale, 1).await);
    booking(world.commit_one(confirm(&sold)).await);
    booking(hold(&sale, 2).await);
    booking(hold(&other, 5).await);
    world.held(&sale, &[(0, 6)]).await;
    assert!(over.is_due(world.clock.now()));

    world.cap(&sale, Some(4)).await;
    let refused = Refusal::BuyerLimit { limit: 4, current: 3, remaining: 1 };
    assert_eq!(hold(&sale, 2).await, Err(refused));
    booking(hold(&sale, 1).await);
    let refused = Refusal::BuyerLimit { limit: 4, current: 4, remaining: 0 };
    assert_eq!(hold(&sale, 1).await, Err(refused.clone()));
    booking(hold(&other, 9).await);
    // A cap that goes and comes back finds those that were made without one.
    world.cap(&sale, None).await;
    booking(hold(&sale, 3).await);
    world.cap(&sale, Some(8)).await;
    let refused = Refusal::BuyerLimit { limit: 8, current: 7, remaining: 1 };
    assert_eq!(hold(&sale, 2).await, Err(refused));
    world.assert_sound().await;
}

pub async fn an_event_with_a_cap_from_the_beginning_counts_also_without_it(world: World) {
    let cap = |new: &mut EventWithSections| new.event.terms.max_seats_per_user = Some(4);
    let sale = world.sale_with(&[("A", 50)], cap).await;
    let buyer = world.mint.user();
    let hold = async |seats| {
        let hold = Hold { user_id: buyer, ..world.hold(&sale, &[(0, seats)]) };
        world.commit_one(Command::Hold(hold)).await
    };
    booking(hold(3).await);
    world.cap(&sale, None).await;
    booking(hold(6).await);
    world.cap(&sale, Some(10)).await;
    let refused = Refusal::BuyerLimit { limit: 10, current: 9, remaining: 1 };
    assert_eq!(hold(2).await, Err(refused));
    booking(hold(1).await);
    world.assert_sound().await;
}
