"""A real server on loopback, in a folder of its own, for the scripts that hold it against its document."""

import contextlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

START_SECONDS_MAX = 20
STOP_SECONDS_MAX = 15
AUDIT_SECONDS_MAX = 60
LOG_LINES_SHOWN = 60


class Problem(Exception):
    """Something that makes the rest of a run pointless."""


class Server:
    """Runs `binary` from the entry of a `with` to its end; what went wrong then is in `problems`.

    At the end it must stop cleanly, its log must hold no panic, and `reservix audit` must find nothing.
    """

    def __init__(self, binary: Path, **settings: str) -> None:
        self.binary = binary
        self.settings = {"HOST": "127.0.0.1", "PORT": "0", "LOG_FORMAT": "text", "RATE_LIMIT_ENABLED": "false"}
        self.settings.update(settings)
        self.problems: list[str] = []
        self.url = ""

    def __enter__(self) -> "Server":
        self.folder = tempfile.mkdtemp(prefix="reservix-contract-")
        self.log = Path(self.folder, "server.log")
        with self.log.open("wb") as out:
            command = [self.binary, "serve"]
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=self.environment(), stdout=out, stderr=out
            )
        try:
            self.url = self.wait_until_ready()
        except BaseException:
            self.print_log()
            self.process.kill()
            self.process.wait()
            shutil.rmtree(self.folder)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.problems += self.stop() + self.panics() + self.audit()
        shutil.rmtree(self.folder)

    def environment(self) -> dict[str, str]:
        """Only what is given, so that no setting of the caller changes the run."""
        return {"PATH": os.environ["PATH"], "DATA_DIR": self.folder + "/data", **self.settings}

    def wait_until_ready(self) -> str:
        """Where it listens, as its log says, once it is ready."""
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Problem(f"the server ended at its start with code {self.process.returncode}")
            told = re.search(r"address: (http://[0-9.:]+)\n", self.log.read_text(errors="replace"))
            with contextlib.suppress(OSError):
                if told:
                    with urllib.request.urlopen(told[1] + "/health/ready", timeout=1) as answer:
                        if answer.status == 200:
                            return told[1]
            time.sleep(0.05)
        raise Problem(f"the server was not ready within {START_SECONDS_MAX} s")

    def document(self) -> dict:
        """The OpenAPI document that it serves."""
        with urllib.request.urlopen(self.url + "/openapi.json", timeout=10) as answer:
            return json.load(answer)

    def stop(self) -> list[str]:
        self.process.terminate()
        try:
            code = self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return [f"the server did not stop within {STOP_SECONDS_MAX} s"]
        return [f"the server stopped with code {code}"] if code else []

    def panics(self) -> list[str]:
        lines = self.log.read_text(errors="replace").splitlines()
        return [f"a panic in the server's log: {line}" for line in lines if "panicked at" in line]

    def audit(self) -> list[str]:
        found = subprocess.run(
            [self.binary, "audit"],
            cwd=self.folder,
            env=self.environment(),
            timeout=AUDIT_SECONDS_MAX,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        code = found.returncode
        return [f"`reservix audit` ended with code {code}:\n{found.stdout}"] if code else []

    def print_log(self) -> None:
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        print("\nThe last lines of the server's log:", *lines, sep="\n  ")


def binary(arguments: list[str]) -> Path:
    """The binary that is named, or the one that the tests of the workspace run, built like them."""
    if arguments:
        return Path(arguments[0]).resolve()
    command = ["cargo", "test", "--workspace", "--locked", "--no-run", "--quiet"]
    subprocess.run(command, cwd=ROOT, check=True)
    return ROOT / "target/debug/reservix"


def installed(venv: Path, requirements: Path) -> Path:
    """The programs of an environment of its own, made anew when the requirements have changed."""
    wanted, told = requirements.read_text(), venv / "installed.txt"
    if not told.exists() or told.read_text() != wanted:
        shutil.rmtree(venv, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        pip = [venv / "bin/pip", "--disable-pip-version-check", "--quiet", "install"]
        subprocess.run([*pip, "--requirement", requirements], check=True)
        told.write_text(wanted)
    return venv / "bin"


def report(name: str, problems: list[str], success: str) -> int:
    """Says how a run went, and gives its exit code."""
    for problem in problems:
        print(f"{name}: {problem}", file=sys.stderr)
    print(f"{name}: FAILED" if problems else f"{name}: {success}")
    return 1 if problems else 0


def behind(folder: Path, statement: str) -> None:
    """Changes the database behind the server's back, and waits until the server knows."""
    database = sqlite3.connect(folder / "reservix.db")
    with contextlib.closing(database), database:
        database.execute(statement)
    time.sleep(1.1)
