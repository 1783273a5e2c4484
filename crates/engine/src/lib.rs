//! The rules of Reservix: what a booking, an inventory and an event are, and what may happen to them.
//!
//! Pure: no clock, no storage, no randomness, no wire format. A store loads the rows that a batch
//! touches, [`Ledger`](decide::Ledger) decides each command on them, and the store writes what
//! changed. Every invariant (I1 to I14) is described in `docs/INVARIANTS.md` and carries its number
//! here, in the SQL constraints and in the names of the tests.

pub mod access;
pub mod account;
pub mod audit;
pub mod booking;
pub mod decide;
pub mod error;
pub mod event;
pub mod feed;
pub mod ids;
pub mod inventory;
pub mod log;
pub mod money;
pub mod repair;
pub mod seats;
pub mod series;
pub mod text;
pub mod time;

pub use access::{Actor, By, Overrides};
pub use booking::{Booking, BookingStatus, Item};
pub use decide::{
    Blocked, Changes, Command, Committed, Hold, KeyUse, Ledger, LoadedRows, Outcome, Policy,
    SeatRequest,
};
pub use error::{Error, Fault, Refusal, RefusalCode, SeatConflict};
pub use event::{Event, EventStatus, EventWithSections, Opening, Section, SectionChange, Terms};
pub use ids::{
    AnyId, BookingId, CustomerRef, EventId, IdempotencyKey, InvitationId, KeyId, OrgId, SectionId,
    SeriesId, Shard, UserId,
};
pub use inventory::{CheckedSnapshot, GateAnswer, Inventory, LiveInventory, Snapshot};
pub use log::{Deltas, LogCursor, LogEntry, LogKind};
pub use money::{Currency, Money};
pub use series::{Series, SeriesChange};
pub use time::{EventDate, Timestamp};
