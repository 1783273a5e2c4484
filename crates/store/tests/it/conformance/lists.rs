//! Lists: events by their sums, and pages of bookings that end by bytes.

use super::{Sale, World, answered, booking, confirm};
use engine::seats::{Category, Draft, SeatName};
use engine::{Command, Opening, SeatRequest, SectionChange};
use std::collections::BTreeSet;
use store::{BookingFilter, EventCard, EventFilter, PAGE_BYTES_MAX, PageRequest};
use suite::halls::{draft, laid, layout};
use suite::world::usd;

impl World {
    async fn card(&self, sale: &Sale) -> EventCard {
        let page = PageRequest { after: None, limit: 100 };
        let found = answered(self.store.events(&EventFilter::default(), page).await);
        let is_it = |card: &EventCard| card.event.terms.event_id == sale.event_id;
        found.items.into_iter().find(is_it).expect("it is listed")
    }

    /// The lowest and the highest price of an event, and its seats in all and available.
    async fn sums(&self, sale: &Sale) -> (i64, i64, i64, i64) {
        let card = self.card(sale).await;
        let (from, to) = card.prices.expect("it has a section");
        (from.minor, to.minor, card.capacity, card.available)
    }
}

/// Two rows, the second of which costs so much.
fn priced(minor: i64) -> Draft {
    let mut draft = draft("A-B", 5, &[]);
    draft.categories.push(Category { name: "Rear".to_owned(), price: usd(minor) });
    for seat in &mut draft.rows[1].seats {
        "Rear".clone_into(&mut seat.category);
    }
    draft
}

pub async fn a_listed_event_has_the_sums_of_its_sections(world: World) {
    let openings = vec![Opening::from(10), laid("A", 4), Opening::from(100)];
    let prices = [500, 1, 900];
    let sale = world
        .hall_with(openings, |new| {
            for (section, minor) in new.sections.iter_mut().zip(prices) {
                section.price = usd(minor);
            }
        })
        .await;
    let other = world.sale(&[("A", 7)]).await;
    // Of numbered seats the prices are those of the layout.
    assert_eq!(world.sums(&sale).await, (500, 1_250, 114, 114));
    let held = world.held(&sale, &[(0, 3)]).await;
    world.seated(&sale, 1, &["A-1"]).await;
    let sold = world.held(&sale, &[(2, 20)]).await;
    booking(world.commit_one(confirm(&sold)).await);
    assert_eq!(world.sums(&sale).await, (500, 1_250, 114, 90));
    assert_eq!(world.sums(&other).await.2, 7, "each event has its own");
    // Holds that are due count as available, retired or not.
    world.clock.advance_ms(600_000);
    assert_eq!(world.sums(&sale).await, (500, 1_250, 114, 94));
    let retire = Command::Retire { section_id: held.items[0].section_id };
    world.commit(&[retire]).await;
    assert_eq!(world.sums(&sale).await, (500, 1_250, 114, 94));
    for (minor, expected) in [(9_000, (500, 9_000)), (80, (80, 1_250)), (1_250, (500, 1_250))] {
        let change = SectionChange { layout: Some(layout(&priced(minor))), ..Default::default() };
        let (event_id, section_id) = (sale.event_id, sale.sections[1]);
        let laid = world.store.revise_section(
            event_id,
            section_id,
            sale.organizer_id.into(),
            None,
            change,
        );
        laid.await.expect("nobody has a seat");
        let (from, to, capacity, _) = world.sums(&sale).await;
        assert_eq!((from, to, capacity), (expected.0, expected.1, 120), "{minor}");
    }
    let empty = world.sale(&[]).await;
    let card = world.card(&empty).await;
    assert_eq!((card.prices, card.capacity, card.available), (None, 0, 0));
}

pub async fn the_highest_price_of_a_layout_is_known_also_of_one_laid_before_it_was_noted(
    world: World,
) {
    const BEFORE: i64 = 4;
    let sale = world.hall(vec![Opening::Layout(layout(&priced(9_000)))]).await;
    let before = world.sums(&sale).await;
    assert_eq!(before, (1_250, 9_000, 10, 10));
    world.store.migrate(Some(BEFORE)).await.expect("down");
    world.store.migrate(None).await.expect("up again");
    assert_eq!(world.sums(&sale).await, before);
}

pub async fn a_page_of_bookings_ends_by_bytes_and_the_next_goes_on_behind_it(world: World) {
    // Names of 36 characters: a booking of 3,000 seats has some 115 kB of them.
    const SEATS_EACH: u32 = 3_000;
    let mut hall = draft("A-O", 1_000, &[]);
    for (at, row) in hall.rows.iter_mut().enumerate() {
        row.label = format!("{at:032}");
    }
    let sale = world
        .hall_with(vec![Opening::Layout(layout(&hall))], |new| {
            new.event.terms.max_seats_per_booking = Some(SEATS_EACH);
        })
        .await;
    let names: Vec<Vec<String>> = hall
        .rows
        .iter()
        .map(|row| row.seats.iter().map(|seat| format!("{}-{}", row.label, seat.number)).collect())
        .collect();
    for rows in names.chunks(3) {
        world.clock.advance_ms(1);
        let seats = rows.iter().flatten().map(|name| SeatName::from(name.as_str())).collect();
        let hold =
            world.asking(&sale, vec![SeatRequest::Seats { section_id: sale.sections[0], seats }]);
        booking(world.commit_one(Command::Hold(hold)).await);
    }
    let filter = BookingFilter { user: None, event: Some(sale.event_id), status: None };
    let (mut seen, mut pages, mut after) = (Vec::new(), Vec::new(), None);
    loop {
        let found =
            answered(world.store.bookings(&filter, PageRequest { after, limit: 100 }).await);
        let sizes = found
            .items
            .iter()
            .map(|booking| booking.seat_names().map(|(_, seat)| seat.len() + 3).sum::<usize>());
        let sizes: Vec<_> = sizes.collect();
        let but_last: usize = sizes.iter().rev().skip(1).sum();
        assert!(but_last < PAGE_BYTES_MAX, "{sizes:?}");
        pages.push(sizes.len());
        seen.extend(found.items.iter().map(|booking| booking.booking_id));
        after = seen.last().copied();
        if !found.has_more {
            break;
        }
    }
    assert_eq!(pages, [3, 2], "a page has three of these");
    let all: BTreeSet<_> = seen.iter().collect();
    assert_eq!((seen.len(), all.len()), (5, 5));
    assert!(seen.is_sorted_by(|one, other| one > other));
}
