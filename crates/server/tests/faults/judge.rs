//! The judgement: what the buyers were told, held against the rules and against what is on file.
//!
//! Pure, so that a planted lie can show that it is found (`lies`).

use crate::ensure;
use crate::record::{Asked, Heard, History, Op, Record, Try, Which};
use std::collections::HashMap;
use std::time::Duration;

/// The longest that an answer may take.
pub const ANSWER_MAX: Duration = Duration::from_secs(5);

/// What a round allows.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each excuse stands for itself")]
pub struct Rules {
    /// Requests may be answered with 503.
    pub refusals: bool,
    /// Instances may refuse or break connections.
    pub broken: bool,
    /// An instance may be frozen and say nothing.
    pub silence: bool,
    /// Holds may end before their buyer is done.
    pub lapse: bool,
    /// How late this process itself was at times: no fault of an instance.
    pub lag: Duration,
}

/// A booking on file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Booking {
    pub which: Which,
    pub seats: i64,
    pub status: String,
}

/// What a key gave when it was sent once more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    pub booking_id: Option<String>,
    /// Whether an earlier request had made it.
    pub is_replayed: bool,
}

/// The counters of an event's section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    pub capacity: i64,
    pub available: i64,
    pub held: i64,
    pub sold: i64,
}

/// What is on file after a round.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// All bookings, as they read before the keys were sent again.
    pub bookings: HashMap<String, Booking>,
    /// For each try of the history.
    pub replays: Vec<Replay>,
    pub scarce: Option<Counters>,
    pub plenty: Option<Counters>,
}

/// Judges all answers of a round, each by itself.
pub fn answers(history: &History, rules: &Rules) -> Result<(), String> {
    if let Some(one) = history.given_up.first() {
        return Err(format!("{one} never succeeded; {} did not", history.given_up.len()));
    }
    history.records.iter().try_for_each(|record| answer(record, rules))
}

fn answer(record: &Record, rules: &Rules) -> Result<(), String> {
    let took = record.ended.saturating_sub(record.started);
    match &record.heard {
        Heard::Silence => ensure!(rules.silence, "no answer within {took:?}: {record:?}"),
        Heard::Broken(_) => ensure!(rules.broken, "a connection broke: {record:?}"),
        Heard::Answer { status, code, retry_after } => {
            ensure!(took <= ANSWER_MAX + rules.lag, "an answer took {took:?}: {record:?}");
            let early = record.deadline.is_none_or(|deadline| record.ended < deadline);
            let is_expected = match (record.op, *status, code.as_str()) {
                (Op::Hold, 201, "")
                | (Op::Confirm | Op::Cancel | Op::Look, 200, "")
                | (_, 503, "unavailable" | "overloaded") => true,
                (Op::Hold, 409, "sold_out" | "not_together") => record.which == Which::Scarce,
                (Op::Hold, 409, "idempotency_in_flight") => *retry_after,
                (Op::Confirm, 410, "hold_expired") | (Op::Cancel, 409, "not_cancellable") => {
                    ensure!(rules.lapse && !early, "a hold was refused at its end: {record:?}");
                    true
                }
                _ => false,
            };
            ensure!(is_expected, "an answer that is not in the contract: {record:?}");
            ensure!(*status != 503 || rules.refusals, "a 503 for no reason: {record:?}");
            ensure!(*status != 503 || *retry_after, "a 503 without Retry-After: {record:?}");
        }
    }
    Ok(())
}

/// Judges what is on file by what was told.
pub fn books(history: &History, books: &Books, rules: &Rules) -> Result<(), String> {
    let mut explained: HashMap<&str, &str> = HashMap::new();
    for (one, replay) in history.tries.iter().zip(&books.replays) {
        stands(one, books, rules)?;
        repeats(one, replay, books)?;
        if let Some(booking_id) = one.booking_id.as_ref().or(replay.booking_id.as_ref()) {
            let other = explained.insert(booking_id, &one.key);
            ensure!(other.is_none(), "two keys made one booking: {other:?} and {one:?}");
        }
    }
    let stranger = books.bookings.keys().find(|id| !explained.contains_key(id.as_str()));
    ensure!(stranger.is_none(), "two bookings for one key: nobody was told of {stranger:?}");
    counters(Which::Scarce, books.scarce, books)?;
    counters(Which::Plenty, books.plenty, books)
}

/// What was acknowledged is on file.
fn stands(one: &Try, books: &Books, rules: &Rules) -> Result<(), String> {
    let Some(booking_id) = &one.booking_id else { return Ok(()) };
    let booking = books.bookings.get(booking_id);
    let booking = booking.ok_or_else(|| format!("an acknowledged hold is lost: {one:?}"))?;
    let same = booking.seats == one.seats && booking.which == one.which;
    ensure!(same, "another booking than {one:?}: {booking:?}");
    let ended = one.confirm == Asked::Acknowledged || one.cancel == Asked::Acknowledged;
    let allowed = match booking.status.as_str() {
        "HOLD" => !ended,
        "EXPIRED" => !ended && rules.lapse,
        "CONFIRMED" => one.confirm != Asked::No,
        "CANCELLED" => one.cancel != Asked::No,
        _ => false,
    };
    ensure!(allowed, "a booking is {}, against what was told: {one:?}", booking.status);
    Ok(())
}

/// The key gives the one booking that it made.
fn repeats(one: &Try, replay: &Replay, books: &Books) -> Result<(), String> {
    let Some(again) = &replay.booking_id else {
        ensure!(one.booking_id.is_none(), "the key of an acknowledged hold is lost: {one:?}");
        return Ok(());
    };
    if one.booking_id.is_some() {
        let same = one.booking_id.as_ref() == Some(again) && replay.is_replayed;
        ensure!(same, "two bookings for one key: {again} and {one:?}");
    } else {
        let was_there = books.bookings.contains_key(again);
        let told = replay.is_replayed;
        ensure!(was_there == told, "was there: {was_there}, replayed: {told}: {one:?}");
    }
    Ok(())
}

/// The counters are those of the bookings, and within the capacity.
fn counters(which: Which, found: Option<Counters>, books: &Books) -> Result<(), String> {
    let Some(found) = found else { return Ok(()) };
    let seats = |status: &str| -> i64 {
        let of = books.bookings.values().filter(|one| one.which == which && one.status == status);
        of.map(|booking| booking.seats).sum()
    };
    let (held, sold) = (seats("HOLD"), seats("CONFIRMED"));
    ensure!(held + sold <= found.capacity, "oversold: {held} held, {sold} sold of {found:?}");
    let available = found.capacity - held - sold;
    let told = (found.available, found.held, found.sold);
    ensure!(told == (available, held, sold), "{held} held and {sold} sold, but told {found:?}");
    Ok(())
}
