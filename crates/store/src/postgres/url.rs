//! `DATABASE_URL` of a PostgreSQL: what of it can never work is said before anything is tried.
//!
//! No error repeats what may be a password.

use engine::Fault;
use sqlx::postgres::PgConnectOptions;

/// The allowed parameters of the query.
const PARAMETERS: [&str; 17] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];
/// What names a file.
const FILES: [&str; 7] =
    ["sslrootcert", "ssl-root-cert", "ssl-ca", "sslcert", "ssl-cert", "sslkey", "ssl-key"];
const SSL_MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/// Says what is wrong with a URL.
pub(crate) fn check(url: &str) -> Result<(), String> {
    let (_, rest) = url.split_once("://").ok_or("it has no scheme, such as postgres://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    one_host(place)?;
    address_in_brackets(place)?;
    let (host, port) = match place.rsplit_once(']') {
        Some((_, port)) => (place, port.strip_prefix(':')),
        None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    if let Some(port) = port {
        check_port(port)?;
    }
    if host.is_empty() && (port.is_some() || authority.contains('@')) {
        return Err("it names no host".to_owned());
    }
    if rest.contains('#') {
        return Err("it has a fragment, which is not supported; write # as %23".to_owned());
    }
    for (name, value) in parameters(url) {
        match name {
            "port" => check_port(value)?,
            "host" | "hostaddr" => one_host(value)?,
            "sslmode" | "ssl-mode" if !SSL_MODES.contains(&value) => {
                return Err(format!("its sslmode is none of {}", SSL_MODES.join(", ")));
            }
            _ => {}
        }
    }
    used(url).parse::<PgConnectOptions>().map(drop).map_err(|error| error.to_string())
}

/// The way to the database of a URL.
pub(super) fn parse(url: &str) -> Result<PgConnectOptions, Fault> {
    let wrong = |what| Fault::Unsuitable { what: format!("DATABASE_URL is invalid: {what}") };
    check(url).map_err(wrong)?;
    for (name, value) in parameters(url).filter(|(name, _)| FILES.contains(name)) {
        let path = value.replace("%2F", "/").replace("%2f", "/");
        if let Err(error) = std::fs::File::open(&path) {
            return Err(wrong(format!("its {name}, {path}, cannot be read: {error}")));
        }
    }
    let unused = parameters(url).filter(|(name, _)| !is_used(name)).count();
    if unused > 0 {
        tracing::warn!(unused, "DATABASE_URL has parameters that are ignored");
    }
    used(url).parse().map_err(|error: sqlx::Error| wrong(error.to_string()))
}

fn one_host(text: &str) -> Result<(), String> {
    if text.contains(',') || text.to_ascii_lowercase().contains("%2c") {
        return Err(
            "it names several hosts, but only one is supported: use an address that follows the \
             primary, such as that of a proxy"
                .to_owned(),
        );
    }
    Ok(())
}

/// An IPv6 address has a bracket on either side; otherwise its colons look like that of a port.
fn address_in_brackets(place: &str) -> Result<(), String> {
    let after = match place.strip_prefix('[') {
        Some(address) => address.split_once(']').map(|(_, after)| after),
        None => Some("").filter(|_| place.matches(':').count() < 2),
    };
    if after.is_some_and(|after| after.is_empty() || after.starts_with(':')) {
        return Ok(());
    }
    Err("its IPv6 address does not stand in brackets, such as [::1] or [::1]:5432".to_owned())
}

// The port is not repeated: after a badly written @ it is a part of the password.
fn check_port(text: &str) -> Result<(), String> {
    match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(()),
        _ => Err(
            "its port is not a number from 1 to 65535; in a password write / as %2F, ? as %3F, \
                  # as %23, @ as %40 and : as %3A"
                .to_owned(),
        ),
    }
}

/// The names and values of the query.
fn parameters(url: &str) -> impl Iterator<Item = (&str, &str)> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

fn is_used(name: &str) -> bool {
    PARAMETERS.contains(&name) || name.starts_with("options[") || name.starts_with("options%5B")
}

/// The URL without the parameters that mean nothing: the driver would put their values into the log.
fn used(url: &str) -> String {
    let Some((place, _)) = url.split_once('?') else { return url.to_owned() };
    let used = parameters(url).filter(|(name, _)| is_used(name));
    let pairs: Vec<_> = used.map(|(name, value)| format!("{name}={value}")).collect();
    if pairs.is_empty() { place.to_owned() } else { format!("{place}?{}", pairs.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_can_work_is_taken() {
        for url in [
            "postgres://db/x",
            "postgresql://me:pass%40word@db:5432/x",
            "postgres://me@[::1]:5432/x",
            "postgres://me@[::1]/x?sslmode=verify-full&sslrootcert=/etc/ca.pem",
            "postgres:///x?host=/var/run/postgresql",
            "postgres://%2Fvar%2Frun%2Fpostgresql/x",
            "postgres://db/x?options=-c%20search_path%3Dsale",
            // Of other drivers, and of no consequence here.
            "postgres://db/x?channel_binding=require&connect_timeout=10",
        ] {
            assert_eq!(check(url), Ok(()), "{url}");
        }
    }

    #[test]
    fn what_can_never_work_is_said_without_the_secret() {
        for (url, said) in [
            ("postgres://me:secret@db:99999/x", "port"),
            ("postgres://me:secret@db:0/x", "port"),
            ("postgres://me:secret@db:/x", "port"),
            ("postgres://me:sec/ret@db/x", "port"),
            ("postgres://me:secret", "port"),
            ("postgres://me:secret@[::1]:70000/x", "port"),
            ("postgres://me:secret@[::1/x", "brackets"),
            ("postgres://me:secret@::1/x", "brackets"),
            ("postgres://me:secret@::1]/x", "brackets"),
            ("postgres://me:secret@[::1]5432/x", "brackets"),
            ("postgres://me:secret@db/x?port=65536", "port"),
            ("postgres://me:secret@one,two/x", "several hosts"),
            ("postgres://me:secret@one:5432,two:5432/x", "several hosts"),
            ("postgres://db/x?host=one,two", "several hosts"),
            ("postgres://me:secret@db/x?sslmode=perhaps", "verify-full"),
            ("postgres://me:secret@db/x?sslmode=", "verify-full"),
            ("postgres://me:secret@/x", "no host"),
            ("postgres://me:secret@db/x#y", "%23"),
            ("postgres://me:secret@d b/x", "invalid"),
            ("postgres://me:secret@db/x?hostaddr=secret", "invalid"),
        ] {
            let wrong = check(url).expect_err(url);
            assert!(wrong.contains(said), "{url}: {wrong}");
            assert!(!wrong.contains("secret"), "{url}: {wrong}");
        }
    }

    #[test]
    fn what_means_nothing_does_not_reach_the_driver() {
        let url = "postgres://db/x?sslpassword=secret&sslmode=require&pgbouncer=true";
        assert_eq!(used(url), "postgres://db/x?sslmode=require");
        assert_eq!(used("postgres://db/x?schema=a"), "postgres://db/x");
    }
}
