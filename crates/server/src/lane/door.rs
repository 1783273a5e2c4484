//! The gate's answers to holds: before they are queued, and for a whole batch.

use super::named_seats::{NamedSeats, Snapshots, conflicts, named};
use super::{Job, hold_of};
use crate::metrics::Metrics;
use engine::{Command, GateAnswer, Hold, Refusal, SeatRequest, SectionId, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::{Gate, Timed};

/// Refuses what is sold out without a lane: where buyers storm a section that has no seats left, those who
/// have something to decide need not queue behind them.
#[derive(Clone)]
pub(super) struct Door {
    pub clock: Arc<dyn Timed>,
    pub gate: Arc<dyn Gate>,
    pub named_seats: Arc<NamedSeats>,
    pub metrics: Arc<Metrics>,
}

impl Door {
    /// Refuses a hold by what this instance itself has settled a moment ago. One with a key may be a
    /// retry of a committed hold, so the lane looks for that first (I8).
    pub fn refusal_of(&self, command: &Command) -> Option<Refusal> {
        let asks_the_store = |hold: &&Hold| {
            hold.key.is_none() || store::simulated::is_planted("retry refused at the door")
        };
        let hold = hold_of(command).filter(asks_the_store)?;
        let sections: Vec<_> =
            hold.requests.iter().flat_map(SeatRequest::sections).copied().collect();
        let recalled = self.gate.recall(&sections);
        let known: Snapshots = sections.into_iter().zip(recalled).collect();
        let store_now = self.clock.now();
        let marked = self.named_seats.recall(&named(std::iter::once(command)));
        let conflicts = conflicts(hold, &self.named_seats.known(&known, &marked, store_now));
        let refusal = if conflicts.is_empty() {
            let (GateAnswer::SoldOut { available }, requested) = ask(hold, &known, store_now)
            else {
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
pub(super) fn has_seats_for_all(jobs: &[Job], known: &Snapshots, store_now: Timestamp) -> bool {
    let mut wanted: BTreeMap<SectionId, i64> = BTreeMap::new();
    for hold in jobs.iter().filter_map(|job| hold_of(&job.command)) {
        for ask in &hold.requests {
            for section_id in ask.sections() {
                *wanted.entry(*section_id).or_default() += i64::from(ask.seats());
            }
        }
    }
    let admits = |(section_id, seats): (SectionId, i64)| {
        known[&section_id].is_some_and(|held| held.answer(seats, store_now) == GateAnswer::Admit)
    };
    wanted.into_iter().all(admits)
}

/// What the gate says to a hold: admitted whole or not at all. Also the seats it was asked for.
pub(super) fn ask(hold: &Hold, known: &Snapshots, store_now: Timestamp) -> (GateAnswer, i64) {
    let mut answer = GateAnswer::Admit;
    for wanted in &hold.requests {
        let seats = i64::from(wanted.seats());
        let said = wanted.sections().iter().map(|section_id| {
            known[section_id].map_or(GateAnswer::Unknown, |held| held.answer(seats, store_now))
        });
        match said.reduce(either).unwrap_or(GateAnswer::Unknown) {
            GateAnswer::SoldOut { available } if available < seats => {
                return (GateAnswer::SoldOut { available }, seats);
            }
            GateAnswer::SoldOut { .. } | GateAnswer::Admit => {}
            GateAnswer::Unknown => answer = GateAnswer::Unknown,
        }
    }
    (answer, 0)
}

/// What is said to a party that takes seats of two sections.
fn either(one: GateAnswer, other: GateAnswer) -> GateAnswer {
    match (one, other) {
        (GateAnswer::Admit, _) | (_, GateAnswer::Admit) => GateAnswer::Admit,
        (GateAnswer::Unknown, _) | (_, GateAnswer::Unknown) => GateAnswer::Unknown,
        (GateAnswer::SoldOut { available: here }, GateAnswer::SoldOut { available: there }) => {
            GateAnswer::SoldOut { available: here + there }
        }
    }
}
