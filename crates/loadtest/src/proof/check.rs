//! The examination of one run.

use super::crew::{Crew, FIRST_OF_PROOF, insist_on_act, insist_on_booking, insist_on_hold};
use super::seats::other_seats;
use super::{Findings, Promise};
use crate::body;
use crate::ledger::{Entry, Fate, Ledger};
use crate::progress::Progress;
use crate::stage::Stage;
use crate::trouble::Trouble;
use crate::wish::Wish;
use crate::worker::{Held, Verb, is_about_the_request};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// Unanswered requests whose outcome is asked for.
const UNKNOWN_MAX: usize = 50_000;

/// Sums of a section whose holds lapse are asked for again this much longer than a hold lives.
pub(super) const SETTLE: Duration = Duration::from_secs(3);

/// What is examined.
pub struct Case<'a> {
    /// Where it happened.
    pub stage: &'a Arc<Stage>,
    /// The answers received before and during the run.
    pub ledger: Ledger,
    /// Bookings to read again at most.
    pub verify: usize,
    /// Whether the sections are to be sold to the last seat; then how long holds live.
    pub sells_out_after: Option<Duration>,
    /// Whether there are bookings at all.
    pub is_a_sale: bool,
    /// Whether every hold is in the ledger, and not a sample of them.
    pub(super) is_whole: bool,
    /// Seats per section by the client's account: held, confirmed.
    pub(super) known: Vec<(u64, u64)>,
}

/// Examines a run. What it does not come to, since it fails or is not waited for, is not proven.
pub async fn examine(
    case: &mut Case<'_>,
    findings: &mut Findings,
    progress: &Progress,
) -> Result<(), Trouble> {
    let told = |what: &str| progress.say(what.to_owned());
    let mut crew = Crew::new(case.stage, FIRST_OF_PROOF);
    told("repeating requests without an answer");
    case.resolve(&mut crew).await;
    case.one_for_a_key(findings);
    findings.settle(&[Promise::OneForAKey]);
    case.account(&mut crew);
    told("reading bookings again");
    case.read_again(&mut crew, findings).await;
    findings.settle(&[Promise::StillThere, Promise::StillConfirmed]);
    case.sums(findings, progress).await?;
    findings.settle(&[Promise::NotOversold, Promise::NotOverheld, Promise::SumsAddUp]);
    case.seats(findings, progress).await?;
    findings.settle(&OF_SEATS);
    if let Some(hold_ttl) = case.sells_out_after {
        told("selling to the last seat");
        case.sell_out(&mut crew, hold_ttl, findings).await?;
        findings.settle(&[Promise::NoLeak]);
    }
    let mut of_crew = crew.ledger();
    of_crew.entries.clear();
    of_crew.tallies.clear();
    of_crew.given.clear();
    of_crew.entries_seen = 0;
    case.ledger.append(of_crew);
    findings.settle(&[Promise::HoldsHold]);
    Ok(())
}

/// What is promised of seats with numbers.
const OF_SEATS: [Promise; 5] = [
    Promise::SeatOnce,
    Promise::AsAsked,
    Promise::SeatsKept,
    Promise::Together,
    Promise::StatusTrue,
];

impl<'a> Case<'a> {
    /// A run that is to be examined.
    pub fn new(stage: &'a Arc<Stage>, ledger: Ledger, verify: usize) -> Self {
        let is_whole = ledger.is_whole();
        Self {
            stage,
            ledger,
            verify,
            sells_out_after: None,
            is_a_sale: true,
            is_whole,
            known: Vec::new(),
        }
    }

    /// What is to be examined. All of it is open until it is settled.
    pub fn open(&self, findings: &mut Findings) {
        findings.expect(&[Promise::NoFailure, Promise::NotSlow, Promise::Guided]);
        if !self.is_a_sale {
            return;
        }
        findings.expect(&[
            Promise::NotOversold,
            Promise::StillThere,
            Promise::StillConfirmed,
            Promise::HoldsHold,
            Promise::OneForAKey,
            Promise::SumsAddUp,
        ]);
        if self.ledger.resold > 0 || self.stage.all_live() && self.stage.is_ours {
            findings.expect(&[Promise::NotOverheld]);
        }
        if !self.stage.halls.is_empty() {
            findings.expect(&OF_SEATS[..3]);
            findings.expect(&[Promise::StatusTrue]);
        }
        if self.ledger.together > 0 || self.ledger.split.count > 0 {
            findings.expect(&[Promise::Together]);
        }
        if self.sells_out_after.is_some() {
            findings.expect(&[Promise::NoLeak]);
        }
    }

    /// What the answers themselves prove, apart from other checks.
    pub fn answers_told(self, findings: &mut Findings) {
        let ledger = self.ledger;
        if self.is_a_sale {
            findings.count(Promise::HoldsHold, "confirms succeeded", ledger.confirms);
            findings.offences(Promise::HoldsHold, ledger.broken_holds);
            for (promise, offences) in [
                (Promise::OneForAKey, ledger.two_for_a_key),
                (Promise::NotOverheld, ledger.crowded),
                (Promise::AsAsked, ledger.misnamed),
                (Promise::Together, ledger.split),
            ] {
                if offences.count > 0 {
                    findings.offences(promise, offences);
                }
            }
        }
        findings.count(Promise::NoFailure, "answers", ledger.answers);
        findings.offences(Promise::NoFailure, ledger.failures);
        findings.count(Promise::NotSlow, "answers", ledger.answers);
        if ledger.silences > 0 {
            findings.count(Promise::NotSlow, "requests without an answer", ledger.silences);
        }
        findings.offences(Promise::NotSlow, ledger.slow);
        findings.count(Promise::Guided, "without Retry-After", ledger.unguided.count);
        findings.offences(Promise::Guided, ledger.unguided);
        findings.settle(&[Promise::NoFailure, Promise::NotSlow, Promise::Guided]);
    }

    /// Puts together what the buyers know of each section, once it is known what became of each hold.
    fn account(&mut self, crew: &mut Crew) {
        let ledger = &mut self.ledger;
        ledger.given.extend(crew.take_given());
        ledger.given.sort_unstable_by_key(|given| given.booking);
        self.known = vec![(0, 0); self.stage.sections.len()];
        if !self.is_whole {
            for (section, tally) in &ledger.tallies {
                self.known[*section as usize] = (tally.held, tally.confirmed);
            }
            return;
        }
        for entry in &ledger.entries {
            let (held, confirmed) = &mut self.known[entry.section as usize];
            match entry.fate {
                Fate::Held | Fate::Repeated => *held += u64::from(entry.seats),
                Fate::Confirmed => *confirmed += u64::from(entry.seats),
                _ => {}
            }
        }
    }

    /// Seats of a section by the client's account: held, confirmed.
    pub(super) fn known(&self, section: u32) -> (u64, u64) {
        self.known[section as usize]
    }

    /// Asks again for everything that was left without an answer: for holds with the same key, and
    /// for confirms and cancels, which may be repeated. Only looking would not do: the first
    /// request may still be on its way.
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
        let wishes = std::mem::take(&mut self.ledger.wishes);
        crew.each(&open, async |worker, mut entry| {
            if entry.fate == Fate::Unknown {
                let Entry { buyer, section, seats, key, .. } = entry;
                let any = Wish::Any(seats);
                let wish = wishes.get(&key).unwrap_or(&any);
                match insist_on_hold(worker, buyer, section, wish, key).await {
                    Held::Booked(now) => entry.booking = now.booking,
                    // It had no effect.
                    Held::SoldOut | Held::Taken | Held::Refused => {
                        return resolved.lock().push((entry, None));
                    }
                    Held::Unknown | Held::Later => {
                        return resolved.lock().push((entry, Some(Fate::Unknown)));
                    }
                }
            } else {
                let is_confirm = entry.fate == Fate::ConfirmUnknown;
                let verb = if is_confirm { Verb::Confirm } else { Verb::Cancel };
                let asked = Entry { fate: Fate::Held, ..entry };
                let now = insist_on_act(worker, verb, asked).await;
                let fate = if now.fate == Fate::Held { entry.fate } else { now.fate };
                return resolved.lock().push((entry, Some(fate)));
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
            let tally = self.ledger.tallies.entry(entry.section).or_default();
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
        let (stage, given, ends) = (self.stage, &self.ledger.given, &self.ledger.ends);
        let found = Mutex::new(&mut *findings);
        crew.each(&sample, async |worker, entry| {
            let id = Uuid::from_u128(entry.booking);
            let answer = insist_on_booking(worker, entry).await;
            let Some(answer) = answer.filter(|it| !is_no_account(it.status)) else {
                let what = "some bookings could not be read";
                let promise = match entry.fate {
                    Fate::Confirmed => Promise::StillConfirmed,
                    _ => Promise::StillThere,
                };
                return found.lock().doubt(promise, what);
            };
            let body = &worker.wire.body;
            // Seats of several prices are several items, and their names say how many they are.
            let is_it = body::booking_id(body) == Some(entry.booking)
                && (stage.hall(entry.section).is_some()
                    || body::number(body, "seats_requested") == Some(entry.seats.into()));
            let mut found = found.lock();
            if answer.status == 200
                && let Some(what) = other_seats(stage, given, entry, body)
            {
                found.offend(Promise::SeatsKept, || what);
            }
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
                    let ends_at = ends.get(&entry.booking).copied();
                    let ends_at = ends_at.unwrap_or_else(|| stage.lives_until());
                    let has_lapsed = status == "EXPIRED"
                        && (ends_at <= Instant::now() || stage.has_lapsed(body, ends_at));
                    (Promise::StillThere, status == "HOLD" || has_lapsed)
                }
            };
            // Who organizes an event that is not ours may have called off what was sold.
            let is_right = is_right || status == "CANCELLED" && !stage.is_ours;
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
}

/// Whether an answer says nothing of a booking: access, rates, or a failure that another promise
/// covers.
fn is_no_account(status: u16) -> bool {
    is_about_the_request(status) || status >= 500
}

/// A random choice.
fn sample(mut from: Vec<Entry>, count: usize) -> Vec<Entry> {
    let count = count.min(from.len());
    for place in 0..count {
        let other = crate::random::random_of(place..from.len());
        from.swap(place, other);
    }
    from.truncate(count);
    from
}
