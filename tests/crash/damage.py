"""Files spoiled behind the broker's back, one place at a time and several.

`Life` makes a data directory with sealed and active segments, unrouted and delayed messages,
commits and assignments; `spoiled` yields it with bits flipped, cut, zeroed or overwritten with
other bytes of the same file; `check` compares what `inspect`, a start and `repair` make of that.
"""

import argparse
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, NamedTuple

from pandaq.records import LineFormat
from pandaq.storage.block import Block
from pandaq.storage.index import ENTRY_BYTES, IndexEntry, decode_entry
from pandaq.storage.inspection import Inspection, inspect, repair
from pandaq.storage.tpc_log import Assignment
from tests.simulated_disk import SimulatedDisk
from tests.storage.plain_broker import ALL, DATA, Clock, PlainBroker, small_config

Kind = Literal["flip", "cut", "zero", "copy", "repeat"]
KINDS: Final[list[Kind]] = ["flip", "cut", "zero", "copy", "repeat"]
SMALL_FILES: Final = ("config.log", "TPC.log", "ingress_metadata.log")
TOPICS: Final = {"orders": 2, "events": 1}
CLOCK: Final = Clock()
LATE_MS: Final = 10**15
"""What is delayed is not due in any life."""
Partition = tuple[str, int]
DELAYED: Final[Partition] = ("", 0)
"""Stands for the delay log."""
Lines = dict[Partition, dict[int, bytes]]


class Served(NamedTuple):
    """What a start makes of a directory: lines by offset, readOffsets, assignments."""

    lines: Lines
    commits: dict[Partition, int]
    assignments: list[Assignment]


@dataclass(frozen=True, slots=True)
class Spoiling:
    """What is done to one file."""

    path: Path
    kind: Kind
    position: int
    length: int

    def apply(self, data: bytes, choices: random.Random) -> bytes:
        start, end = self.position, self.position + self.length
        if start >= len(data):  # Another spoiling has cut it.
            return data
        match self.kind:
            case "flip":
                bit = 1 << choices.randrange(8)
                return data[:start] + bytes([data[start] ^ bit]) + data[start + 1 :]
            case "cut":
                return data[:start]
            case "zero":
                return data[:start] + bytes(len(data[start:end])) + data[end:]
            case "copy":
                other = choices.randrange(len(data))
                copied = data[other : other + len(data[start:end])]
                return data[:start] + copied + data[start + len(copied) :]
            case "repeat":
                return data + data[start:end]

    def touches(self, entry: IndexEntry) -> bool:
        if self.kind == "repeat":
            return False
        length = {"flip": 1, "cut": 1 << 60}.get(self.kind, self.length)
        return self.position < entry.end and entry.position < self.position + length


@dataclass(slots=True)
class Tally:
    """What was done, and how it was met."""

    spoiled: int = 0
    told: int = 0
    lost: int = 0
    files: set[str] = field(default_factory=set)


class Life:
    """A data directory after a kill, and what is in it."""

    def __init__(self, seed: int) -> None:
        choices = random.Random(seed)
        self.config = small_config(TOPICS, segment_bytes=choices.randint(400, 900))
        self.disk = SimulatedDisk()
        broker = PlainBroker(self.disk, self.config, CLOCK)
        count = 0
        # Of their own, so that what is delayed changes nothing of the rest.
        delays, late = random.Random(f"delays {seed}"), list[int]()

        def produce(batches: int) -> None:
            nonlocal count
            for _ in range(batches):
                ids = [f"m{count + n}" for n in range(choices.randint(1, 4))]
                count += len(ids)
                content = b'"%b"' % (b"x" * choices.randint(0, 60))
                broker.produce(choices.choice(list(TOPICS)), *ids, content=content)
                if delays.random() < 0.3:
                    broker.produce("orders", f"late{count}", deliver_at=LATE_MS)
                    late.append(count)

        for _ in range(3):
            produce(8)
            broker.route()
            broker.checkpoint()
            self.checkpointed = {key: queue.offsets.read for key, queue in broker.queues().items()}
            for partition, queue in broker.queues().items():
                broker.commit(*partition, queue.offsets.read + queue.offsets.pending // 3)
        broker.assign(Assignment("orders", 0, "ann"), Assignment("events", 0, "bob"))
        produce(3)
        broker.route()
        produce(6)
        broker.store.close()
        self.disk = self.disk.kill()
        self.files = self.disk.files()
        self.lines, self.commits, self.assignments = self.start(self.disk.kill())
        self.ids = {id_of(line): line for lines in self.lines.values() for line in lines.values()}
        assert len(self.ids) == count + len(late)

    def start(self, disk: SimulatedDisk) -> Served:
        """Start a broker; its lines are those from the log's start on."""
        broker = PlainBroker(disk, self.config, CLOCK)
        served: Lines = {}
        logs = {partition: queue.log for partition, queue in broker.queues().items()}
        for partition, log in {**logs, DELAYED: broker.store.delayed.log}.items():
            lines = served[partition] = {}
            offset = 1
            while blocks := log.read(offset, ALL):
                for block in blocks:
                    if isinstance(block, Block):
                        lines.update(enumerate(block.lines(), block.first))
                    offset = block.last + 1
        commits = {key: queue.offsets.read for key, queue in broker.queues().items()}
        broker.store.close()
        assert not disk.open_files
        assert not disk.held_locks
        return Served(served, commits, broker.store.assignments)

    def image(self, spoilings: Sequence[Spoiling], choices: random.Random) -> SimulatedDisk | None:
        """Return the disk with the spoilings; None where they change nothing."""
        image = self.disk.kill()
        changed = False
        for spoiling in spoilings:
            before = image.files()[spoiling.path]
            after = spoiling.apply(before, choices)
            changed |= after != before
            file = image.open(spoiling.path)
            file.truncate(0)
            file.write(0, after)
            file.sync()
            file.close()
        return image if changed else None

    def may_lose(self, spoilings: Sequence[Spoiling]) -> set[bytes]:
        """Return the messageIds that stand in blocks that a spoiling touches."""
        lost: set[bytes] = set()
        for spoiling in spoilings:
            if spoiling.path.suffix == ".log" and (data := self._index_of(spoiling.path)):
                for start in range(0, len(data), ENTRY_BYTES):
                    entry = decode_entry(data[start : start + ENTRY_BYTES])
                    assert entry
                    if spoiling.touches(entry):
                        block = self.files[spoiling.path][entry.position : entry.end]
                        lost.update(id_of(line) for line in block.split(b"\n")[:-1])
        return lost

    def _index_of(self, log: Path) -> bytes:
        sealed = self.files.get(log.with_suffix(".index"))
        if sealed is not None:
            return sealed
        stem = f"{log.stem}."
        active = [
            path
            for path in self.files
            if path.parent == log.parent
            and path.name.startswith(stem)
            and path.suffix == ".index"
            and path.with_suffix(".log") not in self.files
        ]
        return self.files[active[0]] if active else b""


def id_of(line: bytes) -> bytes:
    """Return the messageId of a line of either log."""
    return line.split(b"|")[3]


def spoilings(life: Life, choices: random.Random) -> Iterator[Spoiling]:
    """Yield, for every file and kind, a few places."""
    for path, data in life.files.items():
        if data and path.suffix in (".log", ".index"):
            for kind in KINDS:
                for _ in range(4):
                    yield Spoiling(
                        path, kind, choices.randrange(len(data)), choices.choice([1, 9, 40, 200])
                    )


def check(life: Life, spoiled: Sequence[Spoiling], choices: random.Random, tally: Tally) -> None:
    """Spoil, and see that all that can be said is said, and all that can be kept is kept."""
    image = life.image(spoiled, choices)
    if image is None:
        return
    tally.spoiled += 1
    for each in spoiled:
        tally.files.add(each.path.name)
    before = image.files()
    found = inspect(image, DATA, None, CLOCK)
    assert image.files() == before, "an inspection has changed something"
    assert not image.open_files
    assert not image.held_locks
    served, commits, assignments = life.start(image.kill())
    _check_served(life, spoiled, served, found)
    changed = {each.path.name for each in spoiled if before[each.path] != life.files[each.path]}
    _check_commits(life, changed, commits, found)
    _check_assignments(life, changed, assignments, found)
    # Small files are synced before anything goes on, so whatever is wrong with one is damage.
    small = [life.config.data_dir / name for name in SMALL_FILES]
    if any(before[path] != life.files[path] for path in small):
        assert found.damage
    tally.told += not found.is_sound
    tally.lost += len(life.ids.keys() - _ids(served))
    mended = image.kill()
    repair(mended, DATA, None, CLOCK)
    left = inspect(mended, DATA, None, CLOCK)
    assert left.is_sound, [*map(str, left.damage), *map(str, left.lost)]
    after = life.start(mended.kill())
    assert _ids(after.lines) == _ids(served)
    assert after.commits == commits
    assert after.assignments == assignments


def _check_served(
    life: Life, spoiled: Sequence[Spoiling], served: Lines, found: Inspection
) -> None:
    ingress = [each for each in spoiled if each.path.name.startswith("ingress")]
    for partition, lines in served.items():
        is_delayed = partition == DELAYED
        line_format = LineFormat.ingress("b") if is_delayed else LineFormat.partition(*partition)
        for offset, line in lines.items():
            assert line_format.offset_of(line) == offset
            truth = life.ids[id_of(line)]
            assert line.split(b"|")[3:] == truth.split(b"|")[3:], "a damaged message was served"
            if not ingress:
                assert line == life.lines[partition][offset], "a message has moved"
    missing = life.ids.keys() - _ids(served)
    assert missing <= life.may_lose(spoiled), "a neighbour was lost"
    if missing:
        # An end of the ingress log that is missing or no line may have been a torn append.
        may_be_torn = any(each.path.name == "ingress.log" for each in spoiled)
        assert not found.is_sound or (may_be_torn and found.notes)
    lost = {
        (loss.topic_id, loss.partition_id, offset)
        for loss in found.lost
        for offset in range(loss.first, loss.last + 1)
    }
    if not ingress:
        gone = {
            (*partition, offset)
            for partition, lines in life.lines.items()
            if partition != DELAYED  # Of those it is told that they are damaged.
            for offset in lines.keys() - served[partition].keys()
        }
        assert gone == lost, "what is lost is not named"


def _check_commits(
    life: Life, changed: set[str], commits: dict[Partition, int], found: Inspection
) -> None:
    for (topic_id, number), read in commits.items():
        answered = life.commits[topic_id, number]
        assert read <= answered, "a commit that nobody made"
        if f"{topic_id}_partition_metadata.log" not in changed:
            assert read == answered, "a commit went back"
        elif "ingress_metadata.log" not in changed:
            assert read >= life.checkpointed[topic_id, number], "a commit went back too far"
        # The end of an offsets file that is missing or no line may have been a torn append.
        assert read == answered or not found.is_sound or found.notes


def _check_assignments(
    life: Life, changed: set[str], assignments: list[Assignment], found: Inspection
) -> None:
    if "TPC.log" not in changed:
        assert assignments == life.assignments, "an assignment is gone"
    else:
        assert assignments in ([], life.assignments), "an assignment that nobody made"
        assert not found.is_sound


def _ids(served: Lines) -> set[bytes]:
    return {id_of(line) for lines in served.values() for line in lines.values()}


def survey(seed: int) -> Tally:
    """Spoil one life in every way, and in several at once."""
    choices = random.Random(seed)
    life = Life(seed)
    tally = Tally()
    single = list(spoilings(life, choices))
    for spoiling in single:
        several = choices.sample(single, choices.randint(2, 4))
        # Where a log and its own index are both spoiled, nothing is left that tells good from bad.
        apart = {each.path.with_name(each.path.name.split(".")[0]): each for each in several}
        for spoiled in ([spoiling], list(apart.values())):
            try:
                check(life, spoiled, choices, tally)
            except Exception as error:
                error.add_note(f"seed {seed}: {spoiled}")
                raise
    return tally


def main(arguments: Sequence[str]) -> int:
    """Run the long form; see `tests.crash.__main__`."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash damage")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lives", type=int, default=50)
    options = parser.parse_args(arguments)
    spoiled = told = lost = 0
    for seed in range(options.seed, options.seed + options.lives):
        tally = survey(seed)
        spoiled += tally.spoiled
        told += tally.told
        lost += tally.lost
        if (seed - options.seed) % 10 == 9:
            print(f"seed {seed}: {spoiled} directories so far")
    print(
        f"seeds {options.seed} to {seed}: {spoiled} damaged directories, {told} told as damaged, "
        f"{lost} messages lost and named; served damaged 0, lost neighbours 0, not repaired 0"
    )
    return 0
