//! Behind PgBouncer: by session everything is in force, and any other way is refused.

use super::{Stand, assert_between, chain, lock_section, one, open, timed, unavailable};
use crate::world::options;
use engine::{Command, Fault};
use std::time::Duration;
use store::open_store;
use suite::world::{ManualClock, POLICY};
use testbed::pgbouncer::PgBouncer;
use testbed::postgres::Postgres;

/// What sessions may be told in silence, or not at all.
const WAYS: [&[(&str, &str)]; 2] = [&[], &[("ignore_startup_parameters", "options")]];

/// Writes down, with every booking that is made, what is in force in the session that makes it.
const NOTE: &str = "CREATE TABLE noted (setting text, value text);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO noted SELECT it, current_setting(it) FROM unnest(ARRAY['lock_timeout',
            'statement_timeout', 'idle_in_transaction_session_timeout', 'tcp_user_timeout',
            'default_transaction_isolation', 'plan_cache_mode', 'enable_seqscan']) it;
        RETURN NEW; END $$;
    CREATE TRIGGER note AFTER INSERT ON bookings FOR EACH ROW EXECUTE FUNCTION note();";
const IN_FORCE: &str = "default_transaction_isolation=read committed,enable_seqscan=off,\
    idle_in_transaction_session_timeout=1500ms,lock_timeout=2s,plan_cache_mode=force_generic_plan,\
    statement_timeout=3s,tcp_user_timeout=5000";

#[tokio::test(flavor = "multi_thread")]
async fn by_session_every_time_out_is_in_force_whether_it_is_refused_or_lost_at_the_start() {
    let server = Postgres::start();
    for settings in WAYS {
        let stand = Stand::on(&server).await;
        let mut raw = stand.raw().await;
        raw.run(NOTE).await;
        // Somebody has other plans for all who come: ours win, and the patient are patient.
        let name = stand.url.rsplit('/').next().expect("a name at the end").to_owned();
        raw.run(format!(
            "ALTER DATABASE {name} SET default_transaction_isolation = serializable;
             ALTER DATABASE {name} SET lock_timeout = '50ms'"
        ))
        .await;
        let bouncer = PgBouncer::start(&server, "session", settings);
        let store = open(&bouncer.in_place_of(&stand.url), POLICY, &stand.clock).await;
        let sale = stand.sale(&[9]).await;
        let noted = "SELECT string_agg(setting || '=' || value, ',' ORDER BY setting COLLATE \"C\")
            FROM (SELECT DISTINCT setting, value FROM noted) it";
        raw.run("TRUNCATE noted").await;
        one(&*store, Command::Hold(stand.hold(&sale, &[(0, 1)]))).await.expect("a seat");
        assert_eq!(raw.texts(noted).await, [IN_FORCE], "{settings:?}\n{}", bouncer.log());

        // So a section that somebody keeps locked is given up after two seconds,
        raw.run("BEGIN").await;
        raw.run(lock_section(sale.sections[0])).await;
        let batch = [Command::Hold(stand.keyed(&sale, &[(0, 1)], "k"))];
        let (refused, took) = timed(store.commit(&batch)).await;
        unavailable(refused);
        assert_between(took, 1_950, 3_400);
        raw.run("ROLLBACK; BEGIN; LOCK TABLE inventory").await;
        // and an audit and a migration, which nobody waits for, wait.
        let free = async {
            tokio::time::sleep(Duration::from_millis(400)).await;
            raw.run("ROLLBACK").await;
        };
        let (report, ()) = tokio::join!(store.audit(), free);
        assert!(report.expect("it waited").is_clean());
        raw.run("BEGIN; LOCK TABLE _sqlx_migrations").await;
        let free = async {
            tokio::time::sleep(Duration::from_millis(400)).await;
            raw.run("ROLLBACK").await;
        };
        let (migrated, ()) = tokio::join!(store.migrate(None), free);
        assert!(migrated.expect("it waited").is_empty());
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_by_transaction_or_statement_is_refused_at_once_by_its_name() {
    let server = Postgres::start();
    let stand = Stand::on(&server).await;
    for pool_mode in ["transaction", "statement"] {
        for (settings, sessions) in WAYS.into_iter().zip(["20", "1"]) {
            let size = [("default_pool_size", sessions)];
            let bouncer = PgBouncer::start(&server, pool_mode, &[settings, &size[..]].concat());
            let url = bouncer.in_place_of(&stand.url);
            let opening = open_store(&url, options(POLICY, &ManualClock::new()));
            let (opened, took) = timed(opening).await;
            assert_between(took, 0, 3_000);
            let Err(fault) = opened else { panic!("{pool_mode}, {sessions} sessions: opened") };
            let why = chain(&fault);
            assert!(matches!(fault, Fault::Unsuitable { .. }), "no matter of waiting: {why}");
            let place = bouncer.address().to_string();
            let named = format!("pool_mode = {pool_mode}");
            for part in ["PgBouncer", &place, &named, "pool_mode = session", "DATABASE_URL"] {
                assert!(why.contains(part), "{part:?} is not in {why:?}\n{}", bouncer.log());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_by_transaction_is_recognised_also_while_others_use_it() {
    let server = Postgres::start();
    let stand = Stand::on(&server).await;
    let bouncer = PgBouncer::start(&server, "transaction", &[]);
    let url = bouncer.in_place_of(&stand.url);
    let others = (0..8).map(|_| {
        let url = url.clone();
        tokio::spawn(async move {
            use sqlx::Connection as _;
            let options: sqlx::postgres::PgConnectOptions = url.parse().expect("a URL");
            let options = options.extra_float_digits(None);
            let mut busy = sqlx::PgConnection::connect_with(&options).await.expect("let in");
            loop {
                let asked =
                    sqlx::raw_sql("BEGIN; SELECT pg_sleep(0.002); COMMIT").execute(&mut busy);
                asked.await.expect("it answers");
            }
        })
    });
    let others: Vec<_> = others.collect();
    for _ in 0..5 {
        let opened = open_store(&url, options(POLICY, &ManualClock::new())).await;
        assert!(matches!(opened, Err(Fault::Unsuitable { .. })), "it was opened");
    }
    for other in &others {
        other.abort();
    }
}
