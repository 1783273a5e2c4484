//! An estimate of the database's clock, for those who cannot ask it.

use crate::Clock;
use engine::Timestamp;
use std::sync::atomic::{AtomicI64, Ordering};

/// This process's clock, and how far the database's is ahead of it.
pub(super) struct Estimate {
    clock: Clock,
    ahead_ms: AtomicI64,
}

impl Estimate {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, ahead_ms: AtomicI64::new(0) }
    }

    /// What the database's clock shows now, as far as it is known.
    pub(super) fn now(&self) -> Timestamp {
        (self.clock)().plus_ms(self.ahead_ms.load(Ordering::Relaxed))
    }

    /// Takes note of what the database's clock showed a moment ago.
    pub(super) fn set(&self, seen: Timestamp) {
        self.ahead_ms.store(seen.since_ms((self.clock)()), Ordering::Relaxed);
    }
}
