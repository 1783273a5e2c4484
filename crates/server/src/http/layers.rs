//! Layers between the connection and the handlers, for requests and answers.
//!
//! ```text
//! Layers, of all calls:     observe ─▶ preflight ─▶ query ─▶ Group
//! Group, of some of them:   compression ─▶ detach ─▶ handler
//! ```
//! The router and the shortcut send every request through [`Layers::around`] and [`Group::around`],
//! and add nothing of their own: a layer is added here, once, and both have it.

use super::cors::Cors;
use super::observe::{RequestId, guard, observed};
use super::problem::Problem;
use super::query::KnownParameters;
use crate::core::Core;
use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{self, HeaderMap, HeaderValue, Method, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use engine::Fault;
use futures_util::FutureExt as _;
use futures_util::future::{Either, ready};
use std::convert::Infallible;
use std::sync::Arc;
use tower::{Layer, ServiceExt, service_fn};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{And, NotForContentType, Predicate};
use utoipa_axum::router::OpenApiRouter;

/// The layers of all calls of a process.
pub struct Layers {
    core: Arc<Core>,
    /// What browsers are allowed; `None`: nothing.
    cors: Option<Cors>,
    /// The query parameters of each call.
    known: KnownParameters,
}

impl Layers {
    /// The layers around calls that take these query parameters.
    pub fn new(core: Arc<Core>, known: KnownParameters) -> Arc<Self> {
        let cors = Cors::new(&core.config.allowed_origins);
        Arc::new(Self { core, cors, known })
    }

    /// Answers a call of this route through all layers, the outermost first.
    pub fn around<'a, B: HttpBody, C: From<Body>, A: Future<Output = Response<C>>>(
        &'a self,
        route: &'a str,
        request: http::Request<B>,
        answer: impl FnOnce(http::Request<B>) -> A,
    ) -> impl Future<Output = Response<C>> {
        let cors = self.cors.as_ref();
        let first = move |request: &http::Request<B>| {
            let preflight = cors.and_then(|cors| cors.preflight(request));
            preflight.or_else(|| Some(self.known.flaws(route, request)?.into_response()))
        };
        observed(&self.core, cors, route, request, first, answer)
    }

    /// The router, with these layers around all its calls.
    pub fn on<S: Clone + Send + Sync + 'static>(self: &Arc<Self>, router: Router<S>) -> Router<S> {
        router.layer(from_fn_with_state(self.clone(), layered))
    }

    /// Adds the headers of every answer to one that is written before there is a request.
    pub fn guard(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        guard(self.cors.as_ref(), origin, headers);
    }
}

async fn layered(State(layers): State<Arc<Layers>>, mut request: Request, next: Next) -> Response {
    let request_id = RequestId::of(request.headers());
    request.extensions_mut().insert(request_id);
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("unknown", MatchedPath::as_str);
    layers.around(route, request, |request| next.run(request)).await
}

/// The layers of a group of calls, within those of all.
#[derive(Clone, Copy)]
pub struct Group {
    /// Answers that are worth it are compressed if the client accepts gzip.
    compresses: bool,
    /// What writes runs in a task of its own: a client that hangs up cannot cut it in two.
    detaches: bool,
}

/// Single bookings. Their answers are small, and their commands run in lanes, which no client can
/// cancel.
pub const BOOKINGS: Group = Group { compresses: false, detaches: false };
/// Lists of bookings.
pub const LISTS: Group = Group { compresses: true, detaches: false };
/// Accounts and events.
pub const RECORDS: Group = Group { compresses: true, detaches: true };
/// Numbered seats, whose answers are compressed once for all who ask.
pub const SEATS: Group = Group { compresses: false, detaches: true };

impl Group {
    /// Whether the group has no layer at all, so that nothing has to go through them.
    pub const fn is_bare(self) -> bool {
        !self.compresses && !self.detaches
    }

    /// Answers a request through the layers of the group, the outermost first.
    pub async fn around<A>(self, request: Request, answer: impl FnOnce(Request) -> A) -> Response
    where
        A: Future<Output = Response> + Send + 'static,
    {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let detaches = self.detaches && !is_read;
        let answer = |request| {
            let answered = answer(request);
            async move { if detaches { detached(answered).await } else { answered.await } }
        };
        self.around_read(request, answer).await
    }

    /// [`Self::around`] for a request that only reads, which no group detaches.
    pub fn around_read<B, C, A>(
        self,
        request: http::Request<B>,
        answer: impl FnOnce(http::Request<B>) -> A,
    ) -> impl Future<Output = Response<C>>
    where
        C: HttpBody + From<Body> + Into<Body>,
        A: Future<Output = Response<C>>,
    {
        let accepted = self.compresses.then(|| accepted(request.headers()));
        answer(request).then(move |response| match accepted {
            // Most answers are small: they do not pay for the way through the layer.
            Some(accepted) if Worth.should_compress(&response) => {
                let compressed = compressed(accepted, response.map(C::into));
                Either::Right(Box::pin(compressed.map(|response| response.map(C::from))))
            }
            _ => Either::Left(ready(response)),
        })
    }

    /// The calls, with the layers of the group around each.
    pub fn on<S: Clone + Send + Sync + 'static>(self, calls: OpenApiRouter<S>) -> OpenApiRouter<S> {
        calls.layer(from_fn_with_state(self, grouped))
    }
}

async fn grouped(State(group): State<Group>, request: Request, next: Next) -> Response {
    group.around(request, |request| next.run(request)).await
}

/// Runs in a task of its own what a client must not be able to cancel.
async fn detached(answer: impl Future<Output = Response> + Send + 'static) -> Response {
    match tokio::spawn(answer).await {
        Ok(response) => response,
        Err(panic) => {
            let fault = Fault::Corrupt { what: format!("a handler panicked: {panic}") };
            Problem::from(fault).into_response()
        }
    }
}

/// Answers from this size on are compressed, in bytes.
const COMPRESSED_BYTES_MIN: u64 = 1_500;

/// Which answers are worth compressing: those of a known size of at least [`COMPRESSED_BYTES_MIN`].
///
/// A body whose size is unknown is a stream, such as one of events. Compression would hold back
/// what has been written until there is enough of it.
#[derive(Clone, Copy)]
pub struct Worth;

impl Predicate for Worth {
    fn should_compress<B: HttpBody>(&self, response: &Response<B>) -> bool {
        let bytes = response.body().size_hint().exact();
        bytes.is_some_and(|bytes| bytes >= COMPRESSED_BYTES_MIN)
    }
}

/// Compresses answers of at least 1,500 bytes if the client accepts gzip. Images are compressed
/// already.
pub fn compression() -> CompressionLayer<And<Worth, NotForContentType>> {
    CompressionLayer::new().compress_when(Worth.and(NotForContentType::IMAGES))
}

/// The encodings that a client accepts.
fn accepted(headers: &HeaderMap) -> Vec<HeaderValue> {
    headers.get_all(header::ACCEPT_ENCODING).iter().cloned().collect()
}

/// An answer, compressed if the client accepts gzip.
async fn compressed(accepted: Vec<HeaderValue>, response: Response) -> Response {
    let mut request = Request::new(Body::empty());
    for encodings in accepted {
        request.headers_mut().append(header::ACCEPT_ENCODING, encodings);
    }
    let status = response.status();
    let mut response = Some(response);
    let answer = service_fn(move |_: Request| {
        let response = response.take().expect("it is asked once");
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let Ok(response) = compression().layer(answer).oneshot(request).await;
    let mut response = response.map(Body::new);
    // For a client that accepts nothing the layer says 406, though the call is done by now.
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests;
