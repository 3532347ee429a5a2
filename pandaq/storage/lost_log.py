"""lost.log: the offsets that a repair found lost; they are told once, and known from then on.

topicId|partitionId|first|last          a line for every range, both ends included
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pandaq.storage.disk import Disk
from pandaq.storage.sealed import read_sealed, write_sealed


class Loss(NamedTuple):
    """One line: the offsets `first` to `last` of a partition are not there any more."""

    topic_id: str
    partition_id: int
    first: int
    last: int

    def __str__(self) -> str:
        lost = f"offsets {self.first} to {self.last} are lost"
        if self.first == self.last:
            lost = f"offset {self.first} is lost"
        return f"topic '{self.topic_id}', partition {self.partition_id}: {lost}"


def write_lost_log(disk: Disk, path: Path, losses: Iterable[Loss]) -> None:
    """Put the losses in place, durably. Raises `OSError`, `SyncFailed`."""
    write_sealed(disk, path, ["|".join(map(str, loss)) for loss in losses])


def read_lost_log(disk: Disk, path: Path) -> list[Loss]:
    """Return the losses; none where the file is missing or damaged: then they are told again."""
    fields = (line.split("|") for line in read_sealed(disk, path) or [])
    return [
        Loss(topic, int(number), int(first), int(last)) for topic, number, first, last in fields
    ]
