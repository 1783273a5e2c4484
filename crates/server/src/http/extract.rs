//! Extractors: validated parts of a request for its handler.
//!
//! Each turns bad input into a [`Problem`] that names the field and the limit.

use super::App;
use super::connection::Peer;
use super::observe::RequestId;
use super::problem::Problem;
use super::token::Caller;
use crate::cutoffs::{Login, Standing};
use crate::random::random;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use engine::{IdempotencyKey, UserId};
use serde::de::DeserializeOwned;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use store::{ChangeNote, Epoch};
use tokio::time::Instant;
use uuid::Uuid;

/// Somebody whose access token is good, unless its login was ended and this process does not know of it
/// right away: then that has to be read first.
pub struct Unsure<T> {
    who: T,
    doubt: Option<Doubt>,
}

/// A login that may have been ended, and when the request arrived.
struct Doubt {
    login: Login,
    arrived: Instant,
}

impl<T> Unsure<T> {
    /// Waits for nothing where there is no doubt.
    pub async fn sure(self, app: &App) -> Result<T, Problem> {
        if let Some(Doubt { login, arrived }) = self.doubt {
            // Boxed: else every request would carry it along.
            if Box::pin(app.cutoffs.is_ended(login, arrived)).await? {
                return Err(ended());
            }
        }
        Ok(self.who)
    }

    fn map<U>(self, of: impl FnOnce(T) -> Result<U, Problem>) -> Result<Unsure<U>, Problem> {
        Ok(Unsure { who: of(self.who)?, doubt: self.doubt })
    }
}

fn ended() -> Problem {
    Problem::unauthorized("The login of the access token was ended; log in again.")
}

/// Who sent a request with these headers, if a token says it. The request is counted as one of theirs.
fn caller(
    app: &App,
    peer: Option<Peer>,
    headers: &HeaderMap,
) -> Result<Unsure<Option<Caller>>, Problem> {
    let now = app.core.store.now();
    let (mut who, mut doubt) = (None, None);
    if let Some(value) = only(headers, "authorization")? {
        let value = value.to_str().unwrap_or_default();
        let token =
            bearer(value).ok_or_else(|| Problem::unauthorized("The scheme must be Bearer."))?;
        let ((login, caller), arrived) = (app.tokens.verify(token, now)?, Instant::now());
        match app.cutoffs.look(login, arrived) {
            Standing::Good => (),
            Standing::Ended => return Err(ended()),
            Standing::Unknown => doubt = Some(Doubt { login, arrived }),
        }
        who = Some(caller);
    }
    app.limits.request(who, peer, headers, now)?;
    Ok(Unsure { who, doubt })
}

/// The caller whose access token came with the request: a user, or a visitor. For calls that buyers make;
/// every other one takes a [`CurrentUser`].
#[derive(Clone, Copy)]
pub struct Buyer(pub Caller);

impl FromRequestParts<Arc<App>> for Buyer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let peer = parts.extensions.get::<Peer>().copied();
        Self::of(app, peer, &parts.headers)?.sure(app).await
    }
}

impl Buyer {
    /// The caller of a request with these headers, which is counted as one of theirs.
    pub fn of(app: &App, peer: Option<Peer>, headers: &HeaderMap) -> Result<Unsure<Self>, Problem> {
        caller(app, peer, headers)?.map(|who| {
            who.map(Self)
                .ok_or_else(|| Problem::unauthorized("Send Authorization: Bearer <access_token>."))
        })
    }
}

/// The user whose access token came with the request. A visitor is refused: this is for what needs an
/// account.
#[derive(Clone, Copy)]
pub struct CurrentUser(pub UserId);

impl FromRequestParts<Arc<App>> for CurrentUser {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let Buyer(caller) = Buyer::from_request_parts(parts, app).await?;
        caller.account().map(Self)
    }
}

/// The user or the visitor whose access token came with the request, if one came. A bad one is refused.
#[derive(Clone, Copy)]
pub struct MaybeUser(pub Option<UserId>);

impl FromRequestParts<Arc<App>> for MaybeUser {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let peer = parts.extensions.get::<Peer>().copied();
        Self::of(app, peer, &parts.headers)?.sure(app).await
    }
}

impl MaybeUser {
    /// The user of a request with these headers, which is counted as one of theirs.
    pub fn of(app: &App, peer: Option<Peer>, headers: &HeaderMap) -> Result<Unsure<Self>, Problem> {
        caller(app, peer, headers)?.map(|who| Ok(Self(who.map(Caller::user_id))))
    }
}

/// The token of an `Authorization` whose scheme is `Bearer`, in whatever case (RFC 9110, 11.1).
pub fn bearer(value: &str) -> Option<&str> {
    let scheme = value.get(..7)?;
    scheme.eq_ignore_ascii_case("bearer ").then(|| value[7..].trim())
}

/// Where a request came from.
pub struct Origin(pub IpAddr);

impl FromRequestParts<Arc<App>> for Origin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        Ok(Self(app.limits.address(parts.extensions.get::<Peer>().copied(), &parts.headers)))
    }
}

/// What the access log keeps of a request that changes an organization.
pub struct Change(pub ChangeNote);

impl FromRequestParts<Arc<App>> for Change {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Problem> {
        let request_id = parts.extensions.get::<RequestId>();
        let request_id = request_id.map(|request_id| request_id.as_str().to_owned());
        Ok(Self(ChangeNote { change_id: Uuid::from_bytes(random()), request_id }))
    }
}

/// An id of the path; what is no id names nothing.
pub fn id<Id: FromStr>(text: &str, what: &str) -> Result<Id, Problem> {
    text.parse().map_err(|_| Problem::not_found(what))
}

/// The variable parts of the path; what is no UTF-8 names nothing.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<App>> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let read = axum::extract::Path::<T>::from_request_parts(parts, app).await;
        read.map(|axum::extract::Path(named)| Self(named)).map_err(|_| Problem::not_found("path"))
    }
}

/// The `Idempotency-Key` of a request, if it has one.
pub struct Key(pub Option<IdempotencyKey>);

impl FromRequestParts<Arc<App>> for Key {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Problem> {
        Self::of(&parts.headers)
    }
}

impl Key {
    /// The key of a request with these headers.
    pub fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let Some(value) = only(headers, "idempotency-key")? else { return Ok(Self(None)) };
        let key = value.to_str().ok().and_then(IdempotencyKey::new).ok_or_else(|| {
            let limit = IdempotencyKey::LENGTH_MAX;
            Problem::malformed_request(format!(
                "Idempotency-Key must have 1 to {limit} visible ASCII characters."
            ))
        })?;
        Ok(Self(Some(key)))
    }
}

/// The value of a header that must occur at most once: with two, a proxy might use the other one.
fn only<'a>(
    headers: &'a HeaderMap,
    name: &'static str,
) -> Result<Option<&'a HeaderValue>, Problem> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    if values.next().is_some() {
        return Err(Problem::malformed_request(format!(
            "The request has more than one {name} \
            header."
        )));
    }
    Ok(value)
}

/// The tags of what the client has already, without a copy of all other headers.
pub struct IfNoneMatch(pub Vec<HeaderValue>);

impl FromRequestParts<Arc<App>> for IfNoneMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Problem> {
        Ok(Self::of(&parts.headers))
    }
}

impl IfNoneMatch {
    /// The tags of a request with these headers.
    pub fn of(headers: &HeaderMap) -> Self {
        Self(headers.get_all(header::IF_NONE_MATCH).iter().cloned().collect())
    }
}

/// The version of an event that `If-Match` names; `*` and no header match every version.
///
/// Of several tags the newest is the state the client knows. A tag that is not one of ours, or of another
/// history of the store than `epoch`, is of no version, and matches none.
pub fn expected_version(headers: &HeaderMap, epoch: Epoch) -> Result<Option<i64>, Problem> {
    let epoch = epoch.to_string();
    named_version(headers, |tag| {
        let (state, of) = tag.rsplit_once('.')?;
        (of == epoch).then(|| state.split('.').next())?
    })
}

/// The version of a booking that `If-Match` names, as [`expected_version`] does: by its `ETag`, or by
/// its bare `version`, which says nothing of the history it was seen in.
pub fn expected_booking(headers: &HeaderMap, epoch: Epoch) -> Result<Option<i64>, Problem> {
    let epoch = epoch.to_string();
    named_version(headers, |tag| match tag.split_once('.') {
        Some((version, of)) => (of == epoch).then_some(version),
        None => Some(tag),
    })
}

fn named_version(
    headers: &HeaderMap,
    version: impl Fn(&str) -> Option<&str>,
) -> Result<Option<i64>, Problem> {
    const NO_VERSION: i64 = 0;
    let mut lines = headers.get_all(header::IF_MATCH).iter().peekable();
    if lines.peek().is_none() {
        return Ok(None);
    }
    // Several lines are one list (RFC 9110).
    let lines: Vec<_> = lines.map(|line| line.to_str().unwrap_or_default()).collect();
    let text = lines.join(",");
    if text.trim() == "*" {
        return Ok(None);
    }
    let version = |tag| version(tag)?.parse().ok();
    let version = |tag| version(tag).unwrap_or(NO_VERSION);
    let newest = entity_tags(&text).and_then(|tags| tags.into_iter().map(version).max());
    let malformed = || Problem::malformed_request("If-Match must be ETags of this resource, or *.");
    newest.map(Some).ok_or_else(malformed)
}

/// The text between the quotes of a list of entity tags (RFC 9110); it may hold commas.
fn entity_tags(mut text: &str) -> Option<Vec<&str>> {
    let mut tags = Vec::new();
    loop {
        text = text.trim_start_matches([' ', '\t', ',']);
        if text.is_empty() {
            return Some(tags);
        }
        text = text.strip_prefix("W/").unwrap_or(text);
        let (tag, rest) = text.strip_prefix('"')?.split_once('"')?;
        tags.push(tag);
        text = rest;
    }
}
