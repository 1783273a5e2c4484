//! Runs: rows of the log that hold several entries say what the rows did of which they were made.

use super::{Sale, World, answered, confirm};
use crate::raw::Raw;
use engine::audit::Report;
use engine::feed::Message;
use engine::log::Position;
use engine::{By, Command, Error, Fault, Inventory, LogCursor};

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

/// Packs the log behind the store's back; returns the `seq` of the longest run, and its length.
async fn packed(world: &World) -> (i64, usize) {
    let runs = Raw::of(&world.fresh).await.pack_log().await;
    assert!(runs.len() >= 5, "{runs:?}");
    runs.into_iter().max_by_key(|(_, count)| *count).expect("some")
}

pub async fn a_packed_log_says_what_its_rows_did(world: World) {
    let sale = busy(&world).await;
    let before = world.read(&sale).await;
    assert!(before.audited.is_clean(), "{:?}", before.audited.told);
    let (_, longest) = packed(&world).await;
    assert!(longest >= 9, "{longest}");
    assert_eq!(world.read(&sale).await, before);
    // The store goes on behind it.
    world.sold(&sale, &[(0, 1)]).await;
    packed_again(&world, &sale).await;
}

/// What was read up to somewhere is not added up again.
async fn packed_again(world: &World, sale: &Sale) {
    let start = world.reckon(Position::default()).await;
    let hold = || Command::Hold(world.hold(sale, &[(1, 1)]));
    world.commit(&[hold(), hold(), hold()]).await;
    let runs = Raw::of(&world.fresh).await.pack_log().await;
    assert!(runs.iter().any(|(_, entries)| *entries == 3), "{runs:?}");
    let more = world.reckon(start.cursor).await;
    let [folded] = &more.folded[..] else { panic!("of one section: {:?}", more.folded) };
    assert_eq!((folded.section_id, folded.held, folded.version), (sale.sections[1], 3, 3));
    world.assert_sound().await;
}

pub async fn a_page_of_messages_may_end_inside_a_run(world: World) {
    let sale = busy(&world).await;
    let (seq, longest) = packed(&world).await;
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
    let (seq, _) = packed(&world).await;
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
