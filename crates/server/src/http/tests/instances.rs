//! Several instances in one process: on one store, and with one gate between them.

use super::*;
use crate::caller::Caller;
use crate::catalog::FACTS_KEPT;
use crate::http::keys::new_key;
use crate::random::random;
use crate::rights;
use crate::vitals::Kind;
use crate::work;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use engine::access::{
    Access, Account, ApiKey, Invitation, KeyCommand, KeyScope, OrgCommand, Permission, Role, may,
};
use engine::{InvitationId, KeyId, OrgId, Shard, UserId};
use http_body_util::BodyExt;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use store::{StoreOptions, open_store};
use tokio_util::sync::CancellationToken;

/// How long something may take to become so, on a machine that is busy with other tests.
const EVENTUALLY: Duration = Duration::from_secs(20);

/// Asks an instance, as its user.
async fn ask(
    router: &Router,
    app: &App,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> (StatusCode, Value) {
    let token = token(app);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "localhost")
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(body.map_or_else(Body::empty, |body| Body::from(body.to_string())))
        .expect("a request");
    let answer = router.clone().oneshot(request).await.expect("an answer");
    let status = answer.status();
    let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap_or_default())
}

async fn event(router: &Router, app: &App) -> String {
    let sections = json!([{"name": "A", "capacity": 2}]);
    let show = json!({"title": "Show", "event_date": "2099-06-15", "sections": sections});
    let (status, made) = ask(router, app, Method::POST, "/api/v1/events", Some(show)).await;
    assert_eq!(status, StatusCode::CREATED, "{made:#}");
    made["event_id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn a_change_is_seen_on_every_instance_before_its_facts_lapse() {
    let world = World::new().await;
    let (one, two) = (world.instance(), world.instance());
    let stop = CancellationToken::new();
    work::keep_house(&one.core, &stop);
    work::keep_house(&two.core, &stop);
    let (writer, reader) = (service(one.clone()).router, service(two.clone()).router);
    let path = format!("/api/v1/events/{}", event(&writer, &one).await);
    // On a machine that is busy a try can take so long that the facts lapse: then it tells nothing.
    let begun = Instant::now();
    for number in 0.. {
        let title = format!("Show {number}");
        let (status, _) = ask(&reader, &two, Method::GET, &path, None).await;
        assert_eq!(status, StatusCode::OK);
        let cached_at = Instant::now();
        let change = json!({"title": title});
        let (status, _) = ask(&writer, &one, Method::PATCH, &path, Some(change)).await;
        assert_eq!(status, StatusCode::OK);
        tokio::time::sleep(Duration::from_millis(50)).await;
        let (_, seen) = ask(&reader, &two, Method::GET, &path, None).await;
        if cached_at.elapsed() < Duration::from_millis(800) {
            assert_eq!(seen["title"], title);
            break;
        }
        assert!(begun.elapsed() < EVENTUALLY, "the machine is too busy");
    }
    stop.cancel();
}

/// An instance that hears of no change goes by what it has for as long as facts are kept, and not longer.
#[tokio::test]
async fn a_change_whose_announcement_is_lost_is_seen_when_its_facts_lapse() {
    let world = World::new().await;
    let (one, two) = (world.instance(), world.instance());
    let (writer, reader) = (service(one.clone()).router, service(two.clone()).router);
    let path = format!("/api/v1/events/{}", event(&writer, &one).await);
    let (_, before) = ask(&reader, &two, Method::GET, &path, None).await;
    assert_eq!(before["title"], "Show");
    let read_at = Instant::now();
    let change = json!({"title": "Revised"});
    let (status, _) = ask(&writer, &one, Method::PATCH, &path, Some(change)).await;
    assert_eq!(status, StatusCode::OK);
    let mut told = before;
    while told["title"] != "Revised" {
        let lasts = FACTS_KEPT + EVENTUALLY;
        assert!(read_at.elapsed() < lasts, "it goes on with what it has");
        tokio::time::sleep(Duration::from_millis(20)).await;
        told = ask(&reader, &two, Method::GET, &path, None).await.1;
    }
    // At half of that time they are read anew, for those who ask.
    assert!(read_at.elapsed() >= FACTS_KEPT / 3, "{:?}: they are kept", read_at.elapsed());
}

/// Their gates share nothing: a booking is read from the store alone.
#[tokio::test]
async fn a_booking_is_read_at_another_instance_right_after_every_step() {
    let world = World::new().await;
    let instance = || {
        let config = config_with(&world.folder, &[("HOLD_TTL_SECONDS", "600")]);
        let gate = Arc::new(Local::new(GateOptions { fresh_ms: 60_000 }));
        let core = Core::new(config, world.store.clone(), gate, FOR_TESTS.clone());
        Arc::new(App::new(Arc::new(core), &SecretString::from(SECRET)))
    };
    let (one, two) = (instance(), instance());
    let (here, there) = (service(one.clone()).router, service(two.clone()).router);
    let event_id = event(&here, &one).await;
    for end in ["confirm", "cancel"] {
        let hold = json!({"event_id": event_id, "section_id": "A", "seats_requested": 1});
        let path = "/api/v1/bookings/hold";
        let (status, held) = ask(&here, &one, Method::POST, path, Some(hold)).await;
        assert_eq!(status, StatusCode::CREATED, "{held:#}");
        let path = format!("/api/v1/bookings/{}", held["booking_id"].as_str().expect("an id"));
        let (_, seen) = ask(&there, &two, Method::GET, &path, None).await;
        assert_eq!((&seen["status"], &seen["items"]), (&json!("HOLD"), &held["items"]));
        let step = async |name: &str| {
            let (status, made) =
                ask(&there, &two, Method::POST, &format!("{path}/{name}"), None).await;
            assert_eq!(status, StatusCode::OK, "{made:#}");
            let (_, seen) = ask(&here, &one, Method::GET, &path, None).await;
            let fields = ["status", "expires_at", "version"];
            assert_eq!(fields.map(|of| &seen[of]), fields.map(|of| &made[of]), "{name}");
            seen
        };
        // In the millisecond of the hold, an extension would end no later.
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(step("extend").await["status"], "HOLD");
        assert_ne!(step(end).await["status"], "HOLD", "{end}");
    }
}

/// Who changes an event at an instance that missed an earlier change does not write back what was.
#[tokio::test]
async fn a_change_is_made_of_what_is_stored_not_of_what_is_cached() {
    let world = World::new().await;
    let (one, two) = (world.instance(), world.instance());
    let (writer, late) = (service(one.clone()).router, service(two.clone()).router);
    let path = format!("/api/v1/events/{}", event(&writer, &one).await);
    let section = format!("{path}/sections/A");
    ask(&late, &two, Method::GET, &path, None).await;
    let steps = [
        (&writer, &one, &path, json!({"timezone": "Asia/Tokyo"})),
        (&writer, &one, &section, json!({"price": 700, "currency": "EUR"})),
        (&late, &two, &path, json!({"event_date": "2099-06-16"})),
        (&late, &two, &section, json!({"currency": "CHF"})),
    ];
    for (router, app, path, change) in steps {
        let (status, told) = ask(router, app, Method::PATCH, path, Some(change)).await;
        assert_eq!(status, StatusCode::OK, "{told:#}");
    }
    let (_, now) = ask(&writer, &one, Method::GET, &path, None).await;
    assert_eq!(
        (&now["timezone"], &now["event_date"]),
        (&json!("Asia/Tokyo"), &json!("2099-06-16"))
    );
    assert_eq!(now["sections"][0]["price"], 700);
}

/// Nothing is announced between these two: each has a gate of its own.
#[tokio::test]
async fn i15_a_right_withdrawn_elsewhere_ends_within_a_second_though_nothing_is_announced() {
    let world = World::new().await;
    let (one, two) = (world.instance(), world.instance());
    let id = |number| UserId::new(one.core.store.now(), Shard::pick(0), number);
    let (owner, member) = (id(1), id(2));
    let org_id = OrgId::team(one.core.store.now(), (0, 3));
    let store = &one.core.store;
    let note =
        || store::ChangeNote { change_id: uuid::Uuid::from_bytes(random()), request_id: None };
    store.found_team(org_id, "Team", owner, &note(), None).await.expect("it is founded");
    let now = store.now();
    let invitation = Invitation {
        invitation_id: InvitationId::new(now, Shard::pick(0), 4),
        org_id,
        email: "a@b".to_owned(),
        email_folded: "a@b".to_owned(),
        access: Access { role: Role::Manager, events: None },
        token_hash: [7; 32],
        invited_by: owner,
        created_at: now,
        expires_at: now.plus_ms(60_000),
        ended: None,
    };
    let invitation_id = invitation.invitation_id;
    let invite = OrgCommand::Invite { invitation: Box::new(invitation), user_id: None };
    store.change_organization(org_id, owner, invite, &note()).await.expect("an owner");
    let account = Account { user_id: member, email_folded: "a@b".to_owned() };
    let accept = OrgCommand::Accept { invitation_id, account };
    store.change_organization(org_id, member, accept, &note()).await.expect("invited");

    let may_write = async || {
        let by = two.core.rights.by(&Caller::User(member), org_id, None).await;
        let by = by.expect("the store answers");
        may(by, Permission::EventWrite, &org_id).is_ok()
    };
    for role in [Role::Analyst, Role::Manager, Role::BoxOffice, Role::Manager, Role::CheckIn] {
        // In use, so that it is known, and at any age.
        for _ in 0..40 {
            may_write().await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let change = OrgCommand::ChangeMember {
            user_id: member,
            role: Some(role),
            events: None,
            confirmed: false,
        };
        store.change_organization(org_id, owner, change, &note()).await.expect("an owner");
        let committed = Instant::now();
        let is_right = role == Role::Manager;
        while committed.elapsed() < rights::LIFE + Duration::from_millis(300) {
            let arrived = committed.elapsed();
            let told = may_write().await;
            assert!(told == is_right || arrived <= rights::LIFE, "{role:?} after {arrived:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A key is announced nowhere: what is known of it lives for a second.
#[tokio::test]
async fn i15_a_key_ended_elsewhere_ends_within_a_second_though_nothing_is_announced() {
    let world = World::new().await;
    let (one, two) = (world.instance(), world.instance());
    let paths = service(two.clone()).router;
    let (store, now) = (&one.core.store, one.core.store.now());
    let owner = UserId::new(now, Shard::pick(0), 1);
    let org_id = OrgId::from(owner);
    let note =
        || store::ChangeNote { change_id: uuid::Uuid::from_bytes(random()), request_id: None };
    let status = async |secret: &str| {
        let request = Request::get("/api/v1/series")
            .header(header::HOST, "localhost")
            .header(header::AUTHORIZATION, format!("Bearer {secret}"))
            .body(Body::empty());
        let answer = paths.clone().oneshot(request.expect("a request")).await;
        answer.expect("it answers").status()
    };
    for number in 0..5 {
        let (secret, kept) = new_key(two.core.config.environment);
        let key_id = KeyId::new(now, Shard::pick(0), number);
        let key = ApiKey {
            key_id,
            org_id,
            name: "Shop".to_owned(),
            scope: KeyScope {
                can: [Permission::EventRead].into_iter().collect(),
                events: None,
                networks: None,
                rate: None,
                expires_at: None,
            },
            secret: kept,
            previous: None,
            created_by: owner,
            created_at: now,
            revoked_at: None,
            version: 1,
        };
        store.create_api_key(&key, owner, &note(), None).await.expect("an owner");
        // In use, so that it is known, and at any age.
        for _ in 0..40 {
            assert_eq!(status(&secret).await, StatusCode::OK);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let command = match number % 2 {
            0 => KeyCommand::Revoke { key_id },
            _ => KeyCommand::Rotate {
                key_id,
                secret: new_key(two.core.config.environment).1,
                overlap_ms: 0,
            },
        };
        let command = OrgCommand::Key(command);
        store.change_organization(org_id, owner, command, &note()).await.expect("an owner");
        let committed = Instant::now();
        let mut arrived = Duration::ZERO;
        while status(&secret).await == StatusCode::OK {
            assert!(arrived <= rights::LIFE, "it still opens after {arrived:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
            arrived = committed.elapsed();
        }
        // It stays so. Asked more often, the address would be refused for its wrong keys.
        let rest = (rights::LIFE + Duration::from_millis(300)).saturating_sub(committed.elapsed());
        for _ in 0..2 {
            assert_eq!(status(&secret).await, StatusCode::UNAUTHORIZED);
            tokio::time::sleep(rest / 2).await;
        }
    }
}

#[tokio::test]
async fn who_missed_announcements_forgets_all_events() {
    let world = World::new().await;
    let app = world.instance();
    let paths = service(app.clone()).router;
    let event_id = event(&paths, &app).await.parse().expect("an id");
    let before = app.core.catalog.event(event_id).await.expect("the store answers").expect("known");
    let mut follow = std::pin::pin!(app.core.catalog.follow());
    // Polled once it listens; then more is announced than is kept for it.
    assert!(futures_util::poll!(&mut follow).is_pending());
    for number in 0..5_000 {
        let id = engine::EventId::new(app.core.store.now(), Shard::pick(number), number);
        app.core.gate.announce(id.into());
    }
    assert!(tokio::time::timeout(Duration::from_millis(20), follow).await.is_err());
    let after = app.core.catalog.event(event_id).await.expect("the store answers").expect("known");
    assert!(!Arc::ptr_eq(&before, &after), "it was read anew");
}

#[tokio::test]
async fn a_worker_retires_what_is_due_and_tells_how_it_is_and_nothing_else() {
    let world = World::new().await;
    let (api, worker) = (world.instance(), world.core());
    let paths = service(api.clone()).router;
    let event_id = event(&paths, &api).await;
    let wanted = json!({"event_id": event_id, "section_id": "A", "seats_requested": 2});
    let hold = "/api/v1/bookings/hold";
    let (status, held) = ask(&paths, &api, Method::POST, hold, Some(wanted)).await;
    assert_eq!(status, StatusCode::CREATED, "{held:#}");

    let stop = CancellationToken::new();
    work::keep_house(&worker, &stop);
    let at_work = work::start(&worker, &stop);
    let probes = Service::probes(worker.clone()).router;
    for path in ["/health", "/health/live", "/health/ready"] {
        let (status, told) = ask(&probes, &api, Method::GET, path, None).await;
        assert_eq!(status, StatusCode::OK, "{path}: {told:#}");
    }
    for path in ["/", "/docs", "/openapi.json", "/api/v1/events", hold] {
        let (status, told) = ask(&probes, &api, Method::GET, path, None).await;
        assert_eq!((status, told["code"].as_str()), (StatusCode::NOT_FOUND, Some("not_found")));
    }
    // Nobody asks for the section, and the counters show its seats nonetheless.
    let event_id = event_id.parse().expect("an id");
    let begun = Instant::now();
    loop {
        let live = world.store.inventories(&[event_id]).await.expect("the store answers");
        if live[0].inventory.held == 0 {
            break;
        }
        assert!(begun.elapsed() < EVENTUALLY, "{live:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let text = worker.metrics.render();
    for meter in ["reservix_store_up 1", "reservix_gate_up 1"] {
        assert!(text.contains(meter), "{meter} in\n{text}");
    }
    worker.draining.cancel();
    let (status, _) = ask(&probes, &api, Method::GET, "/health/ready", None).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    stop.cancel();
    let finished = tokio::time::timeout(Duration::from_secs(10), at_work.wait()).await;
    assert!(finished.is_ok(), "its turn was finished");
}

#[tokio::test]
async fn health_knows_of_a_lane_or_a_worker_that_stands_still() {
    let world = World::new().await;
    let app = world.instance();
    let paths = service(app.clone()).router;
    let told = async || {
        let (status, health) = ask(&paths, &app, Method::GET, "/health", None).await;
        let word = |name: &str| health[name].as_str().expect("a word").to_owned();
        let ready = ask(&paths, &app, Method::GET, "/health/ready", None).await.0;
        (status.as_u16(), word("status"), word("lanes"), word("workers"), ready.as_u16())
    };
    let is = |status: u16, words: [&str; 3], ready: u16| {
        let [health, lanes, workers] = words.map(str::to_owned);
        (status, health, lanes, workers, ready)
    };
    // Others run the workers.
    assert_eq!(told().await, is(200, ["healthy", "up", "off"], 200));
    let worker = app.core.vitals.add(Kind::Worker, "test_sweep", Duration::ZERO);
    assert_eq!(told().await, is(200, ["healthy", "up", "up"], 200));
    let turn = worker.turn();
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(told().await, is(200, ["degraded", "up", "down"], 200));
    let lane = app.core.vitals.add(Kind::Lane, "test_lane", Duration::ZERO);
    let batch = lane.turn();
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(told().await, is(503, ["unhealthy", "down", "down"], 503));
    drop((turn, batch));
    assert_eq!(told().await, is(200, ["healthy", "up", "up"], 200));
}

#[tokio::test]
async fn workers_that_panic_are_started_again_and_health_knows() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(&folder);
    // It panics whenever a worker asks it for what is due by now.
    let is_broken = Arc::new(AtomicBool::new(false));
    let (breaks, wall) = (is_broken.clone(), store::clock::wall());
    let clock = Arc::new(move || {
        assert!(!breaks.load(Ordering::SeqCst), "the clock is broken");
        wall()
    });
    let options = StoreOptions { clock, ..serve::store_options(&config, false) };
    let store = open_store(config.store_url.expose_secret(), options).await.expect("a store");
    store.migrate(None).await.expect("a schema");
    let gate = Arc::new(Local::new(GateOptions { fresh_ms: 1_000 }));
    let core = Core::new(config, store, gate, FOR_TESTS.clone());
    let (core, stop) = (Arc::new(core), CancellationToken::new());
    let at_work = work::start(&core, &stop);
    is_broken.store(true, Ordering::SeqCst);
    let restarts = || {
        let text = core.metrics.render();
        let name = "reservix_task_restarts_total{task=\"sweep\"} ";
        let told = text.lines().find_map(|line| line.strip_prefix(name)?.parse::<u64>().ok());
        told.unwrap_or(0)
    };
    let (before, begun) = (restarts(), Instant::now());
    while restarts() < before + 3 || core.vitals.of(Kind::Worker) != Some(false) {
        assert!(begun.elapsed() < EVENTUALLY, "{} restarts", restarts() - before);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(core.vitals.trouble(), None, "buyers need no worker");
    core.vitals.works_alone();
    assert!(core.vitals.trouble().is_some());
    stop.cancel();
    let finished = tokio::time::timeout(Duration::from_secs(10), at_work.wait()).await;
    assert!(finished.is_ok(), "they end as they should");
}
