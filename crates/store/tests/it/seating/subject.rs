//! What sequences run on: the pure rules, the embedded store, or two instances on one database.

use crate::backend::Backend as _;
use crate::halls::{Raw, Taken, hex};
use crate::pure::{Kept, Pure};
use crate::world::{self, Fresh, ManualClock, POLICY, all_bookings, options};
use engine::seats::{Layout, Marks};
use engine::{
    Booking, Command, Committed, EventId, EventWithSections, LiveInventory, Opening, SectionId,
};
use std::sync::Arc;
use store::{BookingFilter, Store, open_store};
use tokio::sync::Mutex;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    Pure,
    Spoiled(Bug),
    Sqlite,
    Postgres,
}

/// What a spoiled subject does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A seat that was given back is still somebody's.
    KeepsRow,
    /// A seat that somebody has is noted for nobody.
    LosesRow,
    /// A seat that somebody has is marked as free.
    ForgetsMark,
    /// A seat that was sold is marked as held.
    ForgetsSale,
    /// A booking has a seat that it was not given.
    MovesSeat,
}

impl Bug {
    pub const ALL: [Self; 5] =
        [Self::KeepsRow, Self::LosesRow, Self::ForgetsMark, Self::ForgetsSale, Self::MovesSeat];

    /// Does it, where a batch gives occasion to.
    fn spoil(self, kept: &mut Kept, committed: &Committed) {
        let last = committed.bookings.iter().rev();
        let ended = last.clone().find(|of| !of.status.is_live());
        let live = last.clone().find(|of| of.status.is_live() && of.numbers().next().is_some());
        let seat =
            |of: &Booking| of.numbers().next().map(|(section_id, name)| (section_id, name.clone()));
        match self {
            Self::KeepsRow => {
                let row = ended.and_then(|of| Some((seat(of)?, Some(of.booking_id))));
                kept.taken.extend(row);
            }
            Self::LosesRow => {
                live.and_then(seat).and_then(|seat| kept.taken.remove(&seat));
            }
            Self::ForgetsMark | Self::ForgetsSale => {
                let Some((section_id, name)) = live.and_then(seat) else { return };
                let mut map = kept.map(section_id).expect("it has seats");
                let seats = map.find_all(&[name]);
                map.free(&seats);
                if self == Self::ForgetsSale {
                    map.hold(&seats).expect("they were freed just now");
                }
                let (_, marks) = kept.layouts.get_mut(&section_id).expect("it has a layout");
                *marks = map.marks().to_bytes();
            }
            Self::MovesSeat => {
                let Some(live) = live else { return };
                let booking = kept.bookings.get_mut(&live.booking_id).expect("it is there");
                let numbered = Arc::make_mut(&mut booking.items)
                    .iter_mut()
                    .find(|item| !item.numbers.is_empty());
                numbered.expect("it has a seat").numbers[0] = "Z-9".into();
            }
        }
    }
}

pub enum Subject {
    Pure(Box<Pure>, Option<Bug>),
    Stores {
        /// Those that take turns.
        stores: Mutex<Vec<Arc<dyn Store>>>,
        raw: Box<Mutex<Raw>>,
        fresh: Box<Fresh>,
        clock: ManualClock,
    },
}

impl Subject {
    pub async fn open(on: Where, clock: &ManualClock) -> Self {
        let fresh = match on {
            Where::Pure => return Self::Pure(Box::new(Pure::new(POLICY, clock)), None),
            Where::Spoiled(bug) => {
                return Self::Pure(Box::new(Pure::new(POLICY, clock)), Some(bug));
            }
            Where::Sqlite => world::sqlite(POLICY, clock).await,
            Where::Postgres => world::postgres(POLICY, clock).await,
        };
        let mut stores = vec![fresh.store.clone()];
        if on == Where::Postgres {
            let another = open_store(&fresh.address, options(POLICY, clock)).await;
            stores.push(another.expect("the store opens"));
        }
        let (stores, raw) = (Mutex::new(stores), Box::new(Mutex::new(Raw::of(&fresh).await)));
        Self::Stores { stores, raw, fresh: Box::new(fresh), clock: clock.clone() }
    }

    async fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Pure(..) => unreachable!("it has no store"),
            Self::Stores { stores, .. } => stores.lock().await[0].clone(),
        }
    }

    pub async fn create_event(&self, new: &EventWithSections, openings: &[Opening]) {
        match self {
            Self::Pure(pure, _) => pure.open_event(new, openings),
            Self::Stores { .. } => {
                let created = self.store().await.create_event(new, openings, None).await;
                created.expect("the event is recorded");
            }
        }
    }

    /// Commits a batch, each at the next instance.
    pub async fn commit(&self, commands: &[Command]) -> Committed {
        match self {
            Self::Pure(pure, bug) => {
                let committed = pure.commit(commands).await;
                if let Some(bug) = bug {
                    bug.spoil(&mut pure.rows.lock(), &committed);
                }
                committed
            }
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
            Self::Pure(pure, _) => {
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
            Self::Pure(pure, _) => {
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
            Self::Pure(pure, _) => pure.inventories(event_id).await,
            Self::Stores { .. } => {
                self.store().await.inventories(&[event_id]).await.expect("the store answers")
            }
        }
    }

    pub async fn bookings(&self, event_id: EventId) -> Vec<Booking> {
        match self {
            Self::Pure(pure, _) => pure.bookings(event_id).await,
            Self::Stores { .. } => {
                let filter = BookingFilter { user: None, event: Some(event_id), status: None };
                all_bookings(&*self.store().await, &filter).await
            }
        }
    }

    pub async fn assert_sound(&self) {
        let report = match self {
            Self::Pure(pure, _) => pure.audit().await,
            Self::Stores { .. } => self.store().await.audit().await.expect("the store answers"),
        };
        assert!(report.is_clean(), "the audit finds {:?}", report.told);
    }
}
