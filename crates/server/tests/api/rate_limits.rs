//! Rate limits: logins by address and by account, all else by user.

use crate::support::{Answer, Client, Server};
use reqwest::{Method, StatusCode};
use serde_json::json;

const ON: (&str, &str) = ("RATE_LIMIT_ENABLED", "true");

/// A login that fails, from the address that a proxy names.
async fn login(client: &Client, email: &str, from: Option<&str>) -> Answer {
    let body = json!({"email": email, "password": "wrong horse battery"});
    let headers: Vec<_> = from.map(|from| ("X-Forwarded-For", from)).into_iter().collect();
    client.send(Method::POST, "/auth/login", Some(&body), &headers).await
}

#[track_caller]
fn limited(answer: Answer, seconds_max: u64) {
    let wait = answer.headers["retry-after"].to_str().expect("text").to_owned();
    let problem = answer.problem(429, "rate_limited");
    assert_eq!(problem["retryable"], true);
    let wait: u64 = wait.parse().expect("seconds");
    assert!((1..=seconds_max).contains(&wait), "{wait}");
}

#[tokio::test]
async fn logins_from_one_address_are_few_a_minute_whoever_it_claims_to_be() {
    let server = Server::start(&[ON, ("RATE_LIMIT_LOGINS_PER_MINUTE", "3")]);
    let client = server.client();
    for number in 0..3 {
        let email = format!("user{number}@example.com");
        login(&client, &email, None).await.problem(401, "invalid_credentials");
    }
    limited(login(&client, "other@example.com", None).await, 61);
    // Nobody has told us to believe proxies.
    limited(login(&client, "other@example.com", Some("192.0.2.7")).await, 61);
    let account = json!({"email": "new@example.com", "password": "correct horse battery"});
    limited(client.post("/auth/register", &account).await, 61);
    client.get("/events").await.expect(StatusCode::OK);
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_address_is_the_one_it_names() {
    let proxies = ("TRUSTED_PROXIES", "127.0.0.0/8,10.0.0.0/8");
    let server = Server::start(&[ON, ("RATE_LIMIT_LOGINS_PER_MINUTE", "2"), proxies]);
    let client = server.client();
    let mut number = 0;
    let mut from = async |address: &str| {
        number += 1;
        login(&client, &format!("user{number}@example.com"), Some(address)).await
    };
    from("192.0.2.1").await.problem(401, "invalid_credentials");
    from("192.0.2.1").await.problem(401, "invalid_credentials");
    limited(from("192.0.2.1").await, 61);
    from("192.0.2.2").await.problem(401, "invalid_credentials");
    // What a client adds on the left, and our own proxies on the right, do not count.
    limited(from("192.0.2.99, 192.0.2.1").await, 61);
    limited(from("192.0.2.99, 192.0.2.1, 10.1.2.3").await, 61);
    limited(from("nonsense, 192.0.2.1").await, 61);
    limited(from("192.0.2.1:4711").await, 61);
    // Behind what cannot be read nobody is believed: all of these are the proxy itself.
    from("192.0.2.10, unknown").await.problem(401, "invalid_credentials");
    from("192.0.2.11, 192.0.2.999").await.problem(401, "invalid_credentials");
    limited(from("192.0.2.12, unknown").await, 61);
}

#[tokio::test]
async fn logins_to_one_account_are_few_a_minute_wherever_they_come_from() {
    let proxies = ("TRUSTED_PROXIES", "127.0.0.1");
    let server = Server::start(&[ON, ("RATE_LIMIT_LOGINS_PER_MINUTE", "2"), proxies]);
    let client = server.client();
    for (number, email) in ["ann@example.com", "ANN@example.com"].into_iter().enumerate() {
        let from = format!("192.0.2.{number}");
        login(&client, email, Some(&from)).await.problem(401, "invalid_credentials");
    }
    limited(login(&client, "Ann@Example.com", Some("192.0.2.77")).await, 61);
    login(&client, "bob@example.com", Some("192.0.2.78")).await.problem(401, "invalid_credentials");
}

#[tokio::test]
async fn a_user_who_asks_too_often_waits_and_others_do_not() {
    let server = Server::start(&[ON, ("RATE_LIMIT_REQUESTS_PER_SECOND", "2")]);
    let (ann, bob) = (server.user().await, server.user().await);
    let asked = futures_util::future::join_all((0..40).map(|_| ann.get("/users/me"))).await;
    let (served, refused): (Vec<_>, Vec<_>) = asked.into_iter().partition(|it| it.status == 200);
    assert!(!served.is_empty() && refused.len() >= 10, "{} were refused", refused.len());
    for answer in refused {
        limited(answer, 2);
    }
    bob.get("/users/me").await.expect(StatusCode::OK);
    crate::support::eventually("the wait is over", async || {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        ann.get("/users/me").await.status == StatusCode::OK
    })
    .await;
    // Strangers are counted by their address; whether we live is no question of rates.
    let anyone = server.client();
    let asked = futures_util::future::join_all((0..40).map(|_| anyone.get("/events"))).await;
    assert!(asked.iter().any(|answer| answer.status == 429));
    let outside = anyone.outside();
    let asked = futures_util::future::join_all((0..40).map(|_| outside.get("/health/live"))).await;
    assert!(asked.iter().all(|answer| answer.status == StatusCode::OK));
}

#[tokio::test]
async fn limits_can_be_switched_off() {
    let settings = [("RATE_LIMIT_LOGINS_PER_MINUTE", "1"), ("RATE_LIMIT_REQUESTS_PER_SECOND", "1")];
    let server = Server::start(&settings);
    let client = server.client();
    for _ in 0..5 {
        login(&client, "ann@example.com", None).await.problem(401, "invalid_credentials");
        client.get("/events").await.expect(StatusCode::OK);
    }
}

#[tokio::test]
async fn a_wave_of_logins_is_shed_and_does_not_stop_the_sale() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(10).await;
    let client = server.client();
    let wave =
        futures_util::future::join_all((0..150).map(|_| login(&client, "ann@example.com", None)));
    let sale = async {
        for _ in 0..5 {
            let booking_id = user.held(&event_id, 1).await;
            user.step(&booking_id, "confirm").await.expect(StatusCode::OK);
        }
    };
    let (answers, ()) = tokio::join!(wave, sale);
    let (heard, shed): (Vec<_>, Vec<_>) = answers.into_iter().partition(|it| it.status == 401);
    assert!(!heard.is_empty() && !shed.is_empty(), "{} heard, {} shed", heard.len(), shed.len());
    for answer in shed {
        answer.problem(503, "overloaded");
    }
    assert_eq!(user.seats(&event_id).await, (5, 0, 5));
}
