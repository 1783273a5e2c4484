//! When requests are meant to begin.
//!
//! A closed loop sends the next request when the last was answered. An open loop sends at intended
//! instants, `rate` of them a second, whatever became of the ones before: an arrival that finds no free
//! connection waits, and its latency counts from the instant it was meant for. At most `backlog`
//! arrivals wait; the oldest beyond that are dropped, and counted.
//!
//! Nobody dispatches: free connections take arrivals from a counter, and the waiting ones are those that
//! are due and not yet taken.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How a stream of requests is paced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// The next when the last is answered.
    Closed,
    /// At the intended instants.
    Open {
        /// Arrivals a second.
        rate: f64,
        /// Arrivals that may wait for a connection.
        backlog: u64,
    },
}

/// The right to send one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Counts from 0 over all connections.
    pub ticket: u64,
    /// When it is meant to begin, since the start. `None`: at once.
    pub due: Option<Duration>,
}

/// Hands out the turns of one stream.
#[derive(Debug)]
pub struct Schedule {
    pace: Pace,
    next: AtomicU64,
    limit: u64,
    dropped: AtomicU64,
}

impl Schedule {
    /// At most `limit` turns, dropped ones included.
    pub fn new(pace: Pace, limit: u64) -> Self {
        Self { pace, next: AtomicU64::new(0), limit, dropped: AtomicU64::new(0) }
    }

    /// The next turn when `elapsed` has passed since the start; `None` after the last.
    pub fn take(&self, elapsed: Duration) -> Option<Turn> {
        let Pace::Open { rate, backlog } = self.pace else {
            let ticket = self.next.fetch_add(1, Ordering::Relaxed);
            return (ticket < self.limit).then_some(Turn { ticket, due: None });
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let due_so_far = (elapsed.as_secs_f64() * rate) as u64 + 1;
        let oldest = due_so_far.saturating_sub(backlog.saturating_add(1));
        let mut next = self.next.load(Ordering::Relaxed);
        loop {
            let ticket = next.max(oldest).min(self.limit);
            let taken = self.next.compare_exchange_weak(
                next,
                ticket.saturating_add(1),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match taken {
                Ok(_) => {
                    self.dropped.fetch_add(ticket.saturating_sub(next), Ordering::Relaxed);
                    let due = Duration::from_secs_f64(ticket as f64 / rate);
                    return (ticket < self.limit).then_some(Turn { ticket, due: Some(due) });
                }
                Err(changed) => next = changed,
            }
        }
    }

    /// Arrivals that nobody could take in time.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due_ms(schedule: &Schedule, elapsed_ms: u64) -> Option<(u64, u128)> {
        let turn = schedule.take(Duration::from_millis(elapsed_ms))?;
        Some((turn.ticket, turn.due?.as_millis()))
    }

    #[test]
    fn a_closed_loop_counts_up_to_its_limit() {
        let schedule = Schedule::new(Pace::Closed, 2);
        assert_eq!(schedule.take(Duration::ZERO), Some(Turn { ticket: 0, due: None }));
        assert_eq!(schedule.take(Duration::ZERO), Some(Turn { ticket: 1, due: None }));
        assert_eq!(schedule.take(Duration::ZERO), None);
        assert_eq!(schedule.dropped(), 0);
    }

    #[test]
    fn arrivals_keep_their_instants_while_they_wait() {
        let schedule = Schedule::new(Pace::Open { rate: 100.0, backlog: 5 }, u64::MAX);
        assert_eq!(due_ms(&schedule, 0), Some((0, 0)));
        // Ahead of time: the taker sleeps until then.
        assert_eq!(due_ms(&schedule, 0), Some((1, 10)));
        // Late: it counts from when it was meant.
        assert_eq!(due_ms(&schedule, 50), Some((2, 20)));
        assert_eq!(schedule.dropped(), 0);
    }

    #[test]
    fn beyond_the_backlog_the_oldest_are_dropped_and_counted() {
        let schedule = Schedule::new(Pace::Open { rate: 1_000.0, backlog: 10 }, u64::MAX);
        assert_eq!(due_ms(&schedule, 0), Some((0, 0)));
        // 101 are due; one is taken now and ten may wait behind it.
        assert_eq!(due_ms(&schedule, 100), Some((90, 90)));
        assert_eq!(schedule.dropped(), 89);
        assert_eq!(due_ms(&schedule, 100), Some((91, 91)));
        assert_eq!(schedule.dropped(), 89);
    }

    #[test]
    fn an_open_loop_ends_at_its_limit() {
        let schedule = Schedule::new(Pace::Open { rate: 1_000.0, backlog: 0 }, 50);
        assert_eq!(due_ms(&schedule, 10_000), None);
        assert_eq!(schedule.dropped(), 50);
        assert_eq!(due_ms(&schedule, 10_000), None);
    }
}
