//! The table of settings: the one place that knows their names, defaults, limits and meaning.
//!
//! Reading, `reservix config` and `.env.example` are all made from it, so none can forget a setting.

use engine::account::ACCESS_TOKEN_TTL_SECONDS_MAX;
use std::fmt::Write as _;
use strsim::osa_distance;

/// The longest a hold may be configured to live without an extension.
pub const HOLD_TTL_SECONDS_MAX: u64 = 86_400;
/// The value `.env.example` shows for `SECRET_KEY`. Everybody knows it, so it is refused.
pub const SECRET_KEY_PLACEHOLDER: &str = "change-me-to-32-or-more-random-bytes";

/// What a value is, as far as showing and bounding it goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Shown as it is.
    Plain,
    /// A whole number between two limits, both allowed.
    Number {
        /// The lowest value.
        min: u64,
        /// The highest value.
        max: u64,
    },
    /// Shown without the password in it.
    Url,
    /// Never shown.
    Secret,
    /// A file that holds the value of the setting called so without `_FILE`.
    File,
}

/// One setting.
pub struct Variable {
    /// Its name in the environment.
    pub name: &'static str,
    /// Its value when it is unset; empty where unset has a meaning of its own.
    pub default: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What it does, for a person.
    pub help: &'static str,
}

const fn plain(name: &'static str, default: &'static str, help: &'static str) -> Variable {
    Variable { name, default, kind: Kind::Plain, help }
}

const fn number(
    name: &'static str,
    default: &'static str,
    (min, max): (u64, u64),
    help: &'static str,
) -> Variable {
    Variable { name, default, kind: Kind::Number { min, max }, help }
}

const fn url(name: &'static str, help: &'static str) -> Variable {
    Variable { name, default: "", kind: Kind::Url, help }
}

const fn secret(name: &'static str, help: &'static str) -> Variable {
    Variable { name, default: "", kind: Kind::Secret, help }
}

const fn file(name: &'static str, help: &'static str) -> Variable {
    Variable { name, default: "", kind: Kind::File, help }
}

/// All settings, under the headings of `.env.example`.
pub const TABLE: [(&str, &[Variable]); 8] = [
    (
        "Application",
        &[
            plain("APP_NAME", "Reservix", "The name shown in responses and documents."),
            plain(
                "APP_VERSION",
                "",
                "The version shown in responses and documents; unset: that of the build.",
            ),
            plain("ENVIRONMENT", "development", "development or production."),
            plain("APP_DEBUG", "false", "Verbose logs."),
            plain(
                "LOG_FORMAT",
                "auto",
                "text, json, or auto (text on a terminal, otherwise json).",
            ),
        ],
    ),
    (
        "Address and data",
        &[
            plain("HOST", "127.0.0.1", "The address to listen on."),
            number("PORT", "8000", (0, 65_535), "The port to listen on; 0 picks a free one"),
            plain(
                "DATA_DIR",
                "./data",
                "The folder of the embedded store and of generated files, such as the signing key.",
            ),
        ],
    ),
    (
        "Store: SQLite in DATA_DIR, unless a URL or DB_HOST is set; the URL takes precedence",
        &[
            url("DATABASE_URL", "postgres://user:password@host:port/name or sqlite://path."),
            file("DATABASE_URL_FILE", "A file that contains the URL instead."),
            plain("DB_HOST", "", "The host of the database server."),
            number("DB_PORT", "5432", (1, 65_535), "The port of that server"),
            plain("DB_NAME", "reservix", "The name of the database."),
            plain("DB_USER", "reservix", "The user to connect as."),
            secret("DB_PASSWORD", "The password of that user."),
            file("DB_PASSWORD_FILE", "A file that contains the password instead."),
            number("DB_POOL_SIZE", "20", (2, 1_000), "Maximum connections to the database"),
            number(
                "LANES",
                "8",
                (1, 500),
                "Batches committed concurrently, at most half of DB_POOL_SIZE",
            ),
        ],
    ),
    (
        "Gate: in the process, unless a URL or REDIS_HOST is set; the URL takes precedence",
        &[
            url(
                "REDIS_URL",
                "redis(s)://user:password@host:port, redis+sentinel://..., redis+cluster://....",
            ),
            file("REDIS_URL_FILE", "A file that contains the URL instead."),
            plain("REDIS_HOST", "", "The host of the Redis server."),
            number("REDIS_PORT", "6379", (1, 65_535), "The port of that server"),
            plain("REDIS_USER", "", "The user to connect as."),
            secret("REDIS_PASSWORD", "The password of that user."),
            file("REDIS_PASSWORD_FILE", "A file that contains the password instead."),
            number(
                "GATE_FRESH_MS",
                "1000",
                (1, 60_000),
                "How long the gate can refuse requests based on a snapshot, in ms",
            ),
        ],
    ),
    (
        "Accounts and tokens",
        &[
            secret(
                "SECRET_KEY",
                "Signs access tokens: 32 bytes or more; required in production and with a \
                 database server.",
            ),
            file(
                "SECRET_KEY_FILE",
                "A file that contains the key instead, such as a Docker secret.",
            ),
            plain("HASHING_ALG", "HS256", "The signature algorithm of access tokens; only HS256."),
            number(
                "ACCESS_TOKEN_EXPIRE_SECONDS",
                "3600",
                (1, ACCESS_TOKEN_TTL_SECONDS_MAX),
                "The lifetime of an access token, in seconds",
            ),
            number(
                "REFRESH_TOKEN_EXPIRE_SECONDS",
                "2592000",
                (1, 31_536_000),
                "The lifetime of a refresh token, in seconds",
            ),
            number(
                "VISITOR_TOKEN_TTL_SECONDS",
                "7200",
                (1, ACCESS_TOKEN_TTL_SECONDS_MAX),
                "The lifetime of the access token of a visitor, in seconds",
            ),
        ],
    ),
    (
        "Bookings: defaults of events",
        &[
            number(
                "HOLD_TTL_SECONDS",
                "600",
                (1, HOLD_TTL_SECONDS_MAX),
                "The lifetime of a hold, in seconds",
            ),
            number(
                "HOLD_MAX_LIFE_SECONDS",
                "1800",
                (1, 604_800),
                "The maximum lifetime of a hold with extensions, in seconds, at least \
                 HOLD_TTL_SECONDS",
            ),
            number(
                "MAX_SEATS_PER_BOOKING",
                "50",
                (1, engine::event::SEATS_PER_BOOKING_MAX as u64),
                "Maximum seats in one booking",
            ),
            number(
                "MAX_SEATS_PER_USER",
                "",
                (1, engine::event::CAPACITY_MAX.unsigned_abs()),
                "Maximum seats of one buyer at one event; unset: no maximum",
            ),
            plain("DEFAULT_CURRENCY", "USD", "The currency of sections without a currency."),
        ],
    ),
    (
        "Workers",
        &[
            number(
                "SWEEP_INTERVAL_MS",
                "1000",
                (0, 3_600_000),
                "The interval at which expired holds are released, in ms; 0: off",
            ),
            number(
                "RECONCILE_INTERVAL_SECONDS",
                "30",
                (0, 86_400),
                "The interval at which counters, log and gate are compared, in seconds; 0: off",
            ),
        ],
    ),
    (
        "Limits and access",
        &[
            plain("ALLOWED_ORIGINS", "", "Origins allowed by CORS, or *; unset: none."),
            plain(
                "TRUSTED_PROXIES",
                "",
                "Addresses or networks of proxies whose X-Forwarded-For is trusted; unset: none.",
            ),
            plain("RATE_LIMIT_ENABLED", "true", "Enforce the rate limits below."),
            number(
                "RATE_LIMIT_KEY_REQUESTS_PER_SECOND",
                "2000",
                (1, 1_000_000),
                "Requests per second for each key of an organization, on each instance",
            ),
            number(
                "RATE_LIMIT_LOGINS_PER_MINUTE",
                "10",
                (1, 100_000),
                "Logins per minute, for each address (IPv6: /64) and each account",
            ),
            number(
                "RATE_LIMIT_VISITORS_PER_MINUTE",
                "30",
                (1, 100_000),
                "New visitors per minute, for each address (IPv6: /64)",
            ),
            number(
                "RATE_LIMIT_REQUESTS_PER_SECOND",
                "200",
                (1, 1_000_000),
                "Requests per second for each user; without a token, for each address (IPv6: /64); of \
                 a visitor, for both",
            ),
            number(
                "RATE_LIMIT_HELD_SEATS_PER_BUYER",
                "100",
                (1, 1_000_000),
                "Seats that a user may take off sale within HOLD_TTL_SECONDS without buying them",
            ),
            number(
                "RATE_LIMIT_HELD_SEATS_PER_VISITOR",
                "20",
                (1, 1_000_000),
                "The same for a buyer without an account",
            ),
            number(
                "RATE_LIMIT_HELD_SEATS_PER_ADDRESS",
                "200",
                (1, 1_000_000),
                "The same for all buyers without an account at an address (IPv6: /64)",
            ),
            number(
                "MAX_BODY_BYTES",
                "1048576",
                (1_024, 67_108_864),
                "Maximum size of a request body, in bytes",
            ),
            number("MAX_CONNECTIONS", "10000", (1, 1_000_000), "Maximum open client connections"),
            number(
                "IDLE_TIMEOUT_SECONDS",
                "75",
                (1, 3_600),
                "How long an idle connection is kept open, in seconds; set it longer than in the \
                 proxy",
            ),
            number(
                "HEADER_TIMEOUT_SECONDS",
                "10",
                (1, 300),
                "How long a client can take to send its headers, from the first byte on, in \
                 seconds",
            ),
            number(
                "BODY_TIMEOUT_SECONDS",
                "30",
                (1, 600),
                "How long a client can take to send its body, in seconds",
            ),
            number(
                "WRITE_TIMEOUT_SECONDS",
                "10",
                (1, 600),
                "How long a client can stop reading its response before it is disconnected, in \
                 seconds",
            ),
            secret(
                "METRICS_TOKEN",
                "Bearer token for /metrics from other machines; unset: only loopback.",
            ),
        ],
    ),
];

/// Names that begin like this are meant for us, so one that is not in the table is a mistake.
const PREFIXES: [&str; 23] = [
    "ACCESS_TOKEN_",
    "ALLOWED_ORIGIN",
    "BODY_TIMEOUT",
    "DB_POOL",
    "DEFAULT_CURRENCY",
    "GATE_FRESH",
    "HASHING_ALG",
    "HEADER_TIMEOUT",
    "HOLD_",
    "IDLE_TIMEOUT",
    "LANES",
    "MAX_BODY_",
    "MAX_CONNECTIONS",
    "MAX_SEATS_",
    "METRICS_TOKEN",
    "RATE_LIMIT_",
    "RECONCILE_",
    "REFRESH_TOKEN_",
    "RESERVIX_",
    "SWEEP_",
    "TRUSTED_PROX",
    "VISITOR_TOKEN",
    "WRITE_TIMEOUT",
];

/// All settings, in the order of the table.
pub fn variables() -> impl Iterator<Item = &'static Variable> {
    TABLE.iter().flat_map(|(_, variables)| variables.iter())
}

/// The setting called `name`.
pub fn find(name: &str) -> Option<&'static Variable> {
    variables().find(|variable| variable.name == name)
}

/// Whether `name`, which is no setting, was surely meant to be one.
///
/// Everything in `.env` is written by hand, so there a name close to one of ours is enough. The
/// environment has names of others, too: there one letter or two swapped ones may be wrong, in a name that is
/// long enough to be like no other.
pub fn is_mistaken(name: &str, in_dotenv: bool) -> bool {
    let name = name.to_uppercase();
    // Kubernetes describes a Service called `reservix` to every pod beside it.
    let is_service =
        name.contains("_SERVICE_") || name.contains("_PORT_") || name.ends_with("_PORT");
    let is_near = |known: &str| {
        let away_max = match known.len() {
            6.. if in_dotenv => 2,
            _ if in_dotenv => 1,
            8.. => 1,
            _ => return false,
        };
        // Each letter more or less is a mistake, too.
        name.len().abs_diff(known.len()) <= away_max && osa_distance(&name, known) <= away_max
    };
    let is_ours = PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    (is_ours && !is_service) || variables().any(|known| is_near(known.name))
}

/// The setting that `name` probably means.
pub fn closest(name: &str) -> Option<&'static str> {
    let name = name.to_uppercase();
    let name = name.strip_prefix("RESERVIX_").unwrap_or(&name);
    let (away, known) = variables()
        .map(|known| (osa_distance(name, known.name), known.name))
        .min_by_key(|it| it.0)?;
    (away <= name.len() / 3).then_some(known)
}

/// The text of `.env.example`.
pub fn example() -> String {
    let mut text = String::from(
        "# Every setting of Reservix with its default. All of them are commented out: copied to\n\
         # `.env` unchanged, this file has no effect.\n\
         #\n\
         # The environment overrides `.env`, and an empty value means unset. Booleans are true, false,\n\
         # yes, no, on, off, 1 or 0. Lists are JSON or separated by commas. Put a value that contains\n\
         # \" #\" into single quotes. `reservix config` shows the effective values and their sources.\n",
    );
    for (heading, variables) in TABLE {
        writeln!(text, "\n\n# {heading}\n# {}", "-".repeat(heading.len())).expect("a String grows");
        for Variable { name, default, kind, help } in variables {
            let limits = match kind {
                Kind::Number { min, max } => format!(" ({min} to {max})."),
                _ => String::new(),
            };
            let shown = if *name == "SECRET_KEY" { SECRET_KEY_PLACEHOLDER } else { default };
            write!(text, "\n# {help}{limits}\n#{name}={shown}\n").expect("a String grows");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_example_is_the_one_made_from_the_table() {
        let committed = include_str!("../../../../.env.example");
        assert!(committed == example(), ".env.example is out of date, expected:\n{}", example());
        for line in committed.lines() {
            assert!(line.is_empty() || line.starts_with('#'), "{line}");
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = variables().map(|variable| variable.name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn a_misspelt_name_is_recognised_and_an_ordinary_one_is_not() {
        let misspelt = ["HOLD_TTL_SECOND", "RESERVIX_HOST", "MAX_SEATS_BOOKING", "lanes_max"];
        let by_a_letter =
            ["DATABASE_URLL", "ENVIRONMENTT", "SECRET_KEYS", "SERCET_KEY", "METRIC_TOKEN"];
        for name in misspelt.into_iter().chain(by_a_letter) {
            assert!(is_mistaken(name, false), "{name}");
        }
        for name in [
            "PATH",
            "HOME",
            "HOSTNAME",
            "LOGNAME",
            "POSTGRES_PASSWORD",
            "DB_PROT",
            "HOSTS",
            "PORTS",
        ] {
            assert!(!is_mistaken(name, false), "{name}");
        }
        for name in ["RESERVIX_SERVICE_HOST", "RESERVIX_PORT", "RESERVIX_PORT_8000_TCP_ADDR"] {
            assert!(!is_mistaken(name, false), "{name}");
        }
        assert!(is_mistaken("SERCET_KEY", true));
        assert!(is_mistaken("HOSTT", true) && is_mistaken("PROT", true));
        assert!(is_mistaken("secret_key", true));
        assert!(!is_mistaken("POSTGRES_PASSWORD", true));
        assert_eq!(closest("HOLD_TTL_SECOND"), Some("HOLD_TTL_SECONDS"));
        assert_eq!(closest("RESERVIX_HOST"), Some("HOST"));
        assert_eq!(closest("SERCET_KEY"), Some("SECRET_KEY"));
        assert_eq!(closest("RESERVIX_WHATEVER"), None);
    }
}
