//! Stories that were found are run for ever, and planted bugs are found.

use std::path::Path;
use std::process::{Command, Output};

fn simulate(arguments: &[&str]) -> Output {
    let run = Command::new(env!("CARGO_BIN_EXE_reservix-sim")).args(arguments).output();
    run.expect("it is built")
}

fn told(output: &Output) -> String {
    let both = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    both.concat()
}

#[test]
fn what_was_found_once_is_not_found_again_and_would_be_with_its_bug() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("found");
    let files = std::fs::read_dir(folder).expect("the folder is there");
    let mut stories: Vec<_> = files.map(|file| file.expect("an entry").path()).collect();
    stories.sort();
    assert!(stories.len() >= 10, "{stories:?}");
    for story in stories {
        let output = simulate(&["--replay", story.to_str().expect("a plain name")]);
        assert!(output.status.success(), "{}: {}", story.display(), told(&output));
    }
}

#[test]
fn a_seed_is_the_same_run_in_another_process() {
    let run = || {
        let output = simulate(&["--seeds", "40..60", "--jobs", "1", "--trace"]);
        let text = told(&output);
        let digests = text.lines().filter(|line| line.contains("digest")).map(str::to_owned);
        digests.collect::<Vec<_>>()
    };
    let first = run();
    assert_eq!(first.len(), 20);
    assert_eq!(first, run());
}

#[test]
fn a_planted_bug_is_found_and_its_absence_is_not() {
    let bugs = [("no inventory lock", "0..200"), ("zombie commit ignored by a retry", "0..2000")];
    for (planted, seeds) in bugs {
        let output = simulate(&["--seeds", seeds, "--planted", planted]);
        assert!(output.status.success(), "{}", told(&output));
    }
    assert!(simulate(&["--seeds", "0..500"]).status.success());
    assert_eq!(simulate(&["--planted", "no such bug"]).status.code(), Some(2));
}
