"""The redo: what stands in the ingress log behind the checkpoint goes to its partitions again.

Routing is a pure function and order is kept, so every message gets the partition and the offset
that it had.
"""

from collections.abc import Callable, Mapping

from msgspec import structs

from pandaq.extra import decode_extra, encode_extra, may_be_delayed
from pandaq.records import SEPARATOR, extra_of, keys_of, split_ingress_line, with_extra
from pandaq.routing import partition_for
from pandaq.storage.block import Block
from pandaq.storage.datadir import DataDir
from pandaq.storage.delayed import Delayed, mark_of
from pandaq.storage.findings import Damage, Finding, Missing, Note, TailCut
from pandaq.storage.log import Log
from pandaq.storage.progress import Progress
from pandaq.storage.tail import DELAYED, READ_BYTES, Partition, Tail


class Redo:
    """Routes the ingress log into partition logs; what it finds on the way goes to `findings`.

    `topics` is id to partitions; `tails` is what was kept of those that need not be routed again;
    `read_offset` tells how far a partition is committed, by the group that is foremost. Raises
    `OSError` and `Unavailable`, after which it may begin anew with the same files.
    """

    def __init__(
        self,
        ingress: Log,
        delayed: Delayed,
        topics: Mapping[str, int],
        partitions: Mapping[Partition, Log],
        tails: Mapping[Partition, Tail],
        read_offset: Callable[[str, int], int],
        datadir: DataDir,
        findings: list[Finding],
    ) -> None:
        self._ingress = ingress
        self._delayed = delayed
        self._topics = topics
        self._partitions = partitions
        self._tails = tails
        self._read_offset = read_offset
        self._datadir = datadir
        self._findings = findings
        self._routed = 0
        self._has_lost = False

    def run(self, offset: int) -> int:
        """Route from `offset` on; return how many messages."""
        first = offset
        progress = Progress(
            f"routing what {self._ingress.path} holds, messages", self._ingress.end - first + 1
        )
        while offset <= self._ingress.end:
            progress.at(offset - first)
            lines: list[bytes] = []
            time_ms = 0
            for block in self._read(offset):
                if block.first > offset:
                    self._route(lines, time_ms)
                    lines = []
                    self._go_on_behind(Missing(self._ingress.path, offset, block.first - 1))
                if isinstance(block, Block):
                    if block.time_ms != time_ms:
                        self._route(lines, time_ms)
                        lines, time_ms = [], block.time_ms
                    lines += block.lines()[max(offset - block.first, 0) :]
                else:
                    self._route(lines, time_ms)
                    lines = []
                    self._go_on_behind(block)
                offset = block.last + 1
            self._route(lines, time_ms)
        return self._routed

    def _read(self, offset: int) -> list[Block | Damage | Missing]:
        """Read some blocks, and again what is damaged: the disk may have failed only once.

        Where the disk cannot read it at all, setting it aside raises, and nothing is given up.
        """
        blocks: list[Block | Damage | Missing] = []
        for block in self._ingress.read(offset, READ_BYTES):
            if isinstance(block, Damage):
                set_aside(self._ingress, block, self._datadir)
                blocks += self._ingress.read(block.first, 1)[:1]
            else:
                blocks.append(block)
        keep_damage(self._ingress, offset - 1, self._datadir, self._findings)
        return blocks or [Missing(self._ingress.path, offset, self._ingress.end)]

    def _route(self, lines: list[bytes], time_ms: int) -> None:
        """Route lines that came at `time_ms`, which their partitions are told."""
        bodies: dict[Partition, list[bytes]] = {}
        for line in lines:
            _, number, name, payload = split_ingress_line(line)
            offset = int(number)
            topic_id = name.decode()
            if topic_id not in self._topics:
                path = self._datadir.set_aside(f"unknown-topic.offset-{offset}", line)
                text = f"offset {offset} is for the unknown topic '{topic_id}'"
                self._findings.append(Note(self._ingress.path, f"{text}; kept in {path}"))
                continue
            if may_be_delayed(line) and not self._goes_now(name, payload):
                continue
            (key,) = keys_of([payload])
            partition_id = partition_for(key, self._topics[topic_id])
            bodies.setdefault((topic_id, partition_id), []).append(payload)
        for partition, payloads in bodies.items():
            tail = self._tails.get(partition)
            new = tail.new(payloads) if tail else payloads
            if new:
                self._partitions[partition].append(new, time_ms)
        self._routed += len(lines)

    def _goes_now(self, name: bytes, payload: bytes) -> bool:
        """Let the delay log take what is its concern; tell whether the topic gets it now."""
        extra = decode_extra(extra_of(payload))
        if not extra.is_delayed:
            return True
        tail = self._tails.get(DELAYED)
        if tail and not tail.new([payload if extra.deliver_at is not None else mark_of(payload)]):
            return extra.deliver_at is None
        if self._has_lost and extra.delayed is not None:
            # The offsets in the delay log may not be what they were: rather twice than not at all.
            is_known = self._delayed.has(extra.delayed, payload)
            if not is_known and extra.deliver_at is None:
                return True
            if not is_known:
                payload = with_extra(payload, encode_extra(structs.replace(extra, delayed=None)))
        (counts,) = self._delayed.append([name + SEPARATOR + payload])
        return counts and extra.deliver_at is None

    def _go_on_behind(self, lost: Damage | Missing) -> None:
        """Go on where ingress messages are gone, and nobody knows which partition they were for.

        The messages behind them might therefore get lower offsets than they had, and a consumer
        that had committed up to there would never see some of them. So the partitions go on
        behind what is committed: a message may come twice, and none is passed over.
        """
        covered = any(
            isinstance(found, Damage | Missing)
            and found.path.parent == lost.path.parent
            and found.first <= lost.first
            and lost.last <= found.last
            for found in self._findings
        )
        self._has_lost = True
        if not covered:
            self._findings.append(lost)
        for partition, log in self._partitions.items():
            log.skip(self._read_offset(*partition))


def keep_damage(ingress: Log, routed: int, datadir: DataDir, findings: list[Finding]) -> None:
    """Move the ingress log's findings to `findings`, and set its damaged bytes aside.

    What is lost up to the offset `routed` is in the partitions, and nothing to tell.
    """
    for finding in ingress.take_findings():
        # Of damage at the end of the log nobody knows what it held: then `last` is below `first`.
        if isinstance(finding, Note | TailCut) or max(finding.first, finding.last) > routed:
            findings.append(finding)
            if isinstance(finding, Damage):
                set_aside(ingress, finding, datadir)


def set_aside(ingress: Log, damage: Damage, datadir: DataDir) -> None:
    """Keep damaged bytes of the ingress log in the folder for them. Raises `OSError`."""
    name = f"{damage.path.name}.offset-{damage.first}.byte-{damage.position}"
    datadir.set_aside(name, ingress.raw(damage))
