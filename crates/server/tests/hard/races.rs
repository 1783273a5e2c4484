//! Races over HTTP.
//!
//! A checker speaks HTTP to a base URL and knows nothing else of the server. Each one is run against
//! the real binary, whose books must balance afterwards; against a correct server of the tests' own,
//! so that its controls are fair; and against that server with one protection taken away, where it
//! must find the violation.

mod ends;
mod keys;
mod storm;

use crate::sabotage::{self, Bug};
use crate::support::{Client, Server};
use crate::{TURN, Verdict};
use serde_json::Value;
use std::time::Duration;

/// Long enough that no hold ends by itself.
const LONG: Duration = Duration::from_mins(10);

/// Races in which a missing protection has to show: on a machine that is busy, what a race needs does
/// not come about each time.
const RACES_MAX: usize = 3;

/// Runs a checker against the real binary.
async fn passes(settings: &[(&str, &str)], check: impl AsyncFnOnce(&str) -> Verdict) {
    let server = Server::start(settings);
    match check(&server.url).await {
        Ok(figures) => println!("reservix: {figures}"),
        Err(violation) => panic!("{violation}\n{:#?}", server.log()),
    }
    server.audit();
    let log = server.log();
    let alarm = log.iter().find(|line| line.contains("ERROR") || line.contains("panicked"));
    assert!(alarm.is_none(), "{alarm:?}");
}

/// Shows that a checker passes a correct server, and finds each bug by the violation it names, or by
/// one of several between bars.
async fn finds(ttl: Duration, check: impl AsyncFn(&str) -> Verdict, bugs: &[(Bug, &str)]) {
    let fair = sabotage::start(None, ttl).await;
    let figures = check(&fair).await.expect("the control is fair");
    println!("fair control: {figures}");
    for (bug, named) in bugs {
        let (mut found, mut missed) = (None, Vec::new());
        while found.is_none() {
            let spoiled = sabotage::start(Some(*bug), ttl).await;
            match check(&spoiled).await {
                Ok(figures) => missed.push(figures),
                Err(violation) => found = Some(violation),
            }
            assert!(missed.len() < RACES_MAX, "{bug:?} is not found: {missed:?}");
        }
        let found = found.expect("looked for until it is");
        println!("{bug:?} is found after {} without: {found}", missed.len());
        let as_named = named.split('|').any(|named| found.contains(named));
        assert!(as_named, "{bug:?} is found, but not by {named:?}: {found}");
    }
}

/// New users that share the connections of `first`.
async fn crowd(first: &Client, count: usize) -> Vec<Client> {
    futures_util::future::join_all((0..count).map(|_| first.sign_up())).await
}

/// All bookings of an event, as its organizer sees them.
async fn bookings(organizer: &Client, event_id: &str) -> Vec<Value> {
    organizer.all(&format!("/events/{event_id}/bookings")).await
}

/// The seats of the bookings that read so.
fn seats_of(bookings: &[Value], status: &str) -> i64 {
    let of = bookings.iter().filter(|booking| booking["status"] == status);
    of.map(|booking| booking["seats_requested"].as_i64().expect("a number")).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_five_thousand_holds_at_once_sell_a_hundred_seats_exactly() {
    let _turn = TURN.lock().await;
    passes(&[], storm::a_hundred_seats).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_storm_finds_a_missing_lock() {
    let _turn = TURN.lock().await;
    finds(LONG, storm::a_hundred_seats, &[(Bug::NoLock, "seats are sold")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_identical_requests_at_once_get_one_booking() {
    let _turn = TURN.lock().await;
    passes(&[], keys::one_key_at_once).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn identical_requests_find_keys_that_are_ignored_or_read_too_early() {
    let _turn = TURN.lock().await;
    let bugs = [(Bug::KeysIgnored, "bookings"), (Bug::KeysReadTooEarly, "bookings|sold_out")];
    finds(LONG, keys::one_key_at_once, &bugs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_the_retry_of_the_hold_that_took_the_last_seats_gets_its_booking() {
    let _turn = TURN.lock().await;
    passes(&[], keys::retry_of_the_last_seats).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_retry_of_the_last_seats_finds_a_gate_that_does_not_ask_for_keys() {
    let _turn = TURN.lock().await;
    let bugs = [(Bug::GateBeforeKey, "sold_out"), (Bug::KeysIgnored, "sold_out")];
    finds(LONG, keys::retry_of_the_last_seats, &bugs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_a_request_that_was_given_up_and_sent_again_has_one_effect() {
    let _turn = TURN.lock().await;
    passes(&[], keys::given_up_and_sent_again).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_were_given_up_find_keys_that_are_ignored() {
    let _turn = TURN.lock().await;
    finds(LONG, keys::given_up_and_sent_again, &[(Bug::KeysIgnored, "seats are held")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_a_seat_is_confirmed_before_the_deadline_or_sold_again_after_it() {
    let _turn = TURN.lock().await;
    passes(&[("HOLD_TTL_SECONDS", "1")], ends::confirm_at_the_deadline).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_finds_a_clock_read_before_the_wait_and_a_missing_lock() {
    let _turn = TURN.lock().await;
    let bugs = [(Bug::ClockBeforeTheWait, "read EXPIRED for"), (Bug::NoLock, "I1")];
    finds(Duration::from_secs(1), ends::confirm_at_the_deadline, &bugs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_cancel_and_confirm_at_once_end_a_hold_exactly_once() {
    let _turn = TURN.lock().await;
    passes(&[], ends::cancel_against_confirm).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_against_confirm_finds_two_locks_where_one_is_needed() {
    let _turn = TURN.lock().await;
    let bugs = [(Bug::ConfirmAndCancelApart, "both"), (Bug::NoLock, "both")];
    finds(LONG, ends::cancel_against_confirm, &bugs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_seat_is_sold_to_the_next_buyer_at_once() {
    let _turn = TURN.lock().await;
    passes(&[("HOLD_TTL_SECONDS", "2")], ends::sold_again_soon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_seat_is_sold_to_the_next_buyer_at_once_without_any_sweep() {
    let _turn = TURN.lock().await;
    let settings = [("HOLD_TTL_SECONDS", "2"), ("SWEEP_INTERVAL_MS", "0")];
    passes(&settings, ends::sold_again_soon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_buyer_finds_seats_that_wait_for_a_worker() {
    let _turn = TURN.lock().await;
    let bugs = [(Bug::ExpiryByWorker, "ms after its end")];
    finds(Duration::from_secs(2), ends::sold_again_soon, &bugs).await;
}
