//! The faults: what each breaks, what it excuses, and how soon all must be well again.

mod instances;
mod postgres;
mod redis;

use crate::judge::Rules;
use crate::stage::{Plan, Stage};
use std::time::Duration;

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    RedisKilled,
    RedisKilledForGood,
    RedisFlushed,
    RedisOutOfMemory,
    RedisReadOnly,
    RedisLoading,
    RedisSlow,
    RedisUnreachable,
    RedisAnswersLost,
    RedisStale,
    PostgresKilled,
    PostgresRestarted,
    PostgresCut,
    PostgresExhausted,
    PostgresLocked,
    PostgresUnreachable,
    PostgresSlow,
    PostgresReadOnly,
    PostgresAnswersLost,
    PostgresDiskFull,
    PostgresFailover,
    InstanceKilled,
    InstanceFrozen,
    InstanceStopped,
    LogReaderGone,
    LogReaderStalled,
}

use Fault::*;

/// Those after which a stage is as before, so that another may follow.
pub const REPEATABLE: [Fault; 22] = [
    RedisKilled,
    RedisFlushed,
    RedisOutOfMemory,
    RedisReadOnly,
    RedisLoading,
    RedisSlow,
    RedisUnreachable,
    RedisAnswersLost,
    RedisStale,
    PostgresKilled,
    PostgresRestarted,
    PostgresCut,
    PostgresExhausted,
    PostgresLocked,
    PostgresUnreachable,
    PostgresSlow,
    PostgresReadOnly,
    PostgresAnswersLost,
    InstanceKilled,
    InstanceFrozen,
    InstanceStopped,
    LogReaderStalled,
];

impl Fault {
    /// What the table calls it.
    pub fn name(self) -> &'static str {
        match self {
            RedisKilled => "Redis killed, started again empty",
            RedisKilledForGood => "Redis killed for good",
            RedisFlushed => "Redis flushed",
            RedisOutOfMemory => "Redis out of memory",
            RedisReadOnly => "Redis read-only",
            RedisLoading => "Redis loading",
            RedisSlow => "Redis slow (2 s)",
            RedisUnreachable => "Redis unreachable",
            RedisAnswersLost => "Redis answers lost",
            RedisStale => "Redis fails over to a stale replica",
            PostgresKilled => "PostgreSQL killed",
            PostgresRestarted => "PostgreSQL restarted",
            PostgresCut => "PostgreSQL connections cut",
            PostgresExhausted => "PostgreSQL connections exhausted",
            PostgresLocked => "PostgreSQL rows locked by a stranger",
            PostgresUnreachable => "PostgreSQL unreachable",
            PostgresSlow => "PostgreSQL slow (300 ms each way)",
            PostgresReadOnly => "PostgreSQL read-only",
            PostgresAnswersLost => "PostgreSQL answers lost",
            PostgresDiskFull => "PostgreSQL's disk is full",
            PostgresFailover => "PostgreSQL fails over to its standby",
            InstanceKilled => "instances killed in turn",
            InstanceFrozen => "instance frozen in a transaction (4 s)",
            InstanceStopped => "instance stopped and started again",
            LogReaderGone => "log reader gone",
            LogReaderStalled => "log reader stalled",
        }
    }

    fn is_of_redis(self) -> bool {
        self.name().starts_with("Redis")
    }

    fn is_of_the_log(self) -> bool {
        matches!(self, LogReaderGone | LogReaderStalled)
    }

    /// How soon buying must be normal again.
    pub fn goal(self) -> Duration {
        let seconds = match self {
            RedisKilledForGood | RedisStale => 1,
            InstanceKilled | InstanceFrozen => 2,
            InstanceStopped | LogReaderGone | LogReaderStalled => 0,
            other if other.is_of_redis() => 2,
            _ => 5,
        };
        Duration::from_secs(seconds)
    }

    /// What it excuses. Redis excuses nothing.
    pub fn rules(self) -> Rules {
        let broken = matches!(self, InstanceKilled | InstanceStopped);
        let silence = self == InstanceFrozen;
        let refusals = !self.is_of_redis() && self != InstanceStopped && !self.is_of_the_log();
        Rules { refusals, broken, silence, ..Rules::default() }
    }

    /// The instance that must go on while the fault lasts, however the other one is.
    pub fn spares(self) -> Option<usize> {
        (self == InstanceFrozen).then_some(1)
    }

    /// Whether it must make itself felt: some requests have to come again.
    pub fn is_felt(self) -> bool {
        let hidden = matches!(self, PostgresSlow | PostgresAnswersLost | PostgresCut);
        !hidden && !self.is_of_redis() && !self.is_of_the_log()
    }

    /// The stage it is played on.
    pub fn plan(self) -> Plan {
        let mut plan = Plan::default();
        if matches!(self, PostgresKilled | PostgresFailover) {
            plan.postgres.push(("fsync", "on"));
        }
        if self == PostgresExhausted {
            plan.postgres.push(("max_connections", "30"));
        }
        if self == PostgresUnreachable {
            // So that some holds end while nobody can be asked.
            plan.settings.push(("HOLD_TTL_SECONDS", "3"));
        }
        if self.is_of_the_log() {
            // Each request is a line, so that the pipe is soon full.
            plan.settings.push(("APP_DEBUG", "true"));
        }
        plan.standby = self == PostgresFailover;
        plan
    }

    /// What must be done before it strikes, for one whose moment others choose.
    pub async fn prepare(self, stage: &Stage) {
        if self == InstanceFrozen {
            instances::freeze(stage).await;
        }
    }

    /// Strikes, and heals the fault unless it stays. Gives the time from which buying must become
    /// normal again, if that is not the time of the strike.
    pub async fn strike(self, stage: &Stage) -> Option<Duration> {
        match self {
            RedisKilledForGood => {
                redis::kill_for_good(stage).await;
                return None;
            }
            PostgresDiskFull => postgres::fill_disk(stage).await,
            PostgresFailover => postgres::fail_over(stage),
            PostgresKilled => postgres::kill(stage).await,
            PostgresRestarted => stage.postgres.restart(),
            PostgresCut => postgres::cut(stage).await,
            PostgresExhausted => postgres::exhaust(stage).await,
            PostgresLocked => postgres::lock(stage),
            PostgresUnreachable => postgres::vanish(stage).await,
            PostgresSlow => postgres::slow_down(stage).await,
            PostgresReadOnly => postgres::forbid_writes(stage).await,
            PostgresAnswersLost => postgres::lose_answers(stage).await,
            InstanceKilled => instances::kill_in_turn(stage).await,
            InstanceFrozen => instances::thaw(stage).await,
            InstanceStopped => instances::stop(stage).await,
            LogReaderGone => {
                instances::lose_log_readers(stage).await;
                return None;
            }
            LogReaderStalled => instances::stall_log_readers(stage).await,
            _ => redis::strike(self, stage).await,
        }
        Some(stage.now())
    }
}
