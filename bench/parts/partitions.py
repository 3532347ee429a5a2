"""Row 7: what many partitions cost."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from bench.contender import PARTITIONS, Load, produce_per_s
from bench.rounds import alternate
from bench.row import Reach, Row, Skipped, place_of
from bench.setting import Setting
from pandaq.benchmark.load import batches

SAYS: Final = "batches of 500 by one producer into 300 partitions, against 3"
MESSAGES: Final = 300_000
"""Enough that the last cycle, which a long run has once as well, hardly counts."""
MANY: Final = 300
NAMES: Final = {count: f"{count} partitions" for count in (MANY, PARTITIONS)}


def measure(setting: Setting) -> Iterator[Row | Skipped]:
    """Yield the row `partitions`."""
    load = batches(setting.size(MESSAGES, 1_000))
    rounds = alternate(setting, {name: partial(_run, load, n) for n, name in NAMES.items()})
    many, few = NAMES[MANY], NAMES[PARTITIONS]
    yield Row(
        key="partitions",
        title=f"produce until routed, {many}",
        unit="messages/s",
        value=rounds.spread(many),
        against=few,
        other=rounds.spread(few),
        ratio=rounds.ratio(many, few),
        reach=Reach("ratio", "at least", 0.7),
        place=place_of(setting, rounds),
    )


def _run(load: Load, count: int, folder: Path) -> Mapping[str, float]:
    return {NAMES[count]: produce_per_s(folder, load, count)}
