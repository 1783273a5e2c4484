//! Random sequences of commands, on the pure rules and on every store, against the model.
//!
//! Sequence `n` is made from seed `n`, so a failure is reported with its seed and can be reproduced
//! with `RESERVIX_PROPERTY_SEED=n`, which runs that sequence alone. `RESERVIX_PROPERTY_CASES=10`
//! runs ten times as many. What fails is made smaller first; the smallest sequence that still fails
//! is told.

mod drive;
mod planted;
mod sequence;

use crate::backend::Kind;
use crate::world::ManualClock;
use drive::Drive;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

pub use planted::Bug;

/// A sequence that went otherwise than the model says.
#[derive(Debug)]
pub struct Found {
    seed: u64,
    what: String,
    smallest: String,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, what, smallest } = self;
        write!(f, "RESERVIX_PROPERTY_SEED={seed}: {what}\nthe smallest such sequence:\n{smallest}")
    }
}

/// Runs the sequence of `seed`; returns the words with which its commands were answered. What goes
/// otherwise is made smaller in at most `shrink` steps.
pub fn run(kind: &impl Kind, seed: u64, shrink: u32) -> Result<BTreeSet<String>, Found> {
    let config = Config {
        cases: 1,
        failure_persistence: None,
        max_shrink_iters: shrink,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let seen = RefCell::new(BTreeSet::new());
    let result = TestRunner::new_with_rng(config, rng).run(&sequence::any(), |sequence| {
        let driven = kind.block_on(async {
            let clock = ManualClock::new();
            let backend = kind.open(sequence.policy, &clock).await;
            Drive::new(&*backend, clock, sequence.policy).run(&sequence).await
        });
        seen.borrow_mut().extend(driven.map_err(TestCaseError::fail)?);
        Ok(())
    });
    match result {
        Ok(()) => Ok(seen.into_inner()),
        Err(TestError::Fail(why, smallest)) => {
            let (what, smallest) = (why.message().to_owned(), smallest.to_string());
            Err(Found { seed, what, smallest })
        }
        Err(TestError::Abort(why)) => panic!("no sequence could be made: {why}"),
    }
}

/// Runs `cases` sequences, or those that the settings name.
///
/// # Panics
/// At the first that goes otherwise than the model says.
pub fn all_go_as_the_model_says(kind: &impl Kind, cases: u64, shrink: u32) {
    let seeds = match setting("RESERVIX_PROPERTY_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..cases * setting("RESERVIX_PROPERTY_CASES").unwrap_or(1),
    };
    for seed in seeds {
        if let Err(found) = run(kind, seed, shrink) {
            panic!("on {kind:?}, {found}");
        }
    }
}

fn setting(name: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "a setting of this suite, not of the server")]
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text:?} is no number")))
}
