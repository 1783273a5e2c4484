//! The pulse: whether the store and the gate respond, for probes, people and alarms.
//!
//! One question at a time is asked of each, and its answer serves all who want to know for
//! [`FRESH`]: a flood of health checks costs the database two small reads a second. A loop asks
//! every [`WATCH_INTERVAL`], so the metrics are current also without other checks.

use crate::metrics::Metrics;
use engine::Fault;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::{Gate, Instance};
use tokio::sync::Mutex;

/// Timeout of the check that a store or a gate responds.
const PING_TIMEOUT: Duration = Duration::from_secs(1);
/// How long an answer serves all who ask.
const FRESH: Duration = Duration::from_millis(500);
/// How often a task asks, so that the meters are right.
pub const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// What a process knows of the systems it depends on.
pub struct Pulse {
    store: Arc<dyn Instance>,
    gate: Arc<dyn Gate>,
    of_store: Last,
    of_gate: Last,
}

impl Pulse {
    /// Nothing is known yet.
    pub fn new(store: Arc<dyn Instance>, gate: Arc<dyn Gate>) -> Self {
        let of_store = Last::new(Metrics::store_up, |trouble| {
            if let Some(error) = trouble {
                tracing::warn!(
                    error,
                    "the store does not respond: requests that need it are refused"
                );
            } else {
                tracing::info!("the store responds again");
            }
        });
        let of_gate = Last::new(Metrics::gate_up, |trouble| {
            if let Some(error) = trouble {
                tracing::warn!(error, "the gate does not respond: slower, never wrong");
            } else {
                tracing::info!("the gate responds again");
            }
        });
        Self { store, gate, of_store, of_gate }
    }

    /// Whether the store answers.
    pub async fn store_is_up(&self) -> bool {
        self.of_store.or_ask(self.store.ping()).await
    }

    /// Whether the gate answers.
    pub async fn gate_is_up(&self) -> bool {
        self.of_gate.or_ask(self.gate.ping()).await
    }

    /// Asks both, and compares the clocks.
    pub async fn ask(&self) {
        tokio::join!(self.store_is_up(), self.gate_is_up());
        Metrics::clock_ahead(self.store.now().since_ms(store::clock::machine()));
    }
}

/// The last answer of one part.
struct Last {
    answered: Mutex<Option<(Instant, bool)>>,
    meter: fn(bool),
    /// Logs a change: why it does not answer, or nothing when it answers again.
    tell: fn(Option<&str>),
}

impl Last {
    fn new(meter: fn(bool), tell: fn(Option<&str>)) -> Self {
        Self { answered: Mutex::new(None), meter, tell }
    }

    /// The last answer while it is fresh, else that of `ping`, which all who come meanwhile await.
    async fn or_ask(&self, ping: impl Future<Output = Result<(), Fault>>) -> bool {
        let mut answered = self.answered.lock().await;
        if let Some((at, up)) = *answered
            && at.elapsed() < FRESH
        {
            return up;
        }
        let trouble = match tokio::time::timeout(PING_TIMEOUT, ping).await {
            Ok(Ok(())) => None,
            Ok(Err(fault)) => Some(crate::chain(&fault)),
            Err(_) => Some(format!("no answer within {} ms", PING_TIMEOUT.as_millis())),
        };
        let was_up = answered.is_none_or(|(_, up)| up);
        let up = trouble.is_none();
        if up != was_up {
            (self.tell)(trouble.as_deref());
        }
        *answered = Some((Instant::now(), up));
        (self.meter)(up);
        up
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn last() -> Last {
        Last::new(|_| (), |_| ())
    }

    #[tokio::test]
    async fn a_flood_of_questions_is_one_ping() {
        let (last, pings) = (last(), AtomicUsize::new(0));
        let ping = || async {
            pings.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok(())
        };
        let asked = futures_util::future::join_all((0..1_000).map(|_| last.or_ask(ping()))).await;
        assert!(asked.iter().all(|up| *up));
        assert_eq!(pings.load(Ordering::SeqCst), 1);
        // What has lapsed is asked again.
        last.answered.lock().await.as_mut().expect("answered").0 -= FRESH;
        assert!(last.or_ask(ping()).await);
        assert_eq!(pings.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn no_answer_is_down_after_a_second_for_all_who_wait() {
        let last = last();
        let begun = Instant::now();
        let never = || std::future::pending::<Result<(), Fault>>();
        let asked = futures_util::future::join_all((0..10).map(|_| last.or_ask(never()))).await;
        assert!(asked.iter().all(|up| !up));
        assert!(begun.elapsed() < PING_TIMEOUT * 2, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn who_gives_up_waiting_does_not_keep_the_others_from_asking() {
        let last = last();
        let never = std::future::pending::<Result<(), Fault>>();
        let gave_up = tokio::time::timeout(Duration::from_millis(10), last.or_ask(never)).await;
        assert!(gave_up.is_err());
        assert!(last.or_ask(std::future::ready(Ok(()))).await);
    }
}
