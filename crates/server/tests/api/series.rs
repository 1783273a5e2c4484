//! Series: recording, listing and renaming them, and events in them.

use crate::support::{Answer, Server, show};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// The shard in an id: ten bits after the version.
fn shard(id: &Value) -> u16 {
    let digits = id.as_str().expect("an id").replace('-', "");
    (u16::from_str_radix(&digits[12..16], 16).expect("four digits") >> 2) & 0x3FF
}

/// Whether an answer refuses this field.
#[track_caller]
fn invalid(answer: Answer, field: &str) {
    let problem = answer.problem(422, "validation_failed");
    assert_eq!(problem["errors"][0]["field"], field, "{problem:#}");
}

#[tokio::test]
async fn a_series_is_created_read_and_renamed() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let created = user.post("/series", &json!({"title": "Season 2027"})).await;
    let etag = created.headers["etag"].clone();
    let location = created.headers["location"].to_str().expect("text").to_owned();
    let series = created.expect(StatusCode::CREATED);
    let series_id = series["series_id"].as_str().expect("an id");
    assert_eq!(location, format!("/api/v1/series/{series_id}"));
    let expected = json!({
        "series_id": series_id,
        "organizer_id": user.user_id,
        "organization": {
            "organization_id": user.user_id,
            "name": null,
            "personal": true,
        },
        "title": "Season 2027",
        "version": 1,
        "created_at": series["created_at"],
        "updated_at": series["created_at"],
    });
    assert_eq!(series, expected);
    let path = format!("/series/{series_id}");
    let read = user.get(&path).await;
    assert_eq!(
        (&read.headers["etag"], &read.headers["cache-control"]),
        (&etag, &"private, no-store".parse().expect("a value"))
    );
    assert_eq!(read.expect(StatusCode::OK), series);
    let tag = etag.to_str().expect("text");
    let known = user.send(Method::GET, &path, None, &[("If-None-Match", tag)]).await;
    assert_eq!(known.status, StatusCode::NOT_MODIFIED);

    let rename = json!({"title": "Season 2028"});
    let change = user.send(Method::PATCH, &path, Some(&rename), &[("If-Match", tag)]).await;
    assert_ne!(change.headers["etag"], etag);
    let changed = change.expect(StatusCode::OK);
    assert_eq!((&changed["title"], &changed["version"]), (&json!("Season 2028"), &json!(2)));
    let stale = user.send(Method::PATCH, &path, Some(&rename), &[("If-Match", tag)]).await;
    assert_eq!(stale.problem(412, "version_mismatch")["version"], 2);
    let again = user.send(Method::PATCH, &path, Some(&rename), &[]).await;
    assert_eq!(again.expect(StatusCode::OK), changed, "nothing has changed");
}

#[tokio::test]
async fn a_series_is_nobody_elses() {
    let server = Server::start(&[]);
    let (user, stranger) = (server.user().await, server.user().await);
    let series = user.post("/series", &json!({"title": "Season"})).await;
    let series = series.expect(StatusCode::CREATED);
    let series_id = series["series_id"].as_str().expect("an id");
    let path = format!("/series/{series_id}");
    let rename = json!({"title": "Mine"});
    stranger.get(&path).await.problem(404, "not_found");
    stranger.send(Method::PATCH, &path, Some(&rename), &[]).await.problem(404, "not_found");
    let event = show(&json!({"series_id": series_id}));
    stranger.post("/events", &event).await.problem(404, "not_found");
    server.client().get(&path).await.problem(401, "unauthorized");
    server.client().get("/series").await.problem(401, "unauthorized");
    let theirs = stranger.get("/series").await.expect(StatusCode::OK);
    assert_eq!(theirs, json!({"items": [], "next": null}));
    assert_eq!(user.get(&path).await.expect(StatusCode::OK), series);
    let unknown = "01990000-0000-8000-8000-000000000000";
    user.get(&format!("/series/{unknown}")).await.problem(404, "not_found");
    user.get("/series/none").await.problem(404, "not_found");
    let event = show(&json!({"series_id": unknown}));
    user.post("/events", &event).await.problem(404, "not_found");
    let all = user.get("/events?organizer=me").await.expect(StatusCode::OK);
    assert_eq!(all["items"], json!([]));
}

#[tokio::test]
async fn series_come_newest_first_page_by_page() {
    let server = Server::start(&[]);
    let user = server.user().await;
    for number in 0..3 {
        let title = json!({"title": format!("Season {number}")});
        user.post("/series", &title).await.expect(StatusCode::CREATED);
        // Ids sort by the millisecond in which they were made.
        tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    }
    let first = user.get("/series?limit=2").await.expect(StatusCode::OK);
    let next = first["next"].as_str().expect("there are more");
    let second = user.get(&format!("/series?limit=2&after={next}")).await.expect(StatusCode::OK);
    let titles = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().expect("a list").iter();
        items.map(|item| item["title"].as_str().expect("text").to_owned()).collect()
    };
    assert_eq!(titles(&first), ["Season 2", "Season 1"]);
    assert_eq!((titles(&second), &second["next"]), (vec!["Season 0".to_owned()], &Value::Null));
}

#[tokio::test]
async fn events_of_a_series_share_its_shard_and_are_listed_by_it() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let series = user.post("/series", &json!({"title": "Season"})).await;
    let series = series.expect(StatusCode::CREATED);
    let series_id = series["series_id"].as_str().expect("an id");
    let mut ids = Vec::new();
    // In either case: an id is compared as what it is.
    for id in [series_id.to_owned(), series_id.to_uppercase()] {
        let event = user.post("/events", &show(&json!({"series_id": id}))).await;
        let event = event.expect(StatusCode::CREATED);
        assert_eq!(event["series_id"], series_id);
        for id in [&event["event_id"], &event["sections"][0]["section_id"]] {
            assert_eq!(shard(id), shard(&series["series_id"]));
        }
        ids.push(event["event_id"].clone());
        tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    }
    ids.reverse();
    let other = user.event_with(&show(&json!({}))).await;
    let path = format!("/events?series_id={series_id}");
    let listed = server.client().get(&path).await.expect(StatusCode::OK);
    let items = listed["items"].as_array().expect("a list");
    let found: Vec<_> = items.iter().map(|event| event["event_id"].clone()).collect();
    assert_eq!(found, ids, "and not {other}");
    assert!(items.iter().all(|event| event["series_id"] == series_id), "{items:?}");
    let read = user.get(&format!("/events/{other}")).await.expect(StatusCode::OK);
    assert!(read.get("series_id").is_none(), "{read:#}");
    invalid(user.get("/events?series_id=none").await, "series_id");
    invalid(user.post("/events", &show(&json!({"series_id": "none"}))).await, "series_id");
    user.post("/events", &show(&json!({"series_id": null})))
        .await
        .problem(422, "validation_failed");
    // It cannot be moved.
    let path = format!("/events/{other}");
    let moved = user.send(Method::PATCH, &path, Some(&json!({"series_id": series_id})), &[]).await;
    moved.problem(422, "validation_failed");
}

#[tokio::test]
async fn a_title_of_a_series_obeys_the_rule_of_names() {
    let server = Server::start(&[]);
    let user = server.user().await;
    for wrong in ["", " ", "a\u{200b}b", "line\nline", &"x".repeat(201)] {
        invalid(user.post("/series", &json!({"title": wrong})).await, "title");
    }
    user.post("/series", &json!({})).await.problem(422, "validation_failed");
    let composed = user.post("/series", &json!({"title": "Cafe\u{301}"})).await;
    assert_eq!(composed.expect(StatusCode::CREATED)["title"], "Caf\u{e9}");
}

#[tokio::test]
async fn a_retry_of_a_creation_makes_one_series() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let send = async |title: &str| {
        let body = json!({"title": title});
        user.send(Method::POST, "/series", Some(&body), &[("Idempotency-Key", "s")]).await
    };
    let first = send("Season").await.expect(StatusCode::CREATED);
    let again = send("Season").await;
    assert_eq!(again.headers["idempotent-replayed"], "true");
    assert_eq!(again.expect(StatusCode::CREATED), first);
    send("Other").await.problem(422, "idempotency_key_reused");
    let all = user.get("/series").await.expect(StatusCode::OK);
    assert_eq!(all["items"], json!([first]));
}
