//! The comparison as a page.

use super::super::chart::{self, Along, Chart, Line};
use super::super::format::{self, escape, instant, put, times, whole};
use super::super::html::{self, Bar, Tile};
use super::super::plots::Quantile;
use super::super::series::{self, Answer, measured_from, merged};
use super::super::{Operation, Report, Run, Tick, plots, table};
use super::{Mark, Row, differences, middle, range, rows, single, tally};

/// How many points a curve has at most.
const LIMIT: usize = 240;

/// The comparison as a page that needs nothing else.
pub fn page(a: &Report, b: &Report) -> String {
    let rows = rows(a, b);
    let figures =
        "Medians of the runs with their ranges. Ranges that overlap are within the spread.";
    let about = single(a, b).map_or_else(|| figures.to_owned(), |said| format!("{figures} {said}"));
    let body = [
        heading(a, b, &rows),
        html::tiles(&headline(&rows)),
        html::section("Figures", &about, &rows_page(&rows)),
        html::section(
            "Plots",
            "The median run of each, from the end of its warm-up. A is solid, B is dashed.",
            &overlaid(a, b),
        ),
        html::section("Proof", "", &proofs(a, b)),
    ];
    html::shell(&format!("{} against {} · load reports", a.scenario, b.scenario), &body.concat())
}

fn heading(a: &Report, b: &Report, rows: &[Row]) -> String {
    let title = if a.scenario == b.scenario {
        format!("{}: A against B", a.scenario)
    } else {
        format!("{} against {}", a.scenario, b.scenario)
    };
    let side = |letter: &str, report: &Report| {
        let pairs = [
            ("server", report.server.clone()),
            ("target", report.target.clone()),
            ("runs", table::runs(report)),
            ("started", instant(&report.started_at)),
            ("load", table::settings(report)),
            ("client", table::machine(report)),
        ];
        let facts = html::facts(&pairs.map(|(name, value)| (name.to_owned(), value)));
        let class = letter.to_lowercase();
        let name = escape(&report.scenario);
        format!(
            "<div class=\"card side {class}\"><h2><span class=\"letter\">{letter}</span>{name}</h2>\
             {badge}{facts}</div>",
            badge = html::badge(report),
        )
    };
    let mut list = String::new();
    for difference in differences(a, b) {
        put!(list, "<li>{}</li>", escape(&difference));
    }
    let warning = if list.is_empty() {
        String::new()
    } else {
        format!(
            "<div class=\"card differ\"><h3>! The reports were measured under different \
             conditions</h3>\
             <ul>{list}</ul></div>\n"
        )
    };
    format!(
        "<header class=\"top\"><div><p class=\"brand\">{tool}</p><h1>{title}</h1>\
         <p class=\"about\">{tally}</p></div></header>\n\
         <div class=\"sides\">{sides}</div>\n{warning}",
        tool = escape(&b.tool),
        title = escape(&title),
        tally = escape(&tally(rows)),
        sides = side("A", a) + &side("B", b),
    )
}

/// The first rates and the first tails, as big ratios.
fn headline(rows: &[Row]) -> Vec<Tile> {
    let both = || rows.iter().filter(|row| row.ratio().is_finite());
    let sale = both().filter(|row| row.unit == "s").take(1);
    let rates = both().filter(|row| row.unit == "1/s").take(2);
    let tails = both().filter(|row| row.unit == "ms" && row.name.ends_with("p99")).take(2);
    sale.chain(rates)
        .chain(tails)
        .map(|row| Tile {
            label: row.name.to_owned(),
            value: times(row.ratio()),
            unit: "",
            note: format!(
                "{} → {} {} · {}",
                middle(row.a),
                middle(row.b),
                row.unit,
                row.mark().words()
            ),
            class: match row.mark() {
                Mark::Better => "good",
                Mark::Worse => "bad",
                _ => "",
            },
        })
        .collect()
}

fn rows_page(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "<p class=\"card note\">Neither report has figures.</p>\n".to_owned();
    }
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                format!("{} <small>{}</small>", escape(row.name), escape(row.unit)),
                format!("<b>{}</b>", middle(row.a)),
                format!("<small>{}</small>", range(row.a)),
                format!("<b>{}</b>", middle(row.b)),
                format!("<small>{}</small>", range(row.b)),
                format!("<b>{}</b>", times(row.ratio())),
                format!("<span class=\"{}\">{}</span>", row.mark().class(), row.mark().words()),
            ]
        })
        .collect();
    html::grid(&["", "A", "min–max", "B", "min–max", "B/A", ""], &cells)
}

/// The run in the middle, counted from the end of its warm-up, short enough to draw.
fn measured(report: &Report) -> Vec<Tick> {
    let Some(run) = report.runs.get(series::typical_run(report)) else { return Vec::new() };
    let from = measured_from(&run.timeline);
    let mut ticks: Vec<Tick> = run.timeline.iter().filter(|tick| !tick.warm_up).cloned().collect();
    for tick in &mut ticks {
        tick.at -= from;
    }
    merged(&ticks, LIMIT)
}

fn overlaid(a: &Report, b: &Report) -> String {
    let (ticks_a, ticks_b) = (measured(a), measured(b));
    let over_time = OverTime { a: &ticks_a, b: &ticks_b };
    let rates = |id: &str, title: &str, of: fn(&Tick) -> u64| {
        over_time.chart(id, title, "Answers per second.", Values::Rate(of))
    };
    let mut together = rates("accepted", "Accepted", |tick| tick.accepted);
    if ticks_a.iter().chain(&ticks_b).any(|tick| tick.refused > 0) {
        together += &rates("refused", "Refused", |tick| tick.refused);
    }
    if ticks_a.iter().chain(&ticks_b).any(|tick| tick.failed > 0) {
        together += &rates("failed", "Failed", |tick| tick.failed);
    }
    let about = "Of accepted answers, on a log scale.";
    let latencies: [Quantile; 3] = [
        ("p50", "Median latency of accepted", |tick| tick.p50_ms),
        ("p95", "p95 latency of accepted", |tick| tick.p95_ms),
        ("p99", "p99 latency of accepted", |tick| tick.p99_ms),
    ];
    for (id, title, of) in latencies {
        together += &over_time.chart(id, title, about, Values::Latency(of));
    }
    if ticks_a.iter().chain(&ticks_b).any(|tick| tick.refused_max_ms > 0.0) {
        let about = "Of refusals, on a log scale.";
        let latencies: [Quantile; 3] = [
            ("refused-p50", "Median latency of refused", |tick| tick.refused_p50_ms),
            ("refused-p95", "p95 latency of refused", |tick| tick.refused_p95_ms),
            ("refused-p99", "p99 latency of refused", |tick| tick.refused_p99_ms),
        ];
        for (id, title, of) in latencies {
            together += &over_time.chart(id, title, about, Values::Latency(of));
        }
    }
    if ticks_a.iter().chain(&ticks_b).any(|tick| tick.sold > 0) {
        together += &over_time.chart("sold", "Seats sold", "Seats confirmed so far.", Values::Sold);
    }
    format!(
        "<div class=\"together pairs\">{together}</div>\n<div class=\"pairs\">{}</div>\n{}",
        distributions(a, b),
        refusals(a, b)
    )
}

/// What to draw of a slice.
#[derive(Clone, Copy)]
enum Values {
    Rate(fn(&Tick) -> u64),
    Latency(fn(&Tick) -> f64),
    Sold,
}

struct OverTime<'a> {
    a: &'a [Tick],
    b: &'a [Tick],
}

impl OverTime<'_> {
    fn chart(&self, id: &str, title: &str, about: &str, values: Values) -> String {
        let line = |name: &str, class: &str, ticks: &[Tick]| Line {
            name: name.to_owned(),
            class: class.to_owned(),
            points: match values {
                Values::Rate(of) => plots::rates(ticks, of),
                Values::Latency(of) => plots::latencies(ticks, of),
                Values::Sold => plots::sales(ticks),
            },
            area: false,
            note: String::new(),
        };
        let lines = vec![line("A", "a", self.a), line("B", "b dash", self.b)];
        let y = match values {
            Values::Latency(_) => chart::Values::Latency,
            Values::Rate(_) => chart::Values::Rate,
            Values::Sold => chart::Values::Count,
        };
        let chart = Chart {
            id: format!("ab-{id}"),
            title: title.to_owned(),
            about: about.to_owned(),
            height: 220,
            x: Along::Time,
            y,
            lines,
            shade: None,
        };
        chart.html()
    }
}

/// The percentile curves of every kind of request that both have.
fn distributions(a: &Report, b: &Report) -> String {
    let run = |report: &Report| report.runs.get(series::typical_run(report)).cloned();
    let (Some(a), Some(b)) = (run(a), run(b)) else { return String::new() };
    let same = |run: &Run, name: &str| run.operations.iter().find(|o| o.name == name).cloned();
    let mut out = String::new();
    for (i, of_a) in a.operations.iter().enumerate() {
        let Some(of_b) = same(&b, &of_a.name) else { continue };
        if of_a.accepted.curve.is_empty() && of_b.accepted.curve.is_empty() {
            continue;
        }
        let chart = plots::percentile_chart(
            format!("ab-distribution-{i}"),
            format!("Latency distribution of {}", of_a.name),
            "The latency within which a share of the accepted answers arrived.".to_owned(),
            vec![
                plots::percentiles("A", "a", &of_a.accepted.curve, LIMIT),
                plots::percentiles("B", "b dash", &of_b.accepted.curve, LIMIT),
            ],
        );
        put!(out, "<div class=\"together\">{}</div>", chart.html());
    }
    out
}

/// Answers other than 2xx over all runs, as pairs of bars.
fn refusals(a: &Report, b: &Report) -> String {
    let (a, b) = (series::operations(a), series::operations(b));
    let mut kinds: Vec<(String, String)> = Vec::new();
    for operation in a.iter().chain(&b) {
        for name in operation.answers.keys() {
            let kind = (operation.name.clone(), name.clone());
            if series::answer(name) != Answer::Accepted && !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
    }
    let share = |operations: &[Operation], kind: &(String, String)| {
        let same = operations.iter().find(|operation| operation.name == kind.0);
        let count = same.and_then(|o| o.answers.get(&kind.1)).copied().unwrap_or(0);
        let all: u64 = operations.iter().flat_map(|o| o.answers.values()).sum();
        (count, all)
    };
    let part = |(count, all): (u64, u64)| if all == 0 { 0.0 } else { count as f64 / all as f64 };
    let larger = |kind: &(String, String)| part(share(&a, kind)).max(part(share(&b, kind)));
    kinds.sort_by(|x, y| larger(y).total_cmp(&larger(x)));
    let most = kinds.first().map_or(1.0, larger).max(f64::MIN_POSITIVE);
    let mut bars = String::new();
    for kind in &kinds {
        for (letter, operations) in [("a", &a), ("b", &b)] {
            let (count, all) = share(operations, kind);
            bars += &html::bar(&Bar {
                name: &format!("{} · {} · {}", letter.to_uppercase(), kind.0, kind.1),
                class: letter,
                part: part((count, all)) / most,
                value: &format::share(count, all),
                note: &whole(count),
            });
        }
    }
    if bars.is_empty() {
        return String::new();
    }
    format!(
        "<figure class=\"card chart\"><figcaption><h3>Refusals</h3><p>Answers other than 2xx by \
         kind, as a share of all answers of all runs.</p></figcaption><ul class=\"bars \
         two\">{bars}</ul>\
         </figure>\n"
    )
}

fn proofs(a: &Report, b: &Report) -> String {
    let side = |letter: &str, report: &Report| {
        format!("<div><h3 class=\"run-name\">{letter}</h3>{}</div>", html::proof(report))
    };
    format!("<div class=\"sides\">{}{}</div>\n", side("A", a), side("B", b))
}
