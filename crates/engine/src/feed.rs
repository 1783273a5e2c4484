//! Messages: what the log publishes, made from its rows when they are read.
//!
//! A step of a booking is one message, however many sections it touches; so is each change of a
//! section and of an event. A message says what was so at its version, not what is so today: the status
//! is that of the row's kind, the times are the row's, and the items are those that the booking had
//! before its next change.
//!
//! Pure: a store reads the rows, and of their bookings what they are now and what their changes replaced.

use crate::access::{Actor, Overrides};
use crate::booking::{Booking, BookingStatus, Item};
use crate::event::{Event, Section};
use crate::ids::{BookingId, EventId, SectionId};
use crate::inventory::Inventory;
use crate::log::{Deltas, Detail, LogCursor, LogEntry, LogKind, Subject};
use crate::seats::SeatName;
use crate::time::Timestamp;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

/// How many bytes of a digest name a message.
const ID_BYTES: usize = 16;

/// What names a message: a digest of what it says. The same message has the same id whenever it is
/// read, also from a copy of the log in which rows have other numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId([u8; ID_BYTES]);

impl MessageId {
    fn of(entry: &LogEntry) -> Self {
        let mut digest = Sha256::new();
        match entry.subject {
            Subject::Section(section_id) => digest.update(section_id.as_bytes()),
            Subject::Event(event_id) => digest.update(event_id.as_bytes()),
        }
        digest.update(entry.version.to_be_bytes());
        digest.update(entry.kind.as_str());
        digest.update(entry.at.unix_ms().to_be_bytes());
        if let Some(booking_id) = &entry.booking_id {
            digest.update(booking_id.as_bytes());
        }
        let digest = digest.finalize();
        Self(digest[..ID_BYTES].try_into().expect("a digest is longer"))
    }
}

impl fmt::Display for MessageId {
    /// `evt_` and 26 digits of base 32, in lower case.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        const DIGITS: u32 = 26;
        let bits = u128::from_be_bytes(self.0);
        f.write_str("evt_")?;
        for place in (0..DIGITS).rev() {
            let digit = usize::try_from((bits >> (place * 5)) & 31).expect("masked to 5 bits");
            write!(f, "{}", char::from(ALPHABET[digit]))?;
        }
        Ok(())
    }
}

/// What happened to what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its name.
    pub id: MessageId,
    /// Its position in the log.
    pub cursor: LogCursor,
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub kind: LogKind,
    /// At which event.
    pub event_id: EventId,
    /// To what.
    pub body: Body,
    /// Who did it; none when it was the buyer, or time.
    pub actor: Option<Actor>,
}

/// What a message is about, as it was then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A step of a booking.
    Booking {
        /// The booking.
        booking: Booking,
        /// The sections that the step touched, with the version each had after it. A section's version
        /// rises by one with each message that touches it.
        sections: Vec<(SectionId, i64)>,
        /// What a changed hold had before.
        before: Option<Arc<[Item]>>,
        /// Which limits of the event the seller went beyond.
        overrides: Overrides,
    },
    /// A change of a section.
    Section {
        /// The section.
        section_id: SectionId,
        /// Its version after the change.
        version: i64,
        /// What the section was from then on. None in rows of releases that did not note it.
        state: Option<(Section, Inventory)>,
        /// What the change did to the counters.
        deltas: Deltas,
        /// Numbered seats that it took off sale.
        blocked: Vec<SeatName>,
        /// Numbered seats that it put back on sale.
        unblocked: Vec<SeatName>,
        /// Why, as the organizer put it.
        reason: Option<Arc<str>>,
    },
    /// A change of an event.
    Event(Box<Event>),
}

impl LogKind {
    /// The type of its messages.
    #[must_use]
    pub fn message_type(self) -> &'static str {
        match self {
            Self::Held => "booking.held",
            Self::Extended => "booking.extended",
            Self::Changed => "booking.changed",
            Self::Confirmed => "booking.confirmed",
            Self::Expired => "booking.expired",
            Self::Released => "booking.released",
            Self::Cancelled => "booking.cancelled",
            Self::Opened => "section.created",
            Self::Resized => "section.resized",
            Self::Blocked => "section.blocked",
            Self::LaidOut => "section.laid_out",
            Self::SectionChanged => "section.changed",
            Self::EventCreated => "event.created",
            Self::EventChanged => "event.changed",
            Self::EventCalledOff => "event.called_off",
        }
    }
}

/// What rows need beyond themselves to become messages.
#[derive(Debug, Default)]
pub struct Sources {
    /// The bookings of the rows, as they are now.
    pub bookings: HashMap<BookingId, Booking>,
    /// What the changes of these bookings replaced, by the version that each change made. It has to be
    /// read after the bookings: then it has every change that they have.
    pub replaced: HashMap<BookingId, BTreeMap<i64, Arc<[Item]>>>,
    /// The events of sections whose rows do not say it.
    pub events: HashMap<SectionId, EventId>,
}

/// A row of the log contradicts what is stored beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incomplete;

/// The message of a row; none when the row only adds a section to the step that the row before it
/// began.
pub fn message(
    entry: LogEntry,
    cursor: LogCursor,
    sources: &Sources,
) -> Result<Option<Message>, Incomplete> {
    let id = MessageId::of(&entry);
    let LogEntry { at, kind, version, deltas, reason, actor, .. } = entry;
    let detail = entry.detail.map(|detail| *detail);
    let (event_id, body) = match (entry.subject, entry.booking_id, entry.booking_version) {
        (Subject::Event(event_id), ..) => match detail {
            Some(Detail::Event(event)) => (event_id, Body::Event(event)),
            _ => return Err(Incomplete),
        },
        (Subject::Section(_), Some(_), None) => return Ok(None),
        (Subject::Section(section_id), Some(booking_id), Some(booking_version)) => {
            let mut sections = vec![(section_id, version)];
            let (mut before, mut overrides) = (None, Overrides::NONE);
            if let Some(Detail::Booking { also, before: had, overrides: beyond }) = detail {
                sections.extend(also);
                (before, overrides) = (had, beyond);
            }
            let now = sources.bookings.get(&booking_id).ok_or(Incomplete)?;
            let replaced = sources.replaced.get(&booking_id);
            let next = replaced.and_then(|by| by.range(booking_version + 1..).next());
            let items = next.map_or_else(|| now.items.clone(), |(_, items)| items.clone());
            let status = kind.booking_status().ok_or(Incomplete)?;
            let booking = then(now, status, booking_version, (at, entry.expires_at), items);
            (now.event_id, Body::Booking { booking, sections, before, overrides })
        }
        (Subject::Section(section_id), None, _) => {
            let (state, blocked, unblocked) = match detail {
                Some(Detail::Section { section, inventory, blocked, unblocked }) => {
                    (Some((section, inventory)), blocked, unblocked)
                }
                _ => (None, Vec::new(), Vec::new()),
            };
            let known = state.as_ref().map(|(section, _)| section.event_id);
            let known = known.or_else(|| sources.events.get(&section_id).copied());
            let body =
                Body::Section { section_id, version, state, deltas, blocked, unblocked, reason };
            (known.ok_or(Incomplete)?, body)
        }
    };
    Ok(Some(Message { id, cursor, at, kind, event_id, body, actor }))
}

/// A booking as it was after a step.
fn then(
    now: &Booking,
    status: BookingStatus,
    version: i64,
    (at, expires_at): (Timestamp, Option<Timestamp>),
    items: Arc<[Item]>,
) -> Booking {
    let mut booking = Booking {
        items,
        status,
        version,
        updated_at: at,
        // A hold's end is on its rows. What became of it later does not move the end any more.
        expires_at: expires_at.unwrap_or(now.expires_at),
        ..now.clone()
    };
    match status {
        BookingStatus::Hold | BookingStatus::Expired => {
            (booking.confirmed_at, booking.cancelled_at) = (None, None);
        }
        BookingStatus::Confirmed => {
            (booking.confirmed_at, booking.cancelled_at) = (Some(at), None);
        }
        BookingStatus::Cancelled => booking.cancelled_at = Some(at),
    }
    booking
}
