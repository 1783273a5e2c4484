//! Tokens and passwords: authentication of users, and of visitors.
//!
//! Access tokens are HS256 JWTs, checked without a store; that one was ended is known to
//! [`Cutoffs`](crate::cutoffs::Cutoffs). Refresh tokens are random secrets of which
//! only the hash is kept. Passwords are Argon2id, hashed off the threads that serve requests, a
//! bounded number at a time.

use super::problem::Problem;
use crate::cutoffs::Login;
use crate::random::random;
use argon2::{Argon2, PasswordHash, PasswordHasher, PasswordVerifier};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use engine::{Fault, Timestamp, UserId, text};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Passwords waiting to be hashed; more are refused.
pub const HASHES_WAITING_MAX: usize = 64;
/// How long one may wait.
const HASH_WAIT: Duration = Duration::from_secs(4);
/// The longest access token that is looked at, in bytes; ours have about 230.
const TOKEN_BYTES_MAX: usize = 1_024;

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    iat: i64,
    /// The milliseconds of `iat`, below 1,000. Tokens of earlier versions have none: they count as issued
    /// at the begin of their second.
    #[serde(default)]
    ms: u16,
    exp: i64,
    /// Ours have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<i64>,
    jti: String,
    /// Whose it is, if it is of no account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    k: Option<Kind>,
}

/// Who has a token that is of no account, as its claims say.
#[derive(Clone, Copy, Serialize, Deserialize)]
enum Kind {
    #[serde(rename = "v")]
    Visitor,
}

/// Who sent a request, as its token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A user with an account here, or with one at a shop that signs tokens of its own.
    Account(UserId),
    /// A buyer without an account.
    Visitor(UserId),
}

/// The key and the rules of access tokens.
pub struct Tokens {
    signing: EncodingKey,
    checking: DecodingKey,
    validation: Validation,
    ttl: Duration,
    /// Tokens whose signature has been checked, with what they say.
    checked: [Mutex<Checked>; CHECKED_SHARDS],
}

type Checked = HashMap<Box<str>, Said>;

/// What a token says: its login, and the seconds from which and until which it is good.
#[derive(Clone, Copy)]
struct Said {
    login: Login,
    kind: Option<Kind>,
    nbf: i64,
    exp: i64,
}

const CHECKED_SHARDS: usize = 16;
/// Checked tokens remembered in each shard; when it is full it starts anew.
const CHECKED_PER_SHARD_MAX: usize = 4_096;

impl Tokens {
    /// Tokens signed with `secret` that live for `ttl`.
    pub fn new(secret: &SecretString, ttl: Duration) -> Self {
        let secret = secret.expose_secret().as_bytes();
        let mut validation = Validation::new(Algorithm::HS256);
        // `exp` and `nbf` are judged by our own clock in `verify`, without leeway.
        validation.validate_exp = false;
        validation.set_required_spec_claims(&["sub", "exp"]);
        Self {
            signing: EncodingKey::from_secret(secret),
            checking: DecodingKey::from_secret(secret),
            validation,
            ttl,
            checked: Default::default(),
        }
    }

    /// A new access token for a user, which counts as issued at this instant.
    pub fn issue(&self, user_id: UserId, at: Timestamp) -> Result<String, Fault> {
        self.sign((user_id, None), at, self.ttl)
    }

    /// A new access token for a buyer without an account, which lives for `ttl`.
    pub fn issue_to_visitor(
        &self,
        visitor_id: UserId,
        at: Timestamp,
        ttl: Duration,
    ) -> Result<String, Fault> {
        self.sign((visitor_id, Some(Kind::Visitor)), at, ttl)
    }

    fn sign(
        &self,
        (user_id, k): (UserId, Option<Kind>),
        at: Timestamp,
        ttl: Duration,
    ) -> Result<String, Fault> {
        let iat = at.unix_ms().div_euclid(1_000);
        let ms = u16::try_from(at.unix_ms().rem_euclid(1_000)).expect("it is below 1,000");
        let exp = iat + i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX / 2);
        let jti = URL_SAFE_NO_PAD.encode(random::<12>());
        let claims = Claims { sub: user_id.to_string(), iat, ms, exp, nbf: None, jti, k };
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.signing);
        token.map_err(|error| Fault::Corrupt { what: format!("signing a token: {error}") })
    }

    /// How long a token lives, in seconds.
    pub fn expires_in(&self) -> u64 {
        self.ttl.as_secs()
    }

    /// The login of a token that we signed and that has not expired at `now`, and whose it is.
    ///
    /// A signature is checked once; then the whole token is found again, byte for byte.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<(Login, Holder), Problem> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(forged());
        }
        // The end of a token is of its signature, which spreads evenly.
        let spread = token.bytes().rev().take(4).fold(0, |sum, byte| sum + usize::from(byte));
        let checked = &self.checked[spread % CHECKED_SHARDS];
        let known = checked.lock().get(token).copied();
        let said = if let Some(known) = known {
            known
        } else {
            let found = self.check(token)?;
            let mut checked = checked.lock();
            if checked.len() >= CHECKED_PER_SHARD_MAX {
                checked.clear();
            }
            checked.insert(token.into(), found);
            found
        };
        let now = now.unix_ms().div_euclid(1_000);
        if now >= said.exp {
            checked.lock().remove(token);
            return Err(Problem::unauthorized("The access token has expired; refresh it."));
        }
        if now < said.nbf {
            return Err(Problem::unauthorized("The access token is not valid yet."));
        }
        let user_id = said.login.user_id;
        let caller = match said.kind {
            None => Holder::Account(user_id),
            Some(Kind::Visitor) => Holder::Visitor(user_id),
        };
        Ok((said.login, caller))
    }

    fn check(&self, token: &str) -> Result<Said, Problem> {
        let decoded = jsonwebtoken::decode::<Claims>(token, &self.checking, &self.validation);
        let claims = decoded.map_err(|_| forged())?.claims;
        let user_id = claims.sub.parse().map_err(|_| forged())?;
        if claims.ms >= 1_000 {
            return Err(forged());
        }
        let second = Timestamp::from_unix_ms(claims.iat.saturating_mul(1_000));
        let login = Login { user_id, issued_at: second.plus_ms(claims.ms.into()) };
        let (nbf, kind) = (claims.nbf.unwrap_or(i64::MIN), claims.k);
        Ok(Said { login, kind, nbf, exp: claims.exp })
    }
}

fn forged() -> Problem {
    Problem::unauthorized("The access token is not valid.")
}

/// A new refresh token, and the hash under which it is kept.
pub fn refresh_token() -> (String, [u8; 32]) {
    let secret = URL_SAFE_NO_PAD.encode(random::<32>());
    let hash = refresh_hash(&secret);
    (secret, hash)
}

/// The hash under which a refresh token is kept.
pub fn refresh_hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// The hash that is used for an account that does not exist, so that both take the same time.
static NOBODY: LazyLock<String> = LazyLock::new(|| hash(&URL_SAFE_NO_PAD.encode(random::<16>())));

fn hash(password: &str) -> String {
    let hashed: Result<PasswordHash, _> = Argon2::default().hash_password(password.as_bytes());
    hashed.expect("the default parameters and a random salt are valid").to_string()
}

/// What a password is, beside the one of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Another one, or there is no such account.
    Wrong,
    /// The same.
    Right,
    /// The same in the form in which it was typed, of which an earlier version made the hash.
    RightAsTyped,
}

/// Hashes and checks passwords.
pub struct Passwords {
    turns: Arc<Semaphore>,
    queue: Arc<Semaphore>,
}

impl Passwords {
    /// At most half of the machine's cores hash at a time, so that a wave of logins leaves room for
    /// the sale.
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            turns: Arc::new(Semaphore::new((cores / 2).max(1))),
            queue: Arc::new(Semaphore::new(HASHES_WAITING_MAX)),
        }
    }

    /// The hash of a new password, in PHC form.
    pub async fn hash(&self, password: String) -> Result<String, Problem> {
        self.run(move || hash(&text::password(&password))).await
    }

    /// Whether `typed` is the password of `stored`; as slow when there is nothing stored.
    ///
    /// Hashes of earlier versions are of what was typed then, whatever its form. So what is not in the
    /// form that is hashed now is tried a second time as it was typed. For an account that does not
    /// exist that second hash is only waited for: it would double what a guesser can make us do.
    pub async fn verify(&self, typed: String, stored: Option<String>) -> Result<Verdict, Problem> {
        let (verdict, wait) = self.run(move || compare(&typed, stored.as_deref())).await?;
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        Ok(verdict)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let busy = || Problem::overloaded("Too many logins at the same time; nothing was changed.");
        let _place = self.queue.clone().try_acquire_owned().map_err(|_| busy())?;
        let turn = tokio::time::timeout(HASH_WAIT, self.turns.clone().acquire_owned()).await;
        let turn = turn.map_err(|_| busy())?.map_err(|_| busy())?;
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        done.await.map_err(|panic| Fault::Corrupt { what: panic.to_string() }.into())
    }
}

/// Whether `typed` is the password of `stored`, and how long to wait before answering.
fn compare(typed: &str, stored: Option<&str>) -> (Verdict, Duration) {
    let form = text::password(typed);
    let has_two_forms = form != typed;
    let hash = stored.unwrap_or_else(|| NOBODY.as_str());
    let is_right =
        |password: &str| Argon2::default().verify_password(password.as_bytes(), hash).is_ok();
    let begun = Instant::now();
    let is_first_right = is_right(&form);
    let took = begun.elapsed();
    if stored.is_none() {
        let wait = if has_two_forms { took } else { Duration::ZERO };
        return (Verdict::Wrong, wait);
    }
    let verdict = if is_first_right {
        Verdict::Right
    } else if has_two_forms && is_right(typed) {
        Verdict::RightAsTyped
    } else {
        Verdict::Wrong
    };
    (verdict, Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::Shard;

    fn tokens(secret: &str) -> Tokens {
        Tokens::new(&SecretString::from(secret.to_owned()), Duration::from_mins(1))
    }

    #[test]
    fn only_our_own_fresh_hs256_tokens_are_believed() {
        let now = Timestamp::from_unix_ms(1_800_000_000_000);
        let user_id = UserId::new(now, Shard::pick(1), 2);
        let ours = tokens("0123456789abcdef0123456789abcdef");
        let token = ours.issue(user_id, now).expect("signs");
        let said = (Login { user_id, issued_at: now }, Holder::Account(user_id));
        assert_eq!(ours.verify(&token, now).ok(), Some(said));
        assert_eq!(ours.verify(&token, now.plus_ms(59_999)).ok(), Some(said));
        assert!(ours.verify(&token, now.plus_ms(60_000)).is_err(), "expired");
        assert!(
            tokens("fedcba9876543210fedcba9876543210").verify(&token, now).is_err(),
            "foreign key"
        );
        let (header, rest) = token.split_once('.').expect("three parts");
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
        let claims = rest.split('.').next().expect("three parts");
        for forged in [
            format!("{none}.{claims}."),
            format!("{none}.{rest}"),
            format!("{header}.{claims}."),
            format!("{token}x"),
            "a.b.c".to_owned(),
            String::new(),
            "x".repeat(5_000),
        ] {
            assert!(ours.verify(&forged, now).is_err(), "{forged}");
        }
    }

    #[test]
    fn a_token_knows_the_millisecond_of_its_issue_and_older_ones_the_second() {
        let now = Timestamp::from_unix_ms(1_800_000_000_987);
        let user_id = UserId::new(now, Shard::pick(1), 2);
        let ours = tokens("0123456789abcdef0123456789abcdef");
        // The second time it is found again.
        let issued = |token: &str| {
            let twice = [(); 2].map(|()| ours.verify(token, now).ok());
            assert_eq!(twice[0], twice[1]);
            twice[0].map(|(login, _)| login.issued_at.unix_ms())
        };
        for ms in [0, 1, 987, 999] {
            let at = Timestamp::from_unix_ms(1_800_000_000_000 + ms);
            assert_eq!(issued(&ours.issue(user_id, at).expect("signs")), Some(at.unix_ms()));
        }
        let claims = |ms: serde_json::Value| {
            let mut claims = serde_json::json!({"sub": user_id.to_string(), "iat": 1_800_000_000,
                "exp": 1_900_000_000, "jti": "x"});
            if !ms.is_null() {
                claims["ms"] = ms;
            }
            jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &ours.signing)
                .expect("signs")
        };
        assert_eq!(issued(&claims(serde_json::Value::Null)), Some(1_800_000_000_000));
        assert_eq!(issued(&claims(999.into())), Some(1_800_000_000_999));
        for no_time in [(1_000).into(), (-1).into(), "1".into(), serde_json::json!(0.5)] {
            assert_eq!(issued(&claims(no_time)), None);
        }
    }

    #[test]
    fn a_visitors_token_says_so_and_has_a_life_of_its_own() {
        let now = Timestamp::from_unix_ms(1_800_000_000_987);
        let visitor_id = UserId::new(now, Shard::pick(1), 2);
        let ours = tokens("0123456789abcdef0123456789abcdef");
        let ttl = Duration::from_hours(2);
        let token = ours.issue_to_visitor(visitor_id, now, ttl).expect("signs");
        let said = (Login { user_id: visitor_id, issued_at: now }, Holder::Visitor(visitor_id));
        // The second time it is found again.
        for at in [now, now, now.plus_ms(7_199_000)] {
            assert_eq!(ours.verify(&token, at).ok(), Some(said));
        }
        assert!(ours.verify(&token, now.plus_ms(7_200_000)).is_err(), "expired");
        let claims = serde_json::json!({"sub": visitor_id.to_string(), "iat": 1_800_000_000,
            "exp": 1_900_000_000, "jti": "x", "k": "w"});
        let unknown = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &ours.signing);
        assert!(ours.verify(&unknown.expect("signs"), now).is_err(), "a kind of a later version");
    }

    #[tokio::test]
    async fn a_password_is_checked_against_its_hash_and_against_nobody() {
        let passwords = Passwords::new();
        let hash = passwords.hash("correct horse".to_owned()).await.expect("hashes");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        let verify = async |typed: &str, stored: Option<&String>| {
            passwords.verify(typed.to_owned(), stored.cloned()).await.expect("runs")
        };
        assert_eq!(verify("correct horse", Some(&hash)).await, Verdict::Right);
        assert_eq!(verify("battery", Some(&hash)).await, Verdict::Wrong);
        assert_eq!(verify("battery", None).await, Verdict::Wrong);
    }

    #[tokio::test]
    async fn a_password_is_known_in_every_form_and_old_hashes_in_the_one_they_were_made_of() {
        const COMPOSED: &str = "gr\u{fc}n und blau";
        const DECOMPOSED: &str = "gru\u{308}n und blau";
        let passwords = Passwords::new();
        let new = passwords.hash(DECOMPOSED.to_owned()).await.expect("hashes");
        let old = hash(DECOMPOSED);
        let verify = async |typed: &str, stored: Option<&String>| {
            passwords.verify(typed.to_owned(), stored.cloned()).await.expect("runs")
        };
        assert_eq!(verify(COMPOSED, Some(&new)).await, Verdict::Right);
        assert_eq!(verify(DECOMPOSED, Some(&new)).await, Verdict::Right);
        assert_eq!(verify(DECOMPOSED, Some(&old)).await, Verdict::RightAsTyped);
        assert_eq!(verify(COMPOSED, Some(&old)).await, Verdict::Wrong, "nobody knows that form");
    }

    /// An unknown account takes as long as a known one, also where two forms are tried, and gives us
    /// no more to hash.
    #[test]
    fn a_second_form_tells_nothing_about_whether_an_account_exists() {
        const TWO_FORMS: &str = "wro\u{308}ng";
        let hash = hash("something else");
        for (typed, stored) in [("wrong", None), ("wrong", Some(&hash)), (TWO_FORMS, Some(&hash))] {
            let compared = compare(typed, stored.map(String::as_str));
            assert_eq!(compared, (Verdict::Wrong, Duration::ZERO), "{typed} {stored:?}");
        }
        let begun = Instant::now();
        let (verdict, wait) = compare(TWO_FORMS, None);
        let took = begun.elapsed();
        assert_eq!(verdict, Verdict::Wrong);
        // What is left of the time are two forms of a dozen bytes.
        assert!(wait > Duration::ZERO && wait <= took, "{wait:?} of {took:?}");
    }
}
