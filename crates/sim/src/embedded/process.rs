//! A process that serves the file: the real store, lanes and workers, in a paused runtime.
//!
//! Nothing of it is on another thread but reads, and for these it stands still.

use super::files::{options, stand_still};
use super::oracle::Oracle;
use crate::world::Answered;
use async_trait::async_trait;
use engine::audit::Report;
use engine::event::EventCommand;
use engine::log::Position;
use engine::seats::{Layout, Marks};
use engine::{
    BookingId, Command, Committed, Error, Fault, IdempotencyKey, Policy, SectionId, Timestamp,
    UserId,
};
use parking_lot::{Mutex, MutexGuard};
use server::simulated::{Desk, Lanes, Metrics, Reconcile, Sizes, Vitals};
use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::Poll;
use std::time::Duration;
use store::gate::{GateOptions, Local};
use store::simulated::{CommitFault, ListSizes, Sqlite, fired, has_crashed};
use store::{
    Batches, Books, Epoch, Gate, Histories, Instance as _, KeyedHolds, Reckoning, Seats, Sweep,
    Timed, VersionedLayout,
};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// How long a snapshot of the gate may refuse.
const FRESH_MS: u64 = 1_000;

thread_local! {
    static METRICS: Arc<Metrics> = Arc::new(Metrics::unread());
}

/// What outlives a process: time, what the rules say, and what clients hear.
pub(super) struct Shared {
    pub(super) now_ms: Arc<AtomicI64>,
    inner: Mutex<Inner>,
}

/// What may be stored when a process has died.
pub(super) enum UnderWay {
    /// A batch.
    Batch(Vec<Command>),
    /// A change of the event.
    Change(EventCommand),
}

/// What of it changes with each batch.
pub(super) struct Inner {
    pub(super) oracle: Oracle,
    /// What was begun and has not ended, with its time.
    pub(super) under_way: Option<(UnderWay, Timestamp)>,
    /// The first thing that was wrong.
    pub(super) wrong: Option<String>,
    pub(super) answers: Vec<Answered>,
    pub(super) worked: Vec<Result<bool, Fault>>,
    /// How many batches were committed.
    pub(super) batches: u64,
}

impl Shared {
    pub(super) fn new(start: Timestamp, policy: Policy) -> Arc<Self> {
        let inner = Inner {
            oracle: Oracle::new(policy),
            under_way: None,
            wrong: None,
            answers: Vec::new(),
            worked: Vec::new(),
            batches: 0,
        };
        let now_ms = Arc::new(AtomicI64::new(start.unix_ms()));
        Arc::new(Self { now_ms, inner: Mutex::new(inner) })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(self.now_ms.load(Ordering::Relaxed))
    }

    pub(super) fn advance(&self, ms: i64) {
        self.now_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

/// The store as lanes and workers see it: the real one, and beside it the rules.
pub(super) struct Port {
    pub(super) store: Arc<Sqlite>,
    shared: Arc<Shared>,
}

impl Port {
    /// Commits, and says what it panicked with, if it has. It waits for nobody.
    async fn attempt(
        &self,
        commands: &[Command],
    ) -> Result<Result<Committed, Fault>, Box<dyn Any + Send>> {
        let mut commit = pin!(self.store.commit(commands));
        poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| commit.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
            Err(panic) => Poll::Ready(Err(panic)),
        })
        .await
    }
}

impl Timed for Port {
    fn now(&self) -> Timestamp {
        self.store.now()
    }
}

#[async_trait]
impl Batches for Port {
    async fn commit(&self, commands: &[Command]) -> Result<Committed, Fault> {
        if !has_crashed() {
            let under_way = UnderWay::Batch(commands.to_vec());
            self.shared.lock().under_way = Some((under_way, self.now()));
            let done = self.attempt(commands).await;
            if !has_crashed() {
                let mut inner = self.shared.lock();
                inner.under_way = None;
                let agreed = match &done {
                    Ok(Ok(committed)) => {
                        inner.batches += 1;
                        inner.oracle.agree(commands, committed)
                    }
                    Ok(Err(fault)) if !may_fail() => {
                        Err(format!("the embedded store fails: {fault:?}"))
                    }
                    _ => Ok(()),
                };
                if let Err(wrong) = agreed {
                    inner.wrong.get_or_insert(wrong);
                }
                drop(inner);
                return done.unwrap_or_else(|panic| resume_unwind(panic));
            }
        }
        // Of a dead process, nobody hears anything.
        std::future::pending().await
    }

    async fn keyed_holds(&self, keys: &[(UserId, IdempotencyKey)]) -> Result<KeyedHolds, Fault> {
        stand_still(self.store.keyed_holds(keys))
    }
}

#[async_trait]
impl Seats for Port {
    async fn layout(&self, section_id: SectionId) -> Result<Option<VersionedLayout>, Fault> {
        stand_still(self.store.layout(section_id))
    }

    fn cached_layout(&self, section_id: SectionId, version: i64) -> Option<Arc<Layout>> {
        self.store.cached_layout(section_id, version)
    }

    async fn marks(&self, section_id: SectionId) -> Result<Option<Marks>, Fault> {
        stand_still(self.store.marks(section_id))
    }
}

#[async_trait]
impl Sweep for Port {
    async fn due_sections(&self, limit: u32) -> Result<Vec<(SectionId, Timestamp)>, Fault> {
        stand_still(self.store.due_sections(limit))
    }

    async fn to_cancel(&self, limit: u32) -> Result<Vec<BookingId>, Fault> {
        stand_still(self.store.to_cancel(limit))
    }

    async fn purge(&self, limit: u32) -> Result<u64, Fault> {
        stand_still(self.store.purge(limit))
    }
}

#[async_trait]
impl Books for Port {
    async fn reckon(&self, cursor: Position) -> Result<Reckoning, Fault> {
        stand_still(self.store.reckon(cursor))
    }

    async fn audit(&self) -> Result<Report, Fault> {
        stand_still(self.store.audit())
    }

    async fn repair(&self, section_id: SectionId, dry_run: bool) -> Result<Vec<String>, Error> {
        stand_still(self.store.repair(section_id, dry_run))
    }
}

#[async_trait]
impl Histories for Port {
    fn epoch(&self) -> Epoch {
        self.store.epoch()
    }

    fn epochs(&self) -> watch::Receiver<Epoch> {
        self.store.epochs()
    }

    async fn begin_epoch(&self) -> Result<Epoch, Fault> {
        self.store.begin_epoch().await
    }
}

/// Whether a batch may fail now: a COMMIT did, of its own or of lists that it had to read.
fn may_fail() -> bool {
    matches!(fired(), Some((_, CommitFault::Fails)))
}

/// A process.
pub(super) struct Process {
    pub(super) runtime: Runtime,
    pub(super) lanes: Lanes,
    pub(super) port: Arc<Port>,
    pub(super) gate: Arc<dyn Gate>,
    pub(super) reconcile: Arc<tokio::sync::Mutex<Reconcile>>,
    shared: Arc<Shared>,
    ran_until_ms: i64,
}

impl Process {
    /// Starts one, as a server does.
    pub(super) fn start(
        shared: &Arc<Shared>,
        path: &Path,
        policy: Policy,
        sizes: ListSizes,
    ) -> Result<Self, Fault> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without a system around it");
        let store = Sqlite::begin(path, options(&shared.now_ms, policy), sizes);
        let store = Arc::new(runtime.block_on(store)?);
        let guard = runtime.enter();
        let port = Arc::new(Port { store, shared: shared.clone() });
        let gate: Arc<dyn Gate> = Arc::new(Local::new(GateOptions { fresh_ms: FRESH_MS }));
        let (batches, seats) = (port.clone() as Arc<dyn Batches>, port.clone() as Arc<dyn Seats>);
        let metrics = METRICS.with(Clone::clone);
        let sizes = Sizes::default();
        let (lanes, work) =
            Lanes::parts(1, sizes, &batches, seats, &gate, &metrics, &Vitals::default());
        runtime.spawn(work);
        runtime.spawn(Desk::open_here().hand_out());
        drop(guard);
        let ran_until_ms = shared.now_ms.load(Ordering::Relaxed);
        let (reconcile, shared) = (Arc::default(), shared.clone());
        Ok(Self { runtime, lanes, port, gate, reconcile, shared, ran_until_ms })
    }

    /// Lets it go on until nothing of it moves, up to the time of the run.
    pub(super) fn go_on(&mut self) {
        let now_ms = self.shared.now_ms.load(Ordering::Relaxed);
        let passed = (now_ms - self.ran_until_ms).max(1).unsigned_abs();
        self.ran_until_ms = now_ms;
        self.runtime.block_on(async { tokio::time::sleep(Duration::from_millis(passed)).await });
    }

    /// Ends it where it stands, and waits until nobody has the file open.
    pub(super) fn stop(self) {
        let Self { runtime, lanes, port, gate, reconcile, .. } = self;
        drop((lanes, gate, reconcile));
        drop(runtime);
        let store = port.store.clone();
        drop(port);
        stand_still(store.close());
    }
}
