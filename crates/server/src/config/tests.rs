//! Tests of the configuration as a whole.

use super::*;

/// The configuration from `environment` and `dotenv`, each `NAME=value` lines.
fn from(environment: &str, dotenv: &str) -> Result<Config, ConfigErrors> {
    let pairs = |text| dotenv::parse(text).expect("the test writes NAME=value lines");
    Config::from_pairs(pairs(environment), pairs(dotenv))
}

fn good(environment: &str) -> Config {
    from(environment, "").unwrap_or_else(|errors| panic!("{environment}: {errors}"))
}

/// What is wrong with `environment`, one line each.
fn bad(environment: &str) -> Vec<String> {
    let errors = from(environment, "").err().unwrap_or_else(|| panic!("accepted: {environment}"));
    errors.to_string().lines().map(str::to_owned).collect()
}

/// The line of the rendered configuration that shows `name`.
fn shown(config: &Config, name: &str) -> String {
    let text = config.render();
    let line = text.lines().find(|line| line.starts_with(&format!("{name}=")));
    line.expect("every setting is shown").split_whitespace().collect::<Vec<_>>().join(" ")
}

const KEY: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn nothing_set_is_an_embedded_store_on_loopback() {
    let config = good("");
    assert_eq!((config.host.as_str(), config.port), ("127.0.0.1", 8000));
    assert_eq!(config.environment, Environment::Development);
    assert_eq!(config.log_format, LogFormat::Auto);
    assert_eq!(config.store_url.expose_secret(), "sqlite://./data/reservix.db");
    assert!(config.gate_url.is_none() && config.secret_key.is_none());
    assert!(config.metrics_token.is_none() && config.trusted_proxies.is_empty());
    assert_eq!(config.allowed_origins, Origins::Only(vec![]));
    assert_eq!(config.max_body_bytes, 1 << 20);
    assert_eq!(config.sweep_interval, Some(Duration::from_secs(1)));
    assert_eq!(config.app_version, env!("CARGO_PKG_VERSION"));
    let policy = config.policy();
    assert_eq!((policy.hold_ttl_ms, policy.hold_max_life_ms), (600_000, 1_800_000));
    assert_eq!((policy.max_seats_per_booking, policy.max_seats_per_user), (50, None));
}

#[test]
fn the_example_changes_nothing_even_with_its_lines_uncommented() {
    let is_setting = |line: &&str| line.starts_with('#') && !line.starts_with("# ") && *line != "#";
    let example = example();
    let lines = example.lines().filter(is_setting).map(|line| &line[1..]);
    let lines: Vec<&str> = lines.filter(|line| !line.starts_with("SECRET_KEY=")).collect();
    assert_eq!(lines.len(), table::variables().count() - 1);
    let copied = from("", &lines.join("\n")).unwrap_or_else(|errors| panic!("{errors}"));
    let values = |config: &Config| config.settings.iter().map(|it| it.shown.clone()).collect();
    let (copied, unset): (Vec<_>, Vec<_>) = (values(&copied), values(&good("")));
    assert_eq!(copied, unset);
}

#[test]
fn the_environment_wins_over_dotenv_and_empty_means_unset() {
    let config = from("PORT=\nHOST=0.0.0.0", "PORT=9000\nHOST=10.0.0.1\nLOG_FORMAT=")
        .unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((config.host.as_str(), config.port), ("0.0.0.0", 9000));
    assert_eq!(shown(&config, "PORT"), "PORT=9000 # .env");
    assert_eq!(shown(&config, "HOST"), "HOST=0.0.0.0 # environment");
    assert_eq!(shown(&config, "LOG_FORMAT"), "LOG_FORMAT=auto # default");
}

#[test]
fn every_setting_refuses_nonsense_and_all_are_named_at_once() {
    let number = |kind| matches!(kind, table::Kind::Number { .. });
    let nonsense = |it: &table::Variable| if number(it.kind) { "many" } else { "\u{7}?" };
    let pairs: Vec<_> =
        table::variables().map(|it| (it.name.to_owned(), nonsense(it).to_owned())).collect();
    let errors = Config::from_pairs(pairs, []).err().expect("nonsense is refused").to_string();
    for known in table::variables() {
        let named =
            |line: &str| line.strip_prefix(known.name).is_some_and(|l| l.starts_with(['=', ' ']));
        assert_eq!(
            errors.lines().filter(|line| named(line)).count(),
            1,
            "{}\n{errors}",
            known.name
        );
    }
    assert_eq!(errors.lines().count(), table::variables().count(), "{errors}");
}

#[test]
fn every_number_keeps_the_limits_of_the_table() {
    for known in table::variables() {
        let table::Kind::Number { min, max } = known.kind else { continue };
        for value in [min.wrapping_sub(1), max + 1] {
            let errors = bad(&format!("{}={value}", known.name));
            let limits = format!("must be a whole number from {min} to {max}");
            let line = format!("{}={value} (environment): {limits}", known.name);
            assert_eq!(errors, [line]);
        }
    }
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    for (environment, error) in [
        (
            "HOLD_TTL_SECONDS=1801",
            "HOLD_MAX_LIFE_SECONDS=1800 (default): must be at least HOLD_TTL_SECONDS (1801)",
        ),
        ("DB_POOL_SIZE=10", "LANES=8 (default): must be at most half of DB_POOL_SIZE (10)"),
        ("DB_USER=me", "DB_USER=me (environment): has no effect without DB_HOST"),
        ("REDIS_PASSWORD=x", "REDIS_PASSWORD (environment): has no effect without REDIS_HOST"),
        (
            "HASHING_ALG=none",
            "HASHING_ALG=none (environment): must be HS256, the only supported algorithm",
        ),
    ] {
        assert_eq!(bad(environment), [error], "{environment}");
    }
    assert_eq!(good("HASHING_ALG=hs256\nSWEEP_INTERVAL_MS=0").sweep_interval, None);
}

#[test]
fn a_setting_that_does_not_exist_is_named_with_the_one_that_was_meant() {
    let unknown = "HOLD_TTL_SECOND (environment): unknown setting; did you mean HOLD_TTL_SECONDS?";
    assert_eq!(bad("HOLD_TTL_SECOND=1\nPATH=/bin"), [unknown]);
    let errors = from("", "SERCET_KEY=hunter2\nPOSTGRES_PASSWORD=x").err().expect("refused");
    let unknown = "SERCET_KEY (.env): unknown setting; did you mean SECRET_KEY?";
    assert_eq!(errors.to_string(), unknown);
}

#[test]
fn a_secret_key_is_required_where_one_cannot_be_made_up() {
    let short = "SECRET_KEY (environment): must have 32 bytes or more";
    assert_eq!(bad("SECRET_KEY=0123456789abcdef0123456789abcde"), [short]);
    let missing = "SECRET_KEY (default): is required in production: 32 bytes or more";
    assert_eq!(bad("ENVIRONMENT=Production"), [missing]);
    let missing = "SECRET_KEY (default): is required with a database server: 32 bytes or more";
    assert_eq!(bad("DATABASE_URL=postgres://db/x"), [missing]);
    let known = "SECRET_KEY (environment): is the example value, which is public";
    assert_eq!(bad(&format!("SECRET_KEY={}", table::SECRET_KEY_PLACEHOLDER)), [known]);
    let config = good(&format!("SECRET_KEY={KEY}\nENVIRONMENT=production\nDB_HOST=db"));
    assert_eq!(config.secret_key.expect("set").expose_secret(), KEY);
}

#[test]
fn parts_make_a_url_and_a_url_wins_over_parts() {
    let parts = format!(
        "SECRET_KEY={KEY}\nDB_HOST=::1\nDB_USER=me@x\nDB_PASSWORD=pa \
         ss/1\nDB_NAME=shop\nREDIS_HOST=cache"
    );
    let config = good(&parts);
    let url = "postgres://me%40x:pa%20ss%2F1@[::1]:5432/shop";
    assert_eq!(config.store_url.expose_secret(), url);
    assert_eq!(config.gate_url.expect("set").expose_secret(), "redis://cache:6379");
    let config = good(&format!("{parts}\nDATABASE_URL=sqlite://a.db\nREDIS_URL=rediss://:x@c"));
    assert_eq!(config.store_url.expose_secret(), "sqlite://a.db");
    assert_eq!(config.gate_url.expect("set").expose_secret(), "rediss://:x@c");
    let config = good("DATA_DIR=/srv/a b/");
    assert_eq!(config.store_url.expose_secret(), "sqlite:///srv/a b/reservix.db");
    // What Kubernetes says of a Service called `redis` is nobody's setting.
    assert!(good("REDIS_PORT=tcp://10.0.0.1:6379").gate_url.is_none());
}

#[test]
fn secrets_are_shown_nowhere() {
    let config = good(&format!(
        "SECRET_KEY={KEY}\nMETRICS_TOKEN=hunter2\nDB_HOST=db\nDB_PASSWORD=hunter2\n\
         REDIS_URL=redis://me:hunter2@cache"
    ));
    let text = config.render();
    assert!(!text.contains("hunter2") && !text.contains(KEY), "{text}");
    assert_eq!(shown(&config, "SECRET_KEY"), "SECRET_KEY=******** # environment");
    let url = "DATABASE_URL=postgres://reservix:********@db:5432/reservix # environment";
    assert_eq!(shown(&config, "DATABASE_URL"), url);
    let url = "REDIS_URL=redis://me:********@cache # environment";
    assert_eq!(shown(&config, "REDIS_URL"), url);
    assert_eq!(shown(&good(""), "METRICS_TOKEN"), "METRICS_TOKEN= # default");

    let errors = bad(
        "METRICS_TOKEN=hunter2 é\nSECRET_KEY=hunter2\nDATABASE_URL=hunter2\nDB_PASSWORD=hunter2",
    );
    assert_eq!(errors.len(), 4, "{errors:?}");
    assert!(!errors.concat().contains("hunter2"), "{errors:?}");
}

#[test]
fn lists_and_booleans_are_read_in_every_form() {
    let config = good(
        "ALLOWED_ORIGINS=[http://a, http://b]\nTRUSTED_PROXIES=[\"10.0.0.0/8\",\"::1\"]\n\
         RATE_LIMIT_ENABLED=OFF\nAPP_DEBUG=Yes",
    );
    let Origins::Only(origins) = &config.allowed_origins else { panic!("not any") };
    assert_eq!(origins, &["http://a", "http://b"]);
    assert!(config.trusted_proxies[0].contains("10.1.2.3".parse().expect("an address")));
    assert!(!config.rate_limit_enabled && config.app_debug);
    assert_eq!(good("ALLOWED_ORIGINS=*").allowed_origins, Origins::Any);
}

#[test]
fn a_dotenv_file_may_be_missing_but_not_broken() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(".env");
    assert_eq!(read_dotenv(&path), Ok(vec![]));
    std::fs::write(&path, "# a comment\nPORT 9000\n").expect("written");
    let errors = read_dotenv(&path).expect_err("refused");
    assert!(errors[0].ends_with(".env: line 2: expected NAME=value"), "{errors:?}");
    std::fs::write(&path, b"PORT=\xff").expect("written");
    assert!(read_dotenv(&path).is_err());
}

#[test]
fn a_secret_may_stand_in_a_file_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("written");
        path.display().to_string()
    };
    let (key, password) = (file("key", &format!("{KEY}\n")), file("password", "hun ter/2\r\n"));
    let url = file("url", "redis+sentinel://:hunter2@one,two/sale\n");
    let settings = format!(
        "SECRET_KEY_FILE={key}\nDB_HOST=db\nDB_PASSWORD_FILE={password}\nREDIS_URL_FILE={url}"
    );
    let config = good(&settings);
    assert_eq!(config.secret_key.as_ref().expect("set").expose_secret(), KEY);
    let store = "postgres://reservix:hun%20ter%2F2@db:5432/reservix";
    assert_eq!(config.store_url.expose_secret(), store);
    let gate = "redis+sentinel://:hunter2@one,two/sale";
    assert_eq!(config.gate_url.as_ref().expect("set").expose_secret(), gate);
    assert_eq!(shown(&config, "SECRET_KEY"), "SECRET_KEY=******** # environment");
    assert_eq!(shown(&config, "SECRET_KEY_FILE"), format!("SECRET_KEY_FILE={key} # environment"));
    assert!(!config.render().contains("hunter2") && !config.render().contains("hun ter"));
    let (store, cache) = (file("store", "sqlite://a.db"), file("cache", "x"));
    let config =
        good(&format!("DATABASE_URL_FILE={store}\nREDIS_HOST=cache\nREDIS_PASSWORD_FILE={cache}"));
    assert_eq!(config.store_url.expose_secret(), "sqlite://a.db");
    assert_eq!(config.gate_url.expect("set").expose_secret(), "redis://:x@cache:6379");

    // The environment wins over `.env`, whichever of the two forms it uses.
    let other = "fedcba9876543210fedcba9876543210";
    for (environment, dotenv, value) in [
        (format!("SECRET_KEY={other}"), format!("SECRET_KEY_FILE={key}"), other),
        (format!("SECRET_KEY_FILE={key}"), format!("SECRET_KEY={other}"), KEY),
        (format!("SECRET_KEY={other}\nSECRET_KEY_FILE="), String::new(), other),
    ] {
        let config = from(&environment, &dotenv).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(config.secret_key.expect("set").expose_secret(), value, "{environment}");
    }
}

#[test]
fn a_file_that_holds_no_secret_is_told_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("key");
    let set = format!("SECRET_KEY_FILE={}", path.display());
    let told = |problem: &str| format!("{set} (environment): {problem}");
    let missing = told("cannot be read: No such file or directory (os error 2)");
    assert_eq!(bad(&format!("{set}\nENVIRONMENT=production")), [missing]);
    std::fs::write(&path, " \n").expect("written");
    assert_eq!(bad(&set), [told("is empty")]);
    std::fs::write(&path, vec![b'x'; 100_000]).expect("written");
    assert_eq!(bad(&set), [told("has more than 65536 bytes")]);
    std::fs::write(&path, "hunter2").expect("written");
    assert_eq!(bad(&set), ["SECRET_KEY (environment): must have 32 bytes or more"]);
    std::fs::write(&path, table::SECRET_KEY_PLACEHOLDER).expect("written");
    let known = "SECRET_KEY (environment): is the example value, which is public";
    assert_eq!(bad(&set), [known]);
    let both = told("SECRET_KEY is set as well: set only one of them");
    assert_eq!(bad(&format!("{set}\nSECRET_KEY={KEY}")), [both]);
}

#[test]
fn every_kind_of_redis_is_let_through_and_shown_without_passwords() {
    for (scheme, place) in [
        ("redis", "one:1/3"),
        ("rediss", "one:1/3"),
        ("redis+sentinel", "one:1,two:2/sale"),
        ("rediss+sentinel", "one:1,two:2/sale"),
        ("redis+cluster", "one:1,two:2"),
        ("rediss+cluster", "one:1,two:2"),
    ] {
        let url = format!("{scheme}://me:hunter2@{place}");
        let config = good(&format!("REDIS_URL={url}"));
        assert_eq!(config.gate_url.as_ref().expect("set").expose_secret(), url);
        let hidden = format!("REDIS_URL={scheme}://me:********@{place} # environment");
        assert_eq!(shown(&config, "REDIS_URL"), hidden);
    }
}

#[test]
fn the_setting_that_says_where_the_store_is_is_known() {
    let key = format!("SECRET_KEY={KEY}");
    for (settings, setting) in [
        ("", "DATA_DIR"),
        ("DATA_DIR=/srv/data", "DATA_DIR"),
        ("DB_HOST=db", "DB_HOST"),
        ("DATABASE_URL=postgres://db/x", "DATABASE_URL"),
        ("DATABASE_URL=sqlite://a.db\nDB_HOST=db", "DATABASE_URL"),
    ] {
        assert_eq!(good(&format!("{key}\n{settings}")).store_setting, setting, "{settings}");
    }
}

#[test]
fn a_process_is_reached_where_it_listens() {
    for (environment, url) in [
        ("", Some("http://127.0.0.1:8000")),
        ("HOST=0.0.0.0\nPORT=9000", Some("http://127.0.0.1:9000")),
        ("HOST=::", Some("http://[::1]:8000")),
        ("HOST=box.lan", Some("http://box.lan:8000")),
        ("PORT=0", None),
    ] {
        assert_eq!(good(environment).local_url().as_deref(), url, "{environment}");
    }
}
