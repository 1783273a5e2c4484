//! Redis is flushed again and again while a thousand seats are sold to five thousand buyers.

use crate::TURN;
use crate::row::{Metronome, tail};
use crate::stage::{Plan, Stage, pause};
use crate::support::dice::Dice;
use crate::support::{Answer, Client, hold_body};
use crate::verdict::by_status;
use parking_lot::Mutex;
use reqwest::Method;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const SEATS: i64 = 1_000;
const BUYERS: usize = 5_000;
/// Buyers who are in the shop at once; the others stand outside.
const AT_ONCE: usize = 64;
/// How often Redis forgets everything.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// What all buyers see of the sale.
struct Sale {
    event_id: String,
    /// Each answer's operation, status and code, and how often it came.
    answers: Mutex<BTreeMap<String, u64>>,
    confirmed: AtomicI64,
    slowest_ms: AtomicU64,
}

impl Sale {
    /// Asks until there is an answer other than 503, which is not expected either.
    async fn ask(&self, client: &Client, what: &str, path: &str, key: Option<&str>) -> Answer {
        let body = key.map(|_| hold_body(&self.event_id, 1));
        let headers: Vec<_> = key.iter().map(|key| ("Idempotency-Key", *key)).collect();
        let begun = Instant::now();
        let answer = client.send(Method::POST, path, body.as_ref(), &headers).await;
        let took = u64::try_from(begun.elapsed().as_millis()).expect("a short time");
        self.slowest_ms.fetch_max(took, Ordering::Relaxed);
        *self.answers.lock().entry(format!("{what} {}", answer.short())).or_default() += 1;
        answer
    }

    /// Comes with a key of its own, changes its mind at times, and comes back when it was sold out.
    async fn buy(&self, at: [Client; 2], n: usize, door: &Semaphore, mut dice: Dice) {
        for visit in 0..3 {
            let _inside = door.acquire().await.expect("the shop is open");
            let client = &at[(n + visit) % 2];
            let key = format!("{n}-{visit}");
            let held = self.ask(client, "hold", "/bookings/hold", Some(&key)).await;
            let Some(booking_id) = held.booking_id() else { continue };
            pause(dice.roll(600)).await;
            let other = &at[(n + visit + 1) % 2];
            let step = if visit == 0 && dice.roll(5) == 0 { "cancel" } else { "confirm" };
            let done = self.ask(other, step, &format!("/bookings/{booking_id}/{step}"), None).await;
            if step == "confirm" {
                let confirmed = i64::from(done.status == 200);
                self.confirmed.fetch_add(confirmed, Ordering::Relaxed);
                return;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn redis_flushed_every_second_sells_a_thousand_seats_to_five_thousand_buyers_exactly() {
    let _turn = TURN.lock().await;
    let stage = Stage::set(Plan::default()).await;
    let sale = Arc::new(Sale {
        event_id: stage.event(SEATS).await,
        answers: Mutex::default(),
        confirmed: AtomicI64::new(0),
        slowest_ms: AtomicU64::new(0),
    });
    let lag = Metronome::start();
    let begun = Instant::now();
    let door = Arc::new(Semaphore::new(AT_ONCE));
    let mut buyers = JoinSet::new();
    let mut dice = Dice(1);
    for n in 0..BUYERS {
        let buyer = &stage.buyers[n % stage.buyers.len()];
        let at = [stage.at(buyer, 0), stage.at(buyer, 1)];
        let (sale, door, dice) = (sale.clone(), door.clone(), Dice(dice.roll(u64::MAX)));
        buyers.spawn(async move { sale.buy(at, n, &door, dice).await });
    }
    let mut flushes = 0;
    while !buyers.is_empty() {
        assert_eq!(stage.redis.cli(&["FLUSHALL"]), "OK");
        flushes += 1;
        let next = tokio::time::Instant::now() + FLUSH_EVERY;
        while let Ok(Some(done)) = tokio::time::timeout_at(next, buyers.join_next()).await {
            done.expect("no buyer panics");
        }
    }
    println!("{} s, {flushes} flushes", begun.elapsed().as_secs());
    // Whoever changed their mind last may have left seats behind that nobody came back for.
    let late = stage.at(&stage.buyers[0], 0);
    for n in 0..SEATS {
        let key = format!("late-{n}");
        let held = sale.ask(&late, "hold", "/bookings/hold", Some(&key)).await;
        let Some(booking_id) = held.booking_id() else { break };
        sale.ask(&late, "confirm", &format!("/bookings/{booking_id}/confirm"), None).await;
        sale.confirmed.fetch_add(1, Ordering::Relaxed);
    }
    let answers = sale.answers.lock().clone();
    println!("{answers:?}, the slowest after {:?} ms", sale.slowest_ms);
    let expected = ["hold 201 ", "hold 409 sold_out", "confirm 200 ", "cancel 200 "];
    let odd: Vec<_> = answers.keys().filter(|one| !expected.contains(&one.as_str())).collect();
    assert!(odd.is_empty(), "{odd:?}\n{}", tail(&stage.log()));
    let slowest = Duration::from_millis(sale.slowest_ms.load(Ordering::Relaxed));
    assert!(slowest <= crate::judge::ANSWER_MAX + lag.stop(), "an answer took {slowest:?}");
    assert_eq!(sale.confirmed.load(Ordering::Relaxed), SEATS);
    let organizer = stage.at(&stage.organizer, 1);
    assert_eq!(organizer.seats(&sale.event_id).await, (0, 0, SEATS));
    assert_eq!(by_status(&organizer, &sale.event_id).await["CONFIRMED"], SEATS);
    stage.audit().expect("clean");
}
