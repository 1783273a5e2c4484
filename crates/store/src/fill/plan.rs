//! The past that a store is filled with, part by part.
//!
//! A year of sales: events open one after the other, each sells for days or weeks, and their bookings
//! ([`book`](super::book)) come in the order of time, interleaved, as lanes would have made them. The
//! last part is of now: live holds, some of them due already, and sections that are sold out.

use super::dice::Dice;
use super::{Fill, Part};
use engine::{
    Currency, Deltas, Event, EventDate, EventId, EventStatus, EventWithSections, Inventory, Money,
    Policy, Section, SectionId, Shard, Terms, Timestamp, UserId,
};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

const MINUTE_MS: i64 = 60_000;
pub(super) const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
/// How far back the sales begin.
pub(super) const SPAN_MS: i64 = 365 * DAY_MS;
/// The maximum number of seats of one item.
pub(super) const SEATS_MAX: u32 = 4;
/// The least seats of a section.
const CAPACITY_MIN: i64 = 100;
/// One booking in this number is a live hold; there are never more than [`LIVE_MAX`].
const LIVE_SHARE: u64 = 200;
const LIVE_MAX: u64 = 20_000;

/// What is left to write of a fill.
pub(super) struct Plan {
    pub(super) dice: Dice,
    pub(super) seed: u64,
    pub(super) policy: Policy,
    pub(super) begun_at: Timestamp,
    currency: Currency,
    /// All events, in the order in which their sales begin.
    pub(super) sales: Vec<Sale>,
    /// All sections, those of an event consecutive; and their counters as written so far.
    pub(super) sections: Vec<Section>,
    pub(super) inventories: Vec<Inventory>,
    /// When each event sells next, the earliest first.
    pub(super) upcoming: BinaryHeap<Reverse<(Timestamp, usize)>>,
    /// Bookings made so far, and of live holds how many there are to be.
    pub(super) made: u64,
    pub(super) live: u64,
    stage: Stage,
}

enum Stage {
    Events,
    Past,
    Done,
}

/// The sale of an event.
pub(super) struct Sale {
    pub(super) event_id: EventId,
    pub(super) sections: Range<usize>,
    opens_at: Timestamp,
    window_ms: i64,
    pub(super) is_open: bool,
    /// Bookings of the past, and how many of them are made.
    pub(super) bookings: u64,
    pub(super) made: u64,
}

impl Sale {
    /// When the next booking is made; they are spread evenly.
    pub(super) fn next_at(&self) -> Timestamp {
        let part = self.window_ms as f64 * (self.made as f64 + 0.5) / self.bookings as f64;
        #[expect(clippy::cast_possible_truncation, reason = "less than a year")]
        self.opens_at.plus_ms(part as i64)
    }
}

impl Plan {
    pub(super) fn new(fill: &Fill, policy: Policy, now: Timestamp) -> Self {
        let live = (fill.bookings / LIVE_SHARE).clamp(1, LIVE_MAX);
        let mut plan = Self {
            dice: Dice::new(fill.seed),
            seed: fill.seed,
            policy,
            begun_at: now,
            currency: Currency::parse("USD").expect("three letters"),
            sales: Vec::new(),
            sections: Vec::new(),
            inventories: Vec::new(),
            upcoming: BinaryHeap::new(),
            made: 0,
            live,
            stage: Stage::Events,
        };
        plan.open_sales(fill.bookings - live, fill.events as usize);
        plan
    }

    /// The next part, as of `now`; none when everything was returned.
    pub(super) fn next(&mut self, now: Timestamp) -> Option<Part> {
        match self.stage {
            Stage::Events => {
                self.stage = Stage::Past;
                Some(self.events())
            }
            Stage::Past if !self.upcoming.is_empty() => Some(self.past()),
            Stage::Past => {
                self.stage = Stage::Done;
                Some(self.present(now))
            }
            Stage::Done => None,
        }
    }

    /// How long before now the last booking of the past was made: all of them have ended by now.
    fn quiet_ms(&self) -> i64 {
        self.policy.hold_ttl_ms + 2 * HOUR_MS
    }

    fn open_sales(&mut self, bookings: u64, events: usize) {
        let mut shares = zipf(bookings, events);
        // The great events are not the first ones.
        for at in (1..shares.len()).rev() {
            let other = usize::try_from(self.dice.roll(at as u64 + 1)).expect("below an index");
            shares.swap(at, other);
        }
        let begins_at = self.begun_at.plus_ms(-SPAN_MS);
        let span_ms = SPAN_MS - DAY_MS - self.quiet_ms();
        let opens = shares.iter().map(|_| begins_at.plus_ms(self.dice.span_ms(span_ms)));
        let mut opens: Vec<_> = opens.collect();
        opens.sort_unstable();
        for (number, (opens_at, bookings)) in opens.into_iter().zip(shares).enumerate() {
            self.open_sale(number, opens_at, bookings);
        }
    }

    fn open_sale(&mut self, number: usize, opens_at: Timestamp, bookings: u64) {
        let shard = Shard::pick(self.dice.bits());
        let event_id = EventId::new(opens_at.plus_ms(-DAY_MS), shard, self.dice.bits());
        let first = self.sections.len();
        let count = 1 + self.dice.roll(4) + (bookings / 50_000).min(16);
        // Twice, because a booking of two items begins in one section and ends in the next.
        let capacity = i64::try_from(2 * u64::from(SEATS_MAX) * bookings.div_ceil(count));
        let capacity = capacity.expect("bounded by the bookings").max(CAPACITY_MIN);
        for place in 0..count {
            let section_id = SectionId::new(opens_at.plus_ms(-DAY_MS), shard, self.dice.bits());
            let price = i64::try_from(2_000 + 500 * self.dice.roll(30)).expect("a small number");
            self.sections.push(Section {
                section_id,
                event_id,
                name: format!("Section {}", place + 1).into(),
                price: Money { minor: price, currency: self.currency },
                layout_version: None,
            });
            let mut inventory = Inventory::empty(section_id, event_id);
            inventory.apply(Deltas { capacity, ..Deltas::default() });
            self.inventories.push(inventory);
        }
        let last_ms = self.begun_at.since_ms(opens_at) - self.quiet_ms();
        let window_ms = (DAY_MS + self.dice.span_ms(60 * DAY_MS)).min(last_ms).max(1);
        let sections = first..self.sections.len();
        let is_open = number % 20 != 19;
        let sale = Sale { event_id, sections, opens_at, window_ms, is_open, bookings, made: 0 };
        if bookings > 0 {
            self.upcoming.push(Reverse((sale.next_at(), self.sales.len())));
        }
        self.sales.push(sale);
    }

    fn events(&mut self) -> Part {
        let mut events = Vec::with_capacity(self.sales.len());
        for number in 0..self.sales.len() {
            let event = self.event(number);
            let range = self.sales[number].sections.clone();
            let capacities = self.inventories[range.clone()].iter().map(|of| of.capacity).collect();
            let sections = self.sections[range].to_vec();
            events.push((EventWithSections { event, sections }, capacities));
        }
        Part::Events(events)
    }

    /// Who organizes the event with this number.
    pub(super) fn organizer(&self, number: usize) -> UserId {
        let organizer = Dice::new(self.seed ^ (number as u64 / 100)).bits();
        let begins_at = self.begun_at.plus_ms(-SPAN_MS - DAY_MS);
        UserId::new(begins_at, Shard::pick(organizer), organizer)
    }

    /// The number of the event of the section at this place.
    pub(super) fn event_of(&self, place: usize) -> usize {
        self.sales.partition_point(|sale| sale.sections.end <= place)
    }

    fn event(&mut self, number: usize) -> Event {
        let starts_at = self.begun_at.plus_ms(7 * DAY_MS + self.dice.span_ms(SPAN_MS));
        let timezone = "UTC".parse().expect("a time zone");
        let date = EventDate::parse(&starts_at.to_string(), timezone).expect("an instant");
        let sale = &self.sales[number];
        let created_at = sale.opens_at.plus_ms(-DAY_MS);
        Event {
            terms: Terms {
                event_id: sale.event_id,
                organizer_id: self.organizer(number).into(),
                status: if sale.is_open { EventStatus::OnSale } else { EventStatus::Closed },
                sales_start: Some(sale.opens_at),
                sales_end: None,
                over_at: date.over_at(),
                max_seats_per_booking: None,
                max_seats_per_user: None,
                hold_ttl_ms: None,
                cancellable_until: None,
                prevent_orphans: false,
            },
            series_id: None,
            title: format!("Demo event {}", number + 1),
            description: Some(
                "Generated by reservix demo --bookings, for measurements.".to_owned(),
            ),
            venue: Some(format!("Hall {}", number % 50 + 1)),
            date,
            timezone,
            version: 1,
            created_at,
            updated_at: created_at,
        }
    }
}

/// Shares of `total` by rank: the second has half of the first, the third a third, and so on.
fn zipf(total: u64, count: usize) -> Vec<u64> {
    let weights: Vec<f64> = (1..=count).map(|rank| 1.0 / rank as f64).collect();
    let sum: f64 = weights.iter().sum();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a part of the total"
    )]
    let mut shares: Vec<u64> =
        weights.iter().map(|weight| (total as f64 * weight / sum) as u64).collect();
    let rest = total.saturating_sub(shares.iter().sum());
    // Less than one for each, by rounding.
    for share in shares.iter_mut().take(usize::try_from(rest).expect("at most the count")) {
        *share += 1;
    }
    shares
}
