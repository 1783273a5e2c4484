//! Clients that do not read what they asked for: they take little memory, are disconnected, and delay
//! nobody.

use crate::support::wire::Wire;
use crate::support::{Client, Server, eventually, show};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const SECTIONS: usize = 1_000;
const EVENTS: usize = 20;
const CLIENTS: usize = 12;
/// Of the server, while nobody reads: 100 MiB as it was measured, most of it what SQLite keeps for each of
/// its readers. With the sections in the list it was 346 MiB, and grew with the events.
const GROWTH_KIB_MAX: u64 = 200 * 1024;
/// For half of the holds beside them, on a machine that is busy with other tests.
const HOLD_MAX: Duration = Duration::from_millis(500);

/// The memory that a server has, in KiB.
fn resident_kib(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid()));
    let status = status.expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).expect("it is told");
    kib.parse().expect("a number")
}

/// Makes an event, which takes a while: on a busy machine it may have to be asked for again.
async fn made(user: &Client, event: &Value, key: &str) -> String {
    for _ in 0..10 {
        let headers = [("idempotency-key", key)];
        let answer = user.send(Method::POST, "/events", Some(event), &headers).await;
        if answer.status != StatusCode::SERVICE_UNAVAILABLE {
            let event = answer.expect(StatusCode::CREATED);
            return event["event_id"].as_str().expect("an id").to_owned();
        }
    }
    panic!("no event is made");
}

#[tokio::test]
async fn clients_that_do_not_read_take_little_memory_are_cut_off_and_delay_no_hold() {
    let server = Server::start(&[("WRITE_TIMEOUT_SECONDS", "2")]);
    let user = server.user().await;
    let name = |n: usize| format!("Section {n:05} {}", "x".repeat(80));
    let section = |n: usize| json!({"name": name(n), "capacity": 10, "price": 100});
    let sections: Vec<_> = (0..SECTIONS).map(section).collect();
    let large = show(&json!({"sections": sections}));
    let mut large_id = String::new();
    for number in 0..EVENTS {
        large_id = made(&user, &large, &format!("large-{number}")).await;
    }
    let event_id = user.event(1_000).await;
    // Whatever is made once is made before.
    let list = user.get("/events?limit=100").await.expect(StatusCode::OK);
    assert_eq!(list["items"].as_array().map(Vec::len), Some(EVENTS + 1));
    let path = format!("/events/{large_id}");
    assert!(user.get(&path).await.expect(StatusCode::OK).to_string().len() > 200_000);
    let before = resident_kib(&server);

    let asked = |path: &str| format!("GET /api/v1{path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let pair = [asked("/events?limit=100"), asked(&path), asked(&format!("{path}/availability"))];
    let mut silent = Vec::new();
    for _ in 0..CLIENTS {
        let mut wire = Wire::narrow(&server).await;
        wire.send(pair.concat().repeat(30)).await;
        silent.push(wire);
    }
    let (mut took, mut most) = (Vec::new(), before);
    for _ in 0..40 {
        let begun = Instant::now();
        user.hold(&event_id, 1).await.expect(StatusCode::CREATED);
        took.push(begun.elapsed());
        most = most.max(resident_kib(&server));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    took.sort_unstable();
    assert!(took[took.len() / 2] < HOLD_MAX, "{took:?}");
    assert!(most < before + GROWTH_KIB_MAX, "from {before} to {most} KiB");

    let open = async || {
        let meters = server.client().outside().get("/metrics").await.body;
        let meters = meters.as_str().expect("text");
        let mut lines = meters.lines();
        let line = lines.find_map(|line| line.strip_prefix("reservix_connections "));
        line.expect("is told").parse::<f64>().expect("a number")
    };
    eventually("they are disconnected", async || open().await < 4.0).await;
    let after = resident_kib(&server);
    assert!(after < before + GROWTH_KIB_MAX, "from {before} to {after} KiB");
    drop(silent);
}
