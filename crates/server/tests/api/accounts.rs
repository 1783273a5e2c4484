//! Accounts: who somebody is, and how long a login lasts.

use crate::support::{Answer, Client, Server};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const PASSWORD: &str = "correct horse battery";

async fn register(client: &Client, email: &str) -> Value {
    let account = json!({"email": email, "password": PASSWORD});
    client.post("/auth/register", &account).await.expect(StatusCode::CREATED)
}

async fn login(client: &Client, email: &str, password: &str) -> Answer {
    client.post("/auth/login", &json!({"email": email, "password": password})).await
}

async fn logged_in(client: &Client, email: &str) -> Value {
    login(client, email, PASSWORD).await.expect(StatusCode::OK)
}

/// Exchanges the refresh token of these tokens.
async fn refresh(client: &Client, tokens: &Value) -> Answer {
    client.post("/auth/refresh", &json!({"refresh_token": tokens["refresh_token"]})).await
}

async fn logout(client: &Client, tokens: &Value) {
    let body = json!({"refresh_token": tokens["refresh_token"]});
    let answer = client.post("/auth/logout", &body).await;
    assert_eq!(answer.expect(StatusCode::NO_CONTENT), Value::Null);
}

#[tokio::test]
async fn who_registers_can_log_in_and_is_shown_as_registered() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let account = json!({"email": "Ann@Example.com", "password": PASSWORD, "name": "Ann"});
    let user = client.post("/auth/register", &account).await.expect(StatusCode::CREATED);
    assert_eq!((&user["email"], &user["name"]), (&json!("Ann@Example.com"), &json!("Ann")));
    assert_eq!(user["user_id"].as_str().map(str::len), Some(36));
    assert!(user["created_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{user}");
    assert_eq!(user.as_object().map(serde_json::Map::len), Some(4), "{user}");

    let tokens = logged_in(&client, "Ann@Example.com").await;
    assert_eq!((&tokens["token_type"], &tokens["expires_in"]), (&json!("Bearer"), &json!(3_600)));
    assert_eq!(tokens["refresh_expires_in"], 2_592_000);
    assert!(tokens["refresh_token"].is_string());
    client.token = tokens["access_token"].as_str().map(str::to_owned);
    assert_eq!(client.get("/users/me").await.expect(StatusCode::OK), user);
}

#[tokio::test]
async fn an_address_is_taken_and_found_whatever_its_case() {
    let server = Server::start(&[]);
    let client = server.client();
    register(&client, "Zoë@Example.com").await;
    for email in ["Zoë@Example.com", "zoë@example.COM", "ZOË@EXAMPLE.COM"] {
        let again = json!({"email": email, "password": PASSWORD});
        client.post("/auth/register", &again).await.problem(409, "email_taken");
        logged_in(&client, email).await;
    }
}

#[tokio::test]
async fn of_two_who_register_one_address_at_once_one_gets_it() {
    let server = Server::start(&[]);
    let client = server.client();
    let account = json!({"email": "ann@example.com", "password": PASSWORD});
    let register = || client.post("/auth/register", &account);
    let (one, other) = tokio::join!(register(), register());
    let (won, lost) = if one.status == 201 { (one, other) } else { (other, one) };
    won.expect(StatusCode::CREATED);
    lost.problem(409, "email_taken");
}

#[tokio::test]
async fn an_unknown_address_and_a_wrong_password_answer_alike_also_in_time() {
    let server = Server::start(&[]);
    let client = server.client();
    register(&client, "ann@example.com").await;
    let (mut unknown, mut wrong) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        for (email, times) in [("bob@example.com", &mut unknown), ("ann@example.com", &mut wrong)] {
            let started = Instant::now();
            let answer = login(&client, email, "wrong horse battery").await;
            times.push((started.elapsed(), answer));
        }
    }
    let plain = |answer: Answer| {
        let challenge = answer.headers["www-authenticate"].clone();
        let mut names: Vec<_> = answer.headers.keys().cloned().collect();
        names.sort_by_key(ToString::to_string);
        let mut body = answer.problem(401, "invalid_credentials");
        body["request_id"] = Value::Null;
        (body, names, challenge)
    };
    let median = |times: &mut Vec<(Duration, Answer)>| {
        times.sort_by_key(|(took, _)| *took);
        times[2].0
    };
    let (slow, fast) = (median(&mut unknown), median(&mut wrong));
    assert!(slow < fast * 5 && fast < slow * 5, "{slow:?} for unknown, {fast:?} for known");
    let answers = unknown.into_iter().chain(wrong).map(|(_, answer)| plain(answer));
    let answers: Vec<_> = answers.collect();
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
}

#[tokio::test]
async fn a_refresh_token_is_exchanged_and_logout_ends_all_that_came_from_one_login() {
    let server = Server::start(&[]);
    let client = server.client();
    register(&client, "ann@example.com").await;
    let first = logged_in(&client, "ann@example.com").await;
    let elsewhere = logged_in(&client, "ann@example.com").await;
    let second = refresh(&client, &first).await.expect(StatusCode::OK);
    assert_ne!(second["refresh_token"], first["refresh_token"]);
    assert_ne!(second["access_token"], first["access_token"]);
    let access = second["access_token"].as_str().expect("a token");
    client.with_token(access).get("/users/me").await.expect(StatusCode::OK);
    // The answer may have been lost: shortly after, the old one is good once more.
    let again = refresh(&client, &first).await.expect(StatusCode::OK);

    logout(&client, &second).await;
    for ended in [&first, &second, &again] {
        refresh(&client, ended).await.problem(401, "invalid_refresh_token");
    }
    logout(&client, &second).await;
    refresh(&client, &elsewhere).await.expect(StatusCode::OK);
    client.with_token(access).get("/users/me").await.expect(StatusCode::OK);
}

#[tokio::test]
async fn a_spent_refresh_token_that_comes_back_late_ends_its_family() {
    let server = Server::start(&[]);
    let client = server.client();
    register(&client, "ann@example.com").await;
    let stolen = logged_in(&client, "ann@example.com").await;
    let elsewhere = logged_in(&client, "ann@example.com").await;
    let next = refresh(&client, &stolen).await.expect(StatusCode::OK);
    server.sql("UPDATE refresh_tokens SET spent_at = spent_at - 11000");
    refresh(&client, &stolen).await.problem(401, "invalid_refresh_token");
    refresh(&client, &next).await.problem(401, "invalid_refresh_token");
    refresh(&client, &elsewhere).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn an_unknown_or_old_refresh_token_is_refused() {
    let server = Server::start(&[("REFRESH_TOKEN_EXPIRE_SECONDS", "1")]);
    let client = server.client();
    register(&client, "ann@example.com").await;
    let tokens = logged_in(&client, "ann@example.com").await;
    assert_eq!(tokens["refresh_expires_in"], 1);
    for unknown in ["", "nonsense", tokens["access_token"].as_str().expect("a token")] {
        let unknown = json!({"refresh_token": unknown.chars().take(200).collect::<String>()});
        refresh(&client, &unknown).await.problem(401, "invalid_refresh_token");
    }
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    refresh(&client, &tokens).await.problem(401, "invalid_refresh_token");
}

#[tokio::test]
async fn a_new_password_ends_every_login() {
    let server = Server::start(&[]);
    let client = server.client();
    register(&client, "ann@example.com").await;
    let here = logged_in(&client, "ann@example.com").await;
    let there = logged_in(&client, "ann@example.com").await;
    let ann = client.with_token(here["access_token"].as_str().expect("a token"));
    let change =
        |current: &str| json!({"current_password": current, "new_password": "battery staple"});
    let refused = ann.post("/auth/password", &change("wrong horse battery")).await;
    refused.problem(401, "invalid_credentials");
    refresh(&client, &here).await.expect(StatusCode::OK);

    let changed = ann.post("/auth/password", &change(PASSWORD)).await;
    assert_eq!(changed.expect(StatusCode::NO_CONTENT), Value::Null);
    for ended in [&here, &there] {
        refresh(&client, ended).await.problem(401, "invalid_refresh_token");
    }
    login(&client, "ann@example.com", PASSWORD).await.problem(401, "invalid_credentials");
    for ended in [&here, &there] {
        let client = client.with_token(ended["access_token"].as_str().expect("a token"));
        client.get("/users/me").await.problem(401, "unauthorized");
    }
    let again = login(&client, "ann@example.com", "battery staple").await.expect(StatusCode::OK);
    let ann = client.with_token(again["access_token"].as_str().expect("a token"));
    ann.get("/users/me").await.expect(StatusCode::OK);
    let anonymous = client.post("/auth/password", &change("battery staple")).await;
    anonymous.problem(401, "unauthorized");
}

#[tokio::test]
async fn logout_all_ends_every_login_of_the_user_and_of_nobody_else() {
    let server = Server::start(&[]);
    let client = server.client();
    register(&client, "ann@example.com").await;
    register(&client, "bob@example.com").await;
    let here = logged_in(&client, "ann@example.com").await;
    let there = logged_in(&client, "ann@example.com").await;
    let bobs = logged_in(&client, "bob@example.com").await;
    let fresh = refresh(&client, &there).await.expect(StatusCode::OK);
    let with = |tokens: &Value| client.with_token(tokens["access_token"].as_str().expect("one"));

    client.post_empty("/auth/logout-all").await.problem(401, "unauthorized");
    let unknown = with(&here).post("/auth/logout-all", &json!({"all": true})).await;
    unknown.problem(422, "validation_failed");
    with(&here).get("/users/me").await.expect(StatusCode::OK);

    let ended = with(&here).post_empty("/auth/logout-all").await;
    assert_eq!(ended.expect(StatusCode::NO_CONTENT), Value::Null);
    for tokens in [&here, &there, &fresh] {
        with(tokens).get("/users/me").await.problem(401, "unauthorized");
        refresh(&client, tokens).await.problem(401, "invalid_refresh_token");
    }
    with(&here).post_empty("/auth/logout-all").await.problem(401, "unauthorized");
    with(&bobs).get("/users/me").await.expect(StatusCode::OK);
    let bobs = refresh(&client, &bobs).await.expect(StatusCode::OK);
    with(&bobs).get("/users/me").await.expect(StatusCode::OK);

    // At once, and as often as one likes.
    for _ in 0..3 {
        let again = logged_in(&client, "ann@example.com").await;
        let again = refresh(&client, &again).await.expect(StatusCode::OK);
        with(&again).get("/users/me").await.expect(StatusCode::OK);
        with(&again).post_empty("/auth/logout-all").await.expect(StatusCode::NO_CONTENT);
        with(&again).get("/users/me").await.problem(401, "unauthorized");
    }
}

#[tokio::test]
async fn a_login_that_was_ended_stays_so_over_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start_in(folder.path(), &[]);
    let user = server.user().await;
    user.post_empty("/auth/logout-all").await.expect(StatusCode::NO_CONTENT);
    server.kill();
    let server = Server::start_in(folder.path(), &[]);
    let client = server.client().with_token(user.token.as_deref().expect("a token"));
    client.get("/users/me").await.problem(401, "unauthorized");
}

#[tokio::test]
async fn the_most_common_passwords_are_refused() {
    let server = Server::start(&[]);
    let client = server.client();
    let user = server.user().await;
    for (number, common) in ["password", "PassWord1", "12345678", "iloveyou1"].iter().enumerate() {
        let email = format!("common{number}@example.com");
        let account = json!({"email": email, "password": common});
        let problem =
            client.post("/auth/register", &account).await.problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["field"], "password", "{problem:#}");
        let told = problem.to_string();
        assert!(*common == "password" || !told.contains(common), "it is not repeated: {told}");
        let change = json!({"current_password": "correct horse battery", "new_password": common});
        let problem = user.post("/auth/password", &change).await.problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["field"], "new_password", "{problem:#}");
    }
}

#[tokio::test]
async fn people_change_their_name_and_address() {
    let server = Server::start(&[]);
    let client = server.client();
    register(&client, "bob@example.com").await;
    register(&client, "ann@example.com").await;
    let tokens = logged_in(&client, "ann@example.com").await;
    let ann = client.with_token(tokens["access_token"].as_str().expect("a token"));
    let patch = async |change: Value| ann.patch("/users/me", &change).await;

    let named = patch(json!({"name": "Ann"})).await.expect(StatusCode::OK);
    assert_eq!((&named["name"], &named["email"]), (&json!("Ann"), &json!("ann@example.com")));
    let unchanged = patch(json!({})).await.expect(StatusCode::OK);
    assert_eq!(unchanged, named);
    let nameless = patch(json!({"name": null})).await.expect(StatusCode::OK);
    assert_eq!(nameless["name"], Value::Null);
    patch(json!({"email": "BOB@example.com"})).await.problem(409, "email_taken");
    patch(json!({"email": "ANN@example.com"})).await.expect(StatusCode::OK);
    let moved = patch(json!({"email": "ann@example.org"})).await.expect(StatusCode::OK);
    assert_eq!(moved["email"], "ann@example.org");
    assert_eq!(ann.get("/users/me").await.expect(StatusCode::OK), moved);
    login(&client, "ann@example.com", PASSWORD).await.problem(401, "invalid_credentials");
    logged_in(&client, "ann@example.org").await;
    // The old address is free for others.
    register(&client, "ann@example.com").await;
}
