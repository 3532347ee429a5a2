"""Nobody else's folder or file is taken for a broker's data."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from pandaq.errors import DataDirError
from pandaq.storage.ownership import is_data_directory, is_ingress_log, may_be_ingress_log
from tests.simulated_disk import SimulatedDisk
from tests.storage.plain_broker import PlainBroker, small_config

DATA = Path("/data")
ELSEWHERE = Path("/fast/wal.log")


def put(disk: SimulatedDisk, path: Path, content: bytes) -> None:
    disk.make_folder(path.parent)
    file = disk.open(path, create=True)
    file.write(0, content)
    file.close()


@pytest.mark.parametrize("reboot", [False, True])
@pytest.mark.parametrize("name", ["config.log", "TPC.log", "ingress_metadata.log", "ingress.log"])
def test_a_file_of_the_same_name_does_not_make_a_folder_ours(name: str, *, reboot: bool) -> None:
    disk = SimulatedDisk()
    put(disk, DATA / name, b"This file contains any messages produced by compilers\n")
    put(disk, DATA / "main.c", b"int main;\n")
    before = disk.files()
    with pytest.raises(DataDirError, match="is not empty and is no data directory"):
        PlainBroker(disk, small_config(reboot=reboot))
    assert disk.files() == before


def test_a_data_directory_is_known_by_any_of_its_files() -> None:
    disk = SimulatedDisk()
    PlainBroker(disk, small_config()).store.close()
    proofs = ["config.log", "ingress_metadata.log"]
    assert is_data_directory(disk, DATA)
    for name in proofs:
        disk.corrupt(DATA / name, 3, b"\xff")
        assert is_data_directory(disk, DATA)
    for path in disk.files():
        if path.name.startswith("partition_"):
            disk.delete(path)
    assert not is_data_directory(disk, DATA)


@pytest.mark.parametrize("reboot", [False, True])
def test_a_file_that_is_no_ingress_log_is_not_touched(*, reboot: bool) -> None:
    disk = SimulatedDisk()
    put(disk, ELSEWHERE, b"thesis")
    assert not is_ingress_log(disk, ELSEWHERE)
    with pytest.raises(DataDirError, match=r"/fast/wal\.log is no write-ahead log"):
        PlainBroker(disk, small_config(ingress_log=ELSEWHERE, reboot=reboot))
    assert disk.files()[ELSEWHERE] == b"thesis"
    assert disk.open_files == disk.held_locks == ()


@pytest.mark.parametrize("content", [b"my thesis\n", b"a|b|c\n" * 9, b"\x7fELF" + b"1" * 99])
def test_another_file_in_the_place_of_the_ingress_log_is_refused_and_not_touched(
    content: bytes,
) -> None:
    disk = SimulatedDisk()
    broker = PlainBroker(disk, small_config())
    broker.produce("orders", "m0")
    broker.store.close()
    path = DATA / "ingress.log"
    disk.delete(path)
    put(disk, path, content)
    with pytest.raises(DataDirError, match=r"ingress\.log is no write-ahead log .* move this one"):
        PlainBroker(disk, small_config())
    assert disk.files()[path] == content
    assert disk.open_files == disk.held_locks == ()


def test_what_never_reached_the_disk_may_be_an_ingress_log() -> None:
    disk = SimulatedDisk()
    put(disk, ELSEWHERE, b"\0" * 99 + b"x\n")
    assert may_be_ingress_log(disk, ELSEWHERE)


@pytest.mark.parametrize("index", ["kept", "missing"])
def test_an_ingress_log_without_any_good_line_is_known_by_its_index(index: str) -> None:
    disk = SimulatedDisk()
    broker = PlainBroker(disk, small_config())
    broker.produce("orders", "m0")
    broker.store.close()
    path = DATA / "ingress.log"
    disk.corrupt(path, 0, b"!" * len(disk.files()[path]))
    if index == "missing":
        disk.delete(DATA / "ingress.00000000000000000001.index")
    assert may_be_ingress_log(disk, path) == (index == "kept")


@pytest.mark.parametrize("length", range(30))
def test_the_beginning_of_a_first_line_may_be_an_ingress_log(length: int) -> None:
    disk = SimulatedDisk()
    put(disk, ELSEWHERE, b'broker_1|1|orders|m0|"a b"'[:length])
    assert may_be_ingress_log(disk, ELSEWHERE)


def test_the_ingress_log_of_another_broker_is_refused() -> None:
    disk = SimulatedDisk()
    PlainBroker(disk, small_config()).store.close()
    config = replace(small_config(), data_dir=Path("/other"), ingress_log_file=DATA / "ingress.log")
    with pytest.raises(DataDirError, match="lies in the data directory of another broker"):
        PlainBroker(disk, config)


def test_an_ingress_log_is_known_by_its_first_line() -> None:
    disk = SimulatedDisk()
    assert is_ingress_log(disk, ELSEWHERE)
    put(disk, ELSEWHERE, b'broker_1|1|orders|m0|""\nbroker_1|2|ord')
    assert is_ingress_log(disk, ELSEWHERE)
