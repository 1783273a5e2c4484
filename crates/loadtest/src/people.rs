//! The accounts of a session: registered through the API, or known by their tokens.

use crate::api::Api;
use crate::stage::{Buyer, Cast};
use crate::target::Target;
use crate::trouble::Trouble;
use hyper::header::HeaderValue;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

/// Buyers of one session.
pub const BUYERS_MAX: usize = 60_000;

/// Who is to play.
pub struct Wanted<'a> {
    /// How many buyers to register if there are no tokens.
    pub buyers: usize,
    /// A file of access tokens.
    pub tokens: Option<&'a Path>,
    /// Whether somebody has to make events.
    pub organizer: bool,
}

/// Finds all buyers. `told` receives the progress.
pub async fn gather(
    target: &Arc<Target>,
    wanted: &Wanted<'_>,
    told: impl Fn(String),
) -> Result<Cast, Trouble> {
    let session: u64 = crate::random::random();
    let mut api = Api::new(target);
    let mut bearers = match wanted.tokens {
        Some(path) => read_tokens(path)?,
        None => Vec::new(),
    };
    let count = if bearers.is_empty() { wanted.buyers } else { 0 };
    for number in 0..count {
        told(format!("registering buyer {} of {count}", number + 1));
        bearers.push(register(&mut api, session, &format!("buyer-{number}")).await?);
    }
    let organizer = if wanted.organizer {
        told("registering an organizer".to_owned());
        Some(register(&mut api, session, "organizer").await?)
    } else {
        None
    };
    let buyers = bearers.iter().map(|bearer| Buyer::new(target, bearer)).collect();
    Ok(Cast { target: Arc::clone(target), buyers, organizer, session })
}

/// One token a line; blank lines and lines that begin with # are skipped.
fn read_tokens(path: &Path) -> Result<Vec<HeaderValue>, Trouble> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Trouble::because(format!("reading {}", path.display()), error))?;
    parse_tokens(&text).map_err(|why| Trouble::because(path.display(), why))
}

fn parse_tokens(text: &str) -> Result<Vec<HeaderValue>, String> {
    let mut bearers = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let is_token = line.bytes().all(|byte| byte.is_ascii_graphic());
        let bearer = HeaderValue::from_str(&format!("Bearer {line}")).ok().filter(|_| is_token);
        bearers.push(bearer.ok_or_else(|| format!("line {} is not a token", number + 1))?);
    }
    match bearers.len() {
        0 => Err("it contains no token".to_owned()),
        count if count > BUYERS_MAX => Err(format!("it has more than {BUYERS_MAX} tokens")),
        _ => Ok(bearers),
    }
}

async fn register(api: &mut Api, session: u64, who: &str) -> Result<HeaderValue, Trouble> {
    let email = format!("load-{session:016x}-{who}@example.com");
    let password = format!("{:032x}", crate::random::random::<u128>());
    let account = json!({ "email": email, "password": password });
    // A repeated registration finds the address taken, by ourselves.
    let reply = api.post("/auth/register", None, Some(&account)).await?;
    if reply.status != 409 {
        reply.want(201, "registering an account")?;
    }
    let tokens = api.post("/auth/login", None, Some(&account)).await?.want(200, "logging in")?;
    let token = tokens.get("access_token").and_then(Value::as_str).unwrap_or_default();
    HeaderValue::from_str(&format!("Bearer {token}"))
        .ok()
        .filter(|_| !token.is_empty())
        .ok_or_else(|| Trouble::new("logging in: the answer has no access_token"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_tokens_may_have_blank_lines_and_remarks() {
        let bearers = parse_tokens("# made today\n\n  abc.def.ghi \nx.y.z\n").unwrap();
        assert_eq!(bearers, ["Bearer abc.def.ghi", "Bearer x.y.z"]);
        assert!(parse_tokens("# nothing\n").unwrap_err().contains("no token"));
        assert!(parse_tokens("a.b.c\ntwo words\n").unwrap_err().contains("line 2"));
    }
}
