//! One connection through a proxy: what comes in is stamped, waits out its delay, is judged.
//!
//! ```text
//! client --read--> [ queue ] --judge--> server
//! client <--judge-- [ queue ] <--read-- server
//!                       ^ canned answers
//! ```
//!
//! A chunk meets the fault that holds when it would be forwarded, not when it was read.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::resp::Commands;
use crate::steps::{Action, Steps};

/// The maximum size of a chunk, in bytes.
const CHUNK_BYTES_MAX: usize = 64 * 1024;

/// The maximum number of queued chunks in a direction; beyond it, the sender waits.
const QUEUE_MAX: usize = 256;

/// How long the server has to act between a forwarded request and the cut.
const TIME_TO_ACT: Duration = Duration::from_millis(50);

/// What happens to what a connection carries.
#[derive(Clone)]
pub(super) enum Fault {
    None,
    Blackhole,
    Answer(Arc<[u8]>),
    LoseAnswers,
}

/// What all connections of a proxy share.
pub(super) struct Shared {
    upstream: Mutex<SocketAddr>,
    steps: Steps,
    rules: Mutex<(Fault, Duration)>,
    /// What is replaced in requests, and by what of the same length.
    rewrites: Mutex<Vec<(Vec<u8>, Vec<u8>)>>,
    rewritten: AtomicUsize,
    writes: AtomicUsize,
}

impl Shared {
    pub(super) fn new(upstream: SocketAddr, steps: Steps) -> Self {
        let rules = Mutex::new((Fault::None, Duration::ZERO));
        let (upstream, rewrites) = (Mutex::new(upstream), Mutex::default());
        let (rewritten, writes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { upstream, steps, rules, rewrites, rewritten, writes }
    }

    pub(super) fn set_upstream(&self, upstream: SocketAddr) {
        *self.upstream.lock() = upstream;
    }

    fn upstream(&self) -> SocketAddr {
        *self.upstream.lock()
    }

    pub(super) fn add_rewrite(&self, from: &str, to: &str) {
        self.rewrites.lock().push((from.into(), to.into()));
    }

    pub(super) fn end_rewrites(&self) {
        self.rewrites.lock().clear();
    }

    pub(super) fn rewritten(&self) -> usize {
        self.rewritten.load(Relaxed)
    }

    fn rewrite(&self, chunk: &mut [u8]) {
        for (from, to) in &*self.rewrites.lock() {
            let mut at = 0;
            while let Some(found) = chunk[at..].windows(from.len()).position(|part| part == from) {
                at += found;
                chunk[at..at + to.len()].copy_from_slice(to);
                at += to.len();
                self.rewritten.fetch_add(1, Relaxed);
            }
        }
    }

    pub(super) fn set_fault(&self, fault: Fault) {
        self.rules.lock().0 = fault;
    }

    pub(super) fn set_delay(&self, delay: Duration) {
        self.rules.lock().1 = delay;
    }

    pub(super) fn writes(&self) -> usize {
        self.writes.load(Relaxed)
    }

    fn fault(&self) -> Fault {
        self.rules.lock().0.clone()
    }

    fn due(&self) -> Instant {
        Instant::now() + self.rules.lock().1
    }
}

/// What the proxy knows of one connection.
#[derive(Default)]
pub(super) struct Connection {
    lost_bytes: AtomicBool,
    /// Set before the request whose answer must not be read.
    is_mute: AtomicBool,
}

impl Connection {
    /// Whether some of its bytes, or its end, reached only the proxy.
    pub(super) fn has_lost_bytes(&self) -> bool {
        self.lost_bytes.load(Relaxed)
    }
}

/// Something on its way, in order.
struct Parcel {
    due: Instant,
    content: Content,
}

enum Content {
    /// The bytes of one read.
    Chunk(Vec<u8>),
    /// An answer in place of the server's.
    Canned(Vec<u8>),
    /// The sender will send no more.
    End,
}

/// How a connection ends.
enum End {
    /// Both sides have said all.
    Closed,
    /// A side is gone, or a fault wants it.
    Reset,
}

/// Carries a connection until it ends, or until `is_reset`.
pub(super) async fn carry(
    mut client: TcpStream,
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    mut is_reset: oneshot::Receiver<()>,
) {
    let mut server = tokio::select! {
        server = reach(&shared, &connection) => server,
        _ = &mut is_reset => None,
    };
    let end = match &mut server {
        None => End::Reset,
        Some(server) => tokio::select! {
            biased;
            _ = &mut is_reset => End::Reset,
            end = relay(&mut client, server, &shared, &connection) => end,
        },
    };
    if matches!(end, End::Reset) {
        // To a socket that is gone already this is no loss.
        let _ = client.set_zero_linger();
        if let Some(server) = &server {
            let _ = server.set_zero_linger();
        }
    }
}

/// Connects to the server; `None` if that refuses. Waits for ever in a black hole.
async fn reach(shared: &Shared, connection: &Connection) -> Option<TcpStream> {
    if matches!(shared.fault(), Fault::Blackhole) {
        connection.lost_bytes.store(true, Relaxed);
        return std::future::pending().await;
    }
    let server = TcpStream::connect(shared.upstream()).await.ok()?;
    // A proxy that holds back small packets would add 40 ms of its own.
    let _ = server.set_nodelay(true);
    Some(server)
}

async fn relay(
    client: &mut TcpStream,
    server: &mut TcpStream,
    shared: &Shared,
    connection: &Connection,
) -> End {
    let _ = client.set_nodelay(true);
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let (requests, request_queue) = mpsc::channel(QUEUE_MAX);
    let (replies, reply_queue) = mpsc::channel(QUEUE_MAX);
    let canned = replies.clone();
    let all = async {
        tokio::try_join!(
            collect(from_client, requests, shared),
            collect(from_server, replies, shared),
            deliver_requests(request_queue, to_server, canned, shared, connection),
            deliver_replies(reply_queue, to_client, shared, connection),
        )
    };
    if all.await.is_ok() { End::Closed } else { End::Reset }
}

/// Stamps what a side sends.
async fn collect(
    mut from: ReadHalf<'_>,
    queue: mpsc::Sender<Parcel>,
    shared: &Shared,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES_MAX];
    loop {
        let count = from.read(&mut buffer).await?;
        let content =
            if count == 0 { Content::End } else { Content::Chunk(buffer[..count].into()) };
        // The queue closes when the other side takes no more, which that side reports.
        let sent = queue.send(Parcel { due: shared.due(), content }).await;
        if count == 0 || sent.is_err() {
            return Ok(());
        }
    }
}

async fn deliver_requests(
    mut queue: mpsc::Receiver<Parcel>,
    mut server: WriteHalf<'_>,
    canned: mpsc::Sender<Parcel>,
    shared: &Shared,
    connection: &Connection,
) -> io::Result<()> {
    let mut commands = Commands::default();
    while let Some(Parcel { due, content }) = queue.recv().await {
        tokio::time::sleep_until(due).await;
        match (content, shared.fault()) {
            (_, Fault::Blackhole) => connection.lost_bytes.store(true, Relaxed),
            (Content::End, _) => server.shutdown().await?,
            (Content::Chunk(chunk) | Content::Canned(chunk), Fault::Answer(answer)) => {
                let count = commands.count(&chunk);
                // The rest of a command that is cut in two would mean nothing to the server.
                connection.lost_bytes.fetch_or(commands.has_rest(), Relaxed);
                let content = Content::Canned(answer.repeat(count));
                // Closed only when the client is, which its own reader reports.
                let _ = canned.send(Parcel { due: shared.due(), content }).await;
            }
            (Content::Chunk(mut chunk) | Content::Canned(mut chunk), _) => {
                shared.rewrite(&mut chunk);
                forward(&chunk, &mut server, shared, connection).await?;
            }
        }
    }
    Ok(())
}

/// Forwards a request, unless its step is the one to fail.
async fn forward(
    chunk: &[u8],
    server: &mut WriteHalf<'_>,
    shared: &Shared,
    connection: &Connection,
) -> io::Result<()> {
    let action = shared.steps.step();
    match &action {
        Some(Action::CutBefore) => return Err(io::ErrorKind::ConnectionReset.into()),
        Some(Action::CutAfter) => connection.is_mute.store(true, Relaxed),
        Some(Action::Call(_)) | None => {}
    }
    let is_cut_after = matches!(action, Some(Action::CutAfter));
    if let Some(Action::Call(call)) = action {
        // On another thread, so that it may call this proxy.
        let called = tokio::task::spawn_blocking(call).await;
        called.map_err(|_| io::Error::other("the action panicked"))?;
    }
    // Counted first: a client that sees the reply also sees the count.
    shared.writes.fetch_add(1, Relaxed);
    server.write_all(chunk).await?;
    if is_cut_after {
        tokio::time::sleep(TIME_TO_ACT).await;
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    Ok(())
}

async fn deliver_replies(
    mut queue: mpsc::Receiver<Parcel>,
    mut client: WriteHalf<'_>,
    shared: &Shared,
    connection: &Connection,
) -> io::Result<()> {
    while let Some(Parcel { due, content }) = queue.recv().await {
        tokio::time::sleep_until(due).await;
        if connection.is_mute.load(Relaxed) {
            continue;
        }
        match (content, shared.fault()) {
            (_, Fault::Blackhole) | (Content::Chunk(_), Fault::LoseAnswers) => {
                connection.lost_bytes.store(true, Relaxed);
            }
            (Content::End, _) => client.shutdown().await?,
            (Content::Chunk(chunk) | Content::Canned(chunk), _) => client.write_all(&chunk).await?,
        }
    }
    Ok(())
}
