//! The rows of a batch: claimed, locked and loaded in an order that every batch shares.
//!
//! 1. idempotency keys, sorted: two batches with the same keys wait for each other here, and the
//!    second finds what the first committed;
//! 2. the rows of buyers at events with a cap who take seats or keep them, sorted;
//! 3. the inventory rows, by id: the locks of everything in their sections;
//! 4. in a new statement, so that it sees what was committed while 3 waited, the rows and the clock.
//!
//! What is read before 3 are facts that never change (the sections of a booking) or that are looked at
//! again in 4: when they have changed by then, the batch is done again.

use super::interrupt::Interrupt;
use super::kept::Writers;
use super::session::{LoadedSections, Session};
use crate::simulated::is_planted;
use engine::decide::Needs;
use engine::{
    Booking, Command, EventId, IdempotencyKey, KeyUse, LoadedRows, Policy, SectionId, Timestamp,
    UserId,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// An idempotency key, with whose it is.
pub type Key = (UserId, IdempotencyKey);

/// The keys of a batch, as they are claimed: each for the first hold that names it.
pub(super) fn claims_of(commands: &[Command]) -> BTreeMap<Key, KeyUse> {
    let mut claims = BTreeMap::new();
    for command in commands {
        if let Command::Hold(hold) = command
            && let Some((key, fingerprint)) = &hold.key
        {
            let used = KeyUse { booking_id: hold.booking_id, fingerprint: *fingerprint };
            claims.entry((hold.caller(), key.clone())).or_insert(used);
        }
    }
    claims
}

/// How far an attempt looks.
#[derive(Clone, Copy)]
pub(super) struct Look {
    /// Whether it looks beyond what its commands name.
    pub is_beyond: bool,
    /// Whether it is content with what it has locked: where carts fall due one after the other, there may be
    /// one more each time.
    pub is_last: bool,
}

/// What a batch has locked and loaded.
pub struct Loaded {
    /// What it is decided on.
    pub rows: LoadedRows,
    /// The clock, read under the locks.
    pub now: Timestamp,
    /// The events whose live bookings are listed by buyer.
    pub counting: BTreeSet<EventId>,
    /// Who wrote the terms of each section.
    pub writers: HashMap<SectionId, Writers>,
}

/// Locks what the batch needs, then loads it with the clock. `taken` are keys that others have.
///
/// Unless it looks beyond them, only the sections are locked that the commands themselves name. Where that
/// turns out to be too little, the batch is [`Interrupt::Changed`], and has to look further.
pub(super) async fn lock_and_load(
    session: &mut impl Session,
    needs: Needs,
    taken: &[Key],
    policy: &Policy,
    look: Look,
) -> Result<Loaded, Interrupt> {
    let surveyed =
        look.is_beyond || !needs.bookings.is_empty() || policy.max_seats_per_user.is_some();
    let (sections, capped) = if surveyed {
        session.survey(&needs, policy).await?
    } else {
        (needs.sections.clone(), BTreeSet::new())
    };
    if !capped.is_empty() {
        session.lock_buyers(&capped).await?;
    }
    session.lock_inventory(&sections).await?;

    let mut rows = LoadedRows::default();
    let LoadedSections { now, counting, writers } =
        session.load_sections(&sections, &mut rows).await?;
    let is_missing = |event_id: &&EventId| !rows.terms.contains_key(*event_id);
    let missing: BTreeSet<_> = needs.events.iter().filter(is_missing).copied().collect();
    if !missing.is_empty() {
        session.load_events(&missing, &mut rows).await?;
    }
    if !taken.is_empty() {
        for (key, (used, booking)) in session.keyed_holds(taken).await? {
            rows.keys.insert(key, used);
            rows.bookings.insert(booking.booking_id, booking);
        }
    }
    // A cart that fell due since the survey may reach into a section that it did not name. Without it, seats
    // would be refused that are free.
    if !load_due(session, now, &mut rows).await? && !look.is_last {
        return Err(Interrupt::Changed);
    }
    if !needs.bookings.is_empty() {
        for booking in session.bookings(&needs.bookings).await? {
            if !is_locked(&booking, &rows) && !is_planted("survey not looked at again") {
                // It was committed after the survey, by an attempt that was given up for lost.
                return Err(Interrupt::Changed);
            }
            rows.bookings.insert(booking.booking_id, booking);
        }
    }
    let now_capped = capped_buyers(&needs, &rows, policy);
    if !now_capped.is_subset(&capped) {
        // The event has a cap, and nobody's row was locked for it.
        return Err(Interrupt::Changed);
    }
    // Keeping seats only needs the lock: their number decides nothing.
    let taking: BTreeSet<_> = now_capped.intersection(&needs.buyers).copied().collect();
    if !taking.is_empty() {
        rows.buyers.extend(taking.iter().map(|buyer| (*buyer, 0)));
        session.load_buyers(&taking, &counting, now, &mut rows).await?;
    }
    Ok(Loaded { rows, now, counting, writers })
}

/// Loads the due holds of the locked sections, oldest first; returns whether these are all of them.
/// One that reaches into a section nobody locked is left out.
async fn load_due(
    session: &mut impl Session,
    now: Timestamp,
    rows: &mut LoadedRows,
) -> Result<bool, Interrupt> {
    let is_due = |expiry: Option<Timestamp>| expiry.is_some_and(|expiry| expiry <= now);
    let inventories = rows.sections.values().map(|(_, inventory)| inventory);
    let due: Vec<_> = inventories
        .filter(|inventory| is_due(inventory.next_expiry))
        .map(|inventory| inventory.section_id)
        .collect();
    if due.is_empty() {
        return Ok(true);
    }
    let due = session.due_bookings(&due, now).await?;
    let is_known = |booking: &Booking| {
        is_locked(booking, rows) || is_planted("due cart without its other section")
    };
    let (locked, others): (Vec<_>, Vec<_>) = due.into_iter().partition(is_known);
    rows.bookings.extend(locked.into_iter().map(|booking| (booking.booking_id, booking)));
    Ok(others.is_empty())
}

fn is_locked(booking: &Booking, rows: &LoadedRows) -> bool {
    booking.items.iter().all(|item| rows.sections.contains_key(&item.section_id))
}

/// The buyers at events with a cap who take seats, or keep them.
fn capped_buyers(needs: &Needs, rows: &LoadedRows, policy: &Policy) -> BTreeSet<(EventId, UserId)> {
    let kept = needs.kept.iter().filter_map(|booking_id| rows.bookings.get(booking_id));
    let kept: Vec<_> = kept.map(|booking| (booking.event_id, booking.user_id)).collect();
    let is_capped = |(event_id, _): &&(EventId, UserId)| {
        rows.terms.get(event_id).is_some_and(|terms| terms.cap_of_buyer(policy).is_some())
    };
    needs.buyers.iter().chain(&kept).filter(is_capped).copied().collect()
}
