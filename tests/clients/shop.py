"""Whether the programs of examples/shop sell each order exactly once, whatever happens to their requests."""

import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "contract"))
from server import Problem  # noqa: E402
from wire import send  # noqa: E402

PASSWORD = "correct horse battery"
RUN_SECONDS_MAX = 60
TRY_AGAIN = 75


class Between(ThreadingHTTPServer):
    """Stands between a shop and the server, and does to each request what the plan says next.

    `ok` passes it on; `lost` does so, and nobody hears the answer; `503` and `429` answer themselves; `down` is
    a `503` for as long as the plan ends with it.
    """

    daemon_threads = True

    def __init__(self, url: str) -> None:
        super().__init__(("127.0.0.1", 0), Passing)
        self.target = urlsplit(url).netloc
        self.plan: deque[str] = deque()
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def next(self) -> str:
        if not self.plan:
            return "ok"
        return self.plan[0] if self.plan[0] == "down" else self.plan.popleft()


class Passing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Between

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.pass_on()

    def do_POST(self) -> None:
        self.pass_on()

    def pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        what = self.server.next()
        if what in ("503", "429", "down"):
            status = 429 if what == "429" else 503
            return self.answer(status, {"Retry-After": "1"}, b'{"code":"unavailable"}')
        dropped = {"host", "accept-encoding"}
        kept = {name: value for name, value in self.headers.items() if name.lower() not in dropped}
        connection = HTTPConnection(self.server.target, timeout=15)
        connection.request(self.command, self.path, body or None, kept)
        found = connection.getresponse()
        answer = found.read()
        connection.close()
        if what == "lost":
            self.close_connection = True
            return None
        return self.answer(found.status, {"Content-Type": found.getheader("Content-Type") or ""}, answer)

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Trial:
    """An organizer with a key for the shop, and the shop's program."""

    def __init__(self, url: str, name: str, program: Sequence[str | Path], folder: Path) -> None:
        self.url, self.name, self.program, self.folder = url, name, program, folder
        account = {"email": f"{name}@example.com", "password": PASSWORD}
        self.call("register", "POST", "/auth/register", account)
        self.token = self.call("login", "POST", "/auth/login", account)["access_token"]
        self.organization = self.call("account", "GET", "/users/me")["user_id"]
        scopes = ["event.read", "booking.read", "booking.sell"]
        path = f"/organizations/{self.organization}/keys"
        self.key = self.call("key", "POST", path, {"name": "Shop", "scopes": scopes})["secret"]
        self.between = Between(url)

    def call(self, what: str, method: str, path: str, body: object = None) -> dict:
        headers = {"Authorization": f"Bearer {self.token}"} if hasattr(self, "token") else {}
        answer = send(self.url, method, "/api/v1" + path, headers=headers, body=body)
        if answer.status not in (200, 201):
            raise Problem(f"{self.name}: {what}: {answer.status} {answer.body}")
        return answer.body

    def event(self, capacity: int, **more: object) -> str:
        sections = [
            {"name": "Floor", "capacity": capacity, "price": 1500, "currency": "EUR"},
            {"name": "Stalls", "price": 4500, "currency": "EUR", "layout": {"rows": "A-B", "seats_per_row": 3}},
        ]
        body = {"title": "A Play", "event_date": "2099-09-01", "sections": sections, **more}
        return self.call("event", "POST", "/events", body)["event_id"]

    def run(self, *arguments: str, **settings: str) -> tuple[int, str]:
        environment = {
            "PATH": os.environ["PATH"], "RESERVIX_URL": self.between.url, "RESERVIX_KEY": self.key,
            "SHOP_DIR": str(self.folder), **settings,
        }
        command = [*self.program, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=RUN_SECONDS_MAX)
        if done.returncode not in (0, TRY_AGAIN):
            raise Problem(f"{self.name} {arguments} ended with code {done.returncode}: {done.stderr}")
        return done.returncode, done.stdout

    def sell(self, order: str, customer: str, event: str, seats: int, **settings: str) -> dict | None:
        """What became of an order; `None`: it has to be run again."""
        code, told = self.run("sell", order, customer, event, "Floor", str(seats), **settings)
        return json.loads(told) if code == 0 else None

    def sold(self, event: str) -> list[dict]:
        """The bookings of an event, as the server lists them."""
        return self.call("bookings", "GET", f"/events/{event}/bookings?limit=100")["items"]

    def paid(self, order: str) -> list[str]:
        return json.loads((self.folder / f"payment-{order}.json").read_text())["steps"]

    def expect(self, what: str, is_right: bool, seen: object) -> None:
        if not is_right:
            raise Problem(f"{self.name}: {what}: {seen}")


def check(url: str, name: str, program: Sequence[str | Path], folder: Path) -> None:
    """Runs a shop through all that can go wrong."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.json"):
        old.unlink()
    trial = Trial(url, name, program, folder)
    once_though_answers_are_lost(trial)
    later_though_nobody_answers(trial)
    refused_and_not_paid(trial)
    too_late(trial)
    shown(trial)
    trial.between.shutdown()


def once_though_answers_are_lost(trial: Trial) -> None:
    event = trial.event(10)
    trial.between.plan.extend(["lost", "503", "ok", "429", "lost", "ok"])
    first = trial.sell("lost", "cust-1", event, 2)
    trial.expect("an order is sold", first is not None and first["state"] == "sold", first)
    trial.expect("the plan was followed", not trial.between.plan, trial.between.plan)
    again = trial.sell("lost", "cust-1", event, 2)
    trial.expect("an order that is run again is the same", again == first, again)
    bookings = trial.sold(event)
    is_one = [(of["status"], of["seats_requested"]) for of in bookings] == [("CONFIRMED", 2)]
    trial.expect("there is one booking", is_one, bookings)
    trial.expect("it is paid once", trial.paid("lost") == ["authorised", "captured"], trial.paid("lost"))


def later_though_nobody_answers(trial: Trial) -> None:
    event = trial.event(10)
    # The hold happens, and so does the confirm, and then nobody is there for longer than the shop waits.
    trial.between.plan.extend(["ok", "lost", "down"])
    outcome = trial.sell("later", "cust-1", event, 1, SHOP_PATIENCE_SECONDS="2")
    trial.expect("what is unknown is not failed", outcome is None, outcome)
    trial.expect("nothing is captured or given up", trial.paid("later") == ["authorised"], trial.paid("later"))
    trial.between.plan.clear()
    outcome = trial.sell("later", "cust-1", event, 1)
    trial.expect("it goes on", outcome is not None and outcome["state"] == "sold", outcome)
    trial.expect("there is one booking", len(trial.sold(event)) == 1, trial.sold(event))
    trial.expect("it is paid once", trial.paid("later") == ["authorised", "captured"], trial.paid("later"))


def refused_and_not_paid(trial: Trial) -> None:
    event = trial.event(1, max_seats_per_user=1)
    outcome = trial.sell("fits", "cust-1", event, 1)
    trial.expect("a seat that is there is sold", outcome is not None and outcome["state"] == "sold", outcome)
    outcome = trial.sell("none", "cust-2", event, 1)
    is_refused = outcome is not None and (outcome["state"], outcome["code"]) == ("refused", "sold_out")
    trial.expect("no seat is left", is_refused, outcome)
    trial.expect("nothing is paid", "captured" not in trial.paid("none"), trial.paid("none"))


def too_late(trial: Trial) -> None:
    event = trial.event(1, hold_ttl_seconds=1)
    slow = {"SHOP_PAYING_SECONDS": "1.3"}
    outcome: list[dict | None] = []
    buying = threading.Thread(target=lambda: outcome.append(trial.sell("slow", "cust-1", event, 1, **slow)))
    buying.start()
    # Somebody else gets the seat as soon as its hold is over.
    wanted = {"event_id": event, "section_id": "Floor", "seats_requested": 1}
    headers = {"Authorization": f"Bearer {trial.token}"}
    until = time.monotonic() + 20
    while not trial.sold(event) and time.monotonic() < until:
        time.sleep(0.02)
    while time.monotonic() < until:
        other = send(trial.url, "POST", "/api/v1/bookings/hold", headers=headers, body=wanted)
        if other.status == 201:
            break
        time.sleep(0.02)
    trial.call("confirm", "POST", f"/bookings/{other.body['booking_id']}/confirm", {})
    buying.join()
    is_refused = outcome[0] is not None and outcome[0]["state"] == "refused"
    trial.expect("who is too late is refused", is_refused, outcome)
    trial.expect("and pays nothing", trial.paid("slow") == ["authorised", "void"], trial.paid("slow"))


def shown(trial: Trial) -> None:
    event = trial.event(1)
    hold = {"event_id": event, "section_id": "Stalls", "seats": ["A-2"]}
    trial.call("hold", "POST", "/bookings/hold", hold)
    _, told = trial.run("map", event, "Stalls")
    trial.expect("the map shows who is free", told.split() == ["A", "1", ".", "3", "B", "1", "2", "3"], told)
