//! The embedded store alone: its file, its lock, its schema, and what an audit finds in it.

use crate::world::{self, open_sqlite, options, sqlite_url};
use engine::account::{RefreshToken, User};
use engine::audit::Report;
use engine::{
    Booking, By, Command, EventId, Fault, Hold, IdempotencyKey, Outcome, Overrides, Refusal,
    SeatRequest, SectionId, UserId,
};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection, Row, SqliteConnection};
use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::{BookingFilter, CreationKey, PageRequest, Store, StoreOptions, open_store};
use suite::world::{ManualClock, Mint, POLICY, opened};
use tempfile::TempDir;
use uuid::Uuid;

/// A file that a store keeps, with a section of 10 seats: one sale of 2, one hold of 1.
struct Fixture {
    _folder: TempDir,
    path: PathBuf,
    clock: ManualClock,
    mint: Mint,
    store: Arc<dyn Store>,
    event_id: EventId,
    section_id: SectionId,
    sold: Booking,
    held: Booking,
}

impl Fixture {
    async fn new() -> Self {
        let (folder, clock) = (world::folder(), ManualClock::new());
        let path = folder.path().join("reservix.db");
        let store = open_sqlite(&path, POLICY, &clock).await;
        let mint = Mint::new(&clock);
        let mut new = mint.event_on_sale(mint.user());
        let event_id = new.event.terms.event_id;
        new.sections.push(mint.section_of(event_id, "A"));
        let section_id = new.sections[0].section_id;
        store
            .create_event(&new, suite::world::owner(&new), &opened(&[10]), None)
            .await
            .expect("recorded");
        let sold = hold(&*store, keyed(&mint, event_id, section_id, 2)).await;
        let held = hold(&*store, keyed(&mint, event_id, section_id, 1)).await;
        clock.advance_ms(1);
        let (booking_id, user_id) = (sold.booking_id, sold.user_id);
        store
            .commit(&[Command::Confirm { booking_id, by: By::User(user_id) }])
            .await
            .expect("it answers");
        let sold = store.booking(booking_id).await.expect("it answers").expect("it is kept");
        Self { _folder: folder, path, clock, mint, store, event_id, section_id, sold, held }
    }

    /// Does to the file what no code of ours does.
    async fn raw(&self, sql: &str) -> Result<u64, sqlx::Error> {
        let mut connection = raw(&self.path).await;
        // No `;` ends a statement of ours but the last.
        let done = sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await?;
        connection.close().await?;
        Ok(done.rows_affected())
    }
}

async fn raw(path: &Path) -> SqliteConnection {
    let connect = SqliteConnectOptions::new().filename(path).foreign_keys(true);
    SqliteConnection::connect_with(&connect).await.expect("the file can be opened")
}

fn keyed(mint: &Mint, event_id: EventId, section_id: SectionId, seats: u32) -> Hold {
    let key = IdempotencyKey::new("k1").expect("visible characters");
    Hold {
        booking_id: mint.booking(event_id),
        user_id: mint.user(),
        seller: None,
        overrides: Overrides::NONE,
        event_id,
        requests: vec![SeatRequest::Count { section_id, seats }],
        key: Some((key, 1)),
    }
}

async fn hold(store: &dyn Store, hold: Hold) -> Booking {
    let mut committed = store.commit(&[Command::Hold(hold)]).await.expect("it answers");
    match committed.answers.pop() {
        Some(Ok(Outcome::Booking { booking, .. })) => booking,
        other => panic!("expected a booking, got {other:?}"),
    }
}

fn read_only(clock: &ManualClock) -> StoreOptions {
    StoreOptions { read_only: true, ..options(POLICY, clock) }
}

async fn refused(url: &str, options: StoreOptions) -> String {
    match open_store(url, options).await {
        Ok(_) => panic!("{url} was opened"),
        Err(fault) => chain(&fault),
    }
}

/// A fault with all that lies beneath it.
fn chain(fault: &Fault) -> String {
    let causes = std::iter::successors(fault.source(), |&cause| cause.source());
    causes.fold(fault.to_string(), |text, cause| format!("{text}: {cause}"))
}

async fn audit(store: &dyn Store) -> Report {
    store.audit().await.expect("it answers")
}

#[tokio::test]
async fn a_second_process_on_the_same_file_is_refused_until_the_first_has_closed_it() {
    let kept = Fixture::new().await;
    let url = sqlite_url(&kept.path);
    let why = refused(&url, options(POLICY, &kept.clock)).await;
    for part in ["another process serves this database", store::LOCK_FILE, "DATA_DIR"] {
        assert!(why.contains(part), "{part:?} is not in {why:?}");
    }
    assert!(audit(&*kept.store).await.is_clean(), "the first one is not disturbed");
    kept.store.close().await;
    // Closed is enough, even while somebody still has the closed store in hand.
    let again = open_store(&url, options(POLICY, &kept.clock)).await.expect("nobody serves it");
    assert_eq!(audit(&*again).await.bookings, 2);
    kept.store.ping().await.expect_err("it is closed");
}

#[tokio::test]
async fn a_read_only_store_audits_beside_a_running_one_and_writes_nothing() {
    let kept = Fixture::new().await;
    let url = sqlite_url(&kept.path);
    let beside = open_store(&url, read_only(&kept.clock)).await.expect("it only reads");
    assert_eq!(audit(&*beside).await.bookings, 2);
    hold(&*kept.store, keyed(&kept.mint, kept.event_id, kept.section_id, 1)).await;
    let report = audit(&*beside).await;
    assert_eq!((report.is_clean(), report.bookings), (true, 3), "it sees the last commit");
    let batch = [Command::Hold(keyed(&kept.mint, kept.event_id, kept.section_id, 1))];
    beside.commit(&batch).await.expect_err("it only reads");
    assert!(beside.migrations().await.expect("it answers").iter().all(|(_, applied)| *applied));
    beside.close().await;
    hold(&*kept.store, keyed(&kept.mint, kept.event_id, kept.section_id, 1)).await;
    // The same when nobody serves the file.
    kept.store.close().await;
    let alone = open_store(&url, read_only(&kept.clock)).await.expect("it only reads");
    assert_eq!(audit(&*alone).await.bookings, 4);
}

#[tokio::test]
async fn a_read_only_store_that_is_not_there_is_refused_and_not_made() {
    let (folder, clock) = (world::folder(), ManualClock::new());
    let path = folder.path().join("missing").join("reservix.db");
    refused(&sqlite_url(&path), read_only(&clock)).await;
    assert!(!path.parent().expect("it has one").exists());
}

#[tokio::test]
async fn a_store_in_a_missing_folder_is_made_with_it() {
    let (folder, clock) = (world::folder(), ManualClock::new());
    let path = folder.path().join("a").join("b c").join("reservix.db");
    let url = format!("sqlite://{}", path.display());
    let store = open_store(&url, options(POLICY, &clock)).await.expect("the folder is made");
    store.migrate(None).await.expect("the schema is made");
    assert!(path.exists());
    let mut connection = raw(&path).await;
    let mode = sqlx::query("PRAGMA journal_mode").fetch_one(&mut connection).await;
    assert_eq!(mode.expect("it answers").get::<String, _>(0), "wal");
}

#[tokio::test]
async fn a_store_nobody_has_is_refused_without_telling_secrets() {
    let url = "mysql://user:secret@host/reservix";
    let why = refused(url, options(POLICY, &ManualClock::new())).await;
    assert!(why.contains("DATABASE_URL") && why.contains("mysql"), "{why}");
    assert!(!why.contains("secret"), "{why}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let (folder, clock) = (world::folder(), ManualClock::new());
    let path = folder.path().join("reservix.db");
    std::fs::write(&path, "this is a letter and no database, whatever its name says".repeat(99))
        .expect("it can be written");
    let why = refused(&sqlite_url(&path), options(POLICY, &clock)).await;
    assert!(why.contains("opening the database file"), "{why}");
}

#[tokio::test]
async fn i11_everything_is_there_when_the_file_is_opened_again_closed_or_not() {
    for closes in [true, false] {
        let kept = Fixture::new().await;
        let user = User {
            user_id: kept.mint.user(),
            email: "ada@example.org".to_owned(),
            name: None,
            password_hash: "$argon2id$".to_owned(),
            created_at: kept.clock.now(),
        };
        kept.store.create_user(&user).await.expect("the address is free");
        let token = token(&user, kept.clock.now());
        let opened = kept.store.open_family(&token, &user.password_hash).await;
        assert!(opened.expect("it answers").is_some());
        let key = IdempotencyKey::new("k1").expect("visible characters");
        let creation = CreationKey { user_id: user.user_id, key, fingerprint: 1 };
        let new = kept.mint.event_on_sale(user.user_id);
        let event = kept
            .store
            .create_event(&new, suite::world::owner(&new), &[], Some(&creation))
            .await
            .expect("recorded");
        let reckoning =
            kept.store.reckon(engine::log::Position::default()).await.expect("it answers");
        let Fixture { store, path, clock, sold, held, mint, event_id, section_id, _folder } = kept;
        if closes {
            store.close().await;
        }
        // Without closing, the connections end like those of a process that dies.
        drop(store);

        let store = open_when_free(&path, &clock).await;
        let filter = BookingFilter { user: None, event: None, status: None };
        let page = PageRequest { after: None, limit: 9 };
        let bookings = store.bookings(&filter, page).await.expect("it answers");
        assert_eq!(bookings.items, [held, sold.clone()]);
        let again = store.reckon(engine::log::Position::default()).await.expect("it answers");
        assert_eq!(again.inventories, reckoning.inventories);
        assert!(audit(&*store).await.is_clean());
        assert_eq!(store.user(user.user_id).await.expect("it answers"), Some(user));
        let replayed = store
            .create_event(&new, suite::world::owner(&new), &[], Some(&creation))
            .await
            .expect("a retry");
        assert_eq!((replayed.id, replayed.replayed), (event.id, true));
        let next = ([2; 32], clock.now().plus_ms(1));
        store.rotate(&token.token_hash, next).await.expect("the login goes on");
        let retry = Hold { user_id: sold.user_id, ..keyed(&mint, event_id, section_id, 2) };
        assert_eq!(hold(&*store, retry).await, sold);
    }
}

fn token(user: &User, now: engine::Timestamp) -> RefreshToken {
    RefreshToken {
        token_hash: [1; 32],
        family_id: Uuid::from_u128(1),
        user_id: user.user_id,
        expires_at: now.plus_ms(1_000),
        spent_at: None,
    }
}

/// Opens a file whose store was dropped a moment ago.
async fn open_when_free(path: &Path, clock: &ManualClock) -> Arc<dyn Store> {
    for _ in 0..500 {
        if let Ok(store) = open_store(&sqlite_url(path), options(POLICY, clock)).await {
            return store;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the file is still locked");
}

#[tokio::test]
async fn i5_the_clock_is_read_after_the_wait_for_the_lock() {
    let kept = Fixture::new().await;
    let mut other = raw(&kept.path).await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.expect("nobody else writes");
    let (booking_id, user_id) = (kept.held.booking_id, kept.held.user_id);
    let store = kept.store.clone();
    let runtime = tokio::runtime::Handle::current();
    // On a thread that it may block.
    let waiting = tokio::task::spawn_blocking(move || {
        let confirm = [Command::Confirm { booking_id, by: By::User(user_id) }];
        runtime.block_on(store.commit(&confirm))
    });
    // Long enough for the batch to stand before the lock, while its hold dies.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    kept.clock.advance_ms(600_000);
    assert!(!waiting.is_finished(), "the batch waits for the lock");
    sqlx::query("ROLLBACK").execute(&mut other).await.expect("the lock is let go");
    let committed = waiting.await.expect("it ends").expect("it answers");
    let expired_at = kept.held.expires_at;
    assert_eq!(committed.answers, [Err(Refusal::HoldExpired { expired_at })]);
    assert_eq!(committed.now, kept.clock.now());
}

/// The schema in SQL, as the database keeps it.
async fn schema(path: &Path) -> Vec<(String, Option<String>)> {
    let mut connection = raw(path).await;
    let sql = "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE '%sqlx%'
        AND name NOT LIKE 'sqlite_sequence' ORDER BY name";
    let rows = sqlx::query(sql).fetch_all(&mut connection).await.expect("it answers");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test]
async fn the_schema_is_the_same_after_going_down_and_up_again() {
    let kept = Fixture::new().await;
    let before = schema(&kept.path).await;
    assert!(before.len() > 20, "tables and indexes: {before:?}");
    kept.store.migrate(Some(0)).await.expect("it goes down");
    assert_eq!(schema(&kept.path).await, []);
    kept.store.migrate(None).await.expect("it goes up");
    assert_eq!(schema(&kept.path).await, before);
}

#[tokio::test]
async fn every_constraint_of_the_schema_is_in_force() {
    let kept = Fixture::new().await;
    let nobody = kept.mint.user();
    let id = |id: UserId| format!("x'{}'", id.uuid().simple());
    let event = format!("x'{}'", kept.event_id.uuid().simple());
    let insert_section = |name: &str, position: i64, price: i64| {
        format!(
            "INSERT INTO sections
             VALUES ({}, {event}, {position}, '{name}', '{name}', {price}, 'USD', NULL, NULL, NULL)",
            id(nobody)
        )
    };
    let user = |email: &str| {
        format!(
            "INSERT INTO users VALUES ({}, '{email}', '{email}', NULL, '', 0, NULL)",
            id(kept.mint.user())
        )
    };
    kept.raw(&user("ada@example.org")).await.expect("the address is free");
    let cases = [
        // I1
        ("UPDATE inventory SET held = -1".to_owned(), "inventory_within_capacity"),
        ("UPDATE inventory SET sold = -1".to_owned(), "inventory_within_capacity"),
        ("UPDATE inventory SET blocked = -1".to_owned(), "inventory_within_capacity"),
        ("UPDATE inventory SET sold = 10".to_owned(), "inventory_within_capacity"),
        ("UPDATE inventory SET blocked = 8".to_owned(), "inventory_within_capacity"),
        ("UPDATE inventory SET capacity = 2".to_owned(), "inventory_within_capacity"),
        // I5
        (
            "UPDATE bookings SET confirmed_at = expires_at".to_owned(),
            "bookings_confirmed_before_expiry",
        ),
        (
            "UPDATE bookings SET expires_at = confirmed_at WHERE confirmed_at IS NOT NULL"
                .to_owned(),
            "bookings_confirmed_before_expiry",
        ),
        // I6
        (
            "INSERT INTO hold_keys SELECT user_id, key, x'00', 2 FROM hold_keys".to_owned(),
            "UNIQUE constraint failed: hold_keys.user_id, hold_keys.key",
        ),
        // I3
        (
            "INSERT INTO seats_taken VALUES (x'00', 'A-1', x'01'), (x'00', 'A-1', x'02')"
                .to_owned(),
            "UNIQUE constraint failed: seats_taken.section_id, seats_taken.seat",
        ),
        ("UPDATE bookings SET status = 'SOLD'".to_owned(), "bookings_status_known"),
        ("UPDATE bookings SET seats = 0".to_owned(), "bookings_seats_positive"),
        ("UPDATE events SET status = 'over'".to_owned(), "events_status_known"),
        ("UPDATE booking_log SET event_id = x'00'".to_owned(), "booking_log_of_one"),
        (insert_section("B", 1, -1), "sections_price_not_negative"),
        (
            insert_section("a", 1, 1).replace("NULL, NULL, NULL)", "NULL, 'key', NULL)"),
            "UNIQUE constraint failed: sections.event_id, sections.name_folded",
        ),
        (
            insert_section("B", 0, 1),
            "UNIQUE constraint failed: sections.event_id, sections.position",
        ),
        (
            user("ada@example.org").replace(", 0, NULL)", ", 0, 'key')"),
            "UNIQUE constraint failed: users.email_folded",
        ),
        (
            user("other@example.org").replace(", 0, NULL)", ", 0, 'ada@example.org')"),
            "UNIQUE constraint failed: index 'users_email_key_unique'",
        ),
        (
            insert_section("B", 1, 1).replace("NULL, NULL, NULL)", "NULL, 'a', NULL)"),
            "UNIQUE constraint failed: index 'sections_name_key_unique'",
        ),
        ("DELETE FROM sections".to_owned(), "FOREIGN KEY constraint failed"),
        ("DELETE FROM events".to_owned(), "FOREIGN KEY constraint failed"),
        (
            "UPDATE inventory SET held = 'one'".to_owned(),
            "cannot store TEXT value in INTEGER column",
        ),
    ];
    for (sql, constraint) in cases {
        let error = kept.raw(&sql).await.expect_err(&sql).to_string();
        assert!(error.contains(constraint), "{sql}: {error}");
    }
    assert!(audit(&*kept.store).await.is_clean());
}

#[tokio::test]
async fn the_audit_reports_what_was_changed_behind_its_back() {
    let cases = [
        ("I4", "UPDATE inventory SET sold = sold + 1"),
        ("I4", "UPDATE inventory SET held = held - 1"),
        ("I4", "UPDATE inventory SET version = version + 1"),
        ("I4", "UPDATE booking_log SET held = 2 WHERE kind = 'held' AND held = 1"),
        ("I4", "DELETE FROM booking_log WHERE kind = 'opened'"),
        ("I1", "UPDATE booking_log SET capacity = 1 WHERE kind = 'opened'"),
        ("I2", "UPDATE bookings SET status = 'EXPIRED' WHERE status = 'HOLD'"),
        ("I2", "UPDATE bookings SET status = 'HOLD' WHERE status = 'CONFIRMED'"),
        ("I2", "UPDATE booking_log SET kind = 'resized' WHERE kind = 'confirmed'"),
        ("I5", "UPDATE bookings SET expires_at = expires_at + 1 WHERE status = 'HOLD'"),
        ("I5", "UPDATE booking_log SET at = at + 600000 WHERE kind = 'confirmed'"),
        ("I7", "DELETE FROM bookings WHERE status = 'HOLD'"),
        ("I7", "DELETE FROM booking_log WHERE kind = 'held' AND held = 1"),
        ("I4", "DELETE FROM inventory"),
        ("index", "INSERT INTO list_segments (segment, bookings, through) VALUES (9, 1, 0)"),
        (
            "index",
            "INSERT INTO list_segments (segment, bookings, through) SELECT 9, 0, MAX(seq) FROM booking_log",
        ),
        ("I4", "UPDATE bookings SET items = replace(items, '\"seats\":1', '\"seats\":2')"),
    ];
    for (invariant, sql) in cases {
        let kept = Fixture::new().await;
        assert!(audit(&*kept.store).await.is_clean());
        assert!(kept.raw(sql).await.expect(sql) > 0, "{sql} changes nothing");
        let report = audit(&*kept.store).await;
        let found = report.told.iter().any(|violation| violation.invariant == invariant);
        assert!(found, "{sql}: no {invariant} in {:?}", report.told);
    }
}

#[tokio::test]
async fn the_reckoning_shows_counters_that_drift_from_the_log() {
    let kept = Fixture::new().await;
    kept.raw("UPDATE inventory SET sold = sold + 1").await.expect("it can be done");
    let reckoning = kept.store.reckon(engine::log::Position::default()).await.expect("it answers");
    let drift = engine::audit::drift(&reckoning.folded[0], &reckoning.inventories[0]);
    assert!(drift.is_some_and(|what| what.contains("(10, 1, 3, 0, 4)")));
}

/// Debug builds ask for the plan of each list of values (`sqlite/rows.rs`): how SQLite joins it depends
/// on its length.
#[tokio::test]
async fn a_batch_of_any_size_is_found_by_index() {
    let kept = Fixture::new().await;
    let mut new = kept.mint.event_on_sale(kept.mint.user());
    let event_id = new.event.terms.event_id;
    for name in 0..512 {
        new.sections.push(kept.mint.section_of(event_id, &name.to_string()));
    }
    let sections: Vec<_> = new.sections.iter().map(|section| section.section_id).collect();
    let opened = opened(&[1_000; 512]);
    kept.store
        .create_event(&new, suite::world::owner(&new), &opened, None)
        .await
        .expect("recorded");
    for size in [1, 2, 64, 128, 256, 512] {
        let of = |n: usize| keyed(&kept.mint, event_id, sections[n], 1);
        let holds: Vec<_> = (0..size).map(|n| Command::Hold(of(n))).collect();
        let held = kept.store.commit(&holds).await.expect("it answers");
        assert_eq!(held.bookings.len(), size);
        kept.clock.advance_ms(1);
        let confirm = |booking: &Booking| Command::Confirm {
            booking_id: booking.booking_id,
            by: By::User(booking.user_id),
        };
        let confirms: Vec<_> = held.bookings.iter().map(confirm).collect();
        let sold = kept.store.commit(&confirms).await.expect("it answers");
        assert!(sold.answers.iter().all(Result::is_ok), "{:?}", sold.answers);
    }
}
