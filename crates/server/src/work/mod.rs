//! Workers: loops that send what is due through the same road as everybody else. They hold no rule.
//!
//! Any number of processes may run them, beside each other and without a leader: what two of them
//! find, one of them does. What a process does for itself alone is [`keep_house`].

mod reconcile;
mod sweep;

use crate::http::App;
use crate::http::limits::SYNC_INTERVAL;
use crate::metrics::Metrics;
use crate::pulse::WATCH_INTERVAL;
use crate::vitals::{self, Kind, Part};
use engine::Fault;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often old keys and tokens, and idle callers are tidied.
const TIDY_INTERVAL: Duration = Duration::from_mins(1);
/// How often histograms are folded: until then each keeps 24 bytes for every request.
const FOLD_INTERVAL: Duration = Duration::from_secs(5);
/// Rows removed by one tidying, of each kind.
const PURGED_MAX: u32 = 1_000;

/// How long a turn may take: the first fold of a log of ten million rows included.
const TURN_MAX: Duration = Duration::from_mins(5);

/// What a task does, from its start until it is told to stop.
type Work = Box<dyn Fn(Arc<App>, Arc<Part>, CancellationToken) -> BoxFuture<'static, ()> + Send>;

/// Starts the workers that the configuration asks for. They end with `stop`.
pub fn start(app: &Arc<App>, stop: &CancellationToken) -> TaskTracker {
    let workers = TaskTracker::new();
    let keep = |name, interval, work: Work| {
        let (app, stop) = (app.clone(), stop.clone());
        let part = app.vitals.add(Kind::Worker, name, TURN_MAX);
        // Once, not with every start: one that panics in each of its turns does none.
        Metrics::worker_turn(name, interval, app.store.now());
        workers.spawn(vitals::keep(part.clone(), move || {
            work(app.clone(), part.clone(), stop.clone())
        }));
    };
    if let Some(interval) = app.config.sweep_interval {
        keep(
            "sweep",
            interval,
            Box::new(move |app, part, stop| sweep::run(app, part, interval, stop).boxed()),
        );
    }
    if let Some(interval) = app.config.reconcile_interval {
        let run = move |app, part, stop| reconcile::run(app, part, interval, stop).boxed();
        keep("reconcile", interval, Box::new(run));
    }
    keep("purge", TIDY_INTERVAL, Box::new(|app, part, stop| purge(app, part, stop).boxed()));
    workers.close();
    workers
}

/// Starts what every process does for itself: it hears what others announce and tells what callers
/// have used, looks whether the store and the gate answer, and tidies its memory. Ends with `stop`.
pub fn keep_house(app: &Arc<App>, stop: &CancellationToken) {
    let keep = |name, work: Work| {
        let (app, stop) = (app.clone(), stop.clone());
        let part = app.vitals.add(Kind::House, name, TURN_MAX);
        tokio::spawn(vitals::keep(part.clone(), move || {
            work(app.clone(), part.clone(), stop.clone())
        }));
    };
    keep(
        "follow",
        Box::new(|app, _, stop| {
            async move {
                let _ = stop.run_until_cancelled(app.catalog.follow()).await;
            }
            .boxed()
        }),
    );
    keep(
        "epochs",
        Box::new(|app, _, stop| {
            async move {
                let _ = stop.run_until_cancelled(follow_epochs(&app)).await;
            }
            .boxed()
        }),
    );
    keep("pulse", Box::new(|app, _, stop| pulse(app, stop).boxed()));
    keep(
        "share_limits",
        Box::new(|app, part, stop| {
            async move {
                while next_turn(SYNC_INTERVAL, &stop).await {
                    let _turn = part.turn();
                    app.limits.share(app.store.now()).await;
                }
            }
            .boxed()
        }),
    );
    keep(
        "tidy",
        Box::new(|app, part, stop| {
            async move {
                while next_turn(TIDY_INTERVAL, &stop).await {
                    let _turn = part.turn();
                    app.limits.forget_idle();
                }
            }
            .boxed()
        }),
    );
    keep(
        "fold_meters",
        Box::new(|app, part, stop| {
            async move {
                while next_turn(FOLD_INTERVAL, &stop).await {
                    let _turn = part.turn();
                    app.metrics.upkeep();
                }
            }
            .boxed()
        }),
    );
}

/// Asks the store and the gate for a sign of life, and tells the meters of all that lives here.
async fn pulse(app: Arc<App>, stop: CancellationToken) {
    loop {
        app.pulse.ask().await;
        app.vitals.measure();
        if !next_turn(WATCH_INTERVAL, &stop).await {
            break;
        }
    }
}

/// Goes over to each other history that the store turns out to be in, and forgets the one before.
async fn follow_epochs(app: &App) {
    let mut epochs = app.store.epochs();
    loop {
        let epoch = *epochs.borrow_and_update();
        app.gate.enter(epoch);
        app.catalog.forget_all();
        if epochs.changed().await.is_err() {
            return;
        }
    }
}

/// Counts a turn that failed, and returns why, for the log; the next one tries again.
fn failed(fault: &Fault) -> String {
    Metrics::fault(fault);
    crate::chain(fault)
}

/// Waits for the next turn; false when it is time to stop.
async fn next_turn(interval: Duration, stop: &CancellationToken) -> bool {
    tokio::select! {
        () = tokio::time::sleep(interval) => true,
        () = stop.cancelled() => false,
    }
}

async fn purge(app: Arc<App>, part: Arc<Part>, stop: CancellationToken) {
    while next_turn(TIDY_INTERVAL, &stop).await {
        let _turn = part.turn();
        match app.store.purge(PURGED_MAX).await {
            Ok(rows) => {
                Metrics::worker_turn("purge", TIDY_INTERVAL, app.store.now());
                tracing::debug!(rows, "removed old keys and tokens");
            }
            Err(fault) => {
                let error = failed(&fault);
                tracing::warn!(error, "cannot remove old rows");
            }
        }
    }
}
