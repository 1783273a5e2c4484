//! Metrics for operators: counters, gauges and histograms in Prometheus' text format.
//!
//! Handles are created once; the hot path only adds to them.

use engine::{Committed, Fault, Outcome, Refusal, Timestamp};
use metrics::{Counter, Histogram, counter, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::time::Duration;

/// Upper bounds of durations, in seconds.
const SECONDS: [f64; 14] =
    [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];
/// Upper bounds of batch sizes.
const SIZES: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

// Metrics that were renamed: the name, and the former one, which stays for one release.
const QUEUE_DEPTH: [&str; 2] = ["reservix_queue_depth", "reservix_lane_depth"];
const LOAD_SHEDDING: [&str; 2] = ["reservix_load_shedding", "reservix_lane_shedding"];
const STATES_REBUILT: [&str; 2] =
    ["reservix_seat_states_rebuilt_total", "reservix_marks_rebuilt_total"];

/// All metrics of this process.
pub struct Metrics {
    prometheus: PrometheusHandle,
    /// What the system knows of this process.
    process: Collector,
    /// Requests for seats that the gate let through.
    pub gate_admit: Counter,
    /// Requests for seats that the gate refused.
    pub gate_sold_out: Counter,
    /// Requests for named seats of which the gate knew one to be taken.
    pub gate_seats_taken: Counter,
    /// Requests for seats of which the gate knew nothing fresh.
    pub gate_unknown: Counter,
    batch_size: Histogram,
    commit_seconds: Histogram,
    holds: Counter,
    replays: Counter,
    confirmed: Counter,
    cancelled: Counter,
    expired: Counter,
    /// By route, then by method and status: few of each, since all three are ours.
    answers: RwLock<HashMap<String, RouteMeters>>,
}

type RouteMeters = Vec<((&'static str, u16), AnswerMeters)>;

#[derive(Clone)]
struct AnswerMeters {
    count: Counter,
    seconds: Histogram,
}

impl AnswerMeters {
    fn count(&self, took: Duration) {
        self.count.increment(1);
        self.seconds.record(took.as_secs_f64());
    }
}

impl Metrics {
    /// Installs the recorder of this process. There can be one.
    pub fn install() -> Result<Self, BuildError> {
        let prometheus = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
            .set_buckets_for_metric(Matcher::Suffix("_size".to_owned()), &SIZES)?
            .install_recorder()?;
        describe();
        let process = Collector::default();
        process.describe();
        gauge!("reservix_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        drop(counter!("reservix_gate_repairs_total"));
        for name in STATES_REBUILT {
            drop(counter!(name));
        }
        // Known from the start, so that the first fault is a rise that an alarm can see.
        for kind in ["unavailable", "overloaded", "contradiction", "unsuitable", "corrupt"] {
            drop(counter!("reservix_store_faults_total", "fault" => kind));
            drop(counter!("reservix_batches_failed_total", "fault" => kind));
        }
        Ok(Self::reported_by(prometheus, process))
    }

    /// Metrics that nobody reads, and that keep nothing.
    #[must_use]
    pub fn unread() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        Self::reported_by(recorder.handle(), Collector::default())
    }

    fn reported_by(prometheus: PrometheusHandle, process: Collector) -> Self {
        let gate = |answer| counter!("reservix_gate_answers_total", "answer" => answer);
        let bookings = |step| counter!("reservix_bookings_total", "step" => step);
        Self {
            prometheus,
            process,
            gate_admit: gate("admit"),
            gate_sold_out: gate("sold_out"),
            gate_seats_taken: gate("seats_taken"),
            gate_unknown: gate("unknown"),
            batch_size: histogram!("reservix_batch_size"),
            commit_seconds: histogram!("reservix_commit_seconds"),
            holds: bookings("held"),
            replays: counter!("reservix_replays_total"),
            confirmed: bookings("confirmed"),
            cancelled: bookings("cancelled"),
            expired: bookings("expired"),
            answers: RwLock::default(),
        }
    }

    /// Everything, in Prometheus' text format.
    pub fn render(&self) -> String {
        counter!("reservix_log_lines_dropped_total").absolute(crate::log::lines_dropped());
        self.process.collect();
        self.prometheus.render()
    }

    /// Folds what histograms have gathered; call it now and then.
    pub fn upkeep(&self) {
        self.prometheus.run_upkeep();
    }

    /// Makes the answers that alarms ask for known at 0, for every method and path of `routes`: a
    /// counter that begins at 1 is no rise that an alarm can see.
    pub fn expect_faults<'a>(&self, routes: impl IntoIterator<Item = (&'static str, &'a str)>) {
        for (method, route) in routes {
            for status in [500, 503] {
                self.new_answer(method, route, status);
            }
        }
    }

    /// How many connections may be open.
    pub fn connections_max(limit: usize) {
        gauge!("reservix_connections_max").set(limit as f64);
    }

    /// A worker has begun, or has done a turn to its end.
    pub fn worker_turn(worker: &'static str, interval: Duration, now: Timestamp) {
        let at = now.unix_ms() as f64 / 1_000.0;
        gauge!("reservix_worker_last_turn_timestamp_seconds", "worker" => worker).set(at);
        gauge!("reservix_worker_interval_seconds", "worker" => worker).set(interval.as_secs_f64());
    }

    /// How many commands wait in a lane after it took a batch.
    pub fn queue_depth(lane: usize, waiting: usize) {
        for name in QUEUE_DEPTH {
            gauge!(name, "lane" => lane.to_string()).set(waiting as f64);
        }
    }

    /// Whether a lane refuses holds because more come than it carries.
    pub fn load_shedding(lane: usize, shedding: bool) {
        let shedding = f64::from(u8::from(shedding));
        for name in LOAD_SHEDDING {
            gauge!(name, "lane" => lane.to_string()).set(shedding);
        }
    }

    /// A batch was committed.
    pub fn batch(&self, commands: usize, took: Duration) {
        self.batch_size.record(commands as f64);
        self.commit_seconds.record(took.as_secs_f64());
    }

    /// What the commands of a committed batch came to.
    pub fn decided(&self, committed: &Committed) {
        use engine::BookingStatus::{Cancelled, Confirmed, Expired, Hold};
        self.expired.increment(committed.expired as u64);
        if !committed.rebuilt.is_empty() {
            for name in STATES_REBUILT {
                counter!(name).increment(committed.rebuilt.len() as u64);
            }
        }
        for booking in &committed.bookings {
            match booking.status {
                Hold if booking.version == 1 => self.holds.increment(1),
                Confirmed => self.confirmed.increment(1),
                Cancelled => self.cancelled.increment(1),
                Hold | Expired => {}
            }
        }
        for answer in &committed.answers {
            match answer {
                Ok(Outcome::Booking { replayed: true, .. }) => self.replays.increment(1),
                Ok(_) => {}
                Err(refusal) => Self::refused(refusal),
            }
        }
    }

    /// A request was refused.
    pub fn refused(refusal: &Refusal) {
        counter!("reservix_refusals_total", "code" => refusal.code().as_str()).increment(1);
    }

    /// A request or a worker's turn failed, and it was not the client's doing.
    pub fn fault(fault: &Fault) {
        counter!("reservix_store_faults_total", "fault" => kind(fault)).increment(1);
    }

    /// A batch failed, with all its commands.
    pub fn batch_failed(fault: &Fault) {
        counter!("reservix_batches_failed_total", "fault" => kind(fault)).increment(1);
    }

    /// 1 if the store answered the last check, otherwise 0.
    pub fn store_up(up: bool) {
        gauge!("reservix_store_up").set(f64::from(u8::from(up)));
    }

    /// 1 if the gate answered the last check, otherwise 0.
    pub fn gate_up(up: bool) {
        gauge!("reservix_gate_up").set(f64::from(u8::from(up)));
    }

    /// Whether a lane or a worker lives.
    pub fn task_up(task: &str, up: bool) {
        gauge!("reservix_task_up", "task" => task.to_owned()).set(f64::from(u8::from(up)));
    }

    /// A lane or a worker panicked and was restarted this number of times.
    pub fn task_restarts(task: &str, times: u64) {
        counter!("reservix_task_restarts_total", "task" => task.to_owned()).increment(times);
    }

    /// How far the time that decides expiry is ahead of this machine's clock.
    pub fn clock_ahead(ahead_ms: i64) {
        gauge!("reservix_clock_ahead_seconds").set(ahead_ms as f64 / 1_000.0);
    }

    /// A request was answered.
    pub fn request(&self, method: &'static str, route: &str, status: u16, took: Duration) {
        let is_it = |(of, _): &&((&str, u16), AnswerMeters)| *of == (method, status);
        let answers = self.answers.read();
        if let Some((_, meters)) = answers.get(route).and_then(|route| route.iter().find(is_it)) {
            meters.count(took);
            return;
        }
        drop(answers);
        self.new_answer(method, route, status).count(took);
    }

    fn new_answer(&self, method: &'static str, route: &str, status: u16) -> AnswerMeters {
        let labels = [
            ("method", method.to_owned()),
            ("route", route.to_owned()),
            ("status", status.to_string()),
        ];
        let meters = AnswerMeters {
            count: counter!("reservix_http_requests_total", &labels),
            seconds: histogram!("reservix_http_request_seconds", "route" => route.to_owned()),
        };
        let mut answers = self.answers.write();
        answers.entry(route.to_owned()).or_default().push(((method, status), meters.clone()));
        meters
    }

    /// How long the longest overdue hold has been waiting to be retired.
    pub fn sweep_lag(lag: Duration) {
        gauge!("reservix_sweep_lag_seconds").set(lag.as_secs_f64());
    }

    /// What a reconcile found: sections whose counters differ from their log, and snapshots of the
    /// gate that differed from the store.
    pub fn drift(counters: usize, gate: usize) {
        gauge!("reservix_drift_sections", "of" => "counters").set(counters as f64);
        counter!("reservix_gate_repairs_total").increment(gate as u64);
    }

    /// A connection was opened (+1) or closed (-1).
    pub fn connections(change: f64) {
        gauge!("reservix_connections").increment(change);
    }
}

fn kind(fault: &Fault) -> &'static str {
    match fault {
        Fault::Unavailable { .. } => "unavailable",
        Fault::Overloaded { .. } => "overloaded",
        Fault::Unsuitable { .. } => "unsuitable",
        Fault::Contradiction { .. } => "contradiction",
        Fault::Corrupt { .. } => "corrupt",
    }
}

fn describe() {
    use metrics::{
        describe_counter as counters, describe_gauge as gauges, describe_histogram as histograms,
    };
    counters!(
        "reservix_http_requests_total",
        "Number of requests answered, by method, route and status."
    );
    histograms!(
        "reservix_http_request_seconds",
        "Time from the request's head to its answer, by route."
    );
    gauges!("reservix_connections", "Number of open connections.");
    gauges!("reservix_connections_max", "Maximum number of open connections (MAX_CONNECTIONS).");
    gauges!("reservix_build_info", "Always 1; the label has the version of the build.");
    gauges!(
        "reservix_worker_last_turn_timestamp_seconds",
        "When a worker of this process last completed a run, in seconds since 1970."
    );
    gauges!("reservix_worker_interval_seconds", "Interval between two runs of a worker.");
    for name in QUEUE_DEPTH {
        gauges!(name, "Commands waiting in the queue of a lane after it took a batch.");
    }
    for name in LOAD_SHEDDING {
        gauges!(name, "1 while a lane refuses holds that exceed its capacity, otherwise 0.");
    }
    histograms!("reservix_batch_size", "Number of commands in a committed batch.");
    histograms!("reservix_commit_seconds", "Time from the start of a batch to its commit.");
    counters!(
        "reservix_gate_answers_total",
        "Answers of the gate to requests for seats, by answer."
    );
    counters!("reservix_bookings_total", "Transitions of bookings, by step.");
    counters!(
        "reservix_replays_total",
        "Retries answered with the stored result of their idempotency key."
    );
    counters!("reservix_refusals_total", "Number of refused commands, by code.");
    counters!(
        "reservix_store_faults_total",
        "Requests and worker runs that failed through no fault of a client, by fault."
    );
    counters!("reservix_batches_failed_total", "Batches that failed as a whole, by fault.");
    gauges!(
        "reservix_task_up",
        "1 while a lane or a worker of this process is alive, otherwise 0."
    );
    counters!(
        "reservix_task_restarts_total",
        "Restarts of lanes and workers after a panic. Alarm above 0."
    );
    counters!(
        "reservix_log_lines_dropped_total",
        "Log lines dropped because their reader was missing or too slow."
    );
    gauges!("reservix_store_up", "1 if the store answered the last check, otherwise 0.");
    gauges!("reservix_gate_up", "1 if the gate answered the last check, otherwise 0.");
    gauges!(
        "reservix_clock_ahead_seconds",
        "How far the time that decides expiry is ahead of this machine's clock."
    );
    gauges!(
        "reservix_sweep_lag_seconds",
        "How long the oldest due hold had been due when the sweep ran."
    );
    gauges!(
        "reservix_drift_sections",
        "Sections whose counters differ from their log. Alarm above 0."
    );
    for name in STATES_REBUILT {
        counters!(name, "Sections whose seat states contradicted their bookings and were rebuilt.");
    }
    counters!("reservix_gate_repairs_total", "Snapshots that reconcile removed from the gate.");
}

/// One recorder for all tests of this process.
#[cfg(test)]
pub static FOR_TESTS: std::sync::LazyLock<std::sync::Arc<Metrics>> =
    std::sync::LazyLock::new(|| Metrics::install().expect("nobody else installs one").into());
