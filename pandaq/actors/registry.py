"""The TPC registry: decides which consumer has which partition, and writes it down.

A lease counts from when its consumer was last heard of, by this run and by a clock that does not
jump. What has run out is looked for whenever somebody asks, so nothing has to be woken for it.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, assert_never

from pandaq.actors.asking import Ref, ask, ask_all, tell
from pandaq.actors.messages import (
    AddTopic,
    Assigned,
    Check,
    CheckCommit,
    Claim,
    DeleteGroup,
    DescribeGroups,
    DescribeTrouble,
    DropGroup,
    Forget,
    GroupDescription,
    Heartbeat,
    MemberDescription,
    OpenGroup,
    Register,
    SetOwner,
    Unregister,
)
from pandaq.actors.thread import ThreadActor
from pandaq.assignments import Assignments, Holding, Member
from pandaq.errors import ConsumerNotFound, GroupInUse, GroupNotFound, TooMany, Unavailable
from pandaq.storage.journal import group_key, partition_key
from pandaq.storage.log import Clock
from pandaq.storage.store import AssignmentLog
from pandaq.storage.tpc_log import Assignment, Terms

Message = (
    Register
    | Heartbeat
    | Unregister
    | Claim
    | Check
    | DeleteGroup
    | AddTopic
    | DescribeGroups
    | DescribeTrouble
)

Key = tuple[str, str]
"""A topicId and a group."""


@dataclass(slots=True)
class RegistryLimits:
    """How many groups a topic may have, and how many members a group."""

    max_groups: int
    max_members: int


@dataclass(slots=True)
class _Group:
    """A group as it is now, and when (ms, monotonic) each member was last heard of."""

    assignments: Assignments
    heard_ms: dict[str, int] = field(default_factory=dict)
    look_at_ms: float = 0
    """Before this time no lease can run out, and all is divided; at the start nobody knows."""


class Registry(ThreadActor):
    """Owns the assignments of all topics; what it answers is in TPC.log before.

    `partitions` and `journals` are those of each topic, `groups` those that have offsets; `clock`
    is in ms and never goes back.
    """

    def __init__(
        self,
        partitions: Mapping[str, Sequence[Ref]],
        journals: Mapping[str, Ref],
        groups: Iterable[Key],
        assignments: Sequence[Assignment],
        log: AssignmentLog,
        limits: RegistryLimits,
        clock: Clock,
        ask_timeout_s: float,
    ) -> None:
        super().__init__()
        self._partitions = dict(partitions)
        self._journals = dict(journals)
        self._log = log
        self._limits = limits
        self._clock = clock
        self._ask_timeout_s = ask_timeout_s
        self._groups: dict[Key, _Group] = {}
        lines: dict[Key, list[Assignment]] = {(topic_id, ""): [] for topic_id in partitions}
        lines |= {key: [] for key in groups}
        for each in assignments:
            lines.setdefault((each.topic_id, each.terms.group), []).append(each)
        for key, own in lines.items():
            self._groups[key] = _Group(_assignments(key[0], len(partitions[key[0]]), own))
            self._hear(key, self._groups[key].assignments.members)

    def on_receive(self, message: Message) -> Any:
        """Handle one message; see `pandaq.actors.messages`."""
        match message:
            case Register():
                return self._register(message)
            case Heartbeat(topic_id, group, consumer_id):
                return self._heartbeat((topic_id, group), consumer_id)
            case Unregister(topic_id, group, consumer_id):
                return self._unregister((topic_id, group), consumer_id)
            case Claim():
                return self._claim(message)
            case Check():
                return self._check(message)
            case DeleteGroup(topic_id, group):
                self._delete((topic_id, group))
            case AddTopic(topic_id, _, journal, partitions):
                self._add_topic(topic_id, journal, partitions)
            case DescribeGroups():
                return self._describe()
            case DescribeTrouble():
                return self._log.problem(_lines(self._all()))
            case _:
                assert_never(message)
        return None

    # -- coming and going

    def _register(self, message: Register) -> Assigned:
        key = message.topic_id, message.group
        before = self._opened(key, message.start)
        after = before.registered(message.consumer_id, message.member)
        if len(after.members) > self._limits.max_members:
            raise TooMany("consumers", f"group '{key[1]}'", self._limits.max_members, "maxMembers")
        self._keep(key, after)
        self._hear(key, [message.consumer_id])
        self._groups[key].look_at_ms = 0
        return self._assigned(key, message.consumer_id)

    def _heartbeat(self, key: Key, consumer_id: str) -> Assigned:
        if consumer_id not in self._current(key).members:
            raise ConsumerNotFound(*key, consumer_id)
        self._hear(key, [consumer_id])
        return self._assigned(key, consumer_id)

    def _unregister(self, key: Key, consumer_id: str) -> list[int]:
        before = self._current(key)
        if consumer_id not in before.members:
            raise ConsumerNotFound(*key, consumer_id)
        self._keep(key, before.left([consumer_id]))
        return before.held_by(consumer_id)

    # -- consuming

    def _claim(self, claim: Claim) -> int:
        """Let the holder pass; assign a free partition to whoever can really commit."""
        key = claim.topic_id, claim.group
        before = self._current(key)
        if claim.generation is not None:
            before.check_holder(claim.partition_id, claim.consumer_id, claim.generation)
        after = before.claimed(claim.partition_id, claim.consumer_id)
        if after is not before:
            partition = self._partitions[claim.topic_id][claim.partition_id]
            ask(partition, CheckCommit(claim.offset, claim.group), self._ask_timeout_s)
            self._opened(key, "beginning")
        self._keep(key, after)
        self._hear(key, [claim.consumer_id])
        return after.generation(claim.partition_id)

    def _check(self, check: Check) -> int:
        key = check.topic_id, check.group
        group = self._opened(key, "beginning") if check.or_free else self._current(key)
        if check.or_free and group.holder(check.partition_id) is None:
            return 0
        group.check_holder(check.partition_id, check.consumer_id, check.generation)
        self._hear(key, [check.consumer_id])
        return group.generation(check.partition_id)

    # -- groups

    def _unopened(self, key: Key) -> Assignments:
        return Assignments(key[0], len(self._partitions[key[0]]))

    def _opened(self, key: Key, start: Literal["beginning", "end"]) -> Assignments:
        """Return a group, which its partitions know; new ones begin at an end of the log."""
        if key in self._groups:
            return self._current(key)
        topic_id, group = key
        if sum(each[0] == topic_id for each in self._groups) > self._limits.max_groups:
            raise TooMany("groups", f"topic '{topic_id}'", self._limits.max_groups, "maxGroups")
        opening = OpenGroup(group, start)
        ask_all([(ref, opening) for ref in self._partitions[topic_id]], self._ask_timeout_s)
        self._groups[key] = _Group(self._unopened(key))
        return self._groups[key].assignments

    def _delete(self, key: Key) -> None:
        """Forget a group: first its members, then its offsets, then in the partitions."""
        topic_id, group = key
        if not group or key not in self._groups:
            raise GroupNotFound(topic_id, group)
        members = self._current(key).members
        if members:
            raise GroupInUse(topic_id, group, list(members))
        self._log.write(_lines({k: v for k, v in self._all().items() if k != key}))
        partitions = self._partitions[topic_id]
        keys = [group_key(partition_key(topic_id, n), group) for n in range(len(partitions))]
        ask(self._journals[topic_id], Forget(frozenset(keys)), self._ask_timeout_s)
        for partition in partitions:
            tell(partition, DropGroup(group))
        del self._groups[key]

    def _add_topic(self, topic_id: str, journal: Ref, partitions: Sequence[Ref]) -> None:
        self._journals[topic_id] = journal
        self._partitions[topic_id] = partitions
        key = topic_id, ""
        self._groups.setdefault(key, _Group(self._unopened(key)))

    # -- inside

    def _current(self, key: Key) -> Assignments:
        """Return a group without those whose leases have run out."""
        group = self._groups.get(key)
        if group is None:
            return self._unopened(key)
        now_ms = self._clock()
        if now_ms > group.look_at_ms:
            silent_ms = {each: now_ms - heard_ms for each, heard_ms in group.heard_ms.items()}
            gone = group.assignments.lapsed(silent_ms)
            # Divided also where nobody has gone: at a start there may be more partitions.
            self._keep(key, group.assignments.left(gone).divided())
            group.look_at_ms = min(self._ends_of_leases(group), default=math.inf)
        return group.assignments

    def _ends_of_leases(self, group: _Group) -> Iterator[float]:
        for consumer_id, member in group.assignments.members.items():
            if member.lease_ms is not None:
                yield group.heard_ms[consumer_id] + member.lease_ms

    def _keep(self, key: Key, after: Assignments) -> None:
        """Write a change down, then change memory, then tell the partitions.

        They hear of it before whoever asked does, so nothing that a former owner still sends is
        done once the new one knows.
        """
        before = self._groups[key].assignments
        if after is before:
            return
        self._log.write(_lines(self._all() | {key: after}))
        group = self._groups[key]
        group.assignments = after
        group.heard_ms = {each: group.heard_ms.get(each, 0) for each in after.members}
        self._hear(key, after.members.keys() - before.members.keys())
        group.look_at_ms = 0  # A late commit may have brought a lease back.
        topic_id, name = key
        for number, partition in enumerate(self._partitions[topic_id]):
            owner = after.holder(number), after.generation(number)
            if owner != (before.holder(number), before.generation(number)):
                tell(partition, SetOwner(name, *owner))

    def _hear(self, key: Key, consumer_ids: Iterable[str]) -> None:
        now_ms = self._clock()
        heard_ms = self._groups[key].heard_ms
        heard_ms.update(dict.fromkeys(consumer_ids, now_ms))

    def _assigned(self, key: Key, consumer_id: str) -> Assigned:
        group = self._groups[key].assignments
        partitions = [(n, group.generation(n)) for n in group.held_by(consumer_id)]
        return Assigned(partitions, group.members[consumer_id].lease_ms)

    def _all(self) -> dict[Key, Assignments]:
        return {key: group.assignments for key, group in self._groups.items()}

    def _describe(self) -> list[GroupDescription]:
        return [self._description(key) for key in self._groups]

    def _description(self, key: Key) -> GroupDescription:
        with suppress(Unavailable):  # A full disk says so to those who want more than to look.
            self._current(key)
        current, now_ms = self._groups[key].assignments, self._clock()
        heard_ms = self._groups[key].heard_ms
        members = {
            name: MemberDescription(
                member,
                None
                if member.lease_ms is None
                else max(member.lease_ms - (now_ms - heard_ms[name]), 0),
            )
            for name, member in current.members.items()
        }
        holders = {
            number: (holding.consumer_id, holding.generation)
            for number, holding in sorted(current.holdings.items())
            if not holding.is_free
        }
        return GroupDescription(*key, members, holders)


def _assignments(topic_id: str, partitions: int, lines: Iterable[Assignment]) -> Assignments:
    """Put a group together from its lines in TPC.log."""
    holdings: dict[int, Holding] = {}
    idle: dict[str, Member] = {}
    for each in lines:
        member = Member(each.terms.lease_ms, each.terms.share)
        if each.partition_id is None:
            idle[each.consumer_id] = member
        elif each.partition_id < partitions:
            holdings[each.partition_id] = Holding(
                each.consumer_id, each.terms.generation, member, each.terms.is_free
            )
    return Assignments.of(topic_id, partitions, holdings, idle)


def _lines(groups: Mapping[Key, Assignments]) -> list[Assignment]:
    """Return the lines of TPC.log."""
    lines = []
    for (topic_id, name), group in groups.items():
        for number, each in sorted(group.holdings.items()):
            terms = Terms(name, each.generation, *each.member, each.is_free)
            lines.append(Assignment(topic_id, number, each.consumer_id, terms))
        for consumer_id in sorted(group.members.keys() - group.held().keys()):
            terms = Terms(name, 1, *group.members[consumer_id])
            lines.append(Assignment(topic_id, None, consumer_id, terms))
    return lines
