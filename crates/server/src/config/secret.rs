//! The signing key of an embedded store: made once, kept beside the data.

use secrecy::SecretString;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The fewest bytes of a key: HMAC-SHA-256 gains nothing from more, and loses with less.
pub const SECRET_BYTES_MIN: usize = 32;

/// The key in `data_dir/secret_key`; made of 32 random bytes, in hex, when there is none.
///
/// Whatever interrupts it, and whoever else does the same at the same time: the file appears with
/// its whole content, readable by its owner only, and every caller gets the one key in it.
pub fn load_or_create_secret(data_dir: &Path) -> io::Result<SecretString> {
    let path = data_dir.join("secret_key");
    if !path.try_exists()? {
        fs::create_dir_all(data_dir)?;
        create(&path)?;
    }
    let key = fs::read_to_string(&path)?;
    if key.trim().len() < SECRET_BYTES_MIN {
        let problem = format!("{} holds no key; remove it to get a new one", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    }
    Ok(SecretString::from(key.trim()))
}

fn create(path: &Path) -> io::Result<()> {
    let mut bytes = [0_u8; SECRET_BYTES_MIN];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    let mut key = String::new();
    for byte in bytes {
        write!(key, "{byte:02x}").expect("a String grows");
    }

    let draft = path.with_extension(format!("{}.draft", std::process::id()));
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(key.as_bytes())?;
    file.sync_all()?;
    // A link, unlike a rename, refuses to replace the key that another process was faster to make.
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_key_is_made_once_and_readable_by_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("new/data");
        let first = load_or_create_secret(&data_dir).unwrap();
        let second = load_or_create_secret(&data_dir).unwrap();
        assert_eq!(first.expose_secret().len(), 64);
        assert_eq!(first.expose_secret(), second.expose_secret());
        let mode = fs::metadata(data_dir.join("secret_key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(&data_dir).unwrap().count(), 1, "no draft stays behind");
    }

    #[test]
    fn every_process_that_starts_at_once_gets_the_same_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret_key");
        create(&path).unwrap();
        let key = fs::read_to_string(&path).unwrap();
        create(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), key);
    }

    #[test]
    fn a_damaged_key_is_an_error_and_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("secret_key"), "short").unwrap();
        let error = load_or_create_secret(folder.path()).unwrap_err();
        assert!(error.to_string().contains("holds no key"), "{error}");
    }
}
