//! A lease: a live hold as one line that a person can read, `version checked_at {…}`.
//!
//! Where a hold has ended, a marker of its end replaces the JSON for a while, so that no
//! older settlement that arrives late brings it back.

use engine::seats::SeatName;
use engine::{
    Booking, BookingId, BookingStatus, Currency, EventId, Item, Money, SectionId, Timestamp, UserId,
};
use serde::Deserialize;
use std::borrow::Cow;
use std::fmt::{self, Write as _};

/// A live hold; instants in milliseconds since 1970.
#[derive(Deserialize)]
struct Written<'a> {
    user: String,
    event: String,
    #[serde(borrow)]
    items: Vec<WrittenItem<'a>>,
    expires_at: i64,
    max_expires_at: i64,
    created_at: i64,
    updated_at: i64,
}

#[derive(Deserialize)]
struct WrittenItem<'a> {
    section: String,
    name: Cow<'a, str>,
    seats: u32,
    #[serde(rename = "numbers", default)]
    seat_names: Vec<SeatName>,
    price: i64,
    currency: Cow<'a, str>,
}

/// The whole line: the version, the time, and of a live hold everything, of any other its status.
pub(super) fn line(booking: &Booking, settled_at_ms: i64) -> String {
    // Written by hand: every hold of a sale comes through here, and ids need no escapes.
    let mut line = String::with_capacity(LINE_BYTES);
    write(&mut line, booking, settled_at_ms).expect("a String grows");
    line
}

/// Room for a line: most are a little shorter.
const LINE_BYTES: usize = 512;

fn write(line: &mut String, booking: &Booking, settled_at_ms: i64) -> fmt::Result {
    write!(line, "{} {settled_at_ms} ", booking.version)?;
    if booking.status != BookingStatus::Hold {
        return line.write_str(booking.status.as_str());
    }
    write!(line, r#"{{"user":"{}","event":"{}","items":["#, booking.user_id, booking.event_id)?;
    for (n, item) in booking.items.iter().enumerate() {
        let separator = if n == 0 { "" } else { "," };
        write!(line, r#"{separator}{{"section":"{}","name":"#, item.section_id)?;
        line.push_str(&quoted(&item.section_name));
        if !item.seat_names.is_empty() {
            line.push_str(r#","numbers":"#);
            line.push_str(&quoted(&item.seat_names));
        }
        let (seats, price, currency) =
            (item.seats, item.unit_price.minor, &item.unit_price.currency);
        write!(line, r#","seats":{seats},"price":{price},"currency":"{}"}}"#, currency.as_str())?;
    }
    write!(
        line,
        r#"],"expires_at":{},"max_expires_at":{},"created_at":{},"updated_at":{}}}"#,
        booking.expires_at.unix_ms(),
        booking.max_expires_at.unix_ms(),
        booking.created_at.unix_ms(),
        booking.updated_at.unix_ms(),
    )
}

fn quoted<T: serde::Serialize + ?Sized>(text: &T) -> String {
    serde_json::to_string(text).expect("strings are always JSON")
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
            seat_names: item.seat_names,
            unit_price: Money { minor: item.price, currency: Currency::parse(&item.currency)? },
        })
    };
    let booking = Booking {
        expires_at: Timestamp::from_unix_ms(written.expires_at),
        max_expires_at: Timestamp::from_unix_ms(written.max_expires_at),
        updated_at: Timestamp::from_unix_ms(written.updated_at),
        version,
        ..Booking::held(
            booking_id,
            (written.user.parse::<UserId>().ok()?, written.event.parse::<EventId>().ok()?),
            written.items.into_iter().map(item).collect::<Option<Vec<_>>>()?,
            Timestamp::from_unix_ms(written.created_at),
            (0, 0),
        )
    };
    Some((version, Some(booking)))
}
