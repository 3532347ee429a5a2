"""What a member of a group asks of the broker, over one connection."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from pandaq_sdk.batch import Batch, batch_from
from pandaq_sdk.connection import Connection, path_segment
from pandaq_sdk.envelope import Answer, encode
from pandaq_sdk.receipt import Refused, refused_from

Assignment = dict[int, int]
"""The generation of each partition that a member has."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who calls: a consumer of a group of a topic; `group` is empty for the unnamed one."""

    broker_id: str
    topic_id: str
    group: str
    consumer_id: str


class GroupCalls:
    """One call a method; connects with the first. For one thread.

    All raise what `Connection.call` does: `NotAssigned` where the partition is not the consumer's
    any more, `NotFound` where the consumer is not known any more.
    """

    def __init__(self, identity: Identity, connect: Callable[[], Connection]) -> None:
        self._identity = identity
        self._connect = connect
        self._connection: Connection | None = None
        self._topic = path_segment("topic_id", identity.topic_id)
        self._broker = path_segment("broker_id", identity.broker_id)
        self._query = f"group={_quoted(identity.group)}&consumerId={_quoted(identity.consumer_id)}"

    def register(self, lease_ms: int, start: Literal["beginning", "end"]) -> Assignment:
        """Join the group, to share its partitions."""
        terms = {"leaseMs": lease_ms, "share": True, "from": start}
        return _assignment(self._post(f"/register/{self._topic}", self._member(**terms)))

    def heartbeat(self) -> Assignment:
        """Keep the lease, and hear what is assigned now."""
        return _assignment(self._post(f"/heartbeat/{self._topic}", self._member()))

    def unregister(self) -> None:
        """Leave the group."""
        self._post(f"/unregister/{self._topic}", self._member())

    def read(self, partition_id: int, generation: int, max_messages: int, wait_ms: int) -> Batch:
        """Peek at a batch; where there is none, wait for one."""
        path = f"/consume/{self._broker}/{self._topic}/{partition_id}?b=t&max={max_messages}"
        query = f"&wait={wait_ms}&{self._query}&generation={generation}"
        return batch_from(self._called("GET", path + query, wait_s=wait_ms / 1000))

    def commit(self, partition_id: int, generation: int, offset: int) -> None:
        """Commit that everything up to `offset` was handled."""
        self._post("/commit", self._holder(partition_id, generation, offset=offset))

    def nack(
        self, partition_id: int, generation: int, offset: int, reason: str, delay_ms: int | None
    ) -> Refused:
        """Refuse a message, so that it comes again."""
        more: dict[str, Any] = {"offset": offset, "reason": reason}
        if delay_ms is not None:
            more["delayMs"] = delay_ms
        return refused_from(self._post("/nack", self._holder(partition_id, generation, **more)))

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()

    def _member(self, **more: Any) -> dict[str, Any]:
        who = self._identity
        body = {"brokerId": who.broker_id, "consumerId": who.consumer_id, "group": who.group}
        return body | more

    def _holder(self, partition_id: int, generation: int, **more: Any) -> dict[str, Any]:
        where = {
            "topicId": self._identity.topic_id,
            "partitionId": partition_id,
            "generation": generation,
        }
        return self._member(**where, **more)

    def _post(self, path: str, body: dict[str, Any]) -> Answer:
        return self._called("POST", path, body=encode(body, "the request"))

    def _called(
        self, method: str, path: str, body: bytes | None = None, wait_s: float = 0.0
    ) -> Answer:
        if self._connection is None:
            self._connection = self._connect()
        return self._connection.call(method, path, body=body, wait_s=wait_s)


def _assignment(answer: Answer) -> Assignment:
    partitions = (answer.part(each) for each in answer.objects("partitions"))
    return {each.integer("partitionId"): each.integer("generation") for each in partitions}


def _quoted(name: str) -> str:
    return quote(name, safe="")
