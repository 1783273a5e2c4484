//! Marks as gates keep them: which seats of a section are not free, beside its snapshot.
//!
//! Marks change when a seat is taken or released; the inventory's version rises with everything, an
//! extension too. So marks are always sent with the version *through* which they are known to be
//! right:
//!
//! ```text
//! version   7         8          9          10        11
//!           hold C-1  extension  extension  sale C-1  …
//! marks     ├─ of 7: through 7 by its commit, through 9 by a read that began after 9 ─┤├─ of 10 …
//! ```
//! - A commit that changed seats sends its marks, valid through its own version.
//! - A read sends marks, valid through the newest version that was known to be committed before it
//!   began: had a seat changed until then, the marks it found would be of a later version.
//!
//! Marks refuse nothing by themselves. They speak beside a snapshot that is fresh and of a version at
//! which they are right ([`KnownMarks::belong_to`]): then both are one state of the section, with the end of
//! its next hold, and what is true of the snapshot's refusals is true of those of the marks (I8). So the
//! commits that check the snapshot again keep the marks fresh, also those that refused everything;
//! after an extension the marks say nothing until the next commit that changes seats, or until
//! somebody whom the store had to refuse has read them anew.
//!
//! Which marks are kept is decided as for snapshots: newer ones take the place of older ones, any take
//! that of lapsed ones, and the same version counts as checked again.

use engine::seats::Marks;
use engine::{SectionId, Snapshot};
use std::collections::HashMap;
use std::sync::Arc;

/// The maximum memory of marks in one process; beyond it, expired ones are evicted, and all
/// if that is not enough.
pub const MARKS_BYTES_MAX: usize = 64 << 20;
/// What an entry takes beside its bits.
const ENTRY_BYTES: usize = 320;

/// Marks of a section, and how long they were right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownMarks {
    /// The section.
    pub section_id: SectionId,
    /// Its marks.
    pub marks: Arc<Marks>,
    /// The newest version of the inventory at which they are known to be right.
    pub through: i64,
}

impl KnownMarks {
    /// Marks as a commit that changed them left them.
    #[must_use]
    pub fn committed(section_id: SectionId, marks: Marks) -> Self {
        let through = marks.version();
        Self { section_id, marks: Arc::new(marks), through }
    }

    /// Marks as they were read; `before` is a version that was committed before the read began.
    #[must_use]
    pub fn read(section_id: SectionId, marks: Arc<Marks>, before: Option<i64>) -> Self {
        let through = before.map_or(marks.version(), |before| before.max(marks.version()));
        Self { section_id, marks, through }
    }

    /// Whether these marks and `snapshot` are of one state of the section. The counters have to agree,
    /// so that marks of a store that was set back are not taken for those of another future.
    #[must_use]
    pub fn belong_to(&self, snapshot: &Snapshot) -> bool {
        if crate::simulated::is_planted("marks beside a foreign snapshot") {
            return true;
        }
        let right = self.marks.version()..=self.through;
        right.contains(&snapshot.version)
            && i64::from(self.marks.seats()) == snapshot.capacity
            && i64::from(self.marks.taken()) == snapshot.capacity - snapshot.available
    }

    /// The newer one; of the same marks, what is known of them for longer.
    #[must_use]
    pub fn newer(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        let age = |seen: &Self| (seen.marks.version(), seen.through);
        match (one, other) {
            (Some(one), Some(other)) => Some(if age(&other) > age(&one) { other } else { one }),
            (one, other) => one.or(other),
        }
    }

    fn bytes(&self) -> usize {
        ENTRY_BYTES + 3 * 8 * self.marks.seats().div_ceil(64) as usize
    }
}

/// Marks with the time of their last update, in milliseconds by one clock of the gate's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedMarks {
    /// The marks.
    pub seen: KnownMarks,
    /// The time of their last update.
    pub checked_at_ms: i64,
}

impl CheckedMarks {
    /// True if they were updated at most `fresh_ms` ago, and not in the future.
    #[must_use]
    pub fn is_fresh(&self, now_ms: i64, fresh_ms: i64) -> bool {
        (0..=fresh_ms).contains(&(now_ms - self.checked_at_ms))
    }

    /// What a gate keeps when it receives `new`.
    #[must_use]
    pub fn settle(held: Option<Self>, new: KnownMarks, now_ms: i64, fresh_ms: i64) -> Self {
        match held {
            Some(mut held)
                if held.is_fresh(now_ms, fresh_ms) && !new.marks.replaces(&held.seen.marks) =>
            {
                if new.marks.version() == held.seen.marks.version() {
                    // Other bits of the same version are of a store that was set back.
                    if new.marks != held.seen.marks {
                        return Self { seen: new, checked_at_ms: now_ms };
                    }
                    held.checked_at_ms = now_ms;
                    held.seen.through = held.seen.through.max(new.through);
                }
                held
            }
            _ => Self { seen: new, checked_at_ms: now_ms },
        }
    }
}

/// The marks that a process keeps.
#[derive(Default)]
pub(super) struct MarksCache {
    by_section: HashMap<SectionId, CheckedMarks>,
    bytes: usize,
}

impl MarksCache {
    pub fn get(&self, section_id: SectionId) -> Option<&CheckedMarks> {
        self.by_section.get(&section_id)
    }

    /// Takes note of marks.
    pub fn settle(&mut self, new: KnownMarks, now_ms: i64, fresh_ms: i64) {
        let (section_id, room) = (new.section_id, new.bytes());
        let held = self.forget(section_id);
        if self.bytes + room > MARKS_BYTES_MAX {
            self.by_section.retain(|_, kept| kept.is_fresh(now_ms, fresh_ms));
            self.bytes = self.by_section.values().map(|kept| kept.seen.bytes()).sum();
        }
        if self.bytes + room > MARKS_BYTES_MAX {
            // Dropping them is always safe: the store decides, and a reader that misses them reads
            // them from it.
            self.by_section.clear();
            self.bytes = 0;
        }
        let kept = CheckedMarks::settle(held, new, now_ms, fresh_ms);
        self.bytes += kept.seen.bytes();
        self.by_section.insert(section_id, kept);
    }

    /// Forgets a section.
    pub fn forget(&mut self, section_id: SectionId) -> Option<CheckedMarks> {
        let held = self.by_section.remove(&section_id)?;
        self.bytes -= held.seen.bytes();
        Some(held)
    }
}
