//! The processes beside the one that serves it all: without workers, workers alone, health checks.

use crate::support::{Server, reservix};
use reqwest::StatusCode;
use std::net::TcpListener;
use std::process::Output;
use std::time::{Duration, Instant};

/// What a command comes to, with this port as its configuration.
fn health(settings: &[(&str, &str)], arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = reservix();
    command.current_dir(folder.path()).envs(settings.iter().copied()).arg("health");
    command.args(arguments).output().expect("the binary runs")
}

/// The one line that it printed.
#[track_caller]
fn refused(output: &Output) -> String {
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(output.stdout.is_empty());
    told
}

#[tokio::test]
async fn i5_without_workers_a_seat_whose_hold_has_ended_is_sold_again() {
    let server = Server::start_with(&["serve", "--no-workers"], &[("HOLD_TTL_SECONDS", "1")]);
    let user = server.user().await;
    let event_id = user.event(2).await;
    let booking_id = user.held(&event_id, 2).await;
    user.hold(&event_id, 1).await.problem(409, "sold_out");
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(user.seats(&event_id).await, (2, 0, 0));
    let next = user.held(&event_id, 2).await;
    user.step(&next, "confirm").await.expect(StatusCode::OK);
    user.step(&booking_id, "confirm").await.problem(410, "hold_expired");
    assert_eq!(user.seats(&event_id).await, (0, 0, 2));
    server.audit();
}

#[tokio::test]
async fn a_worker_of_the_embedded_store_is_refused_and_told_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut worker = reservix();
    worker.current_dir(folder.path()).env("DATA_DIR", folder.path().join("data")).arg("worker");
    let output = worker.env("PORT", "0").output().expect("the binary runs");
    let told = refused(&output);
    assert!(told.contains("`reservix worker` requires PostgreSQL"), "{told}");
    assert!(!folder.path().join("data").exists(), "nothing was made");
}

#[tokio::test]
async fn the_health_command_tells_whether_a_process_is_ready() {
    let server = Server::start(&[]);
    let port = server.url.rsplit(':').next().expect("a port").to_owned();
    for (settings, arguments) in [
        (vec![], vec!["--url", server.url.as_str()]),
        (vec![("PORT", port.as_str()), ("HOST", "0.0.0.0")], vec![]),
        // What a proxy would say is of no interest.
        (vec![("PORT", port.as_str()), ("http_proxy", "http://127.0.0.1:1")], vec![]),
    ] {
        let output = health(&settings, &arguments);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{told}");
        assert!(told.is_empty() && output.stdout.is_empty(), "{told}");
    }
    let url = format!("{}/nothing", server.url);
    assert!(refused(&health(&[], &["--url", &url])).contains("answered 404"));
    drop(server);
    refused(&health(&[("PORT", &port)], &[]));
    assert!(refused(&health(&[("PORT", "0")], &[])).contains("--url"));
}

#[tokio::test]
async fn the_health_command_does_not_wait_for_ever() {
    // It accepts by its backlog, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port().to_string();
    let begun = Instant::now();
    refused(&health(&[("PORT", &port)], &[]));
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}
