"""The vocabulary: every message that an actor takes, and what it answers.

    Delay        AppendDelayed, TakeDue, MarkSent, CheckRoom, Sync, Release, DescribeDelayed
    Ingress      Append, Flush, Read, Commit, Sync, Release, AwaitArrival, Refuse,
                 DescribeQueue, DescribeSeen
    Journal      Record, Forget, Flush, DescribeTrouble
    Partition    AppendRouted, Read, ReadOne, ReadOrWait, EndWait, WakeAll, CheckCommit, Commit,
                 Seek, OpenGroup, DropGroup, SetOwner, Sync, Retain, DescribeQueue
    Topic        AppendRouted, Sync, Retain, DescribeTopic
    Registry     Register, Heartbeat, Unregister, Claim, Check, DeleteGroup, AddTopic,
                 DescribeGroups, DescribeTrouble
    Broker       Cycle, Drain, AddTopic, DescribeTrouble
    Catalog      OpenTopic
    Scheduler    Tick

A message that is an `Ask[R]` is answered with an `R`; the others are told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, Literal, NamedTuple

from pandaq.actors.asking import Ask, Ref
from pandaq.assignments import Member
from pandaq.batch import Batch
from pandaq.errors import Unavailable
from pandaq.offsets import Offsets
from pandaq.storage.delayed import Due


@dataclass(frozen=True, slots=True)
class Append(Ask[Sequence[int]]):
    """To Ingress: append bodies (`topicId|payload`), all or none; answered when durable.

    Where the topic remembers messageIds, `topic_id` and `ids` are given, and bodies whose ids came
    before are left out: the answer is their places. `is_own`: they were accepted before, so the
    limit of the backlog is not for them.
    """

    bodies: Sequence[bytes]
    topic_id: str = ""
    ids: Sequence[str] = ()
    is_own: bool = False


@dataclass(frozen=True, slots=True)
class Flush:
    """From Ingress or Journal to itself: write what has gathered."""


@dataclass(frozen=True, slots=True)
class Caller:
    """For which group something is done, and by which consumer.

    Where a consumer is named it has to hold the partition, in this generation if that is named.
    """

    group: str = ""
    consumer_id: str | None = None
    generation: int | None = None


ANYBODY: Final = Caller()
"""The unnamed group, whoever it is."""


@dataclass(frozen=True, slots=True)
class Read(Ask[Batch]):
    """Return what stands behind readOffset, or behind `offset`; take nothing away."""

    max_messages: int
    max_bytes: int
    caller: Caller = ANYBODY
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class ReadOrWait(Ask[Batch]):
    """As `Read`, but answered when there is something to return, or at an `EndWait`."""

    max_messages: int
    max_bytes: int
    caller: Caller = ANYBODY


@dataclass(frozen=True, slots=True)
class ReadOne(Ask[bytes]):
    """To Partition: return the line of a message that is there for the caller, and not committed.

    Raises `InvalidOffset` for any other.
    """

    offset: int
    caller: Caller = ANYBODY


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
    caller: Caller = ANYBODY


@dataclass(frozen=True, slots=True)
class Target:
    """Where a seek goes: one of an offset to read behind, a time (ms since 1970), or an end."""

    offset: int | None = None
    timestamp_ms: int | None = None
    to: Literal["beginning", "end"] | None = None


@dataclass(frozen=True, slots=True)
class Seek(Ask[Offsets]):
    """To Partition: move readOffset, forward or back; the answer is what holds afterwards."""

    target: Target
    caller: Caller = ANYBODY


@dataclass(frozen=True, slots=True)
class OpenGroup(Ask[Offsets]):
    """To Partition: have a group, new ones at an end of the log; its offsets are the answer."""

    group: str
    start: Literal["beginning", "end"]


@dataclass(frozen=True, slots=True)
class DropGroup:
    """To Partition: forget a group, which the offsets file has forgotten."""

    group: str


@dataclass(frozen=True, slots=True)
class SetOwner:
    """To Partition: from now on this consumer has it, in a group; None: nobody."""

    group: str
    consumer_id: str | None
    generation: int


@dataclass(frozen=True, slots=True)
class CheckCommit(Ask[None]):
    """Raise what a `Commit` of this offset would raise; change nothing."""

    offset: int
    group: str = ""


@dataclass(frozen=True, slots=True)
class Record(Ask[None]):
    """To Journal: write down a partition's offsets; answered when they are durable."""

    key: str
    offsets: Offsets


@dataclass(frozen=True, slots=True)
class Forget(Ask[None]):
    """To Journal: drop the offsets of keys, durably."""

    keys: frozenset[str]


@dataclass(frozen=True, slots=True)
class AppendDelayed(Ask[Sequence[bool]]):
    """To Delay: take messages that wait, and note those that waited, by their ingress offsets.

    The answer tells of each whether it counts, or has gone before. Sending the same again does
    nothing, and gives the same answer.
    """

    offsets: Sequence[int]
    bodies: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class TakeDue(Ask[Due]):
    """To Delay: what is due, to be appended to Ingress; the same again until `MarkSent`."""

    max_messages: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class MarkSent(Ask[int | None]):
    """To Delay: these offsets of its log are in Ingress, and need not be sent again.

    The answer is when to look again (ms), None where none waits.
    """

    offsets: Sequence[int]


@dataclass(frozen=True, slots=True)
class CheckRoom(Ask[None]):
    """To Delay: raise `DelayFull` where so many more messages may not wait."""

    count: int


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
class Assigned:
    """What a member of a group has: its partitions, each with its generation, and its lease."""

    partitions: Sequence[tuple[int, int]]
    lease_ms: int | None

    @property
    def partition_id(self) -> int | None:
        """The first of the partitions; None where others share all that there are."""
        return self.partitions[0][0] if self.partitions else None


FOR_GOOD: Final = Member()
"""No lease, no sharing: what a consumer has, it has until it leaves."""


@dataclass(frozen=True, slots=True)
class Register(Ask[Assigned]):
    """To Registry: give the consumer a partition, or its share of them.

    `start` is where the group begins, if it is new.
    """

    topic_id: str
    consumer_id: str
    group: str = ""
    member: Member = FOR_GOOD
    start: Literal["beginning", "end"] = "beginning"


@dataclass(frozen=True, slots=True)
class Heartbeat(Ask[Assigned]):
    """To Registry: the consumer is alive; the answer is what it has now."""

    topic_id: str
    group: str
    consumer_id: str


@dataclass(frozen=True, slots=True)
class Unregister(Ask[Sequence[int]]):
    """To Registry: the consumer leaves; the answer is which partitions it had."""

    topic_id: str
    group: str
    consumer_id: str


@dataclass(frozen=True, slots=True)
class Claim(Ask[int]):
    """To Registry: a consumer is about to commit `offset`; the answer is the generation.

    Refused where another has the partition. One that nobody has is assigned, if the offset can be
    committed and no generation is named.
    """

    topic_id: str
    partition_id: int
    consumer_id: str
    offset: int
    group: str = ""
    generation: int | None = None


@dataclass(frozen=True, slots=True)
class Check(Ask[int]):
    """To Registry: raise unless a consumer has a partition; the answer is the generation.

    It renews the consumer's lease. With `or_free`, nobody has to have it; then the answer is 0.
    """

    topic_id: str
    partition_id: int
    consumer_id: str
    group: str = ""
    generation: int | None = None
    or_free: bool = False


@dataclass(frozen=True, slots=True)
class DeleteGroup(Ask[None]):
    """To Registry: forget a group, durably."""

    topic_id: str
    group: str


@dataclass(frozen=True, slots=True)
class AddTopic(Ask[None]):
    """To Registry and Broker: there is one more topic."""

    topic_id: str
    topic: Ref
    journal: Ref
    partitions: Sequence[Ref]


@dataclass(frozen=True, slots=True)
class OpenTopic(Ask[None]):
    """To Catalog: have a topic, with one partition where it is new."""

    topic_id: str


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
    """A queue as it is: its offsets, how much is in memory, and why it cannot be written.

    `groups` are the offsets of named groups; `expired`, how many messages were not given to
    consumers any more since the start.
    """

    offsets: Offsets
    buffer_size: int
    problem: str | None
    groups: Mapping[str, Offsets] = field(default_factory=dict)
    expired: int = 0


@dataclass(frozen=True, slots=True)
class DescribeQueue(Ask[QueueDescription]):
    """To Ingress and Partition."""


@dataclass(frozen=True, slots=True)
class DescribeTopic(Ask[Sequence[QueueDescription]]):
    """To Topic: its partitions in order."""


@dataclass(frozen=True, slots=True)
class DelayedDescription:
    """How many messages wait to be due, when the next is (ms), and what is wrong with their log."""

    count: int
    next_due_ms: int | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class DescribeDelayed(Ask[DelayedDescription]):
    """To Delay."""


@dataclass(frozen=True, slots=True)
class SeenDescription:
    """How many messageIds a topic remembers, and how many it had to forget early."""

    window_ms: int
    count: int
    forgotten: int


@dataclass(frozen=True, slots=True)
class DescribeSeen(Ask[Mapping[str, SeenDescription]]):
    """To Ingress: of each topic that remembers messageIds."""


class MemberDescription(NamedTuple):
    """A member of a group, and in how many ms its lease ends."""

    member: Member
    left_ms: int | None


@dataclass(frozen=True, slots=True)
class GroupDescription:
    """A group of a topic: its members, and who has which partition in which generation."""

    topic_id: str
    group: str
    members: Mapping[str, MemberDescription]
    holders: Mapping[int, tuple[str, int]]


@dataclass(frozen=True, slots=True)
class DescribeGroups(Ask[Sequence[GroupDescription]]):
    """To Registry: all groups of all topics."""
