//! The schema of a layout: what `LayoutForm` reads, as a schema of the document.

use super::forms::{CategoryForm, PointForm, RowForm};
use serde::Deserialize;
use utoipa::ToSchema;

/// The seat map of a section.
#[derive(ToSchema)]
#[schema(as = Layout)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what `LayoutForm` reads")]
pub enum LayoutSchema {
    Short(ShortLayout),
    Full(FullLayout),
}

/// A layout in short form: equal rows in one category, which gets the section's name and price.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"rows": "A-T", "seats_per_row": 40, "aisles_after": [20]}))]
#[expect(dead_code, reason = "describes what `LayoutForm` reads")]
pub struct ShortLayout {
    /// Labels and ranges of labels from the front to the back, such as `A-H,J-Z,AA-AF` or `1-20`.
    #[schema(min_length = 1, max_length = 1_000)]
    rows: String,
    #[schema(minimum = 1, maximum = 1_000)]
    seats_per_row: u32,
    /// The numbers of the seats that are followed by an aisle.
    #[schema(value_type = Vec<u32>, required = false)]
    aisles_after: Option<Vec<u32>>,
    /// `block`: straight rows. `arc`: rows around the stage.
    #[schema(value_type = ShapeWord, required = false)]
    shape: Option<String>,
    /// The distance from the stage to the front row of an arc, in units of the drawing.
    #[schema(value_type = u32, required = false, minimum = 1, maximum = 500_000)]
    radius: Option<u32>,
}

/// The shape of the rows.
#[derive(ToSchema)]
#[schema(as = LayoutShape, rename_all = "snake_case")]
#[expect(dead_code, reason = "the words of the schema; the form reads them")]
enum ShapeWord {
    Block,
    Arc,
}

/// A layout that lists every seat: at most 100,000 seats.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "categories": [{"name": "Parquet", "price": 4500}],
    "rows": [{"label": "A", "seats": [
        {"number": "1", "x": 0, "y": 0, "category": "Parquet"},
        {"number": "2", "x": 50, "y": 0, "category": "Parquet", "accessible": true},
    ]}],
}))]
#[expect(dead_code, reason = "describes what `LayoutForm` reads")]
pub struct FullLayout {
    #[schema(min_items = 1, max_items = 64)]
    categories: Vec<CategoryForm>,
    /// The point that the best seats are nearest to; if missing, the middle of the first row.
    #[schema(value_type = PointForm, required = false)]
    focal: Option<PointForm>,
    /// The rows from front to back.
    #[schema(min_items = 1, max_items = 5_000)]
    rows: Vec<RowForm>,
}
