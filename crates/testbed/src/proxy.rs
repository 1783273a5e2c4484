//! A TCP proxy in front of a server, which injects the faults of a network.
//!
//! A fault applies to live and to new connections from the moment its method returns, and
//! [`Proxy::heal`] undoes all of them. A connection that lost bytes to a fault is reset when it
//! heals: no network delivers what follows a gap, and a client would take the next reply for
//! that of an older request. The faults replace each other, only the delay and what
//! is rewritten come on top.
//!
//! The proxy runs on a thread of its own; its methods may be called from any, also from an
//! [`Action::Call`](crate::steps::Action::Call).

mod relay;
mod resp;

use std::{
    net::SocketAddr,
    sync::{Arc, mpsc as std_mpsc},
    thread,
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use crate::{
    machine::{Port, START_LIMIT},
    steps::Steps,
};
use relay::{Connection, Fault, Shared};

/// The maximum number of orders that can wait; each caller waits for its own, so these are threads.
const ORDERS_MAX: usize = 64;

/// A listener on loopback that forwards to one server; it ends when this value is dropped.
pub struct Proxy {
    port: Port,
    shared: Arc<Shared>,
    orders: mpsc::Sender<Order>,
}

/// An order to the thread of the proxy, with the channel that confirms it.
struct Order {
    change: Change,
    done: std_mpsc::SyncSender<()>,
}

enum Change {
    /// From now on this applies to all connections.
    Fault(Fault),
    /// Connections are reset; new ones are as before.
    ResetAll,
    /// Connections are reset, new ones are refused.
    Refuse,
    /// No fault, and connections that lost bytes are reset.
    Heal,
    /// As `Refuse`, for ever.
    End,
}

impl Proxy {
    /// Starts a proxy of `upstream`, which need not listen yet.
    #[must_use]
    pub fn to(upstream: SocketAddr) -> Self {
        Self::to_counted(upstream, &Steps::new())
    }

    /// Starts a proxy whose requests count in `steps`.
    #[must_use]
    pub fn to_counted(upstream: SocketAddr, steps: &Steps) -> Self {
        let shared = Arc::new(Shared::new(upstream, steps.clone()));
        let (orders, order_queue) = mpsc::channel(ORDERS_MAX);
        let (port, listener) = loop {
            let port = Port::choose();
            // A stranger may take the port first; then there are others.
            if let Ok(listener) = std::net::TcpListener::bind(port.address()) {
                break (port, listener);
            }
        };
        listener.set_nonblocking(true).expect("a fresh socket can be set");
        let switchboard = Switchboard { shared: shared.clone(), live: Vec::new() };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("the machine has room for one more runtime");
        thread::Builder::new()
            .name("testbed-proxy".to_owned())
            .spawn(move || {
                runtime.block_on(switchboard.run(listener, order_queue));
                // An action that is still being called must not hold up the end.
                runtime.shutdown_background();
            })
            .expect("the machine has room for one more thread");
        Self { port, shared, orders }
    }

    /// Where it listens; the same for as long as it lives.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// `url` with the host and the port of this proxy instead of its own.
    ///
    /// Panics if there is no `://` in it.
    #[must_use]
    pub fn in_place_of(&self, url: &str) -> String {
        let (scheme, rest) = url.split_once("://").expect("a URL has a scheme");
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let user = authority.rfind('@').map_or("", |at| &authority[..=at]);
        format!("{scheme}://{user}{}{tail}", self.address())
    }

    /// The chunks of requests that were forwarded to the server since the start.
    #[must_use]
    pub fn writes(&self) -> usize {
        self.shared.writes()
    }

    /// Leads new connections to another server, as after a failover; live ones stay where they are.
    pub fn point_to(&self, upstream: SocketAddr) {
        self.shared.set_upstream(upstream);
    }

    /// Every chunk takes `delay` longer, in each direction; the order is kept.
    pub fn delay(&self, delay: Duration) {
        self.shared.set_delay(delay);
    }

    /// Resets live connections, and refuses new ones until it heals.
    pub fn cut(&self) {
        self.order(Change::Refuse);
    }

    /// Resets live connections, and accepts new ones.
    pub fn cut_once(&self) {
        self.order(Change::ResetAll);
    }

    /// Accepts connections and swallows all they carry: nobody hears anything, not even an end.
    ///
    /// What was swallowed is never delivered; such connections are reset when it heals.
    pub fn blackhole(&self) {
        self.order(Change::Fault(Fault::Blackhole));
    }

    /// Answers in place of the server, which hears nothing.
    ///
    /// Each RESP command gets `bytes` once, as does each chunk of what is not RESP.
    pub fn answer(&self, bytes: &[u8]) {
        self.order(Change::Fault(Fault::Answer(bytes.into())));
    }

    /// Forwards requests, and swallows what the server answers.
    ///
    /// Connections that lost an answer are reset when it heals.
    pub fn lose_answers(&self) {
        self.order(Change::Fault(Fault::LoseAnswers));
    }

    /// From now on requests carry `to` wherever they had `from`, which is of the same length, so that
    /// no frame around it changes. Text that spans two chunks is not found.
    ///
    /// It takes a clause away from a client that cannot be configured to omit it.
    pub fn rewrite(&self, from: &str, to: &str) {
        assert_eq!(from.len(), to.len(), "{from:?} and {to:?}");
        self.shared.add_rewrite(from, to);
    }

    /// How often something was rewritten since the start.
    #[must_use]
    pub fn rewritten(&self) -> usize {
        self.shared.rewritten()
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.shared.set_delay(Duration::ZERO);
        self.shared.end_rewrites();
        self.order(Change::Heal);
    }

    /// Sends an order to the thread, and waits until it is carried out.
    fn order(&self, change: Change) {
        let (done, is_done) = std_mpsc::sync_channel(1);
        // Not `blocking_send`, which panics inside a runtime.
        assert!(self.orders.try_send(Order { change, done }).is_ok(), "the proxy's thread lives");
        is_done.recv_timeout(START_LIMIT).expect("the proxy's thread obeys at once");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The thread may have panicked; a second panic would hide the first.
        let (done, is_done) = std_mpsc::sync_channel(1);
        if self.orders.try_send(Order { change: Change::End, done }).is_ok() {
            let _ = is_done.recv_timeout(START_LIMIT);
        }
    }
}

/// What the thread of a proxy works on.
struct Switchboard {
    shared: Arc<Shared>,
    live: Vec<Live>,
}

/// A connection from the outside: how to reset it, and its end.
struct Live {
    connection: Arc<Connection>,
    reset: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Switchboard {
    async fn run(mut self, listener: std::net::TcpListener, mut orders: mpsc::Receiver<Order>) {
        let address = listener.local_addr().expect("a listener has an address");
        let listener = TcpListener::from_std(listener).expect("this thread has a runtime");
        let mut listener = Some(listener);
        loop {
            tokio::select! {
                biased;
                order = orders.recv() => {
                    let Some(order) = order else { return };
                    match &order.change {
                        Change::Fault(fault) => self.shared.set_fault(fault.clone()),
                        Change::ResetAll => self.reset(|_| true).await,
                        Change::Refuse | Change::End => {
                            // The kernel resets the connections in its queue.
                            listener = None;
                            self.reset(|_| true).await;
                        }
                        Change::Heal => {
                            self.shared.set_fault(Fault::None);
                            self.reset(Connection::has_lost_bytes).await;
                            if listener.is_none() {
                                listener = Some(listen_again(address).await);
                            }
                        }
                    }
                    // The caller may have given up.
                    let _ = order.done.try_send(());
                    if matches!(order.change, Change::End) {
                        return;
                    }
                }
                client = accept(listener.as_ref()) => {
                    self.live.retain(|live| !live.task.is_finished());
                    self.take_up(client);
                }
            }
        }
    }

    fn take_up(&mut self, client: TcpStream) {
        let connection = Arc::new(Connection::default());
        let (reset, is_reset) = oneshot::channel();
        let relay = relay::carry(client, self.shared.clone(), connection.clone(), is_reset);
        self.live.push(Live { connection, reset, task: tokio::spawn(relay) });
    }

    /// Resets the connections that `chosen` holds for, and waits until that is done.
    async fn reset(&mut self, chosen: impl Fn(&Connection) -> bool) {
        let doomed: Vec<Live> = self.live.extract_if(.., |live| chosen(&live.connection)).collect();
        // All are notified before any can continue: none may deliver what follows its gap.
        let mut tasks = Vec::new();
        for live in doomed {
            // One that has just ended by itself hears nothing.
            let _ = live.reset.send(());
            tasks.push(live.task);
        }
        for task in tasks {
            let _ = task.await;
        }
    }
}

/// The next connection; waits for ever without a listener.
async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        // An error is that of one connection, which has gone before it was taken up.
        if let Ok((client, _)) = listener.accept().await {
            return client;
        }
        tokio::task::yield_now().await;
    }
}

/// Listens on the port that is still ours; an outgoing connection cannot have it (see `machine`).
async fn listen_again(address: SocketAddr) -> TcpListener {
    for _ in 0..100 {
        if let Ok(listener) = TcpListener::bind(address).await {
            return listener;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("a stranger took {address} while it was cut");
}
