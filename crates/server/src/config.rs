//! Configuration: reads and validates the environment and `.env`, and reports all errors together.
//!
//! The environment overrides `.env`, which overrides the defaults; an empty value means unset. The
//! table in [`table`] is the one place that knows the settings. Secrets are never printed, neither
//! by [`Config::render`] nor in an error, and [`Config`] has no `Debug` that could.
//!
//! A secret can be in a file of its own, named by a setting `…_FILE`. Else it opens
//! nothing: which stores and gates exist is known to the crate `store`.

mod dotenv;
mod parse;
mod places;
mod reader;
mod secret;
mod table;

pub use parse::{Network, Origins};
pub use secret::load_or_create_secret;
pub use table::{HOLD_TTL_SECONDS_MAX, example};

use engine::{Currency, Policy};
use reader::{Reader, Setting, Source};
use secrecy::{ExposeSecret as _, SecretString};
use std::fmt;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the operator wants. Immutable after the start.
pub struct Config {
    /// The name in answers and documents.
    pub app_name: String,
    /// The version in answers and documents.
    pub app_version: String,
    /// Where we run.
    pub environment: Environment,
    /// Verbose logs.
    pub app_debug: bool,
    /// The form of the logs.
    pub log_format: LogFormat,
    /// The address or the name to listen on.
    pub host: String,
    /// The port to listen on; 0 picks a free one.
    pub port: u16,
    /// The folder of the embedded store and of what is made once.
    pub data_dir: PathBuf,
    /// Where the store is; its scheme picks the adapter.
    pub store_url: SecretString,
    /// The setting that says where the store is, to be named when nothing is found there.
    pub store_setting: &'static str,
    /// Connections to the store.
    pub db_pool_size: u32,
    /// Batches under way at once; at most half of the pool.
    pub lanes: usize,
    /// Where the gate is; `None`: in the process.
    pub gate_url: Option<SecretString>,
    /// How long a snapshot of the gate may refuse.
    pub gate_fresh_ms: i64,
    /// Signs access tokens; `None`: the one beside the data.
    pub secret_key: Option<SecretString>,
    /// How long an access token is valid.
    pub access_token_ttl: Duration,
    /// How long the access token of a visitor is valid.
    pub visitor_token_ttl: Duration,
    /// How long a refresh token is valid.
    pub refresh_token_ttl: Duration,
    /// How long a hold lives.
    pub hold_ttl: Duration,
    /// How long a hold may live with all its extensions.
    pub hold_max_life: Duration,
    /// Seats in one booking.
    pub max_seats_per_booking: u32,
    /// Seats of one buyer at one event; `None`: no cap.
    pub max_seats_per_user: Option<u32>,
    /// The currency of sections that name none.
    pub default_currency: Currency,
    /// How often due holds are retired; `None`: never.
    pub sweep_interval: Option<Duration>,
    /// How often counters, log and gate are compared; `None`: never.
    pub reconcile_interval: Option<Duration>,
    /// Whose pages may read answers in a browser.
    pub allowed_origins: Origins,
    /// Whose `X-Forwarded-For` counts.
    pub trusted_proxies: Vec<Network>,
    /// Whether the rates and limits below are kept.
    pub rate_limit_enabled: bool,
    /// Logins a minute, per address and per account.
    pub logins_per_minute: u32,
    /// New visitors a minute, per address.
    pub visitors_per_minute: u32,
    /// Requests a second, per user.
    pub requests_per_second: u32,
    /// Requests per second of a key of an organization that names no rate of its own.
    pub requests_per_key: u32,
    /// Seats that a buyer may take off sale within a [`Self::hold_ttl`].
    pub seats_per_buyer: u32,
    /// The same of a buyer without an account.
    pub seats_per_visitor: u32,
    /// The same of all those at an address.
    pub seats_per_address: u32,
    /// The longest request body.
    pub max_body_bytes: usize,
    /// Connections open at once.
    pub max_connections: usize,
    /// How long a connection without a request is kept.
    pub idle_timeout: Duration,
    /// How long a client may take to send its headers.
    pub header_timeout: Duration,
    /// How long a client may take to send its body.
    pub body_timeout: Duration,
    /// How long a client may read nothing of its answer.
    pub write_timeout: Duration,
    /// Opens `/metrics` to others than loopback.
    pub metrics_token: Option<SecretString>,
    settings: Vec<Setting>,
}

/// Where the process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    /// On somebody's machine: what is missing is generated.
    Development,
    /// In front of customers: what is missing is an error.
    Production,
}

impl Environment {
    /// The word used in the configuration and in answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Production => "production",
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        [Self::Development, Self::Production]
            .into_iter()
            .find(|environment| environment.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| "must be development or production".to_owned())
    }
}

/// The form of the logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, else JSON.
    Auto,
    /// For people.
    Text,
    /// For collectors.
    Json,
}

impl LogFormat {
    fn parse(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "auto" => Ok(Self::Auto),
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("must be auto, text or json".to_owned()),
        }
    }
}

/// Everything that is wrong with the configuration, one line each, without secrets.
#[derive(Debug)]
pub struct ConfigErrors(Vec<String>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ConfigErrors {}

impl Config {
    /// Reads the environment of the process and `.env` in the working directory.
    #[expect(clippy::disallowed_methods, reason = "the one reader of the environment")]
    pub fn load() -> Result<Self, ConfigErrors> {
        let mut environment = Vec::new();
        let mut errors = Vec::new();
        for (name, value) in std::env::vars_os() {
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => environment.push((name, value)),
                (Ok(name), Err(_)) if table::find(&name).is_some() => {
                    errors.push(format!("{name} ({}): must be UTF-8", Source::Environment));
                }
                _ => {}
            }
        }
        let dotenv = read_dotenv(Path::new(".env")).unwrap_or_else(|problems| {
            errors.extend(problems);
            Vec::new()
        });
        match Self::from_pairs(environment, dotenv) {
            Err(ConfigErrors(more)) => Err(ConfigErrors([errors, more].concat())),
            Ok(_) if !errors.is_empty() => Err(ConfigErrors(errors)),
            Ok(config) => Ok(config),
        }
    }

    /// Reads the pairs of an environment and of a `.env` file.
    pub fn from_pairs(
        environment: impl IntoIterator<Item = (String, String)>,
        dotenv: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigErrors> {
        let mut found = Reader::new(environment, dotenv);
        let reader = &mut found;
        let data_dir = PathBuf::from(reader.read("DATA_DIR", parse::one_line));
        reader.read("HASHING_ALG", hashing_alg);
        let (store_url, store_setting) = places::store_url(reader, &data_dir);
        let mut config = Self {
            app_name: reader.read("APP_NAME", parse::label),
            app_version: reader
                .optional("APP_VERSION", parse::label)
                .unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned()),
            environment: reader.read("ENVIRONMENT", Environment::parse),
            app_debug: reader.read("APP_DEBUG", parse::flag),
            log_format: reader.read("LOG_FORMAT", LogFormat::parse),
            host: reader.read("HOST", parse::host),
            port: reader.number("PORT"),
            store_url,
            store_setting,
            data_dir,
            db_pool_size: reader.number("DB_POOL_SIZE"),
            lanes: reader.number("LANES"),
            gate_url: places::gate_url(reader),
            gate_fresh_ms: reader.number("GATE_FRESH_MS"),
            secret_key: reader.secret("SECRET_KEY", secret_key),
            access_token_ttl: seconds(reader, "ACCESS_TOKEN_EXPIRE_SECONDS"),
            visitor_token_ttl: seconds(reader, "VISITOR_TOKEN_TTL_SECONDS"),
            refresh_token_ttl: seconds(reader, "REFRESH_TOKEN_EXPIRE_SECONDS"),
            hold_ttl: seconds(reader, "HOLD_TTL_SECONDS"),
            hold_max_life: seconds(reader, "HOLD_MAX_LIFE_SECONDS"),
            max_seats_per_booking: reader.number("MAX_SEATS_PER_BOOKING"),
            max_seats_per_user: reader.optional_number("MAX_SEATS_PER_USER"),
            default_currency: reader.read("DEFAULT_CURRENCY", currency),
            sweep_interval: or_off(Duration::from_millis(reader.number("SWEEP_INTERVAL_MS"))),
            reconcile_interval: or_off(seconds(reader, "RECONCILE_INTERVAL_SECONDS")),
            allowed_origins: reader.read("ALLOWED_ORIGINS", Origins::parse),
            trusted_proxies: reader.read("TRUSTED_PROXIES", networks),
            rate_limit_enabled: reader.read("RATE_LIMIT_ENABLED", parse::flag),
            logins_per_minute: reader.number("RATE_LIMIT_LOGINS_PER_MINUTE"),
            visitors_per_minute: reader.number("RATE_LIMIT_VISITORS_PER_MINUTE"),
            requests_per_second: reader.number("RATE_LIMIT_REQUESTS_PER_SECOND"),
            requests_per_key: reader.number("RATE_LIMIT_KEY_REQUESTS_PER_SECOND"),
            seats_per_buyer: reader.number("RATE_LIMIT_HELD_SEATS_PER_BUYER"),
            seats_per_visitor: reader.number("RATE_LIMIT_HELD_SEATS_PER_VISITOR"),
            seats_per_address: reader.number("RATE_LIMIT_HELD_SEATS_PER_ADDRESS"),
            max_body_bytes: reader.number("MAX_BODY_BYTES"),
            max_connections: reader.number("MAX_CONNECTIONS"),
            idle_timeout: seconds(reader, "IDLE_TIMEOUT_SECONDS"),
            header_timeout: seconds(reader, "HEADER_TIMEOUT_SECONDS"),
            body_timeout: seconds(reader, "BODY_TIMEOUT_SECONDS"),
            write_timeout: seconds(reader, "WRITE_TIMEOUT_SECONDS"),
            metrics_token: reader.secret("METRICS_TOKEN", parse::visible),
            settings: Vec::new(),
        };
        config.check(reader);
        config.settings = found.finish()?;
        Ok(config)
    }

    /// What no value breaks alone.
    fn check(&self, reader: &mut Reader) {
        let lifetimes = ["HOLD_TTL_SECONDS", "HOLD_MAX_LIFE_SECONDS"];
        if reader.are_sound(&lifetimes) && self.hold_max_life < self.hold_ttl {
            let problem =
                format!("must be at least HOLD_TTL_SECONDS ({})", self.hold_ttl.as_secs());
            reader.refuse("HOLD_MAX_LIFE_SECONDS", &problem);
        }
        let pool = self.db_pool_size as usize;
        if reader.are_sound(&["LANES", "DB_POOL_SIZE"]) && self.lanes * 2 > pool {
            reader.refuse("LANES", &format!("must be at most half of DB_POOL_SIZE ({pool})"));
        }
        // Instances on one database server must agree on the key, so none may make up its own.
        let is_shared = !self.is_embedded();
        let is_needed = is_shared || self.environment == Environment::Production;
        if reader.are_sound(&["SECRET_KEY"]) && is_needed && self.secret_key.is_none() {
            let why = if is_shared { "with a database server" } else { "in production" };
            let problem = format!("is required {why}: {} bytes or more", secret::SECRET_BYTES_MIN);
            reader.refuse("SECRET_KEY", &problem);
        }
    }

    /// Whether the store is a file that one process serves, not a server that many share.
    #[must_use]
    pub fn is_embedded(&self) -> bool {
        self.store_url.expose_secret().starts_with("sqlite:")
    }

    /// Where a process with this configuration is reached on its own machine; `None` when it picks
    /// a free port.
    #[must_use]
    pub fn local_url(&self) -> Option<String> {
        let host = match self.host.as_str() {
            "0.0.0.0" => "127.0.0.1",
            "::" => "::1",
            host => host,
        };
        (self.port != 0).then(|| format!("http://{}:{}", places::bracketed(host), self.port))
    }

    /// The limits of events that set none of their own.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let ms = |duration: Duration| i64::try_from(duration.as_millis()).expect("within a week");
        Policy {
            hold_ttl_ms: ms(self.hold_ttl),
            hold_max_life_ms: ms(self.hold_max_life),
            max_seats_per_booking: self.max_seats_per_booking,
            max_seats_per_user: self.max_seats_per_user,
        }
    }

    /// The settings in effect as `NAME=value` lines with their sources, secrets hidden.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        for Setting { name, shown, source } in &self.settings {
            let line = format!("{name}={shown}");
            writeln!(text, "{line:<48}  # {source}").expect("a String grows");
        }
        text
    }
}

fn read_dotenv(path: &Path) -> Result<Vec<(String, String)>, Vec<String>> {
    let named = |problem: String| format!("{}: {problem}", path.display());
    match std::fs::read_to_string(path) {
        Ok(text) => {
            dotenv::parse(&text).map_err(|problems| problems.into_iter().map(named).collect())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(vec![named(error.to_string())]),
    }
}

fn seconds(reader: &mut Reader, name: &'static str) -> Duration {
    Duration::from_secs(reader.number(name))
}

fn or_off(interval: Duration) -> Option<Duration> {
    (!interval.is_zero()).then_some(interval)
}

fn currency(text: &str) -> Result<Currency, String> {
    Currency::parse(text).ok_or_else(|| "must be a code of three letters, such as USD".to_owned())
}

fn networks(text: &str) -> Result<Vec<Network>, String> {
    parse::list(text)?.iter().map(|item| Network::parse(item)).collect()
}

fn hashing_alg(text: &str) -> Result<(), String> {
    let is_known = text.eq_ignore_ascii_case("HS256");
    if is_known { Ok(()) } else { Err("must be HS256, the only supported algorithm".to_owned()) }
}

fn secret_key(text: &str) -> Result<String, String> {
    if text == table::SECRET_KEY_PLACEHOLDER {
        return Err("is the example value, which is public".to_owned());
    }
    if text.len() < secret::SECRET_BYTES_MIN {
        return Err(format!("must have {} bytes or more", secret::SECRET_BYTES_MIN));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests;
