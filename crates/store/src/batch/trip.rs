//! A batch of holds in one round trip: decided on kept rows, and committed on condition that these are what
//! is stored.
//!
//! One statement that commits itself does what a batch otherwise does in five: it locks the inventory rows
//! in the order of their ids, compares them and the terms of their events with what was decided on, reads
//! the clock, and writes. Where anything differs it writes nothing, and the batch locks, loads and decides
//! as ever:
//!
//! ```text
//! kept rows ──decide──▶ lock ─▶ compare ─┬─ the same ──▶ write inventory ─▶ write the rest, commit
//!                                        └─ different ─▶ nothing; locks and loads
//! ```
//! - The counters are compared as a whole, so that a history which forked cannot bring back a version
//!   with other counters. A locked row is the newest one.
//! - The terms are read by a function that sees what is committed when it is called. A change that must not
//!   be passed by locks the inventory rows until it commits, so it is seen, or it waits.
//! - All that is written beside the inventory is selected on condition of what its UPDATE returned: its
//!   transaction has an id, and its rows are locked, before a number of the log is drawn (see
//!   the settled number of the log).
//! - The time of the decision is an estimate that is not ahead of the database's clock and at most
//!   [`BEHIND_MAX_MS`] behind it; no limit of time may be near. It does not go back within a section.
//!
//! A lost answer is an unknown outcome: the batch is done again under the locks and finds what it has done.

use super::commit::{Answers, Committer, Earlier};
use super::interrupt::Meaning;
use super::kept::KeptRow;
use super::session::{Counted, Session, Sessions};
use crate::simulated::{is_planted, probe};
use crate::unavailable;
use engine::access::Overrides;
use engine::decide::{Ended, Needs, NextExpiry, SeatRequest};
use engine::{
    Changes, Command, Committed, Error, Inventory, Ledger, LoadedRows, SectionId, Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::{Instant, timeout_at};

/// How far the time of a decision may be behind the database's clock when its batch is committed.
pub const BEHIND_MAX_MS: i64 = 100;

const DOING: &str = "committing a batch in one trip";

/// A batch that was decided on kept rows.
pub struct OneTrip {
    /// What the sections have to be, for the decision to hold.
    pub rows: Vec<KeptRow>,
    sections: BTreeSet<SectionId>,
    /// The time of the decision.
    pub now: Timestamp,
    answers: Answers,
    /// What it changes.
    pub changes: Changes,
    /// The inventories among it.
    pub counted: Vec<Counted>,
    /// Of every section, as they are when this is committed.
    inventories: Vec<Inventory>,
}

/// What the statement found.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// The clock.
    pub now: Timestamp,
    /// Whether the rows are those that were kept.
    pub is_same: bool,
    /// Whether the batch is committed.
    pub is_written: bool,
}

impl<S: Sessions> Committer<S> {
    /// Tries to commit a batch in one trip; `None` where that cannot be done, or is not known to be done,
    /// which is noted in `earlier`.
    pub(super) async fn try_one_trip(
        &self,
        commands: &[Command],
        earlier: &Earlier,
        until: Instant,
    ) -> Result<Option<Committed>, Error> {
        let Some(decided) = self.decide_on_kept(commands) else { return Ok(None) };
        let mut session = self.sessions.take(DOING).await?;
        let sections = &decided.sections;
        let Ok(found) = timeout_at(until, session.commit_one_trip(&decided)).await else {
            self.kept.forget(sections);
            self.sessions.close_idle();
            return Err(unavailable(DOING)("the database does not respond in time").into());
        };
        match found {
            Ok(found) => {
                session.give_back();
                Ok(self.conclude(found, decided))
            }
            Err(interrupt) => {
                self.kept.forget(sections);
                self.interrupted(session, &interrupt);
                match interrupt.meaning() {
                    Meaning::Cut if is_planted("lost trip not noted") => {}
                    Meaning::Cut => {
                        probe("the answer to a trip was lost");
                        earlier.is_unknown_with(decided.answers);
                    }
                    Meaning::Conflict => {}
                    Meaning::Final => return Err(interrupt.into_error(DOING)),
                }
                tracing::debug!(?interrupt, "a batch was not committed in one trip");
                Ok(None)
            }
        }
    }

    fn conclude(&self, found: Found, decided: OneTrip) -> Option<Committed> {
        let Found { now, is_same, is_written } = found;
        if !is_written {
            if is_same {
                // The estimate was wrong.
                probe("a trip at a time that is over");
                self.clock.set(now);
            } else {
                probe("a trip on old rows");
                self.kept.leave(&decided.sections, Instant::now());
            }
            return None;
        }
        probe("a batch in one trip");
        self.clock.raise(now);
        let OneTrip { mut rows, now, answers, changes, inventories, .. } = decided;
        for (row, inventory) in rows.iter_mut().zip(&inventories) {
            (row.inventory, row.at) = (inventory.clone(), now);
        }
        self.kept.keep(rows, &inventories, Instant::now());
        let (marks, rebuilt) = (Vec::new(), Vec::new());
        let bookings = changes.created;
        Some(Committed { now, answers, inventories, bookings, marks, expired: 0, rebuilt })
    }

    /// Decides a batch on kept rows, where that is possible.
    fn decide_on_kept(&self, commands: &[Command]) -> Option<OneTrip> {
        if !commands.iter().all(is_plain) {
            return None;
        }
        let Needs { sections, events, .. } = Needs::of(commands);
        let rows = self.kept.find(&sections)?;
        let last = rows.iter().map(|row| row.at).max()?;
        let now = self.clock.now().max(last);
        if !rows.iter().all(|row| is_far_from_limits(row, now)) {
            return None;
        }
        let mut loaded = LoadedRows::default();
        for KeptRow { section, inventory, terms, .. } in &rows {
            loaded.terms.insert(section.event_id, terms.clone());
            loaded.sections.insert(section.section_id, (section.clone(), inventory.clone()));
        }
        // Of another event than its sections, or of no section that is kept: it has to be looked up.
        if !events.iter().all(|event_id| loaded.terms.contains_key(event_id)) {
            return None;
        }
        loaded.bookings.reserve(commands.len());
        let mut ledger = Ledger::open(loaded, now, self.policy).ok()?;
        let answers: Answers = commands.iter().map(|command| ledger.decide(command)).collect();
        let Ended { changes, mut inventories, .. } = ledger.end_batch();
        if changes.is_empty() {
            // Nothing is written, so nothing would be compared: a refusal is decided under locks.
            return None;
        }
        let next: BTreeMap<_, _> = changes
            .inventories
            .iter()
            .zip(changes.next_expiries())
            .map(|((inventory, loaded), next)| (inventory.section_id, (*loaded, next)))
            .collect();
        let mut counted = Vec::new();
        for inventory in &mut inventories {
            let Some((loaded, next)) = next.get(&inventory.section_id) else { continue };
            let NextExpiry::Known(next_expiry) = next else { return None };
            inventory.next_expiry = *next_expiry;
            counted.push(Counted { inventory: inventory.clone(), loaded: *loaded });
        }
        Some(OneTrip { rows, sections, now, answers, changes, counted, inventories })
    }
}

/// Whether it is a hold of counted seats that nobody may have asked for before.
fn is_plain(command: &Command) -> bool {
    let Command::Hold(hold) = command else { return false };
    let is_count = |ask: &SeatRequest| matches!(ask, SeatRequest::Count { .. });
    hold.key.is_none() && hold.requests.iter().all(is_count)
}

/// Whether a decision at `now` holds until [`BEHIND_MAX_MS`] later: no hold ends until then, and no sale.
fn is_far_from_limits(row: &KeptRow, now: Timestamp) -> bool {
    let latest = now.plus_ms(BEHIND_MAX_MS);
    row.inventory.next_expiry.is_none_or(|next| latest < next)
        && row.terms.may_sell(now, Overrides::NONE).is_ok()
        && row.terms.may_sell(latest, Overrides::NONE).is_ok()
}
