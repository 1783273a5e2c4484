//! Many callers at once.

use super::{Sale, World, answered, booking, confirm, key, release};
use engine::{Booking, Command, Hold, Outcome, Refusal};
use futures_util::future::join_all;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::task::JoinSet;

/// Callers at once: more than a lane would let through, less than the pool gives up on.
const CALLERS: usize = 48;

impl World {
    /// Commits each command in a batch and a task of its own, all at once.
    async fn all_at_once(&self, commands: Vec<Command>) -> Vec<Result<Outcome, Refusal>> {
        let mut tasks = JoinSet::new();
        for command in commands {
            let store = self.store.clone();
            tasks.spawn(async move { store.commit(&[command]).await });
        }
        let committed = tasks.join_all().await.into_iter().map(answered);
        committed.flat_map(|committed| committed.answers).collect()
    }

    fn holds(&self, sale: &Sale, count: usize, seats: u32) -> Vec<Command> {
        (0..count).map(|_| Command::Hold(self.hold(sale, &[(0, seats)]))).collect()
    }
}

pub async fn i1_many_commits_at_once_never_oversell(world: World) {
    let sale = world.sale(&[("A", 30)]).await;
    let answers = world.all_at_once(world.holds(&sale, CALLERS, 1)).await;
    let held: Vec<_> = answers.into_iter().filter(Result::is_ok).map(booking).collect();
    assert_eq!(held.len(), 30);
    assert_eq!(world.counters(&sale, 0).await, (30, 0, 0));
    let sold = world.all_at_once(held.iter().map(confirm).collect()).await;
    assert!(sold.iter().all(Result::is_ok));
    assert_eq!(world.counters(&sale, 0).await, (0, 30, 0));
    world.assert_sound().await;
}

pub async fn i1_holds_releases_and_confirms_at_once_leave_the_books_balanced(world: World) {
    let sale = world.sale(&[("A", 60)]).await;
    let mut held: Vec<Booking> = Vec::new();
    for round in 0..4_usize {
        let mut commands = world.holds(&sale, CALLERS / 2, 1);
        let (sell, give_back) = held.split_at(held.len() / 2);
        commands.extend(sell.iter().map(confirm));
        commands.extend(give_back.iter().map(release));
        // A due hold gives way to whoever comes first, and is confirmed by nobody.
        world.clock.advance_ms(if round == 2 { 600_000 } else { 1 });
        let answers = world.all_at_once(commands).await;
        let live = |answer: &Result<Outcome, Refusal>| match answer {
            Ok(Outcome::Booking { booking, .. }) => (booking.version == 1).then(|| booking.clone()),
            _ => None,
        };
        held = answers.iter().filter_map(live).collect();
        world.assert_sound().await;
    }
    let (held, sold, available) = world.counters(&sale, 0).await;
    assert_eq!(held + sold + available, 60);
    assert!(sold > 0);
}

pub async fn i6_many_equal_requests_at_once_make_one_booking(world: World) {
    let sale = world.sale(&[("A", 100)]).await;
    let first = Hold { key: Some((key("k1"), 1)), ..world.hold(&sale, &[(0, 2)]) };
    let retry = |_| {
        let booking_id = world.mint.booking(sale.event_id);
        Command::Hold(Hold { booking_id, ..first.clone() })
    };
    let answers = world.all_at_once((0..CALLERS).map(retry).collect()).await;
    let fresh =
        |answer: &&Result<_, _>| matches!(answer, Ok(Outcome::Booking { replayed: false, .. }));
    assert_eq!(answers.iter().filter(fresh).count(), 1);
    let ids: std::collections::BTreeSet<_> =
        answers.into_iter().map(|answer| booking(answer).booking_id).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(world.counters(&sale, 0).await, (2, 0, 98));
    world.assert_sound().await;
}

pub async fn of_a_release_and_a_confirm_at_once_one_wins(world: World) {
    let sale = world.sale(&[("A", 10)]).await;
    let mut sales = 0;
    for _ in 0..10 {
        let held = world.held(&sale, &[(0, 1)]).await;
        let answers = world.all_at_once(vec![confirm(&held), release(&held)]).await;
        let won = answers.iter().filter(|answer| answer.is_ok()).count();
        assert_eq!(won, 1, "{answers:?}");
        let stored = world.stored(held.booking_id).await.expect("it is kept");
        sales += i64::from(stored.confirmed_at.is_some());
        assert_ne!(stored.confirmed_at.is_some(), stored.cancelled_at.is_some());
    }
    assert_eq!(world.counters(&sale, 0).await, (0, sales, 10 - sales));
    world.assert_sound().await;
}

pub async fn readers_beside_a_writer_see_whole_batches_only(world: World) {
    let sale = world.sale(&[("A", 1_000), ("B", 1_000)]).await;
    let (store, event_id) = (world.store.clone(), sale.event_id);
    let done = Arc::new(AtomicBool::new(false));
    let readers = (0..3).map(|_| {
        let (store, done) = (store.clone(), done.clone());
        tokio::spawn(async move {
            let mut reads = 0;
            while !done.load(Ordering::Relaxed) || reads == 0 {
                let live = answered(store.inventories(&[event_id]).await);
                let held: Vec<_> = live.iter().map(|it| it.inventory.held).collect();
                assert_eq!(held[0], held[1], "every batch takes as many here as there");
                reads += 1;
            }
        })
    });
    let readers: Vec<_> = readers.collect();
    for _ in 0..40 {
        let batch =
            [[(0, 1)], [(1, 1)]].map(|requests| Command::Hold(world.hold(&sale, &requests)));
        assert!(world.commit(&batch).await.answers.iter().all(Result::is_ok));
    }
    done.store(true, Ordering::Relaxed);
    for reader in join_all(readers).await {
        reader.expect("every read was of one moment");
    }
}
