//! What rows of the log say: one entry each, or a run of several.

use super::{
    Columns, corrupt, detail, event_id, instant, key_id, maybe_instant, section_id, unreadable,
    user_id,
};
use engine::log::{Run, Subject, Timeline, Unreadable};
use engine::{Actor, BookingId, Deltas, EventId, Fault, Inventory, LogEntry, LogKind, SectionId};
use std::collections::HashMap;
use std::sync::Arc;

/// The entries of a row of the log, in their order: one, or those of a run.
pub(crate) fn log_entries<R: Columns>(
    row: &R,
) -> Result<impl Iterator<Item = LogEntry> + use<R>, Fault> {
    let (one, run) = match row.maybe_bytes("entries")? {
        None => (Some(log_entry(row)?), Vec::new()),
        Some(entries) => (None, log_run(row, entries)?),
    };
    Ok(one.into_iter().chain(run))
}

/// The entries of a run.
fn log_run(row: &impl Columns, entries: &[u8]) -> Result<Vec<LogEntry>, Fault> {
    let seq = row.int("seq")?;
    let damaged = |why: String| Fault::Corrupt { what: format!("row {seq} of the log: {why}") };
    let kind = row.text("kind")?;
    if kind != Run::KIND {
        return Err(damaged(format!("it is of kind {kind:?}, and has entries")));
    }
    let run = Run {
        at: instant(row, "at")?,
        section_id: section_id(row, "section_id")?,
        deltas: deltas(row)?,
        version: row.int("version")?,
    };
    run.unpack(entries).map_err(|why| match why {
        Unreadable::Format(format) => Fault::Unsuitable {
            what: format!(
                "row {seq} of the log has entries of format {format}, which only a newer version of \
                 this program can read"
            ),
        },
        Unreadable::Damaged | Unreadable::Contradiction => damaged(why.to_string()),
    })
}

fn deltas(row: &impl Columns) -> Result<Deltas, Fault> {
    Ok(Deltas {
        capacity: row.int("capacity")?,
        held: row.int("held")?,
        sold: row.int("sold")?,
        blocked: row.int("blocked")?,
    })
}

/// A row of the log that has one entry.
fn log_entry(row: &impl Columns) -> Result<LogEntry, Fault> {
    let booking_id = row.maybe_id("booking_id")?;
    let kind = row.text("kind")?;
    let unknown = || Fault::Corrupt {
        what: format!("the log has a row of kind {kind:?}, which this version cannot read"),
    };
    Ok(LogEntry {
        at: instant(row, "at")?,
        kind: LogKind::parse(kind).ok_or_else(unknown)?,
        subject: match row.maybe_id("section_id")? {
            Some(id) => Subject::Section(SectionId::from_slice(&id).expect("16 bytes")),
            None => Subject::Event(event_id(row, "event_id")?),
        },
        booking_id: booking_id.and_then(|id| BookingId::from_slice(&id)),
        booking_version: row.maybe_int("booking_version")?,
        deltas: deltas(row)?,
        version: row.int("version")?,
        expires_at: maybe_instant(row, "expires_at")?,
        reason: row.maybe_text("reason")?.map(Arc::from),
        detail: row.maybe_text("detail")?.map(detail::read).transpose()?.map(Box::new),
        actor: actor(row)?,
    })
}

/// A timeline of the log, with the last number before it.
pub(crate) fn timeline(row: &impl Columns) -> Result<(Timeline, i64), Fault> {
    let timeline = u32::try_from(row.int("timeline")?).map_err(unreadable("timeline"))?;
    Ok((Timeline(timeline), row.int("after")?))
}

const ACTOR_USER: i64 = 1;
const ACTOR_SYSTEM: i64 = 2;
const ACTOR_KEY: i64 = 3;

/// How the log names the kind of who acted; nobody when it was the buyer, or time.
pub(crate) fn actor_kind(actor: Option<Actor>) -> Option<i64> {
    actor.map(|actor| match actor {
        Actor::User(_) => ACTOR_USER,
        Actor::Key(_) => ACTOR_KEY,
        Actor::System => ACTOR_SYSTEM,
    })
}

pub(crate) fn actor(row: &impl Columns) -> Result<Option<Actor>, Fault> {
    Ok(match row.maybe_int("actor_kind")? {
        None => None,
        Some(ACTOR_USER) => Some(Actor::User(user_id(row, "actor")?)),
        Some(ACTOR_KEY) => Some(Actor::Key(key_id(row, "actor")?)),
        Some(ACTOR_SYSTEM) => Some(Actor::System),
        Some(_) => return Err(corrupt("actor_kind")()),
    })
}

/// The sums of the log's entries, by section.
///
/// A store adds up rows by SQL, for they are many, and says how many of them are runs. The columns of a
/// run are the sums of its entries, which is checked where it is read; only how many they are has to
/// be counted after that.
pub(crate) struct Sums {
    events: HashMap<SectionId, EventId>,
    settled: HashMap<SectionId, Inventory>,
    unsettled: HashMap<SectionId, Inventory>,
    runs: i64,
}

impl Sums {
    /// None yet, of these sections.
    pub(crate) fn of(inventories: &[Inventory]) -> Self {
        let events = inventories.iter().map(|of| (of.section_id, of.event_id)).collect();
        Self { events, settled: HashMap::new(), unsettled: HashMap::new(), runs: 0 }
    }

    fn side(&mut self, is_settled: bool) -> &mut HashMap<SectionId, Inventory> {
        if is_settled { &mut self.settled } else { &mut self.unsettled }
    }

    /// Adds the sums of a section's rows.
    pub(crate) fn add(&mut self, row: &impl Columns, is_settled: bool) -> Result<(), Fault> {
        let section_id = section_id(row, "section_id")?;
        let missing =
            || Fault::Corrupt { what: format!("section {section_id} has a log and no inventory") };
        let event_id = *self.events.get(&section_id).ok_or_else(missing)?;
        let Deltas { capacity, held, sold, blocked } = deltas(row)?;
        let version = row.int("entries")?;
        self.runs += row.int("runs")?;
        let empty = Inventory::empty(section_id, event_id);
        let sum = Inventory { capacity, held, sold, blocked, version, ..empty };
        self.side(is_settled).insert(section_id, sum);
        Ok(())
    }

    /// Whether runs have to be added.
    pub(crate) fn has_runs(&self) -> bool {
        self.runs > 0
    }

    /// Counts the entries of a run, which was added as one.
    pub(crate) fn add_run(&mut self, row: &impl Columns, is_settled: bool) -> Result<(), Fault> {
        let section_id = section_id(row, "section_id")?;
        let entries = i64::try_from(log_entries(row)?.count()).expect("a bounded number");
        let sum = self.side(is_settled).get_mut(&section_id);
        sum.ok_or_else(corrupt("section_id"))?.version += entries - 1;
        Ok(())
    }

    /// The settled sums, and the others.
    pub(crate) fn end(self) -> (Vec<Inventory>, Vec<Inventory>) {
        (self.settled.into_values().collect(), self.unsettled.into_values().collect())
    }

    /// The settled sum of the one section there is.
    pub(crate) fn of_one(self) -> Inventory {
        self.settled.into_values().next().expect("the sums of one section were added")
    }
}
