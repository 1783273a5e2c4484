//! A real `reservix` on a free port, with a store of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long it may take to listen, or the tool to reach a part of its session, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// It is killed when it goes out of scope.
pub struct Server {
    pub url: String,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Server {
    pub fn start() -> Self {
        let binary = Path::new(env!("CARGO_BIN_EXE_reservix-load")).with_file_name("reservix");
        if !binary.exists() {
            let built = Command::new(env!("CARGO")).args(["build", "-p", "server"]).status();
            assert!(built.expect("cargo runs").success(), "the server is built");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let mut child = Command::new(binary)
            .env_clear()
            .env("PORT", "0")
            .env("DATA_DIR", folder.path())
            .env("LOG_FORMAT", "text")
            .env("RATE_LIMIT_ENABLED", "false")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let stderr = child.stderr.take().expect("piped");
        let (found, address) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if let Some((_, url)) = line.split_once("address: ") {
                    let _ = found.send(url.trim().to_owned());
                }
            }
        });
        let url = address.recv_timeout(PATIENCE).expect("the server tells its address");
        Self { url, child, _folder: folder }
    }

    /// Sends it a signal by its name.
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

    /// Waits until some more holds were answered.
    pub fn wait_for_holds(&self) {
        self.wait_for(r#"route="/api/v1/bookings/hold""#);
    }

    /// Waits until the tool reads bookings again.
    pub fn wait_for_reads_of_bookings(&self) {
        self.wait_for(r#"route="/api/v1/bookings/{booking_id}""#);
    }

    fn wait_for(&self, route: &str) {
        let (began, before) = (Instant::now(), self.answers(route));
        while self.answers(route) < before + 100.0 {
            assert!(began.elapsed() < PATIENCE, "{route} is not called");
            super::pause(Duration::from_millis(20));
        }
    }

    /// Answers to a route so far, by the server's own count.
    fn answers(&self, route: &str) -> f64 {
        let metrics = self.get("/metrics");
        let counts = metrics.lines().filter(|line| {
            line.starts_with("reservix_http_requests_total") && line.contains(route)
        });
        counts.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    fn get(&self, path: &str) -> String {
        let address = self.url.strip_prefix("http://").expect("plain HTTP");
        let mut stream = TcpStream::connect(address).expect("it listens");
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it takes a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
