//! How bookings are shown.

use super::super::docs::SeatWord;
use super::super::object::Object;
#[cfg(test)]
use super::super::wire::{shown, shown_or_null};
use engine::seats::SeatName;
use engine::{Booking, BookingId, BookingStatus, EventId, Item, SectionId, Timestamp, UserId};
use std::sync::Arc;
use utoipa::ToSchema;

/// Seats of one section in a booking, with the names and prices at the time of the hold.
#[derive(ToSchema)]
#[cfg_attr(test, derive(serde::Serialize))]
#[cfg_attr(not(test), expect(dead_code, reason = "describes an item; `write_item` writes it"))]
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
#[derive(ToSchema)]
#[cfg_attr(test, derive(serde::Serialize))]
#[cfg_attr(not(test), expect(dead_code, reason = "describes a booking; `write_booking` writes it"))]
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
    /// Proves whose the booking is: `POST /visitors` returns an access token of its buyer for it. Present in
    /// answers to holds and reads by a visitor, and to holds for a buyer who is no user.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    booking_token: Option<String>,
}

/// What an answer says of a booking beyond the booking.
#[derive(Clone, Copy, Default)]
pub(super) struct Beyond<'a> {
    /// In the answer that assigns selected seats: whether all are adjacent.
    pub next_to_each_other: Option<bool>,
    /// Its booking token.
    pub token: Option<&'a str>,
}

/// Writes a booking as [`BookingView`] describes it, as it reads at `now`: a due hold is expired, swept
/// or not.
pub(super) fn write_booking(
    out: &mut Vec<u8>,
    booking: &Booking,
    now: Timestamp,
    beyond: Beyond<'_>,
) {
    let status = booking.status_at(now);
    let total = booking.total_price();
    let expires_in = match status {
        BookingStatus::Hold => booking.expires_at.since_ms(now).div_euclid(1_000),
        _ => 0,
    };
    Object::write(out, |object| {
        object.id("booking_id", booking.booking_id.uuid());
        object.word("reference", &booking.booking_id.reference_ascii());
        object.id("user_id", booking.user_id.uuid());
        object.id("event_id", booking.event_id.uuid());
        if let [only] = &*booking.items {
            object.id("section_id", only.section_id.uuid());
            object.number("seats_requested", only.seats);
            write_seats(object, only);
        }
        if let Some(next_to_each_other) = beyond.next_to_each_other {
            object.flag("next_to_each_other", next_to_each_other);
        }
        object.list("items", booking.items.iter(), write_item);
        object.number("total_price", total.minor);
        object.word("currency", total.currency.as_str().as_bytes());
        object.word("status", status.as_str().as_bytes());
        object.instant("expires_at", booking.expires_at);
        object.number("expires_in", expires_in);
        object.instant("max_expires_at", booking.max_expires_at);
        for (name, at) in
            [("confirmed_at", booking.confirmed_at), ("cancelled_at", booking.cancelled_at)]
        {
            if let Some(at) = at {
                object.instant(name, at);
            }
        }
        object.instant("created_at", booking.created_at);
        object.instant("updated_at", booking.updated_at);
        object.instant("server_time", now);
        object.number("version", booking.version);
        if let Some(token) = beyond.token {
            object.word("booking_token", token.as_bytes());
        }
    });
}

fn write_item(out: &mut Vec<u8>, item: &Item) {
    Object::write(out, |object| {
        object.id("section_id", item.section_id.uuid());
        object.text("section_name", &item.section_name);
        object.number("seats_requested", item.seats);
        write_seats(object, item);
        object.number("unit_price", item.unit_price.minor);
        object.word("currency", item.unit_price.currency.as_str().as_bytes());
    });
}

fn write_seats(object: &mut Object<'_>, item: &Item) {
    if !item.seat_names.is_empty() {
        object.texts("seats", item.seat_names.iter().map(SeatName::as_str));
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

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{Currency, Money, Shard};

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

    impl BookingView {
        fn new(booking: &Booking, now: Timestamp, beyond: Beyond<'_>) -> Self {
            let status = booking.status_at(now);
            let total = booking.total_price();
            let left_ms = booking.expires_at.since_ms(now);
            let only = (booking.items.len() == 1).then(|| &booking.items[0]);
            Self {
                booking_id: booking.booking_id,
                reference: booking.booking_id.reference(),
                user_id: booking.user_id,
                event_id: booking.event_id,
                section_id: only.map(|item| item.section_id),
                seats_requested: only.map(|item| item.seats),
                seats: only.map(|item| item.seat_names.clone()).unwrap_or_default(),
                next_to_each_other: beyond.next_to_each_other,
                total_price: total.minor,
                currency: total.currency.to_string(),
                status: status.as_str(),
                expires_at: booking.expires_at,
                expires_in: if status == BookingStatus::Hold { left_ms / 1_000 } else { 0 },
                max_expires_at: booking.max_expires_at,
                confirmed_at: booking.confirmed_at,
                cancelled_at: booking.cancelled_at,
                created_at: booking.created_at,
                updated_at: booking.updated_at,
                server_time: now,
                version: booking.version,
                items: booking.items.iter().map(ItemView::from).collect(),
                booking_token: beyond.token.map(str::to_owned),
            }
        }
    }

    /// The booking, as it is written and as serde writes what describes it.
    fn both(booking: &Booking, now: Timestamp, beyond: Beyond<'_>) -> [String; 2] {
        let mut written = Vec::new();
        write_booking(&mut written, booking, now, beyond);
        let described = serde_json::to_string(&BookingView::new(booking, now, beyond));
        [String::from_utf8(written).expect("text"), described.expect("it can be written")]
    }

    #[test]
    fn a_booking_is_written_as_its_schema_describes_it() {
        let at = |ms: i64| Timestamp::from_unix_ms(1_800_000_000_000 + ms);
        let shard = Shard::pick(7);
        let usd = Currency::parse("USD").expect("a currency");
        let item = |name: &str, seats: &[&str], price| Item {
            section_id: SectionId::new(at(1), shard, 2),
            section_name: name.into(),
            seats: u32::try_from(seats.len().max(1)).expect("few"),
            seat_names: seats.iter().map(|seat| (*seat).into()).collect(),
            unit_price: Money { minor: price, currency: usd },
        };
        let plain = item("A", &[], 0);
        let odd = item("Größe \"1\" \\ \u{1f3ad}", &["A-1", "Ä\"-2"], 1_999);
        for items in [vec![plain.clone()], vec![odd.clone()], vec![plain, odd]] {
            for status in [
                BookingStatus::Hold,
                BookingStatus::Confirmed,
                BookingStatus::Expired,
                BookingStatus::Cancelled,
            ] {
                let booking_id = BookingId::new(at(0), shard, u64::MAX / 3);
                let users = (UserId::new(at(2), shard, 3), EventId::new(at(3), shard, 4));
                let mut booking =
                    Booking::held(booking_id, users, items.clone(), at(0), (60_000, 600_000));
                booking.status = status;
                booking.version = 12;
                booking.confirmed_at = (status == BookingStatus::Confirmed).then_some(at(5));
                booking.cancelled_at = (status == BookingStatus::Cancelled).then_some(at(6));
                for now in [at(0), at(1), at(59_999), at(60_000)] {
                    for next_to_each_other in [None, Some(true), Some(false)] {
                        for token in [None, Some("a-b_c")] {
                            let beyond = Beyond { next_to_each_other, token };
                            let [written, described] = both(&booking, now, beyond);
                            assert_eq!(written, described);
                        }
                    }
                }
            }
        }
    }
}
