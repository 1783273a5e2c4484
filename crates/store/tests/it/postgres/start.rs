//! The start: which servers are refused, and what their operator reads.

use super::{Stand, assert_between, chain, timed};
use crate::world::options;
use engine::Fault;
use std::sync::Arc;
use store::{Store, StoreOptions, open_store};
use suite::world::{ManualClock, POLICY};
use testbed::postgres::Postgres;
use testbed::proxy::Proxy;

fn strict() -> StoreOptions {
    StoreOptions { strict: true, ..options(POLICY, &ManualClock::new()) }
}

async fn opened(url: &str, options: StoreOptions) -> Result<Arc<dyn Store>, Fault> {
    let (opened, took) = timed(open_store(url, options)).await;
    assert_between(took, 0, 2_000);
    opened
}

/// What the operator reads about a URL, in which the password is `secret`.
async fn refused(url: &str) -> String {
    match opened(url, strict()).await {
        Ok(_) => panic!("{url} was opened"),
        Err(fault) => {
            let why = chain(&fault);
            assert!(!why.contains("secret"), "{why}");
            assert!(!format!("{fault:?}").contains("secret"), "{fault:?}");
            why
        }
    }
}

#[track_caller]
fn assert_tells(why: &str, parts: &[&str]) {
    for part in parts {
        assert!(why.contains(part), "{part:?} is not in {why:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i11_a_server_that_may_forget_what_it_committed_is_refused_when_strict() {
    const SETTINGS: [&str; 3] = ["fsync", "full_page_writes", "synchronous_commit"];
    let server = Postgres::start_with(&[("fsync", "on")]);
    let url = server.url("postgres");
    opened(&url, strict()).await.expect("it keeps what it commits").close().await;
    for setting in SETTINGS {
        server.set(setting, "off");
        assert_tells(&refused(&url).await, &[&format!("{setting} = off"), "loses bookings"]);
        let lax = StoreOptions { strict: false, ..strict() };
        opened(&url, lax).await.expect("it is told in the log").close().await;
        server.set(setting, "on");
    }
    // What a database or a role sets for itself counts too.
    server.sql("postgres", "ALTER DATABASE postgres SET synchronous_commit = off");
    assert_tells(&refused(&url).await, &["synchronous_commit = off"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_keep_all_text_is_refused_and_named() {
    let server = testbed::postgres::shared();
    for encoding in ["LATIN1", "SQL_ASCII"] {
        let name = format!("test_{}_{}", encoding.to_lowercase(), std::process::id());
        let create =
            format!("CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0");
        server.sql("postgres", &create);
        let url = server.url(&name);
        assert_tells(&refused(&url).await, &[&name, encoding, "ENCODING 'UTF8'"]);
        // Not a matter of durability: outside production it could not keep an emoji either.
        let lax = StoreOptions { strict: false, ..strict() };
        let refused = opened(&url, lax).await.err().expect("refused as well");
        assert_tells(&chain(&refused), &[encoding]);
        server.sql("postgres", &format!("DROP DATABASE {name}"));
    }
    // Control: the same server, a database with the right encoding.
    let lax = StoreOptions { strict: false, ..strict() };
    opened(&server.create_database(), lax).await.expect("it keeps all text").close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_refused_until_it_is_promoted() {
    let server = Postgres::start();
    let standby = server.standby(false);
    let url = standby.url("postgres");
    let lax = StoreOptions { strict: false, ..strict() };
    assert_tells(&refused(&url).await, &["standby", "read-only"]);
    opened(&url, lax.clone()).await.map(drop).expect_err("strict or not");
    standby.promote();
    opened(&url, lax).await.expect("it is a primary now").close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_be_reached_is_told_soon_and_without_the_password() {
    let server = Postgres::start();
    server.sql("postgres", "CREATE ROLE clerk LOGIN PASSWORD 'right'");
    // The program writes as the server's user, in its folder.
    let rule = "COPY (SELECT 'host all clerk 127.0.0.1/32 scram-sha-256'
        UNION ALL SELECT 'host all all 127.0.0.1/32 trust') TO PROGRAM 'cat > pg_hba.conf'";
    server.sql("postgres", rule);
    server.sql("postgres", "SELECT pg_reload_conf()");
    let address = server.address();
    let url = |rest: &str| format!("postgres://clerk:{rest}");
    let why = loop {
        // The reload is a signal: it may take a moment.
        match opened(&url(&format!("secret@{address}/postgres")), strict()).await {
            Err(fault) if chain(&fault).contains("password") => break chain(&fault),
            _ => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
        }
    };
    assert!(!why.contains("secret"), "{why}");
    assert_tells(&why, &["connecting to the database", "password authentication failed", "clerk"]);
    let why = refused(&url(&format!("right@{address}/nowhere"))).await;
    assert_tells(&why, &["database \"nowhere\" does not exist"]);
    let lax = StoreOptions { strict: false, ..strict() };
    let found = opened(&url(&format!("right@{address}/postgres")), lax).await;
    let store = found.expect("name, password and database are right");
    assert!(!store.describe().contains("right"), "{}", store.describe());
    store.close().await;
    // Nothing listens; somebody listens and says nothing; the name is of nobody.
    let proxy = Proxy::to(address);
    proxy.cut();
    let why = refused(&url(&format!("secret@{}/postgres", proxy.address()))).await;
    assert_tells(&why, &["connecting to the database", "refused"]);
    proxy.heal();
    proxy.blackhole();
    let why = refused(&url(&format!("secret@{}/postgres", proxy.address()))).await;
    assert_tells(&why, &["connecting to the database", "does not respond"]);
    // What can never work is no matter of waiting.
    for (rest, said) in [
        ("secret@127.0.0.1:port/postgres", "port"),
        ("secret@127.0.0.1:99999/postgres", "port"),
        ("secret@127.0.0.1,127.0.0.2/postgres", "several hosts"),
        ("secret@127.0.0.1/postgres?sslmode=perhaps", "sslmode"),
        ("secret@127.0.0.1/postgres?sslmode=verify-ca&sslrootcert=/no/root.crt", "/no/root.crt"),
    ] {
        let wrong = opened(&url(rest), strict()).await.map(drop).expect_err("it is wrong");
        assert!(matches!(wrong, Fault::Unsuitable { .. }), "{rest}: {wrong:?}");
        assert_tells(&chain(&wrong), &["DATABASE_URL", said]);
        assert!(!chain(&wrong).contains("secret"), "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_had_when_it_is_asked_for_and_the_certificate_is_checked() {
    let server = Postgres::start();
    let stand = Stand::on(&server).await;
    let url = |rest: &str| format!("{}?{rest}", stand.url);
    let lax = StoreOptions { strict: false, ..strict() };
    let why = refused(&url("sslmode=require")).await;
    assert_tells(&why, &["connecting to the database", "TLS"]);
    // The server makes its own certificate, in its folder.
    let make = "COPY (SELECT '') TO PROGRAM 'umask 077; openssl req -x509 -nodes -days 2 -newkey ec
        -pkeyopt ec_paramgen_curve:prime256v1 -subj /CN=127.0.0.1
        -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE
        -keyout server.key -out server.crt 2> openssl.log'";
    server.sql("postgres", &make.replace('\n', " "));
    server.set("ssl", "on");
    let root = crate::world::folder();
    let root = root.path().join("root.crt");
    std::fs::write(&root, server.sql("postgres", "SELECT pg_read_file('server.crt')"))
        .expect("our own folder");
    let with_root = url(&format!("sslmode=verify-full&sslrootcert={}", root.display()));
    for url in [url("sslmode=require"), with_root] {
        let store = opened(&url, lax.clone())
            .await
            .unwrap_or_else(|fault| panic!("{url}: {}", chain(&fault)));
        let sql = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
            WHERE application_name = 'reservix' AND pg_stat_ssl.ssl";
        store.ping().await.expect("it answers");
        assert_eq!(server.sql("postgres", sql), "t", "{url}");
        store.close().await;
    }
    let why = refused(&url("sslmode=verify-full")).await;
    assert_tells(&why, &["connecting to the database", "certificate"]);
}
