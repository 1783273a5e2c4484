//! What scenarios and random sequences run on: the pure rules, or a store.

use crate::halls::Taken;
use crate::world::ManualClock;
use async_trait::async_trait;
use engine::audit::Report;
use engine::event::EventChange;
use engine::seats::{Layout, Marks};
use engine::{
    Booking, Command, Committed, EventId, EventWithSections, LiveInventory, Opening, Policy,
    Refusal, SectionId, UserId,
};
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// Something that decides commands and keeps what came of them. A fault of it is a panic.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Records an event with its sections, each with what it begins with.
    async fn create_event(&self, new: &EventWithSections, openings: &[Opening]);
    /// Changes an event.
    async fn revise_event(
        &self,
        event_id: EventId,
        by: UserId,
        change: EventChange,
    ) -> Result<(), Refusal>;
    /// Calls an event off.
    async fn cancel_event(&self, event_id: EventId, by: UserId) -> Result<(), Refusal>;
    /// Decides and commits a batch.
    async fn commit(&self, commands: &[Command]) -> Committed;
    /// Forgets what is kept in memory, as a process does that ends and begins again.
    async fn restart(&self);
    /// All bookings of an event, newest first.
    async fn bookings(&self, event_id: EventId) -> Vec<Booking>;
    /// The live counters of all sections of an event.
    async fn inventories(&self, event_id: EventId) -> Vec<LiveInventory>;
    /// The layout and the marks of a section with numbered seats.
    async fn seat_map(&self, section_id: SectionId) -> (Arc<Layout>, Marks);
    /// Who has which numbered seat of an event.
    async fn seats_taken(&self, event_id: EventId) -> Taken;
    /// Checks the invariants over everything that is stored.
    async fn audit(&self) -> Report;
}

/// A kind of backend: how a fresh one is opened, and what its futures run on.
#[async_trait]
pub trait Kind: Debug + Sync {
    /// A fresh backend of this kind, with the time of `clock`.
    async fn open(&self, policy: Policy, clock: &ManualClock) -> Box<dyn Backend>;
    /// Runs what is done with such backends.
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T
    where
        Self: Sized;
}

/// Runs a future that never waits, as those of the pure backend do: no runtime is needed for it.
pub fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("the pure rules wait for nothing"),
    }
}
