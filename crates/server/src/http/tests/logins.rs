//! Logins that are ended, on two instances that share nothing but the store.

use super::*;
use crate::cutoffs::LIFE;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const ME: &str = "/api/v1/users/me";
const LOGOUT_ALL: &str = "/api/v1/auth/logout-all";
const PASSWORD: &str = "/api/v1/auth/password";

/// An instance with a gate of its own, so that nothing is announced.
struct Lone {
    app: Arc<App>,
    router: Router,
}

impl Lone {
    fn new(world: &World) -> Self {
        let config = config_with(&world.folder, &[("RATE_LIMIT_ENABLED", "false")]);
        let gate = Arc::new(Local::new(GateOptions { fresh_ms: 60_000 }));
        let core = Core::new(config, world.store.clone(), gate, FOR_TESTS.clone());
        let app = Arc::new(App::new(Arc::new(core), &SecretString::from(SECRET)));
        Self { router: service(app.clone()).router, app }
    }

    async fn ask(&self, method: Method, path: &str, token: &str, body: &Value) -> (u16, Value) {
        let mut request = Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = request
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body))
            .expect("a request");
        let answer = self.router.clone().oneshot(request).await.expect("an answer");
        let status = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// The status that a read with this token gets.
    async fn me(&self, token: &str) -> u16 {
        self.ask(Method::GET, ME, token, &Value::Null).await.0
    }

    /// A new access token.
    async fn login(&self, account: &Value) -> String {
        let (status, tokens) = self.ask(Method::POST, "/api/v1/auth/login", "", account).await;
        assert_eq!(status, 200, "{tokens:#}");
        tokens["access_token"].as_str().expect("a token").to_owned()
    }
}

#[tokio::test]
async fn i15_a_login_ended_elsewhere_ends_within_a_second_and_a_new_one_is_good_at_once() {
    let world = World::new().await;
    let (here, there) = (Lone::new(&world), Lone::new(&world));
    let stop = CancellationToken::new();
    let mut account = json!({"email": "ada@example.com", "password": "correct horse battery"});
    let (status, _) = here.ask(Method::POST, "/api/v1/auth/register", "", &account).await;
    assert_eq!(status, 201);
    for (round, end) in [LOGOUT_ALL, PASSWORD, LOGOUT_ALL, PASSWORD].into_iter().enumerate() {
        if round == 2 {
            // From now on they poll, too.
            here.app.keep_house(&stop);
            there.app.keep_house(&stop);
        }
        let old = here.login(&account).await;
        // In use, so that something is known, of any age.
        for _ in 0..40 {
            assert_eq!((here.me(&old).await, there.me(&old).await), (200, 200));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut body = json!({});
        if end != LOGOUT_ALL {
            let new = format!("battery staple {round}");
            body = json!({"current_password": account["password"], "new_password": new});
            account["password"] = new.into();
        }
        let (status, told) = here.ask(Method::POST, end, &old, &body).await;
        let committed = Instant::now();
        assert_eq!(status, 204, "{told:#}");
        assert_eq!(here.me(&old).await, 401, "here at once");
        let (new, other) = (here.login(&account).await, there.login(&account).await);
        for token in [&new, &other] {
            assert_eq!((here.me(token).await, there.me(token).await), (200, 200), "at once");
        }
        while committed.elapsed() < LIFE + Duration::from_millis(300) {
            let arrived = committed.elapsed();
            let status = there.me(&old).await;
            assert!(status == 401 || status == 200 && arrived <= LIFE, "{status} at {arrived:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!((here.me(&new).await, there.me(&other).await), (200, 200));
    }
    stop.cancel();
}

/// What needs no store for its answer needs it for the token, once what is known of it is too old.
#[tokio::test]
async fn without_the_store_no_token_is_believed_for_longer_than_a_second() {
    let world = World::new().await;
    let it = Lone::new(&world);
    let token = token(&it.app);
    let ask = async || {
        let asked_at = Instant::now();
        let answer = it.ask(Method::GET, "/api/v1/bookings/x", &token, &Value::Null).await;
        (asked_at, answer)
    };
    let (_, (status, _)) = ask().await;
    let read_by = Instant::now();
    assert_eq!(status, StatusCode::NOT_FOUND.as_u16());
    world.store.close().await;
    loop {
        let (asked_at, (status, told)) = ask().await;
        if status != 404 {
            assert_eq!((status, &told["code"]), (503, &json!("unavailable")));
            break;
        }
        assert!(asked_at.duration_since(read_by) <= LIFE, "it is believed for too long");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (status, _) = it.ask(Method::GET, "/api/v1/bookings/x", "", &Value::Null).await;
    assert_eq!(status, 401);
}
