//! The machine: instances, clients and the database, one event after the other.
//!
//! An instance runs in a paused runtime of its own until nothing of it moves: then each of its tasks waits
//! for a step of the database, or for time. The machine picks what happens next, and lets whoever it concerns
//! go on.

use crate::check::{self, Checks};
use crate::choices::{Choice, Choices};
use crate::gate::SharedGate;
use crate::store::SimStore;
use crate::world::{Answered, Fate, Step, Worked, World};
use engine::{
    BookingId, By, Command, Error, EventId, Fault, Hold, IdempotencyKey, Outcome, Policy,
    SeatRequest, SectionId, Shard, Timestamp, UserId,
};
use server::simulated::{Decided, Lanes, Metrics, Reconcile, Vitals, sweep_once};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use store::gate::{GateOptions, Local};
use store::random::Dice;
use store::simulated::take_seen;
use store::{Batches, Gate, Seats};
use suite::world::{fingerprint, usd};
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
    /// Whether each event is told.
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

/// Which faults and sizes there are in this run.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is there or not")]
struct Swarm {
    instances: usize,
    sections: usize,
    commands: usize,
    at_once: usize,
    capped: bool,
    carts: bool,
    keys: bool,
    cuts: u32,
    delays: u32,
    crashes: u32,
    freezes: u32,
    outages: u32,
    ticks: u32,
    workers: u32,
    ahead: bool,
    shared_gate: bool,
    poison: u32,
    panics: u32,
}

impl Swarm {
    fn draw(choices: &mut Choices) -> Self {
        // Of each fault: none, rare, frequent.
        let mut fault = |kind, rare: u32, frequent: u32| match choices.pick(kind, 4) {
            0 | 1 => 0,
            2 => rare,
            _ => frequent,
        };
        let (cuts, delays) = (fault("cuts", 100, 12), fault("delays", 80, 15));
        let (crashes, freezes) = (fault("crashes", 400, 120), fault("freezes", 300, 80));
        let outages = fault("outages", 500, 150);
        Self {
            instances: 1 + choices.pick("instances", 3),
            sections: 1 + choices.pick("sections", 3),
            commands: 20 + 20 * choices.pick("commands", 5),
            at_once: 1 + choices.pick("at once", 24),
            capped: choices.pick("capped", 3) == 1,
            carts: choices.pick("carts", 2) == 1,
            keys: choices.pick("keys", 2) == 1,
            ticks: [0, 400, 60][choices.pick("ticks", 3)],
            workers: [0, 60, 6][choices.pick("workers", 3)],
            ahead: choices.pick("ahead", 2) == 1,
            shared_gate: choices.pick("shared gate", 2) == 1,
            poison: [0, 0, 40][choices.pick("poison", 3)],
            panics: [0, 0, 150][choices.pick("panics", 3)],
            cuts,
            delays,
            crashes,
            freezes,
            outages,
        }
    }
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

    /// Whether nothing is in the way in this run: then nothing is unknown.
    fn is_calm(&self) -> bool {
        let swarm = &self.swarm;
        let faults =
            [swarm.cuts, swarm.delays, swarm.crashes, swarm.freezes, swarm.outages, swarm.panics];
        faults.iter().all(|fault| *fault == 0) && swarm.ticks == 0
    }

    fn fate(&mut self, at: usize) -> Option<Fate> {
        if self.swarm.cuts > 0 && self.choices.happens("cut", self.swarm.cuts) {
            let late = [300, 1_200, 2_400][self.choices.pick("late", 3)];
            let commits = self.world.lock().pending[at].step.commits();
            let later = if commits { Fate::CutLater(late) } else { Fate::CutBefore };
            let fates = [Fate::CutBefore, Fate::CutAfter, Fate::Late(late), later];
            return Some(fates[self.choices.pick("when", 4)]);
        }
        if self.swarm.delays > 0 && self.choices.happens("delay", self.swarm.delays) {
            let ms = [20, 300, 1_700, 6_000][self.choices.pick("for", 4)];
            let now = self.world.now();
            self.world.lock().pending[at].not_before = now.plus_ms(ms);
            self.tell(|| format!("step {at} is {ms} ms late"));
            return None;
        }
        Some(Fate::Happens)
    }

    fn faults(&mut self) {
        if self.swarm.crashes > 0 && self.choices.happens("crash", self.swarm.crashes) {
            let no = self.choices.pick("which", self.instances.len());
            self.crash(no);
            self.start(no);
        }
        if self.swarm.freezes > 0 && self.choices.happens("freeze", self.swarm.freezes) {
            let no = self.choices.pick("which", self.instances.len());
            let ms = [200, 1_800, 4_000][self.choices.pick("for", 3)];
            self.instances[no].frozen_until_ms = self.world.lasts_ms() + ms;
            self.tell(|| format!("instance {no} freezes for {ms} ms"));
            self.note("freeze");
        }
        if self.swarm.panics > 0 && self.choices.happens("panic", self.swarm.panics) {
            let no = self.choices.pick("which", self.instances.len());
            let parts = self.instances[no].parts.as_ref();
            if let Some(panics) = parts.and_then(|parts| parts.panics.as_ref()) {
                panics.store(true, Ordering::Relaxed);
                self.tell(|| format!("the gate of instance {no} will panic"));
            }
        }
        if self.swarm.outages > 0 && self.choices.happens("outage", self.swarm.outages) {
            let ms = [50, 900, 3_000][self.choices.pick("for", 3)];
            let until = self.world.now().plus_ms(ms);
            self.world.lock().down_until = until;
            self.tell(|| format!("nobody can connect for {ms} ms"));
            self.note("outage");
        }
    }

    fn crash(&mut self, no: usize) {
        self.tell(|| format!("instance {no} crashes"));
        self.note("crash");
        self.checks.crashed(no);
        self.instances[no].parts = None;
        drop(self.instances[no].runtime.take());
        for attempt in self.attempts.iter_mut().filter(|attempt| attempt.instance == no) {
            if matches!(attempt.state, State::Asked) {
                attempt.state = State::Lost;
            }
        }
        // What it still wanted to say was heard by nobody.
        let mut inner = self.world.lock();
        inner.answers.retain(|answered| self.attempts[answered.attempt].instance != no);
        inner.worked.retain(|worked| worked.instance != no);
    }

    /// Lets a step of the database happen, and whoever asked for it go on.
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

    /// A client asks for something, or a worker takes a turn.
    fn ask(&mut self) -> Result<(), String> {
        let no = self.choices.pick("instance", self.instances.len());
        if self.swarm.workers > 0 && self.choices.happens("worker", self.swarm.workers) {
            return self.work(no);
        }
        let command = self.command();
        if self.swarm.poison > 0
            && let Command::Hold(hold) = &command
            && self.choices.happens("poison", self.swarm.poison)
        {
            self.world.lock().poison.insert(hold.booking_id);
            self.note("a command that makes its batch fail");
        }
        self.submit(no, command)
    }

    fn submit(&mut self, no: usize, command: Command) -> Result<(), String> {
        let attempt = self.attempts.len();
        let asked_at = self.world.now();
        let words = self.words(&command);
        self.tell(|| format!("{words} at instance {no}  (attempt {attempt})"));
        self.attempts.push(Attempt {
            command: command.clone(),
            instance: no,
            asked_at,
            answered_at: None,
            state: State::Asked,
        });
        let shard = self.event_id.shard();
        let instance = &self.instances[no];
        let (Some(runtime), Some(parts)) = (&instance.runtime, &instance.parts) else {
            return Ok(());
        };
        let (lanes, world) = (parts.lanes.clone(), self.world.clone());
        runtime.spawn(async move {
            let answer = lanes.submit(shard, command).await;
            world.lock().answers.push(Answered { attempt, answer });
        });
        self.go_on(no);
        self.hear()
    }

    fn work(&mut self, no: usize) -> Result<(), String> {
        let instance = &mut self.instances[no];
        let (Some(runtime), Some(parts)) = (&instance.runtime, &instance.parts) else {
            return Ok(());
        };
        if instance.is_working {
            return Ok(());
        }
        instance.is_working = true;
        let (world, store, lanes) = (self.world.clone(), parts.store.clone(), parts.lanes.clone());
        let (gate, reconcile) = (parts.gate.clone(), parts.reconcile.clone());
        let sweeps = self.choices.pick("work", 2) == 0;
        runtime.spawn(async move {
            let done = if sweeps {
                sweep_once(&*store, &lanes).await
            } else {
                reconcile.lock().await.turn(&*store, &*gate).await.map(|()| false)
            };
            world.lock().worked.push(Worked { instance: no, done });
        });
        self.note(if sweeps { "sweep" } else { "reconcile" });
        self.go_on(no);
        self.hear()
    }

    /// What a client may want now.
    fn command(&mut self) -> Command {
        let known: Vec<BookingId> = self.known();
        let kind = if known.is_empty() { 0 } else { self.choices.pick("command", 10) };
        if self.swarm.keys && self.choices.happens("retry", 3) {
            let keyed = self.attempts.iter().filter_map(|attempt| match &attempt.command {
                Command::Hold(hold) if hold.key.is_some() => Some(hold.clone()),
                _ => None,
            });
            let keyed: Vec<_> = keyed.collect();
            if !keyed.is_empty() {
                let pick = self.choices.pick("which", keyed.len());
                let booking_id = self.booking_id();
                return Command::Hold(Hold { booking_id, ..keyed[pick].clone() });
            }
        }
        if kind < 4 {
            return Command::Hold(self.hold());
        }
        let booking_id = known[known.len() - 1 - self.choices.pick("which", known.len())];
        let by = By::User(self.buyer_of(booking_id));
        match kind {
            4 | 5 => Command::Confirm { booking_id, by },
            6 | 7 => Command::Extend { booking_id, by },
            8 => {
                let Hold { event_id, requests, .. } = self.hold();
                Command::Change { booking_id, by, event_id, expected: None, requests }
            }
            _ if self.choices.pick("how", 2) == 0 => Command::Release { booking_id, by },
            _ => Command::Cancel { booking_id, by },
        }
    }

    /// A command in the words of the scenarios.
    fn words(&self, command: &Command) -> String {
        let place = |id: &SectionId| {
            let at = self.sections.iter().position(|of| of == id).unwrap_or(0);
            char::from(b'A' + u8::try_from(at).expect("few"))
        };
        match command {
            Command::Hold(hold) => {
                let asks = hold
                    .requests
                    .iter()
                    .map(|ask| format!("{} {}", place(&ask.sections()[0]), ask.seats()));
                let who = self.people.iter().position(|of| *of == hold.user_id).unwrap_or(9);
                let key = hold
                    .key
                    .as_ref()
                    .map_or(String::new(), |(key, _)| format!(" key={}", key.as_str()));
                let id = check::short(hold.booking_id);
                format!("hold {id} {} by=buyer{who}{key}", asks.collect::<Vec<_>>().join(" "))
            }
            Command::Confirm { booking_id, .. }
            | Command::Release { booking_id, .. }
            | Command::Extend { booking_id, .. }
            | Command::Cancel { booking_id, .. }
            | Command::Change { booking_id, .. } => {
                format!("{} {}", check::name_of(command), check::short(*booking_id))
            }
            other => format!("{other:?}"),
        }
    }

    fn booking_id(&mut self) -> BookingId {
        BookingId::new(self.world.now(), self.event_id.shard(), self.mint())
    }

    fn hold(&mut self) -> Hold {
        let booking_id = self.booking_id();
        let user_id = self.people[self.choices.pick("buyer", self.people.len())];
        let mut requests = Vec::new();
        let mut left = self.sections.clone();
        let count =
            if self.swarm.carts { 1 + self.choices.pick("cart", left.len().min(2)) } else { 1 };
        for _ in 0..count {
            let section_id = left.remove(self.choices.pick("section", left.len()));
            let seats = 1 + u32::try_from(self.choices.pick("seats", 3)).expect("few");
            requests.push(SeatRequest::Count { section_id, seats });
        }
        let key = (self.swarm.keys && self.choices.pick("key", 2) == 1).then(|| {
            let key = IdempotencyKey::new(&format!("key-{}", self.attempts.len()));
            (key.expect("a key"), fingerprint(self.event_id, &requests))
        });
        Hold { booking_id, user_id, event_id: self.event_id, requests, key }
    }

    /// Bookings that clients know to exist.
    fn known(&self) -> Vec<BookingId> {
        let mut known = BTreeSet::new();
        for attempt in &self.attempts {
            if let State::Answered(Ok((Outcome::Booking { booking, .. }, _))) = &attempt.state {
                known.insert(booking.booking_id);
            }
        }
        known.into_iter().collect()
    }

    fn buyer_of(&self, booking_id: BookingId) -> UserId {
        self.world.lock().database.booking(booking_id).map_or(self.people[0], |of| of.user_id)
    }

    /// Takes what was answered since.
    fn hear(&mut self) -> Result<(), String> {
        loop {
            let mut inner = self.world.lock();
            let (answers, worked) =
                (std::mem::take(&mut inner.answers), std::mem::take(&mut inner.worked));
            drop(inner);
            if answers.is_empty() && worked.is_empty() {
                return Ok(());
            }
            for Worked { instance, done } in worked {
                self.instances[instance].is_working = false;
                if let Err(Fault::Corrupt { what }) = done {
                    return Err(format!("a worker found: {what}"));
                }
            }
            for Answered { attempt, answer } in answers {
                let word = check::word_of(&answer);
                let told = check::told(&answer);
                self.tell(|| format!("attempt {attempt} -> {told}"));
                if word == "unavailable" && self.is_calm() {
                    return Err(format!("nothing was in the way of {:?}", self.attempts[attempt]));
                }
                let of = check::name_of(&self.attempts[attempt].command);
                self.note(&format!("{of}: {word}"));
                self.mix_words(&check::told(&answer));
                self.mix(attempt as u64);
                let inner = self.world.lock();
                self.checks.answered(&inner.database, &self.attempts, attempt, &answer)?;
                drop(inner);
                self.attempts[attempt].answered_at = Some(self.world.now());
                self.attempts[attempt].state = State::Answered(answer);
            }
        }
    }

    /// Faults are over: whatever was asked is answered, retries settle what is unknown, everything can be
    /// sold, and the books agree.
    fn end(&mut self) -> Result<(), String> {
        self.tell(|| "no more faults".to_owned());
        let mut inner = self.world.lock();
        inner.down_until = Timestamp::from_unix_ms(0);
        inner.poison.clear();
        drop(inner);
        for instance in &mut self.instances {
            instance.frozen_until_ms = 0;
            let parts = instance.parts.as_ref();
            if let Some(panics) = parts.and_then(|parts| parts.panics.as_ref()) {
                panics.store(false, Ordering::Relaxed);
            }
        }
        self.settle_all()?;
        let unknown: Vec<_> = self.attempts.iter().filter(|of| of.is_unknown()).cloned().collect();
        for attempt in unknown {
            if let Command::Hold(hold) = &attempt.command
                && let Some((key, _)) = &hold.key
            {
                let had = {
                    let inner = self.world.lock();
                    let name = (hold.user_id, key.clone());
                    inner.database.tables.keys.get(&name).map(|used| used.booking_id)
                };
                let booking_id = self.booking_id();
                let again = Command::Hold(Hold { booking_id, ..hold.clone() });
                let answer = self.answer_of(again)?;
                check::retried(had, &answer)?;
            }
        }
        Checks::finished(&self.world.lock().database, &self.attempts)?;
        // All holds end, and every seat that is left is sold to one buyer.
        let longest = self.policy.hold_max_life_ms + FRESH_MS;
        self.world.advance(longest + 1_000);
        self.time_passes(false)?;
        for section_id in self.sections.clone() {
            let left = {
                let inner = self.world.lock();
                let (_, inventory) = &inner.database.tables.sections[&section_id];
                let due: i64 = inner
                    .database
                    .tables
                    .due(section_id, inner.database.now)
                    .map(|held| i64::from(held.seats))
                    .sum();
                inventory.available() + due
            };
            let Ok(mut left) = u32::try_from(left) else {
                return Err(format!("{left} seats are left of a section"));
            };
            while left > 0 {
                let seats = if self.swarm.capped { left.min(4) } else { left };
                let (booking_id, who) = (self.booking_id(), self.mint());
                let user_id = UserId::new(self.world.now(), Shard::pick(1), who);
                let requests = vec![SeatRequest::Count { section_id, seats }];
                let event_id = self.event_id;
                let hold = Hold { booking_id, user_id, event_id, requests, key: None };
                let answer = self.answer_of(Command::Hold(hold))?;
                if answer.is_err() {
                    return Err(format!("a seat that is left cannot be had: {answer:?}"));
                }
                left -= seats;
            }
        }
        let report = self.world.lock().database.tables.audit();
        if report.violations > 0 {
            return Err(format!("the audit found: {report:?}"));
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<(), String> {
        while self.is_asked() || !self.world.lock().pending.is_empty() {
            self.event(&mut 0, false)?;
        }
        Ok(())
    }

    /// The same, until no batch tries again either whose clients have left.
    fn settle_all(&mut self) -> Result<(), String> {
        for _ in 0..BATCHES_END_S {
            self.settle()?;
            self.world.advance(1_000);
            self.time_passes(false)?;
        }
        self.settle()
    }

    fn answer_of(&mut self, command: Command) -> Result<Result<Decided, Error>, String> {
        let attempt = self.attempts.len();
        self.submit(0, command)?;
        self.settle()?;
        match &self.attempts[attempt].state {
            State::Answered(answer) => Ok(answer.clone()),
            other => Err(format!("with no fault there is no answer: {other:?}")),
        }
    }
}
