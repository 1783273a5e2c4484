//! What an organizer changes is passed by no hold in one trip.

use super::Counted;
use crate::postgres::fork::{back_up, put_back};
use crate::postgres::order::crippled;
use crate::postgres::{Sale, Stand, booking, confirm, lock_section, one};
use engine::event::EventChange;
use engine::{Command, EventStatus, Outcome, Refusal, SectionChange};
use futures_util::future::join;
use std::sync::Arc;
use suite::world::usd;
use testbed::steps::Steps;

/// The terms are those of now; and any.
const TERMS: (&str, &str) = ("WHERE counters AND terms", "WHERE counters          ");
/// The counters are those that were kept; and the version is.
const CONTENTS: (&str, &str) = (
    "(k.capacity, k.held, k.sold, k.blocked, k.version, k.next_expiry)",
    "(i.capacity, i.held, i.sold, i.blocked, k.version, i.next_expiry)",
);

/// What an organizer may change between two holds at another instance.
async fn edits(stand: &Stand, sale: &Sale, number: usize) -> bool {
    let (store, by) = (&stand.store, sale.organizer_id);
    let change = match number {
        0 => EventChange { status: Some(EventStatus::Closed), ..EventChange::default() },
        1 => EventChange { sales_end: Some(Some(stand.clock.now())), ..EventChange::default() },
        2 => EventChange { hold_ttl_ms: Some(Some(60_000)), ..EventChange::default() },
        3 => EventChange { max_seats_per_booking: Some(Some(1)), ..EventChange::default() },
        4 => EventChange { max_seats_per_user: Some(Some(1)), ..EventChange::default() },
        5 => {
            let change = SectionChange { price: Some(usd(7)), ..SectionChange::default() };
            let revised =
                store.revise_section(sale.event_id, sale.sections[0], by.into(), None, change);
            revised.await.expect("allowed");
            return true;
        }
        6 => {
            store.cancel_event(sale.event_id, by.into()).await.expect("allowed");
            return true;
        }
        7 => {
            let sql =
                format!("UPDATE events SET status = 'closed' WHERE event_id = '{}'", sale.event_id);
            stand.raw().await.run(sql).await;
            return true;
        }
        _ => return false,
    };
    store.revise_event(sale.event_id, by.into(), None, change).await.expect("allowed");
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_at_another_instance_is_passed_by_no_hold() {
    let stand = Stand::new().await;
    let it = Counted::new(&stand).await;
    for number in 0.. {
        let sale = stand.sale(&[9]).await;
        it.held(&stand, &sale).await;
        assert_eq!(it.trips(it.held(&stand, &sale)).await.1, 1);
        if !edits(&stand, &sale, number).await {
            break;
        }
        let answer = one(&*it.store, Command::Hold(stand.hold(&sale, &[(0, 2)]))).await;
        match (number, answer) {
            (0 | 1 | 7, Err(Refusal::SaleClosed))
            | (3, Err(Refusal::TooManySeats { limit: 1, .. }))
            | (4, Err(Refusal::BuyerLimit { limit: 1, .. }))
            | (6, Err(Refusal::EventCancelled)) => {}
            (2, Ok(Outcome::Booking { booking, .. })) => {
                assert_eq!(booking.expires_at, stand.clock.now().plus_ms(60_000));
            }
            (5, Ok(Outcome::Booking { booking, .. })) => {
                assert_eq!(booking.items[0].unit_price, usd(7));
            }
            (number, answer) => panic!("after edit {number}: {answer:?}"),
        }
    }
    stand.assert_sound().await;
}

/// A hold in one trip waits for the section while its sale is being closed. Its answer.
async fn held_while_the_sale_closes(stand: &Stand, it: &Counted) -> Result<Outcome, Refusal> {
    let sale = stand.sale(&[9]).await;
    it.held(stand, &sale).await;
    let (mut raw, mut witness) = (stand.raw().await, stand.raw().await);
    raw.run("BEGIN").await;
    raw.run(lock_section(sale.sections[0])).await;
    let close = async {
        witness.until_waiting(1).await;
        raw.run(format!(
            "UPDATE events SET status = 'closed', version = version + 1 WHERE event_id = '{}'; COMMIT",
            sale.event_id
        ))
        .await;
    };
    join(one(&*it.store, Command::Hold(stand.hold(&sale, &[(0, 1)]))), close).await.0
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_a_hold_waits_for_is_seen_by_it() {
    let stand = Stand::new().await;
    let it = Counted::new(&stand).await;
    assert_eq!(held_while_the_sale_closes(&stand, &it).await, Err(Refusal::SaleClosed));
}

#[tokio::test(flavor = "multi_thread")]
async fn control_terms_as_of_the_beginning_of_the_statement_or_not_at_all_are_old() {
    const STABLE: &str = "ALTER FUNCTION terms_are_of(uuid, bigint, bigint) STABLE";
    let stand = Stand::new().await;
    stand.raw().await.run(STABLE).await;
    let it = Counted::new(&stand).await;
    assert!(held_while_the_sale_closes(&stand, &it).await.is_ok(), "by the terms of before");
    let stand = Stand::new().await;
    let (proxy, store) = crippled(&stand, &[TERMS]).await;
    let it = Counted { store, steps: Steps::new(), proxy: Arc::new(proxy) };
    it.held(&stand, &stand.sale(&[9]).await).await;
    assert!(held_while_the_sale_closes(&stand, &it).await.is_ok(), "by the terms of before");
    assert!(it.proxy.rewritten() > 0, "the condition was taken away");
}

/// An instance keeps a row of a history that is lost, whose version comes again with other counters; then
/// it holds a seat.
async fn hold_in_another_history(stand: &Stand, it: &Counted) {
    let sale = stand.sale(&[9]).await;
    let first = it.held(stand, &sale).await;
    let mut raw = stand.raw().await;
    back_up(&mut raw).await;
    it.held(stand, &sale).await;
    put_back(&mut raw).await;
    booking(one(&*stand.store, confirm(&first)).await);
    it.held(stand, &sale).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_a_history_that_forked_harms_no_counters() {
    let stand = Stand::new().await;
    hold_in_another_history(&stand, &Counted::new(&stand).await).await;
    stand.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_by_their_version_alone_counters_of_a_lost_history_are_believed() {
    let stand = Stand::new().await;
    let (proxy, store) = crippled(&stand, &[TERMS, CONTENTS]).await;
    let it = Counted { store, steps: Steps::new(), proxy: Arc::new(proxy) };
    hold_in_another_history(&stand, &it).await;
    assert!(stand.broken().await.contains(&"I4"), "the audit notices");
}
