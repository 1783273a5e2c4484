//! The outermost layer: assigns every request an id, checks its head, counts it, writes problems
//! out, and adds the headers that every answer has.

use super::cors::Cors;
use super::problem::{Code, Problem};
use crate::core::Core;
use crate::random::random;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use futures_util::future::{Either, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// The longest target of a request, in bytes.
pub const URI_BYTES_MAX: usize = 8 * 1024;
/// The largest headers of a request together, in bytes.
pub const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Bodies of this size are skipped when nobody wants them; what is larger ends the connection.
const SKIPPED_BYTES_MAX: u64 = 8 * 1024;
/// How many headers a request may have: what hyper reads without asking for memory.
const HEADERS_MAX: usize = 100;
/// The longest request id that is taken over from a client.
const REQUEST_ID_MAX: usize = 128;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What is asked by supervisors, proxies and collectors.
pub const PROBES: [&str; 4] = ["/health", "/health/live", "/health/ready", "/metrics"];

/// Observes how a request of this route is answered: by `first`, if it has something against it, else
/// by `answer`.
pub fn observed<'a, B: HttpBody, C: From<Body>, A: Future<Output = Response<C>>>(
    core: &'a Core,
    cors: Option<&'a Cors>,
    route: &'a str,
    request: Request<B>,
    first: impl FnOnce(&Request<B>) -> Option<Response>,
    answer: impl FnOnce(Request<B>) -> A,
) -> impl Future<Output = Response<C>> {
    let seen = Seen::of(&request);
    let refuse = || match unsound(&request) {
        Some(problem) => Some(problem.into_response()),
        None => first(&request),
    };
    let refused = catch_unwind(AssertUnwindSafe(refuse)).unwrap_or_else(|_| Some(panicked()));
    // Who answers early gives up the body with the answer, not before: by then what has come of it is
    // read, and the connection can go on.
    let early = |early: Response, request: Option<Request<B>>| {
        Either::Left(ready(early.map(C::from)).inspect(move |_| drop(request)))
    };
    // What can be done at once is done here: the future is then no larger than the wait needs.
    let answered = match refused {
        Some(answer) => early(answer, Some(request)),
        None => match catch_unwind(AssertUnwindSafe(|| answer(request))) {
            Err(_) => early(panicked(), None),
            Ok(answer) => Either::Right(
                AssertUnwindSafe(answer)
                    .catch_unwind()
                    .map(|answered| answered.unwrap_or_else(|_| panicked().map(C::from))),
            ),
        },
    };
    // No async block, here and in the other layers: it would hold what it waits for twice.
    answered.map(move |answered| seen.completed(core, cors, route, answered))
}

/// The id of a request, for handlers that keep it. A request that takes the router has it.
#[derive(Clone)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The id of a request with these headers.
    pub fn of(headers: &HeaderMap) -> Self {
        Self(request_id(headers))
    }

    /// As the log and the answer name it.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// What is kept of a request until it is answered.
struct Seen {
    started: Instant,
    request_id: HeaderValue,
    method: &'static str,
    body_bytes_max: Option<u64>,
    origin: Option<HeaderValue>,
    place: Place,
}

impl Seen {
    fn of<B: HttpBody>(request: &Request<B>) -> Self {
        let given = request.extensions().get::<RequestId>().map(|given| given.0.clone());
        Self {
            started: Instant::now(),
            request_id: given.unwrap_or_else(|| request_id(request.headers())),
            method: method_name(request.method().as_str()),
            body_bytes_max: request.body().size_hint().upper(),
            origin: request.headers().get(header::ORIGIN).cloned(),
            place: Place::of(request.uri().path()),
        }
    }

    /// Counts the answer, writes it out if it is a problem, and adds what every answer has.
    fn completed<C: From<Body>>(
        self,
        core: &Core,
        cors: Option<&Cors>,
        route: &str,
        mut response: Response<C>,
    ) -> Response<C> {
        let Self { method, request_id, .. } = self;
        let problem = response.extensions_mut().remove::<Problem>();
        if let Some(problem) = problem.or_else(|| self.place.explains(&response)) {
            let request_id = request_id.to_str().unwrap_or_default();
            response = problem.render(response, request_id).map(C::from);
        }
        let status = response.status();
        let took = self.started.elapsed();
        // Probes are no traffic: they come when nobody is there, and their 503 refuses nobody.
        if !PROBES.contains(&route) {
            core.metrics.request(method, route, status.as_u16(), took);
        }
        tracing::debug!(
            method,
            route,
            status = status.as_u16(),
            took_ms = took.as_secs_f64() * 1_000.0,
            request_id = request_id.to_str().unwrap_or_default(),
            "answered"
        );
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            let request_id = request_id.to_str().unwrap_or_default();
            tracing::error!(method, route, request_id, "a request was answered with 500");
        }
        // A client with a connection to a process that is about to stop opens another one before it
        // does.
        if leaves_unread(status, self.body_bytes_max) || core.draining.is_cancelled() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response.headers_mut().insert(REQUEST_ID, request_id);
        guard(cors, self.origin.as_ref(), response.headers_mut());
        response
    }
}

/// What reads the errors of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Programs, which always get a problem: the API and the probes.
    Calls,
    /// People and their browsers: everything else.
    Pages,
}

impl Place {
    fn of(path: &str) -> Self {
        let is_call = path == "/api" || path.starts_with("/api/") || PROBES.contains(&path);
        if is_call { Self::Calls } else { Self::Pages }
    }

    /// The problem for a bare 400 or 404, which no handler has explained: the path is unknown, or a
    /// page has no such file. Among pages, one that brings its own HTML stays as it is.
    fn explains<C>(self, response: &Response<C>) -> Option<Problem> {
        let is_bare = matches!(response.status().as_u16(), 400 | 404);
        let content_type = response.headers().get(header::CONTENT_TYPE);
        let is_html = content_type.is_some_and(|it| it.as_bytes().starts_with(b"text/html"));
        let is_own_page = self == Self::Pages && is_html;
        (is_bare && !is_own_page).then(|| Problem::not_found("path"))
    }
}

/// Adds what every answer says to browsers and caches: its media type is the one it names, it is
/// not stored unless its handler says how, and pages of these origins may read it.
pub fn guard(cors: Option<&Cors>, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let cache = headers.entry(header::CACHE_CONTROL);
    cache.or_insert(HeaderValue::from_static("no-store"));
    if let Some(cors) = cors {
        cors.mark(origin, headers);
    }
}

/// Whether an answer came before its request was read to the end, so that the connection cannot go
/// on and its client must know.
fn leaves_unread(status: StatusCode, body_bytes_max: Option<u64>) -> bool {
    match status.as_u16() {
        408 | 413 => true,
        401 | 403 | 404 | 405 | 414 | 415 | 429 | 431 | 503 => {
            body_bytes_max.is_none_or(|bytes| bytes > SKIPPED_BYTES_MAX)
        }
        _ => false,
    }
}

fn panicked() -> Response {
    Problem::new(Code::Internal, "The server failed because of a bug; the failure was logged.")
        .into_response()
}

/// What is wrong with the head of a request.
fn unsound<B>(request: &Request<B>) -> Option<Problem> {
    let uri = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if uri > URI_BYTES_MAX {
        return Some(uri_too_long());
    }
    let size = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
    let headers: usize = request.headers().iter().map(size).sum();
    if headers > HEADER_BYTES_MAX {
        return Some(headers_too_large());
    }
    (!names_its_host(request.headers(), request.version())).then(|| {
        Problem::malformed_request("The request must have one Host header with a valid value.")
    })
}

/// Whether a request names its host as RFC 9112 (section 3.2) demands: once, and in HTTP/1.0 at
/// most once.
fn names_its_host(headers: &HeaderMap, version: Version) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let is_valid = |host: &HeaderValue| {
        if is_plain(host.as_bytes()) {
            return true;
        }
        let Ok(named) = Authority::try_from(host.as_bytes()) else { return host.is_empty() };
        let port = named.as_str().strip_prefix(named.host()).unwrap_or("@");
        port.is_empty()
            || port.strip_prefix(':').is_some_and(|port| port.bytes().all(|it| it.is_ascii_digit()))
    };
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => is_valid(host),
        (None, None) => version < Version::HTTP_11,
        _ => false,
    }
}

/// Whether a host is letters, digits, dots and hyphens, with or without a port: it is valid, and
/// nearly all are, so it need not be read as an authority.
fn is_plain(host: &[u8]) -> bool {
    let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || b".-".contains(byte);
    let name = host.iter().take_while(|byte| is_of_name(byte)).count();
    match (name, &host[name..]) {
        (0, _) => false,
        (_, []) => true,
        (_, [b':', port @ ..]) => !port.is_empty() && port.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// 414.
pub fn uri_too_long() -> Problem {
    Problem::new(
        Code::UriTooLong,
        format!("The request target can have at most {URI_BYTES_MAX} bytes."),
    )
}

/// 431.
pub fn headers_too_large() -> Problem {
    Problem::new(
        Code::HeadersTooLarge,
        format!(
            "A request can have at most {HEADERS_MAX} headers, of {HEADER_BYTES_MAX} bytes in \
             total."
        ),
    )
}

/// The client's id if it sent a sound one, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let sent = headers.get(REQUEST_ID).filter(|value| {
        (1..=REQUEST_ID_MAX).contains(&value.len())
            && value.as_bytes().iter().all(u8::is_ascii_graphic)
    });
    sent.cloned().unwrap_or_else(|| {
        let id = Bytes::from(new_id());
        HeaderValue::from_maybe_shared(id).expect("hexadecimal digits are valid in a header")
    })
}

/// An id for a request that brought none, unique in this process and hard to guess.
pub fn new_id() -> String {
    static SEED: LazyLock<u64> = LazyLock::new(|| u64::from_le_bytes(random()));
    static COUNT: AtomicU64 = AtomicU64::new(0);
    /// An odd factor walks through all 2^64 values before one repeats.
    const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let id = SEED.wrapping_add(count.wrapping_mul(STEP));
    let digit = |at: u32| char::from_digit(((id >> (60 - 4 * at)) & 15) as u32, 16);
    (0..16).map(|at| digit(at).expect("masked to 4 bits")).collect()
}

/// A method as a label: the known ones, so that a client cannot invent labels.
fn method_name(method: &str) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "POST", "PATCH", "HEAD", "OPTIONS", "PUT", "DELETE"];
    KNOWN.into_iter().find(|known| *known == method).unwrap_or("OTHER")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a request with this host is sound, by the long way and by the short one.
    fn is_valid(host: &str) -> (bool, bool) {
        let value = HeaderValue::from_str(host).expect("text");
        let headers = HeaderMap::from_iter([(header::HOST, value)]);
        (names_its_host(&headers, Version::HTTP_11), is_plain(host.as_bytes()))
    }

    #[test]
    fn a_plain_host_is_valid_and_every_other_one_is_read() {
        for host in ["a", "A.example-1", "127.0.0.1:8000", "-", ".", "x:0", "x:99999999"] {
            assert_eq!(is_valid(host), (true, true), "{host}");
            let authority = Authority::try_from(host).expect("an authority");
            assert!(host.starts_with(authority.host()), "{host}");
        }
        for (host, valid) in [
            ("[::1]:80", true),
            ("x_y", true),
            ("x:", true),
            ("", true),
            ("a@b", false),
            ("a b", false),
            ("a/b", false),
            ("a:b", false),
            ("a:1:2", false),
        ] {
            assert_eq!(is_valid(host), (valid, false), "{host}");
        }
    }

    #[test]
    fn bare_errors_are_problems_and_only_a_page_may_bring_its_own_html() {
        let answer = |status: u16, content_type: &'static str| {
            let mut response = StatusCode::from_u16(status).expect("a status").into_response();
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
            response
        };
        let html = "text/html; charset=utf-8";
        for (path, status, content_type, is_explained) in [
            ("/api/v1/nothing", 404, "text/plain", true),
            ("/api/v1/nothing", 404, html, true),
            ("/api", 404, html, true),
            ("/health/ready", 404, html, true),
            ("/metrics", 400, "text/plain", true),
            // Its own answer, which health checks read.
            ("/health", 503, "application/json", false),
            ("/docs/nothing", 404, "text/plain", true),
            ("/docs/nothing", 400, "text/plain", true),
            ("/somewhere", 404, html, false),
            ("/apical", 404, html, false),
            ("/", 200, html, false),
        ] {
            let explained = Place::of(path).explains(&answer(status, content_type));
            assert_eq!(explained.is_some(), is_explained, "{path} {status} {content_type}");
        }
    }
}
