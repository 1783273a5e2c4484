//! The driver's trap, and why the store does not step into it.
//!
//! A pool of the driver takes back a connection whose `begin` was given up on while its answer was
//! on the way, and hands it to the next one inside that transaction. The store has no such pool: a
//! session is used again only when its last user says that it is idle.

use super::{Stand, booking, key, one};
use engine::event::EventChange;
use engine::{Command, Hold};
use sqlx::postgres::PgPoolOptions;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use store::Store;
use testbed::proxy::Proxy;
use testbed::steps::Steps;

/// At which of its awaits a future is dropped at the latest: more than a batch has.
const AWAITS: usize = 40;

/// Waits for `future`, and drops it when it waits for the `awaits`-th time.
async fn abandon<T>(future: impl Future<Output = T>, awaits: usize) -> Option<T> {
    let mut future = pin!(future);
    let mut left = awaits;
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => {
            left -= 1;
            if left == 0 { Poll::Ready(None) } else { Poll::Pending }
        }
    })
    .await
}

/// A proxy behind which every answer takes a while, so that nothing is ready at once.
fn slow_proxy(stand: &Stand) -> Proxy {
    let proxy = stand.proxy(&Steps::new());
    proxy.delay(Duration::from_millis(1));
    proxy
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pool_of_the_driver_gives_out_a_connection_inside_an_abandoned_transaction() {
    const IS_OPEN: &str = "SELECT now() = statement_timestamp()";
    let stand = Stand::new().await;
    let proxy = slow_proxy(&stand);
    let options = PgPoolOptions::new().max_connections(1).test_before_acquire(false);
    let pool = options.connect(&proxy.in_place_of(&stand.url)).await.expect("the server answers");
    let mut found_open = 0;
    for awaits in 1..=4 {
        abandon(pool.begin(), awaits).await;
        // now() is the start of the transaction: only outside of one is it that of the statement.
        let mut session = pool.acquire().await.expect("the only connection");
        sqlx::query("SELECT 1").execute(&mut *session).await.expect("it answers");
        tokio::time::sleep(Duration::from_millis(2)).await;
        let is_idle: bool =
            sqlx::query_scalar(IS_OPEN).fetch_one(&mut *session).await.expect("too");
        found_open += usize::from(!is_idle);
        sqlx::raw_sql("ROLLBACK").execute(&mut *session).await.expect("a warning at most");
    }
    assert!(found_open > 0, "this driver has been mended: `sessions` may become its pool");
    pool.close().await;
}

/// Gives up on calls to the store at every await, and looks after each whether the next one finds a
/// session that is where it should be.
async fn abandon_everywhere<T>(stand: &Stand, call: impl AsyncFn(Arc<dyn Store>) -> T) {
    let proxy = slow_proxy(stand);
    let store = stand.behind(&proxy).await;
    let sale = stand.sale(&[1_000]).await;
    let mut raw = stand.raw().await;
    let (mut abandoned, mut finished) = (0, 0);
    for awaits in 1..=AWAITS {
        match abandon(call(store.clone()), awaits).await {
            Some(_) => finished += 1,
            None => abandoned += 1,
        }
        let start = Instant::now();
        while raw.sessions("idle in transaction").await + raw.sessions("active").await > 0 {
            assert!(start.elapsed() < Duration::from_secs(5), "left open after {awaits} awaits");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if awaits % 4 == 0 {
            // It starts clean: what it commits is there for others.
            let held = booking(one(&*store, Command::Hold(stand.hold(&sale, &[(0, 1)]))).await);
            assert!(stand.stored(held.booking_id).await.is_some(), "after {awaits} awaits");
        }
    }
    assert!(abandoned > 5, "{abandoned} were abandoned");
    assert!(finished > 0, "{AWAITS} awaits are too few");
    stand.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_batch_leaves_no_transaction_open() {
    let stand = Stand::new().await;
    let sale = stand.sale(&[1_000]).await;
    let hold = || Hold { key: Some((key("k1"), 1)), ..stand.hold(&sale, &[(0, 1)]) };
    abandon_everywhere(&stand, async |store| store.commit(&[Command::Hold(hold())]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_change_of_an_event_leaves_no_transaction_open() {
    let stand = Stand::new().await;
    let sale = stand.sale(&[1_000]).await;
    let change = EventChange { title: Some("Abandoned".to_owned()), ..EventChange::default() };
    let revise = async |store: Arc<dyn Store>| {
        store.revise_event(sale.event_id, sale.organizer_id.into(), None, change.clone()).await
    };
    abandon_everywhere(&stand, revise).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_read_leaves_no_transaction_open() {
    let stand = Stand::new().await;
    let cursor = engine::log::Position::default();
    abandon_everywhere(&stand, async |store| store.reckon(cursor).await).await;
    abandon_everywhere(&stand, async |store| store.audit().await).await;
}
