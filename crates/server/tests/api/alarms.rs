//! What alarms stand on: meters that are there before anything happens, and stand still when it stops.

use crate::operations::{ROUTES, meter};
use crate::support::{Server, eventually};
use reqwest::StatusCode;

#[tokio::test]
async fn what_alarms_ask_for_is_there_from_the_start_at_zero() {
    let server = Server::start(&[("MAX_CONNECTIONS", "321")]);
    let root = server.client().outside();
    let text = root.get("/metrics").await.expect(StatusCode::OK);
    let text = text.as_str().expect("text");
    let is_there = |line: &str| text.lines().any(|it| it == line);
    for (method, route) in ROUTES.into_iter().filter(|(_, route)| route.starts_with("/api/")) {
        for status in [500, 503] {
            let method = method.to_uppercase();
            let labels = format!("method=\"{method}\",route=\"{route}\",status=\"{status}\"");
            let line = format!("reservix_http_requests_total{{{labels}}} 0");
            assert!(is_there(&line), "{line} in\n{text}");
        }
    }
    for fault in ["unavailable", "overloaded", "unsuitable", "corrupt"] {
        for name in ["reservix_store_faults_total", "reservix_batches_failed_total"] {
            assert!(is_there(&format!("{name}{{fault=\"{fault}\"}} 0")), "{name} {fault}");
        }
    }
    assert!(is_there("reservix_gate_repairs_total 0"), "{text}");
    assert!(is_there("reservix_connections_max 321"), "{text}");
    let version = env!("CARGO_PKG_VERSION");
    assert!(is_there(&format!("reservix_build_info{{version=\"{version}\"}} 1")), "{text}");
    for name in [
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_max_fds",
        "process_start_time_seconds",
        "process_threads",
    ] {
        assert!(meter(&root, name).await > 0.0 || name.contains("cpu"), "{name} in\n{text}");
    }
}

#[tokio::test]
async fn probes_are_no_traffic() {
    let server = Server::start(&[]);
    let root = server.client().outside();
    for path in ["/health", "/health/live", "/health/ready", "/metrics"] {
        root.get(path).await.expect(StatusCode::OK);
    }
    root.get("/no/such/path").await.problem(404, "not_found");
    let text = root.get("/metrics").await.expect(StatusCode::OK);
    let text = text.as_str().expect("text");
    for route in ["/health", "/metrics"] {
        assert!(!text.contains(&format!("route=\"{route}")), "{route} in\n{text}");
    }
    let unknown = "{method=\"GET\",route=\"unknown\",status=\"404\"} 1";
    assert!(text.contains(unknown), "{text}");
}

#[tokio::test]
async fn a_worker_that_does_no_turn_to_its_end_can_be_seen() {
    const LAST: &str = "reservix_worker_last_turn_timestamp_seconds";
    let server =
        Server::start(&[("SWEEP_INTERVAL_MS", "100"), ("RECONCILE_INTERVAL_SECONDS", "1")]);
    let root = server.client().outside();
    let last = async |worker: &str| meter(&root, &format!("{LAST}{{worker=\"{worker}\"}}")).await;
    let begun = last("sweep").await;
    let now = store::clock::wall()().unix_ms() as f64 / 1_000.0;
    assert!((now - begun).abs() < 60.0, "{begun} is not about {now}");
    assert!((now - last("purge").await).abs() < 60.0);
    eventually("the sweep goes on", async || last("sweep").await > begun).await;
    let begun = last("reconcile").await;
    eventually("reconcile goes on", async || last("reconcile").await > begun).await;
    let interval = meter(&root, "reservix_worker_interval_seconds{worker=\"reconcile\"}").await;
    assert!((interval - 1.0).abs() < 0.01, "{interval}");
    // Reconcile finds no log: its turns end in an error, and do not count. The sweep needs none.
    server.sql("ALTER TABLE booking_log RENAME TO hidden");
    let unreadable = "reconcile could not finish its run";
    eventually("it fails", async || server.log().iter().any(|it| it.contains(unreadable))).await;
    let (stuck, swept) = (last("reconcile").await, last("sweep").await);
    let failures = || server.log().iter().filter(|it| it.contains(unreadable)).count();
    eventually("it fails again", async || failures() >= 2).await;
    assert!((last("reconcile").await - stuck).abs() < 0.001, "a failed turn counted");
    assert!(last("sweep").await > swept, "the sweep stands still");
    server.sql("ALTER TABLE hidden RENAME TO booking_log");
    eventually("it is mended", async || last("reconcile").await > stuck).await;
    // Where no worker runs, none is shown.
    let alone = Server::start_with(&["serve", "--no-workers"], &[]);
    let text = alone.client().outside().get("/metrics").await.expect(StatusCode::OK);
    assert!(!text.as_str().expect("text").contains(LAST));
}
