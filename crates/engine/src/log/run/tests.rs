use super::*;
use crate::access::{Override, Overrides};
use crate::ids::Shard;
use crate::log::Subject;
use proptest::prelude::*;

fn id<T>(of: impl Fn(Timestamp, Shard, u64) -> T, number: u64) -> T {
    of(Timestamp::from_unix_ms(1), Shard::pick(number), number)
}

/// What the rules could write, and more: any numbers, any times.
fn entry() -> impl Strategy<Value = LogEntry> {
    let actor = prop_oneof![
        4 => Just(None),
        1 => any::<u64>().prop_map(|user| Some(Actor::User(id(UserId::new, user)))),
        1 => any::<u64>().prop_map(|key| Some(Actor::Key(id(KeyId::new, key)))),
        1 => Just(Some(Actor::System)),
    ];
    let of_section = (any::<u64>(), any::<i64>()).prop_map(|(of, at)| (id(SectionId::new, of), at));
    let also = prop::option::weighted(0.2, prop::collection::vec(of_section, 0..4));
    // Sums of 4,096 of them still fit.
    let seats = || prop_oneof![-50_i64..50, -(1_i64 << 50)..1 << 50];
    (
        (prop::sample::select(&KINDS), any::<u64>(), any::<Option<i64>>()),
        (seats(), seats()),
        (any::<Option<i64>>(), actor, also),
    )
        .prop_map(|((kind, booking, version), (held, sold), (end, actor, also))| LogEntry {
            booking_id: Some(id(BookingId::new, booking)),
            booking_version: version,
            expires_at: end.map(Timestamp::from_unix_ms),
            actor,
            detail: also.map(|also| {
                Box::new(Detail::Booking { also, before: None, overrides: Overrides::NONE })
            }),
            ..LogEntry::of_section(
                id(SectionId::new, 7),
                kind,
                Deltas { held, sold, ..Deltas::default() },
            )
        })
}

fn run_of(mut entries: Vec<LogEntry>, at: i64, before: i64) -> Vec<LogEntry> {
    for (version, entry) in (before + 1..).zip(&mut entries) {
        (entry.at, entry.version) = (Timestamp::from_unix_ms(at), version);
    }
    entries
}

fn runs(most: usize) -> impl Strategy<Value = Vec<LogEntry>> {
    let entries = prop::collection::vec(entry(), 1..most);
    (entries, any::<i64>(), 0_i64..1 << 40).prop_map(|(of, at, before)| run_of(of, at, before))
}

proptest! {
    #[test]
    fn a_run_is_read_as_it_was_packed(entries in runs(40)) {
        let (run, bytes) = Run::pack(&entries).expect("one run");
        prop_assert_eq!(run.version, entries.last().expect("one at least").version);
        prop_assert_eq!(run.unpack(&bytes), Ok(entries));
    }

    #[test]
    fn a_truncated_run_is_noticed(entries in runs(6), more in any::<u8>()) {
        let (run, mut bytes) = Run::pack(&entries).expect("one run");
        for length in 0..bytes.len() {
            prop_assert_eq!(run.unpack(&bytes[..length]), Err(Unreadable::Damaged));
        }
        bytes.push(more);
        prop_assert_eq!(run.unpack(&bytes), Err(Unreadable::Damaged));
    }

    #[test]
    fn a_changed_byte_is_noticed(entries in runs(6), change in 1_u8..) {
        let (run, mut bytes) = Run::pack(&entries).expect("one run");
        for place in 0..bytes.len() {
            bytes[place] ^= change;
            let expected = match place {
                0 => Unreadable::Format(FORMAT ^ change),
                _ => Unreadable::Damaged,
            };
            prop_assert_eq!(run.unpack(&bytes), Err(expected), "byte {}", place);
            bytes[place] ^= change;
        }
    }

    /// Bytes that somebody made, with a checksum that is right: no panic, and no more memory than the
    /// bytes can fill.
    #[test]
    fn made_up_bytes_are_read_or_refused(
        count in any::<u16>(),
        content in prop::collection::vec(any::<u8>(), 0..200),
        version in any::<i64>(),
    ) {
        let mut bytes = vec![FORMAT];
        bytes.extend(count.to_be_bytes());
        bytes.extend(&content);
        let run = Run {
            at: Timestamp::from_unix_ms(0),
            section_id: id(SectionId::new, 7),
            deltas: Deltas::default(),
            version,
        };
        let checksum = crc32fast::hash(&bytes).to_be_bytes();
        bytes.extend(checksum);
        if let Ok(entries) = run.unpack(&bytes) {
            prop_assert_eq!(entries.len(), usize::from(count));
            prop_assert_eq!(Run::pack(&entries).map(|(_, bytes)| bytes), Ok(bytes));
        }
    }

    #[test]
    fn numbers_have_one_spelling(value in any::<i64>()) {
        let mut bytes = Vec::new();
        write_signed(&mut bytes, value);
        prop_assert!(bytes.len() <= VARINT_BYTES_MAX);
        let mut rest = &bytes[..];
        prop_assert_eq!(signed(&mut rest), Some(value));
        prop_assert!(rest.is_empty());
    }
}

fn hold(version: i64) -> LogEntry {
    LogEntry {
        booking_id: Some(id(BookingId::new, version.unsigned_abs())),
        booking_version: Some(1),
        version,
        expires_at: Some(Timestamp::from_unix_ms(600_000)),
        ..LogEntry::of_section(
            id(SectionId::new, 7),
            LogKind::Held,
            Deltas { held: 2, ..Deltas::default() },
        )
    }
}

#[test]
fn a_hold_takes_23_bytes() {
    let entries: Vec<_> = (1..=100).map(hold).collect();
    let (run, bytes) = Run::pack(&entries).expect("one run");
    assert_eq!(run.deltas, Deltas { held: 200, ..Deltas::default() });
    assert_eq!(bytes.len(), HEAD_BYTES + 100 * 23 + CHECKSUM_BYTES);
}

#[test]
fn what_does_not_belong_together_is_no_run() {
    let changed = |change: fn(&mut LogEntry)| {
        let mut entries = vec![hold(3), hold(4)];
        change(&mut entries[1]);
        Run::pack(&entries)
    };
    changed(|_| ()).expect("one run");
    let wrong: [fn(&mut LogEntry); 11] = [
        |it| it.version = 5,
        |it| it.version = 3,
        |it| it.at = Timestamp::from_unix_ms(1),
        |it| it.subject = Subject::Section(id(SectionId::new, 8)),
        |it| it.booking_id = None,
        |it| it.kind = LogKind::Extended,
        |it| it.deltas.capacity = 1,
        |it| it.deltas.blocked = 1,
        |it| it.reason = Some("why".into()),
        |it| {
            let (also, before) = (Vec::new(), Some([].into()));
            let overrides = Overrides::NONE;
            it.detail = Some(Box::new(Detail::Booking { also, before, overrides }));
        },
        |it| {
            let (also, before) = (Vec::new(), None);
            let overrides = [Override::Orphans].into_iter().collect();
            it.detail = Some(Box::new(Detail::Booking { also, before, overrides }));
        },
    ];
    for (number, change) in wrong.into_iter().enumerate() {
        assert_eq!(changed(change), Err(NotARun), "number {number}");
    }
    assert_eq!(Run::pack::<LogEntry>(&[]), Err(NotARun));
    let count = i64::try_from(RUN_ENTRIES_MAX).expect("few");
    let most: Vec<_> = (1..=count + 1).map(hold).collect();
    Run::pack(&most[1..]).expect("as many as fit");
    assert_eq!(Run::pack(&most), Err(NotARun));
}

#[test]
fn columns_that_say_something_else_are_noticed() {
    let (run, bytes) = Run::pack(&[hold(1), hold(2)]).expect("one run");
    let deltas = Deltas { held: 3, ..Deltas::default() };
    assert_eq!(Run { deltas, ..run }.unpack(&bytes), Err(Unreadable::Contradiction));
    assert_eq!(Run { version: 1, ..run }.unpack(&bytes), Err(Unreadable::Contradiction));
}
