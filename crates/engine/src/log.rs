//! The log: one row for every transition of every section it touches, in the same transaction.
//!
//! Folding the rows of a section gives exactly its counters (I4); a row exists exactly when its
//! change committed (I7). The log is the audit trail and the source of every feed.

use crate::ids::{BookingId, SectionId};
use crate::time::Timestamp;
use std::sync::Arc;

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
    Laid,
}

impl LogKind {
    /// All of them.
    pub const ALL: [Self; 11] = [
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
        Self::Laid,
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
            Self::Laid => "laid",
        }
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

/// One row of the log: one transition of one section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// The batch's `now`.
    pub at: Timestamp,
    /// What happened.
    pub kind: LogKind,
    /// Where.
    pub section_id: SectionId,
    /// To which booking; none for a change of the section itself.
    pub booking_id: Option<BookingId>,
    /// What it did to the counters.
    pub deltas: Deltas,
    /// The section's version after it.
    pub version: i64,
    /// When the hold ends, for `Held`, `Extended` and `Changed`.
    pub expires_at: Option<Timestamp>,
    /// Why, as the organizer put it, for `Blocked`.
    pub reason: Option<Arc<str>>,
}
