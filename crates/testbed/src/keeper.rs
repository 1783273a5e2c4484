//! Keepers: a small shell that owns one server, so that no server outlives its test.
//!
//! A test process may be killed at any time, and statics are never dropped; code of ours that
//! would clean up may never run. So each server is the child of a shell that reads orders from
//! a pipe whose other end only the test process holds. However that process ends, the kernel
//! closes the pipe; the shell then kills the server with all its children and removes its folder.
//!
//! ```text
//! test process ==orders==> keeper (sh) ---> server ---> its children
//!              <==pids====
//! ```
//!
//! The shell has a process group of its own, out of reach of a Ctrl-C or a `killpg` meant for
//! the tests. It ignores SIGHUP, which the kernel sends to a group that has lost its parent
//! while one of its members is stopped, as a paused server is.

use std::{
    ffi::OsString,
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use crate::machine::{self, START_LIMIT};

/// Arguments: the log, the folder to remove at the end, then the server's command.
///
/// A server that has ended stays a zombie until the next start, so its pid cannot pass to a
/// stranger that a late signal would hit. It is stopped before its children are listed, so that
/// no child is born unseen. A killed PostgreSQL leaves a segment of shared memory behind, whose
/// number is in its pid file; the system has room for some thousands of them.
const SCRIPT: &str = r#"
trap '' HUP
log=$1
folder=$2
shift 2
server=
everyone() {
    kill -STOP "$server" 2>/dev/null
    if [ -r "/proc/$server/task/$server/children" ]; then
        children=$(cat "/proc/$server/task/$server/children")
    else
        children=$(pgrep -P "$server")
    fi
    echo $server $children
}
while read -r order signal; do
    case $order in
    start)
        [ -n "$server" ] && wait "$server" 2>/dev/null
        "$@" </dev/null >>"$log" 2>&1 &
        server=$!
        echo "$server"
        ;;
    one)
        kill -"$signal" "$server" 2>/dev/null
        echo "$server"
        ;;
    all)
        pids=$(everyone)
        kill -"$signal" $pids 2>/dev/null
        echo $pids
        ;;
    esac
done
if [ -n "$server" ]; then
    kill -KILL $(everyone) 2>/dev/null
    wait "$server" 2>/dev/null
fi
if [ -r "$folder/data/postmaster.pid" ]; then
    set -- $(sed -n 7p "$folder/data/postmaster.pid")
    ipcrm -m "$2"
fi
rm -rf "$folder" 2>/dev/null || { sleep 0.2; rm -rf "$folder"; }
"#;

/// Owns one server and its folder; both end with it.
pub(crate) struct Keeper {
    shell: Child,
    /// Taken when it is dropped: closing the pipe is the last order.
    orders: Option<ChildStdin>,
    pids: BufReader<ChildStdout>,
    log: PathBuf,
    server: u32,
}

impl Keeper {
    /// A keeper of `folder` that will run `command`, whose output goes to `log`.
    pub(crate) fn new(folder: &Path, log: &Path, command: &[OsString]) -> Self {
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, "testbed-keeper"])
            .arg(log)
            .arg(folder)
            .args(command)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("every Linux has a shell");
        let orders = shell.stdin.take();
        let pids = shell.stdout.take().expect("its output was asked for as a pipe");
        Self { shell, orders, pids: BufReader::new(pids), log: log.to_owned(), server: 0 }
    }

    /// Starts the server, and returns its pid; an earlier one must have ended.
    pub(crate) fn start(&mut self) -> u32 {
        assert!(self.server == 0 || is_gone(self.server), "the server runs already");
        self.server = self.order("start")[0];
        self.server
    }

    /// Whether the server has ended, or was never started.
    pub(crate) fn has_ended(&self) -> bool {
        self.server == 0 || is_gone(self.server)
    }

    /// Ends the server in its own way by `signal` (`INT`, `TERM`), and waits for it.
    pub(crate) fn ask_to_end(&mut self, signal: &str) {
        let pids = self.order(&format!("one {signal}"));
        self.await_the_end(&pids);
    }

    /// SIGKILL to the server and its children; none is left on return.
    pub(crate) fn kill(&mut self) {
        if self.server == 0 {
            return;
        }
        let pids = self.order("all KILL");
        self.await_the_end(&pids);
    }

    /// Sends `signal` (`STOP`, `CONT`) to the server and its children.
    ///
    /// The listing of the children stops the server: only these two make sense here.
    pub(crate) fn signal_all(&mut self, signal: &str) {
        assert!(!self.has_ended(), "the server does not run\n{}", self.log_text());
        self.order(&format!("all {signal}"));
    }

    /// The end of the server's log, for the message of a panic.
    pub(crate) fn log_text(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let start = text.len().saturating_sub(8_000);
        format!("--- {}\n{}", self.log.display(), String::from_utf8_lossy(&text[start..]))
    }

    fn order(&mut self, order: &str) -> Vec<u32> {
        let pipe = self.orders.as_mut().expect("the pipe is taken only by drop");
        pipe.write_all(format!("{order}\n").as_bytes()).expect("the keeper lives as long as we do");
        let mut line = String::new();
        self.pids.read_line(&mut line).expect("the keeper lives as long as we do");
        let pids: Vec<u32> = line
            .split_whitespace()
            .map(|pid| pid.parse().expect("a keeper answers pids"))
            .collect();
        assert!(!pids.is_empty(), "the keeper did not answer {order:?}\n{}", self.log_text());
        pids
    }

    fn await_the_end(&self, pids: &[u32]) {
        let ended = machine::wait_at_most(START_LIMIT, || {
            pids.iter().all(|pid| is_gone(*pid)).then_some(())
        });
        assert!(ended.is_some(), "the server does not end\n{}", self.log_text());
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.orders.take();
        // The shell kills with SIGKILL, so this does not last.
        let _ = self.shell.wait();
    }
}

/// Whether the process has ended; a zombie has.
fn is_gone(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    // The name is in parentheses and may itself contain some.
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest.as_bytes()[0]);
    matches!(state, None | Some(b'Z' | b'X'))
}
