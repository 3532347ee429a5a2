"""TPC.log: which consumer has which partition; damage never gives a partition to another one."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandaq.errors import InvalidRequest
from pandaq.ids import check_consumer_id
from pandaq.storage.tpc_log import Assignment, Terms, read_tpc_log, write_tpc_log
from tests.simulated_disk import SimulatedDisk

FOLDER = Path("/data")
PATH = FOLDER / "TPC.log"
ASSIGNMENTS = [
    Assignment("orders", 0, "alice"),
    Assignment("orders", 12, "Büro 2"),
    Assignment("checksum", 0, "00000000"),
    Assignment("orders", 1, "carol", Terms(group="büro", generation=7, lease_ms=500, share=True)),
    Assignment("orders", None, "dave", Terms(group="g", share=True)),
    Assignment("orders", 2, "erin", Terms(generation=2, is_free=True)),
]


@pytest.fixture
def disk() -> SimulatedDisk:
    return new_disk()


def new_disk() -> SimulatedDisk:
    disk = SimulatedDisk()
    disk.make_folder(FOLDER)
    return disk


def with_bytes(data: bytes) -> SimulatedDisk:
    disk = new_disk()
    disk.open(PATH, create=True).write(0, data)
    return disk.kill()


def allowed(consumer_id: str) -> bool:
    try:
        check_consumer_id(consumer_id)
    except InvalidRequest:
        return False
    return True


def test_what_is_written_is_read_after_the_worst_crash(disk: SimulatedDisk) -> None:
    write_tpc_log(disk, PATH, ASSIGNMENTS)
    assert read_tpc_log(disk.power_loss_worst(), PATH) == ASSIGNMENTS


def test_a_line_is_as_the_format_has_it(disk: SimulatedDisk) -> None:
    write_tpc_log(disk, PATH, ASSIGNMENTS)
    assert disk.files()[PATH].startswith("orders|0|alice\norders|12|Büro 2\n".encode())


@given(st.lists(st.text(min_size=1, max_size=50).filter(allowed)))
def test_every_consumer_id_that_is_allowed_comes_back(consumer_ids: list[str]) -> None:
    disk = new_disk()
    assignments = [Assignment("orders", *each) for each in enumerate(consumer_ids)]
    write_tpc_log(disk, PATH, assignments)
    assert read_tpc_log(disk, PATH) == assignments


@pytest.mark.parametrize("consumer_id", ["\u2028", "\u2029", "checksum", "a b ", " "])
def test_a_consumer_id_may_look_like_something_else(consumer_id: str, disk: SimulatedDisk) -> None:
    assignments = [Assignment("orders", 0, consumer_id)]
    write_tpc_log(disk, PATH, assignments)
    assert read_tpc_log(disk, PATH) == assignments


def test_nobody_is_in_a_missing_file(disk: SimulatedDisk) -> None:
    assert read_tpc_log(disk, PATH) == []


def test_every_truncation_is_none(disk: SimulatedDisk) -> None:
    write_tpc_log(disk, PATH, ASSIGNMENTS)
    data = disk.files()[PATH]
    for length in range(len(data)):
        assert read_tpc_log(with_bytes(data[:length]), PATH) is None


def test_every_flipped_bit_makes_it_none(disk: SimulatedDisk) -> None:
    write_tpc_log(disk, PATH, ASSIGNMENTS)
    data = disk.files()[PATH]
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        assert read_tpc_log(with_bytes(bytes(flipped)), PATH) is None


def test_what_says_no_more_than_before_is_written_as_before(disk: SimulatedDisk) -> None:
    write_tpc_log(disk, PATH, ASSIGNMENTS)
    lines = disk.files()[PATH].decode().splitlines()
    assert lines[2] == "checksum|0|00000000"
    assert lines[3:6] == [
        'orders|1|carol|{"group":"büro","generation":7,"leaseMs":500,"share":true}',
        'orders||dave|{"group":"g","share":true}',
        'orders|2|erin|{"generation":2,"isFree":true}',
    ]


@given(st.text(min_size=1, max_size=50).filter(allowed))
def test_every_group_that_is_allowed_comes_back(group: str) -> None:
    disk = new_disk()
    assignments = [Assignment("orders", 0, "a", Terms(group=group))]
    write_tpc_log(disk, PATH, assignments)
    assert read_tpc_log(disk, PATH) == assignments
