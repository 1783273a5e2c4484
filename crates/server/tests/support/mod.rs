//! A real `reservix` on a free port with a store of its own, and a client that speaks to it.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod dice;
pub mod stack;
pub mod wire;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// How long a server may take to listen, on a machine that is busy with other tests.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// The binary under test.
pub fn reservix() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reservix"));
    // Nothing of the caller's environment may configure the server.
    command.env_clear();
    command
}

/// A running server. It is killed when it goes out of scope.
pub struct Server {
    /// Where it listens, such as `http://127.0.0.1:12345`.
    pub url: String,
    child: Child,
    folder: PathBuf,
    own: Option<tempfile::TempDir>,
    log: std::sync::Arc<parking_lot::Mutex<Vec<String>>>,
    reader: std::sync::Arc<AtomicU8>,
}

/// What the reader of a server's log does: it reads,
const READS: u8 = 0;
/// it is there and takes nothing,
const STALLS: u8 = 1;
/// or it is gone for good.
const GONE: u8 = 2;

impl Server {
    /// Starts a server in a folder of its own, with these settings.
    pub fn start(settings: &[(&str, &str)]) -> Self {
        let own = tempfile::tempdir().expect("a folder");
        let mut server = Self::start_in(own.path(), settings);
        server.own = Some(own);
        server
    }

    /// [`Self::start`] with these arguments.
    pub fn start_with(arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        let own = tempfile::tempdir().expect("a folder");
        let mut command = reservix();
        command.args(arguments);
        let mut server = Self::start_by(command, own.path(), settings);
        server.own = Some(own);
        server
    }

    /// Starts a server on the data in `folder`.
    pub fn start_in(folder: &Path, settings: &[(&str, &str)]) -> Self {
        Self::start_by(reservix(), folder, settings)
    }

    /// Starts a server by a command that ends in `exec reservix`.
    pub fn start_by(mut command: Command, folder: &Path, settings: &[(&str, &str)]) -> Self {
        stack::settle(&mut command, folder);
        command
            .env("PORT", "0")
            .env("LOG_FORMAT", "text")
            .env("RATE_LIMIT_ENABLED", "false")
            .envs(settings.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let stderr = child.stderr.take().expect("piped");
        let log = std::sync::Arc::new(parking_lot::Mutex::new(Vec::new()));
        let (found, address) = mpsc::channel();
        let lines = log.clone();
        let reader = std::sync::Arc::new(AtomicU8::new(READS));
        let does = reader.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if let Some((_, url)) = line.split_once("address: ") {
                    let _ = found.send(url.trim().to_owned());
                }
                lines.lock().push(line);
                while does.load(Ordering::SeqCst) == STALLS {
                    std::thread::park_timeout(Duration::from_millis(5));
                }
                if does.load(Ordering::SeqCst) == GONE {
                    break;
                }
            }
        });
        let url = address.recv_timeout(START_TIMEOUT).unwrap_or_else(|_| {
            let _ = child.kill();
            panic!("the server did not start: {:#?}", log.lock());
        });
        Self { url, child, folder: folder.to_owned(), own: None, log, reader }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().clone()
    }

    /// From its next line on, the log has no reader.
    pub fn lose_log_reader(&self) {
        self.reader.store(GONE, Ordering::SeqCst);
    }

    /// From its next line on, the log has a reader that takes nothing: the pipe fills up.
    pub fn stall_log_reader(&self) {
        self.reader.store(STALLS, Ordering::SeqCst);
    }

    /// The reader reads again.
    pub fn wake_log_reader(&self) {
        self.reader.store(READS, Ordering::SeqCst);
    }

    /// Sends a signal by its name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().expect("still running");
        self.child.wait().expect("ends");
    }

    /// Asks it to stop and waits for the end; returns its exit code.
    pub fn stop(mut self) -> Option<i32> {
        self.signal("TERM");
        self.child.wait().expect("ends").code()
    }

    /// Runs another command of the binary on the same data.
    pub fn run(&self, arguments: &[&str]) -> Output {
        run_in(&self.folder, arguments)
    }

    /// `reservix audit` beside the running server: panics with its output unless it is clean.
    pub fn audit(&self) {
        audit(&self.folder);
    }

    /// Waits until it has ended by itself; returns its exit code.
    pub fn wait(mut self) -> Option<i32> {
        self.child.wait().expect("ends").code()
    }

    /// Where its data is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Changes its database behind its back.
    pub fn sql(&self, statement: &str) {
        sql(&self.folder, statement);
    }

    /// A client without a token.
    pub fn client(&self) -> Client {
        Client::of(&self.url)
    }

    /// A client of a new user.
    pub async fn user(&self) -> Client {
        self.client().sign_up().await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command of the binary on the data in `folder`.
pub fn run_in(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = reservix();
    stack::settle(&mut command, folder);
    command.args(arguments).output().expect("the binary runs")
}

/// `reservix audit` on the data in `folder`: panics with its output unless it is clean.
pub fn audit(folder: &Path) {
    let output = run_in(folder, &["audit"]);
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
}

/// Changes the database of the data in `folder`, also beside a running server.
pub fn sql(folder: &Path, statement: &str) {
    stack::sql(folder, statement);
}

/// How long something may take to become so, on a machine that is busy with other tests.
const EVENTUALLY: Duration = Duration::from_secs(20);

/// Asks again and again until the answer is yes.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let asked = tokio::time::timeout(EVENTUALLY, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    asked.await.unwrap_or_else(|_| panic!("never came true: {what}"));
}

fn http() -> reqwest::Client {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(30)).build();
    client.expect("a client")
}

/// A client of the API, with or without a user's token.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    /// The base of the paths.
    pub api: String,
    /// The access token it sends.
    pub token: Option<String>,
    /// Whose token it is.
    pub user_id: Option<String>,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: reqwest::header::HeaderMap,
    /// The body; null when it is empty, a string when it is no JSON.
    pub body: Value,
}

impl Answer {
    /// Whether it has this status and this problem's code.
    pub fn is(&self, status: u16, code: &str) -> bool {
        (self.status.as_u16(), self.body["code"].as_str()) == (status, Some(code))
    }

    /// The status and the problem's code, if it has one.
    pub fn short(&self) -> String {
        format!("{} {}", self.status.as_u16(), self.body["code"].as_str().unwrap_or_default())
    }

    /// Whether an earlier request with the same key made what it tells.
    pub fn is_replayed(&self) -> bool {
        self.headers.get("idempotent-replayed").is_some_and(|value| value == "true")
    }

    /// The id of the booking it tells.
    pub fn booking_id(&self) -> Option<String> {
        self.body["booking_id"].as_str().map(str::to_owned)
    }

    /// The body, if the status is the expected one.
    #[track_caller]
    pub fn expect(self, status: StatusCode) -> Value {
        assert_eq!(self.status, status, "{:#}", self.body);
        self.body
    }

    /// Checks that this is a problem as RFC 9457 wants it, with this status and code, and gives it.
    #[track_caller]
    pub fn problem(self, status: u16, code: &str) -> Value {
        assert_eq!(
            (self.status.as_u16(), self.body["code"].as_str()),
            (status, Some(code)),
            "{:#}",
            self.body
        );
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.headers["x-content-type-options"], "nosniff");
        assert_eq!(self.headers["cache-control"], "no-store");
        assert_eq!(self.body["status"], status);
        assert_eq!(self.body["type"], format!("/problems/{code}"));
        assert!(self.body["detail"].is_string() && self.body["title"].is_string());
        assert_eq!(self.body["request_id"].as_str(), self.headers["x-request-id"].to_str().ok());
        if matches!(status, 429 | 503) {
            assert!(self.headers.contains_key("retry-after"), "{:#?}", self.headers);
            assert_eq!(self.body["retryable"], true);
        }
        self.body
    }
}

impl Client {
    /// A client without a token of the server at `url`.
    pub fn of(url: &str) -> Self {
        Self { http: http(), api: format!("{url}/api/v1"), token: None, user_id: None }
    }

    /// A client of a new user, on the same connections.
    pub async fn sign_up(&self) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("user{}@example.com", COUNT.fetch_add(1, Ordering::Relaxed));
        let mut client = self.clone();
        let account = json!({"email": name, "password": "correct horse battery"});
        let user = client.post_in_turn("/auth/register", &account).await;
        let user = user.expect(StatusCode::CREATED);
        let tokens = client.post_in_turn("/auth/login", &account).await.expect(StatusCode::OK);
        client.token = Some(tokens["access_token"].as_str().expect("a token").to_owned());
        client.user_id = Some(user["user_id"].as_str().expect("an id").to_owned());
        client
    }

    /// POST once more, as long as too many hash passwords at the same time: a crowd signs up on a machine
    /// that has other work.
    async fn post_in_turn(&self, path: &str, body: &Value) -> Answer {
        const TURNS_MAX: usize = 50;
        for _ in 1..TURNS_MAX {
            let answer = self.post(path, body).await;
            if !answer.is(503, "overloaded") {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.post(path, body).await
    }

    /// Sends a request; `path` is below `/api/v1`.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        self.try_send(method, path, body, headers).await.expect("an answer")
    }

    /// [`Self::send`] to a server that may be dying.
    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Result<Answer, reqwest::Error> {
        let mut request = self.http.request(method, format!("{}{path}", self.api));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        Self::read(request).await
    }

    /// Sends these bytes as they are.
    pub async fn send_bytes(
        &self,
        method: Method,
        path: &str,
        body: impl Into<reqwest::Body>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = self.http.request(method, format!("{}{path}", self.api)).body(body);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Self::read(request).await.expect("an answer")
    }

    async fn read(request: reqwest::RequestBuilder) -> Result<Answer, reqwest::Error> {
        let response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.bytes().await?;
        let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
        let body = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).unwrap_or_else(|_| text())
        };
        Ok(Answer { status, headers, body })
    }

    /// The same client with another token.
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// The same client for the paths outside of `/api/v1`.
    pub fn outside(&self) -> Self {
        let root = self.api.trim_end_matches("/api/v1").to_owned();
        Self { api: root, ..self.clone() }
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None, &[]).await
    }

    /// All items of a list, page by page.
    pub async fn all(&self, path: &str) -> Vec<Value> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let (mut items, mut after) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("{path}{separator}limit=100{after}")).await;
            let page = page.expect(StatusCode::OK);
            items.extend(page["items"].as_array().expect("a list").iter().cloned());
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return items,
            }
        }
    }

    /// POST with a body.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, Some(body), &[]).await
    }

    /// POST without a body.
    pub async fn post_empty(&self, path: &str) -> Answer {
        self.send(Method::POST, path, None, &[]).await
    }

    /// PATCH with a body.
    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PATCH, path, Some(body), &[]).await
    }

    /// A new event with one section `A` of this capacity; gives its id.
    pub async fn event(&self, capacity: i64) -> String {
        let sections = json!([{"name": "A", "capacity": capacity, "price": 1_000}]);
        self.event_with(&json!({"title": "Show", "event_date": "2099-06-15", "sections": sections}))
            .await
    }

    /// A new event; gives its id.
    pub async fn event_with(&self, body: &Value) -> String {
        let event = self.post("/events", body).await.expect(StatusCode::CREATED);
        event["event_id"].as_str().expect("an id").to_owned()
    }

    /// Asks to hold seats of section `A`.
    pub async fn hold(&self, event_id: &str, seats: u64) -> Answer {
        self.post("/bookings/hold", &hold_body(event_id, seats)).await
    }

    /// Asks to hold seats of section `A`, with an idempotency key.
    pub async fn hold_with_key(&self, event_id: &str, seats: u64, key: &str) -> Answer {
        let body = hold_body(event_id, seats);
        self.send(Method::POST, "/bookings/hold", Some(&body), &[("Idempotency-Key", key)]).await
    }

    /// Holds seats of section `A`; gives the booking's id.
    pub async fn held(&self, event_id: &str, seats: u64) -> String {
        let booking = self.hold(event_id, seats).await.expect(StatusCode::CREATED);
        booking["booking_id"].as_str().expect("an id").to_owned()
    }

    /// Asks for a step of a booking: `confirm`, `extend` or `cancel`.
    pub async fn step(&self, booking_id: &str, step: &str) -> Answer {
        self.send(Method::POST, &format!("/bookings/{booking_id}/{step}"), None, &[]).await
    }

    /// The first section's `(available, held, sold)`, as the organizer sees them.
    pub async fn seats(&self, event_id: &str) -> (i64, i64, i64) {
        let seen =
            self.get(&format!("/events/{event_id}/availability")).await.expect(StatusCode::OK);
        let section = &seen["sections"][0];
        let count = |name: &str| section[name].as_i64().expect("the organizer sees it");
        (count("available_seats"), count("held_seats"), count("sold_seats"))
    }
}

/// The body of a new event with one section `A` of 10 seats, with some members changed.
pub fn show(changes: &Value) -> Value {
    let sections = json!([{"name": "A", "capacity": 10, "price": 1_000}]);
    let mut event = json!({"title": "Show", "event_date": "2099-06-15", "sections": sections});
    let members = event.as_object_mut().expect("an object");
    members.extend(changes.as_object().expect("an object").clone());
    event
}

/// The body of a request for seats of section `A`.
pub fn hold_body(event_id: &str, seats: u64) -> Value {
    json!({"event_id": event_id, "section_id": "A", "seats_requested": seats})
}
