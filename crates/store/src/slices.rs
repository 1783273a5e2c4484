//! The slices in which an audit reads what is stored, so that its memory does not grow with it.
//!
//! Everything of an event has its shard in its ids, so a slice of the shards is complete in itself: the
//! log, the counters and the bookings of some events. What it takes is bounded by the slice and by the
//! greatest event.

/// Bookings in a slice, roughly: an audit keeps a line for each, together 100 to 200 MB.
const BOOKINGS_PER_SLICE: u64 = 2_500_000;
/// The shards, as the engine draws them.
const SHARDS: u64 = engine::ids::SHARDS as u64;

/// The bytes of an id that hold its shard: see the picture in `engine::ids`. SQL counts them from 1.
const SHARD_BYTES: std::ops::Range<usize> = 6..8;

/// Ids whose seventh and eighth byte are in a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    /// The least such bytes.
    pub(crate) from: Vec<u8>,
    /// What follows the greatest.
    pub(crate) to: Vec<u8>,
}

impl Slice {
    /// The number of slices such that none has much more than its share of `bookings`.
    pub(crate) fn of(bookings: u64) -> Vec<Self> {
        Self::cut(bookings.div_ceil(BOOKINGS_PER_SLICE).clamp(1, SHARDS))
    }

    /// All ids, cut into `count` slices.
    pub(crate) fn cut(count: u64) -> Vec<Self> {
        // Whatever an id looks like, also one that is not of ours, it is in one of the slices.
        let mut bounds = vec![Vec::new()];
        bounds.extend((1..count).map(|at| first_bytes(at * SHARDS / count)));
        bounds.push(vec![0xFF; SHARD_BYTES.len() + 1]);
        bounds.windows(2).map(|ends| Self { from: ends[0].clone(), to: ends[1].clone() }).collect()
    }

    /// Whether an id is in it.
    pub(crate) fn contains(&self, id: impl AsRef<[u8]>) -> bool {
        let bytes = &id.as_ref()[SHARD_BYTES];
        *bytes >= *self.from && *bytes < *self.to
    }
}

/// The least two bytes with this shard: the version of the id, the shard, and two random bits.
fn first_bytes(shard: u64) -> Vec<u8> {
    let word = u16::try_from(8 << 12 | shard << 2).expect("ten bits of shard");
    word.to_be_bytes().to_vec()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::postgres::Postgres;
    use crate::sqlite::Sqlite;
    use crate::{Fill, StoreOptions, fill_store};
    use engine::audit::Report;
    use engine::{EventId, Policy, Shard, Timestamp};
    use uuid::Uuid;

    #[test]
    fn every_id_is_in_exactly_one_slice_and_those_of_a_shard_in_the_same() {
        for count in [1, 2, 3, 7, 1_000, 1_024] {
            let slices = Slice::cut(count);
            assert_eq!(slices.len() as u64, count);
            let slice_of = |id: &[u8]| {
                let found: Vec<_> =
                    (0..slices.len()).filter(|at| slices[*at].contains(id)).collect();
                assert_eq!(found.len(), 1, "{id:?} of {count}");
                found[0]
            };
            for shard in 0..SHARDS {
                let id = |ms, random| {
                    EventId::new(Timestamp::from_unix_ms(ms), Shard::pick(shard), random)
                };
                let first = slice_of(id(0, 0).as_ref());
                assert_eq!(slice_of(id(1 << 40, u64::MAX).as_ref()), first, "shard {shard}");
            }
            assert_eq!(slice_of(Uuid::nil().as_bytes()), 0);
            assert_eq!(slice_of(Uuid::max().as_bytes()), slices.len() - 1);
        }
    }

    #[test]
    fn slices_come_with_the_bookings_and_are_never_more_than_the_shards() {
        let count = |bookings| Slice::of(bookings).len();
        assert_eq!([0, 1, 2_500_000, 2_500_001, 10_000_000].map(count), [1, 1, 1, 2, 4]);
        assert_eq!(count(u64::MAX), 1_024);
    }

    pub fn options() -> StoreOptions {
        let policy = Policy {
            hold_ttl_ms: 600_000,
            hold_max_life_ms: 1_800_000,
            max_seats_per_booking: 50,
            max_seats_per_user: None,
        };
        let clock = crate::clock::wall();
        let monotonic = crate::clock::monotonic();
        StoreOptions { policy, clock, monotonic, pool_size: 4, read_only: false, strict: false }
    }

    const FILL: Fill = Fill { bookings: 3_000, events: 200, seed: 5, beside_others: false };

    /// Asserts that many slices report what one does, of a sound store and of one with a booking
    /// less.
    async fn assert_alike(audit: impl AsyncFn(u64) -> Report, spoil: impl AsyncFnOnce()) {
        let whole = audit(1).await;
        assert!(whole.is_clean(), "{:?}", whole.told);
        assert_eq!(whole.bookings, FILL.bookings);
        for count in [2, 9, 1_024] {
            assert_eq!(audit(count).await, whole);
        }
        spoil().await;
        let whole = audit(1).await;
        assert_eq!(whole.bookings, FILL.bookings - 1);
        assert!(whole.told.iter().any(|violation| violation.invariant == "I7"), "{:?}", whole.told);
        assert_eq!(audit(9).await.violations, whole.violations);
    }

    const SPOIL: &str = "DELETE FROM bookings WHERE booking_id =
        (SELECT booking_id FROM bookings WHERE status = 'CONFIRMED' ORDER BY booking_id LIMIT 1)";

    #[tokio::test]
    async fn an_audit_of_the_embedded_store_in_slices_tells_what_a_whole_one_does() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("reservix.db");
        let url = format!("sqlite:{}", path.display());
        fill_store(&url, options(), &FILL, |_| ()).await.expect("filled");
        let store = Sqlite::open(&path, options()).expect("opens");
        assert_alike(
            async |count| store.audit_in(|_| Slice::cut(count)).await.expect("reads"),
            async || {
                store.run(SPOIL).await;
            },
        )
        .await;
    }

    #[tokio::test]
    async fn an_audit_of_postgresql_in_slices_tells_what_a_whole_one_does() {
        let server = testbed::postgres::shared();
        let url = server.create_database();
        fill_store(&url, options(), &FILL, |_| ()).await.expect("filled");
        let store = Postgres::open(&url, options()).await.expect("opens");
        assert_alike(
            async |count| store.audit_in(|_| Slice::cut(count)).await.expect("reads"),
            async || {
                server.sql(&url, SPOIL);
            },
        )
        .await;
    }
}
