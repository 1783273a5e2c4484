//! Invitations: for one address, accepted once, within seven days.

use super::*;

/// The open invitations of an organization.
async fn open(by: &Client, org: &str) -> Vec<Value> {
    by.all(&at(org, "/invitations")).await
}

#[tokio::test]
async fn an_invitation_makes_a_member_once() {
    let server = Server::start(&[]);
    let (owner, eva, other) = (server.user().await, server.user().await, server.user().await);
    let org = team(&owner, "Team").await;
    let address = email(&eva).await;
    let body = json!({"email": address.to_uppercase(), "role": "box_office", "events": null});
    let made = owner.post(&at(&org, "/invitations"), &body).await;
    assert_eq!(made.headers["cache-control"], "no-store");
    let made = made.expect(StatusCode::CREATED);
    let token = made["token"].as_str().expect("it is shown once").to_owned();
    assert_eq!(token.len(), 43, "{token}");
    let expected = json!({
        "invitation_id": made["invitation_id"],
        "email": address.to_uppercase(),
        "role": "box_office",
        "events": null,
        "invited_by": id(&owner),
        "created_at": made["created_at"],
        "expires_at": made["expires_at"],
    });
    assert_eq!(open(&owner, &org).await, [expected], "and without its token");

    accept(&other, &token).await.problem(403, "invitation_mismatch");
    eva.get(&at(&org, "")).await.problem(404, "not_found");
    let accepted = accept(&eva, &token).await;
    assert!(accepted.headers.contains_key("etag"));
    let accepted = accepted.expect(OK);
    assert_eq!(
        (&accepted["organization_id"], &accepted["role"]),
        (&json!(org), &json!("box_office"))
    );
    assert_eq!(eva.get(&at(&org, "")).await.expect(OK), accepted);
    assert!(open(&owner, &org).await.is_empty());
    let member = owner.get(&at(&org, "/members")).await.expect(OK)["items"][1].clone();
    assert_eq!((&member["user_id"], &member["added_by"]), (&json!(id(&eva)), &json!(id(&owner))));

    assert_eq!(accept(&eva, &token).await.expect(OK), accepted, "the answer may have been lost");
    accept(&other, &token).await.problem(410, "invitation_ended");
    let own = at(&org, "/members/me");
    eva.send(Method::DELETE, &own, None, &[]).await.expect(StatusCode::NO_CONTENT);
    accept(&eva, &token).await.problem(410, "invitation_ended");
    server.audit();
}

#[tokio::test]
async fn an_address_is_the_same_however_it_is_spelled() {
    let server = Server::start(&[]);
    let owner = server.user().await;
    let org = team(&owner, "Team").await;
    let client = server.client();
    for (registered, invited_as) in [
        ("straße@example.com", "STRASSE@Example.com"),
        ("cafe\u{301}@example.com", "CAF\u{c9}@example.com"),
    ] {
        let account = json!({"email": registered, "password": PASSWORD});
        client.post("/auth/register", &account).await.expect(StatusCode::CREATED);
        let tokens = client.post("/auth/login", &account).await.expect(OK);
        let user = client.with_token(tokens["access_token"].as_str().expect("a token"));
        let token = invited(&owner, &org, invited_as, &json!({"role": "analyst"})).await;
        accept(&user, &token).await.expect(OK);
        // Now that address is a member's.
        let again = json!({"email": invited_as, "role": "manager"});
        let again = owner.post(&at(&org, "/invitations"), &again).await;
        again.problem(409, "member_exists");
    }
    let own = json!({"email": email(&owner).await, "role": "manager"});
    for org in [org.as_str(), "me"] {
        owner.post(&at(org, "/invitations"), &own).await.problem(409, "member_exists");
    }
}

#[tokio::test]
async fn an_invitation_ends_by_hand_by_another_one_and_by_time() {
    let server = Server::start(&[]);
    let (owner, eva) = (server.user().await, server.user().await);
    let org = team(&owner, "Team").await;
    let address = email(&eva).await;
    let analyst = json!({"role": "analyst"});
    let path = at(&org, "/invitations");
    let delete =
        async |id: &str| owner.send(Method::DELETE, &format!("{path}/{id}"), None, &[]).await;

    let first = invited(&owner, &org, &address, &analyst).await;
    let second = invited(&owner, &org, &address.to_uppercase(), &json!({"role": "check_in"})).await;
    accept(&eva, &first).await.problem(410, "invitation_ended");
    let listed = open(&owner, &org).await;
    assert_eq!((listed.len(), &listed[0]["role"]), (1, &json!("check_in")));
    let invitation_id = listed[0]["invitation_id"].as_str().expect("an id").to_owned();
    for _ in 0..2 {
        delete(&invitation_id).await.expect(StatusCode::NO_CONTENT);
    }
    assert!(open(&owner, &org).await.is_empty());
    accept(&eva, &second).await.problem(410, "invitation_ended");
    delete(UNKNOWN).await.problem(404, "not_found");
    delete("none").await.problem(404, "not_found");
    // That of another organization is none of this one.
    let elsewhere = team(&owner, "Other").await;
    invited(&owner, &elsewhere, &address, &analyst).await;
    let other = open(&owner, &elsewhere).await[0]["invitation_id"].clone();
    delete(other.as_str().expect("an id")).await.problem(404, "not_found");
    assert_eq!(open(&owner, &elsewhere).await.len(), 1);

    let third = invited(&owner, &org, &address, &analyst).await;
    server.sql("UPDATE invitations SET expires_at = created_at");
    accept(&eva, &third).await.problem(410, "invitation_ended");
    assert!(open(&owner, &org).await.is_empty());
    for unknown in ["", "a guess", &third[1..]] {
        accept(&eva, unknown).await.problem(410, "invitation_ended");
    }
    eva.get(&at(&org, "")).await.problem(404, "not_found");
}

#[tokio::test]
async fn an_invitation_is_worth_no_more_than_the_rights_of_the_one_who_made_it() {
    let server = Server::start(&[]);
    let owner = server.user().await;
    let org = team(&owner, "Team").await;
    let manager = joined(&server, &owner, &org, &json!({"role": "manager"})).await;
    let eva = server.user().await;
    let token = invited(&manager, &org, &email(&eva).await, &json!({"role": "manager"})).await;
    let path = at(&org, &format!("/members/{}", id(&manager)));
    owner.patch(&path, &json!({"role": "box_office"})).await.expect(OK);
    accept(&eva, &token).await.problem(410, "invitation_ended");
    owner.patch(&path, &json!({"role": "manager"})).await.expect(OK);
    accept(&eva, &token).await.expect(OK);
}

#[tokio::test]
async fn accepting_never_lowers_a_role() {
    let server = Server::start(&[]);
    let owner = server.user().await;
    let org = team(&owner, "Team").await;
    // Invited before it was a member's address.
    let new = "new-address@example.com";
    let lower = invited(&owner, &org, new, &json!({"role": "check_in"})).await;
    let manager = joined(&server, &owner, &org, &json!({"role": "manager"})).await;
    manager.patch("/users/me", &json!({"email": new})).await.expect(OK);
    assert_eq!(accept(&manager, &lower).await.expect(OK)["role"], "manager");
    assert_eq!(manager.get(&at(&org, "")).await.expect(OK)["role"], "manager");
}

#[tokio::test]
async fn an_organization_has_two_hundred_open_invitations_at_most_newest_first() {
    let server = Server::start(&[]);
    let owner = server.user().await;
    let org = team(&owner, "Team").await;
    let path = at(&org, "/invitations");
    for number in 0..200 {
        invited(&owner, &org, &format!("{number}@example.com"), &json!({"role": "analyst"})).await;
    }
    let more = json!({"email": "more@example.com", "role": "analyst"});
    assert_eq!(owner.post(&path, &more).await.problem(409, "limit_reached")["limit"], 200);
    let same = json!({"email": "7@EXAMPLE.com", "role": "analyst"});
    owner.post(&path, &same).await.expect(StatusCode::CREATED);
    let all = open(&owner, &org).await;
    assert_eq!((all.len(), &all[0]["email"]), (200, &json!("7@EXAMPLE.com")));
    let ids: Vec<_> = all.iter().map(|of| of["invitation_id"].as_str().expect("an id")).collect();
    assert!(ids.windows(2).all(|pair| pair[0] > pair[1]), "newest first");
    let page = owner.get(&format!("{path}?limit=100&after={}", ids[99])).await.expect(OK);
    assert_eq!((page["items"].as_array().map(Vec::len), &page["next"]), (Some(100), &Value::Null));
}
