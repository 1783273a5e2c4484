//! Events and sections: created, changed and cancelled by their organizer; read by everybody.

mod acting;
mod forms;
mod opening;
mod sections;
mod transfer;
mod views;

use super::App;
use super::body::{Json, NoBody};
use super::bookings::{BookingPage, REPLAYED, listed, may_list, status_filter};
use super::connection::Peer;
use super::content::{Answer, Content};
use super::docs::DateWord;
use super::extract::{
    Caller, CurrentCaller, IfNoneMatch, Key, MaybeCaller, Path, Unsure, expected_version, id,
};
use super::lists::{PAGE_BYTES_MAX, Params, by_serde, page};
use super::organizations::OwnerView;
use super::problem::Problem;
use super::wire::{At, fingerprint, json_in};
use crate::catalog::Facts;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono_tz::Tz;
use engine::access::{Permission, is_visible, may};
use engine::event::EventChange;
use engine::{
    By, Currency, Error, EventId, EventStatus, EventWithSections, Fault, IdempotencyKey, Refusal,
    SectionId, Terms, UserId,
};
use forms::{NewEvent, ReviseEvent, event_date, section_field, timezone};
use hyper::body::Incoming;
use opening::open;
use serde::Serialize;
use std::sync::Arc;
use store::{BookingFilter, CreationKey, EventFilter, Place};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use views::{AvailabilityView, EventCardView, EventPage, EventView, StatusWord};

pub(super) use acting::{acting, acting_lately, is_insider, organization, visible, visible_now};
pub(super) use views::{SectionView, is_known};

const TAG: &str = "Events";
/// What comes after the sale has begun; below the bookings in the document.
const ORGANIZERS: &str = "Organizers";
const MISSING: Refusal = Refusal::NotFound { what: "event" };
pub(super) const MISSING_SECTION: Refusal = Refusal::NotFound { what: "section" };

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(read, revise))
        .routes(routes!(availability))
        .routes(routes!(cancel))
        .routes(routes!(transfer::transfer))
        .routes(routes!(sections::add_section))
        .routes(routes!(sections::read_section, sections::revise_section))
        .routes(routes!(bookings))
}

/// The event that was just changed, read anew from the store: as `by` sees it, or has changed it, with the
/// permission `what`.
async fn changed(
    app: &App,
    event_id: EventId,
    (by, what): (By, Permission),
) -> Result<EventView, Problem> {
    app.core.catalog.changed(event_id).await;
    // Past the catalog, where a reader's load from before the commit may be under way.
    let read = app.core.store.event(event_id).await?;
    let may_see = |terms: &Terms| is_visible(Some(by), terms) || may(by, what, terms).is_ok();
    let read = read.filter(|of| may_see(&of.event.terms)).ok_or(MISSING)?;
    EventView::load_anew(app, &read).await
}

/// The answer to a change of a section: the section as it is now.
pub(super) async fn changed_section(
    app: &App,
    event_id: EventId,
    section_id: SectionId,
    by_right: (By, Permission),
) -> Result<Response, Problem> {
    let view = changed(app, event_id, by_right).await?;
    let etag = view.etag();
    let section = view.into_section(section_id).ok_or(MISSING_SECTION)?;
    Ok(([(header::ETAG, etag)], axum::Json(section)).into_response())
}

pub(super) fn created(
    location: &str,
    etag: HeaderValue,
    replayed: bool,
    body: impl Serialize,
) -> Response {
    let mut response = (StatusCode::CREATED, axum::Json(body)).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::LOCATION,
        HeaderValue::from_str(location).expect("ids are valid in a header"),
    );
    headers.insert(header::ETAG, etag);
    if replayed {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

fn with_etag(view: EventView) -> Response {
    ([(header::ETAG, view.etag())], axum::Json(view)).into_response()
}

/// Waits for a creation, which goes on in a task of its own; beside an equal request, not for long.
pub(super) async fn once<T: Send + 'static>(
    app: &App,
    operation: &'static str,
    user_id: UserId,
    key: Option<IdempotencyKey>,
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Problem> {
    let task = tokio::spawn(work);
    let done = app.in_flight.run(operation, user_id, key.as_ref(), || task).await?;
    Ok(done.map_err(|panic| Fault::Corrupt { what: panic.to_string() })??)
}

/// Creates an event of the organization of the user, or of another one.
#[utoipa::path(
    post, path = "/api/v1/events", tag = TAG, operation_id = "create_event",
    request_body = NewEvent,
    security(("bearer" = [])),
    params(super::docs::IdempotencyKey),
    responses(
        (
            status = 201, description = "The event", body = EventView,
            headers(
                ("Location" = String, description = "The path of the event"),
                ("ETag" = String, description = "Its version"),
                (
                    "Idempotent-Replayed" = Option<String>,
                    description = "`true` if an earlier request with this key created the event"
                ),
            ),
        ),
    ),
)]
async fn create(
    State(app): State<Arc<App>>,
    CurrentCaller(caller): CurrentCaller,
    Key(key): Key,
    Json(mut new): Json<NewEvent>,
) -> Result<Response, Problem> {
    new.simplify();
    let org_id = organization(&mut new.organization_id, &caller);
    let user_id = caller.id();
    let key = key.map(|key| CreationKey { user_id, key, fingerprint: fingerprint(&new) });
    let by = app.core.rights.by(&caller, org_id, None).await?;
    if key.is_none() {
        // Before the work. It is decided with the event, after the key, which may have made it (I6).
        may(by, Permission::EventWrite, &org_id)?;
    }
    let (event, planned) = new.build(&app, org_id)?;
    let (sections, openings) = open(&app, planned, section_field).await?;
    let event = EventWithSections { event, sections };
    let (name, store) = (key.as_ref().map(|key| key.key.clone()), app.core.store.clone());
    let work = async move { store.create_event(&event, by, &openings, key.as_ref()).await };
    let done = once(&app, "create_event", user_id, name, work).await?;
    // With a key it may be another one.
    let by = acting(&app, done.id, &caller).await?;
    let view = changed(&app, done.id, (by, Permission::EventWrite)).await?;
    let location = format!("/api/v1/events/{}", done.id);
    Ok(created(&location, view.etag(), done.replayed, view))
}

/// Lists events, newest first. Drafts are visible to the members of their organization only.
#[utoipa::path(
    get, path = "/api/v1/events", tag = TAG, operation_id = "list_events",
    security((), ("bearer" = [])),
    params(
        ("status" = Option<StatusWord>, Query),
        (
            "organizer" = Option<String>, Query, pattern = "^me$",
            description = "`me`: the events of all organizations of the caller",
        ),
        (
            "organization_id" = Option<String>, Query, format = "uuid",
            description = "Events of this organization",
        ),
        (
            "series_id" = Option<String>, Query, format = "uuid",
            description = "Events of this series",
        ),
        (
            "q" = Option<String>, Query, max_length = 200,
            pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$",
            description = "A part of the title, case-insensitive",
        ),
        (
            "from" = Option<DateWord>, Query,
            description = "Events that are not over by this date or instant",
        ),
        (
            "to" = Option<DateWord>, Query,
            description = "Events that start before this date or instant",
        ),
        super::docs::PageParams,
    ),
    responses(
        (status = 200, description = "A page of events, without their sections", body = EventPage),
    ),
)]
async fn list(
    State(app): State<Arc<App>>,
    MaybeCaller(viewer): MaybeCaller,
    params: Params,
) -> Result<Response, Problem> {
    let mine =
        params.read("organizer", "must be me", |text| (text == "me").then_some(()))?.is_some();
    if mine && viewer.is_none() {
        return Err(Problem::unauthorized("organizer=me needs an access token."));
    }
    let when = |name: &'static str| -> Result<_, Problem> {
        let Some(text) = params.get(name) else { return Ok(None) };
        Ok(Some(event_date(text, Tz::UTC, name)?.starts_at()))
    };
    let places = match &viewer {
        Some(viewer) => app.core.rights.places(viewer).await?,
        None => Arc::default(),
    };
    let all_drafts = match &viewer {
        Some(Caller::User(user_id)) => app.core.rights.is_operator(*user_id).await?,
        _ => false,
    };
    let of = params.read("organization_id", "must be a UUID", |text| text.parse().ok())?;
    let one = |org_id| vec![Place { org_id, events: None }];
    let short = |text: &str| (text.chars().count() <= 200).then(|| text.to_owned());
    let filter = EventFilter {
        places: match (of, mine) {
            (None, false) => None,
            (None, true) => Some(places.to_vec()),
            (Some(of), false) => Some(one(of)),
            (Some(of), true) => {
                Some(places.iter().filter(|place| place.org_id == of).cloned().collect())
            }
        },
        drafts_of: places.to_vec(),
        all_drafts,
        series: params.read("series_id", "must be a UUID", |text| text.parse().ok())?,
        status: params.read(
            "status",
            "must be draft, on_sale, closed or cancelled",
            EventStatus::parse,
        )?,
        title: params.read("q", "must have at most 200 characters", short)?,
        from: when("from")?,
        to: when("to")?,
    };
    let part = params.page()?;
    let room = app.answers.room(PAGE_BYTES_MAX).await?;
    let found = app.core.store.events(&filter, part).await?;
    let owners = found.items.iter().map(|card| card.event.terms.organizer_id);
    let owners = OwnerView::load_all(&app, owners).await?;
    let cards = found.items.into_iter().map(|card| {
        let owner = owners[&card.event.terms.organizer_id].clone();
        EventCardView::new(card, owner)
    });
    let cache = HeaderValue::from_static(if viewer.is_some() { "no-store" } else { "max-age=1" });
    let list = page(room, cards, found.has_more, EventCardView::id, by_serde);
    Ok(([(header::CACHE_CONTROL, cache)], list).into_response())
}

/// Returns an event with its current availability.
#[utoipa::path(
    get, path = "/api/v1/events/{event_id}", tag = TAG, operation_id = "get_event",
    security((), ("bearer" = [])),
    params(("event_id" = String, Path, format = "uuid"), super::docs::IfNoneMatch),
    responses(
        (
            status = 200, description = "The event", body = EventView,
            headers(("ETag" = String, description = "The version of the event")),
        ),
        (status = 304, description = "Nothing has changed"),
    ),
)]
async fn read(
    State(app): State<Arc<App>>,
    MaybeCaller(viewer): MaybeCaller,
    Path(event_id): Path<String>,
    IfNoneMatch(known): IfNoneMatch,
) -> Result<Response, Problem> {
    let answer =
        shown(&app, event_id.parse().ok(), viewer.as_ref(), &known, HeaderMap::new()).await?;
    Ok(answer.map(Content::into))
}

/// The event as `viewer` sees it, or that it is `known`; `None` is what is no id. The answer has these
/// headers and its own.
async fn shown(
    app: &App,
    event_id: Option<EventId>,
    viewer: Option<&Caller>,
    known: &[HeaderValue],
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let event_id = event_id.ok_or_else(|| Problem::not_found("event"))?;
    let facts = visible(app, event_id, viewer).await?;
    let view = EventView::load(app, &facts.of).await?;
    let headers_out = kept(&facts, view.etag());
    let mut answer = if is_known(known, &headers_out[0].1) {
        let mut answer = Answer::new(Bytes::new().into());
        (*answer.status_mut(), *answer.headers_mut()) = (StatusCode::NOT_MODIFIED, headers);
        answer
    } else {
        json_in(app.answers.room(view.bytes_max()).await?, headers, StatusCode::OK, &view)
    };
    for (name, value) in headers_out {
        answer.headers_mut().insert(name, value);
    }
    Ok(answer)
}

/// The tag of an answer about an event, and who may keep it for how long.
fn kept(facts: &Facts, etag: HeaderValue) -> [(header::HeaderName, HeaderValue); 3] {
    let draft = facts.of.event.terms.status == EventStatus::Draft;
    let cache = HeaderValue::from_static(if draft { "private, no-store" } else { "max-age=1" });
    // Said of small answers and of 304 as well, so that all answers of the path vary alike.
    let vary = HeaderValue::from_static("accept-encoding");
    [(header::ETAG, etag), (header::CACHE_CONTROL, cache), (header::VARY, vary)]
}

/// [`read`] without the router.
pub(super) fn take_read(
    app: &App,
    event_id: Option<EventId>,
    request: hyper::Request<Incoming>,
    peer: Peer,
) -> impl Future<Output = Result<Answer, Problem>> {
    let (Parts { mut headers, .. }, body) = request.into_parts();
    let viewer = Unsure::<MaybeCaller>::of(app, Some(peer), &headers);
    let IfNoneMatch(known) = IfNoneMatch::of(&headers);
    headers.clear();
    async move {
        // Given up with the answer, as by the router: a connection must not end for it before.
        let _unread = body;
        let MaybeCaller(viewer) = viewer?.sure(app).await?;
        shown(app, event_id, viewer.as_ref(), &known, headers).await
    }
}

/// Returns the number of available seats of each section; to the organizer also those held and
/// sold.
#[utoipa::path(
    get, path = "/api/v1/events/{event_id}/availability", tag = TAG,
    operation_id = "get_availability",
    security((), ("bearer" = [])),
    params(("event_id" = String, Path, format = "uuid")),
    responses((status = 200, description = "The seats of each section", body = AvailabilityView)),
)]
async fn availability(
    State(app): State<Arc<App>>,
    MaybeCaller(viewer): MaybeCaller,
    Path(event_id): Path<String>,
) -> Result<Response, Problem> {
    let facts = visible(&app, id(&event_id, "event")?, viewer.as_ref()).await?;
    let terms = &facts.of.event.terms;
    let organizer = match &viewer {
        Some(viewer) => match is_insider(&app, terms, viewer).await {
            Ok(is_insider) => is_insider,
            // The store is away. What everybody may see, the gate can still say.
            Err(_) if terms.is_public() => false,
            Err(away) => return Err(away),
        },
        None => false,
    };
    let view = AvailabilityView::load(&app, &facts.of, organizer).await?;
    let cache = if organizer { "private, no-store" } else { "max-age=1" };
    let room = app.answers.room(view.bytes_max()).await?;
    let mut answer = json_in(room, HeaderMap::new(), StatusCode::OK, &view);
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    Ok(answer.map(Content::into))
}

/// Changes an event.
#[utoipa::path(
    patch, path = "/api/v1/events/{event_id}", tag = TAG, operation_id = "update_event",
    request_body = ReviseEvent,
    security(("bearer" = [])),
    params(("event_id" = String, Path, format = "uuid"), super::docs::IfMatch),
    responses((status = 200, description = "The event", body = EventView)),
)]
async fn revise(
    State(app): State<Arc<App>>,
    CurrentCaller(caller): CurrentCaller,
    Path(event_id): Path<String>,
    headers: HeaderMap,
    Json(change): Json<ReviseEvent>,
) -> Result<Response, Problem> {
    let event_id = id(&event_id, "event")?;
    let expected = expected_version(&headers, app.core.store.epoch())?;
    let at = |at: Option<Option<At>>| at.map(|at| at.map(|At(at)| at));
    let date = match (change.event_date, change.timezone) {
        (None, None) => None,
        (date, zone) => {
            let (now, _) = visible_now(&app, event_id, &caller, Permission::EventWrite).await?;
            let zone = zone.map_or(Ok(now.of.event.timezone), |zone| timezone(Some(&zone)))?;
            let field = if date.is_some() { "event_date" } else { "timezone" };
            let date = date.unwrap_or_else(|| now.of.event.date.as_str().to_owned());
            Some((event_date(&date, zone, field)?, zone))
        }
    };
    let change = EventChange {
        title: change.title,
        description: change.description,
        venue: change.venue,
        date,
        status: change.status.as_deref().and_then(EventStatus::parse),
        sales_start: at(change.sales_start),
        sales_end: at(change.sales_end),
        max_seats_per_booking: change.max_seats_per_booking,
        max_seats_per_user: change.max_seats_per_user,
        hold_ttl_ms: change.hold_ttl_seconds.map(|seconds| seconds.map(|seconds| seconds * 1_000)),
        cancellable_until: at(change.cancellable_until),
        prevent_orphans: change.prevent_orphans,
        currency: change.currency.as_deref().and_then(Currency::parse),
    };
    let by = acting(&app, event_id, &caller).await?;
    let change = app.core.store.revise_event(event_id, by, expected, change);
    let asked_at = tokio::time::Instant::now();
    let changed_too = app.core.catalog.changing(event_id, change).await?;
    for inventory in &changed_too {
        app.core.settle(inventory, asked_at).await;
    }
    Ok(with_etag(changed(&app, event_id, (by, Permission::EventWrite)).await?))
}

/// Cancels an event. Its holds and confirmed bookings are cancelled shortly afterwards.
#[utoipa::path(
    post, path = "/api/v1/events/{event_id}/cancel", tag = ORGANIZERS,
    operation_id = "cancel_event",
    request_body(content = super::docs::Empty, description = "Nothing, or an empty object"),
    security(("bearer" = [])),
    params(("event_id" = String, Path, format = "uuid")),
    responses((status = 200, description = "The event", body = EventView)),
)]
async fn cancel(
    State(app): State<Arc<App>>,
    CurrentCaller(caller): CurrentCaller,
    Path(event_id): Path<String>,
    _: NoBody,
) -> Result<Response, Problem> {
    let event_id = id(&event_id, "event")?;
    let by = acting(&app, event_id, &caller).await?;
    let change = app.core.store.cancel_event(event_id, by);
    app.core.catalog.changing(event_id, change).await?;
    Ok(with_etag(changed(&app, event_id, (by, Permission::EventCancel)).await?))
}

/// Lists the bookings of an event for its organizer, newest first.
#[utoipa::path(
    get, path = "/api/v1/events/{event_id}/bookings", tag = ORGANIZERS,
    operation_id = "list_event_bookings",
    security(("bearer" = [])),
    params(
        ("event_id" = String, Path, format = "uuid"),
        ("status" = Option<super::bookings::StatusWord>, Query, description = "The current status"),
        super::docs::PageParams,
    ),
    responses((status = 200, description = "A page of bookings", body = BookingPage)),
)]
async fn bookings(
    State(app): State<Arc<App>>,
    CurrentCaller(caller): CurrentCaller,
    Path(event_id): Path<String>,
    params: Params,
) -> Result<Response, Problem> {
    let event_id = id(&event_id, "event")?;
    let (facts, by) = acting_lately(&app, event_id, &caller).await?;
    may_list(by, &facts.of.event.terms)?;
    let filter =
        BookingFilter { user: None, event: Some(event_id), status: status_filter(&params)? };
    listed(&app, &filter, &params).await
}
