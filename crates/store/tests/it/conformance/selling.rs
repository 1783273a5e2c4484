//! Sellers: who holds for a buyer, and acts for one.

use super::{Sale, World, answered, booking, key};
use engine::access::Override;
use engine::feed::Body;
use engine::{
    Actor, By, Command, EventStatus, EventWithSections, Hold, Outcome, Overrides, Refusal,
    SeatRequest, UserId,
};

impl World {
    /// A hold of two seats for this buyer, by somebody else, under the key `k1`.
    fn sale_to(&self, sale: &Sale, buyer: UserId, seller: UserId) -> Hold {
        Hold {
            user_id: buyer,
            seller: Some(By::User(seller)),
            overrides: Overrides::NONE,
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
        overrides: Overrides::NONE,
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

pub async fn the_limits_that_a_seller_goes_beyond_are_in_the_log(world: World) {
    let closed = |new: &mut EventWithSections| {
        new.event.terms.status = EventStatus::Closed;
        new.event.terms.max_seats_per_user = Some(1);
    };
    let sale = world.sale_with(&[("A", 9), ("B", 9)], closed).await;
    let (event_id, by) = (sale.event_id, By::User(sale.organizer_id));
    let (buyer, stranger) = (world.mint.user(), world.mint.user());
    let both: Overrides = [Override::SaleWindow, Override::BuyerLimit].into_iter().collect();
    let only_window: Overrides = [Override::SaleWindow].into_iter().collect();
    let cart = |overrides, seller| Hold {
        user_id: buyer,
        seller: Some(By::User(seller)),
        overrides,
        ..world.hold(&sale, &[(0, 2), (1, 1)])
    };
    let decided = async |hold: Hold| world.commit_one(Command::Hold(hold)).await;
    let refused = decided(cart(Overrides::NONE, sale.organizer_id)).await;
    assert_eq!(refused, Err(Refusal::SaleClosed));
    assert_eq!(decided(cart(both, stranger)).await, Err(Refusal::NotOrganizer));
    let refused = Refusal::BuyerLimit { limit: 1, current: 0, remaining: 1 };
    assert_eq!(decided(cart(only_window, sale.organizer_id)).await, Err(refused));
    let held = booking(decided(cart(both, sale.organizer_id)).await);
    // Beside others of its batch, which the log keeps in one row.
    let mut batch: Vec<_> = (0..3).map(|_| world.hold(&sale, &[(0, 1)])).collect();
    for (hold, overrides) in batch.iter_mut().zip([only_window, both, only_window]) {
        (hold.seller, hold.overrides) = (Some(by), overrides);
    }
    let batch: Vec<_> = batch.into_iter().map(Command::Hold).collect();
    for answer in world.commit(&batch).await.answers {
        booking(answer);
    }
    let change = Command::Change {
        booking_id: held.booking_id,
        by,
        user_id: buyer,
        event_id,
        expected: None,
        requests: vec![SeatRequest::Count { section_id: sale.sections[0], seats: 4 }],
        overrides: both,
    };
    booking(world.commit_one(change).await);
    let messages = world.messages(event_id, 100).await;
    let named: Vec<_> = messages
        .iter()
        .filter_map(|it| match &it.body {
            Body::Booking { overrides, .. } => Some((it.kind.message_type(), *overrides)),
            _ => None,
        })
        .collect();
    let expected = [
        ("booking.held", both),
        ("booking.held", only_window),
        ("booking.held", both),
        ("booking.held", only_window),
        ("booking.changed", both),
    ];
    assert_eq!(named, expected);
    world.assert_sound().await;
}
