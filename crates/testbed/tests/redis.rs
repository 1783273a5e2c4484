//! The Redis servers of the testbed do what their names say.

use testbed::redis::{self, Cluster, Redis, Sentinel};

#[test]
fn a_killed_server_starts_empty_on_the_same_port() {
    let redis = Redis::start();
    let url = redis.url();
    assert_eq!(redis.cli(&["SET", "a", "1"]), "OK");
    redis.kill();
    assert!(!redis.is_running());
    redis.start_again();
    assert_eq!(redis.url(), url);
    assert_eq!(redis.cli(&["GET", "a"]), "");
}

#[test]
fn arguments_reach_the_server() {
    let redis = Redis::start_with(&["--maxmemory", "3mb", "--save", "1 1"]);
    assert_eq!(redis.cli(&["CONFIG", "GET", "maxmemory"]), "maxmemory\n3145728");
    redis.cli(&["SET", "a", "1"]);
    redis.save_snapshot();
    redis.kill();
    redis.start_again();
    assert_eq!(redis.cli(&["GET", "a"]), "1");
}

#[test]
fn a_restored_snapshot_is_the_past_until_the_next_crash() {
    let redis = Redis::start();
    redis.cli(&["SET", "a", "1"]);
    let snapshot = redis.save_snapshot();
    redis.cli(&["SET", "a", "2"]);
    redis.restore_snapshot(&snapshot);
    assert_eq!(redis.cli(&["GET", "a"]), "1");
    redis.kill();
    redis.start_again();
    assert_eq!(redis.cli(&["DBSIZE"]), "0");
}

#[test]
fn a_paused_server_answers_when_it_is_resumed() {
    let redis = Redis::start();
    redis.pause();
    let (answers, answer) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| answers.send(redis.cli(&["PING"])).unwrap());
        let early = answer.recv_timeout(std::time::Duration::from_millis(200));
        redis.resume();
        assert!(early.is_err());
        assert_eq!(answer.recv().unwrap(), "PONG");
    });
}

#[test]
fn the_shared_server_is_one() {
    assert_eq!(redis::shared().address(), redis::shared().address());
}

#[test]
fn a_cluster_answers_on_all_slots() {
    let cluster = Cluster::start(3);
    for key in 0..60 {
        let key = format!("key-{key}");
        assert_eq!(cluster.node_of(&key).cli(&["SET", &key, "1"]), "OK");
    }
    let sizes: Vec<usize> =
        cluster.nodes().iter().map(|node| node.cli(&["DBSIZE"]).parse().unwrap()).collect();
    assert_eq!(sizes.iter().sum::<usize>(), 60);
    assert!(sizes.iter().all(|size| *size > 0));

    let node = &cluster.nodes()[1];
    node.kill();
    node.start_again();
    cluster.wait_until_whole();
}

#[test]
fn sentinels_replace_a_dead_primary_and_hand_over_a_live_one() {
    let sentinel = Sentinel::start();
    let first = sentinel.primary();
    assert_eq!(first.cli(&["SET", "a", "1"]), "OK");
    sentinel.wait_until_replicated();
    sentinel.fail_over();
    let second = sentinel.primary();
    assert_ne!(second.address(), first.address());
    assert_eq!(second.cli(&["GET", "a"]), "1");
    assert_eq!(second.cli(&["SET", "a", "2"]), "OK");

    first.start_again();
    sentinel.wait_until_settled();
    sentinel.hand_over();
    assert_eq!(sentinel.primary().address(), first.address());
    assert_eq!(first.cli(&["GET", "a"]), "2");
}
