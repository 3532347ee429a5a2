"""Batches in and batches out, through the SDK, with a clock beside them."""

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pandaq.errors import PandaqError
from pandaq_sdk import Consumer, Producer
from pandaq_sdk.connection import Connection

BROKER_ID: Final = "broker_1"
BATCH_MESSAGES: Final = 500
POLL_S: Final = 0.01
"""Between two looks at whether everything is routed: asking costs the broker time, too."""
ROUTING_S: Final = 60.0
"""Without any progress for this long, nothing is routed any more."""

Message = Mapping[str, Any]


class NotRouted(PandaqError):
    """What a broker accepted does not arrive in the partitions."""

    def __init__(self, missing: int) -> None:
        super().__init__(f"{missing} messages were accepted, but not routed within {ROUTING_S} s")
        self.missing = missing


class MessagesMissing(PandaqError):
    """Messages that were produced do not arrive at their consumer."""

    def __init__(self, arrived: int, sent: int) -> None:
        super().__init__(f"only {arrived} of {sent} messages arrived")
        self.arrived = arrived
        self.sent = sent


@dataclass(frozen=True, slots=True)
class Done:
    """How many messages went through in how many seconds.

    >>> Done(1000, 0.5).per_s
    2000.0
    """

    count: int
    seconds: float

    @property
    def per_s(self) -> float:
        """Messages a second."""
        return self.count / self.seconds


def message(number: int) -> dict[str, Any]:
    """Return a message as an order might be: as the body of one request, about 130 bytes.

    >>> message(17)
    {'messageId': 'msg-00000017', 'content': {'orderId': 'o-10017', 'customer': 'c-17', ...}}
    """
    content = {
        "orderId": f"o-{10_000 + number}",
        "customer": f"c-{number % 1000}",
        "amount": number % 10_000 / 100,
        "currency": "EUR",
    }
    return {"messageId": f"msg-{number:08}", "content": content}


def batches(count: int, size: int = BATCH_MESSAGES, first: int = 0) -> list[list[dict[str, Any]]]:
    """Return `count` messages in batches; build them before the clock runs.

    >>> [len(batch) for batch in batches(1200)]
    [500, 500, 200]
    """
    numbers = range(first, first + count)
    return [[message(n) for n in numbers[at : at + size]] for at in range(0, count, size)]


def for_seconds(seconds: float, size: int = BATCH_MESSAGES) -> Iterator[list[dict[str, Any]]]:
    """Yield batches, the same ones over and over, until the time is up; at least one."""
    end = time.perf_counter() + seconds
    for batch in itertools.cycle(batches(20 * size, size)):
        yield batch
        if time.perf_counter() >= end:
            return


def produce_until_routed(url: str, topic_id: str, load: Iterable[Sequence[Message]]) -> Done:
    """Send batches by one producer, and wait until all of them are in their partitions.

    Raises `NotRouted`.
    """
    with Producer(BROKER_ID, url, topic_id) as producer:
        before = routed(url, topic_id)
        count, begin = 0, time.perf_counter()
        for batch in load:
            producer.produce_batch(batch)
            count += len(batch)
        wait_until_routed(url, topic_id, before + count)
    return Done(count, time.perf_counter() - begin)


def wait_until_routed(url: str, topic_id: str, log_end: int) -> None:
    """Wait until the partitions of a topic hold `log_end` messages and the ingress buffer none.

    Raises `NotRouted`.
    """
    connection = Connection(url)
    seen, since = -1, time.perf_counter()
    try:
        while True:
            stats = connection.call("GET", "/stats").fields
            ingress, there = stats["ingressBuffer"], _log_end(stats, topic_id)
            if ingress["readOffset"] == ingress["logEndOffset"] and there == log_end:
                return
            if there != seen:
                seen, since = there, time.perf_counter()
            elif time.perf_counter() - since > ROUTING_S:
                raise NotRouted(log_end - there)
            time.sleep(POLL_S)
    finally:
        connection.close()


def routed(url: str, topic_id: str) -> int:
    """Return how many messages the partitions of a topic have had."""
    connection = Connection(url)
    try:
        return _log_end(connection.call("GET", "/stats").fields, topic_id)
    finally:
        connection.close()


def consume_all(
    url: str, topic_id: str, partitions: int, size: int = BATCH_MESSAGES, seconds: float = 600
) -> Done:
    """Consume and commit in batches, one partition after the other, until nothing is left.

    Each partition has a consumer of its own. No batch is begun after `seconds`.
    """
    count, begin = 0, time.perf_counter()
    end, registering_s = begin + seconds, 0.0
    for number in range(partitions):
        with Consumer(url, BROKER_ID, f"consumer-{number}", topic_id) as consumer:
            before = time.perf_counter()
            consumer.register()
            registering_s += time.perf_counter() - before
            while time.perf_counter() < end and (batch := consumer.batch_consume(size)):
                consumer.commit_offset(batch.end_offset)
                count += len(batch)
    return Done(count, time.perf_counter() - begin - registering_s)


def _log_end(stats: Mapping[str, Any], topic_id: str) -> int:
    topic = next(each for each in stats["topics"] if each["topicId"] == topic_id)
    return sum(partition["logEndOffset"] for partition in topic["partitions"])
