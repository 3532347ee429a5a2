"""`python -m pandaq bench`: what Panda-Q does on this machine, in under a minute.

A broker of its own is started in a temporary folder and put under load; then all of it is removed.
"""

import platform
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from os import cpu_count
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from pandaq.benchmark.disk_rate import disk_rate, file_system
from pandaq.benchmark.latency import latencies_ms
from pandaq.benchmark.load import (
    BATCH_MESSAGES,
    consume_all,
    for_seconds,
    message,
    produce_until_routed,
)
from pandaq.benchmark.posting import CONNECTIONS, post_for, single_bodies
from pandaq.benchmark.processes import BrokerProcess
from pandaq.benchmark.progress import Progress
from pandaq.benchmark.spread import number, percentile
from pandaq.errors import PandaqError

PARTITIONS: Final = 3
LATENCY_PER_S: Final = 100
"""Messages a second while latency is measured: few enough for a slow disk."""
TOPICS: Final = {"single": PARTITIONS, "batches": PARTITIONS, "latency": 1}


class NoFolder(PandaqError):
    """The folder to measure in is not there."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"{folder} is no folder; name one that is on the disk to be measured")


class Figure(Struct, frozen=True):
    """One measured figure."""

    name: str
    what: str
    value: float
    unit: str


class Report(Struct, frozen=True, rename="camel"):
    """All figures, and where they were measured."""

    version: str
    python: str
    system: str
    cores: int
    file_system: str
    figures: list[Figure]


def bench(folder: Path | None, seconds: float, *, as_json: bool) -> None:
    """Measure on the disk of `folder`, each thing for `seconds`, and print the figures.

    Raises `NoFolder`, and another `PandaqError` where the broker does not do as it should.
    """
    if folder and not folder.is_dir():
        raise NoFolder(folder)
    progress = Progress()
    with tempfile.TemporaryDirectory(
        prefix="pandaq-bench-", dir=folder, ignore_cleanup_errors=True
    ) as name:
        report = measure(Path(name), seconds, progress)
    print(msgspec.json.encode(report).decode() if as_json else "\n".join(_table(report)))


def measure(folder: Path, seconds: float, progress: Progress) -> Report:
    """Measure everything, with a broker whose data is in `folder`."""
    kind = file_system(folder)
    if kind == "tmpfs":
        progress.say(f"{folder} is in memory, not on a disk; name another folder with --dir")
    figures = []
    for figure in _figures(folder, seconds):
        progress.show(f"{figure.what}: {number(figure.value)} {figure.unit}")
        figures.append(figure)
    progress.done()
    return Report(
        version=version("pandaq"),
        python=platform.python_version(),
        system=platform.platform(terse=True),
        cores=cpu_count() or 1,
        file_system=kind,
        figures=figures,
    )


def _figures(folder: Path, seconds: float) -> Iterator[Figure]:
    disk = disk_rate(folder, seconds)
    yield Figure("diskAppends", "this disk: 4 KiB written and synced", disk.appends_per_s, "/s")
    yield Figure("diskBytes", "this disk: 1 MiB pieces written and synced", disk.mb_per_s, "MB/s")
    with BrokerProcess(folder, TOPICS) as broker:
        bodies = single_bodies([message(n) for n in range(1000)])
        done = post_for(broker.url, "/ingress/single", bodies, seconds)
        what = f"single messages, {CONNECTIONS} connections"
        yield Figure("single", what, done.per_s, "messages/s")
        done = produce_until_routed(broker.url, "batches", for_seconds(seconds))
        what = f"batches of {BATCH_MESSAGES}, until in their partitions"
        yield Figure("batches", what, done.per_s, "messages/s")
        done = consume_all(broker.url, "batches", PARTITIONS, seconds=seconds)
        what = f"consume and commit, batches of {BATCH_MESSAGES}"
        yield Figure("consume", what, done.per_s, "messages/s")
        latencies = latencies_ms(broker.url, "latency", LATENCY_PER_S, seconds)
        for percent in (50, 99):
            what = f"produce to receive at {LATENCY_PER_S} messages/s, p{percent}"
            yield Figure(f"latencyP{percent}", what, percentile(latencies, percent), "ms")


def _table(report: Report) -> Iterator[str]:
    where = f" on {report.file_system}" if report.file_system else ""
    yield (
        f"Panda-Q {report.version}, Python {report.python}, {report.system}, "
        f"{report.cores} cores{where}; every answer is synced to disk first"
    )
    wide = max(len(figure.what) for figure in report.figures)
    for figure in report.figures:
        yield f"  {figure.what:{wide}} {number(figure.value):>9} {figure.unit}"
