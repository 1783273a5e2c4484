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
//!                                        └─ different ─▶ nothing; Postgres::write
//! ```
//! - The counters are compared as a whole, so that a history which forked cannot bring back a version
//!   with other counters. A locked row is the newest one.
//! - The terms are read by a function that sees what is committed when it is called. A change that must not
//!   be passed by locks the inventory rows until it commits, so it is seen, or it waits.
//! - All that is written beside the inventory is selected on condition of what its UPDATE returned: its
//!   transaction has an id, and its rows are locked, before a number of the log is drawn (see
//!   [`super::log::Settled`]).
//! - The time of the decision is an estimate that is not ahead of the database's clock and at most
//!   [`BEHIND_MAX_MS`] behind it; no limit of time may be near. It does not go back within a section.
//!
//! A lost answer is an unknown outcome: the batch is done again under the locks and finds what it has done.

use super::columns::{Places, columns};
use super::commit::{Answers, Earlier};
use super::interrupt::{Interrupt, Meaning};
use super::kept::KeptRow;
use super::rows::{uuid, uuids};
use super::sessions::Session;
use super::write::{BOOKING, Counted, HELD, INVENTORY, LOG, Sql, count_sql, insert_bookings, made};
use super::{Postgres, unavailable};
use crate::rows::{Columns as _, instant, ms};
use engine::decide::{Ended, Needs, NextExpiry, SeatRequest};
use engine::log::rows_of;
use engine::{
    Changes, Command, Committed, Error, EventId, Inventory, Ledger, LoadedRows, SectionId,
    Timestamp,
};
use sqlx::postgres::PgConnection;
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::{Instant, timeout_at};

/// How far the time of a decision may be behind the database's clock when its batch is committed.
const BEHIND_MAX_MS: i64 = 100;

const DOING: &str = "committing a batch in one trip";

columns!(
    /// What a section has to be, for a decision about it to hold.
    KEPT of KeptRow {
        section_id uuid => |row| uuid(row.section.section_id),
        capacity bigint => |row| row.inventory.capacity,
        held bigint => |row| row.inventory.held,
        sold bigint => |row| row.inventory.sold,
        blocked bigint => |row| row.inventory.blocked,
        version bigint => |row| row.inventory.version,
        next_expiry bigint => |row| ms(row.inventory.next_expiry),
        section_writer bigint => |row| row.writers.section,
        event_writer bigint => |row| row.writers.event,
    }
);

/// A batch that was decided on kept rows.
struct Decided {
    rows: Vec<KeptRow>,
    sections: BTreeSet<SectionId>,
    now: Timestamp,
    answers: Answers,
    changes: Changes,
    counted: Vec<Counted>,
    /// Of every section, as they are when this is committed.
    inventories: Vec<Inventory>,
}

/// What the statement found.
#[derive(Clone, Copy)]
struct Found {
    now: Timestamp,
    /// Whether the rows are those that were kept.
    is_same: bool,
    is_written: bool,
}

impl Postgres {
    /// Tries to commit a batch in one trip; `None` where that cannot be done, or is not known to be done,
    /// which is noted in `earlier`.
    pub(super) async fn try_one_trip(
        &self,
        commands: &[Command],
        earlier: &Earlier,
        until: Instant,
    ) -> Result<Option<Committed>, Error> {
        let Some(decided) = self.decide_on_kept(commands) else { return Ok(None) };
        let mut session = self.batches.take(DOING).await?;
        let sections = &decided.sections;
        let Ok(found) = timeout_at(until, commit(&mut session, &decided)).await else {
            self.kept.forget(sections);
            self.batches.close_idle();
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
                    Meaning::Cut => earlier.is_unknown_with(decided.answers),
                    Meaning::Conflict => {}
                    Meaning::Final => return Err(interrupt.into_error(DOING)),
                }
                tracing::debug!(?interrupt, "a batch was not committed in one trip");
                Ok(None)
            }
        }
    }

    fn interrupted(&self, session: Session, interrupt: &Interrupt) {
        if interrupt.meaning() == Meaning::Cut {
            self.batches.close_idle();
        } else {
            session.give_back();
        }
    }

    fn conclude(&self, found: Found, decided: Decided) -> Option<Committed> {
        let Found { now, is_same, is_written } = found;
        if !is_written {
            if is_same {
                // The estimate was wrong.
                self.clock.set(now);
            } else {
                self.kept.leave(&decided.sections, Instant::now());
            }
            return None;
        }
        self.clock.raise(now);
        let Decided { mut rows, now, answers, changes, inventories, .. } = decided;
        for (row, inventory) in rows.iter_mut().zip(&inventories) {
            (row.inventory, row.at) = (inventory.clone(), now);
        }
        self.kept.keep(rows, Instant::now());
        let (marks, rebuilt) = (Vec::new(), Vec::new());
        let bookings = changes.created;
        Some(Committed { now, answers, inventories, bookings, marks, expired: 0, rebuilt })
    }

    /// Decides a batch on kept rows, where that is possible.
    fn decide_on_kept(&self, commands: &[Command]) -> Option<Decided> {
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
        Some(Decided { rows, sections, now, answers, changes, counted, inventories })
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
        && row.terms.may_sell(now).is_ok()
        && row.terms.may_sell(latest).is_ok()
}

/// Commits what was decided, if the rows are those that were kept.
async fn commit(session: &mut PgConnection, decided: &Decided) -> Result<Found, Interrupt> {
    static SQL: Sql = Sql::new(|| {
        let p = &mut Places::default();
        let (kept, rows, from, to) = (KEPT.rows(p), p.one(), p.one(), p.one());
        let (counted, counts) = (count_sql(p), p.one());
        // Each behind the counters: see above.
        let behind = |insert: String| format!("{insert} WHERE (SELECT is_written FROM written)");
        let created = behind(insert_bookings(p));
        let (held, logged) =
            (behind(HELD.insert("holds", &[], p)), behind(LOG.insert("booking_log", &[], p)));
        // `compared` reads the clock and the terms once a row is locked. That fewer rows are counted than
        // were locked and compared is impossible, and would be half a batch: 22012 division_by_zero.
        made(format!(
            "WITH kept AS MATERIALIZED (SELECT * FROM {kept}),
            locked AS MATERIALIZED (SELECT * FROM inventory
                WHERE section_id = ANY(ARRAY(SELECT section_id FROM kept))
                ORDER BY section_id FOR NO KEY UPDATE),
            compared AS MATERIALIZED (SELECT now_ms() AS now,
                (i.capacity, i.held, i.sold, i.blocked, i.version, i.next_expiry)
                    IS NOT DISTINCT FROM
                (k.capacity, k.held, k.sold, k.blocked, k.version, k.next_expiry) AS counters,
                terms_are_of(k.section_id, k.section_writer, k.event_writer) AS terms
                FROM locked i JOIN kept k USING (section_id)),
            found AS MATERIALIZED (SELECT COALESCE(MAX(now), now_ms()) AS now,
                count(*) FILTER (WHERE counters AND terms) = {rows} AS is_same FROM compared),
            counted AS ({counted} AND
                (SELECT is_same AND now >= {from} AND now <= {to} FROM found) RETURNING 1),
            written AS MATERIALIZED (SELECT CASE count(*) WHEN {counts} THEN true
                WHEN 0 THEN false ELSE 1 / (0 * count(*)) = 1 END AS is_written FROM counted),
            created AS ({created}),
            held AS ({held}),
            logged AS ({logged})
            SELECT now, is_same, is_written FROM found CROSS JOIN written"
        ))
    });
    let Decided { rows, now, changes, counted, .. } = decided;
    let number = |count: usize| i64::try_from(count).expect("a bounded number");
    let counting: BTreeSet<EventId> =
        rows.iter().filter(|row| row.counts_buyers).map(|row| row.section.event_id).collect();
    let query = (KEPT.bind)(sqlx::query(*SQL), rows).bind(number(rows.len()));
    let query = query.bind(now.unix_ms()).bind(now.plus_ms(BEHIND_MAX_MS).unix_ms());
    let query = (INVENTORY.bind)(query, counted).bind(number(counted.len()));
    let query = (BOOKING.bind)(query, &changes.created).bind(uuids(&counting));
    let query = (HELD.bind)(query, &changes.held);
    let query = (LOG.bind)(query, &rows_of(&changes.log));
    // Its end is the server's word that the transaction is over.
    let row = query.fetch_one(session).await?;
    Ok(Found {
        now: instant(&row, "now")?,
        is_same: row.flag("is_same")?,
        is_written: row.flag("is_written")?,
    })
}
