//! Vital signs: whether the lanes and the workers of this process are alive.
//!
//! Each is a task that must never end before the process does. [`keep`] restarts a task that
//! panics; only the work in its hands is lost. A task that is in the middle of a run for longer
//! than its limit is stuck, and counts as dead until it continues.
//!
//! If a lane is stuck, its events cannot be sold, so the instance is not ready. Without workers,
//! everything continues with a delay, so they affect readiness only in a process that runs nothing
//! else.

use crate::metrics::Metrics;
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long after a panic a task is started again.
const RESTART_PAUSE: Duration = Duration::from_millis(200);

/// What a task is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It commits what buyers want.
    Lane,
    /// It does what is due.
    Worker,
    /// It keeps this process tidy.
    House,
}

/// The tasks of this process.
#[derive(Default)]
pub struct Vitals {
    parts: Mutex<Vec<Arc<Part>>>,
    /// Whether this process is there for the workers alone.
    only_works: AtomicBool,
}

/// A task.
pub struct Part {
    kind: Kind,
    name: String,
    /// How long a turn of it may take.
    turn_max: Duration,
    begun: Instant,
    /// When the turn under way began: milliseconds since `begun` and one; 0: it waits for work.
    at_work_since: AtomicU64,
    /// It panicked, and has done nothing since.
    failed: AtomicBool,
}

impl Vitals {
    /// Adds a task whose turns may take `turn_max`.
    pub fn add(&self, kind: Kind, name: impl Into<String>, turn_max: Duration) -> Arc<Part> {
        let part = Arc::new(Part {
            kind,
            name: name.into(),
            turn_max,
            begun: Instant::now(),
            at_work_since: AtomicU64::new(0),
            failed: AtomicBool::new(false),
        });
        Metrics::task_restarts(&part.name, 0);
        self.parts.lock().push(part.clone());
        part
    }

    /// Says that this process is there for the workers alone.
    pub fn works_alone(&self) {
        self.only_works.store(true, Ordering::Relaxed);
    }

    /// Whether all tasks of a kind live; `None` when there are none.
    pub fn of(&self, kind: Kind) -> Option<bool> {
        let parts = self.parts.lock();
        let mut of_kind = parts.iter().filter(|part| part.kind == kind).peekable();
        of_kind.peek()?;
        Some(of_kind.all(|part| part.is_alive()))
    }

    /// Why nothing should be sent here.
    pub fn trouble(&self) -> Option<&'static str> {
        if self.of(Kind::Lane) == Some(false) {
            return Some("A lane of this instance is stuck.");
        }
        let only_works = self.only_works.load(Ordering::Relaxed);
        (only_works && self.of(Kind::Worker) == Some(false))
            .then_some("A worker of this process is stuck.")
    }

    /// Updates the metrics.
    pub fn measure(&self) {
        for part in self.parts.lock().iter() {
            Metrics::task_up(&part.name, part.is_alive());
        }
    }
}

impl Part {
    /// A turn begins; it ends with the guard.
    pub fn turn(&self) -> Round<'_> {
        self.at_work_since.store(self.now_ms() + 1, Ordering::Relaxed);
        Round(self)
    }

    /// Whether it does what it is for, or could.
    fn is_alive(&self) -> bool {
        let at_work_since = self.at_work_since.load(Ordering::Relaxed);
        let turn_max_ms = u64::try_from(self.turn_max.as_millis()).unwrap_or(u64::MAX);
        let stands_still =
            at_work_since > 0 && self.now_ms().saturating_sub(at_work_since - 1) > turn_max_ms;
        // A lane that has been started again is as good as new. A worker that panicked in its last turn
        // may do so in each, and then nothing gets done.
        let fails = self.kind != Kind::Lane && self.failed.load(Ordering::Relaxed);
        !stands_still && !fails
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }
}

/// A turn under way.
pub struct Round<'a>(&'a Part);

impl Drop for Round<'_> {
    fn drop(&mut self) {
        self.0.at_work_since.store(0, Ordering::Relaxed);
        self.0.failed.store(std::thread::panicking(), Ordering::Relaxed);
    }
}

/// Runs a task until it ends by itself; one that panics is started again.
pub async fn keep<F: Future<Output = ()>>(part: Arc<Part>, mut start: impl FnMut() -> F) {
    while AssertUnwindSafe(start()).catch_unwind().await.is_err() {
        store::simulated::probe("a task panicked");
        if store::simulated::is_planted("panic kills the lane") {
            return;
        }
        part.failed.store(true, Ordering::Relaxed);
        part.at_work_since.store(0, Ordering::Relaxed);
        Metrics::task_restarts(&part.name, 1);
        tracing::error!(task = part.name, "a task panicked and is restarted");
        tokio::time::sleep(RESTART_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    const LONG: Duration = Duration::from_mins(10);

    #[tokio::test]
    async fn a_task_that_panics_is_started_again_and_counts_as_alive_once_it_works() {
        let vitals = Vitals::default();
        assert_eq!(vitals.of(Kind::Worker), None);
        let part = vitals.add(Kind::Worker, "test_restarts", LONG);
        let starts = AtomicUsize::new(0);
        let (seen, of) = (Mutex::new(Vec::new()), part.clone());
        keep(part, || async {
            let start = starts.fetch_add(1, Ordering::SeqCst);
            seen.lock().push(vitals.of(Kind::Worker));
            let turn = of.turn();
            assert!(start >= 2, "planted");
            drop(turn);
            seen.lock().push(vitals.of(Kind::Worker));
        })
        .await;
        assert_eq!(starts.load(Ordering::SeqCst), 3);
        // It fails until a turn of it has ended well.
        assert_eq!(*seen.lock(), [Some(true), Some(false), Some(false), Some(true)]);
    }

    #[test]
    fn a_turn_that_takes_too_long_is_no_life_and_what_waits_for_work_lives() {
        let vitals = Vitals::default();
        let quick = vitals.add(Kind::Lane, "test_lane", Duration::ZERO);
        vitals.add(Kind::Lane, "test_other_lane", LONG);
        assert_eq!((vitals.of(Kind::Lane), vitals.trouble()), (Some(true), None));
        let turn = quick.turn();
        while vitals.of(Kind::Lane) == Some(true) {
            std::thread::yield_now();
        }
        assert_eq!(vitals.trouble(), Some("A lane of this instance is stuck."));
        drop(turn);
        assert_eq!((vitals.of(Kind::Lane), vitals.trouble()), (Some(true), None));
    }

    #[test]
    fn without_its_workers_an_instance_is_ready_and_a_process_of_workers_is_not() {
        let vitals = Vitals::default();
        let part = vitals.add(Kind::Worker, "test_worker", LONG);
        part.failed.store(true, Ordering::Relaxed);
        assert_eq!((vitals.of(Kind::Worker), vitals.trouble()), (Some(false), None));
        vitals.works_alone();
        assert_eq!(vitals.trouble(), Some("A worker of this process is stuck."));
    }
}
