//! Random batches over two sections with numbered seats and one that counts them, against a model.
//!
//! Sequence `n` is made from seed `n`, which a failure reports.

mod drive;
mod follow;
mod model;
mod planted;

use crate::backend::Kind;
use crate::pure::PureRules;
use crate::world::{ManualClock, POLICY};
use drive::Drive;

pub use model::fits;
pub use planted::Bug;

/// Runs the sequence of `seed`; returns each command with its answer.
///
/// # Panics
/// When it goes otherwise than the model says.
pub fn run(kind: &impl Kind, seed: u64) -> Vec<String> {
    kind.block_on(async {
        let clock = ManualClock::new();
        let backend = kind.open(POLICY, &clock).await;
        Drive::new(&*backend, clock, seed).await.run().await
    })
}

/// Runs `cases` sequences.
///
/// # Panics
/// At the first that goes otherwise than the model says.
pub fn all_go_as_the_model_says(kind: &impl Kind, cases: u64) {
    for seed in 0..cases {
        println!("seed {seed} on {kind:?}");
        run(kind, seed);
    }
}

/// Runs `cases` sequences, and the same ones on the pure rules.
///
/// # Panics
/// At the first that goes otherwise than the model says, or is answered otherwise than by the pure
/// rules.
pub fn all_go_as_on_the_pure_rules(kind: &impl Kind, cases: u64) {
    for seed in 0..cases {
        println!("seed {seed} on {kind:?}");
        assert_eq!(run(kind, seed), run(&PureRules, seed));
    }
}
