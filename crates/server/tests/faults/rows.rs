//! The rows of the table.

use crate::fault::Fault;
use crate::row::play;

/// A test for each row.
macro_rules! rows {
    ($($name:ident: $fault:ident,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $name() {
                play(Fault::$fault).await;
            }
        )+
    };
}

rows! {
    redis_killed_and_started_again_empty_is_noticed_by_no_buyer: RedisKilled,
    redis_killed_for_good_in_mid_sale_slows_but_still_sells: RedisKilledForGood,
    redis_flushed_again_and_again_is_noticed_by_no_buyer: RedisFlushed,
    redis_out_of_memory_is_noticed_by_no_buyer: RedisOutOfMemory,
    redis_that_only_reads_is_noticed_by_no_buyer: RedisReadOnly,
    redis_that_loads_its_data_is_noticed_by_no_buyer: RedisLoading,
    redis_that_is_slow_keeps_nobody_waiting: RedisSlow,
    redis_that_is_unreachable_keeps_nobody_waiting: RedisUnreachable,
    redis_whose_answers_are_lost_keeps_nobody_waiting: RedisAnswersLost,
    i8_redis_that_fails_over_to_a_stale_replica_sells_no_seat_twice: RedisStale,
    i11_postgres_killed_loses_nothing_that_was_acknowledged: PostgresKilled,
    postgres_restarted_is_followed_at_once: PostgresRestarted,
    i12_connections_that_are_cut_leave_no_outcome_unknown: PostgresCut,
    postgres_without_free_connections_is_waited_for: PostgresExhausted,
    a_stranger_who_locks_the_rows_delays_nobody_beyond_the_limit: PostgresLocked,
    postgres_that_is_unreachable_keeps_nobody_waiting_beyond_the_limit: PostgresUnreachable,
    postgres_that_is_slow_keeps_nobody_waiting_beyond_the_limit: PostgresSlow,
    postgres_that_only_reads_refuses_and_comes_back: PostgresReadOnly,
    i12_a_lost_answer_to_a_commit_is_never_reported_as_failed: PostgresAnswersLost,
    a_full_disk_refuses_holds_and_heals_at_once: PostgresDiskFull,
    i11_a_failover_to_a_synchronous_standby_loses_nothing: PostgresFailover,
    i11_instances_killed_in_turn_lose_nothing_that_was_acknowledged: InstanceKilled,
    an_instance_that_freezes_in_a_transaction_stops_nobody_for_long: InstanceFrozen,
    an_instance_that_is_stopped_and_started_again_loses_no_request: InstanceStopped,
    a_log_without_a_reader_is_noticed_by_no_buyer: LogReaderGone,
    a_log_whose_reader_stalls_is_noticed_by_no_buyer: LogReaderStalled,
}
