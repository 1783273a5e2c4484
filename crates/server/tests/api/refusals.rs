//! Why seats are not held: every reason with its code, its members, and its place in the order.

use crate::support::{Server, hold_body, show};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

#[tokio::test]
async fn what_does_not_exist_cannot_be_held() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let (event_id, other) = (user.event(5).await, user.event(5).await);
    let booking_id = user.held(&event_id, 1).await;
    let section_of = async |event_id: &str| {
        let event = user.get(&format!("/events/{event_id}")).await.expect(StatusCode::OK);
        event["sections"][0]["section_id"].as_str().expect("an id").to_owned()
    };
    let (section_id, foreign) = (section_of(&event_id).await, section_of(&other).await);
    let unknown = "01234567-0123-8000-8000-0123456789ab";
    for (event, section) in [
        ("nonsense", "A"),
        ("", "A"),
        (unknown, "A"),
        ("00000000-0000-0000-0000-000000000000", "A"),
        (&booking_id, "A"),
        (&section_id, "A"),
        (&event_id.replace('-', ""), "A"),
        (&format!("{{{event_id}}}"), "A"),
        (&event_id, ""),
        (&event_id, "B"),
        (&event_id, "A "),
        (&event_id, unknown),
        (&event_id, &event_id),
        (&event_id, &foreign),
        (&event_id, "A\0"),
        (&event_id, &"x".repeat(10_000)),
    ] {
        let hold = json!({"event_id": event, "section_id": section, "seats_requested": 1});
        user.post("/bookings/hold", &hold).await.problem(404, "not_found");
    }
    for path in [unknown, "nonsense", "x%00", "%ff", &event_id, &section_id, &"x".repeat(5_000)] {
        user.get(&format!("/bookings/{path}")).await.problem(404, "not_found");
        for step in ["confirm", "extend", "cancel"] {
            user.post_empty(&format!("/bookings/{path}/{step}")).await.problem(404, "not_found");
        }
    }
    for path in [unknown, "nonsense", "x%00", "%ff", &booking_id] {
        user.get(&format!("/events/{path}")).await.problem(404, "not_found");
        user.get(&format!("/events/{path}/availability")).await.problem(404, "not_found");
        user.get(&format!("/events/{path}/bookings")).await.problem(404, "not_found");
        user.patch(&format!("/events/{path}"), &json!({})).await.problem(404, "not_found");
        user.post_empty(&format!("/events/{path}/cancel")).await.problem(404, "not_found");
        let section = json!({"name": "B", "capacity": 1});
        let added = user.post(&format!("/events/{path}/sections"), &section).await;
        added.problem(404, "not_found");
        let changed = user.patch(&format!("/events/{path}/sections/A"), &json!({})).await;
        changed.problem(404, "not_found");
    }
    assert_eq!(user.seats(&event_id).await, (4, 1, 0));
}

#[tokio::test]
async fn a_section_without_enough_seats_is_sold_out_and_says_how_many_are_left() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(5).await;
    user.held(&event_id, 3).await;
    for (seats, status) in [(3, 409), (2, 201), (1, 409)] {
        let available = user.seats(&event_id).await.0;
        let answer = user.hold(&event_id, seats).await;
        assert_eq!(answer.status, status);
        if status == 409 {
            let refused = answer.problem(409, "sold_out");
            assert_eq!(refused["available"], available);
            assert_eq!(refused["requested"], seats);
            assert_eq!(refused["retryable"], false);
        }
    }
    assert_eq!(user.seats(&event_id).await, (0, 5, 0));
}

#[tokio::test]
async fn one_booking_has_as_many_seats_as_the_event_or_the_configuration_allows() {
    let server = Server::start(&[("MAX_SEATS_PER_BOOKING", "4")]);
    let user = server.user().await;
    let event_id = user.event(100).await;
    user.held(&event_id, 4).await;
    let refused = user.hold(&event_id, 5).await.problem(409, "too_many_seats");
    assert_eq!(refused["limit"], 4);
    let sections = json!([{"name": "A", "capacity": 100}]);
    let own = json!({"max_seats_per_booking": 6, "sections": sections});
    let event_id = user.event_with(&show(&own)).await;
    user.held(&event_id, 6).await;
    let refused = user.hold(&event_id, 7).await.problem(409, "too_many_seats");
    assert_eq!(refused["limit"], 6);
}

#[tokio::test]
async fn what_the_server_does_not_select_is_told_by_what_it_would() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let layout = json!({"rows": "A-C", "seats_per_row": 40});
    let hall = json!({"name": "Hall", "price": 1, "layout": layout});
    let own = json!({"max_seats_per_booking": 1_000, "sections": [hall]});
    let event_id = user.event_with(&show(&own)).await;
    let ask = async |fields: Value| {
        let mut body = json!({"event_id": event_id});
        body.as_object_mut().expect("an object").extend(fields.as_object().expect("one").clone());
        user.post("/bookings/hold", &body).await
    };
    let many = ask(json!({"section_id": "Hall", "seats_requested": 51})).await;
    let many = many.problem(409, "too_many_seats");
    let detail = many["detail"].as_str().unwrap_or_default();
    assert_eq!(many["limit"], 50);
    assert!(detail.starts_with("At most 50 numbered seats are selected at once"), "{detail}");
    let named: Vec<_> =
        (0..51).map(|at| format!("{}-{}", ["A", "B"][at / 40], at % 40 + 1)).collect();
    ask(json!({"section_id": "Hall", "seats": named})).await.expect(StatusCode::CREATED);
    let pair = json!({"number": 2, "accessible": 1, "sections": ["Hall"]});
    let refused = ask(json!({"best_available": pair})).await.problem(409, "sold_out");
    let told = ["available", "requested", "accessible"].map(|name| &refused[name]);
    assert_eq!(told, [&json!(0), &json!(1), &json!(true)]);
    assert_eq!(refused["detail"], "1 accessible seats were requested; 0 are available.");
    let tin = json!({"number": 1, "categories": ["Tin"]});
    ask(json!({"best_available": tin})).await.problem(404, "not_found");
    // Three seats with an aisle after each: both of a party would sit alone.
    let apart = json!({"rows": "A", "seats_per_row": 3, "aisles_after": [1, 2]});
    let hall = json!({"name": "A", "price": 1, "layout": apart});
    let event_id = user.event_with(&show(&json!({"sections": [hall]}))).await;
    let pair = user.hold(&event_id, 2).await.problem(409, "not_together");
    assert_eq!(pair["detail"], "2 seats were requested; somebody would have to sit alone.");
}

#[tokio::test]
async fn one_buyer_has_as_many_live_seats_as_the_event_or_the_configuration_allows() {
    let server = Server::start(&[("MAX_SEATS_PER_USER", "5")]);
    let (ann, bob) = (server.user().await, server.user().await);
    let sections = json!([{"name": "A", "capacity": 50}, {"name": "B", "capacity": 50}]);
    let event_id = ann.event_with(&show(&json!({"sections": sections}))).await;
    let sold = ann.held(&event_id, 2).await;
    ann.step(&sold, "confirm").await.expect(StatusCode::OK);
    let mut elsewhere = hold_body(&event_id, 1);
    elsewhere["section_id"] = json!("B");
    let held = ann.post("/bookings/hold", &elsewhere).await.expect(StatusCode::CREATED);
    let refused = ann.hold(&event_id, 3).await.problem(409, "buyer_limit");
    assert_eq!((&refused["limit"], &refused["remaining"]), (&json!(5), &json!(2)));
    ann.held(&event_id, 2).await;
    let refused = ann.hold(&event_id, 1).await.problem(409, "buyer_limit");
    assert_eq!(refused["remaining"], 0);
    bob.held(&event_id, 5).await;
    // What is given back counts no more.
    ann.step(held["booking_id"].as_str().expect("an id"), "cancel").await.expect(StatusCode::OK);
    ann.held(&event_id, 1).await;

    let event_id = ann.event_with(&show(&json!({"max_seats_per_user": 1}))).await;
    ann.held(&event_id, 1).await;
    let refused = ann.hold(&event_id, 1).await.problem(409, "buyer_limit");
    assert_eq!((&refused["limit"], &refused["remaining"]), (&json!(1), &json!(0)));
}

#[tokio::test]
async fn a_cap_that_was_lowered_is_told_with_what_is_held() {
    let server = Server::start(&[]);
    let (organizer, buyer) = (server.user().await, server.user().await);
    for (cap, code, detail, remaining) in [
        (
            "max_seats_per_booking",
            "too_many_seats",
            "A booking can have at most 2 seats, or the 4 that it already has.",
            json!(null),
        ),
        (
            "max_seats_per_user",
            "buyer_limit",
            "A buyer can have at most 2 seats at this event; you have 4 and can hold 0 more.",
            json!(0),
        ),
    ] {
        let event_id = organizer.event(100).await;
        let held = buyer.held(&event_id, 4).await;
        let (event, path) = (format!("/events/{event_id}"), format!("/bookings/{held}"));
        let lower = json!({cap: 2});
        organizer.send(Method::PATCH, &event, Some(&lower), &[]).await.expect(StatusCode::OK);
        let set = async |seats: u32| {
            let body = json!({"items": [{"section_id": "A", "seats_requested": seats}]});
            buyer.send(Method::PATCH, &path, Some(&body), &[]).await
        };
        let refused = set(5).await.problem(409, code);
        assert_eq!(refused["detail"], detail);
        assert_eq!((&refused["limit"], &refused["current"]), (&json!(2), &json!(4)));
        assert_eq!(refused["remaining"], remaining);
        for seats in [4, 3, 1] {
            assert_eq!(set(seats).await.expect(StatusCode::OK)["seats_requested"], seats);
        }
        buyer.step(&held, "confirm").await.expect(StatusCode::OK);
    }
}

#[tokio::test]
async fn nothing_is_sold_outside_of_the_sale_or_after_the_event() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let hold = async |changes: Value| {
        let event_id = user.event_with(&show(&changes)).await;
        let refused = user.hold(&event_id, 1).await;
        assert_eq!(user.seats(&event_id).await, (10, 0, 0));
        refused
    };
    let early = hold(json!({"sales_start": "2098-01-01T00:00:00+01:00"})).await;
    let early = early.problem(409, "sale_not_open");
    assert_eq!(early["sales_start"], "2097-12-31T23:00:00.000Z");
    hold(json!({"sales_end": "2020-01-01T00:00:00Z"})).await.problem(409, "sale_closed");
    hold(json!({"status": "closed"})).await.problem(409, "sale_closed");
    for date in ["2020-01-01", "2020-01-01T20:00:00Z", "0001-01-02"] {
        hold(json!({"event_date": date})).await.problem(409, "event_over");
    }
    let window =
        json!({"sales_start": "2020-01-01T00:00:00Z", "sales_end": "2098-01-01T00:00:00Z"});
    let event_id = user.event_with(&show(&window)).await;
    user.held(&event_id, 1).await;
}

#[tokio::test]
async fn a_sale_that_closes_still_confirms_what_is_held() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(10).await;
    let (one, two) = (user.held(&event_id, 1).await, user.held(&event_id, 1).await);
    let path = format!("/events/{event_id}");
    user.patch(&path, &json!({"status": "closed"})).await.expect(StatusCode::OK);
    user.hold(&event_id, 1).await.problem(409, "sale_closed");
    user.step(&one, "confirm").await.expect(StatusCode::OK);
    let over = json!({"status": "on_sale", "event_date": "2020-01-01"});
    user.patch(&path, &over).await.expect(StatusCode::OK);
    user.hold(&event_id, 1).await.problem(409, "event_over");
    user.step(&two, "confirm").await.expect(StatusCode::OK);
    assert_eq!(user.seats(&event_id).await, (8, 0, 2));
}

#[tokio::test]
async fn of_several_reasons_the_first_in_the_order_is_told() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let all = json!({
        "event_date": "2020-01-01",
        "sales_start": "2098-01-01T00:00:00Z",
        "max_seats_per_booking": 2,
        "max_seats_per_user": 1,
    });
    let event_id = user.event_with(&show(&all)).await;
    let path = format!("/events/{event_id}");
    let next = async |change: Value| {
        user.patch(&path, &change).await.expect(StatusCode::OK);
        // The gate knows the counters only, and may refuse for lack of seats before the store looks.
        user.hold(&event_id, 9).await
    };
    next(json!({})).await.problem(409, "sale_not_open");
    let change = json!({"sales_start": null, "sales_end": "2020-01-01T00:00:00Z"});
    next(change).await.problem(409, "sale_closed");
    next(json!({"sales_end": null})).await.problem(409, "event_over");
    next(json!({"event_date": "2099-01-01"})).await.problem(409, "too_many_seats");
    next(json!({"max_seats_per_booking": null})).await.problem(409, "buyer_limit");
    next(json!({"max_seats_per_user": null})).await.expect(StatusCode::CREATED);
    let refused = user.hold(&event_id, 9).await.problem(409, "sold_out");
    assert_eq!((&refused["available"], &refused["requested"]), (&json!(1), &json!(9)));
    user.post_empty(&format!("{path}/cancel")).await.expect(StatusCode::OK);
    user.hold(&event_id, 1).await.problem(409, "event_cancelled");
}
