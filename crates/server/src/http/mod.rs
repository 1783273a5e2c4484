//! HTTP: what a request goes through, and what it may reach.
//!
//! ```text
//! connection ─▶ observe ─▶ preflight ─▶ compression (reads) ─▶ handler ─▶ lanes, catalog, store
//!       └─ shortcut (hold, confirm, event) ─▶ observe ──────┘
//! ```
//! Handlers extract, translate and answer; they hold no rule and see no SQL.

mod answers;
mod auth;
mod body;
mod bookings;
pub mod connection;
mod cors;
mod docs;
mod events;
mod extract;
mod health;
mod in_flight;
pub mod limits;
mod lists;
mod observe;
mod pages;
pub mod problem;
mod query;
mod seats;
mod shortcut;
mod target;
mod threads;
pub mod token;
mod users;
mod wire;

use crate::catalog::Catalog;
use crate::config::Config;
use crate::lane::Lanes;
use crate::metrics::Metrics;
use crate::pulse::Pulse;
use crate::vitals::Vitals;
use answers::Answers;
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, header};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use connection::Peer;
use cors::Cors;
use engine::{Inventory, Timestamp};
use futures_util::FutureExt as _;
use hyper::body::Incoming;
use in_flight::InFlight;
use limits::Limits;
use problem::{Code, Problem};
use query::Known;
use seats::Seats;
use secrecy::SecretString;
use shortcut::Call;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use store::gate::Settlement;
use store::{Gate, Store};
use token::{Passwords, Tokens};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

/// The media type of problems.
const PROBLEM: &str = "application/problem+json";

/// Answers from this size on are compressed, in bytes.
const COMPRESSED_BYTES_MIN: u64 = 1_500;

/// What every handler may use.
pub struct App {
    /// The settings.
    pub config: Config,
    /// The truth.
    pub store: Arc<dyn Store>,
    /// What may say no.
    pub gate: Arc<dyn Gate>,
    /// The way to the store for all that changes inventory.
    pub lanes: Lanes,
    /// Event facts and availability.
    pub catalog: Catalog,
    /// Access tokens.
    pub tokens: Tokens,
    /// Passwords.
    pub passwords: Passwords,
    /// Rate limits.
    pub limits: Limits,
    /// What browsers are allowed; `None`: nothing.
    cors: Option<Cors>,
    /// Keys of requests under way.
    in_flight: InFlight,
    /// Room for large answers.
    answers: Answers,
    /// Imports of layouts, and what watchers of numbered seats are shown.
    seats: Seats,
    /// Whether the store and the gate answer.
    pub pulse: Pulse,
    /// Whether the lanes and the workers live.
    pub vitals: Vitals,
    /// Meters.
    pub metrics: Arc<Metrics>,
    /// Cancelled once the process has been told to stop.
    pub draining: CancellationToken,
}

impl App {
    /// Puts the parts together; `secret` signs the access tokens.
    pub fn new(
        config: Config,
        store: Arc<dyn Store>,
        gate: Arc<dyn Gate>,
        secret: &SecretString,
        metrics: Arc<Metrics>,
    ) -> Self {
        let vitals = Vitals::default();
        let lanes = Lanes::start(store.lanes(config.lanes), &store, &gate, &metrics, &vitals);
        Self {
            catalog: Catalog::new(store.clone(), gate.clone()),
            limits: Limits::new(&config, secret, gate.clone()),
            cors: Cors::new(&config.allowed_origins),
            tokens: Tokens::new(secret, config.access_token_ttl),
            pulse: Pulse::new(store.clone(), gate.clone()),
            vitals,
            in_flight: InFlight::default(),
            answers: Answers::default(),
            seats: Seats::default(),
            passwords: Passwords::new(),
            draining: CancellationToken::new(),
            config,
            store,
            gate,
            lanes,
            metrics,
        }
    }

    /// Tells the gate of a change that came by another way than a lane.
    fn settle(&self, inventory: &Inventory) {
        let now: Timestamp = self.store.now();
        self.gate.settle(Settlement::of(std::slice::from_ref(inventory), Vec::new(), now));
    }
}

/// All paths, with their description.
fn paths(version: &str) -> (Router<Arc<App>>, OpenApi) {
    // Small answers to single bookings are left as they are: compressing them costs more than it saves.
    let compressed = OpenApiRouter::new()
        .merge(auth::routes())
        .merge(users::routes())
        .merge(events::routes())
        .layer(from_fn(detach))
        .merge(bookings::lists())
        .layer(compression());
    let all = OpenApiRouter::with_openapi(docs::base(version))
        .routes(routes!(pages::root))
        .merge(health::probes())
        .merge(compressed)
        // Compressed once for all who ask.
        .merge(seats::routes().layer(from_fn(detach)))
        .merge(bookings::routes());
    let (router, document) = all.split_for_parts();
    let router = router.route(pages::PROBLEM_PATH, get(pages::problem));
    let known = Known::of(&document).with_page(pages::PROBLEM_PATH);
    let router = router.route_layer(from_fn_with_state(Arc::new(known), query::check));
    (router, docs::finished(document))
}

/// Compresses answers that are worth it, for who accepts that.
fn compression() -> CompressionLayer<SizeAbove> {
    CompressionLayer::new().compress_when(SizeAbove::new(COMPRESSED_BYTES_MIN))
}

/// The OpenAPI document, as it is served.
pub fn openapi(version: &str) -> OpenApi {
    paths(version).1
}

/// Every method and path of the API that is counted, as the meters call them.
pub fn routes(document: &OpenApi) -> Vec<(&'static str, &str)> {
    let mut routes = vec![("GET", "unknown"), ("POST", "unknown")];
    for (path, item) in &document.paths.paths {
        let methods = [
            ("GET", item.get.is_some()),
            ("POST", item.post.is_some()),
            ("PATCH", item.patch.is_some()),
            ("PUT", item.put.is_some()),
            ("DELETE", item.delete.is_some()),
        ];
        let known = methods.into_iter().filter(|(_, there)| *there);
        routes.extend(known.map(|(method, _)| (method, path.as_str())));
    }
    routes.retain(|(_, path)| !observe::PROBES.contains(path));
    routes
}

/// What answers requests.
#[derive(Clone)]
pub struct Service {
    router: Router,
    app: Arc<App>,
    /// Whether calls may take the shortcut.
    has_shortcut: bool,
}

impl Service {
    /// The whole API, with its pages.
    pub fn api(app: Arc<App>) -> Self {
        let (router, document) = paths(&app.config.app_version);
        app.metrics.expect_faults(routes(&document));
        let pages: Router<Arc<App>> = SwaggerUi::new("/docs").url("/openapi.json", document).into();
        let pages = pages.route("/docs/swagger-initializer.js", get(docs::page));
        let pages = pages.layer(CompressionLayer::new()).layer(map_response(revalidated));
        let router = finished(router.merge(pages), app.clone());
        Self { router, app, has_shortcut: true }
    }

    /// The probes and meters alone: what a process that serves no API tells.
    pub fn probes(app: Arc<App>) -> Self {
        let (router, document) = health::probes().split_for_parts();
        let known = Arc::new(Known::of(&document));
        let router = router.route_layer(from_fn_with_state(known, query::check));
        let router = finished(router, app.clone());
        Self { router, app, has_shortcut: false }
    }

    /// Answers a request.
    fn answer(&self, mut request: hyper::Request<Incoming>, peer: Peer) -> Answering {
        target::normalize(request.uri_mut());
        if self.has_shortcut
            && let Some(call) = Call::of(&request)
        {
            return Box::pin(call.answer(self.app.clone(), request, peer).map(Ok));
        }
        request.extensions_mut().insert(peer);
        Box::pin(self.router.clone().oneshot(request))
    }
}

/// An answer that is under way.
type Answering = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

/// Adds what all paths have in common.
fn finished(router: Router<Arc<App>>, app: Arc<App>) -> Router {
    let router = router
        .fallback(|| async { Problem::not_found("path") })
        .method_not_allowed_fallback(|| async {
            Problem::new(Code::MethodNotAllowed, "The Allow header lists the methods it knows.")
        });
    router
        .layer(from_fn_with_state(app.clone(), cors::preflight))
        .layer(from_fn_with_state(app.clone(), observe::observe))
        .with_state(app)
}

/// The pages of the documentation may be kept, and are asked for again before they are shown.
async fn revalidated(mut page: Response) -> Response {
    page.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    page
}

/// Runs what writes in a task of its own: a client that hangs up cannot cut it in two.
async fn detach(request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    match tokio::spawn(next.run(request)).await {
        Ok(response) => response,
        Err(panic) => {
            let fault = engine::Fault::Corrupt { what: format!("a handler panicked: {panic}") };
            Problem::from(fault).into_response()
        }
    }
}

#[cfg(test)]
mod tests;
