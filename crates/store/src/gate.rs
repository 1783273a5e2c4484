//! The gate: a filter in front of the store that can only refuse.
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
//! speed. Beside the snapshots it keeps the [`marks`](KnownMarks) of sections with numbered seats,
//! which speak beside a fresh snapshot of their version. It knows no booking: those are read from the
//! store.

mod local;
mod marks;
mod redis;

use crate::Epoch;
use async_trait::async_trait;
use engine::seats::Marks;
use engine::{AnyId, Fault, Inventory, SectionId, Snapshot};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::broadcast;

pub use local::{Local, SNAPSHOTS_MAX};
pub use marks::{CheckedMarks, KnownMarks, MARKS_BYTES_MAX};
pub use redis::Redis;
#[cfg(feature = "simulation")]
pub use redis::{Own, Unsent};

/// The temporary layer. No method fails and none waits long: a gate that is away knows nothing.
#[async_trait]
pub trait Gate: Send + Sync {
    /// The fresh snapshots of `sections`, in their order; `None` where nothing fresh is known.
    async fn read(&self, sections: &[SectionId]) -> Vec<Option<Snapshot>>;
    /// Of the snapshots that [`read`](Self::read) would give, those that are known without asking
    /// anybody. They may be older than what other instances have settled, never older than fresh.
    fn recall(&self, sections: &[SectionId]) -> Vec<Option<Snapshot>> {
        vec![None; sections.len()]
    }
    /// The newest marks that are kept of `sections`, in their order. They say nothing alone, only
    /// beside a fresh snapshot to which they [belong](KnownMarks::belong_to).
    async fn marks(&self, sections: &[SectionId]) -> Vec<Option<KnownMarks>> {
        self.recall_marks(sections)
    }
    /// Of the marks that [`marks`](Self::marks) would give, those that are known without asking anybody.
    fn recall_marks(&self, sections: &[SectionId]) -> Vec<Option<KnownMarks>> {
        vec![None; sections.len()]
    }
    /// Whether [`read`](Self::read) has to ask somebody else.
    fn is_remote(&self) -> bool {
        false
    }
    /// Takes note of what a commit left behind. Returns at once; what cannot be noted is dropped.
    ///
    /// A snapshot replaces an older or a lapsed one; the same version counts as checked again. So do
    /// marks.
    fn settle(&self, settlement: Settlement);
    /// Forgets sections. Always safe.
    async fn forget(&self, sections: &[SectionId]);
    /// Goes over to another history of the store, and forgets the one before: what is kept in one is
    /// never seen in another, by no instance and by no other store on the same gate.
    fn enter(&self, epoch: Epoch);
    /// Notifies every instance that an event was changed, or what members of an organization may do.
    /// Returns immediately; the notification can be lost.
    fn announce(&self, id: AnyId);
    /// What any instance announces from now on. A slow listener misses some.
    fn announcements(&self) -> broadcast::Receiver<AnyId>;
    /// Since when it has been listening to what other processes announce, without a break; `None` while it
    /// is not. What was announced before may have been missed.
    fn listens_since(&self) -> Option<Instant> {
        None
    }
    /// Adds to counters that all instances share, or takes from them, and returns their sums, in the same
    /// order; `None` when this gate shares nothing, or is away. A counter ends `window_ms` after its first
    /// count.
    async fn tally(&self, counts: &[(String, i64)], window_ms: u64) -> Option<Vec<i64>>;
    /// Whether the gate answers.
    async fn ping(&self) -> Result<(), Fault>;
    /// How it is, for metrics. Asks nobody.
    fn health(&self) -> GateHealth {
        GateHealth::default()
    }
    /// What it is, for the start-up line.
    fn describe(&self) -> String;
}

/// How a gate is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GateHealth {
    /// For how long its server has not been called, because it is unavailable.
    pub away: Option<Duration>,
    /// Snapshots and marks that were settled and may never have reached it, since the start.
    pub dropped: u64,
}

/// What a commit left behind.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The sections it locked.
    pub snapshots: Vec<Snapshot>,
    /// The marks of those of which numbered seats were taken or released.
    pub marks: Vec<KnownMarks>,
}

impl Settlement {
    /// The settlement of a batch.
    #[must_use]
    pub fn of(inventories: &[Inventory]) -> Self {
        let snapshots = inventories.iter().map(Inventory::snapshot).collect();
        Self { snapshots, marks: Vec::new() }
    }

    /// The settlement with the marks that the batch changed.
    #[must_use]
    pub fn with_marks(mut self, changed: Vec<(SectionId, Marks)>) -> Self {
        let seen = |(section_id, marks)| KnownMarks::committed(section_id, marks);
        self.marks.extend(changed.into_iter().map(seen));
        self
    }

    /// What was read of marks, and nothing else.
    #[must_use]
    pub fn of_marks(seen: KnownMarks) -> Self {
        Self { snapshots: Vec::new(), marks: vec![seen] }
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
///
/// A server that is away is no error: a gate connects beside its callers, in the runtime this is
/// called in.
pub fn open_gate(url: Option<&str>, options: GateOptions) -> Result<Arc<dyn Gate>, Fault> {
    let Some(url) = url else { return Ok(Arc::new(Local::new(options))) };
    let wrong = |what: String| Fault::Unsuitable { what: format!("REDIS_URL is invalid: {what}") };
    check_gate_url(url).map_err(wrong)?;
    Ok(Arc::new(Redis::open(url, options).map_err(wrong)?))
}

/// Says why a URL of a gate can never work. It opens nothing, and repeats no secret.
pub fn check_gate_url(url: &str) -> Result<(), String> {
    // Only the part before :// is shown: the rest may contain a password.
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    if !redis::knows(scheme) {
        return Err(format!(
            "unknown scheme {scheme:?} of a gate; the known ones are redis, rediss, \
             redis+sentinel, rediss+sentinel, redis+cluster and rediss+cluster"
        ));
    }
    redis::check(url)
}
