//! Events: recording, reading and editing them.

use crate::support::{Server, show};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

#[tokio::test]
async fn a_title_a_date_and_a_section_are_enough_for_an_event() {
    let server = Server::start(&[("DEFAULT_CURRENCY", "EUR")]);
    let user = server.user().await;
    let sections = json!([{"name": "A", "capacity": 10}]);
    let new = json!({"title": "Show", "event_date": "2099-06-15", "sections": sections});
    let created = user.post("/events", &new).await;
    let etag = created.headers["etag"].clone();
    let location = created.headers["location"].to_str().expect("text").to_owned();
    let event = created.expect(StatusCode::CREATED);
    let event_id = event["event_id"].as_str().expect("an id");
    assert_eq!(location, format!("/api/v1/events/{event_id}"));
    assert!(etag.to_str().is_ok_and(|tag| tag.starts_with("W/\"")), "{etag:?}");
    let expected = json!({
        "event_id": event_id,
        "organizer_id": user.user_id,
        "organization": {
            "organization_id": user.user_id,
            "name": null,
            "personal": true,
        },
        "title": "Show",
        "event_date": "2099-06-15",
        "timezone": "UTC",
        "status": "on_sale",
        "prevent_orphans": false,
        "sections": [{
            "section_id": event["sections"][0]["section_id"],
            "name": "A",
            "numbered": false,
            "capacity": 10,
            "available_seats": 10,
            "price": 0,
            "currency": "EUR",
        }],
        "version": 1,
        "created_at": event["created_at"],
        "updated_at": event["created_at"],
    });
    assert_eq!(event, expected);
    let at = event["created_at"].as_str().expect("an instant");
    assert!(at.len() == "2027-06-15T18:00:00.000Z".len() && at.ends_with('Z'), "{at}");

    let read = server.client().outside().get(&location).await;
    assert_eq!(read.headers["etag"], etag);
    assert_eq!(read.headers["cache-control"], "max-age=1");
    assert_eq!(read.expect(StatusCode::OK), event);
}

#[tokio::test]
async fn everything_an_organizer_sets_is_given_back() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let new = json!({
        "title": "Ω Night — \"live\" 🎷",
        "description": "Two sets.",
        "venue": "Old Mill",
        "event_date": "2099-06-15T20:00:00+02:00",
        "timezone": "Europe/Berlin",
        "status": "closed",
        "sales_start": "2027-01-01T10:00:00+01:00",
        "sales_end": "2099-06-15T12:00:00.1234Z",
        "max_seats_per_booking": 4,
        "max_seats_per_user": 6,
        "hold_ttl_seconds": 120,
        "cancellable_until": "2099-06-01T00:00:00Z",
        "sections": [
            {"name": "Stalls", "capacity": 1_000_000_000, "price": 4_500, "currency": "gbp"},
            {"name": "Box", "capacity": 1, "price": 100_000_000_000_i64, "currency": "GBP"},
        ],
    });
    let event = user.post("/events", &new).await.expect(StatusCode::CREATED);
    let plain = ["title", "description", "venue", "event_date", "timezone", "status"];
    let limits = ["max_seats_per_booking", "max_seats_per_user", "hold_ttl_seconds"];
    for name in plain.into_iter().chain(limits) {
        assert_eq!(event[name], new[name], "{name}");
    }
    assert_eq!(event["sales_start"], "2027-01-01T09:00:00.000Z");
    assert_eq!(event["sales_end"], "2099-06-15T12:00:00.123Z");
    assert_eq!(event["cancellable_until"], "2099-06-01T00:00:00.000Z");
    assert_eq!(event["sections"][0]["available_seats"], 1_000_000_000);
    assert_eq!(event["sections"][0]["currency"], "GBP");
    assert_eq!(event["sections"][1]["price"], 100_000_000_000_i64);
}

#[tokio::test]
async fn an_event_date_is_given_back_as_it_came_also_of_the_past() {
    let server = Server::start(&[]);
    let user = server.user().await;
    for date in [
        "2099-06-15",
        "1969-12-31",
        "2099-06-15T20:00:00+02:00",
        "2099-06-15T18:00:00Z",
        "2099-06-15T18:00:00.123456789Z",
        "0001-02-03T04:05:06Z",
    ] {
        let new = show(&json!({"event_date": date, "timezone": "America/New_York"}));
        let event_id = user.event_with(&new).await;
        let event = user.get(&format!("/events/{event_id}")).await.expect(StatusCode::OK);
        assert_eq!(event["event_date"], date);
    }
}

#[tokio::test]
async fn a_draft_exists_for_its_organizer_only() {
    let server = Server::start(&[]);
    let (organizer, other) = (server.user().await, server.user().await);
    let event_id = organizer.event_with(&show(&json!({"status": "draft"}))).await;
    let path = |rest: &str| format!("/events/{event_id}{rest}");
    let seen = organizer.get(&path("")).await;
    assert_eq!(seen.headers["cache-control"], "private, no-store");
    let section_id = seen.expect(StatusCode::OK)["sections"][0]["section_id"].clone();
    let section = path(&format!("/sections/{}", section_id.as_str().expect("an id")));
    let hold = |section: &str, seats: u32| {
        json!({"event_id": event_id, "section_id": section,
        "seats_requested": seats})
    };
    for (method, path, body) in [
        (Method::GET, path(""), None),
        (Method::GET, path("/availability"), None),
        (Method::GET, path("/bookings"), None),
        (Method::PATCH, path(""), Some(json!({"title": "Mine"}))),
        (Method::POST, path("/cancel"), None),
        (Method::POST, path("/sections"), Some(json!({"name": "B", "capacity": 1}))),
        (Method::PATCH, section.clone(), Some(json!({"capacity": 1}))),
        (Method::PATCH, path("/sections/A"), Some(json!({"capacity": 1}))),
        (Method::POST, "/bookings/hold".to_owned(), Some(hold("A", 1))),
        (Method::POST, "/bookings/hold".to_owned(), Some(hold("B", 1))),
        // More than there are: the gate must not tell either.
        (Method::POST, "/bookings/hold".to_owned(), Some(hold("A", 11))),
    ] {
        // The organizer's look refreshes what the gate knows.
        organizer.get(&self::path(&event_id)).await.expect(StatusCode::OK);
        let answer = other.send(method, &path, body.as_ref(), &[]).await;
        let problem = answer.problem(404, "not_found");
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.contains("event"), "{path}: {detail}");
    }
    let anyone = server.client();
    anyone.get(&path("")).await.problem(404, "not_found");
    anyone.get(&path("/availability")).await.problem(404, "not_found");

    let refused = organizer.hold(&event_id, 1).await.problem(409, "sale_not_open");
    assert_eq!(refused["sales_start"], Value::Null);
    organizer.patch(&path(""), &json!({"status": "on_sale"})).await.expect(StatusCode::OK);
    anyone.get(&path("")).await.expect(StatusCode::OK);
    other.hold(&event_id, 1).await.expect(StatusCode::CREATED);
}

fn path(event_id: &str) -> String {
    format!("/events/{event_id}")
}

#[tokio::test]
async fn only_the_organizer_changes_an_event_and_sees_its_bookings() {
    let server = Server::start(&[]);
    let (organizer, other) = (server.user().await, server.user().await);
    let event_id = organizer.event(10).await;
    let before = organizer.get(&path(&event_id)).await.expect(StatusCode::OK);
    let of = |rest: &str| format!("/events/{event_id}{rest}");
    for (method, path, body) in [
        (Method::PATCH, of(""), Some(json!({"title": "Mine"}))),
        (Method::POST, of("/cancel"), None),
        (Method::POST, of("/sections"), Some(json!({"name": "B", "capacity": 1}))),
        (Method::PATCH, of("/sections/A"), Some(json!({"capacity": 20}))),
        (Method::GET, of("/bookings"), None),
    ] {
        let refused = other.send(method.clone(), &path, body.as_ref(), &[]).await;
        refused.problem(403, "not_organizer");
        let anyone = server.client().send(method, &path, body.as_ref(), &[]).await;
        anyone.problem(401, "unauthorized");
    }
    assert_eq!(organizer.get(&path(&event_id)).await.expect(StatusCode::OK), before);
}

#[tokio::test]
async fn what_is_patched_changes_null_clears_and_the_rest_stays() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let optional = json!({
        "description": "Two sets.",
        "venue": "Old Mill",
        "sales_start": "2027-01-01T00:00:00.000Z",
        "sales_end": "2099-01-01T00:00:00.000Z",
        "max_seats_per_booking": 4,
        "max_seats_per_user": 6,
        "hold_ttl_seconds": 120,
        "cancellable_until": "2099-01-01T00:00:00.000Z",
    });
    let event_id = user.event_with(&show(&optional)).await;
    let patch = async |change: Value| user.patch(&path(&event_id), &change).await;
    let names: Vec<_> = optional.as_object().expect("an object").keys().collect();
    for (cleared, name) in names.iter().enumerate() {
        let event = patch(json!({*name: null})).await.expect(StatusCode::OK);
        for (at, name) in names.iter().enumerate() {
            let expected = if at <= cleared { None } else { optional.get(*name) };
            assert_eq!(event.get(*name), expected, "{name} after {} are cleared", cleared + 1);
        }
        assert_eq!(event["version"].as_u64(), Some(cleared as u64 + 2));
    }
    let event = patch(optional.clone()).await.expect(StatusCode::OK);
    assert!(names.iter().all(|name| event[*name] == optional[*name]), "{event:#}");
    let change =
        json!({"title": "Late Show", "event_date": "2099-07-01", "timezone": "Asia/Tokyo"});
    let event = patch(change.clone()).await.expect(StatusCode::OK);
    assert!(["title", "event_date", "timezone"].iter().all(|name| event[*name] == change[*name]));
    assert!(names.iter().all(|name| event[*name] == optional[*name]), "{event:#}");
    let read = server.client().get(&path(&event_id)).await.expect(StatusCode::OK);
    assert_eq!(read, event);
}

#[tokio::test]
async fn a_change_on_condition_of_an_old_version_is_refused() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(10).await;
    let read = user.get(&path(&event_id)).await;
    let etag = read.headers["etag"].to_str().expect("text").to_owned();
    let change = async |path: &str, change: Value, tag: &str| {
        user.send(Method::PATCH, path, Some(&change), &[("If-Match", tag)]).await
    };
    let event = path(&event_id);
    let changed = change(&event, json!({"title": "Two"}), &etag).await;
    let newer = changed.headers["etag"].to_str().expect("text").to_owned();
    assert_eq!(changed.expect(StatusCode::OK)["version"], 2);
    assert_ne!(newer, etag);

    let section = format!("{event}/sections/A");
    for path in [&event, &section] {
        let refused = change(path, json!({}), &etag).await;
        assert_eq!(refused.problem(412, "version_mismatch")["version"], 2);
    }
    for tag in ["\"nonsense\"", "\"\"", "\"1.2.3\", W/\"a, b\""] {
        change(&event, json!({}), tag).await.problem(412, "version_mismatch");
    }
    for tag in ["nonsense", "W/", "", "\"", "\"1.2.3\", *"] {
        change(&event, json!({}), tag).await.problem(400, "malformed_request");
    }
    let either = format!("{etag}, {newer}");
    change(&section, json!({"price": 5}), &either).await.expect(StatusCode::OK);
    change(&event, json!({"title": "Four"}), "*").await.expect(StatusCode::OK);
    let read = user.get(&event).await.expect(StatusCode::OK);
    assert_eq!((&read["version"], &read["title"]), (&json!(4), &json!("Four")));
}

#[tokio::test]
async fn an_etag_fits_until_the_event_or_its_seats_change() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(10).await;
    let event = path(&event_id);
    let ask = async |tag: &str| {
        let headers = [("If-None-Match", tag)];
        server.client().send(Method::GET, &event, None, &headers).await
    };
    let tag_of = async || {
        let answer = user.get(&event).await;
        answer.headers["etag"].to_str().expect("text").to_owned()
    };
    let fresh = tag_of().await;
    let strong = fresh.trim_start_matches("W/").to_owned();
    for tag in [fresh.clone(), strong, format!("\"x\", {fresh}"), "*".to_owned()] {
        let answer = ask(&tag).await;
        assert_eq!(answer.headers["etag"].to_str().ok(), Some(&*fresh));
        assert_eq!(answer.headers["cache-control"], "max-age=1");
        assert!(answer.headers.contains_key("x-request-id"));
        assert_eq!(answer.expect(StatusCode::NOT_MODIFIED), Value::Null, "{tag}");
    }
    ask("\"other\"").await.expect(StatusCode::OK);

    let booking_id = user.held(&event_id, 2).await;
    let seen = ask(&fresh).await.expect(StatusCode::OK);
    assert_eq!(seen["sections"][0]["available_seats"], 8);
    let held = tag_of().await;
    user.step(&booking_id, "cancel").await.expect(StatusCode::OK);
    let seen = ask(&held).await.expect(StatusCode::OK);
    assert_eq!(seen["sections"][0]["available_seats"], 10);
    let free = tag_of().await;
    user.patch(&event, &json!({"venue": "Old Mill"})).await.expect(StatusCode::OK);
    ask(&free).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn availability_shows_what_is_held_and_sold_to_the_organizer_only() {
    let server = Server::start(&[]);
    let (organizer, buyer) = (server.user().await, server.user().await);
    let sections = json!([{"name": "A", "capacity": 10}, {"name": "B", "capacity": 5}]);
    let event_id = organizer.event_with(&show(&json!({"sections": sections}))).await;
    buyer.held(&event_id, 2).await;
    let sold = buyer.held(&event_id, 3).await;
    buyer.step(&sold, "confirm").await.expect(StatusCode::OK);

    let availability = format!("/events/{event_id}/availability");
    for anyone in [&buyer, &server.client()] {
        let answer = anyone.get(&availability).await;
        assert_eq!(answer.headers["cache-control"], "max-age=1");
        let seen = answer.expect(StatusCode::OK);
        assert_eq!(seen["event_id"], event_id);
        assert!(seen["server_time"].is_string());
        let section = seen["sections"][0].as_object().expect("an object");
        let names: Vec<_> = section.keys().map(String::as_str).collect();
        let public = ["available_seats", "capacity", "name", "section_id", "version"];
        assert!(public.iter().all(|name| names.contains(name)) && names.len() == 5, "{names:?}");
        assert_eq!((&section["name"], &section["available_seats"]), (&json!("A"), &json!(5)));
        assert_eq!(seen["sections"][1]["available_seats"], 5);
    }
    let answer = organizer.get(&availability).await;
    assert_eq!(answer.headers["cache-control"], "private, no-store");
    let seen = answer.expect(StatusCode::OK);
    for (at, (available, held, sold)) in [(5, 2, 3), (5, 0, 0)].into_iter().enumerate() {
        let section = &seen["sections"][at];
        assert_eq!(section["available_seats"], available);
        assert_eq!((&section["held_seats"], &section["sold_seats"]), (&json!(held), &json!(sold)));
    }
}

#[tokio::test]
async fn of_two_changes_on_condition_of_one_version_one_is_made() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(10).await;
    let read = user.get(&path(&event_id)).await;
    let etag = read.headers["etag"].to_str().expect("text").to_owned();
    let change = async |title: &str| {
        let body = json!({"title": title});
        user.send(Method::PATCH, &path(&event_id), Some(&body), &[("If-Match", &etag)]).await
    };
    let (one, two) = tokio::join!(change("One"), change("Two"));
    let (made, refused) = if one.status == StatusCode::OK { (one, two) } else { (two, one) };
    let made = made.expect(StatusCode::OK);
    refused.problem(412, "version_mismatch");
    let read = user.get(&path(&event_id)).await.expect(StatusCode::OK);
    assert_eq!((&read["title"], &read["version"]), (&made["title"], &json!(2)));
}

#[tokio::test]
async fn a_date_that_is_wrong_is_told_what_is_wrong_with_it() {
    const FORM: &str = "must be a date such as 2027-06-15, or an instant in RFC 3339";
    const INSTANT: &str = "must be an instant in RFC 3339, such as 2027-06-15T18:00:00Z";
    const CALENDAR: &str = "must be a date and time that exist in the calendar";
    const RANGE: &str =
        "must begin and end between 0001-01-01T00:00:00Z and 9999-12-31T23:59:59.999Z";
    const SKIPPED: &str = "must be a day that exists in the time zone, which skipped this one";
    let server = Server::start(&[]);
    let user = server.user().await;
    let told = |field: &str, message: &str| json!([{"field": field, "message": message}]);
    for (date, zone, message) in [
        ("15.06.2027", "UTC", FORM),
        ("2027-02-30", "UTC", CALENDAR),
        ("2027-06-15T24:30:00Z", "UTC", CALENDAR),
        ("2011-12-30", "Pacific/Apia", SKIPPED),
        ("9999-12-31", "UTC", RANGE),
        ("0000-01-01", "UTC", RANGE),
        ("12027-06-15", "UTC", RANGE),
    ] {
        let new = show(&json!({"event_date": date, "timezone": zone}));
        let problem = user.post("/events", &new).await.problem(422, "validation_failed");
        assert_eq!(problem["errors"], told("event_date", message), "{date}");
        if zone == "UTC" {
            let path = format!("/events?from={}", date.replace('+', "%2B"));
            let problem = user.get(&path).await.problem(422, "validation_failed");
            assert_eq!(problem["errors"], told("from", message), "{date}");
        }
    }
    for (at, message) in [
        ("2027-06-15", INSTANT),
        ("2027-02-30T18:00:00Z", CALENDAR),
        ("0000-06-15T18:00:00Z", RANGE),
        ("9999-12-31T23:59:59-01:00", RANGE),
    ] {
        let new = show(&json!({"sales_start": at}));
        let problem = user.post("/events", &new).await.problem(422, "validation_failed");
        assert_eq!(problem["errors"], told("sales_start", message), "{at}");
    }
    // What is wrong is the field that was sent.
    let event_id = user.event_with(&show(&json!({"event_date": "2011-12-30"}))).await;
    let path = format!("/events/{event_id}");
    let moved = json!({"timezone": "Pacific/Apia"});
    let problem = user.patch(&path, &moved).await.problem(422, "validation_failed");
    assert_eq!(problem["errors"], told("timezone", SKIPPED));
}
