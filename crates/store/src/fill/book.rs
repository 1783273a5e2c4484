//! The bookings of a fill: held, ended, logged and counted.

use super::dice::Dice;
use super::plan::{HOUR_MS, Plan, SEATS_MAX, SPAN_MS};
use super::{PART_BOOKINGS, Part};
use engine::access::Overrides;
use engine::decide::ExpiryEntry;
use engine::log::Detail;
use engine::{
    Actor, Booking, BookingId, BookingStatus, Changes, Deltas, IdempotencyKey, Item, KeyUse,
    LogEntry, LogKind, Section, SectionId, Shard, Timestamp, UserId,
};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Bookings of one buyer, on average.
const BOOKINGS_PER_BUYER: u64 = 5;
/// One section in this number is sold out.
const SOLD_OUT_SHARE: usize = 8;

/// Bookings whose steps are not logged yet.
#[derive(Default)]
struct Draft {
    changes: Changes,
    /// The section of each booking, and the one of its second item, if it has one.
    places: Vec<[usize; 2]>,
    /// What happened to which booking.
    steps: Vec<(Timestamp, usize, LogKind)>,
}

impl Plan {
    /// Bookings of the past, with all that became of them.
    pub(super) fn past(&mut self) -> Part {
        let mut draft = Draft::default();
        while draft.changes.created.len() < PART_BOOKINGS {
            let Some(Reverse((at, number))) = self.upcoming.pop() else { break };
            let sale = &mut self.sales[number];
            let place = usize::try_from(sale.made % sale.sections.len() as u64);
            let place = sale.sections.start + place.expect("below a length");
            sale.made += 1;
            if sale.made < sale.bookings {
                self.upcoming.push(Reverse((sale.next_at(), number)));
            }
            let mut booking = self.hold(number, place, at, &mut draft);
            self.end(&mut booking, &mut draft);
            draft.changes.created.push(booking);
        }
        Part::Bookings(self.log(draft))
    }

    /// Live holds, and sections that are sold out.
    pub(super) fn present(&mut self, now: Timestamp) -> Part {
        let ttl_ms = self.policy.hold_ttl_ms;
        let mut draft = Draft::default();
        for _ in 0..self.live {
            // Every fifth is due already.
            let at = now.plus_ms(-self.dice.span_ms(ttl_ms + ttl_ms / 4));
            let (number, place) = self.open_section();
            let booking = self.hold(number, place, at, &mut draft);
            draft.changes.held.extend(booking.items.iter().map(|item| ExpiryEntry {
                section_id: item.section_id,
                expires_at: booking.expires_at,
                booking_id: booking.booking_id,
                seats: item.seats,
            }));
            draft.changes.created.push(booking);
        }
        let mut next_expiries: HashMap<SectionId, Timestamp> = HashMap::new();
        for held in &draft.changes.held {
            let next = next_expiries.entry(held.section_id).or_insert(held.expires_at);
            *next = held.expires_at.min(*next);
        }
        for inventory in &mut self.inventories {
            inventory.next_expiry = next_expiries.get(&inventory.section_id).copied();
        }
        let mut changes = self.log(draft);
        self.sell_out(now, &mut changes);
        Part::Bookings(changes)
    }

    /// A section of an event that sells, and the event.
    fn open_section(&mut self) -> (usize, usize) {
        let from = self.dice.roll(self.sections.len() as u64);
        let from = usize::try_from(from).expect("below a length");
        let circle = (from..self.sections.len()).chain(0..from);
        let mut open = circle.map(|place| (self.event_of(place), place));
        open.find(|(number, _)| self.sales[*number].is_open).expect("the first event is open")
    }

    /// A booking that is held at `at` in the section at `place`, every tenth also in the next one.
    fn hold(&mut self, number: usize, place: usize, at: Timestamp, draft: &mut Draft) -> Booking {
        let sale = &self.sales[number];
        let (event_id, count) = (sale.event_id, sale.sections.len());
        let next = sale.sections.start + (place - sale.sections.start + 1) % count;
        let is_cart = count > 1 && self.dice.roll(10) == 0;
        let mut items = vec![self.item(place)];
        if is_cart {
            items.push(self.item(next));
        }
        let booking_id = BookingId::new(at, event_id.shard(), self.dice.bits());
        let user_id = self.buyer();
        if self.dice.roll(2) == 0 {
            let key = format!("{:016x}{:016x}", self.dice.bits(), self.dice.bits());
            let key = IdempotencyKey::new(&key).expect("visible characters");
            let fingerprint = self.dice.bits().cast_signed();
            draft.changes.keys.push((user_id, key, KeyUse { booking_id, fingerprint }));
        }
        draft.places.push([place, next]);
        draft.steps.push((at, draft.changes.created.len(), LogKind::Held));
        self.made += 1;
        let lives = (self.policy.hold_ttl_ms, self.policy.hold_max_life_ms);
        Booking::held(booking_id, (user_id, event_id), items, at, lives)
    }

    fn item(&mut self, place: usize) -> Item {
        let seats = 1 + u32::try_from(self.dice.roll(u64::from(SEATS_MAX))).expect("small");
        let Section { section_id, name, price, .. } = &self.sections[place];
        let (section_id, section_name, unit_price) = (*section_id, Arc::clone(name), *price);
        Item { section_id, section_name, seats, seat_names: Vec::new(), unit_price }
    }

    /// Mostly a buyer who came lately, now and then one of long ago.
    fn buyer(&mut self) -> UserId {
        let newest = self.made / BOOKINGS_PER_BUYER;
        let back = if self.dice.roll(16) == 0 { newest } else { newest.min(50) };
        let number = newest - self.dice.roll(back + 1);
        let bits = Dice::new(self.seed.wrapping_add(number)).bits();
        let came_ms = i64::try_from(number).expect("at most the bookings");
        UserId::new(self.begun_at.plus_ms(came_ms - 2 * SPAN_MS), Shard::pick(bits), bits)
    }

    /// Ends a hold: 78 % are sold, 12 % expire, 7 % are released, 3 % are sold and cancelled.
    fn end(&mut self, booking: &mut Booking, draft: &mut Draft) {
        let soon = 1 + self.dice.span_ms(self.policy.hold_ttl_ms - 1);
        let soon = booking.created_at.plus_ms(soon);
        match self.dice.roll(100) {
            0..78 => step(booking, draft, LogKind::Confirmed, soon),
            78..90 => {
                let swept_at = booking.expires_at.plus_ms(self.dice.span_ms(1_000));
                step(booking, draft, LogKind::Expired, swept_at);
            }
            90..97 => step(booking, draft, LogKind::Released, soon),
            _ => {
                step(booking, draft, LogKind::Confirmed, soon);
                let later = soon.plus_ms(1 + self.dice.span_ms(HOUR_MS));
                step(booking, draft, LogKind::Cancelled, later);
            }
        }
    }

    /// Logs the steps of a draft in the order of time, and counts them.
    fn log(&mut self, draft: Draft) -> Changes {
        let Draft { mut changes, places, mut steps } = draft;
        steps.sort_unstable_by_key(|(at, booking, _)| (*at, *booking));
        let mut loaded = BTreeMap::new();
        let mut versions = vec![0; changes.created.len()];
        for (at, booking, kind) in steps {
            let places = places[booking];
            versions[booking] += 1;
            let version = versions[booking];
            let booking = &changes.created[booking];
            let first = changes.log.len();
            // No event lets buyers cancel what they have bought.
            let organizer = self.organizer(self.event_of(places[0]));
            let actor = (kind == LogKind::Cancelled).then_some(Actor::User(organizer));
            for (item, place) in booking.items.iter().zip(places) {
                let inventory = &mut self.inventories[place];
                loaded.entry(place).or_insert(inventory.version);
                let deltas = deltas(kind, i64::from(item.seats));
                inventory.apply(deltas);
                changes.log.push(LogEntry {
                    at,
                    booking_id: Some(booking.booking_id),
                    version: inventory.version,
                    expires_at: (kind == LogKind::Held).then_some(booking.expires_at),
                    actor,
                    ..LogEntry::of_section(item.section_id, kind, deltas)
                });
            }
            if let [first, others @ ..] = &mut changes.log[first..] {
                first.booking_version = Some(version);
                first.tell_others(others, None, Overrides::NONE);
            }
        }
        let counted = |(place, loaded): (usize, i64)| (self.inventories[place].clone(), loaded);
        changes.inventories = loaded.into_iter().map(counted).collect();
        changes
    }

    /// Makes some sections as small as what is sold and held of them.
    fn sell_out(&mut self, now: Timestamp, changes: &mut Changes) {
        let counted: HashMap<SectionId, usize> = changes
            .inventories
            .iter()
            .enumerate()
            .map(|(at, (inventory, _))| (inventory.section_id, at))
            .collect();
        for place in (1..self.inventories.len()).step_by(SOLD_OUT_SHARE) {
            let organizer = self.organizer(self.event_of(place));
            let inventory = &mut self.inventories[place];
            if inventory.in_use() == 0 {
                continue;
            }
            let loaded = inventory.version;
            let deltas = Deltas { capacity: -inventory.available(), ..Deltas::default() };
            inventory.apply(deltas);
            let detail = Detail::Section {
                section: self.sections[place].clone(),
                inventory: inventory.clone(),
                blocked: Vec::new(),
                unblocked: Vec::new(),
            };
            changes.log.push(LogEntry {
                at: now,
                version: inventory.version,
                detail: Some(Box::new(detail)),
                actor: Some(Actor::User(organizer)),
                ..LogEntry::of_section(inventory.section_id, LogKind::Resized, deltas)
            });
            match counted.get(&inventory.section_id) {
                Some(at) => changes.inventories[*at].0 = inventory.clone(),
                None => changes.inventories.push((inventory.clone(), loaded)),
            }
        }
    }
}

/// A step of a booking that is about to be added to a draft.
fn step(booking: &mut Booking, draft: &mut Draft, kind: LogKind, at: Timestamp) {
    match kind {
        LogKind::Confirmed => {
            booking.status = BookingStatus::Confirmed;
            booking.confirmed_at = Some(at);
        }
        LogKind::Expired => booking.status = BookingStatus::Expired,
        _ => {
            booking.status = BookingStatus::Cancelled;
            booking.cancelled_at = Some(at);
        }
    }
    booking.updated_at = at;
    booking.version += 1;
    draft.steps.push((at, draft.changes.created.len(), kind));
}

/// What a step does to the counters of a section.
fn deltas(kind: LogKind, seats: i64) -> Deltas {
    let (held, sold) = match kind {
        LogKind::Held => (seats, 0),
        LogKind::Confirmed => (-seats, seats),
        LogKind::Cancelled => (0, -seats),
        _ => (-seats, 0),
    };
    Deltas { held, sold, ..Deltas::default() }
}
