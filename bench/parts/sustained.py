"""Row 10: the load of row 1 for minutes: whether anything piles up."""

import itertools
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from bench import memory
from bench.contender import PARTITIONS, TOPIC
from bench.rounds import Rounds, alternate
from bench.row import Place, Reach, Row, Skipped, place_of
from bench.setting import Setting
from bench.singles import client_name, posts_per_s
from pandaq.benchmark.load import batches, produce_until_routed
from pandaq.benchmark.processes import BrokerProcess
from pandaq.benchmark.spread import number

SAYS: Final = "the load of `single` for minutes; the ingress buffer and the memory, each second"
FILL_BATCHES: Final = 1_600
"""So many batches first, that the memory for the newest messages (`tailBytes`) is full."""
SAMPLE_S: Final = 1.0
BUFFER_GROWTH: Final = 0.001
"""Of what is accepted from the first quarter to the last, so much may be left over."""
MEMORY_GROWTH_MIB: Final = 8.0


class Sample(NamedTuple):
    """What a broker says of itself at one moment."""

    at_s: float
    accepted: int
    routed: int
    buffered: int
    resident_mib: float


def measure(setting: Setting) -> Iterator[Row | Skipped]:
    """Yield the rows of the rate, of the buffer and of the memory; of one run."""
    if sentence := memory.missing():
        yield Skipped("sustained", sentence)
        return
    rounds = alternate(replace(setting, runs=1), {"sustained": partial(_run, setting)})
    yield from _rows(setting, rounds, place_of(setting, rounds))


def figures(samples: Sequence[Sample]) -> dict[str, float]:
    """Return the rates, and of the buffer and the memory the maxima and the outer quarters.

    Of a quarter the median counts.
    """
    first, last = samples[0], samples[-1]
    spent_s = last.at_s - first.at_s
    found = {
        "accepted": (last.accepted - first.accepted) / spent_s,
        "routed": (last.routed - first.routed) / spent_s,
        "leftover": (last.accepted - first.accepted) * BUFFER_GROWTH,
    }
    for name in ("buffered", "resident_mib"):
        values = [float(getattr(sample, name)) for sample in samples]
        quarter = max(len(values) // 4, 1)
        found[f"{name}: first"] = statistics.median(values[:quarter])
        found[f"{name}: last"] = statistics.median(values[-quarter:])
        found[f"{name}: most"] = max(values)
    return found


def _run(setting: Setting, folder: Path) -> Mapping[str, float]:
    with BrokerProcess(folder, {TOPIC: PARTITIONS}) as broker, ThreadPoolExecutor(1) as pool:
        fill = itertools.cycle(batches(20_000))
        load = itertools.islice(fill, setting.size(FILL_BATCHES, 2))
        produce_until_routed(broker.url, TOPIC, load)
        memory.settled_mib(broker.pid, setting.size(memory.SETTLE_S, 0))
        posting = pool.submit(
            posts_per_s, broker.url, f"/ingress/{TOPIC}", _seconds(setting), folder
        )
        samples = list(_samples(setting, broker, posting))
        posting.result()
    return figures(samples)


def _seconds(setting: Setting) -> float:
    return setting.size(setting.minutes * 60, 2.5)


def _samples(setting: Setting, broker: BrokerProcess, posting: Future[float]) -> Iterator[Sample]:
    begin = time.perf_counter()
    for moment in itertools.count(1):
        time.sleep(max(begin + moment * SAMPLE_S - time.perf_counter(), 0))
        if posting.done():
            return
        sample = _sample(broker)
        yield sample
        setting.progress.show(
            f"{sample.at_s - begin:.0f} s: {sample.accepted:,} accepted, {sample.buffered:,} in "
            f"the ingress buffer, {sample.resident_mib:.0f} MiB"
        )


def _sample(broker: BrokerProcess) -> Sample:
    stats = broker.stats()
    ingress = stats["ingressBuffer"]
    return Sample(
        at_s=time.perf_counter(),
        accepted=ingress["logEndOffset"],
        routed=ingress["readOffset"],
        buffered=ingress["logEndOffset"] - ingress["readOffset"],
        resident_mib=memory.resident_mib(broker.pid),
    )


def _rows(setting: Setting, rounds: Rounds, place: Place) -> Iterator[Row]:
    minutes = f"{_seconds(setting) / 60:.2g} minutes of single messages"
    yield Row(
        key="sustained-rate",
        title=f"{minutes}: routed",
        unit="messages/s",
        value=rounds.spread("routed"),
        against="accepted in the same time",
        other=rounds.spread("accepted"),
        ratio=rounds.ratio("routed", "accepted"),
        note=f"the load is from {client_name()}",
        place=place,
    )
    leftover = rounds.spread("leftover").median
    for key, name, unit, reach in (
        (
            *("buffer", "buffered", "messages"),
            Reach("growth", "at most", leftover, "messages", "(0.1 % of the accepted)"),
        ),
        (
            *("memory", "resident_mib", "MiB"),
            Reach("growth", "at most", MEMORY_GROWTH_MIB, "MiB"),
        ),
    ):
        yield Row(
            key=f"sustained-{key}",
            title=f"{minutes}: {key} in the last quarter",
            unit=unit,
            value=rounds.spread(f"{name}: last"),
            against="in the first quarter",
            other=rounds.spread(f"{name}: first"),
            reach=reach,
            note=f"at most {number(rounds.spread(f'{name}: most').median)} {unit}",
            place=place,
        )
