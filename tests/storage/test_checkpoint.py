"""The checkpoint: all of the old one or all of the new one, and nothing that is half of one."""

import random
from itertools import count
from pathlib import Path

import pytest

from pandaq.offsets import Offsets
from pandaq.storage.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from pandaq.storage.sealed import write_sealed
from tests.simulated_disk import SimulatedDisk

FOLDER = Path("/data")
PATH = FOLDER / "ingress_metadata.log"


def partitions(orders: Offsets, events: Offsets) -> dict[str, Offsets]:
    return {"orders_partition_0": orders, "events_partition_0": events}


OLD = Checkpoint(
    Offsets(10, 8), {"orders_partition_0": Offsets(5, 2), "events_partition_0": Offsets(3)}
)
NEW = Checkpoint(
    Offsets(20, 20), {"orders_partition_0": Offsets(12, 9), "events_partition_0": Offsets(8)}
)


class Stop(BaseException):
    """The moment at which a test ends the process."""


@pytest.fixture
def disk() -> SimulatedDisk:
    disk = SimulatedDisk()
    disk.make_folder(FOLDER)
    return disk


def with_bytes(data: bytes) -> SimulatedDisk:
    disk = SimulatedDisk()
    disk.make_folder(FOLDER)
    disk.open(PATH, create=True).write(0, data)
    return disk.kill()


def test_what_is_written_is_read_after_the_worst_crash(disk: SimulatedDisk) -> None:
    write_checkpoint(disk, PATH, OLD)
    assert read_checkpoint(disk.power_loss_worst(), PATH) == OLD


def test_the_lines_are_as_the_format_has_it(disk: SimulatedDisk) -> None:
    write_checkpoint(disk, PATH, OLD)
    first, second, third, _ = disk.files()[PATH].decode().splitlines()
    assert first == "ingress|10|8"
    assert (second, third) == ("orders_partition_0|5|2", "events_partition_0|3|0")


def test_one_without_read_offsets_is_read(disk: SimulatedDisk) -> None:
    write_sealed(disk, PATH, ["ingress|10|8", "orders_partition_0|5"])
    found = read_checkpoint(disk, PATH)
    assert found == Checkpoint(Offsets(10, 8), {"orders_partition_0": Offsets(5)})


def test_there_may_be_no_partitions(disk: SimulatedDisk) -> None:
    write_checkpoint(disk, PATH, Checkpoint(Offsets(), {}))
    assert read_checkpoint(disk, PATH) == Checkpoint(Offsets(), {})


def test_a_missing_one_is_none(disk: SimulatedDisk) -> None:
    assert read_checkpoint(disk, PATH) is None


def test_an_end_before_any_call_leaves_the_old_one_or_the_new_one() -> None:
    for number in range(100):
        disk = SimulatedDisk()
        disk.make_folder(FOLDER)
        write_checkpoint(disk, PATH, OLD)
        calls = count()

        def end(_path: Path, number: int = number, calls: "count[int]" = calls) -> bool:
            if next(calls) >= number:
                raise Stop
            return False

        disk.fail("*", end)
        stopped = False
        try:
            write_checkpoint(disk, PATH, NEW)
        except Stop:
            stopped = True
        for seed in range(10):
            image = disk.crash(random.Random(seed), entries_in_order=seed % 2 == 0)
            assert read_checkpoint(image, PATH) in ((OLD, NEW) if stopped else (NEW,))
        if not stopped:
            assert number > 5
            return


def test_every_truncation_is_none(disk: SimulatedDisk) -> None:
    write_checkpoint(disk, PATH, OLD)
    data = disk.files()[PATH]
    for length in range(len(data)):
        assert read_checkpoint(with_bytes(data[:length]), PATH) is None


def test_every_flipped_bit_makes_it_none(disk: SimulatedDisk) -> None:
    write_checkpoint(disk, PATH, OLD)
    data = disk.files()[PATH]
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        assert read_checkpoint(with_bytes(bytes(flipped)), PATH) is None


def test_reading_leaves_nothing_open(disk: SimulatedDisk) -> None:
    write_checkpoint(disk, PATH, OLD)
    disk.fail("read")
    with pytest.raises(OSError, match="Input/output error"):
        read_checkpoint(disk, PATH)
    assert disk.open_files == ()
