//! The audit: folds the log and compares it with everything else that is stored.
//!
//! Feed it the whole log in order, then the inventories, then the bookings, all of one moment, and
//! [`Audit::finish`] reports which of I1 to I5 do not hold, and where. It keeps a line for each
//! booking: where there are many, feed several with some of the events each, and [`Report::add`]
//! them up. It shares no code with [`decide`](crate::decide) but the arithmetic of [`Deltas`], so a
//! wrong decision cannot hide itself.

mod report;

use crate::booking::{Booking, BookingStatus};
use crate::ids::{BookingId, EventId, SectionId};
use crate::inventory::Inventory;
use crate::log::{LogEntry, LogKind};
use crate::seats::{Layout, Marks, SeatName, SeatState};
use crate::time::Timestamp;
use std::collections::{HashMap, HashSet};

pub use report::{Report, VIOLATIONS_TOLD_MAX, Violation};

/// What the log says of a booking.
struct Trace {
    status: BookingStatus,
    expires_at: Timestamp,
    /// Its version after its last step.
    version: i64,
    /// Rows of its last step, one for each of its sections.
    rows: u32,
    last_kind: LogKind,
    last_at: Timestamp,
}

/// An audit under way.
#[derive(Default)]
pub struct Audit {
    report: Report,
    folded: HashMap<SectionId, Inventory>,
    traces: HashMap<BookingId, Trace>,
    live: HashMap<SectionId, (i64, i64)>,
    seats: HashMap<(SectionId, SeatName), (BookingId, BookingStatus)>,
    numbered: HashMap<SectionId, Numbered>,
}

/// What is known of a section with numbered seats.
#[derive(Default)]
struct Numbered {
    /// Seats in live bookings.
    live: u32,
    /// Seats that its marks say are blocked.
    blocked: HashSet<SeatName>,
    /// Rows of seats that somebody has, blocked ones included.
    rows: u32,
}

impl Audit {
    /// Takes the next row of the log (I1 after every row, I2 and I5 along each booking).
    ///
    /// `event_id` is the event of the row's section; none when no inventory is stored for it.
    pub fn log_entry(&mut self, entry: &LogEntry, event_id: Option<EventId>) {
        self.report.log_rows += 1;
        let Some(section_id) = entry.subject.section_id() else { return };
        let Some(event_id) = event_id else {
            let what = format!("section {section_id} is in the log but has no inventory");
            self.tell("I4", what);
            return;
        };
        let empty = || Inventory::empty(section_id, event_id);
        let folded = self.folded.entry(section_id).or_insert_with(empty);
        folded.add(entry.deltas);
        let (sound, version, logged) = (folded.within_capacity(), folded.version, entry.version);
        if !sound {
            self.tell(
                "I1",
                format!("section {section_id} is out of bounds after version {logged}"),
            );
        }
        if version != logged {
            let what = format!("section {section_id}: log row {version} has version {logged}");
            self.tell("I4", what);
        }
        if let Some(booking_id) = entry.booking_id {
            self.step(booking_id, entry);
        }
    }

    fn step(&mut self, booking_id: BookingId, entry: &LogEntry) {
        let kind = entry.kind.as_str();
        let Some(next) = entry.kind.booking_status() else {
            self.tell(
                "I2",
                format!("booking {booking_id} has a log row of kind {kind}, which no booking has"),
            );
            return;
        };
        let Some(trace) = self.traces.get_mut(&booking_id) else {
            let trace = Trace {
                status: next,
                expires_at: entry.expires_at.unwrap_or(entry.at),
                version: entry.booking_version.unwrap_or_default(),
                rows: 1,
                last_kind: entry.kind,
                last_at: entry.at,
            };
            self.traces.insert(booking_id, trace);
            if entry.kind != LogKind::Held || entry.booking_version != Some(1) {
                self.tell("I2", format!("the log of booking {booking_id} starts with {kind}"));
            }
            return;
        };
        let Some(version) = entry.booking_version else {
            // A further section of the step that was begun before.
            trace.rows += 1;
            if (trace.last_kind, trace.last_at) != (entry.kind, entry.at) {
                self.tell(
                    "I2",
                    format!(
                        "booking {booking_id} has a log row {kind} that belongs to no transition"
                    ),
                );
            }
            return;
        };
        let (from, expires_at, before) = (trace.status, trace.expires_at, trace.version);
        let ends = entry.expires_at.unwrap_or(expires_at);
        let (last_kind, last_at) = (entry.kind, entry.at);
        *trace = Trace { status: next, expires_at: ends, version, rows: 1, last_kind, last_at };
        if version != before + 1 {
            let what = format!("booking {booking_id} went from version {before} to {version}");
            self.tell("I2", what);
        }
        if next == BookingStatus::Hold {
            let alive = from == BookingStatus::Hold && entry.at < expires_at;
            if !alive || entry.kind == LogKind::Held {
                let what = format!("booking {booking_id} was {kind} twice or too late");
                self.tell("I2", what);
            }
            return;
        }
        if !from.may_become(next) {
            let (from, next) = (from.as_str(), next.as_str());
            self.tell("I2", format!("booking {booking_id} went from {from} to {next}"));
        }
        let at = entry.at;
        if entry.kind == LogKind::Confirmed && at >= expires_at {
            let what = format!(
                "booking {booking_id} was confirmed at {at}, but its hold ended at {expires_at}"
            );
            self.tell("I5", what);
        }
        if entry.kind == LogKind::Expired && at < expires_at {
            let what =
                format!("booking {booking_id} expired at {at}, but its hold ends at {expires_at}");
            self.tell("I5", what);
        }
    }

    /// Takes a section's counters (I1, I4), after the log.
    pub fn inventory(&mut self, inventory: &Inventory) {
        self.report.sections += 1;
        if !inventory.within_capacity() {
            self.tell(
                "I1",
                format!("section {} is out of bounds: {inventory:?}", inventory.section_id),
            );
        }
        let folded = self.folded.remove(&inventory.section_id);
        let folded =
            folded.unwrap_or_else(|| Inventory::empty(inventory.section_id, inventory.event_id));
        if let Some(drift) = drift(&folded, inventory) {
            self.tell("I4", drift);
        }
        self.live.insert(inventory.section_id, (inventory.held, inventory.sold));
    }

    /// Takes a booking (I2, I3, I4, I5), after the inventories.
    pub fn booking(&mut self, booking: &Booking) {
        self.report.bookings += 1;
        let booking_id = booking.booking_id;
        match self.traces.remove(&booking_id) {
            None => self.tell("I7", format!("booking {booking_id} has no row in the log")),
            Some(trace) => {
                if trace.status != booking.status {
                    let (stored, logged) = (booking.status.as_str(), trace.status.as_str());
                    self.tell(
                        "I2",
                        format!("booking {booking_id} is {stored}, but its log ends with {logged}"),
                    );
                }
                if trace.expires_at != booking.expires_at {
                    let (stored, logged) = (booking.expires_at, trace.expires_at);
                    self.tell(
                        "I5",
                        format!(
                            "booking {booking_id} expires at {stored}, but at {logged} by its log"
                        ),
                    );
                }
                if trace.version != booking.version {
                    let (stored, logged) = (booking.version, trace.version);
                    let what = format!(
                        "booking {booking_id} has version {stored}, but its log ends with {logged}"
                    );
                    self.tell("I2", what);
                }
                // A change also has rows for the sections it left.
                let (rows, sections) = (trace.rows as usize, booking.sections().count());
                let changed = trace.last_kind == LogKind::Changed && rows > sections;
                if rows != sections && !changed {
                    self.tell(
                        "I4",
                        format!(
                            "booking {booking_id} is in {sections} sections but has {rows} log \
                             rows in its last transition"
                        ),
                    );
                }
            }
        }
        let live = booking.status.is_live();
        for item in booking.items.iter().filter(|_| live) {
            let (held, sold) = self.live.entry(item.section_id).or_default();
            let counter = if booking.status == BookingStatus::Hold { held } else { sold };
            *counter -= i64::from(item.seats);
            for number in &item.seat_names {
                let seat = (item.section_id, number.clone());
                self.numbered.entry(item.section_id).or_default().live += 1;
                let has_it = (booking_id, booking.status);
                if let Some((other, _)) = self.seats.insert(seat, has_it) {
                    self.tell(
                        "I3",
                        format!(
                            "seat {number} of section {} is in the bookings {other} and \
                             {booking_id}",
                            item.section_id
                        ),
                    );
                }
            }
        }
    }

    /// Takes the layout and the marks of a section with numbered seats (I3), after the bookings.
    pub fn marks(&mut self, inventory: &Inventory, layout: &Layout, marks: &Marks) {
        let section_id = inventory.section_id;
        if i64::from(layout.seats()) != inventory.capacity || marks.seats() != layout.seats() {
            let (seats, marked) = (layout.seats(), marks.seats());
            let capacity = inventory.capacity;
            self.tell(
                "I3",
                format!(
                    "section {section_id} has {seats} seats in its layout, {marked} seat states \
                     and a capacity of {capacity}"
                ),
            );
            return;
        }
        let (mut live, mut blocked) = (0, HashSet::new());
        for (seat, state) in marks.iter() {
            let name: SeatName = SeatName::from(layout.name(seat).to_string());
            let has_it = self.seats.get(&(section_id, name.clone()));
            let expected = match has_it {
                Some((_, BookingStatus::Hold)) => Some(SeatState::Held),
                Some(_) => Some(SeatState::Sold),
                None => None,
            };
            let fits = match state {
                SeatState::Blocked => expected.is_none(),
                state => expected == Some(state),
            };
            if !fits {
                let state = state.as_str();
                self.tell(
                    "I3",
                    format!(
                        "seat {name} of section {section_id} has the state {state}, which \
                         contradicts its bookings"
                    ),
                );
            }
            if state == SeatState::Blocked {
                blocked.insert(name);
            } else {
                live += 1;
            }
        }
        let many = count(&blocked);
        let numbered = self.numbered.entry(section_id).or_default();
        numbered.blocked = blocked;
        let in_bookings = numbered.live;
        if live != in_bookings {
            self.tell(
                "I3",
                format!(
                    "section {section_id} has {live} seats in the state held or sold, but \
                     {in_bookings} in live bookings"
                ),
            );
        }
        if i64::from(many) != inventory.blocked {
            let counted = inventory.blocked;
            self.tell(
                "I4",
                format!(
                    "section {section_id} has {many} seats in the state blocked, but its \
                    counter is {counted}"
                ),
            );
        }
    }

    /// Takes note that the layout or the marks of a section with numbered seats are missing (I3).
    pub fn no_marks(&mut self, section_id: SectionId) {
        self.tell(
            "I3",
            format!(
                "section {section_id} has numbered seats, but its layout or its seat states \
                are missing"
            ),
        );
    }

    /// Takes a row that says who has a seat (I3), after the marks; no booking: it is blocked.
    pub fn seat_taken(&mut self, section_id: SectionId, seat: &SeatName, by: Option<BookingId>) {
        let numbered = self.numbered.entry(section_id).or_default();
        numbered.rows += 1;
        let blocked = numbered.blocked.contains(seat);
        let live = self.seats.get(&(section_id, seat.clone())).map(|(booking_id, _)| *booking_id);
        if by.is_none() && live.is_none() && !blocked {
            self.tell(
                "I3",
                format!(
                    "seat {seat} of section {section_id} has a row as blocked, but another state"
                ),
            );
        }
        if live != by {
            self.tell(
                "I3",
                format!(
                    "seat {seat} of section {section_id} has a row for {by:?}, but the live \
                     booking with it is {live:?}"
                ),
            );
        }
    }

    /// Ends the audit.
    #[must_use]
    pub fn finish(mut self) -> Report {
        for booking_id in std::mem::take(&mut self.traces).into_keys() {
            self.tell("I7", format!("booking {booking_id} is in the log but is not stored"));
        }
        for (section_id, numbered) in std::mem::take(&mut self.numbered) {
            let Numbered { live, blocked, rows } = numbered;
            let blocked = count(&blocked);
            if rows != live + blocked {
                self.tell(
                    "I3",
                    format!(
                        "section {section_id} has {rows} rows of taken seats, but {live} seats in \
                         live bookings and {blocked} blocked"
                    ),
                );
            }
        }
        for (section_id, (held, sold)) in std::mem::take(&mut self.live) {
            if (held, sold) != (0, 0) {
                self.tell(
                    "I4",
                    format!(
                        "the counters of section {section_id} exceed its bookings by {held} held \
                         and {sold} sold seats"
                    ),
                );
            }
        }
        self.report
    }

    fn tell(&mut self, invariant: &'static str, what: String) {
        self.report.tell(invariant, what);
    }
}

fn count(seats: &HashSet<SeatName>) -> u32 {
    u32::try_from(seats.len()).expect("no more than a layout has")
}

/// How the counters of a section differ from the fold of its log (I4); `None` when they agree.
#[must_use]
pub fn drift(folded: &Inventory, stored: &Inventory) -> Option<String> {
    let counters = |of: &Inventory| (of.capacity, of.held, of.sold, of.blocked, of.version);
    (counters(folded) != counters(stored)).then(|| {
        format!(
            "section {}: (capacity, held, sold, blocked, version) is {:?}, but {:?} by its log",
            stored.section_id,
            counters(stored),
            counters(folded)
        )
    })
}

#[cfg(test)]
mod tests;
