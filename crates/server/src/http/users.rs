//! The user of the access token: reading, changing and ending the own account.

use super::App;
use super::auth::{UserView, address};
use super::body::Json;
use super::extract::{Change, CurrentUser, Origin};
use super::problem::Problem;
use super::token::Verdict;
use super::wire::{given_composed, legible, present_composed};
use crate::leaving::leave;
use axum::extract::State;
use axum::http::StatusCode;
use engine::account::{User, UserChange};
use engine::{Error, Refusal};
use garde::Validate;
use serde::Deserialize;
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

const TAG: &str = "Accounts";

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(me, update_me, delete_me))
}

/// Changes to an account.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct UpdateUser {
    /// Null removes it.
    #[serde(default, deserialize_with = "present_composed")]
    #[garde(inner(inner(length(chars, min = 1, max = 100), custom(legible))))]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 100, pattern = r"^[^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]([^\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]*[^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8])?$")]
    name: Option<Option<String>>,
    /// Compared case-insensitively.
    #[serde(default, deserialize_with = "given_composed")]
    #[garde(inner(length(bytes, max = 254), custom(address)))]
    #[schema(
        value_type = String, required = false,
        max_length = 254,
        pattern = r"^[^\s@\u0000-\u001f\u007f-\u009f]+@[^\s@\u0000-\u001f\u007f-\u009f]+$"
    )]
    email: Option<String>,
}

/// Returns the user of the access token.
#[utoipa::path(
    get, path = "/api/v1/users/me", tag = TAG, operation_id = "get_me",
    security(("bearer" = [])),
    responses((status = 200, description = "The user", body = UserView)),
)]
async fn me(
    State(app): State<Arc<App>>,
    CurrentUser(user_id): CurrentUser,
) -> Result<axum::Json<UserView>, Problem> {
    let user = app.core.store.user(user_id).await?.ok_or(Refusal::NotFound { what: "user" })?;
    shown(&app, user).await
}

/// Changes the name or the address of the user.
#[utoipa::path(
    patch, path = "/api/v1/users/me", tag = TAG, operation_id = "update_me",
    request_body = UpdateUser,
    security(("bearer" = [])),
    responses((status = 200, description = "The user", body = UserView)),
)]
async fn update_me(
    State(app): State<Arc<App>>,
    CurrentUser(user_id): CurrentUser,
    Json(change): Json<UpdateUser>,
) -> Result<axum::Json<UserView>, Problem> {
    let user = app
        .core
        .store
        .update_user(user_id, UserChange { name: change.name, email: change.email })
        .await?;
    shown(&app, user).await
}

async fn shown(app: &App, user: User) -> Result<axum::Json<UserView>, Problem> {
    let mut view = UserView::from(user);
    view.operator = app.core.rights.is_operator(view.user_id).await?;
    Ok(axum::Json(view))
}

/// What goes with the end of an account.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct DeleteUser {
    #[garde(length(chars, max = 128))]
    #[schema(format = "password", max_length = 128)]
    password: String,
}

/// Ends the account: its holds are given back, its memberships and logins end, and its address, name and
/// password are erased. Bookings stay, with an id that names nobody.
#[utoipa::path(
    delete, path = "/api/v1/users/me", tag = TAG, operation_id = "delete_me",
    request_body = DeleteUser,
    security(("bearer" = [])),
    responses((status = 204, description = "The account was ended")),
)]
async fn delete_me(
    State(app): State<Arc<App>>,
    CurrentUser(user_id): CurrentUser,
    Origin(origin): Origin,
    Change(note): Change,
    Json(DeleteUser { password }): Json<DeleteUser>,
) -> Result<StatusCode, Problem> {
    let user = app.core.store.user(user_id).await?.ok_or(Refusal::InvalidCredentials)?;
    app.limits.login(&user.email, origin).await?;
    let hash = user.password_hash;
    if app.passwords.verify(password, Some(hash.clone())).await? == Verdict::Wrong {
        return Err(Refusal::InvalidCredentials.into());
    }
    let left = leave(&app.core, user_id, Some(&hash), &note).await;
    app.keys.changed();
    let not_before = left.map_err(|error| match error {
        // The password was changed meanwhile.
        Error::Refused(Refusal::NotFound { .. }) => Refusal::InvalidCredentials.into(),
        error => error,
    })?;
    app.cutoffs.note(user_id, not_before);
    Ok(StatusCode::NO_CONTENT)
}
