//! The store of an instance: the batch and retry code of PostgreSQL, on the simulated database.

use crate::database::Database;
use crate::session::{Connections, keyed_holds, layout};
use crate::world::{Step, Tried, World};
use async_trait::async_trait;
use engine::audit::Report;
use engine::log::Position;
use engine::seats::{Layout, Marks};
use engine::{
    BookingId, BookingStatus, Command, Committed, Error, Fault, IdempotencyKey, Inventory, Policy,
    SectionId, Timestamp, UserId,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use store::batch::{Committer, Estimate, Sessions as _};
use store::random::Dice;
use store::simulated::is_planted;
use store::{
    Batches, Books, Epoch, Histories, KeyedHolds, Reckoning, Seats, Sweep, Timed, VersionedLayout,
};
use tokio::sync::watch;

/// What a batch fails with that was made to.
pub const POISONED: &str = "a command that makes its batch fail";

/// The store of an instance.
pub struct SimStore {
    world: Arc<World>,
    instance: usize,
    pub(crate) committer: Committer<Connections>,
    epoch: watch::Sender<Epoch>,
}

impl SimStore {
    /// One whose own clock is ahead of the world's by so much.
    pub fn new(
        world: &Arc<World>,
        instance: usize,
        ahead_ms: i64,
        policy: Policy,
        dice: Dice,
    ) -> Self {
        let (of_clock, of_time) = (world.clone(), world.clone());
        let clock: store::Clock = Arc::new(move || of_clock.now().plus_ms(ahead_ms));
        let monotonic: store::Monotonic = Arc::new(move || {
            Duration::from_millis(u64::try_from(of_time.lasts_ms()).expect("it does not go back"))
        });
        let connections = Connections { world: world.clone(), instance };
        let estimate = Estimate::new(&clock, monotonic);
        Self {
            world: world.clone(),
            instance,
            committer: Committer::new(connections, estimate, policy, dice),
            epoch: watch::Sender::new(Epoch::draw()),
        }
    }

    /// A read of one statement.
    async fn read<R: Send + 'static>(
        &self,
        step: Step,
        mut work: impl FnMut(&Database) -> R + Send + 'static,
    ) -> Result<R, Fault> {
        const DOING: &str = "reading";
        let session = self.committer.sessions.take(DOING).await?;
        let no = session.no();
        let read =
            self.world.step((self.instance, no), step, move |database| Tried::Done(work(database)));
        let done = tokio::time::timeout(Duration::from_secs(3), read).await;
        match done {
            Ok(done) => done.map_err(|interrupt| interrupt.into_fault(DOING)),
            Err(late) => Err(Fault::Unavailable { doing: DOING, source: Arc::new(late) }),
        }
    }
}

impl Timed for SimStore {
    fn now(&self) -> Timestamp {
        self.committer.clock.now()
    }
}

#[async_trait]
impl Batches for SimStore {
    async fn commit(&self, commands: &[Command]) -> Result<Committed, Fault> {
        let poison = self.world.lock().poison.clone();
        let is_poison = |command: &Command| match command {
            Command::Hold(hold) => poison.contains(&hold.booking_id),
            _ => false,
        };
        if commands.iter().any(is_poison) {
            return Err(Fault::Corrupt { what: POISONED.to_owned() });
        }
        let done = self.committer.commit(commands).await;
        if let Err(bug @ (Fault::Corrupt { .. } | Fault::Contradiction { .. })) = &done {
            self.world.lock().bug.get_or_insert_with(|| format!("a bug: {bug:?}"));
        }
        done
    }

    async fn keyed_holds(&self, keys: &[(UserId, IdempotencyKey)]) -> Result<KeyedHolds, Fault> {
        let keys = keys.to_vec();
        self.read(Step::Read, move |database| keyed_holds(database, &keys)).await
    }
}

#[async_trait]
impl Seats for SimStore {
    async fn layout(&self, section_id: SectionId) -> Result<Option<VersionedLayout>, Fault> {
        let laid = self.read(Step::Read, move |database| layout(database, section_id)).await?;
        if let Some(laid) = &laid {
            self.committer.keep_layout(section_id, laid.clone());
        }
        Ok(laid)
    }

    fn cached_layout(&self, section_id: SectionId, version: i64) -> Option<Arc<Layout>> {
        self.committer.cached_layout(section_id, version)
    }

    async fn marks(&self, section_id: SectionId) -> Result<Option<Marks>, Fault> {
        self.read(Step::Read, move |database| {
            database.tables.layouts.get(&section_id).and_then(|(_, bytes)| Marks::from_bytes(bytes))
        })
        .await
    }
}

#[async_trait]
impl Sweep for SimStore {
    async fn due_sections(&self, limit: u32) -> Result<Vec<(SectionId, Timestamp)>, Fault> {
        self.read(Step::DueSections, move |database| {
            let oldest = |id: &SectionId| {
                let held = database.tables.due(*id, database.now).next()?;
                Some((*id, held.expires_at))
            };
            let mut due: Vec<_> = database.tables.sections.keys().filter_map(oldest).collect();
            due.sort_by_key(|(_, at)| *at);
            due.truncate(limit as usize);
            due
        })
        .await
    }

    async fn to_cancel(&self, limit: u32) -> Result<Vec<BookingId>, Fault> {
        self.read(Step::DueSections, move |database| {
            let is_live = |status| matches!(status, BookingStatus::Hold | BookingStatus::Confirmed);
            let called_off = |event_id| {
                let status = database.tables.events[event_id].terms.status;
                status == engine::EventStatus::Cancelled
            };
            let live = database.tables.bookings.values();
            let live = live.filter(|of| is_live(of.status) && called_off(&of.event_id));
            live.take(limit as usize).map(|booking| booking.booking_id).collect()
        })
        .await
    }

    async fn purge(&self, _: u32) -> Result<u64, Fault> {
        Ok(0)
    }
}

#[async_trait]
impl Books for SimStore {
    async fn reckon(&self, cursor: Position) -> Result<Reckoning, Fault> {
        let reckoned = self.read(Step::Reckon, move |database| {
            let tables = &database.tables;
            let from = usize::try_from(cursor.seq).expect("a position of this log");
            let mut folded: BTreeMap<SectionId, Inventory> = BTreeMap::new();
            for entry in &tables.log[from..] {
                let Some(section_id) = entry.subject.section_id() else { continue };
                let event_id = tables.sections[&section_id].0.event_id;
                let of = folded
                    .entry(section_id)
                    .or_insert_with(|| Inventory::empty(section_id, event_id));
                of.capacity += entry.deltas.capacity;
                of.held += entry.deltas.held;
                of.sold += entry.deltas.sold;
                of.blocked += entry.deltas.blocked;
                of.version += 1;
            }
            Reckoning {
                inventories: tables.sections.values().map(|(_, of)| of.clone()).collect(),
                folded: folded.into_values().collect(),
                unsettled: Vec::new(),
                cursor: Position::end_of(i64::try_from(tables.log.len()).expect("a short log")),
            }
        });
        let reckoned = reckoned.await?;
        if is_planted("reconcile repairs") {
            let read = reckoned.inventories.clone();
            let write = move |database: &mut Database| {
                for inventory in &read {
                    let row = database.tables.sections.get_mut(&inventory.section_id);
                    row.expect("it stays").1 = inventory.clone();
                    database.touched.insert(inventory.section_id);
                }
                Tried::Done(())
            };
            let written = self.world.step((self.instance, 0), Step::Reckon, write).await;
            written.map_err(|interrupt| interrupt.into_fault("repairing"))?;
        }
        Ok(reckoned)
    }

    async fn audit(&self) -> Result<Report, Fault> {
        Ok(self.world.lock().database.tables.audit())
    }

    async fn repair(&self, _: SectionId, _: bool) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Histories for SimStore {
    fn epoch(&self) -> Epoch {
        *self.epoch.borrow()
    }

    fn epochs(&self) -> watch::Receiver<Epoch> {
        self.epoch.subscribe()
    }

    async fn begin_epoch(&self) -> Result<Epoch, Fault> {
        Ok(self.epoch())
    }
}
