//! The gate of instances that share one: what a Redis does, with its delays and its losses.
//!
//! Each instance keeps what it has settled itself, and tells the others through the server; both by the
//! clock of the server, which is that of the world here. What it tells may be late, lost, or arrive in any
//! order.

use crate::world::{Step, Tried, World};
use async_trait::async_trait;
use engine::{CheckedSnapshot, EventId, Fault, SectionId, Snapshot};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use store::gate::Settlement;
use store::simulated::is_planted;
use store::{Epoch, Gate};
use tokio::sync::broadcast;

/// What the server keeps of a section.
pub type Kept = BTreeMap<SectionId, CheckedSnapshot>;

/// How long an instance waits for an answer of the server.
const PATIENCE: Duration = Duration::from_millis(100);

/// The gate of an instance.
pub struct SharedGate {
    world: Arc<World>,
    instance: usize,
    fresh_ms: i64,
    own: Mutex<Kept>,
    announced: broadcast::Sender<EventId>,
    /// The next read panics, as a bug of ours would.
    pub panics: Arc<AtomicBool>,
}

impl SharedGate {
    /// One that has settled nothing yet.
    pub fn new(world: &Arc<World>, instance: usize, fresh_ms: i64) -> Self {
        Self {
            world: world.clone(),
            instance,
            fresh_ms,
            own: Mutex::default(),
            announced: broadcast::channel(1).0,
            panics: Arc::default(),
        }
    }
}

/// Takes note of a snapshot that was settled at `at_ms`; the server drops what is old by then. Returns
/// whether a newer one that was fresh had to give way to it.
pub fn settle(kept: &mut Kept, snapshot: Snapshot, at_ms: i64, now_ms: i64, fresh_ms: i64) -> bool {
    let counts_arrival = is_planted("news counts as of its arrival");
    if !counts_arrival && !(0..=fresh_ms).contains(&(now_ms - at_ms)) {
        return false;
    }
    let section_id = snapshot.section_id;
    let held = kept.get(&section_id).copied();
    let newest = held.filter(|held| held.is_fresh(now_ms, fresh_ms)).map(|of| of.snapshot.version);
    let held = held.filter(|_| !is_planted("settle without version"));
    let was = held.filter(|held| held.is_fresh(now_ms, fresh_ms));
    let mut new = CheckedSnapshot::settle(held, snapshot, now_ms, fresh_ms);
    if new.checked_at_ms == now_ms && !counts_arrival {
        // It does not get older by arriving twice.
        let before = was.filter(|was| was.snapshot == new.snapshot).map(|was| was.checked_at_ms);
        new.checked_at_ms = before.map_or(at_ms, |before| before.max(at_ms));
    }
    let version = new.snapshot.version;
    kept.insert(section_id, new);
    newest.is_some_and(|newest| version < newest)
}

#[async_trait]
impl Gate for SharedGate {
    async fn read(&self, sections: &[SectionId]) -> Vec<Option<Snapshot>> {
        assert!(!self.panics.swap(false, Ordering::Relaxed), "a panic of the gate");
        let own = self.recall(sections);
        let (wanted, fresh_ms) = (sections.to_vec(), self.fresh_ms);
        let read = self.world.step((self.instance, 0), Step::GateRead, move |database| {
            let now_ms = database.now.unix_ms();
            let known = |id: &SectionId| {
                let kept = database.gate.get(id).filter(|kept| kept.is_fresh(now_ms, fresh_ms))?;
                Some(kept.snapshot)
            };
            Tried::Done(wanted.iter().map(known).collect::<Vec<_>>())
        });
        // A gate that is away knows nothing but what is its own.
        let Ok(Ok(told)) = tokio::time::timeout(PATIENCE, read).await else { return own };
        let newer = |(own, told): (Option<Snapshot>, Option<Snapshot>)| match (own, told) {
            (Some(own), Some(told)) => Some(if told.replaces(&own) { told } else { own }),
            (own, told) => own.or(told),
        };
        own.into_iter().zip(told).map(newer).collect()
    }

    fn recall(&self, sections: &[SectionId]) -> Vec<Option<Snapshot>> {
        let (own, now_ms) = (self.own.lock(), self.world.now().unix_ms());
        let known = |id: &SectionId| {
            own.get(id).filter(|kept| kept.is_fresh(now_ms, self.fresh_ms)).map(|of| of.snapshot)
        };
        sections.iter().map(known).collect()
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn settle(&self, settlement: Settlement) {
        let at_ms = self.world.now().unix_ms();
        let mut own = self.own.lock();
        for snapshot in settlement.snapshots {
            settle(&mut own, snapshot, at_ms, at_ms, self.fresh_ms);
            self.world.tell_gate(self.instance, snapshot, at_ms, self.fresh_ms);
        }
    }

    async fn forget(&self, sections: &[SectionId]) {
        self.own.lock().retain(|id, _| !sections.contains(id));
        let sections = sections.to_vec();
        let forget = self.world.step((self.instance, 0), Step::GateForget, move |database| {
            database.gate.retain(|id, _| !sections.contains(id));
            Tried::Done(())
        });
        // Whether it arrived is unknown then; what is kept lapses.
        let _ = tokio::time::timeout(PATIENCE, forget).await;
    }

    fn enter(&self, _: Epoch) {
        self.own.lock().clear();
    }

    fn announce(&self, _: EventId) {}

    fn announcements(&self) -> broadcast::Receiver<EventId> {
        self.announced.subscribe()
    }

    async fn tally(&self, _: &[(String, u32)], _: u64) -> Option<Vec<u64>> {
        None
    }

    async fn ping(&self) -> Result<(), Fault> {
        Ok(())
    }

    fn describe(&self) -> String {
        "simulated".to_owned()
    }
}
