"""Which consumer has which partition (the topic-partition-consumer map): rules only.

- A partition has at most one consumer; a consumer may have several partitions.
- Who registers again gets what it has; who is new gets the first free partition.
- A commit for a partition that nobody has assigns it; for another's it is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from pandaq.errors import NoPartitionAvailable, NotAssigned


@dataclass(frozen=True, slots=True)
class Assignments:
    """The consumers of one topic's partitions; a value that each change makes anew.

    >>> topic = Assignments("orders", 2)
    >>> topic, partition_id = topic.registered("alice")
    >>> partition_id, topic.holder(0), topic.holder(1)
    (0, 'alice', None)
    """

    topic_id: str
    partitions: int
    consumers: Mapping[int, str] = field(default_factory=lambda: MappingProxyType({}))

    def holder(self, partition_id: int) -> str | None:
        """Return the consumer of a partition."""
        return self.consumers.get(partition_id)

    def registered(self, consumer_id: str) -> tuple["Assignments", int]:
        """Return the map after a registration, and the partition that the consumer has.

        Raises `NoPartitionAvailable` where every partition has another consumer.
        """
        partitions = range(self.partitions)
        held = [n for n in partitions if self.holder(n) == consumer_id]
        free = [n for n in partitions if self.holder(n) is None]
        if not held and not free:
            raise NoPartitionAvailable(self.topic_id, self.partitions)
        partition_id = (held or free)[0]
        return self.claimed(partition_id, consumer_id), partition_id

    def claimed(self, partition_id: int, consumer_id: str) -> "Assignments":
        """Return the map with the partition held by the consumer; the same where it is already.

        Raises `NotAssigned` where another consumer has it.
        """
        holder = self.holder(partition_id)
        if holder == consumer_id:
            return self
        if holder is not None:
            raise NotAssigned(self.topic_id, partition_id, consumer_id)
        consumers = MappingProxyType({**self.consumers, partition_id: consumer_id})
        return Assignments(self.topic_id, self.partitions, consumers)
