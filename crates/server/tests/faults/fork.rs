//! A history that forked: the database is replaced by an older copy of itself beside running instances.
//!
//! What was acknowledged after the copy was taken is lost, and nothing here can know of it. But what is
//! sold from then on is sold by what the copy says: no seat twice, none refused that is free, no answer
//! of the lost history taken for one of this, and never a 500.

use crate::row::tail;
use crate::stage::{Plan, Stage, pause};
use crate::support::{Answer, Client};
use crate::table::{self, Line};
use crate::{TURN, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How soon everything must be normal again.
const GOAL: Duration = Duration::from_secs(5);
/// A row fails at so many times its goal.
const TOLERANCE: u32 = 5;

/// Asks until there is an answer other than 503; a broken connection is one of those.
async fn ask(client: &Client, method: Method, path: &str, body: Option<&Value>) -> Answer {
    let until = Instant::now() + GOAL * TOLERANCE;
    loop {
        if let Ok(answer) = client.try_send(method.clone(), path, body, &[]).await
            && answer.status != StatusCode::SERVICE_UNAVAILABLE
        {
            return answer;
        }
        assert!(Instant::now() < until, "nobody answers {method} {path}");
        pause(50).await;
    }
}

/// A hold of these seats, or of so many.
async fn hold(client: &Client, event_id: &str, item: Value) -> Answer {
    let body = json!({"event_id": event_id, "items": [item]});
    ask(client, Method::POST, "/bookings/hold", Some(&body)).await
}

fn named(seats: &[&str]) -> Value {
    json!({"section_id": "Hall", "seats": seats})
}

fn counted(seats: u64) -> Value {
    json!({"section_id": "Floor", "seats_requested": seats})
}

/// The booking of a hold that was given.
fn booking_id(held: Answer) -> String {
    let held = held.expect(StatusCode::CREATED);
    held["booking_id"].as_str().expect("an id").to_owned()
}

/// Does something to the database while nobody is connected, and keeps everybody away meanwhile.
fn alone(stage: &Stage, name: &str, statements: &[String]) {
    let admin = |sql: &str| stage.postgres.sql("postgres", sql);
    let cut =
        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    admin(&format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false"));
    admin(&cut);
    for statement in statements {
        admin(statement);
    }
}

async fn round(stage: &Stage) -> Result<Line, String> {
    let name = stage.database_name();
    let event = json!({
        "title": "Twice told", "event_date": "2099-01-01",
        "sections": [
            {"name": "Hall", "layout": {"rows": "A-C", "seats_per_row": 6}},
            {"name": "Floor", "capacity": 4, "price": 100, "currency": "USD"},
        ],
    });
    let organizer = stage.at(&stage.organizer, 1);
    let event_id = organizer.event_with(&event).await;
    let path = format!("/events/{event_id}");
    let there = stage.at(&stage.buyers[0], 1);
    let here = stage.at(&stage.buyers[1], 0);
    booking_id(hold(&there, &event_id, named(&["C-6"])).await);
    booking_id(hold(&here, &event_id, named(&["C-5"])).await);

    // The copy; what comes after it is lost.
    alone(
        stage,
        &name,
        &[
            format!("CREATE DATABASE {name}_copy TEMPLATE {name}"),
            format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true"),
        ],
    );
    let lost = booking_id(hold(&there, &event_id, named(&["A-1"])).await);
    booking_id(hold(&there, &event_id, named(&["A-2"])).await);
    booking_id(hold(&there, &event_id, counted(4)).await);
    let sold_out = hold(&there, &event_id, counted(1)).await;
    ensure!(sold_out.is(409, "sold_out"), "the floor is not sold out: {}", sold_out.short());
    let venue = json!({"venue": "of the lost history"});
    ask(&organizer, Method::PATCH, &path, Some(&venue)).await.expect(StatusCode::OK);
    let shown = ask(&organizer, Method::GET, &path, None).await;
    let tag = shown.headers["etag"].to_str().expect("a tag").to_owned();

    let struck = stage.now();
    alone(
        stage,
        &name,
        &[
            format!("ALTER DATABASE {name} RENAME TO {name}_lost"),
            format!("ALTER DATABASE {name}_copy RENAME TO {name}"),
        ],
    );
    let replaced = stage.now();
    // The same versions again, with other contents, at the other instance.
    let at_first = stage.at(&stage.organizer, 0);
    let kept = booking_id(hold(&here, &event_id, named(&["B-1"])).await);
    booking_id(hold(&here, &event_id, named(&["B-2"])).await);
    let title = json!({"title": "Of the history that goes on"});
    ask(&at_first, Method::PATCH, &path, Some(&title)).await.expect(StatusCode::OK);

    // The instance that knows the lost history goes on.
    booking_id(hold(&there, &event_id, named(&["C-1"])).await);
    let taken = hold(&there, &event_id, named(&["B-1"])).await;
    ensure!(taken.is(409, "seats_unavailable"), "B-1 was sold twice: {}", taken.short());
    for (client, seat) in [(&there, "A-1"), (&here, "A-2")] {
        let free = hold(client, &event_id, named(&[seat])).await;
        ensure!(free.status == StatusCode::CREATED, "{seat} is free: {}", free.short());
    }
    // A gate that says sold out by the lost history lapses, or was never asked.
    let until = Instant::now() + GOAL * TOLERANCE;
    let floor = loop {
        let held = hold(&there, &event_id, counted(2)).await;
        if held.status == StatusCode::CREATED {
            break booking_id(held);
        }
        ensure!(held.is(409, "sold_out"), "{}", held.short());
        ensure!(Instant::now() < until, "the floor stays sold out");
        pause(50).await;
    };
    let healed = stage.now().saturating_sub(replaced);
    let gone = ask(&there, Method::GET, &format!("/bookings/{lost}"), None).await;
    ensure!(gone.status == StatusCode::NOT_FOUND, "a lost booking is shown: {}", gone.short());
    let confirm = async |client: &Client, id: &str| {
        ask(client, Method::POST, &format!("/bookings/{id}/confirm"), None).await.status
    };
    for (client, id) in [(&stage.at(&stage.buyers[1], 1), &kept), (&there, &floor)] {
        let status = confirm(client, id).await;
        ensure!(status == StatusCode::OK, "a hold of this history was not confirmed: {status}");
    }
    // Tags of the lost history fit nothing in this one.
    for client in [&at_first, &organizer] {
        let known = [("If-None-Match", tag.as_str())];
        let read = client.send(Method::GET, &path, None, &known).await;
        ensure!(read.status == StatusCode::OK, "a lost tag is still known: {}", read.short());
        let expected = [("If-Match", tag.as_str())];
        let written = client.send(Method::PATCH, &path, Some(&venue), &expected).await;
        ensure!(written.is(412, "version_mismatch"), "a lost tag fits: {}", written.short());
    }
    // Reconcile has had its turns in both histories.
    pause(2_500).await;
    stage.audit()?;
    let log = stage.log();
    let bad = log.iter().find(|line| line.contains("ERROR"));
    ensure!(bad.is_none(), "an error was logged: {bad:?}");
    ensure!(healed <= GOAL * TOLERANCE, "normal only after {healed:?}");
    Ok(Line {
        fault: "history forked: copy restored beside running instances".to_owned(),
        holds: 6,
        confirms: 2,
        refused: 0,
        slowest: stage.now().saturating_sub(struck),
        healed,
        goal: GOAL,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn i3_a_copy_that_is_restored_beside_running_instances_harms_no_section() {
    let _turn = TURN.lock().await;
    let stage = Stage::set(Plan::default()).await;
    match round(&stage).await {
        Ok(line) => table::add(&line),
        Err(violation) => panic!("{violation}\n{}", tail(&stage.log())),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_copy_of_production_on_the_same_redis_takes_nothing_from_it() {
    let _turn = TURN.lock().await;
    let stage = Stage::set(Plan::default()).await;
    let name = stage.database_name();
    let event_id = stage.event(24).await;
    // A second store is made of a dump of the first, and runs on the same Redis. There it is sold out.
    alone(
        &stage,
        &name,
        &[
            format!("CREATE DATABASE {name}_copy TEMPLATE {name}"),
            format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true"),
        ],
    );
    let copy = stage.on_copy(&format!("{name}_copy"));
    let mut at_copy = stage.buyers[0].clone();
    at_copy.api = format!("{}/api/v1", copy.url);
    booking_id(hold_any(&at_copy, &event_id, 24).await);
    let sold_out = hold_any(&at_copy, &event_id, 1).await;
    assert!(sold_out.is(409, "sold_out"), "{}", sold_out.short());
    for n in 0..24 {
        // A new instance of production has settled nothing itself: what it knows, it knows from Redis.
        if n == 12 {
            stage.stop(1);
            stage.start(1);
        }
        let held = hold_any(&stage.at(&stage.buyers[n % 4], n % 2), &event_id, 1).await;
        assert!(held.status == StatusCode::CREATED, "hold {n} of 24: {}", held.short());
        let again = hold_any(&at_copy, &event_id, 1).await;
        assert!(again.is(409, "sold_out"), "{}", again.short());
    }
    stage.audit().expect("the store is sound");
}

async fn hold_any(client: &Client, event_id: &str, seats: u64) -> Answer {
    let body = crate::support::hold_body(event_id, seats);
    ask(client, Method::POST, "/bookings/hold", Some(&body)).await
}
