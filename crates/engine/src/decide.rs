//! The decision: what each command of a batch does to the rows the batch has locked.
//!
//! A store loads the rows that [`Needs`] names, reads the one clock, makes a [`Ledger`], decides
//! the commands in order, writes [`Changes`] and commits. Each command sees what the ones before it
//! did, so a batch ends as if its commands had come one by one.
//!
//! ```text
//! [Command] ──Needs::of──▶ store loads ──Rows──▶ Ledger ──decide × n──▶ [Outcome | Refusal]
//!                                                   └──end_batch──▶ store writes, commits
//! ```
//! Pure: no clock, no storage, no randomness. A refusal changes nothing, except that due holds of
//! the loaded sections are retired first, for every caller.

mod agreement;
mod committed;
mod expiry;
mod ledger;
mod rules;
mod seats;

use crate::access::{By, Overrides};
use crate::booking::{Booking, BookingStatus};
use crate::error::{Fault, Refusal};
use crate::event::{Section, Terms};
use crate::ids::{BookingId, EventId, IdempotencyKey, SectionId, UserId};
use crate::inventory::Inventory;
use crate::log::LogEntry;
use crate::seats::{Layout, Marks, Party, SeatMap, SeatName};
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

pub use committed::Committed;
pub use expiry::NextExpiry;
pub use ledger::{Ended, Ledger};

/// Due holds retired of one section by one batch, at most: it bounds the work of a batch.
pub const RETIRED_PER_SECTION_MAX: usize = 1_000;

/// The limits of an event that sets none of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long a hold lives.
    pub hold_ttl_ms: i64,
    /// How long a hold may live with all its extensions.
    pub hold_max_life_ms: i64,
    /// Seats in one booking.
    pub max_seats_per_booking: u32,
    /// Live seats of one buyer at one event; `None`: no cap.
    pub max_seats_per_user: Option<u32>,
}

/// Seats that are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SeatRequest {
    /// A number of seats of one section; of numbered seats, the best available ones, adjacent if
    /// possible.
    Count {
        /// Where.
        section_id: SectionId,
        /// How many, at least one.
        seats: u32,
    },
    /// Exactly these.
    Seats {
        /// Where.
        section_id: SectionId,
        /// Their names, at least one, each once.
        seats: Vec<SeatName>,
    },
    /// The best available ones for a party.
    Best {
        /// Where to look: at least one section, all with numbered seats, each once.
        sections: Vec<SectionId>,
        /// Who is looking.
        party: Party,
    },
}

impl SeatRequest {
    /// The sections it may take seats of.
    #[must_use]
    pub fn sections(&self) -> &[SectionId] {
        match self {
            Self::Count { section_id, .. } | Self::Seats { section_id, .. } => {
                std::slice::from_ref(section_id)
            }
            Self::Best { sections, .. } => sections,
        }
    }

    /// How many seats it takes.
    ///
    /// # Panics
    /// When more are named than fit in 32 bits: a request is checked before.
    #[must_use]
    pub fn seats(&self) -> u32 {
        match self {
            Self::Count { seats, .. } => *seats,
            Self::Seats { seats, .. } => u32::try_from(seats.len()).expect("checked before"),
            Self::Best { party, .. } => party.number,
        }
    }
}

/// What is to be kept off sale in a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// A number of seats in total, of a section without numbered seats.
    Count(i64),
    /// Exactly these, of a section with numbered seats.
    Seats(Vec<SeatName>),
}

/// A request to hold seats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The id the booking will have.
    pub booking_id: BookingId,
    /// The buyer.
    pub user_id: UserId,
    /// Who sells to the buyer, with `booking.sell`; `None`: the buyer holds.
    pub seller: Option<By>,
    /// Which limits of the event the seller goes beyond, with `booking.override`.
    pub overrides: Overrides,
    /// The event.
    pub event_id: EventId,
    /// At least one ask; those of the same section have to be met together.
    pub requests: Vec<SeatRequest>,
    /// The caller's name for this attempt, with a digest of the request it belongs to.
    pub key: Option<(IdempotencyKey, i64)>,
}

impl Hold {
    /// Who acts.
    #[must_use]
    pub fn by(&self) -> By {
        self.seller.unwrap_or(By::User(self.user_id))
    }

    /// Whose idempotency key it is: the one who acts.
    #[must_use]
    pub fn caller(&self) -> UserId {
        self.by().actor().caller_id().unwrap_or(self.user_id)
    }

    /// Its idempotency key, with whose it is.
    #[must_use]
    pub fn named(&self) -> Option<(UserId, IdempotencyKey)> {
        self.key.as_ref().map(|(key, _)| (self.caller(), key.clone()))
    }
}

/// All that changes inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Sets seats aside.
    Hold(Hold),
    /// Turns a live hold into a sale.
    Confirm {
        /// The hold.
        booking_id: BookingId,
        /// Who wants it: its buyer, or a seller.
        by: By,
    },
    /// Releases a live hold; refuses to change a confirmed booking.
    Release {
        /// The hold.
        booking_id: BookingId,
        /// Who wants it: its buyer, or a seller.
        by: By,
    },
    /// Extends a live hold.
    Extend {
        /// The hold.
        booking_id: BookingId,
        /// Who wants it: its buyer, or a seller.
        by: By,
    },
    /// Replaces the seats of a live hold.
    Change {
        /// The hold.
        booking_id: BookingId,
        /// Who wants it: its buyer, or a seller.
        by: By,
        /// Its buyer, who never changes.
        user_id: UserId,
        /// Its event, which never changes.
        event_id: EventId,
        /// The version that `by` believes it to have.
        expected: Option<i64>,
        /// What it is to have from now on, as for a [`Hold`].
        requests: Vec<SeatRequest>,
        /// Which limits of the event `by` goes beyond, as for a [`Hold`].
        overrides: Overrides,
    },
    /// Cancels a live hold or a confirmed booking.
    Cancel {
        /// The booking.
        booking_id: BookingId,
        /// Who wants it.
        by: By,
    },
    /// Sets the capacity of a section.
    Resize {
        /// The section.
        section_id: SectionId,
        /// Who wants it.
        by: By,
        /// How many seats there will be.
        capacity: i64,
    },
    /// Sets how many seats of a section are kept off sale.
    Block {
        /// The section.
        section_id: SectionId,
        /// Who wants it.
        by: By,
        /// What will be blocked in all.
        blocked: Blocked,
        /// Why.
        reason: Option<Arc<str>>,
    },
    /// Sets or replaces the numbered seats of a section.
    Lay {
        /// The section.
        section_id: SectionId,
        /// Who wants it.
        by: By,
        /// The seats it will have.
        layout: Arc<Layout>,
    },
    /// Notes that a section has another name or price, which are written already.
    Note {
        /// The section.
        section_id: SectionId,
        /// Who wants it.
        by: By,
    },
    /// Does nothing but retire the due holds of a section.
    Retire {
        /// The section.
        section_id: SectionId,
    },
}

/// What a command that was not refused led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The booking as it is now.
    Booking {
        /// The booking.
        booking: Booking,
        /// Whether it was so before: an earlier request with the same key made it (I6), or there was
        /// nothing to change.
        replayed: bool,
        /// Where its numbered seats were chosen for the buyer, true if all are adjacent.
        next_to_each_other: Option<bool>,
    },
    /// The inventory as it is now.
    Inventory(Inventory),
    /// No result.
    Done,
}

/// A committed use of an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// The hold it names.
    pub booking_id: BookingId,
    /// The digest of the request it came with.
    pub fingerprint: i64,
}

impl KeyUse {
    /// Whether a request with this digest is a retry of the one that made the hold (I6).
    pub fn matches(&self, fingerprint: i64) -> Result<(), Refusal> {
        if self.fingerprint == fingerprint { Ok(()) } else { Err(Refusal::IdempotencyKeyReused) }
    }
}

/// The rows a batch has to lock and load, each list sorted and without doubles.
///
/// The store adds what it finds on the way: the bookings named by keys, the due holds of the
/// sections (at most [`RETIRED_PER_SECTION_MAX`] each), and the sections of all these bookings.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Idempotency keys.
    pub keys: BTreeSet<(UserId, IdempotencyKey)>,
    /// Events.
    pub events: BTreeSet<EventId>,
    /// Sections with their inventory.
    pub sections: BTreeSet<SectionId>,
    /// Bookings.
    pub bookings: BTreeSet<BookingId>,
    /// Buyers who want to hold seats of an event, or others than they hold.
    pub buyers: BTreeSet<(EventId, UserId)>,
    /// Bookings whose buyer keeps what they have beyond the moment at which it would have ended. Where
    /// the event has a cap, keeping seats locks the buyer, as taking seats does. Otherwise a hold could
    /// be confirmed in the very moment in which another instance counts it as ended.
    pub kept: BTreeSet<BookingId>,
}

impl Needs {
    /// What `commands` need.
    #[must_use]
    pub fn of(commands: &[Command]) -> Self {
        let mut needs = Self::default();
        for command in commands {
            match command {
                Command::Hold(hold) => {
                    needs.keys.extend(hold.named());
                    needs.events.insert(hold.event_id);
                    needs.sections.extend(hold.requests.iter().flat_map(SeatRequest::sections));
                    needs.buyers.insert((hold.event_id, hold.user_id));
                }
                Command::Change { booking_id, user_id, event_id, requests, .. } => {
                    needs.bookings.insert(*booking_id);
                    needs.events.insert(*event_id);
                    needs.sections.extend(requests.iter().flat_map(SeatRequest::sections));
                    needs.buyers.insert((*event_id, *user_id));
                }
                Command::Confirm { booking_id, .. } | Command::Extend { booking_id, .. } => {
                    needs.bookings.insert(*booking_id);
                    needs.kept.insert(*booking_id);
                }
                Command::Release { booking_id, .. } | Command::Cancel { booking_id, .. } => {
                    needs.bookings.insert(*booking_id);
                }
                Command::Resize { section_id, .. }
                | Command::Block { section_id, .. }
                | Command::Lay { section_id, .. }
                | Command::Note { section_id, .. }
                | Command::Retire { section_id } => {
                    needs.sections.insert(*section_id);
                }
            }
        }
        needs
    }

    /// What `commands` need when they were tried before and it is unknown how that ended (I12): also
    /// the bookings that their holds may have made.
    #[must_use]
    pub fn of_another_attempt(commands: &[Command]) -> Self {
        let mut needs = Self::of(commands);
        let made = commands.iter().filter_map(|command| match command {
            Command::Hold(hold) => Some(hold.booking_id),
            _ => None,
        });
        needs.bookings.extend(made);
        needs
    }
}

/// Seat maps by their sections.
pub type SeatMaps = BTreeMap<SectionId, SeatMap>;

/// The rows a store has locked and loaded for a batch. What is missing does not exist.
#[derive(Debug, Default)]
pub struct LoadedRows {
    /// The events of all loaded sections and bookings.
    pub terms: BTreeMap<EventId, Terms>,
    /// Sections with their inventory.
    pub sections: BTreeMap<SectionId, (Section, Inventory)>,
    /// The seat maps of all loaded sections with numbered seats.
    pub maps: SeatMaps,
    /// Bookings: those that commands and keys name, and the due holds of the sections.
    pub bookings: HashMap<BookingId, Booking>,
    /// Committed uses of the keys.
    pub keys: HashMap<(UserId, IdempotencyKey), KeyUse>,
    /// Live seats (confirmed, or held and not due) of buyers at events with a cap.
    pub buyers: HashMap<(EventId, UserId), i64>,
}

impl LoadedRows {
    /// Whether the counters of each section leave room for the loaded bookings; the rest of its bookings
    /// is not known here.
    fn agree(&self) -> Result<(), Fault> {
        let mut booked: HashMap<SectionId, (i64, i64)> = HashMap::new();
        for booking in self.bookings.values().filter(|booking| booking.status.is_live()) {
            for (section_id, seats) in booking.sections() {
                let (held, sold) = booked.entry(section_id).or_default();
                let is_hold = booking.status == BookingStatus::Hold;
                *(if is_hold { held } else { sold }) += i64::from(seats);
            }
        }
        for (section_id, (_, inventory)) in &self.sections {
            let (held, sold) = booked.get(section_id).copied().unwrap_or_default();
            let is_enough = held <= inventory.held && sold <= inventory.sold;
            if !is_enough || !inventory.within_capacity() {
                let what = format!(
                    "its counters say {} held, {} sold and {} blocked of {}, and its bookings have at \
                     least {held} held and {sold} sold",
                    inventory.held, inventory.sold, inventory.blocked, inventory.capacity,
                );
                return Err(Fault::Contradiction { section_id: *section_id, what });
            }
        }
        Ok(())
    }
}

/// A live hold as the index of expiry keeps it, once for each of its sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExpiryEntry {
    /// Where its seats are.
    pub section_id: SectionId,
    /// When it ends.
    pub expires_at: Timestamp,
    /// The hold.
    pub booking_id: BookingId,
    /// How many seats of the section it holds.
    pub seats: u32,
}

/// A numbered seat that a batch gave to somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeatTaken {
    /// Where.
    pub section_id: SectionId,
    /// Its name.
    pub seat: SeatName,
    /// Who has it; `None`: it is blocked.
    pub booking_id: Option<BookingId>,
}

/// What a store has to write. Rows of the log are in the order in which they came to be, the others
/// in the order of their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// New bookings.
    pub created: Vec<Booking>,
    /// Bookings with a new status or expiry.
    pub updated: Vec<Booking>,
    /// Those among them that have other seats.
    pub reseated: Vec<Booking>,
    /// Entries to remove from the index of expiry, before `held` is added.
    pub unheld: Vec<ExpiryEntry>,
    /// Entries to add to the index of expiry.
    pub held: Vec<ExpiryEntry>,
    /// Inventories with new counters or a new version, each with the version it was loaded with.
    pub inventories: Vec<(Inventory, i64)>,
    /// Numbered seats that nobody has any more, or somebody else: to be removed before `taken`.
    pub freed: Vec<(SectionId, SeatName)>,
    /// Numbered seats that somebody has now. That nobody else has one is I3, and the store's
    /// unique index judges it again.
    pub taken: Vec<SeatTaken>,
    /// The marks of sections with numbered seats of which some changed.
    pub marks: Vec<(SectionId, Marks)>,
    /// Sections with a new layout.
    pub laid: Vec<(SectionId, Arc<Layout>)>,
    /// New uses of keys.
    pub keys: Vec<(UserId, IdempotencyKey, KeyUse)>,
    /// New rows of the log.
    pub log: Vec<LogEntry>,
}

impl Changes {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.log.is_empty()
    }
}
