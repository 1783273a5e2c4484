//! The examination of one run.

use super::crew::{Crew, FIRST_OF_PROOF, insist_on_booking, insist_on_hold};
use super::{Findings, Promise};
use crate::api::Api;
use crate::body;
use crate::ledger::{Entry, Fate, Ledger};
use crate::setup::{Seats, availability};
use crate::stage::Stage;
use crate::trouble::Trouble;
use crate::worker::Held;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// Unanswered requests whose outcome is asked for.
const UNKNOWN_MAX: usize = 50_000;

/// Sums of a section whose holds lapse are asked for again this much longer than a hold lives.
pub(super) const SETTLE: Duration = Duration::from_secs(3);

/// What is examined.
pub struct Case<'a> {
    /// Where it happened.
    pub stage: &'a Arc<Stage>,
    /// What was told, before the run and in it.
    pub ledger: Ledger,
    /// Bookings to read again at most.
    pub verify: usize,
    /// Whether the sections are to be sold to the last seat; then how long holds live.
    pub sells_out_after: Option<Duration>,
    /// Whether there are bookings at all.
    pub is_a_sale: bool,
    is_whole: bool,
}

/// Examines a run. `told` hears how far it is.
pub async fn examine(
    mut case: Case<'_>,
    findings: &mut Findings,
    told: impl Fn(String),
) -> Result<(), Trouble> {
    if case.is_a_sale {
        let mut crew = Crew::new(case.stage, FIRST_OF_PROOF);
        told("asking for what had no answer".to_owned());
        case.resolve(&mut crew).await;
        case.one_for_a_key(findings);
        told("reading bookings again".to_owned());
        case.read_again(&mut crew, findings).await;
        told("comparing the sums".to_owned());
        case.sums(findings).await?;
        if let Some(hold_ttl) = case.sells_out_after {
            told("selling to the last seat".to_owned());
            case.sell_out(&mut crew, hold_ttl, findings).await?;
        }
        let mut of_crew = crew.ledger();
        of_crew.entries.clear();
        of_crew.tallies.clear();
        of_crew.entries_seen = 0;
        case.ledger.append(of_crew);
        findings.count(Promise::HoldsHold, "confirms succeeded", case.ledger.confirms);
        findings.offences(Promise::HoldsHold, std::mem::take(&mut case.ledger.broken_holds));
    }
    let ledger = case.ledger;
    findings.count(Promise::NoFailure, "answers", ledger.answers);
    findings.offences(Promise::NoFailure, ledger.failures);
    findings.count(Promise::NotSlow, "answers", ledger.answers);
    if ledger.silences > 0 {
        findings.count(Promise::NotSlow, "requests without an answer", ledger.silences);
    }
    findings.offences(Promise::NotSlow, ledger.slow);
    findings.count(Promise::Guided, "without Retry-After", ledger.unguided.count);
    findings.offences(Promise::Guided, ledger.unguided);
    Ok(())
}

impl<'a> Case<'a> {
    /// A run that is to be examined.
    pub fn new(stage: &'a Arc<Stage>, ledger: Ledger, verify: usize) -> Self {
        let is_whole = ledger.is_whole();
        Self { stage, ledger, verify, sells_out_after: None, is_a_sale: true, is_whole }
    }

    /// Asks again, with the same key, for every hold that was left without an answer, and reads every
    /// booking whose confirm or cancel was.
    async fn resolve(&mut self, crew: &mut Crew) {
        let entries = &mut self.ledger.entries;
        let is_open = |entry: &Entry| {
            matches!(entry.fate, Fate::Unknown | Fate::ConfirmUnknown | Fate::CancelUnknown)
        };
        let mut open: Vec<Entry> = entries.iter().copied().filter(is_open).collect();
        if open.is_empty() {
            return;
        }
        open.truncate(UNKNOWN_MAX);
        let mut left = open.len();
        entries.retain(|entry| {
            let taken = is_open(entry) && left > 0;
            left -= usize::from(taken);
            !taken
        });
        let resolved = Mutex::new(Vec::with_capacity(open.len()));
        crew.each(&open, async |worker, mut entry| {
            if entry.fate == Fate::Unknown {
                let Entry { buyer, section, seats, key, .. } = entry;
                match insist_on_hold(worker, buyer, section, seats, key).await {
                    Held::Booked(now) => entry.booking = now.booking,
                    // It had no effect.
                    Held::SoldOut | Held::Refused => {
                        return resolved.lock().push((entry, None));
                    }
                    Held::Unknown => return resolved.lock().push((entry, Some(Fate::Unknown))),
                }
            } else if insist_on_booking(worker, entry).await.is_none_or(|it| it.status != 200) {
                return resolved.lock().push((entry, Some(entry.fate)));
            }
            let fate = match body::text(&worker.wire.body, "status") {
                Some("CONFIRMED") => Fate::Confirmed,
                Some("CANCELLED") => Fate::Cancelled,
                Some("EXPIRED") => Fate::Lapsed,
                _ => Fate::Held,
            };
            resolved.lock().push((entry, Some(fate)));
        })
        .await;
        for (entry, fate) in resolved.into_inner() {
            let seats = u64::from(entry.seats);
            let tally = &mut self.ledger.tallies[usize::from(entry.section)];
            let is_known =
                !matches!(fate, Some(Fate::Unknown | Fate::ConfirmUnknown | Fate::CancelUnknown));
            if is_known {
                tally.unknown -= seats;
            }
            match fate {
                Some(Fate::Held) => tally.held += seats,
                Some(Fate::Confirmed) => tally.confirmed += seats,
                _ => {}
            }
            self.ledger.entries.extend(fate.map(|fate| Entry { fate, ..entry }));
        }
    }

    /// Keys and bookings belong to each other one to one.
    fn one_for_a_key(&mut self, findings: &mut Findings) {
        let promise = Promise::OneForAKey;
        let entries = &mut self.ledger.entries;
        entries.sort_unstable_by_key(|entry| (entry.key, entry.booking));
        let keys = entries.chunk_by(|a, b| a.key == b.key && a.key != 0);
        let mut keyed = 0;
        for same in keys.filter(|same| same[0].key != 0) {
            keyed += 1;
            let mut ids: Vec<u128> =
                same.iter().map(|it| it.booking).filter(|it| *it != 0).collect();
            ids.dedup();
            if let [first, second, ..] = ids[..] {
                let (first, second) = (Uuid::from_u128(first), Uuid::from_u128(second));
                findings.offend(promise, || format!("one key gave {first} and {second}"));
            }
        }
        findings.count(promise, "keys", keyed);
        // The entry that says what became of a booking comes before those that repeat it.
        entries.sort_unstable_by_key(|entry| (entry.booking, entry.fate == Fate::Repeated));
        for pair in entries.windows(2) {
            let [a, b] = pair else { continue };
            if a.booking == b.booking && a.booking != 0 && (a.key != b.key || a.key == 0) {
                let id = Uuid::from_u128(a.booking);
                findings.offend(promise, || format!("{id} was given to two holds"));
            }
        }
        let repeated = entries.iter().filter(|entry| entry.fate == Fate::Repeated).count();
        if repeated > 0 {
            findings.count(promise, "repeated answers", repeated as u64);
        }
        entries.dedup_by(|later, first| later.booking == first.booking && first.booking != 0);
        if self.is_whole {
            self.ledger.entries_seen = entries.len() as u64;
        }
        findings.offences(promise, std::mem::take(&mut self.ledger.two_for_a_key));
    }

    /// Reads bookings again: all, or a random sample, half of it confirmed ones.
    async fn read_again(&mut self, crew: &mut Crew, findings: &mut Findings) {
        let is_told = |entry: &&Entry| {
            entry.booking != 0 && !matches!(entry.fate, Fate::ConfirmUnknown | Fate::CancelUnknown)
        };
        let (confirmed, others): (Vec<Entry>, Vec<Entry>) = self
            .ledger
            .entries
            .iter()
            .filter(is_told)
            .partition(|entry| entry.fate == Fate::Confirmed);
        let told = confirmed.len() + others.len();
        let of_confirmed = if told <= self.verify {
            confirmed.len()
        } else {
            (self.verify / 2).max(self.verify.saturating_sub(others.len())).min(confirmed.len())
        };
        let of_others = (self.verify - of_confirmed.min(self.verify)).min(others.len());
        let mut sample = sample(confirmed, of_confirmed);
        sample.extend(self::sample(others, of_others));
        let holds_last = self.stage.holds_last;
        let found = Mutex::new(&mut *findings);
        crew.each(&sample, async |worker, entry| {
            let id = Uuid::from_u128(entry.booking);
            let Some(answer) = insist_on_booking(worker, entry).await else {
                let mut found = found.lock();
                return found.offend(Promise::StillThere, || format!("{id} could not be read"));
            };
            let body = &worker.wire.body;
            let is_it = body::booking_id(body) == Some(entry.booking)
                && body::number(body, "seats_requested") == Some(entry.seats.into());
            let mut found = found.lock();
            if answer.status != 200 || !is_it {
                let status = answer.status;
                return found.offend(Promise::StillThere, || format!("{id} is gone: {status}"));
            }
            let status = body::text(body, "status").unwrap_or("without a status");
            let (promise, is_right) = match entry.fate {
                Fate::Confirmed => (Promise::StillConfirmed, status == "CONFIRMED"),
                Fate::Cancelled => (Promise::StillThere, status == "CANCELLED"),
                Fate::Lapsed => (Promise::StillThere, status == "EXPIRED"),
                _ => {
                    let may_lapse = status == "EXPIRED" && !holds_last;
                    (Promise::StillThere, status == "HOLD" || may_lapse)
                }
            };
            if !is_right {
                found.offend(promise, || format!("{id} was {:?} and is {status}", entry.fate));
            }
        })
        .await;
        let seen = self.ledger.entries_seen;
        findings.count(Promise::StillThere, "bookings acknowledged", seen);
        findings.count(Promise::StillThere, "read again", sample.len() as u64);
        if (sample.len() as u64) < seen {
            findings.remark(Promise::StillThere, "a random sample");
        }
        findings.count(Promise::StillConfirmed, "confirms read again", of_confirmed as u64);
    }

    /// Seats of a section by the client's account: held, confirmed.
    pub(super) fn known(&self, section: usize) -> (u64, u64) {
        if !self.is_whole {
            let tally = self.ledger.tallies[section];
            return (tally.held, tally.confirmed);
        }
        let of_section = self.ledger.entries.iter().filter(|it| usize::from(it.section) == section);
        let (mut held, mut confirmed) = (0, 0);
        for entry in of_section {
            match entry.fate {
                Fate::Held | Fate::Repeated => held += u64::from(entry.seats),
                Fate::Confirmed => confirmed += u64::from(entry.seats),
                _ => {}
            }
        }
        (held, confirmed)
    }

    /// What the organizer is told, against what the buyers were.
    async fn sums(&mut self, findings: &mut Findings) -> Result<(), Trouble> {
        let mut api = Api::new(&self.stage.cast.target);
        let started = Instant::now();
        let (seats, wrong) = loop {
            let seats = availability(&mut api, &self.stage.cast, self.stage.event_id).await?;
            let wrong = self.wrong_sums(&seats);
            // What lapsed a moment ago may not yet be counted as free.
            if wrong.is_empty() || started.elapsed() > SETTLE {
                break (seats, wrong);
            }
            sleep(Duration::from_millis(250)).await;
        };
        for what in wrong {
            findings.offend(Promise::SumsAddUp, || what);
        }
        for (number, seats) in seats.iter().enumerate() {
            let (held, confirmed) = self.known(number);
            let Seats { capacity, sold, .. } = *seats;
            findings.count(Promise::NotOversold, "seats", capacity);
            findings.count(Promise::NotOversold, "confirmed", confirmed);
            let most = sold.unwrap_or(0).max(confirmed);
            if most > capacity {
                findings.offend(Promise::NotOversold, || {
                    format!("section {}: {most} sold of {capacity}", number + 1)
                });
            }
            if self.stage.holds_last && self.stage.is_ours {
                let live = held + confirmed;
                findings.count(Promise::NotOverheld, "held or sold", live);
                if live > capacity {
                    findings.offend(Promise::NotOverheld, || {
                        format!("section {}: {live} held or sold of {capacity}", number + 1)
                    });
                }
            }
            if let Some(sold) = sold {
                findings.count(Promise::SumsAddUp, "sold by the server's account", sold);
            } else {
                let why = "not compared: only the organizer is told what is held and sold";
                findings.remark(Promise::SumsAddUp, why);
            }
        }
        if self.ledger.resold > 0 {
            findings.count(
                Promise::NotOverheld,
                "holds compared with the live ones",
                self.ledger.resold,
            );
            findings.offences(Promise::NotOverheld, std::mem::take(&mut self.ledger.crowded));
        }
        Ok(())
    }

    fn wrong_sums(&self, all: &[Seats]) -> Vec<String> {
        let mut wrong = Vec::new();
        for (number, seats) in all.iter().enumerate() {
            let Seats { capacity, available, held: Some(held), sold: Some(sold) } = *seats else {
                continue;
            };
            let section = &self.stage.sections[number];
            let (known_held, known_confirmed) = self.known(number);
            let tally = self.ledger.tallies[number];
            let unknown = tally.unknown + tally.lost;
            let name = format!("section {}", number + 1);
            if available + held + sold != capacity {
                wrong.push(format!("{name}: {available} + {held} + {sold} is not {capacity}"));
            }
            let least = section.sold_before.unwrap_or(0) + known_confirmed;
            if !(least..=least + tally.unknown).contains(&sold) && self.stage.is_ours {
                wrong.push(format!("{name}: {sold} sold, {least} confirmed"));
            }
            let least = section.held_before.unwrap_or(0) + known_held;
            let is_so = (least..=least + unknown).contains(&held);
            if self.stage.holds_last && self.stage.is_ours && !is_so {
                wrong.push(format!("{name}: {held} held, {least} known"));
            }
        }
        wrong
    }
}

/// A random choice.
fn sample(mut from: Vec<Entry>, count: usize) -> Vec<Entry> {
    let count = count.min(from.len());
    for place in 0..count {
        let other = rand::random_range(place..from.len());
        from.swap(place, other);
    }
    from.truncate(count);
    from
}
