//! The verdict on a round: the books are read over HTTP, and the section is sold out.

use crate::ensure;
use crate::judge::{self, Booking, Books, Counters, Replay, Rules};
use crate::load::{SCARCE_SEATS, Show, is_refused};
use crate::record::{History, Try, Which};
use crate::stage::{Stage, eventually, pause};
use crate::support::{Answer, Client, hold_body};
use futures_util::StreamExt as _;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Requests at once while the books are read.
const AT_ONCE: usize = 32;
/// Buyers of the last seats.
const BUYERS_OF_THE_REST: usize = 8;
/// Seats that are left to sell at the event that never sold out, once it is made smaller.
const REST: i64 = 10;
/// How long the gate may go on refusing what the store would give, with room for a busy machine.
const GATE_LATE: Duration = Duration::from_secs(5);

/// Judges a round whose load is over and whose faults are healed.
pub async fn of(
    stage: &Stage,
    show: &Show,
    history: &History,
    rules: &Rules,
) -> Result<(), String> {
    judge::answers(history, rules)?;
    let books = read(stage, show, history, rules).await?;
    judge::books(history, &books, rules)?;
    stage.audit()?;
    sell_out(stage, show).await?;
    stage.audit()?;
    let log = stage.log();
    let alarms = ["panicked", " bug", "differ from their log"];
    let odd = log.iter().find(|line| alarms.iter().any(|alarm| line.contains(alarm)));
    ensure!(odd.is_none(), "an instance logged {odd:?}");
    Ok(())
}

async fn read(
    stage: &Stage,
    show: &Show,
    history: &History,
    rules: &Rules,
) -> Result<Books, String> {
    let mut books = Books::default();
    let organizer = stage.at(&stage.organizer, 1);
    if rules.lapse {
        // Those that ended between two reads would contradict each other.
        eventually("all holds have ended", async || holds(&organizer, show).await.is_empty()).await;
    }
    for which in [Which::Scarce, Which::Plenty] {
        for booking in organizer.all(&format!("/events/{}/bookings", show.event(which))).await {
            let booking_id = booking["booking_id"].as_str().expect("an id").to_owned();
            let seats = booking["seats_requested"].as_i64().expect("a number");
            let status = booking["status"].as_str().expect("a status").to_owned();
            books.bookings.insert(booking_id, Booking { which, seats, status });
        }
    }
    books.scarce = Some(counters(&organizer, &show.scarce).await);
    books.plenty = Some(counters(&organizer, &show.plenty).await);
    let replays = history.tries.iter().enumerate().map(|(n, one)| send_again(stage, show, one, n));
    let replays: Vec<_> = futures_util::stream::iter(replays).buffered(AT_ONCE).collect().await;
    books.replays = replays.into_iter().collect::<Result<_, String>>()?;
    Ok(books)
}

async fn counters(organizer: &Client, event_id: &str) -> Counters {
    let path = format!("/events/{event_id}/availability");
    let seen = organizer.get(&path).await.expect(StatusCode::OK);
    let section = &seen["sections"][0];
    let count = |name: &str| section[name].as_i64().expect("the organizer sees it");
    Counters {
        capacity: count("capacity"),
        available: count("available_seats"),
        held: count("held_seats"),
        sold: count("sold_seats"),
    }
}

async fn send_again(stage: &Stage, show: &Show, one: &Try, n: usize) -> Result<Replay, String> {
    let client = stage.at(&stage.buyers[one.buyer], n % 2);
    let answer = hold(&client, show.event(one.which), one.seats, &one.key).await?;
    let understood = answer.booking_id().is_some() || is_refused(&answer);
    ensure!(understood, "sent again: {} for {one:?}", answer.short());
    Ok(Replay { booking_id: answer.booking_id(), is_replayed: answer.is_replayed() })
}

async fn hold(client: &Client, event_id: &str, seats: i64, key: &str) -> Result<Answer, String> {
    let body = hold_body(event_id, seats.unsigned_abs());
    let headers = [("Idempotency-Key", key)];
    let sent = client.try_send(Method::POST, "/bookings/hold", Some(&body), &headers).await;
    sent.map_err(|error| format!("after the fault: {}", crate::row::chain(&error)))
}

/// The live holds of both events.
async fn holds(organizer: &Client, show: &Show) -> Vec<String> {
    let mut found = Vec::new();
    for event_id in [&show.scarce, &show.plenty] {
        let held = organizer.all(&format!("/events/{event_id}/bookings?status=HOLD")).await;
        found.extend(
            held.iter().filter_map(|one: &Value| Some(one["booking_id"].as_str()?.to_owned())),
        );
    }
    found
}

/// Cancels what is still held, and sells both sections to exactly their capacity: the one that was
/// scarce as it is, the other one after it was made just larger than what it has sold.
async fn sell_out(stage: &Stage, show: &Show) -> Result<(), String> {
    let organizer = stage.at(&stage.organizer, 1);
    for booking_id in holds(&organizer, show).await {
        let answer = organizer.step(&booking_id, "cancel").await;
        let ended = answer.status == 200 || answer.is(409, "not_cancellable");
        ensure!(ended, "a hold that nobody wants: {}", answer.short());
    }
    let plenty = organizer.get(&format!("/events/{}", show.plenty)).await.expect(StatusCode::OK);
    let section = plenty["sections"][0]["section_id"].as_str().expect("an id");
    let capacity = counters(&organizer, &show.plenty).await.sold + REST;
    let path = format!("/events/{}/sections/{section}", show.plenty);
    organizer.patch(&path, &json!({"capacity": capacity})).await.expect(StatusCode::OK);
    sell_rest(stage, &show.scarce, SCARCE_SEATS).await?;
    sell_rest(stage, &show.plenty, capacity).await
}

/// Buys seat by seat, some at once and at both instances, until the section is sold out.
async fn sell_rest(stage: &Stage, event_id: &str, capacity: i64) -> Result<(), String> {
    let begun = Instant::now();
    for round in 0.. {
        let some = (0..BUYERS_OF_THE_REST).map(|n| buy(stage, event_id, round, n));
        let bought = futures_util::future::try_join_all(some).await?;
        if bought.contains(&true) {
            continue;
        }
        let found = counters(&stage.at(&stage.organizer, 1), event_id).await;
        if found.sold == capacity {
            let full = Counters { capacity, available: 0, held: 0, sold: capacity };
            ensure!(found == full, "sold out, but {found:?}");
            return Ok(());
        }
        ensure!(begun.elapsed() < GATE_LATE, "sold out with seats left: {found:?}");
        pause(50).await;
    }
    unreachable!("the loop ends by its answers")
}

/// Buys a seat; false: sold out.
async fn buy(stage: &Stage, event_id: &str, round: usize, n: usize) -> Result<bool, String> {
    let client = stage.at(&stage.buyers[0], n % 2);
    let answer = hold(&client, event_id, 1, &format!("rest-{event_id}-{round}-{n}")).await?;
    let Some(booking_id) = answer.booking_id() else {
        ensure!(answer.is(409, "sold_out"), "a hold after the fault: {}", answer.short());
        return Ok(false);
    };
    let answer = client.step(&booking_id, "confirm").await;
    ensure!(answer.status == 200, "a confirm after the fault: {}", answer.short());
    Ok(true)
}

/// The bookings of an event by their status.
pub async fn by_status(client: &Client, event_id: &str) -> HashMap<String, i64> {
    let mut found = HashMap::new();
    for booking in client.all(&format!("/events/{event_id}/bookings")).await {
        let status = booking["status"].as_str().expect("a status").to_owned();
        *found.entry(status).or_insert(0) += booking["seats_requested"].as_i64().expect("seats");
    }
    found
}
