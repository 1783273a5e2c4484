//! Events that go from one organization to another, and the organization in their answers.

use super::organizations::{SECRET, foreign};
use crate::support::{Answer, Client, Server, eventually, hold_body, show};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const OK: StatusCode = StatusCode::OK;
const OUTSIDER: &str = "403 not_organizer";
const LACKS: &str = "403 permission_missing";
const HIDDEN: &str = "404 not_found";
const UNKNOWN: &str = "fedcba98-7654-8321-8fed-cba987654321";

fn id(client: &Client) -> &str {
    client.user_id.as_deref().expect("a user's client")
}

async fn team(founder: &Client, name: &str) -> String {
    let made = founder.post("/organizations", &json!({"name": name})).await;
    let made = made.expect(StatusCode::CREATED);
    made["organization_id"].as_str().expect("an id").to_owned()
}

/// Makes somebody a member of an organization, in this role, at these events or at all.
async fn join(owner: &Client, org_id: &str, member: &Client, role: &str, events: Option<&[&str]>) {
    let me = member.get("/users/me").await.expect(OK);
    let mut invitation = json!({"email": me["email"], "role": role});
    if let Some(events) = events {
        invitation["events"] = json!(events);
    }
    let path = format!("/organizations/{org_id}/invitations");
    let made = owner.post(&path, &invitation).await.expect(StatusCode::CREATED);
    let accept = json!({"token": made["token"]});
    member.post("/invitations/accept", &accept).await.expect(OK);
}

async fn transfer(by: &Client, event_id: &str, org_id: &str) -> Answer {
    let body = json!({"organization_id": org_id});
    by.post(&format!("/events/{event_id}/transfer"), &body).await
}

/// An event of an organization.
async fn event_of(by: &Client, org_id: &str, status: &str) -> String {
    by.event_with(&show(&json!({"organization_id": org_id, "status": status}))).await
}

/// The entries of an access log that say of transfers.
async fn transfers(by: &Client, org_id: &str) -> Vec<Value> {
    by.all(&format!("/organizations/{org_id}/log?action=event_transferred")).await
}

#[track_caller]
fn lacks(answer: Answer, permission: &str) {
    assert_eq!(answer.problem(403, "permission_missing")["permission"], permission);
}

#[tokio::test]
async fn an_event_is_transferred_with_its_bookings_and_leaves_its_series() {
    let server = Server::start(&[]);
    let (ada, buyer) = (server.user().await, server.user().await);
    let series = ada.post("/series", &json!({"title": "Season"})).await;
    let series = series.expect(StatusCode::CREATED)["series_id"].clone();
    let event = ada.event_with(&show(&json!({"series_id": series}))).await;
    let sold = buyer.held(&event, 2).await;
    buyer.step(&sold, "confirm").await.expect(OK);
    let path = format!("/events/{event}");
    let before = ada.get(&path).await.expect(OK);
    let troupe = team(&ada, "Troupe").await;

    let body = json!({"organization_id": troupe.to_uppercase()});
    let by = [("X-Request-Id", "r-1")];
    let path_of = format!("{path}/transfer");
    let made = ada.send(Method::POST, &path_of, Some(&body), &by).await;
    let etag = made.headers["etag"].clone();
    let made = made.expect(OK);
    let mut expected = before.clone();
    expected.as_object_mut().expect("an object").remove("series_id");
    expected["organizer_id"] = json!(troupe);
    expected["organization"] =
        json!({"organization_id": troupe, "name": "Troupe", "personal": false});
    expected["version"] = json!(2);
    expected["updated_at"] = made["updated_at"].clone();
    assert_eq!(made, expected);
    let read = ada.get(&path).await;
    assert_eq!(read.headers["etag"], etag);
    assert_eq!(read.expect(OK), expected);
    // The same again changes nothing, whatever version was seen.
    let old = [("If-Match", "W/\"1.1.1.1.0000000000000000\"")];
    for headers in [&old[..], &[]] {
        let again = ada.send(Method::POST, &path_of, Some(&body), headers).await;
        assert_eq!(again.expect(OK), expected);
    }

    let of_series = format!("/events?series_id={}", series.as_str().expect("an id"));
    assert_eq!(ada.all(&of_series).await, Vec::<Value>::new());
    let card = &ada.all(&format!("/events?organization_id={troupe}")).await[0];
    assert_eq!(card["organization"], expected["organization"]);
    assert!(ada.all(&format!("/events?organization_id={}", id(&ada))).await.is_empty());
    assert_eq!(buyer.get(&format!("/bookings/{sold}")).await.expect(OK)["status"], "CONFIRMED");
    assert_eq!(ada.seats(&event).await, (8, 0, 2));

    for org_id in [id(&ada), &troupe] {
        let entries = transfers(&ada, org_id).await;
        let [entry] = &entries[..] else { panic!("one: {entries:?}") };
        assert_eq!((&entry["target"], &entry["request_id"]), (&json!(event), &json!("r-1")));
        assert_eq!(entry["actor"], json!({"kind": "user", "user_id": id(&ada)}));
        assert_eq!(entry["before"], json!({"organization_id": id(&ada)}));
        assert_eq!(entry["after"], json!({"organization_id": troupe}));
    }
    server.audit();
}

#[tokio::test]
async fn i13_who_transfers_an_event_gives_it_away_and_could_create_it_there() {
    const ROLES: [&str; 5] = ["owner", "manager", "box_office", "analyst", "check_in"];
    let server = Server::start(&[]);
    let (ada, eve) = (server.user().await, server.user().await);
    let (from, to) = (team(&ada, "From").await, team(&eve, "To").await);
    join(&eve, &to, &ada, "manager", None).await;
    let public = event_of(&ada, &from, "on_sale").await;
    let draft = event_of(&ada, &from, "draft").await;

    // By members of the organization that has it; each of them may create events there.
    for role in &ROLES[1..] {
        let member = server.user().await;
        join(&ada, &from, &member, role, None).await;
        join(&eve, &to, &member, "manager", None).await;
        for event in [&public, &draft] {
            lacks(transfer(&member, event, &to).await, "org.write");
        }
    }
    let confined = server.user().await;
    join(&ada, &from, &confined, "manager", Some(&[&public])).await;
    lacks(transfer(&confined, &public, id(&confined)).await, "org.write");
    for outsider in [&eve, &server.user().await] {
        assert_eq!(transfer(outsider, &public, &to).await.short(), OUTSIDER);
        assert_eq!(transfer(outsider, &draft, &to).await.short(), HIDDEN);
        assert_eq!(transfer(outsider, &public, id(outsider)).await.short(), OUTSIDER);
    }

    // To where the owner is nothing, or not enough.
    let elsewhere = team(&eve, "Elsewhere").await;
    for org_id in [elsewhere.as_str(), id(&eve), UNKNOWN] {
        let problem = transfer(&ada, &public, org_id).await.problem(404, "not_found");
        assert!(problem["detail"].as_str().expect("text").contains("organization"), "{problem:#}");
    }
    for role in &ROLES[2..] {
        let org_id = team(&eve, role).await;
        join(&eve, &org_id, &ada, role, None).await;
        lacks(transfer(&ada, &public, &org_id).await, "event.write");
    }
    let theirs = event_of(&eve, &elsewhere, "draft").await;
    join(&eve, &elsewhere, &ada, "manager", Some(&[&theirs])).await;
    lacks(transfer(&ada, &public, &elsewhere).await, "event.write");

    for event in [&public, &draft] {
        assert_eq!(ada.get(&format!("/events/{event}")).await.expect(OK)["version"], 1);
        let moved = transfer(&ada, event, &to).await.expect(OK);
        assert_eq!((&moved["organizer_id"], &moved["version"]), (&json!(to), &json!(2)));
    }
    assert_eq!((transfers(&ada, &from).await.len(), transfers(&eve, &to).await.len()), (2, 2));
    assert!(transfers(&eve, &elsewhere).await.is_empty());
    server.audit();
}

#[tokio::test]
async fn i13_an_event_is_changed_by_those_of_its_new_organization_alone() {
    let server = Server::start(&[]);
    let (ada, eve, buyer) = (server.user().await, server.user().await, server.user().await);
    let (from, to) = (team(&ada, "From").await, team(&eve, "To").await);
    let old = server.user().await;
    join(&ada, &from, &old, "manager", None).await;
    join(&eve, &to, &ada, "manager", None).await;
    let event = event_of(&ada, &from, "on_sale").await;
    let sold = buyer.held(&event, 1).await;
    buyer.step(&sold, "confirm").await.expect(OK);
    let path = format!("/events/{event}");
    let title = json!({"title": "Another"});
    let block = json!({"number": 1, "reason": "sound"});
    let blocked = format!("{path}/sections/A/blocked");
    // In use, so that it is known.
    old.patch(&path, &title).await.expect(OK);
    eve.get(&format!("{path}/availability")).await.expect(OK);
    transfer(&ada, &event, &to).await.expect(OK);

    for (who, allowed) in [(&old, false), (&eve, true)] {
        let short = |expected: &'static str| if allowed { "200" } else { expected };
        let answer = who.get(&format!("{path}/bookings")).await;
        assert_eq!(answer.short().trim_end(), short(OUTSIDER));
        let answer = who.get(&format!("/bookings/{sold}")).await;
        assert_eq!(answer.short().trim_end(), short(HIDDEN));
        let seats = who.get(&format!("{path}/availability")).await.expect(OK);
        assert_eq!(seats["sections"][0]["held_seats"].is_i64(), allowed);
        let answer = who.patch(&path, &title).await;
        assert_eq!(answer.short().trim_end(), short(OUTSIDER));
        let answer = who.send(Method::PUT, &blocked, Some(&block), &[]).await;
        assert_eq!(answer.short().trim_end(), short(OUTSIDER));
        let answer = who.step(&sold, "cancel").await;
        assert_eq!(answer.short().trim_end(), short(HIDDEN));
        let answer = who.post_empty(&format!("{path}/cancel")).await;
        assert_eq!(answer.short().trim_end(), short(OUTSIDER));
    }
    // What was called off, and what is over, can be transferred, too.
    transfer(&eve, &event, id(&eve)).await.expect(OK);
    let over = eve.event_with(&show(&json!({"event_date": "2020-06-15"}))).await;
    transfer(&eve, &over, &to).await.expect(OK);
    // A draft is gone for those of before.
    let draft = event_of(&ada, &from, "draft").await;
    old.get(&format!("/events/{draft}")).await.expect(OK);
    transfer(&ada, &draft, &to).await.expect(OK);
    let gone = old.get(&format!("/events/{draft}")).await;
    assert_eq!(gone.short(), HIDDEN);
    assert_eq!(old.post("/bookings/hold", &hold_body(&draft, 1)).await.short(), HIDDEN);
    eve.get(&format!("/events/{draft}")).await.expect(OK);
    server.audit();
}

#[tokio::test]
async fn a_transfer_names_what_is_wrong_with_it() {
    let server = Server::start(&[("SECRET_KEY", SECRET)]);
    let ada = server.user().await;
    let (event, troupe) = (ada.event(3).await, team(&ada, "Troupe").await);
    let path = format!("/events/{event}/transfer");
    for (body, field) in [
        (json!({}), "organization_id"),
        (json!({"organization_id": "me"}), "organization_id"),
        (json!({"organization_id": ""}), "organization_id"),
        (json!({"organization_id": null}), "organization_id"),
        (json!({"organization_id": 7}), "organization_id"),
        (json!({"organization_id": troupe, "series_id": UNKNOWN}), "series_id"),
    ] {
        let problem = ada.post(&path, &body).await.problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["field"], field, "{body}: {problem:#}");
    }
    let body = json!({"organization_id": troupe});
    let at =
        async |tag: &str| ada.send(Method::POST, &path, Some(&body), &[("If-Match", tag)]).await;
    at("nonsense").await.problem(400, "malformed_request");
    let read = ada.get(&format!("/events/{event}")).await;
    let tag = read.headers["etag"].to_str().expect("text").to_owned();
    ada.patch(&format!("/events/{event}"), &json!({"title": "Newer"})).await.expect(OK);
    assert_eq!(at(&tag).await.problem(412, "version_mismatch")["version"], 2);
    for nothing in [UNKNOWN, "none"] {
        assert_eq!(transfer(&ada, nothing, &troupe).await.short(), HIDDEN);
    }
    let nobody = Client::of(&server.url);
    assert_eq!(transfer(&nobody, &event, &troupe).await.short(), "401 unauthorized");
    let namesake = foreign(&server, &troupe);
    assert_eq!(transfer(&namesake, &event, &troupe).await.short(), OUTSIDER);
    at("*").await.expect(OK);
    // A token with the id of a team owns none of its events.
    assert_eq!(transfer(&namesake, &event, &troupe).await.short(), OUTSIDER);
    assert_eq!(transfers(&ada, &troupe).await.len(), 1);
}

#[tokio::test]
async fn answers_show_the_organization_by_its_name_of_now() {
    let server = Server::start(&[]);
    let ada = server.user().await;
    let troupe = team(&ada, "Troupe").await;
    let (own, teams) = (ada.event(1).await, event_of(&ada, &troupe, "on_sale").await);
    let series = json!({"title": "Season", "organization_id": troupe});
    let series = ada.post("/series", &series).await.expect(StatusCode::CREATED);
    let series = format!("/series/{}", series["series_id"].as_str().expect("an id"));
    let organization = |org_id: &str, name: Value| {
        let personal = org_id == id(&ada);
        json!({"organization_id": org_id, "name": name, "personal": personal})
    };
    let shows = async |expected: &Value, path: &str| {
        let answer = ada.get(path).await;
        let etag = answer.headers["etag"].to_str().expect("text").to_owned();
        let body = answer.expect(OK);
        assert_eq!(&body["organization"], expected, "{path}");
        etag
    };
    let (own, teams) = (format!("/events/{own}"), format!("/events/{teams}"));
    shows(&organization(id(&ada), Value::Null), &own).await;
    let first = organization(&troupe, json!("Troupe"));
    let tags = [shows(&first, &teams).await, shows(&first, &series).await];

    for (org_id, name) in [("me", "Ada's"), (troupe.as_str(), "Company")] {
        ada.patch(&format!("/organizations/{org_id}"), &json!({"name": name})).await.expect(OK);
    }
    shows(&organization(id(&ada), json!("Ada's")), &own).await;
    let second = organization(&troupe, json!("Company"));
    let newer = [shows(&second, &teams).await, shows(&second, &series).await];
    for (path, (tag, newer)) in [&teams, &series].into_iter().zip(tags.iter().zip(&newer)) {
        assert_ne!(tag, newer, "{path}");
        let known = async |tag: &str| {
            ada.send(Method::GET, path, None, &[("If-None-Match", tag)]).await.status
        };
        assert_eq!((known(tag).await, known(newer).await), (OK, StatusCode::NOT_MODIFIED));
        // The name is no change of what has it.
        let title = json!({"title": "Another"});
        let guarded = ada.send(Method::PATCH, path, Some(&title), &[("If-Match", tag)]).await;
        guarded.expect(OK);
    }
    let listed = ada.all("/events?organizer=me").await;
    let names: Vec<_> = listed.iter().map(|card| card["organization"]["name"].clone()).collect();
    assert_eq!(names, ["Company", "Ada's"]);
    let of_team = ada.all(&format!("/series?organization_id={troupe}")).await;
    assert_eq!(of_team[0]["organization"], second);
    let anonymous = Client::of(&server.url).get(&teams).await.expect(OK);
    assert_eq!(anonymous["organization"], second);
}

#[tokio::test]
async fn a_member_is_confined_to_an_event_that_has_come_to_the_organization() {
    let server = Server::start(&[]);
    let (ada, eve) = (server.user().await, server.user().await);
    let troupe = team(&ada, "Troupe").await;
    let event = ada.event(1).await;
    join(&ada, &troupe, &eve, "manager", None).await;
    let member = format!("/organizations/{troupe}/members/{}", id(&eve));
    let confine = async || ada.patch(&member, &json!({"events": [event]})).await;
    confine().await.problem(422, "validation_failed");
    transfer(&ada, &event, &troupe).await.expect(OK);
    confine().await.expect(OK);
    let title = json!({"title": "Hers"});
    eventually("she acts at this event alone", async || {
        let created = eve.post("/events", &show(&json!({"organization_id": troupe}))).await;
        created.short() == LACKS
    })
    .await;
    eve.patch(&format!("/events/{event}"), &title).await.expect(OK);
    // When it leaves, nothing of it is hers.
    transfer(&ada, &event, id(&ada)).await.expect(OK);
    assert_eq!(eve.patch(&format!("/events/{event}"), &title).await.short(), OUTSIDER);
}
