//! Callers that hang up: a future dropped at any of its awaits.

use super::{World, answered, key, refusal};
use engine::account::UserChange;
use engine::event::EventChange;
use engine::{Command, Hold, Refusal};
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use store::{BookingFilter, EventFilter, PageRequest};

/// At which of its awaits a future is dropped at the latest: more than any has.
const AWAITS: usize = 16;
/// How often each test goes through all of them: what is ready at once is no await.
const ROUNDS: usize = 5;

/// For every round, at which await to hang up.
fn hang_ups() -> impl Iterator<Item = usize> {
    (0..ROUNDS).flat_map(|_| 1..=AWAITS)
}

/// Waits for `future`, and drops it when it waits for the `awaits`-th time.
async fn abandon<T>(future: impl Future<Output = T>, awaits: usize) -> Option<T> {
    let mut future = pin!(future);
    let mut left = awaits;
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => {
            left -= 1;
            if left == 0 { Poll::Ready(None) } else { Poll::Pending }
        }
    })
    .await
}

impl World {
    /// Waits until what abandoned writes had begun is over: a commit that was sent still happens.
    async fn settled(&self) {
        answered(self.store.purge(1).await);
        // The embedded store has one writer, and that was it; a server has many.
        let Some(url) = &self.fresh.url else { return };
        let busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
            AND state <> 'idle' AND pid <> pg_backend_pid()";
        for _ in 0..200 {
            if testbed::postgres::shared().sql(url, busy).trim() == "0" {
                return;
            }
        }
        panic!("what was abandoned never ends");
    }
}

pub async fn a_commit_nobody_waits_for_happens_whole_or_not_at_all(world: World) {
    let sale = world.sale(&[("A", 1_000), ("B", 1_000)]).await;
    let (mut finished, mut held) = (0, 0);
    for awaits in hang_ups() {
        let hold = Hold { key: Some((key("k1"), 1)), ..world.hold(&sale, &[(0, 1), (1, 1)]) };
        let batch = [Command::Hold(hold.clone())];
        let waited = abandon(world.store.commit(&batch), awaits).await;
        finished += usize::from(waited.is_some());
        // Somebody else comes along, and then the same caller again.
        world.held(&sale, &[(0, 1)]).await;
        let was_there = world.stored(hold.booking_id).await.is_some();
        let retry = Hold { booking_id: world.mint.booking(sale.event_id), ..hold };
        let again = world.commit_one(Command::Hold(retry)).await.expect("there are seats");
        let engine::Outcome::Booking { replayed, .. } = again else { panic!("{again:?}") };
        assert_eq!(replayed, was_there, "after {awaits} awaits");
        assert!(waited.is_none() || was_there, "what was acknowledged is there");
        held += 1;
        assert_eq!(world.counters(&sale, 1).await.0, held, "after {awaits} awaits");
        world.assert_sound().await;
    }
    assert!(finished > 0, "{AWAITS} awaits are too few to finish a commit");
    // The embedded store blocks its thread for a batch, so there is nothing to hang up on.
    let is_embedded = world.fresh.url.is_none();
    assert_eq!(finished == ROUNDS * AWAITS, is_embedded, "{finished} commits were not abandoned");
}

pub async fn an_account_write_nobody_waits_for_leaves_the_store_usable(world: World) {
    let mut abandoned = 0;
    for (number, awaits) in hang_ups().enumerate() {
        let user = world.new_user(&format!("user-{number}@example.org"));
        abandoned += usize::from(abandon(world.store.create_user(&user), awaits).await.is_none());
        let name = Some(Some("Somebody".to_owned()));
        abandon(world.store.update_user(user.user_id, UserChange { name, email: None }), awaits)
            .await;
        abandon(world.store.set_password(user.user_id, &user.password_hash, "$new"), awaits).await;
        world.settled().await;
        let there = answered(world.store.user(user.user_id).await);
        let namesake = world.new_user(&user.email);
        match world.store.create_user(&namesake).await {
            Ok(()) => assert_eq!(there, None),
            error => {
                assert_eq!(refusal(error), Refusal::EmailTaken);
                assert!(there.is_some());
            }
        }
    }
    assert!(abandoned > 0);
}

pub async fn an_event_write_nobody_waits_for_leaves_the_store_usable(world: World) {
    let sale = world.sale(&[("A", 9)]).await;
    for (number, awaits) in hang_ups().enumerate() {
        let change = EventChange { title: Some("Abandoned".to_owned()), ..EventChange::default() };
        let (event_id, organizer) = (sale.event_id, sale.organizer_id);
        abandon(world.store.revise_event(event_id, organizer.into(), None, change.clone()), awaits)
            .await;
        let section = world.mint.section_of(event_id, &format!("Section {number}"));
        abandon(world.store.add_section(&section, 5.into(), organizer.into(), None), awaits).await;
        abandon(world.store.purge(10), awaits).await;
        world.settled().await;
        let before = answered(world.store.event(event_id).await).expect("it was recorded");
        let version = before.event.version;
        let revised =
            world.store.revise_event(event_id, organizer.into(), Some(version), change).await;
        revised.expect("nobody is in the way");
        // A section is there with its inventory, or neither is.
        let inventories = answered(world.store.inventories(&[event_id]).await);
        assert_eq!(inventories.len(), before.sections.len());
    }
    world.assert_sound().await;
}

pub async fn a_read_nobody_waits_for_leaves_the_store_usable(world: World) {
    let sale = world.sale(&[("A", 100)]).await;
    for _ in 0..20 {
        world.held(&sale, &[(0, 1)]).await;
    }
    let filter = BookingFilter { user: None, event: Some(sale.event_id), status: None };
    for awaits in hang_ups() {
        abandon(world.store.audit(), awaits).await;
        abandon(world.store.reckon(engine::log::Position::default()), awaits).await;
        abandon(world.store.bookings(&filter, PageRequest { after: None, limit: 100 }), awaits)
            .await;
        abandon(
            world.store.events(&EventFilter::default(), PageRequest { after: None, limit: 9 }),
            awaits,
        )
        .await;
    }
    // No reader is stuck in a snapshot of then.
    world.held(&sale, &[(0, 1)]).await;
    let readers = (0..8).map(|_| world.store.reckon(engine::log::Position::default()));
    for reckoning in futures_util::future::join_all(readers).await {
        assert_eq!(answered(reckoning).inventories[0].held, 21);
    }
    world.assert_sound().await;
}
