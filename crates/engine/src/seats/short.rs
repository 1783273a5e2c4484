//! The short form of a layout: which rows, how many seats in each, and how they are laid out.
//!
//! `rows` names the rows from the front to the back: labels and ranges of them with commas between,
//! such as `A-T`, `A-H,J-Z,AA-AF` or `1-20`. Letters count as in a spreadsheet: after `Z` comes
//! `AA`. Seats are numbered from 1, from left to right seen from above with the stage at the top.

use super::draft::{Category, Draft, Flags, Point, ROW_PITCH, RowDraft, SEAT_PITCH, SeatDraft};
use super::flaw::{FlawPlace, Flaws};
use super::{ROWS_MAX, SEATS_MAX, SEATS_PER_ROW_MAX};
use std::f64::consts::TAU;

/// The longest `rows` of a short form, in bytes.
pub const ROWS_LENGTH_MAX: usize = 1_000;
/// The largest radius of the front row of an arc.
pub const RADIUS_MAX: u32 = 500_000;

/// How the rows of a short form are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Straight rows, one behind the other.
    Block,
    /// Rows around the origin, where the stage is.
    Arc {
        /// From the origin to the front row, at least enough for its seats to fit in half a circle.
        radius: u32,
    },
}

/// The short form of a layout: equal rows of one category.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Short {
    /// Labels and ranges of labels, such as `A-H,J-T`.
    pub rows: String,
    /// How many seats each row has.
    pub seats_per_row: u32,
    /// The numbers of the seats after which there is an aisle.
    pub aisles_after: Vec<u32>,
    /// What the seats cost.
    pub category: Category,
    /// How they are drawn.
    pub shape: Shape,
}

impl Short {
    /// Writes the short form out.
    ///
    /// Flaws are those of `rows`, `seats_per_row`, `aisles_after` and `radius`; all others are
    /// found by [`Layout::new`](super::Layout::new).
    pub fn draft(&self) -> Result<Draft, Flaws> {
        let mut flaws = Flaws::default();
        let mut tell = |field, message: String| flaws.add(FlawPlace::default(), field, message);
        let rows = labels(&self.rows).unwrap_or_else(|message| {
            tell("rows", message);
            Vec::new()
        });
        let seats = self.seats_per_row as usize;
        if !(1..=SEATS_PER_ROW_MAX).contains(&seats) {
            tell("seats_per_row", format!("must be 1 to {SEATS_PER_ROW_MAX}"));
        } else if rows.len() * seats > SEATS_MAX {
            let many = rows.len() * seats;
            tell(
                "seats_per_row",
                format!(
                    "results in {many} seats; a section can have at most \
                {SEATS_MAX}"
                ),
            );
        }
        for after in &self.aisles_after {
            if !(1..self.seats_per_row).contains(after) {
                tell("aisles_after", format!("{after} must be a seat number below seats_per_row"));
            }
        }
        if let Shape::Arc { radius } = self.shape {
            let least = least_radius(self.seats_per_row.min(2 * RADIUS_MAX));
            if !(least..=RADIUS_MAX).contains(&radius) {
                let message = format!("must be {least} to {RADIUS_MAX} for this number of seats");
                tell("radius", message);
            }
        }
        let flaws = flaws.or(());
        flaws.map(|()| {
            let rows = rows.into_iter().enumerate().map(|(row, label)| self.row(row, label));
            Draft { categories: vec![self.category.clone()], rows: rows.collect(), focal: None }
        })
    }

    fn row(&self, row: usize, label: String) -> RowDraft {
        let seat = |at: u32| SeatDraft {
            number: (at + 1).to_string(),
            at: self.place(row, at),
            category: self.category.name.clone(),
            flags: Flags::default(),
            aisle_before: self.aisles_after.contains(&at),
            line: None,
        };
        RowDraft { label, seats: (0..self.seats_per_row).map(seat).collect() }
    }

    /// Where a seat is drawn, to the nearest unit; the rows are centred on `x = 0`.
    fn place(&self, row: usize, seat: u32) -> Point {
        let behind = f64::from(ROW_PITCH) * row as f64;
        let middle = (f64::from(self.seats_per_row) - 1.0) / 2.0;
        let aside = f64::from(SEAT_PITCH) * (f64::from(seat) - middle);
        match self.shape {
            Shape::Block => Point { x: rounded(aside), y: rounded(behind) },
            Shape::Arc { radius } => {
                let radius = f64::from(radius) + behind;
                let (sin, cos) = (aside / radius).sin_cos();
                Point { x: rounded(radius * sin), y: rounded(radius * cos) }
            }
        }
    }
}

/// The radius at which this number of seats fills half a circle.
fn least_radius(seats: u32) -> u32 {
    let radius = f64::from(seats) * f64::from(SEAT_PITCH) / (TAU / 2.0);
    rounded(radius.ceil()).unsigned_abs().max(1)
}

#[expect(clippy::cast_possible_truncation, reason = "a cast to an integer stays within its bounds")]
fn rounded(value: f64) -> i32 {
    value.round() as i32
}

/// The labels that `rows` names, in order, at most [`ROWS_MAX`]; else what is wrong.
fn labels(rows: &str) -> Result<Vec<String>, String> {
    if rows.len() > ROWS_LENGTH_MAX {
        return Err(format!("must have at most {ROWS_LENGTH_MAX} bytes"));
    }
    let mut labels = Vec::new();
    for part in rows.split(',').map(str::trim) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = (from.trim(), to.trim());
        let (from, to, label): (u32, u32, fn(u32) -> String) =
            match (letters(from), letters(to), count(from), count(to)) {
                (Some(from), Some(to), _, _) => (from, to, spelled),
                (_, _, Some(from), Some(to)) => (from, to, |at| at.to_string()),
                _ => {
                    let message = "must be a label of capital letters or digits, or a range of \
                        such labels";
                    return Err(format!("{part:?} {message}"));
                }
            };
        if from > to {
            return Err(format!("{part:?} is a reversed range"));
        }
        if labels.len() + (to - from) as usize >= ROWS_MAX {
            return Err(format!("must have at most {ROWS_MAX} rows"));
        }
        labels.extend((from..=to).map(label));
    }
    Ok(labels)
}

/// The place of a label of 1 to 4 capital letters among all of them: `A` is 1, `Z` 26, `AA` 27.
fn letters(label: &str) -> Option<u32> {
    let capital = label.bytes().all(|byte| byte.is_ascii_uppercase());
    (capital && (1..=4).contains(&label.len()))
        .then(|| label.bytes().fold(0, |place, byte| 26 * place + u32::from(byte - b'A') + 1))
}

/// The label with this place among those of letters.
fn spelled(mut place: u32) -> String {
    let mut label = Vec::new();
    while place > 0 {
        place -= 1;
        let letter = u8::try_from(place % 26).expect("below 26");
        label.push(char::from(b'A' + letter));
        place /= 26;
    }
    label.iter().rev().collect()
}

/// The number that a label of 1 to 6 digits, none of them leading zeros, means.
fn count(label: &str) -> Option<u32> {
    let digits = label.bytes().all(|byte| byte.is_ascii_digit()) && label.len() <= 6;
    (digits && !label.starts_with('0')).then(|| label.parse().ok())?
}
