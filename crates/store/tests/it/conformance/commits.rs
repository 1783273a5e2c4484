//! Batches: what they decide, what they write, and what they leave alone.

use super::{World, answered, booking, confirm, key, release};
use engine::audit::drift;
use engine::log::Position;
use engine::{BookingStatus, By, Command, Hold, Inventory, Outcome, Refusal, SectionId};
use std::collections::HashMap;

fn keyed(hold: Hold, name: &str, fingerprint: i64) -> Hold {
    Hold { key: Some((key(name), fingerprint)), ..hold }
}

pub async fn i1_no_batch_takes_more_than_there_is(world: World) {
    let sale = world.sale(&[("A", 5)]).await;
    let holds: Vec<_> = (0..4).map(|_| Command::Hold(world.hold(&sale, &[(0, 2)]))).collect();
    let committed = world.commit(&holds).await;
    let held = committed.answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(held, 2);
    let refused = Err(Refusal::SoldOut { available: 1, requested: 2 });
    assert_eq!(committed.answers[2..], [refused.clone(), refused]);
    let cart = world.commit_one(Command::Hold(world.hold(&sale, &[(0, 1), (0, 1)]))).await;
    assert_eq!(cart, Err(Refusal::SoldOut { available: 1, requested: 2 }));
    assert_eq!(world.counters(&sale, 0).await, (4, 0, 1));
    world.assert_sound().await;
}

pub async fn i2_a_booking_moves_along_each_edge_once(world: World) {
    let sale = world.sale(&[("A", 9)]).await;
    let held = world.held(&sale, &[(0, 1)]).await;
    let cancel = Command::Cancel { booking_id: held.booking_id, by: By::User(sale.organizer_id) };
    let mut versions = Vec::new();
    for command in [confirm(&held), confirm(&held), cancel.clone(), cancel] {
        versions.push(booking(world.commit_one(command).await).version);
    }
    assert_eq!(versions, [2, 2, 3, 3], "again changes nothing");
    let refused = world.commit_one(confirm(&held)).await;
    assert_eq!(refused, Err(Refusal::BookingCancelled));
    let released = world.held(&sale, &[(0, 1)]).await;
    for command in [release(&released), release(&released)] {
        assert_eq!(booking(world.commit_one(command).await).version, 2);
    }
    assert_eq!(world.counters(&sale, 0).await, (0, 0, 9));
    world.assert_sound().await;
}

fn add(sums: &mut HashMap<SectionId, Inventory>, parts: &[Inventory]) {
    for part in parts {
        let empty = || Inventory::empty(part.section_id, part.event_id);
        sums.entry(part.section_id).or_insert_with(empty).merge(part);
    }
}

pub async fn i4_the_log_folds_to_the_counters_after_every_commit(world: World) {
    let sale = world.sale(&[("A", 9), ("B", 9)]).await;
    let (a, organizer) = (sale.sections[0], sale.organizer_id);
    let cart = world.hold(&sale, &[(0, 2), (1, 1)]);
    let (booking_id, user_id) = (cart.booking_id, cart.user_id);
    let commands = [
        Command::Hold(cart),
        Command::Block {
            section_id: a,
            by: organizer.into(),
            blocked: engine::Blocked::Count(3),
            reason: None,
        },
        Command::Resize { section_id: a, by: organizer.into(), capacity: 20 },
        Command::Extend { booking_id, by: By::User(user_id) },
        Command::Confirm { booking_id, by: By::User(user_id) },
        Command::Cancel { booking_id, by: By::User(organizer) },
        Command::Hold(world.hold(&sale, &[(1, 4)])),
    ];
    let mut folded: HashMap<SectionId, Inventory> = HashMap::new();
    let mut cursor = Position::default();
    let retire = Command::Retire { section_id: sale.sections[1] };
    for (step, command) in commands.into_iter().chain([retire]).enumerate() {
        world.clock.advance_ms(if step == 7 { 600_000 } else { 1 });
        world.commit_one(command).await.expect("nothing to refuse");
        let reckoning = answered(world.store.reckon(cursor).await);
        cursor = reckoning.cursor;
        add(&mut folded, &reckoning.folded);
        let mut all = folded.clone();
        add(&mut all, &reckoning.unsettled);
        for inventory in &reckoning.inventories {
            assert_eq!(drift(&all[&inventory.section_id], inventory), None);
        }
        world.assert_sound().await;
    }
    assert_eq!(world.inventory(&sale, 1).await.inventory.version, 7);
}

pub async fn i5_a_confirm_at_the_deadline_is_refused_before_any_sweep(world: World) {
    let sale = world.sale(&[("A", 1)]).await;
    let held = world.held(&sale, &[(0, 1)]).await;
    world.clock.advance_ms(600_000);
    assert_eq!(held.expires_at, world.clock.now());
    let committed = world.commit(&[confirm(&held)]).await;
    let refused = Err(Refusal::HoldExpired { expired_at: held.expires_at });
    assert_eq!((&committed.answers[..], committed.expired), (&[refused][..], 1));
    let stored = world.stored(held.booking_id).await.expect("it is kept");
    assert_eq!((stored.status, stored.confirmed_at), (BookingStatus::Expired, None));
    assert_eq!(world.counters(&sale, 0).await, (0, 0, 1));
    world.assert_sound().await;
}

pub async fn i5_a_confirm_before_the_deadline_is_never_refused_for_lack_of_seats(world: World) {
    let sale = world.sale(&[("A", 2)]).await;
    let (first, second) = (world.held(&sale, &[(0, 1)]).await, world.held(&sale, &[(0, 1)]).await);
    let more = world.commit_one(Command::Hold(world.hold(&sale, &[(0, 1)]))).await;
    assert_eq!(more, Err(Refusal::SoldOut { available: 0, requested: 1 }));
    world.clock.advance_ms(599_999);
    let committed = world.commit(&[confirm(&first), confirm(&second)]).await;
    assert!(committed.answers.iter().all(Result::is_ok), "{:?}", committed.answers);
    assert_eq!(world.counters(&sale, 0).await, (0, 2, 0));
}

pub async fn i6_a_key_names_one_hold_as_long_as_its_booking_is_kept(world: World) {
    let sale = world.sale(&[("A", 2)]).await;
    let first = keyed(world.hold(&sale, &[(0, 1)]), "k1", 1);
    let retry = || Hold { booking_id: world.mint.booking(sale.event_id), ..first.clone() };
    let held = booking(world.commit_one(Command::Hold(first.clone())).await);
    let replayed =
        |booking| Ok(Outcome::Booking { booking, replayed: true, next_to_each_other: None });
    assert_eq!(world.commit_one(Command::Hold(retry())).await, replayed(held.clone()));
    let sold = booking(world.commit_one(confirm(&held)).await);
    world.clock.advance_ms(30 * 24 * 3_600_000);
    answered(world.store.purge(1_000).await);
    assert_eq!(world.commit_one(Command::Hold(retry())).await, replayed(sold));
    let other_body = Hold { key: Some((key("k1"), 2)), ..retry() };
    let refused = world.commit_one(Command::Hold(other_body)).await;
    assert_eq!(refused, Err(Refusal::IdempotencyKeyReused));
    let other_user = Hold { user_id: world.mint.user(), ..retry() };
    let of_other = booking(world.commit_one(Command::Hold(other_user)).await);
    assert_ne!(of_other.booking_id, held.booking_id);
    assert_eq!(world.counters(&sale, 0).await, (1, 1, 0));
}

pub async fn i6_the_same_key_twice_in_a_batch_is_decided_once(world: World) {
    let sale = world.sale(&[("A", 9)]).await;
    let first = keyed(world.hold(&sale, &[(0, 2)]), "k1", 1);
    let retry = Hold { booking_id: world.mint.booking(sale.event_id), ..first.clone() };
    let other = Hold { key: Some((key("k1"), 2)), ..retry.clone() };
    let batch = [first, retry, other].map(Command::Hold);
    let committed = world.commit(&batch).await;
    let [Ok(held), Ok(again), Err(Refusal::IdempotencyKeyReused)] = &committed.answers[..] else {
        panic!("{:?}", committed.answers);
    };
    let (
        Outcome::Booking { booking: held, replayed: false, .. },
        Outcome::Booking { booking: again, replayed: true, .. },
    ) = (held, again)
    else {
        panic!("{held:?}, {again:?}");
    };
    assert_eq!(held, again);
    assert_eq!(committed.bookings, std::slice::from_ref(held));
    assert_eq!(world.counters(&sale, 0).await, (2, 0, 7));
    world.assert_sound().await;
}

pub async fn i6_a_refusal_is_not_remembered(world: World) {
    let sale = world.sale(&[("A", 1)]).await;
    let in_the_way = world.held(&sale, &[(0, 1)]).await;
    let hold = keyed(world.hold(&sale, &[(0, 1)]), "k1", 1);
    let name = [(hold.user_id, key("k1"))];
    let refused = world.commit_one(Command::Hold(hold.clone())).await;
    assert_eq!(refused, Err(Refusal::SoldOut { available: 0, requested: 1 }));
    assert!(answered(world.store.keyed_holds(&name).await).is_empty());
    booking(world.commit_one(release(&in_the_way)).await);
    let other_body = Hold { key: Some((key("k1"), 2)), ..hold };
    let held = booking(world.commit_one(Command::Hold(other_body)).await);
    assert_eq!(held.status, BookingStatus::Hold);
}

pub async fn i7_what_is_refused_leaves_no_row(world: World) {
    let sale = world.sale(&[("A", 1)]).await;
    let sold = world.sold(&sale, &[(0, 1)]).await;
    let before = world.reckon(Position::default()).await;
    let hold = keyed(world.hold(&sale, &[(0, 1)]), "k1", 1);
    let refused_id = hold.booking_id;
    let committed = world.commit(&[Command::Hold(hold), release(&sold), confirm(&sold)]).await;
    assert!(committed.answers[0].is_err() && committed.answers[1].is_err());
    let after = world.reckon(before.cursor).await;
    assert_eq!((after.folded, after.cursor), (vec![], before.cursor));
    assert_eq!(after.inventories, before.inventories);
    assert_eq!(world.stored(refused_id).await, None);
    assert!(committed.bookings.is_empty());
    world.assert_sound().await;
}

pub async fn i7_a_batch_is_committed_whole_or_not_at_all(world: World) {
    let sale = world.sale(&[("A", 9)]).await;
    let there = world.held(&sale, &[(0, 1)]).await;
    let good = keyed(world.hold(&sale, &[(0, 1)]), "k1", 1);
    // The id of a booking that is there already: what no lane would send, and no store may swallow.
    let broken = Hold { booking_id: there.booking_id, ..world.hold(&sale, &[(0, 1)]) };
    let batch = [good.clone(), broken].map(Command::Hold);
    world.store.commit(&batch).await.expect_err("one of them cannot be written");
    assert_eq!(world.stored(good.booking_id).await, None);
    assert_eq!(world.stored(there.booking_id).await, Some(there));
    assert_eq!(world.counters(&sale, 0).await, (1, 0, 8));
    world.assert_sound().await;
    // The good one may be asked for again, with its key.
    booking(world.commit_one(Command::Hold(good)).await);
    world.assert_sound().await;
}

pub async fn a_bad_command_does_not_fail_its_neighbours(world: World) {
    let sale = world.sale(&[("A", 5)]).await;
    let (unknown, nobody) = (world.mint.booking(sale.event_id), world.mint.user());
    let nowhere = world.mint.section(sale.event_id);
    let batch = [
        Command::Hold(world.hold(&sale, &[(0, 2)])),
        Command::Hold(world.hold(&sale, &[(0, 51)])),
        Command::Confirm { booking_id: unknown, by: By::User(nobody) },
        Command::Resize { section_id: nowhere, by: nobody.into(), capacity: 1 },
        Command::Retire { section_id: nowhere },
        Command::Block {
            section_id: sale.sections[0],
            by: nobody.into(),
            blocked: engine::Blocked::Count(1),
            reason: None,
        },
        Command::Hold(world.hold(&sale, &[(0, 3)])),
    ];
    let answers = world.commit(&batch).await.answers;
    assert_eq!(answers[1], Err(Refusal::TooManySeats { limit: 50, current: 0 }));
    assert_eq!(answers[2], Err(Refusal::NotFound { what: "booking" }));
    assert_eq!(answers[3], Err(Refusal::NotFound { what: "section" }));
    assert_eq!(answers[4], Ok(Outcome::Done));
    assert_eq!(answers[5], Err(Refusal::NotOrganizer));
    assert!(answers[0].is_ok() && answers[6].is_ok());
    assert_eq!(world.counters(&sale, 0).await, (5, 0, 0));
}

pub async fn a_commit_tells_what_it_locked_and_what_it_changed(world: World) {
    let sale = world.sale(&[("A", 9), ("B", 9), ("C", 9)]).await;
    let due = world.held(&sale, &[(0, 2), (1, 1)]).await;
    world.clock.advance_ms(600_000);
    let refused = world.hold(&sale, &[(0, 10)]);
    let made = world.hold(&sale, &[(0, 1)]);
    let batch = [refused, made.clone()].map(Command::Hold);
    let mut committed = world.commit(&batch).await;
    assert_eq!(
        (committed.now, committed.expired),
        (world.clock.now(), 1),
        "one hold, two sections"
    );
    let mut changed: Vec<_> = committed.bookings.iter().map(|it| it.booking_id).collect();
    changed.sort_unstable();
    assert_eq!(changed, [due.booking_id, made.booking_id]);
    // The other section of the due cart was locked too, so the gate may be told of it.
    committed.inventories.sort_by_key(|inventory| inventory.section_id);
    let stored = [world.inventory(&sale, 0).await, world.inventory(&sale, 1).await];
    assert_eq!(committed.inventories, stored.map(|live| live.inventory));
    assert_eq!(committed.inventories[0].next_expiry, Some(world.clock.now().plus_ms(600_000)));
    assert_eq!(committed.inventories[1].next_expiry, None);
    // A batch that refuses everything tells the counters as well.
    let committed = world.commit(&[Command::Hold(world.hold(&sale, &[(2, 10)]))]).await;
    assert_eq!(committed.inventories, [world.inventory(&sale, 2).await.inventory]);
    assert!(committed.bookings.is_empty());
}

pub async fn a_batch_of_nothing_changes_nothing(world: World) {
    let committed = world.commit(&[]).await;
    assert!(committed.answers.is_empty() && committed.inventories.is_empty());
    assert_eq!((committed.now, committed.expired), (world.clock.now(), 0));
}

pub async fn a_batch_of_512_commands_for_many_sections_is_committed_at_once(world: World) {
    let mut sales = Vec::new();
    for _ in 0..4 {
        sales.push(world.sale(&[("A", 60), ("B", 1_000), ("C", 1_000)]).await);
    }
    let hold = |number: usize| {
        let requests = [(0, 1), (1, 2), (2, 1)];
        keyed(world.hold(&sales[number % 4], &requests[..=number % 3]), "k1", 1)
    };
    let holds: Vec<_> = (0..512).map(hold).collect();
    let batch: Vec<_> = holds.iter().cloned().map(Command::Hold).collect();
    let first = world.commit(&batch).await;
    // Each event has 60 seats in its first section, and 128 people want one of them.
    assert_eq!(first.answers.iter().filter(|answer| answer.is_ok()).count(), 240);
    assert_eq!(first.bookings.len(), 240);
    // A retry would be a booking of its own.
    let retry = |hold: &Hold| {
        Command::Hold(Hold { booking_id: world.mint.booking(hold.event_id), ..hold.clone() })
    };
    let again = world.commit(&holds.iter().map(retry).collect::<Vec<_>>()).await;
    let replayed =
        |answer: &&Result<_, _>| matches!(answer, Ok(Outcome::Booking { replayed: true, .. }));
    assert_eq!(again.answers.iter().filter(replayed).count(), 240);
    assert!(again.bookings.is_empty());
    let confirms: Vec<_> = first.bookings.iter().map(confirm).collect();
    let sold = world.commit(&confirms).await;
    assert!(sold.answers.iter().all(Result::is_ok));
    for sale in &sales {
        assert_eq!(world.counters(sale, 0).await, (0, 60, 0));
    }
    world.assert_sound().await;
}
