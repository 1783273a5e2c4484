//! Batches of holds in one round trip: that they take it, and that none passes what others have changed.

mod edits;
mod faults;
mod log;

use super::order::{VERSION, crippled};
use super::{Sale, Stand, booking, confirm, lock_section, one};
use engine::{Booking, Command, Refusal};
use futures_util::future::{join, join_all};
use std::sync::Arc;
use store::Store;
use testbed::proxy::Proxy;
use testbed::steps::Steps;

/// The counters and terms that a batch was decided on are those that are stored; and less than that.
const COUNTERS: (&str, &str) = ("WHERE counters AND terms", "WHERE terms             ");
/// What is written beside the inventory is written where that was; here it always is.
const BEHIND: (&str, &str) =
    ("WHERE (SELECT is_written FROM written)", "WHERE true OR $1 IS NULL              ");

/// An instance whose round trips are counted.
struct Counted {
    store: Arc<dyn Store>,
    steps: Steps,
    proxy: Arc<Proxy>,
}

impl Counted {
    async fn new(stand: &Stand) -> Self {
        let steps = Steps::new();
        let proxy = Arc::new(stand.proxy(&steps));
        let it = Self { store: stand.behind(&proxy).await, steps, proxy };
        it.prepare(stand).await;
        it
    }

    /// Has its statements prepared, by a sale of its own.
    async fn prepare(&self, stand: &Stand) {
        let sale = stand.sale(&[9]).await;
        for _ in 0..2 {
            self.held(stand, &sale).await;
        }
        assert_eq!(self.trips(self.held(stand, &sale)).await.1, 1, "one trip");
    }

    async fn held(&self, stand: &Stand, sale: &Sale) -> Booking {
        booking(one(&*self.store, Command::Hold(stand.hold(sale, &[(0, 1)]))).await)
    }

    /// What a future comes to, and how many round trips that takes.
    async fn trips<T>(&self, future: impl Future<Output = T>) -> (T, usize) {
        let before = self.steps.count();
        let value = future.await;
        (value, self.steps.count() - before)
    }

    /// Loads the rows of a sale as they are, and keeps them: a batch that changes nothing.
    async fn look(&self, stand: &Stand, sale: &Sale) {
        let answer = one(&*self.store, Command::Hold(stand.hold(sale, &[(0, 51)]))).await;
        assert!(matches!(answer, Err(Refusal::TooManySeats { .. })), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_holds_takes_one_trip_where_nobody_else_has_changed_anything() {
    let stand = Stand::new().await;
    let it = Counted::new(&stand).await;
    let sale = stand.sale(&[9, 90]).await;
    let hold = |requests: &[(usize, u32)]| Command::Hold(stand.hold(&sale, requests));
    it.store.commit(&[hold(&[(0, 1), (1, 1)])]).await.expect("the store answers");
    for round in 0..3 {
        stand.clock.advance_ms(7_000);
        let batch = [hold(&[(0, 1)]), hold(&[(0, 1), (1, 2)]), hold(&[(0, 20)])];
        let (committed, trips) = it.trips(it.store.commit(&batch)).await;
        let committed = committed.expect("the store answers");
        assert_eq!((trips, committed.now), (1, stand.clock.now()), "round {round}");
        let [first, cart, refused] = committed.answers.try_into().expect("three answers");
        for held in [booking(first), booking(cart)] {
            assert_eq!(held.expires_at, stand.clock.now().plus_ms(600_000));
            assert_eq!(stand.stored(held.booking_id).await, Some(held));
        }
        let available = 9 - 1 - 2 * (round + 1);
        assert_eq!(
            refused,
            Err(Refusal::SoldOut { available, requested: 20 }),
            "by rows that hold"
        );
        for (place, inventory) in committed.inventories.iter().enumerate() {
            assert_eq!(*inventory, stand.inventory(&sale, place).await);
        }
    }
    // What it does not do takes the other way, and the next batch goes on from there.
    let held = booking(one(&*it.store, hold(&[(0, 1)])).await);
    let others = [
        confirm(&held),
        Command::Hold(stand.keyed(&sale, &[(0, 1)], "k1")),
        hold(&[(0, 9)]),
        Command::Retire { section_id: sale.sections[0] },
    ];
    for command in others {
        let (_, trips) = it.trips(it.store.commit(std::slice::from_ref(&command))).await;
        assert!(trips > 3, "{trips} trips for {command:?}");
        let (answer, trips) = it.trips(one(&*it.store, hold(&[(1, 1)]))).await;
        assert_eq!((trips, answer.is_ok()), (1, true), "after {command:?}");
    }
    stand.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn near_a_limit_of_time_a_batch_locks_before_it_decides() {
    let stand = Stand::new().await;
    let it = Counted::new(&stand).await;
    let end = stand.clock.now().plus_ms(3_600_000);
    let sale = stand.sale_with(&[9], |new| new.event.terms.sales_end = Some(end)).await;
    it.held(&stand, &sale).await;
    assert_eq!(it.trips(it.held(&stand, &sale)).await.1, 1);
    // The first holds end.
    stand.clock.advance_ms(600_000 - 50);
    assert!(it.trips(it.held(&stand, &sale)).await.1 > 3);
    stand.clock.advance_ms(50);
    it.held(&stand, &sale).await;
    assert_eq!(stand.inventory(&sale, 0).await.held, 2, "they were retired");
    assert_eq!(it.trips(it.held(&stand, &sale)).await.1, 1);
    stand.clock.advance_ms(end.since_ms(stand.clock.now()) - 1);
    it.held(&stand, &sale).await;
    stand.clock.advance_ms(1);
    let late = one(&*it.store, Command::Hold(stand.hold(&sale, &[(0, 1)]))).await;
    assert_eq!(late, Err(Refusal::SaleClosed));
    // An estimate that is far behind the database's clock, or ahead of it, is no ground to decide on.
    let sale = stand.sale(&[9]).await;
    it.held(&stand, &sale).await;
    let mut raw = stand.raw().await;
    for (off_ms, trips_max) in [(0, 1), (100, 1), (101, 9), (-1, 9)] {
        let now = stand.clock.now().plus_ms(off_ms).unix_ms();
        raw.run(format!(
            "CREATE OR REPLACE FUNCTION now_ms() RETURNS bigint LANGUAGE sql VOLATILE AS 'SELECT {now}'"
        ))
        .await;
        let (held, trips) = it.trips(it.held(&stand, &sale)).await;
        assert!(trips <= trips_max && (trips == 1) == (trips_max == 1), "{off_ms}: {trips}");
        assert!(held.created_at.unix_ms() <= now, "{off_ms}");
        // The estimate as it was.
        stand.clock.advance_ms(off_ms.max(0));
        let by_hand = crate::world::clock_by_hand(&stand.clock);
        raw.run(by_hand).await;
        it.look(&stand, &sale).await;
    }
    stand.assert_sound().await;
}

/// Two instances that keep the same rows of a section hold all of its seats in one trip, at once; how
/// many of them do.
async fn both_hold_all(stand: &Stand, [here, there]: [&Counted; 2]) -> usize {
    let sale = stand.sale(&[9]).await;
    for it in [here, there] {
        it.look(stand, &sale).await;
    }
    let all = || Command::Hold(stand.hold(&sale, &[(0, 9)]));
    let (mut stop, mut witness) = (stand.raw().await, stand.raw().await);
    stop.run("BEGIN").await;
    stop.run(lock_section(sale.sections[0])).await;
    let release = async {
        witness.until_waiting(2).await;
        stop.run("ROLLBACK").await;
    };
    let both = join(here.trips(one(&*here.store, all())), there.trips(one(&*there.store, all())));
    let (((first, trips), (second, other_trips)), ()) = join(both, release).await;
    assert_eq!(trips.min(other_trips), 1, "the one that is first takes one trip");
    [first, second].iter().filter(|answer| answer.is_ok()).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_of_two_batches_in_one_trip_on_the_same_rows_one_is_done_again() {
    let stand = Stand::new().await;
    let (here, there) = (Counted::new(&stand).await, Counted::new(&stand).await);
    for _ in 0..5 {
        assert_eq!(both_hold_all(&stand, [&here, &there]).await, 1);
    }
    // Without a stop, several from each side.
    for _ in 0..10 {
        let sale = stand.sale(&[10]).await;
        for it in [&here, &there] {
            it.look(&stand, &sale).await;
        }
        let batches = (0..8).map(|number| {
            let (stand, sale, it) = (&stand, &sale, [&here, &there][number % 2]);
            async move { one(&*it.store, Command::Hold(stand.hold(sale, &[(0, 3)]))).await.is_ok() }
        });
        let held = join_all(batches).await.into_iter().filter(|held| *held).count();
        let inventory = stand.inventory(&sale, 0).await;
        assert_eq!((held, inventory.held, inventory.version), (3, 9, 4));
    }
    stand.assert_sound().await;
    assert_eq!(stand.deadlocks(&[&*here.store, &*there.store]).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn control_without_counters_and_version_two_batches_in_one_trip_oversell() {
    let stand = Stand::new().await;
    let (here, there) = (Counted::new(&stand).await, Counted::new(&stand).await);
    for it in [&here, &there] {
        // Statements are prepared anew on other sessions.
        it.proxy.cut();
        it.proxy.heal();
        it.proxy.rewrite(COUNTERS.0, COUNTERS.1);
        it.proxy.rewrite(VERSION.0, VERSION.1);
        it.prepare(&stand).await;
    }
    assert_eq!(both_hold_all(&stand, [&here, &there]).await, 2);
    assert!(stand.broken().await.contains(&"I4"), "the audit notices");
}

#[tokio::test(flavor = "multi_thread")]
async fn control_what_is_written_beside_the_inventory_in_any_case_stays_without_it() {
    let stand = Stand::new().await;
    let (proxy, store) = crippled(&stand, &[BEHIND]).await;
    let it = Counted { store, steps: Steps::new(), proxy: Arc::new(proxy) };
    let sale = stand.sale(&[9]).await;
    it.held(&stand, &sale).await;
    stand.held(&sale, &[(0, 1)]).await;
    let batch = [Command::Hold(stand.hold(&sale, &[(0, 1)]))];
    drop(it.store.commit(&batch).await);
    assert!(it.proxy.rewritten() > 0, "the condition was taken away");
    assert!(!stand.broken().await.is_empty(), "the audit notices");
}
