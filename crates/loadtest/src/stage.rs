//! Who plays, and where: the buyers of a session and the event of a run, with everything of a request that
//! can be made beforehand.

use crate::ledger::Entry;
use crate::target::Target;
use crate::wire::Body;
use hyper::body::Bytes;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
};
use hyper::{Method, Request, Uri};
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::time::Instant;
use uuid::Uuid;

/// The most seats that a buyer of a rush asks for.
pub const SEATS_PER_BUYER_MAX: u16 = 4;

/// What a buyer of the proof asks for at most; events that the tool makes allow it.
pub const SEATS_AT_ONCE_MAX: u16 = 50;

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
}

/// A section as the API names it.
#[derive(Clone, Debug)]
pub struct Section {
    /// Its id.
    pub id: String,
    /// Its seats.
    pub capacity: u64,
    /// What was sold before the run, if that is known.
    pub sold_before: Option<u64>,
    /// What was held before the run, if that is known.
    pub held_before: Option<u64>,
}

/// The event of a run.
pub struct Stage {
    /// Who plays.
    pub cast: Arc<Cast>,
    /// Counts from 0; part of all keys.
    pub run: u64,
    /// The event.
    pub event_id: Uuid,
    /// Its sections.
    pub sections: Vec<Section>,
    /// Whether nobody else uses the event.
    pub is_ours: bool,
    /// Whether holds outlive the session.
    pub holds_last: bool,
    /// Sections that refused more than one seat: from then on, buyers ask for one.
    pub tight: Vec<AtomicBool>,
    /// Holds to be confirmed beside the load, and whether that was tried.
    pub prepared: Vec<(Entry, AtomicBool)>,
    /// When the live holds of a short-lived event end, the earliest first; each at least that early.
    pub ends: Mutex<BinaryHeap<Reverse<Instant>>>,
    hold_bodies: Vec<Vec<Bytes>>,
    hold_uri: Uri,
    event_uri: Uri,
    availability_uri: Uri,
    public: HeaderMap,
}

impl Stage {
    /// An event with its sections; the rest is to be filled in.
    pub fn new(cast: &Arc<Cast>, run: u64, event_id: Uuid, sections: Vec<Section>) -> Self {
        let target = &cast.target;
        let body = |section: &Section, seats| {
            let Section { id, .. } = section;
            Bytes::from(format!(
                r#"{{"event_id":"{event_id}","section_id":"{id}","seats_requested":{seats}}}"#
            ))
        };
        let bodies = |section| (1..=SEATS_AT_ONCE_MAX).map(|seats| body(section, seats)).collect();
        let mut public = HeaderMap::new();
        public.insert(HOST, target.host.clone());
        public.insert(ACCEPT, HeaderValue::from_static("application/json"));
        Self {
            run,
            event_id,
            is_ours: true,
            holds_last: true,
            tight: sections.iter().map(|_| AtomicBool::new(false)).collect(),
            prepared: Vec::new(),
            ends: Mutex::default(),
            hold_bodies: sections.iter().map(bodies).collect(),
            hold_uri: target.api(format_args!("/bookings/hold")),
            event_uri: target.api(format_args!("/events/{event_id}")),
            availability_uri: target.api(format_args!("/events/{event_id}/availability")),
            public,
            sections,
            cast: Arc::clone(cast),
        }
    }

    /// Seats of all sections.
    pub fn capacity(&self) -> u64 {
        self.sections.iter().map(|section| section.capacity).sum()
    }

    /// A hold. `key` 0 is none.
    pub fn hold(&self, buyer: u16, section: u16, seats: u16, key: u64) -> Request<Body> {
        let bodies = &self.hold_bodies[usize::from(section)];
        let body = bodies[usize::from(seats - 1)].clone();
        let mut request = Request::new(Body::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.hold_uri.clone();
        *request.headers_mut() = self.buyer(buyer).with_body.clone();
        if key != 0 {
            request.headers_mut().insert(IDEMPOTENCY_KEY, self.key(key));
        }
        request
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

    /// The event, read by anybody.
    pub fn event(&self) -> Request<Body> {
        Self::get(self.event_uri.clone(), self.public.clone())
    }

    /// Its seats, read by anybody.
    pub fn availability(&self) -> Request<Body> {
        Self::get(self.availability_uri.clone(), self.public.clone())
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
