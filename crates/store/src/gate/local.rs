//! The in-process gate: for one instance, or for none to share with.

use super::marks;
use super::{Gate, GateOptions, KnownMarks, Settlement};
use crate::Epoch;
use async_trait::async_trait;
use engine::{AnyId, CheckedSnapshot, Fault, SectionId, Snapshot};
use parking_lot::Mutex;
use std::collections::HashMap;
use tokio::sync::broadcast;
use tokio::time::Instant;

/// The maximum number of snapshots; beyond it, expired ones are evicted, and all if that is not
/// enough.
pub const SNAPSHOTS_MAX: usize = 100_000;
/// Announcements kept for a slow listener.
const ANNOUNCED_MAX: usize = 1_024;

/// Snapshots and marks in memory.
pub struct Local {
    options: GateOptions,
    started_at: Instant,
    snapshots: Mutex<HashMap<SectionId, CheckedSnapshot>>,
    marks: Mutex<marks::MarksCache>,
    announced: broadcast::Sender<AnyId>,
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
        let mut snapshots = self.snapshots.lock();
        if snapshots.len() + settlement.snapshots.len() > SNAPSHOTS_MAX {
            snapshots.retain(|_, kept| kept.is_fresh(now_ms, fresh_ms));
        }
        if snapshots.len() + settlement.snapshots.len() > SNAPSHOTS_MAX {
            // Dropping it is always safe: the store decides, and the next settlement sends it again.
            snapshots.clear();
        }
        for snapshot in settlement.snapshots {
            let held = snapshots.get(&snapshot.section_id).copied();
            let held = held.filter(|_| !crate::simulated::is_planted("settle without version"));
            let kept = CheckedSnapshot::settle(held, snapshot, now_ms, fresh_ms);
            snapshots.insert(snapshot.section_id, kept);
        }
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
    }

    fn announce(&self, id: AnyId) {
        // Nobody listens while nothing is cached.
        let _ = self.announced.send(id);
    }

    fn announcements(&self) -> broadcast::Receiver<AnyId> {
        self.announced.subscribe()
    }

    async fn tally(&self, _: &[(String, i64)], _: u64) -> Option<Vec<i64>> {
        None
    }

    async fn ping(&self) -> Result<(), Fault> {
        Ok(())
    }

    fn describe(&self) -> String {
        "in-process".to_owned()
    }
}
