//! The gate of instances that share one: what a Redis does, with its delays and its losses.
//!
//! Each instance keeps what it has settled itself, and tells the others through the server; both by the
//! clock of the server, which is that of the world here. What it tells may be late, lost, or arrive in any
//! order.

use crate::panics::INJECTED;
use crate::world::{Step, Tried, World};
use async_trait::async_trait;
use engine::{AnyId, CheckedSnapshot, Fault, SectionId, Snapshot};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use store::gate::{CheckedMarks, GateOptions, KnownMarks, Own, Settlement, Unsent};
use store::simulated::is_planted;
use store::{Epoch, Gate};
use tokio::sync::broadcast;

/// What the server keeps of sections.
#[derive(Default)]
pub struct Kept {
    /// Snapshots.
    pub snapshots: BTreeMap<SectionId, CheckedSnapshot>,
    /// Marks of sections with numbered seats.
    pub marks: BTreeMap<SectionId, CheckedMarks>,
}

/// How long an instance waits for an answer of the server.
const PATIENCE: Duration = Duration::from_millis(100);

/// The gate of an instance.
pub struct SharedGate {
    world: Arc<World>,
    instance: usize,
    fresh_ms: i64,
    own: Mutex<Own>,
    announced: broadcast::Sender<AnyId>,
    /// The next read panics, as a bug of ours would.
    pub panics: Arc<AtomicBool>,
}

impl SharedGate {
    /// One that has settled nothing yet.
    pub fn new(world: &Arc<World>, instance: usize, options: GateOptions) -> Self {
        Self {
            world: world.clone(),
            instance,
            fresh_ms: i64::try_from(options.fresh_ms).expect("short"),
            own: Mutex::new(Own::new(options)),
            announced: broadcast::channel(1).0,
            panics: Arc::default(),
        }
    }
}

impl Kept {
    /// Takes note of a snapshot that was settled a while ago. Returns whether a newer one that was fresh had
    /// to give way to it.
    pub fn settle(&mut self, new: CheckedSnapshot, now_ms: i64, fresh_ms: i64) -> bool {
        let (snapshot, at_ms) = (new.snapshot, new.checked_at_ms);
        let counts_arrival = is_planted("news counts as of its arrival");
        if !counts_arrival && !(0..=fresh_ms).contains(&(now_ms - at_ms)) {
            return false;
        }
        let section_id = snapshot.section_id;
        let held = self.snapshots.get(&section_id).copied();
        let newest = held.filter(|held| held.is_fresh(now_ms, fresh_ms));
        let newest = newest.map(|of| of.snapshot.version);
        let held = held.filter(|_| !is_planted("settle without version"));
        let was = held.filter(|held| held.is_fresh(now_ms, fresh_ms));
        let mut new = CheckedSnapshot::settle(held, snapshot, now_ms, fresh_ms);
        if new.checked_at_ms == now_ms && !counts_arrival {
            // It does not get older by arriving twice.
            let before =
                was.filter(|was| was.snapshot == new.snapshot).map(|was| was.checked_at_ms);
            new.checked_at_ms = before.map_or(at_ms, |before| before.max(at_ms));
        }
        let version = new.snapshot.version;
        self.snapshots.insert(section_id, new);
        newest.is_some_and(|newest| version < newest)
    }

    /// The same of marks.
    pub fn settle_marks(&mut self, new: CheckedMarks, now_ms: i64, fresh_ms: i64) {
        if new.is_fresh(now_ms, fresh_ms) {
            let section_id = new.seen.section_id;
            let held = self.marks.remove(&section_id);
            let kept = CheckedMarks::settle(held, new.seen, now_ms, fresh_ms);
            self.marks.insert(section_id, kept);
        }
    }
}

#[async_trait]
impl Gate for SharedGate {
    async fn read(&self, sections: &[SectionId]) -> Vec<Option<Snapshot>> {
        assert!(!self.panics.swap(false, Ordering::Relaxed), "{INJECTED}");
        let (wanted, fresh_ms) = (sections.to_vec(), self.fresh_ms);
        let read = self.world.step((self.instance, 0), Step::GateRead, move |database| {
            let now_ms = database.now.unix_ms();
            let known = |id: &SectionId| {
                let kept = database.gate.snapshots.get(id)?;
                kept.is_fresh(now_ms, fresh_ms).then_some(kept.snapshot)
            };
            Tried::Done(wanted.iter().map(known).collect::<Vec<_>>())
        });
        // A gate that is away knows nothing but what is its own.
        let told = tokio::time::timeout(PATIENCE, read).await;
        let own = self.recall(sections);
        let Ok(Ok(told)) = told else { return own };
        let newer = |(own, told): (Option<Snapshot>, Option<Snapshot>)| match (own, told) {
            (Some(own), Some(told)) => Some(if told.replaces(&own) { told } else { own }),
            (own, told) => own.or(told),
        };
        own.into_iter().zip(told).map(newer).collect()
    }

    fn recall(&self, sections: &[SectionId]) -> Vec<Option<Snapshot>> {
        let (own, now_ms) = (self.own.lock(), self.world.now().unix_ms());
        sections.iter().map(|id| own.snapshot(*id, now_ms)).collect()
    }

    async fn marks(&self, sections: &[SectionId]) -> Vec<Option<KnownMarks>> {
        let wanted = sections.to_vec();
        let read = self.world.step((self.instance, 0), Step::GateMarks, move |database| {
            let known = |id: &SectionId| Some(database.gate.marks.get(id)?.seen.clone());
            Tried::Done(wanted.iter().map(known).collect::<Vec<_>>())
        });
        let told = tokio::time::timeout(PATIENCE, read).await;
        let own = self.recall_marks(sections);
        let Ok(Ok(told)) = told else { return own };
        own.into_iter().zip(told).map(|(own, told)| KnownMarks::newer(own, told)).collect()
    }

    fn recall_marks(&self, sections: &[SectionId]) -> Vec<Option<KnownMarks>> {
        let own = self.own.lock();
        sections.iter().map(|id| own.marks(*id)).collect()
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn settle(&self, settlement: Settlement) {
        let at_ms = self.world.now().unix_ms();
        for told in &settlement.marks {
            self.world.lock().database.check_marks(told);
        }
        let mut own = self.own.lock();
        own.settle(settlement, at_ms);
        let Unsent { mut snapshots, mut marks } = own.take_unsent(at_ms);
        // What is hashed comes in another order each time.
        snapshots.sort_by_key(|of| of.snapshot.section_id);
        marks.sort_by_key(|of| of.seen.section_id);
        let (of, fresh_ms) = (self.instance, self.fresh_ms);
        for new in snapshots {
            self.world.tell_gate(of, move |gate, now_ms| gate.settle(new, now_ms, fresh_ms));
        }
        for new in marks {
            self.world.tell_gate(of, move |gate, now_ms| {
                gate.settle_marks(new.clone(), now_ms, fresh_ms);
                false
            });
        }
    }

    async fn forget(&self, sections: &[SectionId]) {
        for section_id in sections {
            self.own.lock().forget(*section_id);
        }
        let sections = sections.to_vec();
        let forget = self.world.step((self.instance, 0), Step::GateForget, move |database| {
            for section_id in &sections {
                database.gate.snapshots.remove(section_id);
                database.gate.marks.remove(section_id);
            }
            Tried::Done(())
        });
        // Whether it arrived is unknown then; what is kept lapses.
        let _ = tokio::time::timeout(PATIENCE, forget).await;
    }

    fn enter(&self, _: Epoch) {
        self.own.lock().clear();
    }

    fn announce(&self, _: AnyId) {}

    fn announcements(&self) -> broadcast::Receiver<AnyId> {
        self.announced.subscribe()
    }

    async fn tally(&self, _: &[(String, i64)], _: u64) -> Option<Vec<i64>> {
        None
    }

    async fn ping(&self) -> Result<(), Fault> {
        Ok(())
    }

    fn describe(&self) -> String {
        "simulated".to_owned()
    }
}
