//! A report as one page that needs nothing else: styles, script and drawings are inside of it, and
//! its content policy forbids it to load anything.

mod parts;

pub use parts::{Bar, Tile, badge, bar, facts, grid, section, shell, tiles};

use super::format::{
    NONE, counted, duration, escape, instant, number, percent, put, seconds, share, whole,
};
use super::series::{self, Answer};
use super::{Latency, Operation, Report, Run, plots, table};

/// How many runs have plots of their own.
const DRAWN: usize = 24;

/// The whole page.
pub fn page(report: &Report) -> String {
    let operations = series::operations(report);
    let body = [
        header(report),
        tiles(&headline(report, &operations)),
        runs(report),
        section("Requests", &merged_note(report), &requests(&operations)),
        over_runs(report),
        section(
            "Proof",
            "Results as seen by the client, checked against its own history.",
            &proof(report),
        ),
        section("Setting", "", &setting(report)),
    ];
    shell(&format!("{} · load report", report.scenario), &body.concat())
}

fn header(report: &Report) -> String {
    let scenario = if report.scenario.is_empty() { "unnamed" } else { &report.scenario };
    let runs = counted(report.runs.len(), "run");
    let mut meta = String::new();
    for word in [&report.target, &report.server, &runs, &instant(&report.started_at)] {
        if !word.is_empty() {
            put!(meta, "<span>{}</span>", escape(word));
        }
    }
    format!(
        "<header class=\"top\"><div><p class=\"brand\">{tool}</p><h1>{scenario}</h1>\
         {lead}<p class=\"about\">{about}</p></div>{badge}\n<p class=\"meta\">{meta}</p></header>\n",
        tool = escape(&report.tool),
        scenario = escape(scenario),
        about = escape(&report.about),
        badge = badge(report),
        lead = series::sale_line(report)
            .map(|line| format!("<p class=\"lead\">{}</p>", escape(&line)))
            .unwrap_or_default(),
    )
}

/// The median over the runs, and the range if there are several.
fn over(report: &Report, of: impl Fn(&Run) -> Option<f64>) -> (f64, Option<(f64, f64)>) {
    let values: Vec<f64> =
        report.runs.iter().filter_map(of).filter(|value| value.is_finite()).collect();
    let middle = series::median(values.iter().copied()).unwrap_or(f64::NAN);
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (middle, (values.len() > 1).then_some((least, most)))
}

fn headline(report: &Report, operations: &[Operation]) -> Vec<Tile> {
    let mut tiles = Vec::new();
    tiles.extend(sale_tile(report));
    tiles.push(accepted_tile(report, operations));
    if let Some(operation) = series::main_operation(operations) {
        tiles.push(latency_tile(report, operation));
    }
    tiles.push(refused_tile(operations));
    tiles.push(failed_tile(operations));
    let (sold, _) = over(report, |run| run.timeline.last().map(|tick| tick.sold as f64));
    if sold > 0.0 {
        tiles.push(Tile {
            label: "Seats sold".to_owned(),
            value: number(sold),
            unit: "",
            note: if report.runs.len() > 1 { "in a run, the median" } else { "in the run" }
                .to_owned(),
            class: "",
        });
    }
    tiles
}

/// How fast a rush was: what is asked first.
fn sale_tile(report: &Report) -> Option<Tile> {
    let line = series::sale_line(report)?;
    let (after, _) = over(report, |run| run.sale.as_ref().map(|sale| sale.seconds));
    let is_left = line.starts_with("Not");
    let (_, note) = line.split_once(if is_left { ": " } else { ", " })?;
    Some(Tile {
        label: if is_left { "Not sold out after" } else { "Sold out after" }.to_owned(),
        value: seconds(after),
        unit: "s",
        note: note.to_owned(),
        class: if is_left { "warn" } else { "" },
    })
}

fn accepted_tile(report: &Report, operations: &[Operation]) -> Tile {
    let (middle, range) = over(report, |run| Some(series::accepted_per_second(run)));
    let note = match range {
        Some((least, most)) => format!("{} – {} over the runs", number(least), number(most)),
        None => operations.iter().map(|o| o.name.as_str()).collect::<Vec<_>>().join(" + "),
    };
    Tile {
        label: "Accepted per second".to_owned(),
        value: number(middle),
        unit: "",
        note,
        class: "",
    }
}

fn latency_tile(report: &Report, operation: &Operation) -> Tile {
    let (middle, _) = over(report, |run| {
        let mut same = run.operations.iter().filter(|o| o.name == operation.name);
        same.find(|o| o.accepted.count > 0).map(|o| o.accepted.p99_ms)
    });
    let text = duration(middle);
    let (value, unit) = text.split_once('\u{a0}').unwrap_or((&text, ""));
    let unit = ["µs", "ms", "s"].into_iter().find(|known| *known == unit).unwrap_or("");
    let seen = operation.accepted.count > 0;
    let note = if seen {
        let Latency { p50_ms, p95_ms, p999_ms, .. } = operation.accepted;
        let of = |ms: f64| duration(ms);
        format!("p50\u{a0}{} · p95\u{a0}{} · p99.9\u{a0}{}", of(p50_ms), of(p95_ms), of(p999_ms))
    } else {
        "nothing was accepted".to_owned()
    };
    let value = value.to_owned();
    Tile { label: format!("p99 of {}", operation.name), value, unit, note, class: "" }
}

fn refused_tile(operations: &[Operation]) -> Tile {
    let refused = series::answers(operations, Answer::Refused);
    let all = operations.iter().flat_map(|o| o.answers.values()).sum();
    let most = |of: fn(&Latency) -> f64| {
        let seen = operations.iter().map(|o| &o.refused).filter(|l| l.count > 0);
        duration(seen.map(of).fold(0.0, f64::max))
    };
    let note = if refused > 0 {
        let (p95, p99) = (most(|it| it.p95_ms), most(|it| it.p99_ms));
        format!("{} of all · p95\u{a0}{p95} · p99\u{a0}{p99}", share(refused, all))
    } else {
        "none of the answers".to_owned()
    };
    Tile { label: "Refused".to_owned(), value: whole(refused), unit: "", note, class: "" }
}

fn failed_tile(operations: &[Operation]) -> Tile {
    let failed = series::answers(operations, Answer::Failed);
    let dropped: u64 = operations.iter().map(|operation| operation.dropped).sum();
    let all: u64 = operations.iter().flat_map(|o| o.answers.values()).sum();
    let mut note = if failed > 0 {
        format!("{} of all answers", share(failed, all))
    } else {
        "no errors, no lost answers".to_owned()
    };
    if dropped > 0 {
        put!(note, " · {} not sent", whole(dropped));
    }
    let class = if failed > 0 { "warn" } else { "good" };
    Tile { label: "Failed".to_owned(), value: whole(failed), unit: "", note, class }
}

/// The plots of each run; one run at a time is seen, and all are printed.
fn runs(report: &Report) -> String {
    if report.runs.is_empty() {
        return section("Runs", "", "<p class=\"card note\">No run was finished.</p>\n");
    }
    let typical = series::typical_run(report);
    let limit = plots::limit(report.runs.len().min(DRAWN + 1));
    let (mut picks, mut tabs, mut panels, mut rules) =
        (String::new(), String::new(), String::new(), String::new());
    for (i, run) in report.runs.iter().enumerate().filter(|(i, _)| *i < DRAWN || *i == typical) {
        let n = i + 1;
        let checked = if i == typical { " checked" } else { "" };
        let rate = number(series::accepted_per_second(run));
        let word = if i == typical && report.runs.len() > 2 { ", the median" } else { "" };
        put!(
            picks,
            "<input type=\"radio\" name=\"run\" id=\"pick-{n}\"{checked} \
             aria-label=\"Run {n}, {rate} accepted per second{word}\">"
        );
        put!(tabs, "<label for=\"pick-{n}\">Run {n}<small>{rate}/s{word}</small></label>");
        panels += &panel(n, run, limit);
        put!(
            rules,
            "#pick-{n}:checked~.panels>#run-{n}{{display:block}}\
             #pick-{n}:checked~.tabs>[for=pick-{n}]{{--on:1;background:var(--card);\
             color:var(--ink);border-color:var(--line-strong)}}\
             #pick-{n}:focus-visible~.tabs>[for=pick-{n}]{{outline:2px solid var(--accent)}}"
        );
    }
    let single = if report.runs.len() == 1 { " single" } else { "" };
    let body = format!(
        "<style>{rules}</style>\n<div class=\"runs{single}\">{picks}<div class=\"tabs\">{tabs}</div>\n\
         <div class=\"panels\">{panels}</div></div>\n"
    );
    let title = if report.runs.len() == 1 { "The run" } else { "Runs" };
    let about = if report.runs.len() > DRAWN {
        format!(
            "The charts show the first {DRAWN} of {} runs and the median run.",
            report.runs.len()
        )
    } else {
        String::new()
    };
    section(title, &about, &body)
}

fn panel(n: usize, run: &Run, limit: usize) -> String {
    let id = format!("run-{n}");
    let sold = plots::sold(&id, run, limit);
    let pair = if sold.is_some() { " pair" } else { "" };
    let distribution = plots::distribution(&id, &run.operations, limit).html();
    format!(
        "<div class=\"run\" id=\"{id}\">\n<h3 class=\"run-name\">Run {n}: {seconds} s measured, \
         ended: {ended}</h3>\n<div class=\"together aligned\">{throughput}{latency}{of_refused}</div>\n\
         <div class=\"row{pair}\"><div class=\"together\">{distribution}</div>{sold}</div>\n\
         {refusals}</div>\n",
        of_refused =
            plots::refused_latency(&id, run, limit).map(|it| it.html()).unwrap_or_default(),
        seconds = seconds(run.seconds),
        ended = escape(&run.ended),
        throughput = plots::throughput(&id, run, limit).html(),
        latency = plots::latency(&id, run, limit).html(),
        sold = sold
            .map(|chart| format!("<div class=\"together\">{}</div>", chart.html()))
            .unwrap_or_default(),
        refusals = refusals(run),
    )
}

/// Every answer other than 2xx, as bars.
fn refusals(run: &Run) -> String {
    let mut kinds: Vec<(&str, &str, u64)> = Vec::new();
    for operation in &run.operations {
        for (name, count) in &operation.answers {
            if series::answer(name) != Answer::Accepted {
                kinds.push((&operation.name, name, *count));
            }
        }
    }
    kinds.sort_by_key(|(_, _, count)| std::cmp::Reverse(*count));
    let most = kinds.first().map_or(1, |(_, _, count)| *count).max(1);
    let all: u64 = run.operations.iter().flat_map(|o| o.answers.values()).sum();
    let mut bars = String::new();
    for (operation, name, count) in kinds {
        let failed = series::answer(name) == Answer::Failed;
        bars += &bar(&Bar {
            name: &format!("{operation} · {name}"),
            class: if failed { "failed" } else { "refused" },
            part: count as f64 / most as f64,
            value: &whole(count),
            note: &format!("{}{}", share(count, all), if failed { " ✗ failed" } else { "" }),
        });
    }
    let body = if bars.is_empty() {
        "<p class=\"note\">No request was refused or failed.</p>".to_owned()
    } else {
        format!("<ul class=\"bars\">{bars}</ul>")
    };
    format!(
        "<figure class=\"card chart\"><figcaption><h3>Refusals</h3><p>Answers other than 2xx by kind, \
         and their share of all answers.</p></figcaption>{body}</figure>\n"
    )
}

fn merged_note(report: &Report) -> String {
    match report.runs.len() {
        0 | 1 => "Latencies are measured from the intended start of a request.".to_owned(),
        runs => format!(
            "Over {runs} runs: counts are sums, rates and percentiles are medians, max is the \
             maximum of all. Latencies are measured from the intended start of a request."
        ),
    }
}

fn requests(operations: &[Operation]) -> String {
    let mut rows = Vec::new();
    for operation in operations {
        let one = std::slice::from_ref(operation);
        let name = escape(&operation.name);
        let head = format!("{name} <small>accepted</small>");
        let rate = format!("<b>{}</b>", number(operation.accepted_per_second));
        rows.push(latency_cells(head, &operation.accepted, &rate));
        // What was answered otherwise, by its part of the rate of all answers.
        let others = (operation.refused.count + operation.failed.count) as f64;
        let rate = (operation.answered_per_second - operation.accepted_per_second).max(0.0);
        let sorts = [
            ("refused", &operation.refused, series::answers(one, Answer::Refused)),
            ("failed", &operation.failed, series::answers(one, Answer::Failed)),
        ];
        for (sort, latency, answers) in sorts {
            if answers > 0 || latency.count > 0 {
                let head = format!("<span class=\"again\">{name}</span> <small>{sort}</small>");
                let part = if others > 0.0 { latency.count as f64 / others } else { 0.0 };
                rows.push(latency_cells(head, latency, &number(rate * part)));
            }
        }
    }
    if rows.is_empty() {
        return "<p class=\"card note\">No request was sent.</p>\n".to_owned();
    }
    let columns = ["", "per second", "count", "mean", "p50", "p90", "p95", "p99", "p99.9", "max"];
    grid(&columns, &rows)
}

fn latency_cells(name: String, latency: &Latency, rate: &str) -> Vec<String> {
    let time = |ms: f64| if latency.count == 0 { NONE.to_owned() } else { duration(ms) };
    vec![
        name,
        rate.to_owned(),
        whole(latency.count),
        time(latency.mean_ms),
        time(latency.p50_ms),
        time(latency.p90_ms),
        time(latency.p95_ms),
        format!("<b>{}</b>", time(latency.p99_ms)),
        time(latency.p999_ms),
        time(latency.max_ms),
    ]
}

fn over_runs(report: &Report) -> String {
    if report.summary.is_empty() || report.runs.len() < 2 {
        return String::new();
    }
    let away = |figure: &super::Summary| {
        let off = |value: f64| ((value - figure.median) / figure.median).abs();
        off(figure.min).max(off(figure.max))
    };
    let widest = report.summary.iter().map(away).filter(|off| off.is_finite()).fold(0.05, f64::max);
    let rows: Vec<Vec<String>> = report
        .summary
        .iter()
        .map(|figure| {
            let at = |value: f64| {
                let part = 50.0 + (value / figure.median - 1.0) / widest * 48.0;
                if part.is_finite() { part.clamp(0.0, 100.0) } else { 50.0 }
            };
            let (low, high) = (at(figure.min), at(figure.max));
            vec![
                format!("{} <small>{}</small>", escape(&figure.name), escape(&figure.unit)),
                format!("<b>{}</b>", number(figure.median)),
                number(figure.min),
                number(figure.max),
                percent((figure.max - figure.min) / figure.median),
                format!(
                    "<svg class=\"range\" aria-hidden=\"true\" width=\"140\" height=\"14\">\
                     <line class=\"base\" x1=\"0\" x2=\"100%\" y1=\"7\" y2=\"7\"/>\
                     <line class=\"span\" x1=\"{low:.1}%\" x2=\"{high:.1}%\" y1=\"7\" y2=\"7\"/>\
                     <circle cx=\"50%\" cy=\"7\" r=\"4\"/></svg>"
                ),
            ]
        })
        .collect();
    let scale = format!("within ±{}", percent(widest));
    let table = grid(&["", "median", "min", "max", "spread", &scale], &rows);
    section("Over the runs", "Variation between the runs: spread is (max − min) / median.", &table)
}

/// The verdict and each promise.
pub fn proof(report: &Report) -> String {
    let mut checks = String::new();
    for check in &report.proof.checks {
        let (class, sign, word) = match (check.holds, check.proven) {
            (true, _) => ("good", "✓", "kept: "),
            (false, true) => ("bad", "✗", "broken: "),
            (false, false) => ("warn", "?", "not proven: "),
        };
        put!(
            checks,
            "<li class=\"{class}\"><b aria-hidden=\"true\">{sign}</b><div><p><span class=\"said\">\
             {word}</span>{}</p><small>{}</small></div></li>",
            escape(&check.name),
            escape(&check.detail),
        );
    }
    format!("<div class=\"card proof\">{}<ul>{checks}</ul></div>\n", badge(report))
}

fn setting(report: &Report) -> String {
    let load: Vec<(String, String)> =
        report.settings.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let load = if load.is_empty() { vec![("load".to_owned(), NONE.to_owned())] } else { load };
    let machine = &report.machine;
    let session = [
        ("target".to_owned(), report.target.clone()),
        ("server".to_owned(), report.server.clone()),
        ("tool".to_owned(), report.tool.clone()),
        ("started".to_owned(), instant(&report.started_at)),
        ("runs".to_owned(), table::runs(report)),
    ];
    let client = [
        ("processor".to_owned(), machine.cpu.clone()),
        ("cores".to_owned(), machine.cores.to_string()),
        ("load before".to_owned(), number(machine.load_before)),
        ("time stolen".to_owned(), percent(machine.steal)),
        ("noise".to_owned(), series::noise(machine).to_owned()),
    ];
    let card = |title: &str, pairs: &[(String, String)]| {
        format!("<div class=\"card\"><h3>{title}</h3>{}</div>", facts(pairs))
    };
    format!(
        "<div class=\"thirds\">{}{}{}</div>\n",
        card("Load", &load),
        card("Session", &session),
        card("Client machine", &client)
    )
}

#[cfg(test)]
mod tests;
