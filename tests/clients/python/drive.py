"""One booking through the Python client: `drive.py URL`. Type-checked with `mypy --strict`."""

import datetime
import sys
import uuid

from reservix_client import AuthenticatedClient, Client
from reservix_client.api.accounts import login, register
from reservix_client.api.bookings import confirm_booking, create_hold, get_booking, list_bookings
from reservix_client.api.events import create_event, get_availability, list_events
from reservix_client.models import (
    Availability,
    Booking,
    BookingPage,
    BookingStatus,
    Event,
    EventPage,
    HoldByNumber,
    Login,
    NewEvent,
    NewSection,
    Problem,
    ProblemCode,
    Register,
    TokenPair,
    User,
)

EMAIL = "python@example.com"
PASSWORD = "correct horse battery"
SEATS = 3


def drive(url: str) -> None:
    with Client(base_url=url) as anybody:
        token = log_in(anybody)
        with AuthenticatedClient(base_url=url, token=token) as client:
            book(client)


def log_in(anybody: Client) -> str:
    user = register.sync(client=anybody, body=Register(email=EMAIL, password=PASSWORD))
    assert isinstance(user, User) and user.email == EMAIL, user
    tokens = login.sync(client=anybody, body=Login(email=EMAIL, password=PASSWORD))
    assert isinstance(tokens, TokenPair), tokens
    return tokens.access_token


def book(client: AuthenticatedClient) -> None:
    new = NewEvent(
        title="From Python",
        event_date=datetime.date(2099, 6, 15),
        sections=[NewSection(name="Floor", capacity=100, price=2500, currency="EUR")],
    )
    event = create_event.sync(client=client, body=new, idempotency_key="from-python")
    assert isinstance(event, Event) and event.sections[0].available_seats == 100, event
    found = list_events.sync(client=client, q="from python", from_=datetime.date(2099, 1, 1))
    assert isinstance(found, EventPage), found
    assert [item.event_id for item in found.items] == [event.event_id] and found.next_ is None, found

    wanted = HoldByNumber(event_id=event.event_id, section_id="Floor", seats_requested=SEATS)
    hold = create_hold.sync(client=client, body=wanted, idempotency_key="hold-1")
    assert isinstance(hold, Booking) and hold.status is BookingStatus.HOLD, hold
    sold = confirm_booking.sync(hold.booking_id, client=client)
    assert isinstance(sold, Booking) and sold.status is BookingStatus.CONFIRMED, sold
    assert sold.total_price == SEATS * 2500 and isinstance(sold.confirmed_at, datetime.datetime), sold

    read = get_booking.sync(hold.booking_id, client=client)
    assert isinstance(read, Booking) and read.version == sold.version, read
    mine = list_bookings.sync(client=client, status=BookingStatus.CONFIRMED)
    assert isinstance(mine, BookingPage) and [it.booking_id for it in mine.items] == [hold.booking_id], mine
    left = get_availability.sync(event.event_id, client=client)
    assert isinstance(left, Availability) and left.sections[0].available_seats == 100 - SEATS, left

    many = HoldByNumber(event_id=event.event_id, section_id="Floor", seats_requested=51)
    refused = create_hold.sync(client=client, body=many)
    assert isinstance(refused, Problem) and refused.code is ProblemCode.TOO_MANY_SEATS, refused
    assert refused.limit == 50, refused
    missing = get_booking.sync(uuid.UUID(int=0), client=client)
    assert isinstance(missing, Problem) and missing.code is ProblemCode.NOT_FOUND, missing


if __name__ == "__main__":
    drive(sys.argv[1])
