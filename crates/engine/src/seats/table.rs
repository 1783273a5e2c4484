//! Layouts as CSV: a line for each seat, the rows from the front to the back.
//!
//! The first line that is not empty names the columns, in any order:
//!
//! | column | required | content |
//! |---|---|---|
//! | `row` | yes | the label of the row; the seats of a row are in consecutive lines |
//! | `seat` | yes | the number of the seat |
//! | `category` | yes | the name of its category |
//! | `price` | yes | its price in minor units; may be empty once the category has one |
//! | `x`, `y` | both or none | where it is drawn; without them, in straight rows |
//! | `accessible`, `companion`, `restricted_view` | no | `true`, `1` or `x`; `false`, `0` or nothing |
//! | `aisle_before` | no | the same: whether an aisle parts it from the seat before |
//!
//! Spreadsheets write tables back in a form of their own: flags in capital letters, a line of commas
//! for every empty row, and empty columns at the end. So flags and the names of columns are read in
//! any case, empty lines and columns are skipped, and where the first line has no comma, semicolons or
//! tabs separate the fields.
//!
//! Fields may be quoted as in RFC 4180, lines end in LF, CRLF or CR, a byte order mark is skipped,
//! and so are spaces around the content of a field. The focal point is the default. Flaws name the
//! line on which their seat begins.

use super::draft::{Category, Draft, Flags, Point, ROW_PITCH, RowDraft, SEAT_PITCH, SeatDraft};
use super::flaw::{FlawPlace, Flaws};
use super::{CATEGORIES_MAX, ROWS_MAX, SEATS_MAX};
use crate::money::{Currency, Money};
use csv::{ReaderBuilder, StringRecord, Trim, WriterBuilder};
use std::collections::HashMap;

/// The columns that a table may have, in the order in which it is written.
pub const COLUMNS: [&str; 10] = [
    "row",
    "seat",
    "category",
    "price",
    "x",
    "y",
    "accessible",
    "companion",
    "restricted_view",
    "aisle_before",
];

/// The first of [`COLUMNS`], which every table has.
const NEEDED: usize = 4;

impl Draft {
    /// Reads the table that the [module](self) describes; prices are in `currency`.
    ///
    /// Flaws are those of the form: of columns, prices, coordinates and flags, a row that stands in
    /// two places, and more seats, rows or categories than a section has. All others are found by
    /// [`Layout::new`](super::Layout::new), with the line.
    pub fn from_csv(text: &str, currency: Currency) -> Result<Self, Flaws> {
        // The reader passes over a mark of its own accord; a trimmed one is one however it came
        // here.
        let text = text.trim_start_matches('\u{feff}');
        let mut lines = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(delimiter(text))
            .trim(Trim::All)
            .from_reader(text.as_bytes());
        let mut record = StringRecord::new();
        let mut counted = Counted { text: text.as_bytes(), at: 0, line: 1 };
        let unreadable = |error: &csv::Error| Flaws::of("csv", error.to_string());
        let mut next = |record: &mut StringRecord| -> Result<Option<u64>, Flaws> {
            while lines.read_record(record).map_err(|error| unreadable(&error))? {
                if record.iter().any(|field| !field.is_empty()) {
                    let at = record.position().map_or(0, csv::Position::byte);
                    return Ok(Some(counted.line_at(at)));
                }
            }
            Ok(None)
        };
        let Some(line) = next(&mut record)? else {
            return Err(Flaws::of("csv", "is empty"));
        };
        let mut reading = Reading::of(&record, line, currency)?;
        while let Some(line) = next(&mut record)? {
            if reading.seats == SEATS_MAX {
                let message = format!("must be at most {SEATS_MAX} seats");
                reading.flaws.add(FlawPlace::default(), "seats", message);
                break;
            }
            reading.line(&record, Some(line));
        }
        reading.flaws.or(reading.draft)
    }

    /// Writes the table that [`Self::from_csv`] reads. Of the draft it leaves out the focal point
    /// and categories without a seat.
    #[must_use]
    pub fn to_csv(&self) -> String {
        let mut table = WriterBuilder::new().from_writer(Vec::new());
        let kept = "a table in memory takes every record of as many fields";
        table.write_record(COLUMNS).expect(kept);
        let prices: HashMap<&str, i64> =
            self.categories.iter().map(|one| (one.name.as_str(), one.price.minor)).collect();
        for row in &self.rows {
            for seat in &row.seats {
                let price = prices.get(seat.category.as_str()).map(i64::to_string);
                let price = price.unwrap_or_default();
                let (x, y) = (seat.at.x.to_string(), seat.at.y.to_string());
                let Flags { accessible, companion, restricted_view } = seat.flags;
                let flags = [accessible, companion, restricted_view, seat.aisle_before]
                    .map(|flag| if flag { "true" } else { "" });
                let start = [&*row.label, &*seat.number, &*seat.category, &*price, &*x, &*y];
                table.write_record(start.into_iter().chain(flags)).expect(kept);
            }
        }
        let bytes = table.into_inner().expect("a table in memory is always written");
        String::from_utf8(bytes).expect("made of strings")
    }
}

/// A table that is being read.
struct Reading {
    /// For each of [`COLUMNS`], its position.
    columns: [Option<usize>; COLUMNS.len()],
    currency: Currency,
    draft: Draft,
    seats: usize,
    flaws: Flaws,
}

impl Reading {
    /// Reads the first line.
    fn of(header: &StringRecord, line: u64, currency: Currency) -> Result<Self, Flaws> {
        let mut columns = [None; COLUMNS.len()];
        let mut flaws = Flaws::default();
        let mut tell = |message: String| {
            let place = FlawPlace { line: Some(line), ..FlawPlace::default() };
            flaws.add(place, "columns", message);
        };
        for (at, name) in header.iter().enumerate() {
            match COLUMNS.iter().position(|column| column.eq_ignore_ascii_case(name)) {
                // If the column has content, the error is reported for that line.
                None if name.is_empty() => {}
                None => {
                    tell(format!(
                        "unknown column {name:?}, expected one of {}",
                        COLUMNS.join(", ")
                    ));
                }
                Some(column) if columns[column].replace(at).is_some() => {
                    tell(format!("duplicate column {name:?}"));
                }
                Some(_) => {}
            }
        }
        for (column, name) in COLUMNS.iter().enumerate().take(NEEDED) {
            if columns[column].is_none() {
                tell(format!("column {name:?} is missing"));
            }
        }
        if columns[4].is_some() != columns[5].is_some() {
            tell("\"x\" and \"y\" must be used together".into());
        }
        flaws.or(Self {
            columns,
            currency,
            draft: Draft::default(),
            seats: 0,
            flaws: Flaws::default(),
        })
    }

    /// Reads the line of a seat.
    fn line(&mut self, record: &StringRecord, line: Option<u64>) {
        let columns = self.columns;
        let field = |column: usize| columns[column].and_then(|at| record.get(at)).unwrap_or("");
        let (row, number) = (field(0), field(1));
        let place = || FlawPlace {
            line,
            row: Some(row.to_owned()),
            seat: Some(number.to_owned()),
            category: None,
        };
        let unnamed = |at: &usize| !columns.contains(&Some(*at));
        let stray = record.iter().enumerate().filter(|(_, text)| !text.is_empty());
        if let Some(at) = stray.map(|(at, _)| at).find(unnamed) {
            let message = format!("field {} of the line belongs to no named column", at + 1);
            self.flaws.add(place(), "csv", message);
        }
        self.price(field(2), field(3), place);
        let mut flags = [false; 4];
        for (at, flag) in flags.iter_mut().enumerate() {
            match read_flag(field(6 + at)) {
                Some(read) => *flag = read,
                None => self.flaws.add(place(), COLUMNS[6 + at], "must be true or false"),
            }
        }
        if self.draft.rows.last().is_none_or(|last| last.label != row) {
            if self.draft.rows.len() == ROWS_MAX {
                let message = format!("must be at most {ROWS_MAX} rows");
                self.flaws.add(place(), "rows", message);
                return;
            }
            self.draft.rows.push(RowDraft { label: row.to_owned(), seats: Vec::new() });
        }
        let rows = self.draft.rows.len();
        let row = self.draft.rows.last_mut().expect("pushed before");
        let mut at = grid(rows - 1, row.seats.len());
        for (column, value) in [(4, &mut at.x), (5, &mut at.y)] {
            if columns[column].is_some() {
                match field(column).parse() {
                    Ok(read) => *value = read,
                    Err(_) => self.flaws.add(place(), COLUMNS[column], "must be a whole number"),
                }
            }
        }
        let [accessible, companion, restricted_view, aisle_before] = flags;
        row.seats.push(SeatDraft {
            number: number.to_owned(),
            at,
            category: field(2).to_owned(),
            flags: Flags { accessible, companion, restricted_view },
            aisle_before: aisle_before && !row.seats.is_empty(),
            line,
        });
        self.seats += 1;
    }

    /// Reads the price of a category, which is the same in all lines.
    fn price(&mut self, name: &str, price: &str, place: impl FnOnce() -> FlawPlace) {
        let known = self.draft.categories.iter().find(|one| one.name == name);
        let known = known.map(|one| one.price.minor);
        match (price.parse::<i64>().ok(), known) {
            (None, Some(_)) if price.is_empty() => {}
            (None, None) if price.is_empty() && name.is_empty() => {
                self.flaws.add(place(), "category", "is missing");
            }
            (None, None) if price.is_empty() => self.flaws.add(
                place(),
                "price",
                format!("is missing: no earlier line has the category {name:?}"),
            ),
            (None, _) => self.flaws.add(
                place(),
                "price",
                format!("must be a whole number of minor units, 0 to {}", Money::UNIT_PRICE_MAX),
            ),
            (Some(minor), Some(known)) if minor == known => {}
            (Some(_), Some(known)) => {
                self.flaws.add(
                    place(),
                    "price",
                    format!(
                        "category {name:?} has the price {known} \
                    in an earlier line"
                    ),
                );
            }
            // One category more than allowed is kept, and found with the layout as a whole.
            (Some(minor), None) => {
                if self.draft.categories.len() <= CATEGORIES_MAX {
                    let price = Money { minor, currency: self.currency };
                    self.draft.categories.push(Category { name: name.to_owned(), price });
                }
            }
        }
    }
}

/// Counts the lines of a text from its beginning. The reader's own count is taken before it passes
/// over empty lines and the second half of CRLF.
struct Counted<'a> {
    text: &'a [u8],
    at: usize,
    line: u64,
}

impl Counted<'_> {
    /// The line of what comes at or after this byte and is no end of a line.
    fn line_at(&mut self, byte: u64) -> u64 {
        let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
        while let Some(next) = self.text.get(self.at) {
            if self.at as u64 >= byte && !is_end(next) {
                break;
            }
            let half = *next == b'\r' && self.text.get(self.at + 1) == Some(&b'\n');
            self.line += u64::from(is_end(next) && !half);
            self.at += 1;
        }
        self.line
    }
}

/// What separates the fields: of these, what stands in the first line.
fn delimiter(text: &str) -> u8 {
    let lines = text.split(['\r', '\n']);
    let head = lines.map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    [b',', b';', b'\t'].into_iter().find(|one| head.as_bytes().contains(one)).unwrap_or(b',')
}

/// Reads the field of a flag.
fn read_flag(text: &str) -> Option<bool> {
    let is_one_of = |words: [&str; 3]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    match () {
        () if is_one_of(["true", "1", "x"]) => Some(true),
        () if is_one_of(["false", "0", ""]) => Some(false),
        () => None,
    }
}

/// Where a seat is drawn that has no coordinates.
fn grid(row: usize, seat: usize) -> Point {
    let place =
        |at: usize, pitch| i32::try_from(at).map_or(i32::MAX, |at| at.saturating_mul(pitch));
    Point { x: place(seat, SEAT_PITCH), y: place(row, ROW_PITCH) }
}
