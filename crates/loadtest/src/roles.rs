//! What the users of a connection do, turn by turn.

mod seated;

use crate::body;
use crate::ledger::{Entry, Fate, Ledger};
use crate::pace::{Schedule, Turn};
use crate::record::Op;
use crate::stage::SEATS_PER_BUYER_MAX;
use crate::wish::Wish;
use crate::worker::{Held, Later, Verb, Worker, ends_at};
use hyper::Uri;
use std::cmp::Reverse;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a connection of a closed loop waits after an answer that all seats are sold.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(10);

/// What is done in a turn.
#[derive(Clone, Debug)]
pub enum Role {
    /// Holds one seat.
    Hold {
        /// With a new key each.
        keyed: bool,
    },
    /// Holds one seat and confirms it.
    Pairs {
        /// With a new key each.
        keyed: bool,
    },
    /// Holds a few seats, thinks, then confirms, cancels or abandons.
    Rush(Mind),
    /// Requests one seat this number of times with the same key.
    Retries {
        /// How many times.
        repeats: u64,
    },
    /// Holds one seat and forgets it, again and again.
    Waves,
    /// Holds seats of a hall by their names.
    Seats {
        /// With a new key each.
        keyed: bool,
        /// One to this number.
        most: u8,
        /// The share that asks where somebody else is choosing.
        collide: f64,
        /// The share that holds a seat without a number instead.
        counted: f64,
    },
    /// Holds the best seats of a hall.
    Parties {
        /// With a new key each.
        keyed: bool,
        /// One to this number.
        most: u8,
        /// The share that must sit together.
        adjacent: f64,
        /// The share that holds a seat without a number instead.
        counted: f64,
    },
    /// Confirms a hold that was made before the run.
    Confirms,
    /// Looks at the event, and at its seats.
    Reads,
    /// Gets one path.
    Get(Uri),
    /// Some of everything.
    Mixed(Mind),
}

impl Role {
    /// The request with which a turn begins.
    pub fn op(&self) -> Op {
        match self {
            Self::Confirms => Op::Confirm,
            Self::Reads => Op::Event,
            Self::Get(_) => Op::Get,
            Self::Seats { .. } => Op::Seats,
            Self::Parties { .. } => Op::BestAvailable,
            Self::Hold { .. }
            | Self::Pairs { .. }
            | Self::Rush(_)
            | Self::Retries { .. }
            | Self::Waves
            | Self::Mixed(_) => Op::Hold,
        }
    }
}

/// What buyers are like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mind {
    /// The mean of the time between hold and decision.
    pub think: Duration,
    /// The share of those who forget their hold.
    pub abandon: f64,
    /// The share of those who give it back.
    pub cancel: f64,
}

impl Worker {
    /// Takes turns until there are none, or the run ends.
    pub async fn work(mut self, role: Role, schedule: &Schedule, started_at: Instant) -> Ledger {
        let mut turn: Option<Turn> = None;
        while !self.stop.is_set() {
            let now = Instant::now();
            let decides_at = self.later.peek().map(|Reverse(later)| later.due);
            if decides_at.is_some_and(|at| at <= now)
                && let Some(Reverse(later)) = self.later.pop()
            {
                self.decide(later).await;
                continue;
            }
            turn = turn.or_else(|| schedule.take(now - started_at));
            let due = turn.and_then(|turn| turn.due).map(|due| started_at + due);
            match (turn, due) {
                (None, _) => match decides_at {
                    Some(at) => self.stop.wait_until(at).await,
                    None => break,
                },
                (Some(_), Some(due)) if due > now => {
                    let until = decides_at.map_or(due, |at| at.min(due));
                    self.stop.wait_until(until).await;
                    if until == due && !self.stop.is_set() {
                        self.recorder.late(self.id, due.elapsed());
                    }
                }
                (Some(Turn { ticket, .. }), due) => {
                    turn = None;
                    self.play(&role, ticket, due).await;
                }
            }
        }
        for Reverse(later) in std::mem::take(&mut self.later) {
            self.ledger.note(later.entry);
        }
        self.ledger
    }

    async fn play(&mut self, role: &Role, ticket: u64, due: Option<Instant>) {
        match role {
            Role::Hold { keyed } => {
                if let Some(entry) = self.hold_one(*keyed, due).await {
                    self.ledger.note(entry);
                }
            }
            Role::Pairs { keyed } => {
                if let Some(entry) = self.hold_one(*keyed, due).await {
                    let entry = self.act(Verb::Confirm, entry, None).await;
                    self.ledger.note(entry);
                }
            }
            Role::Rush(mind) => self.rush(mind, due).await,
            Role::Retries { repeats } => self.retry(ticket, *repeats, due).await,
            Role::Waves => self.wave(due).await,
            Role::Seats { keyed, most, collide, counted } => {
                if crate::random::random::<f64>() < *counted {
                    self.hold_beside(*keyed, due).await;
                } else {
                    self.choose(*keyed, *most, *collide, due).await;
                }
            }
            Role::Parties { keyed, most, adjacent, counted } => {
                if crate::random::random::<f64>() < *counted {
                    self.hold_beside(*keyed, due).await;
                } else {
                    self.seat_party(*keyed, *most, *adjacent, due).await;
                }
            }
            Role::Confirms => self.confirm_prepared(ticket, due).await,
            Role::Reads => self.look(ticket.is_multiple_of(2), due).await,
            Role::Get(uri) => {
                let request = self.stage.page(uri);
                let _ = self.ask(Op::Get, due, request).await;
            }
            Role::Mixed(mind) => self.mix(mind, due).await,
        }
    }

    async fn hold_one(&mut self, keyed: bool, due: Option<Instant>) -> Option<Entry> {
        let section = self.stage.pick();
        let key = if keyed { self.new_key() } else { 0 };
        match self.hold(self.buyer, section, &Wish::Any(1), key, due).await {
            Held::Booked(entry) if entry.fate == Fate::Held => Some(entry),
            _ => None,
        }
    }

    async fn rush(&mut self, mind: &Mind, due: Option<Instant>) {
        let section = self.stage.pick();
        let place = section as usize;
        let tight = self.stage.tight[place].load(Ordering::Relaxed);
        let seats = if tight { 1 } else { crate::random::random_of(1..=SEATS_PER_BUYER_MAX) };
        let key = self.new_key();
        match self.hold(self.buyer, section, &Wish::Any(seats), key, due).await {
            Held::Booked(entry) if entry.fate == Fate::Held => self.think(mind, entry),
            Held::SoldOut if seats > 1 => self.stage.tight[place].store(true, Ordering::Relaxed),
            Held::SoldOut if due.is_none() => {
                // Nothing to do before somebody decides, or a forgotten hold lapses.
                sleep(LOOK_AGAIN_AFTER).await;
            }
            _ => {}
        }
    }

    /// Makes up a mind, and when it will be made up.
    fn think(&mut self, mind: &Mind, entry: Entry) {
        let share: f64 = crate::random::random();
        let verb = if share < mind.abandon {
            self.ledger.note(entry);
            return;
        } else if share < mind.abandon + mind.cancel {
            Verb::Cancel
        } else {
            Verb::Confirm
        };
        let due = Instant::now() + mind.think.mul_f64(crate::random::random_of(0.2..1.8));
        self.later.push(Reverse(Later { due, verb, entry }));
    }

    async fn decide(&mut self, later: Later) {
        let entry = self.act(later.verb, later.entry, None).await;
        if entry.fate == Fate::Held {
            // The server answered 429 or 503.
            let due = Instant::now() + Duration::from_secs(1);
            self.later.push(Reverse(Later { due, ..later }));
            return;
        }
        self.ledger.note(entry);
        if self.stage.is_ours && self.recorder.seats_sold() >= self.stage.capacity() {
            self.stop.set("sold out");
        }
    }

    /// The same key on whatever connections take its turns, some of them at the same time.
    async fn retry(&mut self, ticket: u64, repeats: u64, due: Option<Instant>) {
        let key = ticket / repeats + 1;
        let buyers = self.stage.cast.buyers.len() as u64;
        let buyer = u16::try_from(key % buyers).unwrap_or_default();
        if let Held::Booked(entry) = self.hold(buyer, 0, &Wish::Any(1), key, due).await
            && entry.fate == Fate::Held
        {
            self.ledger.note(entry);
        }
    }

    async fn wave(&mut self, due: Option<Instant>) {
        let key = self.new_key();
        match self.hold(self.buyer, 0, &Wish::Any(1), key, due).await {
            Held::Booked(entry) if entry.fate == Fate::Held => {
                self.ledger.note(entry);
                self.take_over_a_seat();
            }
            Held::SoldOut if due.is_none() => sleep(LOOK_AGAIN_AFTER).await,
            _ => {}
        }
    }

    /// Matches a new hold with the one whose end made room for it: the earliest. That one has ended by the
    /// client's clock or, if one of them was set, by the server's.
    fn take_over_a_seat(&mut self) {
        let body = &self.wire.body;
        let told = |member| body::instant_ms(body, member);
        let (Some(end_ms), Some(now_ms)) = (told("expires_at"), told("server_time")) else {
            return;
        };
        let end = ends_at(self.wire.sent_at, end_ms - now_ms);
        let capacity = usize::try_from(self.stage.sections[0].capacity).unwrap_or(usize::MAX);
        let mut ends = self.stage.ends.lock();
        let now = Instant::now();
        self.ledger.resold += 1;
        // Answers do not arrive in the order in which the server gave them.
        ends.server_ms = ends.server_ms.max(now_ms);
        ends.live.push(Reverse((end_ms, end)));
        if ends.live.len() > capacity
            && let Some(Reverse((earliest_ms, earliest))) = ends.live.pop()
        {
            if earliest > now && earliest_ms > ends.server_ms {
                let live = ends.live.len() + 1;
                self.ledger.crowded.add(|| format!("{live} holds live on {capacity} seats"));
            } else {
                self.recorder.measured(
                    self.id,
                    Op::Resale,
                    now.saturating_duration_since(earliest),
                );
            }
        }
    }

    async fn confirm_prepared(&mut self, ticket: u64, due: Option<Instant>) {
        let place = usize::try_from(ticket).unwrap_or(usize::MAX);
        let stage = std::sync::Arc::clone(&self.stage);
        let Some((entry, tried)) = stage.prepared.get(place) else { return };
        tried.store(true, Ordering::Relaxed);
        let entry = self.act(Verb::Confirm, *entry, due).await;
        self.ledger.note(entry);
    }

    async fn look(&mut self, at_event: bool, due: Option<Instant>) {
        let event = self.stage.pick_event();
        let (op, request) = if at_event {
            (Op::Event, self.stage.event(event))
        } else {
            (Op::Availability, self.stage.availability(event))
        };
        let _ = self.ask(op, due, request).await;
    }

    async fn mix(&mut self, mind: &Mind, due: Option<Instant>) {
        match crate::random::random_of(0..100) {
            0..20 => self.look(true, due).await,
            20..50 => self.look(false, due).await,
            50..60 => {
                let Some(Reverse(later)) = self.later.peek() else {
                    return self.look(false, due).await;
                };
                let request = self.stage.booking(later.entry.buyer, later.entry.booking);
                let _ = self.ask(Op::Booking, due, request).await;
            }
            60..63 => {
                // An impatient click: the same request twice.
                let (section, key, one) = (self.stage.pick(), self.new_key(), Wish::Any(1));
                for due in [due, None] {
                    if let Held::Booked(entry) =
                        self.hold(self.buyer, section, &one, key, due).await
                        && entry.fate == Fate::Held
                    {
                        self.ledger.note(entry);
                    }
                }
            }
            _ => self.rush(mind, due).await,
        }
    }
}
