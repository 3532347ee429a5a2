"""Row 4: how long a message takes from one process to another, on a fixed schedule."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from bench.contender import TOPIC, WARM_UP, warm_up
from bench.rounds import FSYNC_MS, Contender, alternate
from bench.row import Reach, Row, Skipped, place_of
from bench.setting import Setting
from pandaq.benchmark.latency import latencies_ms
from pandaq.benchmark.processes import BrokerProcess
from pandaq.benchmark.spread import percentile
from pandaq_sdk import Producer

SAYS: Final = "produce to receive, 500 messages a second on a fixed schedule, two processes"
PER_S: Final = 500
SECONDS: Final = 20.0
CALLS: Final = [call for call in ("produce", "send") if hasattr(Producer, call)]
"""How the SDK sends: one message and its answer at a time, and many in the background."""
FIGURES: Final = {
    "p50": (50, Reach("value", "at most", 5.0, "ms")),
    "p99": (99, Reach("value", "at most", 25.0, "ms")),
    "max": (100, None),
}


def measure(setting: Setting) -> Iterator[Row | Skipped]:
    """Yield three rows for each way of sending."""
    contenders: dict[str, Contender] = {call: partial(_run, setting, call) for call in CALLS}
    rounds = alternate(setting, contenders)
    for call in CALLS:
        for name, (_, reach) in FIGURES.items():
            yield Row(
                key=f"latency-{call}-{name}",
                title=f"{call} to receive at {PER_S} messages/s, {name}",
                unit="ms",
                value=rounds.spread(f"{call} {name}"),
                against="one append and fsync of this disk",
                other=rounds.spread(FSYNC_MS),
                ratio=rounds.ratio(f"{call} {name}", FSYNC_MS),
                reach=reach,
                place=place_of(setting, rounds),
            )


def _run(setting: Setting, call: str, folder: Path) -> dict[str, float]:
    with BrokerProcess(folder, {TOPIC: 1, WARM_UP: 1}) as broker:
        warm_up(broker)
        arrived = latencies_ms(broker.url, TOPIC, PER_S, setting.size(SECONDS, 0.5), call)
    return {f"{call} {name}": percentile(arrived, of) for name, (of, _) in FIGURES.items()}
