"""Whatever is done to a broker, and wherever it ends, a start makes it whole again."""

import copy
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pandaq.config import Config, Retention
from pandaq.routing import partition_for
from pandaq.storage.findings import Damage, Missing
from pandaq.storage.tpc_log import Assignment
from tests.simulated_disk import Operation, SimulatedDisk
from tests.storage.plain_broker import ALL, Clock, PlainBroker, small_config

Partition = tuple[str, int]
End = Literal["kill", "power", "power, entries in any order"]

TOPICS: Final = {"orders": 2, "events": 1}
DELETING: Final = Retention(max_age_ms=None, max_bytes=700, keep_committed=False)


class Stop(BaseException):
    """The moment at which a test ends the process."""


@dataclass(slots=True)
class Model:
    """What must be true of a broker after a start: plain facts, kept outside of it.

    A call is noted before it begins and again when it has returned; in between, and for ever where
    it never returns, its outcome is unknown.
    """

    produced: list[tuple[str, str]] = field(default_factory=list)
    """Topic and messageId, in order."""
    acknowledged: set[str] = field(default_factory=set)
    ingress_offsets: set[int] = field(default_factory=set)
    """The offsets that acknowledged messages had in the ingress log."""
    seen: dict[Partition, dict[int, str]] = field(default_factory=dict)
    """What a consumer has ever been able to see, by offset."""
    deleted: dict[Partition, int] = field(default_factory=dict)
    """The offset up to which retention may have deleted."""
    read: dict[Partition, tuple[int, int]] = field(default_factory=dict)
    """The lowest and the highest that readOffset may be."""
    assignments: list[list[Assignment]] = field(default_factory=lambda: [[]])
    """What the assignments may be."""

    def producing(self, topic_id: str, count: int) -> list[str]:
        ids = [f"m{len(self.produced) + number}" for number in range(count)]
        self.produced += [(topic_id, id_) for id_ in ids]
        return ids

    def see(self, partition: Partition, messages: dict[int, str]) -> None:
        self.seen.setdefault(partition, {}).update(messages)

    def committing(self, partition: Partition, offset: int) -> None:
        low, high = self.read.get(partition, (0, 0))
        self.read[partition] = low, max(high, offset)

    def committed(self, partition: Partition, offset: int) -> None:
        self.read[partition] = offset, offset

    def check(self, broker: PlainBroker, counts: list[int]) -> None:
        """Compare with a broker that has just started; what it shows now must stay."""
        times: Counter[str] = Counter()
        for partition, queue in broker.queues().items():
            messages = broker.messages(*partition)
            self._check_partition(partition, messages, queue.log.end)
            times.update(messages.values())
            seen = self.seen.get(partition, {})
            times.update(seen[offset] for offset in seen.keys() - messages.keys())
            if partition[0] == "orders":
                for id_ in messages.values():
                    assert partition[1] in {partition_for(id_.encode(), count) for count in counts}
            low, high = self.read.get(partition, (0, 0))
            assert low <= queue.offsets.read <= high
            assert queue.offsets.read <= queue.offsets.log_end == queue.log.end
            self.committed(partition, queue.offsets.read)
            self.see(partition, messages)
            self._check_reading(broker, partition)
        assert {id_: times[id_] for id_ in self.acknowledged} == dict.fromkeys(self.acknowledged, 1)
        assert all(count == 1 for count in times.values())
        assert times.keys() <= {id_ for _, id_ in self.produced}
        assert broker.store.ingress.offsets.pending == 0
        assert broker.store.assignments in self.assignments
        self.assignments = [broker.store.assignments]
        self._check_findings(broker)

    def _check_partition(
        self, partition: Partition, messages: dict[int, str], log_end: int
    ) -> None:
        deleted = self.deleted.get(partition, 0)
        start = min(messages, default=log_end + 1)
        assert start <= deleted + 1
        assert list(messages) == list(range(start, log_end + 1))
        seen = self.seen.get(partition, {})
        assert all(
            messages.get(offset) == id_ for offset, id_ in seen.items() if offset >= start
        ), f"{partition}: {seen} were seen, {messages} are there"
        topic_of = {id_: topic for topic, id_ in self.produced}
        assert {topic_of[id_] for id_ in messages.values()} <= {partition[0]}
        numbers = [int(id_[1:]) for id_ in messages.values()]
        assert numbers == sorted(numbers)

    def _check_reading(self, broker: PlainBroker, partition: Partition) -> None:
        queue = broker.queue(*partition)
        batch = queue.read(ALL, ALL)
        assert batch.end_offset == queue.offsets.log_end
        assert batch.count == queue.offsets.pending

    def _check_findings(self, broker: PlainBroker) -> None:
        """An end costs nothing that was acknowledged, so nothing of it is said to be lost."""
        for finding in broker.store.findings:
            if isinstance(finding, Damage | Missing) and finding.first <= finding.last:
                lost = range(finding.first, finding.last + 1)
                assert finding.path.name.startswith("ingress."), str(finding)
                assert self.ingress_offsets.isdisjoint(lost), str(finding)


class Run:
    """A broker, its disk and the model, through many starts."""

    def __init__(self, config: Config, disk: SimulatedDisk | None = None) -> None:
        self.config = config
        self.disk = disk or SimulatedDisk()
        self.model = Model()
        self.clock = Clock()
        self.counts = [2]
        self.broker = PlainBroker(self.disk, config, self.clock)

    def produce(self, topic_id: str, count: int, size: int) -> None:
        ids = self.model.producing(topic_id, count)
        first = self.broker.store.ingress.offsets.log_end + 1
        self.broker.produce(topic_id, *ids, content=b'"%b"' % (b"x" * size))
        self.model.acknowledged.update(ids)
        self.model.ingress_offsets.update(range(first, first + count))

    def commit(self, partition: Partition, share: float) -> None:
        offsets = self.broker.queue(*partition).offsets
        offset = offsets.read + round(share * offsets.pending)
        self.model.committing(partition, offset)
        self.broker.commit(*partition, offset)
        self.model.committed(partition, offset)

    def consume(self) -> None:
        for partition in self.broker.queues():
            self.model.see(partition, self.broker.messages(*partition))

    def retain(self) -> None:
        self.broker.checkpoint()
        self.consume()
        for partition, queue in self.broker.queues().items():
            self.model.deleted[partition] = queue.offsets.read
            self.broker.retain(*partition)

    def register(self) -> None:
        new = [
            *self.model.assignments[0][-1:],
            Assignment("orders", 0, f"consumer-{self.disk.syncs.total()}"),
        ]
        self.model.assignments.append(new)
        self.broker.assign(*new)
        self.model.assignments = [new]

    def do(self, step: "Step") -> None:
        """Do a step; where it is told to stop in the middle, end there and start again."""
        self.clock.now_ms += step.number % 3
        with stopping(self.disk, step.stop_after, step.number) as stopped:
            self.act(step)
        if stopped or step.action == "end":
            self.start_again(step)

    def start_again(self, step: "Step") -> None:
        """End the process, and as often in the middle of the start behind it as the step says."""
        self.disk = ended(self.disk, step.end, step.number)
        self.clock.now_ms += step.number % 2
        if step.grow:
            count = self.counts[-1] + 1
            self.counts.append(count)
            self.config = small_config(
                {"orders": count, "events": 1},
                segment_bytes=self.config.segment_bytes,
                tail_bytes=self.config.tail_bytes,
                retention=self.config.retention,
            )
        for number, stop_after in enumerate(step.stops_in_start):
            with stopping(self.disk, stop_after, step.number):
                PlainBroker(self.disk, self.config, self.clock).store.close()
            self.disk = ended(self.disk, step.end, step.number + number)
        self.broker = PlainBroker(self.disk, self.config, self.clock)
        self.model.check(self.broker, self.counts)

    def close(self) -> None:
        """Stop cleanly; nothing stays open, and the next start has nothing to say."""
        self.consume()
        self.broker.stop()
        assert not self.disk.open_files
        assert not self.disk.held_locks
        self.disk = self.disk.power_loss_worst()
        self.broker = PlainBroker(self.disk, self.config, self.clock)
        assert self.broker.store.routed == 0
        self.model.check(self.broker, self.counts)
        self.broker.store.close()
        assert not self.disk.open_files
        assert not self.disk.held_locks

    def act(self, step: "Step") -> None:
        number = step.number
        partitions = list(self.broker.queues())
        match step.action:
            case "produce":
                self.produce(["orders", "events"][number % 2], 1 + number % 7, number % 90)
            case "route":
                self.broker.route(1 + number % 9)
                if number % 2:
                    self.consume()
            case "checkpoint":
                self.broker.checkpoint()
            case "commit":
                self.commit(partitions[number % len(partitions)], number % 11 / 10)
            case "retain":
                self.retain()
            case "register":
                self.register()
            case "stop":
                self.broker.stop()
                self.broker = PlainBroker(self.disk, self.config, self.clock)
                self.model.check(self.broker, self.counts)
            case "end":
                pass


@contextmanager
def stopping(disk: SimulatedDisk, after: int | None, number: int) -> Iterator[list[Stop]]:
    """End the block after so many calls of the disk; the list says whether that was needed.

    Some end in the middle of a write, as `number` has it.
    """
    stopped: list[Stop] = []
    if after is not None and number % 3:
        calls = count()

        def end(_path: Path) -> bool:
            if next(calls) >= after:
                raise Stop
            return False

        disk.fail("*", end)
    elif after is not None:
        disk.fail("write", after=after // 4, times=None, error=Stop(), written=number % 50)
    try:
        yield stopped
    except Stop as stop:
        stopped.append(stop)
    finally:
        disk.heal()


def ended(disk: SimulatedDisk, end: End, seed: int) -> SimulatedDisk:
    """Return what the disk has after the end of the process or of the machine."""
    match end:
        case "kill":
            return disk.kill()
        case "power":
            return disk.crash(random.Random(seed))
        case _:
            return disk.crash(random.Random(seed), entries_in_order=False)


Action = Literal["produce", "route", "checkpoint", "commit", "retain", "register", "stop", "end"]
ACTIONS: Final[list[Action]] = [
    "produce",
    "route",
    "checkpoint",
    "commit",
    "retain",
    "register",
    "stop",
    "end",
]
CHANGES: Final[list[Operation]] = [
    "open",
    "write",
    "truncate",
    "sync",
    "replace",
    "delete",
    "delete_folder",
    "sync_folder",
]
ENDS: Final[list[End]] = ["kill", "power", "power, entries in any order"]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a run; `number` decides all that the other fields do not."""

    action: Action
    number: int
    stop_after: int | None
    """How many calls of the disk go well before the process ends; None where it does not."""
    end: End
    stops_in_start: tuple[int, ...]
    grow: bool


def random_step(choices: random.Random) -> Step:
    action = choices.choice([*ACTIONS[:4], *ACTIONS[:4], *ACTIONS])
    stops = choices.choice([0, 0, 0, 1, 2])
    return Step(
        action,
        choices.randint(0, 1_000_000),
        choices.choice([None, None, None, choices.randint(0, 30)]),
        choices.choice(ENDS),
        tuple(
            choices.choice([choices.randint(0, 50), choices.randint(0, 250)]) for _ in range(stops)
        ),
        choices.random() < 0.1,
    )


STEPS: Final = st.builds(
    Step,
    st.sampled_from(ACTIONS),
    st.integers(0, 1_000_000),
    st.none() | st.integers(0, 30),
    st.sampled_from(ENDS),
    st.lists(st.integers(0, 200), max_size=2).map(tuple),
    st.booleans(),
)


def run_steps(steps: list[Step], segment_bytes: int, tail_bytes: int) -> None:
    config = small_config(
        TOPICS, segment_bytes=segment_bytes, tail_bytes=tail_bytes, retention=DELETING
    )
    run = Run(config)
    for step in steps:
        run.do(step)
    run.close()


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
@given(
    st.lists(STEPS, min_size=1, max_size=25),
    st.integers(256, 2_000),
    st.sampled_from([0, 3_000, 1_000_000]),
)
def test_no_end_loses_repeats_or_moves_a_message(
    steps: list[Step], segment_bytes: int, tail_bytes: int
) -> None:
    run_steps(steps, segment_bytes, tail_bytes)


@pytest.mark.parametrize("seed", range(100))
def test_a_long_life_of_many_ends_loses_repeats_and_moves_nothing(seed: int) -> None:
    choices = random.Random(seed)
    steps = [random_step(choices) for _ in range(60)]
    run_steps(steps, choices.randint(256, 2_000), choices.choice([0, 3_000, 1_000_000]))


@pytest.mark.parametrize("segment_bytes", [256, 600, 2_000])
def test_every_moment_of_a_life_survives_every_kind_of_end(segment_bytes: int) -> None:
    """Thousands of images, made before every call that changes the disk."""
    choices = random.Random(segment_bytes)
    run = Run(small_config(TOPICS, segment_bytes=segment_bytes, retention=DELETING))
    images = 0

    def end_here(_path: Path) -> bool:
        nonlocal images
        for end in ENDS:
            image = ended(run.disk, end, choices.randint(0, 1_000_000))
            if choices.randint(0, 2) == 0:
                with stopping(image, choices.randint(0, 200), choices.randint(1, 2)):
                    PlainBroker(image, run.config, run.clock)
                image = ended(image, choices.choice(ENDS), choices.randint(0, 1_000_000))
            broker = PlainBroker(image, run.config, run.clock)
            copy.deepcopy(run.model).check(broker, run.counts)
            broker.store.close()
            assert not image.open_files
            assert not image.held_locks
            images += 1
        return False

    for operation in CHANGES:
        run.disk.fail(operation, end_here)
    for _ in range(40):
        run.clock.now_ms += choices.randint(0, 1)
        run.act(random_step(choices))
    run.disk.heal()
    run.close()
    assert images > 500
