//! Requests of organizers: new events and sections, and changes to them.

use super::opening::Sizing;
use crate::http::App;
use crate::http::body::{object, objects};
use crate::http::docs::DateWord;
use crate::http::problem::{FieldError, Problem};
use crate::http::seats::{LayoutForm, LayoutSchema};
use crate::http::wire::{
    At, composed, date_flaw, given, given_composed, legible, legible_or_empty, lines, present,
    present_composed, present_prose, prose, uuid,
};
use crate::random::random;
use chrono_tz::Tz;
use engine::event::{
    CAPACITY_MAX, SEATS_PER_BOOKING_MAX, SEATS_PER_USER_MAX, SECTIONS_MAX, may_stand_together,
};
use engine::{
    Currency, Event, EventDate, EventId, EventStatus, Money, OrgId, Refusal, Section, SectionId,
    SeriesId, Shard, Terms,
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A new section of an event.
#[derive(Clone, Deserialize, Serialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewSection {
    /// Unique in the event, case-insensitive.
    #[serde(deserialize_with = "composed")]
    #[garde(length(chars, min = 1, max = 100), custom(legible))]
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]([^\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]*[^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8])?$"
    )]
    name: String,
    /// The number of seats; must be omitted if there is a `layout`.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[garde(inner(range(min = 1, max = CAPACITY_MAX)))]
    #[schema(value_type = i64, required = false, minimum = 1, maximum = 1_000_000_000_i64)]
    capacity: Option<i64>,
    /// The seats; must be omitted if there is a `capacity`.
    #[serde(default, deserialize_with = "object", skip_serializing_if = "Option::is_none")]
    #[garde(skip)]
    #[schema(value_type = LayoutSchema, required = false)]
    layout: Option<LayoutForm>,
    /// Minor units; 0 if missing. The categories of a full layout have their own prices.
    #[garde(inner(range(min = 0, max = Money::UNIT_PRICE_MAX)))]
    #[schema(minimum = 0, maximum = 100_000_000_000_i64)]
    price: Option<i64>,
    /// ISO 4217; the same in all sections of an event. If missing, the currency of the event.
    #[garde(inner(custom(currency_code)))]
    #[schema(pattern = "^[A-Za-z]{3}$")]
    currency: Option<String>,
}

/// A new event: `title`, `event_date` and `sections` are enough.
#[derive(Deserialize, Serialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewEvent {
    #[serde(deserialize_with = "composed")]
    #[garde(length(chars, min = 1, max = 200), custom(legible))]
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]([^\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]*[^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8])?$"
    )]
    title: String,
    /// The organization that it is of; the caller's own if missing.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[garde(inner(custom(uuid)))]
    #[schema(value_type = String, required = false, format = "uuid")]
    pub(super) organization_id: Option<String>,
    /// A series of the same organization. It cannot be changed later, except that the event leaves it when
    /// another organization gets the event.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[garde(inner(custom(uuid)))]
    #[schema(value_type = String, required = false, format = "uuid")]
    series_id: Option<String>,
    /// Can contain line breaks.
    #[serde(default, deserialize_with = "prose")]
    #[garde(inner(length(chars, max = 5_000), custom(lines)))]
    #[schema(
        max_length = 5_000,
        pattern = r"^([^\u0000-\u0009\u000b-\u001f\u007f-\u009f]|\r\n)*$"
    )]
    description: Option<String>,
    #[serde(default, deserialize_with = "composed")]
    #[garde(inner(length(chars, max = 200), custom(legible_or_empty)))]
    #[schema(
        max_length = 200,
        pattern = r"^([^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]([^\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]*[^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8])?)?$"
    )]
    venue: Option<String>,
    /// A date (the whole day in `timezone`) or an instant. Returned as it was sent.
    #[garde(length(bytes, max = 40))]
    #[schema(value_type = DateWord)]
    event_date: String,
    /// An IANA time zone such as `Europe/Berlin`; UTC if missing.
    #[garde(inner(length(bytes, max = 64)))]
    #[schema(min_length = 1, max_length = 64, example = "Europe/Berlin")]
    timezone: Option<String>,
    #[garde(inner(custom(settable)))]
    #[schema(value_type = Option<super::views::SettableStatus>)]
    status: Option<String>,
    #[garde(skip)]
    #[schema(value_type = Option<String>, format = "date-time")]
    sales_start: Option<At>,
    #[garde(skip)]
    #[schema(value_type = Option<String>, format = "date-time")]
    sales_end: Option<At>,
    #[garde(inner(range(min = 1, max = SEATS_PER_BOOKING_MAX)))]
    #[schema(minimum = 1, maximum = 10_000)]
    max_seats_per_booking: Option<u32>,
    #[garde(inner(range(min = 1, max = SEATS_PER_USER_MAX)))]
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    max_seats_per_user: Option<u32>,
    #[garde(inner(range(min = 1, max = HOLD_TTL_SECONDS_MAX)))]
    #[schema(minimum = 1, maximum = 86_400)]
    hold_ttl_seconds: Option<i64>,
    #[garde(skip)]
    #[schema(value_type = Option<String>, format = "date-time")]
    cancellable_until: Option<At>,
    /// Whether choices of numbered seats that would leave a single seat are refused; false if
    /// missing.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[garde(skip)]
    #[schema(value_type = bool, required = false)]
    prevent_orphans: Option<bool>,
    #[serde(deserialize_with = "objects")]
    #[garde(length(min = 1, max = SECTIONS_MAX), dive)]
    #[schema(min_items = 1, max_items = 1_000)]
    sections: Vec<NewSection>,
}

/// Changes to an event. Null clears an optional field.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UpdateEvent)]
pub(super) struct ReviseEvent {
    #[serde(default, deserialize_with = "given_composed")]
    #[garde(inner(length(chars, min = 1, max = 200), custom(legible)))]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 200, pattern = r"^[^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]([^\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]*[^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8])?$")]
    pub(super) title: Option<String>,
    #[serde(default, deserialize_with = "present_prose")]
    #[garde(inner(inner(length(chars, max = 5_000), custom(lines))))]
    #[schema(
        value_type = Option<String>,
        max_length = 5_000,
        pattern = r"^([^\u0000-\u0009\u000b-\u001f\u007f-\u009f]|\r\n)*$"
    )]
    pub(super) description: Option<Option<String>>,
    #[serde(default, deserialize_with = "present_composed")]
    #[garde(inner(inner(length(chars, max = 200), custom(legible_or_empty))))]
    #[schema(value_type = Option<String>, max_length = 200, pattern = r"^([^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]([^\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]*[^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8])?)?$")]
    pub(super) venue: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[garde(inner(length(bytes, max = 40)))]
    #[schema(value_type = DateWord, required = false)]
    pub(super) event_date: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[garde(inner(length(bytes, max = 64)))]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 64,
        example = "Europe/Berlin")]
    pub(super) timezone: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[garde(inner(custom(settable)))]
    #[schema(value_type = super::views::SettableStatus, required = false)]
    pub(super) status: Option<String>,
    #[serde(default, deserialize_with = "present")]
    #[garde(skip)]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub(super) sales_start: Option<Option<At>>,
    #[serde(default, deserialize_with = "present")]
    #[garde(skip)]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub(super) sales_end: Option<Option<At>>,
    #[serde(default, deserialize_with = "present")]
    #[garde(inner(inner(range(min = 1, max = SEATS_PER_BOOKING_MAX))))]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 10_000)]
    pub(super) max_seats_per_booking: Option<Option<u32>>,
    #[serde(default, deserialize_with = "present")]
    #[garde(inner(inner(range(min = 1, max = SEATS_PER_USER_MAX))))]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1_000_000_000)]
    pub(super) max_seats_per_user: Option<Option<u32>>,
    #[serde(default, deserialize_with = "present")]
    #[garde(inner(inner(range(min = 1, max = HOLD_TTL_SECONDS_MAX))))]
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 86_400)]
    pub(super) hold_ttl_seconds: Option<Option<i64>>,
    #[serde(default, deserialize_with = "present")]
    #[garde(skip)]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub(super) cancellable_until: Option<Option<At>>,
    #[serde(default, deserialize_with = "given")]
    #[garde(skip)]
    #[schema(value_type = bool, required = false)]
    pub(super) prevent_orphans: Option<bool>,
    /// ISO 4217: the new currency of all prices of the event, possible while no seat is held or
    /// sold. The amounts stay the same.
    #[serde(default, deserialize_with = "given")]
    #[garde(inner(custom(currency_code)))]
    #[schema(value_type = String, required = false, pattern = "^[A-Za-z]{3}$")]
    pub(super) currency: Option<String>,
}

/// Where an event goes.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TransferEvent {
    /// The organization that gets it, at which the caller may create events.
    #[garde(custom(uuid))]
    #[schema(format = "uuid")]
    pub(super) organization_id: String,
}

/// Changes to a section.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UpdateSection)]
pub(super) struct ReviseSection {
    #[serde(default, deserialize_with = "given_composed")]
    #[garde(inner(length(chars, min = 1, max = 100), custom(legible)))]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 100, pattern = r"^[^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]([^\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]*[^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8])?$")]
    pub(super) name: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[garde(inner(range(min = 1, max = CAPACITY_MAX)))]
    #[schema(value_type = i64, required = false, minimum = 1, maximum = 1_000_000_000_i64)]
    pub(super) capacity: Option<i64>,
    /// Minor units. Existing bookings keep their price.
    #[serde(default, deserialize_with = "given")]
    #[garde(inner(range(min = 0, max = Money::UNIT_PRICE_MAX)))]
    #[schema(value_type = i64, required = false, minimum = 0, maximum = 100_000_000_000_i64)]
    pub(super) price: Option<i64>,
    #[serde(default, deserialize_with = "given")]
    #[garde(inner(custom(currency_code)))]
    #[schema(value_type = String, required = false, pattern = "^[A-Za-z]{3}$")]
    pub(super) currency: Option<String>,
}

/// The highest cap of seats per buyer: as many as a section can have.
/// The longest life of a hold that an event may set: a day, as in the configuration.
const HOLD_TTL_SECONDS_MAX: i64 = crate::config::HOLD_TTL_SECONDS_MAX.cast_signed();

fn currency_code(text: &str, (): &()) -> garde::Result {
    let known = Currency::parse(text).is_some();
    known.then_some(()).ok_or_else(|| garde::Error::new("must be a currency code of three letters"))
}

fn settable(text: &str, (): &()) -> garde::Result {
    match EventStatus::parse(text) {
        Some(EventStatus::Draft | EventStatus::OnSale | EventStatus::Closed) => Ok(()),
        _ => Err(garde::Error::new("must be draft, on_sale or closed")),
    }
}

pub(super) fn timezone(name: Option<&str>) -> Result<Tz, Problem> {
    let zone = name.map_or(Ok(Tz::UTC), str::parse);
    zone.map_err(|_| {
        Problem::invalid_field("timezone", "must be an IANA time zone such as Europe/Berlin")
    })
}

/// How the date of an event is written.
pub(super) const DATE_FORM: &str = "must be a date such as 2027-06-15, or an instant in RFC 3339";

/// The date of an event; what is wrong with it is said of `field`.
pub(super) fn event_date(text: &str, timezone: Tz, field: &str) -> Result<EventDate, Problem> {
    let read = EventDate::read(text, timezone);
    read.map_err(|flaw| Problem::invalid_field(field, date_flaw(flaw, DATE_FORM)))
}

impl NewSection {
    /// Leaves out what says no more than its absence, so that equal requests have one digest.
    pub(super) fn simplify(&mut self) {
        if let Some(currency) = &mut self.currency {
            currency.make_ascii_uppercase();
        }
        let has_prices = self.layout.as_ref().is_some_and(LayoutForm::is_full);
        if !has_prices {
            self.price.take_if(|price| *price == 0);
        }
        if let Some(layout) = &mut self.layout {
            layout.simplify();
        }
    }

    /// What is wrong with its fields taken together.
    fn flaw(&self) -> Option<(&'static str, &'static str)> {
        match (&self.capacity, &self.layout) {
            (None, None) => Some(("capacity", "exactly one of capacity and layout is required")),
            (Some(_), Some(_)) => Some(("layout", "cannot be combined with capacity")),
            (None, Some(layout)) if layout.is_full() && self.price.is_some() => {
                Some(("price", "must be omitted: the layout's categories set the prices"))
            }
            _ => None,
        }
    }

    /// The section with what it is to begin with; it is the only one of its request.
    /// `currency` is the event's.
    pub(super) fn build(
        self,
        app: &App,
        event_id: EventId,
        currency: Currency,
    ) -> Result<(Section, Sizing), Problem> {
        match self.flaw() {
            Some((field, message)) => Err(Problem::invalid_field(field, message)),
            None => Ok(self.planned(app, event_id, currency)),
        }
    }

    /// The currency that it names.
    pub(super) fn own_currency(&self) -> Option<Currency> {
        self.currency.as_deref().and_then(Currency::parse)
    }

    fn planned(self, app: &App, event_id: EventId, currency: Currency) -> (Section, Sizing) {
        let currency = self.own_currency().unwrap_or(currency);
        let section = Section {
            section_id: SectionId::new(
                app.core.store.now(),
                event_id.shard(),
                u64::from_le_bytes(random()),
            ),
            event_id,
            name: self.name.into(),
            price: Money { minor: self.price.unwrap_or(0), currency },
            layout_version: None,
        };
        let capacity = self.capacity.map(Sizing::Capacity);
        let plan = self.layout.map(Sizing::Layout).or(capacity);
        (section, plan.expect("one of them is there, or the section is refused"))
    }
}

impl NewEvent {
    /// Leaves out what says no more than its absence, so that equal requests have one digest.
    pub(super) fn simplify(&mut self) {
        self.timezone.take_if(|zone| zone == "UTC");
        self.status.take_if(|status| status == EventStatus::OnSale.as_str());
        self.prevent_orphans.take_if(|prevent| !*prevent);
        if let Some(series_id) = &mut self.series_id {
            series_id.make_ascii_lowercase();
        }
        self.sections.iter_mut().for_each(NewSection::simplify);
    }

    /// The event, and its sections with what they are to begin with.
    pub(super) fn build(
        self,
        app: &App,
        organizer_id: OrgId,
    ) -> Result<(Event, Vec<(Section, Sizing)>), Problem> {
        let now = app.core.store.now();
        let series_id: Option<SeriesId> = self.series_id.and_then(|id| id.parse().ok());
        let draw = || Shard::pick(u64::from_le_bytes(random()));
        let shard = series_id.map_or_else(draw, SeriesId::shard);
        let event_id = EventId::new(now, shard, u64::from_le_bytes(random()));
        let timezone = timezone(self.timezone.as_deref())?;
        let date = event_date(&self.event_date, timezone, "event_date")?;
        let status =
            self.status.as_deref().and_then(EventStatus::parse).unwrap_or(EventStatus::OnSale);
        let terms = Terms {
            event_id,
            organizer_id,
            status,
            sales_start: self.sales_start.map(|At(at)| at),
            sales_end: self.sales_end.map(|At(at)| at),
            over_at: date.over_at(),
            max_seats_per_booking: self.max_seats_per_booking,
            max_seats_per_user: self.max_seats_per_user,
            hold_ttl_ms: self.hold_ttl_seconds.map(|seconds| seconds * 1_000),
            cancellable_until: self.cancellable_until.map(|At(at)| at),
            prevent_orphans: self.prevent_orphans.unwrap_or(false),
        };
        let event = Event {
            terms,
            series_id,
            title: self.title,
            description: self.description,
            venue: self.venue,
            date,
            timezone,
            version: 1,
            created_at: now,
            updated_at: now,
        };
        event.has_sale_window()?;
        let flaws = self.sections.iter().enumerate().filter_map(|(at, section)| {
            let (field, message) = section.flaw()?;
            let field = format!("{}{field}", section_field(at));
            Some(FieldError { field, message: message.to_owned() })
        });
        let flaws: Vec<_> = flaws.collect();
        if !flaws.is_empty() {
            return Err(Problem::invalid(&flaws));
        }
        // Sections that name no currency have that of those that do.
        let currency = self.sections.iter().find_map(NewSection::own_currency);
        let currency = currency.unwrap_or(app.core.config.default_currency);
        let sections = self.sections.into_iter();
        let planned = sections.map(|section| section.planned(app, event_id, currency));
        let planned: Vec<_> = planned.collect();
        let sections = planned.iter().map(|(section, _)| section);
        may_stand_together(sections).map_err(|(at, refusal)| match refusal {
            Refusal::CurrencyMismatch { currency } => Problem::invalid_field(
                format!("sections[{at}].currency"),
                format!("must be {currency}, as in the event's other sections"),
            ),
            _ => Problem::invalid_field(
                format!("sections[{at}].name"),
                "must be unique in the event (case-insensitive)",
            ),
        })?;
        Ok((event, planned))
    }
}

/// What the fields of a section of a new event begin with.
pub(super) fn section_field(at: usize) -> String {
    format!("sections[{at}].")
}
