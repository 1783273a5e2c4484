//! Users who leave.

use crate::commands::{folder, good, told};
use crate::operators::email;
use crate::support::{Answer, Client, Server, audit, run_in, show};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const OK: StatusCode = StatusCode::OK;
const CREATED: StatusCode = StatusCode::CREATED;
const PASSWORD: &str = "correct horse battery";

async fn leave(user: &Client, password: &str) -> Answer {
    user.send(Method::DELETE, "/users/me", Some(&json!({"password": password})), &[]).await
}

async fn team(founder: &Client) -> String {
    let team = founder.post("/organizations", &json!({"name": "Troupe"})).await.expect(CREATED);
    team["organization_id"].as_str().expect("an id").to_owned()
}

async fn invited(by: &Client, org: &str, email: &str, role: &str) -> Value {
    let invitation = json!({"email": email, "role": role});
    let path = format!("/organizations/{org}/invitations");
    by.post(&path, &invitation).await.expect(CREATED)
}

async fn joined(by: &Client, org: &str, user: &Client, role: &str) {
    let made = invited(by, org, &email(user).await, role).await;
    let token = json!({"token": made["token"]});
    user.post("/invitations/accept", &token).await.expect(OK);
}

#[tokio::test]
async fn who_leaves_gives_back_holds_and_memberships_and_the_address_is_free() {
    let server = Server::start(&[]);
    let (owner, user) = (server.user().await, server.user().await);
    let team = team(&owner).await;
    joined(&owner, &team, &user, "manager").await;
    let address = email(&user).await;
    let event = owner.event(10).await;
    let (held, sold) = (user.held(&event, 3).await, user.held(&event, 2).await);
    user.step(&sold, "confirm").await.expect(OK);
    let other = server.user().await;
    invited(&other, "me", &address, "analyst").await;

    leave(&user, "a guess").await.problem(401, "invalid_credentials");
    user.get("/users/me").await.expect(OK);
    leave(&user, PASSWORD).await.expect(StatusCode::NO_CONTENT);

    user.get("/users/me").await.problem(401, "unauthorized");
    let login = json!({"email": address, "password": PASSWORD});
    server.client().post("/auth/login", &login).await.problem(401, "invalid_credentials");
    assert_eq!(owner.seats(&event).await, (8, 0, 2));
    let seen = owner.get(&format!("/bookings/{held}")).await.expect(OK);
    assert_eq!(seen["status"], "CANCELLED");
    // The sale stays, with an id that names nobody.
    let seen = owner.get(&format!("/bookings/{sold}")).await.expect(OK);
    assert_eq!((&seen["status"], &seen["user_id"]), (&json!("CONFIRMED"), &json!(user.user_id)));
    assert_eq!(owner.all(&format!("/organizations/{team}/members")).await.len(), 1);
    let log = owner.all(&format!("/organizations/{team}/log")).await;
    assert_eq!(log.last().expect("entries")["action"], "member_removed");
    assert_eq!(other.all("/organizations/me/invitations").await.len(), 0);

    let again = server.client().post("/auth/register", &login).await.expect(CREATED);
    assert_ne!(again["user_id"], json!(user.user_id));
    server.audit();
}

#[tokio::test]
async fn i14_the_only_owner_of_a_team_cannot_leave() {
    let server = Server::start(&[]);
    let (owner, user) = (server.user().await, server.user().await);
    let (first, second) = (team(&owner).await, team(&owner).await);
    joined(&user, "me", &owner, "analyst").await;
    let refused = leave(&owner, PASSWORD).await.problem(409, "last_owner");
    let mut told = [first.clone(), second.clone()];
    told.sort();
    assert_eq!(refused["organizations"], json!(told));
    // Nothing of it was done.
    assert_eq!(owner.all("/organizations").await.len(), 4);
    for org in [&first, &second] {
        joined(&owner, org, &user, "manager").await;
        let heir = json!({"user_id": user.user_id, "password": PASSWORD});
        owner.post(&format!("/organizations/{org}/transfer"), &heir).await.expect(OK);
    }
    leave(&owner, PASSWORD).await.expect(StatusCode::NO_CONTENT);
    assert_eq!(user.all("/organizations/me/members").await.len(), 1);
}

#[tokio::test]
async fn who_has_an_event_that_is_not_over_cannot_leave() {
    let server = Server::start(&[]);
    let user = server.user().await;
    user.event_with(&show(&json!({"status": "draft"}))).await;
    user.event_with(&show(&json!({"event_date": "2020-06-15"}))).await;
    let event = user.event(5).await;
    let refused = leave(&user, PASSWORD).await.problem(409, "events_open");
    assert_eq!(refused["events"], json!([event]));
    user.post(&format!("/events/{event}/cancel"), &json!({})).await.expect(OK);
    leave(&user, PASSWORD).await.expect(StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn keys_and_members_of_a_personal_organization_end_with_its_user() {
    let server = Server::start(&[]);
    let (user, member) = (server.user().await, server.user().await);
    user.patch("/organizations/me", &json!({"name": "Ada's"})).await.expect(OK);
    joined(&user, "me", &member, "manager").await;
    let key = json!({"name": "Shop", "scopes": ["event.read"]});
    let made = user.post("/organizations/me/keys", &key).await.expect(CREATED);
    let key = user.with_token(made["secret"].as_str().expect("a secret"));
    key.get("/series").await.expect(OK);
    leave(&user, PASSWORD).await.expect(StatusCode::NO_CONTENT);
    key.get("/series").await.problem(401, "unauthorized");
    assert_eq!(member.all("/organizations").await.len(), 1);
}

#[tokio::test]
async fn only_users_leave() {
    let server = Server::start(&[]);
    let nobody = server.client();
    leave(&nobody, PASSWORD).await.problem(401, "unauthorized");
    let visitor = crate::visitors::visitor(&server).await;
    leave(&visitor, PASSWORD).await.problem(403, "account_required");
    let user = server.user().await;
    user.send(Method::DELETE, "/users/me", Some(&json!({})), &[])
        .await
        .problem(422, "validation_failed");
    user.get("/users/me").await.expect(OK);
}

#[tokio::test]
async fn an_account_is_erased_on_the_machine() {
    let folder = folder();
    let server = Server::start_in(folder.path(), &[]);
    let (owner, user) = (server.user().await, server.user().await);
    let (address, owners) = (email(&user).await, email(&owner).await);
    let event = owner.event(10).await;
    let held = user.held(&event, 3).await;
    server.stop();
    let run = |arguments: &[&str]| run_in(folder.path(), &[&["erase"], arguments].concat());
    let said = good(&run(&[address.as_str()]));
    assert!(said.contains(&address) && said.contains("given back: 1"), "{said}");
    assert!(said.contains("nothing was changed"), "{said}");
    for arguments in [&["nobody@example.com", "--yes"][..], &[owners.as_str(), "--yes"]] {
        let refused = run(arguments);
        assert_eq!(refused.status.code(), Some(2), "{}", told(&refused));
        assert!(told(&refused).contains("nothing was changed"), "{}", told(&refused));
    }
    let done = good(&run(&[address.as_str(), "--yes"]));
    assert!(done.contains("was erased") && !done.contains(&address), "{done}");
    assert_eq!(run(&[address.as_str(), "--yes"]).status.code(), Some(2));
    audit(folder.path());

    let server = Server::start_in(folder.path(), &[]);
    let back = |of: &Client| server.client().with_token(of.token.as_deref().expect("a token"));
    back(&user).get("/users/me").await.problem(401, "unauthorized");
    let owner = back(&owner);
    assert_eq!(owner.seats(&event).await, (10, 0, 0));
    let seen = owner.get(&format!("/bookings/{held}")).await.expect(OK);
    assert_eq!(seen["status"], "CANCELLED");
}
