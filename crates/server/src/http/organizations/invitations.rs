//! Invitations: made, listed, revoked, and accepted.
//!
//! The token of an invitation is shown once, to its maker, who passes it on; its hash is kept. Who
//! accepts needs the token and the account with the address that was invited.

use super::forms::{AcceptInvitation, NewInvitation, confined};
use super::views::{InvitationPage, InvitationView, OrganizationView};
use super::{TAG, answered, change, first, named, seen_with};
use crate::http::App;
use crate::http::body::Json;
use crate::http::docs::OrganizationWord;
use crate::http::extract::{Change, CurrentUser, Path, id};
use crate::http::lists::{PAGE_BYTES_MAX, Params, by_serde, page};
use crate::http::problem::Problem;
use crate::random::random;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use engine::access::{
    Access, Account, INVITATION_TTL_MS, Invitation, OrgCommand, Permission, Role,
};
use engine::text::folded;
use engine::{InvitationId, Refusal, Shard};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// The hash under which a token is kept.
fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Invites somebody to become a member. The answer has the token, which is shown only once; it can
/// be accepted for seven days.
///
/// Another invitation for the same address replaces the earlier one, so a request whose answer was
/// lost can be sent again.
#[utoipa::path(
    post, path = "/api/v1/organizations/{organization_id}/invitations", tag = TAG,
    operation_id = "create_invitation",
    request_body = NewInvitation,
    security(("bearer" = [])),
    params(("organization_id" = OrganizationWord, Path)),
    responses((status = 201, description = "The invitation", body = InvitationView)),
)]
pub(super) async fn invite(
    State(app): State<Arc<App>>,
    CurrentUser(user_id): CurrentUser,
    Path(organization_id): Path<String>,
    Change(note): Change,
    Json(new): Json<NewInvitation>,
) -> Result<Response, Problem> {
    let org_id = named(&organization_id, user_id)?;
    seen_with(&app, org_id, user_id, Permission::MemberWrite).await?;
    let role = Role::parse(&new.role).expect("it was validated");
    let events = confined(&app, org_id, new.events).await?;
    let (store, token) = (&app.core.store, URL_SAFE_NO_PAD.encode(random::<32>()));
    let (now, shard) = (store.now(), Shard::pick(u64::from_le_bytes(random())));
    let invitation = Invitation {
        invitation_id: InvitationId::new(now, shard, u64::from_le_bytes(random())),
        org_id,
        email_folded: folded(&new.email),
        email: new.email,
        access: Access { role, events },
        token_hash: hash(&token),
        invited_by: user_id,
        created_at: now,
        expires_at: now.plus_ms(INVITATION_TTL_MS),
        ended: None,
    };
    let known = store.user_by_email(&invitation.email).await?.map(|user| user.user_id);
    let command = OrgCommand::Invite { invitation: Box::new(invitation.clone()), user_id: known };
    change(&app.core, org_id, user_id, command, &note).await?;
    let view = InvitationView::new(invitation, Some(token));
    Ok((StatusCode::CREATED, axum::Json(view)).into_response())
}

/// Lists the invitations that can be accepted, newest first.
#[utoipa::path(
    get, path = "/api/v1/organizations/{organization_id}/invitations", tag = TAG,
    operation_id = "list_invitations",
    security(("bearer" = [])),
    params(("organization_id" = OrganizationWord, Path), crate::http::docs::PageParams),
    responses((status = 200, description = "A page of invitations", body = InvitationPage)),
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    CurrentUser(user_id): CurrentUser,
    Path(organization_id): Path<String>,
    params: Params,
) -> Result<Response, Problem> {
    let part = params.page::<InvitationId>()?;
    let org_id = named(&organization_id, user_id)?;
    let (roster, _) = seen_with(&app, org_id, user_id, Permission::MemberWrite).await?;
    let room = app.answers.room(PAGE_BYTES_MAX).await?;
    let now = app.core.store.now();
    let mut open = roster.invitations;
    open.retain(|of| of.is_open(now) && part.after.is_none_or(|after| of.invitation_id < after));
    open.sort_unstable_by_key(|of| std::cmp::Reverse(of.invitation_id));
    let (items, has_more) = first(open, part.limit);
    let views = items.into_iter().map(|of| InvitationView::new(of, None));
    Ok(page(room, views, has_more, InvitationView::id, by_serde))
}

/// Revokes an invitation. One that was accepted, has expired or was replaced stays as it is.
#[utoipa::path(
    delete, path = "/api/v1/organizations/{organization_id}/invitations/{invitation_id}", tag = TAG,
    operation_id = "delete_invitation",
    security(("bearer" = [])),
    params(
        ("organization_id" = OrganizationWord, Path),
        ("invitation_id" = String, Path, format = "uuid"),
    ),
    responses((status = 204, description = "The invitation cannot be accepted any more")),
)]
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    CurrentUser(user_id): CurrentUser,
    Path((organization_id, invitation_id)): Path<(String, String)>,
    Change(note): Change,
) -> Result<StatusCode, Problem> {
    let org_id = named(&organization_id, user_id)?;
    let command = OrgCommand::Revoke { invitation_id: id(&invitation_id, "invitation")? };
    change(&app.core, org_id, user_id, command, &note).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Accepts an invitation: the user becomes a member. The account must have the address that was
/// invited. The role of somebody who is a member already is never lowered.
#[utoipa::path(
    post, path = "/api/v1/invitations/accept", tag = TAG, operation_id = "accept_invitation",
    request_body = AcceptInvitation,
    security(("bearer" = [])),
    responses(
        (
            status = 200, description = "The organization", body = OrganizationView,
            headers(("ETag" = String, description = "Its version")),
        ),
    ),
)]
pub(super) async fn accept(
    State(app): State<Arc<App>>,
    CurrentUser(user_id): CurrentUser,
    Change(note): Change,
    Json(AcceptInvitation { token }): Json<AcceptInvitation>,
) -> Result<Response, Problem> {
    let store = &app.core.store;
    let found = store.invitation_by_hash(&hash(&token)).await?;
    let (org_id, invitation_id) = found.ok_or(Refusal::InvitationEnded)?;
    // Somebody without an account has no address, and the invitation one.
    let user = store.user(user_id).await?;
    let email_folded = user.map(|user| folded(&user.email)).unwrap_or_default();
    let account = Account { user_id, email_folded };
    let command = OrgCommand::Accept { invitation_id, account };
    let roster = change(&app.core, org_id, user_id, command, &note).await?;
    answered(&app, roster, user_id)
}
