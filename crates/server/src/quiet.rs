//! Logs the same event at most once a second, however often it happens.

use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// How long a log line represents all others like it.
const PAUSE: Duration = Duration::from_secs(1);

/// When something was last said, and how often it has happened unsaid since.
pub struct SaidLately(Mutex<(Option<Instant>, u64)>);

impl SaidLately {
    /// Not said yet.
    pub const fn new() -> Self {
        Self(Mutex::new((None, 0)))
    }

    /// Whether to say it now: how often it has happened unsaid; `None` to keep silent.
    pub fn turn(&self) -> Option<u64> {
        let mut said = self.0.lock();
        if said.0.is_some_and(|at| at.elapsed() < PAUSE) {
            said.1 += 1;
            return None;
        }
        said.0 = Some(Instant::now());
        Some(std::mem::take(&mut said.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_often_is_said_once_and_counted() {
        let said = SaidLately::new();
        assert_eq!(said.turn(), Some(0));
        assert_eq!(said.turn(), None);
        assert_eq!(said.turn(), None);
        said.0.lock().0 = Instant::now().checked_sub(PAUSE);
        assert_eq!(said.turn(), Some(2));
    }
}
