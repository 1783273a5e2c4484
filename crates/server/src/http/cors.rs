//! CORS: which pages may read the answers (`ALLOWED_ORIGINS`).
//!
//! The headers are made once, by the library that answers preflights, and looked up for each
//! answer, also for one that is written before its request has been read.

use super::bookings;
use crate::config::Origins;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::response::Response;
use futures_util::FutureExt as _;
use std::convert::Infallible;
use std::future::ready;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_http::cors::{AllowOrigin, Any, CorsLayer, ExposeHeaders};

/// The headers that browsers ask for.
pub struct Cors {
    layer: CorsLayer,
    /// For pages of each allowed origin.
    allowed: Vec<(HeaderValue, HeaderMap)>,
    /// For all others, and for clients that are no browsers.
    others: HeaderMap,
}

impl Cors {
    /// What `origins` allow; `None` when they allow nothing.
    pub fn new(origins: &Origins) -> Option<Self> {
        let origins = match origins {
            Origins::Only(list) if list.is_empty() => return None,
            Origins::Only(list) => list.as_slice(),
            Origins::Any => &[],
        };
        let layer = layer(origins);
        let headers = |origin: &HeaderValue| (origin.clone(), on_answer(&layer, Some(origin)));
        let allowed = origins.iter().map(headers).collect();
        let others = on_answer(&layer, None);
        Some(Self { layer, allowed, others })
    }

    /// The answer to a preflight, which asks what a page may send; `None` for any other request.
    pub fn preflight<B>(&self, request: &axum::http::Request<B>) -> Option<Response> {
        let asks = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if *request.method() != Method::OPTIONS || !asks {
            return None;
        }
        let mut asked = Request::new(Body::empty());
        *asked.method_mut() = Method::OPTIONS;
        *asked.headers_mut() = request.headers().clone();
        Some(ask(&self.layer, asked))
    }

    /// Adds the headers to an answer for a page of this origin.
    pub fn mark(&self, origin: Option<&HeaderValue>, answer: &mut HeaderMap) {
        let of = |origin| self.allowed.iter().find(|(allowed, _)| allowed == origin);
        let headers = origin.and_then(of).map_or(&self.others, |(_, headers)| headers);
        for (name, value) in headers {
            if name == header::VARY {
                add_vary(answer, value);
            } else {
                answer.insert(name, value.clone());
            }
        }
    }
}

fn layer(origins: &[HeaderValue]) -> CorsLayer {
    let allowed = match origins {
        [] => AllowOrigin::from(Any),
        list => AllowOrigin::list(list.iter().cloned()),
    };
    let key = HeaderName::from_static("idempotency-key");
    let request_id = HeaderName::from_static("x-request-id");
    CorsLayer::new()
        .allow_origin(allowed)
        .vary([header::ORIGIN])
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::PUT, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            key,
            request_id.clone(),
        ])
        .expose_headers(ExposeHeaders::list([
            header::LOCATION,
            header::ETAG,
            header::RETRY_AFTER,
            request_id,
            bookings::REPLAYED,
        ]))
}

/// What `layer` adds to an answer for a page of this origin.
fn on_answer(layer: &CorsLayer, origin: Option<&HeaderValue>) -> HeaderMap {
    let mut request = Request::new(Body::empty());
    request.headers_mut().extend(origin.map(|origin| (header::ORIGIN, origin.clone())));
    ask(layer, request).into_parts().0.headers
}

/// What `layer` makes of an empty answer to this request.
fn ask(layer: &CorsLayer, request: Request) -> Response {
    let empty = service_fn(|_: Request| ready(Ok::<_, Infallible>(Response::new(Body::empty()))));
    let answered = layer.layer(empty).oneshot(request).now_or_never();
    let Ok(answer) = answered.expect("lists of origins wait for nothing");
    answer
}

/// Adds a name to those that the answer varies with, on one line.
fn add_vary(answer: &mut HeaderMap, name: &HeaderValue) {
    let known = answer.get_all(header::VARY).iter();
    let known: Vec<_> = known.map(HeaderValue::as_bytes).collect();
    let mut names = known.iter().flat_map(|value| value.split(|byte| *byte == b','));
    if names.any(|known| known.trim_ascii().eq_ignore_ascii_case(name.as_bytes())) {
        return;
    }
    let joined = known.into_iter().chain([name.as_bytes()]).collect::<Vec<_>>().join(&b", "[..]);
    let joined = HeaderValue::from_bytes(&joined).expect("names joined by commas are a value");
    answer.insert(header::VARY, joined);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(origins: &str, origin: Option<&str>) -> HeaderMap {
        let cors = Cors::new(&Origins::parse(origins).expect("origins")).expect("some");
        let mut answer = HeaderMap::new();
        answer.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        cors.mark(
            origin.map(HeaderValue::from_str).transpose().expect("text").as_ref(),
            &mut answer,
        );
        answer
    }

    #[test]
    fn each_allowed_origin_is_named_and_the_answer_varies_with_it() {
        let two = "https://shop.example,https://box.example";
        for (origin, allowed) in [
            (Some("https://shop.example"), Some("https://shop.example")),
            (Some("https://box.example"), Some("https://box.example")),
            (Some("https://evil.example"), None),
            (None, None),
        ] {
            let headers = marked(two, origin);
            let named = headers.get("access-control-allow-origin");
            assert_eq!(named.map(|value| value.to_str().expect("text")), allowed);
            assert_eq!(headers["vary"], "accept-encoding, origin");
            assert!(headers.contains_key("access-control-expose-headers"));
        }
        assert_eq!(marked("*", None)["access-control-allow-origin"], "*");
        let mut twice = marked("*", None);
        add_vary(&mut twice, &HeaderValue::from_static("Origin"));
        assert_eq!(twice["vary"], "accept-encoding, origin");
        assert!(Cors::new(&Origins::Only(Vec::new())).is_none());
    }
}
