//! Carts of sections with numbered seats and of others, and how their seats come back.

use super::seats::{count, given, seats};
use super::{World, answered, booking, confirm};
use engine::{Booking, BookingStatus, By, Command, Hold, Overrides, Refusal};
use suite::halls::{laid, taken_by};

pub async fn a_cart_of_both_kinds_is_held_whole_or_not_at_all(world: World) {
    let sale = world.hall(vec![9.into(), laid("A-B", 6), laid("A", 4)]).await;
    let cart = vec![seats(&sale, 2, &["A-4"]), count(&sale, 0, 2), count(&sale, 1, 3)];
    let (cart, together) = given(world.ask(&sale, cart).await);
    assert_eq!((cart.seats(), cart.items.len(), together), (6, 3, Some(false)));
    let states = [world.states(&sale, 1).await, world.states(&sale, 2).await];
    assert_eq!(states[1], "A-4 held");

    let taken = || seats(&sale, 2, &["A-4", "A-1"]);
    let refusals = [
        (vec![count(&sale, 0, 8), count(&sale, 1, 1)], "SoldOut"),
        (vec![count(&sale, 0, 1), seats(&sale, 1, &["B-6"]), taken()], "SeatsUnavailable"),
        (vec![count(&sale, 0, 1), seats(&sale, 1, &["B-6"]), count(&sale, 2, 4)], "TooFewFit"),
        // The named seats of the first ask are gone for the party of the second.
        (vec![seats(&sale, 2, &["A-1"]), count(&sale, 2, 3)], "TooFewFit"),
        (vec![seats(&sale, 0, &["A-1"]), count(&sale, 1, 1)], "SeatsUnavailable"),
        (vec![count(&sale, 1, 4), count(&sale, 2, 4)], "TooFewFit"),
    ];
    for (requests, word) in refusals {
        let refusal = world.ask(&sale, requests.clone()).await.expect_err("one part cannot be had");
        assert!(format!("{refusal:?}").starts_with(word), "{requests:?}: {refusal:?}");
    }
    assert_eq!(world.counters(&sale, 0).await, (2, 0, 7));
    assert_eq!([world.states(&sale, 1).await, world.states(&sale, 2).await], states);
    booking(world.commit_one(confirm(&cart)).await);
    assert_eq!(world.states(&sale, 2).await, "A-4 sold");
    booking(world.ask(&sale, vec![seats(&sale, 2, &["A-1"]), count(&sale, 2, 2)]).await);
    world.assert_sound().await;
}

pub async fn the_cap_of_a_buyer_counts_seats_of_both_kinds(world: World) {
    let sale = world.hall_with(vec![laid("A", 9), 9.into()], |new| {
        new.event.terms.max_seats_per_user = Some(4);
    });
    let sale = sale.await;
    let user_id = world.mint.user();
    let hold = |requests| Command::Hold(Hold { user_id, ..world.asking(&sale, requests) });
    let cart = vec![seats(&sale, 0, &["A-1", "A-2"]), count(&sale, 1, 1)];
    let held = booking(world.commit_one(hold(cart)).await);
    let requests = [count(&sale, 0, 2), count(&sale, 0, 1), seats(&sale, 0, &["A-9"])];
    let answers = world.commit(&requests.map(|ask| hold(vec![ask]))).await.answers;
    assert_eq!(answers[0], Err(Refusal::BuyerLimit { limit: 4, current: 3, remaining: 1 }));
    assert!(answers[1].is_ok());
    assert_eq!(answers[2], Err(Refusal::BuyerLimit { limit: 4, current: 4, remaining: 0 }));
    let change = |requests| Command::Change {
        booking_id: held.booking_id,
        by: By::User(user_id),
        user_id,
        event_id: sale.event_id,
        expected: None,
        requests,
        overrides: Overrides::NONE,
    };
    // What it has already is no more than it was; what it gives up is free for the next one.
    let more = change(vec![count(&sale, 0, 3), count(&sale, 1, 1)]);
    let fewer = change(vec![seats(&sale, 0, &["A-1"]), count(&sale, 1, 1)]);
    let next = || hold(vec![count(&sale, 0, 1)]);
    let answers = world.commit(&[more, fewer, next(), next()]).await.answers;
    assert_eq!(answers[0], Err(Refusal::BuyerLimit { limit: 4, current: 4, remaining: 0 }));
    assert!(answers[1].is_ok() && answers[2].is_ok(), "{answers:?}");
    assert_eq!(answers[3], Err(Refusal::BuyerLimit { limit: 4, current: 4, remaining: 0 }));
    world.assert_sound().await;
}

pub async fn seats_come_back_from_whoever_cancels(world: World) {
    let until = world.clock.now().plus_ms(1_000);
    let sale = world.hall_with(vec![laid("A", 6), 5.into()], |new| {
        new.event.terms.cancellable_until = Some(until);
    });
    let sale = sale.await;
    let mut sold = Vec::new();
    for seat in ["A-1", "A-2", "A-3"] {
        let cart = vec![seats(&sale, 0, &[seat]), count(&sale, 1, 1)];
        let held = booking(world.ask(&sale, cart).await);
        sold.push(booking(world.commit_one(confirm(&held)).await));
    }
    let cancel = |of: &Booking, by| Command::Cancel { booking_id: of.booking_id, by };
    booking(world.commit_one(cancel(&sold[0], By::User(sold[0].user_id))).await);
    assert_eq!(world.states(&sale, 0).await, "A-2 sold, A-3 sold");
    world.clock.advance_ms(1_000);
    let refused = world.commit_one(cancel(&sold[1], By::User(sold[1].user_id))).await;
    assert_eq!(refused, Err(Refusal::NotCancellable));
    booking(world.commit_one(cancel(&sold[1], By::User(sale.organizer_id))).await);
    assert_eq!(world.states(&sale, 0).await, "A-3 sold");
    let held = world.seated(&sale, 0, &["A-1"]).await;

    world
        .store
        .cancel_event(sale.event_id, sale.organizer_id.into())
        .await
        .expect("it is called off");
    let live = answered(world.store.to_cancel(10).await);
    assert_eq!(live.len(), 2);
    let undo = |booking_id| Command::Cancel { booking_id, by: By::System };
    let answers = world.commit(&live.into_iter().map(undo).collect::<Vec<_>>()).await.answers;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(
        (world.states(&sale, 0).await, world.seats_taken(&sale).await.len()),
        (String::new(), 0)
    );
    assert_eq!(
        world.stored(held.booking_id).await.map(|of| of.status),
        Some(BookingStatus::Cancelled)
    );
    world.assert_sound().await;
}

pub async fn i5_seats_of_a_hold_that_is_over_are_given_to_whoever_comes(world: World) {
    let sale = world.hall(vec![laid("A", 4), laid("A", 4), 5.into()]).await;
    let cart =
        vec![seats(&sale, 0, &["A-1"]), seats(&sale, 1, &["A-1", "A-2"]), count(&sale, 2, 1)];
    let cart = booking(world.ask(&sale, cart).await);
    let late = world.seated(&sale, 0, &["A-3"]).await;
    world.clock.advance_ms(600_000);
    // Whoever locks one of its sections retires the cart in all of them.
    let next = world.seated(&sale, 1, &["A-2"]).await;
    assert_eq!(world.states(&sale, 1).await, "A-2 held");
    assert_eq!(world.inventory(&sale, 2).await.inventory.held, 0);
    let expired_at = cart.expires_at;
    assert_eq!(
        world.commit_one(confirm(&cart)).await,
        Err(Refusal::HoldExpired { expired_at }),
        "and its confirm comes too late"
    );
    assert_eq!(world.states(&sale, 0).await, "");
    let committed = world.commit(&[Command::Retire { section_id: sale.sections[0] }]).await;
    assert_eq!((committed.expired, committed.marks.len()), (0, 0));
    let stored = world.stored(late.booking_id).await.expect("it is kept");
    assert_eq!(stored.status, BookingStatus::Expired);
    let taken = taken_by(sale.sections[1], &["A-2"], next.booking_id);
    assert_eq!(world.seats_taken(&sale).await, taken);
    world.assert_sound().await;
}
