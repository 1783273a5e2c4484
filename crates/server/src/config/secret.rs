//! The signing key of an embedded store: generated once, stored next to the data.

use secrecy::SecretString;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// The fewest bytes of a key: HMAC-SHA-256 gains nothing from more, and loses with less.
pub const SECRET_BYTES_MIN: usize = 32;
/// Whatever group and others may do with a file.
const OTHERS: u32 = 0o077;

/// The key in `data_dir/secret_key`; made of 32 random bytes, in hex, when there is none.
///
/// Even if it is interrupted or runs concurrently, the file appears with
/// its whole content, readable by its owner only, and every caller gets the one key in it. A key that
/// others could read is made private, too. An error names the file.
pub fn load_or_create_secret(data_dir: &Path) -> io::Result<SecretString> {
    let path = data_dir.join("secret_key");
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    if !path.try_exists().map_err(named)? {
        DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(named)?;
        create(&path).map_err(named)?;
    }
    let key = fs::read_to_string(&path).map_err(named)?;
    let others = fs::metadata(&path).map_err(named)?.permissions().mode() & OTHERS;
    if others != 0 {
        fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(named)?;
    }
    if key.trim().len() < SECRET_BYTES_MIN {
        let problem =
            format!("{} contains no key; remove the file to generate a new key", path.display());
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
    fn a_key_that_others_could_read_is_made_private_and_an_error_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret_key");
        fs::write(&path, "0123456789abcdef0123456789abcdef").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        load_or_create_secret(folder.path()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        // There is a file in place of the folder.
        let error = load_or_create_secret(&path.join("below")).unwrap_err().to_string();
        assert!(error.contains("secret_key/below/secret_key"), "{error}");
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
        assert!(error.to_string().contains("contains no key"), "{error}");
    }
}
