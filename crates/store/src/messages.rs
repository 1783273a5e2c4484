//! A page of messages, made of rows of the log and of what is stored beside them.

use crate::rows::{self, Columns};
use crate::{MESSAGE_ROWS_MAX, PAGE_BYTES_MAX};
use engine::feed::{Message, Sources, message};
use engine::log::{Detail, Position, Timelines};
use engine::{BookingId, Fault, LogCursor, LogEntry, SectionId};
use std::collections::BTreeSet;

/// Messages in the order of the log.
#[derive(Debug)]
pub struct Messages {
    /// The messages. Entries that only add a section to a step make none.
    pub messages: Vec<Message>,
    /// Where to go on: after the last entry that was looked at.
    pub next: LogCursor,
}

/// What a page has so far.
pub(crate) struct LogPage {
    from: Position,
    limit: usize,
    timelines: Timelines,
    entries: Vec<(Position, LogEntry)>,
    bytes: usize,
    pub(crate) sources: Sources,
}

impl LogPage {
    /// A page of the entries after `from`, made of at most `limit` entries.
    pub(crate) fn new(from: Position, limit: u32, timelines: Timelines) -> Self {
        let limit = limit.min(MESSAGE_ROWS_MAX) as usize;
        let (entries, sources) = (Vec::new(), Sources::default());
        Self { from, limit, timelines, entries, bytes: 0, sources }
    }

    /// How many rows it needs at most, from that of `from` on: a page may have ended inside of it.
    pub(crate) fn rows_max(&self) -> i64 {
        i64::try_from(self.limit).expect("a bounded number") + 1
    }

    /// Adds the entries of the next row that are after the start of the page; false when the page
    /// has ended and needs no more.
    pub(crate) fn add(&mut self, row: &impl Columns) -> Result<bool, Fault> {
        let seq = row.int("seq")?;
        self.bytes += row.maybe_text("detail")?.map_or(0, str::len);
        for (place, entry) in (0..).zip(rows::log_entries(row)?) {
            let position = Position { seq, place };
            if position <= self.from {
                continue;
            }
            if self.entries.len() >= self.limit {
                return Ok(false);
            }
            self.entries.push((position, entry));
        }
        Ok(self.entries.len() < self.limit && self.bytes < PAGE_BYTES_MAX)
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
        let last = entries.last().map_or(from, |(position, _)| *position);
        let mut messages = Vec::with_capacity(entries.len());
        for (position, entry) in entries {
            let made = message(entry, cursor(position), &sources);
            let seq = position.seq;
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
