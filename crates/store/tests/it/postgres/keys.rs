//! Idempotency keys that somebody else is using at the same moment (I6).

use super::{Sale, Stand, assert_between, booking, lock_section, one, timed, unavailable};
use engine::{Command, Hold, Outcome, Refusal};
use futures_util::future::join_all;
use std::collections::BTreeSet;
use store::Store;

/// Claims the key of a hold, as a batch does.
pub fn claim(hold: &Hold) -> String {
    let (key, fingerprint) = hold.key.as_ref().expect("it has a key");
    let (user_id, booking_id) = (hold.user_id, hold.booking_id);
    format!(
        "INSERT INTO hold_keys VALUES ('{user_id}', '{}', '{booking_id}', {fingerprint})",
        key.as_str()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_a_key_that_is_being_claimed_does_not_hold_up_its_neighbours_for_long() {
    let stand = Stand::new().await;
    let sale = stand.sale(&[50]).await;
    let busy = stand.keyed(&sale, &[(0, 1)], "busy");
    let mut raw = stand.raw().await;
    raw.run("BEGIN").await;
    raw.run(claim(&busy)).await;
    let mut holds: Vec<_> = (0..20).map(|_| stand.keyed(&sale, &[(0, 1)], "free")).collect();
    let retry = Hold { booking_id: stand.mint.booking(sale.event_id), ..busy.clone() };
    holds.insert(7, retry.clone());
    holds.push(stand.hold(&sale, &[(0, 1)]));
    let batch: Vec<_> = holds.into_iter().map(Command::Hold).collect();
    let (committed, took) = timed(stand.store.commit(&batch)).await;
    assert_between(took, 1_950, 3_500);
    let mut answers = committed.expect("the store answers").answers;
    assert_eq!(answers.remove(7), Err(Refusal::IdempotencyInFlight));
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 21);
    assert_eq!(stand.inventory(&sale, 0).await.held, 21);
    // The other one gave up: the key is free.
    raw.run("ROLLBACK").await;
    let held = booking(one(&*stand.store, Command::Hold(retry.clone())).await);
    assert_eq!(held.booking_id, retry.booking_id);
    stand.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_a_key_whose_claim_is_committed_while_it_is_waited_for_is_replayed() {
    let stand = Stand::new().await;
    let sale = stand.sale(&[50]).await;
    // A booking whose key is taken away and then claimed anew, as by a transaction under way.
    let first = stand.keyed(&sale, &[(0, 2)], "k1");
    let made = booking(one(&*stand.store, Command::Hold(first.clone())).await);
    let mut raw = stand.raw().await;
    raw.run("DELETE FROM hold_keys").await;
    raw.run("BEGIN").await;
    raw.run(claim(&first)).await;
    let retry = Hold { booking_id: stand.mint.booking(sale.event_id), ..first.clone() };
    let waiting = tokio::spawn({
        let (store, retry) = (stand.store.clone(), retry.clone());
        async move { timed(one(&*store, Command::Hold(retry))).await }
    });
    stand.raw().await.until_waiting(1).await;
    raw.run("COMMIT").await;
    let replay = Ok(Outcome::Booking { booking: made, replayed: true, next_to_each_other: None });
    let (answer, took) = waiting.await.expect("no panic");
    assert_eq!(answer, replay);
    assert_between(took, 0, 1_500);
    assert_eq!(one(&*stand.store, Command::Hold(retry)).await, replay);
    assert_eq!(stand.inventory(&sale, 0).await.held, 2);
    stand.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_and_a_section_that_are_both_busy_are_given_up_within_five_seconds() {
    let stand = Stand::new().await;
    let sale = stand.sale(&[50]).await;
    let busy = stand.keyed(&sale, &[(0, 1)], "busy");
    let mut raw = stand.raw().await;
    raw.run("BEGIN").await;
    raw.run(claim(&busy)).await;
    raw.run(lock_section(sale.sections[0])).await;
    let batch = [busy, stand.hold(&sale, &[(0, 1)])].map(Command::Hold);
    let (refused, took) = timed(stand.store.commit(&batch)).await;
    unavailable(refused);
    assert_between(took, 3_950, 5_000);
    raw.run("ROLLBACK").await;
    let committed = stand.store.commit(&batch).await.expect("nobody is in the way");
    assert!(committed.answers.iter().all(Result::is_ok));
    stand.assert_sound().await;
}

/// Sends equal requests through several instances at once; returns how many bookings they made.
async fn bookings_of_one_key(stand: &Stand, sale: &Sale, stores: &[&dyn Store]) -> usize {
    let first = stand.keyed(sale, &[(0, 1)], "k1");
    let retries = stores.iter().map(|store| {
        let hold = Hold { booking_id: stand.mint.booking(sale.event_id), ..first.clone() };
        one(*store, Command::Hold(hold))
    });
    let ids = join_all(retries).await.into_iter().map(|answer| booking(answer).booking_id);
    ids.collect::<BTreeSet<_>>().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_equal_requests_at_several_instances_make_one_booking() {
    let stand = Stand::new().await;
    let sale = stand.sale(&[500]).await;
    let other = stand.another().await;
    let stores = [&*stand.store, &*other, &*stand.store, &*other];
    for _ in 0..50 {
        assert_eq!(bookings_of_one_key(&stand, &sale, &stores).await, 1);
    }
    assert_eq!(stand.inventory(&sale, 0).await.held, 50);
    stand.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_without_the_unique_key_equal_requests_make_several_bookings() {
    let stand = Stand::new().await;
    let sale = stand.sale(&[500]).await;
    stand.raw().await.run("ALTER TABLE hold_keys DROP CONSTRAINT hold_keys_unique").await;
    let other = stand.another().await;
    let stores = [&*stand.store, &*other, &*stand.store, &*other];
    assert!(bookings_of_one_key(&stand, &sale, &stores).await > 1);
}
