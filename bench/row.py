"""One line of the table: a figure, what it is compared with, what it should reach, and where."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Literal

from msgspec import Struct

from bench.rounds import DISK_APPENDS, DISK_MB, Rounds
from bench.setting import Setting
from pandaq.benchmark.disk_rate import file_system
from pandaq.benchmark.spread import Spread, number


class Reach(Struct, frozen=True, rename="camel"):
    """What should be reached: at least, or at most, `limit`.

    It is a matter of the ratio, of the value itself, or of what it is above the other (`growth`).
    """

    of: Literal["ratio", "value", "growth"]
    bound: Literal["at least", "at most"]
    limit: float
    unit: str = ""
    note: str = ""

    def __str__(self) -> str:
        sign = {"at least": "≥", "at most": "≤"}[self.bound]
        plus = "+" if self.of == "growth" else ""
        figure = f"{self.limit:.2f}" if self.of == "ratio" else f"{self.limit:,.4g}"
        return " ".join(filter(None, (sign, plus + figure, self.unit, self.note)))


class Place(Struct, frozen=True, rename="camel"):
    """When and where a row was measured, and what the disk itself did in the same runs."""

    date: str
    pandaq: str
    python: str
    system: str
    cores: int
    file_system: str
    disk_appends_per_s: Spread
    disk_mb_per_s: Spread


class Row(Struct, frozen=True, kw_only=True, rename="camel"):
    """One measured figure.

    `value` is Panda-Q's, `other` that of what it is compared with (`against`), `ratio` the first
    over the second in each run. `key` names the row for good: a newer one takes its place. A row
    with `is_peer` is of the second table, about brokers that Panda-Q does not measure itself by.
    """

    key: str
    title: str
    unit: str
    value: Spread
    against: str = ""
    other: Spread | None = None
    ratio: Spread | None = None
    reach: Reach | None = None
    note: str = ""
    is_peer: bool = False
    place: Place

    @property
    def reached(self) -> bool | None:
        """Whether it reaches what it should; None where nothing is asked, or it was not measured.

        The median counts.
        """
        figure = self._figure()
        if self.reach is None or figure is None:
            return None
        limit = self.reach.limit
        return figure >= limit if self.reach.bound == "at least" else figure <= limit

    def _figure(self) -> float | None:
        match self.reach and self.reach.of:
            case "value":
                return self.value.median
            case "ratio" if self.ratio:
                return self.ratio.median
            case "growth" if self.other:
                return self.value.median - self.other.median
        return None


class Skipped(Struct, frozen=True):
    """What was not measured, and what to do to have it measured."""

    what: str
    sentence: str

    def __str__(self) -> str:
        return f"skipped: {self.what}: {self.sentence}"


def place_of(setting: Setting, rounds: Rounds) -> Place:
    """Return where the runs took place: here, today."""
    return Place(
        date=datetime.now(UTC).date().isoformat(),
        pandaq=version("pandaq"),
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        cores=os.cpu_count() or 1,
        file_system=file_system(setting.folder),
        disk_appends_per_s=rounds.spread(DISK_APPENDS),
        disk_mb_per_s=rounds.spread(DISK_MB),
    )


def part_of(row: Row) -> str:
    """Return the name of the part that a row is of: what its key begins with."""
    return row.key.partition("-")[0]


def verdict(row: Row) -> str:
    """Return what a row should reach and whether it does; "" where nothing is asked."""
    if row.reach is None:
        return ""
    word = {True: "reached", False: "not reached", None: "not measured"}[row.reached]
    return f"{row.reach}: {word}"


def disk_of(place: Place) -> str:
    """Return the disk's own rates."""
    appends, pieces = place.disk_appends_per_s.median, place.disk_mb_per_s.median
    return f"{number(appends)} fsync/s, {number(pieces)} MB/s"
