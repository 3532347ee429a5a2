"""A small log on the simulated disk, and what must hold of all that it serves."""

import errno
import itertools
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

from pandaq.records import LineFormat
from pandaq.storage.findings import Damage
from pandaq.storage.log import Log
from tests.simulated_disk import SimulatedDisk

FOLDER = Path("/data")
PATH = FOLDER / "a.log"
FORMAT = LineFormat.partition("t", 0)
NEVER = 1 << 40
"""`segment_bytes` of a log that is never sealed."""
FULL = OSError(errno.ENOSPC, "No space left on device")


class Stop(Exception):
    """The moment at which a test ends the process."""


class Clock:
    """A clock that a test turns by hand."""

    def __init__(self) -> None:
        self.now_ms = 1000

    def __call__(self) -> int:
        return self.now_ms


class Read(NamedTuple):
    """All that a log serves: its lines by offset, and what is damaged."""

    lines: dict[int, bytes]
    damaged: list[Damage]


def new_disk() -> SimulatedDisk:
    disk = SimulatedDisk()
    disk.make_folder(FOLDER)
    return disk


def open_log(
    disk: SimulatedDisk, segment_bytes: int = NEVER, clock: Callable[[], int] | None = None
) -> Log:
    return Log(disk, PATH, FORMAT, segment_bytes, clock or Clock())


def body(offset: int, content: bytes = b"1") -> bytes:
    """Return the body of the line that gets this offset: a line shows where it belongs."""
    return b"m%d|%b" % (offset, content)


def line(offset: int, content: bytes = b"1") -> bytes:
    return b"t|0|%d|%b" % (offset, body(offset, content))


def lines(first: int, last: int) -> dict[int, bytes]:
    return {offset: line(offset) for offset in range(first, last + 1)}


def append(log: Log, number: int, content: bytes = b"1") -> None:
    """Append so many messages in one go."""
    log.append([body(log.end + n, content) for n in range(1, number + 1)])


def append_for_ever(log: Log) -> NoReturn:
    while True:
        append(log, 2)


def grown(disk: SimulatedDisk, appends: list[int], segment_bytes: int = NEVER) -> Log:
    """Return a log with so many messages by each append, all synced."""
    log = open_log(disk, segment_bytes)
    for number in appends:
        append(log, number)
    log.sync()
    return log


def read_all(log: Log, offset: int = 1, max_bytes: int = 1 << 20) -> Read:
    """Read from an offset to the end, and check all that holds of any reading."""
    read = Read({}, [])
    while offset <= log.end and (blocks := log.read(offset, max_bytes)):
        for number, block in enumerate(blocks):
            assert block.last >= offset
            assert block.first >= offset or number == 0
            if isinstance(block, Damage):
                read.damaged.append(block)
            else:
                texts = block.lines()
                assert len(texts) == block.last - block.first + 1
                for at, text in enumerate(texts, block.first):
                    assert FORMAT.offset_of(text) == at
                    if at >= offset:
                        read.lines[at] = text
            offset = block.last + 1
    return read


def check_goes_on(disk: SimulatedDisk, log: Log) -> None:
    """Check that the log takes what is appended now, at the next offset, and keeps it."""
    before, end = read_all(log).lines, log.end
    append(log, 2, b'"new"')
    log.sync()
    expected = before | {offset: line(offset, b'"new"') for offset in (end + 1, end + 2)}
    assert read_all(log).lines == expected
    for image in (disk.kill(), disk.power_loss_worst()):
        again = open_log(image)
        assert again.end == end + 2
        assert read_all(again).lines == expected


def files(disk: SimulatedDisk) -> dict[str, bytes]:
    return {path.name: data for path, data in disk.files().items()}


def index_path(first: int) -> Path:
    return FOLDER / f"a.{first:020d}.index"


def sealed_path(first: int) -> Path:
    return FOLDER / f"a.{first:020d}.log"


def put(disk: SimulatedDisk, path: Path, data: bytes | None) -> None:
    """Put a file in place behind everybody's back; None for no file."""
    disk.delete(path)
    if data is not None:
        file = disk.open(path, create=True)
        file.write(0, data)
        file.sync()
        file.close()
    disk.sync_folder(path.parent)


def stopped_at_every_step(
    make: Callable[[SimulatedDisk], Log], act: Callable[[Log], object]
) -> Iterator[tuple[SimulatedDisk, bool]]:
    """Yield disks on which `act` was stopped before each of its steps or in the middle of a write.

    And whether it was: the last disk saw all of `act`.
    """

    def until_stopped(fault: Callable[[SimulatedDisk, int], object]) -> Iterator[SimulatedDisk]:
        for step in itertools.count():
            disk = new_disk()
            log = make(disk)
            fault(disk, step)
            try:
                act(log)
            except Stop:
                disk.heal()
                yield disk
            else:
                return

    def stop_before(disk: SimulatedDisk, step: int) -> None:
        steps = itertools.count()

        def stop(path: Path) -> bool:
            if next(steps) >= step:
                raise Stop
            return False

        disk.fail("*", stop)

    def stop_in_write(disk: SimulatedDisk, step: int) -> None:
        disk.fail("write", after=step // 2, error=Stop(), times=None, written=(7, 45)[step % 2])

    for fault in (stop_before, stop_in_write):
        for stopped in until_stopped(fault):
            yield stopped, True
    disk = new_disk()
    act(make(disk))
    yield disk, False


def images_of(disk: SimulatedDisk) -> Iterator[SimulatedDisk]:
    """Yield what an end of the process may leave, and many a state that a loss of power may."""
    yield disk.kill()
    yield disk.power_loss_worst()
    for seed in range(5):
        yield disk.crash(random.Random(seed), entries_in_order=seed % 2 == 0)
