//! The shortcut and the router say the same: each request is sent to both, and the bytes of the
//! answers are compared.

mod cases;
mod many;

use super::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

const HOLD: &str = "/api/v1/bookings/hold";
const SHOP: (&str, &str) = ("Origin", "https://shop.example");
const STRANGER: (&str, &str) = ("Origin", "https://other.example");
const GZIP: (&str, &str) = ("Accept-Encoding", "gzip, br;q=0");
const JSON: (&str, &str) = ("Content-Type", "application/json");
const NOBODY: &str = "00000000-0000-7000-8000-000000000000";

/// An instance that listens twice: with the shortcut, and with the router alone.
struct Both {
    short: SocketAddr,
    long: SocketAddr,
    authorization: String,
    /// Status and code of what was compared.
    seen: BTreeSet<(u16, String)>,
    stop: CancellationToken,
}

/// An answer: its status line, its other lines in order, and its body.
#[derive(Debug, PartialEq, Eq)]
struct Heard {
    status: String,
    lines: Vec<String>,
    body: Vec<u8>,
}

impl Heard {
    /// An answer with this head, without the date, and without a body so far.
    fn new(head: &[u8]) -> Self {
        let head = String::from_utf8(head.to_vec()).expect("text");
        let mut lines = head.trim_end().split("\r\n").map(str::to_owned);
        let status = lines.next().expect("a status line");
        let mut lines: Vec<_> = lines.filter(|line| !line.starts_with("date: ")).collect();
        lines.sort();
        Self { status, lines, body: Vec::new() }
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    fn code(&self) -> u16 {
        self.status.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status")
    }
}

async fn listen(service: Service, core: &Arc<Core>, stop: &CancellationToken) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (core, stop) = (core.clone(), stop.clone());
    tokio::spawn(async move { connection::serve(listener, service, &core.config, stop).await });
    address
}

/// The bytes of a request. The id is part of every answer, so both get the same.
fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nX-Request-Id: same\r\nConnection: close\r\n"
    );
    for (name, value) in headers {
        head += &[name, ": ", value, "\r\n"].concat();
    }
    let has_length = headers.iter().any(|(name, _)| *name == "Transfer-Encoding");
    if method == "POST" && !has_length {
        head += &["Content-Length: ", &body.len().to_string(), "\r\n"].concat();
    }
    format!("{head}\r\n{body}")
}

/// A body without the values of these members. Its length stays, and so do the quotes.
fn masked_members(body: &[u8], names: &[&str]) -> Vec<u8> {
    let mut body = body.to_vec();
    for name in names {
        let name = format!("\"{name}\":");
        let Some(at) = body.windows(name.len()).position(|part| part == name.as_bytes()) else {
            continue;
        };
        let value = &mut body[at + name.len()..];
        let quotes = usize::from(value.starts_with(b"\""));
        let value = value.iter_mut().skip(quotes);
        value.take_while(|byte| !b"\",}".contains(byte)).for_each(|byte| *byte = b'1');
    }
    body
}

/// What is heard of the server at `address`.
async fn hear(address: SocketAddr, request: &str) -> Heard {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(request.as_bytes()).await.expect("it is sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let mut heard = Heard::new(&answer[..end + 4]);
    heard.body = masked_members(&answer[end + 4..], &["server_time", "expires_in"]);
    heard
}

impl Both {
    async fn new(world: &World, settings: &[(&str, &str)]) -> Self {
        let core = world.core_with(settings);
        let app = Arc::new(App::new(core.clone(), &SecretString::from(SECRET)));
        let authorization = format!("Bearer {}", token(&app));
        let (short, stop) = (service(app), CancellationToken::new());
        let long = Service { shortcut: None, ..short.clone() };
        let short = listen(short, &core, &stop).await;
        let long = listen(long, &core, &stop).await;
        Self { short, long, authorization, seen: BTreeSet::new(), stop }
    }

    /// Sends a request to both and compares; returns what both said.
    async fn same(&mut self, request: &str) -> Heard {
        let short = hear(self.short, request).await;
        let long = hear(self.long, request).await;
        assert_eq!(short, long, "{request}");
        let code = short.json()["code"].as_str().unwrap_or_default().to_owned();
        self.seen.insert((short.code(), code));
        short
    }

    /// [`Self::same`], as the user.
    async fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Heard {
        let authorization = self.authorization.clone();
        let own = [("Authorization", authorization.as_str()), JSON];
        self.same(&request(method, path, &[&own[..], headers].concat(), body)).await
    }

    async fn refused(&mut self, method: &str, path: &str, body: &str, code: &str) {
        let heard = self.ask(method, path, &[], body).await;
        assert_eq!(heard.json()["code"], code, "{method} {path} {body}: {heard:?}");
    }

    /// Does something once, by the router; returns the answer's body.
    async fn once(&self, method: &str, path: &str, body: &str) -> Value {
        let headers = [("Authorization", self.authorization.as_str()), JSON];
        let heard = hear(self.long, &request(method, path, &headers, body)).await;
        assert!(heard.code() < 300, "{method} {path} {body}: {heard:?}");
        heard.json()
    }

    async fn event(&self, more: Value) -> String {
        let sections = json!([{"name": "A", "capacity": 50}]);
        let mut show = json!({
            "title": "Show",
            "event_date": "2099-06-15",
            "hold_ttl_seconds": 600,
            "sections": sections,
        });
        for (name, value) in more.as_object().expect("members") {
            show[name] = value.clone();
        }
        let made = self.once("POST", "/api/v1/events", &show.to_string()).await;
        made["event_id"].as_str().expect("an id").to_owned()
    }

    async fn held(&self, event_id: &str) -> String {
        let held = self.once("POST", HOLD, &hold(event_id, 1)).await;
        held["booking_id"].as_str().expect("an id").to_owned()
    }
}

fn hold(event_id: &str, seats: u32) -> String {
    json!({"event_id": event_id, "section_id": "A", "seats_requested": seats}).to_string()
}

fn confirm(booking_id: &str) -> String {
    format!("/api/v1/bookings/{booking_id}/confirm")
}

/// An answer without what differs between two bookings: their ids and times.
fn masked(heard: &Heard) -> (String, Vec<String>, Value) {
    let mut lines = heard.lines.clone();
    lines.iter_mut().filter(|line| line.starts_with("location: ")).for_each(|line| {
        line.truncate(line.rfind('/').expect("a path"));
    });
    let mut body = heard.json();
    let times = ["created_at", "updated_at", "expires_at", "max_expires_at", "confirmed_at"];
    for name in ["booking_id", "reference"].into_iter().chain(times) {
        if body[name].is_string() {
            body[name] = json!("masked");
        }
    }
    (heard.status.clone(), lines, body)
}

/// What can be wrong with the head or the body of any call that takes JSON.
async fn bad_requests(both: &mut Both, path: &str) {
    let good = both.authorization.clone();
    let own = ("Authorization", good.as_str());
    for headers in [
        &[][..],
        &[("Authorization", "Bearer not-a-token")],
        &[("Authorization", "Basic YTpi")],
        &[own, own],
        &[own, ("Content-Encoding", "gzip")],
        &[own, ("Content-Encoding", "gzip"), SHOP],
        &[own, JSON, ("X-Large", &"x".repeat(17 * 1024))],
    ] {
        both.same(&request("POST", path, headers, "{}")).await;
    }
    let none = request("POST", path, &[own, JSON], "{}").replace("Host: x\r\n", "");
    assert_eq!(both.same(&none).await.code(), 400);
    for body in ["{", "[]", "nothing", "\"\"", "{\"x\": 1}", "{\"x\": 1, \"x\": 2}", "\u{1}", "12"]
    {
        let heard = both.ask("POST", path, &[], body).await;
        assert!([400, 422].contains(&heard.code()), "{body}: {heard:?}");
    }
    let large = " ".repeat(2_000);
    both.refused("POST", path, &large, "body_too_large").await;
    let chunked = format!("7d0\r\n{large}\r\n0\r\n\r\n");
    let heard = both.ask("POST", path, &[("Transfer-Encoding", "chunked")], &chunked).await;
    assert_eq!(heard.code(), 413);
    both.refused("POST", &format!("{path}?dry_run=true"), "{}", "validation_failed").await;
}

#[tokio::test]
async fn the_shortcut_and_the_router_answer_a_hold_with_the_same_bytes() {
    let world = World::new().await;
    let settings =
        [("RATE_LIMIT_ENABLED", "false"), ("MAX_BODY_BYTES", "1024"), ("ALLOWED_ORIGINS", SHOP.1)];
    let mut both = Both::new(&world, &settings).await;
    let event_id = both.event(json!({})).await;
    let key = ("Idempotency-Key", "first");

    let headers = [("Authorization", both.authorization.as_str()), JSON];
    let fresh = request("POST", HOLD, &headers, &hold(&event_id, 1));
    let (short, long) = (hear(both.short, &fresh).await, hear(both.long, &fresh).await);
    assert_eq!((short.code(), masked(&short)), (201, masked(&long)));
    let keyed = request("POST", HOLD, &[&headers[..], &[key]].concat(), &hold(&event_id, 1));
    assert_eq!(hear(both.short, &keyed).await.code(), 201);
    for more in [&[][..], &[GZIP], &[SHOP], &[STRANGER]] {
        let again = both.ask("POST", HOLD, &[&[key], more].concat(), &hold(&event_id, 1)).await;
        assert!(again.lines.contains(&"idempotent-replayed: true".to_owned()), "{again:?}");
    }
    let other = both.ask("POST", HOLD, &[key], &hold(&event_id, 2)).await;
    assert_eq!(other.json()["code"], "idempotency_key_reused");
    assert_eq!(both.ask("POST", HOLD, &[("Idempotency-Key", "a b")], "{}").await.code(), 400);

    bad_requests(&mut both, HOLD).await;
    let (none, bad) = (hold(NOBODY, 1), hold("abc", 1));
    both.refused("POST", HOLD, &none, "not_found").await;
    both.refused("POST", HOLD, &bad, "not_found").await;
    let section = hold(&event_id, 1).replace("\"A\"", "\"Z\"");
    both.refused("POST", HOLD, &section, "not_found").await;
    both.refused("POST", HOLD, &hold(&event_id, 0), "validation_failed").await;
    for (seats, more, code) in [
        (51, json!({"max_seats_per_booking": 100}), "sold_out"),
        (3, json!({"max_seats_per_booking": 2}), "too_many_seats"),
        (3, json!({"max_seats_per_user": 2}), "buyer_limit"),
        (1, json!({"sales_start": "2099-01-01T00:00:00Z"}), "sale_not_open"),
        (1, json!({"sales_end": "2020-01-01T00:00:00Z"}), "sale_closed"),
        (1, json!({"event_date": "2020-01-01"}), "event_over"),
    ] {
        let event_id = both.event(more).await;
        both.refused("POST", HOLD, &hold(&event_id, seats), code).await;
    }
    both.once("POST", &format!("/api/v1/events/{event_id}/cancel"), "").await;
    both.refused("POST", HOLD, &hold(&event_id, 1), "event_cancelled").await;

    let layout = json!([{"name": "A", "layout": {"rows": "A", "seats_per_row": 5}}]);
    let hall = both.event(json!({"sections": layout, "prevent_orphans": true})).await;
    let seats =
        |seats: &[&str]| json!({"event_id": hall, "section_id": "A", "seats": seats}).to_string();
    both.refused("POST", HOLD, &seats(&["A-2"]), "orphan_seat").await;
    both.once("POST", HOLD, &seats(&["A-1", "A-2"])).await;
    both.refused("POST", HOLD, &seats(&["A-1", "A-2", "A-3"]), "seats_unavailable").await;

    let statuses: BTreeSet<_> = both.seen.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, [201, 400, 401, 404, 409, 413, 415, 422, 431].into());
    both.stop.cancel();
}

#[tokio::test]
async fn the_shortcut_and_the_router_answer_a_confirm_with_the_same_bytes() {
    let world = World::new().await;
    let settings =
        [("RATE_LIMIT_ENABLED", "false"), ("MAX_BODY_BYTES", "1024"), ("ALLOWED_ORIGINS", "*")];
    let mut both = Both::new(&world, &settings).await;
    let event_id = both.event(json!({})).await;

    let mut fresh = Vec::new();
    for address in [both.short, both.long] {
        let path = confirm(&both.held(&event_id).await);
        let headers = [("Authorization", both.authorization.as_str())];
        fresh.push(masked(&hear(address, &request("POST", &path, &headers, "")).await));
    }
    assert_eq!((fresh[0].2["status"].as_str(), &fresh[0]), (Some("CONFIRMED"), &fresh[1]));
    let booking_id = both.held(&event_id).await;
    let path = confirm(&booking_id);
    both.once("POST", &path, "").await;
    for headers in [&[][..], &[GZIP], &[SHOP], &[("Idempotency-Key", "ignored")]] {
        for body in ["", "{}"] {
            assert_eq!(both.ask("POST", &path, headers, body).await.code(), 200);
        }
    }

    bad_requests(&mut both, &path).await;
    both.refused("POST", &confirm(NOBODY), "", "not_found").await;
    both.refused("POST", &confirm("abc"), "", "not_found").await;
    let cancelled = both.held(&event_id).await;
    both.once("POST", &format!("/api/v1/bookings/{cancelled}/cancel"), "").await;
    both.refused("POST", &confirm(&cancelled), "", "booking_cancelled").await;
    let short_lived = both.event(json!({"hold_ttl_seconds": 1})).await;
    let expired = both.held(&short_lived).await;
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    both.refused("POST", &confirm(&expired), "", "hold_expired").await;
    let called_off = both.held(&event_id).await;
    both.once("POST", &format!("/api/v1/events/{event_id}/cancel"), "").await;
    both.refused("POST", &confirm(&called_off), "", "event_cancelled").await;

    let statuses: BTreeSet<_> = both.seen.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, [200, 400, 401, 404, 409, 410, 413, 415, 422, 431].into());
    both.stop.cancel();
}

#[tokio::test]
async fn the_shortcut_and_the_router_answer_a_read_of_an_event_with_the_same_bytes() {
    let world = World::new().await;
    let settings = [("RATE_LIMIT_ENABLED", "false"), ("ALLOWED_ORIGINS", SHOP.1)];
    let mut both = Both::new(&world, &settings).await;
    let section = |number| json!({"name": format!("Section {number}"), "capacity": number});
    let many: Vec<_> = (1..=30).map(section).collect();
    for (more, is_large) in [(json!({}), false), (json!({"sections": many}), true)] {
        let path = format!("/api/v1/events/{}", both.event(more).await);
        let read = both.ask("GET", &path, &[], "").await;
        let etag = read.lines.iter().find_map(|line| line.strip_prefix("etag: "));
        let etag = etag.expect("a tag").to_owned();
        for headers in [
            &[GZIP][..],
            &[("Accept-Encoding", "identity;q=0")],
            &[GZIP, SHOP],
            &[GZIP, STRANGER],
            &[("If-None-Match", "*")],
            &[("If-None-Match", etag.as_str()), GZIP],
            &[("If-None-Match", etag.as_str()), SHOP],
            &[("If-None-Match", "\"other\"")],
            &[("Accept", "text/html")],
        ] {
            let heard = both.ask("GET", &path, headers, "").await;
            let is_known = headers[0].0 == "If-None-Match" && headers[0].1 != "\"other\"";
            assert_eq!(heard.code(), if is_known { 304 } else { 200 }, "{headers:?}");
            let is_zipped = heard.lines.contains(&"content-encoding: gzip".to_owned());
            assert_eq!(is_zipped, is_large && headers[0] == GZIP, "{headers:?}");
            // Also without a token.
            both.same(&request("GET", &path, headers, "")).await;
        }
        for authorization in ["Bearer x", "Basic YTpi", "Bearer"] {
            let bad = request("GET", &path, &[("Authorization", authorization)], "");
            assert_eq!(both.same(&bad).await.code(), 401);
        }
        both.refused("GET", &format!("{path}?view=card"), "", "validation_failed").await;
    }
    let draft = format!("/api/v1/events/{}", both.event(json!({"status": "draft"})).await);
    assert_eq!(both.ask("GET", &draft, &[], "").await.code(), 200);
    assert_eq!(both.same(&request("GET", &draft, &[], "")).await.code(), 404);
    for id in [NOBODY, "abc"] {
        both.refused("GET", &format!("/api/v1/events/{id}"), "", "not_found").await;
    }
    let large = ("X-Large", "x".repeat(17 * 1024));
    let heard = both.ask("GET", &draft, &[(large.0, large.1.as_str())], "").await;
    assert_eq!(heard.code(), 431);

    let statuses: BTreeSet<_> = both.seen.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, [200, 304, 401, 404, 422, 431].into());
    both.stop.cancel();
}

#[tokio::test]
async fn the_shortcut_and_the_router_refuse_what_is_beyond_a_rate_with_the_same_bytes() {
    let world = World::new().await;
    let both = Both::new(&world, &[("RATE_LIMIT_REQUESTS_PER_SECOND", "1")]).await;
    let path = format!("/api/v1/events/{NOBODY}");
    for headers in [vec![], vec![("Authorization", both.authorization.clone())]] {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let read = request("GET", &path, &headers, "");
        let begun = std::time::Instant::now();
        // One a second is let through, by whichever of them.
        loop {
            let (short, long) = (hear(both.short, &read).await, hear(both.long, &read).await);
            if (short.code(), long.code()) == (429, 429) {
                assert_eq!(short, long);
                break;
            }
            assert!(begun.elapsed().as_secs() < 20, "nobody is refused");
        }
    }
    both.stop.cancel();
}
