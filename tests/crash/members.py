"""The processes that share a topic in the kill loop, and whether what they did was right.

- Nothing is skipped: every offset was read by one of them, at least once.
- Nothing that was committed comes again: a read that was sent after a commit was answered begins
  behind it.
- Nobody commits any more once another has read: of two generations of a partition, no commit of the
  lower one is sent after a read of the higher one was answered, and answered itself with success.
"""

import os
import random
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tests.crash.ledger import Kind, Ledger
from tests.web.broker_process import ROOT

EXIT_S: Final = 10.0


class Read(NamedTuple):
    """A batch that a member read."""

    generation: int
    start: int
    sent_ns: int
    answered_ns: int
    message_ids: list[str]


class Commit(NamedTuple):
    """A commit of a member that was answered with success."""

    generation: int
    offset: int
    sent_ns: int
    answered_ns: int


class Members:
    """So many processes, some of which are killed and replaced."""

    def __init__(self, folder: Path, url: str, count: int) -> None:
        self.kills = 0
        self._folder = folder
        self._url = url
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._started = 0
        for _ in range(count):
            self._start()

    def change(self, chance: random.Random) -> None:
        """Now and then, kill one with no warning, and start another in its place."""
        if self._running and chance.random() < 0.5:
            self._kill(chance.choice(sorted(self._running)))
            self._start()

    def end(self) -> None:
        """Kill all."""
        for name in list(self._running):
            self._kill(name)

    def check(self, ledger: Ledger, log_ends: list[int]) -> tuple[int, int]:
        """Check all that they did; return how many messages were read, and how often again."""
        reads, commits = self._noted()
        total = again = 0
        for partition, log_end in enumerate(log_ends):
            its_reads = sorted(reads[partition], key=lambda read: read.sent_ns)
            seen = bytearray(log_end + 1)
            for read in its_reads:
                for offset, message_id in enumerate(read.message_ids, read.start + 1):
                    total += 1
                    if offset > log_end or not ledger.is_at(partition, offset, message_id):
                        text = f"partition {partition}: a member read {message_id!r} at {offset}"
                        ledger.found(Kind.CHANGED, text)
                        continue
                    again += seen[offset]
                    seen[offset] = 1
            for offset in range(1, log_end + 1):
                if not seen[offset]:
                    ledger.found(Kind.LOST, f"partition {partition}: no member read {offset}")
            for violation in _wrong(its_reads, commits[partition]):
                ledger.found(Kind.FENCE, f"partition {partition}: {violation}")
        return total, again

    def _start(self) -> None:
        name = f"member-{self._started}"
        self._started += 1
        self._running[name] = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.member", self._url, name, f"{name}.log"],
            cwd=self._folder,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "sdk")])},
        )

    def _kill(self, name: str) -> None:
        process = self._running.pop(name)
        process.kill()
        process.wait(EXIT_S)
        self.kills += 1

    def _noted(self) -> tuple[dict[int, list[Read]], dict[int, list[Commit]]]:
        reads: defaultdict[int, list[Read]] = defaultdict(list)
        commits: defaultdict[int, list[Commit]] = defaultdict(list)
        for file in self._folder.glob("member-*.log"):
            for line in file.read_text(encoding="utf-8").splitlines():
                kind, partition, *rest = line.split("|")
                if kind == "read":
                    *numbers, ids = rest
                    generation, start, sent_ns, answered_ns = map(int, numbers)
                    message_ids = ids.split(",") if ids else []
                    read = Read(generation, start, sent_ns, answered_ns, message_ids)
                    reads[int(partition)].append(read)
                else:
                    commits[int(partition)].append(Commit(*map(int, rest)))
        return reads, commits


def _wrong(reads: list[Read], commits: list[Commit]) -> Iterator[str]:
    """Yield what must not be, of reads in the order in which they were sent.

    >>> old = Read(1, 0, 10, 20, ["a"]), Commit(1, 1, 50, 60)
    >>> list(_wrong([old[0], Read(2, 0, 30, 40, ["a"])], [old[1]]))
    ['generation 1 committed 1 though generation 2 had read']
    >>> list(_wrong([old[0], Read(2, 0, 70, 80, ["a"])], [old[1]]))
    ['a read begins behind 0 though 1 was committed']
    >>> list(_wrong([old[0], Read(2, 1, 70, 80, ["b"])], [old[1]]))
    []
    """
    by_answer = sorted(commits, key=lambda commit: commit.answered_ns)
    committed = at = 0
    for read in reads:
        while at < len(by_answer) and by_answer[at].answered_ns < read.sent_ns:
            committed = max(committed, by_answer[at].offset)
            at += 1
        if read.start < committed:
            yield f"a read begins behind {read.start} though {committed} was committed"
    by_read_answer = sorted(reads, key=lambda read: read.answered_ns)
    newest = at = 0
    for commit in sorted(commits, key=lambda commit: commit.sent_ns):
        while at < len(by_read_answer) and by_read_answer[at].answered_ns < commit.sent_ns:
            newest = max(newest, by_read_answer[at].generation)
            at += 1
        if commit.generation < newest:
            yield (
                f"generation {commit.generation} committed {commit.offset} though generation "
                f"{newest} had read"
            )
