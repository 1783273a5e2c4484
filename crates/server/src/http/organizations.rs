//! Organizations: personal ones and teams, their members, invitations and access log.
//!
//! What is read is decided here, on a roster of one moment. What is changed is decided by the store
//! under the lock of the organization (`engine::access::decide`). What is looked up before that, so
//! that nobody learns of a password or an event where they may do nothing, decides nothing else.

mod forms;
mod invitations;
mod keys;
mod log;
mod members;
mod owner;
mod views;

use super::App;
use super::body::Json;
use super::docs::OrganizationWord;
use super::events::{created, is_known, once};
use super::extract::{Change, CurrentUser, IfNoneMatch, Key, Path, expected_version, id};
use super::lists::{PAGE_BYTES_MAX, Params, by_serde, page};
use super::problem::Problem;
use super::wire::fingerprint;
use crate::core::Core;
use crate::random::random;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::access::{Access, OrgCommand, Permission, Roster};
use engine::{Error, OrgId, Refusal, UserId};
use forms::{NewOrganization, ReviseOrganization};
use std::sync::Arc;
use store::{ChangeNote, CreationKey};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use views::{OrganizationPage, OrganizationView};

pub(super) use owner::OwnerView;

const TAG: &str = "Organizations";
const MISSING: Refusal = Refusal::NotFound { what: "organization" };

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(read, revise))
        .routes(routes!(invitations::invite, invitations::list))
        .routes(routes!(invitations::revoke))
        .routes(routes!(invitations::accept))
        .routes(routes!(members::list))
        .routes(routes!(members::change, members::remove))
        .routes(routes!(members::transfer))
        .routes(routes!(keys::create, keys::list))
        .routes(routes!(keys::read, keys::revise, keys::revoke))
        .routes(routes!(keys::rotate))
        .routes(routes!(log::list))
        .routes(routes!(log::list_whole))
}

/// The organization that a path names.
fn named(text: &str, user_id: UserId) -> Result<OrgId, Problem> {
    match own(user_id) {
        Some(own) if text == "me" => Ok(own),
        _ => id(text, "organization"),
    }
}

/// The personal organization of a user; `None` for one with the id of a team.
fn own(user_id: UserId) -> Option<OrgId> {
    Some(OrgId::from(user_id)).filter(|own| own.owner().is_some())
}

/// An organization, and what a user may do there; not found for somebody who is nothing to it.
async fn seen(app: &App, org_id: OrgId, user_id: UserId) -> Result<(Roster, Access), Problem> {
    let roster = app.core.store.roster(org_id).await?.ok_or(MISSING)?;
    let own = roster.access(user_id).ok_or(MISSING)?;
    Ok((roster, own))
}

/// [`seen`], also for an operator of the installation, who is nothing there.
async fn seen_or_read(
    app: &App,
    org_id: OrgId,
    user_id: UserId,
) -> Result<(Roster, Option<Access>), Problem> {
    let roster = app.core.store.roster(org_id).await?.ok_or(MISSING)?;
    let own = roster.access(user_id);
    if own.is_none() && !app.core.rights.is_operator(user_id).await? {
        return Err(MISSING.into());
    }
    Ok((roster, own))
}

/// [`seen`], for somebody who may do this at the organization itself, and not only at some of its
/// events.
async fn seen_with(
    app: &App,
    org_id: OrgId,
    user_id: UserId,
    permission: Permission,
) -> Result<(Roster, Access), Problem> {
    let (roster, own) = seen_or_read(app, org_id, user_id).await?;
    let may = |own: &Access| own.events.is_none() && own.role.permissions().has(permission);
    match own.filter(may) {
        Some(own) => Ok((roster, own)),
        None => Err(Refusal::PermissionMissing { permission }.into()),
    }
}

/// Changes an organization, and has what is known of its name and its members read again if that may be
/// another.
async fn change(
    core: &Core,
    org_id: OrgId,
    by: UserId,
    command: OrgCommand,
    note: &ChangeNote,
) -> Result<Roster, Error> {
    let (concerned, renames) = (command.concerns(by), command.renames());
    let needs = command.needs();
    let changed = core.store.change_organization(org_id, by, command, note).await;
    let is_seen = renames || !concerned.is_empty();
    if is_seen && !matches!(changed, Err(Error::Refused(_))) {
        core.rights.changed(org_id, &concerned).await;
    }
    match (changed, needs) {
        // Operators see that it is there.
        (Err(Error::Refused(refused)), Some(permission))
            if refused == MISSING && core.rights.is_operator(by).await? =>
        {
            let is_there = core.store.roster(org_id).await?.is_some();
            let lacking = Refusal::PermissionMissing { permission };
            Err(if is_there { lacking } else { refused }.into())
        }
        (changed, _) => changed,
    }
}

/// The first of these, and whether there are more.
fn first<T>(all: impl IntoIterator<Item = T>, limit: u32) -> (Vec<T>, bool) {
    let limit = limit as usize;
    let mut items: Vec<_> = all.into_iter().take(limit + 1).collect();
    let has_more = items.len() > limit;
    items.truncate(limit);
    (items, has_more)
}

/// The organization as a user sees it after a change.
fn answered(app: &App, roster: Roster, user_id: UserId) -> Result<Response, Problem> {
    let own = roster.access(user_id).ok_or(MISSING)?;
    let view = OrganizationView::new(roster.organization, Some(&own));
    let etag = view.etag(app.core.store.epoch());
    Ok(([(header::ETAG, etag)], axum::Json(view)).into_response())
}

/// Founds a team; the user becomes its owner.
#[utoipa::path(
    post, path = "/api/v1/organizations", tag = TAG, operation_id = "create_organization",
    request_body = NewOrganization,
    security(("bearer" = [])),
    params(super::docs::IdempotencyKey),
    responses(
        (
            status = 201, description = "The organization", body = OrganizationView,
            headers(
                ("Location" = String, description = "The path of the organization"),
                ("ETag" = String, description = "Its version"),
                (
                    "Idempotent-Replayed" = Option<String>,
                    description = "`true` if an earlier request with this key created the \
                        organization"
                ),
            ),
        ),
    ),
)]
async fn create(
    State(app): State<Arc<App>>,
    CurrentUser(user_id): CurrentUser,
    Key(key): Key,
    Change(note): Change,
    Json(new): Json<NewOrganization>,
) -> Result<Response, Problem> {
    let key = key.map(|key| CreationKey { user_id, key, fingerprint: fingerprint(&new) });
    let random = (u64::from_le_bytes(random()), u64::from_le_bytes(random()));
    let org_id = OrgId::team(app.core.store.now(), random);
    let (name, core) = (key.as_ref().map(|key| key.key.clone()), app.core.clone());
    let work = async move {
        let done = core.store.found_team(org_id, &new.name, user_id, &note, key.as_ref()).await;
        if !matches!(done, Err(Error::Refused(_))) {
            core.rights.changed(org_id, &[user_id]).await;
        }
        done
    };
    let done = once(&app, "create_organization", user_id, name, work).await?;
    let (roster, own) = seen(&app, done.id, user_id).await?;
    let view = OrganizationView::new(roster.organization, Some(&own));
    let location = format!("/api/v1/organizations/{}", done.id);
    Ok(created(&location, view.etag(app.core.store.epoch()), done.replayed, view))
}

/// Lists the organizations of the caller: the personal one first, then the others in the order of
/// their ids.
#[utoipa::path(
    get, path = "/api/v1/organizations", tag = TAG, operation_id = "list_organizations",
    security(("bearer" = [])),
    params(super::docs::PageParams),
    responses((status = 200, description = "A page of organizations", body = OrganizationPage)),
)]
async fn list(
    State(app): State<Arc<App>>,
    CurrentUser(user_id): CurrentUser,
    params: Params,
) -> Result<Response, Problem> {
    let part = params.page::<OrgId>()?;
    let room = app.answers.room(PAGE_BYTES_MAX).await?;
    let own = own(user_id);
    let personal = match own.filter(|_| part.after.is_none()) {
        Some(own) => Some(seen(&app, own, user_id).await?),
        None => None,
    };
    let personal = personal.map(|(roster, access)| (roster.organization, access));
    // The personal one comes before all others, whatever its id is.
    let after = part.after.filter(|after| Some(*after) != own);
    let joined = app.core.store.organizations_of(user_id).await?.into_iter();
    let joined = joined.map(|(organization, member)| (organization, member.access));
    let joined = joined.filter(|(of, _)| after.is_none_or(|after| of.org_id > after));
    let (items, has_more) = first(personal.into_iter().chain(joined), part.limit);
    let views = items.into_iter().map(|(of, access)| OrganizationView::new(of, Some(&access)));
    Ok(page(room, views, has_more, OrganizationView::id, by_serde))
}

/// Returns an organization.
#[utoipa::path(
    get, path = "/api/v1/organizations/{organization_id}", tag = TAG,
    operation_id = "get_organization",
    security(("bearer" = [])),
    params(("organization_id" = OrganizationWord, Path), super::docs::IfNoneMatch),
    responses(
        (
            status = 200, description = "The organization", body = OrganizationView,
            headers(("ETag" = String, description = "The version of the organization")),
        ),
        (status = 304, description = "Nothing has changed"),
    ),
)]
async fn read(
    State(app): State<Arc<App>>,
    CurrentUser(user_id): CurrentUser,
    Path(organization_id): Path<String>,
    IfNoneMatch(known): IfNoneMatch,
) -> Result<Response, Problem> {
    let (roster, own) = seen_or_read(&app, named(&organization_id, user_id)?, user_id).await?;
    let view = OrganizationView::new(roster.organization, own.as_ref());
    let etag = view.etag(app.core.store.epoch());
    let cache = (header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    let headers_out = [(header::ETAG, etag.clone()), cache];
    if is_known(&known, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, headers_out).into_response());
    }
    Ok((headers_out, axum::Json(view)).into_response())
}

/// Changes the name of an organization.
#[utoipa::path(
    patch, path = "/api/v1/organizations/{organization_id}", tag = TAG,
    operation_id = "update_organization",
    request_body = ReviseOrganization,
    security(("bearer" = [])),
    params(("organization_id" = OrganizationWord, Path), super::docs::IfMatch),
    responses(
        (
            status = 200, description = "The organization", body = OrganizationView,
            headers(("ETag" = String, description = "Its version")),
        ),
    ),
)]
async fn revise(
    State(app): State<Arc<App>>,
    CurrentUser(user_id): CurrentUser,
    Path(organization_id): Path<String>,
    headers: HeaderMap,
    Change(note): Change,
    Json(wanted): Json<ReviseOrganization>,
) -> Result<Response, Problem> {
    let org_id = named(&organization_id, user_id)?;
    let expected = expected_version(&headers, app.core.store.epoch())?;
    let roster = if let Some(name) = wanted.name {
        let rename = OrgCommand::Rename { expected, name };
        change(&app.core, org_id, user_id, rename, &note).await?
    } else {
        let (roster, _) = seen_with(&app, org_id, user_id, Permission::OrgWrite).await?;
        let version = roster.organization.version;
        if expected.is_some_and(|expected| expected != version) {
            return Err(Refusal::VersionMismatch { version }.into());
        }
        roster
    };
    answered(&app, roster, user_id)
}
