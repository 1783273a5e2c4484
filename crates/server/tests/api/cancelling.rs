//! Calling an event off, and what the workers make of its bookings.

use crate::support::{Client, Server, eventually};
use reqwest::StatusCode;
use serde_json::json;

async fn status(client: &Client, booking_id: &str) -> String {
    let booking = client.get(&format!("/bookings/{booking_id}")).await.expect(StatusCode::OK);
    booking["status"].as_str().expect("a word").to_owned()
}

#[tokio::test]
async fn the_live_bookings_of_an_event_that_is_called_off_are_cancelled() {
    let server = Server::start(&[("SWEEP_INTERVAL_MS", "100")]);
    let (organizer, buyer) = (server.user().await, server.user().await);
    let event_id = organizer.event(10).await;
    let other_event = organizer.event(10).await;
    let held = buyer.held(&event_id, 1).await;
    let sold = buyer.held(&event_id, 2).await;
    buyer.step(&sold, "confirm").await.expect(StatusCode::OK);
    let elsewhere = buyer.held(&other_event, 4).await;

    let cancel = format!("/events/{event_id}/cancel");
    let event = organizer.post(&cancel, &json!({})).await.expect(StatusCode::OK);
    assert_eq!((&event["status"], &event["version"]), (&json!("cancelled"), &json!(2)));
    buyer.hold(&event_id, 1).await.problem(409, "event_cancelled");
    eventually("the bookings are cancelled", async || {
        status(&buyer, &held).await == "CANCELLED" && status(&buyer, &sold).await == "CANCELLED"
    })
    .await;
    assert_eq!(organizer.seats(&event_id).await, (10, 0, 0));
    for booking_id in [&held, &sold] {
        buyer.step(booking_id, "confirm").await.problem(409, "event_cancelled");
        buyer.step(booking_id, "extend").await.problem(409, "event_cancelled");
        let again = buyer.step(booking_id, "cancel").await.expect(StatusCode::OK);
        assert!(again["cancelled_at"].is_string());
    }
    assert_eq!(status(&buyer, &elsewhere).await, "HOLD");
    server.audit();
}

#[tokio::test]
async fn an_event_stays_cancelled() {
    let server = Server::start(&[]);
    let organizer = server.user().await;
    let event_id = organizer.event(10).await;
    let path = format!("/events/{event_id}");
    let cancel = format!("{path}/cancel");
    let first = organizer.post_empty(&cancel).await.expect(StatusCode::OK);
    let again = organizer.post_empty(&cancel).await.expect(StatusCode::OK);
    assert_eq!(first, again, "a second time changes nothing");
    for change in [json!({"status": "on_sale"}), json!({"title": "Back again"})] {
        organizer.patch(&path, &change).await.problem(409, "event_cancelled");
    }
    let section = json!({"name": "B", "capacity": 1});
    let added = organizer.post(&format!("{path}/sections"), &section).await;
    added.problem(409, "event_cancelled");
    let resized = organizer.patch(&format!("{path}/sections/A"), &json!({"capacity": 11})).await;
    resized.problem(409, "event_cancelled");
    let read = server.client().get(&path).await.expect(StatusCode::OK);
    assert_eq!(read, first);
}

#[tokio::test]
async fn a_hold_of_an_event_that_is_called_off_is_not_sold_before_any_sweep() {
    let server = Server::start(&[("SWEEP_INTERVAL_MS", "0")]);
    let (organizer, buyer) = (server.user().await, server.user().await);
    let event_id = organizer.event(10).await;
    let held = buyer.held(&event_id, 1).await;
    organizer.post_empty(&format!("/events/{event_id}/cancel")).await.expect(StatusCode::OK);
    buyer.step(&held, "confirm").await.problem(409, "event_cancelled");
    buyer.step(&held, "extend").await.problem(409, "event_cancelled");
    let released = buyer.step(&held, "cancel").await.expect(StatusCode::OK);
    assert_eq!(released["status"], "CANCELLED");
    assert_eq!(organizer.seats(&event_id).await, (10, 0, 0));
}
