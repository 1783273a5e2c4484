//! A server of any kind: started on a port of its own, killed, paused, started again.

use std::{
    ffi::OsString,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use parking_lot::Mutex;

use crate::{
    keeper::Keeper,
    machine::{self, Port, START_LIMIT},
};

/// Returns true if the server with this port and this pid is ready for clients.
type IsReady = Box<dyn Fn(u16, u32) -> bool + Send + Sync>;

/// One server, its port and its folder.
pub(crate) struct Server {
    /// What people call it, for messages.
    kind: &'static str,
    folder: PathBuf,
    port: Port,
    keeper: Mutex<Keeper>,
    is_ready: IsReady,
}

impl Server {
    /// Starts `command` in `folder` on a free port, and waits until it is ready.
    ///
    /// `configure` writes its port where the command will find it. Another port is tried if a
    /// stranger took the first one. Panics with the server's log if it does not start.
    pub(crate) fn start(
        kind: &'static str,
        folder: PathBuf,
        command: &[OsString],
        configure: impl Fn(u16),
        is_ready: IsReady,
    ) -> Self {
        let log = folder.join("log");
        let keeper = Mutex::new(Keeper::new(&folder, &log, command));
        let mut server = Self { kind, folder, port: Port::choose(), keeper, is_ready };
        for _ in 0..5 {
            configure(server.port.number);
            if server.launch() {
                return server;
            }
            server.port = Port::choose();
        }
        panic!("{kind} found five ports taken\n{}", server.keeper.get_mut().log_text());
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.port.address()
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts it again on its port; it must have ended.
    pub(crate) fn start_again(&self) {
        assert!(self.launch(), "{} lost its port\n{}", self.kind, self.log_text());
    }

    /// Ends it by a signal that it handles, and waits for that.
    pub(crate) fn stop(&self, signal: &str) {
        self.keeper.lock().ask_to_end(signal);
    }

    /// SIGKILL to it and all its children, as in a crash.
    pub(crate) fn kill(&self) {
        self.keeper.lock().kill();
    }

    /// Stops it and all its children from running, as a machine that hangs.
    pub(crate) fn pause(&self) {
        self.keeper.lock().signal_all("STOP");
    }

    /// Lets it run on after a pause.
    pub(crate) fn resume(&self) {
        self.keeper.lock().signal_all("CONT");
    }

    /// Whether its process runs or is paused.
    pub(crate) fn is_running(&self) -> bool {
        !self.keeper.lock().has_ended()
    }

    /// The end of its log.
    pub(crate) fn log_text(&self) -> String {
        self.keeper.lock().log_text()
    }

    /// Starts it, and waits until it is ready: false if its port was taken.
    fn launch(&self) -> bool {
        let mut keeper = self.keeper.lock();
        let log_before = fs::metadata(self.folder.join("log")).map_or(0, |log| log.len());
        let pid = keeper.start();
        let ready = machine::wait_at_most(START_LIMIT, || {
            if (self.is_ready)(self.port.number, pid) {
                return Some(true);
            }
            keeper.has_ended().then_some(false)
        });
        match ready {
            Some(true) => true,
            Some(false) if self.log_tells_port_taken(log_before) => false,
            Some(false) => panic!("{} ended while starting\n{}", self.kind, keeper.log_text()),
            None => panic!("{} did not start in time\n{}", self.kind, keeper.log_text()),
        }
    }

    /// Whether the log says so after its first `skip` bytes.
    fn log_tells_port_taken(&self, skip: u64) -> bool {
        let log = fs::read(self.folder.join("log")).unwrap_or_default();
        let new = &log[usize::try_from(skip).expect("a log fits in memory").min(log.len())..];
        String::from_utf8_lossy(new).contains("ddress already in use")
    }
}
