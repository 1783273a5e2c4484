//! A model of the gate's protocol, run through many thousands of random schedules.
//!
//! Two instances sell one section of few numbered seats through one gate, by count and by name. Between any two steps messages may
//! be delayed, reordered, doubled or lost, an instance may crash, an outcome may stay unknown, the
//! gate may be flushed, set back to an old state, or have its clock set. The gate and the instances
//! apply the real rules ([`Kept`], [`Snapshot`], [`KeptMarks`], [`Seen`]); the store is the truth.
//! Commits tell the marks of seats only when they changed some; an instance whose named seat the store
//! had to refuse reads them beside what goes on. After each step:
//!
//! - never oversold;
//! - a refusal that the store would not have made comes at most [`FRESH_MS`] after the refusing
//!   snapshot stopped being true, or after its commit was answered, whichever is later; after the
//!   gate's clock was set back, this holds again once the clock has caught up with itself;
//! - a seat that is refused by its marks was taken at the version of the snapshot they stand beside;
//! - no refusal by a snapshot after a newer settle arrived there and is still fresh;
//! - in the end every seat can be sold.
//!
//! A checker is only believed once it has caught something: the protocol without one of its parts,
//! and the gate as a counter that decides by itself, are caught by the same schedules.

use engine::seats::Marks;
use engine::{Answer, EventId, Kept, SectionId, Shard, Snapshot, Timestamp};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use store::gate::{KeptMarks, Seen};

const FRESH_MS: i64 = 1_000;
const SEATS: i64 = 3;
const HOLD_MS: i64 = 4_000;
const STEPS: usize = 80;
/// Schedules of each kind, unless `RESERVIX_MODEL_SCHEDULES` says otherwise.
const SCHEDULES: u64 = 400_000;

/// The protocol, or one that lacks a part of it.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a part that can be left out")]
struct Protocol {
    /// An older version does not replace a newer one.
    checks_versions: bool,
    /// What was not checked lately is not believed.
    lapses: bool,
    /// News is judged by when it was settled, not by when it arrives.
    judges_age: bool,
    /// The gate counts seats, and the store follows.
    counts: bool,
    /// Marks speak beside the snapshots they belong to.
    pairs: bool,
    /// A read of marks is good for what was known when it began, not when it ended.
    reads_behind: bool,
}

const OURS: Protocol = Protocol {
    checks_versions: true,
    lapses: true,
    judges_age: true,
    counts: false,
    pairs: true,
    reads_behind: true,
};

/// Small, seeded, good enough to wander (`SplitMix64`).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (bits ^ (bits >> 31)) % sides
    }

    fn ms(&mut self, at_most: i64) -> i64 {
        let sides = u64::try_from(at_most).expect("not negative") + 1;
        i64::try_from(self.roll(sides)).expect("small")
    }

    fn seats(&mut self) -> i64 {
        1 + self.ms(1)
    }

    fn name(&mut self) -> Names {
        NAMES[usize::try_from(self.roll(3)).expect("small")]
    }
}

/// Seats by their names, one bit each, the first seat in the highest.
type Names = u8;

/// Seats, and until when.
struct Held {
    seats: i64,
    /// Which, where the store decides.
    names: Names,
    ends_at: i64,
}

/// The truth, and when it was what.
struct Store {
    version: i64,
    holds: BTreeMap<u64, Held>,
    sold: i64,
    sold_names: Names,
    next_id: u64,
    /// The version at which a seat last changed.
    marks_version: i64,
    /// Which seats were taken at each version.
    taken_at: Vec<Names>,
    /// When each version was committed, at its index.
    committed_at: Vec<i64>,
}

impl Store {
    fn in_use(&self, now: i64) -> i64 {
        let live = self.holds.values().filter(|held| held.ends_at > now);
        self.sold + live.map(|held| held.seats).sum::<i64>()
    }

    fn taken(&self, now: i64) -> Names {
        let live = self.holds.values().filter(|held| held.ends_at > now);
        live.fold(self.sold_names, |names, held| names | held.names)
    }

    fn retire(&mut self, now: i64) -> bool {
        let before = self.holds.len();
        self.holds.retain(|_, held| held.ends_at > now);
        let changed = before != self.holds.len();
        self.changed(changed, now);
        changed
    }

    fn changed(&mut self, changed: bool, now: i64) {
        if changed {
            self.version += 1;
            self.committed_at.push(now);
            self.taken_at.push(self.taken(now));
        }
    }

    fn hold(&mut self, seats: i64, names: Names, now: i64) {
        self.next_id += 1;
        self.holds.insert(self.next_id, Held { seats, names, ends_at: now + HOLD_MS });
    }

    /// Carries out a command in one transaction; whatever it comes to, this is what is locked. Also the
    /// marks, if seats were taken or released.
    fn commit(&mut self, command: Command, now: i64, unchecked: bool) -> Told {
        let mut seats_changed = self.retire(now);
        let changed = match command {
            Command::Hold(seats) => {
                let fits = unchecked || self.in_use(now) + seats <= SEATS;
                if fits {
                    let free = NAMES.into_iter().filter(|name| self.taken(now) & name == 0);
                    let wanted = usize::try_from(seats).expect("few");
                    let names = free.take(wanted).fold(0, |names, name| names | name);
                    self.hold(seats, names, now);
                }
                fits
            }
            Command::Name(name) => {
                let free = self.taken(now) & name == 0;
                if free {
                    self.hold(1, name, now);
                }
                free
            }
            Command::Confirm => match self.holds.pop_first() {
                Some((_, held)) => {
                    self.sold += held.seats;
                    self.sold_names |= held.names;
                    true
                }
                None => false,
            },
            Command::Release => self.holds.pop_last().is_some(),
            Command::Extend => match self.holds.values_mut().next() {
                Some(held) => {
                    held.ends_at = now + HOLD_MS;
                    true
                }
                None => false,
            },
            // The sale is undone, so that there is always something to do.
            Command::Cancel if self.sold > 0 => {
                self.sold -= 1;
                self.sold_names &= self.sold_names.wrapping_sub(1);
                true
            }
            Command::Cancel | Command::Sweep => false,
        };
        self.changed(changed, now);
        seats_changed |= changed && !matches!(command, Command::Extend);
        if seats_changed {
            self.marks_version = self.version;
        }
        let seen = seats_changed.then(|| Seen::read(section(), self.marks(), None));
        Told { snapshot: Some(self.snapshot(now)), seen }
    }

    /// What a reader of the marks finds: a hold has its seats until it is retired.
    fn marks(&self) -> Arc<Marks> {
        let taken = self.holds.values().fold(self.sold_names, |names, held| names | held.names);
        let mut bytes = [0; 23];
        bytes[8..16].copy_from_slice(&self.marks_version.to_be_bytes());
        bytes[16..20].copy_from_slice(&u32::try_from(SEATS).expect("few").to_be_bytes());
        (bytes[20], bytes[21]) = (taken, self.sold_names);
        Arc::new(Marks::from_bytes(&bytes).expect("marks of few seats"))
    }

    fn snapshot(&self, now: i64) -> Snapshot {
        Snapshot {
            section_id: section(),
            version: self.version,
            capacity: SEATS,
            available: SEATS - self.in_use(now),
            next_expiry: self
                .holds
                .values()
                .map(|held| Timestamp::from_unix_ms(held.ends_at))
                .min(),
        }
    }
}

fn section() -> SectionId {
    let at = Timestamp::from_unix_ms(0);
    SectionId::new(at, EventId::new(at, Shard::pick(1), 1).shard(), 2)
}

/// The names of all seats.
const NAMES: [Names; 3] = [0x80, 0x40, 0x20];

/// What is told to the gate.
#[derive(Clone)]
struct Told {
    snapshot: Option<Snapshot>,
    seen: Option<Seen>,
}

#[derive(Clone, Copy, Debug)]
enum Command {
    Hold(i64),
    /// Holds the seat with this name.
    Name(Names),
    Confirm,
    Release,
    Extend,
    Cancel,
    Sweep,
}

/// What an instance knows, and where its batch stands.
#[derive(Clone, Default)]
struct Instance {
    /// What it has settled itself.
    own: Option<Kept>,
    own_marks: Option<KeptMarks>,
    /// The gate's clock minus its own, as of its last contact; at most what it is.
    ahead_ms: Option<i64>,
    at: Stage,
}

#[derive(Clone, Default)]
enum Stage {
    #[default]
    Idle,
    /// The gate has let it through; the store is next.
    Admitted(Command),
    /// Committed; not answered yet. Whether a seat was named and had to be refused there.
    Committed(Told, bool),
    /// The marks are to be read; this version was committed before.
    Looking(i64),
    /// They were read, but not told yet.
    Looked(Arc<Marks>, i64),
}

/// A settle under way, with the instant by the gate's clock at which it was made.
#[derive(Clone)]
struct Message {
    told: Told,
    settled_at_ms: i64,
    /// By the model's clock, which the protocol cannot see.
    made_at: i64,
}

struct World {
    protocol: Protocol,
    dice: Dice,
    now: i64,
    store: Store,
    instances: [Instance; 2],
    gate: Option<Kept>,
    gate_marks: Option<KeptMarks>,
    gate_ahead_ms: i64,
    saved: (Option<Kept>, Option<KeptMarks>),
    counter: Option<i64>,
    reconciling: Option<i64>,
    messages: Vec<Message>,
    /// When each version was last settled by the answer to its commit.
    answered_at: BTreeMap<i64, i64>,
    /// The newest version that arrived at the gate since it was last disturbed, and when it was
    /// settled by the gate's clock.
    arrived: Option<(i64, i64)>,
    /// When the gate's clock has caught up with itself after it was set back.
    caught_up_at: i64,
    refusals: u64,
    seats_refused: u64,
}

impl World {
    fn new(protocol: Protocol, seed: u64) -> Self {
        Self {
            protocol,
            dice: Dice(seed),
            now: 1_000_000,
            store: Store {
                version: 0,
                holds: BTreeMap::new(),
                sold: 0,
                sold_names: 0,
                next_id: 0,
                marks_version: 0,
                taken_at: vec![0],
                committed_at: vec![1_000_000],
            },
            instances: Default::default(),
            gate: None,
            gate_marks: None,
            gate_ahead_ms: 0,
            saved: (None, None),
            counter: Some(SEATS),
            reconciling: None,
            messages: Vec::new(),
            answered_at: BTreeMap::new(),
            arrived: None,
            caught_up_at: 0,
            refusals: 0,
            seats_refused: 0,
        }
    }

    fn gate_now(&self) -> i64 {
        self.now + self.gate_ahead_ms
    }

    fn step(&mut self) {
        let who = usize::from(self.dice.roll(2) == 1);
        match self.dice.roll(32) {
            0..=13 => self.advance(who),
            14..=19 => self.deliver(),
            20..=25 => self.now += self.dice.ms(400),
            26 => self.now += self.dice.ms(3 * FRESH_MS),
            // It crashes: what it knew and what it was about to say is gone, what it sent is not.
            27 => self.instances[who] = Instance::default(),
            28 => {
                (self.gate, self.gate_marks, self.arrived) = (None, None, None);
                self.counter = None;
            }
            29 => self.saved = (self.gate, self.gate_marks.clone()),
            30 => {
                (self.gate, self.gate_marks) = self.saved.clone();
                self.arrived = None;
            }
            31 if self.dice.roll(4) == 0 => {
                let by = self.dice.ms(6_000) - 3_000;
                self.gate_ahead_ms += by;
                self.arrived = None;
                if by < 0 {
                    // What the later clock stamped is in the future, and fresh once more when the
                    // clock has come there again, unless somebody has settled meanwhile.
                    self.caught_up_at = self.caught_up_at.max(self.now) - by;
                    self.instances.iter_mut().for_each(|instance| instance.ahead_ms = None);
                }
            }
            _ => self.reconcile(),
        }
        assert!(self.store.in_use(self.now) <= SEATS, "oversold");
    }

    /// The instance takes its next step.
    fn advance(&mut self, who: usize) {
        match self.instances[who].at.clone() {
            Stage::Idle => {
                let command = match self.dice.roll(10) {
                    0..=1 => Command::Hold(self.dice.seats()),
                    2..=4 if self.protocol.counts => Command::Hold(self.dice.seats()),
                    2..=4 => Command::Name(self.dice.name()),
                    5 => Command::Confirm,
                    6 => Command::Release,
                    7 => Command::Extend,
                    8 => Command::Cancel,
                    _ => Command::Sweep,
                };
                if self.admits(who, command) {
                    self.instances[who].at = Stage::Admitted(command);
                }
            }
            Stage::Admitted(command) => {
                let unchecked = self.protocol.counts;
                let holds = self.store.holds.len();
                let version = self.store.version;
                let told = self.store.commit(command, self.now, unchecked);
                let refused = matches!(command, Command::Name(_)) && self.store.version == version;
                if let Command::Release = command
                    && self.store.holds.len() < holds
                {
                    self.counter = self.counter.map(|counter| counter + 1);
                }
                // The answer to the commit may get lost: then nothing is settled.
                let known = self.dice.roll(8) > 0;
                self.instances[who].at =
                    if known { Stage::Committed(told, refused) } else { Stage::Idle };
            }
            Stage::Committed(told, refused) => {
                let before = told.snapshot.expect("a commit tells it").version;
                self.instances[who].at = if refused { Stage::Looking(before) } else { Stage::Idle };
                self.settle(who, told);
            }
            Stage::Looking(before) => {
                self.instances[who].at = Stage::Looked(self.store.marks(), before);
            }
            Stage::Looked(marks, before) => {
                self.instances[who].at = Stage::Idle;
                let behind = self.protocol.reads_behind;
                let before = if behind { before } else { self.store.version };
                let seen = Some(Seen::read(section(), marks, Some(before)));
                self.settle(who, Told { snapshot: None, seen });
            }
        }
    }

    /// Asks the gate, as a lane does, and checks a refusal against the truth.
    fn admits(&mut self, who: usize, command: Command) -> bool {
        let (seats, name) = match command {
            Command::Hold(seats) => (seats, None),
            Command::Name(name) => (1, Some(name)),
            _ => return true,
        };
        if self.protocol.counts {
            return self.count_down(seats);
        }
        let fresh_ms = if self.protocol.lapses { FRESH_MS } else { i64::MAX / 2 };
        let gate_now = self.gate_now();
        let shared = self.gate.filter(|kept| kept.is_fresh(gate_now, fresh_ms));
        self.instances[who].ahead_ms = Some(self.gate_ahead_ms - self.dice.ms(20));
        let own = self.instances[who].own.filter(|kept| kept.is_fresh(self.now, fresh_ms));
        // Now and then the gate does not answer in time, and its own memory is all there is.
        let shared = shared.filter(|_| self.dice.roll(8) > 0);
        let shared_marks = self.gate_marks.clone().filter(|_| self.dice.roll(8) > 0);
        let known = match (shared, own) {
            (Some(shared), Some(own)) if own.snapshot.replaces(&shared.snapshot) => Some(own),
            (Some(shared), _) => Some(shared),
            (None, own) => own,
        };
        let Some(known) = known else { return true };
        let answer = known.snapshot.answer(seats, Timestamp::from_unix_ms(self.now));
        let refused = matches!(answer, Answer::SoldOut { .. });
        if refused {
            self.refusals += 1;
            self.check_refusal(&known.snapshot, seats, shared.is_some());
        }
        let seen = Seen::newer(
            self.instances[who].own_marks.clone().map(|kept| kept.seen),
            shared_marks.map(|kept| kept.seen),
        );
        let taken = name.is_some_and(|name| {
            seen.is_some_and(|seen| self.is_taken(&known.snapshot, &seen, name))
        });
        if let Some(name) = name.filter(|_| taken && !refused) {
            self.seats_refused += 1;
            let at_version = usize::try_from(known.snapshot.version).expect("a version");
            let was_taken = self.store.taken_at[at_version] & name != 0;
            assert!(was_taken, "refused a seat that was free at version {at_version}");
            if self.store.taken(self.now) & name == 0 {
                self.check_time(&known.snapshot);
            }
        }
        !(refused || taken)
    }

    /// Whether marks say, as a lane reads them, that a seat is taken.
    fn is_taken(&self, by: &Snapshot, seen: &Seen, name: Names) -> bool {
        let now = Timestamp::from_unix_ms(self.now);
        let is_due = by.next_expiry.is_some_and(|expiry| expiry <= now);
        let speaks = seen.belong_to(by) || !self.protocol.pairs;
        let seat = name.leading_zeros();
        speaks && !is_due && seen.marks.state(seat).is_some()
    }

    fn check_refusal(&self, by: &Snapshot, seats: i64, gate_answered: bool) {
        if let Some((version, settled_at_ms)) = self.arrived.filter(|_| gate_answered) {
            let still_fresh = (0..=FRESH_MS).contains(&(self.gate_now() - settled_at_ms));
            assert!(
                by.version >= version || !still_fresh,
                "refused by version {} after version {version} arrived",
                by.version,
            );
        }
        if self.store.in_use(self.now) + seats > SEATS {
            return;
        }
        self.check_time(by);
    }

    /// What refused wrongly stopped being true a moment ago.
    fn check_time(&self, by: &Snapshot) {
        let index = usize::try_from(by.version + 1).expect("a version");
        // The seats of a hold that has ended were there from its end on, whoever knew.
        let stopped_at = self.store.committed_at.get(index).copied().unwrap_or(self.now);
        let answered_at = self.answered_at.get(&by.version).copied().unwrap_or(0);
        let since = stopped_at.max(answered_at).max(self.caught_up_at);
        assert!(
            self.now - since <= FRESH_MS,
            "refused wrongly {} ms after version {} stopped being true",
            self.now - since,
            by.version
        );
    }

    /// What a commit left behind is remembered, and sent on its way.
    fn settle(&mut self, who: usize, told: Told) {
        let contact = self.gate_ahead_ms - self.dice.ms(20);
        let instance = &mut self.instances[who];
        let settled_at_ms = self.now + *instance.ahead_ms.get_or_insert(contact);
        if let Some(seen) = told.seen.clone() {
            let held = instance.own_marks.take();
            instance.own_marks = Some(KeptMarks::settle(held, seen, self.now, FRESH_MS));
        }
        if let Some(snapshot) = told.snapshot {
            instance.own = Some(Kept::settle(instance.own, snapshot, self.now, FRESH_MS));
            self.answered_at.insert(snapshot.version, self.now);
        }
        let message = Message { told, settled_at_ms, made_at: self.now };
        let copies = [0, 1, 1, 1, 1, 2][usize::try_from(self.dice.roll(6)).expect("small")];
        self.messages.extend(std::iter::repeat_n(message, copies));
    }

    /// Any message that is under way arrives, however old it is.
    fn deliver(&mut self) {
        let Ok(waiting @ 1..) = u64::try_from(self.messages.len()) else { return };
        let pick = usize::try_from(self.dice.roll(waiting)).expect("small");
        let message = self.messages.swap_remove(pick);
        let gate_now = self.gate_now();
        let settled_at_ms = if self.protocol.judges_age { message.settled_at_ms } else { gate_now };
        if !(0..=FRESH_MS).contains(&(gate_now - settled_at_ms)) {
            return;
        }
        if let Some(seen) = message.told.seen.clone() {
            let held = self.gate_marks.take().filter(|_| self.protocol.checks_versions);
            // It was checked when it was settled, not when that arrives.
            let before = held.as_ref().map_or(i64::MIN, |held| held.checked_at_ms);
            let again = held.as_ref().is_some_and(|held| {
                held.is_fresh(gate_now, FRESH_MS)
                    && held.seen.marks.version() == seen.marks.version()
            });
            let mut kept = KeptMarks::settle(held, seen, gate_now, FRESH_MS);
            if kept.checked_at_ms == gate_now {
                kept.checked_at_ms = if again { before.max(settled_at_ms) } else { settled_at_ms };
            }
            self.gate_marks = Some(kept);
        }
        let Some(snapshot) = message.told.snapshot else { return };
        if message.made_at >= self.caught_up_at {
            self.arrived = self.arrived.max(Some((snapshot.version, settled_at_ms)));
        }
        let held = self.gate.filter(|_| self.protocol.checks_versions);
        let kept = Kept::settle(held, snapshot, gate_now, FRESH_MS);
        // It was checked when it was settled, not when that arrives.
        let checked_at_ms = match held {
            Some(held) if held.snapshot == kept.snapshot => held.checked_at_ms.max(settled_at_ms),
            _ => settled_at_ms,
        };
        let touched = kept.checked_at_ms == gate_now;
        self.gate = Some(if touched { Kept { checked_at_ms, ..kept } } else { kept });
    }

    /// The gate decides by a counter; where it has none, it starts with what the store has.
    fn count_down(&mut self, seats: i64) -> bool {
        let counter = self.counter.unwrap_or(SEATS - self.store.in_use(self.now));
        let fits = counter >= seats;
        self.counter = Some(if fits { counter - seats } else { counter });
        fits
    }

    /// The counter is put right by a reader of the store, which reads first and writes later.
    fn reconcile(&mut self) {
        match self.reconciling.take() {
            None => self.reconciling = Some(SEATS - self.store.in_use(self.now)),
            Some(counted) => self.counter = Some(counted),
        }
    }

    /// Faults are over: every seat that is not sold can be sold within a bounded time.
    fn sell_out(&mut self) {
        for instance in &mut self.instances {
            instance.at = Stage::Idle;
        }
        self.now += HOLD_MS + FRESH_MS;
        for _ in 0..200 {
            if self.store.sold == SEATS {
                return;
            }
            let free = NAMES.into_iter().find(|name| self.store.taken(self.now) & name == 0);
            let by_name = free.filter(|_| !self.protocol.counts && self.dice.roll(2) == 0);
            let wanted = by_name.map_or(Command::Hold(1), Command::Name);
            if self.admits(0, wanted) {
                let counts = self.protocol.counts;
                for command in [wanted, Command::Confirm] {
                    let told = self.store.commit(command, self.now, counts);
                    self.settle(0, told);
                    assert!(self.store.in_use(self.now) <= SEATS, "oversold");
                }
            }
            self.deliver();
            self.now += 50;
        }
        panic!("{} of {SEATS} seats can be sold, and no more", self.store.sold);
    }
}

/// Runs schedules until one shows a violation; tells it with its seed. Else how many refusals there
/// were, so that nobody believes a model that never refuses.
fn explore(protocol: Protocol, schedules: u64) -> Result<(u64, u64), String> {
    let (mut refusals, mut seats_refused) = (0, 0);
    for seed in 0..schedules {
        let mut world = World::new(protocol, seed);
        let run = catch_unwind(AssertUnwindSafe(|| {
            for _ in 0..STEPS {
                world.step();
            }
            world.sell_out();
        }));
        if let Err(panic) = run {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            return Err(format!("schedule {seed}: {}", text.unwrap_or_default()));
        }
        refusals += world.refusals;
        seats_refused += world.seats_refused;
    }
    Ok((refusals, seats_refused))
}

#[expect(clippy::disallowed_methods, reason = "a setting of the test, not of the program")]
fn schedules() -> u64 {
    let wanted = std::env::var("RESERVIX_MODEL_SCHEDULES").ok();
    wanted.map_or(SCHEDULES, |text| text.parse().expect("a number of schedules"))
}

#[test]
fn i8_the_protocol_of_the_gate_is_safe_and_live() {
    match explore(OURS, schedules()) {
        Ok((refusals, seats)) => {
            println!("{refusals} refusals by counters, {seats} of named seats");
            assert!(refusals > schedules() / 2, "only {refusals} refusals");
            assert!(seats > schedules() / 4, "only {seats} refusals of named seats");
        }
        Err(violation) => panic!("{violation}"),
    }
}

/// The protocol without a part of it, and what the checker says to that.
fn caught(protocol: Protocol, said: &[&str]) {
    let Err(violation) = explore(protocol, SCHEDULES) else {
        panic!("nothing is wrong with {protocol:?}");
    };
    assert!(said.iter().any(|said| violation.contains(said)), "{violation}");
}

#[test]
fn without_versions_an_old_snapshot_refuses_after_a_newer_one() {
    caught(Protocol { checks_versions: false, ..OURS }, &["after version"]);
}

#[test]
fn without_freshness_a_wrong_refusal_has_no_end() {
    caught(Protocol { lapses: false, ..OURS }, &["stopped being true", "can be sold"]);
}

#[test]
fn without_the_age_of_news_a_late_message_makes_old_refusals_new() {
    caught(Protocol { judges_age: false, ..OURS }, &["stopped being true"]);
}

#[test]
fn a_gate_that_counts_and_decides_oversells_or_loses_seats() {
    caught(Protocol { counts: true, ..OURS }, &["oversold", "can be sold"]);
}

#[test]
fn marks_beside_any_fresh_snapshot_refuse_seats_that_are_free() {
    caught(Protocol { pairs: false, ..OURS }, &["was free at version"]);
}

#[test]
fn a_read_of_marks_that_counts_as_of_its_end_refuses_seats_that_are_free() {
    caught(Protocol { reads_behind: false, ..OURS }, &["was free at version"]);
}
