//! Seat maps that a store keeps between batches, and layouts as they are stored.
//!
//! A map is taken out by the batch that decides on it and comes back when its commit is known to have
//! happened, so one that stands here is of a version that was committed. Losing one costs a read of the
//! layout and the marks, nothing else.

use crate::rows::{Columns, corrupt, currency};
use engine::decide::SeatMaps;
use engine::seats::{Draft, Layout, Marks, Point, SeatMap};
use engine::{Fault, SectionId};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// The most seats of which maps are kept: some 100 MB.
const SEATS_KEPT_MAX: u32 = 1_000_000;

/// A layout with the version of the inventory at which it was laid.
pub type Laid = (i64, Arc<Layout>);

/// The seat maps and layouts that a store keeps.
#[derive(Default)]
pub(crate) struct Maps {
    maps: Mutex<SeatMaps>,
    layouts: Mutex<HashMap<SectionId, Laid>>,
}

impl Maps {
    /// Takes out the map of a section.
    pub(crate) fn take(&self, section_id: SectionId) -> Option<SeatMap> {
        self.maps.lock().remove(&section_id)
    }

    /// Keeps maps as a commit has left them.
    pub(crate) fn keep(&self, committed: SeatMaps) {
        if committed.is_empty() {
            return;
        }
        for (section_id, map) in &committed {
            self.keep_layout(*section_id, (map.layout_version(), map.layout().clone()));
        }
        let mut maps = self.maps.lock();
        maps.extend(committed);
        bound(&mut maps, |map| map.layout().seats());
    }

    /// The layout of a section, if it is kept and has this version.
    pub(crate) fn layout(&self, section_id: SectionId, version: i64) -> Option<Arc<Layout>> {
        let layouts = self.layouts.lock();
        layouts.get(&section_id).filter(|(kept, _)| *kept == version).map(|(_, of)| of.clone())
    }

    /// Keeps a layout that was committed.
    pub(crate) fn keep_layout(&self, section_id: SectionId, laid: Laid) {
        let mut layouts = self.layouts.lock();
        layouts.insert(section_id, laid);
        bound(&mut layouts, |(_, layout)| layout.seats());
    }
}

/// Forgets some, any, while they have more seats than are kept.
fn bound<T>(kept: &mut HashMap<SectionId, T>, seats: impl Fn(&T) -> u32) {
    let mut sum: u32 = kept.values().map(&seats).sum();
    while sum > SEATS_KEPT_MAX && kept.len() > 1 {
        let Some(section_id) = kept.keys().next().copied() else { return };
        sum -= kept.remove(&section_id).as_ref().map_or(0, &seats);
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
    Marks::from_bytes(bytes).ok_or_else(corrupt("marks"))
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
pub(crate) fn laid(row: &impl Columns) -> Result<Laid, Fault> {
    let currency = currency(row.text("currency")?)?;
    let draft = Draft::from_csv(row.text("seats")?, currency);
    let mut draft = draft.map_err(|_| corrupt("seats")())?;
    let point = |x: i64, y: i64| Some(Point { x: x.try_into().ok()?, y: y.try_into().ok()? });
    draft.focal = match (row.maybe_int("focal_x")?, row.maybe_int("focal_y")?) {
        (Some(x), Some(y)) => Some(point(x, y).ok_or_else(corrupt("focal_x"))?),
        _ => None,
    };
    let layout = Layout::new(&draft).map_err(|_| corrupt("seats")())?;
    Ok((row.int("version")?, Arc::new(layout)))
}
