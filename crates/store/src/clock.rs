//! The one place that reads the wall clock.

use engine::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A source of the present time. Tests pass their own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The machine's clock, which never goes back within this process.
#[must_use]
pub fn wall() -> Clock {
    let latest_ms = AtomicI64::new(0);
    Arc::new(move || {
        #[expect(clippy::disallowed_methods, reason = "this is where the clock comes from")]
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ms = i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_unix_ms(latest_ms.fetch_max(ms, Ordering::Relaxed).max(ms))
    })
}
