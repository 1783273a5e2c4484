//! Members who sell to somebody else: by role, for a customer of theirs, a user, or a new visitor (I13).

use super::visitors::exchanged;
use crate::support::{Answer, Client, Server, hold_body, show};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const CREATED: StatusCode = StatusCode::CREATED;
const OK: StatusCode = StatusCode::OK;
const LACKS: &str = "403 permission_missing";
const HIDDEN: &str = "404 not_found";
const OUTSIDER: &str = "403 not_organizer";
const UNKNOWN: &str = "01990000-0000-8000-8000-000000000000";

struct Shop {
    server: Server,
    org_id: String,
    owner: Client,
    event: String,
}

/// A new member of an organization.
async fn joined(owner: &Client, org_id: &str, role: &str) -> Client {
    let member = owner.sign_up().await;
    let me = member.get("/users/me").await.expect(OK);
    let invitation = json!({"email": me["email"], "role": role});
    let path = format!("/organizations/{org_id}/invitations");
    let made = owner.post(&path, &invitation).await.expect(CREATED);
    member.post("/invitations/accept", &json!({"token": made["token"]})).await.expect(OK);
    member
}

impl Shop {
    /// A team with an event of ten seats.
    async fn start(changes: &Value) -> Self {
        let server = Server::start(&[]);
        let owner = server.user().await;
        let made = owner.post("/organizations", &json!({"name": "Shop"})).await.expect(CREATED);
        let org_id = made["organization_id"].as_str().expect("an id").to_owned();
        let mut event = show(&json!({"organization_id": org_id}));
        let members = event.as_object_mut().expect("an object");
        members.extend(changes.as_object().expect("an object").clone());
        let event = owner.event_with(&event).await;
        Self { server, org_id, owner, event }
    }

    async fn member(&self, role: &str) -> Client {
        joined(&self.owner, &self.org_id, role).await
    }

    /// Asks to hold seats for a buyer.
    async fn sell(&self, by: &Client, seats: u64, buyer: &Value) -> Answer {
        by.post("/bookings/hold", &for_buyer(&self.event, seats, buyer)).await
    }
}

fn for_buyer(event: &str, seats: u64, buyer: &Value) -> Value {
    let mut hold = hold_body(event, seats);
    hold["buyer"] = buyer.clone();
    hold
}

fn text<'a>(of: &'a Value, name: &str) -> &'a str {
    of[name].as_str().unwrap_or_else(|| panic!("{name} in {of:#}"))
}

#[tokio::test]
async fn i13_who_may_sell_holds_and_acts_for_a_buyer_and_nobody_else_does() {
    let shop = Shop::start(&json!({})).await;
    let sections = json!([{"name": "A", "capacity": 100}]);
    let large = show(&json!({"organization_id": shop.org_id, "sections": sections}));
    let event = shop.owner.event_with(&large).await;
    let customer = shop.server.user().await;
    let user = json!({"user_id": customer.user_id});
    let steps = async |by: &Client| {
        let held = customer.held(&event, 1).await;
        let path = format!("/bookings/{held}");
        let two = json!({"items": [{"section_id": "A", "seats_requested": 2}]});
        let changed = by.patch(&path, &two).await.short();
        let extended = by.step(&held, "extend").await.short();
        let confirmed = by.step(&held, "confirm").await.short();
        let other = customer.held(&event, 1).await;
        let cancelled = by.step(&other, "cancel").await.short();
        [changed, extended, confirmed, cancelled].map(|it| it.trim_end().to_owned())
    };
    for (role, sells, acts) in [
        ("owner", "201", "200"),
        ("manager", "201", "200"),
        ("box_office", "201", "200"),
        ("analyst", LACKS, LACKS),
        ("check_in", LACKS, HIDDEN),
        ("outsider", OUTSIDER, HIDDEN),
    ] {
        let by = match role {
            "owner" => shop.owner.clone(),
            "outsider" => shop.server.user().await,
            role => shop.member(role).await,
        };
        for buyer in [json!({}), json!({"ref": "cust-42"}), user.clone()] {
            let sold = by.post("/bookings/hold", &for_buyer(&event, 1, &buyer)).await;
            assert_eq!(sold.short().trim_end(), sells, "{role} to {buyer}: {:#}", sold.body);
        }
        assert_eq!(steps(&by).await, [acts; 4], "{role}");
    }
    shop.server.audit();
}

#[tokio::test]
async fn the_owner_of_a_personal_organization_sells_as_well() {
    let server = Server::start(&[]);
    let (owner, customer) = (server.user().await, server.user().await);
    let event = owner.event(10).await;
    let sold = owner.post("/bookings/hold", &for_buyer(&event, 2, &json!({"ref": "cust-1"}))).await;
    let sold = sold.expect(CREATED);
    let booking = text(&sold, "booking_id");
    assert_eq!(owner.step(booking, "confirm").await.expect(OK)["status"], "CONFIRMED");
    let held = customer.held(&event, 1).await;
    owner.step(&held, "confirm").await.expect(OK);
    assert_eq!(owner.seats(&event).await, (7, 0, 3));
    server.audit();
}

#[tokio::test]
async fn a_sale_belongs_to_the_buyer_and_its_token_opens_it() {
    let shop = Shop::start(&json!({})).await;
    let seller = shop.member("box_office").await;
    let sold = shop.sell(&seller, 2, &json!({"ref": "cust-42"})).await.expect(CREATED);
    let (booking, token) = (text(&sold, "booking_id"), text(&sold, "booking_token"));
    assert_ne!(sold["user_id"], json!(seller.user_id));
    assert!(seller.all("/bookings").await.is_empty(), "it is the buyer's");
    seller.step(booking, "confirm").await.expect(OK);
    let back = exchanged(&shop.server.client(), booking, token).await.expect(CREATED);
    assert_eq!(back["visitor_id"], sold["user_id"]);
    let buyer = shop.server.client().with_token(text(&back, "access_token"));
    let mine = buyer.all("/bookings").await;
    assert_eq!((mine.len(), &mine[0]["status"]), (1, &json!("CONFIRMED")));
    buyer.get("/users/me").await.problem(403, "account_required");

    // To a user nobody gives a token.
    let customer = shop.server.user().await;
    let sold = shop.sell(&seller, 1, &json!({"user_id": customer.user_id})).await.expect(CREATED);
    assert_eq!(sold["user_id"], json!(customer.user_id));
    assert!(sold.get("booking_token").is_none(), "{sold:#}");
    customer.step(text(&sold, "booking_id"), "confirm").await.expect(OK);
    // Who sells to themselves buys.
    let own = shop.sell(&seller, 1, &json!({"user_id": seller.user_id})).await.expect(CREATED);
    seller.step(text(&own, "booking_id"), "confirm").await.expect(OK);
    let fresh = [shop.sell(&seller, 1, &json!({})).await, shop.sell(&seller, 1, &json!({})).await];
    let fresh = fresh.map(|sold| sold.expect(CREATED));
    assert_ne!(fresh[0]["user_id"], fresh[1]["user_id"], "a new visitor each time");
    assert!(fresh[0]["booking_token"].is_string());
    shop.server.audit();
}

#[tokio::test]
async fn a_reference_is_the_same_buyer_each_time_and_the_cap_is_the_buyers() {
    let shop = Shop::start(&json!({"max_seats_per_user": 3})).await;
    let (one, two) = (shop.member("manager").await, shop.member("box_office").await);
    let known = json!({"ref": "cust-42"});
    let first = shop.sell(&one, 2, &known).await.expect(CREATED);
    let problem = shop.sell(&two, 2, &known).await.problem(409, "buyer_limit");
    assert_eq!((&problem["current"], &problem["remaining"]), (&json!(2), &json!(1)));
    let second = shop.sell(&two, 1, &known).await.expect(CREATED);
    assert_eq!(first["user_id"], second["user_id"], "with every seller");
    shop.sell(&one, 1, &known).await.problem(409, "buyer_limit");
    // References are compared as they are written.
    let others = [json!({"ref": "cust-43"}), json!({"ref": "CUST-42"})];
    for other in others {
        let sold = shop.sell(&one, 2, &other).await.expect(CREATED);
        assert_ne!(sold["user_id"], first["user_id"]);
        one.step(text(&sold, "booking_id"), "cancel").await.expect(OK);
    }
    // The seller's own seats are others.
    let own = one.hold(&shop.event, 3).await.expect(CREATED);
    assert_eq!(own["user_id"], json!(one.user_id));
    // More than the buyer may have is refused to who changes the hold for the buyer as well.
    let path = format!("/bookings/{}", text(&second, "booking_id"));
    let more = json!({"items": [{"section_id": "A", "seats_requested": 2}]});
    two.patch(&path, &more).await.problem(409, "buyer_limit");
    // Another organization calls somebody else so.
    let other = shop.server.user().await;
    let event = other.event(5).await;
    let sold = other.post("/bookings/hold", &for_buyer(&event, 1, &known)).await.expect(CREATED);
    assert_ne!(sold["user_id"], first["user_id"]);
    shop.server.audit();
}

#[tokio::test]
async fn i6_a_sellers_key_has_one_effect_for_every_kind_of_buyer() {
    let shop = Shop::start(&json!({})).await;
    let seller = shop.member("box_office").await;
    let keyed = async |by: &Client, key: &str, buyer: Option<&Value>| {
        let body = match buyer {
            Some(buyer) => for_buyer(&shop.event, 1, buyer),
            None => hold_body(&shop.event, 1),
        };
        by.send(Method::POST, "/bookings/hold", Some(&body), &[("Idempotency-Key", key)]).await
    };
    let (known, fresh) = (json!({"ref": "cust-42"}), json!({}));
    for (key, buyer) in [("k1", &known), ("k2", &fresh)] {
        let first = keyed(&seller, key, Some(buyer)).await.expect(CREATED);
        let again = keyed(&seller, key, Some(buyer)).await;
        assert!(again.is_replayed());
        let again = again.expect(CREATED);
        for name in ["booking_id", "user_id", "booking_token"] {
            assert_eq!(again[name], first[name], "{name}");
        }
    }
    for other in [Some(&fresh), Some(&json!({"ref": "cust-43"})), None] {
        keyed(&seller, "k1", other).await.problem(422, "idempotency_key_reused");
    }
    // Keys of another seller, and of a buyer, are others.
    let manager = shop.member("manager").await;
    assert!(!keyed(&manager, "k1", Some(&known)).await.is_replayed());
    // A committed key replays when the right is gone.
    let member = format!(
        "/organizations/{}/members/{}",
        shop.org_id,
        seller.user_id.as_deref().expect("an id")
    );
    shop.owner.patch(&member, &json!({"role": "check_in"})).await.expect(OK);
    crate::support::eventually("the right is gone", async || {
        shop.sell(&seller, 1, &known).await.short() == LACKS
    })
    .await;
    assert!(keyed(&seller, "k1", Some(&known)).await.is_replayed());
    shop.server.audit();
}

#[tokio::test]
async fn the_buyer_is_refused_by_its_field() {
    let shop = Shop::start(&json!({})).await;
    for (buyer, field) in [
        (json!({"ref": "two words"}), "buyer.ref"),
        (json!({"ref": ""}), "buyer.ref"),
        (json!({"ref": "tab\t"}), "buyer.ref"),
        (json!({"ref": "ü"}), "buyer.ref"),
        (json!({"ref": "r".repeat(129)}), "buyer.ref"),
        (json!({"ref": null}), "buyer.ref"),
        (json!({"ref": 7}), "buyer.ref"),
        (json!({"user_id": "x"}), "buyer.user_id"),
        (json!({"user_id": UNKNOWN}), "buyer.user_id"),
        (json!({"user_id": null}), "buyer.user_id"),
        (json!({"ref": "a", "user_id": UNKNOWN}), "buyer"),
        (json!({"email": "ann@example.com"}), "buyer.email"),
        (json!(null), "buyer"),
        (json!("cust-42"), "buyer"),
        (json!(["cust-42"]), "buyer"),
    ] {
        let answer = shop.sell(&shop.owner, 1, &buyer).await;
        let problem = answer.problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["field"], field, "{buyer}: {problem:#}");
    }
    let longest = json!({"ref": "r".repeat(128)});
    shop.sell(&shop.owner, 1, &longest).await.expect(CREATED);
    // Nobody else learns which users there are.
    let outsider = shop.server.user().await;
    for id in [UNKNOWN, shop.owner.user_id.as_deref().expect("an id")] {
        let answer = shop.sell(&outsider, 1, &json!({"user_id": id})).await;
        assert_eq!(answer.short(), OUTSIDER);
    }
    assert_eq!(shop.owner.seats(&shop.event).await, (9, 1, 0));
}

#[tokio::test]
async fn a_draft_is_not_open_to_sellers_and_hidden_from_others() {
    let shop = Shop::start(&json!({"status": "draft"})).await;
    let buyer = json!({"ref": "cust-42"});
    let sold = shop.sell(&shop.owner, 1, &buyer).await;
    assert_eq!(sold.short(), "409 sale_not_open");
    let analyst = shop.member("analyst").await;
    assert_eq!(shop.sell(&analyst, 1, &buyer).await.short(), LACKS);
    let outsider = shop.server.user().await;
    assert_eq!(shop.sell(&outsider, 1, &buyer).await.short(), HIDDEN);
}

#[tokio::test]
async fn i13_the_box_office_sells_beyond_the_limits_that_it_names() {
    let terms = json!({"status": "closed", "max_seats_per_user": 1});
    let shop = Shop::start(&terms).await;
    let (office, outsider) = (shop.member("box_office").await, shop.server.user().await);
    let key = async |scopes: Value| {
        let path = format!("/organizations/{}/keys", shop.org_id);
        let made = shop.owner.post(&path, &json!({"name": "Till", "scopes": scopes})).await;
        shop.owner.with_token(text(&made.expect(CREATED), "secret"))
    };
    let beyond = async |by: &Client, seats, overrides: &Value| {
        let mut hold = for_buyer(&shop.event, seats, &json!({"ref": "cust-42"}));
        hold["overrides"] = overrides.clone();
        by.post("/bookings/hold", &hold).await
    };
    let window = json!(["sale_window"]);
    let both = json!(["buyer_limit", "sale_window"]);
    assert_eq!(beyond(&office, 1, &json!([])).await.short(), "409 sale_closed");
    assert_eq!(beyond(&office, 2, &window).await.short(), "409 buyer_limit");
    let held = beyond(&office, 2, &both).await.expect(CREATED);
    let path = format!("/bookings/{}", text(&held, "booking_id"));
    let items = json!([{"section_id": "A", "seats_requested": 3}]);
    let revised = office.patch(&path, &json!({"items": items, "overrides": window})).await;
    assert_eq!(revised.short(), "409 buyer_limit");
    let revised = office.patch(&path, &json!({"items": items, "overrides": both})).await.expect(OK);
    assert_eq!(revised["seats_requested"], 3);

    let sells = key(json!(["booking.sell"])).await;
    let problem = beyond(&sells, 1, &window).await;
    assert_eq!(problem.problem(403, "permission_missing")["permission"], "booking.override");
    let may = key(json!(["booking.sell", "booking.override"])).await;
    beyond(&may, 1, &both).await.expect(CREATED);
    assert_eq!(beyond(&outsider, 1, &both).await.short(), OUTSIDER);
    // A buyer goes beyond nothing.
    let own = json!({"event_id": shop.event, "section_id": "A", "seats_requested": 1,
        "overrides": both});
    assert_eq!(outsider.post("/bookings/hold", &own).await.short(), OUTSIDER);
    for (words, field) in [
        (json!(["sale_window", "orphans", "sale_window", "orphans"]), "overrides"),
        (json!(["capacity"]), "overrides"),
        (json!("sale_window"), "overrides"),
        (json!(null), "overrides"),
        (json!([7]), "overrides"),
    ] {
        let answer = beyond(&office, 1, &words).await;
        let problem = answer.problem(422, "validation_failed");
        let named = text(&problem["errors"][0], "field");
        assert!(named.starts_with(field), "{words}: {problem:#}");
    }
    assert_eq!(shop.owner.seats(&shop.event).await, (6, 4, 0));
    shop.server.audit();
}

#[tokio::test]
async fn i6_what_a_request_goes_beyond_is_part_of_it() {
    let shop = Shop::start(&json!({"status": "closed"})).await;
    let keyed = async |overrides: Value| {
        let mut hold = for_buyer(&shop.event, 1, &json!({"ref": "cust-42"}));
        hold["overrides"] = overrides;
        let key = [("idempotency-key", "k1")];
        shop.owner.send(Method::POST, "/bookings/hold", Some(&hold), &key).await
    };
    let first = keyed(json!(["sale_window", "orphans"])).await.expect(CREATED);
    let again = keyed(json!(["orphans", "sale_window"])).await;
    assert!(again.is_replayed());
    assert_eq!(again.expect(CREATED)["booking_id"], first["booking_id"]);
    assert_eq!(keyed(json!(["sale_window"])).await.short(), "422 idempotency_key_reused");
    assert_eq!(keyed(json!([])).await.short(), "422 idempotency_key_reused");
}
