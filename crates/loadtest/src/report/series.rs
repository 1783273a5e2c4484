//! A report's figures made ready to show: medians over the runs, and timelines short enough to draw.

use super::format::{percent, seconds};
use super::{Check, Latency, Machine, Operation, Proof, Report, Run, Sale, Tick};
use std::collections::BTreeMap;

/// Ends the name of a 503 without `Retry-After`, which is a failure.
pub const UNGUIDED: &str = " without Retry-After";

/// What an answer means, derived from its name in [`Operation::answers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 2xx, and 304.
    Accepted,
    /// 4xx, and a 503 that says when to come back.
    Refused,
    /// Everything else.
    Failed,
}

/// How an answer named like `409 sold_out` counts.
pub fn answer(name: &str) -> Answer {
    let (status, code) = name.split_once(' ').unwrap_or((name, ""));
    match status.as_bytes() {
        [b'2', _, _] | b"304" => Answer::Accepted,
        [b'4', _, _] => Answer::Refused,
        b"503" if !format!(" {code}").ends_with(UNGUIDED) => Answer::Refused,
        _ => Answer::Failed,
    }
}

/// How many answers of a sort `operations` had.
pub fn answers(operations: &[Operation], sort: Answer) -> u64 {
    let all = operations.iter().flat_map(|operation| &operation.answers);
    all.filter(|(name, _)| answer(name) == sort).map(|(_, count)| count).sum()
}

/// The answer to a hold of seats of which somebody else has one.
const SEATS_TAKEN: &str = "409 seats_unavailable";

/// How many holds of named seats came too late; none if no hold asked for seats by their names.
pub fn seats_taken(operation: &Operation) -> Option<u64> {
    let taken = operation.answers.get(SEATS_TAKEN).copied();
    taken.or_else(|| (operation.name == "seats").then_some(0))
}

/// The verdict in a word: a proof without checks proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every check holds.
    Kept,
    /// At least one does not.
    Broken,
    /// None is broken, and not all could be examined.
    Unproven,
    /// Nobody looked.
    Unchecked,
}

/// Whether a promise is known to be broken.
pub fn is_broken(check: &Check) -> bool {
    !check.holds && check.proven
}

/// What the proof comes to. One broken check outweighs whatever else is said.
pub fn verdict(proof: &Proof) -> Verdict {
    if proof.checks.iter().any(is_broken) {
        Verdict::Broken
    } else if !proof.unproven.is_empty() || proof.checks.iter().any(|check| !check.proven) {
        Verdict::Unproven
    } else if proof.checks.is_empty() {
        Verdict::Unchecked
    } else if proof.holds {
        Verdict::Kept
    } else {
        Verdict::Unproven
    }
}

/// The verdict as a sentence.
pub fn verdict_line(proof: &Proof) -> String {
    let all = proof.checks.len();
    let broken = proof.checks.iter().filter(|check| is_broken(check)).count();
    let unproven = proof.checks.iter().filter(|check| !check.proven).count();
    let rest = if unproven > 0 { format!(", {unproven} not proven") } else { String::new() };
    match verdict(proof) {
        Verdict::Kept if all == 1 => "Every promise was kept: the only check passed".to_owned(),
        Verdict::Kept => format!("Every promise was kept: all {all} checks passed"),
        Verdict::Broken if broken == 1 => {
            format!("A promise was broken: 1 of {all} checks failed{rest}")
        }
        Verdict::Broken => format!("Promises were broken: {broken} of {all} checks failed{rest}"),
        Verdict::Unproven => {
            let why = match proof.unproven.as_str() {
                "" => "the checks could not be finished",
                why => why,
            };
            format!("Not proven: {why}")
        }
        Verdict::Unchecked => "Nothing was proven: there were no checks".to_owned(),
    }
}

/// How fast everything was sold, in a sentence to begin with; nothing for a load that is no rush.
pub fn sale_line(report: &Report) -> Option<String> {
    let sales: Vec<&Sale> = report.runs.iter().filter_map(|run| run.sale.as_ref()).collect();
    let of = |figure: fn(&Sale) -> f64| median(sales.iter().map(|sale| figure(sale)));
    let after = seconds(of(|sale| sale.seconds)?);
    let first = percent(of(Sale::first_second)?);
    let left = sales.iter().filter(|sale| !sale.is_sold_out()).count();
    let runs = match sales.len() {
        1 => String::new(),
        all if left == 0 => format!(" (median of {all} runs)"),
        all => format!(" (median; seats were left in {left} of {all} runs)"),
    };
    Some(if left == 0 {
        format!("Sold out after {after} s, {first} in the first second{runs}")
    } else {
        let sold = percent(of(|sale| sale.sold as f64 / sale.seats.max(1) as f64)?);
        format!("Not sold out: {sold} after {after} s, {first} in the first second{runs}")
    })
}

/// How far the machine's own noise may have touched the figures.
pub fn noise(machine: &Machine) -> &'static str {
    let busy = machine.load_before / machine.cores.max(1) as f64;
    if machine.steal >= 0.05 || busy >= 0.5 {
        "noisy"
    } else if machine.steal >= 0.01 || busy >= 0.2 {
        "some noise"
    } else {
        "quiet"
    }
}

/// The middle value; with an even count the mean of the two in the middle. Of nothing, nothing.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let high = *sorted.get(sorted.len() / 2)?;
    let low = sorted[(sorted.len() - 1) / 2];
    Some(f64::midpoint(low, high))
}

/// Accepted answers per second of a run, over all kinds of request.
pub fn accepted_per_second(run: &Run) -> f64 {
    run.operations.iter().map(|operation| operation.accepted_per_second).sum()
}

/// The run in the middle by accepted rate: the one to show first. Zero if there is none.
pub fn typical_run(report: &Report) -> usize {
    let mut order: Vec<usize> = (0..report.runs.len()).collect();
    order.sort_by(|&a, &b| {
        accepted_per_second(&report.runs[a]).total_cmp(&accepted_per_second(&report.runs[b]))
    });
    order.get(order.len().saturating_sub(1) / 2).copied().unwrap_or(0)
}

/// Each kind of request over all runs: counts are sums, rates and percentiles are medians of the
/// runs, and the slowest is the slowest of all. The curves are left out.
pub fn operations(report: &Report) -> Vec<Operation> {
    let mut names: Vec<&str> = Vec::new();
    for operation in report.runs.iter().flat_map(|run| &run.operations) {
        if !names.contains(&operation.name.as_str()) {
            names.push(&operation.name);
        }
    }
    names.into_iter().map(|name| over_runs(report, name)).collect()
}

/// The kind of request a report is about: the one most often accepted, else most often sent.
pub fn main_operation(operations: &[Operation]) -> Option<&Operation> {
    // `max_by_key` takes the last of equals, and the first kind is the one to prefer.
    operations.iter().rev().max_by_key(|operation| (operation.accepted.count, operation.sent))
}

fn over_runs(report: &Report, name: &str) -> Operation {
    let all = || report.runs.iter().flat_map(|run| &run.operations).filter(|o| o.name == name);
    let mut answers = BTreeMap::new();
    for (answer, count) in all().flat_map(|operation| &operation.answers) {
        *answers.entry(answer.clone()).or_insert(0) += count;
    }
    Operation {
        name: name.to_owned(),
        sent: all().map(|operation| operation.sent).sum(),
        dropped: all().map(|operation| operation.dropped).sum(),
        answers,
        accepted_per_second: median(all().map(|o| o.accepted_per_second)).unwrap_or(0.0),
        answered_per_second: median(all().map(|o| o.answered_per_second)).unwrap_or(0.0),
        accepted: latency(&all().map(|operation| &operation.accepted).collect::<Vec<_>>()),
        refused: latency(&all().map(|operation| &operation.refused).collect::<Vec<_>>()),
        failed: latency(&all().map(|operation| &operation.failed).collect::<Vec<_>>()),
    }
}

fn latency(runs: &[&Latency]) -> Latency {
    let seen = || runs.iter().filter(|latency| latency.count > 0);
    let middle = |of: fn(&Latency) -> f64| median(seen().map(|l| of(l))).unwrap_or(0.0);
    Latency {
        count: seen().map(|latency| latency.count).sum(),
        mean_ms: middle(|latency| latency.mean_ms),
        p50_ms: middle(|latency| latency.p50_ms),
        p90_ms: middle(|latency| latency.p90_ms),
        p95_ms: middle(|latency| latency.p95_ms),
        p99_ms: middle(|latency| latency.p99_ms),
        p999_ms: middle(|latency| latency.p999_ms),
        max_ms: seen().map(|latency| latency.max_ms).fold(0.0, f64::max),
        curve: Vec::new(),
    }
}

/// A timeline of at most `limit` slices, each the sum of its neighbours.
///
/// Percentiles cannot be added up, so p50, p90 and p95 of a merged slice are the means weighted by
/// answers, while p99 and the slowest are the worst of its parts: a spike never disappears.
pub fn merged(timeline: &[Tick], limit: usize) -> Vec<Tick> {
    let size = timeline.len().div_ceil(limit.max(1)).max(1);
    timeline.chunks(size).map(merge).collect()
}

/// When the measuring began: the end of the warm-up, in seconds.
pub fn measured_from(timeline: &[Tick]) -> f64 {
    timeline.iter().filter(|tick| tick.warm_up).map(|tick| tick.at).fold(0.0, f64::max)
}

fn merge(parts: &[Tick]) -> Tick {
    let mean_over = |count: fn(&Tick) -> u64, of: fn(&Tick) -> f64| {
        let all: u64 = parts.iter().map(count).sum();
        let sum: f64 = parts.iter().map(|tick| of(tick) * count(tick) as f64).sum();
        if all == 0 { 0.0 } else { sum / all as f64 }
    };
    let mean = |of| mean_over(|tick| tick.accepted, of);
    let mean_refused = |of| mean_over(|tick| tick.refused, of);
    let worst = |of: fn(&Tick) -> f64| parts.iter().map(of).fold(0.0, f64::max);
    Tick {
        at: worst(|tick| tick.at),
        seconds: parts.iter().map(|tick| tick.seconds).sum(),
        warm_up: parts.iter().all(|tick| tick.warm_up),
        accepted: parts.iter().map(|tick| tick.accepted).sum(),
        refused: parts.iter().map(|tick| tick.refused).sum(),
        failed: parts.iter().map(|tick| tick.failed).sum(),
        sold: parts.iter().map(|tick| tick.sold).max().unwrap_or(0),
        p50_ms: mean(|tick| tick.p50_ms),
        p90_ms: mean(|tick| tick.p90_ms),
        p95_ms: mean(|tick| tick.p95_ms),
        p99_ms: worst(|tick| tick.p99_ms),
        max_ms: worst(|tick| tick.max_ms),
        refused_p50_ms: mean_refused(|tick| tick.refused_p50_ms),
        refused_p95_ms: mean_refused(|tick| tick.refused_p95_ms),
        refused_p99_ms: worst(|tick| tick.refused_p99_ms),
        refused_max_ms: worst(|tick| tick.refused_max_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn answers_are_sorted_by_what_they_mean() {
        use Answer::{Accepted, Failed, Refused};
        let cases = [
            ("201", Accepted),
            ("409 sold_out", Refused),
            ("429", Refused),
            ("503 overloaded", Refused),
            ("304", Accepted),
            ("503", Refused),
            ("503 overloaded without Retry-After", Failed),
            ("503 without Retry-After", Failed),
            ("500 internal", Failed),
            ("no answer: reset", Failed),
            ("", Failed),
        ];
        for (name, sort) in cases {
            assert_eq!(answer(name), sort, "{name}");
        }
    }

    #[test]
    fn a_merged_timeline_loses_no_answer_and_no_spike() {
        let ticks = sample::timeline(10_000, 0);
        let short = merged(&ticks, 240);
        assert!(short.len() <= 240 && short.len() > 200);
        let answered = |tick: &Tick| tick.accepted + tick.refused + tick.failed;
        let sum = |ticks: &[Tick]| ticks.iter().map(answered).sum::<u64>();
        assert_eq!(sum(&short), sum(&ticks));
        let worst = |ticks: &[Tick]| ticks.iter().map(|t| t.max_ms).fold(0.0, f64::max);
        assert!((worst(&short) - worst(&ticks)).abs() < 1e-9);
        assert!(short.iter().all(|t| t.p50_ms <= t.p90_ms && t.p90_ms <= t.p99_ms));
        assert!(merged(&[], 240).is_empty());
    }

    #[test]
    fn a_proof_without_checks_proves_nothing() {
        let mut proof = Proof { holds: true, unproven: String::new(), checks: Vec::new() };
        assert_eq!(verdict(&proof), Verdict::Unchecked);
        proof.checks = sample::checks(true);
        assert_eq!(verdict(&proof), Verdict::Kept);
        proof.checks = sample::checks(false);
        assert_eq!(verdict(&proof), Verdict::Broken);
        assert_eq!(verdict_line(&proof), "A promise was broken: 1 of 5 checks failed");
    }

    #[test]
    fn what_was_not_examined_is_not_proven_and_not_broken() {
        let checks = sample::checks(true);
        let mut proof = Proof { holds: false, unproven: "it went away".to_owned(), checks };
        assert_eq!(verdict(&proof), Verdict::Unproven);
        assert_eq!(verdict_line(&proof), "Not proven: it went away");
        (proof.checks[1].holds, proof.checks[1].proven) = (false, false);
        assert_eq!(verdict(&proof), Verdict::Unproven);
        proof.checks[0].holds = false;
        let line = "A promise was broken: 1 of 5 checks failed, 1 not proven";
        assert_eq!(verdict_line(&proof), line);
    }

    #[test]
    fn a_rush_begins_with_how_fast_it_was() {
        let mut report = sample::report("pairs", 3);
        assert_eq!(sale_line(&report), None, "no rush");
        for (run, seconds) in report.runs.iter_mut().zip([9.0, 12.34, 30.0]) {
            run.sale = Some(Sale { seats: 1_000, sold: 1_000, sold_in_first_second: 125, seconds });
        }
        let line = sale_line(&report).unwrap();
        assert_eq!(line, "Sold out after 12.3 s, 12.5 % in the first second (median of 3 runs)");
        report.runs.truncate(1);
        let line = sale_line(&report).unwrap();
        assert_eq!(line, "Sold out after 9 s, 12.5 % in the first second");
        report.runs[0].sale.as_mut().unwrap().sold = 999;
        let line = sale_line(&report).unwrap();
        assert_eq!(line, "Not sold out: 99.9 % after 9 s, 12.5 % in the first second");
    }

    #[test]
    fn the_median_of_the_runs_is_shown() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([1.0, 2.0]), Some(1.5));
        assert_eq!(median([f64::NAN]), None);
        let report = sample::report("pairs", 3);
        let shown = accepted_per_second(&report.runs[typical_run(&report)]);
        assert_eq!(median(report.runs.iter().map(accepted_per_second)), Some(shown));
    }
}
