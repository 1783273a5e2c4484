//! Who may depend on what. Cargo keeps the fences; this test keeps them from being moved.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What a crate names among its dependencies.
#[derive(Debug, Default)]
struct Dependencies {
    /// What it is built from.
    own: BTreeSet<String>,
    /// What only its tests need.
    dev: BTreeSet<String>,
}

impl Dependencies {
    fn add(&mut self, is_dev: bool, name: &str) {
        let names = if is_dev { &mut self.dev } else { &mut self.own };
        names.insert(name.to_owned());
    }

    fn contains(&self, name: &str) -> bool {
        self.own.contains(name) || self.dev.contains(name)
    }

    /// Those that are crates of ours.
    fn ours<'a>(&self, crates: &'a BTreeMap<String, Dependencies>) -> Vec<&'a str> {
        let all = crates.keys().filter(|name| self.contains(name));
        all.map(String::as_str).collect()
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The names in all tables of dependencies of a manifest, also those for one target only.
fn dependencies(manifest: &str) -> Dependencies {
    let (mut names, mut inside) = (Dependencies::default(), None);
    for line in manifest.lines().map(str::trim) {
        if let Some(table) = line.strip_prefix('[') {
            let table = table.trim_end_matches(']');
            let is_dev = table.split('.').any(|part| part == "dev-dependencies");
            let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
            let is_table =
                kinds.iter().any(|kind| table == *kind || table.ends_with(&format!(".{kind}")));
            inside = is_table.then_some(is_dev);
            // A table of its own: [dependencies.tokio].
            if let Some((_, name)) = table.rsplit_once("dependencies.") {
                names.add(is_dev, name);
            }
        } else if let (Some(is_dev), false) = (inside, line.is_empty() || line.starts_with('#')) {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            names.add(is_dev, name.trim_matches('"'));
        }
    }
    names
}

/// The crates of the workspace, by their names.
fn crates() -> BTreeMap<String, Dependencies> {
    let entries = std::fs::read_dir(root().join("crates")).expect("the crates are there");
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.expect("an entry of the folder").path();
        let manifest = std::fs::read_to_string(path.join("Cargo.toml")).ok()?;
        let name = path.file_name().expect("it has a name").to_string_lossy().into_owned();
        Some((name, dependencies(&manifest)))
    };
    entries.filter_map(read).collect()
}

/// The crates that depend on one of `names`.
fn users_of(names: &[&str]) -> Vec<String> {
    let uses = |of: &Dependencies| names.iter().any(|name| of.contains(name));
    crates().into_iter().filter(|(_, of)| uses(of)).map(|(name, _)| name).collect()
}

/// What neither the rules nor what tests them may stand on: runtimes, storage, wire formats.
const OUTSIDE: [&str; 10] = [
    "tokio",
    "futures-util",
    "sqlx",
    "rusqlite",
    "redis",
    "axum",
    "hyper",
    "reqwest",
    "serde",
    "serde_json",
];

#[test]
fn the_rules_know_no_runtime_no_storage_no_wire_and_no_crate_of_ours() {
    let crates = crates();
    let engine = &crates["engine"];
    assert!(engine.contains("chrono"), "the manifest was read: {engine:?}");
    for foreign in OUTSIDE.into_iter().chain(crates.keys().map(String::as_str)) {
        assert!(!engine.own.contains(foreign), "engine depends on {foreign}");
    }
}

#[test]
fn the_tests_of_the_rules_need_the_rules_alone() {
    let crates = crates();
    assert_eq!(crates["engine"].ours(&crates), ["suite"]);
    assert_eq!(crates["suite"].ours(&crates), ["engine"]);
    for foreign in OUTSIDE {
        for tested in ["engine", "suite"] {
            assert!(!crates[tested].contains(foreign), "{tested} depends on {foreign}");
        }
    }
    for (name, of) in &crates {
        assert!(!of.own.contains("suite") || name == "sim", "{name} ships the suite");
    }
}

/// The simulation drives the same lanes as a process does, and no process knows it.
#[test]
fn nobody_stands_on_the_simulation() {
    assert_eq!(users_of(&["sim"]), [""; 0]);
}

/// How others are reached knows what is said to them, and not where it is stored.
#[test]
fn the_way_out_knows_the_rules_alone() {
    let crates = crates();
    if let Some(outbound) = crates.get("outbound") {
        assert_eq!(outbound.ours(&crates), ["engine"]);
    }
}

#[test]
fn only_the_store_knows_databases() {
    assert_eq!(users_of(&["sqlx"]), ["store"]);
    let drivers = ["redis", "rusqlite", "libsqlite3-sys", "tokio-postgres"];
    assert!(users_of(&drivers).iter().all(|user| user == "store"));
}

#[test]
fn only_the_server_knows_how_requests_come_in() {
    assert_eq!(users_of(&["axum"]), ["loadtest", "server"]);
    assert_eq!(users_of(&["hyper"]), ["loadtest", "server"]);
}

#[test]
fn the_load_tool_is_a_stranger() {
    let crates = crates();
    for ours in crates.keys() {
        assert!(!crates["loadtest"].contains(ours), "the load tool depends on {ours}");
        assert!(!crates[ours].contains("loadtest"), "{ours} depends on the load tool");
    }
}

#[test]
fn dependencies_point_from_the_server_to_the_store_to_the_rules() {
    let crates = crates();
    assert!(crates["store"].contains("engine") && !crates["store"].contains("server"));
    assert!(crates["server"].contains("store") && crates["server"].contains("engine"));
    // Nobody else may stand on them but those above.
    let ours = ["engine", "store", "server", "suite", "outbound", "sim"];
    for (name, of) in crates.iter().filter(|(name, _)| !ours.contains(&name.as_str())) {
        let known: Vec<_> = ours.iter().filter(|name| of.contains(name)).collect();
        assert!(known.is_empty(), "{name} is no stranger: it knows {known:?}");
    }
}

/// The files of the server that may use its module `http`, each with why.
const NAMES_HTTP: [(&str, &str); 3] = [
    ("serve.rs", "starts it, or the probes alone"),
    ("cli.rs", "prints the document of the API"),
    ("demo/buyers.rs", "signs access tokens"),
];

/// Every Rust file below a folder, by its path within it.
fn sources(folder: &Path) -> BTreeMap<String, String> {
    let (mut files, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(inner) = folders.pop() {
        for entry in std::fs::read_dir(inner).expect("the folder is there") {
            let path = entry.expect("an entry of the folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let name = path.strip_prefix(folder).expect("it is below").display().to_string();
                files.insert(name, std::fs::read_to_string(path).expect("it is text"));
            }
        }
    }
    files
}

/// The statements of a source that name a module `http` of its own crate, not one of a library.
fn naming_http(source: &str) -> Vec<&str> {
    let is_letter = |letter: char| letter.is_alphanumeric() || letter == '_';
    let names_ours = |statement: &str| {
        let is_use = ["use crate::", "use super::"].iter().any(|begin| statement.contains(begin));
        statement.match_indices("http").any(|(at, word)| {
            let (before, after) = (&statement[..at], &statement[at + word.len()..]);
            let line = before.rsplit('\n').next().unwrap_or_default();
            if before.ends_with(is_letter) || after.starts_with(is_letter) || line.contains("//") {
                return false;
            }
            match before.trim_end().strip_suffix("::") {
                Some(of) => ["crate", "super", "self"].iter().any(|ours| of.ends_with(ours)),
                None => after.starts_with("::") || (is_use && !after.starts_with("://")),
            }
        })
    };
    source.split(';').filter(|statement| names_ours(statement)).collect()
}

#[test]
fn what_is_no_http_stands_on_the_core_and_never_on_http() {
    let sources = sources(&root().join("crates/server/src"));
    let outside =
        sources.iter().filter(|(name, _)| !name.starts_with("http/") && *name != "http.rs");
    let naming: BTreeSet<_> = outside
        .clone()
        .filter(|(_, source)| !naming_http(source).is_empty())
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(naming, NAMES_HTTP.map(|(name, _)| name).into());
    for part in ["core.rs", "lane.rs", "lane/", "catalog.rs", "metrics.rs", "work/", "vitals.rs"] {
        assert!(outside.clone().any(|(name, _)| name.starts_with(part)), "{part} was looked at");
    }
}

#[test]
fn every_module_stands_in_a_file_of_its_own_name() {
    for of in crates().keys() {
        let sources = sources(&root().join("crates").join(of).join("src"));
        assert!(!sources.is_empty(), "{of} has sources");
        let mut names = sources.keys().filter(|name| name.ends_with("mod.rs"));
        assert_eq!(names.next(), None, "in {of}; move it to the name of its folder");
    }
}

#[test]
fn a_way_around_the_fence_of_http_would_be_seen() {
    for planted in [
        "use crate::http::App;",
        "use crate::http;",
        "use crate::{http, log};",
        "use crate::{\n    http::App,\n    log,\n};",
        "use super::http::limits::SYNC_INTERVAL;",
        "use super::super::{catalog, http};",
        "fn f(app: &crate::http::App) {}",
        "fn f() { http::problem::code(1) }",
        "pub(crate) use crate::http as api;",
    ] {
        assert_eq!(naming_http(planted).len(), 1, "{planted}");
    }
    for clean in [
        "use axum::http::HeaderValue;",
        "use axum::{body::Body, http};",
        "// As crate::http does.\nuse crate::core::Core;",
        "use crate::core::Core;\nconst URL: &str = \"http://x\";",
        "counter!(\"reservix_http_requests_total\");",
        "struct Client { http: reqwest::Client }",
        "let client = Client { http, url };",
    ] {
        assert!(naming_http(clean).is_empty(), "{clean}");
    }
}

#[test]
fn a_moved_fence_would_be_seen() {
    let manifest = "[package]\nname = \"engine\"\n\n[dependencies]\nuuid.workspace = true\n\
                    # sqlx = \"0.9\"\n\"redis\" = { version = \"1\" }\n\n[features]\naxum = []\n\n\
                    [dependencies.tokio]\nversion = \"1\"\n\n\
                    [target.'cfg(unix)'.dev-dependencies]\nhyper = \"1\"\n";
    let Dependencies { own, dev } = dependencies(manifest);
    assert_eq!(Vec::from_iter(own), ["redis", "tokio", "uuid"]);
    assert_eq!(Vec::from_iter(dev), ["hyper"]);
}
