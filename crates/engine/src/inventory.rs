//! Inventory: the counters of a section, and what the gate knows of them.
//!
//! I1: `held`, `sold` and `blocked` are never negative and never exceed `capacity` together. Every
//! change goes through [`Inventory::apply`], which asserts it; both stores check it again.

use crate::ids::{EventId, SectionId};
use crate::log::Deltas;
use crate::time::Timestamp;

/// The counters of a section. `version` rises with every change of a counter or of any `expires_at`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inventory {
    /// The section.
    pub section_id: SectionId,
    /// The event it belongs to.
    pub event_id: EventId,
    /// How many seats there are.
    pub capacity: i64,
    /// How many of them are in live holds.
    pub held: i64,
    /// How many are confirmed.
    pub sold: i64,
    /// How many the organizer keeps off sale.
    pub blocked: i64,
    /// How many changes the section has seen.
    pub version: i64,
    /// When the next live hold ends, as of the last commit.
    pub next_expiry: Option<Timestamp>,
}

impl Inventory {
    /// The inventory of a section nobody has opened yet: no seats, version 0.
    #[must_use]
    pub fn empty(section_id: SectionId, event_id: EventId) -> Self {
        Self {
            section_id,
            event_id,
            capacity: 0,
            held: 0,
            sold: 0,
            blocked: 0,
            version: 0,
            next_expiry: None,
        }
    }

    /// Seats that can be held now.
    #[must_use]
    pub fn available(&self) -> i64 {
        self.capacity - self.held - self.sold - self.blocked
    }

    /// The smallest capacity the section may be given.
    #[must_use]
    pub fn in_use(&self) -> i64 {
        self.held + self.sold + self.blocked
    }

    /// Whether I1 holds.
    #[must_use]
    pub fn within_capacity(&self) -> bool {
        self.held >= 0 && self.sold >= 0 && self.blocked >= 0 && self.in_use() <= self.capacity
    }

    /// Changes the counters by `deltas` and raises the version by one.
    ///
    /// # Panics
    /// When I1 would no longer hold: the caller decided wrongly, and nothing may be written.
    pub fn apply(&mut self, deltas: Deltas) {
        self.add(deltas);
        assert!(self.within_capacity(), "I1 is broken by {deltas:?}: {self:?}");
    }

    /// [`Self::apply`] without the assert, for an audit that reports what it finds.
    pub(crate) fn add(&mut self, deltas: Deltas) {
        self.capacity += deltas.capacity;
        self.held += deltas.held;
        self.sold += deltas.sold;
        self.blocked += deltas.blocked;
        self.version += 1;
    }

    /// Adds the sums of further rows of the log to a fold of the earlier ones.
    pub fn merge(&mut self, further: &Self) {
        self.capacity += further.capacity;
        self.held += further.held;
        self.sold += further.sold;
        self.blocked += further.blocked;
        self.version += further.version;
    }

    /// What the gate may know of this section.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            section_id: self.section_id,
            version: self.version,
            capacity: self.capacity,
            available: self.available(),
            next_expiry: self.next_expiry,
        }
    }
}

/// The live counters of a section, as readers are shown them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveInventory {
    /// As stored.
    pub inventory: Inventory,
    /// Seats of holds that are due and not retired yet: they count as available.
    pub due: i64,
}

/// What the gate keeps of a section: what the store had committed at `version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The section.
    pub section_id: SectionId,
    /// The inventory's version.
    pub version: i64,
    /// How many seats there are.
    pub capacity: i64,
    /// Seats that could be held.
    pub available: i64,
    /// When the next live hold ends.
    pub next_expiry: Option<Timestamp>,
}

/// What the gate says to a request for seats. Only `SoldOut` keeps it from the store (I8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateAnswer {
    /// There were enough seats a moment ago; the store decides.
    Admit,
    /// There were not, a moment ago.
    SoldOut {
        /// Seats that could be held then.
        available: i64,
    },
    /// The gate knows nothing that is fresh enough; the store decides.
    Unknown,
}

impl Snapshot {
    /// What a *fresh* snapshot says to a request for `seats`, at an estimate of the store's clock.
    ///
    /// A hold that has ended by `store_now` may have given seats back, so the answer is unknown then.
    #[must_use]
    pub fn answer(&self, seats: i64, store_now: Timestamp) -> GateAnswer {
        if self.next_expiry.is_some_and(|expiry| expiry <= store_now) {
            return GateAnswer::Unknown;
        }
        if self.available >= seats {
            GateAnswer::Admit
        } else {
            GateAnswer::SoldOut { available: self.available }
        }
    }

    /// Whether this snapshot takes the place of `held`, which is still fresh: only a newer one does.
    #[must_use]
    pub fn replaces(&self, held: &Self) -> bool {
        self.version > held.version
    }
}

/// A snapshot as a gate keeps it: with the time at which it was last checked, in milliseconds by one
/// clock of the gate's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckedSnapshot {
    /// What the store had committed.
    pub snapshot: Snapshot,
    /// When a commit last said so.
    pub checked_at_ms: i64,
}

impl CheckedSnapshot {
    /// Whether it may still refuse: it was checked at most `fresh_ms` ago, and not in the future,
    /// where only a clock that was set back puts it (I8).
    #[must_use]
    pub fn is_fresh(&self, now_ms: i64, fresh_ms: i64) -> bool {
        (0..=fresh_ms).contains(&(now_ms - self.checked_at_ms))
    }

    /// What a gate keeps after a commit left `new` behind: a newer snapshot takes the place of an
    /// older one, any takes the place of a lapsed one, and the same version counts as checked again. The
    /// same version with other contents is of a store that was set back, and the later word counts.
    #[must_use]
    pub fn settle(held: Option<Self>, new: Snapshot, now_ms: i64, fresh_ms: i64) -> Self {
        match held {
            Some(held)
                if held.is_fresh(now_ms, fresh_ms) && new.version < held.snapshot.version =>
            {
                held
            }
            _ => Self { snapshot: new, checked_at_ms: now_ms },
        }
    }
}
