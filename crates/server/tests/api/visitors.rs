//! Visitors: buyers without an account, what they may do, and how they come back with a booking token.

use super::organizations::{SECRET, foreign};
use crate::support::{Answer, Client, Server, eventually, hold_body};
use jsonwebtoken::{EncodingKey, Header};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const CREATED: StatusCode = StatusCode::CREATED;
const OK: StatusCode = StatusCode::OK;
const ON: (&str, &str) = ("RATE_LIMIT_ENABLED", "true");
const UNKNOWN: &str = "01990000-0000-8000-8000-000000000000";

/// The client of the visitor whom an answer describes.
#[track_caller]
fn known(server: &Server, answer: Answer) -> Client {
    assert_eq!(answer.headers["cache-control"], "no-store");
    let visitor = answer.expect(CREATED);
    let text = |name: &str| visitor[name].as_str().expect("text").to_owned();
    assert_eq!((&visitor["token_type"], &visitor["expires_in"]), (&json!("Bearer"), &json!(7_200)));
    let mut client = server.client().with_token(&text("access_token"));
    client.user_id = Some(text("visitor_id"));
    client
}

/// A new visitor.
pub(super) async fn visitor(server: &Server) -> Client {
    known(server, server.client().post_empty("/visitors").await)
}

/// What a booking token is exchanged for.
pub(super) async fn exchanged(client: &Client, booking_id: &str, token: &str) -> Answer {
    client.post("/visitors", &json!({"booking_id": booking_id, "booking_token": token})).await
}

fn text<'a>(of: &'a Value, name: &str) -> &'a str {
    of[name].as_str().unwrap_or_else(|| panic!("{name} in {of:#}"))
}

#[tokio::test]
async fn a_visitor_buys_from_the_hold_to_the_cancellation() {
    let server = Server::start(&[]);
    let organizer = server.user().await;
    let event = organizer.event(10).await;
    let buyer = visitor(&server).await;
    let other = known(&server, server.client().post("/visitors", &json!({})).await);
    assert_ne!(buyer.user_id, other.user_id);
    buyer.get(&format!("/events/{event}")).await.expect(OK);
    buyer.get(&format!("/events/{event}/availability")).await.expect(OK);
    assert_eq!(buyer.all("/events").await.len(), 1);
    assert!(buyer.all("/events?organizer=me").await.is_empty());

    let held = buyer.hold_with_key(&event, 2, "k").await.expect(CREATED);
    assert_eq!(held["user_id"], json!(buyer.user_id));
    let (booking, token) = (text(&held, "booking_id"), text(&held, "booking_token"));
    assert_eq!(token.len(), 43);
    let again = buyer.hold_with_key(&event, 2, "k").await;
    assert!(again.is_replayed());
    assert_eq!(again.body["booking_token"], json!(token));

    let path = format!("/bookings/{booking}");
    let read = buyer.get(&path).await.expect(OK);
    assert_eq!((text(&read, "booking_token"), &read["status"]), (token, &json!("HOLD")));
    let three = json!({"items": [{"section_id": "A", "seats_requested": 3}]});
    assert_eq!(buyer.patch(&path, &three).await.expect(OK)["seats_requested"], 3);
    buyer.step(booking, "extend").await.expect(OK);
    for client in [&other, &organizer.sign_up().await] {
        client.get(&path).await.problem(404, "not_found");
        for step in ["confirm", "extend", "cancel"] {
            client.step(booking, step).await.problem(404, "not_found");
        }
        assert!(client.all("/bookings").await.is_empty());
    }
    let confirmed = buyer.step(booking, "confirm").await.expect(OK);
    assert_eq!(confirmed["status"], "CONFIRMED");
    let mine = buyer.all("/bookings?status=CONFIRMED").await;
    assert_eq!((mine.len(), &mine[0]["booking_id"]), (1, &json!(booking)));
    assert_eq!(buyer.step(booking, "cancel").await.short(), "409 not_cancellable");
    // Others who may read the booking are not shown its token.
    let seen = organizer.get(&path).await.expect(OK);
    assert!(seen.get("booking_token").is_none(), "{seen:#}");
    let hold = buyer.held(&event, 1).await;
    assert_eq!(buyer.step(&hold, "cancel").await.expect(OK)["status"], "CANCELLED");
    assert_eq!(organizer.seats(&event).await, (7, 0, 3));
    let plain = organizer.sign_up().await.hold(&event, 1).await.expect(CREATED);
    assert!(plain.get("booking_token").is_none(), "an account needs none: {plain:#}");
    server.audit();
}

/// By the document: each call says whether it needs an account, and does as it says.
#[tokio::test]
async fn every_call_that_needs_an_account_says_so_to_a_visitor_and_no_other_does() {
    let server = Server::start(&[]);
    let document = server.client().outside().get("/openapi.json").await.expect(OK);
    let buyer = visitor(&server).await;
    let (mut refused, mut open) = (Vec::new(), Vec::new());
    let paths = document["paths"].as_object().expect("paths");
    for (path, item) in paths.iter().filter(|(path, _)| path.starts_with("/api/v1")) {
        for (method, operation) in item.as_object().expect("operations") {
            let Some(security) = operation["security"].as_array() else { continue };
            let says = operation["responses"]["403"]["description"].as_str().unwrap_or_default();
            let call = text(operation, "operationId").to_owned();
            let target = path.trim_start_matches("/api/v1");
            let target: String = target
                .split('/')
                .map(|part| if part.starts_with('{') { UNKNOWN } else { part })
                .collect::<Vec<_>>()
                .join("/");
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
            let answer = buyer.send(method, &target, Some(&json!({})), &[]).await;
            let is_refused = answer.is(403, "account_required");
            // To sell, and to list what customers have, which this one does not ask for.
            let may_sell = ["create_hold", "list_bookings"].contains(&&*call);
            let needs_account = says.contains("`account_required`") && !may_sell;
            assert_eq!(is_refused, needs_account, "{call}: {}", answer.short());
            assert_ne!(answer.status, StatusCode::UNAUTHORIZED, "{call}");
            assert!(!is_refused || !security.contains(&json!({})), "{call} needs no token");
            let list = if is_refused { &mut refused } else { &mut open };
            list.push(call);
        }
    }
    open.sort_unstable();
    let expected = [
        "cancel_booking",
        "confirm_booking",
        "confirm_booking_by_patch",
        "create_hold",
        "extend_booking",
        "get_availability",
        "get_booking",
        "get_drawing",
        "get_event",
        "get_seats_status",
        "get_section",
        "list_bookings",
        "list_events",
        "update_booking",
    ];
    let missing: Vec<_> = open.iter().filter(|call| !expected.contains(&call.as_str())).collect();
    assert!(missing.is_empty(), "open to visitors, and nobody has said so: {missing:?}");
    for call in [
        "logout_all",
        "change_password",
        "create_event",
        "create_organization",
        "accept_invitation",
    ] {
        assert!(refused.iter().any(|it| it == call), "{call} is refused: {refused:?}");
    }
}

#[tokio::test]
async fn a_visitor_does_not_sell() {
    let server = Server::start(&[]);
    let event = server.user().await.event(10).await;
    let buyer = visitor(&server).await;
    let mut hold = hold_body(&event, 1);
    for customer in [json!({}), json!({"ref": "cust-1"}), json!({"user_id": UNKNOWN})] {
        hold["buyer"] = customer;
        buyer.post("/bookings/hold", &hold).await.problem(403, "account_required");
    }
}

#[tokio::test]
async fn a_booking_token_leads_back_to_the_booking() {
    let server = Server::start(&[]);
    let event = server.user().await.event(10).await;
    let buyer = visitor(&server).await;
    let held = buyer.hold(&event, 2).await.expect(CREATED);
    let (booking, token) = (text(&held, "booking_id"), text(&held, "booking_token"));
    let back = known(&server, exchanged(&server.client(), booking, token).await);
    assert_eq!(back.user_id, buyer.user_id);
    let read = back.get(&format!("/bookings/{booking}")).await.expect(OK);
    assert_eq!(read["booking_token"], json!(token));
    assert_eq!(back.step(booking, "confirm").await.expect(OK)["status"], "CONFIRMED");
    back.get("/users/me").await.problem(403, "account_required");
    // It is good for as long as the booking is there.
    known(&server, exchanged(&server.client(), booking, token).await);
}

#[tokio::test]
async fn wrong_booking_tokens_are_refused_alike() {
    let server = Server::start(&[("SECRET_KEY", SECRET)]);
    let user = server.user().await;
    let event = user.event(10).await;
    let held = visitor(&server).await.hold(&event, 1).await.expect(CREATED);
    let (booking, token) = (text(&held, "booking_id"), text(&held, "booking_token"));
    let other = visitor(&server).await.hold(&event, 1).await.expect(CREATED);
    let users = user.held(&event, 1).await;
    let changed = format!("{}{}", if token.starts_with('A') { "B" } else { "A" }, &token[1..]);
    let client = server.client();
    let mut seen = Vec::new();
    for (id, token) in [
        (booking, changed.as_str()),
        (booking, text(&other, "booking_token")),
        (booking, &token[..42]),
        (booking, ""),
        (booking, "no base64!"),
        (UNKNOWN, token),
        (users.as_str(), token),
    ] {
        let answer = exchanged(&client, id, token).await;
        let mut headers: Vec<_> = answer.headers.keys().map(ToString::to_string).collect();
        headers.sort_unstable();
        let mut problem = answer.problem(401, "invalid_token");
        problem.as_object_mut().expect("an object").remove("request_id");
        seen.push((headers, problem));
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:#?}");
    exchanged(&client, booking, token).await.expect(CREATED);
    let log = server.log().join("\n");
    assert!(!log.contains(token), "{log}");
}

/// Of a booking of a user nobody is shown a token. If there were one, it would open no account.
#[tokio::test]
async fn no_booking_token_opens_the_account_of_a_user() {
    let server = Server::start(&[("SECRET_KEY", SECRET)]);
    let event = server.user().await.event(10).await;
    let user = server.user().await;
    // A visitor with the id of the user, whom we would never let in: so there is a token.
    let claims =
        json!({"sub": user.user_id, "iat": 1, "exp": 4_102_444_800_i64, "jti": "x", "k": "v"});
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let claims = jsonwebtoken::encode(&Header::default(), &claims, &key).expect("signs");
    let held = server.client().with_token(&claims).hold(&event, 1).await.expect(CREATED);
    assert_eq!(held["user_id"], json!(user.user_id));
    let (booking, token) = (text(&held, "booking_id"), text(&held, "booking_token"));
    exchanged(&server.client(), booking, token).await.problem(401, "invalid_token");
}

#[tokio::test]
async fn bad_input_is_refused_by_its_field() {
    let server = Server::start(&[]);
    let client = server.client();
    for (body, field) in [
        (json!({"booking_id": UNKNOWN}), "booking_token"),
        (json!({"booking_token": "x"}), "booking_id"),
        (json!({"booking_id": "x", "booking_token": "x"}), "booking_id"),
        (json!({"booking_id": UNKNOWN, "booking_token": "x".repeat(201)}), "booking_token"),
        (json!({"booking_id": null, "booking_token": "x"}), "booking_id"),
        (json!({"booking_id": 1, "booking_token": "x"}), "booking_id"),
        (json!({"booking_id": UNKNOWN, "booking_token": ["x"]}), "booking_token"),
        (json!({"visitor_id": UNKNOWN}), "visitor_id"),
        (json!([]), "body"),
        (json!(null), "body"),
    ] {
        let problem = client.post("/visitors", &body).await.problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["field"], field, "{body}: {problem:#}");
    }
    let form = [("Content-Type", "text/plain")];
    let answer = client.send_bytes(Method::POST, "/visitors", "{}", &form).await;
    answer.problem(415, "unsupported_media_type");
    let json = [("Content-Type", "application/json")];
    let answer = client.send_bytes(Method::POST, "/visitors", "{", &json).await;
    answer.problem(400, "malformed_json");
    client.get("/visitors").await.problem(405, "method_not_allowed");
}

#[tokio::test]
async fn new_visitors_and_wrong_tokens_are_limited_by_address() {
    let server = Server::start(&[ON, ("RATE_LIMIT_VISITORS_PER_MINUTE", "3")]);
    for _ in 0..3 {
        visitor(&server).await;
    }
    server.client().post_empty("/visitors").await.problem(429, "rate_limited");
    server.client().get("/events").await.expect(OK);

    let server = Server::start(&[ON, ("RATE_LIMIT_VISITORS_PER_MINUTE", "1000")]);
    let event = server.user().await.event(10).await;
    let held = visitor(&server).await.hold(&event, 1).await.expect(CREATED);
    let (booking, token) = (text(&held, "booking_id"), text(&held, "booking_token"));
    for _ in 0..25 {
        exchanged(&server.client(), booking, token).await.expect(CREATED);
    }
    // Over the end of a minute there may be twice as many.
    let mut wrong = 0;
    eventually("wrong tokens are refused unread", async || {
        let answer = exchanged(&server.client(), booking, "wrong").await;
        wrong += usize::from(answer.is(401, "invalid_token"));
        answer.is(429, "rate_limited")
    })
    .await;
    assert!((20..=40).contains(&wrong), "{wrong}");
    visitor(&server).await;
}

#[tokio::test]
async fn visitors_of_one_address_share_its_limit() {
    let server = Server::start(&[ON, ("RATE_LIMIT_REQUESTS_PER_SECOND", "5")]);
    let visitors = [visitor(&server).await, visitor(&server).await, visitor(&server).await];
    let user = server.user().await;
    let mut limited = 0;
    for number in 0..30 {
        limited += usize::from(visitors[number % 3].get("/bookings").await.status == 429);
    }
    assert!(limited > 0, "30 requests of three visitors at one address");
    // A user at the same address counts alone.
    user.get("/bookings").await.expect(OK);
}

/// What a refusal for hoarding says.
#[track_caller]
fn hoards(answer: Answer, limit: u32) {
    let wait: u64 = answer.headers["retry-after"].to_str().expect("text").parse().expect("seconds");
    let problem = answer.problem(429, "hold_limit");
    assert_eq!((&problem["limit"], &problem["retryable"]), (&json!(limit), &json!(true)));
    assert!((1..=900).contains(&wait), "{wait}");
}

#[tokio::test]
async fn nobody_keeps_more_seats_off_sale_than_the_limit_without_buying_them() {
    let settings = [
        ON,
        ("RATE_LIMIT_HELD_SEATS_PER_BUYER", "6"),
        ("RATE_LIMIT_HELD_SEATS_PER_VISITOR", "4"),
        ("RATE_LIMIT_HELD_SEATS_PER_ADDRESS", "7"),
    ];
    let server = Server::start(&settings);
    let organizer = server.user().await;
    let event = organizer.event(100).await;
    let buyer = server.user().await;
    let first = buyer.hold_with_key(&event, 4, "first").await.expect(CREATED);
    hoards(buyer.hold_with_key(&event, 3, "second").await, 6);
    // A key whose hold was made gets it, and it counts once.
    assert!(buyer.hold_with_key(&event, 4, "first").await.is_replayed());
    let second = buyer.held(&event, 2).await;
    hoards(buyer.hold(&event, 1).await, 6);
    // What is refused for another reason counts nothing, nor does what is done already.
    let first = text(&first, "booking_id");
    for _ in 0..3 {
        buyer.step(first, "confirm").await.expect(OK);
    }
    buyer.hold(&event, 51).await.problem(409, "too_many_seats");
    hoards(buyer.hold(&event, 5).await, 6);
    let third = buyer.held(&event, 4).await;
    // More seats of a hold count, fewer are given back, and extending counts it once more.
    let seats = |count: u32| json!({"items": [{"section_id": "A", "seats_requested": count}]});
    hoards(buyer.patch(&format!("/bookings/{third}"), &seats(5)).await, 6);
    buyer.patch(&format!("/bookings/{third}"), &seats(1)).await.expect(OK);
    buyer.step(&third, "extend").await.expect(OK);
    let fourth = buyer.held(&event, 3).await;
    hoards(buyer.hold(&event, 1).await, 6);
    for hold in [&second, &third, &fourth] {
        buyer.step(hold, "cancel").await.expect(OK);
    }
    // One that is larger than the limit fits where nothing counts.
    let large = buyer.held(&event, 9).await;
    hoards(buyer.hold(&event, 1).await, 6);
    buyer.step(&large, "cancel").await.expect(OK);

    let (one, other) = (visitor(&server).await, visitor(&server).await);
    one.held(&event, 4).await;
    hoards(one.hold(&event, 1).await, 4);
    other.held(&event, 3).await;
    hoards(other.hold(&event, 1).await, 7);
    // What is sold to others counts for nobody.
    for _ in 0..3 {
        let mut body = hold_body(&event, 5);
        body["buyer"] = json!({"ref": "cust-42"});
        organizer.post("/bookings/hold", &body).await.expect(CREATED);
    }
    server.audit();
}

#[tokio::test]
async fn the_token_of_a_visitor_ends_by_itself_and_says_whose_it_is() {
    let settings = [("SECRET_KEY", SECRET), ("VISITOR_TOKEN_TTL_SECONDS", "1")];
    let server = Server::start(&settings);
    let made = server.client().post_empty("/visitors").await.expect(CREATED);
    assert_eq!(made["expires_in"], 1);
    let client = server.client().with_token(text(&made, "access_token"));
    eventually("it has expired", async || client.get("/bookings").await.is(401, "unauthorized"))
        .await;
    // A token of a shop, without the claim of a visitor, is an account's.
    let shop = foreign(&server, "f47ac10b-58cc-4372-a567-0e02b2c3d479");
    shop.event(3).await;
}
