//! Workers: loops that send due commands through the same lanes as clients. They contain no rules.
//!
//! Any number of processes may run them, concurrently and without a leader: what two of them find
//! is done once. What a process does for itself alone is [`keep_house`].

mod reconcile;
mod sweep;

pub use reconcile::Reconcile;
pub use sweep::turn as sweep_once;

use crate::core::Core;
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

/// How often old keys and tokens, and idle callers are removed.
pub const TIDY_INTERVAL: Duration = Duration::from_mins(1);
/// How often histograms are folded: until then each keeps 24 bytes for every request.
const FOLD_INTERVAL: Duration = Duration::from_secs(5);
/// Rows removed by one tidying, of each kind.
const PURGED_MAX: u32 = 1_000;

/// How long a turn may take: the first fold of a log of ten million rows included.
const TURN_MAX: Duration = Duration::from_mins(5);

/// What a task does, from its start until it must stop.
type Work = Box<dyn Fn(Arc<Core>, Arc<Part>, CancellationToken) -> BoxFuture<'static, ()> + Send>;

/// Starts the workers that the configuration asks for. They end with `stop`.
pub fn start(core: &Arc<Core>, stop: &CancellationToken) -> TaskTracker {
    let workers = TaskTracker::new();
    let keep = |name, interval, work: Work| {
        let (core, stop) = (core.clone(), stop.clone());
        let part = core.vitals.add(Kind::Worker, name, TURN_MAX);
        // Once, not with every start: one that panics in each of its turns does none.
        Metrics::worker_turn(name, interval, core.store.now());
        workers.spawn(vitals::keep(part.clone(), move || {
            work(core.clone(), part.clone(), stop.clone())
        }));
    };
    if let Some(interval) = core.config.sweep_interval {
        keep(
            "sweep",
            interval,
            Box::new(move |core, part, stop| sweep::run(core, part, interval, stop).boxed()),
        );
    }
    if let Some(interval) = core.config.reconcile_interval {
        let run = move |core, part, stop| reconcile::run(core, part, interval, stop).boxed();
        keep("reconcile", interval, Box::new(run));
    }
    keep("purge", TIDY_INTERVAL, Box::new(|core, part, stop| purge(core, part, stop).boxed()));
    workers.close();
    workers
}

/// Starts what every process does for itself: it hears what others announce, looks whether the
/// store and the gate answer, and folds its meters. Ends with `stop`.
pub fn keep_house(core: &Arc<Core>, stop: &CancellationToken) {
    let keep = |name, work: Work| {
        let (core, stop) = (core.clone(), stop.clone());
        let part = core.vitals.add(Kind::House, name, TURN_MAX);
        tokio::spawn(vitals::keep(part.clone(), move || {
            work(core.clone(), part.clone(), stop.clone())
        }));
    };
    keep(
        "follow",
        Box::new(|core, _, stop| {
            async move {
                let (catalog, rights) = (core.catalog.follow(), core.rights.follow());
                let _ = stop.run_until_cancelled(futures_util::future::join(catalog, rights)).await;
            }
            .boxed()
        }),
    );
    keep(
        "epochs",
        Box::new(|core, _, stop| {
            async move {
                let _ = stop.run_until_cancelled(follow_epochs(&core)).await;
            }
            .boxed()
        }),
    );
    keep("pulse", Box::new(|core, _, stop| pulse(core, stop).boxed()));
    let metrics = core.metrics.clone();
    every(core, "fold_meters", FOLD_INTERVAL, stop, move || {
        metrics.upkeep();
        std::future::ready(())
    });
}

/// Starts a task that takes a turn each `interval`, for this process alone. Ends with `stop`; when
/// a turn panics, the task is started again.
pub fn every<T: Future<Output = ()> + Send>(
    core: &Core,
    name: &'static str,
    interval: Duration,
    stop: &CancellationToken,
    turn: impl Fn() -> T + Send + Sync + 'static,
) {
    let (stop, turn) = (stop.clone(), Arc::new(turn));
    let part = core.vitals.add(Kind::House, name, TURN_MAX);
    tokio::spawn(vitals::keep(part.clone(), move || {
        let (part, stop, turn) = (part.clone(), stop.clone(), turn.clone());
        async move {
            while next_turn(interval, &stop).await {
                let _turn = part.turn();
                turn().await;
            }
        }
    }));
}

/// Checks that the store and the gate respond, and updates the metrics of lanes and workers.
async fn pulse(core: Arc<Core>, stop: CancellationToken) {
    loop {
        core.pulse.ask().await;
        core.vitals.measure();
        if !next_turn(WATCH_INTERVAL, &stop).await {
            break;
        }
    }
}

/// Goes over to each other history that the store turns out to be in, and forgets the one before.
async fn follow_epochs(core: &Core) {
    let mut epochs = core.store.epochs();
    loop {
        let epoch = *epochs.borrow_and_update();
        core.gate.enter(epoch);
        core.catalog.forget_all();
        core.rights.forget_all();
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
        biased;
        () = stop.cancelled() => false,
        () = tokio::time::sleep(interval) => true,
    }
}

async fn purge(core: Arc<Core>, part: Arc<Part>, stop: CancellationToken) {
    while next_turn(TIDY_INTERVAL, &stop).await {
        let _turn = part.turn();
        match core.store.purge(PURGED_MAX).await {
            Ok(rows) => {
                Metrics::worker_turn("purge", TIDY_INTERVAL, core.store.now());
                tracing::debug!(rows, "removed old keys and tokens");
            }
            Err(fault) => {
                let error = failed(&fault);
                tracing::warn!(error, "cannot remove old rows");
            }
        }
    }
}
