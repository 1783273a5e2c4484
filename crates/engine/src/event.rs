//! Events and their sections: who may sell what, when, and how much of it to whom.

mod decide;
mod section;
mod transfer;

use crate::access::{By, Override, Overrides, Permission, may};
use crate::decide::Policy;
use crate::error::Refusal;
use crate::ids::{EventId, OrgId, SeriesId};
use crate::inventory::Inventory;
use crate::money::Currency;
use crate::text::folded;
use crate::time::{EventDate, Timestamp};
use chrono_tz::Tz;
use std::collections::HashSet;

pub use decide::{EventChanges, EventCommand, Opened, Repricing, create, decide};
pub use section::{Opening, Section, SectionChange};
pub use transfer::Transfer;

/// The maximum capacity of a section.
pub const CAPACITY_MAX: i64 = 1_000_000_000;
/// The largest cap of a buyer at an event. It is no cap: an event that has it is free of the one that the
/// configuration sets for all events, and no batch has to count its buyers' seats.
pub const SEATS_PER_USER_MAX: u32 = 1_000_000_000;
/// The maximum number of sections of an event.
pub const SECTIONS_MAX: usize = 1_000;
/// The maximum number of numbered seats, in all sections of an event, whose currency can be
/// changed: their layouts are written anew.
pub const REPRICED_SEATS_MAX: usize = 200_000;
/// The highest limit of seats per booking that a configuration or an event may set.
pub const SEATS_PER_BOOKING_MAX: u32 = 10_000;

/// The status of an event. A cancelled event stays cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventStatus {
    /// Seen by the members of its organization only.
    Draft,
    /// On sale, inside its sale window.
    OnSale,
    /// No new holds; what is held may still be confirmed.
    Closed,
    /// Called off: live bookings are being cancelled.
    Cancelled,
}

impl EventStatus {
    /// All of them, in the order of an event's life.
    pub const ALL: [Self; 4] = [Self::Draft, Self::OnSale, Self::Closed, Self::Cancelled];

    /// The word used in the API, in the store and in the logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::OnSale => "on_sale",
            Self::Closed => "closed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The status with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

/// What decides whether a seat of an event may be sold: the part of it that a batch loads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The event.
    pub event_id: EventId,
    /// Whose it is.
    pub organizer_id: OrgId,
    /// The status.
    pub status: EventStatus,
    /// Holds are refused before.
    pub sales_start: Option<Timestamp>,
    /// Holds are refused from here on.
    pub sales_end: Option<Timestamp>,
    /// Nothing can be sold from here on.
    pub over_at: Timestamp,
    /// Seats in one booking; unset: the configuration's default.
    pub max_seats_per_booking: Option<u32>,
    /// Live seats of one buyer in all sections; unset: the configuration's default.
    pub max_seats_per_user: Option<u32>,
    /// How long a hold lives; unset: the configuration's default.
    pub hold_ttl_ms: Option<i64>,
    /// Until when a buyer may cancel a confirmed booking; unset: never.
    pub cancellable_until: Option<Timestamp>,
    /// Whether a hold by seats is refused that would leave a single free seat beside its own, while
    /// as many others can be had that do not.
    pub prevent_orphans: bool,
}

impl Terms {
    /// Whether everybody may see the event: a draft is for its organization only.
    #[must_use]
    pub fn is_public(&self) -> bool {
        self.status != EventStatus::Draft
    }

    /// Maximum live seats of one buyer: the event's own cap, or the one for all events.
    #[must_use]
    pub fn cap_of_buyer(&self, policy: &Policy) -> Option<u32> {
        let cap = self.max_seats_per_user.or(policy.max_seats_per_user);
        cap.filter(|cap| *cap < SEATS_PER_USER_MAX)
    }

    /// Whether new holds may be made at `now`. Who goes beyond [`Override::SaleWindow`] may make them as
    /// long as the event is public and is not over.
    ///
    /// The first refusal wins: [`Refusal::EventCancelled`], [`Refusal::SaleNotOpen`],
    /// [`Refusal::SaleClosed`], [`Refusal::EventOver`].
    pub fn may_sell(&self, now: Timestamp, overrides: Overrides) -> Result<(), Refusal> {
        let is_bound = !overrides.has(Override::SaleWindow);
        if self.status == EventStatus::Cancelled {
            return Err(Refusal::EventCancelled);
        }
        let is_early = is_bound && self.sales_start.is_some_and(|start| now < start);
        if self.status == EventStatus::Draft || is_early {
            return Err(Refusal::SaleNotOpen { sales_start: self.sales_start });
        }
        let is_late = self.sales_end.is_some_and(|end| now >= end);
        if is_bound && (self.status == EventStatus::Closed || is_late) {
            return Err(Refusal::SaleClosed);
        }
        if now >= self.over_at {
            return Err(Refusal::EventOver);
        }
        Ok(())
    }
}

/// Something people attend, of an organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What decides whether its seats may be sold.
    pub terms: Terms,
    /// The series that it is in, from its creation on, until it leaves its organization. It has the same
    /// shard.
    pub series_id: Option<SeriesId>,
    /// Its name.
    pub title: String,
    /// What it is about.
    pub description: Option<String>,
    /// Where it takes place.
    pub venue: Option<String>,
    /// When it takes place.
    pub date: EventDate,
    /// The zone in which a day begins and ends.
    pub timezone: Tz,
    /// Rises with every change of the event or of a section's name or price.
    pub version: i64,
    /// When it was recorded.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// An event with its sections in the order of their creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventWithSections {
    /// The event.
    pub event: Event,
    /// Its sections.
    pub sections: Vec<Section>,
}

/// What an organizer wants to change of an event; `None` leaves a field as it is, and an inner
/// `None` clears it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventChange {
    /// Its name.
    pub title: Option<String>,
    /// What it is about.
    pub description: Option<Option<String>>,
    /// Where it takes place.
    pub venue: Option<Option<String>>,
    /// When it takes place, with its time zone.
    pub date: Option<(EventDate, Tz)>,
    /// The status; cancelling the event is [`Event::cancel`].
    pub status: Option<EventStatus>,
    /// When the sale begins.
    pub sales_start: Option<Option<Timestamp>>,
    /// When it ends.
    pub sales_end: Option<Option<Timestamp>>,
    /// Seats in one booking.
    pub max_seats_per_booking: Option<Option<u32>>,
    /// Live seats of one buyer.
    pub max_seats_per_user: Option<Option<u32>>,
    /// How long a hold lives.
    pub hold_ttl_ms: Option<Option<i64>>,
    /// Until when a buyer may cancel a sale.
    pub cancellable_until: Option<Option<Timestamp>>,
    /// Whether holds by seats that leave a single free seat are refused.
    pub prevent_orphans: Option<bool>,
    /// The currency of all its prices, by the rule of [`may_change_currency`].
    pub currency: Option<Currency>,
}

impl Event {
    /// Whether `by` may edit the event, whose version they believe to be `expected`.
    ///
    /// The first refusal wins: those of [`may`], [`Refusal::EventCancelled`],
    /// [`Refusal::VersionMismatch`].
    pub fn may_edit(&self, by: By, expected: Option<i64>) -> Result<(), Refusal> {
        may(by, Permission::EventWrite, &self.terms)?;
        if self.terms.status == EventStatus::Cancelled {
            return Err(Refusal::EventCancelled);
        }
        match expected {
            Some(version) if version != self.version => {
                Err(Refusal::VersionMismatch { version: self.version })
            }
            _ => Ok(()),
        }
    }

    /// Applies `change` at `now`. Ask [`Self::may_edit`] first. A change to what it is already leaves
    /// its version as it is.
    ///
    /// Refuses a sale that would end before it begins ([`Refusal::EmptySaleWindow`]).
    pub fn revise(&mut self, change: EventChange, now: Timestamp) -> Result<(), Refusal> {
        let before = self.clone();
        let terms = &mut self.terms;
        if let Some((date, timezone)) = change.date {
            terms.over_at = date.over_at();
            self.date = date;
            self.timezone = timezone;
        }
        set(&mut self.title, change.title);
        set(&mut self.description, change.description);
        set(&mut self.venue, change.venue);
        set(&mut terms.status, change.status);
        set(&mut terms.sales_start, change.sales_start);
        set(&mut terms.sales_end, change.sales_end);
        set(&mut terms.max_seats_per_booking, change.max_seats_per_booking);
        set(&mut terms.max_seats_per_user, change.max_seats_per_user);
        set(&mut terms.hold_ttl_ms, change.hold_ttl_ms);
        set(&mut terms.cancellable_until, change.cancellable_until);
        set(&mut terms.prevent_orphans, change.prevent_orphans);
        self.has_sale_window()?;
        if *self != before {
            self.touch(now);
        }
        Ok(())
    }

    /// Whether the sale begins before it ends; else [`Refusal::EmptySaleWindow`].
    pub fn has_sale_window(&self) -> Result<(), Refusal> {
        match (self.terms.sales_start, self.terms.sales_end) {
            (Some(start), Some(end)) if end <= start => Err(Refusal::EmptySaleWindow),
            _ => Ok(()),
        }
    }

    /// Calls the event off at `now`; again changes nothing.
    pub fn cancel(&mut self, now: Timestamp) {
        if self.terms.status != EventStatus::Cancelled {
            self.terms.status = EventStatus::Cancelled;
            self.touch(now);
        }
    }

    /// Records that the event or one of its sections changed at `now`.
    pub fn touch(&mut self, now: Timestamp) {
        self.version += 1;
        self.updated_at = now;
    }
}

fn set<T>(field: &mut T, change: Option<T>) {
    if let Some(value) = change {
        *field = value;
    }
}

/// Checks that these sections can be in one event; the error is the position of the first that
/// cannot.
///
/// The first refusal wins: [`Refusal::TooManySections`], [`Refusal::DuplicateSection`] (names are
/// compared by [`folded`]), [`Refusal::CurrencyMismatch`].
pub fn may_stand_together<'a>(
    sections: impl Iterator<Item = &'a Section>,
) -> Result<(), (usize, Refusal)> {
    let mut names = HashSet::new();
    let mut common = None;
    for (at, section) in sections.enumerate() {
        let currency = *common.get_or_insert(section.price.currency);
        if at >= SECTIONS_MAX {
            return Err((at, Refusal::TooManySections));
        }
        if !names.insert(folded(&section.name)) {
            return Err((at, Refusal::DuplicateSection));
        }
        if section.price.currency != currency {
            return Err((at, Refusal::CurrencyMismatch { currency }));
        }
    }
    Ok(())
}

/// Whether `section` may stand among the sections of its event, one of which it may replace: the
/// refusals of [`may_stand_together`].
///
/// It is judged alone. Names of others, and its own as it was, may be the same by a rule of folding
/// that came later than they did: those are kept.
pub fn may_join(section: &Section, sections: &[Section]) -> Result<(), Refusal> {
    let before = sections.iter().find(|other| other.section_id == section.section_id);
    let others = || sections.iter().filter(|other| other.section_id != section.section_id);
    if before.is_none() && sections.len() >= SECTIONS_MAX {
        return Err(Refusal::TooManySections);
    }
    let name = folded(&section.name);
    let is_renamed = before.is_none_or(|before| folded(&before.name) != name);
    if is_renamed && others().any(|other| folded(&other.name) == name) {
        return Err(Refusal::DuplicateSection);
    }
    match others().next() {
        Some(other) if other.price.currency != section.price.currency => {
            Err(Refusal::CurrencyMismatch { currency: other.price.currency })
        }
        _ => Ok(()),
    }
}

/// Whether the prices of sections with these inventories may become prices in another currency: not
/// while some of their seats are held or sold ([`Refusal::CurrencyInUse`]). Holds that are due are
/// retired before.
///
/// What was sold and has been cancelled is no hindrance: a booking keeps the currency it was made in.
pub fn may_change_currency<'a>(
    inventories: impl Iterator<Item = &'a Inventory>,
) -> Result<(), Refusal> {
    let seats = inventories.map(|inventory| inventory.held + inventory.sold).sum();
    if seats == 0 { Ok(()) } else { Err(Refusal::CurrencyInUse { seats }) }
}
