//! The shortcut: holds, confirms and reads of an event, what a sale is made of, are told by their path alone.
//!
//! They do what the router would have them do, with the same extractors and handlers, and are
//! observed alike; they only save the way through it, a fifth of what a request costs here. Whatever is
//! not exactly one of them, has a query, or comes from a page of another origin takes the router.

use super::observe::observed;
use super::{App, COMPRESSED_BYTES_MIN, Peer, compression};
use super::{bookings, events};
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use std::convert::Infallible;
use std::sync::Arc;
use tower::{Layer, ServiceExt, service_fn};

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
    /// `POST /bookings/{id}/confirm`, with what stands for the id.
    Confirm(String),
    /// `GET /events/{id}`, with what stands for the id.
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

    /// Answers it.
    pub async fn answer(
        self,
        app: Arc<App>,
        request: hyper::Request<Incoming>,
        peer: Peer,
    ) -> Response {
        let mut request = request.map(Body::new);
        if app.limits.are_kept() {
            request.extensions_mut().insert(peer);
        }
        let route = match &self {
            Self::Hold => HOLD,
            Self::Confirm(_) => CONFIRM,
            Self::Event(_) => EVENT,
        };
        observed(&app, route, request, |request| self.handle(app.clone(), request)).await
    }

    async fn handle(self, app: Arc<App>, request: Request) -> Response {
        let accepted = matches!(self, Self::Event(_)).then(|| accepted(&request));
        let answered = match self {
            Self::Hold => bookings::take_hold(app, request).await,
            Self::Confirm(id) => bookings::take_confirm(app, id, request).await,
            Self::Event(id) => events::take_read(app, id, request).await,
        };
        let response = answered.unwrap_or_else(IntoResponse::into_response);
        match accepted {
            Some(accepted) => compressed(accepted, response).await,
            None => response,
        }
    }
}

/// The encodings that a client accepts.
fn accepted(request: &Request) -> Vec<HeaderValue> {
    request.headers().get_all(header::ACCEPT_ENCODING).iter().cloned().collect()
}

/// An answer to a read as the layer of the router would leave it, which lets small ones be.
async fn compressed(accepted: Vec<HeaderValue>, response: Response) -> Response {
    let bytes = response.body().size_hint().exact();
    if bytes.is_some_and(|bytes| bytes < COMPRESSED_BYTES_MIN) {
        return response;
    }
    let mut request = Request::new(Body::empty());
    for encodings in accepted {
        request.headers_mut().append(header::ACCEPT_ENCODING, encodings);
    }
    let mut response = Some(response);
    let answer = service_fn(move |_: Request| {
        let response = response.take().expect("it is asked once");
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let Ok(response) = compression().layer(answer).oneshot(request).await;
    response.map(Body::new)
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
