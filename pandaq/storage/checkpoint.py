"""The checkpoint: how far the ingress log is in the partitions, and where those ended then.

    ingress|logEndOffset|readOffset
    {topicId}_partition_{N}|logEndOffset        a line for every partition

One file, replaced in one step, says: all ingress messages up to readOffset are in the partitions,
durably, and then the partitions ended here. What stands behind these ends at a start comes again
from the ingress log.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pandaq.offsets import Offsets
from pandaq.storage.disk import Disk
from pandaq.storage.sealed import read_sealed, write_sealed


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The ingress log's offsets, and the end of each partition by its key."""

    ingress: Offsets
    ends: Mapping[str, int]


def write_checkpoint(disk: Disk, path: Path, checkpoint: Checkpoint) -> None:
    """Put the checkpoint in place, durably. Raises `OSError`, `SyncFailed`."""
    lines = [f"ingress|{checkpoint.ingress.log_end}|{checkpoint.ingress.read}"]
    lines += [f"{key}|{end}" for key, end in checkpoint.ends.items()]
    write_sealed(disk, path, lines)


def read_checkpoint(disk: Disk, path: Path) -> Checkpoint | None:
    """Return the checkpoint, None where there is none or it is damaged."""
    lines = read_sealed(disk, path)
    if not lines:
        return None
    first, *rest = lines
    _, log_end, read = first.split("|")
    ends = {key: int(end) for key, end in (line.rsplit("|", 1) for line in rest)}
    return Checkpoint(Offsets(int(log_end), int(read)), ends)
