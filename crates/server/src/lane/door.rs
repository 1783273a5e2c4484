//! What the gate says to holds: at the door, before they stand in line, and to a whole batch.

use super::halls::{Halls, Known, conflicts, named};
use super::{Job, hold_of};
use crate::metrics::Metrics;
use engine::{Answer, Ask, Command, Hold, Refusal, SectionId, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::{Gate, Timed};

/// Refuses what is sold out without a lane: where buyers storm a section that has no seats left, those who
/// have something to decide need not stand in line behind them.
#[derive(Clone)]
pub(super) struct Door {
    pub clock: Arc<dyn Timed>,
    pub gate: Arc<dyn Gate>,
    pub halls: Arc<Halls>,
    pub metrics: Arc<Metrics>,
}

impl Door {
    /// Refuses a hold by what this instance itself has settled a moment ago. One with a key may be a
    /// retry of a committed hold, so the lane looks for that first (I8).
    pub fn refusal_of(&self, command: &Command) -> Option<Refusal> {
        let hold = hold_of(command).filter(|hold| hold.key.is_none())?;
        let sections: Vec<_> = hold.asks.iter().flat_map(Ask::sections).copied().collect();
        let recalled = self.gate.recall(&sections);
        let known: Known = sections.into_iter().zip(recalled).collect();
        let store_now = self.clock.now();
        let marked = self.halls.recall(&named(std::iter::once(command)));
        let conflicts = conflicts(hold, &self.halls.known(&known, &marked, store_now));
        let refusal = if conflicts.is_empty() {
            let (Answer::SoldOut { available }, requested) = ask(hold, &known, store_now) else {
                return None;
            };
            self.metrics.gate_sold_out.increment(1);
            Refusal::SoldOut { available, requested }
        } else {
            self.metrics.gate_seats_taken.increment(1);
            Refusal::SeatsUnavailable { conflicts }
        };
        Metrics::refused(&refusal);
        Some(refusal)
    }
}

/// Whether every section had seats for all holds of the batch together.
pub(super) fn has_seats_for_all(jobs: &[Job], known: &Known, store_now: Timestamp) -> bool {
    let mut wanted: BTreeMap<SectionId, i64> = BTreeMap::new();
    for hold in jobs.iter().filter_map(|job| hold_of(&job.command)) {
        for ask in &hold.asks {
            for section_id in ask.sections() {
                *wanted.entry(*section_id).or_default() += i64::from(ask.seats());
            }
        }
    }
    let admits = |(section_id, seats): (SectionId, i64)| {
        known[&section_id].is_some_and(|held| held.answer(seats, store_now) == Answer::Admit)
    };
    wanted.into_iter().all(admits)
}

/// What the gate says to a hold: admitted whole or not at all. Also the seats it was asked for.
pub(super) fn ask(hold: &Hold, known: &Known, store_now: Timestamp) -> (Answer, i64) {
    let mut answer = Answer::Admit;
    for wanted in &hold.asks {
        let seats = i64::from(wanted.seats());
        let said = wanted.sections().iter().map(|section_id| {
            known[section_id].map_or(Answer::Unknown, |held| held.answer(seats, store_now))
        });
        match said.reduce(either).unwrap_or(Answer::Unknown) {
            Answer::SoldOut { available } if available < seats => {
                return (Answer::SoldOut { available }, seats);
            }
            Answer::SoldOut { .. } | Answer::Admit => {}
            Answer::Unknown => answer = Answer::Unknown,
        }
    }
    (answer, 0)
}

/// What is said to a party that takes seats of two sections.
fn either(one: Answer, other: Answer) -> Answer {
    match (one, other) {
        (Answer::Admit, _) | (_, Answer::Admit) => Answer::Admit,
        (Answer::Unknown, _) | (_, Answer::Unknown) => Answer::Unknown,
        (Answer::SoldOut { available: here }, Answer::SoldOut { available: there }) => {
            Answer::SoldOut { available: here + there }
        }
    }
}
