//! An audit is only believed once it has caught what was planted: every invariant, broken by hand.

use super::*;
use crate::booking::Item;
use crate::ids::{Shard, UserId};
use crate::log::Deltas;
use crate::money::{Currency, Money};
use std::sync::Arc;

/// Everything that is stored, written down by hand.
struct Story {
    log: Vec<LogEntry>,
    inventories: Vec<Inventory>,
    bookings: Vec<Booking>,
}

const SOLD: usize = 0;
const CART: usize = 1;
const EXPIRED: usize = 2;
const RELEASED: usize = 3;
const UNDONE: usize = 4;
const EXTENDED: usize = 5;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(ms)
}

fn event() -> EventId {
    EventId::new(at(0), Shard::pick(1), 0)
}

fn section(number: u64) -> SectionId {
    SectionId::new(at(0), Shard::pick(1), number)
}

fn held(seats: i64) -> Deltas {
    Deltas { held: seats, ..Deltas::default() }
}

fn sold(held: i64, sold: i64) -> Deltas {
    Deltas { held, sold, ..Deltas::default() }
}

impl Story {
    /// Two sections of ten seats, and a booking for every way through its life.
    fn sound() -> Self {
        let mut story = Self { log: Vec::new(), inventories: Vec::new(), bookings: Vec::new() };
        for number in 0..2 {
            story.inventories.push(Inventory::empty(section(number), event()));
            let opened = Deltas { capacity: 10, ..Deltas::default() };
            story.change(number, LogKind::Opened, 0, None, opened, None);
        }
        let blocked = Deltas { blocked: 1, ..Deltas::default() };
        story.change(0, LogKind::Blocked, 1, None, blocked, None);
        for (items, status) in [
            (vec![(0, &["1", "2"][..])], BookingStatus::Confirmed),
            (vec![(0, &["3"]), (1, &["3"])], BookingStatus::Hold),
            (vec![(0, &["3"])], BookingStatus::Expired),
            (vec![(0, &["3"])], BookingStatus::Cancelled),
            (vec![(0, &["3"])], BookingStatus::Cancelled),
            (vec![(0, &["4"])], BookingStatus::Hold),
        ] {
            story.book(&items, status);
        }
        story.step(SOLD, LogKind::Held, 10, held(2), Some(100));
        story.step(EXPIRED, LogKind::Held, 10, held(1), Some(100));
        story.step(SOLD, LogKind::Confirmed, 99, sold(-2, 2), None);
        story.step(EXPIRED, LogKind::Expired, 100, held(-1), None);
        story.step(RELEASED, LogKind::Held, 100, held(1), Some(200));
        story.step(RELEASED, LogKind::Released, 100, held(-1), None);
        story.step(UNDONE, LogKind::Held, 110, held(1), Some(210));
        story.step(UNDONE, LogKind::Confirmed, 111, sold(-1, 1), None);
        story.step(UNDONE, LogKind::Cancelled, 999, sold(0, -1), None);
        story.step(CART, LogKind::Held, 1_000, held(1), Some(1_100));
        story.step(EXTENDED, LogKind::Held, 1_000, held(1), Some(1_100));
        // Twice within one millisecond, each time to a later end.
        story.step(EXTENDED, LogKind::Extended, 1_050, held(0), Some(1_150));
        story.step(EXTENDED, LogKind::Extended, 1_050, held(0), Some(1_160));
        story
    }

    fn book(&mut self, items: &[(u64, &[&str])], status: BookingStatus) {
        let number = self.bookings.len() as u64;
        let usd = Currency::parse("USD").expect("a currency");
        let item = |(place, seat_names): &(u64, &[&str])| Item {
            section_id: section(*place),
            section_name: "A".into(),
            seats: u32::try_from(seat_names.len()).expect("few"),
            seat_names: seat_names.iter().map(|number| SeatName::from(*number)).collect(),
            unit_price: Money { minor: 1, currency: usd },
        };
        self.bookings.push(Booking {
            status,
            ..Booking::held(
                BookingId::new(at(0), Shard::pick(1), number),
                (UserId::new(at(0), Shard::pick(0), number), event()),
                items.iter().map(item).collect::<Vec<_>>(),
                at(0),
                (0, 9_999),
            )
        });
    }

    /// A step of a booking, in each of its sections.
    fn step(&mut self, booking: usize, kind: LogKind, ms: i64, deltas: Deltas, end: Option<i64>) {
        let Booking { booking_id, items, .. } = self.bookings[booking].clone();
        if let Some(end) = end {
            self.bookings[booking].expires_at = at(end);
        }
        let first = self.log.len();
        for item in &*items {
            let number = u64::from(item.section_id == section(1));
            self.change(number, kind, ms, Some(booking_id), deltas, end.map(at));
        }
        let mut steps = self.log[..first].iter();
        let steps = steps.by_ref().filter(|row| row.booking_id == Some(booking_id));
        let steps = steps.filter(|row| row.booking_version.is_some()).count();
        let version = i64::try_from(steps).expect("few") + 1;
        self.log[first].booking_version = Some(version);
        self.bookings[booking].version = version;
    }

    fn change(
        &mut self,
        number: u64,
        kind: LogKind,
        ms: i64,
        booking_id: Option<BookingId>,
        deltas: Deltas,
        expires_at: Option<Timestamp>,
    ) {
        let of_section = self.inventories.iter_mut().find(|of| of.section_id == section(number));
        let inventory = of_section.expect("it was opened");
        inventory.add(deltas);
        self.log.push(LogEntry {
            at: at(ms),
            booking_id,
            version: inventory.version,
            expires_at,
            ..LogEntry::of_section(section(number), kind, deltas)
        });
    }

    /// The last row of the log of this kind and booking.
    fn row(&mut self, booking: usize, kind: LogKind) -> &mut LogEntry {
        let booking_id = Some(self.bookings[booking].booking_id);
        let mut rows = self.log.iter_mut().rev();
        rows.find(|row| row.booking_id == booking_id && row.kind == kind).expect("it is there")
    }

    fn audit(&self) -> Report {
        let mut audit = Audit::default();
        for entry in &self.log {
            let mut inventories = self.inventories.iter();
            let known = inventories.find(|of| entry.subject.section_id() == Some(of.section_id));
            audit.log_entry(entry, known.map(|of| of.event_id));
        }
        self.inventories.iter().for_each(|inventory| audit.inventory(inventory));
        self.bookings.iter().for_each(|booking| audit.booking(booking));
        for booking in self.bookings.iter().filter(|booking| booking.status.is_live()) {
            for (section_id, number) in booking.seat_names() {
                audit.seat_taken(section_id, number, Some(booking.booking_id));
            }
        }
        audit.finish()
    }
}

/// What is planted, and how.
type Breaking = (&'static str, fn(&mut Story));

/// Breaks a sound story, and asserts that the audit names `invariant`.
fn finds(invariant: &str, breakings: &[Breaking]) {
    for (what, breaking) in breakings {
        let mut story = Story::sound();
        breaking(&mut story);
        let report = story.audit();
        let named = report.told.iter().any(|violation| violation.invariant == invariant);
        assert!(named, "{what}: no {invariant} in {:?}", report.told);
        assert!(!report.is_clean());
    }
}

#[test]
fn a_sound_story_is_clean() {
    let report = Story::sound().audit();
    assert!(report.is_clean(), "{:?}", report.told);
    assert_eq!((report.sections, report.bookings, report.log_rows), (2, 6, 17));
}

#[test]
fn i1_counters_out_of_bounds_are_found_stored_and_on_the_way() {
    finds(
        "I1",
        &[
            ("more held than there is", |story| story.inventories[1].held = 11),
            ("less than nothing sold", |story| story.inventories[1].sold = -1),
            ("less than nothing blocked", |story| story.inventories[1].blocked = -1),
            ("too small for a moment in the past", |story| story.log[0].deltas.capacity = 2),
        ],
    );
}

#[test]
fn i2_a_step_that_no_booking_can_take_is_found() {
    finds(
        "I2",
        &[
            ("expired and confirmed", |story| {
                story.step(EXPIRED, LogKind::Confirmed, 101, held(0), None);
            }),
            ("given back twice", |story| {
                story.step(RELEASED, LogKind::Cancelled, 300, held(0), None);
            }),
            ("sold and expired", |story| story.step(SOLD, LogKind::Expired, 200, held(0), None)),
            ("held a second time", |story| story.step(CART, LogKind::Held, 1_001, held(0), None)),
            ("extended when it was dead", |story| {
                story.step(CART, LogKind::Extended, 1_100, held(0), Some(1_200));
            }),
            ("extended when it was sold", |story| {
                story.step(SOLD, LogKind::Extended, 99, held(0), Some(120));
            }),
            ("confirmed and never held", |story| {
                story.book(&[(1, &["9"])], BookingStatus::Confirmed);
                story.step(6, LogKind::Confirmed, 1_000, sold(0, 1), None);
            }),
            ("resized", |story| story.row(SOLD, LogKind::Confirmed).kind = LogKind::Resized),
            ("another status than its log", |story| {
                story.bookings[CART].status = BookingStatus::Expired;
            }),
        ],
    );
}

#[test]
fn i3_a_seat_in_two_live_bookings_is_found() {
    finds(
        "I3",
        &[
            ("the seat of a sale is held", |story| {
                Arc::make_mut(&mut story.bookings[EXTENDED].items)[0].seat_names = vec!["2".into()];
            }),
            ("twice in one booking", |story| {
                Arc::make_mut(&mut story.bookings[SOLD].items)[0].seat_names =
                    vec!["2".into(), "2".into()];
            }),
        ],
    );
    // The same number in another section, or in a booking that is over, is no conflict.
    let mut story = Story::sound();
    Arc::make_mut(&mut story.bookings[CART].items)[1].seat_names = vec!["1".into()];
    Arc::make_mut(&mut story.bookings[EXPIRED].items)[0].seat_names = vec!["1".into()];
    assert!(story.audit().is_clean());
}

#[test]
fn i4_counters_that_are_not_the_fold_of_their_log_are_found() {
    finds(
        "I4",
        &[
            ("one sold too many", |story| story.inventories[0].sold += 1),
            ("one held too few", |story| story.inventories[0].held -= 1),
            ("another capacity", |story| story.inventories[0].capacity += 1),
            ("one blocked too few", |story| story.inventories[0].blocked = 0),
            ("a version too far", |story| story.inventories[0].version += 1),
            ("a row too few", |story| story.log.truncate(16)),
            ("a row too many", |story| story.log.push(story.log[2].clone())),
            ("rows in another order", |story| story.log.swap(2, 3)),
            ("a row that says another version", |story| story.log[2].version = 7),
            ("a log without its section", |story| story.inventories.truncate(1)),
            ("an item more than was held", |story| {
                let item = story.bookings[SOLD].items[0].clone();
                let more = Item { section_id: section(1), ..item };
                let items = &mut story.bookings[SOLD].items;
                *items = items.iter().cloned().chain([more]).collect();
            }),
            ("a seat more than is counted", |story| {
                Arc::make_mut(&mut story.bookings[CART].items)[0].seats = 2;
            }),
            ("counters and log wrong alike", |story| {
                story.row(CART, LogKind::Held).deltas.held = 2;
                story.inventories[1].held += 1;
            }),
        ],
    );
}

#[test]
fn i5_a_confirm_too_late_and_an_expiry_too_early_are_found() {
    finds(
        "I5",
        &[
            ("confirmed at its end", |story| story.row(SOLD, LogKind::Confirmed).at = at(100)),
            ("confirmed after its end", |story| story.row(UNDONE, LogKind::Confirmed).at = at(800)),
            ("expired before its end", |story| story.row(EXPIRED, LogKind::Expired).at = at(99)),
            ("another end than its log", |story| story.bookings[EXTENDED].expires_at = at(1_150)),
        ],
    );
}

#[test]
fn i7_a_booking_without_its_log_and_a_log_without_its_booking_are_found() {
    finds(
        "I7",
        &[
            ("never logged", |story| story.book(&[(0, &["9"])], BookingStatus::Cancelled)),
            ("never stored", |story| drop(story.bookings.remove(RELEASED))),
        ],
    );
}

#[test]
fn a_report_spells_out_so_many_and_counts_them_all() {
    let mut story = Story::sound();
    let strays = 3 * VIOLATIONS_TOLD_MAX;
    (0..strays).for_each(|_| story.book(&[(0, &["9"])], BookingStatus::Cancelled));
    let report = story.audit();
    assert_eq!(report.told.len(), VIOLATIONS_TOLD_MAX);
    assert_eq!(report.violations, strays as u64);
}

#[test]
fn reports_of_several_audits_are_added_up() {
    let audit = |strays: usize| {
        let mut story = Story::sound();
        (0..strays).for_each(|_| story.book(&[(0, &["9"])], BookingStatus::Cancelled));
        story.audit()
    };
    let mut sum = Report::default();
    sum.add(audit(0));
    assert!(sum.is_clean());
    sum.add(audit(VIOLATIONS_TOLD_MAX - 1));
    sum.add(audit(3));
    let strays = VIOLATIONS_TOLD_MAX as u64 + 2;
    assert_eq!((sum.sections, sum.log_rows), (6, 3 * 17));
    assert_eq!((sum.bookings, sum.violations), (3 * 6 + strays, strays));
    assert_eq!(sum.told.len(), VIOLATIONS_TOLD_MAX);
}
