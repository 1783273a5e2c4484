//! Reading the gate for a whole batch: once for each section, never for a single command.

use super::door::{ask, has_seats_for_all};
use super::named_seats::{self, MarksBySection, Snapshots};
use super::{Job, Lane, answer_all, hold_of};
use crate::metrics::Metrics;
use engine::error::SeatConflict;
use engine::{Command, GateAnswer, IdempotencyKey, Refusal, SeatRequest, UserId};
use std::sync::atomic::Ordering;
use store::KeyedHolds;
use store::simulated::is_planted;

impl Lane {
    /// Asks the gate once for all sections of the batch, answers the commands it refuses, returns
    /// the rest.
    pub(super) async fn ask_gate(&self, jobs: Vec<Job>) -> Vec<Job> {
        let holds = jobs.iter().filter_map(|job| hold_of(&job.command));
        let mut sections: Vec<_> = holds
            .flat_map(|hold| hold.requests.iter().flat_map(SeatRequest::sections))
            .copied()
            .collect();
        sections.sort_unstable();
        sections.dedup();
        if sections.is_empty() {
            return jobs;
        }
        let store_now = self.batches.now();
        let recalled: Snapshots =
            sections.iter().copied().zip(self.gate.recall(&sections)).collect();
        let named = named_seats::named(jobs.iter().map(|job| &job.command));
        let mut marked = self.named_seats.recall(&named);
        let taken = |known: &Snapshots, marked: &MarksBySection| -> Vec<Vec<SeatConflict>> {
            let marked_layouts = self.named_seats.known(known, marked, store_now);
            let holds = jobs.iter().map(|job| hold_of(&job.command));
            holds
                .map(|hold| {
                    hold.map_or(Vec::new(), |hold| named_seats::conflicts(hold, &marked_layouts))
                })
                .collect()
        };
        let mut conflicts = taken(&recalled, &marked);
        // The gate can only refuse: where there were seats for all a moment ago, it is not asked.
        let has_seats = has_seats_for_all(&jobs, &recalled, store_now);
        let known = if has_seats && conflicts.iter().all(Vec::is_empty) {
            recalled
        } else {
            let known = self.gate.read(&sections).await;
            let known: Snapshots = sections.into_iter().zip(known).collect();
            self.named_seats.ask(&named, &known, &mut marked).await;
            conflicts = taken(&known, &marked);
            known
        };
        let (mut admitted, mut refused) = (Vec::with_capacity(jobs.len()), Vec::new());
        for (job, conflicts) in jobs.into_iter().zip(conflicts) {
            let Some(hold) = hold_of(&job.command) else {
                admitted.push(job);
                continue;
            };
            if !conflicts.is_empty() {
                self.metrics.gate_seats_taken.increment(1);
                refused.push((job, Refusal::SeatsUnavailable { conflicts }));
                continue;
            }
            match ask(hold, &known, store_now) {
                (GateAnswer::SoldOut { available }, requested) => {
                    self.metrics.gate_sold_out.increment(1);
                    refused.push((job, Refusal::SoldOut { available, requested }));
                }
                (GateAnswer::Admit, _) => {
                    self.metrics.gate_admit.increment(1);
                    admitted.push(job);
                }
                (GateAnswer::Unknown, _) => {
                    self.metrics.gate_unknown.increment(1);
                    admitted.push(job);
                }
            }
        }
        self.is_refusing.store(!refused.is_empty(), Ordering::Relaxed);
        self.refuse(refused, &mut admitted).await;
        admitted
    }

    /// Answers what the gate refused. A retry whose key is committed is never refused (I8): it goes
    /// on to the store, which replays it.
    async fn refuse(&self, refused: Vec<(Job, Refusal)>, admitted: &mut Vec<Job>) {
        let keys: Vec<_> = refused.iter().filter_map(|(job, _)| key_of(&job.command)).collect();
        let committed = if keys.is_empty() || is_planted("retry refused by the gate") {
            Ok(KeyedHolds::new())
        } else {
            self.batches.keyed_holds(&keys).await
        };
        let mut told = Vec::with_capacity(refused.len());
        for (job, refusal) in refused {
            let may_be_committed = match (&committed, key_of(&job.command)) {
                (_, None) => false,
                (Ok(holds), Some(key)) => holds.contains_key(&key),
                (Err(_), Some(_)) => true,
            };
            if may_be_committed {
                admitted.push(job);
            } else {
                Metrics::refused(&refusal);
                told.push((job.reply, Err(refusal.into())));
            }
        }
        answer_all(told.into_iter());
    }
}

fn key_of(command: &Command) -> Option<(UserId, IdempotencyKey)> {
    hold_of(command)?.named()
}
