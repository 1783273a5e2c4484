//! The store as a thing that is reached: its clock, its signs of life, its history.

use crate::Epoch;
use async_trait::async_trait;
use engine::{Fault, Timestamp};
use tokio::sync::watch;

/// Something that knows the time of the store.
pub trait Timed: Send + Sync {
    /// The store's clock, or the best estimate of it.
    fn now(&self) -> Timestamp;
}

/// What a process requires of its store.
#[async_trait]
pub trait Instance: Timed {
    /// How many batches at once it gains from, at most `wanted`.
    fn lanes(&self, wanted: usize) -> usize;
    /// Whether other processes may write to it.
    fn is_shared(&self) -> bool;
    /// What it is, for the start-up line. No secrets.
    fn describe(&self) -> String;
    /// Whether the store answers.
    async fn ping(&self) -> Result<(), Fault>;
    /// Finishes what is under way and closes.
    async fn close(&self);
}

/// Which history of itself a database is.
#[async_trait]
pub trait Histories: Send + Sync {
    /// Which history of the database this is; a process may find itself in another one at any
    /// moment.
    fn epoch(&self) -> Epoch;
    /// Reports each other epoch from now on.
    fn epochs(&self) -> watch::Receiver<Epoch>;
    /// Draws another epoch: after the database was replaced by a copy of itself, so that nothing
    /// which was kept or shown before is taken for what is there now.
    async fn begin_epoch(&self) -> Result<Epoch, Fault>;
}
