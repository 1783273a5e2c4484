//! Bookings: seats set aside for one buyer, then sold or given back.
//!
//! A booking moves only along `HOLD → CONFIRMED | EXPIRED | CANCELLED` and `CONFIRMED → CANCELLED`,
//! each edge at most once (I2). Expiry is a fact of time, not of the sweep: at `expires_at` a hold is
//! dead even if its row still says `HOLD`, so readers ask [`Booking::status_at`].

use crate::ids::{BookingId, EventId, SectionId, UserId};
use crate::money::Money;
use crate::seats::SeatName;
use crate::time::Timestamp;
use std::sync::Arc;

/// The status of a booking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BookingStatus {
    /// Seats are set aside until `expires_at`.
    Hold,
    /// Seats are sold.
    Confirmed,
    /// The hold ended by itself.
    Expired,
    /// The hold was given back, or the sale was undone.
    Cancelled,
}

impl BookingStatus {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Hold, Self::Confirmed, Self::Expired, Self::Cancelled];

    /// The word used in the API, in the store and in the logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "HOLD",
            Self::Confirmed => "CONFIRMED",
            Self::Expired => "EXPIRED",
            Self::Cancelled => "CANCELLED",
        }
    }

    /// The status with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// Whether seats are set aside or sold.
    #[must_use]
    pub fn is_live(self) -> bool {
        matches!(self, Self::Hold | Self::Confirmed)
    }

    /// Whether I2 allows the step from this status to `next`.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        match self {
            Self::Hold => matches!(next, Self::Confirmed | Self::Expired | Self::Cancelled),
            Self::Confirmed => next == Self::Cancelled,
            Self::Expired | Self::Cancelled => false,
        }
    }
}

/// Seats of one section in a booking, with the name and the price frozen when they were held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The section.
    pub section_id: SectionId,
    /// What the section was called.
    pub section_name: Arc<str>,
    /// How many seats.
    pub seats: u32,
    /// Which seats, in a seated section; empty in a counted one.
    pub seat_names: Vec<SeatName>,
    /// What one of them costs.
    pub unit_price: Money,
}

/// What a buyer asked for: seats of one event, in one or several sections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Booking {
    /// The booking.
    pub booking_id: BookingId,
    /// The buyer.
    pub user_id: UserId,
    /// The event.
    pub event_id: EventId,
    /// At least one item; at most one for each section, or for each price of a section with numbered
    /// seats. Those of a section are consecutive.
    pub items: Arc<[Item]>,
    /// As stored; readers ask [`Self::status_at`].
    pub status: BookingStatus,
    /// When the hold ends, or ended, or would have ended.
    pub expires_at: Timestamp,
    /// How far extending can move `expires_at`.
    pub max_expires_at: Timestamp,
    /// When it was confirmed.
    pub confirmed_at: Option<Timestamp>,
    /// When it was cancelled.
    pub cancelled_at: Option<Timestamp>,
    /// When the seats were held.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Rises with every change.
    pub version: i64,
}

impl Booking {
    /// A hold that begins at `now`, in its first version. It ends after `ttl_ms`, and extending can move
    /// that to `max_life_ms` after `now`.
    #[must_use]
    pub fn held(
        booking_id: BookingId,
        (user_id, event_id): (UserId, EventId),
        items: impl Into<Arc<[Item]>>,
        now: Timestamp,
        (ttl_ms, max_life_ms): (i64, i64),
    ) -> Self {
        Self {
            booking_id,
            user_id,
            event_id,
            items: items.into(),
            status: BookingStatus::Hold,
            expires_at: now.plus_ms(ttl_ms),
            max_expires_at: now.plus_ms(max_life_ms),
            confirmed_at: None,
            cancelled_at: None,
            created_at: now,
            updated_at: now,
            version: 1,
        }
    }

    /// The status as of `now`: a due hold is expired, swept or not.
    #[must_use]
    pub fn status_at(&self, now: Timestamp) -> BookingStatus {
        if self.is_due(now) { BookingStatus::Expired } else { self.status }
    }

    /// Whether this is a hold whose time is over at `now` and whose seats have not been given back.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.status == BookingStatus::Hold && now >= self.expires_at
    }

    /// Its sections, each once, with how many seats it has there.
    pub fn sections(&self) -> impl Iterator<Item = (SectionId, u32)> {
        let sections = self.items.chunk_by(|a, b| a.section_id == b.section_id);
        sections.map(|items| (items[0].section_id, items.iter().map(|item| item.seats).sum()))
    }

    /// Its numbered seats, with their section.
    pub fn seat_names(&self) -> impl Iterator<Item = (SectionId, &SeatName)> {
        self.items
            .iter()
            .flat_map(|item| item.seat_names.iter().map(|number| (item.section_id, number)))
    }

    /// All its seats.
    #[must_use]
    pub fn seats(&self) -> u32 {
        self.items.iter().map(|item| item.seats).sum()
    }

    /// What all its seats cost.
    #[must_use]
    pub fn total_price(&self) -> Money {
        let costs = self.items.iter().map(|item| item.unit_price.times(item.seats));
        costs
            .reduce(|sum, cost| sum?.plus(cost?))
            .flatten()
            .expect("a hold has items of one currency within the limits of price and seats")
    }

    /// Moves the booking to `next` at `now`.
    ///
    /// # Panics
    /// When I2 forbids the step: the caller decided wrongly, and nothing may be written.
    pub(crate) fn become_at(&mut self, next: BookingStatus, now: Timestamp) {
        assert!(self.status.may_become(next), "I2 forbids {:?} -> {next:?}", self.status);
        self.status = next;
        match next {
            BookingStatus::Confirmed => self.confirmed_at = Some(now),
            BookingStatus::Cancelled => self.cancelled_at = Some(now),
            BookingStatus::Hold | BookingStatus::Expired => {}
        }
        self.touch(now);
    }

    /// Records that the booking changed at `now`.
    pub(crate) fn touch(&mut self, now: Timestamp) {
        self.updated_at = now;
        self.version += 1;
    }
}
