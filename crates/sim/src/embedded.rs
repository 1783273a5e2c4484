//! The embedded store, as it is: SQLite on a file in memory, and beside it what the rules say.
//!
//! ```text
//! choices ─▶ machine ─▶ clients, organizer, workers, readers, somebody else at the file,
//!                         faults, or time
//!    process     lanes, gate, sweep, reconcile ─▶ the store ─▶ file      in a paused runtime
//!    oracle      each batch again, by the rules over hash maps ─▶ the same answers and rows?
//! ```
//! One process serves the file at a time. It dies between two events, before a COMMIT or after it. The power
//! may be lost with it: then the log of the file is cut back to what the last durable commit has brought to
//! the disk. The next process opens what is left, and all of that is compared with the rules.
//!
//! Same choices, same run: what the store does on other threads is done on the one of the run. Reads still
//! have threads of their own, and the run stands still until they answer. Several processes at once, and a
//! disk that loses what it has confirmed, are not simulated.

mod clients;
mod ending;
mod files;
mod oracle;
mod organizer;
mod other;
mod process;
mod swarm;

use crate::check;
use crate::choices::Choices;
use crate::machine::{Attempt, Finding, Ran, Settings, State};
use engine::seats::Layout;
use engine::{EventId, Fault, Opening, Policy, SectionId, Shard, Timestamp, UserId};
use files::File;
use process::{Process, Shared, UnderWay};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use store::Events as _;
use store::simulated::{
    CommitFault, CommitOf, Inline, fail_next, has_crashed, is_durable, take_fired, take_seen,
};
use suite::world::{ManualClock, Mint, usd};
use swarm::{Cap, Swarm};

/// The time of the first event.
const START_MS: i64 = 1_893_456_000_000;
/// Events after which a run that comes to no end is called a livelock.
const EVENTS_MAX: usize = 10_000;

struct Machine {
    choices: Choices,
    swarm: Swarm,
    policy: Policy,
    shared: Arc<Shared>,
    /// `None`: it is dead.
    process: Option<Process>,
    file: File,
    /// Up to here the log of the file is on the disk.
    synced: u64,
    /// After this number of batches it was looked at.
    synced_batches: u64,
    attempts: Vec<Attempt>,
    people: Vec<UserId>,
    event_id: EventId,
    sections: Vec<SectionId>,
    /// The layout of the section with numbered seats.
    hall: Option<(SectionId, Arc<Layout>)>,
    minted: u64,
    events: usize,
    trace: Option<String>,
    seen: BTreeMap<String, u64>,
    digest: u64,
}

/// Runs a sale on the embedded store.
pub fn run(choices: Choices, settings: Settings) -> (Ran, Option<Finding>) {
    let _inline = Inline::begin();
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
    if let Some(process) = machine.process.take() {
        process.stop();
    }
    for (probe, times) in take_seen() {
        *machine.seen.entry(format!("probe: {probe}")).or_default() += times;
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
        let start = Timestamp::from_unix_ms(START_MS);
        let policy = Policy {
            hold_ttl_ms: 1_000 + 2_000 * i64::try_from(choices.pick("lifetime", 3)).expect("small"),
            hold_max_life_ms: 8_000,
            max_seats_per_booking: 1_000,
            max_seats_per_user: None,
        };
        Self {
            choices,
            swarm,
            policy,
            shared: Shared::new(start, policy),
            process: None,
            file: File::new(),
            synced: 0,
            synced_batches: 0,
            attempts: Vec::new(),
            people: (0..3).map(|no| UserId::new(start, Shard::pick(0), no)).collect(),
            event_id: EventId::new(start, Shard::pick(7), 1),
            sections: Vec::new(),
            hall: None,
            minted: 10,
            events: 0,
            trace: settings.trace.then(String::new),
            seen: BTreeMap::new(),
            digest: 0xcbf2_9ce4_8422_2325,
        }
    }

    fn run(&mut self) -> Result<(), String> {
        let swarm = self.swarm.clone();
        self.tell(|| format!("the embedded store, {swarm:?}"));
        self.start()?;
        self.open_event()?;
        let mut left = self.swarm.commands;
        while left > 0 {
            self.event(&mut left)?;
        }
        self.end()
    }

    fn mint(&mut self) -> u64 {
        self.minted += 1;
        self.minted
    }

    /// Creates the event that is sold, in the store and by the rules.
    fn open_event(&mut self) -> Result<(), String> {
        let mint = Mint::new(&ManualClock::new());
        let mut new = mint.event_on_sale(self.people[0]);
        new.event.terms.event_id = self.event_id;
        if self.swarm.cap == Cap::Always {
            new.event.terms.max_seats_per_user = Some(other::CAP);
        }
        let mut openings = Vec::new();
        for no in 0..self.swarm.sections {
            let capacity = [4_i64, 12, 60][self.choices.pick("capacity", 3)];
            let section_id = SectionId::new(self.shared.now(), self.event_id.shard(), self.mint());
            self.sections.push(section_id);
            new.sections.push(engine::Section {
                section_id,
                event_id: self.event_id,
                name: format!("{}", char::from(b'A' + u8::try_from(no).expect("few"))).into(),
                price: usd(1_250),
                layout_version: None,
            });
            openings.push(if no == 0 && self.swarm.is_numbered {
                let layout = suite::halls::plain("A-C", 5);
                self.hall = Some((section_id, layout.clone()));
                Opening::Layout(layout)
            } else {
                capacity.into()
            });
        }
        let Some(process) = &self.process else { return Err("there is no process".to_owned()) };
        let created =
            process.port.store.create_event(&new, suite::world::owner(&new), &openings, None);
        let created = process.runtime.block_on(created);
        created.map_err(|error| format!("the event is not created: {error:?}"))?;
        self.sync();
        let created = engine::event::create(
            &new,
            suite::world::owner(&new),
            None,
            &openings,
            self.shared.now(),
        );
        let (log, opened) = created.expect("an event that can be made");
        let mut inner = self.shared.lock();
        let tables = &mut inner.oracle.tables;
        tables.log.push(log);
        for opened in opened {
            tables.open(opened);
        }
        tables.events.insert(self.event_id, new.event);
        Ok(())
    }

    /// Takes note that the last write is on the disk, if it has waited for that, and all before it.
    fn sync(&mut self) {
        if is_durable() {
            self.synced = self.file.log_bytes();
        }
    }

    /// Starts a process. One that dies or fails while it starts is started again.
    fn start(&mut self) -> Result<(), String> {
        loop {
            let path = self.file.path();
            let started = catch_unwind(AssertUnwindSafe(|| {
                Process::start(&self.shared, &path, self.policy, self.swarm.sizes)
            }));
            match (started, take_fired()) {
                (Ok(Ok(process)), _) => {
                    self.process = Some(process);
                    self.sync();
                    return Ok(());
                }
                (Ok(Err(Fault::Unavailable { .. })), Some(_)) => {
                    self.note("embedded: a start fails");
                    self.tell(|| "the process fails to start".to_owned());
                }
                (Ok(Err(fault)), _) => return Err(format!("it does not start: {fault:?}")),
                (Err(_), Some(_)) => {
                    self.note("embedded: crash while it starts");
                    self.tell(|| "the process crashes while it starts".to_owned());
                }
                (Err(panic), None) => resume_unwind(panic),
            }
        }
    }

    /// Lets the process go on until nothing of it moves.
    fn go_on(&mut self) -> Result<(), String> {
        if let Some(process) = &mut self.process {
            process.go_on();
        }
        self.settle()
    }

    /// Hears what the process has said, and starts another one if it has died.
    fn settle(&mut self) -> Result<(), String> {
        let mut inner = self.shared.lock();
        let (batches, wrong) = (inner.batches, inner.wrong.take());
        drop(inner);
        if batches != self.synced_batches {
            self.synced_batches = batches;
            self.sync();
        }
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        self.hear()?;
        let is_dead = has_crashed();
        let Some((of, fault)) = take_fired() else { return Ok(()) };
        self.tell(|| format!("a COMMIT of {of:?}: {fault:?}"));
        self.note(match (of, fault) {
            (CommitOf::Write, CommitFault::Fails) => "embedded: a commit fails",
            (CommitOf::Write, CommitFault::CrashBefore) => "embedded: crash before commit",
            (CommitOf::Write, CommitFault::CrashAfter) => "embedded: crash after commit",
            (CommitOf::Lists, CommitFault::Fails) => "embedded: a portion of lists fails",
            (CommitOf::Lists, CommitFault::CrashBefore) => "embedded: crash before a portion",
            (CommitOf::Lists, CommitFault::CrashAfter) => "embedded: crash after a portion",
        });
        if !is_dead {
            return Ok(());
        }
        let mut inner = self.shared.lock();
        let is_stored = (of, fault) == (CommitOf::Write, CommitFault::CrashAfter);
        let under_way = inner.under_way.take().filter(|_| is_stored);
        match &under_way {
            Some((UnderWay::Batch(commands), now)) => drop(inner.oracle.commit(commands, *now)),
            Some((UnderWay::Change(command), now)) => {
                let by = self.people[0].into();
                let _ = inner.oracle.change(self.event_id, by, command, *now);
            }
            None => {}
        }
        drop(inner);
        if under_way.is_some() {
            self.sync();
        }
        self.crash()
    }

    /// The process dies where it stands, perhaps with the power, and another one opens what is left.
    fn crash(&mut self) -> Result<(), String> {
        self.tell(|| "the process crashes".to_owned());
        self.note("embedded: crash");
        if let Some(process) = self.process.take() {
            process.stop();
        }
        let asked = self.attempts.iter_mut().filter(|of| matches!(of.state, State::Asked));
        asked.for_each(|attempt| attempt.state = State::Lost);
        let mut inner = self.shared.lock();
        inner.answers.clear();
        inner.worked.clear();
        drop(inner);
        let lost = self.file.log_bytes().saturating_sub(self.synced);
        if lost > 0 {
            // Nothing, all, or half of what was not on the disk.
            let kept = [lost, 0, lost / 2][self.choices.pick("power", 3)];
            if kept < lost {
                self.file.cut_log(self.synced + kept);
                self.tell(|| format!("the power is lost, and {} bytes", lost - kept));
                self.note("embedded: power is lost");
            }
        }
        self.start()?;
        self.compare()
    }

    /// One event: clients, a worker, a reader, somebody else, a fault, or time.
    fn event(&mut self, left: &mut usize) -> Result<(), String> {
        self.events += 1;
        if self.events > EVENTS_MAX {
            return Err("it comes to no end".to_owned());
        }
        self.shared.advance(1);
        if self.happens("crash", self.swarm.crashes) {
            return self.crash();
        }
        if self.happens("commit", self.swarm.commits) {
            let of = [CommitOf::Write, CommitOf::Lists][self.choices.pick("of", 2)];
            let faults = [CommitFault::Fails, CommitFault::CrashBefore, CommitFault::CrashAfter];
            fail_next(of, faults[self.choices.pick("fate", 3)]);
        }
        if self.happens("other", self.swarm.others) {
            return self.other_writes();
        }
        if self.happens("look", self.swarm.looks) {
            return self.look();
        }
        if self.happens("worker", self.swarm.workers) {
            return self.work();
        }
        if self.happens("organizer", self.swarm.organizer) {
            return self.organize();
        }
        if self.happens("tick", self.swarm.ticks) {
            self.shared.advance([3, 30, 600, 2_500][self.choices.pick("time", 4)]);
            return self.go_on();
        }
        self.ask(left)
    }

    /// Whether something happens that happens once in `one_in` events, or never.
    fn happens(&mut self, kind: &'static str, one_in: u32) -> bool {
        one_in > 0 && self.choices.happens(kind, one_in)
    }

    fn tell(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            let ms = self.shared.now().unix_ms() - START_MS;
            let _ = writeln!(trace, "{ms:>7} {}", what());
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
}
