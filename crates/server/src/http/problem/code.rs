//! The codes of problems, each with its status and its title. Those of refusals are the engine's.
//! The enum of the document is made from them, and [`table`](super::table) says what they mean.

use axum::http::StatusCode;
use engine::RefusalCode;
use std::borrow::Cow;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// How a code is written: as listed here, or as the engine names its refusal.
macro_rules! written {
    ($name:ident engine) => {
        RefusalCode::$name.as_str()
    };
    ($name:ident $code:literal) => {
        $code
    };
}

macro_rules! codes {
    ($($name:ident $status:ident $code:tt $title:literal)*) => {
        /// The kind of a problem: stable, part of the API.
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
                match self { $(Self::$name => written!($name $code),)* }
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
    MalformedRequest BAD_REQUEST "malformed_request" "The request is malformed"
    Unauthorized UNAUTHORIZED "unauthorized" "A valid access token is required"
    InvalidCredentials UNAUTHORIZED engine "Unknown address or wrong password"
    InvalidRefreshToken UNAUTHORIZED engine "The refresh token is not valid"
    InvalidToken UNAUTHORIZED "invalid_token" "The booking token is not valid"
    AccountRequired FORBIDDEN "account_required" "An account is required"
    NotOrganizer FORBIDDEN engine "Only the organizer may do this"
    PermissionMissing FORBIDDEN engine "Your role does not allow this"
    KeyInBrowser FORBIDDEN "key_in_browser" "A key of an organization came from a browser"
    AddressNotAllowed FORBIDDEN "address_not_allowed" "The key is not accepted from this address"
    InvitationMismatch FORBIDDEN engine "The invitation is for another address"
    NotFound NOT_FOUND engine "Not found"
    MethodNotAllowed METHOD_NOT_ALLOWED "method_not_allowed" "Method not allowed"
    RequestTimeout REQUEST_TIMEOUT "request_timeout" "The request did not arrive in time"
    EmailTaken CONFLICT engine "An account with this address already exists"
    LastOwner CONFLICT engine "The organization would have no owner"
    EventsOpen CONFLICT engine "The user has events that are not over"
    NotAMember CONFLICT engine "The user is not a member"
    MemberExists CONFLICT engine "The user is already a member"
    LimitReached CONFLICT engine "A maximum number is reached"
    KeysExist CONFLICT engine "The member made keys that still work"
    EventCancelled CONFLICT engine "The event was cancelled"
    SaleNotOpen CONFLICT engine "The sale has not started"
    SaleClosed CONFLICT engine "The sale has ended"
    EventOver CONFLICT engine "The event is over"
    TooManySeats CONFLICT engine "Too many seats for one booking"
    BuyerLimit CONFLICT engine "Too many seats for one buyer"
    SoldOut CONFLICT engine "Not enough seats are available"
    SeatsUnavailable CONFLICT engine "Some of the seats are not available"
    OrphanSeat CONFLICT engine "The choice would leave a single seat"
    NotTogether CONFLICT engine "Not enough adjacent seats are available"
    SeatsInUse CONFLICT engine "Seats in use would be moved or removed"
    SeatsAreNumbered CONFLICT engine "The section has numbered seats"
    NotChangeable CONFLICT engine "The booking can no longer be changed"
    BookingCancelled CONFLICT engine "The booking was cancelled"
    ExtensionLimit CONFLICT engine "The hold cannot be extended further"
    NotCancellable CONFLICT engine "The booking can no longer be cancelled"
    CapacityInUse CONFLICT engine "More seats than this capacity are in use"
    CurrencyInUse CONFLICT engine "Seats are held or sold in the current currency"
    IdempotencyInFlight CONFLICT engine "A request with this key is still in progress"
    HoldExpired GONE engine "The hold has expired"
    InvitationEnded GONE engine "The invitation can no longer be accepted"
    VersionMismatch PRECONDITION_FAILED engine "The resource has changed since it was read"
    BodyTooLarge PAYLOAD_TOO_LARGE "body_too_large" "The body is too large"
    UriTooLong URI_TOO_LONG "uri_too_long" "The URI is too long"
    UnsupportedMediaType UNSUPPORTED_MEDIA_TYPE "unsupported_media_type"
        "The media type of the body is not supported"
    ValidationFailed UNPROCESSABLE_ENTITY engine "The request has invalid fields"
    IdempotencyKeyReused UNPROCESSABLE_ENTITY engine "The idempotency key was used for another \
        request"
    RateLimited TOO_MANY_REQUESTS "rate_limited" "Too many requests"
    HoldLimit TOO_MANY_REQUESTS "hold_limit" "Too many seats held at once"
    HeadersTooLarge REQUEST_HEADER_FIELDS_TOO_LARGE "headers_too_large" "The headers are too large"
    Internal INTERNAL_SERVER_ERROR "internal" "Internal server error"
    Overloaded SERVICE_UNAVAILABLE "overloaded" "The server is overloaded"
    Unavailable SERVICE_UNAVAILABLE "unavailable" "The service is unavailable"
}

/// Names the same code here and in the engine; one that is missing here does not compile.
macro_rules! refusals {
    ($($name:ident)*) => {
        impl From<RefusalCode> for Code {
            fn from(code: RefusalCode) -> Self {
                match code { $(RefusalCode::$name => Self::$name,)* }
            }
        }

        impl Code {
            /// The engine's code, where it has one.
            const fn of_refusal(self) -> Option<RefusalCode> {
                match self {
                    $(Self::$name => Some(RefusalCode::$name),)*
                    _ => None,
                }
            }
        }
    };
}

refusals! {
    NotFound NotOrganizer EmailTaken InvalidCredentials
    InvalidRefreshToken EventCancelled SaleNotOpen SaleClosed
    EventOver TooManySeats BuyerLimit SoldOut
    SeatsUnavailable OrphanSeat NotTogether SeatsInUse
    SeatsAreNumbered NotChangeable BookingCancelled HoldExpired
    ExtensionLimit NotCancellable CapacityInUse CurrencyInUse
    ValidationFailed VersionMismatch IdempotencyKeyReused IdempotencyInFlight
    PermissionMissing LastOwner NotAMember MemberExists
    InvitationEnded InvitationMismatch LimitReached KeysExist EventsOpen
}

impl Code {
    /// True if the same request, unchanged, can succeed later. Of refusals the engine says so.
    pub fn is_retryable(self) -> bool {
        match self.of_refusal() {
            Some(code) => code.may_succeed_later(),
            None => matches!(self.status().as_u16(), 408 | 429 | 503),
        }
    }
}

impl PartialSchema for Code {
    fn schema() -> RefOr<Schema> {
        let words = Self::ALL.iter().map(|code| code.as_str());
        let words = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words));
        words
            .description(Some(
                "The kind of problem. Codes are stable; new ones may be \
            added.",
            ))
            .into()
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

    #[test]
    fn what_is_retryable_of_a_refusal_is_what_the_engine_says() {
        let retryable: Vec<_> = Code::ALL.iter().filter(|code| code.is_retryable()).collect();
        let expected = [
            Code::RequestTimeout,
            Code::IdempotencyInFlight,
            Code::RateLimited,
            Code::HoldLimit,
            Code::Overloaded,
            Code::Unavailable,
        ];
        assert_eq!(retryable, expected.iter().collect::<Vec<_>>());
        for code in RefusalCode::ALL {
            assert_eq!(Code::from(*code).as_str(), code.as_str());
            assert_eq!(Code::from(*code).is_retryable(), code.may_succeed_later());
        }
    }

    /// Each code is documented at an answer of its own status, and each is documented somewhere.
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
