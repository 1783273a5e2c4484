"""The rules that a schema cannot say: why a request that fits its schema may still be answered 422.

Each rule names the field and the message by which the server tells it, why no schema can say it, and how to
see in the request itself that it is broken. A 422 to a well-formed request passes only if every error of it
is explained by a rule that the request really breaks.
"""

import datetime
import ipaddress
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

CALLS = {
    "event": "POST /api/v1/events",
    "change": "PATCH /api/v1/events/{event_id}",
    "section": "POST /api/v1/events/{event_id}/sections",
    "change section": "PATCH /api/v1/events/{event_id}/sections/{section_id}",
    "layout": "PUT /api/v1/events/{event_id}/sections/{section_id}/seats",
    "blocked": "PUT /api/v1/events/{event_id}/sections/{section_id}/blocked",
    "hold": "POST /api/v1/bookings/hold",
    "other seats": "PATCH /api/v1/bookings/{booking_id}",
    "visitor": "POST /api/v1/visitors",
    "register": "POST /api/v1/auth/register",
    "login": "POST /api/v1/auth/login",
    "me": "PATCH /api/v1/users/me",
    "leaving": "DELETE /api/v1/users/me",
    "password": "POST /api/v1/auth/password",
    "refresh": "POST /api/v1/auth/refresh",
    "logout": "POST /api/v1/auth/logout",
    "series": "POST /api/v1/series",
    "change series": "PATCH /api/v1/series/{series_id}",
    "organization": "POST /api/v1/organizations",
    "change organization": "PATCH /api/v1/organizations/{organization_id}",
    "accept": "POST /api/v1/invitations/accept",
    "invite": "POST /api/v1/organizations/{organization_id}/invitations",
    "member": "PATCH /api/v1/organizations/{organization_id}/members/{user_id}",
    "removal": "DELETE /api/v1/organizations/{organization_id}/members/{user_id}",
    "key": "POST /api/v1/organizations/{organization_id}/keys",
    "change key": "PATCH /api/v1/organizations/{organization_id}/keys/{key_id}",
    "rotation": "POST /api/v1/organizations/{organization_id}/keys/{key_id}/rotate",
    "events": "GET /api/v1/events",
    "bookings": "GET /api/v1/bookings",
}


@dataclass(frozen=True)
class Request:
    """What was sent."""

    label: str
    body: object
    query: dict
    headers: dict

    def given(self, field: str) -> object:
        return self.body.get(field) if isinstance(self.body, dict) else None


@dataclass(frozen=True)
class Rule:
    name: str
    # Keys of CALLS.
    calls: tuple[str, ...]
    # Patterns that the whole field and the whole message match.
    field: str
    message: str
    # Why the schema cannot say it.
    why: str
    # Whether the request breaks the rule.
    is_broken: Callable[[Request], bool]

    def explains(self, request: Request, error: dict) -> bool:
        return (
            request.label in [CALLS[call] for call in self.calls]
            and re.fullmatch(self.field, error["field"], re.DOTALL) is not None
            and re.fullmatch(self.message, error["message"], re.DOTALL) is not None
            and self.is_broken(request)
        )


# ---- What requests have ----


def sections(request: Request) -> list[dict]:
    """The new sections of a request."""
    listed = request.given("sections")
    if isinstance(listed, list):
        return listed
    return [request.body] if isinstance(request.body, dict) and "sections" not in request.body else []


def layouts(request: Request) -> list[dict]:
    if request.label == CALLS["layout"]:
        return [request.body] if isinstance(request.body, dict) else []
    return [section["layout"] for section in sections(request) if "layout" in section]


def rows(request: Request) -> Iterator[dict]:
    for layout in layouts(request):
        if isinstance(layout.get("rows"), list):
            yield from layout["rows"]


def seats(request: Request) -> Iterator[dict]:
    for row in rows(request):
        yield from row["seats"]


def items(request: Request) -> list[dict]:
    listed = request.given("items")
    return listed if isinstance(listed, list) else [request.body]


def buyer(request: Request) -> dict:
    """For whom seats are held by somebody else."""
    given = request.given("buyer")
    return given if isinstance(given, dict) else {}


def folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def has_double(values: list) -> bool:
    return len(set(values)) < len(values)


def is_text_of(request: Request, field: str) -> bool:
    return isinstance(request.given(field), str)


def has_outer_space(name: object) -> bool:
    return isinstance(name, str) and name != name.strip()


def instant(text: object) -> datetime.datetime | None:
    """The instant of a text in RFC 3339, as far as Python's calendar goes."""
    try:
        return datetime.datetime.fromisoformat(str(text).upper().replace("Z", "+00:00"))
    except ValueError:
        return None


def fractions(value: object) -> bool:
    """Whether a number of it is written with a fraction or an exponent."""
    if isinstance(value, dict):
        return any(fractions(part) for part in value.values())
    if isinstance(value, list):
        return any(fractions(part) for part in value)
    return isinstance(value, float)


# ---- Of accounts ----


def is_longer_in_bytes(request: Request) -> bool:
    email = request.given("email")
    return isinstance(email, str) and len(email.encode()) > 254


def token_is_longer_in_bytes(request: Request) -> bool:
    token = request.given("token") or request.given("refresh_token")
    return isinstance(token, str) and len(token.encode()) > 200


def common_passwords() -> set[str]:
    here = Path(__file__).resolve().parent.parent.parent
    return set((here / "crates/server/src/http/common_passwords/list.txt").read_text().splitlines())


def is_common(request: Request) -> bool:
    password = request.given("new_password") or request.given("password")
    if not isinstance(password, str):
        return False
    return unicodedata.normalize("NFKC", password).lower() in common_passwords()


# ---- Of keys ----


def names_no_network(request: Request) -> bool:
    def is_network(text: object) -> bool:
        try:
            ipaddress.ip_network(str(text), strict=False)
        except ValueError:
            return False
        return True

    named = request.given("networks")
    return isinstance(named, list) and not all(is_network(text) for text in named)


def scopes_stand_twice(request: Request) -> bool:
    named = request.given("scopes")
    return isinstance(named, list) and has_double(named)


def ends_early(request: Request) -> bool:
    end = instant(request.given("expires_at"))
    return end is None or end <= datetime.datetime.now(datetime.timezone.utc)


# ---- Of names ----


def texts(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for part in value.values():
            yield from texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from texts(part)
    elif isinstance(value, str):
        yield value


def has_hidden_beyond_the_first_plane(request: Request) -> bool:
    hidden = range(0xE0000, 0xE1000)
    return any(ord(letter) in hidden for text in texts(request.body) for letter in text)


# ---- Of events ----


def ends_before_it_begins(request: Request) -> bool:
    start, end = request.given("sales_start"), request.given("sales_end")
    if (start is None) != (end is None) and request.label == CALLS["change"]:
        return True  # The other one is the stored one.
    start, end = instant(start), instant(end)
    return start is None or end is None or end <= start


def zone_is_unknown(request: Request) -> bool:
    import zoneinfo

    return request.given("timezone") not in zoneinfo.available_timezones()


def names_stand_twice(request: Request) -> bool:
    if isinstance(request.given("sections"), list):
        return has_double([folded(section["name"]) for section in sections(request)])
    return request.given("name") is not None  # The others are the stored ones.


def currencies_differ(request: Request) -> bool:
    if isinstance(request.given("sections"), list):
        # A section without one has the server's.
        stated = [section.get("currency") or "USD" for section in sections(request)]
        return len({currency.upper() for currency in stated}) > 1
    stored = (request.given("currency") or "USD").upper()
    return stored != "USD"


def capacity_and_layout(request: Request) -> bool:
    return any(("capacity" in of) == ("layout" in of) for of in sections(request))


def price_beside_categories(request: Request) -> bool:
    return any(
        of.get("price") is not None and isinstance(of.get("layout", {}).get("rows"), list)
        for of in sections(request)
    )


# ---- Of layouts ----


def shape_is_no_arc(request: Request) -> bool:
    return any("radius" in layout and layout.get("shape") != "arc" for layout in layouts(request))


def label_has_outer_space(request: Request) -> bool:
    names = [row["label"] for row in rows(request)]
    for layout in layouts(request):
        names += [category["name"] for category in layout.get("categories", [])]
    return any(has_outer_space(name) for name in names)


def labels_stand_twice(request: Request) -> bool:
    return any(
        has_double([row["label"] for row in layout["rows"]])
        for layout in layouts(request)
        if isinstance(layout.get("rows"), list)
    )


def ranges_cannot_be_read(request: Request) -> bool:
    # What `hooks.py` writes into short layouts can be read.
    return any(isinstance(of.get("rows"), str) and of["rows"] != "A-C" for of in layouts(request))


def aisle_behind_no_seat(request: Request) -> bool:
    return any(
        after < 1 or after >= layout["seats_per_row"]
        for layout in layouts(request)
        for after in layout.get("aisles_after", [])
    )


def numbers_stand_twice(request: Request) -> bool:
    return any(has_double([seat["number"] for seat in row["seats"]]) for row in rows(request))


def categories_stand_twice(request: Request) -> bool:
    return any(
        has_double([category["name"] for category in layout.get("categories", [])])
        for layout in layouts(request)
    )


def category_is_unknown(request: Request) -> bool:
    return any(
        seat["category"] not in [category["name"] for category in layout["categories"]]
        for layout in layouts(request)
        if isinstance(layout.get("rows"), list)
        for row in layout["rows"]
        for seat in row["seats"]
    )


def is_no_table(request: Request) -> bool:
    """Whether a layout that is sent as a table has not the columns that it needs."""
    if not isinstance(request.body, str):
        return False
    columns = {column.strip().strip('"').lower() for column in request.body.split("\n")[0].split(",")}
    return not {"row", "seat", "category", "price"} <= columns


# ---- Of organizations ----


def names_events(request: Request) -> bool:
    return bool(request.given("events"))


def events_stand_twice(request: Request) -> bool:
    return has_double([str(event).lower() for event in request.given("events") or []])


def has_no_password(request: Request) -> bool:
    return request.given("password") is None


# ---- Of bookings ----


def named_twice(request: Request) -> bool:
    named = [(item.get("section_id"), seat) for item in items(request) for seat in item.get("seats") or []]
    return has_double(named)


def more_accessible_than_seats(request: Request) -> bool:
    best = request.given("best_available") or {}
    return best.get("accessible", 0) > best.get("number", 0)


def sections_of_counted_seats(request: Request) -> bool:
    # The event of generated holds has none with numbered seats.
    return isinstance(request.given("best_available"), dict)


def number_and_seats(request: Request) -> bool:
    return (request.given("number") is None) == (request.given("seats") is None)


def blocked_twice(request: Request) -> bool:
    return has_double(request.given("seats") or [])


def names_seats(request: Request) -> bool:
    return bool(request.given("seats") is not None)


RULES = [
    Rule(
        "a whole number is written without a fraction",
        tuple(CALLS),
        ".*",
        "must be a whole number, without a fraction or an exponent",
        "JSON Schema counts 1.0 among the integers; money and seats are never read from a fraction",
        lambda request: fractions(request.body),
    ),
    Rule(
        "an address is bounded in bytes",
        ("register", "login", "me", "invite"),
        "email",
        "length is greater than 254",
        "JSON Schema counts characters",
        is_longer_in_bytes,
    ),
    Rule(
        "a token is bounded in bytes",
        ("accept", "refresh", "logout"),
        "(refresh_)?token",
        "length is greater than 200",
        "JSON Schema counts characters",
        token_is_longer_in_bytes,
    ),
    Rule(
        "a password is none of the most common ones",
        ("register", "password"),
        "(new_)?password",
        "must not be one of the most common passwords",
        "they are thousands",
        is_common,
    ),
    Rule(
        "a name hides nothing beyond the first plane either",
        ("event", "change", "section", "change section", "register", "me", "series", "change series",
         "organization", "change organization"),
        r"(sections\[\d+\]\.)?(name|title|venue)",
        "must not contain zero-width characters",
        "patterns count code units in some languages, so ours name no character beyond U+FFFF",
        has_hidden_beyond_the_first_plane,
    ),
    Rule(
        "a sale ends after it begins",
        ("event", "change"),
        "sales_end",
        "must be after sales_start",
        "compares two fields, of which a PATCH may name only one",
        ends_before_it_begins,
    ),
    Rule(
        "a time zone is known",
        ("event", "change"),
        "timezone",
        "must be an IANA time zone such as Europe/Berlin",
        "the list of zones changes several times a year",
        zone_is_unknown,
    ),
    Rule(
        "an event has at most a thousand sections",
        ("section",),
        "sections",
        "must have at most 1000 sections",
        "depends on how many there are: all generated ones are added to one event",
        lambda request: is_text_of(request, "name"),
    ),
    Rule(
        "sections differ in their names",
        ("event", "section", "change section"),
        r"(sections\[\d+\]\.)?name",
        r"must be unique in the event \(case-insensitive\)",
        "compares the names of several sections, of stored ones too",
        names_stand_twice,
    ),
    Rule(
        "sections agree in their currency",
        ("event", "section", "change section"),
        r"(sections\[\d+\]\.)?currency",
        "must be [A-Z]{3}, as in the event's other sections",
        "compares several sections, of stored ones too",
        currencies_differ,
    ),
    Rule(
        "a section has a capacity or a layout",
        ("event", "section"),
        r"(sections\[\d+\]\.)?(capacity|layout)",
        "exactly one of capacity and layout is required|cannot be combined with capacity",
        "a schema could, by two schemas in the place of one: clients would have to choose between types",
        capacity_and_layout,
    ),
    Rule(
        "a full layout has the prices",
        ("event", "section"),
        r"(sections\[\d+\]\.)?price",
        "must be omitted: the layout's categories set the prices",
        "depends on the form of the layout",
        price_beside_categories,
    ),
    Rule(
        "only an arc has a radius",
        ("event", "section", "layout"),
        r"(sections\[\d+\]\.)?(layout\.)?radius",
        'is allowed only with the shape "arc"',
        "depends on another field",
        shape_is_no_arc,
    ),
    Rule(
        "an arc has room for its front row",
        ("event", "section", "layout"),
        r"(sections\[\d+\]\.)?(layout\.)?radius",
        r"must be \d+ to 500000 for this number of seats",
        "depends on the number of seats",
        lambda request: any(of.get("shape") == "arc" and "radius" in of for of in layouts(request)),
    ),
    Rule(
        "labels and categories have no outer spaces",
        ("event", "section", "layout"),
        r".*(row|label|category)",
        r"(.*: )?must (be 1 to 32 characters.*|not begin or end with a space|not be blank)",
        "what counts as a space differs between the languages of patterns",
        label_has_outer_space,
    ),
    Rule(
        "rows differ in their labels",
        ("event", "section", "layout"),
        r".*rows\[.*\]\.(row|label)",
        ".*",
        "`uniqueItems` compares whole items, not their labels",
        labels_stand_twice,
    ),
    Rule(
        "ranges of labels can be read",
        ("event", "section", "layout"),
        r"(sections\[\d+\]\.)?(layout\.)?rows.*",
        ".*",
        "a range has an order, and a number of rows",
        ranges_cannot_be_read,
    ),
    Rule(
        "an aisle is between two seats",
        ("event", "section", "layout"),
        r"(sections\[\d+\]\.)?(layout\.)?aisles_after",
        r"\d+ must be a seat number below seats_per_row",
        "depends on the number of seats",
        aisle_behind_no_seat,
    ),
    Rule(
        "seats of a row differ in their numbers",
        ("event", "section", "layout"),
        r".*seats\[.*\]\.number",
        r"duplicate number; seat \d+ of the row has the same one",
        "`uniqueItems` compares whole items, not their numbers",
        numbers_stand_twice,
    ),
    Rule(
        "categories differ in their names",
        ("event", "section", "layout"),
        r".*category",
        "duplicate category .*",
        "`uniqueItems` compares whole items, not their names",
        categories_stand_twice,
    ),
    Rule(
        "a seat names a category of its layout",
        ("event", "section", "layout"),
        r".*category",
        "unknown category .*",
        "refers to another part of the body",
        category_is_unknown,
    ),
    Rule(
        "a seat is accessible or for a companion",
        ("event", "section", "layout"),
        r".*flags",
        "must not be both accessible and companion",
        "depends on another field",
        lambda request: any(seat.get("accessible") and seat.get("companion") for seat in seats(request)),
    ),
    Rule(
        "a table has its columns",
        ("layout",),
        r"(line \d+: )?.*",
        ".*",
        "JSON Schema does not look into a table",
        is_no_table,
    ),
    Rule(
        "seats are named once",
        ("hold", "other seats"),
        r"(items\[\d+\]\.)?(seats|items)",
        "duplicate seat.*",
        "the same seat may be in two items",
        named_twice,
    ),
    Rule(
        "no more accessible seats than seats",
        ("hold",),
        r"best_available\.accessible",
        r"must be 0 to \d+",
        "compares two fields",
        more_accessible_than_seats,
    ),
    Rule(
        "the best seats are numbered ones",
        ("hold",),
        r"best_available\.sections",
        "must be sections with numbered seats",
        "depends on what the sections are",
        sections_of_counted_seats,
    ),
    Rule(
        "a buyer is a customer or a user",
        ("hold",),
        "buyer",
        "at most one of ref and user_id is allowed",
        "a schema could, by three schemas in the place of one: clients would have to choose between types",
        lambda request: {"ref", "user_id"} <= set(buyer(request)),
    ),
    Rule(
        "a buyer by id is a user",
        ("hold",),
        r"buyer\.user_id",
        "must be the id of a user",
        "depends on which users there are",
        lambda request: "user_id" in buyer(request),
    ),
    Rule(
        "a booking comes with its token",
        ("visitor",),
        "booking_id|booking_token",
        "booking_id and booking_token are required together",
        "a schema could, by two schemas in the place of one: clients would have to choose between types",
        lambda request: (request.given("booking_id") is None) != (request.given("booking_token") is None),
    ),
    Rule(
        "a number or names are blocked",
        ("blocked",),
        "seats|number",
        "exactly one of seats and number is required|cannot be combined with seats",
        "a schema could, by two schemas in the place of one: clients would have to choose between types",
        number_and_seats,
    ),
    Rule(
        "a seat is blocked once",
        ("blocked",),
        r"seats\[\d+\]",
        "duplicate seat.*",
        "lists of 100,000 names are not compared by every client",
        blocked_twice,
    ),
    Rule(
        "counted seats have no names",
        ("blocked",),
        "seats",
        "cannot be used for a section without numbered seats; send number instead",
        "depends on what the section is",
        names_seats,
    ),
    Rule(
        "members are confined to events of their organization",
        ("invite", "member", "key", "change key"),
        r"events\[\d+\]",
        "must be an event of this organization",
        "depends on what the events are",
        names_events,
    ),
    Rule(
        "a member is confined to an event once",
        ("invite", "member", "key", "change key"),
        r"events\[\d+\]",
        "duplicate event",
        "`uniqueItems` compares the spelling of ids",
        events_stand_twice,
    ),
    Rule(
        "a key is accepted from networks",
        ("key", "change key"),
        r"networks\[\d+\]",
        "must be an address or a network, such as 192.0.2.0/24",
        "no pattern says which addresses there are",
        names_no_network,
    ),
    Rule(
        "a key has each scope once",
        ("key", "change key"),
        r"scopes\[\d+\]",
        "duplicate scope",
        "its error names the place",
        scopes_stand_twice,
    ),
    Rule(
        "a key ends in the future",
        ("key", "change key"),
        "expires_at",
        "must be in the future",
        "depends on the time",
        ends_early,
    ),
    Rule(
        "a key becomes smaller",
        ("change key",),
        "scopes|events|networks|expires_at",
        "can only become less; make another key for more",
        "depends on the stored key",
        lambda request: True,
    ),
    Rule(
        "an owner is confined to nothing",
        ("member",),
        "events",
        "must be null for an owner",
        "depends on the role, which may be the stored one",
        lambda request: request.given("role") in (None, "owner"),
    ),
    Rule(
        "ownership changes with the password",
        ("member", "removal"),
        "password",
        "is required to make, change or remove another owner",
        "depends on who is an owner",
        has_no_password,
    ),
    Rule(
        "an organization is named with a customer",
        ("bookings",),
        "organization_id",
        "is allowed with ref only",
        "one parameter needs another",
        lambda request: "ref" not in request.query,
    ),
]


def unexplained(request: Request, problem: dict) -> list[str]:
    """What no rule explains of a 422 to a well-formed request."""
    if problem.get("code") == "idempotency_key_reused":
        # Whether a key was used before, only the server knows; but a key must have been sent.
        key = any(name.lower() == "idempotency-key" for name in request.headers)
        return [] if key else ["a key is said to be reused, and none was sent"]
    errors = problem.get("errors") or []
    if not errors:
        return [f"no field is named: {problem}"]
    return [
        f"{error['field']}: {error['message']}"
        for error in errors
        if not any(rule.explains(request, error) for rule in RULES)
    ]
