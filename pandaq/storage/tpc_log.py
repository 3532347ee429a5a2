"""TPC.log: which consumer has which partition (topic, partition, consumer).

topicId|partitionId|consumerId              a line for every partition that has a consumer
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pandaq.storage.disk import Disk
from pandaq.storage.sealed import read_sealed, write_sealed


class Assignment(NamedTuple):
    """One line."""

    topic_id: str
    partition_id: int
    consumer_id: str


def write_tpc_log(disk: Disk, path: Path, assignments: Iterable[Assignment]) -> None:
    """Put the assignments in place, durably. Raises `OSError`, `SyncFailed`."""
    write_sealed(disk, path, ["|".join(map(str, assignment)) for assignment in assignments])


def read_tpc_log(disk: Disk, path: Path) -> list[Assignment] | None:
    """Return the assignments, None where the file is damaged; none are in a missing file."""
    if not disk.exists(path):
        return []
    lines = read_sealed(disk, path)
    if lines is None:
        return None
    fields = (line.split("|") for line in lines)
    return [Assignment(topic, int(partition), consumer) for topic, partition, consumer in fields]
