//! Bugs planted into the pure rules: a checker is only believed once it has caught them.

use crate::backend::{Backend, Kind, at_once};
use crate::pure::{Commit, Pure, Tables};
use crate::world::ManualClock;
use async_trait::async_trait;
use engine::{
    BookingId, By, Changes, Command, Committed, Hold, IdempotencyKey, Ledger, LoadedRows, LogKind,
    Outcome, Policy, Refusal, SectionId, Timestamp, UserId,
};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A confirm does not retire a due hold first: it sells what is dead.
    ConfirmsTheDead,
    /// Every retry is a new request.
    IgnoresKeys,
    /// Each ask of a cart is compared with what is available alone.
    ComparesEachAskAlone,
    /// Whenever seats come back, one does not.
    DriftsByOne,
    /// The clock is read before the wait for the lock.
    ReadsTheClockBeforeTheWait,
    /// A refusal is stored under its key.
    RemembersRefusals,
    /// A retry shows the booking as it was first.
    ReplaysWhatWasTrueOnce,
    /// A due cart is loaded without its other sections, so it is not retired.
    ForgetsOtherSections,
    /// The extension of a hold is not logged.
    LosesALogRow,
    /// Any user that knows the id can confirm.
    ConfirmsForAnybody,
    /// The seats a buyer has already are not counted.
    ForgetsTheCap,
    /// Extending has no end.
    ExtendsForever,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::ConfirmsTheDead,
        Self::IgnoresKeys,
        Self::ComparesEachAskAlone,
        Self::DriftsByOne,
        Self::ReadsTheClockBeforeTheWait,
        Self::RemembersRefusals,
        Self::ReplaysWhatWasTrueOnce,
        Self::ForgetsOtherSections,
        Self::LosesALogRow,
        Self::ConfirmsForAnybody,
        Self::ForgetsTheCap,
        Self::ExtendsForever,
    ];
}

#[async_trait]
impl Kind for Bug {
    async fn open(&self, policy: Policy, clock: &ManualClock) -> Box<dyn Backend> {
        let (clock_before, first_answers) = (Mutex::new(clock.now()), Mutex::default());
        let planted = Planted { bug: *self, clock_before, first_answers };
        Box::new(Pure::committing(planted, policy, clock))
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        at_once(future)
    }
}

/// The pure rules with a bug.
struct Planted {
    bug: Bug,
    /// The clock as the batch before saw it.
    clock_before: Mutex<Timestamp>,
    first_answers: Mutex<HashMap<(UserId, IdempotencyKey), Result<Outcome, Refusal>>>,
}

impl Planted {
    /// The commands as the bug lets them through.
    fn disguised(&self, commands: &[Command], tables: &Tables) -> Vec<Command> {
        let disguise = |command: &Command| match (self.bug, command) {
            (Bug::IgnoresKeys, Command::Hold(hold)) => {
                Command::Hold(Hold { key: None, ..hold.clone() })
            }
            (Bug::ConfirmsForAnybody, Command::Confirm { booking_id, by }) => {
                let owner = tables.bookings.get(booking_id).map(|booking| booking.user_id);
                let by = owner.map_or(*by, By::User);
                Command::Confirm { booking_id: *booking_id, by }
            }
            _ => command.clone(),
        };
        commands.iter().map(disguise).collect()
    }

    /// Answers that the bug puts in the place of the right ones.
    fn replaced(&self, commands: &[Command], answers: &mut [Result<Outcome, Refusal>]) {
        let mut first_answers = self.first_answers.lock();
        for (command, answer) in commands.iter().zip(answers) {
            let Command::Hold(Hold { user_id, key: Some((key, _)), .. }) = command else {
                continue;
            };
            let first = first_answers.entry((*user_id, key.clone())).or_insert(answer.clone());
            match (self.bug, &*answer, &*first) {
                (Bug::RemembersRefusals, _, Err(_)) => answer.clone_from(first),
                (
                    Bug::ReplaysWhatWasTrueOnce,
                    Ok(Outcome::Booking { replayed: true, .. }),
                    Ok(Outcome::Booking { booking, .. }),
                ) => {
                    let booking = booking.clone();
                    *answer =
                        Ok(Outcome::Booking { booking, replayed: true, next_to_each_other: None });
                }
                _ => {}
            }
        }
    }
}

/// What was changed in the loaded rows, to be put right in what is written.
#[derive(Default)]
struct Tampered {
    ends: HashMap<BookingId, Timestamp>,
    capacities: HashMap<SectionId, i64>,
}

impl Tampered {
    /// Spoils the rows a batch is decided on.
    fn spoil(bug: Bug, rows: &mut LoadedRows, commands: &[Command], now: Timestamp) -> Self {
        let mut tampered = Self::default();
        match bug {
            Bug::ForgetsTheCap => rows.buyers.clear(),
            Bug::ForgetsOtherSections => {
                let mut needed = engine::decide::Needs::of(commands).sections;
                let named = engine::decide::Needs::of(commands).bookings;
                let named = named.iter().filter_map(|booking_id| rows.bookings.get(booking_id));
                let items = named.flat_map(|booking| booking.items.iter());
                needed.extend(items.map(|item| item.section_id));
                rows.sections.retain(|section_id, _| needed.contains(section_id));
            }
            _ => {}
        }
        for command in commands {
            match (bug, command) {
                (Bug::ConfirmsTheDead, Command::Confirm { booking_id, .. }) => {
                    if let Some(booking) = rows.bookings.get_mut(booking_id)
                        && booking.is_due(now)
                    {
                        tampered.ends.insert(*booking_id, booking.expires_at);
                        booking.expires_at = now.plus_ms(1);
                    }
                }
                (Bug::ExtendsForever, Command::Extend { booking_id, .. }) => {
                    if let Some(booking) = rows.bookings.get_mut(booking_id) {
                        booking.max_expires_at = now.plus_ms(1_000_000);
                    }
                }
                (Bug::ComparesEachAskAlone, Command::Hold(hold)) => {
                    tampered.make_room(rows, hold);
                }
                _ => {}
            }
        }
        tampered
    }

    /// Makes room for the sum of the asks where each of them fits alone.
    fn make_room(&mut self, rows: &mut LoadedRows, hold: &Hold) {
        let mut demand = BTreeMap::new();
        for ask in &hold.requests {
            let seats = i64::from(ask.seats());
            demand.entry(ask.sections()[0]).or_insert_with(Vec::new).push(seats);
        }
        for (section_id, seats) in demand {
            let Some((_, inventory)) = rows.sections.get_mut(&section_id) else { continue };
            let missing = seats.iter().sum::<i64>() - inventory.available();
            let each_fits = seats.iter().all(|seats| *seats <= inventory.available());
            if each_fits && missing > 0 {
                inventory.capacity += missing;
                *self.capacities.entry(section_id).or_default() += missing;
            }
        }
    }

    fn put_right(&self, bug: Bug, changes: &mut Changes) {
        for booking in &mut changes.updated {
            booking.expires_at = *self.ends.get(&booking.booking_id).unwrap_or(&booking.expires_at);
        }
        for held in &mut changes.unheld {
            held.expires_at = *self.ends.get(&held.booking_id).unwrap_or(&held.expires_at);
        }
        for (inventory, _) in &mut changes.inventories {
            inventory.capacity -= self.capacities.get(&inventory.section_id).unwrap_or(&0);
        }
        let came_back = |kind| matches!(kind, LogKind::Released | LogKind::Expired);
        if bug == Bug::DriftsByOne && changes.log.iter().any(|entry| came_back(entry.kind)) {
            changes.inventories[0].0.held += 1;
        }
        if bug == Bug::LosesALogRow {
            changes.log.retain(|entry| entry.kind != LogKind::Extended);
        }
    }
}

impl Commit for Planted {
    fn commit(
        &self,
        tables: &mut Tables,
        commands: &[Command],
        now: Timestamp,
        policy: Policy,
    ) -> Committed {
        let before = std::mem::replace(&mut *self.clock_before.lock(), now);
        let decided_at = if self.bug == Bug::ReadsTheClockBeforeTheWait { before } else { now };
        let disguised = self.disguised(commands, tables);
        let mut rows = tables.load(&disguised, decided_at, &policy);
        let tampered = Tampered::spoil(self.bug, &mut rows, &disguised, now);
        let mut ledger = Ledger::open(rows, decided_at, policy).expect("its tables agree");
        let mut answers: Vec<_> = disguised.iter().map(|command| ledger.decide(command)).collect();
        self.replaced(commands, &mut answers);
        let mut ended = ledger.end_batch();
        tampered.put_right(self.bug, &mut ended.changes);
        tables.committed(now, answers, ended)
    }
}
