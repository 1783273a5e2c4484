//! What happened, in the words of the scenarios.

use super::text::{Expected, duration};
use engine::{Booking, BookingStatus, Inventory, Refusal, Timestamp};
use std::collections::BTreeMap;
use std::fmt;

/// An outcome: its words, and all its facts.
#[derive(Debug)]
pub struct Seen {
    pub verdict: String,
    pub facts: BTreeMap<&'static str, String>,
}

impl Seen {
    pub fn new(verdict: impl Into<String>) -> Self {
        Self { verdict: verdict.into(), facts: BTreeMap::new() }
    }

    pub fn fact(mut self, name: &'static str, value: &impl ToString) -> Self {
        self.facts.insert(name, value.to_string());
        self
    }

    /// Whether this is what was expected: the same words, and every fact that was named.
    pub fn is(&self, expected: &Expected) -> bool {
        let fact = |(name, value): (&String, &String)| self.facts.get(&**name) == Some(value);
        self.verdict == expected.verdict && expected.facts.iter().all(fact)
    }

    /// A refusal: its code and its members.
    pub fn refused(refusal: &Refusal, now: Timestamp) -> Self {
        let code = |code: &str| Self::new(format!("refused {code}"));
        match refusal {
            Refusal::NotFound { what } => code("not_found").fact("what", what),
            Refusal::NotOrganizer => code("not_organizer"),
            Refusal::EventCancelled => code("event_cancelled"),
            Refusal::SaleNotOpen { sales_start } => {
                let opens_in = sales_start.map(|at| duration(at.since_ms(now)));
                code("sale_not_open").fact("opens_in", &opens_in.unwrap_or("none".to_owned()))
            }
            Refusal::SaleClosed => code("sale_closed"),
            Refusal::EventOver => code("event_over"),
            Refusal::TooManySeats { limit, .. } => code("too_many_seats").fact("limit", limit),
            Refusal::BuyerLimit { limit, current, remaining } => code("buyer_limit")
                .fact("limit", limit)
                .fact("current", current)
                .fact("remaining", remaining),
            Refusal::SoldOut { available, requested } => {
                code("sold_out").fact("available", available).fact("requested", requested)
            }
            Refusal::BookingCancelled => code("booking_cancelled"),
            Refusal::HoldExpired { expired_at } => {
                code("hold_expired").fact("ago", &duration(now.since_ms(*expired_at)))
            }
            Refusal::ExtensionLimit => code("extension_limit"),
            Refusal::NotCancellable => code("not_cancellable"),
            Refusal::CapacityInUse { minimum } => code("capacity_in_use").fact("minimum", minimum),
            Refusal::IdempotencyKeyReused => code("idempotency_key_reused"),
            Refusal::EmptySaleWindow => code("empty_sale_window"),
            other => code(&format!("{other:?}")),
        }
    }

    /// A booking as its buyer sees it at `now`; `stored` is the status in its row.
    pub fn booking(verdict: impl Into<String>, booking: &Booking, now: Timestamp) -> Self {
        Self::new(verdict)
            .fact("status", &booking.status_at(now).as_str())
            .fact("stored", &booking.status.as_str())
            .fact("seats", &booking.seats())
            .fact("items", &booking.items.len())
            .fact("total", &booking.total_price().minor)
            .fact("version", &booking.version)
            .fact("ttl", &duration(booking.expires_at.since_ms(now)))
            .fact("max", &duration(booking.max_expires_at.since_ms(now)))
    }

    /// The counters of a section.
    pub fn inventory(inventory: &Inventory, due: i64) -> Self {
        Self::new("done")
            .fact("capacity", &inventory.capacity)
            .fact("held", &inventory.held)
            .fact("sold", &inventory.sold)
            .fact("blocked", &inventory.blocked)
            .fact("due", &due)
            .fact("available", &(inventory.available() + due))
            .fact("version", &inventory.version)
    }
}

/// What people call a booking of this status.
pub fn word(status: BookingStatus) -> &'static str {
    match status {
        BookingStatus::Hold => "held",
        BookingStatus::Confirmed => "confirmed",
        BookingStatus::Expired => "expired",
        BookingStatus::Cancelled => "cancelled",
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.verdict)?;
        self.facts.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.verdict)?;
        let mut facts = self.facts.iter();
        facts.try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}
