//! Problems: the one table that maps refusals and faults to HTTP (RFC 9457).
//!
//! | status | who reads it | what they do |
//! |---|---|---|
//! | 400, 404, 405, 408, 413–415, 422, 431 | the client's engineer | correct the request |
//! | 401, 403 | the client | log in, or give up |
//! | 409, 410, 412 | the buyer's page | show it; `retryable` says whether trying again can help |
//! | 429, 503 | the client | wait `Retry-After` seconds, then retry with the same key |
//! | 500 | us | a bug: the log has the request id |
//!
//! A handler returns a [`Problem`]; the outermost layer writes it out, with the request's id.

mod code;
mod refusals;
pub mod table;

use crate::metrics::Metrics;
use crate::quiet::SaidLately;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use engine::{Error, Fault};
use serde_json::{Map, Value, json};

pub use code::Code;
pub use refusals::duplicate_seat;

/// An unsuccessful answer. One pointer, so that results that contain it stay small.
#[derive(Clone, Debug)]
pub struct Problem(Box<Told>);

#[derive(Clone, Debug)]
struct Told {
    code: Code,
    detail: String,
    /// Further members, such as `limit`.
    members: Map<String, Value>,
    headers: HeaderMap,
}

/// An error in a field of the request.
#[derive(Clone, Debug, serde::Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// The path of the field, such as `sections[1].capacity`.
    pub field: String,
    /// The error, with the limit if there is one.
    pub message: String,
}

impl Problem {
    /// A problem without further members.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let (members, headers) = (Map::new(), HeaderMap::new());
        Self(Box::new(Told { code, detail: detail.into(), members, headers }))
    }

    /// What it is called.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// Adds a member.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.members.insert(name.to_owned(), value.into());
        self
    }

    /// Adds `Retry-After`, in seconds.
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.0.headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        self
    }

    /// 400: the request cannot be read.
    pub fn malformed_request(detail: impl Into<String>) -> Self {
        Self::new(Code::MalformedRequest, detail)
    }

    /// 400: the body is no JSON that we read.
    pub fn malformed_json(detail: impl Into<String>) -> Self {
        Self::new(Code::MalformedJson, detail)
    }

    /// 415: the body has a `Content-Encoding`; the answer lists the one that is read.
    pub fn encoded_body() -> Self {
        let mut problem =
            Self::new(Code::UnsupportedMediaType, "Send the body without Content-Encoding.");
        let identity = HeaderValue::from_static("identity");
        problem.0.headers.insert(header::ACCEPT_ENCODING, identity);
        problem
    }

    /// 401, with the challenge that RFC 6750 asks for.
    pub fn unauthorized(detail: &'static str) -> Self {
        Self::challenged(Code::Unauthorized, detail)
    }

    fn challenged(code: Code, detail: &'static str) -> Self {
        let mut problem = Self::new(code, detail);
        let challenge = HeaderValue::from_static("Bearer realm=\"reservix\"");
        problem.0.headers.insert(header::WWW_AUTHENTICATE, challenge);
        problem
    }

    /// 401 for a booking token: it is of no booking, or of one of a buyer with an account. All alike.
    pub fn invalid_token() -> Self {
        let detail = "The booking is unknown, or the token is not of it; a buyer with an account \
            logs in.";
        Self::challenged(Code::InvalidToken, detail)
    }

    /// 403: a visitor has no account.
    pub fn account_required() -> Self {
        let detail = "This needs an account; the access token is of a visitor.";
        Self::new(Code::AccountRequired, detail)
    }

    /// 404.
    pub fn not_found(what: &str) -> Self {
        let detail = format!("There is no such {what}, or you do not have access to it.");
        Self::new(Code::NotFound, detail)
    }

    /// 422, with what is wrong with each field.
    pub fn invalid(errors: &[FieldError]) -> Self {
        let first = errors.first();
        let detail =
            first.map_or_else(String::new, |error| format!("{}: {}", error.field, error.message));
        let problem = Self::new(Code::ValidationFailed, detail);
        problem.with("errors", json!(errors))
    }

    /// 422, with the first things that are wrong, and how many more there are.
    pub fn invalid_among(errors: &[FieldError], more: usize) -> Self {
        let mut problem = Self::invalid(errors);
        if more > 0 {
            problem.0.detail = format!("{}; and {more} more errors", problem.0.detail);
            return problem.with("errors_untold", more);
        }
        problem
    }

    /// 422 for one field.
    pub fn invalid_field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid(&[FieldError { field: field.into(), message: message.into() }])
    }

    /// 429.
    pub fn rate_limited(seconds: u64) -> Self {
        let detail = format!("Too many requests; retry in {seconds} s.");
        Self::new(Code::RateLimited, detail).retry_after(seconds)
    }

    /// 429: the buyer keeps too many seats off sale.
    pub fn hold_limit(limit: i64, seconds: u64) -> Self {
        let detail = format!(
            "You keep too many seats off sale ({limit} at most). Confirm or cancel what you hold, or \
             retry in {seconds} s."
        );
        Self::new(Code::HoldLimit, detail).with("limit", limit).retry_after(seconds)
    }

    /// 503: a queue of ours is full.
    pub fn overloaded(detail: impl Into<String>) -> Self {
        Self::new(Code::Overloaded, detail).retry_after(1)
    }

    /// Writes the problem into the response that carried it, for the request with this id. Headers
    /// that routing has set, such as `Allow`, stay.
    pub fn render<C>(self, carrier: Response<C>, request_id: &str) -> Response {
        let told = *self.0;
        let (code, status) = (told.code, told.code.status());
        let mut body = json!({
            "type": format!("/problems/{}", code.as_str()),
            "title": code.title(),
            "status": status.as_u16(),
            "detail": told.detail,
            "code": code.as_str(),
            "retryable": code.is_retryable(),
            "request_id": request_id,
        });
        if let Some(members) = body.as_object_mut() {
            members.extend(told.members);
        }
        let (mut parts, _) = carrier.into_parts();
        parts.status = status;
        parts.headers.extend(told.headers);
        parts.headers.remove(header::CONTENT_LENGTH);
        parts
            .headers
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        parts.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Response::from_parts(parts, body.to_string().into())
    }
}

impl IntoResponse for Problem {
    /// Leaves the problem for the outermost layer, which knows the request's id.
    fn into_response(self) -> Response {
        let mut response = self.0.code.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(refusal) => refusal.into(),
            Error::Failed(fault) => fault.into(),
        }
    }
}

/// `Retry-After` for a section that must be repaired first, in seconds.
const REPAIR_PAUSE_S: u64 = 30;

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        Metrics::fault(&fault);
        match &fault {
            Fault::Unavailable { .. } | Fault::Unsuitable { .. } => {
                static SAID: SaidLately = SaidLately::new();
                // An outage fails every request alike: one log line a second is enough.
                if let Some(unsaid) = SAID.turn() {
                    let error = crate::chain(&fault);
                    tracing::warn!(error, unsaid, "requests could not be served");
                }
                let detail = "The outcome may be unknown; retry with the same Idempotency-Key.";
                Self::new(Code::Unavailable, detail).retry_after(1)
            }
            Fault::Contradiction { section_id, .. } => {
                static SAID: SaidLately = SaidLately::new();
                if let Some(unsaid) = SAID.turn() {
                    let (error, section_id) = (crate::chain(&fault), section_id.to_string());
                    tracing::error!(
                        error,
                        section_id,
                        unsaid,
                        "the data of a section is inconsistent; run reservix repair for it"
                    );
                }
                let detail = "Nothing was changed; this section must be repaired by the operator \
                    first.";
                Self::new(Code::Unavailable, detail).retry_after(REPAIR_PAUSE_S)
            }
            Fault::Overloaded { what } => {
                static SAID: SaidLately = SaidLately::new();
                // A lane that refuses what it cannot carry has lines of its own.
                if *what == store::SESSIONS_BUSY
                    && let Some(unsaid) = SAID.turn()
                {
                    tracing::warn!(
                        unsaid,
                        "all connections to the store are busy: requests are refused"
                    );
                }
                Self::overloaded(format!("Nothing was changed: {what}."))
            }
            Fault::Corrupt { .. } => {
                tracing::error!(error = crate::chain(&fault), "a bug: invalid state or code");
                let detail = "The server failed because of a bug; the failure was logged.";
                Self::new(Code::Internal, detail)
            }
        }
    }
}
