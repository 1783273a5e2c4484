//! Whether the server is still there, and whether anybody is to wait for it any longer.
//!
//! Every request of the tool is counted here, of the setup, of the runs and of the proof. Somebody who
//! waits for an answer gives up [`AWAY_AFTER`] after the last answer to anybody; before and after a
//! run also when there was nothing but 503 for [`BUSY_AFTER`]. An interrupt ends a run, and everything
//! else; a second one, or a request to terminate, ends a run without its proof.

use crate::trouble::Trouble;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// A server that has answered nobody for so long, though somebody asked, is away.
pub const AWAY_AFTER: Duration = Duration::from_secs(10);

/// The setup and the proof get nowhere with a server that says nothing but 503 for so long.
const BUSY_AFTER: Duration = Duration::from_mins(1);

/// How often it is looked at.
const BEAT: Duration = Duration::from_millis(250);

/// A beat that comes later than this is this process's own standstill.
const LATE_MAX: Duration = Duration::from_millis(250);

/// What all requests of a session have in common.
#[derive(Debug, Default)]
pub struct Pulse {
    out: AtomicI64,
    answers: AtomicU64,
    useful: AtomicU64,
    silences: AtomicU64,
    stood_still_ms: AtomicU64,
    watched_since: OnceLock<Instant>,
    last_beat_ms: AtomicU64,
    in_run: AtomicBool,
    end_run: CancellationToken,
    over: CancellationToken,
    why: OnceLock<String>,
    away: AtomicBool,
}

/// A request that has been sent.
pub struct Asked(Arc<Pulse>);

impl Asked {
    /// Notes a request that is about to be sent, or a connection that is about to be opened.
    pub fn now(pulse: &Arc<Pulse>) -> Self {
        pulse.out.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(pulse))
    }

    /// It was answered.
    pub fn answered(self, status: u16) {
        self.0.answers.fetch_add(1, Ordering::Relaxed);
        if status != 503 {
            self.0.useful.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// There was no answer.
    pub fn was_silence(self) {
        self.0.silences.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.out.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pulse {
    /// Whether the server has answered anybody.
    pub fn was_there(&self) -> bool {
        self.answers.load(Ordering::Relaxed) > 0
    }

    /// Whether nobody is to wait for an answer any more.
    pub fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Ends once nobody is to wait any more.
    pub async fn over(&self) {
        self.over.cancelled().await;
    }

    /// Ends once the run is to end, though its proof is wanted.
    pub async fn run_is_to_end(&self) {
        self.end_run.cancelled().await;
    }

    /// Whether that is since the server answered nobody.
    pub fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    /// Why nobody is to wait any more.
    pub fn why(&self) -> &str {
        self.why.get().map_or("", String::as_str)
    }

    /// Marks the start or the end of a run: the meaning of an interrupt depends on it.
    pub fn in_run(&self, is_so: bool) {
        self.in_run.store(is_so, Ordering::Relaxed);
    }

    /// How long this process itself was suspended so far: stopped, or without a processor.
    pub fn stood_still(&self) -> Duration {
        Duration::from_millis(self.stood_still_ms.load(Ordering::Relaxed))
    }

    /// The same with what is not yet known at the beat: a task may wake up before the beat.
    pub fn stood_still_until_now(&self) -> Duration {
        let last = Duration::from_millis(self.last_beat_ms.load(Ordering::Relaxed));
        let since = self.watched_since.get().map(Instant::elapsed).unwrap_or_default();
        let overdue = since.saturating_sub(last).saturating_sub(BEAT);
        self.stood_still() + if overdue > LATE_MAX { overdue } else { Duration::ZERO }
    }

    /// Does `work`, until nobody is to wait for it any more.
    pub async fn unless_over<T>(
        &self,
        work: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Trouble> {
        tokio::select! {
            biased;
            () = self.over() => Err(Trouble::new(self.why())),
            done = work => match done {
                // What failed as it was given up did not fail for a reason of its own.
                Err(_) if self.is_over() => Err(Trouble::new(self.why())),
                done => done,
            }
        }
    }

    /// Nobody is to wait any more.
    fn end(&self, why: impl FnOnce() -> String) {
        let _ = self.why.set(why());
        self.end_run.cancel();
        self.over.cancel();
    }

    /// Listens for the server's answers and the user's signals, until the set is dropped.
    pub fn watch(self: &Arc<Self>) -> Result<JoinSet<()>, Trouble> {
        let mut watchers = JoinSet::new();
        let pulse = Arc::clone(self);
        watchers.spawn(async move { pulse.beat().await });
        for (kind, is_interrupt) in
            [(SignalKind::interrupt(), true), (SignalKind::terminate(), false)]
        {
            let mut signals =
                signal(kind).map_err(|error| Trouble::because("listening for signals", error))?;
            let pulse = Arc::clone(self);
            watchers.spawn(async move {
                while signals.recv().await.is_some() {
                    let is_first = !pulse.end_run.is_cancelled();
                    if is_interrupt && is_first && pulse.in_run.load(Ordering::Relaxed) {
                        pulse.end_run.cancel();
                    } else {
                        let what = if is_interrupt { "interrupted" } else { "terminated" };
                        pulse.end(|| what.to_owned());
                    }
                }
            });
        }
        Ok(watchers)
    }

    async fn beat(&self) {
        let mut silence = Silence::default();
        let mut last = Instant::now();
        let began = *self.watched_since.get_or_init(|| last);
        loop {
            sleep(BEAT).await;
            let took = last.elapsed();
            last = Instant::now();
            let late = took.saturating_sub(BEAT);
            if late > LATE_MAX {
                let ms = u64::try_from(late.as_millis()).unwrap_or(u64::MAX);
                self.stood_still_ms.fetch_add(ms, Ordering::Relaxed);
            }
            let ms = u64::try_from((last - began).as_millis()).unwrap_or(u64::MAX);
            self.last_beat_ms.store(ms, Ordering::Relaxed);
            // Time in which this process was suspended does not count for the server.
            let sight = Sight {
                answers: self.answers.load(Ordering::Relaxed),
                useful: self.useful.load(Ordering::Relaxed),
                silences: self.silences.load(Ordering::Relaxed),
                is_asked: self.out.load(Ordering::Relaxed) > 0,
            };
            silence.look(sight, took.min(BEAT + LATE_MAX));
            if silence.quiet >= AWAY_AFTER {
                self.away.store(true, Ordering::Relaxed);
                let seconds = AWAY_AFTER.as_secs();
                self.end(|| format!("the server has not answered for {seconds} s"));
            }
            if silence.busy >= BUSY_AFTER && !self.in_run.load(Ordering::Relaxed) {
                let seconds = BUSY_AFTER.as_secs();
                self.end(|| format!("the server has answered only 503 for {seconds} s"));
            }
        }
    }
}

/// What is counted, at one look.
#[derive(Clone, Copy, Debug, Default)]
struct Sight {
    answers: u64,
    useful: u64,
    silences: u64,
    is_asked: bool,
}

/// For how long there was no answer, or no useful one.
#[derive(Debug, Default)]
struct Silence {
    seen: Sight,
    quiet: Duration,
    busy: Duration,
}

impl Silence {
    fn look(&mut self, now: Sight, passed: Duration) {
        if now.answers != self.seen.answers {
            self.quiet = Duration::ZERO;
            self.busy += passed;
            if now.useful != self.seen.useful {
                self.busy = Duration::ZERO;
            }
            self.seen = now;
        } else if now.is_asked || now.silences != self.seen.silences {
            // Nobody who does not ask can be answered; who was not answered may be waiting to ask again.
            self.quiet += passed;
            self.busy += passed;
        } else {
            self.quiet = Duration::ZERO;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn after(looks: &[(u64, u64, u64, bool)]) -> (u64, u64) {
        let mut silence = Silence::default();
        for (answers, useful, silences, is_asked) in looks.iter().copied() {
            silence.look(Sight { answers, useful, silences, is_asked }, SECOND);
        }
        (silence.quiet.as_secs(), silence.busy.as_secs())
    }

    #[test]
    fn a_server_is_silent_only_while_somebody_asks() {
        assert_eq!(after(&[(5, 5, 0, true), (5, 5, 0, true), (5, 5, 0, true)]).0, 2);
        assert_eq!(after(&[(5, 5, 0, false), (5, 5, 0, false)]).0, 0, "all buyers are thinking");
        let refused = [(5, 5, 0, true), (5, 5, 9, false), (5, 5, 9, false)];
        assert_eq!(after(&refused).0, 2, "they were refused, and wait to dial again");
        assert_eq!(after(&[(5, 5, 9, false), (6, 6, 9, true)]).0, 0, "it came back");
    }

    #[test]
    fn a_server_is_busy_while_it_says_nothing_but_503() {
        assert_eq!(after(&[(1, 1, 0, true), (2, 1, 0, true), (3, 1, 0, true)]).1, 2);
        assert_eq!(after(&[(2, 1, 0, true), (3, 2, 0, true)]).1, 0);
        assert_eq!(after(&[(1, 0, 0, true), (1, 0, 0, false), (2, 0, 0, true)]).1, 2);
    }
}
