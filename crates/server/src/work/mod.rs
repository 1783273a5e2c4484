//! Workers: loops that send what is due through the same road as everybody else. They hold no rule.
//!
//! Any number of processes may run them, beside each other and without a leader: what two of them
//! find, one of them does. What a process does for itself alone is [`keep_house`].

mod reconcile;
mod sweep;

use crate::http::App;
use crate::http::limits::SYNC_INTERVAL;
use crate::metrics::Metrics;
use engine::Fault;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often old keys and tokens, idle callers and histograms are tidied.
const TIDY_INTERVAL: Duration = Duration::from_mins(1);
/// Rows removed by one tidying, of each kind.
const PURGED_MAX: u32 = 1_000;

/// Starts the workers that the configuration asks for. They end with `stop`.
pub fn start(app: &Arc<App>, stop: &CancellationToken) -> TaskTracker {
    let workers = TaskTracker::new();
    if let Some(interval) = app.config.sweep_interval {
        workers.spawn(sweep::run(app.clone(), interval, stop.clone()));
    }
    if let Some(interval) = app.config.reconcile_interval {
        workers.spawn(reconcile::run(app.clone(), interval, stop.clone()));
    }
    workers.spawn(purge(app.clone(), stop.clone()));
    workers.close();
    workers
}

/// Starts what every process does for itself: it hears what others announce and tells what callers
/// have used, looks whether the store and the gate answer, and tidies its memory. Ends with `stop`.
pub fn keep_house(app: &Arc<App>, stop: &CancellationToken) {
    let (of, stopped) = (app.clone(), stop.clone());
    tokio::spawn(async move { stopped.run_until_cancelled(of.catalog.follow()).await });
    let (of, stopped) = (app.clone(), stop.clone());
    tokio::spawn(async move { of.pulse.watch(stopped).await });
    let (of, stopped) = (app.clone(), stop.clone());
    tokio::spawn(async move {
        while next_turn(SYNC_INTERVAL, &stopped).await {
            of.limits.share(of.store.now()).await;
        }
    });
    let (of, stopped) = (app.clone(), stop.clone());
    tokio::spawn(async move {
        while next_turn(TIDY_INTERVAL, &stopped).await {
            of.limits.forget_idle();
            of.metrics.upkeep();
        }
    });
}

/// Counts a turn that failed, and says why; the next one tries again.
fn failed(fault: &Fault, what: &str) {
    Metrics::fault(fault);
    tracing::warn!(error = crate::chain(fault), "{what}");
}

/// Waits for the next turn; false when it is time to stop.
async fn next_turn(interval: Duration, stop: &CancellationToken) -> bool {
    tokio::select! {
        () = tokio::time::sleep(interval) => true,
        () = stop.cancelled() => false,
    }
}

async fn purge(app: Arc<App>, stop: CancellationToken) {
    while next_turn(TIDY_INTERVAL, &stop).await {
        match app.store.purge(PURGED_MAX).await {
            Ok(0) => {}
            Ok(rows) => tracing::debug!(rows, "removed old keys and tokens"),
            Err(fault) => failed(&fault, "cannot remove old rows"),
        }
    }
}
