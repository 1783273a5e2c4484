//! Bad input: each field is named, and no secret is repeated.

use super::*;

/// Sends each body and checks the field that is refused.
async fn refuse(client: &Client, method: &Method, path: &str, rows: &[(Value, &str)]) {
    for (body, field) in rows {
        let answer = client.send(method.clone(), path, Some(body), &[]).await;
        let problem = answer.problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["field"], *field, "{method} {path} {body}: {problem:#}");
    }
}

fn with(base: &Value, field: &str, value: Value) -> Value {
    let mut body = base.clone();
    body[field] = value;
    body
}

#[tokio::test]
async fn each_field_is_checked_and_named() {
    let server = Server::start(&[]);
    let owner = server.user().await;
    let org = team(&owner, "Team").await;
    let member = joined(&server, &owner, &org, &json!({"role": "analyst"})).await;
    let before = owner.get(&at(&org, "/members")).await.expect(OK);
    let long = "x".repeat(101);
    let names = ["", " ", "a\u{200b}b", "line\nline", " a", &long];
    let mut rows: Vec<_> = names.iter().map(|name| (json!({"name": name}), "name")).collect();
    rows.extend([
        (json!({"name": 1}), "name"),
        (json!({"name": null}), "name"),
        (json!({"name": "Team", "colour": "red"}), "colour"),
    ]);
    refuse(&owner, &Method::PATCH, &at(&org, ""), &rows).await;
    rows.push((json!({}), "name"));
    refuse(&owner, &Method::POST, "/organizations", &rows).await;
    let composed = owner.post("/organizations", &json!({"name": "Cafe\u{301}"})).await;
    assert_eq!(composed.expect(StatusCode::CREATED)["name"], "Caf\u{e9}");

    let many: Vec<_> = (0..101).map(|_| UNKNOWN).collect();
    let events = [
        (json!([]), "events"),
        (json!(many), "events"),
        (json!("all"), "events"),
        (json!([1]), "events[0]"),
        (json!([UNKNOWN, "none"]), "events[1]"),
    ];
    let path = at(&org, &format!("/members/{}", id(&member)));
    let mut rows = vec![
        (json!({"role": "boss"}), "role"),
        (json!({"role": "Owner"}), "role"),
        (json!({"role": null}), "role"),
        (json!({"role": 1}), "role"),
        (json!({"password": null}), "password"),
        (json!({"password": "x".repeat(129)}), "password"),
        (json!({"user_id": id(&owner)}), "user_id"),
    ];
    rows.extend(events.iter().map(|(value, field)| (json!({"events": value}), *field)));
    refuse(&owner, &Method::PATCH, &path, &rows).await;
    let rows = [
        (json!({"password": null}), "password"),
        (json!({"password": "x".repeat(129)}), "password"),
        (json!({"keys": "keep"}), "keys"),
        (json!([]), "body"),
    ];
    refuse(&owner, &Method::DELETE, &path, &rows).await;

    let invitation = json!({"email": "eva@example.com", "role": "analyst"});
    let mut rows = vec![
        (json!({"role": "analyst"}), "email"),
        (json!({"email": "eva@example.com"}), "role"),
        (with(&invitation, "email", json!("eva")), "email"),
        (with(&invitation, "email", json!("e va@example.com")), "email"),
        (with(&invitation, "email", json!(format!("{}@example.com", "x".repeat(250)))), "email"),
        (with(&invitation, "email", Value::Null), "email"),
        (with(&invitation, "role", json!("owner")), "role"),
        (with(&invitation, "role", json!("boss")), "role"),
        (with(&invitation, "role", Value::Null), "role"),
        (with(&invitation, "token", json!("mine")), "token"),
    ];
    rows.extend(
        events.iter().map(|(value, field)| (with(&invitation, "events", value.clone()), *field)),
    );
    refuse(&owner, &Method::POST, &at(&org, "/invitations"), &rows).await;

    let transfer = json!({"user_id": id(&member), "password": PASSWORD});
    let rows = [
        (json!({"user_id": id(&member)}), "password"),
        (json!({"password": PASSWORD}), "user_id"),
        (with(&transfer, "user_id", json!("none")), "user_id"),
        (with(&transfer, "password", json!("x".repeat(129))), "password"),
        (with(&transfer, "role", json!("analyst")), "role"),
    ];
    refuse(&owner, &Method::POST, &at(&org, "/transfer"), &rows).await;
    let rows = [
        (json!({}), "token"),
        (json!({"token": null}), "token"),
        (json!({"token": "x".repeat(201)}), "token"),
        (json!({"token": "x", "organization_id": org}), "organization_id"),
    ];
    refuse(&owner, &Method::POST, "/invitations/accept", &rows).await;
    assert_eq!(owner.get(&at(&org, "/members")).await.expect(OK), before, "nothing has changed");
}

#[tokio::test]
async fn a_removal_needs_no_body_and_takes_json_only() {
    let server = Server::start(&[]);
    let owner = server.user().await;
    let org = team(&owner, "Team").await;
    let member = joined(&server, &owner, &org, &json!({"role": "analyst"})).await;
    let path = at(&org, &format!("/members/{}", id(&member)));
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let answer = owner.send_bytes(Method::DELETE, &path, "password=x", &form).await;
    answer.problem(415, "unsupported_media_type");
    let json = [("Content-Type", "application/json")];
    let answer = owner.send_bytes(Method::DELETE, &path, "{", &json).await;
    answer.problem(400, "malformed_json");
    let removed = owner.send(Method::DELETE, &path, Some(&json!({})), &[]).await;
    removed.expect(StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn events_are_those_of_the_organization_each_once() {
    let server = Server::start(&[]);
    let (owner, stranger) = (server.user().await, server.user().await);
    let member = joined(&server, &owner, "me", &json!({"role": "check_in"})).await;
    let (own, theirs) = (owner.event(3).await, stranger.event(3).await);
    let draft = json!({"title": "D", "event_date": "2099-01-01", "status": "draft",
        "sections": [{"name": "A", "capacity": 1}]});
    let (own_draft, draft) = (owner.event_with(&draft).await, stranger.event_with(&draft).await);
    let path = at("me", &format!("/members/{}", id(&member)));
    let invitation = json!({"email": "eva@example.com", "role": "analyst"});
    for (events, field, message) in [
        (json!([own, UNKNOWN]), "events[1]", "must be an event of this organization"),
        (json!([theirs]), "events[0]", "must be an event of this organization"),
        (json!([draft]), "events[0]", "must be an event of this organization"),
        (json!([own, own_draft, own]), "events[2]", "duplicate event"),
        (json!([own, own.to_uppercase()]), "events[1]", "duplicate event"),
    ] {
        let body = json!({"events": events});
        assert_eq!(invalid(owner.patch(&path, &body).await, field), message, "{body}");
        let body = with(&invitation, "events", events);
        let invited = owner.post("/organizations/me/invitations", &body).await;
        assert_eq!(invalid(invited, field), message, "{body}");
    }
    let both = json!({"events": [own, own_draft]});
    let changed = owner.patch(&path, &both).await.expect(OK);
    assert_eq!(changed["events"].as_array().map(Vec::len), Some(2), "{changed:#}");
    // Those of a personal organization are none of a team's.
    let org = team(&owner, "Team").await;
    let body = with(&invitation, "events", json!([own]));
    invalid(owner.post(&at(&org, "/invitations"), &body).await, "events[0]");
}

#[tokio::test]
async fn secrets_are_repeated_nowhere() {
    let server = Server::start(&[("APP_DEBUG", "true")]);
    let owner = server.user().await;
    let org = team(&owner, "Team").await;
    let member = joined(&server, &owner, &org, &json!({"role": "analyst"})).await;
    let path = at(&org, &format!("/members/{}", id(&member)));
    let (number, text) = (8_734_918_223_i64, "hunter2-hunter2");
    let long = text.repeat(20);
    let mut answers = Vec::new();
    for secret in [json!(number), json!(text), json!([text]), json!({"x": text}), json!(long)] {
        for body in [json!({"token": secret}), json!({"token": secret, "x": 1})] {
            answers.push(owner.post("/invitations/accept", &body).await);
        }
        let role = json!({"role": "owner", "password": secret});
        answers.push(owner.patch(&path, &role).await);
        let body = json!({"password": secret});
        answers.push(owner.send(Method::DELETE, &path, Some(&body), &[]).await);
        let body = json!({"user_id": id(&member), "password": secret});
        answers.push(owner.post(&at(&org, "/transfer"), &body).await);
    }
    let invitation = json!({"email": "eva@example.com", "role": "analyst"});
    let made = owner.post(&at(&org, "/invitations"), &invitation).await;
    let token = made.expect(StatusCode::CREATED)["token"].as_str().expect("text").to_owned();
    answers.push(accept(&owner, &token).await);
    answers.push(accept(&owner, &format!("{token}x")).await);
    answers.push(owner.get(&at(&org, "/invitations")).await);
    answers.push(owner.get(&at(&org, "/log")).await);
    let secrets = [number.to_string(), text.to_owned(), token, PASSWORD.to_owned()];
    for answer in answers {
        let told = answer.body.to_string();
        assert!(!secrets.iter().any(|secret| told.contains(secret.as_str())), "{told}");
    }
    for line in server.log() {
        assert!(!secrets.iter().any(|secret| line.contains(secret.as_str())), "{line}");
    }
}
