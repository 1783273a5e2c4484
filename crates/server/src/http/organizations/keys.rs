//! Keys of an organization: made, listed, made smaller, rotated and ended.

use super::forms::confined;
use super::{TAG, change as changed, first, named, seen_with};
use crate::config::Network;
use crate::http::App;
use crate::http::body::{Json, Optional};
use crate::http::docs::{OrganizationWord, PermissionWord, ScopeWord};
use crate::http::events::{created, is_known, once};
use crate::http::extract::{
    Change, CurrentUser, IfNoneMatch, Key as IdempotencyKey, Path, expected_version, id,
};
use crate::http::keys::new_key;
use crate::http::lists::{PAGE_BYTES_MAX, Params, by_serde, page};
use crate::http::problem::{FieldError, Problem};
use crate::http::wire::{
    At, composed, fingerprint, given, given_composed, legible, present, shown, shown_or_null, uuid,
};
use crate::random::random;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::access::{
    ApiKey, EVENTS_MAX, KEY_NETWORKS_MAX, KEY_OVERLAP_MS_MAX, KEY_RATE_MAX, KEY_TTL_MS, KeyChange,
    KeyCommand, KeyScope, OrgCommand, Permission, Permissions, grantable,
};
use engine::{KeyId, OrgId, Refusal, Shard, Timestamp, UserId};
use garde::Validate;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use store::{CreationKey, Epoch, StoredKey};
use utoipa::ToSchema;

const MISSING: Refusal = Refusal::NotFound { what: "key" };
/// Permissions that a key can have.
const SCOPES_MAX: usize = 13;
/// How long a former secret is good if nobody says otherwise.
const OVERLAP_SECONDS: i64 = 24 * 60 * 60;
const OVERLAP_SECONDS_MAX: i64 = KEY_OVERLAP_MS_MAX / 1_000;

/// A new key of an organization.
#[derive(Deserialize, Serialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewKey)]
pub(super) struct NewKey {
    #[serde(deserialize_with = "composed")]
    #[garde(length(chars, min = 1, max = 100), custom(legible))]
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]([^\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]*[^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8])?$"
    )]
    name: String,
    /// What the key may do: permissions of the caller.
    #[garde(length(min = 1, max = SCOPES_MAX), inner(custom(scope)))]
    #[schema(value_type = Vec<ScopeWord>, min_items = 1, max_items = 13)]
    scopes: Vec<String>,
    /// The only events of the organization at which the key may do it; all if missing or null.
    #[serde(default)]
    #[garde(inner(length(min = 1, max = EVENTS_MAX), inner(custom(uuid))))]
    #[schema(value_type = Option<Vec<uuid::Uuid>>, min_items = 1, max_items = 100)]
    events: Option<Vec<String>>,
    /// The only addresses and networks from which the key is accepted; all if missing or null.
    #[serde(default)]
    #[garde(inner(length(min = 1, max = KEY_NETWORKS_MAX), inner(custom(network))))]
    #[schema(value_type = Option<Vec<String>>, min_items = 1, max_items = 20)]
    networks: Option<Vec<String>>,
    /// Requests per second, on each instance; `RATE_LIMIT_KEY_REQUESTS_PER_SECOND` if missing or null.
    #[serde(default)]
    #[garde(inner(range(min = 1, max = KEY_RATE_MAX)))]
    #[schema(minimum = 1, maximum = 100_000)]
    rate: Option<u32>,
    /// When the key ends: in a year if missing, never if null, which only an owner can choose.
    #[serde(default, deserialize_with = "present")]
    #[garde(skip)]
    #[schema(value_type = Option<String>, format = "date-time")]
    expires_at: Option<Option<At>>,
}

/// Changes to a key, which can only make it smaller; `name` and `rate` can be any others.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UpdateKey)]
pub(super) struct ReviseKey {
    #[serde(default, deserialize_with = "given_composed")]
    #[garde(inner(length(chars, min = 1, max = 100), custom(legible)))]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 100, pattern = r"^[^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]([^\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]*[^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8])?$")]
    name: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[garde(inner(length(min = 1, max = SCOPES_MAX), inner(custom(scope))))]
    #[schema(value_type = Vec<ScopeWord>, required = false, min_items = 1, max_items = 13)]
    scopes: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present")]
    #[garde(inner(inner(length(min = 1, max = EVENTS_MAX), inner(custom(uuid)))))]
    #[schema(value_type = Option<Vec<uuid::Uuid>>, min_items = 1, max_items = 100)]
    events: Option<Option<Vec<String>>>,
    #[serde(default, deserialize_with = "present")]
    #[garde(inner(inner(length(min = 1, max = KEY_NETWORKS_MAX), inner(custom(network)))))]
    #[schema(value_type = Option<Vec<String>>, min_items = 1, max_items = 20)]
    networks: Option<Option<Vec<String>>>,
    #[serde(default, deserialize_with = "present")]
    #[garde(inner(inner(range(min = 1, max = KEY_RATE_MAX))))]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 100_000)]
    rate: Option<Option<u32>>,
    #[serde(default, deserialize_with = "present")]
    #[garde(skip)]
    #[schema(value_type = Option<String>, format = "date-time")]
    expires_at: Option<Option<At>>,
}

/// How a secret is replaced.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RotateKey {
    /// How long the present secret is accepted beside the new one; a day if missing.
    #[serde(default, deserialize_with = "given")]
    #[garde(inner(range(min = 0, max = OVERLAP_SECONDS_MAX)))]
    #[schema(value_type = i64, required = false, minimum = 0, maximum = 604_800)]
    overlap_seconds: Option<i64>,
}

/// For garde: refuses what no key can have.
fn scope(word: &str, (): &()) -> garde::Result {
    let is_one = Permission::parse(word).is_some_and(grantable);
    let all = Permission::ALL.into_iter().filter(|what| grantable(*what));
    let must = || {
        let all: Vec<_> = all.map(Permission::as_str).collect();
        garde::Error::new(format!("must be one of {}", all.join(", ")))
    };
    is_one.then_some(()).ok_or_else(must)
}

/// For garde: refuses what is neither an address nor a network.
fn network(text: &str, (): &()) -> garde::Result {
    let must = "must be an address or a network, such as 192.0.2.0/24";
    Network::parse(text).map(drop).map_err(|_| garde::Error::new(must))
}

/// The permissions that valid words name; a word that comes twice is an error.
fn permissions(words: &[String]) -> Result<Permissions, Problem> {
    let (mut named, mut errors) = (BTreeSet::new(), Vec::new());
    for (at, word) in words.iter().enumerate() {
        let what = Permission::parse(word).expect("it was validated");
        if !named.insert(what) {
            let (field, message) = (format!("scopes[{at}]"), "duplicate scope".to_owned());
            errors.push(FieldError { field, message });
        }
    }
    if errors.is_empty() { Ok(named.into_iter().collect()) } else { Err(Problem::invalid(&errors)) }
}

/// A key of an organization.
#[derive(Serialize, ToSchema)]
#[schema(as = Key)]
pub(super) struct KeyView {
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    key_id: KeyId,
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    organization_id: OrgId,
    name: String,
    #[schema(value_type = Vec<PermissionWord>)]
    scopes: Vec<&'static str>,
    /// The only events at which the key may do it; null: all.
    #[schema(value_type = Option<Vec<uuid::Uuid>>, required, min_items = 1, max_items = 100)]
    events: Option<Vec<String>>,
    /// The only addresses and networks from which the key is accepted; null: all.
    #[schema(required, min_items = 1, max_items = 20)]
    networks: Option<Vec<String>>,
    /// Requests per second, on each instance; null: as the server is configured.
    #[schema(required)]
    rate: Option<u32>,
    /// The last characters of the secret.
    hint: String,
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    created_by: UserId,
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "date-time")]
    created_at: Timestamp,
    /// When it ends; null: never.
    #[serde(serialize_with = "shown_or_null")]
    #[schema(value_type = Option<String>, required, format = "date-time")]
    expires_at: Option<Timestamp>,
    /// Until when the former secret is accepted, if it still is.
    #[serde(serialize_with = "shown_or_null")]
    #[schema(value_type = Option<String>, required, format = "date-time")]
    previous_until: Option<Timestamp>,
    /// When it was used last, to within two minutes; null: never.
    #[serde(serialize_with = "shown_or_null")]
    #[schema(value_type = Option<String>, required, format = "date-time")]
    last_used_at: Option<Timestamp>,
    /// Increases with every change.
    version: i64,
    /// The key as it is sent with requests; only in the answer that makes it, or replaces its secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    secret: Option<String>,
}

impl KeyView {
    fn new(of: StoredKey, secret: Option<String>, now: Timestamp) -> Self {
        let StoredKey { key, last_used_at } = of;
        let previous_until = key.previous.map(|(_, until)| until);
        Self {
            key_id: key.key_id,
            organization_id: key.org_id,
            name: key.name,
            scopes: key.scope.can.iter().map(Permission::as_str).collect(),
            events: super::views::ids(&key.scope.events),
            networks: key.scope.networks.as_deref().map(<[_]>::to_vec),
            rate: key.scope.rate,
            hint: key.secret.hint,
            created_by: key.created_by,
            created_at: key.created_at,
            expires_at: key.scope.expires_at,
            previous_until: previous_until.filter(|until| now < *until),
            last_used_at,
            version: key.version,
            secret,
        }
    }

    fn id(&self) -> KeyId {
        self.key_id
    }

    fn etag(&self, epoch: Epoch) -> HeaderValue {
        let tag = format!("\"{}.{epoch}\"", self.version);
        HeaderValue::from_str(&tag).expect("digits are valid in a header")
    }
}

/// A page of keys, newest first.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a page; `lists::page` writes it")]
pub(super) struct KeyPage {
    #[schema(max_items = 100)]
    items: Vec<KeyView>,
    /// The value of `after` for the next page; null on the last page.
    #[schema(required, format = "uuid")]
    next: Option<String>,
}

/// A key of this organization, as it is stored now.
async fn stored(app: &App, org_id: OrgId, key_id: KeyId) -> Result<StoredKey, Problem> {
    let found = app.core.store.api_key(key_id).await?;
    Ok(found.filter(|stored| stored.key.org_id == org_id).ok_or(MISSING)?)
}

/// The key after a change, with the secret that it got by it.
async fn answered(
    app: &App,
    org_id: OrgId,
    key_id: KeyId,
    secret: Option<String>,
) -> Result<Response, Problem> {
    let view = KeyView::new(stored(app, org_id, key_id).await?, secret, app.core.store.now());
    let etag = view.etag(app.core.store.epoch());
    Ok((secretly(etag), axum::Json(view)).into_response())
}

fn secretly(etag: HeaderValue) -> [(header::HeaderName, HeaderValue); 2] {
    let cache = HeaderValue::from_static("private, no-store");
    [(header::ETAG, etag), (header::CACHE_CONTROL, cache)]
}

/// Makes a key by which a server acts for the organization. Its secret is shown once: a repeated request
/// with the same `Idempotency-Key` is answered without it.
#[utoipa::path(
    post, path = "/api/v1/organizations/{organization_id}/keys", tag = TAG,
    operation_id = "create_key",
    request_body = NewKey,
    security(("bearer" = [])),
    params(("organization_id" = OrganizationWord, Path), crate::http::docs::IdempotencyKey),
    responses(
        (
            status = 201, description = "The key, with its `secret`", body = KeyView,
            headers(
                ("Location" = String, description = "The path of the key"),
                ("ETag" = String, description = "Its version"),
                (
                    "Idempotent-Replayed" = Option<String>,
                    description = "`true` if an earlier request with this key made it"
                ),
            ),
        ),
    ),
)]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    CurrentUser(user_id): CurrentUser,
    Path(organization_id): Path<String>,
    IdempotencyKey(name): IdempotencyKey,
    Change(note): Change,
    Json(new): Json<NewKey>,
) -> Result<Response, Problem> {
    let org_id = named(&organization_id, user_id)?;
    let request = (org_id.to_string(), &new);
    let creation = name.map(|key| CreationKey { user_id, key, fingerprint: fingerprint(&request) });
    seen_with(&app, org_id, user_id, Permission::IntegrationWrite).await?;
    let (now, shard) = (app.core.store.now(), Shard::pick(u64::from_le_bytes(random())));
    let (secret, kept) = new_key(app.core.config.environment);
    let key = ApiKey {
        key_id: KeyId::new(now, shard, u64::from_le_bytes(random())),
        org_id,
        scope: KeyScope {
            can: permissions(&new.scopes)?,
            events: confined(&app, org_id, new.events).await?,
            networks: new.networks.map(Into::into),
            rate: new.rate,
            expires_at: match new.expires_at {
                None => Some(now.plus_ms(KEY_TTL_MS)),
                Some(chosen) => chosen.map(|At(at)| at),
            },
        },
        name: new.name,
        secret: kept,
        previous: None,
        created_by: user_id,
        created_at: now,
        revoked_at: None,
        version: 1,
    };
    let (name, store) = (creation.as_ref().map(|key| key.key.clone()), app.core.store.clone());
    let work = async move { store.create_api_key(&key, user_id, &note, creation.as_ref()).await };
    let done = once(&app, "create_key", user_id, name, work).await?;
    app.keys.changed();
    let secret = (!done.replayed).then_some(secret);
    let view = KeyView::new(stored(&app, org_id, done.id).await?, secret, now);
    let location = format!("/api/v1/organizations/{org_id}/keys/{}", done.id);
    let etag = view.etag(app.core.store.epoch());
    let mut answer = created(&location, etag, done.replayed, view);
    let cache = HeaderValue::from_static("private, no-store");
    answer.headers_mut().insert(header::CACHE_CONTROL, cache);
    Ok(answer)
}

/// Lists the keys that have not ended, newest first.
#[utoipa::path(
    get, path = "/api/v1/organizations/{organization_id}/keys", tag = TAG,
    operation_id = "list_keys",
    security(("bearer" = [])),
    params(("organization_id" = OrganizationWord, Path), crate::http::docs::PageParams),
    responses((status = 200, description = "A page of keys", body = KeyPage)),
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    CurrentUser(user_id): CurrentUser,
    Path(organization_id): Path<String>,
    params: Params,
) -> Result<Response, Problem> {
    let part = params.page::<KeyId>()?;
    let org_id = named(&organization_id, user_id)?;
    seen_with(&app, org_id, user_id, Permission::IntegrationWrite).await?;
    let room = app.answers.room(PAGE_BYTES_MAX).await?;
    let now = app.core.store.now();
    let live = app.core.store.api_keys(org_id).await?.into_iter().rev();
    let older = live.filter(|of| part.after.is_none_or(|after| of.key.key_id < after));
    let (items, has_more) = first(older, part.limit);
    let views = items.into_iter().map(|of| KeyView::new(of, None, now));
    Ok(page(room, views, has_more, KeyView::id, by_serde))
}

/// Returns a key, without its secret.
#[utoipa::path(
    get, path = "/api/v1/organizations/{organization_id}/keys/{key_id}", tag = TAG,
    operation_id = "get_key",
    security(("bearer" = [])),
    params(
        ("organization_id" = OrganizationWord, Path), ("key_id" = String, Path, format = "uuid"),
        crate::http::docs::IfNoneMatch,
    ),
    responses(
        (
            status = 200, description = "The key", body = KeyView,
            headers(("ETag" = String, description = "Its version")),
        ),
        (status = 304, description = "Nothing has changed"),
    ),
)]
pub(super) async fn read(
    State(app): State<Arc<App>>,
    CurrentUser(user_id): CurrentUser,
    Path((organization_id, key_id)): Path<(String, String)>,
    IfNoneMatch(known): IfNoneMatch,
) -> Result<Response, Problem> {
    let org_id = named(&organization_id, user_id)?;
    seen_with(&app, org_id, user_id, Permission::IntegrationWrite).await?;
    let (now, epoch) = (app.core.store.now(), app.core.store.epoch());
    let stored = stored(&app, org_id, id(&key_id, "key")?).await?;
    if !stored.key.is_live(now) {
        return Err(MISSING.into());
    }
    let view = KeyView::new(stored, None, now);
    // When it was used is shown, too, and changes no version.
    let tag = format!("\"{}.{:x}.{epoch}\"", view.version, fingerprint(&view));
    let etag = HeaderValue::from_str(&tag).expect("digits are valid in a header");
    let headers_out = secretly(etag.clone());
    if is_known(&known, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, headers_out).into_response());
    }
    Ok((headers_out, axum::Json(view)).into_response())
}

/// Makes a key smaller, or gives it another name or rate.
#[utoipa::path(
    patch, path = "/api/v1/organizations/{organization_id}/keys/{key_id}", tag = TAG,
    operation_id = "update_key",
    request_body = ReviseKey,
    security(("bearer" = [])),
    params(
        ("organization_id" = OrganizationWord, Path), ("key_id" = String, Path, format = "uuid"),
        crate::http::docs::IfMatch,
    ),
    responses(
        (
            status = 200, description = "The key", body = KeyView,
            headers(("ETag" = String, description = "Its version")),
        ),
    ),
)]
pub(super) async fn revise(
    State(app): State<Arc<App>>,
    CurrentUser(user_id): CurrentUser,
    Path((organization_id, key_id)): Path<(String, String)>,
    headers: HeaderMap,
    Change(note): Change,
    Json(wanted): Json<ReviseKey>,
) -> Result<Response, Problem> {
    let org_id = named(&organization_id, user_id)?;
    let key_id: KeyId = id(&key_id, "key")?;
    let expected = expected_version(&headers, app.core.store.epoch())?;
    seen_with(&app, org_id, user_id, Permission::IntegrationWrite).await?;
    let change = KeyChange {
        name: wanted.name,
        can: wanted.scopes.as_deref().map(permissions).transpose()?,
        events: match wanted.events {
            Some(events) => Some(confined(&app, org_id, events).await?),
            None => None,
        },
        networks: wanted.networks.map(|networks| networks.map(Into::into)),
        rate: wanted.rate,
        expires_at: wanted.expires_at.map(|chosen| chosen.map(|At(at)| at)),
    };
    let command = KeyCommand::Change { key_id, expected, change: Box::new(change) };
    changed(&app.core, org_id, user_id, OrgCommand::Key(command), &note).await?;
    app.keys.changed();
    answered(&app, org_id, key_id, None).await
}

/// Gives a key another secret. The former one is accepted beside it for `overlap_seconds`, so that servers
/// can change one after the other; one that was former before ends now.
#[utoipa::path(
    post, path = "/api/v1/organizations/{organization_id}/keys/{key_id}/rotate", tag = TAG,
    operation_id = "rotate_key",
    request_body = RotateKey,
    security(("bearer" = [])),
    params(
        ("organization_id" = OrganizationWord, Path), ("key_id" = String, Path, format = "uuid"),
    ),
    responses(
        (
            status = 200, description = "The key, with its new `secret`", body = KeyView,
            headers(("ETag" = String, description = "Its version")),
        ),
    ),
)]
pub(super) async fn rotate(
    State(app): State<Arc<App>>,
    CurrentUser(user_id): CurrentUser,
    Path((organization_id, key_id)): Path<(String, String)>,
    Change(note): Change,
    Optional(wanted): Optional<RotateKey>,
) -> Result<Response, Problem> {
    let org_id = named(&organization_id, user_id)?;
    let key_id: KeyId = id(&key_id, "key")?;
    let overlap = wanted.and_then(|wanted| wanted.overlap_seconds).unwrap_or(OVERLAP_SECONDS);
    let (secret, kept) = new_key(app.core.config.environment);
    let command = KeyCommand::Rotate { key_id, secret: kept, overlap_ms: overlap * 1_000 };
    changed(&app.core, org_id, user_id, OrgCommand::Key(command), &note).await?;
    app.keys.changed();
    answered(&app, org_id, key_id, Some(secret)).await
}

/// Ends a key, here at once and everywhere within a second.
#[utoipa::path(
    delete, path = "/api/v1/organizations/{organization_id}/keys/{key_id}", tag = TAG,
    operation_id = "delete_key",
    security(("bearer" = [])),
    params(
        ("organization_id" = OrganizationWord, Path), ("key_id" = String, Path, format = "uuid"),
    ),
    responses((status = 204, description = "The key has ended")),
)]
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    CurrentUser(user_id): CurrentUser,
    Path((organization_id, key_id)): Path<(String, String)>,
    Change(note): Change,
) -> Result<StatusCode, Problem> {
    let org_id = named(&organization_id, user_id)?;
    let command = KeyCommand::Revoke { key_id: id(&key_id, "key")? };
    let ended: Result<_, engine::Error> =
        changed(&app.core, org_id, user_id, OrgCommand::Key(command), &note).await;
    // Also when nobody knows whether it was.
    app.keys.changed();
    ended?;
    Ok(StatusCode::NO_CONTENT)
}
