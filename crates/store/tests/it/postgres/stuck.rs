//! A COMMIT that is still under way when its connection breaks (I12): whoever tries again comes upon a
//! transaction that has neither happened nor failed yet.

use super::{Stand, booking, key, one, unavailable};
use engine::{Command, Hold};
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use testbed::postgres::Postgres;
use testbed::proxy::Proxy;
use testbed::steps::{Action, Steps};

/// A server whose commits wait for a standby that does not exist, until it is told to do without.
struct Stuck {
    stand: Stand,
    store: Arc<dyn Store>,
    steps: Steps,
    server: Postgres,
    _proxy: Proxy,
}

impl Stuck {
    async fn new() -> Self {
        let server = Postgres::start();
        let stand = Stand::on(&server).await;
        let steps = Steps::new();
        let proxy = stand.proxy(&steps);
        let store = stand.behind(&proxy).await;
        Self { stand, store, steps, server, _proxy: proxy }
    }

    /// Does `call` three times; in the third, the connection breaks while the COMMIT is under way,
    /// which ends well `after_ms` later.
    async fn commit_slowly<T>(&self, after_ms: u64, call: impl AsyncFn(u8) -> T) -> T {
        call(0).await;
        let before = self.steps.count();
        call(1).await;
        let commit = self.steps.count() - before;
        self.server.set("synchronous_standby_names", "nobody");
        self.steps.arm(commit, Action::CutAfter);
        let release = async {
            while !self.steps.fired() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            tokio::time::sleep(Duration::from_millis(after_ms)).await;
            self.server.set("synchronous_standby_names", "");
        };
        let (value, ()) = futures_util::future::join(call(2), release).await;
        value
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i12_a_commit_that_is_still_under_way_is_waited_for() {
    let it = Stuck::new().await;
    let (store, stand) = (&it.store, &it.stand);
    let sale = stand.sale(&[9]).await;
    for has_key in [true, false] {
        let hold = async |_| {
            let key = has_key.then(|| (key("k1"), 1));
            let hold = Hold { key, ..stand.hold(&sale, &[(0, 1)]) };
            let answer = one(&**store, Command::Hold(hold.clone())).await;
            (hold, answer)
        };
        let (hold, answer) = it.commit_slowly(500, hold).await;
        let stored = stand.stored(hold.booking_id).await.expect("it is there");
        assert_eq!(booking(answer), stored);
    }
    let inventory = stand.inventory(&sale, 0).await;
    assert_eq!((inventory.held, inventory.version), (6, 7));
    let create = async |_| {
        let mut new = stand.mint.event_on_sale(stand.mint.user());
        new.sections.push(stand.mint.section_of(new.event.terms.event_id, "A"));
        let created = store.create_event(&new, suite::world::owner(&new), &[9.into()], None).await;
        (new, created)
    };
    let (new, created) = it.commit_slowly(500, create).await;
    let created = created.expect("recorded");
    assert_eq!((created.id, created.replayed), (new.event.terms.event_id, false));
    stand.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i12_a_commit_that_is_under_way_for_long_is_never_reported_as_failed() {
    let it = Stuck::new().await;
    let (store, stand) = (&it.store, &it.stand);
    let sale = stand.sale(&[9]).await;
    let pair = async |_| {
        let holds = [stand.keyed(&sale, &[(0, 1)], "k1"), stand.hold(&sale, &[(0, 1)])];
        (holds.clone(), store.commit(&holds.map(Command::Hold)).await)
    };
    // Longer than a lock is waited for: the key seems to be somebody else's.
    let (holds, committed) = it.commit_slowly(2_300, pair).await;
    match committed {
        Ok(committed) => {
            let answer = |at: usize| committed.answers[at].clone();
            assert_eq!(booking(answer(1)).booking_id, holds[1].booking_id);
        }
        Err(fault) => drop(unavailable::<()>(Err(fault))),
    }
    for hold in &holds {
        assert!(stand.stored(hold.booking_id).await.is_some(), "it was committed at last");
    }
    let [keyed, _] = holds;
    let retry = Hold { booking_id: stand.mint.booking(sale.event_id), ..keyed.clone() };
    let replayed = booking(one(&**store, Command::Hold(retry)).await);
    assert_eq!(replayed.booking_id, keyed.booking_id);
    assert_eq!(stand.inventory(&sale, 0).await.held, 6);
    stand.assert_sound().await;
}
