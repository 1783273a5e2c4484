//! Extractors: validated parts of a request for its handler.
//!
//! Each turns bad input into a [`Problem`] that names the field and the limit.

use super::App;
use super::connection::Peer;
use super::keys::{Shown, is_key};
use super::observe::RequestId;
use super::problem::Problem;
use super::token::Holder;
pub use crate::caller::Caller;
use crate::cutoffs::{Login, Standing};
use crate::random::random;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use engine::{IdempotencyKey, UserId};
use serde::de::DeserializeOwned;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use store::{ChangeNote, Epoch};
use tokio::time::Instant;
use uuid::Uuid;

/// Who may call something.
pub trait Admits: Sized {
    /// This caller, if it is one of them; `None` is somebody without a token.
    fn admit(caller: Option<Caller>) -> Result<Self, Problem>;
}

/// Somebody whose access token is good, unless its login was ended and this process does not know of it
/// right away; or somebody with a key that has to be looked up.
pub struct Unsure<T> {
    caller: Option<Caller>,
    doubt: Option<Doubt>,
    of: PhantomData<T>,
}

/// What has to be looked up, for a request that arrived then.
enum Doubt {
    /// Whether this login was ended.
    Login { login: Login, arrived: Instant },
    /// Which key this is.
    Key(Box<Shown>),
}

impl<T: Admits> Unsure<T> {
    /// Waits for nothing where there is no doubt.
    pub async fn sure(self, app: &App) -> Result<T, Problem> {
        let caller = match self.doubt {
            None => self.caller,
            // Boxed: else every request would carry it along.
            Some(Doubt::Login { login, arrived }) => {
                if Box::pin(app.cutoffs.is_ended(login, arrived)).await? {
                    return Err(ended());
                }
                self.caller
            }
            Some(Doubt::Key(shown)) => Some(Caller::Key(
                Box::pin(app.keys.opened(&app.limits, *shown, app.core.store.now())).await?,
            )),
        };
        T::admit(caller)
    }

    /// The caller of a request with these headers, which is counted as one of its.
    pub fn of(app: &App, peer: Option<Peer>, headers: &HeaderMap) -> Result<Self, Problem> {
        let now = app.core.store.now();
        let (mut who, mut doubt) = (None, None);
        if let Some(value) = only(headers, "authorization")? {
            let value = value.to_str().unwrap_or_default();
            let token =
                bearer(value).ok_or_else(|| Problem::unauthorized("The scheme must be Bearer."))?;
            if is_key(token) {
                let address = app.limits.address(peer, headers);
                let is_page = headers.contains_key(header::ORIGIN);
                let shown = app.keys.shown(&app.limits, token, address, is_page)?;
                let (caller, doubt) = (None, Some(Doubt::Key(Box::new(shown))));
                return Ok(Self { caller, doubt, of: PhantomData });
            }
            let ((login, holder), arrived) = (app.tokens.verify(token, now)?, Instant::now());
            match app.cutoffs.look(login, arrived) {
                Standing::Good => (),
                Standing::Ended => return Err(ended()),
                Standing::Unknown => doubt = Some(Doubt::Login { login, arrived }),
            }
            who = Some(holder);
        }
        let caller = who.map(|holder| match holder {
            Holder::Account(user_id) => Caller::User(user_id),
            Holder::Visitor(user_id) => {
                Caller::Visitor { user_id, from: app.limits.address(peer, headers) }
            }
        });
        app.limits.request(who, peer, headers, now)?;
        Ok(Self { caller, doubt, of: PhantomData })
    }
}

/// Makes an extractor of something that admits callers.
macro_rules! extracted {
    ($($who:ident)*) => {
        $(
            impl FromRequestParts<Arc<App>> for $who {
                type Rejection = Problem;

                async fn from_request_parts(
                    parts: &mut Parts,
                    app: &Arc<App>,
                ) -> Result<Self, Problem> {
                    let peer = parts.extensions.get::<Peer>().copied();
                    Unsure::<Self>::of(app, peer, &parts.headers)?.sure(app).await
                }
            }
        )*
    };
}

extracted!(CurrentUser CurrentCaller Buyer MaybeCaller);

fn nobody() -> Problem {
    Problem::unauthorized("Send Authorization: Bearer <access_token>.")
}

fn ended() -> Problem {
    Problem::unauthorized("The login of the access token was ended; log in again.")
}

/// The user whose access token came with the request: for what neither visitors nor keys may do.
#[derive(Clone, Copy)]
pub struct CurrentUser(pub UserId);

impl Admits for CurrentUser {
    fn admit(caller: Option<Caller>) -> Result<Self, Problem> {
        match caller.ok_or_else(nobody)? {
            Caller::User(user_id) => Ok(Self(user_id)),
            Caller::Visitor { .. } | Caller::Key(_) => Err(Problem::account_required()),
        }
    }
}

/// The user or the organization whose token or key came with the request: for what visitors may not do.
pub struct CurrentCaller(pub Caller);

impl Admits for CurrentCaller {
    fn admit(caller: Option<Caller>) -> Result<Self, Problem> {
        match caller.ok_or_else(nobody)? {
            Caller::Visitor { .. } => Err(Problem::account_required()),
            caller => Ok(Self(caller)),
        }
    }
}

/// The buyer, or who sells for one, whose token or key came with the request.
pub struct Buyer(pub Caller);

impl Admits for Buyer {
    fn admit(caller: Option<Caller>) -> Result<Self, Problem> {
        caller.map(Self).ok_or_else(nobody)
    }
}

/// The same, if one came. A bad one is refused.
pub struct MaybeCaller(pub Option<Caller>);

impl Admits for MaybeCaller {
    fn admit(caller: Option<Caller>) -> Result<Self, Problem> {
        Ok(Self(caller))
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
