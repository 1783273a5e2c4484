//! A lease: a live hold as one line that a person can read, `version checked_at {…}`.
//!
//! Where a hold has ended, the word of its end stands instead of the JSON for a while, so that no
//! older settlement that arrives late brings it back.

use engine::{
    Booking, BookingId, BookingStatus, Currency, EventId, Item, Money, SectionId, Timestamp, UserId,
};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::Arc;

#[derive(Serialize, Deserialize)]
struct Written<'a> {
    user: String,
    event: String,
    items: Vec<WrittenItem<'a>>,
    expires_at: String,
    max_expires_at: String,
    created_at: String,
    updated_at: String,
}

#[derive(Serialize, Deserialize)]
struct WrittenItem<'a> {
    section: String,
    name: Cow<'a, str>,
    seats: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    numbers: Vec<Arc<str>>,
    price: i64,
    currency: Cow<'a, str>,
}

/// What is written after the version and the time: a live hold whole, of any other its status.
pub(super) fn write(booking: &Booking) -> String {
    if booking.status != BookingStatus::Hold {
        return booking.status.as_str().to_owned();
    }
    let written = Written {
        user: booking.user_id.to_string(),
        event: booking.event_id.to_string(),
        items: booking.items.iter().map(write_item).collect(),
        expires_at: booking.expires_at.to_string(),
        max_expires_at: booking.max_expires_at.to_string(),
        created_at: booking.created_at.to_string(),
        updated_at: booking.updated_at.to_string(),
    };
    serde_json::to_string(&written).expect("strings and integers are always JSON")
}

fn write_item(item: &Item) -> WrittenItem<'_> {
    WrittenItem {
        section: item.section_id.to_string(),
        name: Cow::Borrowed(&item.section_name),
        seats: item.seats,
        numbers: item.numbers.clone(),
        price: item.unit_price.minor,
        currency: Cow::Borrowed(item.unit_price.currency.as_str()),
    }
}

/// Reads a lease: its version, and the hold if it is live. `None` for what was never written here.
pub(super) fn read(booking_id: BookingId, line: &str) -> Option<(i64, Option<Booking>)> {
    let mut parts = line.splitn(3, ' ');
    let version = parts.next()?.parse().ok()?;
    let text = parts.nth(1)?;
    if BookingStatus::parse(text).is_some() {
        return Some((version, None));
    }
    let written: Written<'_> = serde_json::from_str(text).ok()?;
    let item = |item: WrittenItem<'_>| {
        Some(Item {
            section_id: item.section.parse::<SectionId>().ok()?,
            section_name: item.name.as_ref().into(),
            seats: item.seats,
            numbers: item.numbers,
            unit_price: Money { minor: item.price, currency: Currency::parse(&item.currency)? },
        })
    };
    let booking = Booking {
        booking_id,
        user_id: written.user.parse::<UserId>().ok()?,
        event_id: written.event.parse::<EventId>().ok()?,
        items: written.items.into_iter().map(item).collect::<Option<_>>()?,
        status: BookingStatus::Hold,
        expires_at: Timestamp::parse(&written.expires_at)?,
        max_expires_at: Timestamp::parse(&written.max_expires_at)?,
        confirmed_at: None,
        cancelled_at: None,
        created_at: Timestamp::parse(&written.created_at)?,
        updated_at: Timestamp::parse(&written.updated_at)?,
        version,
    };
    Some((version, Some(booking)))
}
