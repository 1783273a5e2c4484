//! Numbered seats at two instances: no seat twice, whatever one of them keeps in mind (I3).

use super::order::{ROW_LOCK, VERSION, crippled};
use super::{Sale, Stand, booking, confirm, one};
use crate::world::all_bookings;
use engine::seats::Party;
use engine::{
    Booking, BookingId, By, Command, Fault, Hold, Opening, Outcome, Overrides, Refusal,
    SeatRequest, SectionChange, SectionId,
};
use futures_util::future::{join, join3};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::{BookingFilter, Store};
use suite::halls::{draft, laid, layout, names};
use suite::seating::fits;
use testbed::steps::{Action, Steps};
use tokio::task::JoinSet;

/// Parties that want to sit in a hall of 5,000 seats.
const PARTIES: usize = 2_000;
/// Parties in a batch.
const BATCH: usize = 50;
/// Tasks that commit batches at once.
const TASKS: usize = 8;

impl Stand {
    /// An event with one section.
    pub(super) async fn hall(&self, opening: Opening) -> Sale {
        let organizer_id = self.mint.user();
        let mut new = self.mint.event_on_sale(organizer_id);
        let event_id = new.event.terms.event_id;
        new.sections.push(self.mint.section_of(event_id, "A"));
        let section_id = new.sections[0].section_id;
        self.store
            .create_event(&new, suite::world::owner(&new), &[opening], None)
            .await
            .expect("the event is recorded");
        Sale { event_id, organizer_id, sections: vec![section_id] }
    }

    pub(super) fn asking(&self, sale: &Sale, ask: SeatRequest) -> Hold {
        Hold { requests: vec![ask], ..self.hold(sale, &[(0, 1)]) }
    }

    /// The seats of live bookings, with those that are in several of them.
    async fn seats_of(&self, sale: &Sale) -> (BTreeMap<String, BookingId>, Vec<String>) {
        let filter = BookingFilter { user: None, event: Some(sale.event_id), status: None };
        let bookings = all_bookings(&*self.store, &filter).await;
        let live = |of: &&Booking| of.status.is_live();
        let (mut seats, mut twice) = (BTreeMap::new(), Vec::new());
        for booking in bookings.iter().filter(live) {
            for (_, number) in booking.seat_names() {
                if seats.insert(number.to_string(), booking.booking_id).is_some() {
                    twice.push(number.to_string());
                }
            }
        }
        (seats, twice)
    }

    /// The free seats of the hall in runs beside each other.
    async fn runs(&self, section_id: SectionId, per_stretch: u32) -> Vec<usize> {
        let marks = self.store.marks(section_id).await.expect("the store answers");
        let marks = marks.expect("it has some");
        let (mut runs, mut run) = (Vec::new(), 0);
        for seat in 0..marks.seats() {
            if seat % per_stretch == 0 {
                runs.push(std::mem::take(&mut run));
            }
            if marks.state(seat).is_none() {
                run += 1;
            } else {
                runs.push(std::mem::take(&mut run));
            }
        }
        runs.push(run);
        runs.retain(|run| *run > 0);
        runs
    }
}

pub(super) fn named(sale: &Sale, seats: &[&str]) -> SeatRequest {
    SeatRequest::Seats { section_id: sale.sections[0], seats: names(seats) }
}

fn party(sale: &Sale, party: Party) -> SeatRequest {
    SeatRequest::Best { sections: sale.sections.clone(), party }
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_two_thousand_parties_at_two_instances_fill_a_hall_and_get_no_seat_twice() {
    const PER_STRETCH: u32 = 25;
    let stand = Stand::new().await;
    let other = stand.another().await;
    let hall = layout(&draft("1-50", 100, &[25, 50, 75]));
    let sale = stand.hall(Opening::Layout(hall.clone())).await;
    let size = |number: usize| u32::try_from(1 + number * 7 % 6).expect("1 to 6");
    let mut wishes = BTreeMap::new();
    let mut batches: Vec<Vec<Command>> = vec![Vec::new(); PARTIES / BATCH];
    for number in 0..PARTIES {
        // A third asks to be together, a third takes what comes, a third counts.
        let adjacent = number % 3 == 0;
        let ask = if number % 3 == 2 {
            SeatRequest::Count { section_id: sale.sections[0], seats: size(number) }
        } else {
            party(&sale, Party { adjacent, ..Party::of(size(number)) })
        };
        let hold = stand.asking(&sale, ask);
        wishes.insert(hold.booking_id, (size(number), adjacent));
        batches[number / BATCH].push(Command::Hold(hold));
    }
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let store = [&stand.store, &other][task % 2].clone();
        let batches: Vec<_> = batches.iter().skip(task).step_by(TASKS).cloned().collect();
        tasks.spawn(async move {
            let mut told = Vec::new();
            for batch in batches {
                let committed = store.commit(&batch).await.expect("the store answers");
                told.extend(batch.into_iter().zip(committed.answers));
            }
            told
        });
    }
    let (mut seated, mut turned_away) = (BTreeMap::new(), Vec::new());
    for (command, answer) in tasks.join_all().await.into_iter().flatten() {
        let Command::Hold(hold) = command else { unreachable!("all of them are holds") };
        let (number, adjacent) = wishes[&hold.booking_id];
        match answer {
            Ok(Outcome::Booking { booking, next_to_each_other, .. }) => {
                let seats = booking.seat_names().map(|(_, name)| hall.find(name));
                let seats = seats.collect::<Option<Vec<_>>>().expect("seats of the hall");
                assert_eq!(seats.len(), number as usize);
                let together = hall.are_beside_each_other(&seats);
                assert_eq!(next_to_each_other, Some(together));
                assert!(together || !adjacent, "a party was split: {booking:?}");
                seated.extend(seats.into_iter().map(|seat| (seat, hold.booking_id)));
            }
            Err(Refusal::TooFewFit { .. } | Refusal::NotTogether { .. }) => {
                turned_away.push((number, adjacent));
            }
            other => panic!("{other:?}"),
        }
    }
    let (seats, twice) = stand.seats_of(&sale).await;
    assert_eq!(twice, Vec::<String>::new());
    assert_eq!(seats.len(), seated.len());
    let inventory = stand.inventory(&sale, 0).await;
    assert_eq!(usize::try_from(inventory.held), Ok(seats.len()));
    // Nothing was given back, so whoever was turned away cannot sit now either.
    let runs = stand.runs(sale.sections[0], PER_STRETCH).await;
    println!("{} seated, {} turned away, free runs {runs:?}", seats.len(), turned_away.len());
    for (number, adjacent) in turned_away {
        assert!(!fits(&runs, number as usize, adjacent), "there is room for {number}");
    }
    assert!(seats.len() >= 4_990, "only {} of 5,000 seats", seats.len());
    stand.assert_sound().await;
}

/// Two holds of a small hall, at each instance one, so that both keep its map.
async fn two_holds(stand: &Stand, stores: [&Arc<dyn Store>; 2]) -> (Sale, [Booking; 2]) {
    let sale = stand.hall(laid("A-B", 6)).await;
    let hold = |seats: &[&str]| Command::Hold(stand.asking(&sale, named(&sale, seats)));
    let first = booking(one(&**stores[0], hold(&["A-1", "A-2"])).await);
    let second = booking(one(&**stores[1], hold(&["A-3"])).await);
    (sale, [first, second])
}

fn change(sale: &Sale, of: &Booking, expected: Option<i64>, seats: &[&str]) -> Command {
    Command::Change {
        booking_id: of.booking_id,
        by: By::User(of.user_id),
        user_id: of.user_id,
        event_id: sale.event_id,
        expected,
        requests: vec![named(sale, seats)],
        overrides: Overrides::NONE,
    }
}

/// A batch in which seats go from hand to hand; the first of its answers is a party of two.
fn mixed(stand: &Stand, sale: &Sale, [first, second]: &[Booking; 2]) -> Vec<Command> {
    let two = Party { adjacent: true, ..Party::of(2) };
    vec![
        Command::Hold(stand.asking(sale, party(sale, two))),
        change(sale, first, None, &["A-2", "B-1"]),
        change(sale, second, Some(1), &["A-1", "B-6"]),
        confirm(second),
    ]
}

/// What [`mixed`] came to, once and not twice; then both instances go on.
async fn assert_mixed(
    stand: &Stand,
    (sale, [first, second]): &(Sale, [Booking; 2]),
    stores: [&Arc<dyn Store>; 2],
    answers: Vec<Result<Outcome, Refusal>>,
    at: &str,
) {
    let Ok(Outcome::Booking { booking: pair, next_to_each_other, .. }) = &answers[0] else {
        panic!("{at}: {answers:?}")
    };
    assert_eq!(*next_to_each_other, Some(true), "{at}");
    let of = |answer| booking(answer);
    let versions: Vec<_> = answers.iter().cloned().map(|answer| of(answer).version).collect();
    assert!(matches!(versions[..], [1, 2, 2 | 3, 3]), "{at}: {versions:?}");
    let [first, second] = [first, second].map(|of| of.booking_id);
    let stored = async |id| stand.stored(id).await.expect("it is there");
    assert_eq!((stored(first).await.version, stored(second).await.version), (2, 3), "{at}");
    let inventory = stand.inventory(sale, 0).await;
    // The opening, two holds, and four rows of this batch.
    assert_eq!((inventory.held, inventory.sold, inventory.version), (4, 2, 7), "{at}");
    let (seats, twice) = stand.seats_of(sale).await;
    assert_eq!(twice, Vec::<String>::new(), "{at}");
    let expected = [("A-2", first), ("B-1", first), ("A-1", second), ("B-6", second)];
    for (seat, whose) in expected {
        assert_eq!(seats.get(seat), Some(&whose), "{at}");
    }
    assert_eq!(seats.values().filter(|id| **id == pair.booking_id).count(), 2, "{at}");
    // Whatever is free is had at either of them, and what is taken at neither.
    for (turn, store) in stores.into_iter().cycle().take(4).enumerate() {
        let hold = |ask| Command::Hold(stand.asking(sale, ask));
        let taken = one(&**store, hold(named(sale, &["A-2"]))).await;
        assert!(matches!(taken, Err(Refusal::SeatsUnavailable { .. })), "{at}: {taken:?}");
        booking(one(&**store, hold(party(sale, Party::of(1)))).await);
        let (seats, twice) = stand.seats_of(sale).await;
        assert_eq!((seats.len(), twice.len()), (7 + turn, 0), "{at}");
    }
}

/// Breaks a batch at each of its steps in turn, at an instance that keeps the map.
async fn sweep(action: fn() -> Action) {
    let stand = Stand::new().await;
    let steps = Steps::new();
    let proxy = stand.proxy(&steps);
    let (fragile, other) = (stand.behind(&proxy).await, stand.another().await);
    for k in 1.. {
        let hall = two_holds(&stand, [&fragile, &other]).await;
        let batch = mixed(&stand, &hall.0, &hall.1);
        steps.arm(k, action());
        let committed = fragile.commit(&batch).await;
        let fired = steps.fired();
        steps.disarm();
        let at = format!("step {k}");
        let answers = committed.unwrap_or_else(|fault| panic!("{at}: {fault:?}")).answers;
        assert_mixed(&stand, &hall, [&other, &fragile], answers, &at).await;
        if !fired {
            assert!(k > 8, "a batch has more than {k} steps");
            break;
        }
    }
    stand.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i12_a_change_that_is_cut_before_any_of_its_steps_is_made_once() {
    sweep(|| Action::CutBefore).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i12_a_change_that_is_cut_after_any_of_its_steps_is_made_once() {
    sweep(|| Action::CutAfter).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i12_a_layout_that_is_cut_at_any_of_its_steps_is_laid_once() {
    let stand = Stand::new().await;
    let steps = Steps::new();
    let proxy = stand.proxy(&steps);
    let fragile = stand.behind(&proxy).await;
    for action in [|| Action::CutBefore, || Action::CutAfter] {
        for k in 1.. {
            let sale = stand.hall(laid("A", 6)).await;
            let (section_id, by) = (sale.sections[0], sale.organizer_id);
            booking(
                one(&*fragile, Command::Hold(stand.asking(&sale, named(&sale, &["A-1"])))).await,
            );
            let mut wider = draft("A-B", 6, &[2]);
            wider.categories[0].price = suite::world::usd(10);
            let wider = layout(&wider);
            let change = SectionChange { layout: Some(wider.clone()), ..SectionChange::default() };
            steps.arm(k, action());
            let laid =
                fragile.revise_section(sale.event_id, section_id, by.into(), Some(1), change).await;
            let fired = steps.fired();
            steps.disarm();
            let inventory = laid.unwrap_or_else(|fault| panic!("step {k}: {fault:?}"));
            assert_eq!((inventory.capacity, inventory.version), (12, 3), "step {k}");
            let found = fragile.layout(section_id).await.expect("the store answers");
            assert_eq!(found, Some((wider.id(), wider)), "step {k}");
            booking(
                one(&*fragile, Command::Hold(stand.asking(&sale, named(&sale, &["B-6"])))).await,
            );
            if !fired {
                assert!(k > 8, "a layout has more than {k} steps");
                break;
            }
        }
    }
    stand.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_an_instance_goes_on_after_a_batch_whose_session_was_killed() {
    let stand = Stand::new().await;
    let other = stand.another().await;
    let hall = two_holds(&stand, [&stand.store, &other]).await;
    let batch = mixed(&stand, &hall.0, &hall.1);
    let (mut lock, mut witness) = (stand.raw().await, stand.raw().await);
    lock.run("BEGIN").await;
    lock.run("LOCK TABLE booking_log IN SHARE MODE").await;
    let kill = async {
        witness.until_waiting(1).await;
        let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE wait_event_type = 'Lock' AND datname = current_database()
                AND application_name = 'reservix'";
        witness.run(kill).await;
        lock.run("ROLLBACK").await;
    };
    let (committed, ()) = join(stand.store.commit(&batch), kill).await;
    let answers = committed.expect("it is done again").answers;
    assert_mixed(&stand, &hall, [&stand.store, &other], answers, "killed").await;
    stand.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_an_instance_goes_on_after_a_batch_that_failed() {
    let stand = Stand::new().await;
    let other = stand.another().await;
    let hall = two_holds(&stand, [&stand.store, &other]).await;
    let mut raw = stand.raw().await;
    let section_id = hall.0.sections[0];
    // Somebody who does not ask the marks has the seat: the primary key says so, after all was decided.
    raw.run(format!("INSERT INTO seats_taken VALUES ('{section_id}', 'B-6', NULL)")).await;
    let batch = mixed(&stand, &hall.0, &hall.1);
    for store in [&stand.store, &other, &stand.store] {
        let fault = store.commit(&batch).await.expect_err("the seat is taken");
        assert!(matches!(fault, Fault::Contradiction { .. }), "{fault:?}");
    }
    raw.run("DELETE FROM seats_taken WHERE seat = 'B-6'").await;
    let answers = stand.store.commit(&batch).await.expect("nothing is in the way").answers;
    assert_mixed(&stand, &hall, [&other, &stand.store], answers, "failed").await;
    stand.assert_sound().await;
}

/// Two instances that both have decided on the same marks before either of them writes; returns how many
/// of their holds were refused then.
async fn decide_at_once(stand: &Stand, sale: &Sale, stores: [&Arc<dyn Store>; 2]) -> usize {
    let (mut lock, mut witness) = (stand.raw().await, stand.raw().await);
    lock.run("BEGIN").await;
    lock.run("LOCK TABLE booking_log IN SHARE MODE").await;
    let hold = || [Command::Hold(stand.asking(sale, named(sale, &["A-1"])))];
    let (here, there) = (hold(), hold());
    let release = async {
        witness.until_waiting(2).await;
        lock.run("ROLLBACK").await;
    };
    let (here, there, ()) = join3(stores[0].commit(&here), stores[1].commit(&there), release).await;
    let committed = [here, there].map(|committed| committed.expect("the store answers"));
    let answers = committed.into_iter().flat_map(|committed| committed.answers);
    let refused = answers.filter_map(Result::err).inspect(|refused| {
        assert!(matches!(refused, Refusal::SeatsUnavailable { .. }), "{refused:?}");
    });
    refused.count()
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_without_row_lock_and_version_the_primary_key_refuses_to_sell_a_seat_twice() {
    let stand = Stand::new().await;
    let (proxy, here) = crippled(&stand, &[ROW_LOCK, VERSION]).await;
    let there = stand.behind(&proxy).await;
    let sale = stand.hall(laid("A", 6)).await;
    assert_eq!(decide_at_once(&stand, &sale, [&here, &there]).await, 1, "one is told");
    assert!(proxy.rewritten() > 1, "lock and version were taken away");
    let (seats, twice) = stand.seats_of(&sale).await;
    assert_eq!((seats.len(), twice), (1, Vec::new()));
    stand.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_without_lock_version_and_primary_key_a_seat_is_sold_twice() {
    let stand = Stand::new().await;
    let (proxy, here) = crippled(&stand, &[ROW_LOCK, VERSION]).await;
    let there = stand.behind(&proxy).await;
    stand.raw().await.run("ALTER TABLE seats_taken DROP CONSTRAINT seats_taken_once").await;
    let sale = stand.hall(laid("A", 6)).await;
    assert_eq!(decide_at_once(&stand, &sale, [&here, &there]).await, 0, "nobody notices");
    assert!(proxy.rewritten() > 1, "lock and version were taken away");
    let (_, twice) = stand.seats_of(&sale).await;
    assert_eq!(twice, ["A-1"]);
    assert!(stand.broken().await.contains(&"I3"));
}
