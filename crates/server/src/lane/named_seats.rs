//! Named seats at the gate: which of those that are asked for are known to be taken.
//!
//! The gate keeps marks by index; their names are in the section's layout, which the store caches. Both
//! are looked up beside the lanes when the store had to decide about named seats and one of them was not
//! cached: a batch never waits for them, and what is not known is left to the store (I8).

use super::hold_of;
use engine::error::SeatConflict;
use engine::seats::{Layout, SeatName, Spelled};
use engine::{Command, Hold, SeatRequest, SectionId, Snapshot, Timestamp};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use store::gate::{KnownMarks, Settlement};
use store::simulated::{is_planted, probe};
use store::{Gate, Seats};
use tokio::time::Instant;

/// How often a section is looked up at most: somebody may ask for seats that have no numbers.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Maximum number of recently looked-up sections.
const LOOKED_UP_MAX: usize = 1_000;

/// What the gate has of sections.
pub(super) type Snapshots = BTreeMap<SectionId, Option<Snapshot>>;
/// The marks it has of them.
pub(super) type MarksBySection = HashMap<SectionId, KnownMarks>;

/// A section of which it is known who has which seat.
pub(super) struct MarkedLayout {
    marks: KnownMarks,
    layout: Arc<Layout>,
}

/// The seats that `hold` names and that cannot be had, as far as that is known.
pub(super) fn conflicts(hold: &Hold, known: &[MarkedLayout]) -> Vec<SeatConflict> {
    let mut conflicts = Vec::new();
    let (mut found, mut names_twice) = (HashSet::new(), false);
    if known.is_empty() {
        return conflicts;
    }
    for (section_id, names) in hold.requests.iter().filter_map(named_seats) {
        let marked_layout = known.iter().find(|known| known.marks.section_id == *section_id);
        let Some(MarkedLayout { marks: seen, layout }) = marked_layout else { continue };
        conflicts.extend(names.iter().filter_map(|name| {
            let state = match layout.find_spelled(name) {
                Some(Spelled { seat, .. }) => {
                    names_twice |= !found.insert((*section_id, seat));
                    Some(seen.marks.state(seat)?)
                }
                None => None,
            };
            Some(SeatConflict { section_id: *section_id, seat: name.clone(), state })
        }));
    }
    // A seat that does not exist is listed with those that are taken; alone, it is the store's to
    // say, and so is a seat that is named twice.
    if names_twice || conflicts.iter().all(|conflict| conflict.state.is_none()) {
        conflicts.clear();
    }
    conflicts
}

/// The sections of which holds among `commands` name seats, each once.
pub(super) fn named<'a>(commands: impl Iterator<Item = &'a Command>) -> Vec<SectionId> {
    let requests = commands.filter_map(hold_of).flat_map(|hold| &hold.requests);
    let mut sections: Vec<_> = requests.filter_map(|ask| Some(*named_seats(ask)?.0)).collect();
    sections.sort_unstable();
    sections.dedup();
    sections
}

fn named_seats(ask: &SeatRequest) -> Option<(&SectionId, &[SeatName])> {
    match ask {
        SeatRequest::Seats { section_id, seats } => Some((section_id, seats)),
        SeatRequest::Count { .. } | SeatRequest::Best { .. } => None,
    }
}

/// The marks and layouts of sections whose seats are named in holds, and where to get them.
pub(super) struct NamedSeats {
    seats: Arc<dyn Seats>,
    gate: Arc<dyn Gate>,
    looked_up: Mutex<HashMap<SectionId, Instant>>,
}

impl NamedSeats {
    pub fn new(seats: Arc<dyn Seats>, gate: Arc<dyn Gate>) -> Arc<Self> {
        Arc::new(Self { seats, gate, looked_up: Mutex::default() })
    }

    /// The marks of these sections that this instance has at hand.
    pub fn recall(&self, sections: &[SectionId]) -> MarksBySection {
        if sections.is_empty() {
            return MarksBySection::new();
        }
        marked(self.gate.recall_marks(sections))
    }

    /// The newest marks of these sections, where those at hand do not belong to what is known.
    pub async fn ask(
        &self,
        sections: &[SectionId],
        known: &Snapshots,
        marked: &mut MarksBySection,
    ) {
        let is_missing = |section_id: &SectionId| {
            let Some(snapshot) = known[section_id] else { return false };
            marked.get(section_id).is_none_or(|seen| !seen.belong_to(&snapshot))
        };
        let missing: Vec<_> = sections.iter().copied().filter(is_missing).collect();
        if !missing.is_empty() {
            marked.extend(self::marked(self.gate.marks(&missing).await));
        }
    }

    /// The halls of which there are fresh snapshots with no hold due, and the marks and layouts that belong
    /// to them.
    pub fn known(
        &self,
        known: &Snapshots,
        marked: &MarksBySection,
        store_now: Timestamp,
    ) -> Vec<MarkedLayout> {
        let marked_layout = |seen: &KnownMarks| {
            let snapshot = known.get(&seen.section_id).copied().flatten()?;
            let is_due = snapshot.next_expiry.is_some_and(|expiry| expiry <= store_now);
            if is_due || !seen.belong_to(&snapshot) {
                return None;
            }
            Some(MarkedLayout { marks: seen.clone(), layout: self.layout(seen)? })
        };
        marked.values().filter_map(marked_layout).collect()
    }

    /// The layout of these marks.
    fn layout(&self, seen: &KnownMarks) -> Option<Arc<Layout>> {
        let layout = self.seats.cached_layout(seen.section_id, seen.marks.layout_version)?;
        (layout.seats() == seen.marks.seats()).then_some(layout)
    }

    /// Looks up, beside the lanes, what is missing to judge by `snapshots` the seats that were named.
    pub fn follow(self: &Arc<Self>, named: &[SectionId], snapshots: &[Snapshot]) {
        let marked = self.recall(named);
        for snapshot in snapshots.iter().filter(|snapshot| named.contains(&snapshot.section_id)) {
            let seen = marked.get(&snapshot.section_id).filter(|seen| seen.belong_to(snapshot));
            if seen.and_then(|seen| self.layout(seen)).is_none() && self.is_turn(snapshot) {
                let (named_seats, snapshot, has_marks) = (self.clone(), *snapshot, seen.is_some());
                tokio::spawn(async move { named_seats.look_up(snapshot, has_marks).await });
            }
        }
    }

    fn is_turn(&self, of: &Snapshot) -> bool {
        let (mut looked_up, now) = (self.looked_up.lock(), Instant::now());
        let lately = |at: &Instant| now.duration_since(*at) < LOOK_AGAIN;
        if looked_up.len() >= LOOKED_UP_MAX {
            looked_up.retain(|_, at| lately(at));
        }
        let has_room = looked_up.len() < LOOKED_UP_MAX;
        if !has_room || looked_up.get(&of.section_id).is_some_and(lately) {
            return false;
        }
        looked_up.insert(of.section_id, now);
        true
    }

    async fn look_up(&self, of: Snapshot, has_marks: bool) {
        let section_id = of.section_id;
        // The store caches what it reads. Where it does not answer, the next batch looks again.
        let _ = self.seats.layout(section_id).await;
        if !has_marks && let Ok(Some(marks)) = self.seats.marks(section_id).await {
            // The snapshot was committed before this read began.
            let mut before = Some(of.version);
            if is_planted("read counts as of its end") {
                before = self.gate.read(&[section_id]).await[0].map(|of| of.version);
            }
            let seen = KnownMarks::read(section_id, Arc::new(marks), before);
            probe("marks are read for the gate");
            self.gate.settle(Settlement::of_marks(seen));
        }
    }
}

fn marked(seen: Vec<Option<KnownMarks>>) -> MarksBySection {
    seen.into_iter().flatten().map(|seen| (seen.section_id, seen)).collect()
}
