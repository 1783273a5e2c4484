//! What the hot statements read in a database of some size: by an index, or not at all.

use super::{Sale, Stand, booking, confirm, one};
use crate::world::options;
use engine::{BookingStatus, By, Command, Hold, UserId};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::{BookingFilter, Fill, PageRequest, Store, fill_store};
use suite::world::POLICY;

/// The tables that grow with every booking.
const GROWING: &str = "('bookings', 'holds', 'hold_keys', 'booking_log', 'buyers')";

/// Reads of whole tables so far, of each of the growing ones.
async fn whole_reads(stand: &Stand) -> BTreeMap<String, i64> {
    let sql = format!(
        "SELECT relname || ' ' || coalesce(seq_scan, 0) FROM pg_stat_user_tables
         WHERE relname IN {GROWING}"
    );
    let lines = stand.raw().await.texts(sql).await;
    let parts = lines.iter().map(|line| line.split_once(' ').expect("two words"));
    parts.map(|(table, reads)| (table.to_owned(), reads.parse().expect("a number"))).collect()
}

/// Waits until the sessions that a test has used by hand are gone: they tell what they have read when
/// they end.
async fn until_told(stand: &Stand) {
    const OTHERS: &str = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()
            AND backend_type = 'client backend' AND application_name <> 'reservix'";
    let mut raw = stand.raw().await;
    while raw.int(OTHERS).await > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// Does `call` so often that the server also tries its general plan, and asserts that no growing
/// table is read as a whole.
async fn assert_by_index<T>(stand: &Stand, what: &str, call: impl AsyncFn(Arc<dyn Store>) -> T) {
    let before = whole_reads(stand).await;
    let store = stand.another().await;
    for _ in 0..12 {
        call(store.clone()).await;
    }
    stand.close_all(&[&*store]).await;
    assert_eq!(whole_reads(stand).await, before, "{what} reads a whole table");
}

/// A database of some size; nobody is connected to it.
struct Filled {
    stand: Stand,
    sales: Vec<Sale>,
    users: Vec<UserId>,
}

/// 20,000 bookings of 500 users at ten events: half of them sold, a few of them due.
async fn filled() -> Filled {
    let stand = Stand::new().await;
    let mut sales = Vec::new();
    for _ in 0..10 {
        let capped = |new: &mut engine::EventWithSections| {
            new.event.terms.max_seats_per_user = Some(1_000);
        };
        sales.push(stand.sale_with(&[1_000_000; 4], capped).await);
    }
    let users: Vec<UserId> = (0..500).map(|_| stand.mint.user()).collect();
    for round in 0..40_usize {
        stand.clock.advance_ms(if round == 38 { 590_000 } else { 1 });
        let hold = |number: usize| {
            let requests = [(number % 4, 1), ((number + 1) % 4, 1)];
            let sale = &sales[(number + round) % sales.len()];
            let hold = stand.keyed(sale, &requests[..=number % 2], &format!("k{round}"));
            Command::Hold(Hold { user_id: users[number], ..hold })
        };
        let batch: Vec<_> = (0..500).map(hold).collect();
        let committed = stand.store.commit(&batch).await.expect("the store answers");
        if round % 2 == 0 {
            let sell: Vec<_> = committed.bookings.iter().map(confirm).collect();
            stand.store.commit(&sell).await.expect("the store answers");
        }
    }
    // The unsold holds of the second batch are due now, a few in each section; at the next but one
    // millisecond those of the fourth, and so on.
    stand.clock.advance_ms(9_963);
    let mut raw = stand.raw().await;
    raw.run("ANALYZE").await;
    // As for disks without moving parts: else 100 pages are read as a whole for 40 of their rows.
    let name = stand.url.rsplit('/').next().expect("a name at the end");
    raw.run(format!("ALTER DATABASE {name} SET random_page_cost = 1.1")).await;
    assert!(raw.int("SELECT count(*) FROM bookings").await >= 20_000);
    let due = stand.store.due_sections(100).await.expect("the store answers");
    assert!(!due.is_empty(), "some sections have due holds");
    drop(raw);
    stand.close_all(&[]).await;
    until_told(&stand).await;
    Filled { stand, sales, users }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_read_by_index_when_there_are_many_bookings() {
    let Filled { stand, sales, users } = filled().await;
    let sale = &sales[3];
    // A batch that needs a good part of a table may well read all of it: these need little.
    assert_by_index(&stand, "a hold", async |store| {
        booking(one(&*store, Command::Hold(stand.keyed(sale, &[(0, 1), (1, 1)], "x"))).await)
    })
    .await;
    let sweeper = stand.another().await;
    let due = sweeper.due_sections(100).await.expect("the store answers").into_iter();
    let retire: Vec<_> = due.map(|(section_id, _)| Command::Retire { section_id }).collect();
    sweeper.commit(&retire).await.expect("the store answers");
    stand.close_all(&[&*sweeper]).await;
    assert_by_index(&stand, "a batch", async |store| {
        let hold = |number: usize| {
            let hold = stand.keyed(&sales[number % 10], &[(number % 4, 1)], "y");
            Command::Hold(Hold { user_id: users[number], ..hold })
        };
        let batch: Vec<_> = (0..10).map(hold).collect();
        store.commit(&batch).await.expect("the store answers")
    })
    .await;
    assert_by_index(&stand, "a sale", async |store| {
        let hold = Hold { user_id: users[7], ..stand.hold(sale, &[(0, 1)]) };
        let held = booking(one(&*store, Command::Hold(hold)).await);
        let (booking_id, user_id) = (held.booking_id, held.user_id);
        booking(one(&*store, Command::Extend { booking_id, by: By::User(user_id) }).await);
        booking(one(&*store, confirm(&held)).await);
        let by = By::User(sale.organizer_id);
        booking(one(&*store, Command::Cancel { booking_id, by }).await)
    })
    .await;
    assert_by_index(&stand, "a sweep", async |store| {
        stand.clock.advance_ms(1);
        let due = store.due_sections(1).await.expect("the store answers");
        let batch: Vec<_> =
            due.iter().map(|(section_id, _)| Command::Retire { section_id: *section_id }).collect();
        store.commit(&batch).await.expect("the store answers")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_and_counters_read_by_index_when_there_are_many_bookings() {
    let Filled { stand, sales, users } = filled().await;
    let sale = &sales[3];
    assert_by_index(&stand, "the live counters", async |store| {
        store.inventories(&[sale.event_id]).await.expect("the store answers")
    })
    .await;
    assert_by_index(&stand, "a look at keys", async |store| {
        let keys: Vec<_> =
            users.iter().take(20).map(|user_id| (*user_id, super::key("k3"))).collect();
        assert_eq!(store.keyed_holds(&keys).await.expect("the store answers").len(), 20);
    })
    .await;
    for (user, event) in [(Some(users[3]), None), (None, Some(sale.event_id))] {
        for status in [None, Some(BookingStatus::Confirmed), Some(BookingStatus::Hold)] {
            let filter = BookingFilter { user, event, status };
            assert_by_index(&stand, &format!("the list {filter:?}"), async |store| {
                let first = store.bookings(&filter, PageRequest { after: None, limit: 10 }).await;
                let first = first.expect("the store answers");
                let after = first.items.last().map(|last| last.booking_id);
                store
                    .bookings(&filter, PageRequest { after, limit: 10 })
                    .await
                    .expect("the store answers")
            })
            .await;
        }
    }
    // The second reckoning goes on where the first has ended.
    let store = super::open(&stand.url, POLICY, &stand.clock).await;
    let cursor = store.reckon(engine::log::Position::default()).await.expect("it answers").cursor;
    // A session tells what it has read when it ends.
    stand.close_all(&[&*store]).await;
    assert_by_index(&stand, "a reckoning", async |store| {
        store.reckon(cursor).await.expect("the store answers")
    })
    .await;
    let read = whole_reads(&stand).await;
    assert!(read["booking_log"] > 0, "the count notices a read of everything: {read:?}");
}

/// Rows of bookings that were read so far, by any index or none.
async fn rows_read(stand: &Stand) -> i64 {
    const SQL: &str = "SELECT (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes
            WHERE relname = 'bookings')::bigint + seq_tup_read
        FROM pg_stat_user_tables WHERE relname = 'bookings'";
    stand.raw().await.int(SQL).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_a_great_event_of_long_ago_reads_its_own_bookings_only() {
    const LISTS_OF_AN_EVENT: i64 = 2 * 5;
    let stand = Stand::new().await;
    let fill = Fill { bookings: 20_000, events: 50, seed: 7, beside_others: false };
    let filled = fill_store(&stand.url, options(POLICY, &stand.clock), &fill, |_| ()).await;
    filled.expect("the store is filled");
    let great = "SELECT event_id::text FROM bookings GROUP BY 1 ORDER BY count(*) DESC LIMIT 10";
    let great = stand.raw().await.texts(great).await;
    until_told(&stand).await;
    let before = rows_read(&stand).await;
    let store = stand.another().await;
    for event_id in &great {
        let event = Some(event_id.parse().expect("an id"));
        for status in [None].into_iter().chain(BookingStatus::ALL.map(Some)) {
            let filter = BookingFilter { user: None, event, status };
            let first = store.bookings(&filter, PageRequest { after: None, limit: 10 }).await;
            let after = first.expect("the store answers").items.last().map(|last| last.booking_id);
            store
                .bookings(&filter, PageRequest { after, limit: 10 })
                .await
                .expect("the store answers");
        }
    }
    stand.close_all(&[&*store]).await;
    let lists = LISTS_OF_AN_EVENT * i64::try_from(great.len()).expect("few");
    let each = (rows_read(&stand).await - before) / lists;
    // One booking in ten is cancelled: a page of those takes a hundred.
    assert!(each < 150, "a page of ten takes {each} rows of 20,000");
}
