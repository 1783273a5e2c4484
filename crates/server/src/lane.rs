//! Lanes: the queues through which commands reach the store, many in one commit.
//!
//! A lane is two bounded queues and one task. The task takes all queued commands, reads the gate
//! once, commits once and answers all clients; meanwhile, the next batch gathers. So the batch
//! grows with the load and needs no timer.
//!
//! ```text
//! confirm, cancel, extend ─▶ urgent ─┐
//!                                    ├─▶ batch ─▶ gate.read ─▶ store.commit ─▶ gate.settle ─▶ answers
//! hold ────────────────────▶ holds ──┘
//! ```
//! Guarantees: one batch in flight per lane; a hold that would wait for too long is refused at once
//! (`admission`); a command whose deadline has passed is refused and never decided; a commit runs
//! in a task of its own that no client can cancel; a command that makes a batch fail is found by
//! halving and fails alone; a lane that panics is restarted.

mod admission;
mod ask;
mod desk;
mod door;
mod named_seats;
mod observers;

use crate::metrics::Metrics;
use crate::quiet::SaidLately;
use crate::vitals::{self, Kind, Part, Vitals};
use admission::{Admission, Shedding};
use desk::answer_all;
use door::Door;
use engine::{BookingId, By, Command, Error, Fault, Hold, Outcome, Refusal, Shard, Timestamp};
use futures_util::FutureExt as _;
use futures_util::future::{Either, ready};
use named_seats::NamedSeats;
use observers::{Batch, Observer, observers};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use store::simulated::{is_planted, probe};
use store::{Batches, Gate, Seats};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Commands waiting in each of the two queues of a lane; more are refused.
pub const QUEUE_MAX: usize = 16_384;
/// Commands in one batch.
pub const BATCH_MAX: usize = 512;
/// Of these, confirms and their like: holds always get the rest, so neither starves the other.
pub const URGENT_PER_BATCH_MAX: usize = 384;
/// How long a command may wait to be taken.
pub const DEADLINE: Duration = Duration::from_secs(4);
/// How long a client waits for an answer. Later the outcome is unknown, and a retry finds it.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(4_800);
/// A lane whose batch takes this long is stuck: all its clients have left.
const STILL_MAX: Duration = Duration::from_secs(10);

pub use desk::Desk;

/// How much a lane queues and commits at once.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Commands waiting in each of its two queues; more are refused.
    pub queue_max: usize,
    /// Commands in one batch.
    pub batch_max: usize,
    /// Of these, confirms and their like.
    pub urgent_max: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { queue_max: QUEUE_MAX, batch_max: BATCH_MAX, urgent_max: URGENT_PER_BATCH_MAX }
    }
}

/// What a command came to, and the clock by which it was decided.
pub type Decided = (Outcome, Timestamp);

/// Who waits for an answer, and where.
struct Reply {
    answer: oneshot::Sender<Result<Decided, Error>>,
    desk: Option<Arc<Desk>>,
}

impl Reply {
    /// Answers a client. If the client has disconnected, the command still counts.
    fn send(self, decided: Result<Decided, Error>) {
        let _ = self.answer.send(decided);
    }
}

struct Job {
    command: Command,
    deadline: Instant,
    reply: Reply,
}

impl Job {
    /// The same for nobody, as a planted bug.
    fn that_nobody_waits_for(&self) -> Self {
        let reply = Reply { answer: oneshot::channel().0, desk: None };
        Self { command: self.command.clone(), deadline: self.deadline, reply }
    }
}

struct Queues {
    urgent: mpsc::Sender<Job>,
    holds: mpsc::Sender<Job>,
    admission: Arc<Admission>,
    /// Whether the gate refused something of the last batch: then it is asked at the door, too.
    is_refusing: Arc<AtomicBool>,
}

impl Queues {
    /// Puts a command where it has to wait.
    fn put(&self, job: Job, now: Instant) -> Result<(), Fault> {
        let full = Fault::Overloaded { what: "the queue is full" };
        let is_urgent = !matches!(job.command, Command::Hold(_));
        if is_urgent && !is_planted("confirm waits behind holds") {
            return self.urgent.try_send(job).map_err(|_| full);
        }
        let waiting = self.holds.max_capacity() - self.holds.capacity();
        if !self.admission.admits(waiting, now) {
            return Err(Fault::Overloaded { what: "the number of holds exceeds the capacity" });
        }
        self.holds.try_send(job).map_err(|_| full)
    }
}

/// All lanes of this instance. Cloning shares them.
#[derive(Clone)]
pub struct Lanes {
    queues: Arc<[Queues]>,
    door: Door,
}

impl Lanes {
    /// Starts `count` lanes. They end when the last clone is dropped and what was queued is answered.
    ///
    /// They run on a thread of their own: a commit has a dozen short waits, and beside the tasks of
    /// the connections it would queue behind hundreds of them after each.
    ///
    /// # Panics
    /// If the system cannot create a thread: nothing could ever be sold.
    pub fn start(
        count: usize,
        batches: &Arc<dyn Batches>,
        seats: Arc<dyn Seats>,
        gate: &Arc<dyn Gate>,
        metrics: &Arc<Metrics>,
        vitals: &Vitals,
    ) -> Self {
        let sizes = Sizes::default();
        let (lanes, work) = Self::parts(count, sizes, batches, seats, gate, metrics, vitals);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("the system gives a process its first few descriptors");
        let run = move || {
            // Lanes that panic are started again. Without the thread itself there would be a process
            // that refuses everything for ever; its supervisor starts a better one.
            if catch_unwind(AssertUnwindSafe(|| runtime.block_on(work))).is_err() {
                tracing::error!("the lanes panicked because of a bug; the process aborts");
                crate::log::flush();
                std::process::abort();
            }
        };
        let thread = std::thread::Builder::new().name("lanes".to_owned()).spawn(run);
        thread.expect("the system gives a process its first few threads");
        lanes
    }

    /// Makes `count` lanes of these sizes, and the work that they do where it is polled.
    pub fn parts(
        count: usize,
        sizes: Sizes,
        batches: &Arc<dyn Batches>,
        seats: Arc<dyn Seats>,
        gate: &Arc<dyn Gate>,
        metrics: &Arc<Metrics>,
        vitals: &Vitals,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let named_seats = NamedSeats::new(seats, gate.clone());
        let observers = observers(metrics, gate, &named_seats);
        let mut lanes = Vec::with_capacity(count);
        let mut start = |index: usize| {
            let (urgent, urgent_queue) = mpsc::channel(sizes.queue_max);
            let (holds, hold_queue) = mpsc::channel(sizes.queue_max);
            let admission = Arc::new(Admission::new(sizes.batch_max, Instant::now()));
            let is_refusing = Arc::new(AtomicBool::new(false));
            let part = vitals.add(Kind::Lane, format!("lane_{index}"), STILL_MAX);
            let lane = Lane {
                index,
                sizes,
                part: part.clone(),
                admission: admission.clone(),
                is_refusing: is_refusing.clone(),
                urgent: urgent_queue,
                holds: hold_queue,
                batches: batches.clone(),
                gate: gate.clone(),
                named_seats: named_seats.clone(),
                metrics: metrics.clone(),
                observers: observers.clone(),
            };
            lanes.push(keep_running(lane));
            Queues { urgent, holds, admission, is_refusing }
        };
        let queues = (0..count).map(&mut start).collect();
        let work = futures_util::future::join_all(lanes).map(drop);
        let (clock, gate, metrics) = (batches.clone(), gate.clone(), metrics.clone());
        (Self { queues, door: Door { clock, gate, named_seats, metrics } }, work)
    }

    /// Queues a command for the lane of `shard`, at once, and waits until it is decided.
    pub fn submit(
        &self,
        shard: Shard,
        command: Command,
    ) -> impl Future<Output = Result<Decided, Error>> + use<> {
        // Not an async block: it would hold the timeout twice, and each request that waits is held
        // in memory.
        match self.queue(shard, command) {
            Err(refused) => Either::Left(ready(Err(refused))),
            Ok(answer) => {
                Either::Right(tokio::time::timeout(ANSWER_TIMEOUT, answer).map(|answer| {
                    // The lane went away or is late: whether the command was decided is unknown.
                    let answer = answer.map_err(unknown)?;
                    answer.map_err(unknown)?
                }))
            }
        }
    }

    /// Queues a command; returns where the answer will be.
    fn queue(
        &self,
        shard: Shard,
        command: Command,
    ) -> Result<oneshot::Receiver<Result<Decided, Error>>, Error> {
        let queues = &self.queues[shard.index() % self.queues.len()];
        if queues.is_refusing.load(Ordering::Relaxed)
            && let Some(refusal) = self.door.refusal_of(&command)
        {
            return Err(refusal.into());
        }
        let (sender, answer) = oneshot::channel();
        let reply = Reply { answer: sender, desk: Desk::here() };
        let now = Instant::now();
        queues.put(Job { command, deadline: now + DEADLINE, reply }, now)?;
        Ok(answer)
    }

    /// Cancels or confirms and the like, routed by the booking's own id.
    pub async fn submit_for(
        &self,
        booking_id: BookingId,
        command: Command,
    ) -> Result<Decided, Error> {
        self.submit(booking_id.shard(), command).await
    }

    /// Cancels a booking of an event that was called off.
    pub async fn call_off(&self, booking_id: BookingId) -> Result<Decided, Error> {
        self.submit_for(booking_id, Command::Cancel { booking_id, by: By::System }).await
    }
}

fn unknown(error: impl std::error::Error + Send + Sync + 'static) -> Fault {
    Fault::Unavailable { doing: "waiting for a batch", source: Arc::new(error) }
}

/// Runs a lane as long as anybody may send it something, through its own panics: those who were in
/// its hands get the answer that the outcome is unknown, and the next batch is taken.
async fn keep_running(lane: Lane) {
    let (part, lane) = (lane.part.clone(), tokio::sync::Mutex::new(lane));
    vitals::keep(part, || async { lane.lock().await.run().await }).await;
}

struct Lane {
    index: usize,
    sizes: Sizes,
    part: Arc<Part>,
    admission: Arc<Admission>,
    is_refusing: Arc<AtomicBool>,
    urgent: mpsc::Receiver<Job>,
    holds: mpsc::Receiver<Job>,
    batches: Arc<dyn Batches>,
    gate: Arc<dyn Gate>,
    named_seats: Arc<NamedSeats>,
    metrics: Arc<Metrics>,
    observers: Arc<[Box<dyn Observer>]>,
}

impl Lane {
    async fn run(&mut self) {
        let part = self.part.clone();
        while let Some(jobs) = self.take().await {
            let _turn = part.turn();
            let now = Instant::now();
            let (mut in_time, late): (Vec<_>, Vec<_>) =
                jobs.into_iter().partition(|job| job.deadline > now);
            if !late.is_empty() {
                probe("a command waited for too long");
            }
            if is_planted("deadline looked at after the decision") {
                in_time.extend(late.iter().map(Job::that_nobody_waits_for));
            }
            let too_late = || Fault::Overloaded { what: "the request timed out in the queue" };
            answer_all(late.into_iter().map(|job| (job.reply, Err(too_late().into()))));
            let admitted = self.ask_gate(in_time).await;
            if !admitted.is_empty() {
                self.commit(admitted).await;
            }
        }
    }

    /// Waits for work and takes what is there, confirms and their like first.
    async fn take(&mut self) -> Option<Vec<Job>> {
        let (mut jobs, mut holds) = (Vec::new(), Vec::new());
        let Sizes { batch_max, urgent_max, .. } = self.sizes;
        tokio::select! {
            biased;
            _ = self.urgent.recv_many(&mut jobs, urgent_max) => {}
            _ = self.holds.recv_many(&mut holds, batch_max - urgent_max) => {}
        };
        while jobs.len() < urgent_max
            && let Ok(job) = self.urgent.try_recv()
        {
            jobs.push(job);
        }
        let room = batch_max - jobs.len();
        jobs.append(&mut holds);
        while jobs.len() < batch_max
            && let Ok(job) = self.holds.try_recv()
        {
            jobs.push(job);
        }
        let left = self.holds.len();
        Metrics::queue_depth(self.index, self.urgent.len() + left);
        if let Some(turn) = self.admission.taken(room, left, Instant::now()) {
            self.tell(turn, left);
        }
        // Both senders live and die together: nothing taken means that everybody has left.
        (!jobs.is_empty()).then_some(jobs)
    }

    fn tell(&self, turn: Shedding, waiting: usize) {
        let lane = self.index;
        Metrics::load_shedding(lane, turn == Shedding::Began);
        match turn {
            Shedding::Began => {
                tracing::warn!(
                    lane,
                    waiting,
                    "the number of holds exceeds the capacity; some are refused"
                );
            }
            Shedding::Ended => {
                tracing::info!(lane, "the number of holds is within the capacity again");
            }
        }
    }

    /// Commits a batch and answers it. When it fails for a reason of its own, it is halved until the
    /// failing command is alone.
    async fn commit(&self, jobs: Vec<Job>) {
        let mut parts = vec![jobs];
        while let Some(mut jobs) = parts.pop() {
            let (commands, replies): (Vec<_>, Vec<_>) =
                jobs.drain(..).map(|job| (job.command, (job.deadline, job.reply))).unzip();
            let commands: Arc<[Command]> = commands.into();
            match self.commit_once(commands.clone()).await {
                Ok(answers) => {
                    let replies = replies.into_iter().map(|(_, reply)| reply);
                    answer_all(replies.zip(answers));
                }
                Err(fault @ (Fault::Corrupt { .. } | Fault::Contradiction { .. }))
                    if commands.len() > 1 && !is_planted("batches are not halved") =>
                {
                    Metrics::batch_failed(&fault);
                    let what = fault.to_string();
                    tracing::warn!(
                        commands = commands.len(),
                        what,
                        "a batch failed and is retried in two halves"
                    );
                    let rebuilt = commands.iter().cloned().zip(replies);
                    let job = |(command, (deadline, reply))| Job { command, deadline, reply };
                    let mut first: Vec<_> = rebuilt.map(job).collect();
                    let mut second = first.split_off(commands.len() / 2);
                    probe("a batch is halved");
                    if is_planted("halving drops one") {
                        second.pop();
                    }
                    parts.push(second);
                    parts.push(first);
                }
                Err(fault) => {
                    static SAID: SaidLately = SaidLately::new();
                    Metrics::batch_failed(&fault);
                    if let Some(unsaid) = SAID.turn() {
                        let (error, commands) = (crate::chain(&fault), commands.len());
                        tracing::error!(error, commands, unsaid, "a batch failed");
                    }
                    let failed = |(_, reply)| (reply, Err(fault.clone().into()));
                    answer_all(replies.into_iter().map(failed));
                }
            }
        }
    }

    async fn commit_once(
        &self,
        commands: Arc<[Command]>,
    ) -> Result<Vec<Result<Decided, Error>>, Fault> {
        let started = Instant::now();
        let (batches, batch) = (self.batches.clone(), commands.clone());
        // In a task of its own: nothing that happens to this one can cut a transaction in two, and a
        // panic in a decision is a failed batch, not a dead lane.
        let task = tokio::spawn(async move { batches.commit(&batch).await });
        let ended = task.await;
        let took = started.elapsed();
        self.admission.committed(took);
        let committed = ended.map_err(|panic| Fault::Corrupt { what: panic.to_string() })??;
        let batch = Batch { commands, asked_at: started, took, committed };
        for observer in &*self.observers {
            observer.committed(&batch).await;
        }
        let committed = batch.committed;
        let now = committed.now;
        let decided = |answer: Result<Outcome, Refusal>| match answer {
            Ok(outcome) => Ok((outcome, now)),
            Err(refusal) => Err(refusal.into()),
        };
        Ok(committed.answers.into_iter().map(decided).collect())
    }
}

fn hold_of(command: &Command) -> Option<&Hold> {
    if let Command::Hold(hold) = command { Some(hold) } else { None }
}

#[cfg(test)]
pub(crate) mod tests;
