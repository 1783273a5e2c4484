//! What the tests of numbered seats share: halls, small and large, and a simple random number.

mod bits;
mod halls;
mod map;
mod oracle;
mod orphans;
mod picks;
mod speed;

use super::*;
use crate::money::{Currency, Money};
use std::sync::Arc;

fn usd(minor: i64) -> Money {
    Money { minor, currency: Currency::parse("USD").expect("valid") }
}

fn category(name: &str, minor: i64) -> Category {
    Category { name: name.into(), price: usd(minor) }
}

/// Rows of equal length in an arc, with aisles that part each row in four.
fn arc(rows: &str, seats_per_row: u32) -> Draft {
    let quarter = seats_per_row / 4;
    let short = Short {
        rows: rows.into(),
        seats_per_row,
        aisles_after: vec![quarter, 2 * quarter, 3 * quarter],
        category: category("Hall", 5_000),
        shape: Shape::Arc { radius: 20_000 },
    };
    short.draft().expect("sound")
}

/// A seating of `draft` with nothing taken.
fn empty(draft: &Draft) -> Seating {
    let layout = Layout::new(draft).expect("sound");
    let taken = Taken::none(layout.seats(), 0);
    Seating::new(Arc::new(layout), taken).expect("of one size")
}

/// A section from a drawing: a line for each row, from the front. `.` is a free seat, `x` a taken
/// one, `A` an accessible and `C` a companion seat, both free; a space is an aisle. Rows are `A`,
/// `B` and so on.
fn drawn(drawing: &[&str]) -> Seating {
    let mut rows = Vec::new();
    let mut gone = Vec::new();
    let mut place = 0;
    for (row, line) in drawing.iter().enumerate() {
        let label = char::from(b'A' + u8::try_from(row).expect("few rows")).to_string();
        let mut seats: Vec<SeatDraft> = Vec::new();
        for (at, (before, letter)) in
            [' '].into_iter().chain(line.chars()).zip(line.chars()).enumerate()
        {
            if letter == ' ' {
                continue;
            }
            if letter == 'x' {
                gone.push(place);
            }
            place += 1;
            seats.push(SeatDraft {
                number: (seats.len() + 1).to_string(),
                at: Point {
                    x: 50 * i32::try_from(at).expect("short"),
                    y: 90 * i32::try_from(row).expect("few"),
                },
                category: "Hall".into(),
                flags: Flags {
                    accessible: letter == 'A',
                    companion: letter == 'C',
                    restricted_view: false,
                },
                aisle_before: before == ' ' && !seats.is_empty(),
                line: None,
            });
        }
        rows.push(RowDraft { label, seats });
    }
    let mut seating = empty(&Draft { categories: vec![category("Hall", 1)], rows, focal: None });
    seating.take(&gone).expect("free");
    seating
}

/// The names of chosen seats, with spaces between.
fn names(seating: &Seating, seats: &[SeatIndex]) -> String {
    let names: Vec<String> =
        seats.iter().map(|seat| seating.layout().name(*seat).to_string()).collect();
    names.join(" ")
}

/// Random enough numbers, the same in every run (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        u32::try_from((bits ^ (bits >> 31)) % u64::from(end)).expect("below a u32")
    }
}
