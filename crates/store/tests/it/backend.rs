//! What scenarios and random sequences run on: the pure rules, or a store.
//!
//! Another store plugs in with one line in [`Kind::ALL`] and one in [`Kind::open`].

use crate::pure::Pure;
use crate::world::{self, Fresh, ManualClock, all_bookings};
use async_trait::async_trait;
use engine::audit::Report;
use engine::event::EventChange;
use engine::{
    Booking, Command, Committed, Error, EventId, EventWithSections, LiveInventory, Policy, Refusal,
    UserId,
};
use std::fmt::Debug;
use store::BookingFilter;

/// Something that decides commands and keeps what came of them.
#[async_trait]
pub trait Backend: Send + Sync {
    async fn create_event(&self, new: &EventWithSections, capacities: &[i64]);
    async fn revise_event(
        &self,
        event_id: EventId,
        by: UserId,
        change: EventChange,
    ) -> Result<(), Refusal>;
    async fn cancel_event(&self, event_id: EventId, by: UserId) -> Result<(), Refusal>;
    async fn commit(&self, commands: &[Command]) -> Committed;
    /// All bookings of an event, newest first.
    async fn bookings(&self, event_id: EventId) -> Vec<Booking>;
    async fn inventories(&self, event_id: EventId) -> Vec<LiveInventory>;
    async fn audit(&self) -> Report;
}

/// The backends there are.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Pure,
    Sqlite,
    Postgres,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Pure, Self::Sqlite, Self::Postgres];

    /// A fresh backend of this kind.
    pub async fn open(self, policy: Policy, clock: &ManualClock) -> Box<dyn Backend> {
        match self {
            Self::Pure => Box::new(Pure::new(policy, clock)),
            Self::Sqlite => Box::new(world::sqlite(policy, clock).await),
            Self::Postgres => Box::new(world::postgres(policy, clock).await),
        }
    }
}

fn refused<T>(result: Result<T, Error>) -> Result<T, Refusal> {
    result.map_err(|error| match error {
        Error::Refused(refusal) => refusal,
        Error::Failed(fault) => panic!("the store failed: {fault:?}"),
    })
}

fn sound<T, E: Debug>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|fault| panic!("the store failed: {fault:?}"))
}

#[async_trait]
impl Backend for Fresh {
    async fn create_event(&self, new: &EventWithSections, capacities: &[i64]) {
        sound(self.store.create_event(new, &world::opened(capacities), None).await);
    }

    async fn revise_event(
        &self,
        event_id: EventId,
        by: UserId,
        change: EventChange,
    ) -> Result<(), Refusal> {
        refused(self.store.revise_event(event_id, by, None, change).await.map(drop))
    }

    async fn cancel_event(&self, event_id: EventId, by: UserId) -> Result<(), Refusal> {
        refused(self.store.cancel_event(event_id, by).await)
    }

    async fn commit(&self, commands: &[Command]) -> Committed {
        sound(self.store.commit(commands).await)
    }

    async fn bookings(&self, event_id: EventId) -> Vec<Booking> {
        let filter = BookingFilter { user: None, event: Some(event_id), status: None };
        all_bookings(&*self.store, &filter).await
    }

    async fn inventories(&self, event_id: EventId) -> Vec<LiveInventory> {
        sound(self.store.inventories(&[event_id]).await)
    }

    async fn audit(&self) -> Report {
        sound(self.store.audit().await)
    }
}
