//! The server's life: opening what it stands on, serving, and stopping without losing a request.

use crate::config::{Config, Environment, LogFormat, load_or_create_secret};
use crate::http::token::Tokens;
use crate::http::{App, connection, router};
use crate::metrics::Metrics;
use crate::{Failure, work};
use secrecy::ExposeSecret;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;
use store::gate::GateOptions;
use store::{Store, StoreOptions, open_gate, open_store};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How long readiness says no before the door closes, so that a load balancer notices first.
const DRAIN: Duration = Duration::from_secs(1);

/// Files that are open beside connections: the database, its log, pools and the runtime's own.
const FILES_BESIDE_CONNECTIONS: u64 = 256;

/// Sends the log to standard error: text on a terminal, else JSON, unless the settings say otherwise.
pub fn start_log(config: &Config) {
    let level = if config.app_debug { "debug" } else { "info" };
    let filter = format!("warn,server={level},store={level},engine={level},reservix={level}");
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    let text = match config.log_format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    if text {
        log.with_ansi(std::io::stderr().is_terminal()).init();
    } else {
        log.json().flatten_event(true).init();
    }
}

/// Opens the store that the configuration names.
pub async fn open(config: &Config, read_only: bool) -> Result<Arc<dyn Store>, Failure> {
    let options = StoreOptions {
        policy: config.policy(),
        clock: store::clock::wall(),
        pool_size: config.db_pool_size,
        read_only,
        strict: config.environment == Environment::Production,
    };
    Ok(open_store(config.store_url.expose_secret(), options).await?)
}

/// Serves until a signal comes.
pub async fn serve(config: Config, migrate: bool, workers: bool) -> Result<(), Failure> {
    start_log(&config);
    let metrics =
        Arc::new(Metrics::install().map_err(|error| Failure::new("starting the meters", error))?);
    let store = open(&config, false).await?;
    if migrate {
        for step in store.migrate(None).await? {
            tracing::info!(version = step.version, name = step.name, "migrated the schema");
        }
    } else if store.migrations().await?.iter().any(|(_, applied)| !applied) {
        return Err(Failure::plain("the schema is behind this build; run `reservix migrate up`"));
    }
    let fresh_ms = u64::try_from(config.gate_fresh_ms).unwrap_or(0);
    let gate_url = config.gate_url.as_ref().map(ExposeSecret::expose_secret);
    let gate = open_gate(gate_url, GateOptions { fresh_ms })?;
    let secret = match &config.secret_key {
        Some(secret) => secret.clone(),
        None => load_or_create_secret(&config.data_dir)
            .map_err(|error| Failure::new("keeping a signing key", error))?,
    };
    raise_file_limit(config.max_connections);
    let tokens = Tokens::new(&secret, config.access_token_ttl);
    let listener =
        TcpListener::bind((config.host.as_str(), config.port)).await.map_err(|error| {
            Failure::new(format!("listening on {}:{}", config.host, config.port), error)
        })?;
    let address =
        listener.local_addr().map_err(|error| Failure::new("reading the address", error))?;
    announce(&config, &*store, &gate.describe(), address);

    let app = Arc::new(App::new(config, store, gate, tokens, metrics));
    let stop = CancellationToken::new();
    let at_work = workers.then(|| work::start(&app, &stop));
    let serving = connection::serve(listener, router(app.clone()), &app.config, stop.clone());
    let (stopped, ()) = tokio::join!(stop_on_signal(&app, &stop), serving);
    stopped?;
    if let Some(at_work) = at_work {
        at_work.wait().await;
    }
    app.store.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// Every connection is a file, and shells give a process 1,024 of them unless it asks for more.
fn raise_file_limit(connections: usize) {
    let wanted = connections as u64 + FILES_BESIDE_CONNECTIONS;
    let allowed = rlimit::increase_nofile_limit(wanted).unwrap_or(0);
    if allowed < wanted {
        tracing::warn!(
            allowed,
            wanted,
            "the system allows fewer open files than MAX_CONNECTIONS needs; raise its hard limit"
        );
    }
}

/// Says in one line each what the process stands on and where to look.
fn announce(config: &Config, store: &dyn Store, gate: &str, address: std::net::SocketAddr) {
    let version = &config.app_version;
    tracing::info!(
        version,
        environment = config.environment.as_str(),
        "{} starts",
        config.app_name
    );
    tracing::info!("store: {}", store.describe());
    tracing::info!("gate: {gate}");
    tracing::info!("address: http://{address}");
    tracing::info!("docs: http://{address}/docs");
}

/// Waits for a signal, turns readiness first, then closes the door.
async fn stop_on_signal(app: &App, stop: &CancellationToken) -> Result<(), Failure> {
    let failed = |error| Failure::new("listening for signals", error);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let name = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    tracing::info!(signal = name, "stopping: what is under way finishes first");
    app.draining.cancel();
    if app.config.environment == Environment::Production && name == "SIGTERM" {
        tokio::time::sleep(DRAIN).await;
    }
    stop.cancel();
    Ok(())
}
