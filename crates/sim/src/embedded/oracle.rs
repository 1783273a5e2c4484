//! What the rules say: the same commands over rows in hash maps, and comparisons with what is stored.

use engine::log::Detail;
use engine::{
    Booking, Command, Committed, Inventory, LiveInventory, LogEntry, Policy, Section, SectionId,
    Timestamp,
};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use store::BookingFilter;
use store::simulated::Content;
use suite::pure::{Commit as _, PureRules, Tables};

/// The rules over rows in hash maps.
pub(super) struct Oracle {
    pub(super) tables: Tables,
    pub(super) policy: Policy,
}

/// Says how two things differ that have to be the same.
fn same<T: PartialEq + Debug>(what: &str, stored: &T, ruled: &T) -> Result<(), String> {
    if stored == ruled {
        return Ok(());
    }
    Err(format!("the embedded store has other {what}: {stored:?}, the rules say {ruled:?}"))
}

/// The same of many, of which the first that differs is named.
fn all_same<T: PartialEq + Debug>(what: &str, stored: &[T], ruled: &[T]) -> Result<(), String> {
    let mut both = stored.iter().zip(ruled);
    if let Some((stored, ruled)) = both.find(|(stored, ruled)| stored != ruled) {
        return same(what, stored, ruled);
    }
    let (stored, ruled) = (stored.len(), ruled.len());
    if stored == ruled {
        return Ok(());
    }
    Err(format!("the embedded store has other {what}: {stored} of them, the rules say {ruled}"))
}

/// An entry of the log as it is read: what it says of a section leaves out when its next hold ends.
fn as_read(entry: &LogEntry) -> LogEntry {
    let mut entry = entry.clone();
    if let Some(detail) = &mut entry.detail
        && let Detail::Section { inventory, .. } = &mut **detail
    {
        inventory.next_expiry = None;
    }
    entry
}

impl Oracle {
    pub(super) fn new(policy: Policy) -> Self {
        Self { tables: Tables::default(), policy }
    }

    /// Carries out a batch.
    pub(super) fn commit(&mut self, commands: &[Command], now: Timestamp) -> Committed {
        PureRules.commit(&mut self.tables, commands, now, self.policy)
    }

    /// Carries out a batch that the store has committed, and compares what came of it.
    pub(super) fn agree(&mut self, commands: &[Command], done: &Committed) -> Result<(), String> {
        let ruled = self.commit(commands, done.now);
        for ((answer, ruled), command) in done.answers.iter().zip(&ruled.answers).zip(commands) {
            if answer != ruled {
                return Err(format!(
                    "the embedded store answers another thing: {command:?} is answered {answer:?}, \
                     the rules say {ruled:?}"
                ));
            }
        }
        all_same("answers", &done.answers, &ruled.answers)?;
        all_same("counters", &done.inventories, &ruled.inventories)?;
        all_same("bookings", &done.bookings, &ruled.bookings)?;
        same("marks", &done.marks, &ruled.marks)?;
        same("expired holds", &done.expired, &ruled.expired)
    }

    /// Compares all that is stored.
    pub(super) fn compare(&self, content: &Content) -> Result<(), String> {
        let tables = &self.tables;
        let events: BTreeMap<_, _> = tables.events.iter().collect();
        all_same("events", &content.events, &events.into_values().cloned().collect::<Vec<_>>())?;
        let sections: Vec<_> = tables.sections.values().cloned().collect();
        all_same("sections", &content.sections, &sections)?;
        let bookings: Vec<_> = tables.bookings.values().cloned().collect();
        all_same("rows of bookings", &content.bookings, &bookings)?;
        all_same("live holds", &content.holds, &tables.holds.iter().copied().collect::<Vec<_>>())?;
        let keys: HashMap<_, _> = content.keys.iter().cloned().collect();
        same("keys", &keys, &tables.keys)?;
        let taken: Vec<_> = tables.taken.iter().map(|(seat, by)| (seat.clone(), *by)).collect();
        all_same("taken seats", &content.taken, &taken)?;
        let marks = tables.layouts.iter().map(|(id, (_, marks))| (*id, marks.clone()));
        all_same("marks of seats", &content.marks, &marks.collect::<Vec<_>>())?;
        let log: Vec<_> = tables.log.iter().map(as_read).collect();
        all_same("rows of the log", &content.log, &log)
    }

    /// The bookings that a list shows, newest first.
    pub(super) fn listed(&self, filter: &BookingFilter, now: Timestamp) -> Vec<Booking> {
        let fits = |booking: &&Booking| {
            filter.user.is_none_or(|user_id| user_id == booking.user_id)
                && filter.event.is_none_or(|event_id| event_id == booking.event_id)
                && filter.status.is_none_or(|status| status == booking.status_at(now))
        };
        self.tables.bookings.values().rev().filter(fits).cloned().collect()
    }

    /// Compares a list with it.
    pub(super) fn compare_list(
        &self,
        filter: &BookingFilter,
        now: Timestamp,
        found: &[Booking],
    ) -> Result<(), String> {
        all_same("bookings in a list", found, &self.listed(filter, now))
            .map_err(|what| format!("{what} ({filter:?})"))
    }

    /// Compares live counters with what they are at `now`.
    pub(super) fn compare_counters(
        &self,
        now: Timestamp,
        mut found: Vec<LiveInventory>,
    ) -> Result<(), String> {
        found.sort_by_key(|of| of.inventory.section_id);
        let live = |(section_id, (_, inventory)): (&SectionId, &(Section, Inventory))| {
            let due = self.tables.due(*section_id, now).map(|held| i64::from(held.seats)).sum();
            LiveInventory { inventory: inventory.clone(), due }
        };
        let ruled: Vec<_> = self.tables.sections.iter().map(live).collect();
        all_same("live counters", &found, &ruled)
    }
}
