//! Random sequences of commands, on the pure rules and on every store, against the model.
//!
//! Sequence `n` is made from seed `n`, so a failure is told with its seed and comes again with
//! `RESERVIX_PROPERTY_SEED=n`, which runs that sequence alone. `RESERVIX_PROPERTY_CASES=10` runs
//! ten times as many. What fails is made smaller first; the smallest sequence that still fails
//! is told.

mod drive;
mod planted;
mod sequence;

use crate::backend::{Backend, Kind};
use crate::world::ManualClock;
use drive::Drive;
use engine::Policy;
use planted::{Bug, Planted};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use sequence::Sequence;
use std::cell::RefCell;
use std::collections::BTreeSet;
use tokio::runtime::Runtime;

/// Sequences on the pure rules.
const PURE_CASES: u64 = 10_000;
/// Sequences on the embedded store.
const STORE_CASES: u64 = 200;
/// Sequences on a store that takes a tenth of a second to make.
const SLOW_STORE_CASES: u64 = 60;
/// Sequences within which a planted bug must be found.
const FINDING_CASES: u64 = 500;

/// What the sequences run on.
#[derive(Clone, Copy, Debug)]
enum Subject {
    Sound(Kind),
    Spoiled(Bug),
}

impl Subject {
    async fn open(self, policy: Policy, clock: &ManualClock) -> Box<dyn Backend> {
        match self {
            Self::Sound(kind) => kind.open(policy, clock).await,
            Self::Spoiled(bug) => Box::new(Planted::new(bug, policy, clock)),
        }
    }
}

/// A sequence that went otherwise than the model says.
#[derive(Debug)]
struct Found {
    seed: u64,
    what: String,
    smallest: Sequence,
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Runs the sequence of `seed`; tells with which words its commands were answered.
fn run(
    runtime: &Runtime,
    subject: Subject,
    seed: u64,
    shrink: u32,
) -> Result<BTreeSet<String>, Found> {
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
        let driven = runtime.block_on(async {
            let clock = ManualClock::new();
            let backend = subject.open(sequence.policy, &clock).await;
            Drive::new(&*backend, clock, sequence.policy).run(&sequence).await
        });
        seen.borrow_mut().extend(driven.map_err(TestCaseError::fail)?);
        Ok(())
    });
    match result {
        Ok(()) => Ok(seen.into_inner()),
        Err(TestError::Fail(why, smallest)) => {
            Err(Found { seed, what: why.message().to_owned(), smallest })
        }
        Err(TestError::Abort(why)) => panic!("no sequence could be made: {why}"),
    }
}

/// Runs as many sequences as the settings say, and panics at the first that goes otherwise.
fn all_go_as_the_model_says(subject: Subject, cases: u64, shrink: u32) {
    let runtime = runtime();
    let seeds = match setting("RESERVIX_PROPERTY_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..cases * setting("RESERVIX_PROPERTY_CASES").unwrap_or(1),
    };
    for seed in seeds {
        if let Err(found) = run(&runtime, subject, seed, shrink) {
            panic!(
                "RESERVIX_PROPERTY_SEED={} on {subject:?}: {}\nthe smallest such sequence:\n{}",
                found.seed, found.what, found.smallest
            );
        }
    }
}

fn setting(name: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "a setting of this suite, not of the server")]
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text:?} is no number")))
}

#[test]
fn ten_thousand_sequences_on_the_pure_rules_go_as_the_model_says() {
    all_go_as_the_model_says(Subject::Sound(Kind::Pure), PURE_CASES, 20_000);
}

#[test]
fn two_hundred_sequences_on_sqlite_go_as_the_model_says() {
    all_go_as_the_model_says(Subject::Sound(Kind::Sqlite), STORE_CASES, 500);
}

#[test]
fn sixty_sequences_on_postgres_go_as_the_model_says() {
    all_go_as_the_model_says(Subject::Sound(Kind::Postgres), SLOW_STORE_CASES, 200);
}

#[test]
fn every_planted_bug_is_found() {
    let runtime = runtime();
    for bug in Bug::ALL {
        let mut seeds = 0..FINDING_CASES;
        let found = seeds.find_map(|seed| run(&runtime, Subject::Spoiled(bug), seed, 0).err());
        let found = found.unwrap_or_else(|| panic!("{bug:?} is not found"));
        println!("{bug:?} is found by sequence {}: {}", found.seed, found.what);
    }
}

#[test]
fn the_sequences_meet_every_answer_a_command_can_get() {
    let runtime = runtime();
    let pure = Subject::Sound(Kind::Pure);
    let seen = (0..500).flat_map(|seed| run(&runtime, pure, seed, 0).expect("sound"));
    let seen: BTreeSet<_> = seen.collect();
    for answer in [
        "Booking",
        "Section",
        "Nothing",
        "replayed",
        "NotFound",
        "NotOrganizer",
        "EventCancelled",
        "SaleNotOpen",
        "SaleClosed",
        "EventOver",
        "TooManySeats",
        "BuyerLimit",
        "SoldOut",
        "BookingCancelled",
        "HoldExpired",
        "ExtensionLimit",
        "NotCancellable",
        "CapacityInUse",
        "IdempotencyKeyReused",
    ] {
        assert!(seen.contains(answer), "no sequence is answered {answer}: {seen:?}");
    }
}
