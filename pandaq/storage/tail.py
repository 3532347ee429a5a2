"""A tail: what a partition holds behind the checkpoint.

As a rule it is cut off at a start and comes again from the ingress log. Where the ingress log lacks
some of it, or would give less than there is, the tail is kept: it may have the only copy.

What comes again is a part of what once came, in the same order, and the tail is how that began. So
a message that comes again is in the tail behind the last one that was, or it is a new one.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from pandaq.extra import decode_extra, may_be_delayed
from pandaq.records import extra_of, keys_of, payload_of, split_ingress_line
from pandaq.routing import partitions_for
from pandaq.storage.block import Block
from pandaq.storage.log import Log

READ_BYTES: Final = 1024 * 1024
"""How much of a log is read at once."""

Partition = tuple[str, int]
"""A topicId and a partitionId."""

DELAYED: Final[Partition] = ("", 0)
"""Stands for the delay log where it is treated as partitions are."""


class Tail:
    """The messages of a partition behind the offset `end`, in memory. Raises `StorageFailed`."""

    def __init__(self, log: Log, end: int) -> None:
        self._places: defaultdict[bytes, list[int]] = defaultdict(list)
        self._next = 0
        number, offset = 0, end + 1
        while blocks := log.read(offset, READ_BYTES):
            for block in blocks:
                if isinstance(block, Block):
                    for line in block.lines()[max(offset - block.first, 0) :]:
                        self._places[payload_of(line)].append(number)
                        number += 1
            offset = blocks[-1].last + 1

    def new(self, payloads: Sequence[bytes]) -> list[bytes]:
        """Return those of the messages that come again which are not in the tail."""
        return [payload for payload in payloads if not self._has(payload)]

    def _has(self, payload: bytes) -> bool:
        places = self._places.get(payload, [])
        found = bisect_left(places, self._next)
        if found == len(places):
            return False
        self._next = places[found] + 1
        return True


def forecast(ingress: Log, topics: Mapping[str, int], offset: int) -> Mapping[Partition, int]:
    """Return how many messages the ingress log has for each partition, from `offset` on.

    They count up to the first that is damaged or missing. `topics` is id to partitions. Raises
    `StorageFailed`.
    """
    counts: Counter[Partition] = Counter()
    for lines, _ in runs(ingress, offset):
        payloads: defaultdict[bytes, list[bytes]] = defaultdict(list)
        for line in lines:
            _, _, name, payload = split_ingress_line(line)
            if may_be_delayed(line):
                extra = decode_extra(extra_of(payload))
                counts[DELAYED] += extra.is_delayed
                if extra.deliver_at is not None:
                    continue
            payloads[name].append(payload)
        for name, of_topic in payloads.items():
            topic_id = name.decode()
            if topic_id in topics:
                numbers = partitions_for(keys_of(of_topic), topics[topic_id])
                counts.update((topic_id, number) for number in numbers)
    return counts


def runs(
    log: Log, offset: int, *, stop_at_damage: bool = True
) -> Iterator[tuple[list[bytes], int]]:
    """Yield the lines from `offset` on, with the time when they were appended (ms since 1970).

    Up to the first that is damaged or missing, or those that are there.
    """
    while blocks := log.read(offset, READ_BYTES):
        for block in blocks:
            is_whole = isinstance(block, Block) and block.first <= offset
            if stop_at_damage and not is_whole:
                return
            if isinstance(block, Block):
                yield block.lines()[max(offset - block.first, 0) :], block.time_ms
            offset = block.last + 1
