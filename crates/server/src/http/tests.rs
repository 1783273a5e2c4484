//! Instances in this process, on one store and with one gate between them.

mod instances;
mod logins;
mod same;
mod transfers;

use super::*;
use crate::config::Config;
use crate::metrics::FOR_TESTS;
use crate::serve;
use engine::{Shard, Timestamp, UserId};
use secrecy::SecretString;
use store::gate::{GateOptions, Local};
use store::{Gate, Store};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

struct World {
    folder: tempfile::TempDir,
    store: Arc<dyn Store>,
    gate: Arc<dyn Gate>,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = config(&folder);
        let store = serve::open(&config, false).await.expect("a store");
        store.migrate(None).await.expect("a schema");
        Self { folder, store, gate: Arc::new(Local::new(GateOptions { fresh_ms: 1_000 })) }
    }

    /// A process without an API.
    fn core(&self) -> Arc<Core> {
        self.core_with(&[])
    }

    fn core_with(&self, settings: &[(&str, &str)]) -> Arc<Core> {
        let config = config_with(&self.folder, settings);
        let (store, gate) = (self.store.clone(), self.gate.clone());
        Arc::new(Core::new(config, store, gate, FOR_TESTS.clone()))
    }

    /// A process that serves the API.
    fn instance(&self) -> Arc<App> {
        Arc::new(App::new(self.core(), &SecretString::from(SECRET)))
    }
}

/// What answers the requests of a process that serves the API.
fn service(app: Arc<App>) -> Service {
    let routes = Routes::of(&app.core.config.app_version);
    Service::api(app, routes)
}

fn config(folder: &tempfile::TempDir) -> Config {
    config_with(folder, &[])
}

fn config_with(folder: &tempfile::TempDir, settings: &[(&str, &str)]) -> Config {
    let data_dir = folder.path().display().to_string();
    let all =
        [("DATA_DIR", data_dir.as_str()), ("SWEEP_INTERVAL_MS", "20"), ("HOLD_TTL_SECONDS", "1")];
    let settings = all.iter().chain(settings);
    let settings = settings.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::from_pairs(settings, []).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The token of the user that all tests here have.
fn token(app: &App) -> String {
    let user_id = UserId::new(Timestamp::from_unix_ms(1), Shard::pick(1), 1);
    app.tokens.issue(user_id, app.core.store.now()).expect("a token")
}
