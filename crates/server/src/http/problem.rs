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

use crate::metrics::Metrics;
use crate::quiet::SaidLately;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::seats::SeatState;
use engine::{Error, Fault, Refusal};
use serde_json::{Map, Value, json};

/// An answer that is no success. One pointer, so that the results it stands in stay small.
#[derive(Clone, Debug)]
pub struct Problem(Box<Told>);

#[derive(Clone, Debug)]
struct Told {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: String,
    /// Further members, such as `limit`.
    members: Map<String, Value>,
    headers: HeaderMap,
}

/// A field of a request, and what is wrong with it.
#[derive(Clone, Debug, serde::Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// Where it stands, such as `sections[1].capacity`.
    pub field: String,
    /// What is wrong with it, with the limit.
    pub message: String,
}

impl Problem {
    /// A problem without further members.
    pub fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        let (members, headers) = (Map::new(), HeaderMap::new());
        Self(Box::new(Told { status, code, title, detail: detail.into(), members, headers }))
    }

    /// Adds a member.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.members.insert(name.to_owned(), value.into());
        self
    }

    /// Says when to come again, in seconds.
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.0.headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        self
    }

    /// 400: the request cannot be read.
    pub fn malformed_request(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "malformed_request",
            "The request cannot be read",
            detail,
        )
    }

    /// 400: the body is no JSON that we read.
    pub fn malformed_json(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed_json", "The body is not valid JSON", detail)
    }

    /// 401, with the challenge that RFC 6750 asks for.
    pub fn unauthorized(detail: &'static str) -> Self {
        let mut problem = Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "A valid access token is needed",
            detail,
        );
        let challenge = HeaderValue::from_static("Bearer realm=\"reservix\"");
        problem.0.headers.insert(header::WWW_AUTHENTICATE, challenge);
        problem
    }

    /// 404.
    pub fn not_found(what: &str) -> Self {
        let detail = format!("There is no such {what}, or it is not yours to see.");
        Self::new(StatusCode::NOT_FOUND, "not_found", "Not found", detail)
    }

    /// 422, with what is wrong with each field.
    pub fn invalid(errors: &[FieldError]) -> Self {
        let first = errors.first();
        let detail =
            first.map_or_else(String::new, |error| format!("{}: {}", error.field, error.message));
        let problem = Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "validation_failed",
            "The request has invalid fields",
            detail,
        );
        problem.with("errors", json!(errors))
    }

    /// 422, with the first things that are wrong, and how many more there are.
    pub fn invalid_among(errors: &[FieldError], more: usize) -> Self {
        let mut problem = Self::invalid(errors);
        if more > 0 {
            problem.0.detail = format!("{}; and {more} more that are not told", problem.0.detail);
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
        let detail = format!("Too many requests; come again in {seconds} s.");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "Too many requests", detail)
            .retry_after(seconds)
    }

    /// 503: a queue of ours is full.
    pub fn overloaded(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Too busy right now", detail)
            .retry_after(1)
    }

    /// Writes the problem into the response that carried it, for the request with this id. Headers
    /// that routing has set, such as `Allow`, stay.
    pub fn render(self, carrier: Response, request_id: &str) -> Response {
        let told = *self.0;
        let retryable =
            matches!(told.status.as_u16(), 408 | 429 | 503) || told.code == "idempotency_in_flight";
        let mut body = json!({
            "type": format!("/problems/{}", told.code),
            "title": told.title,
            "status": told.status.as_u16(),
            "detail": told.detail,
            "code": told.code,
            "retryable": retryable,
            "request_id": request_id,
        });
        if let Some(members) = body.as_object_mut() {
            members.extend(told.members);
        }
        let (mut parts, _) = carrier.into_parts();
        parts.status = told.status;
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
        let mut response = self.0.status.into_response();
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

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        Metrics::fault(&fault);
        match &fault {
            Fault::Unavailable { .. } => {
                static SAID: SaidLately = SaidLately::new();
                // An outage fails every request alike: one line a second tells it.
                if let Some(unsaid) = SAID.turn() {
                    let error = crate::chain(&fault);
                    tracing::warn!(error, unsaid, "requests could not be served");
                }
                let detail = "The outcome may be unknown; retry with the same Idempotency-Key.";
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "unavailable",
                    "Unavailable right now",
                    detail,
                )
                .retry_after(1)
            }
            Fault::Overloaded { what } => Self::overloaded(format!("Nothing was changed: {what}.")),
            Fault::Corrupt { .. } => {
                tracing::error!(
                    error = crate::chain(&fault),
                    "a bug: state or code of ours is wrong"
                );
                let detail = "Something on our side is wrong; it has been recorded.";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", detail)
            }
        }
    }
}

/// How many seats that are in the way of a layout are told.
const SEATS_TOLD_MAX: usize = 100;

/// The stable code of a refusal, part of the API.
pub fn code(refusal: &Refusal) -> &'static str {
    entry(refusal).1
}

/// The table: status, code and title of every refusal.
fn entry(refusal: &Refusal) -> (StatusCode, &'static str, &'static str) {
    use StatusCode as S;
    match refusal {
        Refusal::InvalidCredentials => {
            (S::UNAUTHORIZED, "invalid_credentials", "Unknown address or wrong password")
        }
        Refusal::InvalidRefreshToken => {
            (S::UNAUTHORIZED, "invalid_refresh_token", "The refresh token is not valid")
        }
        Refusal::NotOrganizer => (S::FORBIDDEN, "not_organizer", "Only the organizer may do this"),
        Refusal::NotFound { .. } => (S::NOT_FOUND, "not_found", "Not found"),
        Refusal::EmailTaken => (S::CONFLICT, "email_taken", "Another account has this address"),
        Refusal::EventCancelled => (S::CONFLICT, "event_cancelled", "The event was cancelled"),
        Refusal::SaleNotOpen { .. } => (S::CONFLICT, "sale_not_open", "The sale has not begun"),
        Refusal::SaleClosed => (S::CONFLICT, "sale_closed", "The sale has ended"),
        Refusal::EventOver => (S::CONFLICT, "event_over", "The event is over"),
        Refusal::TooManySeats { .. } => {
            (S::CONFLICT, "too_many_seats", "Too many seats for one booking")
        }
        Refusal::BuyerLimit { .. } => (S::CONFLICT, "buyer_limit", "Too many seats for one buyer"),
        Refusal::SoldOut { .. } => (S::CONFLICT, "sold_out", "Not enough seats are available"),
        Refusal::SeatsUnavailable { .. } => {
            (S::CONFLICT, "seats_unavailable", "Some of the seats are not available")
        }
        Refusal::OrphanSeat { .. } => {
            (S::CONFLICT, "orphan_seat", "A single seat would be left alone")
        }
        Refusal::TooFewFit { .. } => (S::CONFLICT, "sold_out", "Not enough seats are available"),
        Refusal::NotTogether { .. } => {
            (S::CONFLICT, "not_together", "So many seats together are not available")
        }
        Refusal::SeatsInUse { .. } => {
            (S::CONFLICT, "seats_in_use", "Seats that are taken would move or vanish")
        }
        Refusal::SeatsAreNumbered => {
            (S::CONFLICT, "seats_are_numbered", "The section has numbered seats")
        }
        Refusal::NotChangeable => {
            (S::CONFLICT, "not_changeable", "The booking can no longer be changed")
        }
        Refusal::BookingCancelled => {
            (S::CONFLICT, "booking_cancelled", "The booking was cancelled")
        }
        Refusal::ExtensionLimit => {
            (S::CONFLICT, "extension_limit", "The hold cannot be extended further")
        }
        Refusal::NotCancellable => {
            (S::CONFLICT, "not_cancellable", "The booking can no longer be cancelled")
        }
        Refusal::IdempotencyInFlight => {
            (S::CONFLICT, "idempotency_in_flight", "An equal request is being decided")
        }
        Refusal::CapacityInUse { .. } => {
            (S::CONFLICT, "capacity_in_use", "Seats beyond this capacity are in use")
        }
        Refusal::HoldExpired { .. } => (S::GONE, "hold_expired", "The hold has expired"),
        Refusal::VersionMismatch { .. } => {
            (S::PRECONDITION_FAILED, "version_mismatch", "It has changed since you read it")
        }
        Refusal::EmptySaleWindow
        | Refusal::DuplicateSection
        | Refusal::CurrencyMismatch { .. }
        | Refusal::TooManySections => {
            (S::UNPROCESSABLE_ENTITY, "validation_failed", "The request has invalid fields")
        }
        Refusal::IdempotencyKeyReused => (
            S::UNPROCESSABLE_ENTITY,
            "idempotency_key_reused",
            "The key belongs to another request",
        ),
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let (status, code, title) = entry(&refusal);
        let plain = |detail: &str| Self::new(status, code, title, detail);
        match refusal {
            Refusal::NotFound { what } => Self::not_found(what),
            Refusal::InvalidCredentials => {
                let mut problem = plain("Check the address and the password.");
                let challenge = HeaderValue::from_static("Bearer realm=\"reservix\"");
                problem.0.headers.insert(header::WWW_AUTHENTICATE, challenge);
                problem
            }
            Refusal::InvalidRefreshToken => {
                plain("It is unknown, expired or was used before; log in again.")
            }
            Refusal::NotOrganizer => plain("The event belongs to another user."),
            Refusal::EmailTaken => plain("Log in, or use another address."),
            Refusal::EventCancelled => plain("No seat of it can be held or confirmed any more."),
            Refusal::SaleNotOpen { sales_start: Some(start) } => {
                plain(&format!("The sale begins at {start}."))
                    .with("sales_start", start.to_string())
            }
            Refusal::SaleNotOpen { sales_start: None } => {
                plain("No date is set yet.").with("sales_start", Value::Null)
            }
            Refusal::SaleClosed => plain("New holds are no longer possible."),
            Refusal::EventOver => plain("It has taken place."),
            Refusal::TooManySeats { limit } => {
                plain(&format!("One booking may have {limit} seats.")).with("limit", limit)
            }
            Refusal::BuyerLimit { limit, remaining } => plain(&format!(
                "One buyer may have {limit} seats at this event; you may take {remaining} more."
            ))
            .with("limit", limit)
            .with("remaining", remaining),
            Refusal::SoldOut { available, requested } => {
                plain(&format!("{requested} seats were asked for, {available} are available."))
                    .with("available", available)
                    .with("requested", requested)
            }
            Refusal::SeatsUnavailable { conflicts } => {
                let state = |state: Option<SeatState>| state.map_or("unknown", SeatState::as_str);
                let first = conflicts.first().map_or_else(String::new, |first| {
                    format!("Seat {} is {}.", first.seat, state(first.state))
                });
                let conflicts: Vec<_> = conflicts
                    .iter()
                    .map(|of| {
                        json!({
                            "section_id": of.section_id.to_string(),
                            "seat": &*of.seat,
                            "reason": state(of.state),
                        })
                    })
                    .collect();
                plain(&first).with("conflicts", conflicts)
            }
            Refusal::OrphanSeat { seats } => {
                let seats: Vec<_> = seats.iter().map(|seat| seat.to_string()).collect();
                plain(&format!("Take {} too, or other seats.", seats.join(", ")))
                    .with("seats", seats)
            }
            Refusal::TooFewFit { available, requested, largest_contiguous_block } => {
                plain(&format!("{requested} seats were asked for, {available} are available."))
                    .with("available", available)
                    .with("requested", requested)
                    .with("largest_contiguous_block", largest_contiguous_block)
            }
            Refusal::NotTogether { requested, largest_contiguous_block } => plain(&format!(
                "{requested} seats were asked for; at most {largest_contiguous_block} are beside each other."
            ))
            .with("requested", requested)
            .with("largest_contiguous_block", largest_contiguous_block),
            Refusal::SeatsInUse { seats } => {
                let seats: Vec<_> = seats
                    .iter()
                    .take(SEATS_TOLD_MAX)
                    .map(|(seat, harm)| json!({"seat": &**seat, "reason": harm.as_str()}))
                    .collect();
                plain("A seat that is held, sold or blocked stays where it is.").with("seats", seats)
            }
            Refusal::SeatsAreNumbered => {
                plain("Its capacity and prices are those of its layout, and its seats are named.")
            }
            Refusal::NotChangeable => plain("Only a hold can be given other seats."),
            Refusal::BookingCancelled => plain("Hold seats again."),
            Refusal::HoldExpired { expired_at } => {
                plain(&format!("It ended at {expired_at}; hold seats again."))
                    .with("expired_at", expired_at.to_string())
            }
            Refusal::ExtensionLimit => plain("More time would gain nothing."),
            Refusal::NotCancellable => {
                plain("Its hold has expired, or the time for cancelling a sale is over.")
            }
            Refusal::CapacityInUse { minimum } => {
                plain(&format!("{minimum} seats are held, sold or blocked."))
                    .with("minimum", minimum)
            }
            Refusal::VersionMismatch { version } => {
                plain(&format!("Its version is {version} now; read it again."))
                    .with("version", version)
            }
            Refusal::EmptySaleWindow => {
                Self::invalid_field("sales_end", "must be after sales_start")
            }
            Refusal::DuplicateSection => {
                Self::invalid_field("name", "must be unique in the event, compared without case")
            }
            Refusal::CurrencyMismatch { currency } => Self::invalid_field(
                "currency",
                format!("must be {currency}, as in the event's other sections"),
            ),
            Refusal::TooManySections => Self::invalid_field(
                "sections",
                format!("an event may have {} sections", engine::event::SECTIONS_MAX),
            ),
            Refusal::IdempotencyInFlight => {
                plain("Its answer is not there yet; send the request again with the same key.")
                    .retry_after(1)
            }
            Refusal::IdempotencyKeyReused => plain("Use a new key for a new request."),
        }
    }
}
