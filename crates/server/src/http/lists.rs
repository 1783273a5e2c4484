//! Lists: the parameters of a query, and pages of what it finds.

use super::App;
use super::answers::Room;
use super::problem::Problem;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

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
/// The size of a page, in bytes: it ends before the item with which it would be larger.
pub const PAGE_BYTES_MAX: usize = 512 * 1024;

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
    pub fn page<Id: FromStr>(&self) -> Result<store::PageRequest<Id>, Problem> {
        let limit =
            self.read("limit", &format!("must be an integer from 1 to {PAGE_MAX}"), |text| {
                text.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit))
            })?;
        let after = self.read("after", "must be the cursor of a page", |text| text.parse().ok())?;
        Ok(store::PageRequest { after, limit: limit.unwrap_or(PAGE_DEFAULT) })
    }
}

/// Writes an item of a page as serde does.
pub fn by_serde<T: serde::Serialize>(out: &mut Vec<u8>, item: &T) {
    serde_json::to_writer(out, item).expect("what we answer can be written as JSON");
}

/// A page of these items, each written by `write`, in room for [`PAGE_BYTES_MAX`]; it has at least
/// one of them. It has a next one when an item is left out, or when there may be more.
pub fn page<T, Id: fmt::Display>(
    room: Room,
    items: impl IntoIterator<Item = T>,
    has_more: bool,
    id: impl Fn(&T) -> Id,
    write: impl Fn(&mut Vec<u8>, &T),
) -> Response {
    written(room, items, |last| last.filter(|_| has_more), id, write)
}

/// The same of items of which some were left out: the next page begins after `next`, which may be one of
/// them.
pub fn page_to<T, Id: fmt::Display>(
    room: Room,
    items: impl IntoIterator<Item = T>,
    next: Option<Id>,
    id: impl Fn(&T) -> Id,
    write: impl Fn(&mut Vec<u8>, &T),
) -> Response {
    written(room, items, |_| next.map(|next| next.to_string()), id, write)
}

/// `next` says what the next page begins after, when all items are on this one.
fn written<T, Id: fmt::Display>(
    room: Room,
    items: impl IntoIterator<Item = T>,
    next: impl FnOnce(Option<String>) -> Option<String>,
    id: impl Fn(&T) -> Id,
    write: impl Fn(&mut Vec<u8>, &T),
) -> Response {
    let mut bytes = br#"{"items":["#.to_vec();
    let (mut last, mut is_cut) = (None, false);
    for item in items {
        let end = bytes.len();
        if last.is_some() {
            bytes.push(b',');
        }
        write(&mut bytes, &item);
        if last.is_some() && bytes.len() > PAGE_BYTES_MAX {
            bytes.truncate(end);
            is_cut = true;
            break;
        }
        last = Some(id(&item).to_string());
    }
    bytes.extend_from_slice(br#"],"next":"#);
    let next = if is_cut { last } else { next(last) };
    by_serde(&mut bytes, &next);
    bytes.push(b'}');
    bytes.shrink_to_fit();
    let json = (header::CONTENT_TYPE, HeaderValue::from_static(super::body::JSON));
    ([json], room.keep(bytes)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::answers::Answers;
    use http_body_util::BodyExt as _;

    /// How many items of this size are on a page, and what its next is.
    async fn listed(items: usize, size: usize, has_more: bool) -> (usize, Option<String>) {
        let room = Answers::default().room(PAGE_BYTES_MAX).await.expect("room");
        let items: Vec<_> = (0..items).map(|n| (n, "x".repeat(size))).collect();
        let page = page(room, items, has_more, |item| item.0, by_serde);
        let bytes = page.into_body().collect().await.expect("a body").to_bytes();
        let page: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
        let count = page["items"].as_array().expect("a list").len();
        assert!(bytes.len() < PAGE_BYTES_MAX + 100 || count == 1, "{}", bytes.len());
        (count, page["next"].as_str().map(str::to_owned))
    }

    #[tokio::test]
    async fn a_page_ends_by_bytes_as_well_and_its_next_is_its_last_item() {
        assert_eq!(listed(0, 1, false).await, (0, None));
        assert_eq!(listed(3, 10, false).await, (3, None));
        assert_eq!(listed(3, 10, true).await, (3, Some("2".to_owned())));
        let half = PAGE_BYTES_MAX / 2;
        assert_eq!(listed(3, half - 50, false).await, (2, Some("1".to_owned())));
        assert_eq!(listed(3, half, false).await, (1, Some("0".to_owned())));
        assert_eq!(listed(2, 3 * PAGE_BYTES_MAX, false).await, (1, Some("0".to_owned())));
        assert_eq!(listed(1, 3 * PAGE_BYTES_MAX, false).await, (1, None));
    }
}
