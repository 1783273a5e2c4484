//! Runs: rows of the log that hold several entries say what rows of one entry each would say.

use super::{Sale, World, answered, confirm, release};
use crate::packed::RunRow;
use crate::raw::Raw;
use engine::audit::Report;
use engine::feed::{Body, Message};
use engine::log::Position;
use engine::{Booking, BookingStatus, By, Command, Error, Fault, Inventory, LogCursor};
use std::collections::{HashMap, HashSet};

/// What readers say of the log; without positions, which differ.
#[derive(Debug, PartialEq)]
struct Read {
    messages: Vec<Message>,
    folded: Vec<Inventory>,
    audited: Report,
    repaired: Vec<Vec<String>>,
}

impl World {
    async fn read(&self, sale: &Sale) -> Read {
        let mut messages = self.messages(sale.event_id, 1_000).await;
        for message in &mut messages {
            message.cursor = LogCursor::default();
        }
        let mut folded = self.reckon(Position::default()).await.folded;
        folded.retain(|of| sale.sections.contains(&of.section_id));
        folded.sort_by_key(|of| of.section_id);
        let mut repaired = Vec::new();
        for section_id in &sale.sections {
            repaired.push(self.store.repair(*section_id, true).await.expect("the log is sound"));
        }
        let audited = answered(self.store.audit().await);
        Read { messages, folded, audited, repaired }
    }
}

/// Batches that write many rows of a section side by side: holds, confirmations and expiries, with
/// carts and other kinds between them.
async fn busy(world: &World) -> Sale {
    let sale = world.sale(&[("A", 500), ("B", 500)]).await;
    let holds = |asks: &[(usize, u32)], count: usize| -> Vec<Command> {
        (0..count).map(|_| Command::Hold(world.hold(&sale, asks))).collect()
    };
    let mut batch = holds(&[(0, 2)], 9);
    batch.extend(holds(&[(1, 1), (0, 1)], 2));
    batch.extend(holds(&[(0, 3)], 5));
    batch.extend(holds(&[(1, 1)], 4));
    let held = world.commit(&batch).await.bookings;
    world.clock.advance_ms(1_000);
    let mut batch: Vec<_> = held.iter().take(7).map(confirm).collect();
    batch.extend(holds(&[(0, 1)], 3));
    let by = By::User(sale.organizer_id);
    batch.push(Command::Resize { section_id: sale.sections[0], by, capacity: 600 });
    batch.extend(holds(&[(0, 1)], 3));
    world.commit(&batch).await;
    // What was not confirmed ends, in one batch.
    let last = held.iter().map(|booking| booking.expires_at).max().expect("some");
    world.clock.advance_ms(last.since_ms(world.clock.now()) + 2_000);
    world.commit(&holds(&[(0, 1), (1, 1)], 1)).await;
    sale
}

/// The `seq` of the longest run of the log, and its length.
async fn longest(world: &World) -> (i64, usize) {
    let runs = Raw::of(&world.fresh).await.runs().await;
    assert!(runs.len() >= 5, "{}", runs.len());
    let longest = runs.into_iter().max_by_key(|run| run.entries.len()).expect("some");
    (longest.seq, longest.entries.len())
}

pub async fn a_packed_log_says_what_its_rows_did(world: World) {
    let sale = busy(&world).await;
    let (_, longest) = longest(&world).await;
    assert!(longest >= 9, "{longest}");
    let before = world.read(&sale).await;
    assert!(before.audited.is_clean(), "{:?}", before.audited.told);
    let mut raw = Raw::of(&world.fresh).await;
    raw.unpack_log().await;
    assert_eq!(raw.runs().await.len(), 0);
    assert_eq!(world.read(&sale).await, before);
    // The store goes on behind it.
    world.sold(&sale, &[(0, 1)]).await;
    what_was_read_is_not_added_up_again(&world, &sale).await;
}

async fn what_was_read_is_not_added_up_again(world: &World, sale: &Sale) {
    let start = world.reckon(Position::default()).await;
    let hold = || Command::Hold(world.hold(sale, &[(1, 1)]));
    world.commit(&[hold(), hold(), hold()]).await;
    let runs = Raw::of(&world.fresh).await.runs().await;
    assert_eq!(runs.iter().map(|run| run.entries.len()).collect::<Vec<_>>(), [3]);
    let more = world.reckon(start.cursor).await;
    let [folded] = &more.folded[..] else { panic!("of one section: {:?}", more.folded) };
    assert_eq!((folded.section_id, folded.held, folded.version), (sale.sections[1], 3, 3));
    world.assert_sound().await;
}

/// Batches of carts and single holds in five sections, confirmed, released, extended and expired in
/// turn.
async fn mixed(world: &World) -> Sale {
    let sale = world.sale(&[("A", 900), ("B", 900), ("C", 900), ("D", 900), ("E", 900)]).await;
    let mut dice = 1_u64;
    let mut roll = |sides: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % sides
    };
    let mut live: Vec<Booking> = Vec::new();
    for round in 0..12 {
        let mut batch = Vec::new();
        for _ in 0..40 {
            let first = usize::try_from(roll(5)).expect("below 5");
            let booking = (roll(2) == 0).then(|| live.pop()).flatten();
            batch.push(match (booking, roll(9)) {
                (Some(booking), 0) => release(&booking),
                (Some(booking), 1) => {
                    let by = By::User(booking.user_id);
                    Command::Extend { booking_id: booking.booking_id, by }
                }
                (Some(booking), _) => confirm(&booking),
                (None, 0..3) => {
                    Command::Hold(world.hold(&sale, &[(first, 1), ((first + 2) % 5, 2)]))
                }
                (None, _) => Command::Hold(world.hold(&sale, &[(first, 1)])),
            });
        }
        let committed = world.commit(&batch).await;
        let holds = committed.bookings.into_iter();
        live.extend(holds.filter(|booking| booking.status == BookingStatus::Hold));
        world.clock.advance_ms(if round % 4 == 3 { 3_600_000 } else { 1_000 });
    }
    sale
}

pub async fn i4_messages_of_mixed_batches_come_in_the_order_of_all_versions(world: World) {
    let sale = mixed(&world).await;
    let runs = Raw::of(&world.fresh).await.runs().await;
    let kinds = |run: &RunRow| -> HashSet<_> { run.entries.iter().map(|it| it.kind).collect() };
    assert!(runs.iter().any(|run| kinds(run).len() > 1), "kinds are mixed in a run");
    let mut versions: HashMap<[u8; 16], i64> = HashMap::new();
    let mut follow = |id: &[u8; 16], version: i64| {
        let before = versions.insert(*id, version).unwrap_or(0);
        assert_eq!(version, before + 1, "nothing was missed");
    };
    for message in world.messages(sale.event_id, 1_000).await {
        match message.body {
            Body::Booking { booking, sections, .. } => {
                follow(booking.booking_id.as_bytes(), booking.version);
                for (section_id, version) in sections {
                    follow(section_id.as_bytes(), version);
                }
            }
            Body::Section { section_id, version, .. } => follow(section_id.as_bytes(), version),
            Body::Event(_) => {}
        }
    }
    world.assert_sound().await;
}

pub async fn a_schema_of_before_gets_a_row_for_each_entry_of_a_run(world: World) {
    // The last version without runs.
    const BEFORE: i64 = 5;
    let sale = mixed(&world).await;
    let mut before = world.read(&sale).await;
    let mut raw = Raw::of(&world.fresh).await;
    let entries: usize = raw.runs().await.iter().map(|run| run.entries.len()).sum();
    assert!(entries > 100, "{entries}");
    answered(world.store.migrate(Some(BEFORE)).await);
    let mut raw = Raw::of(&world.fresh).await;
    let odd = "SELECT 'odd' FROM booking_log WHERE kind NOT IN
        ('opened', 'held', 'confirmed', 'expired', 'released', 'extended')";
    assert_eq!(raw.texts(odd).await.len(), 0, "kinds that it knows");
    answered(world.store.migrate(None).await);
    let mut after = world.read(&sale).await;
    // Lost by the way, as the migration says: the other sections of a step, and changes of events.
    for read in [&mut before, &mut after] {
        read.messages.retain(|message| matches!(message.body, Body::Booking { .. }));
        for message in &mut read.messages {
            let Body::Booking { sections, .. } = &mut message.body else { continue };
            sections.truncate(1);
        }
        read.audited.log_rows = 0;
    }
    assert_eq!(after, before);
    world.sold(&sale, &[(0, 1)]).await;
    world.assert_sound().await;
}

pub async fn a_page_of_messages_may_end_inside_a_run(world: World) {
    let sale = busy(&world).await;
    let (seq, longest) = longest(&world).await;
    let whole = world.messages(sale.event_id, 1_000).await;
    let inside = whole.iter().filter(|message| message.cursor.position.seq == seq);
    let places: Vec<_> = inside.map(|message| usize::from(message.cursor.position.place)).collect();
    assert_eq!(places, (0..longest).collect::<Vec<_>>(), "each entry has a place");
    assert!(whole.iter().map(|message| message.cursor).is_sorted());
    for limit in [1, 2, 3, 7] {
        assert_eq!(world.messages(sale.event_id, limit).await, whole, "in pages of {limit}");
    }
    // From every position the rest follows, and no more.
    for (number, message) in whole.iter().enumerate() {
        let page = answered(world.store.messages_after(message.cursor, 1_000).await);
        let mut rest = page.expect("a timeline of this log").messages;
        rest.retain(|message| message.event_id == sale.event_id);
        assert_eq!(rest, whole[number + 1..], "after {}", message.cursor);
    }
}

pub async fn a_damaged_run_is_named_by_every_reader(world: World) {
    let sale = busy(&world).await;
    let (seq, _) = longest(&world).await;
    world.read(&sale).await;
    let mut raw = Raw::of(&world.fresh).await;
    let hex = match &raw {
        Raw::Sqlite(_) => "lower(hex(entries))",
        Raw::Postgres(_) => "encode(entries, 'hex')",
    };
    let sql = format!("SELECT {hex} FROM booking_log WHERE seq = {seq}");
    let hex = raw.texts(&sql).await.pop().flatten().expect("a run");
    let whole: Vec<_> = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("two digits"))
        .collect();
    let mut flipped = whole.clone();
    flipped[40] ^= 1;
    let mut other_format = whole.clone();
    other_format[0] = 9;
    let bytes = |bytes: &[u8]| format!("entries = {}", raw.bytes(bytes));
    let cases = [
        (bytes(&flipped), "its entries are damaged"),
        (bytes(&whole[..whole.len() / 2]), "its entries are damaged"),
        (bytes(&[]), "its entries are damaged"),
        (bytes(&other_format), "which only a newer version of this program can read"),
        ("held = held + 1".to_owned(), "its entries contradict its columns"),
        ("kind = 'held'".to_owned(), "it is of kind \"held\", and has entries"),
    ];
    let good = format!("UPDATE booking_log SET kind = 'run', {} WHERE seq = {seq}", bytes(&whole));
    for (change, why) in cases {
        raw.run(&format!("UPDATE booking_log SET {change} WHERE seq = {seq}")).await;
        let mut faults = Vec::new();
        let store = &world.store;
        faults.push(store.messages_after(LogCursor::default(), 1_000).await.expect_err("damaged"));
        faults.push(store.reckon(Position::default()).await.expect_err("damaged"));
        faults.push(store.audit().await.expect_err("damaged"));
        match store.repair(sale.sections[0], true).await {
            Err(Error::Failed(fault)) => faults.push(fault),
            other => panic!("{change}: {other:?}"),
        }
        for fault in faults {
            let told = match &fault {
                Fault::Corrupt { what } | Fault::Unsuitable { what } => what,
                other => panic!("{change}: {other:?}"),
            };
            assert!(told.contains(&format!("row {seq} of the log")), "{told}");
            assert!(told.contains(why), "{told}");
            assert_eq!(matches!(fault, Fault::Unsuitable { .. }), why.contains("newer"));
        }
        if change.starts_with("held") {
            raw.run(&format!("UPDATE booking_log SET held = held - 1 WHERE seq = {seq}")).await;
        }
        raw.run(&good).await;
    }
    world.assert_sound().await;
}
