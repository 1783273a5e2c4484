//! The database: committed rows, locks, and transactions under way.
//!
//! READ COMMITTED, as PostgreSQL has it: a statement sees what is committed when it begins to run. What a
//! transaction writes is applied when it commits, all of it or nothing; whom it made wait may go on then.

use engine::{
    Booking, BookingId, BookingStatus, Changes, Event, EventId, Inventory, LogEntry, OrgId,
    SectionId, Timestamp, UserId,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use store::batch::Key;
use store::gate::KnownMarks;
use store::simulated::is_planted;
use suite::pure::Tables;

/// A session, counted from 1.
pub type SessionNo = u64;

/// What can be locked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lock {
    /// An idempotency key that somebody claims.
    Key(Key),
    /// The row of a buyer at an event.
    Buyer(EventId, UserId),
    /// The inventory row of a section.
    Section(SectionId),
    /// The row of an event, by those who change it.
    Event(EventId),
}

/// A transaction under way.
pub struct Transaction {
    /// What it will change.
    pub changes: Option<Changes>,
    /// An event as it leaves it.
    pub event: Option<(Event, Option<LogEntry>)>,
    /// The stamp of the marks that it writes.
    pub stamps: Vec<(SectionId, i64)>,
    /// Marks that it writes because they were rebuilt.
    pub rebuilt: Vec<(SectionId, Vec<u8>)>,
    /// The keys that it has claimed, but for those that it removes again.
    pub claims: BTreeSet<Key>,
    /// Whether it waits for locks for a moment only.
    pub hurries: bool,
    /// Since when it waits for a lock.
    pub waits_since: Option<Timestamp>,
    /// When it was last heard of.
    pub heard_at: Timestamp,
}

/// Why a lock was not had.
pub enum Unlocked {
    /// Somebody else has it.
    Waits,
    /// To wait for it would be to wait for oneself.
    Deadlock,
}

/// Everything that is stored, and who is about to change it.
pub struct Database {
    /// What is committed.
    pub tables: Tables,
    /// The stamps of marks.
    pub stamps: HashMap<SectionId, i64>,
    /// The transaction that wrote the row of an event or a section last.
    pub writers: HashMap<[u8; 16], i64>,
    /// The organization that had the event at the beginning.
    pub begun_by: Option<OrgId>,
    /// What the gate's server keeps.
    pub gate: crate::gate::Kept,
    /// What was found to be wrong while something happened.
    pub wrong: Option<&'static str>,
    /// How often two transactions waited for each other.
    pub deadlocks: u64,
    /// Its clock.
    pub now: Timestamp,
    /// How many transactions have committed.
    pub commits: i64,
    locks: BTreeMap<Lock, SessionNo>,
    waits_for: BTreeMap<SessionNo, Lock>,
    transactions: BTreeMap<SessionNo, Transaction>,
    /// Sections that the last commit has changed.
    pub touched: BTreeSet<SectionId>,
    /// Bookings that it has made.
    pub created: Vec<BookingId>,
    /// Bookings that have more seats since.
    pub grown: Vec<BookingId>,
    /// Sections whose marks somebody has spoiled, with those that were there.
    spoiled: BTreeMap<SectionId, Vec<u8>>,
    /// The marks of sections, by the version of the inventory from which on they were so.
    marks: BTreeMap<SectionId, Vec<(i64, Vec<u8>)>>,
}

impl Database {
    /// An empty one.
    pub fn new(now: Timestamp) -> Self {
        Self {
            tables: Tables::default(),
            stamps: HashMap::new(),
            writers: HashMap::new(),
            begun_by: None,
            gate: crate::gate::Kept::default(),
            wrong: None,
            deadlocks: 0,
            now,
            commits: 1,
            locks: BTreeMap::new(),
            waits_for: BTreeMap::new(),
            transactions: BTreeMap::new(),
            touched: BTreeSet::new(),
            created: Vec::new(),
            grown: Vec::new(),
            spoiled: BTreeMap::new(),
            marks: BTreeMap::new(),
        }
    }

    /// Somebody writes bytes that are no marks in the place of those of a section, which nobody has locked.
    pub fn spoil_marks(&mut self, section_id: SectionId) {
        if self.locks.contains_key(&Lock::Section(section_id)) {
            return;
        }
        let Some((_, marks)) = self.tables.layouts.get_mut(&section_id) else { return };
        let before = std::mem::take(marks);
        self.spoiled.entry(section_id).or_insert(before);
        self.stamps.insert(section_id, -1);
    }

    /// Whether the marks of a section are none.
    pub fn is_spoiled(&self, section_id: SectionId) -> bool {
        self.spoiled.contains_key(&section_id)
    }

    /// What is spoiled yet is as it was.
    pub fn mend_marks(&mut self) {
        for (section_id, before) in std::mem::take(&mut self.spoiled) {
            self.tables.layouts.get_mut(&section_id).expect("it has seats").1 = before;
        }
    }

    /// The transaction of a session, if it is in one.
    pub fn transaction(&mut self, session: SessionNo) -> Option<&mut Transaction> {
        self.transactions.get_mut(&session)
    }

    /// Begins a transaction.
    pub fn begin(&mut self, session: SessionNo) {
        let heard_at = self.now;
        let transaction = Transaction {
            changes: None,
            event: None,
            rebuilt: Vec::new(),
            claims: BTreeSet::new(),
            stamps: Vec::new(),
            hurries: false,
            waits_since: None,
            heard_at,
        };
        self.transactions.insert(session, transaction);
    }

    /// Takes a lock, or says why not.
    pub fn lock(&mut self, session: SessionNo, lock: Lock) -> Result<(), Unlocked> {
        match self.locks.get(&lock) {
            None => {
                self.waits_for.remove(&session);
                if let Some(transaction) = self.transactions.get_mut(&session) {
                    transaction.waits_since = None;
                }
                self.locks.insert(lock, session);
                Ok(())
            }
            Some(owner) if *owner == session => Ok(()),
            Some(owner) => {
                // Whom does its owner wait for, and so on?
                let mut owner = *owner;
                while let Some(next) = self.waits_for.get(&owner).and_then(|of| self.locks.get(of))
                {
                    if *next == session {
                        return Err(Unlocked::Deadlock);
                    }
                    owner = *next;
                }
                self.waits_for.insert(session, lock);
                let now = self.now;
                if let Some(transaction) = self.transactions.get_mut(&session) {
                    transaction.waits_since.get_or_insert(now);
                }
                Err(Unlocked::Waits)
            }
        }
    }

    /// Ends a transaction; what it wrote stays.
    pub fn commit(&mut self, session: SessionNo) {
        let Some(transaction) = self.transactions.remove(&session) else { return };
        self.release(session);
        self.stamps.extend(transaction.stamps);
        for (section_id, marks) in transaction.rebuilt {
            if self.spoiled.remove(&section_id).is_none() {
                self.wrong = Some("I3: right marks were rebuilt");
            }
            self.tables.layouts.get_mut(&section_id).expect("it has seats").1 = marks;
        }
        if let Some((event, log)) = transaction.event {
            self.put_event(event);
            self.tables.log.extend(log);
        }
        if let Some(changes) = transaction.changes {
            self.apply(changes);
        }
        self.note_marks();
        if transaction.claims.iter().any(|key| !self.tables.keys.contains_key(key)) {
            self.wrong = Some("I6: a key is left behind that names no booking");
        }
    }

    /// Writes what a batch changes.
    pub fn apply(&mut self, mut changes: Changes) {
        self.write_wrongly(&mut changes);
        self.touched.extend(changes.inventories.iter().map(|(of, _)| of.section_id));
        self.created.extend(changes.created.iter().map(|booking| booking.booking_id));
        let has_grown = |of: &&Booking| {
            let before = self.tables.bookings.get(&of.booking_id);
            before.is_some_and(|before| before.seats() < of.seats())
        };
        let grown = changes.updated.iter().filter(has_grown);
        self.grown.extend(grown.map(|booking| booking.booking_id));
        self.commits += 1;
        for (section_id, _) in &changes.laid {
            self.writers.insert(*section_id.as_bytes(), self.commits);
        }
        self.tables.write(changes);
    }

    /// What a statement would write that is wrong, where such a bug is planted.
    fn write_wrongly(&mut self, changes: &mut Changes) {
        if is_planted("counters added up without a lock") {
            for (inventory, loaded) in &mut changes.inventories {
                let section_id = inventory.section_id;
                let stored = &self.tables.sections[&section_id].1;
                let mut sum = Inventory { next_expiry: inventory.next_expiry, ..stored.clone() };
                sum.version += inventory.version - *loaded;
                *loaded = stored.version;
                let of_section = |entry: &&LogEntry| entry.subject.section_id() == Some(section_id);
                for entry in changes.log.iter().filter(of_section) {
                    sum.capacity += entry.deltas.capacity;
                    sum.held += entry.deltas.held;
                    sum.sold += entry.deltas.sold;
                    sum.blocked += entry.deltas.blocked;
                }
                *inventory = sum;
            }
        }
        if is_planted("a sale is not written") {
            changes.updated.retain(|booking| booking.status != BookingStatus::Confirmed);
        }
        if is_planted("expiry takes a sale") {
            let expired = changes.updated.iter().filter(|of| of.status == BookingStatus::Expired);
            let sections: BTreeSet<_> =
                expired.flat_map(Booking::sections).map(|of| of.0).collect();
            let is_sold = |of: &&mut Booking| {
                of.status == BookingStatus::Confirmed
                    && of.sections().any(|(section_id, _)| sections.contains(&section_id))
            };
            if let Some(sold) = self.tables.bookings.values_mut().find(is_sold) {
                sold.status = BookingStatus::Expired;
            }
        }
        if is_planted("marks are not written") {
            changes.marks.clear();
        }
    }

    /// Notes which marks there are now.
    pub fn note_marks(&mut self) {
        // What was written anew since is right again.
        self.spoiled.retain(|section_id, _| self.tables.layouts[section_id].1.is_empty());
        for (section_id, (_, bytes)) in &self.tables.layouts {
            if self.is_spoiled(*section_id) {
                continue;
            }
            let times = self.marks.entry(*section_id).or_default();
            if times.last().is_none_or(|(_, last)| last != bytes) {
                times.push((self.tables.sections[section_id].1.version, bytes.clone()));
            }
        }
    }

    /// Looks whether marks were right at the version through which they are told to be.
    pub fn check_marks(&mut self, told: &KnownMarks) {
        let times = self.marks.get(&told.section_id);
        let then = times.and_then(|times| times.iter().rfind(|(from, _)| *from <= told.through));
        if then.is_none_or(|(_, bytes)| *bytes != told.marks.to_bytes()) {
            self.wrong = Some("I8: marks are told as right at a version at which they were not");
        }
    }

    /// Writes the row of an event.
    pub fn put_event(&mut self, event: Event) {
        self.commits += 1;
        self.writers.insert(*event.terms.event_id.as_bytes(), self.commits);
        self.tables.events.insert(event.terms.event_id, event);
    }

    /// Ends a transaction of which nothing stays.
    pub fn roll_back(&mut self, session: SessionNo) {
        if self.transactions.remove(&session).is_some() {
            self.release(session);
        }
    }

    /// Gives back the locks of a statement that was no transaction.
    pub fn release(&mut self, session: SessionNo) {
        self.locks.retain(|_, owner| *owner != session);
        self.waits_for.remove(&session);
    }

    /// Transactions of which nothing was heard for so long that the server ends them.
    pub fn forgotten(&self, longest_ms: i64) -> Vec<SessionNo> {
        let is_forgotten = |of: &Transaction| {
            of.waits_since.is_none() && self.now.since_ms(of.heard_at) > longest_ms
        };
        self.transactions.iter().filter(|(_, of)| is_forgotten(of)).map(|(no, _)| *no).collect()
    }

    /// A booking as it is committed.
    pub fn booking(&self, booking_id: BookingId) -> Option<&Booking> {
        self.tables.bookings.get(&booking_id)
    }

    /// The number of the transaction that wrote a row last.
    pub fn writer(&self, id: &[u8; 16]) -> i64 {
        self.writers.get(id).copied().unwrap_or(1)
    }
}
