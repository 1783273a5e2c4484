//! The commands of the binary.

use crate::support::{Server, audit, reservix, run_in, sql};
use reqwest::StatusCode;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

pub fn told(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

#[track_caller]
pub fn good(output: &Output) -> String {
    assert!(output.status.success(), "{}", told(output));
    told(output)
}

pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

#[test]
fn help_lists_the_commands() {
    let folder = folder();
    for arguments in [&["--help"][..], &["help"]] {
        let help = good(&run_in(folder.path(), arguments));
        for command in [
            "serve", "migrate", "audit", "repair", "log", "operator", "erase", "config", "openapi",
            "demo",
        ] {
            let line = help.lines().find(|line| line.trim_start().starts_with(command));
            assert!(line.is_some_and(|line| line.trim().len() > command.len() + 10), "{help}");
        }
        assert!(help.contains(".env.example"), "{help}");
    }
    let help = good(&run_in(folder.path(), &["migrate", "--help"]));
    assert!(["up", "down", "status", "new"].iter().all(|step| help.contains(step)), "{help}");
    let version = good(&run_in(folder.path(), &["--version"]));
    assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    let unknown = run_in(folder.path(), &["sell"]);
    assert_eq!(unknown.status.code(), Some(2));
    let made = std::fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(made, 0, "asking for help makes nothing");
}

#[test]
fn config_shows_every_setting_with_its_source_and_hides_secrets() {
    let folder = folder();
    let dotenv = "LANES=4\nPORT=9000\nMETRICS_TOKEN=hunter2\nAPP_NAME='Box Office' # a comment\n";
    std::fs::write(folder.path().join(".env"), dotenv).expect("written");
    let mut command = reservix();
    command.current_dir(folder.path()).arg("config").env("PORT", "9001").env("HOST", "");
    command.env("SECRET_KEY", "hunter2-hunter2-hunter2-hunter2-");
    command.env("DB_HOST", "db.example.com").env("DB_PASSWORD", "hunter2");
    let shown = good(&command.output().expect("runs"));
    let lines: Vec<Vec<&str>> =
        shown.lines().map(|line| line.split("  #").map(str::trim).collect()).collect();
    for (line, source) in [
        ("PORT=9001", "environment"),
        ("LANES=4", ".env"),
        ("APP_NAME=Box Office", ".env"),
        ("HOST=127.0.0.1", "default"),
        ("METRICS_TOKEN=********", ".env"),
        ("SECRET_KEY=********", "environment"),
        ("DB_PASSWORD=********", "environment"),
        ("DATABASE_URL=postgres://reservix:********@db.example.com:5432/reservix", "environment"),
    ] {
        assert!(lines.contains(&vec![line, source]), "{line} from {source} in\n{shown}");
    }
    assert!(!shown.contains("hunter2"), "{shown}");
    let example = good(&run_in(Path::new("/"), &["config", "--example"]));
    let names = example.lines().filter_map(|line| line.strip_prefix('#')?.split_once('='));
    for (name, _) in names.filter(|(name, _)| !name.contains(' ')) {
        assert!(shown.contains(&format!("{name}=")), "{name} in\n{shown}");
    }
}

#[test]
fn a_bad_configuration_is_refused_with_every_mistake_named() {
    let folder = folder();
    for arguments in [&["serve"][..], &[], &["config"], &["audit"], &["migrate", "status"]] {
        let mut command = reservix();
        command.current_dir(folder.path()).args(arguments);
        command.env("PORT", "eighty").env("LANES", "0").env("HOLD_TTL_SECOND", "5");
        command.env("SECRET_KEY", "hunter2").env("TRUSTED_PROXIES", "proxy");
        let output = command.output().expect("runs");
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        let errors = told(&output);
        let named =
            ["PORT=eighty", "LANES=0", "HOLD_TTL_SECOND ", "SECRET_KEY ", "TRUSTED_PROXIES="];
        for name in named {
            let lines = errors.lines().filter(|line| line.starts_with(name)).count();
            assert_eq!(lines, 1, "{name} in\n{errors}");
        }
        assert!(!errors.contains("hunter2"), "{errors}");
    }
    assert!(!folder.path().join("data").exists(), "nothing was made");
}

#[test]
fn a_store_or_a_gate_that_this_build_does_not_have_is_named() {
    let folder = folder();
    let secret = ("SECRET_KEY", "0123456789abcdef0123456789abcdef");
    for (name, url) in
        [("DATABASE_URL", "mysql://me:hunter2@db/x"), ("REDIS_URL", "memcached://me:hunter2@x")]
    {
        let mut command = reservix();
        command.current_dir(folder.path()).env("PORT", "0").envs([secret, (name, url)]);
        let output = command.output().expect("runs");
        assert_eq!(output.status.code(), Some(1));
        let errors = told(&output);
        assert!(errors.contains(name) && !errors.contains("hunter2"), "{errors}");
    }
}

#[test]
fn an_address_that_is_taken_is_named() {
    let folder = folder();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port().to_string();
    let mut command = reservix();
    let output = command.current_dir(folder.path()).env("PORT", &port).output().expect("runs");
    assert_eq!(output.status.code(), Some(1));
    let errors = told(&output);
    assert!(errors.contains(&format!("127.0.0.1:{port}")) && errors.contains("in use"), "{errors}");
}

#[tokio::test]
async fn the_printed_document_is_the_served_one() {
    let server = Server::start(&[]);
    let printed = server.run(&["openapi"]);
    assert!(printed.status.success());
    let printed: Value = serde_json::from_slice(&printed.stdout).expect("JSON");
    let served = server.client().outside().get("/openapi.json").await.expect(StatusCode::OK);
    assert_eq!(printed, served);
}

#[test]
fn migrations_are_listed_applied_and_taken_back() {
    let folder = folder();
    let migrate =
        |arguments: &[&str]| good(&run_in(folder.path(), &[&["migrate"], arguments].concat()));
    let nothing = run_in(folder.path(), &["migrate", "status"]);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(told(&nothing).contains("reservix.db"), "{}", told(&nothing));
    assert!(migrate(&["up"]).lines().all(|line| line.ends_with("applied")));
    assert_eq!(migrate(&["up"]).trim(), "nothing to do");
    let status = migrate(&["status"]);
    assert!(status.starts_with("0001 ") && status.lines().all(|it| it.ends_with("applied")));
    let count = status.lines().count();
    audit(folder.path());
    assert!(migrate(&["down", "--yes"]).trim_end().ends_with("reverted"));
    let status = migrate(&["status"]);
    assert_eq!(status.lines().filter(|line| line.ends_with("missing")).count(), 1);
    migrate(&["down", &(count - 1).to_string(), "--yes"]);
    assert!(migrate(&["status"]).lines().all(|line| line.ends_with("missing")));
    migrate(&["up"]);
    audit(folder.path());
}

#[tokio::test]
async fn beside_a_server_migrations_are_listed_and_not_changed() {
    let server = Server::start(&[]);
    assert!(good(&server.run(&["migrate", "status"])).contains("applied"));
    for step in [&["up"][..], &["down", "--yes"]] {
        let refused = server.run(&[&["migrate"], step].concat());
        assert_eq!(refused.status.code(), Some(1), "{step:?}");
        assert!(told(&refused).contains("another process"), "{}", told(&refused));
    }
    server.client().get("/events").await.expect(StatusCode::OK);
}

#[tokio::test]
async fn a_server_can_be_told_to_leave_the_schema_alone() {
    let folder = folder();
    let mut command = reservix();
    command.current_dir(folder.path()).env("PORT", "0").args(["serve", "--no-migrate"]);
    let output = command.output().expect("runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).contains("reservix migrate up"), "{}", told(&output));
}

#[test]
fn a_new_migration_has_a_pair_of_files_for_each_store() {
    let folder = folder();
    let new = |name: &str| run_in(folder.path(), &["migrate", "new", name]);
    for (number, name) in [("0001", "first_one"), ("0002", "second")] {
        let listed = good(&new(name));
        for store in ["postgres", "sqlite"] {
            for direction in ["up", "down"] {
                let file = format!("migrations/{store}/{number}_{name}.{direction}.sql");
                assert!(listed.contains(&file) && folder.path().join(&file).is_file(), "{listed}");
            }
        }
    }
    for bad in ["", "With Space", "../up", "Ü"] {
        assert_eq!(new(bad).status.code(), Some(1), "{bad:?}");
    }
    let elsewhere = run_in(folder.path(), &["migrate", "new", "third", "--dir", "other"]);
    assert!(good(&elsewhere).contains("other/sqlite/0001_third.up.sql"));
}

#[tokio::test]
async fn a_section_is_repaired_and_what_contradicts_itself_is_left_alone() {
    let folder = folder();
    let server = Server::start_in(folder.path(), &[("RECONCILE_INTERVAL_SECONDS", "0")]);
    let user = server.user().await;
    let event_id = user.event(5).await;
    user.held(&event_id, 2).await;
    let event = user.get(&format!("/events/{event_id}")).await.expect(StatusCode::OK);
    let section = event["sections"][0]["section_id"].as_str().expect("an id").to_owned();
    assert_eq!(server.stop(), Some(0));
    let run = |arguments: &[&str]| run_in(folder.path(), arguments);
    let nothing = good(&run(&["repair", &section]));
    assert!(nothing.contains("nothing to do"), "{nothing}");
    sql(folder.path(), "UPDATE inventory SET held = 1");
    assert_eq!(run(&["audit"]).status.code(), Some(2));
    let dry = good(&run(&["repair", &section, "--dry-run"]));
    assert!(dry.contains("held changes from 1 to 2") && dry.contains("a dry run"), "{dry}");
    assert_eq!(run(&["audit"]).status.code(), Some(2));
    let repaired = good(&run(&["repair", &section]));
    assert!(
        repaired.contains("held changes from 1 to 2") && repaired.contains("repaired"),
        "{repaired}"
    );
    audit(folder.path());
    sql(folder.path(), "UPDATE booking_log SET held = 1 WHERE kind = 'held'");
    let left = run(&["repair", &section]);
    assert_eq!(left.status.code(), Some(2));
    assert!(told(&left).contains("the log has 1 and 0"), "{}", told(&left));
    let unknown = run(&["repair", "01a2038b-c695-86bb-9dce-ee03a30cf8fa"]);
    assert_eq!(unknown.status.code(), Some(2));
    let invalid = run(&["repair", "Stalls"]);
    assert_eq!(invalid.status.code(), Some(1));
    assert!(told(&invalid).contains("is not a section id"), "{}", told(&invalid));
    let epoch = good(&run(&["log", "new-timeline"]));
    assert!(epoch.contains("at every start"), "{epoch}");
}

#[tokio::test]
async fn commands_for_a_store_that_is_there_make_none() {
    let nowhere = folder();
    let section = "01a2038b-c695-86bb-9dce-ee03a30cf8fa";
    for arguments in [&["repair", section, "--dry-run"][..], &["log", "new-timeline"], &["audit"]] {
        let output = run_in(nowhere.path(), arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", told(&output));
        assert!(told(&output).contains("there is no database at"), "{}", told(&output));
        assert!(!nowhere.path().join("data/reservix.db").exists(), "{arguments:?}");
    }
}

#[tokio::test]
async fn audit_is_clean_and_finds_what_is_planted() {
    let folder = folder();
    let server = Server::start_in(folder.path(), &[("RECONCILE_INTERVAL_SECONDS", "0")]);
    let user = server.user().await;
    let event_id = user.event(5).await;
    let sold = user.held(&event_id, 2).await;
    user.step(&sold, "confirm").await.expect(StatusCode::OK);
    user.held(&event_id, 1).await;
    let clean = good(&server.run(&["audit"]));
    assert!(clean.contains("checked 1 sections, 2 bookings, 4 log rows"), "{clean}");
    assert!(clean.contains("clean: every invariant holds"), "{clean}");
    for (plant, mend, broken) in [
        ("UPDATE inventory SET sold = sold + 1", "UPDATE inventory SET sold = sold - 1", "I4"),
        (
            "UPDATE bookings SET status = 'CANCELLED' WHERE status = 'CONFIRMED'",
            "UPDATE bookings SET status = 'CONFIRMED' WHERE status = 'CANCELLED'",
            "I2",
        ),
        (
            "UPDATE booking_log SET kind = 'extended' WHERE kind = 'confirmed'",
            "UPDATE booking_log SET kind = 'confirmed' WHERE kind = 'extended'",
            "I2",
        ),
    ] {
        server.sql(plant);
        let output = server.run(&["audit"]);
        assert_eq!(output.status.code(), Some(2), "{plant}\n{}", told(&output));
        let violations = told(&output);
        let is_told =
            violations.lines().any(|line| line.starts_with(broken) && !line.contains("   "));
        assert!(is_told && violations.contains("violations"), "{broken} in\n{violations}");
        server.sql(mend);
    }
    server.kill();
    audit(folder.path());
    sql(folder.path(), "UPDATE inventory SET held = held - 1");
    assert_eq!(run_in(folder.path(), &["audit"]).status.code(), Some(2));
}

#[test]
fn an_audit_without_a_store_says_so() {
    let folder = folder();
    let output = run_in(folder.path(), &["audit"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).contains("reservix.db"), "{}", told(&output));
    assert!(!folder.path().join("data").exists(), "an audit makes nothing");
}

#[tokio::test]
async fn the_demo_can_be_pasted_into_a_shell() {
    let server = Server::start(&[]);
    let output = server.run(&["demo", "--url", &format!("{}/", server.url)]);
    let script = good(&output);
    let run = tokio::task::spawn_blocking({
        let folder = folder();
        move || {
            let mut bash = Command::new("bash");
            bash.current_dir(folder.path()).args(["-e", "-o", "pipefail", "-c", &script]).output()
        }
    });
    let output = run.await.expect("runs").expect("bash is there");
    assert!(output.status.success(), "{}", told(&output));
    let answers: Vec<Value> = serde_json::Deserializer::from_slice(&output.stdout)
        .into_iter()
        .map(|answer| answer.expect("JSON"))
        .collect();
    assert_eq!(answers.len(), 4, "{}", told(&output));
    assert_eq!(answers[0]["sections"].as_array().map(Vec::len), Some(3));
    assert_eq!(
        (&answers[1]["status"], &answers[1]["seats_requested"]),
        (&"HOLD".into(), &2.into())
    );
    assert_eq!(answers[2]["status"], "CONFIRMED");
    assert_eq!(answers[2]["booking_id"], answers[1]["booking_id"]);
    assert_eq!(answers[3]["sections"][0]["sold_seats"], 2);
    server.audit();
    let missing = server.run(&["demo", "--url", "http://127.0.0.1:1"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(told(&missing).contains("reservix serve"), "{}", told(&missing));
}

#[test]
fn the_log_is_json_for_those_who_collect_it() {
    let folder = folder();
    let mut command = reservix();
    command.current_dir(folder.path()).env("PORT", "0").stderr(Stdio::piped());
    let mut server = command.spawn().expect("starts");
    let log = BufReader::new(server.stderr.take().expect("piped"));
    let mut told = Vec::new();
    for line in log.lines() {
        let line = line.expect("text");
        let entry: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
        assert!(entry["timestamp"].is_string() && entry["level"] == "INFO", "{line}");
        told.push(entry["message"].as_str().expect("a sentence").to_owned());
        if told.last().is_some_and(|message| message.starts_with("docs: ")) {
            break;
        }
    }
    server.kill().expect("is running");
    server.wait().expect("ends");
    for start in ["Reservix starts", "store: ", "gate: ", "address: ", "docs: "] {
        assert_eq!(
            told.iter().filter(|it| it.starts_with(start)).count(),
            1,
            "{start} in {told:?}"
        );
    }
}
