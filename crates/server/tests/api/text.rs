//! Text: names, passwords and descriptions, however their letters were written.

use crate::support::{Client, Server, run_in, show};
use reqwest::StatusCode;
use serde_json::{Value, json};

const COMPOSED: &str = "gr\u{fc}n und blau";
const DECOMPOSED: &str = "gru\u{308}n und blau";

async fn login(client: &Client, email: &str, password: &str) -> Option<Value> {
    let answer = client.post("/auth/login", &json!({"email": email, "password": password})).await;
    if answer.status == StatusCode::OK {
        return Some(answer.expect(StatusCode::OK));
    }
    answer.problem(401, "invalid_credentials");
    None
}

#[tokio::test]
async fn an_account_is_one_whatever_keyboard_its_user_has() {
    let server = Server::start(&[]);
    let client = server.client();
    let account = json!({"email": "Jose\u{301}@example.org", "password": DECOMPOSED});
    let user = client.post("/auth/register", &account).await.expect(StatusCode::CREATED);
    assert_eq!(user["email"], "Jos\u{e9}@example.org", "kept composed");
    let again = json!({"email": "JOS\u{c9}@EXAMPLE.org", "password": COMPOSED});
    client.post("/auth/register", &again).await.problem(409, "email_taken");
    for (email, password) in [
        ("jos\u{e9}@example.org", COMPOSED),
        ("JOSE\u{301}@example.org", DECOMPOSED),
        ("jos\u{e9}@example.org", "gr\u{fc}n und ｂｌａｕ"),
    ] {
        assert!(login(&client, email, password).await.is_some(), "{email} {password}");
    }
    assert!(login(&client, "jos\u{e9}@example.org", "grun und blau").await.is_none());
}

#[tokio::test]
async fn an_old_hash_is_known_as_it_was_typed_and_then_from_every_keyboard() {
    // Of the decomposed form, as a version made it that hashed what was typed.
    const OLD: &str = "$argon2id$v=19$m=19456,t=2,p=1$mrxHtNllntMvbR7igaFIiA$\
                       6OwpjTGeUr+WtuvFCdQtxnhesUwKdf0pSr2I4gJyFo8";
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start_in(folder.path(), &[]);
    let client = server.client();
    let account = json!({"email": "ann@example.org", "password": "something else"});
    client.post("/auth/register", &account).await.expect(StatusCode::CREATED);
    let before = login(&client, "ann@example.org", "something else").await.expect("logged in");
    server.sql(&format!("UPDATE users SET password_hash = '{OLD}'"));
    assert!(login(&client, "ann@example.org", COMPOSED).await.is_none(), "not yet");
    assert!(login(&client, "ann@example.org", DECOMPOSED).await.is_some());
    assert!(login(&client, "ann@example.org", COMPOSED).await.is_some(), "hashed anew");
    assert!(login(&client, "ann@example.org", DECOMPOSED).await.is_some());
    let token = json!({"refresh_token": before["refresh_token"]});
    client.post("/auth/refresh", &token).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn a_name_that_cannot_be_seen_or_told_from_another_is_refused_and_named() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(5).await;
    let (event, sections) = (format!("/events/{event_id}"), format!("/events/{event_id}/sections"));
    let section = format!("{sections}/A");
    let blocked = format!("{section}/blocked");
    for (name, message) in [
        (" ", "must not be blank"),
        ("\u{200b}", "must not be blank"),
        ("\u{3164}", "must not be blank"),
        ("VIP ", "must not begin or end with a space"),
        ("\u{a0}VIP", "must not begin or end with a space"),
        ("V\u{200b}IP", "must not contain zero-width characters"),
        ("V\u{202e}IP", "must not contain zero-width characters"),
        ("V\nIP", "must not contain control characters"),
    ] {
        let account = json!({"email": "x@example.org", "password": "a long one", "name": name});
        let row =
            json!({"label": name, "seats": [{"number": "1", "x": 0, "y": 0, "category": "G"}]});
        let layout = json!({"categories": [{"name": "G", "price": 1}], "rows": [row]});
        let new_section = json!({"name": name, "capacity": 1});
        let answers = [
            ("title", user.post("/events", &show(&json!({"title": name}))).await),
            ("venue", user.post("/events", &show(&json!({"venue": name}))).await),
            (
                "sections[0].name",
                user.post("/events", &show(&json!({"sections": [new_section]}))).await,
            ),
            ("title", user.patch(&event, &json!({"title": name})).await),
            ("venue", user.patch(&event, &json!({"venue": name})).await),
            ("name", user.post(&sections, &new_section).await),
            ("name", user.patch(&section, &json!({"name": name})).await),
            ("name", user.patch("/users/me", &json!({"name": name})).await),
            ("name", user.post("/auth/register", &account).await),
            (
                "reason",
                user.send(
                    reqwest::Method::PUT,
                    &blocked,
                    Some(&json!({"number": 1, "reason": name})),
                    &[],
                )
                .await,
            ),
            (
                "row",
                user.send(reqwest::Method::PUT, &format!("{section}/seats"), Some(&layout), &[])
                    .await,
            ),
        ];
        for (field, answer) in answers {
            let problem = answer.problem(422, "validation_failed");
            let error = &problem["errors"][0];
            assert!(error["field"].as_str().is_some_and(|of| of.ends_with(field)), "{problem}");
            assert_eq!(error["message"], message, "{name:?} {field}");
        }
    }
    let hidden = json!({"email": "x\u{200b}@example.org", "password": "a long one"});
    user.post("/auth/register", &hidden).await.problem(422, "validation_failed");
    // What has a use is taken, and empty is no venue.
    let emoji = json!({"title": "👩\u{200d}🎤 ❤\u{fe0f} می\u{200c}خواهم", "venue": ""});
    user.post("/events", &show(&emoji)).await.expect(StatusCode::CREATED);
}

#[tokio::test]
async fn names_and_titles_are_one_however_they_are_spelled() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let sections =
        json!([{"name": "Cafe\u{301}", "capacity": 3}, {"name": "Straße", "capacity": 3}]);
    let event = show(&json!({"title": "ΟΔΥΣΣΕΙΑ", "sections": sections}));
    let event = user.post("/events", &event).await.expect(StatusCode::CREATED);
    assert_eq!(event["sections"][0]["name"], "Caf\u{e9}", "kept composed");
    let event_id = event["event_id"].as_str().expect("an id");
    for name in ["CAF\u{c9}", "cafe\u{301}", "STRASSE", "V I P"] {
        let section = json!({"name": name, "capacity": 1});
        let answer = user.post(&format!("/events/{event_id}/sections"), &section).await;
        if name == "V I P" {
            answer.expect(StatusCode::CREATED);
        } else {
            let problem = answer.problem(422, "validation_failed");
            assert_eq!(problem["errors"][0]["field"], "name");
        }
    }
    for name in ["cafe\u{301}", "CAF\u{c9}", "STRASSE", "v\u{a0}i p"] {
        let hold = json!({"event_id": event_id, "section_id": name, "seats_requested": 1});
        user.post("/bookings/hold", &hold).await.expect(StatusCode::CREATED);
    }
    for query in ["ΟΔΥΣ", "οδυς", "σσ"] {
        let found = user.get(&format!("/events?q={query}")).await.expect(StatusCode::OK);
        assert_eq!(found["items"][0]["event_id"], event_id, "{query}");
    }
    server.audit();
}

#[tokio::test]
async fn a_seat_is_found_however_it_is_spelled_and_booked_by_its_own_name() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let seat =
        |number: &str, x: i32| json!({"number": number, "x": x, "y": 0, "category": "Re\u{301}s"});
    let far = |number: &str| json!({"number": number, "x": 0, "y": 90, "category": "Re\u{301}s"});
    let layout = json!({"categories": [{"name": "Re\u{301}s", "price": 500}], "rows": [
        {"label": "Re\u{301}", "seats": [seat("1", 0), seat("2a", 50), seat("3", 100)]},
        {"label": "C", "seats": [far("12")]},
    ]});
    let event = show(&json!({"sections": [{"name": "Hall", "layout": layout}]}));
    let event = user.post("/events", &event).await.expect(StatusCode::CREATED);
    let event_id = event["event_id"].as_str().expect("an id");
    let hold = async |seats: &[&str]| {
        let body = json!({"event_id": event_id, "section_id": "Hall", "seats": seats});
        user.post("/bookings/hold", &body).await
    };
    hold(&["r\u{e9}-3", "R\u{e9}-3"]).await.problem(422, "validation_failed");
    let booking = hold(&["re\u{301}-1", "RÉ-2A", "c-12"]).await.expect(StatusCode::CREATED);
    assert_eq!(booking["seats"], json!(["R\u{e9}-1", "R\u{e9}-2a", "C-12"]));
    hold(&["C-12"]).await.problem(409, "seats_unavailable");
    hold(&["Re\u{301}-1"]).await.problem(409, "seats_unavailable");
    hold(&["D-1"]).await.problem(409, "seats_unavailable");
    let id = booking["booking_id"].as_str().expect("an id");
    user.step(id, "confirm").await.expect(StatusCode::OK);
    let best = json!({"number": 1, "categories": ["RE\u{301}S"]});
    let best = json!({"event_id": event_id, "best_available": best});
    let booking = user.post("/bookings/hold", &best).await.expect(StatusCode::CREATED);
    assert_eq!(booking["seats"], json!(["R\u{e9}-3"]));
    let id = booking["booking_id"].as_str().expect("an id");
    user.step(id, "cancel").await.expect(StatusCode::OK);
    let path = format!("/events/{event_id}/sections/Hall/blocked");
    for _ in 0..2 {
        let blocked = json!({"seats": ["re\u{301}-3"], "reason": "Desk"});
        let section = user.send(reqwest::Method::PUT, &path, Some(&blocked), &[]).await;
        assert_eq!(section.expect(StatusCode::OK)["available_seats"], 0);
    }
    server.audit();
}

#[tokio::test]
async fn a_description_has_lines() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let text = "First line\r\nSecond\n\nLast";
    let event = show(&json!({"description": text}));
    let event = user.post("/events", &event).await.expect(StatusCode::CREATED);
    assert_eq!(event["description"], "First line\nSecond\n\nLast");
    let path = format!("/events/{}", event["event_id"].as_str().expect("an id"));
    let changed = user.patch(&path, &json!({"description": "A\r\nB"})).await;
    assert_eq!(changed.expect(StatusCode::OK)["description"], "A\nB");
    for wrong in ["a\rb", "a\tb", "a\0b", "a\u{85}b"] {
        let created = user.post("/events", &show(&json!({"description": wrong}))).await;
        let changed = user.patch(&path, &json!({"description": wrong})).await;
        for answer in [created, changed] {
            let problem = answer.problem(422, "validation_failed");
            assert_eq!(problem["errors"][0]["field"], "description");
            let message = problem["errors"][0]["message"].as_str().expect("one");
            assert!(message.contains("line breaks"), "{message}");
        }
    }
    // A line break counts once, however it was sent.
    let longest = "\r\n".repeat(5_000);
    let event = user.post("/events", &show(&json!({"description": longest}))).await;
    event.expect(StatusCode::CREATED);
}

#[tokio::test]
async fn two_accounts_that_are_one_by_now_are_kept_and_told_to_who_migrates() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start_in(folder.path(), &[]);
    let client = server.client();
    let account = json!({"email": "caf\u{e9}@example.org", "password": "first password"});
    client.post("/auth/register", &account).await.expect(StatusCode::CREATED);
    let account = json!({"email": "other@example.org", "password": "second password"});
    let other = client.post("/auth/register", &account).await.expect(StatusCode::CREATED);
    // As a version left it that took them for two.
    server.sql(
        "UPDATE users SET email = 'cafe\u{301}@example.org', email_folded = 'cafe\u{301}@example.org'
         WHERE email = 'other@example.org'",
    );
    server.sql("DELETE FROM text_keys");
    server.stop();
    let migrated = run_in(folder.path(), &["migrate", "up"]);
    let told = String::from_utf8_lossy(&migrated.stderr).into_owned();
    assert!(migrated.status.success(), "{told}");
    assert!(told.contains("has the same comparison form"), "{told}");
    assert!(told.contains(other["user_id"].as_str().expect("an id")), "{told}");
    assert!(!told.contains("example.org"), "addresses are nobody's business: {told}");
    let server = Server::start_in(folder.path(), &[]);
    let client = server.client();
    for (email, password, is_right) in [
        ("caf\u{e9}@example.org", "first password", true),
        ("cafe\u{301}@EXAMPLE.org", "second password", true),
        ("cafe\u{301}@example.org", "first password", false),
    ] {
        assert_eq!(login(&client, email, password).await.is_some(), is_right, "{email}");
    }
}
