//! Access tokens: ours are believed while they last, all others are refused alike.

use crate::support::{Server, hold_body};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

const KEY: &str = "0123456789abcdef0123456789abcdef";
/// The year 2100.
const FAR: i64 = 4_102_444_800;

fn signed(algorithm: Algorithm, key: &str, claims: &Value) -> String {
    let key = EncodingKey::from_secret(key.as_bytes());
    jsonwebtoken::encode(&Header::new(algorithm), claims, &key).expect("signs")
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// Values of `Authorization` that prove nothing, each with its name.
fn forged(token: &str, user_id: &str) -> Vec<(&'static str, String)> {
    let claims = json!({"sub": user_id, "iat": 1, "exp": FAR, "jti": "x"});
    let without = |name: &str| {
        let mut claims = claims.clone();
        claims.as_object_mut().expect("an object").remove(name);
        signed(Algorithm::HS256, KEY, &claims)
    };
    let parts: Vec<_> = token.split('.').collect();
    let none = part(&json!({"alg": "none", "typ": "JWT"}));
    let mut tampered = token.to_owned();
    let place = tampered.len() - 5..tampered.len() - 4;
    let other = if &tampered[place.clone()] == "A" { "B" } else { "A" };
    tampered.replace_range(place, other);
    let other =
        json!({"sub": "00000000-0000-8000-8000-000000000000", "iat": 1, "exp": FAR, "jti": ""});
    let past = json!({"sub": user_id, "iat": 1, "exp": 2, "jti": "x"});
    let odd = json!({"sub": "nobody", "iat": 1, "exp": FAR, "jti": "x"});
    let endless = json!({"sub": user_id, "iat": 1, "exp": "never", "jti": "x"});
    let unbegun = json!({"sub": user_id, "iat": 1, "exp": FAR, "nbf": "soon", "jti": "x"});
    let future = json!({"sub": user_id, "iat": 1, "exp": FAR, "nbf": FAR - 1, "jti": "x"});
    vec![
        ("nothing", String::new()),
        ("an empty Bearer", "Bearer".to_owned()),
        ("a blank Bearer", "Bearer ".to_owned()),
        ("Basic", "Basic YW5uOnNlY3JldA==".to_owned()),
        ("the token alone", token.to_owned()),
        ("nonsense", "Bearer nonsense".to_owned()),
        ("dots", "Bearer ..".to_owned()),
        ("a changed signature", format!("Bearer {tampered}")),
        ("another user's claims", format!("Bearer {}.{}.{}", parts[0], part(&other), parts[2])),
        ("no signature", format!("Bearer {}.{}.", parts[0], parts[1])),
        ("alg none", format!("Bearer {none}.{}.", parts[1])),
        ("alg none, signed", format!("Bearer {none}.{}.{}", parts[1], parts[2])),
        ("a foreign key", format!("Bearer {}", signed(Algorithm::HS256, &KEY.repeat(2), &claims))),
        ("HS384", format!("Bearer {}", signed(Algorithm::HS384, KEY, &claims))),
        ("HS512", format!("Bearer {}", signed(Algorithm::HS512, KEY, &claims))),
        ("no subject", format!("Bearer {}", without("sub"))),
        ("no end", format!("Bearer {}", without("exp"))),
        ("an end in the past", format!("Bearer {}", signed(Algorithm::HS256, KEY, &past))),
        ("a subject that is no id", format!("Bearer {}", signed(Algorithm::HS256, KEY, &odd))),
        ("an end that is no time", format!("Bearer {}", signed(Algorithm::HS256, KEY, &endless))),
        (
            "a beginning that is no time",
            format!("Bearer {}", signed(Algorithm::HS256, KEY, &unbegun)),
        ),
        ("a beginning in the future", format!("Bearer {}", signed(Algorithm::HS256, KEY, &future))),
        ("5 kB", format!("Bearer {}", "x".repeat(5_000))),
    ]
}

#[tokio::test]
async fn only_our_own_tokens_are_believed_and_all_others_are_challenged() {
    let server = Server::start(&[("SECRET_KEY", KEY)]);
    let user = server.user().await;
    let event_id = user.event(5).await;
    let (token, user_id) = (user.token.clone().expect("one"), user.user_id.clone().expect("one"));
    let anyone = server.client();
    let hold = hold_body(&event_id, 1);
    for (name, value) in forged(&token, &user_id) {
        let headers = [("Authorization", value.as_str())];
        let asked = [
            anyone.send(Method::GET, "/users/me", None, &headers).await,
            anyone.send(Method::POST, "/bookings/hold", Some(&hold), &headers).await,
            // A public page is refused as well: its reader believes to be logged in.
            anyone.send(Method::GET, &format!("/events/{event_id}"), None, &headers).await,
        ];
        for answer in asked {
            assert_eq!(answer.status, 401, "{name}: {:#}", answer.body);
            let challenge = answer.headers["www-authenticate"].to_str().expect("text");
            assert!(challenge.starts_with("Bearer"), "{name}: {challenge}");
            answer.problem(401, "unauthorized");
        }
    }
    assert_eq!(user.seats(&event_id).await, (5, 0, 0));
    let missing = anyone.get("/users/me").await;
    assert!(missing.headers.contains_key("www-authenticate"));
    missing.problem(401, "unauthorized");
}

#[tokio::test]
async fn the_scheme_is_read_without_case_and_a_signed_claim_set_is_enough() {
    let server = Server::start(&[("SECRET_KEY", KEY)]);
    let user = server.user().await;
    let event_id = user.event(5).await;
    // No booking depends on a row of users: the owner of our key may issue tokens.
    let stranger = "01234567-0123-8000-8000-0123456789ab";
    let claims = json!({"sub": stranger, "iat": 1, "exp": FAR, "jti": "x"});
    let value = format!("bEaReR  {}", signed(Algorithm::HS256, KEY, &claims));
    let headers = [("Authorization", value.as_str())];
    let anyone = server.client();
    let hold = hold_body(&event_id, 1);
    let held = anyone.send(Method::POST, "/bookings/hold", Some(&hold), &headers).await;
    assert_eq!(held.expect(StatusCode::CREATED)["user_id"], stranger);
    let me = anyone.send(Method::GET, "/users/me", None, &headers).await;
    me.problem(404, "not_found");
}

#[tokio::test]
async fn a_token_whose_login_was_ended_is_refused_by_every_kind_of_call() {
    let server = Server::start(&[("SECRET_KEY", KEY)]);
    let user = server.user().await;
    let event_id = user.event(5).await;
    let booking_id = user.held(&event_id, 1).await;
    let user_id = user.user_id.clone().expect("one");
    let second = store::clock::wall()().unix_ms() / 1_000;
    // Without milliseconds it counts as issued at the begin of its second.
    let issued = |iat: i64| {
        let claims = json!({"sub": user_id, "iat": iat, "exp": FAR, "jti": "x"});
        server.client().with_token(&signed(Algorithm::HS256, KEY, &claims))
    };
    let (old, early, late) = (issued(1), issued(second), issued(second + 100));
    for client in [&old, &early, &late] {
        client.get("/users/me").await.expect(StatusCode::OK);
    }
    user.post_empty("/auth/logout-all").await.expect(StatusCode::NO_CONTENT);
    let hold = hold_body(&event_id, 1);
    for client in [&user, &old, &early] {
        for answer in [
            client.get("/users/me").await,
            client.get(&format!("/events/{event_id}")).await,
            client.get("/events").await,
            client.post("/bookings/hold", &hold).await,
            client.step(&booking_id, "confirm").await,
            client.step(&booking_id, "cancel").await,
        ] {
            let challenge = answer.headers["www-authenticate"].to_str().expect("text");
            assert!(challenge.starts_with("Bearer"), "{challenge}");
            let problem = answer.problem(401, "unauthorized");
            assert!(problem["detail"].as_str().is_some_and(|it| it.contains("ended")), "{problem}");
        }
    }
    let seen = late.get(&format!("/bookings/{booking_id}")).await.expect(StatusCode::OK);
    assert_eq!(seen["status"], "HOLD");
    assert_eq!(late.seats(&event_id).await, (4, 1, 0));
}

#[tokio::test]
async fn an_access_token_ends_when_its_time_is_over() {
    let server = Server::start(&[("ACCESS_TOKEN_EXPIRE_SECONDS", "1")]);
    let account = json!({"email": "ann@example.com", "password": "correct horse battery"});
    let client = server.client();
    client.post("/auth/register", &account).await.expect(StatusCode::CREATED);
    let tokens = client.post("/auth/login", &account).await.expect(StatusCode::OK);
    assert_eq!(tokens["expires_in"], 1);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let late = client.with_token(tokens["access_token"].as_str().expect("a token"));
    let refused = late.get("/users/me").await;
    assert!(refused.headers.contains_key("www-authenticate"));
    let problem = refused.problem(401, "unauthorized");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("expired")));
    let body = json!({"refresh_token": tokens["refresh_token"]});
    client.post("/auth/refresh", &body).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn tokens_and_logins_survive_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start_in(folder.path(), &[]);
    let account = json!({"email": "ann@example.com", "password": "correct horse battery"});
    let client = server.client();
    client.post("/auth/register", &account).await.expect(StatusCode::CREATED);
    let tokens = client.post("/auth/login", &account).await.expect(StatusCode::OK);
    server.kill();

    let server = Server::start_in(folder.path(), &[]);
    let client = server.client();
    let ann = client.with_token(tokens["access_token"].as_str().expect("a token"));
    let me = ann.get("/users/me").await.expect(StatusCode::OK);
    assert_eq!(me["email"], "ann@example.com");
    let body = json!({"refresh_token": tokens["refresh_token"]});
    client.post("/auth/refresh", &body).await.expect(StatusCode::OK);
    client.post("/auth/login", &account).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn a_token_is_refused_before_its_nbf_and_believed_from_then_on() {
    let server = Server::start(&[("SECRET_KEY", KEY)]);
    let user = server.user().await;
    let user_id = user.user_id.clone().expect("one");
    let clock = store::clock::wall();
    let second = || clock().unix_ms() / 1_000;
    let nbf = second() + 2;
    let begins = json!({"sub": user_id, "iat": 1, "exp": FAR, "nbf": nbf, "jti": "x"});
    let client = server.client().with_token(&signed(Algorithm::HS256, KEY, &begins));
    // Twice: a token that was seen before is judged again.
    for _ in 0..2 {
        let early = client.get("/users/me").await.problem(401, "unauthorized");
        assert!(early["detail"].as_str().is_some_and(|it| it.contains("not valid yet")), "{early}");
    }
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    client.get("/users/me").await.expect(StatusCode::OK);
    let past = json!({"sub": user_id, "iat": 1, "exp": FAR, "nbf": second(), "jti": "x"});
    let client = server.client().with_token(&signed(Algorithm::HS256, KEY, &past));
    client.get("/users/me").await.expect(StatusCode::OK);
}
