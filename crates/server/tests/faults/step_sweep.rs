//! The sweep: one hold, then one confirm, with a fault at its first network write, at its second, and
//! so on until it has none left.
//!
//! Whatever step fails, the retry with the same key ends right, and nothing is sold or held twice.

use crate::TURN;
use crate::row::tail;
use crate::stage::{Plan, Stage, pause};
use crate::support::{Answer, Client, hold_body};
use crate::verdict::by_status;
use reqwest::Method;
use std::process::Command;
use std::time::{Duration, Instant};
use testbed::steps::Action;

const CAPACITY: i64 = 10_000;
/// More steps than a command can have.
const STEPS_MAX: usize = 60;
/// How long a retry may go on.
const GIVE_UP: Duration = Duration::from_secs(15);
/// How long the first instance may go on writing after its answer: the gate is told beside it.
const AFTER_THE_ANSWER: u64 = 40;

/// What happens at the step.
#[derive(Clone, Copy, Debug)]
enum Break {
    /// `kill -9` to the instance.
    Kill,
    CutBefore,
    CutAfter,
}

/// One stage, and what was sold on it.
struct Sweep {
    stage: Stage,
    event_id: String,
    keys: usize,
    sold: i64,
}

impl Sweep {
    async fn new() -> Self {
        // Nothing but the commands themselves may write.
        let settings = vec![("SWEEP_INTERVAL_MS", "0"), ("RECONCILE_INTERVAL_SECONDS", "0")];
        let stage = Stage::set(Plan { settings, ..Plan::default() }).await;
        let event_id = stage.event(CAPACITY).await;
        Self { stage, event_id, keys: 0, sold: 0 }
    }

    fn buyer(&self, instance: usize) -> Client {
        self.stage.at(&self.stage.buyers[0], instance)
    }

    fn new_key(&mut self) -> String {
        self.keys += 1;
        format!("step-{}", self.keys)
    }

    /// Breaks the `k`-th write from now on.
    fn arm(&self, k: usize, how: Break) {
        let action = match how {
            Break::CutBefore => Action::CutBefore,
            Break::CutAfter => Action::CutAfter,
            Break::Kill => {
                let pid = self.stage.pid(0).to_string();
                Action::Call(Box::new(move || {
                    let sent = Command::new("kill").args(["-KILL", &pid]).status();
                    assert!(sent.expect("kill runs").success());
                }))
            }
        };
        self.stage.steps.arm(k, action);
    }

    /// Whether the step was reached; sets the stage up again if it killed.
    async fn fired(&mut self, how: Break) -> bool {
        pause(AFTER_THE_ANSWER).await;
        let fired = self.stage.steps.fired();
        self.stage.steps.disarm();
        if fired && matches!(how, Break::Kill) {
            self.stage.bury(0);
            self.stage.start(0);
        }
        if fired {
            // What follows begins with open connections, as at first.
            self.warm_up().await;
        }
        fired
    }

    /// A hold that is confirmed, without any fault.
    async fn warm_up(&mut self) {
        let key = self.new_key();
        let booking_id = self.hold(&key, 0).await;
        let path = format!("/bookings/{booking_id}/confirm");
        assert_eq!(self.persist(&path, None, 0).await.status, 200);
        self.sold += 1;
        pause(AFTER_THE_ANSWER).await;
    }

    /// Asks the first instance, then `other` and the first in turn, until somebody answers.
    async fn persist(&self, path: &str, key: Option<&str>, other: usize) -> Answer {
        let body = key.map(|_| hold_body(&self.event_id, 1));
        let headers: Vec<_> = key.iter().map(|key| ("Idempotency-Key", *key)).collect();
        let begun = Instant::now();
        for turn in 0.. {
            let instance = if turn % 2 == 1 { other } else { 0 };
            let client = self.buyer(instance);
            let asked = Instant::now();
            let answer = client.try_send(Method::POST, path, body.as_ref(), &headers).await;
            let took = asked.elapsed();
            assert!(took < crate::judge::ANSWER_MAX, "{path} took {took:?}");
            match answer {
                Ok(answer) if !matches!(answer.status.as_u16(), 503) => return answer,
                Ok(answer) => assert!(answer.headers.contains_key("retry-after"), "{answer:?}"),
                Err(_) => {}
            }
            assert!(begun.elapsed() < GIVE_UP, "{path} never came right");
            pause(20).await;
        }
        unreachable!("the loop ends by an answer")
    }

    async fn hold(&self, key: &str, other: usize) -> String {
        let answer = self.persist("/bookings/hold", Some(key), other).await;
        assert_eq!(answer.status, 201, "{}", answer.short());
        answer.booking_id().expect("a hold has an id")
    }

    /// Breaks step after step of a hold or a confirm; returns how many it has.
    async fn run(&mut self, confirm: bool, how: Break, other: usize) -> usize {
        self.warm_up().await;
        for k in 1..STEPS_MAX {
            let key = self.new_key();
            let booking_id = if confirm {
                let booking_id = self.hold(&key, other).await;
                pause(AFTER_THE_ANSWER).await;
                self.arm(k, how);
                booking_id
            } else {
                self.arm(k, how);
                self.hold(&key, other).await
            };
            let path = format!("/bookings/{booking_id}/confirm");
            if confirm {
                let answer = self.persist(&path, None, other).await;
                assert_eq!(answer.status, 200, "step {k}: {}", answer.short());
                assert_eq!(answer.body["status"], "CONFIRMED");
            }
            let fired = self.fired(how).await;
            let again = self.buyer(1).hold_with_key(&self.event_id, 1, &key).await;
            let one = again.is_replayed() && again.booking_id().as_ref() == Some(&booking_id);
            assert!(one, "step {k} of {how:?}: {booking_id}, then {again:?}");
            assert_eq!(self.persist(&path, None, other).await.status, 200, "step {k}");
            self.sold += 1;
            if !fired {
                return k - 1;
            }
        }
        panic!("more than {STEPS_MAX} steps");
    }

    /// One booking for each key, and the counters and the log agree.
    async fn check(&self) {
        let organizer = self.stage.at(&self.stage.organizer, 1);
        let found = by_status(&organizer, &self.event_id).await;
        assert_eq!(found, [("CONFIRMED".to_owned(), self.sold)].into());
        let keys = i64::try_from(self.keys).expect("a few");
        assert_eq!(self.sold, keys, "one booking for each key");
        let seats = organizer.seats(&self.event_id).await;
        assert_eq!(seats, (CAPACITY - self.sold, 0, self.sold));
        self.stage.audit().expect("clean");
        let log = self.stage.log();
        let odd = log.iter().find(|line| line.contains("panicked"));
        assert!(odd.is_none(), "{odd:?}\n{}", tail(&log));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn i6_a_hold_and_a_confirm_come_right_whichever_step_of_them_fails() {
    let _turn = TURN.lock().await;
    let begun = Instant::now();
    let mut sweep = Sweep::new().await;
    for confirm in [false, true] {
        let what = if confirm { "confirm" } else { "hold" };
        for (how, other) in [
            (Break::Kill, 1),
            (Break::CutBefore, 0),
            (Break::CutBefore, 1),
            (Break::CutAfter, 0),
            (Break::CutAfter, 1),
        ] {
            let steps = sweep.run(confirm, how, other).await;
            assert!(steps >= 5, "a {what} has more steps than {steps}: the sweep sees too little");
            println!("{what}, {how:?}, retried at {other}: {steps} steps");
        }
    }
    sweep.check().await;
    println!("{} bookings, {:?}", sweep.sold, begun.elapsed());
}
