//! One run: connections are opened, take their turns, and are counted.

use crate::ledger::Ledger;
use crate::machine;
use crate::pace::{Pace, Schedule};
use crate::plan::{Load, Plan};
use crate::progress::Progress;
use crate::pulse::Pulse;
use crate::record::{Op, Recorder};
use crate::report::{Client, Run, Tick};
use crate::roles::Role;
use crate::stage::Stage;
use crate::trouble::Trouble;
use crate::worker::{Stop, Worker};
use futures_util::StreamExt;
use futures_util::stream::iter;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Connections that are opened at the same time.
const DIALS_MAX: usize = 128;

/// Approximate number of slices of a run's timeline; none is shorter than [`SLICE_MIN`].
const SLICES: u32 = 240;
const SLICE_MIN: Duration = Duration::from_millis(250);

/// The client was the limit when it used this share of the cores.
const CPU_SHARE_FULL: f64 = 0.85;

/// Or when it was later than this itself.
const LATE_MS_MAX: f64 = 50.0;

/// The result of a run, and the answers that its connections received.
pub struct Done {
    /// The figures.
    pub run: Run,
    /// The history.
    pub ledger: Ledger,
}

struct Stream {
    role: Role,
    workers: Vec<Worker>,
    schedule: Arc<Schedule>,
}

/// Runs a plan once on its stage.
pub async fn run(plan: &Plan, stage: &Arc<Stage>, progress: &Progress) -> Result<Done, Trouble> {
    let load = &plan.load;
    let recorder = Arc::new(Recorder::new(machine::look().cores * 4));
    let stop = Arc::new(Stop::default());
    let pulse = Arc::clone(&stage.cast.target.pulse);
    let mut streams = streams(plan, stage, &recorder, &stop);
    pulse.unless_over(connect(&mut streams, progress)).await?;
    pulse.in_run(true);

    let started_at = Instant::now();
    recorder.begins(started_at);
    let schedule = |stream: &Stream| (stream.role.op(), Arc::clone(&stream.schedule));
    let schedules: Vec<_> = streams.iter().map(schedule).collect();
    let (mut mains, mut besides) = (JoinSet::new(), JoinSet::new());
    for (number, stream) in streams.into_iter().enumerate() {
        let crowd = if number == 0 { &mut mains } else { &mut besides };
        for worker in stream.workers {
            let (role, schedule) = (stream.role.clone(), Arc::clone(&stream.schedule));
            crowd.spawn(async move { worker.work(role, &schedule, started_at).await });
        }
    }

    let mut ledger = Ledger::new(1);
    let watch = Watch {
        load,
        recorder: &recorder,
        schedules,
        stop: &stop,
        pulse: &pulse,
        started_at,
        progress,
    };
    let mut run = watch.follow(&mut mains, &mut ledger).await;
    let sale = recorder.sale(stage.capacity());
    for crowd in [&mut mains, &mut besides] {
        while let Some(joined) = crowd.join_next().await {
            match joined {
                Ok(done) => ledger.append(done),
                // Its answers are lost, but not those of the others.
                Err(_) => stop.set("errors"),
            }
        }
    }
    pulse.in_run(false);
    for (entry, tried) in &stage.prepared {
        if !tried.load(Ordering::Relaxed) {
            ledger.note(*entry);
        }
    }
    stop.why().unwrap_or("requests").clone_into(&mut run.ended);
    if matches!(plan.role, Role::Rush(_)) && stage.is_ours {
        run.sale = Some(sale);
    }
    Ok(Done { run, ledger })
}

fn streams(
    plan: &Plan,
    stage: &Arc<Stage>,
    recorder: &Arc<Recorder>,
    stop: &Arc<Stop>,
) -> Vec<Stream> {
    let load = &plan.load;
    let beside = plan.beside.as_ref().filter(|beside| beside.rate > 0.0);
    let besides = beside.map_or(0, |beside| connections_beside(beside.rate));
    let all = load.connections + besides;
    let worker = |id| Worker::new(id, all, load.patience, stage, recorder, stop);
    let pace = match load.rate {
        Some(rate) => Pace::Open { rate, backlog: load.backlog },
        None => Pace::Closed,
    };
    let mut streams = vec![Stream {
        role: plan.role.clone(),
        workers: (0..load.connections).map(worker).collect(),
        schedule: Arc::new(Schedule::new(pace, load.requests)),
    }];
    if let Some(beside) = beside {
        let limit = match beside.role {
            Role::Confirms => stage.prepared.len() as u64,
            _ => u64::MAX,
        };
        let pace = Pace::Open { rate: beside.rate, backlog: besides as u64 };
        streams.push(Stream {
            role: beside.role.clone(),
            workers: (load.connections..all).map(worker).collect(),
            schedule: Arc::new(Schedule::new(pace, limit)),
        });
    }
    streams
}

/// Enough for answers that take a second.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
fn connections_beside(rate: f64) -> usize {
    rate.ceil().clamp(4.0, 128.0) as usize
}

/// Opens all connections before the clock starts.
async fn connect(streams: &mut [Stream], progress: &Progress) -> Result<(), Trouble> {
    let workers = streams.iter_mut().flat_map(|stream| stream.workers.iter_mut());
    let dials = workers.map(|worker| worker.wire.connect());
    let mut dials = iter(dials).buffer_unordered(DIALS_MAX);
    let (mut opened, mut failed) = (0_u64, 0_u64);
    while let Some(dialled) = dials.next().await {
        if dialled.is_ok() {
            opened += 1;
        } else {
            failed += 1;
        }
        progress.say(format!("{opened} connections open"));
    }
    if opened == 0 {
        return Err(Trouble::new(format!("none of {failed} connections could be opened")));
    }
    Ok(())
}

/// Follows a run: ends the warm-up, cuts the timeline, shows progress, and ends the run.
struct Watch<'a> {
    load: &'a Load,
    recorder: &'a Recorder,
    schedules: Vec<(Op, Arc<Schedule>)>,
    stop: &'a Stop,
    pulse: &'a Pulse,
    started_at: Instant,
    progress: &'a Progress,
}

impl Watch<'_> {
    async fn follow(&self, mains: &mut JoinSet<Ledger>, ledger: &mut Ledger) -> Run {
        let Self { load, recorder, stop, pulse, started_at, .. } = self;
        let warm_until = *started_at + Duration::from_secs_f64(load.warm_up);
        let ends_at = warm_until + Duration::from_secs_f64(load.seconds);
        let slice = ((ends_at - *started_at) / SLICES).max(SLICE_MIN);
        let mut slices = interval(slice);
        slices.set_missed_tick_behavior(MissedTickBehavior::Delay);
        slices.tick().await;
        let mut timeline: Vec<Tick> = Vec::new();
        let mut measured_from = *started_at;
        let mut own_before = machine::own_time();
        let mut dropped_before: Vec<u64> = vec![0; self.schedules.len()];
        let mut warm = load.warm_up > 0.0;
        loop {
            tokio::select! {
                biased;
                // Also where nobody is to wait any more. Of two signals given one after the other,
                // either may be seen first, so the reason does not depend on which it was.
                () = pulse.run_is_to_end(), if !stop.is_set() => {
                    stop.set(if pulse.is_away() { "no answer" } else { "interrupted" });
                }
                () = stop.wait_until(if warm { warm_until } else { ends_at }) => {
                    if stop.is_set() { break; }
                    if !warm {
                        stop.set("time");
                        break;
                    }
                    self.cut(&mut timeline, true);
                    warm = false;
                    recorder.begin();
                    measured_from = Instant::now();
                    own_before = machine::own_time();
                    dropped_before = self.dropped();
                }
                _ = slices.tick() => self.cut(&mut timeline, warm),
                joined = mains.join_next() => match joined {
                    Some(Ok(done)) => ledger.append(done),
                    Some(Err(_)) => stop.set("errors"),
                    None => { stop.set("requests"); break; }
                },
            }
        }
        recorder.close();
        let seconds = measured_from.elapsed().as_secs_f64();
        let mut operations = recorder.operations(seconds);
        let client = client(recorder, own_before, seconds, &operations);
        self.cut(&mut timeline, warm);
        let dropped = self.dropped().into_iter().zip(dropped_before);
        for ((op, _), (after, before)) in self.schedules.iter().zip(dropped) {
            if let Some(operation) = operations.iter_mut().find(|it| it.name == op.name()) {
                operation.dropped += after - before;
            }
        }
        Run { seconds, ended: String::new(), operations, timeline, client, sale: None }
    }

    fn dropped(&self) -> Vec<u64> {
        self.schedules.iter().map(|(_, schedule)| schedule.dropped()).collect()
    }

    /// Ends a slice of the timeline.
    fn cut(&self, timeline: &mut Vec<Tick>, warm_up: bool) {
        let at = self.started_at.elapsed().as_secs_f64();
        let seconds = at - timeline.last().map_or(0.0, |tick| tick.at);
        if seconds < SLICE_MIN.as_secs_f64() / 10.0 {
            return;
        }
        let tick = self.recorder.tick(at, seconds, warm_up);
        self.progress.show(&tick, self.load.warm_up + self.load.seconds);
        timeline.push(tick);
    }
}

fn client(
    recorder: &Recorder,
    own_before: Duration,
    seconds: f64,
    operations: &[crate::report::Operation],
) -> Client {
    let own = machine::own_time().saturating_sub(own_before).as_secs_f64();
    let cores = machine::look().cores as f64;
    let requests: u64 = operations.iter().map(|operation| operation.sent).sum();
    let cpu_share = if seconds > 0.0 { own / seconds / cores } else { 0.0 };
    let late_p99_ms = recorder.late_p99_ms();
    Client {
        cpu_share,
        cpu_us_per_request: own * 1e6 / (requests.max(1) as f64),
        late_p99_ms,
        was_the_limit: cpu_share > CPU_SHARE_FULL || late_p99_ms > LATE_MS_MAX,
    }
}
