//! Organizations: personal ones and teams.

mod access_log;
mod input;
mod invitations;
mod keys;
mod members;

use crate::support::{Answer, Client, Server, show};
use jsonwebtoken::{EncodingKey, Header};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const PASSWORD: &str = "correct horse battery";
pub(super) const SECRET: &str = "0123456789abcdef0123456789abcdef";
const UNKNOWN: &str = "01990000-0000-8000-8000-000000000000";
const OK: StatusCode = StatusCode::OK;

/// The path of what belongs to an organization.
fn at(org: &str, rest: &str) -> String {
    format!("/organizations/{org}{rest}")
}

fn id(client: &Client) -> &str {
    client.user_id.as_deref().expect("a user's client")
}

/// Founds a team; gives its id.
async fn team(founder: &Client, name: &str) -> String {
    let team = founder.post("/organizations", &json!({"name": name})).await;
    let team = team.expect(StatusCode::CREATED);
    team["organization_id"].as_str().expect("an id").to_owned()
}

async fn email(client: &Client) -> String {
    let me = client.get("/users/me").await.expect(OK);
    me["email"].as_str().expect("text").to_owned()
}

/// Invites somebody by address; gives the token.
async fn invited(by: &Client, org: &str, email: &str, access: &Value) -> String {
    let mut invitation = json!({"email": email});
    let members = invitation.as_object_mut().expect("an object");
    members.extend(access.as_object().expect("an object").clone());
    let made = by.post(&at(org, "/invitations"), &invitation).await.expect(StatusCode::CREATED);
    made["token"].as_str().expect("it is shown once").to_owned()
}

async fn accept(client: &Client, token: &str) -> Answer {
    client.post("/invitations/accept", &json!({"token": token})).await
}

/// A new user who has become a member.
async fn joined(server: &Server, by: &Client, org: &str, access: &Value) -> Client {
    let user = server.user().await;
    let token = invited(by, org, &email(&user).await, access).await;
    accept(&user, &token).await.expect(OK);
    user
}

/// A client of somebody without an account here, whom a shop has given a token.
pub(super) fn foreign(server: &Server, user_id: &str) -> Client {
    let claims = json!({"sub": user_id, "iat": 1, "exp": 4_102_444_800_i64, "jti": "x"});
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let token = jsonwebtoken::encode(&Header::default(), &claims, &key).expect("signs");
    let mut client = server.client().with_token(&token);
    client.user_id = Some(user_id.to_owned());
    client
}

/// Whether an answer refuses this field; gives the message.
#[track_caller]
fn invalid(answer: Answer, field: &str) -> String {
    let problem = answer.problem(422, "validation_failed");
    assert_eq!(problem["errors"][0]["field"], field, "{problem:#}");
    problem["errors"][0]["message"].as_str().expect("text").to_owned()
}

/// Whether an answer misses this permission.
#[track_caller]
fn lacks(answer: Answer, permission: &str) {
    let problem = answer.problem(403, "permission_missing");
    assert_eq!(problem["permission"], permission, "{problem:#}");
}

#[tokio::test]
async fn a_team_is_founded_read_and_renamed() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let founded = user.post("/organizations", &json!({"name": "Open Air"})).await;
    let etag = founded.headers["etag"].clone();
    let location = founded.headers["location"].to_str().expect("text").to_owned();
    let team = founded.expect(StatusCode::CREATED);
    let org = team["organization_id"].as_str().expect("an id");
    assert_eq!(location, format!("/api/v1/organizations/{org}"));
    let expected = json!({
        "organization_id": org,
        "name": "Open Air",
        "personal": false,
        "role": "owner",
        "events": null,
        "version": 1,
        "created_at": team["created_at"],
    });
    assert_eq!(team, expected);
    assert!(team["created_at"].is_string(), "{team:#}");
    let path = at(org, "");
    let read = user.get(&path).await;
    assert_eq!(
        (&read.headers["etag"], &read.headers["cache-control"]),
        (&etag, &"private, no-store".parse().expect("a value"))
    );
    assert_eq!(read.expect(OK), team);
    let tag = etag.to_str().expect("text");
    let known = user.send(Method::GET, &path, None, &[("If-None-Match", tag)]).await;
    assert_eq!(known.status, StatusCode::NOT_MODIFIED);

    let guarded = async |body: Value| {
        user.send(Method::PATCH, &path, Some(&body), &[("If-Match", tag)]).await
    };
    assert_eq!(guarded(json!({})).await.expect(OK), team, "nothing is asked for");
    let change = guarded(json!({"name": "Open Air Stage"})).await;
    assert_ne!(change.headers["etag"], etag);
    let changed = change.expect(OK);
    assert_eq!((&changed["name"], &changed["version"]), (&json!("Open Air Stage"), &json!(2)));
    for stale in [json!({"name": "Other"}), json!({})] {
        assert_eq!(guarded(stale).await.problem(412, "version_mismatch")["version"], 2);
    }
    let again = user.patch(&path, &json!({"name": "Open Air Stage"})).await.expect(OK);
    assert_eq!(again, changed, "nothing has changed");
    server.audit();
}

#[tokio::test]
async fn a_personal_organization_is_there_before_anything_is_stored_of_it() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let personal = user.get("/organizations/me").await;
    let etag = personal.headers["etag"].clone();
    let personal = personal.expect(OK);
    let expected = json!({
        "organization_id": id(&user),
        "name": null,
        "personal": true,
        "role": "owner",
        "events": null,
        "version": 1,
        "created_at": null,
    });
    assert_eq!(personal, expected);
    assert_eq!(user.get(&at(id(&user), "")).await.expect(OK), personal);
    assert_eq!(user.get(&at(&id(&user).to_uppercase(), "")).await.expect(OK), personal);
    let log = user.get("/organizations/me/log").await.expect(OK);
    assert_eq!(log, json!({"items": [], "next": null}));
    let tag = [("If-Match", etag.to_str().expect("text"))];
    let name = json!({"name": "Ada's"});
    let named = user.send(Method::PATCH, "/organizations/me", Some(&name), &tag).await.expect(OK);
    assert_eq!((&named["name"], &named["version"]), (&json!("Ada's"), &json!(2)));
    assert!(named["created_at"].is_string(), "{named:#}");
    assert_eq!(user.get("/organizations/me").await.expect(OK), named);
    let all = user.get("/organizations").await.expect(OK);
    assert_eq!(all, json!({"items": [named], "next": null}));
}

/// Every call about an organization.
async fn calls(client: &Client, org: &str) -> Vec<(String, Answer)> {
    let member = format!("/members/{UNKNOWN}");
    let transfer = json!({"user_id": UNKNOWN, "password": "a guess"});
    let invitation = json!({"email": "eva@example.com", "role": "analyst"});
    let calls = [
        (Method::GET, "", None),
        (Method::PATCH, "", Some(json!({"name": "Mine"}))),
        (Method::PATCH, "", Some(json!({}))),
        (Method::GET, "/members", None),
        (Method::PATCH, member.as_str(), Some(json!({"role": "owner", "password": "a guess"}))),
        (Method::PATCH, &member, Some(json!({"events": [UNKNOWN]}))),
        (Method::DELETE, &member, Some(json!({"password": "a guess"}))),
        (Method::DELETE, "/members/me", None),
        (Method::POST, "/transfer", Some(transfer)),
        (Method::GET, "/invitations", None),
        (Method::POST, "/invitations", Some(invitation)),
        (Method::DELETE, "/invitations/01990000-0000-8000-8000-000000000000", None),
        (Method::GET, "/log", None),
    ];
    let mut answers = Vec::new();
    for (method, rest, body) in calls {
        let answer = client.send(method.clone(), &at(org, rest), body.as_ref(), &[]).await;
        answers.push((format!("{method} {rest}"), answer));
    }
    answers
}

#[tokio::test]
async fn an_organization_does_not_exist_for_others() {
    let server = Server::start(&[("SECRET_KEY", SECRET)]);
    let (user, stranger) = (server.user().await, server.user().await);
    let org = team(&user, "Team").await;
    let before = user.get(&at(&org, "/members")).await.expect(OK);
    for org in [org.as_str(), id(&user), UNKNOWN, "none", "ME"] {
        for (call, answer) in calls(&stranger, org).await {
            let problem = answer.problem(404, "not_found");
            let detail = problem["detail"].as_str().expect("text");
            let told = "There is no such organization, or you do not have access to it.";
            assert_eq!(detail, told, "{call} {org}");
        }
    }
    for (call, answer) in calls(&server.client(), &org).await {
        assert_eq!(answer.short(), "401 unauthorized", "{call}");
    }
    // The id of a team in a token makes nobody its owner.
    let namesake = foreign(&server, &org);
    for of in [org.as_str(), "me"] {
        for (call, answer) in calls(&namesake, of).await {
            assert_eq!(answer.short(), "404 not_found", "{call}");
        }
    }
    let none = namesake.get("/organizations").await.expect(OK);
    assert_eq!(none, json!({"items": [], "next": null}));
    assert_eq!(user.get(&at(&org, "/members")).await.expect(OK), before);
    let theirs = stranger.get("/organizations").await.expect(OK);
    assert_eq!(theirs["items"].as_array().map(Vec::len), Some(1), "their own: {theirs:#}");
}

#[tokio::test]
async fn the_personal_organization_comes_first_and_the_others_by_their_ids_page_by_page() {
    let server = Server::start(&[("SECRET_KEY", SECRET)]);
    // The id of the second one is greater than that of any team.
    let abroad = foreign(&server, "f47ac10b-58cc-4372-a567-0e02b2c3d479");
    for user in [server.user().await, abroad] {
        let mut expected = vec![id(&user).to_owned()];
        for number in 0..4 {
            expected.push(team(&user, &format!("Team {number}")).await);
        }
        expected[1..].sort();
        for limit in [1, 2, 5, 100] {
            let (mut found, mut after) = (Vec::new(), String::new());
            loop {
                let page = user.get(&format!("/organizations?limit={limit}{after}")).await;
                let page = page.expect(OK);
                let items = page["items"].as_array().expect("a list");
                assert!((1..=limit).contains(&items.len()), "{page:#}");
                found.extend(items.iter().map(|of| of["organization_id"].clone()));
                match page["next"].as_str() {
                    Some(next) => after = format!("&after={next}"),
                    None => break,
                }
            }
            assert_eq!(found, expected, "by {limit}");
        }
        invalid(user.get("/organizations?after=none").await, "after");
        invalid(user.get("/organizations?limit=101").await, "limit");
    }
}

#[tokio::test]
async fn a_retry_founds_one_team() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let send = async |name: &str| {
        let (body, key) = (json!({"name": name}), [("Idempotency-Key", "t")]);
        user.send(Method::POST, "/organizations", Some(&body), &key).await
    };
    let first = send("Team").await.expect(StatusCode::CREATED);
    let again = send("Team").await;
    assert!(again.is_replayed());
    assert_eq!(again.expect(StatusCode::CREATED), first);
    send("Other").await.problem(422, "idempotency_key_reused");
    let all = user.get("/organizations").await.expect(OK);
    assert_eq!(all["items"].as_array().map(Vec::len), Some(2), "{all:#}");
}

#[tokio::test]
async fn a_user_is_in_a_hundred_organizations_at_most() {
    let server = Server::start(&[]);
    let user = server.user().await;
    for number in 0..100 {
        team(&user, &format!("Team {number}")).await;
    }
    let more = user.post("/organizations", &json!({"name": "More"})).await;
    assert_eq!(more.problem(409, "limit_reached")["limit"], 100);
    let other = server.user().await;
    let org = team(&other, "Theirs").await;
    let token = invited(&other, &org, &email(&user).await, &json!({"role": "analyst"})).await;
    assert_eq!(accept(&user, &token).await.problem(409, "limit_reached")["limit"], 100);
    assert_eq!(user.all("/organizations").await.len(), 101);
}

#[tokio::test]
async fn who_knows_nothing_of_organizations_meets_none() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let me = user.get("/users/me").await.expect(OK);
    assert_eq!(me.as_object().map(serde_json::Map::len), Some(4), "{me:#}");
    let event = user.post("/events", &show(&json!({}))).await.expect(StatusCode::CREATED);
    assert_eq!(event["organizer_id"], id(&user));
    let mine = user.get("/events?organizer=me").await.expect(OK);
    assert_eq!(mine["items"][0]["event_id"], event["event_id"]);
    let stranger = server.user().await;
    let path = format!("/events/{}", event["event_id"].as_str().expect("an id"));
    let title = json!({"title": "Mine"});
    stranger.patch(&path, &title).await.problem(403, "not_organizer");
    user.patch(&path, &title).await.expect(OK);
    let personal = user.get("/organizations/me").await.expect(OK);
    assert_eq!(personal["created_at"], Value::Null, "nothing was stored");
    server.audit();
}
