//! Every page is well formed, small, and safe to open.

use super::super::{compare, sample};
use super::*;

/// Fails unless every element is closed in order and every attribute is quoted.
fn well_formed(page: &str) {
    const VOID: [&str; 4] = ["meta", "link", "input", "br"];
    let mut open: Vec<String> = Vec::new();
    let mut rest = page;
    while let Some(start) = rest.find('<') {
        assert!(!rest[..start].contains('>'), "a stray > before {}", &rest[start..][..40]);
        rest = &rest[start + 1..];
        let end = rest.find('>').expect("a tag ends");
        let (tag, after) = (&rest[..end], &rest[end + 1..]);
        rest = after;
        let mut quote = None;
        for c in tag.chars().filter(|c| matches!(c, '"' | '\'')) {
            match quote {
                None => quote = Some(c),
                Some(opened) if opened == c => quote = None,
                Some(_) => {}
            }
        }
        assert_eq!(quote, None, "{tag}");
        if tag.starts_with('!') {
            continue;
        }
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name));
            continue;
        }
        let name = tag.split([' ', '/']).next().expect("a tag has a name").to_owned();
        if name == "style" || name == "script" {
            let close = format!("</{name}>");
            rest = &rest[rest.find(&close).expect("closed") + close.len()..];
        } else if !tag.ends_with('/') && !VOID.contains(&name.as_str()) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

fn sound(page: &str) {
    well_formed(page);
    let (told, _) = page.split_once("<script>").expect("our script comes last");
    assert!(!told.contains("NaN") && !told.contains(">inf") && !told.contains("\"inf"));
    assert!(page.len() < 1_000_000, "{} bytes", page.len());
}

fn all() -> Vec<Report> {
    let mut out = vec![sample::empty(), sample::broken(), sample::report("hold", 1)];
    out.extend([0, 1, 2, 10_000].map(sample::report_of));
    out.push(sample::report("pairs", 3));
    out.push(sample::report("pairs", 20));
    out.push(sample::report("pairs", 80));
    out
}

#[test]
fn every_page_is_sound_and_small() {
    for report in all() {
        sound(&page(&report));
    }
    for a in all() {
        for b in all().iter().take(6) {
            sound(&compare::page(&a, b));
        }
    }
}

#[test]
fn a_page_names_no_address_but_the_target() {
    let mut report = sample::report("pairs", 3);
    let pages = [page(&report), compare::page(&report, &report)];
    for shown in pages {
        let bare = shown.replace("http://127.0.0.1:8080", "");
        assert!(!bare.contains("http://") && !bare.contains("https://"));
        assert!(!bare.contains("//cdn") && !bare.contains("@import") && !bare.contains("url("));
    }
    report.target = "elsewhere".into();
    assert!(!page(&report).contains("http://"));
}

#[test]
fn text_of_the_report_stays_text() {
    let evil = "<script>alert('\"&\")</script>";
    let mut report = sample::report("pairs", 2);
    report.tool = evil.into();
    report.started_at = evil.into();
    report.target = evil.into();
    report.server = evil.into();
    report.scenario = evil.into();
    report.about = evil.into();
    report.machine.cpu = evil.into();
    report.settings.insert(evil.into(), evil.into());
    report.summary[0].name = evil.into();
    report.summary[0].unit = evil.into();
    report.proof.checks[0].name = evil.into();
    report.proof.checks[0].detail = evil.into();
    for run in &mut report.runs {
        run.ended = evil.into();
        run.operations[0].name = evil.into();
        run.operations[0].answers.insert(evil.into(), 9);
    }
    for shown in [page(&report), compare::page(&report, &report)] {
        well_formed(&shown);
        assert_eq!(shown.matches("<script>").count(), 1, "our own");
        assert!(!shown.contains("alert('"));
    }
}

#[test]
fn the_run_in_the_middle_is_shown_first() {
    let report = sample::report("pairs", 3);
    let shown = format!("id=\"pick-{}\" checked", series::typical_run(&report) + 1);
    assert!(page(&report).contains(&shown));
}

/// The numbers behind `name` in the legends of a page.
fn in_legend(page: &str, name: &str) -> Vec<String> {
    let items = page.split("<ul class=\"legend\">").skip(1);
    let items = items.flat_map(|list| list.split("</ul>").next().unwrap().split("<li>"));
    let named = items.filter_map(|item| item.split("</svg>").nth(1)?.strip_prefix(name));
    named
        .filter_map(|rest| Some(rest.split_once("<b>")?.1.split_once("</b>")?.0.to_owned()))
        .collect()
}

/// The counts of the rows of a sort in the table of requests, added up.
fn in_table(page: &str, sort: &str) -> u64 {
    let (_, table) = page.split_once("<h2>Requests</h2>").expect("a table of requests");
    let rows = table.split("</table>").next().expect("it ends").split("<tr>");
    let of_sort = rows.filter(|row| row.contains(&format!("<small>{sort}</small>")));
    let count = |row: &str| -> Option<u64> {
        row.split("<td>").nth(2)?.split('<').next()?.replace(',', "").parse().ok()
    };
    of_sort.filter_map(count).sum::<u64>()
}

#[test]
fn legend_and_table_agree() {
    let mut report = sample::report("pairs", 1);
    for operation in &mut report.runs[0].operations {
        // Failures that were answered have a row of their own; those without an answer have no latency.
        operation.answers.remove("no answer: reset");
        operation.answers.insert("503 overloaded without Retry-After".into(), 7);
        operation.failed.count = 7;
        operation.answers.insert("304".into(), 5);
        operation.accepted.count += 5;
    }
    let shown = page(&report);
    let numbers = |name: &str| -> Vec<u64> {
        let texts = in_legend(&shown, name).into_iter();
        texts.map(|text| text.replace(',', "").parse().unwrap()).collect()
    };
    for sort in ["accepted", "refused", "failed"] {
        assert!(in_table(&shown, sort) > 0, "{sort}");
        assert_eq!(numbers(sort), [in_table(&shown, sort)], "{sort}");
    }
    let text = table::text(&report, false);
    let line =
        |of: &str| text.lines().find(|line| line.contains(of)).unwrap_or_default().to_owned();
    let operation = &report.runs[0].operations[0];
    assert!(line("hold            accepted").contains(&whole(operation.accepted.count)), "{text}");
}

#[test]
fn every_curve_of_the_distribution_is_a_row_of_the_table() {
    let shown = page(&sample::report("pairs", 1));
    for (name, sort) in [("hold", "accepted"), ("hold", "refused"), ("confirm", "accepted")] {
        assert!(
            shown.contains(&format!("</svg>{name} {sort}<output>")),
            "{name} {sort} has a curve"
        );
        assert!(in_table(&shown, sort) > 0);
    }
    assert!(
        !shown.contains("</svg>confirm refused"),
        "none was refused, so there is no row either"
    );
}

/// There is a 95th percentile wherever there is a 99th, of accepted answers and of refusals.
#[test]
fn p95_is_everywhere() {
    let mut report = sample::report("pairs", 3);
    report.summary = crate::summary::over(&report.runs);
    let names: Vec<&str> = report.summary.iter().map(|figure| figure.name.as_str()).collect();
    for name in ["hold p95", "hold refused p95", "confirm p95"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let json = serde_json::to_string(&report).unwrap();
    for (p95, p99) in [("\"p95_ms\"", "\"p99_ms\""), ("refused_p95_ms", "refused_p99_ms")] {
        assert_eq!(json.matches(p95).count(), json.matches(p99).count());
    }
    for text in [table::text(&report, false), compare::text(&report, &report, false)] {
        assert!(text.matches("p95").count() >= 3, "{text}");
        let rows = text.lines().filter(|line| line.contains(" p95"));
        assert!(rows.count() >= 3, "{text}");
    }
    for shown in [page(&report), compare::page(&report, &report)] {
        assert!(shown.contains("<line class=\"p95\"") || shown.contains("p95 latency of accepted"));
        assert!(shown.contains("Latency of refused") || shown.contains("p95 latency of refused"));
        assert!(shown.contains("hold p95") && shown.contains("hold refused p95"));
    }
    assert!(page(&report).contains("<th scope=\"col\">p95</th>"));
}

#[test]
fn a_report_of_an_earlier_version_has_its_p95_from_the_curve() {
    let report = sample::report("hold", 1);
    let mut old = serde_json::to_value(&report).unwrap();
    let accepted = &mut old["runs"][0]["operations"][0]["accepted"];
    accepted.as_object_mut().unwrap().remove("p95_ms");
    accepted["curve"] = serde_json::json!([[0.0, 1.0], [95.0, 4.25], [100.0, 9.0]]);
    let read: Report = serde_json::from_value(old).unwrap();
    let p95 = read.completed().runs[0].operations[0].accepted.p95_ms;
    assert!((p95 - 4.25).abs() < 1e-9, "{p95}");
}

#[test]
fn a_rush_leads_with_when_it_was_sold_out() {
    let mut report = sample::report("hold", 1);
    let sale = super::super::Sale {
        seats: 10_000,
        sold: 10_000,
        sold_in_first_second: 420,
        seconds: 17.26,
    };
    report.runs[0].sale = Some(sale);
    let line = "Sold out after 17.3 s, 4.2 % in the first second";
    let text = table::text(&report, false);
    assert_eq!(text.lines().nth(1), Some(line));
    let shown = page(&report);
    sound(&shown);
    assert!(shown.contains(&format!("<p class=\"lead\">{line}</p>")));
    let (_, tiles) = shown.split_once("class=\"tiles\"").unwrap();
    assert!(tiles.find("Sold out after") < tiles.find("Accepted per second"));
    assert!(compare::text(&report, &report, false).contains(line));
    report.summary = crate::summary::over(&report.runs);
    let first: Vec<&str> = report.summary.iter().take(2).map(|it| it.name.as_str()).collect();
    assert_eq!(first, ["sold out after", "sold in first second"]);
}

/// Writes sample reports and their pages for a look at them:
/// `cargo test -p loadtest -- --ignored samples`.
#[test]
#[ignore = "writes files for people"]
fn samples() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/report-samples");
    std::fs::create_dir_all(folder).unwrap();
    let mut before = sample::report("pairs", 3);
    before.settings.insert("connections".into(), "32".into());
    before.started_at = "2026-11-20T08:12:44Z".into();
    for figure in before.summary.iter_mut().skip(1).take(5) {
        let by = if figure.unit == "ms" { 1.4 } else { 0.7 };
        figure.median *= by;
        figure.min *= by;
        figure.max *= by;
    }
    for tick in before.runs.iter_mut().flat_map(|run| &mut run.timeline) {
        tick.accepted = tick.accepted * 7 / 10;
        tick.p50_ms *= 1.4;
        tick.p99_ms *= 1.3;
        tick.sold = tick.sold * 7 / 10;
    }
    for operation in before.runs.iter_mut().flat_map(|run| &mut run.operations) {
        operation.accepted_per_second *= 0.7;
        for (_, ms) in &mut operation.accepted.curve {
            *ms *= 1.4;
        }
    }
    let after = sample::report("pairs", 3);
    let mut failed = sample::report("hold", 1);
    failed.proof.holds = false;
    failed.proof.checks = sample::checks(false);
    let json = |name: &str, report: &Report| {
        std::fs::write(format!("{folder}/{name}.json"), serde_json::to_vec(report).unwrap())
            .unwrap();
        std::fs::write(format!("{folder}/{name}.html"), page(report)).unwrap();
    };
    json("before", &before);
    json("after", &after);
    json("failed", &failed);
    json("one-tick", &sample::report_of(1));
    json("long", &sample::report_of(10_000));
    json("broken", &sample::broken());
    json("empty", &sample::empty());
    let both = compare::page(&before, &after);
    std::fs::write(format!("{folder}/compare.html"), both).unwrap();
}
