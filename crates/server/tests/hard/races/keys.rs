//! Retries: one key, one booking (I6), also when the section is sold out (I8).

use super::crowd;
use crate::support::{Answer, Client};
use crate::{Verdict, ensure};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

const AT_ONCE: usize = 64;
const STORMERS: usize = 16;
const RETRIES: usize = 50;

/// 64 identical requests at once get the same booking, which one of them made. With seats to spare,
/// and with exactly as many as are asked for.
pub async fn one_key_at_once(url: &str) -> Verdict {
    let organizer = Client::of(url).sign_up().await;
    let buyer = organizer.sign_up().await;
    for (round, capacity) in [1_000, 2, 1_000, 2, 1_000, 2].into_iter().enumerate() {
        let event_id: Arc<str> = organizer.event(capacity).await.into();
        let key: Arc<str> = format!("order-{round}").into();
        let start = Arc::new(Barrier::new(AT_ONCE));
        let mut requests = JoinSet::new();
        for _ in 0..AT_ONCE {
            let (buyer, event_id) = (buyer.clone(), event_id.clone());
            let (key, start) = (key.clone(), start.clone());
            requests.spawn(async move {
                start.wait().await;
                buyer.hold_with_key(&event_id, 2, &key).await
            });
        }
        let answers = requests.join_all().await;
        let ids: BTreeSet<_> = answers.iter().filter_map(Answer::booking_id).collect();
        ensure!(ids.len() <= 1, "one key made {} bookings", ids.len());
        let odd = answers.iter().find(|answer| answer.status != 201);
        ensure!(odd.is_none(), "round {round}: {}", odd.expect("just seen").short());
        let fresh = answers.iter().filter(|answer| !answer.is_replayed()).count();
        ensure!(fresh == 1, "{fresh} of {AT_ONCE} answers say that they are the first");
        let seats = organizer.seats(&event_id).await;
        ensure!(seats == (capacity - 2, 2, 0), "one booking of 2 seats, but {seats:?}");
    }
    Ok(format!("6 times {AT_ONCE} identical requests at once made one booking each"))
}

/// The hold that took the last seats is sent again: at once, while others storm the section, and
/// after it was confirmed. It gets its booking each time and is never told `sold_out`.
pub async fn retry_of_the_last_seats(url: &str) -> Verdict {
    let organizer = Client::of(url).sign_up().await;
    let buyer = organizer.sign_up().await;
    let event_id: Arc<str> = organizer.event(4).await.into();
    let first = buyer.hold_with_key(&event_id, 4, "last").await;
    ensure!(first.status == 201, "the first hold: {}", first.short());
    let booking_id = first.booking_id().expect("an id");
    for _ in 0..5 {
        replayed(&buyer.hold_with_key(&event_id, 4, "last").await, &booking_id, "HOLD")?;
    }

    let (stop, refusals) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut storm = JoinSet::new();
    for (n, other) in crowd(&organizer, STORMERS).await.into_iter().enumerate() {
        let (event_id, stop, refusals) = (event_id.clone(), stop.clone(), refusals.clone());
        storm.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let answer = if n.is_multiple_of(2) {
                    other.hold(&event_id, 1).await
                } else {
                    // The key of the buyer, but not the buyer: keys are the user's own.
                    other.hold_with_key(&event_id, 4, "last").await
                };
                let code = answer.body["code"].as_str();
                ensure!(code == Some("sold_out"), "somebody else got: {}", answer.short());
                refusals.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
    }
    let mut retried = Ok(());
    for _ in 0..RETRIES {
        let both = tokio::join!(
            buyer.hold_with_key(&event_id, 4, "last"),
            buyer.hold_with_key(&event_id, 4, "last"),
        );
        retried = replayed(&both.0, &booking_id, "HOLD")
            .and_then(|()| replayed(&both.1, &booking_id, "HOLD"));
        if retried.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.store(true, Ordering::Relaxed);
    storm.join_all().await.into_iter().collect::<Result<(), String>>()?;
    retried?;

    let confirmed = buyer.step(&booking_id, "confirm").await;
    ensure!(confirmed.status == 200, "the confirm: {}", confirmed.short());
    replayed(&buyer.hold_with_key(&event_id, 4, "last").await, &booking_id, "CONFIRMED")?;
    let seats = organizer.seats(&event_id).await;
    ensure!(seats == (0, 0, 4), "the counters are {seats:?}");
    let refusals = refusals.load(Ordering::Relaxed);
    Ok(format!("{} retries were replayed while {refusals} others were refused", 2 * RETRIES + 6))
}

fn replayed(answer: &Answer, booking_id: &str, status: &str) -> Result<(), String> {
    ensure!(answer.status == 201, "the retry got: {}", answer.short());
    let same = answer.booking_id().as_deref() == Some(booking_id);
    ensure!(same && answer.is_replayed(), "the retry got another booking: {:#}", answer.body);
    ensure!(answer.body["status"] == status, "the retry got {}", answer.body["status"]);
    Ok(())
}

/// The buyer hangs up before the answer comes and sends the same again: one hold, whatever became of
/// the first request. Given up after 0 to 3 ms, so that some were not yet and some already decided.
pub async fn given_up_and_sent_again(url: &str) -> Verdict {
    const ROUNDS: u64 = 60;
    let organizer = Client::of(url).sign_up().await;
    let buyer = organizer.sign_up().await;
    let event_id = organizer.event(1_000_000).await;
    let mut replays = 0;
    for round in 0..ROUNDS {
        let key = format!("order-{round}");
        let heard = tokio::select! {
            answer = buyer.hold_with_key(&event_id, 2, &key) => Some(answer),
            () = lose_patience(Duration::from_micros(50 * round)) => None,
        };
        let again = buyer.hold_with_key(&event_id, 2, &key).await;
        ensure!(again.status == 201, "sent again: {}", again.short());
        replays += u64::from(again.is_replayed() && heard.is_none());
        let same = heard.is_none_or(|first| first.booking_id() == again.booking_id());
        ensure!(same, "one key made 2 bookings; more seats are held than asked for");
    }
    // What was given up may still be on its way.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (_, held, _) = organizer.seats(&event_id).await;
    let asked = i64::try_from(2 * ROUNDS).expect("a small number");
    ensure!(held == asked, "{held} seats are held, {asked} were asked for");
    Ok(format!("{ROUNDS} requests were sent again; {replays} given up had been committed"))
}

/// Waits as long; timers count whole milliseconds, which is too coarse here.
async fn lose_patience(patience: Duration) {
    let since = Instant::now();
    while since.elapsed() < patience {
        tokio::task::yield_now().await;
    }
}
