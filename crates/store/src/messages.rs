//! A page of messages, made of rows of the log and of what is stored beside them.

use crate::PAGE_BYTES_MAX;
use crate::rows::{self, Columns};
use engine::feed::{Message, Sources, message};
use engine::log::{Detail, Position, Timelines};
use engine::{BookingId, Fault, LogCursor, LogEntry, SectionId};
use std::collections::BTreeSet;

/// Messages in the order of the log.
#[derive(Debug)]
pub struct Messages {
    /// The messages. Rows that only add a section to a step make none.
    pub messages: Vec<Message>,
    /// Where to go on: after the last row that was looked at.
    pub next: LogCursor,
}

/// What a page has so far.
pub(crate) struct LogPage {
    from: Position,
    timelines: Timelines,
    entries: Vec<(i64, LogEntry)>,
    bytes: usize,
    pub(crate) sources: Sources,
}

impl LogPage {
    pub(crate) fn new(from: Position, timelines: Timelines) -> Self {
        Self { from, timelines, entries: Vec::new(), bytes: 0, sources: Sources::default() }
    }

    /// Adds the next row; false when the page has ended and needs no more.
    pub(crate) fn add(&mut self, row: &impl Columns) -> Result<bool, Fault> {
        if row.maybe_bytes("entries")?.is_some() {
            let what = "the log has rows that only a newer version of this program can read";
            return Err(Fault::Unsuitable { what: what.to_owned() });
        }
        self.bytes += row.maybe_text("detail")?.map_or(0, str::len);
        self.entries.push((row.int("seq")?, rows::log_entry(row)?));
        Ok(self.bytes < PAGE_BYTES_MAX)
    }

    /// The bookings of its rows.
    pub(crate) fn bookings(&self) -> BTreeSet<BookingId> {
        let steps = self.entries.iter().filter(|(_, entry)| entry.booking_version.is_some());
        steps.filter_map(|(_, entry)| entry.booking_id).collect()
    }

    /// The sections whose rows do not say their event.
    pub(crate) fn sections(&self) -> BTreeSet<SectionId> {
        let bare = self.entries.iter().filter(|(_, it)| it.booking_id.is_none());
        let bare = bare.filter(|(_, entry)| entry.detail.is_none());
        bare.filter_map(|(_, entry)| entry.subject.section_id()).collect()
    }

    /// Adds what a change of a booking replaced.
    pub(crate) fn add_replaced(&mut self, row: &impl Columns) -> Result<(), Fault> {
        let Some(text) = row.maybe_text("detail")? else { return Ok(()) };
        let Detail::Booking { before: Some(before), .. } = rows::read_detail(text)? else {
            return Ok(());
        };
        let of_booking = self.sources.replaced.entry(rows::booking_id(row, "booking_id")?);
        of_booking.or_default().insert(row.int("booking_version")?, before);
        Ok(())
    }

    /// Adds the event of a section.
    pub(crate) fn add_event(&mut self, row: &impl Columns) -> Result<(), Fault> {
        let section_id = rows::section_id(row, "section_id")?;
        self.sources.events.insert(section_id, rows::event_id(row, "event_id")?);
        Ok(())
    }

    /// Makes the messages.
    pub(crate) fn end(self) -> Result<Messages, Fault> {
        let Self { from, timelines, entries, sources, .. } = self;
        let cursor =
            |position: Position| LogCursor { timeline: timelines.at(position.seq), position };
        let last = entries.last().map_or(from, |(seq, _)| Position { seq: *seq, place: 0 });
        let mut messages = Vec::with_capacity(entries.len());
        for (seq, entry) in entries {
            let made = message(entry, cursor(Position { seq, place: 0 }), &sources);
            let incomplete =
                |_| Fault::Corrupt { what: format!("row {seq} of the log contradicts the store") };
            messages.extend(made.map_err(incomplete)?);
        }
        // A reader that has come to the end goes on in the timeline that is open now.
        let next =
            LogCursor { timeline: timelines.newest().max(timelines.at(last.seq)), position: last };
        Ok(Messages { messages, next })
    }
}
