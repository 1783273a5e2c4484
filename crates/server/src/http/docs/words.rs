//! Schemas that are used in many places of the document, each described once.

use std::borrow::Cow;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{
    KnownFormat, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat, Type,
};
use utoipa::{PartialSchema, ToSchema};

/// A name of a seat.
pub struct SeatWord;

impl PartialSchema for SeatWord {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("A seat: the label of its row, a hyphen, and its number."))
            .min_length(Some(3))
            .max_length(Some(41))
            .pattern(Some(r"^[^\u0000-\u001f\u007f-\u009f]{1,32}-[0-9A-Za-z]{1,8}$"))
            .into()
    }
}

impl ToSchema for SeatWord {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("SeatName")
    }
}

/// A day or an instant.
pub struct DateWord;

impl PartialSchema for DateWord {
    fn schema() -> RefOr<Schema> {
        let text = |format| {
            let text = ObjectBuilder::new().schema_type(Type::String);
            text.format(Some(SchemaFormat::KnownFormat(format)))
        };
        OneOfBuilder::new()
            .item(text(KnownFormat::DateTime))
            .item(text(KnownFormat::Date))
            .description(Some("A day, such as `2027-06-15`, or an instant with its offset."))
            .into()
    }
}

impl ToSchema for DateWord {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("DateOrInstant")
    }
}
