"""Whatever callers, the disk and its ends do: each message once, in order, at its offset."""

import random
from typing import Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pandaq.actors import broker as broker_module
from pandaq.actors.messages import Cycle, Outcome
from pandaq.actors.system import System
from pandaq.config import Retention
from pandaq.errors import (
    InvalidOffset,
    NoPartitionAvailable,
    NotAssigned,
    StorageFailed,
    StorageFull,
)
from pandaq.routing import partition_for
from tests.actors.stage import ALL, Clock, ids, message, offsets_of, small_config
from tests.inline import spawn_inline
from tests.simulated_disk import SimulatedDisk

Partition = tuple[str, int]

TOPICS: Final = {"orders": 2, "events": 1}
PARTITIONS: Final[list[Partition]] = [("orders", 0), ("orders", 1), ("events", 0)]


class BrokerMachine(RuleBasedStateMachine):
    """A broker beside a plain model of it.

    What was answered is certain. What a failing disk left open is in `doubtful` until a start finds
    it: it may be there or not, and once it was found it stays.
    """

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(broker_module, "RETENTION_INTERVAL_S", 0)
        self.disk = SimulatedDisk()
        self.logs: dict[Partition, list[str]] = {partition: [] for partition in PARTITIONS}
        self.routed: dict[Partition, int] = dict.fromkeys(PARTITIONS, 0)
        self.read: dict[Partition, int] = dict.fromkeys(PARTITIONS, 0)
        self.consumers: dict[Partition, str] = {}
        self.doubtful: list[tuple[Partition, str]] = []
        self.doubtful_read: dict[Partition, int] = {}
        self.doubtful_consumers: dict[Partition, str] = {}
        self.count = 0
        self.is_full = self.is_failing = False

    @initialize(
        segment_bytes=st.integers(256, 1_500),
        tail_bytes=st.sampled_from([0, 2_000, 1 << 20]),
        checkpoint_bytes=st.sampled_from([1, 400, 1 << 20]),
        batch_size=st.sampled_from([1, 3, 1_000]),
        keep_committed=st.booleans(),
    )
    def begin(
        self,
        segment_bytes: int,
        tail_bytes: int,
        checkpoint_bytes: int,
        batch_size: int,
        *,
        keep_committed: bool,
    ) -> None:
        self.config = small_config(
            segment_bytes=segment_bytes,
            tail_bytes=tail_bytes,
            checkpoint_bytes=checkpoint_bytes,
            batch_size=batch_size,
            retention=Retention(max_age_ms=None, keep_committed=keep_committed),
        )
        self.start(self.disk)

    # -- what callers do

    @rule(topic=st.sampled_from(list(TOPICS)), count=st.integers(1, 6), size=st.integers(0, 150))
    def append(self, topic: str, count: int, size: int) -> None:
        new = [f"m{self.count + number}" for number in range(count)]
        self.count += count
        placed = [((topic, partition_for(id_.encode(), TOPICS[topic])), id_) for id_ in new]
        try:
            self.system.append(topic, [message(id_, size) for id_ in new])
        except StorageFull:
            assert self.is_full
        except StorageFailed:
            assert self.is_failing
            self.doubtful += placed
        else:
            for partition, id_ in placed:
                self.logs[partition].append(id_)

    @rule()
    def cycle(self) -> None:
        outcome = self.ask_cycle()
        assert outcome is not Outcome.BLOCKED or self.is_full or self.is_failing

    @rule()
    def cycle_until_idle(self) -> None:
        while (outcome := self.ask_cycle()) is Outcome.MORE:
            pass
        if not (self.is_full or self.is_failing):
            assert outcome is Outcome.IDLE
            assert self.describe_ends() == {key: len(log) for key, log in self.logs.items()}

    @rule(partition=st.sampled_from(PARTITIONS), most=st.integers(1, 5))
    def read_some(self, partition: Partition, most: int) -> None:
        batch = self.system.read(*partition, most)
        start = self.read[partition]
        assert batch.start_offset == start
        assert offsets_of(batch) == list(range(start + 1, start + batch.count + 1))
        assert ids(batch) == self.logs[partition][start : start + batch.count]
        assert batch.count == min(most, self.describe_ends()[partition] - start)

    @rule(
        partition=st.sampled_from(PARTITIONS),
        consumer=st.sampled_from(["ann", "bob"]),
        share=st.floats(0, 1),
    )
    def commit(self, partition: Partition, consumer: str, share: float) -> None:
        end = self.describe_ends()[partition]
        offset = self.read[partition] + round(share * (end - self.read[partition]))
        holder = self.consumers.get(partition)
        try:
            offsets = self.system.commit(*partition, consumer, offset)
        except NotAssigned:
            assert holder not in (None, consumer)
        except StorageFull:
            assert self.is_full
            self.take_over_consumers(partition, consumer)
        except StorageFailed:
            assert self.is_failing
            self.take_over_consumers(partition, consumer)
            self.doubtful_read[partition] = max(offset, self.doubtful_read.get(partition, 0))
        else:
            assert holder in (None, consumer)
            assert (offsets.log_end, offsets.read) == (end, offset)
            self.read[partition] = offset
            self.consumers[partition] = consumer

    @rule(partition=st.sampled_from(PARTITIONS), beyond=st.booleans(), by=st.integers(1, 5))
    def commit_wrongly(self, partition: Partition, by: int, *, beyond: bool) -> None:
        end = self.describe_ends()[partition]
        consumer = self.consumers.get(partition, "eve")
        offset = end + by if beyond else self.read[partition] - by
        with pytest.raises(InvalidOffset):
            self.system.commit(*partition, consumer, offset)

    @rule(topic=st.sampled_from(list(TOPICS)), consumer=st.sampled_from(["ann", "bob", "cid"]))
    def register(self, topic: str, consumer: str) -> None:
        numbers = range(TOPICS[topic])
        held = [n for n in numbers if self.consumers.get((topic, n)) == consumer]
        free = [n for n in numbers if (topic, n) not in self.consumers]
        try:
            number = self.system.register(topic, consumer).partition_id
        except NoPartitionAvailable:
            assert not held
            assert not free
        except StorageFull:
            assert self.is_full
        except StorageFailed:
            assert self.is_failing
            self.doubtful_consumers.setdefault((topic, free[0]), consumer)
        else:
            assert number == (held or free)[0]
            self.consumers[topic, number] = consumer

    # -- what the disk does

    @precondition(lambda self: not self.is_full)
    @rule(room=st.integers(0, 300))
    def run_full(self, room: int) -> None:
        self.disk.capacity_bytes = self.disk.used_bytes + room
        self.is_full = True

    @precondition(lambda self: self.is_full)
    @rule()
    def make_room(self) -> None:
        self.disk.capacity_bytes = None
        self.is_full = False

    @precondition(lambda self: not self.is_failing)
    @rule(after=st.integers(0, 4))
    def fail_a_sync(self, after: int) -> None:
        self.disk.fail("sync", after=after)
        self.is_failing = True

    # -- how a run ends

    @rule()
    def restart(self) -> None:
        everything = not (self.is_full or self.is_failing)
        self.heal()
        self.system.stop()
        assert self.disk.open_files == self.disk.held_locks == ()
        if everything:
            self.disk = self.disk.power_loss_worst()
        self.start(self.disk)

    @rule()
    def kill(self) -> None:
        self.heal()
        self.start(self.disk.kill())

    @rule(seed=st.integers(0, 1_000), in_order=st.booleans())
    def crash(self, seed: int, *, in_order: bool) -> None:
        self.heal()
        self.start(self.disk.crash(random.Random(seed), entries_in_order=in_order))

    # -- what holds at any time

    @invariant()
    def offsets_are_right(self) -> None:
        for partition, end in self.describe_ends().items():
            log = self.logs[partition]
            assert self.routed[partition] <= end <= len(log)
            self.routed[partition] = end
            batch = self.system.read(*partition, ALL)
            assert ids(batch) == log[self.read[partition] : end]
        for topic in self.system.describe().topics:
            for number, queue in enumerate(topic.partitions):
                assert 0 <= queue.offsets.read <= queue.offsets.log_end
                assert queue.offsets.read == self.read[topic.topic_id, number]
                assert topic.consumers.get(number) == self.consumers.get((topic.topic_id, number))

    def teardown(self) -> None:
        try:
            if hasattr(self, "system"):
                self.restart()
                self.cycle_until_idle()
                self.system.stop()
        finally:
            self.patch.undo()

    # -- inside

    def start(self, disk: SimulatedDisk) -> None:
        self.disk = disk
        self.system = System(self.config, disk=disk, clock=Clock(), spawn=spawn_inline)
        self.system.start()
        self.decide_doubts()
        # A start routes all there is.
        assert self.describe_ends() == {key: len(log) for key, log in self.logs.items()}

    def decide_doubts(self) -> None:
        """Take over what the start has found of what a failing disk had left open."""
        description = {topic.topic_id: topic for topic in self.system.describe().topics}
        ends = self.describe_ends()
        for partition, log in self.logs.items():
            surplus = ends[partition] - len(log)
            assert surplus >= 0
            if surplus:
                found = ids(self.system.read(*partition, ALL))[-surplus:]
                doubtful = iter([id_ for where, id_ in self.doubtful if where == partition])
                assert all(id_ in doubtful for id_ in found), "not in order, or nobody sent it"
                log.extend(found)
        for partition in PARTITIONS:
            topic, number = partition
            read = description[topic].partitions[number].offsets.read
            if read != self.read[partition]:
                assert self.read[partition] <= read <= self.doubtful_read[partition]
                self.read[partition] = read
            consumer = description[topic].consumers.get(number)
            if consumer is not None and consumer != self.consumers.get(partition):
                assert consumer == self.doubtful_consumers[partition]
                self.consumers[partition] = consumer
        # What a failed sync left is in doubt for ever: an end of power may bring it back.
        there = {id_ for log in self.logs.values() for id_ in log}
        self.doubtful = [(where, id_) for where, id_ in self.doubtful if id_ not in there]
        self.doubtful_read, self.doubtful_consumers = {}, {}

    def heal(self) -> None:
        self.disk.heal()
        self.disk.capacity_bytes = None
        self.is_full = self.is_failing = False

    def ask_cycle(self) -> Outcome:
        assert self.system._crew
        outcome: Outcome = self.system._crew.broker.ask(Cycle(), block=False).get(timeout=0).outcome
        return outcome

    def take_over_consumers(self, partition: Partition, consumer: str) -> None:
        """A commit that failed may have assigned its partition before; it is told which."""
        topic, number = partition
        description = {each.topic_id: each for each in self.system.describe().topics}
        if description[topic].consumers.get(number) == consumer:
            self.consumers[partition] = consumer
        elif partition not in self.consumers:
            self.doubtful_consumers.setdefault(partition, consumer)

    def describe_ends(self) -> dict[Partition, int]:
        return {
            (topic.topic_id, number): queue.offsets.log_end
            for topic in self.system.describe().topics
            for number, queue in enumerate(topic.partitions)
        }


TestBroker = BrokerMachine.TestCase
TestBroker.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
