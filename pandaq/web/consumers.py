"""The routes that consumers call."""

from functools import partial
from threading import BoundedSemaphore
from typing import Any, Final

import msgspec

from pandaq.actors.consuming import Refused
from pandaq.actors.messages import Assigned, Caller, Target
from pandaq.actors.system import System
from pandaq.batch import Batch
from pandaq.errors import InvalidRequest
from pandaq.offsets import Offsets
from pandaq.refusal import Refuser
from pandaq.web.answer import Later
from pandaq.web.checks import check_address
from pandaq.web.payloads import (
    CommitBody,
    HolderBody,
    MemberBody,
    NackBody,
    RegisterBody,
    SeekBody,
    batch_json,
    partition_number,
    timestamp,
)
from pandaq.web.request import Request

_register = msgspec.json.Decoder(RegisterBody)
_member = msgspec.json.Decoder(MemberBody)
_commit = msgspec.json.Decoder(CommitBody)
_seek = msgspec.json.Decoder(SeekBody)
_nack = msgspec.json.Decoder(NackBody)

QUICK_BYTES: Final = 128 * 1024
"""A batch up to this size is answered in less time than it takes to wake a thread for it."""
DEFAULT_MAX_MESSAGES: Final = 500
"""Messages in a batch where the consumer says nothing of `max`."""


def register(system: System, request: Request, topic_id: str) -> dict[str, Any]:
    """`POST /register/{topicId}`: give the consumer a partition, or its share of them."""
    body = request.decode(_register)
    check_address(system, body.broker_id, topic_id)
    assigned = system.register(
        topic_id,
        body.consumer_id,
        group=body.group or "",
        lease_ms=body.lease_ms,
        share=body.share,
        start=body.start,
    )
    return {
        "topicId": topic_id,
        "brokerId": system.config.broker_id,
        "consumerId": body.consumer_id,
        "partitionId": assigned.partition_id,
        "group": body.group or "",
        **_assigned(assigned),
        "timestamp": timestamp(),
    }


def heartbeat(system: System, request: Request, topic_id: str) -> dict[str, Any]:
    """`POST /heartbeat/{topicId}`: say that a consumer is alive, and hear what it has."""
    body = request.decode(_member)
    check_address(system, body.broker_id, topic_id)
    return _assigned(system.heartbeat(topic_id, body.consumer_id, body.group or ""))


def unregister(system: System, request: Request, topic_id: str) -> dict[str, Any]:
    """`POST /unregister/{topicId}`: give up what a consumer has."""
    body = request.decode(_member)
    check_address(system, body.broker_id, topic_id)
    return {"released": system.unregister(topic_id, body.consumer_id, body.group or "")}


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
        caller = Caller(
            request.text("group") or "", request.text("consumerId"), request.integer("generation")
        )
        offset = request.integer("offset")
        if offset is not None or not wait_ms or not self._places.acquire(blocking=False):
            reply = system.begin_read(topic_id, number, count, caller=caller, offset=offset)
            return Later(reply, encode, _is_small)
        try:
            waiting = system.begin_wait(topic_id, number, count, caller=caller)
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
    reply = system.begin_commit(body.topic_id, partition_id, _caller(body), body.offset)

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


def seek(system: System, request: Request) -> dict[str, Any]:
    """`POST /seek`: move a group's readOffset, forward or back."""
    body = request.decode(_seek)
    check_address(system, body.broker_id, body.topic_id)
    target = Target(body.offset, body.timestamp, body.to)
    if sum(each is not None for each in (body.offset, body.timestamp, body.to)) != 1:
        raise InvalidRequest("send one of offset, timestamp (ms since 1970) and to")
    number = partition_number(body.partition_id)
    offsets = system.seek(body.topic_id, number, _caller(body), target)
    return {
        "topicId": body.topic_id,
        "partitionId": number,
        "newReadOffset": offsets.read,
        "logEndOffset": offsets.log_end,
        "timestamp": timestamp(),
    }


def nack(system: System, request: Request) -> Later:
    """`POST /nack`: refuse a message, so that a copy of it comes again, or to the dead letters."""
    body = request.decode(_nack)
    check_address(system, body.broker_id, body.topic_id)
    number = partition_number(body.partition_id)
    refuser = Refuser(body.group or "", body.reason or "", body.delay_ms)
    reply = system.begin_nack(body.topic_id, number, _caller(body), body.offset, refuser)

    def encode(refused: Refused) -> dict[str, Any]:
        return {
            "offset": body.offset,
            "attempts": refused.attempts,
            "topicId": refused.topic_id,
            "deliverAt": timestamp(refused.deliver_at),
            "timestamp": timestamp(),
        }

    return Later(reply, encode)


def _caller(body: HolderBody) -> Caller:
    return Caller(body.group or "", body.consumer_id, body.generation)


def _assigned(assigned: Assigned) -> dict[str, Any]:
    partitions = [
        {"partitionId": number, "generation": generation}
        for number, generation in assigned.partitions
    ]
    return {"leaseMs": assigned.lease_ms, "partitions": partitions}


def _is_small(batch: Batch) -> bool:
    return sum(map(len, batch.lines)) <= QUICK_BYTES
