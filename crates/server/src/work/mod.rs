//! Workers: loops that send what is due through the same road as everybody else. They hold no rule.

mod reconcile;
mod sweep;

use crate::http::App;
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
    workers.spawn(tidy(app.clone(), stop.clone()));
    workers.close();
    workers
}

/// Waits for the next turn; false when it is time to stop.
async fn next_turn(interval: Duration, stop: &CancellationToken) -> bool {
    tokio::select! {
        () = tokio::time::sleep(interval) => true,
        () = stop.cancelled() => false,
    }
}

async fn tidy(app: Arc<App>, stop: CancellationToken) {
    while next_turn(TIDY_INTERVAL, &stop).await {
        app.forget_idle_callers();
        app.metrics.upkeep();
        match app.store.purge(PURGED_MAX).await {
            Ok(0) => {}
            Ok(rows) => tracing::debug!(rows, "removed old keys and tokens"),
            Err(fault) => {
                tracing::warn!(error = crate::chain(&fault), "cannot remove old rows");
            }
        }
    }
}
