//! A private Redis server; below it a cluster, and a primary watched by sentinels.
//!
//! Nothing is persisted unless asked for: a server that is killed and started again is empty.

mod cluster;
mod sentinel;

use std::{
    ffi::OsString,
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream},
    path::PathBuf,
    sync::OnceLock,
    time::Duration,
};

pub use cluster::Cluster;
pub use sentinel::Sentinel;

use crate::{
    machine::{self, find_program},
    server::Server,
};

/// One Redis server on a port of its own; it ends when this value is dropped.
pub struct Redis {
    server: Server,
}

/// The server that the tests of this process share, started by the first who asks.
pub fn shared() -> &'static Redis {
    static SHARED: OnceLock<Redis> = OnceLock::new();
    SHARED.get_or_init(Redis::start)
}

impl Redis {
    /// Starts a server with an empty memory.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with more arguments, as `redis-server` takes them: `--maxmemory`, `1mb`.
    #[must_use]
    pub fn start_with(arguments: &[&str]) -> Self {
        Self::start_data_server("Redis", "", arguments)
    }

    /// `redis://127.0.0.1:PORT/`.
    pub fn url(&self) -> String {
        format!("redis://{}/", self.address())
    }

    /// Where it listens; the same after a restart.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Runs a command by `redis-cli`, and returns what it prints; an error reply is a text too.
    ///
    /// Panics if the server cannot be reached, or has not answered after two minutes.
    pub fn cli(&self, command: &[&str]) -> String {
        machine::run(&self.words_of(command))
    }

    /// Like [`cli`](Self::cli), of a server that may cut the connection at this moment: then nothing.
    pub(crate) fn ask(&self, command: &[&str]) -> String {
        machine::attempt(&self.words_of(command)).unwrap_or_default()
    }

    fn words_of(&self, command: &[&str]) -> Vec<OsString> {
        let mut words = vec![find_program("redis-cli", "redis-tools").into_os_string()];
        let address = self.address();
        words.extend(["-h".into(), address.ip().to_string().into()]);
        words.extend(["-p".into(), address.port().to_string().into()]);
        words.extend(command.iter().map(OsString::from));
        words
    }

    /// SIGKILL, as in a crash.
    pub fn kill(&self) {
        self.server.kill();
    }

    /// Starts it on the same port after a kill: empty, unless it was started to persist.
    pub fn start_again(&self) {
        self.server.start_again();
    }

    /// Freezes it: connections are still accepted by the kernel, none is served.
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

    /// Whether its process runs or is paused.
    pub fn is_running(&self) -> bool {
        self.server.is_running()
    }

    /// All its data at this moment, in the format of `dump.rdb`.
    pub fn save_snapshot(&self) -> Vec<u8> {
        assert_eq!(self.cli(&["SAVE"]), "OK", "a save without a disk problem succeeds");
        let snapshot = fs::read(self.snapshot_file()).expect("the save has just written it");
        self.forget_file_unless_persistent();
        snapshot
    }

    /// Kills it, and starts it on the same port with exactly the data of `snapshot`.
    ///
    /// Its clients see a crash, then the past. Panics if it keeps an append-only file, because
    /// it would then start from that.
    pub fn restore_snapshot(&self, snapshot: &[u8]) {
        if self.is_running() {
            let setting = self.cli(&["CONFIG", "GET", "appendonly"]);
            assert!(setting.ends_with("no"), "an append-only file would win over the snapshot");
            self.kill();
        }
        fs::write(self.snapshot_file(), snapshot).expect("the folder lives as long as the server");
        self.start_again();
        self.forget_file_unless_persistent();
    }

    fn snapshot_file(&self) -> PathBuf {
        self.server.folder().join("dump.rdb")
    }

    /// A server that does not persist must not find a snapshot at its next start.
    fn forget_file_unless_persistent(&self) {
        if self.cli(&["CONFIG", "GET", "save"]).trim_end() == "save" {
            fs::remove_file(self.snapshot_file()).expect("it was there a moment ago");
        }
    }

    /// Starts a server with lines of `redis.conf`, which it may rewrite, and with `arguments`.
    fn start_configured(kind: &'static str, lines: &str, arguments: &[&str]) -> Self {
        let folder = machine::new_folder(false);
        let conf = folder.join("redis.conf");
        let program = find_program("redis-server", "redis-server");
        let mut command = vec![program.into_os_string(), conf.clone().into_os_string()];
        command.extend(arguments.iter().map(OsString::from));
        let folder_text = folder.to_str().expect("names of temporary folders are text").to_owned();
        let configure = |port| {
            let text = format!("bind 127.0.0.1\nport {port}\ndir {folder_text}\n{lines}\n");
            fs::write(&conf, text).expect("the folder is new and ours");
        };
        let server = Server::start(kind, folder.clone(), &command, configure, Box::new(is_ready));
        Self { server }
    }

    /// Starts a data server, with nothing persisted.
    ///
    /// A replica that is fed from a file gets the stream at once when it has that, otherwise
    /// only after its next tick of a second.
    fn start_data_server(kind: &'static str, lines: &str, arguments: &[&str]) -> Self {
        let lines = format!(
            "save \"\"\nappendonly no\nrepl-diskless-sync no\nrdb-del-sync-files yes\n{lines}"
        );
        Self::start_configured(kind, &lines, arguments)
    }
}

/// Whether the server with this pid answers on this port, and has loaded its data.
fn is_ready(port: u16, pid: u32) -> bool {
    let ask = || -> std::io::Result<String> {
        let address = (Ipv4Addr::LOCALHOST, port).into();
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        // The server closes after its answer, because it then reads our end.
        stream.write_all(b"INFO\r\n")?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    ask().is_ok_and(|answer| {
        let is_ours = answer.contains(&format!("process_id:{pid}\r")) || answer.contains("-NOAUTH");
        is_ours && !answer.contains("loading:1\r")
    })
}
