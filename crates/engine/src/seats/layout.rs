//! Layouts: the seat map of a section, checked whole and kept compactly.
//!
//! A layout never changes; a changed map is a new layout (see [`change`](super::change)). For each
//! seat it keeps about 40 bytes, so 100,000 seats take 4 MB. A seat is found by its name in a
//! table of rows and, where a row is not numbered in order, a binary search; neighbours by their index.

use super::check::{check, stored_label, written_label};
use super::draft::{Category, Draft, Flags, Point, RowDraft, SeatDraft};
use super::flaw::Flaws;
use super::{CATEGORIES_MAX, NUMBER_LENGTH_MAX, SeatIndex};
use crate::money::{Currency, Money};
use crate::text::{composed, folded};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::Range;

/// Bits of [`Layout::id`]: JSON's numbers keep 53.
const LAYOUT_ID_BITS: u32 = 52;

/// For whom a seat is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// For everybody.
    Ordinary,
    /// For buyers who request an accessible one.
    Accessible,
    /// For their companions.
    Companion,
}

/// The number of a seat: ASCII, filled up with zeros.
pub(super) type Number = [u8; NUMBER_LENGTH_MAX];

/// A row: its seats are the indices of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    label: Box<str>,
    seats: RowSeats,
}

/// The seats of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RowSeats {
    first: SeatIndex,
    end: SeatIndex,
    /// Whether they are numbered 1, 2, 3 and so on, as most are: then a number says the place.
    counted: bool,
}

/// A part of a row without an aisle: seats whose neighbours are the indices beside theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    /// Its seats.
    pub seats: Range<SeatIndex>,
    /// The categories of its seats, one bit each.
    pub categories: u64,
    /// The place of its row.
    row: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Seat {
    number: Number,
    at: Point,
    stretch: u32,
    category: u8,
    flags: Flags,
}

impl RowSeats {
    fn places(self) -> Range<SeatIndex> {
        self.first..self.end
    }

    fn range(self) -> Range<usize> {
        self.first as usize..self.end as usize
    }
}

/// A seat that was found by what a person wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spelled {
    /// The seat.
    pub seat: SeatIndex,
    /// Whether what was written is its name, character by character.
    pub is_its_name: bool,
}

/// The seat map of a section. See the [module](self).
#[derive(Clone, PartialEq, Eq)]
pub struct Layout {
    categories: Vec<Category>,
    focal: Option<Point>,
    rows: Vec<Row>,
    /// The seats of each row by its label.
    rows_by_label: HashMap<Box<str>, RowSeats>,
    /// The same by the label as it compares; `None` where several rows have it.
    rows_by_folded_label: HashMap<Box<str>, Option<RowSeats>>,
    seats: Vec<Seat>,
    /// The seats of each row in the order of their numbers, in the row's own range.
    seats_by_number: Vec<SeatIndex>,
    stretches: Vec<Stretch>,
    /// Squared distance of each seat to the focal point.
    distances: Vec<u64>,
    /// Category and kind of each seat in one number, see [`class_of`].
    classes: Vec<u8>,
}

/// Its size: nobody reads a hundred thousand seats.
impl fmt::Debug for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rows, seats) = (self.rows.len(), self.seats.len());
        f.debug_struct("Layout").field("rows", &rows).field("seats", &seats).finish_non_exhaustive()
    }
}

/// How many classes there can be.
pub(super) const CLASSES: usize = 3 * CATEGORIES_MAX;

/// Category and kind as one number below [`CLASSES`].
pub(super) fn class_of(category: usize, kind: Kind) -> usize {
    3 * category + kind as usize
}

impl Layout {
    /// Checks `draft` whole and makes a layout of it, without the categories that have no seat: nothing
    /// is sold at their price.
    ///
    /// Flaws, in the order of the draft: no rows or more than [`ROWS_MAX`](super::ROWS_MAX),
    /// categories that are doubled or out of limits, rows without a label, with one that was there
    /// before or with too few or too many seats; seats whose number is no 1 to 8 ASCII letters and
    /// digits or was there before in the row, whose category is unknown, or that are drawn too far
    /// away; more than [`SEATS_MAX`](super::SEATS_MAX) seats. Labels are kept composed, and follow
    /// the rule of [`name_flaw`](crate::text::name_flaw).
    pub fn new(draft: &Draft) -> Result<Self, Flaws> {
        let draft = draft.composed();
        check(&draft, written_label)?;
        Ok(Self::checked(&draft))
    }

    /// The layout of a draft that was one before: with labels as an earlier version let them be.
    pub fn stored(draft: &Draft) -> Result<Self, Flaws> {
        check(draft, stored_label)?;
        Ok(Self::checked(draft))
    }

    fn checked(draft: &Draft) -> Self {
        let focal = draft.focal.unwrap_or_else(|| draft.front_middle());
        let seats = draft.rows.iter().flat_map(|row| &row.seats);
        let used: HashSet<&str> = seats.map(|seat| seat.category.as_str()).collect();
        let used = draft.categories.iter().filter(|one| used.contains(one.name.as_str()));
        let used: Vec<Category> = used.cloned().collect();
        let categories: HashMap<&str, usize> =
            used.iter().enumerate().map(|(at, one)| (one.name.as_str(), at)).collect();
        let mut layout = Self {
            categories: used.clone(),
            focal: draft.focal,
            rows: Vec::with_capacity(draft.rows.len()),
            rows_by_label: HashMap::with_capacity(draft.rows.len()),
            rows_by_folded_label: HashMap::with_capacity(draft.rows.len()),
            seats: Vec::new(),
            seats_by_number: Vec::new(),
            stretches: Vec::new(),
            distances: Vec::new(),
            classes: Vec::new(),
        };
        for row in &draft.rows {
            let first = layout.seats();
            for (at, seat) in row.seats.iter().enumerate() {
                let begins = at == 0 || seat.aisle_before;
                layout.push(seat, categories[seat.category.as_str()], focal, begins);
            }
            let is_place = |(place, seat): (u32, &SeatDraft)| {
                number(&seat.number).and_then(|number| counted(&number)) == Some(place)
            };
            let counted = (1..).zip(&row.seats).all(is_place);
            let seats = RowSeats { first, end: layout.seats(), counted };
            layout.rows_by_label.insert(row.label.as_str().into(), seats);
            layout.rows.push(Row { label: row.label.as_str().into(), seats });
        }
        layout.seats_by_number = (0..layout.seats()).collect();
        for Row { seats: row, .. } in &layout.rows {
            let seats = &layout.seats;
            layout.seats_by_number[row.range()]
                .sort_unstable_by_key(|seat| seats[*seat as usize].number);
        }
        for Row { label, seats } in &layout.rows {
            let named_so = layout.rows_by_folded_label.entry(folded(label).into());
            named_so.and_modify(|found| *found = None).or_insert(Some(*seats));
        }
        layout
    }

    fn push(&mut self, seat: &SeatDraft, category: usize, focal: Point, begins: bool) {
        let place = self.seats();
        if begins {
            let row = index(self.rows.len());
            self.stretches.push(Stretch { seats: place..place, categories: 0, row });
        }
        let stretch = index(self.stretches.len() - 1);
        let last = self.stretches.last_mut().expect("a row begins with a stretch");
        last.seats.end = place + 1;
        last.categories |= 1 << category;
        let class = class_of(category, kind_of(seat.flags));
        self.classes.push(u8::try_from(class).expect("CLASSES fits in a byte"));
        self.distances.push(seat.at.distance_squared(focal));
        self.seats.push(Seat {
            number: number(&seat.number).expect("checked before"),
            at: seat.at,
            stretch,
            category: u8::try_from(category).expect("CATEGORIES_MAX fits in a byte"),
            flags: seat.flags,
        });
    }

    /// The draft this layout was made of, without the lines of a CSV and the categories without a seat.
    #[must_use]
    pub fn draft(&self) -> Draft {
        let seat = |row: &Row, place: SeatIndex| {
            let seat = &self.seats[place as usize];
            let begins = self.stretches[seat.stretch as usize].seats.start == place;
            SeatDraft {
                number: self.number(place).to_owned(),
                at: seat.at,
                category: self.categories[usize::from(seat.category)].name.clone(),
                flags: seat.flags,
                aisle_before: begins && place != row.seats.first,
                line: None,
            }
        };
        let rows = self.rows.iter().map(|row| RowDraft {
            label: row.label.to_string(),
            seats: row.seats.places().map(|place| seat(row, place)).collect(),
        });
        Draft { categories: self.categories.clone(), rows: rows.collect(), focal: self.focal }
    }

    /// The same layout with the same amounts in another currency.
    #[must_use]
    pub fn in_currency(&self, currency: Currency) -> Self {
        let mut layout = self.clone();
        for category in &mut layout.categories {
            category.price.currency = currency;
        }
        layout
    }

    /// The number that names this layout: a digest of its seats, prices and focal point, between 1 and
    /// 2^52, so that JSON keeps it exactly. Layouts of one number are the same, whatever history of a
    /// database they were laid in; a count of versions would say the same of different ones after a
    /// restore.
    #[must_use]
    pub fn id(&self) -> i64 {
        // FNV-1a: fast, and the same in every release. Nobody gains by a collision but the organizer
        // who would have to look for one among layouts of their own.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut add = |bytes: &[u8]| {
            for byte in bytes {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        };
        add(self.draft().to_csv().as_bytes());
        add(self.lowest_price().currency.as_str().as_bytes());
        if let Some(Point { x, y }) = self.focal {
            add(&x.to_be_bytes());
            add(&y.to_be_bytes());
        }
        let folded = (hash ^ (hash >> LAYOUT_ID_BITS)) & ((1 << LAYOUT_ID_BITS) - 1);
        i64::try_from(folded.max(1)).expect("52 bits fit")
    }

    /// How many seats there are.
    #[must_use]
    pub fn seats(&self) -> u32 {
        index(self.seats.len())
    }

    /// The categories, in the order of the draft.
    #[must_use]
    pub fn categories(&self) -> &[Category] {
        &self.categories
    }

    /// The seat that is named `name`, such as `C-12`: the label of its row, a hyphen, its number.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<SeatIndex> {
        let (label, number) = name.rsplit_once('-')?;
        self.find_in(label, number)
    }

    /// The seat with this number in the row with this label, or with the same label composed.
    #[must_use]
    pub fn find_in(&self, label: &str, wanted: &str) -> Option<SeatIndex> {
        let by_label = |label: &str| self.rows_by_label.get(label);
        let row = by_label(label).or_else(|| by_label(&composed(label)))?;
        self.find_in_row(*row, wanted)
    }

    /// The seat that a person means by `name`: the one that is named so, or else the only one whose
    /// name compares equal, such as `C-12` for `c-12`.
    #[must_use]
    pub fn find_spelled(&self, name: &str) -> Option<Spelled> {
        let (label, number) = name.rsplit_once('-')?;
        let named_so = self.rows_by_label.get(label).copied();
        if let Some(seat) = named_so.and_then(|row| self.find_in_row(row, number)) {
            return Some(Spelled { seat, is_its_name: true });
        }
        let row = named_so.or_else(|| *self.rows_by_folded_label.get(&*folded(label))?)?;
        let spelled = [number, &number.to_ascii_uppercase(), &number.to_ascii_lowercase()];
        let seat = spelled.into_iter().find_map(|number| self.find_in_row(row, number))?;
        Some(Spelled { seat, is_its_name: false })
    }

    fn find_in_row(&self, row: RowSeats, wanted: &str) -> Option<SeatIndex> {
        let wanted = number(wanted)?;
        if row.counted {
            let seat = counted(&wanted).and_then(|number| row.first.checked_add(number - 1));
            return seat.filter(|seat| *seat < row.end);
        }
        let seats = &self.seats_by_number[row.range()];
        let found = seats.binary_search_by_key(&wanted, |seat| self.seats[*seat as usize].number);
        Some(seats[found.ok()?])
    }

    /// The name of `seat`, made while it is shown.
    #[must_use]
    pub fn name(&self, seat: SeatIndex) -> impl fmt::Display {
        let (label, number) = (self.row(seat), self.number(seat));
        fmt::from_fn(move |f| write!(f, "{label}-{number}"))
    }

    /// The label of the row of `seat`.
    #[must_use]
    pub fn row(&self, seat: SeatIndex) -> &str {
        let stretch = &self.stretches[self.seats[seat as usize].stretch as usize];
        &self.rows[stretch.row as usize].label
    }

    /// The number of `seat` in its row.
    #[must_use]
    pub fn number(&self, seat: SeatIndex) -> &str {
        let number = &self.seats[seat as usize].number;
        let length = number.iter().position(|byte| *byte == 0).unwrap_or(NUMBER_LENGTH_MAX);
        std::str::from_utf8(&number[..length]).expect("made of ASCII letters and digits")
    }

    /// What `seat` costs.
    #[must_use]
    pub fn price(&self, seat: SeatIndex) -> Money {
        self.category(seat).price
    }

    /// What the cheapest of its categories costs.
    #[must_use]
    pub fn lowest_price(&self) -> Money {
        let prices = self.categories.iter().map(|category| category.price);
        prices.min_by_key(|price| price.minor).expect("a layout has a category")
    }

    /// What the dearest of its categories costs.
    #[must_use]
    pub fn highest_price(&self) -> Money {
        let prices = self.categories.iter().map(|category| category.price);
        prices.max_by_key(|price| price.minor).expect("a layout has a category")
    }

    /// The category of `seat`.
    #[must_use]
    pub fn category(&self, seat: SeatIndex) -> &Category {
        &self.categories[usize::from(self.seats[seat as usize].category)]
    }

    /// Where `seat` is drawn.
    #[must_use]
    pub fn at(&self, seat: SeatIndex) -> Point {
        self.seats[seat as usize].at
    }

    /// What is special about `seat`.
    #[must_use]
    pub fn flags(&self, seat: SeatIndex) -> Flags {
        self.seats[seat as usize].flags
    }

    /// The squared distance of `seat` to the focal point.
    #[must_use]
    pub fn distance(&self, seat: SeatIndex) -> u64 {
        self.distances[seat as usize]
    }

    /// The stretch of `seat`: all seats of its row with no aisle between.
    #[must_use]
    pub fn stretch(&self, seat: SeatIndex) -> Range<SeatIndex> {
        self.stretches[self.seats[seat as usize].stretch as usize].seats.clone()
    }

    /// The seats beside `seat`, of which there are at most two.
    pub fn neighbours(&self, seat: SeatIndex) -> impl Iterator<Item = SeatIndex> {
        let stretch = self.stretch(seat);
        let left = seat.checked_sub(1).filter(|left| stretch.contains(left));
        left.into_iter().chain(Some(seat + 1).filter(|right| stretch.contains(right)))
    }

    /// Whether `seats`, each named once and in any order, are adjacent in one stretch.
    #[must_use]
    pub fn are_beside_each_other(&self, seats: &[SeatIndex]) -> bool {
        let (Some(first), Some(last)) = (seats.iter().min(), seats.iter().max()) else {
            return false;
        };
        self.stretch(*first).contains(last) && (last - first) as usize + 1 == seats.len()
    }

    pub(super) fn stretches(&self) -> &[Stretch] {
        &self.stretches
    }

    pub(super) fn stretch_index(&self, seat: SeatIndex) -> u32 {
        self.seats[seat as usize].stretch
    }

    pub(super) fn class(&self, seat: SeatIndex) -> usize {
        usize::from(self.classes[seat as usize])
    }

    pub(super) fn kind(&self, seat: SeatIndex) -> Kind {
        kind_of(self.flags(seat))
    }
}

fn kind_of(flags: Flags) -> Kind {
    match flags {
        Flags { accessible: true, .. } => Kind::Accessible,
        Flags { companion: true, .. } => Kind::Companion,
        _ => Kind::Ordinary,
    }
}

fn index(count: usize) -> u32 {
    u32::try_from(count).expect("SEATS_MAX fits in 32 bits")
}

/// The value of a number of digits: at least 1, without leading zeros.
fn counted(number: &Number) -> Option<u32> {
    if number[0] == b'0' {
        return None;
    }
    let mut digits = number.iter().take_while(|byte| **byte != 0);
    let value = digits.try_fold(0, |sum: u32, byte| {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
        Some(10 * sum + digit)
    });
    value.filter(|value| *value > 0)
}

/// The number as it is kept; `None` unless it has 1 to 8 ASCII letters and digits.
pub(super) fn number(text: &str) -> Option<Number> {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !plain || !(1..=NUMBER_LENGTH_MAX).contains(&text.len()) {
        return None;
    }
    let mut number = Number::default();
    number[..text.len()].copy_from_slice(text.as_bytes());
    Some(number)
}
