//! The request of a hold, in each of its forms.

use super::super::body::{object, objects};
use super::super::problem::{FieldError, Problem, duplicate_seat};
use super::super::wire::{given, given_text, text};
use crate::catalog::Facts;
use engine::access::{Override, Overrides};
use engine::event::SEATS_PER_BOOKING_MAX;
use engine::seats::{
    CATEGORIES_MAX, LABEL_LENGTH_MAX, NUMBER_LENGTH_MAX, PARTY_ACCESSIBLE_MAX, PARTY_MAX, Party,
    SeatName,
};
use engine::text::folded;
use engine::{Booking, CustomerRef, Error, Refusal, SeatRequest, SectionId, UserId};
use garde::Validate;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use utoipa::ToSchema;

/// The maximum number of items of a cart.
const ITEMS_MAX: usize = 50;
/// The maximum number of sections that are searched for the best seats.
const BEST_SECTIONS_MAX: usize = 50;
/// Up to this number of seats, each is compared with each.
const FEW_SEATS: usize = 16;
/// The longest name of a seat, in characters: the label of its row, a hyphen, its number.
const SEAT_NAME_MAX: usize = LABEL_LENGTH_MAX + 1 + NUMBER_LENGTH_MAX;

/// A request to hold seats: exactly one of `section_id`, `items` and `best_available` says which; a
/// section comes with exactly one of `seats_requested` and `seats`.
#[derive(Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub(super) struct NewHold<'a> {
    #[serde(borrow, deserialize_with = "text")]
    #[garde(skip)]
    pub event_id: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "given_text")]
    #[garde(skip)]
    section_id: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "given")]
    #[garde(range(min = 1, max = 1_000_000_000))]
    seats_requested: Option<u32>,
    #[serde(default, deserialize_with = "given")]
    #[garde(skip)]
    seats: Option<Vec<SeatName>>,
    #[serde(default, deserialize_with = "listed")]
    #[garde(skip)]
    items: Option<Vec<NewItem<'a>>>,
    #[serde(default, deserialize_with = "object")]
    #[garde(skip)]
    best_available: Option<Best>,
    #[serde(default, deserialize_with = "object")]
    #[garde(skip)]
    pub buyer: Option<NewBuyer>,
    #[serde(default, deserialize_with = "given")]
    #[garde(skip)]
    overrides: Option<Vec<OverrideWord>>,
}

/// The buyer, if somebody else than the caller: a customer of the organization by reference, a user, or,
/// with neither, a new visitor.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Buyer)]
pub(super) struct NewBuyer {
    /// What the organization calls the customer: the same reference is always the same buyer.
    #[serde(default, deserialize_with = "given", rename = "ref")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 128, pattern = "^[!-~]+$")]
    reference: Option<String>,
    /// A user with an account.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false, format = "uuid")]
    user_id: Option<String>,
}

/// A limit of an event that a seller can go beyond.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Override)]
pub(super) enum OverrideWord {
    /// `max_seats_per_user`.
    BuyerLimit,
    /// `sales_start`, `sales_end` and the status `closed`.
    SaleWindow,
    /// `prevent_orphans`.
    Orphans,
}

/// The limits that a request names; else what is wrong with its list.
fn overridden(words: Option<Vec<OverrideWord>>) -> Result<Overrides, Problem> {
    let words = words.unwrap_or_default();
    if words.len() > Override::ALL.len() {
        let message = format!("must have at most {} limits", Override::ALL.len());
        return Err(Problem::invalid_field("overrides", message));
    }
    let limits = words.into_iter().map(|word| match word {
        OverrideWord::BuyerLimit => Override::BuyerLimit,
        OverrideWord::SaleWindow => Override::SaleWindow,
        OverrideWord::Orphans => Override::Orphans,
    });
    Ok(limits.collect())
}

/// For whom somebody else holds seats.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Customer {
    /// The one whom the organization calls so.
    Known(CustomerRef),
    /// A user with an account.
    User(UserId),
    /// A new visitor.
    New,
}

impl NewBuyer {
    /// Who it is; else what is wrong with its form.
    pub fn customer(self) -> Result<Customer, Problem> {
        match (self.reference, self.user_id) {
            (None, None) => Ok(Customer::New),
            (Some(reference), None) => {
                let limit = CustomerRef::LENGTH_MAX;
                let message = format!("must have 1 to {limit} visible ASCII characters");
                let known = CustomerRef::new(&reference).map(Customer::Known);
                known.ok_or_else(|| Problem::invalid_field("buyer.ref", message))
            }
            (None, Some(id)) => {
                let message = "must be a hyphenated UUID";
                let user = id.parse().map(Customer::User);
                user.map_err(|_| Problem::invalid_field("buyer.user_id", message))
            }
            (Some(_), Some(_)) => {
                Err(Problem::invalid_field("buyer", "at most one of ref and user_id is allowed"))
            }
        }
    }
}

impl Customer {
    /// The same for all requests that mean the same one.
    pub fn canonical(&self) -> (&'static str, String) {
        match self {
            Self::Known(reference) => ("ref", reference.as_str().to_owned()),
            Self::User(user_id) => ("user_id", user_id.to_string()),
            Self::New => ("new", String::new()),
        }
    }
}

/// The complete new list of seats of a hold.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UpdateBooking)]
pub(super) struct ReviseHold {
    /// Several items can name the same section.
    #[serde(deserialize_with = "objects")]
    #[garde(skip)]
    #[schema(value_type = Vec<super::schema::ItemForm>, min_items = 1, max_items = 50)]
    pub items: Vec<NewItem<'static>>,
    /// Limits of the event to go beyond: needs `booking.override`.
    #[serde(default, deserialize_with = "given")]
    #[garde(skip)]
    #[schema(value_type = Vec<OverrideWord>, required = false, max_items = 3)]
    overrides: Option<Vec<OverrideWord>>,
}

/// Seats of one section.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewItem<'a> {
    section_id: Cow<'a, str>,
    #[serde(default, deserialize_with = "given")]
    seats_requested: Option<u32>,
    #[serde(default, deserialize_with = "given")]
    seats: Option<Vec<SeatName>>,
}

/// The best available seats for a group.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BestAvailable)]
pub(super) struct Best {
    /// How many seats.
    #[schema(minimum = 1, maximum = 50)]
    number: u32,
    /// The ids or names of sections with numbered seats; null or missing: all of them.
    #[schema(min_items = 1, max_items = 50)]
    sections: Option<Vec<String>>,
    /// Only seats of these categories; null or missing: any category.
    #[schema(value_type = Option<Vec<String>>, min_items = 1, max_items = 64)]
    categories: Option<Vec<Arc<str>>>,
    /// The maximum price of a seat, in minor units; null or missing: any price.
    #[schema(minimum = 0)]
    max_price: Option<i64>,
    /// How many of the seats must be accessible. Accessible seats are assigned only on request.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 10)]
    accessible: u32,
    /// If true, seats that leave a single free seat are assigned only when no other adjacent seats
    /// are available.
    #[serde(default = "yes")]
    prevent_orphans: bool,
    /// If true, the request is refused unless the seats are adjacent.
    #[serde(default)]
    adjacent: bool,
}

fn yes() -> bool {
    true
}

fn listed<'de, 'a, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<NewItem<'a>>>, D::Error> {
    objects(deserializer).map(Some)
}

/// What is asked for, with sections as the client named them.
pub(super) enum Wanted<'a> {
    /// Seats of one section, which the fields of the request itself name.
    One(NewItem<'a>),
    Items(Vec<NewItem<'a>>),
    Best(Best),
}

impl<'a> NewHold<'a> {
    /// The limits that it is to go beyond; else what is wrong with them.
    pub fn overrides(&mut self) -> Result<Overrides, Problem> {
        overridden(self.overrides.take())
    }

    /// What it asks for; else what is wrong with its form.
    pub fn wanted(self) -> Result<Wanted<'a>, Problem> {
        let section = self.section_id.is_some();
        let forms = [section, self.items.is_some(), self.best_available.is_some()];
        let loose = (self.seats_requested.is_some() || self.seats.is_some()) && !section;
        if forms.iter().filter(|form| **form).count() != 1 || loose {
            let field = if section || loose { "section_id" } else { "items" };
            let message = "exactly one of section_id (with seats_requested or seats), items and \
                best_available is required";
            return Err(Problem::invalid_field(field, message));
        }
        let wanted = match (self.section_id, self.items, self.best_available) {
            (Some(section_id), ..) => {
                let Self { seats_requested, seats, .. } = self;
                Wanted::One(NewItem { section_id, seats_requested, seats })
            }
            (_, Some(items), _) => Wanted::Items(items),
            (.., Some(best)) => Wanted::Best(best),
            _ => unreachable!("one of them was given"),
        };
        match &wanted {
            Wanted::One(item) => check_items(std::slice::from_ref(item), |_| String::new()),
            Wanted::Items(items) => check_items(items, in_item),
            Wanted::Best(best) => best.check(),
        }?;
        Ok(wanted)
    }
}

impl ReviseHold {
    /// What it asks for, and beyond which limits; else what is wrong with its form.
    pub fn wanted(self) -> Result<(Wanted<'static>, Overrides), Problem> {
        check_items(&self.items, in_item)?;
        Ok((Wanted::Items(self.items), overridden(self.overrides)?))
    }
}

/// What the fields of an item begin with.
fn in_item(at: usize) -> String {
    format!("items[{at}].")
}

fn check_items(items: &[NewItem<'_>], place: impl Fn(usize) -> String) -> Result<(), Problem> {
    let mut errors = Vec::new();
    if !(1..=ITEMS_MAX).contains(&items.len()) {
        return Err(Problem::invalid_field("items", format!("must have 1 to {ITEMS_MAX} items")));
    }
    let mut total = 0;
    for (at, item) in items.iter().enumerate() {
        let mut tell = |field: &str, message: String| {
            errors.push(FieldError { field: format!("{}{field}", place(at)), message });
        };
        match (&item.seats_requested, &item.seats) {
            (Some(seats), None) if !(1..=1_000_000_000).contains(seats) => {
                tell("seats_requested", "must be 1 to 1000000000".to_owned());
            }
            (Some(_), None) => {}
            (None, Some(seats)) => {
                total += seats.len();
                if !(1..=SEATS_PER_BOOKING_MAX as usize).contains(&seats.len()) {
                    tell("seats", format!("must have 1 to {SEATS_PER_BOOKING_MAX} seats"));
                } else if !seats.iter().all(|seat| is_name(seat)) {
                    let message = format!(
                        "must be seat names of 1 to {SEAT_NAME_MAX} characters, such as \
                            C-12"
                    );
                    tell("seats", message);
                } else if let Some(seat) = doubled(seats) {
                    tell("seats", duplicate_seat(seat, seat));
                }
            }
            _ => {
                let message = "exactly one of seats_requested and seats is required";
                tell("seats_requested", message.to_owned());
            }
        }
    }
    if errors.is_empty() && total > SEATS_PER_BOOKING_MAX as usize {
        let message = format!("must have at most {SEATS_PER_BOOKING_MAX} seats in total");
        errors.push(FieldError { field: "items".to_owned(), message });
    }
    if errors.is_empty() { Ok(()) } else { Err(Problem::invalid(&errors)) }
}

/// A seat that is named twice. The engine finds those of two items or in two spellings.
fn doubled(seats: &[SeatName]) -> Option<&SeatName> {
    if seats.len() <= FEW_SEATS {
        let again = |(at, seat): &(usize, &SeatName)| seats[..*at].contains(seat);
        return seats.iter().enumerate().find(again).map(|(_, seat)| seat);
    }
    let mut before = HashSet::with_capacity(seats.len());
    seats.iter().find(|seat| !before.insert(*seat))
}

fn is_name(seat: &str) -> bool {
    let length = seat.chars().count();
    (1..=SEAT_NAME_MAX).contains(&length) && !seat.contains(char::is_control)
}

/// The same text for all spellings of the name of a seat or a category. In capital letters, as most
/// seats are named: so the digests of requests that an earlier version has seen stay what they were.
pub(super) fn compared(name: &str) -> String {
    let mut name = folded(name);
    name.make_ascii_uppercase();
    name
}

impl Best {
    fn check(&self) -> Result<(), Problem> {
        let mut errors = Vec::new();
        let mut must = |holds: bool, field: &str, message: String| {
            if !holds {
                errors.push(FieldError { field: format!("best_available.{field}"), message });
            }
        };
        must((1..=PARTY_MAX).contains(&self.number), "number", format!("must be 1 to {PARTY_MAX}"));
        let accessible_max = PARTY_ACCESSIBLE_MAX.min(self.number);
        let within = self.accessible <= accessible_max;
        must(within, "accessible", format!("must be 0 to {accessible_max}"));
        must(
            self.max_price.is_none_or(|price| price >= 0),
            "max_price",
            "must be 0 or more".into(),
        );
        let within = |list: usize, max| (1..=max).contains(&list);
        let categories = self.categories.as_ref();
        let message = format!("must have 1 to {CATEGORIES_MAX} categories");
        must(categories.is_none_or(|of| within(of.len(), CATEGORIES_MAX)), "categories", message);
        let sections = self.sections.as_ref();
        let message = format!("must have 1 to {BEST_SECTIONS_MAX} sections");
        must(sections.is_none_or(|of| within(of.len(), BEST_SECTIONS_MAX)), "sections", message);
        if errors.is_empty() { Ok(()) } else { Err(Problem::invalid(&errors)) }
    }

    /// The same request, however its lists were ordered and its `sections` named. Where it names none,
    /// it is about all that have numbered seats, whichever they are.
    pub fn canonical(&self, sections: &[SectionId]) -> Self {
        let sections = self.sections.is_some().then(|| {
            let mut ids: Vec<_> = sections.iter().map(SectionId::to_string).collect();
            ids.sort_unstable();
            ids
        });
        let categories = self.categories.clone().map(|mut names| {
            for name in &mut names {
                *name = compared(name).into();
            }
            names.sort_unstable();
            names.dedup();
            names
        });
        Self { sections, categories, ..*self }
    }

    fn party(&self) -> Party {
        Party {
            number: self.number,
            categories: self.categories.clone(),
            max_price: self.max_price,
            accessible: self.accessible,
            prevent_orphans: self.prevent_orphans,
            adjacent: self.adjacent,
        }
    }
}

impl<'a> Wanted<'a> {
    fn items(&self) -> &[NewItem<'a>] {
        match self {
            Self::One(item) => std::slice::from_ref(item),
            Self::Items(items) => items,
            Self::Best(_) => &[],
        }
    }

    /// Why the request failed; of a seat that is named twice, in which field it is named again.
    pub fn failed(&self, facts: &Facts, error: Error) -> Problem {
        let Error::Refused(Refusal::DuplicateSeat { section_id, first, again }) = error else {
            return error.into();
        };
        let names_it = |item: &NewItem<'_>| {
            let section = facts.resolve(&item.section_id);
            section.is_some_and(|section| section.section_id == section_id)
                && item.seats.as_ref().is_some_and(|seats| seats.contains(&again))
        };
        let within = match self {
            Self::Items(items) => items.iter().rposition(names_it).map(in_item),
            Self::One(_) | Self::Best(_) => None,
        };
        let field = format!("{}seats", within.unwrap_or_default());
        Problem::invalid_field(field, duplicate_seat(&first, &again))
    }

    /// What to ask the engine for. Sections are those of `facts`, if the buyer may see them; else
    /// those that had these names when `made` was made, so that a key can still be replayed.
    pub fn requests(
        &self,
        facts: &Facts,
        visible: bool,
        made: Option<&Booking>,
    ) -> Result<Vec<SeatRequest>, Problem> {
        let resolve = |name: &str| -> Result<SectionId, Problem> {
            let now = facts.resolve(name).map(|section| section.section_id);
            let now = now.filter(|_| visible || made.is_some());
            let then = || made.and_then(|made| section_named(made, name));
            let what = if visible { "section" } else { "event" };
            Ok(now.or_else(then).ok_or(Refusal::NotFound { what })?)
        };
        match self {
            Self::One(_) | Self::Items(_) => {
                let items = self.items().iter();
                items.map(|item| Ok(item.ask(resolve(&item.section_id)?))).collect()
            }
            Self::Best(best) => {
                let mut sections = match &best.sections {
                    Some(names) => {
                        names.iter().map(|name| resolve(name)).collect::<Result<_, _>>()?
                    }
                    None if visible || made.is_some() => numbered(facts),
                    None => return Err(Refusal::NotFound { what: "event" }.into()),
                };
                let mut before = HashSet::new();
                sections.retain(|section_id| before.insert(*section_id));
                let counted =
                    |id: &SectionId| facts.section(*id).is_some_and(|of| !of.is_numbered());
                if sections.is_empty() || sections.iter().any(counted) {
                    let message = "must be sections with numbered seats";
                    return Err(Problem::invalid_field("best_available.sections", message));
                }
                if sections.len() > BEST_SECTIONS_MAX {
                    let message = format!("must have 1 to {BEST_SECTIONS_MAX} sections");
                    return Err(Problem::invalid_field("best_available.sections", message));
                }
                Ok(vec![SeatRequest::Best { sections, party: best.party() }])
            }
        }
    }

    /// Whether all sections that it names are known, so that nothing else has to be looked up.
    pub fn is_known(&self, facts: &Facts) -> bool {
        match self {
            Self::One(_) | Self::Items(_) => {
                self.items().iter().all(|item| facts.resolve(&item.section_id).is_some())
            }
            Self::Best(best) => {
                best.sections.iter().flatten().all(|name| facts.resolve(name).is_some())
            }
        }
    }
}

impl NewItem<'_> {
    fn ask(&self, section_id: SectionId) -> SeatRequest {
        match (self.seats_requested, &self.seats) {
            (Some(seats), _) => SeatRequest::Count { section_id, seats },
            (None, seats) => {
                SeatRequest::Seats { section_id, seats: seats.clone().unwrap_or_default() }
            }
        }
    }
}

fn numbered(facts: &Facts) -> Vec<SectionId> {
    let sections = facts.of.sections.iter().filter(|section| section.is_numbered());
    sections.map(|section| section.section_id).collect()
}

/// The section that had this name when the booking was made.
fn section_named(booking: &Booking, name: &str) -> Option<SectionId> {
    let named = |item: &&engine::Item| folded(&item.section_name) == folded(name);
    booking.items.iter().find(named).map(|item| item.section_id)
}
