//! The tool against a real server, both as processes: every scenario at its defaults finds an honest server
//! honest, and what was measured is written when the server goes away or somebody interrupts.
//!
//! The server's binary is the one beside the tool's own; a run of the whole workspace has built it.

mod server;
mod tool;

use server::Server;
use std::time::{Duration, Instant};
use tool::{Outcome, Tool};

/// How long a scenario is measured whose result does not depend on it.
const SHORT: [&str; 4] = ["--seconds", "1.5", "--warm-up", "0.5"];

/// The URL of the server is given up 10 s after its last answer; the rest is for a machine that is
/// busy.
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(16);

/// What is measured has a machine for itself: figures of one are not to be those of another. A test that only
/// waits until its tool has given up a server leaves the turn to the next one.
static TURN: parking_lot::Mutex<()> = parking_lot::Mutex::new(());

#[expect(clippy::disallowed_methods, reason = "no runtime, and nobody else on this thread")]
fn pause(length: Duration) {
    std::thread::sleep(length);
}

#[track_caller]
fn is_honest(scenario: &str, seconds: &[&str]) -> Outcome {
    let _turn = TURN.lock();
    let server = Server::start();
    let outcome = Tool::start(&[&[scenario, server.url.as_str()], seconds].concat()).end();
    let Outcome { code, report, stderr, .. } = &outcome;
    assert_eq!(*code, 0, "{scenario}: {}\n{stderr}", report["proof"]);
    assert_eq!(report["proof"]["holds"], true);
    assert_eq!(report["proof"]["unproven"], "");
    outcome
}

#[test]
fn onsale_at_its_defaults_finds_an_honest_server_honest() {
    let outcome = is_honest("onsale", &[]);
    assert_eq!(outcome.report["runs"][0]["ended"], "sold out");
}

#[test]
fn expiry_at_its_defaults_finds_an_honest_server_honest() {
    let outcome = is_honest("expiry", &[]);
    assert!(outcome.operation("resale")["accepted"]["count"].as_u64() > Some(1_000));
}

#[test]
fn soldout_at_its_defaults_finds_an_honest_server_honest() {
    let outcome = is_honest("soldout", &SHORT);
    assert!(outcome.operation("hold")["answers"]["409 sold_out"].as_u64() > Some(100));
    assert!(outcome.operation("confirm")["answers"]["200"].as_u64() > Some(50));
}

#[test]
fn scenarios_of_counted_seats_at_their_defaults_find_an_honest_server_honest() {
    for scenario in ["hold", "pairs", "retries", "reads", "mixed"] {
        is_honest(scenario, &SHORT);
    }
}

#[test]
fn scenarios_of_numbered_seats_at_their_defaults_find_an_honest_server_honest() {
    for scenario in ["seats", "best-available"] {
        is_honest(scenario, &SHORT);
    }
}

#[test]
fn a_path_and_the_ceiling_are_measured_at_their_defaults() {
    is_honest("get", &SHORT);
    let _turn = TURN.lock();
    assert_eq!(Tool::start(&[&["ceiling"], &SHORT[..]].concat()).end().code, 0);
}

/// The verdict of a session that was cut short, everywhere that it is told.
#[track_caller]
fn is_not_proven(outcome: &Outcome, why: &str) {
    let Outcome { code, report, stdout, html, stderr } = outcome;
    assert_eq!(*code, 3, "{stdout}\n{stderr}");
    assert_eq!(report["proof"]["holds"], false);
    let told = report["proof"]["unproven"].as_str().unwrap_or_default();
    assert!(told.contains(why), "{told}");
    let line = format!("Not proven: {told}");
    assert!(stdout.contains(&line), "{stdout}");
    assert!(html.contains(&line) && html.contains("not proven: "), "the page says so");
    assert!(!stdout.contains("Every promise was kept") && !html.contains("Every promise was kept"));
    let accepted = outcome.operation("hold")["accepted"]["count"].as_u64();
    assert!(accepted > Some(0), "what was measured is there");
    let checks = report["proof"]["checks"].as_array().expect("checks");
    assert!(checks.iter().any(|check| check["proven"] == false), "{checks:?}");
    let broken: Vec<_> =
        checks.iter().filter(|it| it["holds"] == false && it["proven"] == true).collect();
    assert!(broken.is_empty(), "nothing is blamed on a server that is gone: {broken:?}");
}

#[test]
fn a_server_that_is_killed_in_the_run_costs_ten_seconds_and_not_the_figures() {
    let turn = TURN.lock();
    let server = Server::start();
    let tool = Tool::start(&["hold", &server.url, "--seconds", "600", "--warm-up", "0"]);
    server.wait_for_holds();
    server.kill();
    drop(turn);
    let gone_at = Instant::now();
    let outcome = tool.end();
    assert!(gone_at.elapsed() < GIVEN_UP_WITHIN, "{:?}", gone_at.elapsed());
    assert_eq!(outcome.report["runs"][0]["ended"], "no answer");
    is_not_proven(&outcome, "has not answered for 10 s");
}

#[test]
fn a_server_that_freezes_in_the_run_costs_ten_seconds_and_not_the_figures() {
    let turn = TURN.lock();
    let server = Server::start();
    let args = ["--seconds", "600", "--warm-up", "0", "--timeout-ms", "600000", "--keys"];
    let tool = Tool::start(&[&["hold", server.url.as_str()], &args[..]].concat());
    server.wait_for_holds();
    server.signal("STOP");
    drop(turn);
    let gone_at = Instant::now();
    let outcome = tool.end();
    assert!(gone_at.elapsed() < GIVEN_UP_WITHIN, "{:?}", gone_at.elapsed());
    is_not_proven(&outcome, "has not answered for 10 s");
}

#[test]
fn a_server_that_is_killed_in_the_proof_costs_ten_seconds_and_not_the_figures() {
    let turn = TURN.lock();
    let server = Server::start();
    // More bookings to read again than a moment is enough for.
    let args = ["--verify", "1000000", "--warm-up", "0", "--requests", "20000"];
    let tool = Tool::start(&[&["hold", server.url.as_str()], &args[..]].concat());
    server.wait_for_reads_of_bookings();
    server.kill();
    drop(turn);
    let gone_at = Instant::now();
    let outcome = tool.end();
    assert!(gone_at.elapsed() < GIVEN_UP_WITHIN, "{:?}", gone_at.elapsed());
    assert_ne!(outcome.report["runs"][0]["ended"], "no answer", "that was the proof");
    is_not_proven(&outcome, "has not answered for 10 s");
}

#[test]
fn an_interrupt_ends_the_run_and_a_second_one_the_proof() {
    let _turn = TURN.lock();
    let server = Server::start();
    let tool = Tool::start(&["hold", &server.url, "--seconds", "600", "--warm-up", "0"]);
    server.wait_for_holds();
    tool.signal("INT");
    let outcome = tool.end();
    assert_eq!(outcome.report["runs"][0]["ended"], "interrupted");
    assert_eq!(outcome.code, 0, "one interrupt leaves the proof: {}", outcome.stdout);

    let tool = Tool::start(&["hold", &server.url, "--seconds", "600", "--verify", "1000000"]);
    // Enough for a proof that takes a while, and a server that does not end it before it is interrupted.
    for _ in 0..10 {
        server.wait_for_holds();
    }
    tool.signal("INT");
    server.wait_for_reads_of_bookings();
    server.signal("STOP");
    tool.signal("INT");
    let asked_at = Instant::now();
    is_not_proven(&tool.end(), "interrupted");
    assert!(asked_at.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_request_to_terminate_writes_what_was_measured_at_once() {
    let _turn = TURN.lock();
    let server = Server::start();
    let tool = Tool::start(&["hold", &server.url, "--seconds", "600", "--warm-up", "0"]);
    server.wait_for_holds();
    tool.signal("TERM");
    let asked_at = Instant::now();
    is_not_proven(&tool.end(), "terminated");
    assert!(asked_at.elapsed() < Duration::from_secs(5));
}

/// A client that was stopped, as a laptop that sleeps, blames nothing on the server.
#[test]
fn a_client_that_stood_still_does_not_call_the_server_slow() {
    let _turn = TURN.lock();
    let server = Server::start();
    let tool = Tool::start(&["pairs", &server.url, "--warm-up", "0", "--seconds", "8", "--keys"]);
    server.wait_for_holds();
    tool.signal("STOP");
    pause(Duration::from_secs(6));
    tool.signal("CONT");
    let outcome = tool.end();
    assert_eq!(outcome.code, 0, "{}\n{}", outcome.report["proof"], outcome.stderr);
}
