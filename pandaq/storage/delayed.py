"""The delay log: messages that are not due yet, durable until they are routed.

    brokerId|offset|topicId|messageId|content|{"deliverAt":…}     a message that waits until then
    brokerId|offset|topicId|messageId|null|{"delayed":N}          the message at offset N has gone

Like a partition's log it is made of the ingress log, always with the same result: what a producer
delays is routed here; when it is due it is appended to the ingress log once more, with the offset
that it has here, and routed on, and the line here says so. So a crash at any point neither loses a
message nor routes it twice: what goes again though it has gone is dropped.

To let go of old segments, messages that wait among many that have gone may be appended anew: a line
with both `deliverAt` and `delayed`.
"""

import heapq
import logging
from collections.abc import Sequence
from itertools import islice
from operator import itemgetter
from typing import Final, NamedTuple
from zlib import crc32

from msgspec import structs

from pandaq.extra import Extra, decode_extra, encode_extra
from pandaq.offsets import Offsets
from pandaq.records import SEPARATOR, extra_of, split_ingress_line, with_extra
from pandaq.storage.block import Block
from pandaq.storage.findings import Damage, Missing
from pandaq.storage.log import Log

logger = logging.getLogger(__name__)

KEY: Final = "delayed"
"""Names it in the checkpoint."""
READ_BYTES: Final = 1024 * 1024
"""How much of the log is read at once."""
SPARSE: Final = 10_000
"""So many lines of messages that have gone may stand among those that wait, and as many again as
wait."""
MOVED: Final = 500
"""Messages that are appended anew at once."""
CHUNK: Final = 500
"""Messages that are read at once, in the order in which they stand in the log."""


class Due(NamedTuple):
    """Messages to be appended to the ingress log, `topicId|payload`, and their offsets here."""

    offsets: list[int]
    bodies: list[bytes]


class Delayed:
    """The delay log and, in memory, when each of its messages is due (ms since 1970)."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.damaged: list[Damage] = []
        """What could not be read when it was opened."""
        self._due: dict[int, tuple[int, int]] = {}
        """By offset: when it is due, and a checksum of the messageId."""
        self._gone_through = log.start - 1
        self._heap: list[tuple[int, int]] = []
        self._is_on_its_way: set[int] = set()
        self._last_read: Block | Damage | None = None
        self._load()

    def __len__(self) -> int:
        return len(self._due)

    @property
    def offsets(self) -> Offsets:
        """Where the log ends, and up to where all messages have gone."""
        while self._gone_through < self.log.end and self._gone_through + 1 not in self._due:
            self._gone_through += 1
        return Offsets(self.log.end, self._gone_through)

    def append(self, bodies: Sequence[bytes]) -> list[bool]:
        """Take messages that are delayed, and note those that were and now go; not yet durable.

        Tells of each whether it counts: false for one that has gone before. Raises `StorageFull`,
        `StorageFailed`, after which nothing has changed.
        """
        counts, kept = [], []
        gone: set[int] = set()
        for topic_id, payload in (body.split(SEPARATOR, 1) for body in bodies):
            extra = decode_extra(extra_of(payload))
            is_new = extra.delayed is None or (
                extra.delayed in self._due and extra.delayed not in gone
            )
            counts.append(is_new)
            if is_new:
                if extra.delayed is not None:
                    gone.add(extra.delayed)
                is_waiting = extra.deliver_at is not None
                kept.append((topic_id, payload if is_waiting else mark_of(payload)))
        first = self.log.end + 1
        if kept:
            self.log.append([SEPARATOR.join(each) for each in kept])
        for offset, (_, payload) in enumerate(kept, first):
            self._apply(offset, payload)
        return counts

    def has(self, offset: int, payload: bytes) -> bool:
        """Tell whether this message waits at this offset."""
        return offset in self._due and self._due[offset][1] == _checksum(payload)

    def due(self, now_ms: int, max_messages: int, max_bytes: int) -> Due:
        """Return what is to be appended to the ingress log now, at most so much of it.

        It comes again until `sent`. Raises `StorageFailed`.
        """
        self._last_read = None
        due: list[tuple[int, int, bytes]] = []
        if max_messages and self._is_sparse():
            waiting = (n for n, (at, _) in self._due.items() if at > now_ms)
            due += self._taken([(0, n) for n in islice(waiting, MOVED)], max_bytes, is_due=False)
        taken: list[tuple[int, int]] = []
        try:
            while len(due) < max_messages and sum(len(body) for _, _, body in due) < max_bytes:
                some = self._some_due(now_ms, min(CHUNK, max_messages - len(due)))
                taken += some
                if not some:
                    break
                due += self._taken(some, max_bytes, is_due=True)
        finally:
            for entry in taken:  # Until they are sent, or where the disk cannot be read now.
                heapq.heappush(self._heap, entry)
        return Due([offset for _, offset, _ in due], [body for _, _, body in due])

    def sent(self, offsets: Sequence[int]) -> None:
        """Note that these are in the ingress log."""
        self._is_on_its_way.update(offset for offset in offsets if offset in self._due)

    def next_due_ms(self) -> int | None:
        """Return when the next message is due that is not on its way, None where none is."""
        heap = self._heap
        while heap and (heap[0][1] not in self._due or heap[0][1] in self._is_on_its_way):
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def look_at_ms(self) -> int | None:
        """Return when `due` will have something; None where it will not."""
        return 0 if self._is_sparse() else self.next_due_ms()

    def _some_due(self, now_ms: int, most: int) -> list[tuple[int, int]]:
        """Take what is due next off the heap: when it was, and its offset."""
        some: list[tuple[int, int]] = []
        while len(some) < most:
            next_due_ms = self.next_due_ms()
            if next_due_ms is None or next_due_ms > now_ms:
                break
            some.append(heapq.heappop(self._heap))
        return some

    def _taken(
        self, entries: Sequence[tuple[int, int]], max_bytes: int, *, is_due: bool
    ) -> list[tuple[int, int, bytes]]:
        """Return messages as they go into the ingress log, with when they were due, in that order.

        About as many as `max_bytes` has room for.
        """
        taken: list[tuple[int, int, bytes]] = []
        # Read in the order in which they stand there: to look up each anew costs a hundred times
        # as much.
        for due_ms, offset in sorted(entries, key=itemgetter(1)):
            body = self._body(offset, is_due=is_due)
            if body is not None:
                taken.append((due_ms, offset, body))
                max_bytes -= len(body)
                if max_bytes <= 0:
                    break
        return sorted(taken)

    def _body(self, offset: int, *, is_due: bool) -> bytes | None:
        """Return a message as it goes into the ingress log; None where it is lost."""
        block = self._block(offset)
        if not isinstance(block, Block):
            # Here alone it stood: there is nothing left to route.
            logger.error("%s: a delayed message is lost", block)
            self._due.pop(offset)
            return None
        _, _, topic_id, payload = split_ingress_line(block.lines()[offset - block.first])
        extra = decode_extra(extra_of(payload))
        deliver_at = None if is_due else extra.deliver_at
        extra = structs.replace(extra, deliver_at=deliver_at, delayed=offset)
        return topic_id + SEPARATOR + with_extra(payload, encode_extra(extra))

    def _block(self, offset: int) -> Block | Damage | Missing:
        """Return the block that holds an offset, which often held the one before."""
        known = self._last_read
        if known is None or not known.first <= offset <= known.last:
            blocks = self.log.read(offset, 1)
            known = self._last_read = blocks[0] if blocks else None
        if known is None or known.first > offset:
            return Missing(self.log.path, offset, offset)
        return known

    def _load(self) -> None:
        offset = self.log.start
        while blocks := self.log.read(offset, READ_BYTES):
            for block in blocks:
                if isinstance(block, Block):
                    for line in block.lines():
                        _, number, _, payload = split_ingress_line(line)
                        self._apply(int(number), payload)
                else:
                    self.damaged.append(block)
            offset = blocks[-1].last + 1

    def _apply(self, offset: int, payload: bytes) -> None:
        extra = decode_extra(extra_of(payload))
        if extra.delayed is not None:
            self._due.pop(extra.delayed, None)
            self._is_on_its_way.discard(extra.delayed)
        if extra.deliver_at is not None:
            self._due[offset] = extra.deliver_at, _checksum(payload)
            heapq.heappush(self._heap, (extra.deliver_at, offset))

    def _is_sparse(self) -> bool:
        offsets = self.offsets
        return not self._is_on_its_way and offsets.pending > 2 * len(self._due) + SPARSE


def mark_of(payload: bytes) -> bytes:
    """Return the payload of the line that says that a message, which comes from here, has gone."""
    extra = decode_extra(extra_of(payload))
    message_id = payload[: payload.index(SEPARATOR)]
    return SEPARATOR.join([message_id, b"null", encode_extra(Extra(delayed=extra.delayed))])


def _checksum(payload: bytes) -> int:
    return crc32(payload[: payload.index(SEPARATOR)])
