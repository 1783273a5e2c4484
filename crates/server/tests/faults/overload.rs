//! Five times the load it can carry. Requests come at their own pace, whether those before them were
//! answered or not, at one instance whose way to PostgreSQL is long: its batches are what is scarce,
//! not the processor that the buyers of this test share with it. Latency counts from the instant at
//! which a request was meant to be sent.

use crate::row::{Metronome, tail};
use crate::stage::{Plan, Stage, pause};
use crate::support::dice::setting;
use crate::support::hold_body;
use crate::support::wire::{Heard, Wire, head, post};
use crate::table::{self, Line};
use crate::{TURN, ensure};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How long each message of the instance to PostgreSQL is on its way, and each answer.
const WAY: Duration = Duration::from_millis(50);
/// Buyers who wait for an answer and ask again: two full batches.
const CROWD: usize = 1_024;
/// How much of what it can carry is a normal load.
const NORMAL: f64 = 0.6;
/// How much of it comes in the end.
const OVERLOAD: f64 = 5.0;
/// Confirms a second beside the holds.
const CONFIRMS: usize = 20;
/// A burst may queue at first; it is judged once that is over.
const ONSET: Duration = Duration::from_secs(3);
const MEASURED: Duration = Duration::from_secs(5);
/// No answer may take longer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Within which a refusal shall be given.
const REFUSED_WITHIN: Duration = Duration::from_millis(100);
/// Of what it can carry at its best, so much shall still be sold.
const GOODPUT_MIN: f64 = 0.8;
/// How soon the time of an answer shall be normal again.
const GOAL: Duration = Duration::from_secs(5);
/// Files of this process, most of them connections.
const FILES: u64 = 65_536;
/// Timings of a busy machine are judged by so many times their goal.
const TOLERANCE: u32 = 5;

/// What came back to a request.
struct Told {
    /// When it was meant to be sent, since the door opened.
    meant: Duration,
    took: Duration,
    status: u16,
}

/// The way to the instance: connections that are used again, and what came back.
struct Door {
    address: String,
    idle: Mutex<Vec<Wire>>,
    told: Mutex<Vec<Told>>,
    /// Holds that were given, ever.
    held: AtomicUsize,
    opened: Instant,
}

impl Door {
    fn of(stage: &Stage) -> Arc<Self> {
        let api = stage.api(0);
        let address = api.trim_start_matches("http://").trim_end_matches("/api/v1").to_owned();
        let (idle, told) = (Mutex::default(), Mutex::default());
        Arc::new(Self { address, idle, told, held: AtomicUsize::new(0), opened: Instant::now() })
    }

    /// Sends a request and notes what came back.
    async fn ask(&self, request: &str, meant: Instant) -> Heard {
        let idle = self.idle.lock().pop();
        let mut wire = match idle {
            Some(wire) => wire,
            None => Wire::over(TcpStream::connect(&self.address).await.expect("it listens")),
        };
        wire.send(request).await;
        let heard = wire.heard().await;
        self.idle.lock().push(wire);
        let answered_well = heard.status != 503 || heard.head.contains("\r\nretry-after: ");
        assert!(answered_well, "a refusal says when to come again: {}", heard.head);
        self.held.fetch_add(usize::from(heard.status == 201), Ordering::Relaxed);
        let (status, took) = (heard.status, meant.elapsed());
        self.told.lock().push(Told { meant: meant - self.opened, took, status });
        heard
    }

    /// What was told of requests that were meant to be sent at these times, which is then forgotten.
    fn told(&self, from: Duration, until: Duration) -> Vec<Told> {
        let told = std::mem::take(&mut *self.told.lock());
        told.into_iter().filter(|one| (from..until).contains(&one.meant)).collect()
    }

    fn now(&self) -> Duration {
        self.opened.elapsed()
    }
}

/// Sends so many requests a second for a while, each at its instant, and waits for all answers.
async fn pour(
    door: &Arc<Door>,
    per_second: f64,
    lasting: Duration,
    request: impl Fn(usize) -> Arc<str>,
) {
    let begun = Instant::now();
    let mut under_way = JoinSet::new();
    for n in 0.. {
        let meant = begun + Duration::from_secs_f64(n as f64 / per_second);
        if meant - begun >= lasting {
            break;
        }
        tokio::time::sleep_until(meant.into()).await;
        let (door, request) = (door.clone(), request(n));
        under_way.spawn(async move { door.ask(&request, meant).await });
        while under_way.try_join_next().is_some_and(|done| done.is_ok()) {}
    }
    while let Some(done) = under_way.join_next().await {
        done.expect("a request is answered");
    }
}

/// What it can carry: holds a second, with everybody asking again at once.
async fn at_its_best(door: &Arc<Door>, hold: &Arc<str>) -> f64 {
    let until = Instant::now() + MEASURED;
    let mut crowd = JoinSet::new();
    for _ in 0..CROWD {
        let (door, hold) = (door.clone(), hold.clone());
        crowd.spawn(async move {
            while Instant::now() < until {
                door.ask(&hold, Instant::now()).await;
            }
        });
    }
    while let Some(done) = crowd.join_next().await {
        done.expect("a buyer is answered");
    }
    let told = door.told(Duration::ZERO, Duration::MAX);
    let held = told.iter().filter(|one| one.status == 201).count();
    held as f64 / MEASURED.as_secs_f64()
}

/// The time within which 99 of 100 of those were answered.
fn p99<'a>(told: impl Iterator<Item = &'a Told>) -> Duration {
    let mut took: Vec<_> = told.map(|one| one.took).collect();
    took.sort_unstable();
    took.get(took.len() * 99 / 100).copied().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn five_times_the_load_it_can_carry_is_shed_at_once_and_confirms_go_on() {
    let _turn = TURN.lock().await;
    // A queue that nobody bounds holds a connection for each of its requests.
    rlimit::increase_nofile_limit(FILES).expect("the system gives what it has");
    for _ in 0..setting("RESERVIX_FAULTS_REPEAT").unwrap_or(1) {
        let stage = Stage::set(Plan::default()).await;
        match play(&stage).await {
            Ok(line) => table::add(&line),
            Err(violation) => panic!("{violation}\n{}", tail(&stage.log())),
        }
    }
}

async fn play(stage: &Stage) -> Result<Line, String> {
    let event_id = stage.event(10_000_000).await;
    let lag = Metronome::start();
    stage.links[0].postgres.delay(WAY);
    let door = Door::of(stage);
    let hold: Arc<str> = post(&stage.buyers[0], "/bookings/hold", &hold_body(&event_id, 1)).into();
    let best = at_its_best(&door, &hold).await;
    pour(&door, best * NORMAL, MEASURED, |_| hold.clone()).await;
    let normal = p99(door.told(Duration::ZERO, Duration::MAX).iter());

    let to_confirm = prepare_confirms(stage, &door, &hold).await;
    let confirms = Door::of(stage);
    let next = AtomicUsize::new(0);
    let confirm = |_| to_confirm[next.fetch_add(1, Ordering::Relaxed)].clone();
    let begun = door.now();
    tokio::join!(
        pour(&door, best * OVERLOAD, ONSET + MEASURED, |_| hold.clone()),
        pour(&confirms, CONFIRMS as f64, ONSET + MEASURED, confirm),
    );
    let over = door.now();
    let seen = Seen {
        told: door.told(begun + ONSET, begun + ONSET + MEASURED),
        confirms: confirms.told(Duration::ZERO, Duration::MAX),
        best,
        normal,
    };
    let healed = normal_again(&door, &hold, best, normal).await?;
    let lag = lag.stop();
    let line = seen.line(healed);
    seen.judge(lag)?;
    ensure!(healed <= GOAL * TOLERANCE, "normal only {healed:?} after {over:?}");
    balance(stage, &event_id, door.held.load(Ordering::Relaxed)).await?;
    Ok(line)
}

/// Holds, and the requests that will confirm them.
async fn prepare_confirms(stage: &Stage, door: &Arc<Door>, hold: &str) -> Vec<Arc<str>> {
    let seconds = usize::try_from((ONSET + MEASURED).as_secs()).expect("few");
    let held = (0..=CONFIRMS * seconds).map(|_| door.ask(hold, Instant::now()));
    let held = futures_util::future::join_all(held).await;
    let request = |held: Heard| {
        let booking_id = held.body["booking_id"].as_str().expect("a hold");
        let path = format!("/bookings/{booking_id}/confirm");
        format!("{}0\r\n\r\n", head(&stage.buyers[0], &path)).into()
    };
    held.into_iter().map(request).collect()
}

/// How long until a normal load is answered in the normal time again.
async fn normal_again(
    door: &Arc<Door>,
    hold: &Arc<str>,
    best: f64,
    normal: Duration,
) -> Result<Duration, String> {
    let over = Instant::now();
    door.told(Duration::ZERO, Duration::MAX);
    while over.elapsed() < GOAL * TOLERANCE {
        let begun = over.elapsed();
        pour(door, best * NORMAL, Duration::from_millis(500), |_| hold.clone()).await;
        let told = door.told(Duration::ZERO, Duration::MAX);
        if told.iter().all(|one| one.status == 201) && p99(told.iter()) <= normal * 2 {
            return Ok(begun);
        }
        pause(50).await;
    }
    Err("it does not become normal again".to_owned())
}

/// What was seen of the overload.
struct Seen {
    told: Vec<Told>,
    confirms: Vec<Told>,
    best: f64,
    normal: Duration,
}

impl Seen {
    fn of(&self, status: u16) -> impl Iterator<Item = &Told> {
        self.told.iter().filter(move |one| one.status == status)
    }

    fn goodput(&self) -> f64 {
        self.of(201).count() as f64 / MEASURED.as_secs_f64() / self.best
    }

    fn line(&self, healed: Duration) -> Line {
        println!(
            "five times {:.0}/s: {:.0} % of it sold, answered within {:?} (normal load {:?}); \
             {} refused within {:?}; confirms within {:?} (99 of 100 each)",
            self.best,
            self.goodput() * 100.0,
            p99(self.of(201)),
            self.normal,
            self.of(503).count(),
            p99(self.of(503)),
            p99(self.confirms.iter()),
        );
        Line {
            fault: "five times the load it can carry".to_owned(),
            holds: self.of(201).count(),
            confirms: self.confirms.iter().filter(|one| one.status == 200).count(),
            refused: self.of(503).count(),
            slowest: self.told.iter().map(|one| one.took).max().unwrap_or_default(),
            healed,
            goal: GOAL,
        }
    }

    fn judge(&self, lag: Duration) -> Result<(), String> {
        let strange = self.told.iter().find(|one| !matches!(one.status, 201 | 503));
        ensure!(strange.is_none(), "a hold was answered with {:?}", strange.map(|one| one.status));
        let refused = self.confirms.iter().find(|one| one.status != 200);
        ensure!(refused.is_none(), "a confirm was told {:?}", refused.map(|one| one.status));
        let all = || self.told.iter().chain(&self.confirms);
        let slowest = all().map(|one| one.took).max().unwrap_or_default();
        ensure!(slowest <= ANSWER_MAX + lag, "an answer took {slowest:?}");
        let offered = self.told.len() as f64 / MEASURED.as_secs_f64() / self.best;
        let is_offered = offered > OVERLOAD * 0.9;
        ensure!(is_offered, "only {offered:.1} times the load was offered");
        ensure!(self.of(503).count() > self.of(201).count(), "nobody had to be refused");
        let refusals = p99(self.of(503));
        ensure!(refusals <= REFUSED_WITHIN * TOLERANCE + lag, "refused after {refusals:?}");
        let accepted = p99(self.of(201));
        ensure!(accepted <= self.normal * 2 * TOLERANCE + lag, "accepted after {accepted:?}");
        let goodput = self.goodput();
        let is_good = goodput >= GOODPUT_MIN / 2.0;
        ensure!(is_good, "only {goodput:.2} of its best was sold");
        Ok(())
    }
}

/// All seats that somebody was told to have are on file, and no others.
async fn balance(stage: &Stage, event_id: &str, told: usize) -> Result<(), String> {
    stage.heal();
    let (_, held, sold) = stage.at(&stage.organizer, 1).seats(event_id).await;
    ensure!(usize::try_from(held + sold) == Ok(told), "{held} + {sold} seats, told of {told}");
    stage.audit()
}
