//! HTTP itself: paths, methods, types, sizes, origins, request ids.

use crate::support::{Server, hold_body};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

#[tokio::test]
async fn an_unknown_path_is_not_found() {
    let server = Server::start(&[]);
    let user = server.user().await.outside();
    for path in [
        "/nothing",
        "/api",
        "/api/v1",
        "/api/v1/",
        "/api/v2/events",
        "/api/v1/event",
        "/api/v1/events/",
        "/api/v1/bookings/hold/x",
        "/api/v1//events",
        "/health/",
        "/%00",
        "/%ff",
        "/api/v1/EVENTS",
        "/.env",
    ] {
        for method in [Method::GET, Method::POST, Method::DELETE, Method::OPTIONS] {
            let answer = user.send(method, path, None, &[]).await;
            answer.problem(404, "not_found");
        }
    }
}

#[tokio::test]
async fn an_unknown_page_of_the_documentation_is_not_found() {
    let server = Server::start(&[]);
    let client = server.client().outside();
    for path in ["/docs/nothing.js", "/docs/a/b", "/docs/..%2f..%2fCargo.toml", "/docs/%ff"] {
        client.get(path).await.problem(404, "not_found");
    }
}

#[tokio::test]
async fn a_method_that_a_path_does_not_know_is_refused_with_those_it_knows() {
    let server = Server::start(&[]);
    let user = server.user().await.outside();
    for (path, allowed) in [
        ("/", "GET,HEAD"),
        ("/health", "GET,HEAD"),
        ("/health/live", "GET,HEAD"),
        ("/metrics", "GET,HEAD"),
        ("/openapi.json", "GET,HEAD"),
        ("/api/v1/auth/login", "POST"),
        ("/api/v1/users/me", "DELETE,GET,HEAD,PATCH"),
        ("/api/v1/events", "GET,HEAD,POST"),
        ("/api/v1/events/x", "GET,HEAD,PATCH"),
        ("/api/v1/events/x/availability", "GET,HEAD"),
        ("/api/v1/events/x/cancel", "POST"),
        ("/api/v1/events/x/sections", "POST"),
        ("/api/v1/events/x/sections/y", "GET,HEAD,PATCH"),
        ("/api/v1/events/x/bookings", "GET,HEAD"),
        ("/api/v1/series", "GET,HEAD,POST"),
        ("/api/v1/series/x", "GET,HEAD,PATCH"),
        ("/api/v1/bookings", "GET,HEAD"),
        ("/api/v1/bookings/hold", "POST"),
        ("/api/v1/bookings/x", "GET,HEAD,PATCH"),
        ("/api/v1/bookings/x/confirm", "PATCH,POST"),
        ("/api/v1/bookings/x/cancel", "POST"),
    ] {
        for method in ["GET", "POST", "PATCH", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"] {
            if allowed.split(',').any(|known| known == method) {
                continue;
            }
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            let answer = user.send(method.clone(), path, None, &[]).await;
            assert_eq!(answer.status, 405, "{method} {path}: {:#}", answer.body);
            let allow = answer.headers["allow"].to_str().expect("text");
            let mut known: Vec<_> = allow.split(',').map(str::trim).collect();
            known.sort_unstable();
            assert_eq!(known.join(","), allowed, "{method} {path}");
            answer.problem(405, "method_not_allowed");
        }
    }
}

#[tokio::test]
async fn head_answers_as_get_without_a_body() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(3).await;
    let path = format!("/events/{event_id}");
    let head = user.send(Method::HEAD, &path, None, &[]).await;
    assert!(head.headers.contains_key("etag"));
    assert_eq!(head.expect(StatusCode::OK), Value::Null);
    let missing = user.send(Method::HEAD, "/events/x", None, &[]).await;
    assert_eq!(missing.expect(StatusCode::NOT_FOUND), Value::Null);
}

#[tokio::test]
async fn a_body_that_is_not_declared_as_json_is_refused() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(3).await;
    let body = hold_body(&event_id, 1).to_string();
    for content_type in
        ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "", "json"]
    {
        let headers = [("Content-Type", content_type)];
        let answer = user.send_bytes(Method::POST, "/bookings/hold", body.clone(), &headers).await;
        answer.problem(415, "unsupported_media_type");
    }
    let answer = user.send_bytes(Method::POST, "/bookings/hold", body.clone(), &[]).await;
    answer.problem(415, "unsupported_media_type");
    assert_eq!(user.seats(&event_id).await, (3, 0, 0));
    for content_type in ["application/json", "Application/JSON; charset=utf-8"] {
        let headers = [("Content-Type", content_type)];
        let answer = user.send_bytes(Method::POST, "/bookings/hold", body.clone(), &headers).await;
        answer.expect(StatusCode::CREATED);
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_while_it_is_still_being_sent() {
    let server = Server::start(&[("MAX_BODY_BYTES", "2048")]);
    let user = server.user().await;
    let event_id = user.event(3).await;
    let headers = [("Content-Type", "application/json")];
    let sized = |size: usize| {
        let mut body = hold_body(&event_id, 1).to_string().into_bytes();
        body.resize(size, b' ');
        body
    };
    let fits = user.send_bytes(Method::POST, "/bookings/hold", sized(2_048), &headers).await;
    fits.expect(StatusCode::CREATED);
    for size in [2_049, 100_000, 10_000_000] {
        for path in ["/bookings/hold", "/events", "/auth/login", "/bookings/x/confirm"] {
            let answer = user.send_bytes(Method::POST, path, sized(size), &headers).await;
            answer.problem(413, "body_too_large");
        }
    }
    assert_eq!(user.seats(&event_id).await, (2, 1, 0));
}

#[tokio::test]
async fn a_large_body_is_refused_also_where_its_sender_is_unknown() {
    let server = Server::start(&[]);
    let body = vec![b' '; 10_000_000];
    let headers = [("Content-Type", "application/json")];
    let client = server.client();
    for _ in 0..3 {
        let answer =
            client.send_bytes(Method::POST, "/bookings/hold", body.clone(), &headers).await;
        answer.problem(401, "unauthorized");
        let answer = client.send_bytes(Method::POST, "/nothing", body.clone(), &headers).await;
        answer.problem(404, "not_found");
    }
}

#[tokio::test]
async fn a_target_and_headers_that_are_too_long_are_refused() {
    let server = Server::start(&[]);
    let client = server.client();
    let fits = client.get(&format!("/events?q={}", "x".repeat(200))).await;
    fits.expect(StatusCode::OK);
    for length in [9_000, 40_000, 60_000] {
        let long = client.get(&format!("/events?x={}", "x".repeat(length))).await;
        long.problem(414, "uri_too_long");
    }
    for length in [17_000, 60_000, 100_000, 1_000_000] {
        let value = "x".repeat(length);
        let large = client.send(Method::GET, "/events", None, &[("X-Large", &value)]).await;
        large.problem(431, "headers_too_large");
    }
    let names: Vec<_> = (0..150).map(|number| format!("X-{number}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), "x")).collect();
    let many = client.send(Method::GET, "/events", None, &many).await;
    many.problem(431, "headers_too_large");
}

#[tokio::test]
async fn every_answer_carries_the_id_of_its_request() {
    let server = Server::start(&[]);
    let client = server.client().outside();
    let mut seen = std::collections::HashSet::new();
    for path in ["/", "/health/live", "/api/v1/events", "/docs/", "/nothing", "/api/v1/users/me"] {
        let answer = client.get(path).await;
        let id = answer.headers["x-request-id"].to_str().expect("text").to_owned();
        assert!(id.len() >= 16 && seen.insert(id.clone()), "{path}: {id}");
    }
    for (sent, taken) in
        [("my-id-1", true), ("two words", false), ("", false), (&"x".repeat(200), false)]
    {
        let answer = client.send(Method::GET, "/nothing", None, &[("X-Request-Id", sent)]).await;
        assert_eq!(answer.headers["x-request-id"] == sent, taken, "{sent}");
        answer.problem(404, "not_found");
    }
}

#[tokio::test]
async fn pages_of_allowed_origins_may_read_answers_and_no_others() {
    let server = Server::start(&[("ALLOWED_ORIGINS", "https://shop.example.com")]);
    let client = server.client();
    let preflight = async |origin: &str, method: &str| {
        let headers = [
            ("Origin", origin),
            ("Access-Control-Request-Method", method),
            (
                "Access-Control-Request-Headers",
                "authorization,content-type,idempotency-key,if-match",
            ),
        ];
        client.send(Method::OPTIONS, "/bookings/hold", None, &headers).await
    };
    let allowed = preflight("https://shop.example.com", "POST").await;
    assert!(allowed.status.is_success());
    assert_eq!(allowed.headers["access-control-allow-origin"], "https://shop.example.com");
    let list = |name: &str| allowed.headers[name].to_str().expect("text").to_ascii_lowercase();
    let methods = list("access-control-allow-methods");
    assert!(["get", "post", "patch"].iter().all(|method| methods.contains(method)), "{methods}");
    let names = list("access-control-allow-headers");
    for name in ["authorization", "content-type", "idempotency-key", "if-match", "if-none-match"] {
        assert!(names.contains(name), "{names}");
    }
    let foreign = preflight("https://evil.example.com", "POST").await;
    assert!(!foreign.headers.contains_key("access-control-allow-origin"));

    for (path, status) in [("/events", 200), ("/events/x", 404), ("/users/me", 401)] {
        let headers = [("Origin", "https://shop.example.com")];
        let answer = client.send(Method::GET, path, None, &headers).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.headers["access-control-allow-origin"], "https://shop.example.com");
        let exposed = answer.headers["access-control-expose-headers"].to_str().expect("text");
        for name in ["location", "etag", "retry-after", "x-request-id", "idempotent-replayed"] {
            assert!(exposed.to_ascii_lowercase().contains(name), "{exposed}");
        }
    }
    let closed = Server::start(&[]);
    let headers = [("Origin", "https://shop.example.com")];
    let answer = closed.client().send(Method::GET, "/events", None, &headers).await;
    assert!(!answer.headers.contains_key("access-control-allow-origin"));
    let open = Server::start(&[("ALLOWED_ORIGINS", "*")]);
    let answer = open.client().send(Method::GET, "/events", None, &headers).await;
    assert_eq!(answer.headers["access-control-allow-origin"], "*");
}

#[tokio::test]
async fn large_reads_are_compressed_and_answers_to_commands_are_not() {
    let server = Server::start(&[]);
    let user = server.user().await;
    for _ in 0..10 {
        user.event(10).await;
    }
    let gzip = [("Accept-Encoding", "gzip")];
    let list = user.send(Method::GET, "/events", None, &gzip).await;
    assert_eq!(list.headers["content-encoding"], "gzip");
    assert!(list.body.is_string(), "it is no plain JSON");
    let plain = user.get("/events").await;
    assert!(!plain.headers.contains_key("content-encoding"));
    let new = json!({"title": "x", "event_date": "2099-01-01", "sections": [{"name": "A", "capacity": 1}]});
    let made = user.send(Method::POST, "/events", Some(&new), &gzip).await;
    assert!(!made.headers.contains_key("content-encoding"));
}
