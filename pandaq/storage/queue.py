"""A queue: a log on disk, the newest of its uncommitted messages in memory, and two offsets.

The ingress buffer is one and each partition is one. What differs is who appends, who commits and
when the disk is synced.
"""

import logging
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final

from pandaq.batch import Batch
from pandaq.config import Retention
from pandaq.offsets import Offsets
from pandaq.retention import expired_through
from pandaq.storage.block import Block
from pandaq.storage.findings import Damage, Finding, Missing
from pandaq.storage.log import Log

logger = logging.getLogger(__name__)

BLOCK_OVERHEAD_BYTES: Final = 200
"""What a block in memory costs beside its bytes, counted against `tail_bytes`."""


class Queue:
    """A log with its offsets; what is read stays until it is committed.

    The tail in memory is bounded by `tail_bytes`; what does not fit is read back from the log.
    """

    def __init__(self, log: Log, read_offset: int, tail_bytes: int) -> None:
        self.log = log
        self.offsets = Offsets(log.end, read_offset)
        self._tail: deque[Block] = deque()
        self._tail_room = tail_bytes
        self._reported: set[Finding] = set()

    @property
    def buffer_size(self) -> int:
        """How many uncommitted messages are in memory."""
        if not self._tail:
            return 0
        return self.offsets.log_end - max(self.offsets.read, self._tail[0].first - 1)

    def append(self, bodies: Sequence[bytes], *, durable: bool) -> int:
        """Append messages, all or none, and return how many bytes they are on the disk.

        With `durable` they are synced before anything in memory changes. Raises `StorageFull`,
        `StorageFailed`.
        """
        blocks = self.log.append(bodies)
        if durable:
            self.log.sync()
        self._tail.extend(blocks)
        size = sum(len(block.data) for block in blocks)
        self._tail_room -= size + len(blocks) * BLOCK_OVERHEAD_BYTES
        while self._tail_room < 0 and self._tail:
            self._forget_oldest()
        self.offsets = self.offsets.appended(len(bodies))
        return size

    def read(self, max_messages: int, max_bytes: int) -> Batch:
        """Return the messages behind readOffset, in order, without taking them away.

        At least one where there is any, then at most `max_messages` and `max_bytes` (of lines).
        What is damaged on the disk is never among them; it is logged and passed over, also by an
        empty batch where all that was left is lost. Raises `StorageFailed` where the log cannot be
        read.
        """
        start = end = self.offsets.read
        lines: list[bytes] = []
        for first, run in self._runs_from(start + 1, max_bytes):
            left = run[: max_messages - len(lines)]
            count = _fitting(left, max_bytes, at_least=0 if lines else 1)
            lines += left[:count]
            if count:
                end = first + count - 1
            if count < len(run) or len(lines) == max_messages:
                break
            max_bytes -= sum(map(len, left))
        return Batch(start, end if lines else self.offsets.log_end, lines)

    def commit(self, offset: int) -> None:
        """Move readOffset, in memory; whoever owns the queue has written it down before."""
        self.offsets = self.offsets.committed(offset)
        while self._tail and self._tail[0].last <= offset:
            self._forget_oldest()

    def sync(self) -> None:
        """Make all that was appended durable. Raises `StorageFailed`."""
        self.log.sync()

    def expired_through(self, retention: Retention, now_ms: int, end: int) -> int:
        """Return the offset up to which retention lets whole segments go; 0 for none.

        None that holds anything behind `end`. Raises `StorageFailed`.
        """
        with self.log.guard.checking():
            sealed = self.log.sealed()
        size, read = self.log.active_bytes, self.offsets.read
        through = expired_through(sealed, size, read, retention, now_ms)
        return max((each.last for each in sealed if each.last <= min(through, end)), default=0)

    def release(self, offset: int) -> int:
        """Delete the segments that hold nothing behind `offset`; return how many.

        Raises `StorageFailed`, after which it may be tried again.
        """
        with self.log.guard.checking():
            return self.log.release(offset)

    def problem(self) -> str | None:
        """Return in words what keeps the log from being written, None where nothing does."""
        return self.log.guard.problem(self.log.try_to_write)

    def close(self) -> None:
        """Close the log; does not sync."""
        self.log.close()

    def _runs_from(self, offset: int, max_bytes: int) -> Iterator[tuple[int, list[bytes]]]:
        """Yield consecutive lines with the offset of the first, from `offset` on, as far as there.

        None of these lists is empty.
        """
        log_end = self.offsets.log_end
        while offset <= log_end:
            blocks = self._blocks(offset, max_bytes)
            if not blocks:
                self._report(Missing(self.log.path, offset, log_end))
                return
            for block in blocks:
                if block.first > offset:
                    self._report(Missing(self.log.path, offset, block.first - 1))
                if isinstance(block, Damage):
                    self._report(block)
                else:
                    first = max(block.first, offset)
                    # Behind log_end may stand lines whose sync failed.
                    lines = block.lines()[first - block.first : max(log_end + 1 - block.first, 0)]
                    if lines:
                        yield first, lines
                offset = block.last + 1

    def _blocks(self, offset: int, max_bytes: int) -> Sequence[Block | Damage]:
        """Return some blocks from `offset` on, from memory where it is there."""
        blocks: list[Block | Damage] = []
        if not self._tail or offset < self._tail[0].first:
            blocks += self.log.read(offset, max_bytes)
            for finding in self.log.take_findings():
                self._report(finding)
            # What is in memory is good, whatever the disk has made of it.
            return [each for each in blocks if not self._tail or each.first < self._tail[0].first]
        for block in self._tail:
            if block.last >= offset:
                blocks.append(block)
                max_bytes -= len(block.data)
                if max_bytes <= 0:
                    break
        return blocks

    def _forget_oldest(self) -> None:
        block = self._tail.popleft()
        self._tail_room += len(block.data) + BLOCK_OVERHEAD_BYTES

    def _report(self, finding: Finding) -> None:
        """Log what is lost, once."""
        if finding not in self._reported:
            self._reported.add(finding)
            logger.error("%s", finding)


def _fitting(lines: Sequence[bytes], max_bytes: int, *, at_least: int) -> int:
    """Tell how many of the first lines fit `max_bytes`."""
    sizes = list(accumulate(map(len, lines)))
    return max(bisect_right(sizes, max_bytes), at_least)
