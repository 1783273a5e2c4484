//! The sweep: retires due holds, also those of events without requests, and cancels the live
//! bookings of cancelled events.
//!
//! It is a convenience: any batch that locks a section retires its due holds by itself, so a late,
//! dead or duplicate sweep affects only how soon the counters show it.

use super::{failed, next_turn};
use crate::core::Core;
use crate::lane::Lanes;
use crate::metrics::Metrics;
use crate::vitals::Part;
use engine::{Command, Error, Fault};
use std::sync::Arc;
use std::time::Duration;
use store::{Sweep, Timed};
use tokio_util::sync::CancellationToken;

/// Sections retired, and bookings cancelled, in one turn.
const PER_TURN_MAX: u32 = 500;
/// Rounds of one turn while it finds full portions of work.
const ROUNDS_MAX: u32 = 20;

pub(super) async fn run(
    core: Arc<Core>,
    part: Arc<Part>,
    interval: Duration,
    stop: CancellationToken,
) {
    while next_turn(interval, &stop).await {
        let _turn = part.turn();
        for _ in 0..ROUNDS_MAX {
            let more = match turn(&*core.store, &core.lanes).await {
                Ok(more) => {
                    Metrics::worker_turn("sweep", interval, core.store.now());
                    more
                }
                Err(fault) => {
                    let error = failed(&fault);
                    tracing::warn!(error, "the sweep could not finish its run");
                    false
                }
            };
            if !more || stop.is_cancelled() {
                break;
            }
        }
    }
}

/// One turn; true when there was more work than fits into it.
pub async fn turn(store: &(impl Sweep + Timed + ?Sized), lanes: &Lanes) -> Result<bool, Fault> {
    let due = store.due_sections(PER_TURN_MAX).await?;
    let now = store.now();
    let lag_ms = due.first().map_or(0, |(_, oldest)| now.since_ms(*oldest).max(0));
    Metrics::sweep_lag(Duration::from_millis(lag_ms.unsigned_abs()));
    let retired = due.iter().map(|(section_id, _)| {
        lanes.submit(section_id.shard(), Command::Retire { section_id: *section_id })
    });
    // A section that cannot be decided about keeps no other, and no called-off event, waiting.
    let mut failed = Ok(());
    for done in futures_util::future::join_all(retired).await {
        failed = failed.and(settled(done));
    }
    let called_off = store.to_cancel(PER_TURN_MAX).await?;
    let cancelled = called_off.iter().map(|booking_id| lanes.call_off(*booking_id));
    for done in futures_util::future::join_all(cancelled).await {
        failed = failed.and(settled(done));
    }
    if !called_off.is_empty() {
        tracing::info!(bookings = called_off.len(), "cancelled the bookings of cancelled events");
    }
    failed?;
    let full = |count: usize| count >= PER_TURN_MAX as usize;
    Ok(full(due.len()) || full(called_off.len()))
}

/// A refusal means that somebody else was faster, which is fine.
fn settled<T>(done: Result<T, Error>) -> Result<(), Fault> {
    match done {
        Ok(_) | Err(Error::Refused(_)) => Ok(()),
        Err(Error::Failed(fault)) => Err(fault),
    }
}
