//! Connections: slow, idle, broken and too many clients.

use crate::support::wire::{Wire, head, post};
use crate::support::{Server, eventually, hold_body};
use reqwest::StatusCode;
use serde_json::json;
use std::time::{Duration, Instant};
use testbed::proxy::Proxy;
use tokio::net::TcpStream;

const LIVE: &str = "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";

#[tokio::test]
async fn a_head_that_does_not_arrive_in_time_is_answered_and_the_connection_closed() {
    let server = Server::start(&[("HEADER_TIMEOUT_SECONDS", "1")]);
    let mut stuck = Wire::open(&server).await;
    stuck.send("GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ").await;
    let mut dripping = Wire::open(&server).await;
    dripping.send("POST /api/v1/events HTTP/1.1\r\n").await;
    // Each byte comes in time, the head does not.
    for _ in 0..15 {
        dripping.send("X").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for wire in [&mut stuck, &mut dripping] {
        let heard = wire.heard().await;
        assert!(heard.head.contains("connection: close"), "{}", heard.head);
        heard.problem(408, "request_timeout");
        assert!(wire.ends().await);
    }
}

#[tokio::test]
async fn an_idle_connection_ends_without_a_word() {
    let server = Server::start(&[("IDLE_TIMEOUT_SECONDS", "1")]);
    let mut fresh = Wire::open(&server).await;
    let mut used = Wire::open(&server).await;
    used.send(LIVE).await;
    assert_eq!(used.heard().await.status, 200);
    assert!(fresh.ends().await, "{:?}", fresh.hear().await);
    assert!(used.ends().await, "{:?}", used.hear().await);
}

#[tokio::test]
async fn the_clock_of_a_head_does_not_run_between_requests() {
    let server = Server::start(&[("HEADER_TIMEOUT_SECONDS", "1"), ("IDLE_TIMEOUT_SECONDS", "4")]);
    let [mut fresh, mut used] = [Wire::open(&server).await, Wire::open(&server).await];
    used.send(LIVE).await;
    assert_eq!(used.heard().await.status, 200);
    // Some clients send an empty line after a body.
    used.send("\r\n").await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    for wire in [&mut fresh, &mut used] {
        wire.send(LIVE).await;
        assert_eq!(wire.heard().await.status, 200);
        // From its first byte on, a head has a second.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let begun = Instant::now();
        wire.send("GET /health/live HTTP/1.1\r\n").await;
        wire.heard().await.problem(408, "request_timeout");
        let took = begun.elapsed();
        assert!((900..3_500).contains(&took.as_millis()), "{took:?}");
        assert!(wire.ends().await);
    }
}

#[tokio::test]
async fn a_quiet_connection_is_kept_while_its_answer_is_on_the_way() {
    let server = Server::start(&[("IDLE_TIMEOUT_SECONDS", "1"), ("HEADER_TIMEOUT_SECONDS", "1")]);
    let user = server.user().await;
    let event_id = user.event(5).await;
    // Its body takes its time: neither the head's clock nor that of the quiet connection counts.
    let body = hold_body(&event_id, 1).to_string();
    let mut wire = Wire::open(&server).await;
    wire.send(format!("{}{}\r\n\r\n", head(&user, "/bookings/hold"), body.len())).await;
    tokio::time::sleep(Duration::from_millis(1_600)).await;
    wire.send(body).await;
    assert_eq!(wire.heard().await.status, 201);
}

/// Connections whose next request is sent around one moment.
const AROUND: u64 = 44;

#[tokio::test]
async fn through_a_relay_requests_sent_when_a_heads_time_would_be_over_are_answered() {
    let server = Server::start(&[("HEADER_TIMEOUT_SECONDS", "1")]);
    let user = server.user().await;
    let event_id = user.event(1_000).await;
    let address = server.url.trim_start_matches("http://").parse().expect("an address");
    let relay = Proxy::to(address);
    relay.delay(Duration::from_millis(5));
    let hold = post(&user, "/bookings/hold", &hold_body(&event_id, 1));
    let ask = async |nth: u64| {
        let mut wire = Wire::over(TcpStream::connect(relay.address()).await.expect("connects"));
        wire.send(&hold).await;
        let heard_first = wire.heard().await.status;
        // From 33 ms before the moment to 33 ms after it.
        tokio::time::sleep(Duration::from_micros(967_000 + nth * 1_500)).await;
        wire.send(&hold).await;
        (heard_first, wire.hear().await.map(|heard| heard.status))
    };
    let answers = futures_util::future::join_all((0..AROUND).map(ask)).await;
    let lost = answers.iter().filter(|answers| **answers != (201, Some(201))).count();
    assert_eq!(lost, 0, "of {AROUND} holds had no answer: {answers:?}");
}

#[tokio::test]
async fn a_body_that_does_not_arrive_in_time_is_answered_and_nothing_changes() {
    let server = Server::start(&[("BODY_TIMEOUT_SECONDS", "1")]);
    let user = server.user().await;
    let event_id = user.event(5).await;
    let booking_id = user.held(&event_id, 1).await;
    let body = hold_body(&event_id, 1).to_string();
    let mut stuck = Wire::open(&server).await;
    let half = &body[..body.len() / 2];
    stuck.send(format!("{}{}\r\n\r\n{half}", head(&user, "/bookings/hold"), body.len())).await;
    let mut empty = Wire::open(&server).await;
    empty
        .send(format!("{}2\r\n\r\n", head(&user, &format!("/bookings/{booking_id}/confirm"))))
        .await;
    let mut dripping = Wire::open(&server).await;
    dripping.send(format!("{}1000\r\n\r\n", head(&user, "/bookings/hold"))).await;
    for _ in 0..15 {
        dripping.send(" ").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for wire in [&mut stuck, &mut empty, &mut dripping] {
        let problem = wire.heard().await.problem(408, "request_timeout");
        assert_eq!(problem["retryable"], true);
        assert!(wire.ends().await);
    }
    assert_eq!(user.seats(&event_id).await, (4, 1, 0));
}

#[tokio::test]
async fn a_connection_serves_many_requests_one_after_the_other() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(5).await;
    let mut wire = Wire::open(&server).await;
    for _ in 0..3 {
        wire.send(LIVE).await;
        assert_eq!(wire.heard().await.status, 200);
        wire.send(post(&user, "/bookings/hold", &hold_body(&event_id, 9))).await;
        wire.heard().await.problem(409, "sold_out");
        wire.send(post(&user, "/bookings/hold", &json!({}))).await;
        wire.heard().await.problem(422, "validation_failed");
    }
    // Sent at once, they are answered in their order.
    let hold = post(&user, "/bookings/hold", &hold_body(&event_id, 1));
    wire.send(format!("{LIVE}{hold}{LIVE}")).await;
    assert_eq!(wire.heard().await.status, 200);
    assert_eq!(wire.heard().await.status, 201);
    assert_eq!(wire.heard().await.status, 200);
    wire.send("GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert_eq!(wire.heard().await.status, 200);
    assert!(wire.ends().await);

    let mut old = Wire::open(&server).await;
    old.send("GET /health/live HTTP/1.0\r\n\r\n").await;
    assert_eq!(old.heard().await.status, 200);
    assert!(old.ends().await);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_until_one_closes() {
    let server = Server::start(&[("MAX_CONNECTIONS", "2")]);
    let (mut one, mut two) = (Wire::open(&server).await, Wire::open(&server).await);
    for wire in [&mut one, &mut two] {
        wire.send(LIVE).await;
        assert_eq!(wire.heard().await.status, 200);
    }
    let mut three = Wire::open(&server).await;
    three.send(LIVE).await;
    assert!(three.is_silent_for(Duration::from_millis(300)).await);
    two.send(LIVE).await;
    assert_eq!(two.heard().await.status, 200, "those that are in are served");
    drop(one);
    assert_eq!(three.heard().await.status, 200);
}

#[tokio::test]
async fn what_was_asked_for_is_done_also_when_the_client_hangs_up() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(50).await;
    let booking_id = user.held(&event_id, 1).await;
    let account = json!({"email": "gone@example.com", "password": "correct horse battery"});
    let mut requests: Vec<_> =
        (0..20).map(|_| post(&user, "/bookings/hold", &hold_body(&event_id, 1))).collect();
    requests.push(post(&user, &format!("/bookings/{booking_id}/confirm"), &json!({})));
    requests.push(post(&user, "/auth/register", &account));
    for request in &requests {
        let mut wire = Wire::open(&server).await;
        wire.send(request).await;
        // The server reads before it notices the end.
        tokio::time::sleep(Duration::from_millis(1)).await;
        drop(wire);
    }
    let taken = async || {
        let (available, held, sold) = user.seats(&event_id).await;
        assert_eq!(available + held + sold, 50);
        held + sold
    };
    // What had not been read when the client left was never asked for.
    eventually("most of it is done", async || taken().await > 10).await;
    eventually("the account is made", async || {
        user.post("/auth/login", &account).await.status == StatusCode::OK
    })
    .await;
    eventually("the hold is confirmed", async || user.seats(&event_id).await.2 == 1).await;
    server.audit();
}

#[tokio::test]
async fn what_is_no_http_is_told_so() {
    let server = Server::start(&[]);
    for nonsense in [
        "nonsense\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\r\nHost x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
    ] {
        let mut wire = Wire::open(&server).await;
        wire.send(nonsense).await;
        wire.heard().await.problem(400, "malformed_request");
        assert!(wire.ends().await, "{nonsense}");
    }
    for (line, status, code) in [
        (format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(70_000)), 414, "uri_too_long"),
        (
            format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(1_000_000)),
            414,
            "uri_too_long",
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(1_000_000)),
            431,
            "headers_too_large",
        ),
    ] {
        let mut wire = Wire::open(&server).await;
        wire.send(line).await;
        wire.heard().await.problem(status, code);
    }
    // The server is none the worse for it.
    server.client().get("/events").await.expect(StatusCode::OK);
}

#[tokio::test]
async fn a_body_in_chunks_is_read_within_the_same_limits() {
    let server = Server::start(&[("MAX_BODY_BYTES", "2048")]);
    let user = server.user().await;
    let event_id = user.event(5).await;
    let chunked = head(&user, "/bookings/hold")
        .replace("Content-Length: ", "Transfer-Encoding: chunked\r\n\r\n");
    let body = hold_body(&event_id, 1).to_string();
    let (one, two) = body.split_at(10);
    let good = format!("{:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n", one.len(), two.len());
    let endless = format!("400\r\n{}\r\n", " ".repeat(1_024)).repeat(100);
    for (chunks, status, code) in [
        (good.clone(), 201, None),
        (endless, 413, Some("body_too_large")),
        ("zz\r\n".to_owned(), 400, Some("malformed_request")),
        ("ffffffffffffffffff\r\n".to_owned(), 400, Some("malformed_request")),
        (good.replace("0\r\n\r\n", ""), 400, Some("malformed_request")),
    ] {
        let mut wire = Wire::open(&server).await;
        wire.send(format!("{chunked}{chunks}")).await;
        // Whoever closes their own side may still wait for the answer.
        wire.finish().await;
        let heard = wire.heard().await;
        assert_eq!((heard.status, heard.body["code"].as_str()), (status, code), "{chunks:.80}");
    }
    let mut wire = Wire::open(&server).await;
    wire.send(format!("{}1000\r\n\r\n{body}", head(&user, "/bookings/hold"))).await;
    wire.finish().await;
    wire.heard().await.problem(400, "malformed_request");
    assert_eq!(user.seats(&event_id).await, (4, 1, 0));
}

#[tokio::test]
async fn a_body_that_would_be_refused_is_not_asked_for() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let expecting = |path: &str, length: u32| {
        let length = format!("Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n");
        head(&user, path).replace("Content-Length: ", &length)
    };
    for (path, length, status, code) in
        [("/nothing", 10, 404, "not_found"), ("/bookings/hold", 10_000_000, 413, "body_too_large")]
    {
        let mut wire = Wire::open(&server).await;
        wire.send(expecting(path, length)).await;
        wire.heard().await.problem(status, code);
    }
    let mut wire = Wire::open(&server).await;
    wire.send(expecting("/bookings/hold", 2)).await;
    assert_eq!(wire.heard().await.status, 100);
    wire.send("{}").await;
    wire.heard().await.problem(422, "validation_failed");
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answers_is_cut_off() {
    let server = Server::start(&[("WRITE_TIMEOUT_SECONDS", "1")]);
    let mut wire = Wire::open(&server).await;
    let page = "GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n";
    wire.send(page.repeat(200)).await;
    let open = async || {
        let meters = server.client().outside().get("/metrics").await.body;
        let line = meters
            .as_str()
            .expect("text")
            .lines()
            .find_map(|line| line.strip_prefix("reservix_connections ").map(str::to_owned));
        line.expect("is told").parse::<f64>().expect("a number")
    };
    assert!(open().await >= 2.0);
    // Each look at the meters is a connection of its own, which may not be closed yet.
    eventually("its connection is closed", async || open().await < 2.0).await;
    let mut answers = 0;
    while wire.hear().await.is_some() {
        answers += 1;
    }
    assert!(answers < 200, "they were all kept for it");
}
