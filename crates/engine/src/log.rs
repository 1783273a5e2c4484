//! The log: one entry for every transition of every section it touches, and for every change of an
//! event, in the same transaction.
//!
//! Folding the entries of a section results in exactly its counters (I4); an entry exists exactly
//! when its change committed (I7). The log is the audit trail and the source of every feed
//! ([`feed`](crate::feed)).
//!
//! A transition of a booking is one entry for each of its sections. The first of them carries the
//! booking's version, and what only the whole transition can say; the others follow it. A row holds
//! one entry, or several of its section ([`Run`]); [`rows_of`] says which of a batch.

mod position;
mod rows;
mod run;

use crate::access::{Actor, By, Overrides};
use crate::booking::{BookingStatus, Item};
use crate::event::{Event, Section};
use crate::ids::{BookingId, EventId, SectionId};
use crate::inventory::Inventory;
use crate::seats::SeatName;
use crate::time::Timestamp;
use std::sync::Arc;

pub use position::{LogCursor, Position, Timeline, Timelines, UnknownTimeline};
pub use rows::{LogRow, rows_of};
pub use run::{NotARun, RUN_ENTRIES_MAX, Run, Unreadable};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogKind {
    /// A section was created with its capacity.
    Opened,
    /// Seats were held.
    Held,
    /// A hold became a confirmed booking.
    Confirmed,
    /// A hold ended by itself.
    Expired,
    /// A hold was given back.
    Released,
    /// A confirmed booking was cancelled.
    Cancelled,
    /// A hold was given more time.
    Extended,
    /// A section's capacity changed.
    Resized,
    /// Seats were taken off sale, or given back to it.
    Blocked,
    /// A hold was given other seats.
    Changed,
    /// A section got a layout, and with it its capacity.
    LaidOut,
    /// A section got another name or price.
    SectionChanged,
    /// An event was created.
    EventCreated,
    /// An event was edited.
    EventChanged,
    /// An event was called off.
    EventCalledOff,
}

impl LogKind {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Opened,
        Self::Held,
        Self::Confirmed,
        Self::Expired,
        Self::Released,
        Self::Cancelled,
        Self::Extended,
        Self::Resized,
        Self::Blocked,
        Self::Changed,
        Self::LaidOut,
        Self::SectionChanged,
        Self::EventCreated,
        Self::EventChanged,
        Self::EventCalledOff,
    ];

    /// The word in the store and in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Held => "held",
            Self::Confirmed => "confirmed",
            Self::Expired => "expired",
            Self::Released => "released",
            Self::Cancelled => "cancelled",
            Self::Extended => "extended",
            Self::Resized => "resized",
            Self::Blocked => "blocked",
            Self::Changed => "changed",
            Self::LaidOut => "laid",
            Self::SectionChanged => "section_changed",
            Self::EventCreated => "event_created",
            Self::EventChanged => "event_changed",
            Self::EventCalledOff => "event_called_off",
        }
    }

    /// The status of a booking after such a step; none for what happens to sections and events.
    #[must_use]
    pub fn booking_status(self) -> Option<BookingStatus> {
        Some(match self {
            Self::Held | Self::Extended | Self::Changed => BookingStatus::Hold,
            Self::Confirmed => BookingStatus::Confirmed,
            Self::Expired => BookingStatus::Expired,
            Self::Released | Self::Cancelled => BookingStatus::Cancelled,
            Self::Opened
            | Self::Resized
            | Self::Blocked
            | Self::LaidOut
            | Self::SectionChanged
            | Self::EventCreated
            | Self::EventChanged
            | Self::EventCalledOff => return None,
        })
    }

    /// The kind with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// By how much a transition changes the counters of a section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deltas {
    /// Change of the capacity.
    pub capacity: i64,
    /// Change of the seats held.
    pub held: i64,
    /// Change of the seats sold.
    pub sold: i64,
    /// Change of the seats blocked.
    pub blocked: i64,
}

/// What a row of the log is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// A section, and perhaps a booking with seats in it.
    Section(SectionId),
    /// An event itself.
    Event(EventId),
}

impl Subject {
    /// The section; none for a row of an event.
    #[must_use]
    pub fn section_id(self) -> Option<SectionId> {
        match self {
            Self::Section(section_id) => Some(section_id),
            Self::Event(_) => None,
        }
    }

    /// The event of a row of an event.
    #[must_use]
    pub fn event_id(self) -> Option<EventId> {
        match self {
            Self::Section(_) => None,
            Self::Event(event_id) => Some(event_id),
        }
    }
}

/// What a row says beyond numbers. Most rows have none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    /// On the first row of a transition of a booking.
    Booking {
        /// The other sections of the transition, with the version each has after it.
        also: Vec<(SectionId, i64)>,
        /// What a changed hold had before.
        before: Option<Arc<[Item]>>,
        /// Which limits the seller went beyond.
        overrides: Overrides,
    },
    /// The section as it is after the change.
    Section {
        /// Its name and price.
        section: Section,
        /// Its counters.
        inventory: Inventory,
        /// The seats that the change took off sale.
        blocked: Vec<SeatName>,
        /// The seats that the change put back on sale.
        unblocked: Vec<SeatName>,
    },
    /// The event as it is after the change.
    Event(Box<Event>),
}

/// One row of the log: one transition of one section, or one change of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// The batch's `now`.
    pub at: Timestamp,
    /// What happened.
    pub kind: LogKind,
    /// To what.
    pub subject: Subject,
    /// To which booking; none for a change of the section or the event itself.
    pub booking_id: Option<BookingId>,
    /// The booking's version after it, on the first row of a transition; none on its others.
    pub booking_version: Option<i64>,
    /// What it did to the counters.
    pub deltas: Deltas,
    /// The version of the section or the event after it.
    pub version: i64,
    /// When the hold ends, for `Held`, `Extended` and `Changed`.
    pub expires_at: Option<Timestamp>,
    /// Why, as the organizer put it, for `Blocked`.
    pub reason: Option<Arc<str>>,
    /// What else is to be said.
    pub detail: Option<Box<Detail>>,
    /// Who did it; none when it was the buyer, or time.
    pub actor: Option<Actor>,
}

impl LogEntry {
    /// A row of a section, whose time and version are to be filled in.
    #[must_use]
    pub fn of_section(section_id: SectionId, kind: LogKind, deltas: Deltas) -> Self {
        Self::of(Subject::Section(section_id), kind, deltas)
    }

    fn of(subject: Subject, kind: LogKind, deltas: Deltas) -> Self {
        Self {
            at: Timestamp::from_unix_ms(0),
            kind,
            subject,
            booking_id: None,
            booking_version: None,
            deltas,
            version: 0,
            expires_at: None,
            reason: None,
            detail: None,
            actor: None,
        }
    }

    /// Says on the first row of a step of a booking which other rows it has, what a changed hold had
    /// `before`, and which limits its seller went beyond.
    pub fn tell_others(
        &mut self,
        others: &[Self],
        before: Option<Arc<[Item]>>,
        overrides: Overrides,
    ) {
        if !others.is_empty() || before.is_some() || !overrides.is_empty() {
            let also = others.iter().filter_map(|it| Some((it.subject.section_id()?, it.version)));
            let also = also.collect();
            self.detail = Some(Box::new(Detail::Booking { also, before, overrides }));
        }
    }

    /// The row that says what an event is from now on.
    #[must_use]
    pub fn of_event(event: &Event, kind: LogKind, by: By, at: Timestamp) -> Self {
        Self {
            at,
            version: event.version,
            detail: Some(Box::new(Detail::Event(Box::new(event.clone())))),
            actor: Some(by.actor()),
            ..Self::of(Subject::Event(event.terms.event_id), kind, Deltas::default())
        }
    }
}
