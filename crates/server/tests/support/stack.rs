//! What the servers under test stand on: the embedded store, or PostgreSQL and Redis.
//!
//! `RESERVIX_TEST_ON=distributed` runs the same tests on the second. Each folder then names a database
//! of its own, so that another process started in it finds the same data.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use testbed::postgres::Postgres;

/// Whether the servers stand on PostgreSQL and Redis.
pub fn is_distributed() -> bool {
    #[expect(clippy::disallowed_methods, reason = "a setting of these tests, not of the server")]
    let on = std::env::var("RESERVIX_TEST_ON");
    match on.as_deref() {
        Ok("distributed") => true,
        Ok("embedded" | "") | Err(_) => false,
        Ok(other) => panic!("RESERVIX_TEST_ON={other:?} is neither embedded nor distributed"),
    }
}

/// Lets `command` find the data of `folder`.
pub fn settle(command: &mut Command, folder: &Path) {
    command.current_dir(folder).env("DATA_DIR", folder.join("data"));
    if is_distributed() {
        command
            .env("DATABASE_URL", database(folder))
            .env("REDIS_URL", testbed::redis::shared().url())
            .env("SECRET_KEY", format!("all processes here have it: {}", folder.display()));
    }
}

/// A server that keeps what it commits, as production demands it, for all tests of this process.
fn postgres() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    let durable = [("fsync", "on"), ("full_page_writes", "on"), ("synchronous_commit", "on")];
    SERVER.get_or_init(|| Postgres::start_with(&durable))
}

/// The URL of the database of `folder`, which is made when it is asked for first.
fn database(folder: &Path) -> String {
    let note = folder.join("database.url");
    std::fs::read_to_string(&note).unwrap_or_else(|_| {
        let url = postgres().create_database();
        std::fs::write(&note, &url).expect("the folder is the test's own");
        url
    })
}

/// Changes the database of `folder` behind the back of its servers.
pub fn sql(folder: &Path, statement: &str) {
    const SCRIPT: &str = "import sqlite3, sys
with sqlite3.connect(sys.argv[1], timeout=10) as database:
    database.execute(sys.argv[2])";
    if is_distributed() {
        postgres().sql(&database(folder), statement);
        return;
    }
    let mut python = Command::new("python3");
    let file = folder.join("data/reservix.db");
    let output = python.args(["-c", SCRIPT]).arg(file).arg(statement).output();
    let output = output.expect("python3 runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// An id as the store's SQL writes it.
pub fn id_literal(id: &str) -> String {
    if is_distributed() { format!("'{id}'") } else { format!("x'{}'", id.replace('-', "")) }
}
