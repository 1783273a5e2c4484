//! The numbers of the log that are drawn in one trip (I7).

use super::Counted;
use crate::postgres::{Sale, Stand, lock_section, one};
use engine::{Command, LogCursor, LogKind};
use futures_util::future::join;
use testbed::postgres::Postgres;

/// A hold in one trip that waits with the number of its row, until advisory lock 1 is free.
const WAITS: &str = "CREATE FUNCTION waits() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM pg_advisory_xact_lock_shared(1); RETURN NEW; END $$;
    CREATE TRIGGER waits AFTER INSERT ON booking_log FOR EACH ROW
        WHEN (NEW.held = 5) EXECUTE FUNCTION waits()";

#[tokio::test(flavor = "multi_thread")]
async fn i7_no_message_of_a_hold_in_one_trip_is_passed_that_is_committed_late() {
    let server = Postgres::start_with(&[("autovacuum", "off")]);
    let stand = Stand::with_clock(&server).await;
    let it = Counted::new(&stand).await;
    let sale = stand.sale(&[9, 9]).await;
    it.held(&stand, &sale).await;
    let (mut stop, mut witness) = (stand.raw().await, stand.raw().await);
    stop.run(WAITS).await;
    let page = async |cursor: LogCursor| {
        let page = stand.store.messages_after(cursor, 1_000).await.expect("the store answers");
        let page = page.expect("a timeline of this log");
        (page.messages, page.next)
    };
    let (_, start) = page(LogCursor::default()).await;
    stop.run("SELECT pg_advisory_lock(1)").await;
    let late = it.trips(one(&*it.store, Command::Hold(stand.hold(&sale, &[(0, 5)]))));
    let beside = async {
        witness.until_waiting(1).await;
        stand.held(&sale, &[(1, 1)]).await;
        let (during, next) = page(start).await;
        assert!(during.is_empty(), "{during:?}");
        stop.run("SELECT pg_advisory_unlock(1)").await;
        next
    };
    let ((late, trips), next) = join(late, beside).await;
    assert_eq!((late.is_ok(), trips), (true, 1));
    let (after, _) = page(next).await;
    let kinds: Vec<_> = after.iter().map(|message| message.kind).collect();
    assert_eq!(kinds, [LogKind::Held, LogKind::Held]);
    stand.assert_sound().await;
}

/// The last number of the log that was drawn.
const DRAWN: &str = "SELECT last_value FROM booking_log_seq_seq";

#[tokio::test(flavor = "multi_thread")]
async fn i7_a_hold_in_one_trip_draws_its_number_once_its_section_is_locked() {
    let stand = Stand::new().await;
    let it = Counted::new(&stand).await;
    let sale = stand.sale(&[9]).await;
    it.held(&stand, &sale).await;
    let (mut stop, mut witness) = (stand.raw().await, stand.raw().await);
    let before = witness.int(DRAWN).await;
    stop.run("BEGIN").await;
    stop.run(lock_section(sale.sections[0])).await;
    let release = async {
        witness.until_waiting(1).await;
        assert_eq!(witness.int(DRAWN).await, before, "it waits, and has drawn no number");
        stop.run("ROLLBACK").await;
    };
    let ((_, trips), ()) = join(it.trips(it.held(&stand, &sale)), release).await;
    assert_eq!((trips, witness.int(DRAWN).await), (1, before + 1));
    stand.assert_sound().await;
}

/// How many numbers a statement has drawn by the time at which it waits for a section.
async fn drawn_while_waiting(stand: &Stand, sale: &Sale, sql: String) -> i64 {
    let mut sessions = [stand.raw().await, stand.raw().await, stand.raw().await];
    let [stop, witness, waiting] = &mut sessions;
    let before = witness.int(DRAWN).await;
    stop.run("BEGIN").await;
    stop.run(lock_section(sale.sections[0])).await;
    waiting.run("SET application_name = 'reservix'; BEGIN").await;
    let release = async {
        witness.until_waiting(1).await;
        let drawn = witness.int(DRAWN).await - before;
        stop.run("ROLLBACK").await;
        drawn
    };
    let ((), drawn) = join(waiting.run(sql), release).await;
    waiting.run("ROLLBACK").await;
    drawn
}

#[tokio::test(flavor = "multi_thread")]
async fn control_an_insert_beside_the_update_of_its_statement_draws_a_number_without_the_lock() {
    let stand = Stand::new().await;
    let sale = stand.sale(&[9]).await;
    let section_id = sale.sections[0];
    let counted = format!(
        "counted AS (UPDATE inventory SET held = 1, version = 2 WHERE section_id = '{section_id}'
            AND version = 1 RETURNING 1)"
    );
    let logged = |from: &str| {
        format!(
            "logged AS (INSERT INTO booking_log (at, kind, section_id, capacity, held, sold, blocked,
                version) SELECT 0, 'held', '{section_id}'::uuid, 0, 1, 0, 0, 2 {from})"
        )
    };
    let with = |first: &str, second: &str| format!("WITH {first}, {second} SELECT 1");
    let (beside, behind) = (logged(""), logged("FROM counted"));
    let either = drawn_while_waiting(&stand, &sale, with(&counted, &beside)).await
        + drawn_while_waiting(&stand, &sale, with(&beside, &counted)).await;
    assert!(either > 0, "in one of the orders");
    assert_eq!(drawn_while_waiting(&stand, &sale, with(&counted, &behind)).await, 0);
}
