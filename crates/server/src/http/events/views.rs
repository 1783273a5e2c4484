//! How events and their seats are shown.

use crate::catalog::Available;
use crate::http::App;
use crate::http::organizations::OwnerView;
use crate::http::problem::Problem;
use crate::http::wire::{shown, shown_or_null};
use axum::http::HeaderValue;
use engine::{EventId, EventWithSections, OrgId, SectionId, SeriesId, Timestamp};
use serde::Serialize;
use std::sync::Arc;
use store::{Epoch, EventCard};
use utoipa::ToSchema;

/// The size of an event without its sections and its description, as it is written.
const EVENT_BYTES_MAX: usize = 4 * 1024;
/// The size of a section in an event or its availability, as it is written: its name has up to 100
/// characters.
const SECTION_BYTES_MAX: usize = 700;

/// The status of an event.
#[derive(ToSchema)]
#[schema(as = EventStatus, rename_all = "snake_case")]
#[expect(dead_code, reason = "the words of the schema; the engine has the rule")]
pub(super) enum StatusWord {
    Draft,
    OnSale,
    Closed,
    Cancelled,
}

/// A status that the organizer can set.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "the words of the schema; the engine has the rule")]
pub(super) enum SettableStatus {
    Draft,
    OnSale,
    Closed,
}

/// A section with its seats.
#[derive(Serialize, ToSchema)]
#[schema(as = Section)]
pub(in crate::http) struct SectionView {
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    section_id: SectionId,
    #[schema(value_type = String)]
    name: Arc<str>,
    /// True if the seats have names.
    numbered: bool,
    capacity: i64,
    available_seats: i64,
    /// Minor units; for numbered seats, the lowest price.
    price: i64,
    #[schema(pattern = "^[A-Z]{3}$")]
    currency: String,
    #[serde(skip)]
    version: i64,
}

/// Returns an event with its current availability.
#[derive(Serialize, ToSchema)]
#[schema(as = Event)]
pub(super) struct EventView {
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    event_id: EventId,
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    organizer_id: OrgId,
    organization: OwnerView,
    #[serde(serialize_with = "shown_or_null", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, format = "uuid")]
    series_id: Option<SeriesId>,
    title: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    venue: Option<String>,
    /// A date or an instant, as it was sent.
    event_date: String,
    timezone: &'static str,
    #[schema(value_type = StatusWord)]
    status: &'static str,
    #[serde(serialize_with = "shown_or_null", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, format = "date-time")]
    sales_start: Option<Timestamp>,
    #[serde(serialize_with = "shown_or_null", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, format = "date-time")]
    sales_end: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u32, required = false)]
    max_seats_per_booking: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u32, required = false)]
    max_seats_per_user: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = i64, required = false)]
    hold_ttl_seconds: Option<i64>,
    #[serde(serialize_with = "shown_or_null", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, format = "date-time")]
    cancellable_until: Option<Timestamp>,
    /// If true, choices of numbered seats that would leave a single seat are refused.
    prevent_orphans: bool,
    sections: Vec<SectionView>,
    version: i64,
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "date-time")]
    created_at: Timestamp,
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "date-time")]
    updated_at: Timestamp,
    /// The history of the store that this is of.
    #[serde(skip)]
    epoch: Epoch,
}

impl EventView {
    /// The event with the seats that can be held now.
    pub(super) async fn load(app: &App, of: &EventWithSections) -> Result<Self, Problem> {
        let owner = OwnerView::load(app, of.event.terms.organizer_id).await?;
        let available = app.core.catalog.availability(of).await?;
        Ok(Self::new(of, owner, available, app.core.store.epoch()))
    }

    /// [`Self::load`] after a change of the event.
    pub(super) async fn load_anew(app: &App, of: &EventWithSections) -> Result<Self, Problem> {
        let owner = OwnerView::load(app, of.event.terms.organizer_id).await?;
        let available = app.core.catalog.availability_anew(of).await?;
        Ok(Self::new(of, owner, available, app.core.store.epoch()))
    }

    fn new(
        of: &EventWithSections,
        organization: OwnerView,
        available: Vec<Available>,
        epoch: Epoch,
    ) -> Self {
        let (event, terms) = (&of.event, &of.event.terms);
        let section = |(section, available): (&engine::Section, Available)| SectionView {
            section_id: section.section_id,
            name: section.name.clone(),
            numbered: section.is_numbered(),
            capacity: available.capacity,
            available_seats: available.seats,
            price: section.price.minor,
            currency: section.price.currency.to_string(),
            version: available.version,
        };
        Self {
            event_id: terms.event_id,
            organizer_id: terms.organizer_id,
            organization,
            series_id: event.series_id,
            title: event.title.clone(),
            description: event.description.clone(),
            venue: event.venue.clone(),
            event_date: event.date.as_str().to_owned(),
            timezone: event.timezone.name(),
            status: terms.status.as_str(),
            sales_start: terms.sales_start,
            sales_end: terms.sales_end,
            max_seats_per_booking: terms.max_seats_per_booking,
            max_seats_per_user: terms.max_seats_per_user,
            hold_ttl_seconds: terms.hold_ttl_ms.map(|ms| ms / 1_000),
            cancellable_until: terms.cancellable_until,
            prevent_orphans: terms.prevent_orphans,
            sections: of.sections.iter().zip(available).map(section).collect(),
            version: event.version,
            created_at: event.created_at,
            updated_at: event.updated_at,
            epoch,
        }
    }

    /// The size that it can have when it is written.
    pub(super) fn bytes_max(&self) -> usize {
        let description = self.description.as_ref().map_or(0, String::len);
        EVENT_BYTES_MAX + description + self.sections.len() * SECTION_BYTES_MAX
    }

    /// Weak, since two answers of the same state may differ in how they are written. The event's
    /// version comes first; the versions and seats of its sections only rise and fall with a change. The
    /// version of the organization's name follows. Last stands the history of the store, since in another one
    /// the same versions occur again.
    pub(super) fn etag(&self) -> HeaderValue {
        let versions: i64 = self.sections.iter().map(|section| section.version).sum();
        let seats: i64 = self.sections.iter().map(|section| section.available_seats).sum();
        let (version, name, epoch) = (self.version, self.organization.version, self.epoch);
        let tag = format!("W/\"{version}.{versions}.{seats}.{name}.{epoch}\"");
        HeaderValue::from_str(&tag).expect("digits are valid in a header")
    }

    /// One of its sections.
    pub(super) fn into_section(self, section_id: SectionId) -> Option<SectionView> {
        self.sections.into_iter().find(|section| section.section_id == section_id)
    }
}

/// An event in a list: with the sums of its sections instead of the sections.
#[derive(Serialize, ToSchema)]
#[schema(as = EventCard)]
pub(super) struct EventCardView {
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    event_id: EventId,
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    organizer_id: OrgId,
    organization: OwnerView,
    #[serde(serialize_with = "shown_or_null", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, format = "uuid")]
    series_id: Option<SeriesId>,
    title: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    venue: Option<String>,
    /// A date or an instant, as it was sent.
    event_date: String,
    timezone: &'static str,
    /// The start of the event; for a date, the start of the day in `timezone`.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "date-time")]
    starts_at: Timestamp,
    #[schema(value_type = StatusWord)]
    status: &'static str,
    #[serde(serialize_with = "shown_or_null", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    sales_start: Option<Timestamp>,
    #[serde(serialize_with = "shown_or_null", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    sales_end: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_seats_per_booking: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_seats_per_user: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hold_ttl_seconds: Option<i64>,
    #[serde(serialize_with = "shown_or_null", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    cancellable_until: Option<Timestamp>,
    /// If true, choices of numbered seats that would leave a single seat are refused.
    prevent_orphans: bool,
    /// The lowest price of a seat, in minor units.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = i64, required)]
    price_from: Option<i64>,
    /// The highest price of a seat, in minor units.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = i64, required)]
    price_to: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required)]
    currency: Option<String>,
    /// The sum over all sections.
    capacity: i64,
    /// The sum over all sections.
    available_seats: i64,
    version: i64,
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "date-time")]
    created_at: Timestamp,
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "date-time")]
    updated_at: Timestamp,
}

impl EventCardView {
    pub(super) fn id(&self) -> EventId {
        self.event_id
    }

    /// A card of an event of this organization.
    pub(super) fn new(card: EventCard, organization: OwnerView) -> Self {
        let event = card.event;
        let terms = &event.terms;
        Self {
            event_id: terms.event_id,
            organizer_id: terms.organizer_id,
            organization,
            series_id: event.series_id,
            event_date: event.date.as_str().to_owned(),
            timezone: event.timezone.name(),
            starts_at: event.date.starts_at(),
            status: terms.status.as_str(),
            sales_start: terms.sales_start,
            sales_end: terms.sales_end,
            max_seats_per_booking: terms.max_seats_per_booking,
            max_seats_per_user: terms.max_seats_per_user,
            hold_ttl_seconds: terms.hold_ttl_ms.map(|ms| ms / 1_000),
            cancellable_until: terms.cancellable_until,
            prevent_orphans: terms.prevent_orphans,
            // Every event that is made by a call has a section.
            price_from: card.prices.map(|(from, _)| from.minor),
            price_to: card.prices.map(|(_, to)| to.minor),
            currency: card.prices.map(|(from, _)| from.currency.to_string()),
            capacity: card.capacity,
            available_seats: card.available,
            version: event.version,
            created_at: event.created_at,
            updated_at: event.updated_at,
            title: event.title,
            description: event.description,
            venue: event.venue,
        }
    }
}

/// A page of events, newest first.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a page; `lists::page` writes it")]
pub(super) struct EventPage {
    #[schema(max_items = 100)]
    items: Vec<EventCardView>,
    /// The value of `after` for the next page; null on the last page.
    #[schema(required, format = "uuid")]
    next: Option<String>,
}

/// Whether the client already has what `etag` names.
pub(in crate::http) fn is_known(known: &[HeaderValue], etag: &HeaderValue) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let ours = etag.to_str().map(opaque).unwrap_or_default();
    let theirs = known.iter().filter_map(|value| value.to_str().ok());
    theirs.flat_map(|value| value.split(',')).any(|tag| tag.trim() == "*" || opaque(tag) == ours)
}

/// The seats of a section.
#[derive(Serialize, ToSchema)]
#[schema(as = SectionSeats)]
struct SeatsView {
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    section_id: SectionId,
    #[schema(value_type = String)]
    name: Arc<str>,
    capacity: i64,
    available_seats: i64,
    /// For the organizer only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = i64, required = false)]
    held_seats: Option<i64>,
    /// For the organizer only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = i64, required = false)]
    sold_seats: Option<i64>,
    version: i64,
}

/// The seats of an event.
#[derive(Serialize, ToSchema)]
#[schema(as = Availability)]
pub(super) struct AvailabilityView {
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    event_id: EventId,
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "date-time")]
    server_time: Timestamp,
    sections: Vec<SeatsView>,
}

impl AvailabilityView {
    /// The size that it can have when it is written.
    pub(super) fn bytes_max(&self) -> usize {
        EVENT_BYTES_MAX + self.sections.len() * SECTION_BYTES_MAX
    }

    /// The seats that can be held now, and, for the organizer, those held and sold.
    pub(super) async fn load(
        app: &App,
        of: &EventWithSections,
        organizer: bool,
    ) -> Result<Self, Problem> {
        let event_id = of.event.terms.event_id;
        let view = |section: &engine::Section, available: Available| SeatsView {
            section_id: section.section_id,
            name: section.name.clone(),
            capacity: available.capacity,
            available_seats: available.seats,
            held_seats: None,
            sold_seats: None,
            version: available.version,
        };
        let sections = if organizer {
            let counters = app.core.catalog.counters(event_id).await?;
            let counted = |section: &engine::Section| {
                let live = counters.get(&section.section_id)?;
                let inventory = &live.inventory;
                let available = Available {
                    capacity: inventory.capacity,
                    seats: inventory.available() + live.due,
                    version: inventory.version,
                };
                let (held, sold) = (Some(inventory.held - live.due), Some(inventory.sold));
                Some(SeatsView { held_seats: held, sold_seats: sold, ..view(section, available) })
            };
            of.sections.iter().filter_map(counted).collect()
        } else {
            let available = app.core.catalog.availability(of).await?;
            of.sections.iter().zip(available).map(|(section, seats)| view(section, seats)).collect()
        };
        Ok(Self { event_id, server_time: app.core.store.now(), sections })
    }
}
