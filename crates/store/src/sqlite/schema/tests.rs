use super::*;
use crate::slices::tests::options;
use std::path::Path;

/// A migration as the store notes it.
type Noted = (i64, String, bool, Vec<u8>);

/// What a file has of a schema, and which migrations it says to have.
fn schema_of(path: &Path) -> (Vec<[Option<String>; 4]>, Vec<Noted>) {
    const ALL: &str = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name, type";
    const APPLIED: &str = "SELECT version, description, success, checksum FROM _sqlx_migrations
        ORDER BY version";
    let file = rusqlite::Connection::open(path).expect("it opens");
    let mut all = file.prepare(ALL).expect("a statement");
    let all = all.query_map((), |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]));
    let all = all.expect("rows").map(|row| row.expect("a row")).collect();
    let mut applied = file.prepare(APPLIED).expect("a statement");
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
    let applied = applied.query_map((), row).expect("rows");
    (all, applied.map(|row| row.expect("a row")).collect())
}

#[tokio::test]
async fn a_new_store_has_the_schema_of_one_that_was_migrated_step_by_step() {
    let folder = tempfile::tempdir().expect("a folder");
    let other = tempfile::tempdir().expect("a folder");
    let (new, old) = (folder.path().join("reservix.db"), other.path().join("reservix.db"));
    let store = Sqlite::open(&new, options()).expect("opens");
    let made = store.migrate(None).await.expect("a schema");
    assert_eq!(made.len(), known().count());
    assert!(store.migrate(None).await.expect("the same").is_empty());

    let stepped = Sqlite::open(&old, options()).expect("opens");
    let pool = SqlitePoolOptions::new().connect_with(stepped.options.clone()).await;
    MIGRATOR.run(&pool.expect("it connects")).await.expect("all of them");
    assert_eq!(schema_of(&new), schema_of(&old));
    // What is made at once is a schema like another: it goes back, and forth again.
    store.migrate(Some(0)).await.expect("back");
    store.migrate(None).await.expect("forth");
    assert_eq!(schema_of(&new), schema_of(&old));
}

#[tokio::test]
async fn a_schema_that_cannot_be_made_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("reservix.db");
    let store = Sqlite::open(&path, options()).expect("opens");
    // Something is in the way of the last migration.
    let file = rusqlite::Connection::open(&path).expect("it opens");
    file.execute_batch("CREATE TABLE operators (thing TEXT)").expect("a table");
    store.migrate(None).await.expect_err("there is such a table");
    let count = "SELECT COUNT(*) FROM sqlite_master";
    let count: i64 = file.query_row(count, (), |row| row.get(0)).expect("a number");
    assert_eq!(count, 1, "the table that was in the way");
    file.execute_batch("DROP TABLE operators").expect("it goes");
    store.migrate(None).await.expect("a schema");
}
