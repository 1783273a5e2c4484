//! Heads of requests and of answers: `Host`, encodings, spellings of a path, and what every answer says to
//! browsers and caches.

use crate::support::wire::{Heard, Wire, post};
use crate::support::{Answer, Server, hold_body};
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::json;

const SHOP: &str = "https://shop.example";

async fn said(server: &Server, head: &str) -> Heard {
    let mut wire = Wire::open(server).await;
    wire.send(head).await;
    wire.heard().await
}

#[tokio::test]
async fn a_request_names_its_host_once() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(3).await;
    let event = format!("GET /api/v1/events/{event_id} HTTP/1.1\r\n");
    for (line, hosts) in [
        (event.as_str(), ""),
        (&event, "Host: a\r\nHost: a\r\n"),
        (&event, "Host: a\r\nhOST: b\r\n"),
        (&event, "Host: a b\r\n"),
        (&event, "Host: a/b\r\n"),
        (&event, "Host: me@a\r\n"),
        (&event, "Host: a:b\r\n"),
        ("GET /health/live HTTP/1.1\r\n", ""),
        ("GET http://a/health/live HTTP/1.1\r\n", ""),
        ("GET /nothing HTTP/1.1\r\n", ""),
        ("OPTIONS /api/v1/events HTTP/1.1\r\n", ""),
        ("GET /health/live HTTP/1.0\r\n", "Host: a\r\nHost: a\r\n"),
    ] {
        let heard = said(&server, &format!("{line}{hosts}\r\n")).await;
        let problem = heard.problem(400, "malformed_request");
        assert!(problem["detail"].as_str().is_some_and(|it| it.contains("Host")), "{line}{hosts}");
    }
    let hold = post(&user, "/bookings/hold", &hold_body(&event_id, 1));
    said(&server, &hold.replace("Host: x\r\n", "")).await.problem(400, "malformed_request");
    assert_eq!(user.seats(&event_id).await, (3, 0, 0));
    for (line, hosts) in [
        (event.as_str(), "Host: a\r\n"),
        (&event, "Host: a:8000\r\n"),
        (&event, "Host: [::1]:8000\r\n"),
        (&event, "Host:\r\n"),
        ("GET http://a/health/live HTTP/1.1\r\n", "Host: b\r\n"),
        ("GET /health/live HTTP/1.0\r\n", ""),
    ] {
        let heard = said(&server, &format!("{line}{hosts}\r\n")).await;
        assert_eq!(heard.status, 200, "{line}{hosts}");
    }
}

#[tokio::test]
async fn a_body_in_an_encoding_that_is_not_read_is_refused_as_such() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(3).await;
    let booking_id = user.held(&event_id, 1).await;
    let hold = hold_body(&event_id, 1).to_string();
    let confirm = format!("/bookings/{booking_id}/confirm");
    let blocked = format!("/events/{event_id}/sections/A/blocked");
    let seats = format!("/events/{event_id}/sections/A/seats");
    for (method, path, body) in [
        (Method::POST, "/bookings/hold", hold.as_str()),
        (Method::POST, "/auth/login", "{}"),
        (Method::POST, confirm.as_str(), "{}"),
        (Method::PUT, blocked.as_str(), "{}"),
        (Method::PUT, seats.as_str(), "{}"),
    ] {
        for encoding in ["gzip", "br", "identity, gzip", "x-unknown"] {
            let headers = [("Content-Type", "application/json"), ("Content-Encoding", encoding)];
            let answer = user.send_bytes(method.clone(), path, body.to_owned(), &headers).await;
            assert_eq!(answer.headers["accept-encoding"], "identity", "{path} {encoding}");
            let problem = answer.problem(415, "unsupported_media_type");
            assert!(problem["detail"].as_str().is_some_and(|it| it.contains("Content-Encoding")));
        }
    }
    assert_eq!(user.seats(&event_id).await, (2, 1, 0));
    let headers = [("Content-Type", "application/json"), ("Content-Encoding", "Identity")];
    let answer = user.send_bytes(Method::POST, "/bookings/hold", hold, &headers).await;
    answer.expect(StatusCode::CREATED);
    // There is nothing to read in another encoding.
    let answer = user.send(Method::POST, &confirm, None, &[("Content-Encoding", "gzip")]).await;
    answer.expect(StatusCode::OK);
}

#[tokio::test]
async fn percent_encoded_letters_of_a_path_are_those_letters() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(5).await;
    let encoded =
        |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<Vec<_>>().concat();
    for origin in [&[][..], &[("Origin", SHOP)]] {
        let hold = hold_body(&event_id, 1);
        let held = user.send(Method::POST, "/bookings/%68%6F%6Cd", Some(&hold), origin).await;
        let held = held.expect(StatusCode::CREATED);
        let booking_id = encoded(held["booking_id"].as_str().expect("an id"));
        let confirm = format!("/%62ookings/{booking_id}/confir%6D");
        user.send(Method::POST, &confirm, None, origin).await.expect(StatusCode::OK);
        let event = format!("/events/{}", encoded(&event_id));
        let read = user.send(Method::GET, &event, None, origin).await;
        assert_eq!(read.expect(StatusCode::OK)["event_id"], event_id.as_str());
    }
    let availability = user.get(&format!("/events/{event_id}/availabilit%79")).await;
    availability.expect(StatusCode::OK);
    // What is reserved keeps its meaning.
    user.get(&format!("/events%2F{event_id}")).await.problem(404, "not_found");
    user.get("/%2565vents").await.problem(404, "not_found");
}

/// What of an answer must be the same on every road to it.
fn same(headers: &HeaderMap) -> Vec<(String, String)> {
    let own = ["x-request-id", "date", "location", "content-length"];
    let text = |value: &reqwest::header::HeaderValue| value.to_str().expect("text").to_owned();
    let mut all: Vec<_> =
        headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    all.retain(|(name, _)| !own.contains(&name.as_str()));
    all.sort();
    all
}

#[tokio::test]
async fn the_shortcut_and_the_router_say_the_same_of_an_answer() {
    for origins in ["", SHOP, "*"] {
        let server = Server::start(&[("ALLOWED_ORIGINS", origins)]);
        let user = server.user().await;
        let event_id = user.event(9).await;
        let event = format!("/events/{event_id}");
        let gzip = ("Accept-Encoding", "gzip");
        let (hold, nothing) = (hold_body(&event_id, 1), json!({}));
        // A page whose origin is not allowed takes the router, and gets what everybody gets.
        for other in ["https://other.example", SHOP] {
            let other = ("Origin", other);
            let asked = async |method: Method, path: &str, body, headers: &[(&str, &str)]| {
                let short = user.send(method.clone(), path, body, headers).await;
                let long = user.send(method, path, body, &[headers, &[other]].concat()).await;
                assert_eq!(short.status, long.status, "{path}");
                let mut told = same(&long.headers);
                if origins == SHOP && other.1 == SHOP {
                    let allowed = ("access-control-allow-origin".to_owned(), SHOP.to_owned());
                    assert!(told.contains(&allowed), "{told:?}");
                    told.retain(|header| *header != allowed);
                }
                assert_eq!(same(&short.headers), told, "{path} {origins}");
                short
            };
            for headers in
                [&[][..], &[gzip], &[("If-None-Match", "*")], &[gzip, ("If-None-Match", "*")]]
            {
                let read = asked(Method::GET, &event, None, headers).await;
                assert_eq!(read.headers["cache-control"], "max-age=1");
                let vary = read.headers["vary"].to_str().expect("text");
                let expected =
                    if origins.is_empty() { "accept-encoding" } else { "accept-encoding, origin" };
                assert_eq!(vary, expected, "{} {headers:?}", read.status);
            }
            let held = asked(Method::POST, "/bookings/hold", Some(&hold), &[]).await;
            assert_eq!(held.status, StatusCode::CREATED);
            assert_eq!(held.headers["cache-control"], "no-store");
            let confirm = format!("/bookings/{}/confirm", held.booking_id().expect("an id"));
            let confirmed = asked(Method::POST, &confirm, None, &[]).await;
            assert_eq!(confirmed.status, StatusCode::OK);
            assert_eq!(confirmed.headers["cache-control"], "no-store");
            asked(Method::POST, "/bookings/hold", Some(&nothing), &[])
                .await
                .problem(422, "validation_failed");
            asked(Method::GET, "/events/x", None, &[]).await.problem(404, "not_found");
        }
    }
}

#[tokio::test]
async fn a_page_of_another_origin_may_read_refusals_of_every_kind() {
    let server = Server::start(&[("ALLOWED_ORIGINS", SHOP), ("HEADER_TIMEOUT_SECONDS", "1")]);
    let from = format!("Host: x\r\nOrigin: {SHOP}\r\n");
    let long = "x".repeat(9_000);
    let huge = "x".repeat(70_000);
    for (head, status) in [
        (format!("GET /{long} HTTP/1.1\r\n{from}\r\n"), 414),
        (format!("GET / HTTP/1.1\r\n{from}X: {long}\r\nY: {long}\r\n\r\n"), 431),
        // Before the head is whole.
        (format!("GET / HTTP/1.1\r\n{from}X: {huge}\r\n\r\n"), 431),
        (format!("GET / HTTP/1.1\r\n{from}X: y"), 408),
        (format!("GET / HTTP/1.1\r\n{from}X\r\n\r\n"), 400),
        (format!("GET / HTTP/1.1\r\nOrigin: {SHOP}\r\n\r\n"), 400),
    ] {
        let heard = said(&server, &head).await;
        assert_eq!(heard.status, status, "{}", heard.head);
        for line in [
            "access-control-allow-origin: https://shop.example",
            "access-control-expose-headers: ",
            "vary: origin",
            "x-content-type-options: nosniff",
            "cache-control: no-store",
        ] {
            assert!(
                heard.head.contains(&format!("\r\n{line}")),
                "{status}: {line} in {}",
                heard.head
            );
        }
    }
    let other = format!("GET /{long} HTTP/1.1\r\nHost: x\r\nOrigin: https://other.example\r\n\r\n");
    let heard = said(&server, &other).await;
    assert!(!heard.head.contains("allow-origin"), "{}", heard.head);
}

#[tokio::test]
async fn every_answer_forbids_sniffing_and_says_how_it_may_be_kept() {
    let server = Server::start(&[]);
    let client = server.client();
    let account = json!({"email": "ann@example.com", "password": "correct horse battery"});
    let kept = |answer: &Answer| answer.headers["cache-control"].to_str().expect("text").to_owned();
    let mut answers = vec![
        ("register", client.post("/auth/register", &account).await, "no-store"),
        ("login", client.post("/auth/login", &account).await, "no-store"),
    ];
    let tokens = answers[1].1.body.clone();
    let refresh = json!({"refresh_token": tokens["refresh_token"]});
    answers.push(("refresh", client.post("/auth/refresh", &refresh).await, "no-store"));
    let ann = client.with_token(tokens["access_token"].as_str().expect("a token"));
    let event_id = ann.event(5).await;
    let booking_id = ann.held(&event_id, 1).await;
    let outside = client.outside();
    for (path, expected) in [
        ("/users/me".to_owned(), "no-store"),
        ("/bookings".to_owned(), "no-store"),
        (format!("/bookings/{booking_id}"), "no-store"),
        (format!("/events/{event_id}/bookings"), "no-store"),
        ("/events".to_owned(), "no-store"),
        (format!("/events/{event_id}"), "max-age=1"),
        (format!("/events/{event_id}/availability"), "private, no-store"),
        ("/events/x".to_owned(), "no-store"),
    ] {
        answers.push(("a read with a token", ann.get(&path).await, expected));
    }
    for (path, expected) in [
        ("/events".to_owned(), "max-age=1"),
        (format!("/events/{event_id}"), "max-age=1"),
        (format!("/events/{event_id}/availability"), "max-age=1"),
    ] {
        answers.push(("a public read", client.get(&path).await, expected));
    }
    for (path, expected) in [
        ("/", "no-cache"),
        ("/health", "no-store"),
        ("/health/live", "no-store"),
        ("/metrics", "no-store"),
        ("/openapi.json", "no-cache"),
        ("/docs/", "no-cache"),
        ("/problems/not_found", "max-age=3600"),
        ("/nothing", "no-store"),
    ] {
        answers.push((path, outside.get(path).await, expected));
    }
    let patched = ann.patch("/users/me", &json!({"name": "Ann"})).await;
    answers.push(("patch", patched, "no-store"));
    answers.push(("logout", client.post("/auth/logout", &refresh).await, "no-store"));
    for (name, answer, expected) in &answers {
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{name}");
        assert_eq!(kept(answer), *expected, "{name}: {:#}", answer.body);
    }
}

#[tokio::test]
async fn an_answer_with_a_person_in_it_is_kept_nowhere() {
    let server = Server::start(&[]);
    let (ann, bob) = (server.user().await, server.user().await);
    let me = ann.get("/users/me").await;
    let team = ann.post("/organizations", &json!({"name": "Team"})).await;
    let team =
        team.expect(StatusCode::CREATED)["organization_id"].as_str().expect("an id").to_owned();
    let at = |rest: &str| format!("/organizations/{team}{rest}");
    let email = bob.get("/users/me").await.expect(StatusCode::OK)["email"].clone();
    let invitation = json!({"email": email, "role": "analyst"});
    let invited = ann.post(&at("/invitations"), &invitation).await;
    let token = json!({"token": invited.body["token"]});
    let path = at(&format!("/members/{}", bob.user_id.as_deref().expect("an id")));
    let event_id = ann.event(5).await;
    let booking_id = ann.held(&event_id, 1).await;
    let change =
        json!({"current_password": "correct horse battery", "new_password": "wrong horse"});
    for (what, answer) in [
        ("me", me),
        ("a new name", ann.patch("/users/me", &json!({"name": "Ann"})).await),
        ("an invitation", invited),
        ("invitations", ann.get(&at("/invitations")).await),
        ("accepted", bob.post("/invitations/accept", &token).await),
        ("an organization", ann.get(&at("")).await),
        ("organizations", ann.get("/organizations").await),
        ("members", ann.get(&at("/members")).await),
        ("a member", ann.patch(&path, &json!({"role": "manager"})).await),
        ("the access log", ann.get(&at("/log")).await),
        ("bookings of an event", ann.get(&format!("/events/{event_id}/bookings")).await),
        ("a booking", ann.get(&format!("/bookings/{booking_id}")).await),
        ("a problem", ann.get(&at("/members/x")).await),
        ("logout-all", bob.post_empty("/auth/logout-all").await),
        ("password", ann.post("/auth/password", &change).await),
    ] {
        let kept = answer.headers["cache-control"].to_str().expect("text");
        let directives: Vec<_> = kept.split(", ").collect();
        assert!(directives.contains(&"no-store"), "{what}: {kept}, {:#}", answer.body);
    }
}
