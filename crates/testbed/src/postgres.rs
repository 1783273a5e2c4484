//! A private PostgreSQL cluster, and standbys of it.
//!
//! Clusters are copies of a template that `initdb` makes once per machine and boot, so a start
//! takes a fraction of a second. They trust everybody on loopback; the superuser is `postgres`.
//! Nothing is synced to disk, and the data is in memory, unless `fsync=on` is asked for.

use std::{
    ffi::OsString,
    fmt::Write,
    fs::{self, File},
    net::SocketAddr,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use parking_lot::Mutex;

use crate::{
    machine::{self, find_program},
    server::Server,
};

/// What every cluster of the tests is set to; what the caller asks for comes after it.
const DEFAULTS: [(&str, &str); 8] = [
    ("listen_addresses", "127.0.0.1"),
    ("max_connections", "200"),
    ("fsync", "off"),
    ("logging_collector", "off"),
    ("log_line_prefix", "%m [%p] "),
    ("shared_buffers", "64MB"),
    ("timezone", "UTC"),
    // In files of the data folder, which go with it; the usual ones outlive a kill.
    ("dynamic_shared_memory_type", "mmap"),
];

/// One cluster on a port of its own; it ends, and its data goes, when this value is dropped.
pub struct Postgres {
    server: Server,
    settings: Mutex<Vec<(String, String)>>,
    /// The names of the standbys that a commit waits for one of.
    synchronous: Mutex<Vec<String>>,
}

/// The cluster that the tests of this process share, started by the first who asks.
pub fn shared() -> &'static Postgres {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    SHARED.get_or_init(Postgres::start)
}

impl Postgres {
    /// Starts a cluster with the settings of the tests.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a cluster with `settings` of `postgresql.conf`, which win over those of the tests.
    ///
    /// With `("fsync", "on")` the data is on disk, so that a crash of it means something.
    #[must_use]
    pub fn start_with(settings: &[(&str, &str)]) -> Self {
        let folder = new_folder(settings);
        let template = template();
        machine::run(&["cp".as_ref(), "-a".as_ref(), template.as_os_str(), data(&folder).as_ref()]);
        Self::start_in(&folder, settings)
    }

    /// `postgres://postgres@127.0.0.1:PORT/DATABASE`; there is always a database `postgres`.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@{}/{database}", self.address())
    }

    /// Where it listens; the same after a restart.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Makes an empty database of a fresh name, and returns its URL.
    pub fn create_database(&self) -> String {
        self.create_database_from("template1")
    }

    /// Makes a copy, of a fresh name, of a database given by its name or URL; returns its URL.
    ///
    /// Panics if somebody is connected to the original.
    pub fn create_database_from(&self, template: &str) -> String {
        let name = format!("test_{:016x}", machine::random());
        let template = database_name(template);
        self.sql("postgres", &format!("CREATE DATABASE {name} TEMPLATE \"{template}\""));
        self.url(&name)
    }

    /// Runs SQL in a database given by its name or URL.
    ///
    /// Returns the rows without a header, their columns parted by `|`. Panics with the message
    /// of `psql` if a statement fails, and after two minutes.
    pub fn sql(&self, database: &str, statement: &str) -> String {
        // Not the one of `PATH`: Debian's is a script that takes five times as long to start.
        let psql = program("psql");
        let url = self.url(database_name(database));
        let options = ["-v", "ON_ERROR_STOP=1", "-XqAtc"].map(OsString::from);
        let mut words = vec![psql.into_os_string()];
        words.extend(options);
        words.push(statement.into());
        words.push(url.into());
        machine::run(&words)
    }

    /// Sets a setting of `postgresql.conf` that needs no restart, and reloads it.
    pub fn set(&self, name: &str, value: &str) {
        self.settings.lock().push((name.to_owned(), value.to_owned()));
        self.write_settings(self.address().port());
        self.sql("postgres", "SELECT pg_reload_conf()");
        // The reload is a signal; a session that begins later than it sees the new value.
        machine::wait_until(&format!("PostgreSQL takes {name}={value}"), || {
            self.sql("postgres", &format!("SELECT current_setting('{name}')")) == value
        });
    }

    /// Stops it in the fast way: sessions are ended, what was committed is on file.
    pub fn stop(&self) {
        self.server.stop("INT");
    }

    /// SIGKILL to the postmaster and all its children, as in a crash.
    pub fn kill(&self) {
        self.server.kill();
    }

    /// Starts it on the same port after a stop or a kill, and waits until it takes queries.
    pub fn start_again(&self) {
        self.server.start_again();
    }

    /// A stop and a start.
    pub fn restart(&self) {
        self.stop();
        self.start_again();
    }

    /// Freezes all its processes: connections are still accepted by the kernel, none is served.
    pub fn pause(&self) {
        self.server.pause();
    }

    /// Lets it run on after a pause.
    pub fn resume(&self) {
        self.server.resume();
    }

    /// The end of its log, for the message of a test that fails.
    pub fn log(&self) -> String {
        self.server.log_text()
    }

    /// Whether its processes run or are paused.
    pub fn is_running(&self) -> bool {
        self.server.is_running()
    }

    /// Starts a standby that streams from this cluster, and waits until it does.
    ///
    /// If it is `synchronous`, a commit here waits for it, or for any other synchronous standby,
    /// from then on. The primary keeps the WAL that a standby still needs.
    #[must_use]
    pub fn standby(&self, synchronous: bool) -> Self {
        let name = format!("standby_{:08x}", machine::random() >> 32);
        let settings = self.settings.lock().clone();
        let settings: Vec<_> = settings
            .iter()
            .filter(|(name, _)| name != "synchronous_standby_names")
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let folder = new_folder(&settings);
        let address = self.address();
        let mut words = machine::as_stand_in(&program("pg_basebackup"));
        words.push("--pgdata".into());
        words.push(data(&folder).into());
        words.push("--dbname".into());
        words.push(
            format!(
                "host={} port={} user=postgres application_name={name}",
                address.ip(),
                address.port()
            )
            .into(),
        );
        for option in ["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--create-slot"] {
            words.push(option.into());
        }
        words.push(format!("--slot={name}").into());
        machine::run(&words);
        let standby = Self::start_in(&folder, &settings);
        if synchronous {
            let mut names = self.synchronous.lock();
            names.push(name.clone());
            self.set("synchronous_standby_names", &format!("ANY 1 ({})", names.join(", ")));
        }
        let ask = format!(
            "SELECT count(*) FROM pg_stat_replication WHERE application_name = '{name}' \
             AND state = 'streaming' AND sync_state {} 'async'",
            if synchronous { "<>" } else { "=" }
        );
        machine::wait_until("the standby streams", || self.sql("postgres", &ask) == "1");
        standby
    }

    /// Makes this standby a primary, and waits until it takes writes.
    pub fn promote(&self) {
        assert_eq!(self.sql("postgres", "SELECT pg_promote(true, 20)"), "t", "promotes in time");
    }

    /// Starts the cluster whose data is in `folder` already.
    fn start_in(folder: &Path, settings: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let settings: Vec<_> = settings.iter().map(owned).collect();
        let mut command = machine::as_stand_in(&program("postgres"));
        command.push("-D".into());
        command.push(data(folder).into());
        let data_folder = data(folder);
        let server = Server::start(
            "PostgreSQL",
            folder.to_owned(),
            &command,
            |port| write_settings(folder, port, &settings),
            Box::new(move |_, pid| is_ready(&data_folder, pid)),
        );
        Self { server, settings: Mutex::new(settings), synchronous: Mutex::default() }
    }

    fn write_settings(&self, port: u16) {
        write_settings(self.server.folder(), port, &self.settings.lock());
    }
}

/// What the postmaster itself says in its pid file, as `pg_ctl` reads it.
fn is_ready(data: &Path, pid: u32) -> bool {
    let file = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    let mut lines = file.lines();
    // The file of a crashed predecessor may still be there.
    let is_ours = lines.next() == Some(pid.to_string().as_str());
    is_ours && lines.nth(6).map(str::trim_end) == Some("ready")
}

/// Writes `postgresql.conf` anew: later lines take precedence.
fn write_settings(folder: &Path, port: u16, settings: &[(String, String)]) {
    let folder_text = folder.to_str().expect("names of temporary folders are text");
    let mut text = format!("port = {port}\nunix_socket_directories = '{folder_text}'\n");
    let ours = DEFAULTS.iter().copied();
    let theirs = settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in ours.chain(theirs) {
        let value = value.replace('\'', "''");
        writeln!(text, "{name} = '{value}'").expect("a string takes all");
    }
    let conf = data(folder).join("postgresql.conf");
    fs::write(&conf, text).expect("the data folder is there, and ours or root's to write");
    give_to_stand_in(&conf);
}

fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// A folder that the server can write to.
fn new_folder(settings: &[(&str, &str)]) -> PathBuf {
    let fsync = settings.iter().rev().find(|(name, _)| *name == "fsync");
    let durable = fsync.is_some_and(|(_, value)| *value == "on");
    let folder = machine::new_folder(durable);
    give_to_stand_in(&folder);
    folder
}

fn give_to_stand_in(path: &Path) {
    if let Some(user) = machine::stand_in() {
        chown(path, Some(user.uid), Some(user.gid)).expect("root may give its files away");
    }
}

/// The data folder of a fresh cluster, made by the first who asks on this machine.
fn template() -> PathBuf {
    let version = machine::run(&[program("postgres").as_os_str(), "--version".as_ref()]);
    let version: String = version.chars().filter(|c| c.is_ascii_digit() || *c == '.').collect();
    let folder = machine::common_folder().join(format!("postgres-{version}"));
    fs::create_dir_all(&folder).expect("the common folder is ours");
    let lock = File::create(folder.join("lock")).expect("the common folder is ours");
    lock.lock().expect("a local file can be locked");
    let template = folder.join("template");
    if !template.exists() {
        give_to_stand_in(&folder);
        // A process that was killed while creating it left it incomplete.
        let half = folder.join("half");
        if half.exists() {
            fs::remove_dir_all(&half).expect("the common folder is ours");
        }
        let mut words = machine::as_stand_in(&program("initdb"));
        words.push("--pgdata".into());
        words.push(half.as_os_str().to_owned());
        let options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"];
        words.extend(options.map(OsString::from));
        words.extend(["--no-sync", "--no-instructions"].map(OsString::from));
        machine::run(&words);
        fs::rename(&half, &template).expect("both are in one folder of ours");
    }
    template
}

/// The path of a program of PostgreSQL: beside the `postgres` of `PATH`, or else of the newest
/// version that Debian installed.
fn program(name: &str) -> PathBuf {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    // All come from one folder, because a standby needs the version of its primary.
    let folder = FOLDER.get_or_init(|| {
        let in_path = machine::in_path("postgres").and_then(|path| path.canonicalize().ok());
        let in_path = in_path.and_then(|path| path.parent().map(Path::to_owned));
        let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let number = |version: &fs::DirEntry| version.file_name().to_str()?.parse::<u32>().ok();
        let newest = installed
            .filter(|version| version.path().join("bin/postgres").is_file())
            .max_by_key(number)
            .map(|version| version.path().join("bin"));
        in_path.or(newest)
    });
    let beside = folder.as_ref().map(|folder| folder.join(name)).filter(|path| path.is_file());
    beside.unwrap_or_else(|| find_program(name, "postgresql"))
}

/// The last part of a URL, or a name as it is.
fn database_name(name_or_url: &str) -> &str {
    name_or_url.rsplit('/').next().unwrap_or(name_or_url)
}
