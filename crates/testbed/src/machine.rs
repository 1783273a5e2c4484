//! What the servers need of the machine: programs, ports, folders, a user, and time to wait.

use std::{
    collections::hash_map::RandomState,
    ffi::{OsStr, OsString},
    fs::{self, File},
    hash::BuildHasher,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::{Duration, Instant},
};

/// The longest wait for a server to start, to end or to reach a state: 20 s.
pub const START_LIMIT: Duration = Duration::from_secs(20);

/// The ports to choose from; from 32768 on the kernel hands them to outgoing connections.
///
/// A node of a Redis cluster also takes its port plus 10000, which stays below that bound too.
const PORTS: std::ops::Range<u16> = 10_000..22_768;

/// A random number, good enough for names and ports.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one(0)
}

/// Blocks the calling thread.
#[expect(clippy::disallowed_methods, reason = "the API blocks, so that tests need no runtime")]
pub(crate) fn sleep(time: Duration) {
    std::thread::sleep(time);
}

/// Asks every 5 ms until there is an answer; `None` after `limit`.
pub(crate) fn wait_at_most<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        let answer = ask();
        if answer.is_some() || start.elapsed() > limit {
            return answer;
        }
        sleep(Duration::from_millis(5));
    }
}

/// Waits at most [`START_LIMIT`] for `holds`, and panics with `what` after that.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let held = wait_at_most(START_LIMIT, || holds().then_some(()));
    assert!(held.is_some(), "waited {START_LIMIT:?} in vain: {what}");
}

/// A port of 127.0.0.1 that no other testbed on this machine will choose while this value lives.
pub(crate) struct Port {
    pub(crate) number: u16,
    /// Locked; the lock ends with the process, however that ends.
    _lock: File,
}

impl Port {
    /// A free port whose cluster port is free too.
    ///
    /// A stranger may still take it before the server does: the starter tries again.
    pub(crate) fn choose() -> Self {
        let folder = common_folder().join("ports");
        fs::create_dir_all(&folder).expect("the common folder is ours");
        for _ in 0..1_000 {
            let offset = random() % u64::from(PORTS.end - PORTS.start);
            let number = PORTS.start + u16::try_from(offset).expect("less than the range");
            let lock = File::create(folder.join(number.to_string())).expect("the folder is ours");
            let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
            if lock.try_lock().is_ok() && is_free(number) && is_free(number + 10_000) {
                return Self { number, _lock: lock };
            }
        }
        panic!("no free port among {PORTS:?}");
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }
}

/// A new folder, in memory where the machine has one for that, or on disk if it must be `durable`.
///
/// It is readable for all, because a server may run as another user; its keeper removes it.
pub(crate) fn new_folder(durable: bool) -> PathBuf {
    let parent = if durable { std::env::temp_dir() } else { memory_folder() };
    let folder = tempfile::Builder::new()
        .prefix("reservix-test-")
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir_in(parent)
        .expect("a temporary folder can be made");
    folder.keep()
}

/// A folder that the testbeds of one user share, until the machine starts anew.
pub(crate) fn common_folder() -> PathBuf {
    let folder = memory_folder().join(format!("reservix-testbed-{}", our_uid()));
    fs::create_dir_all(&folder).expect("a folder for temporary files can be written");
    folder
}

fn memory_folder() -> PathBuf {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() }
}

fn our_uid() -> u32 {
    fs::metadata("/proc/self").expect("testbed needs the /proc of Linux").uid()
}

/// The user that replaces root, as which some servers refuse to run.
pub(crate) struct StandIn {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// `postgres`, or else `nobody`, if we are root; `None` if we are not.
pub(crate) fn stand_in() -> Option<&'static StandIn> {
    static FOUND: OnceLock<Option<StandIn>> = OnceLock::new();
    FOUND.get_or_init(|| if our_uid() == 0 { Some(find_stand_in()) } else { None }).as_ref()
}

fn find_stand_in() -> StandIn {
    let users = fs::read_to_string("/etc/passwd").expect("every Linux has a list of users");
    let find = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut ids = line.split(':').skip(2).map_while(|id| id.parse().ok());
        Some(StandIn { uid: ids.next()?, gid: ids.next()? })
    };
    find("postgres").or_else(|| find("nobody")).expect("every Linux has the user nobody")
}

/// The words that run `program` as the stand-in, or just the program if we are not root.
pub(crate) fn as_stand_in(program: &Path) -> Vec<OsString> {
    let mut words: Vec<OsString> = Vec::new();
    if let Some(user) = stand_in() {
        words.push(find_program("setpriv", "util-linux").into());
        words.push(format!("--reuid={}", user.uid).into());
        words.push(format!("--regid={}", user.gid).into());
        words.push("--clear-groups".into());
        words.push("--".into());
    }
    words.push(program.into());
    words
}

/// The path of a program; panics with the Debian package that brings it if there is none.
pub(crate) fn find_program(name: &str, package: &str) -> PathBuf {
    in_path(name).unwrap_or_else(|| {
        panic!("the tests need {name}, which is not installed: apt-get install {package}")
    })
}

/// The path of a program in a folder of `PATH`.
pub(crate) fn in_path(name: &str) -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "PATH is the system's way to find a program")]
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Runs a command for at most two minutes, and returns what it prints, without the last newline.
///
/// Panics with its output if it fails.
pub(crate) fn run<W: AsRef<OsStr>>(words: &[W]) -> String {
    attempt(words).unwrap_or_else(|why| panic!("{why}"))
}

/// Like [`run`], for what may fail: returns the output of the failure instead of a panic.
pub(crate) fn attempt<W: AsRef<OsStr>>(words: &[W]) -> Result<String, String> {
    let output = Command::new("timeout")
        .args(["--kill-after=5", "120"])
        .args(words)
        .current_dir("/")
        .stdin(std::process::Stdio::null())
        .output()
        .expect("coreutils are part of every Linux");
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let words: Vec<_> = words.iter().map(AsRef::as_ref).collect();
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{} of {words:?}\n{text}\n{errors}", output.status));
    }
    Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
}
