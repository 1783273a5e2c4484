//! A small server of the tests' own, from which one protection can be taken away.
//!
//! A checker that never fails proves nothing. This server speaks the part of the API that the
//! checkers use, keeps everything in memory, and is correct: every checker must pass it. With a
//! [`Bug`] it lacks one protection that the real server has, and the checker must notice.
//!
//! Its commits take a while, as those of a disk do, and happen one after the other. So what
//! was decided before a commit and written after it has time to become wrong.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use engine::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use store::Clock;
use tokio::sync::Mutex as Lock;

/// How long the commit of a hold takes.
const HOLD_COMMIT: Duration = Duration::from_millis(1);
/// How long the commit of a confirm or a cancel takes.
const END_COMMIT: Duration = Duration::from_millis(20);
/// How often the worker of [`Bug::ExpiryByWorker`] looks.
const WORKER_INTERVAL: Duration = Duration::from_secs(5);

/// A protection that is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Nothing is locked: what was read before a commit is written after it.
    NoLock,
    /// Keys are not looked at.
    KeysIgnored,
    /// Keys are looked up before the lock is held, and not again under it.
    KeysReadTooEarly,
    /// The gate refuses before it asks whether the key is committed.
    GateBeforeKey,
    /// The clock is read before the wait for the lock.
    ClockBeforeTheWait,
    /// Confirm and cancel hold different locks.
    ConfirmAndCancelApart,
    /// Seats of an expired hold come back when a worker finds it, not when its time is over.
    ExpiryByWorker,
}

/// Starts the server on a free port, with holds that live for `ttl`. It ends with the runtime.
pub async fn start(bug: Option<Bug>, ttl: Duration) -> String {
    let ttl_ms = i64::try_from(ttl.as_millis()).expect("a short time");
    let box_office = Arc::new(BoxOffice {
        bug,
        ttl_ms,
        clock: store::clock::wall(),
        ids: AtomicU64::new(0),
        shows: Mutex::default(),
    });
    if bug == Some(Bug::ExpiryByWorker) {
        tokio::spawn(expire_now_and_then(box_office.clone()));
    }
    let api = Router::new()
        .route("/auth/register", post(register))
        .route("/auth/login", post(login))
        .route("/events", post(create_event))
        .route("/events/{event_id}/availability", get(availability))
        .route("/events/{event_id}/bookings", get(list))
        .route("/bookings/hold", post(hold))
        .route("/bookings/{booking_id}", get(read))
        .route("/bookings/{booking_id}/{step}", post(end))
        .with_state(box_office);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let serving = axum::serve(listener, Router::new().nest("/api/v1", api));
    tokio::spawn(serving.into_future());
    format!("http://{address}")
}

struct BoxOffice {
    bug: Option<Bug>,
    ttl_ms: i64,
    clock: Clock,
    ids: AtomicU64,
    shows: Mutex<HashMap<String, Arc<Show>>>,
}

/// An event with its one section.
struct Show {
    organizer: String,
    capacity: i64,
    lock: Lock<()>,
    /// Taken by confirms instead of `lock`, by [`Bug::ConfirmAndCancelApart`].
    confirm_lock: Lock<()>,
    rows: Mutex<Rows>,
}

#[derive(Default)]
struct Rows {
    bookings: BTreeMap<String, Row>,
    /// By user and key.
    keys: HashMap<(String, String), String>,
    /// Seats available when it was last settled, and until when that holds.
    gate: Option<(i64, Option<Timestamp>)>,
}

#[derive(Clone)]
struct Row {
    booking_id: String,
    user_id: String,
    event_id: String,
    seats: i64,
    status: &'static str,
    created_at: Timestamp,
    expires_at: Timestamp,
    confirmed_at: Option<Timestamp>,
}

/// A step that ends a hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Confirm,
    Cancel,
}

impl BoxOffice {
    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    fn now(&self) -> Timestamp {
        (self.clock)()
    }

    fn id(&self, kind: &str) -> String {
        format!("{kind}{}", self.ids.fetch_add(1, Ordering::Relaxed))
    }

    fn show(&self, event_id: &str) -> Option<Arc<Show>> {
        self.shows.lock().get(event_id).cloned()
    }

    /// The show whose id begins the booking's id.
    fn show_of(&self, booking_id: &str) -> Option<Arc<Show>> {
        self.show(booking_id.split('-').next()?)
    }

    /// The status as it reads at `now`: expiry is a fact of time.
    fn status(&self, row: &Row, now: Timestamp) -> &'static str {
        let due = row.status == "HOLD" && now >= row.expires_at;
        if due && !self.has(Bug::ExpiryByWorker) { "EXPIRED" } else { row.status }
    }

    /// The seats held and sold at `now`.
    fn taken(&self, rows: &Rows, now: Timestamp) -> (i64, i64) {
        let count = |status| {
            let of = rows.bookings.values().filter(|row| self.status(row, now) == status);
            of.map(|row| row.seats).sum()
        };
        (count("HOLD"), count("CONFIRMED"))
    }

    fn available(&self, show: &Show, now: Timestamp) -> i64 {
        let (held, sold) = self.taken(&show.rows.lock(), now);
        show.capacity - held - sold
    }

    /// Tells the gate what a section looks like now.
    fn settle(&self, show: &Show, now: Timestamp) {
        let available = self.available(show, now);
        let mut rows = show.rows.lock();
        let live = rows.bookings.values().filter(|row| self.status(row, now) == "HOLD");
        let next_expiry = live.map(|row| row.expires_at).min();
        rows.gate = Some((available, next_expiry));
    }

    /// What the gate refuses: the seats it believes to be available.
    fn gate_refuses(&self, show: &Show, seats: i64) -> Option<i64> {
        let (available, next_expiry) = show.rows.lock().gate?;
        let lapsed = next_expiry.is_some_and(|expiry| expiry <= self.now());
        (!lapsed && available < seats).then_some(available)
    }

    fn view(&self, row: &Row, now: Timestamp) -> Value {
        json!({
            "booking_id": row.booking_id, "user_id": row.user_id, "event_id": row.event_id,
            "seats_requested": row.seats, "status": self.status(row, now),
            "created_at": row.created_at.to_string(), "expires_at": row.expires_at.to_string(),
            "confirmed_at": row.confirmed_at.map(|at| at.to_string()),
            "server_time": now.to_string(),
        })
    }
}

async fn expire_now_and_then(office: Arc<BoxOffice>) {
    loop {
        tokio::time::sleep(WORKER_INTERVAL).await;
        let (now, shows) = (office.now(), office.shows.lock().clone());
        for show in shows.into_values() {
            let _locked = show.lock.lock().await;
            for row in show.rows.lock().bookings.values_mut() {
                if row.status == "HOLD" && now >= row.expires_at {
                    row.status = "EXPIRED";
                }
            }
            office.settle(&show, now);
        }
    }
}

fn refuse(status: StatusCode, code: &str) -> Response {
    (status, Json(json!({ "status": status.as_u16(), "code": code }))).into_response()
}

fn missing() -> Response {
    refuse(StatusCode::NOT_FOUND, "not_found")
}

fn made(booking: Value, replayed: bool) -> Response {
    let mut response = (StatusCode::CREATED, Json(booking)).into_response();
    if replayed {
        response.headers_mut().insert("idempotent-replayed", "true".parse().expect("ASCII"));
    }
    response
}

/// The access token is the user's id.
fn user(headers: &HeaderMap) -> String {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    given.unwrap_or_default().trim_start_matches("Bearer ").to_owned()
}

async fn register(Json(account): Json<Value>) -> Response {
    (StatusCode::CREATED, Json(json!({ "user_id": account["email"] }))).into_response()
}

async fn login(Json(account): Json<Value>) -> Response {
    Json(json!({ "access_token": account["email"] })).into_response()
}

async fn create_event(
    State(office): State<Arc<BoxOffice>>,
    headers: HeaderMap,
    Json(event): Json<Value>,
) -> Response {
    let event_id = office.id("event");
    let show = Show {
        organizer: user(&headers),
        capacity: event["sections"][0]["capacity"].as_i64().expect("a capacity"),
        lock: Lock::default(),
        confirm_lock: Lock::default(),
        rows: Mutex::default(),
    };
    office.shows.lock().insert(event_id.clone(), Arc::new(show));
    (StatusCode::CREATED, Json(json!({ "event_id": event_id }))).into_response()
}

async fn availability(
    State(office): State<Arc<BoxOffice>>,
    Path(event_id): Path<String>,
) -> Response {
    let Some(show) = office.show(&event_id) else { return missing() };
    let (held, sold) = office.taken(&show.rows.lock(), office.now());
    let section = json!({
        "name": "A", "capacity": show.capacity, "available_seats": show.capacity - held - sold,
        "held_seats": held, "sold_seats": sold,
    });
    Json(json!({ "event_id": event_id, "sections": [section] })).into_response()
}

async fn list(State(office): State<Arc<BoxOffice>>, Path(event_id): Path<String>) -> Response {
    let Some(show) = office.show(&event_id) else { return missing() };
    let now = office.now();
    let rows = show.rows.lock();
    let items: Vec<_> = rows.bookings.values().map(|row| office.view(row, now)).collect();
    Json(json!({ "items": items, "next": null })).into_response()
}

async fn hold(
    State(office): State<Arc<BoxOffice>>,
    headers: HeaderMap,
    Json(asked): Json<Value>,
) -> Response {
    let on_arrival = office.now();
    let event_id = asked["event_id"].as_str().unwrap_or_default().to_owned();
    let seats = asked["seats_requested"].as_i64().unwrap_or(1);
    let (user_id, key) = (user(&headers), headers.get("idempotency-key"));
    let key = key.and_then(|key| key.to_str().ok()).filter(|_| !office.has(Bug::KeysIgnored));
    let key = key.map(|key| (user_id.clone(), key.to_owned()));
    let Some(show) = office.show(&event_id) else { return missing() };
    let replay = || {
        let rows = show.rows.lock();
        let row = rows.keys.get(key.as_ref()?).map(|booking_id| &rows.bookings[booking_id])?;
        Some(made(office.view(row, office.now()), true))
    };

    if !office.has(Bug::GateBeforeKey)
        && let Some(replay) = replay()
    {
        return replay;
    }
    if office.gate_refuses(&show, seats).is_some() {
        return refuse(StatusCode::CONFLICT, "sold_out");
    }
    let _locked = if office.has(Bug::NoLock) { None } else { Some(show.lock.lock().await) };
    let now = if office.has(Bug::ClockBeforeTheWait) { on_arrival } else { office.now() };
    if !office.has(Bug::KeysReadTooEarly)
        && let Some(replay) = replay()
    {
        return replay;
    }
    if office.available(&show, now) < seats {
        office.settle(&show, now);
        return refuse(StatusCode::CONFLICT, "sold_out");
    }
    let row = Row {
        booking_id: format!("{event_id}-{}", office.id("booking")),
        user_id,
        event_id,
        seats,
        status: "HOLD",
        created_at: now,
        expires_at: now.plus_ms(office.ttl_ms),
        confirmed_at: None,
    };
    tokio::time::sleep(HOLD_COMMIT).await;
    {
        let mut rows = show.rows.lock();
        rows.keys.extend(key.map(|key| (key, row.booking_id.clone())));
        rows.bookings.insert(row.booking_id.clone(), row.clone());
    }
    office.settle(&show, now);
    made(office.view(&row, now), false)
}

async fn read(
    State(office): State<Arc<BoxOffice>>,
    Path(booking_id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let Some(show) = office.show_of(&booking_id) else { return missing() };
    let (reader, row) = (user(&headers), show.rows.lock().bookings.get(&booking_id).cloned());
    match row.filter(|row| row.user_id == reader || show.organizer == reader) {
        Some(row) => Json(office.view(&row, office.now())).into_response(),
        None => missing(),
    }
}

async fn end(
    State(office): State<Arc<BoxOffice>>,
    Path((booking_id, step)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let on_arrival = office.now();
    let step = if step == "confirm" { Step::Confirm } else { Step::Cancel };
    let Some(show) = office.show_of(&booking_id) else { return missing() };
    let apart = office.has(Bug::ConfirmAndCancelApart) && step == Step::Confirm;
    let lock = if apart { &show.confirm_lock } else { &show.lock };
    let _locked = if office.has(Bug::NoLock) { None } else { Some(lock.lock().await) };
    let now = if office.has(Bug::ClockBeforeTheWait) { on_arrival } else { office.now() };

    let row = show.rows.lock().bookings.get(&booking_id).cloned();
    let Some(mut row) = row.filter(|row| row.user_id == user(&headers)) else { return missing() };
    match (office.status(&row, now), step) {
        ("HOLD", Step::Confirm) => (row.status, row.confirmed_at) = ("CONFIRMED", Some(now)),
        ("HOLD", Step::Cancel) => row.status = "CANCELLED",
        ("CONFIRMED", Step::Confirm) | ("CANCELLED", Step::Cancel) => {
            return Json(office.view(&row, now)).into_response();
        }
        ("CANCELLED", Step::Confirm) => return refuse(StatusCode::CONFLICT, "booking_cancelled"),
        (_, Step::Confirm) => return refuse(StatusCode::GONE, "hold_expired"),
        (_, Step::Cancel) => return refuse(StatusCode::CONFLICT, "not_cancellable"),
    }
    tokio::time::sleep(END_COMMIT).await;
    show.rows.lock().bookings.insert(booking_id, row.clone());
    office.settle(&show, now);
    Json(office.view(&row, now)).into_response()
}
