//! An estimate of the database's clock, for those who cannot ask it.

use crate::{Clock, Monotonic};
use engine::Timestamp;
use parking_lot::Mutex;
use std::time::Duration;

/// What the database's clock showed last, and when that was by the monotonic clock of this machine: so
/// the estimate does not follow when the machine's own clock is set.
///
/// A reading was taken before its answer arrived, so the estimate is behind the database's clock, by the
/// way of the answer, and not ahead of it while both clocks run alike.
pub struct Estimate {
    seen: Mutex<(Timestamp, Duration)>,
    monotonic: Monotonic,
}

impl Estimate {
    /// The machine's clock, until the database's is known.
    pub fn new(clock: &Clock, monotonic: Monotonic) -> Self {
        Self { seen: Mutex::new((clock(), monotonic())), monotonic }
    }

    /// What the database's clock shows now, as far as it is known.
    pub fn now(&self) -> Timestamp {
        let now = (self.monotonic)();
        gone_on(*self.seen.lock(), now)
    }

    /// Takes note of what the database's clock showed a moment ago.
    pub fn set(&self, seen: Timestamp) {
        *self.seen.lock() = (seen, (self.monotonic)());
    }

    /// The same for a reading that was longer on its way: of two, the one that is less behind counts.
    pub fn raise(&self, seen: Timestamp) {
        let now = (self.monotonic)();
        let mut known = self.seen.lock();
        if gone_on(*known, now) < seen {
            *known = (seen, now);
        }
    }
}

fn gone_on((seen, at): (Timestamp, Duration), now: Duration) -> Timestamp {
    seen.plus_ms(i64::try_from(now.saturating_sub(at).as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::monotonic;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

    const START_MS: i64 = 1_800_000_000_000;

    #[test]
    fn a_machine_whose_clock_is_set_estimates_the_databases_as_before() {
        let shown = Arc::new(AtomicI64::new(START_MS));
        let of = shown.clone();
        let clock: Clock = Arc::new(move || Timestamp::from_unix_ms(of.load(Ordering::SeqCst)));
        let estimate = Estimate::new(&clock, monotonic());
        let from_start = || estimate.now().since_ms(Timestamp::from_unix_ms(START_MS));
        assert!((0..5_000).contains(&from_start()), "its own, until the other is known");
        estimate.set(Timestamp::from_unix_ms(START_MS + 60_000));
        for set_ms in [START_MS + 3_600_000, START_MS - 3_600_000, 0] {
            shown.store(set_ms, Ordering::SeqCst);
            assert!((60_000..65_000).contains(&from_start()), "{}", from_start());
        }
        let before = estimate.now();
        std::thread::park_timeout(Duration::from_millis(20));
        assert!(estimate.now() > before, "it goes on by itself");
    }

    #[test]
    fn of_two_readings_the_one_that_is_less_behind_counts() {
        let passed = Arc::new(AtomicU64::new(0));
        let of = passed.clone();
        let at = |ms| Timestamp::from_unix_ms(START_MS + ms);
        let monotonic: Monotonic =
            Arc::new(move || Duration::from_millis(of.load(Ordering::SeqCst)));
        let estimate = Estimate::new(&(Arc::new(move || at(0)) as Clock), monotonic);
        passed.store(10, Ordering::SeqCst);
        estimate.raise(at(7));
        assert_eq!(estimate.now(), at(10), "what was seen before says that it is later");
        estimate.raise(at(12));
        passed.store(11, Ordering::SeqCst);
        assert_eq!(estimate.now(), at(13));
        estimate.set(at(5));
        assert_eq!(estimate.now(), at(5), "the database's clock was set back");
    }
}
