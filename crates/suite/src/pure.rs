//! The rules over rows in hash maps: what a store is when its storage is taken away.
//!
//! It loads what [`Needs`] names, by the same rules as a store, and writes what [`Changes`] says,
//! checking on the way that every row written is the one that was loaded.

use crate::backend::{Backend, Kind, at_once};
use crate::halls::Taken;
use crate::world::{ManualClock, owner};
use async_trait::async_trait;
use engine::audit::{Audit, Report};
use engine::decide::{ExpiryEntry, Needs, RETIRED_PER_SECTION_MAX, SeatTaken};
use engine::event::EventChange;
use engine::event::{EventCommand, Opened, create, decide};
use engine::log::{LogRow, rows_of};
use engine::seats::{Layout, Marks, SeatMap};
use engine::{
    Booking, BookingId, BookingStatus, Changes, Command, Committed, Event, EventId,
    EventWithSections, IdempotencyKey, Inventory, KeyUse, Ledger, LiveInventory, LoadedRows,
    LogEntry, Opening, Policy, Refusal, Section, SectionId, Timestamp, UserId,
};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// How a batch is carried out: by the rules, or with a bug planted into them.
pub trait Commit: Send + Sync {
    /// Decides `commands` at `now` and writes what they change.
    fn commit(
        &self,
        tables: &mut Tables,
        commands: &[Command],
        now: Timestamp,
        policy: Policy,
    ) -> Committed;
}

/// The rules as they are.
#[derive(Clone, Copy, Debug)]
pub struct PureRules;

impl Commit for PureRules {
    fn commit(
        &self,
        tables: &mut Tables,
        commands: &[Command],
        now: Timestamp,
        policy: Policy,
    ) -> Committed {
        let rows = tables.load(commands, now, &policy);
        let mut ledger = Ledger::open(rows, now, policy).expect("its tables agree");
        let answers = commands.iter().map(|command| ledger.decide(command)).collect();
        tables.committed(now, answers, ledger.end_batch())
    }
}

#[async_trait]
impl Kind for PureRules {
    async fn open(&self, policy: Policy, clock: &ManualClock) -> Box<dyn Backend> {
        Box::new(Pure::new(policy, clock))
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        at_once(future)
    }
}

/// The rows, under the one lock that makes batches follow each other.
pub struct Pure<C = PureRules> {
    clock: ManualClock,
    policy: Policy,
    tables: Mutex<Tables>,
    carry: C,
}

/// Every row there is.
#[derive(Default)]
pub struct Tables {
    /// Events.
    pub events: HashMap<EventId, Event>,
    /// Sections, with their counters.
    pub sections: BTreeMap<SectionId, (Section, Inventory)>,
    /// Bookings.
    pub bookings: BTreeMap<BookingId, Booking>,
    /// The index of expiry.
    pub holds: BTreeSet<ExpiryEntry>,
    /// Idempotency keys that were used.
    pub keys: HashMap<(UserId, IdempotencyKey), KeyUse>,
    /// The log, oldest entry first.
    pub log: Vec<LogEntry>,
    /// Of sections with numbered seats, with the marks as a store keeps them.
    pub layouts: BTreeMap<SectionId, (Arc<Layout>, Vec<u8>)>,
    /// Who has which numbered seat; nobody: it is blocked.
    pub taken: Taken,
}

impl Pure {
    /// The rules, over no rows.
    #[must_use]
    pub fn new(policy: Policy, clock: &ManualClock) -> Self {
        Self::committing(PureRules, policy, clock)
    }
}

impl<C: Commit> Pure<C> {
    /// Batches carried out by `carry`, over no rows.
    pub(crate) fn committing(carry: C, policy: Policy, clock: &ManualClock) -> Self {
        Self { clock: clock.clone(), policy, tables: Mutex::default(), carry }
    }

    /// The log, oldest row first.
    #[must_use]
    pub fn log(&self) -> Vec<LogEntry> {
        self.tables.lock().log.clone()
    }
}

impl Tables {
    /// The rows that a batch of `commands` is decided on.
    #[must_use]
    pub fn load(&self, commands: &[Command], now: Timestamp, policy: &Policy) -> LoadedRows {
        let needs = Needs::of(commands);
        let mut rows = LoadedRows::default();
        for name in &needs.keys {
            if let Some(used) = self.keys.get(name) {
                rows.keys.insert(name.clone(), used.clone());
                self.load_booking(used.booking_id, &mut rows);
            }
        }
        let mut sections = needs.sections;
        for booking_id in needs.bookings.iter().filter(|id| self.bookings.contains_key(id)) {
            self.load_booking(*booking_id, &mut rows);
            sections.extend(self.sections_of(*booking_id));
        }
        self.load_sections(&sections, &mut rows);
        let first: BTreeSet<_> = rows.sections.keys().copied().collect();
        let reached = self.load_due(&first, now, &mut rows);
        self.load_sections(&reached, &mut rows);
        self.load_due(&(&reached - &first), now, &mut rows);
        let mut events = needs.events;
        events.extend(rows.sections.values().map(|(section, _)| section.event_id));
        for event in events.iter().filter_map(|event_id| self.events.get(event_id)) {
            rows.terms.insert(event.terms.event_id, event.terms.clone());
        }
        for (event_id, user_id) in needs.buyers {
            let terms = rows.terms.get(&event_id);
            if terms.is_some_and(|terms| terms.cap_of_buyer(policy).is_some()) {
                let live = self.live_seats(event_id, user_id, now);
                rows.buyers.insert((event_id, user_id), live);
            }
        }
        rows
    }

    /// Loads the due holds of sections; returns all sections they contain seats of.
    fn load_due(
        &self,
        sections: &BTreeSet<SectionId>,
        now: Timestamp,
        rows: &mut LoadedRows,
    ) -> BTreeSet<SectionId> {
        let mut reached = BTreeSet::new();
        for section_id in sections {
            for held in self.due(*section_id, now).take(RETIRED_PER_SECTION_MAX) {
                reached.extend(self.sections_of(held.booking_id));
                self.load_booking(held.booking_id, rows);
            }
        }
        reached
    }

    fn load_booking(&self, booking_id: BookingId, rows: &mut LoadedRows) {
        rows.bookings.insert(booking_id, self.bookings[&booking_id].clone());
    }

    fn sections_of(&self, booking_id: BookingId) -> impl Iterator<Item = SectionId> {
        self.bookings[&booking_id].items.iter().map(|item| item.section_id)
    }

    fn load_sections(&self, ids: &BTreeSet<SectionId>, rows: &mut LoadedRows) {
        let found = ids.iter().filter_map(|id| self.sections.get_key_value(id));
        rows.sections.extend(found.map(|(id, row)| (*id, row.clone())));
        rows.maps.extend(ids.iter().filter_map(|id| Some((*id, self.map(*id)?))));
    }

    /// The seat map of a section with numbered seats.
    #[must_use]
    pub fn map(&self, section_id: SectionId) -> Option<SeatMap> {
        let (layout, marks) = self.layouts.get(&section_id)?;
        let marks = Marks::from_bytes(marks).expect("marks as they were written");
        Some(SeatMap::new(layout.clone(), marks).expect("marks of this layout"))
    }

    /// The entries of a section in the index of expiry, first things first.
    pub fn holds_of(&self, section_id: SectionId) -> impl Iterator<Item = &ExpiryEntry> {
        let first = ExpiryEntry {
            section_id,
            expires_at: Timestamp::from_unix_ms(i64::MIN),
            booking_id: BookingId::from_slice(&[0; 16]).expect("16 bytes"),
            seats: 0,
        };
        self.holds.range(first..).take_while(move |held| held.section_id == section_id)
    }

    /// Those of them that are due.
    pub fn due(&self, section_id: SectionId, now: Timestamp) -> impl Iterator<Item = &ExpiryEntry> {
        self.holds_of(section_id).take_while(move |held| held.expires_at <= now)
    }

    /// The live seats of a buyer at an event.
    #[must_use]
    pub fn live_seats(&self, event_id: EventId, user_id: UserId, now: Timestamp) -> i64 {
        let of_buyer = self
            .bookings
            .values()
            .filter(|booking| (booking.event_id, booking.user_id) == (event_id, user_id));
        let live = of_buyer.filter(|booking| {
            matches!(booking.status_at(now), BookingStatus::Hold | BookingStatus::Confirmed)
        });
        live.map(|booking| i64::from(booking.seats())).sum()
    }

    /// Writes what a batch changes.
    pub fn write(&mut self, changes: Changes) {
        for booking in changes.created {
            let before = self.bookings.insert(booking.booking_id, booking);
            assert_eq!(before, None, "a new booking has a new id");
        }
        for booking in changes.updated {
            let before = self.bookings.insert(booking.booking_id, booking);
            assert!(before.is_some(), "a changed booking was there before");
        }
        for held in changes.unheld {
            assert!(self.holds.remove(&held), "only what is in the index of expiry leaves it");
        }
        for held in changes.held {
            assert!(self.holds.insert(held), "nothing enters the index of expiry twice");
        }
        for (section_id, layout) in changes.laid {
            self.layouts.insert(section_id, (layout, Vec::new()));
        }
        for (section_id, marks) in changes.marks {
            let (layout, stored) = self.layouts.get_mut(&section_id).expect("it has a layout");
            *stored = marks.to_bytes();
            let (section, _) = self.sections.get_mut(&section_id).expect("it is there");
            section.layout_version = Some(marks.layout_version);
            section.price = layout.lowest_price();
        }
        for seat in changes.freed {
            assert!(self.taken.remove(&seat).is_some(), "I3: only a seat that is taken is freed");
        }
        for SeatTaken { section_id, seat, booking_id } in changes.taken {
            let before = self.taken.insert((section_id, seat), booking_id);
            assert_eq!(before, None, "I3: a seat is given to nobody but the first");
        }
        for (user_id, key, used) in changes.keys {
            let before = self.keys.insert((user_id, key), used);
            assert_eq!(before, None, "I6: a key names one hold");
        }
        for (inventory, loaded) in changes.inventories {
            let section_id = inventory.section_id;
            let next_expiry = self.holds_of(section_id).next().map(|held| held.expires_at);
            let (_, row) = self.sections.get_mut(&section_id).expect("an inventory is never made");
            assert_eq!(row.version, loaded, "an inventory is written over the one decided on");
            *row = Inventory { next_expiry, ..inventory };
        }
        self.log.extend(stored(&changes.log));
    }

    /// Ends a batch: writes its changes and returns the results.
    pub fn committed(
        &mut self,
        now: Timestamp,
        answers: Vec<Result<engine::Outcome, Refusal>>,
        engine::decide::Ended { changes, inventories, .. }: engine::decide::Ended,
    ) -> Committed {
        let bookings: Vec<_> = changes.created.iter().chain(&changes.updated).cloned().collect();
        let expired = changes.updated.iter();
        let expired = expired.filter(|it| it.status == BookingStatus::Expired).count();
        let marks = changes.marks.clone();
        self.write(changes);
        let inventories =
            inventories.iter().map(|of| self.sections[&of.section_id].1.clone()).collect();
        Committed { now, answers, inventories, bookings, marks, expired, rebuilt: Vec::new() }
    }
}

/// The log of a batch as it is read back from the rows in which a store writes it.
fn stored(log: &[LogEntry]) -> Vec<LogEntry> {
    let read = |row| match row {
        LogRow::One(entry) => vec![entry],
        LogRow::Run(run, bytes) => run.unpack(&bytes).expect("it was packed"),
    };
    rows_of(log).into_iter().flat_map(read).collect()
}

impl Tables {
    /// Checks the invariants over all rows.
    #[must_use]
    pub fn audit(&self) -> Report {
        let mut audit = Audit::default();
        for entry in &self.log {
            let section_id = entry.subject.section_id();
            let section = section_id.and_then(|section_id| self.sections.get(&section_id));
            audit.log_entry(entry, section.map(|(section, _)| section.event_id));
        }
        for (_, inventory) in self.sections.values() {
            audit.inventory(inventory);
        }
        for booking in self.bookings.values() {
            audit.booking(booking);
        }
        for (section_id, (layout, _)) in &self.layouts {
            let map = self.map(*section_id).expect("it has a layout");
            audit.marks(&self.sections[section_id].1, layout, &map.marks());
        }
        for ((section_id, seat), by) in &self.taken {
            audit.seat_taken(*section_id, seat, *by);
        }
        audit.finish()
    }

    /// Adds a section.
    pub fn open(&mut self, opened: Opened) {
        let Opened { mut section, inventory, seats, log, .. } = opened;
        if let Some((layout, marks)) = seats {
            section.price = layout.lowest_price();
            self.layouts.insert(section.section_id, (layout, marks.to_bytes()));
        }
        self.log.push(log);
        self.sections.insert(section.section_id, (section, inventory));
    }

    fn change_event(
        &mut self,
        event_id: EventId,
        by: UserId,
        command: &EventCommand,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let event = self.events[&event_id].clone();
        let of_event = self.sections.values().filter(|(section, _)| section.event_id == event_id);
        let sections = of_event.map(|(section, _)| section.clone()).collect();
        let of = EventWithSections { event, sections };
        let changes = decide(&of, by.into(), command, None, now)?;
        assert!(changes.commands.is_empty() && changes.repriced.is_none(), "not asked for here");
        self.events.extend(changes.event.map(|event| (event_id, event)));
        self.log.extend(changes.log);
        Ok(())
    }
}

#[async_trait]
impl<C: Commit> Backend for Pure<C> {
    async fn create_event(&self, new: &EventWithSections, openings: &[Opening]) {
        let mut tables = self.tables.lock();
        let event_id = new.event.terms.event_id;
        let (log, opened) = create(new, owner(new), None, openings, self.clock.now())
            .expect("an event of no series is refused by none");
        tables.log.push(log);
        for opened in opened {
            tables.open(opened);
        }
        tables.events.insert(event_id, new.event.clone());
    }

    async fn revise_event(
        &self,
        event_id: EventId,
        by: UserId,
        change: EventChange,
    ) -> Result<(), Refusal> {
        let command = EventCommand::Revise { expected: None, change };
        self.tables.lock().change_event(event_id, by, &command, self.clock.now())
    }

    async fn cancel_event(&self, event_id: EventId, by: UserId) -> Result<(), Refusal> {
        let mut tables = self.tables.lock();
        tables.change_event(event_id, by, &EventCommand::CallOff, self.clock.now())
    }

    async fn commit(&self, commands: &[Command]) -> Committed {
        let mut tables = self.tables.lock();
        self.carry.commit(&mut tables, commands, self.clock.now(), self.policy)
    }

    /// Nothing is tables but the rows.
    async fn restart(&self) {}

    async fn bookings(&self, event_id: EventId) -> Vec<Booking> {
        let tables = self.tables.lock();
        let of_event = tables.bookings.values().rev().filter(|of| of.event_id == event_id);
        of_event.cloned().collect()
    }

    async fn inventories(&self, event_id: EventId) -> Vec<LiveInventory> {
        let tables = self.tables.lock();
        let now = self.clock.now();
        let of_event = tables.sections.values().filter(|(section, _)| section.event_id == event_id);
        let live = |(section, inventory): &(Section, Inventory)| LiveInventory {
            inventory: inventory.clone(),
            due: tables.due(section.section_id, now).map(|held| i64::from(held.seats)).sum(),
        };
        of_event.map(live).collect()
    }

    async fn seat_map(&self, section_id: SectionId) -> (Arc<Layout>, Marks) {
        let map = self.tables.lock().map(section_id).expect("it has seats");
        (map.layout().clone(), map.marks())
    }

    async fn seats_taken(&self, event_id: EventId) -> Taken {
        let tables = self.tables.lock();
        let is_here = |section_id| tables.sections[section_id].1.event_id == event_id;
        let taken = tables.taken.iter().filter(|((section_id, _), _)| is_here(section_id));
        taken.map(|(seat, by)| (seat.clone(), *by)).collect()
    }

    async fn audit(&self) -> Report {
        self.tables.lock().audit()
    }
}
