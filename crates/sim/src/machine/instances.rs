//! The instances of a run, and the event that they sell.

use super::{FRESH_MS, METRICS, Machine, NARROW};
use crate::gate::SharedGate;
use crate::store::SimStore;
use engine::{Opening, SectionId};
use server::simulated::{Desk, Lanes, Reconcile, Sizes, Vitals};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use store::gate::{GateOptions, Local};
use store::random::Dice;
use store::{Batches, Gate, Seats};
use suite::world::usd;
use tokio::runtime::Runtime;

/// A process.
pub(super) struct Instance {
    /// `None`: it has crashed.
    pub runtime: Option<Runtime>,
    pub parts: Option<Parts>,
    /// Its own time.
    pub now_ms: i64,
    pub frozen_until_ms: i64,
    pub is_working: bool,
    /// Changes of the event under way here.
    pub changes: usize,
    /// What its dice show next: those of its next life go on from there.
    pub dice: Arc<AtomicU64>,
}

pub(super) struct Parts {
    pub lanes: Lanes,
    pub desk: Arc<Desk>,
    pub store: Arc<SimStore>,
    pub gate: Arc<dyn Gate>,
    pub reconcile: Arc<tokio::sync::Mutex<Reconcile>>,
    /// Set: the gate panics when it is read next.
    pub panics: Option<Arc<AtomicBool>>,
}

impl Machine {
    /// Puts the event of this run on sale.
    pub(super) fn open_event(&mut self) {
        let mint = suite::world::Mint::new(&suite::world::ManualClock::new());
        let mut new = mint.event_on_sale(self.people[0]);
        new.event.terms.event_id = self.event_id;
        if self.swarm.capped {
            new.event.terms.max_seats_per_user = Some(4);
        }
        let mut openings = Vec::new();
        for no in 0..self.swarm.sections {
            let capacity = [3_i64, 10, 40][self.size("capacity")];
            let section_id = SectionId::new(self.world.now(), self.event_id.shard(), self.mint());
            self.sections.push(section_id);
            new.sections.push(engine::Section {
                section_id,
                event_id: self.event_id,
                name: format!("{}", char::from(b'A' + u8::try_from(no).expect("few"))).into(),
                price: usd(1_250),
                layout_version: None,
            });
            openings.push(if no < self.swarm.numbered {
                let layout = [("A", 4), ("A-B", 4), ("A-C", 6)][self.size("hall")];
                let layout = suite::halls::plain(layout.0, layout.1);
                self.halls.insert(section_id, layout.clone());
                Opening::Layout(layout)
            } else {
                capacity.into()
            });
        }
        let created = engine::event::create(
            &new,
            suite::world::owner(&new),
            None,
            &openings,
            self.world.now(),
        );
        let (log, opened) = created.expect("an event that can be made");
        let mut inner = self.world.lock();
        inner.database.tables.log.push(log);
        for opened in opened {
            inner.database.tables.open(opened);
        }
        inner.database.begun_by = Some(new.event.terms.organizer_id);
        inner.database.tables.events.insert(self.event_id, new.event);
        inner.database.note_marks();
        self.checks.begin(&inner.database);
    }

    /// One of three sizes, the smallest first.
    fn size(&mut self, of: &'static str) -> usize {
        if self.swarm.small { 0 } else { self.choices.pick(of, 3) }
    }

    /// Starts an instance.
    pub(super) fn start(&mut self, no: usize) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without a system around it");
        let state = self.instances[no].dice.clone();
        let dice: Dice = Arc::new(move || {
            state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed).rotate_left(17)
        });
        let ahead_ms = if self.swarm.ahead { [0, 50, -300][no % 3] } else { 0 };
        let guard = runtime.enter();
        let store = Arc::new(SimStore::new(&self.world, no, ahead_ms, self.policy, dice));
        let options = GateOptions { fresh_ms: FRESH_MS.unsigned_abs() };
        let (gate, panics): (Arc<dyn Gate>, _) = if self.swarm.shared_gate {
            let gate = SharedGate::new(&self.world, no, options);
            let panics = gate.panics.clone();
            (Arc::new(gate), Some(panics))
        } else {
            (Arc::new(Local::new(options)), None)
        };
        let sizes = if self.swarm.narrow { NARROW } else { Sizes::default() };
        let (batches, seats) = (store.clone() as Arc<dyn Batches>, store.clone() as Arc<dyn Seats>);
        let metrics = METRICS.with(Clone::clone);
        let (lanes, work) =
            Lanes::parts(1, sizes, &batches, seats, &gate, &metrics, &Vitals::default());
        runtime.spawn(work);
        let desk = Desk::open_here();
        runtime.spawn(desk.clone().hand_out());
        drop(guard);
        let instance = &mut self.instances[no];
        instance.runtime = Some(runtime);
        instance.parts =
            Some(Parts { lanes, desk, store, gate, reconcile: Arc::default(), panics });
        instance.now_ms = self.world.lasts_ms();
        instance.frozen_until_ms = 0;
        instance.is_working = false;
        instance.changes = 0;
    }

    /// Lets an instance go on until nothing of it moves, with its time up to that of the world.
    pub(super) fn go_on(&mut self, no: usize) {
        let now_ms = self.world.lasts_ms();
        let instance = &mut self.instances[no];
        if instance.frozen_until_ms > now_ms {
            return;
        }
        let (Some(runtime), Some(parts)) = (&instance.runtime, &instance.parts) else { return };
        // All instances run on one thread.
        parts.desk.serve_here();
        let passed = (now_ms - instance.now_ms).max(1).unsigned_abs();
        instance.now_ms = now_ms;
        runtime.block_on(async {
            // Of a process that stood still, the clock has gone on: nothing of it runs at the old time.
            tokio::time::advance(Duration::from_millis(passed - 1)).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        });
    }
}
