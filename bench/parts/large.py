"""Row 9: messages of 1 MiB, beside the disk alone with pieces of the same size."""

import base64
import random
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from bench.contender import PARTITIONS, TOPIC, WARM_UP, warm_up
from bench.rounds import DISK_MB, Rounds, alternate
from bench.row import Reach, Row, Skipped, place_of
from bench.setting import Setting
from pandaq.benchmark.load import (
    BROKER_ID,
    Message,
    MessagesMissing,
    consume_all,
    produce_until_routed,
    routed,
    wait_until_routed,
)
from pandaq.benchmark.processes import BrokerProcess
from pandaq_sdk import Producer

SAYS: Final = (
    "messages of 1 MiB, produced and consumed, beside the disk with pieces of the same size"
)
MESSAGE_BYTES: Final = 1 << 20
BATCH: Final = 15
"""As many as fit in a body of 16 MiB."""
BATCHES: Final = 20
WARM_UP_BATCHES: Final = 2
LIMIT_MB_PER_S: Final = 150.0
SHARE_OF_DISK: Final = 0.5
FIGURES: Final = {
    "accepted": "produce messages of 1 MiB, until all are accepted",
    "routed": "produce messages of 1 MiB, until all are routed",
    "consumed": "consume and commit messages of 1 MiB",
}


def measure(setting: Setting) -> Iterator[Row | Skipped]:
    """Yield a row for each way."""
    rounds = alternate(setting, {"messages of 1 MiB": partial(_run, setting)})
    for name, title in FIGURES.items():
        yield Row(
            key=f"large-{name}",
            title=title,
            unit="MB/s",
            value=rounds.spread(name),
            against="this disk alone, 1 MiB written and synced",
            other=rounds.spread(DISK_MB),
            ratio=rounds.ratio(name, DISK_MB),
            reach=reach(rounds),
            place=place_of(setting, rounds),
        )


def reach(rounds: Rounds) -> Reach:
    """Return 150 MB/s, or half of what the disk does alone, whichever is less."""
    half = rounds.spread(DISK_MB).median * SHARE_OF_DISK
    if half < LIMIT_MB_PER_S:
        return Reach("value", "at least", half, "MB/s", "(half of this disk alone)")
    return Reach("value", "at least", LIMIT_MB_PER_S, "MB/s")


def _run(setting: Setting, folder: Path) -> Mapping[str, float]:
    batch = [_message(number) for number in range(BATCH)]
    count = setting.size(BATCHES, 1)
    with BrokerProcess(folder, {TOPIC: PARTITIONS, WARM_UP: 1}) as broker:
        warm_up(broker)
        produce_until_routed(broker.url, TOPIC, [batch] * WARM_UP_BATCHES)
        consume_all(broker.url, TOPIC, PARTITIONS)
        there = routed(broker.url, TOPIC)
        with Producer(BROKER_ID, broker.url, TOPIC) as producer:
            begin = time.perf_counter()
            for _ in range(count):
                producer.produce_batch(batch)
            accepted_s = time.perf_counter() - begin
            wait_until_routed(broker.url, TOPIC, there + count * BATCH)
            routed_s = time.perf_counter() - begin
        consumed = consume_all(broker.url, TOPIC, PARTITIONS)
    if consumed.count != count * BATCH:
        raise MessagesMissing(consumed.count, count * BATCH)
    sent_mb = count * BATCH * MESSAGE_BYTES / 1e6
    return {
        "accepted": sent_mb / accepted_s,
        "routed": sent_mb / routed_s,
        "consumed": consumed.per_s * MESSAGE_BYTES / 1e6,
    }


def _message(number: int) -> Message:
    """Return a message whose content has 1 MiB, its quotes included."""
    text = base64.b64encode(random.randbytes(MESSAGE_BYTES)).decode()
    return {"messageId": f"large-{number}", "content": text[: MESSAGE_BYTES - 2]}
