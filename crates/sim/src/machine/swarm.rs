//! Which faults and sizes there are in a run: with everything in it, faults would hide each other.

use crate::choices::Choices;

/// Which faults and sizes there are in this run.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is there or not")]
pub(super) struct Swarm {
    pub instances: usize,
    pub sections: usize,
    pub commands: usize,
    pub at_once: usize,
    pub capped: bool,
    pub carts: bool,
    pub keys: bool,
    pub cuts: u32,
    pub delays: u32,
    pub crashes: u32,
    pub freezes: u32,
    pub outages: u32,
    pub ticks: u32,
    pub workers: u32,
    pub ahead: bool,
    pub shared_gate: bool,
    pub poison: u32,
    pub panics: u32,
}

impl Swarm {
    pub(super) fn draw(choices: &mut Choices) -> Self {
        // Of each fault: none, rare, frequent.
        let mut fault = |kind, rare: u32, frequent: u32| match choices.pick(kind, 4) {
            0 | 1 => 0,
            2 => rare,
            _ => frequent,
        };
        let (cuts, delays) = (fault("cuts", 100, 12), fault("delays", 80, 15));
        let (crashes, freezes) = (fault("crashes", 400, 120), fault("freezes", 300, 80));
        let outages = fault("outages", 500, 150);
        Self {
            instances: 1 + choices.pick("instances", 3),
            sections: 1 + choices.pick("sections", 3),
            commands: 20 + 20 * choices.pick("commands", 5),
            at_once: 1 + choices.pick("at once", 24),
            capped: choices.pick("capped", 3) == 1,
            carts: choices.pick("carts", 2) == 1,
            keys: choices.pick("keys", 2) == 1,
            ticks: [0, 400, 60][choices.pick("ticks", 3)],
            workers: [0, 60, 6][choices.pick("workers", 3)],
            ahead: choices.pick("ahead", 2) == 1,
            shared_gate: choices.pick("shared gate", 2) == 1,
            poison: [0, 0, 40][choices.pick("poison", 3)],
            panics: [0, 0, 150][choices.pick("panics", 3)],
            cuts,
            delays,
            crashes,
            freezes,
            outages,
        }
    }
}
