"""The TPC registry: decides which consumer has which partition, and writes it down."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, assert_never

from pandaq.actors.asking import Ref, ask
from pandaq.actors.messages import (
    CheckCommit,
    Claim,
    DescribeAssignments,
    DescribeTrouble,
    Register,
)
from pandaq.actors.thread import ThreadActor
from pandaq.assignments import Assignments
from pandaq.storage.store import AssignmentLog
from pandaq.storage.tpc_log import Assignment

Message = Register | Claim | DescribeAssignments | DescribeTrouble


class Registry(ThreadActor):
    """Owns the assignments of all topics; what it answers is in TPC.log before."""

    def __init__(
        self,
        partitions: Mapping[str, Sequence[Ref]],
        assignments: Sequence[Assignment],
        log: AssignmentLog,
        ask_timeout_s: float,
    ) -> None:
        super().__init__()
        self._partitions = partitions
        self._log = log
        self._ask_timeout_s = ask_timeout_s
        self._topics = {
            topic_id: Assignments(
                topic_id,
                len(refs),
                MappingProxyType(
                    {
                        each.partition_id: each.consumer_id
                        for each in assignments
                        if each.topic_id == topic_id
                    }
                ),
            )
            for topic_id, refs in partitions.items()
        }

    def on_receive(self, message: Message) -> Any:
        """Handle one message; see `pandaq.actors.messages`."""
        match message:
            case Register(topic_id, consumer_id):
                return self._register(topic_id, consumer_id)
            case Claim():
                return self._claim(message)
            case DescribeAssignments():
                return {
                    (each.topic_id, each.partition_id): each.consumer_id for each in self._all()
                }
            case DescribeTrouble():
                return self._log.problem(self._all())
            case _:
                assert_never(message)

    def _register(self, topic_id: str, consumer_id: str) -> int:
        assignments, partition_id = self._topics[topic_id].registered(consumer_id)
        self._keep(assignments)
        return partition_id

    def _claim(self, claim: Claim) -> None:
        """Let the holder pass; assign a free partition to whoever can really commit."""
        before = self._topics[claim.topic_id]
        after = before.claimed(claim.partition_id, claim.consumer_id)
        if after is not before:
            partition = self._partitions[claim.topic_id][claim.partition_id]
            ask(partition, CheckCommit(claim.offset), self._ask_timeout_s)
        self._keep(after)

    def _keep(self, assignments: Assignments) -> None:
        """Write the change down, then change memory."""
        topic_id = assignments.topic_id
        if assignments is self._topics[topic_id]:
            return
        after = {**self._topics, topic_id: assignments}
        self._log.write(_lines(after))
        self._topics = after

    def _all(self) -> list[Assignment]:
        return _lines(self._topics)


def _lines(topics: Mapping[str, Assignments]) -> list[Assignment]:
    return [
        Assignment(topic_id, partition_id, consumer_id)
        for topic_id, assignments in topics.items()
        for partition_id, consumer_id in sorted(assignments.consumers.items())
    ]
