//! A machine whose clock is set while the server runs, from Debian's package `libfaketime`.

use crate::support::{Server, eventually};
use reqwest::StatusCode;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Shows programs another time than the machine's.
fn libfaketime() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").expect("it is there");
    let mut found = folders
        .flatten()
        .map(|folder| folder.path().join("faketime/libfaketime.so.1"))
        .filter(|path| path.exists());
    found.next().expect("apt-get install libfaketime")
}

/// Sets the clock of a server to so many seconds ahead of the real one.
fn set_clock(folder: &Path, seconds: i64) {
    let (new, file) = (folder.join("clock.new"), folder.join("clock"));
    std::fs::write(&new, format!("{seconds:+}s\n")).expect("the folder is the test's own");
    // In one step: half a line would be another time.
    std::fs::rename(new, file).expect("the folder is the test's own");
}

/// A server whose clock can be set. Its holds end after 2 s.
fn start_in(folder: &Path) -> Server {
    set_clock(folder, 0);
    let (library, file) = (libfaketime(), folder.join("clock"));
    let path = |path: &Path| path.to_str().expect("a path of ASCII").to_owned();
    let (library, file) = (path(&library), path(&file));
    Server::start_in(
        folder,
        &[
            ("LD_PRELOAD", &library),
            ("FAKETIME_TIMESTAMP_FILE", &file),
            ("FAKETIME_NO_CACHE", "1"),
            // As on a real machine, where nothing sets the monotonic clock.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
            ("HOLD_TTL_SECONDS", "2"),
            ("ACCESS_TOKEN_EXPIRE_SECONDS", "86400"),
        ],
    )
}

/// The server's time, in seconds since 1970.
async fn time(server: &Server, event_id: &str) -> f64 {
    let seen = server.client().get(&format!("/events/{event_id}/availability")).await;
    let told = seen.expect(StatusCode::OK)["server_time"].as_str().expect("a time").to_owned();
    let of_day = told.split_once('T').expect("a time").1.trim_end_matches('Z');
    of_day.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().expect("a number"))
}

/// How far one time of day is after another.
fn since(later: f64, earlier: f64) -> f64 {
    (later - earlier).rem_euclid(86_400.0)
}

/// The clock is set to each of these in turn, and stays at the last one. A hold made before that and one
/// made after it both end in time.
async fn holds_end_while_the_clock_is_set(to_seconds: &[i64]) {
    let folder = tempfile::tempdir().expect("a folder");
    let server = start_in(folder.path());
    let (ann, bob) = (server.user().await, server.user().await);
    let event_id = ann.event(2).await;
    let before = ann.held(&event_id, 1).await;
    let mut newest = time(&server, &event_id).await;
    for seconds in to_seconds {
        set_clock(folder.path(), *seconds);
        let now = time(&server, &event_id).await;
        assert!(since(now, newest) < 43_200.0, "time goes back from {newest} to {now}");
        newest = now;
    }
    // The first hold ended, if time went an hour ahead.
    let at_first = bob.held(&event_id, 1).await;
    let taken = bob.get(&format!("/bookings/{before}")).await.status;
    assert_eq!(taken, StatusCode::NOT_FOUND, "it is not Bob's");
    // Both have ended by now, however slow time goes until the machine's clock has caught up.
    tokio::time::sleep(Duration::from_millis(2_400)).await;
    let passed = since(time(&server, &event_id).await, newest);
    assert!(passed > 2.0, "time stands still: {passed} s");
    for (buyer, booking_id) in [(&ann, &before), (&bob, &at_first)] {
        let seen = buyer.get(&format!("/bookings/{booking_id}")).await.expect(StatusCode::OK);
        assert_eq!(seen["status"], "EXPIRED", "{seen:#}");
        buyer.step(booking_id, "confirm").await.problem(410, "hold_expired");
    }
    let next = ann.held(&event_id, 2).await;
    bob.hold(&event_id, 1).await.problem(409, "sold_out");
    ann.step(&next, "confirm").await.expect(StatusCode::OK);
    if !crate::support::stack::is_distributed() {
        let told = "the machine's clock was set back";
        eventually("the log says so", async || server.log().iter().any(|line| line.contains(told)))
            .await;
        eventually("the meter says so", async || {
            let meters = server.client().outside().get("/metrics").await.body;
            let lines = meters.as_str().expect("text").lines();
            let mut ahead =
                lines.filter_map(|line| line.strip_prefix("reservix_clock_ahead_seconds "));
            ahead.next_back().is_some_and(|ahead| ahead.parse::<f64>().expect("a number") > 30.0)
        })
        .await;
    }
    server.audit();
}

#[tokio::test]
async fn i5_a_clock_that_is_set_back_stops_no_hold_from_ending() {
    tokio::join!(
        holds_end_while_the_clock_is_set(&[-60]),
        holds_end_while_the_clock_is_set(&[-3_600]),
    );
}

#[tokio::test]
async fn i5_a_step_forward_that_is_taken_back_stops_no_hold_from_ending() {
    holds_end_while_the_clock_is_set(&[3_600, 0]).await;
}

#[tokio::test]
async fn over_a_restart_after_the_clock_was_set_back_holds_end_later_and_the_log_says_so() {
    if crate::support::stack::is_distributed() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let server = start_in(folder.path());
    let ann = server.user().await;
    let event_id = ann.event(1).await;
    set_clock(folder.path(), 60);
    let booking_id = ann.held(&event_id, 1).await;
    server.kill();
    let server = start_in(folder.path());
    let told = "at a time that is in the future by this machine's clock";
    assert!(server.log().iter().any(|line| line.contains(told)), "{:#?}", server.log());
    let ann = server.client().with_token(ann.token.as_deref().expect("a token"));
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let seen = ann.get(&format!("/bookings/{booking_id}")).await.expect(StatusCode::OK);
    assert_eq!(seen["status"], "HOLD", "it ends a minute later");
    ann.step(&booking_id, "confirm").await.expect(StatusCode::OK);
    server.audit();
}
