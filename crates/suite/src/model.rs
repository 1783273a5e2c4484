//! The independent model: what the rules must answer, written a second time and differently.
//!
//! It keeps no counter and no status. It keeps what buyers and organizers did, and when, and works
//! everything else out from the list of all bookings each time it is asked: a hold is dead because
//! its time is over, not because somebody retired it. It shares the words of the rules (ids,
//! refusals) and none of their code.

use engine::event::EventChange;
use engine::{
    BookingId, BookingStatus, By, Command, EventId, EventStatus, Hold, IdempotencyKey, Policy,
    Refusal, SectionId, Terms, Timestamp, UserId,
};
use std::collections::BTreeMap;

/// A booking, as the story of what happened to it.
#[derive(Clone, Debug)]
pub struct Deal {
    pub booking_id: BookingId,
    pub user_id: UserId,
    pub event_id: EventId,
    pub seats: BTreeMap<SectionId, i64>,
    pub unit_prices: BTreeMap<SectionId, i64>,
    pub key: Option<(IdempotencyKey, i64)>,
    pub ends_at: Timestamp,
    pub ends_at_latest: Timestamp,
    pub sold_at: Option<Timestamp>,
    pub given_back_at: Option<Timestamp>,
}

impl Deal {
    /// Its status at `now`, from what happened and the time alone.
    pub fn status(&self, now: Timestamp) -> BookingStatus {
        if self.given_back_at.is_some() {
            BookingStatus::Cancelled
        } else if self.sold_at.is_some() {
            BookingStatus::Confirmed
        } else if now < self.ends_at {
            BookingStatus::Hold
        } else {
            BookingStatus::Expired
        }
    }

    fn takes_seats(&self, now: Timestamp) -> bool {
        self.given_back_at.is_none() && (self.sold_at.is_some() || now < self.ends_at)
    }

    fn all_seats(&self) -> i64 {
        self.seats.values().sum()
    }
}

/// What an organizer decided about a section.
#[derive(Clone, Debug)]
pub struct Place {
    pub event_id: EventId,
    pub capacity: i64,
    pub blocked: i64,
    pub price: i64,
}

/// The counters of a section, worked out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    pub capacity: i64,
    pub held: i64,
    pub sold: i64,
    pub blocked: i64,
}

impl Counts {
    fn in_use(self) -> i64 {
        self.held + self.sold + self.blocked
    }
}

/// What a command that is not refused must be answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Booking { booking_id: BookingId, replayed: bool },
    Section(SectionId),
    Nothing,
}

/// Everything that happened.
#[derive(Clone, Debug)]
pub struct Model {
    pub policy: Policy,
    pub events: BTreeMap<EventId, Terms>,
    pub places: BTreeMap<SectionId, Place>,
    pub deals: Vec<Deal>,
}

const NO_BOOKING: Refusal = Refusal::NotFound { what: "booking" };

impl Model {
    pub fn new(policy: Policy) -> Self {
        Self { policy, events: BTreeMap::new(), places: BTreeMap::new(), deals: Vec::new() }
    }

    pub fn deal(&self, booking_id: BookingId) -> Option<&Deal> {
        self.deals.iter().find(|deal| deal.booking_id == booking_id)
    }

    /// The counters of a section at `now`.
    pub fn counts(&self, section_id: SectionId, now: Timestamp) -> Counts {
        let place = &self.places[&section_id];
        let seats_with = |status: BookingStatus| -> i64 {
            let deals = self.deals.iter().filter(|deal| deal.status(now) == status);
            deals.filter_map(|deal| deal.seats.get(&section_id)).sum()
        };
        Counts {
            capacity: place.capacity,
            held: seats_with(BookingStatus::Hold),
            sold: seats_with(BookingStatus::Confirmed),
            blocked: place.blocked,
        }
    }

    fn free(&self, section_id: SectionId, now: Timestamp) -> i64 {
        let counts = self.counts(section_id, now);
        counts.capacity - counts.in_use()
    }

    /// Changes an event; this model knows only changes that set everything but the date.
    pub fn revise(
        &mut self,
        event_id: EventId,
        by: UserId,
        change: &EventChange,
    ) -> Result<(), Refusal> {
        const ALL: &str = "a change sets everything but the date";
        let event = self.events.get_mut(&event_id).expect("the event exists");
        match event.status {
            EventStatus::Draft if by != organizer(event) => {
                return Err(Refusal::NotFound { what: "event" });
            }
            _ if by != organizer(event) => return Err(Refusal::NotOrganizer),
            EventStatus::Cancelled => return Err(Refusal::EventCancelled),
            EventStatus::Draft | EventStatus::OnSale | EventStatus::Closed => {}
        }
        *event = Terms {
            event_id,
            organizer_id: event.organizer_id,
            status: change.status.expect(ALL),
            sales_start: change.sales_start.expect(ALL),
            sales_end: change.sales_end.expect(ALL),
            over_at: change.date.as_ref().map_or(event.over_at, |(date, _)| date.over_at()),
            max_seats_per_booking: change.max_seats_per_booking.expect(ALL),
            max_seats_per_user: change.max_seats_per_user.expect(ALL),
            hold_ttl_ms: change.hold_ttl_ms.expect(ALL),
            cancellable_until: change.cancellable_until.expect(ALL),
            prevent_orphans: false,
        };
        Ok(())
    }

    /// Cancels an event, and returns its organizer.
    pub fn call_off(&mut self, event_id: EventId) -> UserId {
        let event = self.events.get_mut(&event_id).expect("the event exists");
        event.status = EventStatus::Cancelled;
        organizer(event)
    }

    /// Answers `command` at `now`, and remembers what it did.
    pub fn answer(&mut self, command: &Command, now: Timestamp) -> Result<Told, Refusal> {
        match command {
            Command::Hold(hold) => self.hold(hold, now),
            Command::Confirm { booking_id, by: By::User(user_id) } => {
                self.confirm(*booking_id, *user_id, now)
            }
            Command::Release { booking_id, by: By::User(user_id) } => {
                let deal = self.of_buyer(*booking_id, *user_id)?;
                match deal.status(now) {
                    BookingStatus::Confirmed | BookingStatus::Expired => {
                        return Err(Refusal::NotCancellable);
                    }
                    BookingStatus::Hold => deal.given_back_at = Some(now),
                    BookingStatus::Cancelled => return Ok(unchanged(*booking_id)),
                }
                Ok(told(*booking_id))
            }
            Command::Extend { booking_id, by: By::User(user_id) } => {
                self.extend(*booking_id, *user_id, now)
            }
            Command::Cancel { booking_id, by } => self.cancel(*booking_id, *by, now),
            Command::Resize { section_id, by, capacity } => {
                self.organizer_only(*section_id, *by)?;
                let minimum = self.counts(*section_id, now).in_use();
                if minimum > *capacity {
                    return Err(Refusal::CapacityInUse { minimum });
                }
                self.place(*section_id).capacity = *capacity;
                Ok(Told::Section(*section_id))
            }
            Command::Block { section_id, by, blocked: engine::Blocked::Count(blocked), .. } => {
                self.organizer_only(*section_id, *by)?;
                let available = self.free(*section_id, now);
                let requested = blocked - self.places[section_id].blocked;
                if available < requested {
                    return Err(Refusal::SoldOut { available, requested });
                }
                self.place(*section_id).blocked = *blocked;
                Ok(Told::Section(*section_id))
            }
            Command::Note { .. } | Command::Retire { .. } => Ok(Told::Nothing),
            Command::Block { .. } | Command::Lay { .. } | Command::Change { .. } => {
                unreachable!("numbered seats and changes have a model of their own")
            }
            Command::Confirm { .. } | Command::Release { .. } | Command::Extend { .. } => {
                unreachable!("no sequence has us act in a buyer's place")
            }
        }
    }

    fn hold(&mut self, hold: &Hold, now: Timestamp) -> Result<Told, Refusal> {
        if let Some((key, fingerprint)) = &hold.key {
            assert!(hold.seller.is_none(), "in sequences buyers hold for themselves");
            let named = |deal: &&Deal| {
                deal.user_id == hold.user_id
                    && deal.key.as_ref().is_some_and(|(used, _)| used == key)
            };
            if let Some(deal) = self.deals.iter().find(named) {
                let same = deal.key.as_ref().is_some_and(|(_, used)| used == fingerprint);
                let told = Told::Booking { booking_id: deal.booking_id, replayed: true };
                return if same { Ok(told) } else { Err(Refusal::IdempotencyKeyReused) };
            }
        }
        let event = self.events.get(&hold.event_id);
        let hidden =
            |event: &&Terms| event.status == EventStatus::Draft && organizer(event) != hold.user_id;
        let Some(event) = event.filter(|event| !hidden(event)) else {
            return Err(Refusal::NotFound { what: "event" });
        };
        let mut seats = BTreeMap::new();
        for ask in &hold.requests {
            *seats.entry(ask.sections()[0]).or_insert(0) += i64::from(ask.seats());
        }
        let of_event = |id| self.places.get(id).is_some_and(|it| it.event_id == hold.event_id);
        if !seats.keys().all(of_event) {
            return Err(Refusal::NotFound { what: "section" });
        }
        on_sale(event, now)?;
        let wanted: i64 = seats.values().sum();
        let limit = event.max_seats_per_booking.unwrap_or(self.policy.max_seats_per_booking);
        if wanted > i64::from(limit) {
            return Err(Refusal::TooManySeats { limit, current: 0 });
        }
        if let Some(limit) = event.max_seats_per_user.or(self.policy.max_seats_per_user) {
            let of_buyer = self
                .deals
                .iter()
                .filter(|deal| deal.user_id == hold.user_id && deal.event_id == hold.event_id);
            let live: i64 =
                of_buyer.filter(|deal| deal.takes_seats(now)).map(Deal::all_seats).sum();
            if live + wanted > i64::from(limit) {
                let remaining = (i64::from(limit) - live).max(0);
                return Err(Refusal::BuyerLimit { limit, current: live, remaining });
            }
        }
        let short = seats.iter().find(|(section_id, seats)| self.free(**section_id, now) < **seats);
        if let Some((section_id, requested)) = short {
            let available = self.free(*section_id, now);
            return Err(Refusal::SoldOut { available, requested: *requested });
        }
        let ttl_ms = event.hold_ttl_ms.unwrap_or(self.policy.hold_ttl_ms);
        let life_ms = self.policy.hold_max_life_ms.max(ttl_ms);
        let unit_prices = seats.keys().map(|id| (*id, self.places[id].price)).collect();
        self.deals.push(Deal {
            booking_id: hold.booking_id,
            user_id: hold.user_id,
            event_id: hold.event_id,
            seats,
            unit_prices,
            key: hold.key.clone(),
            ends_at: now.plus_ms(ttl_ms),
            ends_at_latest: now.plus_ms(life_ms),
            sold_at: None,
            given_back_at: None,
        });
        Ok(told(hold.booking_id))
    }

    fn confirm(
        &mut self,
        booking_id: BookingId,
        user_id: UserId,
        now: Timestamp,
    ) -> Result<Told, Refusal> {
        let called_off = self.called_off(booking_id);
        let deal = self.of_buyer(booking_id, user_id)?;
        match deal.status(now) {
            BookingStatus::Confirmed => return Ok(unchanged(booking_id)),
            _ if called_off => return Err(Refusal::EventCancelled),
            BookingStatus::Expired => {
                return Err(Refusal::HoldExpired { expired_at: deal.ends_at });
            }
            BookingStatus::Cancelled => return Err(Refusal::BookingCancelled),
            BookingStatus::Hold => deal.sold_at = Some(now),
        }
        Ok(told(booking_id))
    }

    fn extend(
        &mut self,
        booking_id: BookingId,
        user_id: UserId,
        now: Timestamp,
    ) -> Result<Told, Refusal> {
        let called_off = self.called_off(booking_id);
        let own_ms = |event_id| self.events[&event_id].hold_ttl_ms;
        let ttl_ms = self.deal(booking_id).and_then(|deal| own_ms(deal.event_id));
        let ttl_ms = ttl_ms.unwrap_or(self.policy.hold_ttl_ms);
        let deal = self.of_buyer(booking_id, user_id)?;
        match deal.status(now) {
            BookingStatus::Confirmed => return Err(Refusal::ExtensionLimit),
            _ if called_off => return Err(Refusal::EventCancelled),
            BookingStatus::Expired => {
                return Err(Refusal::HoldExpired { expired_at: deal.ends_at });
            }
            BookingStatus::Cancelled => return Err(Refusal::BookingCancelled),
            BookingStatus::Hold => {}
        }
        let ends_at = now.plus_ms(ttl_ms).min(deal.ends_at_latest);
        if deal.ends_at >= deal.ends_at_latest {
            return Err(Refusal::ExtensionLimit);
        }
        if ends_at <= deal.ends_at {
            return Ok(unchanged(booking_id));
        }
        deal.ends_at = ends_at;
        Ok(told(booking_id))
    }

    fn cancel(&mut self, booking_id: BookingId, by: By, now: Timestamp) -> Result<Told, Refusal> {
        let event = self.deal(booking_id).map(|deal| self.events[&deal.event_id].clone());
        let event = event.ok_or(NO_BOOKING)?;
        let deal = self.any(booking_id).ok_or(NO_BOOKING)?;
        let by_organizer = by == By::System || by == By::User(organizer(&event));
        if !by_organizer && by != By::User(deal.user_id) {
            return Err(NO_BOOKING);
        }
        let too_late = event.cancellable_until.is_none_or(|until| now >= until);
        match deal.status(now) {
            BookingStatus::Expired => return Err(Refusal::NotCancellable),
            BookingStatus::Confirmed if too_late && !by_organizer => {
                return Err(Refusal::NotCancellable);
            }
            BookingStatus::Hold | BookingStatus::Confirmed => deal.given_back_at = Some(now),
            BookingStatus::Cancelled => return Ok(unchanged(booking_id)),
        }
        Ok(told(booking_id))
    }

    fn any(&mut self, booking_id: BookingId) -> Option<&mut Deal> {
        self.deals.iter_mut().find(|deal| deal.booking_id == booking_id)
    }

    /// A booking, for its buyer or for the organizer of its event, who may act for the buyer.
    fn of_buyer(&mut self, booking_id: BookingId, user_id: UserId) -> Result<&mut Deal, Refusal> {
        let event = self.deal(booking_id).map(|deal| &self.events[&deal.event_id]);
        let is_organizer = event.is_some_and(|event| organizer(event) == user_id);
        let may = |deal: &&mut Deal| is_organizer || deal.user_id == user_id;
        self.any(booking_id).filter(may).ok_or(NO_BOOKING)
    }

    fn called_off(&self, booking_id: BookingId) -> bool {
        let event = self.deal(booking_id).map(|deal| &self.events[&deal.event_id]);
        event.is_some_and(|event| event.status == EventStatus::Cancelled)
    }

    fn place(&mut self, section_id: SectionId) -> &mut Place {
        self.places.get_mut(&section_id).expect("the section exists")
    }

    fn organizer_only(&self, section_id: SectionId, by: By) -> Result<(), Refusal> {
        let event = self.places.get(&section_id).map(|place| &self.events[&place.event_id]);
        match event {
            Some(event) if by.is(organizer(event)) => Ok(()),
            Some(event) if event.status != EventStatus::Draft => Err(Refusal::NotOrganizer),
            _ => Err(Refusal::NotFound { what: "section" }),
        }
    }
}

/// Whose the event is: in stories it is a person's.
#[must_use]
pub fn organizer(of: &Terms) -> UserId {
    of.organizer_id.owner().expect("no team")
}

fn told(booking_id: BookingId) -> Told {
    Told::Booking { booking_id, replayed: false }
}

/// It was so before.
fn unchanged(booking_id: BookingId) -> Told {
    Told::Booking { booking_id, replayed: true }
}

fn on_sale(event: &Terms, now: Timestamp) -> Result<(), Refusal> {
    match (event.status, event.sales_start, event.sales_end) {
        (EventStatus::Cancelled, ..) => Err(Refusal::EventCancelled),
        (EventStatus::Draft, sales_start, _) => Err(Refusal::SaleNotOpen { sales_start }),
        (_, Some(start), _) if start > now => {
            Err(Refusal::SaleNotOpen { sales_start: Some(start) })
        }
        (EventStatus::Closed, ..) => Err(Refusal::SaleClosed),
        (_, _, Some(end)) if end <= now => Err(Refusal::SaleClosed),
        _ if event.over_at <= now => Err(Refusal::EventOver),
        _ => Ok(()),
    }
}
