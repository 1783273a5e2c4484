//! Bad input: each gets a clear problem, none a 500, and nothing changes.

use crate::support::{Client, Server, show};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const HOLD: &str = "/bookings/hold";
const EVENTS: &str = "/events";
const REGISTER: &str = "/auth/register";

/// Sends each body to `path` and checks the answer: status, code, and the first field it names.
///
/// In a body, `{event}` stands for the event's id and `{x*N}` for `N` times an x.
async fn refuse(client: &Client, method: &Method, path: &str, event_id: &str, rows: &[Row<'_>]) {
    for (body, status, code, field) in rows {
        let sent = expand(body, event_id);
        let headers = [("Content-Type", "application/json")];
        let answer = client.send_bytes(method.clone(), path, sent, &headers).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.body["code"]),
            (*status, &json!(code)),
            "{body}"
        );
        let problem = answer.problem(*status, code);
        if *status == 422 {
            let named = problem["errors"][0]["field"].as_str();
            assert_eq!(named, Some(*field), "{body}: {problem:#}");
            let message = problem["errors"][0]["message"].as_str().unwrap_or_default();
            assert!(!message.is_empty() && message.len() < 300, "{body}: {message}");
        }
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(!detail.is_empty() && detail.len() < 500, "{body}: {detail}");
    }
}

/// A body, and the status, the code and the field it is refused with.
type Row<'a> = (&'a str, u16, &'a str, &'a str);

fn expand(body: &str, event_id: &str) -> String {
    let mut body = body.replace("{event}", event_id);
    while let Some(start) = body.find("{x*") {
        let end = start + body[start..].find('}').expect("closed");
        let times = body[start + 3..end].parse().expect("a number");
        body.replace_range(start..=end, &"x".repeat(times));
    }
    body
}

/// What may not change: the organizer's view of the event, and how many events there are.
async fn state(user: &Client, event_id: &str) -> (Value, (i64, i64, i64), Value) {
    let event = user.get(&format!("/events/{event_id}")).await.expect(StatusCode::OK);
    let all = user.get("/events").await.expect(StatusCode::OK);
    (event, user.seats(event_id).await, all)
}

const INVALID: &str = "validation_failed";
const JSON: &str = "malformed_json";

/// Bodies that are refused wherever a body is read.
const SYNTAX: [Row; 22] = [
    ("", 400, JSON, ""),
    (" ", 400, JSON, ""),
    ("{", 400, JSON, ""),
    ("{}}", 400, JSON, ""),
    ("{} {}", 400, JSON, ""),
    ("nonsense", 400, JSON, ""),
    ("{'a': 1}", 400, JSON, ""),
    ("{\"a\": 1,}", 400, JSON, ""),
    ("{\"a\": NaN}", 400, JSON, ""),
    ("{\"a\": 01}", 400, JSON, ""),
    ("{\"a\": \"\u{1}\"}", 400, JSON, ""),
    (r#"{"a": "\ud800"}"#, 400, JSON, ""),
    ("\u{feff}{}", 400, JSON, ""),
    (r#"{"a": 1, "a": 2}"#, 400, JSON, ""),
    (r#"{"a": {"b": 1, "b": 2}}"#, 400, JSON, ""),
    (
        r#"{"a": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}"#,
        400,
        JSON,
        "",
    ),
    ("null", 422, INVALID, "body"),
    ("1", 422, INVALID, "body"),
    ("\"text\"", 422, INVALID, "body"),
    ("[]", 422, INVALID, "body"),
    ("[{}]", 422, INVALID, "body"),
    (r#"{"surprise": 1}"#, 422, INVALID, "surprise"),
];

#[tokio::test]
async fn a_hold_with_bad_input_is_refused_and_changes_nothing() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(10).await;
    user.held(&event_id, 2).await;
    let before = state(&user, &event_id).await;
    let start = r#"{"event_id": "{event}", "section_id": "A", "seats_requested": "#;
    let seats = |seats: &str| format!("{start}{seats}}}");
    let numbers = [
        "0",
        "-1",
        "-0",
        "1.5",
        "1e0",
        "1.0",
        "3e9",
        "3000000000",
        "4294967296",
        "1000000001",
        "18446744073709551616",
        "1e400",
        "-1e400",
        "1e-400",
        "\"1\"",
        "\"\"",
        "null",
        "true",
        "[1]",
        "[]",
        "{}",
    ];
    let numbers = numbers.map(seats);
    let mut rows: Vec<Row> =
        numbers.iter().map(|body| (&**body, 422, INVALID, "seats_requested")).collect();
    rows.extend(SYNTAX);
    rows.extend([
        ("{}", 422, INVALID, "event_id"),
        (r#"{"event_id": "{event}", "seats_requested": 1}"#, 422, INVALID, "section_id"),
        (r#"{"event_id": "{event}", "section_id": "A"}"#, 422, INVALID, "seats_requested"),
        (r#"{"event_id": 7, "section_id": "A", "seats_requested": 1}"#, 422, INVALID, "event_id"),
        (r#"{"event_id": null, "section_id": "A", "seats_requested": 1}"#, 422, INVALID, "event_id"),
        (r#"{"event_id": "{event}", "section_id": ["A"], "seats_requested": 1}"#, 422, INVALID, "section_id"),
        (
            r#"{"event_id": "{event}", "section_id": "A", "seats_requested": 1, "price": 0}"#,
            422,
            INVALID,
            "price",
        ),
        (r#"{"event_id": "{event}", "section_id": "A", "seats_requested": 1, "": 0}"#, 422, INVALID, ""),
        (
            r#"{"event_id": "{event}", "section_id": "A", "seats_requested": 1, "seats_requested": 2}"#,
            400,
            JSON,
            "",
        ),
        (
            r#"{"event_id": "{event}", "event_id": "{event}", "section_id": "A", "seats_requested": 1}"#,
            400,
            JSON,
            "",
        ),
        (r#"["{event}", "A", 1]"#, 422, INVALID, "body"),
        (r#"{"event_id": "{event}", "section_id": "A\u0000", "seats_requested": 1}"#, 404, "not_found", ""),
        (r#"{"event_id": "{event}", "section_id": "", "seats_requested": 1}"#, 404, "not_found", ""),
        (r#"{"event_id": "{event}", "section_id": "{x*10000}", "seats_requested": 1}"#, 404, "not_found", ""),
        (r#"{"event_id": "{x*10000}", "section_id": "A", "seats_requested": 1}"#, 404, "not_found", ""),
    ]);
    refuse(&user, &Method::POST, HOLD, &event_id, &rows).await;
    // What cannot be read as UTF-8.
    for broken in
        [&b"\xff\xfe"[..], b"{\"event_id\": \"\xff\"}", b"{\"\xc3\": 1}", b"\x00", b"{}\x80"]
    {
        let headers = [("Content-Type", "application/json")];
        let answer = user.send_bytes(Method::POST, HOLD, broken, &headers).await;
        answer.problem(400, "malformed_json");
    }
    assert_eq!(state(&user, &event_id).await, before);
    server.audit();
}

/// Sections that cannot stand in one event.
fn two_currencies() -> Value {
    json!([
        {"name": "A", "capacity": 1, "currency": "USD"},
        {"name": "B", "capacity": 1, "currency": "EUR"},
    ])
}

#[tokio::test]
async fn an_event_with_bad_input_is_refused_and_not_recorded() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(10).await;
    let before = state(&user, &event_id).await;
    let with = |changes: Value| show(&changes).to_string();
    let section = |section: Value| {
        show(&json!({"sections": [{"name": "A", "capacity": 1}, section]})).to_string()
    };
    let long = |length: usize| "x".repeat(length);
    let fields = [
        ("title", with(json!({"title": ""}))),
        ("title", with(json!({"title": long(201)}))),
        ("title", with(json!({"title": long(10_000)}))),
        ("title", with(json!({"title": "a\0b"}))),
        ("title", with(json!({"title": "a\nb"}))),
        ("title", with(json!({"title": "a\u{85}b"}))),
        ("title", with(json!({"title": null}))),
        ("title", with(json!({"title": ["Show"]}))),
        ("description", with(json!({"description": long(5_001)}))),
        ("description", with(json!({"description": "\0"}))),
        ("venue", with(json!({"venue": long(201)}))),
        ("venue", with(json!({"venue": "\u{1b}[31m"}))),
        ("event_date", with(json!({"event_date": ""}))),
        ("event_date", with(json!({"event_date": "tomorrow"}))),
        ("event_date", with(json!({"event_date": "2099-02-30"}))),
        ("event_date", with(json!({"event_date": "2099-06-15T20:00:00"}))),
        ("event_date", with(json!({"event_date": "99999-06-15"}))),
        ("event_date", with(json!({"event_date": long(10_000)}))),
        ("event_date", with(json!({"event_date": "2099-06-15\0"}))),
        ("event_date", with(json!({"event_date": 20_990_615}))),
        ("timezone", with(json!({"timezone": "Mars/Olympus"}))),
        ("timezone", with(json!({"timezone": ""}))),
        ("timezone", with(json!({"timezone": long(10_000)}))),
        ("status", with(json!({"status": "cancelled"}))),
        ("status", with(json!({"status": "ON_SALE"}))),
        ("sales_start", with(json!({"sales_start": "2099-06-15"}))),
        ("sales_end", with(json!({"sales_end": 0}))),
        (
            "sales_end",
            with(
                json!({"sales_start": "2098-01-01T00:00:00Z", "sales_end": "2097-01-01T00:00:00Z"}),
            ),
        ),
        ("cancellable_until", with(json!({"cancellable_until": "never"}))),
        ("max_seats_per_booking", with(json!({"max_seats_per_booking": 0}))),
        ("max_seats_per_booking", with(json!({"max_seats_per_booking": 10_001}))),
        ("max_seats_per_user", with(json!({"max_seats_per_user": -1}))),
        ("max_seats_per_user", with(json!({"max_seats_per_user": 1_000_000_001}))),
        ("hold_ttl_seconds", with(json!({"hold_ttl_seconds": 0}))),
        ("hold_ttl_seconds", with(json!({"hold_ttl_seconds": 86_401}))),
        ("hold_ttl_seconds", with(json!({"hold_ttl_seconds": i64::MIN}))),
        ("sections", with(json!({"sections": []}))),
        ("sections", with(json!({"sections": null}))),
        ("sections", with(json!({"sections": {}}))),
        ("sections[0]", with(json!({"sections": [null]}))),
        ("sections[0]", with(json!({"sections": [["A", 10, 0, "USD"]]}))),
        ("sections[0].capacity", with(json!({"sections": [{"name": "A"}]}))),
        ("sections[1].name", section(json!({"capacity": 1}))),
        ("sections[1].name", section(json!({"name": "", "capacity": 1}))),
        ("sections[1].name", section(json!({"name": "\0", "capacity": 1}))),
        ("sections[1].name", section(json!({"name": long(101), "capacity": 1}))),
        ("sections[1].name", section(json!({"name": long(10_000), "capacity": 1}))),
        ("sections[1].name", section(json!({"name": "a", "capacity": 1}))),
        ("sections[1].capacity", section(json!({"name": "B", "capacity": 0}))),
        ("sections[1].capacity", section(json!({"name": "B", "capacity": -1}))),
        ("sections[1].capacity", section(json!({"name": "B", "capacity": 1_000_000_001}))),
        ("sections[1].capacity", section(json!({"name": "B", "capacity": 3e9}))),
        ("sections[1].capacity", section(json!({"name": "B", "capacity": "1"}))),
        ("sections[1].price", section(json!({"name": "B", "capacity": 1, "price": -1}))),
        ("sections[1].price", section(json!({"name": "B", "capacity": 1, "price": 0.5}))),
        (
            "sections[1].price",
            section(json!({"name": "B", "capacity": 1, "price": 100_000_000_001_i64})),
        ),
        ("sections[1].currency", section(json!({"name": "B", "capacity": 1, "currency": "EURO"}))),
        ("sections[1].currency", section(json!({"name": "B", "capacity": 1, "currency": ""}))),
        ("sections[1].currency", with(json!({"sections": two_currencies()}))),
        ("sections[1].surprise", section(json!({"name": "B", "capacity": 1, "surprise": 1}))),
        ("organizer_id", with(json!({"organizer_id": "me"}))),
        ("version", with(json!({"version": 1}))),
    ];
    let mut rows: Vec<Row> =
        fields.iter().map(|(field, body)| (&**body, 422, INVALID, *field)).collect();
    rows.extend(SYNTAX);
    rows.extend([
        (r#"{"title": "Show", "event_date": "2099-06-15"}"#, 422, INVALID, "sections"),
        (
            r#"{"title": "Show", "sections": [{"name": "A", "capacity": 1e400}]}"#,
            422,
            INVALID,
            "sections[0].capacity",
        ),
        (r#"{"sections": [{"name": "A", "name": "B", "capacity": 1}]}"#, 400, JSON, ""),
    ]);
    refuse(&user, &Method::POST, EVENTS, &event_id, &rows).await;
    assert_eq!(state(&user, &event_id).await, before);
}

#[tokio::test]
async fn a_change_with_bad_input_is_refused_and_changes_nothing() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(10).await;
    let before = state(&user, &event_id).await;
    let path = format!("/events/{event_id}");
    let mut rows = SYNTAX.to_vec();
    rows.extend([
        (r#"{"title": ""}"#, 422, INVALID, "title"),
        (r#"{"title": "a\u0000"}"#, 422, INVALID, "title"),
        (r#"{"status": "cancelled"}"#, 422, INVALID, "status"),
        (r#"{"status": 1}"#, 422, INVALID, "status"),
        (r#"{"event_date": "x"}"#, 422, INVALID, "event_date"),
        (r#"{"timezone": "x"}"#, 422, INVALID, "timezone"),
        (r#"{"venue": 1}"#, 422, INVALID, "venue"),
        (r#"{"title": null}"#, 422, INVALID, "title"),
        (r#"{"event_date": null}"#, 422, INVALID, "event_date"),
        (r#"{"timezone": null}"#, 422, INVALID, "timezone"),
        (r#"{"status": null}"#, 422, INVALID, "status"),
        (r#"{"max_seats_per_booking": 1e400}"#, 422, INVALID, "max_seats_per_booking"),
        (
            r#"{"sales_start": "2099-01-01T00:00:00Z", "sales_end": "2098-01-01T00:00:00Z"}"#,
            422,
            INVALID,
            "sales_end",
        ),
        (r#"{"sections": []}"#, 422, INVALID, "sections"),
        (r#"{"venue": null, "venue": null}"#, 400, JSON, ""),
    ]);
    refuse(&user, &Method::PATCH, &path, &event_id, &rows).await;
    let mut rows = SYNTAX.to_vec();
    rows.extend([
        (r#"{"capacity": 0}"#, 422, INVALID, "capacity"),
        (r#"{"capacity": 3e9}"#, 422, INVALID, "capacity"),
        (r#"{"name": "\u0000"}"#, 422, INVALID, "name"),
        (r#"{"name": "{x*101}"}"#, 422, INVALID, "name"),
        (r#"{"price": -1}"#, 422, INVALID, "price"),
        (r#"{"price": null}"#, 422, INVALID, "price"),
        (r#"{"capacity": null}"#, 422, INVALID, "capacity"),
        (r#"{"currency": "E"}"#, 422, INVALID, "currency"),
        (r#"{"available_seats": 1}"#, 422, INVALID, "available_seats"),
    ]);
    refuse(&user, &Method::PATCH, &format!("{path}/sections/A"), &event_id, &rows).await;
    let mut added = SYNTAX.to_vec();
    added.extend([
        ("{}", 422, INVALID, "name"),
        (r#"{"name": "B"}"#, 422, INVALID, "capacity"),
        (r#"{"name": "B", "capacity": 3e9}"#, 422, INVALID, "capacity"),
        (r#"{"name": "B", "capacity": 1000000001}"#, 422, INVALID, "capacity"),
        (r#"{"name": "", "capacity": 1}"#, 422, INVALID, "name"),
        (r#"{"name": "a", "capacity": 1}"#, 422, INVALID, "name"),
        (r#"["B", 1, 0, "USD"]"#, 422, INVALID, "body"),
    ]);
    refuse(&user, &Method::POST, &format!("{path}/sections"), &event_id, &added).await;
    assert_eq!(state(&user, &event_id).await, before);
}

#[tokio::test]
async fn a_step_of_a_booking_takes_no_body_but_an_empty_object() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(10).await;
    let booking_id = user.held(&event_id, 2).await;
    let before = state(&user, &event_id).await;
    let syntax: Vec<Row> = SYNTAX.iter().filter(|row| !row.0.is_empty()).copied().collect();
    for path in [
        format!("/bookings/{booking_id}/confirm"),
        format!("/bookings/{booking_id}/extend"),
        format!("/bookings/{booking_id}/cancel"),
        format!("/events/{event_id}/cancel"),
    ] {
        refuse(&user, &Method::POST, &path, &event_id, &syntax).await;
    }
    assert_eq!(state(&user, &event_id).await, before);
}

#[tokio::test]
async fn an_account_with_bad_input_is_refused() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let account =
        |email: &str, password: &str| json!({"email": email, "password": password}).to_string();
    let long = "x".repeat(129);
    let fields = [
        ("email", account("", "password")),
        ("email", account("nobody", "password")),
        ("email", account("@example.com", "password")),
        ("email", account("ann@", "password")),
        ("email", account("ann@b@c", "password")),
        ("email", account("ann bob@example.com", "password")),
        ("email", account("ann\0@example.com", "password")),
        ("email", account("ann@example.com\n", "password")),
        ("email", account(&format!("{}@example.com", "x".repeat(250)), "password")),
        ("password", account("new@example.com", "")),
        ("password", account("new@example.com", "1234567")),
        ("password", account("new@example.com", &long)),
        ("password", account("new@example.com", "pass\0word")),
        (
            "name",
            r#"{"email": "new@example.com", "password": "a long one", "name": ""}"#.to_owned(),
        ),
        ("name", r#"{"email": "new@example.com", "password": "a long one", "name": 7}"#.to_owned()),
        (
            "admin",
            r#"{"email": "new@example.com", "password": "a long one", "admin": true}"#.to_owned(),
        ),
    ];
    let mut rows: Vec<Row> =
        fields.iter().map(|(field, body)| (&**body, 422, INVALID, *field)).collect();
    rows.extend(SYNTAX);
    rows.push(("{}", 422, INVALID, "email"));
    refuse(&user, &Method::POST, REGISTER, "", &rows).await;
    let mut rows = SYNTAX.to_vec();
    rows.extend([
        (r#"{"email": "ann@example.com"}"#, 422, INVALID, "password"),
        (r#"{"email": "ann@example.com", "password": 12345678}"#, 422, INVALID, "password"),
        (r#"{"email": "ann@example.com", "password": "{x*129}"}"#, 422, INVALID, "password"),
        (r#"{"email": "{x*10000}", "password": "password"}"#, 422, INVALID, "email"),
        (r#"{"email": "a\u0000", "password": "password"}"#, 401, "invalid_credentials", ""),
    ]);
    refuse(&user, &Method::POST, "/auth/login", "", &rows).await;
    for path in ["/auth/refresh", "/auth/logout"] {
        refuse(&user, &Method::POST, path, "", &SYNTAX).await;
        let row = (r#"{"refresh_token": "{x*10000}"}"#, 422, INVALID, "refresh_token");
        refuse(&user, &Method::POST, path, "", &[row]).await;
    }
    refuse(&user, &Method::POST, "/auth/password", "", &SYNTAX).await;
    refuse(&user, &Method::PATCH, "/users/me", "", &SYNTAX).await;
    let row = (r#"{"email": null}"#, 422, INVALID, "email");
    refuse(&user, &Method::PATCH, "/users/me", "", &[row]).await;
    let login = json!({"email": "new@example.com", "password": "password"});
    user.post("/auth/login", &login).await.problem(401, "invalid_credentials");
}

#[tokio::test]
async fn a_field_has_one_error_also_when_it_is_blank() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(10).await;
    let sections = format!("/events/{event_id}/sections");
    let section = json!({"name": "", "capacity": 5});
    let calls = [
        (Method::POST, "/events".to_owned(), show(&json!({"title": ""})), "title"),
        (Method::PATCH, format!("/events/{event_id}"), json!({"title": ""}), "title"),
        (Method::POST, sections.clone(), section, "name"),
        (Method::PATCH, format!("{sections}/A"), json!({"name": ""}), "name"),
        (
            Method::PUT,
            format!("{sections}/A/blocked"),
            json!({"number": 1, "reason": ""}),
            "reason",
        ),
        (
            Method::POST,
            "/bookings/hold".to_owned(),
            json!({"event_id": event_id, "section_id": "A", "seats": vec![""; 10_001]}),
            "seats",
        ),
    ];
    for (method, path, body, field) in calls {
        let answer = user.send(method, &path, Some(&body), &[]).await;
        let problem = answer.problem(422, "validation_failed");
        let errors = problem["errors"].as_array().expect("a list");
        assert_eq!(errors.len(), 1, "{path}: {errors:?}");
        assert_eq!(errors[0]["field"], field, "{path}");
    }
}
