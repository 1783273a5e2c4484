//! Lists: the parameters of a query, and pages of what it finds.

use super::App;
use super::problem::Problem;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
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
