//! Numbered seats: layouts, marks, and who has which seat.

use super::writer::Writing;
use super::{Sqlite, failed};
use crate::maps::{self, DISAGREE, Maps, StoredLayout, brought_up_to_date, contradiction};
use crate::rows::{self, Columns, items_text};
use crate::{Seats, VersionedLayout};
use async_trait::async_trait;
use engine::seats::{Layout, Marks, SeatMap};
use engine::{BookingId, Changes, Fault, LoadedRows, SectionId};
use sqlx::SqliteConnection;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const LAYOUT: &str = "SELECT * FROM layouts WHERE section_id = ?";

/// Loads the seat maps of the loaded sections; returns those whose marks were rebuilt.
///
/// A map that contradicts the section's counters or a booking of the batch is rebuilt, with `suspect` all
/// of them; [`Fault::Contradiction`] where that does not help.
pub(super) fn load_maps(
    writing: &Writing<'_>,
    kept: &Maps,
    rows: &mut LoadedRows,
    suspect: bool,
) -> Result<Vec<SectionId>, Fault> {
    // The bits are read only where they are not those that are kept already. One process writes, so the
    // version says it.
    const SQL: &str = "SELECT iif(version = ?2, NULL, marks) AS marks
        FROM seat_marks WHERE section_id = ?1";
    let numbered: BTreeMap<SectionId, i64> = rows
        .sections
        .values()
        .filter_map(|(section, _)| Some((section.section_id, section.layout_version?)))
        .collect();
    for (&section_id, &layout_version) in &numbered {
        let map = kept.take(section_id).map(|kept| kept.map);
        let map = map.filter(|map| map.layout_version() == layout_version);
        let known = map.as_ref().map_or(-1, SeatMap::version);
        let found = writing.one("loading seats", SQL, (section_id.as_bytes(), known), |row| {
            row.maybe_bytes("marks")?.map(maps::readable_marks).transpose()
        })?;
        let layout = match &found {
            Some(Some(Some(marks))) if map.is_none() => {
                layout_at(writing, kept, section_id, marks.layout_version)?
            }
            _ => None,
        };
        // Marks that are none are those of nobody, and rebuilt.
        let map = match found {
            None | Some(Some(None)) => None,
            Some(marks) => brought_up_to_date(map, marks.flatten(), layout),
        };
        let map = map.filter(|map| map.layout_version() == layout_version);
        rows.maps.extend(map.map(|map| (section_id, map)));
    }
    // Without its map a section would be sold like one that counts its seats.
    let missing = |section_id: &&SectionId| suspect || !rows.maps.contains_key(section_id);
    let mut wrong: BTreeSet<_> = numbered.keys().filter(missing).copied().collect();
    wrong.extend(rows.contradicted());
    let mut rebuilt = Vec::new();
    for section_id in wrong {
        let (_, inventory) = &rows.sections[&section_id];
        let versions = (numbered[&section_id], inventory.version);
        let map = rebuild_map(writing, kept, section_id, versions)?;
        if !rows.maps.get(&section_id).is_some_and(|loaded| loaded.has_states_of(&map)) {
            put_marks(writing, section_id, &map.marks())?;
            rebuilt.push(section_id);
            rows.maps.insert(section_id, map);
        }
    }
    match rows.contradicted().pop_first() {
        Some(section_id) => Err(contradiction(section_id, DISAGREE)),
        None => Ok(rebuilt),
    }
}

/// The map of a section as its taken seats and the bookings that have them say. Rows of seats whose
/// booking has ended are removed: nobody has them.
fn rebuild_map(
    writing: &Writing<'_>,
    kept: &Maps,
    section_id: SectionId,
    versions: (i64, i64),
) -> Result<SeatMap, Fault> {
    const DOING: &str = "rebuilding the marks of a section";
    const STALE: &str = "DELETE FROM seats_taken
        WHERE section_id = ?1 AND booking_id IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM bookings b WHERE b.booking_id = seats_taken.booking_id
                AND b.status IN ('HOLD', 'CONFIRMED'))";
    const TAKEN: &str = "SELECT t.seat, b.status FROM seats_taken t
        LEFT JOIN bookings b ON b.booking_id = t.booking_id WHERE t.section_id = ?1";
    let Some(layout) = layout_at(writing, kept, section_id, versions.0)? else {
        return Err(contradiction(section_id, "its layout is missing"));
    };
    let id = [section_id.as_bytes()];
    writing.run(DOING, STALE, id)?;
    let taken = writing.all(DOING, TAKEN, id, |row| rows::seat_state(row))?;
    let map = SeatMap::of(layout, versions, taken);
    map.ok_or_else(|| contradiction(section_id, "a taken seat is not in its layout"))
}

pub(super) fn put_marks(
    writing: &Writing<'_>,
    section_id: SectionId,
    marks: &Marks,
) -> Result<(), Fault> {
    const MARKS: &str =
        "INSERT OR REPLACE INTO seat_marks (section_id, version, marks) VALUES (?, ?, ?)";
    let row = (section_id.as_bytes(), marks.version(), marks.to_bytes());
    writing.run("writing the marks of a section", MARKS, row).map(drop)
}

pub(super) fn layout_at(
    writing: &Writing<'_>,
    kept: &Maps,
    section_id: SectionId,
    version: i64,
) -> Result<Option<Arc<Layout>>, Fault> {
    if let Some(layout) = kept.layout(section_id, version) {
        return Ok(Some(layout));
    }
    let laid = layout_row(writing, section_id)?;
    Ok(laid.filter(|(found, _)| *found == version).map(|(_, layout)| layout))
}

/// Reads the layout of a section inside a write.
pub(super) fn layout_row(
    writing: &Writing<'_>,
    section_id: SectionId,
) -> Result<Option<VersionedLayout>, Fault> {
    writing.one("reading a layout", LAYOUT, [section_id.as_bytes()], |row| maps::laid(row))
}

/// Reads the layout of a section.
pub(super) async fn read_layout(
    connection: &mut SqliteConnection,
    section_id: SectionId,
) -> Result<Option<VersionedLayout>, Fault> {
    let query = sqlx::query(LAYOUT);
    let row = query.bind(section_id.as_bytes().to_vec()).fetch_optional(connection).await;
    row.map_err(failed("reading a layout"))?.as_ref().map(maps::laid).transpose()
}

/// Reads the marks of a section.
pub(super) async fn read_marks(
    connection: &mut SqliteConnection,
    section_id: SectionId,
) -> Result<Option<Marks>, Fault> {
    let query = sqlx::query("SELECT marks FROM seat_marks WHERE section_id = ?");
    let row = query.bind(section_id.as_bytes().to_vec()).fetch_optional(connection).await;
    let row = row.map_err(failed("reading seats"))?;
    row.map(|row| maps::marks(row.bytes("marks")?)).transpose()
}

#[async_trait]
impl Seats for Sqlite {
    async fn layout(&self, section_id: SectionId) -> Result<Option<VersionedLayout>, Fault> {
        const DOING: &str = "reading a layout";
        const SQL: &str = "SELECT layout_version FROM sections WHERE section_id = ?";
        let mut connection = self.readers.acquire().await.map_err(failed(DOING))?;
        let query = sqlx::query(SQL).bind(section_id.as_bytes().to_vec());
        let row = query.fetch_optional(&mut *connection).await.map_err(failed(DOING))?;
        let Some(version) = row.map(|row| row.maybe_int("layout_version")).transpose()?.flatten()
        else {
            return Ok(None);
        };
        if let Some(layout) = self.maps.layout(section_id, version) {
            return Ok(Some((version, layout)));
        }
        let laid = read_layout(&mut connection, section_id).await?;
        if let Some(laid) = &laid {
            self.maps.keep_layout(section_id, laid.clone());
        }
        Ok(laid)
    }

    fn cached_layout(&self, section_id: SectionId, version: i64) -> Option<Arc<Layout>> {
        self.maps.layout(section_id, version)
    }

    async fn marks(&self, section_id: SectionId) -> Result<Option<Marks>, Fault> {
        let mut connection = self.readers.acquire().await.map_err(failed("reading seats"))?;
        read_marks(&mut connection, section_id).await
    }
}

/// Writes a layout and its marks, new or in place of others.
pub(super) fn put_layout(
    writing: &Writing<'_>,
    section_id: SectionId,
    layout: &Layout,
    marks: &Marks,
) -> Result<(), Fault> {
    const DOING: &str = "writing a layout";
    const SECTION: &str = "UPDATE sections
        SET layout_version = ?, price_minor = ?, price_max_minor = ?, currency = ?
        WHERE section_id = ?";
    const LAYOUT: &str = "INSERT OR REPLACE INTO layouts
        (section_id, version, seats, currency, focal_x, focal_y) VALUES (?, ?, ?, ?, ?, ?)";
    let (id, laid_at, stored) =
        (section_id.as_bytes(), marks.layout_version, StoredLayout::of(layout));
    let (lowest, highest) = (layout.lowest_price().minor, layout.highest_price().minor);
    let section = (laid_at, lowest, highest, &stored.currency, id);
    writing.run(DOING, SECTION, section)?;
    let (x, y) = (stored.focal.map(|at| at.x), stored.focal.map(|at| at.y));
    writing.run(DOING, LAYOUT, (id, laid_at, &stored.seats, &stored.currency, x, y))?;
    put_marks(writing, section_id, marks)
}

/// Writes what a batch changes of numbered seats.
pub(super) fn write_seats(writing: &Writing<'_>, changes: &Changes) -> Result<(), Fault> {
    const DOING: &str = "writing seats";
    const FREED: &str = "DELETE FROM seats_taken WHERE section_id = ? AND seat = ?";
    // The primary key judges I3 again: a seat that somebody has cannot be written.
    const TAKEN: &str = "INSERT INTO seats_taken (section_id, seat, booking_id) VALUES (?, ?, ?)";
    const MARKS: &str = "UPDATE seat_marks SET version = ?2, marks = ?3 WHERE section_id = ?1";
    const RESEATED: &str = "UPDATE bookings SET items = ?2, seats = ?3 WHERE booking_id = ?1";
    for (section_id, layout) in &changes.laid {
        let (_, marks) =
            changes.marks.iter().find(|(of, _)| of == section_id).expect("a layout has marks");
        put_layout(writing, *section_id, layout, marks)?;
    }
    let freed = writing.run_all(DOING, FREED, &changes.freed, |(section_id, seat)| {
        (section_id.as_bytes(), &**seat)
    })?;
    if freed != changes.freed.len() {
        return Err(contradiction(changes.freed[0].0, "a seat that was given back was nobody's"));
    }
    let taken = writing.run_all(DOING, TAKEN, &changes.taken, |taken| {
        let booking_id = taken.booking_id.as_ref().map(BookingId::as_bytes);
        (taken.section_id.as_bytes(), &*taken.seat, booking_id)
    });
    taken.map_err(|fault| match (fault, changes.taken.first()) {
        (Fault::Corrupt { .. }, Some(taken)) => {
            contradiction(taken.section_id, "a seat that was given away was somebody's")
        }
        (fault, _) => fault,
    })?;
    writing.run_all(DOING, MARKS, &changes.marks, |(section_id, marks)| {
        (section_id.as_bytes(), marks.version(), marks.to_bytes())
    })?;
    writing.run_all(DOING, RESEATED, &changes.reseated, |booking| {
        (booking.booking_id.as_bytes(), items_text(&booking.items), booking.seats())
    })?;
    Ok(())
}
