//! The proof: whether the promises of the API were kept, from the client's answers and over HTTP
//! alone.
//!
//! What it can say is bounded by what it can see. It asks for the fate of everything that was left without
//! an answer, reads bookings again (all, or a random sample of a stated size), compares the sums with
//! what the organizer can read, and sells small sections to the last seat.

mod check;
mod crew;
mod last_seat;
mod roll;
mod seats;
mod sums;

pub use check::{Case, examine};
pub use crew::{Crew, FIRST_OF_SETUP};

use crate::ledger::Offences;
use crate::report::{Check, Proof};

/// What is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Seats sold.
    NotOversold,
    /// Seats held.
    NotOverheld,
    /// Bookings.
    StillThere,
    /// Confirms.
    StillConfirmed,
    /// Holds.
    HoldsHold,
    /// Idempotency.
    OneForAKey,
    /// Sums.
    SumsAddUp,
    /// Leaks.
    NoLeak,
    /// Numbered seats.
    SeatOnce,
    /// What a hold asked for.
    AsAsked,
    /// Those that were acknowledged.
    SeatsKept,
    /// Adjacency.
    Together,
    /// The public status of numbered seats.
    StatusTrue,
    /// 5xx.
    NoFailure,
    /// Five seconds.
    NotSlow,
    /// `Retry-After`.
    Guided,
}

impl Promise {
    const ALL: [Self; 16] = [
        Self::NotOversold,
        Self::NotOverheld,
        Self::StillThere,
        Self::StillConfirmed,
        Self::HoldsHold,
        Self::OneForAKey,
        Self::SumsAddUp,
        Self::NoLeak,
        Self::SeatOnce,
        Self::AsAsked,
        Self::SeatsKept,
        Self::Together,
        Self::StatusTrue,
        Self::NoFailure,
        Self::NotSlow,
        Self::Guided,
    ];

    /// As a report says it. Scripts may look for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotOversold => "No section sold more seats than it has",
            Self::NotOverheld => "No more seats were held at once than there are",
            Self::StillThere => "Every acknowledged booking is still there",
            Self::StillConfirmed => "Every acknowledged confirm is still confirmed",
            Self::HoldsHold => "Every live hold could be confirmed",
            Self::OneForAKey => "One booking for each key, one hold for each booking",
            Self::SumsAddUp => "The server's sums are those of the client",
            Self::NoLeak => "No seat leaked: every section sells to its last seat",
            Self::SeatOnce => "No seat is in two live bookings",
            Self::AsAsked => "Every hold has the seats that it asked for",
            Self::SeatsKept => "Every acknowledged seat is still its buyer's",
            Self::Together => "No party that was to sit together was split",
            Self::StatusTrue => "The status of the seats is that of the bookings",
            Self::NoFailure => "No answer was a failure (5xx other than 503)",
            Self::NotSlow => "No answer took longer than 5 s",
            Self::Guided => "Every 429 and 503 said when to come back",
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Finding {
    asked: bool,
    /// What it takes to know has not all been done.
    open: bool,
    /// Something could not be found out.
    doubted: bool,
    counts: Vec<(&'static str, u64)>,
    remarks: Vec<String>,
    offences: Offences,
}

/// What was found, over all runs.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    all: [Finding; Promise::ALL.len()],
    unproven: String,
}

impl Findings {
    /// Something that was counted. The promise is in the report from then on.
    pub fn count(&mut self, promise: Promise, what: &'static str, count: u64) {
        let finding = self.asked(promise);
        match finding.counts.iter_mut().find(|(known, _)| *known == what) {
            Some((_, sum)) => *sum += count,
            None => finding.counts.push((what, count)),
        }
    }

    /// What a reader should know of how it was examined.
    pub fn remark(&mut self, promise: Promise, what: impl Into<String>) {
        let what = what.into();
        let finding = self.asked(promise);
        if !finding.remarks.contains(&what) {
            finding.remarks.push(what);
        }
    }

    /// The promise was broken.
    pub fn offend(&mut self, promise: Promise, what: impl FnOnce() -> String) {
        self.asked(promise).offences.add(what);
    }

    /// The promise was broken so often.
    pub fn offences(&mut self, promise: Promise, offences: Offences) {
        self.asked(promise).offences.append(offences);
    }

    /// These are about to be examined: until they are settled, they are not proven.
    pub fn expect(&mut self, promises: &[Promise]) {
        for promise in promises {
            self.asked(*promise).open = true;
        }
    }

    /// Everything was done that it takes to know.
    pub fn settle(&mut self, promises: &[Promise]) {
        for promise in promises {
            self.all[*promise as usize].open = false;
        }
    }

    /// Something could not be found out, so that the promise is not proven.
    pub fn doubt(&mut self, promise: Promise, what: impl Into<String>) {
        self.remark(promise, what);
        self.asked(promise).doubted = true;
    }

    /// Whether some checks could not be completed.
    pub fn is_doubted(&self, promise: Promise) -> bool {
        self.all[promise as usize].doubted
    }

    /// The proof ends here, and why.
    pub fn stop(&mut self, why: impl Into<String>) {
        if self.unproven.is_empty() {
            self.unproven = why.into();
        }
    }

    fn asked(&mut self, promise: Promise) -> &mut Finding {
        let finding = &mut self.all[promise as usize];
        finding.asked = true;
        finding
    }

    /// The verdict.
    pub fn verdict(&self) -> Proof {
        let asked = Promise::ALL.iter().zip(&self.all).filter(|(_, finding)| finding.asked);
        let checks: Vec<Check> = asked
            .map(|(promise, finding)| Check {
                name: promise.name().to_owned(),
                holds: finding.offences.count == 0 && !finding.open && !finding.doubted,
                proven: finding.offences.count > 0 || !finding.open && !finding.doubted,
                detail: detail(finding),
            })
            .collect();
        let mut unproven = self.unproven.clone();
        if unproven.is_empty() && checks.iter().any(|check| !check.proven) {
            "some checks could not be completed".clone_into(&mut unproven);
        }
        let holds = unproven.is_empty() && checks.iter().all(|check| check.holds);
        Proof { holds, unproven, checks }
    }
}

fn detail(finding: &Finding) -> String {
    let Finding { counts, remarks, offences, .. } = finding;
    let counted = counts.iter().map(|(what, count)| format!("{} {what}", grouped(*count)));
    let mut parts: Vec<String> = counted.collect();
    parts.extend(remarks.iter().cloned());
    if offences.count > 0 {
        let told = offences.told.join("; ");
        parts.push(format!("BROKEN {} times: {told}", grouped(offences.count)));
    }
    parts.join(", ")
}

/// 1234567 as 1,234,567.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_that_was_not_asked_for_is_not_in_the_verdict() {
        let mut findings = Findings::default();
        assert!(findings.verdict().holds && findings.verdict().checks.is_empty());
        findings.count(Promise::NoFailure, "answers", 1_234);
        findings.count(Promise::NoFailure, "answers", 1_000_000);
        let verdict = findings.verdict();
        assert!(verdict.holds);
        assert_eq!(verdict.checks.len(), 1);
        assert_eq!(verdict.checks[0].detail, "1,001,234 answers");
    }

    #[test]
    fn one_offence_breaks_the_verdict_and_is_told() {
        let mut findings = Findings::default();
        findings.count(Promise::NoFailure, "answers", 1);
        findings.offend(Promise::StillThere, || "booking 7 is gone".to_owned());
        let verdict = findings.verdict();
        assert!(!verdict.holds);
        let broken: Vec<_> = verdict.checks.iter().filter(|check| !check.holds).collect();
        assert_eq!(broken.len(), 1);
        assert_eq!(broken[0].name, "Every acknowledged booking is still there");
        assert_eq!(broken[0].detail, "BROKEN 1 times: booking 7 is gone");
    }

    #[test]
    fn what_was_not_settled_is_not_proven_and_an_offence_is_all_the_same() {
        let mut findings = Findings::default();
        findings.expect(&[Promise::NotOversold, Promise::SumsAddUp, Promise::StillThere]);
        findings.settle(&[Promise::NotOversold]);
        findings.offend(Promise::SumsAddUp, || "one is missing".to_owned());
        findings.stop("the server has not answered for 10 s");
        let Proof { holds, unproven, checks } = findings.verdict();
        assert!(!holds);
        assert_eq!(unproven, "the server has not answered for 10 s");
        let told = |name: &str| checks.iter().find(|it| it.name.starts_with(name)).unwrap();
        let of = |name| (told(name).holds, told(name).proven);
        assert_eq!(of("No section sold"), (true, true));
        assert_eq!(of("The server's sums"), (false, true));
        assert_eq!(of("Every acknowledged booking"), (false, false));
        findings.settle(&[Promise::StillThere]);
        assert!(!findings.verdict().holds, "whatever else was settled");
    }

    #[test]
    fn a_doubt_is_not_settled() {
        let mut findings = Findings::default();
        findings.expect(&[Promise::StillThere]);
        findings.doubt(Promise::StillThere, "3 could not be read");
        findings.settle(&[Promise::StillThere]);
        let Proof { holds, unproven, checks } = findings.verdict();
        assert!(!holds && !unproven.is_empty() && !checks[0].proven);
    }
}
