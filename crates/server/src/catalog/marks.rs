//! Which seats of a section are not free, for all viewers of its map.

use super::{COUNTERS_FRESH, newer};
use engine::seats::Marks;
use engine::{Fault, SectionId, Snapshot};
use futures_util::future::join;
use moka::future::Cache;
use std::sync::Arc;
use store::gate::{KnownMarks, Settlement};
use store::{Gate, Seats};

/// Sections whose marks are kept for a moment.
const SECTIONS_MAX: u64 = 1_000;

/// What is known of a section.
#[derive(Clone)]
struct Known {
    snapshot: Option<Snapshot>,
    seen: Option<KnownMarks>,
}

/// The newest marks, without a read of the store for each who asks.
pub(super) struct NewestMarks {
    seats: Arc<dyn Seats>,
    gate: Arc<dyn Gate>,
    /// What a gate said that has to be asked.
    told: Cache<SectionId, Known>,
    /// Reads of the store, by the newest version that was known before they began: a caller that
    /// knows of a later commit does not take what was read before it.
    read: Cache<(SectionId, Option<i64>), Option<KnownMarks>>,
}

impl NewestMarks {
    pub fn new(seats: Arc<dyn Seats>, gate: Arc<dyn Gate>) -> Self {
        let told = Cache::builder().max_capacity(SECTIONS_MAX).time_to_live(COUNTERS_FRESH);
        let read = Cache::builder().max_capacity(SECTIONS_MAX).time_to_live(COUNTERS_FRESH);
        Self { seats, gate, told: told.build(), read: read.build() }
    }

    /// Forgets everything.
    pub fn forget_all(&self) {
        self.told.invalidate_all();
        self.read.invalidate_all();
    }

    /// The newest marks of a section; `None` when its seats have no numbers.
    pub async fn newest(&self, section_id: SectionId) -> Result<Option<Arc<Marks>>, Fault> {
        let known = self.known(section_id).await;
        if let Known { snapshot: Some(snapshot), seen: Some(seen) } = &known
            && seen.belong_to(snapshot)
        {
            return Ok(Some(seen.marks.clone()));
        }
        let before = known.snapshot.map(|snapshot| snapshot.version);
        let read = self.read.try_get_with((section_id, before), self.read(section_id, before));
        let Some(read) = read.await.map_err(Arc::unwrap_or_clone)? else { return Ok(None) };
        Ok(Some(read.marks))
    }

    /// What the gate knows. One that is elsewhere is asked once for all who want to know at the same
    /// time; what this instance has settled since then is included immediately.
    async fn known(&self, section_id: SectionId) -> Known {
        let own = self.own(section_id);
        if !self.gate.is_remote() {
            return own;
        }
        let sections = [section_id];
        let told = self.told.get_with(section_id, async {
            let (snapshot, seen) =
                join(self.gate.read(&sections), self.gate.marks(&sections)).await;
            Known { snapshot: first(snapshot), seen: first(seen) }
        });
        let told = told.await;
        let snapshot = newer(own.snapshot, told.snapshot);
        Known { snapshot, seen: KnownMarks::newer(own.seen, told.seen) }
    }

    fn own(&self, section_id: SectionId) -> Known {
        let snapshot = first(self.gate.recall(&[section_id]));
        Known { snapshot, seen: first(self.gate.recall_marks(&[section_id])) }
    }

    async fn read(
        &self,
        section_id: SectionId,
        before: Option<i64>,
    ) -> Result<Option<KnownMarks>, Fault> {
        let Some(marks) = self.seats.marks(section_id).await? else { return Ok(None) };
        let seen = KnownMarks::read(section_id, Arc::new(marks), before);
        self.gate.settle(Settlement::of_marks(seen.clone()));
        Ok(Some(seen))
    }
}

/// What there is of one section.
fn first<T>(answers: Vec<Option<T>>) -> Option<T> {
    answers.into_iter().next().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::tests::fake::{Fake, now};
    use engine::Shard;
    use engine::seats::{Category, Layout, SeatMap, Shape, Short};
    use engine::{Currency, Money};
    use store::gate::{GateOptions, Local};

    fn section() -> SectionId {
        SectionId::new(now(), Shard::pick(0), 0)
    }

    fn layout() -> Arc<Layout> {
        let price = Money { minor: 1, currency: Currency::parse("USD").expect("valid") };
        let short = Short {
            rows: "A".to_owned(),
            seats_per_row: 10,
            aisles_after: vec![],
            category: Category { name: "A".to_owned(), price },
            shape: Shape::Block,
        };
        Arc::new(Layout::new(&short.draft().expect("right")).expect("right"))
    }

    /// Marks with this number of taken seats, the last one at this version.
    fn marks(version: i64, taken: u32) -> Marks {
        let mut map = SeatMap::empty(layout(), (1, 1));
        map.hold(&(0..taken).collect::<Vec<_>>()).expect("free seats");
        map.stamp(version);
        map.marks()
    }

    fn told(version: i64, taken: i64, marks: Vec<KnownMarks>) -> Settlement {
        let (section_id, available) = (section(), 10 - taken);
        let next_expiry = None;
        let snapshot = Snapshot { section_id, version, capacity: 10, available, next_expiry };
        Settlement { snapshots: vec![snapshot], marks }
    }

    #[tokio::test]
    async fn the_newest_marks_are_shown_and_read_once_for_all() {
        let mut store = Fake::default();
        store.marked_layout = Some((layout(), marks(5, 1)));
        let store = Arc::new(store);
        let gate = Arc::new(Local::new(GateOptions { fresh_ms: 60_000 }));
        let newest = NewestMarks::new(store.clone(), gate.clone());
        let version = async || {
            let found = newest.newest(section()).await.expect("the store answers");
            found.expect("numbered seats").version()
        };
        // Nothing is known: one read for all who ask at the same time.
        assert_eq!(tokio::join!(version(), version(), version()), (5, 5, 5));
        assert_eq!(store.marks_read(), 1);
        // They are the gate's now, and speak when somebody has told the counters.
        gate.settle(told(5, 1, vec![]));
        assert_eq!((version().await, store.marks_read()), (5, 1));
        // What this instance commits it shows at once, whatever was read a moment ago.
        gate.settle(told(6, 2, vec![KnownMarks::committed(section(), marks(6, 2))]));
        assert_eq!((version().await, store.marks_read()), (6, 1));
        // A change without marks: another layout, or an extension of a hold.
        gate.settle(told(7, 1, vec![]));
        assert_eq!((version().await, store.marks_read()), (5, 2), "as the store has them");
    }

    #[tokio::test]
    async fn a_section_that_counts_its_seats_has_none() {
        let (store, options) = (Arc::new(Fake::default()), GateOptions { fresh_ms: 60_000 });
        let newest = NewestMarks::new(store, Arc::new(Local::new(options)));
        assert_eq!(newest.newest(section()).await.expect("the store answers"), None);
    }
}
