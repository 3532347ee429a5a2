"""The broker loop: nothing is taken from ingress before its partition has it, once."""

import errno
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from pandaq.actors import broker as broker_module
from pandaq.actors.asking import send
from pandaq.actors.broker import Broker
from pandaq.actors.delay import Delay
from pandaq.actors.ingress import Ingress
from pandaq.actors.journal import JournalKeeper
from pandaq.actors.messages import (
    Append,
    AppendRouted,
    Commit,
    Cycle,
    DescribeQueue,
    DescribeTrouble,
    Drain,
    Outcome,
    QueueDescription,
    Read,
    Refuse,
    Release,
    Retain,
    Sync,
    TakeDue,
)
from pandaq.actors.partition import Partition
from pandaq.actors.topic import Topic
from pandaq.batch import Batch
from pandaq.config import Config
from pandaq.errors import OutcomeUnknown, StorageFailed, StorageFull
from pandaq.offsets import Offsets
from pandaq.storage.checkpoint import read_checkpoint
from pandaq.storage.delayed import KEY, Due
from pandaq.storage.journal import partition_key
from pandaq.storage.recovery import open_store
from pandaq.storage.store import Store
from tests.actors.stage import (
    ALL,
    CHECKPOINT,
    INGRESS_LOG,
    Clock,
    FakeRef,
    FakeTime,
    body,
    ids,
    ids_for,
    is_answered,
    partition_log,
    payload,
    routed,
    small_config,
)
from tests.inline import InlineRef
from tests.simulated_disk import SimulatedDisk, Step

NO_ROOM: Final = OSError(errno.ENOSPC, "no room")
PENDING: Final = [body("a"), body("b", topic_id="events"), body("c")]


class Scene:
    """A broker between an ingress and two topics that only note what they are asked, in order."""

    def __init__(self, store: Store, config: Config, bodies: list[bytes]) -> None:
        self.steps: list[tuple[str, Any]] = []
        self.failures: dict[str, Exception] = {}
        lines = [b"broker_1|%d|%b" % (n, each) for n, each in enumerate(bodies, 1)]
        self.batch = Batch(0, len(lines), lines)
        self.ingress = FakeRef(self._answer("ingress"))
        self.topics = {name: FakeRef(self._answer(name)) for name in ("orders", "events")}
        self.delay = FakeRef(self._answer("delay"))
        self.broker = Broker(
            self.ingress, self.delay, self.topics, store.checkpoints, config, Clock()
        )

    def cycle(self) -> Outcome:
        outcome: Outcome = self.broker.on_receive(Cycle()).outcome
        return outcome

    def asked(self, *kinds: type[Any]) -> list[tuple[str, Any]]:
        """Return what was asked of whom since the last look, of some kinds of messages."""
        steps = [step for step in self.steps if isinstance(step[1], kinds)]
        self.steps.clear()
        return steps

    def _answer(self, name: str) -> Callable[[Any], Any]:
        def answer(message: Any) -> Any:
            self.steps.append((name, message))
            if name in self.failures:
                raise self.failures[name]
            match message:
                case Read():
                    return self.batch
                case Commit(offset):
                    self.batch = Batch(offset, offset, [])
                    return Offsets(offset, offset)
                case DescribeQueue():
                    return QueueDescription(Offsets(9, self.batch.start_offset), 0, None)
                case TakeDue():
                    return Due([], [])
                case Sync() if name == "delay":
                    return {KEY: Offsets(7, 2)}
                case Sync():
                    return {} if name == "ingress" else {partition_key(name, 0): Offsets(5, 4)}
                case _:
                    return None

        return answer


class TestOneCycle:
    def test_a_batch_is_read_given_to_its_topics_and_then_taken_from_ingress(
        self, store: Store
    ) -> None:
        scene = Scene(store, small_config(), PENDING)
        assert scene.cycle() is Outcome.IDLE
        assert scene.asked(Read, AppendRouted, Commit) == [
            ("ingress", Read(20_000, broker_module.CYCLE_BYTES)),
            ("orders", routed((1, payload("a")), (3, payload("c")))),
            ("events", routed((2, payload("b")))),
            ("ingress", Commit(3)),
        ]

    def test_a_full_batch_is_followed_by_the_next_at_once(self, store: Store) -> None:
        assert Scene(store, small_config(batch_size=3), PENDING).cycle() is Outcome.MORE
        assert Scene(store, small_config(batch_size=4), PENDING).cycle() is Outcome.IDLE

    def test_where_there_is_nothing_nobody_else_is_asked(self, store: Store) -> None:
        scene = Scene(store, small_config(), [])
        scene.cycle()
        scene.asked()
        assert scene.cycle() is Outcome.IDLE
        assert scene.asked(object) == [("ingress", Read(20_000, broker_module.CYCLE_BYTES))]

    def test_what_damage_has_left_empty_is_passed_over(self, store: Store) -> None:
        scene = Scene(store, small_config(), [])
        scene.batch = Batch(4, 7, [])
        scene.cycle()
        assert scene.asked(AppendRouted, Commit) == [("ingress", Commit(7))]

    def test_where_a_topic_fails_nothing_is_taken_and_the_same_comes_again(
        self, store: Store
    ) -> None:
        scene = Scene(store, small_config(), PENDING)
        scene.failures["events"] = StorageFull("a.log")
        for _ in range(2):
            assert scene.cycle() is Outcome.BLOCKED
            asked = [name for name, _ in scene.asked(Read, AppendRouted, Commit)]
            assert asked == ["ingress", "orders", "events"]
        del scene.failures["events"]
        assert scene.cycle() is Outcome.IDLE
        assert scene.asked(Commit) == [("ingress", Commit(3))]

    def test_a_topic_that_does_not_answer_blocks_the_loop_and_does_not_end_it(
        self, store: Store
    ) -> None:
        scene = Scene(store, small_config(), PENDING)
        scene.failures["orders"] = OutcomeUnknown(1)
        assert scene.cycle() is Outcome.BLOCKED
        assert scene.ingress.told == []

    def test_an_ingress_that_cannot_be_read_blocks_the_loop(self, store: Store) -> None:
        scene = Scene(store, small_config(), PENDING)
        scene.failures["ingress"] = StorageFailed("a.log", "cannot be read")
        assert scene.cycle() is Outcome.BLOCKED

    def test_a_defect_is_the_askers(self, store: Store) -> None:
        scene = Scene(store, small_config(), PENDING)
        scene.failures["orders"] = ZeroDivisionError()
        with pytest.raises(ZeroDivisionError):
            scene.cycle()
        assert scene.asked(Commit) == []


class TestTrouble:
    def test_it_is_told_until_it_is_over_and_logged_once(
        self, store: Store, caplog: pytest.LogCaptureFixture
    ) -> None:
        scene = Scene(store, small_config(), PENDING)
        assert scene.broker.on_receive(DescribeTrouble()) is None
        scene.failures["orders"] = StorageFull("a.log")
        with caplog.at_level(logging.ERROR):
            scene.cycle()
            scene.cycle()
        assert "a.log" in scene.broker.on_receive(DescribeTrouble())
        assert len(caplog.records) == 1
        scene.failures.clear()
        scene.cycle()
        assert scene.broker.on_receive(DescribeTrouble()) is None

    def test_no_room_is_no_reason_to_refuse_producers(self, store: Store) -> None:
        scene = Scene(store, small_config(), PENDING)
        scene.failures["orders"] = StorageFull("a.log")
        scene.cycle()
        assert scene.ingress.told == []

    def test_a_file_that_is_closed_for_good_is(self, store: Store) -> None:
        scene = Scene(store, small_config(), PENDING)
        error = StorageFailed("a.log", "sync failed", closed=True)
        scene.failures["orders"] = error
        scene.cycle()
        assert scene.ingress.told == [Refuse(error)]

    def test_an_ingress_that_has_stopped_does_not_end_the_loop(self, store: Store) -> None:
        scene = Scene(store, small_config(), PENDING)
        scene.failures["orders"] = StorageFailed("a.log", "sync failed", closed=True)

        def die(message: Any) -> Batch:
            scene.ingress.alive = False
            return scene.batch

        scene.ingress.answer = die
        assert scene.cycle() is Outcome.BLOCKED
        assert scene.cycle() is Outcome.BLOCKED


class TestWhatIsDue:
    def test_a_checkpoint_is_the_syncs_the_offsets_then_the_file_then_the_release(
        self, store: Store, disk: SimulatedDisk
    ) -> None:
        scene = Scene(store, small_config(checkpoint_bytes=1), PENDING)
        scene.cycle()
        assert scene.asked(Sync, DescribeQueue, Release) == [
            ("orders", Sync()),
            ("events", Sync()),
            ("delay", Sync()),
            ("ingress", DescribeQueue()),
            ("ingress", Release(3)),
            ("delay", Release(2)),
        ]
        checkpoint = read_checkpoint(disk.power_loss_worst(), CHECKPOINT)
        assert checkpoint
        assert checkpoint.ingress == Offsets(9, 3)
        assert checkpoint.partitions == {
            "orders_partition_0": Offsets(5, 4),
            "events_partition_0": Offsets(5, 4),
            KEY: Offsets(7, 2),
        }

    def test_nothing_new_needs_no_checkpoint(self, store: Store) -> None:
        scene = Scene(store, small_config(checkpoint_bytes=1), PENDING)
        scene.cycle()
        scene.asked()
        scene.cycle()
        assert scene.asked(Sync, Release) == []

    def test_between_two_checkpoints_there_are_so_many_bytes_or_so_much_time(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        time = FakeTime()
        monkeypatch.setattr(broker_module, "time", time)
        line = len(b"broker_1|1|" + body("a"))
        config = small_config(checkpoint_bytes=2 * line, checkpoint_interval_ms=1_000)
        scene = Scene(store, config, [])

        def is_written_with(bodies: list[bytes]) -> bool:
            start = scene.batch.end_offset
            lines = [b"broker_1|1|" + each for each in bodies]
            scene.batch = Batch(start, start + len(lines), lines)
            scene.cycle()
            return bool(scene.asked(Release))

        assert is_written_with([body("a")])
        assert not is_written_with([body("a")])
        assert is_written_with([body("a")])
        time.now_s += 1
        assert not is_written_with([])
        assert is_written_with([body("a")])
        time.now_s += 0.999
        assert not is_written_with([body("a")])
        time.now_s += 0.001
        assert is_written_with([])

    def test_a_cycle_that_failed_half_way_writes_no_checkpoint(self, store: Store) -> None:
        scene = Scene(store, small_config(checkpoint_bytes=1), PENDING)
        scene.failures["events"] = StorageFull("a.log")
        scene.cycle()
        assert scene.asked(Sync, Release) == []

    def test_a_checkpoint_that_cannot_be_written_releases_nothing_and_is_tried_again(
        self, store: Store, disk: SimulatedDisk
    ) -> None:
        scene = Scene(store, small_config(checkpoint_bytes=1), PENDING)
        disk.fail("write", "ingress_metadata.log.tmp", error=NO_ROOM)
        assert scene.cycle() is Outcome.BLOCKED
        assert scene.asked(Release) == []
        assert scene.cycle() is Outcome.IDLE
        assert scene.asked(Release) == [("ingress", Release(3)), ("delay", Release(2))]

    @pytest.mark.parametrize("fails", [False, True])
    def test_durability_by_interval_syncs_ingress_also_where_routing_waits(
        self, store: Store, monkeypatch: pytest.MonkeyPatch, *, fails: bool
    ) -> None:
        time = FakeTime()
        monkeypatch.setattr(broker_module, "time", time)
        config = small_config(durability="interval", sync_interval_ms=50)
        scene = Scene(store, config, PENDING)
        if fails:
            scene.failures["orders"] = StorageFull("a.log")
        found = []
        for _ in range(4):
            scene.cycle()
            found.append(("ingress", Sync()) in scene.asked(Sync))
            time.now_s += 0.025
        assert found == [True, False, True, False]

    @pytest.mark.parametrize("durability", ["fsync", "os"])
    def test_any_other_durability_does_not(self, store: Store, durability: str) -> None:
        scene = Scene(store, small_config(durability=durability), PENDING)
        scene.cycle()
        assert ("ingress", Sync()) not in scene.asked(Sync)

    @pytest.mark.parametrize("fails", [False, True])
    def test_retention_goes_up_to_the_last_checkpoint_also_where_routing_waits(
        self, store: Store, monkeypatch: pytest.MonkeyPatch, *, fails: bool
    ) -> None:
        monkeypatch.setattr(broker_module, "RETENTION_INTERVAL_S", 0)
        scene = Scene(store, small_config(), PENDING)
        ends = {"orders_partition_0": 7}
        store.checkpoints.write(Offsets(), {"orders_partition_0": Offsets(7, 3)})
        if fails:
            scene.failures["orders"] = StorageFull("a.log")
        scene.cycle()
        assert scene.asked(Retain) == [("orders", Retain(ends)), ("events", Retain(ends))]

    def test_retention_is_looked_after_now_and_then(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        time = FakeTime()
        monkeypatch.setattr(broker_module, "time", time)
        scene = Scene(store, small_config(), [])
        counts = []
        for _ in range(3):
            scene.cycle()
            counts.append(len(scene.asked(Retain)))
            time.now_s += broker_module.RETENTION_INTERVAL_S * 0.5
        assert counts == [2, 0, 2]


class TestDraining:
    def test_all_is_routed_and_a_checkpoint_written(self, store: Store) -> None:
        scene = Scene(store, small_config(), PENDING)
        assert scene.broker.on_receive(Drain(5)) is Outcome.IDLE
        assert scene.asked(Commit, Release) == [
            ("ingress", Commit(3)),
            ("ingress", Release(3)),
            ("delay", Release(2)),
        ]

    def test_where_time_is_over_the_rest_is_left_and_the_checkpoint_written(
        self, store: Store, caplog: pytest.LogCaptureFixture
    ) -> None:
        scene = Scene(store, small_config(batch_size=1), PENDING)
        assert scene.broker.on_receive(Drain(-1)) is Outcome.IDLE
        assert scene.asked(Release) == [("ingress", Release(3)), ("delay", Release(2))]
        assert "could be routed in time" in caplog.text

    def test_what_cannot_be_routed_is_left_without_a_checkpoint(self, store: Store) -> None:
        scene = Scene(store, small_config(), PENDING)
        scene.failures["orders"] = StorageFull("a.log")
        assert scene.broker.on_receive(Drain(5)) is Outcome.BLOCKED
        assert scene.asked(Release) == []


class Cast:
    """A broker with all that it asks, inline and on a simulated disk."""

    def __init__(self, disk: SimulatedDisk, clock: Clock, config: Config) -> None:
        self.store = open_store(config, disk, clock)
        self.ingress = InlineRef(Ingress(self.store.ingress, {}, clock, config))
        self.partitions: dict[str, list[InlineRef]] = {}
        topics = {}
        for topic_id, topic in self.store.topics.items():
            journal = InlineRef(JournalKeeper(topic.journal))
            refs = [
                InlineRef(
                    Partition(topic_id, number, queue, journal, {}, topic.retention, clock, 5)
                )
                for number, queue in enumerate(topic.partitions)
            ]
            self.partitions[topic_id] = refs
            topics[topic_id] = InlineRef(Topic(refs, 5))
        delay = InlineRef(Delay(self.store.delayed, clock, ALL))
        self.broker = Broker(self.ingress, delay, topics, self.store.checkpoints, config, clock)

    def append(self, *bodies: bytes) -> None:
        self.ingress.ask(Append(list(bodies))).get(timeout=0)

    def cycle(self) -> Outcome:
        outcome: Outcome = self.broker.on_receive(Cycle()).outcome
        return outcome

    def ids(self, number: int) -> list[str]:
        partition = self.partitions["orders"][number]
        return ids(partition.ask(Read(ALL, ALL)).get(timeout=0))

    def pending(self) -> int:
        description: QueueDescription = self.ingress.ask(DescribeQueue()).get(timeout=0)
        return description.offsets.pending


@pytest.fixture
def cast(disk: SimulatedDisk, clock: Clock) -> Cast:
    return Cast(disk, clock, small_config(checkpoint_bytes=1))


FIRST: Final = ids_for(0, 6)
SECOND: Final = ids_for(1, 6)
MIXED: Final = [body(id_) for pair in zip(FIRST, SECOND, strict=True) for id_ in pair]


class TestTheWholeLoop:
    def test_the_checkpoint_comes_after_all_syncs_and_before_the_release(
        self, cast: Cast, disk: SimulatedDisk
    ) -> None:
        for number in range(12):  # so much that ingress segments are sealed
            cast.append(body(FIRST[number % 6], 100), body(SECOND[number % 6], 100))
        disk.trace.clear()
        cast.cycle()
        checkpoint = disk.trace.index(Step("replace", CHECKPOINT))
        syncs = [disk.trace.index(Step("sync", partition_log(number))) for number in range(2)]
        deleted = [
            index
            for index, step in enumerate(disk.trace)
            if step.operation == "delete" and step.path.match("ingress.0*.log")
        ]
        assert max(syncs) < checkpoint < min(deleted)
        assert disk.trace[checkpoint + 1] == Step("sync_folder", CHECKPOINT.parent)

    @pytest.mark.parametrize("number", [0, 1])
    def test_a_partition_without_room_blocks_and_goes_on_with_nothing_lost_or_repeated(
        self, cast: Cast, disk: SimulatedDisk, number: int
    ) -> None:
        cast.append(*MIXED)
        disk.fail("write", partition_log(number), error=NO_ROOM, times=3, written=7)
        for _ in range(3):
            assert cast.cycle() is Outcome.BLOCKED
            assert cast.pending() == 12
        cast.append(*MIXED)
        assert cast.cycle() is Outcome.IDLE
        assert cast.pending() == 0
        assert (cast.ids(0), cast.ids(1)) == (FIRST * 2, SECOND * 2)

    def test_a_crash_while_it_is_blocked_loses_and_repeats_nothing(
        self, cast: Cast, disk: SimulatedDisk, clock: Clock
    ) -> None:
        cast.append(*MIXED[:4])
        cast.cycle()
        cast.append(*MIXED[4:])
        disk.fail("write", partition_log(1), error=NO_ROOM, times=None)
        assert cast.cycle() is Outcome.BLOCKED
        for image in (disk.kill(), disk.power_loss_worst()):
            after = Cast(image, clock, small_config())
            assert (after.ids(0), after.ids(1)) == (FIRST, SECOND)

    def test_a_failed_sync_of_a_partition_refuses_producers_and_lets_consumers_read(
        self, cast: Cast, disk: SimulatedDisk, clock: Clock
    ) -> None:
        cast.append(*MIXED)
        disk.fail("sync", partition_log(1))
        assert cast.cycle() is Outcome.BLOCKED
        for _ in range(2):
            with pytest.raises(StorageFailed, match=r"partition_1\.log"):
                cast.append(body("late"))
            assert cast.cycle() is Outcome.BLOCKED
        assert (cast.ids(0), cast.ids(1)) == (FIRST, SECOND)
        after = Cast(disk.power_loss_worst(), clock, small_config())
        assert (after.ids(0), after.ids(1)) == (FIRST, SECOND)

    def test_a_failed_sync_of_ingress_keeps_what_was_accepted_before(
        self, cast: Cast, disk: SimulatedDisk
    ) -> None:
        cast.append(*MIXED)
        disk.fail("sync", INGRESS_LOG)
        with pytest.raises(StorageFailed):
            cast.append(body("late"))
        cast.cycle()
        assert (cast.ids(0), cast.ids(1)) == (FIRST, SECOND)

    def test_every_batch_size_routes_the_same(self, disk: SimulatedDisk, clock: Clock) -> None:
        for size in (1, 2, 5, 12, 13):
            cast = Cast(SimulatedDisk(), clock, small_config(batch_size=size))
            cast.append(*MIXED)
            while cast.cycle() is Outcome.MORE:
                pass
            assert (cast.ids(0), cast.ids(1)) == (FIRST, SECOND)

    def test_a_large_backlog_is_routed_in_parts(
        self, cast: Cast, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(broker_module, "CYCLE_BYTES", 100)
        cast.append(*MIXED)
        assert cast.cycle() is Outcome.MORE
        while cast.pending():
            cast.cycle()
        assert (cast.ids(0), cast.ids(1)) == (FIRST, SECOND)


def test_an_answer_is_not_left_open(cast: Cast, disk: SimulatedDisk) -> None:
    """Whatever the disk does, who asked Ingress is answered."""
    for after in range(6):
        disk.fail("*", lambda path: path == Path(INGRESS_LOG), after=after)
        assert is_answered(send(cast.ingress, Append([body("a")])))
        disk.heal()
