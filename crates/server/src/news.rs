//! What the store says, on its way to the gate: as long as it is news.

use std::time::Duration;
use store::Gate;
use store::gate::Settlement;
use tokio::time::Instant;

/// What took longer to be said is no news: others may have changed the sections meanwhile, and the gate
/// counts what it is told as fresh (I8). A process that was frozen between a question and its answer would
/// tell it much later.
pub const NEWS_MAX: Duration = Duration::from_secs(1);

/// Settles the gate with the answer to what the store was asked at `asked_at`. False where that is no news:
/// after a change, what the gate has of these sections should be forgotten then, since it is older yet.
pub fn settle(gate: &dyn Gate, settlement: Settlement, asked_at: Instant) -> bool {
    let is_news =
        asked_at.elapsed() <= NEWS_MAX || store::simulated::is_planted("old news settled");
    if is_news {
        gate.settle(settlement);
    }
    is_news
}
