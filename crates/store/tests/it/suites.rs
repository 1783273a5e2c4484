//! The crate `suite` on every store: stories in plain text, and random sequences against the
//! models.
//!
//! Another store plugs in with one line in [`Stores::fresh`] and a test of each kind.

use crate::raw::Raw;
use crate::world::{self, Fresh, all_bookings, options};
use async_trait::async_trait;
use engine::audit::Report;
use engine::event::EventChange;
use engine::seats::{Layout, Marks};
use engine::{
    Booking, Command, Committed, Error, EventId, EventWithSections, LiveInventory, Opening, Policy,
    Refusal, SectionId, UserId,
};
use parking_lot::Mutex;
use std::fmt::Debug;
use std::sync::Arc;
use store::{BookingFilter, Store, open_store};
use suite::halls::Taken;
use suite::world::ManualClock;
use suite::{Backend, Kind, property, scenario, seating};
use tokio::sync::OnceCell;

/// The stores there are, each fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stores {
    Sqlite,
    Postgres,
    /// Two on one database, which take turns.
    TwoOnPostgres,
}

impl Stores {
    async fn fresh(self, policy: Policy, clock: &ManualClock) -> Fresh {
        match self {
            Self::Sqlite => world::sqlite(policy, clock).await,
            Self::Postgres | Self::TwoOnPostgres => world::postgres(policy, clock).await,
        }
    }
}

#[async_trait]
impl Kind for Stores {
    async fn open(&self, policy: Policy, clock: &ManualClock) -> Box<dyn Backend> {
        let fresh = self.fresh(policy, clock).await;
        let mut instances = vec![fresh.store.clone()];
        if *self == Self::TwoOnPostgres {
            let another = open_store(&fresh.address, options(policy, clock)).await;
            instances.push(another.expect("the store opens"));
        }
        let (stores, raw) = (Mutex::new(instances), OnceCell::new());
        Box::new(Instances { stores, raw, fresh, policy, clock: clock.clone() })
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(future)
    }
}

/// Stores on one database.
struct Instances {
    /// The first one is asked; the others follow in turn, a batch each.
    stores: Mutex<Vec<Arc<dyn Store>>>,
    /// A session on the database, once it is needed.
    raw: OnceCell<tokio::sync::Mutex<Raw>>,
    fresh: Fresh,
    policy: Policy,
    clock: ManualClock,
}

impl Instances {
    fn store(&self) -> Arc<dyn Store> {
        self.stores.lock()[0].clone()
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
impl Backend for Instances {
    async fn create_event(&self, new: &EventWithSections, openings: &[Opening]) {
        sound(self.store().create_event(new, suite::world::owner(new), openings, None).await);
    }

    async fn revise_event(
        &self,
        event_id: EventId,
        by: UserId,
        change: EventChange,
    ) -> Result<(), Refusal> {
        refused(self.store().revise_event(event_id, by.into(), None, change).await.map(drop))
    }

    async fn cancel_event(&self, event_id: EventId, by: UserId) -> Result<(), Refusal> {
        refused(self.store().cancel_event(event_id, by.into()).await)
    }

    async fn commit(&self, commands: &[Command]) -> Committed {
        self.stores.lock().rotate_left(1);
        sound(self.store().commit(commands).await)
    }

    async fn restart(&self) {
        self.store().close().await;
        let opened = open_store(&self.fresh.address, options(self.policy, &self.clock)).await;
        self.stores.lock()[0] = opened.expect("the store opens");
    }

    async fn bookings(&self, event_id: EventId) -> Vec<Booking> {
        let filter = BookingFilter { user: None, event: Some(event_id), status: None };
        all_bookings(&*self.store(), &filter).await
    }

    async fn inventories(&self, event_id: EventId) -> Vec<LiveInventory> {
        sound(self.store().inventories(&[event_id]).await)
    }

    async fn seat_map(&self, section_id: SectionId) -> (Arc<Layout>, Marks) {
        let store = self.store();
        let (version, layout) = sound(store.layout(section_id).await).expect("it has a layout");
        let marks = sound(store.marks(section_id).await).expect("it has marks");
        assert_eq!(marks.layout_version, version);
        (layout, marks)
    }

    async fn seats_taken(&self, event_id: EventId) -> Taken {
        let open = async || tokio::sync::Mutex::new(Raw::of(&self.fresh).await);
        self.raw.get_or_init(open).await.lock().await.seats_taken(event_id).await
    }

    async fn audit(&self) -> Report {
        sound(self.store().audit().await)
    }
}

#[test]
fn every_scenario_goes_as_told_on_sqlite() {
    scenario::all_go_as_told(&Stores::Sqlite);
}

#[test]
fn every_scenario_goes_as_told_on_postgres() {
    scenario::all_go_as_told(&Stores::Postgres);
}

#[test]
fn two_hundred_sequences_on_sqlite_go_as_the_model_says() {
    property::all_go_as_the_model_says(&Stores::Sqlite, 200, 500);
}

#[test]
fn sixty_sequences_on_postgres_go_as_the_model_says() {
    property::all_go_as_the_model_says(&Stores::Postgres, 60, 200);
}

#[test]
fn random_batches_of_seats_on_sqlite_go_as_the_model_says() {
    seating::all_go_as_on_the_pure_rules(&Stores::Sqlite, 150);
}

#[test]
fn random_batches_of_seats_at_two_instances_go_as_the_model_says() {
    seating::all_go_as_on_the_pure_rules(&Stores::TwoOnPostgres, 40);
}
