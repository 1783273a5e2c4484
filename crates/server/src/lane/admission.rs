//! Admission: whether one more hold may wait in a lane.
//!
//! A burst may queue: it is served in its order, as long as nobody in it would wait for more than
//! [`BURST_WAIT_MAX`]. A queue that persists for [`STANDING_MAX`] is no burst: the load exceeds the
//! capacity of the lane, and a longer queue only means longer waits for all. From then on the lane
//! sheds load: it queues as many holds as fit into the next batch next to its confirms, and refuses
//! others immediately. An accepted hold then waits for the current batch and its own, as under any
//! full load, and the batches stay full. Shedding ends when no hold had to be refused for [`CALM`].
//!
//! Confirms and other urgent commands are not limited here: they have their own queue and their own
//! share of each batch.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use store::simulated::{is_planted, probe};
use tokio::time::Instant;

/// How long a hold may be expected to wait while a burst is worked off.
pub const BURST_WAIT_MAX: Duration = Duration::from_secs(2);
/// How long a queue can persist before it counts as overload of the lane.
pub const STANDING_MAX: Duration = Duration::from_millis(250);
/// How long no hold must have been refused before bursts are welcome again.
pub const CALM: Duration = Duration::from_secs(1);

/// What a lane knows of its own pace. Submitters read it, the lane writes it.
///
/// Instants are in microseconds since it was made; 0 is never.
pub struct Admission {
    made_at: Instant,
    /// Commands in one batch.
    batch_max: usize,
    /// How long a batch takes, smoothed.
    batch_us: AtomicU64,
    standing_since: AtomicU64,
    /// When the last hold was refused, or the shedding began.
    shed_at: AtomicU64,
    /// True if the shedding has been logged.
    told: AtomicBool,
    /// How many holds the last batch had room for.
    room: AtomicUsize,
}

/// What has changed for the one who reads the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shedding {
    /// More comes than the lane carries.
    Began,
    /// Nobody had to be refused for a while.
    Ended,
}

impl Admission {
    /// A lane that has done nothing yet.
    pub fn new(batch_max: usize, now: Instant) -> Self {
        Self {
            made_at: now,
            batch_max,
            batch_us: AtomicU64::new(0),
            standing_since: AtomicU64::new(0),
            shed_at: AtomicU64::new(0),
            told: AtomicBool::new(false),
            room: AtomicUsize::new(batch_max),
        }
    }

    /// Whether a hold may join `waiting` others.
    pub fn admits(&self, waiting: usize, now: Instant) -> bool {
        let welcome = if self.is_shedding() {
            waiting < self.room.load(Relaxed)
        } else {
            self.expected_wait(waiting) <= BURST_WAIT_MAX
        };
        if !welcome {
            self.shed_at.store(self.us(now), Relaxed);
        }
        welcome
    }

    /// The lane has taken a batch with room for this number of holds, and left `left` of them
    /// waiting.
    pub fn taken(&self, room: usize, left: usize, now: Instant) -> Option<Shedding> {
        self.room.store(room, Relaxed);
        let now = self.us(now);
        if left == 0 {
            self.standing_since.store(0, Relaxed);
        } else {
            let _ = self.standing_since.compare_exchange(0, now, Relaxed, Relaxed);
        }
        let since = |begun: u64| Duration::from_micros(now.saturating_sub(begun));
        let shed_at = self.shed_at.load(Relaxed);
        let standing_since = self.standing_since.load(Relaxed);
        if shed_at == 0 && standing_since != 0 && since(standing_since) > STANDING_MAX {
            self.shed_at.store(now, Relaxed);
        } else if shed_at != 0
            && left == 0
            && since(shed_at) > CALM
            && !is_planted("shedding never ends")
        {
            probe("shedding ends");
            self.shed_at.store(0, Relaxed);
        }
        let shedding = self.is_shedding();
        let turned = self.told.swap(shedding, Relaxed) != shedding;
        turned.then_some(if shedding { Shedding::Began } else { Shedding::Ended })
    }

    /// A batch took so long.
    pub fn committed(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let smoothed = self.batch_us.load(Relaxed);
        let next = if smoothed == 0 { took } else { smoothed / 4 * 3 + took / 4 };
        self.batch_us.store(next, Relaxed);
    }

    fn is_shedding(&self) -> bool {
        self.shed_at.load(Relaxed) != 0
    }

    /// How long a hold behind `waiting` others waits until it is taken.
    fn expected_wait(&self, waiting: usize) -> Duration {
        let batches = u64::try_from(waiting / self.batch_max).unwrap_or(u64::MAX);
        Duration::from_micros(self.batch_us.load(Relaxed).saturating_mul(batches))
    }

    fn us(&self, now: Instant) -> u64 {
        let us = now.saturating_duration_since(self.made_at).as_micros();
        u64::try_from(us).unwrap_or(u64::MAX).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BATCH_MAX, QUEUE_MAX};
    use super::*;

    const BATCH: Duration = Duration::from_millis(20);

    fn paced() -> (Admission, Instant) {
        let now = Instant::now();
        let admission = Admission::new(BATCH_MAX, now);
        admission.committed(BATCH);
        (admission, now)
    }

    #[test]
    fn a_burst_may_queue_as_long_as_it_is_served_in_time() {
        let (admission, now) = paced();
        let served = BATCH_MAX * 100;
        assert!(admission.admits(0, now));
        assert!(admission.admits(served, now), "two seconds of batches");
        assert_eq!(admission.taken(BATCH_MAX, served, now), None);
        assert_eq!(
            admission.taken(BATCH_MAX, served, now + STANDING_MAX),
            None,
            "it may be a burst yet"
        );
        assert!(!admission.admits(served + BATCH_MAX, now), "it would wait for longer");
        assert!(!admission.admits(BATCH_MAX, now), "and newcomers do not make it longer");
        assert_eq!(admission.taken(BATCH_MAX, served, now), Some(Shedding::Began));
    }

    #[test]
    fn a_queue_that_stands_is_cut_to_one_batch() {
        let (admission, begun) = paced();
        let late = begun + STANDING_MAX + Duration::from_millis(2);
        assert_eq!(admission.taken(BATCH_MAX, 9, begun), None);
        assert_eq!(admission.taken(BATCH_MAX, 9, late), Some(Shedding::Began));
        assert!(admission.admits(BATCH_MAX - 1, late));
        assert!(!admission.admits(BATCH_MAX, late));
    }

    #[test]
    fn a_queue_that_drains_between_bursts_never_sheds() {
        let (admission, mut now) = paced();
        for _ in 0..100 {
            assert_eq!(admission.taken(BATCH_MAX, 5_000, now), None);
            now += STANDING_MAX / 2;
            assert_eq!(admission.taken(BATCH_MAX, 0, now), None);
            now += STANDING_MAX / 2;
        }
        assert!(admission.admits(BATCH_MAX, now));
    }

    #[test]
    fn it_ends_when_nobody_was_refused_for_a_while() {
        let (admission, begun) = paced();
        admission.taken(BATCH_MAX, 1, begun);
        let began = begun + STANDING_MAX * 2;
        assert_eq!(admission.taken(BATCH_MAX, 1, began), Some(Shedding::Began));
        let refused = began + CALM / 2;
        assert!(!admission.admits(BATCH_MAX, refused));
        assert_eq!(
            admission.taken(BATCH_MAX, 0, began + CALM + BATCH),
            None,
            "one was refused since"
        );
        let calm = refused + CALM + BATCH;
        assert_eq!(admission.taken(BATCH_MAX, 0, calm), Some(Shedding::Ended));
        assert!(admission.admits(BATCH_MAX, calm));
    }

    #[test]
    fn nobody_who_is_admitted_waits_for_a_second_batch_because_of_confirms() {
        let (admission, begun) = paced();
        admission.taken(BATCH_MAX, 1, begun);
        let late = begun + STANDING_MAX * 2;
        assert_eq!(admission.taken(BATCH_MAX - 100, 1, late), Some(Shedding::Began));
        assert!(admission.admits(BATCH_MAX - 101, late));
        assert!(!admission.admits(BATCH_MAX - 100, late));
    }

    #[test]
    fn a_lane_that_has_committed_nothing_admits() {
        let now = Instant::now();
        assert!(Admission::new(BATCH_MAX, now).admits(QUEUE_MAX, now));
    }
}
