//! Batches at once on the same rows: nobody oversells, nobody deadlocks.

use super::{Sale, Stand, booking, keys, lock_section, one};
use engine::{Command, Committed, Hold, Outcome, Refusal};
use futures_util::future::join_all;
use std::collections::BTreeSet;
use std::sync::Arc;
use store::Store;
use testbed::proxy::Proxy;
use testbed::steps::Steps;
use tokio::task::JoinSet;

/// Two batches at once, again and again.
const ROUNDS: u32 = 150;

/// The lock of everything in a section, and what stands in its place without it.
pub(super) const ROW_LOCK: (&str, &str) = (" FOR NO KEY UPDATE", "                  ");
/// The proof that a row is the one that was decided on, and a predicate that always holds.
pub(super) const VERSION: (&str, &str) = ("AND i.version = n.loaded", "AND n.version > n.loaded");
/// The order of the keys of a batch is that of the array; here it is the other one.
const CLAIMS: (&str, &str) = (
    "$4::bigint[])\n        ON CONFLICT DO NOTHING RETURNING user_id, key",
    "$4) ORDER BY 1 DESC   ON CONFLICT DO NOTHING RETURNING user_id, key",
);
/// The order of the locks of a batch.
const LOCKS: (&str, &str) =
    ("     ORDER BY section_id FOR NO KEY UPDATE", "ORDER BY section_id DESC FOR NO KEY UPDATE");
/// The lock of a buyer at an event with a cap.
const BUYER_LOCK: (&str, &str) = ("user_id FOR UPDATE", "user_id           ");

/// A store that sends other SQL than it means to.
pub(super) async fn crippled(stand: &Stand, rewrites: &[(&str, &str)]) -> (Proxy, Arc<dyn Store>) {
    let proxy = stand.proxy(&Steps::new());
    for (from, to) in rewrites {
        proxy.rewrite(from, to);
    }
    let store = stand.behind(&proxy).await;
    (proxy, store)
}

/// Batches of eight users that claim the same keys in the opposite order; every key makes one booking.
///
/// With a `stop`, that statement holds a row in their middle until both wait.
async fn claim_in_opposite_order(
    stand: &Stand,
    (here, there): (&dyn Store, &dyn Store),
    sale: &Sale,
    stop: bool,
) {
    let hold = |_| stand.keyed(sale, &[(0, 1)], "k1");
    let holds: Vec<_> = (0..8).map(hold).collect();
    let stop = stop.then(|| keys::claim(&holds[4]));
    let batch: Vec<_> = holds.into_iter().map(Command::Hold).collect();
    let reversed: Vec<_> = batch.iter().rev().cloned().collect();
    let [first, second] = at_once(stand, (here, &batch), (there, &reversed), stop).await;
    let ids = |committed: Committed| -> BTreeSet<_> {
        committed.answers.into_iter().map(|answer| booking(answer).booking_id).collect()
    };
    let (first, second) = (ids(first), ids(second));
    assert_eq!((first.len(), &first), (8, &second), "one booking for each key");
}

/// Carts and single seats in the same four sections, in the opposite order.
async fn lock_in_opposite_order(
    stand: &Stand,
    (here, there): (&dyn Store, &dyn Store),
    sale: &Sale,
    stop: bool,
) {
    let hold = |requests: &[(usize, u32)]| Command::Hold(stand.hold(sale, requests));
    let batch = |turn: [usize; 4]| -> Vec<_> {
        let singles = turn.iter().map(|place| hold(&[(*place, 1)]));
        singles.chain([hold(&turn.map(|place| (place, 1)))]).collect()
    };
    let (up, down) = (batch([0, 1, 2, 3]), batch([3, 2, 1, 0]));
    let stop = stop.then(|| lock_section(sale.sections[1]));
    for committed in at_once(stand, (here, &up), (there, &down), stop).await {
        assert!(committed.answers.iter().all(Result::is_ok), "there are seats for all");
    }
}

/// Two batches at two stores at once; `stop` locks a row that both need until both wait.
async fn at_once(
    stand: &Stand,
    here: (&dyn Store, &[Command]),
    there: (&dyn Store, &[Command]),
    stop: Option<String>,
) -> [Committed; 2] {
    let mut raw = None;
    if let Some(stop) = stop {
        let mut session = stand.raw().await;
        session.run("BEGIN").await;
        session.run(stop).await;
        raw = Some((session, stand.raw().await));
    }
    let release = async {
        if let Some((mut session, mut witness)) = raw {
            witness.until_waiting(2).await;
            session.run("ROLLBACK").await;
        }
    };
    let (here, there, ()) =
        futures_util::future::join3(here.0.commit(here.1), there.0.commit(there.1), release).await;
    [here, there].map(|committed| committed.expect("the store answers"))
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_batches_with_the_same_keys_in_opposite_order_do_not_deadlock() {
    let stand = Stand::new().await;
    let sale = stand.sale(&[100_000]).await;
    let other = stand.another().await;
    for round in 0..ROUNDS {
        claim_in_opposite_order(&stand, (&*stand.store, &*other), &sale, round % 30 == 0).await;
    }
    assert_eq!(stand.inventory(&sale, 0).await.held, 8 * i64::from(ROUNDS));
    stand.assert_sound().await;
    assert_eq!(stand.deadlocks(&[&*other]).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn control_keys_claimed_in_no_common_order_deadlock() {
    let stand = Stand::new().await;
    stand.find_deadlocks_soon().await;
    let sale = stand.sale(&[100_000]).await;
    let (here, (proxy, there)) = (stand.another().await, crippled(&stand, &[CLAIMS]).await);
    claim_in_opposite_order(&stand, (&*here, &*there), &sale, true).await;
    assert!(proxy.rewritten() > 0, "the order of the claims was changed");
    assert!(stand.deadlocks(&[&*here, &*there]).await > 0, "no deadlock");
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_batches_over_the_same_sections_in_opposite_order_do_not_deadlock() {
    let stand = Stand::new().await;
    let sale = stand.sale(&[10_000; 4]).await;
    let other = stand.another().await;
    for round in 0..ROUNDS {
        lock_in_opposite_order(&stand, (&*stand.store, &*other), &sale, round % 30 == 0).await;
    }
    for place in 0..4 {
        assert_eq!(stand.inventory(&sale, place).await.held, 4 * i64::from(ROUNDS));
    }
    stand.assert_sound().await;
    assert_eq!(stand.deadlocks(&[&*other]).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn control_sections_locked_in_no_common_order_deadlock() {
    let stand = Stand::new().await;
    stand.find_deadlocks_soon().await;
    let sale = stand.sale(&[10_000; 4]).await;
    let (here, (proxy, there)) = (stand.another().await, crippled(&stand, &[LOCKS]).await);
    lock_in_opposite_order(&stand, (&*here, &*there), &sale, true).await;
    assert!(proxy.rewritten() > 0, "the order of the locks was changed");
    assert!(stand.deadlocks(&[&*here, &*there]).await > 0, "no deadlock");
}

/// Buyers who hold seats of two sections at once, at two stores; the most seats that one of them has.
async fn most_seats_of_a_buyer(stand: &Stand, stores: [&dyn Store; 2]) -> i64 {
    let sale = stand.sale_with(&[1_000, 1_000], |new| {
        new.event.terms.max_seats_per_user = Some(3);
    });
    let sale = sale.await;
    for _ in 0..30 {
        let user_id = stand.mint.user();
        let hold = |place| Command::Hold(Hold { user_id, ..stand.hold(&sale, &[(place, 1)]) });
        booking(one(stores[0], hold(0)).await);
        let attempts = (0..6).map(|number| {
            let batch = [hold(number % 2)];
            async move { stores[number % 2].commit(&batch).await.expect("the store answers") }
        });
        join_all(attempts).await;
    }
    // Chance finds the moment too seldom: here both are stopped between the look and the write.
    let user_id = stand.mint.user();
    let hold = |place| Command::Hold(Hold { user_id, ..stand.hold(&sale, &[(place, 1)]) });
    booking(one(stores[0], hold(0)).await);
    let [here, there] = [0, 1].map(|place| [hold(place), hold(place)]);
    let stop = Some("LOCK TABLE booking_log IN SHARE MODE".to_owned());
    at_once(stand, (stores[0], &here), (stores[1], &there), stop).await;
    let sql = "SELECT MAX(seats)::bigint FROM
        (SELECT SUM(seats) AS seats FROM bookings WHERE status = 'HOLD' GROUP BY user_id) AS buyers";
    stand.raw().await.int(sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buyer_stays_within_the_cap_in_two_sections_at_once() {
    let stand = Stand::new().await;
    let other = stand.another().await;
    assert_eq!(most_seats_of_a_buyer(&stand, [&*stand.store, &*other]).await, 3);
    stand.assert_sound().await;
    assert_eq!(stand.deadlocks(&[&*other]).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn control_without_the_lock_of_a_buyer_the_cap_is_exceeded() {
    let stand = Stand::new().await;
    let (proxy, crippled) = crippled(&stand, &[BUYER_LOCK]).await;
    let other = stand.behind(&proxy).await;
    assert!(most_seats_of_a_buyer(&stand, [&*crippled, &*other]).await > 3);
    assert!(proxy.rewritten() > 0, "the lock was taken away");
}

/// What a storm of holds for the 30 seats of a section came to.
struct Storm {
    held: usize,
    failed: usize,
}

/// Ninety people want one of 30 seats, at two instances.
async fn storm(stand: &Stand, sale: &Sale, stores: [&Arc<dyn Store>; 2]) -> Storm {
    let mut tasks = JoinSet::new();
    for number in 0..90 {
        let store = stores[number % 2].clone();
        let batch = [Command::Hold(stand.hold(sale, &[(0, 1)]))];
        tasks.spawn(async move { store.commit(&batch).await });
    }
    let mut storm = Storm { held: 0, failed: 0 };
    for committed in tasks.join_all().await {
        match committed.map(|committed| committed.answers) {
            Ok(answers) => match &answers[..] {
                [Ok(Outcome::Booking { .. })] => storm.held += 1,
                [Err(Refusal::SoldOut { .. })] => {}
                other => panic!("neither held nor sold out: {other:?}"),
            },
            Err(_) => storm.failed += 1,
        }
    }
    storm
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_a_storm_at_two_instances_sells_every_seat_once() {
    let stand = Stand::new().await;
    let sale = stand.sale(&[30]).await;
    let other = stand.another().await;
    let Storm { held, failed } = storm(&stand, &sale, [&stand.store, &other]).await;
    assert_eq!((held, failed), (30, 0));
    assert_eq!(stand.inventory(&sale, 0).await.held, 30);
    stand.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_without_the_row_lock_the_version_stops_whoever_decided_on_old_rows() {
    let stand = Stand::new().await;
    let sale = stand.sale(&[30]).await;
    let (proxy, crippled) = crippled(&stand, &[ROW_LOCK]).await;
    let other = stand.behind(&proxy).await;
    let Storm { held, failed } = storm(&stand, &sale, [&crippled, &other]).await;
    assert!(proxy.rewritten() > 0, "the lock was taken away");
    assert!(failed > 0, "somebody decided on rows that were not locked");
    // The second line of defence holds.
    assert!(held <= 30);
    stand.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_without_row_lock_and_version_a_storm_oversells_and_the_audit_says_so() {
    let stand = Stand::new().await;
    let sale = stand.sale(&[30]).await;
    let (proxy, crippled) = crippled(&stand, &[ROW_LOCK, VERSION]).await;
    let other = stand.behind(&proxy).await;
    let Storm { held, .. } = storm(&stand, &sale, [&crippled, &other]).await;
    assert!(proxy.rewritten() > 1, "lock and version were taken away");
    let counted = stand.inventory(&sale, 0).await.held;
    assert!(i64::try_from(held).expect("90 at most") > counted, "{held} held, {counted} counted");
    assert!(stand.broken().await.contains(&"I4"));
}

/// A buyer at an event with a cap of three confirms a hold in its last moment at one store, while another
/// one counts it as ended; how many live seats the buyer has then.
async fn seats_at_the_last_moment(stand: &Stand, stores: [&dyn Store; 2], keep: Keep) -> i64 {
    let set = |new: &mut engine::EventWithSections| new.event.terms.max_seats_per_user = Some(3);
    let sale = stand.sale_with(&[9, 9], set).await;
    let first = stand.hold(&sale, &[(0, 3)]);
    let (user_id, booking_id) = (first.user_id, first.booking_id);
    let held = booking(one(stores[0], Command::Hold(first)).await);
    stand.clock.advance_ms(held.expires_at.since_ms(stand.clock.now()) - 1);
    let by = engine::By::User(user_id);
    let kept = [match keep {
        Keep::Confirmed => Command::Confirm { booking_id, by },
        Keep::Extended => Command::Extend { booking_id, by },
    }];
    let more = [Command::Hold(Hold { user_id, ..stand.hold(&sale, &[(1, 3)]) })];
    // The first has read the clock and decided, and is stopped before it writes.
    let (mut stop, mut witness) = (stand.raw().await, stand.raw().await);
    stop.run("BEGIN").await;
    stop.run("LOCK TABLE booking_log IN SHARE MODE".to_owned()).await;
    let late = async {
        witness.until_waiting(1).await;
        stand.clock.advance_ms(1);
        let more = stores[1].commit(&more);
        let release = async {
            witness.until_waiting(2).await;
            stop.run("ROLLBACK").await;
        };
        let (more, ()) = futures_util::future::join(more, release).await;
        more.expect("the store answers").answers
    };
    let (kept, late) = futures_util::future::join(stores[0].commit(&kept), late).await;
    assert!(kept.expect("the store answers").answers[0].is_ok(), "in time");
    let refused = matches!(late[0], Err(Refusal::BuyerLimit { limit: 3, .. }));
    assert!(refused || late[0].is_ok(), "{late:?}");
    let sql = format!(
        "SELECT COALESCE(SUM(seats), 0)::bigint FROM bookings WHERE user_id = '{user_id}'
            AND (status = 'CONFIRMED' OR status = 'HOLD' AND expires_at > now_ms())"
    );
    stand.raw().await.int(sql).await
}

/// How a buyer keeps seats that would have ended.
#[derive(Clone, Copy)]
enum Keep {
    Confirmed,
    Extended,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buyer_who_keeps_seats_in_the_last_moment_stays_within_the_cap() {
    let stand = Stand::new().await;
    let other = stand.another().await;
    for keep in [Keep::Confirmed, Keep::Extended] {
        assert_eq!(seats_at_the_last_moment(&stand, [&*stand.store, &*other], keep).await, 3);
    }
    stand.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_without_the_lock_of_whoever_keeps_seats_the_cap_is_exceeded() {
    let stand = Stand::new().await;
    let (proxy, crippled) = crippled(&stand, &[BUYER_LOCK]).await;
    let seats = seats_at_the_last_moment(&stand, [&*crippled, &*stand.store], Keep::Confirmed);
    assert_eq!(seats.await, 6);
    assert!(proxy.rewritten() > 0, "the lock was taken away");
}
