//! The charts of a run: what is drawn, over which axis, in which words.

use super::chart::{Along, Chart, Line, Values};
use super::format::whole;
use super::series::{Answer, answers, measured_from, merged};
use super::{Operation, Run, Tick};

/// How many points a curve has at most, for a page with `runs` runs: a page stays below
/// a megabyte.
pub fn limit(runs: usize) -> usize {
    (1_100 / runs.max(1)).clamp(12, 240)
}

/// Accepted, refused and failed answers per second over time.
pub fn throughput(id: &str, run: &Run, limit: usize) -> Chart {
    let ticks = merged(&run.timeline, limit);
    // The same counts as in the tables.
    let total = |sort: Answer| whole(answers(&run.operations, sort));
    let line = |name: &str, class: &str, sort: Answer, of: fn(&Tick) -> u64| Line {
        name: name.to_owned(),
        class: class.to_owned(),
        points: rates(&ticks, of),
        area: name == "accepted",
        note: total(sort),
    };
    let lines = vec![
        line("accepted", "accepted", Answer::Accepted, |tick| tick.accepted),
        line("refused", "refused dash", Answer::Refused, |tick| tick.refused),
        line("failed", "failed dots", Answer::Failed, |tick| tick.failed),
    ];
    Chart {
        id: format!("{id}-throughput"),
        title: "Throughput".to_owned(),
        about: "Answers per second over time. The totals are without the warm-up.".to_owned(),
        height: 250,
        x: Along::Time,
        y: Values::Rate,
        lines,
        shade: warm_up(&run.timeline),
    }
}

/// Percentiles of the latency of accepted answers over time.
pub fn latency(id: &str, run: &Run, limit: usize) -> Chart {
    let of: [Quantile; 5] = [
        ("p50", "p50", |tick| tick.p50_ms),
        ("p90", "p90", |tick| tick.p90_ms),
        ("p95", "p95", |tick| tick.p95_ms),
        ("p99", "p99", |tick| tick.p99_ms),
        ("max", "max thin", |tick| tick.max_ms),
    ];
    over_time((format!("{id}-latency"), "Latency of accepted", "accepted answers"), run, limit, &of)
}

/// Percentiles of the latency of refusals over time; none if nothing was refused.
pub fn refused_latency(id: &str, run: &Run, limit: usize) -> Option<Chart> {
    let of: [Quantile; 4] = [
        ("p50", "p50", |tick| tick.refused_p50_ms),
        ("p95", "p95", |tick| tick.refused_p95_ms),
        ("p99", "p99", |tick| tick.refused_p99_ms),
        ("max", "max thin", |tick| tick.refused_max_ms),
    ];
    let title = (format!("{id}-refused-latency"), "Latency of refused", "refusals");
    let is_any = run.timeline.iter().any(|tick| tick.refused > 0 && tick.refused_max_ms > 0.0);
    is_any.then(|| over_time(title, run, limit, &of))
}

/// The name of a line, its class or title, and its value in a slice.
pub type Quantile = (&'static str, &'static str, fn(&Tick) -> f64);

fn over_time(
    (id, title, what): (String, &str, &str),
    run: &Run,
    limit: usize,
    quantiles: &[Quantile],
) -> Chart {
    let ticks = merged(&run.timeline, limit);
    let line = |(name, class, of): &Quantile| Line {
        name: (*name).to_owned(),
        class: (*class).to_owned(),
        points: latencies(&ticks, *of),
        area: false,
        note: String::new(),
    };
    let lines: Vec<Line> = quantiles.iter().map(line).collect();
    let merging = if ticks.len() < run.timeline.len() {
        " Slices are merged for drawing: p99 and max are the worst of each."
    } else {
        ""
    };
    Chart {
        id,
        title: title.to_owned(),
        about: format!("Percentiles of {what} over time, on a log scale.{merging}"),
        height: 270,
        x: Along::Time,
        y: Values::Latency,
        lines,
        shade: warm_up(&run.timeline),
    }
}

/// How many seats were sold by when; none for a load that sells nothing.
pub fn sold(id: &str, run: &Run, limit: usize) -> Option<Chart> {
    let ticks = merged(&run.timeline, limit);
    let last = ticks.last().map_or(0, |tick| tick.sold);
    if last == 0 {
        return None;
    }
    let line = Line {
        name: "seats sold".to_owned(),
        class: "accepted".to_owned(),
        points: sales(&ticks),
        area: true,
        note: whole(last),
    };
    Some(Chart {
        id: format!("{id}-sold"),
        title: "Seats sold".to_owned(),
        about: "Seats confirmed so far.".to_owned(),
        height: 270,
        x: Along::Time,
        y: Values::Count,
        lines: vec![line],
        shade: warm_up(&run.timeline),
    })
}

/// The latency of each kind of request over its percentiles.
pub fn distribution(id: &str, operations: &[Operation], limit: usize) -> Chart {
    let mut lines = Vec::new();
    for (i, operation) in operations.iter().enumerate() {
        let class = format!("s{}", i % 6 + 1);
        let curves = [
            (&operation.accepted.curve, "accepted", class.clone()),
            (&operation.refused.curve, "refused", format!("{class} dash")),
        ];
        for (curve, sort, class) in curves {
            if !curve.is_empty() {
                let name = format!("{} {sort}", operation.name);
                lines.push(percentiles(&name, &class, curve, limit));
            }
        }
    }
    percentile_chart(
        format!("{id}-distribution"),
        "Latency distribution".to_owned(),
        "By percentile, both axes logarithmic: one answer in a thousand exceeded 99.9.".to_owned(),
        lines,
    )
}

/// A chart of percentile curves, whatever they are of.
pub fn percentile_chart(id: String, title: String, about: String, lines: Vec<Line>) -> Chart {
    let (x, y) = (Along::Percentile, Values::Latency);
    Chart { id, title, about, height: 270, x, y, lines, shade: None }
}

/// A percentile curve as a line over 1/(1-p). The 100th percentile, which lies at infinity, is put
/// one step behind the last finite one.
pub fn percentiles(name: &str, class: &str, curve: &[(f64, f64)], limit: usize) -> Line {
    let mut points: Vec<(f64, Option<f64>)> = Vec::new();
    let mut last = 1.0_f64;
    for (percentile, ms) in thinned(curve, limit) {
        let rest = 1.0 - percentile / 100.0;
        let x = if rest > 1e-9 { 1.0 / rest } else { last * 1.2 };
        if x >= last && x.is_finite() {
            last = x;
            points.push((x, positive(ms)));
        }
    }
    Line {
        name: name.to_owned(),
        class: class.to_owned(),
        points,
        area: false,
        note: String::new(),
    }
}

/// At most about `limit` points of a curve, its ends among them.
fn thinned(curve: &[(f64, f64)], limit: usize) -> Vec<(f64, f64)> {
    let step = curve.len().div_ceil(limit.max(1)).max(1);
    let last = curve.len().saturating_sub(1);
    let kept = curve.iter().enumerate().filter(|(i, _)| i % step == 0 || *i == last);
    kept.map(|(_, point)| *point).collect()
}

/// Answers per second in each slice, at its middle.
pub fn rates(ticks: &[Tick], of: fn(&Tick) -> u64) -> Vec<(f64, Option<f64>)> {
    let rate = |tick: &Tick| of(tick) as f64 / tick.seconds;
    ticks.iter().map(|tick| (middle(tick), Some(rate(tick)).filter(|r| r.is_finite()))).collect()
}

/// A percentile in each slice, at its middle; none where there was no such answer.
pub fn latencies(ticks: &[Tick], of: fn(&Tick) -> f64) -> Vec<(f64, Option<f64>)> {
    ticks.iter().map(|tick| (middle(tick), positive(of(tick)))).collect()
}

/// Seats sold at the end of each slice.
pub fn sales(ticks: &[Tick]) -> Vec<(f64, Option<f64>)> {
    ticks.iter().map(|tick| (middle(tick), Some(tick.sold as f64))).collect()
}

fn warm_up(timeline: &[Tick]) -> Option<(f64, f64, &'static str)> {
    let until = measured_from(timeline);
    (until > 0.0).then_some((0.0, until, "warm-up"))
}

fn middle(tick: &Tick) -> f64 {
    (tick.at - tick.seconds / 2.0).max(0.0)
}

fn positive(ms: f64) -> Option<f64> {
    Some(ms).filter(|ms| ms.is_finite() && *ms > 0.0)
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn the_last_percentile_lies_within_the_plot() {
        let line =
            percentiles("a", "a", &[(0.0, 1.0), (50.0, 2.0), (99.0, 3.0), (100.0, 9.0)], 240);
        let places: Vec<String> = line.points.iter().map(|(x, _)| format!("{x:.0}")).collect();
        assert_eq!(places.join(" "), "1 2 100 120");
        assert_eq!(line.points[3].1, Some(9.0));
    }

    #[test]
    fn a_load_that_sells_nothing_has_no_sold_curve() {
        let mut run = sample::report_of(20).runs.remove(0);
        assert!(sold("r", &run, 240).is_some());
        for tick in &mut run.timeline {
            tick.sold = 0;
        }
        assert!(sold("r", &run, 240).is_none());
    }

    #[test]
    fn a_slice_without_answers_is_a_gap() {
        let quiet = Tick { at: 1.0, seconds: 1.0, ..Tick::default() };
        assert_eq!(latencies(std::slice::from_ref(&quiet), |tick| tick.p50_ms), [(0.5, None)]);
        assert_eq!(rates(&[quiet], |tick| tick.accepted), [(0.5, Some(0.0))]);
        assert_eq!(rates(&[Tick::default()], |tick| tick.accepted), [(0.0, None)]);
    }
}
