//! Threads for connections: one for each core, each with a runtime of its own.
//!
//! A request is two short steps, one before its batch and one after it. Both run on the thread of
//! the connection, without work stealing, and the answers of a batch reach all waiting requests of
//! a thread with one wake-up (`lane::Desk`). Nothing on these threads may block.

use crate::lane::Desk;
use std::sync::Arc;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// The threads. They end when this is dropped, with whatever is still open on them.
pub struct Threads {
    threads: Vec<Thread>,
    over: CancellationToken,
}

struct Thread {
    handle: Handle,
    /// Each connection that it has holds a clone.
    open: Arc<()>,
}

impl Threads {
    /// Starts one for each core.
    ///
    /// # Panics
    /// If the system cannot create a thread: no request could ever be served.
    pub fn start() -> Self {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let over = CancellationToken::new();
        Self { threads: (0..count).map(|_| start(over.clone())).collect(), over }
    }

    /// Serves a connection on the thread that has the fewest.
    pub fn serve(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let load = |thread: &&Thread| Arc::strong_count(&thread.open);
        let thread = self.threads.iter().min_by_key(load).expect("there is at least one");
        let open = thread.open.clone();
        thread.handle.spawn(async move {
            connection.await;
            drop(open);
        });
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.over.cancel();
    }
}

fn start(over: CancellationToken) -> Thread {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("the system gives a process its first few descriptors");
    let handle = runtime.handle().clone();
    let run = move || {
        runtime.spawn(Desk::open_here().hand_out());
        runtime.block_on(over.cancelled());
        runtime.shutdown_background();
    };
    let thread = std::thread::Builder::new().name("connections".to_owned()).spawn(run);
    thread.expect("the system gives a process its first few threads");
    Thread { handle, open: Arc::default() }
}
