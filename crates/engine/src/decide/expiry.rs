//! When the next hold of a section ends, after a batch.

use super::Changes;
use crate::ids::SectionId;
use crate::time::Timestamp;
use std::collections::HashMap;

/// When the next live hold of a section ends after a batch has been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextExpiry {
    /// Then; none when there is none.
    Known(Option<Timestamp>),
    /// The one that ended next was removed: the index of expiry has to be asked, once it is written.
    InIndex,
}

impl Changes {
    /// The next expiry of each changed inventory, in their order, from what it was when the inventory
    /// was loaded.
    #[must_use]
    pub fn next_expiries(&self) -> Vec<NextExpiry> {
        let mut removed: HashMap<SectionId, Timestamp> = HashMap::new();
        for held in &self.unheld {
            let first = removed.entry(held.section_id).or_insert(held.expires_at);
            *first = held.expires_at.min(*first);
        }
        let mut added: HashMap<SectionId, Timestamp> = HashMap::new();
        for held in &self.held {
            let first = added.entry(held.section_id).or_insert(held.expires_at);
            *first = held.expires_at.min(*first);
        }
        let next = self.inventories.iter().map(|(inventory, _)| {
            let (before, id) = (inventory.next_expiry, &inventory.section_id);
            let is_next = |end: &Timestamp| before.is_none_or(|next| *end <= next);
            if removed.get(id).is_some_and(is_next) {
                return NextExpiry::InIndex;
            }
            NextExpiry::Known(before.into_iter().chain(added.get(id).copied()).min())
        });
        next.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::ExpiryEntry;
    use crate::ids::{BookingId, EventId, Shard};
    use crate::inventory::Inventory;

    /// The next expiry of a section that had `before`, where holds with these ends are removed and
    /// added. Another section has others.
    fn next(before: Option<i64>, removed: &[i64], added: &[i64]) -> NextExpiry {
        let (at, shard) = (Timestamp::from_unix_ms(1), Shard::pick(1));
        let [here, there] = [1, 2].map(|number| SectionId::new(at, shard, number));
        let held = |section_id| {
            move |end: &i64| ExpiryEntry {
                section_id,
                expires_at: Timestamp::from_unix_ms(*end),
                booking_id: BookingId::new(at, shard, 1),
                seats: 1,
            }
        };
        let mut inventory = Inventory::empty(here, EventId::new(at, shard, 1));
        inventory.next_expiry = before.map(Timestamp::from_unix_ms);
        let changes = Changes {
            unheld: removed.iter().map(held(here)).chain([1].iter().map(held(there))).collect(),
            held: [2].iter().map(held(there)).chain(added.iter().map(held(here))).collect(),
            inventories: vec![(inventory, 1)],
            ..Changes::default()
        };
        changes.next_expiries()[0]
    }

    #[test]
    fn the_next_expiry_is_known_unless_the_hold_that_had_it_is_gone() {
        let known = |end: Option<i64>| NextExpiry::Known(end.map(Timestamp::from_unix_ms));
        assert_eq!(next(None, &[], &[]), known(None));
        assert_eq!(next(None, &[], &[9, 7, 8]), known(Some(7)));
        assert_eq!(next(Some(5), &[], &[9]), known(Some(5)));
        assert_eq!(next(Some(5), &[6], &[4]), known(Some(4)));
        assert_eq!(next(Some(5), &[6, 5], &[4]), NextExpiry::InIndex);
        // It should not be so, and is mended.
        assert_eq!(next(Some(5), &[4], &[]), NextExpiry::InIndex);
        assert_eq!(next(None, &[4], &[]), NextExpiry::InIndex);
    }
}
