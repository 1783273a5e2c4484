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
    assert!(!page.contains("NaN") && !page.contains(">inf") && !page.contains("\"inf"));
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
