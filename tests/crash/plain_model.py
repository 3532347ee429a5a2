"""What a broker promises its callers, as plain data, and a client that calls its app in place.

The model knows what was answered, which is certain, and what a failing disk left open, which the
next start decides: the model then takes over what is found, as long as somebody sent it.
"""

import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_to_bytes
from wsgiref.util import setup_testing_defaults

from pandaq.routing import partition_for
from pandaq.web.app import App

Partition = tuple[str, int]

BROKER: Final = "broker_1"
TOPICS: Final = {"orders": 2, "events": 1}
PARTITIONS: Final[list[Partition]] = [("orders", 0), ("orders", 1), ("events", 0)]
JSON: Final = "application/json"
MAX_CONTENT_BYTES: Final = 4_000
MAX_BATCH: Final = 8
STATUSES: Final = {
    "INVALID_REQUEST": 400,
    "INVALID_OFFSET": 400,
    "NOT_FOUND": 404,
    "BROKER_NOT_FOUND": 404,
    "TOPIC_NOT_FOUND": 404,
    "PARTITION_NOT_FOUND": 404,
    "CONSUMER_NOT_FOUND": 404,
    "GROUP_NOT_FOUND": 404,
    "GROUP_IN_USE": 409,
    "METHOD_NOT_ALLOWED": 405,
    "NO_PARTITION_AVAILABLE": 409,
    "NOT_ASSIGNED": 409,
    "PAYLOAD_TOO_LARGE": 413,
    "UNSUPPORTED_MEDIA_TYPE": 415,
    "SHUTTING_DOWN": 503,
    "STORAGE_FAILED": 503,
    "STORAGE_FULL": 507,
}
"""The contract's table, as far as it can be met here; a 500 never may."""
TIMESTAMP: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

GOOD: Final = {"messageId": "m", "content": 1}
LONG: Final = {"messageId": "m", "content": "x" * MAX_CONTENT_BYTES}
CONSUMER: Final = {"consumerId": "ann"}
COMMIT: Final = {"topicId": "orders", "partitionId": 0, "consumerId": "ann", "offset": 0}
CONSUME: Final = f"/consume/{BROKER}/orders"
BAD_MESSAGES: Final[list[tuple[Any, str]]] = [
    ({"messageId": "m"}, "INVALID_REQUEST"),
    ({"content": 1}, "INVALID_REQUEST"),
    ({"messageId": "", "content": 1}, "INVALID_REQUEST"),
    ({"messageId": "x" * 513, "content": 1}, "INVALID_REQUEST"),
    ({"messageId": None, "content": 1}, "INVALID_REQUEST"),
    ({"messageId": True, "content": 1}, "INVALID_REQUEST"),
    ({"messageId": 1.5, "content": 1}, "INVALID_REQUEST"),
    (GOOD | {"topicId": "other"}, "INVALID_REQUEST"),
    ([], "INVALID_REQUEST"),
    (None, "INVALID_REQUEST"),
    (LONG, "PAYLOAD_TOO_LARGE"),
]
WRONG: Final[list[tuple[str, str, Any, str]]] = [
    *(("POST", "/ingress/orders", {"message": bad}, code) for bad, code in BAD_MESSAGES),
    ("POST", "/ingress/orders", {}, "INVALID_REQUEST"),
    ("POST", "/ingress/orders", "", "INVALID_REQUEST"),
    ("POST", "/ingress/orders", '{"message": {"messageId": "m", "content": ', "INVALID_REQUEST"),
    ("POST", "/ingress/orders", '{"message":{"messageId":"m","content":NaN}}', "INVALID_REQUEST"),
    ("POST", "/ingress/orders", {"messages": []}, "INVALID_REQUEST"),
    ("POST", "/ingress/orders", {"message": GOOD, "messages": [GOOD]}, "INVALID_REQUEST"),
    ("POST", "/ingress/orders", {"messages": [GOOD] * (MAX_BATCH + 1)}, "PAYLOAD_TOO_LARGE"),
    ("POST", "/ingress/none", {"message": GOOD}, "TOPIC_NOT_FOUND"),
    ("POST", "/ingress/nul", {"message": GOOD}, "INVALID_REQUEST"),
    ("POST", "/ingress/orders", {"message": GOOD, "brokerId": "x"}, "BROKER_NOT_FOUND"),
    ("POST", "/register/none", CONSUMER, "TOPIC_NOT_FOUND"),
    ("POST", "/register/orders", CONSUMER | {"brokerId": "x"}, "BROKER_NOT_FOUND"),
    ("POST", "/register/orders", {}, "INVALID_REQUEST"),
    ("POST", "/register/orders", {"consumerId": "a|b"}, "INVALID_REQUEST"),
    ("POST", "/register/orders", {"consumerId": ""}, "INVALID_REQUEST"),
    ("GET", "/consume/other/orders/0", None, "BROKER_NOT_FOUND"),
    ("GET", f"/consume/{BROKER}/none/0", None, "TOPIC_NOT_FOUND"),
    ("GET", f"{CONSUME}/2", None, "PARTITION_NOT_FOUND"),
    ("GET", f"{CONSUME}/-1", None, "PARTITION_NOT_FOUND"),
    ("GET", f"{CONSUME}/one", None, "INVALID_REQUEST"),
    ("GET", f"{CONSUME}/0?b=t&max=0", None, "INVALID_REQUEST"),
    ("GET", f"{CONSUME}/0?b=perhaps", None, "INVALID_REQUEST"),
    ("GET", f"{CONSUME}/0?wait=-1", None, "INVALID_REQUEST"),
    ("POST", "/commit", COMMIT | {"topicId": "none"}, "TOPIC_NOT_FOUND"),
    ("POST", "/commit", COMMIT | {"partitionId": 2}, "PARTITION_NOT_FOUND"),
    ("POST", "/commit", COMMIT | {"partitionId": "x"}, "INVALID_REQUEST"),
    ("POST", "/commit", COMMIT | {"brokerId": "x"}, "BROKER_NOT_FOUND"),
    ("POST", "/commit", COMMIT | {"consumerId": "a\n"}, "INVALID_REQUEST"),
    ("POST", "/commit", COMMIT | {"offset": "0"}, "INVALID_REQUEST"),
    ("POST", "/commit", {**CONSUMER, "topicId": "orders", "partitionId": 0}, "INVALID_REQUEST"),
    ("POST", "/commit", COMMIT, "UNSUPPORTED_MEDIA_TYPE"),
    ("GET", "/nothing", None, "NOT_FOUND"),
    ("GET", "/commit", None, "METHOD_NOT_ALLOWED"),
]


class Answer(NamedTuple):
    """A response whose envelope was as it must be."""

    status: int
    code: str
    """The errorCode; empty for a success."""
    data: Any
    headers: Mapping[str, str]


class Client:
    """Calls a WSGI app without a socket, checks every envelope and counts what was answered."""

    def __init__(self, app: App, counts: Counter[str]) -> None:
        self._app = app
        self._counts = counts

    def call(
        self, kind: str, method: str, url: str, body: Any = None, content_type: str = JSON
    ) -> Answer:
        """Send one request; a body that is not text is spelled as JSON."""
        path, _, query = url.partition("?")
        text = body if isinstance(body, str) else "" if body is None else json.dumps(body)
        raw = text.encode()
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "CONTENT_LENGTH": str(len(raw)),
            "CONTENT_TYPE": content_type,
            "wsgi.input": io.BytesIO(raw),
        }
        setup_testing_defaults(environ)
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start(status: str, headers: list[tuple[str, str]], _failure: object = None) -> None:
            started.append((status, headers))

        parts = b"".join(self._app(environ, start))
        assert len(started) == 1
        status, headers = int(started[0][0][:3]), dict(started[0][1])
        assert headers["Content-Type"].partition(";")[0] == JSON
        self._counts[f"{kind} {status}"] += 1
        return _opened(status, json.loads(parts), headers)


def _opened(status: int, envelope: Any, headers: Mapping[str, str]) -> Answer:
    if status == 200:
        assert envelope.keys() == {"success", "data"}
        assert envelope["success"] is True
        stamp = envelope["data"].get("timestamp")
        assert stamp is None or TIMESTAMP.fullmatch(stamp)
        return Answer(status, "", envelope["data"], headers)
    assert envelope.keys() == {"success", "errorCode", "error"}, envelope
    assert envelope["success"] is False
    assert STATUSES.get(envelope["errorCode"]) == status, (status, envelope)
    assert isinstance(envelope["error"], str)
    assert envelope["error"]
    return Answer(status, envelope["errorCode"], None, headers)


class Item(NamedTuple):
    """A message as the model keeps it: the text of its id, its content spelled in one way."""

    message_id: str
    content: str

    @classmethod
    def of(cls, message_id: str | int, content: Any) -> "Item":
        # Spelled, since in Python 1, 1.0 and True are equal, and in JSON they are not.
        return cls(str(message_id), json.dumps(content))


class Sent(NamedTuple):
    """All messages of one request, each with the partition that it belongs to."""

    items: Sequence[tuple[Partition, Item]]

    @classmethod
    def of(cls, topic: str, items: Iterable[Item]) -> "Sent":
        count = TOPICS[topic]
        return cls([((topic, partition_for(i.message_id.encode(), count)), i) for i in items])

    def pieces(self, *, torn: bool) -> "list[Sent]":
        """Return what may be there of a request without an answer, the most first.

        All of it; where a loss of power may have torn its write, any run of its messages.
        """
        count = len(self.items)
        lengths = range(count, 0, -1) if torn else [count]
        return [
            Sent(self.items[start : start + length])
            for length in lengths
            for start in range(count - length + 1)
        ]

    def parts(self) -> dict[Partition, list[Item]]:
        parts: dict[Partition, list[Item]] = {}
        for partition, item in self.items:
            parts.setdefault(partition, []).append(item)
        return parts


class PlainModel:
    """What every partition has, who holds it, and what is in doubt."""

    def __init__(self) -> None:
        self.logs: dict[Partition, list[Item]] = {partition: [] for partition in PARTITIONS}
        self.ends: dict[Partition, int] = dict.fromkeys(PARTITIONS, 0)
        """How much of each log is routed, as far as it was seen: it never shrinks."""
        self.read: dict[Partition, int] = dict.fromkeys(PARTITIONS, 0)
        self.consumers: dict[Partition, str] = {}
        self.doubtful: list[Sent] = []
        self.doubtful_reads: dict[Partition, set[int]] = {key: set() for key in PARTITIONS}
        self.doubtful_consumers: dict[Partition, set[str]] = {key: set() for key in PARTITIONS}

    def keep(self, sent: Sent) -> None:
        for partition, item in sent.items:
            self.logs[partition].append(item)

    def assign(self, partition: Partition, consumer: str) -> None:
        self.consumers[partition] = consumer
        self.doubtful_consumers[partition].clear()

    def held(self, topic: str, consumer: str) -> list[int]:
        """Return the partitions of a topic that a consumer may be given."""
        numbers = range(TOPICS[topic])
        own = [number for number in numbers if self.consumers.get((topic, number)) == consumer]
        return own or [number for number in numbers if (topic, number) not in self.consumers]

    def see_offsets(self, partition: Partition, stats: Mapping[str, Any]) -> None:
        """Compare what /stats says of a partition, whose end moves as messages are routed."""
        end, read = stats["logEndOffset"], stats["readOffset"]
        assert self.ends[partition] <= end <= len(self.logs[partition])
        self.ends[partition] = end
        assert read == self.read[partition], f"{partition} is read to {read}"
        assert stats["pendingMessages"] == end - read
        assert 0 <= stats["bufferSize"] <= end - read
        assert stats["consumerId"] == self.consumers.get(partition)

    def see_messages(self, partition: Partition, data: Mapping[str, Any], most: int) -> None:
        """Compare what a consume of a batch has answered."""
        start = self.read[partition]
        count = min(most, self.ends[partition] - start)
        assert (data["startOffset"], data["endOffset"]) == (start, start + count)
        assert data["count"] == len(data["messages"]) == count
        found = items_of(partition, data["messages"], start)
        compare(self.logs[partition][start : start + count], found)

    def see_start(self, partition: Partition, stats: Mapping[str, Any], data: Any) -> list[Item]:
        """Compare a partition after a start; return the messages beyond those that are certain."""
        end, read, log = stats["logEndOffset"], stats["readOffset"], self.logs[partition]
        assert read >= self.read[partition], "a commit was lowered"
        if read > self.read[partition]:
            assert read in self.doubtful_reads[partition], "nobody committed so far"
        consumer = stats["consumerId"]
        if partition in self.consumers:
            assert consumer == self.consumers[partition], "an assignment was lost"
        elif consumer is not None:
            assert consumer in self.doubtful_consumers[partition], "nobody registered so"
            self.assign(partition, consumer)
        self.read[partition] = read
        self.doubtful_reads[partition].clear()
        self.doubtful_consumers[partition].clear()
        assert end >= len(log), f"{partition}: lost the last {len(log) - end} of {len(log)}"
        found = items_of(partition, data["messages"], read)
        assert len(found) == end - read
        compare(log[read:], found[: len(log) - read])
        return found[len(log) - read :]

    def adopt(self, surplus: Mapping[Partition, Sequence[Item]], *, torn: bool) -> None:
        """Take over what a start has found of requests in doubt: see `Sent.pieces`.

        What was not found stays in doubt: after a failed sync, an end of power may bring it back.
        """
        taken = _explain(self.doubtful, surplus, torn=torn)
        assert taken is not None, f"nobody sent this, or not once, or not in this order: {surplus}"
        for partition, items in surplus.items():
            self.logs[partition].extend(items)
        self.doubtful = [each for n, each in enumerate(self.doubtful) if n not in taken]
        # A start routes all there is.
        self.ends = {partition: len(log) for partition, log in self.logs.items()}


def _explain(
    doubtful: Sequence[Sent],
    surplus: Mapping[Partition, Sequence[Item]],
    first: int = 0,
    *,
    torn: bool,
) -> set[int] | None:
    """Return the requests that together are the surplus, in order; None where none are."""
    if not any(surplus.values()):
        return set()
    for number in range(first, len(doubtful)):
        for piece in doubtful[number].pieces(torn=torn):
            parts = piece.parts()
            if all(list(surplus[key][: len(part)]) == part for key, part in parts.items()):
                rest = {key: items[len(parts.get(key, ())) :] for key, items in surplus.items()}
                taken = _explain(doubtful, rest, number + 1, torn=torn)
                if taken is not None:
                    return {number, *taken}
    return None


def items_of(partition: Partition, messages: Sequence[Any], start: int) -> list[Item]:
    """Return the messages of an answer, whose offsets must follow `start`."""
    for offset, message in enumerate(messages, start + 1):
        assert message["topicId"] == partition[0]
        assert message["offset"] == offset
    return [Item.of(message["messageId"], message["content"]) for message in messages]


def compare(expected: Sequence[Item], found: Sequence[Item]) -> None:
    """Say of messages that differ whether some are lost, there twice, or in another order."""
    if list(expected) != list(found):
        missing, more = Counter(expected) - Counter(found), Counter(found) - Counter(expected)
        what = "lost" if missing else "duplicated" if more else "reordered"
        raise AssertionError(f"{what}: expected {expected}, found {found}")
