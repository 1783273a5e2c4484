//! Queries: a parameter that a call does not take is refused, as an unknown field is.

use crate::support::{Server, hold_body};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// Every call with parameters that are fine for it.
async fn calls(server: &Server) -> Vec<(Method, String)> {
    let document = server.client().outside().get("/openapi.json").await.expect(StatusCode::OK);
    let mut calls = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in item.as_object().expect("operations").keys() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
            calls.push((method, path.replace(['{', '}'], "")));
        }
    }
    calls
}

fn fields(problem: &Value) -> Vec<&str> {
    let errors = problem["errors"].as_array().expect("a list");
    errors.iter().map(|error| error["field"].as_str().expect("text")).collect()
}

#[tokio::test]
async fn every_call_refuses_a_parameter_that_it_does_not_know() {
    let server = Server::start(&[]);
    let client = server.user().await.outside();
    let calls = calls(&server).await;
    assert!(calls.len() > 30, "{calls:?}");
    for (method, path) in calls {
        let target = format!("{path}?colour=red");
        let answer = client.send(method.clone(), &target, Some(&json!({})), &[]).await;
        let problem = answer.problem(422, "validation_failed");
        assert_eq!(fields(&problem), ["colour"], "{method} {target}");
        if method == Method::GET {
            let answer = client.send(Method::HEAD, &target, None, &[]).await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "HEAD {target}");
        }
        // An empty query is none.
        let answer = client.send(method.clone(), &format!("{path}?"), Some(&json!({})), &[]).await;
        let named = answer.body["errors"]
            .as_array()
            .is_some_and(|all| all.iter().any(|it| it["field"] == "query"));
        assert!(!named, "{method} {path}?: {:#}", answer.body);
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_query_is_told_by_name() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(3).await;
    for (path, named) in [
        ("/events?limt=5", vec!["limt"]),
        ("/events?Limit=5", vec!["Limit"]),
        ("/events?limit=5&limit=5", vec!["limit"]),
        ("/events?limit=5&limit=6&q=a&%71=b", vec!["limit", "q"]),
        ("/events?status=&status=draft", vec!["status"]),
        ("/bookings?organizer=me&limit=1&x", vec!["organizer", "x"]),
        ("/bookings?=1", vec!["query"]),
    ] {
        let problem = user.get(path).await.problem(422, "validation_failed");
        assert_eq!(fields(&problem), named, "{path}");
    }
    let problem = user.get("/bookings?colour=red").await.problem(422, "validation_failed");
    let message = problem["errors"][0]["message"].as_str().expect("text");
    for name in ["after", "event_id", "limit", "status"] {
        assert!(message.contains(name), "{message}");
    }
    let many: Vec<_> = (0..1_000).map(|number| format!("x{number}")).collect();
    let problem = user.get(&format!("/events?{}", many.join("&"))).await;
    let problem = problem.problem(422, "validation_failed");
    assert_eq!((fields(&problem).len(), &problem["errors_untold"]), (20, &json!(980)));

    // Nothing was done, on the shortcut either.
    let hold = hold_body(&event_id, 1);
    let refused = user.post("/bookings/hold?dry_run=true", &hold).await;
    assert_eq!(fields(&refused.problem(422, "validation_failed")), ["dry_run"]);
    assert_eq!(user.seats(&event_id).await, (3, 0, 0));
    let event = format!("/events/{event_id}");
    let refused = user.get(&format!("{event}?view=card")).await;
    assert_eq!(fields(&refused.problem(422, "validation_failed")), ["view"]);

    // What is no call has no parameters, and a drawing may be named for caches.
    user.get("/nothing?x=1").await.problem(404, "not_found");
    user.send(Method::DELETE, "/events?x=1", None, &[]).await.problem(405, "method_not_allowed");
    let layout = json!([{"name": "A", "layout": {"rows": "A", "seats_per_row": 2}}]);
    let show = json!({"title": "x", "event_date": "2099-01-01", "sections": layout});
    let event_id = user.event_with(&show).await;
    user.get(&format!("/events/{event_id}/sections/A/seats?v=1")).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn a_query_that_is_not_utf8_is_refused_with_its_parameter() {
    let server = Server::start(&[]);
    let client = server.client();
    for (query, field) in [
        ("q=%ff", "q"),
        ("q=caf%C3", "q"),
        ("limit=5&q=%C3%28", "q"),
        ("status=%ff", "status"),
        ("q=ok&from=%ED%A0%80", "from"),
    ] {
        let answer = client.get(&format!("/events?{query}")).await;
        let told = json!([{"field": field, "message": "must be UTF-8"}]);
        assert_eq!(answer.problem(422, "validation_failed")["errors"], told, "{query}");
    }
    for query in ["q=caf%C3%A9", "q=100%", "q=%zz", "q=%F0%9F%8E%AD"] {
        client.get(&format!("/events?{query}")).await.expect(StatusCode::OK);
    }
}
