//! The servers that gates stand on here, and how a test gets to them.

use super::{Arc, Duration, Gate, GateOptions, open_gate};
use async_trait::async_trait;
use engine::{AnyId, Fault, SectionId, Snapshot};
use std::sync::OnceLock;
use std::time::Instant;
use store::Epoch;
use store::gate::{KnownMarks, Settlement};
use testbed::redis::{Cluster, Sentinel, shared};
use tokio::sync::OnceCell;
use tokio::sync::broadcast::Receiver;

/// The one server for tests that leave it as it is.
pub fn shared_url() -> String {
    shared().url()
}

/// Three nodes for tests that leave them as they are.
pub fn cluster_url() -> String {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    cluster_url_of(CLUSTER.get_or_init(|| Cluster::start(3)))
}

pub fn cluster_url_of(cluster: &Cluster) -> String {
    let hosts: Vec<_> = cluster.nodes().iter().map(|node| node.address().to_string()).collect();
    format!("redis+cluster://{}", hosts.join(","))
}

/// Sentinels whose first primary is dead by now.
pub async fn sentinel_url() -> String {
    static SENTINEL: OnceCell<Sentinel> = OnceCell::const_new();
    let start = || async {
        let start = || {
            let sentinel = Sentinel::start();
            sentinel.fail_over();
            sentinel
        };
        tokio::task::spawn_blocking(start).await.expect("they start")
    };
    sentinel_url_of(SENTINEL.get_or_init(start).await)
}

pub fn sentinel_url_of(sentinel: &Sentinel) -> String {
    let hosts: Vec<_> = sentinel.sentinel_addresses().iter().map(ToString::to_string).collect();
    format!("redis+sentinel://{}/{}", hosts.join(","), sentinel.master_name())
}

/// A gate at `url` that has its connection.
pub async fn connected(url: &str, options: GateOptions) -> Arc<dyn Gate> {
    let gate = open_gate(Some(url), options).expect("the URL is right");
    back(&*gate, 20_000).await;
    gate
}

/// Waits until a gate has its connection; returns how long it took.
pub async fn back(gate: &dyn Gate, at_most_ms: u64) -> Duration {
    let started = Instant::now();
    while gate.ping().await.is_err() {
        assert!(started.elapsed() < Duration::from_millis(at_most_ms), "{}", gate.describe());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    started.elapsed()
}

/// Two instances as one gate: what one settles the other reads, so that nothing but Redis can tell.
pub struct Instances {
    settles: Arc<dyn Gate>,
    reads: Arc<dyn Gate>,
}

impl Instances {
    pub async fn on(url: &str, options: GateOptions) -> Self {
        Self { settles: connected(url, options).await, reads: connected(url, options).await }
    }
}

#[async_trait]
impl Gate for Instances {
    async fn read(&self, sections: &[SectionId]) -> Vec<Option<Snapshot>> {
        self.reads.read(sections).await
    }

    async fn marks(&self, sections: &[SectionId]) -> Vec<Option<KnownMarks>> {
        self.reads.marks(sections).await
    }

    fn settle(&self, settlement: Settlement) {
        self.settles.settle(settlement);
    }

    async fn forget(&self, sections: &[SectionId]) {
        self.settles.forget(sections).await;
    }

    fn enter(&self, epoch: Epoch) {
        self.settles.enter(epoch);
        self.reads.enter(epoch);
    }

    fn announce(&self, id: AnyId) {
        self.settles.announce(id);
    }

    fn announcements(&self) -> Receiver<AnyId> {
        self.reads.announcements()
    }

    async fn tally(&self, counts: &[(String, i64)], window_ms: u64) -> Option<Vec<i64>> {
        self.settles.tally(counts, window_ms).await
    }

    async fn ping(&self) -> Result<(), Fault> {
        self.reads.ping().await
    }

    fn describe(&self) -> String {
        self.reads.describe()
    }
}
