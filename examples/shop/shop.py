"""A shop's server that sells seats to its own customers: hold, authorise the money, confirm, capture.

    shop.py sell ORDER CUSTOMER EVENT SECTION SEATS    sells, or goes on with an order that was not finished
    shop.py map EVENT SECTION                          shows which seats of a section are free

RESERVIX_URL says where the server is, RESERVIX_KEY is a key with the scopes `event.read`, `booking.read` and
`booking.sell`. Orders and the ledger of the payment provider are kept in the folder SHOP_DIR. `sell` ends with
code 0 when the order is sold or refused for good, and with 75 when it has to be run again. It needs nothing but
Python.
"""

import http.client
import json
import os
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

URL = urlsplit(os.environ.get("RESERVIX_URL", "http://127.0.0.1:8080"))
KEY = os.environ.get("RESERVIX_KEY", "")
FOLDER = Path(os.environ.get("SHOP_DIR", "."))
# How long one request may take, and how long a call is repeated.
TIMEOUT_SECONDS = 10.0
PATIENCE_SECONDS = float(os.environ.get("SHOP_PATIENCE_SECONDS", "30"))
# Stands for the seconds that a customer spends with the payment provider.
PAYING_SECONDS = float(os.environ.get("SHOP_PAYING_SECONDS", "0"))
# How often an order whose hold has expired is given new seats.
HOLDS_MAX = 2
TRY_AGAIN = 75


class Unknown(Exception):
    """The server could not be asked for so long that somebody else has to try again."""


def call(method: str, path: str, body: object = None, key: str = "") -> tuple[int, Any]:
    """Status and body of an answer.

    A request that got no answer, or one that says *later*, is sent again, the same each time. That is safe for
    every call of this program: reads change nothing, a hold has an `Idempotency-Key`, and a booking that is
    confirmed or cancelled twice is answered as the first time.
    """
    headers = {"Authorization": f"Bearer {KEY}"} if KEY else {}
    if body is not None:
        headers["Content-Type"] = "application/json"
    if key:
        headers["Idempotency-Key"] = key
    until, why = time.monotonic() + PATIENCE_SECONDS, "nothing was tried"
    while time.monotonic() < until:
        pause = 1.0
        connection = http.client.HTTPConnection(URL.netloc, timeout=TIMEOUT_SECONDS)
        try:
            connection.request(method, "/api/v1" + path, json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            found = json.loads(answer.read() or b"null")
            is_later = answer.status in (429, 503) or (found or {}).get("code") == "idempotency_in_flight"
            if not is_later:
                return answer.status, found
            pause, why = float(answer.headers.get("Retry-After", "1")), str(found)
        except (OSError, http.client.HTTPException, ValueError) as error:
            # The answer was lost: whether it happened is found out by asking again.
            pause, why = 0.2, repr(error)
        finally:
            connection.close()
        time.sleep(min(pause, max(0.0, until - time.monotonic())))
    raise Unknown(f"{method} {path}: {why}")


# ---- The payment provider. Put yours here: each call has the number of the order as its own idempotency key. ----


def payment(order: str, step: str, amount: int = 0, currency: str = "") -> None:
    """Authorises, captures or voids the payment of an order; the same step again has no second effect."""
    file = FOLDER / f"payment-{order}.json"
    ledger = json.loads(file.read_text()) if file.exists() else {"steps": []}
    if step not in ledger["steps"]:
        ledger["steps"].append(step)
    if step == "authorised":
        ledger |= {"amount": amount, "currency": currency}
    save(file, ledger)


def save(file: Path, value: object) -> None:
    """Whole or not at all, so that a crash leaves what was there before."""
    draft = file.with_suffix(".draft")
    draft.write_text(json.dumps(value))
    draft.replace(file)


# ---- An order ----


def sell(order: str, customer: str, event: str, section: str, seats: int) -> dict[str, Any]:
    """Sells an order, from where it was left. Captured means confirmed; what is refused costs nothing."""
    file = FOLDER / f"order-{order}.json"
    if not file.exists():
        # What is intended is stored before anything happens outside.
        save(file, {"order": order, "state": "begun", "holds": 1})
    state: dict[str, Any] = json.loads(file.read_text())
    wanted = {"event_id": event, "section_id": section, "seats_requested": seats, "buyer": {"ref": customer}}
    while state["state"] == "begun":
        # The same key gets the same booking, however often this is run.
        status, booking = call("POST", "/bookings/hold", wanted, key=f"{order}-{state['holds']}")
        if status == 409:
            # Sold out, or beyond what one customer may have. Its `code` says which; offer something else.
            refuse(order, state, booking["code"])
            break
        expect(status == 201, booking)
        state |= {"booking_id": booking["booking_id"], "reference": booking["reference"]}
        print(f"seats are held for {seconds_left(booking):.0f} s", file=sys.stderr)
        payment(order, "authorised", booking["total_price"], booking["currency"])
        time.sleep(PAYING_SECONDS)
        status, answer = call("POST", f"/bookings/{booking['booking_id']}/confirm")
        if status == 200:
            payment(order, "captured")
            state["state"] = "sold"
        elif status == 410 and state["holds"] < HOLDS_MAX:
            # The customer took too long. The money is authorised yet: try for other seats.
            state["holds"] += 1
        else:
            expect(status in (409, 410), answer)
            refuse(order, state, answer["code"])
        save(file, state)
    save(file, state)
    return state


def expect(is_right: bool, answer: object) -> None:
    """Anything else is a mistake of ours, such as a key without a scope: the order waits until it is mended."""
    if not is_right:
        raise RuntimeError(f"the server says {answer}")


def refuse(order: str, state: dict[str, Any], code: str) -> None:
    payment(order, "void")
    state |= {"state": "refused", "code": code}


def seconds_left(booking: dict[str, Any]) -> float:
    """For a countdown: by the clock of the server, since that of a customer may be wrong by hours."""
    ends, now = (parse(booking[name]) for name in ("expires_at", "server_time"))
    return ends - now


def parse(instant: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(instant.replace("Z", "+00:00")).timestamp()


# ---- A seat map ----


def show_map(event: str, section: str) -> list[str]:
    """One line a row: the numbers of free seats, and `.` for each that is not."""
    path = f"/events/{event}/sections/{quote(section)}/seats"
    code, status = call("GET", path + "/status")
    expect(code == 200, status)
    # The drawing changes only with its version, so a page keeps it and asks for the status each second.
    _, drawing = call("GET", f"{path}?v={status['layout_version']}")
    taken = {*status["held"], *status["sold"], *status["blocked"]}
    return [
        f"{row['label']:>3} "
        + " ".join("." if f"{row['label']}-{seat['number']}" in taken else seat["number"] for seat in row["seats"])
        for row in drawing["rows"]
    ]


def main(arguments: list[str]) -> int:
    match arguments:
        case ["sell", order, customer, event, section, seats]:
            try:
                print(json.dumps(sell(order, customer, event, section, int(seats))))
            except Unknown as unknown:
                print(f"{order} is not finished, run it again: {unknown}", file=sys.stderr)
                return TRY_AGAIN
        case ["map", event, section]:
            print("\n".join(show_map(event, section)))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
