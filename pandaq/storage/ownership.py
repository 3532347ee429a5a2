"""What is ours: nobody else's folder or file is ever taken for a broker's data.

A name proves nothing (many a build leaves a config.log); what is in the files does.
"""

import re
from pathlib import Path
from typing import Final

from pandaq.records import LineFormat
from pandaq.storage.disk import Disk
from pandaq.storage.index import decode_entries
from pandaq.storage.sealed import unseal
from pandaq.storage.whole import read_whole

WIPE_MARK: Final = "wipe.pending"
_SEALED_FILES: Final = ("config.log", "ingress_metadata.log", "TPC.log")
_PARTITION_FILE: Final = re.compile(r"partition_\d+\.log")
_BEGINNING: Final = re.compile(rb"[\w.-]{0,200}(\|\d{0,19}(\||\0|\Z)|\0|\Z)")
_FIRST_LINE_BYTES: Final = 16 * 1024 * 1024


def is_data_directory(disk: Disk, root: Path) -> bool:
    """Tell whether a broker has made this folder. Raises `OSError`."""
    names = disk.list(root)
    if WIPE_MARK in names or any(
        _is_sealed(disk, root / name) for name in _SEALED_FILES if name in names
    ):
        return True
    return "topics" in names and any(
        _PARTITION_FILE.fullmatch(file)
        for topic in disk.list(root / "topics")
        if topic.startswith("topic_")
        for file in disk.list(root / "topics" / topic)
    )


def is_ingress_log(disk: Disk, path: Path) -> bool:
    """Tell whether this file is empty, missing, or begins as an ingress log. Raises `OSError`."""
    if not disk.exists(path):
        return True
    file = disk.open(path)
    try:
        beginning = file.read(0, _FIRST_LINE_BYTES)
    finally:
        file.close()
    first_line = beginning.partition(b"\n")[0]
    return not beginning or LineFormat.ingress("any").offset_of(first_line) is not None


def may_be_ingress_log(disk: Disk, path: Path) -> bool:
    """Tell whether an ingress log may have become this file by a crash or by damage.

    Then it begins as a line of one, or with the zeros of what never reached the disk, or it has a
    line further on, or is as long as its index says. Raises `OSError`.
    """
    if not disk.exists(path):
        return True
    file = disk.open(path)
    try:
        size, beginning = file.size(), file.read(0, _FIRST_LINE_BYTES)
    finally:
        file.close()
    ingress = LineFormat.ingress("any")
    if _BEGINNING.match(beginning):
        return True
    if any(ingress.offset_of(line) is not None for line in beginning.split(b"\n")):
        return True
    # The index of a log that is written is named by its first offset, as those of sealed ones are.
    names = re.compile(rf"{re.escape(path.stem)}\.\d{{20}}\.index")
    return any(
        size
        in {entry.end for entry in decode_entries(read_whole(disk, path.parent / name)) if entry}
        for name in filter(names.fullmatch, disk.list(path.parent))
    )


def _is_sealed(disk: Disk, path: Path) -> bool:
    unsealed = unseal(read_whole(disk, path))
    return unsealed.end > 0 and not unsealed.damaged
