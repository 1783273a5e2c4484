//! Bodies: JSON, read within limits of size and time, parsed strictly, and validated completely.
//!
//! A valid body is parsed once. An invalid one is parsed again for its syntax alone, to distinguish
//! malformed JSON (400: encoding, depth, duplicate keys) from JSON of another shape (422).

use super::App;
use super::problem::{Code, FieldError, Problem};
use axum::body::{Bytes, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use garde::Validate;
use http_body_util::BodyExt;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::HashSet;
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

/// How deep arrays and objects of a body may be nested.
const DEPTH_MAX: usize = 32;

/// A body that comes in: hyper's, or in a box.
pub trait Incoming: HttpBody<Data = Bytes> + Unpin + Send {}

impl<B: HttpBody<Data = Bytes> + Unpin + Send> Incoming for B {}

/// A validated JSON body.
pub struct Json<T>(pub T);

impl<T> FromRequest<Arc<App>> for Json<T>
where
    T: DeserializeOwned + Validate<Context = ()>,
{
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        let JsonBytes(bytes) = JsonBytes::from_request(request, app).await?;
        validated(&bytes).map(Self)
    }
}

/// A JSON body that is still to be parsed.
pub struct JsonBytes(pub Bytes);

impl FromRequest<Arc<App>> for JsonBytes {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        Self::of(app, &parts.headers, body).await
    }
}

impl JsonBytes {
    /// The body of a request with these headers.
    pub async fn of(app: &App, headers: &HeaderMap, body: impl Incoming) -> Result<Self, Problem> {
        if !is(headers, JSON) {
            return Err(not_json());
        }
        read(headers, body, app, app.core.config.max_body_bytes).await.map(Self)
    }
}

/// A JSON body that may be left out.
pub struct Optional<T>(pub Option<T>);

impl<T> FromRequest<Arc<App>> for Optional<T>
where
    T: DeserializeOwned + Validate<Context = ()>,
{
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = read(&parts.headers, body, app, app.core.config.max_body_bytes).await?;
        if bytes.is_empty() {
            return Ok(Self(None));
        }
        if !is(&parts.headers, JSON) {
            return Err(not_json());
        }
        validated(&bytes).map(|read| Self(Some(read)))
    }
}

/// Reads an object and validates it whole.
pub fn validated<'a, T>(bytes: &'a [u8]) -> Result<T, Problem>
where
    T: Deserialize<'a> + Validate<Context = ()>,
{
    let Object(value) = parse::<Object<T>>(bytes)?;
    value.validate().map_err(|report| invalid(&report))?;
    Ok(value)
}

/// 415 for a call that takes JSON alone.
pub fn not_json() -> Problem {
    Problem::new(Code::UnsupportedMediaType, "Send the body with Content-Type: application/json.")
}

/// No body, or an empty object: for calls that need nothing but their path.
pub struct NoBody;

impl FromRequest<Arc<App>> for NoBody {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        Self::of(app, &parts.headers, body).await
    }
}

impl NoBody {
    /// The body of a request with these headers.
    pub async fn of(app: &App, headers: &HeaderMap, body: impl Incoming) -> Result<Self, Problem> {
        let bytes = read(headers, body, app, app.core.config.max_body_bytes).await?;
        if !bytes.is_empty() {
            let Object(super::docs::Empty {}) = parse(&bytes)?;
        }
        Ok(Self)
    }
}

/// The media type of JSON.
pub const JSON: &str = "application/json";

/// Whether the body is said to be of this media type, whatever its parameters.
pub fn is(headers: &HeaderMap, media_type: &str) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next()).map(str::trim);
    essence.is_some_and(|essence| essence.eq_ignore_ascii_case(media_type))
}

/// Reads a body of at most `limit` bytes, within the time that a body may take. Compressed bodies are
/// refused: nobody knows how large they are.
pub async fn read(
    headers: &HeaderMap,
    mut body: impl Incoming,
    app: &App,
    limit: usize,
) -> Result<Bytes, Problem> {
    if !body.is_end_stream() && is_encoded(headers) {
        return Err(Problem::encoded_body());
    }
    // A length that is declared too large is refused before the client is asked to send it.
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large(limit));
    }
    // Most bodies have come with their head, in one piece: it is taken as it is, without a timer.
    let first = poll_fn(|context| Poll::Ready(Pin::new(&mut body).poll_frame(context))).await;
    let first = match first {
        Poll::Ready(None) => return Ok(Bytes::new()),
        Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
            Ok(data) if body.is_end_stream() && data.len() <= limit => return Ok(data),
            Ok(data) => Some(Ok(data)),
            Err(_) => None,
        },
        Poll::Ready(Some(Err(_))) => Some(Err(ended_early())),
        Poll::Pending => None,
    };
    let whole = Box::pin(tokio::time::timeout(
        app.core.config.body_timeout,
        collect(first.transpose()?, body, limit),
    ));
    whole.await.unwrap_or_else(|_| {
        Err(Problem::new(
            Code::RequestTimeout,
            format!("The body must arrive within {} s.", app.core.config.body_timeout.as_secs()),
        ))
    })
}

/// Reads what is left of a body that begins with `first`.
async fn collect(
    first: Option<Bytes>,
    mut body: impl Incoming,
    limit: usize,
) -> Result<Bytes, Problem> {
    let mut whole = Vec::new();
    let mut next = first;
    loop {
        if let Some(data) = next {
            if data.len() > limit - whole.len() {
                return Err(too_large(limit));
            }
            whole.extend_from_slice(&data);
        }
        next = match body.frame().await {
            None => return Ok(whole.into()),
            Some(frame) => frame.map_err(|_| ended_early())?.into_data().ok(),
        };
    }
}

fn ended_early() -> Problem {
    Problem::malformed_request("The body ended early.")
}

/// Whether the body is compressed, or encoded in another way.
fn is_encoded(headers: &HeaderMap) -> bool {
    let encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let mut encodings = encodings.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    encodings.any(|encoding| {
        let encoding = encoding.trim_ascii();
        !encoding.is_empty() && !encoding.eq_ignore_ascii_case(b"identity")
    })
}

fn too_large(limit: usize) -> Problem {
    Problem::new(Code::BodyTooLarge, format!("A body can have at most {limit} bytes."))
}

/// A struct that is written as an object: serde alone would also take an array of its fields.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members)).map(Object)
            }
        }

        deserializer.deserialize_map(Members(PhantomData))
    }
}

/// For serde: reads a list of structs, each written as an object.
pub fn objects<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    let read = Vec::<Object<T>>::deserialize(deserializer)?;
    Ok(read.into_iter().map(|Object(item)| item).collect())
}

/// For serde: reads a struct that may be missing, written as an object.
pub fn object<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Object::<T>::deserialize(deserializer).map(|Object(value)| Some(value))
}

fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Problem> {
    // Keeping track of where one is costs more than reading: only who went wrong wants to know.
    if let Ok(value) = serde_json::from_slice(bytes) {
        return Ok(value);
    }
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
    let message = message.split(" at line ").next().unwrap_or(&message);
    let message = whole_number(message).unwrap_or_else(|| message.to_owned());
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

/// What is wrong with a field that holds a whole number, in the place of the name of its type.
fn whole_number(message: &str) -> Option<String> {
    let (found, expected) = message.rsplit_once(", expected ")?;
    if !matches!(expected, "u8" | "u16" | "u32" | "u64" | "usize" | "i32" | "i64") {
        return None;
    }
    let told = match found.strip_prefix("invalid value: integer `") {
        Some(number) if number.starts_with('-') && expected.starts_with('u') => {
            "must not be negative"
        }
        Some(number) if number.starts_with('-') => "is too small",
        Some(_) => "is too large",
        None => "must be a whole number, without a fraction or an exponent",
    };
    Some(told.to_owned())
}

/// Reads a body for its syntax alone: encoding, depth, and duplicate keys.
fn strict(bytes: &[u8]) -> Result<(), String> {
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

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
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

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while items.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        let mut keys = HashSet::new();
        while let Some(key) = members.next_key::<String>()? {
            members.next_value_seed(inner)?;
            if let Some(twice) = keys.replace(key) {
                return Err(serde::de::Error::custom(format_args!("duplicate key {twice:?}")));
            }
        }
        Ok(())
    }
}

/// Says of each field the first thing that is wrong with it: a name that is empty is also blank.
fn invalid(report: &garde::Report) -> Problem {
    let mut told = HashSet::new();
    let errors = report
        .iter()
        .map(|(path, error)| FieldError { field: path.to_string(), message: error.to_string() });
    let errors = errors.filter(|error| told.insert(error.field.clone()));
    Problem::invalid(&errors.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Form {
        #[expect(dead_code, reason = "only read")]
        seats: u32,
        #[expect(dead_code, reason = "only read")]
        price: Option<i64>,
    }

    #[test]
    fn a_number_that_does_not_fit_is_told_why() {
        let whole = "must be a whole number, without a fraction or an exponent";
        for (body, expected) in [
            (r#"{"seats": -1}"#, "must not be negative"),
            (r#"{"seats": 1e30}"#, whole),
            (r#"{"seats": 4294967296}"#, "is too large"),
            (r#"{"seats": "1"}"#, whole),
            (r#"{"seats": 1, "price": 0.5}"#, whole),
            (r#"{"seats": 1, "price": 9223372036854775808}"#, "is too large"),
        ] {
            let error = serde_json::from_str::<Form>(body).expect_err("does not fit").to_string();
            let message = error.split(" at line ").next().unwrap_or_default();
            assert_eq!(whole_number(message).as_deref(), Some(expected), "{message}");
        }
    }
}
