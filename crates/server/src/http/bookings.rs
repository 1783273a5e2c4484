//! Bookings: hold, confirm, extend, cancel, list, read.

mod forms;
mod schema;
mod views;

use super::App;
use super::body::{Json, NoBody};
use super::extract::{CurrentUser, Key, Path, expected_booking, id};
use super::lists::{PAGE_BYTES_MAX, Params, page};
use super::problem::Problem;
use super::wire::{fingerprint, json};
use crate::random::random;
use axum::extract::{FromRequest as _, FromRequestParts as _, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use engine::access::{Permission, may};
use engine::{
    Booking, BookingId, BookingStatus, Command, EventId, Fault, Hold, IdempotencyKey, Outcome,
    Refusal, SeatRequest, UserId,
};
use forms::{NewHold, ReviseHold, Wanted, compared};
use schema::HoldForm;
use std::sync::Arc;
use store::BookingFilter;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) use views::{BookingPage, BookingView, StatusWord};

const TAG: &str = "Bookings";

/// Says that an earlier request with the same key made what this one answers.
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(hold))
        .routes(routes!(read, revise))
        .routes(routes!(extend))
        .routes(routes!(confirm_by_post))
        .routes(routes!(confirm_by_patch))
        .routes(routes!(cancel))
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

/// Holds seats for ten minutes, or for the `hold_ttl_seconds` of the event.
///
/// Requests with the same `Idempotency-Key` have one effect.
#[utoipa::path(
    post, path = "/api/v1/bookings/hold", tag = TAG, operation_id = "create_hold",
    request_body = HoldForm,
    security(("bearer" = [])),
    params(super::docs::IdempotencyKey),
    responses(
        (
            status = 201, description = "The hold", body = BookingView,
            headers(
                ("Location" = String, description = "The path of the booking"),
                (
                    "Idempotent-Replayed" = Option<String>,
                    description = "`true` if an earlier request with this key created the hold"
                ),
            ),
        ),
    ),
)]
async fn hold(
    State(app): State<Arc<App>>,
    CurrentUser(user_id): CurrentUser,
    Key(key): Key,
    Json(new): Json<NewHold>,
) -> Result<Response, Problem> {
    let event_id: EventId = id(&new.event_id, "event")?;
    let wanted = new.wanted()?;
    let facts =
        app.core.catalog.event(event_id).await?.ok_or(Refusal::NotFound { what: "event" })?;
    // The contents of a draft are not revealed to users who cannot see it, not even by the gate.
    let visible = facts.of.event.terms.visible_to(Some(user_id));
    // Since a key made its hold, the event may be hidden and the section renamed (I6).
    let made = if visible && wanted.is_known(&facts) {
        None
    } else {
        Box::pin(committed(&app, user_id, key.as_ref())).await?
    };
    let requests = wanted.requests(&facts, visible, made.as_ref())?;
    let key = key.map(|key| {
        let digest = digest(event_id, &wanted, &requests);
        (key, digest)
    });
    let booking_id =
        BookingId::new(app.core.store.now(), event_id.shard(), u64::from_le_bytes(random()));
    let hold = Hold { booking_id, user_id, event_id, requests, key };
    let name = hold.key.as_ref().map(|(key, _)| key.clone());
    let decided = app.core.lanes.submit(event_id.shard(), Command::Hold(hold));
    let decided = app.in_flight.run("hold", user_id, name.as_ref(), decided).await?;
    let (outcome, now) = decided.map_err(|error| wanted.failed(&facts, error))?;
    let Outcome::Booking { booking, replayed, next_to_each_other } = outcome else {
        return Err(no_booking());
    };
    let location = format!("/api/v1/bookings/{}", booking.booking_id);
    let view = BookingView::new(&booking, now).seated(next_to_each_other);
    let mut response = json(StatusCode::CREATED, &view);
    let location = HeaderValue::from_str(&location).expect("an id is valid in a header");
    response.headers_mut().insert(header::LOCATION, location);
    if replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// A digest of what a hold asks for, by which a retry with the same key is known.
///
/// By id, however a section was named, by what seats and categories are compared by, and without the
/// order in which things were listed.
fn digest(event_id: EventId, wanted: &Wanted, requests: &[SeatRequest]) -> i64 {
    let event_id = event_id.to_string();
    match (wanted, requests) {
        (_, [SeatRequest::Count { section_id, seats }]) => {
            fingerprint(&(event_id, section_id.to_string(), seats))
        }
        (Wanted::Best(best), [SeatRequest::Best { sections, .. }]) => {
            fingerprint(&(event_id, best.canonical(sections)))
        }
        _ => {
            let of = |ask: &SeatRequest| match ask {
                SeatRequest::Count { section_id, seats } => {
                    (section_id.to_string(), *seats, Vec::new())
                }
                SeatRequest::Seats { section_id, seats } => {
                    let mut seats: Vec<_> = seats.iter().map(|seat| compared(seat)).collect();
                    seats.sort_unstable();
                    (section_id.to_string(), 0, seats)
                }
                SeatRequest::Best { .. } => unreachable!("the best seats are asked for alone"),
            };
            let mut asked: Vec<_> = requests.iter().map(of).collect();
            asked.sort_unstable();
            fingerprint(&(event_id, asked))
        }
    }
}

/// The booking that a hold of the user with this key has made.
async fn committed(
    app: &App,
    user_id: UserId,
    key: Option<&IdempotencyKey>,
) -> Result<Option<Booking>, Fault> {
    let Some(key) = key else { return Ok(None) };
    let found = app.core.store.keyed_holds(&[(user_id, key.clone())]).await?;
    Ok(found.into_values().next().map(|(_, booking)| booking))
}

/// Confirms a hold. Repeating the call returns the same answer.
#[utoipa::path(
    post, path = "/api/v1/bookings/{booking_id}/confirm", tag = TAG,
    operation_id = "confirm_booking",
    request_body(content = super::docs::Empty, description = "Nothing, or an empty object"),
    params(("booking_id" = String, Path, format = "uuid")),
    security(("bearer" = [])),
    responses((status = 200, description = "The booking", body = BookingView)),
)]
async fn confirm_by_post(
    state: State<Arc<App>>,
    user: CurrentUser,
    path: Path<String>,
    body: NoBody,
) -> Result<Response, Problem> {
    confirm(state, user, path, body).await
}

/// Confirms a hold. Repeating the call returns the same answer.
#[utoipa::path(
    patch, path = "/api/v1/bookings/{booking_id}/confirm", tag = TAG,
    operation_id = "confirm_booking_by_patch",
    request_body(content = super::docs::Empty, description = "Nothing, or an empty object"),
    params(("booking_id" = String, Path, format = "uuid")),
    security(("bearer" = [])),
    responses((status = 200, description = "The booking", body = BookingView)),
)]
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
    change(&app, &booking_id, |booking_id| Command::Confirm { booking_id, by: user_id.into() })
        .await
}

/// Extends a hold: it expires at `min(now + ttl, max_expires_at)`.
#[utoipa::path(
    post, path = "/api/v1/bookings/{booking_id}/extend", tag = TAG, operation_id = "extend_booking",
    request_body(content = super::docs::Empty, description = "Nothing, or an empty object"),
    params(("booking_id" = String, Path, format = "uuid")),
    security(("bearer" = [])),
    responses((status = 200, description = "The booking", body = BookingView)),
)]
async fn extend(
    State(app): State<Arc<App>>,
    CurrentUser(user_id): CurrentUser,
    Path(booking_id): Path<String>,
    _: NoBody,
) -> Result<Response, Problem> {
    change(&app, &booking_id, |booking_id| Command::Extend { booking_id, by: user_id.into() }).await
}

/// Cancels a hold or a confirmed booking. Repeating the call returns the same answer.
#[utoipa::path(
    post, path = "/api/v1/bookings/{booking_id}/cancel", tag = TAG, operation_id = "cancel_booking",
    request_body(content = super::docs::Empty, description = "Nothing, or an empty object"),
    params(("booking_id" = String, Path, format = "uuid")),
    security(("bearer" = [])),
    responses((status = 200, description = "The booking", body = BookingView)),
)]
async fn cancel(
    State(app): State<Arc<App>>,
    CurrentUser(user_id): CurrentUser,
    Path(booking_id): Path<String>,
    _: NoBody,
) -> Result<Response, Problem> {
    change(&app, &booking_id, |booking_id| Command::Cancel { booking_id, by: user_id.into() }).await
}

/// Replaces the seats of a hold. If one of the new seats is unavailable, the hold stays unchanged.
#[utoipa::path(
    patch, path = "/api/v1/bookings/{booking_id}", tag = TAG, operation_id = "update_booking",
    request_body = ReviseHold,
    params(("booking_id" = String, Path, format = "uuid"), super::docs::IfMatch),
    security(("bearer" = [])),
    responses((
        status = 200, description = "The booking", body = BookingView,
        headers(("ETag" = String, description = "The version of the booking; changes if the \
            database is restored")),
    )),
)]
async fn revise(
    State(app): State<Arc<App>>,
    CurrentUser(user_id): CurrentUser,
    Path(booking_id): Path<String>,
    headers: HeaderMap,
    Json(revised): Json<ReviseHold>,
) -> Result<Response, Problem> {
    const MISSING: Refusal = Refusal::NotFound { what: "booking" };
    let expected = expected_booking(&headers, app.core.store.epoch())?;
    let wanted = revised.wanted()?;
    let booking_id: BookingId = id(&booking_id, "booking")?;
    let booking = app.core.store.booking(booking_id).await?;
    let booking = booking.filter(|booking| booking.user_id == user_id).ok_or(MISSING)?;
    let event_id = booking.event_id;
    let facts = app.core.catalog.event(event_id).await?.ok_or(MISSING)?;
    let requests = wanted.requests(&facts, true, Some(&booking))?;
    let command = Command::Change { booking_id, by: user_id.into(), event_id, expected, requests };
    let decided = app.core.lanes.submit(booking_id.shard(), command).await;
    let (outcome, now) = decided.map_err(|error| wanted.failed(&facts, error))?;
    let Outcome::Booking { booking, next_to_each_other, .. } = outcome else {
        return Err(no_booking());
    };
    let view = BookingView::new(&booking, now).seated(next_to_each_other);
    Ok((tagged(&app, &booking), json(StatusCode::OK, &view)).into_response())
}

/// The `ETag` of a booking: its version, and the history of the store, since in another one the same
/// versions occur again.
fn tagged(app: &App, booking: &Booking) -> [(HeaderName, HeaderValue); 1] {
    let tag = format!("\"{}.{}\"", booking.version, app.core.store.epoch());
    [(header::ETAG, HeaderValue::from_str(&tag).expect("digits are valid in a header"))]
}

async fn change(
    app: &App,
    booking_id: &str,
    command: impl FnOnce(BookingId) -> Command,
) -> Result<Response, Problem> {
    let booking_id: BookingId = id(booking_id, "booking")?;
    let (outcome, now) = app.core.lanes.submit(booking_id.shard(), command(booking_id)).await?;
    let Outcome::Booking { booking, .. } = outcome else { return Err(no_booking()) };
    Ok(json(StatusCode::OK, &BookingView::new(&booking, now)))
}

fn no_booking() -> Problem {
    Fault::Corrupt { what: "a booking's command led to no booking".to_owned() }.into()
}

/// The booking status that a list is narrowed to.
pub(super) fn status_filter(params: &Params) -> Result<Option<BookingStatus>, Problem> {
    params.read("status", "must be HOLD, CONFIRMED, EXPIRED or CANCELLED", BookingStatus::parse)
}

/// Lists the bookings of the user, newest first.
#[utoipa::path(
    get, path = "/api/v1/bookings", tag = TAG, operation_id = "list_bookings",
    security(("bearer" = [])),
    params(
        ("status" = Option<StatusWord>, Query, description = "The current status"),
        ("event_id" = Option<String>, Query, format = "uuid"),
        super::docs::PageParams,
    ),
    responses((status = 200, description = "A page of bookings", body = BookingPage)),
)]
async fn list(
    State(app): State<Arc<App>>,
    CurrentUser(user_id): CurrentUser,
    params: Params,
) -> Result<Response, Problem> {
    let event = params.read("event_id", "must be a UUID", |text| text.parse().ok())?;
    let filter = BookingFilter { user: Some(user_id), event, status: status_filter(&params)? };
    listed(&app, &filter, &params).await
}

/// A page of bookings.
pub(super) async fn listed(
    app: &App,
    filter: &BookingFilter,
    params: &Params,
) -> Result<Response, Problem> {
    let part = params.page()?;
    let room = app.answers.room(PAGE_BYTES_MAX).await?;
    let found = app.core.store.bookings(filter, part).await?;
    let now = app.core.store.now();
    let items = found.items.iter().map(|booking| BookingView::new(booking, now));
    Ok(page(room, items, found.has_more, BookingView::id))
}

/// Returns a booking to its buyer or to the organizer of its event.
#[utoipa::path(
    get, path = "/api/v1/bookings/{booking_id}", tag = TAG, operation_id = "get_booking",
    params(("booking_id" = String, Path, format = "uuid")),
    security(("bearer" = [])),
    responses((
        status = 200, description = "The booking", body = BookingView,
        headers(("ETag" = String, description = "The version of the booking; changes if the \
            database is restored")),
    )),
)]
async fn read(
    State(app): State<Arc<App>>,
    CurrentUser(user_id): CurrentUser,
    Path(booking_id): Path<String>,
) -> Result<Response, Problem> {
    const MISSING: Refusal = Refusal::NotFound { what: "booking" };
    let booking_id: BookingId = id(&booking_id, "booking")?;
    let booking = app.core.store.booking(booking_id).await?.ok_or(MISSING)?;
    if booking.user_id != user_id {
        let facts = app.core.catalog.event(booking.event_id).await?.ok_or(MISSING)?;
        may(user_id.into(), Permission::BookingRead, &facts.of.event.terms)?;
    }
    let view = BookingView::new(&booking, app.core.store.now());
    Ok((tagged(&app, &booking), axum::Json(view)).into_response())
}
