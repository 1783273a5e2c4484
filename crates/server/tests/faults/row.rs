//! One row: a stage, a load, a fault, and the verdict.

use crate::fault::Fault;
use crate::judge::Rules;
use crate::load::{Load, Show};
use crate::record::{Op, Record, healed_after};
use crate::stage::{Plan, Stage, pause};
use crate::support::dice::setting;
use crate::table::{self, Line};
use crate::{TURN, ensure, verdict};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A row fails at so many times its goal.
const TOLERANCE: u32 = 5;
/// No goal is judged by less than this.
const GOAL_MIN: Duration = Duration::from_millis(500);
/// How long buyers go on once all is normal.
const AFTERWARDS: Duration = Duration::from_millis(800);

/// Plays a fault on a stage of its own, once, or as often as `RESERVIX_FAULTS_REPEAT` says.
pub async fn play(fault: Fault) {
    let _turn = TURN.lock().await;
    for n in 0..setting("RESERVIX_FAULTS_REPEAT").unwrap_or(1) {
        let stage = Stage::set(fault.plan()).await;
        match round(&stage, fault, n).await {
            Ok(line) => table::add(&line),
            Err(violation) => panic!("{}: {violation}\n{}", fault.name(), tail(&stage.log())),
        }
    }
}

/// The end of a log.
pub fn tail(log: &[String]) -> String {
    log[log.len().saturating_sub(40)..].join("\n")
}

/// One round: buyers, a fault among them, its end, and the verdict.
pub async fn round(stage: &Stage, fault: Fault, seed: u64) -> Result<Line, String> {
    let show = Show::new(stage).await;
    let lag = Metronome::start();
    let rules = Rules { lapse: stage.holds_lapse(), ..fault.rules() };
    let load = Load::start(stage, &show, seed, rules.silence);
    let begun = stage.now();
    wait_until_normal(stage, &load, begun, &[0, 1], Duration::from_secs(20)).await?;
    let known = stage.redis.cli(&["DBSIZE"]);
    ensure!(known.parse().is_ok_and(|keys: u64| keys > 0), "the gate keeps nothing: {known}");
    fault.prepare(stage).await;
    let struck = stage.now();
    let from = fault.strike(stage).await.unwrap_or(struck);
    let over = stage.now();
    let limit = fault.goal().max(GOAL_MIN) * TOLERANCE;
    let mut healed = wait_until_normal(stage, &load, from, &[0, 1], limit)
        .await
        .map_err(|late| format!("{late}: {}", load.records(|all| told(all, from))))?;
    let mut normal = over.max(from + healed);
    if let Some(spared) = fault.spares() {
        // The others may be held up by what the frozen one has locked, and no longer.
        healed = wait_until_normal(stage, &load, struck, &[spared], limit).await?;
        normal = from;
    }
    tokio::time::sleep(AFTERWARDS).await;
    let history = load.stop().await;
    let rules = Rules { lag: lag.stop(), ..rules };
    let goal = fault.goal();
    let line = line(fault.name(), &history.records, struck, normal, healed, goal);
    verdict::of(stage, &show, &history, &rules).await?;
    ensure!(line.refused > 0 || !fault.is_felt(), "nobody felt it: the row shows nothing");
    Ok(line)
}

async fn wait_until_normal(
    stage: &Stage,
    load: &Load,
    from: Duration,
    instances: &[usize],
    limit: Duration,
) -> Result<Duration, String> {
    loop {
        pause(50).await;
        if let Some(healed) = load.records(|records| healed_after(records, from, instances)) {
            ensure!(healed <= limit, "normal only after {healed:?}");
            return Ok(healed);
        }
        let waited = stage.now().saturating_sub(from);
        ensure!(waited < limit + Duration::from_secs(1), "not normal after {waited:?}");
    }
}

fn line(
    fault: &str,
    records: &[Record],
    struck: Duration,
    until: Duration,
    healed: Duration,
    goal: Duration,
) -> Line {
    let during = || records.iter().filter(|one| one.ended >= struck && one.started <= until);
    let successes = |op| during().filter(|one| one.op == op && one.is_success()).count();
    let is_refused = |one: &&Record| match &one.heard {
        crate::record::Heard::Answer { status, .. } => *status == 503,
        _ => true,
    };
    Line {
        fault: fault.to_owned(),
        holds: successes(Op::Hold),
        confirms: successes(Op::Confirm),
        refused: during().filter(is_refused).count(),
        slowest: during()
            .map(|one| one.ended.saturating_sub(one.started))
            .max()
            .unwrap_or_default(),
        healed,
        goal,
    }
}

/// The first records since `from` that are no success, for a message.
fn told(records: &[Record], from: Duration) -> String {
    let odd = records.iter().filter(|one| one.started >= from && !one.is_success());
    let odd: Vec<_> = odd.take(12).map(|one| format!("{one:?}")).collect();
    odd.join("\n")
}

/// An error with its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Measures how late this process is at times, because the machine is busy.
pub struct Metronome {
    latest: Arc<Mutex<Duration>>,
    task: tokio::task::JoinHandle<()>,
}

impl Metronome {
    pub fn start() -> Self {
        const BEAT: Duration = Duration::from_millis(20);
        let latest = Arc::new(Mutex::new(Duration::ZERO));
        let kept = latest.clone();
        let task = tokio::spawn(async move {
            loop {
                let asleep = Instant::now();
                tokio::time::sleep(BEAT).await;
                let late = asleep.elapsed().saturating_sub(BEAT);
                let mut latest = kept.lock();
                *latest = latest.max(late);
            }
        });
        Self { latest, task }
    }

    /// The most that a beat was late.
    pub fn stop(self) -> Duration {
        self.task.abort();
        *self.latest.lock()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_verdict_finds_what_was_changed_behind_the_back_of_the_instances() {
    let _turn = TURN.lock().await;
    let stage = Stage::set(Plan::default()).await;
    for (named, lie) in [
        (
            "is lost",
            "WITH gone AS (DELETE FROM bookings WHERE booking_id = (SELECT booking_id FROM bookings
                WHERE status = 'CONFIRMED' ORDER BY created_at DESC LIMIT 1) RETURNING booking_id)
                DELETE FROM hold_keys USING gone WHERE hold_keys.booking_id = gone.booking_id",
        ),
        (
            "against what was told",
            "UPDATE bookings SET status = 'HOLD', confirmed_at = NULL WHERE booking_id = (SELECT
                booking_id FROM bookings WHERE status = 'CONFIRMED' ORDER BY created_at DESC LIMIT 1)",
        ),
    ] {
        let show = Show::new(&stage).await;
        let load = Load::start(&stage, &show, 1, false);
        pause(700).await;
        let history = load.stop().await;
        stage.sql(lie);
        let rules = Rules { lag: Duration::from_secs(1), ..Rules::default() };
        let found = verdict::of(&stage, &show, &history, &rules).await;
        let found = found.expect_err("a lie passes");
        assert!(found.contains(named), "found, but not by {named:?}: {found}");
        assert!(stage.audit().is_err(), "the audit does not see it");
    }
}
