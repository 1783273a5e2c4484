//! Named seats at the gate: which of those that are asked for are known to be taken.
//!
//! The gate keeps marks by index; their names are in the section's layout, which is kept here. Both are
//! looked up beside the lanes when the store had to decide about named seats and they were not at hand:
//! a batch never waits for them, and what is not known is left to the store (I8).

use super::hold_of;
use engine::error::SeatConflict;
use engine::seats::{Layout, SeatName, Spelled};
use engine::{Ask, Command, Hold, SectionId, Snapshot, Timestamp};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::gate::{Seen, Settlement};
use store::{Gate, Laid, Seats};

/// The most seats of which layouts are kept: some 40 MB.
const SEATS_KEPT_MAX: u32 = 1_000_000;
/// How often a section is looked up at most: somebody may ask for seats that have no numbers.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// The most sections that were looked up lately.
const LOOKED_UP_MAX: usize = 1_000;

/// What the gate has of sections.
pub(super) type Known = BTreeMap<SectionId, Option<Snapshot>>;
/// The marks it has of them.
pub(super) type Marked = HashMap<SectionId, Seen>;

/// A section of which it is known who has which seat.
pub(super) struct Hall {
    marks: Seen,
    layout: Arc<Layout>,
}

/// The seats that `hold` names and that cannot be had, as far as that is known.
pub(super) fn conflicts(hold: &Hold, halls: &[Hall]) -> Vec<SeatConflict> {
    let mut conflicts = Vec::new();
    let (mut found, mut names_twice) = (HashSet::new(), false);
    if halls.is_empty() {
        return conflicts;
    }
    for (section_id, names) in hold.asks.iter().filter_map(named_seats) {
        let hall = halls.iter().find(|hall| hall.marks.section_id == *section_id);
        let Some(Hall { marks: seen, layout }) = hall else { continue };
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
    // A seat that does not exist is told beside those that are taken; alone, it is the store's to say,
    // and so is a seat that is named twice.
    if names_twice || conflicts.iter().all(|conflict| conflict.state.is_none()) {
        conflicts.clear();
    }
    conflicts
}

/// The sections of which holds among `commands` name seats, each once.
pub(super) fn named<'a>(commands: impl Iterator<Item = &'a Command>) -> Vec<SectionId> {
    let asks = commands.filter_map(hold_of).flat_map(|hold| &hold.asks);
    let mut sections: Vec<_> = asks.filter_map(|ask| Some(*named_seats(ask)?.0)).collect();
    sections.sort_unstable();
    sections.dedup();
    sections
}

fn named_seats(ask: &Ask) -> Option<(&SectionId, &[SeatName])> {
    match ask {
        Ask::Seats { section_id, seats } => Some((section_id, seats)),
        Ask::Count { .. } | Ask::Best { .. } => None,
    }
}

/// The layouts of sections, and where to get them.
pub(super) struct Halls {
    seats: Arc<dyn Seats>,
    gate: Arc<dyn Gate>,
    layouts: Mutex<HashMap<SectionId, Laid>>,
    looked_up: Mutex<HashMap<SectionId, Instant>>,
}

impl Halls {
    pub fn new(seats: Arc<dyn Seats>, gate: Arc<dyn Gate>) -> Arc<Self> {
        Arc::new(Self { seats, gate, layouts: Mutex::default(), looked_up: Mutex::default() })
    }

    /// The marks of these sections that this instance has at hand.
    pub fn recall(&self, sections: &[SectionId]) -> Marked {
        if sections.is_empty() {
            return Marked::new();
        }
        marked(self.gate.recall_marks(sections))
    }

    /// The newest marks of these sections, where those at hand do not belong to what is known.
    pub async fn ask(&self, sections: &[SectionId], known: &Known, marked: &mut Marked) {
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
    pub fn known(&self, known: &Known, marked: &Marked, store_now: Timestamp) -> Vec<Hall> {
        let hall = |seen: &Seen| {
            let snapshot = known.get(&seen.section_id).copied().flatten()?;
            let is_due = snapshot.next_expiry.is_some_and(|expiry| expiry <= store_now);
            if is_due || !seen.belong_to(&snapshot) {
                return None;
            }
            Some(Hall { marks: seen.clone(), layout: self.layout(seen)? })
        };
        marked.values().filter_map(hall).collect()
    }

    /// The layout of these marks.
    fn layout(&self, seen: &Seen) -> Option<Arc<Layout>> {
        let layouts = self.layouts.lock();
        let (version, layout) = layouts.get(&seen.section_id)?;
        let same = *version == seen.marks.layout_version && layout.seats() == seen.marks.seats();
        same.then(|| layout.clone())
    }

    /// Looks up, beside the lanes, what is missing to judge by `snapshots` the seats that were named.
    pub fn follow(self: &Arc<Self>, named: &[SectionId], snapshots: &[Snapshot]) {
        let marked = self.recall(named);
        for snapshot in snapshots.iter().filter(|snapshot| named.contains(&snapshot.section_id)) {
            let seen = marked.get(&snapshot.section_id).filter(|seen| seen.belong_to(snapshot));
            if seen.and_then(|seen| self.layout(seen)).is_none() && self.is_turn(snapshot) {
                let (halls, snapshot, has_marks) = (self.clone(), *snapshot, seen.is_some());
                tokio::spawn(async move { halls.look_up(snapshot, has_marks).await });
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
        // A store that does not answer is told of elsewhere; the next batch looks again.
        if let Ok(Some(laid)) = self.seats.layout(section_id).await {
            self.keep(section_id, laid);
        }
        if !has_marks && let Ok(Some(marks)) = self.seats.marks(section_id).await {
            // The snapshot was committed before this read began.
            let seen = Seen::read(section_id, Arc::new(marks), Some(of.version));
            self.gate.settle(Settlement::of_marks(seen, self.seats.now()));
        }
    }

    fn keep(&self, section_id: SectionId, laid: Laid) {
        let mut layouts = self.layouts.lock();
        layouts.insert(section_id, laid);
        let mut seats: u32 = layouts.values().map(|(_, layout)| layout.seats()).sum();
        while seats > SEATS_KEPT_MAX && layouts.len() > 1 {
            let other = layouts.keys().copied().find(|other| *other != section_id);
            let Some(forgotten) = other.and_then(|other| layouts.remove(&other)) else { return };
            seats -= forgotten.1.seats();
        }
    }
}

fn marked(seen: Vec<Option<Seen>>) -> Marked {
    seen.into_iter().flatten().map(|seen| (seen.section_id, seen)).collect()
}
