//! Who plays, and where: the buyers of a session and the events of a run, and how their requests look.

use crate::body;
use crate::hall::Hall;
use crate::ledger::Entry;
use crate::spread::Ranks;
use crate::target::Target;
use crate::wire::Body;
use crate::wish::Wish;
use hyper::body::Bytes;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
};
use hyper::{Method, Request, Uri};
use parking_lot::Mutex;
use serde::Serializer;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// The maximum number of seats that a buyer of a rush requests.
pub const SEATS_PER_BUYER_MAX: u8 = 4;

/// What a buyer of the proof asks for at most; events that the tool makes allow it.
pub const SEATS_AT_ONCE_MAX: u8 = 50;

/// Holds that live longer are not noted one by one: what is known of all of them is enough.
const BRIEF_MAX: Duration = Duration::from_hours(1);

/// If the difference of two clocks grows, one was set or stopped.
const CLOCKS_APART: Duration = Duration::from_millis(500);

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The people of a session.
pub struct Cast {
    /// Where they are.
    pub target: Arc<Target>,
    /// At least one.
    pub buyers: Vec<Buyer>,
    /// Who made the events; missing at an event that was there before.
    pub organizer: Option<HeaderValue>,
    /// Random; part of all keys and addresses.
    pub session: u64,
}

/// One buyer: the headers of all their requests.
pub struct Buyer {
    with_body: HeaderMap,
    without_body: HeaderMap,
}

impl Buyer {
    /// From an access token, as the value of `Authorization`.
    pub fn new(target: &Target, bearer: &HeaderValue) -> Self {
        let mut without_body = HeaderMap::with_capacity(8);
        without_body.insert(HOST, target.host.clone());
        without_body.insert(AUTHORIZATION, bearer.clone());
        let mut with_body = without_body.clone();
        with_body.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Self { with_body, without_body }
    }

    /// The value of `Authorization`.
    pub fn bearer(&self) -> Option<&HeaderValue> {
        self.without_body.get(AUTHORIZATION)
    }
}

/// A section as the API names it.
#[derive(Clone, Debug)]
pub struct Section {
    /// The number of its event.
    pub event: u32,
    /// Its id.
    pub id: String,
    /// Its seats.
    pub capacity: u64,
    /// What was sold before the run, if that is known.
    pub sold_before: Option<u64>,
    /// What was held before the run, if that is known.
    pub held_before: Option<u64>,
    /// Its seats, if they have numbers.
    pub hall: Option<Arc<Hall>>,
}

/// Live holds by their ends.
#[derive(Debug, Default)]
pub struct Ends {
    /// By the client's clock, each at least that late; and by the server's, in milliseconds.
    pub live: BinaryHeap<Reverse<(i64, Instant)>>,
    /// The latest that the server's clock was seen at.
    pub server_ms: i64,
}

/// Where holds go.
#[derive(Clone, Debug)]
struct Places {
    events: Ranks,
    /// Within each event; empty: the ranks are those of sections.
    sections: Vec<std::ops::Range<u32>>,
}

/// The events of a run.
pub struct Stage {
    /// Who plays.
    pub cast: Arc<Cast>,
    /// Counts from 0; part of all keys.
    pub run: u64,
    /// The events; at least one.
    pub events: Vec<Uuid>,
    /// Their sections, event after event.
    pub sections: Vec<Section>,
    /// Whether nobody else uses the events.
    pub is_ours: bool,
    /// How long a hold lives; zero if that is not known.
    pub hold_ttl: Duration,
    /// Nothing was held here before.
    pub opened_at: Instant,
    clock: OnceLock<(Instant, i64)>,
    /// By how much the server's clock was set forward, as far as it was seen.
    ahead_ms: AtomicU64,
    /// Sections that refused more than one seat: from then on, buyers ask for one.
    pub tight: Vec<AtomicBool>,
    /// Holds to be confirmed beside the load, and whether that was tried.
    pub prepared: Vec<(Entry, AtomicBool)>,
    /// When the live holds of a short-lived event end, the earliest first.
    pub ends: Mutex<Ends>,
    /// The sections that are halls.
    pub halls: Vec<u32>,
    /// A hall is open while groups of this size may find seats.
    pub leave_at: u8,
    /// The section without numbers beside the halls, if there is one.
    pub beside: Option<u32>,
    /// The place in `halls` of the one whose best seats are given out now.
    open_hall: AtomicUsize,
    capacity: u64,
    places: Places,
    /// The bodies of holds, up to where they differ.
    hold_bodies: Vec<String>,
    hold_uri: Uri,
    public: HeaderMap,
}

impl Stage {
    /// Events with their sections, grouped by event; the rest is filled in later.
    pub fn new(cast: &Arc<Cast>, run: u64, events: Vec<Uuid>, sections: Vec<Section>) -> Self {
        let target = &cast.target;
        let body = |section: &Section| {
            let Section { event, id, .. } = section;
            let event_id = events[*event as usize];
            format!(r#"{{"event_id":"{event_id}","section_id":"{id}","#)
        };
        let mut public = HeaderMap::new();
        public.insert(HOST, target.host.clone());
        public.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let numbered = (0..).zip(&sections).filter(|(_, section)| section.hall.is_some());
        let mut stage = Self {
            run,
            is_ours: true,
            hold_ttl: Duration::from_hours(24),
            opened_at: Instant::now(),
            clock: OnceLock::new(),
            ahead_ms: AtomicU64::new(0),
            tight: sections.iter().map(|_| AtomicBool::new(false)).collect(),
            prepared: Vec::new(),
            ends: Mutex::default(),
            halls: numbered.map(|(number, _)| number).collect(),
            leave_at: 1,
            beside: None,
            open_hall: AtomicUsize::new(0),
            capacity: sections.iter().map(|section| section.capacity).sum(),
            places: Places { events: Ranks::new(1, 0.0), sections: Vec::new() },
            hold_bodies: sections.iter().map(body).collect(),
            hold_uri: target.api(format_args!("/bookings/hold")),
            public,
            events,
            sections,
            cast: Arc::clone(cast),
        };
        stage.spread(0.0, None);
        stage
    }

    /// Spreads the load over all events, with that slope, and over the first `sections` of each. The
    /// slope of a single event is that of its sections.
    pub fn spread(&mut self, zipf: f64, sections: Option<usize>) {
        let most = sections.and_then(|it| u32::try_from(it).ok()).unwrap_or(u32::MAX);
        let mut ranges: Vec<std::ops::Range<u32>> = Vec::with_capacity(self.events.len());
        for (number, section) in (0..).zip(&self.sections) {
            match ranges.get_mut(section.event as usize) {
                Some(range) if range.end - range.start < most => range.end = number + 1,
                Some(_) => {}
                None => ranges.push(number..number + 1),
            }
        }
        self.places = match &ranges[..] {
            [of_one] => Places { events: Ranks::new(of_one.len(), zipf), sections: Vec::new() },
            _ => Places { events: Ranks::new(ranges.len(), zipf), sections: ranges },
        };
    }

    /// The same before anything happened there, for those who prepare it.
    pub fn again(&self) -> Self {
        let mut again = Self::new(&self.cast, self.run, self.events.clone(), self.sections.clone());
        (again.hold_ttl, again.opened_at) = (self.hold_ttl, self.opened_at);
        again.is_ours = self.is_ours;
        again.places = self.places.clone();
        again
    }

    /// Until when every hold lives that was made here.
    pub fn lives_until(&self) -> Instant {
        self.opened_at + self.hold_ttl
    }

    /// Whether no hold can have lapsed so far, by the client's clock or by the server's.
    pub fn all_live(&self) -> bool {
        let ahead = Duration::from_millis(self.ahead_ms.load(Ordering::Relaxed));
        Instant::now() + ahead + CLOCKS_APART < self.lives_until()
    }

    /// Whether holds may lapse one by one while it is still of interest.
    pub fn is_brief(&self) -> bool {
        self.hold_ttl <= BRIEF_MAX
    }

    /// Whether the server's clock was seen once.
    pub fn knows_the_clock(&self) -> bool {
        self.clock.get().is_some()
    }

    /// Compares the server's clock with the client's; the first time is what later ones are compared with.
    /// Returns by how much it is ahead of what it should be.
    pub fn clock_is_ahead(&self, body: &[u8]) -> Option<Duration> {
        let told = body::instant_ms(body, "server_time")?;
        let now = Instant::now();
        let (then, told_then) = *self.clock.get_or_init(|| (now, told));
        let told = Duration::from_millis(u64::try_from(told - told_then).unwrap_or(0));
        let ahead = told.saturating_sub(now - then);
        let ms = u64::try_from(ahead.as_millis()).unwrap_or(u64::MAX);
        self.ahead_ms.fetch_max(ms, Ordering::Relaxed);
        Some(ahead)
    }

    /// Whether a booking that was read has lapsed though `ends_at`, by the client's clock, is yet to come:
    /// by the server's own clock, which was set since.
    pub fn has_lapsed(&self, body: &[u8], ends_at: Instant) -> bool {
        let is_over = body::remaining_ms(body).is_some_and(|remaining| remaining <= 0);
        let left = ends_at.saturating_duration_since(Instant::now());
        let ahead = self.clock_is_ahead(body).unwrap_or_default();
        is_over && ahead + CLOCKS_APART >= left
    }

    /// Seats of all sections.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// The section for a hold, by the weights of the events.
    pub fn pick(&self) -> u32 {
        let rank = self.places.events.pick();
        match self.places.sections.get(rank) {
            Some(range) => crate::random::random_of(range.clone()),
            None => u32::try_from(rank).unwrap_or(0),
        }
    }

    /// An event for a reader, by its weight.
    pub fn pick_event(&self) -> Uuid {
        if self.places.sections.is_empty() {
            return self.events[0];
        }
        self.events[self.places.events.pick()]
    }

    /// The hall of a section that is one.
    pub fn hall(&self, section: u32) -> Option<&Arc<Hall>> {
        self.sections[section as usize].hall.as_ref()
    }

    /// The hall whose best seats are held now; none when all are full.
    pub fn open_hall(&self) -> Option<(u32, &Arc<Hall>)> {
        loop {
            let place = self.open_hall.load(Ordering::Relaxed);
            let section = *self.halls.get(place)?;
            let hall = self.hall(section)?;
            if hall.room(true).min(hall.room(false)) >= self.leave_at {
                return Some((section, hall));
            }
            // Somebody else may have opened the next one meanwhile.
            let (ours, next) = (Ordering::Relaxed, place + 1);
            let _ = self.open_hall.compare_exchange(place, next, ours, ours);
        }
    }

    /// A hold. `key` 0 is none.
    pub fn hold(&self, buyer: u16, section: u32, wish: &Wish, key: u64) -> Request<Body> {
        let mut request = Request::new(Body::from(self.hold_body(section, wish)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.hold_uri.clone();
        *request.headers_mut() = self.buyer(buyer).with_body.clone();
        if key != 0 {
            request.headers_mut().insert(IDEMPOTENCY_KEY, self.key(key));
        }
        request
    }

    fn hold_body(&self, section: u32, wish: &Wish) -> Vec<u8> {
        let place = &self.sections[section as usize];
        let begin = &self.hold_bodies[section as usize];
        let mut body = Vec::with_capacity(begin.len() + 96);
        let written = match wish {
            Wish::Any(number) => write!(body, r#"{begin}"seats_requested":{number}}}"#),
            Wish::Named(seats) => {
                let name = |seat: &u32| place.hall.as_ref().map(|hall| hall.drawing.name(*seat));
                body.extend_from_slice(begin.as_bytes());
                body.extend_from_slice(b"\"seats\":");
                // Rows may be called anything.
                let names = seats.iter().filter_map(name);
                let mut json = serde_json::Serializer::new(&mut body);
                json.collect_seq(names).expect("a list of texts");
                body.write_all(b"}")
            }
            Wish::Best { number, adjacent } => {
                let (event_id, id) = (self.events[place.event as usize], &place.id);
                write!(
                    body,
                    r#"{{"event_id":"{event_id}","best_available":{{"number":{number},"sections":["{id}"],"adjacent":{adjacent}}}}}"#
                )
            }
        };
        written.expect("memory takes everything");
        body
    }

    /// What is sent as the idempotency key with a number.
    fn key(&self, key: u64) -> HeaderValue {
        let text = format!("load-{:016x}-{:x}-{key:x}", self.cast.session, self.run);
        HeaderValue::from_maybe_shared(Bytes::from(text)).expect("hexadecimal digits are visible")
    }

    /// `confirm` or `cancel` of a booking.
    pub fn act(&self, buyer: u16, booking: u128, verb: &str) -> Request<Body> {
        let id = Uuid::from_u128(booking);
        let mut request = Request::new(Body::default());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.cast.target.api(format_args!("/bookings/{id}/{verb}"));
        *request.headers_mut() = self.buyer(buyer).without_body.clone();
        request
    }

    /// A booking, read by its buyer.
    pub fn booking(&self, buyer: u16, booking: u128) -> Request<Body> {
        let id = Uuid::from_u128(booking);
        let uri = self.cast.target.api(format_args!("/bookings/{id}"));
        Self::get(uri, self.buyer(buyer).without_body.clone())
    }

    /// An event, read by anybody.
    pub fn event(&self, event: Uuid) -> Request<Body> {
        Self::get(self.cast.target.api(format_args!("/events/{event}")), self.public.clone())
    }

    /// Its seats, read by anybody.
    pub fn availability(&self, event: Uuid) -> Request<Body> {
        let uri = self.cast.target.api(format_args!("/events/{event}/availability"));
        Self::get(uri, self.public.clone())
    }

    /// Any path, read by anybody.
    pub fn page(&self, uri: &Uri) -> Request<Body> {
        Self::get(uri.clone(), self.public.clone())
    }

    fn get(uri: Uri, headers: HeaderMap) -> Request<Body> {
        let mut request = Request::new(Body::default());
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        request
    }

    fn buyer(&self, buyer: u16) -> &Buyer {
        &self.cast.buyers[usize::from(buyer)]
    }
}
