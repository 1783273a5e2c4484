//! Connections that break at the worst moment: no outcome is reported wrongly, nothing happens twice
//! (I12).

mod organizations;
mod transfers;

use super::{Sale, Stand, booking, confirm, key, one};
use engine::account::UserChange;
use engine::event::EventChange;
use engine::{Booking, BookingStatus, By, Command, Hold, Outcome, SectionChange};
use std::sync::Arc;
use std::time::Duration;
use store::{CreationKey, Store};
use suite::world::usd;
use testbed::proxy::Proxy;
use testbed::steps::{Action, Steps};

/// A store whose every step is counted.
struct Fragile {
    stand: Stand,
    store: Arc<dyn Store>,
    steps: Steps,
    proxy: Proxy,
}

impl Fragile {
    async fn new() -> Self {
        let stand = Stand::new().await;
        let steps = Steps::new();
        let proxy = stand.proxy(&steps);
        let store = stand.behind(&proxy).await;
        Self { stand, store, steps, proxy }
    }

    /// Does `call` three times, and breaks the third one at its last step, the COMMIT: its answer is
    /// lost, or it never arrives.
    async fn lose_commit<T>(&self, action: fn() -> Action, call: impl AsyncFn(u8) -> T) -> T {
        call(0).await;
        // The statements are prepared now: another one takes as many steps.
        let before = self.steps.count();
        call(1).await;
        let commit = self.steps.count() - before;
        self.steps.arm(commit, action());
        let value = call(2).await;
        assert!(self.steps.fired(), "there were {commit} steps before");
        value
    }

    async fn hold(&self, sale: &Sale, seats: u32) -> Booking {
        booking(one(&*self.store, Command::Hold(self.stand.hold(sale, &[(0, seats)]))).await)
    }

    async fn answer(&self, command: Command) -> Booking {
        booking(one(&*self.store, command).await)
    }
}

/// Both ends that a COMMIT can have.
const ENDS: [fn() -> Action; 2] = [|| Action::CutAfter, || Action::CutBefore];

#[tokio::test(flavor = "multi_thread")]
async fn i12_a_hold_whose_commit_is_lost_is_held_once() {
    let it = Fragile::new().await;
    for end in ENDS {
        for has_key in [true, false] {
            if !has_key {
                // It takes one trip, and is one step once its statement is prepared.
                let other = it.stand.sale(&[9]).await;
                for _ in 0..2 {
                    it.hold(&other, 1).await;
                }
            }
            let sale = it.stand.sale(&[9]).await;
            let hold = async |_| {
                let key = has_key.then(|| (key("k1"), 1));
                let hold = Hold { key, ..it.stand.hold(&sale, &[(0, 2)]) };
                let answer = one(&*it.store, Command::Hold(hold.clone())).await;
                (hold, answer)
            };
            let (hold, answer) = it.lose_commit(end, hold).await;
            let stored = it.stand.stored(hold.booking_id).await.expect("it is there");
            assert_eq!(stored.version, 1);
            let Ok(Outcome::Booking { booking, .. }) = answer else { panic!("{answer:?}") };
            assert_eq!(booking, stored);
            let inventory = it.stand.inventory(&sale, 0).await;
            assert_eq!((inventory.held, inventory.version), (6, 4), "three holds and a beginning");
        }
    }
    it.stand.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i12_a_confirm_whose_commit_is_lost_sells_once() {
    let it = Fragile::new().await;
    for end in ENDS {
        let sale = it.stand.sale(&[9]).await;
        let held = [it.hold(&sale, 1).await, it.hold(&sale, 1).await, it.hold(&sale, 1).await];
        let sell = async |turn: u8| it.answer(confirm(&held[usize::from(turn)])).await;
        let sold = it.lose_commit(end, sell).await;
        assert_eq!((sold.status, sold.version), (BookingStatus::Confirmed, 2));
        let inventory = it.stand.inventory(&sale, 0).await;
        assert_eq!((inventory.sold, inventory.held, inventory.version), (3, 0, 7));
    }
    it.stand.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i12_an_extension_whose_commit_is_lost_is_had_once() {
    let it = Fragile::new().await;
    for end in ENDS {
        let sale = it.stand.sale(&[9]).await;
        let held = [it.hold(&sale, 1).await, it.hold(&sale, 1).await, it.hold(&sale, 1).await];
        let extend = |booking: &Booking| Command::Extend {
            booking_id: booking.booking_id,
            by: By::User(booking.user_id),
        };
        it.stand.clock.advance_ms(1_000);
        let more = async |turn: u8| it.answer(extend(&held[usize::from(turn)])).await;
        let extended = it.lose_commit(end, more).await;
        assert_eq!(extended.expires_at, held[2].expires_at.plus_ms(1_000));
        assert_eq!(extended.version, 2);
        // Up to the longest life: the second attempt would gain nothing.
        for _ in 0..2 {
            it.stand.clock.advance_ms(590_000);
            for booking in &held {
                it.answer(extend(booking)).await;
            }
        }
        it.stand.clock.advance_ms(100_000);
        let last = it.lose_commit(end, more).await;
        assert_eq!((last.expires_at, last.version), (held[2].max_expires_at, 5));
        assert_eq!(it.stand.inventory(&sale, 0).await.version, 1 + 3 * 5);
    }
    it.stand.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i12_a_cancellation_or_a_new_capacity_whose_commit_is_lost_is_made_once() {
    let it = Fragile::new().await;
    for end in ENDS {
        let sale = it.stand.sale(&[9]).await;
        let mut sold = Vec::new();
        for _ in 0..3 {
            let held = it.hold(&sale, 1).await;
            sold.push(it.answer(confirm(&held)).await);
        }
        let cancel = async |turn: u8| {
            let booking_id = sold[usize::from(turn)].booking_id;
            it.answer(Command::Cancel { booking_id, by: By::User(sale.organizer_id) }).await
        };
        let cancelled = it.lose_commit(end, cancel).await;
        assert_eq!((cancelled.status, cancelled.version), (BookingStatus::Cancelled, 3));
        let resize = async |turn: u8| {
            let (section_id, by) = (sale.sections[0], sale.organizer_id);
            let capacity = 20 + i64::from(turn);
            one(&*it.store, Command::Resize { section_id, by: by.into(), capacity }).await
        };
        let inventory = it.stand.inventory(&sale, 0).await;
        assert_eq!((inventory.sold, inventory.version), (0, 10));
        let resized = it.lose_commit(end, resize).await;
        let inventory = it.stand.inventory(&sale, 0).await;
        assert_eq!((inventory.capacity, inventory.version), (22, 13));
        assert_eq!(resized, Ok(Outcome::Inventory(inventory)));
    }
    it.stand.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i12_an_account_whose_commit_is_lost_is_there_once() {
    let it = Fragile::new().await;
    let (store, stand) = (&it.store, &it.stand);
    for (round, end) in ENDS.into_iter().enumerate() {
        let create = async |turn: u8| {
            let user = stand.user(&format!("{round}-{turn}@example.org"));
            store.create_user(&user).await.expect("the address is free");
            user
        };
        let user = it.lose_commit(end, create).await;
        let stored = store.user(user.user_id).await.expect("the store answers");
        assert_eq!(stored.as_ref(), Some(&user));
        let rename = async |turn: u8| {
            let email = format!("{round}-{turn}-new@example.org");
            let change = UserChange { name: Some(Some("Ada".to_owned())), email: Some(email) };
            store.update_user(user.user_id, change).await
        };
        let renamed = it.lose_commit(end, rename).await.expect("a free address");
        assert_eq!(renamed.email, format!("{round}-2-new@example.org"));
        let number = u8::try_from(round).expect("two rounds") * 10;
        let token = stand.token(user.user_id, number);
        let opened = store.open_family(&token, &user.password_hash).await;
        assert!(opened.expect("the store answers").is_some());
        let rotate = async |turn: u8| {
            let next = ([number + turn + 1; 32], stand.token(user.user_id, 0).expires_at);
            store.rotate(&[number + turn; 32], next).await
        };
        let (rotated, _) = it.lose_commit(end, rotate).await.expect("the first use");
        assert_eq!((rotated.token_hash, rotated.spent_at), ([number + 3; 32], None));
        let hash = |turn: u8| match turn {
            0 => user.password_hash.clone(),
            _ => format!("$argon2id${turn}"),
        };
        let set =
            async |turn: u8| store.set_password(user.user_id, &hash(turn), &hash(turn + 1)).await;
        let changed = it.lose_commit(end, set).await.expect("the store answers");
        let cutoffs = store.cutoffs(9).await.expect("the store answers");
        let own = cutoffs.iter().find(|cutoff| cutoff.user_id == user.user_id);
        assert_eq!(own.map(|cutoff| cutoff.not_before), changed, "of the last attempt");
        assert!(changed.is_some(), "it was changed");
        let stored = store.user(user.user_id).await.expect("the store answers");
        assert_eq!(stored.expect("it is there").password_hash, hash(3));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i12_an_event_whose_commit_is_lost_is_made_and_changed_once() {
    let it = Fragile::new().await;
    let (store, stand) = (&it.store, &it.stand);
    for end in ENDS {
        for has_key in [true, false] {
            let organizer_id = stand.mint.user();
            let named = |name: &str| {
                let key = CreationKey { user_id: organizer_id, key: key(name), fingerprint: 1 };
                has_key.then_some(key)
            };
            let create = async |turn: u8| {
                let mut new = stand.mint.event_on_sale(organizer_id);
                let event_id = new.event.terms.event_id;
                new.sections.push(stand.mint.section_of(event_id, "A"));
                let name = named(&format!("event-{turn}"));
                let created = store
                    .create_event(&new, suite::world::owner(&new), &[9.into()], name.as_ref())
                    .await;
                (new, created.expect("recorded"))
            };
            let (new, created) = it.lose_commit(end, create).await;
            let event_id = new.event.terms.event_id;
            assert_eq!((created.id, created.replayed), (event_id, false));
            assert_eq!(store.event(event_id).await.expect("it answers"), Some(new.clone()));
            let add = async |turn: u8| {
                let section = stand.mint.section_of(event_id, &format!("S{turn}"));
                let name = named(&format!("section-{turn}"));
                let added =
                    store.add_section(&section, 5.into(), organizer_id.into(), name.as_ref()).await;
                (section.section_id, added.expect("a free name"))
            };
            let (section_id, added) = it.lose_commit(end, add).await;
            assert_eq!((added.id, added.replayed), (section_id, false));
            let stored = store.event(event_id).await.expect("it answers").expect("it is there");
            assert_eq!((stored.sections.len(), stored.event.version), (4, 4));
            let revise = async |turn: u8| {
                let change =
                    EventChange { title: Some(format!("T{turn}")), ..EventChange::default() };
                let expected = Some(4 + i64::from(turn));
                store.revise_event(event_id, organizer_id.into(), expected, change).await
            };
            it.lose_commit(end, revise).await.expect("at the version it was seen");
            let change = async |turn: u8| {
                let (price, capacity) =
                    (Some(usd(100 + i64::from(turn))), Some(50 + i64::from(turn)));
                let change = SectionChange { price, capacity, ..SectionChange::default() };
                let expected = Some(7 + i64::from(turn));
                store
                    .revise_section(event_id, section_id, organizer_id.into(), expected, change)
                    .await
            };
            let inventory = it.lose_commit(end, change).await.expect("at the version it was seen");
            // Three changes, each of the capacity and of the price.
            assert_eq!((inventory.capacity, inventory.version), (52, 7));
            let stored = store.event(event_id).await.expect("it answers").expect("it is there");
            assert_eq!((stored.event.version, &*stored.event.title), (10, "T2"));
        }
    }
    stand.assert_sound().await;
}

/// A batch of everything, in an event of its own.
async fn mixed(it: &Fragile) -> (Sale, Vec<Command>) {
    let sale = it.stand.sale(&[20, 20]).await;
    let (sell, extend) = (it.hold(&sale, 1).await, it.hold(&sale, 2).await);
    it.stand.clock.advance_ms(1);
    let batch = vec![
        Command::Hold(it.stand.keyed(&sale, &[(0, 1), (1, 1)], "k1")),
        Command::Hold(it.stand.keyed(&sale, &[(0, 21)], "k2")),
        Command::Hold(it.stand.hold(&sale, &[(1, 3)])),
        confirm(&sell),
        Command::Extend { booking_id: extend.booking_id, by: By::User(extend.user_id) },
    ];
    (sale, batch)
}

/// Breaks a batch at each of its steps in turn.
async fn sweep(action: fn() -> Action) {
    let it = Fragile::new().await;
    for _ in 0..2 {
        let (_, batch) = mixed(&it).await;
        it.store.commit(&batch).await.expect("nothing breaks yet");
    }
    for k in 1.. {
        let (sale, batch) = mixed(&it).await;
        it.steps.arm(k, action());
        let committed = it.store.commit(&batch).await;
        let fired = it.steps.fired();
        it.steps.disarm();
        let committed = committed.unwrap_or_else(|fault| panic!("step {k}: {fault:?}"));
        let refused = committed.answers.iter().filter(|answer| answer.is_err()).count();
        assert_eq!(refused, 1, "step {k}: {:?}", committed.answers);
        let [a, b] = [it.stand.inventory(&sale, 0).await, it.stand.inventory(&sale, 1).await];
        assert_eq!((a.held, a.sold, a.version, b.held, b.version), (3, 1, 6, 4, 3), "step {k}");
        if !fired {
            assert!(k > 8, "a batch has more than {k} steps");
            break;
        }
    }
    it.stand.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i12_a_batch_that_is_cut_before_any_of_its_steps_is_committed_once() {
    sweep(|| Action::CutBefore).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i12_a_batch_that_is_cut_after_any_of_its_steps_is_committed_once() {
    sweep(|| Action::CutAfter).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i12_a_second_cut_after_a_lost_commit_changes_nothing_either() {
    let it = Fragile::new().await;
    for k in 1.. {
        // The statements are prepared again in every round: the session before was cut.
        let mut commit = 0;
        for _ in 0..2 {
            let (_, batch) = mixed(&it).await;
            let before = it.steps.count();
            it.store.commit(&batch).await.expect("nothing breaks yet");
            commit = it.steps.count() - before;
        }
        let (sale, batch) = mixed(&it).await;
        it.steps.arm(commit, Action::CutAfter);
        let second = async {
            while !it.steps.fired() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            // The first one is still on its way to the cut: the store knows nothing yet.
            it.steps.arm(k, Action::CutBefore);
        };
        let (committed, ()) = futures_util::future::join(it.store.commit(&batch), second).await;
        let fired = it.steps.fired();
        it.steps.disarm();
        let committed = committed.unwrap_or_else(|fault| panic!("step {k}: {fault:?}"));
        let refused = committed.answers.iter().filter(|answer| answer.is_err()).count();
        assert_eq!(refused, 1, "step {k}: {:?}", committed.answers);
        let [a, b] = [it.stand.inventory(&sale, 0).await, it.stand.inventory(&sale, 1).await];
        assert_eq!((a.held, a.sold, a.version, b.held, b.version), (3, 1, 6, 4, 3), "step {k}");
        if !fired {
            assert!(k > 8, "another attempt has more than {k} steps");
            break;
        }
    }
    it.stand.assert_sound().await;
}
