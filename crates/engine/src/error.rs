//! The two ways in which a request fails: a [`Refusal`] is the client's, a [`Fault`] is ours.
//!
//! A refusal is understood and decided: nothing changed, and its code is part of the API. A fault is
//! unknown or broken: the client may retry, and an outcome that is unknown is never reported as
//! failed (I12). One table in the server maps both to HTTP.

mod code;

use crate::access::Permission;
use crate::ids::{EventId, OrgId, SectionId};
use crate::money::Currency;
use crate::seats::change::Harm;
use crate::seats::{SeatName, SeatState};
use crate::time::Timestamp;
use std::fmt;
use std::sync::Arc;

pub use code::RefusalCode;

/// A request that was understood and refused. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It does not exist, or not for this user (I10).
    NotFound {
        /// What was looked for, such as `booking`.
        what: &'static str,
    },
    /// Only the organizer of the event may do this.
    NotOrganizer,
    /// A member of the organization may not do this.
    PermissionMissing {
        /// What the member lacks.
        permission: Permission,
    },
    /// A team has an owner, and a personal organization is its user's.
    LastOwner,
    /// The user is the only owner of these teams.
    LastOwnerOf {
        /// The first of them, in the order of their ids.
        organizations: Vec<OrgId>,
    },
    /// The personal organization of the user has events that are published and not over.
    EventsOpen {
        /// The first of them, in the order of their ids.
        events: Vec<EventId>,
    },
    /// Ownership is handed over to members only.
    NotAMember,
    /// The account with this address is a member.
    MemberExists,
    /// It was accepted, taken back or replaced, it has expired, or it never was.
    InvitationEnded,
    /// The account has another address than the invitation.
    InvitationMismatch,
    /// As many as there may be.
    LimitReached {
        /// Of what, such as `members`.
        what: &'static str,
        /// How many.
        limit: usize,
    },
    /// An owner is not confined to events.
    OwnerConfined,
    /// The password has to be sent again.
    PasswordNeeded,
    /// The member made keys, and nobody said what becomes of them.
    KeysExist {
        /// How many.
        keys: usize,
    },
    /// A key can be given less, and never more.
    KeyWidened {
        /// What would be more, such as `scopes`.
        field: &'static str,
    },
    /// It would have ended by now.
    KeyEndsEarly,
    /// An account with this address already exists.
    EmailTaken,
    /// No such account, or not its password.
    InvalidCredentials,
    /// Unknown, expired or stolen.
    InvalidRefreshToken,
    /// The event was called off.
    EventCancelled,
    /// The sale has not begun.
    SaleNotOpen {
        /// When it will, if that is known.
        sales_start: Option<Timestamp>,
    },
    /// The sale has ended.
    SaleClosed,
    /// The event has taken place.
    EventOver,
    /// More seats than one booking may have.
    TooManySeats {
        /// How many it may have.
        limit: u32,
        /// How many it has, when other seats are asked for.
        current: u32,
    },
    /// More seats than the server selects at once.
    TooManyToSelect {
        /// How many it selects.
        limit: u32,
    },
    /// More seats than one buyer may have at this event.
    BuyerLimit {
        /// How many one buyer may have.
        limit: u32,
        /// How many this buyer holds and has bought.
        current: i64,
        /// How many this buyer may take beside them.
        remaining: i64,
    },
    /// Fewer seats are available than were asked for.
    SoldOut {
        /// How many are available.
        available: i64,
        /// How many were asked for.
        requested: i64,
    },
    /// Some of the seats that were named cannot be had.
    SeatsUnavailable {
        /// Which of them, and why.
        conflicts: Vec<SeatConflict>,
    },
    /// A request names a seat twice, perhaps in two spellings.
    DuplicateSeat {
        /// Where.
        section_id: SectionId,
        /// How it is named first.
        first: SeatName,
        /// How it is named again.
        again: SeatName,
    },
    /// The seats that were named would leave single seats, and as many others would not.
    OrphanSeat {
        /// The seats that would be left alone.
        seats: Vec<SeatName>,
    },
    /// Fewer seats that the party would take are free than it asked for.
    TooFewFit {
        /// How many are free.
        available: u32,
        /// How many were asked for.
        requested: u32,
        /// Whether only the accessible ones of both are counted.
        accessible: bool,
        /// The largest number of adjacent ones.
        largest_contiguous_block: u32,
    },
    /// Enough seats are free, but not so that the party can sit as it asked to.
    NotTogether {
        /// How many were asked for.
        requested: u32,
        /// Whether they need not be adjacent, but somebody would sit alone.
        alone: bool,
        /// The largest number of adjacent ones.
        largest_contiguous_block: u32,
    },
    /// The new layout would move or remove seats that are held, sold or blocked.
    SeatsInUse {
        /// Which, and whether they would be moved or removed.
        seats: Vec<(SeatName, Harm)>,
    },
    /// The section has numbered seats: its capacity is that of its layout, and seats are named.
    SeatsAreNumbered,
    /// It is a sale, and only holds can be given other seats.
    NotChangeable,
    /// The booking was cancelled before.
    BookingCancelled,
    /// The hold ended before it was confirmed.
    HoldExpired {
        /// When it ended.
        expired_at: Timestamp,
    },
    /// The hold has reached its maximum lifetime, or it is a sale.
    ExtensionLimit,
    /// The booking can no longer be cancelled by this user.
    NotCancellable,
    /// The capacity would fall below the seats in use.
    CapacityInUse {
        /// The smallest capacity possible now.
        minimum: i64,
    },
    /// The sale would end before it begins.
    EmptySaleWindow,
    /// A section of this event has this name.
    DuplicateSection,
    /// Another currency than the event's other sections.
    CurrencyMismatch {
        /// The currency of the event.
        currency: Currency,
    },
    /// The currency of an event of which something is held or sold stays what it is.
    CurrencyInUse {
        /// How many seats are held or sold.
        seats: i64,
    },
    /// The event has more numbered seats than can be given another currency at once.
    TooManyToReprice {
        /// How many it may have.
        limit: usize,
    },
    /// The event has as many sections as it may have.
    TooManySections,
    /// The resource has changed since the client read it.
    VersionMismatch {
        /// Its version now.
        version: i64,
    },
    /// The key was used for another request.
    IdempotencyKeyReused,
    /// An equal request came first and is still being decided.
    IdempotencyInFlight,
}

/// A seat that was asked for by its name and cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeatConflict {
    /// Where.
    pub section_id: SectionId,
    /// Its name, as it was asked for.
    pub seat: SeatName,
    /// What it is; `None`: there is no such seat.
    pub state: Option<SeatState>,
}

/// A failure of the program, or of a system it depends on.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The store or a part of us cannot answer now; the outcome may be unknown. Retry with the same key.
    Unavailable {
        /// What was being done.
        doing: &'static str,
        /// What failed, for the log.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// A queue is full or a deadline has passed: nothing was decided.
    Overloaded {
        /// What was full or late.
        what: &'static str,
    },
    /// What is stored of a section contradicts itself, so nothing is decided about it until somebody has
    /// looked (`reservix repair`). Nothing was changed.
    Contradiction {
        /// The section.
        section_id: SectionId,
        /// What was found.
        what: String,
    },
    /// A system that the program depends on is unsuitable, and waiting does not help: the operator
    /// must change it.
    Unsuitable {
        /// What is wrong, and what to do.
        what: String,
    },
    /// State or code of ours is wrong. A bug.
    Corrupt {
        /// What was found.
        what: String,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable { doing, .. } => write!(f, "unavailable while {doing}"),
            Self::Overloaded { what } => write!(f, "overloaded: {what}"),
            Self::Contradiction { section_id, what } => {
                write!(f, "section {section_id} contradicts itself: {what}")
            }
            Self::Unsuitable { what } => f.write_str(what),
            Self::Corrupt { what } => write!(f, "corrupt: {what}"),
        }
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unavailable { source, .. } => Some(&**source),
            Self::Overloaded { .. }
            | Self::Contradiction { .. }
            | Self::Unsuitable { .. }
            | Self::Corrupt { .. } => None,
        }
    }
}

/// Either failure.
#[derive(Clone, Debug)]
pub enum Error {
    /// The client's.
    Refused(Refusal),
    /// Ours.
    Failed(Fault),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault)
    }
}
