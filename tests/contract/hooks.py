"""Lets generated requests reach the rules: most ids that are well-formed are replaced by ids that exist.

Ids that are not well-formed stay as they are, so a request meant to be broken stays broken, and a
quarter of the others stay unknown. The choice depends on the id alone, so a seed repeats a run.
"""

import os
import uuid

import schemathesis

EVENT = os.environ["CONTRACT_EVENT"]
SECTION = os.environ["CONTRACT_SECTION"]
DOOMED_EVENT = os.environ["CONTRACT_DOOMED_EVENT"]
BOOKINGS = os.environ["CONTRACT_BOOKINGS"].split()


def is_replaced(value: object) -> bool:
    """Whether `value` is a well-formed id, and not of the quarter that stays unknown."""
    try:
        return isinstance(value, str) and uuid.UUID(value).int % 4 != 3
    except ValueError:
        return False


def known_booking(value: str) -> str:
    return BOOKINGS[uuid.UUID(value).int // 4 % len(BOOKINGS)]


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """Names what stands before each id in the path: `/events/{id}/sections/{section_id}`."""
    path = context.operation.path
    parts = path.split("/")
    for before, part in zip(parts, parts[1:]):
        name = part.strip("{}")
        value = (path_parameters or {}).get(name)
        if part == name or not is_replaced(value):
            continue
        if before == "events":
            path_parameters[name] = DOOMED_EVENT if path.endswith("/cancel") else EVENT
        elif before == "sections":
            path_parameters[name] = SECTION
        elif before == "bookings":
            path_parameters[name] = known_booking(value)
    return path_parameters


@schemathesis.hook
def map_body(context, body):
    """The event and the section of a hold belong together; a section may be an id or a name."""
    if isinstance(body, dict) and is_replaced(body.get("event_id")):
        body["event_id"] = EVENT
        section = body.get("section_id")
        if isinstance(section, str) and 1 <= len(section) <= 100 and section.isprintable():
            body["section_id"] = SECTION
    return body
