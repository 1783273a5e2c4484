//! Bookings, and the inventory they live on.

use super::{PageRequest, Paged, Timed};
use async_trait::async_trait;
use engine::{
    Booking, BookingId, BookingStatus, Command, Committed, EventId, Fault, IdempotencyKey, KeyUse,
    LiveInventory, UserId,
};
use std::collections::HashMap;

/// What committed keys name.
pub type KeyedHolds = HashMap<(UserId, IdempotencyKey), (KeyUse, Booking)>;

/// What a lane needs: the road by which holds and sales come into being.
#[async_trait]
pub trait Batches: Timed {
    /// Decides and commits a batch in one transaction: all of it, or nothing and a fault.
    ///
    /// Each command gets its own answer; a refused one changes nothing.
    async fn commit(&self, commands: &[Command]) -> Result<Committed, Fault>;
    /// The bookings that these keys name (I6).
    async fn keyed_holds(&self, keys: &[(UserId, IdempotencyKey)]) -> Result<KeyedHolds, Fault>;
}

/// Which bookings a list shows.
#[derive(Clone, Debug)]
pub struct BookingFilter {
    /// Only bookings of this user.
    pub user: Option<UserId>,
    /// Only bookings of this event.
    pub event: Option<EventId>,
    /// Only bookings whose status reads so now.
    pub status: Option<BookingStatus>,
}

/// The size of the items of the bookings of a page, as stored, from which on the page ends.
pub const PAGE_BYTES_MAX: usize = 256 * 1024;

/// Bookings and their inventory, for readers.
#[async_trait]
pub trait Bookings: Timed {
    /// The booking with this id, for any caller.
    async fn booking(&self, booking_id: BookingId) -> Result<Option<Booking>, Fault>;
    /// A page of bookings. It also ends when its items have [`PAGE_BYTES_MAX`] as they are stored,
    /// since one booking may name thousands of seats; it has at least one.
    async fn bookings(
        &self,
        filter: &BookingFilter,
        page: PageRequest<BookingId>,
    ) -> Result<Paged<Booking>, Fault>;
    /// The live counters of all sections of these events.
    async fn inventories(&self, events: &[EventId]) -> Result<Vec<LiveInventory>, Fault>;
}
