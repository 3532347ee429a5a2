"""The data directory: whose it is, who may use it, and that a wipe ends and deletes no more."""

import errno
import os
import random
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from pandaq.config import Config
from pandaq.errors import DataDirError
from pandaq.storage.datadir import DataDir
from tests.simulated_disk import SimulatedDisk
from tests.storage.plain_broker import DATA, PlainBroker, small_config

ELSEWHERE = Path("/fast/wal.log")
INSIDE = DATA / "wal" / "deep" / "ingress.log"
FOREIGN = {
    DATA / "notes.txt",
    DATA / "ingress.log.bak",
    DATA / "topics" / "README",
    DATA / "topics" / "topic_orders" / "notes.txt",
    DATA / "topics" / "topic_orders" / "partition_0.log.bak",
    DATA / "damaged" / "mine.txt",
}
LOCK = DATA / "pandaq.lock"


class Stop(BaseException):
    """The moment at which a test ends the process."""


def put(disk: SimulatedDisk, path: Path, data: bytes = b"mine") -> None:
    """Write a file, durably."""
    disk.make_folder(path.parent)
    file = disk.open(path, create=True)
    file.write(0, data)
    file.sync()
    file.close()
    disk.sync_folder(path.parent)


def used_disk(ingress_log: Path | None = None) -> SimulatedDisk:
    """Return a disk on which a broker had messages, and damage that it set aside."""
    disk = SimulatedDisk()
    config = small_config(segment_bytes=256, ingress_log=ingress_log)
    broker = PlainBroker(disk, config)
    for number in range(20):
        broker.produce("orders", f"a{number}", f"b{number}")
        broker.produce("events", f"c{number}")
    broker.route(30)
    broker.checkpoint()
    broker.commit("orders", 0, 3)
    for data in (b"bad", b"worse"):
        broker.store.datadir.set_aside("ingress.log.offset-1.byte-0", data)
    broker.store.datadir.set_aside("partition_0.log.offset-1.byte-0", b"bad", "topic_orders")
    broker.store.close()
    return disk


def start_and_stop(disk: SimulatedDisk, config: Config) -> list[str]:
    """Start a broker, see that it works, stop it; return the ids of the messages it had."""
    broker = PlainBroker(disk, config)
    ids = broker.message_ids("orders") + broker.message_ids("events")
    broker.produce("orders", "new")
    broker.stop()
    assert disk.open_files == ()
    assert disk.held_locks == ()
    return ids


def every_end(make: Callable[[], SimulatedDisk], config: Config) -> Iterator[SimulatedDisk]:
    """Start a broker again and again, end it before each call of the disk; yield what is left."""
    for number in range(10_000):
        disk = make()
        calls = count()

        def end(_path: Path, number: int = number, calls: "count[int]" = calls) -> bool:
            if next(calls) >= number:
                raise Stop
            return False

        fault = disk.fail("*", end)
        try:
            PlainBroker(disk, config).store.close()
        except Stop:
            fault.lift()
            disk.heal()
            yield disk.kill()
            yield disk.crash(random.Random(number))
            yield disk.crash(random.Random(number), entries_in_order=False)
        else:
            return
    raise AssertionError("a start never came to its end")


class TestWhose:
    @pytest.mark.parametrize("name", ["notes.txt", "ingress.log", "topics/topic_a/x", "config.txt"])
    def test_a_folder_with_something_else_in_it_is_refused_and_left_as_it_is(
        self, name: str
    ) -> None:
        disk = SimulatedDisk()
        put(disk, DATA / name)
        for reboot in (False, True):
            with pytest.raises(DataDirError, match=r"/data is not empty and is no data directory"):
                PlainBroker(disk, small_config(reboot=reboot))
        assert disk.files() == {DATA / name: b"mine"}
        assert disk.held_locks == ()

    @pytest.mark.parametrize("made", [False, True], ids=["missing", "empty"])
    def test_a_missing_and_an_empty_folder_become_a_data_directory(self, *, made: bool) -> None:
        disk = SimulatedDisk()
        if made:
            disk.make_folder(DATA)
        PlainBroker(disk, small_config()).store.close()
        assert {DATA / "config.log", LOCK} < disk.power_loss_worst().files().keys()

    def test_a_file_in_the_folders_place_is_one_clear_sentence(self) -> None:
        disk = SimulatedDisk()
        put(disk, DATA)
        with pytest.raises(DataDirError, match=r"/data cannot be used: .*Not a directory"):
            PlainBroker(disk, small_config())

    def test_a_folder_that_cannot_be_made_is_one_clear_sentence(self) -> None:
        disk = SimulatedDisk()
        disk.fail("make_folder", error=PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
        with pytest.raises(DataDirError, match=r"cannot be used: .*Permission denied.*--data"):
            PlainBroker(disk, small_config())

    @pytest.mark.parametrize("ingress_log", [None, ELSEWHERE, INSIDE])
    @pytest.mark.parametrize("reboot", [False, True])
    def test_a_first_start_may_end_before_any_call_and_be_made_again(
        self, ingress_log: Path | None, *, reboot: bool
    ) -> None:
        config = small_config(ingress_log=ingress_log, reboot=reboot)
        again = small_config(ingress_log=ingress_log)
        for disk in every_end(SimulatedDisk, config):
            assert start_and_stop(disk, again) == []


class TestLock:
    def test_a_second_broker_is_refused(self) -> None:
        disk = SimulatedDisk()
        first = PlainBroker(disk, small_config())
        before = disk.files()
        for reboot in (False, True):
            with pytest.raises(DataDirError, match=r"another broker is using /data .*pandaq.lock"):
                PlainBroker(disk, small_config(reboot=reboot))
        assert disk.files() == before
        first.produce("orders", "m1")
        first.stop()
        assert start_and_stop(disk, small_config()) == ["m1"]

    def test_an_ingress_log_elsewhere_has_its_own_lock(self) -> None:
        disk = SimulatedDisk()
        first = PlainBroker(disk, small_config(ingress_log=ELSEWHERE))
        assert set(disk.held_locks) == {LOCK, Path("/fast/wal.log.lock")}
        other = Config(data_dir=Path("/other"), ingress_log_file=ELSEWHERE)
        with pytest.raises(DataDirError, match=r"another broker is using /fast .*wal.log.lock"):
            PlainBroker(disk, other)
        assert set(disk.held_locks) == {LOCK, Path("/fast/wal.log.lock")}
        first.store.close()
        assert disk.held_locks == ()

    @pytest.mark.parametrize("path", [LOCK, Path("/fast/wal.log.lock")])
    def test_a_lock_that_fails_leaves_none_held(self, path: Path) -> None:
        disk = SimulatedDisk()
        disk.fail("lock", path)
        with pytest.raises(DataDirError, match="cannot be used"):
            PlainBroker(disk, small_config(ingress_log=ELSEWHERE))
        assert disk.held_locks == ()

    def test_releasing_twice_is_fine(self) -> None:
        datadir = DataDir(SimulatedDisk(), DATA, DATA / "ingress.log")
        datadir.acquire()
        datadir.release()
        datadir.release()


class TestWipe:
    @pytest.mark.parametrize("ingress_log", [None, ELSEWHERE])
    def test_reboot_deletes_all_messages_and_offsets(self, ingress_log: Path | None) -> None:
        disk = used_disk(ingress_log)
        broker = PlainBroker(disk, small_config(ingress_log=ingress_log, reboot=True))
        assert broker.message_ids("orders") == broker.message_ids("events") == []
        assert broker.store.ingress.offsets.log_end == 0
        assert broker.queue("orders", 0).offsets.read == 0
        assert any("reboot is on" in told for told in broker.told())
        assert not disk.exists(DATA / "damaged")

    @pytest.mark.parametrize("ingress_log", [None, ELSEWHERE])
    def test_reboot_leaves_nothing_behind(self, ingress_log: Path | None) -> None:
        fresh = SimulatedDisk()
        config = small_config(ingress_log=ingress_log, reboot=True)
        PlainBroker(fresh, config).store.close()
        disk = used_disk(ingress_log)
        put(disk, DATA / "ingress_metadata.log.tmp")
        PlainBroker(disk, config).store.close()
        assert disk.files() == fresh.files()

    def test_what_is_not_the_brokers_is_never_deleted(self) -> None:
        disk = used_disk()
        for path in FOREIGN:
            put(disk, path)
        assert start_and_stop(disk, small_config(reboot=True)) == []
        assert {path for path, data in disk.files().items() if data == b"mine"} == FOREIGN

    def test_beside_an_ingress_log_elsewhere_nothing_else_is_deleted(self) -> None:
        disk = used_disk(ELSEWHERE)
        foreign = {Path("/fast") / name for name in ("ingress.log", "wal.txt", "wal.1.log", "wal")}
        for path in foreign:
            put(disk, path)
        start_and_stop(disk, small_config(ingress_log=ELSEWHERE, reboot=True))
        assert {path for path, data in disk.files().items() if data == b"mine"} == foreign

    @pytest.mark.parametrize("ingress_log", [None, ELSEWHERE])
    @pytest.mark.parametrize("foreign", [False, True])
    def test_a_wipe_that_ends_before_any_call_is_ended_by_the_next_start(
        self, ingress_log: Path | None, *, foreign: bool
    ) -> None:
        def make() -> SimulatedDisk:
            disk = used.kill()
            for path in FOREIGN if foreign else ():
                put(disk, path)
            return disk

        used = used_disk(ingress_log)
        everything = sorted(f"{letter}{number}" for letter in "abc" for number in range(20))
        found = []
        for disk in every_end(make, small_config(ingress_log=ingress_log, reboot=True)):
            found.append(sorted(start_and_stop(disk, small_config(ingress_log=ingress_log))))
            kept = {path for path, data in disk.files().items() if data == b"mine"}
            assert kept == (FOREIGN if foreign else set())
        assert everything in found
        assert [] in found
        assert all(ids in (everything, []) for ids in found)

    def test_an_interrupted_wipe_is_said(self) -> None:
        disk = used_disk()
        disk.fail("delete", "*/partition_1.log", error=Stop())
        with pytest.raises(Stop):
            PlainBroker(disk, small_config(reboot=True))
        broker = PlainBroker(disk.kill(), small_config())
        assert any("was interrupted and has been ended" in told for told in broker.told())

    def test_a_wipe_that_the_disk_refuses_is_one_sentence_and_is_ended_later(self) -> None:
        disk = used_disk()
        disk.fail("delete", "*/partition_1.log")
        with pytest.raises(DataDirError, match=r"/data cannot be recovered: .*Input/output error"):
            PlainBroker(disk, small_config(reboot=True))
        assert disk.open_files == ()
        assert disk.held_locks == ()
        assert start_and_stop(disk, small_config()) == []


class TestSettingAside:
    def test_what_another_time_has_left_stays(self) -> None:
        disk = SimulatedDisk()
        datadir = DataDir(disk, DATA, DATA / "ingress.log")
        names = [
            datadir.set_aside("a.log.offset-1", data).name
            for data in (b"1", b"2", b"1", b"3", b"2")
        ]
        assert names == [f"a.log.offset-1{suffix}" for suffix in ("", ".2", "", ".3", ".2")]
        assert disk.files()[DATA / "damaged" / "a.log.offset-1"] == b"1"

    def test_a_name_is_no_longer_than_any_file_system_takes(self) -> None:
        topic_id, greatest = "t" * 200, 10**19
        name = f"partition_999.{greatest:020}.log.offset-{greatest}.byte-{greatest}"
        path = DataDir(SimulatedDisk(), DATA, DATA / "ingress.log").set_aside(
            name, b"", f"topic_{topic_id}"
        )
        assert all(len(part + ".99.tmp") <= 255 for part in path.parts)


class TestTopicsOnDisk:
    def test_topics_are_known_by_their_partitions_files(self) -> None:
        disk = used_disk()
        datadir = DataDir(disk, DATA, DATA / "ingress.log")
        put(disk, DATA / "topics" / "topic_empty" / "notes.txt")
        put(disk, DATA / "topics" / "other" / "partition_7.log")
        put(disk, DATA / "topics" / "topic_orders" / "partition_9.log.bak")
        assert datadir.topics_on_disk() == {"orders": 2, "events": 1}

    def test_a_partition_is_known_by_any_of_its_files(self) -> None:
        disk = SimulatedDisk()
        put(disk, DATA / "topics" / "topic_a" / f"partition_4.{1:020d}.log")
        put(disk, DATA / "topics" / "topic_b" / f"partition_2.{7:020d}.index")
        datadir = DataDir(disk, DATA, DATA / "ingress.log")
        assert datadir.topics_on_disk() == {"a": 5, "b": 3}
