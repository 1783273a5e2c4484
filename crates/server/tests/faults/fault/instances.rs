//! What can happen to the instances themselves.

use crate::stage::{INSTANCES, Stage, eventually, pause};
use crate::support::Server;
use std::process::Command;
use testbed::steps::Action;

/// `kill -9` to one and the other, at moments that the load does not know.
pub(super) async fn kill_in_turn(stage: &Stage) {
    for turn in 0..6 {
        stage.kill(turn % INSTANCES);
        pause(100 + 70 * (u64::from(stage.now().subsec_millis()) % 4)).await;
        stage.start(turn % INSTANCES);
        pause(200 + 50 * (u64::from(stage.now().subsec_millis()) % 4)).await;
    }
}

/// Freezes the first instance when it sends something to PostgreSQL, so most likely in a transaction.
pub(super) async fn freeze(stage: &Stage) {
    let pid = stage.pid(0).to_string();
    let stop = move || {
        let sent = Command::new("kill").args(["-STOP", &pid]).status();
        assert!(sent.expect("kill runs").success());
    };
    stage.steps.arm(23, Action::Call(Box::new(stop)));
    eventually("somebody buys at the first instance", async || stage.steps.fired()).await;
}

/// Lets it run on much later than anybody may wait for what it has locked.
pub(super) async fn thaw(stage: &Stage) {
    pause(4_000).await;
    stage.signal(0, "CONT");
}

/// SIGTERM to one and the other, as in a rolling update.
pub(super) async fn stop(stage: &Stage) {
    for instance in 0..INSTANCES {
        stage.stop(instance);
        pause(300).await;
        stage.start(instance);
        pause(300).await;
    }
}

/// Whoever reads the logs of both instances goes away, and never comes back.
pub(super) async fn lose_log_readers(stage: &Stage) {
    stage.on_servers(Server::lose_log_reader);
    pause(1_500).await;
}

/// Whoever reads the logs of both instances takes nothing for a while, in which their pipes fill up.
pub(super) async fn stall_log_readers(stage: &Stage) {
    stage.on_servers(Server::stall_log_reader);
    pause(2_500).await;
    stage.on_servers(Server::wake_log_reader);
}
