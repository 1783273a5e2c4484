//! The examples of the document: requests that succeed one after another, and real answers to them.
//!
//! `scripts/examples --write` takes them from a session with a real server; without `--write` it checks
//! that they are still true.

use crate::http::PROBLEM;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use utoipa::openapi::example::{Example, ExampleBuilder};
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr};

/// The file of examples.
#[derive(Deserialize)]
struct Examples {
    /// By the names of the operations.
    operations: BTreeMap<String, OfCall>,
    /// By their codes: those that say the same wherever they come up.
    problems: BTreeMap<String, Value>,
}

/// The examples of a call.
#[derive(Default, Deserialize)]
struct OfCall {
    parameters: BTreeMap<String, Value>,
    requests: Vec<Body>,
    answers: Vec<Answer>,
}

/// A body by its name, which is also its place among the others.
#[derive(Deserialize)]
struct Body {
    name: String,
    summary: String,
    media_type: String,
    value: Value,
}

#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(flatten)]
    body: Body,
}

impl Body {
    fn example(&self) -> RefOr<Example> {
        let example = ExampleBuilder::new().summary(&self.summary);
        RefOr::T(example.value(Some(self.value.clone())).build())
    }

    /// Puts it into the content of its media type, if there is such content.
    fn put<'a>(&self, mut contents: impl Iterator<Item = (&'a String, &'a mut RefOr<Content>)>) {
        let named = contents.find(|(media_type, _)| **media_type == self.media_type);
        if let Some((_, RefOr::T(content))) = named {
            content.example = None;
            content.examples.insert(self.name.clone(), self.example());
        }
    }
}

/// Adds the examples to all calls.
pub fn add(document: &mut OpenApi) {
    let examples: Examples = serde_json::from_str(include_str!("examples.json"))
        .expect("the file is written by a script that a test runs");
    let components = document.components.get_or_insert_default();
    for (code, problem) in &examples.problems {
        let title = problem["title"].as_str().unwrap_or_default();
        let example = ExampleBuilder::new().summary(title).value(Some(problem.clone()));
        components.examples.insert(code.clone(), RefOr::T(example.build()));
    }
    for item in document.paths.paths.values_mut() {
        let operations =
            [&mut item.get, &mut item.post, &mut item.patch, &mut item.put, &mut item.delete];
        for operation in operations.into_iter().filter_map(Option::as_mut) {
            let name = operation.operation_id.as_deref().unwrap_or_default();
            let none = OfCall::default();
            let own = examples.operations.get(name).unwrap_or(&none);
            put(operation, own);
            name_problems(operation, &examples.problems);
        }
    }
}

fn put(operation: &mut Operation, own: &OfCall) {
    for parameter in operation.parameters.iter_mut().flatten() {
        if let RefOr::T(parameter) = parameter
            && let Some(value) = own.parameters.get(&parameter.name)
        {
            let built = ParameterBuilder::from(std::mem::replace(parameter, Parameter::new("")));
            *parameter = built.example(Some(value.clone())).build();
        }
    }
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        for request in &own.requests {
            request.put(body.content.iter_mut());
        }
    }
    for answer in &own.answers {
        if let Some(RefOr::T(response)) = operation.responses.responses.get_mut(&answer.status) {
            answer.body.put(response.content.iter_mut());
        }
    }
}

/// Points from each code that an answer names to the example of the problem, where it has none of its own.
fn name_problems(operation: &mut Operation, problems: &BTreeMap<String, Value>) {
    for response in operation.responses.responses.values_mut() {
        let RefOr::T(response) = response else { continue };
        let Some(RefOr::T(content)) = response.content.get_mut(PROBLEM) else { continue };
        for code in response.description.split('`').skip(1).step_by(2) {
            if problems.contains_key(code) {
                let shared = RefOr::Ref(Ref::new(format!("#/components/examples/{code}")));
                content.examples.entry(code.to_owned()).or_insert(shared);
            }
        }
    }
}
