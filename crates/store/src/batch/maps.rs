//! The seat maps of a batch, and how one is rebuilt that contradicts its bookings.

use super::commit::Committer;
use super::interrupt::Interrupt;
use super::session::{Session, Sessions};
use crate::maps::{DISAGREE, Stamped, Stamps, brought_up_to_date, contradiction};
use engine::seats::{Layout, SeatMap};
use engine::{LoadedRows, SectionId};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// The seat maps of a batch.
pub(super) struct LoadedMaps {
    /// The stamps of their marks.
    pub stamps: Stamps,
    /// Those whose marks were rebuilt.
    pub rebuilt: Vec<SectionId>,
}

impl<S: Sessions> Committer<S> {
    /// Loads the seat maps of the loaded sections, which are locked.
    ///
    /// A map that contradicts the section's counters or a booking of the batch is rebuilt, with
    /// `suspect` all of them; [`Fault::Contradiction`](engine::Fault::Contradiction) where that does not
    /// help.
    pub(super) async fn load_maps(
        &self,
        session: &mut S::Session,
        rows: &mut LoadedRows,
        suspect: bool,
    ) -> Result<LoadedMaps, Interrupt> {
        let sections = rows.sections.values();
        let numbered: BTreeMap<SectionId, i64> = sections
            .filter_map(|(section, _)| Some((section.section_id, section.layout_version?)))
            .collect();
        let mut loaded = LoadedMaps { stamps: Stamps::new(), rebuilt: Vec::new() };
        if numbered.is_empty() {
            return Ok(loaded);
        }
        let of_layout = |(section_id, layout_version): (&SectionId, &i64)| {
            let kept = self.maps.take(*section_id);
            (*section_id, kept.filter(|kept| kept.map.layout_version() == *layout_version))
        };
        let mut kept: HashMap<SectionId, Option<Stamped>> =
            numbered.iter().map(of_layout).collect();
        // The bits are read only where they are not those that are kept already: a version occurs again
        // in a database that was set back, with other bits, and never with the same stamp.
        let known = |section_id: &SectionId| match &kept[section_id] {
            Some(kept) => (*section_id, kept.map.version(), kept.stamp),
            None => (*section_id, -1, 0),
        };
        let known: Vec<_> = numbered.keys().map(known).collect();
        for stored in session.marks(&known).await? {
            let section_id = stored.section_id;
            loaded.stamps.insert(section_id, stored.stamp);
            let kept = kept.remove(&section_id).flatten().map(|kept| kept.map);
            let layout = match &stored.marks {
                Some(Some(marks)) if kept.is_none() => {
                    self.layout_at(session, section_id, marks.layout_version).await?
                }
                _ => None,
            };
            // Marks that are none are those of nobody, and rebuilt.
            let map = match stored.marks {
                Some(None) => None,
                marks => brought_up_to_date(kept, marks.flatten(), layout),
            };
            let map = map.filter(|map| map.layout_version() == numbered[&section_id]);
            rows.maps.extend(map.map(|map| (section_id, map)));
        }
        // Without its map a section would be sold like one that counts its seats.
        let missing = |section_id: &&SectionId| suspect || !rows.maps.contains_key(section_id);
        let mut wrong: BTreeSet<_> = numbered.keys().filter(missing).copied().collect();
        wrong.extend(rows.contradicted());
        for section_id in &wrong {
            let (_, inventory) = &rows.sections[section_id];
            let versions = (numbered[section_id], inventory.version);
            let map = self.rebuild_map(session, *section_id, versions).await?;
            if !rows.maps.get(section_id).is_some_and(|loaded| loaded.has_states_of(&map)) {
                let stamp = self.draw_stamp();
                session.put_marks(*section_id, &map, stamp).await?;
                loaded.stamps.insert(*section_id, stamp);
                loaded.rebuilt.push(*section_id);
                rows.maps.insert(*section_id, map);
            }
        }
        match rows.contradicted().pop_first() {
            Some(section_id) => Err(contradiction(section_id, DISAGREE).into()),
            None => Ok(loaded),
        }
    }

    /// The map of a section as its taken seats and the bookings that have them say.
    async fn rebuild_map(
        &self,
        session: &mut S::Session,
        section_id: SectionId,
        versions: (i64, i64),
    ) -> Result<SeatMap, Interrupt> {
        let Some(layout) = self.layout_at(session, section_id, versions.0).await? else {
            return Err(contradiction(section_id, "its layout is missing").into());
        };
        let taken = session.seats_taken(section_id).await?;
        let map = SeatMap::of(layout, versions, taken);
        Ok(map.ok_or_else(|| contradiction(section_id, "a taken seat is not in its layout"))?)
    }

    async fn layout_at(
        &self,
        session: &mut S::Session,
        section_id: SectionId,
        version: i64,
    ) -> Result<Option<Arc<Layout>>, Interrupt> {
        if let Some(layout) = self.maps.layout(section_id, version) {
            return Ok(Some(layout));
        }
        let laid = session.layout(section_id).await?;
        Ok(laid.filter(|(found, _)| *found == version).map(|(_, layout)| layout))
    }
}
