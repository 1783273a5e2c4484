//! The in-process gate: for one instance, or for none to share with.

use super::marks;
use super::{Gate, GateOptions, KnownMarks, Settlement};
use crate::Epoch;
use async_trait::async_trait;
use engine::{Booking, BookingId, CheckedSnapshot, EventId, Fault, SectionId, Snapshot, Timestamp};
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Instant;
use tokio::sync::broadcast;

/// The maximum number of leases; later holds are read from the store.
pub const LEASES_MAX: usize = 100_000;
/// Ends of holds that may be left over, beside as many as there are leases.
const ENDS_SPARE: usize = 1_024;
/// The maximum number of snapshots; beyond it, expired ones are evicted, and all if that is not
/// enough.
pub const SNAPSHOTS_MAX: usize = 100_000;
/// Announcements kept for a slow listener.
const ANNOUNCED_MAX: usize = 1_024;

/// Snapshots, marks and leases in memory.
pub struct Local {
    options: GateOptions,
    started_at: Instant,
    snapshots: Mutex<HashMap<SectionId, CheckedSnapshot>>,
    marks: Mutex<marks::MarksCache>,
    leases: Mutex<Leases>,
    announced: broadcast::Sender<EventId>,
}

#[derive(Default)]
struct Leases {
    live: HashMap<BookingId, Booking>,
    by_end: BinaryHeap<Reverse<(Timestamp, BookingId)>>,
}

impl Local {
    /// An empty gate.
    #[must_use]
    pub fn new(options: GateOptions) -> Self {
        Self {
            options,
            started_at: Instant::now(),
            snapshots: Mutex::default(),
            marks: Mutex::default(),
            leases: Mutex::default(),
            announced: broadcast::channel(ANNOUNCED_MAX).0,
        }
    }

    /// This gate's clock.
    fn now_ms(&self) -> i64 {
        i64::try_from(self.started_at.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

#[async_trait]
impl Gate for Local {
    async fn read(&self, sections: &[SectionId]) -> Vec<Option<Snapshot>> {
        self.recall(sections)
    }

    fn recall(&self, sections: &[SectionId]) -> Vec<Option<Snapshot>> {
        let (now_ms, fresh_ms) = (self.now_ms(), self.options.fresh_ms());
        let snapshots = self.snapshots.lock();
        let known = |section_id| {
            let kept: &CheckedSnapshot = snapshots.get(section_id)?;
            kept.is_fresh(now_ms, fresh_ms).then_some(kept.snapshot)
        };
        sections.iter().map(known).collect()
    }

    fn recall_marks(&self, sections: &[SectionId]) -> Vec<Option<KnownMarks>> {
        let marks = self.marks.lock();
        sections.iter().map(|id| marks.get(*id).map(|kept| kept.seen.clone())).collect()
    }

    fn settle(&self, settlement: Settlement) {
        let (now_ms, fresh_ms) = (self.now_ms(), self.options.fresh_ms());
        // Marks first: a reader that finds a snapshot also finds the marks that belong to it.
        if !settlement.marks.is_empty() {
            let mut marks = self.marks.lock();
            for seen in settlement.marks {
                marks.settle(seen, now_ms, fresh_ms);
            }
        }
        {
            let mut snapshots = self.snapshots.lock();
            if snapshots.len() + settlement.snapshots.len() > SNAPSHOTS_MAX {
                snapshots.retain(|_, kept| kept.is_fresh(now_ms, fresh_ms));
            }
            if snapshots.len() + settlement.snapshots.len() > SNAPSHOTS_MAX {
                // Dropping it is always safe: the store decides, and the next settlement sends it
                // again.
                snapshots.clear();
            }
            for snapshot in settlement.snapshots {
                let held = snapshots.get(&snapshot.section_id).copied();
                let kept = CheckedSnapshot::settle(held, snapshot, now_ms, fresh_ms);
                snapshots.insert(snapshot.section_id, kept);
            }
        }
        self.leases.lock().settle(settlement.bookings, settlement.now);
    }

    async fn forget(&self, sections: &[SectionId]) {
        let (mut snapshots, mut marks) = (self.snapshots.lock(), self.marks.lock());
        for section_id in sections {
            snapshots.remove(section_id);
            marks.forget(*section_id);
        }
    }

    fn enter(&self, _: Epoch) {
        self.snapshots.lock().clear();
        *self.marks.lock() = marks::MarksCache::default();
        *self.leases.lock() = Leases::default();
    }

    async fn lease(&self, booking_id: BookingId) -> Option<Booking> {
        self.leases.lock().live.get(&booking_id).cloned()
    }

    fn announce(&self, event_id: EventId) {
        // Nobody listens while nothing is cached.
        let _ = self.announced.send(event_id);
    }

    fn announcements(&self) -> broadcast::Receiver<EventId> {
        self.announced.subscribe()
    }

    async fn tally(&self, _: &[(String, u32)], _: u64) -> Option<Vec<u64>> {
        None
    }

    async fn ping(&self) -> Result<(), Fault> {
        Ok(())
    }

    fn describe(&self) -> String {
        "in-process".to_owned()
    }
}

impl Leases {
    fn settle(&mut self, bookings: Vec<Booking>, now: Timestamp) {
        for booking in bookings {
            let booking_id = booking.booking_id;
            if !Settlement::is_leased(&booking) {
                self.live.remove(&booking_id);
            } else if let Some(lease) = self.live.get_mut(&booking_id) {
                *lease = booking;
            } else if self.live.len() < LEASES_MAX {
                self.by_end.push(Reverse((booking.expires_at, booking_id)));
                self.live.insert(booking_id, booking);
            }
        }
        // A lease goes with its hold; an extended one is kept until its new end.
        while let Some(Reverse((ends_at, booking_id))) = self.by_end.peek().copied() {
            if ends_at > now {
                break;
            }
            self.by_end.pop();
            match self.live.get(&booking_id).map(|lease| lease.expires_at) {
                Some(later) if later > now => self.by_end.push(Reverse((later, booking_id))),
                Some(_) => drop(self.live.remove(&booking_id)),
                None => {}
            }
        }
        // Holds that were confirmed or cancelled leave their ends behind. Each is moved here once for
        // every time that their number doubles.
        if self.by_end.len() > 2 * self.live.len() + ENDS_SPARE {
            let end = |(booking_id, lease): (&BookingId, &Booking)| {
                Reverse((lease.expires_at, *booking_id))
            };
            self.by_end = self.live.iter().map(end).collect();
        }
    }
}
