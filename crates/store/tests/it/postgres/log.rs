//! The log while others write it, and those who read all of it while others sell.

use super::{Stand, booking, one};
use engine::{Command, Inventory, SectionId};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use store::{LogCursor, Reckoning, Store};
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

async fn reckon(store: &dyn Store, cursor: LogCursor) -> Reckoning {
    store.reckon(cursor).await.expect("the store answers")
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_a_row_that_is_committed_late_is_passed_by_no_cursor() {
    let server = quiet_server();
    let stand = Stand::on(&server).await;
    let sale = stand.sale(&[9, 9]).await;
    let start = reckon(&*stand.store, LogCursor::default()).await;
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
async fn a_log_that_came_from_another_server_is_readable_after_the_migration() {
    let server = quiet_server();
    let stand = Stand::on(&server).await;
    let sale = stand.sale(&[9]).await;
    for _ in 0..3 {
        stand.held(&sale, &[(0, 1)]).await;
    }
    // As a dump brings it: the numbers of the other server's transactions are far ahead.
    let mut raw = stand.raw().await;
    raw.run("UPDATE booking_log SET transaction = transaction + 1000000000").await;
    let hidden = reckon(&*stand.store, LogCursor::default()).await;
    assert_eq!((rows(&hidden.folded), rows(&hidden.unsettled)), (0, 4));
    stand.store.migrate(None).await.expect("nothing is due");
    let read = reckon(&*stand.store, LogCursor::default()).await;
    assert_eq!((rows(&read.folded), rows(&read.unsettled)), (4, 0));
    // What is written here comes after it, and is read once.
    stand.held(&sale, &[(0, 1)]).await;
    let next = reckon(&*stand.store, read.cursor).await;
    assert_eq!((rows(&next.folded), rows(&next.unsettled)), (1, 0));
    stand.store.migrate(None).await.expect("nothing is due");
    let again = reckon(&*stand.store, next.cursor).await;
    assert_eq!((rows(&again.folded), rows(&again.unsettled)), (0, 0), "it is taken over once");
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
    let reads = tokio::spawn({
        let (auditor, done) = (auditor.clone(), done.clone());
        async move {
            let mut reads = 0;
            while !done.load(Ordering::Relaxed) {
                assert!(auditor.audit().await.expect("the store answers").is_clean());
                let reckoning = reckon(&*auditor, LogCursor::default()).await;
                let mut sums = HashMap::new();
                add(&mut sums, &reckoning.folded);
                add(&mut sums, &reckoning.unsettled);
                for counted in &reckoning.inventories {
                    assert_eq!(engine::audit::drift(&sums[&counted.section_id], counted), None);
                }
                reads += 1;
            }
            reads
        }
    });
    let mut raw = stand.raw().await;
    let mut beside = Duration::ZERO;
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(1_500) {
        beside = beside.max(longest_batch(&stand, &sale, 10).await);
        assert_eq!(raw.int(BLOCKED_BY_READERS).await, 0);
    }
    done.store(true, Ordering::Relaxed);
    let reads = reads.await.expect("every one of them was clean");
    assert!(reads > 1, "{reads} audits and reckonings");
    // The machine is shared with other tests: only a wait for a reader would take as long as it.
    let limit = (5 * alone).max(Duration::from_millis(500));
    assert!(beside < limit, "{beside:?} beside the audit, {alone:?} alone");
}
