//! Keys of organizations: what they do and never do, how they are made, changed and ended.

use super::{OK, UNKNOWN, at, id, invalid, joined, lacks, team};
use crate::support::{Answer, Client, Server, eventually, hold_body, show};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const PEOPLE_ONLY: [&str; 3] = ["integration.write", "member.write", "org.write"];

async fn make(by: &Client, org: &str, body: &Value) -> Answer {
    by.post(&at(org, "/keys"), body).await
}

/// A key with these scopes, and a client that sends it.
async fn keyed(by: &Client, org: &str, scopes: &[&str]) -> (Value, Client) {
    keyed_with(by, org, json!({"name": "Shop", "scopes": scopes})).await
}

async fn keyed_with(by: &Client, org: &str, body: Value) -> (Value, Client) {
    let key = make(by, org, &body).await.expect(StatusCode::CREATED);
    let client = by.with_token(key["secret"].as_str().expect("it is shown once"));
    (key, client)
}

fn path(key: &Value, rest: &str) -> String {
    let text = |name: &str| key[name].as_str().expect("an id").to_owned();
    at(&text("organization_id"), &format!("/keys/{}{rest}", text("key_id")))
}

fn draft(org: &str) -> Value {
    json!({
        "title": "Rehearsal", "event_date": "2099-12-31", "organization_id": org, "status": "draft",
        "sections": [{"name": "A", "capacity": 10, "price": 100}],
    })
}

#[tokio::test]
async fn a_key_is_made_shown_once_listed_and_ended() {
    let server = Server::start(&[]);
    let owner = server.user().await;
    let org = team(&owner, "Stage").await;
    let body = json!({
        "name": "Shop", "scopes": ["event.read", "booking.read"],
        "networks": ["192.0.2.0/24", "::1"], "rate": 50,
    });
    let made = make(&owner, &org, &body).await;
    let location = made.headers["location"].to_str().expect("text").to_owned();
    assert_eq!(made.headers["cache-control"], "private, no-store");
    let key = made.expect(StatusCode::CREATED);
    let secret = key["secret"].as_str().expect("text").to_owned();
    assert!(secret.starts_with("rsvx_test_") && secret.len() == 59, "{secret}");
    let mut shown = key.clone();
    shown.as_object_mut().expect("an object").remove("secret");
    let expected = json!({
        "key_id": key["key_id"], "organization_id": org, "name": "Shop",
        "scopes": ["event.read", "booking.read"], "events": null,
        "networks": ["192.0.2.0/24", "::1"], "rate": 50, "hint": secret[55..],
        "created_by": id(&owner), "created_at": key["created_at"], "expires_at": key["expires_at"],
        "previous_until": null, "last_used_at": null, "version": 1,
    });
    assert_eq!(shown, expected);
    assert!(key["expires_at"].as_str() > key["created_at"].as_str(), "in a year");
    assert_eq!(location, format!("/api/v1{}", path(&key, "")));
    assert_eq!(owner.get(&path(&key, "")).await.expect(OK), shown);
    assert_eq!(owner.all(&at(&org, "/keys")).await, [shown]);
    for _ in 0..2 {
        let ended = owner.send(Method::DELETE, &path(&key, ""), None, &[]).await;
        assert_eq!(ended.status, StatusCode::NO_CONTENT);
    }
    owner.get(&path(&key, "")).await.problem(404, "not_found");
    assert_eq!(owner.all(&at(&org, "/keys")).await, Vec::<Value>::new());
    let log = owner.all(&at(&org, "/log")).await;
    let actions: Vec<_> = log.iter().map(|entry| entry["action"].clone()).collect();
    assert_eq!(actions, ["org_created", "key_created", "key_revoked"]);
    assert_eq!(log[1]["target"], key["key_id"]);
    assert_eq!(log[1]["after"]["scopes"], json!(["event.read", "booking.read"]));
    let everything = format!("{log:?}{}", server.log().join("\n"));
    assert!(!everything.contains(&secret[12..]), "no secret is written anywhere");
}

/// I13: a key does what its scopes say at the events of its organization, and nothing else anywhere.
#[tokio::test]
async fn i13_a_key_does_what_its_scopes_say_and_nothing_else() {
    let server = Server::start(&[]);
    let owner = server.user().await;
    let org = team(&owner, "Stage").await;
    let mut body = draft(&org);
    body["status"] = json!("on_sale");
    let event = owner.event_with(&body).await;
    let hidden = owner.event_with(&draft(&org)).await;
    let buyer = server.user().await;
    let booking = buyer.held(&event, 1).await;
    let (_, reads) = keyed(&owner, &org, &["event.read"]).await;
    let (_, books) = keyed(&owner, &org, &["booking.read"]).await;
    let (_, writes) = keyed(&owner, &org, &["event.read", "event.write"]).await;
    let (_, blocks) = keyed(&owner, &org, &["inventory.write"]).await;
    let (_, cancels) = keyed(&owner, &org, &["booking.cancel"]).await;
    let (_, logs) = keyed(&owner, &org, &["log.read"]).await;

    reads.get(&format!("/events/{hidden}")).await.expect(OK);
    books.get(&format!("/events/{hidden}")).await.problem(404, "not_found");
    let counted = reads.get(&format!("/events/{event}/availability")).await.expect(OK);
    assert_eq!(counted["sections"][0]["held_seats"], 1);
    assert_eq!(reads.all("/events?organizer=me").await.len(), 2);
    assert_eq!(books.all("/events?organizer=me").await.len(), 0);

    let bookings = format!("/events/{event}/bookings");
    assert_eq!(books.all(&bookings).await.len(), 1);
    lacks(reads.get(&bookings).await, "booking.read");
    books.get(&format!("/bookings/{booking}")).await.expect(OK);
    reads.get(&format!("/bookings/{booking}")).await.problem(404, "not_found");

    let retitle = json!({"title": "Other"});
    writes.patch(&format!("/events/{event}"), &retitle).await.expect(OK);
    lacks(reads.patch(&format!("/events/{event}"), &retitle).await, "event.write");
    let added = writes.post("/events", &draft(&org)).await.expect(StatusCode::CREATED);
    assert_eq!(added["organizer_id"], org);
    let mut homeless = draft(&org);
    homeless.as_object_mut().expect("an object").remove("organization_id");
    let added = writes.post("/events", &homeless).await.expect(StatusCode::CREATED);
    assert_eq!(added["organizer_id"], org, "its own organization");
    lacks(reads.post("/events", &homeless).await, "event.write");

    let blocked = format!("/events/{event}/sections/A/blocked");
    let three = json!({"number": 3, "reason": "camera"});
    blocks.send(Method::PUT, &blocked, Some(&three), &[]).await.expect(OK);
    lacks(reads.send(Method::PUT, &blocked, Some(&three), &[]).await, "inventory.write");

    let cancel = format!("/bookings/{booking}/cancel");
    books.post_empty(&cancel).await.problem(403, "permission_missing");
    cancels.post_empty(&cancel).await.expect(OK);
    assert_eq!(logs.all(&at(&org, "/log")).await.len(), 7);
    assert_eq!(logs.all(&at("me", "/log")).await.len(), 7);
    lacks(reads.get(&at(&org, "/log")).await, "log.read");

    // At another organization it is a stranger.
    let other = server.user().await;
    let foreign = other.event_with(&show(&json!({}))).await;
    writes.patch(&format!("/events/{foreign}"), &retitle).await.problem(403, "not_organizer");
    let mut elsewhere = draft(&org);
    elsewhere["organization_id"] = json!(id(&other));
    writes.post("/events", &elsewhere).await.problem(404, "not_found");
    logs.get(&at(id(&other), "/log")).await.problem(404, "not_found");
    assert_eq!(writes.all(&format!("/events?organization_id={}", id(&other))).await.len(), 1);
}

#[tokio::test]
async fn what_concerns_people_needs_a_person() {
    let server = Server::start(&[]);
    let owner = server.user().await;
    let org = team(&owner, "Stage").await;
    let all: Vec<&str> = vec![
        "event.read",
        "event.write",
        "event.cancel",
        "inventory.write",
        "booking.read",
        "contact.read",
        "booking.sell",
        "booking.override",
        "booking.cancel",
        "payment.write",
        "offer.write",
        "check_in",
        "log.read",
    ];
    let (key, client) = keyed(&owner, &org, &all).await;
    let own = path(&key, "");
    let calls = [
        (Method::GET, "/users/me".to_owned(), None),
        (Method::PATCH, "/users/me".to_owned(), Some(json!({"name": "X"}))),
        (Method::POST, "/auth/logout-all".to_owned(), None),
        (Method::GET, "/organizations".to_owned(), None),
        (Method::POST, "/organizations".to_owned(), Some(json!({"name": "Mine"}))),
        (Method::GET, at(&org, ""), None),
        (Method::PATCH, at(&org, ""), Some(json!({"name": "Mine"}))),
        (Method::GET, at(&org, "/members"), None),
        (Method::GET, at(&org, "/invitations"), None),
        (Method::GET, at(&org, "/keys"), None),
        (Method::POST, at(&org, "/keys"), Some(json!({"name": "More", "scopes": ["event.read"]}))),
        (Method::POST, path(&key, "/rotate"), None),
        (Method::DELETE, own.clone(), None),
        (Method::PATCH, own, Some(json!({"name": "More"}))),
        (Method::POST, "/invitations/accept".to_owned(), Some(json!({"token": "x"}))),
        (Method::GET, "/bookings".to_owned(), None),
    ];
    for (method, path, body) in calls {
        let answer = client.send(method.clone(), &path, body.as_ref(), &[]).await;
        assert!(answer.is(403, "account_required"), "{method} {path}: {}", answer.short());
    }
}

#[tokio::test]
async fn a_key_confined_to_events_does_nothing_beyond_them() {
    let server = Server::start(&[]);
    let owner = server.user().await;
    let org = team(&owner, "Stage").await;
    let [inside, outside] =
        [owner.event_with(&draft(&org)).await, owner.event_with(&draft(&org)).await];
    let body = json!({
        "name": "Door", "scopes": ["event.read", "event.write", "log.read"], "events": [inside],
    });
    let (_, key) = keyed_with(&owner, &org, body).await;
    key.get(&format!("/events/{inside}")).await.expect(OK);
    key.get(&format!("/events/{outside}")).await.problem(404, "not_found");
    let listed: Vec<_> = key.all("/events?organizer=me").await;
    assert_eq!(listed.iter().map(|card| card["event_id"].clone()).collect::<Vec<_>>(), [inside]);
    lacks(key.post("/events", &draft(&org)).await, "event.write");
    lacks(key.get(&at(&org, "/log")).await, "log.read");
}

#[tokio::test]
async fn forgeries_and_ended_keys_open_nothing_and_too_many_are_refused_unread() {
    let server = Server::start(&[("RATE_LIMIT_ENABLED", "true")]);
    let owner = server.user().await;
    let org = team(&owner, "Stage").await;
    let (key, client) = keyed(&owner, &org, &["event.read"]).await;
    let secret = key["secret"].as_str().expect("text");
    client.get("/events").await.expect(OK);
    let typo = format!("{}{}", &secret[..58], if secret.ends_with('a') { 'b' } else { 'a' });
    let live = secret.replace("_test_", "_live_");
    for forged in [typo.as_str(), &live, "rsvx_", "rsvx_test_", &secret[..40]] {
        owner.with_token(forged).get("/events").await.problem(401, "unauthorized");
    }
    let in_query = server.client().get(&format!("/events?organizer=me&q={secret}")).await;
    in_query.problem(401, "unauthorized");
    let origin = [("Origin", "https://shop.example")];
    let page = client.send(Method::GET, "/events", None, &origin).await;
    page.problem(403, "key_in_browser");

    owner.send(Method::DELETE, &path(&key, ""), None, &[]).await;
    client.get("/events").await.problem(401, "unauthorized");
    let mut refused = 0;
    for _ in 0..40 {
        let answer = client.get("/events").await;
        refused += u32::from(answer.status == StatusCode::TOO_MANY_REQUESTS);
    }
    assert!(refused >= 20, "{refused}");
    // A good key from there has to wait as well, and users need not.
    let (_, good) = keyed(&owner, &org, &["event.read"]).await;
    good.get("/events").await.problem(429, "rate_limited");
    owner.get("/events").await.expect(OK);
}

#[tokio::test]
async fn a_key_is_accepted_from_its_networks_at_its_rate() {
    let server = Server::start(&[("RATE_LIMIT_ENABLED", "true"), ("TRUSTED_PROXIES", "127.0.0.1")]);
    let owner = server.user().await;
    let org = team(&owner, "Stage").await;
    let body = json!({
        "name": "Shop", "scopes": ["event.read"], "networks": ["192.0.2.0/24", "2001:db8::/32"], "rate": 5,
    });
    let (_, key) = keyed_with(&owner, &org, body).await;
    let from = async |address: &str| {
        key.send(Method::GET, "/events", None, &[("X-Forwarded-For", address)]).await
    };
    from("192.0.2.7").await.expect(OK);
    from("2001:db8::7").await.expect(OK);
    from("192.0.3.7").await.problem(403, "address_not_allowed");
    key.get("/events").await.problem(403, "address_not_allowed");
    let mut refused = 0;
    for _ in 0..30 {
        refused += u32::from(from("192.0.2.7").await.status == StatusCode::TOO_MANY_REQUESTS);
    }
    assert!(refused > 0, "five a second");
}

#[tokio::test]
async fn a_former_secret_works_for_as_long_as_was_said() {
    let server = Server::start(&[]);
    let owner = server.user().await;
    let org = team(&owner, "Stage").await;
    let (key, first) = keyed(&owner, &org, &["event.read"]).await;
    let rotate = async |body: &Value| {
        let rotated = owner.post(&path(&key, "/rotate"), body).await;
        assert_eq!(rotated.headers["cache-control"], "private, no-store");
        let rotated = rotated.expect(OK);
        let client = owner.with_token(rotated["secret"].as_str().expect("it is shown once"));
        (rotated, client)
    };
    let (rotated, second) = rotate(&json!({"overlap_seconds": 604_800})).await;
    assert_eq!((&rotated["key_id"], &rotated["version"]), (&key["key_id"], &json!(2)));
    assert!(rotated["previous_until"].is_string());
    for client in [&first, &second] {
        client.get("/events").await.expect(OK);
    }
    let (rotated, third) = rotate(&json!({"overlap_seconds": 1})).await;
    assert_eq!(rotated["version"], 3);
    first.get("/events").await.problem(401, "unauthorized");
    third.get("/events").await.expect(OK);
    eventually("the former secret ends", async || {
        second.get("/events").await.status == StatusCode::UNAUTHORIZED
    })
    .await;
    let (rotated, fourth) = rotate(&json!({"overlap_seconds": 0})).await;
    assert_eq!(rotated["previous_until"], Value::Null);
    third.get("/events").await.problem(401, "unauthorized");
    fourth.get("/events").await.expect(OK);
}

#[tokio::test]
async fn a_key_becomes_smaller_at_once_and_never_larger() {
    let server = Server::start(&[]);
    let owner = server.user().await;
    let org = team(&owner, "Stage").await;
    let event = owner.event_with(&draft(&org)).await;
    let body = json!({
        "name": "Shop", "scopes": ["event.read", "event.write"], "expires_at": "2099-01-01T00:00:00Z",
    });
    let (key, client) = keyed_with(&owner, &org, body).await;
    let change = async |body: Value| owner.patch(&path(&key, ""), &body).await;
    let retitle = json!({"title": "Other"});
    client.patch(&format!("/events/{event}"), &retitle).await.expect(OK);
    invalid(change(json!({"scopes": ["event.read", "log.read"]})).await, "scopes");
    invalid(change(json!({"expires_at": "2100-01-01T00:00:00Z"})).await, "expires_at");
    invalid(change(json!({"expires_at": null})).await, "expires_at");
    invalid(change(json!({"expires_at": "2001-01-01T00:00:00Z"})).await, "expires_at");
    let stale = owner
        .send(Method::PATCH, &path(&key, ""), Some(&json!({"name": "x"})), &[("If-Match", "\"9\"")])
        .await;
    stale.problem(412, "version_mismatch");
    let smaller = change(json!({"scopes": ["event.read"], "name": "Reader", "rate": 9})).await;
    assert!(smaller.headers.contains_key("etag"));
    let smaller = smaller.expect(OK);
    assert_eq!((&smaller["name"], &smaller["rate"]), (&json!("Reader"), &json!(9)));
    lacks(client.patch(&format!("/events/{event}"), &retitle).await, "event.write");
    invalid(change(json!({"scopes": ["event.read", "event.write"]})).await, "scopes");
    assert_eq!(change(json!({})).await.expect(OK)["version"], 2);
}

#[tokio::test]
async fn bad_keys_are_refused_by_the_name_of_the_field() {
    let server = Server::start(&[]);
    let owner = server.user().await;
    let org = team(&owner, "Stage").await;
    let foreign = owner.event(5).await;
    let good = json!({"name": "Shop", "scopes": ["event.read"]});
    let cases = [
        ("name", json!("")),
        ("name", json!("a\u{7}b")),
        ("name", json!("x".repeat(101))),
        ("scopes", json!([])),
        ("scopes[0]", json!(["event.fly"])),
        ("scopes[0]", json!(["org.write"])),
        ("scopes[1]", json!(["event.read", "event.read"])),
        ("events", json!([])),
        ("events[0]", json!([foreign])),
        ("events[0]", json!(["x"])),
        ("networks", json!([])),
        ("networks[0]", json!(["10.0.0.0/33"])),
        ("networks[0]", json!(["example.org"])),
        ("networks", json!(vec!["10.0.0.1"; 21])),
        ("rate", json!(0)),
        ("rate", json!(100_001)),
        ("expires_at", json!("2001-01-01T00:00:00Z")),
    ];
    for (field, value) in cases {
        let mut body = good.clone();
        let name = field.split('[').next().expect("a part");
        body[name] = value;
        let answer = make(&owner, &org, &body).await;
        invalid(answer, field);
    }
    for body in
        [json!({"name": "Shop"}), json!({"name": "Shop", "scopes": ["event.read"], "org": 1})]
    {
        assert_eq!(make(&owner, &org, &body).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    }
    let (key, _) = keyed(&owner, &org, &["event.read"]).await;
    for overlap in [json!(-1), json!(604_801), json!("x"), Value::Null] {
        let body = json!({"overlap_seconds": overlap});
        let answer = owner.post(&path(&key, "/rotate"), &body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    }
    owner.get(&at(&org, &format!("/keys/{UNKNOWN}"))).await.problem(404, "not_found");
    owner.get(&at(&org, "/keys/x")).await.problem(404, "not_found");
}

#[tokio::test]
async fn members_make_keys_within_their_own_permissions_and_leave_them_as_they_say() {
    let server = Server::start(&[]);
    let owner = server.user().await;
    let org = team(&owner, "Stage").await;
    let manager = joined(&server, &owner, &org, &json!({"role": "manager"})).await;
    let endless = json!({"name": "Shop", "scopes": ["event.read"], "expires_at": null});
    lacks(make(&manager, &org, &endless).await, "org.write");
    let never = make(&owner, &org, &endless).await.expect(StatusCode::CREATED);
    assert_eq!(never["expires_at"], Value::Null);
    for role in ["box_office", "analyst", "check_in"] {
        let member = joined(&server, &owner, &org, &json!({"role": role})).await;
        lacks(member.get(&at(&org, "/keys")).await, "integration.write");
        lacks(make(&member, &org, &endless).await, "integration.write");
    }
    server.user().await.get(&at(&org, "/keys")).await.problem(404, "not_found");
    for what in PEOPLE_ONLY {
        invalid(make(&owner, &org, &json!({"name": "x", "scopes": [what]})).await, "scopes[0]");
    }

    let (_, kept) = keyed(&manager, &org, &["event.read"]).await;
    let member = at(&org, &format!("/members/{}", id(&manager)));
    let removed = async |query: &str| {
        owner.send(Method::DELETE, &format!("{member}{query}"), None, &[]).await
    };
    let problem = removed("").await.problem(409, "keys_exist");
    assert_eq!(problem["keys"], 1);
    invalid(removed("?keys=burn").await, "keys");
    assert_eq!(removed("?keys=keep").await.status, StatusCode::NO_CONTENT);
    kept.get("/events").await.expect(OK);
    let other = joined(&server, &owner, &org, &json!({"role": "manager"})).await;
    let (_, ended) = keyed(&other, &org, &["event.read"]).await;
    let left = at(&org, "/members/me?keys=revoke");
    let left = other.send(Method::DELETE, &left, None, &[]).await;
    assert_eq!(left.status, StatusCode::NO_CONTENT);
    ended.get("/events").await.problem(401, "unauthorized");
}

#[tokio::test]
async fn a_key_made_again_with_the_same_key_is_one_and_its_secret_is_shown_once() {
    let server = Server::start(&[]);
    let owner = server.user().await;
    let org = team(&owner, "Stage").await;
    let body = json!({"name": "Shop", "scopes": ["event.read"]});
    let once = async || {
        owner.send(Method::POST, &at(&org, "/keys"), Some(&body), &[("Idempotency-Key", "k")]).await
    };
    let first = once().await.expect(StatusCode::CREATED);
    let again = once().await;
    assert!(again.is_replayed());
    let again = again.expect(StatusCode::CREATED);
    assert_eq!((&again["key_id"], &again["secret"]), (&first["key_id"], &Value::Null));
    assert_eq!(owner.all(&at(&org, "/keys")).await.len(), 1);
}

/// I13: a till sells with `booking.sell` and nothing else, to buyers with limits of their own.
#[tokio::test]
async fn i13_a_key_that_sells_acts_for_buyers() {
    let server = Server::start(&[]);
    let owner = server.user().await;
    let org = team(&owner, "Stage").await;
    let mut body = draft(&org);
    (body["status"], body["max_seats_per_user"]) = (json!("on_sale"), json!(2));
    let event = owner.event_with(&body).await;
    let (_, till) = keyed(&owner, &org, &["booking.sell"]).await;
    let (_, reads) = keyed(&owner, &org, &["event.read"]).await;
    let sell = async |by: &Client, seats: u64, buyer: Option<Value>, key: &str| {
        let mut hold = hold_body(&event, seats);
        if let Some(buyer) = buyer {
            hold["buyer"] = buyer;
        }
        by.send(Method::POST, "/bookings/hold", Some(&hold), &[("Idempotency-Key", key)]).await
    };
    let cust = || Some(json!({"ref": "cust-42"}));
    lacks(sell(&reads, 1, cust(), "r").await, "booking.sell");
    let first = sell(&till, 2, cust(), "a").await.expect(StatusCode::CREATED);
    assert!(first["booking_token"].is_string(), "{first:#}");
    let again = sell(&till, 2, cust(), "a").await;
    assert!(again.is_replayed());
    assert_eq!(again.expect(StatusCode::CREATED)["booking_id"], first["booking_id"]);
    sell(&till, 1, cust(), "b").await.problem(409, "buyer_limit");
    let nobody = sell(&till, 1, None, "c").await.expect(StatusCode::CREATED);
    assert_ne!(nobody["user_id"], first["user_id"], "a new visitor");
    let booking = first["booking_id"].as_str().expect("an id");
    reads.post_empty(&format!("/bookings/{booking}/confirm")).await.problem(404, "not_found");
    let confirmed = till.post_empty(&format!("/bookings/{booking}/confirm")).await.expect(OK);
    assert_eq!(confirmed["status"], "CONFIRMED");
    // A sale is undone with another permission, and seen with a third one.
    let cancel = async |by: &Client| by.post_empty(&format!("/bookings/{booking}/cancel")).await;
    cancel(&till).await.problem(404, "not_found");
    let (_, sees) = keyed(&owner, &org, &["booking.sell", "booking.read"]).await;
    lacks(cancel(&sees).await, "booking.cancel");
    server.audit();
}

/// Requests of a key have idempotency keys of their own, which stay its own when it is rotated.
#[tokio::test]
async fn i6_a_retry_by_a_key_has_one_effect() {
    let server = Server::start(&[]);
    let owner = server.user().await;
    let org = team(&owner, "Stage").await;
    let (key, client) = keyed(&owner, &org, &["event.read", "event.write"]).await;
    let body = draft(&org);
    let create = async |by: &Client| {
        by.send(Method::POST, "/events", Some(&body), &[("Idempotency-Key", "once")]).await
    };
    let first = create(&client).await.expect(StatusCode::CREATED);
    let rotated = owner.post_empty(&path(&key, "/rotate")).await.expect(OK);
    let second = owner.with_token(rotated["secret"].as_str().expect("text"));
    for by in [&client, &second] {
        let again = create(by).await;
        assert!(again.is_replayed());
        assert_eq!(again.expect(StatusCode::CREATED)["event_id"], first["event_id"]);
    }
    let others = create(&owner).await;
    assert!(!others.is_replayed(), "a key of the same name by somebody else");
}
