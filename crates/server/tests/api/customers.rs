//! The bookings of a customer, listed for the organization that calls them so (I13).

use super::visitors::visitor;
use crate::support::{Client, Server, hold_body, show};
use reqwest::StatusCode;
use serde_json::{Value, json};

const CREATED: StatusCode = StatusCode::CREATED;
const OK: StatusCode = StatusCode::OK;

fn me(user: &Client) -> &str {
    user.user_id.as_deref().expect("a user")
}

/// Sells a seat to a customer, and returns the booking's id.
async fn sold(by: &Client, event: &str, reference: &str) -> String {
    let mut hold = hold_body(event, 1);
    hold["buyer"] = json!({"ref": reference});
    let made = by.post("/bookings/hold", &hold).await.expect(CREATED);
    made["booking_id"].as_str().expect("an id").to_owned()
}

/// The ids of a list, all its pages of two.
async fn listed(by: &Client, query: &str) -> Vec<String> {
    let (mut ids, mut after) = (Vec::new(), String::new());
    loop {
        let page = by.get(&format!("/bookings?limit=2&{query}{after}")).await.expect(OK);
        let items = page["items"].as_array().expect("a list");
        assert!(items.len() <= 2, "{page:#}");
        ids.extend(items.iter().map(|of| of["booking_id"].as_str().expect("an id").to_owned()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return ids,
        }
    }
}

#[tokio::test]
async fn an_organization_lists_the_bookings_of_its_customer() {
    let server = Server::start(&[]);
    let (owner, other) = (server.user().await, server.user().await);
    let (first, second) = (owner.event(20).await, owner.event(20).await);
    let others = other.event(20).await;
    let mut expected = Vec::new();
    for event in [&first, &second, &first, &second, &first] {
        expected.push(sold(&owner, event, "cust-42").await);
        sold(&owner, event, "cust-43").await;
    }
    let elsewhere = sold(&other, &others, "cust-42").await;
    expected.reverse();
    assert_eq!(listed(&owner, "ref=cust-42").await, expected);
    assert_eq!(
        listed(&owner, &format!("ref=cust-42&organization_id={}", me(&owner))).await,
        expected
    );
    assert_eq!(listed(&other, "ref=cust-42").await, [elsewhere]);
    let of_second = listed(&owner, &format!("ref=cust-42&event_id={second}")).await;
    assert_eq!(of_second, [expected[1].clone(), expected[3].clone()]);
    owner.step(&expected[0], "confirm").await.expect(OK);
    assert_eq!(listed(&owner, "ref=cust-42&status=CONFIRMED").await, expected[..1]);
    assert_eq!(listed(&owner, "ref=nobody").await, Vec::<String>::new());
    server.audit();
}

#[tokio::test]
async fn who_may_not_read_bookings_lists_no_customers() {
    let server = Server::start(&[]);
    let (owner, stranger) = (server.user().await, server.user().await);
    let event = owner.event(20).await;
    let booking = sold(&owner, &event, "cust-42").await;
    let of_owner = format!("/bookings?ref=cust-42&organization_id={}", me(&owner));
    let short = async |by: &Client, path: &str| by.get(path).await.short().trim_end().to_owned();
    assert_eq!(short(&stranger, &of_owner).await, "404 not_found");
    let at_event = format!("{of_owner}&event_id={event}");
    assert_eq!(short(&stranger, &at_event).await, "403 not_organizer");
    let key = async |scopes: Value| {
        let path = format!("/organizations/{}/keys", me(&owner));
        let made = owner.post(&path, &json!({"name": "Shop", "scopes": scopes})).await;
        let made = made.expect(CREATED);
        owner.with_token(made["secret"].as_str().expect("a secret"))
    };
    let reads = key(json!(["booking.read"])).await;
    assert_eq!(listed(&reads, "ref=cust-42").await, [booking]);
    // A key has no bookings of its own.
    assert_eq!(short(&reads, "/bookings").await, "403 account_required");
    let sells = key(json!(["booking.sell"])).await;
    assert_eq!(short(&sells, "/bookings?ref=cust-42").await, "403 permission_missing");
    let visitor = visitor(&server).await;
    assert_eq!(short(&visitor, "/bookings?ref=cust-42").await, "403 account_required");
    for (query, field) in [
        ("ref=two%20words", "ref"),
        (&*format!("ref={}", "x".repeat(129)), "ref"),
        ("ref=cust-42&organization_id=none", "organization_id"),
        (&*format!("organization_id={}", me(&owner)), "organization_id"),
    ] {
        let refused = owner.get(&format!("/bookings?{query}")).await;
        let refused = refused.expect(StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(refused["errors"][0]["field"], field, "{query}: {refused:#}");
    }
}

#[tokio::test]
async fn bookings_at_an_event_that_went_elsewhere_are_listed_there_by_nobody() {
    let server = Server::start(&[]);
    let owner = server.user().await;
    let (kept, given) = (owner.event(20).await, owner.event(20).await);
    let team = owner.post("/organizations", &json!({"name": "Team"})).await.expect(CREATED);
    let team = team["organization_id"].as_str().expect("an id").to_owned();
    let mut expected = Vec::new();
    for _ in 0..3 {
        expected.push(sold(&owner, &kept, "cust-42").await);
        for _ in 0..3 {
            sold(&owner, &given, "cust-42").await;
        }
    }
    expected.reverse();
    let path = format!("/events/{given}/transfer");
    owner.post(&path, &json!({"organization_id": team})).await.expect(OK);
    assert_eq!(listed(&owner, "ref=cust-42").await, expected);
    // To the team its customer is another one.
    assert_eq!(
        listed(&owner, &format!("ref=cust-42&organization_id={team}")).await,
        Vec::<String>::new()
    );
    let at_team = show(&json!({"organization_id": team}));
    let at_team = owner.event_with(&at_team).await;
    let booking = sold(&owner, &at_team, "cust-42").await;
    assert_eq!(listed(&owner, &format!("ref=cust-42&organization_id={team}")).await, [booking]);
    server.audit();
}
