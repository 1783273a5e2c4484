//! What workers and the person on call need.

use super::{World, answered, booking, confirm, creation_key};
use crate::raw::Raw;
use engine::account::CUTOFF_KEPT_MS;
use engine::log::Position;
use engine::{By, Command, Fault};
use store::CREATION_KEY_KEPT_MS;

pub async fn sections_with_due_holds_are_told_longest_overdue_first(world: World) {
    let sale = world.sale(&[("A", 9), ("B", 9), ("C", 9)]).await;
    let first = world.held(&sale, &[(1, 1)]).await;
    world.clock.advance_ms(10);
    let second = world.held(&sale, &[(0, 1)]).await;
    world.held(&sale, &[(1, 1)]).await;
    world.sold(&sale, &[(2, 1)]).await;
    let due = async |limit| answered(world.store.due_sections(limit).await);
    world.clock.advance_ms(599_989);
    assert!(due(10).await.is_empty());
    world.clock.advance_ms(1);
    assert_eq!(due(10).await, [(sale.sections[1], first.expires_at)]);
    world.clock.advance_ms(10);
    let both = [(sale.sections[1], first.expires_at), (sale.sections[0], second.expires_at)];
    assert_eq!(due(10).await, both);
    assert_eq!(due(1).await, both[..1]);
    let retire = |section_id| Command::Retire { section_id };
    let swept = world.commit(&[retire(sale.sections[0]), retire(sale.sections[1])]).await;
    assert_eq!(swept.expired, 3);
    assert!(due(10).await.is_empty());
    world.assert_sound().await;
}

pub async fn counters_that_contradict_bookings_are_not_decided_on(world: World) {
    let sale = world.sale(&[("A", 9), ("B", 9)]).await;
    let section_id = sale.sections[0];
    let (held, sold) = (world.held(&sale, &[(0, 2)]).await, world.sold(&sale, &[(0, 1)]).await);
    let mut raw = Raw::of(&world.fresh).await;
    let of_it = format!("WHERE section_id = {}", raw.id(section_id));
    let is_found = async |command| {
        let failed = world.store.commit(&[command]).await;
        let found = matches!(&failed, Err(Fault::Contradiction { section_id: of, .. }) if *of == section_id);
        assert!(found, "{failed:?}");
        // No other section is concerned.
        world.held(&sale, &[(1, 1)]).await;
    };
    raw.run(&format!("UPDATE inventory SET sold = 0 {of_it}")).await;
    is_found(Command::Cancel { booking_id: sold.booking_id, by: By::System }).await;
    raw.run(&format!("UPDATE inventory SET sold = 1, held = 1 {of_it}")).await;
    is_found(confirm(&held)).await;
    // A due hold is loaded with every batch of its section.
    world.clock.advance_ms(600_000);
    is_found(Command::Hold(world.hold(&sale, &[(0, 1)]))).await;
    is_found(Command::Retire { section_id }).await;
    assert!(!world.store.repair(section_id, false).await.expect("it is repaired").is_empty());
    world.held(&sale, &[(0, 1)]).await;
    world.assert_sound().await;
}

pub async fn the_reckoning_goes_on_from_its_cursor(world: World) {
    let reckon = async |cursor| world.reckon(cursor).await;
    let empty = reckon(Position::default()).await;
    assert!(empty.inventories.is_empty() && empty.folded.is_empty());
    let (sale, other) = (world.sale(&[("A", 9)]).await, world.sale(&[("A", 9)]).await);
    world.sold(&sale, &[(0, 2)]).await;
    let mut all = reckon(empty.cursor).await;
    let by_id = |of: &engine::Inventory| of.section_id;
    all.folded.sort_by_key(by_id);
    all.inventories.sort_by_key(by_id);
    assert_eq!(all.folded, all.inventories);
    assert_eq!(all.folded[0].version, 3);
    let nothing = reckon(all.cursor).await;
    assert_eq!((nothing.folded.len(), nothing.cursor), (0, all.cursor));
    assert_eq!(nothing.inventories.len(), 2);
    world.held(&other, &[(0, 3)]).await;
    let part = reckon(all.cursor).await;
    let [folded] = &part.folded[..] else { panic!("one section has changed: {part:?}") };
    assert_eq!((folded.section_id, folded.event_id), (other.sections[0], other.event_id));
    assert_eq!((folded.held, folded.capacity, folded.version), (3, 0, 1));
}

pub async fn the_audit_counts_what_it_has_looked_at(world: World) {
    let sale = world.sale(&[("A", 9), ("B", 9)]).await;
    world.sold(&sale, &[(0, 1), (1, 1)]).await;
    world.held(&sale, &[(0, 1)]).await;
    let report = answered(world.store.audit().await);
    assert!(report.is_clean(), "{:?}", report.told);
    // Two openings, a cart held and confirmed in two sections, and one hold.
    assert_eq!((report.sections, report.bookings, report.log_rows), (2, 2, 7));
}

pub async fn old_keys_and_tokens_are_removed_and_no_others(world: World) {
    let store = &world.store;
    let ada = world.user("ada@example.org").await.user_id;
    let create = async |name: &str| {
        let (new, key) = (world.mint.event_on_sale(ada), creation_key(ada, name, 1));
        store
            .create_event(&new, suite::world::owner(&new), &[], Some(&key))
            .await
            .expect("recorded")
            .replayed
    };
    create("k1").await;
    create("k2").await;
    create("k3").await;
    world.family(ada, 1).await;
    world.clock.advance_ms(CREATION_KEY_KEPT_MS - 1);
    create("k4").await;
    world.family(ada, 2).await;
    // The first token is over; no key is.
    assert_eq!(answered(store.purge(100).await), 1);
    world.clock.advance_ms(1);
    assert_eq!(answered(store.purge(2).await), 2);
    assert_eq!(answered(store.purge(2).await), 1);
    assert_eq!(answered(store.purge(2).await), 0);
    assert!(create("k4").await, "a key that is not old is kept");
    let next = ([3; 32], world.clock.now().plus_ms(1));
    store.rotate(&[2; 32], next).await.expect("a token that is not old is kept");
}

pub async fn a_cutoff_is_removed_when_no_token_can_live_that_it_ends(world: World) {
    let store = &world.store;
    let (ada, bob) = (world.mint.user(), world.mint.user());
    let purged = async || answered(store.purge(100).await);
    let kept = async || {
        let found = answered(store.cutoffs(100).await);
        found.into_iter().map(|cutoff| cutoff.user_id).collect::<Vec<_>>()
    };
    let until = answered(store.end_logins(ada).await).plus_ms(CUTOFF_KEPT_MS);
    world.clock.advance_ms(60_000);
    answered(store.end_logins(bob).await);
    world.clock.advance_ms(until.since_ms(world.clock.now()) - 1);
    assert_eq!((purged().await, kept().await), (0, vec![bob, ada]));
    world.clock.advance_ms(1);
    assert_eq!((purged().await, kept().await), (1, vec![bob]));
    answered(store.end_logins(bob).await);
    world.clock.advance_ms(60_000);
    assert_eq!((purged().await, kept().await), (0, vec![bob]), "it was ended anew");
    world.clock.advance_ms(CUTOFF_KEPT_MS);
    assert_eq!((purged().await, kept().await), (1, vec![]));
}

pub async fn the_schema_goes_down_and_up_again(world: World) {
    let store = &world.store;
    let sale = world.sale(&[("A", 9)]).await;
    world.held(&sale, &[(0, 1)]).await;
    let known = answered(store.migrations().await);
    assert!(!known.is_empty() && known.iter().all(|(_, applied)| *applied));
    let steps: Vec<_> = known.into_iter().map(|(step, _)| step).collect();
    assert!(answered(store.migrate(None).await).is_empty(), "there is nothing left to do");
    let down = answered(store.migrate(Some(0)).await);
    assert_eq!(down, steps);
    assert!(answered(store.migrations().await).iter().all(|(_, applied)| !applied));
    store.audit().await.expect_err("there are no tables");
    assert_eq!(answered(store.migrate(None).await), steps);
    let sale = world.sale(&[("A", 9)]).await;
    booking(world.commit_one(Command::Hold(world.hold(&sale, &[(0, 1)]))).await);
    let report = answered(store.audit().await);
    assert_eq!((report.is_clean(), report.bookings), (true, 1), "nothing has come back");
}

pub async fn the_store_tells_its_clock_and_that_it_answers(world: World) {
    for ms in [0, 60_000] {
        world.clock.advance_ms(ms);
        answered(world.store.ping().await);
        // Where the database has the clock, it goes on by itself from the last sign of life.
        let ahead_ms = world.store.now().since_ms(world.clock.now());
        assert!((0..5_000).contains(&ahead_ms), "{ahead_ms} ms");
    }
}

pub async fn every_migration_says_what_taking_it_back_deletes(world: World) {
    let steps = answered(world.store.migrations().await);
    assert!(!steps.is_empty());
    for (step, _) in steps {
        let (number, name) = (step.version, step.name);
        let is_told = step.lost.len() > 10 && step.lost.ends_with('.');
        assert!(
            is_told,
            "{number:04}_{name}.down.sql begins with no `-- Lost: …`: {:?}",
            step.lost
        );
    }
}
