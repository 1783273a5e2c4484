//! Which bookings a buyer has, and which an event has, indexed behind the sale.
//!
//! An index whose keys begin with a buyer has another page for nearly every hold of a sale, and so has one
//! by event where many are on sale. So none is written with a hold. The newest bookings are kept in
//! memory, by buyer and by event: the *tail*. When it is long enough, it is written as a *segment*: in
//! order, each page once, a few thousand rows at a time between the batches ([`feed`]). Segments never
//! change; a dozen of like size become a larger one.
//!
//! ```text
//! hold ─▶ bookings, booking_log            tail: HashMap<list, bookings>  ─▶ segment ┐ a dozen
//!                                                         └─────────────┬─────┘      └─▶ larger one
//!                                          a list: newest first of all of them
//! ```
//! Every segment says up to which row of the log it and those before it go. What was created behind that
//! is the tail, which is read from the log at the start. So nothing is lost with it, and a list is exact
//! at any moment. It also says which of its bookings is the newest: ids are in the order of time, so the
//! newest page of a list is found without a look into segments that are older than all of it.

mod check;
mod feed;
mod page;
mod read;
#[cfg(test)]
mod tests;

use super::writer::Writing;
use crate::rows::Columns as _;
use crate::simulated::probe;
use crate::{COUNTED_MAX, unavailable};
pub(super) use check::check;
use engine::event::SEATS_PER_USER_MAX;
use engine::{Booking, BookingId, EventId, Fault, UserId};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const DOING: &str = "listing bookings by buyer and event";

/// Whether the schema has the index, in the form that is written here.
const IS_THERE: &str =
    "SELECT COUNT(*) AS found FROM pragma_table_info('list_segments') WHERE name = 'newest'";

/// How long lists are refused after the tail could not be read. An attempt keeps the writer for as
/// long as it takes to read the bookings of a segment, perhaps half a second, and each request would
/// make one.
const LOAD_PAUSE: Duration = Duration::from_secs(5);

/// The tail is written as a segment when it has this number of bookings: some 15 MB, or 4 µs of work for
/// each. A shorter one costs as much for a booking as an index that is written at once.
const TAIL_BOOKINGS: usize = 100_000;
/// The number of bookings from which on the tail is given up: it is read from the log when it is asked for.
/// It is only reached while nothing can be written.
const TAIL_BOOKINGS_MAX: usize = 1_000_000;
/// Rows written between two batches.
const PORTION_ROWS: usize = 2_000;
/// Segments of like size that are merged.
const MERGED_SEGMENTS: usize = 12;

/// How large things are, and how long a pause is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// [`TAIL_BOOKINGS`]
    pub tail: usize,
    /// [`TAIL_BOOKINGS_MAX`]
    pub tail_max: usize,
    /// [`PORTION_ROWS`]
    pub portion: usize,
    /// [`MERGED_SEGMENTS`]
    pub merged: usize,
    /// [`LOAD_PAUSE`]
    pub pause: Duration,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            tail: TAIL_BOOKINGS,
            tail_max: TAIL_BOOKINGS_MAX,
            portion: PORTION_ROWS,
            merged: MERGED_SEGMENTS,
            pause: LOAD_PAUSE,
        }
    }
}

/// Whose bookings they are: a buyer's or an event's. Their ids are never the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ListId([u8; 16]);

impl ListId {
    fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl From<UserId> for ListId {
    fn from(id: UserId) -> Self {
        Self(*id.as_bytes())
    }
}

impl From<EventId> for ListId {
    fn from(id: EventId) -> Self {
        Self(*id.as_bytes())
    }
}

/// A booking, and the lists that it is in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listed {
    booking_id: BookingId,
    lists: [ListId; 2],
}

impl Listed {
    fn new(booking_id: BookingId, user_id: UserId, event_id: EventId) -> Self {
        Self { booking_id, lists: [user_id.into(), event_id.into()] }
    }
}

impl From<&Booking> for Listed {
    fn from(of: &Booking) -> Self {
        Self::new(of.booking_id, of.user_id, of.event_id)
    }
}

/// Bookings by their lists, in no order.
type Recent = HashMap<ListId, Vec<BookingId>>;

/// What is in no segment yet.
#[derive(Default)]
struct Tail {
    /// Whether it is complete. It is not before it was read from the log.
    is_loaded: bool,
    /// Why it could not be read. Sales go on.
    failure: Option<Failure>,
    recent: Recent,
    /// How many bookings `recent` has, each in two lists.
    count: usize,
    /// The newest of them.
    newest: Option<BookingId>,
    /// What is being written as a segment.
    frozen: Option<Arc<Frozen>>,
}

/// Why the tail could not be read.
struct Failure {
    fault: Fault,
    /// When it is tried again; never, where the log is damaged.
    again_at: Option<Instant>,
}

/// A tail that becomes a segment.
struct Frozen {
    bookings: Recent,
    count: usize,
    newest: Option<BookingId>,
    /// The last row of the log before it was frozen.
    through: i64,
}

/// The bookings of buyers and of events.
#[derive(Default)]
pub(super) struct Lists {
    tail: Mutex<Tail>,
    sizes: Sizes,
    /// Whether somebody is writing segments.
    is_fed: AtomicBool,
    /// Whether a batch had to count a buyer's seats while the tail was not known.
    is_missed: AtomicBool,
}

impl Tail {
    fn add(&mut self, created: &[Listed]) {
        for Listed { booking_id, lists } in created {
            for list in lists {
                self.recent.entry(*list).or_default().push(*booking_id);
            }
            self.newest = self.newest.max(Some(*booking_id));
        }
        self.count += created.len();
    }
}

impl Lists {
    #[cfg(any(test, feature = "simulation"))]
    pub(super) fn of(sizes: Sizes) -> Self {
        Self { sizes, ..Self::default() }
    }

    /// Adds bookings that were just created. The writer calls it before anybody else has a turn.
    pub(super) fn note(&self, created: &[Listed]) {
        if created.is_empty() {
            return;
        }
        let mut tail = self.tail.lock();
        if tail.is_loaded {
            tail.add(created);
        }
        let frozen = tail.frozen.as_ref().map_or(0, |frozen| frozen.count);
        if tail.count + frozen >= self.sizes.tail_max {
            probe("a tail of lists is given up");
            *tail = Tail::default();
        }
    }

    /// Whether the tail is long enough for a segment.
    pub(super) fn is_due(&self) -> bool {
        self.tail.lock().count >= self.sizes.tail
    }

    /// Whether the tail is so long that it would soon be given up.
    #[cfg(feature = "fill")]
    pub(super) fn is_long(&self) -> bool {
        self.tail.lock().count >= self.sizes.tail_max / 2
    }

    /// Forgets what is known, for it may have become another.
    pub(super) fn forget(&self) {
        *self.tail.lock() = Tail::default();
    }

    pub(super) fn is_loaded(&self) -> bool {
        self.tail.lock().is_loaded
    }

    /// The bookings of a list that are in no segment, or were in none a moment ago, oldest first. Fails
    /// where the tail is not known: it may have been given up since it was asked for.
    fn in_tail(
        &self,
        list: ListId,
        before: Option<BookingId>,
        doing: &'static str,
    ) -> Result<Vec<BookingId>, Fault> {
        let tail = self.tail.lock();
        if !tail.is_loaded {
            return Err(self.missed(doing));
        }
        let frozen = tail.frozen.as_ref().and_then(|frozen| frozen.bookings.get(&list));
        let all = frozen.into_iter().chain(tail.recent.get(&list)).flatten().copied();
        let mut found: Vec<_> =
            all.filter(|booking_id| before.is_none_or(|before| *booking_id < before)).collect();
        drop(tail);
        // They are nearly so: this sort is the one that is fast then.
        found.sort();
        Ok(found)
    }

    /// Fails where the tail is not known, and notes that it was missed.
    fn demand(&self, doing: &'static str) -> Result<(), Fault> {
        if self.is_loaded() {
            return Ok(());
        }
        Err(self.missed(doing))
    }

    fn missed(&self, doing: &'static str) -> Fault {
        self.is_missed.store(true, Ordering::Relaxed);
        unavailable(doing)("the lists of bookings are not known")
    }

    /// Whether the tail was missed since this was asked.
    pub(super) fn take_missed(&self) -> bool {
        self.is_missed.swap(false, Ordering::Relaxed)
    }

    /// Adds up a buyer's live seats at an event by all that this buyer ever booked: for events that got
    /// their cap after they were created, and so have no list of live bookings by buyer. Of a buyer with
    /// more than [`COUNTED_MAX`] bookings it says more than any cap allows.
    pub(super) fn live_seats(
        &self,
        writing: &Writing<'_>,
        event_id: EventId,
        user_id: UserId,
    ) -> Result<i64, Fault> {
        // The bound makes the planner begin with the segments, and seek in each.
        const ONE_MORE: &str = "SELECT 1 AS one
            FROM list_segments s CROSS JOIN booking_lists x USING (segment)
            WHERE s.segment > 0 AND x.list_id = ?1 LIMIT 1 OFFSET ?2";
        const IN_SEGMENTS: &str = "SELECT COALESCE(SUM(b.seats), 0) AS live
            FROM list_segments s CROSS JOIN booking_lists x USING (segment)
                CROSS JOIN bookings b USING (booking_id)
            WHERE s.segment > 0 AND x.list_id = ?2 AND b.event_id = ?1
              AND b.status IN ('HOLD', 'CONFIRMED')
              AND (b.status = 'CONFIRMED' OR b.expires_at > ?3)";
        const ONE: &str = "SELECT seats AS live FROM bookings WHERE booking_id = ?2
            AND event_id = ?1 AND status IN ('HOLD', 'CONFIRMED')
            AND (status = 'CONFIRMED' OR expires_at > ?3)";
        const DOING: &str = "counting a buyer's seats";
        self.demand(DOING)?;
        let in_tail = self.in_tail(user_id.into(), None, DOING)?;
        let most = COUNTED_MAX - i64::try_from(in_tail.len()).unwrap_or(COUNTED_MAX);
        let of = (user_id.as_bytes(), most.max(0));
        if most < 0 || writing.one(DOING, ONE_MORE, of, |row| row.int("one"))?.is_some() {
            return Ok(i64::from(SEATS_PER_USER_MAX));
        }
        let now = writing.now.unix_ms();
        let of = (event_id.as_bytes(), user_id.as_bytes(), now);
        let mut live = writing.one(DOING, IN_SEGMENTS, of, |row| row.int("live"))?.unwrap_or(0);
        for booking_id in in_tail {
            let of = (event_id.as_bytes(), booking_id.as_bytes(), now);
            live += writing.one(DOING, ONE, of, |row| row.int("live"))?.unwrap_or(0);
        }
        Ok(live)
    }

    /// Takes the right to write segments; false when somebody else has it.
    fn begin_feeding(&self) -> bool {
        !self.is_fed.swap(true, Ordering::AcqRel)
    }

    fn end_feeding(&self) {
        self.is_fed.store(false, Ordering::Release);
    }
}
