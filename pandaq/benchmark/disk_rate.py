"""What the disk itself can do: writes that are synced one by one, as a broker's acks are."""

import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

from pandaq.benchmark.spread import number
from pandaq.storage.disk import Disk, LocalDisk

SMALL_BYTES: Final = 4 << 10
LARGE_BYTES: Final = 1 << 20
MOUNTS: Final = Path("/proc/mounts")
"""Where Linux says which file system is where."""


class DiskRate(Struct, frozen=True, rename="camel"):
    """How often 4 KiB are appended and synced, and how many MB in pieces of 1 MiB, per second."""

    appends_per_s: float
    mb_per_s: float

    def __str__(self) -> str:
        return f"{number(self.appends_per_s)} fsync/s, {number(self.mb_per_s)} MB/s"


def disk_rate(folder: Path, seconds: float) -> DiskRate:
    """Measure the disk that `folder` is on, for `seconds` in all."""
    small = pieces_per_s(folder, SMALL_BYTES, seconds / 2)
    large = pieces_per_s(folder, LARGE_BYTES, seconds / 2)
    return DiskRate(appends_per_s=small, mb_per_s=large * LARGE_BYTES / 1e6)


def pieces_per_s(folder: Path, piece_bytes: int, seconds: float) -> float:
    """Append pieces to a file, each written and synced before the next; return how many a second.

    The file is written the way the broker writes (fdatasync where there is one), and deleted.
    """
    disk: Disk = LocalDisk()
    path = folder / "disk-rate.tmp"
    piece = random.randbytes(piece_bytes)
    file = disk.open(path, create=True)
    try:
        file.sync()
        count, begin = 0, time.perf_counter()
        while (spent_s := time.perf_counter() - begin) < seconds or not count:
            file.write(count * piece_bytes, piece)
            file.sync()
            count += 1
    finally:
        file.close()
        disk.delete(path)
    return count / spent_s


def file_system(folder: Path) -> str:
    """Return the kind of file system that a folder is on, such as `ext4`; "" where nobody says."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    mounted = dict(line.split(" ")[1:3] for line in lines)
    return mounted_at(folder.resolve(), mounted)


def mounted_at(folder: Path, mounted: Mapping[str, str]) -> str:
    """Return the kind of the file system that is nearest above `folder`.

    >>> mounted_at(Path("/tmp/a"), {"/": "ext4", "/tmp": "tmpfs"})
    'tmpfs'
    """
    return next(
        (mounted[each.as_posix()] for each in (folder, *folder.parents) if str(each) in mounted), ""
    )
