"""The session that the examples of the document are taken from."""

import contextlib
import http.client
import re
import shutil
import sqlite3
import subprocess
import tempfile
import threading
import time
from glob import glob
from pathlib import Path
from urllib.parse import urlsplit

from server import Problem, Server, behind
from wire import Answer, of, send, send_raw

PASSWORD = "correct horse battery"
# Who is invited; to others an event of Ada's does not belong to him.
BOB = {"email": "bob@example.com", "password": PASSWORD}
NOWHERE = "01a20500-0000-8000-8000-000000000000"
BODY_SECONDS = 1

LAYOUT = {
    "categories": [{"name": "Front", "price": 6500}, {"name": "Rear", "price": 3500}],
    "focal": {"x": 75, "y": 0},
    "rows": [
        {
            "label": label,
            "seats": [
                {"number": str(1 + place), "x": 50 * place, "y": 90 * row, "category": category}
                | ({"accessible": True} if (label, place) == ("A", 0) else {})
                | ({"companion": True} if (label, place) == ("A", 1) else {})
                for place in range(8)
            ],
        }
        for row, (label, category) in enumerate([("A", "Front"), ("B", "Front"), ("C", "Rear"), ("D", "Rear")])
    ],
}
CSV = "row,seat,category,price\n" + "".join(
    f"{row},{seat},{category},{price}\n"
    for row, category, price in [("A", "Front", 6500), ("B", "Front", 6500), ("C", "Rear", 3500), ("D", "Rear", 3500)]
    for seat in range(1, 9)
)
EVENT = {
    "title": "Midsummer Night",
    "description": "Doors open at eight.",
    "venue": "Open Air Stage",
    "event_date": "2099-06-21T21:30:00+02:00",
    "timezone": "Europe/Berlin",
    "max_seats_per_user": 40,
    "cancellable_until": "2099-06-14T00:00:00+02:00",
    "sections": [
        {"name": "Floor", "capacity": 500, "price": 4500, "currency": "EUR"},
        {"name": "Stalls", "currency": "EUR", "layout": LAYOUT},
    ],
}
SHORT = {
    "title": "A Play",
    "event_date": "2099-09-01",
    "sections": [{"name": "Stalls", "price": 4500, "layout": {"rows": "A-E", "seats_per_row": 10, "aisles_after": [5]}}],
}


class Session:
    """Calls by the names of their operations, and what is kept of them."""

    def __init__(self, server: Server) -> None:
        self.url = server.url
        paths = server.document()["paths"]
        self.calls = {
            operation["operationId"]: (method, path, operation)
            for path, item in paths.items()
            for method, operation in item.items()
        }
        self.token: str | None = None
        self.operations: dict[str, dict] = {}
        self.problems: dict[str, object] = {}

    def send(self, name: str, token: str | None = None, **parts: object) -> Answer:
        method, path, operation = self.calls[name]
        headers = dict(parts.pop("headers", {}))
        token = token or self.token
        if token and operation.get("security"):
            headers["Authorization"] = f"Bearer {token}"
        return send(self.url, method, path, headers=headers, **parts)

    def keep(self, name: str, example: str, summary: str, **parts: object) -> object:
        """Makes an example of a call and of its answer."""
        answer = self.send(name, **parts)
        if answer.status not in (200, 201, 204):
            raise Problem(f"{name}, {example}: {answer.status} {answer.body}")
        kept = self.operations.setdefault(name, {"parameters": {}, "requests": [], "answers": []})
        values = {**parts.get("values", {}), **parts.get("query", {})}
        for parameter, value in values.items():
            kept["parameters"].setdefault(parameter, value)
        if (body := parts.get("body")) is not None:
            media_type = parts.get("media_type", "application/json")
            kept["requests"].append({"name": example, "summary": summary, "media_type": media_type, "value": body})
        if answer.body != "":
            self.keep_answer(name, example, summary, answer)
        return answer.body

    def keep_answer(self, name: str, example: str, summary: str, answer: Answer) -> None:
        kept = self.operations.setdefault(name, {"parameters": {}, "requests": [], "answers": []})
        kept["answers"].append(
            {
                "status": str(answer.status),
                "name": example,
                "summary": summary,
                "media_type": answer.media_type,
                "value": answer.body,
            }
        )

    def refuse(self, code: str, answer: Answer, name: str | None = None) -> None:
        """Makes an example of a problem: of one call, or of all that answer with it."""
        if not isinstance(answer.body, dict) or answer.body.get("code") != code:
            raise Problem(f"{code} was expected, not {answer.status} {answer.body}")
        if name:
            self.keep_answer(name, code, answer.body["title"], answer)
        else:
            self.problems[code] = answer.body


def play(program: Path) -> tuple[dict, list[str]]:
    """What a session brings, as the file of examples has it, and what went wrong with the servers."""
    server = Server(program, BODY_TIMEOUT_SECONDS=str(BODY_SECONDS))
    with server:
        session = Session(server)
        ids = successes(session)
        of_operators(session, Path(server.folder, "data"))
        refusals(session, ids)
        late_and_large(session)
        while_locked(session, ids, Path(server.folder, "data"))
        calling_off(session, ids)
        stopping(session, server)
    limited = Server(program, RATE_LIMIT_ENABLED="true", RATE_LIMIT_LOGINS_PER_MINUTE="1")
    with limited:
        for _ in range(2):
            answer = send(limited.url, "post", "/api/v1/auth/login", body={"email": "ada@example.com", "password": "?"})
        session.refuse("rate_limited", answer)
    hoarding = Server(program, RATE_LIMIT_ENABLED="true", RATE_LIMIT_HELD_SEATS_PER_BUYER="1")
    with hoarding:
        session.refuse("hold_limit", second_hold(Session(hoarding)))
    without_store(session, program)
    return (
        {"operations": dict(sorted(session.operations.items())), "problems": dict(sorted(session.problems.items()))},
        server.problems + limited.problems + hoarding.problems,
    )


def successes(session: Session) -> dict[str, str]:
    """Every call, in an order that works, with the ids that the others need."""
    account = {"email": "ada@example.com", "password": PASSWORD}
    keep = session.keep
    ada = keep("register", "ada", "A new account", body={**account, "name": "Ada"})
    bob = keep("register", "bob", "A second account, which is invited below", body={**BOB, "name": "Bob"})
    tokens = keep("login", "ada", "The account from the previous example", body=account)
    session.token = tokens["access_token"]
    keep("get_me", "ada", "The account")
    keep("update_me", "name", "Another name", body={"name": "Ada Lovelace"})
    fresh = keep("refresh_tokens", "refresh", "The token of the login", body={"refresh_token": tokens["refresh_token"]})
    keep("logout", "logout", "The newest token", body={"refresh_token": fresh["refresh_token"]})
    # The same again, so that the other examples can be sent once more.
    change = {"current_password": PASSWORD, "new_password": PASSWORD}
    keep("change_password", "password", "From one password to another", body=change)
    session.token = session.send("login", body=account).body["access_token"]
    keep("logout_all", "nothing", "No body", body={})
    session.token = session.send("login", body=account).body["access_token"]

    leaver = {"email": "leaver@example.com", "password": PASSWORD}
    session.send("register", body=leaver)
    leavers = session.send("login", body=leaver).body["access_token"]
    keep("delete_me", "leave", "With the password", token=leavers, body={"password": PASSWORD})

    visitor = keep("create_visitor", "new", "A new visitor", body={})
    event = keep("create_event", "1_floor_and_stalls", "Counted seats, and numbered ones", body=EVENT)
    keep("create_event", "2_short_layout", "Numbered seats in the short form", body=SHORT)
    of_event = {"event_id": event["event_id"]}
    series = keep("create_series", "season", "A season of concerts", body={"title": "Season 2099"})
    of_series = {"series_id": series["series_id"]}
    keep("list_series", "page", "A page", query={"limit": 20})
    keep("get_series", "series", "The series", values=of_series)
    keep("update_series", "title", "Another title", values=of_series, body={"title": "Summer season 2099"})
    keep("list_events", "page", "A page", query={"q": "midsummer", "from": "2099-01-01", "limit": 20})
    keep("get_event", "event", "The event", values=of_event)
    keep("update_event", "venue", "Another venue, and longer holds", values=of_event,
         body={"venue": "Town Hall", "hold_ttl_seconds": 900})
    keep("get_availability", "seats", "For its organizer", values=of_event)
    keep("create_section", "balcony", "Counted seats", values=of_event,
         body={"name": "Balcony", "capacity": 120, "price": 7500, "currency": "EUR"})
    floor, stalls = {**of_event, "section_id": "Floor"}, {**of_event, "section_id": "Stalls"}
    keep("get_section", "section", "The section", values=floor)
    keep("update_section", "capacity", "More seats at another price", values=floor,
         body={"capacity": 600, "price": 4800})

    keep("set_layout", "1_full", "Seat by seat", values=stalls, body=LAYOUT)
    keep("set_layout", "2_table", "A table", values=stalls, body=CSV, media_type="text/csv")
    keep("get_drawing", "drawing", "The drawing", values=stalls)
    keep("get_drawing", "table", "The same as a table", values=stalls, headers={"Accept": "text/csv"})
    keep("set_blocked_seats", "1_names", "Numbered seats", values=stalls,
         body={"seats": ["D-7", "D-8"], "reason": "The mixing desk stands there"})
    keep("set_blocked_seats", "2_none", "Unblock all seats", values=stalls,
         body={"seats": [], "reason": "The mixing desk is gone"})

    booking = keep("create_hold", "1_number", "A number of seats in a section",
                   body={**of_event, "section_id": "Floor", "seats_requested": 2})
    keep("create_hold", "2_names", "Seats by name",
         body={**of_event, "section_id": "Stalls", "seats": ["B-4", "B-5"]})
    keep("create_hold", "3_best_available", "Best available seats",
         body={**of_event, "best_available": {"number": 3, "sections": ["Stalls"], "max_price": 5000, "adjacent": True}})
    keep("create_hold", "4_cart", "Several sections, all or nothing",
         body={**of_event, "items": [{"section_id": "Floor", "seats_requested": 1},
                                     {"section_id": "Stalls", "seats": ["A-4", "A-5"]}]})
    keep("create_hold", "5_customer", "For a customer, as a member who may sell",
         body={**of_event, "section_id": "Floor", "seats_requested": 1, "buyer": {"ref": "cust-42"}})
    keep("create_hold", "6_beyond_limits", "Beyond limits of the event, as a member who may",
         body={**of_event, "section_id": "Floor", "seats_requested": 1, "buyer": {"ref": "cust-42"},
               "overrides": ["buyer_limit", "sale_window"]})
    keep("get_seats_status", "status", "Seats that are not available", values=stalls)
    of_booking = {"booking_id": booking["booking_id"]}
    keep("get_booking", "hold", "A hold", values=of_booking)
    keep("list_bookings", "page", "A page", query={**of_event, "limit": 20})
    keep("update_booking", "other_seats", "Different seats", values=of_booking,
         body={"items": [{"section_id": "Floor", "seats_requested": 1},
                         {"section_id": "Stalls", "seats": ["C-1", "C-2"]}]})
    nothing = {"values": of_booking, "body": {}}
    keep("extend_booking", "nothing", "No body", **nothing)
    keep("confirm_booking", "nothing", "No body", **nothing)
    keep("confirm_booking_by_patch", "nothing", "No body", **nothing)
    keep("cancel_booking", "nothing", "No body", **nothing)
    keep("list_event_bookings", "page", "A page", values=of_event, query={"limit": 20})
    # Before the page has made a team.
    keep("transfer_event", "personal", "To the personal organization of the caller", values=of_event,
         body={"organization_id": ada["user_id"]})
    of_organizations(session, bob["user_id"])
    for name in ["get_info", "get_liveness", "get_readiness", "get_health"]:
        keep(name, "answer", "The answer")
    keep("get_info", "page", "For browsers", headers={"Accept": "text/html"})
    expired = {"code": "hold_expired"}
    keep("get_problem", "answer", "A hold that has expired", values=expired)
    keep("get_problem", "page", "For browsers", values=expired, headers={"Accept": "text/html"})
    metrics = session.send("get_metrics")
    wanted = re.compile(r"(# (HELP|TYPE) )?reservix_(gate_up|store_up)\b")
    lines = [line for line in metrics.body.splitlines() if wanted.match(line)]
    # The exporter tells its meters in any order, each with its help and its type before its value.
    lines.sort(key=lambda line: re.search(r"reservix_\w+", line)[0])
    session.keep_answer("get_metrics", "meters", "Some of the metrics",
                        Answer(200, "text/plain", "\n".join(lines) + "\n", {}))
    return {**of_event, **of_booking, "visitor": visitor["access_token"]}


def of_organizations(session: Session, bob: str) -> None:
    """A team that gets a second member, who becomes its owner; in the end its founder leaves."""
    keep = session.keep
    bobs = session.send("login", body=BOB).body["access_token"]
    team = keep("create_organization", "team", "A team", body={"name": "Open Air Stage"})
    of_team = {"organization_id": team["organization_id"]}
    of_bob = {**of_team, "user_id": bob}
    keep("list_organizations", "page", "A page", query={"limit": 20})
    keep("get_organization", "team", "The team", values=of_team)
    keep("update_organization", "name", "Another name", values=of_team, body={"name": "Town Hall"})
    invitation = keep("create_invitation", "seller", "For somebody who sells", values=of_team,
                      body={"email": BOB["email"], "role": "box_office"})
    keep("list_invitations", "page", "A page", values=of_team, query={"limit": 20})
    keep("accept_invitation", "bob", "By the user who was invited", token=bobs, body={"token": invitation["token"]})
    keep("list_members", "page", "A page", values=of_team, query={"limit": 20})
    key = keep("create_key", "shop", "For a shop's server", values=of_team,
               body={"name": "Shop", "scopes": ["event.read", "booking.sell"], "networks": ["192.0.2.0/24"]})
    of_key = {**of_team, "key_id": key["key_id"]}
    keep("list_keys", "page", "A page", values=of_team, query={"limit": 20})
    keep("get_key", "shop", "The key", values=of_key)
    keep("update_key", "smaller", "Fewer scopes", values=of_key, body={"scopes": ["event.read"]})
    keep("rotate_key", "day", "The former secret works for another day", values=of_key, body={})
    keep("delete_key", "shop", "The key ends", values=of_key)
    keep("update_member", "role", "Another role", values=of_bob, body={"role": "manager"})
    keep("transfer_organization", "bob", "To another member", values=of_team,
         body={"user_id": bob, "password": PASSWORD})
    keep("list_access_log", "page", "A page", values=of_team, query={"limit": 20})
    keep("delete_invitation", "ended", "One that has ended stays as it is",
         values={**of_team, "invitation_id": invitation["invitation_id"]})
    keep("delete_member", "me", "Leaving; another owner is removed with the password",
         values={**of_team, "user_id": "me"}, query={"keys": "revoke"}, body={"password": PASSWORD})


def of_operators(session: Session, folder: Path) -> None:
    """What Ada reads while she is an operator of the installation, as nobody can become by a call."""
    behind(folder, "INSERT INTO operators SELECT user_id, 0 FROM users WHERE email = 'ada@example.com'")
    session.keep("list_whole_access_log", "page", "A page", query={"limit": 20})
    behind(folder, "DELETE FROM operators")


def made(session: Session, **changes: object) -> dict:
    """An event that is no example."""
    body = {"title": "Another", "event_date": "2099-06-15", "sections": [{"name": "A", "capacity": 3}], **changes}
    answer = session.send("create_event", body=body)
    if answer.status != 201:
        raise Problem(f"no event: {answer.body}")
    return {"event_id": answer.body["event_id"]}


def held(session: Session, event: dict, **wanted: object) -> Answer:
    return session.send("create_hold", body={**event, "section_id": "A", "seats_requested": 1, **wanted})


def second_hold(session: Session) -> Answer:
    """What a new user gets who holds a seat, and then another one."""
    account = {"email": "ada@example.com", "password": PASSWORD}
    session.send("register", body=account)
    session.token = session.send("login", body=account).body["access_token"]
    event = made(session)
    held(session, event)
    return held(session, event)


def refusals(session: Session, ids: dict[str, str]) -> None:
    """Every refusal that a request alone can bring about."""
    of_event, of_booking = {"event_id": ids["event_id"]}, {"booking_id": ids["booking_id"]}
    refuse, call = session.refuse, session.send
    bobs = call("login", body=BOB).body["access_token"]
    refuse("not_organizer", call("update_event", token=bobs, values=of_event, body={"title": "Mine"}))
    refuse("email_taken", call("register", body=BOB))
    refuse("invalid_credentials", call("login", body={**BOB, "password": "a guess"}))
    refuse("invalid_refresh_token", call("refresh_tokens", body={"refresh_token": "a guess"}))
    refuse("invalid_token", call("create_visitor", body={**of_booking, "booking_token": "a guess"}))
    refuse("account_required", call("get_me", token=ids["visitor"]))
    refuse("unauthorized", send(session.url, "get", "/api/v1/users/me"))
    refuse("malformed_json", call("register", body='{"email":'))
    refuse("unsupported_media_type", call("register", body="email=bob", media_type="application/x-www-form-urlencoded"))

    refuse("events_open", call("delete_me", body={"password": PASSWORD}))
    refuse("sale_not_open", held(session, made(session, sales_start="2099-01-01T10:00:00Z")))
    refuse("sale_closed", held(session, made(session, status="closed")))
    refuse("event_over", held(session, made(session, event_date="2020-06-15")))
    refuse("too_many_seats", held(session, of_event, section_id="Floor", seats_requested=51))
    few = made(session, max_seats_per_user=2)
    held(session, few)
    refuse("buyer_limit", held(session, few, seats_requested=2))
    refuse("sold_out", held(session, made(session), seats_requested=4))
    hall = {"name": "A", "price": 4500, "layout": {"rows": "A-C", "seats_per_row": 4}}
    seated = made(session, sections=[hall], prevent_orphans=True)
    first = call("create_hold", body={**seated, "section_id": "A", "seats": ["A-1", "A-2"]}).body
    refuse("seats_unavailable", call("create_hold", body={**seated, "section_id": "A", "seats": ["A-2", "A-3", "X-1"]}))
    refuse("orphan_seat", call("create_hold", body={**seated, "section_id": "A", "seats": ["B-2", "B-3"]}))
    best = {**seated, "best_available": {"number": 5, "adjacent": True}}
    refuse("not_together", call("create_hold", body=best))
    in_hall = {**seated, "section_id": "A"}
    refuse("seats_in_use", call("set_layout", values=in_hall, body={"rows": "B-C", "seats_per_row": 4}))
    refuse("seats_are_numbered", call("update_section", values=in_hall, body={"capacity": 20}))
    sold = {"booking_id": first["booking_id"]}
    call("confirm_booking", values=sold)
    items = {"items": [{"section_id": "A", "seats": ["A-3"]}]}
    refuse("not_changeable", call("update_booking", values=sold, body=items))
    refuse("extension_limit", call("extend_booking", values=sold))
    refuse("booking_cancelled", call("confirm_booking", values=of_booking))
    full = made(session)
    held(session, full, seats_requested=3)
    refuse("capacity_in_use", call("update_section", values={**full, "section_id": "A"}, body={"capacity": 2}))
    short = made(session, hold_ttl_seconds=1)
    lapsed = {"booking_id": held(session, short).body["booking_id"]}
    time.sleep(1.1)
    refuse("hold_expired", call("confirm_booking", values=lapsed))
    refuse("not_cancellable", call("cancel_booking", values=lapsed))
    refuse("currency_in_use", call("update_event", values=of_event, body={"currency": "USD"}))
    wrong = {"If-Match": 'W/"1.1.1"'}
    refuse("version_mismatch", call("update_event", values=of_event, headers=wrong, body={"title": "Late"}))
    keyed = {"Idempotency-Key": "order-4711"}
    session.send("create_hold", headers=keyed, body={**of_event, "section_id": "Floor", "seats_requested": 1})
    other = {**of_event, "section_id": "Floor", "seats_requested": 2}
    refuse("idempotency_key_reused", session.send("create_hold", headers=keyed, body=other))

    of_members(session, bobs)
    of_each_call(session, ids)


def of_members(session: Session, bobs: str) -> None:
    """Every refusal of an organization, by a team of its own."""
    refuse, call = session.refuse, session.send
    team = {"organization_id": call("create_organization", body={"name": "Team"}).body["organization_id"]}

    def invited(email: str) -> Answer:
        return call("create_invitation", values=team, body={"email": email, "role": "box_office"})

    def accepted(token: str) -> Answer:
        return call("accept_invitation", token=bobs, body={"token": token})

    refuse("last_owner", call("delete_member", values={**team, "user_id": "me"}))
    heir = {"user_id": NOWHERE, "password": PASSWORD}
    refuse("not_a_member", call("transfer_organization", values=team, body=heir))
    refuse("invitation_mismatch", accepted(invited("eva@example.com").body["token"]))
    refuse("invitation_ended", accepted("a guess"))
    accepted(invited(BOB["email"]).body["token"])
    refuse("member_exists", invited(BOB["email"]))
    refuse("permission_missing", call("update_organization", token=bobs, values=team, body={"name": "Mine"}))
    of_keys(session, team, bobs)
    # Two of them he is in already.
    for number in range(100):
        founded = call("create_organization", token=bobs, body={"name": f"Team {number}"})
    refuse("limit_reached", founded)


def of_keys(session: Session, team: dict[str, str], bobs: str) -> None:
    """Every refusal of a key, by one of Bob's."""
    call = session.send
    bob = session.send("get_me", token=bobs).body["user_id"]
    call("update_member", values={**team, "user_id": bob}, body={"role": "manager"})
    wanted = {"name": "Shop", "scopes": ["event.read"], "networks": ["192.0.2.0/24"]}
    key = call("create_key", token=bobs, values=team, body=wanted).body["secret"]
    session.refuse("address_not_allowed", call("list_series", token=key))
    by_page = {"Origin": "https://shop.example.com"}
    session.refuse("key_in_browser", call("list_series", token=key, headers=by_page))
    session.refuse("keys_exist", call("delete_member", values={**team, "user_id": bob}), "delete_member")


def of_each_call(session: Session, ids: dict[str, str]) -> None:
    """404 and 422 tell of what was asked for: every call gets its own."""
    for name, (_, path, operation) in session.calls.items():
        if name not in session.operations:
            continue
        kept = session.operations[name]
        in_path = [it["name"] for it in operation.get("parameters", []) if it["in"] == "path"]
        values = {parameter: kept["parameters"][parameter] for parameter in in_path}
        body = next((it["value"] for it in kept["requests"] if it["media_type"].endswith("json")), None)
        if values:
            missing = {**values, next(iter(values)): NOWHERE}
            session.refuse("not_found", session.send(name, values=missing, body=body), name)
        if body is None:
            answer = session.send(name, values=values, query={"colour": "red"})
        else:
            answer = session.send(name, values=values, body={**body, "colour": "red"})
        session.refuse("validation_failed", answer, name)
    gone = send(session.url, "get", "/api/v1/bookings/" + NOWHERE, headers={"Authorization": f"Bearer {session.token}"})
    session.refuse("not_found", gone)


def late_and_large(session: Session) -> None:
    """What the server says before it has read a request."""
    host = urlsplit(session.url).netloc
    head = f"POST /api/v1/auth/login HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    session.refuse("request_timeout", send_raw(session.url, f"{head}Content-Length: 20\r\n\r\n{{".encode()))
    session.refuse("body_too_large", send_raw(session.url, f"{head}Content-Length: 99999999\r\n\r\n".encode()))
    session.refuse("malformed_request", send_raw(session.url, b"GET / HTTP/1.1\r\nno colon\r\n\r\n"))
    session.refuse("uri_too_long", send(session.url, "get", "/api/v1/events", query={"q": "x" * 9_000}))
    session.refuse("headers_too_large", send(session.url, "get", "/api/v1/events", headers={"X-Long": "x" * 17_000}))


def while_locked(session: Session, ids: dict[str, str], folder: Path) -> None:
    """While somebody keeps the database, one of two equal requests is told of the other, and it fails."""
    keyed = {"Idempotency-Key": "order-4712"}
    wanted = {"event_id": ids["event_id"], "section_id": "Floor", "seats_requested": 1}
    first: list[Answer] = []

    def hold() -> None:
        first.append(session.send("create_hold", headers=keyed, body=wanted))

    lock = sqlite3.connect(folder / "reservix.db", isolation_level=None)
    with contextlib.closing(lock):
        lock.execute("BEGIN IMMEDIATE")
        waiting = threading.Thread(target=hold)
        waiting.start()
        time.sleep(0.2)
        second = session.send("create_hold", headers=keyed, body=wanted)
        waiting.join()
        lock.execute("ROLLBACK")
    session.refuse("idempotency_in_flight", second)
    session.refuse("unavailable", first[0])


def calling_off(session: Session, ids: dict[str, str]) -> None:
    of_event = {"event_id": ids["event_id"]}
    session.keep("cancel_event", "nothing", "No body", values=of_event, body={})
    wanted = {**of_event, "section_id": "Floor", "seats_requested": 1}
    session.refuse("event_cancelled", session.send("create_hold", body=wanted))
    missing = session.send("cancel_event", values={"event_id": NOWHERE}, body={})
    session.refuse("not_found", missing, "cancel_event")
    unknown = session.send("cancel_event", values=of_event, body={"colour": "red"})
    session.refuse("validation_failed", unknown, "cancel_event")


def stopping(session: Session, server: Server) -> None:
    """On a connection that was open before, a server that stops says so."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=5)
    connection.request("GET", "/health/ready")
    connection.getresponse().read()
    server.process.terminate()
    # The signal has been heard by then, and the connection is closed half a second after it.
    time.sleep(0.2)
    connection.request("GET", "/health/ready")
    session.refuse("overloaded", of(connection.getresponse()))
    connection.close()


def without_store(session: Session, program: Path) -> None:
    """What `/health` says when the database has gone."""
    with database() as (url, stop):
        server = Server(program, DATABASE_URL=url, SECRET_KEY="0" * 32)
        with server:
            stop()
            deadline = time.monotonic() + 10
            while (answer := send(server.url, "get", "/health")).status != 503:
                if time.monotonic() > deadline:
                    raise Problem(f"/health does not notice that the database has gone: {answer.body}")
                time.sleep(0.1)
        # The audit needs the database, which is gone.
        session.keep_answer("get_health", "unhealthy", "The store is away", answer)


@contextlib.contextmanager
def database():
    """A PostgreSQL of its own; its programs do not run as root."""
    programs = Path(max(glob("/usr/lib/postgresql/*/bin")))
    folder = Path(tempfile.mkdtemp(prefix="reservix-postgres-"))
    import os
    import pwd
    import socket

    user = {}
    if os.geteuid() == 0:
        postgres = pwd.getpwnam("postgres")
        os.chown(folder, postgres.pw_uid, postgres.pw_gid)
        user = {"user": postgres.pw_uid, "group": postgres.pw_gid, "extra_groups": []}
    quiet = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **user}
    data = folder / "data"
    init = [programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]
    subprocess.run(init, check=True, timeout=60, **quiet)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve = [programs / "postgres", "-D", data, "-p", str(port), "-k", folder, "-h", "127.0.0.1"]
    process = subprocess.Popen(serve, **quiet)

    def stop() -> None:
        process.terminate()
        process.send_signal(2)
        process.wait(20)

    try:
        ready = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
        deadline = time.monotonic() + 20
        while subprocess.run(ready, check=False).returncode:
            if time.monotonic() > deadline:
                raise Problem("PostgreSQL was not ready within 20 s")
            time.sleep(0.1)
        yield f"postgres://postgres@127.0.0.1:{port}/postgres", stop
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        shutil.rmtree(folder)


# ---- What changes from one session to the next ----

WAIT = re.compile(r"retry in \d+ s")
CHANGING = [
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "an id"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"), "a time"),
]
# Versions of layouts and the order of changes begin where the history of a database does.
RENEWED = {
    "access_token", "booking_token", "expires_in", "hint", "layout_version", "reference", "refresh_token",
    "request_id", "secret", "sequence", "token",
}


def plain(value: object, name: str = "", places: dict[str, int] | None = None) -> object:
    """The value with ids by the order of their appearance, and without times and secrets."""
    places = {} if places is None else places
    if isinstance(value, dict):
        return {key: plain(part, key, places) for key, part in value.items()}
    if isinstance(value, list):
        if name == "items":
            # Those of a booking come in the order of the ids of their sections.
            value = sorted(value, key=lambda item: str(item.get("section_name", "")))
        return [plain(part, name, places) for part in value]
    if name in RENEWED:
        return "changes"
    if isinstance(value, str):
        value = CHANGING[0][0].sub(lambda found: f"id {places.setdefault(found[0], len(places))}", value)
        return WAIT.sub("retry in some s", CHANGING[1][0].sub("a time", value))
    return value


def difference(then: object, now: object, where: str = "") -> str | None:
    """The first place where two sessions differ."""
    return differing(plain(then), plain(now), where)


def differing(then: object, now: object, where: str) -> str | None:
    if type(then) is not type(now):
        return f"{where}: {str(then)[:200]} was, {str(now)[:200]} is"
    if isinstance(then, dict):
        for key in [*then, *now]:
            if key not in then or key not in now:
                return f"{where}/{key} is {'new' if key in now else 'gone'}"
            if found := differing(then[key], now[key], f"{where}/{key}"):
                return found
        return None
    if isinstance(then, list):
        if len(then) != len(now):
            return f"{where} had {len(then)} parts and has {len(now)}"
        found = (differing(a, b, f"{where}/{at}") for at, (a, b) in enumerate(zip(then, now)))
        return next((it for it in found if it), None)
    return None if then == now else f"{where}: {str(then)[:200]} was, {str(now)[:200]} is"
