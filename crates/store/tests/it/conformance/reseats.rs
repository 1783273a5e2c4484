//! Holds that get other seats, and seats that are kept off sale.

use super::seats::{best, blocking, conflicts, count, given, numbers, seats};
use super::{Sale, World, booking, confirm, release};
use crate::raw::Raw;
use engine::event::EventChange;
use engine::seats::{Party, SeatState};
use engine::{
    Blocked, Booking, By, Command, Hold, Outcome, Overrides, Refusal, SeatRequest, SectionChange,
};
use suite::halls::{laid, layout, names, taken_by};
use suite::world::usd;

/// What gives a hold other seats.
fn change(
    sale: &Sale,
    held: &Booking,
    expected: Option<i64>,
    requests: Vec<SeatRequest>,
) -> Command {
    Command::Change {
        booking_id: held.booking_id,
        by: By::User(held.user_id),
        user_id: held.user_id,
        event_id: sale.event_id,
        expected,
        requests,
        overrides: Overrides::NONE,
    }
}

pub async fn a_hold_is_given_other_seats_all_or_none(world: World) {
    let sale = world.hall(vec![laid("A-B", 6), 9.into(), laid("A", 4)]).await;
    let held = world.seated(&sale, 0, &["A-1", "A-2"]).await;
    let other = world.seated(&sale, 0, &["B-1"]).await;
    let swap = vec![seats(&sale, 0, &["A-2", "A-3"])];
    let (swapped, together) = given(world.commit_one(change(&sale, &held, Some(1), swap)).await);
    assert_eq!((numbers(&swapped), swapped.version, together), (vec!["A-2", "A-3"], 2, None));
    assert_eq!((swapped.expires_at, swapped.created_at), (held.expires_at, held.created_at));
    assert_eq!(world.states(&sale, 0).await, "A-2 held, A-3 held, B-1 held");
    assert_eq!(world.stored(held.booking_id).await.as_ref(), Some(&swapped));

    // More of everything, then only a part of it, then something else altogether.
    let more =
        vec![seats(&sale, 0, &["A-2", "A-3", "B-6"]), count(&sale, 1, 2), count(&sale, 2, 2)];
    let (more, together) = given(world.commit_one(change(&sale, &held, Some(2), more)).await);
    assert_eq!((more.seats(), more.items.len(), together), (7, 3, Some(false)));
    assert_eq!(world.counters(&sale, 1).await, (2, 0, 7));
    let fewer = vec![seats(&sale, 0, &["B-6"]), count(&sale, 1, 1)];
    booking(world.commit_one(change(&sale, &held, None, fewer)).await);
    assert_eq!(world.states(&sale, 0).await, "B-1 held, B-6 held");
    assert_eq!(
        (world.states(&sale, 2).await, world.counters(&sale, 1).await),
        (String::new(), (1, 0, 8))
    );
    let before = world.stored(held.booking_id).await.expect("it is there");

    let refusals = [
        (Some(3), vec![count(&sale, 1, 1)], Refusal::VersionMismatch { version: 4 }),
        (
            Some(4),
            vec![seats(&sale, 0, &["B-6", "B-1"])],
            conflicts(&sale, 0, &[("B-1", Some(SeatState::Held))]),
        ),
        (None, vec![count(&sale, 1, 10)], Refusal::SoldOut { available: 9, requested: 10 }),
        (
            None,
            vec![seats(&sale, 0, &["B-6"]), count(&sale, 2, 5)],
            Refusal::TooFewFit {
                available: 4,
                requested: 5,
                accessible: false,
                largest_contiguous_block: 4,
            },
        ),
        (None, vec![count(&sale, 1, 51)], Refusal::TooManySeats { limit: 50, current: 2 }),
    ];
    for (expected, requests, refusal) in refusals {
        let refused = world.commit_one(change(&sale, &held, expected, requests)).await;
        assert_eq!(refused, Err(refusal));
        assert_eq!(world.stored(held.booking_id).await.as_ref(), Some(&before));
        assert_eq!(world.states(&sale, 0).await, "B-1 held, B-6 held");
    }
    let mut taken = taken_by(sale.sections[0], &["B-6"], held.booking_id);
    taken.extend(taken_by(sale.sections[0], &["B-1"], other.booking_id));
    assert_eq!(world.seats_taken(&sale).await, taken);
    let only = vec![count(&sale, 1, 9)];
    booking(world.commit_one(change(&sale, &held, None, only)).await);
    let sold = booking(world.commit_one(confirm(&held)).await);
    assert_eq!((sold.seats(), world.states(&sale, 0).await), (9, "B-1 held".to_owned()));
    world.assert_sound().await;
}

pub async fn a_hold_above_a_lowered_cap_may_keep_its_seats_or_have_fewer(world: World) {
    let sale = world.hall(vec![9.into(), laid("A-B", 6)]).await;
    for (at, lowered) in [
        EventChange { max_seats_per_booking: Some(Some(2)), ..EventChange::default() },
        EventChange { max_seats_per_user: Some(Some(2)), ..EventChange::default() },
    ]
    .into_iter()
    .enumerate()
    {
        let cart = vec![seats(&sale, 1, &["A-1", "A-2"]), count(&sale, 0, 2)];
        let held = booking(world.commit_one(Command::Hold(world.asking(&sale, cart))).await);
        let lower = async |change| {
            let revised =
                world.store.revise_event(sale.event_id, sale.organizer_id.into(), None, change);
            revised.await.expect("a cap may be lowered");
        };
        lower(lowered).await;
        let refused = |current: u32| match at {
            0 => Refusal::TooManySeats { limit: 2, current },
            _ => Refusal::BuyerLimit { limit: 2, current: current.into(), remaining: 0 },
        };
        let set = async |places: Vec<SeatRequest>| {
            world.commit_one(change(&sale, &held, None, places)).await
        };
        let more = vec![seats(&sale, 1, &["A-1", "A-2"]), count(&sale, 0, 3)];
        assert_eq!(set(more).await, Err(refused(4)), "{at}");
        let others = vec![seats(&sale, 1, &["B-1", "B-2"]), count(&sale, 0, 2)];
        assert_eq!(booking(set(others).await).seats(), 4, "as many as before");
        let fewer = vec![seats(&sale, 1, &["B-1"]), count(&sale, 0, 2)];
        assert_eq!(booking(set(fewer).await).seats(), 3, "still above it");
        let back = vec![seats(&sale, 1, &["B-1", "B-2"]), count(&sale, 0, 2)];
        assert_eq!(set(back).await, Err(refused(3)), "{at}: what was given up is gone");
        let below = vec![count(&sale, 0, 1)];
        assert_eq!(booking(set(below).await).seats(), 1);
        let within = vec![seats(&sale, 1, &["A-1", "A-2"])];
        assert_eq!(booking(set(within).await).seats(), 2);
        // A new hold has nothing to keep.
        let anew = Hold { user_id: held.user_id, ..world.asking(&sale, vec![count(&sale, 0, 3)]) };
        assert!(world.commit_one(Command::Hold(anew)).await.is_err());
        // Whatever the cap has become, what is held is confirmed.
        let cap = if at == 0 { Some(Some(1)) } else { None };
        let user_cap = if at == 0 { None } else { Some(Some(1)) };
        let lowest = EventChange {
            max_seats_per_booking: cap,
            max_seats_per_user: user_cap,
            ..EventChange::default()
        };
        lower(lowest).await;
        let sold = booking(world.commit_one(confirm(&held)).await);
        assert_eq!(sold.seats(), 2);
        booking(
            world
                .commit_one(Command::Cancel {
                    booking_id: sold.booking_id,
                    by: sale.organizer_id.into(),
                })
                .await,
        );
        lower(EventChange {
            max_seats_per_booking: Some(None),
            max_seats_per_user: Some(None),
            ..EventChange::default()
        })
        .await;
    }
    world.assert_sound().await;
}

pub async fn only_a_live_hold_is_changed_and_by_its_buyer_alone(world: World) {
    let sale = world.hall(vec![laid("A", 6)]).await;
    let elsewhere = world.hall(vec![laid("A", 6)]).await;
    let held = world.seated(&sale, 0, &["A-1"]).await;
    let requests = || vec![seats(&sale, 0, &["A-2"])];
    let missing = Err(Refusal::NotFound { what: "booking" });
    let stranger = Booking { user_id: world.mint.user(), ..held.clone() };
    assert_eq!(world.commit_one(change(&sale, &stranger, None, requests())).await, missing);
    let there = vec![seats(&elsewhere, 0, &["A-2"])];
    let wrong = change(&elsewhere, &held, None, there.clone());
    assert_eq!(world.commit_one(wrong).await, missing, "the event of a hold never changes");
    let foreign = world.commit_one(change(&sale, &held, None, there)).await;
    assert_eq!(foreign, Err(Refusal::NotFound { what: "section" }));

    let sold = world.seated(&sale, 0, &["A-6"]).await;
    booking(world.commit_one(confirm(&sold)).await);
    let refused = world.commit_one(change(&sale, &sold, None, requests())).await;
    assert_eq!(refused, Err(Refusal::NotChangeable));
    let gone = world.seated(&sale, 0, &["A-5"]).await;
    booking(world.commit_one(release(&gone)).await);
    let refused = world.commit_one(change(&sale, &gone, None, requests())).await;
    assert_eq!(refused, Err(Refusal::BookingCancelled));
    world.clock.advance_ms(600_000);
    let refused = world.commit_one(change(&sale, &held, None, requests())).await;
    assert_eq!(refused, Err(Refusal::HoldExpired { expired_at: held.expires_at }));
    assert_eq!(world.states(&sale, 0).await, "A-6 sold");
    let late = world.seated(&sale, 0, &["A-1"]).await;
    world
        .store
        .cancel_event(sale.event_id, sale.organizer_id.into())
        .await
        .expect("it is called off");
    let refused = world.commit_one(change(&sale, &late, None, requests())).await;
    assert_eq!(refused, Err(Refusal::EventCancelled));
    world.assert_sound().await;
}

pub async fn i3_a_seat_goes_from_hand_to_hand_within_a_batch(world: World) {
    let sale = world.hall(vec![laid("A", 6)]).await;
    let first = world.asking(&sale, vec![seats(&sale, 0, &["A-1", "A-2"])]);
    let second = world.asking(&sale, vec![seats(&sale, 0, &["A-2"])]);
    let third = world.asking(&sale, vec![seats(&sale, 0, &["A-1"])]);
    let of = |hold: &Hold, wanted: &[&str]| Command::Change {
        booking_id: hold.booking_id,
        by: By::User(hold.user_id),
        user_id: hold.user_id,
        event_id: sale.event_id,
        expected: None,
        requests: vec![seats(&sale, 0, wanted)],
        overrides: Overrides::NONE,
    };
    let (booking_id, user_id) = (second.booking_id, second.user_id);
    let batch = [
        Command::Hold(first.clone()),
        of(&first, &["A-1", "A-3"]),
        Command::Hold(second.clone()),
        of(&first, &["A-4"]),
        Command::Hold(third.clone()),
        Command::Confirm { booking_id, by: By::User(user_id) },
        Command::Cancel { booking_id, by: By::System },
        of(&third, &["A-1", "A-2"]),
        of(&first, &["A-4", "A-3"]),
    ];
    let answers = world.commit(&batch).await.answers;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(world.states(&sale, 0).await, "A-1 held, A-2 held, A-3 held, A-4 held");
    let mut taken = taken_by(sale.sections[0], &["A-3", "A-4"], first.booking_id);
    taken.extend(taken_by(sale.sections[0], &["A-1", "A-2"], third.booking_id));
    assert_eq!(world.seats_taken(&sale).await, taken);
    world.assert_sound().await;
    // The same on holds that were there before, which trade their seats.
    let batch = [of(&first, &["A-6"]), of(&third, &["A-3", "A-4"]), of(&first, &["A-1", "A-2"])];
    let answers = world.commit(&batch).await.answers;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let mut taken = taken_by(sale.sections[0], &["A-1", "A-2"], first.booking_id);
    taken.extend(taken_by(sale.sections[0], &["A-3", "A-4"], third.booking_id));
    assert_eq!(world.seats_taken(&sale).await, taken);
    // And what a change moved is retired where it is now.
    world.clock.advance_ms(600_000);
    let committed = world.commit(&[Command::Retire { section_id: sale.sections[0] }]).await;
    assert_eq!((committed.expired, world.states(&sale, 0).await), (2, String::new()));
    world.assert_sound().await;
}

pub async fn the_best_seats_for_a_change_may_be_its_own(world: World) {
    let sale = world.hall(vec![laid("A", 4)]).await;
    let (held, _) = given(world.ask(&sale, vec![count(&sale, 0, 2)]).await);
    assert_eq!(numbers(&held), ["A-1", "A-2"], "nobody is left alone");
    let four = vec![best(&sale, &[0], Party { adjacent: true, ..Party::of(4) })];
    let (all, together) = given(world.commit_one(change(&sale, &held, None, four)).await);
    assert_eq!((numbers(&all).len(), together), (4, Some(true)));
    let same = vec![count(&sale, 0, 4)];
    let (again, _) = given(world.commit_one(change(&sale, &held, None, same)).await);
    assert_eq!((&again.items, again.version), (&all.items, 2), "nothing to change");
    assert_eq!(world.inventory(&sale, 0).await.inventory.held, 4);
    world.assert_sound().await;
}

pub async fn a_change_keeps_the_price_of_the_seats_it_keeps(world: World) {
    let sale = world.hall(vec![laid("A", 6), 9.into()]).await;
    let cart = vec![seats(&sale, 0, &["A-1", "A-2"]), count(&sale, 1, 2)];
    let held = booking(world.ask(&sale, cart).await);
    let mut dearer = suite::halls::draft("A", 6, &[]);
    dearer.categories[0].price = usd(2_000);
    let revise = async |place: usize, change| {
        let (event_id, section_id) = (sale.event_id, sale.sections[place]);
        let by = sale.organizer_id;
        world
            .store
            .revise_section(event_id, section_id, by.into(), None, change)
            .await
            .expect("allowed")
    };
    revise(0, SectionChange { layout: Some(layout(&dearer)), ..SectionChange::default() }).await;
    revise(1, SectionChange { price: Some(usd(2_000)), ..SectionChange::default() }).await;
    let more = vec![seats(&sale, 0, &["A-2", "A-3"]), count(&sale, 1, 3)];
    let more = booking(world.commit_one(change(&sale, &held, None, more)).await);
    let items: Vec<_> = more
        .items
        .iter()
        .map(|item| (item.seats, item.seat_names.concat(), item.unit_price.minor))
        .collect();
    let old_and_new = |numbers: [&str; 2], seats: [u32; 2]| {
        [(seats[0], numbers[0].to_owned(), 1_250), (seats[1], numbers[1].to_owned(), 2_000)]
    };
    let expected = [old_and_new(["A-2", "A-3"], [1, 1]), old_and_new(["", ""], [2, 1])].concat();
    assert_eq!(items, expected);
    assert_eq!(world.stored(held.booking_id).await, Some(more));
    // What was given up and is taken again costs what it costs now.
    let back = vec![seats(&sale, 0, &["A-1"]), count(&sale, 1, 2)];
    let back = booking(world.commit_one(change(&sale, &held, None, back)).await);
    assert_eq!(back.total_price(), usd(2_000 + 2 * 1_250));
    let sold = booking(world.commit_one(confirm(&held)).await);
    assert_eq!((sold.items, world.states(&sale, 0).await), (back.items, "A-1 sold".to_owned()));
    world.assert_sound().await;
}

pub async fn blocked_seats_are_those_that_were_named_last(world: World) {
    let sale = world.hall(vec![laid("A-B", 6)]).await;
    let held = world.seated(&sale, 0, &["A-1"]).await;
    let counted = |answer| match answer {
        Ok(Outcome::Inventory(inventory)) => inventory,
        other => panic!("{other:?}"),
    };
    let blocked = counted(world.block(&sale, 0, &["B-1", "B-2"]).await);
    assert_eq!((blocked.blocked, blocked.available()), (2, 9));
    let again = counted(world.block(&sale, 0, &["B-2", "B-1"]).await);
    assert_eq!(again, blocked, "nothing to change");
    let refused = world.block(&sale, 0, &["A-1", "B-3", "C-1"]).await;
    let why = [("A-1", Some(SeatState::Held)), ("C-1", None)];
    assert_eq!(refused, Err(conflicts(&sale, 0, &why)));
    let stranger = Command::Block {
        section_id: sale.sections[0],
        by: world.mint.user().into(),
        blocked: Blocked::Seats(names(&["B-3"])),
        reason: None,
    };
    assert_eq!(world.commit_one(stranger).await, Err(Refusal::NotOrganizer));
    let moved = counted(world.block(&sale, 0, &["B-2", "B-3"]).await);
    assert_eq!((moved.blocked, moved.version), (2, blocked.version + 1));
    assert_eq!(world.states(&sale, 0).await, "A-1 held, B-2 blocked, B-3 blocked");
    let refused = world.ask(&sale, vec![seats(&sale, 0, &["B-2"])]).await;
    assert_eq!(refused, Err(conflicts(&sale, 0, &[("B-2", Some(SeatState::Blocked))])));
    world.seated(&sale, 0, &["B-1"]).await;

    // In a batch, what is given back and blocked again.
    let none = blocking(&sale, 0, &[]);
    let hold = Command::Hold(world.asking(&sale, vec![seats(&sale, 0, &["B-3"])]));
    let batch = [none, hold, blocking(&sale, 0, &["B-2", "A-6"]), release(&held)];
    let answers = world.commit(&batch).await.answers;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(world.states(&sale, 0).await, "A-6 blocked, B-1 held, B-2 blocked, B-3 held");
    world.assert_sound().await;
    let mut raw = Raw::of(&world.fresh).await;
    let sql = "SELECT coalesce(reason, '') || ' ' || blocked FROM booking_log
        WHERE kind = 'blocked' ORDER BY seq";
    let told: Vec<_> = raw.texts(sql).await.into_iter().flatten().collect();
    assert_eq!(told, ["camera 2", "camera 0", "camera -2", "camera 2"]);
}
