//! The tool as a process, with its report in all three forms.

use serde_json::Value;
use std::process::{Child, Command, Stdio};

/// The tool while it runs.
pub struct Tool {
    child: Child,
    folder: tempfile::TempDir,
}

/// What it came to.
pub struct Outcome {
    pub code: i32,
    pub report: Value,
    pub html: String,
    pub stdout: String,
    pub stderr: String,
}

impl Tool {
    pub fn start(args: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str| folder.path().join(name);
        let child = Command::new(env!("CARGO_BIN_EXE_reservix-load"))
            .args(args)
            .arg("--quiet")
            .arg("--json")
            .arg(file("report.json"))
            .arg("--html")
            .arg(file("report.html"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the tool starts");
        Self { child, folder }
    }

    /// Sends it a signal by its name.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Waits for its end.
    pub fn end(self) -> Outcome {
        let out = self.child.wait_with_output().expect("it ends");
        let read = |name: &str| std::fs::read_to_string(self.folder.path().join(name));
        let json = read("report.json").unwrap_or_else(|_| "null".to_owned());
        Outcome {
            code: out.status.code().unwrap_or(-1),
            report: serde_json::from_str(&json).expect("the report is JSON"),
            html: read("report.html").unwrap_or_default(),
            stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
        }
    }
}

impl Outcome {
    pub fn operation(&self, name: &str) -> &Value {
        let operations = self.report["runs"][0]["operations"].as_array();
        let mut operations = operations.into_iter().flatten();
        operations.find(|it| it["name"] == name).unwrap_or(&Value::Null)
    }
}
