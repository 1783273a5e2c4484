//! The bound within which a right that was withdrawn ends (I15): four instances on one PostgreSQL whose
//! Redis is dead, so that nothing is announced.
//!
//! Each trial lets a key or a person read something at all four, takes the right away at one of them, and
//! asks all of them at moments at random.
//!
//! ```text
//!   accepted at all four    withdrawal is sent    acknowledged               1.0 s later
//! ├──── must be accepted ────────┼──── either ────────┼──── either ────────────┼── must be refused ──▶
//! ```
//! The commit is before its acknowledgement, and a request arrives after it was sent. So a machine that is
//! busy may hide an acceptance that came too late, and never makes one up. What must be accepted was
//! answered before the withdrawal was sent.
//!
//! A key and a team are of one trial at a time, so that no other trial has an instance read them anew. All
//! changes go to one instance for a quarter of the trials: a change of any key has the instance where it is
//! made look up all keys anew, and changes everywhere would keep young what all four know.

mod crew;
mod judge;
mod trial;

use crate::TURN;
use crate::row::tail;
use crate::support::dice::{Dice, setting};
use crew::{Crew, INSTANCES};
use judge::{BOUND, Findings};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use trial::{Kind, Place, Trial};

/// Trials of an ordinary run; `RESERVIX_FAULTS_REVOCATIONS` says how many else.
const SAMPLE: u64 = 200;
/// Trials at a time.
const AT_ONCE: u64 = 64;
/// How often a trial is played until it shows something: a machine that stalls may have had no instance
/// answer in time.
const ATTEMPTS: u64 = 5;
/// Findings that a failure names.
const SHOWN: usize = 10;

/// What is played.
#[derive(Clone, Copy)]
struct Plan {
    trials: u64,
    seed: u64,
    /// Whether the right is taken away. Otherwise it is only said to be, and the checker must find out.
    withdraws: bool,
    /// Requests to each instance right after the acknowledgement, beside those at any moment.
    at_once: u64,
}

/// Plays all trials, those also that have to be played again.
async fn play(crew: &Arc<Crew>, plan: Plan) -> Vec<Trial> {
    let next = Arc::new(AtomicU64::new(0));
    let mut places = JoinSet::new();
    for number in 0..AT_ONCE.min(plan.trials) {
        let (crew, next) = (crew.clone(), next.clone());
        places.spawn(async move {
            let mut place = Place::new(&crew, number).await;
            let mut played = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= plan.trials {
                    return played;
                }
                for attempt in 0..ATTEMPTS {
                    let seed = plan.seed.wrapping_add(number * ATTEMPTS + attempt);
                    let trial = one(&crew, &mut place, plan, number, Dice(seed)).await;
                    let is_whole = trial.is_whole();
                    played.push(trial);
                    if is_whole {
                        break;
                    }
                }
            }
        });
    }
    let mut all = Vec::new();
    while let Some(played) = places.join_next().await {
        all.extend(played.expect("no trial panics"));
    }
    all
}

async fn one(crew: &Crew, place: &mut Place, plan: Plan, number: u64, dice: Dice) -> Trial {
    let turn = usize::try_from(number).expect("a number of a trial");
    let kind = Kind::ALL[turn % Kind::ALL.len()];
    let home = usize::try_from(number * INSTANCES as u64 / plan.trials).expect("an instance");
    place.play(crew, kind, home, plan, dice).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn i15_a_withdrawn_right_ends_within_a_second_on_four_instances_without_redis() {
    let _turn = TURN.lock().await;
    let trials = setting("RESERVIX_FAULTS_REVOCATIONS").unwrap_or(SAMPLE);
    let seed = setting("RESERVIX_FAULTS_SEED").unwrap_or(1);
    println!("RESERVIX_FAULTS_SEED={seed} RESERVIX_FAULTS_REVOCATIONS={trials}");
    let crew = Arc::new(Crew::start().await);
    let begun = Instant::now();
    let played = play(&crew, Plan { trials, seed, withdraws: true, at_once: 0 }).await;
    println!("{}\n{} s", judge::table(&played), begun.elapsed().as_secs());
    let found = Findings::of(&played, BOUND);
    let shown = |of: &[String]| of[..of.len().min(SHOWN)].join("\n");
    assert!(found.late.is_empty(), "accepted too late:\n{}", shown(&found.late));
    assert!(found.early.is_empty(), "refused while it had the right:\n{}", shown(&found.early));
    assert!(found.odd.is_empty(), "{}\n{}", shown(&found.odd), tail(&crew.log()));
    assert_eq!(found.whole, trials, "the rest showed nothing: the machine is too busy");
    // Else announcements would have come through, or the requests said nothing.
    let at_all = Findings::of(&played, Duration::ZERO);
    assert!(!at_all.late.is_empty(), "nobody used a right that was just withdrawn");
}

/// The checker finds rights that were not withdrawn, and, with a bound that is too short, those that
/// instances still know of.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn control_a_right_that_stays_and_a_bound_that_is_too_short_are_found() {
    let _turn = TURN.lock().await;
    let crew = Arc::new(Crew::start().await);
    let trials = 3 * Kind::ALL.len() as u64;
    let plan = Plan { trials, seed: 1, withdraws: false, at_once: 0 };
    let (stays, ends) =
        (play(&crew, plan).await, play(&crew, Plan { withdraws: true, at_once: 8, ..plan }).await);
    println!("{}\n{}", judge::table(&stays), judge::table(&ends));
    for kind in Kind::ALL {
        let of = |all: &[Trial], bound| {
            Findings::of(all.iter().filter(|trial| trial.kind == kind), bound).late.len()
        };
        let whole = stays.iter().filter(|trial| trial.kind == kind && trial.is_whole()).count();
        assert!(whole > 0 && of(&stays, BOUND) >= whole * INSTANCES, "{kind:?} is not found");
        // Every instance knows the end of a key beforehand.
        let lingers = kind != Kind::KeyExpired;
        assert_eq!(of(&ends, Duration::ZERO) > 0, lingers, "{kind:?} by a bound that is too short");
        assert_eq!(of(&ends, BOUND), 0, "{kind:?}");
    }
}
