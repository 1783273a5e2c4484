//! The rows of a batch: which of its entries stand together in a run.
//!
//! A batch decides about many sections in turn, so the entries of one section are seldom adjacent.
//! They are gathered: an entry joins the last row of its section wherever that row is, unless this
//! would put it before what it has to follow. What is guaranteed, in the order of the log:
//!
//! - the entries of a section come in the order of its versions;
//! - the entries of a booking come in the order of its versions, and within a step in that of the step;
//! - the messages ([`feed`](crate::feed)) that touch a section come in the order of the versions that
//!   they name, also a cart's, whose message is that of its first entry;
//! - an entry of an event stays between what was before it and what was after it.
//!
//! Entries of sections and bookings that have nothing to do with each other may change places.
//!
//! The order is proved row by row: an entry only joins a row if that is not before any row that it
//! has to follow; within a row it is the last. Everything else gets a row of its own at the end.

use super::run::{RUN_ENTRIES_MAX, Run};
use super::{Deltas, Detail, LogEntry};
use crate::ids::{BookingId, SectionId};
use crate::time::Timestamp;
use std::collections::HashMap;

/// A row of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogRow {
    /// An entry.
    One(LogEntry),
    /// Several entries of a section, packed.
    Run(Run, Vec<u8>),
}

impl LogRow {
    /// The entry of a row that has one and is no run.
    #[must_use]
    pub fn one(&self) -> Option<&LogEntry> {
        match self {
            Self::One(entry) => Some(entry),
            Self::Run(..) => None,
        }
    }

    /// When it happened.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        match self {
            Self::One(entry) => entry.at,
            Self::Run(run, _) => run.at,
        }
    }

    /// The word in the store for its kind.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::One(entry) => entry.kind.as_str(),
            Self::Run(..) => Run::KIND,
        }
    }

    /// Its section; none for a row of an event.
    #[must_use]
    pub fn section_id(&self) -> Option<SectionId> {
        match self {
            Self::One(entry) => entry.subject.section_id(),
            Self::Run(run, _) => Some(run.section_id),
        }
    }

    /// What it did to the counters.
    #[must_use]
    pub fn deltas(&self) -> Deltas {
        match self {
            Self::One(entry) => entry.deltas,
            Self::Run(run, _) => run.deltas,
        }
    }

    /// The version of the section or the event after it.
    #[must_use]
    pub fn version(&self) -> i64 {
        match self {
            Self::One(entry) => entry.version,
            Self::Run(run, _) => run.version,
        }
    }

    /// The packed entries of a run.
    #[must_use]
    pub fn entries(&self) -> Option<&[u8]> {
        match self {
            Self::One(_) => None,
            Self::Run(_, bytes) => Some(bytes),
        }
    }
}

/// What has been placed of a section.
#[derive(Clone, Copy, Default)]
struct OfSection {
    /// The row that its next entry may join.
    open: Option<usize>,
    /// The row of the last message that touches it.
    told: usize,
}

/// The rows in which entries are stored, in their order; the entries come in the order in which they
/// were decided.
///
/// Several holds, confirmations and expiries of a section become a run; an entry of another kind ends
/// it. A run of one would be no shorter than its entry.
#[must_use]
pub fn rows_of(entries: &[LogEntry]) -> Vec<LogRow> {
    let mut rows = Vec::new();
    for together in gathered(entries) {
        let packed = if together.len() > 1 { Run::pack(&together).ok() } else { None };
        match packed {
            Some((run, bytes)) => rows.push(LogRow::Run(run, bytes)),
            None => rows.extend(together.into_iter().cloned().map(LogRow::One)),
        }
    }
    rows
}

fn gathered(entries: &[LogEntry]) -> Vec<Vec<&LogEntry>> {
    let mut rows: Vec<Vec<&LogEntry>> = Vec::new();
    let mut sections: HashMap<SectionId, OfSection> = HashMap::new();
    // The row of the last entry of each booking.
    let mut bookings: HashMap<BookingId, usize> = HashMap::with_capacity(entries.len());
    // No entry may join a row before this one.
    let mut first = 0;
    for entry in entries {
        let Some(section_id) = entry.subject.section_id() else {
            rows.push(vec![entry]);
            first = rows.len();
            continue;
        };
        let mut follows = first;
        for (other, _) in also(entry) {
            follows = follows.max(sections.get(other).map_or(0, |of| of.told));
        }
        let stepped = entry.booking_id.map(|id| bookings.entry(id).or_default());
        follows = follows.max(stepped.as_deref().copied().unwrap_or(0));
        let of_section = sections.entry(section_id).or_default();
        if is_message(entry) {
            follows = follows.max(of_section.told);
        }
        let packs = Run::packs(entry);
        let open = of_section.open.filter(|row| *row >= follows);
        let open = open.filter(|row| packs && joins(entry, &rows[*row]));
        let row = open.unwrap_or(rows.len());
        match open {
            Some(row) => rows[row].push(entry),
            None => rows.push(vec![entry]),
        }
        of_section.open = Some(row).filter(|_| packs);
        if is_message(entry) {
            of_section.told = row;
        }
        if let Some(stepped) = stepped {
            *stepped = row;
        }
        for (other, _) in also(entry) {
            sections.entry(*other).or_default().told = row;
        }
    }
    rows
}

/// Whether an entry makes a message: it does not if it only adds a section to a step.
fn is_message(entry: &LogEntry) -> bool {
    entry.booking_id.is_none() || entry.booking_version.is_some()
}

/// The other sections that the message of an entry is about.
fn also(entry: &LogEntry) -> &[(SectionId, i64)] {
    match entry.detail.as_deref() {
        Some(Detail::Booking { also, .. }) => also,
        _ => &[],
    }
}

/// Whether an entry that can stand in a run is the next of its section behind this row.
fn joins(entry: &LogEntry, row: &[&LogEntry]) -> bool {
    let last = row.last().expect("no row is empty");
    entry.at == last.at && entry.version == last.version + 1 && row.len() < RUN_ENTRIES_MAX
}

#[cfg(test)]
mod tests;
