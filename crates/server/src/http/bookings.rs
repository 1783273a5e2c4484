//! Bookings: hold, confirm, extend, cancel, list, read.

use super::body::{Json, NoBody};
use super::extract::{CurrentUser, Key, Path, id};
use super::lists::{Listed, Params};
use super::problem::Problem;
use super::token::random;
use super::wire::{fingerprint, json, shown, shown_or_null};
use super::{App, PROBLEM};
use axum::extract::{FromRequest as _, FromRequestParts as _, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use engine::event::folded;
use engine::{
    Actor, Ask, Booking, BookingId, BookingStatus, Command, EventId, Fault, Hold, IdempotencyKey,
    Item, Outcome, Refusal, SectionId, Timestamp, UserId,
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use store::BookingFilter;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

const TAG: &str = "Bookings";

/// Says that an earlier request with the same key made what this one answers.
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(hold))
        .routes(routes!(confirm_by_post))
        .routes(routes!(confirm_by_patch))
        .routes(routes!(extend))
        .routes(routes!(cancel))
        .routes(routes!(read))
}

/// [`hold`] without the router.
pub(super) async fn take_hold(app: Arc<App>, request: Request) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let user = CurrentUser::from_request_parts(&mut parts, &app).await?;
    let key = Key::from_request_parts(&mut parts, &app).await?;
    let new = Json::from_request(Request::from_parts(parts, body), &app).await?;
    hold(State(app), user, key, new).await
}

/// [`confirm`] without the router.
pub(super) async fn take_confirm(
    app: Arc<App>,
    booking_id: String,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let user = CurrentUser::from_request_parts(&mut parts, &app).await?;
    let nothing = NoBody::from_request(Request::from_parts(parts, body), &app).await?;
    confirm(State(app), user, Path(booking_id), nothing).await
}

/// The paths whose answers can be long.
pub(super) fn lists() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(list))
}

/// A request to hold seats.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewHold {
    #[garde(skip)]
    #[schema(format = "uuid")]
    event_id: String,
    /// The section's id, or its name.
    #[garde(skip)]
    #[schema(min_length = 1, max_length = 100)]
    section_id: String,
    #[garde(range(min = 1, max = 1_000_000_000))]
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    seats_requested: u32,
}

/// Seats of one section in a booking, as they were when they were held.
#[derive(Serialize, ToSchema)]
struct ItemView {
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    section_id: SectionId,
    #[schema(value_type = String)]
    section_name: Arc<str>,
    seats_requested: u32,
    /// Minor units.
    unit_price: i64,
    currency: String,
}

impl From<Item> for ItemView {
    fn from(item: Item) -> Self {
        Self {
            section_id: item.section_id,
            section_name: item.section_name,
            seats_requested: item.seats,
            unit_price: item.unit_price.minor,
            currency: item.unit_price.currency.to_string(),
        }
    }
}

/// Where a booking stands.
#[derive(ToSchema)]
#[schema(as = BookingStatus, rename_all = "UPPERCASE")]
#[expect(dead_code, reason = "the words of the schema; the engine has the rule")]
pub(super) enum StatusWord {
    Hold,
    Confirmed,
    Expired,
    Cancelled,
}

/// A booking.
#[derive(Serialize, ToSchema)]
pub(super) struct BookingView {
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    booking_id: BookingId,
    /// Short, for people.
    reference: String,
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    user_id: UserId,
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    event_id: EventId,
    /// Of the only item.
    #[serde(serialize_with = "shown_or_null", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    section_id: Option<SectionId>,
    /// Of the only item.
    #[serde(skip_serializing_if = "Option::is_none")]
    seats_requested: Option<u32>,
    items: Vec<ItemView>,
    /// Minor units.
    total_price: i64,
    currency: String,
    #[schema(value_type = StatusWord)]
    status: &'static str,
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "date-time")]
    expires_at: Timestamp,
    /// Seconds until the hold ends; 0 when it is none.
    expires_in: i64,
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "date-time")]
    max_expires_at: Timestamp,
    #[serde(serialize_with = "shown_or_null", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    confirmed_at: Option<Timestamp>,
    #[serde(serialize_with = "shown_or_null", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    cancelled_at: Option<Timestamp>,
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "date-time")]
    created_at: Timestamp,
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "date-time")]
    updated_at: Timestamp,
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "date-time")]
    server_time: Timestamp,
    version: i64,
}

impl BookingView {
    /// The booking as it reads at `now`: a due hold is expired, swept or not.
    pub(super) fn new(booking: Booking, now: Timestamp) -> Self {
        let status = booking.status_at(now);
        let total = booking.total_price();
        let expires_in = match status {
            BookingStatus::Hold => booking.expires_at.since_ms(now).div_euclid(1_000),
            _ => 0,
        };
        let only = (booking.items.len() == 1).then(|| &booking.items[0]);
        Self {
            booking_id: booking.booking_id,
            reference: booking.booking_id.reference(),
            user_id: booking.user_id,
            event_id: booking.event_id,
            section_id: only.map(|item| item.section_id),
            seats_requested: only.map(|item| item.seats),
            total_price: total.minor,
            currency: total.currency.to_string(),
            status: status.as_str(),
            expires_at: booking.expires_at,
            expires_in,
            max_expires_at: booking.max_expires_at,
            confirmed_at: booking.confirmed_at,
            cancelled_at: booking.cancelled_at,
            created_at: booking.created_at,
            updated_at: booking.updated_at,
            server_time: now,
            version: booking.version,
            items: booking.items.into_iter().map(ItemView::from).collect(),
        }
    }

    pub(super) fn id(&self) -> BookingId {
        self.booking_id
    }
}

/// Holds seats for ten minutes, or as long as the event says.
///
/// With an `Idempotency-Key`, retries have one effect.
#[utoipa::path(post, path = "/api/v1/bookings/hold", tag = TAG, request_body = NewHold, security(("bearer" = [])),
    params(super::docs::IdempotencyKey), responses(
    (status = 201, description = "The hold", body = BookingView, headers(
        ("Location" = String, description = "Where the booking is"),
        ("Idempotent-Replayed" = Option<String>, description = "`true` when an earlier request made the hold"),
    )),
    (status = 404, description = "`not_found`: the event or the section", body = super::docs::Problem, content_type = PROBLEM),
    (status = 409, description = "`event_cancelled`, `sale_not_open`, `sale_closed`, `event_over`, `too_many_seats`, `buyer_limit`, `sold_out`, `idempotency_in_flight`",
        body = super::docs::Problem, content_type = PROBLEM),
))]
async fn hold(
    State(app): State<Arc<App>>,
    CurrentUser(user_id): CurrentUser,
    Key(key): Key,
    Json(new): Json<NewHold>,
) -> Result<Response, Problem> {
    let event_id: EventId = id(&new.event_id, "event")?;
    let facts = app.catalog.event(event_id).await?.ok_or(Refusal::NotFound { what: "event" })?;
    // What a draft has in it is not told to those who cannot see it, not even by the gate.
    let visible = facts.of.event.terms.visible_to(Some(user_id));
    let section_id = facts.resolve(&new.section_id).map(|section| section.section_id);
    let section_id = match section_id {
        Some(section_id) if visible => section_id,
        // Since a key made its hold, the event may be hidden and the section renamed (I6).
        now => {
            let made = Box::pin(committed(&app, user_id, key.as_ref())).await?;
            let then = || made.as_ref().and_then(|made| section_named(made, &new.section_id));
            let what = if visible { "section" } else { "event" };
            let known = if made.is_some() { now.or_else(then) } else { None };
            known.ok_or(Refusal::NotFound { what })?
        }
    };
    let seats = new.seats_requested;
    let key = key.map(|key| {
        let request = (event_id.to_string(), section_id.to_string(), seats);
        (key, fingerprint(&request))
    });
    let booking_id =
        BookingId::new(app.store.now(), event_id.shard(), u64::from_le_bytes(random()));
    let asks = vec![Ask::Count { section_id, seats }];
    let hold = Hold { booking_id, user_id, event_id, asks, key };
    let name = hold.key.as_ref().map(|(key, _)| key.clone());
    let decided = app.lanes.submit(event_id.shard(), Command::Hold(hold));
    let (outcome, now) = app.in_flight.run("hold", user_id, name.as_ref(), decided).await??;
    let Outcome::Booking { booking, replayed, .. } = outcome else { return Err(no_booking()) };
    let location = format!("/api/v1/bookings/{}", booking.booking_id);
    let mut response = json(StatusCode::CREATED, &BookingView::new(booking, now));
    let location = HeaderValue::from_str(&location).expect("an id is valid in a header");
    response.headers_mut().insert(header::LOCATION, location);
    if replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// The booking that a hold of the user with this key has made.
async fn committed(
    app: &App,
    user_id: UserId,
    key: Option<&IdempotencyKey>,
) -> Result<Option<Booking>, Fault> {
    let Some(key) = key else { return Ok(None) };
    let found = app.store.keyed_holds(&[(user_id, key.clone())]).await?;
    Ok(found.into_values().next().map(|(_, booking)| booking))
}

/// The section that had this name when the booking was made.
fn section_named(booking: &Booking, name: &str) -> Option<SectionId> {
    let named = |item: &&Item| folded(&item.section_name) == folded(name);
    booking.items.iter().find(named).map(|item| item.section_id)
}

/// Confirms a hold. Again: the same answer.
#[utoipa::path(post, path = "/api/v1/bookings/{booking_id}/confirm", tag = TAG, operation_id = "confirm",
    request_body(content = super::docs::Empty, description = "Nothing, or an empty object"),
    params(("booking_id" = String, Path, format = "uuid")), security(("bearer" = [])), responses(
    (status = 200, description = "The booking", body = BookingView),
    (status = 409, description = "`event_cancelled`, `booking_cancelled`", body = super::docs::Problem, content_type = PROBLEM),
    (status = 410, description = "`hold_expired`", body = super::docs::Problem, content_type = PROBLEM),
))]
async fn confirm_by_post(
    state: State<Arc<App>>,
    user: CurrentUser,
    path: Path<String>,
    body: NoBody,
) -> Result<Response, Problem> {
    confirm(state, user, path, body).await
}

/// Confirms a hold. Again: the same answer.
#[utoipa::path(patch, path = "/api/v1/bookings/{booking_id}/confirm", tag = TAG, operation_id = "confirm_by_patch",
    request_body(content = super::docs::Empty, description = "Nothing, or an empty object"),
    params(("booking_id" = String, Path, format = "uuid")), security(("bearer" = [])), responses(
    (status = 200, description = "The booking", body = BookingView),
    (status = 409, description = "`event_cancelled`, `booking_cancelled`", body = super::docs::Problem, content_type = PROBLEM),
    (status = 410, description = "`hold_expired`", body = super::docs::Problem, content_type = PROBLEM),
))]
async fn confirm_by_patch(
    state: State<Arc<App>>,
    user: CurrentUser,
    path: Path<String>,
    body: NoBody,
) -> Result<Response, Problem> {
    confirm(state, user, path, body).await
}

async fn confirm(
    State(app): State<Arc<App>>,
    CurrentUser(user_id): CurrentUser,
    Path(booking_id): Path<String>,
    _: NoBody,
) -> Result<Response, Problem> {
    change(&app, &booking_id, |booking_id| Command::Confirm { booking_id, user_id }).await
}

/// Gives a hold more time: `min(now + ttl, max_expires_at)`.
#[utoipa::path(post, path = "/api/v1/bookings/{booking_id}/extend", tag = TAG,
    request_body(content = super::docs::Empty, description = "Nothing, or an empty object"),
    params(("booking_id" = String, Path, format = "uuid")), security(("bearer" = [])), responses(
    (status = 200, description = "The booking", body = BookingView),
    (status = 409, description = "`event_cancelled`, `booking_cancelled`, `extension_limit`", body = super::docs::Problem, content_type = PROBLEM),
    (status = 410, description = "`hold_expired`", body = super::docs::Problem, content_type = PROBLEM),
))]
async fn extend(
    State(app): State<Arc<App>>,
    CurrentUser(user_id): CurrentUser,
    Path(booking_id): Path<String>,
    _: NoBody,
) -> Result<Response, Problem> {
    change(&app, &booking_id, |booking_id| Command::Extend { booking_id, user_id }).await
}

/// Gives a hold back, or undoes a sale. Again: the same answer.
#[utoipa::path(post, path = "/api/v1/bookings/{booking_id}/cancel", tag = TAG, operation_id = "cancel_booking",
    request_body(content = super::docs::Empty, description = "Nothing, or an empty object"),
    params(("booking_id" = String, Path, format = "uuid")), security(("bearer" = [])), responses(
    (status = 200, description = "The booking", body = BookingView),
    (status = 409, description = "`not_cancellable`", body = super::docs::Problem, content_type = PROBLEM),
))]
async fn cancel(
    State(app): State<Arc<App>>,
    CurrentUser(user_id): CurrentUser,
    Path(booking_id): Path<String>,
    _: NoBody,
) -> Result<Response, Problem> {
    let by = Actor::User(user_id);
    change(&app, &booking_id, |booking_id| Command::Cancel { booking_id, by }).await
}

async fn change(
    app: &App,
    booking_id: &str,
    command: impl FnOnce(BookingId) -> Command,
) -> Result<Response, Problem> {
    let booking_id: BookingId = id(booking_id, "booking")?;
    let (outcome, now) = app.lanes.submit(booking_id.shard(), command(booking_id)).await?;
    let Outcome::Booking { booking, .. } = outcome else { return Err(no_booking()) };
    Ok(json(StatusCode::OK, &BookingView::new(booking, now)))
}

fn no_booking() -> Problem {
    Fault::Corrupt { what: "a booking's command led to no booking".to_owned() }.into()
}

/// The booking status that a list is narrowed to.
pub(super) fn status_filter(params: &Params) -> Result<Option<BookingStatus>, Problem> {
    params.read("status", "must be HOLD, CONFIRMED, EXPIRED or CANCELLED", BookingStatus::parse)
}

/// The bookings of the user, newest first.
#[utoipa::path(get, path = "/api/v1/bookings", tag = TAG, operation_id = "list_bookings", security(("bearer" = [])), params(
    ("status" = Option<StatusWord>, Query, description = "As it reads now"),
    ("event_id" = Option<String>, Query, format = "uuid"),
    super::docs::PageParams,
), responses((status = 200, description = "A page of bookings", body = Listed<BookingView>)))]
async fn list(
    State(app): State<Arc<App>>,
    CurrentUser(user_id): CurrentUser,
    params: Params,
) -> Result<axum::Json<Listed<BookingView>>, Problem> {
    let event = params.read("event_id", "must be a UUID", |text| text.parse().ok())?;
    let filter = BookingFilter { user: Some(user_id), event, status: status_filter(&params)? };
    listed(&app, &filter, &params).await
}

/// A page of bookings.
pub(super) async fn listed(
    app: &App,
    filter: &BookingFilter,
    params: &Params,
) -> Result<axum::Json<Listed<BookingView>>, Problem> {
    let page = params.page()?;
    let found = app.store.bookings(filter, page).await?;
    let now = app.store.now();
    let items = found.into_iter().map(|booking| BookingView::new(booking, now)).collect();
    Ok(axum::Json(Listed::new(items, page.limit, BookingView::id)))
}

/// A booking, for its buyer or the organizer of its event.
#[utoipa::path(get, path = "/api/v1/bookings/{booking_id}", tag = TAG, operation_id = "read_booking",
    params(("booking_id" = String, Path, format = "uuid")), security(("bearer" = [])), responses(
    (status = 200, description = "The booking", body = BookingView),
))]
async fn read(
    State(app): State<Arc<App>>,
    CurrentUser(user_id): CurrentUser,
    Path(booking_id): Path<String>,
) -> Result<axum::Json<BookingView>, Problem> {
    const MISSING: Refusal = Refusal::NotFound { what: "booking" };
    let booking_id: BookingId = id(&booking_id, "booking")?;
    let booking = match app.gate.lease(booking_id).await {
        Some(lease) => lease,
        None => app.store.booking(booking_id).await?.ok_or(MISSING)?,
    };
    if booking.user_id != user_id {
        let facts = app.catalog.event(booking.event_id).await?;
        let organizer = facts.is_some_and(|facts| facts.of.event.terms.organizer_id == user_id);
        if !organizer {
            return Err(MISSING.into());
        }
    }
    Ok(axum::Json(BookingView::new(booking, app.store.now())))
}
