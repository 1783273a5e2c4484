//! In place of the bookings in a build without the feature `fill`: says how to get them.

use crate::Failure;
use crate::config::Config;

/// The option that is not there.
#[derive(clap::Args)]
pub(super) struct Bookings {
    #[arg(
        id = "bookings",
        long = "bookings",
        value_name = "N",
        conflicts_with = "url",
        hide = true
    )]
    pub(super) count: Option<u64>,
}

/// Refuses.
#[expect(clippy::unused_async, reason = "as what it stands for")]
pub(super) async fn run(_: &Config, _: u64, _: &Bookings) -> Result<(), Failure> {
    let why = "this build cannot fill a store: `--bookings` is left out of the image; use a binary \
         built by `cargo build --release`";
    Err(Failure::plain(why))
}
