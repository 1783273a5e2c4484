//! Layouts: laid with a section, later, and over seats that somebody has.

use super::seats::{conflicts, count, numbers, seats};
use super::{Sale, World, answered, booking, confirm, refusal, release};
use engine::seats::change::Harm;
use engine::seats::{Category, Layout, Party, Point, SeatName};
use engine::{Command, Inventory, Opening, Refusal, SectionChange, SectionId};
use std::sync::Arc;
use suite::halls::{draft, laid, layout, plain};
use suite::world::usd;

impl World {
    async fn lay(
        &self,
        sale: &Sale,
        place: usize,
        layout: Arc<Layout>,
    ) -> Result<Inventory, engine::Error> {
        let change = SectionChange { layout: Some(layout), ..SectionChange::default() };
        let (section_id, by) = (sale.sections[place], sale.organizer_id);
        self.store.revise_section(sale.event_id, section_id, by.into(), None, change).await
    }

    async fn layout_of(&self, section_id: SectionId) -> (i64, Arc<Layout>) {
        answered(self.store.layout(section_id).await).expect("it has one")
    }
}

fn in_use(seats: &[(&str, Harm)]) -> Refusal {
    let named = |(seat, harm): &(&str, Harm)| (SeatName::from(*seat), *harm);
    Refusal::SeatsInUse { seats: seats.iter().map(named).collect() }
}

pub async fn a_layout_is_given_back_as_it_was_laid_also_after_a_restart(world: World) {
    let mut world = world;
    let mut full = draft("A-C", 5, &[2]);
    "Balkon, \"links\" -1".clone_into(&mut full.rows[1].label);
    full.rows[1].seats[0].flags.accessible = true;
    full.rows[1].seats[1].flags.companion = true;
    full.rows[2].seats[4].flags.restricted_view = true;
    full.rows[2].seats[4].at = Point { x: -7, y: 1_000_000 };
    full.categories.push(Category { name: "Rang".to_owned(), price: usd(0) });
    full.rows[2].seats.iter_mut().for_each(|seat| "Rang".clone_into(&mut seat.category));
    for focal in [None, Some(Point { x: -3, y: 4 })] {
        full.focal = focal;
        let full = layout(&full);
        let sale = world.hall(vec![Opening::Layout(full.clone()), 5.into()]).await;
        let a = sale.sections[0];
        let seat = "Balkon, \"links\" -1-3";
        let held = world.seated(&sale, 0, &[seat]).await;
        assert_eq!(world.layout_of(a).await, (full.id(), full.clone()));
        world.reopen().await;
        assert_eq!(world.layout_of(a).await, (full.id(), full.clone()));
        assert_eq!(world.states(&sale, 0).await, format!("{seat} held"));
        let event = answered(world.store.event(sale.event_id).await).expect("it is there");
        assert_eq!(
            (event.sections[0].layout_version, event.sections[0].price),
            (Some(full.id()), usd(0))
        );
        let refused = world.ask(&sale, vec![seats(&sale, 0, &[seat])]).await;
        assert!(matches!(refused, Err(Refusal::SeatsUnavailable { .. })), "{refused:?}");
        booking(world.commit_one(confirm(&held)).await);
        world.reopen().await;
        let next = booking(world.ask(&sale, vec![count(&sale, 0, 2)]).await);
        assert_eq!(numbers(&next).len(), 2);
        assert!(world.states(&sale, 0).await.contains(&format!("{seat} sold")));
    }
    world.assert_sound().await;
}

pub async fn a_category_without_a_seat_is_kept_with_its_layout(world: World) {
    let mut world = world;
    let mut draft = draft("A", 3, &[]);
    draft.categories.push(Category { name: "Later".to_owned(), price: usd(1) });
    let laid = layout(&draft);
    let sale = world.hall(vec![Opening::Layout(laid.clone())]).await;
    let before = world.layout_of(sale.sections[0]).await;
    world.reopen().await;
    assert_eq!(world.layout_of(sale.sections[0]).await, before);
    let event = answered(world.store.event(sale.event_id).await).expect("it is there");
    assert_eq!(event.sections[0].price, before.1.lowest_price());
}

pub async fn a_section_that_counts_its_seats_is_laid_when_none_is_in_use(world: World) {
    let sale = world.hall(vec![5.into(), 5.into()]).await;
    let held = booking(world.ask(&sale, vec![count(&sale, 0, 2), count(&sale, 1, 1)]).await);
    let over = booking(world.ask(&sale, vec![count(&sale, 1, 1)]).await);
    booking(world.commit_one(release(&over)).await);
    let refused = world.lay(&sale, 0, plain("A", 9)).await;
    assert_eq!(refusal(refused), Refusal::CapacityInUse { minimum: 2 });
    assert!(
        !answered(world.store.event(sale.event_id).await).expect("it").sections[0].is_numbered()
    );
    // A hold whose time is over is in nobody's way.
    world.clock.advance_ms(600_000);
    let inventory = world.lay(&sale, 0, plain("A", 9)).await.expect("nobody has a seat");
    assert_eq!((inventory.capacity, inventory.held), (9, 0));
    assert_eq!(inventory, world.inventory(&sale, 0).await.inventory);
    assert_eq!(world.layout_of(sale.sections[0]).await.0, plain("A", 9).id());
    let event = answered(world.store.event(sale.event_id).await).expect("it is there");
    assert_eq!(event.sections[0].layout_version, Some(plain("A", 9).id()));
    // What was there before the seats had numbers still answers.
    let late = world.commit_one(confirm(&held)).await;
    assert_eq!(late, Err(Refusal::HoldExpired { expired_at: held.expires_at }));
    world.seated(&sale, 0, &["A-1", "A-9"]).await;
    world.lay(&sale, 1, plain("A", 2)).await.expect("nobody has a seat");
    booking(world.ask(&sale, vec![count(&sale, 1, 2), count(&sale, 0, 2)]).await);
    world.assert_sound().await;
}

pub async fn i3_a_new_layout_neither_moves_nor_removes_a_seat_somebody_has(world: World) {
    let mut world = world;
    let sale = world.hall(vec![laid("A-C", 6)]).await;
    let held = world.seated(&sale, 0, &["B-1", "B-6"]).await;
    let sold = world.seated(&sale, 0, &["A-6"]).await;
    booking(world.commit_one(confirm(&sold)).await);
    world.block(&sale, 0, &["C-2"]).await.expect("it is free");
    let before = (world.layout_of(sale.sections[0]).await, world.inventory(&sale, 0).await);
    let event = answered(world.store.event(sale.event_id).await);

    let mut moved = draft("A-C", 6, &[]);
    moved.rows[0].seats[5].at.x += 1;
    moved.rows[1].seats.remove(5);
    moved.rows[2].seats.remove(1);
    let refused = refusal(world.lay(&sale, 0, layout(&moved)).await);
    let harm = [("A-6", Harm::Moved), ("B-6", Harm::Removed), ("C-2", Harm::Removed)];
    assert_eq!(refused, in_use(&harm));
    let renamed = refusal(world.lay(&sale, 0, plain("A-B", 6)).await);
    assert_eq!(renamed, in_use(&[("C-2", Harm::Removed)]));
    let after = (world.layout_of(sale.sections[0]).await, world.inventory(&sale, 0).await);
    assert_eq!((&after, answered(world.store.event(sale.event_id).await)), (&before, event));
    assert_eq!(
        world.states(&sale, 0).await,
        "A-6 sold, B-1 held, B-6 held, C-2 blocked",
        "nothing has changed"
    );

    // Another order of rows and seats, other prices, further seats and fewer free ones.
    let mut better = draft("A-D", 7, &[4]);
    for row in &mut better.rows {
        row.seats.iter_mut().for_each(|seat| seat.at.x -= 25 - 50);
    }
    better.rows.swap(0, 2);
    better.rows[1].seats.remove(1);
    better.rows.iter_mut().for_each(|row| row.seats.reverse());
    better.categories[0].price = usd(9_900);
    let inventory = world.lay(&sale, 0, layout(&better)).await.expect("it harms nobody");
    assert_eq!(
        (inventory.capacity, inventory.held, inventory.sold, inventory.blocked),
        (27, 2, 1, 1)
    );
    let states = world.states(&sale, 0).await;
    assert_eq!(states, "C-2 blocked, B-6 held, B-1 held, A-6 sold");
    let gone = world.ask(&sale, vec![seats(&sale, 0, &["B-2"])]).await;
    assert_eq!(gone, Err(conflicts(&sale, 0, &[("B-2", None)])));
    world.assert_sound().await;

    world.reopen().await;
    assert_eq!(world.states(&sale, 0).await, states);
    let new = world.seated(&sale, 0, &["D-7"]).await;
    assert_eq!(new.total_price(), usd(9_900));
    let sold = booking(world.commit_one(confirm(&held)).await);
    assert_eq!(sold.total_price(), usd(2_500), "at the price of its day");
    // The bits stand elsewhere now, and are found there.
    booking(world.commit_one(release(&new)).await);
    world.block(&sale, 0, &[]).await.expect("nobody has it");
    assert_eq!(world.states(&sale, 0).await, "B-6 sold, B-1 sold, A-6 sold");
    world.assert_sound().await;
}

pub async fn a_layout_is_laid_between_the_commands_of_a_batch(world: World) {
    let sale = world.hall(vec![laid("A", 4), 3.into()]).await;
    let held = world.seated(&sale, 0, &["A-4"]).await;
    let lay = |place: usize, layout| Command::Lay {
        section_id: sale.sections[place],
        by: sale.organizer_id.into(),
        layout,
    };
    let hold = |wanted: &[&str]| Command::Hold(world.asking(&sale, vec![seats(&sale, 0, wanted)]));
    let party =
        Command::Hold(world.asking(&sale, vec![super::seats::best(&sale, &[1, 0], Party::of(2))]));
    let mut wider = draft("A", 6, &[]);
    let narrow = draft("A", 4, &[]);
    for (seat, old) in wider.rows[0].seats.iter_mut().zip(&narrow.rows[0].seats) {
        seat.at = old.at;
    }
    let mut dearer = wider.clone();
    dearer.categories[0].price = usd(5_000);
    let (wider, dearer) = (layout(&wider), layout(&dearer));
    let batch = [
        hold(&["A-6"]),
        lay(0, wider.clone()),
        hold(&["A-6"]),
        release(&held),
        lay(0, plain("A", 4)),
        lay(1, plain("A", 2)),
        party,
        lay(0, dearer.clone()),
        // It is there already: nothing changes.
        lay(0, dearer.clone()),
    ];
    let committed = world.commit(&batch).await;
    let refused = Err(conflicts(&sale, 0, &[("A-6", None)]));
    assert_eq!(committed.answers[0], refused);
    assert_eq!(committed.answers[4], Err(in_use(&[("A-6", Harm::Removed)])));
    let fine = committed.answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(fine, 7, "{:?}", committed.answers);
    assert_eq!(world.states(&sale, 0).await, "A-6 held");
    assert_eq!(world.states(&sale, 1).await, "A-1 held, A-2 held");
    let (version, found) = world.layout_of(sale.sections[0]).await;
    assert_eq!((found, version), (dearer.clone(), dearer.id()));
    world.assert_sound().await;
    world.clock.advance_ms(600_000);
    let retire = |section_id: &SectionId| Command::Retire { section_id: *section_id };
    world.commit(&sale.sections.iter().map(retire).collect::<Vec<_>>()).await;
    assert_eq!(world.states(&sale, 0).await + &world.states(&sale, 1).await, "");
    world.assert_sound().await;
}
