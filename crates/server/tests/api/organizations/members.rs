//! Members: what each role may do, how roles change, and who remains.

use super::*;

/// Everybody who may be there, by role.
struct Staff {
    org: String,
    owner: Client,
    others: Vec<(&'static str, Client)>,
}

impl Staff {
    async fn of(server: &Server) -> Self {
        let owner = server.user().await;
        let org = team(&owner, "Team").await;
        let mut others = Vec::new();
        for role in ["manager", "box_office", "analyst", "check_in"] {
            others.push((role, joined(server, &owner, &org, &json!({"role": role})).await));
        }
        Self { org, owner, others }
    }

    fn get(&self, role: &str) -> &Client {
        self.others.iter().find(|(of, _)| *of == role).map(|(_, client)| client).expect("a role")
    }

    fn path(&self, of: &Client) -> String {
        at(&self.org, &format!("/members/{}", id(of)))
    }

    /// The roles of all members, by the order in which they came.
    async fn roles(&self) -> Vec<String> {
        let all = self.owner.all(&at(&self.org, "/members")).await;
        all.iter().map(|member| member["role"].as_str().expect("a word").to_owned()).collect()
    }
}

/// Changes a member.
async fn change(by: &Client, path: &str, body: Value) -> Answer {
    by.patch(path, &body).await
}

async fn delete(by: &Client, path: &str, body: Option<Value>) -> Answer {
    by.send(Method::DELETE, path, body.as_ref(), &[]).await
}

async fn transfer(by: &Client, org: &str, to: &str, password: &str) -> Answer {
    by.post(&at(org, "/transfer"), &json!({"user_id": to, "password": password})).await
}

/// Removes the account of a user.
fn forget(server: &Server, user: &Client) {
    let whose = crate::support::stack::id_literal(id(user));
    server.sql(&format!("DELETE FROM refresh_tokens WHERE user_id = {whose}"));
    server.sql(&format!("DELETE FROM users WHERE user_id = {whose}"));
}

#[tokio::test]
async fn each_role_may_do_what_the_table_says() {
    let server = Server::start(&[]);
    let staff = Staff::of(&server).await;
    let (org, owner) = (staff.org.as_str(), &staff.owner);
    for (role, client) in &staff.others {
        let seen = client.get(&at(org, "")).await.expect(OK);
        assert_eq!((&seen["role"], &seen["name"]), (&json!(role), &json!("Team")));
        client.get(&at(org, "/members")).await.expect(OK);
        lacks(client.patch(&at(org, ""), &json!({"name": "Mine"})).await, "org.write");
        lacks(client.patch(&at(org, ""), &json!({})).await, "org.write");
        lacks(transfer(client, org, id(client), PASSWORD).await, "org.write");
        let invitation = json!({"email": "x@y", "role": "analyst"});
        for (answer, managers) in [
            (client.get(&at(org, "/invitations")).await, "200 "),
            (client.post(&at(org, "/invitations"), &invitation).await, "201 "),
            (
                change(client, &staff.path(owner), json!({"role": "analyst"})).await,
                "403 permission_missing",
            ),
            (delete(client, &staff.path(owner), None).await, "403 permission_missing"),
            (
                delete(client, &at(org, &format!("/invitations/{UNKNOWN}")), None).await,
                "404 not_found",
            ),
        ] {
            if *role == "manager" {
                assert_eq!(answer.short(), managers);
            } else {
                lacks(answer, "member.write");
            }
        }
        let log = client.get(&at(org, "/log")).await;
        if ["manager", "analyst"].contains(role) {
            log.expect(OK);
        } else {
            lacks(log, "log.read");
        }
    }
    assert_eq!(staff.roles().await, ["owner", "manager", "box_office", "analyst", "check_in"]);
}

#[tokio::test]
async fn who_is_confined_to_events_does_nothing_at_the_organization() {
    let server = Server::start(&[]);
    let owner = server.user().await;
    let (one, other) = (owner.event(3).await, owner.event(3).await);
    let access = json!({"role": "manager", "events": [other, one]});
    let confined = joined(&server, &owner, id(&owner), &access).await;
    let org = id(&owner);
    let mut ids = [one.clone(), other];
    ids.sort();
    let seen = confined.get(&at(org, "")).await.expect(OK);
    assert_eq!(
        (&seen["events"], &seen["role"], &seen["personal"]),
        (&json!(ids), &json!("manager"), &json!(true))
    );
    let listed = confined.get("/organizations").await.expect(OK);
    assert_eq!(listed["items"][1], seen);
    confined.get(&at(org, "/members")).await.expect(OK);
    let invitation = json!({"email": "x@y", "role": "analyst"});
    lacks(confined.post(&at(org, "/invitations"), &invitation).await, "member.write");
    lacks(confined.get(&at(org, "/invitations")).await, "member.write");
    lacks(confined.get(&at(org, "/log")).await, "log.read");
    let own = at(org, &format!("/members/{}", id(&confined)));
    lacks(change(&confined, &own, json!({"events": null})).await, "member.write");

    let one = change(&owner, &own, json!({"events": [one]})).await.expect(OK);
    assert_eq!(one["events"].as_array().map(Vec::len), Some(1), "{one:#}");
    let freed = change(&owner, &own, json!({"events": null})).await.expect(OK);
    assert_eq!((&freed["events"], &freed["role"]), (&Value::Null, &json!("manager")));
    confined.get(&at(org, "/log")).await.expect(OK);
}

#[tokio::test]
async fn a_member_is_shown_after_a_change_and_nobody_gives_what_they_lack() {
    let server = Server::start(&[]);
    let staff = Staff::of(&server).await;
    let (manager, seller) = (staff.get("manager"), staff.get("box_office"));
    let path = staff.path(seller);
    let changed = change(manager, &path, json!({"role": "analyst"})).await.expect(OK);
    let expected = json!({
        "user_id": id(seller),
        "email": email(seller).await,
        "name": null,
        "role": "analyst",
        "events": null,
        "added_by": id(&staff.owner),
        "created_at": changed["created_at"],
    });
    assert_eq!(changed, expected);
    assert_eq!(change(manager, &path, json!({})).await.expect(OK), changed, "nothing is asked for");
    assert_eq!(seller.get(&at(&staff.org, "")).await.expect(OK)["role"], "analyst");
    lacks(change(seller, &path, json!({"role": "box_office"})).await, "member.write");
    let owner = json!({"role": "owner", "password": PASSWORD});
    lacks(change(manager, &path, owner.clone()).await, "org.write");
    lacks(change(manager, &at(&staff.org, "/members/me"), owner).await, "org.write");
    lacks(
        change(manager, &staff.path(&staff.owner), json!({"role": "analyst"})).await,
        "org.write",
    );
    lacks(delete(manager, &staff.path(&staff.owner), None).await, "org.write");
    let nobody = at(&staff.org, &format!("/members/{UNKNOWN}"));
    change(manager, &nobody, json!({"role": "analyst"})).await.problem(404, "not_found");
    delete(manager, &nobody, None).await.problem(404, "not_found");
    let none = at(&staff.org, "/members/none");
    change(manager, &none, json!({"role": "analyst"})).await.problem(404, "not_found");
    delete(manager, &none, None).await.problem(404, "not_found");
}

#[tokio::test]
async fn owners_are_made_and_unmade_with_the_password_and_one_remains() {
    let server = Server::start(&[]);
    let staff = Staff::of(&server).await;
    let (owner, other) = (&staff.owner, staff.get("check_in"));
    let path = staff.path(other);
    let role = |role: &str, password: Option<&str>| match password {
        Some(password) => json!({"role": role, "password": password}),
        None => json!({"role": role}),
    };
    let own = at(&staff.org, "/members/me");
    let last = change(owner, &own, role("manager", Some(PASSWORD))).await;
    last.problem(409, "last_owner");
    delete(owner, &own, None).await.problem(409, "last_owner");

    let needed = "is required to make, change or remove another owner";
    assert_eq!(invalid(change(owner, &path, role("owner", None)).await, "password"), needed);
    let wrong = change(owner, &path, role("owner", Some("a wrong one"))).await;
    assert!(wrong.headers.contains_key("www-authenticate"));
    wrong.problem(401, "invalid_credentials");
    let event = json!({"title": "T", "event_date": "2099-01-01", "organization_id": staff.org,
        "sections": [{"name": "A", "capacity": 1}]});
    let event = owner.event_with(&event).await;
    let confined = json!({"role": "owner", "events": [event], "password": PASSWORD});
    let message = invalid(change(owner, &path, confined).await, "events");
    assert_eq!(message, "must be null for an owner");
    let made = change(owner, &path, role("owner", Some(PASSWORD))).await.expect(OK);
    assert_eq!(made["role"], "owner");
    // Now there are two.
    assert_eq!(invalid(change(owner, &path, role("manager", None)).await, "password"), needed);
    assert_eq!(invalid(delete(owner, &path, None).await, "password"), needed);
    assert_eq!(invalid(delete(owner, &path, Some(json!({}))).await, "password"), needed);
    let wrong = delete(owner, &path, Some(json!({"password": "a wrong one"}))).await;
    wrong.problem(401, "invalid_credentials");
    let unmade = change(owner, &path, role("manager", Some(PASSWORD))).await.expect(OK);
    assert_eq!(unmade["role"], "manager");
    change(owner, &path, role("owner", Some(PASSWORD))).await.expect(OK);
    let removed = delete(owner, &path, Some(json!({"password": PASSWORD}))).await;
    assert_eq!(removed.expect(StatusCode::NO_CONTENT), Value::Null);
    other.get(&at(&staff.org, "")).await.problem(404, "not_found");
    assert_eq!(staff.roles().await, ["owner", "manager", "box_office", "analyst"]);
    server.audit();
}

#[tokio::test]
async fn members_are_removed_and_leave_and_may_do_nothing_from_then_on() {
    let server = Server::start(&[]);
    let staff = Staff::of(&server).await;
    let (manager, seller) = (staff.get("manager"), staff.get("box_office"));
    let gone = delete(manager, &staff.path(seller), None).await;
    assert_eq!(gone.expect(StatusCode::NO_CONTENT), Value::Null);
    delete(manager, &staff.path(seller), None).await.problem(404, "not_found");
    for (role, client) in staff.others.iter().filter(|(role, _)| *role != "box_office") {
        let left = delete(client, &at(&staff.org, "/members/me"), None).await;
        assert_eq!(left.status, StatusCode::NO_CONTENT, "{role}: {:#}", left.body);
    }
    for (_, client) in &staff.others {
        client.get(&at(&staff.org, "/members")).await.problem(404, "not_found");
        let own = client.get("/organizations").await.expect(OK);
        assert_eq!(own["items"].as_array().map(Vec::len), Some(1), "{own:#}");
    }
    assert_eq!(staff.roles().await, ["owner"]);
}

#[tokio::test]
async fn an_owner_hands_the_team_over_and_becomes_a_manager() {
    let server = Server::start(&[]);
    let staff = Staff::of(&server).await;
    let (org, owner, heir) = (staff.org.as_str(), &staff.owner, staff.get("analyst"));
    let stranger = server.user().await;
    transfer(owner, org, id(&stranger), PASSWORD).await.problem(409, "not_a_member");
    transfer(owner, org, id(heir), "a wrong one").await.problem(401, "invalid_credentials");
    invalid(transfer(owner, org, "me", PASSWORD).await, "user_id");
    let same = transfer(owner, org, id(owner), PASSWORD).await.expect(OK);
    assert_eq!(same["role"], "owner");
    let handed = transfer(owner, org, id(heir), PASSWORD).await;
    assert!(handed.headers.contains_key("etag"));
    let handed = handed.expect(OK);
    assert_eq!((&handed["organization_id"], &handed["role"]), (&json!(org), &json!("manager")));
    assert_eq!(staff.roles().await, ["manager", "manager", "box_office", "owner", "check_in"]);
    lacks(transfer(owner, org, id(owner), PASSWORD).await, "org.write");
    heir.patch(&at(org, ""), &json!({"name": "Ours"})).await.expect(OK);
    let personal = joined(&server, owner, "me", &json!({"role": "manager"})).await;
    transfer(owner, "me", id(&personal), PASSWORD).await.problem(409, "last_owner");
    server.audit();
}

#[tokio::test]
async fn a_personal_organization_has_its_user_among_its_members_for_good() {
    let server = Server::start(&[]);
    let earlier = server.user().await;
    let owner = server.user().await;
    owner.patch("/users/me", &json!({"name": "Ann"})).await.expect(OK);
    let token = invited(&owner, "me", &email(&earlier).await, &json!({"role": "manager"})).await;
    accept(&earlier, &token).await.expect(OK);
    let later = joined(&server, &owner, "me", &json!({"role": "check_in"})).await;
    let members = owner.get("/organizations/me/members").await.expect(OK);
    let items = members["items"].as_array().expect("a list");
    let ids: Vec<_> = items.iter().map(|of| of["user_id"].as_str().expect("an id")).collect();
    assert_eq!(ids, [id(&earlier), id(&owner), id(&later)], "in the order of their ids");
    let expected = json!({
        "user_id": id(&owner), "email": email(&owner).await, "name": "Ann", "role": "owner",
        "events": null, "added_by": null, "created_at": null,
    });
    assert_eq!(items[1], expected);
    let path = at(id(&owner), &format!("/members/{}", id(&owner)));
    for by in [&owner, &earlier] {
        change(by, &path, json!({"role": "manager"})).await.problem(409, "last_owner");
        delete(by, &path, None).await.problem(409, "last_owner");
    }
    delete(&owner, "/organizations/me/members/me", None).await.problem(409, "last_owner");
    let seen = earlier.get("/organizations").await.expect(OK);
    assert_eq!(seen["items"][1]["organization_id"], id(&owner));
    assert_eq!(
        (&seen["items"][1]["personal"], &seen["items"][1]["role"]),
        (&json!(true), &json!("manager"))
    );
}

#[tokio::test]
async fn members_come_page_by_page_and_the_last_page_says_so() {
    let server = Server::start(&[]);
    let staff = Staff::of(&server).await;
    let path = at(&staff.org, "/members");
    let whole = staff.owner.get(&path).await.expect(OK);
    let whole = whole["items"].as_array().expect("a list");
    for limit in [1, 2, 4, 5, 6] {
        let (mut found, mut after) = (Vec::new(), String::new());
        for page in 1.. {
            let answer = staff.owner.get(&format!("{path}?limit={limit}{after}")).await.expect(OK);
            found.extend(answer["items"].as_array().expect("a list").iter().cloned());
            assert_eq!(answer["next"].is_null(), page * limit >= 5, "page {page} by {limit}");
            let Some(next) = answer["next"].as_str() else { break };
            after = format!("&after={next}");
        }
        assert_eq!(&found, whole, "by {limit}");
    }
    invalid(staff.owner.get(&format!("{path}?after=none")).await, "after");
    invalid(staff.owner.get(&format!("{path}?limit=0")).await, "limit");
    // A member without an account has neither an address nor a name.
    forget(&server, staff.get("analyst"));
    let after = staff.owner.get(&path).await.expect(OK);
    let analyst = &after["items"][3];
    assert_eq!(
        (&analyst["user_id"], &analyst["email"]),
        (&json!(id(staff.get("analyst"))), &Value::Null)
    );
    assert_eq!((&analyst["name"], &analyst["role"]), (&Value::Null, &json!("analyst")));
}

#[tokio::test]
async fn passwords_are_tried_as_seldom_as_at_a_login() {
    let limits = [("RATE_LIMIT_ENABLED", "true"), ("RATE_LIMIT_LOGINS_PER_MINUTE", "4")];
    let server = Server::start(&limits);
    // Two of the four.
    let user = server.user().await;
    let org = team(&user, "Team").await;
    for _ in 0..2 {
        let wrong = transfer(&user, &org, id(&user), "a wrong one").await;
        wrong.problem(401, "invalid_credentials");
    }
    transfer(&user, &org, id(&user), PASSWORD).await.problem(429, "rate_limited");
    let own = at(&org, "/members/me");
    let password = json!({"password": PASSWORD});
    change(&user, &own, password.clone()).await.problem(429, "rate_limited");
    delete(&user, &own, Some(password)).await.problem(429, "rate_limited");
    // Without one, nothing is tried.
    change(&user, &own, json!({})).await.expect(OK);
}
