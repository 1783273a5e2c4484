//! The shortcut: holds, confirms and reads of an event, most of a sale's requests, are recognized
//! by their path alone.
//!
//! They use the same layers, extractors and handlers as through the router; they only skip routing,
//! a fifth of the cost of a request. A request that is not exactly one of them, has a query, or
//! comes from a page of another origin takes the router. A test compares both ways, byte by byte.

use super::app::App;
use super::connection::Peer;
use super::layers::{self, Layers};
use super::{bookings, events};
use axum::extract::Request;
use axum::http::{Method, header};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

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
    /// `POST /bookings/{id}/confirm`, with the text of the id.
    Confirm(String),
    /// `GET /events/{id}`, with the text of the id.
    Event(String),
}

impl Call {
    /// The call that a request makes, if it is one of these.
    pub fn of<B>(request: &hyper::Request<B>) -> Option<Self> {
        let path = request.uri().path();
        let has_query = request.uri().query().is_some_and(|query| !query.is_empty());
        if has_query || request.headers().contains_key(header::ORIGIN) {
            return None;
        }
        // Anything that would have to be decoded is left to the router.
        let is_plain = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
        let plain = |id: &str| id.bytes().all(is_plain).then(|| id.to_owned());
        match *request.method() {
            Method::POST if path == HOLD => Some(Self::Hold),
            Method::POST => {
                plain(path.strip_prefix(PREFIX)?.strip_suffix(CONFIRM_END)?).map(Self::Confirm)
            }
            Method::GET => {
                let id = path.strip_prefix(EVENT_PREFIX).filter(|id| !id.is_empty());
                plain(id?).map(Self::Event)
            }
            _ => None,
        }
    }

    /// Answers it, through the layers that the router would take it through.
    pub async fn answer(
        self,
        layers: Arc<Layers>,
        app: Arc<App>,
        mut request: Request,
        peer: Peer,
    ) -> Response {
        // Only limits ask where a request came from.
        if app.limits.are_kept() {
            request.extensions_mut().insert(peer);
        }
        let (route, group) = match &self {
            Self::Hold => (HOLD, layers::BOOKINGS),
            Self::Confirm(_) => (CONFIRM, layers::BOOKINGS),
            Self::Event(_) => (EVENT, layers::RECORDS),
        };
        let handle = |request| group.around(request, |request| self.handle(app, request));
        layers.around(route, request, handle).await
    }

    async fn handle(self, app: Arc<App>, request: Request) -> Response {
        let answered = match self {
            Self::Hold => bookings::take_hold(app, request).await,
            Self::Confirm(id) => bookings::take_confirm(app, id, request).await,
            Self::Event(id) => events::take_read(app, id, request).await,
        };
        answered.unwrap_or_else(IntoResponse::into_response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: &str, target: &str, origin: Option<&str>) -> Option<Call> {
        let mut request = hyper::Request::builder().method(method).uri(target);
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
        assert_eq!(call("POST", &confirm, None), Some(Call::Confirm(id.to_owned())));
        let event = format!("/api/v1/events/{id}");
        assert_eq!(call("GET", &event, None), Some(Call::Event(id.to_owned())));
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
