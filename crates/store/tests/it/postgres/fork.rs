//! A history that forked: the database is replaced by an older copy of itself while instances run, and
//! the versions that were lost come again with other contents.

use super::seats::named;
use super::{Raw, Sale, Stand, booking, confirm, one};
use engine::log::Position;
use engine::{Booking, Command, Opening, Refusal, SectionChange};
use std::sync::Arc;
use store::{Epoch, Store};
use suite::halls::{draft, laid, layout};

/// All that a sale writes.
const TABLES: [&str; 9] = [
    "booking_log",
    "bookings",
    "events",
    "hold_keys",
    "holds",
    "inventory",
    "layouts",
    "seat_marks",
    "seats_taken",
];

/// Keeps a copy of everything, inside the database.
pub(super) async fn back_up(raw: &mut Raw) {
    for table in TABLES.into_iter().chain(["sections"]) {
        raw.run(format!("CREATE TABLE kept_{table} AS TABLE {table}")).await;
    }
    raw.run("CREATE TABLE kept_number AS SELECT last_value FROM booking_log_seq_seq").await;
}

/// Puts the copy back while everybody stays connected, as a restore into a database in use does.
pub(super) async fn put_back(raw: &mut Raw) {
    let mut sql = vec!["BEGIN".to_owned()];
    for table in TABLES.into_iter().filter(|table| *table != "events") {
        sql.push(format!("DELETE FROM {table}"));
        let system = if table == "booking_log" { "OVERRIDING SYSTEM VALUE" } else { "" };
        sql.push(format!("INSERT INTO {table} {system} SELECT * FROM kept_{table}"));
    }
    for (table, column) in [("sections", "layout_version"), ("sections", "price_minor")] {
        let id = "section_id";
        sql.push(format!(
            "UPDATE {table} t SET {column} = k.{column} FROM kept_{table} k WHERE k.{id} = t.{id}"
        ));
    }
    let version = "UPDATE events e SET version = k.version FROM kept_events k";
    sql.push(format!("{version} WHERE k.event_id = e.event_id"));
    sql.push("SELECT setval('booking_log_seq_seq', last_value) FROM kept_number".to_owned());
    sql.push("COMMIT".to_owned());
    raw.run(sql.join(";")).await;
}

/// Holds these seats for somebody new at `store`.
async fn hold(stand: &Stand, store: &dyn Store, sale: &Sale, seats: &[&str]) -> Booking {
    booking(one(store, Command::Hold(stand.asking(sale, named(sale, seats)))).await)
}

/// Whether a seat is refused as taken.
async fn is_taken(stand: &Stand, store: &dyn Store, sale: &Sale, seat: &str) -> bool {
    match one(store, Command::Hold(stand.asking(sale, named(sale, &[seat])))).await {
        Err(Refusal::SeatsUnavailable { .. }) => true,
        answer => {
            booking(answer);
            false
        }
    }
}

/// `there` held in a history that is lost, and `here` holds B-1 and B-2 in the one that goes
/// on, at the same versions.
struct Forked {
    stand: Stand,
    there: Arc<dyn Store>,
    sale: Sale,
    kept: [Booking; 2],
    raw: Raw,
}

impl Forked {
    async fn new() -> Self {
        let stand = Stand::new().await;
        let there = stand.another().await;
        let sale = stand.hall(laid("A-C", 6)).await;
        let mut raw = stand.raw().await;
        // One more hold, so that the seat map is kept on both sides of the fork.
        let first = hold(&stand, &*there, &sale, &["C-6"]).await;
        booking(one(&*there, confirm(&first)).await);
        back_up(&mut raw).await;
        let lost = [
            hold(&stand, &*there, &sale, &["A-1"]).await,
            hold(&stand, &*there, &sale, &["A-2"]).await,
        ];
        put_back(&mut raw).await;
        let kept = [
            hold(&stand, &*stand.store, &sale, &["B-1"]).await,
            hold(&stand, &*stand.store, &sale, &["B-2"]).await,
        ];
        assert_eq!(stand.stored(lost[0].booking_id).await, None);
        Self { stand, there, sale, kept, raw }
    }

    async fn versions_agree(&mut self) {
        let sql = "SELECT count(*) FROM seat_marks m JOIN inventory i USING (section_id)
            WHERE m.version = i.version";
        assert_eq!(self.raw.int(sql).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_a_history_that_forked_harms_no_hall() {
    let mut of = Forked::new().await;
    of.versions_agree().await;
    let Forked { stand, there, sale, kept, .. } = &of;
    // The one that kept the seat map of the lost history goes on as if it had never been.
    hold(stand, &**there, sale, &["C-1"]).await;
    stand.assert_sound().await;
    assert!(is_taken(stand, &**there, sale, "B-1").await);
    booking(one(&**there, confirm(&kept[0])).await);
    booking(one(&*stand.store, confirm(&kept[1])).await);
    assert!(!is_taken(stand, &**there, sale, "A-1").await, "it is free in this history");
    assert!(!is_taken(stand, &*stand.store, sale, "A-2").await);
    stand.clock.advance_ms(600_000);
    let retire = Command::Retire { section_id: sale.sections[0] };
    assert!(one(&**there, retire).await.is_ok());
    stand.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_without_stamps_a_history_that_forked_overwrites_the_marks_until_they_are_rebuilt()
{
    let Forked { stand, there, sale, mut raw, .. } = Forked::new().await;
    back_up_again(&mut raw).await;
    hold(&stand, &*there, &sale, &["A-1"]).await;
    hold(&stand, &*there, &sale, &["A-2"]).await;
    let stamp = raw.int("SELECT stamp FROM seat_marks").await;
    put_back(&mut raw).await;
    let first = hold(&stand, &*stand.store, &sale, &["B-3"]).await;
    hold(&stand, &*stand.store, &sale, &["B-4"]).await;
    // The stamp of the lost history: the version is believed as it stands.
    raw.run(format!("UPDATE seat_marks SET stamp = {stamp}")).await;
    hold(&stand, &*there, &sale, &["C-1"]).await;
    assert!(stand.broken().await.contains(&"I3"), "the checker does not notice");
    // What is left is the second safety: the next batch that meets the contradiction mends it.
    let committed = stand.store.commit(&[confirm(&first)]).await.expect("the store answers");
    assert!(committed.answers[0].is_ok(), "{:?}", committed.answers);
    assert_eq!(committed.rebuilt, sale.sections);
    assert!(!is_taken(&stand, &*there, &sale, "A-1").await);
    stand.assert_sound().await;
}

async fn back_up_again(raw: &mut Raw) {
    for table in TABLES.into_iter().chain(["sections", "number"]) {
        raw.run(format!("DROP TABLE kept_{table}")).await;
    }
    back_up(raw).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn seats_are_sold_at_the_prices_of_the_layout_that_is_there() {
    let stand = Stand::new().await;
    let there = stand.another().await;
    let sale = stand.hall(laid("A", 6)).await;
    let mut raw = stand.raw().await;
    back_up(&mut raw).await;
    let lay = async |store: &dyn Store, minor: i64| {
        let mut draft = draft("A", 6, &[]);
        draft.categories[0].price.minor = minor;
        let change = SectionChange { layout: Some(layout(&draft)), ..SectionChange::default() };
        let (section_id, by) = (sale.sections[0], sale.organizer_id);
        let laid = store.revise_section(sale.event_id, section_id, by.into(), None, change).await;
        laid.expect("nobody has a seat").version
    };
    let lost = lay(&*there, 9_900).await;
    hold(&stand, &*there, &sale, &["A-1"]).await;
    put_back(&mut raw).await;
    assert_eq!(lay(&*stand.store, 4_400).await, lost, "at the same version");
    hold(&stand, &*stand.store, &sale, &["A-2"]).await;
    let sold = hold(&stand, &*there, &sale, &["A-3"]).await;
    assert_eq!(sold.items[0].unit_price.minor, 4_400);
    let shown = there.layout(sale.sections[0]).await.expect("the store answers");
    assert_eq!(shown.expect("it has one").1.lowest_price().minor, 4_400);
    stand.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_history_is_noticed_by_a_log_that_fell_behind_and_told_to_all_instances() {
    let stand = Stand::new().await;
    let there = stand.another().await;
    let sale = stand.sale(&[10]).await;
    let mut raw = stand.raw().await;
    let epoch = stand.store.epoch();
    assert_eq!(there.epoch(), epoch, "one store, one epoch");
    back_up(&mut raw).await;
    stand.held(&sale, &[(0, 1)]).await;
    let look = async |store: &dyn Store| -> Epoch {
        store.ping().await.expect("the store answers");
        store.epoch()
    };
    assert_eq!(look(&*stand.store).await, epoch, "nothing has happened");
    let told = stand.store.epochs();
    assert_eq!(look(&*stand.store).await, epoch);
    assert!(!told.has_changed().expect("the store is there"), "a look that finds the same");
    let folded = stand.store.reckon(Position::default()).await.expect("the store answers");
    put_back(&mut raw).await;
    let next = look(&*stand.store).await;
    assert_ne!(next, epoch);
    assert!(told.has_changed().expect("the store is there"));
    assert_eq!(look(&*there).await, next, "the other one takes it over");
    assert_eq!(look(&*stand.store).await, next, "and it stays");
    let again = stand.store.reckon(Position::default()).await.expect("the store answers");
    assert_eq!(folded.inventories[0].held - again.inventories[0].held, 1);
    // A person says so.
    let renewed = there.begin_epoch().await.expect("the store answers");
    assert_ne!(renewed, next);
    assert_eq!(look(&*stand.store).await, renewed);
    stand.held(&sale, &[(0, 1)]).await;
    stand.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_database_is_another_history_from_its_first_session_on() {
    let stand = Stand::new().await;
    let epoch = stand.store.epoch();
    stand.close_all(&[]).await;
    let name = stand.url.rsplit('/').next().expect("a name at the end").to_owned();
    let server = testbed::postgres::shared();
    let url = server.create_database_from(&name);
    let copy = super::open(&url, super::POLICY, &stand.clock).await;
    assert_ne!(copy.epoch(), epoch);
    assert_eq!(super::open(&url, super::POLICY, &stand.clock).await.epoch(), copy.epoch());
    let original = stand.another().await;
    assert_eq!(original.epoch(), epoch, "the one it was made of is what it was");
    original.close().await;
    copy.close().await;
    let name = url.rsplit('/').next().expect("a name at the end");
    server.sql("postgres", &format!("DROP DATABASE {name} WITH (FORCE)"));
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_an_instance_whose_database_was_exchanged_sells_by_the_new_one() {
    let stand = Stand::new().await;
    let there = stand.another().await;
    let sale = stand.hall(laid("A-C", 6)).await;
    let name = stand.url.rsplit('/').next().expect("a name at the end").to_owned();
    stand.store.close().await;
    let server = testbed::postgres::shared();
    let admin = |sql: &str| server.sql("postgres", sql);
    let cut =
        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    admin(&cut);
    let copy = server.create_database_from(&name);
    let copy = copy.rsplit('/').next().expect("a name at the end");
    hold(&stand, &*there, &sale, &["A-1"]).await;
    hold(&stand, &*there, &sale, &["A-2"]).await;
    let epoch = there.epoch();
    admin(&format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false"));
    admin(&cut);
    admin(&format!("ALTER DATABASE {name} RENAME TO {name}_lost"));
    admin(&format!("ALTER DATABASE {copy} RENAME TO {name}"));
    let here = stand.another().await;
    let kept = hold(&stand, &*here, &sale, &["B-1"]).await;
    hold(&stand, &*here, &sale, &["B-2"]).await;
    hold(&stand, &*there, &sale, &["C-1"]).await;
    assert_ne!(there.epoch(), epoch);
    assert_eq!(there.epoch(), here.epoch());
    booking(one(&*there, confirm(&kept)).await);
    assert!(!is_taken(&stand, &*there, &sale, "A-1").await);
    let report = here.audit().await.expect("the store answers");
    assert!(report.is_clean(), "the audit finds {:?}", report.told);
    here.close().await;
    there.close().await;
    admin(&format!("DROP DATABASE {name}_lost WITH (FORCE)"));
}

/// What a section begins with is not what it is laid with later.
#[test]
fn layouts_are_named_by_what_is_in_them() {
    let of = |opening: &Opening| match opening {
        Opening::Layout(layout) => layout.id(),
        Opening::Capacity(_) => unreachable!("it has a layout"),
    };
    let (one, two) = (of(&laid("A-B", 6)), of(&laid("A-B", 7)));
    assert_ne!(one, two);
    assert_eq!(one, of(&laid("A-B", 6)), "the same in every process");
    let mut dearer = draft("A-B", 6, &[]);
    dearer.categories[0].price.minor += 1;
    assert_ne!(layout(&dearer).id(), one);
    assert!((1..1 << 52).contains(&one));
}
