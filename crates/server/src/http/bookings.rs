//! Bookings: hold, confirm, extend, cancel, list, read.

mod forms;
mod hold;
mod lists;
mod schema;
mod views;

use super::App;
use super::body::{Json, JsonBytes, NoBody};
use super::connection::Peer;
use super::content::{Answer, Content};
use super::events::{acting, acting_lately};
use super::extract::{Buyer, Caller, Key, Path, Unsure, expected_booking, id};
use super::problem::{Code, Problem};
use super::wire::json_with;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use engine::access::{Permission, may, may_for_buyer};
use engine::{Booking, BookingId, By, Command, Fault, Outcome, Refusal, Timestamp};
use forms::ReviseHold;
use hyper::body::Incoming;
use schema::HoldForm;
use std::sync::Arc;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use views::{Beyond, write_booking};

pub(super) use hold::take_hold;
pub(super) use lists::{listed, may_list, status_filter};
pub(super) use views::{BookingPage, BookingView, StatusWord};

const TAG: &str = "Bookings";
const MISSING: Refusal = Refusal::NotFound { what: "booking" };

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

/// [`confirm`] without the router.
pub(super) fn take_confirm(
    app: &App,
    booking_id: Option<BookingId>,
    request: hyper::Request<Incoming>,
    peer: Peer,
) -> impl Future<Output = Result<Answer, Problem>> {
    let (Parts { mut headers, .. }, body) = request.into_parts();
    let buyer = Unsure::<Buyer>::of(app, Some(peer), &headers);
    async move {
        let Buyer(caller) = buyer?.sure(app).await?;
        NoBody::of(app, &headers, body).await?;
        headers.clear();
        changed(app, booking_id, &caller, Step::Confirm, headers).await
    }
}

/// The paths whose answers can be long.
pub(super) fn lists() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(lists::list))
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
    Buyer(caller): Buyer,
    Key(key): Key,
    JsonBytes(asked): JsonBytes,
) -> Result<Response, Problem> {
    let answer = hold::held(&app, caller, key, &asked, HeaderMap::new()).await?;
    Ok(answer.map(Content::into))
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
    buyer: Buyer,
    path: Path<String>,
    body: NoBody,
) -> Result<Response, Problem> {
    confirm(state, buyer, path, body).await
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
    buyer: Buyer,
    path: Path<String>,
    body: NoBody,
) -> Result<Response, Problem> {
    confirm(state, buyer, path, body).await
}

async fn confirm(
    State(app): State<Arc<App>>,
    Buyer(caller): Buyer,
    Path(booking_id): Path<String>,
    _: NoBody,
) -> Result<Response, Problem> {
    let headers = HeaderMap::new();
    let answer = changed(&app, booking_id.parse().ok(), &caller, Step::Confirm, headers).await?;
    Ok(answer.map(Content::into))
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
    Buyer(caller): Buyer,
    Path(booking_id): Path<String>,
    _: NoBody,
) -> Result<Response, Problem> {
    let headers = HeaderMap::new();
    let answer = changed(&app, booking_id.parse().ok(), &caller, Step::Extend, headers).await?;
    Ok(answer.map(Content::into))
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
    Buyer(caller): Buyer,
    Path(booking_id): Path<String>,
    _: NoBody,
) -> Result<Response, Problem> {
    let booking_id: BookingId = id(&booking_id, "booking")?;
    let cancel = |by| change(&app, Step::Cancel, (booking_id, by), &caller, HeaderMap::new());
    let Some(user_id) = caller.user_id() else {
        let by = acting_for(&app, booking_id, &caller).await?.ok_or(MISSING)?;
        return Ok(cancel(by).await?.map(Content::into));
    };
    let refused = match cancel(user_id.into()).await {
        Ok(answer) => return Ok(answer.map(Content::into)),
        Err(refused) => refused,
    };
    // A member of the organization may cancel what the buyer may not, or what is somebody else's.
    match refused.code() {
        Code::NotFound | Code::NotCancellable if !caller.is_visitor() => {
            let by = acting_for(&app, booking_id, &caller).await?;
            let Some(by) = by.filter(|by| !by.is(user_id)) else { return Err(refused) };
            match cancel(by).await {
                // Buyers hear what they hear as buyers, whatever they may not do as members.
                Err(lacking)
                    if refused.code() == Code::NotCancellable
                        && matches!(lacking.code(), Code::NotFound | Code::PermissionMissing) =>
                {
                    Err(refused)
                }
                decided => Ok(decided?.map(Content::into)),
            }
        }
        _ => Err(refused),
    }
}

/// How somebody acts at the event of a booking; `None`: there is no such booking.
async fn acting_for(
    app: &App,
    booking_id: BookingId,
    caller: &Caller,
) -> Result<Option<By>, Problem> {
    let Some(booking) = app.core.store.booking(booking_id).await? else { return Ok(None) };
    acting(app, booking.event_id, caller).await.map(Some)
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
    Buyer(caller): Buyer,
    Path(booking_id): Path<String>,
    headers: HeaderMap,
    Json(revised): Json<ReviseHold>,
) -> Result<Response, Problem> {
    let expected = expected_booking(&headers, app.core.store.epoch())?;
    let (wanted, overrides) = revised.wanted()?;
    let booking_id: BookingId = id(&booking_id, "booking")?;
    let booking = app.core.store.booking(booking_id).await?.ok_or(MISSING)?;
    let (user_id, event_id) = (booking.user_id, booking.event_id);
    let (facts, by) = if caller.user_id() == Some(user_id) {
        let facts = app.core.catalog.event(event_id).await?.ok_or(MISSING)?;
        (facts, By::User(user_id))
    } else {
        let (facts, by) = acting_lately(&app, event_id, &caller).await?;
        may_for_buyer(by, &facts.of.event.terms)?;
        (facts, by)
    };
    let requests = wanted.requests(&facts, true, Some(&booking))?;
    let taken = if by.is(user_id) {
        hold::Taken::beyond(&app, &caller, &requests, (&booking, &facts))?
    } else {
        None
    };
    let command =
        Command::Change { booking_id, by, user_id, event_id, expected, requests, overrides };
    let decided = app.core.lanes.submit(booking_id.shard(), command).await;
    if let Some(taken) = taken {
        taken.settle(&decided);
    }
    let (outcome, now) = decided.map_err(|error| wanted.failed(&facts, error))?;
    let Outcome::Booking { booking, next_to_each_other, .. } = outcome else {
        return Err(no_booking());
    };
    let beyond = Beyond { next_to_each_other, token: None };
    let write = |out: &mut Vec<u8>| write_booking(out, &booking, now, beyond);
    let answer = json_with(tagged(&app, &booking), StatusCode::OK, write);
    Ok(answer.map(Content::into))
}

/// The `ETag` of a booking: its version, and the history of the store, since in another one the same
/// versions occur again.
fn tagged(app: &App, booking: &Booking) -> HeaderMap {
    let tag = format!("\"{}.{}\"", booking.version, app.core.store.epoch());
    let tag = HeaderValue::from_str(&tag).expect("digits are valid in a header");
    HeaderMap::from_iter([(header::ETAG, tag)])
}

/// A step of a booking that names nothing but the booking.
#[derive(Clone, Copy)]
enum Step {
    Confirm,
    Extend,
    Cancel,
}

impl Step {
    fn command(self, booking_id: BookingId, by: By) -> Command {
        match self {
            Self::Confirm => Command::Confirm { booking_id, by },
            Self::Extend => Command::Extend { booking_id, by },
            Self::Cancel => Command::Cancel { booking_id, by },
        }
    }

    /// Counts what a buyer has done for the limit of seats that are kept off sale.
    fn count(self, app: &App, buyer: &Caller, booking: &Booking, now: Timestamp) {
        match self {
            Self::Extend => app.limits.extended(buyer, booking.seats(), now),
            // What was sold was given back when it was confirmed.
            Self::Cancel if booking.confirmed_at.is_some() => {}
            Self::Confirm | Self::Cancel => app.limits.give_back(buyer, booking.seats(), now),
        }
    }
}

/// Changes a booking of the caller, or of a buyer for whom the caller may act; `None` is what is no id.
/// The answer has these headers and its own.
///
/// It is tried as the buyer first. The rights of a member are looked up when that is refused.
async fn changed(
    app: &App,
    booking_id: Option<BookingId>,
    caller: &Caller,
    step: Step,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let booking_id = booking_id.ok_or_else(|| Problem::not_found("booking"))?;
    let refused = match caller.user_id() {
        Some(user_id) => {
            let by = By::User(user_id);
            let done = change(app, step, (booking_id, by), caller, headers).await;
            let Err(refused) = done else { return done };
            if refused.code() != Code::NotFound || caller.is_visitor() {
                return Err(refused);
            }
            refused
        }
        // A key is no buyer.
        None => MISSING.into(),
    };
    // Boxed: else every confirmation would carry it along.
    Box::pin(async {
        let by = acting_for(app, booking_id, caller).await?;
        let is_buyer = |by: &By| caller.user_id().is_some_and(|user_id| by.is(user_id));
        let Some(by) = by.filter(|by| !is_buyer(by)) else { return Err(refused) };
        change(app, step, (booking_id, by), caller, HeaderMap::new()).await
    })
    .await
}

/// Takes a step of a booking. The answer has these headers and its own.
async fn change(
    app: &App,
    step: Step,
    (booking_id, by): (BookingId, By),
    caller: &Caller,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let command = step.command(booking_id, by);
    let (outcome, now) = app.core.lanes.submit(booking_id.shard(), command).await?;
    let Outcome::Booking { booking, replayed, .. } = outcome else { return Err(no_booking()) };
    if !replayed && caller.user_id() == Some(booking.user_id) {
        step.count(app, caller, &booking, now);
    }
    let write = |out: &mut Vec<u8>| write_booking(out, &booking, now, Beyond::default());
    Ok(json_with(headers, StatusCode::OK, write))
}

fn no_booking() -> Problem {
    Fault::Corrupt { what: "a booking's command led to no booking".to_owned() }.into()
}

/// Returns a booking to its buyer, or to a member of the organization of its event.
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
    Buyer(caller): Buyer,
    Path(booking_id): Path<String>,
) -> Result<Response, Problem> {
    let booking_id: BookingId = id(&booking_id, "booking")?;
    let booking = app.core.store.booking(booking_id).await?.ok_or(MISSING)?;
    if caller.user_id() != Some(booking.user_id) {
        let (facts, by) = acting_lately(&app, booking.event_id, &caller).await?;
        may(by, Permission::BookingRead, &facts.of.event.terms)?;
    }
    let now = app.core.store.now();
    let is_visitors = caller.is_visitor() && caller.user_id() == Some(booking.user_id);
    let token = if is_visitors { Some(app.booking_tokens.of(&booking)?) } else { None };
    let beyond = Beyond { next_to_each_other: None, token: token.as_deref() };
    let write = |out: &mut Vec<u8>| write_booking(out, &booking, now, beyond);
    let answer = json_with(tagged(&app, &booking), StatusCode::OK, write);
    Ok(answer.map(Content::into))
}
