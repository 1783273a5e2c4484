//! The log's reader: gone, stalled, and what both may cost: lines.

use crate::support::wire::{Wire, post};
use crate::support::{Client, Server, eventually, hold_body, reservix, stack};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::time::{Duration, Instant};

const LIVE: &str = "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";
/// How long an answer may take on a busy machine; a process that waits for its reader gives none.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// An event with a section that is counted and one whose seats have numbers.
async fn hall(user: &Client) -> String {
    let layout = json!({"rows": "A-J", "seats_per_row": 20});
    user.event_with(&json!({
        "title": "Show",
        "event_date": "2099-06-15",
        "sections": [
            {"name": "A", "capacity": 500, "price": 1_000},
            {"name": "Hall", "price": 2_000, "layout": layout},
        ],
    }))
    .await
}

/// Buys two seats of each section; gives the bookings' ids.
async fn buy(user: &Client, event_id: &str, turn: u64) -> [String; 2] {
    let seats = [turn * 2 + 1, turn * 2 + 2].map(|seat| format!("A-{seat}"));
    let wish = json!({"event_id": event_id, "section_id": "Hall", "seats": seats});
    let mut bought = Vec::new();
    for body in [hold_body(event_id, 2), wish] {
        let held = user.post("/bookings/hold", &body).await.expect(StatusCode::CREATED);
        let booking_id = held["booking_id"].as_str().expect("an id").to_owned();
        user.step(&booking_id, "confirm").await.expect(StatusCode::OK);
        bought.push(booking_id);
    }
    bought.try_into().expect("two")
}

/// A meter without labels.
async fn meter(server: &Server, name: &str) -> f64 {
    let meters = server.client().outside().get("/metrics").await.body;
    let lines = meters.as_str().expect("text").lines();
    let value = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).next_back();
    value.unwrap_or_else(|| panic!("{name} is not told")).parse().expect("a number")
}

async fn health(server: &Server) -> Value {
    server.client().outside().get("/health").await.expect(StatusCode::OK)
}

/// Asks so often, several at a time, that each answer is a line of the log.
async fn log_lines(server: &Server, count: usize) {
    const AT_ONCE: usize = 20;
    let mut wire = Wire::open(server).await;
    for _ in 0..count / AT_ONCE {
        wire.send(LIVE.repeat(AT_ONCE)).await;
        for _ in 0..AT_ONCE {
            let heard = tokio::time::timeout(ANSWERED_WITHIN, wire.heard()).await;
            assert_eq!(heard.expect("an answer, whoever reads the log").status, 200);
        }
    }
}

#[tokio::test]
async fn without_a_reader_of_its_log_everything_goes_on_and_the_lines_are_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = [("SWEEP_INTERVAL_MS", "100"), ("APP_DEBUG", "true")];
    let server = Server::start_in(folder.path(), &settings);
    let user = server.user().await;
    let (event_id, called_off) = (hall(&user).await, hall(&user).await);
    assert!(meter(&server, "reservix_log_lines_dropped_total").await.abs() < f64::EPSILON);
    server.lose_log_reader();
    log_lines(&server, 20).await;
    for turn in 0..3 {
        buy(&user, &event_id, turn).await;
    }
    // The sweep says in the log what it has cancelled.
    let booked = buy(&user, &called_off, 3).await;
    user.post_empty(&format!("/events/{called_off}/cancel")).await.expect(StatusCode::OK);
    for booking_id in &booked {
        eventually("its bookings are cancelled", async || {
            user.get(&format!("/bookings/{booking_id}")).await.body["status"] == "CANCELLED"
        })
        .await;
    }
    buy(&user, &event_id, 3).await;
    let seen = health(&server).await;
    assert_eq!((&seen["status"], &seen["lanes"]), (&json!("healthy"), &json!("up")), "{seen:#}");
    assert_eq!(seen["workers"], "up");
    assert!(meter(&server, "reservix_log_lines_dropped_total").await > 0.0);
    server.audit();
    assert_eq!(server.stop(), Some(0), "an orderly stop, whoever reads of it");
    let server = Server::start_in(folder.path(), &settings);
    assert_eq!(
        server.client().with_token(user.token.as_deref().expect("a token")).seats(&event_id).await,
        (492, 0, 8)
    );
}

#[tokio::test]
async fn a_reader_of_the_log_that_stalls_keeps_nobody_waiting() {
    let server = Server::start(&[("APP_DEBUG", "true")]);
    let user = server.user().await;
    let event_id = hall(&user).await;
    server.stall_log_reader();
    // More than the pipe and the queue have room for.
    log_lines(&server, 12_000).await;
    assert!(meter(&server, "reservix_log_lines_dropped_total").await > 0.0, "the queue is bounded");
    for turn in 0..3 {
        let bought = tokio::time::timeout(ANSWERED_WITHIN * 2, buy(&user, &event_id, turn)).await;
        bought.expect("buying does not wait for the reader");
    }
    assert_eq!(health(&server).await["status"], "healthy");
    // Once it reads again, the log says what is missing, and goes on.
    server.wake_log_reader();
    eventually("the log tells of the lines that were dropped", async || {
        log_lines(&server, 20).await;
        server.log().iter().any(|line| line.contains("log lines were dropped"))
    })
    .await;
    server.stall_log_reader();
    log_lines(&server, 4_000).await;
    let asked = Instant::now();
    assert_eq!(server.stop(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn an_orderly_stop_writes_the_last_line_of_the_log() {
    let server = Server::start(&[]);
    server.signal("TERM");
    eventually("the log says that it has stopped", async || {
        server.log().last().is_some_and(|line| line.ends_with("stopped"))
    })
    .await;
    assert_eq!(server.wait(), Some(0));
}

#[tokio::test]
async fn a_start_that_fails_says_why_and_ends_whoever_reads() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    for is_read in [true, false] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = reservix();
        stack::settle(&mut command, folder.path());
        let mut child =
            command.env("PORT", &port).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let mut stderr = child.stderr.take().expect("piped");
        let mut told = String::new();
        if is_read {
            stderr.read_to_string(&mut told).expect("text");
            assert!(
                told.lines().last().is_some_and(|line| line.starts_with("reservix: listening on")),
                "{told}"
            );
        }
        drop(stderr);
        assert_eq!(child.wait().expect("it ends").code(), Some(1), "read: {is_read}");
    }
}

#[test]
fn commands_whose_output_nobody_reads_to_its_end_end_well() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |arguments: &[&str]| {
        let mut command = reservix();
        stack::settle(&mut command, folder.path());
        let (stdout, stderr) = (Stdio::piped(), Stdio::piped());
        let mut child =
            command.args(arguments).stdout(stdout).stderr(stderr).spawn().expect("it starts");
        // As `head` does it: some of it, and gone.
        let mut first = String::new();
        let mut output = BufReader::with_capacity(16, child.stdout.take().expect("piped"));
        if arguments[0] != "migrate" {
            output.read_line(&mut first).expect("text");
        }
        drop(output);
        let mut errors = String::new();
        child.stderr.take().expect("piped").read_to_string(&mut errors).expect("text");
        assert_eq!(child.wait().expect("it ends").code(), Some(0), "{arguments:?}: {errors}");
        assert_eq!(errors, "", "{arguments:?}");
    };
    for arguments in [
        &["migrate", "up"][..],
        &["migrate", "status"],
        &["audit"],
        &["config"],
        &["config", "--example"],
        &["openapi"],
    ] {
        run(arguments);
    }
}

#[tokio::test]
async fn holds_go_on_while_a_batch_of_them_is_logged_nowhere() {
    // Both at once: buyers of a hot section, and a log at its most talkative that nobody takes.
    let server = Server::start(&[("APP_DEBUG", "true")]);
    let user = server.user().await;
    let event_id = user.event(10_000).await;
    server.stall_log_reader();
    let hold = post(&user, "/bookings/hold", &hold_body(&event_id, 1));
    let hammer = async || {
        let mut wire = Wire::open(&server).await;
        for _ in 0..100 {
            wire.send(&hold).await;
            let heard = tokio::time::timeout(ANSWERED_WITHIN, wire.heard()).await;
            assert_eq!(heard.expect("an answer").status, 201);
        }
    };
    futures_util::future::join_all((0..16).map(|_| hammer())).await;
    assert_eq!(user.seats(&event_id).await, (8_400, 1_600, 0));
    server.audit();
}
