//! Keys of organizations: their form, and which of them open something.
//!
//! ```text
//! rsvx_live_ 9fKq…(43 letters and digits)…Xw 0aB3dE
//! │          │                               └ CRC-32 of all before it, in letters and digits
//! │          └ 256 random bits
//! └ live in production, test elsewhere: one of the other kind is refused unread
//! ```
//! A typo or a forgery is noticed without a read, by us and by programs that look for secrets in code.
//! The rest is looked up by its digest, at most once a second for all requests that come with it: so a
//! key that was ended, or may do less, serves no request that arrives more than a second later (I15).

use super::limits::Limits;
use super::problem::{Code, Problem};
use crate::caller::KnownKey;
use crate::config::Environment;
use crate::fresh::{Fresh, Source};
use crate::random::random;
use crate::rights::LIFE;
use engine::access::KeySecret;
use engine::{Fault, KeyId, Timestamp};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use store::ApiKeys;
use tokio::time::Instant;

/// How often the use of keys is written.
pub const USE_INTERVAL: Duration = Duration::from_mins(1);

/// Keys, with events and networks to which they are confined, that are known together.
const KNOWN_MAX: u64 = 100_000;
/// What a secret that opens nothing counts among them, so that at most 10,000 such are known.
const UNKNOWN_SIZE: usize = 10;

/// What every key begins with.
const BRAND: &str = "rsvx_";
const LIVE: &str = "rsvx_live_";
const TEST: &str = "rsvx_test_";
/// Letters and digits that carry 256 random bits.
const SECRET_CHARS: usize = 43;
/// Letters and digits of the checksum.
const CHECKSUM_CHARS: usize = 6;
/// The last letters and digits, by which people know a key again.
const HINT_CHARS: usize = 4;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Whether a token is a key, good or not.
pub fn is_key(token: &str) -> bool {
    token.starts_with(BRAND)
}

fn prefix(environment: Environment) -> &'static str {
    match environment {
        Environment::Production => LIVE,
        Environment::Development => TEST,
    }
}

fn checksum(body: &str) -> String {
    let mut rest = crc32fast::hash(body.as_bytes()) as usize;
    let mut digits = [0; CHECKSUM_CHARS];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[rest % DIGITS.len()];
        rest /= DIGITS.len();
    }
    digits.into_iter().map(char::from).collect()
}

/// A new key, which is shown once, and what is kept of it.
pub fn new_key(environment: Environment) -> (String, KeySecret) {
    /// Bytes from here on would make the first digits likelier than the others.
    const EVEN: u8 = 248;
    let mut key = prefix(environment).to_owned();
    let length = key.len() + SECRET_CHARS;
    while key.len() < length {
        let even = random::<64>().into_iter().filter(|byte| *byte < EVEN);
        let room = length - key.len();
        key.extend(
            even.take(room).map(|byte| char::from(DIGITS[usize::from(byte) % DIGITS.len()])),
        );
    }
    key.push_str(&checksum(&key));
    let hint = key[key.len() - HINT_CHARS..].to_owned();
    let secret = KeySecret { hash: digest(&key), hint };
    (key, secret)
}

fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

/// The digest of a key of this environment that is whole; `None`: of no key that we could have made.
fn read(key: &str, environment: Environment) -> Option<[u8; 32]> {
    let prefix = prefix(environment);
    let is_whole = key.len() == prefix.len() + SECRET_CHARS + CHECKSUM_CHARS
        && key.starts_with(prefix)
        && key[prefix.len()..].bytes().all(|byte| byte.is_ascii_alphanumeric());
    let body = is_whole.then(|| key.split_at(key.len() - CHECKSUM_CHARS));
    body.filter(|(body, sum)| checksum(body) == *sum).map(|_| digest(key))
}

#[derive(Clone)]
struct ByDigest(Arc<dyn ApiKeys>);

impl Source for ByDigest {
    type Key = [u8; 32];
    type Value = Option<Arc<KnownKey>>;
    const LIFE_MAX: Duration = LIFE;
    const SIZE_MAX: u64 = KNOWN_MAX;

    async fn read(&self, digest: [u8; 32]) -> Result<Option<Arc<KnownKey>>, Fault> {
        let found = self.0.api_key_by_hash(&digest).await?;
        Ok(found.map(|key| Arc::new(KnownKey::new(key))))
    }

    fn life(&self, _: &Option<Arc<KnownKey>>, _: Instant) -> Duration {
        LIFE
    }

    fn size(known: &Option<Arc<KnownKey>>) -> usize {
        let Some(known) = known else { return UNKNOWN_SIZE };
        let events = known.key.scope.events.as_deref().map_or(0, <[_]>::len);
        1 + events + known.networks_count()
    }
}

/// A key that came with a request, whole, and not looked up yet.
pub struct Shown {
    digest: [u8; 32],
    address: IpAddr,
}

/// The keys that come with requests.
pub struct Keys {
    known: Fresh<ByDigest>,
    store: Arc<dyn ApiKeys>,
    environment: Environment,
    /// Those that were used since their use was written last.
    used: Mutex<HashSet<KeyId>>,
}

impl Keys {
    /// Nothing is known yet.
    pub fn new(store: Arc<dyn ApiKeys>, environment: Environment) -> Self {
        let known = Fresh::new(ByDigest(store.clone()));
        Self { known, store, environment, used: Mutex::default() }
    }

    /// A key that came from this address, as far as it can be judged without a read.
    pub fn shown(
        &self,
        limits: &Limits,
        key: &str,
        address: IpAddr,
        is_page: bool,
    ) -> Result<Shown, Problem> {
        if is_page {
            // All who open the page have the key.
            return Err(Problem::new(
                Code::KeyInBrowser,
                "Send this key from a server; end it, since others may have seen it.",
            ));
        }
        limits.may_try_key(address)?;
        let digest = read(key, self.environment).ok_or_else(|| {
            limits.wrong_key(address);
            unknown()
        })?;
        Ok(Shown { digest, address })
    }

    /// The key, if it opens something now and from there; the request is counted as one of it.
    pub async fn opened(
        &self,
        limits: &Limits,
        shown: Shown,
        now: Timestamp,
    ) -> Result<Arc<KnownKey>, Problem> {
        let Shown { digest, address } = shown;
        let found = self.known.get(digest).await?;
        let Some(known) = found.filter(|known| known.key.is_opened_by(&digest, now)) else {
            limits.wrong_key(address);
            return Err(unknown());
        };
        if !known.is_from(address) {
            return Err(Problem::new(
                Code::AddressNotAllowed,
                "The key is not accepted from the address of this request.",
            ));
        }
        limits.keyed(known.key.key_id, known.key.scope.rate)?;
        self.used.lock().insert(known.key.key_id);
        Ok(known)
    }

    /// The key of a request as it is now, if it still opens something: for requests that take long.
    pub async fn still(&self, known: &KnownKey, now: Timestamp) -> Result<Arc<KnownKey>, Problem> {
        let digest = known.key.secret.hash;
        let found = self.known.get(digest).await?;
        found.filter(|known| known.key.is_opened_by(&digest, now)).ok_or_else(unknown)
    }

    /// Has all keys looked up again: this process has changed one.
    pub fn changed(&self) {
        self.known.forget_all();
    }

    /// Writes which keys were used. What fails is written with the next ones.
    pub async fn write_use(&self) {
        let used: Vec<_> = std::mem::take(&mut *self.used.lock()).into_iter().collect();
        if used.is_empty() {
            return;
        }
        if let Err(fault) = self.store.note_use(&used).await {
            tracing::warn!(%fault, "the last use of keys is not written; trying again");
            self.used.lock().extend(used);
        }
    }
}

fn unknown() -> Problem {
    Problem::unauthorized("The key is unknown, has ended, or is not of this environment.")
}

#[cfg(test)]
mod tests;
