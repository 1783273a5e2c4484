//! What a session of load came to: the JSON that is kept, compared, and drawn.
//!
//! Times are milliseconds, rates are per second, both as floating-point numbers. A latency counts from
//! the instant a request was meant to be sent, so a stalled server cannot hide behind a stalled client.

mod chart;
pub mod compare;
mod format;
pub mod html;
mod paint;
mod plots;
#[cfg(test)]
mod sample;
pub mod series;
pub mod table;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A whole session: one scenario against one target, several runs, one proof.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The program and its version.
    pub tool: String,
    /// When it began, RFC 3339 in UTC.
    pub started_at: String,
    /// The base address it was pointed at.
    pub target: String,
    /// What `GET /` of the target said of itself, such as `Reservix 0.1.0`.
    pub server: String,
    /// Which scenario, such as `hold`.
    pub scenario: String,
    /// A sentence that says what the scenario does.
    pub about: String,
    /// The settings that shape the load, by the names of their options.
    pub settings: BTreeMap<String, String>,
    /// The machine that sent the load.
    pub machine: Machine,
    /// The runs, in the order in which they were done.
    pub runs: Vec<Run>,
    /// Figures over all runs.
    pub summary: Vec<Summary>,
    /// Whether the promises were kept.
    pub proof: Proof,
    /// What a reader of the figures should know, such as that the client was the limit.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// Where the load came from, and how quiet it was there.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// Cores the client may use.
    pub cores: usize,
    /// The processor's own name.
    pub cpu: String,
    /// Load average over a minute before the first run.
    pub load_before: f64,
    /// Share of the processors' time that others took during the runs (steal and other processes are
    /// not distinguishable from the server on the same machine, so this is steal alone), 0 to 1.
    pub steal: f64,
}

/// One run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// How long was measured, after the warm-up, in seconds.
    pub seconds: f64,
    /// Why it ended: `time`, `requests`, `sold out`, `no seats left`, `interrupted`, `no answer`, `errors`.
    pub ended: String,
    /// One entry for each kind of request.
    pub operations: Vec<Operation>,
    /// The run over time, warm-up included.
    pub timeline: Vec<Tick>,
    /// What the client itself needed.
    #[serde(default)]
    pub client: Client,
    /// How fast everything was sold; of a rush on an event of its own.
    #[serde(default)]
    pub sale: Option<Sale>,
}

/// How fast the seats of a rush were sold.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sale {
    /// All seats.
    pub seats: u64,
    /// Seats confirmed.
    pub sold: u64,
    /// Those of them that were confirmed in the first second.
    pub sold_in_first_second: u64,
    /// Seconds from the beginning to the confirm of the last seat, or to the end if some were left.
    pub seconds: f64,
}

impl Sale {
    /// Whether none was left.
    pub fn is_sold_out(&self) -> bool {
        self.sold >= self.seats
    }

    /// The share of all seats that was sold in the first second.
    pub fn first_second(&self) -> f64 {
        self.sold_in_first_second as f64 / self.seats.max(1) as f64
    }
}

/// What the client itself needed in one run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Client {
    /// Processor time it used, as a share of all cores, 0 to 1.
    pub cpu_share: f64,
    /// Processor time for each request, in microseconds.
    pub cpu_us_per_request: f64,
    /// How late it was itself when a connection was free (open loop), 99th percentile.
    pub late_p99_ms: f64,
    /// Whether it could not have sent much more.
    pub was_the_limit: bool,
}

/// All requests of one kind in one run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Operation {
    /// `hold`, `confirm`, `availability` and so on.
    pub name: String,
    /// Requests sent.
    pub sent: u64,
    /// Requests of the open loop that could not be sent since the client had no connection left.
    pub dropped: u64,
    /// How many of each answer: `201`, `409 sold_out`, `503 overloaded`, `no answer: reset`.
    pub answers: BTreeMap<String, u64>,
    /// Accepted answers (2xx) per second of the run.
    pub accepted_per_second: f64,
    /// All answers per second of the run.
    pub answered_per_second: f64,
    /// Of the accepted.
    pub accepted: Latency,
    /// Of the refused: 4xx, and 503 with `Retry-After`.
    pub refused: Latency,
    /// Of everything that was answered otherwise.
    #[serde(default)]
    pub failed: Latency,
}

/// A distribution of latencies.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Latency {
    /// How many.
    pub count: u64,
    /// The mean.
    pub mean_ms: f64,
    /// Percentiles.
    pub p50_ms: f64,
    /// Percentiles.
    pub p90_ms: f64,
    /// Percentiles.
    #[serde(default)]
    pub p95_ms: f64,
    /// Percentiles.
    pub p99_ms: f64,
    /// Percentiles.
    pub p999_ms: f64,
    /// The slowest.
    pub max_ms: f64,
    /// The curve: percentile (0 to 100) and milliseconds, ascending, for drawing.
    pub curve: Vec<(f64, f64)>,
}

/// A slice of a run's time, over all kinds of request.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tick {
    /// Seconds since the run began, at the slice's end.
    pub at: f64,
    /// How long the slice is, in seconds.
    pub seconds: f64,
    /// Whether it belongs to the warm-up.
    pub warm_up: bool,
    /// Answers of 2xx.
    pub accepted: u64,
    /// Understood and refused: 4xx, and 503 with `Retry-After`.
    pub refused: u64,
    /// Everything else: no answer, other 5xx, nonsense.
    pub failed: u64,
    /// Seats confirmed so far.
    pub sold: u64,
    /// Percentiles of the accepted answers in the slice.
    pub p50_ms: f64,
    /// Percentiles of the accepted answers in the slice.
    pub p90_ms: f64,
    /// Percentiles of the accepted answers in the slice.
    #[serde(default)]
    pub p95_ms: f64,
    /// Percentiles of the accepted answers in the slice.
    pub p99_ms: f64,
    /// The slowest accepted answer in the slice.
    pub max_ms: f64,
    /// Percentiles of the refusals in the slice.
    #[serde(default)]
    pub refused_p50_ms: f64,
    /// Percentiles of the refusals in the slice.
    #[serde(default)]
    pub refused_p95_ms: f64,
    /// Percentiles of the refusals in the slice.
    #[serde(default)]
    pub refused_p99_ms: f64,
    /// The slowest refusal in the slice.
    #[serde(default)]
    pub refused_max_ms: f64,
}

/// One figure over all runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// Such as `hold accepted/s` or `confirm p99`.
    pub name: String,
    /// `1/s` or `ms`.
    pub unit: String,
    /// The median of the runs.
    pub median: f64,
    /// The smallest of the runs.
    pub min: f64,
    /// The largest of the runs.
    pub max: f64,
}

/// The verdict on what the client saw.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Proof {
    /// Whether every check holds, and all that was to be examined was.
    pub holds: bool,
    /// Why the promises are not proven, as far as none is broken; empty if they are.
    #[serde(default)]
    pub unproven: String,
    /// Each promise, and what was found.
    pub checks: Vec<Check>,
}

/// One promise.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Check {
    /// A sentence, such as `No section sold more than its capacity`.
    pub name: String,
    /// Whether it was kept, as far as that is proven.
    pub holds: bool,
    /// Whether that is known: a check that does not hold and is proven is broken.
    #[serde(default = "proven")]
    pub proven: bool,
    /// What was counted, and the first few offenders.
    pub detail: String,
}

impl Report {
    /// Adds what a report of an earlier version has only in its curves.
    pub fn completed(mut self) -> Self {
        let operations = self.runs.iter_mut().flat_map(|run| &mut run.operations);
        for latency in operations.flat_map(|it| [&mut it.accepted, &mut it.refused]) {
            let at_95 = latency.curve.iter().find(|(percentile, _)| *percentile >= 95.0);
            if latency.p95_ms == 0.0
                && let Some((_, ms)) = at_95
            {
                latency.p95_ms = *ms;
            }
        }
        self
    }
}

/// Reports that do not say so were proven.
fn proven() -> bool {
    true
}
