//! One connection and its user: sends requests, reads answers, and records them.

use crate::body;
use crate::ledger::{Entry, Fate, Given, Ledger, SLOW};
use crate::record::{Class, Op, Recorder};
use crate::stage::Stage;
use crate::wire::{Answer, Body, Silence, Wire};
use crate::wish::{Seats, Wish};
use hyper::Request;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// How long a connection that could not be opened is left alone.
const REDIAL_AFTER: Duration = Duration::from_millis(100);

/// The end of a run, and why.
#[derive(Default)]
pub struct Stop {
    token: CancellationToken,
    why: OnceLock<&'static str>,
}

impl Stop {
    /// Ends the run; the first reason is kept.
    pub fn set(&self, why: &'static str) {
        let _ = self.why.set(why);
        self.token.cancel();
    }

    /// Whether it has ended.
    pub fn is_set(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Why it ended.
    pub fn why(&self) -> Option<&'static str> {
        self.why.get().copied()
    }

    /// Waits until `at` or the end.
    pub async fn wait_until(&self, at: Instant) {
        tokio::select! {
            () = sleep_until(at) => {}
            () = self.token.cancelled() => {}
        }
    }
}

/// What a buyer does later with a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Buys.
    Confirm,
    /// Cancels.
    Cancel,
}

/// A hold whose buyer is thinking.
pub struct Later {
    /// When they will have made up their mind.
    pub due: Instant,
    /// What they will do.
    pub verb: Verb,
    /// The hold.
    pub entry: Entry,
}

impl PartialEq for Later {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}
impl Eq for Later {}
impl PartialOrd for Later {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Later {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.due.cmp(&other.due)
    }
}

/// What came of a request for seats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Acknowledged. Not yet in the ledger, except when it is replayed.
    Booked(Entry),
    /// There are not enough seats, or not enough adjacent ones.
    SoldOut,
    /// One of the seats is somebody else's.
    Taken,
    /// Not decided: to be asked for again later, or it was not even sent.
    Later,
    /// Refused otherwise.
    Refused,
    /// Nobody knows; in the ledger.
    Unknown,
}

/// A connection with its buyer and its ledger.
pub struct Worker {
    /// Counts from 0 in a run.
    pub id: usize,
    /// Who sends, unless a request says otherwise.
    pub buyer: u16,
    /// The connection.
    pub wire: Wire,
    /// The events.
    pub stage: Arc<Stage>,
    /// The figures.
    pub recorder: Arc<Recorder>,
    /// The end.
    pub stop: Arc<Stop>,
    /// The history.
    pub ledger: Ledger,
    /// The latest answer; none if there was none.
    pub last: Option<Answer>,
    /// Who is thinking.
    pub later: BinaryHeap<Reverse<Later>>,
    /// How many halls it has walked through, and how many parts of the one that it is in.
    pub walked: (usize, usize),
    keys: u64,
}

impl Worker {
    /// One of `connections`.
    pub fn new(
        id: usize,
        connections: usize,
        patience: Duration,
        stage: &Arc<Stage>,
        recorder: &Arc<Recorder>,
        stop: &Arc<Stop>,
    ) -> Self {
        let buyers = stage.cast.buyers.len();
        Self {
            id,
            buyer: u16::try_from(id % buyers).unwrap_or_default(),
            wire: Wire::new(Arc::clone(&stage.cast.target), patience),
            ledger: Ledger::new(connections),
            stage: Arc::clone(stage),
            recorder: Arc::clone(recorder),
            stop: Arc::clone(stop),
            last: None,
            later: BinaryHeap::new(),
            walked: (0, 0),
            keys: (id as u64 + 1) << 32,
        }
    }

    /// The number of a key that nobody had.
    pub fn new_key(&mut self) -> u64 {
        self.keys += 1;
        self.keys
    }

    /// Sends a request that was meant for `due`, and counts what comes back.
    pub async fn ask(
        &mut self,
        op: Op,
        due: Option<Instant>,
        request: Request<Body>,
    ) -> Result<Answer, Silence> {
        let begun_at = Instant::now();
        let stood_still = self.stage.cast.target.pulse.stood_still();
        let heard = self.wire.call(request).await;
        let now = Instant::now();
        let latency = now - due.unwrap_or(begun_at);
        self.last = heard.ok();
        match heard {
            Ok(answer) => {
                let mut took = now.saturating_duration_since(self.wire.sent_at);
                if took > SLOW {
                    let until = self.stage.cast.target.pulse.stood_still_until_now();
                    took = took.saturating_sub(until.saturating_sub(stood_still));
                }
                self.heard(op, latency, took, answer);
            }
            Err(silence) => {
                self.ledger.silences += 1;
                self.recorder.heard(self.id, op, latency, Class::Failed, 0, silence.name());
                if silence == Silence::Refused {
                    sleep(REDIAL_AFTER).await;
                }
            }
        }
        heard
    }

    fn heard(&mut self, op: Op, latency: Duration, took: Duration, answer: Answer) {
        let Answer { status, retry_after_seconds, .. } = answer;
        let code = if status >= 400 { body::text(&self.wire.body, "code") } else { None };
        let code = code.unwrap_or_default();
        let class = Class::of(status, retry_after_seconds.is_some());
        self.recorder.heard(self.id, op, latency, class, status, code);
        let ledger = &mut self.ledger;
        ledger.answers += 1;
        let name = op.name();
        if took > SLOW {
            ledger.slow.add(|| format!("{name} {status} after {:.1} s", took.as_secs_f64()));
        }
        if matches!(status, 429 | 503) {
            ledger.rate_limited += u64::from(status == 429);
            if retry_after_seconds.is_none() {
                ledger.unguided.add(|| format!("{name} {status} {code}"));
            }
        } else if status >= 500 {
            ledger.failures.add(|| format!("{name} {status} {code}"));
        }
    }

    /// Asks for seats. `key` 0 is none.
    pub async fn hold(
        &mut self,
        buyer: u16,
        section: u32,
        wish: &Wish,
        key: u64,
        due: Option<Instant>,
    ) -> Held {
        let request = self.stage.hold(buyer, section, wish, key);
        let op = match wish {
            Wish::Any(_) => Op::Hold,
            Wish::Named(_) => Op::Seats,
            Wish::Best { .. } => Op::BestAvailable,
        };
        let heard = self.ask(op, due, request).await;
        let seats = wish.number();
        let mut entry = Entry { booking: 0, key, buyer, section, seats, fate: Fate::Held };
        match heard {
            Ok(answer) if answer.status == 201 => {
                let Some(booking) = body::booking_id(&self.wire.body) else {
                    self.ledger.failures.add(|| "hold 201 without a booking_id".to_owned());
                    return self.unknown(entry, wish);
                };
                entry.booking = booking;
                self.note_end(booking);
                self.given(booking, buyer, section, wish);
                if answer.replayed {
                    entry.fate = Fate::Repeated;
                    self.ledger.note(entry);
                }
                Held::Booked(entry)
            }
            Ok(answer) if self.may_have_worked(answer) => self.unknown(entry, wish),
            Ok(answer) => match body::text(&self.wire.body, "code") {
                Some("sold_out" | "not_together") => Held::SoldOut,
                Some("seats_unavailable") => Held::Taken,
                Some("idempotency_in_flight") => Held::Later,
                _ if is_about_the_request(answer.status) => Held::Later,
                _ => Held::Refused,
            },
            Err(Silence::Refused) => Held::Later,
            Err(_) => self.unknown(entry, wish),
        }
    }

    /// Writes down which seats of a hall were given, and whether they are those that were asked for.
    fn given(&mut self, booking: u128, buyer: u16, section: u32, wish: &Wish) {
        let Some(hall) = self.stage.hall(section) else { return };
        let drawing = &hall.drawing;
        let ledger = &mut self.ledger;
        if let Wish::Named(seats) = wish
            && body::has_just(&self.wire.body, seats.iter().map(|seat| drawing.name(*seat)))
        {
            return ledger.given.push(Given { booking, buyer, section, seats: seats.clone() });
        }
        let id = uuid::Uuid::from_u128(booking);
        let Some(names) = body::seats(&self.wire.body) else {
            return ledger.misnamed.add(|| format!("{id} does not list its seats"));
        };
        let found: Option<Seats> = names.iter().map(|name| drawing.find(name)).collect();
        let Some(mut seats) = found else {
            let names = names.join(" ");
            return ledger
                .misnamed
                .add(|| format!("{id} has seats that are not in the drawing: {names}"));
        };
        seats.sort_unstable();
        let is_right = match wish {
            Wish::Any(number) | Wish::Best { number, .. } => {
                seats.len() == usize::from(*number) && seats.windows(2).all(|it| it[0] != it[1])
            }
            Wish::Named(named) => seats == *named,
        };
        if !is_right {
            let names = drawing.names(&seats);
            ledger
                .misnamed
                .add(|| format!("{id} has the seats {names}, but {wish:?} was requested"));
        }
        if matches!(wish, Wish::Best { .. }) {
            let together = drawing.are_together(&seats);
            ledger.together += u64::from(wish.is_adjacent());
            if wish.is_adjacent() && !together {
                let names = drawing.names(&seats);
                ledger.split.add(|| format!("{id} has {names}"));
            } else if body::flag(&self.wire.body, "next_to_each_other") == Some(!together) {
                let names = drawing.names(&seats);
                ledger.split.add(|| format!("{id} says {} of {names}", !together));
            }
        }
        ledger.given.push(Given { booking, buyer, section, seats });
    }

    fn unknown(&mut self, entry: Entry, wish: &Wish) -> Held {
        if entry.key == 0 {
            self.ledger.lose(entry.section, entry.seats);
        } else {
            self.ledger.wishes.insert(entry.key, wish.clone());
            self.ledger.note(Entry { fate: Fate::Unknown, ..entry });
        }
        Held::Unknown
    }

    /// Whether a failure may have had its effect. `overloaded` has had none, by the contract.
    fn may_have_worked(&self, answer: Answer) -> bool {
        answer.status >= 500 && body::text(&self.wire.body, "code") != Some("overloaded")
    }

    /// Confirms or cancels what is held. The entry that comes back is not yet in the ledger.
    pub async fn act(&mut self, verb: Verb, mut entry: Entry, due: Option<Instant>) -> Entry {
        let (op, word, wanted, fate, unknown) = match verb {
            Verb::Confirm => {
                (Op::Confirm, "confirm", "CONFIRMED", Fate::Confirmed, Fate::ConfirmUnknown)
            }
            Verb::Cancel => {
                (Op::Cancel, "cancel", "CANCELLED", Fate::Cancelled, Fate::CancelUnknown)
            }
        };
        let request = self.stage.act(entry.buyer, entry.booking, word);
        match self.ask(op, due, request).await {
            Ok(answer) if answer.status == 200 => {
                entry.fate = fate;
                let body = &self.wire.body;
                let is_it = body::booking_id(body) == Some(entry.booking);
                if !is_it || body::text(body, "status") != Some(wanted) {
                    let id = uuid::Uuid::from_u128(entry.booking);
                    self.ledger
                        .broken_holds
                        .add(|| format!("{word} of {id} returned another state"));
                }
                if verb == Verb::Confirm {
                    self.ledger.confirms += 1;
                    self.recorder.sold(entry.seats.into());
                }
            }
            Ok(answer) if self.may_have_worked(answer) => entry.fate = unknown,
            Ok(answer) if is_about_the_request(answer.status) => {}
            Ok(answer) => {
                let status = answer.status;
                let code = body::text(&self.wire.body, "code").unwrap_or_default().to_owned();
                let has_ended = match verb {
                    Verb::Confirm => status == 410,
                    // Of a hold that has lapsed there is nothing to give back.
                    Verb::Cancel => status == 409 && code == "not_cancellable" || status == 410,
                };
                let by_its_organizer = !self.stage.is_ours
                    && matches!(code.as_str(), "event_cancelled" | "booking_cancelled");
                if by_its_organizer {
                    entry.fate = Fate::CancelUnknown;
                    return entry;
                }
                entry.fate = Fate::Lapsed;
                if !(has_ended && self.may_have_lapsed(entry).await) {
                    let id = uuid::Uuid::from_u128(entry.booking);
                    self.ledger.broken_holds.add(|| format!("{word} of {id}: {status} {code}"));
                }
            }
            Err(Silence::Refused) => {}
            Err(_) => entry.fate = unknown,
        }
        entry
    }

    /// Writes down until when the hold that was answered lives at least, if it may end in the session.
    fn note_end(&mut self, booking: u128) {
        if !self.stage.knows_the_clock() {
            self.stage.clock_is_ahead(&self.wire.body);
        }
        if self.stage.is_brief()
            && let Some(remaining) = body::remaining_ms(&self.wire.body)
        {
            self.ledger.note_end(booking, ends_at(self.wire.sent_at, remaining));
        }
    }

    /// Whether a hold that was refused as over may be over: by the client's clock, or, where that says no,
    /// by the server's own, if that was set.
    async fn may_have_lapsed(&mut self, entry: Entry) -> bool {
        let ends_at = self.ledger.ends.get(&entry.booking).copied();
        let ends_at = ends_at.unwrap_or_else(|| self.stage.lives_until());
        if ends_at <= Instant::now() {
            return true;
        }
        let request = self.stage.booking(entry.buyer, entry.booking);
        match self.wire.call(request).await {
            Ok(answer) if answer.status == 200 => self.stage.has_lapsed(&self.wire.body, ends_at),
            // What cannot be looked up now is read again by the proof.
            _ => true,
        }
    }
}

/// When a hold ends at the earliest, by the clock of the client. The server read its own clock after the
/// request was sent; instants are in milliseconds, which costs one at each end.
pub fn ends_at(sent_at: Instant, remaining_ms: i64) -> Instant {
    sent_at + Duration::from_millis(u64::try_from(remaining_ms - 2).unwrap_or(0))
}

/// Whether a refusal is not about the seats or the booking, so that the same request may succeed: access
/// that has expired, a request that arrived too slowly, a limit of rates, a server that is busy.
pub fn is_about_the_request(status: u16) -> bool {
    matches!(status, 401 | 408 | 425 | 429 | 503)
}
