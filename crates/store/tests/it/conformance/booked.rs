//! Reading bookings, keys and live counters.

use super::{Sale, World, answered, booking, confirm, key, release};
use engine::{BookingId, BookingStatus, By, Command, Hold, KeyUse};
use store::{BookingFilter, PageRequest};

const NOBODY: BookingFilter = BookingFilter { user: None, event: None, status: None };
const ALL: PageRequest<BookingId> = PageRequest { after: None, limit: 100 };

impl World {
    async fn listed(&self, filter: &BookingFilter) -> Vec<BookingId> {
        let found = answered(self.store.bookings(filter, ALL).await);
        found.items.iter().map(|booking| booking.booking_id).collect()
    }

    async fn of_status(&self, sale: &Sale, status: BookingStatus) -> Vec<BookingId> {
        let filter = BookingFilter { event: Some(sale.event_id), status: Some(status), ..NOBODY };
        self.listed(&filter).await
    }
}

pub async fn a_booking_is_given_back_as_it_was_answered(world: World) {
    let sale = world.sale_with(&[("Loge \"1\"", 9), ("Ранг", 9)], |_| ()).await;
    let held = world.held(&sale, &[(1, 2), (0, 1), (1, 1)]).await;
    let seats: Vec<_> = held.items.iter().map(|item| (&*item.section_name, item.seats)).collect();
    assert_eq!(seats, [("Loge \"1\"", 1), ("Ранг", 3)], "one item for each section");
    assert_eq!((held.created_at, held.updated_at), (world.clock.now(), world.clock.now()));
    assert_eq!(world.stored(held.booking_id).await, Some(held.clone()));
    world.clock.advance_ms(1_000);
    let (booking_id, user_id) = (held.booking_id, held.user_id);
    let extended =
        booking(world.commit_one(Command::Extend { booking_id, by: By::User(user_id) }).await);
    assert_eq!(extended.expires_at, world.clock.now().plus_ms(600_000));
    assert_eq!(world.stored(booking_id).await, Some(extended.clone()));
    let sold = booking(world.commit_one(confirm(&held)).await);
    assert_eq!(sold.confirmed_at, Some(world.clock.now()));
    assert_eq!((sold.version, sold.expires_at), (3, extended.expires_at));
    assert_eq!(world.stored(booking_id).await, Some(sold));
    assert_eq!(world.stored(world.mint.booking(sale.event_id)).await, None);
}

pub async fn bookings_are_listed_newest_first_page_by_page_without_gaps(world: World) {
    let sale = world.sale(&[("A", 100)]).await;
    let mut made = Vec::new();
    for _ in 0..5 {
        world.clock.advance_ms(1);
        // Five of each millisecond.
        let holds: Vec<_> = (0..5).map(|_| world.hold(&sale, &[(0, 1)])).collect();
        made.extend(holds.iter().map(|hold| hold.booking_id));
        world.commit(&holds.into_iter().map(Command::Hold).collect::<Vec<_>>()).await;
    }
    made.reverse();
    let filter = BookingFilter { event: Some(sale.event_id), ..NOBODY };
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let found = answered(world.store.bookings(&filter, PageRequest { after, limit: 4 }).await);
        seen.extend(found.items.iter().map(|booking| booking.booking_id));
        after = seen.last().copied();
        assert_eq!(found.has_more, found.items.len() == 4);
        if !found.has_more {
            break;
        }
        world.clock.advance_ms(1);
        world.held(&sale, &[(0, 1)]).await;
    }
    assert_eq!(seen, made);
}

pub async fn bookings_are_filtered_by_user_event_and_status(world: World) {
    let (sale, other) = (world.sale(&[("A", 9)]).await, world.sale(&[("A", 9)]).await);
    let first = world.held(&sale, &[(0, 1)]).await;
    let again = Hold { user_id: first.user_id, ..world.hold(&other, &[(0, 1)]) };
    let again = booking(world.commit_one(Command::Hold(again)).await);
    let sold = world.sold(&sale, &[(0, 1)]).await;
    let given_back = world.held(&sale, &[(0, 1)]).await;
    booking(world.commit_one(release(&given_back)).await);
    let of_user = BookingFilter { user: Some(first.user_id), ..NOBODY };
    assert_eq!(world.listed(&of_user).await, [again.booking_id, first.booking_id]);
    let of_both = BookingFilter { event: Some(other.event_id), ..of_user };
    assert_eq!(world.listed(&of_both).await, [again.booking_id]);
    let nobody = BookingFilter { user: Some(world.mint.user()), ..NOBODY };
    assert!(world.listed(&nobody).await.is_empty());
    assert_eq!(world.of_status(&sale, BookingStatus::Hold).await, [first.booking_id]);
    assert_eq!(world.of_status(&sale, BookingStatus::Confirmed).await, [sold.booking_id]);
    assert_eq!(world.of_status(&sale, BookingStatus::Cancelled).await, [given_back.booking_id]);
    assert!(world.of_status(&sale, BookingStatus::Expired).await.is_empty());
}

pub async fn a_due_hold_is_listed_as_expired_and_no_more_as_a_hold(world: World) {
    let sale = world.sale(&[("A", 9)]).await;
    let held = world.held(&sale, &[(0, 1)]).await;
    let sold = world.sold(&sale, &[(0, 1)]).await;
    // A sign of life tells the time to a store whose clock is the database's.
    world.clock.advance_ms(590_000);
    world.store.ping().await.expect("the store answers");
    assert_eq!(world.of_status(&sale, BookingStatus::Hold).await, [held.booking_id]);
    world.clock.advance_ms(10_000);
    world.store.ping().await.expect("the store answers");
    for swept in [false, true] {
        if swept {
            world.commit_one(Command::Retire { section_id: sale.sections[0] }).await.expect("ok");
        }
        assert!(world.of_status(&sale, BookingStatus::Hold).await.is_empty());
        assert_eq!(world.of_status(&sale, BookingStatus::Expired).await, [held.booking_id]);
        assert_eq!(world.of_status(&sale, BookingStatus::Confirmed).await, [sold.booking_id]);
        let stored = world.stored(held.booking_id).await.expect("it is kept");
        assert_eq!(stored.status == BookingStatus::Expired, swept);
    }
}

pub async fn due_seats_are_shown_apart_until_they_are_given_back(world: World) {
    let sale = world.sale(&[("A", 9), ("B", 9)]).await;
    world.held(&sale, &[(0, 2), (1, 1)]).await;
    world.clock.advance_ms(100);
    world.held(&sale, &[(0, 3)]).await;
    let due = async |place| world.inventory(&sale, place).await.due;
    world.clock.advance_ms(599_899);
    assert_eq!((due(0).await, due(1).await), (0, 0));
    world.clock.advance_ms(1);
    assert_eq!((due(0).await, due(1).await), (2, 1));
    world.clock.advance_ms(100);
    assert_eq!((due(0).await, due(1).await), (5, 1));
    assert_eq!(world.inventory(&sale, 0).await.inventory.held, 5);
    world.commit_one(Command::Retire { section_id: sale.sections[1] }).await.expect("ok");
    // The cart reached into the other section, which was locked for it and gave back its own as well.
    assert_eq!((due(0).await, due(1).await), (0, 0));
    assert_eq!(world.counters(&sale, 0).await, (0, 0, 9));
}

pub async fn the_counters_of_many_events_are_read_at_once(world: World) {
    let (first, second) = (world.sale(&[("A", 3), ("B", 4)]).await, world.sale(&[("A", 5)]).await);
    world.sale(&[("A", 6)]).await;
    world.held(&second, &[(0, 2)]).await;
    let events = [second.event_id, world.mint.event(), first.event_id];
    let mut live = answered(world.store.inventories(&events).await);
    live.sort_by_key(|it| it.inventory.capacity);
    let seen: Vec<_> =
        live.iter().map(|it| (it.inventory.capacity, it.inventory.available())).collect();
    assert_eq!(seen, [(3, 3), (4, 4), (5, 3)]);
    assert!(answered(world.store.inventories(&[]).await).is_empty());
    assert!(answered(world.store.inventories(&[world.mint.event()]).await).is_empty());
}

pub async fn keys_are_told_with_what_they_name(world: World) {
    let sale = world.sale(&[("A", 9)]).await;
    let keyed = |name: &str, fingerprint| Hold {
        key: Some((key(name), fingerprint)),
        ..world.hold(&sale, &[(0, 1)])
    };
    let (first, second) = (keyed("k1", i64::MIN), keyed("k1", i64::MAX));
    world.commit(&[first.clone(), second.clone()].map(Command::Hold)).await;
    let sold = Command::Confirm { booking_id: first.booking_id, by: By::User(first.user_id) };
    let sold = booking(world.commit_one(sold).await);
    let stranger = world.mint.user();
    let names = [(first.user_id, key("k1")), (stranger, key("k1")), (first.user_id, key("k2"))];
    let holds = answered(world.store.keyed_holds(&names).await);
    assert_eq!(holds.len(), 1);
    let used = KeyUse { booking_id: first.booking_id, fingerprint: i64::MIN };
    assert_eq!(holds[&(first.user_id, key("k1"))], (used, sold));
    assert!(answered(world.store.keyed_holds(&[]).await).is_empty());
    let of_second = answered(world.store.keyed_holds(&[(second.user_id, key("k1"))]).await);
    let (used, _) = &of_second[&(second.user_id, key("k1"))];
    assert_eq!(used.fingerprint, i64::MAX);
}
