//! Health, readiness and metrics: served by every process, also by one without the API.

use super::connection::Peer;
use super::extract::bearer;
use super::problem::Problem;
use crate::core::Core;
use crate::vitals::Kind;
use axum::extract::{FromRef, FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use secrecy::ExposeSecret;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

const TAG: &str = "Operations";

/// The core, as what a router keeps for these calls. A router that keeps more has the core within
/// it.
#[derive(Clone)]
pub(super) struct Probed(pub Arc<Core>);

/// The probes, in a router that keeps the core or more.
pub(super) fn probes<S>() -> OpenApiRouter<S>
where
    Probed: FromRef<S>,
    S: Clone + Send + Sync + 'static,
{
    OpenApiRouter::new()
        .routes(routes!(live))
        .routes(routes!(ready))
        .routes(routes!(health))
        .routes(routes!(metrics))
}

/// The process is alive.
#[derive(Serialize, ToSchema)]
#[schema(as = Alive)]
struct AliveView {
    status: &'static str,
}

/// The state of the parts of this instance.
#[derive(Serialize, ToSchema)]
#[schema(as = Health)]
struct HealthView {
    /// `degraded`: the gate is unavailable, or a worker is stuck; slower, never wrong.
    #[schema(pattern = "^(healthy|degraded|unhealthy)$")]
    status: &'static str,
    #[schema(pattern = "^(up|down)$")]
    database: &'static str,
    #[schema(pattern = "^(up|down)$")]
    gate: &'static str,
    /// The lanes commit holds and confirmations. `down`: a batch has taken longer than ten seconds.
    #[schema(pattern = "^(up|down)$")]
    lanes: &'static str,
    /// Sweep, reconcile and purge. `down`: slower, never wrong. `off`: other processes run them.
    #[schema(pattern = "^(up|down|off)$")]
    workers: &'static str,
    environment: &'static str,
    version: String,
}

/// Returns 200 while the process is serving.
#[utoipa::path(
    get, path = "/health/live", tag = TAG, operation_id = "get_liveness",
    responses((status = 200, description = "The process is serving", body = AliveView)),
)]
async fn live() -> axum::Json<AliveView> {
    axum::Json(AliveView { status: "alive" })
}

/// Returns 200 if this instance can serve requests, and 503 while the store is unavailable, a lane
/// is stuck, or the process is stopping.
#[utoipa::path(
    get, path = "/health/ready", tag = TAG, operation_id = "get_readiness",
    responses((status = 200, description = "Ready", body = AliveView)),
)]
async fn ready(State(Probed(core)): State<Probed>) -> Result<axum::Json<AliveView>, Problem> {
    if core.draining.is_cancelled() {
        return Err(Problem::overloaded("This instance is stopping."));
    }
    if !core.pulse.store_is_up().await {
        return Err(Problem::overloaded("The store does not answer."));
    }
    if let Some(trouble) = core.vitals.trouble() {
        return Err(Problem::overloaded(trouble));
    }
    Ok(axum::Json(AliveView { status: "ready" }))
}

/// Returns the state of the store, the gate, the lanes and the workers.
#[utoipa::path(
    get, path = "/health", tag = TAG, operation_id = "get_health",
    responses(
        (status = 200, description = "Healthy, or degraded", body = HealthView),
        (status = 503, description = "Unhealthy", body = HealthView),
    ),
)]
async fn health(State(Probed(core)): State<Probed>) -> Response {
    let (database, gate) = tokio::join!(core.pulse.store_is_up(), core.pulse.gate_is_up());
    let (lanes, workers) = (core.vitals.of(Kind::Lane), core.vitals.of(Kind::Worker));
    let serves = database && core.vitals.trouble().is_none();
    let (code, status) = match (serves, gate && workers != Some(false)) {
        (true, true) => (StatusCode::OK, "healthy"),
        (true, false) => (StatusCode::OK, "degraded"),
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, "unhealthy"),
    };
    let word = |up| if up { "up" } else { "down" };
    let view = HealthView {
        status,
        database: word(database),
        gate: word(gate),
        lanes: word(lanes != Some(false)),
        workers: workers.map_or("off", word),
        environment: core.config.environment.as_str(),
        version: core.config.app_version.clone(),
    };
    let mut response = (code, axum::Json(view)).into_response();
    if !serves {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// Returns the metrics in Prometheus text format: to loopback, or with `METRICS_TOKEN` as the
/// Bearer token.
#[utoipa::path(
    get, path = "/metrics", tag = TAG, operation_id = "get_metrics",
    responses(
        (status = 200, description = "The metrics", body = String, content_type = "text/plain"),
    ),
)]
async fn metrics(
    State(Probed(core)): State<Probed>,
    caller: MetricsCaller,
) -> Result<Response, Problem> {
    if !caller.local && !caller.token_given(&core) {
        return Err(Problem::not_found("path"));
    }
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, content_type)], core.metrics.render()).into_response())
}

/// Who asks for the metrics.
struct MetricsCaller {
    /// From this machine, and not through a proxy on it.
    local: bool,
    token: Option<String>,
}

impl MetricsCaller {
    fn token_given(&self, core: &Core) -> bool {
        // Compared as digests, so that the duration reveals nothing about the token.
        let digest = |token: &str| Sha256::digest(token.as_bytes());
        match (&core.config.metrics_token, &self.token) {
            (Some(expected), Some(given)) => digest(expected.expose_secret()) == digest(given),
            _ => false,
        }
    }
}

impl<S: Sync> FromRequestParts<S> for MetricsCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let loopback =
            parts.extensions.get::<Peer>().is_some_and(|peer| peer.address().is_loopback());
        let proxied = parts.headers.contains_key("x-forwarded-for")
            || parts.headers.contains_key("forwarded");
        let value = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = value.and_then(bearer).map(str::to_owned);
        Ok(Self { local: loopback && !proxied, token })
    }
}
