"""The routes that the people who run the broker call."""

from typing import Any

from pandaq.actors.messages import QueueDescription
from pandaq.actors.system import System, TopicDescription
from pandaq.errors import Unhealthy
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
        "timestamp": timestamp(),
    }


def health(system: System, _request: Request) -> dict[str, Any]:
    """`GET /health`: whether everything works; what does not is said in the error."""
    if problems := system.problems():
        raise Unhealthy(problems)
    return {"status": "ok", "brokerId": system.config.broker_id, "timestamp": timestamp()}


def _topic(topic: TopicDescription) -> dict[str, Any]:
    return {
        "topicId": topic.topic_id,
        "partitionCount": len(topic.partitions),
        "partitions": [
            _partition(number, queue, topic.consumers.get(number))
            for number, queue in enumerate(topic.partitions)
        ],
    }


def _partition(number: int, queue: QueueDescription, consumer_id: str | None) -> dict[str, Any]:
    return {
        "partitionId": number,
        "logEndOffset": queue.offsets.log_end,
        "readOffset": queue.offsets.read,
        "bufferSize": queue.buffer_size,
        "pendingMessages": queue.offsets.pending,
        "consumerId": consumer_id,
    }
