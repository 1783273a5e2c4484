//! Operators of the installation: made on the machine, they read all of it and change nothing.

use crate::commands::{folder, good, told};
use crate::support::{Client, Server, eventually, run_in, show};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

const OK: StatusCode = StatusCode::OK;
const CREATED: StatusCode = StatusCode::CREATED;

pub async fn email(user: &Client) -> String {
    user.get("/users/me").await.expect(OK)["email"].as_str().expect("an address").to_owned()
}

/// A new user who is an operator by now.
pub async fn operator(server: &Server) -> Client {
    let user = server.user().await;
    let email = email(&user).await;
    server.sql(&format!(
        "INSERT INTO operators (user_id, added_at) SELECT user_id, 0 FROM users WHERE email = '{email}'"
    ));
    eventually("everybody knows", async || is_operator(&user).await).await;
    user
}

async fn is_operator(user: &Client) -> bool {
    user.get("/users/me").await.expect(OK)["operator"] == true
}

async fn team(founder: &Client) -> String {
    let team = founder.post("/organizations", &json!({"name": "Troupe"})).await.expect(CREATED);
    team["organization_id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn operators_are_added_listed_and_removed_on_the_machine() {
    let folder = folder();
    let server = Server::start_in(folder.path(), &[]);
    let user = server.user().await;
    let email = email(&user).await;
    assert_eq!(user.get("/users/me").await.expect(OK).get("operator"), None);
    server.stop();
    let run = |arguments: &[&str]| run_in(folder.path(), &[&["operator"], arguments].concat());
    assert_eq!(good(&run(&["list"])).trim(), "there are no operators");
    for (arguments, said) in [
        (["remove", &email], "is no operator"),
        (["add", &email.to_uppercase()], "is an operator now"),
        (["add", &email], "is an operator already"),
    ] {
        assert_eq!(good(&run(&arguments)).trim(), format!("{email} {said}"), "{arguments:?}");
    }
    for step in ["add", "remove", "lock"] {
        let nobody = run(&[step, "nobody@example.com"]);
        assert_eq!(nobody.status.code(), Some(2), "{}", told(&nobody));
        assert!(told(&nobody).contains("no user with the address nobody@example.com"));
    }
    let listed = good(&run(&["list"]));
    let id = user.user_id.clone().expect("a user's client");
    assert!(listed.starts_with(&format!("{email}  {id}  since 2")), "{listed}");
    let server = Server::start_in(folder.path(), &[]);
    let back = |server: &Server| {
        server.client().with_token(user.token.as_deref().expect("a user's client"))
    };
    assert!(is_operator(&back(&server)).await);
    server.stop();
    assert!(good(&run(&["remove", &email])).contains("is an operator no longer"));
    let server = Server::start_in(folder.path(), &[]);
    assert!(!is_operator(&back(&server)).await);
    server.stop();
    assert!(good(&run(&["lock", &email])).contains(&format!("all logins of {email} before ")));
    let server = Server::start_in(folder.path(), &[]);
    back(&server).get("/users/me").await.problem(401, "unauthorized");
}

#[test]
fn an_operator_command_makes_no_store() {
    let folder = folder();
    for arguments in [&["list"][..], &["add", "ada@example.com"]] {
        let output = run_in(folder.path(), &[&["operator"], arguments].concat());
        assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    }
}

#[tokio::test]
async fn an_operator_reads_every_organization_and_changes_none() {
    let server = Server::start(&[]);
    let owner = server.user().await;
    let team = team(&owner).await;
    let draft = json!({"title": "Rehearsal", "status": "draft", "organization_id": team});
    let draft = owner.event_with(&show(&draft)).await;
    let event = owner.event_with(&show(&json!({"organization_id": team}))).await;
    let buyer = server.user().await;
    let booking = buyer.held(&event, 2).await;
    let operator = operator(&server).await;
    let org = format!("/organizations/{team}");
    let of_draft = format!("/events/{draft}");

    let seen = operator.get(&org).await.expect(OK);
    assert_eq!((&seen["name"], &seen["role"]), (&json!("Troupe"), &Value::Null));
    let members = operator.get(&format!("{org}/members")).await.expect(OK);
    assert_eq!(members["items"][0]["role"], "owner");
    assert_eq!(operator.get(&of_draft).await.expect(OK)["title"], "Rehearsal");
    assert_eq!(operator.seats(&event).await, (8, 2, 0));
    let seen = operator.get(&format!("/bookings/{booking}")).await.expect(OK);
    assert_eq!(seen["status"], "HOLD");
    assert_eq!(operator.all(&format!("/events/{event}/bookings")).await.len(), 1);
    operator.get(&format!("/series?organization_id={team}")).await.expect(OK);
    for list in ["/events?q=rehearsal", &format!("/events?organization_id={team}&status=draft")] {
        assert_eq!(operator.all(list).await.len(), 1, "{list}");
        assert_eq!(buyer.all(list).await.len(), 0, "{list}");
    }
    // It is no organization of theirs.
    assert_eq!(operator.all("/organizations").await.len(), 1);
    assert_eq!(operator.all("/events?organizer=me").await.len(), 0);

    let title = json!({"title": "Mine"});
    for (method, path, body, permission) in [
        (Method::PATCH, of_draft.clone(), title.clone(), "event.write"),
        (Method::POST, format!("{of_draft}/cancel"), json!({}), "event.cancel"),
        (Method::PATCH, org.clone(), json!({"name": "Mine"}), "org.write"),
        (Method::GET, format!("{org}/invitations"), Value::Null, "member.write"),
        (Method::GET, format!("{org}/keys"), Value::Null, "integration.write"),
        (Method::POST, format!("/bookings/{booking}/confirm"), json!({}), "booking.sell"),
        (Method::POST, format!("/bookings/{booking}/cancel"), json!({}), "booking.cancel"),
        (
            Method::POST,
            "/events".to_owned(),
            show(&json!({"organization_id": team})),
            "event.write",
        ),
        (Method::DELETE, format!("{org}/invitations/{team}"), Value::Null, "member.write"),
    ] {
        let body = Some(&body).filter(|body| !body.is_null());
        let refused = operator.send(method, &path, body, &[]).await;
        assert_eq!(refused.problem(403, "permission_missing")["permission"], permission, "{path}");
    }
    let nowhere = "01a20500-0000-8000-8000-000000000000";
    operator.get(&format!("/organizations/8{}", &nowhere[1..])).await.problem(404, "not_found");
    operator.get(&format!("/events/{nowhere}")).await.problem(404, "not_found");
    server.audit();
}

#[tokio::test]
async fn a_member_who_is_an_operator_may_what_a_member_may_and_reads_the_rest() {
    let server = Server::start(&[]);
    let (owner, operator) = (server.user().await, operator(&server).await);
    let team = team(&owner).await;
    let event = owner.event_with(&show(&json!({"organization_id": team}))).await;
    let invitation = json!({"email": email(&operator).await, "role": "check_in"});
    let org = format!("/organizations/{team}");
    let made = owner.post(&format!("{org}/invitations"), &invitation).await.expect(CREATED);
    let token = json!({"token": made["token"]});
    operator.post("/invitations/accept", &token).await.expect(OK);
    assert_eq!(operator.get(&org).await.expect(OK)["role"], "check_in");
    operator.get(&format!("/events/{event}/bookings")).await.expect(OK);
    operator.get(&format!("{org}/log")).await.expect(OK);
    let refused = operator.patch(&format!("/events/{event}"), &json!({"title": "Mine"})).await;
    refused.problem(403, "permission_missing");
}

#[tokio::test]
async fn i15_an_operator_who_was_removed_reads_nothing_a_second_later() {
    let server = Server::start(&[]);
    let (owner, operator) = (server.user().await, operator(&server).await);
    let org = format!("/organizations/{}", team(&owner).await);
    let draft = owner.event_with(&show(&json!({"status": "draft"}))).await;
    operator.get(&org).await.expect(OK);
    operator.get(&format!("/events/{draft}")).await.expect(OK);
    server.sql("DELETE FROM operators");
    tokio::time::sleep(Duration::from_secs(1)).await;
    operator.get(&format!("/events/{draft}")).await.problem(404, "not_found");
    operator.get(&org).await.problem(404, "not_found");
    operator.get("/access-log").await.problem(403, "permission_missing");
}

#[tokio::test]
async fn the_access_log_of_all_organizations_is_read_by_operators_alone() {
    let server = Server::start(&[]);
    let (ada, bob) = (server.user().await, server.user().await);
    let (first, second) = (team(&ada).await, team(&bob).await);
    ada.patch(&format!("/organizations/{first}"), &json!({"name": "Opera"})).await.expect(OK);
    let refused = ada.get("/access-log").await.problem(403, "permission_missing");
    assert_eq!(refused["permission"], "log.read");
    server.client().get("/access-log").await.problem(401, "unauthorized");

    let operator = operator(&server).await;
    let told = operator.all("/access-log").await;
    let told: Vec<_> = told
        .iter()
        .map(|entry| (entry["organization_id"].as_str(), entry["action"].as_str()))
        .collect();
    let expected = [(&first, "org_created"), (&second, "org_created"), (&first, "org_renamed")];
    let expected: Vec<_> =
        expected.iter().map(|(org, action)| (Some(org.as_str()), Some(*action))).collect();
    assert_eq!(told, expected);
    let page = operator.get("/access-log?limit=2").await.expect(OK);
    let rest = format!("/access-log?after={}", page["next"].as_str().expect("there is more"));
    assert_eq!(operator.all(&rest).await.len(), 1);
    let by_bob = format!("/access-log?actor={}", bob.user_id.as_deref().expect("a user's client"));
    assert_eq!(operator.all(&by_bob).await.len(), 1);
    assert_eq!(operator.all("/access-log?action=org_renamed").await.len(), 1);
    operator.get("/access-log?action=fly").await.problem(422, "validation_failed");
    let of_first = operator.all(&format!("/organizations/{first}/log")).await;
    assert_eq!(of_first.len(), 2, "{of_first:#?}");
}
