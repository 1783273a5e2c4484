//! Numbered seats: the map of a section, which of its seats are taken, and which to assign to a
//! party.
//!
//! ```text
//! Draft ──Layout::new──▶ Layout ─┐
//!                        Taken ──┴─▶ Seating ──best::pick──▶ Choice ──Seating::take──▶ …
//! ```
//! A [`Layout`] is checked whole and never changes; a [`Taken`] is one bit for each of its seats; a
//! [`Seating`] keeps the two together with what a quick choice needs, up to date with every seat
//! that is taken or released. [`best`] selects the seats of a party by a total order, [`orphan`]
//! decides which choices would leave a seat alone.
//!
//! A seat is named `ROW-NUMBER`, such as `C-12`. Inside it is a [`SeatIndex`]: its place in the
//! section, row after row, each in physical order. A *stretch* is a part of a row without an aisle;
//! seats are neighbours when they are adjacent in one stretch.
//!
//! Pure, as all of this crate. Nothing here knows of bookings: the commit of a choice proves I3.

pub mod best;
pub mod change;
mod check;
pub mod draft;
pub mod flaw;
mod groups;
pub mod layout;
pub mod map;
pub mod marks;
pub mod orphan;
pub mod seating;
pub mod short;
pub mod table;
pub mod taken;

#[cfg(test)]
mod tests;

pub use best::{Choice, NoFit, Party, Why, any_has, pick};
pub use draft::{Category, Draft, Flags, Point, RowDraft, SeatDraft};
pub use flaw::{Flaw, Flaws};
pub use layout::{Layout, Spelled};
pub use map::SeatMap;
pub use marks::{Marks, SeatState};
pub use seating::Seating;
pub use short::{Shape, Short};
pub use taken::{Conflicts, Taken};

/// The place of a seat in its section: rows as they were given, seats of a row in physical order.
pub type SeatIndex = u32;

/// The maximum number of seats of a section with a layout.
pub const SEATS_MAX: usize = 100_000;
/// The maximum number of rows of a section.
pub const ROWS_MAX: usize = 5_000;
/// The maximum number of seats in a row.
pub const SEATS_PER_ROW_MAX: usize = 1_000;
/// The maximum number of categories of a section.
pub const CATEGORIES_MAX: usize = 64;
/// The name of a seat, such as `C-12`: the label of its row, a hyphen, its number. Usual ones are kept
/// where they stand, without memory of their own.
pub type SeatName = smol_str::SmolStr;

/// The longest label of a row and of a category, in characters.
pub const LABEL_LENGTH_MAX: usize = 32;
/// The longest number of a seat, in characters.
pub const NUMBER_LENGTH_MAX: usize = 8;
/// How far from the origin a seat may be drawn, along each axis.
pub const COORDINATE_MAX: i32 = 1_000_000;
/// How many flaws of a layout are spelled out; the rest is counted.
pub const FLAWS_TOLD_MAX: usize = 100;
/// The maximum number of seats that [`best::pick`] selects at once.
pub const PARTY_MAX: u32 = 50;
/// The maximum number of accessible seats among them.
pub const PARTY_ACCESSIBLE_MAX: u32 = 10;
