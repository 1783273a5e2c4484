//! Numbered seats: layouts, marks, and who has which seat.

use super::interrupt::Interrupt;
use super::rows::{uuid, uuids};
use super::{Postgres, on};
use crate::maps::{
    self, DISAGREE, Stamped, Stamps, StoredLayout, brought_up_to_date, contradiction,
};
use crate::rows::{self, Columns, items_text};
use crate::{Seats, VersionedLayout};
use async_trait::async_trait;
use engine::seats::{Layout, Marks, SeatMap};
use engine::{Changes, Fault, LoadedRows, SectionId};
use sqlx::postgres::PgConnection;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// The seat maps of a batch.
pub(super) struct Loaded {
    /// The stamps of their marks.
    pub stamps: Stamps,
    /// Those whose marks were rebuilt.
    pub rebuilt: Vec<SectionId>,
}

impl Postgres {
    /// Loads the seat maps of the loaded sections, which are locked.
    ///
    /// A map that contradicts the section's counters or a booking of the batch is rebuilt, with
    /// `suspect` all of them; [`Fault::Contradiction`] where that does not help.
    pub(super) async fn load_maps(
        &self,
        session: &mut PgConnection,
        rows: &mut LoadedRows,
        suspect: bool,
    ) -> Result<Loaded, Interrupt> {
        // The bits are read only where they are not those that are kept already: a version occurs
        // again in a database that was set back, with other bits, and never with the same stamp.
        const SQL: &str = "SELECT m.section_id, m.stamp,
                CASE WHEN m.version = wanted.known AND m.stamp = wanted.stamp THEN NULL
                    ELSE m.marks END AS marks
            FROM UNNEST($1::uuid[], $2::bigint[], $3::bigint[])
                AS wanted (section_id, known, stamp)
            JOIN seat_marks m USING (section_id)";
        let sections = rows.sections.values();
        let numbered: BTreeMap<SectionId, i64> = sections
            .filter_map(|(section, _)| Some((section.section_id, section.layout_version?)))
            .collect();
        let mut loaded = Loaded { stamps: Stamps::new(), rebuilt: Vec::new() };
        if numbered.is_empty() {
            return Ok(loaded);
        }
        let of_layout = |(section_id, layout_version): (&SectionId, &i64)| {
            let kept = self.maps.take(*section_id);
            (*section_id, kept.filter(|kept| kept.map.layout_version() == *layout_version))
        };
        let mut kept: HashMap<SectionId, Option<Stamped>> =
            numbered.iter().map(of_layout).collect();
        let known = kept.values().map(|kept| kept.as_ref().map_or(-1, |kept| kept.map.version()));
        let stamps = kept.values().map(|kept| kept.as_ref().map_or(0, |kept| kept.stamp));
        let query = sqlx::query(SQL)
            .bind(uuids(kept.keys()))
            .bind(known.collect::<Vec<_>>())
            .bind(stamps.collect::<Vec<_>>());
        for row in query.fetch_all(&mut *session).await? {
            let section_id = rows::section_id(&row, "section_id")?;
            loaded.stamps.insert(section_id, row.int("stamp")?);
            let marks = row.maybe_bytes("marks")?.map(maps::readable_marks).transpose()?;
            let kept = kept.remove(&section_id).flatten().map(|kept| kept.map);
            let layout = match &marks {
                Some(Some(marks)) if kept.is_none() => {
                    self.layout_at(session, section_id, marks.layout_version).await?
                }
                _ => None,
            };
            // Marks that are none are those of nobody, and rebuilt.
            let map = match marks {
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
            if rows.maps.get(section_id) != Some(&map) {
                loaded.stamps.insert(*section_id, put_marks(session, *section_id, &map).await?);
                loaded.rebuilt.push(*section_id);
                rows.maps.insert(*section_id, map);
            }
        }
        match rows.contradicted().pop_first() {
            Some(section_id) => Err(contradiction(section_id, DISAGREE).into()),
            None => Ok(loaded),
        }
    }

    /// The map of a section as its taken seats and the bookings that have them say. Rows of seats whose
    /// booking has ended are removed: nobody has them.
    async fn rebuild_map(
        &self,
        session: &mut PgConnection,
        section_id: SectionId,
        versions: (i64, i64),
    ) -> Result<SeatMap, Interrupt> {
        const STALE: &str = "DELETE FROM seats_taken t
            WHERE t.section_id = $1 AND t.booking_id IS NOT NULL AND NOT EXISTS (
                SELECT 1 FROM bookings b WHERE b.booking_id = t.booking_id
                    AND b.status IN ('HOLD', 'CONFIRMED'))";
        const TAKEN: &str = "SELECT t.seat, b.status FROM seats_taken t
            LEFT JOIN bookings b USING (booking_id) WHERE t.section_id = $1";
        let Some(layout) = self.layout_at(session, section_id, versions.0).await? else {
            return Err(contradiction(section_id, "its layout is missing").into());
        };
        sqlx::query(STALE).bind(uuid(section_id)).execute(&mut *session).await?;
        let found = sqlx::query(TAKEN).bind(uuid(section_id)).fetch_all(session).await?;
        let taken = found.iter().map(rows::seat_state).collect::<Result<Vec<_>, Fault>>()?;
        let map = SeatMap::of(layout, versions, taken);
        Ok(map.ok_or_else(|| contradiction(section_id, "a taken seat is not in its layout"))?)
    }

    async fn layout_at(
        &self,
        session: &mut PgConnection,
        section_id: SectionId,
        version: i64,
    ) -> Result<Option<Arc<Layout>>, Interrupt> {
        if let Some(layout) = self.maps.layout(section_id, version) {
            return Ok(Some(layout));
        }
        let laid = read_layout(session, section_id).await?;
        Ok(laid.filter(|(found, _)| *found == version).map(|(_, layout)| layout))
    }
}

/// Reads the layout of a section.
pub(super) async fn read_layout(
    session: &mut PgConnection,
    section_id: SectionId,
) -> Result<Option<VersionedLayout>, Interrupt> {
    let query = sqlx::query("SELECT * FROM layouts WHERE section_id = $1").bind(uuid(section_id));
    let row = query.fetch_optional(session).await?;
    Ok(row.as_ref().map(maps::laid).transpose()?)
}

/// Reads the marks of a section.
pub(super) async fn read_marks(
    session: &mut PgConnection,
    section_id: SectionId,
) -> Result<Option<Marks>, Interrupt> {
    let query = sqlx::query("SELECT marks FROM seat_marks WHERE section_id = $1");
    let row = query.bind(uuid(section_id)).fetch_optional(session).await?;
    Ok(row.map(|row| maps::marks(row.bytes("marks")?)).transpose()?)
}

#[async_trait]
impl Seats for Postgres {
    async fn layout(&self, section_id: SectionId) -> Result<Option<VersionedLayout>, Fault> {
        const SQL: &str = "SELECT layout_version FROM sections WHERE section_id = $1";
        let read = on!(session => async {
            let query = sqlx::query(SQL).bind(uuid(section_id));
            let row = query.fetch_optional(&mut *session).await?;
            let version = row.map(|row| row.maybe_int("layout_version")).transpose()?.flatten();
            let Some(version) = version else { return Ok(None) };
            if let Some(layout) = self.maps.layout(section_id, version) {
                return Ok(Some((version, layout)));
            }
            read_layout(&mut session, section_id).await
        });
        let laid = self.read("reading a layout", read).await?;
        if let Some(laid) = &laid {
            self.maps.keep_layout(section_id, laid.clone());
        }
        Ok(laid)
    }

    fn cached_layout(&self, section_id: SectionId, version: i64) -> Option<Arc<Layout>> {
        self.maps.layout(section_id, version)
    }

    async fn marks(&self, section_id: SectionId) -> Result<Option<Marks>, Fault> {
        self.read("reading seats", on!(session => read_marks(&mut session, section_id))).await
    }
}

/// Writes the marks of a map that was rebuilt; returns their stamp.
async fn put_marks(
    session: &mut PgConnection,
    section_id: SectionId,
    map: &SeatMap,
) -> Result<i64, Interrupt> {
    const SQL: &str = "INSERT INTO seat_marks (section_id, version, marks, stamp)
        VALUES ($1, $2, $3, $4) ON CONFLICT (section_id) DO UPDATE SET
            version = excluded.version, marks = excluded.marks, stamp = excluded.stamp";
    let stamp = maps::draw_stamp();
    let query = sqlx::query(SQL)
        .bind(uuid(section_id))
        .bind(map.version())
        .bind(map.marks().to_bytes())
        .bind(stamp);
    query.execute(session).await?;
    Ok(stamp)
}

/// Writes a layout and its marks, new or in place of others.
pub(super) async fn put_layout(
    session: &mut PgConnection,
    section_id: SectionId,
    layout: &Layout,
    marks: &Marks,
    stamp: i64,
) -> Result<(), Interrupt> {
    const LAYOUT: &str =
        "INSERT INTO layouts (section_id, version, seats, currency, focal_x, focal_y)
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (section_id) DO UPDATE SET
            version = excluded.version, seats = excluded.seats, currency = excluded.currency,
            focal_x = excluded.focal_x, focal_y = excluded.focal_y";
    const MARKS: &str = "INSERT INTO seat_marks (section_id, version, marks, stamp)
        VALUES ($1, $2, $3, $4) ON CONFLICT (section_id) DO UPDATE SET
            version = excluded.version, marks = excluded.marks, stamp = excluded.stamp";
    const SECTION: &str = "UPDATE sections SET layout_version = $2, price_minor = $3,
        price_max_minor = $4, currency = $5 WHERE section_id = $1";
    let stored = StoredLayout::of(layout);
    let queries = [
        sqlx::query(SECTION)
            .bind(uuid(section_id))
            .bind(marks.layout_version)
            .bind(layout.lowest_price().minor)
            .bind(layout.highest_price().minor)
            .bind(stored.currency.clone()),
        sqlx::query(LAYOUT)
            .bind(uuid(section_id))
            .bind(marks.layout_version)
            .bind(stored.seats)
            .bind(stored.currency)
            .bind(stored.focal.map(|at| i64::from(at.x)))
            .bind(stored.focal.map(|at| i64::from(at.y))),
        sqlx::query(MARKS)
            .bind(uuid(section_id))
            .bind(marks.version())
            .bind(marks.to_bytes())
            .bind(stamp),
    ];
    for query in queries {
        query.execute(&mut *session).await?;
    }
    Ok(())
}

/// Writes what has to be written before the rows of a batch: layouts, seats that are free again, and
/// the seats of holds that have others now, whose entries in the index of expiry go.
pub(super) async fn write_seats(
    session: &mut PgConnection,
    changes: &Changes,
    stamp: i64,
) -> Result<(), Interrupt> {
    // A statement of its own: the seats it frees may be taken again by the next one.
    const FREED: &str = "DELETE FROM seats_taken t USING UNNEST($1::uuid[], $2::text[])
        AS n (section_id, seat) WHERE t.section_id = n.section_id AND t.seat = n.seat";
    // A statement of its own, too: of the parts of one nobody knows which comes first, and such a hold
    // comes back into the index of expiry under the same key.
    const RESEATED: &str = "WITH unheld AS (
            DELETE FROM holds h USING UNNEST($5::uuid[], $6::bigint[], $7::uuid[])
            AS n (section_id, expires_at, booking_id)
            WHERE h.section_id = n.section_id AND h.expires_at = n.expires_at
                AND h.booking_id = n.booking_id
        )
        UPDATE bookings b SET items = n.items, seats = n.seats, sections = n.sections::uuid[]
        FROM UNNEST($1::uuid[], $2::text[], $3::bigint[], $4::text[])
        AS n (booking_id, items, seats, sections) WHERE b.booking_id = n.booking_id";
    for (section_id, layout) in &changes.laid {
        let (_, marks) =
            changes.marks.iter().find(|(of, _)| of == section_id).expect("a layout has marks");
        put_layout(session, *section_id, layout, marks, stamp).await?;
    }
    if !changes.freed.is_empty() {
        let query = sqlx::query(FREED)
            .bind(uuids(changes.freed.iter().map(|(section_id, _)| section_id)))
            .bind(changes.freed.iter().map(|(_, seat)| seat.to_string()).collect::<Vec<_>>());
        if query.execute(&mut *session).await?.rows_affected() != changes.freed.len() as u64 {
            return Err(Interrupt::SeatsDisagree);
        }
    }
    if !changes.reseated.is_empty() {
        let reseated = || changes.reseated.iter();
        let ids: HashSet<_> = reseated().map(|booking| booking.booking_id).collect();
        let unheld = || changes.unheld.iter().filter(|held| ids.contains(&held.booking_id));
        let query = sqlx::query(RESEATED)
            .bind(uuids(reseated().map(|booking| booking.booking_id)))
            .bind(reseated().map(|booking| items_text(&booking.items)).collect::<Vec<_>>())
            .bind(reseated().map(|booking| i64::from(booking.seats())).collect::<Vec<_>>())
            .bind(reseated().map(super::write::sections_text).collect::<Vec<_>>())
            .bind(uuids(unheld().map(|held| held.section_id)))
            .bind(unheld().map(|held| held.expires_at.unix_ms()).collect::<Vec<_>>())
            .bind(uuids(unheld().map(|held| held.booking_id)));
        query.execute(session).await?;
    }
    Ok(())
}
