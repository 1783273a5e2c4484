//! How values are represented on the wire: helpers for serde and garde.

use super::answers::Room;
use super::content::Answer;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use engine::time::DateFlaw;
use engine::{AnyId, Timestamp, text};
use serde::Deserialize as _;
use serde::de::Visitor;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt;

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

/// For serde: distinguishes a null field from a missing one.
pub fn present<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: serde::Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    serde::Deserialize::deserialize(deserializer).map(Some)
}

/// For serde: refuses null for a field that may be missing but not be cleared.
pub fn given<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: serde::Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// For serde: reads text, borrowed from the body unless it is written with escapes.
pub fn text<'de: 'a, 'a, D>(deserializer: D) -> Result<Cow<'a, str>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    struct Text;

    impl<'de> Visitor<'de> for Text {
        type Value = Cow<'de, str>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
            Ok(Cow::Borrowed(text))
        }

        fn visit_str<E>(self, text: &str) -> Result<Cow<'de, str>, E> {
            Ok(Cow::Owned(text.to_owned()))
        }
    }

    deserializer.deserialize_str(Text)
}

/// For serde: [`text`] for a field that may be missing but not be null.
pub fn given_text<'de: 'a, 'a, D>(deserializer: D) -> Result<Option<Cow<'a, str>>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    text(deserializer).map(Some)
}

/// Text of a body that is read into the form in which it is kept.
pub trait Written: Sized {
    /// The same text, each part changed by `rewrite`.
    fn rewritten(self, rewrite: fn(&str) -> String) -> Self;
}

impl Written for String {
    fn rewritten(self, rewrite: fn(&str) -> String) -> Self {
        rewrite(&self)
    }
}

impl<T: Written> Written for Option<T> {
    fn rewritten(self, rewrite: fn(&str) -> String) -> Self {
        self.map(|text| text.rewritten(rewrite))
    }
}

/// For serde: reads text composed, however its letters were written.
pub fn composed<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Written + serde::Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    Ok(T::deserialize(deserializer)?.rewritten(|text| text::composed(text).into_owned()))
}

/// For serde: [`composed`] for a field that may be missing but not be null.
pub fn given_composed<'de, D>(deserializer: D) -> Result<Option<String>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    composed(deserializer).map(Some)
}

/// For serde: [`composed`] for a field that may be missing or null, which are distinguished.
pub fn present_composed<'de, D>(deserializer: D) -> Result<Option<Option<String>>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    composed(deserializer).map(Some)
}

/// For serde: reads a text of several lines.
pub fn prose<'de, D>(deserializer: D) -> Result<Option<String>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    Ok(Option::<String>::deserialize(deserializer)?.rewritten(text::prose))
}

/// For serde: [`prose`] for a field that may be missing or null, which are distinguished.
pub fn present_prose<'de, D>(deserializer: D) -> Result<Option<Option<String>>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    prose(deserializer).map(Some)
}

/// For serde: reads a new password in the form in which it is hashed.
pub fn password<'de, D>(deserializer: D) -> Result<String, D::Error>
where
    D: serde::Deserializer<'de>,
{
    Ok(String::deserialize(deserializer)?.rewritten(|text| text::password(text).into_owned()))
}

/// For garde: refuses control characters, NUL among them.
pub fn printable<T: AsRef<str> + ?Sized>(text: &T, (): &()) -> garde::Result {
    if text.as_ref().chars().any(char::is_control) {
        return Err(garde::Error::new("must not contain control characters"));
    }
    Ok(())
}

/// For garde: refuses control characters other than line breaks.
pub fn lines<T: AsRef<str> + ?Sized>(text: &T, (): &()) -> garde::Result {
    text::prose_flaw(text.as_ref()).map_or(Ok(()), |flaw| Err(garde::Error::new(flaw)))
}

/// For garde: refuses what is no id.
pub fn uuid(text: &str, (): &()) -> garde::Result {
    let is_id = text.parse::<AnyId>().is_ok();
    is_id.then_some(()).ok_or_else(|| garde::Error::new("must be a hyphenated UUID"))
}

/// For garde: refuses names that are invisible or cannot be distinguished from others.
pub fn legible<T: AsRef<str> + ?Sized>(text: &T, (): &()) -> garde::Result {
    text::name_flaw(text.as_ref()).map_or(Ok(()), |flaw| Err(garde::Error::new(flaw)))
}

/// For garde: [`legible`] for one that may be empty.
pub fn legible_or_empty<T: AsRef<str> + ?Sized>(text: &T, (): &()) -> garde::Result {
    if text.as_ref().is_empty() { Ok(()) } else { legible(text, &()) }
}

/// An instant of a body, in RFC 3339.
#[derive(Clone, Copy, Debug)]
pub struct At(pub Timestamp);

impl<'de> serde::Deserialize<'de> for At {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        Timestamp::read(&text).map(Self).map_err(|flaw| {
            const FORM: &str = "must be an instant in RFC 3339, such as 2027-06-15T18:00:00Z";
            serde::de::Error::custom(date_flaw(flaw, FORM))
        })
    }
}

/// What is wrong with a date or an instant; `form` says how it is written.
pub fn date_flaw(flaw: DateFlaw, form: &'static str) -> &'static str {
    match flaw {
        DateFlaw::Malformed => form,
        DateFlaw::NotInCalendar => "must be a date and time that exist in the calendar",
        DateFlaw::OutOfRange => {
            "must begin and end between 0001-01-01T00:00:00Z and 9999-12-31T23:59:59.999Z"
        }
        DateFlaw::Skipped => "must be a day that exists in the time zone, which skipped this one",
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

/// Room for an answer in JSON: most of ours are a little shorter.
const ANSWER_BYTES: usize = 1_024;

/// An answer in JSON that `write` writes, into memory that need not grow, in a map of headers that was
/// made for something else.
pub fn json_with(
    headers: HeaderMap,
    status: StatusCode,
    write: impl FnOnce(&mut Vec<u8>),
) -> Answer {
    let mut bytes = Vec::with_capacity(ANSWER_BYTES);
    write(&mut bytes);
    answer_with(headers, status, bytes.into())
}

/// An answer in JSON that may be large, in a map of headers that was made for something else.
pub fn json_in(
    room: Room,
    headers: HeaderMap,
    status: StatusCode,
    body: &impl serde::Serialize,
) -> Answer {
    answer_with(headers, status, room.keep(written(body)))
}

fn answer_with(mut headers: HeaderMap, status: StatusCode, body: Bytes) -> Answer {
    let (name, value) = as_json();
    headers.insert(name, value);
    let mut answer = Answer::new(body.into());
    (*answer.status_mut(), *answer.headers_mut()) = (status, headers);
    answer
}

fn as_json() -> (header::HeaderName, HeaderValue) {
    (header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
}

fn written(body: &impl serde::Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ANSWER_BYTES);
    serde_json::to_writer(&mut bytes, body).expect("what we answer can be written as JSON");
    bytes
}
