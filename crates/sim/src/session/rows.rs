//! What statements read, and what they refuse to write.

use crate::database::Database;
use engine::decide::{Needs, RETIRED_PER_SECTION_MAX};
use engine::event::SEATS_PER_USER_MAX;
use engine::seats::SeatName;
use engine::{Booking, Changes, EventId, Fault, Inventory, KeyUse, SectionId};
use std::collections::{BTreeMap, BTreeSet};
use store::batch::{Interrupt, KeptRow, Key, NextExpiries, Surveyed, counted, settled_keys};
use store::simulated::is_planted;
use store::{KeyedHolds, VersionedLayout};

/// Whether the counters of a kept row are what is stored, and its section.
pub(super) fn is_same(database: &Database, row: &KeptRow) -> bool {
    if is_planted("trip without condition") {
        return true;
    }
    let stored = database.tables.sections.get(&row.section.section_id);
    stored.is_some_and(|(section, stored)| {
        *stored == row.inventory
            && database.writer(section.section_id.as_bytes()) == row.writers.section
    })
}

/// Whether its event is.
pub(super) fn has_terms(database: &Database, row: &KeptRow) -> bool {
    let event_id = row.section.event_id;
    database.writer(event_id.as_bytes()) == row.writers.event
        || is_planted("trip without the terms")
        || is_planted("trip without condition")
}

/// What the constraints and the predicates of the statements refuse.
pub(super) fn check(
    database: &Database,
    changes: &Changes,
    claims: &BTreeMap<Key, KeyUse>,
) -> Result<(), Interrupt> {
    let tables = &database.tables;
    let corrupt = |what: &str| Err(Interrupt::Failed(Fault::Corrupt { what: what.to_owned() }));
    let loaded =
        |(of, loaded): &(Inventory, i64)| tables.sections[&of.section_id].1.version == *loaded;
    let without_predicate =
        is_planted("trip without condition") || is_planted("counters added up without a lock");
    if !changes.inventories.iter().all(loaded) && !without_predicate {
        return corrupt("an inventory changed under its lock");
    }
    if changes.created.iter().any(|booking| tables.bookings.contains_key(&booking.booking_id)) {
        return corrupt("a booking has the id of another one");
    }
    let (_, added) = settled_keys(changes, claims.clone());
    if added.iter().any(|(user_id, key, _)| tables.keys.contains_key(&(*user_id, key.clone()))) {
        return corrupt("a key names two holds");
    }
    if !changes.freed.iter().all(|seat| tables.taken.contains_key(seat)) {
        return Err(Interrupt::SeatsDisagree);
    }
    let is_taken = |seat: &(SectionId, SeatName)| {
        tables.taken.contains_key(seat) && !changes.freed.contains(seat)
    };
    if changes.taken.iter().any(|of| is_taken(&(of.section_id, of.seat.clone()))) {
        return Err(Interrupt::SeatsDisagree);
    }
    Ok(())
}

/// The next expiry of the sections that a batch writes.
pub(super) fn next_expiries(database: &Database, changes: &Changes) -> NextExpiries {
    let (known, recounted) = counted(changes);
    let known = known.into_iter().map(|of| (of.inventory.section_id, of.inventory.next_expiry));
    let in_index = recounted.into_iter().map(|of| {
        let section_id = of.inventory.section_id;
        let stay =
            database.tables.holds_of(section_id).filter(|held| !changes.unheld.contains(held));
        let come = changes.held.iter().filter(|held| held.section_id == section_id);
        (section_id, stay.chain(come).map(|held| held.expires_at).min())
    });
    known.chain(in_index).collect()
}

/// The holds that keys name.
pub fn keyed_holds(database: &Database, keys: &[Key]) -> KeyedHolds {
    let hold = |key: &Key| {
        let used = database.tables.keys.get(key)?;
        let booking = database.tables.bookings[&used.booking_id].clone();
        Some((key.clone(), (used.clone(), booking)))
    };
    keys.iter().filter_map(hold).collect()
}

/// A layout as it is stored.
pub fn layout(database: &Database, section_id: SectionId) -> Option<VersionedLayout> {
    let (layout, _) = database.tables.layouts.get(&section_id)?;
    let (section, _) = database.tables.sections.get(&section_id)?;
    Some((section.layout_version?, layout.clone()))
}

/// The sections that a batch has to lock, also those into which a named booking or a due hold reaches, and
/// the buyers at events with a cap.
pub(super) fn surveyed(database: &Database, needs: &Needs, all_capped: bool) -> Surveyed {
    let tables = &database.tables;
    let sections_of = |booking: &Booking| -> Vec<SectionId> {
        booking.items.iter().map(|item| item.section_id).collect()
    };
    let mut named = needs.sections.clone();
    let bookings = needs.bookings.iter().filter_map(|id| tables.bookings.get(id));
    named.extend(bookings.flat_map(sections_of));
    let mut all = named.clone();
    for section_id in named {
        let due = tables.due(section_id, database.now).take(RETIRED_PER_SECTION_MAX);
        all.extend(due.flat_map(|held| sections_of(&tables.bookings[&held.booking_id])));
    }
    let is_capped = |event_id: &EventId| {
        let cap = tables.events.get(event_id).and_then(|of| of.terms.max_seats_per_user);
        all_capped || cap.is_some_and(|cap| cap < SEATS_PER_USER_MAX)
    };
    let of_event =
        |event_id: &EventId| all_capped || needs.events.contains(event_id) && is_capped(event_id);
    let buyers = needs.buyers.iter().filter(|(event_id, _)| of_event(event_id));
    let mut capped: BTreeSet<_> = buyers.copied().collect();
    let kept = needs.kept.iter().filter_map(|id| tables.bookings.get(id));
    let kept = kept.filter(|booking| is_capped(&booking.event_id));
    capped.extend(kept.map(|booking| (booking.event_id, booking.user_id)));
    (all, capped)
}
