//! Who may depend on what. Cargo keeps the fences; this test keeps them from being moved.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What a crate names under any kind of dependencies.
type Dependencies = BTreeSet<String>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The names in all tables of dependencies of a manifest, also those for one target only.
fn dependencies(manifest: &str) -> Dependencies {
    let (mut names, mut inside) = (BTreeSet::new(), false);
    for line in manifest.lines().map(str::trim) {
        if let Some(table) = line.strip_prefix('[') {
            let table = table.trim_end_matches(']');
            let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
            inside =
                kinds.iter().any(|kind| table == *kind || table.ends_with(&format!(".{kind}")));
            // A table of its own: [dependencies.tokio].
            let own = table.rsplit_once("dependencies.").map(|(_, name)| name.to_owned());
            names.extend(own);
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            names.insert(name.trim_matches('"').to_owned());
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
    let uses = |of: &Dependencies| names.iter().any(|name| of.contains(*name));
    crates().into_iter().filter(|(_, of)| uses(of)).map(|(name, _)| name).collect()
}

#[test]
fn the_rules_know_no_runtime_no_storage_no_wire_and_no_crate_of_ours() {
    let crates = crates();
    let engine = &crates["engine"];
    assert!(engine.contains("chrono"), "the manifest was read: {engine:?}");
    let outside =
        ["tokio", "futures-util", "sqlx", "redis", "axum", "hyper", "serde", "serde_json"];
    for foreign in outside.into_iter().chain(crates.keys().map(String::as_str)) {
        assert!(!engine.contains(foreign), "engine depends on {foreign}");
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
    // Nobody but a stranger may stand beside them.
    let ours: BTreeSet<_> = ["engine", "store", "server"].map(str::to_owned).into();
    for (name, dependencies) in crates.iter().filter(|(name, _)| !ours.contains(*name)) {
        assert!(dependencies.is_disjoint(&ours), "{name} is no stranger");
    }
}

#[test]
fn a_moved_fence_would_be_seen() {
    let manifest = "[package]\nname = \"engine\"\n\n[dependencies]\nuuid.workspace = true\n\
                    # sqlx = \"0.9\"\n\"redis\" = { version = \"1\" }\n\n[features]\naxum = []\n\n\
                    [dependencies.tokio]\nversion = \"1\"\n\n\
                    [target.'cfg(unix)'.dev-dependencies]\nhyper = \"1\"\n";
    let seen: Vec<_> = dependencies(manifest).into_iter().collect();
    assert_eq!(seen, ["hyper", "redis", "tokio", "uuid"]);
}
