//! Idempotency keys: retries have one effect, and are answered with what it is now.

use crate::support::wire::{Wire, post};
use crate::support::{Answer, Client, Server, hold_body, show};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

fn replayed(answer: &Answer) -> bool {
    answer.headers.get("idempotent-replayed").is_some_and(|value| value == "true")
}

#[tokio::test]
async fn a_retry_is_answered_with_the_booking_and_its_present_status() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(4).await;
    let first = user.hold_with_key(&event_id, 4, "order-17").await;
    assert!(!replayed(&first));
    let location = first.headers["location"].clone();
    let booking = first.expect(StatusCode::CREATED);
    let booking_id = booking["booking_id"].as_str().expect("an id");
    for status in ["HOLD", "CONFIRMED"] {
        // All seats are taken by this very hold: the gate must not refuse its retry.
        let retry = user.hold_with_key(&event_id, 4, "order-17").await;
        assert!(replayed(&retry), "{:?}", retry.headers);
        assert_eq!(retry.headers["location"], location);
        let retry = retry.expect(StatusCode::CREATED);
        assert_eq!(
            (&retry["booking_id"], &retry["status"]),
            (&booking["booking_id"], &json!(status))
        );
        user.step(booking_id, "confirm").await.expect(StatusCode::OK);
    }
    assert_eq!(user.seats(&event_id).await, (0, 0, 4));
    server.audit();
}

#[tokio::test]
async fn a_retry_finds_its_booking_after_a_restart_and_after_the_sale() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start_in(folder.path(), &[]);
    let mut user = server.user().await;
    let event_id = user.event(4).await;
    let booking = user.hold_with_key(&event_id, 1, "k").await.expect(StatusCode::CREATED);
    let path = format!("/events/{event_id}");
    user.patch(&path, &json!({"status": "closed"})).await.expect(StatusCode::OK);
    server.kill();
    let server = Server::start_in(folder.path(), &[]);
    user.api = server.client().api;
    let retry = user.hold_with_key(&event_id, 1, "k").await;
    assert!(replayed(&retry));
    assert_eq!(retry.expect(StatusCode::CREATED)["booking_id"], booking["booking_id"]);
    user.hold_with_key(&event_id, 1, "other").await.problem(409, "sale_closed");
}

#[tokio::test]
async fn a_section_named_by_name_or_by_id_is_the_same_request() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(4).await;
    let booking = user.hold_with_key(&event_id, 1, "k").await.expect(StatusCode::CREATED);
    let mut by_id = hold_body(&event_id, 1);
    by_id["section_id"] = booking["section_id"].clone();
    let headers = [("Idempotency-Key", "k")];
    let retry = user.send(Method::POST, "/bookings/hold", Some(&by_id), &headers).await;
    assert!(replayed(&retry));
    assert_eq!(retry.expect(StatusCode::CREATED)["booking_id"], booking["booking_id"]);
    assert_eq!(user.seats(&event_id).await, (3, 1, 0));
}

/// Sends two bodies under one key, and says whether the second was known as a retry of the first.
async fn is_a_retry(user: &Client, path: &str, first: &Value, second: &Value, key: &str) -> bool {
    let headers = [("Idempotency-Key", key)];
    let made = user.send(Method::POST, path, Some(first), &headers).await;
    assert!(!replayed(&made), "{first}");
    made.expect(StatusCode::CREATED);
    let again = user.send(Method::POST, path, Some(second), &headers).await;
    if again.status == StatusCode::CREATED {
        assert!(replayed(&again), "{second}");
        return true;
    }
    again.problem(422, "idempotency_key_reused");
    false
}

#[tokio::test]
async fn an_equal_request_in_another_order_or_spelling_is_a_retry() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let layout = json!({"rows": "A-B", "seats_per_row": 40});
    let event = json!({"title": "Halls", "event_date": "2099-01-01", "sections": [
        {"name": "Hall", "layout": layout}, {"name": "Annex", "layout": layout},
        {"name": "Floor", "capacity": 500},
        {"name": "Café", "layout": {
            "categories": [{"name": "Café", "price": 500}],
            "rows": [{"label": "É", "seats": [
                {"number": "1", "x": 0, "y": 0, "category": "Café"},
                {"number": "2", "x": 100, "y": 0, "category": "Café"},
            ]}],
        }},
    ]});
    let made = user.post("/events", &event).await.expect(StatusCode::CREATED);
    let (event_id, hall) = (&made["event_id"], &made["sections"][0]["section_id"]);
    let floor_id = made["sections"][2]["section_id"].as_str().expect("an id");
    let hold = |rest: Value| {
        let mut body = json!({"event_id": event_id});
        body.as_object_mut().expect("one").extend(rest.as_object().expect("one").clone());
        body
    };
    let cart = |items: Value| hold(json!({"items": items}));
    let floor = |seats| json!({"section_id": "Floor", "seats_requested": seats});
    let best = |rest: Value| hold(json!({"best_available": rest}));
    for (at, (first, second, same)) in [
        (
            hold(json!({"section_id": "Hall", "seats": ["A-1", "A-2", "A-10"]})),
            hold(json!({"section_id": hall, "seats": ["A-10", "A-2", "A-1"]})),
            true,
        ),
        (
            cart(json!([{"section_id": "Hall", "seats": ["B-1", "B-2"]}, floor(2)])),
            cart(json!([floor(2), {"section_id": hall, "seats": ["B-2", "B-1"]}])),
            true,
        ),
        (
            best(json!({"number": 2, "sections": ["Hall", "Annex"], "categories": ["Hall", "Annex"]})),
            best(json!({"number": 2, "sections": ["annex", hall], "categories": ["Annex", "Hall"]})),
            true,
        ),
        (
            hold(json!({"section_id": "Hall", "seats": ["a-11", "A-12"]})),
            hold(json!({"section_id": "HALL", "seats": ["a-12", "A-11"]})),
            true,
        ),
        (
            cart(json!([{"section_id": "Café", "seats": ["É-1"]}, floor(1)])),
            cart(json!([floor(1), {"section_id": "cafe\u{301}", "seats": ["e\u{301}-1"]}])),
            true,
        ),
        (
            best(json!({"number": 1, "sections": ["Café"], "categories": ["Café"]})),
            best(json!({"number": 1, "sections": ["CAFÉ"], "categories": ["cafe\u{301}", "CAFÉ"]})),
            true,
        ),
        (
            hold(json!({"section_id": "Floor", "seats_requested": 1})),
            json!({"event_id": event_id.as_str().expect("an id").to_uppercase(),
                "items": [{"section_id": floor_id.to_uppercase(), "seats_requested": 1}]}),
            true,
        ),
        // What differs is another request as before.
        (
            hold(json!({"section_id": "Hall", "seats": ["A-3", "A-4"]})),
            hold(json!({"section_id": "Hall", "seats": ["A-3", "A-5"]})),
            false,
        ),
        (cart(json!([floor(2), floor(3)])), cart(json!([floor(3), floor(3)])), false),
        (
            best(json!({"number": 2, "sections": ["Hall", "Annex"]})),
            best(json!({"number": 2, "sections": ["Annex"]})),
            false,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let found = is_a_retry(&user, "/bookings/hold", &first, &second, &format!("h{at}")).await;
        assert_eq!(found, same, "{first}\n{second}");
    }
    let section = json!({"name": "A", "capacity": 5});
    let event = json!({"title": "T", "event_date": "2099-01-01", "sections": [section]});
    let spelled = json!({"title": "T", "event_date": "2099-01-01", "status": "on_sale",
        "timezone": "UTC", "prevent_orphans": false, "description": null,
        "sections": [{"name": "A", "capacity": 5, "price": 0}]});
    assert!(is_a_retry(&user, "/events", &event, &spelled, "e").await);
    let path = format!("/events/{}/sections", made["event_id"].as_str().expect("an id"));
    let (upper, lower) = (section_in("EUR"), section_in("eur"));
    let other = json!({"title": "T", "event_date": "2099-01-01", "sections": [upper]});
    let same = json!({"title": "T", "event_date": "2099-01-01", "sections": [lower]});
    assert!(is_a_retry(&user, "/events", &other, &same, "c").await);
    let short = |rest: Value| json!({"name": "New", "layout": rest});
    let plain = short(json!({"rows": "A", "seats_per_row": 9, "aisles_after": [3, 6]}));
    let long = json!({"rows": "A", "seats_per_row": 9, "aisles_after": [6, 3], "shape": "block"});
    assert!(is_a_retry(&user, &path, &plain, &short(long), "s").await);
    server.audit();
}

fn section_in(currency: &str) -> Value {
    json!({"name": "A", "capacity": 5, "currency": currency})
}

#[tokio::test]
async fn a_header_that_stands_once_is_refused_when_it_stands_twice() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(4).await;
    let request = post(&user, "/bookings/hold", &hold_body(&event_id, 1));
    for twice in [
        "Idempotency-Key: a\r\nIdempotency-Key: b\r\n",
        "Idempotency-Key: a\r\nidempotency-key: a\r\n",
        "Authorization: Bearer x\r\n",
    ] {
        let mut raw = Wire::open(&server).await;
        raw.send(request.replace("Host: x\r\n", &format!("Host: x\r\n{twice}"))).await;
        let problem = raw.heard().await.problem(400, "malformed_request");
        let detail = problem["detail"].as_str().expect("a detail");
        assert!(detail.contains("more than one"), "{detail}");
    }
    assert_eq!(user.seats(&event_id).await, (4, 0, 0));
    let change = post(&user, &format!("/events/{event_id}"), &json!({"title": "New"}));
    let change = change.replacen("POST", "PATCH", 1);
    let mut raw = Wire::open(&server).await;
    let two_tags = "Host: x\r\nIf-Match: W/\"7.1.1\"\r\nIf-Match: W/\"1.1.1\"\r\n";
    raw.send(change.replace("Host: x\r\n", two_tags)).await;
    // Two lines are one list, of which the newest counts.
    raw.heard().await.problem(412, "version_mismatch");
}

#[tokio::test]
async fn a_key_belongs_to_one_request_of_one_user() {
    let server = Server::start(&[]);
    let (ann, bob) = (server.user().await, server.user().await);
    let (event_id, other) = (ann.event(9).await, ann.event(9).await);
    let booking = ann.hold_with_key(&event_id, 1, "k").await.expect(StatusCode::CREATED);
    ann.hold_with_key(&event_id, 2, "k").await.problem(422, "idempotency_key_reused");
    ann.hold_with_key(&other, 1, "k").await.problem(422, "idempotency_key_reused");
    let bobs = bob.hold_with_key(&event_id, 1, "k").await;
    assert!(!replayed(&bobs));
    assert_ne!(bobs.expect(StatusCode::CREATED)["booking_id"], booking["booking_id"]);
    let next = ann.hold_with_key(&event_id, 1, "K").await;
    assert!(!replayed(&next), "keys are compared with case");
    assert_eq!(ann.seats(&event_id).await, (6, 3, 0));
    assert_eq!(ann.seats(&other).await, (9, 0, 0));
}

#[tokio::test]
async fn a_refusal_is_not_remembered() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(2).await;
    let held = user.held(&event_id, 2).await;
    user.hold_with_key(&event_id, 1, "k").await.problem(409, "sold_out");
    user.hold_with_key(&event_id, 2, "k").await.problem(409, "sold_out");
    user.step(&held, "cancel").await.expect(StatusCode::OK);
    let answer = user.hold_with_key(&event_id, 2, "k").await;
    assert!(!replayed(&answer));
    answer.expect(StatusCode::CREATED);
    assert_eq!(user.seats(&event_id).await, (0, 2, 0));
}

#[tokio::test]
async fn a_key_has_1_to_255_visible_characters() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(9).await;
    let section = json!({"name": "B", "capacity": 1});
    let longest = "k".repeat(255);
    for key in ["k", "!~", &longest] {
        user.hold_with_key(&event_id, 1, key).await.expect(StatusCode::CREATED);
    }
    let before = user.get(&format!("/events/{event_id}")).await.expect(StatusCode::OK);
    let too_long = "k".repeat(300);
    for key in ["", "two words", "tab\there", &"k".repeat(256), &too_long] {
        user.hold_with_key(&event_id, 1, key).await.problem(400, "malformed_request");
        let headers = [("Idempotency-Key", key)];
        for (path, body) in [
            ("/events".to_owned(), show(&json!({}))),
            (format!("/events/{event_id}/sections"), section.clone()),
        ] {
            let refused = user.send(Method::POST, &path, Some(&body), &headers).await;
            refused.problem(400, "malformed_request");
        }
    }
    let mut raw = Wire::open(&server).await;
    let request = post(&user, "/bookings/hold", &hold_body(&event_id, 1));
    raw.send(request.replace("Host: x\r\n", "Host: x\r\nIdempotency-Key: ключ\r\n")).await;
    raw.heard().await.problem(400, "malformed_request");
    assert_eq!(user.get(&format!("/events/{event_id}")).await.expect(StatusCode::OK), before);
}

#[tokio::test]
async fn an_event_is_recorded_once_and_a_retry_shows_it_as_it_is_now() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let create = async |body: &Value, key: &str| {
        user.send(Method::POST, "/events", Some(body), &[("Idempotency-Key", key)]).await
    };
    let new = show(&json!({}));
    let first = create(&new, "k").await;
    assert!(!replayed(&first));
    let event = first.expect(StatusCode::CREATED);
    let path = format!("/events/{}", event["event_id"].as_str().expect("an id"));
    user.patch(&path, &json!({"title": "Late Show"})).await.expect(StatusCode::OK);
    let retry = create(&new, "k").await;
    assert!(replayed(&retry));
    assert_eq!(retry.headers["location"], format!("/api/v1{path}"));
    let retry = retry.expect(StatusCode::CREATED);
    assert_eq!((&retry["event_id"], &retry["title"]), (&event["event_id"], &json!("Late Show")));
    create(&show(&json!({"venue": "x"})), "k").await.problem(422, "idempotency_key_reused");
    create(&show(&json!({"title": ""})), "k2").await.problem(422, "validation_failed");
    let second = create(&new, "k2").await;
    assert!(!replayed(&second), "a refusal is not remembered");
    second.expect(StatusCode::CREATED);
    let all = user.get("/events").await.expect(StatusCode::OK);
    assert_eq!(all["items"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn a_section_is_added_once() {
    let server = Server::start(&[]);
    let (user, other) = (server.user().await, server.user().await);
    let (event_id, other_event) = (user.event(4).await, user.event(4).await);
    let add = async |event_id: &str, capacity: u32| {
        let body = json!({"name": "B", "capacity": capacity});
        let path = format!("/events/{event_id}/sections");
        user.send(Method::POST, &path, Some(&body), &[("Idempotency-Key", "k")]).await
    };
    let section = add(&event_id, 5).await.expect(StatusCode::CREATED);
    let hold = json!({"event_id": event_id, "section_id": "B", "seats_requested": 2});
    other.post("/bookings/hold", &hold).await.expect(StatusCode::CREATED);
    let retry = add(&event_id, 5).await;
    assert!(replayed(&retry));
    let retry = retry.expect(StatusCode::CREATED);
    assert_eq!(retry["section_id"], section["section_id"]);
    assert_eq!(retry["available_seats"], 3, "the section as it is now");
    add(&event_id, 6).await.problem(422, "idempotency_key_reused");
    add(&other_event, 5).await.problem(422, "idempotency_key_reused");
    let event = user.get(&format!("/events/{event_id}")).await.expect(StatusCode::OK);
    assert_eq!(event["sections"].as_array().map(Vec::len), Some(2));
    server.audit();
}

#[tokio::test]
async fn equal_requests_at_the_same_time_have_one_effect() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(9).await;
    let holds = (0..16).map(|_| user.hold_with_key(&event_id, 3, "k"));
    let answers = futures_util::future::join_all(holds).await;
    let firsts = answers.iter().filter(|answer| !replayed(answer)).count();
    assert_eq!(firsts, 1);
    let mut ids: Vec<_> = answers
        .into_iter()
        .map(|answer| answer.expect(StatusCode::CREATED)["booking_id"].to_string())
        .collect();
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(user.seats(&event_id).await, (6, 3, 0));

    let new = show(&json!({"title": "Once"}));
    let headers = [("Idempotency-Key", "k")];
    let events = (0..8).map(|_| user.send(Method::POST, "/events", Some(&new), &headers));
    let answers = futures_util::future::join_all(events).await;
    assert!(answers.iter().all(|answer| answer.status == StatusCode::CREATED));
    let all = user.get("/events?q=once").await.expect(StatusCode::OK);
    assert_eq!(all["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_retry_finds_its_booking_also_when_event_and_section_have_changed_since() {
    let server = Server::start(&[]);
    let (organizer, buyer) = (server.user().await, server.user().await);
    let event_id = organizer.event(4).await;
    let made = buyer.hold_with_key(&event_id, 1, "k").await.expect(StatusCode::CREATED);
    let event = format!("/events/{event_id}");
    let retry = async || {
        let retry = buyer.hold_with_key(&event_id, 1, "k").await;
        assert!(replayed(&retry), "{:#}", retry.body);
        assert_eq!(retry.expect(StatusCode::CREATED)["booking_id"], made["booking_id"]);
        buyer.hold_with_key(&event_id, 2, "k").await.problem(422, "idempotency_key_reused");
    };
    let renamed = json!({"name": "Stalls"});
    organizer.patch(&format!("{event}/sections/A"), &renamed).await.expect(StatusCode::OK);
    retry().await;
    buyer.hold_with_key(&event_id, 1, "other").await.problem(404, "not_found");
    organizer.patch(&event, &json!({"status": "draft"})).await.expect(StatusCode::OK);
    retry().await;
    buyer.hold_with_key(&event_id, 1, "other").await.problem(404, "not_found");
    organizer.hold_with_key(&event_id, 1, "k").await.problem(404, "not_found");
    assert_eq!(organizer.seats(&event_id).await, (3, 1, 0));
}
