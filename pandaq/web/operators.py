"""The routes that the people who run the broker call."""

from collections.abc import Mapping, Sequence
from typing import Any

from pandaq.actors.description import TopicDescription
from pandaq.actors.messages import GroupDescription, QueueDescription
from pandaq.actors.system import System
from pandaq.errors import Unhealthy
from pandaq.ids import check_consumer_id, check_topic_id
from pandaq.web.payloads import timestamp
from pandaq.web.request import Request


def stats(system: System, _request: Request) -> dict[str, Any]:
    """`GET /stats`: the offsets and buffers of everything."""
    description = system.describe()
    ingress = description.ingress
    return {
        "brokerId": system.config.broker_id,
        "durability": system.config.durability,
        "topicCount": len(description.topics),
        "topics": [_topic(topic) for topic in description.topics],
        "ingressBuffer": {
            "bufferSize": ingress.buffer_size,
            "logEndOffset": ingress.offsets.log_end,
            "readOffset": ingress.offsets.read,
        },
        "delayed": {
            "count": description.delayed.count,
            "nextDueAt": _time(description.delayed.next_due_ms),
        },
        "timestamp": timestamp(),
    }


def health(system: System, _request: Request) -> dict[str, Any]:
    """`GET /health`: whether everything works; what does not is said in the error."""
    if problems := system.problems():
        raise Unhealthy(problems)
    return {"status": "ok", "brokerId": system.config.broker_id, "timestamp": timestamp()}


def redrive(system: System, _request: Request, topic_id: str) -> dict[str, Any]:
    """`POST /redrive/{topicId}`: move dead letters back to their topic."""
    check_topic_id(topic_id)
    redriven = system.redrive(topic_id)
    return {
        "topicId": redriven.topic_id,
        "moved": redriven.moved,
        "remaining": redriven.remaining,
        "timestamp": timestamp(),
    }


def delete_group(system: System, _request: Request, topic_id: str, group: str) -> dict[str, Any]:
    """`DELETE /groups/{topicId}/{group}`: forget a group and its readOffsets."""
    check_topic_id(topic_id)
    check_consumer_id(group, "group")
    system.delete_group(topic_id, group)
    return {"deleted": True, "topicId": topic_id, "group": group, "timestamp": timestamp()}


def _topic(topic: TopicDescription) -> dict[str, Any]:
    unnamed, *named = topic.groups
    data: dict[str, Any] = {
        "topicId": topic.topic_id,
        "partitionCount": len(topic.partitions),
        "partitions": [
            _partition(number, queue, unnamed.holders)
            for number, queue in enumerate(topic.partitions)
        ],
        "consumers": _members(unnamed),
        "groups": [_group(group, topic.partitions) for group in named],
    }
    if topic.seen:
        data["dedupe"] = {
            "windowMs": topic.seen.window_ms,
            "remembered": topic.seen.count,
            "forgottenEarly": topic.seen.forgotten,
        }
    return data


def _partition(
    number: int, queue: QueueDescription, holders: Mapping[int, tuple[str, int]]
) -> dict[str, Any]:
    return {
        "partitionId": number,
        "logEndOffset": queue.offsets.log_end,
        "readOffset": queue.offsets.read,
        "bufferSize": queue.buffer_size,
        "pendingMessages": queue.offsets.pending,
        "expiredMessages": queue.expired,
        **_holder(number, holders),
    }


def _group(group: GroupDescription, partitions: Sequence[QueueDescription]) -> dict[str, Any]:
    """Tell of a group; partitions that it has not heard of yet are unread."""
    reads = [queue.groups.get(group.group) for queue in partitions]
    return {
        "group": group.group,
        "partitions": [
            {
                "partitionId": number,
                "readOffset": offsets.read if offsets else 0,
                "pendingMessages": offsets.pending if offsets else queue.offsets.log_end,
                **_holder(number, group.holders),
            }
            for number, (queue, offsets) in enumerate(zip(partitions, reads, strict=True))
        ],
        "consumers": _members(group),
    }


def _holder(number: int, holders: Mapping[int, tuple[str, int]]) -> dict[str, Any]:
    consumer_id, generation = holders.get(number, (None, None))
    return {"consumerId": consumer_id, "generation": generation}


def _members(group: GroupDescription) -> list[dict[str, Any]]:
    return [
        {
            "consumerId": consumer_id,
            "leaseMs": each.member.lease_ms,
            "leaseLeftMs": each.left_ms,
            "share": each.member.share,
        }
        for consumer_id, each in group.members.items()
    ]


def _time(time_ms: int | None) -> str | None:
    return None if time_ms is None else timestamp(time_ms)
