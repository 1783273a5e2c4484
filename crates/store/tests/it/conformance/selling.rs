//! Sellers: who holds for a buyer, and acts for one.

use super::{Sale, World, answered, booking, key};
use engine::feed::Body;
use engine::{Actor, By, Command, EventWithSections, Hold, Outcome, Refusal, SeatRequest, UserId};

impl World {
    /// A hold of two seats for this buyer, by somebody else, under the key `k1`.
    fn sale_to(&self, sale: &Sale, buyer: UserId, seller: UserId) -> Hold {
        Hold {
            user_id: buyer,
            seller: Some(By::User(seller)),
            key: Some((key("k1"), 1)),
            ..self.hold(sale, &[(0, 2)])
        }
    }
}

pub async fn i6_the_key_of_a_sale_is_the_sellers(world: World) {
    let sale = world.sale(&[("A", 9)]).await;
    let seller = sale.organizer_id;
    let (buyer, other) = (world.mint.user(), world.mint.user());
    let replayed = async |hold: Hold| match world.commit_one(Command::Hold(hold)).await {
        Ok(Outcome::Booking { booking, replayed, .. }) => (booking, replayed),
        other => panic!("no booking: {other:?}"),
    };
    let (first, _) = replayed(world.sale_to(&sale, buyer, seller)).await;
    assert_eq!(first.user_id, buyer);
    // Who asks for a new visitor each time gets the first one.
    for _ in 0..2 {
        let again = replayed(world.sale_to(&sale, other, seller)).await;
        assert_eq!(again, (first.clone(), true));
    }
    let names = [(seller, key("k1")), (buyer, key("k1"))];
    let holds = answered(world.store.keyed_holds(&names).await);
    assert_eq!(holds.keys().collect::<Vec<_>>(), [&names[0]]);
    // The key of the buyer is another one.
    let own = Hold { seller: None, ..world.sale_to(&sale, buyer, seller) };
    let (own, is_replayed) = replayed(own).await;
    assert!(!is_replayed && own.booking_id != first.booking_id);
    assert_eq!(answered(world.store.keyed_holds(&names).await).len(), 2);
    world.assert_sound().await;
}

pub async fn i13_who_may_not_sell_leaves_neither_a_booking_nor_a_key(world: World) {
    let sale = world.sale(&[("A", 9)]).await;
    let (buyer, stranger) = (world.mint.user(), world.mint.user());
    let hold = world.sale_to(&sale, buyer, stranger);
    let booking_id = hold.booking_id;
    assert_eq!(world.commit_one(Command::Hold(hold)).await, Err(Refusal::NotOrganizer));
    assert_eq!(world.stored(booking_id).await, None);
    let names = [(stranger, key("k1")), (buyer, key("k1"))];
    assert!(answered(world.store.keyed_holds(&names).await).is_empty());
    assert_eq!(world.counters(&sale, 0).await, (0, 0, 9));
    world.assert_sound().await;
}

pub async fn a_seller_takes_from_what_the_buyer_may_have_and_is_named_by_the_log(world: World) {
    let cap = |new: &mut EventWithSections| new.event.terms.max_seats_per_user = Some(4);
    let sale = world.sale_with(&[("A", 9)], cap).await;
    let (event_id, by) = (sale.event_id, By::User(sale.organizer_id));
    let buyer = world.mint.user();
    let held = Command::Hold(world.sale_to(&sale, buyer, sale.organizer_id));
    let held = booking(world.commit_one(held).await);
    let booking_id = held.booking_id;
    let change = |seats| Command::Change {
        booking_id,
        by,
        user_id: buyer,
        event_id,
        expected: None,
        requests: vec![SeatRequest::Count { section_id: sale.sections[0], seats }],
    };
    let refused = Refusal::BuyerLimit { limit: 4, current: 2, remaining: 2 };
    assert_eq!(world.commit_one(change(5)).await, Err(refused));
    assert_eq!(booking(world.commit_one(change(4)).await).seats(), 4);
    world.clock.advance_ms(1_000);
    booking(world.commit_one(Command::Extend { booking_id, by }).await);
    booking(world.commit_one(Command::Confirm { booking_id, by }).await);
    let own = Hold { user_id: buyer, ..world.hold(&sale, &[(0, 1)]) };
    let refused = Refusal::BuyerLimit { limit: 4, current: 4, remaining: 0 };
    assert_eq!(world.commit_one(Command::Hold(own)).await, Err(refused));
    let other = booking(world.commit_one(Command::Hold(world.hold(&sale, &[(0, 1)]))).await);
    booking(world.commit_one(Command::Release { booking_id: other.booking_id, by }).await);
    let messages = world.messages(event_id, 100).await;
    let steps = messages.iter().filter(|it| matches!(it.body, Body::Booking { .. }));
    let told: Vec<_> = steps.map(|it| (it.kind.message_type(), it.actor)).collect();
    let seller = Some(Actor::User(sale.organizer_id));
    let expected = [
        ("booking.held", seller),
        ("booking.changed", seller),
        ("booking.extended", seller),
        ("booking.confirmed", seller),
        ("booking.held", None),
        ("booking.released", seller),
    ];
    assert_eq!(told, expected);
    world.assert_sound().await;
}
