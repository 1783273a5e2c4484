//! Series of events: recording, listing, reading and renaming, by the members of their organization.

use super::App;
use super::body::Json;
use super::events::{created, is_known, once, organization};
use super::extract::{Caller, CurrentCaller, IfNoneMatch, Key, Path, expected_version, id};
use super::lists::{PAGE_BYTES_MAX, Params, by_serde, page};
use super::organizations::OwnerView;
use super::problem::Problem;
use super::wire::{composed, fingerprint, given, given_composed, legible, shown, uuid};
use crate::random::random;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::access::{Permission, may};
use engine::{Fault, OrgId, Refusal, Series, SeriesChange, SeriesId, Shard, Timestamp};
use garde::Validate;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use store::{CreationKey, Epoch};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

const TAG: &str = "Series";
const MISSING: Refusal = Refusal::NotFound { what: "series" };

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(read, revise))
}

/// A new series.
#[derive(Deserialize, Serialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewSeries {
    #[serde(deserialize_with = "composed")]
    #[garde(length(chars, min = 1, max = 200), custom(legible))]
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]([^\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]*[^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8])?$"
    )]
    title: String,
    /// The organization that it is of; the caller's own if missing.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[garde(inner(custom(uuid)))]
    #[schema(value_type = String, required = false, format = "uuid")]
    organization_id: Option<String>,
}

/// Changes to a series.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UpdateSeries)]
struct ReviseSeries {
    #[serde(default, deserialize_with = "given_composed")]
    #[garde(inner(length(chars, min = 1, max = 200), custom(legible)))]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 200, pattern = r"^[^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]([^\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]*[^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8])?$")]
    title: Option<String>,
}

/// A series of events.
#[derive(Serialize, ToSchema)]
#[schema(as = Series)]
struct SeriesView {
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    series_id: SeriesId,
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    organizer_id: OrgId,
    organization: OwnerView,
    title: String,
    version: i64,
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "date-time")]
    created_at: Timestamp,
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "date-time")]
    updated_at: Timestamp,
}

impl SeriesView {
    fn new(of: Series, organization: OwnerView) -> Self {
        Self {
            series_id: of.series_id,
            organizer_id: of.organizer_id,
            organization,
            title: of.title,
            version: of.version,
            created_at: of.created_at,
            updated_at: of.updated_at,
        }
    }

    /// With the name of its organization as it is known.
    async fn load(app: &App, of: Series) -> Result<Self, Fault> {
        let owner = OwnerView::load(app, of.organizer_id).await?;
        Ok(Self::new(of, owner))
    }

    /// Its version, that of the name of its organization, and the history of the store in which it has them.
    fn etag(&self, epoch: Epoch) -> HeaderValue {
        let tag = format!("\"{}.{}.{epoch}\"", self.version, self.organization.version);
        HeaderValue::from_str(&tag).expect("digits are valid in a header")
    }
}

/// A page of series, newest first.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a page; `lists::page` writes it")]
struct SeriesPage {
    #[schema(max_items = 100)]
    items: Vec<SeriesView>,
    /// The value of `after` for the next page; null on the last page.
    #[schema(required, format = "uuid")]
    next: Option<String>,
}

/// Creates a series of the organization of the user, or of another one. Events can be created in it.
#[utoipa::path(
    post, path = "/api/v1/series", tag = TAG, operation_id = "create_series",
    request_body = NewSeries,
    security(("bearer" = [])),
    params(super::docs::IdempotencyKey),
    responses(
        (
            status = 201, description = "The series", body = SeriesView,
            headers(
                ("Location" = String, description = "The path of the series"),
                ("ETag" = String, description = "Its version"),
                (
                    "Idempotent-Replayed" = Option<String>,
                    description = "`true` if an earlier request with this key created the series"
                ),
            ),
        ),
    ),
)]
async fn create(
    State(app): State<Arc<App>>,
    CurrentCaller(caller): CurrentCaller,
    Key(key): Key,
    Json(mut new): Json<NewSeries>,
) -> Result<Response, Problem> {
    let org_id = organization(&mut new.organization_id, &caller);
    let user_id = caller.id();
    let by = app.core.rights.by(&caller, org_id, None).await?;
    let key = key.map(|key| CreationKey { user_id, key, fingerprint: fingerprint(&new) });
    let now = app.core.store.now();
    let shard = Shard::pick(u64::from_le_bytes(random()));
    let series = Series {
        series_id: SeriesId::new(now, shard, u64::from_le_bytes(random())),
        organizer_id: org_id,
        title: new.title,
        version: 1,
        created_at: now,
        updated_at: now,
    };
    let (name, store) = (key.as_ref().map(|key| key.key.clone()), app.core.store.clone());
    let work = async move { store.create_series(&series, by, key.as_ref()).await };
    let done = once(&app, "create_series", user_id, name, work).await?;
    let missing = || Fault::Corrupt { what: "a series that was created is not there".to_owned() };
    let series = app.core.store.series(done.id).await?.ok_or_else(missing)?;
    // With a key it may have been made long ago, by somebody who is a member no longer.
    let by = app.core.rights.by(&caller, series.organizer_id, None).await?;
    may(by, Permission::EventWrite, &series)
        .or_else(|_| may(by, Permission::EventRead, &series))?;
    let view = SeriesView::load(&app, series).await?;
    let location = format!("/api/v1/series/{}", done.id);
    Ok(created(&location, view.etag(app.core.store.epoch()), done.replayed, view))
}

/// Lists the series of an organization, newest first.
#[utoipa::path(
    get, path = "/api/v1/series", tag = TAG, operation_id = "list_series",
    security(("bearer" = [])),
    params(
        (
            "organization_id" = Option<String>, Query, format = "uuid",
            description = "The organization; the caller's own if missing",
        ),
        super::docs::PageParams,
    ),
    responses((status = 200, description = "A page of series", body = SeriesPage)),
)]
async fn list(
    State(app): State<Arc<App>>,
    CurrentCaller(caller): CurrentCaller,
    params: Params,
) -> Result<Response, Problem> {
    let of = params.read("organization_id", "must be a UUID", |text| text.parse().ok())?;
    let part = params.page()?;
    let org_id = of.unwrap_or_else(|| caller.home());
    let by = app.core.rights.by(&caller, org_id, None).await?;
    may(by, Permission::EventRead, &org_id)?;
    let room = app.answers.room(PAGE_BYTES_MAX).await?;
    let found = app.core.store.series_of(org_id, part).await?;
    let owner = OwnerView::load(&app, org_id).await?;
    let views = found.items.into_iter().map(|series| SeriesView::new(series, owner.clone()));
    let list = page(room, views, found.has_more, |view| view.series_id, by_serde);
    Ok(([(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], list).into_response())
}

/// Returns a series.
#[utoipa::path(
    get, path = "/api/v1/series/{series_id}", tag = TAG, operation_id = "get_series",
    security(("bearer" = [])),
    params(("series_id" = String, Path, format = "uuid"), super::docs::IfNoneMatch),
    responses(
        (
            status = 200, description = "The series", body = SeriesView,
            headers(("ETag" = String, description = "The version of the series")),
        ),
        (status = 304, description = "Nothing has changed"),
    ),
)]
async fn read(
    State(app): State<Arc<App>>,
    CurrentCaller(caller): CurrentCaller,
    Path(series_id): Path<String>,
    IfNoneMatch(known): IfNoneMatch,
) -> Result<Response, Problem> {
    let series = owned(&app, id(&series_id, "series")?, &caller).await?;
    let view = SeriesView::load(&app, series).await?;
    let etag = view.etag(app.core.store.epoch());
    let cache = (header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    let headers_out = [(header::ETAG, etag.clone()), cache];
    if is_known(&known, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, headers_out).into_response());
    }
    Ok((headers_out, axum::Json(view)).into_response())
}

/// Changes a series.
#[utoipa::path(
    patch, path = "/api/v1/series/{series_id}", tag = TAG, operation_id = "update_series",
    request_body = ReviseSeries,
    security(("bearer" = [])),
    params(("series_id" = String, Path, format = "uuid"), super::docs::IfMatch),
    responses(
        (
            status = 200, description = "The series", body = SeriesView,
            headers(("ETag" = String, description = "Its version")),
        ),
    ),
)]
async fn revise(
    State(app): State<Arc<App>>,
    CurrentCaller(caller): CurrentCaller,
    Path(series_id): Path<String>,
    headers: HeaderMap,
    Json(change): Json<ReviseSeries>,
) -> Result<Response, Problem> {
    let series_id = id(&series_id, "series")?;
    let expected = expected_version(&headers, app.core.store.epoch())?;
    let change = SeriesChange { expected, title: change.title };
    let before = app.core.store.series(series_id).await?.ok_or(MISSING)?;
    let by = app.core.rights.by(&caller, before.organizer_id, None).await?;
    let series = app.core.store.change_series(series_id, by, change).await?;
    let view = SeriesView::load(&app, series).await?;
    let etag = view.etag(app.core.store.epoch());
    Ok(([(header::ETAG, etag)], axum::Json(view)).into_response())
}

/// The series, if it exists for the caller.
async fn owned(app: &App, series_id: SeriesId, caller: &Caller) -> Result<Series, Problem> {
    let series = app.core.store.series(series_id).await?.ok_or(MISSING)?;
    let by = app.core.rights.by(caller, series.organizer_id, None).await?;
    may(by, Permission::EventRead, &series)?;
    Ok(series)
}
