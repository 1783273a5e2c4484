//! What a store of many instances does for a batch: each method is a statement, or a few.

use super::interrupt::Interrupt;
use super::kept::Writers;
use super::load::Key;
use super::trip::{Found, OneTrip};
use crate::{KeyedHolds, VersionedLayout};
use engine::decide::{Needs, NextExpiry};
use engine::seats::{Marks, SeatMap, SeatName, SeatState};
use engine::{
    Booking, BookingId, Changes, EventId, Fault, IdempotencyKey, Inventory, KeyUse, LoadedRows,
    Policy, SectionId, Timestamp, UserId,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The next expiry of sections whose inventory was written.
pub type NextExpiries = HashMap<SectionId, Option<Timestamp>>;

/// Where sessions come from, a bounded number of them.
pub trait Sessions: Send + Sync {
    /// What it hands out.
    type Session: Session;

    /// A session that nobody else has.
    fn take(
        &self,
        doing: &'static str,
    ) -> impl Future<Output = Result<Self::Session, Fault>> + Send;

    /// Closes what is idle: after one session was cut, the others have most likely been cut too.
    fn close_idle(&self);
}

/// An inventory to write.
pub struct Counted {
    /// As the batch leaves it.
    pub inventory: Inventory,
    /// The version it was loaded with.
    pub loaded: i64,
}

/// The marks of a section as they are stored.
pub struct StoredMarks {
    /// Of which section.
    pub section_id: SectionId,
    /// Under which stamp they were written.
    pub stamp: i64,
    /// `None` where they are those that are kept already; inside, where they are none at all.
    pub marks: Option<Option<Marks>>,
}

/// A connection to the store in the hands of one user. What was begun on it is rolled back when it is
/// dropped, unless it was given back.
pub trait Session: Send + Sized {
    /// Begins a transaction.
    fn begin(&mut self) -> impl Future<Output = Result<(), Interrupt>> + Send;
    /// Ends a transaction that is to stay.
    fn commit(&mut self) -> impl Future<Output = Result<(), Interrupt>> + Send;
    /// Rolls back what was done so far and begins another transaction.
    fn start_over(&mut self) -> impl Future<Output = Result<(), Interrupt>> + Send;
    /// Ends the use of a session that is idle, outside of any transaction.
    fn give_back(self);
    /// Ends a transaction that is to leave nothing behind, and the use of the session.
    fn roll_back(self) -> impl Future<Output = ()> + Send;
    /// Lets this transaction wait for each lock for a moment only.
    fn hurry(&mut self) -> impl Future<Output = Result<(), Interrupt>> + Send;

    /// Claims keys in their order; waits for other claims on them. Keeps in `claims` what was free, and
    /// returns the others. [`Interrupt::KeyBusy`] where a claim is waited for in vain.
    fn claim(
        &mut self,
        claims: &mut BTreeMap<Key, KeyUse>,
    ) -> impl Future<Output = Result<Vec<Key>, Interrupt>> + Send;
    /// The holds that these keys name (I6).
    fn keyed_holds(
        &mut self,
        keys: &[Key],
    ) -> impl Future<Output = Result<KeyedHolds, Interrupt>> + Send;
    /// Reads without locks what has to be locked: the sections, also those into which a named booking or
    /// a due hold reaches, and the buyers at events with a cap.
    fn survey(
        &mut self,
        needs: &Needs,
        policy: &Policy,
    ) -> impl Future<Output = Result<Surveyed, Interrupt>> + Send;
    /// Locks the rows of buyers, in their order.
    fn lock_buyers(
        &mut self,
        buyers: &BTreeSet<(EventId, UserId)>,
    ) -> impl Future<Output = Result<(), Interrupt>> + Send;
    /// Locks inventory rows in the order of their ids.
    fn lock_inventory(
        &mut self,
        sections: &BTreeSet<SectionId>,
    ) -> impl Future<Output = Result<(), Interrupt>> + Send;
    /// Loads sections with their inventory and their event's terms, and reads the clock: after the locks
    /// were waited for.
    fn load_sections(
        &mut self,
        sections: &BTreeSet<SectionId>,
        rows: &mut LoadedRows,
    ) -> impl Future<Output = Result<LoadedSections, Interrupt>> + Send;
    /// Loads the terms of events.
    fn load_events(
        &mut self,
        events: &BTreeSet<EventId>,
        rows: &mut LoadedRows,
    ) -> impl Future<Output = Result<(), Interrupt>> + Send;
    /// The due holds of sections, of each the oldest of them.
    fn due_bookings(
        &mut self,
        sections: &[SectionId],
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Booking>, Interrupt>> + Send;
    /// Bookings by their ids.
    fn bookings(
        &mut self,
        named: &BTreeSet<BookingId>,
    ) -> impl Future<Output = Result<Vec<Booking>, Interrupt>> + Send;
    /// Adds up the live seats of buyers; `counting` are the events that list them by buyer.
    fn load_buyers(
        &mut self,
        buyers: &BTreeSet<(EventId, UserId)>,
        counting: &BTreeSet<EventId>,
        now: Timestamp,
        rows: &mut LoadedRows,
    ) -> impl Future<Output = Result<(), Interrupt>> + Send;

    /// The marks of sections; `kept` says under which version and stamp those are known that need not be
    /// read again.
    fn marks(
        &mut self,
        kept: &[(SectionId, i64, i64)],
    ) -> impl Future<Output = Result<Vec<StoredMarks>, Interrupt>> + Send;
    /// The layout of a section.
    fn layout(
        &mut self,
        section_id: SectionId,
    ) -> impl Future<Output = Result<Option<VersionedLayout>, Interrupt>> + Send;
    /// Removes the taken seats of a section whose booking has ended, and returns the others.
    fn seats_taken(
        &mut self,
        section_id: SectionId,
    ) -> impl Future<Output = Result<Vec<(SeatName, SeatState)>, Interrupt>> + Send;
    /// Writes the marks of a map that was rebuilt.
    fn put_marks(
        &mut self,
        section_id: SectionId,
        map: &SeatMap,
        stamp: i64,
    ) -> impl Future<Output = Result<(), Interrupt>> + Send;

    /// Writes what a batch changes; `counting` are the events whose live bookings are listed by buyer,
    /// `claims` the keys that it has claimed, and `stamp` is that of the marks. Returns the next expiry of
    /// every section it touched.
    fn write(
        &mut self,
        changes: &Changes,
        counting: &BTreeSet<EventId>,
        claims: BTreeMap<Key, KeyUse>,
        stamp: i64,
    ) -> impl Future<Output = Result<NextExpiries, Interrupt>> + Send;
    /// Commits what was decided in one statement, if the rows are those that were kept.
    fn commit_one_trip(
        &mut self,
        decided: &OneTrip,
    ) -> impl Future<Output = Result<Found, Interrupt>> + Send;
}

/// What has to be locked: sections, and buyers at events with a cap.
pub type Surveyed = (BTreeSet<SectionId>, BTreeSet<(EventId, UserId)>);

/// What is known with the sections that were loaded.
pub struct LoadedSections {
    /// The clock.
    pub now: Timestamp,
    /// The events whose live bookings are listed by buyer.
    pub counting: BTreeSet<EventId>,
    /// Who wrote the terms of each section.
    pub writers: HashMap<SectionId, Writers>,
}

/// The inventories that a batch writes: those of which the next expiry is known, and those that read it
/// from the index once that is written.
#[must_use]
pub fn counted(changes: &Changes) -> (Vec<Counted>, Vec<Counted>) {
    let (mut known, mut recounted) = (Vec::new(), Vec::new());
    for ((inventory, loaded), next) in changes.inventories.iter().zip(changes.next_expiries()) {
        let (mut inventory, loaded) = (inventory.clone(), *loaded);
        match next {
            NextExpiry::Known(next_expiry) => {
                inventory.next_expiry = next_expiry;
                known.push(Counted { inventory, loaded });
            }
            NextExpiry::InIndex => recounted.push(Counted { inventory, loaded }),
        }
    }
    (known, recounted)
}

/// What becomes of the keys that were claimed: those of refused holds go, and a key whose first hold was
/// refused and whose second was not names the second. Returns the keys to remove, then those to add.
#[must_use]
pub fn settled_keys(
    changes: &Changes,
    mut claims: BTreeMap<Key, KeyUse>,
) -> (Vec<Key>, Vec<(UserId, IdempotencyKey, KeyUse)>) {
    let mut renamed = Vec::new();
    for (user_id, key, used) in &changes.keys {
        let name = (*user_id, key.clone());
        if claims.get(&name) == Some(used) {
            claims.remove(&name);
        } else {
            renamed.push((*user_id, key.clone(), used.clone()));
        }
    }
    (claims.into_keys().collect(), renamed)
}
