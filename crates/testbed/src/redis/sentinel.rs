//! A Redis primary with one replica, watched by three sentinels.

use std::net::SocketAddr;

use super::Redis;
use crate::machine::{self, START_LIMIT};

/// The name by which the sentinels know the primary.
const MASTER_NAME: &str = "testbed";

/// What makes the sentinels look at each other more often than in earnest, in milliseconds.
///
/// An older Redis does not know all of these, and is only slower. Two that look tempting are
/// left alone: a replica is no candidate if its last INFO is older than five `ping-period`s,
/// while a dead primary makes it be asked once a second; and a promoted replica is demoted again
/// if four `publish-period`s pass before its promoter, who asks once a second, has seen it.
const HASTE: [&str; 6] = ["info-period", "500", "ask-period", "100", "publish-period", "500"];

/// Two data servers and three sentinels; two sentinels must agree that the primary is down.
///
/// A primary is called down after 500 ms of silence.
pub struct Sentinel {
    data: [Redis; 2],
    sentinels: Vec<Redis>,
}

impl Sentinel {
    /// Starts all five, and waits until every sentinel knows the replica and the other sentinels.
    #[must_use]
    pub fn start() -> Self {
        let primary = Redis::start_data_server("the Redis primary", "", &[]);
        let at = primary.address();
        let lines = format!("replicaof {} {}\nrepl-ping-replica-period 1", at.ip(), at.port());
        let replica = Redis::start_data_server("the Redis replica", &lines, &[]);
        let data = [primary, replica];
        machine::wait_until("the replica is in sync", || feeds_a_replica(&data[0]));
        let lines = format!(
            "sentinel monitor {MASTER_NAME} {} {} 2\n\
             sentinel down-after-milliseconds {MASTER_NAME} 500\n\
             sentinel failover-timeout {MASTER_NAME} 3000\n",
            at.ip(),
            at.port()
        );
        let start = || Redis::start_configured("a Redis sentinel", &lines, &["--sentinel"]);
        let sentinels: Vec<Redis> = (0..3).map(|_| start()).collect();
        for sentinel in &sentinels {
            let mut command = vec!["SENTINEL", "DEBUG"];
            command.extend(HASTE);
            sentinel.cli(&command);
        }
        let all = Self { data, sentinels };
        all.wait_until_settled();
        all
    }

    /// Where the sentinels listen.
    pub fn sentinel_addresses(&self) -> Vec<SocketAddr> {
        self.sentinels.iter().map(Redis::address).collect()
    }

    /// The sentinels themselves, to kill or to pause some.
    pub fn sentinels(&self) -> &[Redis] {
        &self.sentinels
    }

    /// Both data servers, whatever their roles are at the moment.
    pub fn data_servers(&self) -> &[Redis; 2] {
        &self.data
    }

    /// The name under which clients ask the sentinels for the primary.
    pub fn master_name(&self) -> &'static str {
        MASTER_NAME
    }

    /// The data server that the first sentinel calls the primary.
    pub fn primary(&self) -> &Redis {
        let address = named_by(&self.sentinels[0]);
        let primary = self.data.iter().find(|server| server.address() == address);
        primary.expect("the sentinels know only the two")
    }

    /// Kills the primary, and waits until all sentinels name the other and it takes writes.
    ///
    /// The dead one stays dead until its [`Redis::start_again`]; it then becomes a replica.
    pub fn fail_over(&self) {
        let (old, new) = self.roles();
        old.kill();
        self.wait_for_primary(new, || {});
    }

    /// Makes the sentinels swap the roles while both servers run, as for a maintenance.
    pub fn hand_over(&self) {
        let (old, new) = self.roles();
        self.wait_for_primary(new, || {
            // Asked again whenever a try has come to nothing; during one it is refused.
            if named_by(&self.sentinels[0]) == old.address() {
                self.sentinels[0].cli(&["SENTINEL", "FAILOVER", MASTER_NAME]);
            }
        });
    }

    /// Waits until all sentinels see one replica that is up, and each other.
    ///
    /// After a failover this holds again once the dead server was started again.
    pub fn wait_until_settled(&self) {
        for sentinel in &self.sentinels {
            machine::wait_until("the sentinels see the replica and each other", || {
                let master = sentinel.ask(&["SENTINEL", "MASTER", MASTER_NAME]);
                let replicas = sentinel.cli(&["SENTINEL", "REPLICAS", MASTER_NAME]);
                field(&master, "num-other-sentinels") == Some("2")
                    && field(&master, "num-slaves") == Some("1")
                    && field(&master, "flags") == Some("master")
                    && field(&replicas, "flags") == Some("slave")
                    && field(&replicas, "master-link-status") == Some("ok")
            });
        }
        let (primary, _) = self.roles();
        machine::wait_until("the replica is fed", || feeds_a_replica(primary));
    }

    /// Waits until the replica has all that the primary has received so far.
    pub fn wait_until_replicated(&self) {
        let (primary, replica) = self.roles();
        let offset = |server: &Redis, name: &str| {
            let info = server.ask(&["INFO", "replication"]);
            let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.and_then(|value| value.trim_end().parse::<u64>().ok())
        };
        let sent = offset(primary, "master_repl_offset");
        machine::wait_until("the replica has all", || {
            feeds_a_replica(primary) && offset(replica, "slave_repl_offset") >= sent
        });
    }

    /// The primary and the other one.
    fn roles(&self) -> (&Redis, &Redis) {
        let primary = self.primary();
        let is_other = |server: &&Redis| server.address() != primary.address();
        let other = self.data.iter().find(is_other).expect("there are two");
        (primary, other)
    }

    /// Waits until all sentinels have done with their failover to `new`, and it has its role.
    fn wait_for_primary(&self, new: &Redis, mut urge: impl FnMut()) {
        let has_settled = |sentinel: &Redis| {
            let master = sentinel.ask(&["SENTINEL", "MASTER", MASTER_NAME]);
            named_by(sentinel) == new.address() && field(&master, "flags") == Some("master")
        };
        let settled = machine::wait_at_most(START_LIMIT, || {
            urge();
            let has_role = new.ask(&["ROLE"]).lines().next() == Some("master");
            (has_role && self.sentinels.iter().all(has_settled)).then_some(())
        });
        let log = self.sentinels[0].log();
        assert!(settled.is_some(), "no failover in time\n{log}\n{}", new.log());
    }
}

/// Whether the server sends its writes to a replica.
fn feeds_a_replica(primary: &Redis) -> bool {
    primary.ask(&["INFO", "replication"]).contains(",state=online,")
}

/// The address of the primary according to a sentinel.
fn named_by(sentinel: &Redis) -> SocketAddr {
    let answer = sentinel.cli(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME]);
    let (host, port) = answer.split_once('\n').expect("the sentinels watch this name");
    format!("{host}:{port}").parse().expect("sentinels answer numeric addresses")
}

/// The value after the first line that is `name`, in the lines of names and values in turn.
fn field<'a>(lines: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = lines.lines().skip_while(|line| *line != name);
    lines.next()?;
    lines.next()
}
