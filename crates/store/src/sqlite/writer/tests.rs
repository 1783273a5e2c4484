use super::*;
use futures_util::FutureExt as _;
use std::panic::AssertUnwindSafe;

const DOING: &str = "testing";
const INSERT: &str = "INSERT INTO bookings (id) VALUES (?)";

/// A writer of a table with one row, 0.
async fn writer() -> (tempfile::TempDir, Writer) {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, wait) = (folder.path().join("test.db"), Duration::from_millis(100));
    let writer = Writer::open(&path, false, wait, &[], crate::clock::wall()).expect("it opens");
    let mut turn = writer.turn(DOING).await.expect("nobody else writes");
    let table = "CREATE TABLE bookings (id INTEGER PRIMARY KEY, n INTEGER) STRICT;
        INSERT INTO bookings (id) VALUES (0)";
    turn.connection().expect("it is open").execute_batch(table).expect("it is made");
    drop(turn);
    (folder, writer)
}

async fn ids(writer: &Writer) -> Vec<i64> {
    let mut turn = writer.turn(DOING).await.expect("it is somebody's turn again");
    let connection = turn.connection().expect("it is open");
    let mut found = connection.prepare("SELECT id FROM bookings ORDER BY id").expect("it is SQL");
    let ids = found.query_map((), |row| row.get(0)).expect("it answers");
    ids.collect::<Result<_, _>>().expect("integers")
}

#[tokio::test]
async fn what_fails_or_panics_is_rolled_back_and_the_next_one_writes() {
    let (_folder, writer) = writer().await;
    let refused = writer.write(DOING, |writing| {
        writing.run(DOING, INSERT, [1])?;
        writing.run(DOING, INSERT, [0]).map(drop)
    });
    assert!(matches!(refused.await, Err(Fault::Corrupt { .. })), "0 is there already");
    let panicking = writer.write(DOING, |writing| -> Result<(), Fault> {
        writing.run(DOING, INSERT, [2])?;
        panic!("a bug");
    });
    AssertUnwindSafe(panicking).catch_unwind().await.expect_err("a panic goes on");
    assert_eq!(ids(&writer).await, [0]);
    let written = writer.write(DOING, |writing| writing.run(DOING, INSERT, [3]));
    assert_eq!(written.await.expect("it answers"), 1);
    assert_eq!(ids(&writer).await, [0, 3]);
}

#[tokio::test]
async fn who_goes_away_has_it_written_all_the_same() {
    let (_folder, writer) = writer().await;
    let write = writer.write(DOING, |writing| writing.run(DOING, INSERT, [1]));
    assert!(write.now_or_never().is_none(), "it is under way on another thread");
    assert_eq!(ids(&writer).await, [0, 1]);
}

#[tokio::test]
#[should_panic(expected = "SCAN bookings")]
async fn a_statement_that_reads_a_whole_table_is_caught() {
    let (_folder, writer) = writer().await;
    let update = |writing: &Writing<'_>| writing.run(DOING, "UPDATE bookings SET n = 1", ());
    let _ = writer.write(DOING, update).await;
}

/// How long commits wait: 1 is NORMAL, 2 is FULL.
fn level(connection: &Connection) -> i64 {
    connection.query_row("PRAGMA synchronous", (), |row| row.get(0)).expect("it answers")
}

#[tokio::test]
async fn i11_commits_wait_for_the_disk_after_a_write_to_the_lists_whatever_became_of_it() {
    let (_folder, writer) = writer().await;
    let mut turn = writer.turn(DOING).await.expect("nobody else writes");
    let lists = |turn: &mut WriterGuard| {
        let lent = turn.connection_of_index().expect("it is open");
        lent.pragma_update(None, "synchronous", "NORMAL").expect("it is set");
        assert_eq!(level(&lent), 1);
    };
    lists(&mut turn);
    assert_eq!(level(turn.connection().expect("it is open")), 2);
    let panicking = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let lent = turn.connection_of_index().expect("it is open");
        lent.pragma_update(None, "synchronous", "NORMAL").expect("it is set");
        panic!("a bug");
    }));
    panicking.expect_err("a panic goes on");
    assert_eq!(level(turn.connection().expect("it is open")), 2);
    lists(&mut turn);
    let lent = turn.connection_of_index().expect("it is open");
    // SQLite does not change it inside a transaction.
    lent.execute_batch("PRAGMA synchronous = NORMAL; BEGIN").expect("it begins");
    drop(lent);
    assert!(turn.connection().is_none(), "nothing is written any more");
    drop(turn);
    assert!(writer.is_closed());
    assert!(writer.next_turn().await.is_none());
}
