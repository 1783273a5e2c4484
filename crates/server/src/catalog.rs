//! The catalog: event facts and live availability for readers, without a read of the store for each.
//!
//! Facts are cached for [`FACTS_KEPT`], and dropped when an instance announces that it has changed
//! them; the batch checks them again. Where an announcement may have been missed, because nobody was
//! listening when they were read or since, they are cached for [`FACTS_FRESH`] only. The facts of a
//! popular event are refreshed in the background before that time is over, so that no request waits
//! for it. What only some may see or do is decided on facts that are at most a second old, whatever is
//! announced: an event may have gone to another organization (I15). Availability comes from the gate,
//! or from one read of the store that concurrent requests share.

mod marks;

use crate::fresh::{Fresh, Source};
use crate::{news, rights};
use engine::seats::Marks;
use engine::text::folded;
use engine::{
    Error, EventId, EventWithSections, Fault, LiveInventory, Refusal, Section, SectionId, Snapshot,
};
use marks::NewestMarks;
use moka::future::Cache;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::gate::Settlement;
use store::{Bookings, Events, Gate, Seats};
use tokio::sync::broadcast::error::RecvError;

/// How long facts are cached while announcements are listened to: how late another instance notices a
/// change whose announcement was lost nonetheless.
pub const FACTS_KEPT: Duration = Duration::from_secs(if cfg!(test) { 3 } else { 60 });
/// How long facts are cached while announcements are not listened to, and how long an unknown id stays
/// unknown.
const FACTS_FRESH: Duration = Duration::from_secs(1);
/// How long one read of the counters, or of a gate that is elsewhere, serves all who ask.
const COUNTERS_FRESH: Duration = Duration::from_millis(50);
/// Sections of all cached events together, and unknown ids, each counted as one.
const CACHED_MAX: u64 = 200_000;

/// An event with its sections by id and by name.
pub struct Facts {
    /// The event and its sections.
    pub of: EventWithSections,
    by_id: HashMap<SectionId, usize>,
    by_name: HashMap<String, usize>,
    /// Sections whose name is another's when it is folded, from before that was refused, by the name
    /// as it is written.
    by_spelling: HashMap<Arc<str>, usize>,
}

impl Facts {
    fn new(of: EventWithSections) -> Self {
        let by_id =
            of.sections.iter().enumerate().map(|(at, section)| (section.section_id, at)).collect();
        let mut by_name = HashMap::with_capacity(of.sections.len());
        let mut by_spelling = HashMap::new();
        for (at, section) in of.sections.iter().enumerate() {
            let first = *by_name.entry(folded(&section.name)).or_insert(at);
            if first != at {
                by_spelling.insert(of.sections[first].name.clone(), first);
                by_spelling.insert(section.name.clone(), at);
            }
        }
        Self { of, by_id, by_name, by_spelling }
    }

    /// The section with this id.
    pub fn section(&self, section_id: SectionId) -> Option<&Section> {
        self.by_id.get(&section_id).map(|at| &self.of.sections[*at])
    }

    /// The section that a path or a body names: by id, or by name, however it is spelled.
    pub fn resolve(&self, id_or_name: &str) -> Option<&Section> {
        if let Some(section) = id_or_name.parse().ok().and_then(|id| self.section(id)) {
            return Some(section);
        }
        let spelled = self.by_spelling.get(id_or_name);
        let at = spelled.or_else(|| self.by_name.get(&folded(id_or_name)));
        at.map(|at| &self.of.sections[*at])
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

/// The live counters of sections.
pub type Counters = HashMap<SectionId, LiveInventory>;

/// When this process hears of what other processes change.
#[derive(Clone)]
pub struct Hearing {
    gate: Arc<dyn Gate>,
    /// Since when nobody else changes anything, if that is so.
    alone_since: Option<Instant>,
}

impl Hearing {
    /// By the announcements of this gate. `is_shared` is whether there may be other processes.
    pub fn new(gate: Arc<dyn Gate>, is_shared: bool) -> Self {
        Self { gate, alone_since: (!is_shared).then(Instant::now) }
    }

    /// How long something is kept that was there when its read began then.
    pub fn life(&self, read_at: tokio::time::Instant) -> Duration {
        self.lives(true, read_at)
    }

    fn lives(&self, is_known: bool, read_at: tokio::time::Instant) -> Duration {
        let listens_since = self.alone_since.or_else(|| self.gate.listens_since());
        lives(is_known, read_at.into_std(), listens_since)
    }
}

/// Where facts come from.
#[derive(Clone)]
struct FactsOf {
    events: Arc<dyn Events>,
    hearing: Hearing,
}

impl Source for FactsOf {
    type Key = EventId;
    type Value = Option<Arc<Facts>>;
    const LIFE_MAX: Duration = FACTS_KEPT;
    const SIZE_MAX: u64 = CACHED_MAX;

    async fn read(&self, event_id: EventId) -> Result<Option<Arc<Facts>>, Fault> {
        Ok(self.events.event(event_id).await?.map(|of| Arc::new(Facts::new(of))))
    }

    fn life(&self, facts: &Option<Arc<Facts>>, read_at: tokio::time::Instant) -> Duration {
        self.hearing.lives(facts.is_some(), read_at)
    }

    fn size(facts: &Option<Arc<Facts>>) -> usize {
        facts.as_ref().map_or(1, |facts| facts.of.sections.len() + 1)
    }
}

/// Where facts come from that are as young as rights are.
#[derive(Clone)]
struct LateFactsOf(FactsOf);

impl Source for LateFactsOf {
    type Key = EventId;
    type Value = Option<Arc<Facts>>;
    const LIFE_MAX: Duration = rights::LIFE;
    const SIZE_MAX: u64 = CACHED_MAX;

    async fn read(&self, event_id: EventId) -> Result<Option<Arc<Facts>>, Fault> {
        self.0.read(event_id).await
    }

    fn life(&self, _: &Option<Arc<Facts>>, _: tokio::time::Instant) -> Duration {
        rights::LIFE
    }

    fn size(facts: &Option<Arc<Facts>>) -> usize {
        FactsOf::size(facts)
    }
}

fn lives(is_known: bool, read_at: Instant, listens_since: Option<Instant>) -> Duration {
    let hears_of_changes = listens_since.is_some_and(|since| since <= read_at);
    if is_known && hears_of_changes { FACTS_KEPT } else { FACTS_FRESH }
}

/// Event facts and availability.
pub struct Catalog {
    events: Arc<dyn Events>,
    bookings: Arc<dyn Bookings>,
    gate: Arc<dyn Gate>,
    facts: Fresh<FactsOf>,
    late_facts: Fresh<LateFactsOf>,
    /// Reads of the counters that all who ask at the same time share.
    shared: Cache<EventId, Arc<Counters>>,
    /// The same of a gate that has to be asked.
    told: Cache<EventId, Arc<HashMap<SectionId, Snapshot>>>,
    marks: NewestMarks,
}

impl Catalog {
    /// An empty catalog. `hearing` says when others are heard that change events.
    pub fn new(
        events: Arc<dyn Events>,
        bookings: Arc<dyn Bookings>,
        seats: Arc<dyn Seats>,
        gate: Arc<dyn Gate>,
        hearing: Hearing,
    ) -> Self {
        let facts = FactsOf { events: events.clone(), hearing };
        let late_facts = Fresh::new(LateFactsOf(facts.clone()));
        let shared = Cache::builder().max_capacity(1_000).time_to_live(COUNTERS_FRESH);
        let told = Cache::builder().max_capacity(1_000).time_to_live(COUNTERS_FRESH);
        let (facts, shared, told) = (Fresh::new(facts), shared.build(), told.build());
        let marks = NewestMarks::new(seats, gate.clone());
        Self { events, bookings, gate, facts, late_facts, shared, told, marks }
    }

    /// The event with this id, for any caller: the caller checks visibility.
    pub async fn event(&self, event_id: EventId) -> Result<Option<Arc<Facts>>, Fault> {
        self.facts.get(event_id).await
    }

    /// The event as it was less than [`rights::LIFE`] ago, for what not everybody may see: whose it is
    /// decides who may (I15).
    pub async fn event_lately(&self, event_id: EventId) -> Result<Option<Arc<Facts>>, Fault> {
        self.late_facts.get(event_id).await
    }

    /// The event as the store has it now: for what is derived from it and written back, and for who may.
    pub async fn event_now(&self, event_id: EventId) -> Result<Option<Arc<Facts>>, Fault> {
        Ok(self.events.event(event_id).await?.map(|of| Arc::new(Facts::new(of))))
    }

    /// Waits for a change of an event. Another version or another currency means that what is cached may be
    /// outdated, and of a change that failed nobody knows whether it was made.
    pub async fn changing<T>(
        &self,
        event_id: EventId,
        change: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let made = change.await;
        match &made {
            Err(Error::Refused(
                Refusal::VersionMismatch { .. } | Refusal::CurrencyMismatch { .. },
            )) => self.forget(event_id).await,
            Ok(_) | Err(Error::Refused(_)) => {}
            Err(Error::Failed(_)) => self.changed(event_id).await,
        }
        made
    }

    /// Drops an event that this instance has changed from the cache, and notifies the others. Call
    /// it after the commit.
    pub async fn changed(&self, event_id: EventId) {
        self.forget(event_id).await;
        self.gate.announce(event_id.into());
    }

    async fn forget(&self, event_id: EventId) {
        self.facts.forget(event_id).await;
        self.late_facts.forget(event_id).await;
        self.shared.invalidate(&event_id).await;
        self.told.invalidate(&event_id).await;
    }

    /// Forgets every event.
    pub fn forget_all(&self) {
        self.facts.forget_all();
        self.late_facts.forget_all();
        self.shared.invalidate_all();
        self.told.invalidate_all();
        self.marks.forget_all();
    }

    /// Forgets every event that an instance announces, for as long as it is polled. Announcements
    /// that were missed may have been of any event, so then all are forgotten.
    pub async fn follow(&self) {
        let mut announced = self.gate.announcements();
        loop {
            match announced.recv().await {
                Ok(id) => self.forget(id.into()).await,
                Err(RecvError::Lagged(missed)) => {
                    tracing::debug!(missed, "announcements were missed: all events are read again");
                    self.forget_all();
                }
                // The gate has gone, and the process with it.
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// The counters of an event as the store has them now, for its organizer.
    pub async fn counters(&self, event_id: EventId) -> Result<Counters, Fault> {
        self.read(event_id).await
    }

    async fn read(&self, event_id: EventId) -> Result<Counters, Fault> {
        let asked_at = tokio::time::Instant::now();
        let read = self.bookings.inventories(&[event_id]).await?;
        // What was just read is as good as a commit's word, unless holds are due.
        let whole = read.iter().filter(|live| live.due == 0);
        let snapshots = whole.map(|live| live.inventory.snapshot()).collect();
        news::settle(&*self.gate, Settlement { snapshots, marks: Vec::new() }, asked_at);
        Ok(read.into_iter().map(|live| (live.inventory.section_id, live)).collect())
    }

    /// The seats of an event's sections, in their order.
    ///
    /// From the gate where it is fresh and no hold is due, else from the store, whichever is newer;
    /// all who ask for one event at the same time share one read.
    pub async fn availability(&self, of: &EventWithSections) -> Result<Vec<Available>, Fault> {
        let (known, settled) = self.ask_gate(of).await;
        if settled {
            return Ok(of
                .sections
                .iter()
                .zip(known)
                .map(|(_, known)| seats(known, None))
                .collect());
        }
        let event_id = of.event.terms.event_id;
        let read = async { Ok::<_, Fault>(Arc::new(self.read(event_id).await?)) };
        let read = Box::pin(self.shared.try_get_with(event_id, read)).await;
        let read = read.map_err(Arc::unwrap_or_clone)?;
        let section = |(section, known): (&Section, _)| seats(known, read.get(&section.section_id));
        Ok(of.sections.iter().zip(known).map(section).collect())
    }

    /// Which seats of a section are not free, as it was committed last; `None` when its seats have no
    /// numbers. A hold whose time is over has its seats until it is retired.
    ///
    /// From the gate beside a fresh snapshot, else from the store; all who ask for one section at the
    /// same time share one read. After [`Self::availability`] the snapshot is fresh.
    pub async fn marks(&self, section_id: SectionId) -> Result<Option<Arc<Marks>>, Fault> {
        self.marks.newest(section_id).await
    }

    /// [`Self::availability`] after a change of the event: by a read that began after it.
    pub async fn availability_anew(&self, of: &EventWithSections) -> Result<Vec<Available>, Fault> {
        let (known, settled) = self.ask_gate(of).await;
        let read =
            if settled { Counters::new() } else { self.read(of.event.terms.event_id).await? };
        let section = |(section, known): (&Section, _)| seats(known, read.get(&section.section_id));
        Ok(of.sections.iter().zip(known).map(section).collect())
    }

    /// What the gate knows of these sections, and whether that is all there is to know: fresh, with
    /// no hold due.
    ///
    /// A gate that is elsewhere is asked once for all who want to know of an event at the same time.
    /// What this instance has settled since then is included immediately.
    async fn ask_gate(&self, of: &EventWithSections) -> (Vec<Option<Snapshot>>, bool) {
        let ids: Vec<_> = of.sections.iter().map(|section| section.section_id).collect();
        let mut known = if self.gate.is_remote() { self.gate.recall(&ids) } else { Vec::new() };
        if known.is_empty() {
            known = self.gate.read(&ids).await;
        } else {
            let told = self.told.get_with(of.event.terms.event_id, async {
                let told = self.gate.read(&ids).await;
                Arc::new(told.into_iter().flatten().map(|told| (told.section_id, told)).collect())
            });
            let told = Box::pin(told).await;
            for (known, section_id) in known.iter_mut().zip(&ids) {
                *known = newer(*known, told.get(section_id).copied());
            }
        }
        let now = self.bookings.now();
        let settled = |known: &Snapshot| known.next_expiry.is_none_or(|expiry| expiry > now);
        let all = known.iter().all(|known| known.as_ref().is_some_and(settled));
        (known, all)
    }
}

fn newer(one: Option<Snapshot>, other: Option<Snapshot>) -> Option<Snapshot> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if other.version > one.version { other } else { one }),
        (one, other) => one.or(other),
    }
}

/// The newer of what the gate and the store say of a section.
fn seats(known: Option<Snapshot>, live: Option<&LiveInventory>) -> Available {
    match (known, live) {
        (Some(known), Some(live)) if known.version > live.inventory.version => from_gate(&known),
        (_, Some(live)) => Available {
            capacity: live.inventory.capacity,
            seats: live.inventory.available() + live.due,
            version: live.inventory.version,
        },
        (Some(known), None) => from_gate(&known),
        // A section that was added after the read began.
        (None, None) => Available { capacity: 0, seats: 0, version: 0 },
    }
}

fn from_gate(known: &Snapshot) -> Available {
    Available { capacity: known.capacity, seats: known.available, version: known.version }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_kept_where_a_change_of_them_would_have_been_heard_of() {
        let begun = Instant::now();
        let later = begun + Duration::from_secs(1);
        assert_eq!(lives(true, later, Some(begun)), FACTS_KEPT);
        assert_eq!(lives(true, later, Some(later)), FACTS_KEPT);
        // Read before there was a subscription, or while there is none.
        assert_eq!(lives(true, begun, Some(later)), FACTS_FRESH);
        assert_eq!(lives(true, later, None), FACTS_FRESH);
        assert_eq!(lives(false, later, Some(begun)), FACTS_FRESH, "it may be created at any time");
    }
}
