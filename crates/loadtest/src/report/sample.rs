//! Reports for tests: invented, but shaped like real ones, and the same every time.

use super::{Check, Client, Latency, Machine, Operation, Proof, Report, Run, Summary, Tick};
use std::collections::BTreeMap;

/// A scenario of 40 s with 5 s of warm-up, `runs` times. `pairs` holds and confirms; `hold` only holds.
pub fn report(scenario: &str, runs: u64) -> Report {
    let runs: Vec<Run> = (0..runs).map(|seed| run(scenario, 90, seed)).collect();
    Report {
        notes: Vec::new(),
        tool: "reservix-load 0.1.0".into(),
        started_at: "2026-11-22T19:00:00.512Z".into(),
        target: "http://127.0.0.1:8080".into(),
        server: "Reservix 0.1.0".into(),
        scenario: scenario.into(),
        about: "Buyers hold seats in one hot section and confirm every hold at once.".into(),
        settings: settings(),
        machine: Machine { cores: 2, cpu: "AMD EPYC 9R14".into(), load_before: 0.21, steal: 0.004 },
        summary: summary(&runs),
        proof: Proof { holds: true, unproven: String::new(), checks: checks(true) },
        runs,
    }
}

/// The same, with one run of `ticks` slices.
pub fn report_of(ticks: u32) -> Report {
    let mut report = report("pairs", 0);
    report.runs = vec![run("pairs", ticks, 7)];
    report.summary = summary(&report.runs);
    report
}

/// A report of a session in which nothing happened.
pub fn empty() -> Report {
    Report {
        notes: Vec::new(),
        tool: String::new(),
        started_at: String::new(),
        target: String::new(),
        server: String::new(),
        scenario: String::new(),
        about: String::new(),
        settings: BTreeMap::new(),
        machine: Machine::default(),
        runs: Vec::new(),
        summary: Vec::new(),
        proof: Proof::default(),
    }
}

/// Runs in which nothing was sent, or nothing that makes sense.
pub fn broken() -> Report {
    let nothing = Operation {
        name: "hold".into(),
        sent: 0,
        dropped: 0,
        answers: BTreeMap::new(),
        accepted_per_second: f64::NAN,
        answered_per_second: f64::INFINITY,
        accepted: Latency::default(),
        failed: Latency::default(),
        refused: Latency {
            count: 1,
            p50_ms: f64::NAN,
            max_ms: f64::INFINITY,
            ..Latency::default()
        },
    };
    let mut report = empty();
    report.machine.steal = f64::NAN;
    report.machine.load_before = f64::INFINITY;
    for timeline in [vec![], vec![Tick::default()], vec![Tick { p50_ms: f64::NAN, ..tick(1) }]] {
        let operations = vec![nothing.clone()];
        report.runs.push(Run {
            seconds: f64::NAN,
            ended: "errors".into(),
            operations,
            timeline,
            client: Client::default(),
            sale: None,
        });
    }
    let name = "hold p99".to_owned();
    let (median, min, max) = (f64::NAN, f64::INFINITY, f64::NEG_INFINITY);
    report.summary.push(Summary { name, unit: "ms".into(), median, min, max });
    report
}

/// Seven promises; without `hold` the first is broken.
pub fn checks(hold: bool) -> Vec<Check> {
    let detail = if hold {
        "4 sections, 200,000 seats, 200,000 confirmed"
    } else {
        "section A of event 0198b1c2: capacity 50,000, confirmed 50,003; bookings 0198b1d4-77aa-7c01, \
         0198b1d4-77ab-7c01, 0198b1d4-77ac-7c01"
    };
    let all = [
        ("No section sold more than its capacity", detail),
        ("Every acknowledged booking is still there", "1,204,113 looked up, 0 missing"),
        ("One booking for each key", "1,204,113 keys, 0 with two bookings"),
        ("After the holds lapse, each section sells to exactly its capacity", "4 of 4 sections"),
        ("No answer was a server error", "0 of 1,236,401"),
    ];
    let check = |(name, detail): (&str, &str)| Check {
        name: name.into(),
        holds: hold || !detail.contains("0198"),
        proven: true,
        detail: detail.into(),
    };
    all.map(check).into()
}

/// A timeline of slices of half a second, with a warm-up, a stall, and refusals near the end.
pub fn timeline(ticks: u32, seed: u64) -> Vec<Tick> {
    let mut noise = Noise(seed + 1);
    let mut sold = 0;
    (1..=ticks).map(|i| slice(i, ticks, &mut sold, &mut noise)).collect()
}

fn slice(i: u32, ticks: u32, sold: &mut u64, noise: &mut Noise) -> Tick {
    let part = f64::from(i) / f64::from(ticks);
    let warm_up = i <= ticks / 9;
    let stalled = (0.58..0.61).contains(&part);
    let rush = if part > 0.8 { 1.0 } else { 0.0 };
    let pace = if warm_up { 0.35 + 5.5 * part } else { 1.0 } * if stalled { 0.3 } else { 1.0 };
    let rate = 41_000.0 * pace * noise.about(0.05) * (1.0 - 0.45 * rush);
    let slow = if stalled { 9.0 } else { 1.0 + 0.6 * rush };
    let p50 = 0.72 * slow * noise.about(0.06);
    let p99 = p50 * 5.2 * noise.about(0.18);
    let accepted = count(rate / 2.0);
    *sold += if warm_up { 0 } else { accepted / 2 };
    Tick {
        at: f64::from(i) * 0.5,
        seconds: 0.5,
        warm_up,
        accepted,
        refused: count((120.0 + 19_000.0 * rush) * noise.about(0.2) / 2.0),
        failed: if stalled { 31 } else { 0 },
        sold: *sold,
        p50_ms: p50,
        p90_ms: p50 * 2.3 * noise.about(0.08),
        p95_ms: p50 * 3.1,
        p99_ms: p99,
        max_ms: p99 * (2.4 + 3.0 * noise.next()),
        refused_p50_ms: p50 * 0.4,
        refused_p95_ms: p50 * 0.9,
        refused_p99_ms: p99 * 0.4,
        refused_max_ms: p99 * 0.8,
    }
}

fn tick(at: u32) -> Tick {
    timeline(at, 3).pop().expect("at least one slice was asked for")
}

fn run(scenario: &str, ticks: u32, seed: u64) -> Run {
    let mut noise = Noise(seed + 40);
    let pace = noise.about(0.03) * if scenario == "pairs" { 1.0 } else { 1.22 };
    let mut operations = vec![operation("hold", 20_500.0 * pace, 0.78 / pace, true)];
    if scenario == "pairs" {
        operations.push(operation("confirm", 20_480.0 * pace, 0.61 / pace, false));
    }
    Run {
        seconds: 40.0,
        ended: "time".into(),
        operations,
        timeline: timeline(ticks, seed),
        client: Client::default(),
        sale: None,
    }
}

fn operation(name: &str, rate: f64, p50: f64, refuses: bool) -> Operation {
    let sent = count(rate * 40.0);
    let accepted = latency(sent, p50, 1.0);
    let mut answers = BTreeMap::from([("201".to_owned(), sent)]);
    let mut refused = Latency::default();
    if refuses {
        answers.extend([
            ("409 sold_out".to_owned(), 71_204),
            ("503 overloaded".to_owned(), 3_120),
            ("429 too_many_requests".to_owned(), 18),
            ("no answer: reset".to_owned(), 62),
        ]);
        refused = latency(74_342, p50 * 0.4, 0.8);
    }
    Operation {
        name: name.into(),
        sent: answers.values().sum(),
        dropped: if refuses { 12 } else { 0 },
        accepted_per_second: rate,
        answered_per_second: rate + if refuses { 1_858.0 } else { 0.0 },
        answers,
        accepted,
        refused,
        failed: Latency::default(),
    }
}

/// Latencies whose tail grows with a power of 1/(1-p).
fn latency(count: u64, p50: f64, steep: f64) -> Latency {
    let at = |p: f64| p50 * (0.35 + 0.65 * (0.5 / (1.0 - p)).powf(0.42 * steep));
    let mut curve: Vec<(f64, f64)> = Vec::new();
    let mut rest = 1.0_f64;
    while rest > 1.0 / count as f64 {
        curve.push(((1.0 - rest) * 100.0, at(1.0 - rest)));
        rest *= 0.86;
    }
    let max = at(1.0 - rest);
    curve.push((100.0, max));
    Latency {
        count,
        mean_ms: p50 * 1.3,
        p50_ms: p50,
        p90_ms: at(0.9),
        p95_ms: at(0.95),
        p99_ms: at(0.99),
        p999_ms: at(0.999),
        max_ms: max,
        curve,
    }
}

fn summary(runs: &[Run]) -> Vec<Summary> {
    let mut out = Vec::new();
    for name in ["hold", "confirm"] {
        let over = |what: &str, unit: &str, of: fn(&Operation) -> f64| {
            let all = runs.iter().flat_map(|run| &run.operations).filter(|o| o.name == name);
            let mut values: Vec<f64> = all.map(of).collect();
            values.sort_by(f64::total_cmp);
            let (min, max) = (*values.first()?, *values.last()?);
            let median = values[values.len() / 2];
            Some(Summary { name: format!("{name} {what}"), unit: unit.into(), median, min, max })
        };
        out.extend(over("accepted/s", "1/s", |o| o.accepted_per_second));
        out.extend(over("p50", "ms", |o| o.accepted.p50_ms));
        out.extend(over("p95", "ms", |o| o.accepted.p95_ms));
        out.extend(over("p99", "ms", |o| o.accepted.p99_ms));
        out.extend(over("p99.9", "ms", |o| o.accepted.p999_ms));
    }
    out
}

fn settings() -> BTreeMap<String, String> {
    let pairs = [
        ("connections", "64"),
        ("duration", "40s"),
        ("warm-up", "5s"),
        ("sections", "4"),
        ("capacity", "50000"),
        ("buyers", "500"),
        ("runs", "3"),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

fn count(value: f64) -> u64 {
    format!("{value:.0}").parse().expect("a count is not negative")
}

/// Numbers that look random and are not.
struct Noise(u64);

impl Noise {
    /// From 0 to 1.
    fn next(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f64 / f64::from(1_u32 << 24)
    }

    /// 1, more or less.
    fn about(&mut self, spread: f64) -> f64 {
        1.0 + spread * (self.next() * 2.0 - 1.0)
    }
}
