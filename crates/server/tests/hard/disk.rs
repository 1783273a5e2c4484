//! A disk that cannot take more: writes are refused with 503, nothing is half done, and all is well
//! again as soon as there is room.

use crate::TURN;
use crate::support::{Client, Server};
use reqwest::StatusCode;
use std::process::Command;
use std::time::{Duration, Instant};

/// The server under a limit of the size of its files that it survives: a write beyond it fails, as it
/// does on a full disk.
fn server_in(folder: &std::path::Path) -> Server {
    let mut command = Command::new("bash");
    command.args(["-c", "trap '' XFSZ; exec \"$0\"", env!("CARGO_BIN_EXE_reservix")]);
    command.env_clear().env("PATH", "/usr/bin:/bin");
    Server::start_by(command, folder, &[])
}

fn limit_files(server: &Server, bytes: &str) {
    let pid = server.pid().to_string();
    let limit = format!("--fsize={bytes}:unlimited");
    let done = Command::new("prlimit").args(["--pid", &pid, &limit]).status();
    assert!(done.expect("prlimit runs").success());
}

/// Holds one seat at a time until an answer with this status comes; returns how many were held.
async fn hold_until(client: &Client, event_id: &str, status: StatusCode) -> u32 {
    let begun = Instant::now();
    for held in 0.. {
        let answer = client.hold(event_id, 1).await;
        if answer.status == status {
            if status == StatusCode::SERVICE_UNAVAILABLE {
                answer.problem(503, "unavailable");
            }
            return held;
        }
        assert!(
            matches!(answer.status.as_u16(), 201 | 503),
            "neither done nor unavailable: {answer:?}"
        );
        assert!(begun.elapsed() < Duration::from_secs(25), "it never answered {status}");
    }
    unreachable!("the loop ends by its answer")
}

#[tokio::test]
async fn i11_a_full_disk_refuses_writes_and_heals_at_once() {
    let _turn = TURN.lock().await;
    let folder = tempfile::tempdir().expect("a folder");
    let server = server_in(folder.path());
    let buyer = server.user().await;
    let event_id = buyer.event(1_000_000).await;
    let kept = buyer.held(&event_id, 1).await;
    let wal = folder.path().join("data/reservix.db-wal");
    let size = std::fs::metadata(wal).expect("the log of the database is there").len();
    limit_files(&server, &(size + 40_000).to_string());
    let held = 1 + hold_until(&buyer, &event_id, StatusCode::SERVICE_UNAVAILABLE).await;
    buyer.get(&format!("/bookings/{kept}")).await.expect(StatusCode::OK);
    let (_, counted, _) = buyer.seats(&event_id).await;
    assert_eq!(counted, i64::from(held), "reads go on, and what was refused was not done");

    limit_files(&server, "unlimited");
    let begun = Instant::now();
    hold_until(&buyer, &event_id, StatusCode::CREATED).await;
    println!("a full disk: back to normal after {} ms", begun.elapsed().as_millis());
    buyer.step(&kept, "confirm").await.expect(StatusCode::OK);
    server.audit();
}
