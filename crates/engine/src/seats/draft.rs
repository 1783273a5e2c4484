//! The draft of a layout: rows and seats in full, as somebody wrote them; not checked yet.
//!
//! The short form ([`Short`](super::Short)) and CSV ([`Draft::from_csv`]) lead to a draft,
//! [`Layout::new`](super::Layout::new) checks it, and [`Layout::draft`](super::Layout::draft) gives
//! back an equal one.

use crate::money::Money;
use crate::text::composed;
use std::borrow::Cow;

/// Between two seats of a generated row, in units of the drawing: half a metre in centimetres.
pub const SEAT_PITCH: i32 = 50;
/// Between two generated rows.
pub const ROW_PITCH: i32 = 90;

/// A point of the drawing. The stage is where `y` is small; a unit is about a centimetre.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// To the right, seen from above with the stage at the top.
    pub x: i32,
    /// Away from the stage.
    pub y: i32,
}

impl Point {
    /// The square of the distance to `other`.
    ///
    /// Within [`COORDINATE_MAX`](super::COORDINATE_MAX) it stays below 2^43, and so does the sum
    /// for a whole party below 2^64.
    #[must_use]
    pub fn distance_squared(self, other: Self) -> u64 {
        let dx = u64::from(self.x.abs_diff(other.x));
        let dy = u64::from(self.y.abs_diff(other.y));
        dx * dx + dy * dy
    }
}

/// A price for some of the seats of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Category {
    /// Its name, such as `Gold`.
    pub name: String,
    /// What one of its seats costs.
    pub price: Money,
}

/// What is special about a seat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// A place for a wheelchair: only given to who asks for it.
    pub accessible: bool,
    /// Next to an accessible place, for a companion: only assigned together with one.
    pub companion: bool,
    /// Less than the whole stage can be seen.
    pub restricted_view: bool,
}

/// A seat of a draft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeatDraft {
    /// Its number in the row: 1 to 8 ASCII letters and digits.
    pub number: String,
    /// Where it is drawn.
    pub at: Point,
    /// The name of its category.
    pub category: String,
    /// What is special about it.
    pub flags: Flags,
    /// Whether an aisle or a gap parts it from the seat before it in the row.
    pub aisle_before: bool,
    /// The line number, if it comes from a CSV file.
    pub line: Option<u64>,
}

/// A row of a draft: its seats in physical order, from one side to the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowDraft {
    /// Its label, such as `C`.
    pub label: String,
    /// Its seats, at least one.
    pub seats: Vec<SeatDraft>,
}

/// The seat map of a section, not checked yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    /// The categories its seats name.
    pub categories: Vec<Category>,
    /// Its rows, at least one, the front row first.
    pub rows: Vec<RowDraft>,
    /// What best seats are near to; unset: the middle of the first row.
    pub focal: Option<Point>,
}

impl Draft {
    /// The same draft with its labels composed, as they are kept; itself, where they are already.
    #[must_use]
    pub(super) fn composed(&self) -> Cow<'_, Self> {
        let is_ascii = |text: &String| text.is_ascii();
        let seats = || self.rows.iter().flat_map(|row| &row.seats);
        if self.categories.iter().map(|one| &one.name).all(is_ascii)
            && self.rows.iter().map(|row| &row.label).all(is_ascii)
            && seats().map(|seat| &seat.category).all(is_ascii)
        {
            return Cow::Borrowed(self);
        }
        let mut draft = self.clone();
        let compose = |text: &mut String| *text = composed(text).into_owned();
        draft.categories.iter_mut().for_each(|one| compose(&mut one.name));
        for row in &mut draft.rows {
            compose(&mut row.label);
            row.seats.iter_mut().for_each(|seat| compose(&mut seat.category));
        }
        Cow::Owned(draft)
    }

    /// The middle of the first row: its middle seat, or the point between the two middle ones.
    #[must_use]
    pub fn front_middle(&self) -> Point {
        let Some(seats) = self.rows.first().map(|row| &row.seats).filter(|seats| !seats.is_empty())
        else {
            return Point::default();
        };
        let (a, b) = (seats[(seats.len() - 1) / 2].at, seats[seats.len() / 2].at);
        Point { x: i32::midpoint(a.x, b.x), y: i32::midpoint(a.y, b.y) }
    }
}
