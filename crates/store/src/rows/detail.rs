//! What a row of the log says beyond numbers, as JSON.
//!
//! ```text
//! {"also":[["01a2…",7]],"before":[item…],"overrides":["orphans"]}   a step of a booking
//! {"section":{…, "capacity":9, …},"blocked":["A-1"],"unblocked":[]}  a change of a section
//! {"event":{…}}                                                      a change of an event
//! ```
//! Fields may be added; those that are there keep their meaning, since rows are never rewritten.

use super::{StoredItem, corrupt, currency};
use engine::access::Override;
use engine::event::EventStatus;
use engine::log::Detail;
use engine::seats::SeatName;
use engine::{Event, EventDate, Fault, Inventory, Money, Section, SectionId, Terms, Timestamp};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Stored<'a> {
    #[serde(borrow)]
    Section(StoredChange<'a>),
    Event {
        event: StoredEvent<'a>,
    },
    Booking {
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        also: Vec<(Cow<'a, str>, i64)>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<Vec<StoredItem<'a>>>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        overrides: Vec<Cow<'a, str>>,
    },
}

#[derive(Serialize, Deserialize)]
struct StoredChange<'a> {
    #[serde(borrow)]
    section: StoredSection<'a>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    blocked: Vec<SeatName>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unblocked: Vec<SeatName>,
}

#[derive(Serialize, Deserialize)]
struct StoredSection<'a> {
    section_id: Cow<'a, str>,
    event_id: Cow<'a, str>,
    name: Cow<'a, str>,
    price: i64,
    currency: Cow<'a, str>,
    layout_version: Option<i64>,
    capacity: i64,
    held: i64,
    sold: i64,
    blocked: i64,
    version: i64,
}

#[derive(Serialize, Deserialize)]
struct StoredEvent<'a> {
    event_id: Cow<'a, str>,
    organizer_id: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    series_id: Option<Cow<'a, str>>,
    title: Cow<'a, str>,
    description: Option<Cow<'a, str>>,
    venue: Option<Cow<'a, str>>,
    date: Cow<'a, str>,
    timezone: Cow<'a, str>,
    status: Cow<'a, str>,
    sales_start: Option<i64>,
    sales_end: Option<i64>,
    max_seats_per_booking: Option<u32>,
    max_seats_per_user: Option<u32>,
    hold_ttl_ms: Option<i64>,
    cancellable_until: Option<i64>,
    prevent_orphans: bool,
    version: i64,
    created_at: i64,
    updated_at: i64,
}

/// The JSON of what a row says.
pub(crate) fn text(detail: &Detail) -> String {
    let stored = match detail {
        Detail::Booking { also, before, overrides } => Stored::Booking {
            also: also.iter().map(|(id, version)| (id.to_string().into(), *version)).collect(),
            before: before.as_ref().map(|items| items.iter().map(StoredItem::of).collect()),
            overrides: overrides.iter().map(|limit| limit.as_str().into()).collect(),
        },
        Detail::Section { section, inventory, blocked, unblocked } => {
            Stored::Section(StoredChange {
                section: StoredSection::of(section, inventory),
                blocked: blocked.clone(),
                unblocked: unblocked.clone(),
            })
        }
        Detail::Event(event) => Stored::Event { event: StoredEvent::of(event) },
    };
    serde_json::to_string(&stored).expect("strings and integers are always JSON")
}

/// What a row says.
pub(crate) fn read(text: &str) -> Result<Detail, Fault> {
    let stored: Stored<'_> = serde_json::from_str(text).map_err(|_| corrupt("detail")())?;
    Ok(match stored {
        Stored::Booking { also, before, overrides } => {
            let also = also.into_iter().map(|(id, version)| Ok((section_id(&id)?, version)));
            let before = before.map(|items| items.into_iter().map(StoredItem::read).collect());
            let overrides: Option<_> = overrides.iter().map(|word| Override::parse(word)).collect();
            Detail::Booking {
                also: also.collect::<Result<_, Fault>>()?,
                before: before.transpose()?,
                overrides: overrides.ok_or_else(corrupt("detail"))?,
            }
        }
        Stored::Section(StoredChange { section, blocked, unblocked }) => {
            let (section, inventory) = section.read()?;
            Detail::Section { section, inventory, blocked, unblocked }
        }
        Stored::Event { event } => Detail::Event(Box::new(event.read()?)),
    })
}

fn section_id(text: &str) -> Result<SectionId, Fault> {
    text.parse().map_err(|_| corrupt("detail")())
}

impl StoredSection<'_> {
    fn of<'a>(section: &'a Section, inventory: &Inventory) -> StoredSection<'a> {
        StoredSection {
            section_id: section.section_id.to_string().into(),
            event_id: section.event_id.to_string().into(),
            name: (&*section.name).into(),
            price: section.price.minor,
            currency: section.price.currency.as_str().into(),
            layout_version: section.layout_version,
            capacity: inventory.capacity,
            held: inventory.held,
            sold: inventory.sold,
            blocked: inventory.blocked,
            version: inventory.version,
        }
    }

    fn read(self) -> Result<(Section, Inventory), Fault> {
        let section = Section {
            section_id: section_id(&self.section_id)?,
            event_id: self.event_id.parse().map_err(|_| corrupt("detail")())?,
            name: self.name.as_ref().into(),
            price: Money { minor: self.price, currency: currency(&self.currency)? },
            layout_version: self.layout_version,
        };
        let inventory = Inventory {
            section_id: section.section_id,
            event_id: section.event_id,
            capacity: self.capacity,
            held: self.held,
            sold: self.sold,
            blocked: self.blocked,
            version: self.version,
            // The next expiry is of the moment, and no part of a change.
            next_expiry: None,
        };
        Ok((section, inventory))
    }
}

impl StoredEvent<'_> {
    fn of(event: &Event) -> StoredEvent<'_> {
        let terms = &event.terms;
        let ms = |at: Option<Timestamp>| at.map(Timestamp::unix_ms);
        StoredEvent {
            event_id: terms.event_id.to_string().into(),
            organizer_id: terms.organizer_id.to_string().into(),
            series_id: event.series_id.map(|id| id.to_string().into()),
            title: (&*event.title).into(),
            description: event.description.as_deref().map(Into::into),
            venue: event.venue.as_deref().map(Into::into),
            date: event.date.as_str().into(),
            timezone: event.timezone.name().into(),
            status: terms.status.as_str().into(),
            sales_start: ms(terms.sales_start),
            sales_end: ms(terms.sales_end),
            max_seats_per_booking: terms.max_seats_per_booking,
            max_seats_per_user: terms.max_seats_per_user,
            hold_ttl_ms: terms.hold_ttl_ms,
            cancellable_until: ms(terms.cancellable_until),
            prevent_orphans: terms.prevent_orphans,
            version: event.version,
            created_at: event.created_at.unix_ms(),
            updated_at: event.updated_at.unix_ms(),
        }
    }

    fn read(self) -> Result<Event, Fault> {
        let wrong = || corrupt("detail")();
        let at = |ms: Option<i64>| ms.map(Timestamp::from_unix_ms);
        let timezone = self.timezone.parse().map_err(|_| wrong())?;
        let date = EventDate::parse(&self.date, timezone).ok_or_else(wrong)?;
        let series_id = self.series_id.map(|id| id.parse()).transpose().map_err(|_| wrong())?;
        Ok(Event {
            terms: Terms {
                event_id: self.event_id.parse().map_err(|_| wrong())?,
                organizer_id: self.organizer_id.parse().map_err(|_| wrong())?,
                status: EventStatus::parse(&self.status).ok_or_else(wrong)?,
                sales_start: at(self.sales_start),
                sales_end: at(self.sales_end),
                over_at: date.over_at(),
                max_seats_per_booking: self.max_seats_per_booking,
                max_seats_per_user: self.max_seats_per_user,
                hold_ttl_ms: self.hold_ttl_ms,
                cancellable_until: at(self.cancellable_until),
                prevent_orphans: self.prevent_orphans,
            },
            series_id,
            title: self.title.into_owned(),
            description: self.description.map(Cow::into_owned),
            venue: self.venue.map(Cow::into_owned),
            date,
            timezone,
            version: self.version,
            created_at: Timestamp::from_unix_ms(self.created_at),
            updated_at: Timestamp::from_unix_ms(self.updated_at),
        })
    }
}
