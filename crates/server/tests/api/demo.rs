//! What the demo makes for load tests: tokens, and a store full of bookings.

use crate::support::{Client, Server, audit, reservix, run_in, stack};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;

fn told(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

#[track_caller]
fn good(output: &Output) -> String {
    assert!(output.status.success(), "{}", told(output));
    told(output)
}

#[track_caller]
fn refused(output: &Output, because: &str) {
    assert!(!output.status.success(), "{}", told(output));
    assert!(told(output).contains(because), "{because} in {}", told(output));
}

fn tokens(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).expect("the file is there");
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn buyers_of_a_tokens_file_can_book_on_the_running_server() {
    let server = Server::start(&[]);
    let seller = server.user().await;
    let event_id = seller.event(50).await;
    let said = good(&server.run(&["demo", "--buyers", "20", "--tokens", "buyers.txt"]));
    assert!(said.contains("wrote 20 tokens to buyers.txt, valid for 60 minutes"), "{said}");
    let path = server.folder().join("buyers.txt");
    let mode = std::fs::metadata(&path).expect("the file is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let tokens = tokens(&path);
    assert_eq!(tokens.len(), 20);
    let mut buyers = BTreeSet::new();
    for token in &tokens {
        let buyer = server.client().with_token(token);
        let held = buyer.hold(&event_id, 2).await.expect(StatusCode::CREATED);
        buyers.insert(held["user_id"].as_str().expect("an id").to_owned());
        let booking_id = held["booking_id"].as_str().expect("an id");
        buyer.step(booking_id, "confirm").await.expect(StatusCode::OK);
        let list = buyer.get("/bookings").await.expect(StatusCode::OK);
        assert_eq!(list["items"].as_array().map(Vec::len), Some(1), "{list:#}");
        buyer.get("/users/me").await.problem(404, "not_found");
    }
    assert_eq!(buyers.len(), 20, "every token is of another buyer");
    server.audit();
}

#[tokio::test]
async fn a_tokens_file_is_replaced_whole_and_its_tokens_live_as_long_as_was_asked_for() {
    let server = Server::start(&[("ACCESS_TOKEN_EXPIRE_SECONDS", "1")]);
    let event_id = server.user().await.event(50).await;
    let path = server.folder().join("tokens.txt");
    std::fs::write(&path, "an older file, open to all\n").expect("written");
    let said = good(&server.run(&["demo", "--buyers", "2", "--hours", "2"]));
    assert!(said.contains("valid for 120 minutes"), "{said}");
    let mode = std::fs::metadata(&path).expect("the file is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let tokens = tokens(&path);
    assert_eq!(tokens.len(), 2);
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    server.client().with_token(&tokens[1]).hold(&event_id, 1).await.expect(StatusCode::CREATED);
    let files: Vec<_> = std::fs::read_dir(server.folder()).expect("a folder").flatten().collect();
    let drafts =
        files.iter().filter(|file| file.path().extension().is_some_and(|it| it == "draft"));
    assert_eq!(drafts.count(), 0, "no draft stays behind");
}

#[test]
fn what_the_demo_cannot_make_is_refused_and_nothing_is_made() {
    let folder = tempfile::tempdir().expect("a folder");
    for arguments in [
        &["--buyers", "0"][..],
        &["--buyers", "1000001"],
        &["--buyers", "many"],
        &["--buyers", "1", "--hours", "0"],
        &["--buyers", "1", "--hours", "25"],
        &["--buyers", "1", "--bookings", "1"],
        &["--buyers", "1", "--url", "http://127.0.0.1:1"],
        &["--tokens", "file"],
        &["--hours", "1"],
        &["--bookings", "0"],
        &["--bookings", "100000001"],
        &["--bookings", "1", "--events", "0"],
        &["--bookings", "1", "--events", "100001"],
        &["--bookings", "1", "--seed", "x"],
        &["--events", "1"],
        &["--seed", "1"],
        &["--beside-others"],
    ] {
        let output = run_in(folder.path(), &[&["demo"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", told(&output));
    }
    let made = |name: &str| folder.path().join(name).exists();
    assert!(!made("data") && !made("tokens.txt"));
}

#[test]
fn tokens_without_a_key_and_bookings_in_production_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |arguments: &[&str], settings: &[(&str, &str)]| {
        let mut command = reservix();
        command.current_dir(folder.path()).env("DATA_DIR", "data").args(arguments);
        command.envs(settings.iter().copied()).output().expect("the binary runs")
    };
    refused(&run(&["demo", "--buyers", "1"], &[]), "start `reservix serve` first");
    let production =
        [("ENVIRONMENT", "production"), ("SECRET_KEY", "0123456789abcdef0123456789abcdef")];
    refused(&run(&["demo", "--bookings", "1"], &production), "ENVIRONMENT is production");
    assert!(!folder.path().join("data").exists());
    good(&run(&["demo", "--buyers", "1"], &production));
    let missing = ["demo", "--buyers", "1", "--tokens", "nowhere/tokens.txt"];
    refused(&run(&missing, &production), "nowhere/tokens.txt");
}

#[tokio::test]
async fn a_filled_store_is_clean_served_and_not_filled_again_by_accident() {
    let folder = tempfile::tempdir().expect("a folder");
    let fill = ["demo", "--bookings", "2000", "--events", "20"];
    let said = good(&run_in(folder.path(), &fill));
    assert!(said.contains("2000 of 2000 bookings"), "{said}");
    refused(&run_in(folder.path(), &fill), "it already has events");
    good(&run_in(folder.path(), &[&fill[..], &["--beside-others"]].concat()));
    audit(folder.path());
    let server = Server::start_in(folder.path(), &[]);
    if !stack::is_distributed() {
        let beside = run_in(folder.path(), &[&fill[..], &["--beside-others"]].concat());
        refused(&beside, "another process serves this database");
    }
    let user: Client = server.user().await;
    let list = user.get("/events?status=on_sale&limit=100").await.expect(StatusCode::OK);
    let events = list["items"].as_array().expect("a list");
    assert_eq!(events.len(), 38, "of 40, one in twenty is closed");
    let seats_left = |of: &&Value| of["available_seats"].as_i64() > Some(0);
    let left = events.iter().find(seats_left).expect("not everything is sold out");
    let event_id = left["event_id"].as_str().expect("an id");
    let event = user.get(&format!("/events/{event_id}")).await.expect(StatusCode::OK);
    let mut sections = event["sections"].as_array().expect("a list").iter();
    let section = &sections.find(seats_left).expect("the sum says so")["name"];
    let body = json!({"event_id": event_id, "section_id": section, "seats_requested": 1});
    let held = user.post("/bookings/hold", &body).await.expect(StatusCode::CREATED);
    let booking_id = held["booking_id"].as_str().expect("an id");
    user.step(booking_id, "confirm").await.expect(StatusCode::OK);
    server.audit();
}
