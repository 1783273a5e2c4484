//! The log while others write it, and those who read all of it while others sell.

use super::{Raw, Stand, booking, lock_section, one};
use engine::event::EventChange;
use engine::feed::{Body, Message};
use engine::log::Position;
use engine::{BookingId, By, Command, Inventory, LogCursor, LogKind, SectionChange, SectionId};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use store::{Reckoning, Store};
use testbed::postgres::Postgres;

/// A server of the test's own: to the log, a transaction of any database may be one of its own.
fn quiet_server() -> Postgres {
    Postgres::start_with(&[("autovacuum", "off")])
}

/// Adds up rows of the log; `version` counts them.
fn add(sums: &mut HashMap<SectionId, Inventory>, parts: &[Inventory]) {
    for part in parts {
        let empty = || Inventory::empty(part.section_id, part.event_id);
        sums.entry(part.section_id).or_insert_with(empty).merge(part);
    }
}

fn rows(parts: &[Inventory]) -> i64 {
    parts.iter().map(|part| part.version).sum()
}

async fn reckon(store: &dyn Store, cursor: Position) -> Reckoning {
    store.reckon(cursor).await.expect("the store answers")
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_a_row_that_is_committed_late_is_passed_by_no_cursor() {
    let server = quiet_server();
    let stand = Stand::on(&server).await;
    let sale = stand.sale(&[9, 9]).await;
    let start = reckon(&*stand.store, Position::default()).await;
    assert_eq!((rows(&start.folded), rows(&start.unsettled)), (2, 0));
    // A transaction that has its number, and writes its row, before the others; and commits last.
    let (mut raw, section_id) = (stand.raw().await, sale.sections[1]);
    raw.run("BEGIN").await;
    raw.run(format!(
        "INSERT INTO booking_log (at, kind, section_id, capacity, held, sold, blocked, version)
         VALUES (0, 'resized', '{section_id}', 1, 0, 0, 0, 2);
         UPDATE inventory SET capacity = 10, version = 2 WHERE section_id = '{section_id}'"
    ))
    .await;
    let mut cursor = start.cursor;
    for held in 1..=3 {
        stand.held(&sale, &[(0, 1)]).await;
        let during = reckon(&*stand.store, cursor).await;
        assert_eq!((rows(&during.folded), during.cursor), (0, cursor), "nothing is passed");
        assert_eq!((rows(&during.unsettled), during.unsettled[0].held), (held, held));
        cursor = during.cursor;
    }
    raw.run("COMMIT").await;
    let after = reckon(&*stand.store, cursor).await;
    assert_eq!((rows(&after.folded), rows(&after.unsettled)), (4, 0), "the late one is there");
    let mut sums = HashMap::new();
    add(&mut sums, &start.folded);
    add(&mut sums, &after.folded);
    for inventory in &after.inventories {
        assert_eq!(engine::audit::drift(&sums[&inventory.section_id], inventory), None);
    }
    let again = reckon(&*stand.store, after.cursor).await;
    assert_eq!((rows(&again.folded), rows(&again.unsettled)), (0, 0), "once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_came_from_another_server_is_read_at_once() {
    let server = quiet_server();
    let stand = Stand::on(&server).await;
    let sale = stand.sale(&[9]).await;
    for _ in 0..3 {
        stand.held(&sale, &[(0, 1)]).await;
    }
    // As a dump brings it: the ids of the other server's transactions are far ahead.
    let mut raw = stand.raw().await;
    raw.run("UPDATE booking_log SET transaction = transaction + 1000000000").await;
    let read = reckon(&*stand.store, Position::default()).await;
    assert_eq!((rows(&read.folded), rows(&read.unsettled)), (4, 0));
    assert_eq!(messages(&*stand.store, LogCursor::default()).await.0.len(), 5);
    stand.assert_sound().await;
}

/// The messages after a cursor, and the cursor after them.
async fn messages(store: &dyn Store, cursor: LogCursor) -> (Vec<Message>, LogCursor) {
    let page = store.messages_after(cursor, 1_000).await.expect("the store answers");
    let page = page.expect("a timeline of this log");
    (page.messages, page.next)
}

fn kinds_of(messages: &[Message], booking_id: BookingId) -> Vec<LogKind> {
    let of_booking = messages.iter().filter(|message| {
        matches!(&message.body, Body::Booking { booking, .. } if booking.booking_id == booking_id)
    });
    of_booking.map(|message| message.kind).collect()
}

/// One batch draws a transaction id and waits; another one extends a hold and commits; then the first
/// confirms that hold. Gives the hold.
async fn confirmed_by_an_older_transaction(stand: &Stand) -> BookingId {
    let sale = stand.sale(&[9, 9]).await;
    let held = stand.held(&sale, &[(1, 1)]).await;
    let (booking_id, by) = (held.booking_id, By::User(held.user_id));
    let other = stand.another().await;
    let (mut stop, mut witness) = (stand.raw().await, stand.raw().await);
    stop.run("BEGIN").await;
    stop.run(lock_section(sale.sections[0])).await;
    // Claiming the key gives it an id before it waits for the first section.
    let keyed = Command::Hold(stand.keyed(&sale, &[(0, 1)], "claimed"));
    let batch = [keyed, Command::Confirm { booking_id, by }];
    let beside = async {
        witness.until_waiting(1).await;
        stand.clock.advance_ms(1_000);
        booking(one(&*other, Command::Extend { booking_id, by }).await);
        stop.run("ROLLBACK").await;
    };
    let (committed, ()) = futures_util::future::join(stand.store.commit(&batch), beside).await;
    for answer in committed.expect("the store answers").answers {
        booking(answer);
    }
    booking_id
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_booking_come_in_the_order_of_its_versions() {
    let server = quiet_server();
    let stand = Stand::with_clock(&server).await;
    let booking_id = confirmed_by_an_older_transaction(&stand).await;
    let (found, _) = messages(&*stand.store, LogCursor::default()).await;
    let expected = [LogKind::Held, LogKind::Extended, LogKind::Confirmed];
    assert_eq!(kinds_of(&found, booking_id), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn control_in_the_order_of_transactions_a_confirmation_comes_before_what_it_followed() {
    let server = quiet_server();
    let stand = Stand::with_clock(&server).await;
    let booking_id = confirmed_by_an_older_transaction(&stand).await;
    let sql = format!(
        "SELECT kind FROM booking_log WHERE booking_id = '{booking_id}' ORDER BY transaction, seq"
    );
    assert_eq!(stand.raw().await.texts(&*sql.leak()).await, ["held", "confirmed", "extended"]);
}

/// A row of the log in a transaction that goes on: a number is drawn that may still be committed.
async fn late_row(raw: &mut Raw, section_id: SectionId) {
    raw.run("BEGIN").await;
    raw.run(format!(
        "SELECT 1 FROM inventory WHERE section_id = '{section_id}' FOR UPDATE;
         INSERT INTO booking_log (at, kind, section_id, capacity, held, sold, blocked, version)
         VALUES (0, 'resized', '{section_id}', 1, 0, 0, 0, 2);
         UPDATE inventory SET capacity = 10, version = 2 WHERE section_id = '{section_id}'"
    ))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_message_is_passed_that_is_committed_late() {
    let server = quiet_server();
    let stand = Stand::on(&server).await;
    let sale = stand.sale(&[9, 9]).await;
    let (start, mut cursor) = messages(&*stand.store, LogCursor::default()).await;
    assert_eq!(start.len(), 3);
    let mut raw = stand.raw().await;
    late_row(&mut raw, sale.sections[1]).await;
    for _ in 0..3 {
        stand.held(&sale, &[(0, 1)]).await;
        let (during, next) = messages(&*stand.store, cursor).await;
        assert!(during.is_empty(), "{during:?}");
        cursor = next;
    }
    raw.run("COMMIT").await;
    let (after, next) = messages(&*stand.store, cursor).await;
    let kinds: Vec<_> = after.iter().map(|message| message.kind).collect();
    assert_eq!(kinds, [LogKind::Resized, LogKind::Held, LogKind::Held, LogKind::Held]);
    assert_eq!(messages(&*stand.store, next).await.0, [], "once");
}

#[tokio::test(flavor = "multi_thread")]
async fn control_who_reads_as_far_as_there_are_rows_misses_what_is_committed_late() {
    const NEWEST: &str = "SELECT MAX(seq) FROM booking_log";
    let server = quiet_server();
    let stand = Stand::on(&server).await;
    let sale = stand.sale(&[9, 9]).await;
    let mut raw = stand.raw().await;
    late_row(&mut raw, sale.sections[1]).await;
    stand.held(&sale, &[(0, 1)]).await;
    let mut reader = stand.raw().await;
    let read_to = reader.int(NEWEST).await;
    raw.run("COMMIT").await;
    let missed =
        format!("SELECT count(*) FROM booking_log WHERE seq < {read_to} AND kind = 'resized'");
    assert_eq!(reader.int(missed).await, 1, "it is behind the cursor, and nobody has read it");
    assert_eq!(
        reader.int(format!("SELECT count(*) FROM booking_log WHERE seq > {read_to}")).await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn control_an_id_that_was_given_before_the_number_calls_an_open_row_settled() {
    const XMIN: &str = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint";
    let server = quiet_server();
    let stand = Stand::on(&server).await;
    let sale = stand.sale(&[9, 9]).await;
    let mut reader = stand.raw().await;
    let xid = reader.int("SELECT pg_current_xact_id()::text::bigint").await;
    let mut raw = stand.raw().await;
    late_row(&mut raw, sale.sections[1]).await;
    let last = reader.int("SELECT last_value FROM booking_log_seq_seq").await;
    assert!(xid <= reader.int(XMIN).await, "by this order, it is settled up to {last}");
    let open = format!("SELECT count(*) FROM booking_log WHERE seq = {last}");
    assert_eq!(reader.int(open).await, 0, "and the row is not there yet");
    raw.run("ROLLBACK").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_writes_the_log_has_a_transaction_id_and_numbers_are_not_cached() {
    let stand = Stand::new().await;
    let mut raw = stand.raw().await;
    let cache = "SELECT cache_size FROM pg_sequences WHERE sequencename = 'booking_log_seq_seq'";
    assert_eq!(raw.int(cache).await, 1);
    // The number of a row is drawn before its trigger is asked, so what has no id then had none.
    raw.run(
        "CREATE FUNCTION has_id() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF pg_current_xact_id_if_assigned() IS NULL THEN RAISE 'no transaction id'; END IF;
            RETURN NEW; END $$;
         CREATE TRIGGER has_id BEFORE INSERT ON booking_log FOR EACH ROW EXECUTE FUNCTION has_id()",
    )
    .await;
    let sale = stand.sale(&[9, 9]).await;
    let held = stand.held(&sale, &[(0, 1), (1, 1)]).await;
    let by = By::User(held.user_id);
    booking(one(&*stand.store, Command::Confirm { booking_id: held.booking_id, by }).await);
    stand.held(&sale, &[(0, 1)]).await;
    stand.clock.advance_ms(3_600_000);
    let section_id = sale.sections[0];
    one(&*stand.store, Command::Retire { section_id }).await.expect("it retires what is due");
    let (event_id, by) = (sale.event_id, sale.organizer_id);
    let section = stand.mint.section_of(event_id, "Another");
    stand.store.add_section(&section, 3.into(), by.into(), None).await.expect("a free name");
    let change = SectionChange { capacity: Some(12), ..SectionChange::default() };
    stand.store.revise_section(event_id, section_id, by.into(), None, change).await.expect("more");
    let change = EventChange { title: Some("T".to_owned()), ..EventChange::default() };
    stand.store.revise_event(event_id, by.into(), None, change).await.expect("allowed");
    stand.store.cancel_event(event_id, by.into()).await.expect("allowed");
    stand.assert_sound().await;
}

/// The longest of a number of batches, one after the other.
async fn longest_batch(stand: &Stand, sale: &super::Sale, batches: usize) -> Duration {
    let mut longest = Duration::ZERO;
    for _ in 0..batches {
        let start = Instant::now();
        booking(one(&*stand.store, Command::Hold(stand.hold(sale, &[(0, 1)]))).await);
        longest = longest.max(start.elapsed());
    }
    longest
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_and_a_reckoning_keep_no_sale_waiting() {
    // Locks of readers, and whoever waits for one: of a sale, other sales are all there are.
    const BLOCKED_BY_READERS: &str = "SELECT count(*) FROM pg_stat_activity w
        CROSS JOIN LATERAL UNNEST(pg_blocking_pids(w.pid)) AS b (pid)
        JOIN pg_stat_activity r ON r.pid = b.pid
        WHERE w.datname = current_database() AND (r.query LIKE '%booking_log%'
            AND r.query NOT LIKE '%INSERT%' OR r.query LIKE 'SELECT * FROM bookings')";
    let stand = Stand::new().await;
    let sale = stand.sale(&[1_000_000]).await;
    for _ in 0..8 {
        let hold = || Command::Hold(stand.hold(&sale, &[(0, 1)]));
        let batch: Vec<_> = (0..500).map(|_| hold()).collect();
        stand.store.commit(&batch).await.expect("the store answers");
    }
    let alone = longest_batch(&stand, &sale, 60).await;
    let auditor = stand.another().await;
    let done = Arc::new(AtomicBool::new(false));
    let reads = Arc::new(AtomicUsize::new(0));
    let reading = tokio::spawn({
        let (auditor, done, reads) = (auditor.clone(), done.clone(), reads.clone());
        async move {
            while !done.load(Ordering::Relaxed) {
                assert!(auditor.audit().await.expect("the store answers").is_clean());
                let reckoning = reckon(&*auditor, Position::default()).await;
                let mut sums = HashMap::new();
                add(&mut sums, &reckoning.folded);
                add(&mut sums, &reckoning.unsettled);
                for counted in &reckoning.inventories {
                    assert_eq!(engine::audit::drift(&sums[&counted.section_id], counted), None);
                }
                reads.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let mut raw = stand.raw().await;
    let mut beside = Duration::ZERO;
    let start = Instant::now();
    // On a busy machine two of them take longer.
    let enough =
        |elapsed| elapsed > Duration::from_millis(1_500) && reads.load(Ordering::Relaxed) > 1;
    while !enough(start.elapsed()) {
        assert!(start.elapsed() < Duration::from_secs(30), "no two audits and reckonings in 30 s");
        beside = beside.max(longest_batch(&stand, &sale, 10).await);
        assert_eq!(raw.int(BLOCKED_BY_READERS).await, 0);
    }
    done.store(true, Ordering::Relaxed);
    reading.await.expect("every one of them was clean");
    // The machine is shared with other tests: only a wait for a reader would take as long as it.
    let limit = (5 * alone).max(Duration::from_millis(500));
    assert!(beside < limit, "{beside:?} beside the audit, {alone:?} alone");
}
