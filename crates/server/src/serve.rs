//! The server's life: opening the store and the gate, serving, and stopping without losing a
//! request.

use crate::config::{Config, Environment, load_or_create_secret};
use crate::core::Core;
use crate::http::connection::SHUTDOWN_GRACE;
use crate::http::{App, Routes, Service, connection};
use crate::metrics::Metrics;
use crate::{Failure, huge_pages, log, work};
use engine::Fault;
use secrecy::{ExposeSecret, SecretString};
use std::sync::Arc;
use std::time::Duration;
use store::gate::GateOptions;
use store::{Gate, Store, StoreOptions, open_gate, open_store};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long readiness says no before the door closes, so that a load balancer notices first.
const DRAIN: Duration = Duration::from_secs(1);

/// How long the start waits for the gate to connect, which takes milliseconds when it is there.
const GATE_PATIENCE: Duration = Duration::from_secs(1);
/// How long between two looks at it.
const GATE_PAUSE: Duration = Duration::from_millis(10);

/// How long a database server that is not there yet is waited for.
const START_PATIENCE: Patience = Patience {
    total: Duration::from_secs(30),
    pause: Duration::from_millis(500),
    silence: Duration::from_secs(5),
};

/// After this time every thread has made the allocations of its start.
const STARTED: Duration = Duration::from_secs(5);

/// Files that are open beside connections: the database, its log, pools and the runtime's own.
const FILES_BESIDE_CONNECTIONS: u64 = 256;

/// What a process is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Serves the API.
    Api {
        /// Whether it also runs the workers.
        workers: bool,
    },
    /// Runs the workers alone, beside others that serve the API on the same store.
    Worker,
}

/// Opens the store that the configuration names, once; a failure names the setting.
pub async fn open(config: &Config, read_only: bool) -> Result<Arc<dyn Store>, Failure> {
    try_open(config, read_only).await.map_err(|fault| named(config, &fault))
}

async fn try_open(config: &Config, read_only: bool) -> Result<Arc<dyn Store>, Fault> {
    open_store(config.store_url.expose_secret(), store_options(config, read_only)).await
}

/// The failure, with the setting that says where the store is.
fn named(config: &Config, fault: &Fault) -> Failure {
    let setting = config.store_setting;
    Failure::plain(format!("the store cannot be opened ({setting}): {}", crate::chain(fault)))
}

/// Refuses a store whose schema is not the one of this build, or newer.
pub async fn require_schema(store: &dyn Store) -> Result<(), Failure> {
    let all = store.migrations().await?;
    let missing = all.iter().filter(|(_, applied)| !applied).count();
    let place = store.describe();
    match missing {
        0 => Ok(()),
        _ if missing == all.len() => Err(Failure::plain(format!(
            "{place} has no schema yet: run `reservix migrate up`, or check that this is the \
             right database"
        ))),
        _ => Err(Failure::plain(format!(
            "the schema of {place} is older than this build; run `reservix migrate up`"
        ))),
    }
}

/// How the configuration wants its store.
pub fn store_options(config: &Config, read_only: bool) -> StoreOptions {
    StoreOptions {
        policy: config.policy(),
        clock: store::clock::wall(),
        monotonic: store::clock::monotonic(),
        pool_size: config.db_pool_size,
        read_only,
        strict: config.environment == Environment::Production,
    }
}

/// The key that signs access tokens: the configured one, or the one beside the data.
pub fn signing_key(config: &Config) -> Result<SecretString, Failure> {
    match &config.secret_key {
        Some(secret) => Ok(secret.clone()),
        None => load_or_create_secret(&config.data_dir)
            .map_err(|error| Failure::new("storing a signing key in DATA_DIR", error)),
    }
}

/// Runs in this role until a signal comes.
pub async fn run(config: Config, role: Role, migrate: bool) -> Result<(), Failure> {
    if role == Role::Worker && config.is_embedded() {
        return Err(Failure::plain(
            "`reservix worker` requires PostgreSQL: the embedded store can be used by one process \
             only, and `reservix serve` runs the workers there; set DATABASE_URL or DB_HOST",
        ));
    }
    log::start(&config);
    let mut signals = Signals::listen()?;
    let version = config.app_version.clone();
    let is_api = matches!(role, Role::Api { .. });
    // Made where this thread waits for the store to be opened: another thread would keep memory for it.
    let routes = async move { is_api.then(|| Routes::of(&version)) };
    let (ready, routes) = tokio::select! {
        (ready, routes) = async { tokio::join!(prepare(config, role, migrate), routes) } => {
            (ready?, routes)
        }
        signal = signals.next() => {
            tracing::info!(signal, "stopped before the start was complete");
            return Ok(());
        }
    };
    let (core, app, listener) = ready;
    let stop = CancellationToken::new();
    work::keep_house(&core, &stop);
    let runs_workers = matches!(role, Role::Worker | Role::Api { workers: true });
    let at_work = runs_workers.then(|| work::start(&core, &stop));
    let service = if let (Some(app), Some(routes)) = (app, routes) {
        app.keep_house(&stop);
        Service::api(app, routes)
    } else {
        core.vitals.works_alone();
        Service::probes(core.clone())
    };
    let serving = connection::serve(listener, service, &core.config, stop.clone());
    let working = async {
        stop.cancelled().await;
        if let Some(at_work) = at_work
            && tokio::time::timeout(SHUTDOWN_GRACE, at_work.wait()).await.is_err()
        {
            tracing::warn!("the workers did not finish their run in time");
        }
    };
    let started = async {
        let _ = tokio::time::timeout(STARTED, stop.cancelled()).await;
        huge_pages::allow();
    };
    tokio::join!(stop_on_signal(&core, role, signals, &stop), serving, working, started);
    core.store.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// Opens the store, the gate and the listener. A worker has no `App`: it serves no API.
async fn prepare(
    config: Config,
    role: Role,
    migrate: bool,
) -> Result<(Arc<Core>, Option<Arc<App>>, TcpListener), Failure> {
    let metrics =
        Arc::new(Metrics::install().map_err(|error| Failure::new("starting the metrics", error))?);
    let store = open_when_there(&config).await?;
    if migrate {
        for step in store.migrate(None).await? {
            tracing::info!(version = step.version, name = step.name, "migrated the schema");
        }
    } else {
        require_schema(&*store).await?;
    }
    let gate = gate(&config, &*store).await?;
    let secret = match role {
        Role::Api { .. } => Some(signing_key(&config)?),
        Role::Worker => None,
    };
    raise_file_limit(config.max_connections);
    let listener =
        TcpListener::bind((config.host.as_str(), config.port)).await.map_err(|error| {
            let place = format!("{}:{}", config.host, config.port);
            Failure::new(format!("listening on {place} (HOST, PORT)"), error)
        })?;
    let address =
        listener.local_addr().map_err(|error| Failure::new("reading the address", error))?;
    announce(&config, role, &*store, &gate.describe(), address);
    let core = Arc::new(Core::new(config, store, gate, metrics));
    let app = secret.map(|secret| Arc::new(App::new(core.clone(), &secret)));
    Ok((core, app, listener))
}

/// Opens the gate, for the history that the store is in.
pub async fn gate(config: &Config, store: &dyn Store) -> Result<Arc<dyn Gate>, Failure> {
    let fresh_ms = u64::try_from(config.gate_fresh_ms).unwrap_or(0);
    let gate_url = config.gate_url.as_ref().map(ExposeSecret::expose_secret);
    let gate = open_gate(gate_url, GateOptions { fresh_ms })?;
    gate.enter(store.epoch());
    let connected = async {
        while gate.ping().await.is_err() {
            tokio::time::sleep(GATE_PAUSE).await;
        }
    };
    // A gate that is away keeps nobody from their work: the store decides.
    let _ = tokio::time::timeout(GATE_PATIENCE, connected).await;
    Ok(gate)
}

/// Opens the store; a database server that is still starting is waited for.
async fn open_when_there(config: &Config) -> Result<Arc<dyn Store>, Failure> {
    if config.is_embedded() {
        return open(config, false).await;
    }
    let opened = patiently(START_PATIENCE, || async {
        let store = try_open(config, false).await?;
        store.ping().await?;
        Ok(store)
    });
    let setting = config.store_setting;
    opened
        .await
        .map_err(|failure| Failure::plain(format!("{failure} (its place is set by {setting})")))
}

/// How long something that is away is waited for.
struct Patience {
    /// In all.
    total: Duration,
    /// Between two attempts.
    pause: Duration,
    /// Between two lines of the log.
    silence: Duration,
}

/// Tries until it works, the patience is over, or what is wrong is no matter of waiting.
async fn patiently<T, F: Future<Output = Result<T, Fault>>>(
    patience: Patience,
    attempt: impl Fn() -> F,
) -> Result<T, Failure> {
    let over = Instant::now() + patience.total;
    let given_up = format!("the store could not be opened within {:?}", patience.total);
    let mut last = None;
    let mut said: Option<Instant> = None;
    loop {
        match tokio::time::timeout_at(over, attempt()).await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(fault @ Fault::Unavailable { .. })) => {
                if said.is_none_or(|at| at.elapsed() >= patience.silence) {
                    let (error, patience) = (crate::chain(&fault), patience.total);
                    tracing::warn!(error, ?patience, "the store cannot be opened yet");
                    said = Some(Instant::now());
                }
                last = Some(fault);
            }
            Ok(Err(fault)) => return Err(fault.into()),
            Err(late) if last.is_none() => return Err(Failure::new(given_up, late)),
            Err(_) => {}
        }
        if let Some(fault) = last.take_if(|_| Instant::now() >= over) {
            return Err(Failure::new(given_up, fault));
        }
        tokio::time::sleep_until(over.min(Instant::now() + patience.pause)).await;
    }
}

/// Every connection is a file, and the default limit of a process is 1,024 files unless it raises
/// it.
fn raise_file_limit(connections: usize) {
    let wanted = connections as u64 + FILES_BESIDE_CONNECTIONS;
    let allowed = rlimit::increase_nofile_limit(wanted).unwrap_or(0);
    if allowed < wanted {
        tracing::warn!(
            allowed,
            wanted,
            "the limit of open files is too low for MAX_CONNECTIONS; raise the hard limit"
        );
    }
}

/// Logs the store, the gate and the addresses, one line each.
fn announce(
    config: &Config,
    role: Role,
    store: &dyn Store,
    gate: &str,
    address: std::net::SocketAddr,
) {
    let version = &config.app_version;
    let (app, environment) = (&config.app_name, config.environment.as_str());
    match role {
        Role::Api { .. } => tracing::info!(version, environment, "{app} starts"),
        Role::Worker => tracing::info!(version, environment, "{app} starts a worker"),
    }
    tracing::info!("store: {}", store.describe());
    tracing::info!("gate: {gate}");
    tracing::info!("address: http://{address}");
    if role != Role::Worker {
        tracing::info!("docs: http://{address}/docs");
    }
}

/// The signals that ask a process to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on they no longer end the process at once.
    fn listen() -> Result<Self, Failure> {
        let listen =
            |kind| signal(kind).map_err(|error| Failure::new("listening for signals", error));
        let terminate = listen(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: listen(SignalKind::interrupt())? })
    }

    /// Waits for the next one and returns its name.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Waits for a signal, turns readiness first, then closes the door.
async fn stop_on_signal(core: &Core, role: Role, mut signals: Signals, stop: &CancellationToken) {
    let signal = signals.next().await;
    tracing::info!(signal, "stopping: requests in progress finish first");
    core.draining.cancel();
    // Nobody is sent to a worker, so nobody has to notice.
    let is_balanced = role != Role::Worker && core.config.environment == Environment::Production;
    if is_balanced && signal == "SIGTERM" {
        tokio::time::sleep(DRAIN).await;
    }
    stop.cancel();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn patience(total_ms: u64) -> Patience {
        let ms = Duration::from_millis;
        Patience { total: ms(total_ms), pause: ms(10), silence: ms(50) }
    }

    fn away() -> Fault {
        let source = Arc::new(std::io::Error::other("connection refused"));
        Fault::Unavailable { doing: "opening the store", source }
    }

    #[tokio::test]
    async fn a_store_that_is_still_starting_is_waited_for() {
        let attempts = AtomicU32::new(0);
        let opened = patiently(patience(20_000), || async {
            let before = attempts.fetch_add(1, Ordering::SeqCst);
            if before < 3 { Err(away()) } else { Ok(before) }
        });
        assert_eq!(opened.await.expect("it is there"), 3);
    }

    #[tokio::test]
    async fn who_waits_in_vain_is_told_why() {
        let failed = patiently::<(), _>(patience(60), || async { Err(away()) }).await.unwrap_err();
        let told = failed.to_string();
        assert!(told.starts_with("the store could not be opened within 60ms: "), "{told}");
        assert!(told.ends_with("opening the store: connection refused"), "{told}");
        let failed = patiently::<(), _>(patience(60), std::future::pending).await.unwrap_err();
        assert!(failed.to_string().contains("within 60ms"), "{failed}");
    }

    #[tokio::test]
    async fn what_is_no_matter_of_waiting_is_told_at_once() {
        let corrupt = || Fault::Corrupt { what: "no such table".to_owned() };
        let failed = patiently::<(), _>(patience(600_000), || async { Err(corrupt()) }).await;
        assert!(failed.unwrap_err().to_string().contains("no such table"));
    }
}
