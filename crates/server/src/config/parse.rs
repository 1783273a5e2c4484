//! How the text of a setting becomes a value. Every error completes the sentence «the value …».

use axum::http::HeaderValue;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Reads a boolean in any case.
pub fn flag(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("must be true or false".to_owned()),
    }
}

/// Reads a name that people will see: up to 100 characters, none of them a control character.
pub fn label(text: &str) -> Result<String, String> {
    let fits = text.chars().count() <= 100 && !text.contains(char::is_control);
    if fits { Ok(text.to_owned()) } else { Err("must be up to 100 visible characters".to_owned()) }
}

/// Reads text that is valid in a header or a URL: visible ASCII, so that every client can send it.
pub fn visible(text: &str) -> Result<String, String> {
    let fits = text.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { Ok(text.to_owned()) } else { Err("must be visible ASCII characters".to_owned()) }
}

/// Reads any text without control characters.
pub fn one_line(text: &str) -> Result<String, String> {
    if text.contains(char::is_control) {
        return Err("must not contain control characters".to_owned());
    }
    Ok(text.to_owned())
}

/// Reads `scheme://…`; which schemes there are is known where the store and the gate are opened.
pub fn url(text: &str) -> Result<String, String> {
    let has_scheme = text.split_once("://").is_some_and(|(scheme, rest)| {
        let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        !scheme.is_empty() && scheme.chars().all(is_scheme) && !rest.is_empty()
    });
    if has_scheme && !text.contains(char::is_control) {
        return Ok(text.to_owned());
    }
    Err("must be a URL: scheme://user:password@host:port/name".to_owned())
}

/// Reads an address or the name of a host, without scheme and port.
pub fn host(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let is_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    // What ends in a number is an address, or a mistake: no name does.
    let is_number =
        text.rsplit('.').next().is_some_and(|end| end.bytes().all(|b| b.is_ascii_digit()));
    let is_host =
        if is_number { text.parse::<Ipv4Addr>().is_ok() } else { text.chars().all(is_name) };
    if bare.parse::<Ipv6Addr>().is_ok() || is_host {
        return Ok(bare.to_owned());
    }
    Err("must be an address or a host name, without scheme and port".to_owned())
}

/// Reads a list: JSON, JSON without its inner quotes, or items between commas.
pub fn list(text: &str) -> Result<Vec<String>, String> {
    let items = match text.strip_prefix('[') {
        None => text,
        Some(_) if serde_json::from_str::<Vec<String>>(text).is_ok() => {
            return serde_json::from_str(text).map_err(|error| error.to_string());
        }
        Some(rest) => rest.strip_suffix(']').ok_or("must end with ]")?,
    };
    let bare = |item: &str| item.trim().trim_matches(['"', '\'']).to_owned();
    Ok(items.split(',').map(bare).filter(|item| !item.is_empty()).collect())
}

/// Who may read answers in a browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Pages of these origins; of none when empty.
    Only(Vec<HeaderValue>),
    /// Any page.
    Any,
}

impl Origins {
    /// Reads a list of origins, or `*` alone.
    pub fn parse(text: &str) -> Result<Self, String> {
        let items = list(text)?;
        if items == ["*"] {
            return Ok(Self::Any);
        }
        items.iter().map(|item| origin(item)).collect::<Result<_, _>>().map(Self::Only)
    }
}

fn origin(text: &str) -> Result<HeaderValue, String> {
    let problem =
        || format!("must be origins such as https://example.com, or *; {text:?} is not an origin");
    let (scheme, place) = text.split_once("://").ok_or_else(problem)?;
    let (host_name, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (place, None),
    };
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    if scheme.is_empty() || host_name.is_empty() || !scheme.chars().all(is_scheme) {
        return Err(problem());
    }
    host(host_name).map_err(|_| problem())?;
    let port = port.map(|port| port.parse::<u16>().map_err(|_| problem())).transpose()?;
    let scheme = scheme.to_ascii_lowercase();
    // Browsers leave out the usual port, and compare letter by letter.
    let port = match (scheme.as_str(), port) {
        (_, Some(0)) => return Err(problem()),
        ("http", Some(80)) | ("https", Some(443)) | (_, None) => String::new(),
        (_, Some(port)) => format!(":{port}"),
    };
    let origin = format!("{scheme}://{}{port}", host_name.to_ascii_lowercase());
    HeaderValue::from_str(&origin).map_err(|_| problem())
}

/// Addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u32,
}

impl Network {
    /// Reads one address, or a network such as `10.0.0.0/8`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let problem = || format!("must be addresses or networks; {text:?} is neither");
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| problem())?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits: u32 = prefix.map_or(Ok(bits_max), str::parse).map_err(|_| problem())?;
        // An IPv4 network written as IPv6 is that IPv4 network.
        let network = match (address.to_canonical(), prefix_bits.checked_sub(96)) {
            (ipv4 @ IpAddr::V4(_), Some(prefix_bits)) if address.is_ipv6() => {
                Self { address: ipv4, prefix_bits }
            }
            _ => Self { address, prefix_bits },
        };
        (prefix_bits <= bits_max).then_some(network).ok_or_else(problem)
    }

    /// Whether `address` is one of them; an IPv4 address written as IPv6 counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differing_bits = 32 - self.prefix_bits;
                // A shift by all bits returns `None` on both sides: every address is inside.
                own.to_bits().checked_shr(differing_bits)
                    == other.to_bits().checked_shr(differing_bits)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differing_bits = 128 - self.prefix_bits;
                own.to_bits().checked_shr(differing_bits)
                    == other.to_bits().checked_shr(differing_bits)
            }
            _ => false,
        }
    }
}

/// Encodes `text` as one part of a URL.
pub fn percent_encoded(text: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|b| if keep(b) { char::from(b).into() } else { format!("%{b:02X}") }).collect()
}

/// A URL without its passwords. If its parts cannot be distinguished, more is hidden than
/// necessary.
pub fn masked(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return "********".to_owned();
    };
    let is_secret = |name: &str| {
        let name = name.to_ascii_lowercase();
        ["pass", "secret", "token"].iter().any(|part| name.contains(part))
    };
    let (user_info, rest) = match rest.rsplit_once('@') {
        // The last @ may be one of a password in the query.
        Some((before, _)) if before.contains('?') && is_secret(before) => {
            return format!("{scheme}://********");
        }
        Some((user_info, rest)) => match user_info.split_once(':') {
            Some((user, _)) => (format!("{user}:********@"), rest),
            None => (format!("{user_info}@"), rest),
        },
        None => (String::new(), rest),
    };
    let (place, query) = rest.split_once('?').map_or((rest, None), |(p, q)| (p, Some(q)));
    // A port that is not a number is a password whose @ is missing.
    let hosts = place.split('/').next().unwrap_or(place).split(',');
    let after_host = |host: &str| host.rsplit_once(']').map_or(host, |(_, port)| port).to_owned();
    let is_port = |host: &str| {
        let host = after_host(host);
        host.split_once(':').is_none_or(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
    };
    if user_info.is_empty() && !scheme.starts_with("sqlite") && !hosts.clone().all(is_port) {
        return format!("{scheme}://********");
    }
    let hide = |pair: &str| match pair.split_once('=') {
        Some((name, _)) if is_secret(name) => format!("{name}=********"),
        _ => pair.to_owned(),
    };
    let query = query.map(|query| query.split('&').map(hide).collect::<Vec<_>>().join("&"));
    let query = query.map_or(String::new(), |query| format!("?{query}"));
    format!("{scheme}://{user_info}{place}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_and_lists_are_read_in_every_form() {
        for (text, value) in
            [("TRUE", true), ("on", true), ("1", true), ("No", false), ("0", false)]
        {
            assert_eq!(flag(text), Ok(value), "{text}");
        }
        assert!(flag("maybe").is_err());
        for text in [r#"["a","b"]"#, "[a, b]", "a,b", " a , b ,", "['a', 'b']", "[a,b,]"] {
            assert_eq!(list(text).unwrap(), ["a", "b"], "{text}");
        }
        assert_eq!(list("[]").unwrap(), [""; 0]);
        assert!(list("[a, b").is_err());
    }

    #[test]
    fn a_host_has_neither_scheme_nor_port() {
        for (text, host_name) in
            [("0.0.0.0", "0.0.0.0"), ("[::1]", "::1"), ("db-1.lan", "db-1.lan")]
        {
            assert_eq!(host(text).unwrap(), host_name);
        }
        for bad in ["http://x", "localhost:80", "a b", "[::1]:80", "a/b", "256.0.0.1", "10.1", "7"]
        {
            assert!(host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn origins_are_scheme_and_host() {
        let only = |origin| Origins::Only(vec![HeaderValue::from_static(origin)]);
        assert_eq!(Origins::parse("*"), Ok(Origins::Any));
        assert_eq!(Origins::parse("http://Localhost:3000"), Ok(only("http://localhost:3000")));
        assert_eq!(Origins::parse("https://a.example:443"), Ok(only("https://a.example")));
        assert_eq!(Origins::parse("http://[::1]:8080"), Ok(only("http://[::1]:8080")));
        for bad in [
            "example.com",
            "https://a/",
            "https://a/b",
            "https://",
            "*, https://a",
            "null",
            "https://a:99999",
            "https://a:b",
            "https://a:0",
            "https://[::1",
            "https://256.0.0.1",
        ] {
            assert!(Origins::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_network_contains_its_addresses_only() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("10.1.2.3/8", "::ffff:10.0.0.1", "fe80::1"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("::/0", "2001:db8::1", "1.2.3.4"),
            ("fd00::/8", "fdff::1", "fe00::1"),
            ("::ffff:10.0.0.0/104", "10.255.0.1", "11.0.0.0"),
            ("::ffff:192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("::ffff:0:0/96", "::ffff:1.2.3.4", "2001:db8::1"),
        ] {
            let network = Network::parse(network).unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{network:?} {inside}");
            assert!(!network.contains(outside.parse().unwrap()), "{network:?} {outside}");
        }
        for bad in [
            "",
            "10.0.0.0/33",
            "10.0.0/8",
            "::/129",
            "::ffff:10.0.0.0/129",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "proxy",
        ] {
            assert!(Network::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_masked_url_shows_no_password() {
        for (url, shown) in [
            ("sqlite://./data/reservix.db", "sqlite://./data/reservix.db"),
            ("postgres://me:pa:ss/@w?o#rd@db:5432/x", "postgres://me:********@db:5432/x"),
            ("redis://:hunter2@cache:6379", "redis://:********@cache:6379"),
            ("redis://me@cache", "redis://me@cache"),
            (
                "postgres://db/x?user=me&password=a&x=1",
                "postgres://db/x?user=me&password=********&x=1",
            ),
            ("postgres://db:5432/x?user=me&password=a@b", "postgres://********"),
            ("postgres://db/x?sslpassword=a", "postgres://db/x?sslpassword=********"),
            (
                "redis+sentinel://me:hunter2@one:26379,two:26379/sale?sentinel_password=hunter2",
                "redis+sentinel://me:********@one:26379,two:26379/sale?sentinel_password=********",
            ),
            (
                "rediss+sentinel://:hunter2@one,two,three/sale",
                "rediss+sentinel://:********@one,two,three/sale",
            ),
            (
                "redis+cluster://me:hunter2@one:6379,me:hunter2@two:6379",
                "redis+cluster://me:********@two:6379",
            ),
            (
                "rediss+cluster://:hunter2@[::1]:1,[::2]:2",
                "rediss+cluster://:********@[::1]:1,[::2]:2",
            ),
            ("redis+cluster://one:1,two:2", "redis+cluster://one:1,two:2"),
            ("postgres://me:hunter2", "postgres://********"),
            ("postgres://me:hunter2/x", "postgres://********"),
            ("hunter2", "********"),
        ] {
            assert_eq!(masked(url), shown);
        }
        assert_eq!(percent_encoded("pa ss/@é"), "pa%20ss%2F%40%C3%A9");
    }
}
