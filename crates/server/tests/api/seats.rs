//! Numbered seats: layouts, drawings, which seats are not free, and those kept off sale.

use crate::support::{Answer, Client, Server, show};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// A hall of three rows of four seats with an aisle in the middle.
fn hall() -> Value {
    let layout = json!({"rows": "A-C", "seats_per_row": 4, "aisles_after": [2]});
    json!({"name": "Hall", "price": 2_000, "layout": layout})
}

/// A layout in full: a front row in gold, and a balcony.
fn full() -> Value {
    let seat = |number: &str, x: i32, y: i32, category: &str| {
        json!({
            "number": number, "x": x, "y": y, "category": category,
        })
    };
    json!({
        "categories": [{"name": "Gold", "price": 9_000}, {"name": "Blue", "price": 3_000}],
        "focal": {"x": 10, "y": -20},
        "rows": [
            {"label": "A", "seats": [seat("1", 0, 0, "Gold"), seat("2", 50, 0, "Gold")]},
            {"label": "Balcony", "seats": [seat("1", 0, 500, "Blue"), seat("2b", 60, 500, "Blue")]},
        ],
    })
}

async fn seated(user: &Client, section: Value) -> String {
    user.event_with(&show(&json!({"sections": [section]}))).await
}

fn of(event_id: &str, section: &str, rest: &str) -> String {
    format!("/events/{event_id}/sections/{section}/{rest}")
}

async fn put(user: &Client, path: &str, body: &Value) -> Answer {
    user.send(Method::PUT, path, Some(body), &[]).await
}

async fn put_csv(user: &Client, path: &str, table: &str) -> Answer {
    user.send_bytes(Method::PUT, path, table.to_owned(), &[("Content-Type", "text/csv")]).await
}

async fn hold_seats(user: &Client, event_id: &str, seats: &[&str]) -> Answer {
    let body = json!({"event_id": event_id, "section_id": "Hall", "seats": seats});
    user.post("/bookings/hold", &body).await
}

/// `[held, sold, blocked]` as a client sees them.
async fn states(client: &Client, event_id: &str) -> Value {
    let seen = client.get(&of(event_id, "Hall", "seats/status")).await.expect(StatusCode::OK);
    let taken: usize = ["held", "sold", "blocked"]
        .iter()
        .map(|state| seen[*state].as_array().map_or(0, Vec::len))
        .sum();
    assert_eq!(
        seen["available"],
        json!(seen["capacity"].as_u64().expect("a count") - taken as u64)
    );
    json!([seen["held"], seen["sold"], seen["blocked"]])
}

#[tokio::test]
async fn a_section_in_short_form_is_drawn_as_it_was_given() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = seated(&user, hall()).await;
    let event = user.get(&format!("/events/{event_id}")).await.expect(StatusCode::OK);
    let section = &event["sections"][0];
    assert_eq!(event["prevent_orphans"], false);
    assert_eq!(
        (&section["numbered"], &section["capacity"], &section["price"]),
        (&json!(true), &json!(12), &json!(2_000))
    );
    let anybody = server.client();
    let answer = anybody.get(&of(&event_id, "hall", "seats")).await;
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(answer.headers["cache-control"], "public, max-age=60");
    let etag = answer.headers["etag"].to_str().expect("text").to_owned();
    let drawing = answer.expect(StatusCode::OK);
    assert_eq!((&drawing["section_id"], &drawing["seats"]), (&section["section_id"], &json!(12)));
    assert_eq!(drawing["categories"], json!([{"name": "Hall", "price": 2_000, "currency": "USD"}]));
    assert_eq!(drawing["focal"], json!({"x": 0, "y": 0}));
    assert_eq!(drawing["rows"].as_array().map(Vec::len), Some(3));
    assert_eq!(
        drawing["rows"][1]["seats"][2],
        json!({"number": "3", "x": 25, "y": 90, "category": "Hall", "aisle_before": true})
    );
    let again = [("If-None-Match", etag.as_str())];
    let again = anybody.send(Method::GET, &of(&event_id, "Hall", "seats"), None, &again).await;
    assert_eq!((again.status, &again.body), (StatusCode::NOT_MODIFIED, &Value::Null));
    assert_eq!(again.headers["etag"].to_str().expect("text"), etag);
    server.audit();
}

#[tokio::test]
async fn a_full_layout_comes_back_as_json_and_as_csv() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id =
        seated(&user, json!({"name": "Hall", "layout": full(), "currency": "EUR"})).await;
    let drawing = user.get(&of(&event_id, "Hall", "seats")).await.expect(StatusCode::OK);
    assert_eq!(drawing["focal"], full()["focal"]);
    assert_eq!(drawing["rows"], full()["rows"]);
    assert_eq!(
        drawing["categories"][1],
        json!({"name": "Blue", "price": 3_000, "currency": "EUR"})
    );
    let csv = |accept: &'static str| {
        let (user, path) = (user.clone(), of(&event_id, "Hall", "seats"));
        async move { user.send(Method::GET, &path, None, &[("Accept", accept)]).await }
    };
    let table = csv("text/csv").await;
    assert_eq!(table.headers["content-type"], "text/csv; charset=utf-8");
    let table = table.expect(StatusCode::OK).as_str().expect("a table").to_owned();
    assert_eq!(table.lines().nth(3), Some("Balcony,1,Blue,3000,0,500,,,,"));
    assert!(csv("text/csv;q=0.5, application/json").await.body.is_object());
    // The table leads to an equal drawing, but for the focal point.
    let other = seated(&user, hall()).await;
    let laid = put_csv(&user, &of(&other, "Hall", "seats"), &table).await;
    let laid = laid.expect(StatusCode::OK);
    assert_eq!((&laid["capacity"], &laid["price"]), (&json!(4), &json!(3_000)));
    let other = user.get(&of(&other, "Hall", "seats")).await.expect(StatusCode::OK);
    assert_eq!(other["rows"], drawing["rows"]);
    server.audit();
}

#[tokio::test]
async fn a_compressed_drawing_has_a_tag_of_its_own() {
    let server = Server::start(&[]);
    let event_id = seated(&server.user().await, hall()).await;
    let path = of(&event_id, "Hall", "seats");
    let zipped = [("Accept-Encoding", "br, gzip")];
    let zipped = server.client().send(Method::GET, &path, None, &zipped).await;
    assert_eq!(zipped.headers["content-encoding"], "gzip");
    assert_eq!(zipped.headers["vary"], "accept, accept-encoding");
    let plain = [("Accept-Encoding", "gzip;q=0")];
    let plain = server.client().send(Method::GET, &path, None, &plain).await;
    assert!(!plain.headers.contains_key("content-encoding"));
    assert_ne!(plain.headers["etag"], zipped.headers["etag"]);
}

#[tokio::test]
async fn seats_are_shown_as_they_are_held_sold_and_blocked() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = seated(&user, hall()).await;
    let (ada, anybody) = (server.user().await, server.client());
    let status = of(&event_id, "Hall", "seats/status");
    let empty = anybody.get(&status).await;
    assert_eq!(empty.headers["cache-control"], "max-age=1");
    let tag = empty.headers["etag"].to_str().expect("text").to_owned();
    let known = [("If-None-Match", tag.as_str())];
    let again = anybody.send(Method::GET, &status, None, &known).await;
    assert_eq!(again.status, StatusCode::NOT_MODIFIED);
    assert!(empty.expect(StatusCode::OK).get("yours").is_none());

    let booking = hold_seats(&ada, &event_id, &["B-1", "B-2"]).await.expect(StatusCode::CREATED);
    assert_eq!(states(&anybody, &event_id).await, json!([["B-1", "B-2"], [], []]));
    let changed = anybody.send(Method::GET, &status, None, &known).await;
    let held = changed.expect(StatusCode::OK);
    let blocked = json!({"seats": ["C-4", "C-3"], "reason": "The mixing desk"});
    let section = put(&user, &of(&event_id, "Hall", "blocked"), &blocked).await;
    assert_eq!(section.expect(StatusCode::OK)["available_seats"], 8);
    let id = booking["booking_id"].as_str().expect("an id");
    ada.step(id, "confirm").await.expect(StatusCode::OK);
    hold_seats(&ada, &event_id, &["A-4"]).await.expect(StatusCode::CREATED);
    let expected = json!([["A-4"], ["B-1", "B-2"], ["C-3", "C-4"]]);
    assert_eq!(states(&anybody, &event_id).await, expected);
    let seen = ada.get(&status).await;
    assert_eq!(seen.headers["cache-control"], "private, no-cache");
    let tag = seen.headers["etag"].to_str().expect("text").to_owned();
    let seen = seen.expect(StatusCode::OK);
    assert_eq!(seen["yours"], json!(["A-4", "B-1", "B-2"]));
    assert!(seen["sequence"].as_i64() > held["sequence"].as_i64());
    let known = [("If-None-Match", tag.as_str())];
    let again = ada.send(Method::GET, &status, None, &known).await;
    assert_eq!(again.status, StatusCode::NOT_MODIFIED);
    assert_eq!(user.get(&status).await.expect(StatusCode::OK)["yours"], json!([]));
    ada.with_token("nonsense").get(&status).await.problem(401, "unauthorized");

    // What is sent is what will be blocked in all.
    let fewer = json!({"seats": ["C-4"], "reason": "A smaller desk"});
    put(&user, &of(&event_id, "Hall", "blocked"), &fewer).await.expect(StatusCode::OK);
    assert_eq!(states(&anybody, &event_id).await[2], json!(["C-4"]));
    server.audit();
}

#[tokio::test]
async fn seats_that_are_taken_stay_where_they_are() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = seated(&user, hall()).await;
    hold_seats(&user, &event_id, &["B-1", "C-1"]).await.expect(StatusCode::CREATED);
    let path = of(&event_id, "Hall", "seats");
    let before = user.get(&path).await.expect(StatusCode::OK);

    let smaller = json!({"rows": "A-B", "seats_per_row": 6});
    let refused = put(&user, &path, &smaller).await.problem(409, "seats_in_use");
    let expected =
        json!([{"seat": "B-1", "reason": "moved"}, {"seat": "C-1", "reason": "removed"}]);
    assert_eq!(refused["seats"], expected);
    assert_eq!(user.get(&path).await.body, before);

    let larger = json!({"rows": "A-Z", "seats_per_row": 4});
    let laid = put(&user, &path, &larger).await;
    let etag = laid.headers["etag"].clone();
    assert_eq!(laid.expect(StatusCode::OK)["capacity"], 104);
    assert_eq!(user.get(&format!("/events/{event_id}")).await.headers["etag"], etag);
    let after = user.get(&path).await.expect(StatusCode::OK);
    assert_ne!(after["layout_version"], before["layout_version"]);
    assert_eq!(states(&user, &event_id).await, json!([["B-1", "C-1"], [], []]));
    let status = user.get(&of(&event_id, "Hall", "seats/status")).await.expect(StatusCode::OK);
    assert_eq!(status["layout_version"], after["layout_version"]);
    server.audit();
}

#[tokio::test]
async fn a_layout_is_changed_beside_a_hold_that_was_extended_without_an_alarm() {
    let server = Server::start(&[("HOLD_TTL_SECONDS", "2"), ("HOLD_MAX_LIFE_SECONDS", "60")]);
    let user = server.user().await;
    let event_id = seated(&user, hall()).await;
    let held = hold_seats(&user, &event_id, &["B-1"]).await.expect(StatusCode::CREATED);
    let booking = held["booking_id"].as_str().expect("an id");
    // The section changes, and no seat of it.
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let extended = user.step(booking, "extend").await.expect(StatusCode::OK);
    assert_eq!(extended["version"], 2);
    let larger = json!({"rows": "A-Z", "seats_per_row": 4});
    put(&user, &of(&event_id, "Hall", "seats"), &larger).await.expect(StatusCode::OK);
    let log = server.log();
    assert!(!log.iter().any(|line| line.contains("I3 was broken")), "{log:#?}");
    server.audit();
}

#[tokio::test]
async fn a_layout_is_changed_at_the_version_it_was_read_at() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = seated(&user, hall()).await;
    let path = of(&event_id, "Hall", "seats");
    let layout = json!({"rows": "A-B", "seats_per_row": 5});
    let at =
        async |tag: &str| user.send(Method::PUT, &path, Some(&layout), &[("If-Match", tag)]).await;
    let read = user.get(&format!("/events/{event_id}")).await;
    let tag = read.headers["etag"].to_str().expect("text").to_owned();
    at("W/\"7.1.1\"").await.problem(412, "version_mismatch");
    at("nonsense").await.problem(400, "malformed_request");
    // The same state of another history.
    at("W/\"1.1.12.0123456789abcdef\"").await.problem(412, "version_mismatch");
    at("W/\"1.1.12\"").await.problem(412, "version_mismatch");
    assert!(tag.starts_with("W/\"1.1.12."), "{tag}");
    at(&tag).await.expect(StatusCode::OK);
    at(&tag).await.problem(412, "version_mismatch");
    at("*").await.expect(StatusCode::OK);
    server.audit();
}

#[tokio::test]
async fn a_section_that_counts_its_seats_gets_numbers_while_none_is_in_use() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(10).await;
    for call in ["seats", "seats/status"] {
        user.get(&of(&event_id, "A", call)).await.problem(404, "not_found");
    }
    let held = user.held(&event_id, 2).await;
    let layout = json!({"rows": "A-B", "seats_per_row": 5, "shape": "arc"});
    let refused = put(&user, &of(&event_id, "A", "seats"), &layout).await;
    assert_eq!(refused.problem(409, "capacity_in_use")["minimum"], 2);
    user.step(&held, "cancel").await.expect(StatusCode::OK);
    let laid = put(&user, &of(&event_id, "A", "seats"), &layout).await.expect(StatusCode::OK);
    assert_eq!(
        (&laid["numbered"], &laid["capacity"], &laid["price"]),
        (&json!(true), &json!(10), &json!(1_000))
    );
    for change in [json!({"capacity": 20}), json!({"price": 5}), json!({"currency": "USD"})] {
        let changed = user.patch(&format!("/events/{event_id}/sections/A"), &change).await;
        changed.problem(409, "seats_are_numbered");
    }
    let name = json!({"name": "Hall"});
    let renamed = user.patch(&format!("/events/{event_id}/sections/A"), &name).await;
    assert_eq!(renamed.expect(StatusCode::OK)["numbered"], true);
    server.audit();
}

#[tokio::test]
async fn counted_seats_are_blocked_by_their_number() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(10).await;
    user.held(&event_id, 4).await;
    let path = of(&event_id, "A", "blocked");
    let block =
        async |number: i64| put(&user, &path, &json!({"number": number, "reason": "Press"})).await;
    assert_eq!(block(6).await.expect(StatusCode::OK)["available_seats"], 0);
    user.hold(&event_id, 1).await.problem(409, "sold_out");
    assert_eq!(block(7).await.problem(409, "sold_out")["available"], 0);
    assert_eq!(block(1).await.expect(StatusCode::OK)["available_seats"], 5);
    assert_eq!(block(0).await.expect(StatusCode::OK)["available_seats"], 6);
    let named = put(&user, &path, &json!({"seats": [], "reason": "x"})).await;
    assert_eq!(named.problem(422, "validation_failed")["errors"][0]["field"], "seats");
    server.audit();
}

#[tokio::test]
async fn seats_that_cannot_be_blocked_are_named() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = seated(&user, hall()).await;
    hold_seats(&user, &event_id, &["A-1"]).await.expect(StatusCode::CREATED);
    let path = of(&event_id, "Hall", "blocked");
    let seats = json!({"seats": ["A-1", "A-2", "Z-9", "\u{0}"], "reason": "x"});
    let refused = put(&user, &path, &seats).await.problem(409, "seats_unavailable");
    let reasons: Vec<_> = refused["conflicts"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|of| (of["seat"].clone(), of["reason"].clone()))
        .collect();
    let unknown = |seat: &str| (json!(seat), json!("unknown"));
    assert_eq!(reasons.len(), 3);
    assert!(reasons.contains(&(json!("A-1"), json!("held"))));
    assert!(reasons.contains(&unknown("Z-9")) && reasons.contains(&unknown("\0")));
    assert_eq!(states(&user, &event_id).await[2], json!([]), "whole or not at all");
    let counted = put(&user, &path, &json!({"number": 1, "reason": "x"})).await;
    counted.problem(409, "seats_are_numbered");
    let many: Vec<String> = (0..100_000).map(|at| format!("Z-{at}")).collect();
    let refused = put(&user, &path, &json!({"seats": many, "reason": "x"})).await;
    let refused = refused.problem(409, "seats_unavailable");
    assert_eq!(refused["conflicts"].as_array().map(Vec::len), Some(1_000));
    for (field, body) in [
        ("seats", json!({"reason": "x"})),
        ("number", json!({"number": 1, "seats": ["A-2"], "reason": "x"})),
        ("number", json!({"number": -1, "reason": "x"})),
        ("seats", json!({"seats": "A-2", "reason": "x"})),
        ("seats[0]", json!({"seats": [2], "reason": "x"})),
        ("seats[1]", json!({"seats": ["A-2", "A-2"], "reason": "x"})),
        ("reason", json!({"seats": ["A-2"]})),
        ("reason", json!({"seats": ["A-2"], "reason": ""})),
        ("reason", json!({"seats": ["A-2"], "reason": "a\nb"})),
        ("reason", json!({"seats": ["A-2"], "reason": "x".repeat(201)})),
        ("surprise", json!({"seats": ["A-2"], "reason": "x", "surprise": 1})),
    ] {
        let problem = put(&user, &path, &body).await.problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["field"], field, "{body}");
    }
    server.audit();
}

#[tokio::test]
async fn only_the_organizer_changes_seats_and_sees_those_of_a_draft() {
    let server = Server::start(&[]);
    let (user, other) = (server.user().await, server.user().await);
    let draft = show(&json!({"status": "draft", "sections": [hall()]}));
    let event_id = user.event_with(&draft).await;
    let layout = json!({"rows": "A", "seats_per_row": 5});
    let block = json!({"seats": [], "reason": "x"});
    for call in ["seats", "seats/status"] {
        for stranger in [&other, &server.client()] {
            stranger.get(&of(&event_id, "Hall", call)).await.problem(404, "not_found");
        }
        let seen = user.get(&of(&event_id, "Hall", call)).await;
        assert_eq!(seen.headers["cache-control"], "private, no-store");
        seen.expect(StatusCode::OK);
    }
    put(&other, &of(&event_id, "Hall", "seats"), &layout).await.problem(404, "not_found");
    let open = json!({"status": "on_sale"});
    user.patch(&format!("/events/{event_id}"), &open).await.expect(StatusCode::OK);
    put(&other, &of(&event_id, "Hall", "seats"), &layout).await.problem(403, "not_organizer");
    put(&other, &of(&event_id, "Hall", "blocked"), &block).await.problem(403, "not_organizer");
    let nobody = server.client();
    put(&nobody, &of(&event_id, "Hall", "seats"), &layout).await.problem(401, "unauthorized");
    put(&nobody, &of(&event_id, "Hall", "blocked"), &block).await.problem(401, "unauthorized");
    for section in ["Pit", "%ff", &event_id] {
        put(&user, &of(&event_id, section, "seats"), &layout).await.problem(404, "not_found");
        put(&user, &of(&event_id, section, "blocked"), &block).await.problem(404, "not_found");
        user.get(&of(&event_id, section, "seats")).await.problem(404, "not_found");
        user.get(&of(&event_id, section, "seats/status")).await.problem(404, "not_found");
    }
}

#[tokio::test]
async fn prevent_orphans_is_a_setting_of_the_event() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let layout = json!({"rows": "A-C", "seats_per_row": 4});
    let sections = json!([{"name": "Hall", "layout": layout}]);
    let event = show(&json!({"prevent_orphans": true, "sections": sections}));
    let event_id = user.event_with(&event).await;
    let path = format!("/events/{event_id}");
    assert_eq!(user.get(&path).await.expect(StatusCode::OK)["prevent_orphans"], true);
    let refused = hold_seats(&user, &event_id, &["A-2"]).await.problem(409, "orphan_seat");
    assert_eq!(refused["seats"], json!(["A-1"]));
    let off = user.patch(&path, &json!({"prevent_orphans": false})).await.expect(StatusCode::OK);
    assert_eq!(off["prevent_orphans"], false);
    hold_seats(&user, &event_id, &["A-2"]).await.expect(StatusCode::CREATED);
    let wrong = user.patch(&path, &json!({"prevent_orphans": null})).await;
    assert_eq!(wrong.problem(422, "validation_failed")["errors"][0]["field"], "prevent_orphans");
}
