//! Refusals: the detail and the members of each. Its code is the engine's.

use super::{Code, Problem};
use axum::http::{HeaderValue, header};
use engine::Refusal;
use engine::seats::SeatState;
use serde_json::{Value, json};

/// Maximum number of unavailable seats that are listed.
const CONFLICTS_TOLD_MAX: usize = 1_000;
/// Maximum number of listed seats that prevent a new layout.
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
                plain("The token is unknown, has expired or was already used; log in again.")
            }
            Refusal::NotOrganizer => plain("The event belongs to another organization."),
            Refusal::PermissionMissing { .. }
            | Refusal::LastOwner
            | Refusal::LastOwnerOf { .. }
            | Refusal::EventsOpen { .. }
            | Refusal::NotAMember
            | Refusal::MemberExists
            | Refusal::InvitationEnded
            | Refusal::InvitationMismatch
            | Refusal::LimitReached { .. }
            | Refusal::OwnerConfined
            | Refusal::PasswordNeeded
            | Refusal::KeysExist { .. }
            | Refusal::KeyWidened { .. }
            | Refusal::KeyEndsEarly => of_organizations(&refusal, &plain),
            Refusal::EmailTaken => plain("Log in, or use a different address."),
            Refusal::EventCancelled => plain("Seats can no longer be held or confirmed."),
            Refusal::SaleNotOpen { sales_start: Some(start) } => {
                plain(&format!("The sale starts at {start}."))
                    .with("sales_start", start.to_string())
            }
            Refusal::SaleNotOpen { sales_start: None } => {
                plain("The start of the sale has not been set.").with("sales_start", Value::Null)
            }
            Refusal::SaleClosed => plain("New holds are no longer possible."),
            Refusal::EventOver => plain("The event has already taken place."),
            Refusal::TooManySeats { limit, current: 0 } => {
                plain(&format!("A booking can have at most {limit} seats.")).with("limit", limit)
            }
            Refusal::TooManySeats { limit, current } => plain(&format!(
                "A booking can have at most {limit} seats, or the {current} that it already has."
            ))
            .with("limit", limit)
            .with("current", current),
            Refusal::BuyerLimit { limit, current, remaining } => plain(&format!(
                "A buyer can have at most {limit} seats at this event; you have {current} and can \
                 hold {remaining} more."
            ))
            .with("current", current)
            .with("limit", limit)
            .with("remaining", remaining),
            Refusal::SoldOut { available, requested } => {
                plain(&format!("{requested} seats were requested; {available} are available."))
                    .with("available", available)
                    .with("requested", requested)
            }
            Refusal::TooManyToSelect { .. }
            | Refusal::SeatsUnavailable { .. }
            | Refusal::OrphanSeat { .. }
            | Refusal::TooFewFit { .. }
            | Refusal::NotTogether { .. }
            | Refusal::SeatsInUse { .. }
            | Refusal::SeatsAreNumbered => of_seats(refusal, &plain),
            Refusal::NotChangeable => plain("Only the seats of an active hold can be changed."),
            Refusal::BookingCancelled => plain("Hold seats again."),
            Refusal::HoldExpired { expired_at } => {
                plain(&format!("The hold ended at {expired_at}; hold seats again."))
                    .with("expired_at", expired_at.to_string())
            }
            Refusal::ExtensionLimit => plain("The hold cannot last longer, or it is a sale."),
            Refusal::NotCancellable => plain(
                "The hold has expired, or the time limit for cancelling a confirmed booking \
                    has passed.",
            ),
            Refusal::CapacityInUse { minimum } => {
                plain(&format!("{minimum} seats are held, sold or blocked."))
                    .with("minimum", minimum)
            }
            Refusal::CurrencyInUse { seats } => {
                plain(&format!("{seats} seats are held or sold.")).with("seats", seats)
            }
            Refusal::VersionMismatch { version } => {
                plain(&format!("The current version is {version}; read the resource again."))
                    .with("version", version)
            }
            Refusal::TooManyToReprice { .. }
            | Refusal::EmptySaleWindow
            | Refusal::DuplicateSeat { .. }
            | Refusal::DuplicateSection
            | Refusal::CurrencyMismatch { .. }
            | Refusal::TooManySections => of_fields(&refusal),
            Refusal::IdempotencyInFlight => {
                plain("Send the request again with the same key.").retry_after(1)
            }
            Refusal::IdempotencyKeyReused => plain("Use a new key for a new request."),
        }
    }
}

/// Those of an event and its sections that name a field.
fn of_fields(refusal: &Refusal) -> Problem {
    match refusal {
        Refusal::TooManyToReprice { limit } => Problem::invalid_field(
            "currency",
            format!("can be changed only if the event has at most {limit} numbered seats"),
        ),
        Refusal::EmptySaleWindow => {
            Problem::invalid_field("sales_end", "must be after sales_start")
        }
        Refusal::DuplicateSeat { first, again, .. } => {
            Problem::invalid_field("seats", duplicate_seat(first, again))
        }
        Refusal::DuplicateSection => {
            Problem::invalid_field("name", "must be unique in the event (case-insensitive)")
        }
        Refusal::CurrencyMismatch { currency } => Problem::invalid_field(
            "currency",
            format!("must be {currency}, as in the event's other sections"),
        ),
        Refusal::TooManySections => Problem::invalid_field(
            "sections",
            format!("must have at most {} sections", engine::event::SECTIONS_MAX),
        ),
        other => unreachable!("names no field: {other:?}"),
    }
}

/// What is wrong with a list that names a seat twice, perhaps in two spellings.
pub fn duplicate_seat(first: &str, again: &str) -> String {
    if first == again {
        return format!("duplicate seat {again}");
    }
    format!("duplicate seat: {again} is {first} in another spelling")
}

fn ids(of: &[impl ToString]) -> Vec<String> {
    of.iter().map(ToString::to_string).collect()
}

/// Those of organizations.
fn of_organizations(refusal: &Refusal, plain: &impl Fn(&str) -> Problem) -> Problem {
    match refusal {
        Refusal::PermissionMissing { permission } => {
            plain(&format!("This needs the permission {permission} at the organization."))
                .with("permission", permission.as_str())
        }
        Refusal::LastOwner => plain(
            "A team needs at least one owner, and a personal organization belongs to its user.",
        ),
        Refusal::LastOwnerOf { organizations } => {
            plain("The user is the only owner of these teams.")
                .with("organizations", ids(organizations))
        }
        Refusal::EventsOpen { events } => {
            plain("The buyers of these events need somebody who answers for them.")
                .with("events", ids(events))
        }
        Refusal::NotAMember => plain("Only a member can become the owner."),
        Refusal::MemberExists => plain("The account with this address is a member already."),
        Refusal::InvitationEnded => {
            plain("The invitation is unknown, has expired, or was accepted, revoked or replaced.")
        }
        Refusal::InvitationMismatch => {
            plain("Log in to the account with the address that was invited.")
        }
        Refusal::LimitReached { what, limit } => {
            plain(&format!("There can be at most {limit} {what}.")).with("limit", *limit)
        }
        Refusal::OwnerConfined => Problem::invalid_field("events", "must be null for an owner"),
        Refusal::PasswordNeeded => Problem::invalid_field(
            "password",
            "is required to make, change or remove another owner",
        ),
        Refusal::KeysExist { keys } => {
            plain("The member made keys that still work; send `?keys=keep` or `?keys=revoke`.")
                .with("keys", *keys)
        }
        Refusal::KeyWidened { field } => {
            Problem::invalid_field(*field, "can only become less; make another key for more")
        }
        Refusal::KeyEndsEarly => Problem::invalid_field("expires_at", "must be in the future"),
        _ => unreachable!("it is of organizations"),
    }
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
        Refusal::TooManyToSelect { limit } => plain(&format!(
            "At most {limit} numbered seats are selected at once; name the seats, or hold them in \
             several bookings."
        ))
        .with("limit", limit),
        Refusal::OrphanSeat { seats } => {
            let seats: Vec<_> = seats.iter().map(ToString::to_string).collect();
            plain(&format!("Take {} too, or choose other seats.", seats.join(", ")))
                .with("seats", seats)
        }
        Refusal::TooFewFit { available, requested, accessible, largest_contiguous_block } => {
            let what = if accessible { "accessible seats" } else { "seats" };
            plain(&format!("{requested} {what} were requested; {available} are available."))
                .with("available", available)
                .with("requested", requested)
                .with("accessible", accessible)
                .with("largest_contiguous_block", largest_contiguous_block)
        }
        Refusal::NotTogether { requested, alone, largest_contiguous_block } => plain(&if alone {
            format!("{requested} seats were requested; somebody would have to sit alone.")
        } else {
            format!(
                "{requested} seats were requested; at most {largest_contiguous_block} adjacent \
                 seats are available."
            )
        })
        .with("requested", requested)
        .with("largest_contiguous_block", largest_contiguous_block),
        Refusal::SeatsInUse { seats } => {
            let seats: Vec<_> = seats
                .iter()
                .take(SEATS_TOLD_MAX)
                .map(|(seat, harm)| json!({"seat": &**seat, "reason": harm.as_str()}))
                .collect();
            plain(
                "A seat that is held, sold or blocked must keep its name and \
                    place.",
            )
            .with("seats", seats)
        }
        Refusal::SeatsAreNumbered => {
            plain("Its layout sets the capacity and prices, and its seats have names.")
        }
        _ => unreachable!("it is of numbered seats"),
    }
}
