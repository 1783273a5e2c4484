//! Seat maps that a store keeps between batches, and layouts as they are stored.
//!
//! A map is taken out by the batch that decides on it and comes back when its commit is known to have
//! happened, so a cached one is of a version that was committed. Losing one costs a read of the
//! layout and the marks, nothing else.
//!
//! Where several instances write, a version alone does not say that a kept map is what is stored:
//! in a database that was set back, the same version occurs again with other seats. So each write
//! of marks draws a *stamp*, and a map is believed only under the version and the stamp that are
//! stored. Layouts need none: their numbers are made of what is in them.

use crate::random::random;
use crate::rows::{Columns, corrupt, currency};
use crate::unavailable;
use engine::decide::SeatMaps;
use engine::seats::{Draft, Layout, Marks, Point, SeatMap};
use engine::{Fault, SectionId};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// Maximum total seats of the cached maps (about 100 MB).
const SEATS_KEPT_MAX: u32 = 1_000_000;

/// A layout with the number under which it is stored.
pub type VersionedLayout = (i64, Arc<Layout>);

/// The seat maps and layouts that a store keeps.
#[derive(Default)]
pub(crate) struct Maps {
    maps: Mutex<SeatCache<Stamped>>,
    layouts: Mutex<SeatCache<VersionedLayout>>,
}

/// A seat map with the stamp of its marks.
pub(crate) struct Stamped {
    pub map: SeatMap,
    pub stamp: i64,
}

/// The stamp of marks that are about to be written.
pub(crate) fn draw_stamp() -> i64 {
    random()
}

/// Says that the marks of a section were wrong, and are right again.
pub(crate) fn tell_rebuilt(section_id: SectionId) {
    tracing::error!(
        section_id = section_id.to_string(),
        "I3 was broken: the seat states of a section contradicted its bookings and were rebuilt"
    );
}

/// What is stored of a section, and cannot be brought together.
pub(crate) fn contradiction(section_id: SectionId, what: &str) -> Fault {
    Fault::Contradiction { section_id, what: what.to_owned() }
}

/// Why a section is not decided about although its marks were rebuilt.
pub(crate) const DISAGREE: &str = "its bookings, its taken seats and its counters do not agree";

/// The stamps of sections; those that have none have 0.
pub type Stamps = HashMap<SectionId, i64>;

/// Things of sections, with the turn in which each was last used.
struct SeatCache<T> {
    of: HashMap<SectionId, (u64, T)>,
    turn: u64,
    seats: u32,
}

impl<T> Default for SeatCache<T> {
    fn default() -> Self {
        Self { of: HashMap::new(), turn: 0, seats: 0 }
    }
}

impl Maps {
    /// Takes out the map of a section.
    pub(crate) fn take(&self, section_id: SectionId) -> Option<Stamped> {
        self.maps.lock().remove(section_id, seats_of_map)
    }

    /// Keeps maps as a commit has left them, with the stamps of their marks.
    pub(crate) fn keep(&self, committed: SeatMaps, stamps: &Stamps) {
        for (section_id, map) in committed {
            let (version, layout) = (map.layout_version(), map.layout());
            if self.layout(section_id, version).is_none() {
                self.keep_layout(section_id, (version, layout.clone()));
            }
            let stamp = stamps.get(&section_id).copied().unwrap_or(0);
            self.maps.lock().keep(section_id, Stamped { map, stamp }, seats_of_map);
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        *self.maps.lock() = SeatCache::default();
        *self.layouts.lock() = SeatCache::default();
    }

    /// The layout of a section, if it is kept and has this version.
    pub(crate) fn layout(&self, section_id: SectionId, version: i64) -> Option<Arc<Layout>> {
        let mut layouts = self.layouts.lock();
        let (kept, layout) = layouts.used(section_id)?;
        (*kept == version).then(|| layout.clone())
    }

    /// Keeps a layout that was committed.
    pub(crate) fn keep_layout(&self, section_id: SectionId, laid: VersionedLayout) {
        self.layouts.lock().keep(section_id, laid, seats_of_layout);
    }
}

fn seats_of_map(kept: &Stamped) -> u32 {
    kept.map.layout().seats()
}

fn seats_of_layout((_, layout): &VersionedLayout) -> u32 {
    layout.seats()
}

impl<T> SeatCache<T> {
    fn used(&mut self, section_id: SectionId) -> Option<&T> {
        self.turn += 1;
        let (turn, kept) = self.of.get_mut(&section_id)?;
        *turn = self.turn;
        Some(kept)
    }

    fn remove(&mut self, section_id: SectionId, seats: fn(&T) -> u32) -> Option<T> {
        let (_, kept) = self.of.remove(&section_id)?;
        self.seats -= seats(&kept);
        Some(kept)
    }

    /// Keeps one more. Where that is too many, those go that were not used for longest, and more of them
    /// than would have to: so they are sorted rarely.
    fn keep(&mut self, section_id: SectionId, one: T, seats: fn(&T) -> u32) {
        self.remove(section_id, seats);
        self.turn += 1;
        self.seats += seats(&one);
        self.of.insert(section_id, (self.turn, one));
        if self.seats <= SEATS_KEPT_MAX {
            return;
        }
        let mut oldest: Vec<_> = self.of.iter().map(|(id, (turn, _))| (*turn, *id)).collect();
        oldest.sort_unstable();
        // The one that was just used stays.
        oldest.pop();
        for (_, section_id) in oldest {
            if self.seats <= SEATS_KEPT_MAX / 4 * 3 {
                break;
            }
            self.remove(section_id, seats);
        }
    }
}

/// The map of a section, from what was kept of it and the marks that were found, unless they are those
/// that were kept; `layout` is theirs.
pub(crate) fn brought_up_to_date(
    kept: Option<SeatMap>,
    found: Option<Marks>,
    layout: Option<Arc<Layout>>,
) -> Option<SeatMap> {
    match (kept, found) {
        (kept, None) => kept,
        (Some(mut map), Some(marks)) => map.follow(marks).then_some(map),
        (None, Some(marks)) => SeatMap::new(layout?, marks),
    }
}

/// Reads marks as they are stored.
pub(crate) fn marks(bytes: &[u8]) -> Result<Marks, Fault> {
    readable_marks(bytes)?.ok_or_else(corrupt("marks"))
}

/// Reads marks as they are stored; damaged ones are none, and can be rebuilt. Those of a later release
/// cannot: they say more than this one could write.
pub(crate) fn readable_marks(bytes: &[u8]) -> Result<Option<Marks>, Fault> {
    if Marks::is_of_other_format(bytes) {
        let later = "the seat states were written by a later release, in a format that this \
            release cannot read";
        return Err(unavailable("reading seats")(later));
    }
    Ok(Marks::from_bytes(bytes))
}

/// A layout as it is stored.
pub(crate) struct StoredLayout {
    pub seats: String,
    pub currency: String,
    pub focal: Option<Point>,
}

impl StoredLayout {
    pub(crate) fn of(layout: &Layout) -> Self {
        let draft = layout.draft();
        Self {
            seats: draft.to_csv(),
            currency: layout.lowest_price().currency.as_str().to_owned(),
            focal: draft.focal,
        }
    }
}

/// Reads the row of a layout.
pub(crate) fn laid(row: &impl Columns) -> Result<VersionedLayout, Fault> {
    let currency = currency(row.text("currency")?)?;
    let draft = Draft::from_csv(row.text("seats")?, currency);
    let mut draft = draft.map_err(|_| corrupt("seats")())?;
    let point = |x: i64, y: i64| Some(Point { x: x.try_into().ok()?, y: y.try_into().ok()? });
    draft.focal = match (row.maybe_int("focal_x")?, row.maybe_int("focal_y")?) {
        (Some(x), Some(y)) => Some(point(x, y).ok_or_else(corrupt("focal_x"))?),
        _ => None,
    };
    let layout = Layout::stored(&draft).map_err(|_| corrupt("seats")())?;
    Ok((row.int("version")?, Arc::new(layout)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{Shard, Timestamp};

    #[test]
    fn what_was_used_last_is_kept() {
        let id = |n| SectionId::new(Timestamp::from_unix_ms(0), Shard::pick(0), n);
        let seats: fn(&u32) -> u32 = |seats| *seats;
        let mut kept = SeatCache::default();
        for n in 0..10 {
            kept.keep(id(n), SEATS_KEPT_MAX / 10, seats);
        }
        assert_eq!((kept.of.len(), kept.seats), (10, SEATS_KEPT_MAX));
        assert_eq!(kept.used(id(0)), Some(&(SEATS_KEPT_MAX / 10)));
        kept.keep(id(9), SEATS_KEPT_MAX / 10 + 1, seats);
        let mut left: Vec<_> = kept.of.keys().copied().collect();
        left.sort_unstable();
        assert_eq!(left, [0, 4, 5, 6, 7, 8, 9].map(id), "the oldest went, down to three quarters");
        kept.keep(id(99), 2 * SEATS_KEPT_MAX, seats);
        assert_eq!(kept.remove(id(99), seats), Some(2 * SEATS_KEPT_MAX), "the last one stays");
        assert_eq!((kept.of.len(), kept.seats), (0, 0));
    }
}
