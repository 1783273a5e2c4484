//! The PostgreSQL clusters of the testbed do what their names say.

use testbed::postgres::{self, Postgres};

#[test]
fn what_was_committed_outlives_a_kill_and_a_stop() {
    let postgres = Postgres::start();
    let url = postgres.create_database();
    postgres.sql(&url, "CREATE TABLE seats (n int); INSERT INTO seats VALUES (7)");
    postgres.kill();
    assert!(!postgres.is_running());
    assert!(std::net::TcpStream::connect(postgres.address()).is_err());
    postgres.start_again();
    assert_eq!(postgres.sql(&url, "SELECT n FROM seats"), "7");
    postgres.restart();
    assert_eq!(postgres.sql(&url, "SELECT n, n + 1 FROM seats"), "7|8");

    let copy = postgres.create_database_from(&url);
    assert_ne!(copy, url);
    assert_eq!(postgres.sql(&copy, "SELECT n FROM seats"), "7");
}

#[test]
fn settings_of_the_caller_win() {
    let postgres = Postgres::start_with(&[("fsync", "on"), ("max_connections", "20")]);
    assert_eq!(postgres.sql("postgres", "SHOW fsync"), "on");
    assert_eq!(postgres.sql("postgres", "SHOW max_connections"), "20");
    postgres.set("statement_timeout", "7s");
    assert_eq!(postgres.sql("postgres", "SHOW statement_timeout"), "7s");
}

#[test]
fn a_paused_cluster_answers_when_it_is_resumed() {
    let postgres = Postgres::start();
    postgres.pause();
    let (answers, answer) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| answers.send(postgres.sql("postgres", "SELECT 1")).unwrap());
        let early = answer.recv_timeout(std::time::Duration::from_millis(300));
        postgres.resume();
        assert!(early.is_err());
        assert_eq!(answer.recv().unwrap(), "1");
    });
}

#[test]
#[should_panic(expected = "relation \"nowhere\" does not exist")]
fn a_statement_that_fails_panics_with_its_message() {
    postgres::shared().sql("postgres", "SELECT * FROM nowhere");
}

#[test]
fn a_synchronous_standby_follows_and_is_promoted() {
    let primary = Postgres::start();
    primary.sql("postgres", "CREATE TABLE seats (n int)");
    let standby = primary.standby(true);
    // A commit that waits for its being applied can be read over there at once.
    primary.sql("postgres", "SET synchronous_commit = remote_apply; INSERT INTO seats VALUES (1)");
    assert_eq!(standby.sql("postgres", "SELECT count(*) FROM seats"), "1");
    assert_eq!(standby.sql("postgres", "SELECT pg_is_in_recovery()"), "t");
    primary.kill();
    standby.promote();
    standby.sql("postgres", "INSERT INTO seats VALUES (2)");
    assert_eq!(standby.sql("postgres", "SELECT count(*) FROM seats"), "2");
}

#[test]
fn an_asynchronous_standby_does_not_hold_up_its_primary() {
    let primary = Postgres::start();
    let standby = primary.standby(false);
    standby.pause();
    primary.sql("postgres", "CREATE TABLE seats (n int)");
}
