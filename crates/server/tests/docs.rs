//! The documentation is true: its examples are run, its links and the tests it names are looked up.
//!
//! `scripts/docs-check` does the work, in Python, because a reader should be able to run it alone. What
//! it needs (Python 3, bash, curl, jq) must be installed: without it these tests fail.

use std::path::Path;
use std::process::Command;

#[test]
fn every_example_in_the_documentation_prints_what_it_says() {
    docs_check(&[]);
}

#[test]
fn an_example_that_says_something_else_is_found() {
    docs_check(&["--self-test"]);
}

#[track_caller]
fn docs_check(arguments: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/docs-check");
    let mut command = Command::new("python3");
    command.arg(script).args(["--binary", env!("CARGO_BIN_EXE_reservix")]).args(arguments);
    let output = command.output().expect("python3 is installed");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
}
