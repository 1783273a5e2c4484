//! Bookings: hold, confirm, extend, cancel, read and list, as long as nothing is in the way.

use crate::support::{Server, hold_body, show};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn a_hold_shows_what_is_held_at_what_price_and_for_how_long() {
    let server = Server::start(&[]);
    let (organizer, buyer) = (server.user().await, server.user().await);
    let event_id = organizer.event(10).await;
    let answer = buyer.hold(&event_id, 3).await;
    let location = answer.headers["location"].to_str().expect("text").to_owned();
    let booking = answer.expect(StatusCode::CREATED);
    let booking_id = booking["booking_id"].as_str().expect("an id");
    assert_eq!(location, format!("/api/v1/bookings/{booking_id}"));
    let reference = booking["reference"].as_str().expect("text");
    assert!(reference.len() == 8 && reference.bytes().all(|it| it.is_ascii_alphanumeric()));
    let expected = json!({
        "booking_id": booking_id,
        "reference": reference,
        "user_id": buyer.user_id,
        "event_id": event_id,
        "section_id": booking["section_id"],
        "seats_requested": 3,
        "items": [{
            "section_id": booking["section_id"],
            "section_name": "A",
            "seats_requested": 3,
            "unit_price": 1_000,
            "currency": "USD",
        }],
        "total_price": 3_000,
        "currency": "USD",
        "status": "HOLD",
        "expires_at": booking["expires_at"],
        "expires_in": 600,
        "max_expires_at": booking["max_expires_at"],
        "created_at": booking["server_time"],
        "updated_at": booking["server_time"],
        "server_time": booking["server_time"],
        "version": 1,
    });
    assert_eq!(booking, expected);
    let mut read = buyer.outside().get(&location).await.expect(StatusCode::OK);
    assert!(read["expires_in"].as_i64().is_some_and(|seconds| (1..=600).contains(&seconds)));
    for moving in ["server_time", "expires_in"] {
        read[moving] = booking[moving].clone();
    }
    assert_eq!(read, booking);
}

#[tokio::test]
async fn a_section_is_named_by_its_id_or_by_its_name_without_case() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let sections = json!([{"name": "Ωmega Ring", "capacity": 9}, {"name": "B", "capacity": 9}]);
    let event_id = user.event_with(&show(&json!({"sections": sections}))).await;
    let event = user.get(&format!("/events/{event_id}")).await.expect(StatusCode::OK);
    let section_id = event["sections"][0]["section_id"].as_str().expect("an id").to_owned();
    for name in ["Ωmega Ring", "ωMEGA ring", &section_id, &section_id.to_uppercase()] {
        let hold = json!({"event_id": event_id, "section_id": name, "seats_requested": 1});
        let booking = user.post("/bookings/hold", &hold).await.expect(StatusCode::CREATED);
        assert_eq!(booking["section_id"], section_id.as_str(), "{name}");
    }
    assert_eq!(user.seats(&event_id).await, (5, 4, 0));
}

#[tokio::test]
async fn a_hold_is_confirmed_by_post_and_by_patch_and_again_it_answers_the_same() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(10).await;
    let empty = json!({});
    for (method, body) in [
        (Method::POST, None),
        (Method::POST, Some(&empty)),
        (Method::PATCH, None),
        (Method::PATCH, Some(&empty)),
    ] {
        let booking_id = user.held(&event_id, 1).await;
        let path = format!("/bookings/{booking_id}/confirm");
        let confirm = async || user.send(method.clone(), &path, body, &[]).await;
        let booking = confirm().await.expect(StatusCode::OK);
        assert_eq!((&booking["status"], &booking["version"]), (&json!("CONFIRMED"), &json!(2)));
        assert!(booking["confirmed_at"].is_string() && booking["expires_in"] == 0);
        let mut again = confirm().await.expect(StatusCode::OK);
        again["server_time"] = booking["server_time"].clone();
        assert_eq!(again, booking);
    }
    assert_eq!(user.seats(&event_id).await, (6, 0, 4));
    server.audit();
}

#[tokio::test]
async fn a_hold_is_extended_up_to_its_longest_life() {
    let server = Server::start(&[("HOLD_TTL_SECONDS", "3"), ("HOLD_MAX_LIFE_SECONDS", "4")]);
    let user = server.user().await;
    let event_id = user.event(10).await;
    let held = user.hold(&event_id, 2).await.expect(StatusCode::CREATED);
    let booking_id = held["booking_id"].as_str().expect("an id");
    tokio::time::sleep(Duration::from_millis(20)).await;
    let more = user.step(booking_id, "extend").await.expect(StatusCode::OK);
    assert_eq!((&more["status"], &more["version"]), (&json!("HOLD"), &json!(2)));
    assert!(more["expires_at"].as_str() > held["expires_at"].as_str());
    assert!(more["expires_at"].as_str() <= held["max_expires_at"].as_str());
    assert_eq!(more["max_expires_at"], held["max_expires_at"]);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let most = user.step(booking_id, "extend").await.expect(StatusCode::OK);
    assert_eq!(most["expires_at"], most["max_expires_at"]);
    user.step(booking_id, "extend").await.problem(409, "extension_limit");
    let read = user.get(&format!("/bookings/{booking_id}")).await.expect(StatusCode::OK);
    assert_eq!((&read["expires_at"], &read["version"]), (&most["expires_at"], &json!(3)));
    // A sale has no end that could be moved.
    user.step(booking_id, "confirm").await.expect(StatusCode::OK);
    user.step(booking_id, "extend").await.problem(409, "extension_limit");
    server.audit();
}

#[tokio::test]
async fn an_event_sets_how_long_its_holds_live() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event_with(&show(&json!({"hold_ttl_seconds": 7_200}))).await;
    let booking = user.hold(&event_id, 1).await.expect(StatusCode::CREATED);
    assert_eq!(booking["expires_in"], 7_200);
    assert_eq!(booking["max_expires_at"], booking["expires_at"], "it outlives the general limit");
    let path = format!("/events/{event_id}");
    user.patch(&path, &json!({"hold_ttl_seconds": 60})).await.expect(StatusCode::OK);
    let booking = user.hold(&event_id, 1).await.expect(StatusCode::CREATED);
    assert_eq!(booking["expires_in"], 60);
}

#[tokio::test]
async fn a_cancelled_hold_gives_its_seats_back_and_stays_cancelled() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(2).await;
    let booking_id = user.held(&event_id, 2).await;
    user.hold(&event_id, 1).await.problem(409, "sold_out");
    let cancelled = user.step(&booking_id, "cancel").await.expect(StatusCode::OK);
    assert_eq!((&cancelled["status"], &cancelled["expires_in"]), (&json!("CANCELLED"), &json!(0)));
    assert!(cancelled["cancelled_at"].is_string());
    let mut again = user.step(&booking_id, "cancel").await.expect(StatusCode::OK);
    again["server_time"] = cancelled["server_time"].clone();
    assert_eq!(again, cancelled);
    user.step(&booking_id, "confirm").await.problem(409, "booking_cancelled");
    user.step(&booking_id, "extend").await.problem(409, "booking_cancelled");
    user.held(&event_id, 2).await;
    assert_eq!(user.seats(&event_id).await, (0, 2, 0));
    server.audit();
}

#[tokio::test]
async fn a_sale_is_undone_by_its_buyer_in_time_and_by_the_organizer_always() {
    let server = Server::start(&[]);
    let (organizer, buyer) = (server.user().await, server.user().await);
    let event_id = organizer.event(10).await;
    let set = async |until: Value| {
        let path = format!("/events/{event_id}");
        let change = json!({"cancellable_until": until});
        organizer.patch(&path, &change).await.expect(StatusCode::OK);
    };
    let sold = async || {
        let booking_id = buyer.held(&event_id, 2).await;
        buyer.step(&booking_id, "confirm").await.expect(StatusCode::OK);
        booking_id
    };
    let booking_id = sold().await;
    buyer.step(&booking_id, "cancel").await.problem(409, "not_cancellable");
    set(json!("2020-01-01T00:00:00Z")).await;
    buyer.step(&booking_id, "cancel").await.problem(409, "not_cancellable");
    let undone = organizer.step(&booking_id, "cancel").await.expect(StatusCode::OK);
    assert_eq!(undone["status"], "CANCELLED");
    assert!(undone["confirmed_at"].is_string() && undone["cancelled_at"].is_string());
    buyer.step(&booking_id, "cancel").await.expect(StatusCode::OK);

    set(json!("2098-01-01T00:00:00Z")).await;
    let booking_id = sold().await;
    buyer.step(&booking_id, "cancel").await.expect(StatusCode::OK);
    buyer.step(&booking_id, "confirm").await.problem(409, "booking_cancelled");
    assert_eq!(organizer.seats(&event_id).await, (10, 0, 0));
    server.audit();
}

#[tokio::test]
async fn a_booking_exists_for_its_buyer_and_the_organizer_only() {
    let server = Server::start(&[]);
    let (organizer, buyer, other) = (server.user().await, server.user().await, server.user().await);
    let event_id = organizer.event(10).await;
    let booking_id = buyer.held(&event_id, 1).await;
    let path = format!("/bookings/{booking_id}");
    for step in ["confirm", "extend", "cancel"] {
        other.step(&booking_id, step).await.problem(404, "not_found");
    }
    other.get(&path).await.problem(404, "not_found");
    server.client().get(&path).await.problem(401, "unauthorized");
    // The organizer may act for the buyer, whose booking it stays.
    organizer.step(&booking_id, "extend").await.expect(StatusCode::OK);
    let seen = organizer.get(&path).await.expect(StatusCode::OK);
    assert_eq!(seen["user_id"].as_str(), buyer.user_id.as_deref());
    assert_eq!(organizer.seats(&event_id).await, (9, 1, 0));
    let mine = async |client: &crate::support::Client| {
        let page = client.get("/bookings").await.expect(StatusCode::OK);
        page["items"].as_array().expect("a list").len()
    };
    assert_eq!((mine(&buyer).await, mine(&organizer).await, mine(&other).await), (1, 0, 0));
    organizer.step(&booking_id, "cancel").await.expect(StatusCode::OK);
    let seen = buyer.get(&path).await.expect(StatusCode::OK);
    assert_eq!(seen["status"], "CANCELLED");
}

#[tokio::test]
async fn a_buyer_lists_their_bookings_newest_first_by_event_and_status() {
    let server = Server::start(&[]);
    let (ann, bob) = (server.user().await, server.user().await);
    let (one, two) = (ann.event(10).await, ann.event(10).await);
    let sold = bob.held(&one, 1).await;
    bob.step(&sold, "confirm").await.expect(StatusCode::OK);
    let mut made = vec![sold.clone()];
    for event_id in [&one, &two, &two] {
        made.push(bob.held(event_id, 1).await);
    }
    ann.held(&one, 1).await;
    let mut newest_first = made.clone();
    newest_first.sort_unstable_by(|one, other| other.cmp(one));
    let list = async |query: &str| {
        let page = bob.get(&format!("/bookings?{query}")).await.expect(StatusCode::OK);
        let items = page["items"].as_array().expect("a list").clone();
        let id = |it: &Value| it["booking_id"].as_str().expect("an id").to_owned();
        (items.iter().map(id).collect::<Vec<_>>(), page["next"].as_str().map(str::to_owned))
    };
    assert_eq!(list("").await, (newest_first.clone(), None));
    let (first, next) = list("limit=3").await;
    let (second, end) = list(&format!("limit=3&after={}", next.expect("a cursor"))).await;
    assert_eq!(([first, second].concat(), end), (newest_first, None));
    assert_eq!(list("status=CONFIRMED").await.0, [sold]);
    assert_eq!(list(&format!("event_id={two}")).await.0.len(), 2);
    assert_eq!(list(&format!("event_id={one}&status=HOLD")).await.0, [made[1].clone()]);
    assert_eq!(list("status=EXPIRED").await.0, [""; 0]);
}

#[tokio::test]
async fn a_hold_that_is_due_reads_expired_everywhere_before_any_sweep() {
    let server = Server::start(&[("HOLD_TTL_SECONDS", "1"), ("SWEEP_INTERVAL_MS", "0")]);
    let (organizer, buyer) = (server.user().await, server.user().await);
    let event_id = organizer.event(2).await;
    let held = buyer.hold(&event_id, 2).await.expect(StatusCode::CREATED);
    let booking_id = held["booking_id"].as_str().expect("an id");
    tokio::time::sleep(Duration::from_millis(1_100)).await;

    let seen = buyer.get(&format!("/bookings/{booking_id}")).await.expect(StatusCode::OK);
    assert_eq!((&seen["status"], &seen["expires_in"]), (&json!("EXPIRED"), &json!(0)));
    for (client, list) in
        [(&buyer, "/bookings".to_owned()), (&organizer, format!("/events/{event_id}/bookings"))]
    {
        for (query, expected) in [("", 1), ("?status=EXPIRED", 1), ("?status=HOLD", 0)] {
            let page = client.get(&format!("{list}{query}")).await.expect(StatusCode::OK);
            assert_eq!(page["items"].as_array().map(Vec::len), Some(expected), "{list}{query}");
            assert!(expected == 0 || page["items"][0]["status"] == "EXPIRED");
        }
    }
    assert_eq!(organizer.seats(&event_id).await, (2, 0, 0));
    let event = buyer.get(&format!("/events/{event_id}")).await.expect(StatusCode::OK);
    assert_eq!(event["sections"][0]["available_seats"], 2);
    for step in ["confirm", "extend"] {
        let refused = buyer.step(booking_id, step).await.problem(410, "hold_expired");
        assert_eq!(refused["expired_at"], held["expires_at"], "{step}");
    }
    buyer.step(booking_id, "cancel").await.problem(409, "not_cancellable");
    organizer.step(booking_id, "cancel").await.problem(409, "not_cancellable");
    buyer.held(&event_id, 2).await;
    server.audit();
}

#[tokio::test]
async fn a_booking_keeps_the_price_and_the_name_it_was_made_at() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(10).await;
    let booking_id = user.held(&event_id, 2).await;
    let change = json!({"name": "Stalls", "price": 9_999});
    let path = format!("/events/{event_id}/sections/A");
    user.patch(&path, &change).await.expect(StatusCode::OK);
    for step in ["extend", "confirm"] {
        let booking = user.step(&booking_id, step).await.expect(StatusCode::OK);
        let item = &booking["items"][0];
        assert_eq!((&item["section_name"], &item["unit_price"]), (&json!("A"), &json!(1_000)));
        assert_eq!(booking["total_price"], 2_000);
    }
    let mut hold = hold_body(&event_id, 2);
    hold["section_id"] = json!("stalls");
    let booking = user.post("/bookings/hold", &hold).await.expect(StatusCode::CREATED);
    assert_eq!(booking["total_price"], 19_998);
    user.hold(&event_id, 1).await.problem(404, "not_found");
}

#[tokio::test]
async fn a_hold_is_changed_at_the_state_its_buyer_saw_in_the_history_it_was_seen_in() {
    let server = Server::start(&[]);
    let (organizer, buyer) = (server.user().await, server.user().await);
    let event_id = organizer.event(10).await;
    let held = buyer.hold(&event_id, 3).await.expect(StatusCode::CREATED);
    let path = format!("/bookings/{}", held["booking_id"].as_str().expect("an id"));
    let at = async |tag: &str, seats: u32| {
        let body = json!({"items": [{"section_id": "A", "seats_requested": seats}]});
        buyer.send(Method::PATCH, &path, Some(&body), &[("If-Match", tag)]).await
    };
    let tag_of =
        |answer: &crate::support::Answer| answer.headers["etag"].to_str().expect("text").to_owned();
    let first = tag_of(&buyer.get(&path).await);
    assert!(first.starts_with("\"1."), "{first}");
    let changed = at(&first, 2).await;
    let second = tag_of(&changed);
    assert_eq!(changed.expect(StatusCode::OK)["version"], 2);
    assert_eq!(second, tag_of(&buyer.get(&path).await));
    at(&first, 4).await.problem(412, "version_mismatch");
    // The same version of another history.
    at("\"2.0123456789abcdef\"", 4).await.problem(412, "version_mismatch");
    assert_eq!(at("\"2\"", 4).await.expect(StatusCode::OK)["version"], 3, "a bare version");
    at(&second, 5).await.problem(412, "version_mismatch");
    at("*", 5).await.expect(StatusCode::OK);
    server.audit();
}
