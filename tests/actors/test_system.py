"""The whole broker, its actors inline and its disk simulated: the same each time."""

import errno
import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pykka
import pytest

from pandaq.actors import broker as broker_module
from pandaq.actors.messages import Cycle, Outcome
from pandaq.actors.system import System
from pandaq.batch import Batch
from pandaq.config import Config, Retention, TopicConfig
from pandaq.errors import (
    BufferFull,
    DataDirError,
    InvalidOffset,
    InvalidRequest,
    NoPartitionAvailable,
    NotAssigned,
    PandaqError,
    PartitionNotFound,
    PayloadTooLarge,
    ShuttingDown,
    StorageFailed,
    StorageFull,
    TopicNotFound,
)
from pandaq.message import Message
from pandaq.offsets import Offsets
from pandaq.records import decode_record
from tests.actors.stage import (
    ALL,
    CHECKPOINT,
    INGRESS_LOG,
    JOURNAL,
    TPC_LOG,
    Clock,
    ids,
    ids_for,
    message,
    offsets_of,
    partition_log,
    small_config,
)
from tests.inline import spawn_inline
from tests.simulated_disk import SimulatedDisk, Step

FIRST: Final = ids_for(0, 10)
SECOND: Final = ids_for(1, 10)
NO_ROOM: Final = OSError(errno.ENOSPC, "no room")


@dataclass
class Run:
    """A broker that can be stopped, killed and started again on what is left."""

    disk: SimulatedDisk
    config: Config
    system: System

    @classmethod
    def begun(cls, disk: SimulatedDisk, config: Config) -> "Run":
        system = System(config, disk=disk, clock=Clock(), spawn=spawn_inline)
        system.start()
        return cls(disk, config, system)

    def again(self, disk: SimulatedDisk) -> "Run":
        return Run.begun(disk, self.config)

    def append(self, *message_ids: str, size: int = 0) -> None:
        self.system.append("orders", [message(id_, size) for id_ in message_ids])

    def cycle(self) -> Outcome:
        assert self.system._crew
        outcome: Outcome = self.system._crew.broker.ask(Cycle(), block=False).get(timeout=0).outcome
        return outcome

    def read(self, number: int) -> list[str]:
        return ids(self.system.read("orders", number, ALL))

    def offsets(self, number: int) -> Offsets:
        return self.system.describe().topics[0].partitions[number].offsets


@pytest.fixture
def run(disk: SimulatedDisk) -> Iterator[Run]:
    run = Run.begun(disk, small_config())
    yield run
    run.system.stop()


class TestTheWayOfAMessage:
    def test_what_is_appended_can_be_read_after_a_cycle_and_until_it_is_committed(
        self, run: Run
    ) -> None:
        run.append(FIRST[0], SECOND[0], FIRST[1])
        assert run.read(0) == []
        assert run.cycle() is Outcome.IDLE
        assert run.read(0) == run.read(0) == FIRST[:2]
        assert run.read(1) == SECOND[:1]
        assert run.system.commit("orders", 0, "ann", 1) == Offsets(2, 1)
        assert run.read(0) == FIRST[1:2]

    def test_a_message_comes_out_as_it_went_in(self, run: Run) -> None:
        sent = Message("a|b\nü", b'{"x": "1|2", "y": [1.50, null]}')
        run.system.append("events", [sent])
        run.cycle()
        (line,) = run.system.read("events", 0).lines
        record = decode_record(line)
        assert record.message_id == sent.message_id
        assert record.value == {"x": "1|2", "y": [1.5, None]}
        assert (record.topic_id, record.partition_id, record.offset) == ("events", 0, 1)

    def test_a_batch_is_bounded_by_count_and_by_bytes(self, disk: SimulatedDisk) -> None:
        run = Run.begun(disk, small_config(max_consume_bytes=100))
        run.append(*FIRST)
        run.cycle()
        assert run.system.read("orders", 0, 3).count == 3
        assert 1 < run.system.read("orders", 0).count < 10

    def test_a_read_that_may_wait_is_answered_at_once_where_there_is_something(
        self, run: Run
    ) -> None:
        run.append(FIRST[0])
        run.cycle()
        assert run.system.read("orders", 0, wait_s=100).count == 1

    def test_a_read_that_was_begun_is_answered_when_there_is_something_or_at_its_end(
        self, run: Run
    ) -> None:
        first, second = (run.system.begin_wait("orders", 0) for _ in range(2))
        first.end()
        assert first.reply.get(timeout=0) == Batch(0, 0, [])
        assert not second.reply.is_done
        run.append(FIRST[0])
        run.cycle()
        assert second.reply.get(timeout=0).count == 1
        second.end()

    def test_an_append_that_was_begun_is_answered_when_it_is_durable(self, run: Run) -> None:
        reply = run.system.begin_append("orders", [Message("a", b"1")])
        assert reply.get(timeout=0) == ()
        with pytest.raises(TopicNotFound):
            run.system.begin_append("none", [Message("a", b"1")])

    def test_a_read_that_waited_in_vain_is_empty_and_forgotten(self, run: Run) -> None:
        assert run.system.read("orders", 0, wait_s=0.01).count == 0
        assert run.system._crew
        partition: Any = run.system._crew.partitions["orders"][0]
        assert partition.actor._waiting == []


class TestWhatIsRefused:
    def test_what_is_not_there(self, run: Run) -> None:
        system = run.system
        for call in (
            lambda: system.append("nothing", [message("a")]),
            lambda: system.read("nothing", 0),
            lambda: system.commit("nothing", 0, "ann", 0),
            lambda: system.register("nothing", "ann"),
        ):
            with pytest.raises(TopicNotFound):
                call()
        for number in (-1, 2):
            with pytest.raises(PartitionNotFound):
                system.read("orders", number)
            with pytest.raises(PartitionNotFound):
                system.commit("orders", number, "ann", 0)

    def test_messages_beyond_the_limits_are_refused_and_none_of_their_batch_is_kept(
        self, disk: SimulatedDisk
    ) -> None:
        run = Run.begun(disk, small_config(max_message_bytes=100, max_batch_messages=3))
        with pytest.raises(PayloadTooLarge):
            run.append("a", "b", "c", "d")
        with pytest.raises(PayloadTooLarge):
            run.system.append("orders", [message("a"), message("b", 200)])
        with pytest.raises(InvalidRequest):
            run.append("a", "")
        with pytest.raises(InvalidRequest):
            run.append()
        run.cycle()
        assert run.system.describe().ingress.offsets == Offsets(0, 0)

    def test_a_backlog_at_its_limit_takes_more_once_it_is_routed(self, disk: SimulatedDisk) -> None:
        run = Run.begun(disk, small_config(max_backlog_bytes=100))
        run.append(FIRST[0], size=80)
        with pytest.raises(BufferFull):
            run.append(FIRST[1], size=80)
        run.cycle()
        run.append(FIRST[1], size=80)
        run.cycle()
        assert run.read(0) == FIRST[:2]

    def test_names_that_cannot_be_consumers(self, run: Run) -> None:
        for consumer_id in ("", "a|b", "a\n"):
            with pytest.raises(InvalidRequest):
                run.system.register("orders", consumer_id)
            with pytest.raises(InvalidRequest):
                run.system.commit("orders", 0, consumer_id, 0)


class TestConsumers:
    def test_a_consumer_gets_one_partition_and_the_same_each_time(self, run: Run) -> None:
        found = [run.system.register("orders", name) for name in ("ann", "bob", "ann")]
        assert [each.partition_id for each in found] == [0, 1, 0]
        with pytest.raises(NoPartitionAvailable):
            run.system.register("orders", "eve")
        assert run.system.describe().topics[0].consumers == {0: "ann", 1: "bob"}
        assert run.system.describe().topics[1].consumers == {}

    def test_a_commit_for_a_partition_of_another_is_refused(self, run: Run) -> None:
        run.append(*FIRST)
        run.cycle()
        run.system.register("orders", "ann")
        with pytest.raises(NotAssigned):
            run.system.commit("orders", 0, "bob", 1)
        assert run.offsets(0) == Offsets(10, 0)

    def test_the_first_commit_assigns_the_partition(self, run: Run) -> None:
        run.append(*SECOND)
        run.cycle()
        run.system.commit("orders", 1, "bob", 4)
        assert run.system.describe().topics[0].consumers == {1: "bob"}
        assert run.system.register("orders", "bob").partition_id == 1

    def test_a_first_commit_with_a_wrong_offset_assigns_nothing(self, run: Run) -> None:
        with pytest.raises(InvalidOffset):
            run.system.commit("orders", 1, "bob", 1)
        assert run.system.describe().topics[0].consumers == {}

    def test_a_commit_never_goes_back(self, run: Run) -> None:
        run.append(*FIRST)
        run.cycle()
        run.system.commit("orders", 0, "ann", 5)
        for offset in (4, 11):
            with pytest.raises(InvalidOffset):
                run.system.commit("orders", 0, "ann", offset)
        assert run.system.commit("orders", 0, "ann", 5) == Offsets(10, 5)


class TestStartingAndStopping:
    def test_a_stop_routes_all_writes_a_checkpoint_and_leaves_nothing_open(self, run: Run) -> None:
        run.append(*FIRST, *SECOND)
        run.disk.trace.clear()
        run.system.stop()
        assert Step("replace", CHECKPOINT) in run.disk.trace
        assert run.disk.open_files == run.disk.held_locks == ()
        after = run.again(run.disk.power_loss_worst())
        assert (after.read(0), after.read(1)) == (FIRST, SECOND)

    def test_the_start_after_a_stop_has_nothing_to_route(
        self, run: Run, caplog: pytest.LogCaptureFixture
    ) -> None:
        run.append(*FIRST)
        run.system.stop()
        with caplog.at_level(logging.INFO):
            run.system.start()
        assert "0 messages routed" in caplog.text

    @pytest.mark.parametrize("end", ["kill", "power"])
    @pytest.mark.parametrize("routed", [False, True])
    def test_whatever_ends_a_run_the_next_has_all_that_was_answered(
        self, run: Run, end: str, *, routed: bool
    ) -> None:
        run.append(*FIRST[:5], *SECOND)
        run.cycle()
        run.system.commit("orders", 0, "ann", 3)
        run.system.register("orders", "bob")
        run.append(*FIRST[5:])
        if routed:
            run.cycle()
        left = run.disk.kill() if end == "kill" else run.disk.power_loss_worst()
        after = run.again(left)
        assert (after.read(0), after.read(1)) == (FIRST[3:], SECOND)
        assert after.offsets(0) == Offsets(10, 3)
        assert after.system.describe().topics[0].consumers == {0: "ann", 1: "bob"}
        assert after.system.register("orders", "bob").partition_id == 1

    def test_abandoned_it_closes_all_and_the_next_start_recovers(self, run: Run) -> None:
        run.append(*FIRST)
        run.system.abandon()
        assert run.disk.open_files == run.disk.held_locks == ()
        run.system.start()
        assert run.read(0) == FIRST

    def test_a_stopped_broker_is_shutting_down_to_all_who_call(self, run: Run) -> None:
        system = run.system
        system.stop()
        system.stop()
        system.wake_all()
        for call in (
            lambda: system.append("orders", [message("a")]),
            lambda: system.read("orders", 0),
            lambda: system.read("orders", 0, wait_s=1),
            lambda: system.commit("orders", 0, "ann", 0),
            lambda: system.register("orders", "ann"),
            system.describe,
        ):
            with pytest.raises(ShuttingDown):
                call()
        assert system.dead_actors() == []
        assert system.problems() == [str(ShuttingDown())]

    def test_a_broker_that_never_started_is_as_one_that_has_stopped(
        self, disk: SimulatedDisk
    ) -> None:
        system = System(small_config(), disk=disk, clock=Clock(), spawn=spawn_inline)
        assert disk.trace == []
        assert system.topics == {"orders": 2, "events": 1}
        system.stop()
        system.wake_all()
        with pytest.raises(ShuttingDown):
            system.append("orders", [message("a")])

    def test_it_can_be_started_and_stopped_many_times(self, run: Run) -> None:
        for number in range(5):
            run.append(FIRST[number])
            run.system.stop()
            run.system.start()
        assert run.read(0) == FIRST[:5]

    def test_started_twice_the_second_is_refused_and_the_first_goes_on(self, run: Run) -> None:
        with pytest.raises(DataDirError):
            run.system.start()
        run.append(*FIRST)
        run.cycle()
        assert run.read(0) == FIRST

    @pytest.mark.parametrize("good", range(9))
    def test_a_start_that_fails_leaves_nothing_behind(self, disk: SimulatedDisk, good: int) -> None:
        spawned: list[Any] = []

        def spawn(actor_class: type[pykka.ThreadingActor], *args: Any) -> Any:
            if len(spawned) == good:
                raise RuntimeError("can't start new thread")
            spawned.append(spawn_inline(actor_class, *args))
            return spawned[-1]

        system = System(small_config(), disk=disk, clock=Clock(), spawn=spawn)
        with pytest.raises(RuntimeError):
            system.start()
        assert not any(ref.is_alive() for ref in spawned)
        assert disk.open_files == disk.held_locks == ()
        Run.begun(disk, small_config()).system.stop()

    def test_a_stop_that_cannot_write_leaves_the_rest_to_the_next_start(
        self, run: Run, caplog: pytest.LogCaptureFixture
    ) -> None:
        run.append(*FIRST)
        run.disk.fail("write", partition_log(0), error=NO_ROOM, times=None)
        run.system.stop()
        assert run.disk.open_files == run.disk.held_locks == ()
        assert run.again(run.disk.power_loss_worst()).read(0) == FIRST

    def test_what_was_not_routed_is_said_at_the_start(
        self, run: Run, caplog: pytest.LogCaptureFixture
    ) -> None:
        run.append(*FIRST)
        with caplog.at_level(logging.INFO):
            run.again(run.disk.kill())
        assert "10 messages routed" in caplog.text


class TestFaults:
    def test_a_full_disk_is_told_and_with_room_all_goes_on(self, run: Run) -> None:
        run.append(*FIRST[:5])
        run.cycle()
        run.disk.capacity_bytes = run.disk.used_bytes
        for call in (
            lambda: run.append("late"),
            lambda: run.system.commit("orders", 0, "ann", 2),
            lambda: run.system.register("orders", "ann"),
        ):
            with pytest.raises(StorageFull):
                call()
        assert run.read(0) == FIRST[:5]
        assert run.system.describe().topics[0].consumers == {}
        run.disk.capacity_bytes = None
        run.append(*FIRST[5:])
        run.cycle()
        run.system.commit("orders", 0, "ann", 2)
        assert run.read(0) == FIRST[2:]

    def test_a_full_disk_that_stops_routing_is_a_problem_until_there_is_room(
        self, run: Run
    ) -> None:
        run.append(*FIRST)
        run.disk.capacity_bytes = run.disk.used_bytes + 10
        assert run.cycle() is Outcome.BLOCKED
        file, routing = run.system.problems()
        assert file.startswith("partition 0 of topic 'orders' cannot be written (")
        assert "partition_0.log" in routing
        run.disk.capacity_bytes = None
        assert run.cycle() is Outcome.IDLE
        assert run.system.problems() == []
        assert run.read(0) == FIRST

    @pytest.mark.parametrize(
        ("path", "name"),
        [
            (INGRESS_LOG, "the ingress log"),
            (JOURNAL, "the offsets file of topic 'orders'"),
            (TPC_LOG, "TPC.log"),
        ],
    )
    def test_a_refused_write_is_a_problem_until_there_is_room_though_nobody_tries_again(
        self, run: Run, path: Path, name: str
    ) -> None:
        run.append(*FIRST)
        run.cycle()
        no_room = OSError(errno.ENOSPC, "no room")
        run.disk.fail(
            "write", lambda written: written.name.startswith(path.name), error=no_room, times=None
        )
        for call in (
            lambda: run.append("more"),
            lambda: run.system.register("orders", "ann"),
            lambda: run.system.commit("orders", 0, "ann", 1),
        ):
            with suppress(StorageFull):
                call()
        for _ in range(2):
            (problem,) = run.system.problems()
            assert problem.startswith(f"{name} cannot be written (")
            assert "no room" in problem
        run.disk.heal()
        assert run.system.problems() == []
        before = run.read(0)
        run.append("more")
        run.cycle()
        assert run.read(0)[: len(before)] == before

    @pytest.mark.parametrize(
        ("path", "name"),
        [
            (INGRESS_LOG, "the ingress log"),
            (partition_log(0), "partition 0 of topic 'orders'"),
            (JOURNAL, "the offsets file of topic 'orders'"),
            (TPC_LOG, "TPC.log"),
        ],
    )
    def test_a_file_whose_sync_failed_is_a_problem_by_its_name(
        self, run: Run, path: Path, name: str
    ) -> None:
        run.append(*FIRST)
        assert run.system.problems() == []
        run.disk.fail("sync", lambda synced: synced.name.startswith(path.name))
        for call in (
            run.cycle,
            lambda: run.append("more"),
            lambda: run.system.register("orders", "ann"),
            lambda: run.system.commit("orders", 0, "ann", 1),
        ):
            with suppress(StorageFailed):
                call()
        assert any(problem.startswith(f"{name} is closed") for problem in run.system.problems())

    def test_after_a_failed_sync_the_next_run_has_all_that_was_answered(self, run: Run) -> None:
        run.append(*FIRST)
        run.disk.fail("sync", partition_log(0))
        run.cycle()
        with pytest.raises(StorageFailed):
            run.append("late")
        assert run.read(0) == FIRST
        run.system.stop()
        assert run.again(run.disk.power_loss_worst()).read(0) == FIRST

    def test_a_dead_actor_is_named(self, run: Run) -> None:
        assert run.system._crew
        run.system._crew.partitions["orders"][1].stop(block=True, timeout=0)
        assert run.system.dead_actors() == ["partition 1 of orders"]
        (problem,) = run.system.problems()
        assert "partition 1 of orders" in problem

    def test_without_problems_there_are_none(self, run: Run) -> None:
        assert run.system.problems() == []
        run.append(*FIRST)
        run.cycle()
        assert run.system.problems() == []

    @pytest.mark.parametrize("error", [NO_ROOM, OSError(errno.EIO, "broken")])
    @pytest.mark.parametrize(
        "operation", ["write", "sync", "truncate", "open", "replace", "delete", "sync_folder"]
    )
    def test_whichever_call_of_the_disk_fails_what_is_answered_is_there_once_and_in_order(
        self, operation: Any, error: OSError
    ) -> None:
        for after in range(25):
            disk = SimulatedDisk()
            run = Run.begun(disk, small_config(checkpoint_bytes=1))
            fault = disk.fail(operation, after=after, error=error)
            answered = []
            for id_ in FIRST:
                with suppress(PandaqError):
                    run.append(id_, size=100)
                    answered.append(id_)
                run.cycle()
                with suppress(PandaqError):
                    run.system.commit("orders", 0, "ann", run.offsets(0).read)
            got = run.again(disk.power_loss_worst()).read(0)
            assert [id_ for id_ in got if id_ in answered] == answered
            assert len(set(got)) == len(got)
            if not fault.hits:
                break


class TestRetention:
    @pytest.fixture(autouse=True)
    def at_every_cycle(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(broker_module, "RETENTION_INTERVAL_S", 0)

    def begun(self, disk: SimulatedDisk, checkpoint_bytes: int) -> Run:
        retention = Retention(max_age_ms=None, keep_committed=False)
        config = small_config(retention=retention, checkpoint_bytes=checkpoint_bytes)
        return Run.begun(disk, config)

    def test_committed_segments_go_and_nothing_else_changes(self, disk: SimulatedDisk) -> None:
        run = self.begun(disk, checkpoint_bytes=1)
        for _ in range(5):
            run.append(*FIRST, size=100)
            run.cycle()
        run.system.commit("orders", 0, "ann", 47)
        before = run.disk.used_bytes
        run.append(*FIRST, size=100)
        run.cycle()
        assert run.disk.used_bytes < before
        assert offsets_of(run.system.read("orders", 0, ALL)) == list(range(48, 61))

    def test_what_retention_deletes_a_crash_does_not_bring_back(self, disk: SimulatedDisk) -> None:
        """A recovery cuts back to the checkpoint, so what stands behind it must be there."""
        run = self.begun(disk, checkpoint_bytes=2_000)
        for number in range(1, 40):
            run.append(FIRST[number % 10], size=100)
            run.cycle()
            run.system.commit("orders", 0, "ann", number)
            after = run.again(run.disk.kill())
            assert after.offsets(0) == Offsets(number, number)
            assert after.read(0) == []


class TestTopicsThatChange:
    def test_a_topic_that_grows_keeps_what_it_has(self, run: Run) -> None:
        run.append(*FIRST, *SECOND)
        run.system.stop()
        topics = [TopicConfig("orders", 3), TopicConfig("events", 1)]
        after = Run.begun(run.disk, small_config(topics=topics))
        assert (after.read(0), after.read(1), after.read(2)) == (FIRST, SECOND, [])
        assert after.system.topics == {"orders": 3, "events": 1}
