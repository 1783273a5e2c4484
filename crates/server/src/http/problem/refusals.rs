//! Refusals: the detail and the members of each. Its code is the engine's.

use super::{Code, Problem};
use axum::http::{HeaderValue, header};
use engine::Refusal;
use engine::seats::SeatState;
use serde_json::{Value, json};

/// How many seats that cannot be had are told.
const CONFLICTS_TOLD_MAX: usize = 1_000;
/// How many seats that are in the way of a layout are told.
const SEATS_TOLD_MAX: usize = 100;

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let code = Code::from(refusal.code());
        let plain = |detail: &str| Self::new(code, detail);
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
            Refusal::SeatsUnavailable { .. }
            | Refusal::OrphanSeat { .. }
            | Refusal::TooFewFit { .. }
            | Refusal::NotTogether { .. }
            | Refusal::SeatsInUse { .. }
            | Refusal::SeatsAreNumbered => of_seats(refusal, &plain),
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
            Refusal::CurrencyInUse { seats } => {
                plain(&format!("{seats} seats are held or sold.")).with("seats", seats)
            }
            Refusal::TooManyToReprice { limit } => Self::invalid_field(
                "currency",
                format!("can be changed of an event with at most {limit} numbered seats"),
            ),
            Refusal::VersionMismatch { version } => {
                plain(&format!("Its version is {version} now; read it again."))
                    .with("version", version)
            }
            Refusal::EmptySaleWindow => {
                Self::invalid_field("sales_end", "must be after sales_start")
            }
            Refusal::DuplicateSeat { first, again, .. } => {
                Self::invalid_field("seats", duplicate_seat(&first, &again))
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

/// What is wrong with a list that names a seat twice, perhaps in two spellings.
pub fn duplicate_seat(first: &str, again: &str) -> String {
    if first == again {
        return format!("duplicate seat {again}");
    }
    format!("duplicate seat: {again} is {first} in another spelling")
}

/// Those of numbered seats.
fn of_seats(refusal: Refusal, plain: &impl Fn(&str) -> Problem) -> Problem {
    match refusal {
            Refusal::SeatsUnavailable { conflicts } => {
                let state = |state: Option<SeatState>| state.map_or("unknown", SeatState::as_str);
                let first = conflicts.first().map_or_else(String::new, |first| {
                    format!("Seat {} is {}.", first.seat, state(first.state))
                });
                let conflicts: Vec<_> = conflicts
                    .iter()
                    .take(CONFLICTS_TOLD_MAX)
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
                let seats: Vec<_> = seats.iter().map(ToString::to_string).collect();
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
        _ => unreachable!("it is of numbered seats"),
    }
}
