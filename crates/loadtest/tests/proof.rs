//! The tool as a process, against a server of the suite's own: an honest one passes every scenario, and
//! each planted bug is found and named. A checker is only believed once it has caught one.

mod fake;

use fake::{Fake, Plant};
use serde_json::Value;
use std::process::{Command, Stdio};

struct Outcome {
    code: i32,
    report: Value,
    stdout: String,
    stderr: String,
}

impl Outcome {
    fn broken(&self) -> Vec<&str> {
        let checks = self.report["proof"]["checks"].as_array().expect("there are checks");
        let broken = checks.iter().filter(|check| check["holds"] == false);
        broken.filter_map(|check| check["name"].as_str()).collect()
    }

    fn detail(&self, begin: &str) -> &str {
        let mut checks = self.report["proof"]["checks"].as_array().into_iter().flatten();
        let check = checks.find(|it| it["name"].as_str().is_some_and(|it| it.starts_with(begin)));
        check.and_then(|check| check["detail"].as_str()).unwrap_or_default()
    }

    fn operation(&self, name: &str) -> &Value {
        let operations = self.report["runs"][0]["operations"].as_array().expect("operations");
        operations.iter().find(|it| it["name"] == name).unwrap_or(&Value::Null)
    }
}

fn tool(args: &[&str]) -> Outcome {
    let folder = tempfile::tempdir().expect("a folder");
    let json = folder.path().join("report.json");
    let out = Command::new(env!("CARGO_BIN_EXE_reservix-load"))
        .args(args)
        .args(["--quiet", "--json"])
        .arg(&json)
        .stdin(Stdio::null())
        .output()
        .expect("the tool starts");
    let text = std::fs::read_to_string(&json).unwrap_or_else(|_| "null".to_owned());
    Outcome {
        code: out.status.code().unwrap_or(-1),
        report: serde_json::from_str(&text).expect("the report is JSON"),
        stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
    }
}

fn load(plant: Plant, scenario: &str, args: &[&str]) -> Outcome {
    let fake = Fake::start(plant);
    let few = ["--connections", "8", "--buyers", "3", "--threads", "1"];
    tool(&[&[scenario, &fake.url], &few[..], args].concat())
}

fn passes(scenario: &str, args: &[&str]) -> Outcome {
    let outcome = load(Plant::Honest, scenario, args);
    let Outcome { code, stdout, stderr, .. } = &outcome;
    assert_eq!(*code, 0, "{scenario}: {:?}\n{stdout}\n{stderr}", outcome.report["proof"]);
    assert_eq!(outcome.report["proof"]["holds"], true);
    assert_eq!(outcome.report["scenario"], scenario);
    outcome
}

fn caught(plant: Plant, scenario: &str, args: &[&str], promise: &str) {
    let outcome = load(plant, scenario, args);
    let proof = &outcome.report["proof"];
    assert_eq!(outcome.code, 1, "{plant:?}: {proof}\n{}", outcome.stderr);
    assert!(outcome.broken().contains(&promise), "{plant:?}: {:?}", outcome.broken());
    assert!(outcome.stdout.contains(promise), "the verdict is printed");
}

/// Ends after so many requests, so that a slow machine tests as much as a fast one.
const SHORT: [&str; 6] = ["--warm-up", "0", "--seconds", "20", "--requests", "600"];

#[test]
fn an_honest_server_passes_hold() {
    let outcome = passes("hold", &SHORT);
    let hold = outcome.operation("hold");
    assert_eq!((hold["sent"].as_u64(), hold["answers"]["201"].as_u64()), (Some(600), Some(600)));
    assert_eq!(outcome.report["runs"][0]["ended"], "requests");
    assert_eq!(outcome.report["summary"][0]["name"], "hold accepted/s");
}

#[test]
fn a_reader_that_has_seen_enough_costs_neither_the_report_nor_the_verdict() {
    let fake = Fake::start(Plant::Honest);
    let folder = tempfile::tempdir().expect("a folder");
    let json = folder.path().join("report.json");
    let mut child = Command::new(env!("CARGO_BIN_EXE_reservix-load"))
        .args(["hold", &fake.url, "--connections", "8", "--buyers", "3", "--threads", "1"])
        .args(SHORT)
        .args(["--quiet", "--json"])
        .arg(&json)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the tool starts");
    // As `head` leaves it.
    drop(child.stdout.take());
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    assert!(json.exists(), "what was measured is kept");
}

#[test]
fn an_honest_server_passes_an_open_loop_with_confirms_beside() {
    let args = ["--warm-up", "0", "--seconds", "1", "--rate", "300", "--confirms-beside", "20"];
    let outcome = passes("hold", &[&args[..], &["--keys", "--runs", "2"]].concat());
    assert_eq!(outcome.report["runs"].as_array().map(Vec::len), Some(2));
    assert!(outcome.operation("confirm")["accepted"]["count"].as_u64().unwrap_or(0) > 0);
}

#[test]
fn an_honest_server_passes_pairs() {
    let outcome = passes("pairs", &[&SHORT[..], &["--keys"]].concat());
    assert_eq!(outcome.operation("confirm")["answers"]["200"], 600);
}

#[test]
fn an_honest_server_passes_onsale_until_all_is_sold() {
    let args = ["--seats", "60", "--hold-ttl", "1", "--think-ms", "20", "--seconds", "20"];
    let outcome = passes("onsale", &args);
    assert_eq!(outcome.report["runs"][0]["ended"], "sold out");
}

#[test]
fn an_honest_server_passes_soldout() {
    let outcome =
        passes("soldout", &[&SHORT[..], &["--seats", "50", "--confirms-beside", "1"]].concat());
    assert_eq!(outcome.operation("hold")["answers"]["409 sold_out"], 600);
}

#[test]
fn an_honest_server_passes_retries() {
    let outcome = passes("retries", &SHORT);
    assert_eq!(outcome.operation("hold")["answers"]["201"], 600);
}

#[test]
fn an_honest_server_passes_expiry_and_its_seats_are_held_again() {
    let outcome = passes("expiry", &["--seats", "20", "--hold-ttl", "1", "--seconds", "2.5"]);
    assert!(outcome.operation("resale")["accepted"]["count"].as_u64().unwrap_or(0) > 0);
}

#[test]
fn an_honest_server_passes_reads() {
    let outcome = passes("reads", &SHORT);
    assert_eq!(outcome.operation("event")["answers"]["200"], 300);
}

#[test]
fn an_honest_server_passes_mixed() {
    let outcome = passes("mixed", &[&SHORT[..], &["--think-ms", "20"]].concat());
    for name in ["hold", "confirm", "event", "availability"] {
        assert!(outcome.operation(name)["sent"].as_u64().unwrap_or(0) > 0, "{name}");
    }
}

#[test]
fn an_honest_server_passes_mixed_where_abandoned_holds_expire() {
    let brief = ["--hold-ttl", "1", "--think-ms", "20", "--abandon", "0.5", "--seconds", "3"];
    passes("mixed", &brief);
}

#[test]
fn a_path_and_the_ceiling_are_measured_alike() {
    let fake = Fake::start(Plant::Honest);
    let few = ["--connections", "4", "--threads", "1"];
    let paths = ["/health/live", "/api/v1/events/{event}"];
    for path in paths {
        let outcome = tool(&[&["get", &fake.url, "--path", path], &few[..], &SHORT].concat());
        assert_eq!((outcome.code, &outcome.operation("get")["answers"]["200"]), (0, &600.into()));
    }
    for (path, name, status) in [("hold", "hold", "201"), ("plain", "get", "200")] {
        let outcome = tool(&[&["ceiling", "--path", path], &few[..], &SHORT].concat());
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        assert_eq!(outcome.operation(name)["answers"][status], 600);
    }
}

#[test]
fn an_honest_server_passes_a_spread_over_events_and_sections() {
    let args = ["--events", "40", "--sections", "3", "--zipf", "0.8"];
    for scenario in ["hold", "pairs"] {
        let outcome = passes(scenario, &[&SHORT[..], &args].concat());
        assert!(outcome.detail("The server's sums").contains("40 events compared"));
    }
    passes("mixed", &[&SHORT[..], &args, &["--think-ms", "20"]].concat());
    passes("hold", &[&SHORT[..], &["--sections", "100"]].concat());
}

#[test]
fn an_honest_server_passes_seats_that_some_compete_for() {
    let args = ["--seats", "800", "--halls", "2", "--collide", "0.2", "--counted", "0.3"];
    let outcome = passes("seats", &[&SHORT[..], &args].concat());
    let seats = outcome.operation("seats");
    let answers = &seats["answers"];
    let (held, taken) = (&answers["201"], &answers["409 seats_unavailable"]);
    assert!(held.as_u64() > Some(200) && taken.as_u64() > Some(5), "{answers}");
    assert!(outcome.operation("hold")["answers"]["201"].as_u64() > Some(100));
    assert!(outcome.stdout.contains("seats taken"), "{}", outcome.stdout);
}

#[test]
fn a_run_ends_when_its_halls_are_full_and_says_so() {
    let args = ["--warm-up", "0", "--seconds", "20", "--seats", "200", "--halls", "2"];
    for (scenario, more) in [("seats", ["--collide", "0"]), ("best-available", ["--adjacent", "1"])]
    {
        let outcome = passes(scenario, &[&args[..], &more].concat());
        assert_eq!(outcome.report["runs"][0]["ended"], "no seats left");
        assert!(outcome.stdout.contains("the halls were full"), "{}", outcome.stdout);
        let detail = outcome.detail("No seat is in two live bookings");
        assert!(detail.contains("400 seats acknowledged"), "{detail}");
    }
}

#[test]
fn an_honest_server_passes_best_available_in_a_half_sold_hall() {
    let args = ["--seats", "1000", "--halls", "3", "--sold-before", "0.5", "--adjacent", "0.7"];
    let outcome = passes("best-available", &[&SHORT[..], &args, &["--keys"]].concat());
    assert!(outcome.operation("best-available")["answers"]["201"].as_u64() > Some(100));
    let detail = outcome.detail("No section sold more seats than it has");
    assert!(detail.contains("1,500 confirmed"), "{detail}");
    let args = ["--warm-up", "0", "--seats", "400", "--halls", "2", "--leave-at", "6"];
    let outcome = passes("best-available", &args);
    let parties = &outcome.operation("best-available")["answers"];
    assert_eq!(outcome.report["runs"][0]["ended"], "no seats left");
    assert!(parties["201"].as_u64().is_some_and(|it| it < 400), "{parties}");
}

#[test]
fn seats_of_lost_answers_are_asked_for_again() {
    let args = ["--warm-up", "0", "--requests", "100", "--timeout-ms", "300", "--halls", "2"];
    for scenario in ["seats", "best-available"] {
        for keys in [&["--keys"][..], &[]] {
            let outcome = load(Plant::LosesAnswers, scenario, &[&args[..], keys].concat());
            assert_eq!(outcome.code, 0, "{}\n{}", outcome.report["proof"], outcome.stderr);
        }
    }
}

/// What was left without an answer is found out, and nothing is blamed on the server.
#[test]
fn lost_answers_are_asked_for_again() {
    let args = ["--warm-up", "0", "--requests", "100", "--timeout-ms", "300", "--keys"];
    let outcome = load(Plant::LosesAnswers, "hold", &args);
    assert_eq!(outcome.code, 0, "{}\n{}", outcome.report["proof"], outcome.stderr);
    assert!(outcome.operation("hold")["answers"]["no answer: timed out"].as_u64() > Some(0));
}

#[test]
fn a_key_that_is_still_being_decided_is_sent_again() {
    let args = ["--warm-up", "0", "--requests", "100", "--timeout-ms", "300", "--keys"];
    let outcome = load(Plant::InFlight, "hold", &args);
    assert_eq!(outcome.code, 0, "{}\n{}", outcome.report["proof"], outcome.stderr);
    assert!(outcome.operation("hold")["answers"]["no answer: timed out"].as_u64() > Some(0));
}

#[test]
fn a_confirm_that_has_its_effect_after_it_was_given_up_is_no_lie() {
    let args = ["--warm-up", "0", "--requests", "60", "--timeout-ms", "300", "--keys"];
    let outcome = load(Plant::ConfirmsLate, "pairs", &args);
    assert_eq!(outcome.code, 0, "{}\n{}", outcome.report["proof"], outcome.stderr);
    assert!(outcome.operation("confirm")["answers"]["no answer: timed out"].as_u64() > Some(0));
}

#[test]
fn a_date_says_when_to_come_back_as_well_as_seconds() {
    let outcome = load(Plant::RetryAfterDate, "hold", &SHORT);
    assert_eq!(outcome.code, 0, "{}", outcome.report["proof"]);
    assert!(outcome.operation("hold")["answers"]["503 overloaded"].as_u64() > Some(10));
}

/// Holds end by the server's clock. One that was set ends them sooner than the client counts.
#[test]
fn a_server_whose_clock_was_set_is_no_liar() {
    for scenario in ["hold", "pairs"] {
        let outcome = load(Plant::ClockIsSet, scenario, &[&SHORT[..], &["--keys"]].concat());
        assert_eq!(outcome.code, 0, "{scenario}: {}", outcome.report["proof"]);
    }
    let expiry = ["--seats", "200", "--hold-ttl", "1", "--seconds", "2.5"];
    let outcome = load(Plant::ClockIsSet, "expiry", &expiry);
    assert_eq!(outcome.code, 0, "{}", outcome.report["proof"]);
}

#[test]
fn without_access_nothing_is_proven_and_nobody_is_blamed() {
    let outcome = load(Plant::AccessEnds, "pairs", &SHORT);
    assert_eq!(outcome.code, 3, "{}", outcome.report["proof"]);
    assert!(outcome.report["proof"]["unproven"].as_str().is_some_and(|why| !why.is_empty()));
}

#[test]
fn holds_that_lapsed_before_they_are_given_back_are_no_lie() {
    // Longer than the proof waits instead of giving back, and over before it does.
    let args = ["--seats", "60", "--hold-ttl", "4", "--think-ms", "20", "--abandon", "0.5"];
    passes("onsale", &[&args[..], &["--seconds", "5"]].concat());
}

#[test]
fn a_live_hold_that_is_refused_is_caught() {
    let promise = "Every live hold could be confirmed";
    caught(Plant::LapsesEarly, "pairs", &[&SHORT[..], &["--keys"]].concat(), promise);
    let brief = ["--seats", "60", "--hold-ttl", "5", "--think-ms", "20", "--seconds", "4"];
    caught(Plant::LapsesEarly, "onsale", &brief, promise);
    let cancels = [&brief[..], &["--cancel", "0.4"]].concat();
    caught(Plant::WontCancel, "onsale", &cancels, promise);
}

#[test]
fn an_overselling_server_is_caught() {
    let oversold = "No section sold more seats than it has";
    let args = ["--seats", "40", "--hold-ttl", "1", "--think-ms", "10", "--seconds", "20"];
    caught(Plant::Oversells, "onsale", &args, oversold);
    let soldout = [&SHORT[..], &["--seats", "50", "--confirms-beside", "1"]].concat();
    caught(Plant::Oversells, "soldout", &soldout, oversold);
    let overheld = "No more seats were held at once than there are";
    let args = ["--seats", "20", "--hold-ttl", "1", "--seconds", "1"];
    caught(Plant::Oversells, "expiry", &args, overheld);
}

#[test]
fn a_forgotten_booking_is_caught() {
    caught(Plant::Forgets, "hold", &SHORT, "Every acknowledged booking is still there");
}

#[test]
fn a_second_booking_for_a_key_is_caught() {
    let promise = "One booking for each key, one hold for each booking";
    caught(Plant::TwoForAKey, "retries", &SHORT, promise);
}

#[test]
fn a_leaked_seat_is_caught() {
    let args = ["--seats", "60", "--hold-ttl", "1", "--seconds", "2.5"];
    caught(Plant::Leaks, "expiry", &args, "No seat leaked: every section sells to its last seat");
}

#[test]
fn a_failure_is_caught() {
    caught(Plant::Fails, "hold", &SHORT, "No answer was a failure (5xx other than 503)");
}

#[test]
fn a_confirm_that_was_not_kept_is_caught() {
    caught(Plant::ConfirmNotKept, "pairs", &SHORT, "Every acknowledged confirm is still confirmed");
}

#[test]
fn a_refusal_that_does_not_say_when_to_come_back_is_caught() {
    caught(Plant::NoRetryAfter, "hold", &SHORT, "Every 429 and 503 said when to come back");
}

#[test]
fn a_slow_answer_is_caught() {
    caught(Plant::Slow, "hold", &SHORT, "No answer took longer than 5 s");
}

#[test]
fn a_seat_that_was_sold_twice_is_caught() {
    let args = [&SHORT[..], &["--seats", "4000", "--halls", "1", "--collide", "0.5"]].concat();
    caught(Plant::SellsTwice, "seats", &args, "No seat is in two live bookings");
}

#[test]
fn a_party_that_was_split_is_caught() {
    let args = [&SHORT[..], &["--seats", "4000", "--halls", "1"]].concat();
    let promise = "No party that was to sit together was split";
    caught(Plant::Splits, "best-available", &args, promise);
}

#[test]
fn a_seat_that_was_lost_is_caught() {
    let args = [&SHORT[..], &["--seats", "4000", "--halls", "1"]].concat();
    let promise = "Every acknowledged seat is still its buyer's";
    caught(Plant::LosesSeat, "seats", &args, promise);
    caught(Plant::LosesSeat, "best-available", &args, promise);
}

#[test]
fn a_status_that_lies_is_caught() {
    let args = [&SHORT[..], &["--seats", "4000", "--halls", "1"]].concat();
    let promise = "The status of the seats is that of the bookings";
    caught(Plant::StatusLies, "seats", &args, promise);
}

#[test]
fn other_seats_than_were_asked_for_are_caught() {
    let args = [&SHORT[..], &["--seats", "4000", "--halls", "1"]].concat();
    caught(Plant::OtherSeats, "seats", &args, "Every hold has the seats that it asked for");
}

#[test]
fn what_cannot_be_run_ends_with_2_and_says_why() {
    let nobody = tool(&["hold", "http://127.0.0.1:1"]);
    assert_eq!(nobody.code, 2);
    assert!(nobody.stderr.contains("GET http://127.0.0.1:1/"), "{}", nobody.stderr);
    let secure = tool(&["hold", "https://tickets.example"]);
    assert_eq!(secure.code, 2);
    assert!(secure.stderr.contains("https is not supported"), "{}", secure.stderr);
}

#[test]
fn a_report_is_drawn_shown_again_and_compared() {
    let fake = Fake::start(Plant::Fails);
    let folder = tempfile::tempdir().expect("a folder");
    let name = |name: &str| folder.path().join(name).display().to_string();
    let (json, html) = (name("a.json"), name("a.html"));
    let run = |args: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_reservix-load")).args(args).output();
        let out = out.expect("the tool starts");
        (out.status.code(), String::from_utf8_lossy(&out.stdout).into_owned())
    };
    let load = ["hold", &fake.url, "--quiet", "--connections", "4", "--buyers", "1"];
    let files = ["--json", &json, "--html", &html];
    let (code, printed) = run(&[&load[..], &SHORT, &files].concat());
    assert_eq!(code, Some(1));
    assert!(std::fs::read_to_string(&html).expect("a page").starts_with("<!doctype html>"));

    let (code, shown) = run(&["show", &json]);
    assert_eq!((code, &shown), (Some(1), &printed), "the verdict too is shown again");
    let (code, compared) = run(&["compare", &json, &json, "--html", &html]);
    assert_eq!(code, Some(0));
    assert!(compared.contains("hold accepted/s"), "{compared}");
    assert!(std::fs::read_to_string(&html).expect("a page").contains("hold accepted/s"));
    assert_eq!(run(&["show", &name("missing.json")]).0, Some(2));
}
