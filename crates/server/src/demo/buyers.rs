//! Buyers for a load test: a file with an access token on each line.
//!
//! A token identifies its user, and a booking does not depend on a row of users: so the buyers need
//! no account, nothing is written to the store, and the server may be running. They can hold,
//! confirm, extend, cancel and list; they cannot log in, and `/users/me` does not find them.

use crate::Failure;
use crate::config::Config;
use crate::http::token::Tokens;
use crate::random::random;
use crate::{print, serve};
use engine::account::ACCESS_TOKEN_TTL_SECONDS_MAX;
use engine::{Shard, UserId};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The maximum number of buyers of one file, which is then 240 MB.
const BUYERS_MAX: i64 = 1_000_000;
/// The longest life of their tokens.
const HOURS_MAX: i64 = 24;
// A cutoff is kept for no longer.
const _: () = assert!(HOURS_MAX.cast_unsigned() * 3_600 <= ACCESS_TOKEN_TTL_SECONDS_MAX);

/// The options for buyers.
#[derive(clap::Args)]
pub(super) struct Buyers {
    /// Write access tokens of N new buyers, for reservix-load --tokens
    ///
    /// The tokens are signed with the server's key: `SECRET_KEY`, or the one in `DATA_DIR`. The
    /// buyers have no account: they can book but not log in.
    #[arg(id = "buyers", long = "buyers", value_name = "N", conflicts_with_all = ["url", "bookings"],
        value_parser = clap::value_parser!(u32).range(1..=BUYERS_MAX))]
    pub(super) count: Option<u32>,
    /// The file, readable only by its owner; an existing file is replaced
    #[arg(long, value_name = "FILE", requires = "buyers", default_value = "tokens.txt")]
    tokens: PathBuf,
    /// The lifetime of the tokens in hours, 1 to 24; the default is that of access tokens
    #[arg(long, requires = "buyers", value_parser = clap::value_parser!(u32).range(1..=HOURS_MAX))]
    hours: Option<u32>,
}

/// Writes the tokens of `count` buyers.
pub(super) fn run(config: &Config, count: u32, buyers: &Buyers) -> Result<(), Failure> {
    // Who makes the folder first decides who may look into it, and that is the store.
    if config.secret_key.is_none() && !config.data_dir.is_dir() {
        return Err(Failure::plain(format!(
            "there is no signing key in {}: start `reservix serve` first, or set SECRET_KEY",
            config.data_dir.display()
        )));
    }
    let ttl = buyers
        .hours
        .map_or(config.access_token_ttl, |hours| Duration::from_hours(u64::from(hours)));
    let tokens = Tokens::new(&serve::signing_key(config)?, ttl);
    let path = &buyers.tokens;
    let draft = path.with_extension(format!("{}.draft", std::process::id()));
    let written = write(&draft, count, &tokens).and_then(|()| fs::rename(&draft, path));
    if let Err(error) = written {
        let _ = fs::remove_file(&draft);
        return Err(Failure::new(path.display(), error));
    }
    let (path, minutes) = (path.display(), ttl.as_secs() / 60);
    print::line(format_args!("wrote {count} tokens to {path}, valid for {minutes} minutes"))
}

fn write(path: &Path, count: u32, tokens: &Tokens) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let mut file: BufWriter<File> = BufWriter::new(file);
    let now = store::clock::wall()();
    for _ in 0..count {
        let [shard, bits] = [random(), random()].map(u64::from_le_bytes);
        let token = tokens.issue(UserId::new(now, Shard::pick(shard), bits), now);
        writeln!(file, "{}", token.map_err(io::Error::other)?)?;
    }
    file.flush()
}
