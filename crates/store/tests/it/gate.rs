//! The suite that every gate must pass.
//!
//! Another gate plugs in with one line at the end of the suite and a way to open it. What a gate
//! notes may arrive later than [`Gate::settle`] returns, so tests wait until it has. Time is real
//! here: snapshots lapse by the gate's own clock. What is about Redis alone is in [`redis`], and what
//! happens when it fails in [`faults`].

mod faults;
mod marks;
mod redis;
mod servers;

use marks::{
    i8_forgotten_marks_are_unknown_until_they_are_settled_again,
    i8_marks_are_told_as_they_were_committed,
    i8_marks_fall_silent_with_their_snapshot_and_lapsed_ones_give_way,
    i8_marks_speak_beside_a_fresh_snapshot_they_belong_to,
    i8_newer_marks_replace_older_ones_and_never_the_other_way,
    i8_the_marks_of_commits_speak_until_an_extension_and_after_a_read,
};

use crate::world::sqlite;
use engine::{
    AnyId, Command, EventId, GateAnswer, Hold, Outcome, Overrides, SeatRequest, SectionId,
    Snapshot, Timestamp,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use store::gate::{GateOptions, SNAPSHOTS_MAX, Settlement};
use store::{Gate, open_gate};
use suite::world::{ManualClock, Mint};

/// A gate whose snapshots outlive any test.
const NEVER_LAPSES: GateOptions = GateOptions { fresh_ms: 600_000 };
/// A gate whose snapshots lapse while a test waits.
const LAPSES: GateOptions = GateOptions { fresh_ms: 1_000 };

/// A gate, and what is settled in it.
struct Doorway {
    gate: Arc<dyn Gate>,
    mint: Mint,
    event_id: EventId,
    now: Timestamp,
}

impl Doorway {
    fn to(gate: Arc<dyn Gate>) -> Self {
        // Doorways lead to one Redis, so each makes its ids in a day of its own.
        static DOORWAYS: AtomicI64 = AtomicI64::new(0);
        let clock = ManualClock::new();
        clock.advance_ms(DOORWAYS.fetch_add(1, Ordering::Relaxed) * 86_400_000);
        let mint = Mint::new(&clock);
        Self { gate, event_id: mint.event(), mint, now: clock.now() }
    }

    fn section(&self) -> SectionId {
        self.mint.section(self.event_id)
    }

    /// Settles snapshots, and waits until the gate has noted them.
    async fn settle(&self, snapshots: Vec<Snapshot>) {
        let marker = snapshot(self.section(), 1, 1);
        self.gate.settle(Settlement { snapshots, marks: vec![] });
        self.gate.settle(Settlement { snapshots: vec![marker], marks: vec![] });
        for _ in 0..1_000 {
            if self.gate.read(&[marker.section_id]).await == [Some(marker)] {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("the gate notes nothing");
    }

    async fn know(&self, known: Snapshot) {
        self.settle(vec![known]).await;
    }

    async fn read(&self, section_id: SectionId) -> Option<Snapshot> {
        let [answer] = self.gate.read(&[section_id]).await[..] else { panic!("one answer") };
        answer
    }
}

fn snapshot(section_id: SectionId, version: i64, available: i64) -> Snapshot {
    Snapshot { section_id, version, capacity: 100, available, next_expiry: None }
}

async fn wait_ms(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

async fn i8_nothing_is_known_of_a_section_before_it_is_settled(door: Doorway) {
    let (known, unknown) = (door.section(), door.section());
    assert_eq!(door.read(known).await, None);
    door.know(snapshot(known, 3, 7)).await;
    let seven = Some(snapshot(known, 3, 7));
    assert_eq!(door.gate.read(&[known, unknown, known]).await, [seven, None, seven]);
    assert!(door.gate.read(&[]).await.is_empty());
    door.gate.ping().await.expect("it is there");
    assert!(!door.gate.describe().is_empty());
}

async fn i8_a_newer_snapshot_replaces_an_older_one_and_never_the_other_way(door: Doorway) {
    let section_id = door.section();
    for (version, available, kept) in [(5, 10, 5), (6, 9, 6), (4, 99, 6), (5, 10, 6), (9, 0, 9)] {
        door.know(snapshot(section_id, version, available)).await;
        let known = door.read(section_id).await.expect("it is fresh");
        assert_eq!(known.version, kept, "after version {version}");
    }
    // Of two in one settlement the newer one stays, in either order.
    let (older, newer) = (snapshot(section_id, 10, 1), snapshot(section_id, 11, 2));
    door.settle(vec![newer, older]).await;
    assert_eq!(door.read(section_id).await, Some(newer));
}

async fn i8_a_forgotten_section_is_unknown_until_it_is_settled_again(door: Doorway) {
    let (section_id, other) = (door.section(), door.section());
    door.settle(vec![snapshot(section_id, 5, 1), snapshot(other, 1, 1)]).await;
    door.gate.forget(&[section_id, door.section()]).await;
    assert_eq!(door.gate.read(&[section_id, other]).await, [None, Some(snapshot(other, 1, 1))]);
    // After that any version is news.
    door.know(snapshot(section_id, 2, 3)).await;
    assert_eq!(door.read(section_id).await, Some(snapshot(section_id, 2, 3)));
}

async fn i8_a_sold_out_section_is_refused_until_the_next_hold_ends(door: Doorway) {
    let clock = ManualClock::new();
    let fresh = sqlite(suite::world::POLICY, &clock).await;
    let organizer = door.mint.user();
    let mut new = door.mint.event_on_sale(organizer);
    let event_id = new.event.terms.event_id;
    new.sections.push(door.mint.section_of(event_id, "A"));
    let section_id = new.sections[0].section_id;
    fresh
        .store
        .create_event(&new, suite::world::owner(&new), &[3.into()], None)
        .await
        .expect("recorded");
    let commit = async |seats| {
        let requests = vec![SeatRequest::Count { section_id, seats }];
        let (booking_id, user_id) = (door.mint.booking(event_id), door.mint.user());
        let hold = Hold {
            booking_id,
            user_id,
            seller: None,
            overrides: Overrides::NONE,
            event_id,
            requests,
            key: None,
        };
        let mut committed = fresh.store.commit(&[Command::Hold(hold)]).await.expect("it answers");
        door.settle(Settlement::of(&committed.inventories).snapshots).await;
        committed.answers.pop().expect("one answer")
    };
    let ask = async |seats, now| door.read(section_id).await.map(|known| known.answer(seats, now));
    assert_eq!(ask(1, clock.now()).await, None, "nothing is known yet");
    let Ok(Outcome::Booking { booking, .. }) = commit(2).await else { panic!("there are seats") };
    let before = booking.expires_at.plus_ms(-1);
    assert_eq!(ask(1, before).await, Some(GateAnswer::Admit));
    assert_eq!(ask(2, before).await, Some(GateAnswer::SoldOut { available: 1 }));
    // Once a hold may have ended, the gate no longer knows: the store decides.
    assert_eq!(ask(1, booking.expires_at).await, Some(GateAnswer::Unknown));
    assert_eq!(ask(9, booking.expires_at).await, Some(GateAnswer::Unknown));
    clock.advance_ms(600_000);
    commit(3).await.expect("the store gives the seats of the dead hold");
    assert_eq!(ask(1, clock.now()).await, Some(GateAnswer::SoldOut { available: 0 }));
    // A batch that was refused heals the gate as well.
    door.gate.forget(&[section_id]).await;
    commit(1).await.expect_err("sold out");
    assert_eq!(ask(1, clock.now()).await, Some(GateAnswer::SoldOut { available: 0 }));
}

async fn i8_a_snapshot_lapses_unless_it_is_checked_again(door: Doorway) {
    let (left, checked, stale) = (door.section(), door.section(), door.section());
    let all = [left, checked, stale].map(|section_id| snapshot(section_id, 5, 1));
    door.settle(all.to_vec()).await;
    wait_ms(600).await;
    // The same version counts as checked again; an older one says nothing.
    let news = vec![snapshot(checked, 5, 1), snapshot(stale, 4, 1)];
    door.settle(news).await;
    wait_ms(600).await;
    let known = door.gate.read(&[left, checked, stale]).await;
    assert_eq!(known, [None, Some(all[1]), None]);
    // What has lapsed is replaced by whatever is told, also after a store was set back.
    door.know(snapshot(stale, 2, 9)).await;
    assert_eq!(door.read(stale).await, Some(snapshot(stale, 2, 9)));
}

/// One test of every name, on one gate.
macro_rules! suite {
    ($gate:ident, $($test:ident($options:expr)),* $(,)?) => {
        mod $gate {
            use super::Doorway;
            $(#[tokio::test]
            async fn $test() {
                super::$test(Doorway::to(super::open::$gate($options).await)).await;
            })*
        }
    };
    ($gate:ident) => {
        suite! { $gate,
            i8_nothing_is_known_of_a_section_before_it_is_settled(super::NEVER_LAPSES),
            i8_a_newer_snapshot_replaces_an_older_one_and_never_the_other_way(super::NEVER_LAPSES),
            i8_a_forgotten_section_is_unknown_until_it_is_settled_again(super::NEVER_LAPSES),
            i8_a_sold_out_section_is_refused_until_the_next_hold_ends(super::NEVER_LAPSES),
            i8_a_snapshot_lapses_unless_it_is_checked_again(super::LAPSES),
            i8_marks_are_told_as_they_were_committed(super::NEVER_LAPSES),
            i8_newer_marks_replace_older_ones_and_never_the_other_way(super::NEVER_LAPSES),
            i8_marks_speak_beside_a_fresh_snapshot_they_belong_to(super::NEVER_LAPSES),
            i8_forgotten_marks_are_unknown_until_they_are_settled_again(super::NEVER_LAPSES),
            i8_marks_fall_silent_with_their_snapshot_and_lapsed_ones_give_way(super::LAPSES),
            i8_the_marks_of_commits_speak_until_an_extension_and_after_a_read(super::NEVER_LAPSES),
        }
    };
}

/// Fresh gates.
mod open {
    use super::servers::{Instances, cluster_url, connected, sentinel_url, shared_url};
    use super::{Arc, Gate, GateOptions, open_gate};

    pub async fn in_process(options: GateOptions) -> Arc<dyn Gate> {
        open_gate(None, options).expect("it needs nothing")
    }

    pub async fn on_redis(options: GateOptions) -> Arc<dyn Gate> {
        connected(&shared_url(), options).await
    }

    pub async fn of_another_instance(options: GateOptions) -> Arc<dyn Gate> {
        Arc::new(Instances::on(&shared_url(), options).await)
    }

    pub async fn on_a_cluster(options: GateOptions) -> Arc<dyn Gate> {
        Arc::new(Instances::on(&cluster_url(), options).await)
    }

    pub async fn behind_sentinels_that_failed_over(options: GateOptions) -> Arc<dyn Gate> {
        Arc::new(Instances::on(&sentinel_url().await, options).await)
    }
}

suite!(in_process);
suite!(on_redis);
suite!(of_another_instance);
suite!(on_a_cluster);
suite!(behind_sentinels_that_failed_over);

#[tokio::test]
async fn i9_the_in_process_gate_keeps_no_more_than_its_limits() {
    let door = Doorway::to(open::in_process(NEVER_LAPSES).await);
    let mut sections = Vec::new();
    for _ in 0..150 {
        let batch: Vec<_> = (0..1_000).map(|_| snapshot(door.section(), 1, 1)).collect();
        sections.extend(batch.iter().map(|known| known.section_id));
        door.gate.settle(Settlement { snapshots: batch, marks: vec![] });
    }
    let known = door.gate.read(&sections).await.into_iter().flatten().count();
    assert!((1..=SNAPSHOTS_MAX).contains(&known), "{known} snapshots");
}

#[tokio::test]
async fn a_gate_nobody_has_is_refused_without_telling_secrets() {
    let Err(fault) = open_gate(Some("memcached://user:secret@host"), NEVER_LAPSES) else {
        panic!("there is no such gate");
    };
    let text = format!("{fault:?}");
    assert!(text.contains("REDIS_URL") && text.contains("memcached"), "{text}");
    assert!(!text.contains("secret"), "{text}");
}
