//! What the server of the suite knows, and what it does wrong when it is told to.

use chrono::DateTime;
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Instant;
use uuid::Uuid;

/// What is planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// Nothing.
    Honest,
    /// Not a bug: some holds are made and never answered.
    LosesAnswers,
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
}

/// What a request comes to.
pub enum Outcome {
    Done { status: u16, body: Value, replayed: bool },
    Refused { status: u16, code: &'static str, retry_after: bool },
    Lost,
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
    status: &'static str,
    expires_ms: i64,
}

pub struct World {
    plant: Plant,
    began: Instant,
    events: HashMap<Uuid, Event>,
    bookings: HashMap<Uuid, Booking>,
    keys: HashMap<(String, String), Uuid>,
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
            ids: 0,
            cases: 0,
        }
    }

    pub fn create(&mut self, wish: &Value) -> Value {
        let id = self.new_id();
        let wished = wish["sections"].as_array().expect("an event has sections");
        let sections = wished.iter().map(|section| Section {
            id: section["name"].as_str().expect("a section has a name").to_owned(),
            capacity: section["capacity"].as_u64().expect("a section has seats"),
            held: 0,
            sold: 0,
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
            let Section { id, capacity, held, sold } = section;
            let available = capacity.saturating_sub(held + sold);
            json!({ "section_id": id, "capacity": capacity, "available_seats": available,
                    "held_seats": held, "sold_seats": sold })
        });
        json!({ "event_id": id, "sections": sections.collect::<Vec<_>>() })
    }

    pub fn hold(&mut self, user: &str, key: Option<String>, wish: &Value) -> Outcome {
        let event_id = wish["event_id"].as_str().and_then(|it| it.parse().ok()).expect("an event");
        self.sweep(event_id);
        if let Some(&known) =
            key.as_ref().and_then(|key| self.keys.get(&(user.to_owned(), key.clone())))
            && !(self.plant == Plant::TwoForAKey && self.now_and_then())
        {
            return Outcome::Done { status: 201, body: self.told(known), replayed: true };
        }
        if self.plant == Plant::Fails && self.now_and_then() {
            return Outcome::Refused { status: 500, code: "internal", retry_after: false };
        }
        if self.plant == Plant::NoRetryAfter && self.now_and_then() {
            return Outcome::Refused { status: 503, code: "overloaded", retry_after: false };
        }
        let seats = wish["seats_requested"].as_u64().expect("seats");
        let name = wish["section_id"].as_str().expect("a section");
        let beyond = if self.plant == Plant::Oversells { 3 } else { 0 };
        let expires_ms = self.now_ms() + self.events[&event_id].hold_ttl_ms;
        let booking_id = self.new_id();
        let event = self.events.get_mut(&event_id).expect("it is known");
        let place = event.sections.iter().position(|it| it.id == name).expect("it is known");
        let section = &mut event.sections[place];
        if section.held + section.sold + seats > section.capacity + beyond {
            return Outcome::Refused { status: 409, code: "sold_out", retry_after: false };
        }
        section.held += seats;
        event.ends.push(Reverse((expires_ms, booking_id)));
        let user = user.to_owned();
        let status = "HOLD";
        let booking = Booking {
            user: user.clone(),
            event: event_id,
            section: place,
            seats,
            status,
            expires_ms,
        };
        self.bookings.insert(booking_id, booking);
        if let Some(key) = key {
            self.keys.insert((user, key), booking_id);
        }
        let body = self.told(booking_id);
        let plant = self.plant;
        match plant {
            Plant::Forgets if self.now_and_then() => {
                self.bookings.remove(&booking_id);
                self.keys.retain(|_, kept| *kept != booking_id);
            }
            Plant::LosesAnswers if self.now_and_then() => return Outcome::Lost,
            Plant::Slow if self.ids == 20 => return Outcome::Slow(body),
            _ => {}
        }
        Outcome::Done { status: 201, body, replayed: false }
    }

    pub fn read(&mut self, user: &str, id: Uuid) -> Outcome {
        let Some(event) = self.of(user, id) else { return not_found() };
        self.sweep(event);
        Outcome::Done { status: 200, body: self.told(id), replayed: false }
    }

    pub fn act(&mut self, user: &str, id: Uuid, verb: &str) -> Outcome {
        let Some(event) = self.of(user, id) else { return not_found() };
        self.sweep(event);
        let booking = self.bookings[&id].clone();
        let wanted = if verb == "confirm" { "CONFIRMED" } else { "CANCELLED" };
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
            "EXPIRED" => {
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
        self.section(booking).held -= booking.seats;
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
        let Booking { event, seats, status, expires_ms, .. } = &self.bookings[&id];
        let at = |ms| DateTime::from_timestamp_millis(ms).expect("in range").to_rfc3339();
        json!({ "booking_id": id, "event_id": event, "seats_requested": seats, "status": status,
                "expires_at": at(*expires_ms), "server_time": at(self.now_ms()) })
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
        BEGINNING_MS + i64::try_from(self.began.elapsed().as_millis()).expect("a short test")
    }
}

fn not_found() -> Outcome {
    Outcome::Refused { status: 404, code: "not_found", retry_after: false }
}
