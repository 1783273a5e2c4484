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
    /// How many of the sections have numbered seats.
    pub numbered: usize,
    pub organizer: u32,
    /// Whether sections have few seats.
    pub small: bool,
    /// Cuts of a COMMIT alone.
    pub lost: u32,
    /// Whether lanes queue and commit only a few commands at once.
    pub narrow: bool,
    /// Whether members of the organization sell to buyers, and strangers try to.
    pub sellers: bool,
    /// Marks that somebody spoils.
    pub spoils: u32,
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
        let swarm = Self {
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
            numbered: [0, 0, 1, 2][choices.pick("numbered", 4)],
            organizer: [0, 0, 30, 8][choices.pick("organizer", 4)],
            lost: [0, 0, 12, 3][choices.pick("lost", 4)],
            small: choices.pick("small", 4) == 1,
            narrow: choices.pick("narrow", 3) == 1,
            sellers: choices.pick("sellers", 3) == 1,
            spoils: [0, 0, 0, 150][choices.pick("spoils", 4)],
        };
        // In some runs all there is belongs together, for what only goes wrong when much of one kind does.
        match choices.pick("theme", 6) {
            3 => swarm.calm(),
            4 => swarm.of_old_news(),
            5 => swarm.of_lost_commits(),
            _ => swarm,
        }
    }

    /// Nothing is in the way: then nothing may be unknown.
    fn calm(self) -> Self {
        Self {
            cuts: 0,
            lost: 0,
            delays: 0,
            crashes: 0,
            freezes: 0,
            outages: 0,
            panics: 0,
            ticks: 0,
            ..self
        }
    }

    /// Few seats that come and go, and instances that hear of it late.
    fn of_old_news(self) -> Self {
        Self {
            instances: self.instances.max(2),
            sections: 1,
            numbered: self.numbered.min(1),
            commands: 100,
            at_once: self.at_once.max(6),
            small: true,
            freezes: 40,
            delays: 15,
            shared_gate: true,
            ..self.without_faults()
        }
    }

    /// Commits of which nobody knows, and keys that are claimed by them.
    fn of_lost_commits(self) -> Self {
        Self { keys: true, lost: 3, outages: 60, ..self.without_faults() }
    }

    fn without_faults(self) -> Self {
        Self {
            capped: false,
            carts: false,
            cuts: 0,
            crashes: 0,
            freezes: 0,
            delays: 0,
            outages: 0,
            poison: 0,
            panics: 0,
            organizer: 0,
            lost: 0,
            narrow: false,
            spoils: 0,
            ..self
        }
    }
}
