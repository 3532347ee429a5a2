"""Panda-Q as it is measured beside others: a broker of its own for every run."""

from pathlib import Path
from typing import Any, Final

from pandaq.benchmark.load import (
    MessagesMissing,
    batches,
    consume_all,
    produce_until_routed,
)
from pandaq.benchmark.processes import BrokerProcess

TOPIC: Final = "orders"
WARM_UP: Final = "warm-up"
PARTITIONS: Final = 3
WARM_UP_MESSAGES: Final = 5_000

Load = list[list[dict[str, Any]]]


def produce_per_s(folder: Path, load: Load, partitions: int = PARTITIONS) -> float:
    """Send batches by one producer until all of them are routed; return messages per second."""
    with BrokerProcess(folder, {TOPIC: partitions, WARM_UP: 1}) as broker:
        warm_up(broker)
        return produce_until_routed(broker.url, TOPIC, load).per_s


def consume_per_s(folder: Path, load: Load) -> float:
    """Fill one partition, then consume and commit it in batches; return messages per second."""
    with BrokerProcess(folder, {TOPIC: 1, WARM_UP: 1}) as broker:
        warm_up(broker)
        produce_until_routed(broker.url, TOPIC, load)
        done = consume_all(broker.url, TOPIC, 1)
    if done.count != sum(map(len, load)):
        raise MessagesMissing(done.count, sum(map(len, load)))
    return done.per_s


def warm_up(broker: BrokerProcess) -> None:
    """Send a broker messages of another topic, and take them away."""
    produce_until_routed(broker.url, WARM_UP, batches(WARM_UP_MESSAGES))
    consume_all(broker.url, WARM_UP, 1)
