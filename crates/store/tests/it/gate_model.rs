//! A model of the gate's protocol, run through many thousands of random schedules.
//!
//! Two instances sell one section of few seats through one gate. Between any two steps messages may
//! be delayed, reordered, doubled or lost, an instance may crash, an outcome may stay unknown, the
//! gate may be flushed, set back to an old state, or have its clock set. The gate and the instances
//! apply the real rules ([`Kept`], [`Snapshot`]); the store is the truth. After each step:
//!
//! - never oversold;
//! - a refusal that the store would not have made comes at most [`FRESH_MS`] after the refusing
//!   snapshot stopped being true, or after its commit was answered, whichever is later; after the
//!   gate's clock was set back, this holds again once the clock has caught up with itself;
//! - no refusal by a snapshot after a newer settle arrived there and is still fresh;
//! - in the end every seat can be sold.
//!
//! A checker is only believed once it has caught something: the protocol without one of its parts,
//! and the gate as a counter that decides by itself, are caught by the same schedules.

use engine::{Answer, EventId, Kept, SectionId, Shard, Snapshot, Timestamp};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

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
}

const OURS: Protocol =
    Protocol { checks_versions: true, lapses: true, judges_age: true, counts: false };

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
}

/// The truth, and when it was what.
struct Store {
    version: i64,
    holds: BTreeMap<u64, (i64, i64)>,
    sold: i64,
    next_id: u64,
    /// When each version was committed, at its index.
    committed_at: Vec<i64>,
}

impl Store {
    fn in_use(&self, now: i64) -> i64 {
        let live = self.holds.values().filter(|(_, ends_at)| *ends_at > now);
        self.sold + live.map(|(seats, _)| seats).sum::<i64>()
    }

    fn retire(&mut self, now: i64) {
        let before = self.holds.len();
        self.holds.retain(|_, (_, ends_at)| *ends_at > now);
        self.changed(before != self.holds.len(), now);
    }

    fn changed(&mut self, changed: bool, now: i64) {
        if changed {
            self.version += 1;
            self.committed_at.push(now);
        }
    }

    /// Carries out a command in one transaction; whatever it comes to, this is what is locked.
    fn commit(&mut self, command: Command, now: i64, unchecked: bool) -> Snapshot {
        self.retire(now);
        let changed = match command {
            Command::Hold(seats) => {
                let fits = unchecked || self.in_use(now) + seats <= SEATS;
                if fits {
                    self.next_id += 1;
                    self.holds.insert(self.next_id, (seats, now + HOLD_MS));
                }
                fits
            }
            Command::Confirm => match self.holds.pop_first() {
                Some((_, (seats, _))) => {
                    self.sold += seats;
                    true
                }
                None => false,
            },
            Command::Release => self.holds.pop_last().is_some(),
            Command::Extend => match self.holds.values_mut().next() {
                Some((_, ends_at)) => {
                    *ends_at = now + HOLD_MS;
                    true
                }
                None => false,
            },
            // The sale is undone, so that there is always something to do.
            Command::Cancel if self.sold > 0 => {
                self.sold -= 1;
                true
            }
            Command::Cancel | Command::Sweep => false,
        };
        self.changed(changed, now);
        self.snapshot(now)
    }

    fn snapshot(&self, now: i64) -> Snapshot {
        Snapshot {
            section_id: section(),
            version: self.version,
            capacity: SEATS,
            available: SEATS - self.in_use(now),
            next_expiry: self.holds.values().map(|(_, at)| Timestamp::from_unix_ms(*at)).min(),
        }
    }
}

fn section() -> SectionId {
    let at = Timestamp::from_unix_ms(0);
    SectionId::new(at, EventId::new(at, Shard::pick(1), 1).shard(), 2)
}

#[derive(Clone, Copy, Debug)]
enum Command {
    Hold(i64),
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
    /// The gate's clock minus its own, as of its last contact; at most what it is.
    ahead_ms: Option<i64>,
    at: Stage,
}

#[derive(Clone, Copy, Default)]
enum Stage {
    #[default]
    Idle,
    /// The gate has let it through; the store is next.
    Admitted(Command),
    /// Committed; not answered yet.
    Committed(Snapshot),
}

/// A settle under way, with the instant by the gate's clock at which it was made.
#[derive(Clone, Copy)]
struct Message {
    snapshot: Snapshot,
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
    gate_ahead_ms: i64,
    saved: Option<Kept>,
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
                next_id: 0,
                committed_at: vec![1_000_000],
            },
            instances: Default::default(),
            gate: None,
            gate_ahead_ms: 0,
            saved: None,
            counter: Some(SEATS),
            reconciling: None,
            messages: Vec::new(),
            answered_at: BTreeMap::new(),
            arrived: None,
            caught_up_at: 0,
            refusals: 0,
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
                (self.gate, self.arrived) = (None, None);
                self.counter = None;
            }
            29 => self.saved = self.gate,
            30 => {
                (self.gate, self.arrived) = (self.saved, None);
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
        match self.instances[who].at {
            Stage::Idle => {
                let command = match self.dice.roll(10) {
                    0..=4 => Command::Hold(self.dice.seats()),
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
                let snapshot = self.store.commit(command, self.now, unchecked);
                if let Command::Release = command
                    && self.store.holds.len() < holds
                {
                    self.counter = self.counter.map(|counter| counter + 1);
                }
                // The answer to the commit may get lost: then nothing is settled.
                let known = self.dice.roll(8) > 0;
                self.instances[who].at =
                    if known { Stage::Committed(snapshot) } else { Stage::Idle };
            }
            Stage::Committed(snapshot) => {
                self.instances[who].at = Stage::Idle;
                self.settle(who, snapshot);
            }
        }
    }

    /// Asks the gate, as a lane does, and checks a refusal against the truth.
    fn admits(&mut self, who: usize, command: Command) -> bool {
        let Command::Hold(seats) = command else { return true };
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
        !refused
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
    fn settle(&mut self, who: usize, snapshot: Snapshot) {
        let contact = self.gate_ahead_ms - self.dice.ms(20);
        let instance = &mut self.instances[who];
        instance.own = Some(Kept::settle(instance.own, snapshot, self.now, FRESH_MS));
        let settled_at_ms = self.now + *instance.ahead_ms.get_or_insert(contact);
        self.answered_at.insert(snapshot.version, self.now);
        let message = Message { snapshot, settled_at_ms, made_at: self.now };
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
        let news = Kept { snapshot: message.snapshot, checked_at_ms: settled_at_ms };
        if !news.is_fresh(gate_now, FRESH_MS) {
            return;
        }
        if message.made_at >= self.caught_up_at {
            self.arrived = self.arrived.max(Some((message.snapshot.version, settled_at_ms)));
        }
        let held = self.gate.filter(|_| self.protocol.checks_versions);
        let kept = Kept::settle(held, message.snapshot, gate_now, FRESH_MS);
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
            if self.admits(0, Command::Hold(1)) {
                let counts = self.protocol.counts;
                for command in [Command::Hold(1), Command::Confirm] {
                    let snapshot = self.store.commit(command, self.now, counts);
                    self.settle(0, snapshot);
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
fn explore(protocol: Protocol, schedules: u64) -> Result<u64, String> {
    let mut refusals = 0;
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
    }
    Ok(refusals)
}

#[expect(clippy::disallowed_methods, reason = "a setting of the test, not of the program")]
fn schedules() -> u64 {
    let wanted = std::env::var("RESERVIX_MODEL_SCHEDULES").ok();
    wanted.map_or(SCHEDULES, |text| text.parse().expect("a number of schedules"))
}

#[test]
fn i8_the_protocol_of_the_gate_is_safe_and_live() {
    match explore(OURS, schedules()) {
        Ok(refusals) => assert!(refusals > schedules() / 2, "only {refusals} refusals"),
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
