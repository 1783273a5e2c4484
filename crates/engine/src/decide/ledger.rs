//! The ledger: the rows of a batch, and how a decision changes them.
//!
//! Every change goes through [`Ledger::record`] and [`Ledger::end`], so that no counter moves without
//! its row of the log (I4, I7) and no booking takes a step that I2 forbids.

use super::seats::{SeatFate, seat_rows};
use super::{Changes, Command, ExpiryEntry, Hold, KeyUse, LoadedRows, Outcome, Policy, SeatMaps};
use crate::access::{Actor, By, Overrides};
use crate::booking::{Booking, BookingStatus, Item};
use crate::error::{Fault, Refusal};
use crate::ids::{BookingId, IdempotencyKey, SectionId, UserId};
use crate::inventory::Inventory;
use crate::log::{Deltas, Detail, LogEntry, LogKind};
use crate::seats::{Layout, SeatName};
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How a booking came to be changed in this batch.
#[derive(Debug)]
enum Mark {
    Created,
    Updated {
        /// What the index of expiry has of it, when it was loaded as a live hold.
        unheld: Vec<ExpiryEntry>,
        /// Whether it has other seats now.
        reseated: bool,
    },
}

/// A step of a booking, as the log says it.
#[derive(Clone, Copy, Debug)]
pub(super) struct BookingStep {
    /// What it is.
    pub kind: LogKind,
    /// Who takes it, when it is neither the buyer nor time.
    pub actor: Option<Actor>,
    /// Which limits the seller goes beyond.
    pub overrides: Overrides,
}

impl BookingStep {
    /// One within all limits.
    pub const fn new(kind: LogKind, actor: Option<Actor>) -> Self {
        Self { kind, actor, overrides: Overrides::NONE }
    }
}

/// How a batch ended.
#[derive(Debug)]
pub struct Ended {
    /// What to write.
    pub changes: Changes,
    /// The inventory of every loaded section as it is then.
    pub inventories: Vec<Inventory>,
    /// The seat maps of the numbered ones among them.
    pub maps: SeatMaps,
}

/// The rows of a batch and what has been decided on them so far.
#[derive(Debug)]
pub struct Ledger {
    pub(super) now: Timestamp,
    pub(super) policy: Policy,
    pub(super) rows: LoadedRows,
    bookings_changed: BTreeMap<BookingId, Mark>,
    /// With the version each was loaded with.
    sections_changed: BTreeMap<SectionId, i64>,
    pub(super) maps_changed: BTreeSet<SectionId>,
    pub(super) seat_fates: Vec<SeatFate>,
    pub(super) laid: BTreeMap<SectionId, Arc<Layout>>,
    keys_used: Vec<(UserId, IdempotencyKey, KeyUse)>,
    log: Vec<LogEntry>,
}

impl Ledger {
    /// Opens a batch on `rows` at `now`, the store's clock read under the locks, and retires every
    /// loaded hold that is due and whose sections are all loaded.
    ///
    /// [`Fault::Contradiction`] when counters and bookings of a section cannot both be right: what would
    /// be decided on them could break I1.
    pub fn open(rows: LoadedRows, now: Timestamp, policy: Policy) -> Result<Self, Fault> {
        rows.agree()?;
        let mut ledger = Self {
            now,
            policy,
            rows,
            bookings_changed: BTreeMap::new(),
            sections_changed: BTreeMap::new(),
            maps_changed: BTreeSet::new(),
            seat_fates: Vec::new(),
            laid: BTreeMap::new(),
            keys_used: Vec::new(),
            log: Vec::new(),
        };
        ledger.retire_due();
        Ok(ledger)
    }

    /// The clock of this batch.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Decides one command on the rows as the commands before it left them.
    pub fn decide(&mut self, command: &Command) -> Result<Outcome, Refusal> {
        match command {
            Command::Hold(hold) => self.hold(hold),
            Command::Confirm { booking_id, by } => self.confirm(*booking_id, *by),
            Command::Release { booking_id, by } => self.release(*booking_id, *by),
            Command::Extend { booking_id, by } => self.extend(*booking_id, *by),
            Command::Cancel { booking_id, by } => self.cancel(*booking_id, *by),
            Command::Resize { section_id, by, capacity } => {
                self.resize(*section_id, *by, *capacity)
            }
            Command::Change {
                booking_id,
                by,
                user_id,
                event_id,
                expected,
                requests,
                overrides,
            } => {
                let wanted = (&requests[..], *overrides);
                self.change(*booking_id, *by, (*user_id, *event_id), *expected, wanted)
            }
            Command::Block { section_id, by, blocked, reason } => {
                self.block(*section_id, *by, blocked, reason.clone())
            }
            Command::Lay { section_id, by, layout } => self.lay(*section_id, *by, layout.clone()),
            Command::Note { section_id, by } => self.note_change(*section_id, *by),
            Command::Retire { .. } => Ok(Outcome::Done),
        }
    }

    /// Decides one command of a batch that was tried before and whose end is unknown (I12).
    ///
    /// Every command may be decided twice: what was committed is found and not done again. Only an
    /// extension would then be refused for the maximum lifetime that it reached, or because its hold was
    /// confirmed since, though it was had: it gets the booking, as it did in the attempt that answered so.
    /// So does a change whose seats the booking has at the version it made, which would else be refused for
    /// that version, or made once more.
    ///
    /// `earlier` are the answers of all attempts: of each it is unknown whether it was committed.
    pub fn decide_again(
        &mut self,
        command: &Command,
        earlier: &[&Result<Outcome, Refusal>],
    ) -> Result<Outcome, Refusal> {
        let answered = earlier.iter().filter_map(|answer| match answer {
            Ok(Outcome::Booking { booking, next_to_each_other, .. }) => {
                Some((booking, *next_to_each_other))
            }
            _ => None,
        });
        let shown = |booking, next_to_each_other| {
            Ok(Outcome::Booking { booking, replayed: false, next_to_each_other })
        };
        let found_of =
            |ledger: &Self, before: &Booking| ledger.rows.bookings.get(&before.booking_id).cloned();
        if let Command::Change { .. } = command {
            for (before, next_to_each_other) in answered.clone() {
                if let Some(found) = found_of(self, before)
                    && found.version >= before.version
                    && found.items == before.items
                {
                    return shown(found, next_to_each_other);
                }
            }
        }
        let mut again = self.decide(command);
        if let (Ok(Outcome::Booking { booking, replayed, .. }), false) =
            (&mut again, matches!(command, Command::Hold(_)))
        {
            // What an earlier attempt has changed, this command has.
            let has_changed = |earlier: &&Result<Outcome, Refusal>| {
                matches!(earlier, Ok(Outcome::Booking { booking: of, replayed: false, .. })
                    if (of.version, of.status) == (booking.version, booking.status))
            };
            *replayed &= !earlier.iter().any(has_changed);
        }
        if again == Err(Refusal::ExtensionLimit) {
            for (before, next_to_each_other) in answered {
                if let Some(found) = found_of(self, before)
                    && found.expires_at >= before.expires_at
                {
                    return shown(found, next_to_each_other);
                }
            }
        }
        again
    }

    /// Ends the batch.
    #[must_use]
    pub fn end_batch(mut self) -> Ended {
        let (freed, taken) = seat_rows(self.seat_fates);
        let mut changes =
            Changes { keys: self.keys_used, log: self.log, freed, taken, ..Changes::default() };
        for (booking_id, mark) in self.bookings_changed {
            let booking = self.rows.bookings.remove(&booking_id).expect("only loaded rows change");
            if booking.status == BookingStatus::Hold {
                changes.held.extend(entries(&booking));
            }
            match mark {
                Mark::Created => changes.created.push(booking),
                Mark::Updated { unheld, reseated } => {
                    changes.unheld.extend(unheld);
                    if reseated {
                        changes.reseated.push(booking.clone());
                    }
                    changes.updated.push(booking);
                }
            }
        }
        for section_id in self.maps_changed {
            let (_, inventory) = &self.rows.sections[&section_id];
            let map = self.rows.maps.get_mut(&section_id).expect("only loaded rows change");
            map.stamp(inventory.version);
            changes.marks.push((section_id, map.marks()));
        }
        changes.laid.extend(self.laid);
        let inventories: Vec<_> =
            self.rows.sections.into_values().map(|(_, inventory)| inventory).collect();
        for inventory in &inventories {
            if let Some(loaded) = self.sections_changed.get(&inventory.section_id) {
                changes.inventories.push((inventory.clone(), *loaded));
            }
        }
        changes.inventories.sort_by_key(|(inventory, _)| inventory.section_id);
        Ended { changes, inventories, maps: self.rows.maps }
    }

    /// Retires the loaded holds that are due, oldest first. Expiry needs no worker: each command
    /// that locks a section releases its dead holds before deciding.
    fn retire_due(&mut self) {
        let loaded = |booking: &&Booking| {
            booking.items.iter().all(|item| self.rows.sections.contains_key(&item.section_id))
        };
        let due =
            self.rows.bookings.values().filter(|booking| booking.is_due(self.now)).filter(loaded);
        let mut due: Vec<_> = due.map(|booking| (booking.expires_at, booking.booking_id)).collect();
        due.sort_unstable();
        for (_, booking_id) in due {
            let step = BookingStep::new(LogKind::Expired, None);
            self.end(booking_id, BookingStatus::Expired, step, held_back);
        }
    }

    /// Moves a booking along an edge of I2, with one row of the log for each of its sections.
    pub(super) fn end(
        &mut self,
        booking_id: BookingId,
        next: BookingStatus,
        step: BookingStep,
        deltas: fn(i64) -> Deltas,
    ) {
        let mut booking = self.rows.bookings[&booking_id].clone();
        // A due hold is not among the buyer's live seats, so only a cancellation releases some.
        if next == BookingStatus::Cancelled
            && let Some(live) = self.rows.buyers.get_mut(&(booking.event_id, booking.user_id))
        {
            *live -= i64::from(booking.seats());
        }
        booking.become_at(next, self.now);
        self.record(&booking, step, None, deltas);
        self.pass_on(&booking, next);
        self.put(booking);
    }

    /// Applies a transition of `booking` to its sections and appends it to the log (I4, I7).
    pub(super) fn record(
        &mut self,
        booking: &Booking,
        step: BookingStep,
        expires_at: Option<Timestamp>,
        deltas: impl Fn(i64) -> Deltas,
    ) {
        let sections = booking.sections().map(|(at, seats)| (at, deltas(i64::from(seats))));
        self.record_in(booking, step, expires_at, sections, None);
    }

    /// The same for a transition that touches these sections; `before` is what a changed hold had.
    pub(super) fn record_in(
        &mut self,
        booking: &Booking,
        step: BookingStep,
        expires_at: Option<Timestamp>,
        sections: impl Iterator<Item = (SectionId, Deltas)>,
        before: Option<Arc<[Item]>>,
    ) {
        let BookingStep { kind, actor, overrides } = step;
        let first = self.log.len();
        for (section_id, deltas) in sections {
            let booking_id = Some(booking.booking_id);
            let entry = LogEntry::of_section(section_id, kind, deltas);
            self.note(LogEntry { booking_id, expires_at, actor, ..entry });
        }
        let [first, others @ ..] = &mut self.log[first..] else { return };
        first.booking_version = Some(booking.version);
        first.tell_others(others, before, overrides);
    }

    /// Applies `entry` to its section and appends it to the log, with its time and version (I4, I7).
    fn note(&mut self, entry: LogEntry) {
        let section_id = entry.subject.section_id().expect("a batch changes sections");
        let loaded = self.rows.sections.get_mut(&section_id);
        let (_, inventory) = loaded.expect("a booking is loaded with its sections");
        self.sections_changed.entry(section_id).or_insert(inventory.version);
        inventory.apply(entry.deltas);
        self.log.push(LogEntry { at: self.now, version: inventory.version, ..entry });
    }

    /// Applies a change of a section by its organizer, and appends it to the log with what the section
    /// is from now on (I4, I7).
    pub(super) fn note_section(&mut self, section_id: SectionId, change: SectionStep) {
        let SectionStep { kind, by, deltas, reason, blocked, unblocked } = change;
        let entry = LogEntry::of_section(section_id, kind, deltas);
        self.note(LogEntry { reason, actor: Some(by.actor()), ..entry });
        let (section, inventory) = self.rows.sections[&section_id].clone();
        let detail = Detail::Section { section, inventory, blocked, unblocked };
        self.log.last_mut().expect("it was noted just now").detail = Some(Box::new(detail));
    }

    /// Adds the booking that a hold made, and the key that names it (I6).
    pub(super) fn create(&mut self, booking: Booking, hold: &Hold) {
        if let Some((key, fingerprint)) = hold.key.clone() {
            let used = KeyUse { booking_id: booking.booking_id, fingerprint };
            self.rows.keys.insert((hold.caller(), key.clone()), used.clone());
            self.keys_used.push((hold.caller(), key, used));
        }
        self.bookings_changed.insert(booking.booking_id, Mark::Created);
        self.rows.bookings.insert(booking.booking_id, booking);
    }

    /// Changes the counters of the section itself, unless there is nothing to change.
    pub(super) fn adjust(&mut self, section_id: SectionId, change: SectionStep) -> Outcome {
        if change.deltas != Deltas::default() {
            self.note_section(section_id, change);
        }
        self.counted(section_id)
    }

    /// The inventory of a section as it is now.
    pub(super) fn counted(&self, section_id: SectionId) -> Outcome {
        Outcome::Inventory(self.rows.sections[&section_id].1.clone())
    }

    /// Replaces a booking that has other seats than before.
    pub(super) fn reseat(&mut self, booking: Booking) {
        let booking_id = booking.booking_id;
        self.put(booking);
        if let Some(Mark::Updated { reseated, .. }) = self.bookings_changed.get_mut(&booking_id) {
            *reseated = true;
        }
    }

    pub(super) fn put(&mut self, booking: Booking) {
        let booking_id = booking.booking_id;
        let before =
            self.rows.bookings.insert(booking_id, booking).expect("only loaded rows change");
        self.bookings_changed.entry(booking_id).or_insert_with(|| {
            let live = before.status == BookingStatus::Hold;
            let unheld = if live { entries(&before).collect() } else { Vec::new() };
            Mark::Updated { unheld, reseated: false }
        });
    }
}

/// What the index of expiry has of a live hold.
fn entries(booking: &Booking) -> impl Iterator<Item = ExpiryEntry> {
    let (booking_id, expires_at) = (booking.booking_id, booking.expires_at);
    let sections = booking.sections();
    sections.map(move |(section_id, seats)| ExpiryEntry {
        section_id,
        expires_at,
        booking_id,
        seats,
    })
}

/// What an organizer does to a section.
pub(super) struct SectionStep {
    pub kind: LogKind,
    pub by: By,
    pub deltas: Deltas,
    pub reason: Option<Arc<str>>,
    /// Numbered seats that it takes off sale.
    pub blocked: Vec<SeatName>,
    /// Numbered seats that it puts back on sale.
    pub unblocked: Vec<SeatName>,
}

impl SectionStep {
    pub(super) fn new(kind: LogKind, by: By, deltas: Deltas) -> Self {
        Self { kind, by, deltas, reason: None, blocked: Vec::new(), unblocked: Vec::new() }
    }
}

/// What ending a live hold does to the counters.
pub(super) fn held_back(seats: i64) -> Deltas {
    Deltas { held: -seats, ..Deltas::default() }
}
