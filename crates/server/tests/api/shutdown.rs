//! The end of a process, and two of them on one store.

use crate::support::wire::{Wire, head};
use crate::support::{Server, eventually, reservix};
use reqwest::StatusCode;
use serde_json::json;
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_request_under_way_is_answered_before_the_process_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start_in(folder.path(), &[]);
    let client = server.client();
    let account = json!({"email": "ann@example.com", "password": "correct horse battery"});
    let body = account.to_string();
    let mut wire = Wire::open(&server).await;
    let (one, two) = body.split_at(10);
    wire.send(format!("{}{}\r\n\r\n{one}", head(&client, "/auth/register"), body.len())).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.signal("TERM");
    eventually("the door is closed", async || {
        let address = server.url.trim_start_matches("http://");
        tokio::net::TcpStream::connect(address).await.is_err()
    })
    .await;
    wire.send(two).await;
    let heard = wire.heard().await;
    assert_eq!(heard.status, 201, "{:#}", heard.body);
    assert!(wire.ends().await);
    let log = server.log().join("\n");
    assert_eq!(server.wait(), Some(0), "{log}");

    let server = Server::start_in(folder.path(), &[]);
    server.client().post("/auth/login", &account).await.expect(StatusCode::OK);
    server.audit();
}

#[tokio::test]
async fn idle_connections_do_not_keep_a_process_alive() {
    for signal in ["TERM", "INT"] {
        let server = Server::start(&[]);
        let mut used = Wire::open(&server).await;
        used.send("GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(used.heard().await.status, 200);
        let mut fresh = Wire::open(&server).await;
        let asked = Instant::now();
        server.signal(signal);
        assert!(used.ends().await && fresh.ends().await);
        assert_eq!(server.wait(), Some(0), "SIG{signal}");
        // It would wait ten seconds for a request under way.
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    }
}

#[tokio::test]
async fn in_production_readiness_turns_before_the_door_closes() {
    let secret = "0123456789abcdef0123456789abcdef";
    let server = Server::start(&[("ENVIRONMENT", "production"), ("SECRET_KEY", secret)]);
    let client = server.client().outside();
    let ready = client.get("/health/ready").await.expect(StatusCode::OK);
    assert_eq!(ready["status"], "ready");
    assert_eq!(client.get("/health").await.body["environment"], "production");
    server.signal("TERM");
    eventually("readiness says no", async || {
        let answer = client.get("/health/ready").await;
        let turned = answer.status == 503;
        if turned {
            answer.problem(503, "overloaded");
        }
        turned
    })
    .await;
    client.get("/health/live").await.expect(StatusCode::OK);
    client.get("/api/v1/events").await.expect(StatusCode::OK);
    assert_eq!(server.wait(), Some(0));
}

#[tokio::test]
async fn a_second_process_on_the_same_store_refuses_to_start_and_says_why() {
    let server = Server::start(&[]);
    let mut second = reservix();
    second.current_dir(server.folder()).env("DATA_DIR", server.folder().join("data"));
    let output = second.env("PORT", "0").output().expect("runs");
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("another process") && told.contains("reservix.lock"), "{told}");
    assert!(told.lines().count() == 1, "one clear line: {told}");
    server.client().get("/events").await.expect(StatusCode::OK);

    // When the first is gone, also by force, the next may start.
    let folder = tempfile::tempdir().expect("a folder");
    Server::start_in(folder.path(), &[]).kill();
    Server::start_in(folder.path(), &[]).kill();
}
