//! Four instances on one PostgreSQL. Their Redis was there when they started, and is dead since.

use crate::support::{Client, Server, reservix};
use engine::Timestamp;
use std::time::{Duration, Instant};
use store::Clock;
use testbed::postgres::Postgres;
use testbed::redis::Redis;

pub const INSTANCES: usize = 4;
/// What all instances must agree on.
const SECRET_KEY: &str = "the secret of four instances, 32 bytes";

/// The instances, and the user who owns all teams.
pub struct Crew {
    pub owner: Client,
    instances: Vec<Server>,
    clock: Clock,
    _redis: Redis,
    _postgres: Postgres,
    _folder: tempfile::TempDir,
}

impl Crew {
    pub async fn start() -> Self {
        let (postgres, redis) = (Postgres::start(), Redis::start());
        let (database_url, redis_url) = (postgres.create_database(), redis.url());
        let folder = tempfile::tempdir().expect("a folder");
        let start = |instance: usize| {
            let folder = folder.path().join(instance.to_string());
            std::fs::create_dir_all(&folder).expect("the folder is ours");
            let settings = [
                ("SECRET_KEY", SECRET_KEY),
                ("DATABASE_URL", &database_url),
                ("REDIS_URL", &redis_url),
                ("DB_POOL_SIZE", "16"),
                ("LANES", "4"),
                // No token ends by itself, however long the trials take.
                ("ACCESS_TOKEN_EXPIRE_SECONDS", "86400"),
                ("SWEEP_INTERVAL_MS", "0"),
                ("RECONCILE_INTERVAL_SECONDS", "0"),
            ];
            Server::start_by(reservix(), &folder, &settings)
        };
        let instances: Vec<_> = (0..INSTANCES).map(start).collect();
        let owner = instances[0].user().await;
        redis.kill();
        let clock = store::clock::wall();
        Self { owner, instances, clock, _redis: redis, _postgres: postgres, _folder: folder }
    }

    /// A client as it is, at another instance.
    pub fn at(&self, client: &Client, instance: usize) -> Client {
        let mut client = client.clone();
        client.api = format!("{}/api/v1", self.instances[instance].url);
        client
    }

    /// What the clock of the machine shows, which is that of all instances and of the database.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// When the clock will show this, to within a millisecond; now, if it has.
    pub fn instant(&self, at: Timestamp) -> Instant {
        let ahead_ms = u64::try_from(at.since_ms(self.now())).unwrap_or(0);
        Instant::now() + Duration::from_millis(ahead_ms)
    }

    /// What all instances have logged.
    pub fn log(&self) -> Vec<String> {
        self.instances.iter().flat_map(Server::log).collect()
    }
}
