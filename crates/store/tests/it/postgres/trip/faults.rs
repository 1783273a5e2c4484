//! A trip that breaks: its outcome is unknown, and is found (I12).

use super::Counted;
use crate::postgres::{Stand, booking, one, unavailable};
use engine::Command;
use futures_util::future::join;
use std::time::Duration;
use testbed::steps::Action;

#[tokio::test(flavor = "multi_thread")]
async fn i12_a_hold_in_one_trip_whose_answer_is_lost_is_held_once() {
    let stand = Stand::new().await;
    for cut in [|| Action::CutAfter, || Action::CutBefore] {
        let it = Counted::new(&stand).await;
        // Cut once, and a second time at each step of what is done then.
        for k in 1.. {
            it.prepare(&stand).await;
            let sale = stand.sale(&[9]).await;
            it.held(&stand, &sale).await;
            let hold = stand.hold(&sale, &[(0, 2)]);
            let batch = [Command::Hold(hold.clone())];
            it.steps.arm(1, cut());
            let second = async {
                while !it.steps.fired() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                it.steps.arm(k, Action::CutBefore);
            };
            let (committed, ()) = join(it.store.commit(&batch), second).await;
            let fired = it.steps.fired();
            it.steps.disarm();
            let answers = committed.expect("it is found, or done").answers;
            let held = booking(answers.into_iter().next().expect("an answer"));
            assert_eq!(stand.stored(hold.booking_id).await, Some(held), "step {k}");
            let inventory = stand.inventory(&sale, 0).await;
            assert_eq!((inventory.held, inventory.version), (3, 3), "step {k}");
            if !fired {
                assert!(k > 5, "another attempt has more than {k} steps");
                break;
            }
        }
    }
    stand.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_in_one_trip_whose_instance_freezes_is_unknown_and_found_later() {
    let stand = Stand::new().await;
    let it = Counted::new(&stand).await;
    let sale = stand.sale(&[9]).await;
    it.held(&stand, &sale).await;
    let batch = [Command::Hold(stand.hold(&sale, &[(0, 1)]))];
    it.proxy.lose_answers();
    let committed = it.store.commit(&batch).await;
    unavailable(committed);
    booking(one(&*stand.store, Command::Hold(stand.hold(&sale, &[(0, 1)]))).await);
    assert_eq!(
        stand.inventory(&sale, 0).await.held,
        3,
        "it was committed, and keeps nobody waiting"
    );
    it.proxy.heal();
    booking(one(&*it.store, Command::Hold(stand.hold(&sale, &[(0, 1)]))).await);
    stand.assert_sound().await;
}
