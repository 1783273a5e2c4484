//! Accounts: register, login, refresh, logout, password.
//!
//! When an access token counts as issued is said by the store, in the transaction that opens its login or
//! exchanges its refresh token: so it is good after every cutoff of its user that was committed before,
//! by whichever instance.

use super::App;
use super::body::{Json, NoBody};
use super::common_passwords::uncommon;
use super::extract::{CurrentUser, Origin};
use super::problem::Problem;
use super::token::{Verdict, refresh_hash, refresh_token};
use super::wire::{composed, legible, password, printable, shown};
use crate::random::random;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use engine::account::{RefreshToken, User};
use engine::{Refusal, Shard, Timestamp, UserId};
use garde::Validate;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

const TAG: &str = "Accounts";

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(login))
        .routes(routes!(refresh))
        .routes(routes!(logout))
        .routes(routes!(logout_all))
        .routes(routes!(change_password))
}

/// Refuses what cannot be an address: it must have one `@` with something on both sides.
pub(super) fn address(text: &str, (): &()) -> garde::Result {
    let sound = text.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty() && !domain.is_empty() && !domain.contains('@')
    });
    let plain = !text.chars().any(|letter| letter.is_control() || letter.is_whitespace());
    let plain = plain && !engine::text::has_hidden(text);
    if sound && plain { Ok(()) } else { Err(garde::Error::new("must be an e-mail address")) }
}

/// A new account.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct Register {
    /// Compared case-insensitively.
    #[serde(deserialize_with = "composed")]
    #[garde(length(bytes, max = 254), custom(address))]
    #[schema(
        max_length = 254,
        pattern = r"^[^\s@\u0000-\u001f\u007f-\u009f]+@[^\s@\u0000-\u001f\u007f-\u009f]+$"
    )]
    email: String,
    #[serde(deserialize_with = "password")]
    #[garde(length(chars, min = 8, max = 128), custom(printable), custom(uncommon))]
    #[schema(
        format = "password",
        min_length = 8,
        max_length = 128,
        pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$"
    )]
    password: String,
    #[serde(default, deserialize_with = "composed")]
    #[garde(inner(length(chars, min = 1, max = 100), custom(legible)))]
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]([^\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]*[^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8])?$"
    )]
    name: Option<String>,
}

/// The credentials of a user.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct Login {
    #[garde(length(bytes, max = 254))]
    #[schema(max_length = 254)]
    email: String,
    #[garde(length(chars, max = 128))]
    #[schema(format = "password", max_length = 128)]
    password: String,
}

/// A refresh token to exchange or to revoke.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct Refresh {
    #[garde(length(bytes, max = 200))]
    #[schema(max_length = 200)]
    refresh_token: String,
}

/// A new password.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct ChangePassword {
    #[garde(length(chars, max = 128))]
    #[schema(format = "password", max_length = 128)]
    current_password: String,
    #[serde(deserialize_with = "password")]
    #[garde(length(chars, min = 8, max = 128), custom(printable), custom(uncommon))]
    #[schema(
        format = "password",
        min_length = 8,
        max_length = 128,
        pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$"
    )]
    new_password: String,
}

/// The user of the access token.
#[derive(Serialize, ToSchema)]
#[schema(as = User)]
pub(super) struct UserView {
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    pub(super) user_id: UserId,
    email: String,
    #[schema(required)]
    name: Option<String>,
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "date-time")]
    created_at: Timestamp,
    /// Whether the user is an operator of the installation; missing if not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub(super) operator: bool,
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        Self {
            user_id: user.user_id,
            email: user.email,
            name: user.name,
            created_at: user.created_at,
            operator: false,
        }
    }
}

/// A pair of tokens.
#[derive(Serialize, ToSchema)]
struct TokenPair {
    access_token: String,
    #[schema(pattern = "^Bearer$")]
    token_type: &'static str,
    /// Seconds.
    expires_in: u64,
    refresh_token: String,
    /// Seconds.
    refresh_expires_in: u64,
}

impl TokenPair {
    /// The refresh token with this secret, and an access token that counts as issued then.
    fn new(
        app: &App,
        user_id: UserId,
        issued_at: Timestamp,
        refresh_token: String,
    ) -> Result<Self, Problem> {
        Ok(Self {
            access_token: app.tokens.issue(user_id, issued_at)?,
            token_type: "Bearer",
            expires_in: app.tokens.expires_in(),
            refresh_token,
            refresh_expires_in: app.core.config.refresh_token_ttl.as_secs(),
        })
    }
}

fn refresh_end(app: &App) -> Timestamp {
    let ttl_ms = i64::try_from(app.core.config.refresh_token_ttl.as_millis()).unwrap_or(i64::MAX);
    app.core.store.now().plus_ms(ttl_ms)
}

/// Creates an account.
#[utoipa::path(
    post, path = "/api/v1/auth/register", tag = TAG, request_body = Register,
    responses((status = 201, description = "The account", body = UserView)),
)]
async fn register(
    State(app): State<Arc<App>>,
    Origin(origin): Origin,
    Json(new): Json<Register>,
) -> Result<Response, Problem> {
    app.limits.login(&new.email, origin).await?;
    let now = app.core.store.now();
    let user = User {
        user_id: UserId::new(
            now,
            Shard::pick(u64::from_le_bytes(random())),
            u64::from_le_bytes(random()),
        ),
        email: new.email,
        name: new.name,
        password_hash: app.passwords.hash(new.password).await?,
        created_at: now,
    };
    app.core.store.create_user(&user).await?;
    Ok((StatusCode::CREATED, axum::Json(UserView::from(user))).into_response())
}

/// Exchanges an address and a password for tokens.
#[utoipa::path(
    post, path = "/api/v1/auth/login", tag = TAG, request_body = Login,
    responses((status = 200, description = "Tokens", body = TokenPair)),
)]
async fn login(
    State(app): State<Arc<App>>,
    Origin(origin): Origin,
    Json(login): Json<Login>,
) -> Result<axum::Json<TokenPair>, Problem> {
    app.limits.login(&login.email, origin).await?;
    for _ in 0..LOGIN_ATTEMPTS {
        let (user, verdict) = identify(&app, &login).await?;
        let (secret, token_hash) = refresh_token();
        let token = RefreshToken {
            token_hash,
            family_id: uuid::Uuid::from_bytes(random()),
            user_id: user.user_id,
            expires_at: refresh_end(&app),
            spent_at: None,
        };
        let opened = app.core.store.open_family(&token, &user.password_hash).await?;
        let Some(issued_at) = opened else { continue };
        if verdict == Verdict::RightAsTyped {
            renew_hash(&app, &user, login.password).await;
        }
        return Ok(axum::Json(TokenPair::new(&app, user.user_id, issued_at, secret)?));
    }
    Err(Refusal::InvalidCredentials.into())
}

/// Attempts at a login: while it is under way, another one may renew the hash of the same password, which
/// is then checked again.
const LOGIN_ATTEMPTS: usize = 2;

/// The user with this address and this password.
async fn identify(app: &App, login: &Login) -> Result<(User, Verdict), Problem> {
    let user = app.core.store.user_by_email(&login.email).await?;
    let stored = user.as_ref().map(|user| user.password_hash.clone());
    let verdict = app.passwords.verify(login.password.clone(), stored).await?;
    let user = user.filter(|_| verdict != Verdict::Wrong).ok_or(Refusal::InvalidCredentials)?;
    Ok((user, verdict))
}

/// Hashes a password of an earlier version in the form in which it is known from every keyboard. Where
/// that fails, the next login does it.
async fn renew_hash(app: &App, user: &User, password: String) {
    if let Ok(new) = app.passwords.hash(password).await {
        let _ = app.core.store.renew_password_hash(user.user_id, &user.password_hash, &new).await;
    }
}

/// Exchanges a refresh token for new tokens. The old token becomes invalid; if it is used again
/// after ten seconds, all tokens of its login are revoked.
#[utoipa::path(
    post, path = "/api/v1/auth/refresh", tag = TAG, operation_id = "refresh_tokens",
    request_body = Refresh,
    responses((status = 200, description = "Tokens", body = TokenPair)),
)]
async fn refresh(
    State(app): State<Arc<App>>,
    Origin(origin): Origin,
    Json(refresh): Json<Refresh>,
) -> Result<axum::Json<TokenPair>, Problem> {
    app.limits.anonymous(origin, app.core.store.now())?;
    let (secret, hash) = refresh_token();
    let spent = refresh_hash(&refresh.refresh_token);
    let (token, issued_at) = app.core.store.rotate(&spent, (hash, refresh_end(&app))).await?;
    Ok(axum::Json(TokenPair::new(&app, token.user_id, issued_at, secret)?))
}

/// Ends the login of a refresh token. Access tokens stay valid until they expire.
#[utoipa::path(
    post, path = "/api/v1/auth/logout", tag = TAG, request_body = Refresh,
    responses((status = 204, description = "The login was ended")),
)]
async fn logout(
    State(app): State<Arc<App>>,
    Origin(origin): Origin,
    Json(refresh): Json<Refresh>,
) -> Result<StatusCode, Problem> {
    app.limits.anonymous(origin, app.core.store.now())?;
    app.core.store.end_family(&refresh_hash(&refresh.refresh_token)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends all logins of the user: every refresh token, and within a second every access token.
#[utoipa::path(
    post, path = "/api/v1/auth/logout-all", tag = TAG,
    request_body(content = super::docs::Empty, description = "Nothing, or an empty object"),
    security(("bearer" = [])),
    responses((status = 204, description = "All logins were ended")),
)]
async fn logout_all(
    State(app): State<Arc<App>>,
    CurrentUser(user_id): CurrentUser,
    _: NoBody,
) -> Result<StatusCode, Problem> {
    let not_before = app.core.store.end_logins(user_id).await?;
    app.cutoffs.note(user_id, not_before);
    Ok(StatusCode::NO_CONTENT)
}

/// Changes the password, and ends all logins of the user: every refresh token, and within a second every
/// access token.
#[utoipa::path(
    post, path = "/api/v1/auth/password", tag = TAG, request_body = ChangePassword,
    security(("bearer" = [])),
    responses((status = 204, description = "The password was changed")),
)]
async fn change_password(
    State(app): State<Arc<App>>,
    CurrentUser(user_id): CurrentUser,
    Origin(origin): Origin,
    Json(change): Json<ChangePassword>,
) -> Result<StatusCode, Problem> {
    let user = app.core.store.user(user_id).await?.ok_or(Refusal::InvalidCredentials)?;
    app.limits.login(&user.email, origin).await?;
    let old = user.password_hash;
    let verdict = app.passwords.verify(change.current_password, Some(old.clone())).await?;
    if verdict == Verdict::Wrong {
        return Err(Refusal::InvalidCredentials.into());
    }
    let new = app.passwords.hash(change.new_password).await?;
    let changed = app.core.store.set_password(user_id, &old, &new).await?;
    let not_before = changed.ok_or(Refusal::InvalidCredentials)?;
    app.cutoffs.note(user_id, not_before);
    Ok(StatusCode::NO_CONTENT)
}
