//! A few connections that prepare a run or examine it: they repeat requests answered with 429 or
//! 503, and are in no figure.

use crate::api::PATIENCE;
use crate::ledger::{Entry, Fate, Given, Ledger};
use crate::record::{Op, Recorder};
use crate::stage::{SEATS_AT_ONCE_MAX, Stage};
use crate::wire::Answer;
use crate::wish::Wish;
use crate::worker::{Held, Stop, Verb, Worker};
use futures_util::future::join_all;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::sleep;

/// The numbers of the workers of a run are below, so that their keys are others.
pub const FIRST_OF_SETUP: usize = 1_000_000;

/// And those of the proof.
pub const FIRST_OF_PROOF: usize = 2_000_000;

/// How many connections it has: more would not be faster on small machines, fewer leave batches empty.
const CREW: usize = 64;

/// How often a request is repeated that is answered with 429 or 503.
const REPEATS_MAX: u32 = 30;

/// The connections.
pub struct Crew {
    workers: Vec<Worker>,
}

impl Crew {
    /// Not yet connected; `first` distinguishes crews.
    pub fn new(stage: &Arc<Stage>, first: usize) -> Self {
        let recorder = Arc::new(Recorder::new(1));
        let stop = Arc::new(Stop::default());
        let worker = |id| Worker::new(first + id, CREW, PATIENCE, stage, &recorder, &stop);
        Self { workers: (0..CREW).map(worker).collect() }
    }

    /// Does `work` for each item, several at a time.
    pub async fn each<T: Copy>(&mut self, items: &[T], work: impl AsyncFn(&mut Worker, T)) {
        let next = AtomicUsize::new(0);
        join_all(self.workers.iter_mut().map(async |worker| {
            while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                work(worker, *item).await;
            }
        }))
        .await;
    }

    /// Holds up to `count` single seats in the sections of the load.
    pub async fn hold_singles(&mut self, count: u64) -> Vec<Entry> {
        let turns: Vec<u64> = (0..count).collect();
        let held = parking_lot::Mutex::new(Vec::new());
        let buyers = self.workers.first().map_or(1, |it| it.stage.cast.buyers.len() as u64);
        self.each(&turns, async |worker, turn| {
            let buyer = u16::try_from(turn % buyers).unwrap_or_default();
            let key = worker.new_key();
            let section = worker.stage.pick();
            let held_now = insist_on_hold(worker, buyer, section, &Wish::Any(1), key).await;
            if let Held::Booked(entry) = held_now {
                held.lock().push(entry);
            }
        })
        .await;
        held.into_inner()
    }

    /// Sells `section` until it refuses a single seat, or until `more_than` seats went: then something is
    /// wrong, and it ends. What was sold is in the ledgers. Returns the seats, and whether it came to the
    /// last one: not if it was refused for another reason, or if it is not known what became of some.
    pub async fn sell_out(&mut self, section: u32, more_than: u64) -> (u64, bool) {
        let sold = AtomicU64::new(0);
        let cut_short = AtomicBool::new(false);
        join_all(self.workers.iter_mut().map(async |worker| {
            let mut seats = SEATS_AT_ONCE_MAX;
            while sold.load(Ordering::Relaxed) <= more_than {
                let key = worker.new_key();
                let wish = Wish::Any(seats);
                match insist_on_hold(worker, worker.buyer, section, &wish, key).await {
                    Held::Booked(entry) => {
                        let entry = insist_on_act(worker, Verb::Confirm, entry).await;
                        worker.ledger.note(entry);
                        match entry.fate {
                            Fate::Confirmed => {
                                sold.fetch_add(seats.into(), Ordering::Relaxed);
                            }
                            Fate::Lapsed => {}
                            _ => {
                                cut_short.store(true, Ordering::Relaxed);
                                break;
                            }
                        }
                    }
                    Held::SoldOut if seats > 1 => seats = (seats / 4).max(1),
                    Held::SoldOut | Held::Taken => break,
                    Held::Later | Held::Refused | Held::Unknown => {
                        cut_short.store(true, Ordering::Relaxed);
                        break;
                    }
                }
            }
        }))
        .await;
        (sold.into_inner(), !cut_short.into_inner())
    }

    /// Sells these seats of a hall, as many in one booking as are allowed. What was sold is in the
    /// ledgers. Returns how many.
    pub async fn sell_named(&mut self, section: u32, seats: &[u32]) -> u64 {
        let sold = AtomicU64::new(0);
        let bookings: Vec<&[u32]> = seats.chunks(SEATS_AT_ONCE_MAX.into()).collect();
        self.each(&bookings, async |worker, seats| {
            let mut seats = seats.to_vec();
            seats.sort_unstable();
            let (key, wish) = (worker.new_key(), Wish::Named(seats.into()));
            let held = insist_on_hold(worker, worker.buyer, section, &wish, key).await;
            if let Held::Booked(entry) = held {
                let entry = insist_on_act(worker, Verb::Confirm, entry).await;
                worker.ledger.note(entry);
                if entry.fate == Fate::Confirmed {
                    sold.fetch_add(entry.seats.into(), Ordering::Relaxed);
                }
            }
        })
        .await;
        sold.into_inner()
    }

    /// The seats in halls that its connections were given so far.
    pub fn take_given(&mut self) -> Vec<Given> {
        self.workers.iter_mut().flat_map(|it| std::mem::take(&mut it.ledger.given)).collect()
    }

    /// The answers that its connections received.
    pub fn ledger(self) -> Ledger {
        let mut sum = Ledger::new(1);
        self.workers.into_iter().for_each(|worker| sum.append(worker.ledger));
        sum
    }
}

/// Asks for seats until it is neither refused for the moment nor left without an answer.
pub async fn insist_on_hold(
    worker: &mut Worker,
    buyer: u16,
    section: u32,
    wish: &Wish,
    key: u64,
) -> Held {
    let mut held = Held::Later;
    for _ in 0..REPEATS_MAX {
        held = worker.hold(buyer, section, wish, key, None).await;
        match held {
            Held::Later if worker.last.is_some_and(|answer| answer.status == 401) => break,
            // With the same key it is the same hold.
            Held::Unknown | Held::Later => come_back(worker.last).await,
            _ => break,
        }
    }
    held
}

/// Confirms or cancels until the outcome is known.
pub async fn insist_on_act(worker: &mut Worker, verb: Verb, entry: Entry) -> Entry {
    let mut after = entry;
    for _ in 0..REPEATS_MAX {
        after = worker.act(verb, entry, None).await;
        let is_unknown = matches!(after.fate, Fate::ConfirmUnknown | Fate::CancelUnknown);
        // A hold that is still one was not decided about.
        let is_undecided =
            after.fate == Fate::Held && worker.last.is_none_or(|it| it.status != 401);
        if !is_unknown && !is_undecided {
            break;
        }
        come_back(worker.last).await;
    }
    after
}

/// Reads a booking; its body is in the worker's connection.
pub async fn insist_on_booking(worker: &mut Worker, entry: Entry) -> Option<Answer> {
    for _ in 0..REPEATS_MAX {
        let request = worker.stage.booking(entry.buyer, entry.booking);
        match worker.ask(Op::Booking, None, request).await {
            Ok(answer) if !is_told_to_come_back(Some(answer)) => return Some(answer),
            _ => come_back(worker.last).await,
        }
    }
    None
}

fn is_told_to_come_back(answer: Option<Answer>) -> bool {
    answer.is_some_and(|answer| matches!(answer.status, 408 | 425 | 429 | 503))
}

async fn come_back(answer: Option<Answer>) {
    let seconds = answer.and_then(|answer| answer.retry_after_seconds);
    let wait = seconds.map_or(Duration::from_millis(100), |it| Duration::from_secs(it.into()));
    sleep(wait.min(Duration::from_secs(10))).await;
}
