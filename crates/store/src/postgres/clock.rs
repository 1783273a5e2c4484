//! An estimate of the database's clock, for those who cannot ask it.

use crate::Clock;
use engine::Timestamp;
use parking_lot::Mutex;
use std::time::Instant;

/// What the database's clock showed last, and when that was by the monotonic clock of this machine: so
/// the estimate does not follow when the machine's own clock is set.
pub(super) struct Estimate(Mutex<(Timestamp, Instant)>);

impl Estimate {
    /// The machine's clock, until the database's is known.
    pub(super) fn new(clock: &Clock) -> Self {
        Self(Mutex::new((clock(), Instant::now())))
    }

    /// What the database's clock shows now, as far as it is known.
    pub(super) fn now(&self) -> Timestamp {
        let (seen, at) = *self.0.lock();
        seen.plus_ms(i64::try_from(at.elapsed().as_millis()).unwrap_or(i64::MAX))
    }

    /// Takes note of what the database's clock showed a moment ago.
    pub(super) fn set(&self, seen: Timestamp) {
        *self.0.lock() = (seen, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};
    use std::time::Duration;

    const START_MS: i64 = 1_800_000_000_000;

    #[test]
    fn a_machine_whose_clock_is_set_estimates_the_databases_as_before() {
        let shown = Arc::new(AtomicI64::new(START_MS));
        let of = shown.clone();
        let clock: Clock = Arc::new(move || Timestamp::from_unix_ms(of.load(Ordering::SeqCst)));
        let estimate = Estimate::new(&clock);
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
}
