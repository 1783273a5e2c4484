//! The machine: instances, clients and the database, one event after the other.
//!
//! An instance runs in a paused runtime of its own until nothing of it moves: then each of its tasks waits
//! for a step of the database, or for time. The machine picks what happens next, and lets those continue
//! who waited for it.

mod clients;
mod ending;
mod faults;
mod swarm;

use crate::check::{self, Checks};
use crate::choices::{Choice, Choices};
use crate::gate::SharedGate;
use crate::store::SimStore;
use crate::world::{Fate, Step, World};
use engine::{Command, Error, EventId, Fault, Policy, SectionId, Shard, Timestamp, UserId};
use server::simulated::{Decided, Lanes, Metrics, Reconcile, Vitals};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use store::gate::{GateOptions, Local};
use store::random::Dice;
use store::simulated::take_seen;
use store::{Batches, Gate, Seats};
use suite::world::usd;
use swarm::Swarm;
use tokio::runtime::Runtime;

/// How long a snapshot of a gate may refuse, and how old it may be when it is settled.
pub const FRESH_MS: i64 = 1_000;
pub const NEWS_MAX_MS: i64 = 1_000;
/// Events after which a run that comes to no end is called a livelock.
const EVENTS_MAX: usize = 60_000;
/// How long a batch may try, in seconds.
const BATCHES_END_S: usize = 6;
/// How long the database keeps a transaction of which it hears nothing.
const IDLE_MAX_MS: i64 = 1_500;

thread_local! {
    static METRICS: Arc<Metrics> = Arc::new(Metrics::unread());
}

/// How a run is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// Whether each event is written down.
    pub trace: bool,
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Ran {
    /// How often each thing was seen.
    pub seen: BTreeMap<String, u64>,
    /// A digest of all that happened.
    pub digest: u64,
    /// How many events there were.
    pub events: usize,
    /// What was decided.
    pub choices: Vec<Choice>,
    /// What happened, where that was asked for.
    pub told: String,
}

/// Something that must not be.
#[derive(Debug)]
pub struct Finding {
    /// What.
    pub what: String,
    /// What happened until then, where that was asked for.
    pub told: String,
}

/// A process.
struct Instance {
    /// `None`: it has crashed.
    runtime: Option<Runtime>,
    parts: Option<Parts>,
    /// Its own time.
    now_ms: i64,
    frozen_until_ms: i64,
    is_working: bool,
}

struct Parts {
    lanes: Lanes,
    store: Arc<SimStore>,
    gate: Arc<dyn Gate>,
    reconcile: Arc<tokio::sync::Mutex<Reconcile>>,
    /// Set: the gate panics when it is read next.
    panics: Option<Arc<AtomicBool>>,
}

/// What became of an attempt of a client.
#[derive(Clone, Debug)]
pub enum State {
    /// It waits for an answer.
    Asked,
    /// It has one.
    Answered(Result<Decided, Error>),
    /// Its instance has crashed.
    Lost,
}

/// Something that a client asked for.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub command: Command,
    pub instance: usize,
    pub asked_at: Timestamp,
    pub answered_at: Option<Timestamp>,
    pub state: State,
}

impl Attempt {
    /// Whether it may have happened, as far as its client knows.
    pub fn is_unknown(&self) -> bool {
        match &self.state {
            State::Lost => true,
            State::Answered(Err(Error::Failed(fault))) => {
                !matches!(fault, Fault::Overloaded { .. })
            }
            _ => false,
        }
    }
}

struct Machine {
    world: Arc<World>,
    choices: Choices,
    swarm: Swarm,
    policy: Policy,
    instances: Vec<Instance>,
    attempts: Vec<Attempt>,
    checks: Checks,
    people: Vec<UserId>,
    event_id: EventId,
    sections: Vec<SectionId>,
    minted: u64,
    events: usize,
    trace: Option<String>,
    seen: BTreeMap<String, u64>,
    /// How often a step happened while another instance waited for one.
    beside: BTreeMap<(Step, Step), u64>,
    digest: u64,
}

/// Runs a sale.
pub fn run(choices: Choices, settings: Settings) -> (Ran, Option<Finding>) {
    let machine = RefCell::new(None);
    let done = catch_unwind(AssertUnwindSafe(|| {
        *machine.borrow_mut() = Some(Machine::new(choices, settings));
        let mut machine = machine.borrow_mut();
        machine.as_mut().expect("it was just made").run()
    }));
    let Some(mut machine) = machine.into_inner() else {
        let what = "it could not begin".to_owned();
        return (Ran::default(), Some(Finding { what, told: String::new() }));
    };
    let what = match done {
        Ok(Ok(())) => None,
        Ok(Err(what)) => Some(what),
        Err(panic) => Some(check::words_of(&*panic)),
    };
    for (probe, times) in take_seen() {
        *machine.seen.entry(format!("probe: {probe}")).or_default() += times;
    }
    for ((step, other), times) in &machine.beside {
        *machine.seen.entry(format!("beside: {step:?} {other:?}")).or_default() += times;
    }
    let ran = Ran {
        seen: std::mem::take(&mut machine.seen),
        digest: machine.digest,
        events: machine.events,
        choices: machine.choices.taken().to_vec(),
        told: machine.trace.take().unwrap_or_default(),
    };
    let told = ran.told.clone();
    (ran, what.map(|what| Finding { what, told }))
}

impl Machine {
    fn new(mut choices: Choices, settings: Settings) -> Self {
        let swarm = Swarm::draw(&mut choices);
        let start = Timestamp::from_unix_ms(1_893_456_000_000);
        let world = World::new(start);
        let policy = Policy {
            hold_ttl_ms: 3_000 + 3_000 * i64::try_from(choices.pick("lifetime", 3)).expect("small"),
            hold_max_life_ms: 10_000,
            max_seats_per_booking: 1_000,
            max_seats_per_user: None,
        };
        let mut machine = Self {
            event_id: EventId::new(start, Shard::pick(7), 1),
            people: (0..4).map(|no| UserId::new(start, Shard::pick(0), no)).collect(),
            world,
            choices,
            policy,
            instances: Vec::new(),
            attempts: Vec::new(),
            checks: Checks::default(),
            sections: Vec::new(),
            minted: 10,
            events: 0,
            trace: settings.trace.then(String::new),
            seen: BTreeMap::new(),
            beside: BTreeMap::new(),
            digest: 0xcbf2_9ce4_8422_2325,
            swarm,
        };
        machine.open_event();
        for no in 0..machine.swarm.instances {
            machine.instances.push(Instance {
                runtime: None,
                parts: None,
                now_ms: 0,
                frozen_until_ms: 0,
                is_working: false,
            });
            machine.start(no);
        }
        machine
    }

    fn mint(&mut self) -> u64 {
        self.minted += 1;
        self.minted
    }

    fn open_event(&mut self) {
        let mint = suite::world::Mint::new(&suite::world::ManualClock::new());
        let mut new = mint.event_on_sale(self.people[0]);
        new.event.terms.event_id = self.event_id;
        if self.swarm.capped {
            new.event.terms.max_seats_per_user = Some(4);
        }
        let mut openings = Vec::new();
        for no in 0..self.swarm.sections {
            let capacity = [3_i64, 10, 40][self.choices.pick("capacity", 3)];
            let section_id = SectionId::new(self.world.now(), self.event_id.shard(), self.mint());
            self.sections.push(section_id);
            new.sections.push(engine::Section {
                section_id,
                event_id: self.event_id,
                name: format!("{}", char::from(b'A' + u8::try_from(no).expect("few"))).into(),
                price: usd(1_250),
                layout_version: None,
            });
            openings.push(capacity.into());
        }
        let created = engine::event::create(&new, None, &openings, self.world.now());
        let (log, opened) = created.expect("an event that can be made");
        let mut inner = self.world.lock();
        inner.database.tables.log.push(log);
        for opened in opened {
            inner.database.tables.open(opened);
        }
        inner.database.tables.events.insert(self.event_id, new.event);
        self.checks.begin(&inner.database);
    }

    /// Starts an instance.
    fn start(&mut self, no: usize) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without a system around it");
        let state = AtomicU64::new(0x5eed + no as u64);
        let dice: Dice = Arc::new(move || {
            state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed).rotate_left(17)
        });
        let ahead_ms = if self.swarm.ahead { [0, 50, -300][no % 3] } else { 0 };
        let guard = runtime.enter();
        let store = Arc::new(SimStore::new(&self.world, no, ahead_ms, self.policy, dice));
        let fresh_ms = FRESH_MS.unsigned_abs();
        let (gate, panics): (Arc<dyn Gate>, _) = if self.swarm.shared_gate {
            let gate = SharedGate::new(&self.world, no, FRESH_MS);
            let panics = gate.panics.clone();
            (Arc::new(gate), Some(panics))
        } else {
            (Arc::new(Local::new(GateOptions { fresh_ms })), None)
        };
        let (batches, seats) = (store.clone() as Arc<dyn Batches>, store.clone() as Arc<dyn Seats>);
        let metrics = METRICS.with(Clone::clone);
        let (lanes, work) = Lanes::parts(1, &batches, seats, &gate, &metrics, &Vitals::default());
        runtime.spawn(work);
        drop(guard);
        let instance = &mut self.instances[no];
        instance.runtime = Some(runtime);
        instance.parts = Some(Parts { lanes, store, gate, reconcile: Arc::default(), panics });
        instance.now_ms = self.world.lasts_ms();
        instance.frozen_until_ms = 0;
        instance.is_working = false;
    }

    /// Lets an instance go on until nothing of it moves, with its time up to that of the world.
    fn go_on(&mut self, no: usize) {
        let now_ms = self.world.lasts_ms();
        let instance = &mut self.instances[no];
        if instance.frozen_until_ms > now_ms {
            return;
        }
        let Some(runtime) = &instance.runtime else { return };
        let passed = (now_ms - instance.now_ms).max(1).unsigned_abs();
        instance.now_ms = now_ms;
        runtime.block_on(async {
            // Of a process that stood still, the clock has gone on: nothing of it runs at the old time.
            tokio::time::advance(Duration::from_millis(passed - 1)).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        });
    }

    fn tell(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            let _ = writeln!(trace, "{:>7} {}", self.world.lasts_ms(), what());
        }
    }

    fn note(&mut self, what: &str) {
        match self.seen.get_mut(what) {
            Some(times) => *times += 1,
            None => drop(self.seen.insert(what.to_owned(), 1)),
        }
    }

    fn mix(&mut self, value: u64) {
        self.digest = (self.digest ^ value).wrapping_mul(0x0100_0000_01b3);
    }

    fn mix_words(&mut self, words: &str) {
        for byte in words.bytes() {
            self.mix(u64::from(byte));
        }
    }

    fn run(&mut self) -> Result<(), String> {
        let swarm = self.swarm.clone();
        self.tell(|| format!("{swarm:?}"));
        let mut left = self.swarm.commands;
        while left > 0 || self.is_asked() {
            self.event(&mut left, true)?;
        }
        self.end()
    }

    fn is_asked(&self) -> bool {
        self.attempts.iter().any(|attempt| matches!(attempt.state, State::Asked))
    }

    /// One event: a step of the database, a client, a worker, a fault, or time.
    fn event(&mut self, left: &mut usize, with_faults: bool) -> Result<(), String> {
        self.events += 1;
        if self.events > EVENTS_MAX {
            return Err("it comes to no end".to_owned());
        }
        self.world.advance(1);
        if with_faults {
            self.faults();
        }
        let overdue = self.world.lock().overdue();
        if let Some(at) = overdue {
            return self.step(at, Fate::TimesOut);
        }
        let ready: Vec<usize> = self.world.lock().ready().collect();
        let asked = self.attempts.iter().filter(|of| matches!(of.state, State::Asked)).count();
        let can_ask = *left > 0 && asked < self.swarm.at_once;
        let ways = ready.len() + usize::from(can_ask);
        if ways == 0
            || with_faults && self.swarm.ticks > 0 && self.choices.happens("tick", self.swarm.ticks)
        {
            return self.time_passes(with_faults);
        }
        let pick = self.choices.pick("next", ways);
        if pick >= ready.len() {
            *left -= 1;
            return self.ask();
        }
        let at = ready[pick];
        let fate = if with_faults { self.fate(at) } else { Some(Fate::Happens) };
        match fate {
            Some(fate) => self.step(at, fate),
            None => Ok(()),
        }
    }

    /// Lets a step of the database happen, and its instance continue.
    fn step(&mut self, at: usize, fate: Fate) -> Result<(), String> {
        let mut inner = self.world.lock();
        let (instance, step, is_orphan) =
            (inner.pending[at].instance, inner.pending[at].step, inner.pending[at].is_orphan);
        for other in inner.pending.iter().filter(|other| other.instance != instance) {
            *self.beside.entry((step, other.step)).or_default() += 1;
        }
        let ran = inner.run(at, fate);
        let touched = std::mem::take(&mut inner.database.touched);
        let checked = self.checks.committed(&inner.database, &touched);
        let deadlocks = inner.database.deadlocks;
        let went_back = inner.database.gate_went_back;
        let orphan_keys = inner.database.orphan_keys;
        drop(inner);
        if orphan_keys {
            return Err("I6: a key is left behind that names no booking".to_owned());
        }
        if went_back {
            return Err("I8: the gate keeps an older version for a newer one".to_owned());
        }
        if deadlocks > 0 {
            return Err("two transactions waited for each other: locks have one order".to_owned());
        }
        checked?;
        self.tell(|| {
            let orphan = if is_orphan { " (nobody waits for it)" } else { "" };
            let waits = if ran.is_none() { " and waits" } else { "" };
            format!("instance {instance}: {step:?} {fate:?}{waits}{orphan}")
        });
        self.mix(u64::from(step as u8) << 8 | instance as u64);
        self.mix_words(&format!("{fate:?}"));
        if ran.is_none() && !matches!(fate, Fate::Late(_) | Fate::CutLater(_)) {
            self.note("waits for a lock");
            return Ok(());
        }
        if fate != Fate::Happens {
            let how = match fate {
                Fate::Late(_) => "Late".to_owned(),
                Fate::CutLater(_) => "CutLater".to_owned(),
                other => format!("{other:?}"),
            };
            self.note(&format!("{step:?} {how}"));
        }
        if is_orphan && !touched.is_empty() {
            self.note("a commit whose instance had left");
        }
        if !is_orphan && (ran.is_some() || matches!(fate, Fate::CutLater(_))) {
            self.go_on(instance);
        }
        self.hear()
    }

    /// Nothing happens but time.
    fn time_passes(&mut self, at_will: bool) -> Result<(), String> {
        let ms = if at_will { [5, 40, 400, 2_500][self.choices.pick("time", 4)] } else { 10 };
        self.world.advance(ms);
        let mut inner = self.world.lock();
        for session in inner.database.forgotten(IDLE_MAX_MS) {
            inner.roll_back(session);
        }
        drop(inner);
        for no in 0..self.instances.len() {
            self.go_on(no);
        }
        self.mix(ms.unsigned_abs());
        self.hear()
    }
}
