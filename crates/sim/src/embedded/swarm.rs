//! Which faults and sizes there are in a run of the embedded store.

use crate::choices::Choices;
use store::simulated::ListSizes;

/// When a buyer's seats at the event are limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cap {
    /// Never.
    None,
    /// From the beginning.
    Always,
    /// When somebody says so during the sale.
    Later,
}

/// Which faults and sizes there are in this run; of what happens, once in how many events.
#[derive(Clone, Debug)]
pub(super) struct Swarm {
    pub sections: usize,
    pub commands: usize,
    pub at_once: usize,
    pub cap: Cap,
    pub carts: bool,
    pub keys: bool,
    /// Crashes between two events.
    pub crashes: u32,
    /// Crashes in a COMMIT, and COMMITs that fail.
    pub commits: u32,
    /// Changes by somebody else who opens the file.
    pub others: u32,
    pub ticks: u32,
    pub workers: u32,
    /// Changes by the organizer.
    pub organizer: u32,
    /// Reads that are compared with a scan.
    pub looks: u32,
    /// Whether the first section has numbered seats.
    pub is_numbered: bool,
    pub sizes: ListSizes,
}

impl Swarm {
    pub(super) fn draw(choices: &mut Choices) -> Self {
        // Of each fault: none, rare, frequent.
        let mut fault = |kind, rare: u32, frequent: u32| match choices.pick(kind, 3) {
            0 => 0,
            1 => rare,
            _ => frequent,
        };
        let (crashes, commits) = (fault("crashes", 60, 25), fault("commits", 30, 12));
        let (others, looks) = (fault("others", 25, 8), fault("looks", 30, 10));
        let organizer = fault("organizer", 25, 8);
        let (ticks, workers) = (fault("ticks", 20, 6), fault("workers", 30, 10));
        let cap = [Cap::None, Cap::None, Cap::Always, Cap::Later][choices.pick("cap", 4)];
        let is_given_up = choices.pick("tail is given up", 4) == 3;
        Self {
            sections: 1 + choices.pick("sections", 3),
            commands: 8 + 8 * choices.pick("commands", 3),
            at_once: 1 + choices.pick("at once", 5),
            cap,
            carts: choices.pick("carts", 2) == 1,
            keys: choices.pick("keys", 2) == 1,
            crashes,
            commits,
            others,
            ticks,
            workers,
            organizer,
            looks,
            is_numbered: choices.pick("numbered", 3) == 1,
            sizes: ListSizes {
                tail: 3 + choices.pick("tail", 3),
                tail_max: if is_given_up { 7 } else { 1_000 },
                portion: 2 + choices.pick("portion", 3),
                merged: 2 + choices.pick("merged", 2),
            },
        }
    }
}
