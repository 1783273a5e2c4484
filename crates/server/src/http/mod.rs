//! HTTP: what a request goes through, and what it may reach.
//!
//! ```text
//! connection ─▶ observe ─▶ CORS ─▶ compression (reads) ─▶ handler ─▶ lanes, catalog, store
//!       └─ shortcut (hold, confirm, event) ─▶ observe ──────┘
//! ```
//! Handlers extract, translate and answer; they hold no rule and see no SQL.

mod auth;
mod body;
mod bookings;
pub mod connection;
mod docs;
mod events;
mod extract;
mod health;
mod in_flight;
pub mod limits;
mod lists;
mod observe;
pub mod problem;
mod seats;
mod shortcut;
mod threads;
pub mod token;
mod users;
mod wire;

use crate::catalog::Catalog;
use crate::config::{Config, Origins};
use crate::lane::Lanes;
use crate::metrics::Metrics;
use crate::pulse::Pulse;
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, Method, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use connection::Peer;
use engine::{Inventory, Timestamp};
use futures_util::FutureExt as _;
use hyper::body::Incoming;
use in_flight::InFlight;
use limits::Limits;
use problem::Problem;
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
use tower_http::cors::{AllowOrigin, Any, CorsLayer, ExposeHeaders};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
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
    /// Keys of requests under way.
    in_flight: InFlight,
    /// Imports of layouts, and what watchers of numbered seats are shown.
    seats: Seats,
    /// Whether the store and the gate answer.
    pub pulse: Pulse,
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
        let lanes = Lanes::start(store.lanes(config.lanes), &store, &gate, &metrics);
        Self {
            catalog: Catalog::new(store.clone(), gate.clone()),
            limits: Limits::new(&config, secret, gate.clone()),
            tokens: Tokens::new(secret, config.access_token_ttl),
            pulse: Pulse::new(store.clone(), gate.clone()),
            in_flight: InFlight::default(),
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
        .merge(health::routes())
        .merge(compressed)
        // Compressed once for all who ask.
        .merge(seats::routes().layer(from_fn(detach)))
        .merge(bookings::routes());
    let (router, document) = all.split_for_parts();
    (router, docs::with_common_refusals(document))
}

/// Compresses answers that are worth it, for who accepts that.
fn compression() -> CompressionLayer<SizeAbove> {
    CompressionLayer::new().compress_when(SizeAbove::new(COMPRESSED_BYTES_MIN))
}

/// The OpenAPI document, as it is served.
pub fn openapi(version: &str) -> OpenApi {
    paths(version).1
}

/// What answers requests.
#[derive(Clone)]
pub struct Service {
    router: Router,
    /// Whose calls may take the shortcut.
    app: Option<Arc<App>>,
}

impl Service {
    /// The whole API, with its pages.
    pub fn api(app: Arc<App>) -> Self {
        let (router, document) = paths(&app.config.app_version);
        let pages: Router<Arc<App>> = SwaggerUi::new("/docs").url("/openapi.json", document).into();
        let pages = pages.layer(CompressionLayer::new());
        Self { router: finished(router.merge(pages), app.clone()), app: Some(app) }
    }

    /// The probes and meters alone: what a process that serves no API tells.
    pub fn probes(app: Arc<App>) -> Self {
        Self { router: finished(health::probes().split_for_parts().0, app), app: None }
    }

    /// Answers a request.
    fn answer(&self, mut request: hyper::Request<Incoming>, peer: Peer) -> Answering {
        if let Some(app) = &self.app
            && let Some(call) = Call::of(&request)
        {
            return Box::pin(call.answer(app.clone(), request, peer).map(Ok));
        }
        request.extensions_mut().insert(peer);
        Box::pin(self.router.clone().oneshot(request))
    }
}

/// An answer that is under way.
type Answering = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

/// Adds what all paths have in common.
fn finished(router: Router<Arc<App>>, app: Arc<App>) -> Router {
    let mut router = router
        .fallback(|| async { Problem::not_found("path") })
        .method_not_allowed_fallback(|| async {
            let title = "The path does not know this method";
            Problem::new(
                axum::http::StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                title,
                "The Allow header lists the methods it knows.",
            )
        });
    if let Some(cors) = cors(&app.config.allowed_origins) {
        router = router.layer(cors);
    }
    router.layer(from_fn_with_state(app.clone(), observe::observe)).with_state(app)
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

fn cors(origins: &Origins) -> Option<CorsLayer> {
    let allowed = match origins {
        Origins::Only(list) if list.is_empty() => return None,
        Origins::Only(list) => AllowOrigin::list(list.iter().cloned()),
        Origins::Any => AllowOrigin::from(Any),
    };
    let key = HeaderName::from_static("idempotency-key");
    let request_id = HeaderName::from_static("x-request-id");
    Some(
        CorsLayer::new()
            .allow_origin(allowed)
            .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::PUT])
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
            ])),
    )
}

#[cfg(test)]
mod tests;
