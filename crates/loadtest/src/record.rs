//! The figures of a run: counts and histograms, filled by all connections at once.
//!
//! They are kept in shards, so that connections on different threads seldom wait for each other.
//! Only answers that arrive while the run is measured count, except in the timeline, which has the
//! warm-up too.

use crate::report::series::UNGUIDED;
use crate::report::{Latency, Operation, Sale, Tick};
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Latencies are counted in microseconds up to this; what is slower counts as this.
const LATENCY_US_MAX: u64 = 120_000_000;

/// The percentiles of the curve in a report.
const CURVE: [f64; 31] = [
    0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0, 70.0, 75.0, 80.0, 85.0, 90.0,
    92.0, 94.0, 95.0, 96.0, 97.0, 98.0, 99.0, 99.3, 99.5, 99.7, 99.9, 99.95, 99.99, 99.999, 100.0,
];

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `POST /bookings/hold`.
    Hold,
    /// The same, of seats by their names.
    Seats,
    /// The same, of the best available seats.
    BestAvailable,
    /// `POST /bookings/{id}/confirm`.
    Confirm,
    /// `POST /bookings/{id}/cancel`.
    Cancel,
    /// `GET /events/{id}`.
    Event,
    /// `GET /events/{id}/availability`.
    Availability,
    /// `GET /bookings/{id}`.
    Booking,
    /// `GET` of a path that was given.
    Get,
    /// No request: from the end of a hold to the instant its seat was held again.
    Resale,
}

impl Op {
    const ALL: [Self; 10] = [
        Self::Hold,
        Self::Seats,
        Self::BestAvailable,
        Self::Confirm,
        Self::Cancel,
        Self::Event,
        Self::Availability,
        Self::Booking,
        Self::Get,
        Self::Resale,
    ];

    /// As it is called in a report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Seats => "seats",
            Self::BestAvailable => "best-available",
            Self::Confirm => "confirm",
            Self::Cancel => "cancel",
            Self::Event => "event",
            Self::Availability => "availability",
            Self::Booking => "booking",
            Self::Get => "get",
            Self::Resale => "resale",
        }
    }
}

/// What an answer amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// 2xx or 304.
    Accepted,
    /// 4xx, and 503 with `Retry-After`.
    Refused,
    /// Everything else.
    Failed,
}

impl Class {
    /// Of a status.
    pub fn of(status: u16, retry_after: bool) -> Self {
        match status {
            200..=299 | 304 => Self::Accepted,
            400..=499 => Self::Refused,
            503 if retry_after => Self::Refused,
            _ => Self::Failed,
        }
    }
}

#[derive(Default)]
struct Figures {
    sent: u64,
    answers: Vec<(u16, Box<str>, Class, u64)>,
    accepted: Option<Histogram<u64>>,
    refused: Option<Histogram<u64>>,
    failed: Option<Histogram<u64>>,
}

#[derive(Default)]
struct Slice {
    accepted: u64,
    refused: u64,
    failed: u64,
    accepted_in: Option<Histogram<u64>>,
    refused_in: Option<Histogram<u64>>,
}

#[derive(Default)]
struct Shard {
    figures: [Figures; Op::ALL.len()],
    slice: Slice,
    late: Option<Histogram<u64>>,
    closed: bool,
}

/// Takes what happened, from all connections.
pub struct Recorder {
    shards: Vec<Mutex<Shard>>,
    seats_sold: AtomicU64,
    sold_in_first_second: AtomicU64,
    last_sold_us: AtomicU64,
    began: OnceLock<Instant>,
}

impl Recorder {
    /// With this number of shards.
    pub fn new(shards: usize) -> Self {
        let shards = (0..shards.max(1)).map(|_| Mutex::default()).collect();
        Self {
            shards,
            seats_sold: AtomicU64::new(0),
            sold_in_first_second: AtomicU64::new(0),
            last_sold_us: AtomicU64::new(0),
            began: OnceLock::new(),
        }
    }

    /// An answer, or its lack: then `status` is 0, and `code` says why.
    pub fn heard(
        &self,
        by: usize,
        op: Op,
        latency: Duration,
        class: Class,
        status: u16,
        code: &str,
    ) {
        let us = micros(latency);
        let mut shard = self.shards[by % self.shards.len()].lock();
        if shard.closed {
            return;
        }
        let Shard { figures, slice, .. } = &mut *shard;
        let figures = &mut figures[op as usize];
        figures.sent += 1;
        let same = |(s, c, k, _): &&mut (u16, Box<str>, Class, u64)| {
            *s == status && *k == class && c.as_ref() == code
        };
        match figures.answers.iter_mut().find(same) {
            Some((.., count)) => *count += 1,
            None => figures.answers.push((status, code.into(), class, 1)),
        }
        match class {
            Class::Accepted => slice.accepted += 1,
            Class::Refused => slice.refused += 1,
            Class::Failed => slice.failed += 1,
        }
        if status != 0 {
            let (side, in_slice) = match class {
                Class::Accepted => (&mut figures.accepted, Some(&mut slice.accepted_in)),
                Class::Refused => (&mut figures.refused, Some(&mut slice.refused_in)),
                Class::Failed => (&mut figures.failed, None),
            };
            for histogram_of in [Some(side), in_slice].into_iter().flatten() {
                histogram_of.get_or_insert_with(histogram).saturating_record(us);
            }
        }
    }

    /// A length of time that is no request's.
    pub fn measured(&self, by: usize, op: Op, length: Duration) {
        let mut shard = self.shards[by % self.shards.len()].lock();
        if shard.closed {
            return;
        }
        let figures = &mut shard.figures[op as usize];
        figures.accepted.get_or_insert_with(histogram).saturating_record(micros(length));
    }

    /// An idle connection woke so long after the instant that it was to send at.
    pub fn late(&self, by: usize, length: Duration) {
        let mut shard = self.shards[by % self.shards.len()].lock();
        shard.late.get_or_insert_with(histogram).saturating_record(micros(length));
    }

    /// The 99th percentile of that, in milliseconds.
    pub fn late_p99_ms(&self) -> f64 {
        let mut late = histogram();
        for shard in &self.shards {
            if let Some(of_shard) = &shard.lock().late {
                late.add(of_shard).expect("all histograms have the same bounds");
            }
        }
        if late.is_empty() { 0.0 } else { ms(late.value_at_quantile(0.99)) }
    }

    /// Seats were confirmed.
    pub fn sold(&self, seats: u64) {
        self.seats_sold.fetch_add(seats, Ordering::Relaxed);
        let Some(since) = self.began.get().map(Instant::elapsed) else { return };
        if since <= Duration::from_secs(1) {
            self.sold_in_first_second.fetch_add(seats, Ordering::Relaxed);
        }
        self.last_sold_us.fetch_max(micros(since), Ordering::Relaxed);
    }

    /// The clock of the sale starts.
    pub fn begins(&self, at: Instant) {
        let _ = self.began.set(at);
    }

    /// The sales rate of this number of seats, at the end.
    pub fn sale(&self, seats: u64) -> Sale {
        let sold = self.seats_sold();
        let since = if sold >= seats {
            Duration::from_micros(self.last_sold_us.load(Ordering::Relaxed))
        } else {
            self.began.get().map(Instant::elapsed).unwrap_or_default()
        };
        let sold_in_first_second = self.sold_in_first_second.load(Ordering::Relaxed);
        Sale { seats, sold, sold_in_first_second, seconds: since.as_secs_f64() }
    }

    /// Seats confirmed so far.
    pub fn seats_sold(&self) -> u64 {
        self.seats_sold.load(Ordering::Relaxed)
    }

    /// What happened since the last time this was asked.
    pub fn tick(&self, at: f64, seconds: f64, warm_up: bool) -> Tick {
        let (mut accepted, mut refused) = (histogram(), histogram());
        let mut tick = Tick { at, seconds, warm_up, sold: self.seats_sold(), ..Tick::default() };
        for shard in &self.shards {
            let slice = std::mem::take(&mut shard.lock().slice);
            tick.accepted += slice.accepted;
            tick.refused += slice.refused;
            tick.failed += slice.failed;
            for (sum, part) in
                [(&mut accepted, slice.accepted_in), (&mut refused, slice.refused_in)]
            {
                if let Some(part) = part {
                    sum.add(part).expect("all histograms have the same bounds");
                }
            }
        }
        let at = |of: &Histogram<u64>, quantile| {
            if of.is_empty() { 0.0 } else { ms(of.value_at_quantile(quantile)) }
        };
        tick.p50_ms = at(&accepted, 0.5);
        tick.p90_ms = at(&accepted, 0.9);
        tick.p95_ms = at(&accepted, 0.95);
        tick.p99_ms = at(&accepted, 0.99);
        tick.max_ms = ms(accepted.max());
        tick.refused_p50_ms = at(&refused, 0.5);
        tick.refused_p95_ms = at(&refused, 0.95);
        tick.refused_p99_ms = at(&refused, 0.99);
        tick.refused_max_ms = ms(refused.max());
        tick
    }

    /// Forgets what was counted: the warm-up is over. With the slice that is not cut, so that the slices
    /// of the measured time add up to what is counted in it.
    pub fn begin(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            shard.figures = Default::default();
            shard.slice = Slice::default();
            shard.late = None;
        }
    }

    /// Counts nothing from now on: the run is over.
    pub fn close(&self) {
        self.shards.iter().for_each(|shard| shard.lock().closed = true);
    }

    /// Everything that was counted in `seconds`. `sent` has the dropped ones not.
    pub fn operations(&self, seconds: f64) -> Vec<Operation> {
        Op::ALL.iter().filter_map(|&op| self.operation(op, seconds)).collect()
    }

    fn operation(&self, op: Op, seconds: f64) -> Option<Operation> {
        let (mut accepted, mut refused, mut failed) = (histogram(), histogram(), histogram());
        let mut operation = Operation {
            name: op.name().to_owned(),
            sent: 0,
            dropped: 0,
            answers: std::collections::BTreeMap::new(),
            accepted_per_second: 0.0,
            answered_per_second: 0.0,
            accepted: Latency::default(),
            refused: Latency::default(),
            failed: Latency::default(),
        };
        for shard in &self.shards {
            let shard = shard.lock();
            let figures = &shard.figures[op as usize];
            operation.sent += figures.sent;
            for (status, code, class, count) in &figures.answers {
                *operation.answers.entry(label(*status, code, *class)).or_default() += count;
            }
            for (sum, part) in [
                (&mut accepted, &figures.accepted),
                (&mut refused, &figures.refused),
                (&mut failed, &figures.failed),
            ] {
                if let Some(part) = part {
                    sum.add(part).expect("all histograms have the same bounds");
                }
            }
        }
        if operation.sent == 0 && accepted.is_empty() {
            return None;
        }
        let per_second = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        operation.accepted_per_second = per_second(accepted.len());
        operation.answered_per_second = per_second(accepted.len() + refused.len() + failed.len());
        operation.accepted = latency(&accepted);
        operation.refused = latency(&refused);
        operation.failed = latency(&failed);
        Some(operation)
    }
}

fn label(status: u16, code: &str, class: Class) -> String {
    let name = match (status, code) {
        (0, why) => return format!("no answer: {why}"),
        (status, "") => status.to_string(),
        (status, code) => format!("{status} {code}"),
    };
    if status == 503 && class == Class::Failed { format!("{name}{UNGUIDED}") } else { name }
}

/// 3 significant figures, from a microsecond on.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("the bounds are in order")
}

fn micros(length: Duration) -> u64 {
    u64::try_from(length.as_micros()).unwrap_or(u64::MAX).clamp(1, LATENCY_US_MAX)
}

fn ms(us: u64) -> f64 {
    us as f64 / 1_000.0
}

fn latency(of: &Histogram<u64>) -> Latency {
    if of.is_empty() {
        return Latency::default();
    }
    let at = |percentile: f64| ms(of.value_at_quantile(percentile / 100.0));
    Latency {
        count: of.len(),
        mean_ms: of.mean() / 1_000.0,
        p50_ms: at(50.0),
        p90_ms: at(90.0),
        p95_ms: at(95.0),
        p99_ms: at(99.0),
        p999_ms: at(99.9),
        max_ms: ms(of.max()),
        curve: CURVE.iter().map(|&percentile| (percentile, at(percentile))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    fn heard(recorder: &Recorder, by: usize, ms: u64, status: u16, code: &str) {
        let class = Class::of(status, true);
        recorder.heard(by, Op::Hold, Duration::from_millis(ms), class, status, code);
    }

    #[test]
    fn answers_of_all_shards_are_added_up() {
        let recorder = Recorder::new(3);
        for by in 0..100 {
            heard(&recorder, by, 1 + by as u64, 201, "");
            heard(&recorder, by, 1, 409, "sold_out");
        }
        heard(&recorder, 7, 10_000, 0, "timed out");
        let operations = recorder.operations(2.0);
        assert_eq!(operations.len(), 1, "only what was asked");
        let hold = &operations[0];
        assert_eq!((hold.name.as_str(), hold.sent), ("hold", 201));
        let answers: Vec<_> =
            hold.answers.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        assert_eq!(answers, [("201", 100), ("409 sold_out", 100), ("no answer: timed out", 1)]);
        assert!((hold.accepted_per_second - 50.0).abs() < 1e-9);
        assert!((hold.answered_per_second - 100.0).abs() < 1e-9);
        assert!((hold.accepted.p50_ms - 50.0).abs() < 0.1, "{}", hold.accepted.p50_ms);
        assert!((hold.accepted.max_ms - 100.0).abs() < 0.1);
        assert!(hold.accepted.curve.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1));
    }

    #[test]
    fn the_warm_up_is_in_the_timeline_only() {
        let recorder = Recorder::new(2);
        heard(&recorder, 0, 5, 201, "");
        recorder.sold(3);
        let tick = recorder.tick(0.5, 0.5, true);
        assert_eq!((tick.accepted, tick.refused, tick.failed, tick.sold), (1, 0, 0, 3));
        recorder.begin();
        heard(&recorder, 1, 7, 500, "internal");
        let tick = recorder.tick(1.0, 0.5, false);
        assert_eq!((tick.accepted, tick.failed), (0, 1));
        let hold = &recorder.operations(0.5)[0];
        assert_eq!((hold.sent, hold.accepted.count, hold.refused.count), (1, 0, 0));
        assert_eq!((hold.failed.count, tick.max_ms.to_bits()), (1, 0), "neither of the two");
    }

    #[test]
    fn a_503_is_a_refusal_only_if_it_says_when_to_come_back() {
        assert_eq!(Class::of(503, true), Class::Refused);
        assert_eq!(Class::of(503, false), Class::Failed);
        assert_eq!(Class::of(500, true), Class::Failed);
        assert_eq!(Class::of(304, false), Class::Accepted);
    }

    /// What the legends of a report add up is what its tables count.
    #[test]
    fn the_slices_of_the_measured_time_add_up_to_the_figures() {
        let recorder = Recorder::new(4);
        let counted = |tick: &Tick| (tick.accepted, tick.refused, tick.failed);
        let mut ticks: Vec<Tick> = Vec::new();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for by in 0..3 {
                let (recorder, done) = (&recorder, &done);
                scope.spawn(move || {
                    for n in 0.. {
                        if done.load(Ordering::Relaxed) {
                            break;
                        }
                        let (status, code) = [(201, ""), (409, "sold_out"), (500, "x")][n % 3];
                        heard(recorder, by, 1, status, code);
                    }
                });
            }
            recorder.tick(0.1, 0.1, true);
            recorder.begin();
            // Until there are answers of all kinds, however late the others come to their turn.
            let all_kinds = |ticks: &[Tick]| {
                let kinds = ticks
                    .iter()
                    .map(counted)
                    .fold((0, 0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1, sum.2 + of.2));
                kinds.0.min(kinds.1).min(kinds.2) > 0
            };
            while ticks.len() < 20 || !all_kinds(&ticks) {
                ticks.push(recorder.tick(0.2, 0.1, false));
                std::thread::yield_now();
            }
            recorder.close();
            done.store(true, Ordering::Relaxed);
        });
        let hold = recorder.operations(1.0).into_iter().next().unwrap();
        ticks.push(recorder.tick(0.3, 0.1, false));
        let sum = |of: fn(&Tick) -> u64| ticks.iter().map(of).sum::<u64>();
        let sums = (sum(|it| it.accepted), sum(|it| it.refused), sum(|it| it.failed));
        assert_eq!(sums, (hold.accepted.count, hold.refused.count, hold.failed.count));
        assert_eq!(counted(&recorder.tick(0.4, 0.1, false)), (0, 0, 0));
    }

    #[test]
    fn accepted_and_refused_answers_of_a_slice_have_latencies_of_their_own() {
        let recorder = Recorder::new(1);
        for ms in 1..=100 {
            heard(&recorder, 0, 100 + ms, 201, "");
            heard(&recorder, 0, ms, 409, "sold_out");
        }
        let tick = recorder.tick(1.0, 1.0, false);
        let near = |told: f64, wanted: f64| assert!((told - wanted).abs() < 0.5, "{told}");
        near(tick.p95_ms, 195.0);
        near(tick.max_ms, 200.0);
        near(tick.refused_p95_ms, 95.0);
        near(tick.refused_max_ms, 100.0);
        near(recorder.operations(1.0)[0].accepted.p95_ms, 195.0);
        near(recorder.operations(1.0)[0].refused.p95_ms, 95.0);
    }

    #[test]
    fn a_sale_counts_its_first_second_and_its_last_seat() {
        let recorder = Recorder::new(1);
        recorder.sold(5);
        let began = Instant::now().checked_sub(Duration::from_millis(500)).unwrap();
        recorder.begins(began);
        recorder.sold(30);
        let sale = recorder.sale(35);
        assert!(sale.is_sold_out() && sale.seconds >= 0.5 && sale.seconds < 5.0, "{sale:?}");
        assert_eq!((sale.sold, sale.sold_in_first_second), (35, 30));
        assert!(!recorder.sale(36).is_sold_out());
    }
}
