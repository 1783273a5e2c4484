//! The end of a process, and two of them on one store.

use crate::support::wire::{Wire, head, post};
use crate::support::{Server, eventually, hold_body, reservix};
use reqwest::StatusCode;
use serde_json::json;
use std::sync::{Arc, OnceLock};
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

/// Connections that are kept open and used without a pause.
const HAMMERS: usize = 64;

/// What one connection met.
#[derive(Default)]
struct Met {
    answered: usize,
    /// The last answer said that the connection ends.
    told: bool,
    /// A request was written after the last answer, this long after the signal, and not answered.
    unanswered: Option<Duration>,
    statuses: std::collections::BTreeSet<u16>,
}

/// Asks again and again on one connection until it ends.
async fn hammer(mut wire: Wire, requests: [String; 2], signalled: Arc<OnceLock<Instant>>) -> Met {
    let mut met = Met::default();
    for request in requests.iter().cycle() {
        let sent_at = Instant::now();
        wire.send(request).await;
        let Some(heard) = wire.hear().await else {
            let since = signalled.get().map(|at| sent_at.saturating_duration_since(*at));
            met.unanswered = Some(since.unwrap_or_default());
            return met;
        };
        met.answered += 1;
        met.statuses.insert(heard.status);
        if heard.head.contains("\r\nconnection: close\r\n") {
            met.told = true;
            assert!(wire.ends().await, "it said so");
            return met;
        }
    }
    unreachable!("a cycle has no end")
}

#[tokio::test]
async fn no_request_is_lost_when_the_process_is_told_to_stop() {
    let secret = "0123456789abcdef0123456789abcdef";
    for settings in [vec![], vec![("ENVIRONMENT", "production"), ("SECRET_KEY", secret)]] {
        let server = Server::start(&settings);
        let user = server.user().await;
        let event_id = user.event(1_000_000).await;
        let read = format!("GET /api/v1/events/{event_id} HTTP/1.1\r\nHost: x\r\n\r\n");
        let hold = post(&user, "/bookings/hold", &hold_body(&event_id, 1));
        let signalled = Arc::new(OnceLock::new());
        let mut hammers = Vec::new();
        for _ in 0..HAMMERS {
            let requests = [read.clone(), hold.clone()];
            let wire = Wire::open(&server).await;
            hammers.push(tokio::spawn(hammer(wire, requests, signalled.clone())));
        }
        // These are quiet when the signal comes, and speak before the door has been closed for long.
        let mut quiet = Vec::new();
        for _ in 0..8 {
            let mut wire = Wire::open(&server).await;
            wire.send("GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").await;
            assert_eq!(wire.heard().await.status, 200);
            quiet.push(wire);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        signalled.set(Instant::now()).expect("once");
        server.signal("TERM");
        // They come while the process is stopping, and wait in the system's queue at worst.
        let mut late = Vec::new();
        let address = server.url.trim_start_matches("http://").to_owned();
        while let Ok(stream) = tokio::net::TcpStream::connect(&address).await
            && late.len() < 16
        {
            let mut wire = Wire::over(stream);
            wire.send("GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").await;
            late.push(wire);
        }
        for mut wire in quiet {
            wire.send("GET /api/v1/events HTTP/1.1\r\nHost: x\r\n\r\n").await;
            let heard = wire.heard().await;
            assert_eq!(heard.status, 200);
            assert!(heard.head.contains("\r\nconnection: close\r\n"), "{}", heard.head);
            assert!(wire.ends().await);
        }
        for met in futures_util::future::join_all(hammers).await {
            let met = met.expect("no hammer panics");
            assert_eq!(met.unanswered, None, "after {} answers", met.answered);
            assert!(met.told && met.answered > 1, "{} answers", met.answered);
            assert!(met.statuses.iter().all(|status| [200, 201].contains(status)));
        }
        let mut turned_away = 0;
        for mut wire in late {
            match wire.hear().await {
                Some(heard) => assert_eq!(heard.status, 200),
                None => turned_away += 1,
            }
        }
        // Only who comes in the very instant in which the door closes.
        assert!(turned_away <= 1, "{turned_away}");
        let log = server.log().join("\n");
        assert!(!log.contains("did not finish"), "{log}");
        assert_eq!(server.wait(), Some(0), "{log}");
    }
}
