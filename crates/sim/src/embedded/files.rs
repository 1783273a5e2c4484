//! The file of a run, and the threads that read it.

use engine::{Fault, Policy, Timestamp};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;
use store::simulated::Sqlite;
use store::{Instance as _, Schema as _, StoreOptions};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Readers have threads, and what they leave behind has this one.
static READERS: LazyLock<Runtime> = LazyLock::new(|| {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_time().build();
    runtime.expect("the system gives a process its first few threads")
});

/// What a file is copied from: one with the schema and nothing else.
static EMPTY: OnceLock<Vec<u8>> = OnceLock::new();

/// Does what waits for other threads, while this one stands still: nothing of the run moves, and none of its
/// time passes.
pub(super) fn stand_still<T>(work: impl Future<Output = T>) -> T {
    let _guard = READERS.enter();
    // Nobody else would give it another turn.
    let mut work = pin!(tokio::task::unconstrained(work));
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match work.as_mut().poll(&mut context) {
            Poll::Ready(done) => return done,
            Poll::Pending => std::thread::park(),
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// What a store is opened with, on a clock that is moved by hand.
pub(super) fn options(now_ms: &Arc<AtomicI64>, policy: Policy) -> StoreOptions {
    let now_ms = now_ms.clone();
    StoreOptions {
        policy,
        clock: Arc::new(move || Timestamp::from_unix_ms(now_ms.load(Ordering::Relaxed))),
        monotonic: Arc::new(|| Duration::ZERO),
        // Each has a thread.
        pool_size: 1,
        read_only: false,
        strict: false,
    }
}

/// A folder in memory, where there is such a thing.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("reservix-sim-").tempdir_in(place).expect("a folder")
}

/// Makes the schema once for all runs of this process.
fn empty() -> Vec<u8> {
    let made = async {
        let folder = folder();
        let path = folder.path().join("reservix.db");
        let policy = suite::world::POLICY;
        let store = Sqlite::open(&path, options(&Arc::default(), policy))?;
        store.migrate(None).await?;
        store.close().await;
        Ok::<_, Fault>(std::fs::read(path).expect("it was just written"))
    };
    // As a server does it, not as on the thread of a run.
    let made = std::thread::scope(|scope| scope.spawn(|| READERS.block_on(made)).join());
    made.expect("nothing panics").expect("the schema can be made")
}

/// The file of a run.
pub(super) struct File {
    folder: TempDir,
}

impl File {
    /// A new one with the schema.
    pub(super) fn new() -> Self {
        let file = Self { folder: folder() };
        std::fs::write(file.path(), EMPTY.get_or_init(empty)).expect("there is memory left");
        file
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("reservix.db")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("reservix.db-wal")
    }

    /// How long the log of the file is.
    pub(super) fn log_bytes(&self) -> u64 {
        std::fs::metadata(self.log()).map_or(0, |of| of.len())
    }

    /// Cuts the log of the file, as a loss of power does with what was not yet on the disk. No connection may
    /// have it open.
    pub(super) fn cut_log(&self, bytes: u64) {
        let log = std::fs::File::options().write(true).open(self.log());
        let log = log.expect("it is there, since it is longer");
        log.set_len(bytes).expect("a file can be cut");
    }
}
