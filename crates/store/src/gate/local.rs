//! The in-process gate: for one instance, or for none to share with.

use super::{Gate, GateOptions, Settlement};
use async_trait::async_trait;
use engine::{Booking, BookingId, Fault, SectionId, Snapshot, Timestamp};
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Instant;

/// The most leases kept; later holds are read from the store.
pub const LEASES_MAX: usize = 100_000;
/// The most snapshots kept; when there are more, the lapsed ones go, and all if that is not enough.
pub const SNAPSHOTS_MAX: usize = 100_000;

/// Snapshots and leases in memory.
pub struct Local {
    options: GateOptions,
    snapshots: Mutex<HashMap<SectionId, (Snapshot, Instant)>>,
    leases: Mutex<Leases>,
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
        Self { options, snapshots: Mutex::default(), leases: Mutex::default() }
    }
}

#[async_trait]
impl Gate for Local {
    async fn read(&self, sections: &[SectionId]) -> Vec<Option<Snapshot>> {
        let fresh = self.options.fresh();
        let snapshots = self.snapshots.lock();
        let known = |section_id| {
            let (snapshot, checked_at) = snapshots.get(section_id)?;
            (checked_at.elapsed() <= fresh).then_some(*snapshot)
        };
        sections.iter().map(known).collect()
    }

    fn settle(&self, settlement: Settlement) {
        let fresh = self.options.fresh();
        {
            let mut snapshots = self.snapshots.lock();
            if snapshots.len() + settlement.snapshots.len() > SNAPSHOTS_MAX {
                snapshots.retain(|_, (_, checked_at)| checked_at.elapsed() <= fresh);
            }
            if snapshots.len() + settlement.snapshots.len() > SNAPSHOTS_MAX {
                // Forgetting is always safe: the store decides, and the next settle tells again.
                snapshots.clear();
            }
            for snapshot in settlement.snapshots {
                let checked = (snapshot, Instant::now());
                let entry = snapshots.entry(snapshot.section_id).or_insert(checked);
                let lapsed = entry.1.elapsed() > fresh;
                if lapsed || snapshot.replaces(&entry.0) {
                    *entry = checked;
                } else if snapshot.version == entry.0.version {
                    entry.1 = checked.1;
                }
            }
        }
        self.leases.lock().settle(settlement.bookings, settlement.now);
    }

    async fn forget(&self, sections: &[SectionId]) {
        let mut snapshots = self.snapshots.lock();
        for section_id in sections {
            snapshots.remove(section_id);
        }
    }

    async fn lease(&self, booking_id: BookingId) -> Option<Booking> {
        self.leases.lock().live.get(&booking_id).cloned()
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
            } else if self.by_end.len() < LEASES_MAX {
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
    }
}
