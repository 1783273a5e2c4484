//! Marks of numbered seats at the gate: tests of the suite that every gate must pass, and some of Redis
//! alone.

use super::servers::{Instances, back, connected, shared_url};
use super::{
    Arc, Doorway, Duration, GateOptions, LAPSES, NEVER_LAPSES, SectionId, Settlement, Snapshot,
    open, snapshot, wait_ms,
};
use crate::world::sqlite;
use engine::seats::{Layout, Marks, SeatIndex, SeatMap, SeatState};
use engine::{By, Command, Hold, Opening, Outcome, Overrides, SeatRequest, Shard};
use std::time::Instant;
use store::gate::{KnownMarks, MARKS_BYTES_MAX};
use suite::halls::plain;
use suite::world::{ManualClock, POLICY};
use testbed::redis::{Redis, shared};

/// A section of 100 seats.
fn layout() -> Arc<Layout> {
    plain("A-J", 10)
}

/// Marks of 100 seats of which these were taken last at `version`.
fn marks(version: i64, taken: &[SeatIndex]) -> Marks {
    let mut map = SeatMap::empty(layout(), (1, 1));
    map.hold(taken).expect("free seats");
    map.stamp(version);
    map.marks()
}

fn seen(section_id: SectionId, version: i64, taken: &[SeatIndex]) -> KnownMarks {
    KnownMarks::committed(section_id, marks(version, taken))
}

impl Doorway {
    /// Settles marks beside a snapshot, and waits until the gate has noted them.
    async fn mark(&self, snapshots: Vec<Snapshot>, marks: Vec<KnownMarks>) {
        self.gate.settle(Settlement { snapshots, marks });
        self.settle(vec![]).await;
    }

    async fn marks(&self, section_id: SectionId) -> Option<KnownMarks> {
        let [answer] = &self.gate.marks(&[section_id]).await[..] else { panic!("one answer") };
        answer.clone()
    }

    /// Whether marks are known that speak now.
    async fn speaks(&self, section_id: SectionId) -> bool {
        let (snapshot, seen) = (self.read(section_id).await, self.marks(section_id).await);
        snapshot.is_some_and(|snapshot| seen.is_some_and(|seen| seen.belong_to(&snapshot)))
    }
}

pub async fn i8_marks_are_told_as_they_were_committed(door: Doorway) {
    let (known, other, unknown) = (door.section(), door.section(), door.section());
    assert_eq!(door.marks(known).await, None);
    let (here, there) = (seen(known, 5, &[3, 99]), seen(other, 7, &[]));
    door.mark(vec![], vec![here.clone(), there.clone()]).await;
    let all = door.gate.marks(&[known, unknown, other, known]).await;
    assert_eq!(all, [Some(here.clone()), None, Some(there), Some(here)]);
    assert!(door.gate.marks(&[]).await.is_empty());
}

pub async fn i8_newer_marks_replace_older_ones_and_never_the_other_way(door: Doorway) {
    let section_id = door.section();
    for (version, kept) in [(5, 5), (6, 6), (4, 6), (5, 6), (9, 9)] {
        let seat = SeatIndex::try_from(version).expect("small");
        door.mark(vec![], vec![seen(section_id, version, &[seat])]).await;
        let known = door.marks(section_id).await.expect("it is kept");
        assert_eq!(known.marks.version(), kept, "after version {version}");
    }
    // Of two in one settlement the newer ones stay, in either order.
    let (older, newer) = (seen(section_id, 10, &[1]), seen(section_id, 11, &[2]));
    door.mark(vec![], vec![newer.clone(), older]).await;
    assert_eq!(door.marks(section_id).await, Some(newer));
}

pub async fn i8_marks_speak_beside_a_fresh_snapshot_they_belong_to(door: Doorway) {
    let section_id = door.section();
    let taken = seen(section_id, 5, &[3, 4]);
    door.mark(vec![], vec![taken.clone()]).await;
    assert!(!door.speaks(section_id).await, "without a snapshot");
    door.know(snapshot(section_id, 5, 98)).await;
    assert!(door.speaks(section_id).await);
    // A hold was extended: the seats are the same, but who knows?
    door.know(snapshot(section_id, 6, 98)).await;
    assert!(!door.speaks(section_id).await);
    // Who read them after that.
    let read = KnownMarks::read(section_id, taken.marks.clone(), Some(6));
    door.mark(vec![], vec![read.clone()]).await;
    assert_eq!(door.marks(section_id).await, Some(read.clone()));
    assert!(door.speaks(section_id).await);
    // A commit of before says no less of them.
    door.mark(vec![], vec![taken]).await;
    assert_eq!(door.marks(section_id).await, Some(read.clone()));
    // A seat was taken, and the marks of that got lost.
    door.know(snapshot(section_id, 7, 97)).await;
    assert!(!door.speaks(section_id).await);
    // A store that was set back has another past: its counters say so.
    let other = Snapshot { version: 6, available: 97, ..snapshot(section_id, 6, 0) };
    assert!(!read.belong_to(&other) && read.belong_to(&snapshot(section_id, 6, 98)));
    assert!(!read.belong_to(&snapshot(section_id, 4, 98)));
}

pub async fn i8_forgotten_marks_are_unknown_until_they_are_settled_again(door: Doorway) {
    let (section_id, other) = (door.section(), door.section());
    door.mark(vec![], vec![seen(section_id, 5, &[1]), seen(other, 1, &[])]).await;
    door.gate.forget(&[section_id, door.section()]).await;
    assert_eq!(door.marks(section_id).await, None);
    assert!(door.marks(other).await.is_some());
    // After that any version is news.
    door.mark(vec![], vec![seen(section_id, 2, &[7])]).await;
    assert_eq!(door.marks(section_id).await, Some(seen(section_id, 2, &[7])));
}

pub async fn i8_marks_fall_silent_with_their_snapshot_and_lapsed_ones_give_way(door: Doorway) {
    let (left, checked) = (door.section(), door.section());
    let both = [left, checked];
    let snapshots = both.map(|id| snapshot(id, 5, 99));
    door.mark(snapshots.to_vec(), both.map(|id| seen(id, 5, &[1])).to_vec()).await;
    wait_ms(600).await;
    // A batch that refused everything tells the snapshot and no marks.
    door.settle(vec![snapshots[1]]).await;
    wait_ms(600).await;
    assert!(!door.speaks(left).await, "nobody has checked its snapshot");
    assert!(door.speaks(checked).await, "they are as fresh as their snapshot");
    // What was told so long ago gives way to anything, also after a store was set back.
    door.mark(vec![], vec![seen(left, 2, &[9])]).await;
    assert_eq!(door.marks(left).await, Some(seen(left, 2, &[9])));
}

pub async fn i8_the_marks_of_commits_speak_until_an_extension_and_after_a_read(door: Doorway) {
    let clock = ManualClock::new();
    let fresh = sqlite(POLICY, &clock).await;
    let (organizer, buyer) = (door.mint.user(), door.mint.user());
    let mut new = door.mint.event_on_sale(organizer);
    let event_id = new.event.terms.event_id;
    new.sections.push(door.mint.section_of(event_id, "A"));
    let section_id = new.sections[0].section_id;
    fresh
        .store
        .create_event(&new, suite::world::owner(&new), &[Opening::Layout(layout())], None)
        .await
        .expect("recorded");
    let commit = async |command| {
        let mut committed = fresh.store.commit(&[command]).await.expect("it answers");
        let settled = Settlement::of(&committed.inventories);
        let Settlement { snapshots, marks } = settled.with_marks(committed.marks);
        let before = snapshots[0].version;
        door.mark(snapshots, marks).await;
        (committed.answers.pop().expect("one answer"), before)
    };
    let hold = |seats: &[&str]| {
        let seats = seats.iter().map(|seat| (*seat).into()).collect();
        let requests = vec![SeatRequest::Seats { section_id, seats }];
        let booking_id = door.mint.booking(event_id);
        Command::Hold(Hold {
            booking_id,
            user_id: buyer,
            seller: None,
            overrides: Overrides::NONE,
            event_id,
            requests,
            key: None,
        })
    };
    let taken = async || door.marks(section_id).await.map(|seen| seen.marks.taken());
    let (answer, _) = commit(hold(&["B-1", "B-2"])).await;
    let Ok(Outcome::Booking { booking, .. }) = answer else { panic!("they are free: {answer:?}") };
    assert!(door.speaks(section_id).await);
    assert_eq!(taken().await, Some(2));
    commit(hold(&["B-2"])).await.0.expect_err("it is taken");
    assert!(door.speaks(section_id).await, "a refused batch tells no marks and needs none");
    let booking_id = booking.booking_id;
    clock.advance_ms(1_000);
    let (extended, before) = commit(Command::Extend { booking_id, by: By::User(buyer) }).await;
    extended.expect("there is more time to be had");
    assert!(!door.speaks(section_id).await, "they are of an older version");
    let found = fresh.store.marks(section_id).await.expect("it answers").expect("numbered");
    door.mark(vec![], vec![KnownMarks::read(section_id, Arc::new(found), Some(before))]).await;
    assert!(door.speaks(section_id).await);
    commit(Command::Confirm { booking_id, by: By::User(buyer) }).await.0.expect("it lives");
    assert!(door.speaks(section_id).await);
    let sold = door.marks(section_id).await.expect("they are kept").marks;
    assert_eq!(sold.state(10), Some(SeatState::Sold), "B-1");
}

#[tokio::test]
async fn i9_the_in_process_gate_keeps_no_more_marks_than_its_limit() {
    let door = Doorway::to(open::in_process(NEVER_LAPSES).await);
    let large = Arc::new(Marks::none(100_000, 1, 1));
    let bytes = large.to_bytes().len();
    let sections: Vec<_> = (0..2 * MARKS_BYTES_MAX / bytes).map(|_| door.section()).collect();
    for section_id in &sections {
        let seen = KnownMarks::read(*section_id, large.clone(), None);
        door.gate.settle(Settlement::of_marks(seen));
    }
    let known = door.gate.marks(&sections).await.into_iter().flatten().count();
    assert!((1..=MARKS_BYTES_MAX / bytes).contains(&known), "{known} of {}", sections.len());
    assert!(door.marks(*sections.last().expect("many")).await.is_some(), "the newest are kept");
}

fn seats_key(section_id: SectionId) -> String {
    format!("reservix:0000000000000000:{{{}}}:seats:{section_id}", section_id.shard().index())
}

async fn on_redis(options: GateOptions) -> Doorway {
    Doorway::to(Arc::new(Instances::on(&shared_url(), options).await))
}

#[tokio::test]
async fn what_a_person_breaks_of_marks_is_unknown_and_healed_by_the_next_settle() {
    let door = on_redis(NEVER_LAPSES).await;
    let section_id = door.section();
    let key = seats_key(section_id);
    let breakages: [&[&str]; 6] = [
        &["SET", &key, "nonsense"],
        &["HSET", &key, "marks", "nonsense"],
        &["HSET", &key, "through", "many"],
        &["HSET", &key, "through", "1"],
        &["HDEL", &key, "marks"],
        &["DEL", &key],
    ];
    for (version, breakage) in (5..).zip(breakages) {
        let told = seen(section_id, version, &[1]);
        door.mark(vec![], vec![told.clone()]).await;
        assert_eq!(door.marks(section_id).await, Some(told), "before {breakage:?}");
        let left_ms: i64 = shared().cli(&["PTTL", &key]).parse().expect("a number");
        assert!((1..=660_000).contains(&left_ms), "{left_ms} ms left");
        shared().cli(breakage);
        assert_eq!(door.marks(section_id).await, None, "after {breakage:?}");
        door.gate.ping().await.expect("nothing of it is taken for a failure of the server");
    }
}

#[tokio::test]
async fn an_instance_sees_its_own_marks_at_once_and_newer_ones_of_another() {
    let one = connected(&shared_url(), NEVER_LAPSES).await;
    let two = connected(&shared_url(), NEVER_LAPSES).await;
    let door = Doorway::to(one.clone());
    let section_id = door.section();
    let (first, second) = (seen(section_id, 5, &[1]), seen(section_id, 6, &[1, 2]));
    one.settle(Settlement::of_marks(first.clone()));
    assert_eq!(one.recall_marks(&[section_id]), [Some(first.clone())]);
    assert_eq!(one.marks(&[section_id]).await, [Some(first)]);
    two.settle(Settlement::of_marks(second.clone()));
    let deadline = Instant::now() + Duration::from_secs(10);
    while one.marks(&[section_id]).await != [Some(second.clone())] {
        assert!(Instant::now() < deadline, "they never arrive");
        wait_ms(2).await;
    }
}

#[tokio::test]
async fn marks_of_many_large_sections_arrive_in_several_calls() {
    let door = on_redis(NEVER_LAPSES).await;
    let large = Arc::new(Marks::none(100_000, 1, 1));
    let id = |index| SectionId::new(door.now, Shard::pick(3), index);
    let sections: Vec<_> = (0..40).map(id).collect();
    let read = |section_id: &SectionId| KnownMarks::read(*section_id, large.clone(), None);
    let marks: Vec<_> = sections.iter().map(read).collect();
    door.gate.settle(Settlement { snapshots: vec![], marks: marks.clone() });
    let deadline = Instant::now() + Duration::from_secs(10);
    let all: Vec<_> = marks.into_iter().map(Some).collect();
    while door.gate.marks(&sections).await != all {
        assert!(Instant::now() < deadline, "not all of them arrive");
        wait_ms(20).await;
    }
    assert_eq!(door.gate.health().dropped, 0);
}

#[tokio::test]
async fn i8_deleted_and_late_marks_refuse_nothing() {
    let server = Redis::start();
    let door = Doorway::to(Arc::new(Instances::on(&server.url(), LAPSES).await));
    let section_id = door.section();
    door.mark(vec![snapshot(section_id, 5, 99)], vec![seen(section_id, 5, &[1])]).await;
    assert!(door.speaks(section_id).await);
    server.cli(&["FLUSHALL"]);
    assert_eq!(door.marks(section_id).await, None);
    // What lies in the buffers of a frozen server is too old when it wakes up.
    server.pause();
    let late = (snapshot(section_id, 6, 98), seen(section_id, 6, &[1, 2]));
    door.gate.settle(Settlement { snapshots: vec![late.0], marks: vec![late.1] });
    wait_ms(1_500).await;
    server.resume();
    back(&*door.gate, 10_000).await;
    for _ in 0..50 {
        assert_eq!(door.marks(section_id).await, None);
        wait_ms(2).await;
    }
    door.mark(vec![snapshot(section_id, 7, 97)], vec![seen(section_id, 7, &[1, 2, 3])]).await;
    assert!(door.speaks(section_id).await);
}
