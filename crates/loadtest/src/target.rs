//! Where the load goes: an address such as `http://127.0.0.1:8000`.

use crate::pulse::Pulse;
use crate::trouble::Trouble;
use hyper::Uri;
use hyper::body::Bytes;
use hyper::header::HeaderValue;
use std::sync::Arc;

/// Below which the calls of the API are.
pub const API: &str = "/api/v1";

/// A server, taken apart once.
#[derive(Clone, Debug)]
pub struct Target {
    /// As it is shown: without a slash at the end.
    pub base: String,
    /// For `Host`.
    pub host: HeaderValue,
    /// What is connected to: host and port.
    pub dial: String,
    /// Whether it is still there.
    pub pulse: Arc<Pulse>,
    prefix: String,
}

impl Target {
    /// Reads an address. `https` is refused: TLS ends in front of a Reservix, and the tool speaks to what
    /// is behind it.
    pub fn parse(text: &str) -> Result<Self, Trouble> {
        let wrong = |why: &str| Trouble::new(format!("{text}: {why}"));
        let uri: Uri = text.parse().map_err(|_| wrong("not a URL; try http://127.0.0.1:8000"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err(wrong(
                    "https is not supported; use the address of the server behind the TLS proxy",
                ));
            }
            _ => return Err(wrong("a URL must start with http://")),
        }
        let authority = uri.authority().ok_or_else(|| wrong("the host is missing"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("a URL with a user is not supported"));
        }
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| wrong("no host"))?;
        let dial = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80));
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Self {
            base: format!("http://{authority}{prefix}"),
            host,
            dial,
            pulse: Arc::default(),
            prefix,
        })
    }

    /// The target of a request for `path`, which begins with a slash.
    pub fn uri(&self, path: &str) -> Result<Uri, Trouble> {
        let whole = Bytes::from(format!("{}{path}", self.prefix));
        Uri::from_maybe_shared(whole).map_err(|error| Trouble::because(path, error))
    }

    /// The same for a path below [`API`] which is known to be well formed.
    pub fn api(&self, path: std::fmt::Arguments<'_>) -> Uri {
        let whole = Bytes::from(format!("{}{API}{path}", self.prefix));
        Uri::from_maybe_shared(whole).expect("ids and fixed words make a path")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        let target = Target::parse("http://127.0.0.1:8000/").unwrap();
        assert_eq!(
            (target.base.as_str(), target.dial.as_str()),
            ("http://127.0.0.1:8000", "127.0.0.1:8000")
        );
        let target = Target::parse("http://tickets.example/shop/").unwrap();
        assert_eq!(target.dial, "tickets.example:80");
        assert_eq!(target.api(format_args!("/events")).path(), "/shop/api/v1/events");
        assert_eq!(Target::parse("http://[::1]:80").unwrap().dial, "[::1]:80");
    }

    #[test]
    fn what_cannot_be_reached_says_why() {
        let why = |text| Target::parse(text).unwrap_err().to_string();
        assert!(why("https://tickets.example").contains("https is not supported"));
        assert!(why("tickets.example").contains("http://"));
        assert!(why("http://me:secret@tickets.example").contains("user is not supported"));
    }
}
