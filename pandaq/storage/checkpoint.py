"""The checkpoint: how far the ingress log is in the partitions, and how those were then.

    ingress|logEndOffset|readOffset
    {topicId}_partition_{N}|logEndOffset|readOffset        a line for every partition
    {topicId}_partition_{N}@{group}|…|…                    and for every named group in it
    delayed|logEndOffset|readOffset                        how much the delay log has, and needs not

One file, replaced in one step, says: all ingress messages up to readOffset are in the partitions,
durably, and then the partitions ended here. What stands behind these ends at a start comes again
from the ingress log. The partitions' readOffsets count only where their own file has lost them;
a checkpoint of an older version has none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pandaq.offsets import Offsets
from pandaq.storage.disk import Disk
from pandaq.storage.journal import offset_lines
from pandaq.storage.sealed import read_sealed, write_sealed


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The offsets of the ingress log, and of each partition by its key."""

    ingress: Offsets
    partitions: Mapping[str, Offsets]

    def end_of(self, key: str) -> int:
        """Return where a partition ended; 0 for one that was not there."""
        return self.partitions.get(key, Offsets()).log_end


def write_checkpoint(disk: Disk, path: Path, checkpoint: Checkpoint) -> None:
    """Put the checkpoint in place, durably. Raises `OSError`, `SyncFailed`."""
    lines = [f"ingress|{checkpoint.ingress.log_end}|{checkpoint.ingress.read}"]
    write_sealed(disk, path, lines + offset_lines(checkpoint.partitions))


def read_checkpoint(disk: Disk, path: Path) -> Checkpoint | None:
    """Return the checkpoint, None where there is none or it is damaged."""
    lines = read_sealed(disk, path)
    if not lines:
        return None
    first, *rest = lines
    partitions = {}
    for line in rest:
        key, *numbers = line.split("|")
        partitions[key] = Offsets(*map(int, numbers))
    _, *numbers = first.split("|")
    return Checkpoint(Offsets(*map(int, numbers)), partitions)
