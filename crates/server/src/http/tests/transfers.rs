//! Events that are transferred, and organizations that are renamed, where another instance does not hear
//! of it: nothing is announced between these.

use super::*;
use crate::catalog::FACTS_KEPT;
use crate::random::random;
use crate::rights;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use engine::access::{Grant, OrgCommand, Role};
use engine::event::Transfer;
use engine::{Actor, By, EventId, UserId};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use store::ChangeNote;

/// How long something may take to become so, on a machine that is busy with other tests.
const EVENTUALLY: Duration = Duration::from_secs(20);

/// Somebody at an instance.
struct Visitor {
    app: Arc<App>,
    router: Router,
    user_id: UserId,
}

impl Visitor {
    /// The user of this number.
    fn new(app: &Arc<App>, number: u64) -> Self {
        let user_id = UserId::new(Timestamp::from_unix_ms(1), Shard::pick(1), number);
        Self { app: app.clone(), router: service(app.clone()).router, user_id }
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let token = self.app.tokens.issue(self.user_id, self.app.core.store.now());
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header(header::HOST, "localhost")
            .header(header::AUTHORIZATION, format!("Bearer {}", token.expect("a token")))
            .header(header::CONTENT_TYPE, "application/json")
            .body(body.map_or_else(Body::empty, |body| Body::from(body.to_string())))
            .expect("a request");
        let answer = self.router.clone().oneshot(request).await.expect("an answer");
        let status = answer.status();
        let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    async fn event(&self, status: &str) -> EventId {
        let sections = json!([{"name": "A", "capacity": 2}]);
        let show = json!({"title": "Show", "event_date": "2099-06-15", "status": status,
            "sections": sections});
        let (status, made) = self.ask(Method::POST, "/events", Some(show)).await;
        assert_eq!(status, StatusCode::CREATED, "{made:#}");
        made["event_id"].as_str().expect("an id").parse().expect("an id")
    }

    async fn status_of(&self, path: &str) -> StatusCode {
        self.ask(Method::GET, path, None).await.0
    }

    /// Whether the counters of an event are shown, which only members of its organization see.
    async fn sees_counters(&self, event_id: EventId) -> bool {
        let path = format!("/events/{event_id}/availability");
        let (status, seats) = self.ask(Method::GET, &path, None).await;
        assert_eq!(status, StatusCode::OK, "{seats:#}");
        seats["sections"][0]["held_seats"].is_i64()
    }

    async fn retitle(&self, event_id: EventId) -> StatusCode {
        let title = json!({"title": "Another"});
        self.ask(Method::PATCH, &format!("/events/{event_id}"), Some(title)).await.0
    }
}

fn note() -> ChangeNote {
    ChangeNote { change_id: uuid::Uuid::from_bytes(random()), request_id: None }
}

/// Transfers an event of one user to another, at an instance that says so to nobody.
async fn transfer(world: &World, event_id: EventId, from: UserId, to: UserId) {
    let can = Role::Manager.permissions();
    let into = By::Acting(Grant { actor: Actor::User(from), org_id: to.into(), can, only: None });
    let transfer = Transfer { to: to.into(), into, expected: None };
    let made = world.store.transfer_event(event_id, from.into(), transfer, &note()).await;
    made.expect("theirs");
}

#[tokio::test]
async fn i15_an_event_transferred_elsewhere_is_seen_by_others_within_a_second() {
    let world = World::new().await;
    let (one, two) = (world.instance(), world.instance());
    let here = Visitor::new(&one, 1);
    let (ada, eve) = (Visitor::new(&two, 1), Visitor::new(&two, 2));
    let (draft, public) = (here.event("draft").await, here.event("on_sale").await);
    let path = format!("/events/{draft}");
    // In use, so that it is known.
    for _ in 0..5 {
        assert_eq!(ada.status_of(&path).await, StatusCode::OK);
        assert_eq!(eve.status_of(&path).await, StatusCode::NOT_FOUND);
        assert!(ada.sees_counters(public).await && !eve.sees_counters(public).await);
    }
    for event_id in [draft, public] {
        transfer(&world, event_id, ada.user_id, eve.user_id).await;
    }
    let committed = Instant::now();
    while committed.elapsed() < rights::LIFE + Duration::from_millis(300) {
        let arrived = committed.elapsed();
        let told = (ada.status_of(&path).await, eve.status_of(&path).await);
        let is_so = told == (StatusCode::NOT_FOUND, StatusCode::OK);
        assert!(is_so || arrived <= rights::LIFE, "{told:?} after {arrived:?}");
        let arrived = committed.elapsed();
        let is_so = !ada.sees_counters(public).await;
        assert!(is_so || arrived <= rights::LIFE, "after {arrived:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn an_event_transferred_elsewhere_is_changed_by_its_new_organization_at_once() {
    let world = World::new().await;
    let (one, two) = (world.instance(), world.instance());
    let here = Visitor::new(&one, 1);
    let (ada, eve) = (Visitor::new(&two, 1), Visitor::new(&two, 2));
    for (status, refused) in [("draft", StatusCode::NOT_FOUND), ("on_sale", StatusCode::FORBIDDEN)]
    {
        let event_id = here.event(status).await;
        assert_eq!(ada.status_of(&format!("/events/{event_id}")).await, StatusCode::OK);
        assert_eq!(eve.retitle(event_id).await, refused);
        transfer(&world, event_id, ada.user_id, eve.user_id).await;
        assert_eq!(ada.retitle(event_id).await, refused);
        assert_eq!(eve.retitle(event_id).await, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_name_changed_elsewhere_is_seen_when_what_is_known_lapses() {
    let world = World::new().await;
    let (one, two) = (world.instance(), world.instance());
    let (here, there) = (Visitor::new(&one, 1), Visitor::new(&two, 1));
    let path = format!("/events/{}", here.event("on_sale").await);
    let name = async |visitor: &Visitor| {
        let (_, event) = visitor.ask(Method::GET, &path, None).await;
        event["organization"]["name"].clone()
    };
    assert_eq!((name(&here).await, name(&there).await), (Value::Null, Value::Null));
    let read_at = Instant::now();
    let rename = OrgCommand::Rename { expected: None, name: "Ada's".to_owned() };
    let (store, user_id) = (&world.store, here.user_id);
    store.change_organization(user_id.into(), user_id, rename, &note()).await.expect("hers");
    while name(&there).await != "Ada's" {
        assert!(read_at.elapsed() < FACTS_KEPT + EVENTUALLY, "it goes on with what it has");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Where it is changed, it is seen at once.
    let other = json!({"name": "Ada's own"});
    let (status, _) = here.ask(Method::PATCH, "/organizations/me", Some(other)).await;
    assert_eq!((status, name(&here).await), (StatusCode::OK, json!("Ada's own")));
}
