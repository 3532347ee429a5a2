"""Groups, delays and dead letters in the next run, which may have other settings."""

from typing import Any

from msgspec.structs import replace

from pandaq.actors.messages import Caller, Cycle
from pandaq.actors.system import System
from pandaq.config import Config, Retry, TopicConfig
from pandaq.message import Message
from pandaq.routing import partition_for
from tests.actors.stage import ALL, JOURNAL, Clock, small_config
from tests.inline import spawn_inline
from tests.simulated_disk import SimulatedDisk

ONE = small_config(topics=[TopicConfig("orders", 1, retry=Retry(max_attempts=1))])
ANN = Caller("g", "ann")


def started(disk: SimulatedDisk, config: Config = ONE, clock: Clock | None = None) -> System:
    system = System(config, disk=disk, clock=clock or Clock(), spawn=spawn_inline)
    system.start()
    return system


def cycle(system: System, times: int = 3) -> None:
    assert system._crew
    broker: Any = system._crew.broker
    for _ in range(times):
        broker.ask(Cycle(), block=False).get(timeout=0)


def grown(config: Config) -> Config:
    return replace(config, topics=[replace(config.topics[0], partitions=2)])


def ids(system: System, number: int, caller: Caller = ANN, topic: str = "orders") -> list[str]:
    caller = Caller(caller.group)
    return [each.message_id for each in system.read(topic, number, ALL, caller=caller).records()]


def test_a_group_has_read_nothing_of_partitions_that_are_new() -> None:
    disk = SimulatedDisk()
    system = started(disk)
    system.append("orders", [Message("a", b"1")])
    cycle(system)
    system.register("orders", "ann", group="g", share=True, start="end")
    system.stop()
    system = started(disk.power_loss_worst(), grown(ONE))
    key = next(str(n) for n in range(99) if partition_for(str(n).encode(), 2) == 1)
    system.append("orders", [Message("late", b"1", key)])
    cycle(system)
    assert (ids(system, 0), ids(system, 1)) == ([], ["late"])
    assert system.heartbeat("orders", "ann", "g").partitions == [(0, 1), (1, 1)]
    assert system.commit("orders", 1, "ann", 1, group="g").read == 1
    assert ids(system, 1) == []


def test_a_group_whose_offsets_are_lost_goes_on_with_its_members() -> None:
    disk = SimulatedDisk()
    system = started(disk)
    system.append("orders", [Message("a", b"1")])
    cycle(system)
    system.register("orders", "ann", group="g")
    system.abandon()
    left = disk.kill()
    left.delete(JOURNAL)
    system = started(left)
    assert ids(system, 0) == ["a"]
    assert system.commit("orders", 0, "ann", 1, group="g").read == 1


def test_dead_letters_stay_though_no_setting_names_them() -> None:
    disk = SimulatedDisk()
    system = started(disk)
    system.append("orders", [Message("a", b"1")])
    cycle(system)
    system.register("orders", "ann", group="g")
    assert system.nack("orders", 0, ANN, 1).topic_id == "orders.dlq"
    for _ in range(2):
        cycle(system)
        assert ids(system, 0, Caller(), "orders.dlq") == ["a"]
        assert system.topics == {"orders": 1, "orders.dlq": 1}
        system.stop()
        disk = disk.power_loss_worst()
        system = started(disk)
    assert system.redrive("orders").moved == 1
    cycle(system)
    assert ids(system, 0) == ["a", "a"]


def test_what_waits_is_due_by_the_clock_of_the_next_run() -> None:
    disk, clock = SimulatedDisk(), Clock()
    system = started(disk, clock=clock)
    system.append("orders", [Message("a", b"1", delay_ms=100), Message("b", b"1", ttl_ms=50)])
    system.abandon()
    system = started(disk.kill(), clock=clock)
    cycle(system)
    assert ids(system, 0) == ["b"]
    clock.now_ms += 100
    cycle(system)
    assert ids(system, 0) == ["a"]
    assert system.describe().topics[0].partitions[0].expired == 1
