//! Sections with numbered seats: their layouts, and who has which of their seats.

use crate::world::usd;
use engine::seats::{Category, Draft, Layout, SeatName, Shape, Short};
use engine::{BookingId, Opening, SectionId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The draft of rows such as `A-C`, each with this number of seats at 12.50 USD and an aisle after
/// some.
#[must_use]
pub fn draft(rows: &str, seats_per_row: u32, aisles_after: &[u32]) -> Draft {
    let short = Short {
        rows: rows.to_owned(),
        seats_per_row,
        aisles_after: aisles_after.to_vec(),
        category: Category { name: "Stalls".to_owned(), price: usd(1250) },
        shape: Shape::Block,
    };
    short.draft().expect("a draft without flaws")
}

/// The layout of a draft.
#[must_use]
pub fn layout(draft: &Draft) -> Arc<Layout> {
    Arc::new(Layout::new(draft).expect("a draft without flaws"))
}

/// A plain layout, as [`draft`] makes it.
#[must_use]
pub fn plain(rows: &str, seats_per_row: u32) -> Arc<Layout> {
    layout(&draft(rows, seats_per_row, &[]))
}

/// What a section begins with that has such a layout.
#[must_use]
pub fn laid(rows: &str, seats_per_row: u32) -> Opening {
    Opening::Layout(plain(rows, seats_per_row))
}

/// Names of seats.
#[must_use]
pub fn names(names: &[&str]) -> Vec<SeatName> {
    names.iter().map(|name| SeatName::from(*name)).collect()
}

/// Who has which seat of which section; a blocked seat is nobody's.
pub type Taken = BTreeMap<(SectionId, SeatName), Option<BookingId>>;

/// These seats of a section, had by a booking or blocked.
pub fn taken_by(section_id: SectionId, seats: &[&str], by: impl Into<Option<BookingId>>) -> Taken {
    let by = by.into();
    names(seats).into_iter().map(|seat| ((section_id, seat), by)).collect()
}
