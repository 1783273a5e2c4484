//! `REDIS_URL`: where Redis is, and how to reach it.
//!
//! ```text
//! redis://[user:password@]host[:port][/database]
//! redis+sentinel://[user:password@]host[:port],host[:port]/master[/database]
//! redis+cluster://[user:password@]host[:port],host[:port]
//! ```
//! `rediss` instead of `redis` is the same over TLS. No error and no description shows a password.

use std::fmt;

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
/// The maximum number of hosts in a URL.
const HOSTS_MAX: usize = 32;

/// Where Redis is. Not `Debug`: it knows the password.
pub(super) struct Target {
    pub kind: Kind,
    pub tls: bool,
    pub user: Option<String>,
    pub password: Option<String>,
    pub hosts: Vec<(String, u16)>,
    pub database: i64,
}

/// The kind of server at the hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One server.
    Single,
    /// Sentinels, which know the server of this name.
    Sentinel { master: String },
    /// Nodes of a cluster.
    Cluster,
}

/// Whether `scheme` is one of ours.
pub(in crate::gate) fn knows(scheme: &str) -> bool {
    kind_and_tls(scheme).is_some()
}

fn kind_and_tls(scheme: &str) -> Option<(Kind, bool)> {
    let (base, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
    let tls = match base {
        "redis" => false,
        "rediss" => true,
        _ => return None,
    };
    let kind = match kind {
        "" if !scheme.contains('+') => Kind::Single,
        "sentinel" => Kind::Sentinel { master: String::new() },
        "cluster" => Kind::Cluster,
        _ => return None,
    };
    Some((kind, tls))
}

/// Says what is wrong with a URL.
pub(in crate::gate) fn check(url: &str) -> Result<(), String> {
    parse(url).map(drop)
}

/// Reads a URL, or says what is wrong with it without repeating what may be secret.
pub(super) fn parse(url: &str) -> Result<Target, String> {
    let (scheme, rest) = url.split_once("://").ok_or("it has no scheme, such as redis://")?;
    let (mut kind, tls) = kind_and_tls(scheme).ok_or("its scheme is unknown")?;
    if rest.contains(['?', '#']) {
        return Err("it has a query or a fragment, which are not supported; write ? as %3F and # \
            as %23 in a password"
            .to_owned());
    }
    // The last @ ends the password: one that has a / in it is still understood.
    let (credentials, place) = match rest.rsplit_once('@') {
        Some((credentials, place)) => (Some(credentials), place),
        None => (None, rest),
    };
    let (user, password) = credentials.map_or(Ok((None, None)), read_credentials)?;
    let (hosts, path) = place.split_once('/').unwrap_or((place, ""));
    let port = if matches!(kind, Kind::Sentinel { .. }) { SENTINEL_PORT } else { PORT };
    let hosts = read_hosts(hosts, port)?;
    if kind == Kind::Single && hosts.len() > 1 {
        return Err(format!(
            "it names several hosts: use {scheme}+cluster:// or {scheme}+sentinel://"
        ));
    }
    let database = match &mut kind {
        Kind::Sentinel { master } => {
            let (name, database) = path.split_once('/').unwrap_or((path, ""));
            if name.is_empty() {
                return Err("the name of the master is missing: host:26379/NAME".to_owned());
            }
            *master =
                decoded(name).ok_or("the percent-encoding of the master's name is invalid")?;
            database
        }
        Kind::Cluster if !path.is_empty() => {
            return Err("it names a database, but a cluster has only one".to_owned());
        }
        Kind::Single | Kind::Cluster => path,
    };
    let database = read_database(database)?;
    Ok(Target { kind, tls, user, password, hosts, database })
}

type Credentials = (Option<String>, Option<String>);

fn read_credentials(text: &str) -> Result<Credentials, String> {
    let (user, password) =
        text.split_once(':').ok_or("the password of the user is missing: user:password@")?;
    let read =
        |text| decoded(text).ok_or("the percent-encoding of its user or password is invalid");
    let (user, password) = (read(user)?, read(password)?);
    if password.is_empty() && !user.is_empty() {
        return Err("the password of its user is empty".to_owned());
    }
    let given = |text: String| (!text.is_empty()).then_some(text);
    Ok((given(user), given(password)))
}

fn read_hosts(text: &str, port: u16) -> Result<Vec<(String, u16)>, String> {
    let hosts: Vec<_> =
        text.split(',').map(|host| read_host(host, port)).collect::<Result<_, _>>()?;
    if hosts.len() > HOSTS_MAX {
        return Err(format!("it names more than {HOSTS_MAX} hosts"));
    }
    Ok(hosts)
}

/// Reads `host`, `host:port`, `[v6]` or `[v6]:port`.
fn read_host(text: &str, default: u16) -> Result<(String, u16), String> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or("a [ has no ]")?;
        (host, rest.strip_prefix(':').or(rest.is_empty().then_some("")))
    } else {
        let (host, port) = text.split_once(':').unwrap_or((text, ""));
        (host, Some(port))
    };
    if host.is_empty() {
        return Err("a host is missing".to_owned());
    }
    let port = match port {
        Some("") => default,
        Some(port) => match port.parse() {
            Ok(port) if port > 0 => port,
            // Not repeated: after a badly placed @ it may be a part of the password.
            _ => return Err("a port is not a number from 1 to 65535".to_owned()),
        },
        None => return Err("there are characters between a ] and its port".to_owned()),
    };
    Ok((host.to_owned(), port))
}

fn read_database(text: &str) -> Result<i64, String> {
    match text {
        "" => Ok(0),
        text => match text.parse::<u16>() {
            Ok(database) => Ok(database.into()),
            Err(_) => Err("its database is not a number".to_owned()),
        },
    }
}

/// Undoes percent-encoding.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, tail @ ..] = rest else { return None };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        bytes.push(u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

/// What it is and where, without secrets.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Single => "Redis at ",
            Kind::Sentinel { .. } => "Redis behind the sentinels at ",
            Kind::Cluster => "Redis Cluster at ",
        })?;
        for (index, (host, port)) in self.hosts.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
            write!(f, "{comma}{open}{host}{close}:{port}")?;
        }
        if let Kind::Sentinel { master } = &self.kind {
            write!(f, " (master {master})")?;
        }
        f.write_str(if self.tls { " over TLS" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_the_url_is_read() {
        let told = |url: &str| {
            let target = parse(url).unwrap_or_else(|wrong| panic!("{url}: {wrong}"));
            assert!(knows(url.split(':').next().expect("a scheme")), "{url}");
            let password = target.password.clone().unwrap_or_default();
            let user = target.user.clone().unwrap_or_default();
            format!("{target} user={user} password={password} db={}", target.database)
        };
        for (url, expected) in [
            ("redis://h", "Redis at h:6379 user= password= db=0"),
            ("redis://h:1/2", "Redis at h:1 user= password= db=2"),
            ("redis://[::1]:7", "Redis at [::1]:7 user= password= db=0"),
            ("rediss://u:p%40%2f@h/", "Redis at h:6379 over TLS user=u password=p@/ db=0"),
            ("redis://:p@w@h", "Redis at h:6379 user= password=p@w db=0"),
            (
                "redis+sentinel://a,b:9/main/3",
                "Redis behind the sentinels at a:26379, b:9 (master main) user= password= db=3",
            ),
            ("redis+cluster://u:p@a:1,b", "Redis Cluster at a:1, b:6379 user=u password=p db=0"),
            ("rediss+cluster://a", "Redis Cluster at a:6379 over TLS user= password= db=0"),
        ] {
            assert_eq!(told(url), expected, "{url}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_and_no_secret() {
        for (url, said) in [
            ("redis:h", "no scheme"),
            ("redis+magic://h", "scheme is unknown"),
            ("redis+://h", "scheme is unknown"),
            ("redis://", "a host is missing"),
            ("redis://u:secret@", "a host is missing"),
            ("redis://u:secret@h:0", "a port"),
            ("redis://u:secret@h:port", "a port"),
            ("redis://u:sec?ret@h", "query"),
            ("redis://u:%zzsecret@h", "percent-encoding"),
            ("redis://secret@h", "password of the user is missing"),
            ("redis://u:@h", "is empty"),
            ("redis://u:secret@h/one", "database is not a number"),
            ("redis://u:secret@a,b", "redis+cluster://"),
            ("redis+cluster://u:secret@a/1", "a cluster has only one"),
            ("redis+sentinel://u:secret@a", "name of the master is missing"),
            ("redis://[::1", "no ]"),
            ("redis://[::1]x", "between"),
        ] {
            let Err(wrong) = parse(url) else { panic!("{url} is wrong") };
            assert!(wrong.contains(said), "{url}: {wrong}");
            assert!(!wrong.contains("secret"), "{url}: {wrong}");
        }
    }
}
