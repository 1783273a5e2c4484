//! The decision: what each command of a batch does to the rows the batch has locked.
//!
//! A store loads the rows that [`Needs`] names, reads the one clock, makes a [`Ledger`], decides
//! the commands in order, writes [`Changes`] and commits. Each command sees what the ones before it
//! did, so a batch ends as if its commands had come one by one.
//!
//! ```text
//! [Command] ──Needs::of──▶ store loads ──Rows──▶ Ledger ──decide × n──▶ [Outcome | Refusal]
//!                                                   └──into_changes──▶ store writes, commits
//! ```
//! Pure: no clock, no storage, no randomness. A refusal changes nothing, except that due holds of
//! the loaded sections are retired first, whoever asks.

use crate::booking::{Booking, BookingStatus, Item};
use crate::error::Refusal;
use crate::event::{Section, Terms};
use crate::ids::{BookingId, EventId, IdempotencyKey, SectionId, UserId};
use crate::inventory::Inventory;
use crate::log::{Deltas, LogEntry, LogKind};
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Due holds retired of one section by one batch, at most: it bounds the work of a batch.
pub const RETIRED_PER_SECTION_MAX: usize = 1_000;

/// The limits of an event that sets none of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long a hold lives.
    pub hold_ttl_ms: i64,
    /// How long a hold may live with all its extensions.
    pub hold_max_life_ms: i64,
    /// Seats in one booking.
    pub max_seats_per_booking: u32,
    /// Live seats of one buyer at one event; `None`: no cap.
    pub max_seats_per_user: Option<u32>,
}

/// Who acts on a booking or a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A person.
    User(UserId),
    /// We, carrying out what an organizer decided for the whole event.
    System,
}

/// Seats asked for in one section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Where.
    pub section_id: SectionId,
    /// How many, at least one.
    pub seats: u32,
}

/// A request to hold seats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The id the booking will have.
    pub booking_id: BookingId,
    /// The buyer.
    pub user_id: UserId,
    /// The event.
    pub event_id: EventId,
    /// At least one ask; asks of the same section are added up.
    pub asks: Vec<Ask>,
    /// The client's name for this attempt, with a digest of the request it belongs to.
    pub key: Option<(IdempotencyKey, i64)>,
}

/// All that changes inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Sets seats aside.
    Hold(Hold),
    /// Turns a live hold into a sale.
    Confirm {
        /// The hold.
        booking_id: BookingId,
        /// Its buyer.
        user_id: UserId,
    },
    /// Gives a live hold back; refuses to touch a sale.
    Release {
        /// The hold.
        booking_id: BookingId,
        /// Its buyer.
        user_id: UserId,
    },
    /// Gives a live hold more time.
    Extend {
        /// The hold.
        booking_id: BookingId,
        /// Its buyer.
        user_id: UserId,
    },
    /// Gives a live hold back, or undoes a sale.
    Cancel {
        /// The booking.
        booking_id: BookingId,
        /// Who wants it.
        by: Actor,
    },
    /// Sets the capacity of a section.
    Resize {
        /// The section.
        section_id: SectionId,
        /// Who wants it.
        by: UserId,
        /// How many seats there will be.
        capacity: i64,
    },
    /// Sets how many seats of a section are kept off sale.
    Block {
        /// The section.
        section_id: SectionId,
        /// Who wants it.
        by: UserId,
        /// How many will be blocked.
        blocked: i64,
    },
    /// Does nothing but retire the due holds of a section.
    Retire {
        /// The section.
        section_id: SectionId,
    },
}

/// What a command that was not refused led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The booking as it is now.
    Booking {
        /// The booking.
        booking: Booking,
        /// Whether an earlier request with the same key made it (I6).
        replayed: bool,
    },
    /// The inventory as it is now.
    Inventory(Inventory),
    /// Nothing to tell.
    Done,
}

/// A committed use of an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// The hold it names.
    pub booking_id: BookingId,
    /// The digest of the request it came with.
    pub fingerprint: i64,
}

impl KeyUse {
    /// Whether a request with this digest is a retry of the one that made the hold (I6).
    pub fn matches(&self, fingerprint: i64) -> Result<(), Refusal> {
        if self.fingerprint == fingerprint { Ok(()) } else { Err(Refusal::IdempotencyKeyReused) }
    }
}

/// The rows a batch has to lock and load, each list sorted and without doubles.
///
/// The store adds what it finds on the way: the bookings named by keys, the due holds of the
/// sections (at most [`RETIRED_PER_SECTION_MAX`] each), and the sections of all these bookings.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Idempotency keys.
    pub keys: BTreeSet<(UserId, IdempotencyKey)>,
    /// Events.
    pub events: BTreeSet<EventId>,
    /// Sections with their inventory.
    pub sections: BTreeSet<SectionId>,
    /// Bookings.
    pub bookings: BTreeSet<BookingId>,
    /// Buyers who want to hold seats of an event.
    pub buyers: BTreeSet<(EventId, UserId)>,
}

impl Needs {
    /// What `commands` need.
    #[must_use]
    pub fn of(commands: &[Command]) -> Self {
        let mut needs = Self::default();
        for command in commands {
            match command {
                Command::Hold(hold) => {
                    needs.keys.extend(hold.key.iter().map(|(key, _)| (hold.user_id, key.clone())));
                    needs.events.insert(hold.event_id);
                    needs.sections.extend(hold.asks.iter().map(|ask| ask.section_id));
                    needs.buyers.insert((hold.event_id, hold.user_id));
                }
                Command::Confirm { booking_id, .. }
                | Command::Release { booking_id, .. }
                | Command::Extend { booking_id, .. }
                | Command::Cancel { booking_id, .. } => {
                    needs.bookings.insert(*booking_id);
                }
                Command::Resize { section_id, .. }
                | Command::Block { section_id, .. }
                | Command::Retire { section_id } => {
                    needs.sections.insert(*section_id);
                }
            }
        }
        needs
    }
}

/// The rows a store has locked and loaded for a batch. What is missing does not exist.
#[derive(Debug, Default)]
pub struct Rows {
    /// The events of all loaded sections and bookings.
    pub terms: HashMap<EventId, Terms>,
    /// Sections with their inventory.
    pub sections: HashMap<SectionId, (Section, Inventory)>,
    /// Bookings: those that commands and keys name, and the due holds of the sections.
    pub bookings: HashMap<BookingId, Booking>,
    /// Committed uses of the keys.
    pub keys: HashMap<(UserId, IdempotencyKey), KeyUse>,
    /// Live seats (confirmed, or held and not due) of buyers at events with a cap.
    pub buyers: HashMap<(EventId, UserId), i64>,
}

/// A live hold as the index of expiry keeps it, once for each of its sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    /// Where its seats are.
    pub section_id: SectionId,
    /// When it ends.
    pub expires_at: Timestamp,
    /// The hold.
    pub booking_id: BookingId,
    /// How many seats of the section it holds.
    pub seats: u32,
}

/// What a store has to write. Rows of the log are in the order in which they came to be, the others
/// in the order of their ids.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// New bookings.
    pub created: Vec<Booking>,
    /// Bookings with a new status or expiry.
    pub updated: Vec<Booking>,
    /// Entries to remove from the index of expiry, before `held` is added.
    pub unheld: Vec<Held>,
    /// Entries to add to the index of expiry.
    pub held: Vec<Held>,
    /// Inventories with new counters or a new version, each with the version it was loaded with.
    pub inventories: Vec<(Inventory, i64)>,
    /// New uses of keys.
    pub keys: Vec<(UserId, IdempotencyKey, KeyUse)>,
    /// New rows of the log.
    pub log: Vec<LogEntry>,
}

impl Changes {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.log.is_empty()
    }
}

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
    now: Timestamp,
    policy: Policy,
    rows: Rows,
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

    /// Holds seats for a buyer until the hold's time is over.
    ///
    /// A key that is committed is replayed before anything else is asked (I6). Then the first
    /// refusal wins: not found, those of [`Terms::may_sell`], [`Refusal::TooManySeats`],
    /// [`Refusal::BuyerLimit`], [`Refusal::SoldOut`].
    fn hold(&mut self, hold: &Hold) -> Result<Outcome, Refusal> {
        if let Some(replay) = self.replay(hold)? {
            return Ok(replay);
        }
        let demand = summed(&hold.asks);
        let terms = self
            .rows
            .terms
            .get(&hold.event_id)
            .filter(|terms| terms.visible_to(Some(hold.user_id)));
        let terms = terms.ok_or(Refusal::NotFound { what: "event" })?;
        for section_id in demand.keys() {
            let found = self.rows.sections.get(section_id);
            let found = found.filter(|(section, _)| section.event_id == hold.event_id);
            found.ok_or(Refusal::NotFound { what: "section" })?;
        }
        terms.may_sell(self.now)?;
        let seats: i64 = demand.values().sum();
        let limit = terms.max_seats_per_booking.unwrap_or(self.policy.max_seats_per_booking);
        if seats > i64::from(limit) {
            return Err(Refusal::TooManySeats { limit });
        }
        let cap = terms.max_seats_per_user.or(self.policy.max_seats_per_user);
        let buyer = (hold.event_id, hold.user_id);
        if let Some(limit) = cap {
            let remaining = i64::from(limit) - self.rows.buyers.get(&buyer).copied().unwrap_or(0);
            if seats > remaining {
                return Err(Refusal::BuyerLimit { limit, remaining: remaining.max(0) });
            }
        }
        for (section_id, requested) in &demand {
            let available = self.rows.sections[section_id].1.available();
            if available < *requested {
                return Err(Refusal::SoldOut { available, requested: *requested });
            }
        }

        // After this point it must succeed.
        let ttl_ms = terms.hold_ttl_ms.unwrap_or(self.policy.hold_ttl_ms);
        let expires_at = self.now.plus_ms(ttl_ms);
        let booking = Booking {
            booking_id: hold.booking_id,
            user_id: hold.user_id,
            event_id: hold.event_id,
            items: demand
                .iter()
                .map(|(section_id, seats)| self.item(*section_id, *seats))
                .collect(),
            status: BookingStatus::Hold,
            expires_at,
            max_expires_at: self.now.plus_ms(self.policy.hold_max_life_ms.max(ttl_ms)),
            confirmed_at: None,
            cancelled_at: None,
            created_at: self.now,
            updated_at: self.now,
            version: 1,
        };
        self.record(&booking, LogKind::Held, Some(expires_at), |seats| Deltas {
            held: seats,
            ..Deltas::default()
        });
        if cap.is_some() {
            *self.rows.buyers.entry(buyer).or_default() += seats;
        }
        if let Some((key, fingerprint)) = &hold.key {
            let used = KeyUse { booking_id: hold.booking_id, fingerprint: *fingerprint };
            self.rows.keys.insert((hold.user_id, key.clone()), used.clone());
            self.keys_used.push((hold.user_id, key.clone(), used));
        }
        self.bookings_changed.insert(booking.booking_id, Mark::Created);
        self.rows.bookings.insert(booking.booking_id, booking.clone());
        Ok(Outcome::Booking { booking, replayed: false })
    }

    /// The hold that an earlier request with the same key made, with its present status (I6).
    fn replay(&self, hold: &Hold) -> Result<Option<Outcome>, Refusal> {
        let Some((key, fingerprint)) = &hold.key else { return Ok(None) };
        let Some(used) = self.rows.keys.get(&(hold.user_id, key.clone())) else { return Ok(None) };
        used.matches(*fingerprint)?;
        let booking =
            self.rows.bookings.get(&used.booking_id).expect("a key is loaded with its booking");
        Ok(Some(Outcome::Booking { booking: booking.clone(), replayed: true }))
    }

    fn item(&self, section_id: SectionId, seats: i64) -> Item {
        let (section, _) = &self.rows.sections[&section_id];
        Item {
            section_id,
            section_name: section.name.clone(),
            seats: u32::try_from(seats).expect("within the limit of a booking"),
            numbers: Vec::new(),
            unit_price: section.price,
        }
    }

    /// Sells what is held (I5): never at or after `expires_at`, never refused for lack of seats before.
    ///
    /// The first refusal wins: not found, [`Refusal::EventCancelled`], [`Refusal::BookingCancelled`],
    /// [`Refusal::HoldExpired`]. Confirming again gives the same booking.
    fn confirm(&mut self, booking_id: BookingId, user_id: UserId) -> Result<Outcome, Refusal> {
        let booking = self.owned(booking_id, user_id)?;
        match booking.status_at(self.now) {
            BookingStatus::Confirmed => return Ok(self.shown(booking_id)),
            BookingStatus::Cancelled => return Err(self.cancelled(booking.event_id)),
            BookingStatus::Expired => {
                return Err(Refusal::HoldExpired { expired_at: booking.expires_at });
            }
            BookingStatus::Hold => self.not_called_off(booking.event_id)?,
        }
        self.end(booking_id, BookingStatus::Confirmed, LogKind::Confirmed, |seats| Deltas {
            held: -seats,
            sold: seats,
            ..Deltas::default()
        });
        Ok(self.shown(booking_id))
    }

    /// Gives a live hold back. Again: the same booking.
    ///
    /// The first refusal wins: not found, [`Refusal::NotCancellable`] (a sale, or an expired hold).
    fn release(&mut self, booking_id: BookingId, user_id: UserId) -> Result<Outcome, Refusal> {
        match self.owned(booking_id, user_id)?.status_at(self.now) {
            BookingStatus::Cancelled => {}
            BookingStatus::Hold => self.give_back(booking_id),
            BookingStatus::Confirmed | BookingStatus::Expired => {
                return Err(Refusal::NotCancellable);
            }
        }
        Ok(self.shown(booking_id))
    }

    /// Gives a live hold more time: `min(now + ttl, max_expires_at)`, and only if that is a gain.
    ///
    /// The first refusal wins: not found, [`Refusal::EventCancelled`], [`Refusal::BookingCancelled`],
    /// [`Refusal::ExtensionLimit`] (also for a sale), [`Refusal::HoldExpired`].
    fn extend(&mut self, booking_id: BookingId, user_id: UserId) -> Result<Outcome, Refusal> {
        let booking = self.owned(booking_id, user_id)?;
        match booking.status_at(self.now) {
            BookingStatus::Confirmed => return Err(Refusal::ExtensionLimit),
            BookingStatus::Cancelled => return Err(self.cancelled(booking.event_id)),
            BookingStatus::Expired => {
                return Err(Refusal::HoldExpired { expired_at: booking.expires_at });
            }
            BookingStatus::Hold => self.not_called_off(booking.event_id)?,
        }
        let terms = &self.rows.terms[&booking.event_id];
        let ttl_ms = terms.hold_ttl_ms.unwrap_or(self.policy.hold_ttl_ms);
        let expires_at = self.now.plus_ms(ttl_ms).min(booking.max_expires_at);
        if expires_at <= booking.expires_at {
            return Err(Refusal::ExtensionLimit);
        }
        let mut booking = booking.clone();
        booking.expires_at = expires_at;
        booking.touch(self.now);
        self.record(&booking, LogKind::Extended, Some(expires_at), |_| Deltas::default());
        self.put(booking);
        Ok(self.shown(booking_id))
    }

    /// Gives a live hold back, or undoes a sale. Again: the same booking.
    ///
    /// The first refusal wins: not found, [`Refusal::NotCancellable`]. A hold may always be
    /// cancelled; a sale by its buyer until `cancellable_until`, by the organizer always.
    fn cancel(&mut self, booking_id: BookingId, by: Actor) -> Result<Outcome, Refusal> {
        const MISSING: Refusal = Refusal::NotFound { what: "booking" };
        let booking = self.rows.bookings.get(&booking_id).ok_or(MISSING)?;
        let terms = &self.rows.terms[&booking.event_id];
        let undo_always = match by {
            Actor::System => true,
            Actor::User(user_id) if user_id == terms.organizer_id => true,
            Actor::User(user_id) if user_id == booking.user_id => false,
            Actor::User(_) => return Err(MISSING),
        };
        match booking.status_at(self.now) {
            BookingStatus::Cancelled => {}
            BookingStatus::Expired => return Err(Refusal::NotCancellable),
            BookingStatus::Hold => self.give_back(booking_id),
            BookingStatus::Confirmed => {
                let in_time = terms.cancellable_until.is_some_and(|until| self.now < until);
                if !undo_always && !in_time {
                    return Err(Refusal::NotCancellable);
                }
                self.end(booking_id, BookingStatus::Cancelled, LogKind::Cancelled, |seats| {
                    Deltas { sold: -seats, ..Deltas::default() }
                });
            }
        }
        Ok(self.shown(booking_id))
    }

    /// Sets the capacity of a section.
    ///
    /// The first refusal wins: those of [`Self::organized`], [`Refusal::CapacityInUse`].
    fn resize(
        &mut self,
        section_id: SectionId,
        by: UserId,
        capacity: i64,
    ) -> Result<Outcome, Refusal> {
        let inventory = self.organized(section_id, by)?;
        if capacity < inventory.in_use() {
            return Err(Refusal::CapacityInUse { minimum: inventory.in_use() });
        }
        let deltas = Deltas { capacity: capacity - inventory.capacity, ..Deltas::default() };
        Ok(self.adjust(section_id, LogKind::Resized, deltas))
    }

    /// Sets how many seats of a section are kept off sale.
    ///
    /// The first refusal wins: those of [`Self::organized`], [`Refusal::SoldOut`].
    fn block(
        &mut self,
        section_id: SectionId,
        by: UserId,
        blocked: i64,
    ) -> Result<Outcome, Refusal> {
        let inventory = self.organized(section_id, by)?;
        let requested = blocked - inventory.blocked;
        if requested > inventory.available() {
            return Err(Refusal::SoldOut { available: inventory.available(), requested });
        }
        Ok(self.adjust(
            section_id,
            LogKind::Blocked,
            Deltas { blocked: requested, ..Deltas::default() },
        ))
    }

    /// The inventory of a section, for its organizer: not found, then [`Refusal::NotOrganizer`].
    fn organized(&self, section_id: SectionId, by: UserId) -> Result<&Inventory, Refusal> {
        const MISSING: Refusal = Refusal::NotFound { what: "section" };
        let (section, inventory) = self.rows.sections.get(&section_id).ok_or(MISSING)?;
        let terms = &self.rows.terms[&section.event_id];
        if !terms.visible_to(Some(by)) {
            return Err(MISSING);
        }
        if terms.organizer_id == by { Ok(inventory) } else { Err(Refusal::NotOrganizer) }
    }

    /// Changes the section itself, unless there is nothing to change.
    fn adjust(&mut self, section_id: SectionId, kind: LogKind, deltas: Deltas) -> Outcome {
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

    fn give_back(&mut self, booking_id: BookingId) {
        self.end(booking_id, BookingStatus::Cancelled, LogKind::Released, held_back);
    }

    /// Moves a booking along an edge of I2, with one row of the log for each of its sections.
    fn end(
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
    fn record(
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

    fn put(&mut self, booking: Booking) {
        let booking_id = booking.booking_id;
        let before =
            self.rows.bookings.insert(booking_id, booking).expect("only loaded rows change");
        let live = before.status == BookingStatus::Hold;
        let held_until = live.then_some(before.expires_at);
        self.bookings_changed.entry(booking_id).or_insert(Mark::Updated { held_until });
    }

    fn owned(&self, booking_id: BookingId, user_id: UserId) -> Result<&Booking, Refusal> {
        let booking =
            self.rows.bookings.get(&booking_id).filter(|booking| booking.user_id == user_id);
        booking.ok_or(Refusal::NotFound { what: "booking" })
    }

    fn shown(&self, booking_id: BookingId) -> Outcome {
        Outcome::Booking { booking: self.rows.bookings[&booking_id].clone(), replayed: false }
    }

    fn not_called_off(&self, event_id: EventId) -> Result<(), Refusal> {
        let called_off = self.rows.terms[&event_id].status == crate::EventStatus::Cancelled;
        if called_off { Err(Refusal::EventCancelled) } else { Ok(()) }
    }

    /// Why a cancelled booking is: with its event, or alone.
    fn cancelled(&self, event_id: EventId) -> Refusal {
        self.not_called_off(event_id).err().unwrap_or(Refusal::BookingCancelled)
    }
}

fn held_back(seats: i64) -> Deltas {
    Deltas { held: -seats, ..Deltas::default() }
}

/// The seats asked for in each section: two asks for one section must pass together, not each alone.
fn summed(asks: &[Ask]) -> BTreeMap<SectionId, i64> {
    let mut demand = BTreeMap::new();
    for ask in asks {
        assert!(ask.seats > 0, "a request without seats is refused before it becomes a command");
        *demand.entry(ask.section_id).or_insert(0) += i64::from(ask.seats);
    }
    assert!(!demand.is_empty(), "a request without items is refused before it becomes a command");
    demand
}
