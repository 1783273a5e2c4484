//! The outcome of a batch that was committed.

use super::Outcome;
use crate::booking::Booking;
use crate::error::Refusal;
use crate::ids::SectionId;
use crate::inventory::Inventory;
use crate::seats::Marks;
use crate::time::Timestamp;

/// What a batch came to.
#[derive(Debug)]
pub struct Committed {
    /// The clock by which it was decided.
    pub now: Timestamp,
    /// One answer for each command, in order.
    pub answers: Vec<Result<Outcome, Refusal>>,
    /// Every section that was locked, as it is now.
    pub inventories: Vec<Inventory>,
    /// Every booking that was made or changed, as it is now.
    pub bookings: Vec<Booking>,
    /// The marks of every section with numbered seats of which some were taken or released.
    pub marks: Vec<(SectionId, Marks)>,
    /// Holds whose time was over and that were retired on the way.
    pub expired: usize,
    /// Sections whose marks contradicted the bookings and were rebuilt from them.
    pub rebuilt: Vec<SectionId>,
}
