//! A server of the suite's own: events, holds and confirms in memory, honest or with a planted bug.
//!
//! It follows the contract as far as the tool uses it. Nothing is shared with Reservix.

mod hall;
mod world;

pub use world::Plant;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use uuid::Uuid;
use world::{Outcome, World};

type Shared = State<Arc<Mutex<World>>>;

/// Longer than any client of the tests waits, except the one that waits for a slow answer.
const LOST_AFTER: Duration = Duration::from_secs(3);
const SLOW_AFTER: Duration = Duration::from_millis(5_200);

/// A server on a port of its own, until this is dropped.
pub struct Fake {
    _runtime: Runtime,
    /// Its address.
    pub url: String,
}

impl Fake {
    /// Starts one.
    pub fn start(plant: Plant) -> Self {
        let runtime = Runtime::new().expect("a runtime starts");
        let world = Arc::new(Mutex::new(World::new(plant)));
        let router = Router::new()
            .route("/", get(async || Json(json!({ "app": "Fake", "version": "1" }))))
            .route("/health/live", get(async || Json(json!({ "status": "alive" }))))
            .route("/api/v1/auth/register", post(register))
            .route("/api/v1/auth/login", post(login))
            .route("/api/v1/events", post(create))
            .route("/api/v1/events/{id}", get(event).patch(async || StatusCode::OK))
            .route("/api/v1/events/{id}/availability", get(availability))
            .route("/api/v1/events/{id}/bookings", get(bookings))
            .route("/api/v1/events/{id}/sections/{section}/seats", get(drawing))
            .route("/api/v1/events/{id}/sections/{section}/seats/status", get(status))
            .route("/api/v1/bookings/hold", post(hold))
            .route("/api/v1/bookings/{id}", get(booking))
            .route("/api/v1/bookings/{id}/{verb}", post(act))
            .with_state(world);
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { _runtime: runtime, url }
    }
}

async fn register() -> StatusCode {
    StatusCode::CREATED
}

/// The token is the address.
async fn login(Json(account): Json<Value>) -> Json<Value> {
    Json(json!({ "access_token": account["email"] }))
}

async fn create(State(world): Shared, Json(event): Json<Value>) -> (StatusCode, Json<Value>) {
    (StatusCode::CREATED, Json(world.lock().create(&event)))
}

async fn event(State(world): Shared, Path(id): Path<Uuid>) -> Json<Value> {
    Json(world.lock().event(id))
}

async fn availability(State(world): Shared, Path(id): Path<Uuid>) -> Json<Value> {
    Json(world.lock().availability(id))
}

async fn drawing(
    State(world): Shared,
    Path((id, section)): Path<(Uuid, String)>,
) -> Result<Json<Value>, StatusCode> {
    world.lock().drawing(id, &section).map(Json).ok_or(StatusCode::NOT_FOUND)
}

async fn status(
    State(world): Shared,
    headers: HeaderMap,
    Path((id, section)): Path<(Uuid, String)>,
) -> Result<Json<Value>, StatusCode> {
    world.lock().status(&user(&headers), id, &section).map(Json).ok_or(StatusCode::NOT_FOUND)
}

async fn bookings(
    State(world): Shared,
    Path(id): Path<Uuid>,
    Query(page): Query<HashMap<String, String>>,
) -> Json<Value> {
    let limit = page.get("limit").and_then(|it| it.parse().ok()).unwrap_or(20);
    let after = page.get("after").and_then(|it| it.parse().ok());
    Json(world.lock().list(id, limit, after))
}

async fn hold(State(world): Shared, headers: HeaderMap, Json(wish): Json<Value>) -> Response {
    if world.lock().has_closed() {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let outcome = world.lock().hold(&user(&headers), key(&headers), &wish);
    answer(outcome).await
}

async fn booking(State(world): Shared, headers: HeaderMap, Path(id): Path<Uuid>) -> Response {
    if world.lock().has_closed() {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let outcome = world.lock().read(&user(&headers), id);
    answer(outcome).await
}

async fn act(
    State(world): Shared,
    headers: HeaderMap,
    Path((id, verb)): Path<(Uuid, String)>,
) -> Response {
    if world.lock().has_closed() {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if world.lock().acts_late(id, &verb) {
        return answer(Outcome::Lost).await;
    }
    let outcome = world.lock().act(&user(&headers), id, &verb);
    answer(outcome).await
}

fn user(headers: &HeaderMap) -> String {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|it| it.to_str().ok());
    bearer.unwrap_or_default().to_owned()
}

fn key(headers: &HeaderMap) -> Option<String> {
    headers.get("idempotency-key")?.to_str().ok().map(str::to_owned)
}

async fn answer(outcome: Outcome) -> Response {
    match outcome {
        Outcome::Done { status, body, replayed } => {
            let status = StatusCode::from_u16(status).expect("a status");
            if replayed {
                return (status, [("idempotent-replayed", "true")], Json(body)).into_response();
            }
            (status, Json(body)).into_response()
        }
        Outcome::Refused { status, code, retry_after } => {
            let status = StatusCode::from_u16(status).expect("a status");
            let body = Json(json!({ "code": code, "status": status.as_u16() }));
            if retry_after {
                return (status, [(header::RETRY_AFTER, "1")], body).into_response();
            }
            (status, body).into_response()
        }
        Outcome::Later => {
            // A second after the date of the answer.
            let dates = [("date", "Wed, 21 Oct 2026 07:28:00 GMT")];
            let later = [(header::RETRY_AFTER, "Wed, 21 Oct 2026 07:28:01 GMT")];
            let body = Json(json!({ "code": "overloaded", "status": 503 }));
            (StatusCode::SERVICE_UNAVAILABLE, dates, later, body).into_response()
        }
        Outcome::Lost => {
            tokio::time::sleep(LOST_AFTER).await;
            StatusCode::OK.into_response()
        }
        Outcome::Slow(body) => {
            tokio::time::sleep(SLOW_AFTER).await;
            (StatusCode::CREATED, Json(body)).into_response()
        }
    }
}
