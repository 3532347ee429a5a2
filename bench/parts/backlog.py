"""Rows 5, 6 and 7: what millions of messages that nobody consumes do to a broker."""

import itertools
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench import memory
from bench.contender import PARTITIONS, TOPIC, WARM_UP, warm_up
from bench.rounds import Rounds, alternate
from bench.row import Place, Reach, Row, Skipped, place_of
from bench.setting import Setting
from pandaq.benchmark.load import BROKER_ID, batches, produce_until_routed, wait_until_routed
from pandaq.benchmark.processes import BrokerProcess
from pandaq.benchmark.spread import Spread, number
from pandaq_sdk import Producer

SAYS: Final = "memory, start and throughput with millions of messages that nobody consumes"
CONTENT_BYTES: Final = 100
LOAD_BATCH: Final = 2_000
PRODUCED: Final = 100_000
BATCHES_BEFORE_KILL: Final = 10
TOPICS: Final = {TOPIC: PARTITIONS, WARM_UP: 1}

MEMORY: Final = "MiB with a backlog"
EMPTY_MEMORY: Final = "MiB when empty"
CLEAN_START: Final = "s to start after a clean stop"
KILLED_START: Final = "s to start after a kill"
EMPTY_START: Final = "s to start when empty"
PRODUCE: Final = "messages/s with a backlog"
EMPTY_PRODUCE: Final = "messages/s when empty"


def measure(setting: Setting) -> Iterator[Row | Skipped]:
    """Yield the rows of memory, of starting and of throughput."""
    if sentence := memory.missing():
        yield Skipped("memory with a backlog", sentence)
    count = setting.size(setting.messages, 5_000)
    with setting.temporary_folder() as folder:
        loaded = _load(setting, folder, count)
        rounds = alternate(
            setting,
            {"empty": partial(_empty, setting), "a backlog": partial(_full, setting, folder)},
        )
    yield from _rows(count, loaded, rounds, place_of(setting, rounds))


# -- what is done


def _load(setting: Setting, folder: Path, count: int) -> Mapping[str, float]:
    """Fill a broker; return its memory before and after, where that can be measured."""
    with BrokerProcess(folder, TOPICS) as broker:
        broker.first_answer_s()
        before = _memory(setting, broker, EMPTY_MEMORY)
        with Producer(BROKER_ID, broker.url, TOPIC) as producer:
            for first in range(0, count, LOAD_BATCH):
                numbers = range(first, min(first + LOAD_BATCH, count))
                producer.produce_batch(map(_message, numbers))
                setting.progress.show(f"loaded {first:,} of {count:,} messages")
        wait_until_routed(broker.url, TOPIC, count)
        return {**before, **_memory(setting, broker, MEMORY)}


def _empty(setting: Setting, folder: Path) -> Mapping[str, float]:
    with BrokerProcess(folder, TOPICS) as broker:
        return {
            EMPTY_START: broker.first_answer_s(),
            **_memory(setting, broker, EMPTY_MEMORY),
            EMPTY_PRODUCE: _produce_per_s(setting, broker),
        }


def _full(setting: Setting, loaded: Path, _: Path) -> Mapping[str, float]:
    """Start after the clean stop of the run before; produce; be killed while producing; start."""
    with BrokerProcess(loaded, TOPICS) as broker:
        figures = {
            CLEAN_START: broker.first_answer_s(),
            **_memory(setting, broker, MEMORY),
            PRODUCE: _produce_per_s(setting, broker),
        }
        with Producer(BROKER_ID, broker.url, TOPIC) as producer:
            for batch in itertools.islice(batches(PRODUCED), BATCHES_BEFORE_KILL):
                producer.produce_batch(batch)
        broker.kill()
    with BrokerProcess(loaded, TOPICS) as broker:
        return figures | {KILLED_START: broker.first_answer_s()}


def _produce_per_s(setting: Setting, broker: BrokerProcess) -> float:
    warm_up(broker)
    load = batches(setting.size(PRODUCED, 1_000))
    return produce_until_routed(broker.url, TOPIC, load).per_s


def _memory(setting: Setting, broker: BrokerProcess, name: str) -> dict[str, float]:
    if memory.missing():
        return {}
    return {name: memory.settled_mib(broker.pid, setting.size(memory.SETTLE_S, 0))}


def _message(number: int) -> dict[str, Any]:
    """Return a message whose content has 100 bytes, its quotes included."""
    return {"messageId": f"b-{number}", "content": f"{number:0{CONTENT_BYTES - 2}}"}


# -- what is told of it


def _rows(count: int, loaded: Mapping[str, float], rounds: Rounds, place: Place) -> Iterator[Row]:
    if loaded:
        before, after = (Spread.of([loaded[name]]) for name in (EMPTY_MEMORY, MEMORY))
        what = f"memory with {count:,} messages of {CONTENT_BYTES} bytes"
        yield _memory_row("loaded", what, after, before, place)
        before, after = (rounds.spread(name) for name in (EMPTY_MEMORY, MEMORY))
        yield _memory_row("restarted", "the same, restarted", after, before, place)
    for key, name, what in (
        ("clean", CLEAN_START, "start to first answer, after a clean stop"),
        ("killed", KILLED_START, "start to first answer, after kill -9"),
    ):
        yield Row(
            key=f"backlog-start-{key}",
            title=f"{what}, {count:,} messages",
            unit="s",
            value=rounds.spread(name),
            against="an empty data directory",
            other=rounds.spread(EMPTY_START),
            ratio=rounds.ratio(name, EMPTY_START),
            reach=Reach("value", "at most", 2.0, "s"),
            place=place,
        )
    yield Row(
        key="backlog-produce",
        title=f"produce until routed, {count:,} messages waiting",
        unit="messages/s",
        value=rounds.spread(PRODUCE),
        against="an empty broker",
        other=rounds.spread(EMPTY_PRODUCE),
        ratio=rounds.ratio(PRODUCE, EMPTY_PRODUCE),
        reach=Reach("ratio", "at least", 0.9),
        place=place,
    )


def _memory_row(key: str, title: str, after: Spread, before: Spread, place: Place) -> Row:
    return Row(
        key=f"backlog-memory-{key}",
        title=title,
        unit="MiB",
        value=after,
        against="the broker when it is empty",
        other=before,
        reach=Reach("growth", "at most", 64, "MiB"),
        note=f"{number(after.median - before.median)} MiB more",
        place=place,
    )
