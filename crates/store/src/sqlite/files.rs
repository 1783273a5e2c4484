//! The files of the database: who may read them, and what is said when we may not.
//!
//! They hold addresses and password hashes, so they are readable by their owner only, also in a
//! folder that others may enter. SQLite creates its `-wal` and `-shm` with the mode of the database
//! itself.

use crate::unavailable;
use engine::Fault;
use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{Error, ErrorKind};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Reading and writing by the owner.
const PRIVATE: u32 = 0o600;
/// Whatever group and others may do.
const OTHERS: u32 = 0o077;

/// Makes the database at `path` and the files beside it readable by their owner only, and makes the first
/// where there is none yet.
pub(super) fn make_private(path: &Path) -> Result<(), Fault> {
    const DOING: &str = "opening the database file";
    open_private(path).map_err(failed(DOING, "opening", path))?;
    for file in beside(path) {
        match narrow(&file) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(failed(DOING, "making private", &file)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Opens a file for writing, and lets nobody but its owner at it; makes an empty one where there is none.
pub(super) fn open_private(path: &Path) -> Result<File, Error> {
    let mut options = File::options();
    options.create(true).truncate(false).write(true).mode(PRIVATE);
    let file = options.open(path)?;
    narrow(path)?;
    Ok(file)
}

/// Takes from group and others what they may do with a file.
fn narrow(path: &Path) -> Result<(), Error> {
    let mode = fs::metadata(path)?.permissions().mode();
    let is_private = mode & OTHERS == 0;
    if is_private { Ok(()) } else { fs::set_permissions(path, Permissions::from_mode(PRIVATE)) }
}

/// Looks whether there is a database at `path` that this user may read.
pub(super) fn check_readable(path: &Path) -> Result<(), Fault> {
    const DOING: &str = "opening the database file";
    let read = |file: &Path| match File::open(file) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed(DOING, "reading", file)(error)),
    };
    if !read(path)? {
        let missing = format!("there is no database at {}", path.display());
        return Err(unavailable(DOING)(missing));
    }
    for file in beside(path) {
        read(&file)?;
    }
    Ok(())
}

/// What SQLite keeps beside the database.
fn beside(path: &Path) -> impl Iterator<Item = PathBuf> {
    ["-wal", "-shm"].into_iter().map(move |ending| {
        let mut name = OsString::from(path);
        name.push(ending);
        name.into()
    })
}

/// Turns a failure of the file system into a fault that names the file, and who could do better.
pub(super) fn failed(
    doing: &'static str,
    step: &'static str,
    path: &Path,
) -> impl FnOnce(Error) -> Fault {
    move |error| {
        let hint = match error.kind() {
            ErrorKind::PermissionDenied => "; run it as the owner of the folder",
            _ => "",
        };
        unavailable(doing)(format!("{step} {}: {error}{hint}", path.display()))
    }
}
