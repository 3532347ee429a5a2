"""Which consumer of a group has which partition (the topic-partition-consumer map): rules only.

- A partition has at most one consumer; a consumer may have several partitions.
- Who registers again gets what it has; who is new gets the first free partition.
- Consumers that share divide what nobody else has: all of it is owned, fair to within one, and no
  more of it changes hands than that needs.
- A commit for a partition that nobody has assigns it; for another's it is refused.
- A partition that changes hands gets a higher generation.
- Who left, or let its lease run out, is remembered at its partitions until others have them: it
  gets one back by a commit, and on the same terms.

When a lease runs out is for who has a clock to say: see `lapsed`.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import NamedTuple

from pandaq.errors import NoPartitionAvailable, NotAssigned


class Member(NamedTuple):
    """On what terms a consumer belongs to a group.

    It is gone `lease_ms` after it was last heard of; None: never. With `share`, it divides the
    partitions with the others that do.
    """

    lease_ms: int | None = None
    share: bool = False


class Holding(NamedTuple):
    """Who has a partition, in which generation; where `is_free`, who had it last."""

    consumer_id: str
    generation: int
    member: Member = Member()
    is_free: bool = False


@dataclass(frozen=True, slots=True)
class Assignments:
    """The members of one group of a topic, and what they hold; each change makes it anew.

    >>> group = Assignments("orders", 3).registered("ann", Member(share=True))
    >>> group = group.registered("bob", Member(share=True))
    >>> group.held_by("ann"), group.held_by("bob"), group.generation(2)
    ([0, 1], [2], 2)
    """

    topic_id: str
    partitions: int
    members: Mapping[str, Member] = field(default_factory=lambda: MappingProxyType({}))
    holdings: Mapping[int, Holding] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def of(
        cls,
        topic_id: str,
        partitions: int,
        holdings: dict[int, Holding],
        idle: Mapping[str, Member],
    ) -> "Assignments":
        """Put a group together from what was written down; `idle` members hold nothing."""
        members = {each.consumer_id: each.member for each in holdings.values() if not each.is_free}
        members |= dict(idle)
        return cls(topic_id, partitions, MappingProxyType(members), MappingProxyType(holdings))

    def holder(self, partition_id: int) -> str | None:
        """Return the consumer of a partition."""
        holding = self.holdings.get(partition_id)
        return None if holding is None or holding.is_free else holding.consumer_id

    def generation(self, partition_id: int) -> int:
        """Return the generation of a partition; 0 where nobody ever had it."""
        return self.holdings[partition_id].generation if partition_id in self.holdings else 0

    def held_by(self, consumer_id: str) -> list[int]:
        """Return the partitions of a consumer."""
        return [n for n in range(self.partitions) if self.holder(n) == consumer_id]

    def held(self) -> dict[str, Sequence[int]]:
        """Return the partitions of each consumer that has any."""
        held: defaultdict[str, list[int]] = defaultdict(list)
        for n in range(self.partitions):
            if (holder := self.holder(n)) is not None:
                held[holder].append(n)
        return dict(held)

    def lapsed(self, silent_ms: Mapping[str, float]) -> list[str]:
        """Return the members that were not heard of for longer than their leases."""
        return [
            consumer_id
            for consumer_id, member in self.members.items()
            if member.lease_ms is not None and silent_ms[consumer_id] > member.lease_ms
        ]

    def registered(self, consumer_id: str, member: Member = Member()) -> "Assignments":  # noqa: B008
        """Return the map after a registration on these terms, which replace earlier ones.

        Raises `NoPartitionAvailable` where one that does not share finds none, and has none.
        """
        held = self.held_by(consumer_id)
        before = self.members.get(consumer_id)
        if before == member and (held or member.share):
            return self
        holdings = dict(self.holdings)
        if not member.share:
            free = [n for n in range(self.partitions) if self.holder(n) is None]
            if not held and not free:
                raise NoPartitionAvailable(self.topic_id, self.partitions)
            mine = held or free[:1]
            if before and before.share:  # What it had with the others is theirs again.
                holdings |= {n: self._freed(n) for n in mine[1:]}
                mine = mine[:1]
            holdings |= {n: self._given(n, consumer_id, member) for n in mine}
        else:
            holdings |= {n: self._given(n, consumer_id, member) for n in held}
        return self._with({**self.members, consumer_id: member}, holdings).divided()

    def claimed(self, partition_id: int, consumer_id: str) -> "Assignments":
        """Return the map with the partition held by the consumer; the same where it is already.

        Raises `NotAssigned` where another consumer has it.
        """
        holder = self.holder(partition_id)
        if holder == consumer_id:
            return self
        if holder is not None:
            raise NotAssigned(self.topic_id, partition_id, consumer_id)
        member = self.members.get(consumer_id) or self._former_terms(partition_id, consumer_id)
        holding = self._given(partition_id, consumer_id, member)
        members = {**self.members, consumer_id: member}
        return self._with(members, {**self.holdings, partition_id: holding}).divided()

    def left(self, consumer_ids: Iterable[str]) -> "Assignments":
        """Return the map without these members; the same where none is one."""
        gone = set(consumer_ids) & self.members.keys()
        if not gone:
            return self
        members = {key: member for key, member in self.members.items() if key not in gone}
        holdings = {
            n: self._freed(n) if self.holder(n) in gone else holding
            for n, holding in self.holdings.items()
        }
        return self._with(members, holdings).divided()

    def check_holder(self, partition_id: int, consumer_id: str, generation: int | None) -> None:
        """Raise `NotAssigned` unless the consumer has the partition, in the generation it says."""
        is_current = generation in (None, self.generation(partition_id))
        if self.holder(partition_id) != consumer_id or not is_current:
            raise NotAssigned(self.topic_id, partition_id, consumer_id)

    def divided(self) -> "Assignments":
        """Divide what sharing members have, and what nobody has, among them."""
        sharing = sorted(key for key, member in self.members.items() if member.share)
        if not sharing:
            return self
        held = dict.fromkeys(sharing, ()) | self.held()
        free = [n for n in range(self.partitions) if self.holder(n) is None]
        pool = len(free) + sum(len(held[key]) for key in sharing)
        least, more = divmod(pool, len(sharing))
        # Who has most may have one more: nothing has to move for that.
        sharing.sort(key=lambda key: (-len(held[key]), key))
        quotas = {key: least + (place < more) for place, key in enumerate(sharing)}
        loose = iter(sorted(free + [n for key in sharing for n in held[key][quotas[key] :]]))
        holdings = dict(self.holdings)
        for key in sharing:
            for n in _first(loose, quotas[key] - len(held[key])):
                holdings[n] = self._given(n, key, self.members[key])
        return self if holdings == self.holdings else self._with(self.members, holdings)

    def _given(self, partition_id: int, consumer_id: str, member: Member) -> Holding:
        generation = self.generation(partition_id)
        has_changed = self.holder(partition_id) != consumer_id
        return Holding(consumer_id, generation + has_changed, member)

    def _freed(self, partition_id: int) -> Holding:
        return self.holdings[partition_id]._replace(is_free=True)

    def _former_terms(self, partition_id: int, consumer_id: str) -> Member:
        holding = self.holdings.get(partition_id)
        return holding.member if holding and holding.consumer_id == consumer_id else Member()

    def _with(
        self, members: Mapping[str, Member], holdings: Mapping[int, Holding]
    ) -> "Assignments":
        return replace(
            self, members=MappingProxyType(dict(members)), holdings=MappingProxyType(dict(holdings))
        )


def _first(numbers: Iterator[int], count: int) -> list[int]:
    return [n for _, n in zip(range(count), numbers, strict=False)]
