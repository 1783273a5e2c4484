//! Migrations, by several instances at once.

use super::{Stand, open};
use crate::world::{options, sqlite};
use std::collections::BTreeSet;
use std::path::Path;
use store::open_store;
use suite::world::{ManualClock, Mint, POLICY};

/// The files of the migrations of a store.
fn files(kind: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations").join(kind);
    let files = std::fs::read_dir(folder).expect("a folder of the repository");
    files.map(|file| file.expect("it").file_name().into_string().expect("text")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_instances_migrate_an_empty_database_at_once() {
    let clock = ManualClock::new();
    let url = testbed::postgres::shared().create_database();
    let stand = Stand::at(url.clone(), clock.clone(), true).await;
    let instances = (0..10).map(|_| {
        let (url, clock) = (url.clone(), clock.clone());
        tokio::spawn(async move {
            let store = open(&url, POLICY, &clock).await;
            let applied = store.migrate(None).await.expect("it waits for its turn");
            store.close().await;
            applied
        })
    });
    let mut applied = Vec::new();
    for instance in instances.collect::<Vec<_>>() {
        applied.extend(instance.await.expect("no panic"));
    }
    let known = stand.store.migrations().await.expect("it answers");
    assert!(known.iter().all(|(_, applied)| *applied));
    let known: Vec<_> = known.into_iter().map(|(step, _)| step).collect();
    assert_eq!(applied, known, "each step was taken once");
    let sale = stand.sale(&[3]).await;
    stand.held(&sale, &[(0, 1)]).await;
    stand.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_is_the_same_after_going_down_and_up_again() {
    const SCHEMA: &str = "SELECT concat_ws(' ', table_name, column_name, data_type, is_nullable)
            FROM information_schema.columns WHERE table_schema = 'public'
        UNION SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
        UNION SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
            WHERE connamespace = 'public'::regnamespace
        UNION SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace";
    let clock = ManualClock::new();
    let url = testbed::postgres::shared().create_database();
    let stand = Stand::at(url, clock, true).await;
    stand.store.migrate(None).await.expect("up");
    let mut raw = stand.raw().await;
    let before: BTreeSet<_> = raw.texts(SCHEMA).await.into_iter().collect();
    assert!(before.len() > 100, "{before:?}");
    let known = stand.store.migrations().await.expect("it answers");
    let mut down = stand.store.migrate(Some(0)).await.expect("down");
    down.sort_by_key(|step| step.version);
    assert_eq!(down, known.into_iter().map(|(step, _)| step).collect::<Vec<_>>());
    let left = raw.texts(SCHEMA).await;
    assert!(left.iter().all(|line| line.contains("_sqlx_migrations")), "{left:?}");
    stand.store.migrate(None).await.expect("up again");
    assert_eq!(raw.texts(SCHEMA).await.into_iter().collect::<BTreeSet<_>>(), before);
    let sale = stand.sale(&[3]).await;
    stand.held(&sale, &[(0, 1)]).await;
    stand.assert_sound().await;
}

#[tokio::test]
async fn both_stores_have_the_same_migrations() {
    assert_eq!(files("postgres"), files("sqlite"));
    let stand = Stand::new().await;
    let embedded = sqlite(POLICY, &stand.clock).await;
    let known = stand.store.migrations().await.expect("it answers");
    assert_eq!(known, embedded.store.migrations().await.expect("it answers"));
}

#[tokio::test]
async fn a_store_without_its_schema_opens_and_answers_with_a_fault() {
    let (clock, url) = (ManualClock::new(), testbed::postgres::shared().create_database());
    let stand = Stand::at(url.clone(), clock.clone(), true).await;
    let store = open_store(&url, options(POLICY, &clock)).await.expect("it opens");
    store.ping().await.expect("it answers");
    let unknown = Mint::new(&clock).event();
    store.event(unknown).await.expect_err("there is no table of events");
    store.close().await;
    assert!(stand.store.migrations().await.expect("it answers").iter().all(|(_, on)| !on));
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_go_on_when_a_later_version_adds_columns() {
    let stand = Stand::new().await;
    let sale = stand.sale(&[9]).await;
    let use_all = async || {
        let held = stand.held(&sale, &[(0, 1)]).await;
        let found = stand.store.booking(held.booking_id).await.expect("the store answers");
        assert_eq!(found, Some(held));
        let found = stand.store.event(sale.event_id).await.expect("the store answers");
        assert_eq!(found.expect("it is there").sections.len(), 1);
    };
    use_all().await;
    let mut raw = stand.raw().await;
    for table in ["events", "sections", "inventory", "bookings"] {
        raw.run(format!("ALTER TABLE {table} ADD COLUMN of_a_later_version text")).await;
    }
    for _ in 0..3 {
        use_all().await;
    }
    stand.assert_sound().await;
}

#[tokio::test]
async fn what_an_older_instance_changes_leaves_no_key_of_what_it_was() {
    let stand = Stand::new().await;
    let (user, other) = (stand.user("straße@example.org"), stand.user("STRASSE@example.org"));
    stand.store.create_user(&user).await.expect("the address is free");
    let found = stand.store.user_by_email("strasse@example.org").await.expect("it answers");
    assert_eq!(found.map(|found| found.user_id), Some(user.user_id));
    // It knows the lower case alone.
    let sql = "UPDATE users SET email = 'new@example.org', email_folded = 'new@example.org'";
    stand.raw().await.run(sql).await;
    let found = async |email| stand.store.user_by_email(email).await.expect("it answers");
    assert_eq!(found("strasse@example.org").await, None);
    assert!(found("NEW@example.org").await.is_some());
    stand.store.create_user(&other).await.expect("the address is free again");
}
