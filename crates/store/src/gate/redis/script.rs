//! The scripts: what a call to Redis is made of.
//!
//! Each script answers `{the server's clock in ms, what was asked}`, and running it twice is the same
//! as running it once, except for the counters. All keys of a call share one hash tag.

use redis::{Cmd, Script};
use std::sync::LazyLock;

/// The scripts by what they do. A server that does not know one yet is sent its text.
pub(super) static READ: LazyLock<Source> = LazyLock::new(|| Source::new(include_str!("read.lua")));
pub(super) static MARKS: LazyLock<Source> =
    LazyLock::new(|| Source::new(include_str!("marks.lua")));
pub(super) static SETTLE: LazyLock<Source> =
    LazyLock::new(|| Source::new(include_str!("settle.lua")));
pub(super) static FORGET: LazyLock<Source> =
    LazyLock::new(|| Source::new(include_str!("forget.lua")));
pub(super) static TALLY: LazyLock<Source> =
    LazyLock::new(|| Source::new(include_str!("tally.lua")));
pub(super) static PROBE: LazyLock<Source> =
    LazyLock::new(|| Source::new(include_str!("probe.lua")));

/// A script and its digest.
pub(super) struct Source {
    pub text: &'static str,
    digest: String,
}

impl Source {
    pub fn new(text: &'static str) -> Self {
        Self { text, digest: Script::new(text).get_hash().to_owned() }
    }
}

/// One call of a script.
pub(super) struct Call {
    source: &'static Source,
    keys: Vec<String>,
    args: Vec<Vec<u8>>,
}

impl Call {
    pub fn new(source: &'static Source, keys: Vec<String>) -> Self {
        Self { source, keys, args: Vec::new() }
    }

    pub fn arg(mut self, arg: impl ToString) -> Self {
        self.push(arg);
        self
    }

    #[expect(clippy::needless_pass_by_value, reason = "numbers and texts read best without &")]
    pub fn push(&mut self, arg: impl ToString) {
        self.args.push(arg.to_string().into_bytes());
    }

    /// Adds bytes as they are.
    pub fn push_bytes(&mut self, bytes: Vec<u8>) {
        self.args.push(bytes);
    }

    /// The call by the script's digest, as all but the first are made.
    pub fn by_digest(&self) -> Cmd {
        self.command("EVALSHA", &self.source.digest)
    }

    /// The call with the script's text: not `SCRIPT LOAD`, which asks every node of a cluster.
    pub fn by_text(&self) -> Cmd {
        self.command("EVAL", self.source.text)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(self.keys.len()).arg(&self.keys).arg(&self.args);
        command
    }
}
