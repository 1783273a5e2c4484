//! What the server of the suite knows, and what it does wrong when it is told to.

use super::hall::{Hall, choose};
use chrono::DateTime;
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::time::Instant;
use uuid::Uuid;

/// What is planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// Nothing.
    Honest,
    /// Not a bug: some holds are made and never answered.
    LosesAnswers,
    /// Not a bug: some holds are made and never answered, and their key is told to come again first.
    InFlight,
    /// Not a bug: some confirms have no answer, and their effect only after somebody has looked.
    ConfirmsLate,
    /// Not a bug: refuses for the moment, and says by a date when to come back.
    RetryAfterDate,
    /// Not a bug: its clock is set forward by more than a day.
    ClockIsSet,
    /// Not a bug: nobody's access lasts.
    AccessEnds,
    /// Tells a live hold that it has lapsed, now and then.
    LapsesEarly,
    /// Does not let live holds be given back.
    WontCancel,
    /// Sells some seats more than there are.
    Oversells,
    /// Acknowledges a hold and does not keep it.
    Forgets,
    /// Makes a second booking when a key comes again.
    TwoForAKey,
    /// Does not give back what lapsed or was cancelled, now and then.
    Leaks,
    /// Answers 500 now and then.
    Fails,
    /// Answers a confirm and leaves the hold a hold, now and then.
    ConfirmNotKept,
    /// Refuses without saying when to come back.
    NoRetryAfter,
    /// Takes longer than five seconds, once.
    Slow,
    /// Gives a seat that somebody has, now and then.
    SellsTwice,
    /// Gives a party that is to sit together seats that are apart, now and then.
    Splits,
    /// Acknowledges seats and keeps all but one of them, now and then.
    LosesSeat,
    /// Tells everybody that a seat is free which is held.
    StatusLies,
    /// Gives another seat than the one that was asked for, now and then.
    OtherSeats,
}

/// What a request comes to.
pub enum Outcome {
    Done { status: u16, body: Value, replayed: bool },
    Refused { status: u16, code: &'static str, retry_after: bool },
    Lost,
    Later,
    Slow(Value),
}

/// 2026-11-22, where the clock of a world begins.
const BEGINNING_MS: i64 = 1_795_305_600_000;

/// A planted bug shows in every so-manieth case.
const NOW_AND_THEN: u64 = 17;

struct Section {
    id: String,
    capacity: u64,
    held: u64,
    sold: u64,
    hall: Option<Hall>,
}

struct Event {
    hold_ttl_ms: i64,
    sections: Vec<Section>,
    ends: BinaryHeap<Reverse<(i64, Uuid)>>,
}

#[derive(Clone)]
struct Booking {
    user: String,
    event: Uuid,
    section: usize,
    seats: u64,
    /// Their places in the hall, if it is one.
    places: Vec<usize>,
    status: &'static str,
    expires_ms: i64,
}

pub struct World {
    plant: Plant,
    began: Instant,
    events: HashMap<Uuid, Event>,
    bookings: HashMap<Uuid, Booking>,
    keys: HashMap<(String, String), Uuid>,
    in_flight: HashSet<String>,
    late: HashSet<Uuid>,
    ids: u64,
    cases: u64,
}

impl World {
    pub fn new(plant: Plant) -> Self {
        Self {
            plant,
            began: Instant::now(),
            events: HashMap::new(),
            bookings: HashMap::new(),
            keys: HashMap::new(),
            in_flight: HashSet::new(),
            late: HashSet::new(),
            ids: 0,
            cases: 0,
        }
    }

    pub fn create(&mut self, wish: &Value) -> Value {
        let id = self.new_id();
        let wished = wish["sections"].as_array().expect("an event has sections");
        let sections = wished.iter().map(|section| {
            let hall = section.get("layout").map(Hall::new);
            let name = section["name"].as_str().expect("a section has a name");
            let seats = hall.as_ref().map(|hall| hall.of.len() as u64);
            let capacity = seats.or_else(|| section["capacity"].as_u64());
            let capacity = capacity.expect("a section has seats");
            Section { id: name.replace(' ', "-"), capacity, held: 0, sold: 0, hall }
        });
        let hold_ttl_ms = wish["hold_ttl_seconds"].as_i64().unwrap_or(600) * 1_000;
        let event = Event { hold_ttl_ms, sections: sections.collect(), ends: BinaryHeap::new() };
        self.events.insert(id, event);
        self.event(id)
    }

    pub fn event(&mut self, id: Uuid) -> Value {
        let ttl = self.events[&id].hold_ttl_ms / 1_000;
        let mut event = self.availability(id);
        event["hold_ttl_seconds"] = ttl.into();
        event
    }

    pub fn availability(&mut self, id: Uuid) -> Value {
        self.sweep(id);
        let sections = self.events[&id].sections.iter().map(|section| {
            let Section { id, capacity, held, sold, hall } = section;
            let available = capacity.saturating_sub(held + sold);
            json!({ "section_id": id, "capacity": capacity, "numbered": hall.is_some(),
                    "available_seats": available, "held_seats": held, "sold_seats": sold })
        });
        let sections: Vec<Value> = sections.collect();
        json!({ "event_id": id, "server_time": at(self.now_ms()), "sections": sections })
    }

    pub fn hold(&mut self, user: &str, key: Option<String>, wish: &Value) -> Outcome {
        let event_id = wish["event_id"].as_str().and_then(|it| it.parse().ok()).expect("an event");
        self.sweep(event_id);
        if key.as_ref().is_some_and(|key| self.in_flight.remove(key)) {
            let code = "idempotency_in_flight";
            return Outcome::Refused { status: 409, code, retry_after: true };
        }
        if let Some(&known) =
            key.as_ref().and_then(|key| self.keys.get(&(user.to_owned(), key.clone())))
            && !(self.plant == Plant::TwoForAKey && self.now_and_then())
        {
            return Outcome::Done { status: 201, body: self.told(known), replayed: true };
        }
        if self.plant == Plant::Fails && self.now_and_then() {
            return Outcome::Refused { status: 500, code: "internal", retry_after: false };
        }
        if self.plant == Plant::RetryAfterDate && self.now_and_then() {
            return Outcome::Later;
        }
        if self.plant == Plant::NoRetryAfter && self.now_and_then() {
            return Outcome::Refused { status: 503, code: "overloaded", retry_after: false };
        }
        let beyond = if self.plant == Plant::Oversells { 3 } else { 0 };
        let expires_ms = self.now_ms() + self.events[&event_id].hold_ttl_ms;
        let booking_id = self.new_id();
        let strikes = self.plant.is_about_seats() && self.now_and_then();
        let plant = self.plant;
        let event = self.events.get_mut(&event_id).expect("it is known");
        let name = wish["section_id"].as_str().or(wish["best_available"]["sections"][0].as_str());
        let name = name.expect("a section");
        let place = event.sections.iter().position(|it| it.id == name).expect("it is known");
        let section = &mut event.sections[place];
        let mut places = match &section.hall {
            Some(hall) => match choose(hall, wish, plant, strikes) {
                Ok(places) => places,
                Err(code) => return Outcome::Refused { status: 409, code, retry_after: false },
            },
            None => Vec::new(),
        };
        let seats = wish["seats_requested"].as_u64().unwrap_or(places.len() as u64);
        let is_full = section.held + section.sold + seats > section.capacity + beyond;
        if is_full && section.hall.is_none() {
            return Outcome::Refused { status: 409, code: "sold_out", retry_after: false };
        }
        section.held += seats;
        if let Some(hall) = &mut section.hall {
            for seat in &places {
                hall.of[*seat] = Some(booking_id);
            }
        }
        event.ends.push(Reverse((expires_ms, booking_id)));
        let user = user.to_owned();
        let status = "HOLD";
        places.sort_unstable();
        let booking = Booking {
            user: user.clone(),
            event: event_id,
            section: place,
            seats,
            places,
            status,
            expires_ms,
        };
        self.bookings.insert(booking_id, booking);
        if let Some(key) = key {
            self.keys.insert((user, key), booking_id);
        }
        let body = self.told(booking_id);
        match plant {
            Plant::LosesSeat if strikes => self.lose_a_seat(booking_id),
            Plant::Forgets if self.now_and_then() => {
                self.bookings.remove(&booking_id);
                self.keys.retain(|_, kept| *kept != booking_id);
            }
            Plant::LosesAnswers if self.now_and_then() => return Outcome::Lost,
            Plant::InFlight if self.now_and_then() => {
                let key = self.keys.iter().find(|(_, kept)| **kept == booking_id);
                self.in_flight.extend(key.map(|((_, key), _)| key.clone()));
                return Outcome::Lost;
            }
            Plant::Slow if self.ids == 20 => return Outcome::Slow(body),
            _ => {}
        }
        Outcome::Done { status: 201, body, replayed: false }
    }

    pub fn read(&mut self, user: &str, id: Uuid) -> Outcome {
        let Some(event) = self.of(user, id) else { return not_found() };
        self.sweep(event);
        let body = self.told(id);
        if self.late.contains(&id) {
            self.act(user, id, "confirm");
        }
        Outcome::Done { status: 200, body, replayed: false }
    }

    pub fn act(&mut self, user: &str, id: Uuid, verb: &str) -> Outcome {
        let Some(event) = self.of(user, id) else { return not_found() };
        self.sweep(event);
        let booking = self.bookings[&id].clone();
        let wanted = if verb == "confirm" { "CONFIRMED" } else { "CANCELLED" };
        let is_live = booking.status == "HOLD";
        if is_live && self.plant == Plant::LapsesEarly && verb == "confirm" && self.now_and_then() {
            return Outcome::Refused { status: 410, code: "hold_expired", retry_after: false };
        }
        if is_live && self.plant == Plant::WontCancel && verb == "cancel" {
            return Outcome::Refused { status: 409, code: "not_cancellable", retry_after: false };
        }
        match booking.status {
            status if status == wanted => {}
            "HOLD" if verb == "confirm" => {
                let forgets = self.plant == Plant::ConfirmNotKept && self.now_and_then();
                if forgets {
                    let mut body = self.told(id);
                    body["status"] = wanted.into();
                    return Outcome::Done { status: 200, body, replayed: false };
                }
                let section = self.section(&booking);
                section.held -= booking.seats;
                section.sold += booking.seats;
                self.set(id, wanted);
            }
            "HOLD" => {
                self.give_back(&booking);
                self.set(id, wanted);
            }
            "EXPIRED" if verb == "confirm" => {
                return Outcome::Refused { status: 410, code: "hold_expired", retry_after: false };
            }
            _ => {
                return Outcome::Refused {
                    status: 409,
                    code: "not_cancellable",
                    retry_after: false,
                };
            }
        }
        Outcome::Done { status: 200, body: self.told(id), replayed: false }
    }

    /// Whether what is to be done is not answered, and done only once somebody has looked.
    pub fn acts_late(&mut self, id: Uuid, verb: &str) -> bool {
        let is_late = self.plant == Plant::ConfirmsLate
            && verb == "confirm"
            && !self.late.contains(&id)
            && self.now_and_then();
        if is_late {
            self.late.insert(id);
        }
        is_late
    }

    /// Whether the caller has no access any more.
    pub fn has_closed(&self) -> bool {
        self.plant == Plant::AccessEnds && self.ids > 300
    }

    fn of(&self, user: &str, id: Uuid) -> Option<Uuid> {
        self.bookings.get(&id).filter(|booking| booking.user == user).map(|booking| booking.event)
    }

    fn section(&mut self, booking: &Booking) -> &mut Section {
        let event = self.events.get_mut(&booking.event).expect("it is known");
        &mut event.sections[booking.section]
    }

    fn set(&mut self, id: Uuid, status: &'static str) {
        self.bookings.get_mut(&id).expect("it is known").status = status;
    }

    fn give_back(&mut self, booking: &Booking) {
        if self.plant == Plant::Leaks && self.now_and_then() {
            return;
        }
        let section = self.section(booking);
        section.held -= booking.seats;
        if let Some(hall) = &mut section.hall {
            booking.places.iter().for_each(|seat| hall.of[*seat] = None);
        }
    }

    /// The booking keeps all seats but one, which is free again.
    fn lose_a_seat(&mut self, id: Uuid) {
        let mut booking = self.bookings[&id].clone();
        let Some(lost) = booking.places.pop() else { return };
        booking.seats -= 1;
        let section = self.section(&booking);
        section.held -= 1;
        if let Some(hall) = &mut section.hall {
            hall.of[lost] = None;
        }
        self.bookings.insert(id, booking);
    }

    pub fn drawing(&self, event: Uuid, section: &str) -> Option<Value> {
        Some(self.hall(event, section)?.drawing())
    }

    pub fn status(&self, user: &str, event: Uuid, section: &str) -> Option<Value> {
        let hall = self.hall(event, section)?;
        let (mut held, mut sold, mut yours) = (Vec::new(), Vec::new(), Vec::new());
        for (seat, id) in hall.of.iter().enumerate() {
            let Some(booking) = id.and_then(|id| self.bookings.get(&id)) else { continue };
            if booking.user == user {
                yours.push(hall.name(seat));
            }
            let list = if booking.status == "HOLD" { &mut held } else { &mut sold };
            list.push(hall.name(seat));
        }
        if self.plant == Plant::StatusLies {
            held.pop();
        }
        let capacity = hall.of.len();
        let available = capacity - held.len() - sold.len();
        Some(json!({ "capacity": capacity, "available": available, "held": held, "sold": sold,
                     "blocked": [], "yours": yours }))
    }

    fn hall(&self, event: Uuid, section: &str) -> Option<&Hall> {
        let sections = &self.events.get(&event)?.sections;
        sections.iter().find(|it| it.id == section)?.hall.as_ref()
    }

    /// A page of the bookings of an event: those after an id, by their ids.
    pub fn list(&self, event: Uuid, limit: usize, after: Option<Uuid>) -> Value {
        let of_event = self.bookings.iter().filter(|(_, booking)| booking.event == event);
        let mut ids: Vec<Uuid> = of_event.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids.retain(|id| after.is_none_or(|after| *id > after));
        let next = (ids.len() > limit).then(|| ids[limit - 1]);
        ids.truncate(limit);
        let items: Vec<Value> = ids.into_iter().map(|id| self.told(id)).collect();
        json!({ "items": items, "next": next })
    }

    /// Ends what is due.
    fn sweep(&mut self, event_id: Uuid) {
        let now = self.now_ms();
        loop {
            let event = self.events.get_mut(&event_id).expect("it is known");
            match event.ends.peek() {
                Some(Reverse((end, _))) if *end <= now => {}
                _ => return,
            }
            let Some(Reverse((_, id))) = event.ends.pop() else { return };
            let booking = self.bookings.get(&id).cloned();
            if let Some(booking) = booking.filter(|booking| booking.status == "HOLD") {
                self.give_back(&booking);
                self.set(id, "EXPIRED");
            }
        }
    }

    fn told(&self, id: Uuid) -> Value {
        let Booking { event, section, seats, places, status, expires_ms, .. } = &self.bookings[&id];
        let Section { id: section_id, hall, .. } = &self.events[event].sections[*section];
        let mut item = json!({ "section_id": section_id, "seats_requested": seats });
        if let Some(hall) = hall {
            item["seats"] = places.iter().map(|seat| hall.name(*seat)).collect();
        }
        json!({ "booking_id": id, "event_id": event, "seats_requested": seats, "items": [item],
                "status": status, "expires_at": at(*expires_ms), "server_time": at(self.now_ms()) })
    }

    fn now_and_then(&mut self) -> bool {
        self.cases += 1;
        self.cases.is_multiple_of(NOW_AND_THEN)
    }

    fn new_id(&mut self) -> Uuid {
        self.ids += 1;
        Uuid::from_u128(self.ids.into())
    }

    fn now_ms(&self) -> i64 {
        let was_set = self.plant == Plant::ClockIsSet && self.ids > 300;
        let ahead = if was_set { 25 * 3_600_000 } else { 0 };
        BEGINNING_MS
            + ahead
            + i64::try_from(self.began.elapsed().as_millis()).expect("a short test")
    }
}

impl Plant {
    /// Whether it strikes at the choice of seats.
    fn is_about_seats(self) -> bool {
        use Plant::{LosesSeat, OtherSeats, SellsTwice, Splits};
        matches!(self, SellsTwice | Splits | LosesSeat | OtherSeats)
    }
}

fn at(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms).expect("in range").to_rfc3339()
}

fn not_found() -> Outcome {
    Outcome::Refused { status: 404, code: "not_found", retry_after: false }
}
