//! Query parameters: a call accepts those that its description names, each at most once.
//!
//! As with the fields of a body, an unknown or duplicate name is refused: a misspelt filter would
//! otherwise return everything. The known names come from the OpenAPI document, so the two cannot
//! differ.

use super::problem::{FieldError, Problem};
use axum::extract::{Query, Request};
use axum::http::Method;
use std::collections::{BTreeSet, HashMap, HashSet};
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::{OpenApi, RefOr};

/// How many errors of one query are listed.
const ERRORS_MAX: usize = 20;

/// The parameters of each call, by its path and method.
#[derive(Default)]
pub struct KnownParameters(HashMap<(String, Method), BTreeSet<String>>);

impl KnownParameters {
    /// Those that a document describes.
    pub fn of(document: &OpenApi) -> Self {
        let mut known = Self::default();
        for (path, item) in &document.paths.paths {
            let operations = [
                (Method::GET, &item.get),
                (Method::POST, &item.post),
                (Method::PATCH, &item.patch),
                (Method::PUT, &item.put),
            ];
            for (method, operation) in operations {
                if let Some(operation) = operation {
                    known.0.insert((path.clone(), method), names(operation));
                }
            }
        }
        known
    }

    /// Adds a page that takes none and is not described.
    pub fn with_page(mut self, path: &str) -> Self {
        self.0.insert((path.to_owned(), Method::GET), BTreeSet::new());
        self
    }

    /// What is wrong with the query of a call of this route. Other paths and methods are answered
    /// alike with any query.
    pub fn flaws(&self, route: &str, request: &Request) -> Option<Problem> {
        request.uri().query().filter(|query| !query.is_empty())?;
        let is_head = *request.method() == Method::HEAD;
        let method = if is_head { Method::GET } else { request.method().clone() };
        let known = self.0.get(&(route.to_owned(), method))?;
        let pairs = match Query::<Vec<(String, String)>>::try_from_uri(request.uri()) {
            Ok(Query(pairs)) => pairs,
            Err(error) => return Some(Problem::malformed_request(error.to_string())),
        };
        let (mut seen, mut errors) = (HashSet::new(), Vec::new());
        for (name, _) in &pairs {
            let message = if !known.contains(name) {
                expected(known)
            } else if !seen.insert(name) {
                "duplicate parameter".to_owned()
            } else {
                continue;
            };
            let field = if name.is_empty() { "query" } else { name };
            errors.push(FieldError { field: field.to_owned(), message });
        }
        let more = errors.len().saturating_sub(ERRORS_MAX);
        errors.truncate(ERRORS_MAX);
        (!errors.is_empty()).then(|| Problem::invalid_among(&errors, more))
    }
}

fn names(operation: &Operation) -> BTreeSet<String> {
    let parameters = operation.parameters.as_deref().unwrap_or_default().iter();
    let inline = parameters.filter_map(|it| if let RefOr::T(it) = it { Some(it) } else { None });
    let in_query = inline.filter(|it| it.parameter_in == ParameterIn::Query);
    in_query.map(|it| it.name.clone()).collect()
}

fn expected(known: &BTreeSet<String>) -> String {
    if known.is_empty() {
        return "unknown parameter; this call accepts none".to_owned();
    }
    let known: Vec<_> = known.iter().map(|name| format!("`{name}`")).collect();
    format!("unknown parameter, expected one of {}", known.join(", "))
}
