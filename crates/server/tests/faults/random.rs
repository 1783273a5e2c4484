//! Random faults, one after the other on one stage, for as many minutes as
//! `RESERVIX_FAULTS_RANDOM_MINUTES` says; without it, this plays two rounds.

use crate::TURN;
use crate::fault::REPEATABLE;
use crate::row::{round, tail};
use crate::stage::{Plan, Stage};
use crate::support::dice::{Dice, setting};
use crate::table;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn faults_in_any_order_leave_nothing_behind() {
    let _turn = TURN.lock().await;
    let minutes = setting("RESERVIX_FAULTS_RANDOM_MINUTES").unwrap_or(0);
    let moment = store::clock::wall()().unix_ms().unsigned_abs();
    let seed = setting("RESERVIX_FAULTS_SEED").unwrap_or(moment ^ u64::from(std::process::id()));
    println!("RESERVIX_FAULTS_SEED={seed} RESERVIX_FAULTS_RANDOM_MINUTES={minutes}");
    let mut dice = Dice(seed);
    let until = Instant::now() + Duration::from_secs(60 * minutes);
    let postgres = vec![("fsync", "on"), ("max_connections", "30")];
    let stage = Stage::set(Plan { postgres, ..Plan::default() }).await;
    for n in 0_u32.. {
        if n >= 2 && Instant::now() >= until {
            break;
        }
        let choice = usize::try_from(dice.roll(REPEATABLE.len() as u64)).expect("an index");
        let fault = REPEATABLE[choice];
        match round(&stage, fault, dice.roll(u64::MAX)).await {
            Ok(mut line) => {
                line.fault = format!("at random: {}", line.fault);
                table::add(&line);
            }
            Err(violation) => {
                let name = fault.name();
                panic!("round {n}, {name}: {violation}\n{}", tail(&stage.log()));
            }
        }
    }
}
