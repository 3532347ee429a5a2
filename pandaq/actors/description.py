"""What a whole broker looks like: its topics, groups and buffers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pandaq.actors.messages import (
    DelayedDescription,
    GroupDescription,
    QueueDescription,
    SeenDescription,
)


@dataclass(frozen=True, slots=True)
class TopicDescription:
    """A topic as it is: its partitions in order, and its groups, the unnamed one first.

    `seen` is what it remembers of messageIds, None where it does not.
    """

    topic_id: str
    partitions: Sequence[QueueDescription]
    groups: Sequence[GroupDescription]
    seen: SeenDescription | None

    @property
    def consumers(self) -> Mapping[int, str]:
        """The consumers of the unnamed group, by partition."""
        return {number: consumer for number, (consumer, _) in self.groups[0].holders.items()}


@dataclass(frozen=True, slots=True)
class Description:
    """Everything as it is, each part at its own moment."""

    topics: Sequence[TopicDescription]
    ingress: QueueDescription
    delayed: DelayedDescription
