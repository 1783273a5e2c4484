//! Operations: what its operators see.

use crate::support::{Client, Server, eventually};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// The value of one meter, such as `reservix_replays_total` or `name{label="value"}`.
pub async fn meter(client: &Client, name: &str) -> f64 {
    let text = client.get("/metrics").await.expect(StatusCode::OK);
    let text = text.as_str().expect("text").to_owned();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().expect("a number"))
}

#[tokio::test]
async fn the_root_and_health_tell_what_this_is_and_how_it_is() {
    let server = Server::start(&[("APP_NAME", "Box Office"), ("APP_VERSION", "9.8.7")]);
    let client = server.client().outside();
    let root = client.get("/").await.expect(StatusCode::OK);
    let expected =
        json!({"app": "Box Office", "version": "9.8.7", "status": "running", "docs": "/docs"});
    assert_eq!(root, expected);
    let live = client.get("/health/live").await.expect(StatusCode::OK);
    assert_eq!(live, json!({"status": "alive"}));
    let ready = client.get("/health/ready").await.expect(StatusCode::OK);
    assert_eq!(ready, json!({"status": "ready"}));
    let health = client.get("/health").await.expect(StatusCode::OK);
    let expected = json!({
        "status": "healthy", "database": "up", "gate": "up", "lanes": "up", "workers": "up",
        "environment": "development",
        "version": "9.8.7",
    });
    assert_eq!(health, expected);
}

#[tokio::test]
async fn metrics_are_open_on_this_machine_and_elsewhere_with_their_token() {
    let closed = Server::start(&[]);
    let client = closed.client().outside();
    let answer = client.get("/metrics").await;
    assert!(answer.headers["content-type"].to_str().is_ok_and(|it| it.starts_with("text/plain")));
    answer.expect(StatusCode::OK);
    let open = Server::start(&[("METRICS_TOKEN", "hunter2-hunter2")]);
    let client = open.client().outside();
    client.get("/metrics").await.expect(StatusCode::OK);
    for (headers, status) in [
        (vec![], 404),
        (vec![("Authorization", "Bearer hunter2")], 404),
        (vec![("Authorization", "Bearer ")], 404),
        (vec![("Authorization", "Bearer hunter2-hunter2")], 200),
        (vec![("Authorization", "bearer hunter2-hunter2")], 200),
    ] {
        for through in ["X-Forwarded-For", "Forwarded"] {
            let mut headers = headers.clone();
            headers.push((through, "127.0.0.1"));
            let answer = client.send(Method::GET, "/metrics", None, &headers).await;
            assert_eq!(answer.status.as_u16(), status, "{headers:?}");
            let elsewhere = closed.client().outside();
            let answer = elsewhere.send(Method::GET, "/metrics", None, &headers).await;
            answer.problem(404, "not_found");
        }
    }
}

#[tokio::test]
async fn meters_move_when_things_happen() {
    let server = Server::start(&[("SWEEP_INTERVAL_MS", "100"), ("HOLD_TTL_SECONDS", "1")]);
    let user = server.user().await;
    let root = user.outside();
    let event_id = user.event(5).await;
    let sold = user.hold_with_key(&event_id, 1, "k").await.expect(StatusCode::CREATED);
    user.hold_with_key(&event_id, 1, "k").await.expect(StatusCode::CREATED);
    let sold = sold["booking_id"].as_str().expect("an id");
    user.step(sold, "confirm").await.expect(StatusCode::OK);
    let released = user.held(&event_id, 1).await;
    user.step(&released, "cancel").await.expect(StatusCode::OK);
    user.held(&event_id, 1).await;
    user.hold(&event_id, 5).await.problem(409, "sold_out");
    user.get(&format!("/events/{event_id}")).await.expect(StatusCode::OK);
    server.client().get("/users/me").await.problem(401, "unauthorized");

    let request = |method: &str, route: &str, status: u16| {
        format!(
            "reservix_http_requests_total{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}}"
        )
    };
    for (name, least) in [
        (request("POST", "/api/v1/bookings/hold", 201), 4.0),
        (request("POST", "/api/v1/bookings/hold", 409), 1.0),
        (request("POST", "/api/v1/bookings/{booking_id}/confirm", 200), 1.0),
        (request("GET", "/api/v1/events/{event_id}", 200), 1.0),
        (request("GET", "/api/v1/users/me", 401), 1.0),
        ("reservix_http_request_seconds_count{route=\"/api/v1/bookings/hold\"}".to_owned(), 5.0),
        ("reservix_connections".to_owned(), 1.0),
        ("reservix_bookings_total{step=\"held\"}".to_owned(), 3.0),
        ("reservix_bookings_total{step=\"confirmed\"}".to_owned(), 1.0),
        ("reservix_bookings_total{step=\"cancelled\"}".to_owned(), 1.0),
        ("reservix_replays_total".to_owned(), 1.0),
        ("reservix_refusals_total{code=\"sold_out\"}".to_owned(), 1.0),
        ("reservix_batch_size_count".to_owned(), 5.0),
        ("reservix_commit_seconds_count".to_owned(), 5.0),
        ("reservix_store_up".to_owned(), 1.0),
        ("reservix_gate_up".to_owned(), 1.0),
    ] {
        let value = meter(&root, &name).await;
        assert!(value >= least, "{name} is {value}");
    }
    let mut asked = 0.0;
    for answer in ["admit", "sold_out", "unknown"] {
        asked += meter(&root, &format!("reservix_gate_answers_total{{answer=\"{answer}\"}}")).await;
    }
    assert!(asked >= 4.0, "{asked}");
    eventually("the sweep retires the last hold", async || {
        meter(&root, "reservix_bookings_total{step=\"expired\"}").await >= 1.0
    })
    .await;
    let text = root.get("/metrics").await.expect(StatusCode::OK);
    let text = text.as_str().expect("text");
    for name in [
        "reservix_queue_depth",
        "reservix_lane_depth",
        "reservix_seat_states_rebuilt_total",
        "reservix_marks_rebuilt_total",
        "reservix_sweep_lag_seconds",
        "reservix_store_faults_total",
        "reservix_batches_failed_total",
    ] {
        assert!(text.contains(&format!("# TYPE {name} ")), "{name} in\n{text}");
    }
    let described = text.lines().filter_map(|line| line.strip_prefix("# HELP ")).count();
    let typed = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).count();
    assert_eq!(described, typed, "every meter is described");
}

#[tokio::test]
async fn reconcile_alarms_when_counters_differ_from_their_log() {
    let server = Server::start(&[("RECONCILE_INTERVAL_SECONDS", "1")]);
    let user = server.user().await;
    let event_id = user.event(5).await;
    user.held(&event_id, 1).await;
    let drift = "reservix_drift_sections{of=\"counters\"}";
    let root = user.outside();
    server.sql("UPDATE inventory SET sold = sold + 1");
    eventually("the alarm is given", async || meter(&root, drift).await >= 1.0).await;
    let log = server.log().join("\n");
    assert!(log.contains("ERROR") && log.contains("reservix audit"), "{log}");
    server.sql("UPDATE inventory SET sold = sold - 1");
    eventually("the alarm ends", async || meter(&root, drift).await < 1.0).await;
}

/// Nobody but the buyers of the section notices.
#[tokio::test]
async fn a_section_whose_counters_are_damaged_is_refused_and_holds_up_nothing_else() {
    let server = Server::start(&[("HOLD_TTL_SECONDS", "2"), ("SWEEP_INTERVAL_MS", "100")]);
    let user = server.user().await;
    let damaged = user.event(5).await;
    let held = user.held(&damaged, 3).await;
    server.sql("UPDATE inventory SET held = held - 1");
    let sections = json!([{"name": "A", "capacity": 5}]);
    let called_off = user
        .event_with(&json!({
            "title": "Called off", "event_date": "2099-06-15", "sections": sections,
            "hold_ttl_seconds": 900,
        }))
        .await;
    let booking = user.held(&called_off, 2).await;
    user.step(&held, "confirm").await.problem(503, "unavailable");
    // From its end on, the sweep meets the hold whose seats the counters do not have.
    let fails = || server.log().iter().any(|line| line.contains("the sweep could not finish"));
    eventually("the sweep fails", async || fails()).await;
    user.hold(&damaged, 1).await.problem(503, "unavailable");
    user.post(&format!("/events/{called_off}/cancel"), &json!({})).await.expect(StatusCode::OK);
    let path = format!("/bookings/{booking}");
    eventually("its booking is cancelled", async || {
        user.get(&path).await.expect(StatusCode::OK)["status"] == "CANCELLED"
    })
    .await;
    let log = server.log().join("\n");
    assert!(log.contains("run reservix repair for it") && !log.contains("panicked"), "{log}");
}

/// Every call of the contract.
pub const ROUTES: [(&str, &str); 65] = [
    ("post", "/api/v1/auth/register"),
    ("post", "/api/v1/auth/login"),
    ("post", "/api/v1/auth/refresh"),
    ("post", "/api/v1/auth/logout"),
    ("post", "/api/v1/auth/logout-all"),
    ("post", "/api/v1/auth/password"),
    ("get", "/api/v1/users/me"),
    ("patch", "/api/v1/users/me"),
    ("delete", "/api/v1/users/me"),
    ("post", "/api/v1/visitors"),
    ("post", "/api/v1/series"),
    ("get", "/api/v1/series"),
    ("get", "/api/v1/series/{series_id}"),
    ("patch", "/api/v1/series/{series_id}"),
    ("post", "/api/v1/events"),
    ("get", "/api/v1/events"),
    ("get", "/api/v1/events/{event_id}"),
    ("patch", "/api/v1/events/{event_id}"),
    ("get", "/api/v1/events/{event_id}/availability"),
    ("post", "/api/v1/events/{event_id}/cancel"),
    ("post", "/api/v1/events/{event_id}/transfer"),
    ("post", "/api/v1/events/{event_id}/sections"),
    ("get", "/api/v1/events/{event_id}/sections/{section_id}"),
    ("patch", "/api/v1/events/{event_id}/sections/{section_id}"),
    ("get", "/api/v1/events/{event_id}/bookings"),
    ("get", "/api/v1/events/{event_id}/sections/{section_id}/seats"),
    ("put", "/api/v1/events/{event_id}/sections/{section_id}/seats"),
    ("get", "/api/v1/events/{event_id}/sections/{section_id}/seats/status"),
    ("put", "/api/v1/events/{event_id}/sections/{section_id}/blocked"),
    ("post", "/api/v1/bookings/hold"),
    ("post", "/api/v1/bookings/{booking_id}/confirm"),
    ("patch", "/api/v1/bookings/{booking_id}/confirm"),
    ("post", "/api/v1/bookings/{booking_id}/extend"),
    ("post", "/api/v1/bookings/{booking_id}/cancel"),
    ("get", "/api/v1/bookings"),
    ("get", "/api/v1/bookings/{booking_id}"),
    ("patch", "/api/v1/bookings/{booking_id}"),
    ("post", "/api/v1/organizations"),
    ("get", "/api/v1/organizations"),
    ("get", "/api/v1/organizations/{organization_id}"),
    ("patch", "/api/v1/organizations/{organization_id}"),
    ("get", "/api/v1/organizations/{organization_id}/invitations"),
    ("post", "/api/v1/organizations/{organization_id}/invitations"),
    ("delete", "/api/v1/organizations/{organization_id}/invitations/{invitation_id}"),
    ("post", "/api/v1/invitations/accept"),
    ("get", "/api/v1/organizations/{organization_id}/members"),
    ("patch", "/api/v1/organizations/{organization_id}/members/{user_id}"),
    ("delete", "/api/v1/organizations/{organization_id}/members/{user_id}"),
    ("post", "/api/v1/organizations/{organization_id}/transfer"),
    ("get", "/api/v1/organizations/{organization_id}/keys"),
    ("post", "/api/v1/organizations/{organization_id}/keys"),
    ("get", "/api/v1/organizations/{organization_id}/keys/{key_id}"),
    ("patch", "/api/v1/organizations/{organization_id}/keys/{key_id}"),
    ("delete", "/api/v1/organizations/{organization_id}/keys/{key_id}"),
    ("post", "/api/v1/organizations/{organization_id}/keys/{key_id}/rotate"),
    ("get", "/api/v1/organizations/{organization_id}/log"),
    ("get", "/api/v1/access-log"),
    ("get", "/"),
    ("get", "/health"),
    ("get", "/health/live"),
    ("get", "/health/ready"),
    ("get", "/metrics"),
    ("get", "/problems/{code}"),
    ("get", "/docs"),
    ("get", "/openapi.json"),
];

#[tokio::test]
async fn the_document_describes_every_call() {
    let server = Server::start(&[]);
    let client = server.client().outside();
    let answer = client.get("/openapi.json").await;
    assert_eq!(answer.headers["content-type"], "application/json");
    let document = answer.expect(StatusCode::OK);
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    let paths = document["paths"].as_object().expect("paths");
    let mut described = Vec::new();
    let mut names = std::collections::HashSet::new();
    for (path, item) in paths {
        for (method, operation) in item.as_object().expect("operations") {
            described.push((method.as_str(), path.as_str()));
            let name = operation["operationId"].as_str().expect("a name");
            assert!(names.insert(name), "{name} stands twice");
            assert!(operation["summary"].is_string(), "{method} {path} has no summary");
        }
    }
    // The pages of the documentation do not describe themselves.
    let mut expected: Vec<_> = ROUTES[..ROUTES.len() - 2].to_vec();
    described.sort_unstable();
    expected.sort_unstable();
    assert_eq!(described, expected);
    // Nothing points into the void.
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"").skip(1).filter_map(|rest| rest.split('"').next()) {
        let target = document.pointer(reference.trim_start_matches('#'));
        assert!(target.is_some(), "{reference}");
    }
}

#[tokio::test]
async fn every_call_that_is_described_is_served() {
    let server = Server::start(&[]);
    let client = server.client().outside();
    for (method, path) in ROUTES {
        let path = path
            .replace("{event_id}", "x")
            .replace("{booking_id}", "x")
            .replace("{section_id}", "x")
            .replace("{code}", "not_found");
        let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
        let answer = client.send(method.clone(), &path, None, &[]).await;
        let unknown_path =
            answer.body["detail"].as_str().is_some_and(|it| it.contains("such path"));
        assert!(answer.status != 405 && !unknown_path, "{method} {path}: {:#}", answer.body);
    }
}

#[tokio::test]
async fn the_documentation_needs_no_other_host() {
    let server = Server::start(&[]);
    let client = server.client().outside();
    let page = client.get("/docs").await.expect(StatusCode::OK);
    let page = page.as_str().expect("a page");
    let mut assets: Vec<String> = Vec::new();
    for attribute in ["src=\"", "href=\""] {
        assets.extend(
            page.split(attribute)
                .skip(1)
                .filter_map(|rest| rest.split('"').next())
                .map(str::to_owned),
        );
    }
    assert!(assets.iter().any(|asset| asset.contains("bundle")), "{page}");
    for asset in assets {
        assert!(!asset.contains("//"), "{asset} is elsewhere");
        let path = asset.trim_start_matches("./").trim_start_matches('/');
        let path =
            if path.starts_with("docs/") { format!("/{path}") } else { format!("/docs/{path}") };
        let file = client.get(&path).await.expect(StatusCode::OK);
        assert!(file.as_str().is_some_and(|text| !text.is_empty()), "{path}");
        if path.contains("initializer") {
            let text = file.as_str().expect("text");
            assert!(text.contains("\"/openapi.json\""), "{text}");
            assert!(!text.contains("http://") && !text.contains("https://"), "{text}");
        }
    }
}

#[tokio::test]
async fn the_log_says_where_things_are_and_holds_no_secrets() {
    let server = Server::start(&[("APP_DEBUG", "true"), ("METRICS_TOKEN", "hunter2-hunter2")]);
    let client = server.client();
    let account = json!({"email": "ann@example.com", "password": "correct horse battery"});
    client.post("/auth/register", &account).await.expect(StatusCode::CREATED);
    let tokens = client.post("/auth/login", &account).await.expect(StatusCode::OK);
    let wrong = json!({"email": "bob@example.com", "password": "battery staple"});
    client.post("/auth/login", &wrong).await.problem(401, "invalid_credentials");
    let refresh = json!({"refresh_token": tokens["refresh_token"]});
    let more = client.post("/auth/refresh", &refresh).await.expect(StatusCode::OK);
    let ann = client.with_token(tokens["access_token"].as_str().expect("a token"));
    let change =
        json!({"current_password": "correct horse battery", "new_password": "purple monkey"});
    ann.post("/auth/password", &change).await.expect(StatusCode::NO_CONTENT);
    let from = [("X-Forwarded-For", "192.0.2.7"), ("Authorization", "Bearer not.a.token")];
    client.send(Method::GET, "/users/me", None, &from).await.problem(401, "unauthorized");
    client.get("/events?q=ann@example.com").await.expect(StatusCode::OK);

    let log = server.log().join("\n");
    for line in [
        "store: SQLite",
        "gate: in-process",
        "address: http://127.0.0.1:",
        "docs: http://127.0.0.1:",
    ] {
        let lines = log.lines().filter(|told| told.contains(line)).count();
        assert_eq!(lines, 1, "{line} in\n{log}");
    }
    assert!(log.contains("/api/v1/auth/login"), "requests are told with APP_DEBUG:\n{log}");
    let secret = |tokens: &Value, name: &str| tokens[name].as_str().expect("a token").to_owned();
    let secrets = [
        "correct horse".to_owned(),
        "battery staple".to_owned(),
        "purple monkey".to_owned(),
        "hunter2".to_owned(),
        "@example.com".to_owned(),
        "192.0.2.7".to_owned(),
        "not.a.token".to_owned(),
        "argon2".to_owned(),
        secret(&tokens, "access_token"),
        secret(&tokens, "refresh_token"),
        secret(&more, "access_token"),
        secret(&more, "refresh_token"),
    ];
    for secret in secrets {
        assert!(!log.contains(&secret), "{secret} in\n{log}");
    }
}
