//! What is wrong with a layout: where, in which field, and which limit it breaks.
//!
//! All errors of a layout are collected, so that its author can correct them at once. The number of
//! listed errors is bounded.

use super::FLAWS_TOLD_MAX;
use std::fmt;

/// The longest label or message of a flaw, in characters.
const QUOTED_LENGTH_MAX: usize = 120;

/// A position in a layout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlawPlace {
    /// The line of a CSV, from 1.
    pub line: Option<u64>,
    /// The label of the row, as far as it was given.
    pub row: Option<String>,
    /// The number of the seat, as far as it was given.
    pub seat: Option<String>,
    /// Which category, from 0, where no line is its own.
    pub category: Option<usize>,
}

/// One thing that is wrong with a layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// Where.
    pub place: FlawPlace,
    /// The field, such as `category`.
    pub field: &'static str,
    /// What is wrong with it, with the limit if there is one.
    pub message: String,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FlawPlace { line, row, seat, category } = &self.place;
        if let Some(line) = line {
            write!(f, "line {line}, ")?;
        }
        if let Some(row) = row {
            write!(f, "row {row:?}, ")?;
        }
        if let Some(seat) = seat {
            write!(f, "seat {seat:?}, ")?;
        }
        if let Some(at) = category {
            write!(f, "category number {}, ", at + 1)?;
        }
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// All that is wrong with a layout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flaws {
    /// How many flaws were found.
    pub count: usize,
    /// The first [`FLAWS_TOLD_MAX`] of them, in the order of the layout.
    pub told: Vec<Flaw>,
}

impl Flaws {
    /// Adds a flaw; it is listed if the maximum is not reached.
    pub(super) fn add(
        &mut self,
        place: FlawPlace,
        field: &'static str,
        message: impl Into<String>,
    ) {
        self.count += 1;
        if self.told.len() < FLAWS_TOLD_MAX {
            let place =
                FlawPlace { row: place.row.map(clipped), seat: place.seat.map(clipped), ..place };
            self.told.push(Flaw { place, field, message: clipped(message.into()) });
        }
    }

    /// `value`, unless something is wrong.
    pub(super) fn or<T>(self, value: T) -> Result<T, Self> {
        if self.count == 0 { Ok(value) } else { Err(self) }
    }

    /// A single flaw of the layout as a whole.
    pub(super) fn of(field: &'static str, message: impl Into<String>) -> Self {
        let mut flaws = Self::default();
        flaws.add(FlawPlace::default(), field, message);
        flaws
    }
}

/// The beginning of `text`: messages about a layout quote it only up to a maximum length.
fn clipped(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(QUOTED_LENGTH_MAX) {
        text.truncate(end);
        text.push('…');
    }
    text
}

impl fmt::Display for Flaws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, flaw) in self.told.iter().enumerate() {
            write!(f, "{}{flaw}", if at == 0 { "" } else { "; " })?;
        }
        let more = self.count - self.told.len();
        if more > 0 { write!(f, "; and {more} more") } else { Ok(()) }
    }
}

impl std::error::Error for Flaws {}
