//! The codes of problems, each with its status and its title. The enum of the document is made from them, and
//! [`table`](super::table) says what they mean.

use axum::http::StatusCode;
use std::borrow::Cow;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

macro_rules! codes {
    ($($name:ident $status:ident $code:literal $title:literal)*) => {
        /// What kind of problem it is: stable, part of the API.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code {
            $(#[doc = $title] $name,)*
        }

        impl Code {
            /// All of them, in the order of their statuses.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The status that it is answered with.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            /// How it is written.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// What it says to people.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

codes! {
    MalformedJson BAD_REQUEST "malformed_json" "The body is not valid JSON"
    MalformedRequest BAD_REQUEST "malformed_request" "The request cannot be read"
    Unauthorized UNAUTHORIZED "unauthorized" "A valid access token is needed"
    InvalidCredentials UNAUTHORIZED "invalid_credentials" "Unknown address or wrong password"
    InvalidRefreshToken UNAUTHORIZED "invalid_refresh_token" "The refresh token is not valid"
    NotOrganizer FORBIDDEN "not_organizer" "Only the organizer may do this"
    NotFound NOT_FOUND "not_found" "Not found"
    MethodNotAllowed METHOD_NOT_ALLOWED "method_not_allowed" "The path does not know this method"
    RequestTimeout REQUEST_TIMEOUT "request_timeout" "The request took too long to arrive"
    EmailTaken CONFLICT "email_taken" "Another account has this address"
    EventCancelled CONFLICT "event_cancelled" "The event was cancelled"
    SaleNotOpen CONFLICT "sale_not_open" "The sale has not begun"
    SaleClosed CONFLICT "sale_closed" "The sale has ended"
    EventOver CONFLICT "event_over" "The event is over"
    TooManySeats CONFLICT "too_many_seats" "Too many seats for one booking"
    BuyerLimit CONFLICT "buyer_limit" "Too many seats for one buyer"
    SoldOut CONFLICT "sold_out" "Not enough seats are available"
    SeatsUnavailable CONFLICT "seats_unavailable" "Some of the seats are not available"
    OrphanSeat CONFLICT "orphan_seat" "A single seat would be left alone"
    NotTogether CONFLICT "not_together" "So many seats together are not available"
    SeatsInUse CONFLICT "seats_in_use" "Seats that are taken would move or vanish"
    SeatsAreNumbered CONFLICT "seats_are_numbered" "The section has numbered seats"
    NotChangeable CONFLICT "not_changeable" "The booking can no longer be changed"
    BookingCancelled CONFLICT "booking_cancelled" "The booking was cancelled"
    ExtensionLimit CONFLICT "extension_limit" "The hold cannot be extended further"
    NotCancellable CONFLICT "not_cancellable" "The booking can no longer be cancelled"
    CapacityInUse CONFLICT "capacity_in_use" "Seats beyond this capacity are in use"
    CurrencyInUse CONFLICT "currency_in_use" "Seats are held or sold in the present currency"
    IdempotencyInFlight CONFLICT "idempotency_in_flight" "An equal request is being decided"
    HoldExpired GONE "hold_expired" "The hold has expired"
    VersionMismatch PRECONDITION_FAILED "version_mismatch" "It has changed since you read it"
    BodyTooLarge PAYLOAD_TOO_LARGE "body_too_large" "The body is too large"
    UriTooLong URI_TOO_LONG "uri_too_long" "The target is too long"
    UnsupportedMediaType UNSUPPORTED_MEDIA_TYPE "unsupported_media_type"
        "The body has a form that is not read here"
    ValidationFailed UNPROCESSABLE_ENTITY "validation_failed" "The request has invalid fields"
    IdempotencyKeyReused UNPROCESSABLE_ENTITY "idempotency_key_reused"
        "The key belongs to another request"
    RateLimited TOO_MANY_REQUESTS "rate_limited" "Too many requests"
    HeadersTooLarge REQUEST_HEADER_FIELDS_TOO_LARGE "headers_too_large" "The headers are too large"
    Internal INTERNAL_SERVER_ERROR "internal" "Internal error"
    Overloaded SERVICE_UNAVAILABLE "overloaded" "Too busy right now"
    Unavailable SERVICE_UNAVAILABLE "unavailable" "Unavailable right now"
}

impl Code {
    /// Whether the same request can succeed later, unchanged.
    pub fn is_retryable(self) -> bool {
        matches!(self.status().as_u16(), 408 | 429 | 503) || self == Self::IdempotencyInFlight
    }
}

impl PartialSchema for Code {
    fn schema() -> RefOr<Schema> {
        let words = Self::ALL.iter().map(|code| code.as_str());
        let words = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words));
        words.description(Some("What kind of problem it is. Stable; new ones may come.")).into()
    }
}

impl ToSchema for Code {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("ProblemCode")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The document that is served.
    fn document() -> serde_json::Value {
        serde_json::to_value(crate::http::openapi("1.0.0")).expect("it can be written")
    }

    /// Every code in backticks of a text.
    fn named(text: &str) -> impl Iterator<Item = &str> {
        text.split('`').skip(1).step_by(2)
    }

    #[test]
    fn the_document_knows_exactly_the_codes_of_the_table() {
        let document = document();
        let words = &document["components"]["schemas"]["ProblemCode"]["enum"];
        let all: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(words, &serde_json::json!(all));
        let code = &document["components"]["schemas"]["Problem"]["properties"]["code"];
        assert_eq!(code["$ref"], "#/components/schemas/ProblemCode", "{code}");
    }

    /// A code stands at an answer of its own status, and each can be met somewhere.
    #[test]
    fn every_answer_of_the_document_names_codes_of_its_status() {
        let document = document();
        let (mut met, paths) = (BTreeSet::new(), document["paths"].as_object().expect("paths"));
        for (path, item) in paths {
            for (method, operation) in item.as_object().expect("operations") {
                let takes_key = operation["parameters"].as_array().into_iter().flatten();
                let takes_key = takes_key.clone().any(|it| it["name"] == "Idempotency-Key");
                for (status, answer) in operation["responses"].as_object().expect("answers") {
                    let is_problem = !answer["content"][crate::http::PROBLEM].is_null();
                    let description = answer["description"].as_str().expect("a description");
                    let codes = named(description).filter(|_| is_problem);
                    let codes: Vec<_> = codes.filter(|word| !word.contains(' ')).collect();
                    assert!(!is_problem || !codes.is_empty(), "{method} {path} {status}");
                    for word in codes {
                        let code = Code::ALL.iter().find(|code| code.as_str() == word);
                        let code = code.unwrap_or_else(|| panic!("{method} {path}: {word}"));
                        assert_eq!(code.status().as_str(), status, "{method} {path}: {word}");
                        let needs_key =
                            matches!(code, Code::IdempotencyKeyReused | Code::IdempotencyInFlight);
                        assert!(!needs_key || takes_key, "{method} {path}: {word}");
                        met.insert(code.as_str());
                    }
                }
            }
        }
        // No call of the document has a wrong method, and none is meant to find a bug.
        let all = Code::ALL.iter().map(|code| code.as_str());
        let mut all: BTreeSet<_> = all.collect();
        all.retain(|code| !matches!(*code, "method_not_allowed" | "internal"));
        assert_eq!(met, all);
    }
}
