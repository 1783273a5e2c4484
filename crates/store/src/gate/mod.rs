//! The gate: what stands in front of the store and may only say no.
//!
//! Per section it keeps a [`Snapshot`] of what the store committed. A batch reads it once before it
//! goes to the store, and every commit settles it again, so every commit heals it:
//!
//! ```text
//! read ──▶ no snapshot, or a lapsed one ──▶ nothing known ─┐
//!      ──▶ snapshot ──answer──▶ Admit ─────────────────────┼─▶ store decides ──▶ settle
//!                          └──▶ SoldOut: refused here      ┘
//! ```
//! It may refuse wrongly only until the next settle or for [`fresh_ms`](GateOptions::fresh_ms),
//! whichever is first, and it never causes a sale (I8). Deleting it at any moment changes nothing but
//! speed. Beside the snapshots it keeps *leases*: mirrors of live holds, which serve reads.

mod local;

use async_trait::async_trait;
use engine::{
    Booking, BookingId, BookingStatus, EventId, Fault, Inventory, SectionId, Snapshot, Timestamp,
};
use std::sync::Arc;
use tokio::sync::broadcast;

pub use local::{LEASES_MAX, Local, SNAPSHOTS_MAX};

/// The temporary layer. No method fails and none waits long: a gate that is away knows nothing.
#[async_trait]
pub trait Gate: Send + Sync {
    /// The fresh snapshots of `sections`, in their order; `None` where nothing fresh is known.
    async fn read(&self, sections: &[SectionId]) -> Vec<Option<Snapshot>>;
    /// Takes note of what a commit left behind. Returns at once; what cannot be noted is dropped.
    ///
    /// A snapshot replaces an older or a lapsed one; the same version counts as checked again.
    fn settle(&self, settlement: Settlement);
    /// Forgets sections. Always safe.
    async fn forget(&self, sections: &[SectionId]);
    /// The live hold with this id, if the gate mirrors it.
    async fn lease(&self, booking_id: BookingId) -> Option<Booking>;
    /// Tells every instance that an event was changed. Returns at once; it may get lost.
    fn announce(&self, event_id: EventId);
    /// The events that any instance announces from now on. A slow listener misses some.
    fn announcements(&self) -> broadcast::Receiver<EventId>;
    /// Adds to counters that all instances share and tells their sums, in the same order; `None` when
    /// this gate shares nothing, or is away. A counter ends `window_ms` after its first count.
    async fn tally(&self, counts: &[(String, u32)], window_ms: u64) -> Option<Vec<u64>>;
    /// Whether the gate answers.
    async fn ping(&self) -> Result<(), Fault>;
    /// What it is, for the start-up line.
    fn describe(&self) -> String;
}

/// What a commit left behind.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The sections it locked.
    pub snapshots: Vec<Snapshot>,
    /// The bookings it made or changed: live holds are leased, all others are not.
    pub bookings: Vec<Booking>,
    /// The clock by which it was decided.
    pub now: Timestamp,
}

impl Settlement {
    /// The settlement of a batch.
    #[must_use]
    pub fn of(inventories: &[Inventory], bookings: Vec<Booking>, now: Timestamp) -> Self {
        let snapshots = inventories.iter().map(Inventory::snapshot).collect();
        Self { snapshots, bookings, now }
    }

    fn is_leased(booking: &Booking) -> bool {
        booking.status == BookingStatus::Hold
    }
}

/// How to open a gate.
#[derive(Clone, Copy, Debug)]
pub struct GateOptions {
    /// For how long a snapshot may refuse without being checked (`GATE_FRESH_MS`).
    pub fresh_ms: u64,
}

impl GateOptions {
    fn fresh_ms(self) -> i64 {
        i64::try_from(self.fresh_ms).unwrap_or(i64::MAX)
    }
}

/// Opens the gate that the scheme of `url` names; none: the in-process gate.
pub fn open_gate(url: Option<&str>, options: GateOptions) -> Result<Arc<dyn Gate>, Fault> {
    match url {
        None => Ok(Arc::new(Local::new(options))),
        Some(url) => {
            let scheme = url.split(':').next().unwrap_or_default();
            Err(crate::unavailable("opening the gate")(format!(
                "there is no gate for REDIS_URL with the scheme {scheme:?}; this build has the in-process gate only"
            )))
        }
    }
}
