//! Numbered seats: layouts, marks, and who has which seat.

use super::interrupt::Interrupt;
use super::rows::{uuid, uuids};
use super::{Postgres, on};
use crate::batch::StoredMarks;
use crate::maps::{self, StoredLayout};
use crate::rows::{self, Columns, items_text};
use crate::{Seats, VersionedLayout};
use async_trait::async_trait;
use engine::seats::{Layout, Marks, SeatMap, SeatName, SeatState};
use engine::{Changes, Fault, SectionId};
use sqlx::postgres::{PgConnection, PgRow};
use std::collections::HashSet;
use std::sync::Arc;

/// The marks of sections, whose bits are read only where they are not those that are kept already.
pub(super) async fn stored_marks(
    session: &mut PgConnection,
    kept: &[(SectionId, i64, i64)],
) -> Result<Vec<StoredMarks>, Interrupt> {
    const SQL: &str = "SELECT m.section_id, m.stamp,
            CASE WHEN m.version = wanted.known AND m.stamp = wanted.stamp THEN NULL
                ELSE m.marks END AS marks
        FROM UNNEST($1::uuid[], $2::bigint[], $3::bigint[])
            AS wanted (section_id, known, stamp)
        JOIN seat_marks m USING (section_id)";
    let query = sqlx::query(SQL)
        .bind(uuids(kept.iter().map(|(section_id, _, _)| section_id)))
        .bind(kept.iter().map(|(_, version, _)| *version).collect::<Vec<_>>())
        .bind(kept.iter().map(|(_, _, stamp)| *stamp).collect::<Vec<_>>());
    let stored = |row: &PgRow| -> Result<_, Fault> {
        Ok(StoredMarks {
            section_id: rows::section_id(row, "section_id")?,
            stamp: row.int("stamp")?,
            marks: row.maybe_bytes("marks")?.map(maps::readable_marks).transpose()?,
        })
    };
    Ok(query.fetch_all(session).await?.iter().map(stored).collect::<Result<_, _>>()?)
}

/// The taken seats of a section. Rows of seats whose booking has ended are removed: nobody has them.
pub(super) async fn seats_taken(
    session: &mut PgConnection,
    section_id: SectionId,
) -> Result<Vec<(SeatName, SeatState)>, Interrupt> {
    const STALE: &str = "DELETE FROM seats_taken t
        WHERE t.section_id = $1 AND t.booking_id IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM bookings b WHERE b.booking_id = t.booking_id
                AND b.status IN ('HOLD', 'CONFIRMED'))";
    const TAKEN: &str = "SELECT t.seat, b.status FROM seats_taken t
        LEFT JOIN bookings b USING (booking_id) WHERE t.section_id = $1";
    sqlx::query(STALE).bind(uuid(section_id)).execute(&mut *session).await?;
    let found = sqlx::query(TAKEN).bind(uuid(section_id)).fetch_all(session).await?;
    Ok(found.iter().map(rows::seat_state).collect::<Result<_, Fault>>()?)
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
            if let Some(layout) = self.committer.cached_layout(section_id, version) {
                return Ok(Some((version, layout)));
            }
            read_layout(&mut session, section_id).await
        });
        let laid = self.read("reading a layout", read).await?;
        if let Some(laid) = &laid {
            self.committer.keep_layout(section_id, laid.clone());
        }
        Ok(laid)
    }

    fn cached_layout(&self, section_id: SectionId, version: i64) -> Option<Arc<Layout>> {
        self.committer.cached_layout(section_id, version)
    }

    async fn marks(&self, section_id: SectionId) -> Result<Option<Marks>, Fault> {
        self.read("reading seats", on!(session => read_marks(&mut session, section_id))).await
    }
}

/// Writes the marks of a map that was rebuilt.
pub(super) async fn put_marks(
    session: &mut PgConnection,
    section_id: SectionId,
    map: &SeatMap,
    stamp: i64,
) -> Result<(), Interrupt> {
    const SQL: &str = "INSERT INTO seat_marks (section_id, version, marks, stamp)
        VALUES ($1, $2, $3, $4) ON CONFLICT (section_id) DO UPDATE SET
            version = excluded.version, marks = excluded.marks, stamp = excluded.stamp";
    let query = sqlx::query(SQL)
        .bind(uuid(section_id))
        .bind(map.version())
        .bind(map.marks().to_bytes())
        .bind(stamp);
    query.execute(session).await?;
    Ok(())
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
