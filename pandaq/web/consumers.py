"""The routes that consumers call."""

from functools import partial
from threading import BoundedSemaphore
from typing import Any, Final

import msgspec

from pandaq.actors.system import System
from pandaq.batch import Batch
from pandaq.offsets import Offsets
from pandaq.web.answer import Later
from pandaq.web.checks import check_address
from pandaq.web.payloads import (
    CommitBody,
    RegisterBody,
    batch_json,
    partition_number,
    timestamp,
)
from pandaq.web.request import Request

_register = msgspec.json.Decoder(RegisterBody)
_commit = msgspec.json.Decoder(CommitBody)

QUICK_BYTES: Final = 128 * 1024
"""A batch up to this size is answered in less time than it takes to wake a thread for it."""
DEFAULT_MAX_MESSAGES: Final = 500
"""Messages in a batch where the consumer says nothing of `max`."""


def register(system: System, request: Request, topic_id: str) -> dict[str, Any]:
    """`POST /register/{topicId}`: give the consumer a partition."""
    body = request.decode(_register)
    check_address(system, body.broker_id, topic_id)
    return {
        "topicId": topic_id,
        "brokerId": system.config.broker_id,
        "consumerId": body.consumer_id,
        "partitionId": system.register(topic_id, body.consumer_id),
        "timestamp": timestamp(),
    }


class WaitingRoom:
    """The places for consumers that wait."""

    def __init__(self, places: int) -> None:
        self._places = BoundedSemaphore(places)

    def consume(
        self, system: System, request: Request, broker_id: str, topic_id: str, partition_id: str
    ) -> Later:
        """`GET /consume/{brokerId}/{topicId}/{partitionId}`: peek at one message, or at a batch.

        Where no place is free a waiting consumer is answered at once, as one that does not wait.
        """
        check_address(system, broker_id, topic_id)
        config = system.config
        is_batch = request.flag("b")
        number = partition_number(partition_id)
        count = request.number("max", DEFAULT_MAX_MESSAGES, 1, config.max_consume_messages)
        wait_ms = request.number("wait", 0, 0, config.max_wait_ms)
        count = min(count, config.max_consume_messages) if is_batch else 1
        encode = partial(batch_json, single=not is_batch)
        if not wait_ms or not self._places.acquire(blocking=False):
            return Later(system.begin_read(topic_id, number, count), encode, _is_small)
        try:
            waiting = system.begin_wait(topic_id, number, count)
        except BaseException:
            self._places.release()
            raise
        waiting.reply.when_done(self._places.release)
        return Later(waiting.reply, encode, _is_small, wait_s=wait_ms / 1000, end_wait=waiting.end)


def commit(system: System, request: Request) -> Later:
    """`POST /commit`: take away for good all messages up to an offset."""
    body = request.decode(_commit)
    check_address(system, body.broker_id, body.topic_id)
    partition_id = partition_number(body.partition_id)
    reply = system.begin_commit(body.topic_id, partition_id, body.consumer_id, body.offset)

    def encode(offsets: Offsets) -> dict[str, Any]:
        return {
            "committed": True,
            "offset": body.offset,
            "topicId": body.topic_id,
            "partitionId": partition_id,
            "consumerId": body.consumer_id,
            "logEndOffset": offsets.log_end,
            "newReadOffset": offsets.read,
            "timestamp": timestamp(),
        }

    return Later(reply, encode)


def _is_small(batch: Batch) -> bool:
    return sum(map(len, batch.lines)) <= QUICK_BYTES
