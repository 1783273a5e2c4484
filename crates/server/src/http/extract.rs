//! Extractors: what a handler may take for granted of its request.
//!
//! Each turns bad input into a [`Problem`] that names the field and the limit. Bodies are read within
//! a limit of size and of time, refuse unknown fields and duplicate keys, and are validated whole.

use super::App;
use super::problem::{FieldError, Problem};
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use engine::{IdempotencyKey, Timestamp, UserId};
use garde::Validate;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

/// How deep arrays and objects of a body may be nested.
const DEPTH_MAX: usize = 32;

/// A validated JSON body.
pub struct Json<T>(pub T);

impl<T> FromRequest<Arc<App>> for Json<T>
where
    T: DeserializeOwned + Validate<Context = ()>,
{
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        if !is_json(&parts.headers) {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "The body must be JSON",
                "Send the body with Content-Type: application/json.",
            ));
        }
        let bytes = read(body, app).await?;
        let value: T = parse(&bytes)?;
        value.validate().map_err(|report| invalid(&report))?;
        Ok(Self(value))
    }
}

/// No body, or an empty object: for calls that need nothing but their path.
pub struct NoBody;

impl FromRequest<Arc<App>> for NoBody {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        let bytes = read(request.into_body(), app).await?;
        if !bytes.is_empty() {
            let super::docs::Empty {} = parse(&bytes)?;
        }
        Ok(Self)
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next()).map(str::trim);
    essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
}

async fn read(body: Body, app: &App) -> Result<axum::body::Bytes, Problem> {
    let limit = app.config.max_body_bytes;
    let whole = tokio::time::timeout(app.config.body_timeout, Limited::new(body, limit).collect());
    match whole.await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            "The body is too large",
            format!("A body may have {limit} bytes."),
        )),
        Ok(Err(_)) => Err(Problem::malformed_request("The body ended before it was whole.")),
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "request_timeout",
            "The request took too long to arrive",
            format!("The body must arrive within {} s.", app.config.body_timeout.as_secs()),
        )),
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut reader);
    match parsed {
        Ok(value) => match reader.end() {
            Ok(()) => Ok(value),
            Err(error) => Err(Problem::malformed_json(error.to_string())),
        },
        Err(error) => Err(wrong(bytes, &error)),
    }
}

/// Why a body could not be read: no JSON at all, or JSON of another shape.
fn wrong(bytes: &[u8], error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let message = error.inner().to_string();
    let out_of_range = message.starts_with("number out of range");
    if !out_of_range && let Err(reason) = strict(bytes) {
        return Problem::malformed_json(reason);
    }
    let message = message.split(" at line ").next().unwrap_or(&message).to_owned();
    let path = error.path().to_string();
    // An unknown or missing field is named in the message, its parent in the path.
    let named = message.split('`').nth(1).filter(|_| message.contains(" field `"));
    let field = match (named, path.as_str()) {
        (Some(name), "." | "?") => name.to_owned(),
        (Some(name), path) if path.ends_with(name) => path.to_owned(),
        (Some(name), path) => format!("{path}.{name}"),
        (None, "." | "?") => "body".to_owned(),
        (None, path) => path.to_owned(),
    };
    Problem::invalid_field(field, message)
}

/// Reads a body for its syntax alone: encoding, depth, and keys that stand twice.
fn strict(bytes: &[u8]) -> Result<(), String> {
    use serde::de::DeserializeSeed;
    std::str::from_utf8(bytes)
        .map_err(|error| format!("not UTF-8 after byte {}", error.valid_up_to()))?;
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let read = Strict { depth: 0 }.deserialize(&mut reader).and_then(|()| reader.end());
    read.map_err(|error| error.to_string())
}

#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        let depth = self.depth + 1;
        let too_deep = || E::custom(format_args!("nested deeper than {DEPTH_MAX} levels"));
        (depth <= DEPTH_MAX).then_some(Self { depth }).ok_or_else(too_deep)
    }
}

impl<'de> serde::de::DeserializeSeed<'de> for Strict {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> serde::de::Visitor<'de> for Strict {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while items.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        let mut keys = std::collections::HashSet::new();
        while let Some(key) = members.next_key::<String>()? {
            members.next_value_seed(inner)?;
            if let Some(twice) = keys.replace(key) {
                return Err(serde::de::Error::custom(format_args!(
                    "the key {twice:?} stands twice"
                )));
            }
        }
        Ok(())
    }
}

fn invalid(report: &garde::Report) -> Problem {
    let errors = report
        .iter()
        .map(|(path, error)| FieldError { field: path.to_string(), message: error.to_string() });
    Problem::invalid(&errors.collect::<Vec<_>>())
}

/// The user whose access token came with the request.
#[derive(Clone, Copy)]
pub struct CurrentUser(pub UserId);

impl FromRequestParts<Arc<App>> for CurrentUser {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let MaybeUser(user) = MaybeUser::from_request_parts(parts, app).await?;
        user.map(Self)
            .ok_or_else(|| Problem::unauthorized("Send Authorization: Bearer <access_token>."))
    }
}

/// The user whose access token came with the request, if one came. A bad one is refused.
#[derive(Clone, Copy)]
pub struct MaybeUser(pub Option<UserId>);

impl FromRequestParts<Arc<App>> for MaybeUser {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let user = match parts.headers.get(header::AUTHORIZATION) {
            None => None,
            Some(value) => {
                let value = value.to_str().unwrap_or_default();
                let scheme = value.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("bearer "));
                let token = scheme.map(|_| value[7..].trim());
                let token =
                    token.ok_or_else(|| Problem::unauthorized("The scheme must be Bearer."))?;
                Some(app.tokens.verify(token, app.store.now())?)
            }
        };
        app.limits.request(user, parts)?;
        Ok(Self(user))
    }
}

/// Where a request came from.
pub struct Origin(pub IpAddr);

impl FromRequestParts<Arc<App>> for Origin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        Ok(Self(app.limits.address(parts)))
    }
}

/// An id of the path; what is no id names nothing.
pub fn id<Id: FromStr>(text: &str, what: &str) -> Result<Id, Problem> {
    text.parse().map_err(|_| Problem::not_found(what))
}

/// The `Idempotency-Key` of a request, if it has one.
pub struct Key(pub Option<IdempotencyKey>);

impl FromRequestParts<Arc<App>> for Key {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get("idempotency-key") else { return Ok(Self(None)) };
        let key = value.to_str().ok().and_then(IdempotencyKey::new).ok_or_else(|| {
            let limit = IdempotencyKey::LENGTH_MAX;
            Problem::malformed_request(format!(
                "Idempotency-Key must have 1 to {limit} visible ASCII characters."
            ))
        })?;
        Ok(Self(Some(key)))
    }
}

/// The parameters of a query, read by name.
pub struct Params(Vec<(String, String)>);

impl FromRequestParts<Arc<App>> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Problem> {
        let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let pairs = pairs.map_err(|error| Problem::malformed_request(error.to_string()))?.0;
        let control = |(_, value): &&(String, String)| value.chars().any(char::is_control);
        match pairs.iter().find(control) {
            Some((name, _)) => {
                Err(Problem::invalid_field(name.clone(), "must not contain control characters"))
            }
            None => Ok(Self(pairs)),
        }
    }
}

/// How many items a page has, unless its request says otherwise.
const PAGE_DEFAULT: u32 = 20;
/// How many items a page may have.
const PAGE_MAX: u32 = 100;

impl Params {
    /// The value of a parameter; an empty one counts as none.
    pub fn get(&self, name: &str) -> Option<&str> {
        let named = self.0.iter().find(|(key, _)| key == name);
        named.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// The value of a parameter, read by `parse`, or a problem that says what it must be.
    pub fn read<T>(
        &self,
        name: &str,
        must: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(value) = self.get(name) else { return Ok(None) };
        parse(value).map(Some).ok_or_else(|| Problem::invalid_field(name, must))
    }

    /// The part of a list that is asked for.
    pub fn page<Id: FromStr>(&self) -> Result<store::Page<Id>, Problem> {
        let limit =
            self.read("limit", &format!("must be an integer from 1 to {PAGE_MAX}"), |text| {
                text.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit))
            })?;
        let after = self.read("after", "must be the cursor of a page", |text| text.parse().ok())?;
        Ok(store::Page { after, limit: limit.unwrap_or(PAGE_DEFAULT) })
    }
}

/// A page of a list, newest first.
#[derive(serde::Serialize, utoipa::ToSchema)]
pub struct Listed<T> {
    /// The items, newest first.
    pub items: Vec<T>,
    /// What to pass as `after` for the next page; null on the last one.
    #[schema(required)]
    pub next: Option<String>,
}

impl<T> Listed<T> {
    /// A page of `items`; a full one may have a next.
    pub fn new<Id: fmt::Display>(items: Vec<T>, limit: u32, id: impl Fn(&T) -> Id) -> Self {
        let full = items.len() >= limit as usize;
        let next = items.last().filter(|_| full).map(|last| id(last).to_string());
        Self { items, next }
    }
}

/// The version that `If-Match` names; `*` and no header match every version.
pub fn expected_version(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let tag = text.strip_prefix("W/").unwrap_or(text);
    let tag = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
    let version =
        tag.and_then(|tag| tag.split('.').next()).and_then(|version| version.parse().ok());
    version
        .map(Some)
        .ok_or_else(|| Problem::malformed_request("If-Match must be an ETag of this resource."))
}

/// For serde: shows a value by its `Display`.
pub fn shown<T: fmt::Display, S: serde::Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// For serde: shows an optional value by its `Display`.
pub fn shown_or_null<T: fmt::Display, S: serde::Serializer>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

/// For serde: tells a field that is null from one that is missing.
pub fn present<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: serde::Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    serde::Deserialize::deserialize(deserializer).map(Some)
}

/// For garde: refuses control characters, NUL among them.
pub fn printable<T: AsRef<str> + ?Sized>(text: &T, (): &()) -> garde::Result {
    if text.as_ref().chars().any(char::is_control) {
        return Err(garde::Error::new("must not contain control characters"));
    }
    Ok(())
}

/// An instant of a body, in RFC 3339.
#[derive(Clone, Copy, Debug)]
pub struct At(pub Timestamp);

impl<'de> serde::Deserialize<'de> for At {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let wrong = || {
            serde::de::Error::custom("must be an instant in RFC 3339, such as 2027-06-15T18:00:00Z")
        };
        Timestamp::parse(&text).map(Self).ok_or_else(wrong)
    }
}

impl serde::Serialize for At {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A digest of a request, by which a retry with the same key is known.
pub fn fingerprint(request: &impl serde::Serialize) -> i64 {
    let canonical =
        serde_json::to_vec(request).expect("a request that was read from JSON can be written");
    let digest = Sha256::digest(&canonical);
    i64::from_le_bytes(digest[..8].try_into().expect("a digest has 32 bytes"))
}
