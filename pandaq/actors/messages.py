"""The vocabulary: every message that an actor takes, and what it answers.

    Ingress      Append, Flush, Read, Commit, Sync, Release, AwaitArrival, Refuse,
                 DescribeQueue
    Journal      Record, Flush, DescribeTrouble
    Partition    AppendRouted, Read, ReadOrWait, EndWait, WakeAll, CheckCommit, Commit, Sync,
                 Retain, DescribeQueue
    Topic        AppendRouted, Sync, Retain, DescribeTopic
    Registry     Register, Claim, DescribeAssignments, DescribeTrouble
    Broker       Cycle, Drain, DescribeTrouble
    Scheduler    Tick

A message that is an `Ask[R]` is answered with an `R`; the others are told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from pandaq.actors.asking import Ask
from pandaq.batch import Batch
from pandaq.errors import Unavailable
from pandaq.offsets import Offsets


@dataclass(frozen=True, slots=True)
class Append(Ask[None]):
    """To Ingress: append bodies (`topicId|payload`), all or none; answered when durable."""

    bodies: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Flush:
    """From Ingress or Journal to itself: write what has gathered."""


@dataclass(frozen=True, slots=True)
class Read(Ask[Batch]):
    """Return what stands behind readOffset; take nothing away."""

    max_messages: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class ReadOrWait(Ask[Batch]):
    """As `Read`, but answered when there is something to return, or at an `EndWait`."""

    max_messages: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class EndWait:
    """Answer this very `ReadOrWait` now, with what there is: its time is up, or its asker gone."""

    waiting: ReadOrWait


@dataclass(frozen=True, slots=True)
class WakeAll:
    """Answer all that wait, now and from now on, with what there is."""


@dataclass(frozen=True, slots=True)
class Commit(Ask[Offsets]):
    """Move readOffset to `offset`; the answer is what holds afterwards."""

    offset: int


@dataclass(frozen=True, slots=True)
class CheckCommit(Ask[None]):
    """Raise what a `Commit` of this offset would raise; change nothing."""

    offset: int


@dataclass(frozen=True, slots=True)
class Record(Ask[None]):
    """To Journal: write down a partition's offsets; answered when they are durable."""

    key: str
    offsets: Offsets


@dataclass(frozen=True, slots=True)
class AppendRouted(Ask[None]):
    """To Topic and Partition: append messages, by their offsets in the ingress log, in its order.

    Sending the same again does nothing, so what timed out can be sent again.
    """

    # Apart, since a pair for each message would cost more than all the rest of handing them on.
    offsets: Sequence[int]
    payloads: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Sync(Ask[Mapping[str, Offsets]]):
    """Make the log durable; the answer is its offsets by its key (see `journal`)."""


@dataclass(frozen=True, slots=True)
class Retain(Ask[int]):
    """To Topic and Partition: delete what retention lets go; the answer is how many segments.

    Only up to the ends (by key) that the last checkpoint names: a recovery cuts back to them.
    """

    ends: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Release(Ask[int]):
    """To Ingress: delete the segments that a durable checkpoint has made needless."""

    offset: int


@dataclass(frozen=True, slots=True)
class AwaitArrival(Ask[None]):
    """To Ingress: answered when there is a message to route."""


@dataclass(frozen=True, slots=True)
class Refuse(Ask[None]):
    """To Ingress: accept nothing from now on, and say why.

    Whoever waits for the answer will read all that was accepted.
    """

    reason: Unavailable


@dataclass(frozen=True, slots=True)
class Register(Ask[int]):
    """To Registry: give the consumer a partition; the answer is which."""

    topic_id: str
    consumer_id: str


@dataclass(frozen=True, slots=True)
class Claim(Ask[None]):
    """To Registry: a consumer is about to commit `offset`.

    Refused where another has the partition. One that nobody has is assigned, if the offset can be
    committed.
    """

    topic_id: str
    partition_id: int
    consumer_id: str
    offset: int


class Outcome(Enum):
    """What a cycle of the broker loop found."""

    MORE = auto()
    """The batch was full: go on at once."""
    IDLE = auto()
    """Everything is routed: go on when something arrives."""
    BLOCKED = auto()
    """The disk refuses: try again later."""


class Cycled(NamedTuple):
    """What a cycle found, and the seconds that its routing took."""

    outcome: Outcome
    routing_s: float


@dataclass(frozen=True, slots=True)
class Cycle(Ask[Cycled]):
    """To Broker: route one batch, and write a checkpoint where one is due."""


@dataclass(frozen=True, slots=True)
class Drain(Ask[Outcome]):
    """To Broker: route all there is, for at most `timeout_s`, and write a checkpoint."""

    timeout_s: float


@dataclass(frozen=True, slots=True)
class DescribeTrouble(Ask[str | None]):
    """What keeps an actor from its work; None where nothing does.

    To Broker: what stands in the way of routing. To Journal and Registry: why their file cannot be
    written; after a refusal they try again first.
    """


@dataclass(frozen=True, slots=True)
class Tick:
    """From Scheduler to itself: wait until a cycle is due, and have it done."""


@dataclass(frozen=True, slots=True)
class QueueDescription:
    """A queue as it is: its offsets, how much is in memory, and why it cannot be written."""

    offsets: Offsets
    buffer_size: int
    problem: str | None


@dataclass(frozen=True, slots=True)
class DescribeQueue(Ask[QueueDescription]):
    """To Ingress and Partition."""


@dataclass(frozen=True, slots=True)
class DescribeTopic(Ask[Sequence[QueueDescription]]):
    """To Topic: its partitions in order."""


@dataclass(frozen=True, slots=True)
class DescribeAssignments(Ask[Mapping[tuple[str, int], str]]):
    """To Registry: the consumer of each partition that has one."""
