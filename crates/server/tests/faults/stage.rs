//! The stage: servers of its own, a proxy in front of each for each instance, and two instances.

use crate::support::{self, Client, Server, reservix};
use futures_util::future::join_all;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};
use testbed::postgres::Postgres;
use testbed::proxy::Proxy;
use testbed::redis::Redis;
use testbed::steps::Steps;

/// Instances of a stage.
pub const INSTANCES: usize = 2;
/// Users who buy; each of them may be in many places at once.
const USERS: usize = 4;
/// What all instances must agree on.
const SECRET_KEY: &str = "the secret of the fault table, 32 bytes";

/// What a stage is to be like.
#[derive(Clone, Default)]
pub struct Plan {
    /// Settings of `postgresql.conf`.
    pub postgres: Vec<(&'static str, &'static str)>,
    /// Arguments of `redis-server`.
    pub redis: Vec<&'static str>,
    /// Arguments of both instances.
    pub arguments: Vec<&'static str>,
    /// Settings of both instances, which win over those of every stage.
    pub settings: Vec<(&'static str, &'static str)>,
    /// More of the environment of each instance.
    pub own: [Vec<(&'static str, &'static str)>; INSTANCES],
    /// A standby that each commit waits for.
    pub standby: bool,
}

/// The ways of one instance to its servers.
pub struct Link {
    pub postgres: Proxy,
    pub redis: Proxy,
}

/// Where the instances listen; an instance that is started again listens somewhere else.
pub type Doors = Arc<[Mutex<String>; INSTANCES]>;

/// Servers, proxies, instances and users.
pub struct Stage {
    pub postgres: Postgres,
    pub standby: Option<Postgres>,
    pub redis: Redis,
    pub links: [Link; INSTANCES],
    /// Counts what the first instance sends to its servers.
    pub steps: Steps,
    pub doors: Doors,
    pub organizer: Client,
    pub buyers: Vec<Client>,
    plan: Plan,
    database: String,
    folder: tempfile::TempDir,
    instances: [Mutex<Option<Server>>; INSTANCES],
    /// What instances logged that have ended.
    logs: Mutex<Vec<String>>,
    began: Instant,
}

impl Stage {
    /// Sets up everything; takes a second or two.
    pub async fn set(plan: Plan) -> Self {
        let postgres = Postgres::start_with(&plan.postgres);
        let redis = Redis::start_with(&plan.redis);
        let database = postgres.create_database();
        let standby = plan.standby.then(|| postgres.standby(true));
        let steps = Steps::new();
        let uncounted = Steps::new();
        let link = |steps: &Steps| Link {
            postgres: Proxy::to_counted(postgres.address(), steps),
            redis: Proxy::to_counted(redis.address(), steps),
        };
        let links = [link(&steps), link(&uncounted)];
        let nobody = Client::of("http://127.0.0.1:1");
        let mut stage = Self {
            postgres,
            standby,
            redis,
            links,
            steps,
            doors: Arc::new([Mutex::default(), Mutex::default()]),
            organizer: nobody.clone(),
            buyers: Vec::new(),
            plan,
            database,
            folder: tempfile::tempdir().expect("a folder"),
            instances: [Mutex::default(), Mutex::default()],
            logs: Mutex::default(),
            began: Instant::now(),
        };
        for instance in 0..INSTANCES {
            stage.start(instance);
        }
        let mut first = nobody;
        first.api = stage.api(0);
        stage.organizer = first.sign_up().await;
        stage.buyers = join_all((0..USERS).map(|_| first.sign_up())).await;
        stage
    }

    /// Whether holds may end before their buyers are done.
    pub fn holds_lapse(&self) -> bool {
        self.plan.settings.iter().any(|(name, _)| *name == "HOLD_TTL_SECONDS")
    }

    /// How long it has been standing: the time of all records.
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// When it began.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Where an instance listens now.
    pub fn api(&self, instance: usize) -> String {
        self.doors[instance].lock().clone()
    }

    /// A client as it is, at another instance.
    pub fn at(&self, client: &Client, instance: usize) -> Client {
        let mut client = client.clone();
        client.api = self.api(instance);
        client
    }

    /// Starts an instance that does not run.
    pub fn start(&self, instance: usize) {
        let server = self.launch(instance, &instance.to_string(), &self.plan.arguments);
        *self.doors[instance].lock() = format!("{}/api/v1", server.url);
        let before = self.instances[instance].lock().replace(server);
        assert!(before.is_none(), "instance {instance} ran already");
    }

    /// Starts a `reservix worker` that takes the same ways as an instance.
    pub fn worker(&self, instance: usize) -> Server {
        self.launch(instance, &format!("worker-{instance}"), &["worker"])
    }

    /// The name of the database.
    pub fn database_name(&self) -> String {
        self.database.rsplit('/').next().expect("a name at the end").to_owned()
    }

    /// An instance on another database of the same server, and on the same Redis.
    pub fn on_copy(&self, name: &str) -> Server {
        let url = self.database.replace(&self.database_name(), name);
        let folder = self.folder.path().join("copy");
        std::fs::create_dir_all(&folder).expect("the folder is ours");
        let redis_url = self.redis.url();
        let settings =
            [("SECRET_KEY", SECRET_KEY), ("DATABASE_URL", &url), ("REDIS_URL", &redis_url)];
        Server::start_by(reservix(), &folder, &settings)
    }

    fn launch(&self, instance: usize, folder: &str, arguments: &[&str]) -> Server {
        let link = &self.links[instance];
        let database_url = link.postgres.in_place_of(&self.database);
        let redis_url = link.redis.in_place_of(&self.redis.url());
        let mut settings = vec![
            ("SECRET_KEY", SECRET_KEY),
            ("DATABASE_URL", database_url.as_str()),
            ("REDIS_URL", redis_url.as_str()),
            ("DB_POOL_SIZE", "8"),
            ("LANES", "4"),
            // Its alarms are part of the verdict.
            ("RECONCILE_INTERVAL_SECONDS", "1"),
        ];
        settings.extend(&self.plan.settings);
        settings.extend(&self.plan.own[instance]);
        let folder = self.folder.path().join(folder);
        std::fs::create_dir_all(&folder).expect("the folder is ours");
        let mut command = reservix();
        command.args(arguments);
        Server::start_by(command, &folder, &settings)
    }

    /// `kill -9`.
    pub fn kill(&self, instance: usize) {
        let server = self.take(instance);
        self.logs.lock().extend(server.log());
        server.kill();
    }

    /// Takes note of the end of an instance that was killed by somebody else.
    pub fn bury(&self, instance: usize) {
        let server = self.take(instance);
        self.logs.lock().extend(server.log());
        assert_eq!(server.wait(), None, "it was killed");
    }

    /// SIGTERM, and the wait for its end; it must end well.
    pub fn stop(&self, instance: usize) {
        let server = self.take(instance);
        self.logs.lock().extend(server.log());
        assert_eq!(server.stop(), Some(0), "a stop is no failure");
    }

    /// Sends a signal to an instance, by its name, such as `STOP`.
    pub fn signal(&self, instance: usize, name: &str) {
        let running = self.instances[instance].lock();
        running.as_ref().expect("it runs").signal(name);
    }

    /// The process id of an instance.
    pub fn pid(&self, instance: usize) -> u32 {
        self.instances[instance].lock().as_ref().expect("it runs").pid()
    }

    fn take(&self, instance: usize) -> Server {
        self.instances[instance].lock().take().expect("it runs")
    }

    /// What all instances have logged.
    pub fn log(&self) -> Vec<String> {
        let mut lines = self.logs.lock().clone();
        for instance in &self.instances {
            lines.extend(instance.lock().as_ref().map(Server::log).unwrap_or_default());
        }
        lines
    }

    /// `reservix audit` beside the running instances: its output unless it is clean.
    pub fn audit(&self) -> Result<(), String> {
        // Where the truth is now, which may be where it was not at first.
        let url = self.links[1].postgres.in_place_of(&self.database);
        let mut audit = reservix();
        audit.current_dir(self.folder.path()).arg("audit");
        audit.env("DATABASE_URL", url).env("SECRET_KEY", SECRET_KEY);
        let output = audit.output().expect("the binary runs");
        let told = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        crate::ensure!(output.status.success(), "the audit is not clean: {told}{errors}");
        Ok(())
    }

    /// Runs SQL in the database.
    pub fn sql(&self, statement: &str) -> String {
        self.postgres.sql(&self.database, statement)
    }

    /// A new event of the organizer with one section of this capacity; gives its id.
    pub async fn event(&self, capacity: i64) -> String {
        self.at(&self.organizer, 1).event(capacity).await
    }

    /// Ends the faults of all proxies.
    pub fn heal(&self) {
        for link in &self.links {
            link.postgres.heal();
            link.redis.heal();
        }
    }

    /// Does something to both instances.
    pub fn on_servers(&self, act: impl Fn(&Server)) {
        self.instances.iter().for_each(|instance| act(instance.lock().as_ref().expect("it runs")));
    }

    /// Does something to the way to PostgreSQL of both instances.
    pub fn on_postgres(&self, act: impl Fn(&Proxy)) {
        self.links.iter().for_each(|link| act(&link.postgres));
    }

    /// Does something to the way to Redis of both instances.
    pub fn on_redis(&self, act: impl Fn(&Proxy)) {
        self.links.iter().for_each(|link| act(&link.redis));
    }
}

/// Waits; the buyers go on.
pub async fn pause(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

/// Asks again and again until a row's answer is yes.
pub use support::eventually;
