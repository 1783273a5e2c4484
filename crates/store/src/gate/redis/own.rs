//! What this instance has settled itself in the last `fresh_ms`.
//!
//! It serves three ends: an instance sees its own commits at once, whatever the way to Redis takes;
//! while Redis is away it still knows for a moment what is sold out; and what waits to be sent is
//! merged here, the newest version of each section. All of it lapses by itself; marks are kept while there
//! is room, since they belong to a snapshot that does.

use super::super::marks::{self, CheckedMarks};
use super::super::{GateOptions, KnownMarks, Settlement};
use engine::{CheckedSnapshot, SectionId, Snapshot};
use std::collections::{HashMap, HashSet, VecDeque};

/// The maximum number of remembered sections.
const SECTIONS_MAX: usize = 100_000;
/// The maximum number of settlement records; beyond it, all are dropped.
const NOTES_MAX: usize = 500_000;

/// What was settled, by the link's clock, and what of it was not sent yet.
pub struct Own {
    fresh_ms: i64,
    snapshots: HashMap<SectionId, CheckedSnapshot>,
    marks: marks::MarksCache,
    unsent_sections: HashSet<SectionId>,
    unsent_marks: HashSet<SectionId>,
    /// When each snapshot was settled, in that order.
    notes: VecDeque<(i64, SectionId)>,
    dropped: u64,
}

/// What is to be sent.
#[derive(Default)]
pub struct Unsent {
    /// Snapshots.
    pub snapshots: Vec<CheckedSnapshot>,
    /// Marks.
    pub marks: Vec<CheckedMarks>,
}

impl Own {
    /// With nothing in it.
    #[must_use]
    pub fn new(options: GateOptions) -> Self {
        Self {
            fresh_ms: options.fresh_ms(),
            snapshots: HashMap::new(),
            marks: marks::MarksCache::default(),
            unsent_sections: HashSet::new(),
            unsent_marks: HashSet::new(),
            notes: VecDeque::new(),
            dropped: 0,
        }
    }

    /// Remembers a settlement, and that it is to be sent.
    pub fn settle(&mut self, settlement: Settlement, now_ms: i64) {
        self.lapse(now_ms);
        for snapshot in settlement.snapshots {
            let section_id = snapshot.section_id;
            let held = self.snapshots.get(&section_id).copied();
            if held.is_none() && self.snapshots.len() >= SECTIONS_MAX {
                self.dropped += 1;
                continue;
            }
            let held = held.filter(|_| !crate::simulated::is_planted("settle without version"));
            let kept = CheckedSnapshot::settle(held, snapshot, now_ms, self.fresh_ms);
            self.snapshots.insert(section_id, kept);
            self.unsent_sections.insert(section_id);
            self.notes.push_back((now_ms, section_id));
        }
        for seen in settlement.marks {
            self.unsent_marks.insert(seen.section_id);
            self.marks.settle(seen, now_ms, self.fresh_ms);
        }
    }

    /// Forgets what has lapsed; what of it was not sent is dropped.
    fn lapse(&mut self, now_ms: i64) {
        if self.notes.len() > NOTES_MAX {
            // Dropping it is always safe: the store decides, and the next settlement sends it
            // again.
            self.dropped += self.unsent_sections.len() as u64;
            self.snapshots.clear();
            self.unsent_sections.clear();
            self.notes.clear();
        }
        let fresh_ms = self.fresh_ms;
        let lapsed = |kept: &CheckedSnapshot| !kept.is_fresh(now_ms, fresh_ms);
        while let Some((_, id)) = self.notes.pop_front_if(|(at, _)| now_ms - *at > fresh_ms) {
            let was_unsent = self.snapshots.get(&id).is_some_and(lapsed)
                && self.snapshots.remove(&id).is_some()
                && self.unsent_sections.remove(&id);
            self.dropped += u64::from(was_unsent);
        }
    }

    /// The fresh snapshot of a section.
    #[must_use]
    pub fn snapshot(&self, section_id: SectionId, now_ms: i64) -> Option<Snapshot> {
        let kept = self.snapshots.get(&section_id)?;
        kept.is_fresh(now_ms, self.fresh_ms).then_some(kept.snapshot)
    }

    /// The newest marks of a section that were settled here.
    #[must_use]
    pub fn marks(&self, section_id: SectionId) -> Option<KnownMarks> {
        self.marks.get(section_id).map(|kept| kept.seen.clone())
    }

    /// Forgets a section.
    pub fn forget(&mut self, section_id: SectionId) {
        self.snapshots.remove(&section_id);
        self.unsent_sections.remove(&section_id);
        self.marks.forget(section_id);
        self.unsent_marks.remove(&section_id);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.snapshots.clear();
        self.marks = marks::MarksCache::default();
        self.unsent_sections.clear();
        self.unsent_marks.clear();
        self.notes.clear();
    }

    /// What is to be sent now, and is not any more.
    pub fn take_unsent(&mut self, now_ms: i64) -> Unsent {
        self.lapse(now_ms);
        let sections = self.unsent_sections.drain();
        let mut marks = Vec::with_capacity(self.unsent_marks.len());
        for section_id in self.unsent_marks.drain() {
            match self.marks.get(section_id) {
                Some(kept) if kept.is_fresh(now_ms, self.fresh_ms) => marks.push(kept.clone()),
                _ => self.dropped += 1,
            }
        }
        Unsent {
            snapshots: sections.filter_map(|id| self.snapshots.get(&id).copied()).collect(),
            marks,
        }
    }

    /// How many snapshots and marks were never sent: too many, or too late.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}
