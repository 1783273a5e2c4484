//! Lanes before a store of the tests' own, which can be frozen: what is submitted then has to wait,
//! and the next batch is what the lane makes of it.

pub(crate) mod fake;
mod seats;

use super::door::has_seats_for_all;
use super::*;
use crate::metrics::FOR_TESTS;
use engine::{
    AnyId, EventId, IdempotencyKey, Inventory, Overrides, SeatRequest, SectionId, UserId,
};
use fake::{Fake, Oddity, booking_id, now, number_of};
use futures_util::FutureExt;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use store::gate::{GateOptions, Local, Settlement};
use tokio::task::JoinHandle;

/// The number of the command at which a store freezes.
const ICE: u64 = 999_999;
/// Numbers of holds begin here; below are confirms.
const HOLDS: u64 = 100_000;

fn user() -> UserId {
    UserId::new(now(), Shard::pick(0), 0)
}

fn event() -> EventId {
    EventId::new(now(), Shard::pick(0), 0)
}

fn section() -> SectionId {
    SectionId::new(now(), Shard::pick(0), 0)
}

fn confirm(number: u64) -> Command {
    Command::Confirm { booking_id: booking_id(0, number), by: By::User(user()) }
}

fn hold_with(number: u64, key: Option<&str>) -> Command {
    let key = key.map(|key| (IdempotencyKey::new(key).expect("a key"), 0));
    let requests = vec![SeatRequest::Count { section_id: section(), seats: 1 }];
    let booking_id = booking_id(0, number);
    Command::Hold(Hold {
        booking_id,
        user_id: user(),
        seller: None,
        overrides: Overrides::NONE,
        event_id: event(),
        requests,
        key,
    })
}

fn hold(number: u64) -> Command {
    hold_with(number, None)
}

/// Two lanes; shard 0 belongs to the first, shard 1 to the second.
fn lanes(store: &Arc<Fake>, gate: &Arc<dyn Gate>) -> Lanes {
    let batches: Arc<dyn Batches> = store.clone();
    Lanes::start(2, &batches, store.clone(), gate, &FOR_TESTS, &Vitals::default())
}

fn gate() -> Arc<dyn Gate> {
    Arc::new(Local::new(GateOptions { fresh_ms: 60_000 }))
}

type Answered = JoinHandle<Result<Decided, Error>>;

/// Submits a command for shard 0 in a task of its own.
fn submit(lanes: &Lanes, command: Command) -> Answered {
    let lanes = lanes.clone();
    tokio::spawn(async move { lanes.submit(Shard::pick(0), command).await })
}

/// Waits until something has become so.
async fn until(mut holds: impl FnMut() -> bool) {
    let asked = tokio::time::timeout(Duration::from_secs(30), async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    asked.await.expect("a lane does not stand still");
}

/// Freezes the first lane: what is submitted from now on waits for the next batch.
async fn freeze(lanes: &Lanes, store: &Fake) -> Answered {
    let frozen = submit(lanes, confirm(ICE));
    until(|| !store.begun().is_empty()).await;
    frozen
}

/// Submits all, in their order, and gives them time to queue up.
async fn queue_up(lanes: &Lanes, commands: impl Iterator<Item = Command>) -> Vec<Answered> {
    let answers = commands.map(|command| submit(lanes, command)).collect();
    // Tasks of one thread run in the order in which they were spawned.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    answers
}

/// The number of the booking that a command was answered with.
async fn answered(answer: Answered) -> u64 {
    match answer.await.expect("submit does not panic") {
        Ok((Outcome::Booking { booking, .. }, _)) => number_of(booking.booking_id),
        other => panic!("no booking: {other:?}"),
    }
}

async fn failed(answer: Answered) -> Fault {
    match answer.await.expect("submit does not panic") {
        Err(Error::Failed(fault)) => fault,
        other => panic!("no fault: {other:?}"),
    }
}

#[tokio::test]
async fn a_batch_is_bounded_takes_confirms_first_and_starves_nobody() {
    let store = Arc::new(Fake::freezing_at(ICE));
    let lanes = lanes(&store, &gate());
    let _frozen = freeze(&lanes, &store).await;
    let held = queue_up(&lanes, (HOLDS..HOLDS + 1_000).map(hold)).await;
    let confirmed = queue_up(&lanes, (0..1_000).map(confirm)).await;
    store.thaw();
    for (number, answer) in (HOLDS..).zip(held).chain((0..).zip(confirmed)) {
        assert_eq!(answered(answer).await, number, "everybody gets the own answer");
    }
    let batches = store.begun();
    for batch in &batches[1..] {
        assert!(batch.len() <= BATCH_MAX, "{} commands at once", batch.len());
        let (confirms, holds) = batch.split_at(batch.partition_point(|number| *number < HOLDS));
        assert!(confirms.is_sorted() && holds.is_sorted(), "first come, first served: {batch:?}");
        assert!(holds.iter().all(|number| *number >= HOLDS), "confirms first: {batch:?}");
    }
    let urgent = batches[1].iter().filter(|number| **number < HOLDS).count();
    assert_eq!((batches[1].len(), urgent), (BATCH_MAX, URGENT_PER_BATCH_MAX));
    assert_eq!(batches[1..].iter().map(Vec::len).sum::<usize>(), 2_000);
    assert_eq!(store.under_way_max(), 1, "one batch in flight");
}

#[tokio::test]
async fn i9_a_full_queue_refuses_at_once_and_keeps_confirms_apart() {
    let store = Arc::new(Fake::freezing_at(ICE));
    let lanes = lanes(&store, &gate());
    let _frozen = freeze(&lanes, &store).await;
    let shard = Shard::pick(0);
    for number in HOLDS..HOLDS + QUEUE_MAX as u64 {
        // Looked at once and then given up: the command stays in the queue.
        let waits = lanes.submit(shard, hold(number)).now_or_never();
        assert!(waits.is_none(), "{number}: {waits:?}");
    }
    let refused = lanes.submit(shard, hold(0)).now_or_never();
    assert!(matches!(refused, Some(Err(Error::Failed(Fault::Overloaded { .. })))), "{refused:?}");
    let confirmed = queue_up(&lanes, std::iter::once(confirm(1))).await;
    store.thaw();
    for answer in confirmed {
        assert_eq!(answered(answer).await, 1);
    }
    assert_eq!(store.begun()[1][0], 1, "it waited for one batch only");
    until(|| store.done() == QUEUE_MAX + 2).await;
    assert!(store.begun().iter().all(|batch| batch.len() <= BATCH_MAX));
    assert_eq!(store.under_way_max(), 1, "one batch in flight");
}

#[tokio::test]
async fn a_command_whose_deadline_has_passed_is_never_decided() {
    let store = Arc::new(Fake::freezing_at(ICE));
    let lanes = lanes(&store, &gate());
    let started = Instant::now();
    let frozen = freeze(&lanes, &store).await;
    let late = queue_up(&lanes, [confirm(1), hold(HOLDS + 1)].into_iter()).await;
    tokio::time::sleep(DEADLINE / 2).await;
    let in_time = queue_up(&lanes, [confirm(2), hold(HOLDS + 2)].into_iter()).await;
    // The store is away for longer than anybody waits. What it does with the batch is unknown, and
    // said so; nobody waits for more than 5 seconds.
    assert!(matches!(failed(frozen).await, Fault::Unavailable { .. }), "unknown is not failed");
    for answer in late {
        assert!(matches!(failed(answer).await, Fault::Unavailable { .. }));
    }
    assert!(started.elapsed() >= DEADLINE);
    store.thaw();
    for (answer, number) in in_time.into_iter().zip([2, HOLDS + 2]) {
        assert_eq!(answered(answer).await, number);
    }
    assert_eq!(store.begun(), [vec![ICE], vec![2, HOLDS + 2]]);
}

#[tokio::test]
async fn a_command_that_waited_too_long_is_told_so_as_soon_as_it_is_taken() {
    let store = Arc::new(Fake::freezing_at(ICE));
    let lanes = lanes(&store, &gate());
    let _frozen = freeze(&lanes, &store).await;
    let asked = Instant::now();
    let late = queue_up(&lanes, [confirm(1), hold(HOLDS + 1)].into_iter()).await;
    tokio::time::sleep(DEADLINE + Duration::from_millis(200)).await;
    store.thaw();
    for answer in late {
        let fault = failed(answer).await;
        let told = matches!(fault, Fault::Overloaded { .. });
        // On a machine that stood still the clients have left by now.
        assert!(told || asked.elapsed() > ANSWER_TIMEOUT, "nothing was decided: {fault:?}");
    }
    assert_eq!(store.begun(), [vec![ICE]]);
}

#[tokio::test]
async fn a_bad_command_fails_alone() {
    for oddity in [Oddity::Corrupt, Oddity::Panic] {
        for bad in [vec![0], vec![99], vec![37], vec![36, 37], vec![0, 50, 99]] {
            let mut store = Fake::freezing_at(ICE);
            store.odd = bad.iter().map(|number| (*number, oddity)).collect();
            let store = Arc::new(store);
            let lanes = lanes(&store, &gate());
            let _frozen = freeze(&lanes, &store).await;
            let answers = queue_up(&lanes, (0..100).map(confirm)).await;
            store.thaw();
            for (number, answer) in (0..).zip(answers) {
                if bad.contains(&number) {
                    let fault = failed(answer).await;
                    assert!(matches!(fault, Fault::Corrupt { .. }), "{number}: {fault:?}");
                } else {
                    assert_eq!(answered(answer).await, number, "{oddity:?} of {bad:?}");
                }
            }
            assert_eq!(store.done(), 101 - bad.len(), "each good one was committed once");
            // Halving: each bad one costs two commits for each of the seven levels, and no more.
            assert!(store.begun().len() <= 2 + 14 * bad.len(), "{} commits", store.begun().len());
            assert_eq!(store.under_way_max(), 1, "one batch in flight");
        }
    }
}

#[tokio::test]
async fn a_store_that_is_away_is_asked_once_and_found_again() {
    let store = Arc::new(Fake::freezing_at(ICE));
    let lanes = lanes(&store, &gate());
    let frozen = freeze(&lanes, &store).await;
    let answers = queue_up(&lanes, (0..100).map(confirm)).await;
    store.is_away.store(true, Ordering::SeqCst);
    store.thaw();
    for answer in answers.into_iter().chain([frozen]) {
        assert!(matches!(failed(answer).await, Fault::Unavailable { .. }));
    }
    assert_eq!(store.begun().len(), 2, "nobody is to blame, so nothing is halved");
    store.is_away.store(false, Ordering::SeqCst);
    assert_eq!(answered(submit(&lanes, confirm(7))).await, 7);
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_undo_its_command() {
    let store = Arc::new(Fake::freezing_at(ICE));
    let lanes = lanes(&store, &gate());
    let under_way = freeze(&lanes, &store).await;
    let waiting = queue_up(&lanes, [confirm(1), hold(HOLDS), confirm(2)].into_iter()).await;
    under_way.abort();
    let [.., last] = waiting.as_slice() else { unreachable!("there are three") };
    waiting[0].abort();
    waiting[1].abort();
    tokio::task::yield_now().await;
    assert!(!last.is_finished());
    store.thaw();
    for answer in waiting.into_iter().skip(2) {
        assert_eq!(answered(answer).await, 2);
    }
    assert_eq!(store.begun(), [vec![ICE], vec![1, 2, HOLDS]]);
    assert_eq!(store.done(), 4);
}

#[tokio::test]
async fn a_lane_waits_for_no_other() {
    let store = Arc::new(Fake::freezing_at(ICE));
    let lanes = lanes(&store, &gate());
    let frozen = freeze(&lanes, &store).await;
    let there = booking_id(1, 5);
    let decided =
        lanes.submit_for(there, Command::Confirm { booking_id: there, by: By::User(user()) });
    let (outcome, at) = decided.await.expect("the second lane is free");
    assert!(matches!(outcome, Outcome::Booking { .. }));
    assert_eq!((at, store.done()), (now(), 1));
    assert_eq!(store.under_way_max(), 2, "one batch in flight in each lane");
    store.thaw();
    assert_eq!(answered(frozen).await, ICE);
}

#[tokio::test]
async fn what_was_queued_is_answered_when_everybody_has_left() {
    let store = Arc::new(Fake::freezing_at(ICE));
    let lanes = lanes(&store, &gate());
    let frozen = freeze(&lanes, &store).await;
    let answers = queue_up(&lanes, (0..5).map(confirm)).await;
    drop(lanes);
    store.thaw();
    for (number, answer) in (0..).zip(answers) {
        assert_eq!(answered(answer).await, number);
    }
    assert_eq!(answered(frozen).await, ICE);
}

/// A gate that has seen the section sold out.
fn sold_out_gate() -> Arc<dyn Gate> {
    let gate = gate();
    let inventory = Inventory { version: 1, ..Inventory::empty(section(), event()) };
    gate.settle(Settlement::of(&[inventory]));
    gate
}

async fn is_sold_out(answer: Answered) -> bool {
    let answer = answer.await.expect("submit does not panic");
    matches!(answer, Err(Error::Refused(Refusal::SoldOut { available: 0, requested: 1 })))
}

#[tokio::test]
async fn i8_the_gate_refuses_strangers_and_lets_committed_keys_through() {
    let mut store = Fake::freezing_at(ICE);
    store.committed_keys.push("known");
    let store = Arc::new(store);
    let lanes = lanes(&store, &sold_out_gate());
    let _frozen = freeze(&lanes, &store).await;
    let commands = [
        hold(HOLDS),
        hold_with(HOLDS + 1, Some("known")),
        hold_with(HOLDS + 2, Some("strange")),
        confirm(3),
    ];
    let [stranger, retry, strange, confirmed] =
        queue_up(&lanes, commands.into_iter()).await.try_into().expect("four");
    store.thaw();
    assert!(is_sold_out(stranger).await);
    assert!(is_sold_out(strange).await);
    assert_eq!(answered(retry).await, HOLDS + 1, "the store replays it");
    assert_eq!(answered(confirmed).await, 3, "the gate is not asked");
    assert_eq!(store.begun()[1..], [vec![3, HOLDS + 1]]);
    assert_eq!(store.keys_read(), 1, "once for the batch");
}

#[tokio::test]
async fn i8_without_an_answer_about_keys_the_gate_refuses_no_retry() {
    let store = Arc::new(Fake::freezing_at(ICE));
    let lanes = lanes(&store, &sold_out_gate());
    store.is_away.store(true, Ordering::SeqCst);
    let fault = failed(submit(&lanes, hold_with(HOLDS, Some("known")))).await;
    assert!(matches!(fault, Fault::Unavailable { .. }), "the store decides: {fault:?}");
    assert!(is_sold_out(submit(&lanes, hold(HOLDS))).await, "without a key nothing is to be known");
}

#[tokio::test]
async fn every_commit_settles_the_gate() {
    let mut store = Fake::freezing_at(ICE);
    store.inventories.push(Inventory { version: 2, ..Inventory::empty(section(), event()) });
    let store = Arc::new(store);
    let lanes = lanes(&store, &gate());
    assert_eq!(answered(submit(&lanes, hold(HOLDS))).await, HOLDS, "nothing is known yet");
    assert!(is_sold_out(submit(&lanes, hold(HOLDS + 1))).await);
    assert_eq!(store.begun(), [vec![HOLDS]], "the second one never got there");
}

#[test]
fn the_gate_is_left_out_only_where_there_were_seats_for_the_whole_batch() {
    let job = |number| {
        let (answer, _) = oneshot::channel();
        let reply = Reply { answer, desk: None };
        Job { command: hold(number), deadline: Instant::now(), reply }
    };
    let jobs = [job(HOLDS), job(HOLDS + 1), job(HOLDS + 2)];
    let asked_nobody = |capacity, next_expiry| {
        let empty = Inventory::empty(section(), event());
        let known = Inventory { capacity, next_expiry, ..empty }.snapshot();
        has_seats_for_all(&jobs, &BTreeMap::from([(section(), Some(known))]), now())
    };
    assert!(asked_nobody(3, None) && asked_nobody(3, Some(now().plus_ms(1))));
    assert!(!asked_nobody(2, None), "together they want three");
    assert!(!asked_nobody(3, Some(now())), "a hold that has ended makes it unknown");
    assert!(!has_seats_for_all(&jobs, &BTreeMap::from([(section(), None)]), now()));
}

#[tokio::test]
async fn answers_for_one_thread_come_over_its_desk_and_to_the_right_people() {
    let store = Arc::new(Fake::freezing_at(ICE));
    let lanes = lanes(&store, &gate());
    let desk = Desk::open_here();
    let _frozen = freeze(&lanes, &store).await;
    let held = queue_up(&lanes, (HOLDS..HOLDS + 300).map(hold)).await;
    store.thaw();
    until(|| store.begun().len() >= 2).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(held.iter().all(|answer| !answer.is_finished()), "they lie on the desk");
    tokio::spawn(desk.hand_out());
    for (number, answer) in (HOLDS..).zip(held) {
        assert_eq!(answered(answer).await, number);
    }
}

#[tokio::test]
async fn a_sold_out_storm_is_refused_at_the_door_and_asks_for_no_batch() {
    let store = Arc::new(Fake::freezing_at(ICE));
    let lanes = lanes(&store, &sold_out_gate());
    assert!(is_sold_out(submit(&lanes, hold(HOLDS))).await, "the first one has to ask the lane");
    let _frozen = freeze(&lanes, &store).await;
    assert!(is_sold_out(submit(&lanes, hold(HOLDS + 1))).await, "though the lane is busy");
    let with_key = submit(&lanes, hold_with(HOLDS + 2, Some("known")));
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!with_key.is_finished(), "a retry of a committed hold is not refused by what is left");
    store.thaw();
}

/// A gate that panics when it is asked, so often.
struct Cursed {
    gate: Local,
    panics_left: AtomicUsize,
}

#[async_trait::async_trait]
impl Gate for Cursed {
    async fn read(&self, sections: &[SectionId]) -> Vec<Option<engine::Snapshot>> {
        let left = self.panics_left.load(Ordering::SeqCst);
        if left > 0 {
            self.panics_left.store(left - 1, Ordering::SeqCst);
            panic!("planted");
        }
        self.gate.read(sections).await
    }

    fn enter(&self, epoch: store::Epoch) {
        self.gate.enter(epoch);
    }

    fn settle(&self, settlement: Settlement) {
        self.gate.settle(settlement);
    }

    async fn forget(&self, sections: &[SectionId]) {
        self.gate.forget(sections).await;
    }

    fn announce(&self, id: AnyId) {
        self.gate.announce(id);
    }

    fn announcements(&self) -> tokio::sync::broadcast::Receiver<AnyId> {
        self.gate.announcements()
    }

    async fn tally(&self, counts: &[(String, i64)], window_ms: u64) -> Option<Vec<i64>> {
        self.gate.tally(counts, window_ms).await
    }

    async fn ping(&self) -> Result<(), Fault> {
        self.gate.ping().await
    }

    fn describe(&self) -> String {
        self.gate.describe()
    }
}

#[tokio::test]
async fn a_lane_that_panics_is_started_again_and_those_in_its_hands_are_told() {
    let store = Arc::new(Fake::default());
    let gate = Local::new(GateOptions { fresh_ms: 60_000 });
    let gate: Arc<dyn Gate> = Arc::new(Cursed { gate, panics_left: AtomicUsize::new(2) });
    let vitals = Vitals::default();
    let batches: Arc<dyn Batches> = store.clone();
    let lanes = Lanes::start(2, &batches, store.clone(), &gate, &FOR_TESTS, &vitals);
    for number in HOLDS..HOLDS + 2 {
        let asked = Instant::now();
        let fault = failed(submit(&lanes, hold(number))).await;
        assert!(matches!(fault, Fault::Unavailable { .. }), "{fault:?}");
        assert!(asked.elapsed() < ANSWER_TIMEOUT, "they are told at once");
    }
    // What comes meanwhile waits, and is done.
    for number in [HOLDS + 2, 1, HOLDS + 3] {
        let command = if number < HOLDS { confirm(number) } else { hold(number) };
        assert_eq!(answered(submit(&lanes, command)).await, number);
    }
    assert_eq!((vitals.of(Kind::Lane), vitals.trouble()), (Some(true), None));
    let restarts = "reservix_task_restarts_total{task=\"lane_0\"}";
    let meters = FOR_TESTS.render();
    let told = meters.lines().find_map(|line| line.strip_prefix(restarts)?.trim().parse().ok());
    assert!(told.is_some_and(|times: u64| times >= 2), "{told:?}");
}
