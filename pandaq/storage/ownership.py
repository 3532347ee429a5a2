"""What is ours: nobody else's folder or file is ever taken for a broker's data.

A name proves nothing (many a build leaves a config.log); what is in the files does.
"""

import re
from pathlib import Path
from typing import Final

from pandaq.records import LineFormat
from pandaq.storage.disk import Disk
from pandaq.storage.sealed import unseal
from pandaq.storage.whole import read_whole

WIPE_MARK: Final = "wipe.pending"
_SEALED_FILES: Final = ("config.log", "ingress_metadata.log", "TPC.log")
_PARTITION_FILE: Final = re.compile(r"partition_\d+\.log")
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


def _is_sealed(disk: Disk, path: Path) -> bool:
    unsealed = unseal(read_whole(disk, path))
    return unsealed.end > 0 and not unsealed.damaged
