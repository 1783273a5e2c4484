use super::*;
use crate::access::Overrides;
use crate::ids::{Shard, UserId};
use crate::log::{LogKind, Subject};
use crate::{Actor, EventId};
use proptest::prelude::*;
use std::collections::BTreeMap;

const SECTIONS: u64 = 4;

fn id<T>(of: impl Fn(Timestamp, Shard, u64) -> T, number: u64) -> T {
    of(Timestamp::from_unix_ms(1), Shard::pick(0), number)
}

/// A step of a booking, or a change of a section or of the event.
#[derive(Clone, Debug)]
struct Step {
    kind: LogKind,
    booking: u64,
    /// The numbers of its sections, which may occur once each.
    sections: Vec<u64>,
    seats: i64,
}

fn step() -> impl Strategy<Value = Step> {
    use LogKind::{Blocked, Changed, Confirmed, EventChanged, Expired, Held, Released};
    let kind = prop_oneof![
        8 => Just(Held),
        3 => Just(Confirmed),
        2 => Just(Expired),
        1 => prop::sample::select(&[Released, Changed, Blocked, EventChanged]),
    ];
    let sections = prop_oneof![
        5 => (0..SECTIONS).prop_map(|one| vec![one]),
        2 => (Just((0..SECTIONS).collect::<Vec<_>>()).prop_shuffle(), 1..=3_usize)
            .prop_map(|(mut all, count)| {
                all.truncate(count);
                all
            }),
    ];
    (kind, 0..12_u64, sections, 1..5_i64).prop_map(|(kind, booking, sections, seats)| Step {
        kind,
        booking,
        sections,
        seats,
    })
}

/// The log of a batch in which these steps were taken, one after the other.
fn log_of(steps: &[Step]) -> Vec<LogEntry> {
    let (mut log, at) = (Vec::new(), Timestamp::from_unix_ms(1_000));
    let mut versions: BTreeMap<SectionId, i64> = BTreeMap::new();
    let mut of_bookings: BTreeMap<u64, i64> = BTreeMap::new();
    for step in steps {
        if step.kind == LogKind::EventChanged {
            let subject = Subject::Event(id(EventId::new, 1));
            let entry = LogEntry::of(subject, step.kind, Deltas::default());
            log.push(LogEntry { at, ..entry });
            continue;
        }
        let is_of_booking = step.kind != LogKind::Blocked;
        let first = log.len();
        for number in step.sections.iter().take(if is_of_booking { 4 } else { 1 }) {
            let section_id = id(SectionId::new, *number);
            let version = versions.entry(section_id).or_insert(7);
            *version += 1;
            let deltas = Deltas { held: step.seats, ..Deltas::default() };
            log.push(LogEntry {
                at,
                booking_id: is_of_booking.then(|| id(BookingId::new, step.booking)),
                version: *version,
                actor: (step.seats == 4).then(|| Actor::User(id(UserId::new, 1))),
                ..LogEntry::of_section(section_id, step.kind, deltas)
            });
        }
        let [head, others @ ..] = &mut log[first..] else { continue };
        if is_of_booking {
            let version = of_bookings.entry(step.booking).or_default();
            *version += 1;
            head.booking_version = Some(*version);
            let before = (step.kind == LogKind::Changed).then(|| [].into());
            head.tell_others(others, before, Overrides::NONE);
        }
    }
    log
}

fn read(rows: &[LogRow]) -> Vec<LogEntry> {
    let read = |row: &LogRow| match row {
        LogRow::One(entry) => vec![entry.clone()],
        LogRow::Run(run, bytes) => run.unpack(bytes).expect("it was packed"),
    };
    rows.iter().flat_map(read).collect()
}

/// The entries for which this holds, in their order.
fn those(log: &[LogEntry], are: impl Fn(&LogEntry) -> bool) -> Vec<&LogEntry> {
    log.iter().filter(|entry| are(entry)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn every_section_and_every_booking_is_read_in_its_order(
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let log = log_of(&steps);
        let rows = rows_of(&log);
        let read = read(&rows);
        prop_assert_eq!(read.len(), log.len());
        for section_id in (0..SECTIONS).map(|number| id(SectionId::new, number)) {
            let of_section = |it: &LogEntry| it.subject.section_id() == Some(section_id);
            prop_assert_eq!(those(&read, of_section), those(&log, of_section));
            // What readers are told of it, also by carts that begin in other sections.
            let about = |it: &LogEntry| {
                let is_own = it.subject.section_id() == Some(section_id) && is_message(it);
                is_own || also(it).iter().any(|(other, _)| *other == section_id)
            };
            prop_assert_eq!(those(&read, about), those(&log, about));
        }
        for booking_id in (0..12).map(|number| id(BookingId::new, number)) {
            let of_booking = |it: &LogEntry| it.booking_id == Some(booking_id);
            prop_assert_eq!(those(&read, of_booking), those(&log, of_booking));
        }
        let is_event = |it: &LogEntry| it.subject.event_id().is_some();
        let around = |log: &[LogEntry]| -> Vec<_> {
            let parts = log.split(is_event);
            parts.map(<[LogEntry]>::len).collect()
        };
        prop_assert_eq!(around(&read), around(&log), "what was before an event's entry stays there");
    }

    #[test]
    fn entries_without_a_cart_are_one_run_a_section(
        steps in prop::collection::vec((0..SECTIONS, 0..1_000_u64), 1..80),
    ) {
        let held = |(section, booking): &(u64, u64)| Step {
            kind: LogKind::Held,
            booking: *booking,
            sections: vec![*section],
            seats: 1,
        };
        let steps: BTreeMap<_, _> = steps.iter().map(|of| (of.1, held(of))).collect();
        let steps: Vec<_> = steps.into_values().collect();
        let mut sections: Vec<_> = steps.iter().map(|step| step.sections[0]).collect();
        sections.sort_unstable();
        sections.dedup();
        prop_assert_eq!(rows_of(&log_of(&steps)).len(), sections.len());
    }
}

/// How many entries each row has.
fn sizes(steps: &[Step]) -> Vec<usize> {
    let log = log_of(steps);
    gathered(&log).iter().map(Vec::len).collect()
}

fn of(kind: LogKind, booking: u64, sections: &[u64]) -> Step {
    Step { kind, booking, sections: sections.to_vec(), seats: 1 }
}

#[test]
fn carts_of_the_same_sections_in_the_same_order_share_two_rows() {
    let carts: Vec<_> = (0..9).map(|booking| of(LogKind::Held, booking, &[0, 1])).collect();
    assert_eq!(sizes(&carts), [9, 9]);
}

#[test]
fn a_cart_comes_after_what_was_decided_before_it_in_its_other_section() {
    let steps = [
        of(LogKind::Held, 1, &[0]),
        of(LogKind::Held, 2, &[1]),
        // Its message also tells of section 1, so it cannot join the row of section 0.
        of(LogKind::Held, 3, &[0, 1]),
        of(LogKind::Held, 4, &[0]),
        of(LogKind::Held, 5, &[2]),
        of(LogKind::Held, 6, &[1]),
    ];
    assert_eq!(sizes(&steps), [1, 1, 2, 2, 1]);
}

#[test]
fn another_kind_ends_a_run_of_its_section_only() {
    let steps = [
        of(LogKind::Held, 1, &[0]),
        of(LogKind::Held, 2, &[1]),
        of(LogKind::Blocked, 0, &[0]),
        of(LogKind::Held, 3, &[0]),
        of(LogKind::Held, 4, &[1]),
        of(LogKind::Expired, 3, &[0]),
    ];
    assert_eq!(sizes(&steps), [1, 2, 1, 2]);
    let log = log_of(&steps);
    let rows = rows_of(&log);
    assert!(matches!(rows[0], LogRow::One(_)), "an entry alone is a row as it is");
    assert!(matches!(rows[1], LogRow::Run(..)));
}

#[test]
fn entries_of_another_time_and_more_than_fit_begin_another_run() {
    let count = u64::try_from(RUN_ENTRIES_MAX + 1).expect("few");
    let steps: Vec<_> = (0..count).map(|booking| of(LogKind::Held, booking, &[0])).collect();
    assert_eq!(sizes(&steps), [RUN_ENTRIES_MAX, 1]);
    let mut log = log_of(&steps[..4]);
    log[2].at = Timestamp::from_unix_ms(1_001);
    log[3].at = Timestamp::from_unix_ms(1_001);
    assert_eq!(gathered(&log).iter().map(Vec::len).collect::<Vec<_>>(), [2, 2]);
}
