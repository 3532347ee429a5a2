"""Single messages: one request each, over many connections that stay open.

One thread serves them all, with requests that are built beforehand and answers of which only the
head is read, so that the client takes as little as it can of the time that it measures. Every
connection has one request under way at any time.
"""

import json
import re
import selectors
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from pandaq.benchmark.load import Done
from pandaq.errors import PandaqError

CONNECTIONS: Final = 32
SILENCE_S: Final = 30.0
"""An answer that takes longer is given up."""
RECEIVE_BYTES: Final = 1 << 16

_OK: Final = re.compile(rb"HTTP/1\.1 200 ")
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)


class NotAnswered(PandaqError):
    """A server refused a message, or said nothing; `answer` is what came of it."""

    def __init__(self, answer: bytes) -> None:
        what = answer[:200].decode("utf-8", "replace")
        super().__init__(
            f"a message was not accepted; the answer begins {what!r}"
            if answer
            else "a message was not answered"
        )
        self.answer = answer


def post_for(
    url: str, path: str, bodies: Sequence[bytes], seconds: float, connections: int = CONNECTIONS
) -> Done:
    """POST JSON bodies, the same ones over and over, for `seconds`; wait for the last answers.

    Raises `NotAnswered` at the first that is not answered with 200.
    """
    requests = [_request(url, path, body) for body in bodies]
    with selectors.DefaultSelector() as ready:
        open_ones = [_Connection(url) for _ in range(connections)]
        try:
            return _post(ready, open_ones, requests, seconds)
        finally:
            for each in open_ones:
                each.close()


def single_bodies(messages: Sequence[Mapping[str, Any]]) -> list[bytes]:
    """Return each message as the body of one request of the contract."""
    return [json.dumps({"message": each}, separators=(",", ":")).encode() for each in messages]


def _post(
    ready: selectors.BaseSelector,
    open_ones: "Sequence[_Connection]",
    requests: Sequence[bytes],
    seconds: float,
) -> Done:
    begin = time.perf_counter()
    for number, connection in enumerate(open_ones):
        ready.register(connection.socket, selectors.EVENT_READ, connection)
        connection.send(requests[number % len(requests)])
    sent, answered = len(open_ones), 0
    while answered < sent:
        events = ready.select(SILENCE_S)
        if not events:
            raise NotAnswered(b"")
        is_over = time.perf_counter() - begin >= seconds
        for key, _ in events:
            if not key.data.receive():
                continue
            answered += 1
            if not is_over:
                key.data.send(requests[sent % len(requests)])
                sent += 1
    return Done(answered, time.perf_counter() - begin)


class _Connection:
    def __init__(self, url: str) -> None:
        self.socket = socket.create_connection(_address(url), timeout=SILENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answer = b""

    def send(self, request: bytes) -> None:
        self.socket.sendall(request)
        self._answer = b""

    def receive(self) -> bool:
        """Take what came; tell whether the answer is complete."""
        more = self.socket.recv(RECEIVE_BYTES)
        self._answer += more
        head, end, body = self._answer.partition(b"\r\n\r\n")
        if not more or (end and not _OK.match(head)):
            raise NotAnswered(self._answer)
        if not end:
            return False
        length = _LENGTH.search(head + b"\r\n")
        if length is None:
            raise NotAnswered(self._answer)
        return len(body) >= int(length[1])

    def close(self) -> None:
        self.socket.close()


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or 80


def _request(url: str, path: str, body: bytes) -> bytes:
    host, port = _address(url)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("ascii") + body
