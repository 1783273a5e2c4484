//! Named seats before a gate that knows which are taken.

use super::*;
use engine::seats::{Category, Layout, Marks, SeatMap, SeatState, Shape, Short};
use engine::{Currency, Money, Snapshot};
use std::sync::atomic::AtomicUsize;
use store::gate::KnownMarks;
use tokio::sync::broadcast::Receiver;

/// A row of ten seats.
fn layout() -> Arc<Layout> {
    let price = Money { minor: 1, currency: Currency::parse("USD").expect("valid") };
    let short = Short {
        rows: "A".to_owned(),
        seats_per_row: 10,
        aisles_after: vec![],
        category: Category { name: "A".to_owned(), price },
        shape: Shape::Block,
    };
    Arc::new(Layout::new(&short.draft().expect("right")).expect("right"))
}

/// A-1 is held and A-2 sold, since version 5.
fn marks() -> Marks {
    let mut map = SeatMap::empty(layout(), (1, 1));
    map.hold(&[0, 1]).expect("free seats");
    map.sell(&[1]);
    map.stamp(5);
    map.marks()
}

fn inventory(version: i64) -> Inventory {
    let empty = Inventory::empty(section(), event());
    Inventory { capacity: 10, held: 1, sold: 1, version, ..empty }
}

/// A store with a hall, whose commits leave its inventory at this version.
fn marked_layout(version: i64) -> Fake {
    let mut store = Fake::freezing_at(ICE);
    store.inventories.push(inventory(version));
    store.marked_layout = Some((layout(), marks()));
    store
}

fn named_with(number: u64, seats: &[&str], key: Option<&str>) -> Command {
    let Command::Hold(hold) = hold_with(number, key) else { unreachable!("a hold") };
    let seats = seats.iter().map(|seat| (*seat).into()).collect();
    Command::Hold(Hold {
        requests: vec![SeatRequest::Seats { section_id: section(), seats }],
        ..hold
    })
}

fn named(number: u64, seats: &[&str]) -> Command {
    named_with(number, seats, None)
}

/// The seats that are not available, each with why.
async fn taken(answer: Answered) -> Option<Vec<(String, &'static str)>> {
    match answer.await.expect("submit does not panic") {
        Ok(_) => None,
        Err(Error::Refused(Refusal::SeatsUnavailable { conflicts })) => {
            let told = conflicts.into_iter().map(|conflict| {
                assert_eq!(conflict.section_id, section());
                (conflict.seat.to_string(), conflict.state.map_or("unknown", SeatState::as_str))
            });
            Some(told.collect())
        }
        other => panic!("neither: {other:?}"),
    }
}

/// Asks for A-1 until it is refused: what is missing for that is looked up beside the lane.
async fn until_refused(lanes: &Lanes) {
    for _ in 0..1_000 {
        if let Some(taken) = taken(submit(lanes, named(HOLDS, &["A-1"]))).await {
            assert_eq!(taken, [("A-1".to_owned(), "held")]);
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("the gate never learns that A-1 is taken");
}

/// Asks for A-1 for a while; it is never refused.
async fn is_never_refused(store: &Fake, lanes: &Lanes) {
    for _ in 0..100 {
        assert_eq!(taken(submit(lanes, named(HOLDS, &["A-1"]))).await, None);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(store.begun().len(), 100, "the store decides");
}

#[tokio::test]
async fn i8_named_seats_that_are_taken_are_refused_and_committed_keys_let_through() {
    let mut store = marked_layout(5);
    store.committed_keys.push("known");
    let store = Arc::new(store);
    let lanes = lanes(&store, &gate());
    until_refused(&lanes).await;
    let before = store.begun().len();
    let _frozen = submit(&lanes, confirm(ICE));
    until(|| store.begun().len() > before).await;
    let strangers = [
        (named(1, &["A-1"]), vec![("A-1", "held")]),
        (
            named(2, &["A-3", "A-2", "A-1", "X-9"]),
            vec![("A-2", "sold"), ("A-1", "held"), ("X-9", "unknown")],
        ),
    ];
    for (stranger, expected) in strangers {
        let told = taken(submit(&lanes, stranger)).await.expect("though the lane is busy");
        let told: Vec<_> = told.iter().map(|(seat, why)| (seat.as_str(), *why)).collect();
        assert_eq!(told, expected);
    }
    let commands = [
        named_with(HOLDS + 1, &["A-1"], Some("known")),
        named_with(HOLDS + 2, &["A-1"], Some("strange")),
        named(HOLDS + 3, &["A-3"]),
        named(HOLDS + 4, &["X-9"]),
        hold(HOLDS + 5),
    ];
    let [retry, strange, free, no_such_seat, counted] =
        queue_up(&lanes, commands.into_iter()).await.try_into().expect("five");
    let keys_read = store.keys_read();
    store.thaw();
    assert_eq!(taken(strange).await, Some(vec![("A-1".to_owned(), "held")]));
    assert_eq!(answered(retry).await, HOLDS + 1, "the store replays it");
    for (answer, number) in [(free, 3), (no_such_seat, 4), (counted, 5)] {
        assert_eq!(answered(answer).await, HOLDS + number, "only taken seats are refused here");
    }
    assert_eq!(store.keys_read(), keys_read + 1, "once for the batch");
}

#[tokio::test]
async fn marks_that_a_commit_tells_are_known_at_once() {
    let store = Arc::new(marked_layout(5));
    *store.marks.lock() = Some((section(), marks()));
    let lanes = lanes(&store, &gate());
    until_refused(&lanes).await;
    assert_eq!(store.marks_read(), 0, "nobody has to read them");
}

#[tokio::test]
async fn after_an_extension_the_marks_are_read_once_and_refuse_again() {
    let store = Arc::new(marked_layout(6));
    let lanes = lanes(&store, &gate());
    until_refused(&lanes).await;
    for number in 0..100 {
        assert!(taken(submit(&lanes, named(number, &["A-1"]))).await.is_some());
    }
    assert!((1..=2).contains(&store.marks_read()), "{} reads", store.marks_read());
}

#[tokio::test]
async fn i8_marks_refuse_nothing_once_a_hold_may_have_ended() {
    let mut store = marked_layout(5);
    store.inventories[0].next_expiry = Some(now());
    let store = Arc::new(store);
    let lanes = lanes(&store, &gate());
    is_never_refused(&store, &lanes).await;
}

#[tokio::test]
async fn i8_marks_refuse_nothing_beside_a_snapshot_of_another_state() {
    // The counters know of a seat more that was sold than the marks do.
    let mut store = marked_layout(5);
    store.inventories[0].sold = 2;
    let store = Arc::new(store);
    let lanes = lanes(&store, &gate());
    is_never_refused(&store, &lanes).await;
}

#[tokio::test]
async fn i8_marks_refuse_nothing_by_the_names_of_another_layout() {
    let mut store = marked_layout(5);
    let mut later = SeatMap::empty(layout(), (4, 4));
    later.hold(&[0, 1]).expect("free seats");
    later.stamp(5);
    store.marks = Some((section(), later.marks())).into();
    let store = Arc::new(store);
    let lanes = lanes(&store, &gate());
    is_never_refused(&store, &lanes).await;
}

/// A gate that counts how often it is asked.
struct Watched {
    gate: Local,
    reads: AtomicUsize,
    recalled: AtomicUsize,
    asked: AtomicUsize,
}

impl Watched {
    fn new() -> Arc<Self> {
        let gate = Local::new(GateOptions { fresh_ms: 60_000 });
        let none = AtomicUsize::default;
        Arc::new(Self { gate, reads: none(), recalled: none(), asked: none() })
    }

    fn counts(&self) -> [usize; 3] {
        [&self.reads, &self.recalled, &self.asked].map(|count| count.load(Ordering::SeqCst))
    }
}

#[async_trait::async_trait]
impl Gate for Watched {
    async fn read(&self, sections: &[SectionId]) -> Vec<Option<Snapshot>> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.gate.read(sections).await
    }

    fn recall(&self, sections: &[SectionId]) -> Vec<Option<Snapshot>> {
        self.gate.recall(sections)
    }

    async fn marks(&self, sections: &[SectionId]) -> Vec<Option<KnownMarks>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.gate.marks(sections).await
    }

    fn recall_marks(&self, sections: &[SectionId]) -> Vec<Option<KnownMarks>> {
        self.recalled.fetch_add(1, Ordering::SeqCst);
        self.gate.recall_marks(sections)
    }

    fn settle(&self, settlement: Settlement) {
        self.gate.settle(settlement);
    }

    async fn forget(&self, sections: &[SectionId]) {
        self.gate.forget(sections).await;
    }

    fn enter(&self, _: store::Epoch) {
        unimplemented!("no test of this gate goes over to another history")
    }

    fn announce(&self, _: AnyId) {}

    fn announcements(&self) -> Receiver<AnyId> {
        self.gate.announcements()
    }

    async fn tally(&self, _: &[(String, i64)], _: u64) -> Option<Vec<i64>> {
        None
    }

    async fn ping(&self) -> Result<(), Fault> {
        Ok(())
    }

    fn describe(&self) -> String {
        "watched".to_owned()
    }
}

#[tokio::test]
async fn the_gate_is_asked_for_marks_once_a_batch_and_never_for_counted_seats() {
    let store = Arc::new(marked_layout(5));
    let watched = Watched::new();
    let gate: Arc<dyn Gate> = watched.clone();
    let lanes = lanes(&store, &gate);
    let _frozen = freeze(&lanes, &store).await;
    let counted = queue_up(&lanes, (HOLDS..HOLDS + 100).map(hold)).await;
    store.thaw();
    for answer in counted {
        answered(answer).await;
    }
    assert_eq!(watched.counts()[1..], [0, 0], "not for counted seats");
    until_refused(&lanes).await;
    let seen = KnownMarks::committed(section(), marks());
    gate.settle(Settlement::of_marks(seen));

    let store = Arc::new(marked_layout(5));
    let lanes = super::lanes(&store, &gate);
    let _frozen = freeze(&lanes, &store).await;
    let before = watched.counts();
    let many = queue_up(&lanes, (HOLDS..HOLDS + 100).map(|of| named(of, &["A-3"]))).await;
    store.thaw();
    for answer in many {
        answered(answer).await;
    }
    let after = watched.counts();
    assert_eq!(store.begun().len(), 2, "they were one batch");
    assert_eq!(after[2], before[2], "all is at hand");
    assert!(after[1] - before[1] <= 2, "before and after the batch, not for each: {after:?}");
}
