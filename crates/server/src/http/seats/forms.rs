//! Requests of organizers about numbered seats: layouts in short and full form, and blocked seats.

use crate::http::body::{object, objects};
use crate::http::docs::SeatWord;
use crate::http::problem::{FieldError, Problem, duplicate_seat};
use crate::http::wire::{composed, given, legible};
use engine::event::CAPACITY_MAX;
use engine::seats::draft::SEAT_PITCH;
use engine::seats::flaw::FlawPlace;
use engine::seats::{
    Category, Draft, Flags, Flaw, Flaws, LABEL_LENGTH_MAX, Point, RowDraft, SEATS_MAX, SeatDraft,
    SeatName, Shape, Short,
};
use engine::{Blocked, Money};
use garde::Validate;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::sync::Arc;
use utoipa::ToSchema;

/// A layout in either form; the type of `rows` decides which.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LayoutForm {
    rows: Rows,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    seats_per_row: Option<u32>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    aisles_after: Option<Vec<u32>>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    shape: Option<String>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    radius: Option<u32>,
    #[serde(default, deserialize_with = "given_list", skip_serializing_if = "Option::is_none")]
    categories: Option<Vec<CategoryForm>>,
    #[serde(default, deserialize_with = "object", skip_serializing_if = "Option::is_none")]
    focal: Option<PointForm>,
}

/// A layout of its own as a body: the engine checks it whole.
impl Validate for LayoutForm {
    type Context = ();

    fn validate_into(&self, (): &(), _: &mut dyn FnMut() -> garde::Path, _: &mut garde::Report) {}
}

/// The rows of a layout: labels and ranges of them, or each in full.
#[derive(Clone, Serialize)]
#[serde(untagged)]
enum Rows {
    Named(String),
    Full(Vec<RowForm>),
}

impl<'de> Deserialize<'de> for Rows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Rows;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels such as \"A-T\", or a list of rows")
            }

            fn visit_str<E>(self, text: &str) -> Result<Rows, E> {
                Ok(Rows::Named(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, rows: A) -> Result<Rows, A::Error> {
                objects(SeqAccessDeserializer::new(rows)).map(Rows::Full)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

fn given_list<'de, T, D>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    objects(deserializer).map(Some)
}

/// A price category of seats.
#[derive(Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewCategory)]
pub struct CategoryForm {
    /// Unique in the section.
    #[schema(
        min_length = 1,
        max_length = 32,
        pattern = r"^[^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]([^\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]*[^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8])?$"
    )]
    name: String,
    /// Minor units.
    #[schema(minimum = 0, maximum = 100_000_000_000_i64)]
    price: i64,
}

/// A point of the drawing. `y` increases with the distance from the stage; a unit is about a
/// centimetre.
#[derive(Clone, Copy, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Point)]
pub struct PointForm {
    #[schema(minimum = -1_000_000, maximum = 1_000_000)]
    x: i32,
    #[schema(minimum = -1_000_000, maximum = 1_000_000)]
    y: i32,
}

impl PointForm {
    pub fn of(point: Point) -> Self {
        Self { x: point.x, y: point.y }
    }
}

/// A row, with its seats from one side to the other.
#[derive(Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewRow)]
pub struct RowForm {
    /// Unique in the section.
    #[schema(
        min_length = 1,
        max_length = 32,
        pattern = r"^[^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]([^\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]*[^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8])?$"
    )]
    label: String,
    #[serde(deserialize_with = "objects")]
    #[schema(min_items = 1, max_items = 1_000)]
    seats: Vec<SeatForm>,
}

/// A seat.
#[derive(Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewSeat)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own in the API")]
pub struct SeatForm {
    /// Unique in the row.
    #[schema(min_length = 1, max_length = 8, pattern = "^[0-9A-Za-z]+$")]
    number: String,
    #[schema(minimum = -1_000_000, maximum = 1_000_000)]
    x: i32,
    #[schema(minimum = -1_000_000, maximum = 1_000_000)]
    y: i32,
    /// The name of its category.
    #[schema(min_length = 1, max_length = 32)]
    category: String,
    /// A place for a wheelchair; assigned only on request.
    #[serde(default)]
    #[schema(default = false)]
    accessible: bool,
    /// Next to an accessible place, for a companion.
    #[serde(default)]
    #[schema(default = false)]
    companion: bool,
    #[serde(default)]
    #[schema(default = false)]
    restricted_view: bool,
    /// True if an aisle separates this seat from the previous one.
    #[serde(default)]
    #[schema(default = false)]
    aisle_before: bool,
}

impl LayoutForm {
    /// Whether its categories have prices of their own.
    pub fn is_full(&self) -> bool {
        matches!(self.rows, Rows::Full(_))
    }

    /// Leaves out what says no more than its absence, so that equal requests have one digest.
    pub fn simplify(&mut self) {
        if let Some(aisles) = &mut self.aisles_after {
            aisles.sort_unstable();
            aisles.dedup();
        }
        if !self.is_full() {
            self.aisles_after.take_if(|aisles| aisles.is_empty());
            self.shape.take_if(|shape| shape == "block");
        }
    }

    /// Writes it out. `name` and `price` are the section's: a short form has them, a full one has the
    /// currency.
    pub fn draft(self, name: &str, price: Money) -> Result<Draft, Flaws> {
        const SHORT: &str = "is allowed only if rows is a range such as \"A-T\"";
        const FULL: &str = "is allowed only if rows lists the seats";
        let mut flaws = Flaws::default();
        let mut tell = |field, message: &str| {
            flaws.count += 1;
            flaws.told.push(Flaw {
                place: FlawPlace::default(),
                field,
                message: message.to_owned(),
            });
        };
        let rows = match self.rows {
            Rows::Named(rows) => rows,
            Rows::Full(rows) => {
                let short = [
                    ("seats_per_row", self.seats_per_row.is_some()),
                    ("aisles_after", self.aisles_after.is_some()),
                    ("shape", self.shape.is_some()),
                    ("radius", self.radius.is_some()),
                ];
                short.into_iter().filter(|(_, is)| *is).for_each(|(field, _)| tell(field, SHORT));
                if self.categories.is_none() {
                    tell("categories", "is missing");
                }
                let categories = self.categories.unwrap_or_default();
                return if flaws.count > 0 {
                    Err(flaws)
                } else {
                    Ok(full(categories, rows, self.focal, price))
                };
            }
        };
        if self.categories.is_some() {
            tell("categories", FULL);
        }
        if self.focal.is_some() {
            tell("focal", FULL);
        }
        if self.seats_per_row.is_none() {
            tell("seats_per_row", "is missing");
        }
        let seats_per_row = self.seats_per_row.unwrap_or(1);
        let shape = match (self.shape.as_deref(), self.radius) {
            (Some("arc"), radius) => {
                Shape::Arc { radius: radius.unwrap_or_else(|| usual_radius(seats_per_row)) }
            }
            (None | Some("block"), None) => Shape::Block,
            (None | Some("block"), Some(_)) => {
                tell("radius", "is allowed only with the shape \"arc\"");
                Shape::Block
            }
            (Some(_), _) => {
                tell("shape", "must be block or arc");
                Shape::Block
            }
        };
        if flaws.count > 0 {
            return Err(flaws);
        }
        // Each once: how many there are is bounded by the seats of a row then.
        let aisles: BTreeSet<u32> = self.aisles_after.unwrap_or_default().into_iter().collect();
        let name: String = name.trim().chars().take(LABEL_LENGTH_MAX).collect();
        let category = Category { name: name.trim_end().to_owned(), price };
        let aisles_after = aisles.into_iter().collect();
        Short { rows, seats_per_row, aisles_after, category, shape }.draft()
    }
}

/// The radius at which a front row of this number of seats takes about a third of the circle.
fn usual_radius(seats_per_row: u32) -> u32 {
    const NARROWEST: u32 = 500;
    let around = seats_per_row.saturating_mul(SEAT_PITCH.unsigned_abs());
    (around / 2).max(NARROWEST)
}

fn full(
    categories: Vec<CategoryForm>,
    rows: Vec<RowForm>,
    focal: Option<PointForm>,
    price: Money,
) -> Draft {
    let category = |of: CategoryForm| Category {
        name: of.name,
        price: Money { minor: of.price, currency: price.currency },
    };
    let seat = |of: SeatForm| SeatDraft {
        number: of.number,
        at: Point { x: of.x, y: of.y },
        category: of.category,
        flags: Flags {
            accessible: of.accessible,
            companion: of.companion,
            restricted_view: of.restricted_view,
        },
        aisle_before: of.aisle_before,
        line: None,
    };
    let row =
        |of: RowForm| RowDraft { label: of.label, seats: of.seats.into_iter().map(seat).collect() };
    Draft {
        categories: categories.into_iter().map(category).collect(),
        rows: rows.into_iter().map(row).collect(),
        focal: focal.map(|PointForm { x, y }| Point { x, y }),
    }
}

/// What is wrong with a layout, below the field `within`, with row and seat by their names.
pub fn field_errors(flaws: &Flaws, within: &str) -> Vec<FieldError> {
    let told = flaws.told.iter().map(|Flaw { place, field, message }| {
        let line = place.line.map_or_else(String::new, |line| format!("line {line}: "));
        let row = place.row.as_ref().map_or_else(String::new, |row| format!("rows[{row}]."));
        let seat = place.seat.as_ref().map_or_else(String::new, |seat| format!("seats[{seat}]."));
        let category = place.category.map_or_else(String::new, |at| format!("categories[{at}]."));
        let field = format!("{line}{within}{row}{seat}{category}{field}");
        FieldError { field, message: message.clone() }
    });
    told.collect()
}

/// The problem of a layout that is a body of its own.
pub fn flawed(flaws: &Flaws) -> Problem {
    Problem::invalid_among(&field_errors(flaws, ""), flaws.count - flaws.told.len())
}

/// All seats to block: `seats` in a section with numbered seats, `number` otherwise.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"seats": ["A-1", "A-2"], "reason": "Reserved for the mixing desk"}))]
#[schema(as = BlockedSeats)]
pub struct BlockedForm {
    #[serde(default, deserialize_with = "given")]
    #[garde(inner(range(min = 0, max = CAPACITY_MAX)))]
    #[schema(value_type = i64, required = false, minimum = 0, maximum = 1_000_000_000_i64)]
    number: Option<i64>,
    /// The names of the seats, such as `A-1`; an empty list unblocks all seats.
    #[serde(default, deserialize_with = "given")]
    #[garde(inner(length(max = SEATS_MAX)))]
    #[schema(value_type = Vec<SeatWord>, required = false, max_items = 100_000)]
    seats: Option<Vec<String>>,
    /// The reason, kept in the log.
    #[serde(deserialize_with = "composed")]
    #[garde(length(chars, min = 1, max = 200), custom(legible))]
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]([^\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]*[^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8])?$"
    )]
    pub reason: String,
}

impl BlockedForm {
    /// What it says, and why.
    pub fn read(self) -> Result<(Blocked, Arc<str>), Problem> {
        let blocked = match (self.number, self.seats) {
            (Some(number), None) => Blocked::Count(number),
            (None, Some(seats)) => {
                let mut named = HashSet::with_capacity(seats.len());
                if let Some(at) = seats.iter().position(|seat| !named.insert(seat.as_str())) {
                    let seat = &seats[at];
                    let message = duplicate_seat(seat, seat);
                    return Err(Problem::invalid_field(format!("seats[{at}]"), message));
                }
                Blocked::Seats(seats.iter().map(|seat| SeatName::from(seat.as_str())).collect())
            }
            (None, None) => {
                return Err(Problem::invalid_field(
                    "seats",
                    "exactly one of seats and number is \
                    required",
                ));
            }
            (Some(_), Some(_)) => {
                return Err(Problem::invalid_field("number", "cannot be combined with seats"));
            }
        };
        Ok((blocked, self.reason.into()))
    }
}
