//! The machine: instances, clients and the database, one event after the other.
//!
//! An instance runs in a paused runtime of its own until nothing of it moves: then each of its tasks waits
//! for a step of the database, or for time. The machine picks what happens next, and lets those continue
//! who waited for it.

mod clients;
mod ending;
mod faults;
mod instances;
mod people;
mod swarm;
mod wants;

use crate::check::{self, Checks};
use crate::choices::{Choice, Choices};
use crate::embedded;
use crate::panics;
use crate::probes;
use crate::world::{Fate, Step, World};
use engine::seats::Layout;
use engine::{Command, Error, EventId, Fault, Policy, SectionId, Shard, Timestamp, UserId};
use instances::{Instance, Parts};
use server::simulated::{Decided, Metrics, Sizes};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use store::simulated::take_seen;
use swarm::Swarm;
pub use wants::takes_place;

/// How long a snapshot of a gate may refuse, and how old it may be when it is settled.
pub const FRESH_MS: i64 = 1_000;
pub const NEWS_MAX_MS: i64 = 1_000;
/// Events after which a run that comes to no end is called a livelock.
const EVENTS_MAX: usize = 60_000;
/// What lanes queue and commit at once where that is little.
const NARROW: Sizes = Sizes { queue_max: 12, batch_max: 4, urgent_max: 3 };
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
    /// Its place among all answers.
    pub heard: Option<usize>,
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
    start: Timestamp,
    choices: Choices,
    swarm: Swarm,
    policy: Policy,
    instances: Vec<Instance>,
    attempts: Vec<Attempt>,
    checks: Checks,
    people: Vec<UserId>,
    event_id: EventId,
    sections: Vec<SectionId>,
    /// The layouts of those with numbered seats.
    halls: BTreeMap<SectionId, Arc<Layout>>,
    minted: u64,
    events: usize,
    trace: Option<String>,
    seen: BTreeMap<String, u64>,
    /// Faults are over, and what they left behind.
    is_over: bool,
    /// Answers that were heard.
    heard: usize,
    /// How often a step happened while another instance waited for one.
    beside: BTreeMap<(Step, Step), u64>,
    digest: u64,
}

/// How many ways the dice may fall.
const DICE: usize = 1 << 20;
/// Seeds of which one is a sale on the embedded store.
const EMBEDDED_EACH: usize = 16;

/// Runs a sale.
pub fn run(mut choices: Choices, settings: Settings) -> (Ran, Option<Finding>) {
    if choices.pick("store", EMBEDDED_EACH) == EMBEDDED_EACH - 1 {
        return embedded::run(choices, settings);
    }
    panics::take();
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
    let mut what = match done {
        Ok(Ok(())) => panics::take(),
        Ok(Err(what)) => Some(what),
        Err(panic) => Some(check::words_of(&*panic)),
    };
    for (probe, times) in take_seen() {
        if probes::NEVER.contains(&probe) {
            what.get_or_insert_with(|| format!("a worker found: {probe}"));
        }
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
            start,
            choices,
            policy,
            instances: Vec::new(),
            attempts: Vec::new(),
            checks: Checks::default(),
            sections: Vec::new(),
            halls: BTreeMap::new(),
            minted: 10,
            events: 0,
            trace: settings.trace.then(String::new),
            seen: BTreeMap::new(),
            is_over: false,
            heard: 0,
            beside: BTreeMap::new(),
            digest: 0xcbf2_9ce4_8422_2325,
            swarm,
        };
        machine.open_event();
        let luck = machine.choices.pick("dice", DICE) as u64;
        for no in 0..machine.swarm.instances {
            machine.instances.push(Instance {
                runtime: None,
                parts: None,
                now_ms: 0,
                frozen_until_ms: 0,
                is_working: false,
                changes: 0,
                dice: Arc::default(),
            });
            machine.instances[no].dice.store(luck << 8 | no as u64, Ordering::Relaxed);
            machine.start(no);
        }
        machine
    }

    fn mint(&mut self) -> u64 {
        self.minted += 1;
        self.minted
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
        let created = std::mem::take(&mut inner.database.created);
        let is_capped_always = self.swarm.organizer == 0;
        let grown = std::mem::take(&mut inner.database.grown);
        let sold = (&created[..], &grown[..]);
        let checked = self.checks.committed(&inner.database, &touched, sold, is_capped_always);
        let checked = checked.and_then(|()| self.sold_by_right(&inner.database, &created));
        let deadlocks = inner.database.deadlocks;
        drop(inner);
        self.nothing_went_wrong()?;
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
        self.mix(fate.code());
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

    /// Nothing was found by what ran since: also where it was tried again, and nobody has heard of it.
    fn nothing_went_wrong(&self) -> Result<(), String> {
        let inner = self.world.lock();
        let wrong = inner.database.wrong.map(str::to_owned);
        match wrong.or_else(|| inner.bug.clone()).or_else(panics::take) {
            Some(wrong) => Err(wrong),
            None => Ok(()),
        }
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
