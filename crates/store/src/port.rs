//! What can be asked of a store, by capability.
//!
//! A consumer takes only the part that it needs, as `Arc<dyn Batches>` or `&dyn Schema`, so that
//! its tests need no more than that. [`Store`] is the sum, which [`open_store`](crate::open_store)
//! returns.

mod accounts;
mod api_keys;
mod bookings;
mod events;
mod instance;
mod leaving;
mod log;
mod operators;
mod organizations;
mod seats;
mod series;
mod upkeep;

pub use accounts::Accounts;
pub use api_keys::{ApiKeys, LAST_USE_EVERY_MS, StoredKey};
pub use bookings::{Batches, BookingFilter, Bookings, KeyedHolds, PAGE_BYTES_MAX};
pub use events::{
    CREATION_KEY_KEPT_MS, Created, CreationKey, EventCard, EventFilter, Events, Place,
};
pub use instance::{Histories, Instance, Timed};
pub use leaving::{Leaving, Left};
pub use log::{Log, MESSAGE_ROWS_MAX};
pub use operators::{Operator, Operators};
pub use organizations::{
    AccessPage, ChangeNote, ENTRIES_LOOKED_AT_MAX, EntryFilter, Organizations, StoredEntry,
};
pub use seats::Seats;
pub use series::ManySeries;
pub use upkeep::{Books, Migration, Reckoning, Schema, Sweep};

/// The whole of a store, as one object.
pub trait Store:
    Accounts
    + Leaving
    + Organizations
    + Operators
    + ApiKeys
    + Events
    + ManySeries
    + Batches
    + Bookings
    + Seats
    + Log
    + Instance
    + Histories
    + Sweep
    + Books
    + Schema
{
}

impl<T> Store for T where
    T: Accounts
        + Leaving
        + Organizations
        + Operators
        + ApiKeys
        + Events
        + ManySeries
        + Batches
        + Bookings
        + Seats
        + Log
        + Instance
        + Histories
        + Sweep
        + Books
        + Schema
{
}

/// The part of a list to show, newest first.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest<Id> {
    /// Only what is older than this.
    pub after: Option<Id>,
    /// The maximum number.
    pub limit: u32,
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paged<T> {
    /// The items, newest first.
    pub items: Vec<T>,
    /// Whether there may be older ones.
    pub has_more: bool,
}
