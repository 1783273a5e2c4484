//! Somebody else who writes to the file beside the server: a person at a prompt.
//!
//! The server keeps rows and live holds in memory. What the person changes has to be seen by the next batch.

use super::Machine;
use super::swarm::Cap;
use engine::log::{Deltas, LogKind};
use engine::{Booking, EventStatus, Fault, LogEntry, SectionId, Timestamp};
use store::simulated::Prompt;
use suite::pure::Tables;

/// The most seats of a buyer, where there is a cap.
pub(super) const CAP: u32 = 4;
/// How much more time a hold is given.
const MORE_MS: i64 = 1_500;

impl Machine {
    /// Somebody else opens the file and changes something.
    pub(super) fn other_writes(&mut self) -> Result<(), String> {
        let kinds = if self.swarm.cap == Cap::Later { 6 } else { 5 };
        let kind = self.choices.pick("change", kinds);
        // The versions of numbered seats are those of their section, and a layout has its prices.
        let numbered = self.hall.as_ref().map(|(section_id, _)| *section_id);
        let others = self.sections.iter().filter(|id| Some(**id) != numbered).copied();
        let others: Vec<SectionId> = others.collect();
        if others.is_empty() {
            return Ok(());
        }
        let section_id = others[self.choices.pick("section", others.len())];
        let now = self.shared.now();
        let mut inner = self.shared.lock();
        let tables = &mut inner.oracle.tables;
        let mut done = None;
        let written = Prompt::open(&self.file.path(), |writing| {
            done = match kind {
                0 => Some(price(writing, tables, section_id)?),
                1 => Some(more_seats(writing, tables, section_id, now)?),
                2 | 3 => more_time(writing, tables, &others, now)?,
                4 => Some(status(writing, tables)?),
                _ => Some(cap(writing, tables)?),
            };
            Ok(())
        });
        drop(inner);
        written.map_err(|error| format!("somebody else could not write: {error}"))?;
        if let Some(done) = done {
            self.tell(|| format!("somebody else writes to the file: {done}"));
            self.note("embedded: another writer");
            self.note(&format!("embedded: another writer: {done}"));
            self.synced = self.file.log_bytes();
        }
        Ok(())
    }
}

/// Stops the sale, or goes on with it.
fn status(writing: &Prompt<'_>, tables: &mut Tables) -> Result<&'static str, Fault> {
    const SQL: &str = "UPDATE events SET status = ?";
    let event = tables.events.values_mut().next().expect("there is an event");
    event.terms.status = match event.terms.status {
        EventStatus::OnSale => EventStatus::Closed,
        EventStatus::Closed => EventStatus::OnSale,
        other => other,
    };
    writing.run(SQL, [event.terms.status.as_str().to_owned().into()])?;
    Ok("the status of the event")
}

/// Makes seats of a section dearer.
fn price(
    writing: &Prompt<'_>,
    tables: &mut Tables,
    section_id: SectionId,
) -> Result<&'static str, Fault> {
    const SQL: &str = "UPDATE sections SET price_minor = ?2 WHERE section_id = ?1";
    let (section, _) = tables.sections.get_mut(&section_id).expect("of this sale");
    section.price.minor += 100;
    let id = section_id.as_bytes().to_vec();
    writing.run(SQL, [id.into(), section.price.minor.into()])?;
    Ok("the price of a section")
}

/// Limits the seats of a buyer, or no longer does.
fn cap(writing: &Prompt<'_>, tables: &mut Tables) -> Result<&'static str, Fault> {
    const SQL: &str = "UPDATE events SET max_seats_per_user = ?";
    let event = tables.events.values_mut().next().expect("there is an event");
    let terms = &mut event.terms;
    terms.max_seats_per_user = terms.max_seats_per_user.is_none().then_some(CAP);
    writing.run(SQL, [terms.max_seats_per_user.map(i64::from).into()])?;
    Ok("the cap of a buyer")
}

/// Adds a seat to a section, with its row of the log.
fn more_seats(
    writing: &Prompt<'_>,
    tables: &mut Tables,
    section_id: SectionId,
    now: Timestamp,
) -> Result<&'static str, Fault> {
    let (_, inventory) = tables.sections.get_mut(&section_id).expect("of this sale");
    inventory.capacity += 1;
    inventory.version += 1;
    let deltas = Deltas { capacity: 1, ..Deltas::default() };
    let entry = LogEntry {
        at: now,
        version: inventory.version,
        ..LogEntry::of_section(section_id, LogKind::Resized, deltas)
    };
    append(writing, tables, entry)?;
    count(writing, tables, section_id)?;
    Ok("the capacity of a section")
}

/// Gives the hold that ends first more time, as an extension does. Nothing, where there is none with seats of
/// one of these sections alone.
fn more_time(
    writing: &Prompt<'_>,
    tables: &mut Tables,
    sections: &[SectionId],
    now: Timestamp,
) -> Result<Option<&'static str>, Fault> {
    const BOOKING: &str =
        "UPDATE bookings SET expires_at = ?2, updated_at = ?3, version = ?4 WHERE booking_id = ?1";
    const HOLD: &str = "UPDATE holds SET expires_at = ?2 WHERE booking_id = ?1";
    let fits = |booking: &Booking| {
        booking.items.len() == 1
            && booking.expires_at > now
            && booking.expires_at.plus_ms(MORE_MS) <= booking.max_expires_at
    };
    let of_sections = tables.holds.iter().filter(|held| sections.contains(&held.section_id));
    let first = of_sections.filter(|held| fits(&tables.bookings[&held.booking_id]));
    let Some(held) = first.min_by_key(|held| held.expires_at).copied() else { return Ok(None) };
    let expires_at = held.expires_at.plus_ms(MORE_MS);
    tables.holds.remove(&held);
    tables.holds.insert(engine::decide::ExpiryEntry { expires_at, ..held });
    let booking = tables.bookings.get_mut(&held.booking_id).expect("it has a hold");
    (booking.expires_at, booking.updated_at) = (expires_at, now);
    booking.version += 1;
    let (id, version) = (held.booking_id.as_bytes().to_vec(), booking.version);
    let ends: i64 = expires_at.unix_ms();
    writing.run(BOOKING, [id.clone().into(), ends.into(), now.unix_ms().into(), version.into()])?;
    writing.run(HOLD, [id.into(), ends.into()])?;
    let (_, inventory) = tables.sections.get_mut(&held.section_id).expect("of this sale");
    inventory.version += 1;
    let entry = LogEntry {
        at: now,
        booking_id: Some(held.booking_id),
        booking_version: Some(version),
        version: inventory.version,
        expires_at: Some(expires_at),
        ..LogEntry::of_section(held.section_id, LogKind::Extended, Deltas::default())
    };
    append(writing, tables, entry)?;
    count(writing, tables, held.section_id)?;
    Ok(Some("the end of a hold"))
}

/// Writes a row of the log.
fn append(writing: &Prompt<'_>, tables: &mut Tables, entry: LogEntry) -> Result<(), Fault> {
    const SQL: &str = "INSERT INTO booking_log
        (at, kind, section_id, booking_id, booking_version, capacity, held, sold, blocked, version,
         expires_at) VALUES (?, ?, ?, ?, ?, ?, 0, 0, 0, ?, ?)";
    let row = [
        entry.at.unix_ms().into(),
        entry.kind.as_str().to_owned().into(),
        entry.subject.section_id().map(|id| id.as_bytes().to_vec()).into(),
        entry.booking_id.map(|id| id.as_bytes().to_vec()).into(),
        entry.booking_version.into(),
        entry.deltas.capacity.into(),
        entry.version.into(),
        entry.expires_at.map(Timestamp::unix_ms).into(),
    ];
    writing.run(SQL, row)?;
    tables.log.push(entry);
    Ok(())
}

/// Writes the counters of a section, with its next expiry.
fn count(writing: &Prompt<'_>, tables: &mut Tables, section_id: SectionId) -> Result<(), Fault> {
    const SQL: &str = "UPDATE inventory SET capacity = ?2, version = ?3, next_expiry = ?4
        WHERE section_id = ?1";
    let next_expiry = tables.holds_of(section_id).next().map(|held| held.expires_at);
    let (_, inventory) = tables.sections.get_mut(&section_id).expect("of this sale");
    inventory.next_expiry = next_expiry;
    let next_expiry = next_expiry.map(Timestamp::unix_ms);
    let id = section_id.as_bytes().to_vec();
    let row = [id.into(), inventory.capacity.into(), inventory.version.into(), next_expiry.into()];
    writing.run(SQL, row)
}
