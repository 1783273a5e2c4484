//! How long anybody waits for anybody, and what the clock says after the wait.

use super::{Sale, Stand, assert_between, booking, confirm, lock_section, one, timed, unavailable};
use engine::{Booking, Command, Fault, Outcome, Refusal};
use std::sync::Arc;
use std::time::Duration;
use testbed::steps::{Action, Steps};

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_waited_for_two_seconds_and_then_nothing_has_changed() {
    let stand = Stand::new().await;
    let sale = stand.sale(&[9]).await;
    let mut raw = stand.raw().await;
    raw.run("BEGIN").await;
    raw.run(lock_section(sale.sections[0])).await;
    let hold = stand.keyed(&sale, &[(0, 1)], "k1");
    let batch = [Command::Hold(hold.clone())];
    let (refused, took) = timed(stand.store.commit(&batch)).await;
    unavailable(refused);
    assert_between(took, 1_950, 3_500);
    assert_eq!(raw.sessions("idle in transaction").await, 0, "its own work is rolled back");
    raw.run("ROLLBACK").await;
    assert_eq!(stand.stored(hold.booking_id).await, None);
    let (held, took) = timed(one(&*stand.store, Command::Hold(hold))).await;
    booking(held);
    assert_between(took, 0, 1_000);
    assert_eq!(stand.inventory(&sale, 0).await.held, 1);
    stand.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_takes_three_seconds_at_most() {
    let stand = Stand::new().await;
    let sale = stand.sale(&[9]).await;
    let mut raw = stand.raw().await;
    let slow = "CREATE OR REPLACE FUNCTION now_ms() RETURNS bigint LANGUAGE plpgsql VOLATILE
        AS $$ BEGIN PERFORM pg_sleep(20); RETURN 0; END $$";
    raw.run(slow).await;
    let batch = [Command::Hold(stand.hold(&sale, &[(0, 1)]))];
    let (refused, took) = timed(stand.store.commit(&batch)).await;
    unavailable(refused);
    assert_between(took, 2_000, 3_700);
    let none_runs = async {
        while raw.sessions("active").await > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(2), none_runs).await.expect("the server gave up too");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_readers_are_refused_and_the_store_still_answers() {
    let stand = Stand::new().await;
    // One that looks, since a transaction sees who is there only as it began.
    let (mut raw, mut lock) = (stand.raw().await, stand.raw().await);
    lock.run("BEGIN; LOCK TABLE users").await;
    let read = || {
        let store = stand.store.clone();
        async move { store.user_by_email("ada@example.com").await.err() }
    };
    let mut reads: Vec<_> = (0..8).map(|_| tokio::spawn(read())).collect();
    let waiting = async {
        while raw.sessions("active").await < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), waiting).await.expect("two have sessions");
    let (answer, took) = timed(stand.store.ping()).await;
    answer.expect("the store answers");
    assert_between(took, 0, 900);
    let (cutoffs, took) = timed(stand.store.cutoffs(1)).await;
    cutoffs.expect("tokens are believed");
    assert_between(took, 0, 900);
    let mut faults = Vec::new();
    for read in reads.drain(..) {
        faults.push(read.await.expect("a read ends"));
    }
    let refused = faults.iter().filter(|it| matches!(it, Some(Fault::Overloaded { .. }))).count();
    assert!(refused >= 4, "those who found no session are told so: {faults:?}");
    lock.run("ROLLBACK").await;
}

#[tokio::test]
async fn every_session_has_its_time_outs() {
    const NAMES: [&str; 5] = [
        "lock_timeout",
        "statement_timeout",
        "idle_in_transaction_session_timeout",
        "tcp_user_timeout",
        "default_transaction_isolation",
    ];
    let stand = Stand::new().await;
    let sale = stand.sale(&[9]).await;
    // The clock is asked by sessions of every kind: it takes down how they are set.
    let settings = NAMES.map(|name| format!("current_setting('{name}')")).join(" || ' ' || ");
    let spy = format!(
        "CREATE TABLE seen (settings text);
         CREATE OR REPLACE FUNCTION now_ms() RETURNS bigint LANGUAGE plpgsql VOLATILE AS
         $$ BEGIN INSERT INTO seen SELECT {settings}; RETURN 1893456000000; END $$"
    );
    let mut raw = stand.raw().await;
    raw.run(spy).await;
    let expected = ["2s 3s 1500ms 5000 read committed".to_owned()];
    stand.store.due_sections(9).await.expect("a read");
    assert_eq!(raw.texts("SELECT DISTINCT settings FROM seen").await, expected);
    raw.run("TRUNCATE seen").await;
    stand.sale(&[1]).await;
    assert_eq!(raw.texts("SELECT DISTINCT settings FROM seen").await, expected, "a write");
    raw.run("TRUNCATE seen").await;
    stand.held(&sale, &[(0, 1)]).await;
    assert_eq!(raw.texts("SELECT DISTINCT settings FROM seen").await, expected, "a batch");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_freezes_with_its_locks_stops_the_others_for_less_than_two_seconds() {
    let stand = Stand::new().await;
    let sale = stand.sale(&[9]).await;
    let steps = Steps::new();
    let proxy = Arc::new(stand.proxy(&steps));
    let frozen = stand.behind(&proxy).await;
    // Three batches of the same kind: statements are prepared, steps are counted, the last freezes.
    // With keys: without one, a hold has no step between its locks and its end.
    let hold = || Command::Hold(stand.keyed(&sale, &[(0, 1)], "k1"));
    booking(one(&*frozen, hold()).await);
    let before = steps.count();
    booking(one(&*frozen, hold()).await);
    let all = steps.count() - before;
    let hole = proxy.clone();
    // The COMMIT is the last step; before it, all is written and locked.
    steps.arm(all - 1, Action::Call(Box::new(move || hole.blackhole())));
    let batch = [hold()];
    let frozen_commit = tokio::spawn({
        let (frozen, batch) = (frozen.clone(), batch.clone());
        async move { timed(frozen.commit(&batch)).await }
    });
    let mut raw = stand.raw().await;
    // Between two earlier steps it is idle as well.
    while !steps.fired() || raw.sessions("idle in transaction").await == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (sold, took) = timed(one(&*stand.store, hold())).await;
    booking(sold);
    assert_between(took, 800, 2_500);
    let (frozen_commit, took) = frozen_commit.await.expect("it does not panic");
    unavailable(frozen_commit);
    assert_between(took, 2_000, 4_500);
    let Command::Hold(lost) = &batch[0] else { unreachable!("a hold") };
    assert_eq!(stand.stored(lost.booking_id).await, None, "it was rolled back");
    assert_eq!(stand.inventory(&sale, 0).await.held, 3);
    // The network is back, and so is the instance.
    proxy.heal();
    booking(one(&*frozen, hold()).await);
    stand.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_is_retried_until_the_other_side_has_ended() {
    let stand = Stand::new().await;
    let sale = stand.sale(&[9, 9]).await;
    let (mut raw, mut witness) = (stand.raw().await, stand.raw().await);
    // The store is to be the victim: it looks for deadlocks earlier than the other session, and only once,
    // so not before there is one.
    let name = stand.url.rsplit('/').next().expect("a name at the end");
    raw.run(format!("ALTER DATABASE {name} SET deadlock_timeout = '500ms'")).await;
    raw.run("SET deadlock_timeout = '20s'").await;
    let store = stand.another().await;
    raw.run("BEGIN").await;
    raw.run(lock_section(sale.sections[1])).await;
    let batch = [Command::Hold(stand.keyed(&sale, &[(0, 1), (1, 1)], "k1"))];
    let commit = tokio::spawn({
        let (store, batch) = (store.clone(), batch.clone());
        async move { store.commit(&batch).await }
    });
    witness.until_waiting(1).await;
    // Against the order that the store keeps to.
    raw.run(lock_section(sale.sections[0])).await;
    raw.run("COMMIT").await;
    let mut committed = commit.await.expect("no panic").expect("it was tried again");
    booking(committed.answers.pop().expect("one command, one answer"));
    stand.assert_sound().await;
    assert_eq!(stand.deadlocks(&[&*store]).await, 1, "there was one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_serialization_failure_is_retried_inside() {
    let stand = Stand::new().await;
    let sale = stand.sale(&[9]).await;
    let mut raw = stand.raw().await;
    // A sequence goes on through a rollback: the first three attempts fail, the fourth does not.
    raw.run("CREATE SEQUENCE attempts").await;
    raw.run(
        "CREATE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF nextval('attempts') <= 3 THEN
                RAISE EXCEPTION 'could not serialize access' USING ERRCODE = '40001';
            END IF;
            RETURN NULL; END $$",
    )
    .await;
    raw.run(
        "CREATE TRIGGER conflict AFTER INSERT ON booking_log
            FOR EACH STATEMENT EXECUTE FUNCTION conflict()",
    )
    .await;
    let hold = stand.keyed(&sale, &[(0, 1)], "k1");
    booking(one(&*stand.store, Command::Hold(hold)).await);
    assert_eq!(raw.int("SELECT last_value FROM attempts").await, 4);
    assert_eq!(stand.inventory(&sale, 0).await.held, 1);
    stand.assert_sound().await;
}

/// What becomes of a confirm that waits for its section while its hold ends.
async fn confirmed_too_late(
    stand: &Stand,
    sale: &Sale,
    held: &Booking,
) -> Result<Outcome, Refusal> {
    let mut raw = stand.raw().await;
    raw.run("BEGIN").await;
    raw.run(lock_section(sale.sections[0])).await;
    let (store, batch) = (stand.store.clone(), [confirm(held)]);
    let late = tokio::spawn(async move { one(&*store, batch[0].clone()).await });
    stand.raw().await.until_waiting(1).await;
    stand.clock.advance_ms(600_000);
    raw.run("ROLLBACK").await;
    late.await.expect("no panic")
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_a_hold_that_ends_while_its_confirm_waits_for_the_lock_is_not_sold() {
    let stand = Stand::new().await;
    let sale = stand.sale(&[9]).await;
    let held = stand.held(&sale, &[(0, 1)]).await;
    let late = confirmed_too_late(&stand, &sale, &held).await;
    assert_eq!(late, Err(Refusal::HoldExpired { expired_at: held.expires_at }));
    assert_eq!(stand.inventory(&sale, 0).await.sold, 0);
    stand.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_a_clock_read_before_the_lock_sells_a_hold_that_has_ended() {
    let stand = Stand::new().await;
    let sale = stand.sale(&[9]).await;
    let held = stand.held(&sale, &[(0, 1)]).await;
    // A clock that does not move from its first use in a transaction: the survey's.
    let frozen = "ALTER FUNCTION now_ms() RENAME TO real_now_ms;
        CREATE FUNCTION now_ms() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$ BEGIN
            IF coalesce(current_setting('test.now', true), '') = '' THEN
                PERFORM set_config('test.now', real_now_ms()::text, true);
            END IF;
            RETURN current_setting('test.now')::bigint;
        END $$";
    stand.raw().await.run(frozen).await;
    let late = confirmed_too_late(&stand, &sale, &held).await;
    assert!(booking(late).confirmed_at.is_some(), "sold after its end");
    assert!(stand.clock.now() >= held.expires_at);
}
