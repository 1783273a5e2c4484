//! Connections: accepting, bounding and ending them.
//!
//! HTTP/1.1 on hyper's own builder. At most `MAX_CONNECTIONS` are open; more wait in the system's
//! queue. A client that sends an incomplete head gets a 408 and is disconnected; an idle connection
//! is kept for longer ([`turn`]); a malformed head gets a problem. The client has time to read
//! every answer before the connection is closed.
//!
//! A shutdown loses no request that was sent before the listener closed: queued connections are
//! accepted, requests in progress finish, and kept-alive connections are served for [`IDLE_GRACE`].
//! Every answer then says `Connection: close` (`observe`), so clients disconnect by themselves, and
//! idle connections are closed, never reset.

mod socket;
mod turn;

use super::Service;
use super::layers::Layers;
use super::observe::{headers_too_large, new_id, uri_too_long};
use super::problem::{Code, Problem};
use super::threads::Threads;
use crate::config::Config;
use crate::metrics::Metrics;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use futures_util::FutureExt as _;
use http_body_util::{BodyExt, Collected};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket::Socket;
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use turn::{Answer, Limits, Turn};

/// How long requests under way may take to finish once a shutdown has begun.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);
/// How long to wait before accepting again when the system has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a client may go on sending what nobody reads any more.
const LINGER: Duration = Duration::from_secs(2);
/// The same once a shutdown has begun.
const LINGER_STOPPING: Duration = Duration::from_millis(500);
/// How long a connection that waits for its next request is kept once a shutdown has begun: a
/// request that was sent before the client could know of it arrives within this time.
pub const IDLE_GRACE: Duration = Duration::from_millis(500);
/// How long those that wait in the system's queue may wait for a place once a shutdown has begun.
const BACKLOG_GRACE: Duration = Duration::from_secs(1);
/// The largest head that is read: larger than our own limits, so that they can answer.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// The other end of a connection.
#[derive(Clone, Copy)]
pub struct Peer(IpAddr);

impl Peer {
    /// An IPv4 client of a socket for IPv6 is known by its IPv4 address.
    pub fn new(address: SocketAddr) -> Self {
        Self(address.ip().to_canonical())
    }

    /// Its address, in its one form.
    pub fn address(self) -> IpAddr {
        self.0
    }
}

/// Serves until `stop`, then lets what is under way finish.
pub async fn serve(
    listener: TcpListener,
    service: Service,
    config: &Config,
    stop: CancellationToken,
) {
    let mut builder = http1::Builder::new();
    builder
        // It would run between requests, too.
        .header_read_timeout(None)
        .max_buf_size(HEAD_BYTES_MAX)
        // A client may close its side after a whole request and wait for the answer; if it is gone
        // altogether, the request still counts.
        .half_close(true);
    let limits = Limits { idle: config.idle_timeout, head: config.header_timeout };
    let patience = config.write_timeout;
    let places = Arc::new(Semaphore::new(config.max_connections));
    Metrics::connections(0.0);
    Metrics::connections_max(config.max_connections);
    let open = TaskTracker::new();
    let threads = Threads::start();
    let admit = |stream: std::net::TcpStream, peer: SocketAddr, place: OwnedSemaphorePermit| {
        let (builder, service, stop) = (builder.clone(), service.clone(), stop.clone());
        // Counted where it is accepted: its thread may have other things to do first.
        let counted = Counted::new(place);
        threads.serve(open.track_future(async move {
            match TcpStream::from_std(stream) {
                Ok(stream) => {
                    let turn = Turn::new(limits);
                    let socket = Socket::new(stream, patience, turn.clone());
                    converse(builder, socket, turn, peer, service, stop).await;
                }
                Err(error) => tracing::warn!(%error, "cannot serve a connection"),
            }
            drop(counted);
        }));
    };
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer, place)) => admit(stream, peer, place),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    if let Err(error) = empty_backlog(listener, &places, admit).await {
        tracing::warn!(%error, "cannot accept waiting connections");
    }
    open.close();
    if tokio::time::timeout(SHUTDOWN_GRACE, open.wait()).await.is_err() {
        tracing::warn!(connections = open.len(), "some requests did not finish in time");
    }
}

/// Accepts the connections that the system has queued, then stops listening: closing it on them
/// would reset connections that their clients believe to be open.
async fn empty_backlog(
    listener: TcpListener,
    places: &Arc<Semaphore>,
    admit: impl Fn(std::net::TcpStream, SocketAddr, OwnedSemaphorePermit),
) -> std::io::Result<()> {
    // The system's own, because it knows that nobody is left, not only that nobody was announced.
    let listener = listener.into_std()?;
    let over = Instant::now() + BACKLOG_GRACE;
    while let Ok(place) = tokio::time::timeout_at(over, places.clone().acquire_owned()).await {
        let (stream, peer) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => continue,
            Err(error) => return Err(error),
        };
        stream.set_nonblocking(true)?;
        admit(stream, peer, place.map_err(std::io::Error::other)?);
    }
    Ok(())
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(std::net::TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    // It is served on another thread, by another runtime.
    Ok((stream.into_std()?, peer, place))
}

/// A connection that is open, as the meter and the limit count it, however it ends.
struct Counted {
    _place: OwnedSemaphorePermit,
}

impl Counted {
    fn new(place: OwnedSemaphorePermit) -> Self {
        Metrics::connections(1.0);
        Self { _place: place }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        Metrics::connections(-1.0);
    }
}

async fn converse(
    builder: http1::Builder,
    socket: Socket,
    turn: Arc<Turn>,
    peer: SocketAddr,
    service: Service,
    stop: CancellationToken,
) {
    let peer = Peer::new(peer);
    let answer = service_fn(|request: hyper::Request<Incoming>| {
        let (ours, answer) = (turn.take(), service.answer(request, peer));
        answer.map(|answer| Ok::<_, Infallible>(answer.map(|body| Answer::new(body, ours))))
    });
    let mut connection = builder.serve_connection(TokioIo::new(socket), answer);
    let mut stopping = false;
    let mut leaving = pin!(async {
        stop.cancelled().await;
        tokio::time::sleep(IDLE_GRACE).await;
    });
    let mut alarm = pin!(tokio::time::sleep(turn.limits().idle));
    let ended = loop {
        let conversation = poll_fn(|context| {
            if let Poll::Ready(ended) = connection.poll_without_shutdown(context) {
                return Poll::Ready(Some(ended));
            }
            let Some(over) = turn.over() else { return Poll::Pending };
            // Set only when it would ring too late: a busy connection costs the timer nothing.
            if over < alarm.deadline() {
                alarm.as_mut().reset(over);
            }
            while alarm.as_mut().poll(context).is_ready() {
                if over <= Instant::now() {
                    return Poll::Ready(None);
                }
                alarm.as_mut().reset(over);
            }
            Poll::Pending
        });
        if stopping {
            break conversation.await;
        }
        tokio::select! {
            ended = conversation => break ended,
            () = &mut leaving => {
                stopping = true;
                std::pin::Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    let parts = connection.into_parts();
    let (mut stream, withheld) = parts.io.into_inner().into_parts();
    let mut refusal = withheld.map(|status| unreadable_head(status, &parts.read_buf));
    match ended {
        // An idle connection is closed without an answer; one that began a request gets a problem.
        None if !parts.read_buf.is_empty() => refusal = Some(late_head()),
        None | Some(Ok(())) => {}
        Some(Err(error)) => tracing::debug!(%error, "a connection ended early"),
    }
    if let Some(problem) = refusal {
        let answer = last_words(&service.layers, problem, &parts.read_buf).await;
        let _ = tokio::time::timeout(LINGER, stream.write_all(&answer)).await;
    }
    let _ = stream.shutdown().await;
    // What still comes in is read and forgotten: to close now would reset the connection, and the
    // client, busy sending a body that was refused, would never see the answer.
    let stopped = async {
        stop.cancelled().await;
        tokio::time::sleep(LINGER_STOPPING).await;
    };
    tokio::select! {
        _ = tokio::time::timeout(LINGER, drain(stream)) => {}
        () = stopped => {}
    }
}

async fn drain(mut stream: TcpStream) {
    let mut unread = vec![0; 8 * 1024];
    while matches!(stream.read(&mut unread).await, Ok(1..)) {}
}

/// What is wrong with the head that begins with `read`.
fn unreadable_head(status: StatusCode, read: &[u8]) -> Problem {
    match status {
        StatusCode::URI_TOO_LONG => uri_too_long(),
        // Not even its first line ended within the limit.
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE if !read.contains(&b'\n') => uri_too_long(),
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => headers_too_large(),
        _ => Problem::malformed_request("The head of the request is not valid HTTP."),
    }
}

fn late_head() -> Problem {
    Problem::new(Code::RequestTimeout, "The head of the request did not arrive in time.")
}

/// The whole answer to a request whose head was never read whole; `head` is what came of it.
async fn last_words(layers: &Layers, problem: Problem, head: &[u8]) -> Vec<u8> {
    let id = new_id();
    let mut answer = problem.clone().render(problem.into_response(), &id);
    let headers = answer.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    let request_id = HeaderValue::from_str(&id).expect("hexadecimal digits are valid in a header");
    headers.insert(HeaderName::from_static("x-request-id"), request_id);
    layers.guard(origin(head).as_ref(), headers);
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    let head = format!("HTTP/1.1 {}\r\ncontent-length: {}\r\n", parts.status, body.len());
    let mut bytes = head.into_bytes();
    for (name, value) in &parts.headers {
        bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&body);
    bytes
}

/// The origin that a head names, if that line of it came whole.
fn origin(head: &[u8]) -> Option<HeaderValue> {
    let lines = head.split_inclusive(|byte| *byte == b'\n').skip(1);
    let mut whole = lines.filter_map(|line| line.strip_suffix(b"\n"));
    whole.find_map(|line| {
        let (name, value) = line.split_at_checked(header::ORIGIN.as_str().len() + 1)?;
        let is_origin = name.eq_ignore_ascii_case(b"origin:");
        is_origin.then(|| HeaderValue::from_bytes(value.trim_ascii()).ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_is_read_from_a_head_that_did_not_come_whole() {
        for (head, named) in [
            ("GET / HTTP/1.1\r\nOrigin: https://a.example\r\nX: ", Some("https://a.example")),
            ("GET / HTTP/1.1\nX: y\nORIGIN:https://a.example \n", Some("https://a.example")),
            ("GET / HTTP/1.1\r\nOrigin: https://a.exa", None),
            ("Origin: https://a.example\r\nX: y\r\n", None),
            ("GET / HTTP/1.1\r\nOriginal: x\r\nX-Origin: y\r\no\r\n", None),
            ("", None),
        ] {
            let found = origin(head.as_bytes());
            assert_eq!(found.as_ref().map(|value| value.to_str().expect("text")), named, "{head}");
        }
    }
}
