//! A report as text for a terminal of a hundred columns.

use super::format::{
    NONE, counted, fit, instant, number, percent, printable, put, seconds, share, whole, wrap,
};
use super::paint::Paint;
use super::series::{self, Answer, Verdict};
use super::{Latency, Operation, Report};

/// No line is wider.
pub const WIDTH: usize = 100;

/// The whole report. Every line ends in a line break and has at most [`WIDTH`] columns.
pub fn text(report: &Report, colour: bool) -> String {
    let paint = Paint(colour);
    let operations = series::operations(report);
    let mut out = header(report, paint);
    out += &rates(report, &operations, paint);
    out += &answers(&operations, paint);
    out += &latencies(report, &operations, paint);
    out += &over_runs(report, paint);
    out += &proof(report, paint);
    out
}

/// Text that came from elsewhere as lines of at most `width` columns.
pub fn lines(text: &str, width: usize) -> Vec<String> {
    wrap(&printable(text), width)
}

/// A value beside its name, on as many lines as it takes.
fn field(name: &str, value: &str, paint: Paint) -> String {
    let mut out = String::new();
    for (i, line) in lines(value, WIDTH - 12).iter().enumerate() {
        let name = if i == 0 { name } else { "" };
        let line = if line.is_empty() { NONE } else { line };
        put!(out, "  {}{line}\n", paint.dim(&format!("{name:<10}")));
    }
    out
}

/// The verdict with its sign, coloured.
pub fn verdict(report: &Report, paint: Paint) -> String {
    let line = series::verdict_line(&report.proof);
    match series::verdict(&report.proof) {
        Verdict::Kept => paint.good(&format!("✓ {line}")),
        Verdict::Broken => paint.bad(&format!("✗ {line}")),
        Verdict::Unproven | Verdict::Unchecked => paint.warn(&format!("? {line}")),
    }
}

/// The settings in one line.
pub fn settings(report: &Report) -> String {
    let pairs: Vec<String> =
        report.settings.iter().map(|(name, value)| format!("{name} {value}")).collect();
    if pairs.is_empty() { NONE.to_owned() } else { pairs.join(" · ") }
}

/// The client's machine and its noise in one line.
pub fn machine(report: &Report) -> String {
    let machine = &report.machine;
    let cpu = if machine.cpu.is_empty() { "unknown processor" } else { &machine.cpu };
    format!(
        "{cpu} · {} · load {} before · {} stolen · {}",
        counted(machine.cores, "core"),
        number(machine.load_before),
        percent(machine.steal),
        series::noise(machine),
    )
}

/// The runs and how they ended in one line.
pub fn runs(report: &Report) -> String {
    let each: Vec<String> = report
        .runs
        .iter()
        .map(|run| format!("{} s ({})", seconds(run.seconds), run.ended))
        .collect();
    match each.first() {
        None => "none".to_owned(),
        Some(first) if each.iter().all(|run| run == first) => {
            format!("{} × {first}", each.len())
        }
        Some(_) => each.join(", "),
    }
}

fn header(report: &Report, paint: Paint) -> String {
    let tool = if report.tool.is_empty() { "reservix-load" } else { &report.tool };
    let scenario = if report.scenario.is_empty() { "unnamed" } else { &report.scenario };
    let title = format!("{} · {}", printable(tool), printable(scenario));
    let when = fit(&printable(&instant(&report.started_at)), 40);
    let title = fit(&title, WIDTH - 1 - when.chars().count());
    let gap = " ".repeat(WIDTH - title.chars().count() - when.chars().count());
    let gap = if when.is_empty() { "" } else { &gap };
    let mut out = format!("{}{gap}{}\n", paint.bold(&title), paint.dim(&when));
    if let Some(line) = series::sale_line(report) {
        put!(out, "{}\n", paint.bold(&line));
    }
    if !report.about.is_empty() {
        for line in lines(&report.about, WIDTH) {
            put!(out, "{line}\n");
        }
    }
    out.push('\n');
    out += &field("target", &report.target, paint);
    out += &field("server", &report.server, paint);
    out += &field("load", &settings(report), paint);
    out += &field("machine", &machine(report), paint);
    out += &field("runs", &runs(report), paint);
    out
}

fn section(title: &str, aside: &str, columns: &str, paint: Paint) -> String {
    let aside = if aside.is_empty() { String::new() } else { format!("  {aside}") };
    let heading = format!("\n{}{}\n", paint.bold(title), paint.dim(&aside));
    let columns = columns.trim_end();
    if columns.is_empty() { heading } else { format!("{heading}{}\n", paint.dim(columns)) }
}

/// Words about how several runs became one figure.
fn merged(report: &Report) -> String {
    match report.runs.len() {
        0 | 1 => String::new(),
        runs => format!("median of {runs} runs"),
    }
}

fn rates(report: &Report, operations: &[Operation], paint: Paint) -> String {
    // A column that is about seats with numbers is there where there are some.
    let numbered = operations.iter().any(|it| series::seats_taken(it).is_some());
    let (rate, count) = if numbered { (12, 10) } else { (14, 12) };
    let taken = if numbered { format!("{:>13}", "seats taken") } else { String::new() };
    let columns = format!(
        "  {:<18}{:>rate$}{:>rate$}{:>rate$}{:>count$}{taken}{:>count$}{:>count$}",
        "", "accepted/s", "answered/s", "sent", "refused", "failed", "dropped"
    );
    let mut out = section("RATES", &merged(report), &columns, paint);
    for operation in operations {
        let one = std::slice::from_ref(operation);
        let alarm = |number: u64| {
            let cell = format!("{:>count$}", whole(number));
            if number > 0 { paint.warn(&cell) } else { cell }
        };
        let taken = series::seats_taken(operation).map_or(NONE.to_owned(), whole);
        let taken = if numbered { format!("{taken:>13}") } else { String::new() };
        put!(
            out,
            "  {:<18}{}{:>rate$}{:>rate$}{:>count$}{taken}{}{}\n",
            fit(&printable(&operation.name), 17),
            paint.bold(&format!("{:>rate$}", number(operation.accepted_per_second))),
            number(operation.answered_per_second),
            whole(operation.sent),
            whole(series::answers(one, Answer::Refused)),
            alarm(series::answers(one, Answer::Failed)),
            alarm(operation.dropped),
        );
    }
    or_none(out, operations.is_empty())
}

fn answers(operations: &[Operation], paint: Paint) -> String {
    let mut out = section("ANSWERS", "", "", paint);
    let mut none = true;
    for operation in operations {
        let total: u64 = operation.answers.values().sum();
        let mut kinds: Vec<(&String, &u64)> = operation.answers.iter().collect();
        kinds.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), *name));
        for (i, (name, count)) in kinds.into_iter().enumerate() {
            none = false;
            let of = if i == 0 { fit(&printable(&operation.name), 17) } else { String::new() };
            let cell = format!("{:<42}", fit(&printable(name), 41));
            let cell = match series::answer(name) {
                Answer::Accepted => paint.good(&cell),
                Answer::Refused => cell,
                Answer::Failed => paint.bad(&cell),
            };
            put!(out, "  {of:<18}{cell}{:>16}{:>10}\n", whole(*count), share(*count, total));
        }
    }
    or_none(out, none)
}

fn latencies(report: &Report, operations: &[Operation], paint: Paint) -> String {
    let columns = format!(
        "  {:<16}{:<9}{:>12}{:>9}{:>8}{:>8}{:>8}{:>9}{:>9}{:>10}",
        "", "", "count", "mean", "p50", "p90", "p95", "p99", "p99.9", "max"
    );
    let aside = match report.runs.len() {
        0 | 1 => "ms".to_owned(),
        runs => format!("ms · median of {runs} runs, max is the maximum of all"),
    };
    let mut out = section("LATENCY", &aside, &columns, paint);
    for operation in operations {
        let name = fit(&printable(&operation.name), 15);
        out += &latency_row(&name, "accepted", &operation.accepted, paint);
        for (sort, latency) in [("refused", &operation.refused), ("failed", &operation.failed)] {
            if latency.count > 0 {
                out += &latency_row("", sort, latency, paint);
            }
        }
    }
    or_none(out, operations.is_empty())
}

fn latency_row(name: &str, sort: &str, latency: &Latency, paint: Paint) -> String {
    let figure = |ms: f64| if latency.count == 0 { NONE.to_owned() } else { number(ms) };
    format!(
        "  {name:<16}{sort:<9}{:>12}{:>9}{:>8}{:>8}{:>8}{}{:>9}{:>10}\n",
        whole(latency.count),
        figure(latency.mean_ms),
        figure(latency.p50_ms),
        figure(latency.p90_ms),
        figure(latency.p95_ms),
        paint.bold(&format!("{:>9}", figure(latency.p99_ms))),
        figure(latency.p999_ms),
        figure(latency.max_ms),
    )
}

fn over_runs(report: &Report, paint: Paint) -> String {
    if report.summary.is_empty() {
        return String::new();
    }
    let columns = format!(
        "  {:<36}{:<6}{:>13}{:>13}{:>13}{:>12}",
        "", "unit", "median", "min", "max", "spread"
    );
    let aside = match report.runs.len() {
        0 | 1 => "one run has no spread",
        _ => "spread is (max − min) / median",
    };
    let mut out = section("OVER THE RUNS", aside, &columns, paint);
    for figure in &report.summary {
        let spread = (figure.max - figure.min) / figure.median;
        put!(
            out,
            "  {:<36}{:<6}{}{:>13}{:>13}{:>12}\n",
            fit(&printable(&figure.name), 35),
            fit(&printable(&figure.unit), 5),
            paint.bold(&format!("{:>13}", number(figure.median))),
            number(figure.min),
            number(figure.max),
            if report.runs.len() > 1 { percent(spread) } else { NONE.to_owned() },
        );
    }
    out
}

fn proof(report: &Report, paint: Paint) -> String {
    let mut out = section("PROOF", "", "", paint);
    for check in &report.proof.checks {
        let sign = match (check.holds, check.proven) {
            (true, _) => paint.good("✓"),
            (false, true) => paint.bad("✗"),
            (false, false) => paint.warn("?"),
        };
        for (i, line) in lines(&check.name, WIDTH - 4).iter().enumerate() {
            put!(out, "  {} {line}\n", if i == 0 { &sign } else { " " });
        }
        for line in lines(&check.detail, WIDTH - 4) {
            if !line.is_empty() {
                put!(out, "    {}\n", paint.dim(&line));
            }
        }
    }
    out + "\n" + &verdict(report, paint) + "\n"
}

fn or_none(out: String, none: bool) -> String {
    if none { out + "  none\n" } else { out }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn the_table_reads_like_this() {
        let mut report = sample::report("hold", 1);
        report.proof.checks = sample::checks(false);
        assert_eq!(text(&report, false), GOLDEN);
    }

    const GOLDEN: &str = "\
reservix-load 0.1.0 · hold                                                   2026-11-22 19:00:00 UTC
Buyers hold seats in one hot section and confirm every hold at once.

  target    http://127.0.0.1:8080
  server    Reservix 0.1.0
  load      buyers 500 · capacity 50000 · connections 64 · duration 40s · runs 3 · sections 4 ·
            warm-up 5s
  machine   AMD EPYC 9R14 · 2 cores · load 0.21 before · 0.4 % stolen · quiet
  runs      1 × 40 s (time)

RATES
                        accepted/s    answered/s          sent     refused      failed     dropped
  hold                      25,578        27,436     1,097,507      74,342          62          12

ANSWERS
  hold              201                                              1,023,103    93.2 %
                    409 sold_out                                        71,204     6.5 %
                    503 overloaded                                       3,120     0.3 %
                    no answer: reset                                        62    <0.1 %
                    429 too_many_requests                                   18    <0.1 %

LATENCY  ms
                                  count     mean     p50     p90     p95      p99    p99.9       max
  hold            accepted    1,023,103     0.81    0.63    1.02    1.29     2.32     5.75       103
                  refused        74,342     0.33    0.25    0.37    0.44     0.69     1.40      5.85

OVER THE RUNS  one run has no spread
                                      unit         median          min          max      spread
  hold accepted/s                     1/s          25,578       25,578       25,578           –
  hold p50                            ms             0.63         0.63         0.63           –
  hold p95                            ms             1.29         1.29         1.29           –
  hold p99                            ms             2.32         2.32         2.32           –
  hold p99.9                          ms             5.75         5.75         5.75           –

PROOF
  ✗ No section sold more than its capacity
    section A of event 0198b1c2: capacity 50,000, confirmed 50,003; bookings 0198b1d4-77aa-7c01,
    0198b1d4-77ab-7c01, 0198b1d4-77ac-7c01
  ✓ Every acknowledged booking is still there
    1,204,113 looked up, 0 missing
  ✓ One booking for each key
    1,204,113 keys, 0 with two bookings
  ✓ After the holds lapse, each section sells to exactly its capacity
    4 of 4 sections
  ✓ No answer was a server error
    0 of 1,236,401

✗ A promise was broken: 1 of 5 checks failed
";

    #[test]
    fn seats_that_were_taken_have_a_column_where_seats_have_numbers() {
        let mut report = sample::report("hold", 1);
        let operation = &mut report.runs[0].operations[0];
        operation.name = "seats".into();
        operation.answers.insert("409 seats_unavailable".into(), 1_234);
        let shown = text(&report, false);
        let rates: Vec<&str> = shown.lines().skip_while(|it| *it != "RATES").skip(1).collect();
        assert!(rates[0].ends_with("refused  seats taken    failed   dropped"), "{}", rates[0]);
        assert!(rates[1].contains("75,576        1,234"), "{}", rates[1]);
        assert!(shown.lines().all(|line| line.chars().count() <= WIDTH));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let mut long = sample::report("pairs", 3);
        long.target = "http://example.test/".repeat(30);
        long.scenario = "x".repeat(300);
        long.runs[0].operations[0].answers.insert("500 ".repeat(80), 900_000_000);
        long.runs[0].operations[0].name = "y".repeat(200);
        long.proof.checks = sample::checks(false);
        long.proof.checks[0].detail = "z".repeat(1_000);
        let all =
            [sample::report("hold", 1), sample::report_of(1), sample::empty(), sample::broken()];
        for report in all.iter().chain([&long]) {
            for line in text(report, false).lines() {
                assert!(line.chars().count() <= WIDTH, "{line}");
                assert!(!line.contains("NaN") && !line.contains("inf"), "{line}");
                assert_eq!(line, line.trim_end());
            }
        }
    }

    #[test]
    fn colour_changes_nothing_but_the_colour() {
        let report = sample::report("pairs", 3);
        let mut plain = text(&report, true);
        while let Some(start) = plain.find('\u{1b}') {
            let end = plain[start..].find('m').expect("every colour ends in m");
            plain.replace_range(start..=start + end, "");
        }
        assert_eq!(plain, text(&report, false));
    }

    #[test]
    fn a_server_cannot_steer_the_terminal() {
        let mut report = sample::report("hold", 1);
        report.server = "\u{1b}[2Jevil\r\u{7}".into();
        let shown = text(&report, false);
        assert!(shown.chars().all(|c| c == '\n' || !c.is_control()));
    }
}
