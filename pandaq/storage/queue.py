"""A queue: a log on disk, the newest of its messages in memory, and how far it has been read.

The ingress buffer is one and each partition is one. What differs is who appends, who commits and
when the disk is synced. A partition may be read by several groups, each with its own readOffset.
"""

import logging
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from pandaq.batch import Batch
from pandaq.config import Retention
from pandaq.extra import decode_extra, may_be_hidden
from pandaq.offsets import Offsets
from pandaq.records import extra_of, payload_of
from pandaq.retention import expired_through
from pandaq.storage.block import Block
from pandaq.storage.findings import Damage, Finding, Missing
from pandaq.storage.log import Log

logger = logging.getLogger(__name__)

BLOCK_OVERHEAD_BYTES: Final = 200
"""What a block in memory costs beside its bytes, counted against `tail_bytes`."""


class View(NamedTuple):
    """What a reader of a partition sees: all that is for its group and has not expired.

    It reads behind the offset `start`, of which `seen` knows that nothing up to it is for it.
    """

    group: str
    start: int
    seen: int
    now_ms: int


class Queue:
    """A log with its offsets; what is read stays until it is committed.

    `offsets` are those of the unnamed group, `groups` those of the others. The tail in memory is
    bounded by `tail_bytes`; what does not fit is read back from the log.
    """

    def __init__(
        self,
        log: Log,
        offsets: Offsets,
        tail_bytes: int,
        groups: Mapping[str, Offsets] | None = None,
    ) -> None:
        self.log = log
        self.offsets = offsets.at_end(log.end)
        self.groups = dict(groups or {})
        self.is_unnamed_used = False
        """Whether the unnamed group keeps messages from being deleted, though others are there."""
        self.expired = 0
        """How many messages were passed over as expired, each counted once."""
        self._counted_expired = 0
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

    def read(self, max_messages: int, max_bytes: int, view: View | None = None) -> Batch:
        """Return the messages behind readOffset, in order, without taking them away.

        With a `view`, those that it sees. At least one where there is any, then at most
        `max_messages` and `max_bytes` (of lines). What is damaged on the disk is never among them;
        it is logged and passed over, also by an empty batch where all that was left is lost or not
        to be seen; of the latter it looks at about `max_bytes`. Raises `StorageFailed` where the
        log cannot be read.
        """
        start, seen = (view.start, view.seen) if view else (self.offsets.read, self.offsets.read)
        end = seen
        lines: list[bytes] = []
        times: list[int] = []
        for run in self._runs_from(seen + 1, max_bytes):
            shown = self._shown(run, view) if view and may_be_hidden(run.data) else run
            left = shown.lines[: max_messages - len(lines)]
            count = _fitting(left, max_bytes, at_least=0 if lines else 1)
            lines += left[:count]
            times += [run.time_ms] * count
            if count:
                end = shown.offsets[count - 1]
            if count < len(shown.lines) or len(lines) == max_messages:
                break
            max_bytes -= sum(map(len, run.lines))
            if not lines:
                end = run.offsets[-1]
                if max_bytes <= 0:
                    break
        else:
            if not lines:
                end = self.offsets.log_end
        return Batch(start, end, lines, times)

    def offsets_of(self, group: str) -> Offsets:
        """Return the offsets of a group; one that is not there has read nothing."""
        if not group:
            return self.offsets
        offsets = self.groups.get(group) or Offsets(self.log.end, self.log.start - 1)
        return offsets.at_end(self.offsets.log_end)

    @property
    def lowest_read(self) -> int:
        """The readOffset of the group that is furthest behind.

        The unnamed one counts once somebody has used it, and where there is no other.
        """
        reads = [each.read for each in self.groups.values()]
        if self.is_unnamed_used or not reads:
            reads.append(self.offsets.read)
        return min(reads)

    def put(self, group: str, offsets: Offsets) -> None:
        """Set a group's offsets, in memory; whoever owns the queue has written them down before."""
        if group:
            self.groups[group] = offsets
        else:
            self.offsets = offsets
        lowest = self.lowest_read
        while self._tail and self._tail[0].last <= lowest:
            self._forget_oldest()

    def drop(self, group: str) -> None:
        """Forget a group."""
        self.groups.pop(group, None)

    def commit(self, offset: int) -> None:
        """Move the readOffset of the unnamed group, in memory."""
        self.put("", self.offsets.committed(offset))

    def sync(self) -> None:
        """Make all that was appended durable. Raises `StorageFailed`."""
        self.log.sync()

    def expired_through(self, retention: Retention, now_ms: int, end: int) -> int:
        """Return the offset up to which retention lets whole segments go; 0 for none.

        None that holds anything behind `end`. Raises `StorageFailed`.
        """
        with self.log.guard.checking():
            sealed = self.log.sealed()
        size, read = self.log.active_bytes, self.lowest_read
        through = expired_through(sealed, size, read, retention, now_ms)
        return max((each.last for each in sealed if each.last <= min(through, end)), default=0)

    def release(self, offset: int, aged_ms: int | None = None) -> int:
        """Delete the segments that hold nothing behind `offset`; return how many.

        With `aged_ms`, only those that nothing was appended to since then. Raises `StorageFailed`,
        after which it may be tried again.
        """
        with self.log.guard.checking():
            if aged_ms is not None:
                offset = min(offset, self.log.aged_through(aged_ms))
            return self.log.release(offset)

    def problem(self) -> str | None:
        """Return in words what keeps the log from being written, None where nothing does."""
        return self.log.guard.problem(self.log.try_to_write)

    def close(self) -> None:
        """Close the log; does not sync."""
        self.log.close()

    def _runs_from(self, offset: int, max_bytes: int) -> Iterator["_Run"]:
        """Yield consecutive lines from `offset` on, as far as there; never none at all."""
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
                        offsets = range(first, first + len(lines))
                        yield _Run(offsets, lines, block.data, block.time_ms)
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

    def _shown(self, run: "_Run", view: View) -> "_Run":
        """Return of a run what a view shows, and count what has expired."""
        shown: list[tuple[int, bytes]] = []
        for offset, line in zip(run.offsets, run.lines, strict=True):
            extra = decode_extra(extra_of(payload_of(line)))
            if extra.is_visible_to(view.group, view.now_ms):
                shown.append((offset, line))
            elif extra.is_expired(view.now_ms) and offset > self._counted_expired:
                self._counted_expired = offset
                self.expired += 1
        return run._replace(offsets=[n for n, _ in shown], lines=[line for _, line in shown])

    def _forget_oldest(self) -> None:
        block = self._tail.popleft()
        self._tail_room += len(block.data) + BLOCK_OVERHEAD_BYTES

    def _report(self, finding: Finding) -> None:
        """Log what is lost, once."""
        if finding not in self._reported:
            self._reported.add(finding)
            logger.error("%s", finding)


class _Run(NamedTuple):
    """Lines with their offsets, the bytes of the block that they are in, and when it was appended.

    The block may have more of them.
    """

    offsets: Sequence[int]
    lines: list[bytes]
    data: bytes
    time_ms: int


def _fitting(lines: Sequence[bytes], max_bytes: int, *, at_least: int) -> int:
    """Tell how many of the first lines fit `max_bytes`."""
    sizes = list(accumulate(map(len, lines)))
    return min(max(bisect_right(sizes, max_bytes), at_least), len(lines))
