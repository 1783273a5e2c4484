//! What rows mean, whichever database they came from.
//!
//! Both stores name their columns alike, so each thing is read in one way. A value of another kind
//! than the schema says is a fault of ours, and says which column it was.

mod access;
mod detail;
mod items;
mod log;

use crate::{EventCard, Operator, PAGE_BYTES_MAX, Paged, Place};
use engine::account::{Cutoff, RefreshToken, User};
use engine::decide::ExpiryEntry;
use engine::seats::{SeatName, SeatState};
use engine::{
    Booking, BookingId, BookingStatus, Currency, Event, EventDate, EventId, EventStatus, Fault,
    Inventory, InvitationId, KeyId, Money, OrgId, Section, SectionId, Series, SeriesId, Terms,
    Timestamp, UserId,
};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt::Display;
use uuid::Uuid;

pub(crate) use access::{
    access_entry, api_key, confined_text, invitation, member, membership, networks_text,
    noted_text, organization, scopes_text,
};
pub(crate) use detail::{read as read_detail, text as detail_text};
pub(crate) use items::items_text;
use items::{StoredItem, items};
pub(crate) use log::{Sums, actor_kind, log_entries, timeline};

/// A row whose columns are read by their names.
pub(crate) trait Columns {
    /// An integer.
    fn int(&self, column: &'static str) -> Result<i64, Fault>;
    /// An integer or null.
    fn maybe_int(&self, column: &'static str) -> Result<Option<i64>, Fault>;
    /// A truth value.
    fn flag(&self, column: &'static str) -> Result<bool, Fault>;
    /// A text.
    fn text(&self, column: &'static str) -> Result<&str, Fault>;
    /// A text or null.
    fn maybe_text(&self, column: &'static str) -> Result<Option<&str>, Fault>;
    /// The bytes of an id.
    fn id(&self, column: &'static str) -> Result<[u8; 16], Fault>;
    /// The bytes of an id, or null.
    fn maybe_id(&self, column: &'static str) -> Result<Option<[u8; 16]>, Fault>;
    /// Bytes or null.
    fn maybe_bytes(&self, column: &'static str) -> Result<Option<&[u8]>, Fault>;
    /// Bytes.
    fn bytes(&self, column: &'static str) -> Result<&[u8], Fault>;
}

/// What a column of another kind comes to.
pub(crate) fn unreadable<E: Display>(column: &'static str) -> impl FnOnce(E) -> Fault {
    move |error| Fault::Corrupt { what: format!("column {column}: {error}") }
}

pub(crate) fn corrupt(column: &'static str) -> impl FnOnce() -> Fault {
    move || Fault::Corrupt { what: format!("column {column} holds what was never written") }
}

macro_rules! id_column {
    ($name:ident, $id:ident) => {
        pub(crate) fn $name(row: &impl Columns, column: &'static str) -> Result<$id, Fault> {
            $id::from_slice(&row.id(column)?).ok_or_else(corrupt(column))
        }
    };
}
id_column!(event_id, EventId);
id_column!(section_id, SectionId);
id_column!(booking_id, BookingId);
id_column!(series_id, SeriesId);
id_column!(user_id, UserId);
id_column!(org_id, OrgId);
id_column!(invitation_id, InvitationId);
id_column!(key_id, KeyId);

pub(crate) fn instant(row: &impl Columns, column: &'static str) -> Result<Timestamp, Fault> {
    Ok(Timestamp::from_unix_ms(row.int(column)?))
}

pub(crate) fn maybe_instant(
    row: &impl Columns,
    column: &'static str,
) -> Result<Option<Timestamp>, Fault> {
    Ok(row.maybe_int(column)?.map(Timestamp::from_unix_ms))
}

/// An instant as it is stored: milliseconds since 1970.
pub(crate) fn ms(at: Option<Timestamp>) -> Option<i64> {
    at.map(Timestamp::unix_ms)
}

fn maybe_count(row: &impl Columns, column: &'static str) -> Result<Option<u32>, Fault> {
    let count = row.maybe_int(column)?.map(u32::try_from).transpose();
    count.map_err(|_| corrupt(column)())
}

pub(crate) fn terms(row: &impl Columns) -> Result<Terms, Fault> {
    Ok(Terms {
        event_id: event_id(row, "event_id")?,
        organizer_id: org_id(row, "organizer_id")?,
        status: EventStatus::parse(row.text("status")?).ok_or_else(corrupt("status"))?,
        sales_start: maybe_instant(row, "sales_start")?,
        sales_end: maybe_instant(row, "sales_end")?,
        over_at: instant(row, "over_at")?,
        max_seats_per_booking: maybe_count(row, "max_seats_per_booking")?,
        max_seats_per_user: maybe_count(row, "max_seats_per_user")?,
        hold_ttl_ms: row.maybe_int("hold_ttl_ms")?,
        cancellable_until: maybe_instant(row, "cancellable_until")?,
        prevent_orphans: row.flag("prevent_orphans")?,
    })
}

/// The newest of these events, newest first.
pub(crate) fn newest_of(mut events: Vec<EventId>, limit: u32) -> Vec<EventId> {
    events.sort_unstable_by_key(|event_id| Reverse(*event_id));
    events.truncate(limit as usize);
    events
}

/// Which drafts of a place are seen.
pub(crate) fn drafts_at<'a>(drafts_of: &'a [Place], place: &Place) -> &'a [Place] {
    let found = drafts_of.iter().find(|other| other.org_id == place.org_id);
    found.map(std::slice::from_ref).unwrap_or_default()
}

fn maybe_series_id(row: &impl Columns) -> Result<Option<SeriesId>, Fault> {
    let id = row.maybe_id("series_id")?;
    Ok(id.and_then(|id| SeriesId::from_slice(&id)))
}

pub(crate) fn series(row: &impl Columns) -> Result<Series, Fault> {
    Ok(Series {
        series_id: series_id(row, "series_id")?,
        organizer_id: org_id(row, "organizer_id")?,
        title: row.text("title")?.to_owned(),
        version: row.int("version")?,
        created_at: instant(row, "created_at")?,
        updated_at: instant(row, "updated_at")?,
    })
}

pub(crate) fn event(row: &impl Columns) -> Result<Event, Fault> {
    let timezone = row.text("timezone")?.parse().map_err(|_| corrupt("timezone")())?;
    let date = EventDate::parse(row.text("event_date")?, timezone);
    Ok(Event {
        terms: terms(row)?,
        series_id: maybe_series_id(row)?,
        title: row.text("title")?.to_owned(),
        description: row.maybe_text("description")?.map(str::to_owned),
        venue: row.maybe_text("venue")?.map(str::to_owned),
        date: date.ok_or_else(corrupt("event_date"))?,
        timezone,
        version: row.int("version")?,
        created_at: instant(row, "created_at")?,
        updated_at: instant(row, "updated_at")?,
    })
}

/// The cards of events, in their order, from the rows of the sums of those that have sections.
pub(crate) fn cards<R: Columns>(events: Vec<Event>, sums: &[R]) -> Result<Vec<EventCard>, Fault> {
    let sums = sums.iter().map(|row| Ok((event_id(row, "event_id")?, row)));
    let sums = sums.collect::<Result<HashMap<_, _>, Fault>>()?;
    let card = |event: Event| {
        let Some(sums) = sums.get(&event.terms.event_id) else {
            return Ok(EventCard { event, prices: None, capacity: 0, available: 0 });
        };
        let currency = currency(sums.text("currency")?)?;
        let price = |column| Ok::<_, Fault>(Money { minor: sums.int(column)?, currency });
        Ok(EventCard {
            event,
            prices: Some((price("price_from")?, price("price_to")?)),
            capacity: sums.int("capacity")?,
            available: sums.int("available")?,
        })
    };
    events.into_iter().map(card).collect()
}

/// What a page of bookings has so far.
pub(crate) struct BookingPage {
    page: Paged<Booking>,
    limit: usize,
    bytes: usize,
}

impl BookingPage {
    pub(crate) fn new(limit: u32) -> Self {
        let page = Paged { items: Vec::new(), has_more: false };
        Self { page, limit: limit as usize, bytes: 0 }
    }

    /// Adds the next booking; false when the page has ended and needs no more.
    pub(crate) fn add(&mut self, row: &impl Columns) -> Result<bool, Fault> {
        self.page.items.push(booking(row)?);
        self.bytes += row.text("items")?.len();
        let is_full = self.page.items.len() >= self.limit || self.bytes >= PAGE_BYTES_MAX;
        self.page.has_more = is_full;
        Ok(!is_full)
    }

    pub(crate) fn end(self) -> Paged<Booking> {
        self.page
    }
}

pub(crate) fn section(row: &impl Columns) -> Result<Section, Fault> {
    Ok(Section {
        section_id: section_id(row, "section_id")?,
        event_id: event_id(row, "event_id")?,
        name: row.text("name")?.into(),
        price: Money { minor: row.int("price_minor")?, currency: currency(row.text("currency")?)? },
        layout_version: row.maybe_int("layout_version")?,
    })
}

pub(crate) fn currency(code: &str) -> Result<Currency, Fault> {
    Currency::parse(code).ok_or_else(corrupt("currency"))
}

pub(crate) fn inventory(row: &impl Columns) -> Result<Inventory, Fault> {
    Ok(Inventory {
        section_id: section_id(row, "section_id")?,
        event_id: event_id(row, "event_id")?,
        capacity: row.int("capacity")?,
        held: row.int("held")?,
        sold: row.int("sold")?,
        blocked: row.int("blocked")?,
        version: row.int("version")?,
        next_expiry: maybe_instant(row, "next_expiry")?,
    })
}

pub(crate) fn booking(row: &impl Columns) -> Result<Booking, Fault> {
    Ok(Booking {
        booking_id: booking_id(row, "booking_id")?,
        user_id: user_id(row, "user_id")?,
        event_id: event_id(row, "event_id")?,
        items: items(row.text("items")?)?,
        status: BookingStatus::parse(row.text("status")?).ok_or_else(corrupt("status"))?,
        expires_at: instant(row, "expires_at")?,
        max_expires_at: instant(row, "max_expires_at")?,
        confirmed_at: maybe_instant(row, "confirmed_at")?,
        cancelled_at: maybe_instant(row, "cancelled_at")?,
        created_at: instant(row, "created_at")?,
        updated_at: instant(row, "updated_at")?,
        version: row.int("version")?,
    })
}

pub(crate) fn bookings<R: Columns>(rows: &[R]) -> Result<Vec<Booking>, Fault> {
    rows.iter().map(booking).collect()
}

/// Who has a numbered seat; no booking: it is blocked.
pub(crate) fn seat_taken(
    row: &impl Columns,
) -> Result<(SectionId, SeatName, Option<BookingId>), Fault> {
    let booking_id = row.maybe_id("booking_id")?.map(|id| BookingId::from_slice(&id));
    let booking_id = booking_id.map(|id| id.ok_or_else(corrupt("booking_id"))).transpose()?;
    Ok((section_id(row, "section_id")?, row.text("seat")?.into(), booking_id))
}

/// A live hold in the index of expiry.
pub(crate) fn held(row: &impl Columns) -> Result<ExpiryEntry, Fault> {
    Ok(ExpiryEntry {
        section_id: section_id(row, "section_id")?,
        expires_at: instant(row, "expires_at")?,
        booking_id: booking_id(row, "booking_id")?,
        seats: u32::try_from(row.int("seats")?).map_err(|_| corrupt("seats")())?,
    })
}

/// A taken seat, and what the status of the booking that has it says; no booking: it is blocked.
pub(crate) fn seat_state(row: &impl Columns) -> Result<(SeatName, SeatState), Fault> {
    let state = match row.maybe_text("status")?.map(BookingStatus::parse) {
        None => SeatState::Blocked,
        Some(Some(BookingStatus::Hold)) => SeatState::Held,
        Some(Some(BookingStatus::Confirmed)) => SeatState::Sold,
        Some(_) => return Err(corrupt("status")()),
    };
    Ok((row.text("seat")?.into(), state))
}

pub(crate) fn user(row: &impl Columns) -> Result<User, Fault> {
    Ok(User {
        user_id: user_id(row, "user_id")?,
        email: row.text("email")?.to_owned(),
        name: row.maybe_text("name")?.map(str::to_owned),
        password_hash: row.text("password_hash")?.to_owned(),
        created_at: instant(row, "created_at")?,
    })
}

pub(crate) fn operator(row: &impl Columns) -> Result<Operator, Fault> {
    Ok(Operator { user_id: user_id(row, "user_id")?, added_at: instant(row, "added_at")? })
}

pub(crate) fn cutoff(row: &impl Columns) -> Result<Cutoff, Fault> {
    Ok(Cutoff { user_id: user_id(row, "user_id")?, not_before: instant(row, "not_before")? })
}

pub(crate) fn refresh_token(row: &impl Columns) -> Result<RefreshToken, Fault> {
    let hash = row.bytes("token_hash")?.try_into().map_err(|_| corrupt("token_hash")())?;
    Ok(RefreshToken {
        token_hash: hash,
        family_id: Uuid::from_bytes(row.id("family_id")?),
        user_id: user_id(row, "user_id")?,
        expires_at: instant(row, "expires_at")?,
        spent_at: maybe_instant(row, "spent_at")?,
    })
}
