//! Visitors: buyers without an account. A visitor is an id in a signed token; nothing is stored.

use super::App;
use super::body::Optional;
use super::booking_token::TOKEN_BYTES_MAX;
use super::extract::Origin;
use super::problem::Problem;
use super::wire::{given, shown, uuid};
use crate::random::random;
use axum::extract::State;
use axum::http::StatusCode;
use engine::{BookingId, Shard, Timestamp, UserId};
use garde::Validate;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

const TAG: &str = "Visitors";

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(create))
}

/// A booking whose buyer the visitor is to be: both fields, or none for a new visitor.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewVisitor)]
struct NewVisitor {
    /// The booking.
    #[serde(default, deserialize_with = "given")]
    #[garde(inner(custom(uuid)))]
    #[schema(value_type = String, required = false, format = "uuid")]
    booking_id: Option<String>,
    /// Its `booking_token`.
    #[serde(default, deserialize_with = "given")]
    #[garde(inner(length(bytes, max = TOKEN_BYTES_MAX)))]
    #[schema(value_type = String, required = false, max_length = 200)]
    booking_token: Option<String>,
}

/// A visitor with an access token.
#[derive(Serialize, ToSchema)]
#[schema(as = Visitor)]
struct VisitorView {
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    visitor_id: UserId,
    access_token: String,
    #[schema(pattern = "^Bearer$")]
    token_type: &'static str,
    /// Seconds.
    expires_in: u64,
}

/// A booking, with what proves whose it is.
struct Proof {
    booking_id: BookingId,
    token: String,
}

impl NewVisitor {
    fn proof(self) -> Result<Option<Proof>, Problem> {
        let missing = |field| {
            Problem::invalid_field(field, "booking_id and booking_token are required together")
        };
        match (self.booking_id, self.booking_token) {
            (None, None) => Ok(None),
            (Some(id), Some(token)) => {
                let booking_id = id.parse().expect("it was validated");
                Ok(Some(Proof { booking_id, token }))
            }
            (None, Some(_)) => Err(missing("booking_id")),
            (Some(_), None) => Err(missing("booking_token")),
        }
    }
}

/// A new buyer who has no account.
pub(super) fn new_visitor(now: Timestamp) -> UserId {
    let shard = Shard::pick(u64::from_le_bytes(random()));
    UserId::new(now, shard, u64::from_le_bytes(random()))
}

/// Returns an access token for a buyer without an account: for a new one, or with a booking token for the
/// buyer of that booking.
#[utoipa::path(
    post, path = "/api/v1/visitors", tag = TAG, operation_id = "create_visitor",
    request_body = NewVisitor,
    responses((status = 201, description = "The visitor", body = VisitorView)),
)]
async fn create(
    State(app): State<Arc<App>>,
    Origin(origin): Origin,
    Optional(asked): Optional<NewVisitor>,
) -> Result<(StatusCode, axum::Json<VisitorView>), Problem> {
    app.limits.visitor(origin).await?;
    let visitor_id = match asked.map(NewVisitor::proof).transpose()?.flatten() {
        Some(proof) => buyer_of(&app, origin, &proof).await?,
        None => new_visitor(app.core.store.now()),
    };
    let ttl = app.core.config.visitor_token_ttl;
    let view = VisitorView {
        visitor_id,
        access_token: app.tokens.issue_to_visitor(visitor_id, app.core.store.now(), ttl)?,
        token_type: "Bearer",
        expires_in: ttl.as_secs(),
    };
    Ok((StatusCode::CREATED, axum::Json(view)))
}

/// The buyer of a booking, if the token is of it. A booking token never opens an account: a buyer who has
/// one is refused like a wrong token and like an unknown booking.
async fn buyer_of(app: &App, origin: IpAddr, proof: &Proof) -> Result<UserId, Problem> {
    let guess = app.limits.guess(origin, app.core.store.now())?;
    let booking = app.core.store.booking(proof.booking_id).await?;
    let booking = booking.filter(|booking| app.booking_tokens.is_of(&proof.token, booking));
    if let Some(booking) = booking
        && app.core.store.user(booking.user_id).await?.is_none()
    {
        return Ok(booking.user_id);
    }
    guess.was_wrong();
    Err(Problem::invalid_token())
}
