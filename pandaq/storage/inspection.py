"""What a data directory is worth: `inspect` tells, `repair` puts right what can be.

An inspection is a start on an overlay, which changes nothing on the disk, and a reading of every
block of every partition. So it says what a start would do, and finds what a start does not look at.

A repair is a start on the disk itself. Before it, damaged small files are set aside; behind it,
every damaged block is copied to the folder `damaged`, a hole is made of it, and the hole is noted
in lost.log, so that the next inspection finds nothing new.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pandaq.config import Config, Retention, TopicConfig
from pandaq.errors import DataDirError
from pandaq.storage.config_log import read_config_log
from pandaq.storage.datadir import DataDir
from pandaq.storage.disk import Disk
from pandaq.storage.findings import Damage, Finding, Missing, Note
from pandaq.storage.log import Clock, Log
from pandaq.storage.lost_log import Loss, read_lost_log, write_lost_log
from pandaq.storage.overlay import Overlay
from pandaq.storage.ownership import is_data_directory
from pandaq.storage.progress import Progress
from pandaq.storage.queue import Queue
from pandaq.storage.recovery import open_store
from pandaq.storage.store import Store
from pandaq.storage.whole import read_whole

READ_BYTES: Final = 1024 * 1024
"""How much of a log is read at once."""
_SEGMENT: Final = re.compile(r"(\.\d{20})?\.(log|index)$")


@dataclass(slots=True)
class Inspection:
    """What was found.

    `damage` is what is not as it was written; `lost`, the messages that it costs; `known`, what an
    earlier repair has told; `notes`, what a crash leaves and the next start puts right. `messages`
    counts what can be read of the partitions, `waiting` what is not due yet.
    """

    messages: int = 0
    waiting: int = 0
    notes: list[Finding] = field(default_factory=list)
    damage: list[Finding] = field(default_factory=list)
    lost: list[Loss] = field(default_factory=list)
    known: list[Loss] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Whether nothing is damaged or lost that was not known."""
        return not (self.damage or self.lost)

    def add(self, finding: Finding) -> None:
        """Put a finding with the damage or with the notes, once."""
        harmless = not isinstance(finding, Damage | Missing) and not (
            isinstance(finding, Note) and finding.is_damage
        )
        place = self.notes if harmless else self.damage
        if finding not in place:
            place.append(finding)


def inspect(disk: Disk, root: Path, ingress_log: Path | None, clock: Clock) -> Inspection:
    """Read all of a data directory that no broker uses; change nothing.

    Raises `DataDirError` where that is no data directory, or a start would refuse it.
    """
    overlay = Overlay(disk)
    store = _open(overlay, root, ingress_log, clock)
    if store is None:
        return Inspection()
    try:
        return _Survey(overlay, store).inspection
    except OSError as error:
        raise DataDirError(f"{root} cannot be read: {error}; check its permissions") from error
    finally:
        store.close()


def repair(disk: Disk, root: Path, ingress_log: Path | None, clock: Clock) -> Inspection:
    """Recover a data directory and make it sound; return what was wrong with it.

    Raises `DataDirError`, after which it may be tried again.
    """
    before = inspect(disk, root, ingress_log, clock)
    try:
        _keep_small_files(disk, DataDir(disk, root, ingress_log or root / "ingress.log"), before)
        store = _open(disk, root, ingress_log, clock)
        if store:
            try:
                _mend(disk, store)
            finally:
                store.close()
    except OSError as error:
        raise DataDirError(f"{root} cannot be repaired: {error}; check the disk") from error
    return before


class _Survey:
    """Reads every partition of an open store."""

    def __init__(self, disk: Disk, store: Store) -> None:
        self.inspection = Inspection(known=read_lost_log(disk, store.datadir.lost_log))
        self.inspection.waiting = len(store.delayed)
        self.damaged: list[Damage] = []
        """The damaged blocks of partitions, known or not."""
        self._passed_over: dict[Path, list[tuple[int, int]]] = {}
        self._partitions = {
            queue.log.path: (topic_id, number)
            for topic_id, topic in store.topics.items()
            for number, queue in enumerate(topic.partitions)
        }
        for finding in store.findings:
            self._add(finding)
        # Retention never deletes what is not committed without moving readOffset first, so a log
        # has to have all from there on.
        for topic_id, topic in store.topics.items():
            for number, queue in enumerate(topic.partitions):
                self._read(topic_id, number, queue)

    def _read(self, topic_id: str, number: int, queue: Queue) -> None:
        known = [each[2:] for each in self.inspection.known if each[:2] == (topic_id, number)]
        log = queue.log
        start = min(log.start, queue.offsets.read + 1)
        holes = list(_holes(log, start, self._add))
        gone = sum(last - first + 1 for first, last in holes)
        self.inspection.messages += max(log.end - start + 1, 0) - gone
        for finding in log.take_findings():
            self._add(finding)
        # What a start passes over may have been committed, and is lost all the same.
        holes += self._passed_over.get(log.path, [])
        self.inspection.lost += [
            Loss(topic_id, number, *rest)
            for hole in _merged(holes)
            for rest in _without(hole, known)
        ]

    def _add(self, finding: Finding) -> None:
        partition = self._partitions.get(_log_of(finding.path))
        if partition and isinstance(finding, Damage | Missing):
            if isinstance(finding, Damage):
                self.damaged.append(finding)
            # What a repair has blanked is found again wherever an index is made anew.
            else:
                holes = self._passed_over.setdefault(finding.path, [])
                holes.append((finding.first, finding.last))
            if self._is_known(partition, finding):
                return
        self.inspection.add(finding)

    def _is_known(self, partition: tuple[str, int], finding: Damage | Missing) -> bool:
        return finding.first <= finding.last and any(
            (each.topic_id, each.partition_id) == partition
            and each.first <= finding.first
            and finding.last <= each.last
            for each in self.inspection.known
        )


def _open(disk: Disk, root: Path, ingress_log: Path | None, clock: Clock) -> Store | None:
    """Open a store with the topics that it has, None where it has none."""
    datadir = DataDir(disk, root, ingress_log or root / "ingress.log")
    try:
        if not is_data_directory(disk, root):
            raise DataDirError(f"{root} is no data directory of Panda-Q; name the one to look at")
        topics = read_config_log(disk, datadir.config_log) or datadir.topics_on_disk()
    except OSError as error:
        raise DataDirError(f"{root} cannot be read: {error}; check its permissions") from error
    if not topics:
        return None
    config = Config(
        topics=[TopicConfig(topic_id, partitions) for topic_id, partitions in topics.items()],
        data_dir=root,
        ingress_log_file=ingress_log,
        retention=Retention(max_age_ms=None),
    )
    return open_store(config, disk, clock)


def _holes(log: Log, offset: int, add: Callable[[Finding], None]) -> Iterator[tuple[int, int]]:
    """Yield the ranges of offsets, from `offset` on, that a log should have and has not."""
    first = offset
    progress = Progress(f"reading {log.path}, messages", log.end - first + 1)
    while offset <= log.end:
        progress.at(offset - first)
        blocks = log.read(offset, READ_BYTES)
        if not blocks:
            yield offset, log.end
            return
        for block in blocks:
            if block.first > offset:
                yield offset, block.first - 1
            if isinstance(block, Damage):
                add(block)
                yield max(block.first, offset), block.last
            offset = block.last + 1


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the same offsets in ranges that do not touch each other, in order."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(last, merged[-1][1])
        else:
            merged.append((first, last))
    return merged


def _without(hole: tuple[int, int], known: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield what of a range of offsets is in none of the known ranges."""
    first, last = hole
    for start, end in sorted(known):
        if first < start and first <= last:
            yield first, min(start - 1, last)
        first = max(first, end + 1) if start <= last else first
    if first <= last:
        yield first, last


def _keep_small_files(disk: Disk, datadir: DataDir, before: Inspection) -> None:
    """Copy the small files that are damaged, which a start puts in place anew."""
    small = {datadir.checkpoint, datadir.config_log, datadir.tpc_log}
    datadir.acquire()
    try:
        for path in {finding.path for finding in before.damage}:
            is_small = path in small or path.name.endswith("_partition_metadata.log")
            if is_small and disk.exists(path):
                datadir.set_aside(f"{path.name}.offset-0", read_whole(disk, path))
    finally:
        datadir.release()


def _mend(disk: Disk, store: Store) -> None:
    """Set the damaged blocks of all partitions aside, make holes of them, and note what is lost."""
    survey = _Survey(disk, store)
    by_log: dict[Path, list[Damage]] = {}
    for damage in dict.fromkeys(survey.damaged):
        by_log.setdefault(_log_of(damage.path), []).append(damage)
    for topic in store.topics.values():
        for queue in topic.partitions:
            # What a start has found may be gone: behind the checkpoint it has written anew.
            damages = [
                damage for damage in by_log.get(queue.log.path, []) if queue.log.still_has(damage)
            ]
            for damage in damages:
                name = f"{damage.path.name}.offset-{damage.first}.byte-{damage.position}"
                folder = damage.path.parent.name
                store.datadir.set_aside(name, queue.log.raw(damage), topic_folder=folder)
            queue.log.blank(damages)
    # The note comes last: cut short before it, what is lost is told once more.
    losses = survey.inspection.known + survey.inspection.lost
    write_lost_log(disk, store.datadir.lost_log, sorted(losses))


def _log_of(path: Path) -> Path:
    """Return the log that a segment or an index belongs to."""
    name = _SEGMENT.sub("", path.name)
    return path.with_name(name if name.endswith(".log") else f"{name}.log")
