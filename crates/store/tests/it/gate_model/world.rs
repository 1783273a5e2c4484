//! The world of the model: two instances, what is under way between them, and what is checked.

use super::truth::{Command, Dice, NAMES, Names, Store, Told, section};
use super::{FRESH_MS, HOLD_MS, Protocol, SEATS};
use engine::seats::Marks;
use engine::{CheckedSnapshot, GateAnswer, Snapshot, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::gate::{CheckedMarks, KnownMarks};

/// What an instance knows, and where its batch stands.
#[derive(Clone, Default)]
pub struct Instance {
    /// What it has settled itself.
    pub own: Option<CheckedSnapshot>,
    pub own_marks: Option<CheckedMarks>,
    /// The gate's clock minus its own, as of its last contact; at most what it is.
    pub ahead_ms: Option<i64>,
    pub at: Stage,
}

#[derive(Clone, Default)]
pub enum Stage {
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
pub struct Message {
    pub told: Told,
    pub settled_at_ms: i64,
    /// By the model's clock, which the protocol cannot see.
    pub made_at: i64,
}

pub struct World {
    pub protocol: Protocol,
    pub dice: Dice,
    pub now: i64,
    pub store: Store,
    pub instances: [Instance; 2],
    pub gate: Option<CheckedSnapshot>,
    pub gate_marks: Option<CheckedMarks>,
    pub gate_ahead_ms: i64,
    pub saved: (Option<CheckedSnapshot>, Option<CheckedMarks>),
    pub counter: Option<i64>,
    pub reconciling: Option<i64>,
    pub messages: Vec<Message>,
    /// When each version was last settled by the answer to its commit.
    pub answered_at: BTreeMap<i64, i64>,
    /// The newest version that arrived at the gate since it was last disturbed, and when it was
    /// settled by the gate's clock.
    pub arrived: Option<(i64, i64)>,
    /// When the gate's clock has caught up with itself after it was set back.
    pub caught_up_at: i64,
    pub refusals: u64,
    pub seats_refused: u64,
}

impl World {
    pub fn new(protocol: Protocol, seed: u64) -> Self {
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

    pub fn gate_now(&self) -> i64 {
        self.now + self.gate_ahead_ms
    }

    pub fn step(&mut self) {
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
    pub fn advance(&mut self, who: usize) {
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
                let seen = Some(KnownMarks::read(section(), marks, Some(before)));
                self.settle(who, Told { snapshot: None, seen });
            }
        }
    }

    /// Asks the gate, as a lane does, and checks a refusal against the truth.
    pub fn admits(&mut self, who: usize, command: Command) -> bool {
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
        let refused = matches!(answer, GateAnswer::SoldOut { .. });
        if refused {
            self.refusals += 1;
            self.check_refusal(&known.snapshot, seats, shared.is_some());
        }
        let seen = KnownMarks::newer(
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
    pub fn is_taken(&self, by: &Snapshot, seen: &KnownMarks, name: Names) -> bool {
        let now = Timestamp::from_unix_ms(self.now);
        let is_due = by.next_expiry.is_some_and(|expiry| expiry <= now);
        let speaks = seen.belong_to(by) || !self.protocol.pairs;
        let seat = name.leading_zeros();
        speaks && !is_due && seen.marks.state(seat).is_some()
    }

    pub fn check_refusal(&self, by: &Snapshot, seats: i64, gate_answered: bool) {
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
    pub fn check_time(&self, by: &Snapshot) {
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
    pub fn settle(&mut self, who: usize, told: Told) {
        let contact = self.gate_ahead_ms - self.dice.ms(20);
        let instance = &mut self.instances[who];
        let settled_at_ms = self.now + *instance.ahead_ms.get_or_insert(contact);
        if let Some(seen) = told.seen.clone() {
            let held = instance.own_marks.take();
            instance.own_marks = Some(CheckedMarks::settle(held, seen, self.now, FRESH_MS));
        }
        if let Some(snapshot) = told.snapshot {
            instance.own =
                Some(CheckedSnapshot::settle(instance.own, snapshot, self.now, FRESH_MS));
            self.answered_at.insert(snapshot.version, self.now);
        }
        let message = Message { told, settled_at_ms, made_at: self.now };
        let copies = [0, 1, 1, 1, 1, 2][usize::try_from(self.dice.roll(6)).expect("small")];
        self.messages.extend(std::iter::repeat_n(message, copies));
    }

    /// Any message that is under way arrives, however old it is.
    pub fn deliver(&mut self) {
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
            let mut kept = CheckedMarks::settle(held, seen, gate_now, FRESH_MS);
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
        let kept = CheckedSnapshot::settle(held, snapshot, gate_now, FRESH_MS);
        // It was checked when it was settled, not when that arrives.
        let checked_at_ms = match held {
            Some(held) if held.snapshot == kept.snapshot => held.checked_at_ms.max(settled_at_ms),
            _ => settled_at_ms,
        };
        let touched = kept.checked_at_ms == gate_now;
        self.gate = Some(if touched { CheckedSnapshot { checked_at_ms, ..kept } } else { kept });
    }

    /// The gate decides by a counter; where it has none, it starts with what the store has.
    pub fn count_down(&mut self, seats: i64) -> bool {
        let counter = self.counter.unwrap_or(SEATS - self.store.in_use(self.now));
        let fits = counter >= seats;
        self.counter = Some(if fits { counter - seats } else { counter });
        fits
    }

    /// The counter is put right by a reader of the store, which reads first and writes later.
    pub fn reconcile(&mut self) {
        match self.reconciling.take() {
            None => self.reconciling = Some(SEATS - self.store.in_use(self.now)),
            Some(counted) => self.counter = Some(counted),
        }
    }

    /// Faults are over: every seat that is not sold can be sold within a bounded time.
    pub fn sell_out(&mut self) {
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
