//! The shortcut: holds and confirms, what a sale is made of, are told by their path alone.
//!
//! They do what the router would have them do, with the same extractors and handlers, and are
//! observed alike; they only save the way through it, a fifth of what a request costs here. Whatever is
//! not exactly one of them, and what a browser of another origin sends, takes the router.

use super::bookings;
use super::observe::observed;
use super::{App, Peer};
use axum::body::Body;
use axum::extract::Request;
use axum::http::{Method, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use std::sync::Arc;

const PREFIX: &str = "/api/v1/bookings/";
const HOLD: &str = "/api/v1/bookings/hold";
const CONFIRM: &str = "/api/v1/bookings/{booking_id}/confirm";
const CONFIRM_END: &str = "/confirm";

/// A call that is taken.
#[derive(Debug, PartialEq, Eq)]
pub enum Call {
    /// `POST /bookings/hold`.
    Hold,
    /// `POST /bookings/{id}/confirm`, with what stands for the id.
    Confirm(String),
}

impl Call {
    /// The call that a request makes, if it is one of these.
    pub fn of<B>(request: &hyper::Request<B>) -> Option<Self> {
        let path = request.uri().path();
        if *request.method() != Method::POST || request.headers().contains_key(header::ORIGIN) {
            return None;
        }
        if path == HOLD {
            return Some(Self::Hold);
        }
        let id = path.strip_prefix(PREFIX)?.strip_suffix(CONFIRM_END)?;
        // Anything that would have to be decoded is left to the router.
        let is_plain = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
        id.bytes().all(is_plain).then(|| Self::Confirm(id.to_owned()))
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
        };
        observed(&app, route, request, |request| self.handle(app.clone(), request)).await
    }

    async fn handle(self, app: Arc<App>, request: Request) -> Response {
        let answered = match self {
            Self::Hold => bookings::take_hold(app, request).await,
            Self::Confirm(id) => bookings::take_confirm(app, id, request).await,
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
    fn only_what_is_exactly_a_hold_or_a_confirm_is_taken() {
        let id = "019a0000-0000-7000-8000-00000000000a";
        let confirm = format!("/api/v1/bookings/{id}/confirm");
        assert_eq!(call("POST", HOLD, None), Some(Call::Hold));
        assert_eq!(call("POST", "/api/v1/bookings/hold?x=1", None), Some(Call::Hold));
        assert_eq!(call("POST", &confirm, None), Some(Call::Confirm(id.to_owned())));
        for (method, target) in [
            ("GET", HOLD),
            ("PATCH", confirm.as_str()),
            ("POST", "/api/v1/bookings/hold/"),
            ("POST", "/api/v1/bookings/%68old"),
            ("POST", "/api/v1/bookings/a%2Fb/confirm"),
            ("POST", "/api/v1/bookings/a/b/confirm"),
            ("POST", "/api/v1/bookings/confirm"),
        ] {
            assert_eq!(call(method, target, None), None, "{method} {target}");
        }
        assert_eq!(call("POST", HOLD, Some("https://shop.example")), None, "CORS has a say");
    }
}
