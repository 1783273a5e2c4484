//! The audit's reading: one loop for every store.
//!
//! Everything is read inside one transaction that sees one moment, slice by slice, and each slice in
//! the order that [`Audit`] asks for.

use crate::rows::{self, Columns, log_entries, seat_taken};
use crate::slices::Slice;
use async_trait::async_trait;
use engine::audit::{Audit, Report};
use engine::seats::{Layout, Marks};
use engine::{Fault, Inventory, SectionId};
use futures_util::TryStreamExt as _;
use futures_util::stream::BoxStream;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What an audit reads by slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Rows of the log whose section is in the slice, in the order of their numbers. Within a section
    /// that is the order of its versions, since numbers are given under its lock.
    Log,
    /// Bookings.
    Bookings,
    /// Rows of seats that somebody has, or that are blocked, by their section.
    SeatsTaken,
}

/// A transaction that sees one moment of a store.
#[async_trait]
pub(crate) trait Reads: Send {
    type Row: Columns + Send;
    type Error: From<Fault> + Send;

    /// All rows of a statement without arguments that has few.
    async fn all(&mut self, sql: &'static str) -> Result<Vec<Self::Row>, Self::Error>;

    /// The rows of one part of a slice, one by one.
    fn rows(&mut self, part: Part, slice: &Slice) -> BoxStream<'_, Result<Self::Row, Self::Error>>;

    /// The layout of a section with numbered seats.
    async fn layout(&mut self, section_id: SectionId) -> Result<Option<Arc<Layout>>, Self::Error>;

    /// The marks of its seats. Damaged ones are as good as none.
    async fn marks(&mut self, section_id: SectionId) -> Result<Option<Marks>, Self::Error>;
}

/// The counters of all sections.
pub(crate) async fn inventories<R: Reads>(reads: &mut R) -> Result<Vec<Inventory>, R::Error> {
    let found = reads.all("SELECT * FROM inventory").await?;
    Ok(found.iter().map(rows::inventory).collect::<Result<_, _>>()?)
}

/// Checks everything that is stored, in the slices that `cut` makes for this number of bookings.
pub(crate) async fn audit<R: Reads>(
    reads: &mut R,
    cut: impl Fn(u64) -> Vec<Slice> + Send,
) -> Result<Report, R::Error> {
    const BOOKINGS: &str = "SELECT count(*) AS bookings FROM bookings";
    const NUMBERED: &str = "SELECT section_id FROM sections WHERE layout_version IS NOT NULL";
    let mut count = 0;
    for row in &reads.all(BOOKINGS).await? {
        count += row.int("bookings")?.unsigned_abs();
    }
    let inventories = inventories(reads).await?;
    let numbered = reads.all(NUMBERED).await?;
    let numbered = numbered.iter().map(|row| rows::section_id(row, "section_id"));
    let numbered = numbered.collect::<Result<HashSet<_>, _>>()?;
    let mut report = Report::default();
    for slice in cut(count) {
        report.add(audit_slice(reads, &slice, &inventories, &numbered).await?);
    }
    Ok(report)
}

/// Checks what is stored in `slice`.
async fn audit_slice<R: Reads>(
    reads: &mut R,
    slice: &Slice,
    inventories: &[Inventory],
    numbered: &HashSet<SectionId>,
) -> Result<Report, R::Error> {
    let here = || inventories.iter().filter(|of| slice.contains(of.section_id));
    let events: HashMap<_, _> = here().map(|of| (of.section_id, of.event_id)).collect();
    let mut audit = Audit::default();
    {
        let mut log = reads.rows(Part::Log, slice);
        while let Some(row) = log.try_next().await? {
            for entry in log_entries(&row)? {
                let section_id = entry.subject.section_id();
                audit.log_entry(&entry, section_id.and_then(|id| events.get(&id)).copied());
            }
        }
    }
    for inventory in here() {
        audit.inventory(inventory);
    }
    {
        let mut bookings = reads.rows(Part::Bookings, slice);
        while let Some(row) = bookings.try_next().await? {
            audit.booking(&rows::booking(&row)?);
        }
    }
    for inventory in here().filter(|of| numbered.contains(&of.section_id)) {
        let section_id = inventory.section_id;
        let layout = reads.layout(section_id).await?;
        match (layout, reads.marks(section_id).await?) {
            (Some(layout), Some(marks)) => audit.marks(inventory, &layout, &marks),
            // The audit says of which section.
            _ => audit.no_marks(section_id),
        }
    }
    let mut taken = reads.rows(Part::SeatsTaken, slice);
    while let Some(row) = taken.try_next().await? {
        let (section_id, seat, booking_id) = seat_taken(&row)?;
        audit.seat_taken(section_id, &seat, booking_id);
    }
    Ok(audit.finish())
}
