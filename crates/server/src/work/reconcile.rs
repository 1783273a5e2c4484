//! Reconcile: compares log, counters and gate. It repairs the gate and raises an alarm for other
//! differences.
//!
//! The log is folded once at the start and then only its new rows, so the cost of a run depends on
//! the changes since the last. Counters and log are read in one transaction, so a difference is
//! never a race.

use super::{failed, next_turn};
use crate::core::Core;
use crate::metrics::Metrics;
use crate::vitals::Part;
use engine::audit::drift;
use engine::log::Position;
use engine::{Fault, Inventory, SectionId};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use store::{Books, Epoch, Gate, Histories};
use tokio_util::sync::CancellationToken;

/// Differences spelled out in the log of one turn.
const TOLD_MAX: usize = 10;

pub(super) async fn run(
    core: Arc<Core>,
    part: Arc<Part>,
    interval: Duration,
    stop: CancellationToken,
) {
    let mut reconcile = Reconcile::default();
    while next_turn(interval, &stop).await {
        let _turn = part.turn();
        match reconcile.turn(&*core.store, &*core.gate).await {
            Ok(()) => Metrics::worker_turn("reconcile", interval, core.store.now()),
            Err(fault) => {
                let error = failed(&fault);
                tracing::warn!(error, "reconcile could not finish its run");
            }
        }
    }
}

/// The log, folded as far as it has been read.
#[derive(Default)]
pub struct Reconcile {
    /// The history in which it was read: another one has another log.
    epoch: Option<Epoch>,
    cursor: Position,
    folded: HashMap<SectionId, Inventory>,
}

impl Reconcile {
    /// Compares counters, log and gate once.
    pub async fn turn(
        &mut self,
        store: &(impl Books + Histories + ?Sized),
        gate: &dyn Gate,
    ) -> Result<(), Fault> {
        let epoch = Some(store.epoch());
        if self.epoch != epoch {
            *self = Self { epoch, ..Self::default() };
        }
        let reckoning = store.reckon(self.cursor).await?;
        if Some(store.epoch()) != epoch {
            // It was noticed meanwhile that the database is another one: the next turn begins anew.
            return Ok(());
        }
        for part in reckoning.folded {
            let empty = Inventory::empty(part.section_id, part.event_id);
            self.folded.entry(part.section_id).or_insert(empty).merge(&part);
        }
        self.cursor = reckoning.cursor;

        let unsettled: HashMap<_, _> =
            reckoning.unsettled.iter().map(|part| (part.section_id, part)).collect();

        let mut wrong = 0;
        for inventory in &reckoning.inventories {
            let section_id = inventory.section_id;
            let empty = || Inventory::empty(section_id, inventory.event_id);
            let mut folded = self.folded.get(&section_id).cloned().unwrap_or_else(empty);
            if let Some(part) = unsettled.get(&section_id) {
                folded.merge(part);
            }
            if let Some(difference) = drift(&folded, inventory) {
                wrong += 1;
                if wrong <= TOLD_MAX {
                    tracing::error!(difference, "I4 is broken: counters differ from their log");
                }
            }
        }
        let repaired = repair_gate(gate, &reckoning.inventories).await;
        Metrics::drift(wrong, repaired);
        if wrong > 0 {
            store::simulated::probe("counters differ from their log");
            tracing::error!(sections = wrong, "counters differ from their log; run reservix audit");
        }
        Ok(())
    }
}

/// Makes the gate forget every snapshot that says something else than the store said at the same
/// version. Forgetting never raises the gate: the next commit settles it.
async fn repair_gate(gate: &dyn Gate, inventories: &[Inventory]) -> usize {
    let sections: Vec<_> = inventories.iter().map(|inventory| inventory.section_id).collect();
    let known = gate.read(&sections).await;
    let differs = |(inventory, known): (&Inventory, &Option<engine::Snapshot>)| {
        let known = known.as_ref()?;
        let wrong = known.version == inventory.version && *known != inventory.snapshot();
        wrong.then_some(inventory.section_id)
    };
    let wrong: Vec<_> = inventories.iter().zip(&known).filter_map(differs).collect();
    if !wrong.is_empty() {
        tracing::warn!(
            sections = wrong.len(),
            "the gate differed from the store and was corrected"
        );
        gate.forget(&wrong).await;
        store::simulated::probe("the gate differed from the store");
    }
    wrong.len()
}
