//! The addresses of the store and the gate, from the settings.

use super::parse;
use super::reader::Reader;
use secrecy::{ExposeSecret as _, SecretString};
use std::path::Path;

fn store_place(text: &str) -> Result<String, String> {
    let url = parse::url(text)?;
    store::check_store_url(&url).map(|()| url)
}

fn gate_place(text: &str) -> Result<String, String> {
    let url = parse::url(text)?;
    store::check_gate_url(&url).map(|()| url)
}

/// `DATABASE_URL`, or the server that `DB_HOST` and its companions name, or SQLite in `data_dir`.
pub fn store_url(reader: &mut Reader, data_dir: &Path) -> (SecretString, &'static str) {
    let given = reader.optional("DATABASE_URL", store_place).map(SecretString::from);
    let port: u16 = reader.number("DB_PORT");
    let host = reader.optional("DB_HOST", parse::host);
    let name = reader.read("DB_NAME", parse::one_line);
    let user = reader.read("DB_USER", parse::one_line);
    let password = reader.secret("DB_PASSWORD", parse::one_line);
    if let Some(url) = given {
        let is_in_file = reader.is_changed("DATABASE_URL_FILE");
        return (url, if is_in_file { "DATABASE_URL_FILE" } else { "DATABASE_URL" });
    }
    if let Some(host) = host {
        let login = user_info(&user, password.as_ref());
        let name = parse::percent_encoded(&name);
        let url =
            SecretString::from(format!("postgres://{login}{}:{port}/{name}", bracketed(&host)));
        reader.derive("DATABASE_URL", url.clone(), "DB_HOST");
        return (url, "DB_HOST");
    }
    refuse_parts(reader, &["DB_PORT", "DB_NAME", "DB_USER", "DB_PASSWORD"], "DB_HOST");
    let path = data_dir.join("reservix.db");
    let url = SecretString::from(format!("sqlite://{}", path.display()));
    reader.derive("DATABASE_URL", url.clone(), "DATA_DIR");
    (url, "DATA_DIR")
}

/// `REDIS_URL`, or the server that `REDIS_HOST` and its companions name, or `None`.
pub fn gate_url(reader: &mut Reader) -> Option<SecretString> {
    let given = reader.optional("REDIS_URL", gate_place).map(SecretString::from);
    let port: u16 = reader.number("REDIS_PORT");
    let host = reader.optional("REDIS_HOST", parse::host);
    let user = reader.optional("REDIS_USER", parse::one_line).unwrap_or_default();
    let password = reader.secret("REDIS_PASSWORD", parse::one_line);
    if given.is_some() {
        return given;
    }
    let Some(host) = host else {
        refuse_parts(reader, &["REDIS_PORT", "REDIS_USER", "REDIS_PASSWORD"], "REDIS_HOST");
        return None;
    };
    let login = user_info(&user, password.as_ref());
    let url = SecretString::from(format!("redis://{login}{}:{port}", bracketed(&host)));
    reader.derive("REDIS_URL", url.clone(), "REDIS_HOST");
    Some(url)
}

/// Somebody who names a user of a server, but no server, believes to run on it.
fn refuse_parts(reader: &mut Reader, parts: &[&'static str], host: &str) {
    for part in parts {
        if reader.is_changed(part) && reader.are_sound(&[host, part]) {
            reader.refuse(part, &format!("has no effect without {host}"));
        }
    }
}

fn user_info(user: &str, password: Option<&SecretString>) -> String {
    let user = parse::percent_encoded(user);
    match password {
        Some(password) => format!("{user}:{}@", parse::percent_encoded(password.expose_secret())),
        None if user.is_empty() => user,
        None => format!("{user}@"),
    }
}

/// A host in the form of a URL.
pub fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}
