"""Data directories that cannot be used, or are used twice; clocks that jump; names that clash."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from pandaq.actors import broker as broker_module
from pandaq.actors.messages import Cycle, Outcome
from pandaq.actors.system import System
from pandaq.config import Config, Retention, TopicConfig
from pandaq.errors import ConfigError, DataDirError
from pandaq.web.app import App
from tests.actors.stage import ALL, DATA, Clock, ids, message, offsets_of, small_config
from tests.crash.faults import call
from tests.inline import spawn_inline
from tests.simulated_disk import Operation, SimulatedDisk
from tests.web.broker_process import BrokerProcess, write_config
from tests.web.live_broker import until

HOUR_MS: Final = 3_600_000
AS_ROOT: Final = sys.platform == "win32" or os.geteuid() == 0

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="there is no other kill -9")
not_as_root = pytest.mark.skipif(AS_ROOT, reason="root may write everywhere")


@contextmanager
def running(
    disk: SimulatedDisk, config: Config | None = None, clock: Clock | None = None
) -> Iterator[System]:
    system = System(config or small_config(), disk=disk, clock=clock or Clock(), spawn=spawn_inline)
    with system:
        yield system


def cycle(system: System) -> None:
    assert system._crew
    while True:
        outcome = system._crew.broker.ask(Cycle(), block=False).get(timeout=0).outcome
        if outcome is not Outcome.MORE:
            break
    assert outcome is Outcome.IDLE


def refusal(disk: SimulatedDisk, config: Config | None = None) -> str:
    """Start where that cannot be, see that nothing stays open, and return what is said."""
    with pytest.raises((DataDirError, ConfigError)) as caught, running(disk, config):
        pass
    assert not disk.open_files
    assert not disk.held_locks
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def used_disk(*, case_insensitive: bool = False, topic: str = "orders") -> SimulatedDisk:
    """Return a disk on which a broker had two messages of a topic."""
    disk = SimulatedDisk(case_insensitive=case_insensitive)
    with running(disk, topics(topic)) as system:
        system.append(topic, [message("a"), message("b")])
    return disk


def topics(*names: str) -> Config:
    return small_config(topics=[TopicConfig(name, 1) for name in names])


def all_ids(system: System, topic: str = "orders") -> list[str]:
    return ids(system.read(topic, 0, ALL))


class TestTwoBrokers:
    def test_the_second_is_told_what_to_do_and_the_first_goes_on(self) -> None:
        disk = SimulatedDisk()
        with running(disk, topics("orders")) as first:
            app = App(first)
            for reboot in (False, True):
                other = small_config(topics=[TopicConfig("orders", 1)], reboot=reboot)
                second = System(other, disk=disk, clock=Clock(), spawn=spawn_inline)
                with pytest.raises(DataDirError, match=r"another broker .*stop that one, or choos"):
                    second.start()
                second.stop()
                body = {"message": {"messageId": f"m{reboot}", "content": 1}}
                assert call(app, "POST", "/ingress/orders", body).status == 200
            cycle(first)
            assert all_ids(first) == ["mFalse", "mTrue"]
            assert call(app, "GET", "/health").status == 200

    @posix_only
    def test_after_a_kill_of_the_first_the_second_starts(self, tmp_path: Path) -> None:
        write_config(tmp_path / "conf" / "pandaq-config.json")
        with BrokerProcess(tmp_path) as first:
            assert first.url
            with BrokerProcess(tmp_path) as second:
                assert second.wait() == 2
                [line] = second.said.splitlines()
                assert line.startswith("pandaq: another broker is using")
            first.kill()
            with BrokerProcess(tmp_path) as third:
                until(lambda: "listens on" in third.said)


class TestNoAccess:
    @pytest.mark.parametrize("operation", ["open", "make_folder", "lock", "list"])
    @pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EPERM])
    @pytest.mark.parametrize("used", [False, True])
    def test_it_is_one_sentence_and_all_is_there_when_access_is(
        self, operation: Operation, number: int, *, used: bool
    ) -> None:
        disk = used_disk() if used else SimulatedDisk()
        before = disk.files()
        fault = disk.fail(operation, error=OSError(number, os.strerror(number)), times=None)
        sentence = refusal(disk, topics("orders"))
        assert os.strerror(number) in sentence
        assert str(DATA) in sentence
        if used:
            assert disk.files() == before
        fault.lift()
        with running(disk, topics("orders")) as system:
            assert all_ids(system) == (["a", "b"] if used else [])

    @not_as_root
    @pytest.mark.parametrize("mode", [0o000, 0o500])
    def test_a_real_folder_that_may_not_be_written(self, tmp_path: Path, mode: int) -> None:
        folder = tmp_path / "data"
        folder.mkdir()
        folder.chmod(mode)
        try:
            with BrokerProcess(tmp_path, "--data", folder, "--port", "0") as broker:
                assert broker.wait() == 2
                [line] = broker.said.splitlines()
                assert "Permission denied" in line
        finally:
            folder.chmod(0o700)

    def test_a_data_directory_that_is_a_file_keeps_its_bytes(self, tmp_path: Path) -> None:
        path = tmp_path / "data"
        path.write_bytes(b"mine")
        with pytest.raises(DataDirError, match="cannot be used"):
            System(Config(data_dir=path)).start()
        assert path.read_bytes() == b"mine"


class TestAFullDisk:
    @pytest.mark.parametrize("room", [0, 1, 40])
    def test_a_first_start_without_room_is_one_sentence_and_with_room_a_start(
        self, room: int
    ) -> None:
        disk = SimulatedDisk(capacity_bytes=room)
        assert "make room" in refusal(disk)
        disk.capacity_bytes = None
        with running(disk) as system:
            system.append("events", [message("a")])
            cycle(system)
            assert all_ids(system, "events") == ["a"]
            assert system.problems() == []


class TestAClockThatJumpsBack:
    @pytest.fixture(autouse=True)
    def retention_at_every_cycle(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(broker_module, "RETENTION_INTERVAL_S", 0)

    def config(self) -> Config:
        retention = Retention(max_age_ms=HOUR_MS // 2, delete_uncommitted=True)
        return small_config(
            topics=[TopicConfig("orders", 1)], retention=retention, checkpoint_bytes=1
        )

    def fill(self, system: System, first: int) -> None:
        for number in range(first, first + 12):
            system.append("orders", [message(f"m{number}", 100)])
            cycle(system)

    @pytest.mark.parametrize("restarts", [False, True])
    def test_nothing_is_lost_or_goes_too_early_and_the_index_leads_everywhere(
        self, *, restarts: bool
    ) -> None:
        disk, clock, config = SimulatedDisk(), Clock(), self.config()
        expected = [f"m{number}" for number in range(24)]
        with running(disk, config, clock) as system:
            self.fill(system, 0)
            clock.now_ms -= HOUR_MS
            if not restarts:
                self.fill(system, 12)
        with running(disk.power_loss_worst(), config, clock) as system:
            if restarts:
                self.fill(system, 12)
            batch = system.read("orders", 0, ALL)
            assert ids(batch) == expected
            assert offsets_of(batch) == list(range(1, 25))
            # From half an hour after the jump on, what came behind it is old enough to go; it may
            # not, since what stands before it is not.
            clock.now_ms += HOUR_MS * 3 // 4
            cycle(system)
            assert all_ids(system) == expected
            for offset in range(1, 24):
                system.commit("orders", 0, "ann", offset)
                assert all_ids(system) == expected[offset:]

    def test_what_is_old_goes_when_the_clock_is_right_again(self) -> None:
        disk, clock = SimulatedDisk(), Clock()
        with running(disk, self.config(), clock) as system:
            self.fill(system, 0)
            clock.now_ms -= HOUR_MS
            self.fill(system, 12)
            clock.now_ms += 2 * HOUR_MS
            cycle(system)
            left = all_ids(system)
            assert len(left) < 8
            assert left == [f"m{number}" for number in range(24)][-len(left) :]


class TestNames:
    def test_topics_that_differ_in_case_only_are_refused_together(self) -> None:
        with pytest.raises(ConfigError, match=r"topics\[1\].id is 'orders'.*in lower case"):
            topics("Orders", "orders")

    @pytest.mark.parametrize("case_insensitive", [False, True])
    @pytest.mark.parametrize("lost", ["", "config.log"])
    def test_a_topic_written_otherwise_is_refused_and_its_messages_stay(
        self, lost: str, *, case_insensitive: bool
    ) -> None:
        disk = used_disk(case_insensitive=case_insensitive)
        if lost:
            disk.delete(DATA / lost)
        for _ in range(2):
            sentence = refusal(disk, topics("Orders"))
            assert "lacks topic 'orders'" in sentence
            assert "put it back" in sentence
        for image in (disk, disk.power_loss_worst()):
            with running(image, topics("orders")) as system:
                assert all_ids(system) == ["a", "b"]

    @pytest.mark.parametrize("case_insensitive", [False, True])
    def test_a_topic_written_otherwise_is_refused_also_when_all_is_committed(
        self, *, case_insensitive: bool
    ) -> None:
        disk = used_disk(case_insensitive=case_insensitive)
        with running(disk, topics("orders")) as system:
            system.commit("orders", 0, "ann", 2)
        assert "lacks topic 'orders'" in refusal(disk, topics("Orders"))
        with running(disk, topics("orders")) as system:
            assert system.describe().topics[0].partitions[0].offsets.read == 2

    @pytest.mark.parametrize(
        "name", ["con", "NUL", "Com1", "aux.txt", "lpt9.log", "orders.", "a..", "."]
    )
    def test_a_name_that_windows_reserves_reaches_no_disk(self, name: str) -> None:
        with pytest.raises(ConfigError, match="Windows reserves"):
            TopicConfig(name, 1)
        disk = SimulatedDisk()
        with running(disk) as system:
            app = App(system)
            before = [step.path for step in disk.trace]
            message = {"message": {"messageId": "a", "content": 1}}
            commit = {"topicId": name, "partitionId": 0, "consumerId": "ann", "offset": 0}
            for answer in (
                call(app, "POST", f"/ingress/{name}", message),
                call(app, "POST", f"/register/{name}", {"consumerId": "ann"}),
                call(app, "GET", f"/consume/broker_1/{name}/0"),
                call(app, "POST", "/commit", commit),
            ):
                assert answer[:2] == (400, "INVALID_REQUEST")
                assert "topicId" in answer.error
            assert [step.path for step in disk.trace] == before
