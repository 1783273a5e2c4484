//! What is promised of the Redis gate alone: between instances, and to a person with `redis-cli`.

use super::servers::{Instances, cluster_url, connected, shared_url};
use super::{
    AnyId, Arc, Doorway, Duration, Gate, GateOptions, LAPSES, NEVER_LAPSES, SectionId, Settlement,
    Snapshot, open_gate, snapshot, wait_ms,
};
use engine::Shard;
use std::time::Instant;
use testbed::redis::{Redis, shared};
use tokio::sync::broadcast::Receiver;

fn section_key(section_id: SectionId) -> String {
    format!("reservix:0000000000000000:{{{}}}:section:{section_id}", section_id.shard().index())
}

/// Asks the shared server, as a person would.
fn cli(words: &[&str]) -> String {
    shared().cli(words)
}

async fn another(options: GateOptions) -> Arc<dyn Gate> {
    connected(&shared_url(), options).await
}

async fn doorway(options: GateOptions) -> Doorway {
    Doorway::to(Arc::new(Instances::on(&shared_url(), options).await))
}

fn settled(snapshots: Vec<Snapshot>) -> Settlement {
    Settlement { snapshots, marks: vec![] }
}

#[tokio::test]
async fn a_person_can_read_what_is_kept_and_all_of_it_ends_by_itself() {
    let door = doorway(LAPSES).await;
    let section_id = door.section();
    let known = Snapshot { next_expiry: Some(door.now), ..snapshot(section_id, 3, 7) };
    door.know(known).await;
    let section = section_key(section_id);
    let fields = cli(&["HMGET", &section, "version", "capacity", "available", "next_expiry"]);
    let expected = format!("3\n100\n7\n{}", door.now.unix_ms());
    assert_eq!(fields, expected);
    let left_ms: i64 = cli(&["PTTL", &section]).parse().expect("a number");
    assert!((1..=61_000).contains(&left_ms), "{section} has {left_ms} ms left");
    for key in cli(&["KEYS", "reservix:*"]).lines() {
        assert_ne!(cli(&["PTTL", key]), "-1", "{key} would stay for ever");
    }
}

#[tokio::test]
async fn i8_a_clock_that_was_set_makes_nothing_fresh() {
    let door = doorway(GateOptions { fresh_ms: 5_000 }).await;
    for ms in ["-5100", "3600000", "-3600000"] {
        let section_id = door.section();
        door.know(snapshot(section_id, 5, 0)).await;
        assert!(door.read(section_id).await.is_some());
        cli(&["HINCRBY", &section_key(section_id), "checked_at", ms]);
        assert_eq!(door.read(section_id).await, None, "moved by {ms} ms");
        // Whatever a commit tells is news then, from an instance that remembers nothing.
        let fresh = another(LAPSES).await;
        fresh.settle(settled(vec![snapshot(section_id, 4, 2)]));
        let mut known = None;
        for _ in 0..500 {
            known = door.read(section_id).await;
            if known.is_some() {
                break;
            }
            wait_ms(5).await;
        }
        assert_eq!(known, Some(snapshot(section_id, 4, 2)), "moved by {ms} ms");
    }
}

#[tokio::test]
async fn what_a_person_breaks_is_unknown_and_healed_by_the_next_settle() {
    let door = doorway(NEVER_LAPSES).await;
    let section_id = door.section();
    let section = section_key(section_id);
    let breakages: [&[&str]; 4] = [
        &["SET", &section, "nonsense"],
        &["HSET", &section, "checked_at", "nan"],
        &["HSET", &section, "version", "many"],
        &["HDEL", &section, "available"],
    ];
    for (version, breakage) in (1..).zip(breakages) {
        let known = snapshot(section_id, version, 7);
        door.know(known).await;
        assert_eq!(door.read(section_id).await, Some(known), "before {breakage:?}");
        cli(breakage);
        assert_eq!(door.read(section_id).await, None, "after {breakage:?}");
        door.gate.ping().await.expect("nothing of it is taken for a failure of the server");
    }
}

#[tokio::test]
async fn an_instance_sees_its_own_commit_at_once_and_a_newer_one_of_another() {
    let (one, two) = (another(NEVER_LAPSES).await, another(NEVER_LAPSES).await);
    let door = Doorway::to(one.clone());
    let section_id = door.section();
    one.settle(settled(vec![snapshot(section_id, 5, 5)]));
    assert_eq!(one.read(&[section_id]).await, [Some(snapshot(section_id, 5, 5))]);
    two.settle(settled(vec![snapshot(section_id, 6, 4)]));
    let newer = [Some(snapshot(section_id, 6, 4))];
    assert_eq!(two.read(&[section_id]).await, newer);
    while one.read(&[section_id]).await != newer {
        wait_ms(2).await;
    }
}

async fn many_sections(gate: Instances) {
    let door = Doorway::to(Arc::new(gate));
    let sections: Vec<_> = (0..3_000)
        .map(|index| SectionId::new(door.now, Shard::pick(index % 700 * 37), index))
        .collect();
    let mut known: Vec<_> = sections.iter().map(|id| Some(snapshot(*id, 1, 9))).collect();
    let all: Vec<_> = known.iter().copied().flatten().collect();
    let deadline = Instant::now() + Duration::from_secs(30);
    // A server that is busy may answer too late: what it was told then is not told again by itself.
    while {
        door.gate.settle(settled(all.clone()));
        wait_ms(20).await;
        door.gate.read(&sections).await != known
    } {
        assert!(Instant::now() < deadline, "not all of them arrive");
    }
    known[..1_000].fill(None);
    // A server that is busy may answer too late for what has a time limit.
    while {
        door.gate.forget(&sections[..1_000]).await;
        door.gate.read(&sections).await != known
    } {
        assert!(Instant::now() < deadline, "they are not forgotten");
        wait_ms(20).await;
    }
}

#[tokio::test]
async fn a_thousand_sections_of_many_shards_are_told_in_their_order() {
    many_sections(Instances::on(&shared_url(), NEVER_LAPSES).await).await;
}

#[tokio::test]
async fn a_thousand_sections_of_many_shards_are_told_in_their_order_by_a_cluster() {
    many_sections(Instances::on(&cluster_url(), NEVER_LAPSES).await).await;
}

/// Announces until somebody hears it: a subscription may still be on its way.
async fn heard(from: &dyn Gate, by: &mut Receiver<AnyId>, id: AnyId) {
    for _ in 0..200 {
        from.announce(id);
        if let Ok(Ok(heard)) = tokio::time::timeout(Duration::from_millis(50), by.recv()).await {
            assert_eq!(heard, id);
            return;
        }
    }
    panic!("nobody hears it");
}

async fn announcements(url: &str) {
    let (one, two) = (connected(url, NEVER_LAPSES).await, connected(url, NEVER_LAPSES).await);
    let door = Doorway::to(one.clone());
    let mut by_two = two.announcements();
    heard(&*one, &mut by_two, door.event_id.into()).await;
    // Both are subscribed by now, or will be: each hears the other, and itself exactly once.
    let mut by_one = one.announcements();
    heard(&*two, &mut by_one, door.event_id.into()).await;
    wait_ms(100).await;
    while by_one.try_recv().is_ok() {}
    let own = AnyId::from(door.mint.event());
    one.announce(own);
    assert_eq!(by_one.try_recv(), Ok(own));
    wait_ms(100).await;
    assert!(by_one.try_recv().is_err(), "its own echo");
}

#[tokio::test]
async fn an_announcement_reaches_every_instance() {
    announcements(&Redis::start().url()).await;
}

#[tokio::test]
async fn an_announcement_reaches_every_instance_of_a_cluster() {
    let cluster = testbed::redis::Cluster::start(3);
    announcements(&super::servers::cluster_url_of(&cluster)).await;
}

async fn counters(url: &str) {
    let (one, two) = (connected(url, NEVER_LAPSES).await, connected(url, NEVER_LAPSES).await);
    let door = Doorway::to(one.clone());
    let names: Vec<_> = (0..40).map(|index| format!("login:{}:{index}", door.event_id)).collect();
    let counts: Vec<_> = names.iter().cloned().zip(1..).collect();
    let sums: Vec<i64> = (1..=40).collect();
    assert_eq!(one.tally(&counts, 400).await, Some(sums.clone()));
    let doubled = sums.iter().map(|sum| sum * 2).collect();
    assert_eq!(two.tally(&counts, 400).await, Some(doubled));
    // The window began with the first count, and ends for all.
    wait_ms(450).await;
    assert_eq!(two.tally(&counts, 400).await, Some(sums));
    let taken_back: Vec<_> = counts.iter().map(|(name, count)| (name.clone(), -count)).collect();
    assert_eq!(one.tally(&taken_back, 400).await, Some(vec![0; 40]));
    assert_eq!(one.tally(&[], 400).await, Some(vec![]));
}

#[tokio::test]
async fn counters_are_shared_and_end_with_their_window() {
    counters(&shared_url()).await;
}

#[tokio::test]
async fn counters_are_shared_over_a_cluster() {
    counters(&cluster_url()).await;
}

#[tokio::test]
async fn a_url_that_is_wrong_is_refused_and_no_password_is_ever_shown() {
    for url in [
        "redis://user:s3cret@",
        "redis://user:s3cret@host:port",
        "redis://s3cret@host",
        "redis+sentinel://user:s3cret@host",
        "redis+cluster://user:s3cret@host/3",
        "s3cret@host:6379",
        "redis+s3cret",
    ] {
        let Err(fault) = open_gate(Some(url), LAPSES) else { panic!("{url} is wrong") };
        let text = format!("{fault:?} {fault}");
        assert!(text.contains("REDIS_URL") && !text.contains("s3cret"), "{text}");
    }
    let server = Redis::start_with(&["--requirepass", "s3cret"]);
    let at = server.address();
    let right = connected(&format!("redis://:s3cret@{at}/2"), LAPSES).await;
    assert_eq!(right.describe(), format!("Redis at {at}"));
    let wrong = open_gate(Some(&format!("redis://:s3cret2@{at}")), LAPSES).expect("a good URL");
    wait_ms(300).await;
    let fault = wrong.ping().await.expect_err("not with this password");
    let text = format!("{fault:?} {fault} {}", wrong.describe());
    assert!(!text.contains("s3cret") && text.contains(&at.to_string()), "{text}");
    // It knows nothing, and what it was told itself.
    let door = Doorway::to(wrong);
    assert_eq!(door.read(door.section()).await, None);
}

#[tokio::test]
async fn a_server_without_tls_is_away_for_a_gate_that_wants_it() {
    let url = shared_url().replace("redis://", "rediss://");
    let gate = open_gate(Some(&url), LAPSES).expect("a good URL");
    assert!(gate.describe().ends_with(" over TLS"));
    wait_ms(500).await;
    gate.ping().await.expect_err("there is nobody to shake hands with");
    // A missing provider of TLS would have ended the task that connects.
    assert!(gate.health().away.is_some());
}
