//! Lists of events: pages and filters.

use crate::support::{Client, Server, show};
use reqwest::StatusCode;
use serde_json::{Value, json};

/// The titles of a page of events.
async fn titles(client: &Client, query: &str) -> Vec<String> {
    let page = client.get(&format!("/events?{query}")).await.expect(StatusCode::OK);
    let items = page["items"].as_array().expect("a list");
    items.iter().map(|event| event["title"].as_str().expect("text").to_owned()).collect()
}

async fn add(client: &Client, title: &str, changes: Value) -> String {
    let mut event = show(&changes);
    event["title"] = json!(title);
    client.event_with(&event).await
}

#[tokio::test]
async fn events_come_newest_first_page_by_page_each_once() {
    let server = Server::start(&[]);
    let user = server.user().await;
    for number in 0..5 {
        add(&user, &format!("Show {number}"), json!({})).await;
        // Ids sort by the millisecond in which they were made.
        tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    }
    let anyone = server.client();
    let (mut seen, mut query) = (Vec::new(), "/events?limit=2".to_owned());
    loop {
        let page = anyone.get(&query).await.expect(StatusCode::OK);
        let items = page["items"].as_array().expect("a list");
        assert!(items.len() <= 2);
        seen.extend(items.iter().map(|event| event["title"].clone()));
        assert!(seen.len() <= 5, "{seen:?}");
        let Some(next) = page["next"].as_str() else { break };
        query = format!("/events?limit=2&after={next}");
    }
    assert_eq!(seen, ["Show 4", "Show 3", "Show 2", "Show 1", "Show 0"]);
    let whole = anyone.get("/events").await.expect(StatusCode::OK);
    assert_eq!((whole["items"].as_array().map(Vec::len), &whole["next"]), (Some(5), &Value::Null));
    let event = &whole["items"][0];
    let path = format!("/events/{}", event["event_id"].as_str().expect("an id"));
    let mut read = anyone.get(&path).await.expect(StatusCode::OK);
    let read = read.as_object_mut().expect("an event");
    read.remove("sections").expect("an event that is read is whole");
    for (name, value) in read {
        assert_eq!(event[name.as_str()], *value, "an item has all else: {name}");
    }
}

#[tokio::test]
async fn a_listed_event_has_sums_in_the_place_of_its_sections() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let sections = json!([
        {"name": "Floor", "capacity": 10, "price": 4500, "currency": "EUR"},
        {"name": "Box", "currency": "EUR", "layout": {
            "categories": [{"name": "Front", "price": 9900}, {"name": "Rear", "price": 5000}],
            "rows": [{"label": "1", "seats": [
                {"number": "1", "x": 0, "y": 0, "category": "Front"},
                {"number": "2", "x": 50, "y": 0, "category": "Rear"}]}]}},
        {"name": "Door", "capacity": 5, "price": 1500, "currency": "EUR"},
    ]);
    let show = show(&json!({
        "sections": sections, "venue": "Hall", "event_date": "2099-06-15", "timezone": "Asia/Tokyo",
    }));
    let event_id = user.event_with(&show).await;
    for section in ["Floor", "Box"] {
        let hold = json!({"event_id": event_id, "section_id": section, "seats_requested": 1});
        user.post("/bookings/hold", &hold).await.expect(StatusCode::CREATED);
    }
    let page = server.client().get("/events").await.expect(StatusCode::OK);
    let card = &page["items"][0];
    assert!(card.get("sections").is_none(), "{card:#}");
    for (name, expected) in [
        ("event_id", json!(event_id)),
        ("venue", json!("Hall")),
        ("event_date", json!("2099-06-15")),
        ("starts_at", json!("2099-06-14T15:00:00.000Z")),
        ("status", json!("on_sale")),
        ("price_from", json!(1_500)),
        ("price_to", json!(9_900)),
        ("currency", json!("EUR")),
        ("capacity", json!(17)),
        ("available_seats", json!(15)),
        ("version", json!(1)),
    ] {
        assert_eq!(card[name], expected, "{name}");
    }
    assert!(card["organizer_id"].is_string() && card["created_at"].is_string(), "{card:#}");
}

/// All items of a list by pages of at most 100, with how many each page has; no page is larger than it
/// may be, and each item is there once.
async fn paged(client: &Client, list: &str, id: &str) -> Vec<usize> {
    const PAGE_BYTES_MAX: usize = 512 * 1024;
    let (mut sizes, mut seen, mut after) = (Vec::new(), Vec::new(), String::new());
    loop {
        let page = client.get(&format!("{list}?limit=100{after}")).await.expect(StatusCode::OK);
        let items = page["items"].as_array().expect("a list");
        assert!(
            !items.is_empty() && page.to_string().len() <= PAGE_BYTES_MAX + 100 || items.len() == 1
        );
        sizes.push(items.len());
        seen.extend(items.iter().map(|item| item[id].as_str().expect("an id").to_owned()));
        match page["next"].as_str() {
            Some(next) => {
                assert_eq!(Some(next), seen.last().map(String::as_str));
                after = format!("&after={next}");
            }
            None => break,
        }
    }
    assert!(seen.is_sorted_by(|one, other| one > other), "newest first, each once");
    sizes
}

#[tokio::test]
async fn a_page_ends_by_its_size_as_well_and_the_next_goes_on_behind_it() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let description = "🎹".repeat(5_000);
    for _ in 0..30 {
        add(&user, "Long", json!({"description": description})).await;
    }
    assert_eq!(paged(&user, "/events", "event_id").await, [25, 5]);

    // A booking of 2,000 seats with long names has them twice: some 150 kB.
    let row = |row: u32| {
        let seat =
            |n: u32| json!({"number": n.to_string(), "x": n * 50, "y": row, "category": "A"});
        json!({"label": format!("{row:032}"), "seats": (1..=1_000).map(seat).collect::<Vec<_>>()})
    };
    let rows: Vec<_> = (1..=14).map(row).collect();
    let layout = json!({"categories": [{"name": "A", "price": 1}], "rows": rows});
    let hall = show(&json!({
        "sections": [{"name": "A", "layout": layout}], "max_seats_per_booking": 2_000,
    }));
    let made = user.post("/events", &hall).await;
    let event_id = made.expect(StatusCode::CREATED)["event_id"].as_str().expect("an id").to_owned();
    for number in 0..7 {
        let seat = |row: u32, n: u32| format!("{row:032}-{n}");
        let rows = [2 * number + 1, 2 * number + 2];
        let seats = rows.iter().flat_map(|row| (1..=1_000).map(|n| seat(*row, n)));
        let seats: Vec<_> = seats.collect();
        let hold = json!({"event_id": event_id, "section_id": "A", "seats": seats});
        user.post("/bookings/hold", &hold).await.expect(StatusCode::CREATED);
    }
    let pages = paged(&user, "/bookings", "booking_id").await;
    assert!(pages.len() > 1 && pages.iter().sum::<usize>() == 7, "{pages:?}");
    let of_event = format!("/events/{event_id}/bookings");
    assert_eq!(paged(&user, &of_event, "booking_id").await, pages);
    // What is the caller's own is told whole.
    let status = format!("/events/{event_id}/sections/A/seats/status");
    let status = user.get(&status).await.expect(StatusCode::OK);
    assert_eq!(status["yours"].as_array().map(Vec::len), Some(14_000));
}

#[tokio::test]
async fn a_page_has_20_items_unless_asked_for_1_to_100() {
    let server = Server::start(&[]);
    let user = server.user().await;
    for number in 0..21 {
        add(&user, &format!("Show {number}"), json!({})).await;
    }
    for (query, items, more) in
        [("", 20, true), ("limit=", 20, true), ("limit=100", 21, false), ("limit=1", 1, true)]
    {
        let page = user.get(&format!("/events?{query}")).await.expect(StatusCode::OK);
        assert_eq!(page["items"].as_array().map(Vec::len), Some(items), "{query}");
        assert_eq!(page["next"].is_string(), more, "{query}");
    }
}

#[tokio::test]
async fn events_are_filtered_by_status_title_time_and_organizer() {
    let server = Server::start(&[]);
    let (ann, bob) = (server.user().await, server.user().await);
    add(&ann, "Über Past", json!({"event_date": "2020-01-01"})).await;
    add(&ann, "Summer", json!({"event_date": "2099-06-15", "timezone": "Asia/Tokyo"})).await;
    add(&ann, "100% Winter", json!({"event_date": "2099-12-01T20:00:00Z", "status": "closed"}))
        .await;
    add(&ann, "Ann's Draft", json!({"status": "draft"})).await;
    let off = add(&bob, "Called off", json!({})).await;
    bob.post_empty(&format!("/events/{off}/cancel")).await.expect(StatusCode::OK);
    let anyone = server.client();
    for (query, expected) in [
        ("status=on_sale", vec!["Summer", "Über Past"]),
        ("status=closed", vec!["100% Winter"]),
        ("status=cancelled", vec!["Called off"]),
        ("status=draft", vec![]),
        ("status=", vec!["Called off", "100% Winter", "Summer", "Über Past"]),
        ("q=WINTER", vec!["100% Winter"]),
        ("q=%C3%BCBER", vec!["Über Past"]),
        ("q=%25", vec!["100% Winter"]),
        ("q=_", vec![]),
        ("q=%27", vec![]),
        ("q=er", vec!["100% Winter", "Summer", "Über Past"]),
        ("q=er&status=on_sale", vec!["Summer", "Über Past"]),
        ("from=2099-01-01&to=2099-12-31", vec!["Called off", "100% Winter", "Summer"]),
        ("from=2099-12-01T20:00:00Z", vec![]),
        ("from=2099-12-01T19:59:59Z", vec!["100% Winter"]),
        ("to=2020-01-01", vec![]),
        ("to=2020-01-01T00:00:00.001Z", vec!["Über Past"]),
        // The day is over in Tokyo nine hours before it is in UTC.
        ("from=2099-06-15T15:00:00Z&q=summer", vec![]),
        ("from=2099-06-15T14:59:59Z&q=summer", vec!["Summer"]),
    ] {
        assert_eq!(titles(&anyone, query).await, expected, "{query}");
    }
    assert_eq!(titles(&ann, "status=draft").await, ["Ann's Draft"]);
    assert_eq!(titles(&bob, "status=draft").await, [""; 0]);
    assert_eq!(titles(&bob, "organizer=me").await, ["Called off"]);
    assert_eq!(titles(&ann, "organizer=me&status=closed").await, ["100% Winter"]);
    anyone.get("/events?organizer=me").await.problem(401, "unauthorized");
}

#[tokio::test]
async fn a_parameter_that_cannot_be_read_is_named() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(1).await;
    let long = format!("q={}", "x".repeat(201));
    let lists = ["/events", "/bookings", &format!("/events/{event_id}/bookings")];
    let everywhere = ["limit=0", "limit=101", "limit=-1", "limit=x", "limit=1.5", "after=x"];
    let more = ["status=x", "status=%00", "limit=99999999999999999999", "limit=1%0A"];
    for list in lists {
        for query in everywhere.iter().chain(&more) {
            let answer = user.get(&format!("{list}?{query}")).await;
            let problem = answer.problem(422, "validation_failed");
            let name = query.split('=').next();
            assert_eq!(problem["errors"][0]["field"].as_str(), name, "{list}?{query}");
        }
    }
    for query in ["from=x", "to=2099-13-01", "organizer=ann", "q=%00", &long, "to=%E2%88%9E"] {
        let problem = user.get(&format!("/events?{query}")).await.problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["field"].as_str(), query.split('=').next(), "{query}");
    }
    let problem = user.get("/bookings?event_id=x").await.problem(422, "validation_failed");
    assert_eq!(problem["errors"][0]["field"], "event_id");
}

#[tokio::test]
async fn the_organizer_pages_through_the_bookings_of_an_event() {
    let server = Server::start(&[("HOLD_TTL_SECONDS", "1")]);
    let (organizer, ann, bob) = (server.user().await, server.user().await, server.user().await);
    let event_id = organizer.event(10).await;
    let other_event = organizer.event(10).await;
    let sold = ann.held(&event_id, 1).await;
    ann.step(&sold, "confirm").await.expect(StatusCode::OK);
    let released = bob.held(&event_id, 2).await;
    bob.step(&released, "cancel").await.expect(StatusCode::OK);
    let expired = bob.held(&event_id, 3).await;
    ann.held(&other_event, 1).await;
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let held = ann.held(&event_id, 4).await;

    let list = async |query: &str| {
        let path = format!("/events/{event_id}/bookings?{query}");
        organizer.get(&path).await.expect(StatusCode::OK)
    };
    let ids = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().expect("a list");
        items.iter().map(|it| it["booking_id"].as_str().expect("an id").to_owned()).collect()
    };
    let mut all = [&sold, &released, &expired, &held].map(Clone::clone);
    all.sort_unstable_by(|one, other| other.cmp(one));
    let page = list("").await;
    assert_eq!(ids(&page), all);
    assert_eq!(page["next"], Value::Null);
    for (status, booking_id) in
        [("CONFIRMED", &sold), ("CANCELLED", &released), ("EXPIRED", &expired), ("HOLD", &held)]
    {
        let page = list(&format!("status={status}")).await;
        assert_eq!(ids(&page), std::slice::from_ref(booking_id), "{status}");
        assert_eq!(page["items"][0]["status"], status);
    }
    let first = list("limit=3").await;
    let after = first["next"].as_str().expect("a cursor");
    let second = list(&format!("limit=3&after={after}")).await;
    assert_eq!([ids(&first), ids(&second)].concat(), all);
    assert_eq!(second["next"], Value::Null);
}
