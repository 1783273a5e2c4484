//! The shortcut: holds, confirms and reads of an event, most of a sale's requests, are recognized
//! by their path alone.
//!
//! They use the same layers, extractors and handlers as through the router; they only skip routing,
//! a fifth of the cost of a request. A request that is not exactly one of them, has a query, or
//! comes from a page of another origin takes the router. A test compares both ways, byte by byte.

use super::app::App;
use super::connection::Peer;
use super::content::{Answer, Content};
use super::layers::{self, Layers};
use super::problem::Problem;
use super::{Answering, bookings, events};
use axum::response::IntoResponse as _;
use engine::{BookingId, EventId};
use futures_util::FutureExt as _;
use hyper::body::Incoming;
use hyper::{Method, Request, header};

const PREFIX: &str = "/api/v1/bookings/";
const HOLD: &str = "/api/v1/bookings/hold";
const CONFIRM: &str = "/api/v1/bookings/{booking_id}/confirm";
const CONFIRM_END: &str = "/confirm";
const EVENT: &str = "/api/v1/events/{event_id}";
const EVENT_PREFIX: &str = "/api/v1/events/";

/// A call that is taken.
#[derive(Debug, PartialEq, Eq)]
pub enum Call {
    /// `POST /bookings/hold`.
    Hold,
    /// `POST /bookings/{id}/confirm`; `None` is what is no id.
    Confirm(Option<BookingId>),
    /// `GET /events/{id}`; `None` is what is no id.
    Event(Option<EventId>),
}

impl Call {
    /// The call that a request makes, if it is one of these.
    pub fn of<B>(request: &Request<B>) -> Option<Self> {
        let path = request.uri().path();
        let has_query = request.uri().query().is_some_and(|query| !query.is_empty());
        if has_query || request.headers().contains_key(header::ORIGIN) {
            return None;
        }
        // Anything that would have to be decoded is left to the router.
        let is_plain = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
        let is_plain = |id: &&str| id.bytes().all(is_plain);
        match *request.method() {
            Method::POST if path == HOLD => Some(Self::Hold),
            Method::POST => {
                let id = path.strip_prefix(PREFIX)?.strip_suffix(CONFIRM_END);
                Some(Self::Confirm(id.filter(is_plain)?.parse().ok()))
            }
            Method::GET => {
                let id = path.strip_prefix(EVENT_PREFIX).filter(|id| !id.is_empty());
                Some(Self::Event(id.filter(is_plain)?.parse().ok()))
            }
            _ => None,
        }
    }

    /// Answers it, through the layers that the router would take it through.
    pub fn answer<'a>(
        self,
        layers: &'a Layers,
        app: &'a App,
        request: Request<Incoming>,
        peer: Peer,
    ) -> Answering<'a> {
        // A box for each call, as large as that call needs: what is small stays in the caches.
        match self {
            Self::Hold => {
                let hold = move |request| explained(bookings::take_hold(app, request, peer));
                Box::pin(layers.around(HOLD, request, hold))
            }
            Self::Confirm(booking_id) => {
                let confirm = move |request| {
                    explained(bookings::take_confirm(app, booking_id, request, peer))
                };
                Box::pin(layers.around(CONFIRM, request, confirm))
            }
            Self::Event(event_id) => {
                let read =
                    move |request| explained(events::take_read(app, event_id, request, peer));
                let read = move |request| layers::RECORDS.around_read(request, read);
                Box::pin(layers.around(EVENT, request, read))
            }
        }
    }
}

// So the layers of the group may be left out.
const _: () = assert!(layers::BOOKINGS.is_bare(), "a layer of single bookings is left out here");

/// An answer, with a problem left for the outermost layer.
fn explained(
    answer: impl Future<Output = Result<Answer, Problem>>,
) -> impl Future<Output = Answer> {
    answer.map(|answer| answer.unwrap_or_else(|problem| problem.into_response().map(Content::from)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: &str, target: &str, origin: Option<&str>) -> Option<Call> {
        let mut request = Request::builder().method(method).uri(target);
        if let Some(origin) = origin {
            request = request.header(header::ORIGIN, origin);
        }
        Call::of(&request.body(()).expect("a request"))
    }

    #[test]
    fn only_what_is_exactly_one_of_the_calls_is_taken() {
        let id = "019a0000-0000-7000-8000-00000000000a";
        let confirm = format!("/api/v1/bookings/{id}/confirm");
        assert_eq!(call("POST", HOLD, None), Some(Call::Hold));
        assert_eq!(call("POST", "/api/v1/bookings/hold?", None), Some(Call::Hold));
        assert_eq!(call("POST", &confirm, None), Some(Call::Confirm(id.parse().ok())));
        let event = format!("/api/v1/events/{id}");
        assert_eq!(call("GET", &event, None), Some(Call::Event(id.parse().ok())));
        for (method, target) in [
            ("GET", HOLD),
            ("PATCH", confirm.as_str()),
            ("POST", "/api/v1/bookings/hold/"),
            ("POST", "/api/v1/bookings/hold?x=1"),
            ("POST", "/api/v1/bookings/%68old"),
            ("POST", "/api/v1/bookings/a%2Fb/confirm"),
            ("POST", "/api/v1/bookings/a/b/confirm"),
            ("POST", "/api/v1/bookings/confirm"),
            ("PATCH", event.as_str()),
            ("HEAD", event.as_str()),
            ("GET", "/api/v1/events"),
            ("GET", "/api/v1/events/"),
            ("GET", "/api/v1/events/a/availability"),
            ("GET", "/api/v1/events/%61"),
        ] {
            assert_eq!(call(method, target, None), None, "{method} {target}");
        }
        assert_eq!(call("POST", HOLD, Some("https://shop.example")), None, "CORS has a say");
    }
}
