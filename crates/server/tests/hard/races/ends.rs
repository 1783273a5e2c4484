//! The end of a hold: confirmed, cancelled or expired, and only one of them.

use super::{bookings, crowd, seats_of};
use crate::support::Client;
use crate::{Verdict, ensure};
use engine::Timestamp;
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// For how long a booking may read `EXPIRED` and then turn out to be confirmed. A confirm is judged
/// by the clock at the begin of its batch, a read by the clock when it reads: for the length of one
/// commit they may differ. A confirm that slept in a queue differs for longer.
const COMMIT_MAX: Duration = Duration::from_millis(250);
/// How soon after its end a seat must be sold again: five times the goal, for busy machines.
const SOLD_AGAIN_MS_MAX: i64 = 1_000;

/// A hold on its way to its deadline.
struct Held {
    buyer: Client,
    booking_id: String,
    /// When it ends, by our own clock.
    deadline: Instant,
}

/// What was seen of a hold around its deadline.
struct Ended {
    held: Held,
    confirmed: bool,
    /// From the first reading of `EXPIRED` to the sending of the last request that got it.
    read_expired_for: Option<Duration>,
}

/// Holds that take all seats are confirmed around their deadlines while others grab what is freed.
///
/// Each confirm gets 200, with `confirmed_at` before `expires_at`, or 410 for good. No booking that
/// reads `EXPIRED` is confirmed later. What is sold in the end fits, and the counters agree.
pub async fn confirm_at_the_deadline(url: &str) -> Verdict {
    const ROUNDS: usize = 3;
    let organizer = Client::of(url).sign_up().await;
    let buyers = crowd(&organizer, 10).await;
    let mut total = Round::default();
    for _ in 0..ROUNDS {
        let round = deadline_round(&organizer, &buyers).await?;
        total.in_time += round.in_time;
        total.late += round.late;
        total.again += round.again;
        total.flickered += round.flickered;
    }
    let Round { in_time, late, again, flickered } = total;
    ensure!(in_time > 0 && late > 0, "no race: {in_time} confirms in time, {late} late");
    Ok(format!(
        "at the deadline {in_time} confirms won ({flickered} read EXPIRED during their commit), \
         {late} lost; {again} seats sold again"
    ))
}

/// How many holds were confirmed, expired, sold to the next buyer, and read `EXPIRED` first.
#[derive(Default)]
struct Round {
    in_time: usize,
    late: usize,
    again: usize,
    flickered: usize,
}

async fn deadline_round(organizer: &Client, buyers: &[Client]) -> Result<Round, String> {
    const HOLDS: u32 = 100;
    let event_id: Arc<str> = organizer.event(i64::from(HOLDS)).await.into();
    let mut holding = JoinSet::new();
    for (_, buyer) in (0..HOLDS).zip(buyers.iter().cycle()) {
        let (buyer, event_id) = (buyer.clone(), event_id.clone());
        holding.spawn(async move { held(buyer, &event_id).await });
    }
    let holds: Vec<Held> = holding.join_all().await.into_iter().collect::<Result<_, _>>()?;
    let first = holds.iter().map(|held| held.deadline).min().expect("there are holds");
    let last = holds.iter().map(|held| held.deadline).max().expect("there are holds");

    let counting = tokio::spawn(counters_fit(organizer.clone(), event_id.clone(), last));
    let mut grabbing = JoinSet::new();
    for grabber in buyers.iter().take(4) {
        let (grabber, event_id) = (grabber.clone(), event_id.clone());
        let until = last + Duration::from_millis(300);
        grabbing.spawn(async move {
            tokio::time::sleep_until(early(first).into()).await;
            grab(&grabber, &event_id, until).await
        });
    }
    let mut ending = JoinSet::new();
    for (n, held) in (0..HOLDS).zip(holds) {
        // From 150 ms before to 50 ms after the deadline.
        let confirm_at = early(held.deadline) + Duration::from_millis(2) * n;
        ending.spawn(async move { at_the_deadline(held, confirm_at, n % 3 == 0).await });
    }
    let ended: Vec<Ended> = ending.join_all().await.into_iter().collect::<Result<_, _>>()?;
    let grabbed: usize = grabbing.join_all().await.into_iter().sum::<Result<usize, String>>()?;
    counting.await.expect("it does not panic")?;
    for Ended { held, confirmed, .. } in &ended {
        let again = held.buyer.step(&held.booking_id, "confirm").await;
        let same = if *confirmed { again.status == 200 } else { again.is(410, "hold_expired") };
        ensure!(same, "confirmed: {confirmed}, but asked again: {}", again.short());
    }
    let won = ended.iter().filter(|ended| ended.confirmed);
    let flickered: Vec<_> = won.filter_map(|ended| ended.read_expired_for).collect();
    let longest = flickered.iter().max().copied().unwrap_or_default();
    ensure!(longest < COMMIT_MAX, "a booking read EXPIRED for {longest:?} and is confirmed");

    // Every hold that was left has ended by then.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let confirmed = ended.iter().filter(|ended| ended.confirmed).count();
    let sold = i64::try_from(confirmed + grabbed).expect("a small number");
    let seats = organizer.seats(&event_id).await;
    ensure!(sold <= i64::from(HOLDS), "{sold} of {HOLDS} seats are sold");
    ensure!(seats == (i64::from(HOLDS) - sold, 0, sold), "{sold} seats sold, but {seats:?}");
    let listed = seats_of(&bookings(organizer, &event_id).await, "CONFIRMED");
    ensure!(listed == sold, "{sold} seats sold, but bookings for {listed}");
    let late = ended.len() - confirmed;
    Ok(Round { in_time: confirmed, late, again: grabbed, flickered: flickered.len() })
}

/// Reads the counters until half a second after the last deadline: they never exceed the capacity.
async fn counters_fit(organizer: Client, event_id: Arc<str>, last: Instant) -> Result<(), String> {
    while Instant::now() < last + Duration::from_millis(500) {
        let (available, held, sold) = organizer.seats(&event_id).await;
        let fit = available >= 0 && held >= 0 && sold >= 0;
        ensure!(fit, "I1: {held} seats are held and {sold} sold, so {available} are available");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// 150 ms before a deadline.
fn early(deadline: Instant) -> Instant {
    deadline.checked_sub(Duration::from_millis(150)).expect("it is in the future")
}

async fn held(buyer: Client, event_id: &str) -> Result<Held, String> {
    let sent = Instant::now();
    let answer = buyer.hold(event_id, 1).await;
    let booking_id = answer.booking_id().ok_or_else(|| format!("a hold: {}", answer.short()))?;
    let lives_ms = at(&answer.body, "expires_at")?.since_ms(at(&answer.body, "created_at")?);
    // Decided between sending and answering; the middle is near enough.
    let lives = Duration::from_millis(lives_ms.unsigned_abs());
    let deadline = sent + sent.elapsed() / 2 + lives;
    Ok(Held { buyer, booking_id, deadline })
}

/// Confirms at `confirm_at` and, if `watched`, reads the booking from its deadline on.
async fn at_the_deadline(held: Held, confirm_at: Instant, watched: bool) -> Result<Ended, String> {
    let confirm = async {
        tokio::time::sleep_until(confirm_at.into()).await;
        let answer = held.buyer.step(&held.booking_id, "confirm").await;
        if answer.is(410, "hold_expired") {
            return Ok(false);
        }
        ensure!(answer.status == 200, "a confirm at the deadline: {}", answer.short());
        let confirmed = answer.body["status"] == "CONFIRMED";
        ensure!(confirmed, "confirmed with 200, but it is {}", answer.body["status"]);
        let (confirmed_at, expires_at) =
            (at(&answer.body, "confirmed_at")?, at(&answer.body, "expires_at")?);
        ensure!(confirmed_at < expires_at, "I5: confirmed {confirmed_at}, expired {expires_at}");
        Ok(true)
    };
    let watch = async {
        let (mut since, mut last) = (None, None);
        let until = held.deadline + Duration::from_millis(700);
        tokio::time::sleep_until(held.deadline.into()).await;
        while watched && Instant::now() < until {
            let sent = Instant::now();
            let answer = held.buyer.get(&format!("/bookings/{}", held.booking_id)).await;
            if answer.body["status"] == "EXPIRED" {
                since.get_or_insert_with(Instant::now);
                last = Some(sent);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        last.zip(since).map(|(last, since)| last.saturating_duration_since(since))
    };
    let (confirmed, read_expired_for) = tokio::join!(confirm, watch);
    Ok(Ended { confirmed: confirmed?, read_expired_for, held })
}

/// Takes seats that come free and confirms them; returns how many.
async fn grab(buyer: &Client, event_id: &str, until: Instant) -> Result<usize, String> {
    let mut confirmed = 0;
    while Instant::now() < until {
        let answer = buyer.hold(event_id, 1).await;
        if let Some(booking_id) = answer.booking_id() {
            let answer = buyer.step(&booking_id, "confirm").await;
            let in_time = answer.status == 200;
            let expected = in_time || answer.is(410, "hold_expired");
            ensure!(expected, "the next buyer's confirm: {}", answer.short());
            confirmed += usize::from(in_time);
        } else {
            ensure!(answer.is(409, "sold_out"), "the next buyer's hold: {}", answer.short());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    Ok(confirmed)
}

/// A buyer confirms and cancels the same hold at once: exactly one is done, the other is told why
/// not, and the counters match what the bookings say.
pub async fn cancel_against_confirm(url: &str) -> Verdict {
    const HOLDS: usize = 120;
    const SEATS: i64 = 2;
    let organizer = Client::of(url).sign_up().await;
    let buyers = crowd(&organizer, 10).await;
    let event_id: Arc<str> = organizer.event(1_000).await.into();
    let mut races = JoinSet::new();
    for n in 0..HOLDS {
        let (buyer, event_id) = (buyers[n % buyers.len()].clone(), event_id.clone());
        races.spawn(async move {
            let booking_id = buyer.held(&event_id, SEATS.unsigned_abs()).await;
            let confirm = buyer.step(&booking_id, "confirm");
            let cancel = buyer.step(&booking_id, "cancel");
            let (confirm, cancel) = if n.is_multiple_of(2) {
                tokio::join!(confirm, cancel)
            } else {
                let (cancel, confirm) = tokio::join!(cancel, confirm);
                (confirm, cancel)
            };
            let told = format!("confirm: {}, cancel: {}", confirm.short(), cancel.short());
            let both = confirm.status == 200 && cancel.status == 200;
            ensure!(!both, "both were done: {told}");
            let sold = confirm.status == 200 && cancel.is(409, "not_cancellable");
            let given_back = cancel.status == 200 && confirm.is(409, "booking_cancelled");
            ensure!(sold || given_back, "{told}");
            Ok((booking_id, if sold { "CONFIRMED" } else { "CANCELLED" }))
        });
    }
    let ended = races.join_all().await.into_iter().collect::<Result<Vec<_>, String>>()?;
    let listed = bookings(&organizer, &event_id).await;
    for (booking_id, status) in &ended {
        let booking = listed.iter().find(|booking| booking["booking_id"] == **booking_id);
        let reads = booking.map(|booking| &booking["status"]);
        ensure!(reads.is_some_and(|reads| reads == status), "{status} was told, it is {reads:?}");
    }
    let sold = seats_of(&listed, "CONFIRMED");
    let seats = organizer.seats(&event_id).await;
    ensure!(seats == (1_000 - sold, 0, sold), "{sold} seats are confirmed, but {seats:?}");
    let confirmed = ended.iter().filter(|(_, status)| *status == "CONFIRMED").count();
    Ok(format!("{confirmed} confirms and {} cancels won", HOLDS - confirmed))
}

/// A hold that takes the only seat ends; the next buyer, who keeps asking, gets it soon after and
/// not before. Both instants are the server's. The median of a few, so that one slow moment of the
/// machine does not decide.
pub async fn sold_again_soon(url: &str) -> Verdict {
    const SHOWS: u64 = 5;
    let organizer = Client::of(url).sign_up().await;
    let buyers = crowd(&organizer, 2).await;
    let mut shows = JoinSet::new();
    for n in 0..SHOWS {
        let (organizer, buyers) = (organizer.clone(), buyers.clone());
        shows.spawn(async move {
            tokio::time::sleep(Duration::from_millis(230) * u32::try_from(n).expect("few")).await;
            let event_id = organizer.event(1).await;
            next_buyer_waits_ms(&event_id, &buyers[0], &buyers[1]).await
        });
    }
    let mut waits = shows.join_all().await.into_iter().collect::<Result<Vec<_>, _>>()?;
    waits.sort_unstable();
    let median = waits[waits.len() / 2];
    ensure!(median <= SOLD_AGAIN_MS_MAX, "sold again {median} ms after its end: {waits:?}");
    Ok(format!("sold again {median} ms after its end (median of {waits:?})"))
}

async fn next_buyer_waits_ms(event_id: &str, first: &Client, next: &Client) -> Result<i64, String> {
    let hold = first.hold(event_id, 1).await;
    let booking_id = hold.booking_id().ok_or_else(|| format!("a hold: {}", hold.short()))?;
    let expires_at = at(&hold.body, "expires_at")?;
    let sold_again = loop {
        let answer = next.hold(event_id, 1).await;
        if answer.status == 201 {
            break answer;
        }
        ensure!(answer.is(409, "sold_out"), "the next buyer's hold: {}", answer.short());
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let held_at = at(&sold_again.body, "created_at")?;
    ensure!(held_at >= expires_at, "held until {expires_at}, but sold again {held_at}");
    let late = first.step(&booking_id, "confirm").await;
    ensure!(late.is(410, "hold_expired"), "the first buyer's confirm: {}", late.short());
    Ok(held_at.since_ms(expires_at))
}

/// The instant in a field of a booking.
fn at(booking: &Value, field: &str) -> Result<Timestamp, String> {
    let found = booking[field].as_str().and_then(Timestamp::parse);
    found.ok_or_else(|| format!("{field} is no instant: {booking:#}"))
}
