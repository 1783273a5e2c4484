//! Rows that a store keeps from one batch to the next: counted sections with their counters, and the
//! terms of their events.
//!
//! Others write the database as well, so a kept row may be old at any time. Nothing is believed because it
//! is kept: a batch that was decided on kept rows is committed on condition that they are what is stored
//! (see [`super::trip`]). To lose one costs some round trips, nothing else.

use super::load::Loaded as LoadedBatch;
use engine::{EventId, Inventory, Policy, Section, SectionId, Terms, Timestamp};
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;
use tokio::time::Instant;

/// Sections of which rows are kept (some 10 MB). Where one more is kept, all are dropped.
const KEPT_MAX: usize = 20_000;
/// Sections of a batch of which rows are kept and compared. Each costs the statement a comparison, and the
/// shorter a batch, the fewer holds share its sections: with many, five trips are the cheaper way where a
/// trip costs next to nothing, and where it does not, they are shared by many holds.
const SECTIONS_MAX: usize = 8;
/// How long a section is left to batches that lock first, after its kept row was found to be old: while
/// several instances sell a section, each attempt would cost a round trip and gain nothing.
const LEFT_FOR: Duration = Duration::from_secs(1);

/// The transactions that wrote the rows of a section and of its event. Whatever is changed of these rows,
/// by anybody, is another transaction.
#[derive(Clone, Copy, Debug)]
pub struct Writers {
    /// The row of the section.
    pub section: i64,
    /// The row of its event.
    pub event: i64,
}

/// What decides a hold of counted seats in a section.
#[derive(Clone, Debug)]
pub struct KeptRow {
    /// The section.
    pub section: Section,
    /// Its counters.
    pub inventory: Inventory,
    /// What its event allows.
    pub terms: Terms,
    /// Whether live bookings of the event are listed by buyer.
    pub counts_buyers: bool,
    /// Who wrote it.
    pub writers: Writers,
    /// The clock of the batch that left it so.
    pub at: Timestamp,
}

/// The rows that a batch has loaded and may leave behind; their counters are not known before its end.
pub(super) struct Loaded(Vec<KeptRow>);

impl Loaded {
    /// Sections with numbered seats and events with a cap need more than is kept here. Of a batch with too
    /// many sections nothing is kept.
    pub(super) fn of(locked: &LoadedBatch, policy: &Policy) -> Self {
        if locked.rows.sections.len() > SECTIONS_MAX {
            return Self(Vec::new());
        }
        let rows = locked.rows.sections.values().filter_map(|(section, inventory)| {
            let terms = locked.rows.terms.get(&section.event_id)?;
            let needs_more =
                section.layout_version.is_some() || terms.cap_of_buyer(policy).is_some();
            let writers = locked.writers.get(&section.section_id).filter(|_| !needs_more)?;
            Some(KeptRow {
                section: section.clone(),
                inventory: inventory.clone(),
                terms: terms.clone(),
                counts_buyers: locked.counting.contains(&section.event_id),
                writers: *writers,
                at: locked.now,
            })
        });
        Self(rows.collect())
    }

    /// As the batch has left them.
    pub(super) fn with(mut self, inventories: &[Inventory]) -> Vec<KeptRow> {
        let left: HashMap<_, _> = inventories.iter().map(|of| (of.section_id, of)).collect();
        for row in &mut self.0 {
            row.inventory.clone_from(left[&row.section.section_id]);
        }
        self.0
    }
}

enum Entry {
    Row(Box<KeptRow>),
    Left { until: Instant },
}

/// The rows that are kept.
#[derive(Default)]
pub struct Kept(Mutex<HashMap<SectionId, Entry>>);

impl Kept {
    /// The rows of all these sections, in the order of their ids, if all of them are kept.
    pub(super) fn find(&self, sections: &BTreeSet<SectionId>) -> Option<Vec<KeptRow>> {
        if sections.len() > SECTIONS_MAX {
            return None;
        }
        let rows = self.0.lock();
        let find = |id| match rows.get(id)? {
            Entry::Row(row) => Some((**row).clone()),
            Entry::Left { .. } => None,
        };
        sections.iter().map(find).collect()
    }

    /// Keeps the rows that a batch in these sections has committed, but of sections that were left a moment
    /// ago; older rows of its sections are dropped.
    pub(super) fn keep(&self, committed: Vec<KeptRow>, sections: &[Inventory], now: Instant) {
        let mut rows = self.0.lock();
        for of in sections {
            if let Some(Entry::Row(_)) = rows.get(&of.section_id) {
                rows.remove(&of.section_id);
            }
        }
        for row in committed {
            let id = row.section.section_id;
            if !matches!(rows.get(&id), Some(Entry::Left { until }) if now < *until) {
                put(&mut rows, id, Entry::Row(Box::new(row)));
            }
        }
    }

    /// Drops rows that were not what is stored, and keeps none of their sections for a while.
    pub(super) fn leave(&self, sections: &BTreeSet<SectionId>, now: Instant) {
        let until = now + LEFT_FOR;
        let mut rows = self.0.lock();
        for id in sections {
            put(&mut rows, *id, Entry::Left { until });
        }
    }

    /// Drops rows of which nobody knows what has become of them.
    pub(super) fn forget(&self, sections: &BTreeSet<SectionId>) {
        let mut rows = self.0.lock();
        for id in sections {
            rows.remove(id);
        }
    }

    /// Drops the rows of an event that this store has changed itself.
    pub(crate) fn forget_event(&self, event_id: EventId) {
        let is_of_another = |entry: &Entry| match entry {
            Entry::Row(row) => row.section.event_id != event_id,
            Entry::Left { .. } => true,
        };
        self.0.lock().retain(|_, entry| is_of_another(entry));
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }
}

fn put(rows: &mut HashMap<SectionId, Entry>, id: SectionId, entry: Entry) {
    if rows.len() >= KEPT_MAX && !rows.contains_key(&id) {
        rows.clear();
    }
    rows.insert(id, entry);
}

#[cfg(test)]
mod tests {
    use super::*;
    use suite::world::{ManualClock, Mint};

    fn row(mint: &Mint) -> KeptRow {
        let new = mint.event_on_sale(mint.user());
        let terms = new.event.terms;
        let section = mint.section_of(terms.event_id, "A");
        KeptRow {
            inventory: Inventory::empty(section.section_id, section.event_id),
            section,
            terms,
            counts_buyers: false,
            writers: Writers { section: 1, event: 2 },
            at: Timestamp::from_unix_ms(0),
        }
    }

    #[test]
    fn a_section_that_was_left_is_kept_again_after_a_while() {
        let (kept, mint) = (Kept::default(), Mint::new(&ManualClock::new()));
        let rows = [row(&mint), row(&mint)];
        let id = |row: &KeptRow| row.section.section_id;
        let both = rows.iter().map(id).collect();
        let counters: Vec<_> = rows.iter().map(|row| row.inventory.clone()).collect();
        let now = Instant::now();
        kept.keep(rows.to_vec(), &counters, now);
        assert_eq!(kept.find(&both).map(|rows| rows.len()), Some(2));
        kept.leave(&[id(&rows[0])].into(), now);
        kept.keep(rows.to_vec(), &counters, now);
        assert!(kept.find(&both).is_none(), "one of them is not kept");
        assert!(kept.find(&[id(&rows[1])].into()).is_some());
        kept.keep(rows.to_vec(), &counters, now + LEFT_FOR);
        assert!(kept.find(&both).is_some());
        // A batch that keeps nothing has changed what was kept of one of them.
        kept.keep(Vec::new(), &counters[..1], now);
        assert!(kept.find(&[id(&rows[0])].into()).is_none());
        assert!(kept.find(&[id(&rows[1])].into()).is_some());
        kept.keep(rows.to_vec(), &counters, now);
        kept.forget(&both);
        assert!(kept.find(&[id(&rows[1])].into()).is_none());
    }

    #[test]
    fn a_batch_of_too_many_sections_finds_nothing() {
        let (kept, mint) = (Kept::default(), Mint::new(&ManualClock::new()));
        let rows: Vec<_> = (0..=SECTIONS_MAX).map(|_| row(&mint)).collect();
        kept.keep(rows.clone(), &[], Instant::now());
        let sections = |rows: &[KeptRow]| rows.iter().map(|row| row.section.section_id).collect();
        assert!(kept.find(&sections(&rows[1..])).is_some());
        assert!(kept.find(&sections(&rows)).is_none());
    }

    #[test]
    fn no_more_is_kept_than_the_limit() {
        let (kept, mint) = (Kept::default(), Mint::new(&ManualClock::new()));
        let of = row(&mint);
        for _ in 0..=KEPT_MAX {
            let mut row = of.clone();
            row.section.section_id = mint.section_of(of.terms.event_id, "B").section_id;
            kept.keep(vec![row], &[], Instant::now());
        }
        assert_eq!(kept.0.lock().len(), 1, "it begins anew");
    }
}
