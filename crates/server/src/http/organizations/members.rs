//! Members: listed, changed, removed, and made the owner.

use super::forms::{RemoveMember, ReviseMember, TransferOrganization, confined, confirmed};
use super::views::{MemberPage, MemberView, OrganizationView, people};
use super::{TAG, answered, change as changed, first, named, seen, seen_or_read, seen_with};
use crate::http::App;
use crate::http::body::{Json, Optional};
use crate::http::docs::{MemberWord, OrganizationWord};
use crate::http::extract::{Change, CurrentUser, Origin, Path, id};
use crate::http::lists::{PAGE_BYTES_MAX, Params, by_serde, page};
use crate::http::problem::Problem;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use engine::access::{KeysOfMember, OrgCommand, Permission, Role};
use engine::{Refusal, UserId};
use std::sync::Arc;

const MISSING: Refusal = Refusal::NotFound { what: "member" };

/// The member that a path names.
fn member(text: &str, user_id: UserId) -> Result<UserId, Problem> {
    if text == "me" { Ok(user_id) } else { id(text, "member") }
}

/// Lists the members of an organization, in the order of their ids. The user of a personal
/// organization is one of them.
#[utoipa::path(
    get, path = "/api/v1/organizations/{organization_id}/members", tag = TAG,
    operation_id = "list_members",
    security(("bearer" = [])),
    params(("organization_id" = OrganizationWord, Path), crate::http::docs::PageParams),
    responses((status = 200, description = "A page of members", body = MemberPage)),
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    CurrentUser(user_id): CurrentUser,
    Path(organization_id): Path<String>,
    params: Params,
) -> Result<Response, Problem> {
    let part = params.page::<UserId>()?;
    let (roster, _) = seen_or_read(&app, named(&organization_id, user_id)?, user_id).await?;
    let room = app.answers.room(PAGE_BYTES_MAX).await?;
    let is_after = |user_id| part.after.is_none_or(|after| user_id > after);
    let all = people(&roster).into_iter().filter(|person| is_after(person.user_id));
    let (items, has_more) = first(all, part.limit);
    let views = MemberView::load(&app, items).await?;
    Ok(page(room, views, has_more, MemberView::id, by_serde))
}

/// Changes the role of a member, and the events at which the member has it.
#[utoipa::path(
    patch, path = "/api/v1/organizations/{organization_id}/members/{user_id}", tag = TAG,
    operation_id = "update_member",
    request_body = ReviseMember,
    security(("bearer" = [])),
    params(("organization_id" = OrganizationWord, Path), ("user_id" = MemberWord, Path)),
    responses((status = 200, description = "The member", body = MemberView)),
)]
pub(super) async fn change(
    State(app): State<Arc<App>>,
    CurrentUser(user_id): CurrentUser,
    Origin(origin): Origin,
    Path((organization_id, member_id)): Path<(String, String)>,
    Change(note): Change,
    Json(wanted): Json<ReviseMember>,
) -> Result<axum::Json<MemberView>, Problem> {
    let org_id = named(&organization_id, user_id)?;
    let member_id = member(&member_id, user_id)?;
    seen_with(&app, org_id, user_id, Permission::MemberWrite).await?;
    let events = match wanted.events {
        Some(events) => Some(confined(&app, org_id, events).await?),
        None => None,
    };
    let command = OrgCommand::ChangeMember {
        user_id: member_id,
        role: wanted.role.as_deref().and_then(Role::parse),
        events,
        confirmed: confirmed(&app, user_id, origin, wanted.password).await?,
    };
    let roster = changed(&app.core, org_id, user_id, command, &note).await?;
    let found = people(&roster).into_iter().find(|person| person.user_id == member_id);
    let views = MemberView::load(&app, found.into_iter().collect()).await?;
    Ok(axum::Json(views.into_iter().next().ok_or(MISSING)?))
}

/// Removes a member. Members can remove themselves.
#[utoipa::path(
    delete, path = "/api/v1/organizations/{organization_id}/members/{user_id}", tag = TAG,
    operation_id = "delete_member",
    request_body = RemoveMember,
    security(("bearer" = [])),
    params(
        ("organization_id" = OrganizationWord, Path), ("user_id" = MemberWord, Path),
        (
            "keys" = Option<String>, Query, pattern = "^(keep|revoke)$",
            description = "What becomes of the keys that the member made",
        ),
    ),
    responses((status = 204, description = "The member was removed")),
)]
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    CurrentUser(user_id): CurrentUser,
    Origin(origin): Origin,
    Path((organization_id, member_id)): Path<(String, String)>,
    Change(note): Change,
    params: Params,
    Optional(wanted): Optional<RemoveMember>,
) -> Result<StatusCode, Problem> {
    let org_id = named(&organization_id, user_id)?;
    let member_id = member(&member_id, user_id)?;
    if member_id == user_id {
        seen(&app, org_id, user_id).await?;
    } else {
        seen_with(&app, org_id, user_id, Permission::MemberWrite).await?;
    }
    let keys = params.read("keys", "must be keep or revoke", |text| match text {
        "keep" => Some(KeysOfMember::Keep),
        "revoke" => Some(KeysOfMember::Revoke),
        _ => None,
    })?;
    let password = wanted.and_then(|wanted| wanted.password);
    let confirmed = confirmed(&app, user_id, origin, password).await?;
    let command = OrgCommand::Remove { user_id: member_id, confirmed, keys };
    changed(&app.core, org_id, user_id, command, &note).await?;
    app.keys.changed();
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a member the owner of a team in the place of the caller, who becomes a manager.
#[utoipa::path(
    post, path = "/api/v1/organizations/{organization_id}/transfer", tag = TAG,
    operation_id = "transfer_organization",
    request_body = TransferOrganization,
    security(("bearer" = [])),
    params(("organization_id" = OrganizationWord, Path)),
    responses(
        (
            status = 200, description = "The organization", body = OrganizationView,
            headers(("ETag" = String, description = "Its version")),
        ),
    ),
)]
pub(super) async fn transfer(
    State(app): State<Arc<App>>,
    CurrentUser(user_id): CurrentUser,
    Origin(origin): Origin,
    Path(organization_id): Path<String>,
    Change(note): Change,
    Json(wanted): Json<TransferOrganization>,
) -> Result<Response, Problem> {
    let org_id = named(&organization_id, user_id)?;
    seen_with(&app, org_id, user_id, Permission::OrgWrite).await?;
    confirmed(&app, user_id, origin, Some(wanted.password)).await?;
    let heir: UserId = wanted.user_id.parse().expect("it was validated");
    let command = OrgCommand::HandOver { user_id: heir };
    let roster = changed(&app.core, org_id, user_id, command, &note).await?;
    answered(&app, roster, user_id)
}
