//! What sequences run on: the pure rules, the embedded store, or two instances on one database.

use crate::backend::Backend as _;
use crate::halls::{Raw, Taken, hex};
use crate::pure::Pure;
use crate::world::{self, Fresh, ManualClock, POLICY, options};
use engine::seats::{Layout, Marks};
use engine::{Booking, Command, EventId, SectionId};
use std::sync::Arc;
use store::{
    BookingFilter, Committed, EventWithSections, LiveInventory, Opening, Page, Store, open_store,
};
use tokio::sync::Mutex;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    Pure,
    Sqlite,
    Postgres,
}

pub enum Subject {
    Pure(Box<Pure>),
    Stores {
        /// Those that take turns.
        stores: Mutex<Vec<Arc<dyn Store>>>,
        raw: Mutex<Raw>,
        fresh: Fresh,
        clock: ManualClock,
    },
}

impl Subject {
    pub async fn open(on: Where, clock: &ManualClock) -> Self {
        let fresh = match on {
            Where::Pure => return Self::Pure(Box::new(Pure::new(POLICY, clock))),
            Where::Sqlite => world::sqlite(POLICY, clock).await,
            Where::Postgres => world::postgres(POLICY, clock).await,
        };
        let mut stores = vec![fresh.store.clone()];
        if on == Where::Postgres {
            let another = open_store(&fresh.address, options(POLICY, clock)).await;
            stores.push(another.expect("the store opens"));
        }
        let (stores, raw) = (Mutex::new(stores), Mutex::new(Raw::of(&fresh).await));
        Self::Stores { stores, raw, fresh, clock: clock.clone() }
    }

    async fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Pure(_) => unreachable!("it has no store"),
            Self::Stores { stores, .. } => stores.lock().await[0].clone(),
        }
    }

    pub async fn create_event(&self, new: &EventWithSections, openings: &[Opening]) {
        match self {
            Self::Pure(pure) => pure.open_event(new, openings),
            Self::Stores { .. } => {
                let created = self.store().await.create_event(new, openings, None).await;
                created.expect("the event is recorded");
            }
        }
    }

    /// Commits a batch, each at the next instance.
    pub async fn commit(&self, commands: &[Command]) -> Committed {
        match self {
            Self::Pure(pure) => pure.commit(commands).await,
            Self::Stores { stores, .. } => {
                stores.lock().await.rotate_left(1);
                self.store().await.commit(commands).await.expect("the store answers")
            }
        }
    }

    /// Opens one of the stores anew, which keeps no map.
    pub async fn restart(&self) {
        let Self::Stores { stores, fresh, clock, .. } = self else { return };
        let mut stores = stores.lock().await;
        stores[0].close().await;
        let opened = open_store(&fresh.address, options(POLICY, clock)).await;
        stores[0] = opened.expect("the store opens");
    }

    pub async fn map(&self, section_id: SectionId) -> (Arc<Layout>, Marks) {
        match self {
            Self::Pure(pure) => {
                let kept = pure.rows.lock();
                let map = kept.map(section_id).expect("it has seats");
                (map.layout().clone(), map.marks())
            }
            Self::Stores { .. } => {
                let store = self.store().await;
                let laid = store.layout(section_id).await.expect("the store answers");
                let (version, layout) = laid.expect("it has a layout");
                let marks = store.marks(section_id).await.expect("the store answers");
                let marks = marks.expect("it has marks");
                assert_eq!(marks.layout_version, version);
                (layout, marks)
            }
        }
    }

    pub async fn taken(&self, event_id: EventId) -> Taken {
        match self {
            Self::Pure(pure) => {
                let kept = pure.rows.lock();
                let taken = kept.taken.iter().map(|((section_id, seat), by)| {
                    ((hex(section_id), seat.to_string()), by.map_or_else(String::new, hex))
                });
                taken.collect()
            }
            Self::Stores { raw, .. } => raw.lock().await.seats_taken(event_id).await,
        }
    }

    pub async fn inventories(&self, event_id: EventId) -> Vec<LiveInventory> {
        match self {
            Self::Pure(pure) => pure.inventories(event_id).await,
            Self::Stores { .. } => {
                self.store().await.inventories(&[event_id]).await.expect("the store answers")
            }
        }
    }

    pub async fn bookings(&self, event_id: EventId) -> Vec<Booking> {
        match self {
            Self::Pure(pure) => pure.bookings(event_id).await,
            Self::Stores { .. } => {
                let filter = BookingFilter { user: None, event: Some(event_id), status: None };
                let page = Page { after: None, limit: 10_000 };
                self.store().await.bookings(&filter, page).await.expect("the store answers")
            }
        }
    }

    pub async fn assert_sound(&self) {
        let report = match self {
            Self::Pure(pure) => pure.audit().await,
            Self::Stores { .. } => self.store().await.audit().await.expect("the store answers"),
        };
        assert!(report.is_clean(), "the audit finds {:?}", report.told);
    }
}
