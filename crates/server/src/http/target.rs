//! The target of a request: one spelling of its path.

use axum::http::Uri;
use axum::http::uri::PathAndQuery;
use std::borrow::Cow;

/// Writes unreserved characters of the path that are percent-encoded as themselves: both spellings are
/// the same path (RFC 3986, section 6.2.2.2). Everything else stays as it came.
pub fn normalize(uri: &mut Uri) {
    let Cow::Owned(path) = with_plain_letters(uri.path()) else { return };
    let target = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let mut parts = std::mem::take(uri).into_parts();
    let target = PathAndQuery::try_from(target).expect("unreserved characters may stand in a path");
    parts.path_and_query = Some(target);
    *uri = Uri::from_parts(parts).expect("the other parts are those of a URI");
}

fn with_plain_letters(path: &str) -> Cow<'_, str> {
    let mut plain = String::new();
    let mut rest = path;
    let mut copied = 0;
    while let Some(at) = rest.find('%') {
        let letter = rest.get(at + 1..at + 3).and_then(unreserved);
        let from = path.len() - rest.len();
        if let Some(letter) = letter {
            plain.push_str(&path[copied..from + at]);
            plain.push(letter);
            copied = from + at + 3;
            rest = &rest[at + 3..];
        } else {
            rest = &rest[at + 1..];
        }
    }
    if copied == 0 {
        return Cow::Borrowed(path);
    }
    plain.push_str(&path[copied..]);
    Cow::Owned(plain)
}

/// The unreserved character that two hexadecimal digits encode.
fn unreserved(digits: &str) -> Option<char> {
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let byte = u8::from_str_radix(digits, 16).ok()?;
    (byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)).then_some(char::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreserved_characters_are_written_as_themselves_and_nothing_else_changes() {
        for (target, normal) in [
            ("/api/v1/bookings/%68old", "/api/v1/bookings/hold"),
            ("/api/v1/bookings/%68%6F%6c%64?q=%68", "/api/v1/bookings/hold?q=%68"),
            ("/%41%7a%30%2D%2e%5F%7E", "/Az0-._~"),
            ("/a%2Fb/%20/%C3%A9/%00", "/a%2Fb/%20/%C3%A9/%00"),
            ("/%2541", "/%2541"),
            ("/%61%2F%62", "/a%2Fb"),
            ("/%4", "/%4"),
            ("/%zz%", "/%zz%"),
            ("/%+1", "/%+1"),
            ("http://x/%61", "http://x/a"),
        ] {
            let mut uri: Uri = target.parse().unwrap_or_else(|error| panic!("{target}: {error}"));
            normalize(&mut uri);
            assert_eq!(uri.to_string(), normal);
        }
    }
}
