//! What is irreplaceable: who may read it, how it is copied, and what deletes it.

use crate::commands::{folder, good, told};
use crate::support::{Server, audit, reservix, run_in};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use testbed::postgres::Postgres;

#[test]
fn taking_back_says_what_is_lost_and_waits_for_a_yes() {
    let folder = folder();
    let run = |arguments: &[&str]| run_in(folder.path(), &[&["migrate"], arguments].concat());
    good(&run(&["up"]));
    let count = good(&run(&["status"])).lines().count();
    let refused = |arguments: &[&str]| {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", told(&output));
        let status = good(&run(&["status"]));
        assert!(status.lines().all(|line| line.ends_with("applied")), "{arguments:?}: {status}");
        told(&output)
    };
    let asked = refused(&["down", &count.to_string()]);
    for lost in ["0002 seats: the layouts of all sections", "0001 init: everything: users, events"]
    {
        assert!(asked.contains(lost), "{lost} in\n{asked}");
    }
    assert!(asked.contains("reservix.db") && asked.contains("--yes"), "{asked}");
    assert!(!refused(&["down"]).contains("everything"), "one step of several is asked about");
    // More than there are, and none, are mistakes: nothing is taken back, not even with a yes.
    for steps in [count + 1, 1_000, 0] {
        let told = refused(&["down", &steps.to_string(), "--yes"]);
        assert!(told.contains(&format!("{count} are applied")), "{told}");
    }
    let done = good(&run(&["down", &count.to_string(), "--yes"]));
    assert!(done.contains("everything: users") && done.contains("reverted"), "{done}");
    let output = run(&["down", "--yes"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).contains("0 are applied"), "{}", told(&output));
}

/// The mode of a file, such as 0o600.
fn mode(path: &Path) -> u32 {
    let found = std::fs::metadata(path).unwrap_or_else(|_| panic!("{} is there", path.display()));
    found.permissions().mode() & 0o777
}

#[tokio::test]
async fn the_files_of_the_store_are_private_also_in_a_folder_that_was_there() {
    const FILES: [&str; 5] =
        ["reservix.db", "reservix.db-wal", "reservix.db-shm", "reservix.lock", "secret_key"];
    let folder = folder();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).expect("made");
    std::fs::set_permissions(&data, Permissions::from_mode(0o755)).expect("ours");
    let start = || {
        let mut lax = Command::new("sh");
        lax.env_clear().args(["-c", "umask 000 && exec \"$0\""]).arg(reservix().get_program());
        Server::start_by(lax, folder.path(), &[])
    };
    let server = start();
    server.user().await.event(5).await;
    for file in FILES {
        assert_eq!(mode(&data.join(file)), 0o600, "{file}");
    }
    // Those that an older version or a careless copy made are mended by the next start.
    server.kill();
    for file in FILES {
        std::fs::set_permissions(data.join(file), Permissions::from_mode(0o666)).expect("ours");
    }
    let server = start();
    server.user().await.event(5).await;
    for file in FILES {
        assert_eq!(mode(&data.join(file)), 0o600, "{file} after a start");
    }
    assert_eq!(mode(&data), 0o755, "the folder is its owner's business");
}

#[tokio::test]
async fn a_backup_by_the_documented_recipe_is_private_and_can_be_audited() {
    let text = std::fs::read_to_string("../../docs/OPERATIONS.md").expect("the document");
    let (_, section) = text.split_once("\n## Backup and restore\n").expect("the section");
    let (section, _) = section.split_once("\n## ").expect("the next one");
    let recipes: Vec<_> = section
        .split("```sh\n")
        .skip(1)
        .map(|part| part.split_once("```").expect("an end").0)
        .collect();
    for recipe in &recipes {
        let copies = ["VACUUM INTO", "pg_basebackup", "pg_dump", "cp ", "pg_restore"];
        let is_copy = copies.iter().any(|word| recipe.contains(word));
        assert!(!is_copy || recipe.starts_with("umask 077\n"), "readable by all:\n{recipe}");
    }
    let recipe = recipes.iter().find(|recipe| recipe.contains("python3")).expect("one by Python");
    let server = Server::start(&[]);
    server.user().await.event(5).await;
    let (data, backup) = (server.folder().join("data"), server.folder().join("backup"));
    std::fs::create_dir(&backup).expect("made");
    let recipe = recipe
        .replace("/var/lib/reservix", data.to_str().expect("text"))
        .replace("/backup", backup.to_str().expect("text"));
    let ran = Command::new("bash").args(["-ec", &format!("umask 000; {recipe}")]).output();
    good(&ran.expect("bash is there"));
    let made: Vec<_> = std::fs::read_dir(&backup).expect("a folder").flatten().collect();
    assert_eq!(made.len(), 1, "one file");
    assert_eq!(mode(&made[0].path()), 0o600);
    let restored = folder();
    std::fs::create_dir(restored.path().join("data")).expect("made");
    std::fs::rename(made[0].path(), restored.path().join("data/reservix.db"))
        .or_else(|_| {
            std::fs::copy(made[0].path(), restored.path().join("data/reservix.db")).map(drop)
        })
        .expect("moved");
    audit(restored.path());
}

#[test]
fn a_command_that_expects_a_store_makes_none() {
    let folder = folder();
    let section = "01b8dac5-b400-801c-8000-000000000003";
    for arguments in [
        &["migrate", "down"][..],
        &["migrate", "down", "--yes"],
        &["migrate", "status"],
        &["audit"],
        &["repair", section],
        &["repair", section, "--dry-run"],
        &["log", "new-timeline"],
    ] {
        let output = run_in(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", told(&output));
        let said = told(&output);
        assert!(said.contains("there is no database at"), "{arguments:?}: {said}");
        assert!(said.contains("data/reservix.db"), "{arguments:?}: {said}");
        assert!(!folder.path().join("data").exists(), "{arguments:?} made a folder");
    }
    good(&run_in(folder.path(), &["config"]));
    assert!(!folder.path().join("data").exists(), "the settings are only read");
    // A folder that is there is not filled either.
    std::fs::create_dir(folder.path().join("data")).expect("made");
    for arguments in [&["migrate", "down", "--yes"][..], &["repair", section], &["audit"]] {
        assert_eq!(run_in(folder.path(), arguments).status.code(), Some(1));
        let files = std::fs::read_dir(folder.path().join("data")).expect("there").count();
        assert_eq!(files, 0, "{arguments:?} made a file");
    }
}

#[tokio::test]
async fn taking_back_is_refused_beside_a_running_instance_or_worker() {
    const KEY: (&str, &str) = ("SECRET_KEY", "0123456789abcdef0123456789abcdef");
    let (folder, postgres) = (folder(), Postgres::start());
    let url = postgres.create_database();
    let settings = [KEY, ("DATABASE_URL", &*url)];
    let run = |arguments: &[&str]| {
        let mut command = reservix();
        command.current_dir(folder.path()).envs(settings);
        command.args(arguments).output().expect("runs")
    };
    good(&run(&["migrate", "up"]));
    let applied = good(&run(&["migrate", "status"]));
    for role in [&["serve"][..], &["worker"]] {
        let server = Server::start_with(role, &settings);
        let output = run(&["migrate", "down", "--yes"]);
        assert_eq!(output.status.code(), Some(1), "{role:?}: {}", told(&output));
        let said = told(&output);
        let name = url.rsplit('/').next().expect("a name");
        for part in ["other processes of Reservix", name, "stop all servers", "nothing was changed"]
        {
            assert!(said.contains(part), "{part:?} is not in {said:?}");
        }
        assert_eq!(good(&run(&["migrate", "status"])), applied, "nothing was taken back");
        // A newer version migrates beside the running one, as before.
        good(&run(&["migrate", "up"]));
        let ready = server.client().outside().get("/health/ready").await;
        assert_eq!(ready.status.as_u16(), 200, "{role:?}");
        // The server gives the lock back also for a process that is killed.
        server.kill();
    }
    assert!(good(&run(&["migrate", "down", "--yes"])).contains("reverted"));
    good(&run(&["migrate", "up"]));
}
