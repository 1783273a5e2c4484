//! The sections of an event: added, read and changed.

use super::forms::{NewSection, ReviseSection};
use super::opening::open;
use super::views::{EventView, SectionView, is_known};
use super::{
    MISSING_SECTION, TAG, changed, changed_section, created, kept, once, visible, visible_now,
};
use crate::http::App;
use crate::http::body::Json;
use crate::http::extract::{
    CurrentCaller, IfNoneMatch, Key, MaybeCaller, Path, expected_version, id,
};
use crate::http::problem::Problem;
use crate::http::wire::fingerprint;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use engine::access::{Permission, may};
use engine::{Currency, Error, EventId, Money, Refusal, SectionChange};
use std::sync::Arc;
use store::CreationKey;

/// Adds a section.
#[utoipa::path(
    post, path = "/api/v1/events/{event_id}/sections", tag = TAG, operation_id = "create_section",
    request_body = NewSection,
    security(("bearer" = [])),
    params(("event_id" = String, Path, format = "uuid"), crate::http::docs::IdempotencyKey),
    responses(
        (
            status = 201, description = "The section", body = SectionView,
            headers(
                ("Location" = String, description = "The path of the section"),
                (
                    "Idempotent-Replayed" = Option<String>,
                    description = "`true` if an earlier request with this key created the section"
                ),
            ),
        ),
    ),
)]
pub(super) async fn add_section(
    State(app): State<Arc<App>>,
    CurrentCaller(caller): CurrentCaller,
    Path(event_id): Path<String>,
    Key(key): Key,
    Json(mut new): Json<NewSection>,
) -> Result<Response, Problem> {
    new.simplify();
    let event_id: EventId = id(&event_id, "event")?;
    let request = (event_id.to_string(), new.clone());
    let user_id = caller.id();
    let key = key.map(|key| CreationKey { user_id, key, fingerprint: fingerprint(&request) });
    let what = Permission::EventWrite;
    let (facts, by) = visible_now(&app, event_id, &caller, what).await?;
    let of_event = facts.of.sections.first().map(|section| section.price.currency);
    let inherits = new.own_currency().is_none();
    let planned =
        new.build(&app, event_id, of_event.unwrap_or(app.core.config.default_currency))?;
    let (mut sections, mut openings) = open(&app, vec![planned], |_| String::new()).await?;
    let mut section = sections.pop().expect("as many as were planned");
    let opening = openings.pop().expect("one for each section");
    let (name, core) = (key.as_ref().map(|key| key.key.clone()), app.core.clone());
    let work = async move {
        let store = &core.store;
        let add =
            async || match store.add_section(&section, opening.clone(), by, key.as_ref()).await {
                // What is kept of the event is older than a change of its currency.
                Err(Error::Refused(Refusal::CurrencyMismatch { currency })) if inherits => {
                    section.price.currency = currency;
                    let opening = opening.in_currency(currency);
                    store.add_section(&section, opening, by, key.as_ref()).await
                }
                added => added,
            };
        core.catalog.changing(event_id, add()).await
    };
    let done = once(&app, "add_section", user_id, name, work).await?;
    let view = changed(&app, event_id, (by, Permission::EventWrite)).await?;
    let location = format!("/api/v1/events/{event_id}/sections/{}", done.id);
    let etag = view.etag();
    let section = view.into_section(done.id).ok_or(MISSING_SECTION)?;
    Ok(created(&location, etag, done.replayed, section))
}

/// Returns a section of an event, with live availability.
#[utoipa::path(
    get, path = "/api/v1/events/{event_id}/sections/{section_id}", tag = TAG,
    operation_id = "get_section",
    security((), ("bearer" = [])),
    params(
        ("event_id" = String, Path, format = "uuid"),
        (
            "section_id" = String, Path, min_length = 1, max_length = 100,
            description = "The section's id, or its name",
        ),
        crate::http::docs::IfNoneMatch,
    ),
    responses(
        (
            status = 200, description = "The section", body = SectionView,
            headers(("ETag" = String, description = "The version of the event")),
        ),
        (status = 304, description = "Nothing has changed"),
    ),
)]
pub(super) async fn read_section(
    State(app): State<Arc<App>>,
    MaybeCaller(viewer): MaybeCaller,
    Path((event_id, section_id)): Path<(String, String)>,
    IfNoneMatch(known): IfNoneMatch,
) -> Result<Response, Problem> {
    let facts = visible(&app, id(&event_id, "event")?, viewer.as_ref()).await?;
    let section_id = facts.resolve(&section_id).ok_or(MISSING_SECTION)?.section_id;
    let view = EventView::load(&app, &facts.of).await?;
    let headers_out = kept(&facts, view.etag());
    if is_known(&known, &headers_out[0].1) {
        return Ok((StatusCode::NOT_MODIFIED, headers_out).into_response());
    }
    let section = view.into_section(section_id).ok_or(MISSING_SECTION)?;
    Ok((headers_out, axum::Json(section)).into_response())
}

/// Changes a section: all of the changes or none.
#[utoipa::path(
    patch, path = "/api/v1/events/{event_id}/sections/{section_id}", tag = TAG,
    operation_id = "update_section", request_body = ReviseSection,
    security(("bearer" = [])),
    params(
        ("event_id" = String, Path, format = "uuid"),
        (
            "section_id" = String, Path, min_length = 1, max_length = 100,
            description = "The section's id, or its name",
        ),
        crate::http::docs::IfMatch,
    ),
    responses((status = 200, description = "The section", body = SectionView)),
)]
pub(super) async fn revise_section(
    State(app): State<Arc<App>>,
    CurrentCaller(caller): CurrentCaller,
    Path((event_id, section_id)): Path<(String, String)>,
    headers: HeaderMap,
    Json(change): Json<ReviseSection>,
) -> Result<Response, Problem> {
    let event_id = id(&event_id, "event")?;
    let expected = expected_version(&headers, app.core.store.epoch())?;
    let what = Permission::EventWrite;
    let (facts, by) = visible_now(&app, event_id, &caller, what).await?;
    may(by, what, &facts.of.event.terms)?;
    let section = facts.resolve(&section_id).ok_or(MISSING_SECTION)?;
    let price = (change.price.is_some() || change.currency.is_some()).then(|| Money {
        minor: change.price.unwrap_or(section.price.minor),
        currency: change
            .currency
            .as_deref()
            .and_then(Currency::parse)
            .unwrap_or(section.price.currency),
    });
    let section_id = section.section_id;
    let change = SectionChange {
        name: change.name.map(Arc::from),
        price,
        capacity: change.capacity,
        layout: None,
    };
    let change = app.core.store.revise_section(event_id, section_id, by, expected, change);
    let asked_at = tokio::time::Instant::now();
    let inventory = app.core.catalog.changing(event_id, change).await?;
    app.core.settle(&inventory, asked_at).await;
    changed_section(&app, event_id, section_id, (by, what)).await
}
