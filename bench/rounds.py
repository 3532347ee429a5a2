"""Runs that alternate: A B A B, the disk itself first in each, so that all see the same machine."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.setting import Setting
from pandaq.benchmark.disk_rate import disk_rate
from pandaq.benchmark.spread import Spread

DISK_S: Final = 1.0
DISK_QUICK_S: Final = 0.05
FSYNC_MS: Final = "disk: ms of an append"
DISK_APPENDS: Final = "disk: appends/s"
DISK_MB: Final = "disk: MB/s"

Contender = Callable[[Path], Mapping[str, float]]
"""Measures once, in an empty folder that is removed afterwards; returns figures by name."""


@dataclass(frozen=True)
class Rounds:
    """The figures of all runs, by name; those of one run are at the same place in each list."""

    figures: Mapping[str, list[float]]

    def spread(self, name: str) -> Spread:
        """Return what the runs say of one figure."""
        return Spread.of(self.figures[name])

    def ratio(self, name: str, other: str) -> Spread:
        """Return what the runs say of one figure over another; each run has a ratio of its own.

        >>> Rounds({"ours": [10.0, 40.0], "theirs": [5.0, 10.0]}).ratio("ours", "theirs")
        Spread(median=3.0, low=2.0, high=4.0, runs=2)
        """
        pairs = zip(self.figures[name], self.figures[other], strict=True)
        return Spread.of(ours / theirs for ours, theirs in pairs)


def alternate(setting: Setting, contenders: Mapping[str, Contender]) -> Rounds:
    """Measure the disk and each contender in turn, `setting.runs` times."""
    figures: dict[str, list[float]] = {}
    for run in range(setting.runs):
        for name, contender in {"the disk": _disk(setting), **contenders}.items():
            setting.progress.show(f"run {run + 1} of {setting.runs}: {name}")
            with setting.temporary_folder() as folder:
                for figure, value in contender(folder).items():
                    figures.setdefault(figure, []).append(value)
    setting.progress.done()
    return Rounds(figures)


def _disk(setting: Setting) -> Contender:
    def measure(folder: Path) -> Mapping[str, float]:
        rate = disk_rate(folder, setting.size(DISK_S, DISK_QUICK_S))
        return {
            DISK_APPENDS: rate.appends_per_s,
            DISK_MB: rate.mb_per_s,
            FSYNC_MS: 1000 / rate.appends_per_s,
        }

    return measure
