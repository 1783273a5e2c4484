//! What the store says, on its way to the gate: as long as it is news.

use std::time::Duration;
use store::Gate;
use store::gate::Settlement;
use tokio::time::Instant;

/// The maximum age of an answer that is settled. Others may have changed the sections since the store was
/// asked, and the gate treats every settlement as fresh (I8). A process that was frozen while it waited for
/// the answer would settle it much later.
pub const NEWS_MAX: Duration = Duration::from_secs(1);

/// Settles the gate with an answer of the store to a question of `asked_at`. Returns false, and settles
/// nothing, if the answer is too old. After a change the caller then has the gate forget the sections, since
/// what it has of them is older still.
pub fn settle(gate: &dyn Gate, settlement: Settlement, asked_at: Instant) -> bool {
    let is_news =
        asked_at.elapsed() <= NEWS_MAX || store::simulated::is_planted("old news settled");
    if is_news {
        gate.settle(settlement);
    }
    is_news
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{EventId, Inventory, SectionId, Shard, Timestamp};
    use store::gate::{GateOptions, Local};

    #[tokio::test]
    async fn i8_an_answer_that_took_too_long_is_not_settled() {
        let start = Timestamp::from_unix_ms(0);
        let event_id = EventId::new(start, Shard::pick(1), 1);
        let section_id = SectionId::new(start, event_id.shard(), 2);
        let gate = Local::new(GateOptions { fresh_ms: 60_000 });
        let settled = || Settlement::of(&[Inventory::empty(section_id, event_id)]);
        let now = Instant::now();
        let long_ago = now.checked_sub(NEWS_MAX + Duration::from_millis(1));
        let long_ago = long_ago.expect("the machine has been up for longer");
        assert!(!settle(&gate, settled(), long_ago));
        assert_eq!(gate.recall(&[section_id]), [None]);
        assert!(settle(&gate, settled(), now));
        assert!(gate.recall(&[section_id])[0].is_some());
    }
}
