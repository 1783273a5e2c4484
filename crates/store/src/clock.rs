//! The one place that reads the wall clock.
//!
//! Time never goes back within a process, and never stops. When the machine's clock is set
//! back, whether by hand or because an earlier step forward was a mistake, time continues from its
//! last value by the monotonic clock, slightly slower than usual ([`SLOWER_BY`]), until the
//! machine's clock has caught up. A step forward is followed immediately, because a machine that
//! slept looks the same.

use engine::Timestamp;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A source of the present time. Tests pass their own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How long it is since some moment in the past, by a clock that nobody sets. Tests pass their own.
pub type Monotonic = Arc<dyn Fn() -> Duration + Send + Sync>;

/// While time is ahead of the machine's clock, one part in this number is left out: an hour is made
/// up for in 20 hours, and a hold of ten minutes lasts 32 s longer.
const SLOWER_BY: i64 = 20;
/// How far time must be ahead of the machine's clock to be worth a line in the log.
const AHEAD_TOLD_NS: i64 = 1_000_000_000;

/// The machine's clock, which never goes back within this process.
#[must_use]
pub fn wall() -> Clock {
    let flow = Mutex::new(None);
    Arc::new(move || {
        // Both are read under the lock: else an older reading could come after a newer one.
        let mut flow = flow.lock();
        let (shown_ns, now) = (machine_ns(), Instant::now());
        let flow = flow.get_or_insert_with(|| Flow::begin(shown_ns, now));
        if let Some(turn) = flow.go_on(shown_ns, now) {
            turn.tell();
        }
        Timestamp::from_unix_ms(flow.time_ns / 1_000_000)
    })
}

/// The machine's monotonic clock.
#[must_use]
pub fn monotonic() -> Monotonic {
    let begun = Instant::now();
    Arc::new(move || begun.elapsed())
}

/// What the machine's clock shows, whatever it showed before: to compare with, not to decide by.
#[must_use]
pub fn machine() -> Timestamp {
    Timestamp::from_unix_ms(machine_ns() / 1_000_000)
}

fn machine_ns() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "this is where the clock comes from")]
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    nanoseconds(since_1970)
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// Time, as far as it has come.
struct Flow {
    time_ns: i64,
    /// The monotonic clock at that moment.
    at: Instant,
    /// True if the log has a line that time is ahead of the machine's clock.
    is_ahead: bool,
}

/// What is logged.
#[derive(Debug, PartialEq, Eq)]
enum ClockChange {
    SetBack { ahead_ms: i64 },
    CaughtUp,
}

impl Flow {
    fn begin(shown_ns: i64, now: Instant) -> Self {
        Self { time_ns: shown_ns, at: now, is_ahead: false }
    }

    /// Goes on to `now`, at which the machine's clock shows `shown_ns`.
    fn go_on(&mut self, shown_ns: i64, now: Instant) -> Option<ClockChange> {
        let passed_ns = nanoseconds(now.saturating_duration_since(self.at));
        // Ahead by less than is left out here, it meets the machine's clock.
        let slowed_ns = self.time_ns.saturating_add(passed_ns - passed_ns / SLOWER_BY);
        (self.time_ns, self.at) = (shown_ns.max(slowed_ns), self.at.max(now));
        let ahead_ns = self.time_ns - shown_ns;
        if !self.is_ahead && ahead_ns >= AHEAD_TOLD_NS {
            self.is_ahead = true;
            return Some(ClockChange::SetBack { ahead_ms: ahead_ns / 1_000_000 });
        }
        if self.is_ahead && ahead_ns == 0 {
            self.is_ahead = false;
            return Some(ClockChange::CaughtUp);
        }
        None
    }
}

impl ClockChange {
    fn tell(&self) {
        match self {
            Self::SetBack { ahead_ms } => tracing::warn!(
                ahead_ms,
                "the machine's clock was set back: time continues from its last value, slightly \
                 slower"
            ),
            Self::CaughtUp => tracing::info!("the machine's clock has caught up"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;
    const HOUR: i64 = 3_600 * SECOND;
    const START: i64 = 1_800_000_000 * SECOND;

    /// A machine whose clock can be set, looked at once in `step_ns`.
    struct Machine {
        flow: Flow,
        begun: Instant,
        passed_ns: i64,
        /// By how much its clock is wrong.
        off_ns: i64,
        step_ns: i64,
        turns: Vec<ClockChange>,
    }

    impl Machine {
        fn new(step_ns: i64) -> Self {
            let begun = Instant::now();
            let flow = Flow::begin(START, begun);
            Self { flow, begun, passed_ns: 0, off_ns: 0, step_ns, turns: Vec::new() }
        }

        /// Lets time pass; returns how far it came by our clock.
        fn run(&mut self, for_ns: i64) -> i64 {
            let from = self.flow.time_ns;
            for _ in 0..for_ns / self.step_ns {
                self.passed_ns += self.step_ns;
                let before = self.flow.time_ns;
                let now = self.begun + Duration::from_nanos(self.passed_ns.unsigned_abs());
                let shown_ns = START + self.passed_ns + self.off_ns;
                self.turns.extend(self.flow.go_on(shown_ns, now));
                assert!(self.flow.time_ns > before, "time stands still or goes back");
            }
            self.flow.time_ns - from
        }

        fn ahead_of_clock(&self) -> i64 {
            self.flow.time_ns - (START + self.passed_ns + self.off_ns)
        }
    }

    #[test]
    fn time_is_what_the_machine_shows_and_small_corrections_are_told_to_nobody() {
        let mut machine = Machine::new(SECOND / 100);
        for off_ns in [0, SECOND / 5, -SECOND / 5, 0] {
            machine.off_ns = off_ns;
            machine.run(60 * SECOND);
            assert_eq!(machine.ahead_of_clock(), 0, "off by {off_ns}");
        }
        assert_eq!(machine.turns, []);
    }

    #[test]
    fn i5_a_clock_that_is_set_back_stops_no_hold_from_ending() {
        for (back, step) in [(60 * SECOND, 1_000_000), (HOUR, SECOND), (1_000 * HOUR, SECOND)] {
            let mut machine = Machine::new(step);
            machine.run(SECOND);
            machine.off_ns = -back;
            let came = machine.run(3 * SECOND);
            // A hold of 2 s has ended after 3 s, and none ends before its time.
            assert!((2 * SECOND..=3 * SECOND).contains(&came), "{came}");
            assert_eq!(came, 3 * SECOND - 3 * SECOND / SLOWER_BY);
            let [ClockChange::SetBack { ahead_ms }] = machine.turns[..] else {
                panic!("told {:?}", machine.turns);
            };
            assert!((back / 1_000_000 - 100..=back / 1_000_000).contains(&ahead_ms), "{ahead_ms}");
        }
    }

    #[test]
    fn a_step_forward_that_is_taken_back_leaves_time_going_and_is_made_up_for() {
        let mut machine = Machine::new(SECOND);
        machine.run(10 * SECOND);
        machine.off_ns = HOUR;
        assert_eq!(machine.run(10 * SECOND), HOUR + 10 * SECOND, "it is followed at once");
        machine.off_ns = 0;
        let came = machine.run(100 * SECOND);
        assert_eq!(came, 95 * SECOND);
        assert_eq!(machine.ahead_of_clock(), HOUR - 5 * SECOND);
        machine.run(20 * HOUR);
        assert_eq!(machine.ahead_of_clock(), 0);
        let [ClockChange::SetBack { .. }, ClockChange::CaughtUp] = machine.turns[..] else {
            panic!("told {:?}", machine.turns);
        };
        assert_eq!(machine.run(10 * SECOND), 10 * SECOND, "as if nothing had been");
    }

    #[test]
    fn a_machine_that_slept_is_followed() {
        // The monotonic clock stops meanwhile, the machine's does not.
        let mut machine = Machine::new(SECOND);
        machine.off_ns = 8 * HOUR;
        assert_eq!(machine.run(SECOND), 8 * HOUR + SECOND);
        assert_eq!(machine.ahead_of_clock(), 0);
        assert_eq!(machine.turns, []);
    }
}
