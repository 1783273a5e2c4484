//! Everybody wants the same seats.

use super::{bookings, crowd, seats_of};
use crate::support::Client;
use crate::{Verdict, ensure};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const REQUESTS: usize = 5_000;
const ACCOUNTS: usize = 50;
const SEATS: i64 = 100;
const CONNECTIONS_MAX: usize = 1_024;

/// 5,000 holds at once for 100 seats; each buyer who gets one confirms it. Exactly 100 seats are sold,
/// everybody else is told `sold_out`, nothing else is answered, and the counters add up.
pub async fn a_hundred_seats(url: &str) -> Verdict {
    let organizer = Client::of(url).sign_up().await;
    let buyers = crowd(&organizer, ACCOUNTS).await;
    let event_id: Arc<str> = organizer.event(SEATS).await.into();
    let connections = connections_max();
    let places = Arc::new(Semaphore::new(connections));
    let started = Instant::now();
    let mut requests = JoinSet::new();
    for n in 0..REQUESTS {
        let buyer = buyers[n % ACCOUNTS].clone();
        let (event_id, places) = (event_id.clone(), places.clone());
        requests.spawn(async move {
            let _place = places.acquire_owned().await;
            buy(&buyer, &event_id, n).await
        });
    }
    let mut counts = BTreeMap::new();
    for outcome in requests.join_all().await {
        *counts.entry(outcome).or_insert(0_i64) += 1;
    }
    let took = started.elapsed();
    let refused = i64::try_from(REQUESTS).expect("a small number") - SEATS;
    let count = |outcome: &str| counts.get(outcome).copied().unwrap_or(0);
    let confirmed = count("confirmed");
    ensure!(confirmed <= SEATS, "{confirmed} of {SEATS} seats are sold: {counts:?}");
    let expected = confirmed == SEATS && count("409 sold_out") == refused;
    ensure!(expected && counts.len() == 2, "other answers than {SEATS} sales: {counts:?}");
    let seats = organizer.seats(&event_id).await;
    ensure!(seats == (0, 0, SEATS), "the counters are {seats:?}");
    let sold = seats_of(&bookings(&organizer, &event_id).await, "CONFIRMED");
    ensure!(sold == SEATS, "there are bookings for {sold} seats");
    Ok(format!("{REQUESTS} holds on {connections} connections for {SEATS} seats in {took:.2?}"))
}

/// One buyer's try; returns how it ended. Every second request has a key.
async fn buy(buyer: &Client, event_id: &str, n: usize) -> String {
    let answer = if n.is_multiple_of(2) {
        buyer.hold(event_id, 1).await
    } else {
        buyer.hold_with_key(event_id, 1, &format!("try-{n}")).await
    };
    if answer.status != 201 {
        return answer.short();
    }
    let booking_id = answer.body["booking_id"].as_str().expect("an id").to_owned();
    let confirmed = buyer.step(&booking_id, "confirm").await;
    if confirmed.status == 200 && confirmed.body["status"] == "CONFIRMED" {
        "confirmed".to_owned()
    } else {
        format!("confirm: {}", confirmed.short())
    }
}

/// Connections at once: as many as wanted, or what the limit on open files leaves for both ends of
/// these and of those that an earlier control has not closed yet.
fn connections_max() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = files.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    soft.map_or(CONNECTIONS_MAX, |soft| CONNECTIONS_MAX.min(soft.saturating_sub(200) / 4))
}
