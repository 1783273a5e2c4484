//! Sections: adding them, changing their names, prices and capacities.

use crate::support::{Answer, Client, Server, show};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

async fn event(client: &Client, event_id: &str) -> Value {
    client.get(&format!("/events/{event_id}")).await.expect(StatusCode::OK)
}

#[tokio::test]
async fn a_section_that_is_added_can_be_booked_at_once() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(10).await;
    let new = json!({"name": "Balcony", "capacity": 5, "price": 7_500});
    let added = user.post(&format!("/events/{event_id}/sections"), &new).await;
    let etag = added.headers["etag"].clone();
    let location = added.headers["location"].to_str().expect("text").to_owned();
    let section = added.expect(StatusCode::CREATED);
    let section_id = section["section_id"].as_str().expect("an id");
    assert_eq!(location, format!("/api/v1/events/{event_id}/sections/{section_id}"));
    let expected = json!({
        "section_id": section_id, "name": "Balcony", "numbered": false, "capacity": 5, "available_seats": 5,
        "price": 7_500, "currency": "USD",
    });
    assert_eq!(section, expected);
    let seen = user.get(&format!("/events/{event_id}")).await;
    assert_eq!(seen.headers["etag"], etag);
    let seen = seen.expect(StatusCode::OK);
    assert_eq!((&seen["sections"][1], &seen["version"]), (&section, &json!(2)));

    let hold = json!({"event_id": event_id, "section_id": "balcony", "seats_requested": 5});
    let held = user.post("/bookings/hold", &hold).await.expect(StatusCode::CREATED);
    assert_eq!((&held["section_id"], &held["total_price"]), (&json!(section_id), &json!(37_500)));
    server.audit();
}

#[tokio::test]
async fn names_are_unique_without_case_and_currencies_agree() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(10).await;
    let sections = format!("/events/{event_id}/sections");
    let add = async |section: Value| user.post(&sections, &section).await;
    add(json!({"name": "Größe", "capacity": 1})).await.expect(StatusCode::CREATED);
    let before = event(&user, &event_id).await;
    for (field, section) in [
        ("name", json!({"name": "a", "capacity": 1})),
        ("name", json!({"name": "GRÖßE", "capacity": 1})),
        ("currency", json!({"name": "C", "capacity": 1, "currency": "EUR"})),
    ] {
        let problem = add(section.clone()).await.problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["field"], field, "{section}");
    }
    for (field, change) in [
        ("name", json!({"name": "grÖße", "capacity": 2})),
        ("currency", json!({"currency": "EUR", "capacity": 2})),
    ] {
        let changed = user.patch(&format!("{sections}/A"), &change).await;
        let problem = changed.problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["field"], field, "{change}");
    }
    assert_eq!(event(&user, &event_id).await, before, "whole or not at all");
    // Its own name in another case is no second one.
    let renamed = user.patch(&format!("{sections}/A"), &json!({"name": "a"})).await;
    assert_eq!(renamed.expect(StatusCode::OK)["name"], "a");
}

#[tokio::test]
async fn an_event_has_at_most_a_thousand_sections() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let section = |number: u32| json!({"name": format!("Row {number}"), "capacity": 1});
    let sections: Vec<_> = (0..1_000).map(section).collect();
    let event_id = user.event_with(&show(&json!({"sections": sections}))).await;
    assert_eq!(event(&user, &event_id).await["sections"].as_array().map(Vec::len), Some(1_000));
    let more = user.post(&format!("/events/{event_id}/sections"), &section(1_000)).await;
    assert_eq!(more.problem(422, "validation_failed")["errors"][0]["field"], "sections");
    let sections: Vec<_> = (0..1_001).map(section).collect();
    let more = user.post("/events", &show(&json!({"sections": sections}))).await;
    assert_eq!(more.problem(422, "validation_failed")["errors"][0]["field"], "sections");
}

#[tokio::test]
async fn a_section_is_changed_by_its_id_or_its_name() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(10).await;
    let section_id = event(&user, &event_id).await["sections"][0]["section_id"].clone();
    let section_id = section_id.as_str().expect("an id").to_owned();
    let patch = async |section: &str, change: Value| {
        user.patch(&format!("/events/{event_id}/sections/{section}"), &change).await
    };
    let changed = patch(&section_id, json!({"name": "Upper Ring", "price": 5})).await;
    let etag = changed.headers["etag"].clone();
    let changed = changed.expect(StatusCode::OK);
    assert_eq!((&changed["name"], &changed["price"]), (&json!("Upper Ring"), &json!(5)));
    assert_eq!(user.get(&format!("/events/{event_id}")).await.headers["etag"], etag);
    let changed = patch("upper%20RING", json!({"capacity": 12})).await.expect(StatusCode::OK);
    assert_eq!((&changed["capacity"], &changed["available_seats"]), (&json!(12), &json!(12)));
    assert_eq!((&changed["section_id"], &changed["price"]), (&json!(section_id), &json!(5)));
    let currency = patch(&section_id, json!({"currency": "eur"})).await.expect(StatusCode::OK);
    assert_eq!((&currency["currency"], &currency["price"]), (&json!("EUR"), &json!(5)));
    assert_eq!(event(&user, &event_id).await["sections"][0], currency);
    for gone in ["A", "B", &event_id, "%ff", "x%00"] {
        patch(gone, json!({"capacity": 1})).await.problem(404, "not_found");
    }
    server.audit();
}

#[tokio::test]
async fn a_capacity_below_what_is_held_and_sold_is_refused_with_the_least_possible() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(10).await;
    user.held(&event_id, 2).await;
    let sold = user.held(&event_id, 3).await;
    user.step(&sold, "confirm").await.expect(StatusCode::OK);
    let section = format!("/events/{event_id}/sections/A");
    let resize = async |capacity: i64| user.patch(&section, &json!({"capacity": capacity})).await;

    let refused = user.patch(&section, &json!({"capacity": 4, "name": "Z", "price": 1})).await;
    assert_eq!(refused.problem(409, "capacity_in_use")["minimum"], 5);
    let seen = event(&user, &event_id).await;
    assert_eq!((&seen["version"], &seen["sections"][0]["name"]), (&json!(1), &json!("A")));

    resize(5).await.expect(StatusCode::OK);
    assert_eq!(user.seats(&event_id).await, (0, 2, 3));
    let refused = user.hold(&event_id, 1).await.problem(409, "sold_out");
    assert_eq!((&refused["available"], &refused["requested"]), (&json!(0), &json!(1)));
    resize(6).await.expect(StatusCode::OK);
    user.held(&event_id, 1).await;
    user.hold(&event_id, 1).await.problem(409, "sold_out");
    server.audit();
}

#[tokio::test]
async fn a_hold_that_is_due_does_not_count_against_a_smaller_capacity() {
    let server = Server::start(&[("HOLD_TTL_SECONDS", "1"), ("SWEEP_INTERVAL_MS", "0")]);
    let user = server.user().await;
    let event_id = user.event(10).await;
    user.held(&event_id, 9).await;
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let section = format!("/events/{event_id}/sections/A");
    let resized = user.patch(&section, &json!({"capacity": 1})).await.expect(StatusCode::OK);
    assert_eq!(resized["available_seats"], 1);
    server.audit();
}

#[tokio::test]
async fn the_currency_of_an_event_is_corrected_until_something_is_sold() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let layout = json!({"rows": "A-B", "seats_per_row": 5});
    let sections = json!([
        {"name": "Floor", "capacity": 9, "price": 4_500},
        {"name": "Hall", "price": 7_000, "layout": layout},
        {"name": "Box", "capacity": 2, "price": 9_000, "currency": "usd"},
    ]);
    let event_id = user.event_with(&show(&json!({"sections": sections}))).await;
    let path = format!("/events/{event_id}");
    let currencies = |event: &Value| -> Vec<Value> {
        let sections = event["sections"].as_array().expect("sections");
        sections.iter().map(|section| section["currency"].clone()).collect()
    };
    let event = user.get(&path).await.expect(StatusCode::OK);
    assert_eq!(currencies(&event), ["USD"; 3], "those that name none have that of those that do");
    let drawing = format!("{path}/sections/Hall/seats");
    let drawn = user.get(&drawing).await;
    let tag = drawn.headers["etag"].clone();
    assert_eq!(drawn.expect(StatusCode::OK)["categories"][0]["currency"], "USD");

    // One by one it cannot be done; together it can, with whatever else changes.
    let alone = user.patch(&format!("{path}/sections/Floor"), &json!({"currency": "EUR"})).await;
    alone.problem(422, "validation_failed");
    let change = json!({"currency": "eur", "title": "New"});
    let event = user.patch(&path, &change).await.expect(StatusCode::OK);
    assert_eq!((currencies(&event), &event["title"]), (vec![json!("EUR"); 3], &json!("New")));
    assert_eq!(event["sections"][1]["price"], 7_000, "the amounts stay");
    let drawn = user.get(&drawing).await;
    assert_ne!(drawn.headers["etag"], tag, "a drawing that is kept somewhere is not taken for it");
    assert_eq!(drawn.expect(StatusCode::OK)["categories"][0]["currency"], "EUR");
    let added =
        user.post(&format!("{path}/sections"), &json!({"name": "Late", "capacity": 1})).await;
    assert_eq!(added.expect(StatusCode::CREATED)["currency"], "EUR");
    let late = json!({"name": "Late hall", "price": 1, "layout": layout});
    let added = user.post(&format!("{path}/sections"), &late).await;
    assert_eq!(added.expect(StatusCode::CREATED)["currency"], "EUR");

    let hold = json!({"event_id": event_id, "section_id": "Hall", "seats": ["A-1"]});
    let booking = user.post("/bookings/hold", &hold).await.expect(StatusCode::CREATED);
    assert_eq!((&booking["currency"], &booking["total_price"]), (&json!("EUR"), &json!(7_000)));
    let refused = user.patch(&path, &json!({"currency": "GBP"})).await;
    assert_eq!(refused.problem(409, "currency_in_use")["seats"], 1);
    user.patch(&path, &json!({"currency": "EUR"})).await.expect(StatusCode::OK);
    for wrong in [json!("EURO"), json!(null), json!("")] {
        let problem = user.patch(&path, &json!({"currency": wrong})).await;
        assert_eq!(problem.problem(422, "validation_failed")["errors"][0]["field"], "currency");
    }
    let booking_id = booking["booking_id"].as_str().expect("an id");
    user.step(booking_id, "cancel").await.expect(StatusCode::OK);
    let event = user.patch(&path, &json!({"currency": "GBP"})).await.expect(StatusCode::OK);
    assert_eq!(currencies(&event), ["GBP"; 5]);
    let booking = user.get(&format!("/bookings/{booking_id}")).await.expect(StatusCode::OK);
    assert_eq!(booking["currency"], "EUR", "what was booked stays as it was");
    server.audit();
}

#[tokio::test]
async fn a_change_to_what_is_so_already_keeps_version_and_tag() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let hall = json!({"rows": "A-B", "seats_per_row": 6});
    let event = json!({"title": "Same", "event_date": "2099-01-01", "max_seats_per_user": 9,
        "sections": [{"name": "A", "capacity": 10}, {"name": "Hall", "layout": hall}]});
    let made = user.post("/events", &event).await.expect(StatusCode::CREATED);
    let event_id = made["event_id"].as_str().expect("an id");
    let path = format!("/events/{event_id}");
    let block = json!({"seats": ["B-6"], "reason": "camera"});
    let count = json!({"number": 2, "reason": "stage"});
    for (section, body) in [("Hall", &block), ("A", &count)] {
        let path = format!("{path}/sections/{section}/blocked");
        user.send(Method::PUT, &path, Some(body), &[]).await.expect(StatusCode::OK);
    }
    let cart = json!([{"section_id": "Hall", "seats": ["A-1", "A-2"]},
        {"section_id": "A", "seats_requested": 2}]);
    let hold = json!({"event_id": event_id, "items": cart});
    let held = user.post("/bookings/hold", &hold).await.expect(StatusCode::CREATED);
    let booking = format!("/bookings/{}", held["booking_id"].as_str().expect("an id"));
    let tag_of = |answer: &Answer| answer.headers["etag"].to_str().expect("text").to_owned();
    let (event, own) = (user.get(&path).await, user.get(&booking).await);
    let (tag, own_tag) = (tag_of(&event), tag_of(&own));
    let before = event.expect(StatusCode::OK);

    let section = |name: &str| format!("{path}/sections/{name}");
    for (method, path, body) in [
        (Method::PATCH, path.clone(), json!({})),
        (
            Method::PATCH,
            path.clone(),
            json!({"title": "Same", "event_date": "2099-01-01", "timezone": "UTC",
                "status": "on_sale", "description": null, "max_seats_per_user": 9,
                "prevent_orphans": false, "currency": before["sections"][0]["currency"]}),
        ),
        (Method::PATCH, section("A"), json!({})),
        (Method::PATCH, section("A"), json!({"name": "A", "price": 0, "capacity": 10})),
        (Method::PATCH, section("Hall"), json!({"name": "Hall"})),
        (Method::PUT, format!("{}/seats", section("Hall")), hall),
        (Method::PUT, format!("{}/blocked", section("Hall")), block),
        (Method::PUT, format!("{}/blocked", section("A")), count),
    ] {
        let matched = [("If-Match", tag.as_str())];
        for headers in [&[][..], &matched] {
            // The call that blocks seats takes no If-Match, and has nothing against one.
            let answer = user.send(method.clone(), &path, Some(&body), headers).await;
            assert_eq!(tag_of(&answer), tag, "{path} {body}");
            answer.expect(StatusCode::OK);
        }
    }
    for tag in [None, Some(("If-Match", own_tag.as_str()))] {
        let body = json!({"items": cart});
        let answer = user.send(Method::PATCH, &booking, Some(&body), tag.as_slice()).await;
        assert_eq!(tag_of(&answer), own_tag);
        assert_eq!(answer.expect(StatusCode::OK)["version"], 1);
    }
    let after = user.get(&path).await;
    assert_eq!(tag_of(&after), tag);
    assert_eq!(after.expect(StatusCode::OK), before);
    server.audit();
}

#[tokio::test]
async fn a_section_is_read_where_its_location_says() {
    let server = Server::start(&[]);
    let (user, other) = (server.user().await, server.user().await);
    let event_id = user.event(10).await;
    let path = format!("/events/{event_id}/sections");
    let made = user.post(&path, &json!({"name": "Box", "capacity": 5, "price": 900})).await;
    let location = made.headers["location"].to_str().expect("text").to_owned();
    let (tag, made) = (made.headers["etag"].clone(), made.expect(StatusCode::CREATED));
    let place = location.strip_prefix("/api/v1").expect("below it");
    for client in [&user, &other, &server.client()] {
        let read = client.get(place).await;
        assert_eq!(read.headers["etag"], tag);
        assert_eq!(read.headers["cache-control"], "max-age=1");
        assert_eq!(read.expect(StatusCode::OK), made);
        assert_eq!(client.get(&format!("{path}/BOX")).await.expect(StatusCode::OK), made);
    }
    let known = [("If-None-Match", tag.to_str().expect("text"))];
    let again = user.send(Method::GET, place, None, &known).await;
    assert_eq!((again.status, &again.headers["etag"]), (StatusCode::NOT_MODIFIED, &tag));
    let hold = json!({"event_id": event_id, "section_id": "Box", "seats_requested": 2});
    other.post("/bookings/hold", &hold).await.expect(StatusCode::CREATED);
    let newer = user.send(Method::GET, place, None, &known).await.expect(StatusCode::OK);
    assert_eq!(newer["available_seats"], 3);
    user.get(&format!("{path}/Pit")).await.problem(404, "not_found");
    // Of a draft it exists for the organizer alone.
    let draft = json!({"status": "draft"});
    user.patch(&format!("/events/{event_id}"), &draft).await.expect(StatusCode::OK);
    let shown = user.get(place).await;
    assert_eq!(shown.headers["cache-control"], "private, no-store");
    shown.expect(StatusCode::OK);
    other.get(place).await.problem(404, "not_found");
}
