//! A Redis cluster: all 16384 slots over a few primaries without replicas.

use super::Redis;
use crate::machine;

/// The slots of every Redis cluster.
const SLOTS: usize = 16_384;

/// How long a node may be silent before the others call it failed, in milliseconds.
const NODE_TIMEOUT_MS: u32 = 1_000;

/// Some nodes that share the slots evenly.
///
/// One that is killed takes its slots with it: the others then refuse all keys, as is the
/// default of Redis. Started again it knows its slots, and has lost their data.
pub struct Cluster {
    nodes: Vec<Redis>,
}

impl Cluster {
    /// Starts `nodes` nodes, and waits until each answers for the whole cluster.
    #[must_use]
    pub fn start(nodes: usize) -> Self {
        assert!(nodes > 0, "a cluster has nodes");
        let lines = format!("cluster-enabled yes\ncluster-node-timeout {NODE_TIMEOUT_MS}\n");
        let start = || Redis::start_data_server("a node of the Redis cluster", &lines, &[]);
        let nodes: Vec<Redis> = (0..nodes).map(|_| start()).collect();
        let cluster = Self { nodes };
        cluster.join();
        cluster
    }

    /// The nodes, in the order of their slots.
    #[must_use]
    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    /// The URLs of the nodes.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Redis::url).collect()
    }

    /// The node whose slots `key` falls into.
    #[must_use]
    pub fn node_of(&self, key: &str) -> &Redis {
        let slot = self.nodes[0].cli(&["CLUSTER", "KEYSLOT", key]);
        let slot: usize = slot.parse().expect("a slot is a number");
        let count = self.nodes.len();
        // The inverse of the ranges of `join`, whose bounds are rounded down.
        let index = (0..count).find(|index| slot < (index + 1) * SLOTS / count);
        &self.nodes[index.expect("the last range ends at the last slot")]
    }

    /// Waits until every node knows all others and says that all slots are served.
    pub fn wait_until_whole(&self) {
        let all = format!("cluster_known_nodes:{}", self.nodes.len());
        for node in &self.nodes {
            machine::wait_until("the cluster is whole", || {
                let info = node.cli(&["CLUSTER", "INFO"]);
                let has = |line: &str| info.lines().any(|found| found.trim_end() == line);
                has("cluster_state:ok") && has(&all)
            });
        }
    }

    /// Deals the slots, and makes the nodes meet.
    fn join(&self) {
        let count = self.nodes.len();
        let first = self.nodes[0].address();
        let (host, port) = (first.ip().to_string(), first.port().to_string());
        for (index, node) in self.nodes.iter().enumerate() {
            let epoch = (index + 1).to_string();
            assert_eq!(node.cli(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]), "OK");
            let slots = index * SLOTS / count..(index + 1) * SLOTS / count;
            let slots: Vec<String> = slots.map(|slot| slot.to_string()).collect();
            let mut command = vec!["CLUSTER", "ADDSLOTS"];
            command.extend(slots.iter().map(String::as_str));
            assert_eq!(node.cli(&command), "OK");
            if index > 0 {
                assert_eq!(node.cli(&["CLUSTER", "MEET", &host, &port]), "OK");
            }
        }
        self.wait_until_whole();
    }
}
