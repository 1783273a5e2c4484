//! Connections: accepting, bounding and ending them.
//!
//! HTTP/1.1 on hyper's own builder, because header timeouts need its timer. At most
//! `MAX_CONNECTIONS` are open; more wait in the system's queue. A client that sends half a head and
//! then nothing gets a 408 and is gone; one whose head cannot be read is told so. Every answer is
//! given the time to be read before the connection is cut.

mod socket;

use super::PROBLEM;
use super::observe::{headers_too_large, new_id, uri_too_long};
use super::problem::Problem;
use crate::config::Config;
use crate::metrics::Metrics;
use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use http_body_util::{BodyExt, Collected};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket::Socket;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// How long requests under way may take to finish once a shutdown has begun.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);
/// How long to wait before accepting again when the system has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a client may go on sending what nobody reads any more.
const LINGER: Duration = Duration::from_secs(2);
/// The largest head that is read: larger than our own limits, so that they can answer.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// The other end of a connection.
#[derive(Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// Serves `router` until `stop`, then lets what is under way finish.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    config: &Config,
    stop: CancellationToken,
) {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        // Whoever has sent a whole request may close their side and wait; who is gone altogether has
        // asked nonetheless.
        .half_close(true);
    let patience = config.body_timeout;
    let places = Arc::new(Semaphore::new(config.max_connections));
    let open = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = stop.cancelled() => break,
        };
        let (stream, peer, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (router, stop) = (router.clone(), stop.clone());
        let connection = converse(builder.clone(), stream, peer, patience, router, stop);
        open.spawn(async move {
            Metrics::connections(1.0);
            connection.await;
            Metrics::connections(-1.0);
            drop(place);
        });
    }
    drop(listener);
    open.close();
    if tokio::time::timeout(SHUTDOWN_GRACE, open.wait()).await.is_err() {
        tracing::warn!(connections = open.len(), "some requests did not finish in time");
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, place))
}

async fn converse(
    builder: http1::Builder,
    stream: TcpStream,
    peer: SocketAddr,
    patience: Duration,
    router: Router,
    stop: CancellationToken,
) {
    // An answer is one small write; waiting to fill a packet only delays it.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        Box::pin(router.clone().oneshot(request))
    });
    let mut connection =
        builder.serve_connection(TokioIo::new(Socket::new(stream, patience)), service);
    let mut stopping = false;
    let ended = loop {
        let conversation = poll_fn(|context| connection.poll_without_shutdown(context));
        if stopping {
            break conversation.await;
        }
        tokio::select! {
            ended = conversation => break ended,
            () = stop.cancelled() => {
                stopping = true;
                std::pin::Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    let parts = connection.into_parts();
    let (mut stream, withheld) = parts.io.into_inner().into_parts();
    let mut refusal = withheld.map(|status| unreadable_head(status, &parts.read_buf));
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
        // An idle connection just closes; one that began a request is told why.
        if error.is_timeout() && !parts.read_buf.is_empty() {
            refusal = Some(late_head());
        }
    }
    if let Some(problem) = refusal {
        let answer = last_words(problem).await;
        let _ = tokio::time::timeout(LINGER, stream.write_all(&answer)).await;
    }
    let _ = stream.shutdown().await;
    // What still comes in is read and forgotten: to close now would reset the connection, and the
    // client, busy sending a body that was refused, would never see the answer.
    tokio::select! {
        _ = tokio::time::timeout(LINGER, drain(stream)) => {}
        () = stop.cancelled() => {}
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
    Problem::new(
        StatusCode::REQUEST_TIMEOUT,
        "request_timeout",
        "The request took too long to arrive",
        "The head of the request did not arrive in time.",
    )
}

/// The whole answer to a request whose head was never read.
async fn last_words(problem: Problem) -> Vec<u8> {
    let id = new_id();
    let answer = problem.clone().render(problem.into_response(), &id);
    let status = answer.status();
    let body = answer.into_body().collect().await.map(Collected::to_bytes).unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {PROBLEM}\r\ncache-control: no-store\r\n\
         connection: close\r\nx-request-id: {id}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), &body].concat()
}
