"""The load of the kill loop: producers and consumers over HTTP, and the ledger that they keep."""

import http.client
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, Final

import msgspec

from tests.crash.ledger import Kind, Ledger, Record, Status, message_id

TOPIC: Final = "load"
BROKER: Final = "broker_1"
PRODUCERS: Final = 4
PARTITIONS: Final = 4
LARGEST_BATCH: Final = 1_000
REQUEST_S: Final = 15.0
ROUND_S: Final = 60.0
"""Within this time all threads of a load must have ended."""


class Found(msgspec.Struct):
    """A message in an answer."""

    offset: int
    message_id: str = msgspec.field(name="messageId")
    content: Any


class Batch(msgspec.Struct, rename="camel"):
    """The data of a consume."""

    messages: list[Found]
    start_offset: int
    end_offset: int


class Consumed(msgspec.Struct):
    """The answer to a consume."""

    data: Batch


_consumed = msgspec.json.Decoder(Consumed)


class Client:
    """One connection that is kept; what breaks it is an `OSError` or an `HTTPException`."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=REQUEST_S)

    def close(self) -> None:
        self._connection.close()

    def call(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json"} if body else {}
        self._connection.request(method, path, body, headers)
        with self._connection.getresponse() as response:
            return response.status, response.read()

    def read(self, partition: int, most: int, wait_ms: int) -> Batch | None:
        """Peek at a batch; None where the broker does not give one."""
        path = f"/consume/{BROKER}/{TOPIC}/{partition}?b=t&max={most}&wait={wait_ms}"
        status, answer = self.call("GET", path)
        return _consumed.decode(answer).data if status == 200 else None

    def commit(self, partition: int, offset: int) -> tuple[int, bytes]:
        name = f"consumer-{partition}"
        body = {"topicId": TOPIC, "partitionId": partition, "consumerId": name, "offset": offset}
        return self.call("POST", "/commit", msgspec.json.encode(body))


class Load:
    """Producers and consumers, in threads, until the broker breaks their connections."""

    def __init__(self, ledger: Ledger, port: int, seed: str) -> None:
        self._ledger = ledger
        self._port = port
        self._is_over = threading.Event()
        self._pool = ThreadPoolExecutor(PRODUCERS + PARTITIONS)
        self._futures = [
            self._pool.submit(self._run, work, number, f"{seed} {name} {number}")
            for name, work, count in (
                ("producer", self._produce, PRODUCERS),
                ("consumer", self._consume, PARTITIONS),
            )
            for number in range(count)
        ]

    def end(self) -> None:
        """Wait for all threads; raises what one of them raised."""
        self._is_over.set()
        try:
            for future in self._futures:
                future.result(ROUND_S)
        finally:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(
        self, work: Callable[[Client, random.Random, int], bool], number: int, seed: str
    ) -> None:
        chance = random.Random(seed)
        with closing(Client(self._port)) as client:
            try:
                while not self._is_over.is_set() and work(client, chance, number):
                    pass
            except (OSError, http.client.HTTPException):
                return  # The broker is gone; what was under way stays unknown.

    def _produce(self, client: Client, chance: random.Random, producer: int) -> bool:
        """Send one batch, or one message; return whether to go on."""
        is_single = chance.random() < 0.2
        count = 1 if is_single else chance.randint(2, LARGEST_BATCH)
        first = self._ledger.sending(producer, count)
        status, answer = client.call("POST", f"/ingress/{TOPIC}", body_of(producer, first, count))
        if status == 200:
            self._ledger.answered(producer, first, count, Status.ACKNOWLEDGED)
            return True
        is_stopping = status == 503 and b"SHUTTING_DOWN" in answer
        if is_stopping or status in (429, 507):
            self._ledger.answered(producer, first, count, Status.REFUSED)
            return not is_stopping and not self._is_over.wait(0.01)
        return self._expected(answer, b"TIMEOUT")

    def _consume(self, client: Client, chance: random.Random, partition: int) -> bool:
        """Take down a batch and, as a rule, commit all of it or a part; return whether to go on."""
        batch = client.read(partition, chance.choice((1, 100, 500, 2_000)), 100)
        if batch is None:
            return False
        self._ledger.saw(partition, batch.start_offset, map(as_record, batch.messages))
        if not batch.messages or chance.random() < 0.1:
            return True
        is_part = chance.random() < 0.2
        offset = chance.choice(batch.messages).offset if is_part else batch.end_offset
        self._ledger.committing(partition, offset)
        status, answer = client.commit(partition, offset)
        if status == 200:
            self._ledger.committed(partition, offset)
            return True
        return self._expected(answer, b"TIMEOUT", b"SHUTTING_DOWN")

    def _expected(self, answer: bytes, *codes: bytes) -> bool:
        if not any(code in answer for code in codes):
            self._ledger.found(Kind.BROKER, f"unexpected answer {answer[:200]!r}")
        return False


def body_of(producer: int, first: int, count: int) -> bytes:
    """Return the body that produces messages; a single one goes by itself."""
    each = '{"messageId":"%s","content":%d}'
    numbers = range(first, first + count)
    messages = ",".join(each % (message_id(producer, number), number) for number in numbers)
    return (f'{{"message":{messages}}}' if count == 1 else f'{{"messages":[{messages}]}}').encode()


def as_record(found: Found) -> Record:
    return Record(found.offset, found.message_id, found.content)
