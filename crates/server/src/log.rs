//! The log's way out of the process: a queue, and a thread that writes.
//!
//! A logging call puts the line into the queue and returns. So a stalled or missing reader blocks
//! no caller: lines that do not fit or cannot be written are dropped and counted. A panic is a line
//! like any other.

use crate::config::{Config, LogFormat};
use parking_lot::{Condvar, Mutex};
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::Cell;
use std::io::{self, IsTerminal as _, Write};
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Maximum size of the queue, in bytes; further lines are dropped.
const QUEUED_BYTES_MAX: usize = 1024 * 1024;
/// How long the end of the process waits for what is queued.
pub const FLUSH_MAX: Duration = Duration::from_secs(1);
/// How often the log itself says that lines were dropped.
const TOLD_INTERVAL: Duration = Duration::from_secs(10);

/// The queue of this process, once there is a log.
static QUEUE: OnceLock<Arc<Queue>> = OnceLock::new();

/// Sends the log to standard error, and panics to the log: text on a terminal, else JSON, unless the
/// settings say otherwise.
pub fn start(config: &Config) {
    let level = if config.app_debug { "debug" } else { "info" };
    let filter = format!("warn,server={level},store={level},engine={level},reservix={level}");
    let queue = Queue::start(io::stderr());
    let lines = queue.clone();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || Line(lines.clone()))
        // It would print them to standard error, and panic where that is gone.
        .log_internal_errors(false)
        .with_target(false);
    let text = match config.log_format {
        LogFormat::Auto => io::stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    if text {
        log.with_ansi(io::stderr().is_terminal()).init();
    } else {
        log.json().flatten_event(true).init();
    }
    if QUEUE.set(queue).is_ok() {
        std::panic::set_hook(Box::new(tell_panic));
    }
}

/// Reports why the process ends to the person who started it: in the log's queue, if there is one,
/// so that nobody's reader can keep the process from ending.
pub fn last_words(text: &str) {
    match QUEUE.get() {
        Some(queue) => queue.put(format!("{text}\n").as_bytes()),
        None => drop(writeln!(io::stderr(), "{text}")),
    }
}

/// Waits until all is written, for [`FLUSH_MAX`] at most. Call it before the process ends.
pub fn flush() {
    if let Some(queue) = QUEUE.get() {
        queue.flush(FLUSH_MAX);
    }
}

/// Lines that were dropped since the start.
pub fn lines_dropped() -> u64 {
    QUEUE.get().map_or(0, |queue| queue.dropped.load(Ordering::Relaxed))
}

fn tell_panic(panic: &PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("no reason given");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let backtrace = Backtrace::capture();
    // Only where RUST_BACKTRACE asks for it.
    let backtrace =
        (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    let thread = std::thread::current().name().unwrap_or_default().to_owned();
    tracing::error!(panic = message, place, thread, backtrace, "a bug: the program panicked");
}

thread_local! {
    /// Whether this thread writes the log. What it says of the log itself has room in a full queue, too: a
    /// line at a time, and none before the one before it is written.
    static IS_WRITER: Cell<bool> = const { Cell::new(false) };
}

/// Lines on their way to a reader.
struct Queue {
    waiting: Mutex<Waiting>,
    news: Condvar,
    all_written: Condvar,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    count: u64,
    /// Whether the thread is writing what it has taken.
    is_writing: bool,
}

impl Queue {
    /// Starts the thread that writes to `reader`.
    fn start(reader: impl Write + Send + 'static) -> Arc<Self> {
        let queue = Arc::new(Self {
            waiting: Mutex::default(),
            news: Condvar::new(),
            all_written: Condvar::new(),
            dropped: AtomicU64::new(0),
        });
        let writing = queue.clone();
        let thread = std::thread::Builder::new().name("log".to_owned());
        // Without it the queue fills, and its lines are dropped and counted.
        drop(thread.spawn(move || writing.write_to(reader)));
        queue
    }

    /// Puts a line at the end, if it fits. Waits for nobody.
    fn put(&self, line: &[u8]) {
        let mut waiting = self.waiting.lock();
        let is_full = waiting.lines.len() + line.len() > QUEUED_BYTES_MAX;
        if is_full && !IS_WRITER.get() {
            drop(waiting);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.lines.extend_from_slice(line);
        waiting.count += 1;
        drop(waiting);
        self.news.notify_one();
    }

    /// Waits until all that was put is written, or `at_most` is over.
    fn flush(&self, at_most: Duration) {
        let until = Instant::now() + at_most;
        let mut waiting = self.waiting.lock();
        while waiting.is_writing || !waiting.lines.is_empty() {
            if self.all_written.wait_until(&mut waiting, until).timed_out() {
                return;
            }
        }
    }

    /// Writes for as long as the process lives.
    fn write_to(&self, mut reader: impl Write) {
        IS_WRITER.set(true);
        let (mut told, mut told_at) = (0, None::<Instant>);
        let mut taken = Vec::new();
        loop {
            taken.clear();
            let count = {
                let mut waiting = self.waiting.lock();
                waiting.is_writing = false;
                while waiting.lines.is_empty() {
                    self.all_written.notify_all();
                    self.news.wait(&mut waiting);
                }
                std::mem::swap(&mut waiting.lines, &mut taken);
                waiting.is_writing = true;
                std::mem::take(&mut waiting.count)
            };
            if reader.write_all(&taken).and_then(|()| reader.flush()).is_err() {
                self.dropped.fetch_add(count, Ordering::Relaxed);
                continue;
            }
            // Somebody reads again, who should know what is missing.
            let dropped = self.dropped.load(Ordering::Relaxed);
            if dropped > told && told_at.is_none_or(|at| at.elapsed() >= TOLD_INTERVAL) {
                tracing::warn!(
                    lines = dropped - told,
                    "log lines were dropped: their reader was missing or too slow"
                );
                (told, told_at) = (dropped, Some(Instant::now()));
            }
        }
    }
}

/// A line that is being made. The log writes each with one call.
struct Line(Arc<Queue>);

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.put(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    /// A reader that takes what it is given only when it is let.
    struct Slow {
        let_on: Receiver<()>,
        taken: SyncSender<Vec<u8>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // The other side may be gone by now.
            let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
            self.let_on.recv().map_err(gone)?;
            self.taken.send(bytes.to_vec()).expect("the test listens");
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn dropped(queue: &Queue) -> u64 {
        queue.dropped.load(Ordering::Relaxed)
    }

    #[test]
    fn a_reader_that_stalls_keeps_nobody_waiting_and_what_does_not_fit_is_counted() {
        let (go_on, let_on) = sync_channel(1);
        let (taken, written) = sync_channel(16);
        let queue = Queue::start(Slow { let_on, taken });
        let line = [b'x'; 1_024];
        let begun = Instant::now();
        for _ in 0..10_000 {
            queue.put(&line);
        }
        queue.flush(Duration::from_millis(100));
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        // One queue that waits, and what the thread had taken before it stalled.
        let kept = 10_000 - dropped(&queue);
        let fits = QUEUED_BYTES_MAX as u64 / 1_024;
        assert!((fits..=2 * fits).contains(&kept), "{kept} lines are kept");
        let mut bytes = 0;
        while bytes < kept * 1_024 {
            go_on.send(()).expect("it waits for this");
            bytes += written.recv().expect("it writes").len() as u64;
        }
        assert_eq!(bytes, kept * 1_024, "what was not dropped is written");
        queue.flush(Duration::from_secs(20));
        assert!(!queue.waiting.lock().is_writing);
    }

    #[test]
    fn what_the_log_says_of_itself_has_room_in_a_full_queue() {
        let (_go_on, let_on) = sync_channel(1);
        let (taken, _written) = sync_channel(16);
        let queue = Queue::start(Slow { let_on, taken });
        let line = [b'x'; 1_024];
        // Its thread takes the first line and stalls; from then on nothing leaves the queue.
        queue.put(&line);
        let begun = Instant::now();
        while !queue.waiting.lock().is_writing {
            assert!(begun.elapsed() < Duration::from_secs(20), "it takes the line");
            std::thread::yield_now();
        }
        while dropped(&queue) == 0 {
            queue.put(&line);
        }
        let of_the_writer = queue.clone();
        let said = std::thread::spawn(move || {
            IS_WRITER.set(true);
            of_the_writer.put(b"lines were dropped");
        });
        said.join().expect("it ends");
        queue.put(&line);
        assert_eq!(dropped(&queue), 2);
        assert!(queue.waiting.lock().lines.ends_with(b"lines were dropped"));
    }

    #[test]
    fn a_reader_that_is_gone_ends_nothing() {
        let (go_on, let_on) = sync_channel(1);
        let (taken, _written) = sync_channel(16);
        let queue = Queue::start(Slow { let_on, taken });
        drop(go_on);
        for _ in 0..100 {
            queue.put(b"a line\n");
            queue.flush(Duration::from_secs(20));
        }
        assert_eq!(dropped(&queue), 100);
    }
}
