//! Two instances on one store: what one of them may do late, twice, or by another clock.

use crate::TURN;
use crate::stage::{Plan, Stage, eventually, pause};
use crate::support::{Answer, Client};
use crate::verdict::by_status;
use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use std::time::Duration;
use testbed::proxy::Proxy;

/// Shows the time of the machine with an offset; from Debian's package `libfaketime`.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
/// Seats of an event, and holds of it, where workers are watched.
const CAPACITY: i64 = 400;
const HOLDS: usize = 80;

/// Asks for a step until there is an answer other than 503.
async fn step(client: &Client, booking_id: &str, step: &str) -> Answer {
    let path = format!("/bookings/{booking_id}/{step}");
    for _ in 0..20 {
        let answer = client.send(Method::POST, &path, None, &[]).await;
        if answer.status != 503 {
            return answer;
        }
        pause(200).await;
    }
    panic!("{step} is unavailable for ever");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn i5_an_instance_paused_past_the_end_of_a_hold_confirms_nothing_late() {
    let _turn = TURN.lock().await;
    let settings = vec![("HOLD_TTL_SECONDS", "2"), ("SWEEP_INTERVAL_MS", "0")];
    let stage = Stage::set(Plan { settings, ..Plan::default() }).await;
    let event_id = stage.event(1).await;
    let [slow, quick] = [stage.at(&stage.buyers[0], 0), stage.at(&stage.buyers[1], 1)];
    let late = slow.held(&event_id, 1).await;
    stage.signal(0, "STOP");
    let confirm = tokio::spawn({
        let (slow, late) = (slow.clone(), late.clone());
        async move { step(&slow, &late, "confirm").await }
    });
    pause(2_300).await;
    let bought = quick.held(&event_id, 1).await;
    assert_eq!(step(&quick, &bought, "confirm").await.status, 200);
    stage.signal(0, "CONT");
    confirm.await.expect("no panic").problem(410, "hold_expired");
    let organizer = stage.at(&stage.organizer, 1);
    assert_eq!(organizer.seats(&event_id).await, (0, 0, 1));
    stage.audit().expect("clean");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn i5_instances_whose_clocks_are_a_minute_apart_follow_the_clock_of_the_database() {
    let _turn = TURN.lock().await;
    assert!(std::path::Path::new(FAKETIME).exists(), "apt-get install libfaketime");
    let shifted = |offset| {
        vec![
            ("LD_PRELOAD", FAKETIME),
            ("FAKETIME", offset),
            // Time-outs are no business of a wall clock.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ]
    };
    let settings = vec![("HOLD_TTL_SECONDS", "3")];
    let own = [shifted("+30s"), shifted("-30s")];
    let stage = Stage::set(Plan { settings, own, ..Plan::default() }).await;
    let apart = date(&stage, 0).await - date(&stage, 1).await;
    // Midnight may lie between them.
    assert!((58..=62).contains(&apart.rem_euclid(24 * 3_600)), "the clocks are {apart} s apart");
    let event_id = stage.event(4).await;
    let mut confirmed = 0;
    for round in 0..2 {
        let [ahead, behind] = [stage.at(&stage.buyers[0], 0), stage.at(&stage.buyers[0], 1)];
        let (holder, other) = if round == 0 { (&ahead, &behind) } else { (&behind, &ahead) };
        let [kept, left] = [holder.held(&event_id, 1).await, holder.held(&event_id, 1).await];
        pause(1_500).await;
        let seen = other.get(&format!("/bookings/{left}")).await.expect(StatusCode::OK);
        assert_eq!(seen["status"], "HOLD", "half of its time is left: {seen:#}");
        let answer = step(other, &kept, "confirm").await;
        assert_eq!(answer.status, 200, "before its end by the database's clock: {answer:?}");
        confirmed += 1;
        pause(1_700).await;
        for client in [holder, other] {
            step(client, &left, "confirm").await.problem(410, "hold_expired");
            let seen = client.get(&format!("/bookings/{left}")).await;
            assert_eq!(seen.body["status"], "EXPIRED", "{seen:?}");
        }
    }
    let organizer = stage.at(&stage.organizer, 1);
    let rest = join_all((0..4 - confirmed).map(|_| organizer.held(&event_id, 1))).await;
    assert_eq!(rest.len(), 2, "the seats of expired holds are for sale");
    stage.at(&stage.organizer, 0).hold(&event_id, 1).await.problem(409, "sold_out");
    stage.audit().expect("clean");
}

/// A booking is read from the database alone: at any instance right after every step, by nobody else
/// than its buyer and the organizer, and by nobody while the database is away.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_booking_is_read_at_another_instance_right_after_every_step_and_from_the_database() {
    const ROUNDS: usize = 20;
    let _turn = TURN.lock().await;
    let stage = Stage::set(Plan::default()).await;
    let event_id = stage.event(CAPACITY).await;
    let mut held = Vec::new();
    for round in 0..ROUNDS {
        let [here, there] = [round % 2, 1 - round % 2].map(|at| stage.at(&stage.buyers[0], at));
        let booking_id = here.held(&event_id, 1).await;
        let path = format!("/bookings/{booking_id}");
        let seen = there.get(&path).await.expect(StatusCode::OK);
        assert_eq!(seen["status"], "HOLD", "{seen:#}");
        stage.at(&stage.organizer, round % 2).get(&path).await.expect(StatusCode::OK);
        stage.at(&stage.buyers[1], round % 2).get(&path).await.problem(404, "not_found");
        for name in ["extend", ["confirm", "cancel"][round / 2 % 2]] {
            let made = there.step(&booking_id, name).await.expect(StatusCode::OK);
            let seen = here.get(&path).await.expect(StatusCode::OK);
            let fields = ["status", "expires_at", "version"];
            assert_eq!(fields.map(|of| &seen[of]), fields.map(|of| &made[of]), "{name}");
        }
        held.push(booking_id);
    }
    let live = stage.at(&stage.buyers[0], 0).held(&event_id, 1).await;
    held.push(live.clone());
    // Redis has been told of the section meanwhile, and of no booking.
    let keys = async || stage.redis.cli(&["KEYS", "reservix:*"]);
    eventually("Redis is told of the section", async || keys().await.contains(":section:")).await;
    let keys = keys().await;
    let told = held.iter().find(|booking_id| keys.contains(booking_id.as_str()));
    assert_eq!(told, None, "{keys}");

    stage.on_postgres(Proxy::cut);
    let path = format!("/bookings/{live}");
    for instance in [0, 1] {
        stage.at(&stage.buyers[0], instance).get(&path).await.problem(503, "unavailable");
    }
    stage.heal();
    for instance in [0, 1] {
        let buyer = stage.at(&stage.buyers[0], instance);
        eventually("it is read again", async || buyer.get(&path).await.status == 200).await;
    }
    stage.audit().expect("clean");
}

/// What an instance's clock shows, in seconds of the day.
async fn date(stage: &Stage, instance: usize) -> i64 {
    let answer = stage.at(&stage.organizer, instance).get("/events").await;
    let date = answer.headers["date"].to_str().expect("a date is text").to_owned();
    let time = date.split(' ').nth(4).expect("Sun, 06 Nov 1994 08:49:37 GMT");
    time.split(':').fold(0, |sum, part| sum * 60 + part.parse::<i64>().expect("a number"))
}

/// Holds this many seats at both instances in turn, each for itself.
async fn hold_all(stage: &Stage, event_id: &str, seats: usize) {
    let clients = [stage.at(&stage.buyers[0], 0), stage.at(&stage.buyers[1], 1)];
    join_all((0..seats).map(|n| clients[n % 2].held(event_id, 1))).await;
}

/// Five events whose holds all end at about the same time, for any sweeper.
async fn due_holds(stage: &Stage) -> Vec<String> {
    let shows = join_all((0..5).map(|_| stage.event(CAPACITY))).await;
    join_all(shows.iter().map(|event_id| hold_all(stage, event_id, HOLDS))).await;
    shows
}

/// All of them are retired by somebody, each once, without any buyer.
async fn all_are_retired_once(stage: &Stage, shows: &[String]) {
    let organizer = stage.at(&stage.organizer, 1);
    let retired = "SELECT count(*) FROM bookings WHERE status = 'EXPIRED'";
    let due = (shows.len() * HOLDS).to_string();
    eventually("all are retired", async || stage.sql(retired) == due).await;
    for event_id in shows {
        assert_eq!(organizer.seats(event_id).await, (CAPACITY, 0, 0));
        let found = by_status(&organizer, event_id).await;
        assert_eq!(found, [("EXPIRED".to_owned(), 80)].into());
    }
    let twice = "SELECT count(*) FROM bookings WHERE status = 'EXPIRED' AND version <> 2";
    assert_eq!(stage.sql(twice), "0");
    stage.audit().expect("clean");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn i2_instances_that_sweep_the_same_due_holds_retire_each_of_them_once() {
    let _turn = TURN.lock().await;
    let settings = vec![("HOLD_TTL_SECONDS", "2"), ("SWEEP_INTERVAL_MS", "20")];
    let stage = Stage::set(Plan { settings, ..Plan::default() }).await;
    let shows = due_holds(&stage).await;
    all_are_retired_once(&stage, &shows).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn i2_two_workers_retire_each_due_hold_once_and_one_of_them_is_enough() {
    let _turn = TURN.lock().await;
    let settings = vec![("HOLD_TTL_SECONDS", "2"), ("SWEEP_INTERVAL_MS", "20")];
    let arguments = vec!["serve", "--no-workers"];
    let stage = Stage::set(Plan { arguments, settings, ..Plan::default() }).await;
    let [one, _other] = [stage.worker(0), stage.worker(1)];
    let mut shows = due_holds(&stage).await;
    all_are_retired_once(&stage, &shows).await;
    one.kill();
    shows.extend(due_holds(&stage).await);
    all_are_retired_once(&stage, &shows).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn seats_return_without_any_worker() {
    let _turn = TURN.lock().await;
    let settings = vec![
        ("HOLD_TTL_SECONDS", "1"),
        ("SWEEP_INTERVAL_MS", "0"),
        ("RECONCILE_INTERVAL_SECONDS", "0"),
    ];
    let stage = Stage::set(Plan { settings, ..Plan::default() }).await;
    let event_id = stage.event(40).await;
    hold_all(&stage, &event_id, 40).await;
    stage.at(&stage.buyers[0], 0).hold(&event_id, 1).await.problem(409, "sold_out");
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    hold_all(&stage, &event_id, 40).await;
    stage.audit().expect("clean");
}
