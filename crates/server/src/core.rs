//! The core: the parts of a Reservix process that do not depend on HTTP.
//!
//! Workers, commands and HTTP use it. It knows nothing of HTTP, so that what runs without an
//! API needs none of it.

use crate::catalog::{Catalog, Hearing};
use crate::config::Config;
use crate::lane::Lanes;
use crate::metrics::Metrics;
use crate::news;
use crate::pulse::Pulse;
use crate::rights::Rights;
use crate::vitals::Vitals;
use engine::Inventory;
use std::sync::Arc;
use store::gate::Settlement;
use store::{Batches, Gate, Store};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The parts that every process has.
pub struct Core {
    /// The settings.
    pub config: Config,
    /// The truth.
    pub store: Arc<dyn Store>,
    /// What may say no.
    pub gate: Arc<dyn Gate>,
    /// The way to the store for all that changes inventory.
    pub lanes: Lanes,
    /// Event facts and availability.
    pub catalog: Catalog,
    /// Who may do what, and what organizations are called.
    pub rights: Rights,
    /// Whether the store and the gate answer.
    pub pulse: Pulse,
    /// Whether the lanes and the workers live.
    pub vitals: Vitals,
    /// Meters.
    pub metrics: Arc<Metrics>,
    /// Cancelled when the process must stop.
    pub draining: CancellationToken,
}

impl Core {
    /// Puts the parts together and starts the lanes.
    pub fn new(
        config: Config,
        store: Arc<dyn Store>,
        gate: Arc<dyn Gate>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let vitals = Vitals::default();
        let (count, batches) = (store.lanes(config.lanes), store.clone() as Arc<dyn Batches>);
        let lanes = Lanes::start(count, &batches, store.clone(), &gate, &metrics, &vitals);
        let hearing = Hearing::new(gate.clone(), store.is_shared());
        Self {
            catalog: Catalog::new(
                store.clone(),
                store.clone(),
                store.clone(),
                gate.clone(),
                hearing.clone(),
            ),
            rights: Rights::new(store.clone(), store.clone(), gate.clone(), hearing),
            pulse: Pulse::new(store.clone(), gate.clone()),
            draining: CancellationToken::new(),
            config,
            store,
            gate,
            lanes,
            vitals,
            metrics,
        }
    }

    /// Settles the gate after a change that was asked for at `asked_at` and not committed by a lane.
    pub async fn settle(&self, inventory: &Inventory, asked_at: Instant) {
        let settled = Settlement::of(std::slice::from_ref(inventory));
        if !news::settle(&*self.gate, settled, asked_at) {
            self.gate.forget(&[inventory.section_id]).await;
        }
    }
}
