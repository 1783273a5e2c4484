//! The ledger: the rows of a batch, and how a decision changes them.
//!
//! Every change goes through [`Ledger::record`] and [`Ledger::end`], so that no counter moves without
//! its row of the log (I4, I7) and no booking takes a step that I2 forbids.

use super::{Changes, Command, Held, KeyUse, Outcome, Policy, Rows};
use crate::booking::{Booking, BookingStatus};
use crate::error::Refusal;
use crate::ids::{BookingId, IdempotencyKey, SectionId, UserId};
use crate::inventory::Inventory;
use crate::log::{Deltas, LogEntry, LogKind};
use crate::time::Timestamp;
use std::collections::BTreeMap;

/// How a booking came to be changed in this batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Created,
    /// It was loaded; a live hold with the `expires_at` it had then.
    Updated {
        held_until: Option<Timestamp>,
    },
}

/// The rows of a batch and what has been decided on them so far.
#[derive(Debug)]
pub struct Ledger {
    pub(super) now: Timestamp,
    pub(super) policy: Policy,
    pub(super) rows: Rows,
    bookings_changed: BTreeMap<BookingId, Mark>,
    /// With the version each was loaded with.
    sections_changed: BTreeMap<SectionId, i64>,
    keys_used: Vec<(UserId, IdempotencyKey, KeyUse)>,
    log: Vec<LogEntry>,
}

impl Ledger {
    /// Opens a batch on `rows` at `now`, the store's clock read under the locks, and retires every
    /// loaded hold that is due and whose sections are all loaded.
    #[must_use]
    pub fn open(rows: Rows, now: Timestamp, policy: Policy) -> Self {
        let mut ledger = Self {
            now,
            policy,
            rows,
            bookings_changed: BTreeMap::new(),
            sections_changed: BTreeMap::new(),
            keys_used: Vec::new(),
            log: Vec::new(),
        };
        ledger.retire_due();
        ledger
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
            Command::Confirm { booking_id, user_id } => self.confirm(*booking_id, *user_id),
            Command::Release { booking_id, user_id } => self.release(*booking_id, *user_id),
            Command::Extend { booking_id, user_id } => self.extend(*booking_id, *user_id),
            Command::Cancel { booking_id, by } => self.cancel(*booking_id, *by),
            Command::Resize { section_id, by, capacity } => {
                self.resize(*section_id, *by, *capacity)
            }
            Command::Block { section_id, by, blocked } => self.block(*section_id, *by, *blocked),
            Command::Retire { .. } => Ok(Outcome::Done),
        }
    }

    /// Decides one command of a batch that was tried before and whose end is unknown (I12).
    ///
    /// Every command may be decided twice: what was committed is found and not done again. Only an
    /// extension would then be refused for gaining nothing, though its gain was had: it gets the
    /// booking, as it did in the attempt that answered `earlier`.
    pub fn decide_again(
        &mut self,
        command: &Command,
        earlier: &Result<Outcome, Refusal>,
    ) -> Result<Outcome, Refusal> {
        let again = self.decide(command);
        if let (Err(Refusal::ExtensionLimit), Ok(Outcome::Booking { booking: gained, .. })) =
            (&again, earlier)
            && let Some(booking) = self.rows.bookings.get(&gained.booking_id)
            && booking.expires_at >= gained.expires_at
        {
            return Ok(Outcome::Booking { booking: booking.clone(), replayed: false });
        }
        again
    }

    /// Ends the batch: what to write, and the inventory of every loaded section as it is then.
    #[must_use]
    pub fn into_changes(mut self) -> (Changes, Vec<Inventory>) {
        let mut changes = Changes { keys: self.keys_used, log: self.log, ..Changes::default() };
        for (booking_id, mark) in self.bookings_changed {
            let booking = self.rows.bookings.remove(&booking_id).expect("only loaded rows change");
            let entries = |expires_at| {
                booking.items.iter().map(move |item| Held {
                    section_id: item.section_id,
                    expires_at,
                    booking_id,
                    seats: item.seats,
                })
            };
            if let Mark::Updated { held_until: Some(expires_at) } = mark {
                changes.unheld.extend(entries(expires_at));
            }
            if booking.status == BookingStatus::Hold {
                changes.held.extend(entries(booking.expires_at));
            }
            match mark {
                Mark::Created => changes.created.push(booking),
                Mark::Updated { .. } => changes.updated.push(booking),
            }
        }
        let inventories: Vec<_> =
            self.rows.sections.into_values().map(|(_, inventory)| inventory).collect();
        for inventory in &inventories {
            if let Some(loaded) = self.sections_changed.get(&inventory.section_id) {
                changes.inventories.push((inventory.clone(), *loaded));
            }
        }
        changes.inventories.sort_by_key(|(inventory, _)| inventory.section_id);
        (changes, inventories)
    }

    /// Retires the loaded holds that are due, oldest first. Expiry needs no worker: whoever locks a
    /// section gives its dead holds back before deciding.
    fn retire_due(&mut self) {
        let loaded = |booking: &&Booking| {
            booking.items.iter().all(|item| self.rows.sections.contains_key(&item.section_id))
        };
        let due =
            self.rows.bookings.values().filter(|booking| booking.is_due(self.now)).filter(loaded);
        let mut due: Vec<_> = due.map(|booking| (booking.expires_at, booking.booking_id)).collect();
        due.sort_unstable();
        for (_, booking_id) in due {
            self.end(booking_id, BookingStatus::Expired, LogKind::Expired, held_back);
        }
    }

    /// Moves a booking along an edge of I2, with one row of the log for each of its sections.
    pub(super) fn end(
        &mut self,
        booking_id: BookingId,
        next: BookingStatus,
        kind: LogKind,
        deltas: fn(i64) -> Deltas,
    ) {
        let mut booking = self.rows.bookings[&booking_id].clone();
        // A due hold is not among the buyer's live seats, so only a cancellation gives some back.
        if next == BookingStatus::Cancelled
            && let Some(live) = self.rows.buyers.get_mut(&(booking.event_id, booking.user_id))
        {
            *live -= i64::from(booking.seats());
        }
        booking.become_at(next, self.now);
        self.record(&booking, kind, None, deltas);
        self.put(booking);
    }

    /// Applies a transition of `booking` to its sections and appends it to the log (I4, I7).
    pub(super) fn record(
        &mut self,
        booking: &Booking,
        kind: LogKind,
        expires_at: Option<Timestamp>,
        deltas: impl Fn(i64) -> Deltas,
    ) {
        for item in &booking.items {
            let (_, inventory) = self
                .rows
                .sections
                .get_mut(&item.section_id)
                .expect("a booking is loaded with its sections");
            let deltas = deltas(i64::from(item.seats));
            self.sections_changed.entry(item.section_id).or_insert(inventory.version);
            inventory.apply(deltas);
            self.log.push(LogEntry {
                at: self.now,
                kind,
                section_id: item.section_id,
                booking_id: Some(booking.booking_id),
                deltas,
                version: inventory.version,
                expires_at,
            });
        }
    }

    /// Adds a booking, and the key that names it (I6).
    pub(super) fn create(&mut self, booking: Booking, key: Option<(IdempotencyKey, i64)>) {
        if let Some((key, fingerprint)) = key {
            let used = KeyUse { booking_id: booking.booking_id, fingerprint };
            self.rows.keys.insert((booking.user_id, key.clone()), used.clone());
            self.keys_used.push((booking.user_id, key, used));
        }
        self.bookings_changed.insert(booking.booking_id, Mark::Created);
        self.rows.bookings.insert(booking.booking_id, booking);
    }

    /// Changes the section itself, unless there is nothing to change.
    pub(super) fn adjust(
        &mut self,
        section_id: SectionId,
        kind: LogKind,
        deltas: Deltas,
    ) -> Outcome {
        let (_, inventory) = self.rows.sections.get_mut(&section_id).expect("decided on it");
        if deltas != Deltas::default() {
            self.sections_changed.entry(section_id).or_insert(inventory.version);
            inventory.apply(deltas);
            self.log.push(LogEntry {
                at: self.now,
                kind,
                section_id,
                booking_id: None,
                deltas,
                version: inventory.version,
                expires_at: None,
            });
        }
        Outcome::Inventory(inventory.clone())
    }

    pub(super) fn put(&mut self, booking: Booking) {
        let booking_id = booking.booking_id;
        let before =
            self.rows.bookings.insert(booking_id, booking).expect("only loaded rows change");
        let live = before.status == BookingStatus::Hold;
        let held_until = live.then_some(before.expires_at);
        self.bookings_changed.entry(booking_id).or_insert(Mark::Updated { held_until });
    }
}

/// What ending a live hold does to the counters.
pub(super) fn held_back(seats: i64) -> Deltas {
    Deltas { held: -seats, ..Deltas::default() }
}
