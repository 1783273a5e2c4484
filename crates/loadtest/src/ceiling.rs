//! The ceiling: what HTTP, a token check and JSON cost when there is nothing behind them.
//!
//! A bare axum endpoint in a process of its own: `POST /api/v1/bookings/hold` checks an HS256 token,
//! reads the body, and answers like a booking; `GET /plain` answers like an event. Nothing is kept.

use crate::stage::{Buyer, Cast, Section, Stage};
use crate::target::Target;
use crate::trouble::Trouble;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use hyper::header::HeaderValue;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use uuid::Uuid;

/// Far enough away: 2100-01-01.
const TOKENS_END_AT: u64 = 4_102_444_800;

/// The value in place of an instant: the ceiling has no clock.
const INSTANT: &str = "2026-11-22T13:57:01.943Z";

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    iat: u64,
    exp: u64,
    jti: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    event_id: Uuid,
    section_id: String,
    seats_requested: u32,
}

#[derive(Serialize)]
struct Item {
    section_id: String,
    section_name: &'static str,
    seats_requested: u32,
    unit_price: u64,
    currency: &'static str,
}

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "as the API names them")]
struct Booking {
    booking_id: Uuid,
    reference: &'static str,
    user_id: String,
    event_id: Uuid,
    section_id: String,
    seats_requested: u32,
    items: [Item; 1],
    total_price: u64,
    currency: &'static str,
    status: &'static str,
    expires_at: &'static str,
    expires_in: u32,
    max_expires_at: &'static str,
    created_at: &'static str,
    updated_at: &'static str,
    server_time: &'static str,
    version: u32,
}

#[derive(Serialize)]
struct PlainSection {
    section_id: Uuid,
    name: &'static str,
    capacity: u64,
    available_seats: u64,
    price: u64,
    currency: &'static str,
}

#[derive(Serialize)]
struct Plain {
    event_id: Uuid,
    organizer_id: Uuid,
    title: &'static str,
    description: &'static str,
    event_date: &'static str,
    timezone: &'static str,
    status: &'static str,
    max_seats_per_booking: u32,
    hold_ttl_seconds: u32,
    sections: [PlainSection; 1],
    version: u32,
    created_at: &'static str,
    updated_at: &'static str,
}

struct Bare {
    key: DecodingKey,
    validation: Validation,
    bookings: AtomicU64,
}

/// Serves on a free port of this machine until it is killed; prints its address on standard output.
pub async fn serve(secret: &str) -> Result<(), Trouble> {
    let bare = Arc::new(Bare {
        key: DecodingKey::from_secret(secret.as_bytes()),
        validation: Validation::new(Algorithm::HS256),
        bookings: AtomicU64::new(0),
    });
    let router = Router::new()
        .route("/", get(async || Json(serde_json::json!({ "app": "ceiling", "version": "1" }))))
        .route("/plain", get(async || Json(plain())))
        .route("/api/v1/bookings/hold", post(hold))
        .with_state(bare);
    let trouble = |error| Trouble::because("serving the ceiling", error);
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(trouble)?;
    println!("http://{}", listener.local_addr().map_err(trouble)?);
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, router).await.map_err(trouble)
}

async fn hold(
    State(bare): State<Arc<Bare>>,
    headers: HeaderMap,
    Json(wish): Json<Wish>,
) -> Response {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = bearer.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    let checked = jsonwebtoken::decode::<Claims>(token, &bare.key, &bare.validation);
    let Ok(checked) = checked else { return StatusCode::UNAUTHORIZED.into_response() };
    let number = bare.bookings.fetch_add(1, Ordering::Relaxed) + 1;
    let booking = Booking {
        booking_id: Uuid::from_u128(number.into()),
        reference: "2QVV8SSM",
        user_id: checked.claims.sub,
        event_id: wish.event_id,
        items: [Item {
            section_id: wish.section_id.clone(),
            section_name: "Section 1",
            seats_requested: wish.seats_requested,
            unit_price: 0,
            currency: "USD",
        }],
        section_id: wish.section_id,
        seats_requested: wish.seats_requested,
        total_price: 0,
        currency: "USD",
        status: "HOLD",
        expires_at: INSTANT,
        expires_in: 599,
        max_expires_at: INSTANT,
        created_at: INSTANT,
        updated_at: INSTANT,
        server_time: INSTANT,
        version: 1,
    };
    (StatusCode::CREATED, Json(booking)).into_response()
}

fn plain() -> Plain {
    Plain {
        event_id: Uuid::from_u128(1),
        organizer_id: Uuid::from_u128(2),
        title: "Load get 0123456789abcdef run 1",
        description: "Created by reservix-load.",
        event_date: "2099-12-31",
        timezone: "UTC",
        status: "on_sale",
        max_seats_per_booking: 50,
        hold_ttl_seconds: 86_400,
        sections: [PlainSection {
            section_id: Uuid::from_u128(3),
            name: "Section 1",
            capacity: 1_000_000_000,
            available_seats: 1_000_000_000,
            price: 0,
            currency: "USD",
        }],
        version: 1,
        created_at: INSTANT,
        updated_at: INSTANT,
    }
}

/// A ceiling in a process of its own, which ends with this value.
pub struct Ceiling {
    _process: Child,
    /// Its address.
    pub base: String,
    secret: String,
}

impl Ceiling {
    /// Starts this very program once more.
    pub async fn start() -> Result<Self, Trouble> {
        let trouble = |error| Trouble::because("starting the ceiling", error);
        let secret = format!("{:032x}", crate::random::random::<u128>());
        let program = std::env::current_exe().map_err(trouble)?;
        let mut process = Command::new(program)
            .args(["serve-ceiling", "--secret", &secret])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(trouble)?;
        let out = process.stdout.take().ok_or_else(|| Trouble::new("the ceiling has no output"))?;
        let told = BufReader::new(out).lines().next_line().await.map_err(trouble)?;
        let base = told.ok_or_else(|| Trouble::new("the ceiling did not start"))?;
        Ok(Self { _process: process, base, secret })
    }

    /// Its buyers, with tokens that it accepts.
    pub fn cast(&self, target: &Arc<Target>, buyers: usize) -> Result<Cast, Trouble> {
        let signing = EncodingKey::from_secret(self.secret.as_bytes());
        let buyer = |number: usize| {
            let sub = Uuid::from_u128(number as u128).to_string();
            let jti = "NTWzL0i5mhVo8mqi".to_owned();
            let claims = Claims { sub, iat: 1_795_355_821, exp: TOKENS_END_AT, jti };
            let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &signing);
            let token = token.map_err(|error| Trouble::because("signing a token", error))?;
            let bearer = HeaderValue::from_str(&format!("Bearer {token}"));
            let bearer = bearer.map_err(|error| Trouble::because("signing a token", error))?;
            Ok(Buyer::new(target, &bearer))
        };
        let buyers = (0..buyers).map(buyer).collect::<Result<_, Trouble>>()?;
        Ok(Cast {
            target: Arc::clone(target),
            buyers,
            organizer: None,
            session: crate::random::random(),
        })
    }

    /// Its event, which exists in requests only.
    pub fn stage(cast: &Arc<Cast>, run: u64) -> Stage {
        let section = Section {
            event: 0,
            id: Uuid::from_u128(3).to_string(),
            capacity: crate::plan::SEATS_ENDLESS,
            sold_before: None,
            held_before: None,
            hall: None,
        };
        Stage::new(cast, run, vec![Uuid::from_u128(1)], vec![section])
    }
}
