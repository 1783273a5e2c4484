//! Two reports side by side: A is what was, B is what is asked about.
//!
//! A difference counts only if the ranges of the runs, from the smallest to the largest, do not
//! overlap; else it is called within the spread. Reports of different scenarios or settings can
//! be compared, and the first thing said is how they differ.

mod page;

pub use page::page;

use super::format::{NONE, counted, fit, instant, number, printable, put, times};
use super::paint::Paint;
use super::{Report, Summary, series, table};

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
            ("ms" | "s", more) => Self::good(!more),
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
        (true, true) => Some("Each report has at most one run, so the spread is unknown."),
        (true, false) => Some("A has at most one run, so its spread is unknown."),
        (false, true) => Some("B has at most one run, so its spread is unknown."),
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
        put!(out, "{}\n", paint.warn("The reports were measured under different conditions:"));
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
    if let Some(line) = series::sale_line(report) {
        put!(out, "   {}\n", paint.bold(&line));
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
   ✓ Every promise was kept: all 5 checks passed

B  pairs · Reservix 0.1.0 · 3 runs · 2026-11-22 19:00:00 UTC
   http://127.0.0.1:8080
   ✗ A promise was broken: 1 of 5 checks failed

The reports were measured under different conditions:
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
        assert!(text(&one, &one, false).contains("Each report has at most one run"));
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
