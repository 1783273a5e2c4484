//! What workers and the person on call need.

use async_trait::async_trait;
use engine::audit::Report;
use engine::log::Position;
use engine::{BookingId, Error, Fault, Inventory, SectionId, Timestamp};

/// What is over and not cleared away yet.
#[async_trait]
pub trait Sweep: Send + Sync {
    /// Sections with holds that are due, longest overdue first, with the end of their oldest one.
    async fn due_sections(&self, limit: u32) -> Result<Vec<(SectionId, Timestamp)>, Fault>;
    /// Live bookings of events that were called off. When an event has none left, it is done.
    async fn to_cancel(&self, limit: u32) -> Result<Vec<BookingId>, Fault>;
    /// Removes old keys, expired refresh tokens, old invitations, and cutoffs whose tokens have expired.
    /// Returns the number of removed rows.
    async fn purge(&self, limit: u32) -> Result<u64, Fault>;
}

/// Counters and log of one moment.
#[derive(Debug)]
pub struct Reckoning {
    /// All inventories.
    pub inventories: Vec<Inventory>,
    /// The rows after the cursor, added up for each section; `version` counts the rows.
    pub folded: Vec<Inventory>,
    /// The rows that are in the counters, and that a reader may not pass yet, because transactions
    /// before theirs are still under way; added up alike.
    pub unsettled: Vec<Inventory>,
    /// Where the part that is folded ended.
    pub cursor: Position,
}

/// The log, and whether everything that is stored adds up.
#[async_trait]
pub trait Books: Send + Sync {
    /// Counters beside the log after `cursor`, of one moment.
    async fn reckon(&self, cursor: Position) -> Result<Reckoning, Fault>;
    /// Checks I1 to I5 over everything that is stored, as of one moment, without blocking anyone.
    async fn audit(&self) -> Result<Report, Fault>;
    /// Makes the counters, the marks, the taken seats and the index of expiry of a section agree
    /// with its bookings and its log ([`engine::repair`]); returns what was wrong. With `dry_run`
    /// it only reports. [`Fault::Contradiction`] where bookings and log say different things: then
    /// nothing is changed.
    async fn repair(&self, section_id: SectionId, dry_run: bool) -> Result<Vec<String>, Error>;
}

/// A step of the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Its number.
    pub version: i64,
    /// Its name.
    pub name: String,
    /// What is lost when it is taken back: the head of its `down.sql`, after `-- Lost:`.
    pub lost: String,
}

/// The schema.
#[async_trait]
pub trait Schema: Send + Sync {
    /// Brings the schema to `version`; `None`: to the newest. Returns the migrations that were
    /// applied or reverted.
    async fn migrate(&self, version: Option<i64>) -> Result<Vec<Migration>, Fault>;
    /// Every migration this binary knows, in order, and whether it is applied.
    async fn migrations(&self) -> Result<Vec<(Migration, bool)>, Fault>;
}
