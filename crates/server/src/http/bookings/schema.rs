//! The forms of a hold as the OpenAPI document shows them; what reads them is [`super::forms`].

use super::super::docs::SeatWord;
use super::forms::{Best, NewBuyer, OverrideWord};
use utoipa::ToSchema;

/// A request for a hold, in one of its forms.
#[derive(ToSchema)]
#[schema(as = NewHold)]
#[serde(untagged)]
#[expect(dead_code, reason = "the forms of the schema; NewHold reads them")]
pub(super) enum HoldForm {
    Count(CountForm),
    Seats(SeatsForm),
    Items(ItemsForm),
    Best(BestForm),
}

/// A number of seats of a section; in a section with numbered seats, the best available ones.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a form of the schema")]
#[schema(as = HoldByNumber)]
pub(super) struct CountForm {
    #[schema(format = "uuid")]
    event_id: String,
    /// The section's id, or its name.
    #[schema(min_length = 1, max_length = 100)]
    section_id: String,
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    seats_requested: u32,
    /// If somebody else buys: needs `booking.sell`.
    #[schema(value_type = NewBuyer, required = false)]
    buyer: Option<NewBuyer>,
    /// Limits of the event to go beyond: needs `booking.override`.
    #[schema(value_type = Vec<OverrideWord>, required = false, max_items = 3)]
    overrides: Option<Vec<OverrideWord>>,
}

/// Seats of a section, by name.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a form of the schema")]
#[schema(as = HoldByName)]
pub(super) struct SeatsForm {
    #[schema(format = "uuid")]
    event_id: String,
    /// The section's id, or its name.
    #[schema(min_length = 1, max_length = 100)]
    section_id: String,
    #[schema(value_type = Vec<SeatWord>, min_items = 1, max_items = 10_000)]
    seats: Vec<String>,
    /// If somebody else buys: needs `booking.sell`.
    #[schema(value_type = NewBuyer, required = false)]
    buyer: Option<NewBuyer>,
    /// Limits of the event to go beyond: needs `booking.override`.
    #[schema(value_type = Vec<OverrideWord>, required = false, max_items = 3)]
    overrides: Option<Vec<OverrideWord>>,
}

/// Seats of several sections, all or none.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a form of the schema")]
#[schema(as = HoldOfCart)]
pub(super) struct ItemsForm {
    #[schema(format = "uuid")]
    event_id: String,
    #[schema(min_items = 1, max_items = 50)]
    items: Vec<ItemForm>,
    /// If somebody else buys: needs `booking.sell`.
    #[schema(value_type = NewBuyer, required = false)]
    buyer: Option<NewBuyer>,
    /// Limits of the event to go beyond: needs `booking.override`.
    #[schema(value_type = Vec<OverrideWord>, required = false, max_items = 3)]
    overrides: Option<Vec<OverrideWord>>,
}

/// The best available seats.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a form of the schema")]
#[schema(as = HoldOfBest)]
pub(super) struct BestForm {
    #[schema(format = "uuid")]
    event_id: String,
    best_available: Best,
    /// If somebody else buys: needs `booking.sell`.
    #[schema(value_type = NewBuyer, required = false)]
    buyer: Option<NewBuyer>,
    /// Limits of the event to go beyond: needs `booking.override`.
    #[schema(value_type = Vec<OverrideWord>, required = false, max_items = 3)]
    overrides: Option<Vec<OverrideWord>>,
}

/// An item: a section, with the number or the names of its seats.
#[derive(ToSchema)]
#[schema(as = NewItem)]
#[serde(untagged)]
#[expect(dead_code, reason = "the forms of the schema; NewItem reads them")]
pub(super) enum ItemForm {
    Count(ItemOfCount),
    Seats(ItemOfSeats),
}

/// A number of seats of a section.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a form of the schema")]
#[schema(as = ItemByNumber)]
pub(super) struct ItemOfCount {
    /// The section's id, or its name.
    #[schema(min_length = 1, max_length = 100)]
    section_id: String,
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    seats_requested: u32,
}

/// Seats of a section, by name.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a form of the schema")]
#[schema(as = ItemByName)]
pub(super) struct ItemOfSeats {
    /// The section's id, or its name.
    #[schema(min_length = 1, max_length = 100)]
    section_id: String,
    #[schema(value_type = Vec<SeatWord>, min_items = 1, max_items = 10_000)]
    seats: Vec<String>,
}
