//! What clients asked for and were told, and whether the server still stands by it.

use crate::ensure;
use crate::support::{Answer, Client, hold_body};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// Requests at once while a history is checked.
const AT_ONCE: usize = 32;

/// How far a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Not asked for.
    No,
    /// Asked for; the answer never came.
    Sent,
    /// Answered with success.
    Acknowledged,
}

/// One key of one buyer, and what was heard of it.
#[derive(Clone, Debug)]
pub struct Try {
    pub buyer: usize,
    pub event_id: Arc<str>,
    pub key: String,
    pub seats: u64,
    /// The booking, once it was acknowledged.
    pub booking_id: Option<String>,
    pub confirm: Asked,
    pub cancel: Asked,
}

impl Try {
    pub fn new(buyer: usize, event_id: Arc<str>, key: String, seats: u64) -> Self {
        let (confirm, cancel) = (Asked::No, Asked::No);
        Self { buyer, event_id, key, seats, booking_id: None, confirm, cancel }
    }

    /// Sends the hold, for the first time or again.
    pub async fn send(&self, client: &Client) -> Result<Answer, reqwest::Error> {
        let body = hold_body(&self.event_id, self.seats);
        let headers = [("Idempotency-Key", self.key.as_str())];
        client.try_send(Method::POST, "/bookings/hold", Some(&body), &headers).await
    }

    /// Neither confirm nor cancel was asked for.
    pub fn is_untouched(&self) -> bool {
        self.confirm == Asked::No && self.cancel == Asked::No
    }

    /// A cancel was asked for and never answered.
    pub fn is_in_doubt(&self) -> bool {
        self.cancel == Asked::Sent
    }

    /// Nothing that was acknowledged says that the hold has ended.
    pub fn may_be_held(&self) -> bool {
        self.confirm != Asked::Acknowledged && self.cancel != Asked::Acknowledged
    }

    /// Whether the booking may read so now.
    fn allows(&self, status: &str) -> bool {
        match status {
            "HOLD" => self.may_be_held(),
            "CONFIRMED" => self.confirm != Asked::No && self.cancel != Asked::Acknowledged,
            "CANCELLED" => self.cancel != Asked::No,
            _ => false,
        }
    }
}

/// Checks a history of holds on the events `shows` against a server that was restarted.
///
/// Every acknowledged hold is there, with its seats and a status that the acknowledgements allow.
/// Every key, sent again, gives the one booking it made; a key whose answer was lost may make
/// its booking only now. Every booking is explained by exactly one key. The tries learn the bookings
/// they had not heard of.
pub async fn check(
    tries: &mut [Try],
    buyers: &[Client],
    shows: &[Arc<str>],
) -> Result<String, String> {
    let mut found = HashMap::new();
    for buyer in buyers {
        for event_id in shows {
            for booking in buyer.all(&format!("/bookings?event_id={event_id}")).await {
                let booking_id = booking["booking_id"].as_str().expect("an id").to_owned();
                found.insert(booking_id, booking);
            }
        }
    }
    let acknowledged = tries.iter().filter(|one| one.booking_id.is_some()).count();
    for one in tries.iter() {
        stands(one, &found)?;
    }
    let (late, fresh) = send_all_again(tries, buyers, &found).await?;

    let mut explained = HashMap::new();
    for one in tries.iter() {
        let Some(booking_id) = &one.booking_id else { continue };
        let other = explained.insert(booking_id, &one.key);
        ensure!(other.is_none(), "two keys, {} and {other:?}, made {booking_id}", one.key);
    }
    let stranger = found.keys().find(|booking_id| !explained.contains_key(booking_id));
    ensure!(stranger.is_none(), "there is a booking that no key explains: {stranger:?}");
    let sent = tries.len();
    Ok(format!(
        "{sent} tries, {acknowledged} holds acknowledged, {late} committed without a word, \
         {fresh} made by the retry"
    ))
}

/// What was acknowledged is there.
fn stands(one: &Try, found: &HashMap<String, Value>) -> Result<(), String> {
    let Some(booking_id) = &one.booking_id else { return Ok(()) };
    let booking = found.get(booking_id);
    let booking = booking.ok_or_else(|| format!("an acknowledged hold is lost: {one:?}"))?;
    let same = booking["seats_requested"] == one.seats && booking["event_id"] == *one.event_id;
    ensure!(same, "another booking than {one:?}: {booking:#}");
    let status = booking["status"].as_str().unwrap_or_default();
    ensure!(one.allows(status), "a booking is {status}, against what was told: {one:?}");
    Ok(())
}

/// Sends every hold again. Tells how many had been committed without an answer, and how many were
/// made only now.
async fn send_all_again(
    tries: &mut [Try],
    buyers: &[Client],
    found: &HashMap<String, Value>,
) -> Result<(usize, usize), String> {
    let (mut late, mut fresh) = (0, 0);
    for some in tries.chunks_mut(AT_ONCE) {
        let answers = join_all(some.iter().map(|one| one.send(&buyers[one.buyer]))).await;
        for (one, answer) in some.iter_mut().zip(answers) {
            let answer = answer.map_err(|error| format!("sent again: {error}"))?;
            let booking_id = answer.booking_id();
            if one.booking_id.is_some() {
                let same = answer.is_replayed() && booking_id == one.booking_id;
                ensure!(same, "sent again: {} {booking_id:?} for {one:?}", answer.short());
            } else if let Some(booking_id) = booking_id {
                let was_there = found.contains_key(&booking_id);
                let told = answer.is_replayed();
                ensure!(was_there == told, "was there: {was_there}, but replayed: {told}: {one:?}");
                (late, fresh) = (late + usize::from(told), fresh + usize::from(!told));
                one.booking_id = Some(booking_id);
            } else {
                ensure!(answer.is(409, "sold_out"), "sent again: {}", answer.short());
            }
        }
    }
    Ok((late, fresh))
}
