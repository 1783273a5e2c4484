//! How bookings are shown.

use super::super::docs::SeatWord;
use super::super::wire::{shown, shown_or_null};
use engine::seats::SeatName;
use engine::{Booking, BookingId, BookingStatus, EventId, Item, SectionId, Timestamp, UserId};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// Seats of one section in a booking, with the names and prices at the time of the hold.
#[derive(Serialize, ToSchema)]
#[schema(as = Item)]
struct ItemView {
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    section_id: SectionId,
    #[schema(value_type = String)]
    section_name: Arc<str>,
    seats_requested: u32,
    /// The names of the seats, if the section has numbered seats.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<SeatWord>, required = false)]
    seats: Vec<SeatName>,
    /// Minor units.
    unit_price: i64,
    #[schema(pattern = "^[A-Z]{3}$")]
    currency: String,
}

impl From<&Item> for ItemView {
    fn from(item: &Item) -> Self {
        Self {
            section_id: item.section_id,
            section_name: item.section_name.clone(),
            seats_requested: item.seats,
            seats: item.seat_names.clone(),
            unit_price: item.unit_price.minor,
            currency: item.unit_price.currency.to_string(),
        }
    }
}

/// The status of a booking.
#[derive(ToSchema)]
#[schema(as = BookingStatus, rename_all = "UPPERCASE")]
#[expect(dead_code, reason = "the words of the schema; the engine has the rule")]
pub(in super::super) enum StatusWord {
    Hold,
    Confirmed,
    Expired,
    Cancelled,
}

/// A booking.
#[derive(Serialize, ToSchema)]
#[schema(as = Booking)]
pub(in super::super) struct BookingView {
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    booking_id: BookingId,
    /// A short reference for people.
    #[schema(pattern = "^[0-9A-HJKMNP-TV-Z]{8}$")]
    reference: String,
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    user_id: UserId,
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    event_id: EventId,
    /// The number of seats of the only item.
    #[serde(serialize_with = "shown_or_null", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, format = "uuid")]
    section_id: Option<SectionId>,
    /// The number of seats of the only item.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u32, required = false)]
    seats_requested: Option<u32>,
    /// The seats of the only item, if its section has numbered seats.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<SeatWord>, required = false)]
    seats: Vec<SeatName>,
    /// True if all seats are adjacent. Present only in the answer to a hold whose seats the server
    /// selected.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = bool, required = false)]
    next_to_each_other: Option<bool>,
    items: Vec<ItemView>,
    /// Minor units.
    total_price: i64,
    #[schema(pattern = "^[A-Z]{3}$")]
    currency: String,
    #[schema(value_type = StatusWord)]
    status: &'static str,
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "date-time")]
    expires_at: Timestamp,
    /// Seconds until the hold expires; 0 if the booking is not a hold.
    expires_in: i64,
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "date-time")]
    max_expires_at: Timestamp,
    #[serde(serialize_with = "shown_or_null", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, format = "date-time")]
    confirmed_at: Option<Timestamp>,
    #[serde(serialize_with = "shown_or_null", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, format = "date-time")]
    cancelled_at: Option<Timestamp>,
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "date-time")]
    created_at: Timestamp,
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "date-time")]
    updated_at: Timestamp,
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "date-time")]
    server_time: Timestamp,
    version: i64,
}

impl BookingView {
    /// The booking as it reads at `now`: a due hold is expired, swept or not.
    pub(in super::super) fn new(booking: &Booking, now: Timestamp) -> Self {
        let status = booking.status_at(now);
        let total = booking.total_price();
        let expires_in = match status {
            BookingStatus::Hold => booking.expires_at.since_ms(now).div_euclid(1_000),
            _ => 0,
        };
        let only = (booking.items.len() == 1).then(|| &booking.items[0]);
        Self {
            booking_id: booking.booking_id,
            reference: booking.booking_id.reference(),
            user_id: booking.user_id,
            event_id: booking.event_id,
            section_id: only.map(|item| item.section_id),
            seats_requested: only.map(|item| item.seats),
            seats: only.map(|item| item.seat_names.clone()).unwrap_or_default(),
            next_to_each_other: None,
            total_price: total.minor,
            currency: total.currency.to_string(),
            status: status.as_str(),
            expires_at: booking.expires_at,
            expires_in,
            max_expires_at: booking.max_expires_at,
            confirmed_at: booking.confirmed_at,
            cancelled_at: booking.cancelled_at,
            created_at: booking.created_at,
            updated_at: booking.updated_at,
            server_time: now,
            version: booking.version,
            items: booking.items.iter().map(ItemView::from).collect(),
        }
    }

    /// In the answer that assigns selected seats.
    pub(super) fn seated(self, next_to_each_other: Option<bool>) -> Self {
        Self { next_to_each_other, ..self }
    }

    pub(in super::super) fn id(&self) -> BookingId {
        self.booking_id
    }
}

/// A page of bookings, newest first.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a page; `lists::page` writes it")]
pub(in super::super) struct BookingPage {
    #[schema(max_items = 100)]
    items: Vec<BookingView>,
    /// The value of `after` for the next page; null on the last page.
    #[schema(required, format = "uuid")]
    next: Option<String>,
}
