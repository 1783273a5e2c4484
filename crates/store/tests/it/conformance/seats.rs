//! Numbered seats: by name, the best available ones, in carts, and what becomes of them.

use super::{Sale, World, answered, booking, confirm, key, release};
use crate::raw::Raw;
use engine::seats::{Category, Flags, Party, SeatName, SeatState};
use engine::{
    Blocked, Booking, By, Command, EventWithSections, Hold, Opening, Outcome, Overrides, Refusal,
    SeatConflict, SeatRequest,
};
use std::sync::Arc;
use suite::halls::{self};
use suite::halls::{draft, laid, layout, names, plain};
use suite::world::usd;

impl World {
    /// An event on sale with sections `S0`, `S1` and so on that begin with these.
    pub(super) async fn hall_with(
        &self,
        openings: Vec<Opening>,
        set: impl FnOnce(&mut EventWithSections),
    ) -> Sale {
        let organizer_id = self.mint.user();
        let mut new = self.mint.event_on_sale(organizer_id);
        let event_id = new.event.terms.event_id;
        let section = |at| self.mint.section_of(event_id, &format!("S{at}"));
        new.sections = (0..openings.len()).map(section).collect();
        set(&mut new);
        let created =
            self.store.create_event(&new, suite::world::owner(&new), &openings, None).await;
        created.expect("the event is recorded");
        let sections = new.sections.iter().map(|section| section.section_id).collect();
        Sale { event_id, organizer_id, sections }
    }

    pub(super) async fn hall(&self, openings: Vec<Opening>) -> Sale {
        self.hall_with(openings, |_| ()).await
    }

    /// A request of a new user.
    pub(super) fn asking(&self, sale: &Sale, requests: Vec<SeatRequest>) -> Hold {
        Hold { requests, ..self.hold(sale, &[(0, 1)]) }
    }

    pub(super) async fn ask(
        &self,
        sale: &Sale,
        requests: Vec<SeatRequest>,
    ) -> Result<Outcome, Refusal> {
        self.commit_one(Command::Hold(self.asking(sale, requests))).await
    }

    /// Named seats of a section that a new user holds.
    pub(super) async fn seated(&self, sale: &Sale, place: usize, names: &[&str]) -> Booking {
        booking(self.ask(sale, vec![seats(sale, place, names)]).await)
    }

    pub(super) async fn block(
        &self,
        sale: &Sale,
        place: usize,
        names: &[&str],
    ) -> Result<Outcome, Refusal> {
        self.commit_one(blocking(sale, place, names)).await
    }

    /// The seats of a section that are not free, such as `A-1 held, A-2 sold`.
    pub(super) async fn states(&self, sale: &Sale, place: usize) -> String {
        let section_id = sale.sections[place];
        let (_, layout) = answered(self.store.layout(section_id).await).expect("it has one");
        let marks = answered(self.store.marks(section_id).await).expect("it has some");
        let state =
            |(seat, state): (_, SeatState)| format!("{} {}", layout.name(seat), state.as_str());
        marks.iter().map(state).collect::<Vec<_>>().join(", ")
    }

    pub(super) async fn seats_taken(&self, sale: &Sale) -> halls::Taken {
        Raw::of(&self.fresh).await.seats_taken(sale.event_id).await
    }
}

pub(super) fn seats(sale: &Sale, place: usize, wanted: &[&str]) -> SeatRequest {
    SeatRequest::Seats { section_id: sale.sections[place], seats: names(wanted) }
}

pub(super) fn count(sale: &Sale, place: usize, seats: u32) -> SeatRequest {
    SeatRequest::Count { section_id: sale.sections[place], seats }
}

pub(super) fn best(sale: &Sale, places: &[usize], party: Party) -> SeatRequest {
    SeatRequest::Best {
        sections: places.iter().map(|place| sale.sections[*place]).collect(),
        party,
    }
}

pub(super) fn blocking(sale: &Sale, place: usize, seats: &[&str]) -> Command {
    Command::Block {
        section_id: sale.sections[place],
        by: sale.organizer_id.into(),
        blocked: Blocked::Seats(names(seats)),
        reason: Some("camera".into()),
    }
}

/// The seats of a booking, in the order in which it names them.
pub(super) fn numbers(booking: &Booking) -> Vec<&str> {
    booking.seat_names().map(|(_, number)| &**number).collect()
}

/// What was given, and whether it is together, when we chose it.
pub(super) fn given(answer: Result<Outcome, Refusal>) -> (Booking, Option<bool>) {
    match answer {
        Ok(Outcome::Booking { booking, next_to_each_other, .. }) => (booking, next_to_each_other),
        other => panic!("expected a booking, got {other:?}"),
    }
}

pub(super) fn conflicts(sale: &Sale, place: usize, seats: &[(&str, Option<SeatState>)]) -> Refusal {
    let section_id = sale.sections[place];
    let conflict = |(seat, state): &(&str, Option<SeatState>)| SeatConflict {
        section_id,
        seat: SeatName::from(*seat),
        state: *state,
    };
    Refusal::SeatsUnavailable { conflicts: seats.iter().map(conflict).collect() }
}

pub async fn i3_seats_are_held_by_name_all_or_none(world: World) {
    let sale = world.hall(vec![laid("A-B", 6)]).await;
    let held = world.seated(&sale, 0, &["A-2", "A-1"]).await;
    assert_eq!((numbers(&held), held.seats()), (vec!["A-1", "A-2"], 2), "in their order");
    assert_eq!(held.total_price(), usd(2_500));
    let sold = world.seated(&sale, 0, &["A-3"]).await;
    booking(world.commit_one(confirm(&sold)).await);
    world.block(&sale, 0, &["B-6"]).await.expect("it is free");
    let before = world.inventory(&sale, 0).await;

    let wanted = ["B-1", "A-2", "A-3", "B-6", "Z-9", "B-01", "B"];
    let refused = world.ask(&sale, vec![seats(&sale, 0, &wanted)]).await;
    let reasons = [
        ("A-2", Some(SeatState::Held)),
        ("A-3", Some(SeatState::Sold)),
        ("B-6", Some(SeatState::Blocked)),
        ("Z-9", None),
        ("B-01", None),
        ("B", None),
    ];
    assert_eq!(refused, Err(conflicts(&sale, 0, &reasons)));
    assert_eq!(world.inventory(&sale, 0).await, before);
    assert_eq!(world.states(&sale, 0).await, "A-1 held, A-2 held, A-3 sold, B-6 blocked");
    let mut taken = halls::taken_by(sale.sections[0], &["A-1", "A-2"], held.booking_id);
    taken.extend(halls::taken_by(sale.sections[0], &["A-3"], sold.booking_id));
    taken.extend(halls::taken_by(sale.sections[0], &["B-6"], None));
    assert_eq!(world.seats_taken(&sale).await, taken);
    world.assert_sound().await;
}

pub async fn a_seat_that_is_named_twice_is_a_duplicate_in_any_spelling(world: World) {
    let mut accented = draft("A-C", 6, &[]);
    "\u{c9}".clone_into(&mut accented.rows[2].label);
    let openings = vec![Opening::Layout(layout(&accented)), laid("A", 6), 9.into()];
    let sale = world.hall(openings).await;
    let duplicate = |first: &str, again: &str| {
        let (first, again) = (SeatName::from(first), SeatName::from(again));
        Err(Refusal::DuplicateSeat { section_id: sale.sections[0], first, again })
    };
    let held = world.seated(&sale, 0, &["A-2"]).await;
    let before = world.inventory(&sale, 0).await;
    let composed = "\u{c9}-1";
    for (requests, refused) in [
        (vec![seats(&sale, 0, &["B-1", "B-1"])], duplicate("B-1", "B-1")),
        (vec![seats(&sale, 0, &["a-1", "A-1"])], duplicate("a-1", "A-1")),
        (vec![seats(&sale, 0, &[composed, "e\u{301}-1"])], duplicate(composed, "e\u{301}-1")),
        // Two asks for one section are one.
        (vec![seats(&sale, 0, &["A-1"]), seats(&sale, 0, &["a-1"])], duplicate("A-1", "a-1")),
        // Whoever has it, and whatever else is wrong.
        (vec![seats(&sale, 0, &["Z-9", "A-2", "a-2"])], duplicate("A-2", "a-2")),
    ] {
        assert_eq!(world.ask(&sale, requests.clone()).await, refused, "{requests:?}");
        let change = Command::Change {
            booking_id: held.booking_id,
            by: held.user_id.into(),
            user_id: held.user_id,
            event_id: sale.event_id,
            expected: None,
            requests,
            overrides: Overrides::NONE,
        };
        assert_eq!(world.commit_one(change).await, refused);
    }
    for (names, refused) in [
        (["A-1", "A-1"], duplicate("A-1", "A-1")),
        (["a-1", "A-1"], duplicate("a-1", "A-1")),
        (["A-2", "a-2"], duplicate("A-2", "a-2")),
    ] {
        assert_eq!(world.block(&sale, 0, &names).await, refused, "{names:?}");
    }
    assert_eq!(world.inventory(&sale, 0).await, before);
    // Of another section it is another seat, and counted seats are added up.
    let two = vec![seats(&sale, 0, &["A-1"]), seats(&sale, 1, &["a-1"]), count(&sale, 2, 2)];
    let requests = [two, vec![count(&sale, 2, 3)]].concat();
    let cart = booking(world.ask(&sale, requests).await);
    assert_eq!((numbers(&cart), cart.seats(), cart.items.len()), (vec!["A-1", "A-1"], 7, 3));
    world.assert_sound().await;
}

pub async fn i3_of_two_who_name_a_seat_in_one_batch_the_first_gets_it(world: World) {
    let sale = world.hall(vec![laid("A", 6)]).await;
    let hold = |wanted: &[&str]| Command::Hold(world.asking(&sale, vec![seats(&sale, 0, wanted)]));
    let (first, second) = (hold(&["A-1", "A-2"]), hold(&["A-2", "A-3"]));
    let committed = world.commit(&[first, second, hold(&["A-3"])]).await;
    assert!(committed.answers[0].is_ok() && committed.answers[2].is_ok());
    let taken = conflicts(&sale, 0, &[("A-2", Some(SeatState::Held))]);
    assert_eq!(committed.answers[1], Err(taken));
    let [(section_id, marks)] = &committed.marks[..] else { panic!("{:?}", committed.marks) };
    assert_eq!((*section_id, marks.taken()), (sale.sections[0], 3));
    assert_eq!(marks.version(), committed.inventories[0].version);
    assert_eq!(answered(world.store.marks(*section_id).await).as_ref(), Some(marks));
    // What a batch frees, it may give away again.
    let held = world.seated(&sale, 0, &["A-5"]).await;
    let again = [release(&held), hold(&["A-5"]), hold(&["A-5"])];
    let answers = world.commit(&again).await.answers;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 2);
    assert_eq!(world.states(&sale, 0).await, "A-1 held, A-2 held, A-3 held, A-5 held");
    world.assert_sound().await;
}

/// A row of gold seats with a pair for a wheelchair at its end, a row of silver ones behind an aisle.
fn gold_and_silver() -> Opening {
    let mut draft = draft("A-B", 6, &[3]);
    let category = |name: &str, minor| Category { name: name.to_owned(), price: usd(minor) };
    draft.categories = vec![category("Gold", 5_000), category("Silver", 3_000)];
    for (row, name) in draft.rows.iter_mut().zip(["Gold", "Silver"]) {
        row.seats.iter_mut().for_each(|seat| name.clone_into(&mut seat.category));
    }
    draft.rows[0].seats[5].flags = Flags { accessible: true, ..Flags::default() };
    draft.rows[0].seats[4].flags = Flags { companion: true, ..Flags::default() };
    Opening::Layout(layout(&draft))
}

pub async fn the_best_available_seats_are_those_that_were_asked_for(world: World) {
    let openings = vec![gold_and_silver(), laid("A", 6), 9.into()];
    let sale = world.hall(openings).await;
    let event = answered(world.store.event(sale.event_id).await).expect("it is there");
    assert_eq!((event.sections[0].price, event.sections[0].is_numbered()), (usd(3_000), true));
    assert!(!event.sections[2].is_numbered());
    let named = |name: &str| Some(vec![Arc::from(name)]);

    let gold = Party { categories: named("Gold"), ..Party::of(3) };
    let (gold, together) = given(world.ask(&sale, vec![best(&sale, &[0], gold)]).await);
    assert_eq!((numbers(&gold), together), (vec!["A-1", "A-2", "A-3"], Some(true)));
    assert_eq!(gold.total_price(), usd(15_000));
    let rest = Party { categories: named("Gold"), ..Party::of(2) };
    let refused = world.ask(&sale, vec![best(&sale, &[0], rest)]).await;
    assert_eq!(refused, Err(too_few(1, 2, false, 1)), "companion seats are kept");
    let wheels = Party { accessible: 1, ..Party::of(2) };
    let (wheels, together) = given(world.ask(&sale, vec![best(&sale, &[1, 0], wheels)]).await);
    assert_eq!((numbers(&wheels), together), (vec!["A-5", "A-6"], Some(true)));
    let more = Party { accessible: 1, ..Party::of(1) };
    let refused = world.ask(&sale, vec![best(&sale, &[1, 0], more)]).await;
    assert_eq!(refused, Err(too_few(0, 1, true, 6)), "both are of accessible seats");

    let cheap = Party { max_price: Some(3_000), adjacent: true, ..Party::of(4) };
    let refused = world.ask(&sale, vec![best(&sale, &[0], cheap.clone())]).await;
    let apart = Refusal::NotTogether { requested: 4, alone: false, largest_contiguous_block: 3 };
    assert_eq!(refused, Err(apart), "an aisle parts them");
    let elsewhere = given(world.ask(&sale, vec![best(&sale, &[0, 1], cheap)]).await);
    assert_eq!(elsewhere.0.items[0].section_id, sale.sections[1]);
    assert_eq!((elsewhere.0.total_price(), elsewhere.1), (usd(5_000), Some(true)));

    // The count form in a numbered section, split at the aisle; a party of two sections.
    let (six, together) = given(world.ask(&sale, vec![count(&sale, 0, 6)]).await);
    assert_eq!((six.seats(), together, six.items.len()), (6, Some(false), 1));
    assert!(numbers(&six).iter().all(|number| number.starts_with('B')));
    assert_eq!(world.counters(&sale, 0).await, (11, 0, 1));
    let one = world.ask(&sale, vec![count(&sale, 0, 2)]).await;
    assert!(matches!(one, Err(Refusal::TooFewFit { available: 1, requested: 2, .. })));
    let counted = world.ask(&sale, vec![best(&sale, &[2], Party::of(1))]).await;
    assert_eq!(counted, Err(Refusal::NotFound { what: "section" }));
    let many = world.commit_one(Command::Hold(world.asking(&sale, vec![count(&sale, 0, 51)])));
    assert_eq!(many.await, Err(Refusal::TooManySeats { limit: 50, current: 0 }));
    world.assert_sound().await;
}

fn too_few(available: u32, requested: u32, accessible: bool, block: u32) -> Refusal {
    Refusal::TooFewFit { available, requested, accessible, largest_contiguous_block: block }
}

pub async fn a_party_is_split_across_sections_when_there_is_no_other_way(world: World) {
    let sale = world.hall(vec![laid("A", 2), laid("A", 3)]).await;
    let both = |number| vec![best(&sale, &[1, 0], Party::of(number))];
    let (five, together) = given(world.ask(&sale, both(5)).await);
    assert_eq!((numbers(&five).len(), five.items.len(), together), (5, 2, Some(false)));
    assert_eq!(world.counters(&sale, 0).await, (2, 0, 0));
    assert_eq!(world.counters(&sale, 1).await, (3, 0, 0));
    booking(world.commit_one(confirm(&five)).await);
    assert_eq!(world.states(&sale, 0).await, "A-1 sold, A-2 sold");
    let refused = world.ask(&sale, both(1)).await;
    assert_eq!(refused, Err(too_few(0, 1, false, 0)));
    world.assert_sound().await;
}

pub async fn a_hold_that_would_leave_a_single_seat_is_refused_where_the_event_says_so(
    world: World,
) {
    let strict = |new: &mut EventWithSections| new.event.terms.prevent_orphans = true;
    let sale = world.hall_with(vec![laid("A", 6)], strict).await;
    let refused = world.ask(&sale, vec![seats(&sale, 0, &["A-2", "A-5"])]).await;
    assert_eq!(refused, Err(Refusal::OrphanSeat { seats: names(&["A-1", "A-6"]) }));
    assert_eq!(world.states(&sale, 0).await, "");
    let held = world.seated(&sale, 0, &["A-1", "A-2", "A-3"]).await;
    // Of three seats, any one but the middle one leaves a pair; a pair always leaves one.
    let refused = world.ask(&sale, vec![seats(&sale, 0, &["A-5"])]).await;
    assert_eq!(refused, Err(Refusal::OrphanSeat { seats: names(&["A-4", "A-6"]) }));
    let pair = world.seated(&sale, 0, &["A-5", "A-6"]).await;
    booking(world.commit_one(release(&pair)).await);
    // Its own seats count as free for whoever changes a hold.
    let change = |names: &[&str]| Command::Change {
        booking_id: held.booking_id,
        by: By::User(held.user_id),
        user_id: held.user_id,
        event_id: sale.event_id,
        expected: None,
        requests: vec![seats(&sale, 0, names)],
        overrides: Overrides::NONE,
    };
    let refused = world.commit_one(change(&["A-2"])).await;
    assert_eq!(refused, Err(Refusal::OrphanSeat { seats: names(&["A-1"]) }));
    assert_eq!(world.states(&sale, 0).await, "A-1 held, A-2 held, A-3 held");
    booking(world.commit_one(change(&["A-1"])).await);
    assert_eq!(world.states(&sale, 0).await, "A-1 held");
    let easy = world.hall(vec![laid("A", 6)]).await;
    world.seated(&easy, 0, &["A-2", "A-5"]).await;
    world.assert_sound().await;
}

pub async fn i6_a_retry_gets_the_same_seats_and_hears_whether_they_are_together(world: World) {
    let sale = world.hall(vec![laid("A", 9)]).await;
    world.seated(&sale, 0, &["A-5"]).await;
    let keyed = |name: &str, number| Hold {
        key: Some((key(name), i64::from(number))),
        ..world.asking(&sale, vec![count(&sale, 0, number)])
    };
    for (name, number, expected) in [("k1", 2, true), ("k2", 6, false)] {
        let hold = keyed(name, number);
        let (first, together) = given(world.commit_one(Command::Hold(hold.clone())).await);
        assert_eq!(together, Some(expected), "{:?}", numbers(&first));
        let retry = Hold { booking_id: world.mint.booking(sale.event_id), ..hold };
        let batch = [Command::Hold(retry.clone()), Command::Hold(retry)];
        for answer in world.commit(&batch).await.answers {
            let Ok(Outcome::Booking { booking, replayed, next_to_each_other }) = answer else {
                panic!("{answer:?}")
            };
            assert_eq!((&booking, replayed, next_to_each_other), (&first, true, Some(expected)));
        }
    }
    world.clock.advance_ms(300_000);
    let first = answered(world.store.bookings(&all(&sale), PAGE).await)
        .items
        .pop()
        .expect("there are some");
    let more = Command::Extend { booking_id: first.booking_id, by: By::User(first.user_id) };
    let longer = booking(world.commit_one(more).await);
    assert_eq!(longer.items, first.items);
    world.clock.advance_ms(300_000);
    booking(world.commit_one(confirm(&longer)).await);
    assert_eq!(world.states(&sale, 0).await, "A-5 sold", "the others are over");
    world.assert_sound().await;
}

const PAGE: store::PageRequest<engine::BookingId> = store::PageRequest { after: None, limit: 99 };

fn all(sale: &Sale) -> store::BookingFilter {
    store::BookingFilter { user: None, event: Some(sale.event_id), status: None }
}

pub async fn seats_with_numbers_are_not_resized_blocked_by_count_or_priced(world: World) {
    let sale = world.hall(vec![laid("A", 9), 9.into()]).await;
    let (section_id, by) = (sale.sections[0], sale.organizer_id);
    let resize = Command::Resize { section_id, by: by.into(), capacity: 12 };
    let (blocked, reason) = (Blocked::Count(1), None);
    let block = Command::Block { section_id, by: by.into(), blocked, reason };
    for command in [resize, block] {
        assert_eq!(world.commit_one(command).await, Err(Refusal::SeatsAreNumbered));
    }
    let dear = engine::SectionChange { price: Some(usd(1)), ..engine::SectionChange::default() };
    let refused =
        world.store.revise_section(sale.event_id, section_id, by.into(), None, dear).await;
    assert_eq!(super::refusal(refused), Refusal::SeatsAreNumbered);
    assert_eq!(
        world.block(&sale, 1, &["A-1"]).await,
        Err(conflicts(&sale, 1, &[("A-1", None)])),
        "a counted section has no seat of that name"
    );
    let added = world.mint.section_of(sale.event_id, "Box");
    let opening = Opening::Layout(plain("A", 3));
    world.store.add_section(&added, opening, by.into(), None).await.expect("a free name");
    let (version, found) =
        answered(world.store.layout(added.section_id).await).expect("it has one");
    assert_eq!((version, found), (plain("A", 3).id(), plain("A", 3)));
    assert_eq!(answered(world.store.marks(sale.sections[1]).await), None);
    world.assert_sound().await;
}
