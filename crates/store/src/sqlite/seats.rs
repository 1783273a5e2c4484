//! Numbered seats: layouts, marks, and who has which seat.

use super::rows::{Binding, bind_id, read_rows, write_rows};
use super::{Sqlite, failed};
use crate::maps::{self, StoredLayout, brought_up_to_date};
use crate::rows::{self, Columns, items_text};
use crate::{Laid, Seats};
use async_trait::async_trait;
use engine::decide::SeatTaken;
use engine::seats::{Layout, Marks, SeatMap};
use engine::{Booking, Changes, Fault, Rows, SectionId};
use sqlx::SqliteConnection;
use std::collections::HashMap;
use std::sync::Arc;

impl Sqlite {
    /// Loads the seat maps of the loaded sections.
    pub(super) async fn load_maps(
        &self,
        connection: &mut SqliteConnection,
        rows: &mut Rows,
    ) -> Result<(), Fault> {
        // The bits are read only where they are not those that are kept already.
        const SQL: &str = "WITH wanted (section_id, known) AS ({})
            SELECT m.section_id, iif(m.version = wanted.known, NULL, m.marks) AS marks
            FROM wanted CROSS JOIN seat_marks m USING (section_id)";
        let sections = rows.sections.values();
        let mut kept: HashMap<_, _> = sections
            .filter_map(|(section, _)| Some((section.section_id, section.layout_version?)))
            .map(|(section_id, layout_version)| {
                let kept = self.maps.take(section_id);
                (section_id, kept.filter(|map| map.layout_version() == layout_version))
            })
            .collect();
        if kept.is_empty() {
            return Ok(());
        }
        let wanted: Vec<_> =
            kept.iter().map(|(id, map)| (*id, map.as_ref().map_or(-1, SeatMap::version))).collect();
        let bind = |query: Binding, (section_id, known): &(SectionId, i64)| {
            bind_id(query, section_id).bind(*known)
        };
        let found = read_rows(connection, SQL, 2, &wanted, bind).await;
        for row in found.map_err(failed("loading seats"))? {
            let section_id = rows::section_id(&row, "section_id")?;
            let marks = row.maybe_bytes("marks")?.map(maps::marks).transpose()?;
            let kept = kept.remove(&section_id).flatten();
            let layout = match &marks {
                Some(marks) if kept.is_none() => {
                    self.layout_at(connection, section_id, marks.layout_version).await?
                }
                _ => None,
            };
            let map = brought_up_to_date(kept, marks, layout);
            let broken =
                || Fault::Corrupt { what: format!("section {section_id} has no seat map") };
            rows.maps.insert(section_id, map.ok_or_else(broken)?);
        }
        // Without its map it would be sold like a section that counts its seats.
        match kept.keys().next() {
            None => Ok(()),
            Some(section_id) => {
                Err(Fault::Corrupt { what: format!("section {section_id} has no marks") })
            }
        }
    }

    async fn layout_at(
        &self,
        connection: &mut SqliteConnection,
        section_id: SectionId,
        version: i64,
    ) -> Result<Option<Arc<Layout>>, Fault> {
        if let Some(layout) = self.maps.layout(section_id, version) {
            return Ok(Some(layout));
        }
        let laid = read_layout(connection, section_id).await?;
        Ok(laid.filter(|(found, _)| *found == version).map(|(_, layout)| layout))
    }
}

/// Reads the layout of a section.
pub(super) async fn read_layout(
    connection: &mut SqliteConnection,
    section_id: SectionId,
) -> Result<Option<Laid>, Fault> {
    let query = sqlx::query("SELECT * FROM layouts WHERE section_id = ?");
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
    async fn layout(&self, section_id: SectionId) -> Result<Option<Laid>, Fault> {
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

    async fn marks(&self, section_id: SectionId) -> Result<Option<Marks>, Fault> {
        let mut connection = self.readers.acquire().await.map_err(failed("reading seats"))?;
        read_marks(&mut connection, section_id).await
    }
}

/// Writes a layout and its marks, new or in place of others.
pub(super) async fn put_layout(
    connection: &mut SqliteConnection,
    section_id: SectionId,
    layout: &Layout,
    marks: &Marks,
) -> Result<(), Fault> {
    const LAYOUT: &str = "INSERT OR REPLACE INTO layouts
        (section_id, version, seats, currency, focal_x, focal_y) VALUES (?, ?, ?, ?, ?, ?)";
    const MARKS: &str =
        "INSERT OR REPLACE INTO seat_marks (section_id, version, marks) VALUES (?, ?, ?)";
    const SECTION: &str = "UPDATE sections SET layout_version = ?, price_minor = ?, currency = ? WHERE section_id = ?";
    const DOING: &str = "writing a layout";
    let id = || section_id.as_bytes().to_vec();
    let stored = StoredLayout::of(layout);
    let queries = [
        sqlx::query(SECTION)
            .bind(marks.layout_version)
            .bind(layout.lowest_price().minor)
            .bind(stored.currency.clone())
            .bind(id()),
        sqlx::query(LAYOUT)
            .bind(id())
            .bind(marks.layout_version)
            .bind(stored.seats)
            .bind(stored.currency)
            .bind(stored.focal.map(|at| i64::from(at.x)))
            .bind(stored.focal.map(|at| i64::from(at.y))),
        sqlx::query(MARKS).bind(id()).bind(marks.version()).bind(marks.to_bytes()),
    ];
    for query in queries {
        query.execute(&mut *connection).await.map_err(failed(DOING))?;
    }
    Ok(())
}

/// Writes what a batch changes of numbered seats.
pub(super) async fn write_seats(
    connection: &mut SqliteConnection,
    changes: &Changes,
) -> Result<(), Fault> {
    const DOING: &str = "writing seats";
    const FREED: &str = "DELETE FROM seats_taken WHERE (section_id, seat) IN ({})";
    const TAKEN: &str = "INSERT OR FAIL INTO seats_taken (section_id, seat, booking_id) {}";
    const MARKS: &str = "WITH new (section_id, version, marks) AS ({})
        UPDATE OR FAIL seat_marks SET version = new.version, marks = new.marks
        FROM new WHERE seat_marks.section_id = new.section_id";
    const RESEATED: &str = "WITH new (booking_id, items, seats) AS ({})
        UPDATE OR FAIL bookings SET items = new.items, seats = new.seats
        FROM new WHERE bookings.booking_id = new.booking_id";
    for (section_id, layout) in &changes.laid {
        let (_, marks) =
            changes.marks.iter().find(|(of, _)| of == section_id).expect("a layout has marks");
        put_layout(connection, *section_id, layout, marks).await?;
    }
    let freed = write_rows(connection, FREED, 2, &changes.freed, |query, (section_id, seat)| {
        bind_id(query, section_id).bind(seat.clone())
    });
    if freed.await.map_err(failed(DOING))? != changes.freed.len() as u64 {
        return Err(Fault::Corrupt { what: "I3: a freed seat was nobody's".to_owned() });
    }
    // The primary key judges I3 again: a seat that somebody has cannot be written.
    let bind = |query: Binding, taken: &SeatTaken| {
        let booking_id = taken.booking_id.map(|id| id.as_bytes().to_vec());
        bind_id(query, &taken.section_id).bind(taken.seat.clone()).bind(booking_id)
    };
    write_rows(connection, TAKEN, 3, &changes.taken, bind).await.map_err(failed(DOING))?;
    let bind = |query: Binding, (section_id, marks): &(SectionId, Marks)| {
        bind_id(query, section_id).bind(marks.version()).bind(marks.to_bytes())
    };
    write_rows(connection, MARKS, 3, &changes.marks, bind).await.map_err(failed(DOING))?;
    let bind = |query: Binding, booking: &Booking| {
        let items = items_text(&booking.items);
        bind_id(query, &booking.booking_id).bind(items).bind(i64::from(booking.seats()))
    };
    write_rows(connection, RESEATED, 3, &changes.reseated, bind).await.map_err(failed(DOING))?;
    Ok(())
}
