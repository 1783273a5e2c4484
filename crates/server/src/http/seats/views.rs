//! How numbered seats are shown: the drawing of a section, and which of its seats are not free.

use super::forms::PointForm;
use crate::http::docs::SeatWord;
use crate::http::wire::shown;
use engine::seats::{Layout, Marks, SeatDraft, SeatState};
use engine::{EventId, SectionId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

/// A price category of seats.
#[derive(Serialize, ToSchema)]
#[schema(as = Category)]
struct CategoryView {
    name: String,
    /// Minor units.
    price: i64,
    #[schema(pattern = "^[A-Z]{3}$")]
    currency: String,
}

/// A seat of a drawing. Flags that are false are omitted.
#[derive(Serialize, ToSchema)]
#[schema(as = DrawnSeat)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own in the API")]
struct SeatView {
    number: String,
    x: i32,
    y: i32,
    /// The name of its category.
    category: String,
    /// A place for a wheelchair.
    #[serde(skip_serializing_if = "is_not")]
    #[schema(required = false)]
    accessible: bool,
    /// Next to an accessible place, for a companion.
    #[serde(skip_serializing_if = "is_not")]
    #[schema(required = false)]
    companion: bool,
    #[serde(skip_serializing_if = "is_not")]
    #[schema(required = false)]
    restricted_view: bool,
    /// True if an aisle separates this seat from the previous one.
    #[serde(skip_serializing_if = "is_not")]
    #[schema(required = false)]
    aisle_before: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde passes a field")]
fn is_not(flag: &bool) -> bool {
    !flag
}

impl From<SeatDraft> for SeatView {
    fn from(seat: SeatDraft) -> Self {
        Self {
            number: seat.number,
            x: seat.at.x,
            y: seat.at.y,
            category: seat.category,
            accessible: seat.flags.accessible,
            companion: seat.flags.companion,
            restricted_view: seat.flags.restricted_view,
            aisle_before: seat.aisle_before,
        }
    }
}

/// A row of a drawing.
#[derive(Serialize, ToSchema)]
#[schema(as = DrawnRow)]
struct RowView {
    label: String,
    /// The seats from one side to the other. A seat is named by its row and number: `C-12`.
    seats: Vec<SeatView>,
}

/// Returns the drawing of a section: the positions and prices of its seats.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "section_id": "01a2038b-c695-86bb-9dce-ee03a30cf8fa", "layout_version": 1, "seats": 2,
    "categories": [{"name": "Parquet", "price": 4500, "currency": "EUR"}],
    "focal": {"x": 25, "y": 0},
    "rows": [{"label": "A", "seats": [
        {"number": "1", "x": 0, "y": 0, "category": "Parquet"},
        {"number": "2", "x": 50, "y": 0, "category": "Parquet", "accessible": true},
    ]}],
}))]
pub struct Drawing {
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    section_id: SectionId,
    /// Changes with the drawing.
    layout_version: i64,
    /// The number of seats.
    seats: u32,
    categories: Vec<CategoryView>,
    /// The point that the best seats are nearest to.
    focal: PointForm,
    /// The rows from front to back.
    rows: Vec<RowView>,
}

impl Drawing {
    pub fn new(section_id: SectionId, layout_version: i64, layout: &Layout) -> Self {
        let draft = layout.draft();
        let focal = draft.focal.unwrap_or_else(|| draft.front_middle());
        let categories = draft.categories.into_iter().map(|of| CategoryView {
            name: of.name,
            price: of.price.minor,
            currency: of.price.currency.to_string(),
        });
        let rows = draft.rows.into_iter().map(|row| RowView {
            label: row.label,
            seats: row.seats.into_iter().map(SeatView::from).collect(),
        });
        Self {
            section_id,
            layout_version,
            seats: layout.seats(),
            categories: categories.collect(),
            focal: PointForm::of(focal),
            rows: rows.collect(),
        }
    }

    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("what we answer can be written as JSON")
    }
}

/// The seats of a section that are held, sold or blocked, by name.
#[derive(Serialize, ToSchema)]
#[schema(as = SeatsStatus, example = json!({
    "event_id": "01a2038b-c695-86bb-a342-d009c6967741",
    "section_id": "01a2038b-c695-86bb-9dce-ee03a30cf8fa",
    "layout_version": 1, "sequence": 17, "server_time": "2026-11-22T13:57:01.954Z",
    "capacity": 800, "available": 796, "held": ["C-12", "C-13"], "sold": ["A-1"], "blocked": ["T-40"],
}))]
pub struct StatusView {
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    event_id: EventId,
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    section_id: SectionId,
    /// The version of the drawing that the seats belong to.
    layout_version: i64,
    /// Increases with every change of a seat: the answer with the higher value is newer.
    sequence: i64,
    /// The time of the answer.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "date-time")]
    server_time: Timestamp,
    capacity: u32,
    /// The number of seats in none of the lists.
    available: u32,
    #[schema(value_type = Vec<SeatWord>)]
    held: Vec<String>,
    #[schema(value_type = Vec<SeatWord>)]
    sold: Vec<String>,
    #[schema(value_type = Vec<SeatWord>)]
    blocked: Vec<String>,
    /// The caller's own seats, held or sold; only with a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Vec<SeatWord>, required = false)]
    yours: Option<Vec<String>>,
}

impl StatusView {
    /// For everybody; `marks` are of `layout`.
    pub fn new(
        event_id: EventId,
        section_id: SectionId,
        server_time: Timestamp,
        layout: &Layout,
        marks: &Marks,
    ) -> Self {
        let (mut held, mut sold, mut blocked) = (Vec::new(), Vec::new(), Vec::new());
        for (seat, state) in marks.iter() {
            let list = match state {
                SeatState::Held => &mut held,
                SeatState::Sold => &mut sold,
                SeatState::Blocked => &mut blocked,
            };
            list.push(layout.name(seat).to_string());
        }
        Self {
            event_id,
            section_id,
            layout_version: marks.layout_version,
            sequence: marks.version(),
            server_time,
            capacity: layout.seats(),
            available: layout.seats() - marks.taken(),
            held,
            sold,
            blocked,
            yours: None,
        }
    }

    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("what we answer can be written as JSON")
    }
}

/// The answer for everybody with the caller's own seats as its last member.
pub fn with_yours(page: &[u8], yours: &[String]) -> Vec<u8> {
    let open = page.strip_suffix(b"}").expect("a status is an object");
    let yours = serde_json::to_vec(yours).expect("what we answer can be written as JSON");
    [open, b",\"yours\":", &yours, b"}"].concat()
}
