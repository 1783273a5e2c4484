//! What can happen to Redis, or to the way there.

use super::Fault;
use crate::stage::{INSTANCES, Stage, pause};

/// How long a fault lasts (ms).
const LASTS: u64 = 2_000;

/// Waits for so long (ms), and sees on the way that both instances know their gate to be away.
async fn last(stage: &Stage, milliseconds: u64) {
    pause(milliseconds / 2).await;
    for instance in 0..INSTANCES {
        let health = stage.at(&stage.organizer, instance).outside().get("/health").await;
        assert_eq!(health.body["status"], "degraded", "the fault is not felt: {}", health.body);
    }
    pause(milliseconds / 2).await;
}

pub(super) async fn kill_for_good(stage: &Stage) {
    stage.redis.kill();
    last(stage, LASTS).await;
}

pub(super) async fn strike(fault: Fault, stage: &Stage) {
    let redis = &stage.redis;
    match fault {
        Fault::RedisKilled => {
            redis.kill();
            last(stage, LASTS).await;
            redis.start_again();
        }
        Fault::RedisFlushed => {
            for _ in 0..10 {
                redis.cli(&["FLUSHALL"]);
                pause(LASTS / 10).await;
            }
        }
        Fault::RedisOutOfMemory => {
            let error = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n";
            stage.on_redis(|proxy| proxy.answer(error));
            last(stage, LASTS / 2).await;
            stage.heal();
            redis.cli(&["CONFIG", "SET", "maxmemory", "1mb"]);
            last(stage, LASTS / 2).await;
            redis.cli(&["CONFIG", "SET", "maxmemory", "0"]);
        }
        Fault::RedisReadOnly => {
            let error = b"-READONLY You can't write against a read only replica.\r\n";
            stage.on_redis(|proxy| proxy.answer(error));
            last(stage, LASTS / 2).await;
            stage.heal();
            // The replica of a primary that is nowhere.
            redis.cli(&["REPLICAOF", "127.0.0.1", "1"]);
            last(stage, LASTS / 2).await;
            redis.cli(&["REPLICAOF", "NO", "ONE"]);
        }
        Fault::RedisLoading => {
            let error = b"-LOADING Redis is loading the dataset in memory\r\n";
            stage.on_redis(|proxy| proxy.answer(error));
            last(stage, LASTS).await;
        }
        Fault::RedisSlow => {
            stage.on_redis(|proxy| proxy.delay(std::time::Duration::from_secs(1)));
            last(stage, LASTS + 1_000).await;
        }
        Fault::RedisUnreachable => {
            stage.on_redis(testbed::proxy::Proxy::blackhole);
            last(stage, LASTS).await;
        }
        Fault::RedisAnswersLost => {
            stage.on_redis(testbed::proxy::Proxy::lose_answers);
            last(stage, LASTS).await;
        }
        Fault::RedisStale => {
            redis.cli(&["SAVE"]);
            pause(LASTS).await;
            redis.kill();
            // It loads what was saved: all that was settled since is unknown to it.
            redis.start_again();
        }
        other => unreachable!("{other:?} is none of Redis"),
    }
    stage.heal();
}
