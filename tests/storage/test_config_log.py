"""config.log: which topics there are; damage to it is never taken for another set of topics."""

from pathlib import Path

import pytest

from pandaq.storage.config_log import read_config_log, write_config_log
from tests.simulated_disk import SimulatedDisk

FOLDER = Path("/data")
PATH = FOLDER / "config.log"
TOPICS = {"orders": 3, "events": 2, "checksum": 1}


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
    write_config_log(disk, PATH, TOPICS)
    assert read_config_log(disk.power_loss_worst(), PATH) == TOPICS


def test_a_line_is_as_the_format_has_it(disk: SimulatedDisk) -> None:
    write_config_log(disk, PATH, TOPICS)
    assert disk.files()[PATH].startswith(b"topic_config|orders|3\ntopic_config|events|2\n")


def test_no_topics_are_something_else_than_no_file(disk: SimulatedDisk) -> None:
    assert read_config_log(disk, PATH) is None
    write_config_log(disk, PATH, {})
    assert read_config_log(disk, PATH) == {}


def test_every_truncation_is_none(disk: SimulatedDisk) -> None:
    write_config_log(disk, PATH, TOPICS)
    data = disk.files()[PATH]
    for length in range(len(data)):
        assert read_config_log(with_bytes(data[:length]), PATH) is None


def test_every_flipped_bit_makes_it_none(disk: SimulatedDisk) -> None:
    write_config_log(disk, PATH, TOPICS)
    data = disk.files()[PATH]
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        assert read_config_log(with_bytes(bytes(flipped)), PATH) is None


def test_what_stands_behind_the_checksum_makes_it_none(disk: SimulatedDisk) -> None:
    write_config_log(disk, PATH, TOPICS)
    assert read_config_log(with_bytes(disk.files()[PATH] + b"topic_config|x|1\n"), PATH) is None
