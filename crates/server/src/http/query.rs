//! Query parameters: a call accepts those that its description names, each at most once.
//!
//! As with the fields of a body, an unknown or duplicate name is refused: a misspelt filter would
//! otherwise return everything. The known names come from the OpenAPI document, so the two cannot
//! differ.

use super::problem::{FieldError, Problem};
use axum::extract::Query;
use axum::http::{Method, Request};
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
                (Method::DELETE, &item.delete),
            ];
            for (method, operation) in operations {
                if let Some(operation) = operation {
                    known.0.insert((path.clone(), method), names(operation));
                }
            }
        }
        known
    }

    /// What is wrong with the query of a call of this route. Other paths and methods are answered
    /// alike with any query.
    pub fn flaws<B>(&self, route: &str, request: &Request<B>) -> Option<Problem> {
        let query = request.uri().query().filter(|query| !query.is_empty())?;
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
        if errors.is_empty() {
            errors.extend(query.split('&').filter(|pair| !is_utf8(pair)).map(|pair| {
                let name = pair.split('=').next().filter(|name| known.contains(*name));
                let field = name.unwrap_or("query").to_owned();
                FieldError { field, message: "must be UTF-8".to_owned() }
            }));
        }
        let more = errors.len().saturating_sub(ERRORS_MAX);
        errors.truncate(ERRORS_MAX);
        (!errors.is_empty()).then(|| Problem::invalid_among(&errors, more))
    }
}

/// Whether what is written in percents is UTF-8; the extractors would replace what is not.
fn is_utf8(pair: &str) -> bool {
    let digit = |at: usize| {
        let digit = char::from(*pair.as_bytes().get(at)?).to_digit(16)?;
        u8::try_from(digit).ok()
    };
    let (mut bytes, mut at) = (Vec::with_capacity(pair.len()), 0);
    while at < pair.len() {
        let escaped = (pair.as_bytes()[at] == b'%').then(|| digit(at + 1).zip(digit(at + 2)));
        if let Some((high, low)) = escaped.flatten() {
            bytes.push(16 * high + low);
            at += 3;
        } else {
            bytes.push(pair.as_bytes()[at]);
            at += 1;
        }
    }
    std::str::from_utf8(&bytes).is_ok()
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
