//! What can happen to PostgreSQL, or to the way there.

use crate::stage::{Stage, pause};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;
use std::time::{Duration, Instant};
use testbed::proxy::Proxy;

pub(super) async fn kill(stage: &Stage) {
    stage.postgres.kill();
    pause(1_500).await;
    stage.postgres.start_again();
}

pub(super) fn fail_over(stage: &Stage) {
    let standby = stage.standby.as_ref().expect("the plan of this fault has one");
    stage.postgres.kill();
    standby.promote();
    stage.on_postgres(|proxy| proxy.point_to(standby.address()));
}

/// A few times all at once, then for a while.
pub(super) async fn cut(stage: &Stage) {
    for _ in 0..5 {
        stage.on_postgres(Proxy::cut_once);
        pause(150).await;
    }
    stage.on_postgres(Proxy::cut);
    pause(1_000).await;
    stage.heal();
}

/// Strangers take every connection that is left, and those that the instances lose.
pub(super) async fn exhaust(stage: &Stage) {
    let mut strangers = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(2_500) {
        match connect(stage.postgres.address()) {
            Some(stranger) => strangers.push(stranger),
            None if strangers.is_empty() => {}
            None => {
                if begun.elapsed() < Duration::from_secs(1) {
                    stage.on_postgres(Proxy::cut_once);
                }
                pause(5).await;
            }
        }
    }
    assert!(!strangers.is_empty(), "no connection was taken");
}

/// A session of the superuser that does nothing; `None` when there is no room for it.
fn connect(address: SocketAddr) -> Option<TcpStream> {
    const PARAMETERS: &[u8] = b"user\0postgres\0database\0postgres\0\0";
    const VERSION_3: u32 = 196_608;
    let mut stream = TcpStream::connect(address).ok()?;
    let length = u32::try_from(8 + PARAMETERS.len()).expect("a few bytes");
    let head = [length.to_be_bytes(), VERSION_3.to_be_bytes()].concat();
    stream.write_all(&[&head, PARAMETERS].concat()).ok()?;
    let mut kind = [0];
    stream.read_exact(&mut kind).ok()?;
    // R: authenticated; E: an error, here that there are too many.
    (kind == *b"R").then_some(stream)
}

/// A stranger holds the rows that every batch needs for longer than a batch waits.
pub(super) fn lock(stage: &Stage) {
    let lock = "BEGIN; LOCK TABLE inventory IN EXCLUSIVE MODE; SELECT pg_sleep(3); COMMIT";
    stage.sql(lock);
}

pub(super) async fn vanish(stage: &Stage) {
    stage.on_postgres(Proxy::blackhole);
    // Longer than anybody may wait for an answer.
    pause(6_000).await;
    stage.heal();
}

pub(super) async fn slow_down(stage: &Stage) {
    stage.on_postgres(|proxy| proxy.delay(Duration::from_millis(300)));
    pause(4_000).await;
    stage.heal();
}

pub(super) async fn forbid_writes(stage: &Stage) {
    stage.postgres.set("default_transaction_read_only", "on");
    pause(1_500).await;
    stage.postgres.set("default_transaction_read_only", "off");
}

/// Again and again for a moment, so that many a COMMIT is among what is not answered.
pub(super) async fn lose_answers(stage: &Stage) {
    for _ in 0..8 {
        stage.on_postgres(Proxy::lose_answers);
        pause(60).await;
        stage.heal();
        pause(200).await;
    }
}

/// No file of the server may grow beyond the size of a file of its journal: what it appends to a table
/// of that size fails as on a full disk. So that a table has it, strangers leave many keys behind.
pub(super) async fn fill_disk(stage: &Stage) {
    const LIMIT: u64 = 16 * 1024 * 1024;
    const ROOM: u64 = 8 * 1024;
    let fill = format!(
        "DO $$ BEGIN WHILE pg_relation_size('hold_keys') < {} LOOP
            INSERT INTO hold_keys SELECT gen_random_uuid(), 'stranger', gen_random_uuid(), 0
                FROM generate_series(1, 20);
        END LOOP; END $$",
        LIMIT - ROOM
    );
    stage.sql(&fill);
    limit_files(stage, &LIMIT.to_string());
    // Each session has a page of its own with some room; new ones must ask for more.
    stage.on_postgres(Proxy::cut_once);
    pause(2_500).await;
    limit_files(stage, "unlimited");
}

/// Limits the files of all processes of the server, and of those that it will start.
fn limit_files(stage: &Stage, bytes: &str) {
    const PIDS: &str = "SELECT pid FROM pg_stat_activity UNION
        SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1)::int";
    let limit = format!("--fsize={bytes}:unlimited");
    // A process that has just begun may still have the limits of before.
    for _ in 0..2 {
        for pid in stage.sql(PIDS).lines() {
            // One that has ended in the meantime needs none.
            let Ok(process) = std::fs::metadata(format!("/proc/{pid}")) else { continue };
            let (user, group) = (process.uid().to_string(), process.gid().to_string());
            let ours = std::fs::metadata("/proc/self").expect("Linux has it").uid();
            let mut command = Command::new(if process.uid() == ours { "env" } else { "setpriv" });
            if process.uid() != ours {
                // Root may be forbidden what every user may do to processes of their own.
                command.args(["--reuid", &user, "--regid", &group, "--clear-groups"]);
            }
            let _ = command.args(["prlimit", "--pid", pid, &limit]).output();
        }
    }
}
