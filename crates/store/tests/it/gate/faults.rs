//! What happens when Redis fails: nobody waits, nothing old is believed, and it heals by itself.
//!
//! Limits of time are asserted with slack for a loaded machine: what takes 250 ms at most may take
//! [`SLACK`] times as long here, what takes no time at all [`AT_ONCE`].

use super::servers::{back, cluster_url_of, connected, sentinel_url_of};
use super::{
    Arc, Doorway, Duration, Gate, GateOptions, LAPSES, NEVER_LAPSES, SectionId, Settlement,
    Snapshot, open_gate, snapshot, wait_ms,
};
use std::time::Instant;
use testbed::proxy::Proxy;
use testbed::redis::{Cluster, Redis, Sentinel};

const SLACK: u32 = 5;
const CALL_MAX: Duration = Duration::from_millis(250);
/// Longer than anything takes that waits for nobody; far less than [`CALL_MAX`].
const AT_ONCE: Duration = Duration::from_millis(100);
/// How long a server may be back before the gate has noticed.
const BACK_MS: u64 = 2_000 * SLACK as u64;

/// A gate with a server of its own, behind a proxy, and another instance beside it.
struct Scene {
    server: Redis,
    proxy: Proxy,
    door: Doorway,
    other: Arc<dyn Gate>,
}

impl Scene {
    async fn new(options: GateOptions) -> Self {
        let server = Redis::start();
        let proxy = Proxy::to(server.address());
        let url = proxy.in_place_of(&server.url());
        let gate = connected(&url, options).await;
        let other = connected(&url, options).await;
        Self { server, proxy, door: Doorway::to(gate), other }
    }

    fn settle_one(&self, known: Snapshot) {
        self.door.gate.settle(alone(known));
    }
}

fn alone(known: Snapshot) -> Settlement {
    Settlement { snapshots: vec![known], marks: vec![] }
}

/// Reads with `gate` and returns how long it took.
async fn timed(gate: &dyn Gate, section_id: SectionId) -> (Option<Snapshot>, Duration) {
    let started = Instant::now();
    let [known] = gate.read(&[section_id]).await[..] else { panic!("one answer") };
    (known, started.elapsed())
}

/// Waits until `gate` knows exactly this; what is settled once may get lost, so it is said again.
async fn until_shared(door: &Doorway, by: &dyn Gate, known: Snapshot) {
    let deadline = Instant::now() + Duration::from_millis(BACK_MS);
    while timed(by, known.section_id).await.0 != Some(known) {
        assert!(Instant::now() < deadline, "{} does not tell", by.describe());
        door.gate.settle(alone(known));
        wait_ms(10).await;
    }
}

/// Both instances go on while Redis does not work: one call may wait, no later one does, what an
/// instance settles it knows for as long as it is fresh, and nothing else.
async fn goes_on_alone(scene: &Scene, old: Snapshot) {
    let (door, gate) = (&scene.door, &*scene.door.gate);
    let (_, took) = timed(gate, old.section_id).await;
    assert!(took < CALL_MAX * SLACK, "{took:?}");
    let mut known = None;
    for _ in 0..50 {
        // The breaker may close once more, when the server was only slow to die.
        let (told, took) = timed(gate, old.section_id).await;
        assert!(took < CALL_MAX * SLACK, "{took:?}");
        known = told;
    }
    while gate.health().away.is_none() {
        timed(gate, old.section_id).await;
        wait_ms(5).await;
    }
    for _ in 0..20 {
        let (_, took) = timed(gate, old.section_id).await;
        assert!(took < AT_ONCE, "the breaker is open: {took:?}");
    }
    assert!(known.is_none_or(|known| known == old));
    gate.ping().await.expect_err("it is away");
    // Its own commits keep a sold-out storm from the store, for as long as they are fresh.
    let own = snapshot(door.section(), 1, 0);
    scene.settle_one(own);
    let (known, took) = timed(gate, own.section_id).await;
    assert!(known == Some(own) && took < AT_ONCE, "{known:?} in {took:?}");
    gate.announce(door.event_id.into());
    assert_eq!(gate.tally(&[("name".to_owned(), 1)], 1_000).await, None);
    gate.forget(&[door.section()]).await;
    wait_ms(1_100).await;
    assert_eq!(door.gate.read(&[old.section_id, own.section_id]).await, [None, None]);
    // Nobody else hears of it.
    assert_eq!(scene.other.read(&[own.section_id]).await, [None]);
}

/// A fault comes and goes; meanwhile and afterwards everything is as it has to be.
async fn comes_and_goes(fault: impl FnOnce(&Scene), repair: impl FnOnce(&Scene)) {
    let scene = Scene::new(LAPSES).await;
    let known = snapshot(scene.door.section(), 7, 3);
    until_shared(&scene.door, &*scene.other, known).await;
    fault(&scene);
    goes_on_alone(&scene, known).await;
    repair(&scene);
    let took = back(&*scene.door.gate, BACK_MS).await;
    back(&*scene.other, BACK_MS).await;
    println!("back after {took:?}");
    // Nothing old has come back, and everything new goes through.
    assert_eq!(scene.door.gate.read(&[known.section_id]).await, [None]);
    until_shared(&scene.door, &*scene.other, snapshot(known.section_id, 8, 2)).await;
    assert_eq!(scene.door.gate.health().away, None);
}

#[tokio::test]
async fn redis_killed_and_started_again() {
    comes_and_goes(|scene| scene.server.kill(), |scene| scene.server.start_again()).await;
}

#[tokio::test]
async fn redis_frozen() {
    comes_and_goes(|scene| scene.server.pause(), |scene| scene.server.resume()).await;
}

#[tokio::test]
async fn redis_cut_off() {
    comes_and_goes(|scene| scene.proxy.cut(), |scene| scene.proxy.heal()).await;
}

#[tokio::test]
async fn redis_swallowed_by_the_network() {
    comes_and_goes(|scene| scene.proxy.blackhole(), |scene| scene.proxy.heal()).await;
}

#[tokio::test]
async fn redis_two_seconds_slow() {
    let slow = |scene: &Scene| scene.proxy.delay(Duration::from_secs(2));
    comes_and_goes(slow, |scene| scene.proxy.heal()).await;
}

#[tokio::test]
async fn redis_whose_answers_get_lost() {
    comes_and_goes(|scene| scene.proxy.lose_answers(), |scene| scene.proxy.heal()).await;
}

#[tokio::test]
async fn redis_read_only() {
    let demote = |scene: &Scene| drop(scene.server.cli(&["REPLICAOF", "127.0.0.1", "1"]));
    comes_and_goes(demote, |scene| drop(scene.server.cli(&["REPLICAOF", "NO", "ONE"]))).await;
}

#[tokio::test]
async fn redis_out_of_memory() {
    let fill = |scene: &Scene| drop(scene.server.cli(&["CONFIG", "SET", "maxmemory", "1"]));
    let free = |scene: &Scene| drop(scene.server.cli(&["CONFIG", "SET", "maxmemory", "0"]));
    comes_and_goes(fill, free).await;
}

/// Every command is answered by this error.
async fn answers(error: &'static str) {
    comes_and_goes(|scene| scene.proxy.answer(error.as_bytes()), |scene| scene.proxy.heal()).await;
}

#[tokio::test]
async fn redis_loading() {
    answers("-LOADING Redis is loading the dataset in memory\r\n").await;
}

#[tokio::test]
async fn redis_that_cannot_save() {
    answers("-MISCONF Redis is configured to save RDB snapshots\r\n").await;
}

#[tokio::test]
async fn redis_of_a_cluster_that_is_down() {
    answers("-CLUSTERDOWN The cluster is down\r\n").await;
}

#[tokio::test]
async fn redis_whose_key_moved() {
    answers("-MOVED 3999 127.0.0.1:1\r\n").await;
}

#[tokio::test]
async fn redis_that_speaks_another_protocol() {
    answers("HTTP/1.1 400 Bad Request\r\n\r\n").await;
}

#[tokio::test]
async fn a_connection_that_is_reset_is_made_again() {
    let scene = Scene::new(NEVER_LAPSES).await;
    for version in 1..=3 {
        scene.proxy.cut_once();
        let known = snapshot(scene.door.section(), version, 1);
        until_shared(&scene.door, &*scene.other, known).await;
    }
}

#[tokio::test]
async fn a_server_that_is_away_at_the_start_is_found_when_it_comes() {
    let server = Redis::start();
    server.kill();
    let gate = open_gate(Some(&server.url()), LAPSES).expect("being away is no error");
    let door = Doorway::to(gate.clone());
    let (known, took) = timed(&*gate, door.section()).await;
    assert!(known.is_none() && took < AT_ONCE, "{took:?}");
    let fault = gate.ping().await.expect_err("it is away");
    assert_eq!(fault.to_string(), "unavailable while asking the gate");
    server.start_again();
    back(&*gate, BACK_MS).await;
}

#[tokio::test]
async fn i8_deleting_everything_at_any_moment_changes_nothing_but_speed() {
    let scene = Scene::new(NEVER_LAPSES).await;
    let known = snapshot(scene.door.section(), 5, 2);
    until_shared(&scene.door, &*scene.other, known).await;
    for wipe in ["FLUSHALL", "SCRIPT FLUSH"] {
        let words: Vec<_> = wipe.split(' ').collect();
        scene.server.cli(&words);
        if wipe == "FLUSHALL" {
            assert_eq!(scene.other.read(&[known.section_id]).await, [None]);
        }
        until_shared(&scene.door, &*scene.other, known).await;
    }
    assert_eq!(scene.other.health().away, None, "no script is missed for longer than a call");
}

#[tokio::test]
async fn i8_an_old_state_that_is_put_back_is_not_believed() {
    let scene = Scene::new(LAPSES).await;
    let section_id = scene.door.section();
    until_shared(&scene.door, &*scene.other, snapshot(section_id, 5, 0)).await;
    let old = scene.server.save_snapshot();
    // Seats came back after that.
    until_shared(&scene.door, &*scene.other, snapshot(section_id, 6, 4)).await;
    wait_ms(1_100).await;
    scene.server.restore_snapshot(&old);
    back(&*scene.other, BACK_MS).await;
    assert_ne!(scene.server.cli(&["DBSIZE"]), "0", "the past is there");
    assert_eq!(scene.other.read(&[section_id]).await, [None]);
    until_shared(&scene.door, &*scene.other, snapshot(section_id, 6, 4)).await;
}

#[tokio::test]
async fn i8_what_a_frozen_server_takes_late_is_not_taken_for_new() {
    let scene = Scene::new(LAPSES).await;
    let known = snapshot(scene.door.section(), 5, 0);
    until_shared(&scene.door, &*scene.other, snapshot(known.section_id, 4, 1)).await;
    scene.server.pause();
    // It lies in the buffers of the connection until the server wakes up.
    scene.settle_one(known);
    wait_ms(1_500).await;
    scene.server.resume();
    back(&*scene.other, BACK_MS).await;
    for _ in 0..50 {
        assert_eq!(scene.other.read(&[known.section_id]).await, [None]);
        wait_ms(2).await;
    }
}

#[tokio::test]
async fn what_is_settled_while_redis_is_away_is_sent_when_it_comes_back_in_time() {
    let scene = Scene::new(NEVER_LAPSES).await;
    scene.proxy.cut();
    while scene.door.gate.health().away.is_none() {
        timed(&*scene.door.gate, scene.door.section()).await;
        wait_ms(5).await;
    }
    let known = snapshot(scene.door.section(), 5, 0);
    // What waits is merged.
    scene.settle_one(snapshot(known.section_id, 4, 1));
    scene.settle_one(known);
    scene.proxy.heal();
    back(&*scene.other, BACK_MS).await;
    let deadline = Instant::now() + Duration::from_millis(BACK_MS);
    while timed(&*scene.other, known.section_id).await.0 != Some(known) {
        assert!(Instant::now() < deadline, "it was never sent");
        wait_ms(5).await;
    }
}

#[tokio::test]
async fn i9_what_cannot_be_sent_is_dropped_and_counted() {
    let server = Redis::start();
    let gate = connected(&server.url(), LAPSES).await;
    server.kill();
    let door = Doorway::to(gate.clone());
    while gate.health().away.is_none() {
        timed(&*gate, door.section()).await;
        wait_ms(5).await;
    }
    for _ in 0..300 {
        let batch = (0..1_000).map(|_| snapshot(door.section(), 1, 1)).collect();
        gate.settle(Settlement { snapshots: batch, marks: vec![] });
    }
    wait_ms(1_100).await;
    gate.settle(alone(snapshot(door.section(), 1, 1)));
    let dropped = gate.health().dropped;
    assert!((290_000..=310_000).contains(&dropped), "{dropped} were dropped");
    let health = gate.health();
    assert!(health.away.is_some_and(|away| away > Duration::from_secs(1)), "{health:?}");
}

#[tokio::test]
async fn subscriptions_come_back_with_the_server() {
    let scene = Scene::new(LAPSES).await;
    let mut heard = scene.other.announcements();
    let mut listened_before = None;
    for _ in 0..2 {
        let event_id = scene.door.mint.event();
        let deadline = Instant::now() + Duration::from_millis(2 * BACK_MS);
        loop {
            scene.door.gate.announce(event_id.into());
            wait_ms(20).await;
            if heard.try_recv() == Ok(event_id.into()) {
                break;
            }
            assert!(Instant::now() < deadline, "nobody hears it");
        }
        let listens_since = scene.other.listens_since();
        assert!(listens_since > listened_before, "as it was before the server was away");
        listened_before = listens_since;
        scene.server.kill();
        while scene.other.listens_since().is_some() {
            assert!(Instant::now() < deadline, "it says that it listens to nobody");
            wait_ms(5).await;
        }
        scene.server.start_again();
        while heard.try_recv().is_ok() {}
    }
}

#[tokio::test]
async fn a_failover_is_followed_and_another_back() {
    let sentinel = Sentinel::start();
    let url = sentinel_url_of(&sentinel);
    let (gate, other) = (connected(&url, LAPSES).await, connected(&url, LAPSES).await);
    let door = Doorway::to(gate);
    let section_id = door.section();
    until_shared(&door, &*other, snapshot(section_id, 1, 1)).await;
    sentinel.fail_over();
    let started = Instant::now();
    until_shared(&door, &*other, snapshot(section_id, 2, 1)).await;
    println!("after the failover: {:?}", started.elapsed());
    // The old primary comes back as a replica, and the roles are swapped while both run.
    sentinel.data_servers().iter().find(|server| !server.is_running()).expect("one").start_again();
    sentinel.wait_until_settled();
    sentinel.hand_over();
    until_shared(&door, &*other, snapshot(section_id, 3, 1)).await;
    assert_eq!(door.gate.health().away, None);
}

#[tokio::test]
async fn a_node_of_a_cluster_that_dies_takes_the_gate_away_and_brings_it_back() {
    let cluster = Cluster::start(3);
    let url = cluster_url_of(&cluster);
    let (gate, other) = (connected(&url, LAPSES).await, connected(&url, LAPSES).await);
    let door = Doorway::to(gate);
    let section_id = door.section();
    until_shared(&door, &*other, snapshot(section_id, 1, 1)).await;
    let node = cluster.node_of(&format!("{{{}}}", section_id.shard().index()));
    node.kill();
    while door.gate.health().away.is_none() {
        let (_, took) = timed(&*door.gate, section_id).await;
        assert!(took < CALL_MAX * SLACK, "{took:?}");
        wait_ms(5).await;
    }
    for _ in 0..100 {
        let (_, took) = timed(&*door.gate, section_id).await;
        assert!(took < AT_ONCE, "the breaker stays open: {took:?}");
        wait_ms(10).await;
    }
    node.start_again();
    cluster.wait_until_whole();
    until_shared(&door, &*other, snapshot(section_id, 2, 1)).await;
}
