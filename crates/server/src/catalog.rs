//! The catalog: event facts and live availability for readers, without a read of the store for each.
//!
//! Facts are kept for [`FACTS_FRESH`] and forgotten when this instance changes them; the batch decides
//! them again. Availability comes from the gate, or from one read of the store that all who ask at
//! the same time share.

use engine::event::folded;
use engine::{EventId, Fault, Section, SectionId, Snapshot};
use moka::future::Cache;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use store::gate::Settlement;
use store::{EventWithSections, Gate, LiveInventory, Store};

/// How late another instance may notice a change, and how long an unknown id stays unknown.
const FACTS_FRESH: Duration = Duration::from_secs(1);
/// How long one read of the counters serves all who ask.
const COUNTERS_FRESH: Duration = Duration::from_millis(50);
/// Sections of all cached events together, and unknown ids, each counted as one.
const CACHED_MAX: u64 = 200_000;

/// An event with its sections by id and by name.
pub struct Facts {
    /// The event and its sections.
    pub of: EventWithSections,
    by_id: HashMap<SectionId, usize>,
    by_name: HashMap<String, usize>,
}

impl Facts {
    fn new(of: EventWithSections) -> Self {
        let by_id =
            of.sections.iter().enumerate().map(|(at, section)| (section.section_id, at)).collect();
        let by_name = of
            .sections
            .iter()
            .enumerate()
            .map(|(at, section)| (folded(&section.name), at))
            .collect();
        Self { of, by_id, by_name }
    }

    /// The section with this id.
    pub fn section(&self, section_id: SectionId) -> Option<&Section> {
        self.by_id.get(&section_id).map(|at| &self.of.sections[*at])
    }

    /// The section that a path or a body names: by id, or by name without case.
    pub fn resolve(&self, id_or_name: &str) -> Option<&Section> {
        match id_or_name.parse().ok().and_then(|section_id| self.section(section_id)) {
            Some(section) => Some(section),
            None => self.by_name.get(&folded(id_or_name)).map(|at| &self.of.sections[*at]),
        }
    }
}

/// Seats of a section as they are shown.
#[derive(Clone, Copy, Debug)]
pub struct Available {
    /// How many there are.
    pub capacity: i64,
    /// How many can be held.
    pub seats: i64,
    /// The inventory's version.
    pub version: i64,
}

/// Event facts and availability.
pub struct Catalog {
    store: Arc<dyn Store>,
    gate: Arc<dyn Gate>,
    facts: Cache<EventId, Option<Arc<Facts>>>,
    counters: Cache<EventId, Arc<HashMap<SectionId, LiveInventory>>>,
}

impl Catalog {
    /// An empty catalog.
    pub fn new(store: Arc<dyn Store>, gate: Arc<dyn Gate>) -> Self {
        let weight = |_: &EventId, facts: &Option<Arc<Facts>>| {
            facts
                .as_ref()
                .map_or(1, |facts| u32::try_from(facts.of.sections.len() + 1).unwrap_or(u32::MAX))
        };
        let facts =
            Cache::builder().max_capacity(CACHED_MAX).weigher(weight).time_to_live(FACTS_FRESH);
        let counters = Cache::builder().max_capacity(1_000).time_to_live(COUNTERS_FRESH);
        Self { store, gate, facts: facts.build(), counters: counters.build() }
    }

    /// The event with this id, for whoever asks: visibility is the caller's business.
    pub async fn event(&self, event_id: EventId) -> Result<Option<Arc<Facts>>, Fault> {
        if let Some(known) = self.facts.get(&event_id).await {
            return Ok(known);
        }
        let load = async {
            let found = self.store.event(event_id).await?;
            Ok::<_, Fault>(found.map(|of| Arc::new(Facts::new(of))))
        };
        self.facts.try_get_with(event_id, load).await.map_err(Arc::unwrap_or_clone)
    }

    /// Forgets an event that this instance has changed.
    pub async fn forget(&self, event_id: EventId) {
        self.facts.invalidate(&event_id).await;
        self.counters.invalidate(&event_id).await;
    }

    /// The counters of an event as the store has them now, for its organizer.
    pub async fn counters(
        &self,
        event_id: EventId,
    ) -> Result<HashMap<SectionId, LiveInventory>, Fault> {
        let read = self.store.inventories(event_id).await?;
        Ok(read.into_iter().map(|live| (live.inventory.section_id, live)).collect())
    }

    /// The seats of these sections of an event, in their order.
    ///
    /// From the gate where it is fresh and no hold is due, else from the store, whichever is newer.
    pub async fn availability(
        &self,
        event_id: EventId,
        sections: &[Section],
    ) -> Result<Vec<Available>, Fault> {
        let ids: Vec<_> = sections.iter().map(|section| section.section_id).collect();
        let known = self.gate.read(&ids).await;
        let now = self.store.now();
        let settled = |known: &Snapshot| known.next_expiry.is_none_or(|expiry| expiry > now);
        if known.iter().all(|known| known.as_ref().is_some_and(settled)) {
            return Ok(known.iter().flatten().map(from_gate).collect());
        }
        let read = async {
            let read = self.counters(event_id).await?;
            // What was just read is as good as a commit's word, unless holds are due.
            let whole = read.values().filter(|live| live.due == 0);
            let snapshots = whole.map(|live| live.inventory.snapshot()).collect();
            self.gate.settle(Settlement { snapshots, bookings: Vec::new(), now });
            Ok::<_, Fault>(Arc::new(read))
        };
        let read =
            self.counters.try_get_with(event_id, read).await.map_err(Arc::unwrap_or_clone)?;
        let newer = |(section_id, known): (&SectionId, &Option<Snapshot>)| match (
            known,
            read.get(section_id),
        ) {
            (Some(known), Some(live)) if known.version > live.inventory.version => from_gate(known),
            (_, Some(live)) => Available {
                capacity: live.inventory.capacity,
                seats: live.inventory.available() + live.due,
                version: live.inventory.version,
            },
            (Some(known), None) => from_gate(known),
            // A section that was added after this read began.
            (None, None) => Available { capacity: 0, seats: 0, version: 0 },
        };
        Ok(ids.iter().zip(&known).map(newer).collect())
    }
}

fn from_gate(known: &Snapshot) -> Available {
    Available { capacity: known.capacity, seats: known.available, version: known.version }
}
