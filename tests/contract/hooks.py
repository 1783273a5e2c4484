"""Lets generated requests reach the rules: what no schema can say is made true of most of them.

Ids that are well-formed are replaced by ids that exist, zones by zones that exist, and so on. What is not
well-formed stays as it is, so a request meant to be broken stays broken, and a quarter of the ids and of
the keys stay as they came. Every choice depends on the request alone, so a seed repeats a run.
"""

import hashlib
import json
import os
import sys
import time
import uuid
from pathlib import Path

import schemathesis

sys.path.insert(0, str(Path(__file__).parent))
import rules  # noqa: E402

EVENT = os.environ["CONTRACT_EVENT"]
SECTION = os.environ["CONTRACT_SECTION"]
SEATED_EVENT = os.environ["CONTRACT_SEATED_EVENT"]
SEATED_SECTION = os.environ["CONTRACT_SEATED_SECTION"]
DOOMED_EVENT = os.environ["CONTRACT_DOOMED_EVENT"]
BOOKINGS = os.environ["CONTRACT_BOOKINGS"].split()
EMAIL = os.environ["CONTRACT_EMAIL"]
PASSWORD = os.environ["CONTRACT_PASSWORD"]
REFRESH = os.environ["CONTRACT_REFRESH"]
# The kept event is the first thing that this run has made.
START_MS = uuid.UUID(EVENT).int >> 80
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu"]
DATES = ["2099-06-15", "2099-06-15T18:00:00Z", "2001-01-01", "2099-12-31T23:59:59.999+05:45"]


@schemathesis.hook
def filter_case(context, case):
    """An empty parameter counts as none, as forms send them; the schema of a parameter cannot say so."""
    query = case.query if isinstance(case.query, dict) else {}
    return not any(value == "" for value in query.values())


@schemathesis.hook
def map_case(context, case):
    map_path(case.operation.path, case.path_parameters)
    if isinstance(case.body, dict):
        map_body(case.body)
        if case.operation.path.endswith("/sections"):
            map_section(case.body)
        if case.operation.path.endswith("/seats"):
            map_layout(case.body)
        map_login(case.operation.path, case.body)
    map_key(case)
    return case


@schemathesis.check
def explained_422(context, response, case):
    """A well-formed request is answered 422 only for a rule that `rules.py` names, and that it breaks."""
    if response.status_code != 422 or case.meta is None or not case.meta.generation.mode.is_positive:
        return
    sent = response.request
    query = case.query if isinstance(case.query, dict) else {}
    request = rules.Request(case.operation.label, case.body, query, dict(sent.headers))
    unexplained = rules.unexplained(request, response.json())
    assert not unexplained, "no rule of tests/contract/rules.py explains: " + "; ".join(unexplained)


def map_path(path: str, parameters: object) -> None:
    """Names what stands before each id in the path: `/events/{id}/sections/{section_id}`. An event and a
    section are replaced together, since they belong together; what the server has given stays."""
    if not isinstance(parameters, dict):
        return
    parts = path.split("/")
    names = {before: part[1:-1] for before, part in zip(parts, parts[1:]) if part.startswith("{")}
    booking = parameters.get(names.get("bookings"))
    if is_replaced(booking) and not is_given(booking):
        parameters[names["bookings"]] = BOOKINGS[uuid.UUID(booking).int // 4 % len(BOOKINGS)]
    organization = parameters.get(names.get("organizations"))
    if is_replaced(organization) and not is_given(organization):
        parameters[names["organizations"]] = "me"
    event = parameters.get(names.get("events"))
    # A section that was just made has no numbered seats, and the events that are sold stay on sale.
    seated, called_off = "/seats" in path, path.endswith("/cancel")
    if not (is_given(event) and (seated or called_off) or is_replaced(event) and not is_given(event)):
        return
    kept = SEATED_EVENT if seated else EVENT
    parameters[names["events"]] = DOOMED_EVENT if called_off else kept
    section = parameters.get(names.get("sections"))
    # A section is named by its id or by its name.
    if is_text(section, 100) and (is_given(section) or len(section) % 4 != 3):
        parameters[names["sections"]] = SEATED_SECTION if seated else SECTION


def map_body(body: dict) -> None:
    if is_replaced(body.get("event_id")):
        # The event and the section of a hold belong together; a section may be an id or a name.
        body["event_id"] = EVENT
        if is_text(body.get("section_id"), 100):
            body["section_id"] = SECTION
    events = body.get("events")
    if isinstance(events, list) and events and all(is_replaced(event) for event in events):
        body["events"] = [EVENT]
    networks = body.get("networks")
    if isinstance(networks, list) and networks and all(is_text(network, 100) for network in networks):
        body["networks"] = ["192.0.2.0/24"]
    if is_text(body.get("expires_at"), 40):
        body["expires_at"] = "2099-01-01T00:00:00Z"
    if is_text(body.get("timezone"), 64):
        body["timezone"] = ZONES[len(body["timezone"]) % len(ZONES)]
    if is_text(body.get("event_date"), 40):
        body["event_date"] = DATES[len(body["event_date"]) % len(DATES)]
    if is_text(body.get("sales_start"), 40) and is_text(body.get("sales_end"), 40):
        # A sale ends after it begins.
        body["sales_end"] = "9999-12-31T00:00:00Z"
    sections = body.get("sections")
    for number, section in enumerate(sections if isinstance(sections, list) else []):
        # The sections of an event differ in their names and agree in their currency.
        if isinstance(section, dict) and is_text(section.get("name"), 90):
            section["name"] += f" {number}"
        if isinstance(section, dict) and is_text(section.get("currency"), 3):
            section["currency"] = "USD"
        if isinstance(section, dict):
            map_section(section)


def map_section(section: dict) -> None:
    """A section has a capacity or a layout; where its categories have prices, it has none itself."""
    layout = section.get("layout")
    if "layout" in section and is_whole(section.get("capacity"), 1, 10**9):
        section.pop("capacity")
    if "layout" in section and isinstance(layout, dict):
        map_layout(layout)
        if isinstance(layout.get("rows"), list) and is_whole(section.get("price"), 0, 10**11):
            section.pop("price")


def map_layout(layout: dict) -> None:
    """Rows, seats and categories differ in their names; seats name a category that is there."""
    rows = layout.get("rows")
    if is_text(rows, 1000):
        layout["rows"] = "A-C"
    categories = layout.get("categories")
    for at, category in enumerate(categories if isinstance(categories, list) else []):
        if isinstance(category, dict) and is_text(category.get("name"), 32):
            category["name"] = f"Category {at}"
    for at, row in enumerate(rows if isinstance(rows, list) else []):
        if not isinstance(row, dict):
            continue
        if is_text(row.get("label"), 32):
            row["label"] = f"Row {at}"
        seats = row.get("seats")
        for place, seat in enumerate(seats if isinstance(seats, list) else []):
            if isinstance(seat, dict) and is_text(seat.get("category"), 32):
                seat["category"] = "Category 0"
            number = seat.get("number") if isinstance(seat, dict) else None
            if is_text(number, 8) and number.isascii() and number.isalnum():
                seat["number"] = str(place)
            if isinstance(seat, dict) and seat.get("accessible") is True is seat.get("companion"):
                seat["companion"] = False


def is_whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def map_login(path: str, body: dict) -> None:
    """Half of the logins, of the changes of the password to what it is, and of the transfers have the right
    password; half of the exchanges have a token that was given out."""
    token = body.get("refresh_token")
    if path.endswith("/auth/refresh") and is_text(token, 200) and len(token) % 2 == 0:
        body["refresh_token"] = REFRESH
    password = body.get("current_password", body.get("password"))
    if not is_text(password, 128) or len(password) % 2:
        return
    if path.endswith("/auth/login") and is_text(body.get("email"), 254):
        body.update(email=EMAIL, password=PASSWORD)
    elif path.endswith("/transfer") and "organizations" in path:
        body["password"] = PASSWORD
    elif path.endswith("/auth/password") and is_text(body.get("new_password"), 128):
        if len(body["new_password"]) >= 8:
            body.update(current_password=PASSWORD, new_password=PASSWORD)


def map_key(case) -> None:
    """Most requests that differ get keys that differ, or they would be refused for using one twice."""
    headers = case.headers if case.headers is not None else {}
    key = headers.get("Idempotency-Key")
    if not (isinstance(key, str) and 1 <= len(key) <= 255 and key.isascii() and key.isprintable()):
        return
    request = json.dumps([case.operation.path, key, case.body], sort_keys=True, default=repr)
    digest = hashlib.sha256(request.encode()).hexdigest()
    if " " not in key and int(digest, 16) % 4 != 3:
        headers["Idempotency-Key"] = digest


def is_replaced(value: object) -> bool:
    """Whether `value` is a well-formed id, and not of the quarter that stays unknown."""
    try:
        return isinstance(value, str) and uuid.UUID(value).int % 4 != 3
    except ValueError:
        return False


def is_given(value: object) -> bool:
    """Whether the server has made the id `value` in this run: it begins with the time. In the id of a team the
    highest bit is set as well."""
    try:
        made = uuid.UUID(value).int >> 80 & 2**47 - 1 if isinstance(value, str) else 0
    except ValueError:
        return False
    return START_MS <= made <= time.time() * 1_000


def is_text(value: object, length_max: int) -> bool:
    """Whether `value` is a text that a valid request may have in such a place."""
    return isinstance(value, str) and 1 <= len(value) <= length_max and value.isprintable()
