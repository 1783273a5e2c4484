//! Two reports side by side: A is what was, B is what is asked about.
//!
//! A difference counts only if the ranges of the runs, from the smallest to the largest, do not
//! overlap; else it is called within the spread. Reports of different scenarios or settings can
//! be compared, and the first thing said is how they differ.

use super::chart::{Axis, Chart, Line, Scale};
use super::format::{
    NONE, counted, duration, escape, fit, instant, number, printable, put, times, whole,
};
use super::html::{self, Bar, Tile};
use super::paint::Paint;
use super::series::{self, Answer, measured_from, merged};
use super::{Operation, Report, Run, Summary, Tick, format, plots, table};

/// How many points a curve has at most.
const LIMIT: usize = 240;

/// What became of a figure from A to B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Better,
    Worse,
    /// The ranges overlap.
    Within,
    /// Neither direction is the good one.
    Changed,
    /// One side lacks it.
    Alone,
}

impl Mark {
    fn words(self) -> &'static str {
        match self {
            Self::Better => "▲ better",
            Self::Worse => "▼ worse",
            Self::Within => "within the spread",
            Self::Changed => "changed",
            Self::Alone => "in one only",
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Better => "mark-better",
            Self::Worse => "mark-worse",
            Self::Within | Self::Changed | Self::Alone => "mark-even",
        }
    }
}

/// One figure on both sides.
#[derive(Debug)]
struct Row<'a> {
    name: &'a str,
    unit: &'a str,
    a: Option<&'a Summary>,
    b: Option<&'a Summary>,
}

impl Row<'_> {
    /// B as a multiple of A.
    fn ratio(&self) -> f64 {
        match (self.a, self.b) {
            (Some(a), Some(b)) => b.median / a.median,
            _ => f64::NAN,
        }
    }

    fn mark(&self) -> Mark {
        let (Some(a), Some(b)) = (self.a, self.b) else { return Mark::Alone };
        let all = [a.median, a.min, a.max, b.median, b.min, b.max];
        if all.iter().any(|value| !value.is_finite()) {
            return Mark::Alone;
        }
        if a.min <= b.max && b.min <= a.max {
            return Mark::Within;
        }
        let name = self.name.to_lowercase();
        let costs = ["failed", "dropped", "lost"].iter().any(|word| name.contains(word));
        match (self.unit, b.median > a.median) {
            ("1/s", _) if name.contains("refused") => Mark::Changed,
            ("ms", more) => Self::good(!more),
            ("1/s", more) => Self::good(more != costs),
            (_, more) if costs => Self::good(!more),
            _ => Mark::Changed,
        }
    }

    fn good(good: bool) -> Mark {
        if good { Mark::Better } else { Mark::Worse }
    }
}

/// All figures of both, in the order of A.
fn rows<'a>(a: &'a Report, b: &'a Report) -> Vec<Row<'a>> {
    let find = |report: &'a Report, like: &Summary| {
        report.summary.iter().find(|figure| figure.name == like.name && figure.unit == like.unit)
    };
    let mut out: Vec<Row> = Vec::new();
    for figure in &a.summary {
        let b = find(b, figure);
        out.push(Row { name: &figure.name, unit: &figure.unit, a: Some(figure), b });
    }
    for figure in b.summary.iter().filter(|figure| find(a, figure).is_none()) {
        out.push(Row { name: &figure.name, unit: &figure.unit, a: None, b: Some(figure) });
    }
    out
}

/// Why the comparison may not be fair, one sentence each.
fn differences(a: &Report, b: &Report) -> Vec<String> {
    let mut out = Vec::new();
    let mut differ = |what: &str, a: &str, b: &str| {
        let shown = |text: &str| if text.is_empty() { NONE.to_owned() } else { text.to_owned() };
        if a != b {
            out.push(format!("{what}: {} → {}", shown(a), shown(b)));
        }
    };
    differ("scenario", &a.scenario, &b.scenario);
    let mut names: Vec<&String> = a.settings.keys().chain(b.settings.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        let of = |report: &Report| report.settings.get(name).cloned().unwrap_or_default();
        differ(&format!("setting {name}"), &of(a), &of(b));
    }
    differ("processor", &a.machine.cpu, &b.machine.cpu);
    differ("cores", &a.machine.cores.to_string(), &b.machine.cores.to_string());
    out
}

/// A caveat on figures that were measured once; none if both sides have several runs.
fn single(a: &Report, b: &Report) -> Option<&'static str> {
    match (a.runs.len() < 2, b.runs.len() < 2) {
        (true, true) => Some("Each side has at most one run: how far runs spread is not known."),
        (true, false) => Some("A has at most one run: how far its runs spread is not known."),
        (false, true) => Some("B has at most one run: how far its runs spread is not known."),
        (false, false) => None,
    }
}

/// How many figures became better, worse, or neither.
fn tally(rows: &[Row]) -> String {
    let count = |mark: Mark| rows.iter().filter(|row| row.mark() == mark).count();
    let mut words = vec![
        format!("{} better", count(Mark::Better)),
        format!("{} worse", count(Mark::Worse)),
        format!("{} within the spread", count(Mark::Within)),
    ];
    let rest = count(Mark::Changed) + count(Mark::Alone);
    if rest > 0 {
        words.push(format!("{rest} not judged"));
    }
    words.join(" · ")
}

/// The comparison for a terminal, at most [`table::WIDTH`] columns wide.
pub fn text(a: &Report, b: &Report, colour: bool) -> String {
    let paint = Paint(colour);
    let mut out = format!("{}\n\n", paint.bold("A and B side by side"));
    for (letter, report) in [("A", a), ("B", b)] {
        out += &side_text(letter, report, paint);
    }
    let differences = differences(a, b);
    if !differences.is_empty() {
        put!(out, "{}\n", paint.warn("These were not measured alike:"));
        for difference in &differences {
            for line in table::lines(difference, table::WIDTH - 4) {
                put!(out, "  ! {line}\n");
            }
        }
        out.push('\n');
    }
    let rows = rows(a, b);
    out += &rows_text(&rows, paint);
    if let Some(caveat) = single(a, b) {
        put!(out, "{}\n", paint.dim(caveat));
    }
    out + "\n" + &paint.bold(&tally(&rows)) + "\n"
}

fn side_text(letter: &str, report: &Report, paint: Paint) -> String {
    let what = format!(
        "{} · {} · {} · {}",
        report.scenario,
        report.server,
        counted(report.runs.len(), "run"),
        instant(&report.started_at)
    );
    let mut out = paint.bold(letter);
    for (i, line) in table::lines(&what, table::WIDTH - 3).iter().enumerate() {
        put!(out, "{}{line}\n", if i == 0 { "  " } else { "   " });
    }
    for line in table::lines(&report.target, table::WIDTH - 3) {
        put!(out, "   {line}\n");
    }
    format!("{out}   {}\n\n", table::verdict(report, paint))
}

fn rows_text(rows: &[Row], paint: Paint) -> String {
    let head = format!(
        "{:<24} {:>8} {:>15} {:>8} {:>15} {:>6}",
        "", "A", "min–max", "B", "min–max", "B/A"
    );
    let mut out = format!("{}\n", paint.dim(&head));
    for row in rows {
        // A rate says so in its name (`accepted/s`).
        let unit = if row.unit == "1/s" { String::new() } else { format!(" {}", row.unit) };
        let name = fit(&printable(&format!("{}{unit}", row.name)), 24);
        let mark = row.mark();
        let words = match mark {
            Mark::Better => paint.good(mark.words()),
            Mark::Worse => paint.bad(mark.words()),
            _ => paint.dim(mark.words()),
        };
        put!(
            out,
            "{name:<24} {} {} {} {} {:>6}  {words}\n",
            paint.bold(&format!("{:>8}", middle(row.a))),
            paint.dim(&format!("{:>15}", range(row.a))),
            paint.bold(&format!("{:>8}", middle(row.b))),
            paint.dim(&format!("{:>15}", range(row.b))),
            times(row.ratio()),
        );
    }
    if rows.is_empty() { out + "no figures\n" } else { out }
}

fn middle(figure: Option<&Summary>) -> String {
    fit(&figure.map_or_else(|| NONE.to_owned(), |figure| number(figure.median)), 8)
}

fn range(figure: Option<&Summary>) -> String {
    let text = figure.map(|figure| format!("{}–{}", number(figure.min), number(figure.max)));
    fit(&text.unwrap_or_else(|| NONE.to_owned()), 15)
}

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
            "<div class=\"card differ\"><h3>! These were not measured alike</h3>\
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
    let rates = both().filter(|row| row.unit == "1/s").take(2);
    let tails = both().filter(|row| row.unit == "ms" && row.name.ends_with("p99")).take(2);
    rates
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
    let latency = "Of all answers, on a log scale.";
    together +=
        &over_time.chart("p50", "Median latency", latency, Values::Latency(|tick| tick.p50_ms));
    together +=
        &over_time.chart("p99", "p99 latency", latency, Values::Latency(|tick| tick.p99_ms));
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
            end: name.to_owned(),
        };
        let lines = vec![line("A", "a", self.a), line("B", "b dash", self.b)];
        let longer = |ticks: &[Tick]| ticks.last().map_or(0.0, |tick| tick.at);
        let longest = if longer(self.a) >= longer(self.b) { self.a } else { self.b };
        let (y, value): (Axis, fn(f64) -> String) = match values {
            Values::Latency(_) => (plots::time_scale(&lines), duration),
            Values::Rate(_) => (counting(&lines), plots::per_second),
            Values::Sold => (counting(&lines), number),
        };
        let chart = Chart {
            id: format!("ab-{id}"),
            title: title.to_owned(),
            about: about.to_owned(),
            height: 190.0,
            x: plots::time_axis(longest),
            y,
            lines,
            shade: None,
            reads: plots::reads(longest),
            value,
        };
        chart.html()
    }
}

fn counting(lines: &[Line]) -> Axis {
    Axis::new(Scale::counting(plots::highest(lines)), 5.0, format::tick)
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
            "The latency that a share of the accepted answers stayed below.".to_owned(),
            vec![
                plots::percentiles("A", "a", &of_a.accepted.curve, LIMIT),
                plots::percentiles("B", "b dash", &of_b.accepted.curve, LIMIT),
            ],
            LIMIT,
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
        "<figure class=\"card chart\"><figcaption><h3>Refusals</h3><p>Answers other than 2xx by kind, as \
         a share of all answers over all runs.</p></figcaption><ul class=\"bars two\">{bars}</ul>\
         </figure>\n"
    )
}

fn proofs(a: &Report, b: &Report) -> String {
    let side = |letter: &str, report: &Report| {
        format!("<div><h3 class=\"run-name\">{letter}</h3>{}</div>", html::proof(report))
    };
    format!("<div class=\"sides\">{}{}</div>\n", side("A", a), side("B", b))
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    fn figure(name: &str, unit: &str, min: f64, median: f64, max: f64) -> Summary {
        Summary { name: name.into(), unit: unit.into(), median, min, max }
    }

    fn mark(a: &Summary, b: &Summary) -> Mark {
        Row { name: &a.name, unit: &a.unit, a: Some(a), b: Some(b) }.mark()
    }

    fn pair() -> (Report, Report) {
        let (mut a, mut b) = (sample::report("pairs", 3), sample::report("pairs", 3));
        a.summary = vec![
            figure("hold accepted/s", "1/s", 20_160.0, 20_584.0, 20_965.0),
            figure("hold p99", "ms", 2.83, 2.88, 2.94),
            figure("hold p99.9", "ms", 7.0, 7.2, 7.4),
            figure("hold refused/s", "1/s", 10.0, 11.0, 12.0),
            figure("gone p50", "ms", 1.0, 1.0, 1.0),
        ];
        b.summary = vec![
            figure("hold accepted/s", "1/s", 41_002.0, 41_152.0, 41_900.0),
            figure("hold p99", "ms", 3.4, 3.5, 3.6),
            figure("hold p99.9", "ms", 6.5, 6.8, 7.1),
            figure("hold refused/s", "1/s", 0.0, 0.0, 0.0),
            figure("new p50", "ms", 2.0, 2.0, 2.0),
        ];
        b.settings.insert("connections".into(), "128".into());
        b.settings.remove("buyers");
        b.proof.checks = sample::checks(false);
        (a, b)
    }

    #[test]
    fn the_comparison_reads_like_this() {
        let (a, b) = pair();
        assert_eq!(text(&a, &b, false), GOLDEN);
    }

    const GOLDEN: &str = "\
A and B side by side

A  pairs · Reservix 0.1.0 · 3 runs · 2026-11-22 19:00:00 UTC
   http://127.0.0.1:8080
   ✓ Every promise kept: all 5 checks hold

B  pairs · Reservix 0.1.0 · 3 runs · 2026-11-22 19:00:00 UTC
   http://127.0.0.1:8080
   ✗ A promise was broken: 1 of 5 checks fails

These were not measured alike:
  ! setting buyers: 500 → –
  ! setting connections: 64 → 128

                                A         min–max        B         min–max    B/A
hold accepted/s            20,584   20,160–20,965   41,152   41,002–41,900  2.00×  ▲ better
hold p99 ms                  2.88       2.83–2.94     3.50       3.40–3.60  1.22×  ▼ worse
hold p99.9 ms                7.20       7.00–7.40     6.80       6.50–7.10  0.94×  within the spread
hold refused/s               11.0       10.0–12.0        0             0–0  0.00×  changed
gone p50 ms                  1.00       1.00–1.00        –               –      –  in one only
new p50 ms                      –               –     2.00       2.00–2.00      –  in one only

1 better · 1 worse · 1 within the spread · 3 not judged
";

    #[test]
    fn a_difference_counts_only_outside_the_spread() {
        let rate = |min, max| figure("hold accepted/s", "1/s", min, f64::midpoint(min, max), max);
        assert_eq!(mark(&rate(1.0, 2.0), &rate(3.0, 4.0)), Mark::Better);
        assert_eq!(mark(&rate(3.0, 4.0), &rate(1.0, 2.0)), Mark::Worse);
        assert_eq!(mark(&rate(1.0, 3.0), &rate(2.0, 4.0)), Mark::Within);
        assert_eq!(mark(&rate(1.0, 2.0), &rate(2.0, 4.0)), Mark::Within);
        assert_eq!(mark(&rate(f64::NAN, 2.0), &rate(3.0, 4.0)), Mark::Alone);
    }

    #[test]
    fn the_good_direction_depends_on_the_figure() {
        let more = |name, unit| {
            mark(&figure(name, unit, 1.0, 1.0, 1.0), &figure(name, unit, 2.0, 2.0, 2.0))
        };
        assert_eq!(more("hold accepted/s", "1/s"), Mark::Better);
        assert_eq!(more("hold p99", "ms"), Mark::Worse);
        assert_eq!(more("hold failed/s", "1/s"), Mark::Worse);
        assert_eq!(more("hold refused/s", "1/s"), Mark::Changed);
        assert_eq!(more("hold failed", ""), Mark::Worse);
        assert_eq!(more("sections", ""), Mark::Changed);
    }

    #[test]
    fn one_run_has_no_spread_and_that_is_said() {
        let (one, three) = (sample::report("hold", 1), sample::report("hold", 3));
        assert!(text(&one, &three, false).contains("A has at most one run"));
        assert!(text(&three, &one, false).contains("B has at most one run"));
        assert!(text(&one, &one, false).contains("Each side has at most one run"));
        assert!(!text(&three, &three, false).contains("at most one run"));
    }

    #[test]
    fn other_scenarios_are_compared_with_a_warning() {
        let (a, b) = (sample::report("hold", 3), sample::report("pairs", 3));
        assert!(text(&a, &b, false).contains("! scenario: hold → pairs"));
        assert!(page(&a, &b).contains("scenario: hold → pairs"));
        assert!(!text(&a, &a, false).contains("not measured alike"));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let mut long = sample::report("pairs", 3);
        long.scenario = "x".repeat(300);
        long.target = "y".repeat(300);
        long.settings.insert("z".repeat(300), "z".repeat(300));
        long.summary[0].name = "w".repeat(300);
        long.summary[0].max = 1e15;
        let all = [sample::empty(), sample::broken(), sample::report("hold", 1), long];
        for a in &all {
            for b in &all {
                for line in text(a, b, false).lines() {
                    assert!(line.chars().count() <= table::WIDTH, "{line}");
                    assert!(!line.contains("NaN") && !line.contains("inf"), "{line}");
                }
            }
        }
    }
}
