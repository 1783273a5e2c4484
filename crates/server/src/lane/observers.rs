//! Observers: notified of every batch that a lane has committed.
//!
//! A lane calls them one after the other, in the order of their list, before it answers the batch:
//! a client that has its answer finds the gate settled. An observer delays its lane, so long work
//! belongs in a task of its own.

use super::named_seats::{NamedSeats, named};
use crate::metrics::Metrics;
use crate::news;
use async_trait::async_trait;
use engine::{Command, Committed, Inventory};
use std::sync::Arc;
use std::time::Duration;
use store::Gate;
use store::gate::Settlement;
use tokio::time::Instant;

/// A batch that was committed.
pub(super) struct Batch {
    /// What it decided.
    pub commands: Arc<[Command]>,
    /// When the store was asked for it.
    pub asked_at: Instant,
    /// How long that took.
    pub took: Duration,
    /// What it came to.
    pub committed: Committed,
}

/// What learns of committed batches.
#[async_trait]
pub(super) trait Observer: Send + Sync {
    /// A batch was committed, and nobody in it has been answered yet.
    async fn committed(&self, batch: &Batch);
}

/// The observers of all lanes, in the order in which they are called.
pub(super) fn observers(
    metrics: &Arc<Metrics>,
    gate: &Arc<dyn Gate>,
    named_seats: &Arc<NamedSeats>,
) -> Arc<[Box<dyn Observer>]> {
    let (count, settle) = (Count(metrics.clone()), Settle(gate.clone()));
    // Last: it asks the gate for what has just been settled.
    let follow = Follow(named_seats.clone());
    Arc::new([Box::new(count), Box::new(settle), Box::new(follow)])
}

/// Counts what was decided.
struct Count(Arc<Metrics>);

#[async_trait]
impl Observer for Count {
    async fn committed(&self, batch: &Batch) {
        self.0.batch(batch.commands.len(), batch.took);
        self.0.decided(&batch.committed);
    }
}

/// Settles the gate.
struct Settle(Arc<dyn Gate>);

#[async_trait]
impl Observer for Settle {
    async fn committed(&self, batch: &Batch) {
        let committed = &batch.committed;
        // Of the same version, the gate would take the marks it has for the ones that were rebuilt.
        if !committed.rebuilt.is_empty() {
            self.0.forget(&committed.rebuilt).await;
        }
        let settled = Settlement::of(&committed.inventories);
        let settled = settled.with_marks(committed.marks.clone());
        if !news::settle(&*self.0, settled, batch.asked_at) {
            // What is known there of these sections is older yet.
            let sections = committed.inventories.iter().map(|of| of.section_id);
            self.0.forget(&sections.collect::<Vec<_>>()).await;
        }
    }
}

/// Looks up what the gate needs to judge named seats.
struct Follow(Arc<NamedSeats>);

#[async_trait]
impl Observer for Follow {
    async fn committed(&self, batch: &Batch) {
        let named = named(batch.commands.iter());
        if !named.is_empty() {
            let snapshots = batch.committed.inventories.iter().map(Inventory::snapshot);
            self.0.follow(&named, &snapshots.collect::<Vec<_>>());
        }
    }
}
