//! The audit of numbered seats: whatever is changed behind its back, it finds.

use super::Hall;
use crate::raw::Raw;
use crate::world::{self};
use engine::Overrides;
use engine::seats::{SeatIndex, SeatMap};
use suite::halls::plain;
use suite::world::{ManualClock, POLICY};

/// What is changed in the rows of the hall; `{section}`, `{held}` and `{sold}` are ids.
const ROWS: [&str; 15] = [
    "DELETE FROM seats_taken WHERE seat = 'A-1'",
    "DELETE FROM seats_taken WHERE seat = 'A-6'",
    "DELETE FROM seats_taken",
    "INSERT INTO seats_taken VALUES ({section}, 'A-3', {held})",
    "INSERT INTO seats_taken VALUES ({section}, 'A-3', NULL)",
    "INSERT INTO seats_taken VALUES ({section}, 'Z-9', {sold})",
    "INSERT INTO seats_taken VALUES ({counted}, 'A-1', {held})",
    "UPDATE seats_taken SET seat = 'A-3' WHERE seat = 'A-1'",
    "UPDATE seats_taken SET seat = 'A-3' WHERE seat = 'A-6'",
    "UPDATE seats_taken SET booking_id = {sold} WHERE seat = 'A-1'",
    "UPDATE seats_taken SET booking_id = NULL WHERE seat = 'B-1'",
    "UPDATE seats_taken SET booking_id = {sold} WHERE seat = 'A-6'",
    "DELETE FROM seat_marks",
    "UPDATE seat_marks SET marks = substr(marks, 1, 9)",
    "DELETE FROM layouts",
];

/// What is changed in the items of the bookings.
const ITEMS: [(&str, &str); 5] = [
    (r#"["A-1","A-2"]"#, r#"["A-1","A-3"]"#),
    (r#"["A-1","A-2"]"#, r#"["A-1","B-1"]"#),
    (r#"["A-1","A-2"]"#, r#"["A-1"]"#),
    (r#"["B-1","B-2"]"#, "[]"),
    (r#"["B-1","B-2"]"#, r#"["B-1","Z-9"]"#),
];

type Damage = fn(&mut SeatMap);

/// What is changed in the marks. Seats 0 and 1 are held, 5 and 11 blocked, 6 and 7 sold.
const MARKS: [(&str, Damage); 10] = [
    ("a free seat is held", |map| hold(map, &[2])),
    ("a free seat is sold", |map| {
        hold(map, &[2]);
        map.sell(&[2]);
    }),
    ("a free seat is blocked", |map| map.block(&[2]).expect("it is free")),
    ("a held seat is free", |map| map.free(&[0])),
    ("a held seat is sold", |map| map.sell(&[0])),
    ("a held seat is blocked", |map| {
        map.free(&[0]);
        map.block(&[0]).expect("it is free");
    }),
    ("a sold seat is free", |map| map.free(&[6])),
    ("a sold seat is held", |map| {
        map.free(&[6]);
        hold(map, &[6]);
    }),
    ("a blocked seat is free", |map| map.unblock(&[5])),
    ("another seat is blocked", |map| {
        map.unblock(&[5]);
        map.block(&[4]).expect("it is free");
    }),
];

fn hold(map: &mut SeatMap, seats: &[SeatIndex]) {
    map.hold(seats).expect("they are free");
}

async fn is_found(hall: &Hall, raw: &mut Raw, sql: &str) {
    assert!(raw.run(sql).await > 0, "{sql} changes nothing");
    let broken = hall.broken().await;
    assert!(broken.contains(&"I3"), "{sql}: no I3 in {broken:?}");
}

/// Changes a hall in every way there is, one after the other, and puts it right again in between.
async fn everything_is_found(open: impl AsyncFn(&ManualClock) -> world::Fresh) {
    let clock = ManualClock::new();
    let hall = Hall::new(open(&clock).await, clock.clone()).await;
    let mut raw = Raw::of(&hall.fresh).await;
    for table in ["seats_taken", "seat_marks", "layouts"] {
        raw.run(&format!("CREATE TABLE sound_{table} AS SELECT * FROM {table}")).await;
    }
    let ids = [
        ("{section}", raw.id(hall.numbered)),
        ("{counted}", raw.id(hall.counted)),
        ("{held}", raw.id(hall.held.booking_id)),
        ("{sold}", raw.id(hall.sold.booking_id)),
    ];
    for sql in ROWS {
        let sql = ids.iter().fold(sql.to_owned(), |sql, (name, id)| sql.replace(name, id));
        is_found(&hall, &mut raw, &sql).await;
        put_right(&mut raw).await;
        hall.assert_sound().await;
    }
    let marks = hall.fresh.store.marks(hall.numbered).await.expect("the store answers");
    let marks = marks.expect("it has some");
    for (name, damage) in MARKS {
        let mut map = SeatMap::new(plain("A-B", 6), marks.clone()).expect("of this layout");
        damage(&mut map);
        let bytes = raw.bytes(&map.marks().to_bytes());
        println!("{name}");
        is_found(&hall, &mut raw, &format!("UPDATE seat_marks SET marks = {bytes}")).await;
        put_right(&mut raw).await;
        hall.assert_sound().await;
    }
    for (from, to) in ITEMS {
        let edit = |from, to| {
            format!(
                "UPDATE bookings SET items = replace(items, '{from}', '{to}')
                 WHERE items LIKE '%{from}%'"
            )
        };
        is_found(&hall, &mut raw, &edit(from, to)).await;
        raw.run(&edit(to, from)).await;
        hall.assert_sound().await;
    }
}

async fn put_right(raw: &mut Raw) {
    for table in ["seats_taken", "seat_marks", "layouts"] {
        raw.run(&format!("DELETE FROM {table}")).await;
        raw.run(&format!("INSERT INTO {table} SELECT * FROM sound_{table}")).await;
    }
}

#[tokio::test]
async fn i3_the_audit_of_sqlite_finds_what_was_changed_of_seats() {
    everything_is_found(async |clock| world::sqlite(POLICY, clock).await).await;
}

#[tokio::test]
async fn i3_the_audit_of_postgres_finds_what_was_changed_of_seats() {
    everything_is_found(async |clock| world::postgres(POLICY, clock).await).await;
}

/// Marks that differ from the rest are rebuilt by the batch that meets them; where rows and bookings
/// differ, too, the section sells nothing until it is repaired. Nothing of it is ever a bug's fault.
async fn what_differs_is_rebuilt_or_repaired(fresh: world::Fresh, clock: ManualClock) {
    use engine::{Command, Fault, Hold, Refusal, SeatRequest};
    let hall = Hall::new(fresh, clock).await;
    let store = &hall.fresh.store;
    let mut raw = Raw::of(&hall.fresh).await;
    let asking = |ask: SeatRequest| {
        Command::Hold(Hold {
            booking_id: hall.mint.booking(hall.event_id),
            user_id: hall.mint.user(),
            seller: None,
            overrides: Overrides::NONE,
            event_id: hall.event_id,
            requests: vec![ask],
            key: None,
        })
    };
    let hold = |seat: &str| {
        asking(SeatRequest::Seats { section_id: hall.numbered, seats: vec![seat.into()] })
    };
    // The marks say that A-1 is free, its row says who has it, and no number of seats tells.
    let marks = store.marks(hall.numbered).await.expect("the store answers");
    let mut map = SeatMap::new(plain("A-B", 6), marks.expect("some")).expect("of this layout");
    map.free(&[0]);
    map.hold(&[2]).expect("A-3 is free");
    map.stamp(1_000);
    let bytes = raw.bytes(&map.marks().to_bytes());
    raw.run(&format!("UPDATE seat_marks SET version = 1000, marks = {bytes}")).await;
    let committed = store.commit(&[hold("A-1")]).await.expect("the marks are rebuilt");
    assert!(matches!(committed.answers[0], Err(Refusal::SeatsUnavailable { .. })));
    assert_eq!(committed.rebuilt, [hall.numbered]);
    hall.assert_sound().await;

    // Marks that are missing, unreadable, or of another number of seats.
    for (at, sql) in [
        "DELETE FROM seat_marks",
        "UPDATE seat_marks SET version = 999, marks = {empty}",
        "UPDATE seat_marks SET version = 998, marks = {small}",
    ]
    .into_iter()
    .enumerate()
    {
        let small = SeatMap::empty(plain("A", 3), (1, 998)).marks().to_bytes();
        let sql = sql.replace("{empty}", &raw.bytes(&[]));
        raw.run(&sql.replace("{small}", &raw.bytes(&small))).await;
        let seat = ["A-3", "A-4", "A-5"][at];
        let committed = store.commit(&[hold(seat)]).await.expect("the marks are rebuilt");
        assert!(committed.answers[0].is_ok(), "{:?}", committed.answers);
        assert_eq!(committed.rebuilt, [hall.numbered]);
        hall.assert_sound().await;
    }

    // The row of a sold seat is gone: bookings and rows disagree.
    raw.run("DELETE FROM seats_taken WHERE seat = 'B-1'").await;
    let (booking_id, by) = (hall.sold.booking_id, engine::By::System);
    let cancel = || Command::Cancel { booking_id, by };
    for command in [cancel(), cancel()] {
        let fault = store.commit(&[command]).await.expect_err("there is no row to remove");
        assert!(matches!(fault, Fault::Contradiction { .. }), "{fault:?}");
    }
    let stored = store.booking(booking_id).await.expect("the store answers");
    assert_eq!(stored.map(|of| of.status), Some(engine::BookingStatus::Confirmed));
    // Counters that have drifted, and an index of expiry without its holds.
    raw.run("UPDATE inventory SET held = held + 1 WHERE capacity = 12").await;
    raw.run("DELETE FROM holds").await;
    let told = store.repair(hall.numbered, true).await.expect("bookings and log agree");
    assert!(told.iter().any(|line| line.starts_with("held changes ")), "{told:?}");
    assert!(!hall.broken().await.is_empty(), "a dry run changes nothing");
    assert_eq!(store.repair(hall.numbered, false).await.expect("they agree"), told);
    assert_eq!(store.repair(hall.numbered, false).await.expect("they agree"), [""; 0]);
    store.repair(hall.counted, false).await.expect("they agree");
    hall.assert_sound().await;
    let committed = store.commit(&[cancel(), hold("B-1")]).await.expect("nothing is in the way");
    assert!(committed.answers.iter().all(Result::is_ok), "{:?}", committed.answers);
    assert!(committed.rebuilt.is_empty());
    hall.assert_sound().await;

    // Two bookings with one seat: nobody can say whose it is.
    let sql = r#"UPDATE bookings SET items = replace(items, '"A-2"', '"A-3"')"#;
    raw.run(&format!("{sql} WHERE status = 'HOLD'")).await;
    let fault = store.repair(hall.numbered, false).await.expect_err("bookings disagree");
    let engine::Error::Failed(Fault::Contradiction { what, .. }) = fault else {
        panic!("{fault:?}");
    };
    assert!(what.contains("seat A-3 is in "), "{what}");
    let unknown = store.repair(hall.mint.section_of(hall.event_id, "X").section_id, true).await;
    assert!(matches!(unknown, Err(engine::Error::Refused(Refusal::NotFound { .. }))));
}

#[tokio::test]
async fn i3_what_differs_is_rebuilt_or_repaired_on_sqlite() {
    let clock = ManualClock::new();
    let fresh = world::sqlite(POLICY, &clock).await;
    what_differs_is_rebuilt_or_repaired(fresh, clock).await;
}

#[tokio::test]
async fn i3_what_differs_is_rebuilt_or_repaired_on_postgres() {
    let clock = ManualClock::new();
    let fresh = world::postgres(POLICY, &clock).await;
    what_differs_is_rebuilt_or_repaired(fresh, clock).await;
}
