"""Requests as the examples send them, and their answers."""

import http.client
import json
import socket
from dataclasses import dataclass
from urllib.parse import quote, urlencode, urlsplit

SECONDS_MAX = 15


@dataclass(frozen=True)
class Answer:
    status: int
    media_type: str
    # Parsed, where it is JSON; else a text.
    body: object
    headers: dict


def send(
    url: str,
    method: str,
    path: str,
    *,
    values: dict | None = None,
    query: dict | None = None,
    headers: dict | None = None,
    body: object = None,
    media_type: str = "application/json",
) -> Answer:
    """Sends a request; `{name}` in the path is replaced by a value."""
    for name, value in (values or {}).items():
        path = path.replace("{" + name + "}", quote(str(value), safe=""))
    if query:
        path += "?" + urlencode(query)
    given = dict(headers or {})
    data = None
    if body is not None:
        given.setdefault("Content-Type", media_type)
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=SECONDS_MAX)
    try:
        connection.request(method.upper(), path, data, given)
        return of(connection.getresponse())
    finally:
        connection.close()


def of(response: http.client.HTTPResponse) -> Answer:
    text = response.read().decode()
    media_type = (response.getheader("Content-Type") or "").split(";")[0]
    body = json.loads(text) if media_type.endswith("json") else text
    return Answer(response.status, media_type, body, {k.lower(): v for k, v in response.getheaders()})


def send_raw(url: str, head: bytes) -> Answer:
    """Sends bytes that no library would, and reads the answer."""
    where = urlsplit(url)
    with socket.create_connection((where.hostname, where.port), timeout=SECONDS_MAX) as stream:
        stream.sendall(head)
        response = http.client.HTTPResponse(stream)
        response.begin()
        return of(response)
