//! The start, and the commands beside it: what their operator reads when something is not there.

use crate::support::{Server, reservix};
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use testbed::pgbouncer::PgBouncer;
use testbed::postgres::Postgres;

const KEY: (&str, &str) = ("SECRET_KEY", "0123456789abcdef0123456789abcdef");

/// What a command printed, after it failed; the password of every test here is `hunter2`.
#[track_caller]
fn failed(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    let told = format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err));
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
    told
}

#[track_caller]
fn assert_names(told: &str, parts: &[&str]) {
    for part in parts {
        assert!(told.contains(part), "{part:?} is not in {told:?}");
    }
}

/// The binary, bound by the modes of files even when the tests run as root.
fn unprivileged() -> Command {
    if fs::metadata("/proc/self").expect("this is Linux").uid() != 0 {
        return reservix();
    }
    let mut command = Command::new("setpriv");
    command.env_clear().env("PATH", "/usr/bin:/bin");
    command.args([
        "--bounding-set",
        "-dac_override,-dac_read_search,-fowner",
        "--inh-caps",
        "-all",
    ]);
    command.arg(reservix().get_program());
    command
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
}

#[test]
fn a_url_that_can_never_work_stops_every_command_at_once_and_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, value, said) in [
        ("DATABASE_URL", "mysql://me:hunter2@db/x", "sqlite and postgres"),
        ("DATABASE_URL", "postgresql+asyncpg://me:hunter2@db/x", "omit the driver"),
        ("DATABASE_URL", "postgres://me:hunter2@db:99999/x", "from 1 to 65535"),
        ("DATABASE_URL", "postgres://me:hunter2", "from 1 to 65535"),
        ("DATABASE_URL", "postgres://me:hunter2@db/x?sslmode=perhaps", "verify-full"),
        ("DATABASE_URL", "postgres://me:hunter2@one,two/x", "several hosts"),
        ("DATABASE_URL", "postgres://me:hunter2@/x", "no host"),
        ("DATABASE_URL", "sqlite://:memory:", "a file"),
        ("DATABASE_URL", "sqlite://data/x.db?mode=rwc", "without a query"),
        ("REDIS_URL", "memcached://me:hunter2@x", "redis+sentinel"),
        ("REDIS_URL", "redis://me:hunter2@x:99999", "from 1 to 65535"),
        ("REDIS_URL", "redis://me:hunter2@one,two", "redis+cluster://"),
        ("REDIS_URL", "redis://me:hunter2@x/first", "database is not a number"),
        ("HOST", "localhost:8000", "without scheme and port"),
        ("HOST", "127.0.0.256", "an address or a host name"),
        ("DB_HOST", "postgres://db", "without scheme and port"),
        ("PORT", "99999", "from 0 to 65535"),
        ("TRUSTED_PROXIES", "10.0.0.0/8, proxy.lan", "proxy.lan"),
        ("ALLOWED_ORIGINS", "https://a.example/", "https://a.example/"),
        ("ALLOWED_ORIGINS", "https://a.example:99999", "https://a.example:99999"),
    ] {
        for arguments in [&["config"][..], &["serve"], &["audit"], &["migrate", "up"]] {
            let started = Instant::now();
            let mut command = reservix();
            command.current_dir(folder.path()).args(arguments).envs([KEY, (name, value)]);
            let told = failed(&command.output().expect("runs"));
            assert_names(&told, &[&format!("{name}="), "(environment)", said]);
            assert!(started.elapsed() < Duration::from_secs(10), "{name} is no matter of waiting");
        }
    }
    assert!(!folder.path().join("data").exists(), "nothing was made");
}

#[test]
fn a_folder_that_cannot_be_written_or_read_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, file) = (folder.path().join("data"), folder.path().join("data/reservix.db"));
    let run = |arguments: &[&str]| {
        let mut command = unprivileged();
        command.args(arguments).current_dir(folder.path()).env("DATA_DIR", &data);
        failed(&command.env("PORT", "0").output().expect("setpriv is part of every Linux"))
    };
    // The folder cannot be made; the folder is there and is not ours to write.
    set_mode(folder.path(), 0o555);
    let place = data.to_str().expect("text").to_owned();
    assert_names(&run(&["serve"]), &["DATA_DIR", &place, "ermission denied"]);
    set_mode(folder.path(), 0o755);
    fs::create_dir(&data).expect("made");
    set_mode(&data, 0o555);
    let lock = format!("{place}/reservix.lock");
    assert_names(&run(&["serve"]), &["DATA_DIR", &lock, "ermission denied"]);
    assert_names(&run(&["migrate", "up"]), &["DATA_DIR", &lock, "ermission denied"]);
    // There is no database, and it says so; there is one, and it is not true that there is none.
    let told = run(&["audit"]);
    assert_names(&told, &["DATA_DIR", "there is no database at", &place]);
    set_mode(&data, 0o755);
    let mut up = reservix();
    let done =
        up.current_dir(folder.path()).env("DATA_DIR", &data).args(["migrate", "up"]).output();
    assert!(done.expect("runs").status.success());
    set_mode(&file, 0o000);
    let told = run(&["audit"]);
    assert_names(&told, &["DATA_DIR", &format!("{place}/reservix.db"), "ermission denied"]);
    assert!(!told.contains("there is no database"), "{told}");
    set_mode(&file, 0o600);
    set_mode(&data, 0o000);
    let told = run(&["audit"]);
    assert_names(&told, &["DATA_DIR", &place, "ermission denied"]);
    assert!(!told.contains("there is no database"), "{told}");
    set_mode(&data, 0o755);
    // There is a file where the folder should be, and something else where the database should be.
    fs::write(folder.path().join("other"), "no folder").expect("written");
    let mut command = reservix();
    command.current_dir(folder.path()).env("DATA_DIR", "other").env("PORT", "0");
    assert_names(&failed(&command.output().expect("runs")), &["DATA_DIR", "other"]);
    fs::write(&file, "this is a text, and no database at all, however long it may be")
        .expect("ours");
    for arguments in [&["serve"][..], &["audit"]] {
        assert_names(&run(arguments), &["DATA_DIR", &format!("{place}/reservix.db"), "database"]);
    }
}

#[test]
fn a_schema_that_is_missing_or_behind_is_told_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let (server, path) = (Postgres::start(), folder.path());
    let url = server.create_database();
    let run = |arguments: &[&str], url: &str| {
        let mut command = reservix();
        command.current_dir(path).envs([KEY, ("DATABASE_URL", url), ("PORT", "0")]);
        command.args(arguments).output().expect("runs")
    };
    let name = url.rsplit('/').next().expect("a name");
    for arguments in [&["audit"][..], &["serve", "--no-migrate"], &["worker", "--no-migrate"]] {
        let told = failed(&run(arguments, &url));
        assert_names(&told, &[name, "has no schema yet", "reservix migrate up"]);
    }
    assert!(run(&["migrate", "up"], &url).status.success());
    assert!(run(&["audit"], &url).status.success());
    // A role that may connect, and no more: nothing is corrupt.
    server.sql(&url, "CREATE ROLE clerk LOGIN");
    let told = failed(&run(&["audit"], &url.replace("postgres@", "clerk@")));
    assert_names(&told, &["permission denied", "DATABASE_URL", "lacks a privilege"]);
    assert!(!told.contains("corrupt"), "{told}");
    assert!(run(&["migrate", "down", "--yes"], &url).status.success());
    for arguments in [&["audit"][..], &["serve", "--no-migrate"]] {
        assert_names(&failed(&run(arguments, &url)), &[name, "older", "reservix migrate up"]);
    }
    // Embedded alike: a file without a table.
    fs::create_dir(path.join("data")).expect("made");
    fs::write(path.join("data/reservix.db"), "").expect("written");
    let told = failed(&run_embedded(path, &["audit"]));
    assert_names(&told, &["reservix.db", "has no schema yet", "reservix migrate up"]);
}

fn run_embedded(folder: &Path, arguments: &[&str]) -> Output {
    reservix().current_dir(folder).args(arguments).output().expect("runs")
}

#[test]
fn a_database_server_that_is_away_is_named_with_its_setting_and_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    // Nobody listens on port 1 of this machine.
    for (settings, setting) in [
        (&[("DATABASE_URL", "postgres://me:hunter2@127.0.0.1:1/sale")][..], "DATABASE_URL"),
        (&[("DB_HOST", "127.0.0.1"), ("DB_PORT", "1"), ("DB_NAME", "sale")], "DB_HOST"),
    ] {
        for arguments in [&["audit"][..], &["migrate", "status"], &["migrate", "up"]] {
            let mut command = reservix();
            command.current_dir(folder.path()).args(arguments).envs([KEY]);
            command.envs(settings.iter().copied());
            let told = failed(&command.output().expect("runs"));
            assert_names(&told, &[setting, "sale at 127.0.0.1:1", "refused"]);
        }
    }
    let mut command = reservix();
    command.current_dir(folder.path()).envs([KEY, ("LOG_FORMAT", "text")]).stderr(Stdio::piped());
    command.env("DATABASE_URL", "postgres://me:hunter2@127.0.0.1:1/sale");
    let mut server = command.spawn().expect("starts");
    let log = BufReader::new(server.stderr.take().expect("piped"));
    let line = log.lines().map_while(Result::ok).find(|line| line.contains("WARN"));
    server.kill().expect("it waits for the database");
    server.wait().expect("ends");
    let line = line.expect("it says that it waits");
    assert_names(&line, &["cannot be opened yet", "sale at 127.0.0.1:1", "refused"]);
    assert!(!line.contains("hunter2"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_by_transaction_stops_the_start_at_once_and_one_by_session_serves() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Postgres::start();
    let url = server.create_database();
    let by_transaction = PgBouncer::start(&server, "transaction", &[]);
    let place = by_transaction.in_place_of(&url);
    for arguments in [&["serve"][..], &["audit"], &["migrate", "up"]] {
        let started = Instant::now();
        let mut command = reservix();
        command.current_dir(folder.path()).args(arguments);
        let output = command.envs([KEY, ("DATABASE_URL", &place), ("PORT", "0")]).output();
        let told = failed(&output.expect("runs"));
        let address = by_transaction.address().to_string();
        assert_names(&told, &["PgBouncer", &address, "pool_mode = session", "DATABASE_URL"]);
        assert!(!told.contains("corrupt"), "{told}");
        assert!(started.elapsed() < Duration::from_secs(15), "it waited for what does not change");
    }
    let by_session = PgBouncer::start(&server, "session", &[("default_pool_size", "50")]);
    let place = by_session.in_place_of(&url);
    let settings = [KEY, ("DATABASE_URL", &place)];
    let instance = Server::start_in(folder.path(), &settings);
    let user = instance.user().await;
    let event_id = user.event(5).await;
    let booking = user.held(&event_id, 2).await;
    user.step(&booking, "confirm").await.expect(reqwest::StatusCode::OK);
    let mut audit = reservix();
    audit.current_dir(folder.path()).arg("audit").envs(settings);
    let output = audit.output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(instance.stop(), Some(0));
}
